"""Plans: system + unraveling + level lowered once to the flat arrays that a kernel sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import norm

from ..systems import LoweredSystem
from ..unravelings import Detector, Unraveling
from .kernels.density import DensityPlan
from .kernels.feedback import no_feedback
from .kernels.ket import KetPlan
from .kernels.lane import LANE_RUN, REACH, Rows
from .kernels.products import RUN, stride_of
from .kernels.together import GROUP
from .propagators import (
    DROP,
    SPLITTING_DROP,
    anticommutator,
    expm,
    generator,
    kraus,
    largest,
    norm_bound,
    prune,
    rouchon_remainder,
    slot_operators,
)
from .schemes import Rouchon, Scheme, Splitting

#: Default step: this over the mean rate of events plus the frequency at which H turns what is measured.
STEP_FRACTION = 0.1
#: The same for schemes of first order, relative to that.
FIRST_ORDER_FRACTION = 0.25
#: Click times relative to their slot: to rounding where counting is all, well below the step's own error beside
#: diffusive detectors.
EXACT_TOLERANCE = 1e-15
DIFFUSIVE_TOLERANCE = 1e-4
MAX_SUBSTEPS = 1e9
#: Most Taylor expansions of a slot of density matrices under counters alone.
MAX_PIECES = 256
#: Dimension from which state vectors beside diffusive detectors take P by a Taylor series: the propagator fills up.
#: Its error per piece of a step, and the longest piece, in units of the inverse norm of the generator.
SERIES_FROM, SERIES_ERROR, SERIES_REACH = 1000, 1e-11, 6.0


@dataclass(frozen=True)
class Roles:
    """What the detectors make of a system's channels.

    Attributes
    ----------
    diffusive : list of (operator, kind, output)
        ``√η e^{−iφ}L``; kind 0 homodyne, 1 heterodyne; output −1 if nobody reads it.
    counted : list of list of operators
        Per counter, the Kraus operators of its click, dark counts (√ν 1) included.
    unread : list of operators
        What is lost without a record: unwatched channels and the parts √(1−η)L.
    currents, counters : tuple of Detector
        Recorded detectors, in the order of `output` and of `counted`.
    oscillators : tuple of (Detector or None)
        Per diffusive channel, the detector if its phase depends on time; the operator is then without its phase.
    """

    diffusive: list[tuple[sp.csr_array, int, int]]
    counted: list[list[sp.csr_array]]
    unread: list[sp.csr_array]
    currents: tuple[Detector, ...]
    counters: tuple[Detector, ...]
    oscillators: tuple[Detector | None, ...] = ()

    @property
    def rotating(self) -> bool:
        """Does a local oscillator depend on time?"""
        return any(d is not None for d in self.oscillators)


def assign(lowered: LoweredSystem, unraveling: Unraveling, hidden: bool, keep_empty: bool = False) -> Roles:
    """Roles of all channels.

    `hidden`: unravel by unread diffusive detectors too (state vectors); `keep_empty`: keep operators that are zero, as
    those of a time-dependent system may be at one time and not at another.
    """
    unraveling.check(lowered.channels)
    currents = tuple(d for d in unraveling.detectors if d.recorded and d.kind != "jumps")
    counters = tuple(d for d in unraveling.detectors if d.recorded and d.kind == "jumps")
    diffusive: list[tuple[sp.csr_array, int, int]] = []
    counted: list[list[sp.csr_array]] = [[] for _ in counters]
    unread: list[sp.csr_array] = []
    oscillators: list[Detector | None] = []
    for detector in unraveling.detectors:
        eta = detector.efficiency
        for channel in detector.channels:
            L = lowered.channels[channel]
            if not detector.recorded and not (hidden and detector.kind != "jumps"):
                unread.append(L)
                continue
            seen = math.sqrt(eta) * L
            if detector.kind == "jumps":
                counted[counters.index(detector)].append(seen)
            else:
                kind = 0 if detector.kind == "homodyne" else 1
                output = currents.index(detector) if detector.recorded else -1
                fixed = detector.phase if isinstance(detector.phase, Real) else 0.0
                diffusive.append((np.exp(-1j * fixed) * seen, kind, output))
                oscillators.append(detector if detector.time_dependent else None)
            if eta < 1:
                unread.append(math.sqrt(1 - eta) * L)
        if detector.recorded and detector.dark_rate > 0:
            one = sp.eye_array(lowered.dim, dtype=complex, format="csr")
            counted[counters.index(detector)].append(math.sqrt(detector.dark_rate) * one)
    unread += [L for name, L in lowered.channels.items() if name not in unraveling.channels]
    nonzero = [[K for K in group if K.nnz or keep_empty] for group in counted]
    remaining = [L for L in unread if L.nnz or keep_empty]
    return Roles(diffusive, nonzero, remaining, currents, counters, tuple(oscillators))


def is_complete(lowered: LoweredSystem, unraveling: Unraveling) -> bool:
    """Is every channel watched and read with efficiency 1, without dark counts or joined channels?"""
    watched = {
        d.channels[0]
        for d in unraveling.detectors
        if d.recorded and d.efficiency == 1 and d.dark_rate == 0 and len(d.channels) == 1
    }
    return all(name in watched for name, L in lowered.channels.items() if L.nnz or name in lowered.channel_terms)


def _commute(x: sp.csr_array, y: sp.csr_array) -> bool:
    return norm_bound(prune(x @ y - y @ x, 0.0)) <= 1e-12 * norm_bound(x) * norm_bound(y)


def commute(roles: Roles) -> bool:
    """Do the measurements of the diffusive channels commute (operators and their c†c)?"""
    return all(
        _commute(x, y)
        for a, b in combinations([c for c, _, _ in roles.diffusive], 2)
        for x, y in ((a, b), (a.conj().T @ a, b), (b.conj().T @ b, a))
    )


def measurements_commute(roles: Roles, is_ket: bool) -> bool:
    """Do the diffusive operators commute with each other and with what clicks beside them?"""
    diffusive = [c for c, _, _ in roles.diffusive]
    clicks = [K for group in roles.counted for K in group] + (roles.unread if is_ket else [])
    return all(_commute(x, y) for x, y in [*combinations(diffusive, 2), *product(diffusive, clicks)])


def frequency(lowered: LoweredSystem, roles: Roles) -> float:
    """How fast H turns the measured operators: the largest ‖[H, c]‖/‖c‖ (Frobenius) of the diffusive channels."""
    turning = [0.0]
    for c, _, _ in roles.diffusive:
        size = norm(c)
        if size > 0:
            turning.append(float(norm(lowered.H @ c - c @ lowered.H) / size))
    return max(turning)


def default_step(lowered: LoweredSystem, roles: Roles) -> float:
    """A step short against the mean rate of events in the basis and against `frequency`."""
    operators = [c for c, _, _ in roles.diffusive] + roles.unread + [K for group in roles.counted for K in group]
    events = sum(float(norm(L)) ** 2 for L in operators) / lowered.dim
    rate = events + frequency(lowered, roles)
    return STEP_FRACTION / rate if rate > 0 else math.inf


def substeps(width: float, step: float) -> int:
    """Number of internal steps in a bin."""
    if not width / step <= MAX_SUBSTEPS:
        raise ValueError(
            f"Argument `step` must not be shorter than a bin by a factor above {MAX_SUBSTEPS:.0e}, but is {step:.3g} "
            f"for bins of {width:.3g}; use a longer step or shorter bins."
        )
    return max(1, math.ceil(width / step - 1e-9))


def ket_plan(
    lowered: LoweredSystem,
    roles: Roles,
    observables: list[sp.csr_array],
    width: float,
    step: float | None,
    scheme: Scheme = Splitting(),  # noqa: B008 (frozen)
    patterns: Patterns | None = None,
) -> KetPlan:
    """Plan for state vectors; unread channels become hidden counters."""
    jumps = [(K, j) for j, group in enumerate(roles.counted) for K in group] + [(L, -1) for L in roles.unread]
    A = generator(lowered.H, [L for L, _ in jumps])
    bound = norm_bound(A)
    reach = REACH / bound if bound else math.inf
    merged = isinstance(scheme, Rouchon) and bool(roles.diffusive)
    alternate = not commute(roles)
    if step is None:
        step = default_step(lowered, roles) if roles.diffusive else reach
        step *= FIRST_ORDER_FRACTION if merged else 1.0
    series = bool(roles.diffusive) and lowered.dim >= SERIES_FROM and patterns is None
    n_sub = substeps(width, step)
    dt = width / n_sub
    pack = _Pack(lowered.dim, patterns)
    drop = SPLITTING_DROP if roles.diffusive and patterns is None else DROP
    if series:
        slots = [pack.add(None)] * 2
    else:
        slots = [pack.add(expm(A * dt, drop)), pack.add(expm(A * (0.5 * dt), drop) if roles.diffusive else None)]
    generator_index = pack.add(A)
    if merged:
        K0 = pack.add(rouchon_remainder([(c, kind) for c, kind, _ in roles.diffusive], dt, drop=drop))
        kraus_index = [[K0] * 3 for _ in roles.diffusive]
    else:
        kraus_index = [[pack.add(K) for K in kraus(c, dt)] for c, _, _ in roles.diffusive]
    jump_index = [pack.add(L) for L, _ in jumps]
    observable_index = [pack.add(O) for O in observables]
    edge_ptr, edge_index = _edges(lowered)
    return KetPlan(
        *pack.arrays(),
        _ints(slots),
        np.array([_series(bound * t) if series else (0, 0) for t in (dt, 0.5 * dt)], dtype=np.int64).T.copy(),
        generator_index,
        reach,
        np.array(kraus_index, dtype=np.int64).reshape(-1, 3),
        _ints([kind for _, kind, _ in roles.diffusive]),
        _ints([output for _, _, output in roles.diffusive]),
        _columns(roles),
        _ints(jump_index),
        _ints([counter for _, counter in jumps]),
        _ints(observable_index),
        pack.rows([generator_index, *jump_index]),
        edge_ptr,
        edge_index,
        dt,
        n_sub,
        alternate,
        DIFFUSIVE_TOLERANCE if roles.diffusive else EXACT_TOLERANCE,
        False,
        no_feedback(),
        merged,
        *_classes([c for c, _, _ in roles.diffusive] if merged else [], lowered.dim),
    )


def _series(x: float) -> tuple[int, int]:
    """Terms of the Taylor series after which the rest of e^{x/pieces} is below `SERIES_ERROR`; and the pieces."""
    pieces = max(1, math.ceil(x / SERIES_REACH))
    x /= pieces
    term, k = x, 1
    while term > SERIES_ERROR:
        k += 1
        term *= x / k
    return k, pieces


def density_plan(
    lowered: LoweredSystem,
    roles: Roles,
    observables: list[sp.csr_array],
    width: float,
    step: float | None,
    scheme: Scheme = Splitting(),  # noqa: B008 (frozen)
    patterns: Patterns | None = None,
    adjoint: bool = False,
    flip: bool = False,
) -> DensityPlan:
    """Plan for density matrices; unread channels are averaged over.

    `adjoint`: every map ρ → ΣKρK† becomes E → ΣK†EK, and the parts of a slot change places.  Run on the conjugated
    record from its end, it carries the effect operator backwards.  `flip`: diffusive channels in reverse order.
    """
    turned = _dagger if adjoint else _same
    if flip:
        roles = replace(roles, diffusive=roles.diffusive[::-1], oscillators=roles.oscillators[::-1])
    counted = [K for group in roles.counted for K in group]
    merged = isinstance(scheme, Rouchon) and bool(roles.diffusive)
    # a merged step has all but the clicks in its one operator
    tables: list[Any]
    fill: Any
    H, unread = (0 * lowered.H, []) if merged else (lowered.H, roles.unread)
    A = generator(H, unread + counted)
    bound = 2 * norm_bound(A) + sum(norm_bound(L) ** 2 for L in unread)
    reach = REACH / bound if bound else math.inf
    alternate = not commute(roles)
    exact = not roles.diffusive
    if step is None:
        step = math.inf if exact else default_step(lowered, roles)
        step *= FIRST_ORDER_FRACTION if merged else 1.0
    n_sub = substeps(width, min(step, MAX_PIECES * reach) if exact else step)
    dt = width / n_sub
    pack = _Pack(lowered.dim, patterns)
    slots = [[pack.add(None)] * 2] * 2
    if not exact:
        drop = SPLITTING_DROP if patterns is None else DROP
        pairs = [slot_operators(A, unread, t, drop, bool(counted)) for t in (dt, 0.5 * dt)]
        slots = [[pack.add(turned(E)) for E in (reversed(pair) if adjoint else pair)] for pair in pairs]
    generator_index = pack.add(turned(A))
    gain = [pack.add(turned(L)) for L in unread]
    if merged:
        sets = [(sp.eye_array(lowered.dim, format="csr"), c, 0.5 * (c @ c)) for c, _, _ in roles.diffusive]
        *tables, fill = _together(roles, lowered.H, dt, turned)
        moments = [[pack.add(X) for X in (c, c.conj().T @ c, half)] for _, c, half in sets]
    else:
        sets = [tuple(pack.fit(K) for K in kraus(c, dt)) for c, _, _ in roles.diffusive]
        *tables, fill = *_joint_patterns([[turned(k) for k in K] for K in sets], lowered.dim), _NO_FILL
        moments = [
            [
                pack.add(prune(X, DROP * largest(X)))
                for X in (
                    K[0].conj().T @ K[1] + 2 * dt * (K[1].conj().T @ K[2]),
                    K[1].conj().T @ K[1],
                    K[0].conj().T @ K[2],
                )
            ]
            for K in sets
        ]
    click_ptr = np.cumsum([0] + [len(group) for group in roles.counted])
    clicks = [pack.add(turned(K)) for K in counted]
    observable_index = [pack.add(O) for O in observables]
    edge_ptr, edge_index = _edges(lowered)
    return DensityPlan(  # type: ignore[call-arg]
        *pack.arrays(),
        np.array(slots, dtype=np.int64),
        np.min([pack.lowest(o) for pair in slots for o in pair], axis=0),
        generator_index,
        reach,
        _ints(gain),
        *_gain_table(
            [pack.fit(turned(L)) for L in roles.unread] if not exact else [], lowered.dim, patterns is not None
        ),
        _ints([kind for _, kind, _ in roles.diffusive]),
        _ints([output for _, _, output in roles.diffusive]),
        _columns(roles),
        np.array(moments, dtype=np.int64).reshape(-1, 3),
        *tables,
        click_ptr.astype(np.int64),
        _ints(clicks),
        _ints(observable_index),
        edge_ptr,
        edge_index,
        dt,
        n_sub,
        alternate,
        EXACT_TOLERANCE if exact else DIFFUSIVE_TOLERANCE,
        exact,
        False,
        no_feedback(),
        merged,
        *fill,
    )


_NO_FILL = (np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros((0, 2), int))


def _same(X: sp.csr_array) -> sp.csr_array:
    return X


def _dagger(X: sp.csr_array) -> sp.csr_array:
    X = sp.csr_array(X.conj().T)
    X.sort_indices()
    return X


def _together(
    roles: Roles, H: sp.csr_array, dt: float, turned: Callable[[sp.csr_array], sp.csr_array] = _same
) -> tuple[Any, ...]:
    """K0 + X + ½:X²: of a merged step on its pattern: (ptr, col, re, im, lowest, fill) as in `DensityPlan`."""
    channels = [c for c, _, _ in roles.diffusive]
    n, d = len(channels), H.shape[0]
    K0 = rouchon_remainder([(c, kind) for c, kind, _ in roles.diffusive], dt, roles.unread, H)
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    terms = [K0, *channels]
    terms += [(0.5 if i == j else 1.0) * anticommutator(channels[i], channels[j]) / 2 for i, j in pairs]
    terms = [turned(prune(t, DROP * largest(t))) for t in terms]
    coos = [t.tocoo() for t in terms]
    where = np.concatenate([c.row.astype(np.int64) * d + c.col for c in coos])
    monomial = np.repeat(np.arange(len(terms)), [c.nnz for c in coos])
    value = np.concatenate([c.data for c in coos])
    elements, element = np.unique(where, return_inverse=True)
    order = np.lexsort((monomial, element))
    ptr = np.concatenate([[0], np.cumsum(np.bincount(elements // d, minlength=d))]).astype(np.int64)
    pattern = sp.csr_array((np.ones(len(elements)), elements % d, ptr), shape=(d, d))
    fill = (
        np.concatenate([[0], np.cumsum(np.bincount(element))]).astype(np.int64),
        monomial[order].astype(np.int64),
        np.ascontiguousarray(value[order].real),
        np.ascontiguousarray(value[order].imag),
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
    )
    nothing = np.zeros((3, 0))
    return ptr[None], (elements % d).astype(np.int64), nothing, nothing, _lowest(pattern)[None], fill


class Patterns:
    """Sparsity patterns of a plan's operators, in the order in which they are made: the union over several plans."""

    def __init__(self) -> None:
        self.union: list[sp.csr_array] = []
        self.grew = False
        self._next = 0

    def restart(self) -> None:
        """Before another plan is built."""
        self.grew = False
        self._next = 0

    def fit(self, A: sp.csr_array) -> sp.csr_array:
        """A with explicit zeros where another plan has elements."""
        i, self._next = self._next, self._next + 1
        mine = sp.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
        if i == len(self.union):
            self.union.append(mine)
        both = sp.csr_array(self.union[i] + mine)
        both.sort_indices()
        self.grew |= both.nnz > self.union[i].nnz
        self.union[i] = both
        d = A.shape[0]
        keys, own = (np.repeat(np.arange(d), np.diff(m.indptr)) * d + m.indices for m in (both, A))
        values = np.zeros(both.nnz, dtype=complex)
        values[np.searchsorted(keys, own)] = A.data
        return sp.csr_array((values, both.indices, both.indptr), shape=A.shape)


