"""Time dependence in plans: the numbers of a plan as polynomials of the coefficients, fitted once, summed every step.

Coefficients f_k(t) multiply constant operators, but a plan holds exponentials and roots of them.  Over the values that
the coefficients take in a run these are smooth, so every number of a plan that varies is a polynomial of them: plans
are built for some of the values, the polynomial is fitted, and its error measured on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..systems import LoweredSystem
from ..unravelings import Unraveling
from .kernels.density import DensityPlan
from .kernels.drive import CLOSING_PART, NODE_PART, OPENING_PART, Drive, no_drive
from .kernels.ket import KetPlan
from .plan import (
    FIRST_ORDER_FRACTION,
    Patterns,
    Roles,
    assign,
    commute,
    default_step,
    density_plan,
    ket_plan,
    norm_bound,
    substeps,
)
from .schemes import Rouchon, Scheme

Plan = KetPlan | DensityPlan

#: Largest error of the fit, relative to the scale of the number: see `_scales`.
FIT_TOLERANCE = 1e-11
#: Largest number of monomials.
MAX_TERMS = 300
#: Values at which a polynomial is fitted, per monomial, and further ones at which its error is measured, per parameter;
#: where it fails there, those are fitted, too, and others looked at: so many times.
FITTED, MEASURED, ROUNDS = 1.5, 8, 4
#: Cells per axis within which values of coefficients are neighbours, and how many cells are looked at.
CELLS, MAX_CELLS = 64, 20_000
#: Numbers are linear in others if this fraction of them, or less, is not.
DEPENDENT = 1e-12
#: Times at which a run is looked at to choose its step: at least, per bin, at most.
LOOKS, LOOKS_PER_BIN, MAX_LOOKS = 512, 4, 100_000
#: Change of H within a step, as an angle, that the default step allows.
DRIFT = 0.004
#: Largest table of coefficients, in numbers.
MAX_TABLE = 5e7


def times_of_parts(t0: float, dt: float, n_steps: int) -> np.ndarray:
    """(4, n_steps + 1) times at which the parts of every step are evaluated, cut to the run."""
    node = t0 + dt * np.arange(n_steps + 1)
    end = node[-1]
    return np.clip(np.stack([node, node + 0.25 * dt, node - 0.25 * dt, node + 0.5 * dt]), t0, end)


def coefficients_of_parts(lowered: LoweredSystem, times: np.ndarray) -> np.ndarray:
    """(n_coefficients, n_parts (n_steps + 1)) coefficients at `times_of_parts`.

    About a node, the mean of those a quarter of a step before and behind, which is right for pulses switched there.
    """
    values = lowered.values(times.reshape(-1)).reshape(-1, *times.shape)
    values[:, NODE_PART] = 0.5 * (values[:, OPENING_PART] + values[:, CLOSING_PART])
    return values.reshape(len(values), -1)


def real_parameters(values: np.ndarray) -> np.ndarray:
    """(n_parameters, n) scaled real numbers that vary, from complex coefficients (n_coefficients, n).

    Numbers that are linear in earlier ones, as those of f* in those of f, are left out.
    """
    parts = np.concatenate([values.real, values.imag])
    low, high = parts.min(axis=1), parts.max(axis=1)
    varies = high - low > 1e-14 * np.maximum(abs(low), abs(high))
    parts, low, high = parts[varies], low[varies, None], high[varies, None]
    scaled = (2 * parts - low - high) / (high - low)
    basis, kept = [np.full(scaled.shape[1], scaled.shape[1] ** -0.5)], []
    for i, x in enumerate(scaled):
        rest = x
        for u in 2 * basis:  # twice is enough for orthogonality to rounding
            rest = rest - (u @ rest) * u
        size = np.linalg.norm(rest)
        if size > DEPENDENT * np.linalg.norm(x):
            basis.append(rest / size)
            kept.append(i)
    return scaled[kept]


def spread_out(parameters: np.ndarray, n: int) -> np.ndarray:
    """Indices of columns of (n_parameters, n_values): the first n as far apart as can be, then others at random.

    Chosen by what the values are, not by when they come: outside a short pulse most times of a run have one value.
    """
    n_parameters, n_values = parameters.shape
    if n_parameters == 0:
        return np.zeros(1, dtype=np.int64)
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**62, n_parameters)  # of cells; integers wrap around
    cell = hashes @ np.round(0.5 * CELLS * parameters).astype(np.int64)
    _, one_of_each = np.unique(cell, return_index=True)
    extremes = [int(f(x)) for x in parameters for f in (np.argmin, np.argmax)]
    candidates = np.concatenate([extremes, rng.permutation(one_of_each)[:MAX_CELLS]])
    points = parameters[:, candidates]
    chosen, distance = [0], np.full(len(candidates), np.inf)
    while len(chosen) < n:
        distance = np.minimum(distance, ((points - points[:, chosen[-1:]]) ** 2).sum(axis=0))
        if not distance.max() > 0:
            break
        chosen.append(int(np.argmax(distance)))
    others = rng.permutation(n_values)[:MAX_CELLS]
    _, different = np.unique(parameters[:, others], axis=1, return_index=True)
    others = others[np.sort(different)]
    return np.concatenate([candidates[chosen], others[~np.isin(others, candidates[chosen])]])


def monomials(parameters: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(n_terms, n) products of parameters (n_parameters, n)."""
    padded = np.concatenate([parameters, np.ones((1, parameters.shape[1]))])
    return padded[factors].prod(axis=1)


