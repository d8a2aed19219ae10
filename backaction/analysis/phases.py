"""Phases of currents: demodulation, filters, circular histograms and harmonics.

Conventions ([T], docs/conventions.md): an amplitude is ``r exp(-i phi)``, so the phase of one current is
``-arg Z`` and the phase difference of two is ``phi_AB = phi_A - phi_B = arg(Z_B / Z_A)``; the harmonics are
``q_k = E[exp(-i k phi)]`` and the density is ``(1/2 pi) [1 + 2 Re sum_k q_k exp(i k phi)]``.

A phase histogram means nothing without its filter: Z is the amplitude of one filtered mode of the output
field, and the histogram is the Husimi phase distribution of the state of that mode ([T] section 4.1).
The filter is therefore in the attrs of every result.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import (
    Current,
    Records,
    as_records,
    drop_start,
    finite,
    is_labelled,
    need_simultaneous,
    positive,
    time_dim,
    whole_bins,
)
from .uncertainty import (
    TooLittleDataWarning,
    block_attrs,
    block_covariance,
    block_mean,
    block_stderr,
    choose_blocks,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

Kind = Literal["boxcar", "exponential", "matched"]

_EXPONENTIAL_REACH = math.log(1e4)  # the tail that is cut off holds 1e-4 of |f|^2


def demodulate(current: Current, times: ArrayLike | None, frequency: float, phase: float = 0.0) -> Any:
    """Multiply a current by ``exp(+i (frequency t + phase))``.

    Signals of ``H = w0 a^dag a`` rotate as ``exp(-i w0 t)`` and stand still after demodulation at ``+w0``. A
    real current of a homodyne detector with a rotating local oscillator (phase ``w t + phi0``) becomes
    ``sqrt(eta) <L>`` + white noise + terms at 2 w, which a filter of whole periods removes.

    Parameters
    ----------
    current : array_like or xarray.DataArray, shape (..., time)
        Real or complex, time along the last axis (DataArray: along `bin`, `window` or `time`).
    times : array_like, shape (time,), or None
        Bin centres. None only for a DataArray: the coordinate of its time is used.
    frequency, phase : float
        Angular frequency (radians per unit of time) and phase (radians).

    Returns
    -------
    ndarray or xarray.DataArray
        Complex, of the same shape, and labelled as `current` was.

    Raises
    ------
    ValueError
        If `current` or `times` holds NaN, or their lengths differ.
    """
    if not (math.isfinite(frequency) and math.isfinite(phase)):
        raise ValueError(f"Argument `frequency` must be finite, like `phase`, but they are {frequency} and {phase}.")
    data: Any = current
    labelled = is_labelled(data)
    values = finite(data.values if labelled else data, "current")
    axis = values.ndim - 1
    if labelled and values.ndim:
        along = time_dim(data, "current")
        axis = data.dims.index(along)
        if times is None and along in data.coords:
            times = data.coords[along].values
    if times is None:
        raise ValueError(
            "Argument `times` must be given when `current` carries no time coordinate, but is None;"
            " pass the bin centres."
        )
    t = finite(times, "times").astype(float)
    if values.ndim == 0 or t.shape != (values.shape[axis],):
        raise ValueError(
            f"Argument `times` must have one entry per bin of `current`, but has shape {t.shape};"
            f" `current` has shape {values.shape}."
        )
    factor = np.exp(1j * (frequency * t + phase)).reshape((-1,) + (1,) * (values.ndim - 1 - axis))
    return data.copy(data=values * factor) if labelled else values * factor


def filter_current(
    current: Current,
    *,
    window: float | None = None,
    bin_width: float | None = None,
    kind: Kind = "boxcar",
    template: ArrayLike | None = None,
    stride: float | None = None,
    axis: int | str = -1,
) -> Any:
    r"""Filtered amplitudes :math:`Z = \int f^*(t) I(t)\,dt` with :math:`\int |f|^2 dt = 1`.

    With this normalisation shot noise has E|Z|^2 = 1, whatever the filter.

    Parameters
    ----------
    current : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Bin averages, real or complex.
    window : float
        `boxcar`: the length of f, a whole number of bins; windows are consecutive and do not overlap, and an
        incomplete one at the end is left out. `exponential`: 1/G of the filter
        ``f = sqrt(G) exp(-G age / 2)`` (age counted back from the moment of evaluation), so |f|^2 decays in
        `window` and the equivalent boxcar, of equal (int f)^2, has length 4 `window`; f is cut where 1e-4 of
        |f|^2 is left, and only moments with a full past are kept. `matched`: need not be given; if it is, it
        must equal the length of `template`.
    bin_width : float, optional
        Width of a bin. Default: from the `bin` coordinate of a DataArray.
    kind : {"boxcar", "exponential", "matched"}
        The shape of f.
    template : array_like, shape (taps,), optional
        For `matched`: f on consecutive bins in order of time, real or complex, of any norm.
    stride : float, optional
        Time from one window to the next, a whole number of bins. Default: the length of f (no overlap) for
        boxcar and matched; `window`, rounded to whole bins, for exponential.
    axis : int or str
        Axis (or dim) of time. A DataArray's default is `bin`.

    Returns
    -------
    ndarray or xarray.DataArray
        Z, shape (..., window). A DataArray in gives one out, with the dim `window` at the windows' central
        times (exponential: the moments of evaluation); its units are 1.

    Raises
    ------
    ValueError
        If `window` is no whole number of bins (the nearest allowed values are named) or longer than the
        record, if `bin_width` is missing, if `template` is missing or zero, or if `current` holds NaN.
    """
    records = as_records(current, "current", bin_width, axis)
    z, times, _ = _filtered(records, window, kind, template, stride)
    if not records.has_trajectories:
        z = z[0]
    if not records.labelled:
        return z
    import xarray as xr

    data: Any = current
    dims = records.trajectory_dims
    coords = {d: data.coords[d] for d in dims if d in data.coords}
    attrs = {**data.attrs, "units": "1", "filter": kind, "filter_window": _window_length(records, window, template)}
    if "long_name" in attrs:
        attrs["long_name"] = f"filtered {attrs['long_name']}"
    return xr.DataArray(z, dims=[*dims, "window"], coords={**coords, "window": times}, attrs=attrs)


def _window_length(records: Records, window: float | None, template: ArrayLike | None) -> float:
    return float(window) if window is not None else len(np.asarray(template)) * records.bin_width


def _filtered(
    records: Records, window: float | None, kind: str, template: ArrayLike | None, stride: float | None
) -> tuple[NDArray[Any], NDArray[np.float64], float]:
    """Filtered amplitudes (trajectory, window), the windows' times, and the filter's length in time."""
    dt = records.bin_width
    if kind not in ("boxcar", "exponential", "matched"):
        raise ValueError(f'Argument `kind` must be "boxcar", "exponential" or "matched", but is {kind!r}.')
    if kind != "matched" and template is not None:
        raise ValueError(f'Argument `template` must be None unless `kind` is "matched", but kind is {kind!r}.')
    if kind != "matched" and window is None:
        raise ValueError(f"Argument `window` must be given for a {kind} filter, but is None.")
    if kind == "boxcar":
        assert window is not None
        taps = np.ones(whole_bins(window, dt, "window"))
        step = taps.size
    elif kind == "exponential":
        assert window is not None
        window = positive(window, "window")
        if window < 2 * dt:
            raise ValueError(
                f"Argument `window` must be at least two bins of {dt:.6g} for an exponential filter, but is"
                f" {window:.6g}: the bins would decide its shape."
            )
        age = (np.arange(math.ceil(_EXPONENTIAL_REACH * window / dt)) + 0.5) * dt
        taps = np.exp(-age / (2 * window))[::-1]  # in order of time: the youngest bin is last
        step = max(1, round(window / dt))
    else:
        if template is None:
            raise ValueError("Argument `template` must be given for a matched filter, but is None.")
        taps = finite(template, "template")
        if taps.ndim != 1 or not np.any(taps):
            raise ValueError(f"Argument `template` must be a non-zero vector, but has shape {taps.shape}.")
        if window is not None and whole_bins(window, dt, "window") != taps.size:
            raise ValueError(
                f"Argument `window` must equal the length {taps.size * dt:.6g} of `template`, but is"
                f" {window:.6g};"
                " leave it out."
            )
        step = taps.size
    if stride is not None:
        step = whole_bins(stride, dt, "stride")
    ntraj, n = records.shape
    if taps.size > n:
        raise ValueError(
            f"Argument `window` must fit into the record of {n * dt:.6g}, but the {kind} filter is"
            f" {taps.size * dt:.6g} long."
        )
    taps = taps / np.sqrt(np.sum(np.abs(taps) ** 2) * dt)  # int |f|^2 = 1
    count = (n - taps.size) // step + 1
    if kind == "boxcar" and step == taps.size:
        z = records.values[:, : count * step].reshape(ntraj, count, step).sum(axis=2) * (taps[0] * dt)
    else:
        views = np.lib.stride_tricks.sliding_window_view(records.values, taps.size, axis=1)[:, ::step]
        z = np.einsum("kwt,t->kw", views, taps.conj() * dt)
    first = records.start - dt / 2 + (taps.size * dt if kind == "exponential" else taps.size * dt / 2)
    return z, first + step * dt * np.arange(count), taps.size * dt


def phase_difference(
    current_a: Current,
    current_b: Current,
    *,
    window: float | None = None,
    bin_width: float | None = None,
    kind: Kind = "boxcar",
    template: ArrayLike | None = None,
    stride: float | None = None,
    bins: int = 60,
    harmonics: int = 4,
    discard: float = 0.0,
    axis: int | str = -1,
    level: float = 3.0,
) -> xr.Dataset:
    """Distribution of the phase difference ``phi_AB = arg(Z_B / Z_A)`` of two complex currents.

    Z are filtered amplitudes (`filter_current`); [T] (4.11) for the state of the two filtered modes is the
    exact distribution. Windows are correlated with one another and the standard errors know it
    (`analysis.uncertainty`); below 20 trajectories the process is assumed stationary after `discard`.

    Parameters
    ----------
    current_a, current_b : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Complex currents with simultaneous bins: heterodyne, or homodyne after `demodulate`.
    window, bin_width, kind, template, stride, axis
        The filter, as in `filter_current`.
    bins : int
        Number of histogram bins on (-pi, pi].
    harmonics : int
        Number of harmonics q_1 .. q_K.
    discard : float
        Time cut off at the beginning of every trajectory (rounded up to whole bins).
    level : float
        |q_k| below `level` standard errors is flagged in `q_abs_biased`: the modulus of a noisy number is too
        large, by about stderr^2 / (2 |q_k|).

    Returns
    -------
    xarray.Dataset
        Coords `phase` (bin centres), `harmonic` (1 .. K). `density(phase)`, integrating to 1, as averages
        over bins, `density_stderr` (an empty bin has the density of one count for its error); complex
        `q(harmonic)` = E[exp(-i k phi)] and `q_stderr` (real part: of Re q; imaginary part: of Im q);
        `q_abs`, `q_abs_stderr` (from the covariance of Re and Im), `q_abs_biased`. attrs: window, kind,
        bin_width, n_windows, n_trajectories, n_effective (independent windows worth the same errors),
        n_blocks, error_method, correlation_time (in windows).

    Raises
    ------
    ValueError
        If the currents are real, differ in shape, bins or coordinates, hold NaN, or vanish over a window; if
        `window` is no whole number of bins (the nearest allowed are named).

    Warns
    -----
    TooLittleDataWarning
        If there are fewer than 8 independent pieces (standard errors are NaN), or fewer than 5 effective
        counts per histogram bin.
    """
    a = as_records(current_a, "current_a", bin_width, axis)
    b = as_records(current_b, "current_b", bin_width, axis)
    need_simultaneous(a, b, (current_a, current_b), ("current_a", "current_b"))
    for records, name in ((a, "current_a"), (b, "current_b")):
        _need_complex(records, name)
    za, _, _ = _filtered(drop_start(a, discard), window, kind, template, stride)
    zb, _, _ = _filtered(drop_start(b, discard), window, kind, template, stride)
    _need_nonzero(za, "current_a")
    _need_nonzero(zb, "current_b")
    attrs = {"window": _window_length(a, window, template), "kind": kind, "bin_width": a.bin_width}
    convention = "phase = arg(Z_B / Z_A); q_k = E[exp(-i k phase)]"
    return _circular(np.angle(zb * za.conj()), bins, harmonics, level, {**attrs, "convention": convention})


def phase(
    current: Current,
    *,
    window: float | None = None,
    bin_width: float | None = None,
    kind: Kind = "boxcar",
    template: ArrayLike | None = None,
    stride: float | None = None,
    bins: int = 60,
    harmonics: int = 4,
    discard: float = 0.0,
    axis: int | str = -1,
    level: float = 3.0,
) -> xr.Dataset:
    """Distribution of the phase ``phi = -arg Z`` of one complex current ([T]: amplitudes are ``r exp(-i
    phi)``).

    Arguments, result, errors and warnings as for `phase_difference`.
    """
    records = as_records(current, "current", bin_width, axis)
    _need_complex(records, "current")
    z, _, _ = _filtered(drop_start(records, discard), window, kind, template, stride)
    _need_nonzero(z, "current")
    attrs = {
        "window": _window_length(records, window, template),
        "kind": kind,
        "bin_width": records.bin_width,
    }
    convention = "phase = -arg Z; q_k = E[exp(-i k phase)]"
    return _circular(-np.angle(z), bins, harmonics, level, {**attrs, "convention": convention})


def circular_histogram(phi: Any, bins: int = 60, *, axis: int | str = -1) -> xr.Dataset:
    """Histogram of angles, normalised to integrate to 1, with errors that know about correlation in time.

    Parameters
    ----------
    phi : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Angles in radians, of any branch.
    bins : int
        Number of bins on (-pi, pi].
    axis : int or str
        Axis (dim) of time.

    Returns
    -------
    xarray.Dataset
        `density(phase)`, `density_stderr`; attrs as in `phase_difference`.

    Raises
    ------
    ValueError
        If `phi` holds NaN or is complex.

    Warns
    -----
    TooLittleDataWarning
        As `phase_difference`.
    """
    result = _circular(_angles(phi, axis), bins, 4, 3.0, {})
    return result[["density", "density_stderr"]]


def circular_harmonics(phi: Any, harmonics: int = 4, *, axis: int | str = -1, level: float = 3.0) -> xr.Dataset:
    """Harmonics ``q_k = E[exp(-i k phi)]`` of angles, with errors that know about correlation in time.

    Arguments as for `circular_histogram`; `level` as for `phase_difference`.

    Returns
    -------
    xarray.Dataset
        `q`, `q_stderr`, `q_abs`, `q_abs_stderr`, `q_abs_biased` over `harmonic`, as in `phase_difference`.
    """
    result = _circular(_angles(phi, axis), None, harmonics, level, {})
    return result


def _angles(phi: Any, axis: int | str) -> NDArray[np.float64]:
    records = as_records(phi, "phi", 1.0, axis)  # only the order in time matters here
    if np.iscomplexobj(records.values):
        raise ValueError("Argument `phi` must be real angles, but is complex; take np.angle first.")
    return np.asarray(records.values, dtype=float)


def _need_complex(records: Records, name: str) -> None:
    if not np.iscomplexobj(records.values):
        raise ValueError(
            f"Argument `{name}` must be complex to have a phase, but is real; `demodulate` a current taken"
            " with a"
            " rotating local oscillator first."
        )


def _need_nonzero(z: NDArray[Any], name: str) -> None:
    empty = int(np.count_nonzero(z == 0))
    if empty:
        raise ValueError(
            f"Argument `{name}` must not vanish over a window, but does in {empty} of {z.size}: they have no"
            " phase;"
            " cut gaps out first."
        )


def _circular(
    phi: NDArray[np.float64], bins: int | None, harmonics: int, level: float, attrs: dict[str, Any]
) -> xr.Dataset:
    """Histogram and harmonics of phi (trajectory, time), both from the same blocks."""
    import xarray as xr

    if int(harmonics) != harmonics or harmonics < 1:
        raise ValueError(f"Argument `harmonics` must be an integer >= 1, but is {harmonics}.")
    if bins is not None and (int(bins) != bins or bins < 2):
        raise ValueError(f"Argument `bins` must be an integer >= 2, but is {bins}.")
    ntraj, n = phi.shape
    total = ntraj * n
    k = np.arange(1, int(harmonics) + 1)
    rotors = np.exp(-1j * phi[:, :, None] * k)
    # four harmonics decide the blocks: a symmetric double peak, say, moves only in the second
    guide = rotors[:, :, :4] if harmonics >= 4 else np.exp(-1j * phi[:, :, None] * np.arange(1, 5))
    blocks = choose_blocks(guide)
    warn_too_few(blocks, "a phase distribution")
    sums = blocks.sums(rotors)
    q = block_mean(sums, blocks.lengths)
    q_stderr = block_stderr(sums, blocks.lengths)
    variance = q_stderr.real**2 + q_stderr.imag**2
    cross = block_covariance(sums.real, sums.imag, blocks.lengths)
    q_abs = np.abs(q)
    # d|q| = (Re q dRe + Im q dIm) / |q|
    unit = np.where(q_abs > 0, q / np.where(q_abs > 0, q_abs, 1), 1)
    q_abs_var = unit.real**2 * q_stderr.real**2 + unit.imag**2 * q_stderr.imag**2 + 2 * unit.real * unit.imag * cross
    # n independent samples would have the variances E|exp(-i k phi) - q_k|^2 / n
    spread, error = float(np.sum(1 - q_abs**2)), float(variance.sum())
    n_effective = spread / error if spread > 1e-12 and error > 0 else float("nan")  # NaN: phases all equal
    data: dict[str, Any] = {
        "q": ("harmonic", q),
        "q_stderr": ("harmonic", q_stderr),
        "q_abs": ("harmonic", q_abs),
        "q_abs_stderr": ("harmonic", np.sqrt(np.maximum(q_abs_var, 0))),
        "q_abs_biased": ("harmonic", ~(q_abs >= level * np.sqrt(variance / 2))),
    }
    coords: dict[str, Any] = {"harmonic": k}
    if bins is not None:
        bins = int(bins)
        width = 2 * np.pi / bins
        coords["phase"] = -np.pi + width * (np.arange(bins) + 0.5)
        index = (np.ceil((phi.ravel() + np.pi) / width).astype(np.int64) - 1) % bins  # half-open: (left, right]
        counts = np.bincount(blocks.labels() * bins + index, minlength=blocks.count * bins)
        counts = counts.reshape(blocks.count, bins).astype(float)
        density_stderr = block_stderr(counts, blocks.lengths) / width
        if blocks.enough:
            # an empty bin says "less than about one count", not "exactly zero"
            density_stderr = np.where(counts.sum(axis=0) == 0, 1 / (total * width), density_stderr)
            if n_effective < 5 * bins:
                warnings.warn(
                    f"Too little data for {bins} bins: {n_effective:.3g} effective samples. Use fewer bins"
                    " (argument"
                    " `bins`), or record longer; the errors of the harmonics are not concerned.",
                    TooLittleDataWarning,
                    stacklevel=3,
                )
        data["density"] = ("phase", block_mean(counts, blocks.lengths) / width)
        data["density_stderr"] = ("phase", density_stderr)
    found = block_attrs(blocks, ntraj, total)
    found["n_windows"] = found.pop("n_samples")
    return xr.Dataset(data, coords=coords, attrs={**attrs, **found, "n_effective": n_effective})
