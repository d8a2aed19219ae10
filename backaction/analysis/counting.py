"""Statistics of clicks: waiting times, second-order coherence, Fano factor and Mandel's Q.

Clicks come in CF's contiguous ragged form, one flat array of times ordered by trajectory and the number of
clicks of each trajectory, or as a list with one array of times per trajectory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import TIME_DIMS, as_records, finite, is_labelled
from .uncertainty import (
    ENOUGH_TRAJECTORIES,
    Blocks,
    TooLittleDataWarning,
    choose_blocks,
    integrated_autocorrelation_time,
    jackknife,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

_BLOCKS = 64  # pieces of records when there are few trajectories
_CHUNK = 4_000_000  # entries of a table (click, lag) at a time


def _real(values: Any, name: str) -> NDArray[Any]:
    x = finite(values, name)
    if np.iscomplexobj(x):
        raise ValueError(f"Argument `{name}` must be real, but is complex.")
    return x


def _times(values: Any) -> NDArray[Any]:
    """Click times as int64 if they are integers, which a float would round beyond 2**53, else as floats."""
    x = _real(values, "click_times")
    if x.dtype.kind not in "iu":
        return x.astype(float)
    if x.size and int(x.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"Argument `click_times` must be below 2**63, but reaches {x.max()}; subtract an origin.")
    return x.astype(np.int64)


def _split(click_times: Any, click_counts: Any, click_starts: Any) -> list[NDArray[Any]]:
    """One ascending array of times per trajectory."""
    if click_counts is None:
        if click_starts is not None or not isinstance(click_times, Sequence):
            raise ValueError(
                "Argument `click_counts` must be given with a flat array of times, but is None; pass the number of"
                " clicks of each trajectory, or a list of arrays as `click_times`."
            )
        pieces = [_times(t) for t in click_times]
        if not pieces or any(t.ndim != 1 for t in pieces):
            raise ValueError(
                "Argument `click_times` must be a list of one-dimensional arrays, one per trajectory, when"
                " `click_counts` is None, but it is not."
            )
    else:
        times, counts = _times(click_times), _real(click_counts, "click_counts")
        if click_starts is not None:
            counts = np.atleast_1d(counts)  # one trajectory may have been selected
        if times.ndim != 1 or counts.ndim != 1 or counts.size == 0:
            raise ValueError(
                "Argument `click_times` must be flat, like `click_counts`, but their shapes are"
                f" {times.shape} and"
                f" {counts.shape}; select one point of the sweep first."
            )
        if np.any(counts < 0) or np.any(counts != np.round(counts)):
            raise ValueError("Argument `click_counts` must be whole numbers >= 0, but is not.")
        counts = counts.astype(np.int64)
        if click_starts is None:
            if int(counts.sum()) != times.size:
                raise ValueError(
                    f"Argument `click_counts` must be whole numbers that add up to the {times.size} times in"
                    f" `click_times`, but add up to {counts.sum():g}; of selected trajectories pass `click_starts` too."
                )
            starts = np.cumsum(counts) - counts
        else:
            starts = np.atleast_1d(_real(click_starts, "click_starts"))
            whole = starts.shape == counts.shape and not np.any(starts != np.round(starts))
            if not whole or np.any(starts < 0) or np.any(starts + counts > times.size):
                raise ValueError(
                    f"Argument `click_starts` must tell where among the {times.size} times in `click_times` the clicks"
                    " of each trajectory begin, but does not; pass the flat times as they were before the selection."
                )
            starts = starts.astype(np.int64)
        pieces = [times[i : i + n] for i, n in zip(starts, counts, strict=True)]
    for k, t in enumerate(pieces):
        if np.any(t[1:] < t[:-1]):
            raise ValueError(f"Argument `click_times` must ascend in each trajectory, but does not in trajectory {k}.")
    return pieces


def _since(pieces: list[NDArray[Any]], start: float, duration: float) -> tuple[list[NDArray[np.float64]], float, float]:
    """Times since `start`, which must lie in [0, duration]; the duration; by how much rounding may have moved a lag."""
    duration = float(duration)
    if not (math.isfinite(duration) and duration > 0 and math.isfinite(start)):
        raise ValueError(f"Argument `duration` must be positive and finite, but is {duration}.")
    whole = math.floor(start)
    # integers are subtracted as such: exact, wherever the origin of time is
    exact = all(t.dtype.kind == "i" for t in pieces if t.size) and abs(whole) < 2**62
    since = [(t - whole).astype(float) - float(start - whole) if exact else t - float(start) for t in pieces]
    # two times, an edge and their sum are rounded by half a unit in the last place each
    rounding = 4 * float(np.spacing(duration if exact else abs(float(start)) + duration))
    slack = 1e-9 * duration + rounding
    for t in since:
        if t.size and (t[0] < -slack or t[-1] > duration + slack):
            raise ValueError(
                f"Argument `duration` must cover all clicks, but clicks lie between {start + t[0]:.6g} and"
                f" {start + t[-1]:.6g} while the record runs from {start:.6g} to {start + duration:.6g}; give `start`"
                " too if it is not 0."
            )
    return since, duration, rounding


def waiting_times(
    click_times: Any,
    click_counts: ArrayLike | None = None,
    *,
    click_starts: ArrayLike | None = None,
    duration: float | None = None,
    start: float = 0.0,
) -> xr.Dataset:
    """Times from each click to the next one, pooled over trajectories.

    The interval still open when a record ends is *right-censored*: it is known only to be longer than what
    was seen. The pooled intervals alone favour short ones, by a relative amount of about (mean waiting time)
    / duration. With `duration` the censored intervals are returned too, for survival estimators and
    likelihoods that use them. The time from the record's beginning to the first click is no waiting time and
    is left out.

    Parameters
    ----------
    click_times : array_like, shape (click,), or list of array_like
        Ascending within each trajectory. Integers (time tags) are subtracted as integers, without rounding.
    click_counts : array_like of int, shape (trajectory,), optional
        Clicks per trajectory; None if `click_times` is a list.
    click_starts : array_like of int, shape (trajectory,), optional
        Where in `click_times` the clicks of each trajectory begin: for a selection of trajectories from a dataset,
        whose flat times are still those of all. Default: one trajectory after the other.
    duration : float, optional
        Length of every record.
    start : float
        Time at which every record begins.

    Returns
    -------
    xarray.Dataset
        `waiting_time(interval)` and `trajectory_index(interval)`; with `duration` also
        `censored_time(censored)`, the open intervals of all trajectories that have a click. attrs:
        n_trajectories, n_clicks.

    Raises
    ------
    ValueError
        If times hold NaN, do not ascend, do not match the counts or starts, or lie outside of the record.
    """
    import xarray as xr

    pieces = _split(click_times, click_counts, click_starts)
    waits = [np.diff(t).astype(float) for t in pieces]
    data: dict[str, Any] = {
        "waiting_time": ("interval", np.concatenate(waits)),
        "trajectory_index": ("interval", np.repeat(np.arange(len(waits)), [w.size for w in waits])),
    }
    if duration is not None:
        since, duration, _ = _since(pieces, start, duration)
        data["censored_time"] = ("censored", np.array([max(0.0, duration - t[-1]) for t in since if t.size]))
    return xr.Dataset(data, attrs={"n_trajectories": len(pieces), "n_clicks": int(sum(t.size for t in pieces))})


def g2(
    click_times: Any,
    click_counts: ArrayLike | None,
    duration: float,
    lags: ArrayLike,
    *,
    click_starts: ArrayLike | None = None,
    start: float = 0.0,
) -> xr.Dataset:
    r"""Second-order coherence :math:`g^{(2)}(\tau)` of the clicks of one detector.

    Ordered pairs of clicks (all pairs, not only neighbours) are counted by their lag and divided by what
    independent clicks of the same mean rate give in records of this length, ``rate^2 (T - lag) d lag`` per
    trajectory: so the finite record does not bias it (to O(1/clicks), from the square of the estimated rate).
    Assumes a stationary process. Efficiency drops out.

    Parameters
    ----------
    click_times, click_counts, click_starts
        As in `waiting_times`.
    duration : float
        Length T of every record.
    lags : array_like, shape (bin + 1,)
        Ascending edges of the lag bins, >= 0 and below `duration`. Values are averages over bins. A lag on an edge
        belongs to the bin that begins there, also if it lies below the edge by what rounding of times can do (four
        units in the last place of the latest time): so bins of time tags do not depend on the tags' unit.
    start : float
        Time at which every record begins.

    Returns
    -------
    xarray.Dataset
        `g2(lag)` at bin centres, `g2_stderr` (jackknife over trajectories if there are 20, else over pieces
        of them that are long against both the lags and the correlation time; of no pair, that of one),
        `pairs(lag)`. attrs: rate, n_trajectories, n_clicks, n_blocks, error_method.

    Raises
    ------
    ValueError
        If there is no click, clicks lie outside of the record, or `lags` are not as stated.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left, or one of them has all clicks; `g2_stderr` is then NaN.
    """
    import xarray as xr

    pieces, duration, rounding = _since(_split(click_times, click_counts, click_starts), start, duration)
    edges = _real(lags, "lags").astype(float)
    if edges.ndim != 1 or edges.size < 2 or edges[0] < 0 or np.any(np.diff(edges) <= 0) or edges[-1] >= duration:
        raise ValueError(
            "Argument `lags` must be at least two ascending edges in [0, duration), but is"
            f" {np.array2string(edges, threshold=6)}"
            f" for a duration of {duration:.6g}."
        )
    total = sum(t.size for t in pieces)
    if total == 0:
        raise ValueError("Argument `click_times` must hold clicks, but is empty: g2 is not defined.")
    centres = (edges[1:] + edges[:-1]) / 2
    blocks, per_trajectory = _time_blocks(pieces, duration, float(edges[-1]))
    warn_too_few(blocks, "g2")
    length = duration / per_trajectory
    pairs = np.zeros((blocks.count, centres.size))
    clicks = np.zeros(blocks.count)
    for k, t in enumerate(pieces):
        # a pair belongs to the piece of its first click
        owner = np.clip((t / length).astype(np.int64), 0, per_trajectory - 1)
        clicks[k * per_trajectory : (k + 1) * per_trajectory] = np.bincount(owner, minlength=per_trajectory)
        rows = max(1, _CHUNK // edges.size)
        for i in range(0, t.size, rows):
            here = t[i : i + rows]
            place = np.searchsorted(t, here[:, None] + (edges - rounding))
            place = np.maximum(place, np.arange(i, i + here.size)[:, None] + 1)  # not with itself
            np.add.at(pairs, k * per_trajectory + owner[i : i + rows], np.diff(place, axis=1))
    # time in a piece from which the lag still ends within the record
    piece_starts = np.tile(np.arange(per_trajectory) * length, len(pieces))
    exposure = np.clip(duration - centres - piece_starts[:, None], 0, length) * np.diff(edges)
    lengths = np.full(blocks.count, length)

    def value(mean: NDArray[Any]) -> NDArray[Any]:
        n = centres.size
        return np.asarray(mean[..., 1 : n + 1] / (mean[..., :1] ** 2 * mean[..., n + 1 :]))

    with np.errstate(divide="ignore", invalid="ignore"):  # without the only piece that has clicks: seen to below
        estimate, stderr = jackknife(np.hstack([clicks[:, None], pairs, exposure]), lengths, value)
    if _alone(clicks, blocks, "g2"):
        stderr = np.full(centres.size, math.nan)
    elif blocks.enough:
        # no pair says "less than about one", not "exactly none"
        expected = (total / (len(pieces) * duration)) ** 2 * exposure.sum(axis=0)
        stderr = np.where(pairs.any(axis=0), stderr, 1 / expected)
    return xr.Dataset(
        {
            "g2": ("lag", estimate),
            "g2_stderr": ("lag", stderr),
            "pairs": ("lag", pairs.sum(axis=0).astype(np.int64)),
        },
        coords={"lag": centres},
        attrs={
            "rate": total / (len(pieces) * duration),
            "duration": duration,
            "n_trajectories": len(pieces),
            "n_clicks": int(total),
            "n_blocks": blocks.count,
            "error_method": blocks.method,
        },
    )


def _alone(clicks: NDArray[Any], blocks: Blocks, what: str) -> bool:
    """Whether one of enough blocks has all clicks, with a warning: nothing is left when it is left out."""
    alone = blocks.enough and int(np.count_nonzero(clicks)) < 2
    if alone:
        warnings.warn(
            f"Too little data for a standard error of {what}: one of {blocks.count} independent pieces has all clicks."
            " Standard errors are NaN; record longer, or more trajectories.",
            TooLittleDataWarning,
            stacklevel=3,
        )
    return alone


def _time_blocks(pieces: list[NDArray[np.float64]], duration: float, reach: float) -> tuple[Blocks, int]:
    """Whole trajectories if there are enough of them, else equal pieces, 10 times as long as memory and
    `reach`.
    """
    ntraj = len(pieces)
    tau = math.nan
    per_trajectory = 1
    if ntraj < ENOUGH_TRAJECTORIES:
        # memory from counts in bins of about one click
        total = sum(t.size for t in pieces)
        n = int(np.clip(total // ntraj, 16, 1 << 20))
        edges = np.linspace(0, duration, n + 1)
        tau = integrated_autocorrelation_time(np.array([np.histogram(t, edges)[0] for t in pieces]))
        longest = max(10 * tau * duration / n, 10 * reach)
        per_trajectory = max(1, min(int(duration // longest), math.ceil(_BLOCKS / ntraj)))
    count = ntraj * per_trajectory
    ones = np.ones(count, dtype=np.int64)
    return Blocks(np.arange(count), ones, "trajectories" if per_trajectory == 1 else "blocks", tau), per_trajectory


def _counts(counts: Any, kind: str) -> tuple[NDArray[Any], NDArray[Any], float, int]:
    """Value and standard error of the Fano factor, mean, and the number of blocks."""
    dims = counts.dims if is_labelled(counts) else ()
    if is_labelled(counts) and (len(dims) > 1 or set(dims) & set(TIME_DIMS)):
        x = as_records(counts, "counts", 1.0).values
    else:
        x = getattr(counts, "values", counts)
    x = _real(x, "counts").astype(float)
    if x.ndim not in (1, 2) or x.size < 2:
        raise ValueError(
            f"Argument `counts` must have shape (trajectory,) or (trajectory, window), but has shape {x.shape}."
        )
    if np.any(x < 0):
        raise ValueError("Argument `counts` must not be negative, but is.")
    if not x.any():
        raise ValueError(f"Argument `counts` must hold clicks, but is all zero: {kind} is not defined.")
    if x.ndim == 1:
        ones = np.ones(x.size, dtype=np.int64)
        blocks = Blocks(np.arange(x.size, dtype=np.int64), ones, "trajectories", math.nan)
        x = x[:, None]
    else:
        blocks = choose_blocks(np.stack([x, x**2], axis=2))
    warn_too_few(blocks, kind)
    shift = x.mean()  # a variance from raw moments of large counts would cancel
    y = x - shift
    sums = blocks.sums(np.stack([y, y**2], axis=2))
    n = x.size

    def fano(mean: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((mean[..., 1] - mean[..., 0] ** 2) / (mean[..., 0] + shift))

    with np.errstate(divide="ignore", invalid="ignore"):  # as in g2
        value, stderr = jackknife(sums, blocks.lengths, fano)
    if _alone(blocks.sums(x), blocks, kind):
        stderr = np.full(stderr.shape, math.nan)
    return value * (n / (n - 1)), stderr, float(shift), blocks.count  # unbiased variance


def fano_factor(counts: Any) -> xr.Dataset:
    """Fano factor ``Var n / E n`` of counts; 1 for a Poisson process.

    Parameters
    ----------
    counts : array_like or xarray.DataArray, shape (trajectory,) or (trajectory, window)
        Clicks in windows of equal length. One-dimensional entries count as independent (one per trajectory);
        windows of the same record go along the second axis, and their correlation is allowed for. A DataArray has
        them along `window` (or `bin`, `time`), wherever that stands.

    Returns
    -------
    xarray.Dataset
        Scalars `fano`, `fano_stderr` (jackknife), `mean`; attrs n_blocks.

    Raises
    ------
    ValueError
        If `counts` is negative, all zero, holds NaN or has another shape.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left, or one of them has all clicks; the standard error is then NaN.
    """
    import xarray as xr

    value, stderr, mean, blocks = _counts(counts, "the Fano factor")
    return xr.Dataset({"fano": float(value), "fano_stderr": float(stderr), "mean": mean}, attrs={"n_blocks": blocks})


def mandel_q(counts: Any) -> xr.Dataset:
    """Mandel's ``Q = Var n / E n - 1`` of counts; negative for sub-Poissonian ones.

    Arguments, errors and warnings as for `fano_factor`. Efficiency multiplies Q.

    Returns
    -------
    xarray.Dataset
        Scalars `mandel_q`, `mandel_q_stderr` (jackknife), `mean`; attrs n_blocks.
    """
    result = fano_factor(counts)
    result["fano"] = result["fano"] - 1
    return result.rename(fano="mandel_q", fano_stderr="mandel_q_stderr")