def products(n_parameters: int, degree: int) -> np.ndarray:
    """All monomials up to a degree, as `Drive.factors`."""
    rows = [
        [*chosen, *[-1] * (degree - k)]
        for k in range(degree + 1)
        for chosen in combinations_with_replacement(range(n_parameters), k)
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), degree)


class _Grew(Exception):
    """A plan has elements that an earlier one had not."""


def fit(
    build: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    scales: Callable[[np.ndarray], np.ndarray] = lambda largest: np.maximum(1.0, largest),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polynomials for numbers that depend on coefficients.

    Parameters
    ----------
    build : callable
        Numbers (n_numbers,) for one vector of coefficients.
    values : ndarray, (n_coefficients, n)
        Coefficients that occur in the run.
    scales : callable
        What the error of each number is relative to, from the largest moduli that the numbers have.

    Returns
    -------
    factors, weights, parameters
        `Drive.factors`; (n_terms, n_numbers); (n_parameters, n).
    """
    parameters = real_parameters(values)
    n_parameters = len(parameters)
    known: dict[int, np.ndarray] = {}

    def at(indices: np.ndarray) -> np.ndarray:
        for i in indices:
            if i not in known:
                known[i] = build(values[:, i])
        sizes = {known[i].size for i in indices}
        if len(sizes) > 1:
            raise _Grew
        return np.array([known[i] for i in indices])

    order = spread_out(parameters, math.ceil(FITTED * MAX_TERMS) + MEASURED * n_parameters)
    degree = 0
    while True:
        degree += 1
        factors = products(n_parameters, degree)
        if len(factors) > MAX_TERMS:
            raise ValueError(
                f"Argument `system` has {n_parameters} independent time-dependent numbers, too many or too strong for "
                f"this step; pass a shorter `step`, or let terms share one coefficient."
            )
        left = order[math.ceil(FITTED * len(factors)) :]
        inside = order[: len(order) - len(left)]
        for _ in range(ROUNDS):
            outside, left = left[: MEASURED * n_parameters], left[MEASURED * n_parameters :]
            weights = np.linalg.lstsq(monomials(parameters[:, inside], factors).T, at(inside), rcond=1e-13)[0]
            scale = scales(abs(at(inside)).max(axis=0))
            measured = [
                (abs(monomials(parameters[:, some], factors).T @ weights - at(some)) / scale).max(axis=1, initial=0.0)
                for some in (inside, outside)
                if some.size
            ]
            if max(error.max(initial=0.0) for error in measured) <= FIT_TOLERANCE:
                return factors, weights, parameters
            if measured[0].max() > FIT_TOLERANCE:  # too low a degree
                break
            inside = np.concatenate([inside, outside])  # parameters that go along a curve leave gaps between them


def driven_plan(
    lowered: LoweredSystem,
    unraveling: Unraveling,
    roles: Roles,
    observables: list[sp.csr_array],
    width: float,
    step: float | None,
    scheme: Scheme,
    is_ket: bool,
    t0: float,
    n_bins: int,
    make: Any = None,
) -> tuple[Plan, Drive]:
    """Plan and time dependence of a stretch of equal bins from t0 on; `make`: what plans are made by, if not usual."""
    make = make or (ket_plan if is_ket else density_plan)
    if isinstance(scheme, Rouchon) and (roles.rotating or lowered.channel_terms or not is_ket):
        raise ValueError(
            "Argument `scheme` must be ba.Splitting() where detected channels, local oscillators or, at level "
            f"'density', H depend on time, but is {scheme!r}."
        )
    if step is None:
        step = choose_step(lowered, unraveling, roles, width, is_ket, t0, n_bins)
        step *= FIRST_ORDER_FRACTION if isinstance(scheme, Rouchon) else 1.0
    n_sub = substeps(width, step)
    n_steps, dt = n_bins * n_sub, width / n_sub
    if 4.0 * n_steps * max(1, 2 * len(lowered.coefficients)) > MAX_TABLE:
        raise ValueError(
            f"Argument `times` spans {n_steps:.2g} steps of time-dependent coefficients in one run; continue shorter "
            "runs with `initial`, or pass a longer `step`."
        )
    rotation = _rotation(roles, t0, dt, n_steps)
    if not lowered.time_dependent:
        return make(lowered, roles, observables, width, step, scheme), no_drive()._replace(
            rotating=True, rotation=rotation
        )
    times = times_of_parts(t0, dt, n_steps)
    values = coefficients_of_parts(lowered, times)
    patterns = Patterns()
    seen: list[Plan] = []
    not_commuting: list[bool] = []

    def build(coefficients: np.ndarray) -> np.ndarray:
        frozen = lowered.frozen(coefficients)
        now = assign(frozen, unraveling, is_ket, keep_empty=True)
        patterns.restart()
        plan = make(frozen, now, observables, width, step, scheme, patterns)
        if patterns.grew and seen:
            raise _Grew
        seen.append(plan)
        not_commuting.append(not commute(now))
        return _numbers(plan)

    while True:  # until the plans for all values looked at have one pattern
        try:
            factors, weights, parameters = fit(build, values, lambda largest: _scales(seen[-1], largest))
            break
        except _Grew:
            seen.clear()
    plan = seen[-1]
    reach = min(p.reach for p in seen)
    plan = plan._replace(reach=reach, alternate=any(not_commuting))
    numbers = np.array([_numbers(p) for p in seen])
    # what is constant stays as it is: a fit would put its rounding there
    varies = np.flatnonzero(np.ptp(numbers, axis=0) > 1e-15 * abs(numbers).max(axis=0))
    of_step = _belongs_to_step(plan)[varies]
    table = parameters.reshape(len(parameters), *times.shape).transpose(1, 2, 0)
    return plan, Drive(
        True,
        np.ascontiguousarray(table),
        factors,
        np.ascontiguousarray(weights[:, varies[~of_step]]),
        varies[~of_step],
        np.ascontiguousarray(weights[:, varies[of_step]]),
        varies[of_step],
        roles.rotating,
        rotation,
    )


def choose_step(
    lowered: LoweredSystem,
    unraveling: Unraveling,
    roles: Roles,
    width: float,
    is_ket: bool,
    t0: float,
    n_bins: int,
) -> float:
    """A step that is short against rates, frequencies and the time dependence."""
    n_looks = min(max(LOOKS, LOOKS_PER_BIN * n_bins), MAX_LOOKS)
    spacing = n_bins * width / n_looks
    # at times without a period, so that nothing fast looks slow
    before = t0 + spacing * (np.arange(n_looks) + np.random.default_rng(0).uniform(0.0, 0.99, n_looks))
    delta = max(1e-6 * spacing, 1e4 * float(np.spacing(abs(before).max())))
    times = np.concatenate([before, before + delta, before + 2 * delta])

    def largest_rate(values: np.ndarray) -> np.ndarray:
        """Largest |derivative|; of two successive differences the smaller, which is none where pulses are switched."""
        pieces = values.reshape(*values.shape[:-1], 3, n_looks)
        return abs(np.diff(pieces, axis=-2)).min(axis=-2).max(axis=-1) / delta

    steps = [math.inf]
    for detector in roles.oscillators:
        if detector is not None:
            rate = float(largest_rate(detector.phase_at(times)))
            steps.append(0.1 / rate if rate > 0 else np.inf)
    if lowered.time_dependent:
        values = lowered.values(times)
        change = largest_rate(values)
        strength = [sum(norm_bound(A) for A, k in lowered.H_terms if k == j) for j in range(len(values))]
        drift = float(change @ np.array(strength))
        steps.append(np.sqrt(DRIFT / drift) if drift > 0 else np.inf)
        size = abs(values).max(axis=1)
        fast = [c / s for c, s in zip(change, size, strict=True) if s > 0 and c > 0]
        steps.append(0.1 / max(fast) if fast else np.inf)
        looks = values[:, np.linspace(0, n_looks - 1, 8).astype(int)].T
        constant = [lowered.frozen(v) for v in looks]
    else:
        constant = [lowered]
    if roles.diffusive:
        steps += [default_step(now, assign(now, unraveling, is_ket)) for now in constant]
    return float(min(steps))


def _rotation(roles: Roles, t0: float, dt: float, n_steps: int) -> np.ndarray:
    """cos φ and −sin φ of every diffusive channel in the middle of every step; 1, 0 where φ is constant."""
    if not roles.rotating:
        return no_drive().rotation
    middle = t0 + dt * (np.arange(n_steps) + 0.5)
    out = np.zeros((n_steps, len(roles.diffusive), 2))
    out[:, :, 0] = 1.0
    for j, detector in enumerate(roles.oscillators):
        if detector is not None:
            phase = detector.phase_at(middle)
            out[:, j] = np.stack([np.cos(phase), -np.sin(phase)], axis=1)
    return out


#: The arrays of a plan whose numbers may vary, in the order in which the kernels count them.
_VARYING: dict[type, tuple[str, ...]] = {
    KetPlan: ("re", "im"),
    DensityPlan: ("re", "im", "pattern_re", "pattern_im", "gain_re", "gain_im"),
}


def _arrays(plan: Plan) -> list[np.ndarray]:
    return [getattr(plan, name) for name in _VARYING[type(plan)]]


def _numbers(plan: Plan) -> np.ndarray:
    return np.concatenate([a.reshape(-1) for a in _arrays(plan)])


def _belongs_to_step(plan: Plan) -> np.ndarray:
    """Which numbers belong to D; the others belong to P."""
    of_step = [np.zeros(a.size, dtype=bool) for a in _arrays(plan)]
    operators = plan.kraus if isinstance(plan, KetPlan) else plan.moments
    for o in operators.reshape(-1):
        for part in of_step[:2]:
            part[plan.ptr[o, 0] : plan.ptr[o, -1]] = True
    if isinstance(plan, DensityPlan):
        for part in of_step[2:4]:
            part[:] = True
    return np.concatenate(of_step)


def _scales(plan: Plan, largest: np.ndarray) -> np.ndarray:
    """What the errors of a plan's numbers are relative to, from the largest modulus of each.

    Propagators are near 1; generators, jumps and what else carries units may be of any size, and have that of their
    operator's largest element.
    """
    out = largest.copy()
    parts = np.split(out, np.cumsum([a.size for a in _arrays(plan)])[:-1])

    def scale(pair: list[np.ndarray], near_one: bool) -> None:
        top = max(part.max(initial=0.0) for part in pair)
        for part in pair:
            part[:] = np.maximum(1.0, part) if near_one else top

    near_one = set(plan.slots.reshape(-1)) | (set(plan.kraus[:, 0]) if isinstance(plan, KetPlan) else set())
    for o, ptr in enumerate(plan.ptr):
        scale([part[ptr[0] : ptr[-1]] for part in parts[:2]], o in near_one)
    if isinstance(plan, DensityPlan):
        for k, ptr in product(range(3), plan.pattern_ptr):  # K0, K1, K2
            scale([part.reshape(3, -1)[k, ptr[0] : ptr[-1]] for part in parts[2:4]], k == 0)
        scale(parts[4:], False)
    return np.where(out > 0.0, out, 1.0)


def own_numbers(plan: Plan) -> Plan:
    """A plan whose varying numbers may be written to by one batch."""
    return plan._replace(**{name: getattr(plan, name).copy() for name in _VARYING[type(plan)]})
