"""Chirality reversals against the number of spins, and their exponential decay: [T] Fig. 6.11.

Three ways of counting on the conditional phases of second-order cumulant trajectories, and the count from the
detector's current alone for efficiencies 1 and 0.1.

    python examples/fig_6_11.py [folder]
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import backaction as ba

# [T] Figs. 6.9(b) and 6.11: V = V₊ = 2, V₋ = 2V₊, ω_m = 2πκ, Ω/κ = 1/√(5N), that is κ = 5V; rates over γ₊
V, V_MINUS, KAPPA = 2.0, 4.0, 10.0
DURATION, DISCARD, WINDOW = 1000.0, 100.0, 10.0
SIZES = (25, 50, 75, 100, 125, 150, 175, 200, 250)
FIT = (100, 250)  # below N = 100 the blocks saturate, at 45
TRAJECTORIES, SEED, STEP = 64, 0, 0.005
METHODS = ("block", "sliding", "hysteresis")
THESIS = 59.0  # δN, [T] Fig. 6.11
#: Mean and standard error of 64 trajectories, of an independent program, in the order of METHODS; δN likewise.
REFERENCE = {
    50: ((29.0, 0.5), (39.9, 0.9), (22.5, 0.5)),
    100: ((14.7, 0.5), (17.8, 0.5), (13.0, 0.4)),
    150: ((6.7, 0.3), (7.8, 0.4), (6.0, 0.3)),
    200: ((2.6, 0.2), (3.0, 0.2), (2.4, 0.2)),
}
REFERENCE_DECAY = ((60.1, 1.8), (58.2, 1.8), (61.1, 1.9))
# from the current alone, for an ideal heterodyne detector
EFFICIENCIES, CURRENT_SIZES, CURRENT_RUNS = (1.0, 0.1), (50, 100, 150, 200), 16
RECIPE = {"filter_time": 1.0, "window": WINDOW, "threshold": 0.4, "discard": DISCARD}


def run(N: int, detector: ba.Unraveling, ntraj: int, seed: int):
    system = ba.systems.nonreciprocal_spins(N, V, V, V_MINUS, kappa=KAPPA)
    times = np.linspace(0, DURATION, round(10 * DURATION) + 1)
    return times, ba.simulate(
        system, detector, times, ntraj, seed=seed, level="moments", observables=("sp_A", "sp_B"), step=STEP,
        n_jobs=2, progress=False,
    )  # fmt: skip


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    detector = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(2 * np.pi * KAPPA), recorded=False)
    counts = np.zeros((len(METHODS), len(SIZES), TRAJECTORIES))
    print("Reversals in T = 900, mean ± standard error (reference):   " + "   ".join(METHODS))
    for i, N in enumerate(SIZES):
        times, data = run(
            N, detector, TRAJECTORIES, SEED + N
        )  # of its own at each N: the fit takes them as independent
        difference = np.angle(data["hidden_sp_A"].values * data["hidden_sp_B"].values.conj())
        line = []
        for k, method in enumerate(METHODS):
            counts[k, i] = ba.analysis.reversals(difference, times, WINDOW, method=method, discard=DISCARD)
            text = f"{counts[k, i].mean():5.2f} ± {counts[k, i].std(ddof=1) / TRAJECTORIES**0.5:.2f}"
            line.append(text + (f" ({REFERENCE[N][k][0]:.1f} ± {REFERENCE[N][k][1]:.1f})" if N in REFERENCE else ""))
        print(f"  N = {N:3d}: " + "   ".join(line))
    mean, deviation = counts.mean(axis=2), counts.std(axis=2, ddof=1)
    error = np.maximum(deviation, 1 / TRAJECTORIES**0.5) / TRAJECTORIES**0.5

    fits = [ba.analysis.scaling(SIZES, mean[k], error[k], FIT) for k in range(len(METHODS))]
    for k, method in enumerate(METHODS):
        print(
            f"  δN, {method:10}: {float(fits[k]['delta_N']):.1f} ± {float(fits[k]['delta_N_stderr']):.1f}   "
            f"reference {REFERENCE_DECAY[k][0]} ± {REFERENCE_DECAY[k][1]}, thesis {THESIS:g}"
        )

    print(f"From the current alone, ideal heterodyne, {CURRENT_RUNS} trajectories:")
    seen = np.zeros((len(EFFICIENCIES), len(CURRENT_SIZES), CURRENT_RUNS))
    for j, efficiency in enumerate(EFFICIENCIES):
        for i, N in enumerate(CURRENT_SIZES):
            times, data = run(N, ba.Heterodyne("cavity_loss", efficiency=efficiency), CURRENT_RUNS, SEED + 1)
            current, bins = data["current_cavity_loss"].values, (times[1:] + times[:-1]) / 2
            seen[j, i] = ba.analysis.current_reversals(current, bins, **RECIPE)
            difference = np.angle(data["expect_sp_A"].values * data["expect_sp_B"].values.conj())
            truth = ba.analysis.sense(difference, times, WINDOW, method="hysteresis", discard=DISCARD)
            with warnings.catch_warnings():  # few reversals at large N: no errors are printed
                warnings.simplefilter("ignore", ba.analysis.TooLittleDataWarning)
                same = ba.analysis.agreement(
                    truth, ba.analysis.current_sense(current, bins, **RECIPE), tolerance=WINDOW
                )
            print(
                f"  ξ = {efficiency:3g}, N = {N:3d}: {seen[j, i].mean():5.2f} ± "
                f"{seen[j, i].std(ddof=1) / CURRENT_RUNS**0.5:.2f}; against hysteresis {int(same['found'])} found, "
                f"{int(same['missed'])} missed, {int(same['spurious'])} spurious"
            )

    figure, axis = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
    axis.fill_between(
        SIZES, np.maximum(mean[0] - deviation[0], 1e-2), mean[0] + deviation[0], color="0.85", lw=0,
        label=f"standard deviation of {TRAJECTORIES} runs (blocks)",
    )  # fmt: skip
    for k, (method, marker, colour) in enumerate(zip(METHODS, "os^", ("black", "C0", "C2"), strict=True)):
        axis.errorbar(SIZES, mean[k], error[k], fmt=marker, color=colour, ms=5, lw=1, label=method)
    line = np.linspace(*FIT, 50)
    decay, its_error = float(fits[0]["delta_N"]), float(fits[0]["delta_N_stderr"])
    axis.plot(
        line, float(fits[0]["amplitude"]) * np.exp(-line / decay), "C3-", lw=1.8, zorder=5,
        label=rf"$\propto e^{{-N/\delta N}}$, $\delta N={decay:.1f}\pm{its_error:.1f}$ (thesis: 59)",
    )  # fmt: skip
    for j, efficiency in enumerate(EFFICIENCIES):
        axis.errorbar(
            np.array(CURRENT_SIZES) + (2.5 if j == 0 else 5), seen[j].mean(axis=1),
            seen[j].std(axis=1, ddof=1) / CURRENT_RUNS**0.5, fmt="D" if j == 0 else "x", mfc="none",
            color="C1" if j == 0 else "C4", ms=6, lw=1, label=rf"current alone, $\xi={efficiency:g}$",
        )  # fmt: skip
    axis.set(
        yscale="log", ylim=(0.3, 80), xlabel="spins per species $N$",
        ylabel=rf"chirality reversals in $\gamma_+T={DURATION - DISCARD:g}$",
    )  # fmt: skip
    axis.set_title(r"Reversals of the traveling wave, $V_-=2V_+=2V=4\gamma_+$", fontsize=11)
    axis.legend(fontsize=8.5, loc="lower left")
    picture = folder / "fig_6_11.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_6_11.npz", N=SIZES, counts=counts, methods=METHODS, current_N=CURRENT_SIZES,
        efficiencies=EFFICIENCIES, current_counts=seen,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_11"))
