"""State vectors, 16 trajectories at a time.

Layout: real and imaginary parts apart, element r of lane l at ``16 r + l``; two copies of the state, the
current one at offset `cur` (0 or 16 d).  A step is
``P(dt/2) D P(dt/2)``: P is the no-jump propagator with jumps at their exact times, D the measurement of
the diffusive channels one after the other; neighbouring P(dt/2) inside a bin are one P(dt).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, kernel
from ..simd import fma16, load16, splat16, store16
from .lane import (
    MAX_ORDER,
    NOISE_STEPS,
    complex_values,
    csr_apply,
    draw,
    horner,
    newton,
    norm2,
    push_click,
    survive,
)

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
    tolerance: float  # of click times, relative to the slot


class KetWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (2 * d * 16,) the state, unnormalised, twice
    im: np.ndarray
    phi: np.ndarray  # (6 * d * 16,) K0ψ, K1ψ, K2ψ, real and imaginary parts
    norm: np.ndarray  # (16,) ⟨ψ|ψ⟩
    trial: np.ndarray  # (16,) norm after a slot
    alive: np.ndarray  # (16,) surviving probability since the last jump
    threshold: np.ndarray  # (16,) the jump comes when `alive` falls to it
    sums: np.ndarray  # (5 * 16,) inner products of the K_iψ
    z: np.ndarray  # (5 * 16,) 1/√norm, Re z, Im z, Re z2, Im z2
    lane: np.ndarray  # (MAX_ORDER + 3, d) complex
    edges: np.ndarray  # (n_edges, 16) sums of edge populations
    hazard: np.ndarray  # (16,) sums of event probabilities per step
    jumping: np.ndarray  # (16,) 1 where the lane jumps in this slot


def ket_work(d: int, n_edges: int) -> KetWork:
    """Allocate the scratch of one batch."""
    return KetWork(
        re=np.zeros(2 * d * LANES),
        im=np.zeros(2 * d * LANES),
        phi=np.zeros(6 * d * LANES),
        norm=np.ones(LANES),
        trial=np.ones(LANES),
        alive=np.ones(LANES),
        threshold=np.zeros(LANES),
        sums=np.zeros(5 * LANES),
        z=np.zeros(5 * LANES),
        lane=np.zeros((MAX_ORDER + 3, d), dtype=complex),
        edges=np.zeros((n_edges, LANES)),
        hazard=np.zeros(LANES),
        jumping=np.zeros(LANES),
    )


@inlined
def row_times(plan, begin, end, work, cur):
    """One row of A times the current state on 16 lanes: (real, imaginary)."""
    accr = splat16(0.0)
    acci = splat16(0.0)
    for k in range(begin, end):
        c = cur + plan.col[k] * LANES
        vr = load16(work.re, c)
        vi = load16(work.im, c)
        a = splat16(plan.re[k])
        accr = fma16(a, vr, accr)
        acci = fma16(a, vi, acci)
        accr = fma16(splat16(-plan.im[k]), vi, accr)
        acci = fma16(splat16(plan.im[k]), vr, acci)
    return accr, acci


@inlined
def apply(plan, work, operator, cur):
    """Aψ into the other copy, and its squared norm into `trial`."""
    d = plan.ptr.shape[1] - 1
    other = d * LANES - cur
    total = splat16(0.0)
    for r in range(d):
        accr, acci = row_times(plan, plan.ptr[operator, r], plan.ptr[operator, r + 1], work, cur)
        store16(work.re, other + r * LANES, accr)
        store16(work.im, other + r * LANES, acci)
        total = fma16(accr, accr, total)
        total = fma16(acci, acci, total)
    store16(work.trial, 0, total)


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
                acc += complex(work.re[cur + i], -work.im[cur + i]) * complex(
                    work.re[other + i], work.im[other + i]
                )
            expectations[o, index, lane] = acc / work.norm[lane]
    if states.shape[0] > 0:
        for lane in range(LANES):
            scale = 1.0 / np.sqrt(work.norm[lane])
            for r in range(d):
                i = cur + r * LANES + lane
                states[index, lane, r] = scale * complex(work.re[i], work.im[i])


@kernel
def measure_edges(plan, work, cur):
    """Add the populations of the basis' edges."""
    for e in range(plan.edge_ptr.size - 1):
        for lane in range(LANES):
            acc = 0.0
            for k in range(plan.edge_ptr[e], plan.edge_ptr[e + 1]):
                i = cur + plan.edge_index[k] * LANES + lane
                acc += work.re[i] * work.re[i] + work.im[i] * work.im[i]
            work.edges[e, lane] += acc / work.norm[lane]


