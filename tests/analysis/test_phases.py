"""Filters, phases, circular statistics."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis.processes import OrnsteinUhlenbeck, binned_phase_density, gaussian_harmonics
from backaction import analysis

DT = 0.1


def white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Heterodyne shot noise: E|I|^2 = 1 / DT."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * DT)


def labelled(values: np.ndarray, start: float = 0.0) -> xr.DataArray:
    return xr.DataArray(
        values, dims=["trajectory", "bin"], coords={"bin": start + DT * (np.arange(values.shape[1]) + 0.5)}
    )


# --- demodulation --------------------------------------------------------------------------------


def test_demodulate__stops_a_line_at_plus_omega():
    t = DT * (np.arange(50) + 0.5)
    tone = np.exp(-1j * 2.5 * t)  # <a> of H = 2.5 a^dag a
    np.testing.assert_allclose(analysis.demodulate(tone, t, 2.5, phase=0.3), np.exp(0.3j), rtol=1e-12)
    array = analysis.demodulate(labelled(tone[None]), None, 2.5)
    assert array.dims == ("trajectory", "bin")
    np.testing.assert_allclose(array, 1, rtol=1e-12)
    flipped = analysis.demodulate(labelled(tone[None]).transpose("bin", "trajectory"), None, 2.5)
    np.testing.assert_allclose(flipped, 1, rtol=1e-12)


def test_demodulate__real_heterodyne_gives_the_amplitude():
    # Homodyne with phase w t + p: I = exp(-i (w t + p)) L + c.c.; windows of whole periods take 2 w out
    t = DT * (np.arange(1000) + 0.5)
    w, p, amplitude = 2 * np.pi / (10 * DT), 0.4, 0.7 - 0.2j
    current = 2 * np.real(np.exp(-1j * (w * t + p)) * amplitude)
    z = analysis.filter_current(analysis.demodulate(current, t, w, p), window=10 * DT, bin_width=DT)
    np.testing.assert_allclose(z, amplitude * np.sqrt(10 * DT), rtol=1e-12)


def test_demodulate__arguments():
    with pytest.raises(ValueError, match="Argument `times` must have one entry per bin"):
        analysis.demodulate(np.zeros((2, 5)), np.arange(4), 1.0)
    with pytest.raises(ValueError, match="Argument `times` must be given"):
        analysis.demodulate(np.zeros((2, 5)), None, 1.0)
    with pytest.raises(ValueError, match="Argument `frequency`"):
        analysis.demodulate(np.zeros(5), np.arange(5), np.nan)


# --- filters -------------------------------------------------------------------------------------


def test_filter_current__boxcar_is_a_naive_loop(rng):
    current = white(rng, 3, 47)
    z = analysis.filter_current(current, window=5 * DT, bin_width=DT)
    assert z.shape == (3, 9)  # the incomplete tenth window is left out
    for k in range(3):
        for m in range(9):
            naive = sum(current[k, 5 * m + j] * DT for j in range(5)) / np.sqrt(5 * DT)
            np.testing.assert_allclose(z[k, m], naive, rtol=1e-12)


def test_filter_current__matched_is_a_naive_loop(rng):
    current, template = white(rng, 30), white(rng, 7)
    z = analysis.filter_current(current, kind="matched", template=template, bin_width=DT, stride=2 * DT)
    norm = np.sqrt(np.sum(np.abs(template) ** 2) * DT)
    naive = [np.vdot(template, current[i : i + 7]) * DT / norm for i in range(0, 24, 2)]
    np.testing.assert_allclose(z, naive, rtol=1e-12)


def test_filter_current__exponential_is_the_recursion(rng):
    # dz = -G/2 z dt + sqrt(G) I dt, the cavity of the physics notes, section 1, by its exact propagator over bins
    dt, window = 0.01, 1.0
    current = (rng.standard_normal(3000) + 1j * rng.standard_normal(3000)) / np.sqrt(2 * dt)
    z, times, decay = 0j, [], np.exp(-dt / (2 * window))
    for value in current:
        z = decay * z + np.sqrt(decay / window) * value * dt
        times.append(z)
    bins = dt * (np.arange(3000) + 0.5)
    found = analysis.filter_current(
        xr.DataArray(current, dims="bin", coords={"bin": bins}), window=window, kind="exponential"
    )
    at = np.round(found.window.values / dt).astype(int) - 1  # evaluated at the end of bin `at`
    assert np.all(np.diff(at) == 100)
    # cut where 1e-4 of |f|^2 is left: an error of 1e-2 standard deviations of the noise
    assert np.max(np.abs(found.values - np.array(times)[at])) < 0.05
    assert at[0] >= 900  # only moments with a full past


@pytest.mark.parametrize("kind", ["boxcar", "exponential", "matched"])
def test_filter_current__shot_noise_is_one(rng, kind):
    shape = {"template": np.hanning(22)[1:-1] * np.exp(0.2j * np.arange(20))} if kind == "matched" else {"window": 2.0}
    z = analysis.filter_current(white(rng, 40, 20_000), kind=kind, bin_width=DT, **shape)
    power = np.mean(np.abs(z) ** 2, axis=1)
    assert abs(power.mean() - 1) < 5 * power.std() / np.sqrt(40)
    assert power.std() / np.sqrt(40) < 0.01


def test_filter_current__response_to_a_constant():
    current = np.ones(5000)
    np.testing.assert_allclose(
        analysis.filter_current(current, window=4.0, bin_width=DT), 2, rtol=1e-12
    )  # sqrt(window)
    exponential = analysis.filter_current(current, window=4.0, bin_width=DT, kind="exponential")
    np.testing.assert_allclose(exponential, 2 * 2, rtol=0.012)  # int f = 2 sqrt(window), less the cut tail


def test_filter_current__labels(rng):
    array = labelled(white(rng, 2, 40), start=3.0).assign_coords(trajectory=[7, 9])
    z = analysis.filter_current(array.transpose("bin", "trajectory"), window=1.0)
    assert z.dims == ("trajectory", "window")
    np.testing.assert_allclose(z.window, [3.5, 4.5, 5.5, 6.5])
    np.testing.assert_array_equal(z.trajectory, [7, 9])
    np.testing.assert_array_equal(z, analysis.filter_current(array.values, window=1.0, bin_width=DT))
    other = xr.DataArray(array.values, dims=["run", "t"])
    assert analysis.filter_current(other, window=1.0, bin_width=DT).dims == ("run", "window")
    assert analysis.filter_current(other, window=1.0, bin_width=DT, axis="t").dims == ("run", "window")


def test_filter_current__amplitudes_are_no_currents(rng):
    current = labelled(white(rng, 2, 40)).assign_attrs(long_name="current of loss", units="rate^(1/2)", efficiency=0.5)
    attrs = analysis.filter_current(current, window=0.5).attrs
    assert attrs["units"] == "1"  # Z = int f I dt with int |f|^2 dt = 1
    assert attrs["long_name"] == "filtered current of loss"
    assert attrs["efficiency"] == 0.5


@pytest.mark.parametrize("window, allowed", [(0.25, "0.2 and 0.3"), (0.04, "0.1"), (1.001, "1 and 1.1")])
def test_filter_current__window_of_whole_bins(window, allowed):
    with pytest.raises(ValueError, match=f"Argument `window` must be a whole number.*nearest allowed: {allowed}\\."):
        analysis.filter_current(np.ones(100), window=window, bin_width=DT)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 1.0}, "Argument `bin_width` must be given"),
        ({"window": 20.0, "bin_width": DT}, "Argument `window` must fit"),
        ({"window": -1.0, "bin_width": DT}, "Argument `window` must be positive"),
        ({"bin_width": DT}, "Argument `window` must be given"),
        ({"bin_width": DT, "kind": "matched"}, "Argument `template` must be given"),
        (
            {"bin_width": DT, "kind": "matched", "template": np.zeros(3)},
            "Argument `template` must be a non-zero",
        ),
        ({"bin_width": DT, "window": 1.0, "kind": "gauss"}, "Argument `kind`"),
        ({"bin_width": DT, "window": 1.0, "template": [1.0]}, "Argument `template` must be None"),
        (
            {"bin_width": DT, "window": 0.1, "kind": "exponential"},
            "Argument `window` must be at least two bins",
        ),
        ({"bin_width": 0.0, "window": 1.0}, "Argument `bin_width`"),
        ({"bin_width": DT, "window": 1.0, "axis": 3}, "Argument `axis`"),
    ],
)
def test_filter_current__arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        analysis.filter_current(np.ones(100), **arguments)


def test_filter_current__nan_and_uneven_bins():
    with pytest.raises(ValueError, match="Argument `current` must be finite, but 1 of its 3"):
        analysis.filter_current([1.0, np.nan, 2.0], window=DT, bin_width=DT)
    uneven = xr.DataArray(np.ones(3), dims="bin", coords={"bin": [0.0, 1.0, 3.0]})
    with pytest.raises(ValueError, match="Argument `current` must be sampled uniformly"):
        analysis.filter_current(uneven, window=1.0)
    with pytest.raises(ValueError, match="select one point of the sweep"):
        analysis.filter_current(uneven.expand_dims(a=2, b=2), window=1.0)


# --- phases --------------------------------------------------------------------------------------


def test_phase_difference__sign():
    # alpha = r exp(-i phi): A at phase 1.0, B at phase 0.4, phi_AB = 0.6
    a, b = np.full((25, 100), np.exp(-1.0j)), np.full((25, 100), np.exp(-0.4j))
    data = analysis.phase_difference(a, b, window=1.0, bin_width=DT)
    np.testing.assert_allclose(data.q, np.exp(-1j * np.arange(1, 5) * 0.6), rtol=1e-12)
    assert abs(float(data.phase[int(np.argmax(data.density.values))]) - 0.6) <= np.pi / 60


def test_phase__sign():
    current = np.full((25, 100), np.exp(-1.0j))
    data = analysis.phase(current, window=1.0, bin_width=DT)
    np.testing.assert_allclose(data.q[0], np.exp(-1.0j), rtol=1e-12)


@pytest.mark.parametrize("kind", ["boxcar", "matched"])
def test_phase_difference__law_of_correlated_gaussians(rng, kind):
    process = OrnsteinUhlenbeck(n=3.0, gamma=0.5, c=0.5 - 0.6j, dt=DT)
    a, b = process.draw(rng, 40, 20_000)
    shape = {"template": np.ones(8)} if kind == "matched" else {"window": 0.8}
    data = analysis.phase_difference(a, b, kind=kind, bin_width=DT, bins=24, **shape)
    r = process.window_correlation(8)
    exact = binned_phase_density(data.phase.values, r)
    assert np.max(np.abs(data.density.values - exact) / data.density_stderr.values) < 5
    q, error = gaussian_harmonics(np.arange(1, 5), r), data.q_stderr.values
    assert np.all(np.abs((data.q.values - q).real) < 5 * error.real)
    assert np.all(np.abs((data.q.values - q).imag) < 5 * error.imag)
    # negative control: the mirrored phase (A and B exchanged) is far off, by 8 standard errors at least
    assert abs((data.q.values - q.conj())[0].imag) > 8 * error[0].imag
    assert np.max(np.abs(data.density.values - exact[::-1]) / data.density_stderr.values) > 8


def test_phase_difference__closed_forms_agree():
    # the density and the harmonics of the reference are two formulas: one against the other
    centres = -np.pi + 2 * np.pi / 400 * (np.arange(400) + 0.5)
    r = 0.5 - 0.3j
    density = binned_phase_density(centres, r)
    k = np.arange(1, 5)
    found = np.exp(-1j * np.outer(k, centres)) @ density * 2 * np.pi / 400
    np.testing.assert_allclose(found, gaussian_harmonics(k, r), atol=1e-4)
    np.testing.assert_allclose(density.sum() * 2 * np.pi / 400, 1, rtol=1e-9)


def test_phase_difference__independent_noise_is_flat(rng):
    data = analysis.phase_difference(white(rng, 30, 20_000), white(rng, 30, 20_000), window=0.5, bin_width=DT, bins=20)
    assert np.max(np.abs(data.density - 1 / (2 * np.pi)) / data.density_stderr) < 5
    assert np.all(data.q_abs_biased), "noise only: every modulus is biased upwards"
    assert 0.4 < data.attrs["n_effective"] / data.attrs["n_windows"] < 2.5  # windows are independent


def test_phase_difference__modulus_is_flagged_where_it_is_noise(rng):
    process = OrnsteinUhlenbeck(n=3.0, gamma=2.0, c=0.9, dt=DT)
    a, b = process.draw(rng, 25, 1000)
    data = analysis.phase_difference(a, b, window=1.0, bin_width=DT, bins=8, harmonics=12)
    flags = data.q_abs_biased.values
    assert not flags[0]
    assert flags[-1]
    strict = analysis.phase_difference(a, b, window=1.0, bin_width=DT, bins=8, harmonics=12, level=1e6)
    assert strict.q_abs_biased.values.all()


def test_phase_difference__layout(rng):
    a, b = white(rng, 22, 400), white(rng, 22, 400)
    data = analysis.phase_difference(labelled(a), labelled(b), window=0.5, bins=8, harmonics=3)
    plain = analysis.phase_difference(a.T, b.T, window=0.5, bin_width=DT, bins=8, harmonics=3, axis=0)
    xr.testing.assert_allclose(data, plain)
    assert data.density.dims == ("phase",)
    np.testing.assert_array_equal(data.harmonic, [1, 2, 3])
    np.testing.assert_allclose(float(data.density.sum()) * 2 * np.pi / 8, 1, rtol=1e-12)
    assert -np.pi < data.phase.min() < data.phase.max() <= np.pi
    for key, value in {"window": 0.5, "kind": "boxcar", "n_windows": 22 * 80, "n_trajectories": 22}.items():
        assert data.attrs[key] == value
    assert np.all(np.isfinite(data.density_stderr))


def test_phase_difference__discard(rng):
    a, b = white(rng, 22, 1000), white(rng, 22, 1000)
    short = analysis.phase_difference(a[:, 33:], b[:, 33:], window=0.5, bin_width=DT, bins=6)
    full = analysis.phase_difference(a, b, window=0.5, bin_width=DT, bins=6, discard=3.25)  # rounded up to 33 bins
    xr.testing.assert_identical(short, full)
    with pytest.raises(ValueError, match="Argument `discard` must be shorter"):
        analysis.phase_difference(a, b, window=0.5, bin_width=DT, discard=100.0)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a, b: (a.real, b), "Argument `current_a` must be complex"),
        (lambda a, b: (a, b.real), "Argument `current_b` must be complex"),
        (lambda a, b: (a, b[:, 1:]), "Argument `current_b` must have the shape"),
        (lambda a, b: (np.zeros_like(a), b), "Argument `current_a` must not vanish"),
        (lambda a, b: (labelled(a), labelled(b, start=1.0)), "Argument `current_b` must have the bins"),
        (lambda a, b: (np.where(np.arange(100) == 5, np.nan, a), b), "Argument `current_a` must be finite"),
    ],
)
def test_phase_difference__arguments(rng, change, message):
    a, b = change(white(rng, 22, 100), white(rng, 22, 100))
    with pytest.raises(ValueError, match=message):
        analysis.phase_difference(a, b, window=0.5, bin_width=DT)


def test_phase_difference__one_short_record_has_no_error(rng):
    with pytest.warns(analysis.TooLittleDataWarning, match="phase distribution"):
        data = analysis.phase_difference(white(rng, 50), white(rng, 50), window=1.0, bin_width=DT)
    assert np.isnan(data.density_stderr).all()
    assert np.isnan(data.q_abs_stderr).all()
    assert np.isfinite(data.density).all()


def test_circular_histogram__is_numpys(rng):
    phi = rng.uniform(-9, 9, (30, 500))
    data = analysis.circular_histogram(phi, 12)
    counts, _ = np.histogram(np.angle(np.exp(1j * phi)), 12, (-np.pi, np.pi), density=True)
    np.testing.assert_allclose(data.density, counts, rtol=1e-12)
    # errors: scatter of the trajectories' own histograms
    own = np.array([np.histogram(np.angle(np.exp(1j * p)), 12, (-np.pi, np.pi), density=True)[0] for p in phi])
    np.testing.assert_allclose(data.density_stderr, own.std(axis=0, ddof=1) / np.sqrt(30), rtol=1e-9)


def test_circular_histogram__bins_are_a_number_of_any_type(rng):
    phi = rng.uniform(-np.pi, np.pi, (24, 100))
    xr.testing.assert_identical(analysis.circular_histogram(phi, 12.0), analysis.circular_histogram(phi, 12))


def test_circular_histogram__both_ends_are_one_angle():
    data = analysis.circular_histogram(np.array([[np.pi], [-np.pi]] * 20), 10)
    assert float(data.density[-1]) * 2 * np.pi / 10 == pytest.approx(1)


def test_circular_harmonics__reference_and_delta_method(rng):
    phi = 0.8 * rng.standard_normal((50, 400)) + 1.0
    data = analysis.circular_harmonics(phi, 3)
    own = np.exp(-1j * phi[:, :, None] * [1, 2, 3]).mean(axis=1)
    np.testing.assert_allclose(data.q, own.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data.q_stderr.values.imag, own.imag.std(axis=0, ddof=1) / np.sqrt(50), rtol=1e-9)
    # |q| along q's own direction
    along = (own * np.exp(-1j * np.angle(own.mean(axis=0)))).real
    np.testing.assert_allclose(data.q_abs_stderr, along.std(axis=0, ddof=1) / np.sqrt(50), rtol=1e-9)
    assert np.all(np.abs(data.q_abs - np.exp(-0.32 * np.arange(1, 4) ** 2)) < 5 * data.q_abs_stderr)
    with pytest.raises(ValueError, match="Argument `phi` must be real"):
        analysis.circular_harmonics(np.exp(1j * phi))
    with pytest.raises(ValueError, match="Argument `harmonics`"):
        analysis.circular_harmonics(phi, 0)
    with pytest.raises(ValueError, match="Argument `bins`"):
        analysis.circular_histogram(phi, 1)
