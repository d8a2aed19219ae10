"""e^{tA}v for generators that are small, sparse, or known only by what they do to a vector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from scipy.linalg import expm
from scipy.sparse.linalg import expm_multiply

#: Size of the Krylov space.
DIMENSION = 20
#: Blocks up to this size are exponentiated as dense matrices.
DENSE = 256
#: Time steps that `evolve` holds at once.
CHUNK = 256


def expm_krylov(
    apply: Callable[[np.ndarray], np.ndarray],
    vector: np.ndarray,
    time: float,
    tolerance: float = 1e-8,
    dimension: int = DIMENSION,
) -> np.ndarray:
    """``e^{tA}v`` by Arnoldi projection in adaptive steps (Sidje, ACM TOMS 24, 130 (1998)).

    Stiffness costs little: a step of a dissipative generator may exceed 1/‖A‖ by far.

    Parameters
    ----------
    apply : callable
        v → Av, real-linear on real vectors.
    vector : ndarray of float, (n,)
        v.
    time : float
        t ≥ 0.
    tolerance : float
        Bound on the estimated error per unit of t/`time`, relative to ‖v‖.
    dimension : int
        Size of the Krylov space.

    Returns
    -------
    ndarray of float, (n,)
    """
    v = vector.copy()
    done, step = 0.0, 0.0
    while done < time * (1 - 1e-12):
        beta = float(np.linalg.norm(v))
        basis = np.empty((dimension + 1, v.size))
        H = np.zeros((dimension + 1, dimension + 1))
        basis[0] = v / beta
        size = dimension
        for j in range(dimension):
            w = apply(basis[j])
            norm = float(np.linalg.norm(w))
            for _ in range(2):  # Gram–Schmidt; once more where it cancelled a digit
                h = basis[: j + 1] @ w
                w -= h @ basis[: j + 1]
                H[: j + 1, j] += h
                H[j + 1, j] = np.linalg.norm(w)
                if H[j + 1, j] > 0.1 * norm:
                    break
            if H[j + 1, j] <= 1e-14 * np.abs(H[: j + 1, : j + 1]).max():
                size = j + 1
                break
            basis[j + 1] = w / H[j + 1, j]
        if size < dimension:  # the Krylov space is invariant: exact
            return beta * expm((time - done) * H[:size, :size])[:, 0] @ basis[:size]
        step = min(step or 10.0 / float(np.linalg.norm(H, 2)), time - done)
        while True:
            # the last row of H adds Saad's φ₁ term, which is also the error estimate
            weights = expm(step * H)[:, 0]
            error, allowed = abs(float(weights[-1])), tolerance * step / time
            if error <= allowed or step < 1e-12 * time:
                break
            step *= max(0.2, 0.9 * (allowed / error) ** (1 / size))
        v = beta * weights @ basis
        done += step
        step *= min(3.0, 0.9 * (allowed / max(error, 1e-300)) ** (1 / size))
    return v


def evolve(generator: sp.csr_array, vector: np.ndarray, functional: np.ndarray, step: float, count: int) -> np.ndarray:
    """``f·e^{jhA}v`` for j = 0 ... count − 1 (no conjugation of f).

    Parameters
    ----------
    generator : csr_array, (n, n)
        A.
    vector, functional : ndarray, (n,)
        v and f.
    step : float
        h.
    count : int
        Number of values.

    Returns
    -------
    ndarray of complex, (count,)
    """
    out = np.empty(count, dtype=complex)
    if len(vector) <= DENSE:
        propagator = expm(step * generator.toarray())
        for j in range(count):
            out[j] = functional @ vector
            vector = propagator @ vector
        return out
    scaled = step * generator
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        path = expm_multiply(scaled, vector, start=0, stop=n, num=n + 1, endpoint=True)
        out[start : start + n] = path[:-1] @ functional
        vector = path[-1]
    return out


def phi_functions(generator: sp.csr_array, vector: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """φ₁(hA)v and φ₂(hA)v, with φ₁(z) = (e^z − 1)/z and φ₂(z) = (e^z − 1 − z)/z².

    They are columns of the exponential of ``[[hA, v, 0], [0, 0, 1], [0, 0, 0]]``.
    """
    n = len(vector)
    augmented = sp.block_array(
        [[step * generator, sp.csr_array(vector[:, None]), None],
         [None, sp.csr_array((1, 1)), sp.csr_array([[1.0]])],
         [sp.csr_array((1, n)), None, sp.csr_array((1, 1))]], format="csr"
    )  # fmt: skip
    unit = np.zeros((n + 2, 2), dtype=complex)
    unit[n, 0] = unit[n + 1, 1] = 1.0
    if n <= DENSE:
        columns = expm(augmented.toarray())[:, n:]
    else:
        columns = expm_multiply(augmented, unit)
    return columns[:n, 0], columns[:n, 1]
