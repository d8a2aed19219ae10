"""Standard errors: coverage against exact truths, naive references, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from analysis.processes import OrnsteinUhlenbeck, binned_phase_density, gaussian_harmonics
from backaction import analysis
from backaction.analysis import uncertainty

SETTINGS = {"few long": (3, 8000), "many short": (100, 160)}


def ar1(rng: np.random.Generator, rho: float, ntraj: int, n: int) -> np.ndarray:
    drive = rng.standard_normal((ntraj, n))
    drive[:, 1:] *= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], drive, axis=1)


def ar1_variance_of_mean(rho: float, n: int) -> float:
    m = np.arange(1, n)
    return (1 + 2 * np.sum((1 - m / n) * rho**m)) / n


@pytest.fixture(scope="module", params=list(SETTINGS))
def scores(request) -> dict[str, np.ndarray]:
    """(estimate - truth) / error of 6000 histogram bins and of 1200 harmonics, and with naive errors."""
    ntraj, bins = SETTINGS[request.param]
    process = OrnsteinUhlenbeck(n=20.0, gamma=0.1, c=0.6 + 0.3j, dt=0.25)
    taps, k = 4, np.arange(1, 5)
    r = process.window_correlation(taps)
    rng = np.random.default_rng(20260101)
    found: dict[str, list[np.ndarray]] = {"density": [], "q": [], "q_abs": [], "naive": []}
    for _ in range(300):
        a, b = process.draw(rng, ntraj, bins)
        data = analysis.phase_difference(a, b, window=1.0, bin_width=process.dt, bins=20)
        deviation = data.density.values - binned_phase_density(data.phase.values, r)
        found["density"].append(deviation / data.density_stderr.values)
        q = data.q.values - gaussian_harmonics(k, r)
        found["q"] += [q.real / data.q_stderr.values.real, q.imag / data.q_stderr.values.imag]
        found["q_abs"].append((data.q_abs.values - np.abs(gaussian_harmonics(k, r))) / data.q_abs_stderr.values)
        p = data.density.values * 2 * np.pi / 20
        naive = np.sqrt(p * (1 - p) / data.attrs["n_windows"]) * 20 / (2 * np.pi)
        found["naive"].append(deviation / naive)
    return {key: np.concatenate(value) for key, value in found.items()}


def within(score: np.ndarray) -> float:
    return float(np.mean(np.abs(score) < 1))


@pytest.mark.parametrize("quantity", ["density", "q", "q_abs"])
def test_coverage(scores, quantity):
    assert abs(within(scores[quantity]) - 0.68) < 0.04


def test_coverage__naive_errors_fail(scores):
    assert within(scores["naive"]) < 0.60  # outside of the band above, by twice its width


@pytest.mark.parametrize("ntraj, n", [(1, 8000), (8, 1000), (40, 50)])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_mean_stderr__coverage(rng, ntraj, n, rho):
    # 1000 quantities: binomial error 1.5 %
    score = []
    for _ in range(25):
        x = ar1(rng, rho, 40 * ntraj, n).reshape(40, ntraj, n)
        data = analysis.mean_stderr(np.moveaxis(x, 0, 2), axis=1, trajectory_axis=0)
        score.append((data["mean"] / data["stderr"]).values)
    assert abs(within(np.concatenate(score)) - 0.68) < 0.05


def test_mean_stderr__is_the_exact_one_on_average(rng):
    x = ar1(rng, 0.8, 4, 5000)
    ratio = []
    for piece in np.split(ar1(rng, 0.8, 4 * 50, 5000), 50):
        ratio.append(float(analysis.mean_stderr(piece).stderr) ** 2 / (ar1_variance_of_mean(0.8, 5000) / 4))
    # about 60 blocks each: a variance has relative error sqrt(2/60), its mean over 50 runs 2.6 %; bias -3 %
    assert abs(np.mean(ratio) - 0.97) < 0.13
    # the guarded effect: independent samples would have a ninth of the variance
    assert x.var() / x.size < 0.2 * ar1_variance_of_mean(0.8, 5000) / 4


def test_mean_stderr__across_trajectories_is_the_textbook_formula(rng):
    x = rng.standard_normal((30, 7)) + rng.standard_normal((30, 1))
    data = analysis.mean_stderr(x)
    np.testing.assert_allclose(data["mean"], x.mean(), rtol=1e-12)
    np.testing.assert_allclose(data["stderr"], x.mean(axis=1).std(ddof=1) / np.sqrt(30), rtol=1e-12)
    assert data.attrs["error_method"] == "trajectories"


def test_mean_stderr__blocks_are_a_naive_loop(rng):
    x = ar1(rng, 0.5, 2, 701)
    blocks = uncertainty.choose_blocks(x)
    assert blocks.lengths.sum() == x.size
    flat = x.ravel()
    pieces = [flat[s : s + m] for s, m in zip(blocks.starts, blocks.lengths, strict=True)]
    assert any(s == 701 for s in blocks.starts), "no block may reach across trajectories"
    n = len(pieces)
    variance = sum((piece.sum() - piece.size * x.mean()) ** 2 for piece in pieces) / x.size**2 * n / (n - 1)
    np.testing.assert_allclose(float(analysis.mean_stderr(x).stderr), np.sqrt(variance), rtol=1e-12)


def test_mean_stderr__axes_labels_and_complex(rng):
    x = rng.standard_normal((3, 400, 25)) + 1j * rng.standard_normal((3, 400, 25))
    array = xr.DataArray(x, dims=["detuning", "time", "trajectory"], coords={"detuning": [0.0, 1.0, 2.0]})
    labelled = analysis.mean_stderr(array)
    plain = analysis.mean_stderr(x, axis=1, trajectory_axis=2)
    assert labelled["mean"].dims == ("detuning",)
    np.testing.assert_array_equal(labelled.detuning, [0, 1, 2])
    np.testing.assert_array_equal(labelled["mean"], plain["mean"])
    np.testing.assert_array_equal(labelled["stderr"], plain["stderr"])
    np.testing.assert_allclose(
        plain["stderr"].values.real, analysis.mean_stderr(x.real, axis=1, trajectory_axis=2)["stderr"]
    )
    np.testing.assert_allclose(
        plain["stderr"].values.imag, analysis.mean_stderr(x.imag, axis=1, trajectory_axis=2)["stderr"]
    )


def test_mean_stderr__too_little_data_is_said_not_guessed(rng):
    with pytest.warns(analysis.TooLittleDataWarning, match="independent pieces"):
        data = analysis.mean_stderr(ar1(rng, 0.99, 1, 500))
    assert np.isnan(data.stderr)
    assert np.isfinite(data["mean"])


def test_mean_stderr__trajectories_shorter_than_memory_stay_whole(rng):
    x = rng.standard_normal((10, 1)) + 1e-3 * rng.standard_normal((10, 200))  # each trajectory has its own level
    data = analysis.mean_stderr(x)
    assert data.attrs["n_blocks"] == 10
    np.testing.assert_allclose(float(data.stderr), x.mean(axis=1).std(ddof=1) / np.sqrt(10), rtol=1e-9)


def test_mean_stderr__constant_has_no_error():
    data = analysis.mean_stderr(np.full((2, 100), 3.0))
    assert float(data["mean"]) == 3
    assert float(data.stderr) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_mean_stderr__nan_is_named(bad):
    x = np.zeros((30, 4))
    x[2, 1] = bad
    with pytest.raises(ValueError, match="Argument `values` must be finite"):
        analysis.mean_stderr(x)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_integrated_autocorrelation_time__ar1(rng, rho):
    n = 200_000
    tau = analysis.integrated_autocorrelation_time(ar1(rng, rho, 1, n))
    exact = (1 + rho) / (1 - rho)
    error = exact * np.sqrt(2 * (10 * exact + 1) / n)
    assert abs(tau - exact) < 5 * error + 0.01 * exact  # Sokal's window leaves exp(-10) of the sum


def test_integrated_autocorrelation_time__oscillation_counts_with_its_envelope(rng):
    # exp(i w m) rho^m sums to almost nothing, but blocks must outlast 1/(1 - rho)
    x = lfilter([1], [1, -0.98 * np.exp(0.5j)], rng.standard_normal((1, 100_000)) + 0j, axis=1)
    assert 60 < analysis.integrated_autocorrelation_time(x) < 140  # (1 + .98)/(1 - .98) = 99


def test_integrated_autocorrelation_time__never_closes():
    assert analysis.integrated_autocorrelation_time(np.linspace(0, 1, 50)) > 9


def test_jackknife__mean_and_ratio(rng):
    x = rng.standard_normal((40, 2)) * [1.0, 0.1] + [1.0, 5.0]
    value, stderr = analysis.jackknife(x, np.ones(40), lambda m: m)
    np.testing.assert_allclose(value, x.mean(axis=0))
    np.testing.assert_allclose(stderr, x.std(axis=0, ddof=1) / np.sqrt(40))
    _, stderr = analysis.jackknife(x, np.ones(40), lambda m: m[..., 0] / m[..., 1])
    a, b = x.mean(axis=0)
    linear = (x[:, 0] - a) / b - a * (x[:, 1] - b) / b**2
    np.testing.assert_allclose(stderr, linear.std(ddof=1) / np.sqrt(40), rtol=0.02)


@pytest.mark.parametrize("pooled", [False, True])
def test_memory__is_a_naive_loop_over_quantities(rng, monkeypatch, pooled):
    x = ar1(rng, 0.3, 7 * 3, 400).reshape(7, 3, 400).transpose(1, 2, 0)
    x = x if pooled else x + 1j * x[::-1]
    monkeypatch.setattr(uncertainty, "_PADDED", 3 * 1024)  # three quantities at once: 3, 3, 1
    covariance = np.zeros((7, 400), dtype=complex)
    for q in range(7):
        d = x[:, :, q] - x[:, :, q].mean()
        for m in range(400):
            covariance[q, m] = np.mean(d[:, m:] * d[:, : 400 - m].conj())
    covariance = covariance.sum(axis=0, keepdims=True) if pooled else covariance
    longest = 1.0
    for c in covariance:
        rho = c / c[0].real
        tau = 1 + 2 * np.cumsum(np.where(abs(rho) > 3 / np.sqrt(1200), abs(rho), rho.real)) - 2
        longest = max(longest, tau[np.flatnonzero(np.arange(400) >= 5 * np.maximum(tau, 1))[0]])
    assert analysis.integrated_autocorrelation_time(x, pooled=pooled) == pytest.approx(longest, rel=1e-9)


def test_spectrum_of_few_long_records__is_quick(rng):
    x = rng.standard_normal((2, 100_000))
    calls = []
    original = np.fft.fft
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.fft, "fft", lambda *args, **options: calls.append(1) or original(*args, **options))
        analysis.spectrum(x, bin_width=0.1)
    assert len(calls) < 100  # not one for each of 1562 frequencies


def test_mean_stderr__of_a_single_number_is_refused():
    for value in (3.0, xr.DataArray(3.0)):
        with pytest.raises(ValueError, match="Argument `axis` must be"):
            analysis.mean_stderr(value)
