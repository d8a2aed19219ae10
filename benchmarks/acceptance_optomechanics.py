"""Acceptance: two optomechanical cells by quantum jumps, d ≈ 10⁴, against the values of an independent program.

    python benchmarks/acceptance_optomechanics.py run a|b|c|edge [--precision double] [--folder runs]
    python benchmarks/acceptance_optomechanics.py report [--folder runs]

g₀ = κ = α_L = .3, Δ = .15 (units of the mechanical frequency), from vacuum, every channel counted, saved every .5:

    (a) K = .3,  Γ = .015   0-synchronization
    (b) K = .15, Γ = .01    π-synchronization; photons ≤ 4 in all, phonons ≤ 25 each and 34 in all
    (c) K = .15, Γ = .015   mixed
    edge: (b) in a product basis of 4 × 14 levels per cell, which must warn

Declared here, and not chosen for their results: seeds 0, 1, 2; 16 runs each, T = 4500 for (c) and 2500 for the others,
the first 800 discarded, single precision (seed 0 of (c) in double, too).  Errors are those of the mean over runs,
pooled over seeds.  Accepted if every |z| <= 3 with the reference's errors, P(|δφ| < π/2) <= .45 in (b), and n_a and
n_b of the two precisions agree within .2 %.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import backaction as ba

SEEDS, RUNS, DISCARD, SPACING, HARMONICS = (0, 1, 2), 16, 800.0, 0.5, 20
SMALL = ba.Basis(
    levels={"a1": 5, "a2": 5, "b1": 26, "b2": 26}, totals=[(("a1", "a2"), 4), (("b1", "b2"), 34)]
)  # fmt: skip
PRODUCT = ba.Basis(levels={"a1": 4, "a2": 4, "b1": 14, "b2": 14})
#: Coupling, damping, basis, duration.
SETS = {
    "a": (0.3, 0.015, None, 2500.0),
    "b": (0.15, 0.01, SMALL, 2500.0),
    "c": (0.15, 0.015, None, 4500.0),
    "edge": (0.15, 0.01, PRODUCT, 400.0),
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
BINS = 36  # of the histogram of the conditional phase; one is centred at 0 and one at π


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="sets of parameters")
    parser.add_argument("--precision", default="single", choices=("single", "double"))
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    options = parser.parse_args()
    if options.what == "run":
        for name in options.sets or SETS:
            run(name, options.precision, options.folder)
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
