"""Residence times of two optomechanical cells from the currents of their cavities alone: [S] Weiss, set (c) of Fig. 3.

Two cells locked at 0 rotate slower than two locked at π, so that each state has a sideband of its own: that of 0 in the
sum of two heterodyne currents, that of π in their difference.  Powers of the two sidebands, through a Gaussian filter,
are decoded by a model that was calibrated on other runs.  Occupation and residence times are then compared with those
of the amplitudes on the same runs, with the confusion matrix.

Truncated Wigner, s = g₀/κ = .2 at fixed g₀α_L with thermal noise n_th = 10: many photons, so that the phases of single
runs can be seen.

    python examples/residence_from_currents.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import backaction as ba

# [S] Weiss et al., Fig. 3 (c), in units of the mechanical frequency, with g₀ = sκ and α_L = .3/s
RATIO, N_THERMAL = 0.2, 10.0
KAPPA, DETUNING, GAMMA, COUPLING, DRIVE = 0.3, 0.15, 0.015, 0.15, 0.3
RUNS, SEED, CALIBRATION, STEP = 96, 0, 100, 0.02
DURATION, DISCARD, SPACING, HALF_WIDTH = 4000.0, 800.0, 0.5, np.pi / 4
LINES = (-0.825, -1.131)  # of the sum at 0 and of the difference at π (PHYSICS.md section 8), as e^{+iωt}
FILTER_TIME, EVERY = 6.0, 1.5
SEGMENT, BAND = 400.0, (-1.5, -0.5)  # of the spectra
SHOWN = 1600.0  # time of the run that is drawn
#: From amplitudes, of an independent program and two of its runs, by the equations as printed; from currents by another
#: rule, a Gaussian filter of 8 (PHYSICS.md section 8).
REFERENCE = {"P(0)": ".173(14), .19", "τ_0": "187", "τ_π": "763, 805"}
REFERENCE_CURRENTS = {"P(0)": ".25", "balanced accuracy": ".94"}


def run(seed: int) -> tuple[xr.Dataset, xr.Dataset, np.ndarray, np.ndarray]:
    """Currents, powers of the sidebands, phase difference of the amplitudes, and its times."""
    system = ba.systems.optomechanical_pair(
        KAPPA * RATIO, KAPPA, DRIVE / RATIO, DETUNING, GAMMA, COUPLING, N_THERMAL
    )  # fmt: skip
    times = np.linspace(0, DURATION, round(DURATION / SPACING) + 1)
    data = ba.simulate(
        system, ba.Heterodyne("cavity_1", "cavity_2"), times, RUNS, seed=seed, level="phasespace",
        observables=("b1", "b2"), step=STEP, n_jobs=2, max_memory="4 GiB", progress=False,
    )  # fmt: skip
    late = times >= DISCARD
    one, two = (data[f"expect_{name}"].values for name in ("b1", "b2"))
    # the light displaces both mirrors: taken off before phases are
    difference = np.angle((one - one[:, late].mean()).conj() * (two - two[:, late].mean()))
    powers = ba.analysis.sidebands.sideband_powers(
        data["current_cavity_1"], data["current_cavity_2"], LINES, FILTER_TIME, every=EVERY
    )  # fmt: skip
    return data, powers.sel(time=slice(DISCARD, None)), difference, times


def main(folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    residence = ba.analysis.residence

    _, powers, difference, times = run(CALIBRATION)
    calibration = ba.analysis.sidebands.calibrate_sidebands(powers, difference, times, HALF_WIDTH)
    data, powers, difference, times = run(SEED)
    decoded = ba.analysis.sidebands.decode_sidebands(powers, calibration)
    at, seen = powers["time"].values, decoded["state"].values
    state = residence.assign(difference, HALF_WIDTH)
    late = times >= DISCARD
    nearest = np.clip(np.rint(np.interp(at, times, np.arange(times.size))).astype(int), 0, times.size - 1)
    matrix = residence.confusion(seen, state[:, nearest])
    found = {
        "amplitudes": residence.residence_times(state[:, late], times[late], labels=("0", "pi")),
        "currents": residence.residence_times(seen, at, labels=("0", "pi"), filter_time=FILTER_TIME),
    }

    print(f"{RUNS} runs of T = {DURATION:g}, the first {DISCARD:g} discarded; filter {FILTER_TIME:g}, w = π/4")
    print("Found from currents, from amplitudes, ratio (reference from amplitudes, other equations and looks)")
    names = {"P(0)": "occupation_0", "τ_0": "mean_0", "τ_π": "mean_pi"}
    for label, name in names.items():
        digits = 3 if label == "P(0)" else 0
        texts = [f"{float(x[name]):.{digits}f} ± {float(x[f'{name}_stderr']):.{digits}f}" for x in found.values()]
        ratio = float(found["currents"][name]) / float(found["amplitudes"][name])
        print(f"  {label:5} {texts[1]}   {texts[0]}   {ratio:.2f}   ({REFERENCE[label]})")
    # the matrix of one half of the runs corrects the other: errors are then independent
    halves = [slice(None, RUNS // 2), slice(RUNS // 2, None)]
    other = residence.confusion(seen[halves[0]], state[halves[0]][:, nearest])
    rest = residence.residence_times(seen[halves[1]], at, labels=("0", "pi"))
    corrected = residence.deconvolve(
        float(rest["occupation_0"]), other, stderr=float(rest["occupation_0_stderr"])
    )  # fmt: skip
    truth = residence.residence_times(state[halves[1]][:, late], times[late], labels=("0", "pi"))
    print(
        f"  P(0) of the second half of the runs: currents {float(rest['occupation_0']):.3f}, corrected by the matrix of"
        f" the first half {float(corrected['occupation']):.3f} ± {float(corrected['occupation_stderr']):.3f},"
        f" amplitudes {float(truth['occupation_0']):.3f}"
    )
    p, its = matrix["probability"].values, matrix["probability_stderr"].values
    print(
        f"Confusion P(currents | amplitudes), rows 0 and π: {np.round(p, 3).tolist()}, ± {np.round(its[0], 3).tolist()}"
    )
    print(
        f"  balanced accuracy {float(matrix['balanced_accuracy']):.3f} ±"
        f" {float(matrix['balanced_accuracy_stderr']):.3f} (a plain rule: {REFERENCE_CURRENTS['balanced accuracy']},"
        f" with P(0) = {REFERENCE_CURRENTS['P(0)']})"
    )

    figure = plt.figure(figsize=(11, 7.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    powers_axis, phase_axis, state_axis = upper.subplots(3, 1, sharex=True, height_ratios=(1.4, 1.2, 0.55))
    spectrum_axis, matrix_axis, times_axis = lower.subplots(1, 3, width_ratios=(1.5, 0.8, 1.2))

    # a run that shows both states for about as long
    window = (at >= DISCARD) & (at <= DISCARD + SHOWN)
    chosen = int(np.argmin(abs((state[:, nearest[window]] == 0).mean(axis=1) - 0.5)))
    for name, colour, label in (
        ("power_0", "C0", r"sum at $-0.825\,\Omega$: 0"), ("power_pi", "C1", r"difference at $-1.131\,\Omega$: $\pi$")
    ):  # fmt: skip
        powers_axis.semilogy(at[window], powers[name].values[chosen, window], color=colour, lw=0.9, label=label)
    powers_axis.set(ylabel="sideband power\n(vacuum 1)", ylim=(3e-2, None))
    powers_axis.legend(fontsize=8.5, ncols=2, loc="lower right")
    shown = (times >= DISCARD) & (times <= DISCARD + SHOWN)
    turned = (difference[chosen, shown] + np.pi / 2) % (2 * np.pi) - np.pi / 2
    phase_axis.plot(times[shown], turned / np.pi, ".", ms=1.5, color="black", rasterized=True)
    for line in (0, 1):
        phase_axis.axhline(line, color="0.6", lw=0.8, ls="--")
    phase_axis.set(ylabel="phase difference\n" + r"$\delta\varphi/\pi$", ylim=(-0.5, 1.5))
    for height, values in ((1, state[chosen, nearest[window]]), (0, seen[chosen, window])):
        state_axis.imshow(
            values[None], aspect="auto", interpolation="nearest", cmap=matplotlib.colors.ListedColormap(["C0", "C1"]),
            vmin=0, vmax=1, extent=(at[window][0], at[window][-1], height - 0.38, height + 0.38),
        )  # fmt: skip
    state_axis.set(
        yticks=(0, 1), yticklabels=("currents", "amplitudes"), ylim=(-0.5, 1.5), xlim=(DISCARD, DISCARD + SHOWN),
        xlabel=r"time $\Omega t$; strips: state 0 (blue) or $\pi$ (orange)",
    )  # fmt: skip

    one, two = data["current_cavity_1"], data["current_cavity_2"]
    kept: dict[str, np.ndarray] = {}
    for sign, colour, name, label in ((1, "C0", "sum", "sum of currents"), (-1, "C1", "difference", "difference")):
        combined = (one + sign * two) / 2**0.5
        spectrum = ba.analysis.spectrum(combined.sel(bin=slice(DISCARD, None)), segment=SEGMENT)
        frequency, value = spectrum["frequency"].values, spectrum["power"].values
        error = spectrum["power_stderr"].values
        band = (frequency >= BAND[0]) & (frequency <= BAND[1])
        spectrum_axis.semilogy(frequency[band], value[band], color=colour, lw=1.3, label=label)
        spectrum_axis.fill_between(
            frequency[band], value[band] - error[band], value[band] + error[band], color=colour, alpha=0.3, lw=0
        )
        peak = frequency[band][np.argmax(value[band])]
        expected = LINES[0] if sign == 1 else LINES[1]
        print(f"Line of the {name}: {peak:.3f} ± {np.pi / SEGMENT:.3f} (half a bin), reference {expected}")
        spectrum_axis.axvline(expected, color=colour, lw=1, ls=":")
        kept |= {f"spectrum_{name}": value[band], f"spectrum_stderr_{name}": error[band], "frequency": frequency[band]}
    spectrum_axis.axhline(1, color="0.5", lw=0.8, ls="--")
    spectrum_axis.set(xlabel=r"frequency $\omega/\Omega$", ylabel="spectrum (vacuum 1)", xlim=BAND)
    spectrum_axis.legend(fontsize=8.5)

    matrix_axis.imshow(p, cmap="Blues", vmin=0, vmax=1)
    for i in (0, 1):
        for j in (0, 1):
            matrix_axis.text(
                j, i, f"{p[i, j]:.3f}\n± {its[i, j]:.3f}", ha="center", va="center", fontsize=10,
                color="white" if p[i, j] > 0.5 else "black",
            )  # fmt: skip
    matrix_axis.set(
        xticks=(0, 1), xticklabels=("0", r"$\pi$"), yticks=(0, 1), yticklabels=("0", r"$\pi$"),
        xlabel="from amplitudes", ylabel="from currents", title="P(currents | amplitudes)",
    )  # fmt: skip
    matrix_axis.title.set_fontsize(10)

    for k, (source, colour, marker) in enumerate((("amplitudes", "black", "o"), ("currents", "C2", "D"))):
        rows = np.array(
            [[float(found[source][f"mean_{s}{end}"]) for end in ("", "_low", "_high")] for s in ("0", "pi")]
        )
        times_axis.errorbar(
            np.arange(2) + 0.12 * (2 * k - 1), rows[:, 0], [rows[:, 0] - rows[:, 1], rows[:, 2] - rows[:, 0]],
            fmt=marker, color=colour, ms=6, lw=1.5, label=f"from {source}",
        )  # fmt: skip
        kept[f"residence_{source}"] = rows
        kept[f"occupation_{source}"] = np.array(
            [float(found[source][f"occupation_0{end}"]) for end in ("", "_low", "_high")]
        )
    times_axis.set(
        xticks=(0, 1), xticklabels=(r"$\tau_0$", r"$\tau_\pi$"), xlim=(-0.5, 1.5), yscale="log",
        ylabel=r"mean residence time $\Omega\tau$",
    )  # fmt: skip
    value = {source: (float(x["occupation_0"]), float(x["occupation_0_stderr"])) for source, x in found.items()}
    times_axis.set_title(
        "P(0): currents {:.3f} ± {:.3f},\namplitudes {:.3f} ± {:.3f}".format(*value["currents"], *value["amplitudes"]),
        fontsize=10,
    )
    times_axis.legend(fontsize=8.5, loc="upper left")
    figure.suptitle(
        rf"Locked at 0 or at $\pi$, from heterodyne currents alone: $g_0/\kappa={RATIO:g}$,"
        rf" $n_\mathrm{{th}}={N_THERMAL:g}$, truncated Wigner",
        fontsize=11,
    )
    picture = folder / "residence_from_currents.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "residence_from_currents.npz", confusion=p, confusion_stderr=its, times=times[shown],
        difference=difference[chosen, shown], powers_time=at[window], power_0=powers["power_0"].values[chosen, window],
        power_pi=powers["power_pi"].values[chosen, window], seen=seen[chosen, window],
        state=state[chosen, nearest[window]], columns=("value", "low", "high"), **kept,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("residence_from_currents"))
