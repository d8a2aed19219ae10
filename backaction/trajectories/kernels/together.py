"""State vectors: all diffusive channels in one Kraus operator, ψ → (K0 + X + ½:X²:)ψ with X = Σ_j c_j z_j.

Matrix elements of X that depend on the z_j in the same way form a *class*, x_e = Σ_j w_ej z_j: an oscillator's a, a†
and a − b have d elements each, but few different ones.  The x_e are computed once a step, so that an element costs
one complex product on every lane; and ⟨c_j⟩ = Σ_e w_ej Σ ψ_r*ψ_c, where the inner sum is over the elements (r, c) of a
class.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined
from ..simd import add, at, div, fma, load32, mul, rough_root, splat32, sqrt, store, sub

LANES = 32


@inlined
def complex_sums(ur, ui, vr, vi, sums):
    """Add u v, of complex numbers, to four sums: products of real parts, of imaginary ones, and the mixed ones."""
    rr, ii, ri, ir = sums
    return fma(ur, vr, rr), fma(ui, vi, ii), fma(ur, vi, ri), fma(ui, vr, ir)


@inlined
def overlaps(plan, work, cur):
    """Σ ψ_r*ψ_c over the elements of a class, for one of every two classes that are each other's adjoint."""
    zero = splat32(0.0)
    for i in range(plan.overlap_ptr.size - 1):
        sums = (zero, zero, zero, zero)
        for k in range(plan.overlap_ptr[i], plan.overlap_ptr[i + 1]):
            r = cur + at(plan.overlap_row, k) * LANES
            c = cur + at(plan.overlap_col, k) * LANES
            sums = complex_sums(load32(work.re, r), load32(work.im, r), load32(work.re, c), load32(work.im, c), sums)
        store(work.overlaps, 2 * i * LANES, add(sums[0], sums[1]))
        store(work.overlaps, (2 * i + 1) * LANES, sub(sums[2], sums[3]))


@inlined
def mean_of(plan, work, channel, inverse):
    """⟨c⟩ of a channel from the overlaps; real and imaginary part."""
    mr = splat32(0.0)
    mi = splat32(0.0)
    for t in range(plan.mean_ptr[channel], plan.mean_ptr[channel + 1]):
        i = 2 * plan.mean_overlap[t] * LANES
        sr = load32(work.overlaps, i)
        si = load32(work.overlaps, i + LANES)
        wr = plan.mean_re[t]
        wi = plan.mean_im[t]
        sign = plan.mean_sign[t]  # −1: the overlap's conjugate
        mr = fma(splat32(wr), sr, mr)
        mi = fma(splat32(sign * wr), si, mi)
        if wi != 0.0:
            mr = fma(splat32(-sign * wi), si, mr)
            mi = fma(splat32(wi), sr, mi)
    return mul(inverse, mr), mul(inverse, mi)


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
            m_re, m_im = mean_of(plan, work, channel, inverse)
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
def fill_classes(plan, work):
    """x_e of every class."""
    for e in range(plan.class_ptr.size - 1):
        xr = splat32(0.0)
        xi = splat32(0.0)
        for t in range(plan.class_ptr[e], plan.class_ptr[e + 1]):
            i = 2 * plan.class_channel[t] * LANES
            zr = load32(work.steps, i)
            zi = load32(work.steps, i + LANES)
            wr = plan.class_re[t]
            wi = plan.class_im[t]
            xr = fma(splat32(wr), zr, xr)
            xi = fma(splat32(wr), zi, xi)
            if wi != 0.0:
                xr = fma(splat32(-wi), zi, xr)
                xi = fma(splat32(wi), zr, xi)
        store(work.classes, 2 * e * LANES, xr)
        store(work.classes, (2 * e + 1) * LANES, xi)


@inlined
def row_of_x(plan, work, row, re, re_at, im, im_at):
    """(Xv)_row; the parts of v from re[re_at] and im[im_at] on."""
    zero = splat32(0.0)
    sums = (zero, zero, zero, zero)
    for k in range(plan.row_ptr[row], plan.row_ptr[row + 1]):
        c = at(plan.row_col, k) * LANES
        e = 2 * at(plan.row_class, k) * LANES
        sums = complex_sums(
            load32(work.classes, e), load32(work.classes, e + LANES), load32(re, re_at + c), load32(im, im_at + c), sums
        )
    return sub(sums[0], sums[1]), add(sums[2], sums[3])


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
        overlaps(plan, work, cur)
    draw_together(plan, work, noise, step, record, inverse)
    fill_classes(plan, work)
    one_half = splat32(0.5)
    for r in range(d):  # φ = ψ + ½Xψ
        xr, xi = row_of_x(plan, work, r, work.re, cur, work.im, cur)
        i = r * LANES
        store(work.phi, i, fma(one_half, xr, load32(work.re, cur + i)))
        store(work.phi, n + i, fma(one_half, xi, load32(work.im, cur + i)))
    k0 = plan.kraus[0, 0]
    total = splat32(0.0)
    for r in range(d):  # K0ψ + Xφ
        ar, ai = row_of_x(plan, work, r, work.phi, 0, work.phi, n)
        for k in range(plan.ptr[k0, r], plan.ptr[k0, r + 1]):
            c = cur + at(plan.col, k) * LANES
            u = splat32(at(plan.re, k))
            gr = load32(work.re, c)
            gi = load32(work.im, c)
            ar = fma(u, gr, ar)
            ai = fma(u, gi, ai)
            v = at(plan.im, k)
            if v != 0.0:
                ar = fma(splat32(-v), gi, ar)
                ai = fma(splat32(v), gr, ai)
        ar = mul(scale, ar)
        ai = mul(scale, ai)
        i = other + r * LANES
        store(work.re, i, ar)
        store(work.im, i, ai)
        total = fma(ai, ai, fma(ar, ar, total))
    store(work.norm, 0, total)
    if plan.given:
        store(work.likelihood, 0, mul(load32(work.likelihood, 0), total))
