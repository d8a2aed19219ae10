"""State vectors, 32 trajectories at a time.

Layout: real and imaginary parts apart, element r of lane l at ``32 r + l``; two copies of the state, the
current one at offset `cur` (0 or 32 d).  A step is
``P(dt/2) D P(dt/2)``: P is the no-jump propagator with jumps at their exact times, D the measurement of
the diffusive channels one after the other; neighbouring P(dt/2) inside a bin are one P(dt).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, inner_loop, kernel
from ..simd import add, any_below, at, div, expect_writing, fma, load32, mul, neg, splat32, store, store_transposed, sub
from .drive import MIDDLE_PART, Drive, no_drive, part_of_slot, sum_numbers
from .feedback import FeedbackPlan, FeedbackWork, feed_back_kets, feedback_work
from .increments import increments
from .lane import (
    BEFORE,
    BEHIND,
    CLICK,
    CLOSED,
    CLOSING,
    DONE,
    LANE_RUN,
    LOG_STEPS,
    MAX_ORDER,
    NOISE_STEPS,
    SAVE,
    STAGED,
    Rows,
    clicks_due,
    dot,
    expand,
    fill_rows,
    load_record,
    newton,
    norm_and_slope,
    operate,
    push_click,
    scale_row,
    size_of,
    slot_times,
    take_logarithm,
)
from .normals import draw
from .together import GROUP, LANES, diffuse_together

NEGLIGIBLE = 1e-10  # relative size of a Taylor vector: as little `condition` may differ from `simulate`
EXCLUDED = 1e-28  # |Lψ|²/‖L‖² of a click that the model excludes: nothing but rounding
STATE = MAX_ORDER + 1  # row of `lane` with a lane's state where it jumps
IMAGES = MAX_ORDER + 2  # and the first of those with what the jumps make of it


class KetPlan(NamedTuple):
    """All that the kernel sees of system and unraveling.

    Operators are CSR with shared arrays: row r of operator o is ``ptr[o, r] : ptr[o, r + 1]``.
    """

    ptr: np.ndarray  # (n_operators, d + 1) int64
    col: np.ndarray  # int64
    re: np.ndarray  # float64
    im: np.ndarray
    slots: np.ndarray  # (2,) operators of P(dt), P(dt/2)
    orders: np.ndarray  # (2, 2) order of the Taylor series in their place, 0: the operators; pieces of the slot
    generator: int  # operator −iH − Γ_jump/2
    reach: float  # longest time of one Taylor expansion
    kraus: np.ndarray  # (n_diffusive, 3) operators K0, K1, K2
    kinds: np.ndarray  # (n_diffusive,) 0 homodyne, 1 heterodyne
    outputs: np.ndarray  # (n_diffusive,) row of the record, −1 hidden
    columns: np.ndarray  # (n_diffusive + 1,) place of each channel's normal numbers in a step, and how many there are
    jumps: np.ndarray  # (n_jumps,) operators
    counters: np.ndarray  # (n_jumps,) counter, −1 hidden
    observables: np.ndarray  # (n_observables,) operators
    rows: Rows  # the generator and the jumps once more
    edge_ptr: np.ndarray  # (n_edges + 1,)
    edge_index: np.ndarray
    dt: float
    n_sub: int
    alternate: bool  # reverse the order of the diffusive channels in every second step of a stretch
    tolerance: float  # of click times, relative to the slot
    given: bool  # the record is given: nothing is drawn, the likelihood is followed
    loops: FeedbackPlan
    merged: bool  # all diffusive channels in one operator: see `together`
    row_ptr: np.ndarray  # (d + 1,) elements of X, row by row
    row_col: np.ndarray
    row_class: np.ndarray  # slot of the element's x_e
    row_phi: np.ndarray  # slot of φ in the element's column
    phi_slot: np.ndarray  # (d,) slot of φ in each row
    n_slots: int
    row_terms: np.ndarray  # (nnz + 1,) terms w_ej z_j of each element's class, where it is the first of its class
    class_channel: np.ndarray
    class_re: np.ndarray
    class_im: np.ndarray
    row_ready: np.ndarray  # (d,) rows of X that have all they need once φ is known up to this row
    overlap_ptr: np.ndarray  # (n_overlaps + 1,) elements of each overlap
    overlap_row: np.ndarray
    overlap_col: np.ndarray
    mean_ptr: np.ndarray  # (n_groups * n_diffusive + 1,) terms of each channel's mean from each group of overlaps
    mean_overlap: np.ndarray  # within the group
    mean_weights: np.ndarray  # (n_terms, 4) of the overlap's re in re, im in im, re in im, im in re


class KetWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (2 * d * 32,) the state, unnormalised, twice
    im: np.ndarray
    phi: np.ndarray  # (6 * d * 32,) K0ψ, K1ψ, K2ψ, real and imaginary parts
    norm: np.ndarray  # (32,) ⟨ψ|ψ⟩
    trial: np.ndarray  # (32,) norm after a slot
    alive: np.ndarray  # (32,) surviving probability since the last jump
    threshold: np.ndarray  # (32,) the jump comes when `alive` falls to it
    sums: np.ndarray  # (6 * 32,) inner products of the K_iψ: see `increments`
    z: np.ndarray  # (5 * 32,) a scale near 1/√norm, Re z, Im z, Re z2, Im z2
    steps: np.ndarray  # (n_diffusive, 2, 32) z_j of merged channels, real and imaginary parts
    slots: np.ndarray  # (n_slots, 2, 32) matrix elements x_e and rows of φ, as long as they are needed
    overlaps: np.ndarray  # (GROUP, 2, 32)
    means: np.ndarray  # (n_diffusive, 2, 32) ⟨c_j⟩ of merged channels times the norm
    lane: np.ndarray  # (IMAGES + n_jumps, 2, padded d) real and imaginary parts of single vectors: see `Rows`
    rows: Rows  # of the plan that runs
    weights: np.ndarray  # (n_jumps,) squared norms of what the jumps make of a lane
    crossing: np.ndarray  # (2,) lane that is being advanced on its own, and how far; −1: not begun
    click: np.ndarray  # (3,) time, lane and counter of a click that is to be recorded
    edges: np.ndarray  # (n_edges, 32) sums of edge populations
    hazard: np.ndarray  # (32,) sums of event probabilities per step
    words: np.ndarray  # (4, 32) uint64, generators of the noise: see `normals`
    noise: np.ndarray  # (NOISE_STEPS * columns[−1], 32) standard normals
    staged: np.ndarray  # (STAGED, n_outputs, 2, 32) finished bins that are not yet in `current`
    record: np.ndarray  # (n_outputs, 2, 32) sums of the increments in this bin
    place: np.ndarray  # (7,) int: position in the noise, cur, step in the bin, at an edge?, stage, staged, crossing?
    jumping: np.ndarray  # (32,) `alive` at the end of the slot if the lane does not jump
    likelihood: np.ndarray  # (32,) of a given record: factors whose logarithm is not yet in `log_likelihood`
    log_likelihood: np.ndarray  # (32,)
    given_times: np.ndarray  # given clicks, lane by lane: times
    given_owner: np.ndarray  # counter
    given_next: np.ndarray  # (32,) index of the lane's next click
    given_stop: np.ndarray  # (32,)
    clock: np.ndarray  # (1,) int: step since the stretch of equal bins began
    drive: Drive
    numbers: np.ndarray  # scratch for the numbers that vary
    loops: FeedbackWork


def own_rows(plan: KetPlan) -> Rows:
    """The plan's `rows` with memory for their elements.  They belong to one plan: others have other patterns."""
    return plan.rows._replace(re=np.zeros(plan.rows.source.size), im=np.zeros(plan.rows.source.size))


