"""Residence: hand-made sequences, telegraph signals with known rates, laws with closed forms."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import linalg, stats

from backaction import analysis
from backaction.analysis import residence

DT = 0.02
RATES = (1 / 1.47, 1 / 1.08)
TRUTH = {
    "mean_0": 1.47,
    "mean_pi": 1.08,
    "rate_0": RATES[0],
    "rate_pi": RATES[1],
    "ratio": 1.47 / 1.08,
    "occupation_0": 1.47 / (1.47 + 1.08),
}


def chain(rng: np.random.Generator, rates: tuple[float, float], n: int, dt: float, size: int) -> np.ndarray:
    """States (size, n) of a stationary telegraph process, sample by sample, without the package."""
    k = sum(rates)
    jump = -np.expm1(-k * dt) / k * np.array(rates)
    state = np.empty((size, n), dtype=np.int8)
    state[:, 0] = rng.random(size) < rates[0] / k
    for i in range(1, n):
        state[:, i] = state[:, i - 1] ^ (rng.random(size) < jump[state[:, i - 1]])
    return state


def locked(rng: np.random.Generator, state: np.ndarray, noise: float) -> np.ndarray:
    """Phases at 0 and pi, in noise, of any branch."""
    return np.pi * state + noise * rng.standard_normal(state.shape) + 2 * np.pi * rng.integers(-2, 3, state.shape)


def naive_states(phase: np.ndarray, w: float) -> list[int]:
    state, result = -1, []
    for p in phase:
        angle = abs(np.angle(np.exp(1j * p)))
        state = 0 if angle < w else 1 if angle > np.pi - w else state
        result.append(state)
    return result


# --- assignment ------------------------------------------------------------------------------------------


def test_assign__rule_by_hand():
    phase = np.array([1.5, 0.8, 0.7, 1.5, -2.3, -2.4, 2.0, -1.0, -0.78, 3.1])
    np.testing.assert_array_equal(residence.assign(phase), [-1, -1, 0, 0, 0, 1, 1, 1, 0, 1])
    # narrower and wider windows
    np.testing.assert_array_equal(residence.assign(phase, np.pi / 8), [-1, -1, -1, -1, -1, -1, -1, -1, -1, 1])
    np.testing.assert_array_equal(residence.assign(phase, np.pi / 2), [0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
    # the edges themselves do not enter
    edges = np.array([0.0, np.pi / 2, -np.pi / 2, np.pi])
    np.testing.assert_array_equal(residence.assign(edges, np.pi / 2), [0, 0, 0, 1])


@pytest.mark.parametrize("w", [0.2, np.pi / 4, 1.4])
def test_assign__is_a_naive_loop(rng, w):
    phase = rng.normal(0, 3, (4, 300)).cumsum(axis=1)
    found = residence.assign(phase, w)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, [naive_states(p, w) for p in phase])


def test_assign__wraps_at_pi():
    np.testing.assert_array_equal(residence.assign(np.array([3.1, -3.1, 3.2, np.pi, -np.pi, 9.4, -9.4])), 1)
    np.testing.assert_array_equal(residence.assign(np.array([0.1, -0.1, 6.2, -6.2, 4 * np.pi])), 0)


def test_assign__axes_and_labels(rng):
    phase = rng.uniform(-4, 4, (3, 50))
    expected = residence.assign(phase)
    np.testing.assert_array_equal(residence.assign(phase.T, axis=0), expected.T)
    np.testing.assert_array_equal(residence.assign(phase[0]), expected[0])
    array = xr.DataArray(phase, dims=["trajectory", "time"], coords={"time": np.arange(50.0)})
    for a in (array, array.transpose()):
        found = residence.assign(a)
        assert found.dims == a.dims
        np.testing.assert_array_equal(found.transpose("trajectory", "time"), expected)
    sweep = xr.concat([array, array + 0.5], "point")
    np.testing.assert_array_equal(residence.assign(sweep)[1], residence.assign(phase + 0.5))
    np.testing.assert_array_equal(residence.assign(array.rename(time="t"), axis="t"), expected)
    np.testing.assert_array_equal(residence.assign(array.rename(time="t").T), expected.T)  # never along trajectories


def test_assign_levels__is_a_naive_loop(rng):
    signal = rng.normal(0, 1, (3, 400)).cumsum(axis=1)
    state, expected = np.full(3, -1), []
    for x in signal.T:
        state = np.where(x > 2, 1, np.where(x < -1, 0, state))
        expected.append(state)
    np.testing.assert_array_equal(residence.assign_levels(signal, -1, 2), np.transpose(expected))
    np.testing.assert_array_equal(residence.assign_levels([0.0, 3.0, 0.0, -2.0, 0.0], 0.5, 0.5), [0, 1, 0, 0, 0])


def test_assign_levels__at_the_thresholds_themselves(rng):
    # neither above nor below; of (high - low) / 2 rounding would make it so
    for low, high in rng.uniform(-1, 1, (200, 2)).cumsum(axis=1):
        low, high = min(low, high), max(low, high)
        np.testing.assert_array_equal(residence.assign_levels([high, low, high], low, high), -1)
        beyond = [np.nextafter(high, 9), low, np.nextafter(low, -9), high]
        np.testing.assert_array_equal(residence.assign_levels(beyond, low, high), [1, 1, 0, 0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"half_width": 0.0}, r"half_width.*pi/2.*0"),
        ({"half_width": 1.6}, r"half_width.*pi/2.*1.6"),
        ({"half_width": np.nan}, r"half_width.*nan"),
        ({"phase_difference": np.array([0.1, np.nan])}, r"phase_difference.*NaN"),
        ({"phase_difference": np.array([1j, 1.0])}, r"phase_difference.*np.angle"),
        ({"phase_difference": np.zeros((0, 4))}, "axis"),
        ({"axis": 1}, r"axis.*phase_difference"),
        ({"axis": "time"}, r"axis.*plain array"),
    ],
)
def test_assign__bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        residence.assign(**{"phase_difference": np.zeros(5), **change})


def test_assign_levels__bad_input():
    with pytest.raises(ValueError, match=r"low.*high"):
        residence.assign_levels(np.zeros(5), 1.0, 0.0)
    with pytest.raises(ValueError, match=r"signal.*real"):
        residence.assign_levels(np.zeros(5) * 1j, 0.0, 1.0)


# --- dwell times and means -------------------------------------------------------------------------------


def test_residence_times__by_hand():
    states = np.array([[-1, 0, 0, 1, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1, 1], [-1, -1, -1, -1, -1, -1, -1, -1]])
    with pytest.warns(analysis.TooLittleDataWarning, match=r"2 from 0, 1 from 1 .*record longer"):
        found = residence.residence_times(states, 10 + 0.5 * np.arange(8))
    np.testing.assert_allclose(found.dwell_time, [1.0, 0.5, 1.5, 0.5, 4.0])
    np.testing.assert_array_equal(found.state, [0, 1, 0, 1, 1])
    np.testing.assert_allclose(found.start, [10.25, 11.25, 11.75, 13.25, 9.75])
    np.testing.assert_array_equal(found.trajectory_index, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.left_censored, [True, False, False, False, True])
    np.testing.assert_array_equal(found.right_censored, [False, False, False, True, True])
    assert (found.exits_0, found.exits_1) == (2, 1)
    assert (found.time_0, found.time_1) == (2.5, 5.0)
    # all time counts, not that of complete visits only
    assert (found.mean_0, found.mean_1) == (1.25, 5.0)
    assert (found.rate_0, found.rate_1) == (0.8, 0.2)
    assert found.ratio == pytest.approx(0.25)
    assert found.occupation_0 == pytest.approx(1 / 3)
    assert found.attrs["undecided_time"] == 4.5
    assert found.attrs["interval_method"] == "gamma"
    for name in ("mean_0", "mean_1", "rate_0", "rate_1", "ratio", "occupation_0"):
        assert found[name + "_low"] < found[name] < found[name + "_high"]


def test_residence_times__gamma_interval_is_jeffreys():
    # tabulated: chi-squared of 21 degrees of freedom has 2.5 % below 10.283 and above 35.479
    states = np.tile([0, 1], 11)[:21]
    found = residence.residence_times(states, np.arange(21.0))
    assert found.exits_0 == 10
    assert found.rate_0_low == pytest.approx(10.283 / 2 / 11, rel=1e-4)
    assert found.rate_0_high == pytest.approx(35.479 / 2 / 11, rel=1e-4)
    assert found.mean_0_high == pytest.approx(1 / found.rate_0_low)


def test_residence_times__never_left_and_never_seen():
    with pytest.warns(analysis.TooLittleDataWarning, match="0 from 0, 0 from 1"):
        found = residence.residence_times(np.zeros((2, 50)), np.arange(50.0))
    assert found.mean_0 == np.inf
    assert found.mean_0_high == np.inf
    assert found.mean_0_low == pytest.approx(100 / 3.6889, rel=1e-4)  # no event: at most 3.69 at 97.5 %
    assert found.rate_0 == 0
    assert found.rate_0_low == 0
    assert found.occupation_0 == 1
    for name in ("mean_1", "rate_1", "mean_1_low", "mean_1_high", "mean_0_stderr"):
        assert np.isnan(found[name])


def test_dwell_times__is_the_rule_and_the_count(rng):
    phase = locked(rng, chain(rng, RATES, 3000, DT, 3), 0.3)
    t = 5.0 + DT * np.arange(3000)
    found = residence.dwell_times(phase, t, np.pi / 3)
    by_hand = residence.residence_times(residence.assign(phase, np.pi / 3), t, labels=("0", "pi"))
    xr.testing.assert_identical(found.drop_attrs(), by_hand.drop_attrs())
    assert found.attrs["method"] == "hysteresis"
    assert found.attrs["half_width"] == np.pi / 3
    array = xr.DataArray(phase, dims=["trajectory", "time"], coords={"time": t})
    for same in (
        residence.dwell_times(phase.T, t, np.pi / 3, axis=0),
        residence.dwell_times(array, None, np.pi / 3),
        residence.dwell_times(array.transpose(), half_width=np.pi / 3),
        residence.dwell_times(array.rename(time="t", trajectory="bin"), half_width=np.pi / 3, axis="t"),
    ):
        xr.testing.assert_identical(found, same)
    cut = residence.dwell_times(phase, t, np.pi / 3, discard=10.0)
    xr.testing.assert_identical(
        cut.drop_attrs(),
        residence.residence_times(
            residence.assign(phase, np.pi / 3)[:, 500:], t[500:], labels=("0", "pi")
        ).drop_attrs(),
    )


def test_residence_times__of_a_sense(rng):
    # it serves any two-state signal: chirality's decisions, translated
    sense = 2 * chain(rng, RATES, 2000, DT, 2) - 1
    t = DT * np.arange(2000)
    found, other = residence.residence_times((sense + 1) // 2, t), analysis.dwell_times(sense, t)
    for name in ("dwell_time", "start", "left_censored", "right_censored"):
        np.testing.assert_array_equal(found[name], other[name])


def test_residence_times__all_time_counts(rng):
    """Records of two residence times: complete visits alone are much too short."""
    states = chain(rng, RATES, 150, DT, 4000)
    found = residence.residence_times(states, DT * np.arange(150))
    p = -np.expm1(-sum(RATES) * DT) / sum(RATES) * np.array(RATES)  # of a sampled chain: exits per sample
    for j in (0, 1):
        # ... of the samples that have a successor
        expected = DT / p[j] * 150 / 149
        assert abs(found[f"mean_{j}"] - expected) < 5 * found[f"mean_{j}_stderr"]
        assert found[f"mean_{j}_stderr"] < 0.02 * expected
        complete = found.dwell_time[(found.state == j) & ~found.left_censored & ~found.right_censored]
        assert complete.mean() < 0.7 * expected  # negative control
    assert abs(found.occupation_0 - TRUTH["occupation_0"]) < 5 * found.occupation_0_stderr


def covered(rng: np.random.Generator, trials: int, ntraj: int, duration: float, noise: float = 0.3) -> dict:
    """Fraction of trials whose 95 % interval holds the truth, from short noisy records; how many of each method."""
    n = round(duration / DT)
    states = chain(rng, RATES, n, DT, trials * ntraj).reshape(trials, ntraj, n)
    inside = dict.fromkeys(TRUTH, 0)
    wrong = 0
    methods = []
    for one in states:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", analysis.TooLittleDataWarning)
            found = residence.dwell_times(locked(rng, one, noise), DT * np.arange(n), replicates=500)
        for name, value in TRUTH.items():
            inside[name] += bool(found[name + "_low"] <= value <= found[name + "_high"])
        wrong += bool(found.mean_0_low <= 2 * TRUTH["mean_0"] <= found.mean_0_high)
        methods.append(found.attrs["interval_method"].split()[-1])
    return {"inside": {k: v / trials for k, v in inside.items()}, "wrong": wrong / trials, "methods": methods}


RECORDS = [(1, 20.0, "gamma"), (3, 25.0, "cycles"), (20, 6.0, "trajectories")]


@pytest.mark.parametrize("ntraj, duration, method", RECORDS)
def test_dwell_times__intervals_cover(rng, ntraj, duration, method):
    trials = 100
    found = covered(rng, trials, ntraj, duration)
    assert found["methods"].count(method) > 0.8 * trials
    for name, fraction in found["inside"].items():
        assert fraction > 0.95 - 5 * np.sqrt(0.95 * 0.05 / trials), name
    assert found["wrong"] < 0.8  # negative control: a truth that is none


@pytest.mark.slow
@pytest.mark.parametrize("ntraj, duration, method", [*RECORDS, (1, 60.0, "cycles"), (8, 15.0, "trajectories")])
def test_dwell_times__intervals_cover_at_length(rng, ntraj, duration, method):
    found = covered(rng, 500, ntraj, duration)
    for name, fraction in found["inside"].items():
        assert 0.916 <= fraction <= 0.984, name


def hyperexponential(rng: np.random.Generator, size: int) -> np.ndarray:
    """Half of the visits short (1), half long (9): mean 5, coefficient of variation sqrt(57/25) = 1.510."""
    return rng.exponential(np.where(rng.random(size) < 0.5, 1.0, 9.0))


def test_residence_times__errors_know_about_mixtures(rng):
    """Dwell times that are not exponential: errors of cycles are larger by their coefficient of variation."""
    t = 0.1 * np.arange(20_000)
    means, errors = [], []
    for _ in range(60):
        switches = np.cumsum(hyperexponential(rng, 1000))
        found = residence.residence_times(np.searchsorted(switches, t) % 2, t, replicates=100)
        assert found.attrs["interval_method"] == "bootstrap over cycles"
        means.append(float(found.mean_0))
        errors.append(float(found.mean_0_stderr) * np.sqrt(float(found.exits_0)) / means[-1])
    scatter = np.std(errors) / np.sqrt(60)
    assert abs(np.mean(errors) - np.sqrt(57 / 25)) < 5 * scatter + 0.06  # .06: samples of .1 and errors' own bias
    assert np.mean(errors) > 1.3  # 1 would be that of exponential visits: negative control
    assert np.std(means) / np.mean(means) == pytest.approx(np.mean(errors) / np.sqrt(200), rel=5 / np.sqrt(120))


def test_residence_times__of_a_clock():
    """Visits that are alike, or all but one: replicates without that one have no spread of their own."""
    names = ("mean_0", "mean_1", "ratio", "occupation_0")

    def ends(lengths: np.ndarray, size: int, dt: float) -> xr.Dataset:
        states = np.tile(np.repeat(np.arange(lengths.size), lengths) % 2, (size, 1))
        found = residence.residence_times(states, dt * np.arange(states.shape[1]))
        for name in names:
            assert 0 <= found[name + "_low"] <= found[name] * (1 + 1e-12)
            assert found[name] <= found[name + "_high"] * (1 + 1e-12) < np.inf
        return found

    for dt in (1.0, 0.02):
        alike = ends(np.full(60, 10), 9, dt)
        assert alike.attrs["interval_method"] == "bootstrap over trajectories"
        for name in names:
            for end in ("_low", "_high"):
                assert alike[name + end] == pytest.approx(float(alike[name]), rel=1e-8)
            assert alike[name + "_stderr"] < 1e-8 * alike[name]
        one = ends(np.full(60, 10), 1, dt)
        assert one.attrs["interval_method"] == "bootstrap over cycles"
        assert one.mean_0_high == pytest.approx(float(one.mean_0_low), rel=1e-8)
        # the last visit to 1 is cut off: 300 in 29 exits, without it 290 in 29, and at most four errors up
        assert one.mean_1_low < 10 * dt
        assert one.mean_1_high < one.mean_1 + 5 * one.mean_1_stderr
    lengths = np.full(60, 100)
    lengths[8] = 110
    odd = ends(lengths, 1, 1.0)
    # 10 in 30 visits, with an error of as much
    assert odd.mean_0_stderr == pytest.approx(10 / 30, rel=0.01)
    assert odd.mean_0_low > 99.5
    assert odd.mean_0_high - 100 == pytest.approx(5 * 10 / 30, rel=0.01)  # four errors up


def test_residence_times__is_deterministic(rng):
    states, t = chain(rng, RATES, 1000, DT, 10), DT * np.arange(1000)
    a, b = (residence.residence_times(states, t, seed=s) for s in (3, 3))
    xr.testing.assert_identical(a, b)
    c = residence.residence_times(states, t, seed=4)
    assert c.mean_0_low != a.mean_0_low
    assert c.mean_0_low == pytest.approx(float(a.mean_0_low), rel=0.1)


def test_residence_times__flags_what_is_shorter_than_the_filter():
    states, t = np.repeat([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [9, 9, 2, 9, 9, 9, 9, 9, 9, 9, 9, 2]), np.arange(94.0)
    with pytest.warns(RuntimeWarning, match=r"10% .* shorter than the filter \(3\).*telegraph"):
        found = residence.residence_times(states, t, filter_time=3.0)
    np.testing.assert_array_equal(found.shorter_than_filter, np.arange(12) % 9 == 2)
    assert found.attrs["short_fraction"] == 0.1
    # as long as the filter is not shorter; and no complaint where none are
    found = residence.residence_times(states, t, filter_time=2.0)
    assert not found.shorter_than_filter.any()
    assert found.attrs["short_fraction"] == 0


GOOD = {"phase_difference": np.zeros(50), "times": np.arange(50.0)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"times": None}, r"times.*must be given"),
        ({"times": np.arange(49.0)}, r"times.*one entry per sample.*49 for 50"),
        ({"times": np.arange(50.0) ** 2}, r"times.*uniformly.*resample"),
        ({"times": -np.arange(50.0)}, r"times.*ascending"),
        ({"times": np.full(50, np.nan)}, r"times.*NaN"),
        ({"phase_difference": np.zeros((2, 2, 50))}, r"phase_difference.*\(trajectory, time\)"),
        ({"phase_difference": np.full(50, np.nan)}, r"phase_difference.*NaN"),
        ({"phase_difference": np.full(50, 1j)}, r"phase_difference.*np.angle"),
        ({"phase_difference": np.full(50, 1j), "method": "hmm"}, r"phase_difference.*np.angle"),
        ({"half_width": 2.0}, "half_width"),
        ({"method": "median"}, r"method.*hysteresis.*hmm.*median"),
        ({"n_states": 4, "method": "hmm"}, r"n_states.*2 or 3.*4"),
        ({"discard": -1.0}, "discard"),
        ({"discard": 60.0}, "discard"),
        ({"level": 1.0}, "level"),
        ({"replicates": 10}, r"replicates.*100"),
        ({"replicates": np.nan}, r"replicates.*integer >= 100.*nan"),
        ({"filter_time": 0.0}, "filter_time"),
        ({"axis": 3}, "axis"),
        ({"axis": "time"}, "axis"),
    ],
)
def test_dwell_times__bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        residence.dwell_times(**{**GOOD, **change})


@pytest.mark.parametrize(
    "states, options, message",
    [
        ([0, 2, 1], {}, r"states.*0, 1 and -1"),
        ([0.0, 0.5, 1.0], {}, r"states.*0, 1 and -1"),
        ([0, -1, 1], {}, r"states.*returns to -1"),
        ([0, 1, 1], {"labels": ("a", "a")}, "labels"),
        ([0, 1, 1], {"labels": "ab"}, "labels.*two different names"),
        ([0, 1, 1], {"labels": None}, "labels.*two different names"),
        (xr.DataArray([0, 1, 1], dims="time"), {"axis": "t"}, r"axis.*dim"),
    ],
)
def test_residence_times__bad_input(states, options, message):
    with pytest.raises(ValueError, match=message):
        residence.residence_times(states, np.arange(3.0), **options)


# --- hidden Markov models --------------------------------------------------------------------------------


def test_hidden_markov__knows_the_rates_where_hysteresis_does_not(rng):
    """Noise that crosses the thresholds now and then: a rule takes that for jumps, a model does not."""
    states = chain(rng, RATES, 1500, DT, 40)
    phase, t = locked(rng, states, 0.9), DT * np.arange(1500)
    found = residence.hidden_markov(phase, t)
    for i, j in ((0, 1), (1, 0)):
        assert abs(found.rate[i, j] - RATES[i]) < 5 * found.rate_stderr[i, j]
        assert found.rate_stderr[i, j] < 0.12 * RATES[i]
        assert found.rate[i, i] == pytest.approx(-float(found.rate[i, j]))
    assert found.state.dims == ("trajectory", "time")
    assert found.state.dtype == np.int8
    assert np.mean(found.state.values == states) > 0.97
    np.testing.assert_allclose(found.probability.sum("hidden"), 1, rtol=1e-9)
    # the posterior is a probability: where it says .7 to .9 it is right about as often
    p = found.probability.values[..., 1]
    doubt = (p > 0.7) & (p < 0.9)
    assert 0.6 < states[doubt].mean() < 0.95
    # distributions in the wells: wrapped Gaussians, per radian
    width = float(found.phase[1] - found.phase[0])
    np.testing.assert_allclose(found.density.sum("phase") * width, 1, rtol=1e-6)
    gauss = np.exp(-0.5 * (found.phase / 0.9) ** 2) / (0.9 * np.sqrt(2 * np.pi))
    assert np.abs(found.density[0] - gauss).max() < 0.03

    model = residence.dwell_times(phase, t, method="hmm")
    assert model.attrs["interval_method"] == "likelihood, trajectories"
    for name, value in TRUTH.items():
        assert abs(model[name] - value) < 5 * model[name + "_stderr"], name
    assert model.rate_0 == pytest.approx(float(found.rate[0, 1]), rel=1e-6)
    rule = residence.dwell_times(phase, t)
    assert rule.rate_0 > RATES[0] + 5 * rule.rate_0_stderr  # negative control


def test_hidden_markov__with_little_noise_counts_exits(rng):
    """The model's rates are exits per time, its errors those of so many exits."""
    states, t = chain(rng, RATES, 4000, DT, 2), DT * np.arange(4000)
    model = residence.hidden_markov(states + 0.1 * rng.standard_normal(states.shape), t, kind="signal")
    np.testing.assert_array_equal(model.state, states)
    count = residence.residence_times(states, t)
    # sampling hides visits shorter than a sample, which the model adds
    added = 1 + sum(RATES) * DT / 2
    for i, j in ((0, 1), (1, 0)):
        assert model.rate[i, j] == pytest.approx(float(count[f"rate_{i}"]) * added, rel=5e-3)
        assert model.rate_stderr[i, j] / model.rate[i, j] == pytest.approx(float(count[f"exits_{i}"]) ** -0.5, rel=0.05)
    phases = residence.dwell_times(np.pi * states, t, method="hmm")
    assert phases.attrs["interval_method"] == "likelihood, curvature"
    assert phases.mean_0_stderr / phases.mean_0 == pytest.approx(float(phases.exits_0) ** -0.5, rel=0.1)


