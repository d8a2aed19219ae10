"""Speed and error against QuTiP (and dynamiqs, if it is there): one core, CPU time per step and trajectory.

    python benchmarks/bench_speed.py            the figures (about two minutes)
    python benchmarks/bench_speed.py --quick    a look (half a minute)
    python benchmarks/bench_speed.py --check    exit code 1 if a ratio is below what the project promises

Everybody integrates the same system with the same detectors and the same step.  A cost is the difference of a long and
a short run, so that compilation, lowering and set-up drop out; contenders take turns, and the median of the repeats
counts.  Errors are weak errors of one step: the trace norm of (its average over the noise − e^{𝓛dt}), per unit of
time, from a pure state such as conditional states are; and of what the average step makes of a mean value.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from racing import Contender, installed, machine, race, scientific, spread  # first: it limits thread pools

# isort: split

import numpy as np
import qutip
import scipy.sparse as sp
from scipy.sparse.linalg import expm_multiply
from scipy.special import roots_hermitenorm

import backaction as ba
from backaction.systems import liouvillian, steady_state
from backaction.trajectories.propagators import generator, slot_operators

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reference
from trajectories.one_step import average_step


@dataclass
class Case:
    """One row group of the table: a system, the watched channels, a step, steps per bin of the record."""

    title: str
    system: ba.System
    watched: tuple[str, ...]
    dt: float
    bins_of: int  # records are kept per bin, observables at its edges
    observable: str
    mean_at: float  # time of the mean value whose error is given

    def __post_init__(self) -> None:
        self.unraveling = ba.Heterodyne(*self.watched)
        self.lowered = self.system.lower()
        self.rho = steady_state(self.lowered)
        self.H = qutip.Qobj(self.lowered.H.tocsr())
        self.sc_ops = [qutip.Qobj(self.lowered.channels[c]) for c in self.watched]
        self.c_ops = [qutip.Qobj(L) for c, L in self.lowered.channels.items() if c not in self.watched]
        self.O = self.lowered.observables[self.observable]

    def times(self, steps: int) -> np.ndarray:
        return np.linspace(0, steps * self.dt, steps // self.bins_of + 1)


def ours(case: Case, level: str, trajectories: int, long: int, **options: object) -> Contender:
    def run(steps: int) -> object:
        return ba.simulate(
            case.system, case.unraveling, case.times(steps), trajectories, initial=case.rho, seed=1, level=level,
            step=case.dt, progress=False, **options,
        )  # fmt: skip

    what = "observables and records" if options else "records only"
    return Contender(f"backaction {level}, {what}", run, trajectories, long // 10, long)


def qutips(case: Case, trajectories: int, long: int, observables: bool) -> Contender:
    options = {
        "method": "euler", "dt": case.dt, "progress_bar": "", "map": "serial", "store_measurement": "end",
        "store_states": False, "keep_runs_results": True,
    }  # fmt: skip
    solver = qutip.SMESolver(case.H, case.sc_ops, True, c_ops=case.c_ops, options=options)
    rho = qutip.Qobj(case.rho)
    e_ops = [qutip.Qobj(case.O)] if observables else []

    def run(steps: int) -> object:
        return solver.run(rho, case.times(steps), trajectories, e_ops=e_ops, seeds=1)

    return Contender("qutip SMESolver, euler", run, trajectories, long // 5, long)


def dynamiqs(case: Case, trajectories: int, long: int) -> Contender | None:
    """dynamiqs' dsmesolve with Euler steps; None if it is not installed."""
    if not installed("dynamiqs"):
        return None
    import dynamiqs as dq
    import jax

    dq.set_precision("double")
    dq.set_progress_meter(False)

    def array(operator: qutip.Qobj) -> object:
        return dq.asqarray(operator.full(), layout=dq.dia) if case.lowered.dim > 8 else dq.asqarray(operator.full())

    quadratures = [factor * array(L) for L in case.sc_ops for factor in (0.5**0.5, -1j * 0.5**0.5)]
    jumps = [*quadratures, *(array(L) for L in case.c_ops)]
    etas = np.array([1.0] * len(quadratures) + [0.0] * len(case.c_ops))
    H, rho, O = array(case.H), dq.asqarray(case.rho), array(qutip.Qobj(case.O))
    keys = jax.random.split(jax.random.PRNGKey(0), trajectories)

    def run(steps: int) -> object:
        result = dq.dsmesolve(
            H, jumps, etas, rho, case.times(steps), keys, exp_ops=[O], save_states=False,
            method=dq.method.EulerMaruyama(dt=case.dt),
        )  # fmt: skip
        return jax.block_until_ready(result.measurements)

    return Contender("dynamiqs dsmesolve, euler", run, trajectories, long // 5, long)


# --- errors


def evolve(L: sp.csr_array, rho: np.ndarray, t: float) -> np.ndarray:
    """e^{Lt}ρ by row stacking."""
    return expm_multiply(L * t, rho.reshape(-1), traceA=L.trace() * t).reshape(rho.shape)


def trace_norm(X: np.ndarray) -> float:
    return float(abs(np.linalg.eigvalsh(0.5 * (X + X.conj().T))).sum())


def pure_state(case: Case) -> np.ndarray:
    """A product of coherent states, different phases: what conditional states look like."""
    sites = {}
    for k, site in enumerate(case.lowered.basis.sites):
        angle = 0.4 + 1.7 * k
        sites[site.name] = ba.coherent(0.8 * np.exp(1j * angle)) if site.truncated else ba.spin(1.2, angle)
    return case.lowered.state(sites)


def unwatched(case: Case) -> sp.csr_array:
    """Liouvillian of H and the unwatched channels alone: the slot P of a step."""
    whole = liouvillian(case.lowered)
    d = case.lowered.dim
    one = sp.eye_array(d)
    for name in case.watched:
        c = case.lowered.channels[name]
        rate = c.conj().T @ c
        whole = whole - sp.kron(c, c.conj()) + 0.5 * (sp.kron(rate, one) + sp.kron(one, rate.T))
    return sp.csr_array(whole)


def average_ket_step(case: Case, psi: np.ndarray, nodes: int = 3) -> np.ndarray:
    """E over noise and hidden jumps of one step of state vectors, written out as in `tests/reference.py`."""
    P = unwatched(case)
    K = [reference.kraus(case.lowered.channels[c].toarray(), case.dt) for c in case.watched]
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    weights, vectors = np.linalg.eigh(evolve(P, np.outer(psi, psi.conj()), 0.5 * case.dt))
    measured = np.zeros_like(case.rho, dtype=complex)
    for p, vector in zip(weights, vectors.T, strict=True):
        if p < 1e-9:
            measured += p * np.outer(vector, vector.conj())  # left alone; p is O(dt²) and the step O(dt)
            continue
        for index in product(range(nodes), repeat=2 * len(K)):
            state = reference.Ket(reference.Model(np.zeros_like(case.rho)), vector)
            for c, k in enumerate(K):
                _, z, z2 = reference.heterodyne(*state.measure(k, case.dt), case.dt, *x[list(index[2 * c : 2 * c + 2])])
                state.update(k[0] + z * k[1] + z2 * k[2])
            measured += p * np.prod(w[list(index)]) * np.outer(state.state, state.state.conj())
    return evolve(P, measured, 0.5 * case.dt)


def slots(case: Case, level: str, t: float) -> Callable[[np.ndarray], np.ndarray]:
    """The map P(t) of a step: exact for state vectors, E e^{Jt} E with e^{Jt} to second order for density matrices."""
    if level == "ket":
        P = unwatched(case)
        return lambda rho: evolve(P, rho, t)
    gain = [L for name, L in case.lowered.channels.items() if name not in case.watched]
    first, last = slot_operators(generator(case.lowered.H, gain), gain, t, clicks=False)

    def jump(rho: np.ndarray) -> np.ndarray:
        return sum((L @ rho @ L.conj().T for L in gain), 0 * rho)

    def map_of_slot(rho: np.ndarray) -> np.ndarray:
        rho = first @ rho @ first.conj().T
        rho = rho + t * jump(rho + 0.5 * t * jump(rho))
        return last @ rho @ last.conj().T

    return map_of_slot


def mean_by_the_map(case: Case, level: str) -> float:
    """⟨O⟩ at `mean_at` from the ground state if every step is the average one (Kraus operators with their own law)."""
    rho = case.lowered.state()
    rho = np.outer(rho, rho.conj())
    L, steps = liouvillian(case.lowered), round(case.mean_at / case.dt)
    if level == "euler":
        vector = rho.reshape(-1)
        for _ in range(steps):
            vector = vector + case.dt * (L @ vector)
        rho = vector.reshape(rho.shape)
    elif level == "exact":
        rho = evolve(L, rho, case.mean_at)
    else:
        half, whole = (slots(case, level, t) for t in (0.5 * case.dt, case.dt))
        channels = [case.lowered.channels[c].toarray() for c in case.watched]
        sets = [[sp.csr_array(k) for k in reference.kraus(c, case.dt)] for c in channels]
        weights = (1.0, case.dt, 2 * case.dt**2)
        for step in range(steps):  # P(dt/2) D P(dt) D … D P(dt/2)
            rho = whole(rho) if step else half(rho)
            for K in sets:
                rho = sum(g * (k @ rho @ k.conj().T) for g, k in zip(weights, K, strict=True))
        rho = half(rho)
    return float(np.trace(case.O @ rho).real)


def errors(case: Case) -> dict[str, tuple[float, float]]:
    """(one-step error per unit of time, error of the mean value) of the density, ket and Euler steps."""
    psi = pure_state(case)
    rho = np.outer(psi, psi.conj())
    L = liouvillian(case.lowered)
    exact = evolve(L, rho, case.dt)
    mean = mean_by_the_map(case, "exact")
    steps = {
        "density": average_step(case.lowered, case.unraveling, case.dt, rho, nodes=3),
        "ket": average_ket_step(case, psi),
        "euler": rho + case.dt * (L @ rho.reshape(-1)).reshape(rho.shape),
    }
    return {
        level: (trace_norm(step - exact) / case.dt, abs(mean_by_the_map(case, level) - mean))
        for level, step in steps.items()
    }


# --- the table


def report(case: Case, contenders: list[Contender], promised: dict[str, float], repeats: int) -> list[bool]:
    """Race, print the rows, and say which promises are kept."""
    cost = race(contenders, repeats)
    error = errors(case)
    base = statistics.median(cost["qutip SMESolver, euler"])
    label = f"{case.observable} at {case.mean_at:g}"
    print(f"\n{case.title}; d = {case.lowered.dim}, step {case.dt:g}, a record per {case.bins_of} step(s)")
    print(f"{'':44}{'per step':>10} {'spread':>8} {'ratio':>8} {'promised':>9} {'step error':>11} {label:>14}")
    kept = []
    for c in contenders:
        median = statistics.median(cost[c.name])
        one_step, mean = error[next((k for k in ("density", "ket") if k in c.name), "euler")]
        ratio, goal = base / median, promised.get(c.name)
        if goal:
            kept.append(ratio >= goal)
        print(
            f"{c.name + f' ({c.trajectories} traj.)':44}{scientific(median):>10} {spread(cost[c.name]):>8.0%} "
            f"{ratio:>8.3g} {f'{goal:g}' if goal else '':>9} {one_step:>11.1e} {mean:>14.1e}"
            + ("" if not goal else "  ok" if kept[-1] else "  MISSED")
        )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and repeats")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promised ratio is missed")
    arguments = parser.parse_args()
    repeats = 3 if arguments.quick else 7
    size = 1 if arguments.quick else 3
    warnings.simplefilter("ignore", RuntimeWarning)  # 8 levels and the step are the issue's, not a choice of physics

    print(machine("backaction", "numpy", "scipy", "numba", "qutip"))
    print("CPU time per step and trajectory; ratio: QuTiP's over ours; step error: trace norm, per unit of time")
    vdp = Case(
        "Two van der Pol oscillators (κ = κ₂ = 1, κ₁ = 3, V = 2, δ = 0.5), both losses by heterodyne",
        ba.systems.two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=2, detuning=0.5, levels=8),
        ("loss_a", "loss_b"), 1e-3, 10, "n_a", 1.0,
    )  # fmt: skip
    spins = [
        Case(
            "Spin 1/2 (γ₊ = 0.5, γ₋ = 1, ω = 2), loss by heterodyne, 1000 trajectories",
            ba.systems.spin(gamma_plus=0.5, gamma_minus=1, omega=2), ("loss",), 1e-2, bins_of, "sz", 1.0,
        )
        for bins_of in (1, 10)
    ]  # fmt: skip
    kept = []
    contenders = [
        ours(vdp, "density", 4, 200 * size, observables=["n_a"]),
        ours(vdp, "ket", 64, 3000 * size),
        qutips(vdp, 1, 100 * size, observables=True),
    ]
    other = dynamiqs(vdp, 4, 100 * size)
    contenders += [other] if other else []
    kept += report(vdp, contenders, {contenders[0].name: 5, contenders[1].name: 150}, repeats)
    for spin in spins:
        contenders = [
            ours(spin, "ket", 1000, 3000 * size),
            qutips(spin, 20, 200 * size, observables=False),
        ]
        other = dynamiqs(spin, 1000, 100 * size)
        contenders += [other] if other else []
        kept += report(spin, contenders, {contenders[0].name: 500} if spin.bins_of == 1 else {}, repeats)
    print("\nQuTiP runs its trajectories one after the other: 20 stand for 1000.")
    print("A record per step is what QuTiP keeps; with a record per 10 steps its time per saved point counts less.")
    if other is None:
        print("dynamiqs: missing (pip install dynamiqs)")
    return int(arguments.check and not all(kept))


if __name__ == "__main__":
    sys.exit(main())
