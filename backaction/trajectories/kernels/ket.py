"""State vectors, 16 trajectories at a time.

Layout: real and imaginary parts apart, element r of lane l at ``16 r + l``.  A step is
``P(dt/2) D P(dt/2)``: P is the no-jump propagator with jumps at their exact times, D the measurement of
the diffusive channels one after the other; neighbouring P(dt/2) inside a bin are one P(dt).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import kernel
from ..simd import fma16, load16, splat16, store16
from .lane import MAX_ORDER, REACH, csr_apply, horner, newton, norm2, push_click

LANES = 16


class KetPlan(NamedTuple):
    """All that the kernel sees of system and unraveling.

    Operators are CSR with shared arrays: row r of operator o is ``ptr[o, r] : ptr[o, r + 1]``.
    """

    ptr: np.ndarray  # (n_operators, d + 1) int64
    col: np.ndarray  # int64
    re: np.ndarray  # float64
    im: np.ndarray
    slots: np.ndarray  # (2,) operators of P(dt), P(dt/2)
    generator: int  # operator −iH − Γ_jump/2
    reach: float  # longest time of one Taylor expansion
    kraus: np.ndarray  # (n_diffusive, 3) operators K0, K1, K2
    kinds: np.ndarray  # (n_diffusive,) 0 homodyne, 1 heterodyne
    outputs: np.ndarray  # (n_diffusive,) row of the record, −1 hidden
    jumps: np.ndarray  # (n_jumps,) operators
    counters: np.ndarray  # (n_jumps,) counter, −1 hidden
    observables: np.ndarray  # (n_observables,) operators
    edge_ptr: np.ndarray  # (n_edges + 1,)
    edge_index: np.ndarray
    dt: float
    n_sub: int
    alternate: bool  # reverse the order of the diffusive channels in every second step


class KetWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (d * 16,) the state, unnormalised
    im: np.ndarray
    re2: np.ndarray
    im2: np.ndarray
    phi: np.ndarray  # (6 * d * 16,) K0ψ, K1ψ, K2ψ, real and imaginary parts
    norm: np.ndarray  # (16,) ⟨ψ|ψ⟩
    trial: np.ndarray  # (16,) norm of the trial state
    alive: np.ndarray  # (16,) surviving probability since the last jump
    threshold: np.ndarray  # (16,) the jump comes when `alive` falls to it
    sums: np.ndarray  # (5 * 16,) inner products of the K_iψ
    z: np.ndarray  # (5 * 16,) 1/√norm, Re z, Im z, Re z2, Im z2
    lane: np.ndarray  # (MAX_ORDER + 3, d) complex
    edges: np.ndarray  # (n_edges, 16) sums of edge populations
    hazard: np.ndarray  # (16,) sums of event probabilities per step


def ket_work(d: int, n_edges: int) -> KetWork:
    """Allocate the scratch of one batch."""
    lanes = np.zeros
    return KetWork(
        *(lanes(d * LANES) for _ in range(4)),
        lanes(6 * d * LANES),
        np.ones(LANES),
        np.ones(LANES),
        np.ones(LANES),
        np.zeros(LANES),
        lanes(5 * LANES),
        lanes(5 * LANES),
        np.zeros((MAX_ORDER + 3, d), dtype=complex),
        np.zeros((n_edges, LANES)),
        np.zeros(LANES),
    )


@kernel
def apply(plan, operator, xr, xi, yr, yi, norm):
    """y = A x on 16 lanes, and norm = ⟨y|y⟩."""
    ptr = plan.ptr[operator]
    total = splat16(0.0)
    for r in range(ptr.size - 1):
        accr = splat16(0.0)
        acci = splat16(0.0)
        for k in range(ptr[r], ptr[r + 1]):
            c = plan.col[k] * LANES
            a = splat16(plan.re[k])
            b = splat16(plan.im[k])
            vr = load16(xr, c)
            vi = load16(xi, c)
            accr = fma16(a, vr, accr)
            acci = fma16(a, vi, acci)
            accr = fma16(splat16(-plan.im[k]), vi, accr)
            acci = fma16(b, vr, acci)
        store16(yr, r * LANES, accr)
        store16(yi, r * LANES, acci)
        total = fma16(accr, accr, total)
        total = fma16(acci, acci, total)
    store16(norm, 0, total)


@kernel
def observe(plan, work, operator, out):
    """out[lane] = ⟨ψ|O|ψ⟩/⟨ψ|ψ⟩, complex (16,)."""
    apply(plan, operator, work.re, work.im, work.re2, work.im2, work.trial)
    d = plan.ptr.shape[1] - 1
    for lane in range(LANES):
        acc = 0.0j
        for r in range(d):
            i = r * LANES + lane
            acc += complex(work.re[i], -work.im[i]) * complex(work.re2[i], work.im2[i])
        out[lane] = acc / work.norm[lane]


@kernel
def save(plan, work, index, expectations, states):
    """Observables and states at one edge of the time axis."""
    for o in range(plan.observables.size):
        observe(plan, work, plan.observables[o], expectations[o, index])
    if states.shape[0] > 0:
        d = plan.ptr.shape[1] - 1
        for lane in range(LANES):
            scale = 1.0 / np.sqrt(work.norm[lane])
            for r in range(d):
                i = r * LANES + lane
                states[index, lane, r] = scale * complex(work.re[i], work.im[i])


@kernel
def measure_edges(plan, work):
    """Add the populations of the basis' edges."""
    for e in range(plan.edge_ptr.size - 1):
        for lane in range(LANES):
            acc = 0.0
            for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
                i = plan.edge_index[k] * LANES + lane
                acc += work.re[i] * work.re[i] + work.im[i] * work.im[i]
            work.edges[e, lane] += acc / work.norm[lane]