def slipping(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """0 -> slip -> pi -> slip -> 0: a third state at pi/2 that lasts."""
    phases = np.empty((size, n))
    for k in range(size):
        visits = rng.exponential(np.tile([2.0, 0.5, 2.0, 0.5], n))
        place = np.searchsorted(np.cumsum(visits), DT * np.arange(n)) % 4
        phases[k] = np.array([0, np.pi / 2, np.pi, -np.pi / 2])[place]
    return phases + 0.4 * rng.standard_normal(phases.shape)


def test_compare_hidden_markov__finds_the_slip_where_there_is_one(rng):
    t = DT * np.arange(1000)
    two = residence.compare_hidden_markov(locked(rng, chain(rng, RATES, 1000, DT, 8), 0.4), t)
    assert two.preferred == 2
    assert two.gain < 2 * two.gain_stderr
    assert two.gain == pytest.approx(float(two.log_likelihood[1] - two.log_likelihood[0]))
    phases = slipping(rng, 1000, 8)
    three = residence.compare_hidden_markov(phases, t)
    assert three.preferred == 3
    assert three.gain > 5 * three.gain_stderr
    found = residence.hidden_markov(phases, t, n_states=3)
    slip = float(found.occupation[2])
    assert abs(slip - 0.2) < 0.06
    assert np.mean((found.state == 2) == (np.abs(np.sin(phases)) > 0.7)) > 0.9
    assert abs(found.rate[2, 2] + 2.0) < 5 * 2.0 / np.sqrt(8 * 20 / 2.5)  # leaves after .5
    np.testing.assert_allclose(found.rate.sum("to"), 0, atol=1e-9)
    # the slip belongs to the state that it left
    dwell = residence.dwell_times(phases, t, method="hmm", n_states=3)
    assert set(np.unique(dwell.state)) == {0, 1}
    assert abs(dwell.mean_0 - 2.5) < 5 * dwell.mean_0_stderr


def test_hidden_markov__rates_are_never_negative(rng):
    """Slips as short as a sample, never passed over: the logarithm of such transitions has negative rates."""

    def fitted(p: np.ndarray) -> tuple[xr.Dataset, np.ndarray]:
        """What is found, and the transitions that are seen."""
        edges, place, states = p.cumsum(axis=1), 0, []
        for u in rng.random(2000):
            place = int(np.searchsorted(edges[place], u))
            states.append(place)
        signal = np.array([0, 2, 1])[states] + 0.05 * rng.standard_normal(2000)
        seen = np.histogram2d(states[:-1], states[1:], np.arange(-0.5, 3))[0]
        found = residence.hidden_markov(signal, np.arange(2000.0), n_states=3, kind="signal")
        return found, seen / seen.sum(axis=1, keepdims=True)

    p = np.array([[0.9, 0, 0.1], [0, 0.9, 0.1], [0.3, 0.3, 0.4]])
    assert linalg.logm(p)[0, 1] < -0.03
    with pytest.warns(RuntimeWarning, match=r"no process in continuous time.*finer resolution, or use fewer states"):
        found, seen = fitted(p)
    np.testing.assert_allclose(found.rate.sum("to"), 0, atol=1e-15)
    others = ~np.eye(3, dtype=bool)
    nearest = np.maximum(linalg.logm(seen), 0)
    np.testing.assert_allclose(found.rate.values[others], nearest[others], rtol=1e-6)
    np.testing.assert_array_equal([found.rate[0, 1], found.rate[1, 0]], 0)
    # nothing to change or to complain of where there are rates
    found, seen = fitted(linalg.expm([[-0.3, 0.1, 0.2], [0.1, -0.3, 0.2], [0.2, 0.3, -0.5]]))
    np.testing.assert_allclose(found.rate, linalg.logm(seen), rtol=1e-6)


def test_hidden_markov__of_signals(rng):
    """The powers of two sidebands, of which each alone says little."""
    states, t = chain(rng, RATES, 1000, DT, 5), DT * np.arange(1000)
    a, b = (s + 0.8 * rng.standard_normal(states.shape) for s in (states, 3 - states))
    one = residence.hidden_markov(a, t, kind="signal")
    both = residence.hidden_markov((a, b), t, kind="signal")
    np.testing.assert_allclose(both.level, [[0, 3], [1, 2]], atol=0.1)
    assert np.mean(both.state.values == states) > np.mean(one.state.values == states) > 0.85
    assert abs(both.rate[0, 1] - RATES[0]) < 5 * both.rate_stderr[0, 1]
    array = xr.DataArray(a, dims=["trajectory", "time"], coords={"time": t, "trajectory": [3, 4, 5, 6, 8]})
    labelled = residence.hidden_markov(array, kind="signal")
    np.testing.assert_array_equal(labelled.trajectory, array.trajectory)
    xr.testing.assert_equal(labelled.drop_vars("trajectory"), one)
    # state 1 is the higher one, whichever comes first; and one record is a record
    single = residence.hidden_markov(-a[0], t, kind="signal", discard=1.0)
    assert single.state.dims == ("time",)
    assert np.mean(single.state.values == 1 - states[0, 50:]) > 0.8


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: f(np.zeros(200), np.arange(200.0), kind="signal"), r"signal.*constant"),
        (lambda f: f(np.zeros(100), np.arange(100.0), kind="angle"), r"kind.*phase.*signal.*angle"),
        (lambda f: f(np.full(100, np.nan), np.arange(100.0)), r"signal.*NaN"),
        (lambda f: f(np.full(100, 1j), np.arange(100.0)), r"signal.*np.angle"),
        (lambda f: f((np.zeros(9), np.ones((2, 9))), np.arange(9.0), kind="signal"), r"signal.*one shape"),
        (lambda f: f(np.zeros(100), None), "times"),
    ],
)
@pytest.mark.parametrize("function", [residence.hidden_markov, residence.compare_hidden_markov])
def test_hidden_markov__bad_input(function, call, message):
    with pytest.raises(ValueError, match=message):
        call(function)


