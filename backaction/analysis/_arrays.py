"""What analysis functions share: check an array and bring it to (trajectory, time), average, decide, label again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import xarray as xr

    Current: TypeAlias = ArrayLike | xr.DataArray
else:
    Current = Any

TIME_DIMS = ("bin", "window", "time")
_LARGEST_DRIFT = 0.01  # steps by which uniform times may be off the straight line


def is_labelled(array: Any) -> bool:
    """Whether `array` is an xarray.DataArray, found out without importing xarray."""
    return hasattr(array, "dims") and hasattr(array, "coords") and hasattr(array, "values")


def finite(array: ArrayLike, name: str) -> NDArray[Any]:
    """Return `array` as numbers, or raise ValueError that names it if a value is masked, NaN or infinite."""
    if np.ma.is_masked(array):  # numpy.asarray would bring what is under the mask to light
        raise ValueError(
            f"Argument `{name}` must have no masked values, but has some; fill them, or cut them out first."
        )
    x = np.asarray(array)
    if x.dtype.kind in "mM":
        raise ValueError(
            f"Argument `{name}` must be numerical, but has dtype {x.dtype}; convert it to numbers in the unit of"
            ' 1/rate, e.g. (t - t[0]) / numpy.timedelta64(1, "s").'
        )
    if x.dtype.kind not in "biufc":
        raise ValueError(f"Argument `{name}` must be numerical, but has dtype {x.dtype}.")
    bad = ~np.isfinite(x)
    if bad.any():
        raise ValueError(
            f"Argument `{name}` must be finite, but {int(bad.sum())} of its {x.size} values are NaN or"
            " infinite;"
            " cut these samples out first (a gap is not a zero)."
        )
    return x


def positive(value: float, name: str) -> float:
    """Return `value` as a float, or raise ValueError that names it if it is not positive and finite."""
    value = float(value)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"Argument `{name}` must be positive and finite, but is {value:g}.")
    return value


def whole_bins(value: float, bin_width: float, name: str) -> int:
    """Number of bins in the time `value`, which must be a whole number (to 1e-6 of a bin, relatively)."""
    exact = positive(value, name) / bin_width
    count = round(exact)
    if count < 1 or abs(exact - count) > 1e-6 * max(1.0, exact):
        below, above = math.floor(exact), math.floor(exact) + 1
        allowed = f"{above * bin_width:.8g}" if below < 1 else f"{below * bin_width:.8g} and {above * bin_width:.8g}"
        raise ValueError(
            f"Argument `{name}` must be a whole number of bins of width {bin_width:.8g}, but is {value:.8g};"
            f" nearest allowed: {allowed}."
        )
    return count


@dataclass(frozen=True)
class Records:
    """Uniformly sampled records: `values` (trajectory, time), width of a bin, centre of the first bin."""

    values: NDArray[Any]
    bin_width: float
    start: float  # centre of the first bin; bin_width / 2 where the input carries no times
    labelled: bool
    has_trajectories: bool
    trajectory_dims: tuple[str, ...] = ()  # the name of a labelled array's other dim

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]


def uniform_step(times: NDArray[Any], name: str) -> float:
    """Step of uniform, ascending times, or ValueError that names `name`."""
    times = finite(times, name)
    if times.size < 2:
        raise ValueError(
            f"Argument `{name}` must have at least two bins to tell their width, but has {times.size};"
            " give `bin_width`."
        )
    # of the precision that the times are given in; whole numbers are exact, but small ones overflow in differences
    exact = times.dtype.kind in "biu"
    rounding = 0.0 if exact else 4 * float(np.spacing(np.abs(times).max()))
    t = times.astype(np.int64 if exact else float)
    elapsed = (t - t[0]).astype(float)
    steps, step = np.diff(elapsed), float(elapsed[-1] / (times.size - 1))
    drift = float(np.max(np.abs(elapsed - step * np.arange(times.size))))
    uneven = float(np.max(np.abs(steps - step)))
    if not step > 0 or uneven > 1e-6 * step + rounding or drift > _LARGEST_DRIFT * step + rounding:
        raise ValueError(
            f"Argument `{name}` must be sampled uniformly in ascending time, but its steps run from"
            f" {steps.min():.8g} to {steps.max():.8g}; resample it."
        )
    if rounding > step / 2:
        raise ValueError(
            f"Argument `{name}` must have times that tell one step from two, but they are rounded to {rounding / 4:.2g}"
            f" with steps of {step:.2g}; subtract the first time in full precision."
        )
    return step


def time_dim(array: Any, name: str, axis: int | str = -1, trajectory: Any = "trajectory") -> Any:
    """The dim of time of a DataArray, which is never that of trajectories.

    `axis` names it, or counts it unless it is the default -1: then it is `bin`, `window` or `time` or, of other dims,
    the last.
    """
    dims = list(array.dims)
    candidates = [d for d in dims if d != trajectory]
    if isinstance(axis, str):
        found: Any = axis
    elif axis != -1 and -len(dims) <= axis < len(dims):
        found = dims[axis]
    elif axis != -1:
        found = axis
    else:
        found = next((d for d in (*TIME_DIMS, *candidates[::-1]) if d in candidates), None)
    if found not in candidates:
        raise ValueError(
            f"Argument `axis` must be a dim of `{name}`, that of time, but is {axis!r}; its dims are {dims}"
            f"{f', and {trajectory} is none of time' if trajectory in dims else ''}."
        )
    return found


def _bin_width(array: Any, dim: str, name: str) -> float:
    """Width of the bins along `dim` of a DataArray, which must follow one another."""
    times = np.asarray(array.coords[dim].values)
    if "bin_width" not in array.coords or array.coords["bin_width"].dims != (dim,):
        return uniform_step(times, name)
    widths = np.asarray(array.coords["bin_width"].values, dtype=float)  # what `simulate` says of its bins
    width = float(widths.mean()) if widths.size else math.nan
    step = uniform_step(times, name) if times.size > 1 else width
    if np.max(np.abs(widths - step), initial=0.0) > 1e-6 * step:
        raise ValueError(
            f"Argument `{name}` must have bins that follow one another, but they are {width:.6g} wide and"
            f" {step:.6g} apart; average neighbours instead of leaving some out, and give the `bin_width` of averages."
        )
    return width


def as_records(current: Any, name: str, bin_width: float | None = None, axis: int | str = -1) -> Records:
    """Check a current and bring it to (trajectory, time).

    A DataArray has its time along `bin` (or `window`, `time`, or the dim that `axis` says) and its bin width from that
    coordinate; where it says the widths of its bins, too (`simulate`), they must follow one another. A plain array has
    its time along `axis` and needs `bin_width`.
    """
    start: float | None = None
    others: list[str] = []
    if is_labelled(current):
        dims = list(current.dims)
        along = time_dim(current, name, axis)
        others = [d for d in dims if d != along]
        if len(others) > 1:
            raise ValueError(
                f"Argument `{name}` must have a time dim and at most one of trajectories, but has dims"
                f" {dims};"
                " select one point of the sweep first, with .sel or .isel."
            )
        values = finite(current.transpose(*others, along).values, name)
        if along in current.coords:
            times = finite(current.coords[along].values, name)
            if bin_width is None:
                bin_width = _bin_width(current, along, name)
            start = float(times[0]) if times.size else None
    else:
        values = finite(current, name)
        if isinstance(axis, str):
            raise ValueError(f"Argument `axis` must be an integer for a plain array, but is {axis!r}.")
        if values.ndim not in (1, 2):
            raise ValueError(
                f"Argument `{name}` must have shape (time,) or (trajectory, time), but has shape {values.shape}."
            )
        if not -values.ndim <= axis < values.ndim:
            raise ValueError(
                f"Argument `axis` must be an axis of `{name}`, but is {axis}; its shape is {values.shape}."
            )
        values = np.moveaxis(values, axis, -1)
    if bin_width is None:
        raise ValueError(
            f"Argument `bin_width` must be given when `{name}` carries no time coordinate, but is None;"
            " it is the time between neighbouring samples."
        )
    has_trajectories = values.ndim == 2
    values = np.atleast_2d(values)
    if values.shape[0] == 0 or values.shape[1] == 0:
        raise ValueError(f"Argument `{name}` must not be empty, but has shape {values.shape}.")
    width = positive(bin_width, "bin_width")
    centre = width / 2 if start is None else start
    return Records(values, width, centre, is_labelled(current), has_trajectories, tuple(others))


def same_coordinate(a: Any, b: Any, dim: str) -> bool:
    """Whether two DataArrays have one coordinate `dim`: the same labels, or the same numbers to 1e-6 of their steps."""
    x, y = np.asarray(a.coords[dim].values), np.asarray(b.coords[dim].values)
    if x.shape != y.shape or x.size < 2 or "f" not in (x.dtype.kind, y.dtype.kind):
        return bool(np.array_equal(x, y))
    return bool(np.max(np.abs(x - y)) <= 1e-6 * np.min(np.abs(np.diff(y))))


def need_same_runs(values: Any, like: Any, name: str, dims: Sequence[str]) -> None:
    """Raise ValueError that names `values` if a coordinate of `dims` that both DataArrays have differs."""
    for d in dims:
        if d in values.coords and d in like.coords and not same_coordinate(values, like, d):
            raise ValueError(
                f"Argument `{name}` must belong to the same runs as the argument before it, but its coordinate `{d}`"
                " differs; select the common part first, in one order."
            )


def need_simultaneous(a: Records, b: Records, sources: tuple[Any, Any], names: tuple[str, str]) -> None:
    """Raise ValueError unless two records have the same trajectories and bins."""
    if a.shape != b.shape:
        raise ValueError(
            f"Argument `{names[1]}` must have the shape {a.shape} (trajectory, time) of `{names[0]}`, but has"
            f" {b.shape}."
        )
    both = a.labelled and b.labelled
    if not math.isclose(a.bin_width, b.bin_width, rel_tol=1e-6) or (
        both and abs(a.start - b.start) > 1e-6 * a.bin_width
    ):
        raise ValueError(
            f"Argument `{names[1]}` must have the bins of `{names[0]}`, but its bins differ; align them first."
        )
    if both:
        need_same_runs(sources[1], sources[0], names[1], b.trajectory_dims)


def drop_start(records: Records, discard: float) -> Records:
    """Leave out every bin whose beginning lies before `discard` (a time since the record's beginning)."""
    if not (math.isfinite(discard) and discard >= 0):
        raise ValueError(f"Argument `discard` must be a time >= 0, but is {discard}.")
    n = math.ceil(discard / records.bin_width - 1e-6)
    if n >= records.shape[1]:
        raise ValueError(
            "Argument `discard` must be shorter than the record of"
            f" {records.shape[1] * records.bin_width:.6g}, but is {discard:.6g}."
        )
    return replace(records, values=records.values[:, n:], start=records.start + n * records.bin_width)


def as_series(
    values: Any, times: ArrayLike | None, name: str, times_name: str = "times", axis: int | str = -1
) -> Records:
    """Values with their times as records (trajectory, time) whose `start` is the first time."""
    labelled = is_labelled(values)
    if labelled and not isinstance(axis, str) and axis != -1:
        raise ValueError(f"Argument `axis` must be the name of a dim of a DataArray, but is {axis}.")
    if times is None and labelled and values.ndim:
        dim = time_dim(values, name, axis)
        times = values.coords[dim].values if dim in values.coords else None
    if times is None:
        raise ValueError(
            f"Argument `{times_name}` must be given when `{name}` carries no time coordinate, but is None; pass the"
            " times of its samples."
        )
    t = finite(times, times_name)
    if t.ndim != 1 or t.size < 2:
        raise ValueError(
            f"Argument `{times_name}` must be at least two times along one axis, but has shape {t.shape}; of one sample"
            " the duration is not known."
        )
    step = uniform_step(t, times_name)
    records = as_records(values, name, step, axis)
    if records.shape[1] != t.size:
        raise ValueError(
            f"Argument `{times_name}` must have one entry per sample of `{name}`, but has {t.size} for"
            f" {records.shape[1]}; time goes along the last axis."
        )
    return replace(records, start=float(t[0]))


def moving_mean(records: Records, window: float, consecutive: bool = False) -> Records:
    """Means over windows that begin at every sample, or one after the other (`consecutive`), at their centres."""
    dt = records.bin_width
    n = whole_bins(window, dt, "window")
    ntraj, total = records.shape
    if not 2 <= n <= total:
        raise ValueError(
            f"Argument `window` must hold at least two samples and at most the {total} there are, but holds {n}: it is"
            f" {window:.6g}, samples are {dt:.6g} apart."
        )
    start = records.start + (n - 1) / 2 * dt
    if consecutive:
        x = records.values[:, : total // n * n].reshape(ntraj, -1, n)
        return replace(records, values=x.mean(axis=2), bin_width=n * dt, start=start)
    # Stretches of n samples: a window is the end of one and the beginning of the next. No sum is longer than n, so
    # rounding does not grow with the record, as it would in differences of one running sum.
    stretches = np.pad(records.values, ((0, 0), (0, -total % n))).reshape(ntraj, -1, n)
    beginnings = np.cumsum(stretches, axis=2).reshape(ntraj, -1)[:, n - 1 : total]
    ends = np.cumsum(stretches[:, :, ::-1], axis=2)[:, :, ::-1].reshape(ntraj, -1)[:, : total - n + 1]
    whole = np.arange(total - n + 1) % n == 0
    return replace(records, values=(ends + np.where(whole, 0, beginnings)) / n, start=start)


def decide(x: NDArray[np.float64], threshold: float) -> NDArray[np.int8]:
    """+1 above the threshold, -1 below minus the threshold, else the last decision (0: none yet)."""
    now = (x > threshold).astype(np.int8) - (x < -threshold).astype(np.int8)
    last = np.maximum.accumulate(np.where(now != 0, np.arange(x.shape[1]), 0), axis=1)
    return np.asarray(np.take_along_axis(now, last, axis=1), dtype=np.int8)


def labelled_series(records: Records, source: Any, name: str, attrs: dict[str, Any]) -> xr.DataArray:
    """Values with the dim `time` and, where the source had them, trajectories."""
    import xarray as xr

    dims = list(records.trajectory_dims) if records.labelled else ["trajectory"] * records.has_trajectories
    coords: dict[str, Any] = {d: source.coords[d] for d in records.trajectory_dims if d in source.coords}
    coords["time"] = records.start + records.bin_width * np.arange(records.shape[1])
    values = records.values if records.has_trajectories else records.values[0]
    return xr.DataArray(values, dims=[*dims, "time"], coords=coords, name=name, attrs=attrs)
