"""Phase diagram of nonreciprocal spins in the thermodynamic limit, and how phases evolve: [T] Fig. 6.2.

Mean-field equations (6.11), by moments of first order with N = 10⁹.

    python examples/fig_6_2.py [folder]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from scipy.optimize import brentq

import backaction as ba
from backaction.systems import MomentEquations, stability
from backaction.systems.moment_states import Flow, mean_value

# [T] Fig. 6.2: δ = 0, V = 2γ₊; rates over γ₊
V, MANY = 2.0, 10**9
V_MINUS, V_PLUS = np.linspace(0, 4, 33), np.linspace(0, 2, 17)  # |V₊| ≤ V; −V₊ by symmetry
DURATION, LATE = 240.0, 60.0  # how long a point evolves, and how much of its end is judged
#: Panels (b–e): title, V₋, V₊, time shown.
EVOLUTIONS = (
    ("synchronized", 0.0, 1.0, 20.0),
    (r"$\pi$-synchronized", 0.0, -1.0, 20.0),
    ("traveling wave", 1.0, 0.0, 40.0),
    ("modulated", 2.4, 1.5, 60.0),
)
STATES = ("incoherent", "synchronized", "π-synchronized", "traveling wave", "modulated")
COLOURS = ("white", "#8ecae6", "#b7b7d7", "#ffb703", "#d1495b")
START = {"A": ba.spin(1.5, 0.3), "B": ba.spin(1.6, -0.9)}
#: At V₊ = V₋/2 = 2: ω, θ/π, |s|; bounds at V₊ = 2, of an independent program.
REFERENCE_WAVE = (0.70710678, 0.39183, 0.306186)
REFERENCE_BOUNDS = (2.9103, 3.3085)


def system_at(V_minus: float, V_plus: float) -> ba.System:
    return ba.systems.nonreciprocal_spins(MANY, V, V_plus, V_minus)


def coherences(V_minus: float, V_plus: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """s_A⁺ and s_B⁺ at the given times."""
    system = system_at(V_minus, V_plus)
    equations = MomentEquations(system, 1)
    path = Flow.of(equations).evolve(equations.initial(START), times)
    sp = [equations.mean(system.observables[f"sp_{name}"]) for name in "AB"]
    a, b = (np.array([mean_value(equations, s, values) for values in path]) for s in sp)
    return a, b


def state(a: np.ndarray, b: np.ndarray, dt: float) -> int:
    """Which of STATES the end of an evolution is."""
    if abs(a).mean() < 1e-3:
        return 0
    modulation = np.ptp(abs(a)) / abs(a).mean() + np.ptp(abs(b)) / abs(b).mean()
    if modulation > 0.02:
        return 4
    if abs(np.mean(np.diff(np.unwrap(np.angle(a))))) / dt > 1e-3:
        return 3
    return 1 if np.mean((a * b.conj()).real) > 0 else 2


def slowest(V_minus: float, V_plus: float = 2.0) -> float:
    """Largest growth rate about the traveling wave (6.11), in the frame where it stands, without the free phase."""
    gap = V_minus**2 - V_plus**2
    omega = np.sqrt(gap**2 - V**2 * V_plus**2) / (2 * V * V_minus)
    theta, modulus = np.arccos(V * V_plus / gap), np.sqrt(gap / 2) / (V * V_minus)
    system = system_at(V_minus, V_plus)
    A, B = system.sites
    equations = MomentEquations(replace(system, H=system.H - omega * (A.sz + B.sz)), 1)
    values = equations.initial()
    for i, variable in enumerate(equations.variables):
        site, unit = variable[0]
        sign = 1 if site.name == "A" else -1
        population = (1 + 0.5 * (1 + sign * V_plus / V_minus)) / 2
        values[i] = population if unit == (0, 0) else modulus * np.exp(0.5j * sign * theta)
    eigenvalues = stability(equations, values)
    return float(eigenvalues[np.argsort(abs(eigenvalues))[1:]].real.max())


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    a, b = coherences(4.0, 2.0, np.array([0.0, 300.0, 301.0]))
    found = (abs(np.angle(a[2] / a[1])), abs(np.angle(a[2] / b[2])) / np.pi, abs(a[2]))
    for name, value, expected in zip(("ω", "θ/π", "|s|"), found, REFERENCE_WAVE, strict=True):
        print(f"traveling wave, V₊ = 2, V₋ = 4: {name:4} = {value:.6f}   reference {expected:.6f}")
    stable = brentq(slowest, 3.1, 3.6, xtol=1e-8)
    print(f"V₊ = 2: traveling wave stable from V₋ = {stable:.4f}   reference {REFERENCE_BOUNDS[1]}")

    times = np.concatenate([[0.0], np.linspace(DURATION - LATE, DURATION, 241)])
    dt = times[2] - times[1]
    diagram = np.zeros((len(V_PLUS), len(V_MINUS)), dtype=int)
    for i, V_plus in enumerate(V_PLUS):
        for j, V_minus in enumerate(V_MINUS):
            a, b = coherences(V_minus, V_plus, times)
            diagram[i, j] = state(a[1:], b[1:], dt)
    top = diagram[-1]
    print(
        f"V₊ = 2: on the grid, last synchronized V₋ = {V_MINUS[top == 1].max():.3f}, modulated "
        f"{V_MINUS[top == 4].min():.3f} … {V_MINUS[top == 4].max():.3f}, traveling from "
        f"{V_MINUS[top == 3].min():.3f}   reference: {REFERENCE_BOUNDS[0]} and {REFERENCE_BOUNDS[1]}"
    )

    # (s_A, s_B) → (−s_B, s_A) takes V₊ to −V₊, and synchronized to π-synchronized; one point of each is checked
    mirrored = np.array([0, 2, 1, 3, 4])
    for name in range(1, 5):
        i, j = np.argwhere((diagram == name) & (V_PLUS[:, None] > 0))[0] if (diagram[1:] == name).any() else (0, 0)
        a, b = coherences(V_MINUS[j], -V_PLUS[i], times)
        if i > 0 and state(a[1:], b[1:], dt) != mirrored[name]:
            print(f"  no mirror image: V₋ = {V_MINUS[j]:g}, V₊ = {-V_PLUS[i]:g}")
    both = np.concatenate([mirrored[diagram[:0:-1]], diagram])
    V_both = np.concatenate([-V_PLUS[:0:-1], V_PLUS])

    figure = plt.figure(figsize=(11.5, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.45, 1, 1))
    axis = figure.add_subplot(grid[:, 0])
    colours = ListedColormap(COLOURS)
    image = axis.pcolormesh(
        V_MINUS, V_both, both, cmap=colours, norm=BoundaryNorm(np.arange(6) - 0.5, 5), shading="nearest"
    )
    bar = figure.colorbar(image, ax=axis, ticks=range(1, 5), location="top", aspect=40)
    bar.ax.set_xlim(0.5, 4.5)
    bar.ax.set_xticklabels(STATES[1:], fontsize=8)
    line = np.linspace(-1, 1, 201)
    axis.plot(np.sqrt(line**2 + V * abs(line)), line, "k--", lw=1.3, label=r"$V_-^2=V_+^2+V|V_+|$")
    axis.plot([REFERENCE_BOUNDS[0]], [2.0], "k^", ms=8, clip_on=False, label="synchronized up to 2.9103")
    axis.plot([stable], [2.0], "ko", ms=7, clip_on=False, label=f"wave stable from {stable:.4f}")
    axis.legend(fontsize=9, loc="center right", framealpha=0.9)
    axis.set(xlabel=r"nonreciprocal coupling $V_-/\gamma_+$", ylabel=r"reciprocal coupling $V_+/\gamma_+$")
    axis.set_title(r"(a) mean-field states, $V=2\gamma_+$, $\delta=0$", fontsize=11)

    kept = {"V_minus": V_MINUS, "V_plus": V_both, "diagram": both}
    for k, (title, V_minus, V_plus, span) in enumerate(EVOLUTIONS):
        axis = figure.add_subplot(grid[k // 2, 1 + k % 2])
        t = np.linspace(0, span, 1501)
        a, b = coherences(V_minus, V_plus, t)
        for values, colour, label in (
            (a * b.conj(), "0.6", r"$\phi_A-\phi_B$"), (a, "C0", r"$\phi_A$"), (b, "C1", r"$\phi_B$"),
        ):  # fmt: skip
            phase = np.angle(values)
            jumps = abs(np.diff(phase, append=phase[-1])) > np.pi
            axis.plot(t, np.where(jumps, np.nan, phase) / np.pi, color=colour, lw=1.4, label=label)
        axis.set(ylim=(-1.05, 1.05), xlim=(0, span), xlabel=r"time $\gamma_+t$", ylabel=r"phase$\,/\pi$")
        axis.set_title(rf"({'bcde'[k]}) {title}: $V_-={V_minus:g}$, $V_+={V_plus:g}$", fontsize=10.5)
        if k == 0:
            axis.legend(fontsize=8.5, loc="upper right")
        kept |= {f"t_{k}": t, f"a_{k}": a, f"b_{k}": b}
    picture = folder / "fig_6_2.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_2.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_2"))
