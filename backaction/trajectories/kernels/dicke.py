"""State vectors in one Dicke sector per species of spins 1/2, one trajectory at a time.

Layout: the states of the last species are the columns of a *row*, padded to lines of 16 with zeros; rows run over all
other sites.  A sector's amplitudes are compact, real and imaginary parts apart, and there are buffers for four states.
Operators are sums of *terms*: a product of one band per site, so that an image's row is a sum over terms of
(number of the row) × (numbers of the columns) × (a row of the state, shifted).  The numbers of the rows are put
together whenever a jump leads to another sector.

A step is P(dt/2) D P(dt/2), neighbouring halves joined.  P is v̇ = (−iH − ½ΣL†L)v with *all* channels, jumps located
by the integral of their rate (trapezoid); D multiplies by 1 + cz + ½c²z2 for one measured channel after the other,
z = dY, z2 = dY² − dt (homodyne) or z = dZ*, z2 = dZ*² (heterodyne).  In the mean over white noise that is the Strang
splitting of the Lindblad equation, of second order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, inner_loop, kernel
from ..simd import add, at, fma, load16, maximum, minimum, mul, neg, splat16, store, sub
from .increments import GAIN_LIMIT
from .lane import NOISE_STEPS, push_click
from .normals import draw

LANES = 1
LINE = 16
MAX_ORDER = 12  # of the Taylor series of P
TAYLOR_ERROR = 1e-4  # bound of what a series leaves out
FAR = 1e-60  # a norm below this, or above its inverse, is brought back to 1
MAX_PIECE = 2.0  # largest t‖G‖ of one series
GENERATOR, CENTRE, RATE, RATE_CENTRE, FIRST_CHANNEL = range(5)  # operators: without and with only what is diagonal


class DickePlan(NamedTuple):
    """All that the kernel sees of system and unraveling."""

    ptr: np.ndarray  # (1, n + 1): n numbers of the initial state, with the empty lines before it
    re: np.ndarray  # (n_terms,) coefficients of the terms
    im: np.ndarray
    op_ptr: np.ndarray  # (n_operators + 1,) terms of each operator: G, its diagonal, ΣL†L of the jumps, its diagonal,
    #                     channels, jumps, observables
    shifts: np.ndarray  # (n_terms, n_sites) what the term adds to each site's index
    places: np.ndarray  # (n_terms, n_sites) where in `tables` the numbers of each site begin
    tables: np.ndarray  # sector by sector ⟨k|O|k − shift⟩
    widths: np.ndarray  # (n_sites,) numbers per sector
    spins: np.ndarray  # (n_sites,) N of a species, 0 for a boson
    levels: np.ndarray  # (n_sites,) states kept, N + 1 for a species
    guard: int  # empty numbers before and behind a state
    n_channels: int
    kinds: np.ndarray  # (n_channels,) 0 homodyne, 1 heterodyne
    outputs: np.ndarray  # (n_channels,) row of the record, −1 hidden
    columns: np.ndarray  # (n_channels + 1,) normals
    rotation: np.ndarray  # (n_steps or 1, n_channels, 2) cos φ, sin φ
    jumps: np.ndarray  # (n_jumps,) operators
    counters: np.ndarray  # (n_jumps,) counter, −1 hidden
    dark: np.ndarray  # (n_counters,) rates of dark counts
    local_site: np.ndarray  # (n_local,) species of each Kraus operator of local channels
    local_to: np.ndarray  # (n_local,) J' − J
    local_shift: np.ndarray  # (n_local,) what is added to k
    local: np.ndarray  # (n_local, max sectors, max states) Kraus operators, rates included
    arrive: np.ndarray  # the same by the state that they lead to, zero where there is none
    n_observables: int
    n_bosons: int  # the first sites
    dt: float
    n_sub: int
    given: bool


class DickeWork(NamedTuple):
    """State and scratch of one trajectory."""

    re: np.ndarray  # (4 * span,) buffers of states
    im: np.ndarray
    diagonal_re: np.ndarray  # (span,) of G, less the middle of its values
    diagonal_im: np.ndarray
    rate: np.ndarray  # (span,) diagonal of ΣL†L of the jumps
    source: np.ndarray  # (n_terms * max rows,) where the row that a term reads begins, less the shift of its columns
    row_re: np.ndarray  # (n_terms * max rows,) numbers of the rows
    row_im: np.ndarray
    column: np.ndarray  # (n_terms,) where in `tables` the numbers of the columns begin
    sector: np.ndarray  # (n_sites,) J = N/2 − sector
    dims: np.ndarray  # (n_sites,) states
    digits: np.ndarray  # (n_sites,) scratch
    place: np.ndarray  # (5,) position in the noise, buffer, at an edge?, rows, columns
    bound: np.ndarray  # (2,) of ‖G‖, and of the imaginary part of its diagonal
    weights: np.ndarray  # (n_jumps + n_counters + n_local,)
    populations: np.ndarray  # (n_sites, max states)
    sums: np.ndarray  # (8 * 16,) sums by lane
    totals: np.ndarray  # (8,)
    record: np.ndarray  # (n_outputs, 2)
    words: np.ndarray  # (4, 1) uint64, generator of the noise
    noise: np.ndarray  # (NOISE_STEPS * columns[−1], 1)
    norm: np.ndarray  # (1,)
    threshold: np.ndarray  # (1,) a uniform number, whose −log is how much integrated rate the first jump takes
    left: np.ndarray  # (1,) of that; −1: not begun
    ahead: np.ndarray  # (1,) rate of jumps after a measurement; −1: not known
    edges: np.ndarray  # (n_bosons, 1)
    hazard: np.ndarray  # (1,)
    likelihood: np.ndarray  # (1,) not used
    log_likelihood: np.ndarray
    given_times: np.ndarray
    given_owner: np.ndarray
    given_next: np.ndarray
    given_stop: np.ndarray


def padded(columns: int) -> int:
    """Columns with those that fill the last line."""
    return -(-columns // LINE) * LINE


def span_of(plan: DickePlan) -> int:
    """Numbers of a buffer."""
    return int(np.prod(plan.levels[:-1])) * padded(int(plan.levels[-1])) + 2 * plan.guard


def dicke_work(plan: DickePlan) -> DickeWork:
    """Allocate the state and scratch of one trajectory, in the sectors J = N/2."""
    n_terms, n_sites = plan.shifts.shape
    rows = int(np.prod(plan.levels[:-1]))
    n_outputs = int(plan.outputs.max(initial=-1)) + 1
    span = span_of(plan)
    work = DickeWork(
        re=np.zeros(4 * span),
        im=np.zeros(4 * span),
        diagonal_re=np.zeros(span),
        diagonal_im=np.zeros(span),
        rate=np.zeros(span),
        source=np.zeros(n_terms * rows, dtype=np.int64),
        row_re=np.zeros(n_terms * rows),
        row_im=np.zeros(n_terms * rows),
        column=np.zeros(n_terms, dtype=np.int64),
        sector=np.zeros(n_sites, dtype=np.int64),
        dims=np.zeros(n_sites, dtype=np.int64),
        digits=np.zeros(n_sites, dtype=np.int64),
        place=np.array([NOISE_STEPS, 0, 1, 0, 0]),
        bound=np.zeros(2),
        weights=np.zeros(len(plan.jumps) + len(plan.dark) + len(plan.local)),
        populations=np.zeros((n_sites, padded(int(plan.levels.max())))),
        sums=np.zeros(8 * LINE),
        totals=np.zeros(8),
        record=np.zeros((n_outputs, 2)),
        words=np.zeros((4, 1), dtype=np.uint64),
        noise=np.zeros((NOISE_STEPS * int(plan.columns[-1]), 1)),
        norm=np.ones(1),
        threshold=np.zeros(1),
        left=np.full(1, -1.0),
        ahead=np.full(1, -1.0),
        edges=np.zeros((plan.n_bosons, 1)),
        hazard=np.zeros(1),
        likelihood=np.ones(1),
        log_likelihood=np.zeros(1),
        given_times=np.zeros(0),
        given_owner=np.zeros(0, dtype=np.int64),
        given_next=np.zeros(1, dtype=np.int64),
        given_stop=np.zeros(1, dtype=np.int64),
    )
    enter(plan, work)
    return work


def multiply_adds(plan: DickePlan) -> float:
    """Work of a step, roughly."""
    return 100.0 * span_of(plan)


# === sectors


@inlined
def buffer(plan, work, number):
    """Where the amplitudes of a buffer begin."""
    return number * work.rate.size + plan.guard


@inner_loop
def enter(plan, work):
    """Tables of the sectors at hand."""
    n_terms, n_sites = plan.shifts.shape
    last = n_sites - 1
    rows = 1
    for a in range(n_sites):
        work.dims[a] = plan.levels[a] - 2 * work.sector[a] if plan.spins[a] > 0 else plan.levels[a]
        if a < last:
            rows *= work.dims[a]
    columns = (work.dims[last] + LINE - 1) // LINE * LINE
    work.place[3] = rows
    work.place[4] = columns
    most = work.source.size // max(n_terms, 1)
    for t in range(n_terms):
        work.column[t] = plan.places[t, last] + work.sector[last] * plan.widths[last]
        offset = 0
        for a in range(last):
            offset = offset * work.dims[a] + plan.shifts[t, a]
            work.digits[a] = 0
        offset *= columns
        for r in range(rows):
            scale = 1.0
            for a in range(last):
                scale *= at(
                    plan.tables, at(plan.places, t * n_sites + a) + work.sector[a] * plan.widths[a] + at(work.digits, a)
                )
            i = t * most + r
            # where nothing is read, multiply some row by zero
            work.source[i] = r * columns - offset - plan.shifts[t, last] if scale != 0.0 else 0
            work.row_re[i] = scale * plan.re[t]
            work.row_im[i] = scale * plan.im[t]
            for a in range(last - 1, -1, -1):
                work.digits[a] += 1
                if work.digits[a] < work.dims[a]:
                    break
                work.digits[a] = 0
    fill_diagonals(plan, work, most, rows, columns)


@inlined
def fill_diagonals(plan, work, most, rows, columns):
    """Diagonals of G and of the jumps' rate, and a bound of ‖G‖."""
    d = work.dims[plan.spins.size - 1]
    whole = d // LINE * LINE
    low_re = splat16(np.inf)
    high_re = splat16(-np.inf)
    low_im = splat16(np.inf)
    high_im = splat16(-np.inf)
    rest_re, most_re, rest_im, most_im = np.inf, -np.inf, np.inf, -np.inf
    for r in range(rows):
        for k in range(0, columns, LINE):
            re = splat16(0.0)
            im = splat16(0.0)
            rate = splat16(0.0)
            for t in range(plan.op_ptr[CENTRE], plan.op_ptr[CENTRE + 1]):
                v = load16(plan.tables, at(work.column, t) + k)
                re = fma(splat16(at(work.row_re, t * most + r)), v, re)
                im = fma(splat16(at(work.row_im, t * most + r)), v, im)
            for t in range(plan.op_ptr[RATE_CENTRE], plan.op_ptr[RATE_CENTRE + 1]):
                v = load16(plan.tables, at(work.column, t) + k)
                rate = fma(splat16(at(work.row_re, t * most + r)), v, rate)
            i = r * columns + k
            store(work.diagonal_re, i, re)
            store(work.diagonal_im, i, im)
            store(work.rate, i, rate)
            if k < whole:
                low_re = minimum(low_re, re)
                high_re = maximum(high_re, re)
                low_im = minimum(low_im, im)
                high_im = maximum(high_im, im)
        for i in range(r * columns + whole, r * columns + d):  # without the zeros behind the row
            rest_re = min(rest_re, at(work.diagonal_re, i))
            most_re = max(most_re, at(work.diagonal_re, i))
            rest_im = min(rest_im, at(work.diagonal_im, i))
            most_im = max(most_im, at(work.diagonal_im, i))
    store(work.sums, 0, low_re)
    store(work.sums, LINE, high_re)
    store(work.sums, 2 * LINE, low_im)
    store(work.sums, 3 * LINE, high_im)
    for i in range(LINE):
        rest_re = min(rest_re, work.sums[i])
        most_re = max(most_re, work.sums[LINE + i])
        rest_im = min(rest_im, work.sums[2 * LINE + i])
        most_im = max(most_im, work.sums[3 * LINE + i])
    # a number times 1 changes norm and phase of the state only: take the middle away
    middle_re = splat16(0.5 * (rest_re + most_re))
    middle_im = splat16(0.5 * (rest_im + most_im))
    for i in range(0, rows * columns, LINE):
        store(work.diagonal_re, i, sub(load16(work.diagonal_re, i), middle_re))
        store(work.diagonal_im, i, sub(load16(work.diagonal_im, i), middle_im))
    work.bound[1] = 0.5 * (most_im - rest_im)
    bound = 0.5 * (most_re - rest_re) + work.bound[1]
    for t in range(plan.op_ptr[GENERATOR], plan.op_ptr[GENERATOR + 1]):
        row = 0.0
        for r in range(rows):
            row = max(row, abs(work.row_re[t * most + r]) + abs(work.row_im[t * most + r]))
        col = 0.0
        for k in range(d):
            col = max(col, abs(plan.tables[work.column[t] + k]))
        bound += row * col
    work.bound[0] = bound