@kernel
def taylor(plan, work, values, h):
    """Fill work.lane[1:] with the Taylor vectors of row 0 over h; returns the order reached."""
    ptr = plan.ptr[plan.generator]
    terms = work.lane
    negligible = (1e-3 * plan.tolerance) ** 2 * norm2(terms[0])
    for k in range(1, MAX_ORDER + 1):
        csr_apply(ptr, plan.col, values, terms[k - 1], terms[k])
        for i in range(terms.shape[1]):
            terms[k, i] *= h / k
        if norm2(terms[k]) <= negligible:
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
    weight = 0.0
    for j in range(plan.jumps.size):
        csr_apply(plan.ptr[plan.jumps[j]], plan.col, values, state, scratch)
        size = norm2(scratch)
        if size > 0.0:
            chosen = j
            weight = size
            left -= size
            if left < 0.0:
                break
    if left >= 0.0:  # rounding: the last possible jump is the one
        csr_apply(plan.ptr[plan.jumps[chosen]], plan.col, values, state, scratch)
    scale = 1.0 / np.sqrt(weight)
    for i in range(state.size):
        state[i] = scale * scratch[i]
    return chosen


@kernel
def advance_lane(plan, work, cur, values, rng, lane, start, duration, times, owner, count):
    """Carry one lane over a slot in which it jumps; the result goes to the other copy and `trial`."""
    d = plan.ptr.shape[1] - 1
    other = d * LANES - cur
    terms = work.lane
    state = work.lane[MAX_ORDER + 1]
    scale = 1.0 / np.sqrt(work.norm[lane])
    for r in range(d):
        i = cur + r * LANES + lane
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
        low, high = 0.0, 1.0
        theta = np.log(target / before) / np.log(survival)  # exact for a constant hazard
        if not 0.0 <= theta <= 1.0:
            theta = 0.5
        for _ in range(60):
            horner(terms, order, theta, state)
            value = norm2(state)
            slope = 0.0  # d/dθ ⟨ψ|ψ⟩ = 2 Re⟨ψ|ψ'⟩, ψ' = Σ k T_k θ^(k−1)
            for r in range(d):
                derivative = 0.0j
                for k in range(order, 0, -1):
                    derivative = derivative * theta + k * terms[k, r]
                slope += 2.0 * (state[r].real * derivative.real + state[r].imag * derivative.imag)
            new, low, high = newton(value, slope, target, low, high, theta)
            moved = abs(new - theta)
            theta = new
            if moved <= plan.tolerance or high - low <= plan.tolerance:
                break
        horner(terms, order, theta, state)
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
        i = other + r * LANES + lane
        work.re[i] = terms[0, r].real
        work.im[i] = terms[0, r].imag
    work.alive[lane] = alive
    work.trial[lane] = norm2(terms[0])
    return times, owner, count


@kernel
def advance_lanes(plan, work, cur, values, rngs, start, duration, times, owner, count):
    """`advance_lane` for every lane that `survive` found to jump."""
    for lane in range(LANES):
        if work.jumping[lane] != 0.0:
            times, owner, count = advance_lane(
                plan, work, cur, values, rngs[lane], lane, start, duration, times, owner, count
            )
    for lane in range(LANES):
        work.norm[lane] = work.trial[lane]
    return times, owner, count