@kernel
def taylor(plan, work, values, h):
    """Fill work.lane[0:] with the Taylor vectors of row 0 over h; returns the order reached."""
    ptr = plan.ptr[plan.generator]
    terms = work.lane
    scale = norm2(terms[0])
    for k in range(1, MAX_ORDER + 1):
        csr_apply(ptr, plan.col, values, terms[k - 1], terms[k])
        for i in range(terms.shape[1]):
            terms[k, i] *= h / k
        if norm2(terms[k]) <= 1e-34 * scale:
            return k
    return MAX_ORDER


@kernel
def click(plan, work, values, rng, state):
    """Choose a jump operator by ⟨L†L⟩, apply it to `state`, normalise; returns its index or −1."""
    scratch = work.lane[MAX_ORDER + 2]
    total = 0.0
    for j in range(plan.jumps.size):
        csr_apply(plan.ptr[plan.jumps[j]], plan.col, values, state, scratch)
        total += norm2(scratch)
    if not total > 0.0:
        return -1
    left = rng.random() * total
    chosen = -1
    for j in range(plan.jumps.size):
        csr_apply(plan.ptr[plan.jumps[j]], plan.col, values, state, scratch)
        weight = norm2(scratch)
        if weight > 0.0:
            chosen = j
            left -= weight
            if left < 0.0:
                break
    csr_apply(plan.ptr[plan.jumps[chosen]], plan.col, values, state, scratch)
    scale = 1.0 / np.sqrt(norm2(scratch))
    for i in range(state.size):
        state[i] = scale * scratch[i]
    return chosen