# === linear algebra


@inlined
def row_of_image(plan, work, begin, end, most, r, k, x, ar, ai):
    """(ar, ai) plus a line of the image of the state at x under the terms begin … end."""
    for t in range(begin, end):
        i = t * most + r
        to = x + at(work.source, i) + k
        xr = load16(work.re, to)
        xi = load16(work.im, to)
        column = load16(plan.tables, at(work.column, t) + k)
        v = mul(splat16(at(work.row_re, i)), column)
        ar = fma(v, xr, ar)
        ai = fma(v, xi, ai)
        if at(plan.im, t) != 0.0:
            w = mul(splat16(at(work.row_im, i)), column)
            ar = fma(neg(w), xi, ar)
            ai = fma(w, xr, ai)
    return ar, ai


@inlined
def total_of(work, i, value):
    """Sum of the lanes of sum number i."""
    store(work.sums, i * LINE, value)
    total = 0.0
    for k in range(LINE):
        total += work.sums[i * LINE + k]
    work.totals[i] = total


@inner_loop
def horner_step(plan, work, start, x, out, h):
    """Buffer out = start + h G x."""
    rows, columns = work.place[3], work.place[4]
    most = work.source.size // plan.shifts.shape[0]
    begin, end = plan.op_ptr[GENERATOR], plan.op_ptr[GENERATOR + 1]
    s, y, z = buffer(plan, work, start), buffer(plan, work, x), buffer(plan, work, out)
    time = splat16(h)
    turns = work.bound[1] > 0.0
    for r in range(rows):
        for k in range(0, columns, LINE):
            i = r * columns + k
            yr = load16(work.re, y + i)
            yi = load16(work.im, y + i)
            dr = load16(work.diagonal_re, i)
            ar = mul(dr, yr)
            ai = mul(dr, yi)
            if turns:
                di = load16(work.diagonal_im, i)
                ar = fma(neg(di), yi, ar)
                ai = fma(di, yr, ai)
            ar, ai = row_of_image(plan, work, begin, end, most, r, k, y, ar, ai)
            store(work.re, z + i, fma(time, ar, load16(work.re, s + i)))
            store(work.im, z + i, fma(time, ai, load16(work.im, s + i)))


