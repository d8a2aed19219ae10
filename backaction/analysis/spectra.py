"""Power spectra of currents: averaged periodograms, noise floor, lines, and a test against an exact spectrum.

Conventions (docs/conventions.md): angular, two-sided frequencies; ``S(w) = |int I exp(+i w t) dt|^2 / T``
([T] (4.16)), so ``H = w0 a^dag a`` gives a line at +w0, and shot noise has the level 1 for the complex
heterodyne current (E|dZ|^2 = dt) and for the real homodyne current (E dW^2 = dt) alike.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Current, as_records, finite, whole_bins
from .uncertainty import (
    TooLittleDataWarning,
    block_attrs,
    block_mean,
    block_stderr,
    choose_blocks,
    warn_too_few,
)

if TYPE_CHECKING:
    import xarray as xr

_SEGMENTS = 128  # default number of segments, unless there are more trajectories
_SHORTEST_SEGMENT = 16  # bins
_REPLICATES = 200  # bootstrap: relative error of a standard error 1 / sqrt(400) = 5 %


def spectrum(
    current: Current,
    *,
    bin_width: float | None = None,
    segment: float | None = None,
    window: str = "boxcar",
    axis: int | str = -1,
    detrend: bool = False,
) -> xr.Dataset:
    r"""Power spectrum as the mean over segments of periodograms.

    .. math:: S(\omega) = \Big\langle \Big|\Delta \sum_k w_k I_k e^{+i\omega t_k}\Big|^2 \Big\rangle
              \Big/ \Big(\Delta \sum_k w_k^2\Big)

    Segments follow one another without overlap; an incomplete one at the end is left out. For the boxcar this
    is :math:`|\int_0^T I e^{i\omega t} dt|^2 / T` with T = `segment`: a line narrower than 2 pi / T is
    broadened, and the expectation is that of the finite time, not of T to infinity. Bins multiply signals
    (not the noise) by sinc^2(w bin_width / 2) and fold in aliases. Assumes stationarity within and across
    segments.

    Parameters
    ----------
    current : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Bin averages, real or complex.
    bin_width : float, optional
        Width Delta of a bin. Default: from the `bin` coordinate of a DataArray.
    segment : float, optional
        Length T of a segment, a whole number of bins. Default: the longest that gives 128 segments in all,
        which is the whole record if there are 128 trajectories or more.
    window : str
        Taper w, any name that `scipy.signal.get_window` knows. `chi2_test` needs "boxcar".
    axis : int or str
        Axis (or dim) of time. A DataArray's default is `bin`.
    detrend : bool
        Subtract the mean of each trajectory first, which takes a coherent component off the bins at w = 0.

    Returns
    -------
    xarray.Dataset
        `power(frequency)` and `power_stderr` (across trajectories if there are 20; else across blocks of
        segments, with regard to their correlation) at ascending `frequency` in [-pi/Delta, pi/Delta). attrs:
        n_segments, segment, bin_width, window, real_current (0 or 1), detrend, bin_correlation (1 for the
        boxcar: factor on the variance of an average over many frequencies), n_trajectories, n_blocks,
        error_method, correlation_time (in segments).

    Raises
    ------
    ValueError
        If `segment` is no whole number of bins or does not fit the record, `bin_width` is missing, or
        `current` holds NaN.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 8 independent pieces are left; `power_stderr` is then NaN.
    """
    import xarray as xr

    records = as_records(current, "current", bin_width, axis)
    dt = records.bin_width
    ntraj, total = records.shape
    if segment is None:
        n = max(total // math.ceil(_SEGMENTS / ntraj), min(total, _SHORTEST_SEGMENT))
    else:
        n = whole_bins(segment, dt, "segment")
    if not 2 <= n <= total:
        raise ValueError(
            f"Argument `segment` must have between 2 bins and the record's {total}, but has {n} (bin width {dt:.6g})."
        )
    per_trajectory = total // n
    values = records.values
    if detrend:
        values = values - values.mean(axis=1, keepdims=True)
    if not isinstance(window, (str, tuple)):
        raise ValueError(f"Argument `window` must be the name of a window, but is of type {type(window).__name__}.")
    if window == "boxcar":
        taper = np.ones(n)
    else:
        from scipy.signal import get_window

        try:
            taper = np.asarray(get_window(window, n))
        except ValueError as error:
            raise ValueError(
                f"Argument `window` must be a window that scipy.signal.get_window knows, but is {window!r}."
            ) from error
    pieces = values[:, : per_trajectory * n].reshape(ntraj, per_trajectory, n) * taper
    # numpy's inverse transform carries exp(+i w t), and 1/n
    power = np.abs(np.fft.ifft(pieces, axis=2)) ** 2 * (n**2 * dt / np.sum(taper**2))
    power = np.fft.fftshift(power, axes=2)
    frequency = np.fft.fftshift(2 * np.pi * np.fft.fftfreq(n, dt))
    blocks = choose_blocks(power, pooled=True)
    warn_too_few(blocks, "a spectrum")
    sums = blocks.sums(power)
    found = block_attrs(blocks, ntraj, ntraj * per_trajectory)
    del found["n_samples"]
    return xr.Dataset(
        {
            "power": ("frequency", block_mean(sums, blocks.lengths)),
            "power_stderr": ("frequency", block_stderr(sums, blocks.lengths)),
        },
        coords={"frequency": frequency},
        attrs={
            "n_segments": ntraj * per_trajectory,
            "segment": n * dt,
            "bin_width": dt,
            "window": window,
            "real_current": int(not np.iscomplexobj(values)),
            "detrend": int(detrend),
            "bin_correlation": float(n * np.sum(taper**4) / np.sum(taper**2) ** 2),
            **found,
            "convention": "|int I exp(+i w t) dt|^2 / T, two-sided, shot noise 1, w angular",
        },
    )


@dataclass(frozen=True)
class Chi2:
    """Outcome of `chi2_test`.

    `statistic` ~ chi^2 with `dof` degrees of freedom if the expectation is right; `pvalue` is the upper tail.
    `ratio` is the mean of measured / expected with the standard error `ratio_stderr` that the Gamma law
    predicts: it sees a common factor, to which the sum of squares is nearly blind.
    """

    statistic: float
    dof: int
    pvalue: float
    ratio: float
    ratio_stderr: float


def _as_arrays(spec: Any, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for key in ("frequency", "power"):
        if not hasattr(spec, "__getitem__") or not hasattr(spec, "attrs") or key not in spec:
            raise ValueError(
                f"Argument `{name}` must be a dataset with `power(frequency)`, as `spectrum` returns it, but"
                " has no"
                f" `{key}`."
            )
    return np.asarray(spec["frequency"].values, dtype=float), finite(
        np.asarray(spec["power"].values, dtype=float), name
    )


def _in_band(frequency: NDArray[np.float64], band: tuple[float, float] | None) -> NDArray[np.bool_]:
    if band is None:
        return np.ones(frequency.size, dtype=bool)
    low, high = float(band[0]), float(band[1])
    inside = (frequency >= low) & (frequency <= high)
    if not low < high or not inside.any():
        raise ValueError(
            "Argument `band` must be an ascending pair that holds frequencies of the spectrum, but is"
            f" ({low:.6g},"
            f" {high:.6g}); the spectrum runs from {frequency[0]:.6g} to {frequency[-1]:.6g}."
        )
    return inside


def _spacing(spec: Any, frequency: NDArray[np.float64], name: str) -> float:
    """Resolution of a spectrum, of which frequencies may have been selected."""
    if "segment" in spec.attrs:
        return 2 * math.pi / float(spec.attrs["segment"])
    if frequency.size < 2:
        raise ValueError(f"Argument `{name}` must have two frequencies or the attribute segment; use `spectrum`.")
    return float(np.min(np.abs(np.diff(frequency))))


def _independent(spec: Any, frequency: NDArray[np.float64], step: float, use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Independent complex amplitudes at each frequency in use: 1, but of a real current 1/2 at 0 and at the Nyquist
    frequency, its own mirror image, and 0 below 0 where the mirror image is in use, too.
    """
    weight = use.astype(float)
    if spec.attrs.get("real_current", 0):
        nyquist = math.pi / spec.attrs["bin_width"] if "bin_width" in spec.attrs else math.inf
        index = np.rint(frequency / step)
        weight[(index < 0) & np.isin(-index, index[use])] = 0
        weight[(index == 0) | (np.abs(np.abs(frequency) - nyquist) < 1e-6 * step)] /= 2
    return weight


