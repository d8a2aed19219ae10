"""Chirality: telegraph signals with known reversals, rotating phasors in noise, exact laws of counts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from analysis.processes import poisson_clicks
from backaction import analysis

DT = 0.1
METHODS = ("block", "sliding", "hysteresis")


def telegraph(t: np.ndarray, switches: np.ndarray, first: int = 1) -> np.ndarray:
    """+1 and -1 at times t, reversed at each of the switches."""
    return first * (-1) ** np.searchsorted(switches, t)


def telegraphs(rng: np.random.Generator, rate: float, t: np.ndarray, ntraj: int) -> np.ndarray:
    clicks = poisson_clicks(rng, rate, t[-1] + DT, ntraj)
    return np.array([telegraph(t, c, rng.choice([-1, 1])) for c in clicks])


def phasor(senses: np.ndarray, frequency: float, amplitude: float) -> np.ndarray:
    """Current whose arg falls where the sense is +1: amplitude exp(-i int w s dt), per bin."""
    return amplitude * np.exp(-1j * frequency * DT * np.cumsum(senses, axis=-1))


def white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Heterodyne shot noise: E|I|^2 = 1 / DT."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * DT)


def naive_sense(phase: np.ndarray, n: int, method: str, threshold: float = 0.5) -> list[int]:
    state, result = 0, []
    step = n if method == "block" else 1
    for i in range(0, len(phase) - n + 1, step):
        if method == "hysteresis":
            mean, limit = np.mean(np.sin(phase[i : i + n])), threshold
        else:
            mean, limit = np.mean([np.angle(np.exp(1j * p)) for p in phase[i : i + n]]), 0.0
        state = 1 if mean > limit else -1 if mean < -limit else state
        result.append(state)
    return result


# --- phase differences -----------------------------------------------------------------------------------

SWITCHES = np.array([80.0, 125.0, 300.0, 333.0, 360.0, 700.0])


@pytest.mark.parametrize("method", METHODS)
def test_reversals__known_switches_in_noise(rng, method):
    t = DT * np.arange(10001)
    senses = np.stack([telegraph(t, SWITCHES), telegraph(t, SWITCHES[:3], -1), np.ones(t.size)])
    # wrapping to and fro changes nothing
    phase = np.pi / 2 * senses + 0.4 * rng.standard_normal(senses.shape) + 2 * np.pi * rng.integers(-3, 4, t.size)
    counts = analysis.reversals(phase, t, 10.0, method)
    np.testing.assert_array_equal(counts, [6, 3, 0])
    np.testing.assert_array_equal(analysis.reversals(phase, t, 10.0, method, discard=100.0), [5, 2, 0])
    assert analysis.reversals(phase[0], t, 10.0, method) == 6
    found = analysis.sense(phase, t, 10.0, method)
    assert found.dims == ("trajectory", "time")
    assert found.dtype == np.int8
    late = {"block": 0.0, "sliding": 0.0, "hysteresis": 10.0 * 0.5 / 2}[method]
    moments = analysis.dwell_times(found[0]).start.values[1:]
    slack = 5.0 + DT if method == "block" else 0.5
    np.testing.assert_allclose(moments, SWITCHES + late, atol=slack)


@pytest.mark.parametrize("n", [2, 3, 7, 50])
@pytest.mark.parametrize("method", METHODS)
def test_sense__is_a_naive_loop(rng, method, n):
    phase = rng.normal(0, 2, (3, 50)) * 2
    t = 4.0 + 0.25 * np.arange(50)
    found = analysis.sense(phase, t, n * 0.25, method, threshold=0.3)
    np.testing.assert_array_equal(found, [naive_sense(p, n, method, 0.3) for p in phase])
    centres = np.array([t[i : i + n].mean() for i in range(0, 51 - n, n if method == "block" else 1)])
    np.testing.assert_allclose(found.time, centres, rtol=1e-12)


def test_reversals__discard_leaves_out_times_before(rng):
    phase, t = rng.normal(0, 2, (4, 300)), 7.0 + DT * np.arange(300)
    for method in METHODS:
        cut = analysis.reversals(phase[:, 100:], t[100:], 0.5, method)
        np.testing.assert_array_equal(analysis.reversals(phase, t, 0.5, method, 10.0), cut)
        np.testing.assert_array_equal(analysis.reversals(phase, t, 0.5, method, 9.93), cut)


def test_reversals__hysteresis_threshold():
    t = np.arange(40.0)
    phase = np.repeat([np.pi / 2, -0.4, np.pi / 2, -1.2], 10)  # the dip to sin(-.4) = -.39 decides for a low threshold
    assert analysis.reversals(phase, t, 2.0, "hysteresis") == 1
    assert analysis.reversals(phase, t, 2.0, "hysteresis", threshold=0.3) == 3
    assert analysis.reversals(phase, t, 2.0, "hysteresis", threshold=0.95) == 0
    # in between is undecided before the first decision
    np.testing.assert_array_equal(analysis.sense(phase[10:], t[10:], 2.0, "hysteresis")[:9], 0)


@pytest.mark.parametrize("method", METHODS)
def test_reversals__zero_decides_nothing(method):
    t = np.arange(12.0)
    assert analysis.reversals(np.zeros(12), t, 2.0, method) == 0
    np.testing.assert_array_equal(analysis.sense(np.zeros(12), t, 2.0, method), 0)
    back = np.repeat([1.5, 0.0, 1.5], 4)
    over = np.repeat([1.5, 0.0, -1.5], 4)
    assert analysis.reversals(back, t, 2.0, method) == 0
    assert analysis.reversals(over, t, 2.0, method) == 1


def test_reversals__rounding_is_no_reversal(rng):
    # every window's mean is exactly zero, up to rounding
    angles = rng.uniform(-3, 3, 50)
    phase = np.tile(np.concatenate([angles, -angles]), 100)
    assert analysis.reversals(phase, DT * np.arange(10_000), 10.0, "sliding") == 0
    assert analysis.reversals(phase, DT * np.arange(10_000), 10.0, "block") == 0


def test_reversals__plus_pi_is_wrapped_to_plus_pi():
    for angle in (np.pi, -np.pi, 3 * np.pi):
        np.testing.assert_array_equal(analysis.sense(np.full(4, angle), np.arange(4.0), 2.0), 1)


def test_reversals__block_counts_saturate(rng):
    # windows that know nothing of one another: each of the 89 boundaries is a coin's toss
    t = DT * np.arange(9001)
    phase = np.pi / 2 * np.repeat(rng.choice([-1, 1], (400, 91)), 100, axis=1)[:, : t.size]
    counts = analysis.reversals(phase, t, 10.0)
    assert abs(counts.mean() - 44.5) < 5 * np.sqrt(89 / 4 / 400)
    assert abs(counts.var(ddof=1) - 89 / 4) < 5 * 89 / 4 * np.sqrt(2 / 399)
    # ... and a slow telegraph signal is told from one: negative control
    slow = np.pi / 2 * telegraphs(rng, 0.02, t, 400)
    assert abs(analysis.reversals(slow, t, 10.0).mean() - 44.5) > 50 * np.sqrt(89 / 4 / 400)


def test_reversals__of_labelled_arrays(rng):
    t = DT * np.arange(2001)
    phase = np.pi / 2 * telegraphs(rng, 0.02, t, 3)
    array = xr.DataArray(phase, dims=["trajectory", "time"], coords={"trajectory": [4, 5, 7], "time": t})
    for method in METHODS:
        counts = analysis.reversals(array, None, 5.0, method)
        assert counts.dims == ("trajectory",)
        np.testing.assert_array_equal(counts.trajectory, [4, 5, 7])
        np.testing.assert_array_equal(counts, analysis.reversals(phase, t, 5.0, method))
        np.testing.assert_array_equal(counts, analysis.reversals(array.transpose(), None, 5.0, method))
        np.testing.assert_array_equal(counts, analysis.reversals(array.drop_vars("time"), t, 5.0, method))
        assert counts.attrs["method"] == method
        assert counts.attrs["window"] == 5.0
        found = analysis.sense(array, None, 5.0, method)
        assert counts.attrs["duration"] == pytest.approx(found.sizes["time"] * (found.time[1] - found.time[0]))
        np.testing.assert_array_equal(found.trajectory, [4, 5, 7])
        single = analysis.reversals(array[1], None, 5.0, method)
        assert single.dims == ()
        assert int(single) == counts[1]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "blocks"}, 'Argument `method` must be "block", "sliding" or "hysteresis"'),
        ({"window": 0.1}, "Argument `window` must hold at least two samples"),
        ({"window": 0.05}, "Argument `window` must be a whole number of bins"),
        ({"window": 0.25}, "nearest allowed: 0.2 and 0.3"),
        ({"window": 10.1}, "Argument `window` must hold at least two samples and at most the 100"),
        ({"window": 6.0, "discard": 5.0}, "at most the 50 there are"),
        ({"window": -1.0}, "Argument `window` must be positive"),
        ({"discard": -1.0}, "Argument `discard` must be a time >= 0"),
        ({"discard": 10.0}, "Argument `discard` must be shorter than the record"),
        ({"threshold": 1.0}, r"Argument `threshold` must be in \[0, 1\)"),
        ({"threshold": np.nan}, r"Argument `threshold` must be in \[0, 1\)"),
        ({"times": DT * np.arange(100.0) ** 1.01}, "Argument `times` must be sampled uniformly"),
        ({"times": -DT * np.arange(100.0)}, "Argument `times` must be sampled uniformly in ascending time"),
        ({"times": DT * np.arange(99.0)}, "Argument `times` must have one entry per sample of `phase_difference`"),
        ({"times": np.full(100, np.nan)}, "Argument `times` must be finite"),
        ({"times": None}, "Argument `times` must be given when `phase_difference` carries no time coordinate"),
        ({"times": [1.0]}, "Argument `times` must be at least two times"),
        ({"phase_difference": np.r_[np.ones(99), np.nan]}, "Argument `phase_difference` must be finite"),
        ({"phase_difference": np.ones(100, dtype=complex)}, "must be real angles, but is complex"),
        ({"phase_difference": np.ones((2, 2, 100))}, "Argument `phase_difference` must have shape"),
    ],
)
def test_reversals__arguments(change, message):
    arguments = {"phase_difference": np.ones(100), "times": DT * np.arange(100), "window": 1.0, **change}
    for function in (analysis.reversals, analysis.sense):
        with pytest.raises(ValueError, match=message):
            function(**arguments)


# --- currents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [0.8, -0.8, 0.05, 2.9])
def test_rotation_frequency__of_a_phasor(frequency):
    t = DT * (np.arange(400) + 0.5)
    found = analysis.rotation_frequency(np.exp(-1j * frequency * t), t, filter_time=1.0, window=5.0)
    np.testing.assert_allclose(found, frequency, rtol=1e-9)
    # all that enters: window + 2 filter_time - 1 bin
    assert found.sizes["time"] == 400 - 70 + 2
    np.testing.assert_allclose(found.time[[0, -1]], [t[:69].mean(), t[-69:].mean()], rtol=1e-12)
    # a rotating frame taken off
    frame = analysis.rotation_frequency(np.exp(-1j * 40 * t), t, filter_time=1.0, window=5.0, frequency=40 - frequency)
    np.testing.assert_allclose(frame, frequency, rtol=1e-9)


def test_rotation_frequency__is_where_the_spectrum_has_its_line(rng):
    current = xr.DataArray(
        phasor(np.ones((30, 1000)), 1.3, 1.5) + white(rng, 30, 1000),
        dims=["trajectory", "bin"],
        coords={"bin": DT * (np.arange(1000) + 0.5)},
    )
    found = analysis.rotation_frequency(current, filter_time=1.0, window=50.0)
    assert found.dims == ("trajectory", "time")
    power = analysis.spectrum(current).power
    line = float(power.frequency[int(np.argmax(power.values))])
    assert line == pytest.approx(1.3, abs=0.1)
    assert float(found.mean()) == pytest.approx(1.3, abs=0.03)


SLOW = {"filter_time": 1.0, "window": 10.0, "threshold": 0.4}


@pytest.mark.parametrize("detector", ["complex", "real"])
def test_current_reversals__known_switches_in_noise(rng, detector):
    t = DT * (np.arange(10_000) + 0.5)
    senses = np.stack([telegraph(t, SWITCHES), telegraph(t, SWITCHES[:3], -1), np.ones(t.size)])
    options, z = dict(SLOW), phasor(senses, 0.8, 2.0)
    if detector == "complex":
        current = z + white(rng, *z.shape)
    else:  # homodyne with phase w t: exp(-i w t) z + c.c. + noise of E dW^2 = dt
        options["frequency"] = 4 * np.pi
        current = 2 * np.real(np.exp(-4j * np.pi * t) * z) + rng.standard_normal(z.shape) / np.sqrt(DT)
    np.testing.assert_array_equal(analysis.current_reversals(current, t, **options), [6, 3, 0])
    np.testing.assert_array_equal(analysis.current_reversals(current, t, discard=100.0, **options), [5, 2, 0])
    assert analysis.current_reversals(current[0], t, **options) == 6
    # against the sense of the phase difference, which is that of the phasor
    found = analysis.current_sense(current, t, **options)
    truth = analysis.sense(np.pi / 2 * senses, t, 10.0, "hysteresis")
    same = analysis.agreement(truth, found, tolerance=10.0)
    assert (int(same.found), int(same.missed), int(same.spurious)) == (9, 0, 0)
    assert float(same.agreement) > 0.98
    assert abs(float(same.delay)) < 2
    # the conjugate current turns the other way: negative control
    if detector == "complex":
        flipped = analysis.agreement(truth, analysis.current_sense(current.conj(), t, **options), tolerance=10.0)
        assert float(flipped.agreement) < 0.02
        assert int(flipped.found) == 0


def test_current_sense__follows_random_reversals(rng):
    t = DT * (np.arange(5000) + 0.5)
    senses = telegraphs(rng, 0.01, t, 40)
    current = phasor(senses, 0.8, 2.0) + white(rng, 40, 5000)
    truth = analysis.sense(np.pi / 2 * senses, t, 10.0, "hysteresis")
    same = analysis.agreement(truth, analysis.current_sense(current, t, **SLOW), tolerance=10.0)
    assert float(same.agreement) > 0.95
    assert float(same.found_fraction) > 0.9
    assert float(same.spurious_fraction) < 0.1
    # shot noise alone knows nothing: agreement 1/2
    nothing = analysis.agreement(truth, analysis.current_sense(white(rng, 40, 5000), t, **SLOW), tolerance=10.0)
    assert abs(float(nothing.agreement) - 0.5) < 5 * float(nothing.agreement_stderr)
    assert abs(float(same.agreement) - 0.5) > 5 * float(same.agreement_stderr)


def test_current_reversals__of_labelled_currents(rng):
    t = DT * (np.arange(1000) + 0.5)
    current = phasor(telegraphs(rng, 0.03, t, 2), 0.8, 5.0) + white(rng, 2, 1000)
    array = xr.DataArray(current, dims=["trajectory", "bin"], coords={"trajectory": [3, 9], "bin": t})
    counts = analysis.current_reversals(array, **SLOW)
    np.testing.assert_array_equal(counts, analysis.current_reversals(current, t, **SLOW))
    np.testing.assert_array_equal(counts.trajectory, [3, 9])
    assert counts.attrs["duration"] == pytest.approx(analysis.current_sense(array, **SLOW).sizes["time"] * DT)
    assert counts.attrs["threshold"] == 0.4
    assert np.isnan(counts.attrs["frequency"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"current": np.ones(1000)}, "Argument `frequency` must be given when `current` is real"),
        ({"frequency": np.inf}, "Argument `frequency` must be finite"),
        ({"times": None}, "Argument `times` must be given when `current` carries no"),
        ({"current": np.full(1000, np.nan + 0j)}, "Argument `current` must be finite"),
        ({"filter_time": 0.25}, "Argument `filter_time` must be a whole number of bins"),
        ({"filter_time": 0.0}, "Argument `filter_time` must be positive"),
        ({"window": 0.1}, "Argument `window` must hold at least two samples"),
        ({"window": 99.0}, "Argument `window` must fit into the record of 100 together with twice `filter_time`"),
        ({"discard": 95.0}, "Argument `window` must fit into the record of 5"),
        ({"threshold": -0.1}, "Argument `threshold` must be in"),
        ({"threshold": 1.6}, r"must be in \[0, 1.5708\), a quarter of a turn"),
    ],
)
def test_current_reversals__arguments(change, message):
    arguments = {"current": np.ones(1000, dtype=complex), "times": DT * np.arange(1000), **SLOW, **change}
    for function in (analysis.current_reversals, analysis.current_sense):
        with pytest.raises(ValueError, match=message):
            function(**arguments)


# --- agreement -------------------------------------------------------------------------------------------


def test_agreement__found_missed_spurious():
    t = np.arange(200.0)
    a = telegraph(t, np.array([20.5, 50.5, 80.5, 120.5, 123.5, 170.5]))
    b = telegraph(t, np.array([22.5, 49.5, 80.5, 140.5, 150.5, 168.5]))
    a, b = np.tile(a, (20, 1)), np.tile(b, (20, 1))
    same = analysis.agreement(a, b, t, t, tolerance=3.0)
    # 120.5 and 123.5 have no partners, nor have 140.5 and 150.5
    assert (int(same.found), int(same.missed), int(same.spurious)) == (80, 40, 40)
    assert float(same.found_fraction) == pytest.approx(4 / 6)
    assert float(same.spurious_fraction) == pytest.approx(2 / 6)
    assert float(same.agreement) == pytest.approx(1 - (2 + 1 + 3 + 10 + 2) / 200)
    assert float(same.delay) == pytest.approx((2 - 1 + 0 - 2) / 4)
    for name in ("agreement", "found_fraction", "spurious_fraction", "delay"):
        assert float(same[f"{name}_stderr"]) == pytest.approx(0, abs=1e-12)  # all trajectories are alike
    # narrower: 22.5 and 168.5 are too far off
    narrow = analysis.agreement(a, b, t, t, tolerance=1.0)
    assert (int(narrow.found), int(narrow.missed), int(narrow.spurious)) == (40, 80, 80)
    # at either end, the partner may lie outside of the record
    wide = analysis.agreement(a, b, t, t, tolerance=32.0)
    assert (wide.attrs["n_reversals_a"], wide.attrs["n_reversals_b"]) == (80, 80)
    opposite = analysis.agreement(a, -a, t, t, tolerance=2.0)
    assert (int(opposite.found), float(opposite.agreement)) == (0, 0.0)


def test_agreement__matches_as_many_as_possible():
    t = np.arange(100.0)
    a = np.tile(telegraph(t, np.array([30.5, 31.5, 40.5, 41.5])), (20, 1))
    b = np.tile(telegraph(t, np.array([28.5, 35.5, 38.5, 60.5])), (20, 1))
    # up: 30.5-28.5 (or 38.5?), 40.5-38.5; down: 31.5-35.5, 41.5-none
    same = analysis.agreement(a, b, t, t, tolerance=4.0)
    assert (int(same.found), int(same.missed), int(same.spurious)) == (60, 20, 20)


def test_agreement__undecided_time_does_not_count():
    t = np.arange(100.0)
    a = np.tile(telegraph(t, np.array([20.5, 70.5])), (25, 1))
    b = np.where(t < 40, 0, a)
    same = analysis.agreement(a, b, t, t, tolerance=5.0)
    assert float(same.agreement) == 1
    assert same.attrs["decided_fraction"] == pytest.approx(0.6)
    assert (int(same.found), int(same.missed), int(same.spurious)) == (25, 25, 0)
    assert float(same.spurious_fraction) == 0
    assert float(same.spurious_fraction_stderr) == pytest.approx(1 / 25)  # of one reversal
    nothing = analysis.agreement(a, 0 * a, t, t, tolerance=5.0)
    assert np.isnan(nothing.agreement)
    assert np.isnan(nothing.spurious_fraction)


def test_agreement__on_other_grids():
    fine, coarse = 0.1 * np.arange(1000), 0.5 + np.arange(3, 110.0)
    switches = np.array([23.45, 61.2])
    a = np.tile(telegraph(fine, switches), (20, 1))
    b = np.tile(telegraph(coarse, switches), (20, 1))
    same = analysis.agreement(a, b, fine, coarse, tolerance=2.0)
    assert (int(same.found), int(same.missed), int(same.spurious)) == (40, 0, 0)
    assert float(same.agreement) > 0.98
    assert same.attrs["common_time"] == pytest.approx(99.95 - 3.0)


@pytest.mark.parametrize("ntraj, bins", [(30, 2000), (2, 30_000)])
def test_agreement__coverage(rng, ntraj, bins):
    # senses that know nothing of one another
    t, deviation, stderr = DT * np.arange(bins), [], []
    for _ in range(40):
        a, b = telegraphs(rng, 0.1, t, ntraj), telegraphs(rng, 0.1, t, ntraj)
        same = analysis.agreement(a, b, t, t, tolerance=1.0)
        deviation.append(float(same.agreement) - 0.5)
        stderr.append(float(same.agreement_stderr))
    score = np.array(deviation) / stderr
    assert abs(np.mean(score)) < 5 / np.sqrt(40)
    assert abs(np.std(score) - 1) < 5 / np.sqrt(80)
    # an error as if samples were independent is too small: negative control
    assert np.std(np.array(deviation) / (0.5 / np.sqrt(ntraj * bins))) > 1 + 5 / np.sqrt(80)


def test_agreement__found_fraction_coverage(rng):
    # reversals a minute apart, each moved out of reach with probability 0.2
    t, score = np.arange(1200.0), []
    places = np.arange(30.5, 1170, 60)
    for _ in range(60):
        a = np.tile(telegraph(t, places), (25, 1))
        moved = places + 20 * (rng.random((25, places.size)) < 0.2)
        b = np.array([telegraph(t, m) for m in moved])
        same = analysis.agreement(a, b, t, t, tolerance=5.0)
        score.append((float(same.found_fraction) - 0.8) / float(same.found_fraction_stderr))
        assert int(same.missed) == int(same.spurious)
    assert abs(np.mean(score)) < 5 / np.sqrt(60)
    assert abs(np.std(score) - 1) < 5 / np.sqrt(120)


def test_agreement__arguments():
    t, a = np.arange(50.0), np.ones((20, 50))
    with pytest.raises(ValueError, match="Argument `tolerance` must be positive"):
        analysis.agreement(a, a, t, t, tolerance=0)
    with pytest.raises(ValueError, match="Argument `tolerance` must be shorter than half"):
        analysis.agreement(a, a, t, t, tolerance=25.0)
    with pytest.raises(ValueError, match="they have 0 in common"):
        analysis.agreement(a, a, t, t + 1000, tolerance=1.0)
    with pytest.raises(ValueError, match="Argument `sense_b` must have the 20 trajectories"):
        analysis.agreement(a, a[:3], t, t, tolerance=1.0)
    with pytest.raises(ValueError, match="Argument `times_b` must be given"):
        analysis.agreement(a, a, t, tolerance=1.0)
    with pytest.raises(ValueError, match=r"Argument `sense_a` must hold \+1, -1 and 0 only"):
        analysis.agreement(0.5 * a, a, t, t, tolerance=1.0)
    with pytest.raises(ValueError, match="Argument `sense_b` must be 0 before its first decision only"):
        analysis.agreement(a, np.where(t == 30, 0, a), t, t, tolerance=1.0)
    array = xr.DataArray(a, dims=["trajectory", "time"], coords={"trajectory": np.arange(20), "time": t})
    with pytest.raises(ValueError, match="must belong to the runs of `sense_a`"):
        analysis.agreement(array, array.assign_coords(trajectory=np.arange(1, 21)), tolerance=1.0)
    with pytest.warns(analysis.TooLittleDataWarning, match="the agreement"):
        assert np.isnan(analysis.agreement(a[0, :5], a[0, :5], t[:5], t[:5], tolerance=1.0).agreement_stderr)


# --- rates and dwell times -------------------------------------------------------------------------------


def test_dwell_times__with_censoring():
    t = 2.0 + 0.5 * np.arange(10)
    senses = np.array(
        [
            [0, 0, 1, 1, 1, -1, -1, 1, 1, 1],
            [-1, -1, -1, -1, -1, -1, -1, -1, -1, -1],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, -1, -1, -1, -1, -1, -1, -1, -1, -1],
        ]
    )
    data = analysis.dwell_times(senses, t)
    np.testing.assert_allclose(data.dwell_time, [1.5, 1.0, 1.5, 5.0, 0.5, 4.5])
    np.testing.assert_array_equal(data.sense, [1, -1, 1, -1, 1, -1])
    np.testing.assert_allclose(data.start, [2.75, 4.25, 5.25, 1.75, 1.75, 2.25])
    np.testing.assert_array_equal(data.trajectory_index, [0, 0, 0, 1, 3, 3])
    np.testing.assert_array_equal(data.left_censored, [True, False, False, True, True, False])
    np.testing.assert_array_equal(data.right_censored, [False, False, True, True, False, True])
    assert (data.attrs["n_reversals"], data.attrs["n_trajectories"]) == (3, 4)
    assert analysis.dwell_times(np.zeros(10), t).sizes["interval"] == 0
    assert analysis.dwell_times(senses[0], t).sizes["interval"] == 3
    with pytest.raises(ValueError, match="Argument `times` must be given"):
        analysis.dwell_times(senses)
    with pytest.raises(ValueError, match="returns to 0"):
        analysis.dwell_times([1, 0, 1], [0, 1, 2])


def test_dwell_times__constant_rate(rng):
    rate, t = 0.02, DT * np.arange(2000)
    data = analysis.dwell_times(telegraphs(rng, rate, t, 400), t)
    n = data.attrs["n_reversals"]
    # reversals over the sum of all intervals
    assert abs(n / float(data.dwell_time.sum()) - rate) < 5 * rate / np.sqrt(n)
    # complete intervals alone are too short: negative control
    complete = data.dwell_time.values[~(data.left_censored | data.right_censored).values]
    assert 1 / rate - complete.mean() > 5 * complete.std() / np.sqrt(complete.size)


def test_reversal_rate__exact_poisson():
    for counts, duration in ((5, 10.0), ([5], 10.0), ([2, 3], 5.0)):
        data = analysis.reversal_rate(counts, duration)
        assert data.attrs["interval_method"] == "exact Poisson"
        values = [float(data[k]) for k in ("rate", "rate_stderr", "rate_low", "rate_high")]
        # Garwood: 1.6235 .. 11.6683 for 5 events
        np.testing.assert_allclose(values, [0.5, np.sqrt(5) / 10, 0.16235, 1.16683], rtol=1e-4)
    none = analysis.reversal_rate(np.zeros(64, dtype=int), 900.0)
    assert (float(none.rate), float(none.rate_low)) == (0, 0)
    assert float(none.rate_high) == pytest.approx(-np.log(0.025) / (64 * 900))
    assert none.attrs["interval_method"] == "exact Poisson"
    # by definition: the ends make the count as improbable as the level says
    data = analysis.reversal_rate(7, 1.0, level=0.9)
    assert stats.poisson.sf(6, float(data.rate_low)) == pytest.approx(0.05)
    assert stats.poisson.cdf(7, float(data.rate_high)) == pytest.approx(0.05)


@pytest.mark.parametrize("ntraj", [10, 64])
def test_reversal_rate__bootstrap_coverage(rng, ntraj):
    # clustered reversals, five times as scattered as a Poisson law's: the interval must not assume one
    hits, narrow, trials = 0, 0, 400
    for _ in range(trials):
        counts = 5 * rng.poisson(3.0, ntraj)
        data = analysis.reversal_rate(counts, 2.0, replicates=400)
        assert data.attrs["interval_method"] == "bootstrap over trajectories"
        hits += float(data.rate_low) <= 7.5 <= float(data.rate_high)
        poisson = analysis.reversal_rate(int(counts.sum()), 2.0 * ntraj)
        narrow += float(poisson.rate_low) <= 7.5 <= float(poisson.rate_high)
    error = np.sqrt(0.95 * 0.05 / trials)
    assert abs(hits / trials - 0.95) < 5 * error
    assert narrow / trials < 0.95 - 5 * error  # negative control


def test_reversal_rate__duration_of_labelled_counts(rng):
    t = DT * np.arange(5001)
    array = xr.DataArray(
        np.pi / 2 * telegraphs(rng, 0.01, t, 50), dims=["trajectory", "time"], coords={"time": t}, name="phase"
    )
    data = analysis.reversal_rate(analysis.reversals(array, None, 1.0, "hysteresis"))
    assert data.attrs["duration"] == pytest.approx(500, rel=0.01)
    assert abs(float(data.rate) - 0.01) < 5 * float(data.rate_stderr)
    assert float(data.rate_low) < float(data.rate) < float(data.rate_high)


def test_reversal_rate__arguments():
    for counts, message in (
        ([-1], "whole numbers >= 0"),
        ([1.5], "whole numbers >= 0"),
        ([np.nan], "Argument `counts` must be finite"),
        ([], "Argument `counts` must have shape"),
        (np.ones((2, 2)), "Argument `counts` must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            analysis.reversal_rate(counts, 1.0)
    with pytest.raises(ValueError, match="Argument `duration` must be given"):
        analysis.reversal_rate([1, 2])
    with pytest.raises(ValueError, match="Argument `duration` must be positive"):
        analysis.reversal_rate([1, 2], 0.0)
    with pytest.raises(ValueError, match="Argument `level`"):
        analysis.reversal_rate([1, 2], 1.0, level=1.0)
    with pytest.raises(ValueError, match="Argument `replicates`"):
        analysis.reversal_rate([1, 2], 1.0, replicates=10)


# --- scaling ---------------------------------------------------------------------------------------------

SIZES = np.arange(50, 301, 25)


def test_scaling__exact_data():
    counts = 80 * np.exp(-SIZES / 60)
    data = analysis.scaling(SIZES, counts, 0.1 * np.sqrt(counts), (100, 250))
    assert float(data.delta_N) == pytest.approx(60)
    assert float(data.amplitude) == pytest.approx(80)
    assert float(data.chi2) == pytest.approx(0, abs=1e-12)
    assert (data.attrs["n_points"], data.attrs["dof"]) == (7, 5)
    assert (data.attrs["fit_range"], data.attrs["N_lowest"], data.attrs["N_highest"]) == ((100, 250), 100, 250)
    assert data.attrs["n_saturated"] == -1


def test_scaling__is_curve_fit(rng):
    from scipy.optimize import curve_fit

    counts = rng.normal(80 * np.exp(-SIZES / 60), 0.3)
    errors = np.full(SIZES.size, 0.3)
    data = analysis.scaling(SIZES, counts, errors, (50, 250))
    n, counts, errors = SIZES[:9], counts[:9], errors[:9]
    p, c = curve_fit(lambda n, a, d: a * np.exp(-n / d), n, counts, p0=(50, 50), sigma=errors, absolute_sigma=True)
    values = [float(data[k]) for k in ("amplitude", "delta_N", "amplitude_stderr", "delta_N_stderr")]
    np.testing.assert_allclose(values, [*p, *np.sqrt(np.diag(c))], rtol=1e-4)
    residuals = (counts - p[0] * np.exp(-n / p[1])) / errors
    assert float(data.chi2) == pytest.approx(float(np.sum(residuals**2)), rel=1e-6)


def test_scaling__coverage(rng):
    # 64 trajectories at each size, Poisson counts, errors from their scatter
    exact, score, naive, curved, pvalues = 80 * np.exp(-SIZES / 60), [], [], [], []
    for _ in range(200):
        counts = rng.poisson(exact, (64, SIZES.size))
        mean, error = counts.mean(axis=0), counts.std(axis=0, ddof=1) / 8
        data = analysis.scaling(SIZES, mean, error, (100, 250))
        score.append((float(data.delta_N) - 60) / float(data.delta_N_stderr))
        pvalues.append(float(data.pvalue))
        # negative controls: errors of single trajectories instead of means; a fit of saturating counts
        wrong = analysis.scaling(SIZES, mean, error / 2, (100, 250))
        naive.append((float(wrong.delta_N) - 60) / float(wrong.delta_N_stderr))
        saturated = analysis.scaling(SIZES, 45 * (1 - np.exp(-mean / 45)), error, (50, 250))
        curved.append((float(saturated.delta_N) - 60) / float(saturated.delta_N_stderr))
    tolerance = 5 * np.sqrt(0.683 * 0.317 / 200)
    assert abs(np.mean(score)) < 5 / np.sqrt(200)
    assert abs(np.mean(np.abs(score) < 1) - 0.683) < tolerance
    assert not abs(np.mean(np.abs(naive) < 1) - 0.683) < tolerance
    assert np.mean(curved) > 5
    assert abs(np.mean(pvalues) - 0.5) < 5 / np.sqrt(12 * 200)


def test_scaling__counts_of_the_physics_notes():
    # two species of N spins each, block counts of 64 trajectories (section 9): 60.1(18) over N = 100 .. 250
    n, counts, errors = [50, 100, 150, 200], [29.0, 14.7, 6.7, 2.6], [0.5, 0.5, 0.3, 0.2]
    data = analysis.scaling(n, counts, errors, (100, 200), saturation=45)
    assert data.attrs["n_saturated"] == 0
    assert abs(float(data.delta_N) - 59) < 3 * float(data.delta_N_stderr)
    with pytest.warns(UserWarning, match="1 of the 4 points in the fit lie above 0.5 of the saturation of 45"):
        low = analysis.scaling(n, counts, errors, (50, 200), saturation=45)
    assert low.attrs["n_saturated"] == 1
    assert float(low.delta_N) > float(data.delta_N)


def test_scaling__zero_counts_take_part():
    data = analysis.scaling([100, 200, 300, 400], [15.0, 2.8, 0.5, 0.0], [0.5, 0.2, 0.1, 0.1], (100, 400))
    assert float(data.delta_N) == pytest.approx(58, abs=4)
    assert data.attrs["n_points"] == 4


def test_scaling__where_zeros_leave_no_exponential():
    for counts in ([5.0, 0.0, 0.0], [0.0, 0.0, 5.0]):
        with pytest.raises(ValueError, match="Argument `counts` must be positive at another N"):
            analysis.scaling([1, 2, 3], counts, [1.0, 0.1, 0.1], (0, 4))
    with pytest.warns(analysis.TooLittleDataWarning, match="do not fall significantly"):
        data = analysis.scaling([1, 2, 3], [5.0, 1e-9, 0.0], [1.0, 0.1, 0.1], (0, 4))  # anything above log 50
    # its error is that of the second count, 1e8 of it
    np.testing.assert_allclose([data.decay, data.decay_stderr], [np.log(5e9), 1e8], rtol=1e-6)


def test_scaling__far_above_delta_N():
    n = np.arange(1000.0, 1004.0)
    data = analysis.scaling(n, np.exp(1000 - n), np.full(4, 0.01), (1000, 1003))
    np.testing.assert_allclose([data.delta_N, data.amplitude], [1.0, np.inf], rtol=1e-9)
    near = analysis.scaling(n - 1000, np.exp(1000 - n), np.full(4, 0.01), (0, 3))
    np.testing.assert_allclose(data.delta_N_stderr, near.delta_N_stderr, rtol=1e-9)


def test_scaling__no_decay():
    with pytest.warns(analysis.TooLittleDataWarning, match="do not fall significantly"):
        data = analysis.scaling([1, 2, 3], [5.0, 5.1, 5.2], [0.5, 0.5, 0.5], (1, 3))
    assert np.isnan(data.delta_N)
    assert np.isnan(data.delta_N_stderr)
    assert float(data.decay) < 0 < float(data.decay_stderr)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fit_range": (100, 150)}, "Argument `fit_range` must be an ascending pair that holds three different N"),
        ({"fit_range": (250, 100)}, "Argument `fit_range` must be an ascending pair"),
        ({"N": [100, 150, 150, 100]}, "holds 2; two points fit any exponential"),
        ({"counts": [14.7, 6.7, 2.6]}, "Argument `counts` must be real and one-dimensional, as long as `N`"),
        ({"counts": [14.7, np.nan, 2.6, 1.0]}, "Argument `counts` must be finite"),
        ({"counts": [14.7, -6.7, 2.6, 1.0]}, "Argument `counts` must be >= 0"),
        ({"counts": [0, 0, 0, 0]}, "and not all zero"),
        ({"errors": [0.1, 0.0, 0.1, 0.1]}, "Argument `errors` must be positive"),
        ({"saturation": 0.0}, "Argument `saturation` must be positive"),
    ],
)
def test_scaling__arguments(change, message):
    arguments = {
        "N": [100, 150, 200, 250],
        "counts": [14.7, 6.7, 2.6, 1.1],
        "errors": [0.5, 0.3, 0.2, 0.1],
        "fit_range": (100, 250),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        analysis.scaling(**arguments)