def test_hidden_markov__cannot_be_fitted(rng):
    t = np.arange(500.0)
    with pytest.raises(ValueError, match=r"finer\s+resolution"):
        residence.hidden_markov(np.pi * (np.arange(500) % 2), t)
    with pytest.raises(ValueError, match=r"direction.*record longer"):
        residence.hidden_markov(np.pi * (np.arange(500) > 200), t)
    with pytest.raises(ValueError, match=r"n_states.*2 or 3"):
        residence.hidden_markov(np.pi * (np.arange(500) % 2), t, n_states=1)
    with pytest.raises(ValueError, match="folds"):
        residence.compare_hidden_markov(rng.normal(size=500), t, folds=1)
    with pytest.raises(ValueError, match=r"folds.*integer.*nan"):
        residence.compare_hidden_markov(rng.normal(size=500), t, folds=np.nan)
    with pytest.raises(ValueError, match=r"signal.*20 samples"):
        residence.compare_hidden_markov(rng.normal(size=50), t[:50])


def test_hidden_markov__says_what_is_missing(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "hmmlearn", None)
    with pytest.raises(ImportError, match="pip install hmmlearn"):
        residence.hidden_markov(rng.normal(size=100), np.arange(100.0))


# --- survival and exponentiality -------------------------------------------------------------------------


