"""State vectors that are counted only, in large Hilbert spaces: a cache line of trajectories, each with its own clock.

Between clicks ψ̇ = Aψ, A = −iH − ½ΣL†L.  A *piece* of the way is a Chebyshev series

```text
e^{Ah} = e^{−(c+ie)h} Σ_k (2 − δ_k0) J_k(Rh) U_k(Y) ,    U_{k+1} = 2Y U_k + U_{k−1} ,    Y = (A + c + ie)/R
```

with the energy e and the decay c in the middle of the spectrum and its radius R (Tal-Ezer and Kosloff, J. Chem. Phys.
81, 3967 (1984)), summed by Clenshaw's recurrence.  Only the Bessel numbers know h: the lanes of a batch go through the
same products with Y and yet take pieces of different lengths.  A lane whose surviving probability has fallen below
its threshold at the end of a piece goes back to where the piece began and takes a shorter one to where the crossing
must be; near it, a Taylor series gives the time to rounding.  The phase e^{−iet} is put back where states are saved.

Layout: an element is two cache lines, the real parts of all lanes and then the imaginary ones: 8 lanes in double
and 16 in single precision.  Three vectors: the state and the two of the recurrence, which change roles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, inner_loop, kernel
from ..simd import LINE, add, at, fma, line_width, load_line, mul, splat_as, store, sub, value_line, wide
from .lane import dot, newton, push_click

TAYLOR = 28  # terms of the series near a click
STATE = TAYLOR + 1  # row of `terms` with the state that the series gives; scratch of the saves
IMAGE = TAYLOR + 2  # row with an operator's image of it
NEAR = 1.0  # largest time, over 1/speed, from which a click is reached by the Taylor series
MILLER = 1e-12  # J_top/J_order from which the recurrence of the Bessel numbers starts; its error is the square of it
OFTEN = 6.0  # longest piece over √(mean time between clicks), both over 1/speed
MEMORY = 0.25  # weight of the last time between clicks in their mean
EXTRA = 42  # top − order at most: the ratio of neighbours is below ½ there
TINY = 1e-100  # R h that is taken for zero
LOST = 1e-15  # relative size at which a term of the Taylor series is negligible
FOUND = 1e-14  # relative distance of the surviving probability from its threshold at a click
ROUNDED = 1e-11  # the same where rounding does not let it come closer


class CountingPlan(NamedTuple):
    """All that the kernel sees of system and unraveling.

    Operators are CSR with shared arrays: row r of operator o is ``ptr[o, r] : ptr[o, r + 1]``.  The first is 2Y without
    its diagonal; in its rows the imaginary elements come first, then the real ones, then the complex ones.
    """

    ptr: np.ndarray  # (n_operators, d + 1) int64
    col: np.ndarray  # int32
    re: np.ndarray  # float64 or float32: the precision of states
    im: np.ndarray
    ends: np.ndarray  # (2, d) int64, ends of the imaginary and of the real elements of a row of 2Y
    diagonal: np.ndarray  # (2, d) real and imaginary part of the diagonal of 2Y, in the precision of states
    radius: float  # R
    decay: float  # c
    energy: float  # e
    speed: float  # bound of ‖A + ie‖: how fast a state changes
    reach: np.ndarray  # (n_orders,) longest piece for which the series up to this order will do
    growth: float  # growth of ⟨ψ|ψ⟩ in a piece above which the expansion is wrong, relative
    jumps: np.ndarray  # (n_jumps,) operators
    counters: np.ndarray  # (n_jumps,) counter, −1 hidden
    observables: np.ndarray  # (n_observables,) operators
    edge_ptr: np.ndarray  # (n_edges + 1,)
    edge_index: np.ndarray
    dt: float  # longest piece
    n_sub: int  # products with 2Y in a bin, about


class CountingWork(NamedTuple):
    """State and scratch of one batch."""

    psi: np.ndarray  # (3 * d * 2 * lanes,) in the precision of the plan: the state, unnormalised, and the recurrence
    factors: np.ndarray  # (n_orders * lanes,) factors of the series, 2 J_k(Rh) e^{−ch}
    bessel: np.ndarray  # (n_orders + EXTRA,)
    terms: np.ndarray  # (TAYLOR + 3, 2, d, with zeros up to full cache lines) one lane's Taylor vectors, and scratch
    norm: np.ndarray  # (lanes,) ⟨ψ|ψ⟩, 1 after a click: the surviving probability
    trial: np.ndarray  # (lanes,) the same at the end of a piece
    threshold: np.ndarray  # (lanes,) the click comes when `norm` falls to it
    piece: np.ndarray  # (lanes,) length of the piece
    filled: np.ndarray  # (lanes,) length for which `factors` hold
    aim: np.ndarray  # (lanes,) time to where a click must be, infinite if it is not in sight
    since: np.ndarray  # (lanes,) time since the last click
    interval: np.ndarray  # (lanes,) mean time between clicks
    clock: np.ndarray  # (lanes,) time since the last stop
    bin: np.ndarray  # (lanes,) int: bins of the stretch behind the last stop
    stop: np.ndarray  # (lanes,) int: bins behind the next one
    edges: np.ndarray  # (n_edges, lanes) edge populations, integrated over time in units of bins
    populations: np.ndarray  # (2, n_edges, lanes) the same at the beginning of a piece, and at its end times `trial`
    hazard: np.ndarray  # (lanes,) sums of event probabilities per piece
    place: np.ndarray  # (2,) int: which of the three vectors is the state, and which the one before this piece
    stretch: np.ndarray  # (1,) int: bins of the stretch at hand
    elapsed: np.ndarray  # (1,) time of the stretches before
    likelihood: np.ndarray  # (lanes,) as in `ket`
    log_likelihood: np.ndarray  # (lanes,)


def lanes(plan: CountingPlan) -> int:
    """Trajectories in a batch."""
    return LINE // plan.re.itemsize


def counting_work(plan: CountingPlan) -> CountingWork:
    """Allocate the state and scratch of one batch."""
    d, n_edges, dtype = plan.ptr.shape[1] - 1, len(plan.edge_ptr) - 1, plan.re.dtype
    width, orders = lanes(plan), len(plan.reach)
    return CountingWork(
        psi=np.zeros(3 * d * 2 * width, dtype),
        factors=np.zeros(orders * width, dtype),
        bessel=np.zeros(orders + EXTRA),
        terms=np.zeros((TAYLOR + 3, 2, -(-d // 8) * 8)),
        norm=np.ones(width),
        trial=np.ones(width),
        threshold=np.zeros(width),
        piece=np.zeros(width),
        filled=np.full(width, -1.0),
        aim=np.full(width, np.inf),
        since=np.zeros(width),
        interval=np.full(width, np.inf),
        clock=np.zeros(width),
        bin=np.zeros(width, dtype=np.int64),
        stop=np.zeros(width, dtype=np.int64),
        edges=np.zeros((n_edges, width)),
        populations=np.zeros((2, n_edges, width)),
        hazard=np.zeros(width),
        place=np.zeros(2, dtype=np.int64),
        stretch=np.zeros(1, dtype=np.int64),
        elapsed=np.zeros(1),
        likelihood=np.ones(width),
        log_likelihood=np.zeros(width),
    )


def elements(work: CountingWork, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts of the states in a new `work`, (d, lanes)."""
    psi = work.psi.reshape(3, d, 2, -1)[0]
    return psi[:, 0], psi[:, 1]