def ket_work(plan: KetPlan) -> KetWork:
    """Allocate the state and scratch of one batch; `drive` and `numbers` are set for every stretch of equal bins."""
    d, n_edges = plan.ptr.shape[1] - 1, len(plan.edge_ptr) - 1
    return KetWork(
        re=np.zeros(2 * d * LANES),
        im=np.zeros(2 * d * LANES),
        phi=np.zeros(6 * d * LANES),
        norm=np.ones(LANES),
        trial=np.ones(LANES),
        alive=np.ones(LANES),
        threshold=np.zeros(LANES),
        sums=np.zeros(6 * LANES),
        z=np.zeros(5 * LANES),
        steps=np.zeros((len(plan.kinds), 2, LANES)),
        slots=np.zeros((plan.n_slots, 2, LANES)),
        overlaps=np.zeros((GROUP if plan.merged else 0, 2, LANES)),
        means=np.zeros((len(plan.kinds), 2, LANES)),
        lane=np.zeros((IMAGES + len(plan.jumps), 2, LANE_RUN * (plan.rows.ptr.shape[1] + 1))),
        rows=own_rows(plan),
        weights=np.zeros(len(plan.jumps)),
        crossing=np.array([0.0, -1.0]),
        click=np.zeros(3),
        edges=np.zeros((n_edges, LANES)),
        hazard=np.zeros(LANES),
        words=np.zeros((4, LANES), dtype=np.uint64),
        noise=np.zeros((NOISE_STEPS * int(plan.columns[-1]), LANES)),
        staged=np.zeros((STAGED, int(plan.outputs.max(initial=-1)) + 1, 2, LANES)),
        record=np.zeros((int(plan.outputs.max(initial=-1)) + 1, 2, LANES)),
        place=np.array([NOISE_STEPS, 0, 0, 1, 0, 0, 0]),
        jumping=np.zeros(LANES),
        likelihood=np.ones(LANES),
        log_likelihood=np.zeros(LANES),
        given_times=np.zeros(0),
        given_owner=np.zeros(0, dtype=np.int64),
        given_next=np.zeros(LANES, dtype=np.int64),
        given_stop=np.zeros(LANES, dtype=np.int64),
        clock=np.zeros(1, dtype=np.int64),
        drive=no_drive(),
        numbers=np.zeros(0),
        loops=feedback_work(plan.loops, int(plan.outputs.max(initial=-1)) + 1, d, LANES),
    )