def test_survival__by_hand():
    # Kaplan and Meier by hand: 6 at risk at 1, 4 at 3 (one cut off at 2), 3 at 4, 1 at 7 (two at 5 cut off)
    found = residence.survival([3.0, 1.0, 2.0, 4.0, 5.0, 7.0], [False, False, True, False, True, False])
    np.testing.assert_array_equal(found.time, [1, 3, 4, 7])
    np.testing.assert_array_equal(found.at_risk, [6, 4, 3, 1])
    np.testing.assert_allclose(found.survival, [5 / 6, 5 / 6 * 3 / 4, 5 / 6 * 3 / 4 * 2 / 3, 0])
    # Beta(6, 1) Beta(4, 1), and Beta(3, 1) for the next of the three left, by their mean and mean square at 3
    for end, p, mean, square in (
        ("survival_high", 0.975, 6 / 7 * 4 / 5, 6 / 8 * 4 / 6),
        ("survival_low", 0.025, 6 / 7 * 4 / 5 * 3 / 4, 6 / 8 * 4 / 6 * 3 / 5),
    ):
        total = mean * (1 - mean) / (square - mean**2) - 1
        np.testing.assert_allclose(found[end][1], stats.beta.ppf(p, total * mean, total * (1 - mean)), rtol=1e-9)
    assert np.isfinite(found.to_array()).all()
    assert found.attrs["n_censored"] == 2


