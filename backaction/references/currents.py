"""Second moments of a measured current: correlations of its bins, and its averaged periodogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..systems.basis import Basis
from ..systems.system import LoweredSystem, System
from ..systems.unconditional import Sectors, resolvent
from ..unravelings import Detector, Unraveling
from .arguments import detectors, positive, prepare
from .propagation import evolve, phi_functions

if TYPE_CHECKING:
    import xarray


class _Current(NamedTuple):
    """``E[I*(t)I(t+s)] = δ(s) + η f·e^{𝓛s}r`` of one detector, with r and f as vectors."""

    name: str
    efficiency: float
    source: np.ndarray
    functional: np.ndarray
    mean: complex
    sectors: Sectors
    rho: np.ndarray


def _current(
    system: System | LoweredSystem, unraveling: Unraveling, channel: str | None, basis: Basis | None
) -> tuple[_Current, Detector]:
    lowered, sectors, rho = prepare(system, unraveling, basis)
    (detector,) = detectors(unraveling, ("homodyne", "heterodyne"), 1, channel, "channel")
    L = lowered.channels[detector.channels[0]]
    if detector.kind == "heterodyne":
        source = rho @ L.conj().T  # ⟨L†(t) L(t+s)⟩ = Tr[L e^{𝓛s}(ρL†)]
        signal = L
    else:
        (phase,) = detector.phase_at([0.0])  # constant: `detectors` refuses others
        c = np.exp(-1j * phase) * L
        source = c @ rho + rho @ c.conj().T  # the measured part of X = c + c†, [T] (3.13)
        signal = c + c.conj().T
    functional = signal.toarray().T.ravel()  # Tr[AX] = Σ A_ji X_ij
    mean = np.sqrt(detector.efficiency) * complex(functional @ rho.ravel())
    current = _Current(detector.name, detector.efficiency, np.asarray(source).ravel(), functional, mean, sectors, rho)
    return current, detector


def _bin_correlations(current: _Current, bin_width: float, count: int) -> np.ndarray:
    """C_j = E[I_k* I_{k+j}] of bin averages, j = 0 ... count − 1; C_0 with the shot noise 1/Δ."""
    members = current.sectors.around(current.source)
    out = np.zeros(count, dtype=complex)
    if members.size:
        block = current.sectors.block(members)
        source, functional = current.source[members], current.functional[members]
        once, twice = phi_functions(block, source, bin_width)
        out[0] = 2 * np.real(functional @ twice)
        if count > 1:  # averages over both bins: φ₁(𝓛Δ)² e^{𝓛(j−1)Δ}
            both, _ = phi_functions(block, once, bin_width)
            out[1:] = evolve(block, both, functional, bin_width, count - 1)
    out *= current.efficiency
    out[0] += 1 / bin_width
    return out


def measured_covariance(
    system: System | LoweredSystem,
    unraveling: Unraveling,
    lags: int,
    *,
    bin_width: float,
    channel: str | None = None,
    basis: Basis | None = None,
) -> xarray.Dataset:
    """Exact second moments ``C_j = E[I_k* I_{k+j}]`` of a bin-averaged current in the steady state.

    For j ≥ 1, ``C_j = η (1/Δ²)∫∫⟨L†(t)L(t')⟩`` over the two bins (homodyne: of ``e^{−iφ}L + h.c.``, normally
    and time ordered); C_0 has the shot noise 1/Δ too.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    unraveling : Unraveling
        With a homodyne or heterodyne detector.
    lags : int
        Number of lags, j = 0 ... lags − 1.
    bin_width : float
        Δ.
    channel : str, optional
        Which detector, if there are several.
    basis : Basis, optional
        Basis to lower the system to.

    Returns
    -------
    xarray.Dataset
        ``moment(lag)``: C_j; ``covariance(lag)``: ``C_j − |E I|²``; ``mean``: E I.  Coordinate ``lag`` = jΔ.
    """
    import xarray as xr

    if not (isinstance(lags, (int, np.integer)) and lags >= 1):
        raise ValueError(f"Argument `lags` must be an integer >= 1, but is {lags!r}.")
    bin_width = positive(bin_width, "bin_width")
    current, detector = _current(system, unraveling, channel, basis)
    C = _bin_correlations(current, bin_width, int(lags))
    mean: Any = current.mean
    if detector.kind == "homodyne":
        C, mean = C.real, mean.real
    return xr.Dataset(
        {"moment": ("lag", C), "covariance": ("lag", C - abs(mean) ** 2), "mean": ((), mean)},
        coords={"lag": bin_width * np.arange(lags)},
        attrs={"channel": current.name, "detector": detector.kind, "bin_width": bin_width,
               "efficiency": current.efficiency},
    )  # fmt: skip


def measured_spectrum(
    system: System | LoweredSystem,
    unraveling: Unraveling,
    frequencies: Any = None,
    *,
    duration: float,
    bin_width: float,
    channel: str | None = None,
    window: str | Any = "boxcar",
    basis: Basis | None = None,
) -> xarray.Dataset:
    """Exact expectation of the averaged periodogram of a bin-averaged current in the steady state.

    ``P(ω) = E|Δ Σ_k w_k I_k e^{iωt_k}|² / (Δ Σ_k w_k²)`` for segments of N bins: finite record, finite bin
    (with aliases), efficiency and mean current all included.  Its limit for long records and short
    bins, ``power_stationary``, is ``1 + ηS(ω)`` with S of `systems.spectrum` for L, rate included (for
    homodyne of ``⟨:x(t+τ)x(t):⟩``); there the line at ω = 0 of a mean current is left out.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    unraveling : Unraveling
        With a homodyne or heterodyne detector.
    frequencies : array_like, optional
        Angular frequencies; by default 2πk/`duration`, two-sided and ascending.
    duration : float
        Length of a segment, a whole number of bins.
    bin_width : float
        Δ.
    channel : str, optional
        Which detector, if there are several.
    window : str or array_like, (N,)
        Taper: a name for `scipy.signal.get_window`, or its values w_k.
    basis : Basis, optional
        Basis to lower the system to.

    Returns
    -------
    xarray.Dataset
        ``power(frequency)`` and ``power_stationary(frequency)``, floor 1; ``frequency`` is angular.
    """
    import xarray as xr

    bin_width, duration = positive(bin_width, "bin_width"), positive(duration, "duration")
    n = round(duration / bin_width)
    if n < 1 or abs(n * bin_width - duration) > 1e-6 * bin_width:
        raise ValueError(
            f"Argument `duration` must be a whole number of bins of {bin_width}, but is {duration} = "
            f"{duration / bin_width:.6g} bins."
        )
    weights = _taper(window, n)
    current, detector = _current(system, unraveling, channel, basis)
    C = _bin_correlations(current, bin_width, n)
    overlap = np.correlate(weights, weights, mode="full")[n - 1 :]  # Σ_k w_k w_{k+j}
    terms = C * overlap
    if frequencies is None:
        omega = 2 * np.pi * np.fft.fftshift(np.fft.fftfreq(n, bin_width))
        sums = np.fft.fftshift(np.fft.ifft(terms)) * n
    else:
        omega = np.atleast_1d(np.asarray(frequencies, dtype=float))
        if omega.ndim != 1 or not np.all(np.isfinite(omega)):
            raise ValueError("Argument `frequencies` must be a one-dimensional array of finite numbers.")
        sums = np.array([np.exp(1j * w * bin_width * np.arange(n)) @ terms for w in omega])
    power = bin_width / overlap[0] * (2 * np.real(sums) - terms[0].real)
    return xr.Dataset(
        {"power": ("frequency", power), "power_stationary": ("frequency", _stationary(current, omega))},
        coords={"frequency": ("frequency", omega, {"long_name": "angular frequency"})},
        attrs={"channel": current.name, "detector": detector.kind, "efficiency": current.efficiency,
               "duration": duration, "bin_width": bin_width,
               "window": window if isinstance(window, str) else "custom"},
    )  # fmt: skip


def _taper(window: str | Any, n: int) -> np.ndarray:
    if isinstance(window, str):
        from scipy.signal import get_window

        try:
            return get_window(window, n)
        except ValueError as error:
            raise ValueError(f"Argument `window` must be one of scipy.signal, but is {window!r}.") from error
    weights = np.asarray(window, dtype=float)
    if weights.shape != (n,) or not np.all(np.isfinite(weights)) or not weights.any():
        raise ValueError(
            f"Argument `window` must have one finite value per bin, shape ({n},), but has {weights.shape}."
        )
    return weights


def _stationary(current: _Current, frequencies: np.ndarray) -> np.ndarray:
    """1 + η·2Re ∫₀^∞ds e^{iωs} f·e^{𝓛s}(r − stationary part)."""
    trace = current.source[current.sectors.diagonal].sum()
    fluctuating = current.source - trace * current.rho.ravel()
    fluctuating[abs(fluctuating) < 1e-15 * abs(current.source).max()] = 0
    values = resolvent(current.sectors, fluctuating, current.functional, -frequencies)
    return 1 + 2 * current.efficiency * values.real
