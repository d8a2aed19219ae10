"""Correlations and populations of nonreciprocal spins against their number, in the steady state: [T] Fig. 6.5.

Lines: second-order cumulants, appendix 6.D.  Dots: exact, the master equation on permutation-symmetric states for small
N, and averages of Dicke trajectories for large N.  The thesis also has cumulants of fourth order, which are not here.

    python examples/fig_6_5.py [folder]
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
from backaction.systems import MomentEquations, steady_moments
from backaction.systems.moment_states import mean_value

# [T] Fig. 6.5: δ = 0, V = 2; name, V₋, V₊, colour, line; rates over γ₊
V = 2.0
STATES = (
    ("synchronized", 0.0, 2.0, "C0", "-"),
    ("traveling wave", 2.0, 0.0, "C1", "-"),
    ("π-synchronized", 0.0, -2.0, "C2", "--"),
)
QUANTITIES = ("same", "population", "between", "four")
LABELS = (
    r"$\langle\sigma_A^+\sigma_A^-\rangle$", r"$\langle\sigma_A^z\rangle$", r"$\langle\sigma_A^+\sigma_B^-\rangle$",
    r"$\langle\sigma_A^+\sigma_A^+\sigma_B^-\sigma_B^-\rangle$",
)  # fmt: skip
CUMULANT_SIZES = np.unique(np.geomspace(2, 1e4, 60).astype(int))
EXACT_SIZES = (2, 3, 4, 6, 8)
#: N: runs and their duration; π-synchronized is the mirror image, S_B → −S_B, of synchronized.
TRAJECTORIES = {8: (48, 60.0), 20: (48, 60.0), 50: (24, 40.0), 100: (10, 30.0)}
DISCARD, SEED = 8.0, 0
#: Thermodynamic limit (6.11): z = 1/(1 + |V₊|/V)/V and |s|² = (1 − z)/(2(V + |V₊|)), or at V₊ = 0 z = 1/V and
#: |s|² = 1/(2V²), Δφ = ±π/2.
LIMITS = {
    "synchronized": (0.09375, 0.25, 0.09375, 0.09375**2), "traveling wave": (0.125, 0.5, 0.0, -(0.125**2)),
    "π-synchronized": (0.09375, 0.25, -0.09375, 0.09375**2),
}  # fmt: skip


def operators(system: ba.System) -> dict[str, ba.Operator]:
    """The four quantities, of different spins."""
    A, B = (next(site for site in system.sites if site.name == name) for name in "AB")
    N = A.N
    pairs = N * (N - 1)
    return {
        "same": (A.sp * A.sm - (A.sz + N / 2)) / pairs,
        "population": 2 / N * A.sz,
        "between": A.sp * B.sm / N**2,
        "four": A.sp * A.sp * B.sm * B.sm / pairs**2,
    }


def cumulants(N: int, V_minus: float, V_plus: float) -> np.ndarray:
    system = ba.systems.nonreciprocal_spins(N, V, V_plus, V_minus)
    equations = MomentEquations(system, 2)
    values = steady_moments(equations, burn_in=100.0)
    return np.array([mean_value(equations, equations.mean(o), values).real for o in operators(system).values()])


def exact(N: int, V_minus: float, V_plus: float) -> np.ndarray:
    system = ba.systems.reduced(ba.systems.nonreciprocal_spins(N, V, V_plus, V_minus))
    rho = ba.systems.steady_state(system, max_dim=1000, check_unique=False)
    lowered = system.lower()
    found = np.array([np.sum(lowered.operator(o).toarray() * rho.T) for o in operators(system).values()])
    if abs(found.imag).max() > 1e-12:
        print(f"  N = {N}: not real, {found}")  # (6.17)
    return found.real


def trajectories(N: int, V_minus: float, V_plus: float) -> tuple[np.ndarray, np.ndarray]:
    """Averages over time and runs, and their standard errors."""
    runs, duration = TRAJECTORIES[N]
    system = ba.systems.nonreciprocal_spins(N, V, V_plus, V_minus)
    detectors = [ba.Heterodyne(name) for name in system.channels if name.startswith("collective_loss")]
    times = np.linspace(0, duration, round(5 * duration) + 1)
    # in the state to come but for its size: which phase and which chirality make no difference to the quantities
    start = {"A": ba.spin(1.0, 0.0), "B": ba.spin(1.0, np.pi / 2 if V_plus == 0 else 0.0)}
    data = ba.simulate(
        system, sum(detectors[1:], detectors[0]), times, runs, seed=SEED + N, level="dicke",
        observables=operators(system), initial=start, n_jobs=2, progress=False,
    )  # fmt: skip
    each = np.array([data[f"hidden_{name}"].values[:, times >= DISCARD].real.mean(axis=1) for name in QUANTITIES])
    return each.mean(axis=1), each.std(axis=1, ddof=1) / np.sqrt(runs)


def report(what: str, N: object, values: np.ndarray, errors: np.ndarray | None = None) -> None:
    """One line of the table."""
    tails = [""] * len(values) if errors is None else [f" ± {e:.5f}" for e in errors]
    shown = [f"{x:.5f}{tail}" for x, tail in zip(values, tails, strict=True)]
    print(f"    {f'{what}, N = {N}':30}" + "".join(f"{x:>20}" for x in shown))


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    lines, dots, bars = {}, {}, {}
    for k, (name, V_minus, V_plus, *_) in enumerate(STATES):
        lines[name] = np.array([cumulants(int(N), V_minus, V_plus) for N in CUMULANT_SIZES])
        dots[name] = np.array([exact(N, V_minus, V_plus) for N in EXACT_SIZES])
        if k < 2:
            bars[name] = np.array([trajectories(N, V_minus, V_plus) for N in TRAJECTORIES])
        else:
            mirrored = np.array([1, 1, -1, 1])
            off = abs(dots[name] - mirrored * dots["synchronized"]).max()
            bars[name] = bars["synchronized"] * np.stack([mirrored, np.ones(4)])
            print(f"mirror image of synchronized, S_B → −S_B: exact values differ by {off:.0e}")
    for name, V_minus, V_plus, *_ in STATES:
        print(f"{name + ':':34}" + "".join(f"{x:>20}" for x in QUANTITIES))
        report("cumulants", CUMULANT_SIZES[-1], lines[name][-1])
        report("mean field", "∞", LIMITS[name])
        report("master equation", 8, dots[name][EXACT_SIZES.index(8)])
        for N, (mean, error) in zip(TRAJECTORIES, bars[name], strict=True):
            report("Dicke trajectories", N, mean, error)
            report("cumulants", N, cumulants(N, V_minus, V_plus))

    figure, axes = plt.subplots(2, 2, figsize=(10, 6.6), sharex=True, layout="constrained")
    for q, (axis, label) in enumerate(zip(axes.flat, LABELS, strict=True)):
        insets = [axis.inset_axes([0.56, 0.09, 0.42, 0.28])] if q == 1 else []
        for name, _, _, colour, style in STATES:
            for at in (axis, *insets):
                at.plot(CUMULANT_SIZES, lines[name][:, q], style, color=colour, lw=1.6, label=name)
                at.plot(EXACT_SIZES, dots[name][:, q], "o", color=colour, ms=5)
                at.errorbar(
                    list(TRAJECTORIES), bars[name][:, 0, q], bars[name][:, 1, q], fmt="s", color=colour, mfc="w", ms=5,
                    capsize=2, lw=1,
                )  # fmt: skip
            axis.axhline(LIMITS[name][q], color=colour, lw=0.8, ls=":")
        for at in insets:
            at.set(xscale="log", xlim=(5, 400), ylim=(0.17, 0.29))
            at.tick_params(labelsize=7)
        axis.set(xscale="log", ylabel=label)
        axis.set_title(f"({'abcd'[q]})", fontsize=11, loc="left")
    axes[0, 0].legend(fontsize=9, loc="lower right")
    for axis in axes[1]:
        axis.set_xlabel(r"spins per species $N$")
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    figure.suptitle(
        "Steady states of nonreciprocal spins: cumulants (lines), master equation (dots), Dicke trajectories\n"
        r"(squares), mean field, $N=\infty$ (dotted)",
        fontsize=10.5,
    )
    picture = folder / "fig_6_5.png"
    figure.savefig(picture, dpi=150)
    kept = {"N_cumulants": CUMULANT_SIZES, "N_exact": EXACT_SIZES, "N_trajectories": list(TRAJECTORIES)}
    for k, (name, *_) in enumerate(STATES):
        kept |= {f"cumulants_{k}": lines[name], f"exact_{k}": dots[name], f"trajectories_{k}": bars[name]}
    np.savez_compressed(folder / "fig_6_5.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_5"))