def test_survival__without_censoring_is_binomial(rng):
    life = np.round(rng.exponential(5.0, 60)) + 1  # with ties
    at = np.arange(0.5, 30)
    found = residence.survival(life, None, at)
    for k, t in enumerate(at):
        exact = stats.binomtest(int(np.sum(life > t)), 60).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose([found.survival_low[k], found.survival_high[k]], exact, atol=1e-12)


def test_survival__where_few_are_left():
    # one at risk at 4, of two after 100 of 202 had ended and 100 were cut off
    life = np.concatenate([np.full(100, 1.0), np.full(100, 2.0), [3.0, 4.0]])
    found = residence.survival(life, np.arange(202) // 100 == 1, [2.0, 4.0, 4.5])
    np.testing.assert_array_equal(found.at_risk, [102, 1, 0])
    np.testing.assert_array_equal(found.survival[1:], 0)
    np.testing.assert_array_equal(found.survival_low[1:], 0)
    # of two that ended the upper end is 1 - .025^(1/2), of the half that had come so far; the exact product's is .431,
    # mean and variance make it no smaller
    assert 103 / 203 * (1 - 0.025**0.5) < found.survival_high[1] == found.survival_high[2] < 0.431 * 1.1
    # a hundred thousand take no table of each against each
    rng = np.random.default_rng(1)
    many = rng.exponential(1.0, 100_000)
    assert residence.survival(many, many > 3).survival[-1] == pytest.approx(np.exp(-3), rel=0.1)


@pytest.mark.parametrize("size, late", [(200, False), (60, True)])
def test_survival__intervals_cover(rng, size, late):
    """Cut off at any time up to 3, and all but a tenth at 2: at late times few or none are left to tell."""
    at, trials = np.array([0.5, 1.0, 2.0, 2.5, 2.9, 4.0]), 500
    inside = np.zeros(at.size)
    for _ in range(trials):
        life = rng.exponential(1.0, size)
        limit = np.where(rng.random(size) < 0.9, 2.0, 9.0) if late else rng.uniform(0, 3, size)
        found = residence.survival(np.minimum(life, limit), life > limit, at)
        inside += (found.survival_low <= np.exp(-at)) & (np.exp(-at) <= found.survival_high)
    error = np.sqrt(0.95 * 0.05 / trials)
    assert np.all(inside / trials > 0.95 - 3 * error)
    assert np.all(inside[:2] / trials < 0.95 + 4 * error)  # and not by being too wide where many are at risk


def test_survival__of_an_exponential_law(rng):
    states, t = chain(rng, RATES, 500, DT, 2000), DT * np.arange(500)
    found = residence.residence_times(states, t)
    dwells, censored = residence.dwells_in(found, "0")
    assert dwells.size == int(((found.state == 0) & ~found.left_censored).sum())
    at = np.array([0.0, 0.5, 1.5, 3.0])
    curve = residence.survival(dwells, censored, at)
    assert curve.survival[0] == 1
    half = (curve.survival_high - curve.survival_low) / 2 / 1.96
    assert np.all(np.abs(curve.survival - np.exp(-at / 1.47))[1:] < 5 * half[1:] + 0.01)  # .01: half a sample
    # the cut-off ones counted as ends, or left out, bend it down: negative control
    for wrong in (residence.survival(dwells, None, at), residence.survival(dwells[~censored], None, at)):
        assert np.exp(-3.0 / 1.47) - wrong.survival[3] > 5 * half[3]


def test_exponentiality__of_known_laws(rng):
    limit = rng.uniform(0, 40, 1500)  # of the record, when each visit begins

    def test(life: np.ndarray) -> xr.Dataset:
        return residence.exponentiality(np.minimum(life, limit), life > limit, replicates=200, threshold=8.0)

    exponential = test(rng.exponential(5.0, 1500))
    assert exponential.cv_low - 0.05 < exponential.cv < exponential.cv_high + 0.05
    assert abs(exponential.cv - 1) < 0.15
    assert abs(exponential.mean_excess - 5) < 5 * 5 / np.sqrt(exponential.attrs["n_beyond"])
    mixture = test(hyperexponential(rng, 1500))
    assert mixture.pvalue < 0.02
    assert mixture.cv == pytest.approx(np.sqrt(57 / 25), rel=0.12)
    # memory: the mean excess beyond 8 of the mixture is that of the long ones, (e^-8 + 9 e^-8/9) / (e^-8 + e^-8/9)
    expected = (np.exp(-8) + 9 * np.exp(-8 / 9)) / (np.exp(-8) + np.exp(-8 / 9))
    assert abs(mixture.mean_excess - expected) < 5 * expected / np.sqrt(mixture.attrs["n_beyond"])
    assert mixture.mean_excess_low > mixture.mean_dwell
    clock = test(rng.gamma(4.0, 5 / 4, 1500))
    assert clock.pvalue < 0.02
    assert clock.cv == pytest.approx(0.5, rel=0.12)
    life = rng.exponential(5.0, 1500)
    xr.testing.assert_identical(test(life), test(life))


def test_exponentiality__pvalues_are_uniform(rng):
    """With censoring by the end of the record: under the null a p-value below .2 has probability .2."""
    values = []
    for _ in range(150):
        life, limit = rng.exponential(1.0, 40), rng.uniform(0, 4, 40)
        values.append(
            float(
                residence.exponentiality(
                    np.minimum(life, limit), life > limit, threshold=0.0, replicates=100, seed=len(values)
                ).pvalue
            )
        )
    assert abs(np.mean(np.array(values) < 0.2) - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 150)


def test_survival_and_exponentiality__bad_input(rng):
    good = rng.exponential(1, 50)
    for function in (residence.survival, residence.exponentiality):
        with pytest.raises(ValueError, match=r"dwells.*positive"):
            function([1.0, 0.0])
        with pytest.raises(ValueError, match=r"dwells.*NaN"):
            function([1.0, np.nan])
        with pytest.raises(ValueError, match=r"dwells.*real"):
            function([1.0, 1j])
        with pytest.raises(ValueError, match=r"dwells.*one axis"):
            function(np.ones((3, 3)))
        with pytest.raises(ValueError, match=r"censored.*each of the 50"):
            function(good, [True])
        with pytest.raises(ValueError, match=r"censored.*dtype"):
            function(good, np.zeros(50))
        with pytest.raises(ValueError, match=r"censored.*all are cut off"):
            function(good, np.ones(50, dtype=bool))
        with pytest.raises(ValueError, match="level"):
            function(good, level=0.0)
    with pytest.raises(ValueError, match=r"times.*one-dimensional"):
        residence.survival(good, None, [[1.0]])
    with pytest.raises(ValueError, match=r"dwells.*at least 5"):
        residence.exponentiality(good[:4])
    with pytest.raises(ValueError, match="threshold"):
        residence.exponentiality(good, threshold=-1.0)
    with pytest.raises(ValueError, match="replicates"):
        residence.exponentiality(good, replicates=5)
    with pytest.raises(ValueError, match=r"replicates.*nan"):
        residence.exponentiality(good, replicates=np.nan)
    with pytest.warns(analysis.TooLittleDataWarning, match="mean excess"):
        found = residence.exponentiality(good, threshold=100.0, replicates=100)
    assert np.isnan(found.mean_excess)
    with pytest.raises(ValueError, match=r"label.*'0', '1'.*'pi'"):
        residence.dwells_in(residence.residence_times(np.arange(60) // 5 % 2, np.arange(60.0)), "pi")


def test_masks_are_not_dropped():
    masked, t = np.ma.masked_array(np.arange(40) // 8 % 2, np.arange(40) == 7), np.arange(40.0)
    for call in (
        lambda: residence.assign(masked),
        lambda: residence.assign_levels(masked, 0.3, 0.6),
        lambda: residence.residence_times(masked, t),
        lambda: residence.dwell_times(masked, t),
        lambda: residence.hidden_markov(masked, t),
        lambda: residence.hidden_markov((masked, t), t, kind="signal"),
        lambda: residence.confusion(masked, masked),
        lambda: residence.survival(masked + 1),
        lambda: residence.survival(t + 1, masked == 1),
        lambda: residence.survival(t + 1, None, masked),
        lambda: residence.exponentiality(masked + 1),
    ):
        with pytest.raises(ValueError, match=r"Argument `\w+` must have no masked values"):
            call()


# --- potential -------------------------------------------------------------------------------------------


def test_occupation_potential__of_a_von_mises_law(rng):
    phase = rng.vonmises(0.0, 1.0, (25, 4000))
    found = residence.occupation_potential(phase, 24)
    norm = np.log(2 * np.pi * np.i0(1.0))
    # averages over bins of width .26: curvature of the density shifts by less than .01
    pull = (found.potential - (norm - np.cos(found.phase))) / found.potential_stderr
    shift = 0.01 / found.potential_stderr
    assert np.all(np.abs(pull) < 5 + shift)
    assert np.abs((found.potential - (norm + np.cos(found.phase))) / found.potential_stderr).max() > 50  # wrong sign
    with pytest.warns(analysis.TooLittleDataWarning, match=r"potential in \d+ of 24 bins.*fewer bins"):
        empty = residence.occupation_potential(0.3 * phase, 24)
    assert np.isinf(empty.potential).sum() == empty.attrs["n_empty"] > 0
    np.testing.assert_array_equal(np.isnan(empty.potential_stderr), np.isinf(empty.potential))
    with pytest.raises(ValueError, match="NaN"):
        residence.occupation_potential(np.full(50, np.nan))


# --- imperfect assignment --------------------------------------------------------------------------------


def test_confusion__by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    assigned = np.array([-1, 0, 0, 1, 0, 1, 1, 1, 1, 1])
    with pytest.warns(analysis.TooLittleDataWarning, match="confusion matrix"):
        found = residence.confusion(np.tile(assigned, (2, 1)), np.tile(truth, (2, 1)))
    np.testing.assert_array_equal(found.counts, [[4, 2], [2, 10]])
    np.testing.assert_allclose(found.probability, [[2 / 3, 1 / 6], [1 / 3, 5 / 6]])
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.agreement == pytest.approx(14 / 18)
    assert found.attrs["decided_fraction"] == 0.9
    assert np.isnan(found.balanced_accuracy_stderr)


@pytest.mark.parametrize("ntraj", [3, 30])
def test_confusion__standard_errors_are_the_scatter(rng, ntraj):
    """Samples assigned by themselves with known errors: binomial."""
    values, errors = [], []
    for _ in range(100):
        truth = chain(rng, (0.2, 0.1), 400, 1.0, ntraj)
        flip = rng.random(truth.shape) < np.where(truth == 0, 0.1, 0.3)
        found = residence.confusion(truth ^ flip, truth)
        values.append([found.probability[0, 0], found.probability[0, 1], found.balanced_accuracy, found.agreement])
        p = found.probability_stderr[0]
        errors.append([p[0], p[1], found.balanced_accuracy_stderr, found.agreement_stderr])
    mean, scatter = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
    assert np.all(np.abs(mean[:3] - [0.9, 0.3, 0.8]) < 5 * scatter[:3] / 10)
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors), axis=0)), scatter, rtol=5 / np.sqrt(200))


