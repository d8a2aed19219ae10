"""The law of the phase difference of two filtered heterodyne currents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from ..memory import in_bytes
from ..systems.basis import Basis
from ..systems.husimi import PHASES, phase_dataset
from ..systems.system import LoweredSystem, System
from ..systems.unconditional import Sectors, expectation, resolvent
from ..unravelings import Unraveling
from . import cache as disk
from .arguments import detectors, positive, prepare
from .filtered import Hierarchy
from .harmonics import covariance, gaussian_harmonics, summed_harmonics

if TYPE_CHECKING:
    import xarray

#: Changes whenever the numbers that are cached would.
VERSION = "filtered moments 1"
#: Orders tried in turn until the series has converged.
ORDERS = (4, 6, 8, 10, 12)


def phase_distribution(
    system: System | LoweredSystem,
    unraveling: Unraveling,
    window: float,
    *,
    kind: Literal["boxcar", "exponential"] = "boxcar",
    channels: Sequence[str] | None = None,
    basis: Basis | None = None,
    order: int | None = None,
    tolerance: float = 2e-4,
    harmonics: int = 24,
    phases: int | Any = PHASES,
    max_memory: str | float = "4 GiB",
    cache: bool = True,
) -> xarray.Dataset:
    """Exact distribution of ``φ = arg(Z_B/Z_A)`` of filtered currents ``Z = ∫f* I dt``, in the steady state.

    The pair (Z_A, Z_B) is distributed as the Husimi function of the state of the two filtered output
    modes, whatever happens in other channels ([T] section 4.1).  That state follows from the
    system's master equation, `filtered.Hierarchy`; efficiencies act on it as losses.  With
    ``α = re^{−iφ}`` this is the φ_AB = φ_A − φ_B of `systems.phase_distribution`, which it approaches
    only for a window of the order of the coherence time.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    unraveling : Unraveling
        With two recorded heterodyne detectors, A and B in this order.
    window : float
        Boxcar: its length τ.  Exponential: 1/G of the filter ``√G e^{−Gs/2}`` (s into the past).
        ``np.inf``: the complex Gaussian limit of long windows.
    kind : {"boxcar", "exponential"}
        Filter.
    channels : two str, optional
        Which detectors are A and B, if there are more or the order is to change.
    basis : Basis, optional
        Basis to lower the system to.
    order : int, optional
        Highest number of quanta per side kept of the filtered modes' moments, ≥ 3; by default raised
        until the estimated error of all q_k is below `tolerance` of the largest.
    tolerance : float
        See `order`.
    harmonics : int
        K, number of harmonics.
    phases : int or array_like
        Number of points of the grid in (−π, π], or the points.
    max_memory : str or float
        Refuse what needs more.
    cache : bool
        Keep the moments on disk (``$BACKACTION_CACHE``, else ``~/.cache/backaction``).

    Returns
    -------
    xarray.Dataset
        ``density(phase)`` in 1/rad and ``q(harmonic)``, ``q_k = E[e^{−ikφ}]``; attrs ``window``, ``kind``,
        ``order``, ``truncation_error`` (of the q_k), ``n_a``, ``n_b`` (quanta in the filtered modes as
        detected), ``efficiency``.

    Raises
    ------
    ValueError
        If an argument does not fit, or more than `max_memory` is needed.
    """
    lowered, sectors, rho = prepare(system, unraveling, basis)
    watched = detectors(unraveling, ("heterodyne",), 2, channels, "channels")
    L_a, L_b = (lowered.channels[d.channels[0]] for d in watched)
    efficiencies = [d.efficiency for d in watched]
    if kind not in ("boxcar", "exponential"):
        raise ValueError(f'Argument `kind` must be "boxcar" or "exponential", but is {kind!r}.')
    if not (isinstance(harmonics, (int, np.integer)) and harmonics >= 1):
        raise ValueError(f"Argument `harmonics` must be an integer >= 1, but is {harmonics!r}.")
    if order is not None and not (isinstance(order, (int, np.integer)) and 3 <= order <= 20):
        raise ValueError(f"Argument `order` must be an integer from 3 to 20, but is {order!r}.")
    attrs: dict[str, Any] = {"channels": [d.name for d in watched], "efficiency": efficiencies}
    if not (isinstance(tolerance, Real) and tolerance > 0):
        raise ValueError(f"Argument `tolerance` must be > 0, but is {tolerance!r}.")
    window = math.inf if isinstance(window, Real) and window == math.inf else positive(window, "window")
    attrs |= {"kind": kind, "window": window}
    if window == math.inf:
        N = _detected_flux(sectors, rho, (L_a, L_b), efficiencies)
        r = N[0, 1] / math.sqrt((1 + N[0, 0].real) * (1 + N[1, 1].real))
        attrs |= {"n_a": N[0, 0].real, "n_b": N[1, 1].real}
        return phase_dataset(gaussian_harmonics(r, harmonics), phases, **attrs)
    limit = in_bytes(max_memory)
    for attempt in (order,) if order is not None else ORDERS:
        hierarchy = Hierarchy(sectors, rho, (L_a, L_b), int(attempt))
        moments = _moments(hierarchy, kind, window, limit, cache)
        moments = moments * _loss(efficiencies, moments.shape[0])
        q, error = summed_harmonics(moments, int(harmonics))
        if error <= tolerance * np.abs(q).max() + 1e-10:
            break
    else:
        if order is None:
            warnings.warn(
                f"The phase distribution has an estimated error of {error:.1e} in its harmonics after "
                f"{attempt} orders; shorten `window`, or lower the efficiency.",
                stacklevel=2,
            )
    N = covariance(moments)
    attrs |= {"order": attempt, "truncation_error": error, "n_a": N[0, 0].real, "n_b": N[1, 1].real}
    return phase_dataset(q, phases, **attrs)


def _moments(hierarchy: Hierarchy, kind: str, window: float, limit: float, cache: bool) -> np.ndarray:
    if hierarchy.memory > limit:
        raise ValueError(
            f"Argument `max_memory` must be at least {hierarchy.memory / 2**30:.2f} GiB for order "
            f"{hierarchy.order} ({hierarchy.size} complex numbers in the hierarchy), but is "
            f"{limit / 2**30:.2f} GiB; raise it, lower `order`, use fewer levels, or kind='exponential'."
        )

    def compute() -> np.ndarray:
        return hierarchy.moments(getattr(hierarchy, kind)(window))

    if not cache:
        return compute()
    parts = [hierarchy.sectors.generator, *hierarchy.channels, kind, window, hierarchy.order]
    return disk.cached(f"filtered-{disk.key(VERSION, parts)}", compute)


def _loss(efficiencies: Sequence[float], size: int) -> np.ndarray:
    """√η^{m+n} per mode: what a loss does to normally ordered moments."""
    a, b = (np.sqrt(eta) ** np.arange(size) for eta in efficiencies)
    return np.einsum("i,j,k,l->ijkl", a, b, a, b)


def _detected_flux(
    sectors: Sectors,
    rho: np.ndarray,
    channels: tuple[sp.csr_array, sp.csr_array],
    efficiencies: Sequence[float],
) -> np.ndarray:
    """√(η_iη_j) ∫dτ ⟨L_j†(t+τ)L_i(t)⟩, (2, 2): quanta and coherence per mode in the long-window limit."""
    for name, L in zip("AB", channels, strict=True):
        if abs(expectation(L, rho)) > 1e-8:
            raise ValueError(
                f"Argument `window` must be finite when a detector's mean current is not zero ({name}: "
                f"{expectation(L, rho):.3g}): the phase becomes definite."
            )

    def half(i: int, j: int) -> complex:  # ∫₀^∞ ⟨L_j†(τ) L_i(0)⟩
        source = (channels[i] @ rho).ravel()
        return complex(resolvent(sectors, source, channels[j].toarray().conj().ravel(), [0.0])[0])

    root = np.sqrt(efficiencies)
    flux = [[half(i, j) + half(j, i).conjugate() for j in range(2)] for i in range(2)]
    return np.outer(root, root) * np.array(flux)
