"""Langevin equations in batches of trajectories: NumPy is the kernel, because the drift is the user's own function.

A step is Heun's rule for the drift with the noise of its beginning, ``x̂ = x + f(x) dt + b(x) dξ`` and
``x' = x + ½[f(x) + f(x̂)] dt + b(x) dξ``: Itô's equation, weak order 2 for additive noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..systems import LangevinSystem
from .kernels.normals import draw
from .plan import substeps

#: Numbers that a batch holds, about: enough for NumPy to be quick, few enough for the cache.
BATCH, MOST_LANES, FEWEST_LANES = 8192, 256, 4
#: Normal numbers drawn at once for a trajectory, and steps at most.
BLOCK, BLOCK_STEPS = 4096, 128


class LangevinPlan(NamedTuple):
    """What a run of one width of bins needs."""

    ptr: np.ndarray  # (1, n + 1): n variables
    re: np.ndarray  # (n,) not used but for its size
    system: LangevinSystem
    mix: np.ndarray | None  # (n, m) of the noises; None: each variable has its own, of strength `scale`
    scale: Any  # (n, 1) or a function
    noises: int  # real normals per step, an even number
    observables: tuple[Callable[[np.ndarray], np.ndarray], ...]
    dt: float
    n_sub: int


class LangevinWork(NamedTuple):
    """State and scratch of one batch; the names are those of the kernels' work."""

    re: np.ndarray  # (n * lanes,)
    im: np.ndarray
    words: np.ndarray  # (4, lanes) uint64
    noise: np.ndarray  # (steps * noises, lanes)
    place: np.ndarray  # (1,) step in the noise
    norm: np.ndarray  # (lanes,) 1, or NaN where a value is not finite
    threshold: np.ndarray  # (lanes,) not used
    edges: np.ndarray  # (0, lanes)
    hazard: np.ndarray  # (lanes,) sum over steps of dt |f(x̂) − f(x)| / |x̂ − x|, taken from the last step of each bin
    likelihood: np.ndarray  # (lanes,) not used
    log_likelihood: np.ndarray  # (lanes,) not used


def langevin_plan(
    system: LangevinSystem, observables: Mapping[str, Callable], width: float, step: float
) -> LangevinPlan:
    """Plan for bins of one width, with a step not above `step`."""
    n = len(system.variables)
    mix, scale = None, system.diffusion
    if not callable(scale):
        b: np.ndarray = np.asarray(scale, dtype=system.dtype)
        mix, scale = (b, None) if b.ndim == 2 else (None, np.broadcast_to(b, n)[:, None])
    silent = not callable(scale) and not np.any(scale if mix is None else mix)
    m = 0 if silent else n if mix is None else mix.shape[1]
    n_sub = substeps(width, step)
    return LangevinPlan(
        np.zeros((1, n + 1), dtype=np.int64), np.zeros(n), system, mix, scale,
        2 * m if system.complex_noise else m + m % 2, tuple(observables.values()), width / n_sub, n_sub,
    )  # fmt: skip


def lanes(plan: LangevinPlan) -> int:
    """Trajectories in a batch."""
    return max(FEWEST_LANES, min(MOST_LANES, BATCH // len(plan.re)))


def multiply_adds(plan: LangevinPlan) -> float:
    """As many as take the time of a step: some tens of microseconds for NumPy itself, and functions of every number."""
    return 2e5 + 100.0 * lanes(plan) * len(plan.re)


def langevin_work(plan: LangevinPlan) -> LangevinWork:
    """Allocate the state and scratch of one batch."""
    width = lanes(plan)
    steps = min(BLOCK_STEPS, max(1, BLOCK // max(1, plan.noises)))
    return LangevinWork(
        np.zeros(len(plan.re) * width), np.zeros(len(plan.re) * width), np.zeros((4, width), dtype=np.uint64),
        np.zeros((steps * plan.noises, width)), np.array([steps]), np.ones(width), np.zeros(width),
        np.zeros((0, width)), np.zeros(width), np.ones(width), np.zeros(width),
    )  # fmt: skip


def values_of(plan: LangevinPlan, work: LangevinWork) -> np.ndarray:
    """(n, lanes), a copy."""
    re = work.re.reshape(len(plan.re), -1)
    return re + 1j * work.im.reshape(len(plan.re), -1) if plan.system.complex_noise else re.copy()


def kick(plan: LangevinPlan, work: LangevinWork, x: np.ndarray) -> Any:
    """b(x) dξ of the next step."""
    if plan.noises == 0:
        return 0.0
    steps = len(work.noise) // plan.noises
    if work.place[0] == steps:
        draw(work.words, work.noise)
        work.place[0] = 0
    first = work.place[0] * plan.noises
    w = work.noise[first : first + plan.noises]
    work.place[0] += 1
    half = plan.noises // 2
    xi = (w[:half] + 1j * w[half:]) * (0.5 * plan.dt) ** 0.5 if plan.system.complex_noise else w * plan.dt**0.5
    return spread(plan, xi, x)


def spread(plan: LangevinPlan, xi: np.ndarray, x: np.ndarray) -> Any:
    """b(x) times noises, of which there may be one more than are needed."""
    if plan.mix is not None:
        return plan.mix @ xi[: plan.mix.shape[1]]
    return (plan.scale(x) if callable(plan.scale) else plan.scale) * xi[: len(x)]


def save(plan: LangevinPlan, work: LangevinWork, index: int, expectations: np.ndarray, states: np.ndarray) -> None:
    """Observables and values at one edge of the time axis."""
    x = values_of(plan, work)
    for o, observable in enumerate(plan.observables):
        expectations[o, index] = observable(x)
    if len(states):
        states[index] = x.T


def run_langevin(
    plan: LangevinPlan, work: LangevinWork, rngs: Any, t0: float, width: float, first: int, offset: int, n_bins: int,
    save_every: int, close: bool, current: np.ndarray, saved: int, expectations: np.ndarray, states: np.ndarray,
    times: np.ndarray, owner: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """Advance a batch over `n_bins` bins; arguments and results as those of `run_ket`."""
    f, dt = plan.system.drift, plan.dt
    x = values_of(plan, work)
    for b in range(first, first + n_bins):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the driver reports it
            for _ in range(plan.n_sub):
                noise = kick(plan, work, x)
                slope = f(x)
                shift = dt * slope + noise
                later = f(x + shift)
                x, change = x + 0.5 * dt * (slope + later) + noise, later - slope
            size = np.linalg.norm(shift, axis=0)
            ratio = np.where(size > 0, dt * np.linalg.norm(change, axis=0) / size, 0.0)
            work.hazard[:] += plan.n_sub * ratio
        if save_every > 0 and (b + 1) % save_every == 0:
            work.re[:], work.im[:] = x.real.ravel(), x.imag.ravel()
            save(plan, work, saved, expectations, states)
            saved += 1
    work.re[:], work.im[:] = x.real.ravel(), x.imag.ravel()
    work.norm[:] = np.where(np.isfinite(x).all(axis=0), 1.0, np.nan)
    return times, owner, 0