def test_deconvolve__corrects_the_occupation(rng):
    rates, n = (0.02, 0.06), 400  # true occupation of 0: 3/4

    def seen(ntraj: int) -> tuple[np.ndarray, np.ndarray]:
        truth = chain(rng, rates, n, 1.0, ntraj)
        flip = rng.random(truth.shape) < np.where(truth == 0, 0.25, 0.1)
        return truth ^ flip, truth

    pulls, biases = [], []
    for _ in range(60):
        matrix = residence.confusion(*seen(20))
        assigned = seen(20)[0]
        each = (assigned == 0).mean(axis=1)
        found = residence.deconvolve(each.mean(), matrix, stderr=each.std(ddof=1) / np.sqrt(20))
        pulls.append(float((found.occupation - 0.75) / found.occupation_stderr))
        biases.append(each.mean() - 0.75)
    assert abs(np.mean(pulls)) < 5 / np.sqrt(60)
    assert np.std(pulls) == pytest.approx(1, abs=5 / np.sqrt(120))
    assert np.mean(biases) < -0.1  # what it corrects: negative control


def matrix(p0: float, p1: float, error: float) -> xr.Dataset:
    return xr.Dataset(
        {
            "probability": (("assigned", "true"), [[p0, p1], [1 - p0, 1 - p1]]),
            "probability_stderr": (("assigned", "true"), np.full((2, 2), error)),
            "covariance": 0.0,
        }
    )


