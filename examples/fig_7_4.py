"""How spontaneous emission and dephasing end the frequency shift of a superradiant laser, against N: [T] Fig. 7.4.

Second-order cumulants from the steady state without these, and at each time the spectrum (7.16); dashed: mean field.
The middle panel is the evolution of [T] Fig. 7.3(b).

    python examples/fig_7_4.py [folder]
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

# [T] Figs. 7.3(b) and 7.4: γ₊ = V, γ_z = 10⁻³V, γ₋ = 10⁻⁴V, p_d = .8, κ = 10√N Ω, which is 50V; rates over V
V, KAPPA, P_DRIVEN = 1.0, 50.0, 0.8
GAMMA_MINUS, GAMMA_Z = 1e-4, 1e-3
GAMMA = GAMMA_MINUS + 2 * GAMMA_Z  # Γ
SIZES = (10**3, 10**4, 10**5, 10**6)
TIMES = np.linspace(0, 20, 161) / GAMMA
OMEGA = np.geomspace(1e-4, 0.4, 500)
SETTLING = 2000.0
FITTED = (2.0, 8.0)  # tΓ over which the decay of the mean field is fitted
#: At t = 0: mean-field frequency with the cavity, (7.7) without it.
REFERENCE, REFERENCE_ELIMINATED = 0.19098, 0.195440
MANY = 10**9


def laser(N: int, decohering: bool) -> ba.System:
    rates = {"gamma_minus": GAMMA_MINUS, "gamma_z": GAMMA_Z} if decohering else {}
    return ba.systems.superradiant_laser(N, P_DRIVEN, V, kappa=KAPPA, **rates)


def evolve(equations: MomentEquations, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Like `Flow.evolve`, at tolerances that these long evolutions need."""
    flow = Flow.of(equations)
    solution = solve_ivp(
        lambda t, y: flow.coordinates(flow.drift(flow.values(y))), (times[0], times[-1]), flow.coordinates(values),
        t_eval=times, method="LSODA", rtol=1e-8, atol=1e-11, jac=lambda t, y: flow.real_jacobian(flow.values(y)),
    )  # fmt: skip
    return np.array([flow.values(y) for y in solution.y.T])


def spectra(N: int) -> np.ndarray:
    """S(t, ω)."""
    before, after = (MomentEquations(laser(N, decohering), 2) for decohering in (False, True))
    values = evolve(before, before.initial(), np.array([0.0, SETTLING]))[-1]
    assert before.variables == after.variables
    (a,) = (site for site in after.system.sites if isinstance(site, ba.Boson))
    return np.array([moment_spectrum(after, v, a.a, OMEGA) for v in evolve(after, values, TIMES)])


def mean_field() -> np.ndarray:
    """|ω(t)|, how fast the phase of the cavity's field turns."""
    before, after = (MomentEquations(laser(MANY, decohering), 1) for decohering in (False, True))
    start = before.initial({"driven": ba.spin(1.0, 0.0), "undriven": ba.spin(2.9, 1.0)})
    values = evolve(before, start, np.array([0.0, SETTLING]))[-1]
    plus = after.mean(after.system.observables["sp_driven"])
    # a short time apart: the phase is known modulo 2π only
    path = evolve(after, values, np.sort(np.concatenate([TIMES, TIMES + 0.5])))
    phase = np.angle([mean_value(after, plus, v) for v in path])
    turned = (phase[1::2] - phase[::2] + np.pi) % (2 * np.pi) - np.pi
    return abs(turned) / 0.5


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"cooperativity 2V/(Nγ₋) at N = 10⁵: {2 * V / (1e5 * GAMMA_MINUS):.2f}   [T] Fig. 7.3: .2")
    line = mean_field()
    print(f"mean field, t = 0: |ω| = {line[0]:.5f}   reference {REFERENCE}; cavity eliminated, (7.7): "
          f"{REFERENCE_ELIMINATED}")  # fmt: skip
    scaled = TIMES * GAMMA
    fitted = (scaled >= FITTED[0]) & (scaled <= FITTED[1])
    rate = -np.polyfit(TIMES[fitted], np.log(line[fitted]), 1)[0]
    print(f"mean field: decays at {rate / GAMMA:.4f} Γ   [T] caption of Fig. 7.3: Γ/2, text: Γ")
    found = {}
    for N in SIZES:
        found[N] = spectra(N)
        peaks = [f"{OMEGA[k]:.4f}" if k > 0 else "none" for k in found[N].argmax(axis=1)]  # the first: a line at 0
        shown = "  ".join(f"{peaks[k]} ({line[k]:.4f})" for k in (0, 16, 40, 80, 160))
        print(f"N = 10^{np.log10(N):.0f}: peak (mean field) at tΓ = 0, 2, 5, 10, 20: {shown}")

    figure, axes = plt.subplots(1, len(SIZES), figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, (N, S) in zip(axes, found.items(), strict=True):
        image = axis.pcolormesh(
            TIMES * GAMMA, OMEGA, S.T / S.max(axis=1), cmap="Greys", vmin=0, vmax=1, shading="nearest", rasterized=True
        )
        axis.plot(TIMES * GAMMA, line, "C3--", lw=1.4, label="mean field")
        axis.set(yscale="log", ylim=(OMEGA[0], OMEGA[-1]), xlabel=r"time $t\,\Gamma$")
        axis.set_title(rf"$N=10^{{{np.log10(N):.0f}}}$", fontsize=11)
    axes[0].set_ylabel(r"frequency $\omega/V$")
    axes[0].legend(fontsize=9, loc="lower left")
    figure.colorbar(image, ax=axes[-1], label=r"$S(t,\omega)/\max_\omega$")
    figure.suptitle(
        rf"Decay of the frequency shift, $p_d={P_DRIVEN}$, $\gamma_+=V$, $\gamma_z=10^{{-3}}V$, $\gamma_-=10^{{-4}}V$",
        fontsize=11,
    )
    picture = folder / "fig_7_4.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_7_4.npz", t=TIMES, omega=OMEGA, mean_field=line, **{f"S_{N}": S for N, S in found.items()}
    )
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_7_4"))