# --- all lanes: one piece


@inlined
def row_times(plan, work, r, at_first, re, im):
    """(re, im) + row r of 2Y times the vector at `at_first`: (real, imaginary).

    Products of two imaginary parts are summed apart, and those of imaginary elements in two chains: a sum in fewer
    registers waits for its own last addition.
    """
    lanes = line_width(work.psi)
    d = plan.ends.shape[1]
    c = at_first + 2 * r * lanes
    vr = load_line(work.psi, c)
    vi = load_line(work.psi, c + lanes)
    a = value_line(plan.diagonal, r)
    b = value_line(plan.diagonal, d + r)
    re = fma(a, vr, re)
    im = fma(a, vi, im)
    minus = mul(b, vi)
    im = fma(b, vr, im)
    minus2 = splat_as(0.0, re)
    im2 = splat_as(0.0, re)
    k, imaginary, real, end = at(plan.ptr, r), at(plan.ends, r), at(plan.ends, d + r), at(plan.ptr, r + 1)
    while k + 1 < imaginary:
        c = at_first + at(plan.col, k) * (2 * lanes)
        b = value_line(plan.im, k)
        minus = fma(b, load_line(work.psi, c + lanes), minus)
        im = fma(b, load_line(work.psi, c), im)
        c = at_first + at(plan.col, k + 1) * (2 * lanes)
        b = value_line(plan.im, k + 1)
        minus2 = fma(b, load_line(work.psi, c + lanes), minus2)
        im2 = fma(b, load_line(work.psi, c), im2)
        k += 2
    if k < imaginary:
        c = at_first + at(plan.col, k) * (2 * lanes)
        b = value_line(plan.im, k)
        minus = fma(b, load_line(work.psi, c + lanes), minus)
        im = fma(b, load_line(work.psi, c), im)
    if imaginary < end:
        for k in range(imaginary, real):
            c = at_first + at(plan.col, k) * (2 * lanes)
            a = value_line(plan.re, k)
            re = fma(a, load_line(work.psi, c), re)
            im2 = fma(a, load_line(work.psi, c + lanes), im2)
        for k in range(real, end):
            c = at_first + at(plan.col, k) * (2 * lanes)
            vr = load_line(work.psi, c)
            vi = load_line(work.psi, c + lanes)
            a = value_line(plan.re, k)
            b = value_line(plan.im, k)
            re = fma(a, vr, re)
            im = fma(b, vr, im)
            minus = fma(b, vi, minus)
            im2 = fma(a, vi, im2)
    return sub(re, add(minus, minus2)), add(im, im2)


