"""Plans of `kernels.counting`: the frame of the spectrum, and how many terms of the series a piece takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh_tridiagonal
from scipy.special import jv

from ..systems import LoweredSystem
from .kernels.counting import CountingPlan
from .plan import Roles, _edges, _ints
from .propagators import generator, prune

#: Dimension from which state vectors that are only counted go this way; below, a propagator per bin is as fast where
#: bins are short, or faster.
LARGE = 64
#: Longest piece in units of the inverse spectral radius: a longer one saves few terms of the series, and a click that
#: cuts it short wastes more.
LONGEST = 64.0
#: Lanczos: most steps, and the residual at which an end of the spectrum is found, relative to its width.
LANCZOS_STEPS = 240
LANCZOS_RESIDUAL = 1e-3
#: ‖f(X)‖ <= (1 + √2) max |f| on the numerical range of X: Crouzeix and Palencia, SIAM J. Matrix Anal. Appl. 38, 649
#: (2017).
CROUZEIX = 1 + math.sqrt(2)
#: Exponent by which states decay on average in a piece: less of them would not be told from 0 in single precision.
MOST_DECAY = 30.0


@dataclass(frozen=True)
class Precision:
    """What is asked of the series.

    Attributes
    ----------
    dtype : type
        Of states and operators.
    truncation : float
        Norm of what is cut off the series, per unit of time in which the state turns by a radian at most.
    floor : float
        The same for very short pieces: where rounding hides it.
    amplification : float
        Largest term of the series, by which rounding errors are multiplied.
    growth : float
        Growth of ⟨ψ|ψ⟩ in a piece that only a wrong expansion explains.
    exponent : float
        Largest ln|U_k|: its factor J_k is as small, and must be a number yet.
    """

    dtype: type
    truncation: float
    floor: float
    amplification: float
    growth: float
    exponent: float


PRECISIONS = {
    "double": Precision(np.float64, 1e-12, 1e-15, 1e3, 1e-9, 600.0),
    "single": Precision(np.float32, 1e-8, 1e-8, 30.0, 1e-4, 50.0),
}


def interval(A: sp.csr_array) -> tuple[float, float]:
    """An interval that holds the spectrum of a Hermitian matrix: Gershgorin's, cut down by Lanczos' where that is safe.

    Lanczos' values come to the ends of the spectrum from inside.  Their residuals and a margin of the same size are
    added (Zhou, Saad, Tiago and Chelikowsky, J. Comput. Phys. 219, 172 (2006)); the margin covers what the residual
    cannot exclude.
    """
    d = A.shape[0]
    diagonal = A.diagonal().real
    radii = np.asarray(abs(A).sum(axis=1)).reshape(-1) - abs(A.diagonal())
    low, high = float((diagonal - radii).min()), float((diagonal + radii).max())
    rounding = 1e-12 * max(abs(low), abs(high))
    if high - low <= rounding:
        return low, high
    rng = np.random.default_rng(0)
    v = rng.normal(size=d) + 1j * rng.normal(size=d)
    v /= np.linalg.norm(v)
    previous, alphas, betas = np.zeros_like(v), [], [0.0]
    for step in range(1, min(d, LANCZOS_STEPS) + 1):
        w = A @ v - betas[-1] * previous
        alphas.append(float(np.vdot(v, w).real))
        w -= alphas[-1] * v
        betas.append(float(np.linalg.norm(w)))
        exhausted = step == d or betas[-1] <= rounding
        if step % 20 == 0 or exhausted:
            values, vectors = eigh_tridiagonal(alphas, betas[1:-1])
            margin = LANCZOS_RESIDUAL * (values[-1] - values[0]) + rounding
            residuals = betas[-1] * np.abs(vectors[-1, [0, -1]])
            if exhausted or residuals.max() <= margin:
                margins = residuals + margin
                return max(low, float(values[0] - margins[0])), min(high, float(values[-1] + margins[1]))
        previous, v = v, w / betas[-1]
    return low, high


def kapteyn(orders: np.ndarray, x: np.ndarray) -> np.ndarray:
    """ln of a bound of |J_k(x)|, (len(x), len(orders)): 1 up to k = x, Kapteyn's inequality above (DLMF 10.14.5)."""
    z = np.minimum(x[:, None] / np.maximum(orders, 1), 1.0)
    root = np.sqrt(1 - z * z)
    return orders * (np.log(np.maximum(z, 1e-300)) + root - np.log1p(root))


