"""What nobody's record changes: steady states, spectra and Husimi phase distributions.

Operators ρ are vectors by *row stacking*, ``vec(ρ) = ρ.reshape(-1)``, so that ``AρB ↔ (A ⊗ Bᵀ) vec(ρ)``.
(QuTiP stacks columns; `tests/systems/test_unconditional.py` compares.)  A weak symmetry of the
Liouvillian, such as a conserved U(1) charge, shows in its graph: matrix elements of ρ that never
exchange anything fall into separate connected components.  Everything here works on the components
that matter, which is exact, needs no declaration, and makes two van der Pol oscillators cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, onenormest, splu
from scipy.special import gammaln

from .algebra import Boson, Site, Spin
from .basis import Basis
from .system import LoweredSystem, System

if TYPE_CHECKING:
    import xarray

#: An eigenvalue of 𝓛 below this fraction of ‖𝓛‖₁ counts as zero.
SINGULAR = 1e-13
#: Points of the phase grid.
PHASES = 181


def left(operator: sp.csr_array) -> sp.csr_array:
    """Superoperator ρ → Aρ, (d², d²)."""
    return sp.kron(operator, sp.eye_array(operator.shape[0]), format="csr")


def right(operator: sp.csr_array) -> sp.csr_array:
    """Superoperator ρ → ρA, (d², d²)."""
    return sp.kron(sp.eye_array(operator.shape[0]), operator.T, format="csr")


def liouvillian(lowered: LoweredSystem) -> sp.csr_array:
    """Liouvillian of ``dρ/dt = −i[H, ρ] + Σ D[L]ρ``, as a sparse matrix.

    Parameters
    ----------
    lowered : LoweredSystem
        System in a definite basis, `System.lower`.

    Returns
    -------
    csr_array, (d², d²)
        Acts on ρ by row stacking, ``(𝓛 @ ρ.reshape(-1)).reshape(d, d)``.
    """
    drift = -1j * lowered.H
    for L in lowered.channels.values():
        drift = drift - 0.5 * (L.conj().T @ L)
    out = left(drift) + right(drift.conj().T)
    for L in lowered.channels.values():
        out = out + sp.kron(L, L.conj(), format="csr")
    out = sp.csr_array(out)
    out.sum_duplicates()
    out.eliminate_zeros()
    return out


@dataclass(frozen=True, eq=False)
class Sectors:
    """Connected components of a Liouvillian's graph: what a weak symmetry leaves separate.

    Attributes
    ----------
    generator : csr_array, (d², d²)
        Liouvillian, row stacking.
    labels : ndarray of int, (d²,)
        Component of each matrix element of ρ.
    """

    generator: sp.csr_array
    labels: np.ndarray

    @classmethod
    def of(cls, lowered: LoweredSystem) -> Sectors:
        """Components of a lowered system's Liouvillian."""
        generator = liouvillian(lowered)
        return cls(generator, connected_components(abs(generator), directed=False)[1])

    @property
    def dim(self) -> int:
        """Hilbert-space dimension d."""
        return int(np.sqrt(len(self.labels)).round())

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Positions of ρ's diagonal in vec(ρ)."""
        return np.arange(self.dim) * (self.dim + 1)

    @cached_property
    def _by_label(self) -> list[np.ndarray]:
        order = np.argsort(self.labels, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)

    def members(self, labels: np.ndarray) -> np.ndarray:
        """Sorted positions of all elements in the components `labels`."""
        return np.sort(np.concatenate([self._by_label[i] for i in np.unique(labels)]))

    def around(self, vectors: np.ndarray) -> np.ndarray:
        """Sorted positions of the components in which any of the vectors (d², ...) is non-zero."""
        touched = np.flatnonzero(np.any(vectors.reshape(len(self.labels), -1) != 0, axis=1))
        return self.members(self.labels[touched]) if touched.size else touched

    def block(self, members: np.ndarray) -> sp.csr_array:
        """Liouvillian restricted to the given elements (a union of components)."""
        return self.generator[members][:, members]

    def transposed(self) -> np.ndarray:
        """Position of ρ_ji for each ρ_ij."""
        return np.arange(self.dim**2).reshape(self.dim, self.dim).T.ravel()

    def without_diagonal(self) -> Iterator[np.ndarray]:
        """Components that do not touch the diagonal, one of each Hermitian-conjugate pair."""
        conjugate = self.labels[self.transposed()]
        with_diagonal = set(self.labels[self.diagonal])
        for label, members in enumerate(self._by_label):
            if label not in with_diagonal and label <= conjugate[members[0]]:
                yield members