@kernel
def advance_lane(plan, work, values, rng, lane, start, duration, times, owner, count):
    """Carry one lane over a slot in which it jumps; the result goes to re2, im2 and `trial`."""
    d = plan.ptr.shape[1] - 1
    terms = work.lane
    state = work.lane[MAX_ORDER + 1]
    scale = 1.0 / np.sqrt(work.norm[lane])
    for r in range(d):
        i = r * LANES + lane
        terms[0, r] = scale * complex(work.re[i], work.im[i])
    alive = work.alive[lane]
    done = 0.0
    while done < duration:
        h = min(duration - done, plan.reach)
        before = norm2(terms[0])
        order = taylor(plan, work, values, h)
        horner(terms, order, 1.0, state)
        survival = norm2(state) / before
        if not np.isfinite(survival):
            break  # the driver sees the norm and reports it
        if alive * survival >= work.threshold[lane]:
            alive *= survival
            # the last piece ends the slot exactly, whatever the sum of the pieces rounds to
            done = duration if h >= duration - done else done + h
            terms[0] = state
            continue
        target = work.threshold[lane] / alive * before
        low, high, theta = 0.0, 1.0, 0.5
        for _ in range(60):
            horner(terms, order, theta, state)
            value = norm2(state)
            slope = 0.0  # d/dθ ⟨ψ|ψ⟩ = 2 Re⟨ψ|Gψ⟩ h, from the terms themselves
            for r in range(d):
                derivative = 0.0j
                for k in range(order, 0, -1):
                    derivative = derivative * theta + k * terms[k, r]
                slope += 2.0 * (state[r].real * derivative.real + state[r].imag * derivative.imag)
            new, low, high = newton(value, slope, target, low, high, theta)
            if abs(new - theta) <= 4e-16 or high - low <= 4e-16:
                break
            theta = new
        done += theta * h
        chosen = click(plan, work, values, rng, state)
        if chosen >= 0 and plan.counters[chosen] >= 0:
            times, owner, count = push_click(
                times, owner, count, lane, start + min(done, duration), plan.counters[chosen]
            )
        terms[0] = state
        alive = 1.0
        work.threshold[lane] = rng.random()
    for r in range(d):
        i = r * LANES + lane
        work.re2[i] = terms[0, r].real
        work.im2[i] = terms[0, r].imag
    work.alive[lane] = alive
    work.trial[lane] = norm2(terms[0])
    return times, owner, count


@kernel
def slot(plan, work, values, rngs, operator, start, duration, times, owner, count):
    """P(duration): the no-jump propagator, and lane by lane what jumps."""
    apply(plan, operator, work.re, work.im, work.re2, work.im2, work.trial)
    if plan.jumps.size > 0:
        for lane in range(LANES):
            survival = work.trial[lane] / work.norm[lane]
            work.hazard[lane] += 1.0 - survival
            if work.alive[lane] * survival >= work.threshold[lane]:
                work.alive[lane] *= survival
            else:
                times, owner, count = advance_lane(
                    plan, work, values, rngs[lane], lane, start, duration, times, owner, count
                )
    work.re[:] = work.re2
    work.im[:] = work.im2
    work.norm[:] = work.trial
    return times, owner, count


@kernel
def project(plan, work, channel):
    """K0ψ, K1ψ, K2ψ of a diffusive channel and the inner products that its law needs."""
    d = plan.ptr.shape[1] - 1
    p0 = plan.ptr[plan.kraus[channel, 0]]
    p1 = plan.ptr[plan.kraus[channel, 1]]
    p2 = plan.ptr[plan.kraus[channel, 2]]
    phi = work.phi
    n = d * LANES
    m_re = splat16(0.0)  # ⟨K0ψ|K1ψ⟩
    m_im = splat16(0.0)
    g11 = splat16(0.0)  # ⟨K1ψ|K1ψ⟩
    q_re = splat16(0.0)  # ⟨K0ψ|K2ψ⟩
    q_im = splat16(0.0)
    for r in range(d):
        r0 = splat16(0.0)
        i0 = splat16(0.0)
        for k in range(p0[r], p0[r + 1]):
            c = plan.col[k] * LANES
            vr = load16(work.re, c)
            vi = load16(work.im, c)
            r0 = fma16(splat16(plan.re[k]), vr, r0)
            i0 = fma16(splat16(plan.re[k]), vi, i0)
            r0 = fma16(splat16(-plan.im[k]), vi, r0)
            i0 = fma16(splat16(plan.im[k]), vr, i0)
        r1 = splat16(0.0)
        i1 = splat16(0.0)
        for k in range(p1[r], p1[r + 1]):
            c = plan.col[k] * LANES
            vr = load16(work.re, c)
            vi = load16(work.im, c)
            r1 = fma16(splat16(plan.re[k]), vr, r1)
            i1 = fma16(splat16(plan.re[k]), vi, i1)
            r1 = fma16(splat16(-plan.im[k]), vi, r1)
            i1 = fma16(splat16(plan.im[k]), vr, i1)
        r2 = splat16(0.0)
        i2 = splat16(0.0)
        for k in range(p2[r], p2[r + 1]):
            c = plan.col[k] * LANES
            vr = load16(work.re, c)
            vi = load16(work.im, c)
            r2 = fma16(splat16(plan.re[k]), vr, r2)
            i2 = fma16(splat16(plan.re[k]), vi, i2)
            r2 = fma16(splat16(-plan.im[k]), vi, r2)
            i2 = fma16(splat16(plan.im[k]), vr, i2)
        row = r * LANES
        store16(phi, row, r0)
        store16(phi, n + row, i0)
        store16(phi, 2 * n + row, r1)
        store16(phi, 3 * n + row, i1)
        store16(phi, 4 * n + row, r2)
        store16(phi, 5 * n + row, i2)
        minus_i0 = fma16(splat16(-1.0), i0, splat16(0.0))
        m_re = fma16(r0, r1, m_re)
        m_re = fma16(i0, i1, m_re)
        m_im = fma16(r0, i1, m_im)
        m_im = fma16(minus_i0, r1, m_im)
        g11 = fma16(r1, r1, g11)
        g11 = fma16(i1, i1, g11)
        q_re = fma16(r0, r2, q_re)
        q_re = fma16(i0, i2, q_re)
        q_im = fma16(r0, i2, q_im)
        q_im = fma16(minus_i0, r2, q_im)
    store16(work.sums, 0, m_re)
    store16(work.sums, LANES, m_im)
    store16(work.sums, 2 * LANES, g11)
    store16(work.sums, 3 * LANES, q_re)
    store16(work.sums, 4 * LANES, q_im)


