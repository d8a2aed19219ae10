"""Truncated Wigner: classical amplitudes with vacuum noise, 16 trajectories at a time.

*Rows* of polynomials (see `polynomials`): first coefficients of the noise that depend on the amplitudes, then the drift
of every amplitude, then the symbols ℓ of the channels that are recorded, last the observables.

A step is Heun's for the drift, with Itô's noise from where the step begins: with ``k = Σ G(x) dW``

    x̂ = x + f(x) dt + k,      x' = x + ½ (f(x) + f(x̂)) dt + k,

and the record has ½ (ℓ(x) + ℓ(x̂)) dt beside the *same* increments dW: the vacuum that is reflected at once is
correlated with the light that leaves later.  A heterodyne detector is two measurements of real currents, a quarter of a
turn apart: ``gain Re[e^{−iφ}ℓ] dt + ½ gain (cos φ dW_1 + sin φ dW_2) + rest dW'``, φ in the middle of the step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined, kernel
from ..simd import add, at, div, fma, load16, mul, splat16, sqrt, store, sub
from .lane import NOISE_STEPS
from .normals import draw
from .polynomials import LANES, check, combine, fill, save, unload


class PhaseSpacePlan(NamedTuple):
    """All that the kernel sees of equations and detectors."""

    ptr: np.ndarray  # (1, n + 1): n amplitudes
    re: np.ndarray  # (n_terms,) coefficients of the rows' terms
    im: np.ndarray
    row_ptr: np.ndarray  # (n_rows + 1,)
    row_node: np.ndarray  # (n_terms,)
    left: np.ndarray  # (n_products,) factors
    right: np.ndarray
    needed: np.ndarray  # (2,) products that the equations and everything need
    n_signals: int  # rows of ℓ
    n_observables: int  # the last rows
    n_noises: int  # dW per step
    kick_ptr: np.ndarray  # (n + 1,) constant coefficients of the noise of every amplitude
    kick_noise: np.ndarray  # (n_kicks,) of which dW
    kick_re: np.ndarray
    kick_im: np.ndarray
    varying_ptr: np.ndarray  # (n + 1,) the same for those that vary: the first rows, in order
    varying_noise: np.ndarray
    signal: np.ndarray  # (n_measurements,) which ℓ
    vacuum: np.ndarray  # (n_measurements,) its channel's dW_1; the next is dW_2
    own: np.ndarray  # (n_measurements,) dW'
    gain: np.ndarray  # (n_measurements,) of the signal
    rest: np.ndarray  # (n_measurements,) of dW'
    outputs: np.ndarray  # (n_measurements,) row of the record
    part: np.ndarray  # (n_measurements,) 0 real, 1 imaginary part
    rotation: np.ndarray  # (n_steps or 1, n_measurements, 2) cos φ, sin φ
    dt: float
    n_sub: int


class PhaseSpaceWork(NamedTuple):
    """State and scratch of one batch."""

    re: np.ndarray  # (n_nodes * 16,)
    im: np.ndarray
    start_re: np.ndarray  # (n * 16,) amplitudes when the step begins
    start_im: np.ndarray
    half_re: np.ndarray  # (n * 16,) with the noise and half of the drift
    half_im: np.ndarray
    rows_re: np.ndarray  # (n_rows * 16,)
    rows_im: np.ndarray
    record: np.ndarray  # (n_outputs, 2, 16) sums of the increments in this bin
    words: np.ndarray  # (4, 16) uint64, generators of the noise
    noise: np.ndarray  # (NOISE_STEPS * n_noises, 16)
    place: np.ndarray  # (1,) position in the noise
    norm: np.ndarray  # (16,) 1, or NaN where an amplitude is not finite
    threshold: np.ndarray  # (16,) not used
    edges: np.ndarray  # (n, 16) sums over bins of |α|²
    hazard: np.ndarray  # (16,) sum over steps of dt |f(x̂) − f(x)| / |x̂ − x|, a rate in units of the step
    likelihood: np.ndarray  # (16,) not used
    log_likelihood: np.ndarray  # (16,) not used


def phasespace_work(plan: PhaseSpacePlan) -> PhaseSpaceWork:
    """Allocate the state and scratch of one batch."""
    n = plan.ptr.shape[1] - 1
    n_nodes, n_rows = 2 * n + 1 + len(plan.left), len(plan.row_ptr) - 1
    n_outputs = int(plan.outputs.max(initial=-1)) + 1
    return PhaseSpaceWork(
        re=np.zeros(n_nodes * LANES),
        im=np.zeros(n_nodes * LANES),
        start_re=np.zeros(n * LANES),
        start_im=np.zeros(n * LANES),
        half_re=np.zeros(n * LANES),
        half_im=np.zeros(n * LANES),
        rows_re=np.zeros(n_rows * LANES),
        rows_im=np.zeros(n_rows * LANES),
        record=np.zeros((n_outputs, 2, LANES)),
        words=np.zeros((4, LANES), dtype=np.uint64),
        noise=np.zeros((NOISE_STEPS * plan.n_noises, LANES)),
        place=np.array([NOISE_STEPS]),
        norm=np.ones(LANES),
        threshold=np.zeros(LANES),
        edges=np.zeros((n, LANES)),
        hazard=np.zeros(LANES),
        likelihood=np.ones(LANES),
        log_likelihood=np.zeros(LANES),
    )


@inlined
def predict(plan, work, noise):
    """x̂, and x + ½ f dt + k beside it; `noise` is where this step's begins."""
    n = plan.ptr.shape[1] - 1
    first = plan.varying_noise.size * LANES
    root = splat16(np.sqrt(plan.dt))
    half = splat16(0.5 * plan.dt)
    for j in range(n):
        kr = splat16(0.0)
        ki = splat16(0.0)
        for e in range(plan.kick_ptr[j], plan.kick_ptr[j + 1]):
            w = load16(work.noise, noise + at(plan.kick_noise, e) * LANES)
            kr = fma(splat16(at(plan.kick_re, e)), w, kr)
            ki = fma(splat16(at(plan.kick_im, e)), w, ki)
        for e in range(plan.varying_ptr[j], plan.varying_ptr[j + 1]):
            w = load16(work.noise, noise + at(plan.varying_noise, e) * LANES)
            kr = fma(load16(work.rows_re, e * LANES), w, kr)
            ki = fma(load16(work.rows_im, e * LANES), w, ki)
        i = j * LANES
        xr = load16(work.re, i)
        xi = load16(work.im, i)
        fr = mul(half, load16(work.rows_re, first + i))
        fi = mul(half, load16(work.rows_im, first + i))
        store(work.start_re, i, xr)
        store(work.start_im, i, xi)
        xr = add(fma(root, kr, xr), fr)
        xi = add(fma(root, ki, xi), fi)
        store(work.half_re, i, xr)
        store(work.half_im, i, xi)
        store(work.re, i, add(xr, fr))
        store(work.im, i, add(xi, fi))


