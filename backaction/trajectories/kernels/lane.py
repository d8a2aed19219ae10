"""One trajectory on its own: the part of a slot in which it clicks.

Between clicks a state follows a linear equation v̇ = Gv.  Its Taylor vectors T_k = (Gh)^k v / k! serve
as propagator and as dense output, so the click time, where the surviving probability crosses its
threshold, is found to rounding by a safeguarded Newton iteration without another use of G.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, kernel
from ..simd import add, at, fma, load_line, mul, neg, splat_as, store, total

LANE_RUN = 8  # elements of an operator that are applied at once
MAX_ORDER = 28  # Taylor terms; h‖G‖ <= 3 leaves 3^29/29! = 8e-18
REACH = 3.0  # largest h‖G‖ of one Taylor expansion
SMALL = 1e-100  # likelihood ratio of which the logarithm is taken at once, as of its inverse
LOG_STEPS = 64  # steps after which the likelihood's logarithm is taken in any case
NOISE_STEPS = 128  # steps whose noise is drawn at once, wherever bins and kernel calls begin; even: see `normals`
STAGED = 32  # bins after which the records are moved to where they belong


class Rows(NamedTuple):
    """Operators for single lanes: eight rows at a time, what they have on one diagonal as a run of eight numbers.

    A vector's parts are padded by `LANE_RUN` zeros before and behind, as a run may reach beyond.
    """

    ptr: np.ndarray  # (n_operators, n_blocks + 1) runs of the block's rows
    start: np.ndarray  # place in the vector of the number that meets the first of a run
    source: np.ndarray  # (n_runs * 8,) index of the elements in the plan's `re`, `im`; −1: none
    re: np.ndarray  # (n_runs * 8,)
    im: np.ndarray


@inlined
def fill_rows(rows, re, im):
    """Copy the elements from where the plan has them."""
    for i in range(rows.source.size):
        k = rows.source[i]
        rows.re[i] = re[k] if k >= 0 else 0.0
        rows.im[i] = im[k] if k >= 0 else 0.0


@inlined
def complex_values(re, im, out):
    """out = re + i im."""
    for k in range(re.size):
        out[k] = complex(re[k], im[k])


# Why an inner loop hands back control, and where in a step it stands (see `ket.advance`).
DONE, JUMP, SAVE, CLICK = (np.int64(i) for i in range(4))
BEFORE, BEHIND, CLOSING, CLOSED = (np.int64(i) for i in range(4))  # not literals: each would be a compilation


@inlined
def slot_times(stage, at_edge, b, s, dt, n_sub, n_diffusive):
    """Start (from the first bin's) and duration of the slot at hand: P(dt/2) D P(dt) D …, or P(dt) P(dt) …"""
    if stage == CLOSED:
        return (b * n_sub - 0.5) * dt, 0.5 * dt
    if n_diffusive == 0:
        return (b * n_sub + s) * dt, dt
    if at_edge:
        return (b * n_sub + s) * dt, 0.5 * dt
    return (b * n_sub + s - 0.5) * dt, dt


@inlined
def load_record(current, record, b, dt):
    """Increments per step of bin b of a given record: its sum spread evenly over the steps."""
    for o in range(current.shape[1]):
        for lane in range(current.shape[0]):
            record[o, 0, lane] = current[lane, o, b].real * dt
            record[o, 1, lane] = current[lane, o, b].imag * dt


@inlined
def clicks_due(work, end):
    """Does any lane have a given click before `end`?  Those that do get `jumping` −1, the others 1."""
    pending = 0
    for lane in range(work.jumping.size):
        k = work.given_next[lane]
        if k < work.given_stop[lane] and work.given_times[k] < end:
            work.jumping[lane] = -1.0
            pending += 1
        else:
            work.jumping[lane] = 1.0
    return pending > 0


@inlined
def take_logarithm(work, lane, now):
    """Move a product of likelihood ratios into its logarithm, `now` or before it leaves the range of doubles."""
    if now or not SMALL < work.likelihood[lane] < 1.0 / SMALL:
        work.log_likelihood[lane] += np.log(work.likelihood[lane])
        work.likelihood[lane] = 1.0


@inlined
def copy(x, out):
    """out = x; an assignment of slices would allocate if they overlapped."""
    for i in range(x.size):
        out[i] = x[i]


@inlined
def horner(terms, order, theta, out):
    """out = Σ_k T_k θ^k."""
    n = out.size
    for i in range(n):
        out[i] = terms[order, i]
    for k in range(order - 1, -1, -1):
        for i in range(n):
            out[i] = out[i] * theta + terms[k, i]


@inlined
def operate(rows, op, factor, vectors, source, target):
    """Row `target` of `vectors` = factor × operator × row `source`; see `Rows`."""
    size = vectors.shape[2]
    n_blocks = rows.ptr.shape[1] - 1
    f = splat_as(factor, load_line(vectors, 0))
    zero = splat_as(0.0, f)
    x = 2 * source * size
    y = 2 * target * size + LANE_RUN
    for block in range(n_blocks):
        re = zero
        im = zero
        for k in range(rows.ptr[op, block], rows.ptr[op, block + 1]):
            i = x + at(rows.start, k)
            u = load_line(rows.re, k * LANE_RUN)
            v = load_line(rows.im, k * LANE_RUN)
            gr = load_line(vectors, i)
            gi = load_line(vectors, i + size)
            re = fma(u, gr, re)
            im = fma(u, gi, im)
            re = fma(neg(v), gi, re)
            im = fma(v, gr, im)
        store(vectors, y + block * LANE_RUN, mul(f, re))
        store(vectors, y + size + block * LANE_RUN, mul(f, im))


@inlined
def size_of(rows, op):
    """Sum of an operator's squared moduli."""
    size = 0.0
    for k in range(rows.ptr[op, 0] * LANE_RUN, rows.ptr[op, -1] * LANE_RUN):
        size += rows.re[k] ** 2 + rows.im[k] ** 2
    return size


@inlined
def dot(vectors, row, other, margin):
    """Re⟨x|y⟩ of two rows, without so many numbers before and behind either part."""
    size = vectors.shape[2]
    re = splat_as(0.0, load_line(vectors, 0))
    im = re
    for i in range(margin, size - margin, LANE_RUN):
        x = 2 * row * size + i
        y = 2 * other * size + i
        re = fma(load_line(vectors, x), load_line(vectors, y), re)
        im = fma(load_line(vectors, x + size), load_line(vectors, y + size), im)
    return total(add(re, im))


@inlined
def scale_row(vectors, source, factor, target):
    """Row `target` = factor × row `source`."""
    size = vectors.shape[2]
    f = splat_as(factor, load_line(vectors, 0))
    for part in range(2):
        for i in range(part * size + LANE_RUN, (part + 1) * size - LANE_RUN, LANE_RUN):
            store(vectors, 2 * target * size + i, mul(f, load_line(vectors, 2 * source * size + i)))


@inlined
def expand(vectors, order, theta, target):
    """Row `target` = Σ_k T_k θ^k, T_k in row k."""
    size = vectors.shape[2]
    step = splat_as(theta, load_line(vectors, 0))
    for part in range(2):
        for i in range(part * size + LANE_RUN, (part + 1) * size - LANE_RUN, LANE_RUN):
            value = load_line(vectors, 2 * order * size + i)
            for k in range(order - 1, -1, -1):
                value = fma(value, step, load_line(vectors, 2 * k * size + i))
            store(vectors, 2 * target * size + i, value)


@inlined
def norm_and_slope(vectors, order, theta):
    """⟨ψ|ψ⟩ of ψ = Σ_k T_k θ^k, and its derivative by θ."""
    size = vectors.shape[2]
    step = splat_as(theta, load_line(vectors, 0))
    zero = splat_as(0.0, step)
    norm = zero
    slope = zero
    for part in range(2):
        for i in range(part * size + LANE_RUN, (part + 1) * size - LANE_RUN, LANE_RUN):
            value = load_line(vectors, 2 * order * size + i)
            rate = zero
            for k in range(order - 1, -1, -1):
                rate = fma(rate, step, value)
                value = fma(value, step, load_line(vectors, 2 * k * size + i))
            norm = fma(value, value, norm)
            slope = fma(value, rate, slope)
    return total(norm), 2.0 * total(slope)


@inlined
def newton(value, slope, target, low, high, theta):
    """One safeguarded Newton step for a decreasing function; returns (theta, low, high)."""
    if value > target:
        low = theta
    else:
        high = theta
    step = theta + (target - value) / slope if slope < 0.0 else -1.0
    if not (low < step < high):
        step = 0.5 * (low + high)
    return step, low, high


@kernel
def push_click(times, owner, count, lane, time, detector):
    """Append a click; the buffers double when they are full."""
    if count >= times.size:
        bigger_times = np.empty(2 * times.size)
        bigger_owner = np.empty((2 * times.size, 2), dtype=np.int64)
        bigger_times[:count] = times[:count]
        bigger_owner[:count] = owner[:count]
        times = bigger_times
        owner = bigger_owner
    times[count] = time
    owner[count, 0] = lane
    owner[count, 1] = detector
    return times, owner, count + 1
