"""What a detuning between cavity and atoms does to the two lines of a superradiant laser: [T] Fig. 7.5.

Second-order cumulants and regression, appendix 7.A with (7.18), beside the mean field's two traveling waves.

    python examples/fig_7_5.py [folder]
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
from scipy.integrate import solve_ivp

import backaction as ba
from backaction.systems import MomentEquations, moment_spectrum
from backaction.systems.moment_states import Flow, mean_value

# [T] Fig. 7.5: as Fig. 7.2, N = 10³, κ = 10√N Ω, which is 50V, V = γ₊, γ₋ = γ_z = 0, with p_d = .8; rates over γ₊
N, V, KAPPA, P_DRIVEN = 1000, 1.0, 50.0, 0.8
DETUNINGS = np.geomspace(1e-5, 1e-1, 33) * KAPPA  # the axis of [T] is not in its text
CUT = 1e-3 * KAPPA
OMEGA = np.linspace(-0.4, 0.4, 2000)  # without 0, see `fig_7_2`
FINE = np.linspace(0.15, 0.23, 4001)
SETTLING = 400.0
WAVES = np.geomspace(1e-5, 1e-1, 9) * KAPPA  # detunings for the mean field
#: Without a detuning: peak and full width at half maximum of the cumulant spectrum, of an independent program.
REFERENCE_PEAK, REFERENCE_WIDTH = 0.18915, 0.0049
REFERENCE_MEAN_FIELD = 0.19098
MANY = 10**9


def laser(atoms: int, detuning: float) -> ba.System:
    """The laser with (ω_c − ω_s) a†a, (7.18)."""
    system = ba.systems.superradiant_laser(atoms, P_DRIVEN, V, kappa=KAPPA)
    return replace(system, H=system.H + detuning * cavity(system).n)


def cavity(system: ba.System) -> ba.Boson:
    (a,) = (site for site in system.sites if isinstance(site, ba.Boson))
    return a


def evolve(equations: MomentEquations, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Time alone leads to the steady state: those of undriven atoms are a family, see `fig_7_2`."""
    flow = Flow.of(equations)
    solution = solve_ivp(
        lambda t, y: flow.coordinates(flow.drift(flow.values(y))), (times[0], times[-1]), flow.coordinates(values),
        t_eval=times, method="LSODA", rtol=1e-8, atol=1e-10, jac=lambda t, y: flow.real_jacobian(flow.values(y)),
    )  # fmt: skip
    return np.array([flow.values(y) for y in solution.y.T])


def spectrum(detuning: float, *omegas: np.ndarray) -> list[np.ndarray]:
    equations = MomentEquations(laser(N, detuning), 2)
    values = evolve(equations, equations.initial(), np.array([0.0, SETTLING]))[-1]
    return [moment_spectrum(equations, values, cavity(equations.system).a, omega) for omega in omegas]


def wave(detuning: float, sense: int) -> float:
    """Mean-field frequency of the traveling wave reached from a start of one sense."""
    equations = MomentEquations(laser(MANY, detuning), 1)
    start = equations.initial({"driven": ba.spin(1.0, 0.0), "undriven": ba.spin(2.8, float(sense))})
    plus = equations.mean(equations.system.observables["sp_driven"])
    path = evolve(equations, start, np.concatenate([[0.0], np.linspace(SETTLING, SETTLING + 50, 101)]))[1:]
    phase = np.unwrap(np.angle([mean_value(equations, plus, values) for values in path]))
    return float(phase[-1] - phase[0]) / 50


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    (fine,) = spectrum(0.0, FINE)
    wide = FINE[fine > fine.max() / 2]
    print(f"no detuning: peak {FINE[fine.argmax()]:.5f}   reference {REFERENCE_PEAK}; "
          f"width {wide[-1] - wide[0]:.4f}   reference {REFERENCE_WIDTH}")  # fmt: skip
    cut, above, below = spectrum(CUT, OMEGA, FINE, -FINE)
    (mirrored,) = spectrum(-CUT, OMEGA)
    print(f"negative detuning beside the mirror image: {abs(mirrored[::-1] / cut - 1).max():.0e}   [T]: the same")
    lines = FINE[above.argmax()], -FINE[below.argmax()]
    print(f"ω_c − ω_s = 10⁻³κ: lines at {lines[0]:+.5f}, {lines[1]:+.5f}, heights {above.max() / below.max():.3f} : 1; "
          f"both shifted by {sum(lines) / 2:.5f}, {sum(lines) / 2 / CUT:.4f} of the detuning")  # fmt: skip
    waves = {sense: np.array([wave(d, sense) for d in (0.0, *WAVES)]) for sense in (1, -1)}
    print(f"mean field, no detuning: ω = {waves[1][0]:+.5f}, {waves[-1][0]:+.5f}   reference ±{REFERENCE_MEAN_FIELD}")
    at = int(abs(WAVES - CUT).argmin()) + 1
    both = waves[1][at], waves[-1][at]
    print(f"mean field, 10⁻³κ: ω = {both[0]:+.5f}, {both[1]:+.5f}, shifted by {sum(both) / 2:.5f}")
    S = np.array([spectrum(d, OMEGA)[0] for d in DETUNINGS])
    heights = S[:, OMEGA > 0].max(axis=1) / S[:, OMEGA < 0].max(axis=1)
    for d in (1e-4, 1e-3, 1e-2, 1e-1):
        print(f"  ω_c − ω_s = {d:g} κ: heights of the lines at ω > 0 and < 0 as "
              f"{heights[abs(DETUNINGS / KAPPA - d).argmin()]:.3g} : 1")  # fmt: skip

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1.35, 1), layout="constrained")
    image = left.pcolormesh(
        DETUNINGS / KAPPA, OMEGA, np.log10(np.maximum(S.T / S.max(), 1e-9)), vmin=-4, vmax=0, cmap="magma",
        shading="nearest", rasterized=True,
    )  # fmt: skip
    figure.colorbar(image, ax=left, label=r"$\log_{10}\,S(\omega)/\max S$")
    for sense, marker in ((1, "^"), (-1, "v")):
        left.plot(WAVES / KAPPA, waves[sense][1:], marker, color="C0", mec="w", ms=6,
                  label="mean field, two starts" if sense > 0 else None)  # fmt: skip
    left.legend(fontsize=9, loc="upper left", facecolor="0.3", labelcolor="white")
    left.set(xscale="log", xlabel=r"detuning $(\omega_c-\omega_s)/\kappa$", ylabel=r"frequency $\omega/\gamma_+$")
    left.set_title(rf"(a) emission spectrum, $N={N}$, $p_d={P_DRIVEN}$, $\kappa={KAPPA:g}V$", fontsize=11)
    right.plot(OMEGA, cut / cut.max(), color="C3", lw=1.4, label=r"$10^{-3}\kappa$")
    right.plot(OMEGA, mirrored / mirrored.max(), color="C0", lw=1, ls="--", label=r"$-10^{-3}\kappa$")
    right.set(xlabel=r"frequency $\omega/\gamma_+$", ylabel=r"$S(\omega)/\max S$", xlim=(-0.3, 0.3), ylim=(0, 1.05))
    right.set_title(r"(b) cuts at $\omega_c-\omega_s=\pm10^{-3}\kappa$", fontsize=11)
    right.legend(fontsize=9, loc="upper center")
    picture = folder / "fig_7_5.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_7_5.npz", detuning=DETUNINGS, omega=OMEGA, S=S, cut=cut, mirrored=mirrored, waves_detuning=WAVES,
        waves=np.array([waves[1], waves[-1]]),
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_7_5"))
