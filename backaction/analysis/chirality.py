"""Chirality: the sense of rotation of a traveling-wave state, its reversals, and how these scale with N.

The sense is +1 while arg<sigma+> rises, which is when the phase difference ``arg<sigma_A+> - arg<sigma_B+>`` is close
to +pi/2, and -1 while it falls ([T] section 6.5). The cavity's current carries <sigma->, so its arg *falls* at +1:
``exp(-i w t)`` with w > 0, a line at positive frequency in `spectrum`.

A *sense* is an array of +1 and -1, with 0 before the first decision, at uniform times; each sample stands for the
time around it, so that a reversal lies midway between two samples. `sense` reads it from a phase difference,
`current_sense` from the detector's current alone; `agreement` compares the two on the same runs.

Counts depend on how they are made: other windows change them by factors of 2 to 5. Compare like with like.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import (
    Current,
    Records,
    as_series,
    decide,
    drop_start,
    finite,
    labelled_series,
    moving_mean,
    positive,
    whole_bins,
)
from .phases import _filtered, demodulate
from .uncertainty import (
    FEWEST_BLOCKS,
    TooLittleDataWarning,
    block_attrs,
    choose_blocks,
    jackknife,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

Method = Literal["block", "sliding", "hysteresis"]

_ROUNDING = 1e-11  # means of angles below this are zeros spoilt by rounding
_REPLICATES = 2000  # bootstrap: an end of a 95 % interval is known to 0.06 standard errors
_FEWEST_REVERSALS = 20  # below, resampled counts are too coarse for an interval
_SATURATED = 0.5  # counts above this fraction of saturation are lower than the reversals by 28 % and more
_SIGNIFICANT = 3.0  # standard errors: a decay less significant has no symmetric error of its inverse
_CONVENTION = "+1: arg<sigma+> rises, arg of the cavity current falls; 0: undecided"


# --- sense of rotation and reversals ---------------------------------------------------------------------


def sense(
    phase_difference: Any,
    times: ArrayLike | None,
    window: float,
    method: Method = "block",
    discard: float = 0.0,
    *,
    threshold: float = 0.5,
) -> xr.DataArray:
    r"""Sense of rotation as a function of time, from the phase difference of two species of spins.

    - `block`: the sign of the mean of the wrapped angle, in (-pi, pi], in consecutive windows ([T] Fig. 6.11). An
      incomplete window at the end is left out.
    - `sliding`: the sign of its moving average.
    - `hysteresis`: the moving average of :math:`\sin\Delta\varphi` decides once it is above `threshold` (+1) or below
      minus `threshold` (-1), and keeps the last decision in between. A sudden reversal between +-pi/2 is seen late by
      `window` * `threshold` / 2.

    A mean that is exactly zero decides nothing: the last decision stands, and there is none (0) before the first.

    Parameters
    ----------
    phase_difference : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Angles ``arg<sigma_A+> - arg<sigma_B+>`` in radians, of any branch (``arg<sigma->`` flips the sign), time along
        the last axis; of a DataArray, along `bin`, `window` or `time`.
    times : array_like, shape (time,), or None
        Uniform. None only for a DataArray: its coordinate is used.
    window : float
        Time to average over: a whole number of samples, at least two.
    method : {"block", "sliding", "hysteresis"}
        See above.
    discard : float
        Times before ``times[0] + discard`` are left out.
    threshold : float
        Of `hysteresis` alone, in [0, 1).

    Returns
    -------
    xarray.DataArray
        +1, -1 or 0, shape (time,) or (trajectory, time), at `time`, the centres of the windows (dtype int8; other dims
        as in `phase_difference`). attrs: method, window, threshold, discard, convention.

    Raises
    ------
    ValueError
        If angles are complex, NaN or infinite; if times are missing, not uniform or not one per sample; if `window` is
        no whole number of samples (the nearest allowed are named), shorter than two or longer than the data; if
        `method` is unknown, or `threshold` or `discard` is out of range.

    Notes
    -----
    [T] section 6.5, Figs. 6.10 and 6.11, for the block method.
    """
    return labelled_series(
        _sense(phase_difference, times, window, method, discard, threshold),
        phase_difference,
        "sense",
        {**_recipe(window, method, discard, threshold), "convention": _CONVENTION},
    )


def reversals(
    phase_difference: Any,
    times: ArrayLike | None,
    window: float,
    method: Method = "block",
    discard: float = 0.0,
    *,
    threshold: float = 0.5,
) -> Any:
    """Number of chirality reversals in each trajectory: changes of `sense` from +1 to -1 or back.

    A first decision is no reversal. `block` counts at most one reversal per boundary of windows, and on average one
    per two windows where the windows know nothing of one another: there it saturates, at
    ``(duration / window - 1) / 2``.

    Parameters
    ----------
    phase_difference, times, window, method, discard, threshold
        As for `sense`.

    Returns
    -------
    int, numpy.ndarray or xarray.DataArray
        Counts, shape () or (trajectory,). A DataArray in gives one out, with attrs duration (of the sense, for
        `reversal_rate`), method, window, threshold, discard.

    Raises
    ------
    ValueError
        As `sense`.
    """
    found = _sense(phase_difference, times, window, method, discard, threshold)
    return _counts(found, phase_difference, _recipe(window, method, discard, threshold))


def rotation_frequency(
    current: Current,
    times: ArrayLike | None = None,
    *,
    filter_time: float,
    window: float,
    frequency: float | None = None,
    discard: float = 0.0,
) -> xr.DataArray:
    r"""Frequency at which the phase of a current falls, averaged over `window`.

    .. math:: \omega(t) = -\arg\Big[\sum_s Z(s + \tau/2)\, Z^*(s - \tau/2)\Big] \Big/ \tau

    Z is the current after a boxcar filter of length :math:`\tau` = `filter_time`; the two Z of a product share no
    noise. The sum over `window` around t weighs every piece of the slope of the phase with the intensity that carries
    it, and needs no unwrapping, which noise would spoil. Frequencies lie in (-pi/tau, pi/tau); those beyond fold.

    Parameters
    ----------
    current : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Bin averages: complex (heterodyne), or real with `frequency`.
    times : array_like, shape (time,), or None
        Bin centres, uniform. None only for a DataArray: its coordinate is used.
    filter_time : float
        A whole number of bins. For a real current a multiple of pi / `frequency`, as nearly as bins allow, takes out
        the image at twice `frequency`.
    window : float
        Time to average over: a whole number of bins, at least two.
    frequency : float, optional
        Of the local oscillator (angular): the current is demodulated with it (`demodulate`). Real currents need it; of
        a complex one it takes off the frequency of a rotating frame.
    discard : float
        Time cut off at the beginning (rounded up to whole bins).

    Returns
    -------
    xarray.DataArray
        Angular frequency, shape (time,) or (trajectory, time), at `time`, the centres of all that enters it: a stretch
        of `window` + 2 `filter_time` less one bin. Positive where `sense` is +1. attrs: window, filter_time,
        frequency (NaN if not demodulated), discard.

    Raises
    ------
    ValueError
        If the current is real and `frequency` None, or NaN; if times are missing, not uniform or not one per bin; if
        `filter_time` or `window` is no whole number of bins, or the record too short for both.

    Notes
    -----
    Lank, Reed and Pollon, IEEE Trans. Aerosp. Electron. Syst. AES-9, 151 (1973): the correlation at one lag estimates
    a frequency.
    """
    return labelled_series(
        _rotation(current, times, frequency, filter_time, window, discard),
        current,
        "rotation_frequency",
        _current_recipe(frequency, filter_time, window, discard),
    )


def current_sense(
    current: Current,
    times: ArrayLike | None = None,
    *,
    filter_time: float,
    window: float,
    threshold: float,
    frequency: float | None = None,
    discard: float = 0.0,
) -> xr.DataArray:
    """Sense of rotation as a function of time, from the detector's current alone.

    `rotation_frequency` decides once it is above `threshold` (+1: arg of the current falls) or below minus
    `threshold` (-1), and keeps the last decision in between.

    Parameters
    ----------
    current, times, filter_time, window, frequency, discard
        As for `rotation_frequency`.
    threshold : float
        Angular frequency, in [0, pi / (2 `filter_time`)); half of the frequency of rotation is a good choice.

    Returns
    -------
    xarray.DataArray
        +1, -1 or 0, as `sense` returns it. attrs: those of `rotation_frequency`, threshold, convention.

    Raises
    ------
    ValueError
        As `rotation_frequency`; also if `threshold` is out of range.
    """
    found = _current_sense(current, times, frequency, filter_time, window, threshold, discard)
    attrs = {**_current_recipe(frequency, filter_time, window, discard), "threshold": threshold}
    return labelled_series(found, current, "sense", {**attrs, "convention": _CONVENTION})


def current_reversals(
    current: Current,
    times: ArrayLike | None = None,
    *,
    filter_time: float,
    window: float,
    threshold: float,
    frequency: float | None = None,
    discard: float = 0.0,
) -> Any:
    """Number of chirality reversals in each trajectory, from the detector's current alone: changes of `current_sense`.

    Parameters
    ----------
    current, times, filter_time, window, threshold, frequency, discard
        As for `current_sense`.

    Returns
    -------
    int, numpy.ndarray or xarray.DataArray
        Counts, shape () or (trajectory,). A DataArray in gives one out, with attrs duration (of the sense) and those
        of `current_sense`.

    Raises
    ------
    ValueError
        As `current_sense`.
    """
    found = _current_sense(current, times, frequency, filter_time, window, threshold, discard)
    attrs = {**_current_recipe(frequency, filter_time, window, discard), "threshold": threshold}
    return _counts(found, current, attrs)


def _recipe(window: float, method: str, discard: float, threshold: float) -> dict[str, Any]:
    recipe: dict[str, Any] = {"method": method, "window": window, "discard": discard}
    return {**recipe, "threshold": threshold} if method == "hysteresis" else recipe


def _current_recipe(frequency: float | None, filter_time: float, window: float, discard: float) -> dict[str, Any]:
    return {
        "window": window,
        "filter_time": filter_time,
        "frequency": math.nan if frequency is None else frequency,
        "discard": discard,
    }


def _sense(
    phase_difference: Any, times: ArrayLike | None, window: float, method: str, discard: float, threshold: float
) -> Records:
    if method not in get_args(Method):
        raise ValueError(f'Argument `method` must be "block", "sliding" or "hysteresis", but is {method!r}.')
    if not 0 <= threshold < 1:
        raise ValueError(f"Argument `threshold` must be in [0, 1), like a mean of sines, but is {threshold}.")
    records = drop_start(as_series(phase_difference, times, "phase_difference"), discard)
    if np.iscomplexobj(records.values):
        raise ValueError("Argument `phase_difference` must be real angles, but is complex; take np.angle first.")
    angle = records.values.astype(float)
    if method == "hysteresis":
        mean = moving_mean(replace(records, values=np.sin(angle)), window)
        return replace(mean, values=decide(mean.values, max(threshold, _ROUNDING)))
    wrapped = np.pi - (np.pi - angle) % (2 * np.pi)  # in (-pi, pi]
    mean = moving_mean(replace(records, values=wrapped), window, consecutive=method == "block")
    return replace(mean, values=decide(mean.values, _ROUNDING))


def _rotation(
    current: Any, times: ArrayLike | None, frequency: float | None, filter_time: float, window: float, discard: float
) -> Records:
    records = drop_start(as_series(current, times, "current"), discard)
    dt, total = records.bin_width, records.shape[1]
    if frequency is not None:
        t = records.start + dt * np.arange(total)
        records = replace(records, values=demodulate(records.values, t, frequency))
    elif not np.iscomplexobj(records.values):
        raise ValueError(
            "Argument `frequency` must be given when `current` is real, but is None; it is the local oscillator's."
        )
    lag, n = whole_bins(filter_time, dt, "filter_time"), whole_bins(window, dt, "window")
    if 2 * lag + n - 1 > total:
        raise ValueError(
            f"Argument `window` must fit into the record of {total * dt:.6g} together with twice `filter_time`, but is"
            f" {window:.6g} with {filter_time:.6g}; shorten one of them, or `discard`."
        )
    z, centres, _ = _filtered(records, filter_time, "boxcar", None, dt)
    product = z[:, lag:] * z[:, :-lag].conj()
    mean = moving_mean(replace(records, values=product, start=float(centres[0]) + lag * dt / 2), window)
    return replace(mean, values=-np.angle(mean.values) / (lag * dt))


def _current_sense(
    current: Any,
    times: ArrayLike | None,
    frequency: float | None,
    filter_time: float,
    window: float,
    threshold: float,
    discard: float,
) -> Records:
    rotation = _rotation(current, times, frequency, filter_time, window, discard)
    # beyond a quarter of a turn, halves of a window with opposite senses would average to pi and not to 0
    if not 0 <= threshold < math.pi / (2 * filter_time):
        raise ValueError(
            f"Argument `threshold` must be in [0, {math.pi / (2 * filter_time):.6g}), a quarter of a turn in"
            f" `filter_time`, but is {threshold}; shorten `filter_time` for a faster rotation."
        )
    return replace(rotation, values=decide(rotation.values, threshold))


def _changes(values: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Whether the sense is reversed from each sample to the next."""
    return np.asarray(values[..., 1:] * values[..., :-1] == -1)


