r"""Law of the phase difference of two complex amplitudes, from their normally ordered moments.

The records (Z_A, Z_B) have the characteristic function

    χ(u) = E e^{i Σ(u_i* Z_i + c.c.)} = e^{−u†(1+N)u} K(iu*, iu),        N_ij = ⟨v_j† v_i⟩,

with K = 1 + (fourth and higher order): a Gaussian of the exact covariance times a polynomial.  The
harmonics follow from e^{ikθ} = k i^{−k} ∫dx/x ∫dθ_u/2π e^{ikθ_u} e^{i(u*z + uz*)}, term by term in
closed form.  With K = 1 this is the complex Gaussian limit of long windows.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from scipy.special import gamma, gammaln, hyp2f1


def gaussian_harmonics(r: complex, harmonics: int) -> np.ndarray:
    """``q_k = r^k Γ(1+k/2)²/k! ₂F₁(k/2, k/2; k+1; |r|²)`` of two complex Gaussian amplitudes.

    Parameters
    ----------
    r : complex
        Correlation coefficient ``E[Z_A Z_B*]/√(E|Z_A|² E|Z_B|²)``, |r| ≤ 1.
    harmonics : int
        K.

    Returns
    -------
    ndarray of complex, (K,)
        q_1 ... q_K with q_k = E[e^{−ikφ}], φ = arg(Z_B/Z_A).
    """
    if abs(r) > 1 + 1e-12:
        raise ValueError(f"Argument `r` must have modulus at most 1, but is {r!r}.")
    k = np.arange(1, harmonics + 1)
    return r**k * gamma(1 + k / 2) ** 2 / gamma(k + 1) * hyp2f1(k / 2, k / 2, k + 1, abs(r) ** 2)


def covariance(moments: np.ndarray) -> np.ndarray:
    """N_ij = ⟨v_j† v_i⟩, (2, 2), from the moments of `filtered.Hierarchy.moments`."""
    unit = ((1, 0), (0, 1))
    return np.array([[moments[(*unit[i], *unit[j])] for j in range(2)] for i in range(2)])


def phase_harmonics(moments: np.ndarray, harmonics: int) -> np.ndarray:
    """Harmonics of arg(Z_B/Z_A) from normally ordered moments.

    Parameters
    ----------
    moments : ndarray, (P+1, P+1, P+1, P+1)
        ⟨v†^n v^m⟩/√(m! n!) at [m_A, m_B, n_A, n_B] for |m| = |n| ≤ P.
    harmonics : int
        K.

    Returns
    -------
    ndarray of complex, (P, K)
        q_k with terms up to order 1, ..., P.
    """
    P = moments.shape[0] - 1
    N = covariance(moments)
    K = _divide_by_gaussian(moments, N)
    alpha, beta, c = 1 + N[0, 0].real, 1 + N[1, 1].real, N[0, 1]
    out = np.zeros((P, harmonics), dtype=complex)
    for order in range(P + 1):
        if order in (1,):
            continue
        for m in range(order + 1):
            for n in range(order + 1):
                value = K[m, order - m, n, order - n]
                if value == 0:
                    continue
                for k in range(1, harmonics + 1):
                    shift = k + n - m
                    term = _integral(m + n, 2 * order - m - n, abs(shift), alpha, beta, abs(c))
                    phase = (c / abs(c)) ** shift if shift and abs(c) else 1.0
                    sign = (-1) ** (order + n - m)
                    out[max(order, 1) - 1 :, k - 1] += k**2 * sign * value * phase * term
    return out


def _divide_by_gaussian(moments: np.ndarray, N: np.ndarray) -> np.ndarray:
    """Coefficients of a^m b^n in K = e^{−Σ a_i b_j N_ij} Σ a^m b^n r_mn/√(m! n!)."""
    P = moments.shape[0] - 1
    root = np.array([factorial(i) ** -0.5 for i in range(P + 1)])
    K = moments * np.einsum("i,j,k,l->ijkl", root, root, root, root)
    for i in range(2):
        for j in range(2):
            total = K.copy()
            for power in range(1, P + 1):
                source = [slice(None)] * 4
                target = [slice(None)] * 4
                for axis in (i, 2 + j):
                    source[axis] = slice(None, P + 1 - power)
                    target[axis] = slice(power, None)
                total[tuple(target)] += (-N[i, j]) ** power / factorial(power) * K[tuple(source)]
            K = total
    m_a, m_b, n_a, n_b = np.indices(K.shape)
    K[(m_a + m_b > P) | (n_a + n_b > P) | (m_a + m_b != n_a + n_b)] = 0
    return K


def _integral(s: int, t: int, order: int, alpha: float, beta: float, c: float) -> float:
    """``∫∫₀^∞ dx dy x^{s−1} y^{t−1} e^{−αx²−βy²} I_l(2xyc)`` with l = `order`."""
    p, q = 0.5 * (s + order), 0.5 * (t + order)
    z = c**2 / (alpha * beta)
    log = gammaln(p) + gammaln(q) - gammaln(order + 1) - p * np.log(alpha) - q * np.log(beta)
    return 0.25 * float(np.exp(log)) * c**order * float(hyp2f1(p, q, order + 1, z))