def chi2_test(measured: xr.Dataset, expected: Any, *, band: tuple[float, float] | None = None) -> Chi2:
    """Test a measured spectrum against an expected one with the exact law of averaged periodograms.

    With M independent segments a boxcar estimate is distributed as ``expected * Gamma(M) / M`` (real currents
    at w = 0 and at the Nyquist frequency: Gamma(M/2) / (M/2)). Every bin's cumulative probability becomes a
    normal score, and the statistic is the sum of their squares.

    Assumptions: Gaussian Fourier amplitudes (segments long against the correlation time, by the central limit
    theorem); segments independent (same condition); neighbouring frequencies independent, which for the
    boxcar holds up to correlations of O(1/N) in the bins N of a segment; `expected` is the expectation for
    this segment length and bin width (finite time, sinc^2, aliases), not the limit of long records. Of a real
    current a frequency w < 0 is left out where w > 0 repeats it; of a detrended one w = 0 is left out.

    Parameters
    ----------
    measured : xarray.Dataset
        From `spectrum`, window "boxcar"; some of its frequencies may have been selected.
    expected : xarray.Dataset or array_like
        `power(frequency)` at the same frequencies; or an array of them in the same order; or a number.
    band : (float, float), optional
        Use frequencies in this closed interval only.

    Returns
    -------
    Chi2

    Raises
    ------
    ValueError
        If the frequencies differ, `expected` is not positive, or the window is not boxcar.
    """
    from scipy.special import gammainc, gammaincc, ndtri
    from scipy.stats import chi2

    frequency, power = _as_arrays(measured, "measured")
    attrs = measured.attrs
    for needed in ("n_segments", "bin_width") if attrs.get("real_current", 0) else ("n_segments",):
        if needed not in attrs:
            raise ValueError(f"Argument `measured` must have the attribute {needed}, but has not; use `spectrum`.")
    step = _spacing(measured, frequency, "measured")
    if attrs.get("window", "boxcar") != "boxcar":
        raise ValueError(
            f"Argument `measured` must be a spectrum with a boxcar window, but has {attrs['window']!r}: other"
            " windows"
            " correlate neighbouring frequencies."
        )
    if hasattr(expected, "attrs") and hasattr(expected, "data_vars"):
        other, reference = _as_arrays(expected, "expected")
        if other.shape != frequency.shape or np.max(np.abs(other - frequency)) > 1e-6 * step:
            raise ValueError(
                "Argument `expected` must have the frequencies of `measured`, but they differ; evaluate it at"
                " `measured.frequency`."
            )
    else:
        reference = finite(expected, "expected").astype(float)
        if reference.shape not in ((), frequency.shape):
            raise ValueError(
                f"Argument `expected` must have one value per frequency ({frequency.size}), but has shape"
                f" {reference.shape}."
            )
        reference = np.broadcast_to(reference, frequency.shape)
    if not np.all(reference > 0):
        raise ValueError("Argument `expected` must be positive at all frequencies, but is not (the floor is 1).")
    use = _in_band(frequency, band)
    if attrs.get("detrend", 0):
        use &= np.abs(frequency) > 1e-6 * step
    weight = _independent(measured, frequency, step, use)
    use = weight > 0
    m, ratio = attrs["n_segments"] * weight[use], power[use] / reference[use]
    if m.size == 0:
        raise ValueError("Argument `band` must leave at least one independent frequency, but leaves none.")
    # normal scores from whichever tail is small; 1e-300 keeps a hopeless bin's score finite
    lower, upper = gammainc(m, m * ratio), gammaincc(m, m * ratio)
    score = np.where(lower < upper, ndtri(np.maximum(lower, 1e-300)), -ndtri(np.maximum(upper, 1e-300)))
    statistic = float(np.sum(score**2))
    return Chi2(
        statistic=statistic,
        dof=int(m.size),
        pvalue=float(chi2.sf(statistic, m.size)),
        ratio=float(np.sum(m * ratio) / m.sum()),
        ratio_stderr=float(1 / np.sqrt(m.sum())),
    )