def _counts(records: Records, source: Any, attrs: dict[str, Any]) -> Any:
    counts = _changes(records.values).sum(axis=1)
    if not records.has_trajectories:
        counts = counts[0]
    if not records.labelled:
        return counts if records.has_trajectories else int(counts)
    import xarray as xr

    dims = records.trajectory_dims
    coords = {d: source.coords[d] for d in dims if d in source.coords}
    attrs = {"duration": records.shape[1] * records.bin_width, **attrs}
    return xr.DataArray(counts, dims=dims, coords=coords, name="reversals", attrs=attrs)


# --- what a sense shows ----------------------------------------------------------------------------------


def _as_sense(values: Any, times: ArrayLike | None, name: str, times_name: str) -> Records:
    """Check a sense: +1 and -1, and 0 before the first of them only."""
    records = as_series(values, times, name, times_name)
    x = records.values
    if not np.isin(x, (-1, 0, 1)).all():
        raise ValueError(f"Argument `{name}` must hold +1, -1 and 0 only, but does not; `sense` makes it.")
    x = x.real.astype(np.int8)
    if np.any((x[:, 1:] == 0) & (x[:, :-1] != 0)):
        raise ValueError(
            f"Argument `{name}` must be 0 before its first decision only, but returns to 0; keep the last decision."
        )
    return replace(records, values=x)