def test_deconvolve__by_hand_and_bad_input():
    found = residence.deconvolve(0.5, matrix(0.9, 0.2, 0.01), stderr=0.02)
    assert found.occupation == pytest.approx(3 / 7)
    # (dq, p dp0, (1 - p) dp1) / .7, in quadrature
    assert found.occupation_stderr == pytest.approx(np.sqrt(0.02**2 + (0.01 * 3 / 7) ** 2 + (0.01 * 4 / 7) ** 2) / 0.7)
    with pytest.raises(ValueError, match=r"confusion.*tell the states apart"):
        residence.deconvolve(0.5, matrix(0.5, 0.5, 0.0))
    with pytest.raises(ValueError, match=r"confusion.*tell the states apart"):
        residence.deconvolve(0.5, matrix(0.6, 0.5, 0.03))
    with pytest.raises(ValueError, match=r"confusion.*tell the states apart"):
        residence.deconvolve(0.5, matrix(0.1, 0.9, 0.01))
    with pytest.raises(ValueError, match=r"occupation.*\[0, 1\]"):
        residence.deconvolve(1.2, matrix(0.9, 0.2, 0.01))
    with pytest.raises(ValueError, match="stderr"):
        residence.deconvolve(0.5, matrix(0.9, 0.2, 0.01), stderr=-1.0)
    with pytest.warns(RuntimeWarning, match=r"outside.*not that of these data"):
        residence.deconvolve(0.1, matrix(0.9, 0.2, 0.01), stderr=0.01)
    assert np.isnan(residence.deconvolve(0.5, matrix(0.9, 0.2, np.nan)).occupation_stderr)


def test_confusion__dims_tell_which_axis_is_time(rng):
    truth = chain(rng, (0.2, 0.1), 400, 1.0, 3)
    assigned = truth ^ (rng.random(truth.shape) < 0.1)
    expected = residence.confusion(assigned, truth)
    for dims in (["trajectory", "time"], ["run", "bin"]):
        a, b = xr.DataArray(assigned, dims=dims), xr.DataArray(truth, dims=dims)
        xr.testing.assert_identical(residence.confusion(a.rename({dims[1]: "t"}), b.rename({dims[1]: "t"}).T), expected)
        for same in ((a, b), (a.T, b.T), (a, b.T), (a.T, b), (a.T, truth)):
            xr.testing.assert_identical(residence.confusion(*same), expected)


