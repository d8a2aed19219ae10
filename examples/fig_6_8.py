"""Combs in the spectrum of modulated traveling waves, for finite N: [T] Fig. 6.8.

Second-order cumulants and regression, (6.18)–(6.20).  Where the populations do not settle but oscillate, the regression
follows them: M holds those at t + τ.

    python examples/fig_6_8.py [folder]
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

# [T] Fig. 6.8: δ = 0, V₊ = V = 2; (a) N = 1000; (b) V₋ = 3.2; rates over γ₊
V = 2.0
N_SCAN, V_MINUS = 1000, np.linspace(2.4, 4.0, 33)
SIZES, V_MODULATED = np.arange(100, 2001, 100), 3.2
OMEGA = np.linspace(-1.5, 1.5, 601)
BURN_IN, LENGTH, DT = 300.0, 250.0, 0.05  # before t, and of τ
#: Of the regressed two-time function, so that its cut at LENGTH does not ring: a line of this half width.
BROADENING = 0.02
#: Mean field at V₊ = 2: synchronized up to, traveling wave from; the comb shows for N ≳ 600 in [T].
REFERENCE_BOUNDS, REFERENCE_N = (2.9103, 3.3085), 600


def spectrum(N: int, V_minus: float, start: np.ndarray | None) -> tuple[np.ndarray, float, np.ndarray]:
    """|S_A(ω)|, the range over which ⟨σ_A^z⟩ oscillates, and the end of the evolution to begin the next from."""
    system = ba.systems.nonreciprocal_spins(N, V, V, V_minus)
    equations = MomentEquations(system, 2)
    flow = Flow.of(equations)
    tau = np.arange(0, LENGTH, DT)
    values = equations.initial() if start is None else start
    path = flow.evolve(values, np.concatenate([[0.0], BURN_IN + tau]))[1:]
    A, B = system.sites
    # ⟨σ^z⟩ from the populations of the upper level, which are variables
    up = [next(i for i, v in enumerate(equations.variables) if v == ((site, (0, 0)),)) for site in (A, B)]
    z_A, z_B = (2 * path[:, i].real - 1 for i in up)
    M = 0.5 * np.array([
        [-(1 + V * (1 + z_A) / N) + V * z_A, (V - V_minus) * z_A],
        [(V + V_minus) * z_B, -(1 + V * (1 + z_B) / N) + V * z_B],
    ])  # fmt: skip
    M = ((M[..., 1:] + M[..., :-1]) / 2).transpose(2, 0, 1)  # midpoints
    half = np.trace(M, axis1=1, axis2=2) / 2
    rest = M - half[:, None, None] * np.eye(2)
    q = np.sqrt(-np.linalg.det(rest).astype(complex))
    sinhc = np.where(abs(q) > 1e-9, np.sinh(q * DT) / np.where(abs(q) > 1e-9, q, 1), DT).real
    steps = np.exp(half * DT)[:, None, None] * (
        np.cosh(q * DT).real[:, None, None] * np.eye(2) + sinhc[:, None, None] * rest
    )
    c = np.array([
        mean_value(equations, equations.correlation(s.sp / N, A.sm), path[0]).real / N for s in (A, B)
    ])  # fmt: skip
    two_time = np.empty(len(tau))
    for i in range(len(tau)):
        two_time[i] = c[0]
        if i < len(steps):
            c = steps[i] @ c
    damped = two_time * np.exp(-BROADENING * tau)
    weight = np.where(np.arange(len(tau)) == 0, 0.5, 1.0) * DT
    S = abs(np.exp(-1j * OMEGA[:, None] * tau) @ (damped * weight))
    return S, float(np.ptp(z_A)), path[-1]


def growth(N: float) -> float:
    """Growth rate, with U(1) symmetry kept, of oscillations about the symmetric steady state at V₋ = 3.2."""
    equations = MomentEquations(ba.systems.nonreciprocal_spins(round(N), V, V, V_MODULATED), 2)
    values = steady_moments(equations, burn_in=100.0)
    eigenvalues = stability(equations, values)
    return float(eigenvalues[abs(eigenvalues.imag) > 0.1].real.max())


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    onset = brentq(growth, 300, 1500, xtol=1)
    print(
        f"V₋ = 3.2: the populations oscillate without end from N = {onset:.0f}   thesis: a comb for N ≳ {REFERENCE_N}"
    )
    scan, ranges, last = [], [], None
    for V_minus in V_MINUS:
        S, width, last = spectrum(N_SCAN, V_minus, last)
        scan.append(S)
        ranges.append(width)
    moving = V_MINUS[np.array(ranges) > 1e-3]
    print(f"N = {N_SCAN}: oscillating populations for V₋ = {moving.min():.2f} … {moving.max():.2f} of the grid; "
          f"mean field modulated from {REFERENCE_BOUNDS[0]} to {REFERENCE_BOUNDS[1]}")  # fmt: skip
    sizes, size_ranges, last = [], [], None
    for N in SIZES:
        S, width, last = spectrum(int(N), V_MODULATED, last)
        sizes.append(S)
        size_ranges.append(width)
    A, B = np.array(scan), np.array(sizes)
    # lines are the highest within ±.15, and 2 % of the strongest: the dips beside them are interference
    near = [B[-1, abs(OMEGA - w) < 0.15].max() for w in OMEGA]
    peaks = OMEGA[(B[-1] == near) & (B[-1] > 0.02 * B[-1].max()) & (OMEGA > -1e-9) & (OMEGA < 1.3)]
    print(f"N = {SIZES[-1]}, V₋ = 3.2: lines at ω = {', '.join(f'{w:.3f}' for w in peaks)}   "
          "trajectories, with the cavity at κ = 10: .497 ± .007")  # fmt: skip

    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    for axis, x, S, label, title in (
        (axes[0], V_MINUS, A, r"nonreciprocal coupling $V_-/\gamma_+$", rf"(a) $N={N_SCAN}$, $V_+=V=2\gamma_+$"),
        (axes[1], SIZES, B, r"spins per species $N$", rf"(b) $V_-={V_MODULATED}\gamma_+$, $V_+=V=2\gamma_+$"),
    ):
        image = axis.pcolormesh(
            x, OMEGA, np.log10(S.T / S.max(axis=1)), cmap="magma", vmin=-2.5, vmax=0, shading="nearest", rasterized=True
        )
        figure.colorbar(image, ax=axis, label=r"$\log_{10}\,|S_A(\omega)|/\max_\omega$")
        axis.set(xlabel=label, ylabel=r"frequency $\omega/\gamma_+$")
        axis.set_title(title, fontsize=11)
    for bound in REFERENCE_BOUNDS:
        axes[0].axvline(bound, color="w", lw=1, ls="--")
    axes[1].axvline(onset, color="w", lw=1, ls="--")
    figure.suptitle(
        "Spectra of nonreciprocal spins; dashed: mean-field bounds (a), onset of the modulation (b)", fontsize=11
    )
    picture = folder / "fig_6_8.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_8.npz", omega=OMEGA, V_minus=V_MINUS, S_scan=A, N=SIZES, S_sizes=B)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_8"))
