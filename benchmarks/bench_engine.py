"""The engine against QuTiP and dynamiqs at equal accuracy, and against the machine: one core, CPU time.

    python benchmarks/bench_engine.py            the figures (about twenty minutes)
    python benchmarks/bench_engine.py --quick    a look (a few minutes): fewer paths, steps and repeats
    python benchmarks/bench_engine.py --check    exit code 1 if a ratio is below what the project promises
    python benchmarks/bench_engine.py --only W2,W3

Workloads (two van der Pol oscillators: 64 states, 7 channels, κ = 1; in W3 two optomechanical cells):

    W1    conditional density matrices, two channels watched: per unit κt at a given strong error, and per step
    W1r   the same records without density matrices
    W2    all seven channels watched, state vectors
    W3    quantum jumps of 1600 states, 4 channels counted
    W3L   the same of 7440 states, the mixed regime of [S] Weiss Fig. 3; QuTiP beside us
    W4    a spin 1/2, records of 1000 trajectories

Each contender runs in its fastest layout of operators.  *Strong error*: Frobenius norm of (ρ − reference) after
0.5/κ on the same path, median of the paths; the reference is ours on a path at least 16 times finer.  QuTiP replays
the Wiener process of that path, ours the increments of its record.  *Step error*: trace norm of (average of a step over
its noise − e^{𝓛dt}), per unit of time, from a pure state.  In W3 everybody has a tolerance in place of a step, and the
strong error is the distance of the state after a time of 20 from the exact one that goes with the clicks that the
contender itself found.  A blank is an error that does not exist or cannot be had: records without density matrices have
no state to compare, dynamiqs replays no noise, a tolerance has no step.  *Limit*: time that the floating-point
operations and normal numbers of a step (W3: of a run without clicks) take at the rates measured in the same run, over
the time that it took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, product
from time import process_time
from typing import Any, NamedTuple

from racing import Contender, fastest, installed, machine, race, scientific, spread

# isort: split

import numba
import numpy as np
import qutip
import scipy.sparse as sp
from bench_speed import Case, average_ket_step, average_step, evolve, pure_state, reference, trace_norm, unwatched
from scipy.sparse.linalg import expm_multiply

import backaction as ba
from backaction.systems import LoweredSystem, liouvillian
from backaction.trajectories.counting_plan import counting_plan
from backaction.trajectories.kernels.counting import CountingPlan
from backaction.trajectories.kernels.density import DensityPlan
from backaction.trajectories.kernels.ket import LANES, KetPlan
from backaction.trajectories.kernels.normals import draw
from backaction.trajectories.plan import assign, density_plan, ket_plan
from backaction.trajectories.propagators import generator, rouchon_remainder
from backaction.trajectories.simd import fma, load4, load16, splat4, splat16, store

SPLITTING, ROUCHON = ba.Splitting(), ba.Rouchon()


class Gate(NamedTuple):
    """What is promised: `ours` is faster than `theirs` by this factor."""

    ours: str
    theirs: str
    must: float
    stretch: float


@dataclass(frozen=True)
class Run:
    """Counts that differ between the full benchmark and a quick look."""

    repeats: int
    size: int  # factor of the lengths of the runs
    paths: int  # of which the median strong error is taken
    checks: int  # paths on which the reference is checked
    layouts: slice  # of the layouts that are tried


FULL = Run(repeats=7, size=3, paths=20, checks=3, layouts=slice(None))
QUICK = Run(repeats=3, size=1, paths=5, checks=1, layouts=slice(1))


# === contenders


def initial(case: Case, pure: bool) -> np.ndarray:
    """Where every contender starts: a pure state, or the steady state."""
    return pure_state(case) if pure else case.rho


def ours(
    name: str, case: Case, level: str, scheme: ba.Splitting | ba.Rouchon, trajectories: int, long: int,
    observables: Sequence[str] = (), pure: bool = False,
) -> Contender:  # fmt: skip
    """`simulate`; with `observables` at the edges of the bins."""
    start = initial(case, pure)

    def run(steps: int) -> object:
        return ba.simulate(
            case.system, case.unraveling, case.times(steps), trajectories, initial=start, seed=1, level=level,
            scheme=scheme, step=case.dt, observables=observables, progress=False,
        )  # fmt: skip

    return Contender(name, run, trajectories, long // 10, long)


def qutip_solver(case: Case, pure: bool, method: str, dt: float, layout: str, **options: Any) -> Any:
    """SSESolver (state vectors) or SMESolver with heterodyne detection."""
    H, *operators = (A.to(layout) for A in (case.H, *case.sc_ops, *case.c_ops))
    watched, lost = operators[: len(case.sc_ops)], operators[len(case.sc_ops) :]
    options |= {"method": method, "dt": dt, "progress_bar": "", "store_states": False}
    if pure:
        return qutip.SSESolver(H, watched, True, options=options)
    return qutip.SMESolver(H, watched, True, c_ops=lost, options=options)


def qutips(
    name: str, case: Case, method: str, trajectories: int, long: int, layouts: slice,
    observables: Sequence[str] = (), pure: bool = False,
) -> Contender:  # fmt: skip
    """QuTiP in the faster of two layouts."""
    start = qutip.Qobj(initial(case, pure))
    e_ops = [qutip.Qobj(case.lowered.observables[o]) for o in observables]

    def contender(layout: str) -> Contender:
        solver = qutip_solver(
            case, pure, method, case.dt, layout, map="serial", store_measurement="end", keep_runs_results=True
        )

        def run(steps: int) -> object:
            return solver.run(start, case.times(steps), trajectories, e_ops=e_ops, seeds=1)

        return Contender(f"{name} ({layout})", run, trajectories, long // 5, long)

    tried = (("Dia", "CSR") if case.lowered.dim > 8 else ("Dense", "CSR"))[layouts]
    return fastest([contender(layout) for layout in tried])._replace(name=name)


def dynamiqs(
    name: str, case: Case, trajectories: int, long: int, layouts: slice,
    observables: Sequence[str] = (), pure: bool = False,
) -> tuple[Contender, str] | None:  # fmt: skip
    """The fastest of dynamiqs' first-order methods and layouts, and which it is; None if it is not installed."""
    if not installed("dynamiqs"):
        return None
    import dynamiqs as dq
    import jax

    dq.set_precision("double")
    dq.set_progress_meter(False)
    keys = jax.random.split(jax.random.PRNGKey(0), trajectories)
    quadratures = [factor * L for L in case.sc_ops for factor in (0.5**0.5, -1j * 0.5**0.5)]
    etas = np.array([1.0] * len(quadratures) + [0.0] * len(case.c_ops))
    methods = {
        "euler": dq.method.EulerMaruyama(dt=case.dt),
        "rouchon": dq.method.Rouchon1(dt=case.dt, normalize=False),  # by the trace only, as QuTiP does it
    }
    start = dq.asqarray(initial(case, pure).reshape(case.lowered.dim, -1))

    def contender(method: str, layout: str) -> Contender:
        def array(operator: qutip.Qobj) -> object:
            return dq.asqarray(operator.full(), layout=getattr(dq, layout))

        H, jumps = array(case.H), [array(L) for L in (*quadratures, *case.c_ops)]
        exp_ops = [array(qutip.Qobj(case.lowered.observables[o])) for o in observables] or None

        def run(steps: int) -> object:
            options = {"exp_ops": exp_ops, "save_states": False, "method": methods[method]}
            times = case.times(steps)
            if pure:
                result = dq.dssesolve(H, jumps, start, times, keys, **options)
            else:
                result = dq.dsmesolve(H, jumps, etas, start, times, keys, **options)
            return jax.block_until_ready(result.measurements)

        return Contender(f"{method}, {layout}", run, trajectories, long // 5, long)

    tried = list(product(methods, ("dia", "dense") if case.lowered.dim > 8 else ("dense", "dia")))[layouts]
    best = fastest([contender(*choice) for choice in tried])
    return best._replace(name=name), best.name


# === strong errors


@dataclass(frozen=True)
class Paths:
    """Runs on a fine grid: increments of the record, of the Wiener process, states at the end.

    `record` (path, channel, step) complex; `wiener` (path, channel, quadrature, step) with variance dt; `start` and
    `end`, the states.
    """

    case: Case
    level: str
    duration: float
    start: np.ndarray
    record: np.ndarray
    wiener: np.ndarray
    end: np.ndarray

    @property
    def steps(self) -> int:
        return self.record.shape[-1]


def matrices(states: np.ndarray) -> np.ndarray:
    """State vectors as density matrices."""
    return states if states.ndim == 3 else states[..., :, None] * states[..., None, :].conj()


def draw_paths(case: Case, level: str, duration: float, steps: int, n: int, relax: float = 1.0) -> Paths:
    """Paths of the default scheme from conditional states, such as a run of length `relax` ends with."""
    options: dict[str, Any] = {"seed": 11, "level": level, "states": True, "progress": False}
    burnt = ba.simulate(case.system, case.unraveling, [0.0, relax], n, initial=case.rho, step=case.dt, **options)
    start = burnt["state"].values[:, -1]
    edges = np.linspace(0, duration, steps + 1)
    data = ba.simulate(
        case.system,
        case.unraveling,
        edges,
        n,
        initial=start,
        step=duration,
        save_every=steps,
        **{**options, "seed": 12},
    )
    dt = duration / steps
    record = dt * np.stack([data[f"current_{c}"].values for c in case.watched], axis=1)
    paths = Paths(case, level, duration, start, record, np.empty(0), matrices(data["state"].values[:, -1]))
    seen = retrace(paths, 1, SPLITTING, observables=dict(zip(case.watched, case.sc_ops, strict=True)))
    mean = np.stack([seen[f"expect_{c}"].values for c in case.watched], axis=1)
    noise = record - 0.5 * dt * (mean[..., 1:] + mean[..., :-1])  # dZ − ⟨L⟩dt = (dW_x + i dW_y)/√2
    return replace(paths, wiener=np.sqrt(2) * np.stack([noise.real, noise.imag], axis=2))


def retrace(paths: Paths, k: int, scheme: ba.Splitting | ba.Rouchon, **options: Any) -> Any:
    """`condition` on the record in steps k times longer."""
    steps = paths.steps // k
    sums = paths.record.reshape(*paths.record.shape[:2], steps, k).sum(axis=-1)
    width = paths.duration / steps
    record = {f"current_{c}": sums[:, i] / width for i, c in enumerate(paths.case.watched)}
    record["times"] = np.linspace(0, paths.duration, steps + 1)
    return ba.condition(
        paths.case.system, paths.case.unraveling, record, initial=paths.start, level=paths.level, scheme=scheme,
        step=paths.duration, seed=1, max_error=np.inf, progress=False, **options,
    )  # fmt: skip


def distance(ends: np.ndarray, paths: Paths) -> float:
    """Median Frobenius distance to the ends of the first paths."""
    return float(np.median(np.linalg.norm(ends - paths.end[: len(ends)], axis=(-2, -1))))


def our_error(paths: Paths, k: int, scheme: ba.Splitting | ba.Rouchon) -> float:
    """Strong error of ours at a step k times as long."""
    states = retrace(paths, k, scheme, states=True, save_every=paths.steps // k)["state"].values[:, -1]
    return distance(matrices(states), paths)


def qutip_error(paths: Paths, k: int, *, method: str, n: int | None = None) -> float:
    """Strong error of QuTiP at a step k times as long, on the first n paths."""
    steps = paths.steps // k
    pure = paths.start.ndim == 2
    times = np.linspace(0, paths.duration, steps + 1)
    solver = qutip_solver(paths.case, pure, method, times[1], "Dia", store_final_state=True)
    ends = []
    for start, wiener in zip(paths.start[:n], paths.wiener[:n], strict=True):
        noise = wiener.reshape(*wiener.shape[:2], steps, k).sum(axis=-1)
        end = solver.run_from_experiment(qutip.Qobj(start), times, noise).final_state
        ends.append((end.proj() if pure else end).full())
    return distance(np.array(ends), paths)


def longest(error: Callable[[int], float], choices: Sequence[int], bound: float) -> tuple[int, float]:
    """The longest step of increasing `choices` up to which the error stays within the bound, and its error."""
    best = None
    for k in choices:
        value = error(k)
        if value > bound:
            break
        best = k, value
    if best is None:
        raise RuntimeError(f"No step holds a strong error of {bound:g}: the shortest has {value:.1e}.")
    return best


# === step errors


def cubature(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that are exact for polynomials of degree 5 in n standard normals (Stroud, 1971)."""
    points = [np.zeros(n)]
    weights = [2 / (n + 2)]
    for i, sign in product(range(n), (-1, 1)):
        points.append(sign * np.sqrt(n + 2) * np.eye(n)[i])
        weights.append((4 - n) / (2 * (n + 2) ** 2))
    for (i, j), s, t in product(combinations(range(n), 2), (-1, 1), (-1, 1)):
        points.append(np.sqrt((n + 2) / 2) * (s * np.eye(n)[i] + t * np.eye(n)[j]))
        weights.append(1 / (n + 2) ** 2)
    return np.array(points), np.array(weights)


@dataclass(frozen=True)
class Dense:
    """A case in dense matrices: H, watched operators c, lost ones."""

    H: np.ndarray
    watched: list[np.ndarray]
    lost: list[np.ndarray]
    dt: float

    @classmethod
    def of(cls, case: Case) -> Dense:
        channels = {name: L.toarray() for name, L in case.lowered.channels.items()}
        lost = [L for name, L in channels.items() if name not in case.watched]
        return cls(case.lowered.H.toarray(), [channels[c] for c in case.watched], lost, case.dt)

    def drift(self) -> np.ndarray:
        """−iH − ½ΣL†L."""
        return -1j * self.H - 0.5 * sum(L.conj().T @ L for L in self.watched + self.lost)

    def gain(self, rho: np.ndarray) -> np.ndarray:
        """dt ΣLρL† of what is lost."""
        return self.dt * sum((L @ rho @ L.conj().T for L in self.lost), 0 * rho)

    def quadratures(self) -> list[np.ndarray]:
        """Heterodyne detection as homodyne detection of two operators, as QuTiP and dynamiqs do it."""
        return [factor * c for c in self.watched for factor in (0.5**0.5, -1j * 0.5**0.5)]


def average(step: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """E over n standard normals of the state after a step, normalised."""
    points, weights = cubature(n)
    after = (step(x) for x in points)
    return sum((w * rho / np.trace(rho).real for w, rho in zip(weights, after, strict=True)), np.zeros(()))


def homodyne_increments(model: Dense, operators: list[np.ndarray], rho: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dY = ⟨c + c†⟩dt + dW."""
    means = np.array([2 * np.trace(c @ rho).real for c in operators])
    return means * model.dt + np.sqrt(model.dt) * x


def rouchon_average(case: Case, rho: np.ndarray, second: bool) -> np.ndarray:
    """Average step of QuTiP's rouchon (second order in the increments) or dynamiqs' Rouchon1 (first)."""
    model = Dense.of(case)
    c = model.quadratures()
    pairs = [(i, j) for i in range(len(c)) for j in range(i + 1)] if second else []
    products = [c[j] @ c[i] for i, j in pairs]
    K0 = np.eye(len(rho)) + model.dt * model.drift()
    gain = model.gain(rho)
    terms = np.array(c + products)

    def step(x: np.ndarray) -> np.ndarray:
        y = homodyne_increments(model, c, rho, x)
        squares = [0.5 * (y[i] ** 2 - model.dt) if i == j else y[i] * y[j] for i, j in pairs]
        M = K0 + np.tensordot(np.concatenate([y, squares]), terms, 1)
        return M @ rho @ M.conj().T + gain

    return average(step, len(c))


def euler_ket_average(case: Case, rho: np.ndarray) -> np.ndarray:
    """Average Euler step of the equation for pure states."""
    model = Dense.of(case)
    c = model.quadratures()
    psi = np.linalg.eigh(rho)[1][:, -1]
    images = np.array([A @ psi for A in c])
    means = 2 * (images @ psi.conj()).real
    drift = model.drift() @ psi + 0.5 * means @ images - 0.125 * (means @ means) * psi

    def step(x: np.ndarray) -> np.ndarray:
        dW = np.sqrt(model.dt) * x
        after = psi + model.dt * drift + dW @ images - 0.5 * (means @ dW) * psi
        return np.outer(after, after.conj())

    return average(step, len(c))


def merged_average(case: Case, rho: np.ndarray, level: str) -> np.ndarray:
    """Average step of `Rouchon`: increments of first order at `ket`, with their variances at `density`."""
    model = Dense.of(case)
    channels = [(case.lowered.channels[name], 1) for name in case.watched]
    at_density = level == "density"
    unread = [L for name, L in case.lowered.channels.items() if name not in case.watched]
    K0 = rouchon_remainder(channels, model.dt, *((unread, case.lowered.H) if at_density else ())).toarray()
    c = np.array(model.watched)

    def measured(state: np.ndarray) -> np.ndarray:
        means = [tuple(np.trace(A @ state) for A in (a, a.conj().T @ a, 0.5 * a @ a)) for a in model.watched]
        gain = model.gain(state) if at_density else 0.0

        def step(x: np.ndarray) -> np.ndarray:
            if at_density:
                z = [
                    reference.heterodyne(m, g.real, q, model.dt, *x[2 * i : 2 * i + 2])[1]
                    for i, (m, g, q) in enumerate(means)
                ]
            else:
                z = [
                    np.conj(m * model.dt + np.sqrt(0.5 * model.dt) * (x[2 * i] + 1j * x[2 * i + 1]))
                    for i, (m, _, _) in enumerate(means)
                ]
            X = np.tensordot(z, c, 1)
            M = K0 + X + 0.5 * X @ X
            return M @ state @ M.conj().T + gain

        return average(step, 2 * len(c))

    if at_density:
        return measured(rho)
    P = unwatched(case)
    weights, vectors = np.linalg.eigh(evolve(P, rho, 0.5 * model.dt))
    after = sum(
        p * (measured(np.outer(v, v.conj())) if p > 1e-9 else np.outer(v, v.conj()))  # those are left alone: O(dt³)
        for p, v in zip(weights, vectors.T, strict=True)
    )
    return evolve(P, after, 0.5 * model.dt)


def splitting_pair(case: Case, rho: np.ndarray) -> np.ndarray:
    """Average of two steps of `Splitting`, channels in one order and in the other; every outcome has its own law."""
    P = unwatched(case)
    channels = [case.lowered.channels[name].toarray() for name in case.watched]
    sets = [[sp.csr_array(k) for k in reference.kraus(c, case.dt)] for c in channels]
    weights = (1.0, case.dt, 2 * case.dt**2)
    for order in (sets, sets[::-1]):
        rho = evolve(P, rho, 0.5 * case.dt)
        for K in order:
            rho = sum(g * (k @ rho @ k.conj().T) for g, k in zip(weights, K, strict=True))
        rho = evolve(P, rho, 0.5 * case.dt)
    return rho


def euler_average(case: Case, rho: np.ndarray) -> np.ndarray:
    """Average Euler step of the equation for density matrices."""
    return rho + case.dt * (liouvillian(case.lowered) @ rho.reshape(-1)).reshape(rho.shape)


def step_error(case: Case, average_of: Callable[[Case, np.ndarray], np.ndarray]) -> float:
    """Trace norm of (average step − e^{𝓛dt}) per unit of time; of two steps where their order alternates."""
    psi = pure_state(case)
    rho = np.outer(psi, psi.conj())
    t = case.dt * (2 if average_of is splitting_pair else 1)
    return trace_norm(average_of(case, rho) - evolve(liouvillian(case.lowered), rho, t)) / t


def density_splitting(case: Case, rho: np.ndarray) -> np.ndarray:
    return average_step(case.lowered, case.unraveling, case.dt, rho, nodes=3)


def ket_splitting(case: Case, rho: np.ndarray) -> np.ndarray:
    return average_ket_step(case, np.linalg.eigh(rho)[1][:, -1])


# === the machine's limit


@numba.njit(fastmath={"contract"})
def fma_wide(out, n):  # type: ignore[no-untyped-def]
    """5 independent sums of 16: 160 n operations."""
    u, x = load16(out, 0), splat16(0.5)
    a = b = c = d = e = u
    for _ in range(n):
        a = fma(x, a, u)
        b = fma(x, b, u)
        c = fma(x, c, u)
        d = fma(x, d, u)
        e = fma(x, e, u)
    for i, v in enumerate((a, b, c, d, e)):
        store(out, 16 * i, v)


@numba.njit(fastmath={"contract"})
def fma_narrow(out, n):  # type: ignore[no-untyped-def]
    """10 independent sums of 4: 80 n operations."""
    u, x = load4(out, 0), splat4(0.5)
    a = b = c = d = e = f = g = h = i = j = u
    for _ in range(n):
        a = fma(x, a, u)
        b = fma(x, b, u)
        c = fma(x, c, u)
        d = fma(x, d, u)
        e = fma(x, e, u)
        f = fma(x, f, u)
        g = fma(x, g, u)
        h = fma(x, h, u)
        i = fma(x, i, u)
        j = fma(x, j, u)
    for k, v in enumerate((a, b, c, d, e, f, g, h, i, j)):
        store(out, 4 * k, v)


@dataclass(frozen=True)
class Machine:
    """Floating-point operations per second, and seconds per normal number."""

    flops: float
    normal: float

    def limit(self, operations: float, numbers: float) -> float:
        """Seconds that so many operations and normal numbers take at least."""
        return operations / self.flops + numbers * self.normal


def measure_machine(repeats: int, n: int = 1_000_000) -> Machine:
    """Rates of this core: the best of the repeats, since they bound what is possible."""
    rates, times = [], []
    for kernel, operations in ((fma_wide, 160 * n), (fma_narrow, 80 * n)):
        kernel(np.ones(80), 1)
        for _ in range(repeats):
            start = process_time()
            kernel(np.ones(80), n)
            rates.append(operations / (process_time() - start))
    words = np.random.default_rng(0).integers(1, 2**63, (4, LANES)).astype(np.uint64)
    block = np.empty((256, LANES))  # as the kernels draw them
    draw(words, block)
    for _ in range(repeats):
        start = process_time()
        for _ in range(n // block.size):
            draw(words, block)
        times.append((process_time() - start) / (n // block.size * block.size))
    return Machine(max(rates), min(times))


REAL, COMPLEX = 4, 8  # operations of a real or complex number times a complex one, added to a sum


def cost_of(im: np.ndarray) -> np.ndarray:
    """Operations of each stored element on one complex number."""
    return np.where(im == 0.0, REAL, COMPLEX)


def element_costs(plan: KetPlan | DensityPlan, operator: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, column, operations on one complex number) of the elements of an operator."""
    ptr = plan.ptr[operator]
    rows = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    return rows, plan.col[ptr[0] : ptr[-1]], cost_of(plan.im[ptr[0] : ptr[-1]])


def applied(plan: KetPlan | DensityPlan, operator: int) -> float:
    """Operations of an operator on a vector (or of a mean value of it in a density matrix)."""
    return float(element_costs(plan, operator)[2].sum())


def per_bin(
    plan: KetPlan | DensityPlan, whole: Sequence[int], half: Sequence[int], cost: Callable[[int], float]
) -> float:
    """Operations per step of the slots P: n − 1 whole ones and two halves in a bin of n steps."""
    n = plan.n_sub
    return ((n - 1) * sum(map(cost, whole)) + 2 * sum(map(cost, half))) / n


def ket_operations(plan: KetPlan) -> float:
    """Operations per step of one state vector, counted from the plan's elements."""
    d = plan.ptr.shape[1] - 1
    norm = 4 * d
    slot = per_bin(plan, [plan.slots[0]], [plan.slots[1]], lambda o: applied(plan, o) + norm)
    if plan.merged:
        overlaps = COMPLEX * len(plan.overlap_row) + cost_of(plan.mean_weights[:, 2]).sum()
        X = COMPLEX * len(plan.row_col)
        once = cost_of(plan.class_im).sum() + REAL * d + 2 * d + norm
        return float(slot + overlaps + 2 * X + applied(plan, plan.kraus[0, 0]) + once)
    inner = (3 * COMPLEX + 2 * REAL) * d  # ⟨K0|K1⟩, ⟨K1|K2⟩, ⟨K0|K2⟩, ⟨K1|K1⟩ and the new norm
    update = 2 * COMPLEX * d
    return slot + sum(sum(applied(plan, o) for o in K) + inner + update for K in plan.kraus)


def counting_operations(plan: CountingPlan) -> float:
    """Operations per unit of time of one state vector between clicks: a product with 2Y per order of the series."""
    stored = slice(plan.ptr[0, 0], plan.ptr[0, -1])
    product = float(np.where((plan.re[stored] == 0) | (plan.im[stored] == 0), REAL, COMPLEX).sum())
    product += float(np.where(plan.diagonal.all(axis=0), COMPLEX, REAL).sum())
    return (len(plan.reach) - 1) / plan.dt * (product + REAL * plan.diagonal.shape[1])


def sandwiched(rows: np.ndarray, columns: np.ndarray, costs: np.ndarray, lowest: np.ndarray) -> float:
    """Operations of AρA† above the diagonal: AX in the columns that are read, then row by row times A†."""
    d = len(lowest)
    return float((costs * (d - np.minimum(lowest[rows], d))).sum() + (costs * (rows + 1)).sum())


def density_operations(plan: DensityPlan) -> float:
    """Operations per step of one density matrix, counted from the plan's elements."""
    d = plan.ptr.shape[1] - 1
    triangle = d * (d + 1) / 2

    def slot(operator: int) -> float:
        return sandwiched(*element_costs(plan, operator), plan.slot_lowest)

    weights = REAL * np.count_nonzero(plan.gain_re) + REAL * np.count_nonzero(plan.gain_im) + REAL * triangle
    P = (
        0.0
        if plan.merged
        else per_bin(plan, list(plan.slots[0]), list(plan.slots[1]), slot) + 2 * weights * (1 + 1 / plan.n_sub)
    )
    D = float(sum(applied(plan, o) for o in plan.moments.ravel()))
    for channel in range(len(plan.pattern_ptr)):
        ptr = plan.pattern_ptr[channel]
        rows = np.repeat(np.arange(d), np.diff(ptr))
        columns = plan.pattern_col[ptr[0] : ptr[-1]]
        D += sandwiched(rows, columns, np.full(len(rows), COMPLEX), plan.pattern_lowest[channel])
        D += 2 * COMPLEX * len(rows) if not plan.merged else 0.0
    if plan.merged:
        D += COMPLEX * len(plan.fill_re) + weights
    return P + D


def work_per_step(case: Case, level: str, scheme: ba.Splitting | ba.Rouchon) -> tuple[float, float]:
    """(operations, normal numbers) per step and trajectory."""
    width = case.bins_of * case.dt
    plan: DensityPlan | KetPlan
    if level == "density":
        plan = density_plan(
            case.lowered, assign(case.lowered, case.unraveling, hidden=False), [], width, case.dt, scheme
        )
        operations = density_operations(plan)
    else:
        plan = ket_plan(case.lowered, assign(case.lowered, case.unraveling, hidden=True), [], width, case.dt, scheme)
        operations = ket_operations(plan)
    return operations, float(np.sum(1 + plan.kinds))


# === the tables


@dataclass(frozen=True)
class Row:
    """A contender with its errors and, for ours, the least time of a step."""

    contender: Contender
    step: float
    strong: float | None = None
    weak: float | None = None
    limit: float | None = None


class Results:
    """Prints the tables and collects what the gates say."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.kept: list[bool] = []

    def table(self, title: str, rows: Sequence[Row], gates: Sequence[Gate], per: str = "step") -> None:
        """Race the rows; per "step", per "unit" of time at steps that differ, or per "run" of so many steps."""
        measured = race([r.contender for r in rows], self.repeats)
        scale = {r.contender.name: {"step": 1.0, "unit": 1 / r.step, "run": r.step}[per] for r in rows}
        cost = {name: [c * scale[name] for c in values] for name, values in measured.items()}
        median = {name: statistics.median(values) for name, values in cost.items()}
        print(f"\n{title}")
        step = "time" if per == "run" else "step"
        head = f"{'':50}{step:>9}{'per ' + per:>11}{'spread':>8}{'strong err.':>13}{'step err.':>11}{'limit':>7}"
        print(head)
        for r in rows:
            c = r.contender
            floor = "" if r.limit is None else f"{r.limit * scale[c.name] / median[c.name]:.0%}"
            print(
                f"{c.name + f', {c.trajectories} traj.':50}{r.step:>9.3g}{scientific(median[c.name]):>11}"
                f"{spread(cost[c.name]):>8.0%}{number(r.strong):>13}{number(r.weak):>11}{floor:>7}"
            )
        for g in gates:
            self.gate(g, median)

    def gate(self, g: Gate, median: dict[str, float]) -> None:
        """One ratio beside what is promised."""
        if g.theirs not in median:
            print(f"  {g.ours} against {g.theirs}: missing")
            return
        if min(median[g.theirs], median[g.ours]) <= 0:
            self.unmeasured(f"{g.ours} against {g.theirs}")
            return
        ratio = median[g.theirs] / median[g.ours]
        self.kept.append(ratio >= g.must)
        verdict = "stretch" if ratio >= g.stretch else "ok" if ratio >= g.must else "MISSED"
        print(f"  {g.ours} against {g.theirs}: {ratio:.3g} (must {g.must:g}, stretch {g.stretch:g})  {verdict}")

    def unmeasured(self, what: str) -> None:
        """A long run that took no longer than the short one: the machine was too busy to tell."""
        self.kept.append(False)
        print(f"  {what}: not measured, the noise of the times exceeds them; run again on a quiet machine")

    def uniform(self, title: str, per_element: dict[str, float], bound: float) -> None:
        """Time per nonzero of random systems relative to the named one."""
        if min(per_element.values()) <= 0:
            self.unmeasured(title)
            return
        ratios = {name: value / per_element["named"] for name, value in per_element.items() if name != "named"}
        self.kept.append(max(ratios.values()) <= bound)
        verdict = "ok" if self.kept[-1] else "MISSED"
        listed = ", ".join(f"{r:.2f}" for r in ratios.values())
        print(f"  {title}: {listed} (must ≤ {bound:g})  {verdict}")


def number(value: float | None) -> str:
    """An error, or nothing where there is none to give."""
    return "" if value is None else f"{value:.1e}"


def our_row(
    contender: Contender, case: Case, level: str, scheme: ba.Splitting | ba.Rouchon, rates: Machine,
    strong: float | None, weak: float,
) -> Row:  # fmt: skip
    """A row of ours, with the least time that its step can take."""
    return Row(contender, case.dt, strong, weak, rates.limit(*work_per_step(case, level, scheme)))


def at_equal_error(case: Case, paths: Paths, run: Run, rates: Machine, results: Results) -> None:
    """W1: conditional density matrices per unit of time, at the longest steps that hold a strong error."""
    bound = 3e-4
    choices = [k for k in range(16, paths.steps // 10) if paths.steps % k == 0]
    own_k, own = longest(lambda k: our_error(paths, k, SPLITTING), choices, bound)
    thousandth = round(1e-3 * paths.steps / paths.duration)
    their_error = cache(partial(qutip_error, paths, method="platen"))
    start = choices.index(thousandth)  # it is known to be near: short steps take minutes
    while start > 0 and their_error(choices[start]) > bound:
        start -= 1
    their_k, their = longest(their_error, choices[start:], bound)
    h = paths.duration / paths.steps
    finest = thousandth // 8
    fine = qutip_error(paths, finest, method="platen", n=run.checks)
    print(
        f"\nReference of the strong errors: step {h:.2g} (1/{own_k} of ours, 1/{their_k} of QuTiP's); "
        f"QuTiP platen at {finest * h:.2g} on the same Wiener paths differs by {fine:.1e}, "
        f"`condition` at one step per bin by {our_error(paths, 1, SPLITTING):.1e}"
    )
    at = replace(case, dt=own_k * h)
    own_run = ours("backaction density, Splitting", at, "density", SPLITTING, 4, 800 * run.size)
    their_run = qutips(
        "qutip SMESolver, platen", replace(case, dt=their_k * h), "platen", 1, 30 * run.size, run.layouts
    )
    rows = [
        our_row(own_run, at, "density", SPLITTING, rates, own, step_error(at, density_splitting)),
        Row(their_run, their_k * h, their),
    ]
    results.table(
        f"W1 at strong error ≤ {bound:g}: {case.title}", rows, [Gate(own_run.name, their_run.name, 30, 60)], per="unit"
    )


def per_step(case: Case, paths: Paths, run: Run, rates: Machine, results: Results) -> None:
    """W1 and W1r: per step of 1e-3."""
    k = round(case.dt * paths.steps / paths.duration)
    rows = []
    for scheme, weak in ((ROUCHON, partial(merged_average, level="density")), (SPLITTING, density_splitting)):
        name = f"backaction density, {type(scheme).__name__}"
        c = ours(name, case, "density", scheme, 4, 800 * run.size, observables=["n_a"])
        strong = our_error(paths, k, scheme)
        rows.append(our_row(c, case, "density", scheme, rates, strong, step_error(case, weak)))
    for scheme, weak in ((ROUCHON, partial(merged_average, level="ket")), (SPLITTING, ket_splitting)):
        name = f"backaction records, {type(scheme).__name__}"
        c = ours(name, case, "auto", scheme, 64, 2000 * run.size)
        rows.append(our_row(c, case, "ket", scheme, rates, None, step_error(case, weak)))
    for method, weak in (("euler", euler_average), ("rouchon", partial(rouchon_average, second=True))):
        c = qutips(f"qutip SMESolver, {method}", case, method, 1, 100 * run.size, run.layouts, observables=["n_a"])
        rows.append(Row(c, case.dt, qutip_error(paths, k, method=method), step_error(case, weak)))
    other = dynamiqs("dynamiqs dsmesolve", case, 4, 100 * run.size, run.layouts, observables=["n_a"])
    if other:
        weak = euler_average if other[1].startswith("euler") else partial(rouchon_average, second=False)
        rows.append(Row(other[0], case.dt, None, step_error(case, weak)))
    results.table(
        f"W1 and W1r per step: {case.title}{chosen(other)}",
        rows,
        [
            Gate("backaction density, Rouchon", "qutip SMESolver, euler", 6, 10),
            Gate("backaction density, Rouchon", "dynamiqs dsmesolve", 6, 11),
            Gate("backaction records, Rouchon", "qutip SMESolver, euler", 300, 450),
        ],
    )


def chosen(other: tuple[Any, ...] | None) -> str:
    """Which of dynamiqs' methods and layouts runs."""
    return f" (dynamiqs: {other[1]})" if other else " (dynamiqs: missing, pip install dynamiqs)"


def vectors(case: Case, run: Run, rates: Machine, results: Results) -> None:
    """W2: state vectors."""
    paths = draw_paths(case, "ket", 0.5, 8000, run.paths)
    k = round(case.dt * paths.steps / paths.duration)
    rows = []
    for scheme, weak in ((ROUCHON, partial(merged_average, level="ket")), (SPLITTING, splitting_pair)):
        c = ours(f"backaction ket, {type(scheme).__name__}", case, "ket", scheme, 64, 1500 * run.size, pure=True)
        strong = our_error(paths, k, scheme)
        rows.append(our_row(c, case, "ket", scheme, rates, strong, step_error(case, weak)))
    c = qutips("qutip SSESolver, rouchon", case, "rouchon", 1, 200 * run.size, run.layouts, pure=True)
    theirs = step_error(case, partial(rouchon_average, second=True))
    rows.append(Row(c, case.dt, qutip_error(paths, k, method="rouchon"), theirs))
    other = dynamiqs("dynamiqs dssesolve", case, 32, 100 * run.size, run.layouts, pure=True)
    if other:
        average_of = euler_ket_average if other[1].startswith("euler") else partial(rouchon_average, second=False)
        rows.append(Row(other[0], case.dt, None, step_error(case, average_of)))
    gates = [
        Gate("backaction ket, Rouchon", "qutip SSESolver, rouchon", 245, 330),
        Gate("backaction ket, Rouchon", "dynamiqs dssesolve", 25, 33),
    ]
    title = f"W2: {case.title}, a record per {case.bins_of} step(s){chosen(other)}"
    results.table(title, rows, gates if case.bins_of == 1 else [])  # promised for a record per step


def spins(case: Case, run: Run, rates: Machine, results: Results) -> None:
    """W4: records of many small systems."""
    schemes = ((SPLITTING, ket_splitting), (ROUCHON, partial(merged_average, level="ket")))
    rows = []
    for scheme, weak in schemes:
        c = ours(f"backaction records, {type(scheme).__name__}", case, "auto", scheme, 1000, 10000 * run.size)
        rows.append(our_row(c, case, "ket", scheme, rates, None, step_error(case, weak)))
    c = qutips("qutip SMESolver, euler", case, "euler", 20, 200 * run.size, run.layouts)
    rows.append(Row(c, case.dt, None, step_error(case, euler_average)))
    other = dynamiqs("dynamiqs dsmesolve", case, 1000, 100 * run.size, run.layouts)
    if other:
        average_of = euler_average if other[1].startswith("euler") else partial(rouchon_average, second=False)
        rows.append(Row(other[0], case.dt, None, step_error(case, average_of)))
    gates = [
        Gate("backaction records, Rouchon", "qutip SMESolver, euler", 1900, 2400),
        Gate("backaction records, Rouchon", "dynamiqs dsmesolve", 17, 22),
    ]
    title = f"W4: {case.title}, a record per {case.bins_of} step(s){chosen(other)}"
    results.table(title, rows, gates if case.bins_of == 1 else [])  # promised for a record per step


# === W3: counting


def optomechanical_cells(photons: int = 4, phonons: int = 10) -> ba.System:
    """Two cells of so many levels; units of the mechanical frequency, [S] with Δ = 0.15, g₀ = 1, α_L = 0.09."""
    H, channels, mechanics = ba.Boson("a1", photons).n * 0, {}, []
    for j in (1, 2):
        a, b = ba.Boson(f"a{j}", photons), ba.Boson(f"b{j}", phonons)
        H = H - 0.15 * a.n + b.n - a.n * (b.a + b.a.dag()) + 0.09 * (a.a + a.a.dag())
        channels |= {f"light_{j}": np.sqrt(0.3) * a.a, f"phonons_{j}": np.sqrt(0.015) * b.a}
        mechanics.append(b.a)
    hop = mechanics[0].dag() * mechanics[1]
    return ba.System(H - 0.15 * (hop + hop.dag()), channels=channels)


def optomechanical_pair() -> ba.System:
    """The pair of cells in its mixed regime, [S] Weiss Fig. 3 (c), with sums of photons and of phonons cut off."""
    basis = ba.Basis(
        levels={"a1": 5, "a2": 5, "b1": 31, "b2": 31}, totals=[(("a1", "a2"), 4), (("b1", "b2"), 30)]
    )  # fmt: skip
    return ba.systems.optomechanical_pair(
        g0=0.3, kappa=0.3, drive=0.3, detuning=0.15, gamma=0.015, coupling=0.15, basis=basis
    )


class Ended(NamedTuple):
    """A run of one trajectory: clicks (time, channel), in order of time, and the last state."""

    clicks: list[tuple[float, int]]
    state: np.ndarray


def replay_error(lowered: LoweredSystem, duration: float, runs: Sequence[Ended]) -> float:
    """Largest distance, up to a phase, of the last states from the exact ones along the same clicks."""
    jumps = list(lowered.channels.values())
    A = generator(lowered.H, jumps)
    worst = 0.0
    for run in runs:
        psi, t = lowered.state().astype(complex), 0.0
        for time, channel in [*run.clicks, (duration, -1)]:
            psi = expm_multiply(A * (time - t), psi, traceA=A.trace() * (time - t))
            psi = psi if channel < 0 else jumps[channel] @ psi
            psi, t = psi / np.linalg.norm(psi), time
        state = run.state / np.linalg.norm(run.state)
        overlap = np.vdot(psi, state)
        worst = max(worst, float(np.linalg.norm(state * abs(overlap) / overlap - psi)))
    return worst


SHORT = 20.0  # of the runs whose error is taken


def our_counting(lowered: LoweredSystem, precision: str, trajectories: int, long: int) -> tuple[Contender, float]:
    """`simulate`, records only; and its error."""

    def simulate(duration: float, n: int, states: bool = False) -> Any:
        return ba.simulate(
            lowered.system, ba.QuantumJumps(*lowered.channels), [0, duration], n, seed=1,
            level=ba.Ket(precision=precision), states=states, progress=False,
        )  # fmt: skip

    data = simulate(SHORT, 4, states=True)
    ended = []
    for k in range(4):
        clicks = []
        for channel, name in enumerate(lowered.channels):
            counts = data[f"click_count_{name}"].values
            mine = slice(counts[:k].sum(), counts[: k + 1].sum())
            clicks += [(float(t), channel) for t in data[f"click_time_{name}"].values[mine]]
        ended.append(Ended(sorted(clicks), data["state"].values[k, -1]))
    contender = Contender(
        f"backaction ket, {precision}", lambda steps: simulate(float(steps), trajectories), trajectories, 1, long
    )
    return contender, replay_error(lowered, SHORT, ended)


def qutip_counting(lowered: LoweredSystem, method: str, long: int, layouts: slice) -> tuple[Contender, float]:
    """MCSolver at its default tolerances, in the faster of two layouts; and its error."""
    start = qutip.Qobj(lowered.state())

    def solver(layout: str, **options: Any) -> Any:
        H, *jumps = (qutip.Qobj(sp.csr_matrix(A)).to(layout) for A in (lowered.H, *lowered.channels.values()))
        options |= {"method": method, "progress_bar": "", "map": "serial", "keep_runs_results": True}
        options |= {"store_states": False, "nsteps": 100_000}  # adams fails with its default number of steps
        return qutip.MCSolver(H, jumps, options=options)

    def contender(layout: str) -> Contender:
        own = solver(layout)
        return Contender(layout, lambda steps: own.run(start, [0, steps], 2, seeds=1), 2, 1, long)

    result = solver("CSR", store_final_state=True).run(start, [0, SHORT], 4, seeds=1)
    ended = [Ended([(float(t), c) for t, c in r.collapse], r.final_state.full()[:, 0]) for r in result.trajectories]
    best = fastest([contender(layout) for layout in ("Dia", "CSR")[layouts]])
    return best._replace(name=f"qutip MCSolver, {method}"), replay_error(lowered, SHORT, ended)


def dynamiqs_counting(
    lowered: LoweredSystem, trajectories: int, long: int, layouts: slice
) -> tuple[Contender, str, float] | None:
    """jssesolve with exact click times, the fastest of its methods, its name and error; None if not installed."""
    if not installed("dynamiqs"):
        return None
    import dynamiqs as dq
    import jax
    import optimistix

    dq.set_precision("double")
    dq.set_progress_meter(False)
    H, *jumps = (dq.asqarray(A.toarray(), layout=dq.dia) for A in (lowered.H, *lowered.channels.values()))
    start = dq.asqarray(lowered.state().reshape(-1, 1))
    methods = {"tsit5": dq.method.Tsit5, "dopri5": dq.method.Dopri5, "dopri8": dq.method.Dopri8}

    def solve(method: str, duration: float, n: int) -> Any:
        event = dq.method.Event(methods[method](), root_finder=optimistix.Newton(1e-6, 1e-6))
        keys = jax.random.split(jax.random.PRNGKey(0), n)
        result = dq.jssesolve(
            H, jumps, start, np.array([0.0, duration]), keys, method=event, save_states=False, nmaxclick=500
        )
        return jax.block_until_ready(result.clicktimes), result.final_state.to_numpy()

    def contender(method: str) -> Contender:
        return Contender(method, lambda steps: solve(method, float(steps), trajectories), trajectories, 1, long)

    best = fastest([contender(method) for method in list(methods)[layouts]])
    times, states = solve(best.name, SHORT, 4)
    ended = []
    for own, state in zip(np.asarray(times), states, strict=True):
        clicks = [(float(t), channel) for channel, row in enumerate(own) for t in row[np.isfinite(row)]]
        ended.append(Ended(sorted(clicks), state[:, 0]))
    return best._replace(name="dynamiqs jssesolve"), f"{best.name}, dia", replay_error(lowered, SHORT, ended)


def cells(system: ba.System, duration: int, run: Run, rates: Machine, results: Results, promised: bool) -> None:
    """Quantum jumps in a large Hilbert space; long runs less very short ones."""
    lowered = system.lower()
    detectors = ba.QuantumJumps(*lowered.channels)
    rows = []
    for precision, speed in (("double", 1.0), ("single", 2.0)):
        c, error = our_counting(lowered, precision, 32, duration)
        plan = counting_plan(lowered, assign(lowered, detectors, hidden=True), [], duration, precision)
        rows.append(Row(c, duration, error, limit=rates.limit(counting_operations(plan) / speed, 0)))
    for method in ("vern7", "adams"):  # the default of QuTiP 5.3, and the one before
        c, error = qutip_counting(lowered, method, duration, run.layouts)
        rows.append(Row(c, duration, error))
    # in a batch, all wait for the last
    other = dynamiqs_counting(lowered, 1, duration, run.layouts) if promised else None
    if other:
        rows.append(Row(other[0], duration, other[2]))
    gates = [
        Gate("backaction ket, double", "qutip MCSolver, vern7", 27, 60),
        Gate("backaction ket, double", "dynamiqs jssesolve", 12, 28),
    ]
    note = chosen(other) if promised else ""
    results.table(
        f"Two optomechanical cells, d = {lowered.dim}, clicks of all channels in T = {duration}{note}",
        rows,
        gates if promised else [],
        per="run",
    )


# === random systems


def scrambled(A: sp.csr_array, rng: np.random.Generator, even: bool) -> sp.csr_array:
    """Random complex elements on the diagonals of A: `even`, alike along each; else those of A times random numbers."""
    factor = rng.uniform(0.5, 1.5, A.shape) * np.exp(2j * np.pi * rng.random(A.shape))
    if not even:
        return A.multiply(factor).tocsr()
    coo = A.tocoo()
    out = np.zeros(A.shape, dtype=complex)
    for offset in np.unique(coo.col - coo.row):
        size = np.sqrt(np.mean(np.abs(coo.data[coo.col - coo.row == offset]) ** 2))
        out += size * np.diag(np.diag(factor, offset), offset)
    return sp.csr_array(out)


def random_like(system: ba.System, seed: int, even: bool) -> ba.System:
    """`scrambled` operators, H Hermitian."""
    rng = np.random.default_rng(seed)
    lowered = system.lower()
    H = scrambled(lowered.H, rng, even)
    H = 0.5 * (H + H.conj().T)
    channels = {name: qutip.Qobj(scrambled(L, rng, even).toarray()) for name, L in lowered.channels.items()}
    return ba.System(qutip.Qobj(H.toarray()), channels=channels)


def nonzeros(system: ba.System) -> int:
    """Nonzeros of H and the channels."""
    lowered = system.lower()
    return lowered.H.nnz + sum(L.nnz for L in lowered.channels.values())


class Uniform(NamedTuple):
    """A workload whose time per nonzero should not depend on the system: `integrate(system, steps)`."""

    title: str
    system: ba.System
    integrate: Callable[[ba.System, int], object]
    trajectories: int
    long: int
    adapt: Callable[[ba.System], ba.System] = lambda system: system  # of the random ones


def diffusive(title: str, case: Case, level: str, scheme: ba.Splitting | ba.Rouchon, n: int, long: int) -> Uniform:
    """A workload with steps, from the ground state."""
    ground = case.lowered.state()

    def integrate(system: ba.System, steps: int) -> object:
        return ba.simulate(
            system, case.unraveling, case.times(steps), n, initial=ground, seed=1, level=level, scheme=scheme,
            step=case.dt, progress=False,
        )  # fmt: skip

    return Uniform(title, case.system, integrate, n, long)


def counted(title: str, system: ba.System, n: int, long: int) -> Uniform:
    """Quantum jumps, long runs less short ones.  No random system clicks more often: a click takes time of its own."""
    ground = system.lower().state()

    def integrate(system: ba.System, duration: int) -> Any:
        detectors = ba.QuantumJumps(*system.channels)
        return ba.simulate(
            system, detectors, [0, duration], n, initial=ground, seed=1, level=ba.Ket(), progress=False
        )  # fmt: skip

    def clicks(system: ba.System) -> float:
        data = integrate(system, long)
        return sum(float(data[f"click_count_{name}"].mean()) for name in system.channels)

    wanted = clicks(system)

    def adapt(random: ba.System) -> ba.System:
        for _ in range(3):
            lowered = random.lower()
            factor = min(1.0, np.sqrt(wanted / clicks(random)))
            scaled = {name: qutip.Qobj((factor * L).toarray()) for name, L in lowered.channels.items()}
            random = ba.System(qutip.Qobj(lowered.H.toarray()), channels=scaled)
        return random

    return Uniform(title, system, integrate, n, long, adapt)


def generality(workloads: Sequence[Uniform], run: Run, results: Results) -> None:
    """Time per nonzero of five random systems of the same shape, relative to the named one; two kinds of random.

    Where elements are alike along a diagonal, low levels are pumped and lost as fast as high ones: such systems jump
    more than twice as often as the named one.
    """
    for even, kind in ((False, "elements times random ones"), (True, "elements alike along every diagonal")):
        print(f"\nRandom complex systems, {kind}: time per nonzero relative to the named system")
        for w in workloads:
            systems = {"named": w.system} | {f"random {i}": w.adapt(random_like(w.system, i, even)) for i in range(5)}
            contenders = [
                Contender(name, partial(w.integrate, system), w.trajectories, w.long // 10, w.long)
                for name, system in systems.items()
            ]
            cost = race(contenders, run.repeats)
            per_element = {name: statistics.median(cost[name]) / nonzeros(systems[name]) for name in systems}
            results.uniform(w.title, per_element, 1.5)


WORKLOADS = ("W1", "W1r", "W2", "W3", "W3L", "W4", "generality")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer paths, steps and repeats; one layout of each")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promised ratio is missed")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, separated by commas (default: all)")
    arguments = parser.parse_args()
    run = QUICK if arguments.quick else FULL
    only = set(arguments.only.split(","))
    if unknown := only - set(WORKLOADS):
        parser.error(f"argument --only must name some of {', '.join(WORKLOADS)}, but has {', '.join(sorted(unknown))}")
    results = Results(run.repeats)
    warnings.simplefilter("ignore", RuntimeWarning)  # edges of few levels, and steps that are part of the comparison

    print(machine("backaction", "numpy", "scipy", "numba", "qutip", "dynamiqs", "jax"))
    rates = measure_machine(run.repeats)
    print(f"{rates.flops / 1e9:.3g} GF/s in double precision, {scientific(rates.normal)} per normal number")
    oscillators = ba.systems.two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=2, detuning=0.5, levels=8)
    two = Case("two van der Pol oscillators, both losses by heterodyne", oscillators, ("loss_a", "loss_b"), 1e-3, 10,
               "n_a", 1.0)  # fmt: skip
    all_seven = replace(
        two, title="two van der Pol oscillators, all channels by heterodyne", watched=tuple(oscillators.channels)
    )
    if only & {"W1", "W1r"}:
        paths = draw_paths(two, "density", 0.5, 12000, run.paths)
        if "W1" in only:
            at_equal_error(two, paths, run, rates, results)
        per_step(two, paths, run, rates, results)
    if "W2" in only:
        for bins_of in (1, 10):
            vectors(replace(all_seven, bins_of=bins_of), run, rates, results)
    if "W3" in only:
        cells(optomechanical_cells(), 200, run, rates, results, promised=True)
    if "W3L" in only:
        cells(optomechanical_pair(), 50, run, rates, results, promised=False)
    spin = Case("spin 1/2, loss by heterodyne", ba.systems.spin(gamma_plus=0.5, gamma_minus=1, omega=2), ("loss",),
                1e-2, 1, "sz", 1.0)  # fmt: skip
    for bins_of in (1, 10) if "W4" in only else ():
        spins(replace(spin, bins_of=bins_of), run, rates, results)
    if "generality" in only:
        every_step = replace(all_seven, bins_of=1)  # as they are gated above
        workloads = [
            diffusive("W1, density, Splitting", two, "density", SPLITTING, 4, 800 * run.size),
            diffusive("W1, density, Rouchon", two, "density", ROUCHON, 4, 800 * run.size),
            diffusive("W1r, records, Splitting", two, "ket", SPLITTING, 64, 2000 * run.size),
            diffusive("W1r, records, Rouchon", two, "ket", ROUCHON, 64, 2000 * run.size),
            diffusive("W2, ket, Rouchon", every_step, "ket", ROUCHON, 64, 2000 * run.size),
            counted("W3, ket, double", optomechanical_cells(), 16, 100),
            diffusive("W4, records, Rouchon", spin, "ket", ROUCHON, 1000, 5000 * run.size),
        ]
        generality(workloads, run, results)
    print("\nQuTiP runs its trajectories one after the other: 20 stand for 1000.")
    return int(arguments.check and not all(results.kept))


if __name__ == "__main__":
    sys.exit(main())