def noise_floor(spec: xr.Dataset, *, band: tuple[float, float] | None = None) -> xr.Dataset:
    """Noise floor: the mean power where there is no signal.

    Parameters
    ----------
    spec : xarray.Dataset
        From `spectrum`.
    band : (float, float), optional
        Where only noise is expected. Default: ``|w| >= 3/4`` of the highest frequency, where bins damp
        signals.

    Returns
    -------
    xarray.Dataset
        Scalars `floor` and `floor_stderr` (frequencies counted as independent, up to the taper's
        `bin_correlation`; of a real current, |w| counts once). An ideal detector of any efficiency has floor
        1.

    Raises
    ------
    ValueError
        If `band` holds no frequency.

    Warns
    -----
    TooLittleDataWarning
        If power changes within the band by more than 5 standard errors: it holds signal.
    """
    import xarray as xr

    frequency, power = _as_arrays(spec, "spec")
    use = _in_band(frequency, band)
    if band is None:
        use = np.abs(frequency) >= 0.75 * np.abs(frequency).max()
    relative = _relative_error(spec)
    step = _spacing(spec, frequency, "spec")

    def mean(mask: NDArray[np.bool_]) -> tuple[float, float]:
        value = float(power[mask].mean())
        return value, value * relative / math.sqrt(_independent(spec, frequency, step, mask).sum())

    floor, stderr = mean(use)
    middle = float(np.median(np.abs(frequency[use])))
    inner, outer = use & (np.abs(frequency) < middle), use & (np.abs(frequency) >= middle)
    if inner.sum() > 1 and outer.sum() > 1:
        (x, dx), (y, dy) = mean(inner), mean(outer)
        if abs(x - y) > 5 * math.hypot(dx, dy):
            warnings.warn(
                f"The band of the noise floor holds signal: its halves have the levels {x:.4g}({dx:.1g}) and"
                f" {y:.4g}({dy:.1g}). Give a quieter `band`, or record with narrower bins.",
                TooLittleDataWarning,
                stacklevel=2,
            )
    return xr.Dataset({"floor": floor, "floor_stderr": stderr}, attrs={"n_frequencies": int(use.sum())})


