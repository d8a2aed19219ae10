"""Two coupled quantum van der Pol oscillators, as two heterodyne detectors see them.

An ensemble of monitored runs ([T] chapter 4, Figs. 4.3b and 4.4): the detectors' currents go to disk, and their phase
difference and spectra are drawn beside the exact prediction for these detectors.

    python examples/two_vdp_demo.py [folder]
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

import backaction as ba

WINDOW = 1.0  # boxcar window of the phase difference, in 1/kappa
SEGMENT = 20.0  # length of one periodogram
BAND = 20.0  # frequencies shown


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    system = ba.systems.two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=3, detuning=0.5, levels=12)
    unraveling = ba.Heterodyne("loss_a", "loss_b")
    times = np.linspace(0, 200, 2001)

    print("Exact prediction: two filtered output modes, 12 levels per oscillator (kept on disk for next time)")
    exact = ba.references.phase_distribution(system, unraveling, window=WINDOW)
    exact_spectra = {
        name: ba.references.measured_spectrum(
            system, unraveling, channel=f"loss_{name}", duration=SEGMENT, bin_width=times[1] - times[0]
        )
        for name in ("a", "b")
    }

    print("Monitored runs: 256 trajectories of 200/kappa")
    data = ba.simulate(system, unraveling, times, ntraj=256, seed=7, initial="steady", n_jobs=-1)
    store = folder / "currents.zarr"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        data.to_zarr(store, mode="w")

    measured = ba.analysis.phase_difference(data["current_loss_a"], data["current_loss_b"], window=WINDOW)
    spectra = {name: ba.analysis.spectrum(data[f"current_loss_{name}"], segment=SEGMENT) for name in ("a", "b")}

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    ba.analysis.plot_phase_distribution(measured, exact, ax=left)
    left.set_title(rf"phase difference, window $\kappa\tau$ = {WINDOW:g}", fontsize=10)
    band = (-BAND, BAND)
    for name, colour in (("a", "C0"), ("b", "C3")):
        ba.analysis.plot_spectrum(
            spectra[name],
            exact_spectra[name],
            ax=right,
            band=band,
            color=colour,
            label=f"detector {name}",
            exact_label="exact" if name == "b" else None,
        )
    right.set_title(rf"spectra, records of {SEGMENT:g}/$\kappa$", fontsize=10)
    picture = folder / "two_vdp_demo.png"
    figure.savefig(picture, dpi=160)

    q = complex(measured["q"].sel(harmonic=1))
    error = float(measured["q_abs_stderr"].sel(harmonic=1))
    predicted = complex(exact["q"].sel(harmonic=1))
    print(f"|q1|: measured {abs(q):.4f} ± {error:.4f}, exact {abs(predicted):.4f}")
    for name in ("a", "b"):
        chi2 = ba.analysis.chi2_test(spectra[name], exact_spectra[name], band=band)
        print(f"spectrum {name}: chi² = {chi2.statistic:.0f} for {chi2.dof} frequencies, p = {chi2.pvalue:.3f}")
    print(f"Currents: {store.resolve()}")
    print(f"Picture:  {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))