def lower(system: System | LoweredSystem, basis: Basis | None = None) -> LoweredSystem:
    """The lowered system, whichever of the two is given."""
    if isinstance(system, LoweredSystem):
        if basis is not None:
            raise ValueError("Argument `basis` must be left out for a system that is already lowered to one.")
        return system
    if not isinstance(system, System):
        raise ValueError(f"Argument `system` must be a System, but is {type(system).__name__}.")
    return system.lower(basis)


def steady_state(
    system: System | LoweredSystem,
    basis: Basis | None = None,
    *,
    max_dim: int = 200,
    check_unique: bool = True,
) -> np.ndarray:
    """The steady state: the null vector of the Liouvillian.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    basis : Basis, optional
        Basis to lower it to.
    max_dim : int
        Refuse larger Hilbert spaces (the Liouvillian has d² rows).
    check_unique : bool
        Look for further null vectors in the other symmetry sectors as well.

    Returns
    -------
    ndarray, (d, d)
        Density matrix, Hermitian, trace 1.

    Raises
    ------
    ValueError
        If d > `max_dim`, or if the steady state is not unique.
    """
    lowered = lower(system, basis)
    d = lowered.dim
    if d > max_dim:
        raise ValueError(
            f"Argument `system` must have at most {max_dim} states for a steady state, but has {d}; "
            "start from a definite state and discard a burn-in, choose a smaller basis, or raise `max_dim`."
        )
    return _steady_state(Sectors.of(lowered), check_unique)


def _steady_state(sectors: Sectors, check_unique: bool) -> np.ndarray:
    d = sectors.dim
    labels = np.unique(sectors.labels[sectors.diagonal])
    if len(labels) > 1:  # the trace of each such component is conserved by itself
        raise _not_unique(f"{len(labels)} sets of populations never exchange anything")
    members = sectors.members(labels)
    block = sectors.block(members)
    scale = float(abs(block).sum(axis=0).max())
    if scale == 0:
        raise _not_unique("it is zero")
    # the rows of the diagonal add to zero: one of them is replaced by the normalisation
    trace = np.isin(members, sectors.diagonal)
    row = int(np.flatnonzero(trace)[0])
    keep = np.ones(len(members))
    keep[row] = 0.0
    bordered = sp.csc_array(sp.diags_array(keep) @ block + _single_row(row, scale / d * trace))
    solve = _solver(bordered)
    if solve is None or _smallest(solve, len(members)) < SINGULAR * scale:
        raise _not_unique("its null space has more than one dimension")
    source = np.zeros(len(members), dtype=complex)
    source[row] = scale / d
    vector = solve.solve(source)
    vector += solve.solve(source - bordered @ vector)
    if check_unique:
        for other in sectors.without_diagonal():
            matrix = sectors.block(other)
            inverse = _solver(sp.csc_array(matrix)) if matrix.nnz else None
            if inverse is None or _smallest(inverse, len(other)) < SINGULAR * scale:
                raise _not_unique("a coherence never decays")
    full = np.zeros(d * d, dtype=complex)
    full[members] = vector
    rho = full.reshape(d, d)
    rho = 0.5 * (rho + rho.conj().T)
    return rho / np.trace(rho).real


def _single_row(row: int, values: np.ndarray) -> sp.csr_array:
    n, columns = len(values), np.flatnonzero(values)
    return sp.csr_array((values[columns], (np.full(columns.size, row), columns)), shape=(n, n))


def _solver(matrix: sp.csc_array) -> Any:
    try:
        return splu(matrix)
    except RuntimeError:  # exactly singular
        return None


def _smallest(solver: Any, n: int) -> float:
    """Estimate of 1/‖A⁻¹‖₁ from a factorisation of A."""
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = LinearOperator(
            (n, n), dtype=complex, matvec=solver.solve, matmat=solver.solve,
            rmatvec=lambda x: solver.solve(x, "H"), rmatmat=lambda x: solver.solve(x, "H"),
        )  # fmt: skip
        if n < 5:
            norm = np.linalg.norm(solver.solve(np.eye(n, dtype=complex)), 1)
        else:
            norm = onenormest(inverse)
    return float(1 / norm) if np.isfinite(norm) and norm > 0 else 0.0