@inner_loop
def propagate(plan, work, x, h):
    """exp(hG) of buffer x by a Taylor series, into another buffer, whose number is returned; x stays."""
    size = h * work.bound[0]
    pieces = max(1, int(np.ceil(size / MAX_PIECE)))
    h /= pieces
    size /= pieces
    order = 2
    term = size * size * size / 6.0
    while term > TAYLOR_ERROR / pieces and order < MAX_ORDER:
        order += 1
        term *= size / (order + 1)
    now = x
    for _ in range(pieces):
        a, b = others(x, now)
        y = now
        for k in range(order, 0, -1):
            out = b if y == a else a
            horner_step(plan, work, now, y, out, h / k)
            y = out
        now = y
    return now


@inlined
def others(x, y):
    """Two buffers that are neither x nor y."""
    a = 0
    while a == x or a == y:
        a += 1
    b = a + 1
    while b == x or b == y:
        b += 1
    return a, b


@inlined
def total_dark(plan):
    """Rate of all dark counts."""
    out = 0.0
    for c in range(plan.dark.size):
        out += plan.dark[c]
    return out


@inner_loop
def jump_rate(plan, work, x):
    """Rate of all jumps, dark counts included, in the state of buffer x; its norm into work.norm."""
    rows, columns = work.place[3], work.place[4]
    most = work.source.size // plan.shifts.shape[0]
    begin, end = plan.op_ptr[RATE], plan.op_ptr[RATE + 1]
    y = buffer(plan, work, x)
    zero = splat16(0.0)
    norm = zero
    rate = zero
    for r in range(rows):
        for k in range(0, columns, LINE):
            i = r * columns + k
            yr = load16(work.re, y + i)
            yi = load16(work.im, y + i)
            p = fma(yr, yr, mul(yi, yi))
            norm = add(norm, p)
            rate = fma(p, load16(work.rate, i), rate)
            if end > begin:
                ar, ai = row_of_image(plan, work, begin, end, most, r, k, y, zero, zero)
                rate = fma(yr, ar, fma(yi, ai, rate))
    total_of(work, 0, norm)
    total_of(work, 1, rate)
    work.norm[0] = work.totals[0]
    return work.totals[1] / work.totals[0] + total_dark(plan)