@inlined
def correct(plan, work):
    """x' = x + ½ (f + f̂) dt + k."""
    first = plan.varying_noise.size * LANES
    half = splat16(0.5 * plan.dt)
    for i in range(0, (plan.ptr.shape[1] - 1) * LANES, LANES):
        store(work.re, i, fma(half, load16(work.rows_re, first + i), load16(work.half_re, i)))
        store(work.im, i, fma(half, load16(work.rows_im, first + i), load16(work.half_im, i)))


@inlined
def write_signal(plan, work, step):
    """½ ℓ dt of the amplitudes at hand into the record."""
    first = plan.varying_noise.size + plan.ptr.shape[1] - 1
    half = 0.5 * plan.dt
    for q in range(plan.signal.size):
        i = (first + plan.signal[q]) * LANES
        cos = splat16(half * plan.gain[q] * plan.rotation[step, q, 0])
        sin = splat16(half * plan.gain[q] * plan.rotation[step, q, 1])
        to = (2 * plan.outputs[q] + plan.part[q]) * LANES
        y = fma(cos, load16(work.rows_re, i), load16(work.record, to))
        store(work.record, to, fma(sin, load16(work.rows_im, i), y))


@inlined
def write_noise(plan, work, step, noise):
    """What the vacuum, the image band and lost light add to the record."""
    root = np.sqrt(plan.dt)
    for q in range(plan.signal.size):
        cos = splat16(0.5 * root * plan.gain[q] * plan.rotation[step, q, 0])
        sin = splat16(0.5 * root * plan.gain[q] * plan.rotation[step, q, 1])
        vacuum = noise + plan.vacuum[q] * LANES
        to = (2 * plan.outputs[q] + plan.part[q]) * LANES
        y = fma(cos, load16(work.noise, vacuum), load16(work.record, to))
        y = fma(sin, load16(work.noise, vacuum + LANES), y)
        own = load16(work.noise, noise + plan.own[q] * LANES)
        store(work.record, to, fma(splat16(root * plan.rest[q]), own, y))


