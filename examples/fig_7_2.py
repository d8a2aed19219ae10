"""Emission spectrum of a superradiant laser against the fraction of driven atoms: [T] Fig. 7.2.

Second-order cumulants and regression, beside the mean-field frequency (7.7); below, where the mean field (7.5) ends.

    python examples/fig_7_2.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import backaction as ba
from backaction.systems import MomentEquations, moment_spectrum
from backaction.systems.moment_states import Flow, mean_value

# [T] Fig. 7.2: N = 10³, κ = 10√N Ω, which is 50V, V = γ₊, γ₋ = γ_z = 0; rates over γ₊
N, V, KAPPA = 1000, 1.0, 50.0
FRACTIONS = np.append(np.linspace(0.6, 0.975, 76), [1.0])
OMEGA = np.linspace(-0.5, 0.5, 2000)  # without 0: populations of undriven atoms have no rate of their own
CUTS = (0.8, 0.9, 1.0)
SPHERES = (0.5, 0.8, 1.0)  # panels (c–e)
SETTLING = 400.0  # time to the steady state, six times that close to p_d = 1
THRESHOLD = 0.75  # (7.11)
#: At p_d = .8: (7.7); peak and full width at half maximum of the cumulant spectrum, of an independent program.
REFERENCE_FREQUENCY, REFERENCE_PEAK, REFERENCE_WIDTH = 0.195440, 0.18915, 0.0049
MANY = 10**9


def mean_field_frequency(p: np.ndarray) -> np.ndarray:
    """|ω| of (7.7), with p_ud = 1 − p_d."""
    v, p_ud = 2 * V - 1, 1 - p
    with np.errstate(invalid="ignore"):  # no laser below the threshold
        return np.sqrt(0.25 * (v - 2 * V * p_ud - np.sqrt(v * (v - 4 * V * p_ud))))


def steady(equations: MomentEquations, p: float) -> np.ndarray:
    """What the ground state evolves to.

    Undriven atoms keep their collective spin (all that acts on them is collective), so that steady states are a family,
    in which Newton's method would not stay where the evolution led: here, time alone.
    """
    flow, start = Flow.of(equations), equations.initial()
    end = SETTLING * (1.0 if p < 0.88 else 6.0)
    solution = solve_ivp(
        lambda t, y: flow.coordinates(flow.drift(flow.values(y))), (0, end), flow.coordinates(start), t_eval=[end],
        method="LSODA", rtol=1e-8, atol=1e-10, jac=lambda t, y: flow.real_jacobian(flow.values(y)),
    )  # fmt: skip
    return flow.values(solution.y[:, -1])


def spectrum(p: float, omega: np.ndarray) -> np.ndarray:
    system = ba.systems.superradiant_laser(N, float(p), V, kappa=KAPPA)
    equations = MomentEquations(system, 2)
    values = steady(equations, p)
    (a,) = (site for site in system.sites if isinstance(site, ba.Boson))
    return moment_spectrum(equations, values, a.a, omega)


def mean_field(p: float, times: np.ndarray) -> dict[str, np.ndarray]:
    """Mean-field Bloch vectors (time, 3) of driven and undriven atoms, from a start of pure spins."""
    system = ba.systems.superradiant_laser(MANY, p, V)
    equations = MomentEquations(system, 1)
    start = {"driven": ba.spin(1.0, 0.0), "undriven": ba.spin(2.8, 1.0)}
    names = [site.name for site in system.sites]
    path = Flow.of(equations).evolve(equations.initial({name: start[name] for name in names}), times)
    out = {}
    for name in names:
        plus, z = (equations.mean(system.observables[f"{kind}_{name}"]) for kind in ("sp", "sz"))
        s = np.array([mean_value(equations, plus, values) for values in path])
        population = np.array([mean_value(equations, z, values).real for values in path])
        out[name] = np.stack([2 * s.real, 2 * s.imag, population], axis=1)
    return out


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    S = np.array([spectrum(p, OMEGA) for p in FRACTIONS])
    cuts = {p: spectrum(p, OMEGA) for p in CUTS}
    fine = np.linspace(0.16, 0.22, 6001)
    at = spectrum(0.8, fine)
    wide = fine[at > at.max() / 2]
    print(f"p_d = .8, N = {N}: peak {fine[at.argmax()]:.5f}   reference {REFERENCE_PEAK}")
    print(f"                    width {wide[-1] - wide[0]:.4f}   reference {REFERENCE_WIDTH}")
    times = np.concatenate([[0.0], np.linspace(500, 600, 1001)])
    spheres = {p: mean_field(p, times) for p in SPHERES}
    x = spheres[0.8]["driven"]
    turned = np.unwrap(np.angle(x[1:, 0] + 1j * x[1:, 1]))
    print(f"mean field, p_d = .8: |ω| = {abs(turned[-1] - turned[0]) / 100:.6f}   "
          f"(7.7) {mean_field_frequency(np.array([0.8]))[0]:.6f}, reference {REFERENCE_FREQUENCY}")  # fmt: skip
    positive = OMEGA > 0
    peaks = np.array([OMEGA[positive][s[positive].argmax()] for s in S])
    lasing = (FRACTIONS > THRESHOLD + 0.015) & (FRACTIONS < 0.98)
    off = abs(peaks - mean_field_frequency(FRACTIONS))[lasing]
    print(f"peaks against (7.7), p_d = .77 … .975: largest distance {off.max():.4f}, mean {off.mean():.4f}")
    power = S.max(axis=1)
    below, above = power[FRACTIONS < 0.74].max(), power[abs(FRACTIONS - 0.8) < 1e-6][0]
    print(f"largest S below the threshold of {THRESHOLD}: {below / above:.1e} of that at p_d = .8")

    figure = plt.figure(figsize=(10, 7.4), layout="constrained")
    rows = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    left, right = rows[0].subplots(1, 2, width_ratios=(1.35, 1))
    image = left.pcolormesh(
        FRACTIONS[:-1],
        OMEGA,
        np.log10(np.maximum(S[:-1].T / S.max(), 1e-9)),
        vmin=-5,
        vmax=0,
        cmap="magma",
        rasterized=True,
        shading="nearest",
    )
    figure.colorbar(image, ax=left, label=r"$\log_{10}\,S(\omega)/\max S$")
    lasers = np.linspace(THRESHOLD, 1, 400)
    for sign in (1, -1):
        left.plot(
            lasers, sign * mean_field_frequency(lasers), "w--", lw=1.3,
            label="mean field, (7.7)" if sign > 0 else None,
        )  # fmt: skip
    left.legend(fontsize=9, loc="upper left", facecolor="0.3", labelcolor="white")
    left.set(xlabel=r"fraction of driven atoms $p_d$", xlim=(0.595, 1.0), ylabel=r"frequency $\omega/\gamma_+$")
    left.set_title(rf"(a) emission spectrum, $N={N}$, $\kappa={KAPPA:g}V$, $V=\gamma_+$", fontsize=11)
    for k, (p, s) in enumerate(cuts.items()):
        right.plot(OMEGA, s / s.max(), color=f"C{k}", lw=1.4, label=rf"$p_d={p:g}$")
        if p < 1:
            for sign in (1, -1):
                right.axvline(sign * mean_field_frequency(np.array([p]))[0], color=f"C{k}", lw=0.8, ls=":")
    right.set(xlabel=r"frequency $\omega/\gamma_+$", ylabel=r"$S(\omega)/\max S$", xlim=(-0.3, 0.3), ylim=(0, 1.05))
    right.set_title("(b) cuts; dotted: mean field", fontsize=11)
    right.legend(fontsize=9, loc="upper right")

    angle = np.linspace(0, 2 * np.pi, 100)
    for k, (p, paths) in enumerate(spheres.items()):
        axis = rows[1].add_subplot(1, 3, k + 1, projection="3d")
        for circle in ((np.cos(angle), np.sin(angle), 0 * angle), (np.cos(angle), 0 * angle, np.sin(angle))):
            axis.plot(*circle, color="0.8", lw=0.8)
        axis.plot(0 * angle, np.cos(angle), np.sin(angle), color="0.8", lw=0.8)
        for name, colour in (("driven", "C3"), ("undriven", "C0")):
            if name in paths:
                path = paths[name][1:]
                axis.plot(*path.T, color=colour, lw=1.6)
                axis.scatter(*path[-1], color=colour, s=28)
                axis.plot(*np.stack([0 * path[-1], path[-1]]).T, color=colour, lw=1.2, label=name)
        axis.set(xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), zlim=(-0.8, 0.8))
        axis.set_box_aspect((1, 1, 1), zoom=1.25)
        axis.set_axis_off()
        what = ("no lasing", "lasing, shifted", "standard superradiance")[k]
        axis.set_title(rf"({'cde'[k]}) $p_d={p:g}$: {what}", fontsize=10.5)
        if k == 0:
            axis.legend(fontsize=9, loc="lower left")
    picture = folder / "fig_7_2.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "fig_7_2.npz", p=FRACTIONS, omega=OMEGA, S=S, fine=fine, S_fine=at)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_7_2"))