@inner_loop
def image(plan, work, operator, x, out):
    """Buffer out = O x; totals 0 … 2: ⟨x|Ox⟩, real and imaginary part, and ‖Ox‖²."""
    rows, columns = work.place[3], work.place[4]
    most = work.source.size // plan.shifts.shape[0]
    begin, end = plan.op_ptr[operator], plan.op_ptr[operator + 1]
    y, z = buffer(plan, work, x), buffer(plan, work, out)
    zero = splat16(0.0)
    re = zero
    im = zero
    norm = zero
    for r in range(rows):
        for k in range(0, columns, LINE):
            i = r * columns + k
            ar, ai = row_of_image(plan, work, begin, end, most, r, k, y, zero, zero)
            store(work.re, z + i, ar)
            store(work.im, z + i, ai)
            yr = load16(work.re, y + i)
            yi = load16(work.im, y + i)
            re = fma(yr, ar, fma(yi, ai, re))
            im = fma(yr, ai, fma(neg(yi), ar, im))
            norm = fma(ar, ar, fma(ai, ai, norm))
    total_of(work, 0, re)
    total_of(work, 1, im)
    total_of(work, 2, norm)


@inner_loop
def second_image(plan, work, operator, x, first, out):
    """Buffer out = O first, first = O x; totals 3 … 6: ⟨x|O²x⟩ and ⟨first|O²x⟩."""
    rows, columns = work.place[3], work.place[4]
    most = work.source.size // plan.shifts.shape[0]
    begin, end = plan.op_ptr[operator], plan.op_ptr[operator + 1]
    x0, y, z = buffer(plan, work, x), buffer(plan, work, first), buffer(plan, work, out)
    zero = splat16(0.0)
    q_re = zero
    q_im = zero
    m_re = zero
    m_im = zero
    for r in range(rows):
        for k in range(0, columns, LINE):
            i = r * columns + k
            ar, ai = row_of_image(plan, work, begin, end, most, r, k, y, zero, zero)
            store(work.re, z + i, ar)
            store(work.im, z + i, ai)
            xr = load16(work.re, x0 + i)
            xi = load16(work.im, x0 + i)
            q_re = fma(xr, ar, fma(xi, ai, q_re))
            q_im = fma(xr, ai, fma(neg(xi), ar, q_im))
            yr = load16(work.re, y + i)
            yi = load16(work.im, y + i)
            m_re = fma(yr, ar, fma(yi, ai, m_re))
            m_im = fma(yr, ai, fma(neg(yi), ar, m_im))
    total_of(work, 3, q_re)
    total_of(work, 4, q_im)
    total_of(work, 5, m_re)
    total_of(work, 6, m_im)