def dwell_times(sense: Any, times: ArrayLike | None = None) -> xr.Dataset:
    """Times from one reversal to the next, pooled over trajectories, with those cut off by a record's ends.

    The interval before the first reversal of a trajectory is *left-censored* (when it began is not known), the one
    after its last reversal *right-censored*, and that of a trajectory without reversals both: they are known only to
    be longer than what was seen. Complete intervals alone favour short ones. If the rate of reversals is constant, its
    maximum-likelihood estimate is (number of reversals) / (sum of *all* intervals). Undecided time (0) is left out.

    Parameters
    ----------
    sense : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        From `sense` or `current_sense`.
    times : array_like, shape (time,), optional
        Uniform. Default: the coordinate of a DataArray.

    Returns
    -------
    xarray.Dataset
        Over `interval`, in order of trajectory and time: `dwell_time`, `sense`, `start` (time at which it begins),
        `trajectory_index`, `left_censored`, `right_censored`. attrs: n_trajectories, n_reversals, resolution (the time
        between samples).

    Raises
    ------
    ValueError
        If `sense` holds anything but +1, -1 and leading zeros, or times are missing or not uniform.
    """
    import xarray as xr

    records = _as_sense(sense, times, "sense", "times")
    dt, (ntraj, n) = records.bin_width, records.shape
    first, signs, lengths, owner = [], [], [], []
    for k, x in enumerate(records.values):
        begins = np.flatnonzero(np.diff(x, prepend=np.int8(0)))  # the first decision, then the reversals
        first.append(begins)
        signs.append(x[begins])
        lengths.append(np.diff(begins, append=n))
        owner.append(np.full(begins.size, k))
    index = np.concatenate(owner)
    edge = np.diff(index, prepend=-1, append=ntraj) != 0  # where one trajectory's intervals end and another's begin
    return xr.Dataset(
        {
            "dwell_time": ("interval", np.concatenate(lengths) * dt),
            "sense": ("interval", np.concatenate(signs)),
            "start": ("interval", records.start + (np.concatenate(first) - 0.5) * dt),
            "trajectory_index": ("interval", index),
            "left_censored": ("interval", edge[:-1]),
            "right_censored": ("interval", edge[1:]),
        },
        attrs={
            "n_trajectories": ntraj,
            "n_reversals": int(_changes(records.values).sum()),
            "resolution": dt,
        },
    )


