"""Chirality of traveling-wave states and its reversals, in single runs and counted: [T] Fig. 6.10.

Two species of N nonreciprocal spins under real heterodyne detection of the cavity, on second-order cumulants, (6.24).
Last, the reversals are found again in the detector's current alone, for efficiencies 1 and 0.1.

    python examples/fig_6_10.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import backaction as ba

# [T] Fig. 6.9(b): V = V₊ = 2, V₋ = 2V₊, ω_m = 2πκ, Ω/κ = 1/√(5N), that is κ = 5V; rates over γ₊
V, V_MINUS, KAPPA = 2.0, 4.0, 10.0
SIZES = (50, 100, 200)
DURATION, DISCARD, WINDOW = 1000.0, 100.0, 10.0  # [T] Fig. 6.11
TRAJECTORIES, SHOWN, SEED, STEP = 64, 8, 0, 0.005
PLOTTED = 400.0  # time shown
#: Mean reversals by blocks and their standard error, of an independent program.
REFERENCE = {50: (29.0, 0.5), 100: (14.7, 0.5), 200: (2.6, 0.2)}
# from the current alone, for an ideal heterodyne detector
EFFICIENCIES, N_CURRENT, CURRENT_RUNS = (1.0, 0.1), 100, 16
FILTER_TIME, THRESHOLD = 1.0, 0.4
METHODS = ("block", "hysteresis")


def phases(data, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """arg⟨σ_A⁺⟩ and its difference from arg⟨σ_B⁺⟩, (trajectory, time)."""
    a, b = data[f"{kind}_sp_A"].values, data[f"{kind}_sp_B"].values
    return np.angle(a), np.angle(a * b.conj())


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    times = np.linspace(0, DURATION, round(10 * DURATION) + 1)
    detector = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(2 * np.pi * KAPPA), recorded=False)
    figure, axes = plt.subplots(2, len(SIZES), figsize=(11, 5.2), sharex=True, sharey="row", layout="constrained")
    kept = {"times": times}

    print(f"{TRAJECTORIES} trajectories of T = {DURATION:g}, the first {DISCARD:g} discarded: reversals by blocks")
    for column, N in enumerate(SIZES):
        system = ba.systems.nonreciprocal_spins(N, V, V, V_MINUS, kappa=KAPPA)
        data = ba.simulate(
            system, detector, times, TRAJECTORIES, seed=SEED, level="moments", observables=("sp_A", "sp_B"),
            step=STEP, n_jobs=2, progress=False,
        )  # fmt: skip
        phase, difference = phases(data, "hidden")
        sense = ba.analysis.sense(difference, times, WINDOW, method="block")
        counts = np.asarray(ba.analysis.reversals(difference, times, WINDOW, method="block", discard=DISCARD))
        error = counts.std(ddof=1) / np.sqrt(TRAJECTORIES)
        expected, its_error = REFERENCE[N]
        print(f"  N = {N:3d}: {counts.mean():5.2f} ± {error:.2f}   reference {expected:5.2f} ± {its_error:.2f}")
        later = times >= DISCARD
        print(f"           median |Δφ| = {np.median(abs(difference[:, later])) / np.pi:.3f} π (mean field .457 π)")

        shown = times <= PLOTTED
        top, bottom = axes[0, column], axes[1, column]
        for k in range(SHOWN - 1, -1, -1):
            style = {"color": "black", "lw": 1.3} if k == 0 else {"color": "0.75", "lw": 0.7}
            top.plot(times[shown], np.unwrap(phase[k])[shown] / (2 * np.pi), **style)
        wrapped = np.where(abs(np.diff(difference[0], append=np.nan)) > np.pi, np.nan, difference[0])
        for k in range(1, SHOWN):
            bottom.plot(times[shown], difference[k, shown] / np.pi, ".", ms=0.4, color="0.85", rasterized=True)
        bottom.plot(times[shown], wrapped[shown] / np.pi, color="black", lw=1)
        for line in (-0.5, 0.5):
            bottom.axhline(line, color="C3", lw=0.8, ls="--")
        turned = np.flatnonzero(np.diff(sense.values[0]) != 0)
        at = (sense["time"].values[turned] + sense["time"].values[turned + 1]) / 2
        for axis in (top, bottom):
            for t in at[(at > 50) & (at < PLOTTED)]:
                axis.axvline(t, 0.94, 1, color="C0", lw=2)
        top.set_title(f"N = {N}: {counts.mean():.1f} ± {error:.1f} reversals", fontsize=11)
        bottom.set(xlabel=r"time $\gamma_+ t$", ylim=(-1, 1), xlim=(0, PLOTTED))
        kept |= {f"phase_{N}": phase[:SHOWN], f"difference_{N}": difference[:SHOWN], f"counts_{N}": counts}
    axes[0, 0].set_ylabel(r"phase $\phi_A/2\pi$")
    axes[1, 0].set_ylabel(r"phase difference $\Delta\phi/\pi$")
    figure.suptitle(
        rf"Traveling waves of nonreciprocal spins, $V_-=2V_+=2V=4\gamma_+$, heterodyne: reversals (blue ticks)"
        rf" in $\gamma_+T={DURATION - DISCARD:g}$",
        fontsize=11,
    )
    picture = folder / "fig_6_10.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_10.npz", **kept)

    print(f"From the current alone (N = {N_CURRENT}, ideal heterodyne, {CURRENT_RUNS} trajectories):")
    system = ba.systems.nonreciprocal_spins(N_CURRENT, V, V, V_MINUS, kappa=KAPPA)
    for efficiency in EFFICIENCIES:
        data = ba.simulate(
            system, ba.Heterodyne("cavity_loss", efficiency=efficiency), times, CURRENT_RUNS, seed=SEED + 1,
            level="moments", observables=("sp_A", "sp_B"), step=STEP, n_jobs=2, progress=False,
        )  # fmt: skip
        current, bins = data["current_cavity_loss"].values, (times[1:] + times[:-1]) / 2
        recipe = {"filter_time": FILTER_TIME, "window": WINDOW, "threshold": THRESHOLD, "discard": DISCARD}
        seen = ba.analysis.current_sense(current, bins, **recipe)
        found = np.asarray(ba.analysis.current_reversals(current, bins, **recipe))
        _, difference = phases(data, "expect")
        for method in METHODS:
            sense = ba.analysis.sense(difference, times, WINDOW, method=method, discard=DISCARD)
            counts = np.asarray(ba.analysis.reversals(difference, times, WINDOW, method=method, discard=DISCARD))
            same = ba.analysis.agreement(sense, seen, tolerance=WINDOW)
            print(
                f"  ξ = {efficiency:3g}: {found.mean():5.2f} a run in the current, "
                f"{counts.mean():5.2f} by {method:10}: "
                f"{int(same['found'])} found, {int(same['missed'])} missed, {int(same['spurious'])} spurious; "
                f"senses agree {float(same['agreement']):.1%} of the time"
            )
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_10"))
