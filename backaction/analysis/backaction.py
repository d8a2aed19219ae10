"""What a measurement does to a system, and what its record tells.

Three quantities, each against time: how well the observer knows the state (`purity`, `entropy`), how much of an
observable's uncertainty the record resolves (`variance_decomposition`), and how far the measurement kicks what the
observer knows (`disturbance`). What a record says about the law it was drawn from is its log-likelihood:
`information_rate`, `fisher_information`, `likelihood_estimate`.

Trajectories are independent runs of one experiment; every standard error here is the scatter across them, so nothing
need be known about correlation in time. Several quantities of the *same* trajectories are correlated: form the linear
combination per trajectory first, and take its `trajectory_mean` then. Fewer than 8 trajectories are too few for a
standard error, which is then NaN with a `TooLittleDataWarning`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Current, Records, as_records, finite, is_labelled, need_same_runs, positive
from .uncertainty import (
    Blocks,
    TooLittleDataWarning,
    block_attrs,
    block_mean,
    block_stderr,
    jackknife,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

_STATE_DIMS = (("row", "column"), ("level",))  # density matrices, state vectors
_SIGNIFICANT = 5.0  # standard errors
_STENCIL = 5  # most points of a finite difference: fourth order in the spacing
_WIDEST_STEP = 2.0  # standard errors between neighbouring points of a grid through which a parabola may be laid
_LARGEST_RESIDUAL = 0.1  # nats that a parabola may miss: shifts its maximum by a few percent of a standard error


# --- conditional states ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _States:
    """Checked states: their own axes last, the dims and coordinates of the other axes (None: a plain array)."""

    values: NDArray[Any]
    pure: bool
    dims: list[str] | None
    coords: dict[str, Any]

    def wrap(self, values: NDArray[np.float64], name: str, attrs: dict[str, str]) -> Any:
        """`values` of the other axes, labelled as the states were."""
        if self.dims is None:
            return values[()]
        import xarray as xr

        return xr.DataArray(values, dims=self.dims, coords=self.coords, name=name, attrs=attrs)


def _as_states(states: Any, axis: Any) -> _States:
    """Check states and bring their own axes to the end."""
    dims: list[str] | None = None
    coords: dict[str, Any] = {}
    if is_labelled(states):
        every = [str(d) for d in states.dims]
        if axis is None:
            own = next((own for own in _STATE_DIMS if set(own) <= set(every)), ())
        else:
            own = (axis,) if isinstance(axis, str) else tuple(axis)
        if len(own) not in (1, 2) or len(set(own)) != len(own) or not set(own) <= set(every):
            raise ValueError(
                f"Argument `axis` must name the dims of one state in `states`, but is {axis!r}; the dims are {every};"
                " give (row, column) of density matrices or the one dim of state vectors."
            )
        dims = [d for d in every if d not in own]
        coords = _coords(states, dims)
        values = finite(states.transpose(*dims, *own).values, "states")
    else:
        values = finite(states, "states")
        axes = (-2, -1) if axis is None else ((axis,) if np.ndim(axis) == 0 else tuple(axis))
        if (
            len(axes) not in (1, 2)
            or not all(isinstance(a, (int, np.integer)) and -values.ndim <= a < values.ndim for a in axes)
            or len({int(a) % values.ndim for a in axes}) != len(axes)
        ):
            raise ValueError(
                "Argument `axis` must be the two axes of density matrices or the one of state vectors, but is"
                f" {axis!r}; the shape of `states` is {values.shape}."
            )
        own = axes
        values = np.moveaxis(values, axes, tuple(range(-len(axes), 0)))
    if values.size == 0:
        raise ValueError(f"Argument `states` must not be empty, but has shape {values.shape}.")
    pure = len(own) == 1
    if not pure and values.shape[-1] != values.shape[-2]:
        raise ValueError(
            f"Argument `states` must be square matrices, but they are {values.shape[-2]} x {values.shape[-1]};"
            " give `axis` (one axis for state vectors)."
        )
    norm = _squared(values).sum(axis=-1) if pure else np.trace(values, axis1=-2, axis2=-1)
    tolerance = _tolerance(values)
    worst = float(np.max(np.abs(norm - 1)))
    if worst > tolerance:
        raise ValueError(
            f"Argument `states` must be normalised, but a {'squared norm' if pure else 'trace'} differs from 1 by"
            f" {worst:.2g}; divide by it, or check `axis`."
        )
    if not pure:
        worst = float(np.max(np.abs(values - values.conj().swapaxes(-1, -2))))
        if worst > tolerance:
            raise ValueError(
                f"Argument `states` must be Hermitian, but differs from its conjugate transpose by {worst:.2g};"
                " check `axis`."
            )
    return _States(values, pure, dims, coords)


def _precision(values: Any) -> float:
    """Relative rounding of numbers as they were given: double precision but for those in single."""
    dtype = np.asarray(getattr(values, "values", values)).dtype
    return float(np.finfo(dtype if dtype.kind in "fc" else float).eps)


def _tolerance(values: NDArray[Any]) -> float:
    """The rounding that a long run may have gathered, in the precision of its numbers."""
    return math.sqrt(_precision(values))


def _squared(values: NDArray[Any]) -> NDArray[np.float64]:
    """|x|^2 in double precision, without a square root."""
    return np.asarray(np.square(values.real, dtype=float) + np.square(values.imag, dtype=float))


def purity(states: Any, *, axis: Any = None) -> Any:
    r"""Purity :math:`\mathrm{Tr}\,\rho^2` of each state: 1 for a pure one, 1/d for the completely mixed one.

    The purity of a *conditional* state says how complete an observer's knowledge is: with efficient detection of
    every channel from a pure state it is 1 throughout; what is lost unread lowers it. State vectors have purity 1 by
    their nature; those of a run with hidden detectors belong to somebody who sees everything, and say nothing about
    the observer of the visible record.

    Parameters
    ----------
    states : array_like or xarray.DataArray
        Normalised states, e.g. (trajectory, time, row, column) or (trajectory, time, level).
    axis : optional
        Axes of one state: two for density matrices, one for state vectors; names for a DataArray, integers for a
        plain array. Default: `row`, `column` or `level` of a DataArray; the last two axes of a plain array.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        One number per state, labelled as `states` was. `trajectory_mean` averages over trajectories.

    Raises
    ------
    ValueError
        If states are not normalised or not Hermitian (to the square root of the rounding error), a purity exceeds 1,
        `states` holds NaN, or it has no such axes.
    """
    x = _as_states(states, axis)
    total = _squared(x.values).sum(axis=-1)
    # Tr rho^2 = sum |rho_ij|^2 for a Hermitian matrix; a projector's is the square of its trace
    value = total**2 if x.pure else total.sum(axis=-1)
    if value.max() > 1 + _tolerance(x.values):
        raise ValueError(
            f"Argument `states` must have no negative eigenvalues, but a purity is {value.max():.6g}; it is no quantum"
            " state."
        )
    return x.wrap(value, "purity", {"long_name": "purity", "units": "1"})


def entropy(states: Any, *, axis: Any = None, base: float = math.e) -> Any:
    r"""Von Neumann entropy :math:`S = -\mathrm{Tr}\,\rho \log \rho` of each state.

    With :math:`\bar\rho = E\rho_c` the unconditional state, :math:`S(\bar\rho) - E S(\rho_c) \ge 0` (Holevo's
    quantity) is the information that the record holds about the system's present state: the `trajectory_mean` of
    ``entropy(unconditional) - entropy(states)``. The mean of finitely many conditional states has too low an
    entropy, so take the unconditional state from the master equation.

    Parameters
    ----------
    states : array_like or xarray.DataArray
        As for `purity`.
    axis : optional
        As for `purity`.
    base : float
        Of the logarithm, above 1: e for nats, 2 for bits.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        One number per state, labelled as `states` was; 0 for state vectors.

    Raises
    ------
    ValueError
        As for `purity`; also if a state has an eigenvalue that is negative beyond rounding, or `base` is not above 1.
    """
    log_base = _log_base(base)
    x = _as_states(states, axis)
    attrs = {"long_name": "von Neumann entropy", "units": {math.e: "nat", 2.0: "bit"}.get(base, f"log base {base:g}")}
    if x.pure:
        return x.wrap(np.zeros(x.values.shape[:-1]), "entropy", attrs)
    p = np.linalg.eigvalsh(x.values).astype(float)
    if p.min() < -_tolerance(x.values):
        raise ValueError(
            f"Argument `states` must have no negative eigenvalues, but has {p.min():.2g}; it is no quantum state."
        )
    # p log p -> 0 at 0, and eigenvalues of a rank-deficient state are rounded to either side of it
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
    return x.wrap(-terms.sum(axis=-1) / log_base, "entropy", attrs)


def _log_base(base: float) -> float:
    if not (math.isfinite(base) and base > 1):
        raise ValueError(f"Argument `base` must be finite and above 1, but is {base}; e gives nats, 2 bits.")
    return math.log(base)


# --- ensembles -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ensemble:
    """Values (trajectory, ...) with the dims and coordinates of the other axes."""

    values: NDArray[Any]
    dims: list[str]
    coords: dict[str, Any]

    @property
    def blocks(self) -> Blocks:
        return _trajectories(self.values.shape[0])

    def dataset(self, data: dict[str, NDArray[Any]], **attrs: Any) -> xr.Dataset:
        """Arrays over the other axes, flattened or not, as a dataset."""
        import xarray as xr

        n, shape = self.values.shape[0], self.values.shape[1:]
        variables = {name: (self.dims, np.reshape(x, shape)) for name, x in data.items()}
        return xr.Dataset(variables, coords=self.coords, attrs={**_attrs(n), **attrs})


def _coords(array: Any, dims: Sequence[str]) -> dict[str, Any]:
    """The coordinates of a DataArray that live on `dims`."""
    return {str(k): c for k, c in array.coords.items() if c.dims and set(c.dims) <= set(dims)}


def _trajectories(n: int) -> Blocks:
    """Each trajectory a block of one sample."""
    return Blocks(np.arange(n, dtype=np.int64), np.ones(n, dtype=np.int64), "trajectories", math.nan)


def _attrs(n: int) -> dict[str, Any]:
    attrs = block_attrs(_trajectories(n), n, n)
    return {k: attrs[k] for k in ("n_trajectories", "n_blocks", "error_method")}


def _as_ensemble(values: Any, name: str, trajectory_axis: int | str | None, like: Any = None) -> _Ensemble:
    """Check numbers per trajectory and bring the trajectories to the front; `like` has the same axes."""
    if is_labelled(values):
        dims = [str(d) for d in values.dims]
        axis = "trajectory" if trajectory_axis is None else trajectory_axis
        if axis not in dims:
            raise ValueError(
                f"Argument `trajectory_axis` must be a dim of `{name}`, but is {axis!r}; its dims are {dims}."
            )
        rest = [d for d in dims if d != axis]
        if is_labelled(like):
            rest = [str(d) for d in like.dims if d != axis]
            if set(rest) | {axis} != set(dims):
                raise ValueError(f"Argument `{name}` must have the dims {list(like.dims)}, but has {dims}.")
            need_same_runs(values, like, name, dims)
        x = finite(values.transpose(axis, *rest).values, name)
        coords = _coords(values, rest)
    else:
        x = finite(values, name)
        place = 0 if trajectory_axis is None else trajectory_axis
        if isinstance(place, str) or x.ndim == 0 or not -x.ndim <= place < x.ndim:
            raise ValueError(
                f"Argument `trajectory_axis` must be an axis of `{name}`, but is {place!r}; its shape is {x.shape}."
            )
        x = np.moveaxis(x, place, 0)
        rest, coords = [f"quantity_{i}" for i in range(x.ndim - 1)], {}
    if x.size == 0:
        raise ValueError(f"Argument `{name}` must not be empty, but has shape {x.shape}.")
    return _Ensemble(x if np.iscomplexobj(x) else x.astype(float), rest, coords)


def _real(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    if np.iscomplexobj(values):
        raise ValueError(f"Argument `{name}` must be real, but is complex; take its real part if that is meant.")
    return values


def _need_two(n: int, name: str) -> None:
    if n < 2:
        raise ValueError(
            f"Argument `{name}` must hold at least two trajectories, but holds {n}: one has no scatter; simulate more."
        )


def trajectory_mean(values: Any, *, trajectory_axis: int | str | None = None) -> xr.Dataset:
    """Mean over trajectories of a quantity, at each time, with its standard error across trajectories.

    For any linear combination too: of several quantities of the same trajectories form the combination first, e.g.
    ``trajectory_mean(purity(states) - purity(states).isel(time=0))``, because their errors are correlated.
    `mean_stderr` averages over time as well.

    Parameters
    ----------
    values : array_like or xarray.DataArray, shape (trajectory, ...)
        Real or complex numbers per trajectory, as from `purity` or `entropy`.
    trajectory_axis : int or str, optional
        Axis (dim) of trajectories. Default: the dim `trajectory` of a DataArray; the first axis of a plain array.

    Returns
    -------
    xarray.Dataset
        `mean` and `mean_stderr` over the other dims (complex values: the standard error of the real part + 1j times
        that of the imaginary part). attrs: n_trajectories, n_blocks, error_method.

    Raises
    ------
    ValueError
        If `values` holds NaN, or the axis does not exist.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories; `mean_stderr` is then NaN.
    """
    x = _as_ensemble(values, "values", trajectory_axis)
    warn_too_few(x.blocks, "the mean")
    lengths = x.blocks.lengths
    return x.dataset({"mean": block_mean(x.values, lengths), "mean_stderr": block_stderr(x.values, lengths)})


def _moments(values: NDArray[Any]) -> NDArray[np.float64]:
    """Real part, imaginary part and squared modulus of deviations from the mean: (trajectory, 3 quantities)."""
    x = (values - values.mean(axis=0)).reshape(values.shape[0], -1)  # large means would cancel in raw moments
    return np.concatenate([x.real, x.imag, _squared(x)], axis=1)


def _variance(moments: NDArray[Any], quantities: int, n: int) -> NDArray[Any]:
    """Unbiased variance from means of `_moments` of n trajectories."""
    re, im, square = (moments[..., i * quantities : (i + 1) * quantities] for i in range(3))
    return np.asarray((square - re**2 - im**2) * (n / (n - 1)))


def variance_decomposition(
    mean: Any, variance: Any = None, *, square: Any = None, trajectory_axis: int | str | None = None
) -> xr.Dataset:
    r"""Parts of an observable's variance, :math:`\mathrm{Var}\,O = E[\mathrm{Var}_c O] + \mathrm{Var}[E_c O]`.

    What is uncertain in the unconditional state is, on average, uncertain still to the observer of the record
    (`conditional`), or resolved by the record, i.e. the scatter of the conditional means (`resolved`). `total`
    depends on the master equation only; efficiency and detector move the border between its parts. For an operator
    that is not Hermitian, :math:`\mathrm{Var}\,O = \langle O^\dagger O\rangle - |\langle O\rangle|^2`.

    Parameters
    ----------
    mean : array_like or xarray.DataArray, shape (trajectory, ...)
        Conditional means :math:`\langle O\rangle_c`, real or complex.
    variance : array_like or xarray.DataArray, optional
        Conditional variances, of the same shape. Give this or `square`.
    square : array_like or xarray.DataArray, optional
        Conditional means of :math:`O^\dagger O` (:math:`O^2` for an observable), of the same shape.
    trajectory_axis : int or str, optional
        Axis (dim) of trajectories. Default: the dim `trajectory` of a DataArray; the first axis of a plain array.

    Returns
    -------
    xarray.Dataset
        `total`, `conditional`, `resolved` over the other dims and `*_stderr` of each (jackknife across trajectories).
        `resolved` is unbiased. attrs: n_trajectories, n_blocks, error_method.

    Raises
    ------
    ValueError
        If neither or both of `variance` and `square` are given, shapes differ, fewer than two trajectories are given,
        a variance is negative beyond rounding (in the precision of the arguments), or a value is NaN.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories; standard errors are then NaN.

    Notes
    -----
    Law of total variance; for quantum trajectories e.g. Wiseman and Milburn, *Quantum Measurement and Control*
    (2010), chapters 4 and 6.
    """
    if (variance is None) == (square is None):
        raise ValueError(
            "Argument `variance` must be given, or else `square`, but"
            f" {'neither' if variance is None else 'both'} of them is; give one."
        )
    first = _as_ensemble(mean, "mean", trajectory_axis)
    name = "square" if variance is None else "variance"
    second = _as_ensemble(square if variance is None else variance, name, trajectory_axis, mean)
    if second.values.shape != first.values.shape:
        raise ValueError(
            f"Argument `{name}` must have the shape of `mean`, but is {second.values.shape} and not"
            f" {first.values.shape} (trajectories first)."
        )
    spread = _real(second.values, name)
    scale = float(np.max(_squared(first.values)) + np.max(np.abs(spread)))
    if variance is None:
        spread = spread - _squared(first.values)
    # a difference of squares that were rounded, both of them, as the arguments are
    rounding = max(_precision(mean), _precision(square if variance is None else variance))
    if spread.min() < -max(1e-9, 4 * rounding) * scale:
        raise ValueError(
            f"Argument `{name}` must give variances >= 0, but gives {spread.min():.3g}; check that it belongs to the"
            " same observable as `mean`."
        )
    n = first.values.shape[0]
    _need_two(n, "mean")
    warn_too_few(first.blocks, "the parts of a variance")
    m = spread[0].size

    def parts(means: NDArray[Any]) -> NDArray[Any]:
        conditional, resolved = means[..., :m], _variance(means[..., m:], m, n)
        return np.concatenate([conditional + resolved, conditional, resolved], axis=-1)

    sums = np.concatenate([spread.reshape(n, m), _moments(first.values)], axis=1)
    value, stderr = jackknife(sums, first.blocks.lengths, parts)
    data: dict[str, NDArray[Any]] = {}
    for i, part in enumerate(("total", "conditional", "resolved")):
        data[part], data[part + "_stderr"] = value[i * m : (i + 1) * m], stderr[i * m : (i + 1) * m]
    return first.dataset(data)


# --- rates -----------------------------------------------------------------------------------------------


def _at_edges(values: Any, name: str, bin_width: float | None, axis: int | str) -> tuple[Records, float]:
    """Quantities at uniformly spaced times, (trajectory, time), and the first of these times."""
    records = as_records(values, name, bin_width, axis)
    if records.shape[1] < 2:
        raise ValueError(f"Argument `{name}` must have at least two times, but has {records.shape[1]}.")
    first = 0.0  # values without times begin at 0; they are no bins
    if records.labelled:
        time_dim = next(d for d in values.dims if d not in records.trajectory_dims)
        first = records.start if time_dim in values.coords else 0.0
    return records, first


def _kicks(values: NDArray[Any], spacing: float) -> NDArray[np.float64]:
    """|dO - E dO|^2 / dt, unbiased: (trajectory, interval)."""
    n = values.shape[0]
    steps = np.diff(values, axis=1)
    return _squared(steps - steps.mean(axis=0)) * (n / ((n - 1) * spacing))


def disturbance(mean: Current, *, bin_width: float | None = None, axis: int | str = -1) -> xr.Dataset:
    r"""How far a measurement kicks a conditional mean: :math:`E|d\langle O\rangle_c|^2 / dt`, its quadratic variation.

    Of a conditional mean's increment only the innovation's part, the backaction of what was just read, is of order
    :math:`\sqrt{dt}` (or a jump); so the variance of increments per unit time is the strength of that noise. For
    homodyne detection of L

    .. math:: E\,d\langle O\rangle_c^2 / dt
              = \eta\, E\big[(\langle OL + L^\dagger O\rangle - \langle O\rangle\langle L + L^\dagger\rangle)^2\big] ,

    for a counter :math:`E[\eta\langle L^\dagger L\rangle\,(\text{jump of }\langle O\rangle)^2]`. If O is a
    non-demolition variable, whose unconditional law the measurement leaves alone, this *is* the gain of information:
    the rate at which its uncertainty passes from `conditional` to `resolved` in `variance_decomposition`
    (:math:`4\eta k E[\mathrm{Var}_c(O)^2]` for :math:`L = \sqrt k\,O`). If it is not, it is the random motion that the
    measurement feeds into O, to be set against the unconditional rates of dephasing or heating, which depend on no
    efficiency: at :math:`\eta = 1` the observer sees all of that motion, at :math:`\eta = 0` none.

    Assumes times so close that the drift, which differs from run to run, moves the mean little against the noise;
    the ensemble's common motion is subtracted. `spacing_bias` says what the spacing does.

    Parameters
    ----------
    mean : array_like or xarray.DataArray, shape (trajectory, time)
        Conditional means at uniformly spaced times (not averages over bins), real or complex, of at least two
        trajectories.
    bin_width : float, optional
        Time between neighbouring values. Default: from the time coordinate of a DataArray.
    axis : int or str
        Axis (or dim) of time. A DataArray's default is `time`.

    Returns
    -------
    xarray.Dataset
        `disturbance(time)` at the centres of the intervals, in units of O squared times a rate; over all times
        `disturbance_mean`, and `spacing_bias` (with three times or more): twice the spacing gives that much more, so
        `disturbance_mean` is too large by about as much. `*_stderr` of each, across trajectories. attrs: spacing,
        n_trajectories, n_blocks, error_method.

    Raises
    ------
    ValueError
        If there are fewer than two trajectories or times, times are not uniform, `bin_width` is missing, or a value
        is NaN.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories; standard errors are then NaN.

    Notes
    -----
    Wiseman and Milburn, *Quantum Measurement and Control* (2010), chapter 4, for the noise of conditional means;
    Doherty, Jacobs and Jungman, Phys. Rev. A 63, 062306 (2001), for information against disturbance under continuous
    measurement; Clerk et al., Rev. Mod. Phys. 82, 1155 (2010), for measurement against dephasing rates.
    """
    import xarray as xr

    records, first = _at_edges(mean, "mean", bin_width, axis)
    x, dt = records.values, records.bin_width
    n, times = x.shape
    _need_two(n, "mean")
    blocks = _trajectories(n)
    warn_too_few(blocks, "the disturbance")
    kicks = _kicks(x, dt)
    per_time = {
        "disturbance": ("time", block_mean(kicks, blocks.lengths)),
        "disturbance_stderr": ("time", block_stderr(kicks, blocks.lengths)),
    }
    overall = {"disturbance_mean": kicks.mean(axis=1)}
    if times > 2:
        even = (times - 1) // 2 * 2  # the same stretch of time at both spacings
        overall["spacing_bias"] = _kicks(x[:, : even + 1 : 2], 2 * dt).mean(axis=1) - kicks[:, :even].mean(axis=1)
    scalars: dict[str, float] = {}
    for name, values in overall.items():
        scalars[name] = float(block_mean(values, blocks.lengths))
        scalars[name + "_stderr"] = float(block_stderr(values, blocks.lengths))
    centres = first + (np.arange(times - 1) + 0.5) * dt
    return xr.Dataset({**per_time, **scalars}, coords={"time": centres}, attrs={"spacing": dt, **_attrs(n)})


def purification_rate(purity: Current, *, bin_width: float | None = None, axis: int | str = -1) -> xr.Dataset:
    r"""Rate :math:`dE[P]/dt` at which a record purifies the conditional state.

    Increments are taken per trajectory, so that what is common to both ends of an interval drops out of the error.
    Of ``-entropy(states)`` it is the rate at which the record removes entropy.

    Parameters
    ----------
    purity : array_like or xarray.DataArray, shape (trajectory, time)
        Purities at uniformly spaced times, as from `purity`.
    bin_width : float, optional
        Time between neighbouring values. Default: from the time coordinate of a DataArray.
    axis : int or str
        Axis (or dim) of time. A DataArray's default is `time`.

    Returns
    -------
    xarray.Dataset
        `purification_rate(time)`, the mean rate in each interval, at its centre; `purification_rate_mean` from the
        first to the last time. `*_stderr` of each, across trajectories. attrs: spacing, n_trajectories, n_blocks,
        error_method.

    Raises
    ------
    ValueError
        If there are fewer than two times, times are not uniform, `bin_width` is missing, or a value is complex or NaN.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories; standard errors are then NaN.

    Notes
    -----
    Jacobs, Phys. Rev. A 67, 030301 (2003): a diagonal qubit under ``kD[σ_z]`` purifies at the rate
    ``2 eta k E[(1 - z^2)^2]``.
    """
    import xarray as xr

    records, first = _at_edges(purity, "purity", bin_width, axis)
    x, dt = _real(records.values, "purity"), records.bin_width
    n, times = x.shape
    blocks = _trajectories(n)
    warn_too_few(blocks, "the rate of purification")
    rates = np.diff(x, axis=1) / dt
    overall = (x[:, -1] - x[:, 0]) / (dt * (times - 1))
    return xr.Dataset(
        {
            "purification_rate": ("time", block_mean(rates, blocks.lengths)),
            "purification_rate_stderr": ("time", block_stderr(rates, blocks.lengths)),
            "purification_rate_mean": float(block_mean(overall, blocks.lengths)),
            "purification_rate_mean_stderr": float(block_stderr(overall, blocks.lengths)),
        },
        coords={"time": first + (np.arange(times - 1) + 0.5) * dt},
        attrs={"spacing": dt, **_attrs(n)},
    )


# --- what a record says about its law --------------------------------------------------------------------


def information_rate(
    log_likelihood: Any,
    log_likelihood_reference: Any,
    duration: float,
    *,
    base: float = math.e,
    trajectory_axis: int | str | None = None,
) -> xr.Dataset:
    r"""Relative entropy of a record per unit time: how fast it tells its own law from another one.

    .. math:: \frac1T E_{P}\Big[\log\frac{dP}{dQ}\Big] \ge 0

    for records drawn from P. After a time t the wrong law Q is ruled out by about ``exp(-rate t)``. Against shot
    noise (the reference of the log-likelihoods, Q with log-likelihood 0) it is
    :math:`E[\eta\langle x\rangle_c^2]/2` for a homodyne and :math:`E[\eta|\langle L\rangle_c|^2]` for a heterodyne
    current.

    Parameters
    ----------
    log_likelihood : array_like or xarray.DataArray, shape (trajectory, ...)
        Natural log-likelihood of each record under the law P that it was drawn from.
    log_likelihood_reference : array_like or xarray.DataArray or float
        That of the same records under the other law Q, relative to the same reference measure; 0.0 for that measure
        itself (white noise for currents, a Poisson process of unit rate for clicks).
    duration : float
        Length T of every record.
    base : float
        Of the logarithm in the result: e for nats, 2 for bits.
    trajectory_axis : int or str, optional
        Axis (dim) of trajectories. Default: the dim `trajectory` of a DataArray; the first axis of a plain array.

    Returns
    -------
    xarray.Dataset
        `information_rate`, `information_rate_stderr` (across trajectories), and `consistent`: False where the rate is
        negative by more than 5 standard errors (and rounding), which no law of the records can give. attrs: duration,
        base, n_trajectories, n_blocks, error_method.

    Raises
    ------
    ValueError
        If shapes differ, `duration` is not positive, or a value is NaN.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories; standard errors are then NaN.
    RuntimeWarning
        If a result is not `consistent`.

    Notes
    -----
    Kullback and Leibler, Ann. Math. Stat. 22, 79 (1951); for continual quantum measurements Barchielli and Lupieri,
    arXiv:quant-ph/0401114.
    """
    duration = positive(duration, "duration")
    log_base = _log_base(base)
    first = _as_ensemble(log_likelihood, "log_likelihood", trajectory_axis)
    ratio = _real(first.values, "log_likelihood")
    if np.ndim(log_likelihood_reference) == 0:
        reference = finite(np.asarray(float(log_likelihood_reference)), "log_likelihood_reference")
    else:
        name = "log_likelihood_reference"
        second = _as_ensemble(log_likelihood_reference, name, trajectory_axis, log_likelihood)
        if second.values.shape != ratio.shape:
            raise ValueError(
                f"Argument `{name}` must have the shape of `log_likelihood`, but is {second.values.shape} and not"
                f" {ratio.shape} (trajectories first)."
            )
        reference = _real(second.values, name)
    ratio, size = ratio - reference, np.abs(ratio) + np.abs(reference)
    # what is zero up to rounding is not negative, even where all records round alike
    rounding = 4 * max(_precision(log_likelihood), _precision(log_likelihood_reference)) * size.mean(axis=0)
    warn_too_few(first.blocks, "the information rate")
    rates = ratio / (duration * log_base)
    rate, stderr = block_mean(rates, first.blocks.lengths), block_stderr(rates, first.blocks.lengths)
    consistent = ~(rate < -_SIGNIFICANT * stderr - rounding / (duration * log_base))
    if not consistent.all():
        warnings.warn(
            f"An information rate is negative by more than {_SIGNIFICANT:g} standard errors: the records were not"
            " drawn from the law of `log_likelihood`. Exchange the two, or look for what the conditioning leaves out.",
            RuntimeWarning,
            stacklevel=2,
        )
    return first.dataset(
        {"information_rate": rate, "information_rate_stderr": stderr, "consistent": consistent},
        duration=duration,
        base=base,
    )


def _ascending(values: Any, name: str, fewest: int) -> NDArray[np.float64]:
    grid = finite(values, name).astype(float)
    if grid.ndim != 1 or grid.size < fewest or np.any(np.diff(grid) <= 0):
        raise ValueError(
            f"Argument `{name}` must be at least {fewest} ascending values, but is"
            f" {np.array2string(grid, threshold=6)}."
        )
    return grid


def _derivatives(offsets: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of the first and the second derivative at 0 from values at `offsets`, by interpolation."""
    h = float(np.abs(offsets).max())
    powers = np.vander(offsets / h, increasing=True).T  # row m: sum_j w_j u_j^m = m-th derivative of u^m at 0
    right = np.zeros((offsets.size, 2))
    right[1, 0], right[2, 1] = 1 / h, 2 / h**2
    weights = np.asarray(np.linalg.solve(powers, right), dtype=float)
    return weights[:, 0], weights[:, 1]