@inner_loop
def combine(plan, work, x, first, second, s, zr, zi, ur, ui):
    """Buffer x = s (x + z first + u second), its norm, and the rate of jumps from there."""
    n = work.place[3] * work.place[4]
    x0, y, z = buffer(plan, work, x), buffer(plan, work, first), buffer(plan, work, second)
    vs = splat16(s)
    vzr = splat16(s * zr)
    vzi = splat16(s * zi)
    vur = splat16(s * ur)
    vui = splat16(s * ui)
    norm = splat16(0.0)
    rate = splat16(0.0)
    for i in range(0, n, LINE):
        r1 = load16(work.re, y + i)
        i1 = load16(work.im, y + i)
        r2 = load16(work.re, z + i)
        i2 = load16(work.im, z + i)
        a = fma(vzr, r1, mul(vs, load16(work.re, x0 + i)))
        b = fma(vzr, i1, mul(vs, load16(work.im, x0 + i)))
        a = sub(fma(vur, r2, a), fma(vzi, i1, mul(vui, i2)))
        b = add(fma(vur, i2, b), fma(vzi, r1, mul(vui, r2)))
        store(work.re, x0 + i, a)
        store(work.im, x0 + i, b)
        p = fma(a, a, mul(b, b))
        norm = add(norm, p)
        rate = fma(p, load16(work.rate, i), rate)
    total_of(work, 0, norm)
    total_of(work, 1, rate)
    work.norm[0] = work.totals[0]
    work.ahead[0] = work.totals[1] / work.totals[0] + total_dark(plan)
    if plan.op_ptr[RATE + 1] > plan.op_ptr[RATE]:  # not diagonal: see `jump_rate`
        work.ahead[0] = -1.0


