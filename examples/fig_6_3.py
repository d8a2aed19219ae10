"""Explicit breaking of PT symmetry of nonreciprocal spins, by detuning or a complex coupling: [T] Fig. 6.3.

Mean-field frequencies of both species, from moments of first order with N = 10⁹.

    python examples/fig_6_3.py [folder]
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
from backaction.systems.moment_states import Flow

# [T] Fig. 6.3: V₊ = 1, V = 2; (b) V₋ = 2.5; (c) Re V₋ = 1.5; rates over γ₊
V, V_PLUS, MANY = 2.0, 1.0, 10**9
CUT, REAL = 2.5, 1.5
V_MINUS, DETUNING = np.linspace(0, 4, 17), np.linspace(0, 3, 13)  # (a); δ < 0 by symmetry
SWEEP_DETUNING, SWEEP_IMAGINARY = np.linspace(-4, 4, 41), np.linspace(-2, 2, 31)  # (b), (c)
BURN_IN, JUDGED = 60.0, 80.0  # (a); sweeps take .4 of the first
SAME = 0.08  # frequencies closer than that are one: a bounded modulation of phases, over JUDGED, is no difference
BOTH, APART = np.nan, np.inf
STARTS = ({"A": ba.spin(1.5, 0.0), "B": ba.spin(1.6, 1.5)}, {"A": ba.spin(1.5, 0.0), "B": ba.spin(1.6, -1.5)})


class Model:
    """Mean field at one point."""

    def __init__(self, V_minus: complex, detuning: float):
        self.equations = MomentEquations(ba.systems.nonreciprocal_spins(MANY, V, V_PLUS, V_minus, detuning=detuning), 1)
        self.flow = Flow.of(self.equations)
        self.raising = []  # position of ⟨σ⁺⟩, and whether the conjugate stands there
        for site in self.equations.system.sites:
            variable = ((site, (0, 1)),)
            known = variable in self.equations.variables
            at = self.equations.variables.index(variable if known else self.equations.conjugate(variable))
            self.raising.append((at, not known))

    def frequencies(self, values: np.ndarray, burn_in: float) -> tuple[np.ndarray, np.ndarray]:
        """(ω_A, ω_B) after a burn-in, and the end of the evolution."""
        path = self.flow.evolve(values, np.concatenate([[0.0], burn_in + np.linspace(0, JUDGED, 501)]))[1:]
        out = []
        for at, conjugated in self.raising:
            phase = np.unwrap(np.angle(path[:, at].conj() if conjugated else path[:, at]))
            out.append((phase[-1] - phase[0]) / JUDGED)
        return np.array(out), path[-1]


def classify(V_minus: float, detuning: float) -> float:
    """The frequency where both starts find the same; BOTH where they find two; APART where the species differ."""
    model = Model(V_minus, detuning)
    first, second = (model.frequencies(model.equations.initial(start), BURN_IN)[0] for start in STARTS)
    if max(abs(np.diff(first)[0]), abs(np.diff(second)[0])) > SAME:
        return APART
    return float(first.mean()) if abs(first - second).max() < SAME else BOTH


def sweep(models: list[Model]) -> np.ndarray:
    """(up or down, point, species): each from the end of the one before."""
    out = np.zeros((2, len(models), 2))
    for k, order in enumerate((range(len(models)), range(len(models) - 1, -1, -1))):
        values = models[0].equations.initial(STARTS[0])
        rng = np.random.default_rng(0)
        for i in order:
            kick = 1e-4 * rng.normal(size=len(values))  # off a state that lost its stability
            out[k, i], values = models[i].frequencies(values + kick, 0.4 * BURN_IN)
    return out


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    omega0 = np.sqrt((CUT**2 - 1) ** 2 - V**2) / (2 * V * CUT)
    up_down = sweep([Model(CUT, delta) for delta in SWEEP_DETUNING])
    complex_sweep = sweep([Model(REAL + 1j * y, 0.0) for y in SWEEP_IMAGINARY])
    middle = len(SWEEP_DETUNING) // 2
    print(f"(b) δ = 0: ω = {up_down[0, middle, 0]:+.5f} upwards, {up_down[1, middle, 0]:+.5f} downwards; "
          f"(6.11) ±{omega0:.5f}")  # fmt: skip
    apart = (abs(up_down[..., 0] - up_down[..., 1]) > SAME).any(axis=0)
    two = (abs(up_down[0] - up_down[1]).max(axis=1) > SAME) & ~apart
    print(
        f"    two states for δ = {SWEEP_DETUNING[two].min(initial=np.inf):+.1f} … "
        f"{SWEEP_DETUNING[two].max(initial=-np.inf):+.1f}; unsynchronized for |δ| > "
        f"{abs(SWEEP_DETUNING[~apart]).max(initial=0):.1f} (grid of {SWEEP_DETUNING[1] - SWEEP_DETUNING[0]:.1f})"
    )
    apart_c = abs(complex_sweep[..., 0] - complex_sweep[..., 1]).max()
    two_c = abs(complex_sweep[0] - complex_sweep[1]).max(axis=1) > SAME
    print(f"(c) largest |ω_A − ω_B| = {apart_c:.1e}   thesis: no unsynchronized states")
    print(f"    values of Im V₋ with two states: {two_c.sum()} of {len(two_c)}")

    half = np.array([[classify(x, delta) for x in V_MINUS] for delta in DETUNING])
    mirrored = np.where(np.isfinite(half), -half, half)[:0:-1]  # exchanging A and B, and conjugating: δ → −δ, ω → −ω
    table = np.concatenate([mirrored, half])
    delta = np.concatenate([-DETUNING[:0:-1], DETUNING])

    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), layout="constrained", width_ratios=(1.15, 1, 1))
    frequency = np.ma.masked_invalid(table)
    image = axes[0].pcolormesh(V_MINUS, delta, frequency, cmap="RdBu", vmin=-1.2, vmax=1.2, shading="nearest")
    for special, colour in ((np.isnan(table), "#7b3fa0"), (np.isinf(table), "black")):
        axes[0].pcolormesh(
            V_MINUS, delta, np.ma.masked_where(~special, np.ones_like(table)), shading="nearest",
            cmap=matplotlib.colors.ListedColormap([colour]),
        )  # fmt: skip
    figure.colorbar(image, ax=axes[0], label=r"frequency $\omega/\gamma_+$")
    axes[0].set(xlabel=r"nonreciprocal coupling $V_-/\gamma_+$", ylabel=r"detuning $\delta/\gamma_+$")
    axes[0].set_title("(a) purple: either sense; black: unsynchronized", fontsize=10.5)
    axes[0].axvline(CUT, color="0.4", lw=1, ls=":")
    for axis, x, values, label, title in (
        (axes[1], SWEEP_DETUNING, up_down, r"detuning $\delta/\gamma_+$", rf"(b) $V_-={CUT}\gamma_+$"),
        (axes[2], SWEEP_IMAGINARY, complex_sweep, r"Im $V_-/\gamma_+$", rf"(c) Re $V_-={REAL}\gamma_+$, $\delta=0$"),
    ):
        for k, (style, way) in enumerate((("-", "increasing"), ("--", "decreasing"))):
            axis.plot(x, values[k, :, 0], style, color="C3", lw=2.4 - k, label=f"A, {way}")
            axis.plot(x, values[k, :, 1], style, color="C0", lw=1.6 - 0.4 * k, label=f"B, {way}")
        axis.set(xlabel=label, ylabel=r"frequency $\omega/\gamma_+$")
        axis.set_title(title, fontsize=10.5)
    axes[1].legend(fontsize=7.5, loc="lower center")
    figure.suptitle(r"Explicit PT-symmetry breaking, mean field, $V_+=\gamma_+$, $V=2\gamma_+$", fontsize=11)
    picture = folder / "fig_6_3.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_6_3.npz", V_minus=V_MINUS, detuning=delta, frequency=table, sweep_detuning=SWEEP_DETUNING,
        up_down=up_down, sweep_imaginary=SWEEP_IMAGINARY, complex_sweep=complex_sweep,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_3"))
