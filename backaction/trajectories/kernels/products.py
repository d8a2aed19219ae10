"""Products of sparse operators with Hermitian matrices on 4 lanes, element (r, c) of lane l at ``4 (r d + c) + l``.

Results that are Hermitian are computed above the diagonal and mirrored.
"""

from __future__ import annotations

from ..compiled import inlined
from ..simd import fma, load4, load16, neg, splat4, splat16, store

LANES = 4


@inlined
def left(ptr, col, re, im, xr, xi, yr, yi, lowest):
    """Y = A X, a run of columns × lanes at a time, from the lowest column that `right` reads in each row."""
    d = ptr.size - 1
    length = d * LANES
    full = length // 16 * 16
    for r in range(d):
        row = r * length
        for j in range(lowest[r] * LANES // 16 * 16, full, 16):
            ar = splat16(0.0)
            ai = splat16(0.0)
            for k in range(ptr[r], ptr[r + 1]):
                c = col[k] * length + j
                vr = load16(xr, c)
                vi = load16(xi, c)
                ar = fma(splat16(re[k]), vr, ar)
                ai = fma(splat16(re[k]), vi, ai)
                ar = fma(splat16(-im[k]), vi, ar)
                ai = fma(splat16(im[k]), vr, ai)
            store(yr, row + j, ar)
            store(yi, row + j, ai)
        for j in range(full, length, LANES):
            br = splat4(0.0)
            bi = splat4(0.0)
            for k in range(ptr[r], ptr[r + 1]):
                c = col[k] * length + j
                wr = load4(xr, c)
                wi = load4(xi, c)
                br = fma(splat4(re[k]), wr, br)
                bi = fma(splat4(re[k]), wi, bi)
                br = fma(splat4(-im[k]), wi, br)
                bi = fma(splat4(im[k]), wr, bi)
            store(yr, row + j, br)
            store(yi, row + j, bi)


@inlined
def left_lanes(ptr, col, cr, ci, xr, xi, yr, yi, lowest):
    """Y = A X where every lane has its own A: values (nnz, 16), the four lanes repeated."""
    d = ptr.size - 1
    length = d * LANES
    full = length // 16 * 16
    for r in range(d):
        row = r * length
        for j in range(lowest[r] * LANES // 16 * 16, full, 16):
            ar = splat16(0.0)
            ai = splat16(0.0)
            for k in range(ptr[r], ptr[r + 1]):
                c = col[k] * length + j
                vr = load16(xr, c)
                vi = load16(xi, c)
                a = load16(cr, 16 * k)
                b = load16(ci, 16 * k)
                ar = fma(a, vr, ar)
                ai = fma(a, vi, ai)
                ar = fma(neg(b), vi, ar)
                ai = fma(b, vr, ai)
            store(yr, row + j, ar)
            store(yi, row + j, ai)
        for j in range(full, length, LANES):
            br = splat4(0.0)
            bi = splat4(0.0)
            for k in range(ptr[r], ptr[r + 1]):
                c = col[k] * length + j
                wr = load4(xr, c)
                wi = load4(xi, c)
                e = load4(cr, 16 * k)
                f = load4(ci, 16 * k)
                br = fma(e, wr, br)
                bi = fma(e, wi, bi)
                br = fma(neg(f), wi, br)
                bi = fma(f, wr, bi)
            store(yr, row + j, br)
            store(yi, row + j, bi)


@inlined
def put(xr, xi, d, r, c, ar, ai):
    """Write element (r, c) of all lanes and its mirror image."""
    i = (r * d + c) * LANES
    j = (c * d + r) * LANES
    store(xr, i, ar)
    store(xr, j, ar)
    if r == c:
        store(xi, i, splat4(0.0))
    else:
        store(xi, i, ai)
        store(xi, j, neg(ai))


@inlined
def right(ptr, col, re, im, yr, yi, xr, xi):
    """X = Y A† for Hermitian X: upper triangle, four rows abreast, and its mirror image."""
    d = ptr.size - 1
    r = 0
    while r < d:
        if r + 4 <= d:
            q0 = r * d
            q1 = q0 + d
            q2 = q1 + d
            q3 = q2 + d
            for c in range(r, d):
                a0 = splat4(0.0)
                b0 = splat4(0.0)
                a1 = splat4(0.0)
                b1 = splat4(0.0)
                a2 = splat4(0.0)
                b2 = splat4(0.0)
                a3 = splat4(0.0)
                b3 = splat4(0.0)
                for k in range(ptr[c], ptr[c + 1]):
                    s = col[k]
                    u = splat4(re[k])
                    v = splat4(im[k])
                    w = splat4(-im[k])
                    g = load4(yr, (q0 + s) * LANES)
                    h = load4(yi, (q0 + s) * LANES)
                    a0 = fma(v, h, fma(u, g, a0))
                    b0 = fma(w, g, fma(u, h, b0))
                    g = load4(yr, (q1 + s) * LANES)
                    h = load4(yi, (q1 + s) * LANES)
                    a1 = fma(v, h, fma(u, g, a1))
                    b1 = fma(w, g, fma(u, h, b1))
                    g = load4(yr, (q2 + s) * LANES)
                    h = load4(yi, (q2 + s) * LANES)
                    a2 = fma(v, h, fma(u, g, a2))
                    b2 = fma(w, g, fma(u, h, b2))
                    g = load4(yr, (q3 + s) * LANES)
                    h = load4(yi, (q3 + s) * LANES)
                    a3 = fma(v, h, fma(u, g, a3))
                    b3 = fma(w, g, fma(u, h, b3))
                put(xr, xi, d, r, c, a0, b0)
                if c >= r + 1:
                    put(xr, xi, d, r + 1, c, a1, b1)
                if c >= r + 2:
                    put(xr, xi, d, r + 2, c, a2, b2)
                if c >= r + 3:
                    put(xr, xi, d, r + 3, c, a3, b3)
            r += 4
        else:
            q0 = r * d
            for c in range(r, d):
                a0 = splat4(0.0)
                b0 = splat4(0.0)
                for k in range(ptr[c], ptr[c + 1]):
                    g = load4(yr, (q0 + col[k]) * LANES)
                    h = load4(yi, (q0 + col[k]) * LANES)
                    a0 = fma(splat4(im[k]), h, fma(splat4(re[k]), g, a0))
                    b0 = fma(splat4(-im[k]), g, fma(splat4(re[k]), h, b0))
                put(xr, xi, d, r, c, a0, b0)
            r += 1


@inlined
def right_lanes(ptr, col, cr, ci, yr, yi, xr, xi):
    """X = Y A† for Hermitian X where every lane has its own A."""
    d = ptr.size - 1
    r = 0
    while r < d:
        if r + 2 <= d:
            q0 = r * d
            q1 = q0 + d
            for c in range(r, d):
                a0 = splat4(0.0)
                b0 = splat4(0.0)
                a1 = splat4(0.0)
                b1 = splat4(0.0)
                for k in range(ptr[c], ptr[c + 1]):
                    s = col[k]
                    u = load4(cr, 16 * k)
                    v = load4(ci, 16 * k)
                    w = neg(v)
                    g = load4(yr, (q0 + s) * LANES)
                    h = load4(yi, (q0 + s) * LANES)
                    a0 = fma(v, h, fma(u, g, a0))
                    b0 = fma(w, g, fma(u, h, b0))
                    g = load4(yr, (q1 + s) * LANES)
                    h = load4(yi, (q1 + s) * LANES)
                    a1 = fma(v, h, fma(u, g, a1))
                    b1 = fma(w, g, fma(u, h, b1))
                put(xr, xi, d, r, c, a0, b0)
                if c >= r + 1:
                    put(xr, xi, d, r + 1, c, a1, b1)
            r += 2
        else:
            a0 = splat4(0.0)
            b0 = splat4(0.0)
            for k in range(ptr[r], ptr[r + 1]):
                g = load4(yr, (r * d + col[k]) * LANES)
                h = load4(yi, (r * d + col[k]) * LANES)
                a0 = fma(load4(ci, 16 * k), h, fma(load4(cr, 16 * k), g, a0))
            put(xr, xi, d, r, r, a0, b0)
            r += 1


@inlined
def add_gain(plan, weight, xr, xi, base_r, base_i, yr, yi, mirrored):
    """Y = base + weight Σ_j L_j X L_j† for Hermitian X, read from its upper triangle; Y may be base itself."""
    d = plan.ptr.shape[1] - 1
    w4 = splat4(weight)
    pair = 0
    for r in range(d):
        for c in range(r, d):
            ar = splat4(0.0)
            ai = splat4(0.0)
            for k in range(plan.gain_ptr[pair], plan.gain_ptr[pair + 1]):
                i = plan.gain_source[k] * LANES
                gr = load4(xr, i)
                gi = load4(xi, i)
                ar = fma(splat4(plan.gain_weights[k, 0]), gr, ar)
                ai = fma(splat4(plan.gain_weights[k, 1]), gr, ai)
                ar = fma(splat4(plan.gain_weights[k, 2]), gi, ar)
                ai = fma(splat4(plan.gain_weights[k, 3]), gi, ai)
            i = (r * d + c) * LANES
            ar = fma(w4, ar, load4(base_r, i))
            ai = fma(w4, ai, load4(base_i, i))
            if mirrored:
                put(yr, yi, d, r, c, ar, ai)
            else:
                store(yr, i, ar)
                store(yi, i, ai)
            pair += 1
