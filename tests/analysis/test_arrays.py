"""What all of the room asks of its records: times, dims, bins, masks, and pairs that belong together."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from backaction import analysis
from backaction.analysis.sidebands import sideband_powers

DT = 0.01


def white(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Heterodyne shot noise of level 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2 * DT)


def labelled(values: np.ndarray, dim: str = "bin", times: np.ndarray | None = None, **coords) -> xr.DataArray:
    times = DT * (np.arange(values.shape[1]) + 0.5) if times is None else times
    coords = {"trajectory": np.arange(len(values)), dim: times, **coords}
    return xr.DataArray(values, dims=["trajectory", dim], coords=coords)


# --- times -----------------------------------------------------------------------------------------------


def test_lost_samples_are_noticed_at_any_offset(rng):
    n = 3000
    values = white(rng, 24, n)
    for offset in (0.0, 1.7e9):  # seconds since 1970, at 1 kHz
        times = offset + 1e-3 * np.arange(n)
        whole = labelled(values, "time", times)
        assert analysis.spectrum(whole, segment=0.1).attrs["bin_width"] == pytest.approx(1e-3, rel=1e-6)
        kept = np.arange(n) % 100 != 99
        with pytest.raises(ValueError, match="`current` must be sampled uniformly"):
            analysis.spectrum(whole[:, kept], segment=0.1)
        drifting = times + 0.02 * 1e-3 * np.sin(np.pi * np.arange(n) / n)  # each step within 1e-4, .02 steps off
        with pytest.raises(ValueError, match="`current` must be sampled uniformly"):
            analysis.spectrum(labelled(values, "time", drifting), segment=0.1)
    with pytest.raises(ValueError, match="`current` must have times that tell one step from two"):
        analysis.spectrum(labelled(values, "time", 1.7e9 + 1e-6 * np.arange(n)), segment=1e-4)


@pytest.mark.parametrize(
    "times",
    [
        DT * np.arange(500, dtype=np.float32),
        np.arange(-30000, 30000, 120, dtype=np.int16),  # longer than what int16 holds
        np.arange(500, dtype=np.uint16),
        10**18 + 100 * np.arange(500),  # nanoseconds: closer than floats of that size
    ],
)
def test_times_of_any_precision(rng, times):
    step = (int(times[-1]) - int(times[0])) / 499 if times.dtype.kind in "iu" else DT
    found = analysis.spectrum(labelled(white(rng, 24, 500), "time", times), segment=10 * step)
    assert found.attrs["bin_width"] == pytest.approx(step, rel=1e-7)
    counts = analysis.reversals(labelled(rng.standard_normal((2, 500)), "time", times), None, 10 * step)
    assert counts.attrs["duration"] == pytest.approx(500 * step, rel=1e-7)


def test_dates_are_no_numbers(rng):
    dates = np.datetime64("2024-01-01", "ns") + np.arange(500) * np.timedelta64(1, "ms")
    for times in (dates, dates - dates[0]):
        current = labelled(white(rng, 24, 500), "time", times)
        for call in (
            lambda c=current: analysis.spectrum(c),
            lambda c=current: analysis.spectrum(c, bin_width=1.0),
            lambda c=current: analysis.demodulate(c, None, 1.0),
            lambda c=current: analysis.reversals(c.real, None, 1.0),
        ):
            with pytest.raises(ValueError, match=r"must be numerical, but has dtype .*\[ns\]; convert it"):
                call()


# --- bins ------------------------------------------------------------------------------------------------


def test_bins_that_were_left_out_are_noticed(rng):
    current = labelled(white(rng, 24, 2000), bin_width=("bin", np.full(2000, DT)))
    whole = analysis.spectrum(current, segment=1.0)
    for cut in (current.isel(bin=slice(500, None)), current.drop_vars("bin_width")):
        assert analysis.spectrum(cut, segment=1.0).attrs["bin_width"] == pytest.approx(whole.attrs["bin_width"])
    for gaps in (slice(None, None, 2), np.arange(2000) % 7 > 0, [3, 9]):
        with pytest.raises(ValueError, match=r"Argument `current` must (have bins that follow|be sampled uniformly)"):
            analysis.spectrum(current.isel(bin=gaps))
    means = current.coarsen(bin=2).mean()  # bins of twice the width, whose coordinate xarray averages
    assert analysis.spectrum(means, bin_width=2 * DT, segment=1.0).attrs["bin_width"] == 2 * DT


def test_one_bin_knows_its_width(rng):
    current = labelled(white(rng, 3, 4), bin_width=("bin", np.full(4, DT)))
    one = analysis.filter_current(current.isel(bin=[1]), window=DT)
    np.testing.assert_allclose(one, current.isel(bin=[1]) * np.sqrt(DT), rtol=1e-12)
    np.testing.assert_allclose(one["window"], 1.5 * DT, rtol=1e-12)
    with pytest.raises(ValueError, match="give `bin_width`"):
        analysis.filter_current(current.drop_vars("bin_width").isel(bin=[1]), window=DT)


# --- dims ------------------------------------------------------------------------------------------------


def test_an_integer_axis_of_a_labelled_array_is_meant(rng):
    values = white(rng, 30, 40)
    current = xr.DataArray(values, dims=["run", "bin"])
    expected = analysis.spectrum(values, bin_width=DT, axis=0, segment=0.1)
    xr.testing.assert_equal(analysis.spectrum(current, bin_width=DT, axis=0, segment=0.1), expected)
    for axis in (2, -3):
        with pytest.raises(ValueError, match="Argument `axis` must be a dim of `current`"):
            analysis.spectrum(current, bin_width=DT, axis=axis)


@pytest.mark.parametrize("dim", ["bin", "window", "time", "t"])
def test_trajectories_are_never_time(rng, dim):
    current = labelled(white(rng, 30, 200), dim)
    flipped = current.transpose()
    xr.testing.assert_equal(analysis.spectrum(flipped, segment=0.2), analysis.spectrum(current, segment=0.2))
    xr.testing.assert_equal(analysis.mean_stderr(flipped), analysis.mean_stderr(current))
    demodulated = analysis.demodulate(flipped, None, 3.0)
    assert demodulated.dims == (dim, "trajectory")
    xr.testing.assert_allclose(demodulated.transpose(), current * np.exp(3j * current[dim]))
    for axis in ("trajectory", 0, 2):
        with pytest.raises(ValueError, match="Argument `axis` must be a dim"):
            analysis.mean_stderr(current, axis=axis)
    with pytest.raises(ValueError, match="Argument `axis` must be a dim"):
        analysis.mean_stderr(current[:, 0])


# --- values ----------------------------------------------------------------------------------------------


def test_masks_are_not_dropped(rng):
    values = np.abs(white(rng, 24, 100))
    nothing, some = np.ma.masked_array(values), np.ma.masked_greater(values, 10.0)
    assert analysis.mean_stderr(nothing).identical(analysis.mean_stderr(values))
    for call in (
        lambda x: analysis.mean_stderr(x),
        lambda x: analysis.spectrum(x, bin_width=DT),
        lambda x: analysis.trajectory_mean(x),
        lambda x: analysis.integrated_autocorrelation_time(x),
        lambda x: analysis.filter_current(x, window=DT, bin_width=DT),
        lambda x: analysis.demodulate(x, np.arange(100), 1.0),
        lambda x: analysis.demodulate(values, x[0], 1.0),
    ):
        with pytest.raises(ValueError, match="must have no masked values"):
            call(some)


# --- pairs -----------------------------------------------------------------------------------------------


def test_records_of_a_pair_belong_to_the_same_runs(rng):
    a, b = (labelled(white(rng, 24, 400)) for _ in range(2))
    rounded = b.assign_coords(bin=np.nextafter(b["bin"], 10.0))  # one unit in the last place
    pairs = {
        "current_b": lambda x: analysis.phase_difference(a, x, window=0.1, bins=4),
        "current_2": lambda x: sideband_powers(a, x, (1.0, 2.0), 0.02),
    }
    for name, pair in pairs.items():
        expected = pair(b)
        for same in (b.transpose(), rounded, b.drop_vars("trajectory")):
            xr.testing.assert_allclose(pair(same), expected, rtol=1e-12)
        for other in (b[::-1], b.assign_coords(trajectory=np.arange(24) + 1)):
            with pytest.raises(ValueError, match=f"Argument `{name}` must belong to the same runs"):
                pair(other)
        for other in (b[:-1], b.assign_coords(bin=b["bin"] + 1e-3 * DT)):
            with pytest.raises(ValueError, match=f"Argument `{name}` must have the (shape|bins)"):
                pair(other)


def test_times_of_a_pair_may_differ_by_rounding(rng):
    mean = labelled(rng.standard_normal((30, 5)), "time")
    rounded = mean.assign_coords(time=np.nextafter(mean["time"], 10.0))
    xr.testing.assert_equal(
        analysis.variance_decomposition(mean, square=rounded**2), analysis.variance_decomposition(mean, square=mean**2)
    )
