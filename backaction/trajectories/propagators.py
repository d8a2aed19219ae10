"""From H and channels to the maps of one step: propagators, Kraus operators, completeness.

A step is the symmetric splitting ``P(dt/2) D P(dt/2)``:

* P: Hamiltonian, jumps and unwatched loss.  No-jump part ``exp[(−iH − Γ/2)t]``, Γ = ΣL†L.
* D: one diffusive channel c after the other, ``ψ → (K0 + z K1 + z2 K2)ψ`` with
  ``K0 = e^{−c†c dt/2}``, ``K1 = √K0 c √K0``, ``K2 = √K0 c² √K0 / 2`` and z = dY, z2 = dY² − dt
  (homodyne) or z = dZ*, z2 = dZ*² (heterodyne): the exponential ``exp(cz − …)`` to second order in
  Hermite polynomials.  Averaged over the noise its defect is ``S − 1 = O(dt³)``; multiplying by
  S^{−1/2} removes it.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp

#: Entries of propagators below this are dropped; the defect that this leaves is part of the test.  Of what carries
#: units, entries below this part of the largest.
DROP = 1e-13
#: The same beside diffusive detectors, where the splitting's own error is far above it; not in plans that depend on
#: time, as what comes and goes is not smooth and cannot be fitted.
SPLITTING_DROP = 1e-10
#: Pieces of ‖A‖t = 1/2 in which an exact no-click probability is computed, at most.
MAX_DUAL_PIECES = 10_000
#: Probability of a click in a step that is none: rounding.
NO_CLICKS = 1e-14
DENSE_LIMIT = 1500


def prune(A: sp.csr_array, drop: float, keep: sp.csr_array | None = None) -> sp.csr_array:
    """CSR without entries of modulus <= drop, which has the units of A, but those that `keep` has; indices sorted."""
    A = sp.csr_array(A, dtype=complex)
    small = np.abs(A.data) <= drop
    if keep is not None and small.any():
        places = [np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)) * X.shape[1] + X.indices for X in (A, keep)]
        small &= ~np.isin(places[0], places[1])
    A.data[small] = 0.0
    A.eliminate_zeros()
    A.sort_indices()
    return A


def largest(A: sp.csr_array) -> float:
    """Largest modulus of an element."""
    return float(np.max(np.abs(A.data), initial=0.0))


def norm_bound(A: sp.csr_array) -> float:
    """Upper bound of the spectral norm, √(‖A‖₁‖A‖∞)."""
    if A.nnz == 0:
        return 0.0
    absolute = abs(A)
    return math.sqrt(absolute.sum(axis=0).max() * absolute.sum(axis=1).max())


def expm(A: sp.csr_array, final_drop: float = DROP) -> sp.csr_array:
    """exp(A) of a sparse matrix by scaling, Taylor and squaring; entries below `final_drop` are dropped.

    Not those that A or A² have: what couples weakly may be all that couples two states.
    """
    d = A.shape[0]
    squarings = max(0, math.ceil(math.log2(max(norm_bound(A), 1e-300) / 0.5)))
    scaled = A / 2.0**squarings
    drop = DROP * 1e-3
    total = term = sp.eye_array(d, dtype=complex, format="csr")
    for k in range(1, 20):
        term = prune(term @ scaled / k, drop)
        if term.nnz == 0:
            break
        total = total + term
    for _ in range(squarings):
        total = prune(total @ total, drop)
    return prune(total, final_drop, abs(A) + abs(A) @ abs(A))


def inverse_root(S: sp.csr_array) -> sp.csr_array:
    """S^{−1/2} of a positive matrix; by series where S is close to 1, so that it stays sparse."""
    d = S.shape[0]
    one = sp.eye_array(d, dtype=complex, format="csr")
    X = prune(S - one, 1e-16)
    if norm_bound(X) < 1e-3:  # next term 35/128 X⁴ < 3e-13
        X2 = prune(X @ X, 1e-16)
        return prune(one - 0.5 * X + 0.375 * X2 - 0.3125 * (X2 @ X), DROP)
    return prune(sp.csr_array(_power(S, -0.5)), DROP)


def completing(S: sp.csr_array, target: sp.csr_array) -> sp.csr_array:
    """C near 1 with C†SC = target, for positive S ≈ target."""
    one = sp.eye_array(S.shape[0], dtype=complex, format="csr")
    if norm_bound(prune(target - one, 1e-16)) < NO_CLICKS:
        return inverse_root(S)
    root = _power(S, 0.5)
    inverse = _power(S, -0.5)
    middle = _power(sp.csr_array(root @ target.toarray() @ root), 0.5)
    return prune(sp.csr_array(inverse @ middle @ inverse), DROP)


def _power(S: sp.csr_array, exponent: float) -> np.ndarray:
    d = S.shape[0]
    if d > DENSE_LIMIT:
        raise ValueError(
            f"Argument `step` must be smaller for a system of dimension {d}: the step's completeness cannot be "
            "restored sparsely. Pass a shorter `step`."
        )
    values, vectors = la.eigh(S.toarray())
    if values[0] <= 1e-12:
        raise ValueError("Argument `step` must be smaller: a measurement step has lost all probability of a state.")
    return (vectors * values**exponent) @ vectors.conj().T


def kraus(c: sp.csr_array, dt: float) -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
    """K0, K1, K2 of a diffusive channel over dt, with ΣK†K = 1 to rounding.

    ``E[K†K] = K0†K0 + dt K1†K1 + 2dt² K2†K2`` for homodyne and heterodyne alike.
    """
    rate = c.conj().T @ c
    root = expm(-0.25 * dt * rate)
    K = [root @ root, root @ c @ root, 0.5 * (root @ c @ c @ root)]
    C = inverse_root(completeness(K, dt))
    K0, K1, K2 = (prune(k @ C, 0.0) for k in K)
    # K1 and K2 carry units of rate^(1/2) and rate: what is negligible is so against their own size
    return prune(K0, DROP), prune(K1, DROP * largest(K1)), prune(K2, DROP * largest(K2))


def completeness(K: list[sp.csr_array] | tuple[sp.csr_array, ...], dt: float) -> sp.csr_array:
    """E[K†K] over the noise of one diffusive channel."""
    return sum((w * (k.conj().T @ k) for w, k in zip((1.0, dt, 2.0 * dt * dt), K, strict=True)), 0 * K[0])


def anticommutator(a: sp.csr_array, b: sp.csr_array) -> sp.csr_array:
    """ab + ba."""
    return a @ b + b @ a


def rouchon_remainder(
    diffusive: list[tuple[sp.csr_array, int]],
    dt: float,
    unread: list[sp.csr_array] | None = None,
    H: sp.csr_array | None = None,
    drop: float = SPLITTING_DROP,
) -> sp.csr_array:
    """All of a Rouchon step ``K0 + X + ½:X²:`` that has no increment in it: K0 − ½dt Σ c² (homodyne channels).

    ``K0 = e^{−iHdt}√(1 − dt Σ c†c − dt Σ L†L − E|½:X²:|²)`` makes the outcomes complete: E[M†M] + dt ΣL†L = 1.
    """
    d = diffusive[0][0].shape[0]
    S = sp.eye_array(d, dtype=complex, format="csr")
    wick = 0 * S
    for i, (a, kind) in enumerate(diffusive):
        S = S - dt * (a.conj().T @ a)
        square = a @ a
        S = S - 0.5 * dt**2 * (square.conj().T @ square)
        if kind == 0:
            wick = wick - 0.5 * dt * square
        for b, _ in diffusive[:i]:
            both = 0.5 * anticommutator(a, b)
            S = S - dt**2 * (both.conj().T @ both)
    for L in unread or []:
        S = S - dt * (L.conj().T @ L)
    turn = None if H is None else expm(-1j * dt * H)
    K0 = root(S) if turn is None else turn @ root(S)
    return prune(prune(K0, drop, turn) + wick, 0.0)


def root(S: sp.csr_array) -> sp.csr_array:
    """√S of a positive matrix; by series where S is close to 1, so that it stays sparse."""
    X = prune(sp.eye_array(S.shape[0], dtype=complex, format="csr") - S, 0.0)
    if norm_bound(X) > 0.5:
        return prune(sp.csr_array(_power(S, 0.5)), DROP)
    total = sp.eye_array(S.shape[0], dtype=complex, format="csr")
    term, coefficient = total, 1.0
    for k in range(1, 60):  # √(1 − x) = 1 − x/2 − x²/8 − …
        term = prune(term @ X, 1e-17)
        coefficient *= (k - 1.5) / k
        if term.nnz == 0 or abs(coefficient) * largest(term) < 1e-17:
            break
        total = total + coefficient * term
    return prune(total, DROP)


def generator(H: sp.csr_array, jumps: list[sp.csr_array]) -> sp.csr_array:
    """−iH − ½ΣL†L."""
    A = -1j * H
    for L in jumps:
        A = A - 0.5 * (L.conj().T @ L)
    return prune(A, 0.0)


def gain_dual(X: sp.csr_array, gain: list[sp.csr_array]) -> sp.csr_array:
    """J†(X) = ΣL†XL."""
    return sum((L.conj().T @ X @ L for L in gain), 0 * X)


def slot_dual(X: sp.csr_array, first: sp.csr_array, last: sp.csr_array, gain: list, t: float) -> sp.csr_array:
    """Adjoint of ``P = last e^{Jt} first`` (e^{Jt} to second order) applied to X."""
    X = last.conj().T @ X @ last
    Y = X + 0.5 * t * gain_dual(X, gain)
    X = X + t * gain_dual(Y, gain)
    return prune(first.conj().T @ X @ first, 1e-16)


def exact_dual(A: sp.csr_array, gain: list[sp.csr_array], t: float) -> sp.csr_array:
    """e^{𝓛†t}(1) for 𝓛ρ = Aρ + ρA† + Jρ: the exact no-click probability operator.

    Raises ValueError if H turns states too often in t.
    """
    one = sp.eye_array(A.shape[0], dtype=complex, format="csr")
    A, gain = t * A, [math.sqrt(t) * L for L in gain]  # numbers without units, as what is pruned from

    def dual(X: sp.csr_array) -> sp.csr_array:
        return prune(A.conj().T @ X + X @ A + gain_dual(X, gain), 1e-17)

    pieces = max(1, math.ceil(2 * norm_bound(A)))
    if pieces > MAX_DUAL_PIECES:
        raise ValueError(
            f"Argument `step` must be smaller by a factor of {pieces / MAX_DUAL_PIECES:.2g}: H turns states by about "
            f"{0.5 * pieces:.2g} rad within it. Pass a shorter `step`, or describe the system in a rotating frame."
        )
    X = one
    for _ in range(pieces):
        term = total = X
        for k in range(1, 25):
            term = dual(term) / (pieces * k)
            if term.nnz == 0 or abs(term).max() < 1e-17:
                break
            total = total + term
        X = prune(total, 1e-16)
    return X


def slot_operators(
    A: sp.csr_array, gain: list[sp.csr_array], t: float, drop: float = SPLITTING_DROP, clicks: bool = True
) -> tuple[sp.csr_array, sp.csr_array]:
    """(first, last) of the density matrix' ``P(t) = last e^{Jt} first`` with P†(1) exact; 1 without clicks."""
    half = expm(0.5 * t * A, drop)
    one = sp.eye_array(A.shape[0], dtype=complex, format="csr")
    S = slot_dual(one, half, half, gain, t)
    return prune(half @ completing(S, exact_dual(A, gain, t) if clicks else one), drop, half), half
