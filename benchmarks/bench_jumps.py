"""Photon counting in a large Hilbert space (W3), against QuTiP's mcsolve and dynamiqs' jssesolve: one core, CPU time.

    python benchmarks/bench_jumps.py            the figures (about ten minutes)
    python benchmarks/bench_jumps.py --quick    fewer repeats
    python benchmarks/bench_jumps.py --check    exit code 1 if a ratio is below what the project promises

Two optomechanical cells of 4 × 10 levels, d = 1600, all four channels counted (parameters of the benchmark only).
Times are per unit of 1/Ω, from t = 20 to t = 200.  *Error*: norm of (state at the end − the same initial state carried
over the same clicks by SciPy's expm_multiply), the largest of some runs of T = 40.  `bench_engine.py` runs this too.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from typing import Any

from racing import Contender, fastest, installed, machine

# isort: split

import numpy as np
import qutip
import scipy.sparse as sp
from bench_engine import FULL, QUICK, Gate, Machine, Results, Row, Run, measure_machine
from scipy.sparse.linalg import expm_multiply

import backaction as ba
from backaction.trajectories.counting_plan import counting_plan
from backaction.trajectories.plan import assign

DURATION, SHORT = 200, 20
CHECKED, CHECKS = 40.0, 3
COUNTERS = ba.QuantumJumps("cavity_1", "loss_1", "cavity_2", "loss_2")


def optomechanical_cells(cavity: int = 4, mechanics: int = 10) -> ba.System:
    """Weiss, Kronwald and Marquardt, New J. Phys. 18, 013043 (2016), in units of Ω: Δ = K = .15, g₀ = 1, κ = .3."""
    a1, a2 = (ba.Boson(name, cavity) for name in ("a1", "a2"))
    b1, b2 = (ba.Boson(name, mechanics) for name in ("b1", "b2"))
    H: Any = 0
    for a, b in ((a1, b1), (a2, b2)):
        H = H - 0.15 * a.n + b.n - a.n * (b.a + b.a.dag()) + 0.09 * (a.a + a.a.dag())
    H = H - 0.15 * (b1.a.dag() * b2.a + b2.a.dag() * b1.a)
    rates = {"cavity_1": (0.3, a1), "loss_1": (0.015, b1), "cavity_2": (0.3, a2), "loss_2": (0.015, b2)}
    channels = {name: rate**0.5 * site.a for name, (rate, site) in rates.items()}
    return ba.System(H, channels, {"n_b1": b1.n})


SYSTEM = optomechanical_cells()
LOWERED = SYSTEM.lower()
CHANNELS = [LOWERED.channels[name] for name in COUNTERS.channels]
GROUND = np.eye(1, LOWERED.dim, dtype=complex)[0]
GENERATOR = sp.csc_array(-1j * LOWERED.H - 0.5 * sum(L.conj().T @ L for L in CHANNELS))


def replay(clicks: list[tuple[float, int]], duration: float) -> np.ndarray:
    """The state after these clicks (time, channel)."""
    psi, time = GROUND, 0.0
    for t, channel in sorted(clicks):
        psi = CHANNELS[channel] @ expm_multiply(GENERATOR * (t - time), psi)
        psi, time = psi / np.linalg.norm(psi), t
    psi = expm_multiply(GENERATOR * (duration - time), psi)
    return psi / np.linalg.norm(psi)


def distance(state: np.ndarray, clicks: list[tuple[float, int]]) -> float:
    """To the replayed state, whatever the phase."""
    other = replay(clicks, CHECKED)
    overlap = np.vdot(other, state)
    return float(np.linalg.norm(state - other * overlap / abs(overlap)))


# === contenders


def ours(precision: str, duration: int, trajectories: int, **options: Any) -> Any:
    return ba.simulate(
        SYSTEM, COUNTERS, np.linspace(0, duration, duration + 1), trajectories, initial=GROUND, seed=1,
        level=ba.Ket(precision=precision), progress=False, **options,
    )  # fmt: skip


def our_error(precision: str) -> float:
    data = ours(precision, round(CHECKED), CHECKS, states=True, save_every=round(CHECKED))
    errors = []
    for k in range(CHECKS):
        clicks = []
        for channel, name in enumerate(COUNTERS.channels):
            counts = data[f"click_count_{name}"].values
            times = data[f"click_time_{name}"].values[counts[:k].sum() : counts[: k + 1].sum()]
            clicks += [(t, channel) for t in times]
        errors.append(distance(data["state"].values[k, -1], clicks))
    return max(errors)


def our_limit(precision: str, rates: Machine) -> float:
    """Seconds per unit of time that the products with A and the series' sums take at least; clicks cost more."""
    plan = counting_plan(LOWERED, assign(LOWERED, COUNTERS, hidden=True), [], 1.0, precision)
    rows = np.repeat(np.arange(LOWERED.dim), np.diff(plan.ptr[0]))
    kind = np.arange(plan.ptr[0, 0], plan.ptr[0, -1])
    simple = np.count_nonzero(kind < plan.ends[1][rows])
    product = 4 * simple + 8 * (len(kind) - simple) + 8 * LOWERED.dim
    recurrence = 8 * LOWERED.dim
    per_unit = len(plan.reach) / plan.dt
    return rates.limit(per_unit * (product + recurrence), 0.0) / (2 if precision == "single" else 1)