@inner_loop
def squared_norm(plan, work, x):
    """⟨x|x⟩."""
    y = buffer(plan, work, x)
    norm = splat16(0.0)
    for i in range(0, work.place[3] * work.place[4], LINE):
        a = load16(work.re, y + i)
        b = load16(work.im, y + i)
        norm = fma(a, a, fma(b, b, norm))
    total_of(work, 0, norm)
    return work.totals[0]


# === measurement


@inlined
def clip(x):
    """x cut to the range of what a sensible step gives."""
    return min(max(x, -GAIN_LIMIT), GAIN_LIMIT)


@inner_loop
def measure(plan, work, x, channel, position, step):
    """D of one channel: its increment, added to the record, and the state's update in place.

    The law of the increment is p ∝ G ⟨D†ED⟩ with E = 1 − ½dt c†c for the P(dt/2) that follows: mean
    ``⟨c⟩ + ½dt(⟨c†c²⟩ − ⟨c†c⟩⟨c⟩)`` per time (twice its real part for homodyne detection), and the variances of
    `increments`.
    """
    dt = plan.dt
    a, b = others(x, x)
    n = work.norm[0]
    operator = FIRST_CHANNEL + channel
    image(plan, work, operator, x, a)
    second_image(plan, work, operator, x, a, b)
    turn = complex(plan.rotation[step, channel, 0], -plan.rotation[step, channel, 1])
    m = turn * complex(work.totals[0], work.totals[1]) / n
    g = work.totals[2] / n
    q = turn * turn * complex(work.totals[3], work.totals[4]) / n
    mean = m + 0.5 * dt * (turn * complex(work.totals[5], work.totals[6]) / n - g * m)
    work.hazard[0] += dt * g
    place = position * plan.columns[plan.n_channels] + plan.columns[channel]
    if plan.kinds[channel] == 0:
        gain = clip(0.5 * dt * (2.0 * (q.real + g) - 4.0 * m.real * m.real))
        y = complex(2.0 * mean.real * dt + np.sqrt(dt) * (1.0 + gain) * work.noise[place, 0], 0.0)
        u = y * y - dt
    else:
        w = np.sqrt(0.5 * dt) * complex(work.noise[place, 0], work.noise[place + 1, 0])
        direct = clip(0.5 * dt * (g - m.real * m.real - m.imag * m.imag))
        cross = 0.5 * dt * (q - m * m)
        cross = complex(clip(cross.real), clip(cross.imag))
        y = mean * dt + w + direct * w + cross * complex(w.real, -w.imag)
        u = complex(y.real, -y.imag) * complex(y.real, -y.imag)
    if plan.outputs[channel] >= 0:
        work.record[plan.outputs[channel], 0] += y.real
        work.record[plan.outputs[channel], 1] += y.imag
    z = turn * complex(y.real, -y.imag)
    u = 0.5 * turn * turn * u
    combine(plan, work, x, a, b, 1.0 / np.sqrt(n), z.real, z.imag, u.real, u.imag)


# === jumps


@inlined
def marginals(plan, work, x):
    """Populations of the states of every species."""
    n_sites = plan.spins.size
    last = n_sites - 1
    rows, columns = work.place[3], work.place[4]
    for a in range(n_sites):
        work.digits[a] = 0
        for k in range(work.populations.shape[1]):
            work.populations[a, k] = 0.0
    y = buffer(plan, work, x)
    to = last * work.populations.shape[1]
    for r in range(rows):
        total = splat16(0.0)
        for k in range(0, columns, LINE):
            i = y + r * columns + k
            re = load16(work.re, i)
            im = load16(work.im, i)
            p = fma(re, re, mul(im, im))
            store(work.populations, to + k, add(p, load16(work.populations, to + k)))
            total = add(total, p)
        total_of(work, 7, total)
        for a in range(last):
            work.populations[a, work.digits[a]] += work.totals[7]
        for a in range(last - 1, -1, -1):
            work.digits[a] += 1
            if work.digits[a] < work.dims[a]:
                break
            work.digits[a] = 0