def series(
    half_width: float, half_height: float, decay: float, precision: Precision
) -> tuple[float, float, np.ndarray]:
    """Radius R, larger semi-axis and longest piece for each order, for the fewest products per unit of time.

    The numerical range of −iH − Γ/2 lies in a rectangle around its centre, of `half_width` along the energies and
    `half_height` along the decay.  It lies in an ellipse with foci ±iR and semi-axes R cosh η, R sinh η, in which
    ``|U_k| <= e^{kη}``, so that what is cut off above order K is at most

        ``(1 + √2) e^{−ch} Σ_{k>K} 2|J_k(Rh)| e^{kη}`` .

    A circle (R → 0) would be the Taylor series; for weak damping R is hardly more than `half_width`.
    """
    outer = math.hypot(half_width, half_height)
    orders = np.arange(int(2 * LONGEST) + 40)
    grid = np.concatenate([np.geomspace(1e-9, 0.5, 20), np.arange(1.0, LONGEST + 0.5)])

    def frame(eta: float) -> tuple[float, np.ndarray]:
        radius = math.hypot(half_width / math.cosh(eta), half_height / math.sinh(eta)) if eta else half_width
        return radius, grid / max(radius * math.cosh(eta), outer)

    def needed(eta: float, logarithms: np.ndarray) -> np.ndarray:
        """Order for each piece of the grid, up to the first that is too long."""
        radius, pieces = frame(eta)
        at_least = np.ceil(radius * pieces).astype(int)  # beyond, Bessel numbers fall, as their recurrence needs
        pieces = pieces[:, None]
        terms = 2 * np.exp(logarithms + orders * eta - decay * pieces)
        tails = CROUZEIX * (np.cumsum(terms[:, ::-1], axis=1)[:, ::-1] - terms)
        allowed = tails <= precision.truncation * outer * pieces + precision.floor
        good = allowed.any(axis=1) & (terms.max(axis=1) <= 2 * precision.amplification)
        order = np.maximum(allowed.argmax(axis=1), at_least)
        good &= (order * eta <= precision.exponent) & (decay * pieces[:, 0] <= MOST_DECAY)
        n = len(good) if good.all() else int(np.argmin(good))
        return np.maximum(np.maximum.accumulate(order[:n]), 1)

    def cost(eta: float) -> float:
        radius, pieces = frame(eta)
        orders_ = needed(eta, kapteyn(orders, radius * pieces))
        return float(np.min((orders_ + 1) / pieces[: len(orders_)], initial=math.inf))

    etas = [0.0] if half_height <= 1e-14 * half_width else np.geomspace(1e-4, 6.0, 40)
    eta = min(etas, key=cost)  # the bound has its minimum where the series itself has it
    radius, pieces = frame(eta)
    with np.errstate(divide="ignore"):
        order = needed(eta, np.log(np.abs(jv(orders, radius * pieces[:, None]))))
    last = int(np.argmin((order + 1) / pieces[: len(order)]))
    ends = np.searchsorted(order[: last + 1], np.arange(order[last] + 1), side="right")
    return radius, max(radius * math.cosh(eta), outer), np.where(ends > 0, pieces[np.maximum(ends, 1) - 1], 0.0)


def counts_only(lowered: LoweredSystem, roles: Roles, precision: str, otherwise_driven: bool) -> bool:
    """Do state vectors go this way: a large system, or one in single precision, with nothing but counters?

    Parameters
    ----------
    lowered : LoweredSystem
    roles : Roles
    precision : {"double", "single"}
    otherwise_driven : bool
        Is the record given, or fed back?

    Raises
    ------
    ValueError
        If single precision is asked for what this kernel cannot do.
    """
    possible = not (roles.diffusive or roles.rotating or lowered.time_dependent or otherwise_driven)
    if precision == "single" and not possible:
        raise ValueError(
            'Argument `precision` must be "double" where there is more than counters (homodyne or heterodyne '
            "detection, time dependence, feedback, a given record), but is 'single'; use level=ba.Ket()."
        )
    return possible and (lowered.dim >= LARGE or precision == "single")


