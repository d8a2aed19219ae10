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
from ._arrays import TIME_DIMS, Records, drop_start, finite, is_labelled, positive, whole_bins
from ._hidden import CENTRES, Fit
from .chirality import _as_series, _decide, _labelled, _moving_mean
from .phases import circular_histogram
from .uncertainty import (
    FEWEST_BLOCKS,
    TooLittleDataWarning,
    block_attrs,
    choose_blocks,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

Method = Literal["hysteresis", "hmm"]
Kind = Literal["phase", "signal"]

_REPLICATES = 2000  # bootstrap: an end of a 95 % interval is known to 0.06 standard errors
_ENOUGH_EXITS = 20  # below, resampled counts are too coarse for an interval
_FEWEST_SAMPLES = 20  # of a sequence
_FEWEST_EXITS = 5  # below, a mean is known to a factor of 2 only
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
        return _decide(wrapped - math.pi / 2, math.pi / 2 - half_width)

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
    return _along_time(signal, "signal", axis, lambda x: _decide(x - (low + high) / 2, (high - low) / 2))


def _along_time(values: Any, name: str, axis: int | str, rule: Any) -> Any:
    """Apply a rule of (series, time), which returns +1, -1, 0, along the axis of time; 1, 0, -1 in its place."""
    x = finite(np.asarray(getattr(values, "values", values)), name)
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
        axis = next((i for i, d in enumerate(values.dims) if d in TIME_DIMS), -1)
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
    records = _series(phase_difference, times, "phase_difference", axis)
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

    Both bootstraps are studentised, of the logarithms.

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
    records = _series(states, times, "states", axis)
    return _residence(_checked(records, "states"), labels, filter_time, level, replicates, seed)


def _series(values: Any, times: ArrayLike | None, name: str, axis: int | str) -> Records:
    """`_as_series` with the axis of time anywhere."""
    if is_labelled(values):
        if isinstance(axis, str):
            if axis not in values.dims:
                raise ValueError(
                    f"Argument `axis` must be a dim of `{name}`, but is {axis!r}; its dims are {list(values.dims)}."
                )
            if axis != "time":
                # other dims may bear the name that marks time
                values = values.rename({d: f"{d}_" for d in values.dims if d in TIME_DIMS and d != axis})
                values = values.rename({axis: "time"})
        elif axis != -1:
            raise ValueError(f"Argument `axis` must be the name of a dim of a DataArray, but is {axis}.")
    else:
        if isinstance(axis, str):
            raise ValueError(f"Argument `axis` must be an integer for a plain array, but is {axis!r}.")
        values = np.asarray(values)
        if values.ndim not in (1, 2):
            raise ValueError(
                f"Argument `{name}` must have shape (time,) or (trajectory, time), but has shape {values.shape}."
            )
        if not -values.ndim <= axis < values.ndim:
            raise ValueError(
                f"Argument `axis` must be an axis of `{name}`, but is {axis}; its shape is {values.shape}."
            )
        values = np.moveaxis(values, axis, -1)
    return _as_series(values, times, name)


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
    if int(replicates) != replicates or replicates < 100:
        raise ValueError(f"Argument `replicates` must be an integer >= 100, but is {replicates}.")
    if len(labels) != 2 or len(set(labels)) != 2 or not all(isinstance(a, str) and a for a in labels):
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

    few = [f"{exits[j]} from {labels[j]}" for j in (0, 1) if exits[j] < _FEWEST_EXITS]
    if few:
        warnings.warn(
            f"Too few exits for a mean residence time: {', '.join(few)} (at least {_FEWEST_EXITS} are needed); record"
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
            rows[k] = _gamma(spent / exits, exits, tail)
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
        mean, error, _, _ = _gamma(1 / k[j], 1 / covariance[j, j], tail)
        rows.append((mean, error, *_gamma(1 / k[j], 1 / (wider**2 * covariance[j, j]), tail)[2:]))
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    ratio, width = k[1] / k[0], math.exp(error * wider * reach)
    rows += 2 * [(ratio, ratio * error, ratio / width, ratio * width)]
    return _finish(np.array(rows)), f"likelihood, {fit.error_method}"


def _bootstrap(
    units: NDArray[np.float64], powers: NDArray[Any], tail: float, replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standard error and ends, relative to the value, of logarithms of products of powers of sums over units.

    Studentised: errors of the replicates are found, too, so that skewed sums of few units get their interval.
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
        t = (replicate - value) / its_error
    ends = np.array([np.quantile(x[~np.isnan(x)], [tail, 1 - tail], method="inverted_cdf") for x in t.T])
    return error * math.sqrt(n / (n - 1)), -ends[:, 1] * error, -ends[:, 0] * error


def _gamma(mean: float, exits: float, tail: float) -> tuple[float, float, float, float]:
    """Mean, standard error, low, high where the rate is known as from a number of exits of an exponential clock."""
    from scipy import stats

    low, high = stats.gamma.ppf([tail, 1 - tail], exits + 0.5) / exits
    return mean, mean / math.sqrt(exits), mean / float(high), mean / float(low)


def _finish(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means, rates, ratio and occupation from means, ratio and odds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value, error, low, high = rows[:2].T
        rates = np.stack([1 / value, np.where(np.isinf(value), np.nan, error / value**2), 1 / high, 1 / low], axis=1)
        p = 1 / (1 + 1 / rows[3])
        p[1] = p[0] * (1 - p[0]) * rows[3, 1] / rows[3, 0]
    return np.vstack([rows[:2], rates, rows[2:3], p[None]])


# --- hidden Markov models --------------------------------------------------------------------------------


def hidden_markov(
    signal: Any,
    times: ArrayLike | None = None,
    *,
    n_states: Literal[2, 3] = 2,
    kind: Kind = "phase",
    discard: float = 0.0,
    axis: int | str = -1,
) -> xr.Dataset:
    """States and rates by a hidden Markov model: a state jumps at random, and each has its own distribution of samples.

    Phases are put into 24 bins on the circle, and their distribution in a state may have any shape: a lone sample on
    the other side may then be noise, and rates of short records are lower by a per cent or two. Signals are Gaussian.

    The noise is taken as independent from sample to sample. Where the signal is filtered, or the phase of a conditional
    state diffuses within its well, that is not so: the model then follows slow noise by jumps that are none, and its
    rates come out too high. Take samples no closer than the memory of the noise.

    Parameters
    ----------
    signal : array_like or xarray.DataArray, shape (time,) or (trajectory, time), or a sequence of these
        Angles in radians of any branch (`kind="phase"`), or real signals, such as the powers of two sidebands
        (`kind="signal"`; a tuple or list of several arrays, seen together).
    times : array_like, shape (time,), optional
        Uniform. Default: the coordinate of a DataArray.
    n_states : {2, 3}
        With three, the third lies in between: the slip.
    kind : {"phase", "signal"}
        What the signal is. State 0 is that about 0, state 1 that about pi; of signals the one with the lowest and the
        one with the highest mean (of the first).
    discard : float
        Times before ``times[0] + discard`` are left out.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    xarray.Dataset
        `state` (trajectory, time), of the most likely path (int8: 0, 1, and 2 for the slip); `probability` (...,
        hidden), of the states given all samples; `rate` (hidden, to) of jumps per unit of time, minus the total on the
        diagonal; `rate_stderr` (for two states; NaN on the diagonal and for three); `density` (hidden, phase), of
        phases per radian, or `level` (hidden, feature), the means of signals; `occupation` (hidden), stationary.
        attrs: log_likelihood, iterations, n_states, kind.

    Raises
    ------
    ImportError
        If hmmlearn is not installed.
    ValueError
        If the signal is complex, NaN, infinite or constant; times are missing, not uniform or not one per sample; or no
        such model fits: a state stays empty, or jumps from sample to sample (record at a finer resolution).

    Warns
    -----
    RuntimeWarning
        If the fit has not converged.

    Notes
    -----
    Rabiner, Proc. IEEE 77, 257 (1989); fitted by expectation maximisation with hmmlearn, from a start that is found
    without random numbers. Standard errors of rates: from the curvature of the likelihood or, from 20 trajectories on,
    the scatter of its slopes over trajectories; distributions of samples are taken as known.
    """
    features, records, source = _observed(signal, times, kind, discard, axis)
    fit = Fit(features, records.bin_width, n_states, kind)
    dataset = _labelled(replace(records, values=fit.path()), source, "state", {}).to_dataset()
    names = list(dataset.state.dims)
    probability = fit.probability()
    dataset["probability"] = ([*names, "hidden"], probability if records.has_trajectories else probability[0])
    error = np.full((n_states, n_states), math.nan)
    if n_states == 2:
        k, covariance = fit.rates()
        error[[0, 1], [1, 0]] = k * np.sqrt(np.diag(covariance))
    dataset["rate"] = (("hidden", "to"), fit.generator())
    dataset["rate_stderr"] = (("hidden", "to"), error)
    if kind == "phase":
        dataset["density"] = (("hidden", "phase"), np.roll(fit.densities(), CENTRES.size // 2, axis=1))
        dataset = dataset.assign_coords(phase=CENTRES - math.pi)
    else:
        dataset["level"] = (("hidden", "feature"), fit.levels())
    dataset["occupation"] = ("hidden", fit.stationary())
    hidden = np.arange(n_states)
    attrs = {"log_likelihood": fit.log_likelihood, "iterations": fit.iterations, "n_states": n_states, "kind": kind}
    return dataset.assign_coords(hidden=hidden, to=hidden).assign_attrs(attrs)


def compare_hidden_markov(
    signal: Any,
    times: ArrayLike | None = None,
    *,
    kind: Kind = "phase",
    folds: int = 4,
    discard: float = 0.0,
    axis: int | str = -1,
) -> xr.Dataset:
    """Two states or three, 0 / pi / slip: log-likelihoods of data on which the models were not fitted.

    Trajectories are dealt out into `folds`; each fold is scored by models fitted on the others. Fewer trajectories than
    8 are cut into pieces, which count as independent: they must be long against a residence time.

    Parameters
    ----------
    signal, times, kind, discard, axis
        As for `hidden_markov`.
    folds : int
        At least 2.

    Returns
    -------
    xarray.Dataset
        `log_likelihood(n_states)`, held out, per sample; `gain`, that of three states less that of two, per sample, and
        `gain_stderr` (scatter of trajectories or pieces); `preferred`, 3 if the gain exceeds two standard errors, else
        2. attrs: n_pieces, folds, kind.

    Raises
    ------
    ImportError, ValueError
        As `hidden_markov`; also if `folds` is out of range, or pieces hold fewer than 20 samples.
    """
    import xarray as xr

    features, records, _ = _observed(signal, times, kind, discard, axis)
    if int(folds) != folds or not 2 <= folds <= FEWEST_BLOCKS:
        raise ValueError(f"Argument `folds` must be an integer from 2 to {FEWEST_BLOCKS}, but is {folds}.")
    cuts = math.ceil(FEWEST_BLOCKS / len(features))
    if features.shape[1] // cuts < _FEWEST_SAMPLES:
        raise ValueError(
            f"Argument `signal` must have {_FEWEST_SAMPLES} samples in each of the {FEWEST_BLOCKS} pieces that are"
            f" compared, but has shape {features.shape[:2]}."
        )
    pieces = [piece for x in features for piece in np.array_split(x, cuts)]
    scores = np.empty((2, len(pieces)))
    for fold in range(int(folds)):
        train = [x for i, x in enumerate(pieces) if i % folds != fold]
        for k in (0, 1):
            fit = Fit(train, records.bin_width, k + 2, kind, patient=False)
            for i in range(fold, len(pieces), int(folds)):
                scores[k, i] = fit.score(pieces[i])
    size = sum(len(x) for x in pieces)
    difference = scores[1] - scores[0]
    gain = float(difference.sum()) / size
    error = float(np.std(difference, ddof=1)) * math.sqrt(len(pieces)) / size
    return xr.Dataset(
        {
            "log_likelihood": ("n_states", scores.sum(axis=1) / size),
            "gain": gain,
            "gain_stderr": error,
            "preferred": 3 if gain > 2 * error else 2,
        },
        coords={"n_states": [2, 3]},
        attrs={"n_pieces": len(pieces), "folds": int(folds), "kind": kind},
    )


def _observed(
    signal: Any, times: ArrayLike | None, kind: str, discard: float, axis: int | str
) -> tuple[NDArray[np.float64], Records, Any]:
    """Features (trajectory, time, feature), the records they belong to, and the array that these came from."""
    if kind not in get_args(Kind):
        raise ValueError(f'Argument `kind` must be "phase" or "signal", but is {kind!r}.')
    several = isinstance(signal, (tuple, list)) and bool(signal) and not np.isscalar(signal[0])
    several = several and kind == "signal" and (is_labelled(signal[0]) or isinstance(signal[0], np.ndarray))
    sources = list(signal) if several else [signal]
    series = [drop_start(_series(x, times, "signal", axis), discard) for x in sources]
    if len({x.values.shape for x in series}) > 1:
        raise ValueError(
            f"Argument `signal` must hold arrays of one shape, but they have {[x.values.shape for x in series]}."
        )
    if any(np.iscomplexobj(x.values) for x in series):
        raise ValueError("Argument `signal` must be real, but is complex; take np.angle or a power first.")
    if kind == "phase":
        return series[0].values.astype(float)[..., None], series[0], sources[0]
    return np.stack([x.values.astype(float) for x in series], axis=-1), series[0], sources[0]


def _keep_last(path: NDArray[np.int8]) -> NDArray[np.int8]:
    """A path through the slip (2) as one that keeps the last of the states 0 and 1."""
    return _states(_decide(np.choose(path, [-1.0, 1.0, 0.0]), 0.0))


# --- what dwell times show -------------------------------------------------------------------------------


def dwells_in(found: xr.Dataset, label: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Dwell times in one state and whether each is right-censored, for `survival` and `exponentiality`.

    Left-censored ones are left out: when they began is not known.

    Parameters
    ----------
    found : xarray.Dataset
        From `dwell_times` or `residence_times`.
    label : str
        One of its labels: "0" or "pi" for phases.

    Returns
    -------
    dwells : numpy.ndarray of float, shape (interval,)
    censored : numpy.ndarray of bool, shape (interval,)

    Raises
    ------
    ValueError
        If there is no such label.
    """
    labels = list(found.attrs["labels"])
    if label not in labels:
        raise ValueError(f"Argument `label` must be one of {labels}, but is {label!r}.")
    use = (found.state.values == labels.index(label)) & ~found.left_censored.values
    return found.dwell_time.values[use], found.right_censored.values[use]


def survival(
    dwells: ArrayLike, censored: ArrayLike | None = None, times: ArrayLike | None = None, *, level: float = 0.95
) -> xr.Dataset:
    """Probability that a dwell time is longer than t, by Kaplan and Meier, with pointwise intervals.

    Dwell times are independent, and end no sooner or later for being about to be cut off.

    Parameters
    ----------
    dwells : array_like, shape (interval,)
        From `dwells_in`.
    censored : array_like of bool, shape (interval,), optional
        Whether each was cut off by the end of the record. Default: none.
    times : array_like, shape (time,), optional
        Where to evaluate. Default: at the dwell times that were seen to end.
    level : float
        Probability that an interval holds, in (0, 1).

    Returns
    -------
    xarray.Dataset
        `survival(time)`, `survival_low`, `survival_high` (of log(-log S); Clopper and Pearson's where S is 1 or 0, of
        those at risk and of those that ended), `at_risk`. attrs: n_dwells, n_censored, level.

    Raises
    ------
    ValueError
        If dwell times are not positive, all are censored, or shapes differ.

    Notes
    -----
    `scipy.stats.ecdf`; Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data (2002), section 1.4.
    """
    import xarray as xr
    from scipy import stats

    x, cut = _lifetimes(dwells, censored)
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if times is None:
        t = np.unique(x[~cut])
    else:
        t = finite(np.asarray(times, dtype=float), "times")
        if t.ndim != 1:
            raise ValueError(f"Argument `times` must be one-dimensional, but has shape {t.shape}.")
    curve = stats.ecdf(stats.CensoredData.right_censored(x, cut)).sf
    s = np.asarray(curve.evaluate(t))
    at_risk = np.sum(x[:, None] >= t, axis=0)
    low, high = np.zeros(t.size), np.ones(t.size)
    with warnings.catch_warnings():
        # scipy says so where an interval is not defined, which is seen to below
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = curve.confidence_interval(level, method="log-log")
        low, high = np.asarray(interval.low.evaluate(t)), np.asarray(interval.high.evaluate(t))
    tail = (1 - level) / 2
    unknown = ~np.isfinite(low) | ~np.isfinite(high) | (s >= 1) | (s <= 0)
    risk = np.maximum(at_risk, 1)
    low = np.where(unknown, np.where(s >= 1, tail ** (1 / risk), 0.0), low)
    high = np.where(unknown, np.where(s >= 1, 1.0, 1 - tail ** (1 / np.sum(~cut))), high)
    return xr.Dataset(
        {
            "survival": ("time", s),
            "survival_low": ("time", low),
            "survival_high": ("time", high),
            "at_risk": ("time", at_risk),
        },
        coords={"time": t},
        attrs={"n_dwells": int(x.size), "n_censored": int(cut.sum()), "level": level},
    )


def exponentiality(
    dwells: ArrayLike,
    censored: ArrayLike | None = None,
    *,
    threshold: float | None = None,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Whether dwell times are exponential: their coefficient of variation, and the mean excess beyond a threshold.

    The coefficient of variation is that of Kaplan and Meier's curve, completed beyond the longest dwell time by an
    exponential with the mean of all. It is 1 for an exponential law, more for a mixture of short and long visits, less
    for a clock. Its p-value (two-sided) comes from a parametric bootstrap: exponential dwell times with the same mean,
    cut off like those given, and not rounded to samples: these must be fine against the mean.

    Parameters
    ----------
    dwells, censored
        As for `survival`.
    threshold : float, optional
        Beyond which the mean excess is taken. Default: the mean residence time.
    level : float
        Probability that an interval holds, in (0, 1).
    replicates, seed : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        Scalars `cv`, `cv_low`, `cv_high` (where it lies for exponential dwell times, with probability `level`),
        `pvalue`, `mean_dwell`, `mean_excess` (equal to the mean for an exponential law), `mean_excess_low`,
        `mean_excess_high` (for an exponential tail). attrs: threshold, n_dwells, n_censored, n_beyond (ends beyond the
        threshold), level.

    Raises
    ------
    ValueError
        If dwell times are not positive, fewer than 5 end, shapes differ, or `threshold`, `level` or `replicates` is out
        of range.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 5 dwell times end beyond the threshold.
    """
    import xarray as xr

    x, cut = _lifetimes(dwells, censored)
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if int(replicates) != replicates or replicates < 100:
        raise ValueError(f"Argument `replicates` must be an integer >= 100, but is {replicates}.")
    ends = int(np.sum(~cut))
    if ends < _FEWEST_EXITS:
        raise ValueError(
            f"Argument `dwells` must hold at least {_FEWEST_EXITS} that end, but has {ends}; record longer."
        )
    mean = float(x.sum()) / ends
    if threshold is None:
        threshold = mean
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"Argument `threshold` must be a time >= 0, but is {threshold}.")
    cv = _variation(x, cut)
    rng = np.random.default_rng(seed)
    # when a dwell time would be cut off: Kaplan and Meier's curve with the roles reversed
    limits, falls = _kaplan_meier(x, ~cut)
    drops = -np.diff(falls, prepend=1.0)
    drops = np.append(drops, max(0.0, 1 - drops.sum()))
    limits = np.append(limits, np.inf)
    null = np.empty(int(replicates))
    for i in range(null.size):
        while True:
            life = rng.exponential(mean, x.size)
            limit = rng.choice(limits, x.size, p=drops / drops.sum()) if cut.any() else np.inf
            over = life > limit
            if not np.all(over):
                break
        null[i] = _variation(np.minimum(life, limit), over)
    tail = (1 - level) / 2
    low, high = np.quantile(null, [tail, 1 - tail])
    beyond = (1 + min(np.sum(null >= cv), np.sum(null <= cv))) / (1 + null.size)
    later = int(np.sum(~cut & (x > threshold)))
    excess, excess_low, excess_high = math.nan, math.nan, math.nan
    total = float(np.maximum(x - threshold, 0).sum())
    if later:
        excess, _, excess_low, excess_high = _gamma(total / later, later, tail)
    if later < _FEWEST_EXITS:
        warnings.warn(
            f"Too few dwell times for a mean excess: {later} end beyond the threshold of {threshold:.6g} (at least"
            f" {_FEWEST_EXITS} are needed); lower it, or record longer.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    return xr.Dataset(
        {
            "cv": cv,
            "cv_low": float(low),
            "cv_high": float(high),
            "pvalue": min(1.0, 2 * float(beyond)),
            "mean_dwell": mean,
            "mean_excess": excess,
            "mean_excess_low": excess_low,
            "mean_excess_high": excess_high,
        },
        attrs={
            "threshold": float(threshold),
            "n_dwells": int(x.size),
            "n_censored": int(cut.sum()),
            "n_beyond": later,
            "level": level,
        },
    )


def _lifetimes(dwells: ArrayLike, censored: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    x = finite(np.asarray(dwells, dtype=float), "dwells")
    cut = np.zeros(x.shape, dtype=bool) if censored is None else np.asarray(censored)
    if x.ndim != 1 or x.size == 0 or np.any(x <= 0):
        raise ValueError(
            f"Argument `dwells` must be positive times along one axis, but is not; its shape is {x.shape}."
        )
    if cut.shape != x.shape or cut.dtype != bool:
        raise ValueError(
            f"Argument `censored` must be true or false for each of the {x.size} dwell times, but has shape {cut.shape}"
            f" and dtype {cut.dtype}."
        )
    if cut.all():
        raise ValueError("Argument `censored` must leave one dwell time that ends, but all are cut off; record longer.")
    return x, cut


def _kaplan_meier(x: NDArray[np.float64], cut: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times of ends, ascending, and survival after each; at ties what ends comes before what is cut off."""
    order = np.lexsort((cut, x))
    alive = 1 - ~cut[order] / np.arange(x.size, 0, -1)
    at = ~cut[order]
    return x[order][at], np.cumprod(alive)[at]


def _variation(x: NDArray[np.float64], cut: NDArray[np.bool_]) -> float:
    """Coefficient of variation of Kaplan and Meier's curve with an exponential beyond the longest time."""
    t, s = _kaplan_meier(x, cut)
    edges, heights = np.concatenate([[0.0], t, [x.max()]]), np.concatenate([[1.0], s])
    mean = float(x.sum()) / t.size
    rest = heights[-1]
    first = float(np.sum(heights * np.diff(edges))) + rest * mean
    second = float(np.sum(heights * np.diff(edges**2))) + 2 * rest * mean * (edges[-1] + mean)
    return math.sqrt(max(second - first**2, 0.0)) / first


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


# --- imperfect assignment --------------------------------------------------------------------------------


def confusion(assigned: Any, truth: Any) -> xr.Dataset:
    """How often samples are assigned to either state, given the true one: P(assigned | true).

    Parameters
    ----------
    assigned, truth : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        States 0 and 1 at the same times; samples at which either is -1 are left out.

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
        If states are others than 0, 1, -1, shapes differ, or a state does not occur in `truth`.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left; standard errors are then NaN.
    """
    import xarray as xr

    a, b = (np.asarray(getattr(x, "values", x)) for x in (assigned, truth))
    if is_labelled(assigned) and is_labelled(truth):
        b = truth.transpose(*assigned.dims).values if set(truth.dims) == set(assigned.dims) else b
    for x, name in ((a, "assigned"), (b, "truth")):
        if x.ndim not in (1, 2) or x.size == 0:
            raise ValueError(
                f"Argument `{name}` must have shape (time,) or (trajectory, time), but has shape {x.shape}."
            )
        if not np.isin(x, (-1, 0, 1)).all():
            raise ValueError(f"Argument `{name}` must hold 0, 1 and -1 only, but does not; `assign` makes it.")
    if a.shape != b.shape:
        raise ValueError(
            f"Argument `truth` must have the shape of `assigned`, but has {b.shape} for {a.shape}; bring both to the"
            " same times first."
        )
    a, b = np.atleast_2d(a), np.atleast_2d(b)
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


# --- simulated signals -----------------------------------------------------------------------------------


def telegraph(
    rates: tuple[float, float],
    duration: float,
    dt: float,
    *,
    noise: float = 0.0,
    levels: tuple[float, float] = (0.0, 1.0),
    filter_time: float | None = None,
    n_trajectories: int = 1,
    rng: np.random.Generator,
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
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    xarray.Dataset
        `signal` and `state` (int8; the truth at the same times), shape (trajectory, time). attrs: rates, noise, levels,
        filter_time, dt.

    Raises
    ------
    ValueError
        If rates, duration or dt are not positive, `noise` is negative, or `duration` or `filter_time` is no whole
        number of samples.
    """
    import xarray as xr

    k0, k1 = positive(rates[0], "rates[0]"), positive(rates[1], "rates[1]")
    duration, dt = positive(duration, "duration"), positive(dt, "dt")
    n = whole_bins(duration, dt, "duration")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"Argument `noise` must be a standard deviation >= 0, but is {noise}.")
    if int(n_trajectories) != n_trajectories or n_trajectories < 1:
        raise ValueError(f"Argument `n_trajectories` must be an integer >= 1, but is {n_trajectories}.")
    ntraj = int(n_trajectories)
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
        mean = _moving_mean(Records(signal, dt, float(times[0]), False, True), filter_time)
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
