"""Feedback of a current: after every step a unitary e^{−iFs} whose angle s differs from lane to lane.

In the eigenbasis of F, V†FV = diag(f), it is a phase per row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined
from ..simd import fma, load4, load32, mul, neg, splat32, store
from .products import LANES as DENSITY_LANES
from .products import sandwich, stride_of
from .together import LANES as KET_LANES


class FeedbackPlan(NamedTuple):
    """Feedback loops; operators 2j and 2j + 1 are V† and V of loop j, CSR as in `KetPlan`."""

    outputs: np.ndarray  # (n,) row of the record that is fed back
    cos: np.ndarray  # (n,) quadrature of a complex current
    sin: np.ndarray
    gain: np.ndarray
    delay: np.ndarray  # (n,) int, steps
    decay: np.ndarray  # (n,) e^{−bandwidth dt} of the filter; 0: no filter
    held: np.ndarray  # (n,) average of e^{−bandwidth t} over a step
    values: np.ndarray  # (n, d) eigenvalues f
    ptr: np.ndarray  # (2 n, d + 1)
    col: np.ndarray
    re: np.ndarray
    im: np.ndarray
    lowest: np.ndarray  # (d,) 0: see `products.sandwich`


class FeedbackWork(NamedTuple):
    """What the loops remember, and scratch."""

    latest: np.ndarray  # (n_outputs, 2, lanes) increments of the last step
    memory: np.ndarray  # (n, longest delay + 1, lanes) past increments of the fed-back quadrature, a ring over steps
    filtered: np.ndarray  # (n, lanes) outputs of the filters
    steps: np.ndarray  # (1,) int: steps since the run began
    angle: np.ndarray  # (lanes,)
    phases: np.ndarray  # (d, 2, lanes) e^{−ifs}


def feedback_work(loops: FeedbackPlan, n_outputs: int, d: int, lanes: int) -> FeedbackWork:
    """Allocate the memory of the loops."""
    n = len(loops.outputs)
    return FeedbackWork(
        np.zeros((n_outputs, 2, lanes)),
        np.zeros((n, int(loops.delay.max(initial=0)) + 1, lanes)),
        np.zeros((n, lanes)),
        np.zeros(1, dtype=np.int64),
        np.zeros(lanes),
        np.zeros((d if n else 0, 2, lanes)),
    )


def no_feedback() -> FeedbackPlan:
    """No loops."""
    ints, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
    return FeedbackPlan(
        ints, empty, empty, empty, ints, empty, empty, np.zeros((0, 0)), np.zeros((0, 0), dtype=np.int64), ints, empty,
        empty, ints,
    )  # fmt: skip


@inlined
def angles(loops, memory, dt, j):
    """s = gain ∫y dt of loop j over this step, lane by lane; its delay line and filter move on."""
    o = loops.outputs[j]
    length = memory.memory.shape[1]
    now = memory.steps[0]
    past = now - loops.delay[j]
    for lane in range(memory.angle.size):
        increment = loops.cos[j] * memory.latest[o, 0, lane] + loops.sin[j] * memory.latest[o, 1, lane]
        memory.memory[j, now % length, lane] = increment
        delayed = memory.memory[j, past % length, lane] if past >= 0 else 0.0
        if loops.decay[j] > 0.0:  # ẏ = b (I − y), exact for a current that is constant over the step
            before = memory.filtered[j, lane]
            memory.filtered[j, lane] = loops.decay[j] * before + (1.0 - loops.decay[j]) * delayed / dt
            delayed = loops.held[j] * before * dt + (1.0 - loops.held[j]) * delayed
        memory.angle[lane] = loops.gain[j] * delayed


@inlined
def phase_factors(loops, memory, j):
    """e^{−ifs} for every eigenvalue and lane."""
    for r in range(loops.values.shape[1]):
        for lane in range(memory.angle.size):
            x = loops.values[j, r] * memory.angle[lane]
            memory.phases[r, 0, lane] = np.cos(x)
            memory.phases[r, 1, lane] = -np.sin(x)


@inlined
def change_basis(loops, operator, re, im, x, y, d):
    """Operator times state vectors, 32 lanes: from the copy at x to that at y."""
    for r in range(d):
        ar = splat32(0.0)
        ai = splat32(0.0)
        for k in range(loops.ptr[operator, r], loops.ptr[operator, r + 1]):
            c = x + loops.col[k] * KET_LANES
            u = splat32(loops.re[k])
            v = splat32(loops.im[k])
            vr = load32(re, c)
            ar = fma(u, vr, ar)
            ai = fma(v, vr, ai)
            vi = load32(im, c)
            ar = fma(neg(v), vi, ar)
            ai = fma(u, vi, ai)
        store(re, y + r * KET_LANES, ar)
        store(im, y + r * KET_LANES, ai)


@inlined
def feed_back_kets(loops, memory, dt, re, im, cur, other, d):
    """ψ → Π_j e^{−iF_j s_j}ψ on 32 lanes, in the current copy."""
    for j in range(loops.outputs.size):
        angles(loops, memory, dt, j)
        phase_factors(loops, memory, j)
        change_basis(loops, 2 * j, re, im, cur, other, d)
        for r in range(d):
            i = other + r * KET_LANES
            ar = load32(re, i)
            ai = load32(im, i)
            c = load32(memory.phases, 2 * r * KET_LANES)
            s = load32(memory.phases, (2 * r + 1) * KET_LANES)
            store(re, i, fma(neg(ai), s, mul(ar, c)))
            store(im, i, fma(ai, c, mul(ar, s)))
        change_basis(loops, 2 * j + 1, re, im, other, cur, d)
    memory.steps[0] += 1


@inlined
def feed_back_densities(loops, memory, dt, re, im, cur, other, row_re, row_im, d):
    """ρ → e^{−iFs}ρe^{iFs} for every loop, on 4 lanes, in the current copy."""
    for j in range(loops.outputs.size):
        angles(loops, memory, dt, j)
        phase_factors(loops, memory, j)
        sandwich(loops.ptr[2 * j], loops.col, loops.re, loops.im, loops.lowest, re, im, cur, other, row_re, row_im)
        for r in range(d):
            pr = load4(memory.phases, 2 * r * DENSITY_LANES)
            pi = load4(memory.phases, (2 * r + 1) * DENSITY_LANES)
            for c in range(d):
                qr = load4(memory.phases, 2 * c * DENSITY_LANES)
                qi = load4(memory.phases, (2 * c + 1) * DENSITY_LANES)
                wr = fma(pi, qi, mul(pr, qr))
                wi = fma(neg(pr), qi, mul(pi, qr))
                i = other + (r * stride_of(d) + c) * DENSITY_LANES
                ar = load4(re, i)
                ai = load4(im, i)
                store(re, i, fma(neg(ai), wi, mul(ar, wr)))
                store(im, i, fma(ai, wr, mul(ar, wi)))
        sandwich(loops.ptr[2 * j + 1], loops.col, loops.re, loops.im, loops.lowest, re, im, other, cur, row_re, row_im)
    memory.steps[0] += 1
