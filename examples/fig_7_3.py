"""Power, linewidth and frequency shift of a superradiant laser with undriven, decohering atoms: [T] Fig. 7.3.

Steady second-order cumulants and regression, appendix 7.A; the shift against time, panel (b) there, is in `fig_7_4`.
Below the threshold (7.11) the steady state is the one reached from the dark state; that of a laser that was on before
lives on there, in the cumulants as in the mean field, and is dotted in panel (c).

    python examples/fig_7_3.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq, least_squares

import backaction as ba
from backaction.systems import MomentEquations, moment_spectrum, stability
from backaction.systems.moment_states import Flow, factor_index, mean_value

# [T] Fig. 7.3: N = 10⁵, γ_z = 10⁻³V, γ₋ = 10⁻⁴V, κ = 10√N Ω, which is 50V; rates over V
N, V, KAPPA = 10**5, 1.0, 50.0
GAMMA_MINUS, GAMMA_Z = 1e-4, 1e-3
FRACTIONS = np.linspace(0.995, 0.5, 34)
PUMPS = np.geomspace(0.02, 3.0, 21)
CUTS = (0.1, 0.5, 1.0)  # of [T] only γ₊ = V/2 is in the text
MINIMUM = V / N  # Δν_min
GAMMA = GAMMA_MINUS + 2 * GAMMA_Z  # Γ
#: (7.11) for (V, γ₊, γ₋, γ_z) = (1, 1, .01, .02).
REFERENCE_THRESHOLD = 0.782750
MANY = 10**9


def laser(p: float, pump: float, atoms: int = N) -> ba.System:
    return ba.systems.superradiant_laser(
        atoms, float(p), V, kappa=KAPPA, gamma_plus=float(pump), gamma_minus=GAMMA_MINUS, gamma_z=GAMMA_Z
    )


def cavity(system: ba.System) -> ba.Boson:
    (a,) = (site for site in system.sites if isinstance(site, ba.Boson))
    return a


def threshold(pump: float, gamma_minus: float = GAMMA_MINUS, gamma_z: float = GAMMA_Z) -> float:
    """(7.11)."""
    return 0.5 * (1 + gamma_minus / pump) * (1 + (2 * gamma_minus + 4 * gamma_z + pump) / (2 * V))


class Steady:
    """The steady state, from a guess if there is one.

    Undriven atoms in a strong field oscillate for a time 1/Γ, so that evolution would take long: implicit steps of
    growing length damp oscillations, and end as Newton's steps.
    """

    def __init__(self, p: float, pump: float, guess: np.ndarray | None = None):
        self.pump = pump
        self.equations = MomentEquations(laser(p, pump), 2)
        self.flow = Flow.of(self.equations)
        y = self.flow.coordinates(self.started() if guess is None else guess)
        used = y != 0  # the others are zero by symmetry
        dt, change = 0.2, np.inf
        while dt < 1e14 and change > 1e-12:
            J = self.flow.real_jacobian(self.flow.values(y))[np.ix_(used, used)]
            F = self.flow.coordinates(self.flow.drift(self.flow.values(y)))[used]
            step = np.linalg.solve(np.eye(len(F)) / dt - J, F)
            y[used] += step
            change = abs(step / y[used]).max() if dt > 1e6 else np.inf
            dt *= 1.4
        self.values = self.flow.values(y)
        self.a = cavity(self.equations.system)
        if change > 1e-8 or self.power < 0:
            raise FloatingPointError(f"no steady state at p_d = {p}, γ₊ = {pump}")
        #: Slowest decay towards it, negative.
        self.growth = float(np.linalg.eigvals(J).real.max())

    def started(self) -> np.ndarray:
        """Where inverted atoms are once they emit together: implicit steps would end in the unstable dark state."""
        values = self.equations.initial({"driven": ba.spin(0.5, 0.0), "undriven": ba.spin(2.6, 0.0)})
        means = [i for i, v in enumerate(self.equations.variables) if len(v) == 1 and v[0][1] != (0, 0)]
        values[means] = 0.0  # no phase
        return self.flow.evolve(values, [0.0, 30.0 / min(1.0, self.pump)])[-1]

    @property
    def power(self) -> float:
        """κ⟨a†a⟩."""
        return KAPPA * mean_value(self.equations, self.equations.mean(self.a.n), self.values).real

    @property
    def slowest(self) -> complex:
        """The least damped eigenvalue of (7.14)'s M, −Δν ± iδ."""
        letters = [x for x in self.equations.letters if x[1] == (0, 1)]  # σ⁺ and a
        names = [(s, (1, 0)) if isinstance(s, ba.Boson) else (s, (0, 1)) for s, _ in letters]  # a† in the place of a
        at = [factor_index(self.equations, (x,)) for x in names]
        eigenvalues = np.linalg.eigvals(self.flow.jacobian(self.values)[np.ix_(at, at)])
        return complex(eigenvalues[eigenvalues.real.argmax()])

    def fit(self) -> tuple[float, float]:
        """Linewidth and shift of (7.12), fitted to the spectrum."""
        width, shift = -self.slowest.real, abs(self.slowest.imag)
        reach = shift + 6 * width
        omega = np.linspace(-reach, reach, 402)
        S = moment_spectrum(self.equations, self.values, self.a.a, omega)

        def lines(size: float, w: float, d: float) -> np.ndarray:
            return size * sum(w / (w * w + (omega / width - sign * d) ** 2) for sign in (1, -1))

        begin = (1.0, max(shift / width, 0.5))  # not from δ = 0, where nothing depends on it
        size = 1 / lines(1.0, *begin).max()
        _, w, d = least_squares(lambda x: lines(*x) - S / S.max(), (size, *begin), xtol=1e-12, ftol=1e-12).x
        return abs(w) * width, abs(d) * width


