"""Residence: which of two states a noisy signal is in (phase locked at 0 or at pi), for how long, and how often.

*States* are 0 and 1 (for phases: locked at 0, locked at pi), and -1 before the first decision, at uniform times; each
sample stands for the time around it. `assign` and `assign_levels` decide by hysteresis, `hidden_markov` by a model of
the noise; `residence_times` counts what any of them, or another rule, has assigned. `dwell_times` is both in one call,
for phases.

Means are (time in a state) / (number of exits), the maximum-likelihood estimate for exponential dwell times. *All*
time counts: that before the first exit (left-truncated) and that after the last one (right-censored) too, as an
exponential clock has no memory. Means of the complete dwell times alone favour short ones.

Absolute residence times depend on the rule: narrower thresholds skip more of the short excursions. Compare like with
like, and look at `exponentiality` before a mean is taken for all there is to know.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import chirality
from ._arrays import Records, as_series, decide, drop_start, finite, is_labelled, positive, time_dim
from ._hidden import Fit
from .hidden_markov import compare_hidden_markov, hidden_markov
from .lifetimes import FEWEST_EXITS, dwells_in, exponential_mean, exponentiality, survival
from .phases import circular_histogram
from .two_states import confusion, deconvolve, telegraph
from .uncertainty import (
    FEWEST_BLOCKS,
    TooLittleDataWarning,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "assign",
    "assign_levels",
    "compare_hidden_markov",
    "confusion",
    "deconvolve",
    "dwell_times",
    "dwells_in",
    "exponentiality",
    "hidden_markov",
    "occupation_potential",
    "residence_times",
    "survival",
    "telegraph",
]

Method = Literal["hysteresis", "hmm"]

_REPLICATES = 2000  # bootstrap: an end of a 95 % interval is known to 0.06 standard errors
_ENOUGH_EXITS = 20  # below, resampled counts are too coarse for an interval
_LEAST_ERROR = 0.25  # of a replicate, in errors of the data: less is rare, unless most units are alike
_ROUNDING = 1e-9  # of logarithms: where all units are alike, errors are this or less
_SHORT = 0.05  # fraction of dwell times shorter than the filter above which it warns


# --- assignment by hysteresis ----------------------------------------------------------------------------


def assign(phase_difference: Any, half_width: float = math.pi / 4, *, axis: int | str = -1) -> Any:
    r"""State of phase locking by hysteresis on the circle.

    State 0 ("0") is entered at :math:`|\delta\varphi| < w`, state 1 ("pi") at :math:`|\delta\varphi| > \pi - w`; in
    between the last state is kept, and there is none (-1) before the first.

    Parameters
    ----------
    phase_difference : array_like or xarray.DataArray
        Angles in radians, of any branch.
    half_width : float
        w in (0, pi/2]. At pi/2 there is no hysteresis, and noise makes the states flicker.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        0, 1 or -1 (int8), shape and dims of `phase_difference`.

    Raises
    ------
    ValueError
        If angles are complex, NaN or infinite, or `half_width` or `axis` is out of range.
    """
    if not 0 < half_width <= math.pi / 2:
        raise ValueError(
            f"Argument `half_width` must be in (0, pi/2], but is {half_width}; the windows about 0 and pi would overlap"
            " or be empty."
        )

    def rule(angle: NDArray[np.float64]) -> NDArray[np.int8]:
        wrapped = np.abs(np.pi - (np.pi - angle) % (2 * np.pi))
        return decide(wrapped - math.pi / 2, math.pi / 2 - half_width)

    return _along_time(phase_difference, "phase_difference", axis, rule)


def assign_levels(signal: Any, low: float, high: float, *, axis: int | str = -1) -> Any:
    """State of a two-state signal by hysteresis (a Schmitt trigger).

    State 1 is entered above `high`, state 0 below `low`; in between the last state is kept, and there is none (-1)
    before the first.

    Parameters
    ----------
    signal : array_like or xarray.DataArray
        Real, such as a difference of sideband powers.
    low, high : float
        Thresholds, `low` <= `high`.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        0, 1 or -1 (int8), shape and dims of `signal`.

    Raises
    ------
    ValueError
        If the signal is complex, NaN or infinite, or thresholds are out of order.
    """
    low, high = float(low), float(high)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"Argument `low` must be at most `high`, both finite, but is {low} with {high}.")
    return _along_time(signal, "signal", axis, lambda x: decide((x > high) * 1.0 - (x < low), 0.0))


def _along_time(values: Any, name: str, axis: int | str, rule: Any) -> Any:
    """Apply a rule of (series, time), which returns +1, -1, 0, along the axis of time; 1, 0, -1 in its place."""
    x = finite(getattr(values, "values", values), name)
    if np.iscomplexobj(x):
        raise ValueError(f"Argument `{name}` must be real, but is complex; take np.angle or a power first.")
    labelled = is_labelled(values)
    if isinstance(axis, str):
        if not labelled or axis not in values.dims:
            raise ValueError(
                f"Argument `axis` must be a dim of `{name}` if it is a name, but is {axis!r};"
                f" its dims are {list(values.dims) if labelled else 'none: it is a plain array'}."
            )
        axis = list(values.dims).index(axis)
    elif labelled and axis == -1:
        axis = list(values.dims).index(time_dim(values, name))
    if x.ndim == 0 or x.size == 0 or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"Argument `axis` must be an axis of `{name}` along which there are samples, but is {axis}; its shape is"
            f" {x.shape}."
        )
    moved = np.moveaxis(x.astype(float), axis, -1)
    sign = rule(moved.reshape(-1, moved.shape[-1])).reshape(moved.shape)
    states = np.moveaxis(_states(sign), -1, axis)
    return values.copy(data=states) if labelled else states


def _states(sign: NDArray[np.int8]) -> NDArray[np.int8]:
    """+1, -1, 0 as states 1, 0, -1."""
    return np.where(sign == 0, -1, sign > 0).astype(np.int8)


def _signs(states: NDArray[Any]) -> NDArray[np.int8]:
    return np.where(states < 0, 0, 2 * states - 1).astype(np.int8)


# --- times in a state ------------------------------------------------------------------------------------


def dwell_times(
    phase_difference: Any,
    times: ArrayLike | None = None,
    half_width: float = math.pi / 4,
    *,
    method: Method = "hysteresis",
    n_states: Literal[2, 3] = 2,
    discard: float = 0.0,
    filter_time: float | None = None,
    level: float = 0.95,
    replicates: int = _REPLICATES,
    seed: int = 0,
    axis: int | str = -1,
) -> xr.Dataset:
    """Times for which a phase difference stays locked at 0 and at pi, their means, ratio and rates, with intervals.

    - `hysteresis`: states by `assign`, statistics by `residence_times`.
    - `hmm`: states by the most likely path of a hidden Markov model, see `hidden_markov`. With two states the means,
      ratio, rates and occupation are those of the fitted model, which knows about excursions too short for the path to
      show; exits and the list of dwell times are the path's. With three the slip keeps the last state, as hysteresis
      does, and statistics are counted on the path.

    Parameters
    ----------
    phase_difference : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Angles in radians, of any branch.
    times : array_like, shape (time,), optional
        Uniform. Default: the coordinate of a DataArray.
    half_width : float
        Of `hysteresis` alone, in (0, pi/2].
    method : {"hysteresis", "hmm"}
        See above.
    n_states : {2, 3}
        Of `hmm` alone: 0 and pi, or 0, pi and slip; `compare_hidden_markov` tells which is better.
    discard : float
        Times before ``times[0] + discard`` are left out, by hysteresis after states are assigned: a decision made there
        counts.
    filter_time, level, replicates, seed
        As for `residence_times`.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    xarray.Dataset
        As from `residence_times`, with the labels "0" and "pi": `mean_0`, `mean_pi`, `ratio`, ... attrs also: method,
        half_width (NaN with `hmm`), discard.

    Raises
    ------
    ValueError
        If angles are complex, NaN or infinite; times are missing, not uniform or not one per sample; `half_width`,
        `discard`, `method` or `n_states` is out of range; or a model cannot be fitted.

    Warns
    -----
    RuntimeWarning, TooLittleDataWarning
        As `residence_times`.
    """
    if method not in get_args(Method):
        raise ValueError(f'Argument `method` must be "hysteresis" or "hmm", but is {method!r}.')
    records = as_series(phase_difference, times, "phase_difference", axis=axis)
    attrs = {"method": method, "half_width": half_width, "discard": discard}
    labels = ("0", "pi")
    if method == "hysteresis":
        states = replace(records, values=assign(records.values, half_width))
        return _residence(drop_start(states, discard), labels, filter_time, level, replicates, seed).assign_attrs(attrs)
    records = drop_start(records, discard)
    fit = Fit(_angle(records.values)[..., None], records.bin_width, n_states, "phase", name="phase_difference")
    path = _keep_last(fit.path())
    found = _residence(
        replace(records, values=path), labels, filter_time, level, replicates, seed, fit if n_states == 2 else None
    )
    return found.assign_attrs({**attrs, "half_width": math.nan, "n_states": n_states})


def residence_times(
    states: Any,
    times: ArrayLike | None = None,
    *,
    labels: tuple[str, str] = ("0", "1"),
    filter_time: float | None = None,
    level: float = 0.95,
    replicates: int = _REPLICATES,
    seed: int = 0,
    axis: int | str = -1,
) -> xr.Dataset:
    """Dwell times in two states, their means, ratio and rates, with intervals.

    Intervals are, as `interval_method` says,

    - "bootstrap over trajectories", with 20 exits from either state and 8 trajectories or more that leave it:
      trajectories are independent, and nothing is assumed of dwell times;
    - "bootstrap over cycles", with 20 exits: visits to the two states, in pairs, are independent, of any distribution;
    - "gamma", with fewer exits: dwell times are independent and exponential. Without any exit only the lower end of a
      mean is known.

    Both bootstraps are studentised, of the logarithms, with at least a quarter of the data's error: visits of a clock
    are nearly all alike. Where all of them are, intervals have no width; times are known to `resolution` at best.

    Parameters
    ----------
    states : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        0 and 1, and -1 before the first decision only.
    times : array_like, shape (time,), optional
        Uniform. Default: the coordinate of a DataArray.
    labels : (str, str)
        Names of states 0 and 1, which end the names of the variables.
    filter_time : float, optional
        Length of the filter through which the signal was seen. Dwell times shorter than it are flagged.
    level : float
        Probability that an interval holds, in (0, 1).
    replicates, seed : int
        Of the bootstrap.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    xarray.Dataset
        Over `interval`, in order of trajectory and time: `dwell_time`, `state`, `start`, `trajectory_index`,
        `left_censored`, `right_censored` (as in `chirality.dwell_times`), `shorter_than_filter`. Scalars, for each
        label: `mean_*`, `rate_*` = 1 / mean, `exits_*`, `time_*` (in the state); `ratio` of the first mean to the
        second; `occupation_*`, the fraction of time in the first state; all but counts and times with `_stderr`,
        `_low`, `_high`. A state never left has the mean inf and the rate 0, one never seen NaN, both with a warning.
        attrs: interval_method, level, labels, n_trajectories, n_exits, resolution, undecided_time,
        filter_time, short_fraction (of complete dwell times; NaN without `filter_time`).

    Raises
    ------
    ValueError
        If states are others than 0, 1 and leading -1, times are missing or not uniform, `level` or `replicates` is out
        of range, `labels` are not two different names, or `filter_time` is not positive.

    Warns
    -----
    RuntimeWarning
        If more than 5 % of the complete dwell times are shorter than `filter_time`: those still shorter were never
        seen, and the means are too long.
    TooLittleDataWarning
        If a state has fewer than 5 exits.

    Notes
    -----
    Exponential law with censoring: Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data (2002),
    section 3.3; the interval of few exits is that of Jeffreys' prior. Studentised bootstrap: Davison and Hinkley,
    Bootstrap Methods and their Application (1997), section 5.2.
    """
    records = as_series(states, times, "states", axis=axis)
    return _residence(_checked(records, "states"), labels, filter_time, level, replicates, seed)


def _keep_last(path: NDArray[np.int8]) -> NDArray[np.int8]:
    """A path through the slip (2) as one that keeps the last of the states 0 and 1."""
    return _states(decide(np.choose(path, [-1.0, 1.0, 0.0]), 0.0))


def _checked(records: Records, name: str) -> Records:
    x = records.values
    if not np.isin(x, (-1, 0, 1)).all():
        raise ValueError(
            f"Argument `{name}` must hold 0, 1 and -1 only, but does not; `assign` and `assign_levels` make it."
        )
    x = x.real.astype(np.int8)
    if np.any((x[:, 1:] < 0) & (x[:, :-1] >= 0)):
        raise ValueError(
            f"Argument `{name}` must be -1 before its first decision only, but returns to -1; keep the last state."
        )
    return replace(records, values=x)


def _angle(values: NDArray[Any]) -> NDArray[np.float64]:
    if np.iscomplexobj(values):
        raise ValueError("Argument `phase_difference` must be real angles, but is complex; take np.angle first.")
    return np.asarray(values, dtype=float)


def _residence(
    states: Records,
    labels: tuple[str, str],
    filter_time: float | None,
    level: float,
    replicates: int,
    seed: int,
    fit: Fit | None = None,
) -> xr.Dataset:
    """Statistics of checked states, or, where one is given, of a fitted model."""
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if replicates % 1 != 0 or replicates < 100:
        raise ValueError(f"Argument `replicates` must be an integer >= 100, but is {replicates}.")
    two = isinstance(labels, (tuple, list)) and len(labels) == 2
    if not two or labels[0] == labels[1] or not all(isinstance(a, str) and a for a in labels):
        raise ValueError(f"Argument `labels` must be two different names, but is {labels!r}.")
    if filter_time is not None:
        filter_time = positive(filter_time, "filter_time")

    t = states.start + states.bin_width * np.arange(states.shape[1])
    found = chirality.dwell_times(_signs(states.values), t)
    state = ((found.sense.values + 1) // 2).astype(np.int8)
    found = found.drop_vars("sense").assign(state=("interval", state))
    length, right = found.dwell_time.values, found.right_censored.values
    complete = ~right & ~found.left_censored.values
    short = length < (0.0 if filter_time is None else filter_time * (1 - 1e-9))
    short_fraction = math.nan
    if filter_time is not None:
        short_fraction = float(np.mean(short[complete])) if complete.any() else 0.0
        if short_fraction > _SHORT:
            warnings.warn(
                f"{short_fraction:.0%} of the complete dwell times are shorter than the filter ({filter_time:.6g}):"
                " those still shorter were not seen, and mean residence times are too long. Filter less, or predict the"
                " bias with `telegraph`.",
                RuntimeWarning,
                stacklevel=3,
            )

    # time and exits in either state: of a trajectory, and of a cycle through both
    owner, ntraj = found.trajectory_index.values, states.shape[0]
    each = np.zeros((state.size, 4))
    each[np.arange(state.size), 2 * state] = length
    each[np.arange(state.size), 2 * state + 1] = ~right
    trajectories = np.zeros((ntraj, 4))
    np.add.at(trajectories, owner, each)
    begins = np.flatnonzero(found.left_censored.values | (state == 0))
    cycles = np.add.reduceat(each, begins, axis=0) if begins.size else each
    spent, exits = trajectories.sum(axis=0)[::2], trajectories.sum(axis=0)[1::2].astype(int)

    few = [f"{exits[j]} from {labels[j]}" for j in (0, 1) if exits[j] < FEWEST_EXITS]
    if few:
        warnings.warn(
            f"Too few exits for a mean residence time: {', '.join(few)} (at least {FEWEST_EXITS} are needed); record"
            " longer, or more trajectories.",
            TooLittleDataWarning,
            stacklevel=3,
        )
    if fit is not None:
        values, method = _fitted(fit, level)
    else:
        values, method = _counted(trajectories, cycles, level, int(replicates), seed)
    names = [f"mean_{a}" for a in labels] + [f"rate_{a}" for a in labels] + ["ratio", f"occupation_{labels[0]}"]
    for name, row in zip(names, values, strict=True):
        for end, value in zip(("", "_stderr", "_low", "_high"), row, strict=True):
            found[name + end] = float(value)
    for j in (0, 1):
        found[f"exits_{labels[j]}"] = int(exits[j])
        found[f"time_{labels[j]}"] = float(spent[j])
    found["shorter_than_filter"] = ("interval", short)
    resolution = found.attrs["resolution"]
    found.attrs = {
        "interval_method": method,
        "level": level,
        "labels": labels,
        "n_trajectories": ntraj,
        "n_exits": int(exits.sum()),
        "resolution": resolution,
        "undecided_time": float(np.sum(states.values < 0) * resolution),
        "filter_time": math.nan if filter_time is None else filter_time,
        "short_fraction": short_fraction,
    }
    return found


def _counted(
    trajectories: NDArray[np.float64], cycles: NDArray[np.float64], level: float, replicates: int, seed: int
) -> tuple[NDArray[np.float64], str]:
    """Rows of value, standard error, low, high: two means, two rates, ratio, occupation; and how they were found.

    Units (unit, quantity) hold the time in state 0, its exits, the time in state 1 and its exits.
    """
    sums, tail = trajectories.sum(axis=0), (1 - level) / 2
    # each is a product of powers of the sums
    powers = np.array([[1, -1, 0, 0], [0, 0, 1, -1], [1, -1, -1, 1], [1, 0, -1, 0]])
    fewest = min(sums[1], sums[3])
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.exp(np.where(powers != 0, powers * np.log(sums), 0).sum(axis=1))
    if fewest >= _ENOUGH_EXITS:
        leavers = (trajectories[:, [1, 3]] > 0).sum(axis=0).min()
        units, method = (trajectories, "trajectories") if leavers >= FEWEST_BLOCKS else (cycles, "cycles")
        relative, low, high = _bootstrap(units, powers, tail, replicates, seed)
        rows = np.stack([values, values * relative, values * np.exp(low), values * np.exp(high)], axis=1)
        return _finish(rows), f"bootstrap over {method}"
    from scipy import stats

    rows = np.full((4, 4), math.nan)
    for k in (0, 1):
        spent, exits = sums[2 * k], sums[2 * k + 1]
        if exits > 0:
            rows[k] = exponential_mean(spent / exits, exits, tail)
        elif spent > 0:
            rows[k] = math.inf, math.nan, spent / -math.log(tail), math.inf  # Garwood's bound for no event
    n0, n1 = sums[1], sums[3]
    if fewest > 0:
        error = math.sqrt(1 / n0 + 1 / n1)
        ends = stats.f.ppf([tail, 1 - tail], 2 * n1 + 1, 2 * n0 + 1) * (n1 + 0.5) / (n0 + 0.5) * n0 / n1
        for k in (2, 3):
            rows[k] = values[k], values[k] * error, *(values[k] * ends)
    else:
        rows[2:, 0], rows[2:, 2], rows[2:, 3] = values[2:], 0.0, math.inf
    return _finish(rows), "gamma"


def _fitted(fit: Fit, level: float) -> tuple[NDArray[np.float64], str]:
    """The rows of `_counted`, from a fitted model."""
    from scipy import stats

    k, covariance = fit.rates()
    tail = (1 - level) / 2
    reach = -stats.norm.ppf(tail)
    # a variance from the scatter of few trajectories is itself uncertain
    wider = -stats.t.ppf(tail, len(fit.sequences) - 1) / reach if fit.error_method == "trajectories" else 1.0
    rows = []
    for j in (0, 1):
        # as precise as this number of exits seen without noise
        mean, error, _, _ = exponential_mean(1 / k[j], 1 / covariance[j, j], tail)
        rows.append((mean, error, *exponential_mean(1 / k[j], 1 / (wider**2 * covariance[j, j]), tail)[2:]))
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    ratio, width = k[1] / k[0], math.exp(error * wider * reach)
    rows += 2 * [(ratio, ratio * error, ratio / width, ratio * width)]
    return _finish(np.array(rows)), f"likelihood, {fit.error_method}"


def _bootstrap(
    units: NDArray[np.float64], powers: NDArray[Any], tail: float, replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standard error and ends, relative to the value, of logarithms of products of powers of sums over units.

    Studentised: errors of the replicates are found, too, so that skewed sums of few units get their interval. They are
    bounded from below, as all units of a replicate may be alike, and ends would be infinite.
    """
    n, nq = units.shape
    rng = np.random.default_rng(seed)
    extended = np.hstack([units, (units[:, :, None] * units[:, None, :]).reshape(n, -1)])

    def logarithms(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        s, squares = sums[:, :nq], sums[:, nq:].reshape(-1, nq, nq)
        slopes = powers / s[:, None, :]
        variance = np.einsum("rki,rij,rkj->rk", slopes, squares, slopes)
        return np.log(s) @ powers.T, np.sqrt(np.maximum(variance, 0))

    chunk = max(1, 2_000_000 // n)
    sizes = [min(chunk, replicates - i) for i in range(0, replicates, chunk)]
    drawn = [rng.multinomial(n, np.full(n, 1 / n), size=size) @ extended for size in sizes]
    value, error = (x[0] for x in logarithms(extended.sum(axis=0, keepdims=True)))
    with np.errstate(divide="ignore", invalid="ignore"):
        replicate, its_error = logarithms(np.concatenate(drawn))
        t = (replicate - value) / np.maximum(its_error, np.maximum(_LEAST_ERROR * error, _ROUNDING))
    ends = np.array([np.quantile(x[~np.isnan(x)], [tail, 1 - tail], method="inverted_cdf") for x in t.T])
    return error * math.sqrt(n / (n - 1)), -ends[:, 1] * error, -ends[:, 0] * error


def _finish(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means, rates, ratio and occupation from means, ratio and odds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value, error, low, high = rows[:2].T
        rates = np.stack([1 / value, np.where(np.isinf(value), np.nan, error / value**2), 1 / high, 1 / low], axis=1)
        p = 1 / (1 + 1 / rows[3])
        p[1] = p[0] * (1 - p[0]) * rows[3, 1] / rows[3, 0]
    return np.vstack([rows[:2], rates, rows[2:3], p[None]])


# --- occupation ------------------------------------------------------------------------------------------


def occupation_potential(phase_difference: Any, bins: int = 60, *, axis: int | str = -1) -> xr.Dataset:
    r"""Effective potential :math:`-\ln P(\delta\varphi)` of a phase difference.

    P is the density per radian, its errors those of `circular_histogram` (across trajectories if there are 20, else
    across blocks of time), divided by P.

    Parameters
    ----------
    phase_difference : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Angles in radians, of any branch.
    bins : int
        Number of bins on (-pi, pi].
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    xarray.Dataset
        `potential(phase)`, `potential_stderr`, `density`, `density_stderr`. Of an empty bin the potential is inf, its
        standard error NaN. attrs: as of `circular_histogram`, n_empty.

    Raises
    ------
    ValueError
        If angles are complex, NaN or infinite.

    Warns
    -----
    TooLittleDataWarning
        As `circular_histogram`, and if bins are empty.
    """
    found = circular_histogram(phase_difference, bins, axis=axis)
    p, error = found.density.values, found.density_stderr.values
    empty = int(np.sum(p <= 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found["potential"] = ("phase", -np.log(p))
        found["potential_stderr"] = ("phase", np.where(p > 0, error / p, math.nan))
    if empty:
        warnings.warn(
            f"Too little data for a potential in {empty} of {p.size} bins, which are empty: it is infinite there; take"
            " fewer bins, or record longer.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    return found.assign_attrs(n_empty=empty)
