"""Acceptance: two optomechanical cells by quantum jumps, d ≈ 10⁴, against the values of an independent program.

    python benchmarks/acceptance_optomechanics.py small|precisions
    python benchmarks/acceptance_optomechanics.py run [a|b|c|edge ...] [--precision double] [--folder runs]
    python benchmarks/acceptance_optomechanics.py report [--folder runs]
    python benchmarks/acceptance_optomechanics.py heterodyne [--seed n ...] [--folder runs]
    python benchmarks/acceptance_optomechanics.py currents [--folder runs]

g₀ = κ = α_L = .3, Δ = .15 (units of the mechanical frequency), from vacuum, every channel counted, saved every .5:

    (a) K = .3,  Γ = .015   0-synchronization
    (b) K = .15, Γ = .01    π-synchronization; photons ≤ 4 in all, phonons ≤ 25 each and 34 in all
    (c) K = .15, Γ = .015   mixed
    edge: (b) in a product basis of 4 × 14 levels per cell, which must warn
    a_less, a_more: (a) with photons <= 4 and 7 in all, phonons <= 18 (26 in all) and 24 (36): n_b grows with the basis,
    5.54(2), 5.77(3), 5.86(5), and the reference's 5.635 is that of a smaller one
    small: (c) in 3 × 5 × 3 × 5 levels, 1600 runs, without and with thermal occupation .5, against the master equation;
    and the steady state of a single cell

*heterodyne*, *currents*: (c) with both cavities under heterodyne detection, state vectors, mechanical loss unread;
states at 0 or π decoded from the currents against the phase of the state vector on the same paths.  The receiver is
fixed on seed 100 (32 runs of T = 500); 32 runs of T = 1500 for each seed, the first 150 discarded, step 1/16.

Declared here, and not chosen for their results: seeds 0, 1, 2; 16 runs each, T = 4500 for (c) and 2500 for the others,
the first 800 discarded, single precision (in double seed 0 of (c) for its time; *precisions*: the same paths in both).
Errors are those of the mean over runs, pooled over seeds.  Accepted if every |z| <= 3 with the reference's errors,
P(|δφ| < π/2) <= .45 in (b), and n_a and n_b of the two precisions agree within .2 %.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from receiver import Receiver, Run, compare, telegraph_bias
from scipy.integrate import solve_ivp

import backaction as ba

SEEDS, RUNS, DISCARD, SPACING, HARMONICS = (0, 1, 2), 16, 800.0, 0.5, 20
PRODUCT = ba.Basis(levels={"a1": 4, "a2": 4, "b1": 14, "b2": 14})


def cut_off(photons: int, phonons: int, phonons_in_all: int) -> ba.Basis:
    levels = {"a1": photons + 1, "a2": photons + 1, "b1": phonons + 1, "b2": phonons + 1}
    return ba.Basis(levels=levels, totals=[(("a1", "a2"), photons), (("b1", "b2"), phonons_in_all)])


#: Coupling, damping, basis, duration.
SETS = {
    "a": (0.3, 0.015, None, 2500.0),
    "b": (0.15, 0.01, cut_off(4, 25, 34), 2500.0),
    "c": (0.15, 0.015, None, 4500.0),
    "edge": (0.15, 0.01, PRODUCT, 400.0),
    "a_less": (0.3, 0.015, cut_off(4, 18, 26), 2500.0),
    "a_more": (0.3, 0.015, cut_off(7, 24, 36), 1800.0),
}
#: Value and standard error, of an independent program.
REFERENCE = {
    "a": {"n_b": (5.635, 0.015), "M1": (0.826, 0.005), "P0": (0.9973, 0.0012), "peak 0": (0.985, 0.039)},
    "c": {
        "n_a": (0.4128, 0.0017), "n_b": (5.500, 0.035), "P0": (0.570, 0.014),
        "peak 0": (0.250, 0.018), "peak π": (0.226, 0.019), "peak 0 (M_k)": (0.2265, 0.0083),
        "peak π (M_k)": (0.2008, 0.0085), "τ_0, w = π/4": (147, 8), "τ_π, w = π/4": (108, 6),
        "τ_0, w = π/8": (197, 10), "τ_π, w = π/8": (146, 8),
    },
}  # fmt: skip
CALIBRATION, BIN = 100, 0.25
PAIRED = (32, 150.0)  # runs per seed and duration in both precisions
RECEIVER = Receiver(lines=(-0.834, -1.135), filter_time=10.0, every=2.5, discard=150.0)
BINS = 36  # of the histogram of the conditional phase; one is centred at 0 and one at π
#: n_b1 and C of the master equation at TIMES, without thermal occupation; coherent states cut and renormalised.
TIMES = (10.0, 20.0, 40.0)
N_B1 = (1.08900, 1.50430, 1.65705)
COHERENCE = (0.13427 - 0.62421j, 0.21128 + 0.26511j, 0.23525 + 0.09537j)
CELL = {0.015: (0.3672, 5.2622), 0.01: (0.2749, 7.1568)}  # n_a, n_b


def run(name: str, precision: str, folder: Path) -> None:
    coupling, gamma, basis, duration = SETS[name]
    system = ba.systems.optomechanical_pair(0.3, 0.3, 0.3, 0.15, gamma, coupling)
    observables = {k: system.observables[k] for k in ("n_a1", "n_a2", "n_b1", "n_b2", "coherence")}
    observables |= ba.systems.phase_operators(system, ("b1", "b2"), HARMONICS if basis is None else 13, basis)
    detectors = ba.QuantumJumps("cavity_1", "cavity_2", "loss_1", "loss_2")
    times = np.arange(0.0, duration + SPACING, SPACING)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        wall, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = ba.simulate(
                system, detectors, times, RUNS, seed=seed, level=ba.Ket(basis, precision), observables=observables,
                n_jobs=2, max_memory="8 GiB", progress=False,
            )  # fmt: skip
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        edges = dict(zip(data["edge"].values.tolist(), data["edge_population"].mean("trajectory").values, strict=True))
        print(f"({name}) {precision} seed {seed}: {wall:.0f} s, cpu {cpu:.0f} s, edges {edges}", flush=True)
        print("  warnings:", [str(w.message)[:140] for w in caught], flush=True)
        means = {k: data[f"expect_{k}"].values.astype(np.complex64) for k in observables}
        np.savez(folder / f"{name}_{precision}_{seed}.npz", times=data["time"].values, wall=wall, cpu=cpu, **means)


def judge(name: str, value: float, error: float, reference: tuple[float, float] | None, missed: list[str]) -> None:
    """Print a value beside its reference; too far away is missed."""
    text = f"  {name:16} {value:.4f} ({error:.4f})"
    if reference:
        z = (value - reference[0]) / np.hypot(error, reference[1])
        text += f"   reference {reference[0]} ({reference[1]})   z = {z:+.2f}"
        if abs(z) > 3:
            missed.append(name)
    print(text)


def master_equation(lowered: object, rho: np.ndarray, times: tuple[float, ...]) -> list[np.ndarray]:
    d, jumps = lowered.dim, list(lowered.channels.values())
    A = (-1j * lowered.H - 0.5 * sum(L.conj().T @ L for L in jumps)).tocsr()

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        half = A @ y.reshape(d, d)
        out = half + half.conj().T
        for L in jumps:
            out = out + L @ (L @ y.reshape(d, d)).conj().T
        return out.ravel()

    solution = solve_ivp(slope, (0, times[-1]), rho.ravel(), method="DOP853", rtol=1e-9, atol=1e-11, t_eval=times)
    return [y.reshape(d, d) for y in solution.y.T]


def cut_coherent(alpha: complex, levels: int) -> np.ndarray:
    v = np.array([alpha**k / math.sqrt(math.factorial(k)) for k in range(levels)], dtype=complex)
    return v / np.linalg.norm(v)


def small(missed: list[str]) -> None:
    basis = ba.Basis(levels={"a1": 3, "a2": 3, "b1": 5, "b2": 5})
    for n_thermal in (0.0, 0.5):
        system = ba.systems.optomechanical_pair(0.3, 0.3, 0.3, 0.15, 0.015, 0.15, n_thermal, basis)
        lowered = system.lower()
        dark = np.eye(3)[0]
        psi = lowered.basis.product_state(
            {"a1": dark, "a2": dark, "b1": cut_coherent(1.0, 5), "b2": cut_coherent(0.8j, 5)}
        )
        states = master_equation(lowered, np.outer(psi, psi.conj()), TIMES)
        observables = {"n_b1": lowered.observables["n_b1"], "C": lowered.observables["coherence"]}
        exact = {k: np.array([(O @ rho).trace() for rho in states]) for k, O in observables.items()}
        print(f"small basis, n_th = {n_thermal:g}; master equation: n_b1 {exact['n_b1'].real}, C {exact['C']}")
        if n_thermal == 0 and not (
            np.allclose(exact["n_b1"], N_B1, rtol=0, atol=6e-6)
            and np.allclose(exact["C"], COHERENCE, rtol=0, atol=8e-6)
        ):
            missed.append("the reference's master equation")
        parts: dict[str, list[np.ndarray]] = {k: [] for k in observables}
        for seed, runs in zip(SEEDS, (533, 533, 534), strict=True):
            data = ba.simulate(
                system, ba.QuantumJumps(*lowered.channels), np.linspace(0, 40, 5), runs, seed=seed, initial=psi,
                observables=observables, level="ket", n_jobs=2, progress=False,
            )  # fmt: skip
            for k in observables:
                parts[k].append(data[f"expect_{k}"].values[:, [1, 2, 4]])
        for k, values in parts.items():
            x = np.concatenate(values)
            for i, t in enumerate(TIMES):
                for name, part in (("Re ", np.real), ("Im ", np.imag)) if k == "C" else (("", np.real),):
                    y = part(x[:, i])
                    judge(f"{name}{k}({t:g})", y.mean(), y.std(ddof=1) / len(y) ** 0.5, (part(exact[k][i]), 0), missed)
    for gamma, expected in CELL.items():
        cell = ba.systems.optomechanical_array(1, 0.3, 0.3, 0.3, 0.15, gamma, 0.0)
        lowered = cell.lower(ba.Basis(levels={"a_0": 7, "b_0": 28}))
        rho = ba.systems.steady_state(lowered)
        found = [float((lowered.observables[k] @ rho).trace().real) for k in ("n_a_0", "n_b_0")]
        print(f"single cell, Γ = {gamma}: n_a, n_b = {found[0]:.4f}, {found[1]:.4f}; reference {expected}")
        if not np.allclose(found, expected, rtol=2e-3, atol=0):  # 20 phonons give the reference: .3671, 5.2619
            missed.append(f"single cell, Γ = {gamma}")


def report(folder: Path, missed: list[str]) -> None:
    for name, precision in (
        ("a", "single"),
        ("a_less", "single"),
        ("a_more", "single"),
        ("b", "single"),
        ("c", "single"),
        ("c", "double"),
    ):
        files = [folder / f"{name}_{precision}_{seed}.npz" for seed in SEEDS]
        runs = [np.load(f) for f in files if f.exists()]
        if not runs:
            continue
        times = runs[0]["times"]
        late = times >= DISCARD
        seconds = sum(float(r["cpu"]) for r in runs) / 2 / (len(runs) * RUNS) * 32 * 4500 / times[-1]
        print(f"({name}), {precision}, {len(runs) * RUNS} runs; 32 of T = 4500 on 2 cores: {seconds / 60:.1f} min")

        def of(key: str) -> np.ndarray:
            return np.concatenate([r[key] for r in runs])[:, late]  # noqa: B023

        phase = np.angle(of("coherence"))
        M = {int(k[1:]): of(k).mean(axis=1) for k in runs[0].files if k.startswith("M")}
        per_run = {
            "n_a": 0.5 * (of("n_a1") + of("n_a2")).real.mean(axis=1),
            "n_b": 0.5 * (of("n_b1") + of("n_b2")).real.mean(axis=1),
            "M1": M[1].real,
            "P0": (abs(phase) < np.pi / 2).mean(axis=1),
        }
        width = 2 * np.pi / BINS
        for label, centre in (("0", 0.0), ("π", np.pi)):
            near = abs(np.angle(np.exp(1j * (phase - centre)))) < width / 2
            per_run[f"peak {label}"] = near.mean(axis=1) / width
            harmonics = sum(2 * (m * np.exp(-1j * k * centre)).real for k, m in M.items())
            per_run[f"peak {label} (M_k)"] = (1 + harmonics) / (2 * np.pi)
        reference = REFERENCE.get(name, {}) if precision == "single" else {}
        for key, x in per_run.items():
            judge(key, x.mean(), x.std(ddof=1) / len(x) ** 0.5, reference.get(key), missed)
        if name == "b" and per_run["P0"].mean() > 0.45:
            missed.append("P(|δφ| < π/2) <= .45 in (b)")
        for text, w in (("π/4", np.pi / 4), ("π/8", np.pi / 8), ("π/2", np.pi / 2)) if name == "c" else ():
            for every in (1, 2):
                found = ba.analysis.residence.dwell_times(phase[:, ::every], times[late][::every], w)
                for label, mean, error in (
                    ("0", found.mean_0, found.mean_0_stderr), ("π", found.mean_pi, found.mean_pi_stderr),
                ):  # fmt: skip
                    key = f"τ_{label}, w = {text}"
                    given = reference.get(key) if every == 2 else None  # the reference does not say how often
                    judge(f"{key}, every {every * SPACING:g}", float(mean), float(error), given, missed)
                judge(f"ratio, w = {text}", float(found.ratio), float(found.ratio_stderr), None, missed)


def precisions(missed: list[str]) -> None:
    """The same paths in both precisions, until rounding changes a jump: their difference has little noise."""
    coupling, gamma, basis, _ = SETS["c"]
    system = ba.systems.optomechanical_pair(0.3, 0.3, 0.3, 0.15, gamma, coupling)
    times = np.linspace(0.0, PAIRED[1], round(PAIRED[1] / SPACING) + 1)
    parts: dict[str, list[np.ndarray]] = {"n_a": [], "n_b": []}
    for seed in SEEDS:
        one, two = (
            ba.simulate(
                system, ba.QuantumJumps(*system.outputs), times, PAIRED[0], seed=seed, level=ba.Ket(basis, precision),
                observables=("n_a1", "n_a2", "n_b1", "n_b2"), n_jobs=2, progress=False,
            )
            for precision in ("single", "double")
        )  # fmt: skip
        for key, values in parts.items():
            means = [0.5 * (r[f"expect_{key}1"] + r[f"expect_{key}2"]).values for r in (one, two)]
            values.append(np.stack([m.mean(axis=1) for m in means]))
            alike = (abs(means[0] - means[1]).max(axis=1) < 1e-2).sum()
        print(f"  seed {seed}: {alike} of {PAIRED[0]} runs alike to the end", flush=True)
    for key, values in parts.items():
        single, double = np.concatenate(values, axis=1)
        difference = (single - double) / double.mean()
        error = difference.std(ddof=1) / len(difference) ** 0.5
        print(f"  {key}: single / double − 1 = {difference.mean():+.1e} ({error:.1e})")
        if abs(difference.mean()) > 2e-3:
            missed.append(f"{key} in the two precisions")


def heterodyne(seed: int, folder: Path) -> None:
    system = ba.systems.optomechanical_pair(0.3, 0.3, 0.3, 0.15, 0.015, 0.15)
    times = np.arange(0.0, (500 if seed == CALIBRATION else 1500) + BIN, BIN)
    names = ("coherence", "n_a1", "n_a2", "n_b1", "n_b2")
    data = ba.simulate(
        system, ba.Heterodyne("cavity_1", "cavity_2"), times, 32, seed=seed, level=ba.Ket(), observables=names,
        save_every=2, step=1 / 16, max_memory="8 GiB", progress=False,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / f"heterodyne_{seed}.npz", times=data["time"].values, bins=data["bin"].values,
        I1=data["current_cavity_1"].values.astype(np.complex64),
        I2=data["current_cavity_2"].values.astype(np.complex64),
        **{name: data[f"hidden_{name}"].values.astype(np.complex64) for name in names},
    )  # fmt: skip


def currents(folder: Path, missed: list[str]) -> None:
    def load(seed: int) -> Run:
        run = np.load(folder / f"heterodyne_{seed}.npz")
        one, two = (
            xr.DataArray(run[name].astype(complex), dims=("trajectory", "bin"), coords={"bin": run["bins"]})
            for name in ("I1", "I2")
        )
        return one, two, np.angle(run["coherence"]), run["times"]

    seeds = [seed for seed in SEEDS if (folder / f"heterodyne_{seed}.npz").exists()]
    calibration, judged = load(CALIBRATION), [load(seed) for seed in seeds]
    print(f"(c), heterodyne, seeds {seeds}, {sum(len(run[2]) for run in judged)} runs")
    for name in ("n_a", "n_b"):
        parts = []
        for seed in seeds:
            run = np.load(folder / f"heterodyne_{seed}.npz")
            parts.append(0.5 * (run[f"{name}1"] + run[f"{name}2"]).real[:, run["times"] >= 500].mean(axis=1))
        x = np.concatenate(parts)
        judged_against = REFERENCE["c"][name]
        judge(name, x.mean(), x.std(ddof=1) / len(x) ** 0.5, judged_against, missed)
    _, tau, model = compare("quantum set (c)", RECEIVER, calibration, judged)
    telegraph_bias(RECEIVER, tau, model, judged[0][3], 32, [CALIBRATION, *SEEDS])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("small", "precisions", "run", "report", "heterodyne", "currents"))
    parser.add_argument("sets", nargs="*", help="sets of parameters, all by default")
    parser.add_argument("--precision", default="single", choices=("single", "double"))
    parser.add_argument("--seed", type=int, nargs="*", default=[CALIBRATION, *SEEDS])
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    options = parser.parse_args()
    missed: list[str] = []
    if options.what == "run":
        for name in options.sets or SETS:
            run(name, options.precision, options.folder)
    elif options.what == "heterodyne":
        for seed in options.seed:
            heterodyne(seed, options.folder)
    elif options.what in ("small", "precisions"):
        {"small": small, "precisions": precisions}[options.what](missed)
    elif options.what == "currents":
        currents(options.folder, missed)
    else:
        report(options.folder, missed)
    print("MISSED: " + "; ".join(missed) if missed else "nothing missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
