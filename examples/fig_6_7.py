"""Spectrum of nonreciprocal spins and its exceptional points, for finite N: [T] Fig. 6.7.

Second-order cumulants and regression, (6.18)–(6.20).

    python examples/fig_6_7.py [folder]
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
from backaction.systems import MomentEquations, moment_spectrum, steady_moments
from backaction.systems.moment_states import Flow, factor_index, mean_value

# [T] Fig. 6.7: N = 100, V = 2; (a) δ = 0, (b) V₋ = 0; rates over γ₊.  V₊ is not printed there: 1, as in Fig. 6.3
N, V, V_PLUS = 100, 2.0, 1.0
V_MINUS, DETUNING = np.linspace(0, 4, 101), np.linspace(-3, 3, 101)
OMEGA = np.linspace(-2.5, 2.5, 501)


class Steady:
    """The steady state and its spectrum."""

    def __init__(self, V_minus: float, detuning: float):
        self.system = ba.systems.nonreciprocal_spins(N, V, V_PLUS, V_minus, detuning=detuning)
        self.equations = MomentEquations(self.system, 2)
        self.values = steady_moments(self.equations, burn_in=60.0)
        self.A, self.B = self.system.sites
        raising = [(site, (0, 1)) for site in (self.A, self.B)]
        at = [factor_index(self.equations, (x,)) for x in raising]
        #: (6.20): how ⟨σ_A⁺(t+τ) …⟩ and ⟨σ_B⁺(t+τ) …⟩ evolve.
        self.M = Flow.of(self.equations).jacobian(self.values)[np.ix_(at, at)]
        self.equal_time = np.array([
            mean_value(self.equations, self.equations.correlation(s.sp / N, self.A.sm), self.values)
            for s in (self.A, self.B)
        ])  # fmt: skip

    def spectrum(self, omega: np.ndarray) -> np.ndarray:
        """∫₀^∞ ⟨S_A⁺(t+τ) S_A⁻(t)⟩ e^{−iωτ} dτ / N, complex: a peak at +ω₀ where the phase of A rises as ω₀t."""
        eigenvalues, vectors = np.linalg.eig(self.M)
        weight = vectors[0] * np.linalg.solve(vectors, self.equal_time)
        return (weight / (1j * omega[:, None] - eigenvalues)).sum(axis=1)


def gap(V_minus: float, detuning: float) -> float:
    """Discriminant of M, zero at an exceptional point."""
    M = Steady(V_minus, detuning).M
    return float(((M[0, 0] - M[1, 1]) ** 2 + 4 * M[0, 1] * M[1, 0]).real)


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    one = Steady(3.0, 0.0)
    package = moment_spectrum(one.equations, one.values, one.A.sm, OMEGA[::50] + 1e-3)
    mine = 2 * N * one.spectrum(OMEGA[::50] + 1e-3).real
    print(f"2 Re of the half-sided spectrum beside ba's moment_spectrum: {abs(mine / package - 1).max():.1e}")
    points = (
        [brentq(lambda x: gap(x, 0.0), 1.0, 3.0, xtol=1e-6)],
        [s * brentq(lambda x: gap(0.0, x), 0.05, 2.5, xtol=1e-6) for s in (-1, 1)],
    )
    print(
        f"exceptional point, δ = 0: V₋ = {points[0][0]:.4f}; "
        f"mean-field boundary √(V₊² + VV₊) = {np.sqrt(V_PLUS**2 + V * V_PLUS):.4f}"
    )
    vectors = np.linalg.eig(Steady(points[0][0], 0.0).M)[1]
    print(f"  overlap of the two eigenvectors there: {abs(np.vdot(vectors[:, 0], vectors[:, 1])):.4f} (1: collinear)")
    z = (Steady(0.0, points[1][1]).M[0, 1] * 2 / V_PLUS).real
    print(f"exceptional point, V₋ = 0: |δ| = {points[1][1]:.4f}; V₊⟨σ^z⟩ = {V_PLUS * z:.4f}")

    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    kept = {"omega": OMEGA, "V_minus": V_MINUS, "detuning": DETUNING}
    panels = (
        (V_MINUS, lambda x: Steady(x, 0.0), r"nonreciprocal coupling $V_-/\gamma_+$",
         rf"(a) $\delta=0$, $V_+={V_PLUS:g}$"),
        (DETUNING, lambda x: Steady(0.0, x), r"detuning $\delta/\gamma_+$", rf"(b) $V_-=0$, $V_+={V_PLUS:g}$"),
    )  # fmt: skip
    for k, (axis, (x, make, label, title)) in enumerate(zip(axes, panels, strict=True)):
        states = [make(value) for value in x]
        S = np.array([abs(state.spectrum(OMEGA)) for state in states])
        eigenvalues = np.array([np.linalg.eigvals(state.M) for state in states])
        if k == 0:
            print(f"(a) asymmetry under ω → −ω: {abs(S - S[:, ::-1]).max() / S.max():.1e}   (6.22): none")
        image = axis.pcolormesh(
            x, OMEGA, np.log10(S.T / S.max()), cmap="magma", vmin=-3, vmax=0, shading="nearest", rasterized=True
        )
        axis.plot(
            np.repeat(x[::2], 2), eigenvalues[::2].imag.ravel(), ".", color="C0", ms=3.5, label=r"Im $\lambda(M)$"
        )
        axis.plot(points[k], np.zeros(len(points[k])), "o", mfc="none", mec="C0", ms=11, mew=2,
                  label="exceptional point")  # fmt: skip
        axis.set(xlabel=label, ylabel=r"frequency $\omega/\gamma_+$", ylim=(OMEGA[0], OMEGA[-1]))
        axis.set_title(rf"{title}, $N={N}$, $V=2\gamma_+$", fontsize=11)
        if k == 0:
            axis.legend(fontsize=9, loc="lower left", facecolor="0.25", labelcolor="white")
        inset = axis.inset_axes([0.36, 0.73, 0.28, 0.2] if k else [0.10, 0.73, 0.33, 0.2])
        inset.plot(np.repeat(x, 2), eigenvalues.real.ravel(), ".", color="C0", ms=2)
        inset.set_title(r"Re $\lambda(M)$", fontsize=8, color="white", pad=2)
        inset.patch.set_alpha(0.35)
        inset.tick_params(labelsize=7, colors="white")
        figure.colorbar(image, ax=axis, label=r"$\log_{10}|S_A(\omega)|/\max$")
        kept |= {f"S_{k}": S, f"eigenvalues_{k}": eigenvalues}
    picture = folder / "fig_6_7.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_6_7.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_7"))
