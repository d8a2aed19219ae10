"""Onset of order in a square lattice of optomechanical cells: [S] Ludwig and Marquardt, PRL 111, 073603, Fig. 4.

Truncated Wigner, which the source calls its semiclassical Langevin equations (5).  Coherence between sites,
C(d) = |⟨e^{iφ_i} e^{−iφ_j}⟩|, e^{iφ} = β/|β| after the static displacement of β by the light is taken off: against the
distance at weak and strong coupling, and across half of the lattice against the coupling for several g₀/κ.

The source couples every site to its z = 4 neighbours by K/z and gives g₀ = κ = .3Ω, α_L = 1.1κ, Γ = .074Ω (its Fig. 3).
What the excerpt does not give, and was chosen here: the detuning of Fig. 4 (at which coupling order sets in depends on
it, in places not even monotonically), periodic boundaries, the couplings of C(d), and how g₀/κ is varied: here at fixed
κ and g₀α_L, which leaves the classical equations as they are.  The force is that of the Weyl symbol, g₀(|α|² − ½); the
printed one, g₀|α|², is the same with the detuning shifted by g₀²/(Ω − K), about .1Ω at g₀/κ = 1.

    python examples/array_coherence.py [folder]
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

# [S] Ludwig and Marquardt, Fig. 3, in units of the mechanical frequency
KAPPA, DRIVE, GAMMA, NEIGHBOURS = 0.3, 1.1 * 0.3, 0.074, 4
DETUNING = 0.15  # chosen: not in the excerpt
SIZE, DISTANCE = 30, 14  # of the source's Fig. 4 (a), (b)
COUPLINGS_SHOWN = (0.1, 0.25, 0.35, 0.4)  # K of C(d); the last from an ordered start, too
LATTICE_RUNS, LATTICE_DURATION, LATTICE_DISCARD = 32, 800.0, 400.0
SCAN_SIZE, RATIOS = 12, (0.4, 0.6, 0.8, 1.0)  # g₀/κ
COUPLINGS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
SCAN_RUNS, SCAN_DURATION, SCAN_DISCARD = 32, 600.0, 300.0
SPACING, STEP, SEED = 4.0, 0.1, 7  # spacing: fine against a turn, or the mean would hold some of the oscillation
AMPLITUDE = 2.0  # of the ordered start
THRESHOLD = 0.1  # of C across half of the lattice; the source's .01 is below the noise of these runs


def coherence(
    size: int, ratio: float, coupling: float, ntraj: int, duration: float, discard: float, seed: int,
    ordered: bool = False,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """C(d) along the axes, d = 0 ... size/2, its standard error over runs, and mean |β|² of the oscillation."""
    system = ba.systems.optomechanical_array(
        (size, size), ratio * KAPPA, KAPPA, DRIVE / ratio, DETUNING, GAMMA, coupling / NEIGHBOURS, periodic=True
    )
    sites = sorted(name for name in system.observables if name.startswith("b_"))
    # by default from the vacuum, whose phases are random
    initial = {name: ba.coherent(AMPLITUDE / ratio) for name in sites} if ordered else None
    times = np.linspace(0, duration, round(duration / SPACING) + 1)
    data = ba.simulate(
        system, None, times, ntraj, seed=seed, initial=initial, level=ba.PhaseSpace(), states=True, step=STEP,
        n_jobs=2, max_memory="4 GiB", progress=False,
    )  # fmt: skip
    late = times >= discard
    beta = data["amplitude"].values[:, late, size**2 :]  # modes are sorted by name, light first
    beta = beta - beta.mean()  # over runs, times and sites: the static displacement
    unit = (beta / abs(beta)).reshape(*beta.shape[:2], size, size)
    # correlations of all pairs at once
    power = (abs(np.fft.fft2(unit)) ** 2).mean(axis=1)
    pairs = np.fft.ifft2(power) / size**2
    axis = (pairs[:, 0] + pairs[:, :, 0])[:, : size // 2 + 1] / 2
    mean = axis.mean(axis=0)
    # along the mean: what is at right angles to it does not change the modulus in first order
    error = (axis * np.exp(-1j * np.angle(mean))).real.std(axis=0, ddof=1) / ntraj**0.5
    return abs(mean), error, float((abs(beta) ** 2).mean())


def onset(values: np.ndarray) -> float:
    """Coupling at which C first exceeds the threshold, between two points of the scan; NaN if it does not."""
    above = np.flatnonzero(values > THRESHOLD)
    if not above.size:
        return float("nan")
    i = above[0]
    return COUPLINGS[0] if i == 0 else float(np.interp(THRESHOLD, values[i - 1 : i + 1], COUPLINGS[i - 1 : i + 1]))


def main(folder: Path) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    folder.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.3), layout="constrained")
    distance = np.arange(SIZE // 2 + 1)
    kept: dict[str, np.ndarray] = {"distance": distance}

    print(f"{SIZE} × {SIZE} sites, g₀ = κ, {LATTICE_RUNS} runs of T = {LATTICE_DURATION:g}: C(1), C({DISTANCE})")
    colours = plt.get_cmap("viridis")(np.linspace(0.85, 0.0, len(COUPLINGS_SHOWN)))
    for i, (K, colour) in enumerate(zip(COUPLINGS_SHOWN, colours, strict=True)):
        for ordered in (False, True) if COUPLINGS_SHOWN[-1] == K else (False,):
            value, error, number = coherence(
                SIZE, 1.0, K, LATTICE_RUNS, LATTICE_DURATION, LATTICE_DISCARD, SEED + 10 * i + ordered, ordered
            )
            start = "ordered start" if ordered else "vacuum"
            print(
                f"  K = {K:g}, {start:13}: {value[1]:.3f} ± {error[1]:.3f}, {value[DISTANCE]:.3f} ±"
                f" {error[DISTANCE]:.3f}; mean |β|² {number:.2f}",
                flush=True,
            )
            left.errorbar(
                distance[1:] + 0.12 * ordered, value[1:], error[1:], fmt="D--" if ordered else "o-",
                mfc="none" if ordered else colour, color=colour, ms=4, lw=1.2,
                label=rf"$K={K:g}\,\Omega$" + (", from order" if ordered else ""),
            )  # fmt: skip
            kept |= {f"C_{K:g}_{start.split()[0]}": value, f"C_stderr_{K:g}_{start.split()[0]}": error}
    left.axvline(DISTANCE, color="0.7", lw=0.8, ls=":")
    left.set(
        yscale="log",
        ylim=(2e-3, 1.1),
        xlabel="distance $d$ in sites",
        ylabel=r"$C(d)=|\langle e^{i\varphi_i}e^{-i\varphi_j}\rangle|$",
    )
    left.legend(fontsize=8, ncols=2)
    left.set_title(rf"${SIZE}\times{SIZE}$ sites, $g_0=\kappa$", fontsize=11)

    print(f"{SCAN_SIZE} × {SCAN_SIZE} sites: C({SCAN_SIZE // 2}) against K = {', '.join(f'{K:g}' for K in COUPLINGS)}")
    scan = np.zeros((len(RATIOS), len(COUPLINGS), 2))
    looks = zip(RATIOS, ("C2", "C4", "C1", "C0"), "^vso", strict=True)
    for i, (ratio, colour, marker) in enumerate(looks):
        for j, K in enumerate(COUPLINGS):
            value, error, _ = coherence(
                SCAN_SIZE, ratio, K, SCAN_RUNS, SCAN_DURATION, SCAN_DISCARD, SEED + 1000 + 100 * i + j
            )
            scan[i, j] = value[-1], error[-1]
        threshold = onset(scan[i, :, 0])
        line = ", ".join(f"{v:.3f}({e:.3f})" for v, e in scan[i])
        print(f"  g₀/κ = {ratio:g}: {line}; exceeds {THRESHOLD:g} at K = {threshold:.3f}", flush=True)
        right.errorbar(
            COUPLINGS, *scan[i].T, fmt=f"{marker}-", color=colour, ms=5, lw=1.2,
            label=rf"$g_0/\kappa={ratio:g}$, $K_c={threshold:.2f}\,\Omega$",
        )  # fmt: skip
    right.axhline(THRESHOLD, color="0.5", lw=0.8, ls="--")
    right.set(
        xlabel=r"mechanical coupling $K/\Omega$", ylabel=rf"$C({SCAN_SIZE // 2})$, half of the lattice", ylim=(-0.02, 1)
    )
    right.legend(fontsize=8.5, loc="upper left")
    right.set_title(rf"${SCAN_SIZE}\times{SCAN_SIZE}$ sites", fontsize=11)
    figure.suptitle(
        rf"Optomechanical arrays, truncated Wigner: $\kappa=0.3\,\Omega$, $g_0\alpha_L=0.33\times0.3\,\Omega^2$,"
        rf" $\Gamma={GAMMA}\,\Omega$, $\Delta={DETUNING}\,\Omega$, $K/4$ to each neighbour",
        fontsize=11,
    )
    picture = folder / "array_coherence.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "array_coherence.npz",
        ratios=RATIOS,
        couplings=COUPLINGS,
        scan=scan,
        columns=("value", "stderr"),
        **kept,
    )
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("array_coherence"))
