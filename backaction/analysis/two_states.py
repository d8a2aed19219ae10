"""Two-state assignments against the truth, and simulated signals to try them on; reached through `residence`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Records, as_records, is_labelled, moving_mean, need_same_runs, positive, whole_bins
from .uncertainty import block_attrs, choose_blocks, warn_too_few

if TYPE_CHECKING:
    import xarray as xr


def confusion(assigned: Any, truth: Any) -> xr.Dataset:
    """How often samples are assigned to either state, given the true one: P(assigned | true).

    Parameters
    ----------
    assigned, truth : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        States 0 and 1 at the same times; samples at which either is -1 are left out. A DataArray has its time along
        `bin`, `window` or `time`, and the coordinates of two must be the same.

    Returns
    -------
    xarray.Dataset
        `probability` (assigned, true), whose columns add up to 1, `probability_stderr`, `counts` (samples), scalars
        `balanced_accuracy`, the mean of the diagonal, `agreement`, the fraction of samples, `covariance` of
        P(0 | 0) and P(0 | 1), and their `_stderr`. Standard errors across trajectories if there are 20, else across
        blocks of time. attrs: decided_fraction, n_samples, n_trajectories, n_blocks, error_method, correlation_time.

    Raises
    ------
    ValueError
        If states are others than 0, 1, -1, shapes or coordinates differ, or a state does not occur in `truth`.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left; standard errors are then NaN.
    """
    import xarray as xr

    if is_labelled(assigned) and is_labelled(truth) and set(truth.dims) == set(assigned.dims):
        truth = truth.transpose(*assigned.dims)  # whatever their names
    records = as_records(assigned, "assigned", 1.0), as_records(truth, "truth", 1.0)
    a, b = (r.values for r in records)
    for x, name in ((a, "assigned"), (b, "truth")):
        if not np.isin(x, (-1, 0, 1)).all():
            raise ValueError(f"Argument `{name}` must hold 0, 1 and -1 only, but does not; `assign` makes it.")
    if a.shape != b.shape or records[0].has_trajectories != records[1].has_trajectories:
        raise ValueError(
            f"Argument `truth` must have the shape of `assigned`, but has {np.shape(truth)} for {np.shape(assigned)};"
            " bring both to the same times first."
        )
    if is_labelled(assigned) and is_labelled(truth):
        need_same_runs(truth, assigned, "truth", [d for d in truth.dims if d in assigned.dims])
    decided = (a >= 0) & (b >= 0)
    cells = np.stack([(decided & (a == i) & (b == j)).astype(float) for j in (0, 1) for i in (0, 1)], axis=-1)
    totals = cells.sum(axis=(0, 1))
    if not (totals[0] + totals[1] and totals[2] + totals[3]):
        raise ValueError("Argument `truth` must show both states where `assigned` is decided, but does not.")
    blocks = choose_blocks(cells)
    warn_too_few(blocks, "the confusion matrix")
    sums = blocks.sums(cells)
    true0, true1 = totals[:2].sum(), totals[2:].sum()
    p0, p1 = totals[0] / true0, totals[2] / true1
    n = blocks.count
    covariance = np.full((3, 3), math.nan)
    agreement = (totals[0] + totals[3]) / totals.sum()
    if blocks.enough:
        influence = np.stack(
            [
                (sums[:, 0] - p0 * sums[:, :2].sum(axis=1)) / true0,
                (sums[:, 2] - p1 * sums[:, 2:].sum(axis=1)) / true1,
                (sums[:, 0] + sums[:, 3] - agreement * sums.sum(axis=1)) / totals.sum(),
            ]
        )
        covariance = influence @ influence.T * n / (n - 1)
    stderr = np.sqrt(np.diag(covariance))
    balanced = math.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)) / 2
    return xr.Dataset(
        {
            "probability": (("assigned", "true"), [[p0, p1], [1 - p0, 1 - p1]]),
            "probability_stderr": (("assigned", "true"), [stderr[:2], stderr[:2]]),
            "counts": (("assigned", "true"), totals.reshape(2, 2).T.astype(np.int64)),
            "balanced_accuracy": (p0 + 1 - p1) / 2,
            "balanced_accuracy_stderr": balanced,
            "agreement": agreement,
            "agreement_stderr": stderr[2],
            "covariance": covariance[0, 1],
        },
        coords={"assigned": [0, 1], "true": [0, 1]},
        attrs={"decided_fraction": float(decided.mean()), **block_attrs(blocks, a.shape[0], a.size)},
    )


def deconvolve(occupation: float, confusion: xr.Dataset, *, stderr: float = 0.0) -> xr.Dataset:
    r"""Occupation of state 0 corrected for wrong assignments: the assigned one, through the inverse confusion matrix.

    .. math:: P(0) = \frac{q - P(0|1)}{P(0|0) - P(0|1)}

    where q is the fraction of samples assigned to 0. The confusion matrix is that of *other* data, whose errors are
    independent, taken in the same way; it depends on how fast states change as well as on noise.

    Parameters
    ----------
    occupation : float
        q, in [0, 1].
    confusion : xarray.Dataset
        From `confusion`.
    stderr : float
        Standard error of q.

    Returns
    -------
    xarray.Dataset
        Scalars `occupation`, `occupation_stderr`; not clipped to [0, 1]. attrs: determinant, P(0|0) - P(0|1), and its
        determinant_stderr.

    Raises
    ------
    ValueError
        If q is not in [0, 1], `stderr` is negative, or the assignment knows (nearly) nothing of the truth: the
        determinant is below 0.05 or three of its standard errors.

    Warns
    -----
    RuntimeWarning
        If the result lies outside [0, 1] by more than two standard errors: the confusion matrix is not that of these
        data.
    """
    import xarray as xr

    if not 0 <= occupation <= 1:
        raise ValueError(f"Argument `occupation` must be in [0, 1], but is {occupation}.")
    if not (math.isfinite(stderr) and stderr >= 0):
        raise ValueError(f"Argument `stderr` must be a standard error >= 0, but is {stderr}.")
    p0, p1 = (float(x) for x in confusion.probability.values[0])
    e0, e1 = (float(x) for x in confusion.probability_stderr.values[0])
    c = float(confusion.covariance)
    determinant = p0 - p1
    its_error = math.sqrt(max(e0**2 + e1**2 - 2 * c, 0.0)) if math.isfinite(c) else math.nan
    if determinant < max(0.05, 3 * its_error if math.isfinite(its_error) else 0.0):
        raise ValueError(
            f"Argument `confusion` must tell the states apart, but P(0|0) - P(0|1) is {determinant:.3g} (standard error"
            f" {its_error:.2g}): its inverse would only magnify noise. Improve the assignment first."
        )
    p = (occupation - p1) / determinant
    variance = stderr**2 + (p * e0) ** 2 + ((1 - p) * e1) ** 2 + 2 * p * (1 - p) * c
    error = math.sqrt(max(variance, 0.0)) / determinant if math.isfinite(variance) else math.nan
    if max(-p, p - 1) > 2 * (error if math.isfinite(error) else 0.0):
        warnings.warn(
            f"The corrected occupation is {p:.4g}, outside [0, 1] by more than two standard errors ({error:.2g}): the"
            " confusion matrix is not that of these data.",
            RuntimeWarning,
            stacklevel=2,
        )
    return xr.Dataset(
        {"occupation": p, "occupation_stderr": error},
        attrs={"determinant": determinant, "determinant_stderr": its_error},
    )


def telegraph(
    rates: tuple[float, float],
    duration: float,
    dt: float,
    *,
    noise: float = 0.0,
    levels: tuple[float, float] = (0.0, 1.0),
    filter_time: float | None = None,
    n_trajectories: int = 1,
    rng: np.random.Generator | int,
) -> xr.Dataset:
    """Random telegraph signals in white noise, to try an analysis on, or to predict its bias.

    States change at exact (not rounded) times; a sample shows the state at its own time. Begin in the stationary state.

    Parameters
    ----------
    rates : (float, float)
        Of leaving state 0 and state 1: inverse mean residence times.
    duration, dt : float
        Length of a record, a whole number of samples, and the time between them.
    noise : float
        Standard deviation of the Gaussian noise of a sample, before the filter. Of bin averages of a current with white
        noise S this is ``sqrt(S / dt)``.
    levels : (float, float)
        Signals of the states; (0, pi) makes a phase difference.
    filter_time : float, optional
        Length of a moving average over the signal, a whole number of samples, at least two. For another filter, leave
        it None and apply that to `signal`.
    n_trajectories : int
        Number of records.
    rng : numpy.random.Generator or int
        Source of random numbers, or the seed of one.

    Returns
    -------
    xarray.Dataset
        `signal` and `state` (int8; the truth at the same times), shape (trajectory, time). attrs: rates, noise, levels,
        filter_time, dt.

    Raises
    ------
    ValueError
        If rates, duration or dt are not positive, `noise` is negative, `duration` or `filter_time` is no whole number
        of samples, or `rng` is no source of random numbers.
    """
    import xarray as xr

    if np.shape(rates) != (2,):
        raise ValueError(f"Argument `rates` must be those of leaving state 0 and state 1, but is {rates!r}.")
    if np.shape(levels) != (2,) or not np.all(np.isfinite(levels)):
        raise ValueError(f"Argument `levels` must be two finite signals, but is {levels!r}.")
    k0, k1 = positive(rates[0], "rates[0]"), positive(rates[1], "rates[1]")
    duration, dt = positive(duration, "duration"), positive(dt, "dt")
    n = whole_bins(duration, dt, "duration")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"Argument `noise` must be a standard deviation >= 0, but is {noise}.")
    if n_trajectories % 1 != 0 or n_trajectories < 1:
        raise ValueError(f"Argument `n_trajectories` must be an integer >= 1, but is {n_trajectories}.")
    ntraj, rng = int(n_trajectories), _generator(rng)
    first = (rng.random(ntraj) < k0 / (k0 + k1)).astype(np.int8)
    at_once = 2 * math.ceil(duration * k0 * k1 / (k0 + k1) + 5)  # about what a record needs
    switches: list[NDArray[np.float64]] = []
    reached = np.zeros(ntraj)
    scale = np.where((first[:, None] + np.arange(at_once)) % 2 == 0, 1 / k0, 1 / k1)
    while reached.min() < duration:
        more = reached[:, None] + np.cumsum(rng.exponential(scale), axis=1)
        switches.append(more)
        reached = more[:, -1]
    moments = np.concatenate(switches, axis=1)
    times = (np.arange(n) + 0.5) * dt

    def state_at(t: NDArray[Any]) -> NDArray[np.int8]:
        return np.stack([(f + np.searchsorted(m, t)) % 2 for f, m in zip(first, moments, strict=True)]).astype(np.int8)

    state = state_at(times)
    signal = np.asarray(levels, dtype=float)[state]
    if noise > 0:
        signal += noise * rng.standard_normal(signal.shape)
    if filter_time is not None:
        taps = whole_bins(filter_time, dt, "filter_time")
        if not 2 <= taps <= n:
            raise ValueError(
                f"Argument `filter_time` must hold from 2 to {n} samples, but holds {taps}; leave it None for none."
            )
        mean = moving_mean(Records(signal, dt, float(times[0]), False, True), filter_time)
        signal = mean.values
        times = mean.start + dt * np.arange(signal.shape[1])
        state = state_at(times)
    return xr.Dataset(
        {"signal": (("trajectory", "time"), signal), "state": (("trajectory", "time"), state)},
        coords={"time": times},
        attrs={
            "rates": (k0, k1),
            "noise": float(noise),
            "levels": (float(levels[0]), float(levels[1])),
            "filter_time": math.nan if filter_time is None else filter_time,
            "dt": dt,
        },
    )


def _generator(rng: Any) -> np.random.Generator:
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
        return np.random.default_rng(rng)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"Argument `rng` must be a numpy.random.Generator or a seed >= 0, but is {rng!r}; pass"
            " numpy.random.default_rng(seed)."
        )
    return rng