@kernel
def sample_homodyne(m, g11, q_re, dt, normal):
    """Increment dY from ⟨K0†K1⟩, ⟨K1†K1⟩, ⟨K0†K2⟩ of a normalised state and a standard normal.

    The law p(dY) ∝ ‖K(dY)ψ‖² G(dY) has mean x dt and variance dt + (⟨:x²:⟩ − x²)dt², x = 2 Re m.
    """
    x = 2.0 * m.real
    gain = 0.5 * dt * (2.0 * (2.0 * q_re + g11) - x * x)
    gain = min(max(gain, -0.9), 0.9)
    return x * dt + np.sqrt(dt) * (1.0 + gain) * normal


@kernel
def sample_heterodyne(m, g11, q, dt, normal_x, normal_y):
    """Increment dZ; covariances E|δZ|² = dt + (⟨c†c⟩ − |m|²)dt², E δZ² = (⟨c²⟩ − m²)dt²."""
    w = np.sqrt(0.5 * dt) * complex(normal_x, normal_y)
    direct = 0.5 * dt * (g11 - (m.real * m.real + m.imag * m.imag))
    direct = min(max(direct, -0.5), 0.5)
    cross = 0.5 * dt * (2.0 * q - m * m)
    size = abs(cross)
    if size > 0.4:
        cross *= 0.4 / size
    return m * dt + w + direct * w + cross * w.conjugate()


@kernel
def diffuse(plan, work, rngs, channel, record):
    """D of one channel: draw its increment, add it to the record, update the state."""
    project(plan, work, channel)
    dt = plan.dt
    output = plan.outputs[channel]
    for lane in range(LANES):
        inverse = 1.0 / work.norm[lane]
        m = complex(work.sums[lane], work.sums[LANES + lane]) * inverse
        g11 = work.sums[2 * LANES + lane] * inverse
        q = complex(work.sums[3 * LANES + lane], work.sums[4 * LANES + lane]) * inverse
        work.hazard[lane] += dt * g11
        if plan.kinds[channel] == 0:
            increment = complex(sample_homodyne(m, g11, q.real, dt, rngs[lane].standard_normal()), 0.0)
            z = increment
            z2 = complex(z.real * z.real - dt, 0.0)
        else:
            x = rngs[lane].standard_normal()
            y = rngs[lane].standard_normal()
            increment = sample_heterodyne(m, g11, q, dt, x, y)
            z = increment.conjugate()
            z2 = z * z
        if output >= 0:
            record[output, lane] += increment
        scale = np.sqrt(inverse)  # keeps the state near norm 1
        work.z[lane] = scale
        work.z[LANES + lane] = z.real * scale
        work.z[2 * LANES + lane] = z.imag * scale
        work.z[3 * LANES + lane] = z2.real * scale
        work.z[4 * LANES + lane] = z2.imag * scale
    combine(work)