def _relative_error(spec: xr.Dataset) -> float:
    """Relative error of one frequency's power, corrected for the taper: one number, since it is about
    1/√M.
    """
    _, power = _as_arrays(spec, "spec")
    stderr = np.asarray(spec["power_stderr"].values) if "power_stderr" in spec else np.full(power.shape, np.nan)
    known = np.isfinite(stderr) & (power > 0)
    if known.any():
        # root mean square: single standard errors are noisy, and their median is low for few blocks
        relative = math.sqrt(float(np.mean((stderr[known] / power[known]) ** 2)))
    elif "n_segments" in spec.attrs:
        relative = 1 / math.sqrt(spec.attrs["n_segments"])  # the Gamma law's
    else:
        raise ValueError("Argument `spec` must have `power_stderr` or the attribute n_segments, but has neither.")
    return relative * math.sqrt(spec.attrs.get("bin_correlation", 1.0))


@dataclass(frozen=True)
class _Line:
    """A fitted line and the same from bootstrap replicates; `*_resolved` False: too narrow for the
    segments.
    """

    position: float
    height: float  # above the floor
    width: float
    replicates: NDArray[np.float64]  # (replicate, 3): position, height, width
    resolved: bool
    floor: float


def _smooth(power: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    kernel = np.ones(width)
    return np.asarray(np.convolve(power, kernel, "same") / np.convolve(np.ones(power.size), kernel, "same"))


def _deviance(x: NDArray[np.float64], power: NDArray[np.float64], floor: float, c: NDArray[np.float64]) -> float:
    """-log likelihood of one segment's power about floor + 1/q(x); infinite where q <= 0."""
    q = np.polynomial.polynomial.polyval(x, c)
    if not np.all(q > 0):
        return math.inf
    mu = floor + 1 / q
    return float(np.sum(power / mu + np.log(mu)))


def _fit(
    x: NDArray[np.float64], power: NDArray[np.float64], floor: float, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients c of power = floor + 1/q(x), q = sum c_k x^k, by Fisher scoring of the Gamma likelihood.

    A Lorentzian is exactly of this form with q of degree 2; higher powers hold skewness.
    """
    basis = x[:, None] ** np.arange(start.size)

    def deviance(c: NDArray[np.float64]) -> float:
        return _deviance(x, power, floor, c)

    c = start
    best = deviance(c)
    for _ in range(40):
        q = basis @ c
        mu = floor + 1 / q
        step = np.linalg.lstsq(basis * (-1 / (q**2 * mu))[:, None], (power - mu) / mu, rcond=None)[0]
        scale = 1.0
        while scale > 1e-4 and not deviance(c + scale * step) <= best:
            scale /= 2
        if scale <= 1e-4:
            break
        c = c + scale * step
        new = deviance(c)
        if best - new < 1e-10 * x.size:
            break
        best = new
    return c


def _read_off(c: NDArray[np.float64], low: float, high: float) -> tuple[float, float, float]:
    """Maximum of 1/q in [low, high], its height, and the full width at half of it (NaN if a side has no
    crossing).
    """
    polynomial: Any = np.polynomial.Polynomial(c)
    roots = polynomial.deriv().roots()
    inner = [float(r.real) for r in roots if abs(r.imag) < 1e-9 and low < r.real < high]
    top = min([low, high, *inner], key=lambda v: float(polynomial(v)))
    least = float(polynomial(top))
    crossings = [float(r.real) for r in (polynomial - 2 * least).roots() if abs(r.imag) < 1e-9]
    reach = 0.3 * (high - low)  # the fit may be trusted a little beyond its region
    left = [r for r in crossings if low - reach <= r < top]
    right = [r for r in crossings if top < r <= high + reach]
    return top, 1 / least, min(right) - max(left) if left and right else math.nan


def _line(spec: xr.Dataset, band: tuple[float, float] | None, floor: float | None, seed: int) -> _Line:
    frequency, power = _as_arrays(spec, "spec")
    level = float(noise_floor(spec)["floor"]) if floor is None else float(floor)
    relative = max(_relative_error(spec), float(np.finfo(float).eps))  # powers without scatter are rounded still
    step = _spacing(spec, frequency, "spec")
    inside = _in_band(frequency, band)
    nothing = _Line(math.nan, math.nan, math.nan, np.full((2, 3), np.nan), False, level)
    # powers of a size that has a square, by a power of two, which leaves every digit as it is
    unit = 2.0 ** float(np.frexp(max(power.max(), level))[1] - 1)
    power, level = power / unit, level / unit

    # smooth no more than it takes to see the line's outline in the noise
    width = 1
    while True:
        smooth = _smooth(power, width)
        top = int(np.flatnonzero(inside)[np.argmax(smooth[inside])])
        height = smooth[top] - level
        noise = relative * (level + 0.3 * max(height, 0)) / math.sqrt(width)
        if noise < 0.1 * height:
            break
        width = 2 * width + 1
        if width > min(max(3, frequency.size // 8), frequency.size):
            warnings.warn(
                "No line stands clear of the noise: its outline cannot be told at any smoothing. Average more"
                " segments, or give `band`.",
                TooLittleDataWarning,
                stacklevel=4,
            )
            return nothing
    above = smooth > level + 0.3 * height
    first = top - int(np.argmin(above[top::-1])) + 1 if not above[: top + 1].all() else 0
    last = top + int(np.argmin(above[top:])) - 1 if not above[top:].all() else frequency.size - 1
    points = slice(first, last + 1)
    if last + 1 - first < 6:
        warnings.warn(
            f"The line at {frequency[top]:.4g} is not resolved: only {last + 1 - first} frequencies lie on"
            f" it, {step:.3g}"
            " apart. Its position is uncertain by that spacing and its width is not known; use a longer"
            " `segment`.",
            TooLittleDataWarning,
            stacklevel=4,
        )
        replicates = np.full((2, 3), np.nan)
        # a uniform law over one spacing has the standard deviation 1/sqrt(12)
        replicates[:, 0] = frequency[top] + step / math.sqrt(24) * np.array([-1, 1])
        return _Line(float(frequency[top]), float(height) * unit, math.nan, replicates, False, level * unit)
    centre, scale = (frequency[first] + frequency[last]) / 2, (frequency[last] - frequency[first]) / 2
    x = (frequency[points] - centre) / scale
    # start from a parabola in 1/(smoothed power), which is positive on the region by its choice
    y = 1 / (smooth[points] - level)
    c = np.linalg.lstsq((x[:, None] ** np.arange(3)) / y[:, None], np.ones(x.size), rcond=None)[0]
    if not math.isfinite(_deviance(x, power[points], level, c)):
        c = np.array([float(np.median(y)), 0.0, 0.0])
    # as many powers of x as the data ask for (Akaike): two hold a Lorentzian, the rest its skewness
    fits = []
    for order in range(2, min(10, x.size // 3) + 1, 2):
        c = _fit(x, power[points], level, np.pad(c, (0, order + 1 - c.size)))
        fits.append((_deviance(x, power[points], level, c) / relative**2 + order, c))
    c = min(fits, key=lambda fit: fit[0])[1]
    position, top_height, full_width = _read_off(c, -1.0, 1.0)
    rng = np.random.default_rng(seed)
    mu = level + 1 / np.polynomial.Polynomial(c)(x)
    replicates = np.empty((_REPLICATES, 3))
    for i in range(_REPLICATES):
        # the Gamma law with the relative error that was measured
        drawn = mu * rng.gamma(relative**-2, relative**2, x.size)
        replicates[i] = _read_off(_fit(x, drawn, level, c), -1.0, 1.0)
    replicates *= [scale, unit, scale]
    replicates[:, 0] += centre
    return _Line(centre + scale * position, top_height * unit, scale * full_width, replicates, True, level * unit)


def peak(
    spec: xr.Dataset, *, band: tuple[float, float] | None = None, floor: float | None = None, seed: int = 0
) -> xr.Dataset:
    """Position and height of the highest line.

    Where the power (smoothed as little as the noise allows) exceeds 30 % of the line's height,
    ``floor + 1/q(w)`` is fitted with the Gamma likelihood, q a polynomial of degree 2 (a Lorentzian) to 10,
    the degree chosen by Akaike's criterion: skewed lines need more. The errors come from a parametric
    bootstrap, the fit times Gamma noise of the measured relative error; they do not hold the choice of the
    degree.

    Parameters
    ----------
    spec : xarray.Dataset
        From `spectrum`.
    band : (float, float), optional
        Look for the maximum in this closed interval only.
    floor : float, optional
        Noise floor. Default: `noise_floor(spec)`; 1 for ideal detectors.
    seed : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        Scalars `position`, `position_stderr` (angular frequency), `height`, `height_stderr` (above the floor)
        and attrs resolved (0 or 1), floor. Of a line narrower than the resolution, position_stderr is the
        spacing / sqrt(12) and height_stderr NaN.

    Raises
    ------
    ValueError
        If `band` holds no frequency, or `spec` is no spectrum.

    Warns
    -----
    TooLittleDataWarning
        If no line stands out (values are NaN) or it is not resolved.
    """
    import xarray as xr

    line = _line(spec, band, floor, seed)
    return xr.Dataset(
        {
            "position": line.position,
            "position_stderr": float(np.std(line.replicates[:, 0], ddof=1)),
            "height": line.height,
            "height_stderr": line.height * float(np.std(line.replicates[:, 1] / line.height, ddof=1)),
        },
        attrs={"resolved": int(line.resolved), "floor": line.floor},
    )


def linewidth(
    spec: xr.Dataset, *, band: tuple[float, float] | None = None, floor: float | None = None, seed: int = 0
) -> xr.Dataset:
    """Full width at half maximum above the floor of the highest line.

    Fit, arguments, errors and warnings as for `peak`. Segments of length T broaden a line by about 2 pi / T,
    which is not corrected for.

    Returns
    -------
    xarray.Dataset
        Scalars `width`, `width_stderr` (angular frequency); NaN if the line is not resolved, or one of its
        sides does not fall to half of its height. attrs: resolved, floor.
    """
    import xarray as xr

    line = _line(spec, band, floor, seed)
    usable = line.replicates[np.isfinite(line.replicates[:, 2]), 2]
    enough = usable.size >= 0.95 * line.replicates.shape[0] and math.isfinite(line.width)
    if line.resolved and not enough:
        warnings.warn(
            "The line does not fall to half of its height on both sides within the noise: no width. Average"
            " more"
            " segments, or look at the two lines that overlap here one by one.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    return xr.Dataset(
        {
            "width": line.width if enough else math.nan,
            "width_stderr": float(np.std(usable, ddof=1)) if enough else math.nan,
        },
        attrs={"resolved": int(line.resolved), "floor": line.floor},
    )


def frequency_entrainment(
    spec_a: xr.Dataset,
    spec_b: xr.Dataset,
    *,
    band_a: tuple[float, float] | None = None,
    band_b: tuple[float, float] | None = None,
    floor: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Difference of the positions of two lines, ``w_A - w_B``, with its error.

    The two positions' errors are added in squares, which takes the fluctuations of the two periodograms as
    independent; of two currents from the same run this holds where their coherence is small, and else errs on
    either side.

    Parameters
    ----------
    spec_a, spec_b : xarray.Dataset
        From `spectrum`.
    band_a, band_b, floor, seed
        As for `peak`.

    Returns
    -------
    xarray.Dataset
        Scalars `difference`, `difference_stderr`, `position_a`, `position_b` and their `_stderr`.
    """
    import xarray as xr

    a, b = (
        peak(spec_a, band=band_a, floor=floor, seed=seed),
        peak(spec_b, band=band_b, floor=floor, seed=seed + 1),
    )
    da, db = float(a["position_stderr"]), float(b["position_stderr"])
    return xr.Dataset(
        {
            "difference": float(a["position"]) - float(b["position"]),
            "difference_stderr": math.hypot(da, db),
            "position_a": float(a["position"]),
            "position_a_stderr": da,
            "position_b": float(b["position"]),
            "position_b_stderr": db,
        }
    )