class _Pack:
    """Collects CSR operators into shared arrays."""

    def __init__(self, d: int, patterns: Patterns | None = None) -> None:
        self.d = d
        self.patterns = patterns
        self.ptr: list[np.ndarray] = []
        self.col: list[np.ndarray] = []
        self.data: list[np.ndarray] = []
        self.used = 0

    def fit(self, A: sp.csr_array) -> sp.csr_array:
        """A on the pattern that it shares with plans for other times."""
        return self.patterns.fit(A) if self.patterns is not None else A

    def add(self, A: sp.csr_array | None) -> int:
        A = self.fit(sp.csr_array((self.d, self.d), dtype=complex) if A is None else A)
        self.ptr.append(A.indptr.astype(np.int64) + self.used)
        self.col.append(A.indices[: A.nnz].astype(np.int64))  # SciPy's arrays may be longer than what they hold
        self.data.append(A.data[: A.nnz].astype(complex))
        self.used += A.nnz
        return len(self.ptr) - 1

    def lowest(self, operator: int) -> np.ndarray:
        """`_lowest` of an operator of the pack."""
        ptr = self.ptr[operator] - self.ptr[operator][0]
        return _lowest(sp.csr_array((self.data[operator], self.col[operator], ptr), shape=(self.d, self.d)))

    def rows(self, operators: list[int]) -> Rows:
        """Some operators, eight rows at a time."""
        n_blocks = -(-self.d // LANE_RUN)
        parts = []
        for i, o in enumerate(operators):
            row = np.repeat(np.arange(self.d), np.diff(self.ptr[o]))
            block, place = np.divmod(row, LANE_RUN)
            diagonal = self.col[o] - row + self.d
            key = ((i * n_blocks + block) * 2 * self.d) + diagonal
            parts.append((key, place, np.arange(self.ptr[o][0], self.ptr[o][-1])))
        key, place, index = (np.concatenate(x) for x in zip(*parts, strict=True))
        runs, number = np.unique(key, return_inverse=True)
        source = np.full((len(runs), LANE_RUN), -1, dtype=np.int64)
        source[number, place] = index
        block, diagonal = np.divmod(runs, 2 * self.d)
        ptr = _starts(np.bincount(block, minlength=len(operators) * n_blocks))
        last = np.arange(len(operators))[:, None] * n_blocks + np.arange(n_blocks + 1)
        return Rows(
            np.ascontiguousarray(ptr[last]),
            block % n_blocks * LANE_RUN + diagonal - self.d + LANE_RUN,
            source.reshape(-1),
            np.zeros(0),
            np.zeros(0),
        )

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        data = np.concatenate(self.data)
        return (
            np.ascontiguousarray(self.ptr),
            np.concatenate(self.col),
            np.ascontiguousarray(data.real),
            np.ascontiguousarray(data.imag),
        )


def _lowest(A: sp.csr_array) -> np.ndarray:
    """Lowest column in row r or any row below it; d where there is none."""
    d = A.shape[0]
    first = np.array([A.indices[a:b].min() if b > a else d for a, b in pairwise(A.indptr)], dtype=np.int64)
    return np.minimum.accumulate(first[::-1])[::-1].copy()


def _joint_patterns(sets: list, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """K0, K1, K2 of every diffusive channel on the union of their patterns."""
    ptr, col = np.zeros((len(sets), d + 1), dtype=np.int64), []
    values: list[list[np.ndarray]] = [[], [], []]
    lowest = np.zeros((len(sets), d), dtype=np.int64)
    used = 0
    for i, K in enumerate(sets):
        union = sp.csr_array(
            sum((sp.csr_array((np.ones(k.nnz), k.indices, k.indptr), k.shape) for k in K), 0 * abs(K[0]))
        )
        union.sort_indices()
        rows = np.repeat(np.arange(d), np.diff(union.indptr))
        ptr[i] = union.indptr.astype(np.int64) + used
        lowest[i] = _lowest(union)
        col.append(union.indices.astype(np.int64))
        for j, k in enumerate(K):
            values[j].append(np.asarray(k[rows, union.indices]).reshape(-1).astype(complex))
        used += union.nnz
    if not sets:
        return ptr, np.zeros(0, dtype=np.int64), np.zeros((3, 0)), np.zeros((3, 0)), lowest
    table = np.array([np.concatenate(v) for v in values])
    return ptr, np.concatenate(col), np.ascontiguousarray(table.real), np.ascontiguousarray(table.imag), lowest


def _classes(channels: list[sp.csr_array], d: int) -> tuple[Any, ...]:
    """Elements of X = Σ_j c_j z_j row by row and in classes, and ⟨c_j⟩ from overlaps: see `KetPlan`."""
    coos = [c.tocoo() for c in channels]
    for coo in coos:
        coo.eliminate_zeros()  # of a detector of efficiency 0: an element without a term would never be computed
    where = [c.row.astype(np.int64) * d + c.col for c in coos]
    elements = np.unique(np.concatenate([*where, np.zeros(0, dtype=np.int64)]))
    weights = np.zeros((len(elements), len(channels)), dtype=complex)
    for j, (coo, places) in enumerate(zip(coos, where, strict=True)):
        np.add.at(weights[:, j], np.searchsorted(elements, places), coo.data)
    classes, first, of_element = np.unique(weights, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as they are met: a kernel that reads its tables from end to end waits less for memory
    classes, of_element = classes[order], np.argsort(order)[of_element.reshape(-1)].astype(np.int64)
    row, col = elements // d, elements % d
    overlaps: dict[bytes, int] = {}
    members: list[np.ndarray] = []
    overlap_of, sign = np.zeros(len(classes), dtype=np.int64), np.ones(len(classes))
    starts = _starts(np.bincount(of_element, minlength=len(classes)))
    in_order = np.argsort(of_element, kind="stable")
    for e, (begin, end) in enumerate(pairwise(starts)):
        mine = in_order[begin:end]
        adjoint = np.sort(col[mine] * d + row[mine]).tobytes()
        if adjoint in overlaps:
            overlap_of[e], sign[e] = overlaps[adjoint], -1.0
            continue
        overlap_of[e] = overlaps[elements[mine].tobytes()] = len(members)
        members.append(mine)
    of_class, channel = np.nonzero(classes)
    value = classes[of_class, channel]
    met = np.zeros(len(elements), dtype=np.int64)  # terms of the classes, at the first element of each
    met[first[order]] = np.bincount(of_class, minlength=len(classes))
    ready, class_slot, phi_slot, n_slots = _schedule(row, col, of_element, d)
    group, within = np.divmod(overlap_of[of_class], GROUP)
    in_groups = np.lexsort((of_class, channel, group))
    n_groups = -(-len(members) // GROUP)
    w, s = value[in_groups], sign[of_class[in_groups]]
    chosen = np.concatenate([*members, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    return (
        _starts(np.bincount(row, minlength=d)),
        col,
        class_slot[of_element],
        phi_slot[col],
        phi_slot,
        n_slots,
        _starts(met),
        channel.astype(np.int64),
        np.ascontiguousarray(value.real),
        np.ascontiguousarray(value.imag),
        ready,
        _starts([len(m) for m in members]),
        row[chosen],
        col[chosen],
        _starts(np.bincount(group * len(channels) + channel, minlength=n_groups * len(channels))),
        within[in_groups],
        np.stack([w.real, s * w.real, w.imag, -s * w.imag], axis=1),
    )


def _schedule(
    row: np.ndarray, col: np.ndarray, of_element: np.ndarray, d: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """When rows of the second product with X are taken, and where x_e and φ lie until they are not needed any more.

    Returns, for each row of the first product, how many rows of the second can be done once it is; the slots of the
    x_e and of the rows of φ; and how many slots there are.
    """
    needed = np.arange(d)  # the first product of a row gives it its x_e
    np.maximum.at(needed, row, col)
    ready = np.searchsorted(np.maximum.accumulate(needed), np.arange(d), side="right")
    class_slot, phi_slot = np.full(int(of_element.max(initial=-1)) + 1, -1), np.zeros(d, dtype=np.int64)
    last_of_class, last_of_phi = np.zeros(len(class_slot), dtype=np.int64), np.full(d, -1)
    np.maximum.at(last_of_class, of_element, row)
    np.maximum.at(last_of_phi, col, row)
    leaving: list[list[int]] = [[] for _ in range(d)]  # slots that are free after a row of the second product
    free: list[int] = []
    n_slots = done = 0
    ptr = np.searchsorted(row, np.arange(d + 1))
    for r in range(d):
        for e in (-1, *of_element[ptr[r] : ptr[r + 1]]):
            if e >= 0 and class_slot[e] >= 0:
                continue
            slot = free.pop() if free else n_slots
            n_slots = max(n_slots, slot + 1)
            if e < 0:
                phi_slot[r] = slot
                leaving[max(last_of_phi[r], r)].append(slot)
            else:
                class_slot[e] = slot
                leaving[last_of_class[e]].append(slot)
        for q in range(done, ready[r]):
            free += leaving[q]
        done = int(ready[r])
    return ready, class_slot, phi_slot, n_slots


def _starts(counts: Any) -> np.ndarray:
    """Where each of consecutive groups of so many members begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _gain_table(
    gain: list[sp.csr_array], d: int, all_complex: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """J = Σ L·L† above the diagonal: what each run of columns of a row gathers, from where, with what weights.

    A term is a run of elements r' stride + c', … of ρ times four weights; a run may reach beyond the matrix, with
    weight 0.
    """
    stride = int(stride_of(d))
    rows, columns, sources, weights = [], [], [], []
    for L in gain:
        coo = L.tocoo()
        r, c = np.repeat(np.arange(L.nnz), L.nnz), np.tile(np.arange(L.nnz), L.nnz)
        keep = coo.row[r] // RUN <= coo.row[c] // RUN
        r, c = r[keep], c[keep]
        rows.append(coo.row[r])
        columns.append(coo.row[c])
        sources.append(coo.col[r].astype(np.int64) * stride + coo.col[c])
        weights.append(coo.data[r] * coo.data[c].conj())
    blocks = [(r, c) for r in range(d) for c in range(r // RUN, -(-d // RUN))]
    if not gain or not sum(len(w) for w in weights):
        return (
            np.zeros((len(blocks), 4), dtype=np.int64),
            np.zeros(0, dtype=np.int64),
            np.zeros((0, 4)),
            np.zeros((0, 4)),
        )
    number = np.zeros((d, -(-d // RUN)), dtype=np.int64)
    for i, place_of in enumerate(blocks):
        number[place_of] = i
    row, column = np.concatenate(rows), np.concatenate(columns)
    block, place = number[row, column // RUN], column % RUN
    start = np.concatenate(sources) - place  # of the run: element of its first column
    span = d * stride + RUN
    keys, term = np.unique(block * span + start + RUN, return_inverse=True)
    table = np.zeros((len(keys), RUN), dtype=complex)
    np.add.at(table, (term, place), np.concatenate(weights))
    block, start = keys // span, keys % span - RUN
    is_complex = np.any(table.imag != 0, axis=1) | all_complex
    order = np.lexsort((start, is_complex, block))
    table, block, start, is_complex = table[order], block[order], start[order], is_complex[order]
    n = len(blocks)
    all_, complex_ = np.bincount(block, minlength=n), np.bincount(block, weights=is_complex, minlength=n).astype(int)
    end = np.cumsum(all_)
    ptr = np.stack([end - all_, end - complex_, end, end - complex_ - (np.cumsum(complex_) - complex_)], axis=1)
    return (
        np.ascontiguousarray(ptr.astype(np.int64)),
        start.astype(np.int64),
        np.ascontiguousarray(table.real),
        np.ascontiguousarray(table.imag[is_complex]),
    )


def _edges(lowered: LoweredSystem) -> tuple[np.ndarray, np.ndarray]:
    parts = list(lowered.basis.edges.values())
    ptr = np.cumsum([0] + [len(p) for p in parts]).astype(np.int64)
    return ptr, (np.concatenate(parts) if parts else np.zeros(0)).astype(np.int64)


def _columns(roles: Roles) -> np.ndarray:
    """Where the normal numbers of each diffusive channel stand among those of a step: one, or two for heterodyne."""
    return np.cumsum([0] + [1 + kind for _, kind, _ in roles.diffusive]).astype(np.int64)


def _ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)
