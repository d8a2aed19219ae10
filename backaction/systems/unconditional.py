"""What nobody's record changes: Liouvillians and their symmetry sectors, steady states, spectra.

Operators ρ are vectors by *row stacking*, ``vec(ρ) = ρ.reshape(-1)``, so that ``AρB ↔ (A ⊗ Bᵀ) vec(ρ)``.
(QuTiP stacks columns; `tests/systems/test_unconditional.py` compares.)  A weak symmetry of the
Liouvillian, such as a conserved U(1) charge, shows in its graph: matrix elements of ρ that never
exchange anything fall into separate connected components.  Everything here works on the components
that matter, which is exact, needs no declaration, and makes two van der Pol oscillators cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, onenormest, splu

from .basis import Basis
from .system import LoweredSystem, System

#: An eigenvalue of 𝓛 below this fraction of ‖𝓛‖₁ counts as zero.
SINGULAR = 1e-13
#: Largest Krylov space of `resolvent`.
KRYLOV = 200


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
        System in a definite basis, `System.lower`; of a time-dependent one, at a moment: ``lowered.at(t)``.

    Returns
    -------
    csr_array, (d², d²)
        Acts on ρ by row stacking, ``(𝓛 @ ρ.reshape(-1)).reshape(d, d)``.

    Raises
    ------
    ValueError
        If the system depends on time.
    """
    check_constant(lowered)
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


def check_constant(system: System | LoweredSystem) -> None:
    """Raise ValueError for a system that depends on time."""
    if system.time_dependent:
        raise ValueError(
            "Argument `system` must be constant in time, but H or a channel depends on it; take it at one moment, "
            "`system.lower(basis).at(t)`, or simulate it."
        )


def lower(system: System | LoweredSystem, basis: Basis | None = None) -> LoweredSystem:
    """The lowered system, whichever of the two is given; it must be constant in time."""
    if not isinstance(system, (System, LoweredSystem)):
        raise ValueError(f"Argument `system` must be a System, but is {type(system).__name__}.")
    check_constant(system)
    if isinstance(system, System):
        return system.lower(basis)
    if basis is not None:
        raise ValueError("Argument `basis` must be left out for a system that is already lowered to one.")
    return system


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
        If d > `max_dim`, the system depends on time, or the steady state is not unique.
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


def spectrum(system: System | LoweredSystem, operator: Any, frequencies: Any, basis: Basis | None = None) -> np.ndarray:
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
    stationary = np.zeros(len(members), dtype=complex)
    if trace.any():
        stationary = _steady_state(sectors, check_unique=False).ravel()[members]

    def fluctuating(x: np.ndarray) -> np.ndarray:  # rounding must not bring the stationary part back
        return x - stationary * (trace @ x)

    # iω − 𝓛 = (σ − 𝓛)(1 − zR), R = (σ − 𝓛)⁻¹, z = σ − iω: one factorisation and one Krylov space for all ω
    scale = float(abs(block).sum(axis=0).max())
    shift = max(0.3 * float(abs(frequencies).max(initial=0.0)), 1e-3 * scale)
    solver = splu(sp.csc_array(shift * sp.eye_array(len(members), format="csc") - block))
    z = shift - 1j * frequencies
    size = min(len(members), KRYLOV)
    basis = np.zeros((size + 1, len(members)), dtype=complex)
    H = np.zeros((size + 1, size), dtype=complex)
    start = fluctuating(solver.solve(fluctuating(source)))
    beta = float(np.linalg.norm(start))
    if beta == 0:
        return np.zeros(frequencies.size, dtype=complex)
    basis[0] = start / beta
    for j in range(size):
        w = fluctuating(solver.solve(basis[j]))
        for _ in range(2):  # Gram–Schmidt twice
            h = basis[: j + 1].conj() @ w
            w = w - h @ basis[: j + 1]
            H[: j + 1, j] += h
        H[j + 1, j] = np.linalg.norm(w)
        invariant = abs(H[j + 1, j]) <= 1e-14 * np.abs(H[: j + 1, : j + 1]).max()
        if not invariant:
            basis[j + 1] = w / H[j + 1, j]
        if invariant or j % 10 == 9 or j == size - 1:
            small = np.eye(j + 1) - z[:, None, None] * H[: j + 1, : j + 1]
            y = np.linalg.solve(small, np.eye(j + 1, 1)[None])[..., 0]
            residual = abs(z * H[j + 1, j] * y[:, -1]) / np.linalg.norm(y, axis=1)
            if invariant or residual.max(initial=0.0) < 1e-11:
                return beta * y @ (basis[: j + 1] @ functional)
    # no small Krylov space: one ω after the other
    source, identity = fluctuating(source), sp.eye_array(len(members), format="csc")
    solvers = (splu(sp.csc_array(1j * omega * identity - block)) for omega in frequencies)
    return np.array([functional @ fluctuating(each.solve(source)) for each in solvers])