@inlined
def add_rate(plan, work, weight):
    """How fast the drift changes along the step, in units of the step: |f̂ − f| dt / |x̂ − x|."""
    n = plan.ptr.shape[1] - 1
    first = plan.varying_noise.size * LANES
    change = splat16(0.0)
    way = splat16(1e-300)
    dt = splat16(plan.dt)
    two = splat16(-2.0)
    for i in range(0, n * LANES, LANES):
        xr = load16(work.re, i)
        xi = load16(work.im, i)
        # f dt = 2 (x̂ − half)
        fr = fma(two, sub(xr, load16(work.half_re, i)), mul(dt, load16(work.rows_re, first + i)))
        fi = fma(two, sub(xi, load16(work.half_im, i)), mul(dt, load16(work.rows_im, first + i)))
        change = fma(fr, fr, fma(fi, fi, change))
        xr = sub(xr, load16(work.start_re, i))
        xi = sub(xi, load16(work.start_im, i))
        way = fma(xr, xr, fma(xi, xi, way))
    rate = mul(splat16(weight), sqrt(div(change, way)))
    store(work.hazard, 0, add(rate, load16(work.hazard, 0)))


@kernel
def advance_phasespace(plan, work, step, n_steps):
    """So many steps, a bin."""
    rows = plan.row_ptr.size - 1 - plan.n_observables
    position = work.place[0]
    rotates = plan.rotation.shape[0] > 1
    for k in range(n_steps):
        now = step + k if rotates else 0
        if position == NOISE_STEPS:
            if plan.n_noises > 0:
                draw(work.words, work.noise)
            position = 0
        noise = position * plan.n_noises * LANES
        position += 1
        fill(plan, work, plan.needed[0])
        combine(plan, work, 0, rows)
        write_signal(plan, work, now)
        write_noise(plan, work, now, noise)
        predict(plan, work, noise)
        fill(plan, work, plan.needed[0])
        combine(plan, work, plan.varying_noise.size, rows)
        write_signal(plan, work, now)
        if k == n_steps - 1:
            add_rate(plan, work, n_steps)
        correct(plan, work)
    work.place[0] = position


@kernel
def run_phasespace(
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
    n = plan.ptr.shape[1] - 1
    for b in range(n_bins):
        advance_phasespace(plan, work, (offset + b) * plan.n_sub, plan.n_sub)
        unload(work, current, first + b, width)
        if save_every > 0 and (first + b + 1) % save_every == 0:
            save(plan, work, saved, expectations, states)
            saved += 1
        for v in range(n):
            for lane in range(LANES):
                i = v * LANES + lane
                work.edges[v, lane] += work.re[i] * work.re[i] + work.im[i] * work.im[i]
    check(plan, work)
    return times, owner, 0
