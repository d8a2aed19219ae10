"""State vectors: all diffusive channels in one Kraus operator, ψ → (K0 + X + ½:X²:)ψ with X = Σ_j c_j z_j.

Channels share most of their matrix elements (a and a − b, say), so X is kept as pieces: diagonals of the composite
basis with one element per row, each with a number ζ of its own on every lane, ζ_p = Σ_j w_jp z_j.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined
from ..simd import add, div, fma, load8, load16, mul, neg, splat8, splat16, sqrt, store

LANES = 16
HALF = 8  # lanes at a time where the numbers of 16 do not fit the registers


@inlined
def piece_means(plan, work, cur):
    """⟨ψ|piece|ψ⟩ of every piece into work.pieces[p, 2:]."""
    for p in range(plan.piece_ptr.size - 1):
        for half in range(0, LANES, HALF):
            mr = splat8(0.0)
            mi = splat8(0.0)
            for k in range(plan.piece_ptr[p], plan.piece_ptr[p + 1]):
                c = cur + plan.piece_col[k] * LANES + half
                r = cur + plan.piece_row[k] * LANES + half
                u = splat8(plan.piece_re[k])
                xr = load8(work.re, c)
                xi = load8(work.im, c)
                if plan.real_pieces:
                    tr = mul(u, xr)
                    ti = mul(u, xi)
                else:
                    v = splat8(plan.piece_im[k])
                    tr = fma(neg(v), xi, mul(u, xr))
                    ti = fma(v, xr, mul(u, xi))
                pr = load8(work.re, r)
                mr = fma(pr, tr, mr)
                mi = fma(pr, ti, mi)
                pi = load8(work.im, r)
                mr = fma(pi, ti, mr)
                mi = fma(neg(pi), tr, mi)
            store(work.pieces, (4 * p + 2) * LANES + half, mr)
            store(work.pieces, (4 * p + 3) * LANES + half, mi)


@inlined
def draw_together(plan, work, noise, step, record, inverse):
    """Increments of all channels, to first order: dY = ⟨c + c†⟩dt + dW, dZ = ⟨c⟩dt + dζ; the ζ of every piece."""
    n_pieces = plan.piece_ptr.size - 1
    dt = splat16(plan.dt)
    for p in range(n_pieces):
        store(work.pieces, 4 * p * LANES, splat16(0.0))
        store(work.pieces, (4 * p + 1) * LANES, splat16(0.0))
    for channel in range(plan.kinds.size):
        output = plan.outputs[channel]
        row = 2 * output * LANES
        if plan.given:
            y_re = load16(record, row)
            y_im = load16(record, row + LANES)
        else:
            y_re = splat16(0.0)
            y_im = splat16(0.0)
            for p in range(n_pieces):
                w_re = plan.mix_re[channel, p]
                w_im = plan.mix_im[channel, p]
                if w_re != 0.0 or w_im != 0.0:
                    m_re = load16(work.pieces, (4 * p + 2) * LANES)
                    m_im = load16(work.pieces, (4 * p + 3) * LANES)
                    y_re = fma(splat16(-w_im), m_im, fma(splat16(w_re), m_re, y_re))
                    y_im = fma(splat16(w_im), m_re, fma(splat16(w_re), m_im, y_im))
            y_re = mul(inverse, y_re)
            y_im = mul(inverse, y_im)
            at = (step * plan.columns[plan.kinds.size] + plan.columns[channel]) * LANES
            if plan.kinds[channel] == 0:
                root_dt = splat16(np.sqrt(plan.dt))
                y_re = fma(root_dt, load16(noise, at), mul(dt, add(y_re, y_re)))
                y_im = splat16(0.0)
            else:
                root_dt = splat16(np.sqrt(0.5 * plan.dt))
                y_re = fma(root_dt, load16(noise, at), mul(dt, y_re))
                y_im = fma(root_dt, load16(noise, at + LANES), mul(dt, y_im))
            if output >= 0:
                store(record, row, add(load16(record, row), y_re))
                store(record, row + LANES, add(load16(record, row + LANES), y_im))
        if plan.loops.outputs.size > 0 and output >= 0:
            store(work.loops.latest, row, y_re)
            store(work.loops.latest, row + LANES, y_im)
        for p in range(n_pieces):  # z = dY or dZ*
            w_re = plan.mix_re[channel, p]
            w_im = plan.mix_im[channel, p]
            if w_re != 0.0 or w_im != 0.0:
                z_re = load16(work.pieces, 4 * p * LANES)
                z_im = load16(work.pieces, (4 * p + 1) * LANES)
                store(work.pieces, 4 * p * LANES, fma(splat16(w_im), y_im, fma(splat16(w_re), y_re, z_re)))
                store(work.pieces, (4 * p + 1) * LANES, fma(splat16(w_im), y_re, fma(splat16(-w_re), y_im, z_im)))


@inlined
def add_pieces(plan, work, xr, x, xi, y, row, half, ar, ai):
    """(ar, ai) + (Xψ)_row on eight lanes; the parts of ψ from xr[x] and xi[y] on."""
    for k in range(plan.row_ptr[row], plan.row_ptr[row + 1]):
        c = plan.row_col[k] * LANES + half
        p = 4 * plan.row_piece[k] * LANES + half
        u = splat8(plan.row_re[k])
        gr = load8(xr, x + c)
        gi = load8(xi, y + c)
        if plan.real_pieces:
            tr = mul(u, gr)
            ti = mul(u, gi)
        else:
            v = splat8(plan.row_im[k])
            tr = fma(neg(v), gi, mul(u, gr))
            ti = fma(v, gr, mul(u, gi))
        zr = load8(work.pieces, p)
        ar = fma(zr, tr, ar)
        ai = fma(zr, ti, ai)
        zi = load8(work.pieces, p + LANES)
        ar = fma(neg(zi), ti, ar)
        ai = fma(zi, tr, ai)
    return ar, ai


@inlined
def diffuse_together(plan, work, cur, noise, step, record):
    """D of all diffusive channels; the result goes to the other copy."""
    d = plan.ptr.shape[1] - 1
    other = d * LANES - cur
    inverse = div(splat16(1.0), load16(work.norm, 0))
    store(work.z, 0, sqrt(inverse))  # keeps the state near norm 1
    if not plan.given:
        piece_means(plan, work, cur)
    draw_together(plan, work, noise, step, record, inverse)
    one_half = splat8(0.5)
    for half in range(0, LANES, HALF):
        for r in range(d):  # φ = ψ + ½Xψ
            ar, ai = add_pieces(plan, work, work.re, cur, work.im, cur, r, half, splat8(0.0), splat8(0.0))
            i = r * LANES + half
            store(work.phi, i, fma(one_half, ar, load8(work.re, cur + i)))
            store(work.phi, d * LANES + i, fma(one_half, ai, load8(work.im, cur + i)))
    k0 = plan.kraus[0, 0]
    for half in range(0, LANES, HALF):
        scale = load8(work.z, half)
        total = splat8(0.0)
        for r in range(d):  # K0ψ + Xφ
            ar = splat8(0.0)
            ai = splat8(0.0)
            for k in range(plan.ptr[k0, r], plan.ptr[k0, r + 1]):
                c = cur + plan.col[k] * LANES + half
                u = splat8(plan.re[k])
                gr = load8(work.re, c)
                ar = fma(u, gr, ar)
                gi = load8(work.im, c)
                ai = fma(u, gi, ai)
                if plan.im[k] != 0.0:
                    v = splat8(plan.im[k])
                    ar = fma(neg(v), gi, ar)
                    ai = fma(v, gr, ai)
            ar, ai = add_pieces(plan, work, work.phi, 0, work.phi, d * LANES, r, half, ar, ai)
            ar = mul(scale, ar)
            ai = mul(scale, ai)
            i = other + r * LANES + half
            store(work.re, i, ar)
            store(work.im, i, ai)
            total = fma(ai, ai, fma(ar, ar, total))
        store(work.norm, half, total)
    if plan.given:
        store(work.likelihood, 0, mul(load16(work.likelihood, 0), load16(work.norm, 0)))