def mcsolver(method: str | None) -> Any:
    options = {"progress_bar": "", "map": "serial", "store_states": False, "store_final_state": True}
    if method:
        options["method"] = method
    dims = [qutip.Qobj(L.tocsr()).to("CSR") for L in CHANNELS]
    return qutip.MCSolver(qutip.Qobj(LOWERED.H.tocsr()).to("CSR"), dims, options={**options, "keep_runs_results": True})


def qutips(name: str, method: str | None) -> tuple[Contender, float]:
    solver = mcsolver(method)
    start = qutip.Qobj(GROUND)

    def run(duration: int) -> object:
        return solver.run(start, [0, duration], 2, seeds=1)

    result = solver.run(start, [0, CHECKED], CHECKS, seeds=1)
    errors = [
        distance(state.full()[:, 0], list(zip(times, which, strict=True)))
        for state, times, which in zip(result.runs_final_states, result.col_times, result.col_which, strict=True)
    ]
    return Contender(name, run, 2, SHORT, DURATION), max(errors)


def dynamiqs(trajectories: int = 4) -> tuple[Contender, float] | None:
    """dynamiqs' jssesolve in double precision, banded operators, the faster of two methods; None if not installed."""
    if not installed("dynamiqs"):
        return None
    import dynamiqs as dq
    import jax
    import optimistix

    dq.set_precision("double")
    dq.set_progress_meter(False)
    H, *jumps = (dq.asqarray(A.toarray(), layout=dq.dia) for A in (LOWERED.H, *CHANNELS))
    start = dq.asqarray(GROUND[:, None])
    root_finder = optimistix.Newton(1e-5, 1e-5, optimistix.rms_norm)

    def solve(noclick: Any, duration: float, seeds: range, states: bool) -> Any:
        keys = jax.numpy.stack([jax.random.PRNGKey(seed) for seed in seeds])
        method = dq.method.Event(noclick, root_finder=root_finder)
        return dq.jssesolve(
            H, jumps, start, np.array([0.0, duration]), keys, save_states=states, nmaxclick=1000, method=method
        )

    def contender(noclick: Any) -> Contender:
        def run(duration: int) -> object:  # one after the other: together each waits for the slowest
            for seed in range(trajectories):
                jax.block_until_ready(solve(noclick, float(duration), range(seed, seed + 1), False).clicktimes)
            return None

        return Contender(type(noclick).__name__, run, trajectories, SHORT, DURATION)

    methods = {type(m).__name__: m for m in (dq.method.Tsit5(), dq.method.Dopri8())}
    best = fastest([contender(m) for m in methods.values()])
    result = solve(methods[best.name], CHECKED, range(CHECKS), True)
    clicktimes, ends = np.asarray(result.clicktimes), result.states.to_numpy()[:, -1, :, 0]
    errors = [
        distance(end, [(t, j) for j, times in enumerate(clicks) for t in times[np.isfinite(times)]])
        for end, clicks in zip(ends, clicktimes, strict=True)
    ]
    return best._replace(name="dynamiqs jssesolve"), max(errors)


def counting(run: Run, rates: Machine, results: Results) -> None:
    """W3: quantum jumps at d = 1600."""
    rows = []
    for precision in ("double", "single"):
        trajectories = 32
        c = Contender(
            f"backaction, {precision} precision", partial(ours, precision, trajectories=trajectories), trajectories,
            SHORT, DURATION,
        )  # fmt: skip
        rows.append(Row(c, 1.0, our_error(precision), None, our_limit(precision, rates)))
    for name, method in (("qutip mcsolve, default", None), ("qutip mcsolve, vern7", "vern7")):
        c, error = qutips(name, method)
        rows.append(Row(c, 1.0, error))
    other = dynamiqs()
    if other:
        rows.append(Row(other[0], 1.0, other[1]))
    missing = "" if other else " (dynamiqs: missing, pip install dynamiqs)"
    results.table(
        f"W3: quantum jumps, two optomechanical cells, d = {LOWERED.dim}; times 200 is a trajectory{missing}",
        rows,
        [
            Gate(rows[0].contender.name, "qutip mcsolve, default", 27, 60),
            Gate(rows[0].contender.name, "dynamiqs jssesolve", 12, 28),
        ],
        per="unit",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a promised ratio is missed")
    arguments = parser.parse_args()
    run = QUICK if arguments.quick else FULL
    results = Results(3 if arguments.quick else 5)
    warnings.simplefilter("ignore", RuntimeWarning)  # edges of the small bases are populated
    print(machine("backaction", "numpy", "scipy", "numba", "qutip", "dynamiqs", "jax"))
    counting(run, measure_machine(run.repeats), results)
    return int(arguments.check and not all(results.kept))


if __name__ == "__main__":
    sys.exit(main())
