"""Products of sparse operators with Hermitian matrices on 4 lanes.

Element (r, c) of lane l lies at ``4 (r stride + c) + l`` from the start of its copy; rows and columns are padded with
zeros to whole groups of four.  Results that are Hermitian are computed above the diagonal and mirrored.
"""

from __future__ import annotations

from ..compiled import inlined
from ..simd import fma, load4, load16, neg, splat4, splat16, spread16, store, value4, value16

LANES = 4
RUN = 4  # columns that are treated at once: 16 numbers
ROWS = 4  # rows that are treated at once


@inlined
def stride_of(d):
    """Columns per row, padding included; no multiple of 16, at which the elements of a column share cache sets."""
    columns = (d + RUN - 1) // RUN * RUN
    return columns + RUN if columns % 16 == 0 else columns


@inlined
def sandwich(ptr, col, re, im, lowest, xr, xi, x, y, row_r, row_i):
    """Y = A X A†, four rows at a time; X and Y are the copies at x and y of (xr, xi).

    `re`, `im` are the operator's values, (nnz,), or (nnz, 16) if every lane has its own (four times over);
    `lowest[r]` is the lowest column of A in row r and below: what A† reads of the rows from r on.
    """
    d = ptr.size - 1
    stride = stride_of(d)
    length = stride * LANES
    for first in range(0, d, ROWS):
        start = lowest[first] * LANES // 16 * 16
        for i in range(ROWS):
            begin = ptr[min(first + i, d)]  # rows beyond the matrix are empty
            end = ptr[min(first + i + 1, d)]
            for j in range(start, length, 16):
                ar = splat16(0.0)
                ai = splat16(0.0)
                for k in range(begin, end):
                    a = x + col[k] * length + j
                    u = value16(re, k)
                    v = value16(im, k)
                    vr = load16(xr, a)  # one factor at a time: all of them do not fit the registers
                    ar = fma(u, vr, ar)
                    ai = fma(v, vr, ai)
                    vi = load16(xi, a)
                    ar = fma(neg(v), vi, ar)
                    ai = fma(u, vi, ai)
                store(row_r, i * length + j, ar)
                store(row_i, i * length + j, ai)
        for c in range(first, d):
            a0 = splat4(0.0)
            b0 = splat4(0.0)
            a1 = splat4(0.0)
            b1 = splat4(0.0)
            a2 = splat4(0.0)
            b2 = splat4(0.0)
            a3 = splat4(0.0)
            b3 = splat4(0.0)
            for k in range(ptr[c], ptr[c + 1]):
                s = col[k] * LANES
                u4 = value4(re, k)
                v4 = value4(im, k)
                w4 = neg(v4)
                g = load4(row_r, s)
                h = load4(row_i, s)
                a0 = fma(v4, h, fma(u4, g, a0))
                b0 = fma(w4, g, fma(u4, h, b0))
                g = load4(row_r, length + s)
                h = load4(row_i, length + s)
                a1 = fma(v4, h, fma(u4, g, a1))
                b1 = fma(w4, g, fma(u4, h, b1))
                g = load4(row_r, 2 * length + s)
                h = load4(row_i, 2 * length + s)
                a2 = fma(v4, h, fma(u4, g, a2))
                b2 = fma(w4, g, fma(u4, h, b2))
                g = load4(row_r, 3 * length + s)
                h = load4(row_i, 3 * length + s)
                a3 = fma(v4, h, fma(u4, g, a3))
                b3 = fma(w4, g, fma(u4, h, b3))
            i = y + first * length + c * LANES
            store(xr, i, a0)
            store(xi, i, b0)
            store(xr, i + length, a1)
            store(xi, i + length, b1)
            store(xr, i + 2 * length, a2)
            store(xi, i + 2 * length, b2)
            store(xr, i + 3 * length, a3)
            store(xi, i + 3 * length, b3)
            i = y + c * length + first * LANES  # the mirror image; where rows and columns meet, the upper half remains
            store(xr, i, a0)
            store(xi, i, neg(b0))
            store(xr, i + LANES, a1)
            store(xi, i + LANES, neg(b1))
            store(xr, i + 2 * LANES, a2)
            store(xi, i + 2 * LANES, neg(b2))
            store(xr, i + 3 * LANES, a3)
            store(xi, i + 3 * LANES, neg(b3))
        for i in range(first, first + ROWS):
            store(xi, y + i * (length + LANES), splat4(0.0))


@inlined
def add_gain(plan, weight, xr, xi, x, base, y):
    """Y = base + weight Σ_j L_j X L_j† for Hermitian X, mirrored; Y may be base itself, not X.

    `weight`: a vector of 16, the four lanes' weights four times over.
    """
    d = plan.ptr.shape[1] - 1
    stride = stride_of(d)
    block = 0
    for r in range(d):
        for c in range(r // RUN * RUN, d, RUN):
            ar = splat16(0.0)
            ai = splat16(0.0)
            for k in range(plan.gain_ptr[block, 0], plan.gain_ptr[block, 1]):  # real weights
                a = x + plan.gain_source[k] * LANES
                u = spread16(plan.gain_re, k)
                ar = fma(u, load16(xr, a), ar)
                ai = fma(u, load16(xi, a), ai)
            for k in range(plan.gain_ptr[block, 1], plan.gain_ptr[block, 2]):
                a = x + plan.gain_source[k] * LANES
                u = spread16(plan.gain_re, k)
                v = spread16(plan.gain_im, k - plan.gain_ptr[block, 3])
                vr = load16(xr, a)
                ar = fma(u, vr, ar)
                ai = fma(v, vr, ai)
                vi = load16(xi, a)
                ar = fma(neg(v), vi, ar)
                ai = fma(u, vi, ai)
            i = (r * stride + c) * LANES
            store(xr, y + i, fma(weight, ar, load16(xr, base + i)))
            store(xi, y + i, fma(weight, ai, load16(xi, base + i)))
            block += 1
    for r in range(d):
        store(xi, y + (r * stride + r) * LANES, splat4(0.0))
        for c in range(r + 1, d):
            i = y + (r * stride + c) * LANES
            j = y + (c * stride + r) * LANES
            store(xr, j, load4(xr, i))
            store(xi, j, neg(load4(xi, i)))