def _not_unique(why: str) -> ValueError:
    return ValueError(
        f"Argument `system` must have a unique steady state, but its Liouvillian has several ({why}); "
        "start from a definite state (initial=...) and discard a burn-in, or add the channel that is missing."
    )


def spectrum(
    system: System | LoweredSystem, operator: Any, frequencies: Any, basis: Basis | None = None
) -> np.ndarray:
    """Spectrum of fluctuations ``S(ω) = ∫dτ ⟨a†(t+τ)a(t)⟩ e^{−iωτ}`` in the steady state.

    With ``H = ω₀a†a`` it peaks at ω = +ω₀; ``∫S dω/2π = ⟨a†a⟩ − |⟨a⟩|²``: the line δ(ω) of a mean
    amplitude is left out, ``a`` stands for ``a − ⟨a⟩``.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    operator : Operator, Qobj, array, or str
        a; a name means that observable or channel.
    frequencies : array_like, (n,)
        Angular frequencies ω.
    basis : Basis, optional
        Basis to lower the system to.

    Returns
    -------
    ndarray, (n,)
        S(ω) ≥ 0.
    """
    lowered = lower(system, basis)
    a = named_operator(lowered, operator)
    sectors = Sectors.of(lowered)
    rho = _steady_state(sectors, check_unique=True)
    a = a - expectation(a, rho) * sp.eye_array(lowered.dim, format="csr")
    return 2 * np.real(resolvent(sectors, (a @ rho).ravel(), a.toarray().conj().ravel(), frequencies))


def named_operator(lowered: LoweredSystem, operator: Any) -> sp.csr_array:
    """Matrix of an operator given as one, or by the name of an observable or channel."""
    if isinstance(operator, str):
        names = {**lowered.channels, **lowered.observables}
        if operator not in names:
            raise ValueError(
                f"Argument `operator` must be an operator or name an observable or channel, one of "
                f"{sorted(names)}, but is {operator!r}."
            )
        return names[operator]
    return lowered.operator(operator)


def expectation(operator: sp.csr_array, rho: np.ndarray) -> complex:
    """Tr[Aρ]."""
    return complex(operator.multiply(rho.T).sum())


def resolvent(sectors: Sectors, source: np.ndarray, functional: np.ndarray, frequencies: Any) -> np.ndarray:
    """``∫₀^∞dτ f·e^{𝓛τ}s e^{−iωτ} = f·(iω − 𝓛)⁻¹s`` for each ω; s must have no stationary part.

    Parameters
    ----------
    sectors : Sectors
        Liouvillian and its components.
    source, functional : ndarray, (d²,)
        s and f (f·x is Σ f_i x_i, no conjugation).
    frequencies : array_like, (n,)
        ω.

    Returns
    -------
    ndarray of complex, (n,)
    """
    frequencies = np.atleast_1d(np.asarray(frequencies, dtype=float))
    if frequencies.ndim != 1 or not np.all(np.isfinite(frequencies)):
        raise ValueError("Argument `frequencies` must be a one-dimensional array of finite numbers.")
    members = sectors.around(source)
    if not members.size:
        return np.zeros(frequencies.size, dtype=complex)
    block = sp.csc_array(sectors.block(members))
    source, functional = source[members], functional[members]
    trace = np.isin(members, sectors.diagonal).astype(float)
    scale = float(abs(block).sum(axis=0).max())
    if trace.any():
        # traceless sources never reach the stationary state: moving its eigenvalue from 0 to −scale
        # changes nothing and makes ω = 0 regular
        stationary = _steady_state(sectors, check_unique=False).ravel()[members]
        source = source - stationary * (trace @ source)
        shift = scale * np.outer(stationary, trace)
    identity = sp.eye_array(len(members), format="csc")
    out = np.empty(frequencies.size, dtype=complex)
    for i, omega in enumerate(frequencies):
        if trace.any() and abs(omega) < 1e-6 * scale:
            solution = np.linalg.solve(1j * omega * np.eye(len(members)) - block.toarray() + shift, source)
        else:
            solution = splu(sp.csc_array(1j * omega * identity - block)).solve(source)
        out[i] = functional @ solution
    return out


def reduced_state(
    lowered: LoweredSystem, rho: np.ndarray, sites: Sequence[str]
) -> tuple[list[Site], np.ndarray]:
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
        A system with named sites.
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
