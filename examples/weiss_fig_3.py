"""Two optomechanical cells locked at 0, at π, and switching between the two: [S] Weiss et al., Fig. 3.

Quantum jumps of state vectors for the three sets of the caption: distribution of the phase difference, a run of it, and
the effective potential −ln P.  Two distributions are drawn.  That of the conditional phase arg⟨b₁†b₂⟩ is what a run
shows; it depends on the unraveling, that is, on which detectors condition the state.  That of the phase operators M_k
is linear in the state, the same for every unraveling, and what a master equation would give; it is broader, as it holds
the quantum spread of the phase within a conditional state.

    python examples/weiss_fig_3.py [folder]
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MultipleLocator

import backaction as ba

# [S] Weiss et al., caption of Fig. 3, in units of the mechanical frequency: g₀ = κ, κ, α_L, Δ
G0, KAPPA, DRIVE, DETUNING = 0.3, 0.3, 0.3, 0.15
# set (b) has more phonons and fewer photons than the default basis is made for
SMALL = ba.Basis(
    levels={"a1": 5, "a2": 5, "b1": 26, "b2": 26}, totals=[(("a1", "a2"), 4), (("b1", "b2"), 34)]
)  # fmt: skip
#: Mechanical coupling K, damping Γ, basis (None: that of the system), title.
SETS = {
    "a": (0.3, 0.015, None, "0"),
    "b": (0.15, 0.01, SMALL, "π"),
    "c": (0.15, 0.015, None, "mixed"),
}
RUNS, SEED = 20, 3
DURATION, DISCARD, SPACING = 1500.0, 600.0, 0.5
HARMONICS, BINS = 20, 36  # one bin is centred at 0 and one at π
SHOWN = 900.0  # time of the run that is drawn
#: Value and standard error, of an independent program (PHYSICS.md section 8).
REFERENCE = {
    "a": {"n_b": "5.635(15)", "P0": ".9973(12)", "M1": ".826(5)", "peak 0": ".985(39)"},
    "b": {"P0": "<= .45"},
    "c": {
        "n_a": ".4128(17)", "n_b": "5.500(35)", "P0": ".570(14)", "peak 0": ".250(18)", "peak π": ".226(19)",
        "operator, 0": ".2265(83)", "operator, π": ".2008(85)",
    },
}  # fmt: skip


def run(coupling: float, gamma: float, basis: ba.Basis | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times and conditional means, (trajectory, time); M of shape (harmonic, trajectory, time)."""
    system = ba.systems.optomechanical_pair(G0, KAPPA, DRIVE, DETUNING, gamma, coupling)
    numbers = ("n_a1", "n_a2", "n_b1", "n_b2", "coherence")
    harmonics = ba.systems.phase_operators(system, ("b1", "b2"), HARMONICS, basis)
    observables = {k: system.observables[k] for k in numbers} | harmonics
    detectors = ba.QuantumJumps("cavity_1", "cavity_2", "loss_1", "loss_2")
    times = np.linspace(0, DURATION, round(DURATION / SPACING) + 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = ba.simulate(
            system, detectors, times, RUNS, seed=SEED, level=ba.Ket(basis, "single"), observables=observables, n_jobs=2,
            max_memory="4 GiB", progress=False,
        )  # fmt: skip
    for warning in caught:
        print(f"  warned: {str(warning.message)[:62]} ...")
    means = {k: data[f"expect_{k}"].values for k in numbers}
    means["M"] = np.stack([data[f"expect_{k}"].values for k in harmonics])
    return times, means


def operator_density(harmonics: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(δφ) = (1/2π) [1 + 2 Re Σ ⟨M_k⟩ e^{−ikδφ}] and its standard error over runs, from means (harmonic, run)."""
    k = np.arange(1, len(harmonics) + 1)
    waves = np.exp(-1j * np.outer(phase, k))
    each = (1 + 2 * (waves @ harmonics).real) / (2 * np.pi)
    return each.mean(axis=1), each.std(axis=1, ddof=1) / each.shape[1] ** 0.5


def over_runs(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of averages of single runs, (run,)."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def main(folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(3, len(SETS), figsize=(11, 8), layout="constrained")
    fine = np.linspace(-np.pi, np.pi, 361)
    kept: dict[str, np.ndarray] = {"phase_operator": fine}

    print(f"{RUNS} runs of T = {DURATION:g}, the first {DISCARD:g} discarded, quantum jumps, single precision")
    for column, (name, (coupling, gamma, basis, title)) in enumerate(SETS.items()):
        times, means = run(coupling, gamma, basis)
        late = times >= DISCARD
        difference = np.angle(means["coherence"])
        half = np.pi / BINS  # turned by half a bin, so that one is centred at 0 and one at π
        with warnings.catch_warnings():  # in (a) few phases are near π, and that is the result
            warnings.simplefilter("ignore", ba.analysis.TooLittleDataWarning)
            well = ba.analysis.residence.occupation_potential(difference[:, late] + half, BINS)
        # the bin at −π again at π
        phase = np.append(well["phase"].values - half, np.pi)
        density, error, potential, its_error = (
            np.append(well[k].values, well[k].values[0])
            for k in ("density", "density_stderr", "potential", "potential_stderr")
        )
        of_operators, operator_error = operator_density(means["M"][..., late].mean(axis=-1), fine)

        found = {
            "n_a": over_runs((means["n_a1"] + means["n_a2"]).real[:, late].mean(axis=1) / 2),
            "n_b": over_runs((means["n_b1"] + means["n_b2"]).real[:, late].mean(axis=1) / 2),
            "P0": over_runs((abs(difference[:, late]) < np.pi / 2).mean(axis=1)),
            "M1": over_runs(means["M"][0, :, late].real.mean(axis=0)),
        }
        for label, at in (("0", 0.0), ("π", np.pi)):
            near = np.argmin(abs(np.angle(np.exp(1j * (phase - at)))))
            found[f"peak {label}"] = (density[near], error[near])
            near = np.argmin(abs(np.angle(np.exp(1j * (fine - at)))))
            found[f"operator, {label}"] = (of_operators[near], operator_error[near])
        print(f"({name}) K = {coupling:g}, Γ = {gamma:g}")
        for key, (value, its) in found.items():
            reference = REFERENCE[name].get(key)
            print(f"  {key:12} {value:.4f} ± {its:.4f}" + (f"   reference {reference}" if reference else ""))

        top, middle, bottom = axes[:, column]
        scaled = phase / np.pi
        top.step(
            scaled,
            density,
            where="mid",
            color="C0",
            lw=1.2,
            label=r"conditional phase $\arg\langle b_1^\dagger b_2\rangle$",
        )
        top.errorbar(scaled, density, error, fmt="none", ecolor="C0", lw=1)
        top.plot(fine / np.pi, of_operators, color="C1", lw=1.8, label=r"phase operators $M_k$")
        top.fill_between(
            fine / np.pi, of_operators - operator_error, of_operators + operator_error, color="C1", alpha=0.3, lw=0
        )
        shown = (times >= DISCARD) & (times <= DISCARD + SHOWN)
        # from −π/2 to 3π/2, so that neither state is cut in two
        turned = (difference[0, shown] + np.pi / 2) % (2 * np.pi) - np.pi / 2
        middle.plot(times[shown], turned / np.pi, ".", ms=1.5, color="black", rasterized=True)
        for line in (0, 1):
            middle.axhline(line, color="C3", lw=0.8, ls="--")
        good = np.isfinite(potential)
        bottom.errorbar(scaled[good], potential[good], its_error[good], fmt="o", ms=3, lw=1, color="C0")
        bottom.plot(
            fine / np.pi, -np.log(np.where(of_operators > 3 * operator_error, of_operators, np.nan)), color="C1", lw=1.8
        )
        value, its = found["P0"]
        top.set_title(
            rf"({name}) $K={coupling:g}$, $\Gamma={gamma:g}$: {title}" + "\n"
            rf"$P(|\delta\varphi|<\pi/2)={value:.3f}\pm{its:.3f}$",
            fontsize=10.5,
        )
        for axis in (top, bottom):
            axis.set(xlim=(-1.03, 1.03), xlabel=r"phase difference $\delta\varphi/\pi$")
            axis.xaxis.set_major_locator(MultipleLocator(0.5))
        top.set_ylim(0, 1.15 * max((density + error).max(), of_operators.max()))
        low, high = potential - its_error, potential + its_error
        # of (a) no more than the well: what is far up is counted in single samples
        bottom.set_ylim(low[good].min() - 0.2, min(8, high[good].max() + 0.2))
        middle.set(xlabel=r"time $\Omega t$", ylim=(-0.5, 1.5), xlim=(DISCARD, DISCARD + SHOWN))
        kept |= {
            f"phase_{name}": phase, f"density_{name}": density, f"density_stderr_{name}": error,
            f"operator_{name}": of_operators, f"operator_stderr_{name}": operator_error,
            f"times_{name}": times[::2], f"difference_{name}": difference[:, ::2].astype(np.float32),
            f"potential_{name}": potential, f"potential_stderr_{name}": its_error,
        }  # fmt: skip
    axes[0, 0].set_ylabel(r"density $P(\delta\varphi)$ per radian")
    axes[1, 0].set_ylabel(r"phase difference $\delta\varphi/\pi$, one run")
    axes[2, 0].set_ylabel(r"effective potential $-\ln P$")
    axes[0, 1].legend(fontsize=8.5, loc="upper center")
    figure.suptitle(
        r"Two optomechanical cells, quantum jumps: $g_0=\kappa=\alpha_L=0.3\,\Omega$, $\Delta=0.15\,\Omega$",
        fontsize=11,
    )
    picture = folder / "weiss_fig_3.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(folder / "weiss_fig_3.npz", **kept)
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("weiss_fig_3"))