def _match(
    a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of as many pairs of ascending times as can be had within the tolerance, each time used once."""
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < a.size and j < b.size:
        if abs(a[i] - b[j]) <= tolerance:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def agreement(
    sense_a: Any,
    sense_b: Any,
    times_a: ArrayLike | None = None,
    times_b: ArrayLike | None = None,
    *,
    tolerance: float,
) -> xr.Dataset:
    """Compare two senses of the same runs: time in agreement, and the reversals of `a` found in `b`.

    Time counts where both records run and both are decided. Reversals of the same direction no further apart than
    `tolerance` are matched one to one, as many as possible. A reversal is judged if the whole tolerance around it lies
    where both records run: one of `a` is *found* or *missed* (missed, too, while `b` is undecided), one of `b` without
    partner is *spurious*. A reversal and its reverse that `b` smooths away count as two missed.

    Parameters
    ----------
    sense_a, sense_b : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        `a` is the reference. Their times may differ; `b` is read at the times of `a`.
    times_a, times_b : array_like, shape (time,), optional
        Uniform. Default: the coordinates of DataArrays.
    tolerance : float
        Time. Windows and thresholds delay decisions: about a window is a good choice, see `delay`.

    Returns
    -------
    xarray.Dataset
        Scalars `agreement` (fraction of time), `found`, `missed`, `spurious` (numbers), `found_fraction` = found /
        (found + missed), `spurious_fraction` (of the judged reversals of `b`), `delay` (mean of time in `b` less time
        in `a` of the found ones), and `*_stderr` of all but the numbers (jackknife across trajectories if there are
        20, else across blocks of time; a fraction of reversals that is exactly 0 or 1 gets one reversal for its
        error). What has nothing to be judged by is NaN. attrs: tolerance, common_time (per trajectory),
        decided_fraction (of it), n_reversals_a, n_reversals_b (judged), n_trajectories, n_blocks, error_method,
        correlation_time (in samples of `a`).

    Raises
    ------
    ValueError
        If a sense holds anything but +1, -1 and leading zeros, the trajectories differ, or the records have no common
        time longer than twice `tolerance`.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left; standard errors are then NaN.
    """
    import xarray as xr

    tolerance = positive(tolerance, "tolerance")
    a = _as_sense(sense_a, times_a, "sense_a", "times_a")
    b = _as_sense(sense_b, times_b, "sense_b", "times_b")
    ntraj = a.shape[0]
    if b.shape[0] != ntraj:
        raise ValueError(f"Argument `sense_b` must have the {ntraj} trajectories of `sense_a`, but has {b.shape[0]}.")
    for dim in set(a.trajectory_dims) & set(b.trajectory_dims):
        if dim in sense_a.coords and dim in sense_b.coords and not sense_a[dim].equals(sense_b[dim]):
            raise ValueError(
                f"Argument `sense_b` must belong to the runs of `sense_a`, but its coordinate `{dim}` differs; select"
                " the common part first."
            )
    begin_a, begin_b = a.start - a.bin_width / 2, b.start - b.bin_width / 2
    low = max(begin_a, begin_b)
    high = min(begin_a + a.shape[1] * a.bin_width, begin_b + b.shape[1] * b.bin_width)
    t = a.start + a.bin_width * np.arange(a.shape[1])
    use = np.flatnonzero((t >= low) & (t <= high))
    if not high - low > 2 * tolerance or use.size == 0:
        raise ValueError(
            f"Argument `tolerance` must be shorter than half of the records' common time, but is {tolerance:.6g}; they"
            f" have {max(0.0, high - low):.6g} in common."
        )

    # time in agreement
    at_b = np.clip(np.floor((t[use] - begin_b) / b.bin_width).astype(np.int64), 0, b.shape[1] - 1)
    x, y = a.values[:, use], b.values[:, at_b]
    decided = ((x != 0) & (y != 0)).astype(float)
    agree = decided * (x == y)
    blocks = choose_blocks(np.stack([agree, decided], axis=2))
    warn_too_few(blocks, "the agreement")
    times_sums = blocks.sums(np.stack([agree, decided], axis=2))

    # reversals, added to the block in which they lie: of a found, all judged, sum of delays; of b spurious, all judged
    reversal_sums = np.zeros((blocks.count, 5))
    labels = blocks.labels().reshape(ntraj, use.size)

    def add(trajectory: int, moments: NDArray[np.float64], column: int, *amounts: NDArray[Any]) -> None:
        judged = (moments >= low + tolerance) & (moments <= high - tolerance)
        place = np.floor((moments[judged] - t[use[0]]) / a.bin_width + 0.5).astype(np.int64)
        label = labels[trajectory, np.clip(place, 0, use.size - 1)]
        for i, amount in enumerate(amounts):
            np.add.at(reversal_sums[:, column + i], label, amount[judged])

    for k in range(ntraj):
        (ta, da), (tb, db) = _reversal_times(a, k, low, high), _reversal_times(b, k, low, high)
        found_a, delay, spurious_b = np.zeros(ta.size), np.zeros(ta.size), np.ones(tb.size)
        for direction in (-1, 1):
            ia, ib = np.flatnonzero(da == direction), np.flatnonzero(db == direction)
            i, j = _match(ta[ia], tb[ib], tolerance * (1 + 1e-9))
            found_a[ia[i]], spurious_b[ib[j]] = 1, 0
            delay[ia[i]] = tb[ib[j]] - ta[ia[i]]
        add(k, ta, 0, found_a, np.ones(ta.size), delay)
        add(k, tb, 3, spurious_b, np.ones(tb.size))

    def ratios(mean: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([mean[..., i] / mean[..., j] for i, j in ((0, 1), (2, 3), (5, 6), (4, 2))], axis=-1)

    value, stderr = jackknife(np.hstack([times_sums, reversal_sums]), np.ones(blocks.count), ratios)
    found, of_a, _, spurious, of_b = (round(float(v)) for v in reversal_sums.sum(axis=0))
    for column, number in ((1, of_a), (2, of_b)):
        if blocks.enough and value[column] in (0, 1):
            stderr[column] = 1 / number  # "less than about one", not "exactly none"
    data: dict[str, Any] = {"found": found, "missed": of_a - found, "spurious": spurious}
    for column, name in enumerate(("agreement", "found_fraction", "spurious_fraction", "delay")):
        data[name], data[f"{name}_stderr"] = float(value[column]), float(stderr[column])
    attrs = block_attrs(blocks, ntraj, ntraj * use.size)
    del attrs["n_samples"]
    return xr.Dataset(
        data,
        attrs={
            "tolerance": tolerance,
            "common_time": high - low,
            "decided_fraction": float(decided.mean()),
            "n_reversals_a": of_a,
            "n_reversals_b": of_b,
            **attrs,
        },
    )


def _reversal_times(
    records: Records, trajectory: int, low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Times and new senses of a trajectory's reversals between two times."""
    x: NDArray[np.int8] = records.values[trajectory]
    i = np.flatnonzero(_changes(x))
    t = np.asarray(records.start + (i + 0.5) * records.bin_width, dtype=float)
    inside = (t >= low) & (t <= high)
    return t[inside], x[i + 1][inside]


# --- rates and scaling -----------------------------------------------------------------------------------


def reversal_rate(
    counts: Any, duration: float | None = None, *, level: float = 0.95, replicates: int = _REPLICATES, seed: int = 0
) -> xr.Dataset:
    """Reversals per unit of time, with an interval.

    With 8 trajectories or more and 20 reversals in all, trajectories are resampled (bootstrap), which assumes that
    they are independent and nothing about reversals; the percentiles are widened for their number as Student's t is.
    Otherwise, as for one trajectory, the interval is exact for a Poisson process: reversals that know nothing of one
    another. `interval_method` says which.

    Parameters
    ----------
    counts : int, array_like or xarray.DataArray, shape () or (trajectory,)
        From `reversals` or `current_reversals`.
    duration : float, optional
        Time over which each trajectory was counted. Default: the attribute `duration` of a DataArray, the length of
        its sense.
    level : float
        Probability that the interval holds, in (0, 1).
    replicates, seed : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        Scalars `rate`, `rate_stderr` (scatter of trajectories, or Poisson's; of no reversal, that of one), `rate_low`,
        `rate_high`. attrs: interval_method ("bootstrap over trajectories" or "exact Poisson"), level, duration,
        n_trajectories, n_reversals.

    Raises
    ------
    ValueError
        If counts are no whole numbers >= 0, `duration` is missing or not positive, or `level` is not in (0, 1).

    Notes
    -----
    Poisson: Garwood, Biometrika 28, 437 (1936). Widened percentiles: Hesterberg, Am. Stat. 69, 371 (2015).
    """
    import xarray as xr
    from scipy import stats

    x = finite(getattr(counts, "values", counts), "counts")
    if x.ndim > 1 or x.size == 0:
        raise ValueError(f"Argument `counts` must have shape () or (trajectory,), but has shape {x.shape}.")
    if np.iscomplexobj(x) or np.any(x < 0) or np.any(x != np.round(x)):
        raise ValueError("Argument `counts` must be whole numbers >= 0, but is not; give counts, not rates.")
    if duration is None:
        duration = getattr(counts, "attrs", {}).get("duration")
        if duration is None:
            raise ValueError(
                "Argument `duration` must be given when `counts` carries no attribute `duration`, but is None."
            )
    duration = positive(duration, "duration")
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if int(replicates) != replicates or replicates < 100:
        raise ValueError(f"Argument `replicates` must be an integer >= 100, but is {replicates}.")
    x = np.atleast_1d(x).astype(float)
    n, total = x.size, int(x.sum())
    tail = (1 - level) / 2
    if n >= FEWEST_BLOCKS and total >= _FEWEST_REVERSALS and np.ptp(x) > 0:
        method = "bootstrap over trajectories"
        rng = np.random.default_rng(seed)
        means = np.array([x[rng.integers(n, size=n)].mean() for _ in range(int(replicates))])
        widened = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1))
        low, high = np.quantile(means, [widened, 1 - widened])
        stderr = float(np.std(x, ddof=1)) / math.sqrt(n)
    else:
        method = "exact Poisson"
        low = stats.chi2.ppf(tail, 2 * total) / (2 * n) if total else 0.0
        high = stats.chi2.ppf(1 - tail, 2 * total + 2) / (2 * n)
        stderr = math.sqrt(max(total, 1)) / n
    return xr.Dataset(
        {
            "rate": total / (n * duration),
            "rate_stderr": stderr / duration,
            "rate_low": float(low) / duration,
            "rate_high": float(high) / duration,
        },
        attrs={
            "interval_method": method,
            "level": level,
            "duration": duration,
            "n_trajectories": n,
            "n_reversals": total,
        },
    )


