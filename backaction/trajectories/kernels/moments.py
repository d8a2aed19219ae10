"""Means and covariances, 16 trajectories at a time.

*Rows* of polynomials (see `polynomials`): the drift of every variable; for every measured channel ⟨L⟩ and, for every
noisy variable (all means, few covariances), c and d; last the observables.  A heterodyne detector is two homodyne
*measurements* of half the efficiency, a quarter of a turn apart.

A step is the midpoint rule: with g = √η (e^{−iφ}c + e^{iφ}d), s = 2√η Re(e^{−iφ}⟨L⟩) and φ in the middle of the step,
the drift of a covariance is F − Σ g_x g_y, the increment of the record dY = s dt + dW with s after half a step of the
drift, and drift and g are taken after half a step of the drift and of the noise; without the noise where g depends on
noisy variables, because the equations are Itô's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, kernel
from ..simd import add, at, fma, load16, mul, neg, splat16, store, sub
from .lane import NOISE_STEPS
from .normals import draw
from .polynomials import LANES, check, combine, fill, save, unload


class MomentPlan(NamedTuple):
    """All that the kernel sees of equations and detectors."""

    ptr: np.ndarray  # (1, n + 1): n variables
    re: np.ndarray  # (n_terms,) coefficients of the rows' terms
    im: np.ndarray
    row_ptr: np.ndarray  # (n_rows + 1,)
    row_node: np.ndarray  # (n_terms,)
    left: np.ndarray  # (n_products,) factors
    right: np.ndarray
    needed: np.ndarray  # (3,) products that signals, equations and everything need
    n_means: int  # the first variables; the others are covariances
    noisy: np.ndarray  # (n_noisy,) variables with noise; all means come first
    multiplicative: bool  # does the noise depend on noisy variables?
    channels: int  # measured: rows n + k (1 + 2 n_noisy) … belong to channel k
    first: np.ndarray  # (n_covariances,) first factor's g: mean, or n_noisy + mean for the conjugate
    second: np.ndarray
    channel: np.ndarray  # (n_measurements,) measured channel
    root: np.ndarray  # (n_measurements,) √efficiency
    outputs: np.ndarray  # (n_measurements,) row of the record, −1: not recorded
    part: np.ndarray  # (n_measurements,) 0 real, 1 imaginary part
    scale: np.ndarray  # (n_measurements,) of its increment in the record
    rotation: np.ndarray  # (n_steps or 1, n_measurements, 2) cos φ, sin φ
    n_observables: int  # the last rows
    dt: float
    n_sub: int
    given: bool  # the record is given


class MomentWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (n_nodes * 16,)
    im: np.ndarray
    start_re: np.ndarray  # (n * 16,) the variables when the step begins
    start_im: np.ndarray
    rows_re: np.ndarray  # (n_rows * 16,)
    rows_im: np.ndarray
    g_re: np.ndarray  # (n_measurements * 2 n_noisy * 16,) with the conjugates
    g_im: np.ndarray
    increments: np.ndarray  # (n_measurements * 16,) dW
    record: np.ndarray  # (n_outputs, 2, 16) sums of the increments in this bin
    words: np.ndarray  # (4, 16) uint64, generators of the noise
    noise: np.ndarray  # (NOISE_STEPS * n_measurements, 16)
    place: np.ndarray  # (1,) position in the noise
    norm: np.ndarray  # (16,) 1, or NaN where a variable is not finite
    threshold: np.ndarray  # (16,) not used
    edges: np.ndarray  # (0, 16)
    hazard: np.ndarray  # (16,) not used
    likelihood: np.ndarray  # (16,) not used
    log_likelihood: np.ndarray  # (16,)
    given_times: np.ndarray
    given_owner: np.ndarray
    given_next: np.ndarray
    given_stop: np.ndarray


def moment_work(plan: MomentPlan) -> MomentWork:
    """Allocate the state and scratch of one batch."""
    n = plan.ptr.shape[1] - 1
    n_nodes, n_rows = 2 * n + 1 + len(plan.left), len(plan.row_ptr) - 1
    n_measurements = len(plan.channel)
    n_outputs = int(plan.outputs.max(initial=-1)) + 1
    return MomentWork(
        re=np.zeros(n_nodes * LANES),
        im=np.zeros(n_nodes * LANES),
        start_re=np.zeros(n * LANES),
        start_im=np.zeros(n * LANES),
        rows_re=np.zeros(n_rows * LANES),
        rows_im=np.zeros(n_rows * LANES),
        g_re=np.zeros(max(1, n_measurements) * 2 * len(plan.noisy) * LANES),
        g_im=np.zeros(max(1, n_measurements) * 2 * len(plan.noisy) * LANES),
        increments=np.zeros(max(1, n_measurements) * LANES),
        record=np.zeros((n_outputs, 2, LANES)),
        words=np.zeros((4, LANES), dtype=np.uint64),
        noise=np.zeros((NOISE_STEPS * n_measurements, LANES)),
        place=np.array([NOISE_STEPS]),
        norm=np.ones(LANES),
        threshold=np.zeros(LANES),
        edges=np.zeros((0, LANES)),
        hazard=np.zeros(LANES),
        likelihood=np.ones(LANES),
        log_likelihood=np.zeros(LANES),
        given_times=np.zeros(0),
        given_owner=np.zeros(0, dtype=np.int64),
        given_next=np.zeros(LANES, dtype=np.int64),
        given_stop=np.zeros(LANES, dtype=np.int64),
    )


@inlined
def measure(plan, work, step):
    """g of every measurement, and −Σ g_x g_y into the drift of the covariances."""
    n = plan.ptr.shape[1] - 1
    m = plan.noisy.size
    for q in range(plan.channel.size):
        row = n + plan.channel[q] * (1 + 2 * m) + 1
        cos = splat16(plan.root[q] * plan.rotation[step, q, 0])
        sin = splat16(plan.root[q] * plan.rotation[step, q, 1])
        for x in range(m):
            c = (row + x) * LANES
            d = (row + m + x) * LANES
            cr = load16(work.rows_re, c)
            ci = load16(work.rows_im, c)
            dr = load16(work.rows_re, d)
            di = load16(work.rows_im, d)
            gr = fma(cos, add(cr, dr), mul(sin, sub(ci, di)))  # e^{−iφ}c + e^{iφ}d
            gi = fma(cos, add(ci, di), mul(sin, sub(dr, cr)))
            to = (2 * m * q + x) * LANES
            store(work.g_re, to, gr)
            store(work.g_im, to, gi)
            store(work.g_re, to + m * LANES, gr)
            store(work.g_im, to + m * LANES, neg(gi))
    for k in range(n - plan.n_means):
        row = (plan.n_means + k) * LANES
        fr = load16(work.rows_re, row)
        fi = load16(work.rows_im, row)
        for q in range(plan.channel.size):
            x = (2 * m * q + plan.first[k]) * LANES
            y = (2 * m * q + plan.second[k]) * LANES
            xr = load16(work.g_re, x)
            xi = load16(work.g_im, x)
            yr = load16(work.g_re, y)
            yi = load16(work.g_im, y)
            fr = fma(xi, yi, fma(neg(xr), yr, fr))
            fi = sub(fi, fma(xr, yi, mul(xi, yr)))
        store(work.rows_re, row, fr)
        store(work.rows_im, row, fi)


@inlined
def add_noise(plan, work, factor):
    """Variables += factor Σ g dW."""
    m = plan.noisy.size
    f = splat16(factor)
    for q in range(plan.channel.size):
        w = mul(f, load16(work.increments, q * LANES))
        for x in range(m):
            i = at(plan.noisy, x) * LANES
            g = (2 * m * q + x) * LANES
            store(work.re, i, fma(w, load16(work.g_re, g), load16(work.re, i)))
            store(work.im, i, fma(w, load16(work.g_im, g), load16(work.im, i)))


@inlined
def move(plan, work, time):
    """Variables = start + time × drift."""
    n = plan.ptr.shape[1] - 1
    h = splat16(time)
    for i in range(0, n * LANES, LANES):
        store(work.re, i, fma(h, load16(work.rows_re, i), load16(work.start_re, i)))
        store(work.im, i, fma(h, load16(work.rows_im, i), load16(work.start_im, i)))


@inlined
def draw_increments(plan, work, step, position):
    """dW of every measurement and dY = s dt + dW into the record; or dW from a given dY."""
    n = plan.ptr.shape[1] - 1
    dt = splat16(plan.dt)
    half = splat16(0.5)
    root_dt = splat16(np.sqrt(plan.dt))
    for q in range(plan.channel.size):
        row = (n + plan.channel[q] * (1 + 2 * plan.noisy.size)) * LANES
        cos = splat16(2.0 * plan.root[q] * plan.rotation[step, q, 0])
        sin = splat16(2.0 * plan.root[q] * plan.rotation[step, q, 1])
        signal = fma(cos, load16(work.rows_re, row), mul(sin, load16(work.rows_im, row)))
        to = (2 * plan.outputs[q] + plan.part[q]) * LANES
        if plan.given:
            y = mul(splat16(1.0 / (plan.scale[q] * plan.n_sub)), load16(work.record, to))
            weight = mul(signal, sub(y, mul(half, mul(signal, dt))))
            store(work.log_likelihood, 0, add(load16(work.log_likelihood, 0), weight))
            store(work.increments, q * LANES, sub(y, mul(signal, dt)))
        else:
            w = mul(root_dt, load16(work.noise, (position * plan.channel.size + q) * LANES))
            store(work.increments, q * LANES, w)
            if plan.outputs[q] >= 0:
                y = fma(signal, dt, w)
                store(work.record, to, fma(splat16(plan.scale[q]), y, load16(work.record, to)))


@kernel
def advance_moments(plan, work, step, n_steps):
    """So many steps."""
    n = plan.ptr.shape[1] - 1
    signals = n + plan.channels * (1 + 2 * plan.noisy.size)
    position = work.place[0]
    rotates = plan.rotation.shape[0] > 1
    for k in range(n_steps):
        now = step + k if rotates else 0
        if plan.channel.size > 0 and not plan.given:
            if position == NOISE_STEPS:
                draw(work.words, work.noise)
                position = 0
        for i in range(0, n * LANES, LANES):
            store(work.start_re, i, load16(work.re, i))
            store(work.start_im, i, load16(work.im, i))
        fill(plan, work, plan.needed[1])
        combine(plan, work, 0, signals)
        measure(plan, work, now)
        move(plan, work, 0.5 * plan.dt)
        if plan.channel.size > 0:
            fill(plan, work, plan.needed[0])
            for c in range(plan.channels):
                row = n + c * (1 + 2 * plan.noisy.size)
                combine(plan, work, row, row + 1)
            draw_increments(plan, work, now, position)
            if not plan.multiplicative:
                add_noise(plan, work, 0.5)
        position += 1
        fill(plan, work, plan.needed[1])
        combine(plan, work, 0, signals)
        measure(plan, work, now)
        move(plan, work, plan.dt)
        add_noise(plan, work, 1.0)
    work.place[0] = position


@kernel
def run_moments(
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
    """Advance a batch over `n_bins` bins; arguments and results as those of `run_ket`."""
    for b in range(n_bins):
        if plan.given:
            for o in range(work.record.shape[0]):
                for lane in range(LANES):
                    work.record[o, 0, lane] = current[lane, o, first + b].real * width
                    work.record[o, 1, lane] = current[lane, o, first + b].imag * width
        advance_moments(plan, work, (offset + b) * plan.n_sub, plan.n_sub)
        if not plan.given:
            unload(work, current, first + b, width)
        if save_every > 0 and (first + b + 1) % save_every == 0:
            save(plan, work, saved, expectations, states)
            saved += 1
    check(plan, work)
    return times, owner, 0
