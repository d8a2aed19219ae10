"""Amplitude and phase difference of nonreciprocal spins in the thermodynamic limit: [T] Fig. 6.16.

Mean-field equations (6.11) by moments of first order, averaged over late times.

    python examples/fig_6_16.py [folder]
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
from backaction.systems import MomentEquations
from backaction.systems.moment_states import Flow, mean_value

# [T] Fig. 6.16: δ = 0, V = 2γ₊; rates over γ₊
V, MANY = 2.0, 10**9
V_MINUS, V_PLUS = np.linspace(0, 4, 25), np.linspace(-2, 2, 25)  # |V₊| ≤ V
TIMES = np.concatenate([[0.0], np.linspace(160, 220, 121)])
STRIPE = 3  # columns that begin in one sense of rotation
#: At V₊ = 2, V₋ = 4: θ/π and |s| of (6.11).
REFERENCE = (0.39183, 0.306186)


def averages(V_minus: float, V_plus: float, sense: int) -> tuple[float, float]:
    """|s_A⁺| and arg(s_A⁺/s_B⁺), averaged over late times, from a start on one side."""
    system = ba.systems.nonreciprocal_spins(MANY, V, V_plus, V_minus)
    equations = MomentEquations(system, 1)
    start = {"A": ba.spin(1.5, 0.0), "B": ba.spin(1.6, sense * 1.5)}
    path = Flow.of(equations).evolve(equations.initial(start), TIMES)[1:]
    a, b = (
        np.array([mean_value(equations, equations.mean(system.observables[f"sp_{name}"]), values) for values in path])
        for name in "AB"
    )
    # the circular mean: near ±π no branch is right
    return float(abs(a).mean()), float(np.angle(np.mean(np.exp(1j * np.angle(a * b.conj())))))


def theta(V_minus: float, V_plus: float) -> float:
    """cos θ = V V₊/(V₋² − V₊²), of the traveling wave (6.11)."""
    return float(np.arccos(V * V_plus / (V_minus**2 - V_plus**2)))


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    amplitude, difference = np.zeros((2, len(V_PLUS), len(V_MINUS)))
    for j, V_minus in enumerate(V_MINUS):
        sense = 1 if (j // STRIPE) % 2 == 0 else -1
        for i, V_plus in enumerate(V_PLUS):
            amplitude[i, j], difference[i, j] = averages(V_minus, V_plus, sense)
    print(f"V₊ = 2, V₋ = 4: |Δφ| = {abs(difference[-1, -1]) / np.pi:.5f} π, |s_A| = {amplitude[-1, -1]:.6f}   "
          "reference {:.5f} π, {:.6f}".format(*REFERENCE))  # fmt: skip
    zero = np.argmin(abs(V_PLUS))
    flat = abs(difference[zero, V_MINUS > 0.2])
    print(f"V₊ = 0: |Δφ| from {flat.min() / np.pi:.5f} to {flat.max() / np.pi:.5f} π   thesis: precisely π/2")
    wave = [
        (abs(abs(difference[i, j]) - theta(x, y)), abs(amplitude[i, j] - np.sqrt((x**2 - y**2) / 2) / (V * x)))
        for i, y in enumerate(V_PLUS) for j, x in enumerate(V_MINUS)
        if abs(y) <= 0.75 and x**2 > y**2 + V * abs(y) + 0.3
    ]  # fmt: skip
    print(f"traveling wave, |V₊| ≤ .75 ({len(wave)} points): largest distance from (6.11) "
          f"{np.max(wave, axis=0)[0]:.1e} rad, |s_A| {np.max(wave, axis=0)[1]:.1e}")  # fmt: skip

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    line = np.linspace(-1, 1, 201)
    for axis, values, options, label in (
        (left, amplitude, {"cmap": "viridis"}, r"amplitude $\overline{|s^+_A|}$"),
        (right, difference / np.pi, {"cmap": "twilight", "vmin": -1, "vmax": 1}, r"$\arg(s^+_A/s^+_B)\,/\pi$"),
    ):
        image = axis.pcolormesh(V_MINUS, V_PLUS, values, shading="nearest", rasterized=True, **options)
        figure.colorbar(image, ax=axis, label=label)
        axis.plot(np.sqrt(line**2 + V * abs(line)), line, "--", color="w" if axis is left else "k", lw=1.3)
        axis.set(xlabel=r"nonreciprocal coupling $V_-/\gamma_+$", ylabel=r"reciprocal coupling $V_+/\gamma_+$")
    left.set_title(r"(a) amplitude, $V=2\gamma_+$; dashed: $V_-^2=V_+^2+V|V_+|$", fontsize=11)
    right.set_title("(b) phase difference; stripes: either start", fontsize=11)
    picture = folder / "fig_6_16.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_6_16.npz", V_minus=V_MINUS, V_plus=V_PLUS, amplitude=amplitude, difference=difference
    )
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_16"))