def test_confusion__of_the_same_samples(rng):
    truth = chain(rng, (0.2, 0.1), 400, 1.0, 3)
    coords = {"trajectory": [4, 5, 7], "time": 0.1 * np.arange(400) + 0.05}
    b = xr.DataArray(truth, dims=["trajectory", "time"], coords=coords)
    expected = residence.confusion(truth, truth)
    # times that were calculated in another way, or not given
    for same in (b.assign_coords(time=np.linspace(0.05, 39.95, 400)), b.drop_vars("time"), b.drop_vars("trajectory")):
        xr.testing.assert_identical(residence.confusion(same, b), expected)
    for other, dim in (
        (b.isel(trajectory=[1, 0, 2]), "trajectory"),
        (b.assign_coords(trajectory=[4, 5, 6]), "trajectory"),
        (b.assign_coords(time=b.time + 0.1), "time"),
        (b.isel(time=slice(None, None, -1)), "time"),
    ):
        for pair in ((b, other), (other, b)):
            with pytest.raises(ValueError, match=rf"truth.*coordinate `{dim}` differs; select the common part"):
                residence.confusion(*pair)


@pytest.mark.parametrize(
    "assigned, truth, message",
    [
        ([0, 1, 2], [0, 1, 1], r"assigned.*0, 1 and -1"),
        ([0, 1, 1], [0, 1, 3], r"truth.*0, 1 and -1"),
        ([0, 1, 1], [0, 1], r"truth.*shape"),
        ([0, 1, 1], [0, 0, 0], r"truth.*both states"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), r"assigned.*shape"),
    ],
)
def test_confusion__bad_input(assigned, truth, message):
    with pytest.raises(ValueError, match=message):
        residence.confusion(np.array(assigned), np.array(truth))


# --- simulated signals -----------------------------------------------------------------------------------


def test_telegraph__has_the_statistics_of_one(rng):
    found = residence.telegraph(RATES, 40.0, 0.25, noise=0.5, levels=(-1.0, 2.0), n_trajectories=3000, rng=rng)
    s = found.state.values.astype(float)
    assert found.signal.dims == ("trajectory", "time")
    assert found.state.dtype == np.int8
    np.testing.assert_allclose(found.time, 0.125 + 0.25 * np.arange(160))
    k, p = sum(RATES), 1 - TRUTH["occupation_0"]
    # from the first sample on
    for i in (0, 159):
        assert abs(s[:, i].mean() - p) < 5 * np.sqrt(p * (1 - p) / 3000)
    for lag in (1, 4, 10):
        c = np.mean((s[:, lag:] - p) * (s[:, :-lag] - p), axis=1)
        assert abs(c.mean() - p * (1 - p) * np.exp(-k * 0.25 * lag)) < 5 * c.std() / np.sqrt(3000)
    noise = found.signal.values - (3 * s - 1)
    assert abs(noise.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * s.size)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 5 * 0.25 / np.sqrt(s.size)
    assert found.attrs["rates"] == RATES


def test_telegraph__takes_a_seed():
    found, other = (
        residence.telegraph(RATES, 40.0, 0.1, noise=1.0, rng=seed) for seed in (5, np.random.default_rng(5))
    )
    xr.testing.assert_identical(found, other)


def test_telegraph__filtered(rng):
    found = residence.telegraph(RATES, 40.0, 0.1, noise=1.0, filter_time=0.4, n_trajectories=300, rng=rng)
    assert found.sizes["time"] == 397
    np.testing.assert_allclose(found.time[0], 0.2)  # the centre of what was averaged
    steady = np.all(np.lib.stride_tricks.sliding_window_view(found.state, 9, axis=1) == 1, axis=2)
    noise = found.signal.values[:, 4:-4][steady] - 1
    assert noise.std() == pytest.approx(0.5, rel=0.03)
    assert abs(noise.mean()) < 0.02


def test_telegraph__predicts_the_bias_of_a_filtered_assignment(rng):
    """What a filter and noise do to residence times: of a signal made otherwise, and predicted."""
    n, dt = 4000, 0.05

    def measured(signal: np.ndarray) -> xr.Dataset:
        smooth = np.apply_along_axis(lambda x: np.convolve(x, np.full(20, 1 / 20), "valid"), 1, signal)
        states = residence.assign_levels(smooth, 0.3, 0.7)
        with pytest.warns(RuntimeWarning, match="shorter than the filter"):
            return residence.residence_times(states, dt * np.arange(smooth.shape[1]), filter_time=1.0)

    rates = (0.2, 0.4)
    seen = measured(chain(rng, rates, n, dt, 20) + 0.8 * rng.standard_normal((20, n)))
    model = residence.telegraph(rates, n * dt, dt, noise=0.8, n_trajectories=20, rng=rng)
    predicted = measured(model.signal.values)
    for name in ("mean_0", "mean_1", "occupation_0"):
        error = np.hypot(seen[name + "_stderr"], predicted[name + "_stderr"])
        assert abs(seen[name] - predicted[name]) < 5 * error
    assert seen.mean_0 > 1 / rates[0] + 3 * seen.mean_0_stderr  # there is a bias to predict


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rates": (0.0, 1.0)}, r"rates\[0\]"),
        ({"rates": (1.0, np.nan)}, r"rates\[1\]"),
        ({"rates": 1.0}, r"rates.*leaving state 0 and state 1"),
        ({"levels": 1.0}, r"levels.*two finite"),
        ({"levels": (0.0, np.nan)}, r"levels.*two finite"),
        ({"n_trajectories": np.nan}, r"n_trajectories.*integer"),
        ({"duration": 10.05}, r"duration.*whole number"),
        ({"dt": 0.0}, "dt"),
        ({"noise": -1.0}, "noise"),
        ({"n_trajectories": 0}, "n_trajectories"),
        ({"filter_time": 0.1}, r"filter_time.*from 2 to 100.*leave it None"),
        ({"filter_time": 0.25}, r"filter_time.*whole number"),
        ({"rng": None}, r"rng.*Generator or a seed.*default_rng"),
        ({"rng": -1}, r"rng.*seed >= 0"),
        ({"rng": np.random}, r"rng.*Generator"),
    ],
)
def test_telegraph__bad_input(rng, change, message):
    with pytest.raises(ValueError, match=message):
        residence.telegraph(**{"rates": (1.0, 1.0), "duration": 10.0, "dt": 0.1, "rng": rng, **change})


def test_every_public_function_is_documented():
    public = [getattr(residence, name) for name in residence.__all__]
    assert len(public) >= 13
    for f in public:
        for part in ("Parameters", "Returns", "Raises"):
            assert part in f.__doc__, (f, part)
