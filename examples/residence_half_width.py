"""How long two optomechanical cells stay locked at 0 and at π, and what counts as having left: [S] Weiss, Fig. 3 (c).

A state is entered at |δφ| < w or |δφ| > π − w and kept in between.  Residence times against the half-width w, survival
curves of single visits with exponentials beside them, and residence times against the time between two looks at the
phase.  Visits are a mixture: many short ones, and a tail that is exponential.  Narrow windows leave the short ones out,
and so do few looks: the mean rises towards that of the tail.  The ratio of the two times hardly depends on w.  A time
without its window and its time between two looks says little; the reference's looks are not known.

Quantum jumps of state vectors, conditional phase arg⟨b₁†b₂⟩.

    python examples/residence_half_width.py [folder]
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

# [S] Weiss et al., Fig. 3 (c), in units of the mechanical frequency: g₀ = κ, κ, α_L, Δ, Γ, K
PARAMETERS = {"g0": 0.3, "kappa": 0.3, "drive": 0.3, "detuning": 0.15, "gamma": 0.015, "coupling": 0.15}
RUNS, SEED = 32, 11
DURATION, DISCARD, SPACING = 2500.0, 800.0, 0.5
HALF_WIDTHS = (
    np.pi / 16,
    np.pi / 8,
    3 * np.pi / 16,
    np.pi / 4,
    5 * np.pi / 16,
    3 * np.pi / 8,
    7 * np.pi / 16,
    np.pi / 2,
)
LOOKS = (1, 2, 4, 10)  # the phase is seen at every so many samples
TAIL = 100.0  # beyond which the mean excess is taken
STATES = {"0": ("0", "C0", "o", "none"), "pi": ("π", "C1", "s", None)}
#: τ_0 and τ_π with standard errors, of an independent program (PHYSICS.md section 8); none given at π/2.
REFERENCE = {
    np.pi / 8: ((197, 10), (146, 8)),
    np.pi / 4: ((147, 8), (108, 6)),
    np.pi / 2: ((37, 0), (28, 0)),
}
REFERENCE_TAIL = (234, 178)  # mean excess beyond 100 at w = π/8
REFERENCE_VARIATION = 1.35  # coefficient of variation at w = π/4


def run() -> tuple[np.ndarray, np.ndarray]:
    """Times, and phase differences (trajectory, time)."""
    system = ba.systems.optomechanical_pair(**PARAMETERS)
    times = np.linspace(0, DURATION, round(DURATION / SPACING) + 1)
    data = ba.simulate(
        system, ba.QuantumJumps("cavity_1", "cavity_2", "loss_1", "loss_2"), times, RUNS, seed=SEED,
        level=ba.Ket(precision="single"), observables=("coherence",), n_jobs=2, max_memory="4 GiB", progress=False,
    )  # fmt: skip
    return times, np.angle(data["expect_coherence"].values)


def seen(difference: np.ndarray, times: np.ndarray, half_width: float, every: int = 1) -> xr.Dataset:
    """Residence times where the phase is looked at now and then."""
    return ba.analysis.residence.dwell_times(difference[:, ::every], times[::every], half_width, discard=DISCARD)


def columns(found: list[xr.Dataset], name: str) -> np.ndarray:
    """Value, standard error, low, high of a quantity in each dataset, (dataset, 4)."""
    return np.array([[float(x[name + end]) for end in ("", "_stderr", "_low", "_high")] for x in found])


def bars(rows: np.ndarray) -> list[np.ndarray]:
    """Lengths of the error bars of 95 % intervals."""
    return [rows[:, 0] - rows[:, 2], rows[:, 3] - rows[:, 0]]


def main(folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    times, difference = run()
    near = (abs(difference[:, times >= DISCARD]) < np.pi / 2).mean(axis=1)
    print(f"{RUNS} runs of T = {DURATION:g}, the first {DISCARD:g} discarded, phases every {SPACING:g}")
    print(f"P(|δφ| < π/2) = {near.mean():.3f} ± {near.std(ddof=1) / RUNS**0.5:.3f}   reference .570 ± .014")

    found = [seen(difference, times, w) for w in HALF_WIDTHS]
    print("Half-width: τ_0, τ_π, their ratio (reference)")
    for w, x in zip(HALF_WIDTHS, found, strict=True):
        line = f"  w = {w / np.pi:.4f} π: "
        for k, state in enumerate(STATES):
            line += f"{float(x[f'mean_{state}']):5.0f} ± {float(x[f'mean_{state}_stderr']):2.0f}"
            given = next((v[k] for at, v in REFERENCE.items() if abs(at - w) < 1e-9), None)
            line += f" ({given[0]}{f' ± {given[1]}' if given[1] else ''})   " if given else "   "
        print(line + f"{float(x['ratio']):.2f} ± {float(x['ratio_stderr']):.2f}")

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    means = {state: columns(found, f"mean_{state}") for state in STATES}
    for k, (state, (label, colour, marker, fill)) in enumerate(STATES.items()):
        left.errorbar(
            np.array(HALF_WIDTHS) / np.pi, means[state][:, 0], bars(means[state]), fmt=f"{marker}-", color=colour,
            mfc=fill, ms=5, lw=1.2, label=rf"$\tau_{{{label}}}$".replace("π", r"\pi"),
        )  # fmt: skip
        at, given = np.array(list(REFERENCE)) / np.pi + 0.008, np.array([v[k] for v in REFERENCE.values()])
        left.errorbar(
            at, given[:, 0], 1.96 * given[:, 1], fmt="*", color="black", mfc=fill or "black", ms=9, lw=1, zorder=5,
            label=rf"$\tau_{{{label}}}$, independent program".replace("π", r"\pi"),
        )  # fmt: skip
    left.set(xlabel=r"half-width $w/\pi$", ylabel=r"mean residence time $\Omega\tau$", ylim=(0, None))
    left.legend(fontsize=8.5)
    left.set_title(rf"phase seen every ${SPACING:g}/\Omega$", fontsize=11)

    narrow = found[HALF_WIDTHS.index(np.pi / 8)]
    print(f"Visits at w = π/8: mean excess beyond {TAIL:g} (reference), coefficient of variation")
    kept: dict[str, np.ndarray] = {}
    for k, (state, (label, colour, _, _)) in enumerate(STATES.items()):
        dwells, cut = ba.analysis.residence.dwells_in(narrow, state)
        shape = ba.analysis.residence.exponentiality(dwells, cut, threshold=TAIL)
        excess, mean = float(shape["mean_excess"]), float(narrow[f"mean_{state}"])
        print(
            f"  {label}: {excess:.0f}, 95 % interval {float(shape['mean_excess_low']):.0f} to"
            f" {float(shape['mean_excess_high']):.0f} ({REFERENCE_TAIL[k]}); {float(shape['cv']):.2f}, exponential"
            f" {float(shape['cv_low']):.2f} to {float(shape['cv_high']):.2f}, p = {float(shape['pvalue']):.3f}"
        )
        curve = ba.analysis.residence.survival(dwells, cut)
        t, s = curve["time"].values, curve["survival"].values
        sign = label.replace("π", r"$\pi$")
        middle.step(t, s, where="post", color=colour, lw=1.5, label=f"visits to {sign}")
        middle.fill_between(
            t, curve["survival_low"].values, curve["survival_high"].values, step="post", color=colour, alpha=0.2, lw=0
        )
        line = np.linspace(0, 900, 181)
        middle.plot(
            line, np.exp(-line / mean), color=colour, lw=1, ls=":", label=rf"$e^{{-t/\tau}}$, $\Omega\tau={mean:.0f}$"
        )
        # the tail's exponential passes through the curve where the tail begins
        level = s[np.searchsorted(t, TAIL, side="right") - 1]
        line = line[line >= TAIL]
        middle.plot(
            line, level * np.exp(-(line - TAIL) / excess), color=colour, lw=1.2, ls="--",
            label=rf"tail beyond {TAIL:g}, $\Omega\tau={excess:.0f}$",
        )  # fmt: skip
        kept |= {f"survival_time_{state}": t, f"survival_{state}": s}
    middle.set(
        yscale="log", ylim=(8e-3, 1.1), xlim=(0, 900), xlabel=r"time $\Omega t$", ylabel="probability to stay longer"
    )
    middle.legend(fontsize=8, loc="upper right")
    middle.set_title(r"single visits, $w=\pi/8$", fontsize=11)
    quarter = found[HALF_WIDTHS.index(np.pi / 4)]
    for state, (label, *_) in STATES.items():
        shape = ba.analysis.residence.exponentiality(*ba.analysis.residence.dwells_in(quarter, state))
        print(f"  w = π/4, {label}: coefficient of variation {float(shape['cv']):.2f} ({REFERENCE_VARIATION})")

    print("Time between two looks: τ_0, τ_π")
    shown = (np.pi / 8, np.pi / 4, np.pi / 2)
    looks = np.zeros((len(shown), len(LOOKS), len(STATES), 4))
    for i, (w, dashes, fraction) in enumerate(zip(shown, ("-", "--", ":"), (8, 4, 2), strict=True)):
        rows = [seen(difference, times, w, every) for every in LOOKS]
        for k, (state, (label, colour, marker, fill)) in enumerate(STATES.items()):
            looks[i, :, k] = columns(rows, f"mean_{state}")
            right.errorbar(
                np.array(LOOKS) * SPACING * (1 + 0.03 * (2 * k - 1)), looks[i, :, k, 0], bars(looks[i, :, k]),
                fmt=marker, ls=dashes, color=colour, mfc=fill, ms=5, lw=1.2,
                label=rf"$\tau_{{{label}}}$, $w=\pi/{fraction}$".replace("π", r"\pi"),
            )  # fmt: skip
        pairs = (f"{every * SPACING:g}: {a[0, 0]:.0f}, {a[1, 0]:.0f}" for every, a in zip(LOOKS, looks[i], strict=True))
        print(f"  w = π/{fraction}: " + ";  ".join(pairs))
    right.set(
        xscale="log", xlabel=r"time between two looks at the phase, $\Omega\,\delta t$",
        ylabel=r"mean residence time $\Omega\tau$", ylim=(0, 1.3 * looks[..., 3].max()),
    )  # fmt: skip
    right.set_xticks(np.array(LOOKS) * SPACING, [f"{every * SPACING:g}" for every in LOOKS])
    right.minorticks_off()
    right.legend(fontsize=8, ncols=3, loc="upper center")
    right.set_title("how often the phase is seen", fontsize=11)
    figure.suptitle(
        r"Two optomechanical cells, mixed synchronization, $K=0.15\,\Omega$, $\Gamma=0.015\,\Omega$, quantum jumps:"
        " 95 % intervals",
        fontsize=11,
    )
    picture = folder / "residence_half_width.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "residence_half_width.npz", times=times, difference=difference.astype(np.float32),
        half_widths=HALF_WIDTHS, mean_0=means["0"], mean_pi=means["pi"], ratio=columns(found, "ratio"),
        spacings=np.array(LOOKS) * SPACING, looks_half_widths=shown, looks=looks,
        columns=("value", "stderr", "low", "high"), **kept,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("residence_half_width"))