@inner_loop
def jump(plan, work, uniform, x):
    """Choose a jump, apply it to buffer x; returns (buffer, counter or −1)."""
    n_jumps, n_dark, n_local = plan.jumps.size, plan.dark.size, plan.local_site.size
    other, _ = others(x, x)
    n = squared_norm(plan, work, x)
    total = 0.0
    for j in range(n_jumps):
        image(plan, work, plan.jumps[j], x, other)
        work.weights[j] = work.totals[2]
        total += work.totals[2]
    for c in range(n_dark):
        work.weights[n_jumps + c] = plan.dark[c] * n
        total += plan.dark[c] * n
    if n_local > 0:
        marginals(plan, work, x)
    for o in range(n_local):
        a = plan.local_site[o]
        weight = 0.0
        for k in range(work.dims[a]):
            v = plan.local[o, work.sector[a], k]
            weight += v * v * work.populations[a, k]
        work.weights[n_jumps + n_dark + o] = weight
        total += weight
    left = uniform * total
    chosen = -1
    for j in range(work.weights.size):
        if work.weights[j] > 0.0:
            chosen = j  # rounding: the last possible jump is the one
            left -= work.weights[j]
            if left < 0.0:
                break
    if chosen < 0:
        return x, -1
    if chosen < n_jumps:
        image(plan, work, plan.jumps[chosen], x, other)
        rescale(plan, work, other, 1.0 / np.sqrt(work.weights[chosen]))
        return other, plan.counters[chosen]
    if chosen < n_jumps + n_dark:
        return x, chosen - n_jumps
    change_sector(plan, work, chosen - n_jumps - n_dark, x, other, 1.0 / np.sqrt(work.weights[chosen]))
    return other, -1


@inlined
def rescale(plan, work, x, scale):
    """Buffer x times a number."""
    y = buffer(plan, work, x)
    for i in range(y, y + work.place[3] * work.place[4]):
        work.re[i] *= scale
        work.im[i] *= scale


@inlined
def change_sector(plan, work, o, x, out, scale):
    """Apply a Kraus operator of a local channel, and enter its sector."""
    n_sites = plan.spins.size
    last = n_sites - 1
    a = plan.local_site[o]
    old = work.sector[a]
    shift = plan.local_shift[o]
    columns = work.place[4]
    before, behind = 1, 1  # rows of the sites before and behind a
    for c in range(last):
        if c < a:
            before *= work.dims[c]
        elif c > a:
            behind *= work.dims[c]
    d_old = work.dims[a]
    d_new = d_old + 2 * plan.local_to[o]
    y, z = buffer(plan, work, x), buffer(plan, work, out)
    numbers = (o * plan.arrive.shape[1] + old) * plan.arrive.shape[2]
    s = splat16(scale)
    if a == last:
        new_columns = (d_new + LINE - 1) // LINE * LINE
        for r in range(work.place[3]):
            for k in range(0, new_columns, LINE):
                v = mul(s, load16(plan.arrive, numbers + k))
                i = z + r * new_columns + k
                j = y + r * columns + k - shift
                store(work.re, i, mul(v, load16(work.re, j)))
                store(work.im, i, mul(v, load16(work.im, j)))
    else:
        for outer in range(before):
            for k in range(d_new):
                source = k - shift
                inside = source >= 0 and source < d_old
                v = splat16(scale * at(plan.arrive, numbers + k))
                i = z + (outer * d_new + k) * behind * columns
                j = y + (outer * d_old + source) * behind * columns if inside else y
                for c in range(0, behind * columns, LINE):
                    store(work.re, i + c, mul(v, load16(work.re, j + c)))
                    store(work.im, i + c, mul(v, load16(work.im, j + c)))
    work.sector[a] = old - plan.local_to[o]
    enter(plan, work)


# === trajectories


