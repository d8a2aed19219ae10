"""Density matrices, 4 trajectories at a time.

Layout: real and imaginary parts apart, element (r, c) of lane l at ``4 (r stride + c) + l`` (see `products`); two
copies of the state, the current one from `place[0]` on.  A step is
``P(dt/2) D P(dt/2)`` as for state vectors; here ``P = E e^{J} E`` with the gain J of unwatched
channels between two halves E of the no-jump propagator, a Kraus map at any step size.  Every map keeps
ρ Hermitian exactly: one triangle is computed and mirrored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, inner_loop, kernel
from ..simd import add, div, fma, load4, load16, mul, neg, splat4, splat16, store
from .drive import MIDDLE_PART, Drive, no_drive, part_of_slot, sum_numbers
from .feedback import FeedbackPlan, FeedbackWork, feed_back_densities, feedback_work
from .increments import increments
from .lane import (
    BEFORE,
    BEHIND,
    CLOSED,
    CLOSING,
    DONE,
    JUMP,
    LOG_STEPS,
    MAX_ORDER,
    NOISE_STEPS,
    SAVE,
    clicks_due,
    complex_values,
    copy,
    horner,
    load_record,
    newton,
    push_click,
    slot_times,
    take_logarithm,
)
from .normals import draw
from .products import LANES, ROWS, RUN, add_gain, sandwich, stride_of

#: Numbers before and behind a copy of the state: a run of four columns may begin or end beyond the matrix.
MARGIN = 16
#: Part of a state's largest population that is rounding.
ROUNDING = 1e-17
EXCLUDED = 1e-15  # Tr KρK†/‖K‖² of a click that the model excludes: nothing but rounding
#: Steps after which rounding is kept from making states negative.
POSITIVE_STEPS = 512


class DensityPlan(NamedTuple):
    """All that the kernel sees of system and unraveling (operators as in `KetPlan`)."""

    ptr: np.ndarray
    col: np.ndarray
    re: np.ndarray
    im: np.ndarray
    slots: np.ndarray  # (2, 2) operators (first, last) of P(dt), P(dt/2)
    slot_lowest: np.ndarray  # (d,) lowest column in rows r and below of the slots' operators
    generator: int  # A = −iH − Γ/2 of all but the diffusive part; ρ̇ = Aρ + ρA† + Jρ
    reach: float
    gain: np.ndarray  # (n_gain,) operators L of J = Σ L·L†
    gain_ptr: np.ndarray  # (n_blocks, 4) terms of J for four columns of a row: real from, to, complex to; see `gain_im`
    gain_source: np.ndarray  # element r' stride + c' that a term reads for the first of the four
    gain_re: np.ndarray  # (n_terms, 4) weights
    gain_im: np.ndarray  # (n_complex, 4), term k at k − gain_ptr[block, 3]
    kinds: np.ndarray  # (n_diffusive,)
    outputs: np.ndarray
    columns: np.ndarray
    moments: np.ndarray  # (n_diffusive, 3) operators K0†K1 + 2dt K1†K2, K1†K1, K0†K2
    pattern_ptr: np.ndarray  # (n_diffusive, d + 1) joint pattern of K0, K1, K2
    pattern_col: np.ndarray
    pattern_re: np.ndarray  # (3, nnz)
    pattern_im: np.ndarray
    pattern_lowest: np.ndarray  # (n_diffusive, d) lowest column in rows r and below
    click_ptr: np.ndarray  # (n_counters + 1,) Kraus operators of each counter's click
    click_ops: np.ndarray
    observables: np.ndarray
    edge_ptr: np.ndarray
    edge_index: np.ndarray
    dt: float
    n_sub: int
    alternate: bool
    tolerance: float  # of click times, relative to the slot
    exact: bool  # counting only: no splitting, the generator's Taylor series carries every slot
    given: bool  # as in `KetPlan`
    loops: FeedbackPlan
    merged: bool  # H, unread loss and all diffusive channels in one step: see `diffuse_together`
    fill_ptr: np.ndarray  # (nnz + 1,) terms of each element of K0 + X + ½:X²:
    fill_monomial: np.ndarray  # 0: 1, then the z_j, then the products `pairs`
    fill_re: np.ndarray
    fill_im: np.ndarray
    pairs: np.ndarray  # (n_pairs, 2) channels


class DensityWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (2 * (stride² * 4 + 32),) the state, twice, a margin of 16 on either side of each copy
    im: np.ndarray
    row_re: np.ndarray  # (4 * stride * 4,) four rows of a product
    row_im: np.ndarray
    backup_re: np.ndarray  # state before the slot, kept where a counter may click
    backup_im: np.ndarray
    trace: np.ndarray  # (4,)
    trial: np.ndarray
    alive: np.ndarray
    threshold: np.ndarray
    coef_re: np.ndarray  # (nnz, 16) values of K(z), each lane's four times over
    coef_im: np.ndarray
    z: np.ndarray  # (5 * 4,) a scale near 1/√trace, Re z, Im z, Re z2, Im z2
    monomials: np.ndarray  # (1 + n_diffusive + n_pairs, 2, 4) of merged channels, times the scale
    weight: np.ndarray  # (16,) dt times the scale squared, four times over
    sums: np.ndarray  # (6 * 4,) moments of the channel being measured, real and imaginary parts
    lane: np.ndarray  # (MAX_ORDER + 3, d * d) complex
    whole: np.ndarray  # (d * d,) complex, these: a lane's matrix, and scratch of `keep_positive`
    rest: np.ndarray
    column: np.ndarray
    edges: np.ndarray
    hazard: np.ndarray
    words: np.ndarray  # as in `KetWork`
    noise: np.ndarray
    record: np.ndarray
    place: np.ndarray  # (5,) int: position in the noise, current copy, step within the bin, at an edge?, stage
    jumping: np.ndarray  # `alive` at the end of the slot if the lane does not click
    likelihood: np.ndarray  # these as in `KetWork`
    log_likelihood: np.ndarray
    given_times: np.ndarray
    given_owner: np.ndarray
    given_next: np.ndarray
    given_stop: np.ndarray
    clock: np.ndarray
    drive: Drive
    numbers: np.ndarray
    loops: FeedbackWork


def density_work(plan: DensityPlan, *others: DensityPlan) -> DensityWork:
    """Allocate the state and scratch of one batch that runs these plans, alike but for the step."""
    d, n_edges = plan.ptr.shape[1] - 1, len(plan.edge_ptr) - 1
    pattern_nnz = max(p.pattern_col.size for p in (plan, *others))
    counting = plan.click_ops.size > 0 or plan.exact
    stride = int(stride_of(d))
    n = stride * stride * LANES
    kept = n if counting else 1
    return DensityWork(
        re=np.zeros(2 * (n + 2 * MARGIN)),
        im=np.zeros(2 * (n + 2 * MARGIN)),
        row_re=np.zeros(ROWS * stride * LANES),
        row_im=np.zeros(ROWS * stride * LANES),
        backup_re=np.zeros(kept),
        backup_im=np.zeros(kept),
        trace=np.ones(LANES),
        trial=np.ones(LANES),
        alive=np.ones(LANES),
        threshold=np.zeros(LANES),
        coef_re=np.zeros((max(1, pattern_nnz), 16)),
        coef_im=np.zeros((max(1, pattern_nnz), 16)),
        z=np.zeros(5 * LANES),
        monomials=np.zeros((1 + len(plan.kinds) + len(plan.pairs), 2, LANES)),
        weight=np.zeros(4 * LANES),
        sums=np.zeros(6 * LANES),
        lane=np.zeros((MAX_ORDER + 3, d * d if counting else 1), dtype=complex),
        whole=np.zeros(d * d, dtype=complex),
        rest=np.zeros(d * d, dtype=complex),
        column=np.zeros(d, dtype=complex),
        edges=np.zeros((n_edges, LANES)),
        hazard=np.zeros(LANES),
        words=np.zeros((4, LANES), dtype=np.uint64),
        noise=np.zeros((NOISE_STEPS * int(plan.columns[-1]), LANES)),
        record=np.zeros((int(plan.outputs.max(initial=-1)) + 1, 2, LANES)),
        place=np.array([NOISE_STEPS, MARGIN, 0, 1, 0]),
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


def multiply_adds(plan: DensityPlan) -> float:
    """Multiply-adds of a step of a batch, about."""
    expansions = max(1.0, plan.dt / plan.reach) * MAX_ORDER if plan.exact else 1.0
    return expansions * LANES * plan.re.size * 2 * (plan.ptr.shape[1] - 1)


def elements(work: DensityWork, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary part of the current state as (d, d, 4) arrays that can be written."""
    stride = int(stride_of(d))
    n = d * stride * LANES
    at = work.place[1]
    re, im = (x[at : at + n].reshape(d, stride, LANES)[:, :d] for x in (work.re, work.im))
    return re, im