def fisher_information(
    log_likelihoods: Any,
    parameters: Any = None,
    *,
    at: float | None = None,
    trajectory_axis: int | str | None = None,
) -> xr.Dataset:
    r"""Fisher information of one record about a parameter, twice: from the score's variance and from the curvature.

    For records drawn at :math:`\theta`, with the score :math:`\ell' = \partial_\theta \log P_\theta`,

    .. math:: I(\theta) = \mathrm{Var}\,\ell'(\theta) = -E\,\ell''(\theta) ,\qquad E\,\ell'(\theta) = 0 .

    N records determine the parameter to :math:`1/\sqrt{N I}` at best (Cramér and Rao). Derivatives are finite
    differences on the grid's points nearest to :math:`\theta`, of second order in the spacing with 3 points and of
    fourth order with 5. Both estimates hold only for the parameter that the records were drawn at, both suffer from
    a coarse spacing, and differently: that they agree is the test of each.

    Parameters
    ----------
    log_likelihoods : array_like or xarray.DataArray, shape (trajectory, parameter)
        Natural log-likelihood of each record at each value of the parameter.
    parameters : array_like, shape (parameter,)
        Ascending values, e.g. :math:`\theta-\delta, \theta, \theta+\delta`; at least 3. Default: the coordinate of
        a DataArray's other dim. A good :math:`\delta` is a tenth of the error with which one record determines the
        parameter.
    at : float, optional
        The true value :math:`\theta`, one of `parameters` and not the first or last. Default: the one in the middle.
    trajectory_axis : int or str, optional
        Axis (dim) of trajectories. Default: the dim `trajectory` of a DataArray; the first axis of a plain array.

    Returns
    -------
    xarray.Dataset
        Scalars `fisher_score` (score variance), `fisher_curvature`, `score_mean` and `*_stderr` of each (jackknife
        across trajectories); `consistent`: whether the two agree and the mean score vanishes, within 5 standard
        errors, and no standard error exceeds half of its value. attrs: parameter, n_points (of the stencil),
        n_trajectories, n_blocks, error_method.

    Raises
    ------
    ValueError
        If shapes do not fit, `parameters` does not ascend, `at` has no neighbours on the grid, or a value is NaN.

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 trajectories (standard errors are then NaN), or a standard error exceeds half of its
        value.
    RuntimeWarning
        If the two disagree, or the mean score does not vanish.

    Notes
    -----
    Gammelmark and Mølmer, Phys. Rev. A 87, 032115 (2013).
    """
    import xarray as xr

    x = _as_ensemble(log_likelihoods, "log_likelihoods", trajectory_axis)
    if x.values.ndim != 2:
        raise ValueError(
            "Argument `log_likelihoods` must have shape (trajectory, parameter), but has, trajectories first,"
            f" {x.values.shape}; select one point of the sweep first."
        )
    if parameters is None:
        if x.dims[0] not in x.coords:
            raise ValueError(
                "Argument `parameters` must be given when `log_likelihoods` carries no coordinate of them, but is None."
            )
        parameters = x.coords[x.dims[0]].values
    grid = _ascending(parameters, "parameters", 3)
    values = _real(x.values, "log_likelihoods")
    n = values.shape[0]
    if values.shape[1] != grid.size:
        raise ValueError(
            f"Argument `parameters` must have one value for each of the {values.shape[1]} log-likelihoods of a record,"
            f" but has {grid.size}."
        )
    if at is None:
        if grid.size % 2 == 0:
            raise ValueError(
                f"Argument `at` must be given for an even number of parameters, but is None with {grid.size} of them."
            )
        centre = grid.size // 2
    else:
        centre = int(np.argmin(np.abs(grid - at)))
        if abs(grid[centre] - at) > 1e-9 * (grid[-1] - grid[0]):
            raise ValueError(
                f"Argument `at` must be one of the parameters, but is {at:g}; the nearest is {grid[centre]:g}."
            )
    reach = min(centre, grid.size - 1 - centre, _STENCIL // 2)
    if reach < 1:
        raise ValueError(f"Argument `at` must have neighbours on both sides, but {grid[centre]:g} is at the edge.")
    _need_two(n, "log_likelihoods")
    use = slice(centre - reach, centre + reach + 1)
    first, second = _derivatives(grid[use] - grid[centre])
    # a constant per record drops out of the derivatives; its rounding need not come in
    local = values[:, use] - values[:, centre : centre + 1]
    score, curvature = local @ first, -local @ second
    blocks = _trajectories(n)
    warn_too_few(blocks, "the Fisher information")

    def estimates(means: NDArray[Any]) -> NDArray[Any]:
        by_score = _variance(means[..., 1:4], 1, n)[..., 0]
        return np.stack([by_score, means[..., 4], by_score - means[..., 4], means[..., 0]], axis=-1)

    sums = np.column_stack([score, _moments(score), curvature])
    value, stderr = jackknife(sums, blocks.lengths, estimates)
    agree = bool(np.all(np.abs(value[2:]) <= _SIGNIFICANT * stderr[2:]))
    precise = bool(np.all(stderr[:2] <= np.abs(value[:2]) / 2))
    if blocks.enough and not agree:
        warnings.warn(
            f"Fisher information at {grid[centre]:g} is not to be trusted: the score's variance gives {value[0]:.4g},"
            f" the curvature {value[1]:.4g} (difference {value[2]:.2g}, standard error {stderr[2]:.1g}); the mean score"
            f" is {value[3]:.2g} (standard error {stderr[3]:.1g}). Use a smaller spacing of `parameters`, and records"
            " drawn at `at`.",
            RuntimeWarning,
            stacklevel=2,
        )
    elif blocks.enough and not precise:
        warnings.warn(
            f"Too little data for the Fisher information at {grid[centre]:g}: {value[0]:.2g} with a standard error of"
            f" {stderr[0]:.1g} from the score's variance, {value[1]:.2g} with {stderr[1]:.1g} from the curvature."
            " Use more or longer records.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    data: dict[str, Any] = {}
    for name, i in (("fisher_score", 0), ("fisher_curvature", 1), ("score_mean", 3)):
        data[name], data[name + "_stderr"] = float(value[i]), float(stderr[i])
    data["consistent"] = agree and precise
    attrs = {"parameter": float(grid[centre]), "n_points": 2 * reach + 1, **_attrs(n)}
    return xr.Dataset(data, attrs=attrs)


def _as_likelihood(
    log_likelihoods: Any, parameters: Any, trajectory_axis: int | str | None
) -> tuple[NDArray[np.float64], list[str], list[NDArray[np.float64]], int | None]:
    """Log-likelihood of all records on a grid, the grid's names and axes, and the number of records if it is known."""
    if is_labelled(log_likelihoods):
        axis = "trajectory" if trajectory_axis is None else trajectory_axis
        if trajectory_axis is not None and axis not in log_likelihoods.dims:
            raise ValueError(
                f"Argument `trajectory_axis` must be a dim of `log_likelihoods`, but is {axis!r}; its dims are"
                f" {list(log_likelihoods.dims)}."
            )
        names = [str(d) for d in log_likelihoods.dims if d != axis]
        per_record = axis in log_likelihoods.dims
        values = np.asarray(log_likelihoods.transpose(*([axis] if per_record else []), *names).values)
        if parameters is None:
            missing = [d for d in names if d not in log_likelihoods.coords]
            if missing:
                raise ValueError(
                    f"Argument `parameters` must be given when `log_likelihoods` has no coordinates of {missing}, but"
                    " is None."
                )
            parameters = [log_likelihoods.coords[d].values for d in names]
    else:
        values = finite(log_likelihoods, "log_likelihoods")
        names = []
        per_record = False
        if parameters is None:
            raise ValueError("Argument `parameters` must be given with a plain array, but is None.")
    several = list(parameters) if len(parameters) and np.ndim(parameters[0]) > 0 else [parameters]
    grids = [_ascending(g, "parameters", 3) for g in several]
    if not is_labelled(log_likelihoods):
        names = [f"parameter_{i}" for i in range(len(grids))]
        per_record = values.ndim == len(grids) + 1
        if per_record:
            place = 0 if trajectory_axis is None else trajectory_axis
            if isinstance(place, str) or not -values.ndim <= place < values.ndim:
                raise ValueError(
                    f"Argument `trajectory_axis` must be an axis of `log_likelihoods`, but is {place!r}; its shape is"
                    f" {values.shape}."
                )
            values = np.moveaxis(values, place, 0)
    shape = tuple(g.size for g in grids)
    if not grids or values.size == 0 or values.shape[1 if per_record else 0 :] != shape:
        raise ValueError(
            f"Argument `log_likelihoods` must have the shape {shape} of the grid of `parameters`, with or without"
            f" records before it, but has {values.shape}."
        )
    finite(values, "log_likelihoods")
    total = _real(values, "log_likelihoods").astype(float)
    return (total.sum(axis=0) if per_record else total), names, grids, (len(values) if per_record else None)


def likelihood_estimate(
    log_likelihoods: Any, parameters: Any = None, *, drop: float = 2.0, trajectory_axis: int | str | None = None
) -> xr.Dataset:
    r"""Maximum-likelihood estimate of one or more parameters from log-likelihoods on a grid.

    A quadratic form is fitted, by least squares, to the log-likelihood of all records at the grid's maximum, its
    neighbours, and all points less than `drop` below the maximum. Its maximum is the estimate, the inverse of minus
    its matrix of second derivatives (the observed Fisher information) the covariance. Assumes that records are
    independent, that the model is right, and that there are enough records for the likelihood to be nearly Gaussian;
    `resolved` says whether it looks so.

    Parameters
    ----------
    log_likelihoods : array_like or xarray.DataArray, shape ([trajectory,] parameter, [parameter_2, ...])
        Natural log-likelihood of each record, or of all together.
    parameters : array_like, shape (parameter,), or a sequence of such, one for each parameter
        Ascending values, at least 3 each. Default: the coordinates of a DataArray's dims other than trajectories.
    drop : float
        In nats; 2 is two standard errors to either side.
    trajectory_axis : int or str, optional
        Axis (dim) of records. Default: the dim `trajectory` of a DataArray, the first axis of a plain array with one
        axis more than there are parameters; log-likelihoods are summed along it.

    Returns
    -------
    xarray.Dataset
        Coord `parameter` (names of the dims, or parameter_0, ...). `estimate(parameter)`, `estimate_stderr`,
        `covariance(parameter, parameter_2)`, `log_likelihood` at the maximum, and `resolved`: whether the fit misses
        no point by more than 0.1, the grid's spacing is below two standard errors, and the estimate lies next to the
        grid's maximum. attrs: n_points (in the fit), n_trajectories (where they were given), largest_residual.

    Raises
    ------
    ValueError
        If the maximum is at the edge of the grid, a standard error exceeds the grid, shapes do not fit, or a value is
        NaN.

    Warns
    -----
    RuntimeWarning
        If the maximum is not `resolved`.

    Notes
    -----
    Gammelmark and Mølmer, Phys. Rev. A 87, 032115 (2013), for likelihoods of quantum measurement records.
    """
    import xarray as xr

    drop = positive(drop, "drop")
    total, names, grids, n_records = _as_likelihood(log_likelihoods, parameters, trajectory_axis)
    p = len(grids)
    top = np.unravel_index(int(np.argmax(total)), total.shape)
    for name, grid, i in zip(names, grids, top, strict=True):
        if i in (0, grid.size - 1):
            raise ValueError(
                f"Argument `parameters` must enclose the maximum of the likelihood, but it lies at {name} ="
                f" {grid[i]:g}, the edge of the grid; extend the grid beyond."
            )
    chosen = total >= total[top] - drop
    chosen[tuple(slice(i - 1, i + 2) for i in top)] = True
    steps = np.array([(g[i + 1] - g[i - 1]) / 2 for g, i in zip(grids, top, strict=True)])
    here = np.array([g[i] for g, i in zip(grids, top, strict=True)])
    u = (np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1)[chosen] - here) / steps
    rows, columns = np.triu_indices(p)
    # each u_i u_j with i <= j once: halved on the diagonal, so that coefficients are second derivatives
    quadratic = u[:, rows] * u[:, columns] * np.where(rows == columns, 0.5, 1.0)
    design = np.column_stack([np.ones(len(u)), u, quadratic])
    y = total[chosen] - total[top]
    fit = np.linalg.lstsq(design, y, rcond=None)[0]
    hessian = np.zeros((p, p))
    hessian[rows, columns] = hessian[columns, rows] = fit[1 + p :]
    extent = np.array([g[-1] - g[0] for g in grids]) / steps
    curved = np.linalg.eigvalsh(hessian).max() < 0
    inverse = np.linalg.inv(-hessian) if curved else np.full((p, p), np.inf)
    stderr = np.sqrt(np.diag(inverse))  # in units of the steps
    if np.any(stderr > extent):
        raise ValueError(
            "Argument `log_likelihoods` must fall off from its maximum in every direction within the grid, but near"
            f" {dict(zip(names, here.tolist(), strict=True))} it does not; the records do not determine all the"
            " parameters, or the grid is too narrow."
        )
    shift = inverse @ fit[1 : 1 + p]
    residual = float(np.max(np.abs(y - design @ fit)))
    resolved = bool(residual <= _LARGEST_RESIDUAL and np.all(stderr >= 1 / _WIDEST_STEP) and np.all(np.abs(shift) <= 1))
    if not resolved:
        warnings.warn(
            f"The maximum of the likelihood is not resolved: a parabola through it misses points by {residual:.2g},"
            f" the grid's spacing is {np.max(1 / stderr):.2g} standard errors, and the fitted maximum is"
            f" {np.max(np.abs(shift)):.2g} spacings from the highest point. Use a finer grid, a smaller `drop`, or more"
            " records.",
            RuntimeWarning,
            stacklevel=2,
        )
    attrs: dict[str, Any] = {"n_points": len(u), "largest_residual": residual}
    if n_records is not None:
        attrs["n_trajectories"] = n_records
    return xr.Dataset(
        {
            "estimate": ("parameter", here + steps * shift),
            "estimate_stderr": ("parameter", steps * stderr),
            "covariance": (("parameter", "parameter_2"), inverse * np.outer(steps, steps)),
            "log_likelihood": float(total[top] + fit[0] + fit[1 : 1 + p] @ shift / 2),
            "resolved": resolved,
        },
        coords={"parameter": names, "parameter_2": names},
        attrs=attrs,
    )
