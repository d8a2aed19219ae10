"""Husimi distributions of phases and phase differences, for bosons and spins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln

from .algebra import Boson, Site, Spin
from .basis import Basis
from .system import LoweredSystem, System
from .unconditional import lower, steady_state

if TYPE_CHECKING:
    import xarray

#: Points of the phase grid.
PHASES = 181


def reduced_state(lowered: LoweredSystem, rho: np.ndarray, sites: Sequence[str]) -> tuple[list[Site], np.ndarray]:
    """Reduced density matrix of some sites.

    Returns
    -------
    sites : list of Site
        In the order asked for.
    rho : ndarray, (n_1, ..., n_s, n_1, ..., n_s)
        Row indices first.
    """
    names = [s.name for s in lowered.basis.sites]
    for name in sites:
        if name not in names:
            known = names or "none (it holds matrices)"
            raise ValueError(f"Argument `sites` must name sites of the system, {known}, but has {name!r}.")
    picked = [names.index(name) for name in sites]
    rest = [i for i in range(len(names)) if i not in picked]
    occupations, dims = lowered.basis.occupations, lowered.basis.dims
    shape = tuple(dims[i] for i in picked)
    row = np.ravel_multi_index(tuple(occupations[:, picked].T), shape)
    _, others = np.unique(occupations[:, rest], axis=0, return_inverse=True)
    others = others.ravel()
    out = np.zeros((int(np.prod(shape)),) * 2, dtype=complex)
    for value in range(others.max() + 1):
        index = np.flatnonzero(others == value)
        out[np.ix_(row[index], row[index])] += rho[np.ix_(index, index)]
    return [lowered.basis.sites[i] for i in picked], out.reshape(shape + shape)


def husimi_phase_operator(site: Site, levels: int, harmonic: int) -> np.ndarray:
    """E_k with ``Tr[E_k ρ] = q_k = E[e^{−ikφ}]`` over the Husimi function of one site.

    Bosons: ``α = re^{−iφ}``, ``E_k = Σ_n Γ(n + k/2 + 1)/√(n!(n+k)!) |n⟩⟨n+k|``, [T] (4.11).
    Spins: Husimi function of the spin-coherent states |θ, φ⟩ with ``⟨S₊⟩ = J sin θ e^{iφ}``,
    ``E_k = Σ_n (N+1)√(C(N,n)C(N,n+k)) B(n+k/2+1, N−n−k/2+1) |n⟩⟨n+k|``, N = 2J, n = J + m.

    Returns
    -------
    ndarray, (levels, levels)
    """
    n = np.arange(levels - harmonic, dtype=float)
    m = n + harmonic
    middle = 0.5 * (n + m)
    if isinstance(site, Boson):
        values = np.exp(gammaln(middle + 1) - 0.5 * (gammaln(n + 1) + gammaln(m + 1)))
        return np.diag(values, harmonic)
    if isinstance(site, Spin):
        N = levels - 1
        binomials = 2 * gammaln(N + 1) - sum(gammaln(x + 1) + gammaln(N - x + 1) for x in (n, m))
        beta = gammaln(middle + 1) + gammaln(N - middle + 1) - gammaln(N + 2)
        values = (N + 1) * np.exp(0.5 * binomials + beta)
        return np.diag(values[::-1], -harmonic)  # level 0 is m = +J
    raise ValueError(
        f"Argument `sites` must name bosons or spins, which have a Husimi phase, but {site.name!r} is a "
        f"{type(site).__name__} site."
    )


def phase_density(q: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """``Q(φ) = (1/2π)[1 + 2 Re Σ_{k≥1} q_k e^{ikφ}]`` from its harmonics q_1, q_2, ..."""
    k = np.arange(1, len(q) + 1)
    return (1 + 2 * np.real(np.exp(1j * np.outer(phases, k)) @ q)) / (2 * np.pi)


def phase_grid(phases: int | Any = PHASES) -> np.ndarray:
    """Grid in (−π, π]: a number of points, or the points themselves."""
    if isinstance(phases, (int, np.integer)):
        if phases < 1:
            raise ValueError(f"Argument `phases` must be an array or a number >= 1, but is {phases}.")
        return np.pi * (2 * np.arange(1, phases + 1) / phases - 1)
    grid = np.asarray(phases, dtype=float)
    if grid.ndim != 1 or not np.all(np.isfinite(grid)):
        raise ValueError("Argument `phases` must be a number or a one-dimensional array of finite angles.")
    return grid


def phase_dataset(q: np.ndarray, phases: int | Any, **attrs: Any) -> xarray.Dataset:
    """Labelled distribution: ``density(phase)`` and ``q(harmonic)``."""
    import xarray as xr

    grid = phase_grid(phases)
    return xr.Dataset(
        {
            "density": ("phase", phase_density(q, grid), {"units": "1/rad"}),
            "q": ("harmonic", q, {"long_name": "E[exp(-i k phase)]"}),
        },
        coords={"phase": ("phase", grid, {"units": "rad"}), "harmonic": np.arange(1, len(q) + 1)},
        attrs=attrs,
    )


def phase_distribution(
    system: System | LoweredSystem,
    sites: Sequence[str] | str,
    *,
    state: np.ndarray | None = None,
    basis: Basis | None = None,
    phases: int | Any = PHASES,
) -> xarray.Dataset:
    """Husimi distribution of a phase, or of the phase difference of two sites, [T] (4.11), (4.35).

    Phases are those of ``α = re^{−iφ}`` for bosons and of ``⟨S₊⟩ ∝ e^{iφ}`` for spins; the difference
    is ``φ_AB = φ_A − φ_B``.  ``Q(φ) = (1/2π)[1 + 2 Re Σ q_k e^{ikφ}]``, ``q_k = E[e^{−ikφ}]``; in a
    truncated basis the sum is finite and exact.

    Parameters
    ----------
    system : System or LoweredSystem
        A system with named sites, constant in time (of another, ``system.lower().at(t)`` goes with a `state`).
    sites : str or sequence of str
        One site, or two for the difference; bosons or spins.
    state : ndarray, (d, d), optional
        Density matrix; the steady state by default.
    basis : Basis, optional
        Basis to lower the system to.
    phases : int or array_like
        Number of points of the grid in (−π, π], or the points.

    Returns
    -------
    xarray.Dataset
        ``density(phase)`` in 1/rad, ``q(harmonic)``.
    """
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    if len(names) not in (1, 2) or len(set(names)) != len(names):
        raise ValueError(f"Argument `sites` must name one site or two different ones, but is {sites!r}.")
    lowered = lower(system, basis)
    rho = steady_state(lowered) if state is None else lowered.state(state)
    if rho.ndim == 1:
        rho = np.outer(rho, rho.conj())
    found, rho = reduced_state(lowered, rho, names)
    if len(found) == 1:
        levels = rho.shape[0]
        q = [np.sum(husimi_phase_operator(found[0], levels, k) * rho.T) for k in range(1, levels)]
    else:
        n_a, n_b = rho.shape[:2]
        q = [
            np.einsum(
                "ij,kl,jlik->",
                husimi_phase_operator(found[0], n_a, k),
                husimi_phase_operator(found[1], n_b, k).conj().T,
                rho,
                optimize=True,
            )
            for k in range(1, min(n_a, n_b))
        ]
    return phase_dataset(np.array(q, dtype=complex), phases, kind="husimi", sites=list(names))