def counting_plan(
    lowered: LoweredSystem,
    roles: Roles,
    observables: list[sp.csr_array],
    width: float,
    precision: str = "double",
    step: float | None = None,
) -> CountingPlan:
    """Plan for state vectors whose channels are counted or not read at all.

    Parameters
    ----------
    lowered : LoweredSystem
        What evolves, d levels.
    roles : Roles
        Without diffusive channels; unread channels become hidden counters.
    observables : list of csr_array, (d, d)
        Followed at the edges that are saved.
    width : float
        Of a bin.
    precision : {"double", "single"}
        Of states, operators and expansion; clocks and surviving probabilities are double.
    step : float, optional
        Upper bound of a piece.

    Returns
    -------
    CountingPlan

    Raises
    ------
    ValueError
        If there are diffusive channels, or for another precision.
    """
    if roles.diffusive:
        raise ValueError("Argument `roles` must have no diffusive channels for this plan; use `ket_plan`.")
    if precision not in PRECISIONS:
        raise ValueError(f"Argument `precision` must be one of {sorted(PRECISIONS)}, but is {precision!r}.")
    promise = PRECISIONS[precision]
    jumps = [(K, j) for j, group in enumerate(roles.counted) for K in group] + [(L, -1) for L in roles.unread]
    A = generator(lowered.H, [L for L, _ in jumps])
    slowest, fastest = interval(prune(-(A + A.conj().T), 0.0))  # of ΣL†L
    lowest, highest = interval(prune(0.5j * (A - A.conj().T), 0.0))  # of H
    energy, decay = 0.5 * (lowest + highest), 0.25 * (slowest + fastest)
    # a spectrum of one point still needs a frame, of whatever size
    half_width = max(0.5 * (highest - lowest), 1e-9 * max(abs(energy), decay)) or 1.0
    radius, axis, reach = series(half_width, 0.25 * (fastest - slowest), decay, promise)
    longest = min(float(reach[-1]), step or math.inf)
    diagonal = (2.0 / radius) * (A.diagonal() + decay + 1j * energy)
    Y2, ends = _by_kind((2.0 / radius) * (A - sp.diags_array(A.diagonal(), format="csr")))
    operators = [Y2, *(L for L, _ in jumps), *observables]
    ptr, used = [], 0
    for O in operators:
        ptr.append(O.indptr.astype(np.int64) + used)
        used += O.nnz
    data = np.concatenate([O.data for O in operators])
    edge_ptr, edge_index = _edges(lowered)
    return CountingPlan(
        np.ascontiguousarray(ptr),
        np.concatenate([O.indices for O in operators]).astype(np.int32),
        np.ascontiguousarray(data.real, dtype=promise.dtype),
        np.ascontiguousarray(data.imag, dtype=promise.dtype),
        ends,
        np.array([diagonal.real, diagonal.imag], dtype=promise.dtype),
        radius,
        decay,
        energy,
        axis + decay,
        reach,
        promise.growth,
        _ints([1 + k for k in range(len(jumps))]),
        _ints([counter for _, counter in jumps]),
        _ints([1 + len(jumps) + k for k in range(len(observables))]),
        edge_ptr,
        edge_index,
        longest,
        max(1, round(width / longest * len(reach))),
    )


def _by_kind(A: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
    """CSR whose rows hold imaginary elements first, then real ones, then complex ones; and where the first two end."""
    A = prune(A, 0.0)
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    kind = np.where(A.data.real == 0, 0, np.where(A.data.imag == 0, 1, 2))
    order = np.lexsort((A.indices, kind, rows))
    counts = [np.bincount(rows[kind == k], minlength=A.shape[0]) for k in (0, 1)]
    ends = A.indptr[:-1] + np.cumsum(counts, axis=0)
    return sp.csr_array((A.data[order], A.indices[order], A.indptr), shape=A.shape), ends.astype(np.int64)