@inlined
def put_numbers(plan, targets, numbers):
    """Write numbers that vary into the plan: its arrays one after the other, as `drive` counts them."""
    n, n_pattern, n_gain = plan.re.size, plan.pattern_re.size, plan.gain_re.size
    for i in range(targets.size):
        t = targets[i]
        x = numbers[i]
        if t < n:
            plan.re[t] = x
            continue
        t -= n
        if t < n:
            plan.im[t] = x
            continue
        t -= n
        if t < n_pattern:
            plan.pattern_re[t // plan.pattern_col.size, t % plan.pattern_col.size] = x
            continue
        t -= n_pattern
        if t < n_pattern:
            plan.pattern_im[t // plan.pattern_col.size, t % plan.pattern_col.size] = x
            continue
        t -= n_pattern
        if t < n_gain:
            plan.gain_re[t // RUN, t % RUN] = x
            continue
        plan.gain_im[(t - n_gain) // RUN, (t - n_gain) % RUN] = x


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
def other_copy(work, cur):
    """Where the other copy of the state begins."""
    return work.re.size // 2 + 2 * MARGIN - cur


@inlined
def traces(work, cur, d, out):
    """out[lane] = Tr ρ."""
    total = splat4(0.0)
    for r in range(d):
        total = add(total, load4(work.re, cur + r * (stride_of(d) + 1) * LANES))
    store(out, 0, total)


@inlined
def expect(plan, work, cur, operator, out, at):
    """out[at : at + 8] = Re, Im of Tr Oρ on 4 lanes, not divided by the trace."""
    d = plan.ptr.shape[1] - 1
    stride = stride_of(d)
    ar = splat4(0.0)
    ai = splat4(0.0)
    for r in range(d):
        for k in range(plan.ptr[operator, r], plan.ptr[operator, r + 1]):
            i = cur + (plan.col[k] * stride + r) * LANES
            vr = load4(work.re, i)
            vi = load4(work.im, i)
            ar = fma(splat4(plan.re[k]), vr, ar)
            ai = fma(splat4(plan.re[k]), vi, ai)
            ar = fma(splat4(-plan.im[k]), vi, ar)
            ai = fma(splat4(plan.im[k]), vr, ai)
    store(out, at, ar)
    store(out, at + LANES, ai)


@kernel
def save(plan, work, cur, index, expectations, states):
    """Observables and states at one edge of the time axis."""
    for o in range(plan.observables.size):
        expect(plan, work, cur, plan.observables[o], work.sums, 0)
        for lane in range(LANES):
            value = complex(work.sums[lane], work.sums[LANES + lane])
            expectations[o, index, lane] = value / work.trace[lane]
    if states.shape[0] > 0:
        d = plan.ptr.shape[1] - 1
        for lane in range(LANES):
            scale = 1.0 / work.trace[lane]
            for r in range(d):
                for c in range(d):
                    i = cur + (r * stride_of(d) + c) * LANES + lane
                    states[index, lane, r * d + c] = scale * complex(work.re[i], work.im[i])


@inlined
def measure_edges(plan, work, cur):
    """Add the populations of the basis' edges."""
    d = plan.ptr.shape[1] - 1
    for e in range(plan.edge_ptr.size - 1):
        for lane in range(LANES):
            acc = 0.0
            for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
                i = plan.edge_index[k]
                acc += work.re[cur + i * (stride_of(d) + 1) * LANES + lane]
            work.edges[e, lane] += acc / work.trace[lane]


@inner_loop
def add_sandwich(ptr, col, values, x, half, out, d, conjugate):
    """out += A x A† (conjugate) or out += A x + (A x)† for one lane; x, half, out (d * d,) complex."""
    for r in range(d):
        for c in range(d):
            half[r * d + c] = 0.0
        for k in range(ptr[r], ptr[r + 1]):
            v = values[k]
            s = col[k] * d
            for c in range(d):
                half[r * d + c] += v * x[s + c]
    if conjugate:
        for c in range(d):
            for k in range(ptr[c], ptr[c + 1]):
                v = values[k].conjugate()
                s = col[k]
                for r in range(d):
                    out[r * d + c] += v * half[r * d + s]
    else:
        for r in range(d):
            for c in range(d):
                out[r * d + c] += half[r * d + c] + half[c * d + r].conjugate()


@inner_loop
def trace_of(x, d):
    """Trace of a (d * d,) matrix."""
    acc = 0.0
    for r in range(d):
        acc += x[r * d + r].real
    return acc


@inner_loop
def taylor(plan, work, values, h, d):
    """Taylor vectors of one lane over h in work.lane[0:]; returns the order reached."""
    terms = work.lane
    half = work.lane[MAX_ORDER + 2]
    size = 0.0
    for i in range(d * d):
        size = max(size, abs(terms[0, i]))
    for k in range(1, MAX_ORDER + 1):
        terms[k] = 0.0
        ptr = plan.ptr[plan.generator]
        add_sandwich(ptr, plan.col, values, terms[k - 1], half, terms[k], d, False)
        for g in range(plan.gain.size):
            add_sandwich(plan.ptr[plan.gain[g]], plan.col, values, terms[k - 1], half, terms[k], d, True)
        # exactly Hermitian, as the generator takes it to be: of an anti-Hermitian rest only its gain would be seen,
        # no loss, and it would grow
        largest = 0.0
        for r in range(d):
            for c in range(r + 1):
                x = terms[k, r * d + c] * (h / k)
                terms[k, r * d + c] = x if r > c else x.real
                terms[k, c * d + r] = terms[k, r * d + c].conjugate()
                largest = max(largest, abs(x))
        if largest <= 1e-18 * size:  # a shorter series would not be positive
            return k
    return MAX_ORDER


@inner_loop
def keep_positive(x, rest, column, d):
    """Take from x what its pivoted Cholesky factor leaves: what rounding has made negative.  All (d * d,) complex.

    ρ is right to rounding of its largest elements, but a click may read small ones, a long wait may leave only small
    ones, and a record may make them likely; relative to the trace their errors grow every time.
    """
    copy(x, rest)
    least = 0.0
    for step in range(d):
        p = 0
        for r in range(1, d):
            if rest[r * d + r].real > rest[p * d + p].real:
                p = r
        pivot = rest[p * d + p].real
        if not pivot > least:
            break
        if step == 0:
            least = ROUNDING * pivot
        scale = 1.0 / np.sqrt(pivot)
        for r in range(d):
            column[r] = scale * (rest[r * d + p] if r >= p else rest[p * d + r].conjugate())
        for r in range(d):
            for c in range(r + 1):
                rest[r * d + c] -= column[r] * column[c].conjugate()
    for r in range(d):
        for c in range(r + 1):
            x[r * d + c] -= rest[r * d + c]
            x[c * d + r] = x[r * d + c].conjugate()


@inner_loop
def click(plan, work, values, rng, state, d):
    """Choose a counter by its rate, ρ → Σ KρK†/Tr; returns its index or −1."""
    out = work.lane[0]
    half = work.lane[MAX_ORDER + 2]
    n_counters = plan.click_ptr.size - 1
    total = 0.0
    for j in range(n_counters):
        out[:] = 0.0
        for k in range(plan.click_ptr[j], plan.click_ptr[j + 1]):
            add_sandwich(plan.ptr[plan.click_ops[k]], plan.col, values, state, half, out, d, True)
        total += trace_of(out, d)
    if not total > 0.0:
        return -1
    left_over = rng.random() * total
    chosen = -1
    for j in range(n_counters):
        out[:] = 0.0
        for k in range(plan.click_ptr[j], plan.click_ptr[j + 1]):
            add_sandwich(plan.ptr[plan.click_ops[k]], plan.col, values, state, half, out, d, True)
        weight = trace_of(out, d)
        if weight > 0.0:
            chosen = j
            left_over -= weight
            if left_over < 0.0:
                break
    out[:] = 0.0
    for k in range(plan.click_ptr[chosen], plan.click_ptr[chosen + 1]):
        add_sandwich(plan.ptr[plan.click_ops[k]], plan.col, values, state, half, out, d, True)
    keep_positive(out, work.rest, work.column, d)
    multiply(out, 1.0 / trace_of(out, d), state)
    return chosen


@kernel
def advance_lane(plan, work, cur, values, rng, lane, start, duration, times, owner, count):
    """Carry one lane over a slot from its backup; the result goes to the current copy and `trial`."""
    d = plan.ptr.shape[1] - 1
    terms = work.lane
    state = work.lane[MAX_ORDER + 1]
    get_lane(work, terms[0], lane, d)
    alive = work.alive[lane]
    done = 0.0
    while done < duration:
        h = min(duration - done, plan.reach)
        trace0 = trace_of(terms[0], d)
        order = taylor(plan, work, values, h, d)
        horner(terms, order, 1.0, state)
        survival = trace_of(state, d) / trace0
        if not np.isfinite(survival):
            break  # the driver sees the trace and reports it
        if plan.click_ops.size == 0 or alive * survival >= work.threshold[lane]:
            alive *= survival
            done = duration if h >= duration - done else done + h
            terms[0] = state
            continue
        target = work.threshold[lane] / alive * trace0
        low, high = 0.0, 1.0
        theta = np.log(target / trace0) / np.log(survival)  # exact for a constant hazard
        if not 0.0 <= theta <= 1.0:
            theta = 0.5
        for _ in range(60):
            value = 0.0  # the trace is linear in ρ: a scalar polynomial
            slope = 0.0
            for k in range(order, -1, -1):
                slope = slope * theta + value
                value = value * theta + trace_of(terms[k], d)
            new, low, high = newton(value, slope, target, low, high, theta)
            moved = abs(new - theta)
            theta = new
            if moved <= plan.tolerance or high - low <= plan.tolerance:
                break
        horner(terms, order, theta, state)
        done += theta * h
        chosen = click(plan, work, values, rng, state, d)
        if chosen >= 0:
            times, owner, count = push_click(times, owner, count, lane, start + min(done, duration), chosen)
        terms[0] = state
        alive = 1.0
        work.threshold[lane] = rng.random()
    copy(terms[0], state)
    keep_positive(state, work.rest, work.column, d)
    put_lane(work, cur, state, lane, d)
    work.alive[lane] = alive
    work.trial[lane] = trace_of(state, d)
    return times, owner, count


@inlined
def multiply(x, factor, out):
    """out = factor x."""
    for i in range(x.size):
        out[i] = factor * x[i]


@kernel
def follow_lane(plan, work, cur, values, lane, start, duration):
    """Carry one lane over a slot with given clicks, as `advance_lane`."""
    d = plan.ptr.shape[1] - 1
    terms = work.lane
    state = work.lane[MAX_ORDER + 1]
    half = work.lane[MAX_ORDER + 2]
    get_lane(work, terms[0], lane, d)
    done = 0.0
    k = work.given_next[lane]
    while done < duration:
        clicks = k < work.given_stop[lane] and work.given_times[k] < start + duration
        stop = min(max(work.given_times[k] - start, done), duration) if clicks else duration
        while done < stop:
            h = min(stop - done, plan.reach)
            order = taylor(plan, work, values, h, d)
            horner(terms, order, 1.0, state)
            survival = trace_of(state, d)
            multiply(state, 1.0 / survival, terms[0])
            work.likelihood[lane] *= survival
            take_logarithm(work, lane, False)
            done = stop if h >= stop - done else done + h
        if not clicks:
            break
        state[:] = 0.0
        size = 0.0
        for o in range(plan.click_ptr[work.given_owner[k]], plan.click_ptr[work.given_owner[k] + 1]):
            ptr = plan.ptr[plan.click_ops[o]]
            add_sandwich(ptr, plan.col, values, terms[0], half, state, d, True)
            for i in range(ptr[0], ptr[d]):
                size += values[i].real ** 2 + values[i].imag ** 2
        weight = trace_of(state, d)
        if weight <= EXCLUDED * size:
            weight = 0.0
        keep_positive(state, work.rest, work.column, d)
        work.log_likelihood[lane] += np.log(work.likelihood[lane] * weight)  # any number of clicks in a slot
        work.likelihood[lane] = 1.0
        if weight > 0.0:
            multiply(state, 1.0 / trace_of(state, d), terms[0])
        k += 1
    work.given_next[lane] = k
    copy(terms[0], state)
    keep_positive(state, work.rest, work.column, d)
    put_lane(work, cur, state, lane, d)
    work.trial[lane] = trace_of(state, d)


@inlined
def get_lane(work, x, lane, d):
    """One lane's matrix before the slot, of trace 1."""
    for r in range(d):
        for c in range(d):
            i = (r * stride_of(d) + c) * LANES + lane
            x[r * d + c] = complex(work.backup_re[i], work.backup_im[i]) / work.trace[lane]


@inlined
def put_lane(work, cur, x, lane, d):
    """Write one lane's matrix into the state, Hermitian exactly."""
    for r in range(d):
        for c in range(d):
            i = cur + (r * stride_of(d) + c) * LANES + lane
            value = 0.5 * (x[r * d + c] + x[c * d + r].conjugate())
            work.re[i] = value.real
            work.im[i] = value.imag


@inlined
def keep_lanes_positive(work, cur, d):
    """`keep_positive` for the current state of every lane."""
    for lane in range(LANES):
        for r in range(d):
            for c in range(d):
                i = cur + (r * stride_of(d) + c) * LANES + lane
                work.whole[r * d + c] = complex(work.re[i], work.im[i])
        keep_positive(work.whole, work.rest, work.column, d)
        put_lane(work, cur, work.whole, lane, d)
        work.trace[lane] = trace_of(work.whole, d)


@inlined
def survive(work):
    """Does any lane click in this slot?  If none does, all move on; else advance those that do not."""
    pending = 0
    for lane in range(LANES):
        survival = work.trial[lane] / work.trace[lane]
        work.hazard[lane] += 1.0 - survival
        work.jumping[lane] = work.alive[lane] * survival
        pending += not work.jumping[lane] >= work.threshold[lane]
    if pending == 0:
        for lane in range(LANES):
            work.alive[lane] = work.jumping[lane]
            work.trace[lane] = work.trial[lane]
    return pending > 0


@inlined
def follow(work, end):
    """Does any lane have a given click before `end`?  If none does, all move on."""
    if clicks_due(work, end):
        return True
    ratio = div(load4(work.trial, 0), load4(work.trace, 0))
    store(work.likelihood, 0, mul(load4(work.likelihood, 0), ratio))
    store(work.trace, 0, load4(work.trial, 0))
    return False


@kernel
def advance_lanes(plan, work, cur, values, rngs, start, duration, times, owner, count):
    """`advance_lane` or `follow_lane` for every lane that clicks."""
    for lane in range(LANES):
        if work.jumping[lane] >= work.threshold[lane]:
            work.alive[lane] = work.jumping[lane]
            work.likelihood[lane] *= work.trial[lane] / work.trace[lane]
        elif plan.given:
            follow_lane(plan, work, cur, values, lane, start, duration)
        else:
            times, owner, count = advance_lane(
                plan, work, cur, values, rngs[lane], lane, start, duration, times, owner, count
            )
    for lane in range(LANES):
        work.trace[lane] = work.trial[lane]
    return times, owner, count


@inlined
def slot(plan, work, cur, which, duration):
    """P(duration) = E e^{J} E on all lanes, traces in `trial`."""
    d = plan.ptr.shape[1] - 1
    other = other_copy(work, cur)
    re, im = work.re, work.im
    first = plan.ptr[plan.slots[which, 0]]
    last = plan.ptr[plan.slots[which, 1]]
    lowest = plan.slot_lowest
    sandwich(first, plan.col, plan.re, plan.im, lowest, re, im, cur, other, work.row_re, work.row_im)
    if plan.gain.size > 0:  # e^J = 1 + J(1 + J/2)
        add_gain(plan, splat16(0.5 * duration), re, im, other, other, cur)
        add_gain(plan, splat16(duration), re, im, cur, other, other)
    sandwich(last, plan.col, plan.re, plan.im, lowest, re, im, other, cur, work.row_re, work.row_im)
    traces(work, cur, d, work.trial)


@inlined
def fill_kraus(plan, work, ptr):
    """Values of K(z) = K0 + z K1 + z2 K2, lane by lane, four times over."""
    one = load4(work.z, 0)
    zr = load4(work.z, LANES)
    zi = load4(work.z, 2 * LANES)
    ur = load4(work.z, 3 * LANES)
    ui = load4(work.z, 4 * LANES)
    for k in range(ptr[0], ptr[ptr.size - 1]):
        re = mul(splat4(plan.pattern_re[0, k]), one)
        im = mul(splat4(plan.pattern_im[0, k]), one)
        re = fma(splat4(plan.pattern_re[1, k]), zr, re)
        im = fma(splat4(plan.pattern_re[1, k]), zi, im)
        re = fma(splat4(-plan.pattern_im[1, k]), zi, re)
        im = fma(splat4(plan.pattern_im[1, k]), zr, im)
        re = fma(splat4(plan.pattern_re[2, k]), ur, re)
        im = fma(splat4(plan.pattern_re[2, k]), ui, im)
        re = fma(splat4(-plan.pattern_im[2, k]), ui, re)
        im = fma(splat4(plan.pattern_im[2, k]), ur, im)
        for i in range(4):
            store(work.coef_re, 16 * k + 4 * i, re)
            store(work.coef_im, 16 * k + 4 * i, im)


@inlined
def diffuse(plan, work, cur, noise, step, channel, record):
    """D of one channel: its increment from the noise, added to the record, and the state's update; the new copy."""
    d = plan.ptr.shape[1] - 1
    other = other_copy(work, cur)
    if not plan.given:
        for i in range(3):
            expect(plan, work, cur, plan.moments[channel, i], work.sums, 2 * i * LANES)
    increments(plan, work, record, noise, step, channel, LANES, div(splat4(1.0), load4(work.trace, 0)))
    ptr = plan.pattern_ptr[channel]
    fill_kraus(plan, work, ptr)
    sandwich(
        ptr, plan.pattern_col, work.coef_re, work.coef_im, plan.pattern_lowest[channel], work.re, work.im, cur, other,
        work.row_re, work.row_im,
    )  # fmt: skip
    traces(work, other, d, work.trace)
    if plan.given:
        store(work.likelihood, 0, mul(load4(work.likelihood, 0), load4(work.trace, 0)))
    return other


@inlined
def fill_together(plan, work):
    """Values of K0 + X + ½:X²:, lane by lane, four times over."""
    n_diffusive = plan.kinds.size
    for i in range(plan.pairs.shape[0]):  # every factor carries the scale
        a = 2 * (1 + plan.pairs[i, 0]) * LANES
        b = 2 * (1 + plan.pairs[i, 1]) * LANES
        c = 2 * (1 + n_diffusive + i) * LANES
        scale = div(splat4(1.0), load4(work.monomials, 0))
        xr = mul(scale, load4(work.monomials, a))
        xi = mul(scale, load4(work.monomials, a + LANES))
        yr = load4(work.monomials, b)
        yi = load4(work.monomials, b + LANES)
        store(work.monomials, c, fma(neg(xi), yi, mul(xr, yr)))
        store(work.monomials, c + LANES, fma(xi, yr, mul(xr, yi)))
    for k in range(plan.fill_ptr.size - 1):
        re = splat4(0.0)
        im = splat4(0.0)
        for t in range(plan.fill_ptr[k], plan.fill_ptr[k + 1]):
            m = 2 * plan.fill_monomial[t] * LANES
            u = splat4(plan.fill_re[t])
            v = splat4(plan.fill_im[t])
            zr = load4(work.monomials, m)
            zi = load4(work.monomials, m + LANES)
            re = fma(neg(v), zi, fma(u, zr, re))
            im = fma(v, zr, fma(u, zi, im))
        for i in range(4):
            store(work.coef_re, 16 * k + 4 * i, re)
            store(work.coef_im, 16 * k + 4 * i, im)


@inlined
def diffuse_together(plan, work, cur, noise, step, record):
    """ρ → MρM† + dt ΣLρL†, M = K0 + X + ½:X²:, X = Σ_j c_j z_j, with H and unread L; the new copy."""
    d = plan.ptr.shape[1] - 1
    other = other_copy(work, cur)
    inverse = div(splat4(1.0), load4(work.trace, 0))
    for channel in range(plan.kinds.size):
        if not plan.given:
            for i in range(3):
                expect(plan, work, cur, plan.moments[channel, i], work.sums, 2 * i * LANES)
        increments(plan, work, record, noise, step, channel, LANES, inverse)
        row = 2 * (1 + channel) * LANES
        store(work.monomials, row, load4(work.z, LANES))
        store(work.monomials, row + LANES, load4(work.z, 2 * LANES))
    scale = load4(work.z, 0)
    store(work.monomials, 0, scale)
    fill_together(plan, work)
    sandwich(
        plan.pattern_ptr[0], plan.pattern_col, work.coef_re, work.coef_im, plan.pattern_lowest[0], work.re, work.im,
        cur, other, work.row_re, work.row_im,
    )  # fmt: skip
    if plan.gain_source.size > 0:
        for i in range(4):
            store(work.weight, i * LANES, mul(splat4(plan.dt), mul(scale, scale)))
        add_gain(plan, load16(work.weight, 0), work.re, work.im, cur, other, other)
    traces(work, other, d, work.trace)
    if plan.given:
        store(work.likelihood, 0, mul(load4(work.likelihood, 0), load4(work.trace, 0)))
    return other


@inlined
def propagate(plan, work, cur, t0, stage, at_edge, b, s):
    """One slot on all lanes; True if the caller must advance lanes that click (all of them for `exact` plans)."""
    if plan.merged and plan.click_ops.size == 0:
        return False  # everything is in D
    if plan.click_ops.size > 0 or plan.exact:
        for i in range(work.backup_re.size):
            work.backup_re[i] = work.re[cur + i]
            work.backup_im[i] = work.im[cur + i]
    if plan.exact:
        store(work.jumping, 0, splat4(-1.0))
        return True
    begin, duration = slot_times(stage, at_edge, b, s, plan.dt, plan.n_sub, plan.kinds.size)
    slot(plan, work, cur, 0 if duration == plan.dt else 1, duration)
    if plan.given:  # also without clicks: an adjoint map does not preserve the trace
        return follow(work, t0 + begin + duration)
    if plan.click_ops.size == 0:
        store(work.trace, 0, load4(work.trial, 0))
        return False
    return survive(work)


@inner_loop
def advance(plan, work, t0, first, offset, b, b_stop, save_every, close, width, current):
    """Run on from bin b until something needs the caller, as `ket.advance`; (why, b, stage)."""
    n_diffusive = plan.kinds.size
    position, cur, s, at_edge, stage = (
        work.place[0],
        work.place[1],
        work.place[2],
        work.place[3] == 1,
        work.place[4],
    )
    inverse = 1.0 / width
    why = DONE
    while b < b_stop or stage >= CLOSING:
        if stage == BEFORE:
            if plan.given:
                if s == 0:
                    load_record(current, work.record, first + b, plan.dt)
            elif n_diffusive > 0 and position == NOISE_STEPS:
                draw(work.words, work.noise)
                position = 0
            if work.drive.active:
                drive_slot(plan, work, np.int64(stage), at_edge, (offset + b) * plan.n_sub + s)
            stage = BEHIND
            if propagate(plan, work, cur, t0, np.int64(stage), at_edge, offset + b, s):
                why = JUMP
                break
        if stage == BEHIND:
            work.clock[0] = (offset + b) * plan.n_sub + s
            if work.drive.active:
                drive_step(plan, work, work.clock[0])
            if plan.merged:
                cur = diffuse_together(plan, work, cur, work.noise, position, work.record)
            backwards = plan.alternate and work.clock[0] % 2 == 1
            for c in range(0 if plan.merged else n_diffusive):
                channel = n_diffusive - 1 - c if backwards else c
                cur = diffuse(plan, work, cur, work.noise, position, channel, work.record)
            if plan.loops.outputs.size > 0:
                feed_back_densities(
                    plan.loops, work.loops, plan.dt, work.re, work.im, cur, other_copy(work, cur), work.row_re,
                    work.row_im, plan.ptr.shape[1] - 1,
                )  # fmt: skip
            if work.clock[0] % POSITIVE_STEPS == POSITIVE_STEPS - 1:
                keep_lanes_positive(work, cur, plan.ptr.shape[1] - 1)
            position += 1
            at_edge = n_diffusive == 0
            stage = BEFORE
            s += 1
            if plan.given:
                for lane in range(LANES):
                    take_logarithm(work, lane, s == plan.n_sub or s % LOG_STEPS == 0)
            if s < plan.n_sub:
                continue
            for o in range(0 if plan.given else current.shape[1]):
                for lane in range(LANES):
                    current[lane, o, first + b] = complex(
                        work.record[o, 0, lane] * inverse, work.record[o, 1, lane] * inverse
                    )
                    work.record[o, 0, lane] = 0.0
                    work.record[o, 1, lane] = 0.0
            measure_edges(plan, work, cur)
            s = 0
            b += 1
            if not ((save_every > 0 and (first + b) % save_every == 0) or (close and b == b_stop)):
                continue
            if at_edge:
                why = SAVE
                break
            stage = CLOSING
        if stage == CLOSING:
            if work.drive.active:
                drive_slot(plan, work, np.int64(stage), at_edge, (offset + b) * plan.n_sub + s)
            stage = CLOSED
            if propagate(plan, work, cur, t0, np.int64(stage), at_edge, offset + b, s):
                why = JUMP
                break
        if stage == CLOSED:
            at_edge = True
            stage = BEFORE
            why = SAVE
            break
    work.place[0], work.place[1], work.place[2], work.place[4] = position, cur, s, stage
    work.place[3] = 1 if at_edge else 0
    return why, b, stage


@kernel
def run_density(
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
    """Advance a batch of density matrices over `n_bins` bins; arguments as in `run_ket`."""
    count = np.int64(0)  # not a literal, for which everything below would be compiled once more
    b = np.int64(0)
    values = np.empty(plan.re.size, dtype=np.complex128)
    complex_values(plan.re, plan.im, values)
    while True:
        why, b, stage = advance(plan, work, t0, first, offset, b, n_bins, save_every, close, width, current)
        if why == DONE:
            break
        if why == JUMP:
            if work.drive.active:
                complex_values(plan.re, plan.im, values)
            at_edge = work.place[3] == 1
            begin, duration = slot_times(
                stage, at_edge, offset + b, work.place[2], plan.dt, plan.n_sub, plan.kinds.size
            )
            times, owner, count = advance_lanes(
                plan, work, work.place[1], values, rngs, t0 + begin, duration, times, owner, count
            )
        elif save_every > 0 and (first + b) % save_every == 0:
            save(plan, work, work.place[1], saved, expectations, states)
            saved += 1
    return times, owner, count
