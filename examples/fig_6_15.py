"""Transition from incoherent to synchronized nonreciprocal spins, and what damping does to it: [T] Fig. 6.15.

Mean-field coherence |s_A⁺| beside the threshold (6.32).

    python examples/fig_6_15.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq

import backaction as ba
from backaction.systems import MomentEquations, stability, steady_moments
from backaction.systems.moment_states import Flow, mean_value

# [T] Fig. 6.15: δ = 0; (a) V = V₊; (b) V₋ = 2V₊ = 2V = 4γ₊; rates over γ₊
MANY = 10**9
COUPLINGS, V_MINUS = np.linspace(0.05, 2, 24), np.linspace(0, 2, 21)  # (a)
WAVE = (2.0, 2.0, 4.0)  # (b): V, V₊, V₋
LOSSES, DEPHASINGS = np.linspace(0, 0.5, 18), np.linspace(0, 0.6, 19)
TIMES = np.concatenate([[0.0], np.linspace(100, 120, 21)])
START = {"A": ba.spin(1.5, 0.3), "B": ba.spin(1.6, -0.9)}


def coherence(V: float, V_minus: float, loss: float = 0.0, dephasing: float = 0.0) -> float:
    """|s_A⁺| averaged over late times."""
    system = ba.systems.nonreciprocal_spins(MANY, V, V, V_minus, gamma_minus=loss, gamma_z=dephasing)
    equations = MomentEquations(system, 1)
    path = Flow.of(equations).evolve(equations.initial(START), TIMES)[1:]
    s = equations.mean(system.observables["sp_A"])
    return float(np.mean([abs(mean_value(equations, s, values)) for values in path]))


def growth(V: float, V_minus: float, loss: float = 0.0, dephasing: float = 0.0) -> float:
    """Largest growth rate about the incoherent state."""
    system = ba.systems.nonreciprocal_spins(MANY, V, V, V_minus, gamma_minus=loss, gamma_z=dephasing)
    equations = MomentEquations(system, 1)
    return float(stability(equations, steady_moments(equations))[0].real)


def expected_coupling(V_minus: float) -> float:
    """(6.32) without damping, V = V₊."""
    return min(1.0, (1 + V_minus**2) / 2)


def expected_dephasing(loss: float) -> float:
    """(6.32) in the traveling wave: 1 + γ₋ + 2γ_z = V z₀."""
    return (WAVE[0] * (1 - loss) / (1 + loss) - 1 - loss) / 2


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print("Thresholds of the linearised equations beside (6.32):")
    for V_minus in (0.0, 0.3, 0.6, 1.4):
        found = brentq(lambda V, V_minus=V_minus: growth(V, V_minus), 0.2, 2.0, xtol=1e-9)
        print(f"  (a) V₋ = {V_minus}: V = {found:.6f}   (6.32) {expected_coupling(V_minus):.6f}")
    for loss in (0.0, 0.1):
        found = brentq(lambda z, loss=loss: growth(WAVE[0], WAVE[2], loss, z), 0.0, 1.0, xtol=1e-9)
        print(f"  (b) γ₋ = {loss}: γ_z = {found:.6f}   (6.32) {expected_dephasing(loss):.6f}")

    a = np.array([[coherence(V, V_minus) for V_minus in V_MINUS] for V in COUPLINGS])
    b = np.array([[coherence(WAVE[0], WAVE[2], loss, z) for loss in LOSSES] for z in DEPHASINGS])
    line_a = np.array([expected_coupling(x) for x in V_MINUS])
    line_b = np.array([expected_dephasing(x) for x in LOSSES])
    wrong = np.sum((a > 1e-2) != (COUPLINGS[:, None] > line_a)), np.sum((b > 1e-2) != (DEPHASINGS[:, None] < line_b))
    print(f"grid points on the wrong side of the line: (a) {wrong[0]} of {a.size}, (b) {wrong[1]} of {b.size}")
    print(f"traveling wave without damping: |s_A| = {b[0, 0]:.6f}   (6.11) .306186")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axis, x, y, values in ((left, V_MINUS, COUPLINGS, a), (right, LOSSES, DEPHASINGS, b)):
        image = axis.pcolormesh(x, y, values, cmap="viridis", shading="nearest", vmin=0, rasterized=True)
        figure.colorbar(image, ax=axis, label=r"coherence $|s^+_A|$")
        axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    fine = np.linspace(0, 2, 401)
    left.plot(
        fine,
        [expected_coupling(x) for x in fine],
        "w--",
        lw=1.8,
        label=r"$V=V_+=\min[1,(1+V_-^2)/2]\,\gamma_+$, (6.32)",
    )
    left.set(xlabel=r"$V_-/\gamma_+$", ylabel=r"$V/\gamma_+=V_+/\gamma_+$")
    left.set_title("(a) incoherent to synchronized", fontsize=11)
    right.plot(LOSSES, line_b, "w--", lw=1.8, label=r"$\Gamma=Vz_0$, (6.32)")
    right.set(xlabel=r"damping $\gamma_-/\gamma_+$", ylabel=r"dephasing $\gamma_z/\gamma_+$")
    right.set_title(r"(b) traveling wave, $V_-=2V_+=2V=4\gamma_+$", fontsize=11)
    left.legend(fontsize=9, loc="lower right", facecolor="0.3", labelcolor="white")
    right.legend(fontsize=9, loc="upper right", facecolor="0.3", labelcolor="white")
    picture = folder / "fig_6_15.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_6_15.npz", V=COUPLINGS, V_minus=V_MINUS, a=a, gamma_minus=LOSSES, gamma_z=DEPHASINGS, b=b
    )
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_15"))