@inlined
def project(plan, work, channel, cur):
    """K0ψ, K1ψ, K2ψ of a diffusive channel and the inner products that its law needs."""
    d = plan.ptr.shape[1] - 1
    k0 = plan.kraus[channel, 0]
    k1 = plan.kraus[channel, 1]
    k2 = plan.kraus[channel, 2]
    n = d * LANES
    minus = splat16(-1.0)
    zero = splat16(0.0)
    two_dt = splat16(2.0 * plan.dt)
    minus_two_dt = splat16(-2.0 * plan.dt)
    m_re = splat16(0.0)  # ⟨K0ψ|K1ψ⟩ + 2dt⟨K1ψ|K2ψ⟩
    m_im = splat16(0.0)
    g11 = splat16(0.0)  # ⟨K1ψ|K1ψ⟩
    q_re = splat16(0.0)  # ⟨K0ψ|K2ψ⟩
    q_im = splat16(0.0)
    for r in range(d):
        r0, i0 = row_times(plan, plan.ptr[k0, r], plan.ptr[k0, r + 1], work, cur)
        r1, i1 = row_times(plan, plan.ptr[k1, r], plan.ptr[k1, r + 1], work, cur)
        r2, i2 = row_times(plan, plan.ptr[k2, r], plan.ptr[k2, r + 1], work, cur)
        row = r * LANES
        store16(work.phi, row, r0)
        store16(work.phi, n + row, i0)
        store16(work.phi, 2 * n + row, r1)
        store16(work.phi, 3 * n + row, i1)
        store16(work.phi, 4 * n + row, r2)
        store16(work.phi, 5 * n + row, i2)
        minus_i0 = fma16(minus, i0, zero)
        m_re = fma16(r0, r1, m_re)
        m_re = fma16(i0, i1, m_re)
        m_im = fma16(r0, i1, m_im)
        m_im = fma16(minus_i0, r1, m_im)
        g11 = fma16(r1, r1, g11)
        g11 = fma16(i1, i1, g11)
        m_re = fma16(fma16(two_dt, r1, zero), r2, m_re)
        m_re = fma16(fma16(two_dt, i1, zero), i2, m_re)
        m_im = fma16(fma16(two_dt, r1, zero), i2, m_im)
        m_im = fma16(fma16(minus_two_dt, i1, zero), r2, m_im)
        q_re = fma16(r0, r2, q_re)
        q_re = fma16(i0, i2, q_re)
        q_im = fma16(r0, i2, q_im)
        q_im = fma16(minus_i0, r2, q_im)
    store16(work.sums, 0, m_re)
    store16(work.sums, LANES, m_im)
    store16(work.sums, 2 * LANES, g11)
    store16(work.sums, 3 * LANES, q_re)
    store16(work.sums, 4 * LANES, q_im)


@inlined
def sample_homodyne(m_re, g11, q_re, dt, normal):
    """Increment dY from m = ⟨K0†K1 + 2dt K1†K2⟩, ⟨K1†K1⟩, ⟨K0†K2⟩ of a normalised state and a standard normal.

    The law p(dY) ∝ ‖K(dY)ψ‖² G(dY) has, to O(dt²), mean x dt and variance dt + (⟨:x²:⟩ − x²)dt², x = 2 Re m.
    """
    x = 2.0 * m_re
    gain = 0.5 * dt * (2.0 * (2.0 * q_re + g11) - x * x)
    gain = min(max(gain, -0.9), 0.9)
    return x * dt + np.sqrt(dt) * (1.0 + gain) * normal


@inlined
def sample_heterodyne(m_re, m_im, g11, q_re, q_im, dt, normal_x, normal_y):
    """Increment dZ (two numbers); E|δZ|² = dt + (⟨c†c⟩ − |m|²)dt², E δZ² = (⟨c²⟩ − m²)dt²."""
    scale = np.sqrt(0.5 * dt)
    x = scale * normal_x
    y = scale * normal_y
    direct = 0.5 * dt * (g11 - m_re * m_re - m_im * m_im)
    direct = min(max(direct, -0.4), 0.4)
    cross_re = 0.5 * dt * (2.0 * q_re - m_re * m_re + m_im * m_im)
    cross_im = 0.5 * dt * (2.0 * q_im - 2.0 * m_re * m_im)
    cross_re = min(max(cross_re, -0.4), 0.4)
    cross_im = min(max(cross_im, -0.4), 0.4)
    # δZ = w + direct w + cross w*
    z_re = m_re * dt + x + direct * x + cross_re * x + cross_im * y
    z_im = m_im * dt + y + direct * y + cross_im * x - cross_re * y
    return z_re, z_im