@inlined
def put_numbers(plan, targets, numbers):
    """Write numbers that vary into the plan."""
    n = plan.re.size
    for i in range(targets.size):
        t = targets[i]
        if t < n:
            plan.re[t] = numbers[i]
        else:
            plan.im[t - n] = numbers[i]


@inlined
def drive_slot(plan, work, stage, at_edge, row):
    """The numbers of P for the slot at hand."""
    part = part_of_slot(stage, CLOSING, at_edge, plan.kinds.size)
    sum_numbers(work.drive, part, row, work.drive.slot_weights, work.numbers)
    put_numbers(plan, work.drive.slot_targets, work.numbers)


@inlined
def drive_step(plan, work, row):
    """The numbers of D for the step at hand."""
    sum_numbers(work.drive, MIDDLE_PART, row, work.drive.step_weights, work.numbers)
    put_numbers(plan, work.drive.step_targets, work.numbers)


@inlined
def row_times(plan, begin, end, work, cur):
    """One row of A times the current state on 32 lanes: (real, imaginary)."""
    return row_product(plan, begin, end, work.re, work.im, cur, cur)


@inlined
def row_product(plan, begin, end, re, im, at_re, at_im):
    """One row of A times the vector whose parts begin at `at_re` and `at_im`."""
    accr = splat32(0.0)
    acci = splat32(0.0)
    for k in range(begin, end):
        c = at(plan.col, k) * LANES
        a = splat32(at(plan.re, k))
        vr = load32(re, at_re + c)
        vi = load32(im, at_im + c)
        accr = fma(a, vr, accr)
        acci = fma(a, vi, acci)
        b = at(plan.im, k)
        accr = fma(splat32(-b), vi, accr)
        acci = fma(splat32(b), vr, acci)
    return accr, acci


@inlined
def apply(plan, work, operator, cur):
    """Aψ into the other copy, and its squared norm into `trial`."""
    d = plan.ptr.shape[1] - 1
    other = d * LANES - cur
    total = splat32(0.0)
    for r in range(d):
        accr, acci = row_times(plan, plan.ptr[operator, r], plan.ptr[operator, r + 1], work, cur)
        store(work.re, other + r * LANES, accr)
        store(work.im, other + r * LANES, acci)
        total = fma(accr, accr, total)
        total = fma(acci, acci, total)
    store(work.trial, 0, total)


@inlined
def add_product(plan, base_re, base_im, at_re, at_im, factor, re, im, from_re, from_im, out_re, out_im, to_re, to_im):
    """base + factor × generator × a vector, into another place; returns the squared norm."""
    f = splat32(factor)
    total = splat32(0.0)
    for r in range(plan.ptr.shape[1] - 1):
        accr, acci = row_product(
            plan, plan.ptr[plan.generator, r], plan.ptr[plan.generator, r + 1], re, im, from_re, from_im
        )
        accr = fma(f, accr, load32(base_re, at_re + r * LANES))
        acci = fma(f, acci, load32(base_im, at_im + r * LANES))
        store(out_re, to_re + r * LANES, accr)
        store(out_im, to_im + r * LANES, acci)
        total = fma(accr, accr, total)
        total = fma(acci, acci, total)
    return total


@inner_loop
def series_piece(plan, work, order, time, other, base_re, base_im, at_re, at_im):
    """Horner's rule for e^{At} of the base, into the other copy, its squared norm into `trial`.

    The partial sums go to and fro between the other copy and `phi`, and end in the other copy.
    """
    n = work.re.size // 2
    re, im, phi = work.re, work.im, work.phi
    total = splat32(0.0)
    k = order
    f = time / k
    if k % 2 == 0:
        total = add_product(
            plan, base_re, base_im, at_re, at_im, f, base_re, base_im, at_re, at_im, phi, phi, 0, n
        )  # fmt: skip
    else:
        total = add_product(
            plan, base_re, base_im, at_re, at_im, f, base_re, base_im, at_re, at_im, re, im, other, other
        )
    for j in range(k - 1, 0, -1):
        f = time / j
        if j % 2 == 0:
            total = add_product(plan, base_re, base_im, at_re, at_im, f, re, im, other, other, phi, phi, 0, n)
        else:
            total = add_product(plan, base_re, base_im, at_re, at_im, f, phi, phi, 0, n, re, im, other, other)
    store(work.trial, 0, total)


