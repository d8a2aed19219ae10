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

#: Values of λ that `summed_harmonics` tries.
SCALES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


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


def phase_harmonics(moments: np.ndarray, harmonics: int, scale: float = 1.0) -> np.ndarray:
    """Harmonics of arg(Z_B/Z_A) from normally ordered moments, term by term.

    Parameters
    ----------
    moments : ndarray, (P+1, P+1, P+1, P+1)
        ⟨v†^n v^m⟩/√(m! n!) at [m_A, m_B, n_A, n_B] for |m| = |n| ≤ P.
    harmonics : int
        K.
    scale : float
        λ: the Gaussian pulled out of the series has covariance 1 + λN.

    Returns
    -------
    ndarray of complex, (P+1, K)
        q_k with terms up to order 0, 1, ..., P.
    """
    P = moments.shape[0] - 1
    N = scale * covariance(moments)
    K = _divide_by_gaussian(moments, N)
    alpha, beta, c = 1 + N[0, 0].real, 1 + N[1, 1].real, N[0, 1]
    direction = c / abs(c) if c else 1.0
    k = np.arange(1, harmonics + 1)
    out = np.zeros((P + 1, harmonics), dtype=complex)
    for order in range(P + 1):
        for m in range(order + 1):
            for n in range(order + 1):
                shift = k + n - m
                term = _integral(m + n, 2 * order - m - n, np.abs(shift), alpha, beta, abs(c))
                sign = (-1.0) ** (order + n - m)
                out[order] += k**2 * sign * K[m, order - m, n, order - n] * direction**shift * term
    return np.cumsum(out, axis=0)


def summed_harmonics(moments: np.ndarray, harmonics: int) -> tuple[np.ndarray, float]:
    """Harmonics from the series that converges best, and an estimate of its error.

    The Gaussian may have any covariance 1 + λN: λ = 1 is best for thermal light, small λ for light
    that is steadier than thermal.  The last terms decide.

    Returns
    -------
    q : ndarray of complex, (K,)
        Harmonics.
    error : float
        The last term, or how far the best three series are apart.
    """
    series = [phase_harmonics(moments, min(harmonics, 4), scale)[-3:] for scale in SCALES]
    last = [float(np.abs(np.diff(s, axis=0)).sum(axis=0).max()) for s in series]
    best = np.argsort(last)[:3]
    last_term = np.abs(series[best[0]][-1] - series[best[0]][-2]).max()
    apart = max(np.abs(series[i][-1] - series[best[0]][-1]).max() for i in best)
    error = float(max(last_term, apart))
    return phase_harmonics(moments, harmonics, SCALES[best[0]])[-1], error


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


def _integral(s: int, t: int, order: np.ndarray, alpha: float, beta: float, c: float) -> np.ndarray:
    """``∫∫₀^∞ dx dy x^{s−1} y^{t−1} e^{−αx²−βy²} I_l(2xyc)`` for l = `order`."""
    p, q = 0.5 * (s + order), 0.5 * (t + order)
    log = gammaln(p) + gammaln(q) - gammaln(order + 1) - p * np.log(alpha) - q * np.log(beta)
    return 0.25 * np.exp(log) * c**order * hyp2f1(p, q, order + 1, c**2 / (alpha * beta))