@inner_loop
def begin_series(work, state, first, second, order):
    """b_K = c_K ψ, b_{K+1} = 0."""
    lanes = line_width(work.psi)
    factor = load_line(work.factors, order * lanes)
    zero = splat_as(0.0, factor)
    for i in range(0, work.psi.size // 3, lanes):
        store(work.psi, first + i, mul(factor, load_line(work.psi, state + i)))
        store(work.psi, second + i, zero)


@inner_loop
def continue_series(plan, work, state, first, second, order):
    """b_k = c_k ψ + 2Y b_{k+1} + b_{k+2}, over b_{k+2}."""
    lanes = line_width(work.psi)
    factor = load_line(work.factors, order * lanes)
    for r in range(plan.ends.shape[1]):
        i = 2 * r * lanes
        accr = fma(factor, load_line(work.psi, state + i), load_line(work.psi, second + i))
        acci = fma(factor, load_line(work.psi, state + i + lanes), load_line(work.psi, second + i + lanes))
        accr, acci = row_times(plan, work, r, first, accr, acci)
        store(work.psi, second + i, accr)
        store(work.psi, second + i + lanes, acci)


@inner_loop
def end_series(plan, work, state, first, second):
    """ψ(h) = ½(b_0 + b_2), over b_2, and its squared norm into `trial`."""
    lanes = line_width(work.psi)
    factor = load_line(work.factors, 0)
    half = splat_as(0.5, factor)
    total = wide(splat_as(0.0, factor))
    for r in range(plan.ends.shape[1]):
        i = 2 * r * lanes
        oldr = load_line(work.psi, second + i)
        oldi = load_line(work.psi, second + i + lanes)
        accr = fma(factor, load_line(work.psi, state + i), oldr)
        acci = fma(factor, load_line(work.psi, state + i + lanes), oldi)
        accr, acci = row_times(plan, work, r, first, accr, acci)
        accr = mul(half, add(accr, oldr))
        acci = mul(half, add(acci, oldi))
        store(work.psi, second + i, accr)
        store(work.psi, second + i + lanes, acci)
        total = fma(wide(accr), wide(accr), total)
        total = fma(wide(acci), wide(acci), total)
    store(work.trial, 0, total)


@inlined
def order_of(plan, h):
    """Lowest order, 1 or more, that will do for a piece."""
    k = 1
    while k < plan.reach.size - 1 and plan.reach[k] < h:
        k += 1
    return k


@inner_loop
def fill_factors(plan, work, lane):
    """Factors 2 J_k(Rh) e^{−ch} of a lane's series, 0 above its order: Bessel numbers by Miller's recurrence."""
    lanes = work.norm.size
    h = work.piece[lane]
    x = plan.radius * h
    order = order_of(plan, h)
    b = work.bessel
    top, ratio = order, 1.0
    while ratio > MILLER:
        top += 1
        ratio *= x / (2.0 * top)
    b[top + 1], b[top] = 0.0, 1.0
    total = 1.0 if top % 2 == 0 else 0.0
    for k in range(top, 0, -1):
        b[k - 1] = 2.0 * k / max(x, TINY) * b[k] - b[k + 1]
        if k % 2 == 1:
            total += b[k - 1]
    scale = 2.0 * np.exp(-plan.decay * h) / (2.0 * total - b[0])  # J_0 + 2ΣJ_2m = 1
    for k in range(plan.reach.size):
        work.factors[k * lanes + lane] = scale * b[k] if k <= order else 0.0
    work.filled[lane] = h


@inlined
def time_left(work, lane, width):
    """Time to a lane's next stop."""
    return (work.stop[lane] - work.bin[lane]) * width - work.clock[lane]


@inner_loop
def choose_pieces(plan, work, width):
    """Every lane's next piece: to its next stop in equal parts, or as far as it aims; returns the longest.

    A series that a click cuts short is lost.  In units of 1/speed, its order is about h + 15, so that with a time q
    between clicks the cost of a unit of time, (h + 15)(1/h + 1/q), is least for h = √(15q); longer pieces pay since
    most clicks are seen beforehand (`come_near`).  A lane goes by its own clicks only.
    """
    longest = 0.0
    for lane in range(work.norm.size):
        h = 0.0
        if work.bin[lane] < work.stretch[0]:
            left = max(0.0, time_left(work, lane, width))
            interval = max(work.interval[lane], work.since[lane])
            most = min(plan.dt, max(OFTEN * np.sqrt(interval / plan.speed), 1.0 / plan.speed))
            h = min(left / max(1.0, np.ceil(left / most * (1.0 - 1e-12))), work.aim[lane])
        work.piece[lane] = h
        longest = max(longest, h)
    return longest


@inner_loop
def advance(plan, work, longest):
    """One piece of every lane: the new state in another of the three vectors, the old one left as it is."""
    n = work.psi.size // 3
    for lane in range(work.norm.size):
        if work.piece[lane] != work.filled[lane]:
            fill_factors(plan, work, lane)
    state = work.place[0] * n
    first = (work.place[0] + 1) % 3 * n
    second = (work.place[0] + 2) % 3 * n
    order = order_of(plan, longest)
    begin_series(work, state, first, second, order)
    for k in range(order - 1, 0, -1):
        continue_series(plan, work, state, first, second, k)
        first, second = second, first
    end_series(plan, work, state, first, second)
    work.place[0], work.place[1] = second // n, work.place[0]
    for e in range(plan.edge_ptr.size - 1):
        like = load_line(work.factors, 0)
        total = wide(splat_as(0.0, like))
        for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
            i = second + at(plan.edge_index, k) * (2 * work.norm.size)
            vr = wide(load_line(work.psi, i))
            vi = wide(load_line(work.psi, i + work.norm.size))
            total = fma(vr, vr, total)
            total = fma(vi, vi, total)
        store(work.populations[1], e * work.norm.size, total)


# --- one lane


@inner_loop
def gather(plan, work, vector, lane, row):
    """A lane of one of the three vectors into a row of `terms`."""
    lanes = line_width(work.psi)
    d = plan.ends.shape[1]
    begin = 2 * vector * d * lanes + lane
    for r in range(d):
        work.terms[row, 0, r] = at(work.psi, begin + 2 * r * lanes)
        work.terms[row, 1, r] = at(work.psi, begin + (2 * r + 1) * lanes)


@inner_loop
def scatter(plan, work, lane):
    """Row 0 of `terms` into a lane of the state."""
    lanes = line_width(work.psi)
    d = plan.ends.shape[1]
    begin = 2 * work.place[0] * d * lanes + lane
    for r in range(d):
        work.psi[begin + 2 * r * lanes] = work.terms[0, 0, r]
        work.psi[begin + (2 * r + 1) * lanes] = work.terms[0, 1, r]


@inner_loop
def operate(plan, work, operator, source, target):
    """Row `target` of `terms` = O times row `source`."""
    size = work.terms.shape[2]
    d = plan.ends.shape[1]
    x = 2 * source * size
    for r in range(d):
        rr, ii, ri, ir = 0.0, 0.0, 0.0, 0.0
        row = operator * (d + 1) + r
        for k in range(at(plan.ptr, row), at(plan.ptr, row + 1)):
            c = x + at(plan.col, k)
            a, b = at(plan.re, k), at(plan.im, k)
            vr, vi = at(work.terms, c), at(work.terms, c + size)
            rr += a * vr
            ii += b * vi
            ri += a * vi
            ir += b * vr
        work.terms[target, 0, r] = rr - ii
        work.terms[target, 1, r] = ri + ir


@inner_loop
def differentiate(plan, work, order):
    """The next Taylor vector, A^k ψ / k! for k = order + 1, A = R/2 × 2Y − c."""
    t, d, size = work.terms, plan.ends.shape[1], work.terms.shape[2]
    x = 2 * order * size
    scale, decay = 0.5 * plan.radius / (order + 1), plan.decay / (order + 1)
    for r in range(d):
        vr, vi = at(t, x + r), at(t, x + r + size)
        a, b = at(plan.diagonal, r), at(plan.diagonal, d + r)
        re, im, minus, im2 = a * vr, b * vr, b * vi, a * vi
        k, imaginary, end = at(plan.ptr, r), at(plan.ends, r), at(plan.ptr, r + 1)
        minus2, im3 = 0.0, 0.0
        while k + 1 < imaginary:  # two chains, as in `row_times`
            c, b = x + at(plan.col, k), at(plan.im, k)
            minus += b * at(t, c + size)
            im += b * at(t, c)
            c, b = x + at(plan.col, k + 1), at(plan.im, k + 1)
            minus2 += b * at(t, c + size)
            im3 += b * at(t, c)
            k += 2
        while k < end:
            c, a, b = x + at(plan.col, k), at(plan.re, k), at(plan.im, k)
            re += a * at(t, c)
            im += b * at(t, c)
            minus += b * at(t, c + size)
            im2 += a * at(t, c + size)
            k += 1
        t[order + 1, 0, r] = scale * (re - minus - minus2) - decay * vr
        t[order + 1, 1, r] = scale * (im + im2 + im3) - decay * vi


@inner_loop
def slopes(plan, work):
    """First and second derivative of ⟨ψ|ψ⟩ for the state in row 0 of `terms`; rows 1 and 2 are filled."""
    differentiate(plan, work, 0)
    differentiate(plan, work, 1)
    return 2.0 * dot(work.terms, 0, 1, 0), 2.0 * dot(work.terms, 1, 1, 0) + 4.0 * dot(work.terms, 0, 2, 0)


@inner_loop
def expand(plan, work, order, time):
    """Taylor series of row 0 at `time` into row STATE; returns the order it took, −1 if that is too high."""
    smallest = LOST * LOST * dot(work.terms, 0, 0, 0)
    k, power = 0, 1.0
    while dot(work.terms, k, k, 0) * power * power > smallest:
        if k == TAYLOR:
            return -1
        if k == order:
            differentiate(plan, work, order)
            order += 1
        k += 1
        power *= time
    t = work.terms
    n = 2 * t.shape[2]
    step = splat_as(time, load_line(t, 0))
    for i in range(0, n, 8):
        total = load_line(t, k * n + i)
        for j in range(k - 1, -1, -1):
            total = fma(total, step, load_line(t, j * n + i))
        store(t, STATE * n + i, total)
    return order


@inner_loop
def locate(plan, work, low, high, guess, first, second, target):
    """When between `low` and `high` has ⟨ψ|ψ⟩ of row 0 fallen to `target`?  The state then is in row STATE.

    Returns the time, or infinity if it is not found.
    """
    time, order, tried, off = guess, 2, guess, np.inf
    for _ in range(60):
        order = expand(plan, work, order, time)
        if order < 0:
            return np.inf
        value = dot(work.terms, STATE, STATE, 0)
        tried, off = time, abs(value - target)
        if off <= FOUND * target:
            return time
        time, low, high = newton(value, first + second * time, target, low, high, time)
    return tried if off <= ROUNDED * target else np.inf


@inlined
def quintic(h, p0, v0, w0, p1, v1, w1, target):
    """θ in (0, 1) where ⟨ψ|ψ⟩ falls to `target`, from its values, slopes and curvatures at both ends of a piece.

    Its logarithm is taken for a polynomial: it decays.
    """
    w0, w1 = h * h * (w0 / p0 - (v0 / p0) ** 2), h * h * (w1 / p1 - (v1 / p1) ** 2)
    v0, v1 = h * v0 / p0, h * v1 / p1
    p0, p1, target = 0.0, np.log(p1 / p0), np.log(target / p0)
    p, v, w = p1 - p0 - v0 - 0.5 * w0, v1 - v0 - w0, w1 - w0
    a3 = 10.0 * p - 4.0 * v + 0.5 * w
    a4 = -15.0 * p + 7.0 * v - w
    a5 = 6.0 * p - 3.0 * v + 0.5 * w
    low, high, theta = 0.0, 1.0, 0.5
    for _ in range(60):
        value = p0 + theta * (v0 + theta * (0.5 * w0 + theta * (a3 + theta * (a4 + theta * a5))))
        slope = v0 + theta * (w0 + theta * (3.0 * a3 + theta * (4.0 * a4 + theta * 5.0 * a5)))
        moved = theta
        theta, low, high = newton(value, slope, target, low, high, theta)
        if abs(theta - moved) < 1e-12:
            break
    return theta


@inner_loop
def click(plan, work, rng):
    """Choose a jump by ⟨L†L⟩ in the state of row STATE and put its normalised outcome into row 0; −1 if none."""
    total = 0.0
    for j in range(plan.jumps.size):
        operate(plan, work, plan.jumps[j], STATE, IMAGE)
        total += dot(work.terms, IMAGE, IMAGE, 0)
    if not total > 0.0:
        return -1
    left = rng.random() * total
    chosen, weight = -1, 0.0
    for j in range(plan.jumps.size):
        operate(plan, work, plan.jumps[j], STATE, IMAGE)
        size = dot(work.terms, IMAGE, IMAGE, 0)
        if size > 0.0:
            chosen, weight = j, size
            left -= size
            if left < 0.0:
                break
    if left >= 0.0:  # rounding: the last possible jump is the one
        operate(plan, work, plan.jumps[chosen], STATE, IMAGE)
    scale = 1.0 / np.sqrt(weight)
    for part in range(2):
        for r in range(plan.ends.shape[1]):
            work.terms[0, part, r] = scale * work.terms[IMAGE, part, r]
    return chosen


# --- stops


@inlined
def next_stop(work, lane, first, save_every):
    """Set a lane's next stop: a saved edge or the end of the stretch, whose first bin is number `first` of the run."""
    stop = work.stretch[0]
    if save_every > 0:
        stop = min(stop, ((first + work.bin[lane]) // save_every + 1) * save_every - first)
    work.stop[lane] = stop


@inner_loop
def save_lane(plan, work, lane, time, index, expectations, states):
    """Observables ⟨ψ|O|ψ⟩/⟨ψ|ψ⟩ and the normalised state of one lane, `time` after the run began."""
    t = work.terms
    gather(plan, work, work.place[0], lane, STATE)
    for o in range(plan.observables.size):
        operate(plan, work, plan.observables[o], STATE, IMAGE)
        im = 0.0
        for r in range(t.shape[2]):
            im += t[STATE, 0, r] * t[IMAGE, 1, r] - t[STATE, 1, r] * t[IMAGE, 0, r]
        expectations[o, index, lane] = complex(dot(work.terms, STATE, IMAGE, 0), im) / work.norm[lane]
    if states.shape[0] > 0:
        phase = -plan.energy * time
        factor = complex(np.cos(phase), np.sin(phase)) / np.sqrt(work.norm[lane])
        for r in range(states.shape[2]):
            states[index, lane, r] = factor * complex(t[STATE, 0, r], t[STATE, 1, r])


@kernel
def save(plan, work, index, expectations, states):
    """Observables and states of all lanes where the run begins."""
    for lane in range(work.norm.size):
        save_lane(plan, work, lane, 0.0, index, expectations, states)


# --- from piece to piece


@inlined
def move(work, lane, time, norm, width):
    """Advance a lane's clock; its edge populations are the means of those at both ends of the piece."""
    work.hazard[lane] += 1.0 - norm / work.norm[lane]
    for e in range(work.edges.shape[0]):
        now = work.populations[1, e, lane] / work.trial[lane]
        work.edges[e, lane] += 0.5 * (work.populations[0, e, lane] + now) * (time / width)
        work.populations[0, e, lane] = now
    work.clock[lane] += time
    work.since[lane] += time
    work.norm[lane] = norm


@inner_loop
def look_at_edges(plan, work, lane):
    """Edge populations of row 0 of `terms`, as those at the beginning of a piece."""
    for e in range(work.edges.shape[0]):
        total = 0.0
        for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
            r = plan.edge_index[k]
            total += work.terms[0, 0, r] ** 2 + work.terms[0, 1, r] ** 2
        work.populations[0, e, lane] = total


@kernel
def finish_click(plan, work, rng, lane, t0, width, times, owner, count):
    """The click of the state in row STATE, at the lane's clock; the state after it in row 0 and in the lane."""
    chosen = click(plan, work, rng)
    if work.interval[lane] == np.inf:
        work.interval[lane] = work.since[lane]
    work.interval[lane] += MEMORY * (work.since[lane] - work.interval[lane])
    work.since[lane] = 0.0
    if chosen >= 0 and plan.counters[chosen] >= 0:
        time = t0 + work.bin[lane] * width + work.clock[lane]
        times, owner, count = push_click(times, owner, count, lane, time, plan.counters[chosen])
    scatter(plan, work, lane)
    look_at_edges(plan, work, lane)
    work.norm[lane] = dot(work.terms, 0, 0, 0) if chosen >= 0 else np.nan
    work.threshold[lane] = rng.random()
    return times, owner, count


@inner_loop
def come_near(plan, work, lane, hazard):
    """Is the next click within the reach of a piece, going by the last piece's hazard?"""
    return work.norm[lane] * np.exp(-1.5 * hazard * plan.dt) < work.threshold[lane]


@kernel
def settle(plan, work, rng, lane, t0, width, first, save_every, expectations, states, times, owner, count):
    """A lane at the end of its piece: moves on, stops and is saved, clicks, or goes back for a shorter piece."""
    h = work.piece[lane]
    before, after = work.norm[lane], work.trial[lane]
    if not after <= before * (1.0 + plan.growth):  # or NaN: the driver sees the norm and reports it
        work.norm[lane] = np.nan
        work.bin[lane] = work.stretch[0]
        return times, owner, count
    work.aim[lane] = np.inf
    if after < work.threshold[lane]:
        gather(plan, work, work.place[0], lane, 0)
        v1, w1 = slopes(plan, work)
        guess = np.log(after / work.threshold[lane]) * after / -v1
        time = np.inf
        if min(-guess, h) * plan.speed <= NEAR:
            time = locate(plan, work, -h, 0.0, max(guess, -h), v1, w1, work.threshold[lane])
        if time == np.inf:
            gather(plan, work, work.place[1], lane, 0)
            v0, w0 = slopes(plan, work)
            scatter(plan, work, lane)
            work.aim[lane] = h * quintic(h, before, v0, w0, after, v1, w1, work.threshold[lane])
            return times, owner, count
        move(work, lane, h + time, work.threshold[lane], width)
        times, owner, count = finish_click(plan, work, rng, lane, t0, width, times, owner, count)
    else:
        arrived = h >= time_left(work, lane, width)
        move(work, lane, h, after, width)
        if arrived:
            work.bin[lane], work.clock[lane] = work.stop[lane], 0.0
            edge = first + work.bin[lane]
            if save_every > 0 and edge % save_every == 0:
                time = work.elapsed[0] + work.bin[lane] * width
                save_lane(plan, work, lane, time, edge // save_every, expectations, states)
            if work.bin[lane] == work.stretch[0]:
                return times, owner, count
            next_stop(work, lane, first, save_every)
        if not come_near(plan, work, lane, np.log(before / after) / h if h > 0.0 else np.inf):
            return times, owner, count
        gather(plan, work, work.place[0], lane, 0)
    while work.norm[lane] > 0.0:
        slope, curvature = slopes(plan, work)
        left = time_left(work, lane, width)
        distance = np.log(work.norm[lane] / work.threshold[lane]) * work.norm[lane]
        if not distance < -slope * left:
            break
        guess = distance / -slope
        if guess * plan.speed > NEAR:
            work.aim[lane] = guess
            break
        time = locate(plan, work, 0.0, min(2.0 * guess, left), guess, slope, curvature, work.threshold[lane])
        if time == np.inf:
            break
        move(work, lane, time, work.threshold[lane], width)
        times, owner, count = finish_click(plan, work, rng, lane, t0, width, times, owner, count)
    return times, owner, count


@inlined
def behind(work, width, goal, close):
    """Is there a lane that has not come to `goal`?"""
    for lane in range(work.norm.size):
        if work.bin[lane] < work.stretch[0] and (close or work.bin[lane] * width + work.clock[lane] < goal):
            return True
    return False


@kernel
def run_counting(
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
    """Advance a batch over `n_bins` bins, as `ket.run_ket` does; lanes that are ahead may be ahead of them.

    Where pieces begin and end follows from the plan, from what is saved and from a lane's own clicks, not from the
    bins of this call.  `work.stretch` holds the number of bins in the stretch.
    """
    count = 0
    first -= offset
    if offset == 0:
        for lane in range(work.norm.size):
            work.bin[lane], work.clock[lane], work.aim[lane] = 0, 0.0, np.inf
            next_stop(work, lane, first, save_every)
            if first == 0:
                gather(plan, work, work.place[0], lane, 0)
                look_at_edges(plan, work, lane)
    goal = (offset + n_bins) * width
    while behind(work, width, goal, close):
        advance(plan, work, choose_pieces(plan, work, width))
        for lane in range(work.norm.size):
            if work.bin[lane] < work.stretch[0]:
                times, owner, count = settle(
                    plan,
                    work,
                    rngs[lane],
                    lane,
                    t0,
                    width,
                    first,
                    save_every,
                    expectations,
                    states,
                    times,
                    owner,
                    count,
                )
    if close:
        work.elapsed[0] += work.stretch[0] * width
    return times, owner, count