@inner_loop
def apply_series(plan, work, order, pieces, time, cur):
    """What `apply` does, piece by piece with the generator: where the propagator itself is not sparse.

    The state before the slot stays: lanes that jump begin there once more.
    """
    n = work.re.size // 2
    other = n - cur
    series_piece(plan, work, order, time / pieces, other, work.re, work.im, cur, cur)
    for _ in range(1, pieces):
        for i in range(0, n, LANES):
            store(work.phi, 2 * n + i, load32(work.re, other + i))
            store(work.phi, 3 * n + i, load32(work.im, other + i))
        series_piece(plan, work, order, time / pieces, other, work.phi, work.phi, 2 * n, 3 * n)


@kernel
def save(plan, work, cur, index, expectations, states):
    """Observables ⟨ψ|O|ψ⟩/⟨ψ|ψ⟩ and normalised states at one edge of the time axis."""
    d = plan.ptr.shape[1] - 1
    other = d * LANES - cur
    for o in range(plan.observables.size):
        apply(plan, work, plan.observables[o], cur)
        for lane in range(LANES):
            acc = 0.0j
            for r in range(d):
                i = r * LANES + lane
                acc += complex(work.re[cur + i], -work.im[cur + i]) * complex(work.re[other + i], work.im[other + i])
            expectations[o, index, lane] = acc / work.norm[lane]
    if states.shape[0] > 0:
        for lane in range(LANES):
            scale = 1.0 / np.sqrt(work.norm[lane])
            for r in range(d):
                i = cur + r * LANES + lane
                states[index, lane, r] = scale * complex(work.re[i], work.im[i])


@inlined
def measure_edges(plan, work, cur):
    """Add the populations of the basis' edges."""
    for e in range(plan.edge_ptr.size - 1):
        total = splat32(0.0)
        for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
            i = cur + plan.edge_index[k] * LANES
            vr = load32(work.re, i)
            vi = load32(work.im, i)
            total = fma(vi, vi, fma(vr, vr, total))
        row = e * LANES
        store(work.edges, row, add(load32(work.edges, row), div(total, load32(work.norm, 0))))


@inlined
def expect(current, lane, b):
    """Fetch where a lane's bins from b on will be unloaded: in turn, so that nobody waits for memory."""
    for o in range(current.shape[1]):
        begin = (lane * current.shape[1] + o) * current.shape[2] + b
        for i in range(0, STAGED, 4):
            expect_writing(current, begin + i)


@inlined
def unload(work, staged, current, b):
    """Move the staged bins to `current`, from bin b on: in between, lanes are far apart and share cache sets."""
    n_outputs = current.shape[1]
    fours = staged // 4 * 4
    next_bin = 2 * n_outputs * LANES
    next_lane = n_outputs * current.shape[2]
    for o in range(n_outputs if staged > 0 else 0):
        for block in range(0, LANES, 4):
            to = (block * n_outputs + o) * current.shape[2] + b
            for i in range(0, fours, 4):
                start = i * next_bin + 2 * o * LANES + block
                store_transposed(work.staged, start, next_bin, LANES, current, to + i, next_lane)
            for i in range(fours, staged):
                for lane in range(block, block + 4):
                    current[lane, o, b + i] = complex(work.staged[i, o, 0, lane], work.staged[i, o, 1, lane])


@inlined
def taylor(plan, work, h):
    """Fill the rows of `work.lane` with the Taylor vectors of row 0 over h; returns the order reached."""
    negligible = min(1e-3 * plan.tolerance, NEGLIGIBLE) ** 2 * dot(work.lane, 0, 0, LANE_RUN)
    for k in range(1, MAX_ORDER + 1):
        operate(work.rows, 0, h / k, work.lane, k - 1, k)
        if dot(work.lane, k, k, LANE_RUN) <= negligible:
            return k
    return MAX_ORDER