@inlined
def diffuse(plan, work, cur, noise, step, channel, record):
    """D of one channel: its increment from the noise, added to the record, and the state's update."""
    project(plan, work, channel, cur)
    dt = plan.dt
    output = plan.outputs[channel]
    kind = plan.kinds[channel]
    for lane in range(LANES):
        inverse = 1.0 / work.norm[lane]
        m_re = work.sums[lane] * inverse
        m_im = work.sums[LANES + lane] * inverse
        g11 = work.sums[2 * LANES + lane] * inverse
        q_re = work.sums[3 * LANES + lane] * inverse
        q_im = work.sums[4 * LANES + lane] * inverse
        work.hazard[lane] += dt * g11
        if kind == 0:
            y_re = sample_homodyne(m_re, g11, q_re, dt, noise[step, 2 * channel, lane])
            y_im = 0.0
            u_re = y_re * y_re - dt
            u_im = 0.0
        else:
            y_re, y_im = sample_heterodyne(
                m_re,
                m_im,
                g11,
                q_re,
                q_im,
                dt,
                noise[step, 2 * channel, lane],
                noise[step, 2 * channel + 1, lane],
            )
            u_re = y_re * y_re - y_im * y_im
            u_im = -2.0 * y_re * y_im
        if output >= 0:
            record[output, 0, lane] += y_re
            record[output, 1, lane] += y_im
        scale = np.sqrt(inverse)  # keeps the state near norm 1
        work.z[lane] = scale
        work.z[LANES + lane] = y_re * scale
        work.z[2 * LANES + lane] = -y_im * scale  # z = dZ*
        work.z[3 * LANES + lane] = u_re * scale
        work.z[4 * LANES + lane] = u_im * scale
    combine(work, cur)


@inlined
def combine(work, cur):
    """ψ ← (K0ψ + z K1ψ + z2 K2ψ)/√norm in place, and its squared norm."""
    phi = work.phi
    n = work.re.size // 2
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
        store16(work.re, cur + row, a)
        store16(work.im, cur + row, b)
        total = fma16(a, a, total)
        total = fma16(b, b, total)
    store16(work.norm, 0, total)


@kernel
def run_ket(
    plan, work, rngs, t0, width, first, n_bins, save_every, current, expectations, states, times, owner
):
    """Advance a batch over `n_bins` bins.

    Parameters
    ----------
    plan, work : KetPlan, KetWork
        `work` holds the state (first copy) and keeps it.
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
    n = work.re.size // 2
    cur = 0
    count = 0
    saved = 0
    saving = expectations.shape[0] > 0 or states.shape[0] > 0
    n_diffusive = plan.kinds.size
    record = np.zeros((max(1, current.shape[0]), 2, LANES))
    noise = np.zeros((min(plan.n_sub, NOISE_STEPS), 2 * n_diffusive, LANES))
    values = complex_values(plan.re, plan.im)
    for b in range(n_bins):
        start = t0 + b * width
        record[:] = 0.0
        begin, duration, operator = start, dt, plan.slots[0]
        n_slots = plan.n_sub
        if n_diffusive > 0:  # P(dt/2) D P(dt) D … D P(dt/2)
            duration, operator = 0.5 * dt, plan.slots[1]
            n_slots += 1
        for s in range(n_slots):
            apply(plan, work, operator, cur)
            if survive(work.trial, work.norm, work.alive, work.threshold, work.jumping, work.hazard):
                times, owner, count = advance_lanes(
                    plan, work, cur, values, rngs, begin, duration, times, owner, count
                )
            cur = n - cur
            if n_diffusive == 0:
                begin = start + (s + 1) * dt
                continue
            if s == plan.n_sub:
                break
            k = s % NOISE_STEPS
            if k == 0:
                draw(plan.kinds, rngs, noise, plan.n_sub - s)
            for c in range(n_diffusive):
                channel = n_diffusive - 1 - c if (plan.alternate and s % 2 == 1) else c
                diffuse(plan, work, cur, noise, k, channel, record)
            begin = start + (s + 0.5) * dt
            if s + 1 < plan.n_sub:
                duration, operator = dt, plan.slots[0]
            else:
                duration, operator = 0.5 * dt, plan.slots[1]
        if n_diffusive > 0:
            for o in range(current.shape[0]):
                for lane in range(LANES):
                    current[o, b, lane] = complex(record[o, 0, lane], record[o, 1, lane]) / width
        if plan.edge_ptr.size > 1:
            measure_edges(plan, work, cur)
        if saving and (first + b + 1) % save_every == 0:
            save(plan, work, cur, saved, expectations, states)
            saved += 1
    if cur > 0:
        work.re[:n] = work.re[n:]
        work.im[:n] = work.im[n:]
    return times, owner, count
