"""Clicks: Poisson and antibunched renewal processes with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from analysis.processes import erlang_clicks, poisson_clicks
from backaction import analysis


def ragged(clicks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(clicks), np.array([t.size for t in clicks])


def test_waiting_times__pools_and_never_joins_trajectories():
    clicks = [np.array([1.0, 1.5, 4.0]), np.array([]), np.array([0.5]), np.array([2.0, 2.25])]
    for arguments in (ragged(clicks), (clicks,)):
        data = analysis.waiting_times(*arguments, duration=5.0)
        np.testing.assert_allclose(data.waiting_time, [0.5, 2.5, 0.25])
        np.testing.assert_array_equal(data.trajectory_index, [0, 0, 3])
        np.testing.assert_allclose(data.censored_time, [1.0, 4.5, 2.75])
        assert (data.attrs["n_trajectories"], data.attrs["n_clicks"]) == (4, 6)


def test_waiting_times__of_our_dataset():
    times, counts = ragged([np.array([1.0, 1.5]), np.array([2.0, 2.25])])
    data = xr.Dataset({"click_time_loss": ("click_loss", times), "click_count_loss": ("trajectory", counts)})
    found = analysis.waiting_times(data["click_time_loss"], data["click_count_loss"])
    np.testing.assert_allclose(found.waiting_time, [0.5, 0.25])
    assert "censored_time" not in found


def test_waiting_times__law(rng):
    waits = analysis.waiting_times(*ragged(erlang_clicks(rng, 1.0, 1000.0, 20))).waiting_time.values
    assert abs(waits.mean() - 1) < 5 * waits.std() / np.sqrt(waits.size)
    assert abs(waits.var() - 0.5) < 0.05  # Erlang 2; exponential would be 1


@pytest.mark.parametrize(
    "times, counts, message",
    [
        ([1.0, 0.5], [2], "must ascend"),
        ([1.0, 1.5], [1], "must be whole numbers that add up to the 2"),
        ([1.0, np.nan], [2], "Argument `click_times` must be finite"),
        ([[1.0, 2.0]], [2], "must be flat"),
        ([1j, 2.0], [2], "Argument `click_times` must be real"),
        (["a"], [1], "Argument `click_times` must be numerical"),
        ([1.0, 1.5], [1.5, 0.5], "must be whole numbers"),
        (np.array([1.0, 2.0]), None, "Argument `click_counts` must be given"),
        ([1.0, 2.0], None, "must be a list of one-dimensional"),
    ],
)
def test_waiting_times__arguments(times, counts, message):
    with pytest.raises(ValueError, match=message):
        analysis.waiting_times(times, counts)


def test_waiting_times__duration_covers():
    with pytest.raises(ValueError, match="Argument `duration` must cover all clicks"):
        analysis.waiting_times([1.0, 6.0], [2], duration=5.0)
    assert analysis.waiting_times([1.0, 6.0], [2], duration=5.0, start=1.0).sizes["censored"] == 1


def test_time_tags__are_subtracted_as_integers():
    # nanoseconds since 1970, which a float knows to 256
    for kind in (np.int64, np.uint64):
        tags = np.uint64(1_700_000_000_000_000_001).astype(kind) + (1000 * np.arange(10)).astype(kind)
        start = 1_700_000_000_000_000_000
        found = analysis.waiting_times([tags, tags[:3]], duration=9101, start=start)
        np.testing.assert_array_equal(found.waiting_time, 1000.0)
        np.testing.assert_array_equal(found.censored_time, [100.0, 7100.0])
        pairs = analysis.g2(np.tile(tags, 20), [10] * 20, 9101, [0, 999, 1000, 1001], start=start).pairs
        np.testing.assert_array_equal(pairs, [0, 0, 180])
    # a float start, and one between two ticks
    assert analysis.waiting_times([tags], duration=9002, start=start + 0.0).censored_time == 1
    late = analysis.waiting_times([np.array([5, 9])], duration=8.75, start=0.5)
    assert late.censored_time == 0.25
    with pytest.raises(ValueError, match=r"click_times.*below 2\*\*63"):
        analysis.waiting_times([np.array([2**63], dtype=np.uint64)])


def test_click_starts__of_a_selection():
    clicks = [np.array([1.0, 1.5, 4.0]), np.array([]), np.array([0.5]), np.array([2.0, 2.25])]
    times, counts = ragged(clicks)
    data = xr.Dataset(
        {
            "click_time_c": ("click_c", times),
            "click_count_c": ("trajectory", counts),
            "click_start_c": ("trajectory", np.cumsum(counts) - counts),
        }
    )
    for chosen in ([0, 1, 2, 3], [3, 0], [1, 2], [2, 2, 3], 3):
        part = data.isel(trajectory=chosen)
        flat = part.click_time_c, part.click_count_c
        expected = [clicks[k] for k in np.atleast_1d(chosen)]
        found = analysis.waiting_times(*flat, click_starts=part.click_start_c, duration=5.0)
        xr.testing.assert_identical(found, analysis.waiting_times(expected, duration=5.0))
        with pytest.warns(analysis.TooLittleDataWarning):
            pairs = analysis.g2(*flat, 5.0, [0, 1, 4], click_starts=part.click_start_c)
        with pytest.warns(analysis.TooLittleDataWarning):
            xr.testing.assert_identical(pairs, analysis.g2(expected, None, 5.0, [0, 1, 4]))
    part = data.isel(trajectory=[3, 0, 0])
    with pytest.raises(ValueError, match=r"click_counts.*add up to the 6.*add up to 8; .*pass `click_starts`"):
        analysis.waiting_times(part.click_time_c, part.click_count_c)
    for starts in ([4, 0], [5, 0, 0], [-1, 0, 0], [0.5, 0, 0]):
        with pytest.raises(ValueError, match="Argument `click_starts` must tell where among the 6 times"):
            analysis.waiting_times(part.click_time_c, part.click_count_c, click_starts=starts)
    with pytest.raises(ValueError, match="Argument `click_counts` must be given"):
        analysis.waiting_times(clicks, click_starts=[0, 3, 3, 4])


@pytest.mark.parametrize("tick", [1, 1.0, 0.1, 1e-9, 1 / 3])
@pytest.mark.parametrize("start", [0, 1000])
def test_g2__lattice_does_not_depend_on_its_unit(rng, tick, start):
    """Lags and edges on one lattice: a lag on an edge belongs to the bin that begins there."""
    ticks = [np.sort(rng.choice(300, 40, replace=False)) for _ in range(20)]
    lags = np.concatenate([np.subtract.outer(t, t)[np.tril_indices(40, -1)] for t in ticks])
    for edges in (np.arange(31), np.arange(0, 31, 3)):
        found = analysis.g2([(t + start) * tick for t in ticks], None, 300 * tick, edges * tick, start=start * tick)
        # numpy's last bin is closed
        expected = np.histogram(lags, np.append(edges, edges[-1] + 1))[0][:-1]
        np.testing.assert_array_equal(found.pairs, expected)


def test_g2__is_a_naive_loop(rng):
    clicks = poisson_clicks(rng, 2.0, 10.0, 25)
    lags = np.linspace(0, 3, 7)
    data = analysis.g2(*ragged(clicks), 10.0, lags)
    pairs = np.zeros(6, dtype=int)
    for t in clicks:
        for i in range(t.size):
            for j in range(i + 1, t.size):
                for k in range(6):
                    pairs[k] += lags[k] <= t[j] - t[i] < lags[k + 1]
    np.testing.assert_array_equal(data.pairs, pairs)
    rate = sum(t.size for t in clicks) / 250
    expected = 25 * rate**2 * 0.5 * (10 - data.lag.values)
    np.testing.assert_allclose(data.g2, pairs / expected, rtol=1e-12)
    # jackknife: leave one trajectory out
    without = np.array([analysis.g2(*ragged(clicks[:k] + clicks[k + 1 :]), 10.0, lags).g2 for k in range(25)])
    jack = np.sqrt(24 / 25 * np.sum((without - without.mean(axis=0)) ** 2, axis=0))
    np.testing.assert_allclose(data.g2_stderr, jack, rtol=1e-9)


@pytest.mark.parametrize("ntraj, duration", [(200, 50.0), (2, 5000.0)])
def test_g2__poisson_and_antibunched(rng, ntraj, duration):
    lags = np.linspace(0, 2, 21)
    flat = analysis.g2(*ragged(poisson_clicks(rng, 1.0, duration, ntraj)), duration, lags)
    assert np.max(np.abs(flat.g2 - 1) / flat.g2_stderr) < 5
    dip = analysis.g2(*ragged(erlang_clicks(rng, 1.0, duration, ntraj)), duration, lags)
    exact = 1 - (np.exp(-4 * lags[:-1]) - np.exp(-4 * lags[1:])) / (4 * np.diff(lags))
    assert np.max(np.abs(dip.g2 - exact) / dip.g2_stderr) < 5
    assert abs(float(dip.g2[0]) - 1) > 8 * float(dip.g2_stderr[0])  # and is not Poissonian
    assert dip.attrs["rate"] == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("ntraj, duration", [(100, 20.0), (3, 700.0)])
def test_g2__coverage(rng, ntraj, duration):
    lags = np.linspace(0, 2, 11)
    exact = 1 - (np.exp(-4 * lags[:-1]) - np.exp(-4 * lags[1:])) / (4 * np.diff(lags))
    score = []
    for _ in range(100):
        data = analysis.g2(erlang_clicks(rng, 1.0, duration, ntraj), None, duration, lags)
        score.append((data.g2 - exact) / data.g2_stderr)
    assert abs(np.mean(np.abs(score) < 1) - 0.68) < 0.05  # 1000 values


@pytest.mark.parametrize("ntraj, duration", [(25, 10.0), (2, 1000.0)])
def test_g2__no_pair_is_less_than_one(ntraj, duration):
    clicks = [np.arange(0.5, duration) for _ in range(ntraj)]  # one per unit of time
    data = analysis.g2(clicks, None, duration, [0.2, 0.6, 0.9, 1.1])
    np.testing.assert_array_equal(data.pairs[:2], 0)
    np.testing.assert_array_equal(data.g2[:2], 0)
    # one pair where independent clicks would have so many; whole pieces know where a lag still ends within the record
    expected = ntraj * np.diff([0.2, 0.6, 0.9]) * (duration - np.array([0.4, 0.75]))
    np.testing.assert_allclose(data.g2_stderr[:2], 1 / expected, rtol=1e-12)
    assert data.g2[2] > 1


def test_standard_errors__of_clicks_in_one_trajectory(rng):
    clicks = [np.array([])] * 24 + poisson_clicks(rng, 2.0, 10.0, 1)
    with pytest.warns(analysis.TooLittleDataWarning, match="of g2: one of 25 independent pieces has all clicks"):
        data = analysis.g2(clicks, None, 10.0, [0, 1, 2])
    assert np.isnan(data.g2_stderr).all()
    assert np.isfinite(data.g2).all()
    counts = np.zeros((25, 4), dtype=int)
    counts[3] = [1, 2, 0, 5]
    for x in (counts, counts.sum(axis=1)):
        with pytest.warns(analysis.TooLittleDataWarning, match="of the Fano factor: one of 25 .* has all clicks"):
            found = analysis.fano_factor(x)
        assert np.isnan(found.fano_stderr)
        assert found.fano == pytest.approx(x.var(ddof=1) / x.mean())
    # clicks in two are enough for a number
    counts[4, 0] = 1
    assert analysis.fano_factor(counts).fano_stderr > 0


def test_g2__start_and_arguments(rng):
    clicks = poisson_clicks(rng, 2.0, 10.0, 25)
    lags = np.linspace(0, 3, 7)
    data = analysis.g2(clicks, None, 10.0, lags)
    moved = analysis.g2([t + 100 for t in clicks], None, 10.0, lags, start=100.0)
    xr.testing.assert_allclose(data, moved)
    with pytest.raises(ValueError, match="Argument `duration` must cover"):
        analysis.g2([t + 100 for t in clicks], None, 10.0, lags)
    with pytest.raises(ValueError, match="Argument `lags` must be at least two ascending"):
        analysis.g2(clicks, None, 10.0, [0.0, 11.0])
    with pytest.raises(ValueError, match="Argument `click_times` must hold clicks"):
        analysis.g2([np.array([])], None, 10.0, lags)
    with pytest.warns(analysis.TooLittleDataWarning, match="g2"):
        assert np.isnan(analysis.g2(clicks[:2], None, 10.0, lags).g2_stderr).all()


def test_mandel_q__poisson(rng):
    counts = rng.poisson(7.0, 4000)
    data = analysis.mandel_q(counts)
    assert abs(float(data.mandel_q)) < 5 * float(data.mandel_q_stderr)
    np.testing.assert_allclose(float(data.mandel_q), counts.var(ddof=1) / counts.mean() - 1, atol=1e-12)
    # Var of the Fano factor of a Poisson law: 2 / (n - 1), to O(1/n)
    np.testing.assert_allclose(float(data.mandel_q_stderr), np.sqrt(2 / 4000), rtol=0.15)
    assert float(analysis.fano_factor(counts).fano) == pytest.approx(1 + float(data.mandel_q))


@pytest.mark.parametrize("windows", [None, 1, 4])
def test_fano_factor__antibunched(rng, windows):
    # F(T) = 1/2 + (1 - exp(-4 T)) / (8 T) at unit rate
    length, number = 2.0, windows or 1
    clicks = erlang_clicks(rng, 1.0, length * number, 3000)
    counts = np.array([np.histogram(t, number, (0, length * number))[0] for t in clicks])
    data = analysis.fano_factor(counts[:, 0] if windows is None else counts)
    exact = 0.5 + (1 - np.exp(-4 * length)) / (8 * length)
    assert abs(float(data.fano) - exact) < 5 * float(data.fano_stderr)
    assert abs(float(data.fano) - 1) > 8 * float(data.fano_stderr)


def test_fano_factor__windows_of_one_record_are_correlated(rng):
    # a rate that wanders slowly: neighbouring windows share it, and an error that ignores this is too small
    score, naive, rho, width = [], [], np.exp(-0.1), 0.3
    m, v = np.exp(width**2 / 2), (np.exp(width**2) - 1) * np.exp(width**2)
    for _ in range(60):
        x = lfilter([1], [1, -rho], rng.standard_normal(10_000) * np.sqrt(1 - rho**2))
        counts = rng.poisson(20 * np.exp(width * x))
        data = analysis.fano_factor(counts[None])
        deviation = float(data.fano) - (1 + 20 * v / m)
        score.append(deviation / float(data.fano_stderr))
        naive.append(deviation / float(analysis.fano_factor(counts).fano_stderr))
    # known to 1/sqrt(120) = 9 %
    assert abs(np.std(score) - 1) < 0.35
    assert np.std(naive) > 1.5


def test_fano_factor__dims_tell_which_axis_is_time(rng):
    share = rng.gamma(4.0, 1.0, (30, 1))  # a rate of the trajectory's own: its windows are not independent
    counts = rng.poisson(5 * share, (30, 40))
    expected = analysis.fano_factor(counts)
    for time in ("window", "bin", "time"):
        array = xr.DataArray(counts, dims=["trajectory", time])
        for same in (array, array.transpose()):
            xr.testing.assert_identical(analysis.fano_factor(same), expected)
            xr.testing.assert_identical(analysis.mandel_q(same), analysis.mandel_q(counts))
    # one record is one record, with or without a dim of length one
    one = xr.DataArray(np.sort(counts[:1]), dims=["trajectory", "window"])
    for same in (one, one.isel(trajectory=0)):
        with pytest.warns(analysis.TooLittleDataWarning, match="Fano"):
            found = analysis.fano_factor(same)
        assert np.isnan(found.fano_stderr)
    each = array.isel(time=0)
    xr.testing.assert_identical(analysis.fano_factor(each), analysis.fano_factor(counts[:, 0]))
    with pytest.raises(ValueError, match=r"counts.*select one point of the sweep"):
        analysis.fano_factor(array.expand_dims(point=2))


def test_masks_are_not_dropped():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    for call in (
        lambda: analysis.waiting_times([masked]),
        lambda: analysis.waiting_times(masked, [3]),
        lambda: analysis.waiting_times([1.0] * 6, masked),
        lambda: analysis.waiting_times([1.0] * 6, [1, 2, 3], click_starts=masked),
        lambda: analysis.g2([[1.0]], None, 5.0, masked),
        lambda: analysis.fano_factor(masked),
    ):
        with pytest.raises(ValueError, match=r"Argument `\w+` must have no masked values"):
            call()
    np.testing.assert_array_equal(analysis.waiting_times([np.ma.masked_array([1.0, 3.0])]).waiting_time, 2.0)


def test_fano_factor__arguments():
    with pytest.raises(ValueError, match="Argument `counts` must not be negative"):
        analysis.fano_factor([1, -1])
    with pytest.raises(ValueError, match="Argument `counts` must hold clicks"):
        analysis.mandel_q([0, 0, 0])
    with pytest.raises(ValueError, match="Argument `counts` must be real"):
        analysis.fano_factor([1j, 1])
    with pytest.raises(ValueError, match="Argument `counts` must be finite"):
        analysis.mandel_q([1.0, np.nan])
    with pytest.raises(ValueError, match="Argument `counts` must have shape"):
        analysis.mandel_q(np.ones((2, 2, 2)))
    with pytest.warns(analysis.TooLittleDataWarning, match="Fano"):
        assert np.isnan(analysis.fano_factor([1, 2, 3]).fano_stderr)