@kernel
def carry(plan, work, rngs, begin, duration, times, owner, count):
    """P: the state over a time without measurement, with its jumps."""
    x = work.place[1]
    jumps = plan.jumps.size + plan.dark.size + plan.local_site.size > 0
    if not jumps:
        x = propagate(plan, work, x, duration)
        work.norm[0] = squared_norm(plan, work, x)
        work.place[1] = x
        return times, owner, count
    done = 0.0
    before = work.ahead[0] if work.ahead[0] >= 0.0 else jump_rate(plan, work, x)
    work.ahead[0] = -1.0
    while True:
        rest = duration - done
        y = propagate(plan, work, x, rest)
        behind = jump_rate(plan, work, y)
        integral = 0.5 * rest * (before + behind)
        if not integral >= work.left[0]:  # NaN too: the driver sees the norm
            work.left[0] -= integral
            work.hazard[0] += integral
            x = y
            break
        # where the integral of the rate, linear in time, reaches what is left
        root = np.sqrt(max(before * before + 2.0 * work.left[0] * (behind - before) / rest, 0.0))
        time = min(2.0 * work.left[0] / (before + root), rest)
        work.hazard[0] += work.left[0]
        y = propagate(plan, work, x, time)
        x, counter = jump(plan, work, rngs[0].random(), y)
        work.left[0] = -np.log(rngs[0].random())
        done += time
        if counter >= 0:
            times, owner, count = push_click(times, owner, count, 0, begin + done, counter)
        before = jump_rate(plan, work, x)
        if not duration > done:
            break
    if work.norm[0] < FAR or work.norm[0] > 1.0 / FAR:
        rescale(plan, work, x, 1.0 / np.sqrt(work.norm[0]))
        work.norm[0] = 1.0
    work.place[1] = x
    return times, owner, count


@kernel
def save(plan, work, index, expectations):
    """Observables at one edge of the time axis."""
    x = work.place[1]
    other, _ = others(x, x)
    n = squared_norm(plan, work, x)
    first = FIRST_CHANNEL + plan.n_channels + plan.jumps.size
    for o in range(plan.n_observables):
        image(plan, work, first + o, x, other)
        expectations[o, index, 0] = complex(work.totals[0], work.totals[1]) / n


@kernel
def measure_edges(plan, work):
    """Add the populations of the bosons' highest levels."""
    x = work.place[1]
    n = squared_norm(plan, work, x)
    marginals(plan, work, x)
    for a in range(plan.n_bosons):
        work.edges[a, 0] += work.populations[a, work.dims[a] - 1] / n


@kernel
def run_dicke(
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
    """Advance a trajectory over `n_bins` bins; arguments and results as those of `run_ket`."""
    count = np.int64(0)
    if work.left[0] < 0.0:
        work.left[0] = -np.log(work.threshold[0])
    dt = plan.dt
    rotates = plan.rotation.shape[0] > 1
    for b in range(n_bins):
        for s in range(plan.n_sub):
            step = (offset + b) * plan.n_sub + s
            if plan.n_channels == 0:
                times, owner, count = carry(plan, work, rngs, t0 + step * dt, dt, times, owner, count)
                continue
            if work.place[0] == NOISE_STEPS:
                draw(work.words, work.noise)
                work.place[0] = 0
            at_edge = work.place[2] == 1
            begin = t0 + (step if at_edge else step - 0.5) * dt
            times, owner, count = carry(
                plan, work, rngs, begin, 0.5 * dt if at_edge else dt, times, owner, count
            )  # fmt: skip
            work.place[2] = 0
            for c in range(plan.n_channels):
                channel = plan.n_channels - 1 - c if step % 2 == 1 else c  # their measurements may not commute
                measure(plan, work, work.place[1], channel, work.place[0], step if rotates else 0)
            work.place[0] += 1
        wanted = save_every > 0 and (first + b + 1) % save_every == 0
        if plan.n_channels > 0 and (wanted or (close and b == n_bins - 1)):
            begin = t0 + ((offset + b + 1) * plan.n_sub - 0.5) * dt
            times, owner, count = carry(plan, work, rngs, begin, 0.5 * dt, times, owner, count)
            work.place[2] = 1
        for o in range(work.record.shape[0]):
            current[0, o, first + b] = complex(work.record[o, 0], work.record[o, 1]) / width
            work.record[o, 0] = 0.0
            work.record[o, 1] = 0.0
        if plan.n_bosons > 0:
            measure_edges(plan, work)
        if wanted:
            save(plan, work, saved, expectations)
            saved += 1
    work.norm[0] = squared_norm(plan, work, work.place[1])
    return times, owner, count
