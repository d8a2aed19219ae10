"""Spectra: convention, floor, exact expectations, the law of the periodogram, lines."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest

from analysis.processes import OrnsteinUhlenbeck
from backaction import analysis

DT = 0.1


def white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * DT)


@pytest.fixture(scope="module")
def line() -> tuple[OrnsteinUhlenbeck, xr.Dataset]:
    """A Lorentzian at +3 of full width 1, height 4/0.5 * 2 = 16 over the floor; 640 segments of 40."""
    process = OrnsteinUhlenbeck(n=4.0, gamma=0.5, c=0.0, dt=DT, frequency=3.0)
    current, _ = process.draw(np.random.default_rng(11), 64, 4000)
    return process, analysis.spectrum(current, bin_width=DT, segment=40.0)


def test_spectrum__is_a_naive_loop(rng):
    current = white(rng, 2, 50)
    with pytest.warns(analysis.TooLittleDataWarning):
        data = analysis.spectrum(current, bin_width=DT, segment=2.4)
    t = DT * (np.arange(24) + 0.5)
    assert data.attrs["n_segments"] == 4
    for w, p in zip(data.frequency.values, data.power.values, strict=True):
        segments = [current[k, i : i + 24] for k in range(2) for i in (0, 24)]
        naive = np.mean([abs(np.sum(s * np.exp(1j * w * t)) * DT) ** 2 / 2.4 for s in segments])
        np.testing.assert_allclose(p, naive, rtol=1e-10)
    assert np.all(np.diff(data.frequency) > 0)
    np.testing.assert_allclose(data.frequency[0], -np.pi / DT)


def test_spectrum__taper_is_a_naive_loop(rng):
    current = white(rng, 25, 16)
    data = analysis.spectrum(current, bin_width=DT, segment=1.6, window="hann")
    w = np.sin(np.pi * np.arange(16) / 16) ** 2  # periodic Hann
    t = DT * np.arange(16)
    i = 5
    amplitude = np.abs(np.sum(w * current * np.exp(1j * data.frequency.values[i] * t), axis=1) * DT) ** 2
    np.testing.assert_allclose(data.power[i], amplitude.mean() / (DT * np.sum(w**2)), rtol=1e-10)
    assert data.attrs["bin_correlation"] == pytest.approx(16 * np.sum(w**4) / np.sum(w**2) ** 2)
    with pytest.raises(ValueError, match="Argument `window` must be a window"):
        analysis.spectrum(current, bin_width=DT, window="square-ish")


def test_spectrum__tone_of_positive_energy_is_at_plus_omega():
    t = DT * (np.arange(400) + 0.5)
    data = analysis.spectrum(np.tile(np.exp(-1j * 2.0 * np.pi * t / 4), (20, 1)), bin_width=DT, segment=40.0)
    assert float(data.frequency[int(np.argmax(data.power.values))]) == pytest.approx(2 * np.pi / 4)
    assert float(data.power.max()) == pytest.approx(40.0)  # |int|^2 / T = T
    assert float(np.sort(data.power)[-2]) < 1e-20


@pytest.mark.parametrize("kind", ["heterodyne", "homodyne"])
@pytest.mark.parametrize("window", ["boxcar", "hann"])
def test_spectrum__shot_noise_has_floor_one(rng, kind, window):
    current = white(rng, 50, 4000) if kind == "heterodyne" else rng.standard_normal((50, 4000)) / np.sqrt(DT)
    data = analysis.spectrum(current, bin_width=DT, segment=20.0, window=window)
    assert np.max(np.abs(data.power - 1) / data.power_stderr) < 5
    floor = analysis.noise_floor(data)
    assert abs(float(floor.floor) - 1) < 5 * float(floor.floor_stderr)
    assert float(floor.floor_stderr) < 0.01
    assert analysis.spectrum(current, bin_width=2 * DT, segment=20.0).power.mean() > 1.8  # power scales with bins


def test_noise_floor__error_is_right(rng):
    score = []
    for window in ("boxcar", "hann"):
        for _ in range(200):
            for current in (white(rng, 1, 3200), rng.standard_normal((1, 3200)) / np.sqrt(DT)):
                floor = analysis.noise_floor(analysis.spectrum(current, bin_width=DT, segment=10.0, window=window))
                score.append(float((floor.floor - 1) / floor.floor_stderr))
    # 800 scores: a standard deviation is known to 1/sqrt(1600) = 2.5 %; forgetting the taper, or the mirrored
    # half of a real current's spectrum, would make it 1.21
    assert abs(np.std(score) - 1) < 0.12


def test_spectrum__expected_line(line):
    process, data = line
    exact = process.periodogram(data.frequency.values, 400)
    score = (data.power.values - exact) / data.power_stderr.values
    assert np.max(np.abs(score)) < 5
    assert abs(np.mean(np.abs(score) < 1) - 0.68) < 0.09  # 400 frequencies
    mirrored = process.periodogram(-data.frequency.values, 400)
    assert np.max(np.abs(data.power.values - mirrored) / data.power_stderr.values) > 8


def test_spectrum__labelled_default_segment_and_axis(rng):
    current = white(rng, 3, 4300)
    array = xr.DataArray(current, dims=["trajectory", "bin"], coords={"bin": DT * (np.arange(4300) + 0.5)})
    data = analysis.spectrum(array)
    assert data.attrs["n_segments"] >= 128
    assert data.attrs["bin_width"] == pytest.approx(DT)
    xr.testing.assert_allclose(data, analysis.spectrum(current.T, bin_width=DT, axis=0))
    assert analysis.spectrum(white(rng, 200, 50), bin_width=DT).attrs["segment"] == pytest.approx(5.0)


def test_spectrum__detrend(rng):
    current = white(rng, 30, 1000) + 3.0
    plain = analysis.spectrum(current, bin_width=DT, segment=10.0)
    flat = analysis.spectrum(current, bin_width=DT, segment=10.0, detrend=True)
    zero = int(np.argmin(np.abs(plain.frequency.values)))
    assert plain.power[zero] > 50
    assert flat.power[zero] < 2
    np.testing.assert_allclose(np.delete(flat.power.values, zero), np.delete(plain.power.values, zero), rtol=1e-9)


def test_spectrum__arguments():
    with pytest.raises(ValueError, match=r"Argument `segment` must be a whole number.*0\.2 and 0\.3"):
        analysis.spectrum(np.ones(100), bin_width=DT, segment=0.25)
    with pytest.raises(ValueError, match="Argument `segment` must have between 2 bins and the record's 100"):
        analysis.spectrum(np.ones(100), bin_width=DT, segment=20.0)
    with pytest.raises(ValueError, match="Argument `bin_width` must be given"):
        analysis.spectrum(np.ones(100))
    with pytest.raises(ValueError, match="Argument `current` must be finite"):
        analysis.spectrum([1.0, np.nan], bin_width=DT)
    with pytest.raises(ValueError, match="Argument `window` must be the name of a window"):
        analysis.spectrum(np.ones(100), bin_width=DT, window=np.hanning(100))


# --- the law of the periodogram ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heterodyne", "homodyne"])
@pytest.mark.parametrize("segments", [1, 3, 40])
def test_chi2_test__p_values_are_uniform(rng, kind, segments):
    p, ratio = [], []
    for _ in range(200):
        current = white(rng, 20, segments * 16)
        if kind == "homodyne":
            current = np.sqrt(2) * current.real
        result = analysis.chi2_test(analysis.spectrum(current, bin_width=DT, segment=1.6), 1.0)
        p.append(result.pvalue)
        ratio.append((result.ratio - 1) / result.ratio_stderr)
    assert result.dof == (16 if kind == "heterodyne" else 9)
    assert kstest(p, "uniform").pvalue > 1e-4
    assert abs(np.std(ratio) - 1) < 5 / np.sqrt(400)


@pytest.mark.parametrize("segment", [40, 41])
def test_chi2_test__of_selected_frequencies(rng, segment):
    """Each frequency that is used has its own law, whichever others were selected."""
    current = np.sqrt(2) * white(rng, 25, 4 * segment).real
    data = analysis.spectrum(current, bin_width=DT, segment=segment * DT)
    highest, even = float(data.frequency[-1]) + 1e-9, segment % 2 == 0
    for band in (
        (-30.0, -5.0),
        (-3.0, -1.0),
        (1.0, 3.0),
        (-3.0, 1.0),
        (highest - 1, 99.0),
        (-99.0, 99.0),
        (-99.0, -30.5),
    ):
        chosen = data.sel(frequency=slice(*band))
        w = chosen.frequency.values
        seen = [x for x in w if x > -1e-9 or -x > w[-1] + 1e-9]  # the others' mirror images are there, too
        halves = [x for x in seen if abs(x) < 1e-9 or (even and abs(x) > highest)]
        result = analysis.chi2_test(chosen, 1.0)
        assert result.dof == len(seen)
        assert result.ratio_stderr == pytest.approx(1 / np.sqrt(100 * (len(seen) - len(halves) / 2)), rel=1e-12)
        assert analysis.chi2_test(data, 1.0, band=band) == result


def test_chi2_test__of_one_frequency(rng):
    data = analysis.spectrum(np.sqrt(2) * white(rng, 25, 160).real, bin_width=DT, segment=4.0)
    for i, shape in ((0, 50), (5, 100), (20, 50), (30, 100)):  # Nyquist, below 0, 0, above 0
        one = data.isel(frequency=[i])
        result = analysis.chi2_test(one, one)
        assert (result.dof, result.ratio) == (1, 1.0)
        assert result.ratio_stderr == pytest.approx(shape**-0.5, rel=1e-12)
    del one.attrs["bin_width"]
    with pytest.raises(ValueError, match="Argument `measured` must have the attribute bin_width"):
        analysis.chi2_test(one, 1.0)


def test_chi2_test__on_a_line(line):
    process, data = line
    w = data.frequency.values
    exact = xr.Dataset({"power": ("frequency", process.periodogram(w, 400))}, coords={"frequency": w})
    result = analysis.chi2_test(data, exact)
    assert result.pvalue > 1e-4
    assert abs(result.ratio - 1) < 5 * result.ratio_stderr
    # negative controls: the mirrored line, and 10 % of efficiency lost
    assert analysis.chi2_test(data, process.periodogram(-w, 400)).pvalue < 1e-12
    lossy = analysis.chi2_test(data, 1 + 0.9 * (process.periodogram(w, 400) - 1), band=(2, 4))
    assert lossy.ratio - 1 > 8 * lossy.ratio_stderr
    assert lossy.pvalue < 1e-6


def test_chi2_test__sees_the_finite_segment(rng):
    process = OrnsteinUhlenbeck(n=4.0, gamma=0.5, c=0.0, dt=DT, frequency=3.0)
    data = analysis.spectrum(process.draw(rng, 64, 4000)[0], bin_width=DT, segment=8.0)
    w = data.frequency.values
    # segments of 4 correlation times: neighbours are not quite independent, the law holds approximately
    assert analysis.chi2_test(data, process.periodogram(w, 80)).pvalue > 1e-4
    assert analysis.chi2_test(data, process.periodogram(w, 8000)).pvalue < 1e-12


def test_chi2_test__arguments(line):
    _, data = line
    shifted = data.assign_coords(frequency=data.frequency + 0.1)
    with pytest.raises(ValueError, match="Argument `expected` must have the frequencies"):
        analysis.chi2_test(data, shifted)
    with pytest.raises(ValueError, match="Argument `expected` must be positive"):
        analysis.chi2_test(data, 0.0)
    with pytest.raises(ValueError, match="Argument `expected` must have one value"):
        analysis.chi2_test(data, np.ones(3))
    with pytest.raises(ValueError, match="boxcar"):
        analysis.chi2_test(data.assign_attrs(window="hann"), 1.0)
    with pytest.raises(ValueError, match="Argument `band`"):
        analysis.chi2_test(data, 1.0, band=(99.0, 100.0))
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset"):
        analysis.chi2_test(np.ones(4), 1.0)


# --- lines ---------------------------------------------------------------------------------------


def true_line(process: OrnsteinUhlenbeck, taps: int) -> tuple[float, float, float]:
    w = process.frequency + np.linspace(-3, 3, 4001)
    power = process.periodogram(w, taps) - 1
    wide = w[power > power.max() / 2]
    return float(w[power.argmax()]), float(power.max()), float(wide[-1] - wide[0])


def test_peak_and_linewidth__on_a_line(line):
    process, data = line
    position, height, width = true_line(process, 400)
    found, wide = analysis.peak(data, floor=1.0), analysis.linewidth(data, floor=1.0)
    assert abs(float(found.position) - position) < 5 * float(found.position_stderr)
    assert abs(float(found.height) - height) < 5 * float(found.height_stderr)
    assert abs(float(wide.width) - width) < 5 * float(wide.width_stderr)
    assert float(found.position_stderr) < 0.02
    assert float(wide.width_stderr) < 0.06
    assert found.attrs["resolved"] == 1


def test_peak_and_linewidth__errors_are_right(rng):
    process = OrnsteinUhlenbeck(n=4.0, gamma=0.5, c=0.0, dt=DT, frequency=3.0)
    truth = np.array(true_line(process, 400))
    score = []
    for _ in range(40):
        current, _ = process.draw(rng, 20, 2000)
        data = analysis.spectrum(current, bin_width=DT, segment=40.0)
        peak, wide = analysis.peak(data, floor=1.0, band=(0, 6)), analysis.linewidth(data, floor=1.0)
        values = np.array([float(peak.position), float(peak.height), float(wide.width)])
        errors = np.array([float(peak.position_stderr), float(peak.height_stderr), float(wide.width_stderr)])
        score.append((values - truth) / errors)
    score = np.array(score)
    assert np.all(np.abs(score) < 5)
    # standard deviations of 40 scores are known to 11 %; means to 16 %
    assert np.all(np.abs(score.std(axis=0) - 1) < 0.45)
    assert np.all(np.abs(score.mean(axis=0)) < 0.8)


@pytest.mark.parametrize("relative", [0.001, 0.03])
def test_peak_and_linewidth__skewed_line(rng, relative):
    # Re A/(i(w - 1) + 1/2) with complex A: the form of the lines of coupled oscillators
    def power(w: np.ndarray) -> np.ndarray:
        return 1 + 6 * np.real((1 + 0.5j) / (1j * (w - 1) + 0.5))

    w = np.linspace(-4, 6, 401)
    fine = np.linspace(-1, 3, 40_001)
    excess = power(fine) - 1
    wide = fine[excess > excess.max() / 2]
    noisy = power(w) * rng.gamma(relative**-2, relative**2, w.size)
    data = xr.Dataset(
        {"power": ("frequency", noisy), "power_stderr": ("frequency", relative * power(w))},
        coords={"frequency": w},
    )
    found, width = analysis.peak(data, floor=1.0), analysis.linewidth(data, floor=1.0)
    position, position_stderr = float(found.position), float(found.position_stderr)
    assert abs(position - fine[excess.argmax()]) < 5 * position_stderr
    assert position_stderr < 0.02
    assert position - 1 > 8 * position_stderr  # the maximum is not at the resonance
    assert abs(float(width.width) - (wide[-1] - wide[0])) < 5 * float(width.width_stderr)


def test_frequency_entrainment(rng):
    a, _ = OrnsteinUhlenbeck(4.0, 0.5, 0.0, DT, frequency=1.0).draw(rng, 40, 4000)
    b, _ = OrnsteinUhlenbeck(4.0, 0.5, 0.0, DT, frequency=-1.0).draw(rng, 40, 4000)
    spec = [analysis.spectrum(x, bin_width=DT, segment=40.0) for x in (a, b)]
    found = analysis.frequency_entrainment(*spec, floor=1.0)
    assert abs(float(found.difference) - 2) < 5 * float(found.difference_stderr)
    assert float(found.difference_stderr) < 0.05
    assert float(found.position_a) > 0 > float(found.position_b)
    assert float(found.difference_stderr) == pytest.approx(np.hypot(found.position_a_stderr, found.position_b_stderr))


def test_peak__unresolved_tone_is_said(rng):
    t = DT * (np.arange(400) + 0.5)
    data = analysis.spectrum(white(rng, 30, 400) + np.exp(-1j * 2.03 * t), bin_width=DT, segment=40.0)
    with pytest.warns(analysis.TooLittleDataWarning, match="not resolved"):
        found = analysis.peak(data)
    spacing = 2 * np.pi / 40
    assert abs(float(found.position) - 2.03) <= spacing / 2
    assert float(found.position_stderr) == pytest.approx(spacing / np.sqrt(12))
    with pytest.warns(analysis.TooLittleDataWarning, match="not resolved"):
        assert np.isnan(analysis.linewidth(data).width)


def test_peak__noise_alone_has_none(rng):
    data = analysis.spectrum(white(rng, 30, 400), bin_width=DT)
    with pytest.warns(analysis.TooLittleDataWarning, match="No line stands clear"):
        assert np.isnan(analysis.peak(data).position)


def test_noise_floor__a_band_with_signal_is_said(line):
    _, data = line
    with pytest.warns(analysis.TooLittleDataWarning, match="holds signal"):
        analysis.noise_floor(data, band=(2.0, 6.0))
    with pytest.raises(ValueError, match="Argument `band`"):
        analysis.noise_floor(data, band=(6.0, 2.0))


def test_noise_floor__of_selected_frequencies(rng):
    data = analysis.spectrum(np.sqrt(2) * white(rng, 25, 160).real, bin_width=DT, segment=4.0)
    data["power"][:], data["power_stderr"][:] = 1.0, 0.1
    # 39 frequencies of which 19 are seen twice, and w = 0, half of an amplitude
    for low, high, count in ((-31.0, 31.0, 19.5), (0.01, 31.0, 19.0), (-31.0, -0.01, 19.0), (-99.0, -0.01, 19.5)):
        found = analysis.noise_floor(data.sel(frequency=slice(low, high)), band=(-99.0, 99.0))
        assert float(found.floor_stderr) == pytest.approx(0.1 / np.sqrt(count), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_peak_and_linewidth__of_few_frequencies(line, count):
    _, data = line
    top = int(np.argmax(data.power.values))
    few = data.isel(frequency=slice(top, top + count))
    with pytest.warns(analysis.TooLittleDataWarning, match="not resolved"):
        found = analysis.peak(few, floor=1.0)
    assert float(found.position) == float(data.frequency[top])
    assert float(found.position_stderr) == pytest.approx(2 * np.pi / 40 / np.sqrt(12), rel=1e-9)
    with pytest.warns(analysis.TooLittleDataWarning, match="not resolved"):
        assert np.isnan(analysis.linewidth(few, floor=1.0).width)


def test_peak_and_linewidth__units_of_the_current(line):
    """Powers of two change no digit of the analysis, however small or large."""
    process, _ = line
    current, _ = process.draw(np.random.default_rng(5), 24, 1600)
    found = []
    for unit in (1.0, 2.0**-500, 2.0**500):  # 3e-151
        data = analysis.spectrum(unit * current, bin_width=DT, segment=20.0)
        found.append(xr.merge([analysis.peak(data), analysis.linewidth(data)], combine_attrs="drop"))
        found[-1][["height", "height_stderr"]] /= unit**2
    for scaled in found[1:]:
        xr.testing.assert_allclose(scaled, found[0], rtol=1e-9)


def test_peak__of_powers_without_scatter(line):
    process, _ = line
    current, _ = process.draw(np.random.default_rng(5), 1, 6400)
    data = analysis.spectrum(current.repeat(20, axis=0), bin_width=DT, segment=640.0)
    w = data.frequency
    data["power"] = 1 + 16 / (1 + ((w - 3.0) / 0.5) ** 2)
    data["power_stderr"][:] = 0.0
    found = analysis.peak(data, floor=1.0)
    np.testing.assert_allclose([found.position, found.height], [3, 16], rtol=1e-6)
