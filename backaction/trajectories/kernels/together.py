"""State vectors: all diffusive channels in one Kraus operator, ψ → (K0 + X + ½:X²:)ψ with X = Σ_j c_j z_j.

Matrix elements of X that depend on the z_j in the same way form a *class*, x_e = Σ_j w_ej z_j: an oscillator's a, a†
and a − b have d elements each, but few different ones.  The x_e are computed once a step, so that an element costs
one complex product on every lane; and ⟨c_j⟩ = Σ_e w_ej Σ ψ_r*ψ_c, where the inner sum is over the elements (r, c) of a
class.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined
from ..simd import add, at, div, fma, load32, mul, neg, rough_root, splat32, sqrt, store, sub

LANES = 32
GROUP = 16  # overlaps that are computed, and then used, at a time


@inlined
def add_product(ur, ui, vr, vi, sum_re, sum_im):
    """Add u v, of complex numbers."""
    return fma(neg(ui), vi, fma(ur, vr, sum_re)), fma(ui, vr, fma(ur, vi, sum_im))


@inlined
def add_weighted(wr, wi, vr, vi, sum_re, sum_im):
    """Add w v, w the same number on all lanes, often real."""
    u = splat32(wr)
    sum_re = fma(u, vr, sum_re)
    sum_im = fma(u, vi, sum_im)
    if wi != 0.0:
        sum_re = fma(splat32(-wi), vi, sum_re)
        sum_im = fma(splat32(wi), vr, sum_im)
    return sum_re, sum_im


@inlined
def overlaps(plan, work, cur, begin, end):
    """Σ ψ_r*ψ_c over the elements of a class, for one of every two classes that are each other's adjoint."""
    ur = splat32(0.0)
    ui = splat32(0.0)
    known = -1
    for i in range(begin, end):
        sum_re = splat32(0.0)
        sum_im = splat32(0.0)
        for k in range(plan.overlap_ptr[i], plan.overlap_ptr[i + 1]):
            r = at(plan.overlap_row, k)
            if r != known:
                ur = load32(work.re, cur + r * LANES)
                ui = load32(work.im, cur + r * LANES)
                known = r
            c = cur + at(plan.overlap_col, k) * LANES
            vr = load32(work.re, c)
            sum_re = fma(ur, vr, sum_re)
            vi = load32(work.im, c)
            sum_im = fma(ur, vi, sum_im)
            sum_re = fma(ui, vi, sum_re)
            sum_im = fma(neg(ui), vr, sum_im)
        row = 2 * (i - begin) * LANES
        store(work.overlaps, row, sum_re)
        store(work.overlaps, row + LANES, sum_im)


@inlined
def means(plan, work, cur):
    """⟨c⟩ of every channel times the norm.  The overlaps come a few at a time, so that they stay near."""
    n_channels = plan.kinds.size
    for i in range(0, work.means.size, LANES):
        store(work.means, i, splat32(0.0))
    group = 0
    n_overlaps = plan.overlap_ptr.size - 1
    for first in range(0, n_overlaps, GROUP):
        overlaps(plan, work, cur, first, min(first + GROUP, n_overlaps))
        for channel in range(n_channels):
            begin = plan.mean_ptr[group]
            end = plan.mean_ptr[group + 1]
            group += 1
            if begin == end:
                continue
            row = 2 * channel * LANES
            mr = load32(work.means, row)
            mi = load32(work.means, row + LANES)
            for t in range(begin, end):
                i = 2 * at(plan.mean_overlap, t) * LANES
                sr = load32(work.overlaps, i)
                si = load32(work.overlaps, i + LANES)
                mr = fma(splat32(at(plan.mean_weights, 4 * t)), sr, mr)
                mi = fma(splat32(at(plan.mean_weights, 4 * t + 1)), si, mi)
                across = at(plan.mean_weights, 4 * t + 2)
                if across != 0.0:
                    mr = fma(splat32(at(plan.mean_weights, 4 * t + 3)), si, mr)
                    mi = fma(splat32(across), sr, mi)
            store(work.means, row, mr)
            store(work.means, row + LANES, mi)