def scaling(
    N: ArrayLike, counts: ArrayLike, errors: ArrayLike, fit_range: tuple[float, float], saturation: float | None = None
) -> xr.Dataset:
    r"""Fit of mean counts of reversals with :math:`A e^{-N/\delta N}`.

    Weighted least squares of the counts themselves, not of their logarithms: errors of means are Gaussian on their own
    scale, and a mean of zero may take part. Errors are taken as they are, not scaled to the scatter about the fit:
    look at `pvalue`.

    Parameters
    ----------
    N : array_like, shape (point,)
        Sizes of the system.
    counts, errors : array_like, shape (point,)
        Mean count of reversals at each N and its standard error, from runs that are independent of those at other N.
    fit_range : (float, float)
        Points with N in this closed interval take part; at least three. The result depends on it, so it has no
        default.
    saturation : float, optional
        Mean count at which the method of counting saturates: of `block`, one per two windows,
        ``duration / (2 window)``. Points in the fit above half of it are warned of: there, counts of a random telegraph
        signal are 28 % too low and more, and :math:`\delta N` comes out too large.

    Returns
    -------
    xarray.Dataset
        Scalars `delta_N` and `delta_N_stderr`, `decay` = 1/delta_N and `decay_stderr` (closer to Gaussian),
        `amplitude` A and `amplitude_stderr` (inf beyond 1e308, with all N far above delta_N), `chi2`, `pvalue`. attrs:
        fit_range (as given), N_lowest, N_highest (of the points used), n_points, dof, n_saturated (-1: `saturation` not
        given). delta_N is NaN if counts do not fall.

    Raises
    ------
    ValueError
        If fewer than three different N lie in `fit_range`, shapes differ, a value is NaN, an error is not positive,
        a count negative, or all counts are zero but those at one end.

    Warns
    -----
    UserWarning
        If points in the fit lie above half of `saturation`.
    TooLittleDataWarning
        If the decay is less significant than 3 standard errors: the error of delta_N says little then.

    Notes
    -----
    [T] Fig. 6.11.
    """
    import xarray as xr
    from scipy.optimize import least_squares
    from scipy.stats import chi2

    arrays: list[NDArray[np.float64]] = []
    for array, name in ((N, "N"), (counts, "counts"), (errors, "errors")):
        x = finite(array, name)
        if x.ndim != 1 or np.iscomplexobj(x) or (arrays and x.shape != arrays[0].shape):
            raise ValueError(
                f"Argument `{name}` must be real and one-dimensional, as long as `N`, but has shape {x.shape} and"
                f" dtype {x.dtype}."
            )
        arrays.append(x.astype(float))
    size, mean, error = arrays
    low, high = float(fit_range[0]), float(fit_range[1])
    use = (size >= low) & (size <= high)
    if not low < high or np.unique(size[use]).size < 3:
        raise ValueError(
            "Argument `fit_range` must be an ascending pair that holds three different N or more, but is"
            f" ({low:.6g}, {high:.6g}) and holds {np.unique(size[use]).size}; two points fit any exponential."
        )
    size, mean, error = size[use], mean[use], error[use]
    if not np.all(error > 0):
        raise ValueError(
            "Argument `errors` must be positive, but is not; a mean of zero reversals has the error of one count."
        )
    if np.any(mean < 0) or not np.any(mean > 0):
        raise ValueError("Argument `counts` must be >= 0, and not all zero, in `fit_range`, but is not.")
    ends = np.unique(size[mean > 0])
    if ends.size == 1 and ends[0] in (size.min(), size.max()):
        raise ValueError(
            f"Argument `counts` must be positive at another N in `fit_range` than its end, N = {ends[0]:g}, but is zero"
            " there: the steeper the exponential, the better it fits. Record longer, or change `fit_range`."
        )
    n_saturated = -1
    if saturation is not None:
        n_saturated = int(np.sum(mean > _SATURATED * positive(saturation, "saturation")))
        if n_saturated:
            warnings.warn(
                f"{n_saturated} of the {size.size} points in the fit lie above {_SATURATED:g} of the saturation of"
                f" {saturation:.6g}, where counts are too low; raise the lower end of `fit_range`.",
                UserWarning,
                stacklevel=2,
            )

    # start from the line through the logarithms; N about where they are known, and in units of its spread, for
    # condition
    seen = mean > 0
    weight = mean / error  # of a logarithm, the inverse of its error
    centre, spread = float(np.average(size, weights=(weight / weight.max()) ** 2)), float(np.ptp(size)) / 2
    z = (size - centre) / spread
    if seen.sum() > 1:
        basis = np.stack([np.ones(z.size), -z], axis=1)[seen] * weight[seen, None]
        start = np.linalg.lstsq(basis, weight[seen] * np.log(mean[seen]), rcond=None)[0]
    else:
        start = np.array([math.log(mean.max()), 0.0])

    def model(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(p[0] - p[1] * z))

    def jacobian(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.stack([model(p), -z * model(p)], axis=1) / error[:, None])

    fit = least_squares(lambda p: (model(p) - mean) / error, start, jac=jacobian, method="lm", xtol=1e-12, ftol=1e-12)
    covariance = np.linalg.inv(jacobian(fit.x).T @ jacobian(fit.x))
    decay, decay_stderr = float(fit.x[1]) / spread, math.sqrt(covariance[1, 1]) / spread
    # ln A = p0 + p1 centre / spread
    gradient = np.array([1.0, centre / spread])
    with np.errstate(over="ignore"):
        amplitude = float(np.exp(gradient @ fit.x))  # at N = 0, which may be far away
    statistic, dof = float(2 * fit.cost), size.size - 2
    if decay < _SIGNIFICANT * decay_stderr:
        warnings.warn(
            f"The counts do not fall significantly with N: decay {decay:.3g}, standard error {decay_stderr:.3g}."
            " delta_N and its error say little; measure over a wider range of N, or longer.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    return xr.Dataset(
        {
            "delta_N": 1 / decay if decay > 0 else math.nan,
            "delta_N_stderr": decay_stderr / decay**2 if decay > 0 else math.nan,
            "decay": decay,
            "decay_stderr": decay_stderr,
            "amplitude": amplitude,
            "amplitude_stderr": amplitude * math.sqrt(float(gradient @ covariance @ gradient)),
            "chi2": statistic,
            "pvalue": float(chi2.sf(statistic, dof)),
        },
        attrs={
            "fit_range": (low, high),
            "N_lowest": float(size.min()),
            "N_highest": float(size.max()),
            "n_points": int(size.size),
            "dof": dof,
            "n_saturated": n_saturated,
        },
    )
