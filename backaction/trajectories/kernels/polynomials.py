"""Polynomials of complex variables, 16 trajectories at a time.

Layout: *nodes* of 16 lanes, real and imaginary parts apart: first the variables, then their complex conjugates, the
constant 1, and products of two earlier nodes.  *Rows* are linear combinations of nodes.

Of a plan they take `ptr`, (1, n + 1) for n variables; `left` and `right`, the factors of every product; `row_ptr`,
`row_node`, `re` and `im`, the terms of every row; `needed`, whose last number is how many products there are; and
`n_observables`.  Of the work, `re` and `im`, (n_nodes * 16,), `rows_re` and `rows_im`, (n_rows * 16,), `record`,
(n_outputs, 2, 16), and `norm`, (16,).
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, kernel
from ..simd import at, fma, load16, mul, neg, splat16, store

LANES = 16


@inlined
def fill(plan, work, products):
    """Conjugates, the constant, and the first so many products of the variables at hand."""
    n = plan.ptr.shape[1] - 1
    for i in range(n):
        store(work.re, (n + i) * LANES, load16(work.re, i * LANES))
        store(work.im, (n + i) * LANES, neg(load16(work.im, i * LANES)))
    store(work.re, 2 * n * LANES, splat16(1.0))
    store(work.im, 2 * n * LANES, splat16(0.0))
    for p in range(products):
        a = at(plan.left, p) * LANES
        b = at(plan.right, p) * LANES
        ar = load16(work.re, a)
        ai = load16(work.im, a)
        br = load16(work.re, b)
        bi = load16(work.im, b)
        to = (2 * n + 1 + p) * LANES
        store(work.re, to, fma(ar, br, neg(mul(ai, bi))))
        store(work.im, to, fma(ar, bi, mul(ai, br)))


@inlined
def combine(plan, work, begin, end):
    """Rows begin … end."""
    for r in range(begin, end):
        sr = splat16(0.0)
        si = splat16(0.0)
        for t in range(plan.row_ptr[r], plan.row_ptr[r + 1]):
            i = at(plan.row_node, t) * LANES
            vr = load16(work.re, i)
            vi = load16(work.im, i)
            u = splat16(at(plan.re, t))
            v = splat16(at(plan.im, t))
            sr = fma(u, vr, sr)
            si = fma(u, vi, si)
            sr = fma(neg(v), vi, sr)
            si = fma(v, vr, si)
        store(work.rows_re, r * LANES, sr)
        store(work.rows_im, r * LANES, si)


@kernel
def save(plan, work, index, expectations, states):
    """Observables, the last rows, and variables at one edge of the time axis."""
    n_rows = plan.row_ptr.size - 1
    first = n_rows - plan.n_observables
    fill(plan, work, plan.needed[plan.needed.size - 1])
    combine(plan, work, first, n_rows)
    for o in range(plan.n_observables):
        for lane in range(LANES):
            i = (first + o) * LANES + lane
            expectations[o, index, lane] = complex(work.rows_re[i], work.rows_im[i])
    if states.shape[0] > 0:
        for lane in range(LANES):
            for v in range(states.shape[2]):
                states[index, lane, v] = complex(work.re[v * LANES + lane], work.im[v * LANES + lane])


@inlined
def unload(work, current, b, width):
    """The record's increments of bin b as averages into `current`, and zeros in their place."""
    for o in range(work.record.shape[0]):
        for lane in range(LANES):
            current[lane, o, b] = complex(work.record[o, 0, lane], work.record[o, 1, lane]) / width
            work.record[o, 0, lane] = 0.0
            work.record[o, 1, lane] = 0.0


@inlined
def check(plan, work):
    """`norm`: 1, or NaN where a variable is not finite."""
    for lane in range(LANES):
        total = 0.0
        for v in range(plan.ptr.shape[1] - 1):
            total += abs(work.re[v * LANES + lane]) + abs(work.im[v * LANES + lane])
        work.norm[lane] = 1.0 if np.isfinite(total) else np.nan