@inlined
def click(plan, work, rng):
    """Choose a jump by ⟨L†L⟩ in the state of row STATE, its normalised outcome into row 0; returns its index or −1."""
    lane = work.lane
    sum_ = 0.0
    for j in range(plan.jumps.size):
        operate(work.rows, 1 + j, 1.0, lane, STATE, IMAGES + j)
        work.weights[j] = dot(lane, IMAGES + j, IMAGES + j, LANE_RUN)
        sum_ += work.weights[j]
    if not sum_ > 0.0:
        scale_row(lane, STATE, 1.0, 0)
        return -1
    left = rng.random() * sum_
    chosen = -1
    for j in range(plan.jumps.size):
        if work.weights[j] > 0.0:
            chosen = j  # rounding: the last possible jump is the one
            left -= work.weights[j]
            if left < 0.0:
                break
    scale_row(lane, IMAGES + chosen, 1.0 / np.sqrt(work.weights[chosen]), 0)
    return chosen


@inlined
def take_lane(work, cur, lane):
    """One lane's state before the slot, normalised, into row 0 of `work.lane`."""
    scale = 1.0 / np.sqrt(work.norm[lane])
    for r in range(work.re.size // (2 * LANES)):
        i = cur + r * LANES + lane
        work.lane[0, 0, LANE_RUN + r] = scale * work.re[i]
        work.lane[0, 1, LANE_RUN + r] = scale * work.im[i]


@inlined
def put_lane(work, cur, lane):
    """Row 0 of `work.lane` into the other copy, its norm into `trial`."""
    other = work.re.size // 2 - cur
    for r in range(work.re.size // (2 * LANES)):
        i = other + r * LANES + lane
        work.re[i] = work.lane[0, 0, LANE_RUN + r]
        work.im[i] = work.lane[0, 1, LANE_RUN + r]
    work.trial[lane] = dot(work.lane, 0, 0, LANE_RUN)


@inlined
def next_jump(plan, work, rng, lane, done, duration):
    """Carry the state in row 0 from `done` to its next jump or the end of the slot; (time, operator or −1).

    A function without reference counts: they would take longer than a jump of a qubit.
    """
    vectors = work.lane
    chosen = -1
    while done < duration:
        h = min(duration - done, plan.reach)
        before = dot(vectors, 0, 0, LANE_RUN)
        order = taylor(plan, work, h)
        survival = norm_and_slope(vectors, order, 1.0)[0] / before
        if not np.isfinite(survival):
            done = duration  # the driver sees the norm and reports it
            break
        if work.alive[lane] * survival >= work.threshold[lane]:
            work.alive[lane] *= survival
            # the last piece ends the slot exactly, whatever the sum of the pieces rounds to
            done = duration if h >= duration - done else done + h
            expand(vectors, order, 1.0, 0)
            continue
        target = work.threshold[lane] / work.alive[lane] * before
        low, high = 0.0, 1.0
        theta = np.log(target / before) / np.log(survival)  # exact for a constant hazard
        if not 0.0 <= theta <= 1.0:
            theta = 0.5
        for _ in range(60):
            value, slope = norm_and_slope(vectors, order, theta)
            new, low, high = newton(value, slope, target, low, high, theta)
            moved = abs(new - theta)
            theta = new
            # the next step would be as short as the square of this one
            if 10.0 * moved * moved <= plan.tolerance or high - low <= plan.tolerance:
                break
        expand(vectors, order, theta, STATE)
        done = min(done + theta * h, duration)
        chosen = click(plan, work, rng)
        work.alive[lane] = 1.0
        work.threshold[lane] = rng.random()
        break
    return done, chosen


@inlined
def follow_lane(plan, work, cur, lane, start, duration):
    """Carry one lane over a slot with given clicks; the result goes to the other copy and `trial`."""
    vectors = work.lane
    take_lane(work, cur, lane)
    done = 0.0
    k = work.given_next[lane]
    while done < duration:
        clicks = k < work.given_stop[lane] and work.given_times[k] < start + duration
        stop = min(max(work.given_times[k] - start, done), duration) if clicks else duration
        while done < stop:
            h = min(stop - done, plan.reach)
            expand(vectors, taylor(plan, work, h), 1.0, 0)
            done = stop if h >= stop - done else done + h
        norm = dot(vectors, 0, 0, LANE_RUN)
        work.likelihood[lane] *= norm
        if clicks:
            weight = 0.0
            for j in range(plan.jumps.size):  # a complete record: one operator per counter
                if plan.counters[j] == work.given_owner[k]:
                    operate(work.rows, 1 + j, 1.0, vectors, 0, STATE)
                    weight = dot(vectors, STATE, STATE, LANE_RUN) / norm
                    if weight <= EXCLUDED * size_of(work.rows, 1 + j):
                        weight = 0.0
            work.log_likelihood[lane] += np.log(work.likelihood[lane] * weight)  # any number of clicks in a slot
            work.likelihood[lane] = 1.0
            if weight > 0.0:
                scale_row(vectors, STATE, 1.0, 0)
            k += 1
        scale_row(vectors, 0, 1.0 / np.sqrt(dot(vectors, 0, 0, LANE_RUN)), 0)
        if not clicks:
            break
    work.given_next[lane] = k
    put_lane(work, cur, lane)


@inlined
def survive(work):
    """Does any lane jump in this slot?  If none does, all move on; else advance those that do not."""
    survival = div(load32(work.trial, 0), load32(work.norm, 0))
    hazard = sub(splat32(1.0), survival)
    store(work.hazard, 0, add(load32(work.hazard, 0), hazard))
    alive = mul(load32(work.alive, 0), survival)
    store(work.jumping, 0, alive)
    if any_below(alive, load32(work.threshold, 0)):  # NaN goes to the driver by way of the slow path
        return True
    store(work.alive, 0, alive)
    store(work.norm, 0, load32(work.trial, 0))
    return False


@inlined
def follow(work, end):
    """Does any lane have a given click before `end`?  If none does, all move on."""
    if clicks_due(work, end):
        return True
    ratio = div(load32(work.trial, 0), load32(work.norm, 0))
    store(work.likelihood, 0, mul(load32(work.likelihood, 0), ratio))
    store(work.norm, 0, load32(work.trial, 0))
    return False


@inlined
def cross(plan, work, cur, rngs, start, duration):
    """Carry every lane over a slot in which it jumps, or clicks as given; others move on.

    False if it stops at a click that is to be recorded, in `work.click`; to be called again.
    """
    lane = np.int64(work.crossing[0])
    done = work.crossing[1]
    while lane < LANES:
        if done < 0.0:
            if work.jumping[lane] >= work.threshold[lane]:
                work.alive[lane] = work.jumping[lane]
                if plan.given:
                    work.likelihood[lane] *= work.trial[lane] / work.norm[lane]
                lane += 1
                continue
            if plan.given:
                follow_lane(plan, work, cur, lane, start, duration)
                lane += 1
                continue
            take_lane(work, cur, lane)
            done = 0.0
        while done < duration:
            done, chosen = next_jump(plan, work, rngs[lane], lane, done, duration)
            if chosen >= 0 and plan.counters[chosen] >= 0:
                work.crossing[0] = lane
                work.crossing[1] = done
                work.click[0] = start + done
                work.click[1] = lane
                work.click[2] = plan.counters[chosen]
                return False
        put_lane(work, cur, lane)
        done = -1.0
        lane += 1
    store(work.norm, 0, load32(work.trial, 0))
    work.crossing[0] = 0.0
    work.crossing[1] = -1.0
    return True


@inlined
def normalise(work, cur):
    """State vectors of norm 1, where no detector makes them so: a record may have long times without a click."""
    for lane in range(LANES):
        if work.norm[lane] > 0.0:  # else the driver reports it
            scale = 1.0 / np.sqrt(work.norm[lane])
            for i in range(cur + lane, cur + work.re.size // 2, LANES):
                work.re[i] *= scale
                work.im[i] *= scale
            work.norm[lane] = 1.0


@inlined
def project(plan, work, channel, cur):
    """K0ψ, K1ψ, K2ψ of a diffusive channel and the inner products that its law needs."""
    d = plan.ptr.shape[1] - 1
    k0 = plan.kraus[channel, 0]
    k1 = plan.kraus[channel, 1]
    k2 = plan.kraus[channel, 2]
    n = d * LANES
    two_dt = splat32(2.0 * plan.dt)
    minus_two_dt = splat32(-2.0 * plan.dt)
    m_re = splat32(0.0)  # ⟨K0ψ|K1ψ⟩ + 2dt⟨K1ψ|K2ψ⟩
    m_im = splat32(0.0)
    g11 = splat32(0.0)  # ⟨K1ψ|K1ψ⟩
    q_re = splat32(0.0)  # ⟨K0ψ|K2ψ⟩
    q_im = splat32(0.0)
    for r in range(d):
        r0, i0 = row_times(plan, plan.ptr[k0, r], plan.ptr[k0, r + 1], work, cur)
        r1, i1 = row_times(plan, plan.ptr[k1, r], plan.ptr[k1, r + 1], work, cur)
        r2, i2 = row_times(plan, plan.ptr[k2, r], plan.ptr[k2, r + 1], work, cur)
        row = r * LANES
        store(work.phi, row, r0)
        store(work.phi, n + row, i0)
        store(work.phi, 2 * n + row, r1)
        store(work.phi, 3 * n + row, i1)
        store(work.phi, 4 * n + row, r2)
        store(work.phi, 5 * n + row, i2)
        ni0 = neg(i0)
        m_re = fma(r0, r1, m_re)
        m_re = fma(i0, i1, m_re)
        m_im = fma(r0, i1, m_im)
        m_im = fma(ni0, r1, m_im)
        g11 = fma(r1, r1, g11)
        g11 = fma(i1, i1, g11)
        m_re = fma(mul(two_dt, r1), r2, m_re)
        m_re = fma(mul(two_dt, i1), i2, m_re)
        m_im = fma(mul(two_dt, r1), i2, m_im)
        m_im = fma(mul(minus_two_dt, i1), r2, m_im)
        q_re = fma(r0, r2, q_re)
        q_re = fma(i0, i2, q_re)
        q_im = fma(r0, i2, q_im)
        q_im = fma(ni0, r2, q_im)
    store(work.sums, 0, m_re)
    store(work.sums, LANES, m_im)
    store(work.sums, 2 * LANES, g11)
    store(work.sums, 4 * LANES, q_re)
    store(work.sums, 5 * LANES, q_im)


@inlined
def diffuse(plan, work, cur, noise, step, channel, record):
    """D of one channel: its increment from the noise, added to the record, and the state's update."""
    project(plan, work, channel, cur)
    increments(plan, work, record, noise, step, channel, LANES, div(splat32(1.0), load32(work.norm, 0)))
    combine(work, cur)
    if plan.given:
        store(work.likelihood, 0, mul(load32(work.likelihood, 0), load32(work.norm, 0)))


@inlined
def combine(work, cur):
    """ψ ← K0ψ + z K1ψ + z2 K2ψ, all of them scaled, in place, and its squared norm."""
    phi = work.phi
    n = work.re.size // 2
    s = load32(work.z, 0)
    zr = load32(work.z, LANES)
    zi = load32(work.z, 2 * LANES)
    ur = load32(work.z, 3 * LANES)
    ui = load32(work.z, 4 * LANES)
    nzi = neg(zi)
    nui = neg(ui)
    total = splat32(0.0)
    for r in range(n // LANES):
        row = r * LANES
        r1 = load32(phi, 2 * n + row)
        i1 = load32(phi, 3 * n + row)
        r2 = load32(phi, 4 * n + row)
        i2 = load32(phi, 5 * n + row)
        a = mul(s, load32(phi, row))
        b = mul(s, load32(phi, n + row))
        a = fma(zr, r1, a)
        b = fma(zr, i1, b)
        a = fma(nzi, i1, a)
        b = fma(zi, r1, b)
        a = fma(ur, r2, a)
        b = fma(ur, i2, b)
        a = fma(nui, i2, a)
        b = fma(ui, r2, b)
        store(work.re, cur + row, a)
        store(work.im, cur + row, b)
        total = fma(a, a, total)
        total = fma(b, b, total)
    store(work.norm, 0, total)


@inlined
def settle(plan, work, t0, stage, at_edge, b, s):
    """After a slot's propagator: does any lane jump?  If none does, all move on."""
    if plan.jumps.size == 0:
        store(work.norm, 0, load32(work.trial, 0))
        return False
    if plan.given:
        begin, duration = slot_times(stage, at_edge, b, s, plan.dt, plan.n_sub, plan.kinds.size)
        return follow(work, t0 + begin + duration)
    return survive(work)


@inner_loop
def advance(plan, work, rngs, t0, first, offset, b, b_stop, save_every, close, width, current):
    """Run on from bin b until something needs the caller; returns (why, b).

    A bin of a diffusive run is P(dt/2) D P(dt) D … D P(dt/2); at an edge that nobody looks at, the two halves are one
    P(dt).  `why` is CLICK: one is to be recorded; SAVE: the state stands at the edge of bin b; DONE: b = b_stop.
    """
    n = work.re.size // 2
    n_diffusive = plan.kinds.size
    position, cur, s, at_edge, stage, staged, crossing = (
        work.place[0],
        work.place[1],
        work.place[2],
        work.place[3] == 1,
        work.place[4],
        work.place[5],
        work.place[6] == 1,
    )
    inverse = 1.0 / width
    why = DONE
    while b < b_stop or stage >= CLOSING:
        if not crossing and (stage == BEFORE or stage == CLOSING):
            if stage == BEFORE:
                if plan.given:
                    if s == 0:
                        load_record(current, work.record, first + b, plan.dt)
                elif n_diffusive > 0 and position == NOISE_STEPS:
                    draw(work.words, work.noise)
                    position = 0
            if work.drive.active:
                drive_slot(plan, work, stage, at_edge, (offset + b) * plan.n_sub + s)
            half = stage == CLOSING or (n_diffusive > 0 and at_edge)
            if plan.orders[0, 0] > 0:
                k = 1 if half else 0
                apply_series(plan, work, plan.orders[0, k], plan.orders[1, k], 0.5 * plan.dt if half else plan.dt, cur)
            else:
                apply(plan, work, plan.slots[1] if half else plan.slots[0], cur)
            stage = BEHIND if stage == BEFORE else CLOSED
            crossing = settle(plan, work, t0, stage, at_edge, offset + b, s)
        if crossing:
            if work.drive.active:
                fill_rows(work.rows, plan.re, plan.im)
            begin, duration = slot_times(stage, at_edge, offset + b, s, plan.dt, plan.n_sub, n_diffusive)
            if not cross(plan, work, cur, rngs, t0 + begin, duration):
                why = CLICK
                break
            crossing = False
        if stage == BEHIND:
            cur = n - cur
            work.clock[0] = (offset + b) * plan.n_sub + s
            if work.drive.active:
                drive_step(plan, work, work.clock[0])
            if plan.merged:
                diffuse_together(plan, work, cur, work.noise, position, work.record)
                cur = n - cur
            else:
                backwards = plan.alternate and work.clock[0] % 2 == 1
                for c in range(n_diffusive):
                    channel = n_diffusive - 1 - c if backwards else c
                    diffuse(plan, work, cur, work.noise, position, channel, work.record)
            if plan.loops.outputs.size > 0:
                feed_back_kets(plan.loops, work.loops, plan.dt, work.re, work.im, cur, n - cur, n // LANES)
            position += 1
            at_edge = n_diffusive == 0
            stage = BEFORE
            s += 1
            if plan.given:
                now = s == plan.n_sub or s % LOG_STEPS == 0
                for lane in range(LANES):
                    take_logarithm(work, lane, now)
                if now and n_diffusive == 0:
                    normalise(work, cur)
            if s < plan.n_sub:
                continue
            if not plan.given:
                for i in range(0, work.record.size, LANES):
                    store(work.staged, staged * work.record.size + i, mul(splat32(inverse), load32(work.record, i)))
                    store(work.record, i, splat32(0.0))
                expect(current, staged, first + b - staged)
                staged += 1
            measure_edges(plan, work, cur)
            s = 0
            b += 1
            if staged == STAGED or b == b_stop:
                unload(work, staged, current, first + b - staged)
                staged = np.int64(0)
            if not ((save_every > 0 and (first + b) % save_every == 0) or (close and b == b_stop)):
                continue
            if at_edge:
                why = SAVE
                break
            stage = CLOSING
        elif stage == CLOSED:
            cur = n - cur
            at_edge = True
            stage = BEFORE
            why = SAVE
            break
    work.place[0], work.place[1], work.place[2], work.place[4] = position, cur, s, stage
    work.place[3] = 1 if at_edge else 0
    work.place[5] = staged
    work.place[6] = 1 if crossing else 0
    return why, b


@kernel
def run_ket(
    plan,
    work,
    rngs,
    t0,
    width,
    first,
    offset,
    n_bins,
    save_every,
    close,
    current,
    saved,
    expectations,
    states,
    times,
    owner,
):
    """Advance a batch over `n_bins` bins.

    Parameters
    ----------
    plan, work : KetPlan, KetWork
        `work` holds the state and its place within a step.
    rngs : tuple of 32 numpy.random.Generator
        One per lane.
    t0, width : float
        Start of the stretch of bins of one width, and that width, n_sub * dt.
    first, offset : int
        Index of the first bin in the whole run, and in the stretch.
    save_every : int
        Save at every so many-th edge of the whole run; 0: never.
    close : bool
        Bring the state to the last edge: here the stretch ends.
    current : (32, n_outputs, all bins) complex
        Bin averages of the records; written from bin `first`, or read if they are given.
    saved : int
        Edges saved so far.
    expectations : (n_observables, all saved, 32) complex; states : (all saved, 32, d) complex
        Written from index `saved`.
    times, owner : (capacity,) float, (capacity, 2) int
        Click buffers: time, (lane, counter).

    Returns
    -------
    times, owner, count
        The buffers (grown if need be) and how many clicks they hold.
    """
    count = np.int64(0)  # not a literal, for which everything below would be compiled once more
    b = np.int64(0)
    fill_rows(work.rows, plan.re, plan.im)
    while True:
        why, b = advance(
            plan, work, rngs, t0, first, offset, b, n_bins, save_every, close, width, current
        )  # fmt: skip
        if why == DONE:
            break
        if why == CLICK:
            times, owner, count = push_click(
                times, owner, count, np.int64(work.click[1]), work.click[0], np.int64(work.click[2])
            )
        elif save_every > 0 and (first + b) % save_every == 0:
            save(plan, work, work.place[1], saved, expectations, states)
            saved += 1
    return times, owner, count