def dark(p: float, pump: float) -> Steady:
    """The steady state below the threshold, reached from driven atoms up and undriven ones down, the dark state."""
    equations = MomentEquations(laser(p, pump), 2)
    start = equations.initial({"driven": ba.spin(0.0, 0.0), "undriven": ba.spin(np.pi, 0.0)})
    means = [i for i, v in enumerate(equations.variables) if len(v) == 1 and v[0][1] != (0, 0)]
    start[means] = 0.0  # sin π is not quite zero
    return Steady(p, pump, Flow.of(equations).evolve(start, [0.0, 5.0])[-1])


def followed(p: float, pump: float, guess: np.ndarray | None) -> Steady:
    """The dark state below the threshold, else the lasing one, from its neighbour."""
    if p < threshold(pump):
        try:
            return dark(p, pump)
        except FloatingPointError:  # just below the threshold fluctuations end it
            pass
    return Steady(p, pump, guess)


def growth(p: float, pump: float, gamma_minus: float, gamma_z: float) -> float:
    """Largest growth rate about the mean-field incoherent state, cavity eliminated as in (7.11)."""
    system = ba.systems.superradiant_laser(MANY, p, V, gamma_plus=pump, gamma_minus=gamma_minus, gamma_z=gamma_z)
    equations = MomentEquations(system, 1)
    values = equations.initial()
    for i, variable in enumerate(equations.variables):
        if variable[0][0].name == "driven" and variable[0][1] == (0, 0):
            values[i] = pump / (pump + gamma_minus)
    return float(stability(equations, values)[0].real)


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"cooperativity 2V/(Nγ₋) = {2 * V / (N * GAMMA_MINUS):.2f}   [T]: .2")
    for pump, gamma_minus, gamma_z, reference in (
        (1.0, 0.01, 0.02, f", reference {REFERENCE_THRESHOLD}"), (0.5, GAMMA_MINUS, GAMMA_Z, ""),
    ):  # fmt: skip
        found = brentq(growth, 0.3, 0.99, args=(pump, gamma_minus, gamma_z), xtol=1e-9)
        print(f"threshold, γ₊ = {pump:g}, γ₋ = {gamma_minus:g}, γ_z = {gamma_z:g}: p_d = {found:.6f}   "
              f"(7.11) {threshold(pump, gamma_minus, gamma_z):.6f}{reference}")  # fmt: skip

    power = np.zeros((len(PUMPS), len(FRACTIONS)))
    shifted, slowest = np.zeros_like(power), np.zeros_like(power)
    for i, pump in enumerate(PUMPS):
        guess = None
        for j, p in enumerate(FRACTIONS):
            state = followed(p, pump, guess)
            guess, power[i, j], shifted[i, j] = state.values, state.power, abs(state.slowest.imag)
            slowest[i, j] = state.growth / GAMMA
    cuts, before = {}, {}
    for pump in CUTS:
        guess, rows, before[pump] = None, [], np.full(len(FRACTIONS), np.nan)
        for j, p in enumerate(FRACTIONS):
            try:
                state = Steady(p, pump, guess)
            except FloatingPointError:
                break
            guess, before[pump][j] = state.values, state.power
        guess = None
        for p in FRACTIONS:
            state = followed(p, pump, guess)
            guess = state.values
            rows.append((state.power, *state.fit(), -state.slowest.real, abs(state.slowest.imag)))
        cuts[pump] = np.array(rows).T
        print(f"γ₊ = {pump:g}V: (7.11) {threshold(pump):.3f}; a laser that was on stays on down to p_d = "
              f"{FRACTIONS[~np.isnan(before[pump])].min():.3f} of the grid")  # fmt: skip
    # in the mean field, too: a laser followed from above the threshold, and one that starts dark
    values = None
    for name, fractions in (("on before", (0.8, 0.7)), ("dark", (0.7,))):
        for p in fractions:
            equations = MomentEquations(laser(p, 1.0, MANY), 1)
            if p == fractions[0]:
                tilts = (1.2, np.pi / 2) if name == "on before" else (0.05, np.pi - 0.05)
                values = equations.initial({"driven": ba.spin(tilts[0], 0.0), "undriven": ba.spin(tilts[1], 0.0)})
            values = Flow.of(equations).evolve(values, [0.0, 8 / GAMMA])[-1]
        s = abs(mean_value(equations, equations.mean(equations.system.observables["sp_driven"]), values))
        print(f"mean field, γ₊ = V, p_d = .7, below (7.11), {name}: |s_d| = {s:.4f}")
    print(f"largest growth rate about the steady states of the grid, over Γ: {slowest.max():.3f} (negative: stable)")
    for pump in CUTS:
        one = Steady(1.0, pump)
        z, width = pump / (2 * V), one.fit()[0]
        print(f"all driven, γ₊ = {pump:g}V: κ⟨a†a⟩/NV = {one.power / N:.4f}   mean field, γ₋ = γ_z = 0: "
              f"{pump * (1 - z) / 2:.4f}; linewidth {width / MINIMUM:.2f} V/N")  # fmt: skip
        three = Steady(0.97, pump, Steady(FRACTIONS[0], pump).values).fit()[0]
        text = "   [T]: one order of magnitude" if pump == 0.5 else ""
        print(f"    3 % undriven: linewidth {three / width:.1f} times that{text}")
        values = [np.interp(0.8, FRACTIONS[::-1], row[::-1]) / MINIMUM for row in cuts[pump][1:]]
        if threshold(pump) < 0.8:
            print("    p_d = .8: linewidth {:.1f} V/N, shift {:.1f} V/N; eigenvalue −{:.1f} ± {:.1f}i".format(*values))
    for pump in CUTS:
        moving = FRACTIONS[(cuts[pump][2] > cuts[pump][1]) & (threshold(pump) < FRACTIONS)]
        print(f"γ₊ = {pump:g}V: shift beyond the linewidth for p_d = " + (
            f"{moving.min():.3f} … {moving.max():.3f}" if len(moving) else "none"))  # fmt: skip

    figure = plt.figure(figsize=(11, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1))
    axis = figure.add_subplot(grid[0, 0])
    image = axis.pcolormesh(FRACTIONS, PUMPS, np.log10(power / N), cmap="magma", shading="nearest", rasterized=True)
    figure.colorbar(image, ax=axis, label=r"$\log_{10}\,\kappa\langle a^\dagger a\rangle/NV$")
    axis.contourf(
        FRACTIONS, PUMPS, (shifted > MINIMUM) & (power > 1e-2 * N), levels=[0.5, 1.5], colors="none", hatches=["///"]
    )
    pumps = np.geomspace(PUMPS[0], PUMPS[-1], 200)
    axis.plot(threshold(pumps), pumps, "w", lw=1.8, label="(7.11)")
    for k, pump in enumerate(CUTS):
        axis.plot([0.998], [pump], "<", color=f"C{k}", mec="w", ms=9, clip_on=False)
    axis.set(yscale="log", xlim=(0.5, 0.995), ylim=(PUMPS[0], PUMPS[-1]), ylabel=r"pump $\gamma_+/V$")
    axis.set(xlabel=r"fraction of driven atoms $p_d$")
    axis.set_title(r"(a) power; line: (7.11); hatched: a frequency shift", fontsize=11)
    for place, row, label, title in (
        (grid[0, 1], 0, r"$\kappa\langle a^\dagger a\rangle/NV$", "(c) power"),
        (grid[1, 0], 1, r"$\Delta\nu/\Delta\nu_{\rm min}$", r"(d) linewidth, $\Delta\nu_{\rm min}=V/N$"),
        (grid[1, 1], 2, r"$\delta/\Delta\nu_{\rm min}$", "(e) frequency shift"),
    ):
        axis = figure.add_subplot(place)
        for k, pump in enumerate(CUTS):
            kept = threshold(pump) < FRACTIONS if row else np.ones(len(FRACTIONS), dtype=bool)
            values = cuts[pump][row] / (N if row == 0 else MINIMUM)
            if row == 0:
                axis.plot(FRACTIONS, before[pump] / N, ":", color=f"C{k}", lw=1.2)
            if row == 2:
                axis.plot(FRACTIONS[kept], cuts[pump][4][kept] / MINIMUM, "--", color=f"C{k}", lw=1)
            axis.plot(
                FRACTIONS[kept],
                values[kept],
                "o-",
                color=f"C{k}",
                ms=3,
                lw=1.4,
                label=rf"$\gamma_+={pump:g}V$" if row == 0 else None,
            )
        axis.set(xlabel=r"fraction of driven atoms $p_d$", ylabel=label, xlim=(0.5, 1))
        if row == 1:
            axis.set(yscale="log", ylim=(1, 100))
        if row == 2:
            axis.plot([], [], "k--", lw=1, label=r"$|{\rm Im}\,\lambda|$ of (7.14)")
            axis.legend(fontsize=9)
        axis.set_title(title, fontsize=11)
        if row == 0:
            axis.legend(fontsize=9, loc="upper left")
    figure.suptitle(
        rf"Steady superradiant laser, $N=10^5$, $\kappa={KAPPA:g}V$, $\gamma_z=10^{{-3}}V$, $\gamma_-=10^{{-4}}V$",
        fontsize=11,
    )
    picture = folder / "fig_7_3.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_7_3.npz", p=FRACTIONS, pumps=PUMPS, power=power, shifted=shifted, cuts=CUTS,
        before=np.array(list(before.values())),
        **{f"cut_{k}": values for k, values in enumerate(cuts.values())},
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_7_3"))
