"""From quantum to classical at fixed g₀α_L: how noise makes the second state of two optomechanical cells, [S] Weiss.

Set (c) of Fig. 3 of the source against s = g₀/κ, with α_L = .3/s, so that amplitudes grow as 1/s and quantum noise is
weaker relative to them.  Without noise only the state at π is stable: what is found at 0 is there because of noise,
quantum at large s, or thermal (last panel).

Truncated Wigner, twice.  With the Weyl symbol of a†a, |α|² − ½, the light pushes the mirror by g₀(|α|² − ½).  The
equations as printed, [S] Ludwig and Marquardt (5), have g₀|α|²: the vacuum's ½ presses, too, and shifts the detuning by
g₀², which at s = 1 is more than half of it.  Beside them the exact quantum values at s = 1, by quantum jumps.

    python examples/semiclassical.py [folder]
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
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

import backaction as ba

# [S] Weiss et al., Fig. 3 (c), in units of the mechanical frequency
KAPPA, DETUNING, GAMMA, COUPLING, DRIVE = 0.3, 0.15, 0.015, 0.15, 0.3
RATIOS = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2)  # s = g₀/κ
THERMAL_RATIO, THERMAL = RATIOS[-1], (0.0, 2.0, 5.0, 10.0, 20.0)
RUNS, SEED, STEP = 96, 5, 0.02
# runs that begin near 0 stay there for long where noise is weak
DURATION, SPACING, DISCARD, LONG_DISCARD, WEAK = 4000.0, 1.0, 800.0, 3000.0, 0.3
HALF_WIDTH = np.pi / 4
CLASSICAL_RUNS = 64
#: P(0), τ_0, τ_π with standard errors at s = 1: quantum jumps of an independent program (PHYSICS.md section 8).
EXACT = ((0.570, 0.014), (147, 8), (108, 6))
#: The same of the equations as printed, of an independent program; of n_th = 10 as a pair with s = .2.
PRINTED = {
    (1.0, 0.0): ((0.794, 0.011), (295, 12), (73, 3)),
    (0.5, 0.0): ((0.423, 0.015), (226, 17), (305, 14)),
    (0.4, 0.0): ((0.248, 0.014), (159, 11), (479, 36)),
    (0.2, 0.0): ((0.014, 0.003), None, (7500, 1500)),
    (0.2, 10.0): ((0.173, 0.014), None, (763, None)),
}
NAMES = ("P(0)", "τ_0", "τ_π")


def pair(s: float, n_thermal: float = 0.0) -> ba.System:
    return ba.systems.optomechanical_pair(KAPPA * s, KAPPA, DRIVE / s, DETUNING, GAMMA, COUPLING, n_thermal)


def as_printed(system: ba.System) -> ba.System:
    """The force g₀|α|² in place of g₀(|α|² − ½)."""
    H = system.hamiltonian
    for name in ("b1", "b2"):
        b = system.observables[name]
        H = H - 0.5 * system.parameters["g0"] * (b + b.dag())
    return replace(system, H=H)


def differences(data, late: np.ndarray) -> np.ndarray:
    """arg β₁*β₂ once the static displacement by the light is taken off."""
    one, two = (data[f"expect_{name}"].values for name in ("b1", "b2"))
    return np.angle((one - one[:, late].mean()).conj() * (two - two[:, late].mean()))


def measure(system: ba.System, discard: float, seed: int) -> np.ndarray:
    """P(0), τ_0, τ_π: value, standard error, ends of the 95 % interval."""
    times = np.linspace(0, DURATION + discard, round((DURATION + discard) / SPACING) + 1)
    data = ba.simulate(
        system, None, times, RUNS, seed=seed, level="phasespace", observables=("b1", "b2"), step=STEP, n_jobs=2,
        max_memory="4 GiB", progress=False,
    )  # fmt: skip
    late = times >= discard
    difference = differences(data, late)
    found = ba.analysis.residence.dwell_times(difference, times, HALF_WIDTH, discard=discard)
    near = (abs(difference[:, late]) < np.pi / 2).mean(axis=1)
    p, error = near.mean(), near.std(ddof=1) / RUNS**0.5
    rows = [[p, error, max(p - 1.96 * error, 0), p + 1.96 * error]]
    for state in ("0", "pi"):
        rows.append([float(found[f"mean_{state}{end}"]) for end in ("", "_stderr", "_low", "_high")])
    return np.array(rows)


def classical(s: float) -> float:
    """Fraction of noise-free runs from random starts that end at 0."""
    system = pair(s)
    order = [v[0][0].name for v in ba.systems.MomentEquations(system, 1).variables]
    size = np.array([3.0 if name[0] == "b" else 0.5 for name in order]) / s
    start = size * np.random.default_rng(SEED).normal(size=(CLASSICAL_RUNS, 4, 2)).view(complex)[..., 0]
    first = ba.simulate(
        system, None, [0, 5000.0], CLASSICAL_RUNS, level=ba.Moments(1), initial=start, states=True, step=STEP, n_jobs=2,
        progress=False,
    )  # fmt: skip
    times = np.linspace(0, 200, 2001)
    data = ba.simulate(
        system, None, times, CLASSICAL_RUNS, level=ba.Moments(1), initial=first["moments"].values[:, -1],
        observables=("b1", "b2"), step=STEP, n_jobs=2, progress=False,
    )  # fmt: skip
    one, two = (data[f"expect_{k}"].values for k in ("b1", "b2"))
    one, two = one - one.mean(axis=1, keepdims=True), two - two.mean(axis=1, keepdims=True)
    return float(np.mean(abs(np.angle((one.conj() * two).mean(axis=1))) < np.pi / 2))


def show(title: str, rows: np.ndarray, reference: tuple | None) -> None:
    line = []
    for i, (name, (value, error, *_)) in enumerate(zip(NAMES, rows, strict=True)):
        digits = 3 if i == 0 else 0
        text = f"{name} {value:.{digits}f}({error:.{digits}f})"
        if reference is not None and reference[i] is not None:
            text += f" / {reference[i][0]}" + (f"({reference[i][1]})" if reference[i][1] else "")
        line.append(text)
    print(f"  {title:36}" + "; ".join(line), flush=True)


def main(folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"Weyl symbol": lambda x: x, "as printed": as_printed}

    print(f"{RUNS} runs of T = {DURATION:g} once the start is discarded, phases every {SPACING:g}: found / reference")
    scan = np.zeros((2, len(RATIOS), 3, 4))
    for i, s in enumerate(RATIOS):
        for j, (kind, change) in enumerate(kinds.items()):
            scan[j, i] = measure(change(pair(s)), LONG_DISCARD if s < WEAK + 1e-9 else DISCARD, SEED + 10 * i + j)
            reference = PRINTED.get((s, 0.0)) if j else EXACT if s == 1 else None
            show(f"s = {s:g}, {kind}", scan[j, i], reference)
    print("  (reference of the Weyl symbol at s = 1: quantum jumps, exact)")
    warm = np.zeros((2, len(THERMAL), 3, 4))
    warm[:, 0] = scan[:, -1]
    for i, n_thermal in enumerate(THERMAL[1:], start=1):
        for j, (kind, change) in enumerate(kinds.items()):
            discard = LONG_DISCARD if n_thermal < 5 else DISCARD
            warm[j, i] = measure(change(pair(THERMAL_RATIO, n_thermal)), discard, SEED + 1000 + 10 * i + j)
            show(
                f"s = {THERMAL_RATIO:g}, n_th = {n_thermal:g}, {kind}", warm[j, i],
                PRINTED.get((THERMAL_RATIO, n_thermal)) if j else None,
            )  # fmt: skip
    noiseless = {s: classical(s) for s in (RATIOS[0], RATIOS[-1])}
    for s, fraction in noiseless.items():
        print(f"  s = {s:g} without noise: {fraction:.3f} of {CLASSICAL_RUNS} random starts end at 0, reference 0")

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    looks = {"Weyl symbol": ("C0", "o", "-"), "as printed": ("C1", "s", "--")}
    for j, kind in enumerate(kinds):
        colour, marker, dashes = looks[kind]
        for axis, x, rows in ((left, RATIOS, scan[j]), (right, THERMAL, warm[j])):
            axis.errorbar(
                x, rows[:, 0, 0], rows[:, 0, 1], fmt=marker, ls=dashes, color=colour, ms=5, lw=1.2,
                label=f"truncated Wigner, {'Weyl symbol' if j == 0 else 'force as printed'}",
            )  # fmt: skip
        for row, (state, fill) in enumerate((("0", "none"), (r"\pi", colour)), start=1):
            value, ends = scan[j, :, row, 0], scan[j, :, row, 2:].T
            middle.errorbar(
                RATIOS, value, [value - ends[0], ends[1] - value], fmt=marker, ls=dashes, color=colour, mfc=fill, ms=5,
                lw=1.2, label=rf"$\tau_{{{state}}}$, {kind}",
            )  # fmt: skip
    left.errorbar(1, *EXACT[0], fmt="*", color="black", ms=11, label="quantum jumps, exact", zorder=5)
    middle.errorbar(1, *EXACT[1], fmt="*", color="black", mfc="none", ms=11, label=r"$\tau_0$, exact", zorder=5)
    middle.errorbar(1, *EXACT[2], fmt="*", color="black", ms=11, label=r"$\tau_\pi$, exact", zorder=5)
    for axis, place, top in ((left, "upper left", 0.95), (right, "lower right", 0.25)):
        axis.axhline(np.mean(list(noiseless.values())), color="C3", lw=1, ls=":", label="without noise")
        axis.set(ylabel=r"$P(|\delta\varphi|<\pi/2)$", ylim=(-0.03 * top, top))
        axis.legend(fontsize=8.5, loc=place, bbox_to_anchor=(0, 0.08, 1, 0.92))
    for axis in (left, middle):
        axis.set(xscale="log", xlabel=r"$s=g_0/\kappa$ at fixed $g_0\alpha_L$")
        axis.xaxis.set_major_locator(FixedLocator(RATIOS))
        axis.xaxis.set_major_formatter(FixedFormatter([f"{s:g}" if s != 0.25 else "" for s in RATIOS]))
        axis.xaxis.set_minor_locator(NullLocator())
    middle.set(yscale="log", ylabel=r"mean residence time $\Omega\tau$")
    middle.legend(fontsize=8, ncols=2, loc="upper right")
    right.set(xlabel=r"thermal occupation $n_\mathrm{th}$")
    left.set_title("quantum noise", fontsize=11)
    middle.set_title(rf"residence times, $w=\pi/4$, seen every {SPACING:g}/$\Omega$", fontsize=11)
    right.set_title(rf"thermal noise, $s={THERMAL_RATIO:g}$", fontsize=11)
    figure.suptitle(
        r"Two optomechanical cells, $K=\Delta=0.15\,\Omega$, $\Gamma=0.015\,\Omega$, $\kappa=0.3\,\Omega$,"
        r" $g_0\alpha_L=0.09\,\Omega^2$",
        fontsize=11,
    )
    picture = folder / "semiclassical.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "semiclassical.npz", s=RATIOS, scan=scan, n_thermal=THERMAL, thermal=warm, kinds=list(kinds),
        quantities=("P(0)", "tau_0", "tau_pi"), columns=("value", "stderr", "low", "high"),
        noiseless=[[s, p] for s, p in noiseless.items()],
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("semiclassical"))
