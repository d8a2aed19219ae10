"""Phases of traveling waves under homodyne detection of one quadrature, which favours some of them: [T] Fig. 6.12.

Second-order cumulant trajectories, (6.24), with a fixed local oscillator beside a rotating one.  From a U(1)-symmetric
start a fixed quadrature would keep all phases at ±π/2 (an antiunitary symmetry), so runs start from tilted spins; the
thesis does not say from which.

    python examples/fig_6_12.py [folder]
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

# [T] Fig. 6.12: as Fig. 6.9(b) with N = 500: V = V₊ = 2, V₋ = 2V₊, ω_m = 2πκ or 0, κ = 5V, ξ = 1; rates over γ₊
N, V, V_MINUS, KAPPA = 500, 2.0, 4.0, 10.0
DURATION, DISCARD, STEP, SEED = 1000.0, 100.0, 0.005, 0
#: Starts: A and B tilted by TILT from the upper state, 1.6 apart, turned together by each of these angles.
TILT, APART, TURNS = 1.3, 1.6, np.pi * np.arange(4) / 4
RUNS = 16  # of every start and either chirality
BINS = 60
#: Δφ > 0: axis of the second harmonic over π (error .01), and |⟨e^{2iφ}⟩|; of an independent program.
REFERENCE = {"A": (0.72, 0.037), "B": (0.41, 0.030)}
#: [T]: about π/2 ± π/4 and −π/2 ± π/4.
EXPECTED = {"A": 0.75, "B": 0.25}
DETECTORS = {
    "homodyne": ba.Homodyne("cavity_loss", phase=0.0, recorded=False),
    "heterodyne": ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(2 * np.pi * KAPPA), recorded=False),
}


def runs(detector: str, turn: float, chirality: int, seed: int) -> dict[str, np.ndarray]:
    """arg⟨σ⁺⟩ of A and B, (run, time); runs that do not keep the chirality, sign of Δφ, are left out."""
    times = np.linspace(0, DURATION, round(10 * DURATION) + 1)
    start = {
        name: ba.spin(TILT, turn + sign * chirality * APART / 2) for name, sign in (("A", 1), ("B", -1))
    }  # fmt: skip
    data = ba.simulate(
        ba.systems.nonreciprocal_spins(N, V, V, V_MINUS, kappa=KAPPA), DETECTORS[detector], times, RUNS, seed=seed,
        level="moments", observables=("sp_A", "sp_B"), initial=start, step=STEP, n_jobs=2, progress=False,
    )  # fmt: skip
    late = times >= DISCARD
    a, b = (data[f"hidden_sp_{name}"].values[:, late] for name in "AB")
    kept = (np.sign(ba.analysis.sense(np.angle(a * b.conj()), times[late], 10.0).values) == chirality).all(axis=1)
    return {"A": np.angle(a[kept]), "B": np.angle(b[kept])}


def second(phases: np.ndarray) -> tuple[float, float, float, float]:
    """Axis over π in [0, 1) and modulus of ⟨e^{2iφ}⟩, each with its standard error over runs."""
    each = np.exp(2j * phases).mean(axis=1)
    mean = each.mean()
    along = (each - mean) * np.conj(mean) / abs(mean)
    error = np.sqrt(len(each))
    return (
        np.angle(mean) / (2 * np.pi) % 1, along.imag.std(ddof=1) / error / abs(mean) / (2 * np.pi),
        abs(mean), along.real.std(ddof=1) / error,
    )  # fmt: skip


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    times = np.linspace(0, 100, 1001)
    data = ba.simulate(
        ba.systems.nonreciprocal_spins(N, V, V, V_MINUS, kappa=KAPPA), DETECTORS["homodyne"], times, 4, seed=SEED,
        level="moments", observables=("sp_A", "sp_B"), step=STEP, n_jobs=2, progress=False,
    )  # fmt: skip
    symmetric = np.concatenate([data[f"hidden_sp_{name}"].values[:, 200:] for name in "AB"])
    off = abs(symmetric.real).max() / abs(symmetric).max()
    print(f"from ground states: phases ±π/2, largest |Re s|/|s| = {off:.1e}")

    found: dict[tuple[str, str, int], np.ndarray] = {}
    for detector in DETECTORS:
        for chirality in (-1, 1):
            seeds = SEED + 10 * list(DETECTORS).index(detector) + (5 if chirality > 0 else 0)
            parts = [runs(detector, turn, chirality, seeds + k) for k, turn in enumerate(TURNS)]
            for name in "AB":
                found[detector, name, chirality] = np.concatenate([part[name] for part in parts])
                if detector == "homodyne" and chirality > 0:
                    axes = ", ".join(f"{second(part[name])[0]:.3f}" for part in parts)
                    print(f"  axis of {name} by start, turned by 0, π/4, π/2, 3π/4: {axes} (each ± "
                          f"{second(parts[0][name])[1]:.3f})")  # fmt: skip
    for (detector, name, chirality), phases in found.items():
        axis, axis_error, modulus, modulus_error = second(phases)
        print(f"{detector:10} Δφ {'>' if chirality > 0 else '<'} 0, {len(phases)} of {RUNS * len(TURNS)} runs, {name}: "
              f"|⟨e^2iφ⟩| = {modulus:.4f} ± {modulus_error:.4f}", end="")  # fmt: skip
        if detector == "heterodyne":
            print("   isotropic: 0")
            continue
        expected, its_modulus = REFERENCE[name]
        axis_there = expected if chirality > 0 else 1 - expected  # complex conjugation takes Δφ to −Δφ
        print(f", axis {axis:.3f} ± {axis_error:.3f} π   reference {its_modulus:.3f}, {axis_there:.2f} ± .01 π")

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    edges = np.linspace(-1, 1, BINS + 1)
    middle, line = (edges[1:] + edges[:-1]) / 2, np.linspace(-1, 1, 401)
    kept = {"edges": edges}
    for axis, letter, chirality in zip(axes, "ab", (-1, 1), strict=True):
        gray = np.concatenate([found["heterodyne", name, chirality] for name in "AB"])
        for label, phases, colour in (
            ("heterodyne", gray, "0.6"),
            ("homodyne, A", found["homodyne", "A", chirality], "C0"),
            ("homodyne, B", found["homodyne", "B", chirality], "C1"),
        ):
            counts = np.array([np.histogram(x / np.pi, edges, density=True)[0] for x in phases])
            density, error = 2 * counts.mean(axis=0), 2 * counts.std(axis=0, ddof=1) / np.sqrt(len(counts))
            axis.fill_between(middle, density - error, density + error, color=colour, alpha=0.3, lw=0, step="mid")
            axis.step(middle, density, color=colour, where="mid", lw=1.5, label=label)
            kept |= {
                f"{label.replace(', ', '_')}_{letter}": density,
                f"error_{label.replace(', ', '_')}_{letter}": error,
            }
            if colour != "0.6":
                print(
                    f"{label}, Δφ {'>' if chirality > 0 else '<'} 0: highest at φ = {middle[density.argmax()]:+.2f} π"
                )
                m = np.exp(2j * phases).mean()
                axis.plot(line, 1 + 2 * (m.conj() * np.exp(2j * np.pi * line)).real, color=colour, lw=1, ls="--")
                name = label[-1]
                at = EXPECTED[name] if chirality > 0 else 1 - EXPECTED[name]
                axis.plot([at, at - 1], [1.235, 1.235], "v", color=colour, ms=7)
        axis.set(xlim=(-1, 1), ylim=(0.86, 1.25), xlabel=r"phase $\phi/\pi$")
        axis.set_title(rf"({letter}) $\Delta\phi\approx{'+' if chirality > 0 else '-'}\pi/2$", fontsize=11)
    axes[0].set_ylabel(r"distribution $2\pi P(\phi)$")
    axes[0].legend(fontsize=9, loc="lower right", ncols=3)
    figure.suptitle(
        rf"Phases of traveling waves, $N={N}$, $V_-=2V_+=2V=4\gamma_+$; dashed: second harmonic; "
        r"triangles: $\pm\pi/2\pm\pi/4$",
        fontsize=11,
    )
    picture = folder / "fig_6_12.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_12.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_12"))
