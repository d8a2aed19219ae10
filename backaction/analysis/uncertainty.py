"""Means and standard errors of correlated data.

One idea serves the whole room: samples (trajectory, time) are cut into *blocks* that count as independent,
and a standard error is the scatter of the blocks' sums. With 20 trajectories or more a block is a whole
trajectory, so nothing need be known about correlation in time. With fewer, trajectories are cut into pieces
of ``2 tau N**(1/3)`` samples, tau the integrated autocorrelation time and N = samples / tau: long against tau
(the bias of the variance is about ``-1 / (4 N**(1/3))`` for an exponential decay), yet numerous; samples that
are white within the error of tau get shorter pieces. Fewer than 8 blocks are too few to say anything: the
standard error is then NaN and a `TooLittleDataWarning` says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import finite, is_labelled, time_dim

if TYPE_CHECKING:
    import xarray as xr

ENOUGH_TRAJECTORIES = 20  # |t| < 1 for 19 degrees of freedom has probability 0.670, close to a Gaussian's 0.683
_PADDED = 1 << 18  # samples that are transformed at once
FEWEST_BLOCKS = 8  # relative error of the standard error itself: 1 / sqrt(2 * 7) = 27 %


class TooLittleDataWarning(UserWarning):
    """The data are too few for an honest answer; the numbers concerned are NaN or flagged."""


@dataclass(frozen=True)
class Blocks:
    """Consecutive pieces of samples flattened from (trajectory, time), each within one trajectory."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    method: str  # "trajectories" or "blocks"
    correlation_time: float  # integrated autocorrelation time in samples; NaN where it was not needed

    @property
    def count(self) -> int:
        return int(self.starts.size)

    @property
    def enough(self) -> bool:
        return self.count >= FEWEST_BLOCKS

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum `values` (trajectory, time, ...) over each block: (block, ...)."""
        flat = values.reshape((-1, *values.shape[2:]))
        return np.asarray(np.add.reduceat(flat, self.starts, axis=0))

    def labels(self) -> NDArray[np.int64]:
        """Block number of every flattened sample."""
        return np.repeat(np.arange(self.count), self.lengths)


def integrated_autocorrelation_time(values: ArrayLike, *, pooled: bool = False) -> float:
    r"""Integrated autocorrelation time :math:`\tau = 1 + 2 \sum_{m \ge 1} \rho_m`, in samples, at least 1.

    Autocovariances are taken about the mean of all trajectories, averaged over trajectories, and summed up to
    the first lag M with ``M >= 5 tau(M)`` (Sokal's window). Oscillating correlations count with their modulus
    wherever that is significant (above 3 / sqrt(samples)): a block must outlast the envelope, not one
    half-period.

    Parameters
    ----------
    values : array_like, shape (time,), (trajectory, time) or (trajectory, time, quantity)
        Uniformly sampled, real or complex.
    pooled : bool
        False: the largest tau among the quantities. True: one tau from the sum of the quantities'
        autocovariances.

    Returns
    -------
    float
        tau in samples. Equal to the number of times if no window closes: the record does not outlast its
        memory.

    Raises
    ------
    ValueError
        If `values` holds NaN or has another shape.
    """
    return _memory(values, pooled)[0]


def _memory(values: ArrayLike, pooled: bool) -> tuple[float, float]:
    """`integrated_autocorrelation_time` and its relative standard error."""
    x = finite(values, "values")
    if x.ndim not in (1, 2, 3) or x.size == 0:
        raise ValueError(
            "Argument `values` must have shape (time,), (trajectory, time) or (trajectory, time, quantity),"
            f" but has shape {x.shape}."
        )
    if x.ndim == 1:
        x = x[None, :]
    if x.ndim == 2:
        x = x[:, :, None]
    ntraj, n, nq = x.shape
    if n == 1:
        return 1.0, 0.0
    size = 1 << (2 * n - 1).bit_length()
    covariance = np.zeros((nq, n), dtype=complex)
    together = max(1, _PADDED // size)  # quantities: the padded transforms are the memory
    for first in range(0, nq, together):
        part = np.ascontiguousarray(np.moveaxis(x[:, :, first : first + together], 2, 0))  # time last
        part = part - part.mean(axis=(1, 2), keepdims=True)
        power = np.zeros((len(part), size))
        for k in range(ntraj):
            power += np.abs(np.fft.fft(part[:, k], size, axis=1)) ** 2
        covariance[first : first + together] = np.fft.ifft(power, axis=1)[:, :n] / (ntraj * np.arange(n, 0, -1))
    samples = float(ntraj * n)
    if pooled:
        # quantities that share the sum, by their weights in it
        weights = covariance[:, 0].real
        if np.any(weights > 0):
            samples *= float(weights.sum() ** 2 / np.sum(weights**2))
        covariance = covariance.sum(axis=0, keepdims=True)
    longest, error = 1.0, 0.0
    scale = float(np.max(np.abs(x))) ** 2
    for c in covariance:
        if not c[0].real > 1e-28 * scale:
            continue  # a constant has no fluctuations to correlate
        rho = c / c[0].real
        size_of_rho = np.where(np.abs(rho) > 3 / np.sqrt(ntraj * n), np.abs(rho), rho.real)
        tau = 1 + 2 * np.concatenate([[0.0], np.cumsum(size_of_rho[1:])])
        closed = np.flatnonzero(np.arange(n) >= 5 * np.maximum(tau, 1.0))
        if closed.size == 0:
            return float(n), 1.0
        here = max(1.0, float(tau[closed[0]]))
        longest = max(longest, here)
        error = max(error, float(np.sqrt(2 * (2 * closed[0] + 1) / samples)))  # Madras and Sokal 1988
    return longest, error


def choose_blocks(guide: NDArray[Any], *, pooled: bool = False) -> Blocks:
    """Cut samples (trajectory, time) into blocks that may count as independent.

    Parameters
    ----------
    guide : ndarray, shape (trajectory, time) or (trajectory, time, quantity)
        The quantities whose correlation in time decides the length (used only below 20 trajectories).
    pooled : bool
        See `integrated_autocorrelation_time`.
    """
    ntraj, n = guide.shape[:2]
    if ntraj >= ENOUGH_TRAJECTORIES:
        starts = np.arange(ntraj, dtype=np.int64) * n
        return Blocks(starts, np.full(ntraj, n, dtype=np.int64), "trajectories", float("nan"))
    tau, error = _memory(guide, pooled)
    # samples that are as good as white (tau = 1 within its error) need no long blocks
    length = 2 * min(tau, tau * (1 + error) - 1) * (ntraj * n / tau) ** (1 / 3)
    length = max(1.0, length)
    per_trajectory = max(1, int(n // length))
    # nearly equal pieces, so that no sample is dropped
    inner = np.arange(per_trajectory, dtype=np.int64) * n // per_trajectory
    starts = (np.arange(ntraj, dtype=np.int64)[:, None] * n + inner).ravel()
    lengths = np.diff(np.append(starts, ntraj * n))
    return Blocks(starts, lengths, "trajectories" if per_trajectory == 1 else "blocks", tau)


def warn_too_few(blocks: Blocks, what: str) -> None:
    """Warn, once per call, that `what` has no standard error because the blocks are too few."""
    if not blocks.enough:
        warnings.warn(
            f"Too little data for a standard error of {what}: {blocks.count} independent pieces (at least"
            f" {FEWEST_BLOCKS} are needed; integrated autocorrelation time {blocks.correlation_time:.3g}"
            " samples)."
            " Standard errors are NaN; record longer, or more trajectories.",
            TooLittleDataWarning,
            stacklevel=3,
        )


def block_mean(sums: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Mean over all samples from sums over blocks (block, ...)."""
    return np.asarray(sums.sum(axis=0) / lengths.sum())


def _residuals(sums: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    mean = block_mean(sums, lengths)
    d = sums - lengths.reshape((-1,) + (1,) * (sums.ndim - 1)) * mean
    n = lengths.size
    return np.asarray(d * np.sqrt(n / (n - 1)) / lengths.sum())


def _norm(d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of the sum of squares along the first axis, of numbers of any size."""
    exponent = np.frexp(np.abs(d).max(axis=0))[1]  # powers of two leave every digit as it is
    return np.asarray(np.ldexp(np.sqrt(np.sum(np.ldexp(d, -exponent) ** 2, axis=0)), exponent))


def block_stderr(sums: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Standard error of `block_mean`; for complex sums of the real part + 1j * of the imaginary part.

    NaN below `FEWEST_BLOCKS` blocks.
    """
    shape = sums.shape[1:]
    iscomplex = np.iscomplexobj(sums)
    if lengths.size < FEWEST_BLOCKS:
        return np.full(shape, complex(np.nan, np.nan) if iscomplex else np.nan)
    d = _residuals(sums, lengths)
    real = _norm(d.real)
    return np.asarray(real + 1j * _norm(d.imag) if iscomplex else real)


def block_covariance(a: NDArray[Any], b: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Covariance of the means of two real quantities, element by element, from their sums over blocks."""
    if lengths.size < FEWEST_BLOCKS:
        return np.full(a.shape[1:], np.nan)
    return np.asarray(np.sum(_residuals(a, lengths) * _residuals(b, lengths), axis=0))


def jackknife(
    sums: NDArray[Any], lengths: NDArray[Any], function: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Value and standard error of a function of means, leaving out one block at a time.

    Parameters
    ----------
    sums : ndarray, shape (block, quantity)
        Sums over blocks that count as independent.
    lengths : ndarray, shape (block,)
        Weights (samples, or durations) of the blocks.
    function : callable
        Maps means (..., quantity) to values (...) or (..., value).

    Returns
    -------
    value, stderr : ndarray
        `function` of the overall means, and its standard error: NaN below 8 blocks.
    """
    total, weight = sums.sum(axis=0), lengths.sum()
    value = np.asarray(function(total / weight))
    n = lengths.size
    if n < FEWEST_BLOCKS:
        return value, np.full(value.shape, np.nan)
    without = np.asarray(function((total - sums) / (weight - lengths)[:, None]))
    return value, np.sqrt((n - 1) / n * np.sum((without - without.mean(axis=0)) ** 2, axis=0))


def mean_stderr(values: Any, *, axis: int | str = -1, trajectory_axis: int | str | None = None) -> xr.Dataset:
    """Mean over trajectories and time with a standard error that knows about correlation in time.

    Assumes a stationary process below 20 trajectories (see the module's text); from 20 trajectories on it
    assumes only that trajectories are independent.

    Parameters
    ----------
    values : array_like or xarray.DataArray
        Shape (time,), (trajectory, time), or more axes: those left over are separate quantities. Real or
        complex.
    axis : int or str
        The axis (dim) of time. Of a DataArray: `bin`, `window` or `time` by default.
    trajectory_axis : int or str, optional
        The axis (dim) of trajectories. Default: the dim `trajectory` of a DataArray; the first other axis of
        a plain array of two or more.

    Returns
    -------
    xarray.Dataset
        `mean` and `stderr` over the remaining dims (complex values: the standard error of the real part + 1j
        times that of the imaginary part). attrs: n_samples, n_trajectories, n_blocks (of the quantity with
        the fewest), error_method, correlation_time (samples; NaN from 20 trajectories on).

    Raises
    ------
    ValueError
        If `values` holds NaN, or an axis does not exist.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left; `stderr` is then NaN.
    """
    import xarray as xr

    if is_labelled(values):
        dims = [str(d) for d in values.dims]
        x = finite(values.values, "values")
        runs: Any = trajectory_axis
        if isinstance(runs, int) and -len(dims) <= runs < len(dims):
            runs = dims[runs]
        elif runs is None and "trajectory" in dims:
            runs = "trajectory"
        if runs is not None and runs not in dims:
            raise ValueError(
                f"Argument `trajectory_axis` must be a dim of `values`, but is {runs!r}; its dims are {dims}."
            )
        along = time_dim(values, "values", axis, runs)
        time_axis = dims.index(along)
        traj = None if runs is None else dims.index(runs)
        rest = [d for d in dims if d not in (along, runs)]
        coords = {d: values.coords[d] for d in rest if d in values.coords}
    else:
        x = finite(values, "values")
        if isinstance(axis, str) or isinstance(trajectory_axis, str):
            raise ValueError("Argument `axis` must be an integer for a plain array, but is a name.")
        if x.ndim == 0 or not -x.ndim <= axis < x.ndim:
            raise ValueError(f"Argument `axis` must be an axis of `values`, but is {axis}; its shape is {x.shape}.")
        time_axis = axis % x.ndim
        traj = trajectory_axis
        if traj is None and x.ndim > 1:
            traj = 0 if time_axis != 0 else 1
        elif traj is not None:
            if not -x.ndim <= traj < x.ndim or traj % x.ndim == time_axis:
                raise ValueError(
                    f"Argument `trajectory_axis` must be an axis of `values` other than time, but is {traj};"
                    f" its shape is {x.shape}."
                )
            traj %= x.ndim
        rest = [f"quantity_{i}" for i in range(x.ndim - 1 - (traj is not None))]
        coords = {}
    x = np.moveaxis(x, time_axis, 0)
    if traj is None:
        x = x[None]
    else:
        x = np.moveaxis(x, traj + 1 if traj < time_axis else traj, 0)
    if x.size == 0:
        raise ValueError(f"Argument `values` must not be empty, but has shape {x.shape}.")
    if not np.iscomplexobj(x):
        x = x.astype(float)
    shape = x.shape[2:]
    flat = x.reshape((*x.shape[:2], -1))
    nq = flat.shape[2]
    if x.shape[0] >= ENOUGH_TRAJECTORIES:
        groups = [slice(None)]
    else:
        # each quantity has blocks of its own: the longest of many noisy estimates of tau would be too long
        groups = [slice(q, q + 1) for q in range(nq)]
    mean, stderr = np.empty(nq, dtype=x.dtype), np.empty(nq, dtype=x.dtype)
    chosen = [choose_blocks(flat[:, :, group]) for group in groups]
    for group, blocks in zip(groups, chosen, strict=True):
        sums = blocks.sums(flat[:, :, group])
        mean[group] = block_mean(sums, blocks.lengths)
        stderr[group] = block_stderr(sums, blocks.lengths)
    fewest = min(chosen, key=lambda blocks: blocks.count)
    warn_too_few(fewest, "the mean")
    return xr.Dataset(
        {"mean": (rest, mean.reshape(shape)), "stderr": (rest, stderr.reshape(shape))},
        coords=coords,
        attrs=block_attrs(fewest, x.shape[0], x.shape[0] * x.shape[1]),
    )


def block_attrs(blocks: Blocks, n_trajectories: int, n_samples: int) -> dict[str, Any]:
    """The attrs that say how the errors of a dataset were found."""
    return {
        "n_samples": int(n_samples),
        "n_trajectories": int(n_trajectories),
        "n_blocks": blocks.count,
        "error_method": blocks.method,
        "correlation_time": float(blocks.correlation_time),
    }