@kernel
def combine(work):
    """ψ ← K0ψ + z K1ψ + z2 K2ψ (times 1/√norm), and its norm."""
    phi = work.phi
    n = work.re.size
    s = load16(work.z, 0)
    zr = load16(work.z, LANES)
    zi = load16(work.z, 2 * LANES)
    ur = load16(work.z, 3 * LANES)
    ui = load16(work.z, 4 * LANES)
    minus = splat16(-1.0)
    zero = splat16(0.0)
    nzi = fma16(minus, zi, zero)
    nui = fma16(minus, ui, zero)
    total = splat16(0.0)
    for r in range(n // LANES):
        row = r * LANES
        r1 = load16(phi, 2 * n + row)
        i1 = load16(phi, 3 * n + row)
        r2 = load16(phi, 4 * n + row)
        i2 = load16(phi, 5 * n + row)
        a = fma16(s, load16(phi, row), zero)
        b = fma16(s, load16(phi, n + row), zero)
        a = fma16(zr, r1, a)
        b = fma16(zr, i1, b)
        a = fma16(nzi, i1, a)
        b = fma16(zi, r1, b)
        a = fma16(ur, r2, a)
        b = fma16(ur, i2, b)
        a = fma16(nui, i2, a)
        b = fma16(ui, r2, b)
        store16(work.re, row, a)
        store16(work.im, row, b)
        total = fma16(a, a, total)
        total = fma16(b, b, total)
    store16(work.norm, 0, total)


@kernel
def run_ket(plan, work, rngs, t0, width, first, n_bins, save_every, current, expectations, states, times, owner):
    """Advance a batch over `n_bins` bins.

    Parameters
    ----------
    plan, work : KetPlan, KetWork
        `work` holds the state and keeps it.
    rngs : tuple of 16 numpy.random.Generator
        One per lane.
    t0, width : float
        Start of the first bin and bin width, n_sub * dt.
    first : int
        Index of the first bin in the whole run (edges first + 1 … are saved every `save_every`).
    current : (n_outputs, n_bins, 16) complex
        Bin averages of the records.
    expectations : (n_observables, n_saved, 16) complex; states : (n_saved, 16, d) complex
        Written from index 0 for the edges saved in this call.
    times, owner : (capacity,) float, (capacity, 2) int
        Click buffers: time, (lane, counter).

    Returns
    -------
    times, owner, count
        The buffers (grown if need be) and how many clicks they hold.
    """
    dt = plan.dt
    count = 0
    saved = 0
    n_diffusive = plan.kinds.size
    record = np.zeros((max(1, current.shape[0]), LANES), dtype=np.complex128)
    values = np.empty(plan.re.size, dtype=np.complex128)
    for k in range(values.size):
        values[k] = complex(plan.re[k], plan.im[k])
    for b in range(n_bins):
        start = t0 + b * width
        if n_diffusive == 0:
            for s in range(plan.n_sub):
                times, owner, count = slot(
                    plan, work, values, rngs, plan.slots[0], start + s * dt, dt, times, owner, count
                )
        else:
            record[:] = 0.0
            times, owner, count = slot(
                plan, work, values, rngs, plan.slots[1], start, 0.5 * dt, times, owner, count
            )
            for s in range(plan.n_sub):
                for c in range(n_diffusive):
                    channel = n_diffusive - 1 - c if (plan.alternate and s % 2 == 1) else c
                    diffuse(plan, work, rngs, channel, record)
                middle = start + (s + 0.5) * dt
                if s + 1 < plan.n_sub:
                    times, owner, count = slot(
                        plan, work, values, rngs, plan.slots[0], middle, dt, times, owner, count
                    )
                else:
                    times, owner, count = slot(
                        plan, work, values, rngs, plan.slots[1], middle, 0.5 * dt, times, owner, count
                    )
            for o in range(current.shape[0]):
                for lane in range(LANES):
                    current[o, b, lane] = record[o, lane] / width
        measure_edges(plan, work)
        if (first + b + 1) % save_every == 0:
            save(plan, work, saved, expectations, states)
            saved += 1
    return times, owner, count