@inlined
def draw_together(plan, work, noise, step, record, inverse):
    """Increments of all channels, to first order: dY = ⟨c + c†⟩dt + dW, dZ = ⟨c⟩dt + dζ; the z_j into work.steps."""
    dt = splat32(plan.dt)
    for channel in range(plan.kinds.size):
        output = plan.outputs[channel]
        row = 2 * output * LANES
        if plan.given:
            y_re = load32(record, row)
            y_im = load32(record, row + LANES)
        else:
            m_re = mul(inverse, load32(work.means, 2 * channel * LANES))
            m_im = mul(inverse, load32(work.means, (2 * channel + 1) * LANES))
            first = (step * plan.columns[plan.kinds.size] + plan.columns[channel]) * LANES
            if plan.kinds[channel] == 0:
                root_dt = splat32(np.sqrt(plan.dt))
                y_re = fma(root_dt, load32(noise, first), mul(dt, add(m_re, m_re)))
                y_im = splat32(0.0)
            else:
                root_dt = splat32(np.sqrt(0.5 * plan.dt))
                y_re = fma(root_dt, load32(noise, first), mul(dt, m_re))
                y_im = fma(root_dt, load32(noise, first + LANES), mul(dt, m_im))
            if output >= 0:
                store(record, row, add(load32(record, row), y_re))
                store(record, row + LANES, add(load32(record, row + LANES), y_im))
        if plan.loops.outputs.size > 0 and output >= 0:
            store(work.loops.latest, row, y_re)
            store(work.loops.latest, row + LANES, y_im)
        store(work.steps, 2 * channel * LANES, y_re)  # z = dY or dZ*
        store(work.steps, (2 * channel + 1) * LANES, sub(splat32(0.0), y_im))


@inlined
def class_of(plan, work, begin, end):
    """x_e = Σ w_ej z_j from its terms."""
    xr = splat32(0.0)
    xi = splat32(0.0)
    for t in range(begin, end):
        i = 2 * at(plan.class_channel, t) * LANES
        xr, xi = add_weighted(
            at(plan.class_re, t), at(plan.class_im, t), load32(work.steps, i), load32(work.steps, i + LANES), xr, xi
        )
    return xr, xi


@inlined
def first_row_of_x(plan, work, row, cur):
    """(Xψ)_row.  An x_e is computed where the rows, one after the other, need it first."""
    sum_re = splat32(0.0)
    sum_im = splat32(0.0)
    for k in range(plan.row_ptr[row], plan.row_ptr[row + 1]):
        c = cur + at(plan.row_col, k) * LANES
        e = 2 * at(plan.row_class, k) * LANES
        begin = at(plan.row_terms, k)
        end = at(plan.row_terms, k + 1)
        if begin < end:
            xr, xi = class_of(plan, work, begin, end)
            store(work.slots, e, xr)
            store(work.slots, e + LANES, xi)
        else:
            xr = load32(work.slots, e)
            xi = load32(work.slots, e + LANES)
        sum_re, sum_im = add_product(xr, xi, load32(work.re, c), load32(work.im, c), sum_re, sum_im)
    return sum_re, sum_im


@inlined
def second_row_of_x(plan, work, row):
    """(Xφ)_row."""
    sum_re = splat32(0.0)
    sum_im = splat32(0.0)
    for k in range(plan.row_ptr[row], plan.row_ptr[row + 1]):
        c = 2 * at(plan.row_phi, k) * LANES
        e = 2 * at(plan.row_class, k) * LANES
        xr = load32(work.slots, e)
        xi = load32(work.slots, e + LANES)
        sum_re, sum_im = add_product(xr, xi, load32(work.slots, c), load32(work.slots, c + LANES), sum_re, sum_im)
    return sum_re, sum_im


@inlined
def diffuse_together(plan, work, cur, noise, step, record):
    """D of all diffusive channels; the result goes to the other copy."""
    n = work.re.size // 2
    d = n // LANES
    other = n - cur
    inverse = div(splat32(1.0), load32(work.norm, 0))
    # keeps the state near norm 1; of a given record, the new norm is the likelihood
    scale = sqrt(inverse) if plan.given else rough_root(inverse)
    if not plan.given:
        means(plan, work, cur)
    draw_together(plan, work, noise, step, record, inverse)
    one_half = splat32(0.5)
    k0 = plan.kraus[0, 0]
    total = splat32(0.0)
    done = 0
    for r in range(d):  # φ = ψ + ½Xψ
        xr, xi = first_row_of_x(plan, work, r, cur)
        i = r * LANES
        f = 2 * plan.phi_slot[r] * LANES
        store(work.slots, f, fma(one_half, xr, load32(work.re, cur + i)))
        store(work.slots, f + LANES, fma(one_half, xi, load32(work.im, cur + i)))
        while done < plan.row_ready[r]:  # K0ψ + Xφ as soon as that has its φ: what it needs is still near
            ar, ai = second_row_of_x(plan, work, done)
            for k in range(plan.ptr[k0, done], plan.ptr[k0, done + 1]):
                c = cur + at(plan.col, k) * LANES
                ar, ai = add_weighted(at(plan.re, k), at(plan.im, k), load32(work.re, c), load32(work.im, c), ar, ai)
            ar = mul(scale, ar)
            ai = mul(scale, ai)
            i = other + done * LANES
            store(work.re, i, ar)
            store(work.im, i, ai)
            total = fma(ai, ai, fma(ar, ar, total))
            done += 1
    store(work.norm, 0, total)
    if plan.given:
        store(work.likelihood, 0, mul(load32(work.likelihood, 0), total))
