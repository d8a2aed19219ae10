"""Phases of nonreciprocal spins under heterodyne detection, synchronized, traveling and modulated: [T] Fig. 6.9.

Second-order cumulant trajectories, (6.24), of real heterodyne detection of the cavity.

    python examples/fig_6_9.py [folder]
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

# [T] Fig. 6.9: δ = 0, ξ = 1, ω_m = 2πκ, Ω/κ = 1/√(5N), that is κ = 5V, V₊ = V = 2; rates over γ₊
V, KAPPA, STEP, SEED = 2.0, 10.0, 0.005, 0
DURATION, DISCARD, RUNS = 400.0, 100.0, 32
#: Title, N, V₋, time shown.
STATES = (
    ("synchronized", 100, 1.0, (0.0, 60.0)),
    ("traveling wave", 100, 4.0, (0.0, 60.0)),
    ("modulated wave", 2000, 3.2, (0.0, 100.0)),
)
#: |ω| and its error, of an independent program; the mean field with the cavity has .80520 for the traveling wave.
FREQUENCY = {4.0: (0.833, 0.015), 3.2: (0.497, 0.007)}
MODULI = {1.0: (0.332, 0.264), 4.0: (0.242, 0.293)}
WINDOW = 10.0  # of the senses; of each panel the first run is drawn, of the traveling wave the first with one reversal


def broken(phase: np.ndarray) -> np.ndarray:
    """A wrapped phase over π, without the lines across the jumps."""
    return np.where(abs(np.diff(phase, append=phase[-1])) > np.pi, np.nan, phase) / np.pi


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    times = np.linspace(0, DURATION, round(10 * DURATION) + 1)
    detector = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(2 * np.pi * KAPPA), recorded=False)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    kept = {"times": times}
    for axis, letter, (title, N, V_minus, span) in zip(axes, "abc", STATES, strict=True):
        data = ba.simulate(
            ba.systems.nonreciprocal_spins(N, V, V, V_minus, kappa=KAPPA), detector, times, RUNS, seed=SEED,
            level="moments", observables=("sp_A", "sp_B"), step=STEP, n_jobs=2, progress=False,
        )  # fmt: skip
        a, b = data["hidden_sp_A"].values, data["hidden_sp_B"].values
        difference = np.angle(a * b.conj())
        late = times >= DISCARD
        print(f"({letter}) {title}: N = {N}, V₋ = {V_minus:g}, {RUNS} runs of T = {DURATION:g}")
        reference = "  reference {:.3f}, {:.3f}".format(*MODULI[V_minus]) if V_minus in MODULI else ""
        print(f"    mean |s_A|, |s_B| = {abs(a[:, late]).mean():.3f}, {abs(b[:, late]).mean():.3f}{reference}")
        if V_minus in FREQUENCY:
            # median over pieces of 10 of the turning angle: reversals do not matter
            steps = np.diff(np.unwrap(np.angle(a[:, late])), axis=1)
            turning = np.median(abs(steps.reshape(RUNS, -1, 100).sum(axis=2)) / WINDOW, axis=1)
            print(
                f"    |ω| = {turning.mean():.3f} ± {turning.std(ddof=1) / RUNS**0.5:.3f}   "
                "reference {:.3f} ± {:.3f}".format(*FREQUENCY[V_minus])
            )
            sine = np.sin(difference[:, late][:, :-1]).reshape(RUNS, -1, 100).mean(axis=2)
            steady = abs(steps.reshape(RUNS, -1, 100).sum(axis=2))[abs(sine) > 0.5] / WINDOW
            print(f"    in pieces of 10 of one sense (mean sin Δφ beyond ±1/2) {steady.mean():.3f}")
            print(f"    mean |Δφ| = {abs(difference[:, late]).mean() / np.pi:.3f} π")
        else:
            print(f"    Δφ = {difference[:, late].mean():+.3f}   reference ≈ 0")

        drawn = 0
        if V_minus == 4.0:
            end = round(10 * span[1]) + 1
            turns = np.array([
                [
                    ba.analysis.reversals(x[:end], times[:end], WINDOW, method=method, discard=5.0)
                    for method in ("block", "sliding", "hysteresis")
                ]
                for x in difference
            ])  # fmt: skip
            drawn = int(np.argmax((turns == 1).all(axis=1)))
            kept["reversals"] = turns
        shown = (times >= span[0]) & (times <= span[1])
        axis.plot(times[shown], broken(difference[drawn, shown]), color="0.6", lw=1.2, label=r"$\phi_A-\phi_B$")
        axis.plot(times[shown], broken(np.angle(a[drawn, shown])), color="C0", lw=1.4, label=r"$\phi_A$")
        axis.plot(times[shown], broken(np.angle(b[drawn, shown])), color="C1", lw=1.4, label=r"$\phi_B$")
        axis.set(xlabel=r"time $\gamma_+t$", ylim=(-1, 1), xlim=span)
        axis.set_title(rf"({letter}) {title}: $N={N}$, $V_-={V_minus / V:g}V_+$", fontsize=10.5)
        kept |= {f"sp_A_{letter}": a, f"sp_B_{letter}": b, f"drawn_{letter}": drawn}
    axes[0].set_ylabel(r"phase$\,/\pi$")
    axes[0].legend(fontsize=9, loc="upper right")
    figure.suptitle(r"Phases of two spin species under heterodyne detection, $V_+=V=2\gamma_+$", fontsize=11)
    picture = folder / "fig_6_9.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_9.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_9"))
