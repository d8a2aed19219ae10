"""Acceptance: measured phase distributions and spectra of two coupled oscillators against exact values.

Seeds 0, 1, 2, declared here, are pooled; every z is printed.  About ten minutes on two cores.

    python benchmarks/acceptance_synchronization.py

1. |q1| of the heterodyne phase difference, V = 3, δ = 0.5, boxcar windows: two van der Pol oscillators (12 levels) and
   two spins 1/2, against independent reference numbers (virtual-cavity cascade; ±0.5 % for the oscillators) and against
   `references.phase_distribution`.
2. Measured spectra of two van der Pol oscillators, δ = 5, V = 0 and 5, against the exact expectation for the finite
   record and bin: χ² over |ω| <= 20, and the same test for κS/2, 2κS and a floor of 1.05, which must fail.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import backaction as ba

SEEDS = (0, 1, 2)
VDP = {0.1: 0.06607, 0.4: 0.21474, 0.8: 0.34206, 1.0: 0.38702}  # ± 0.5 %
SPINS = {1.0: 0.0571835, 5.0: 0.1158283}
BAND = 20.0
SEGMENT = 32.0


def pooled(system: ba.System, unraveling: ba.Unraveling, times: np.ndarray, ntraj: int) -> Any:
    """One ensemble per seed, joined along the trajectories."""
    import xarray as xr

    runs = [
        ba.simulate(system, unraveling, times, ntraj, seed=seed, initial="steady", n_jobs=-1, progress=False)
        for seed in SEEDS
    ]
    print(
        f"  step {runs[0].attrs['step']:.3g}, {len(SEEDS)} x {ntraj} trajectories of {times[-1]:g}",
        flush=True,
    )
    return xr.concat(runs, dim="trajectory", data_vars="all", combine_attrs="drop_conflicts")


def phases(name: str, system: ba.System, times: np.ndarray, ntraj: int, targets: dict, relative: float) -> list[float]:
    print(f"{name}: |q1| of the phase difference")
    unraveling = ba.Heterodyne("loss_a", "loss_b")
    data = pooled(system, unraveling, times, ntraj)
    worst = []
    for window, target in targets.items():
        measured = ba.analysis.phase_difference(data["current_loss_a"], data["current_loss_b"], window=window)
        value = float(measured["q_abs"].sel(harmonic=1))
        error = float(measured["q_abs_stderr"].sel(harmonic=1))
        exact = complex(ba.references.phase_distribution(system, unraveling, window=window)["q"].sel(harmonic=1))
        z = (value - target) / np.hypot(error, relative * target)
        z_exact = (value - abs(exact)) / error
        worst += [z, z_exact]
        print(
            f"  window {window:4g}: {value:.5f} ± {error:.5f} ({100 * error / value:.2f} %), "
            f"reference {target:.5f} z = {z:+.2f}; package's exact {abs(exact):.5f} z = {z_exact:+.2f}",
            flush=True,
        )
    return worst


def spectra(coupling: float, times: np.ndarray, ntraj: int) -> None:
    print(f"two van der Pol, δ = 5, V = {coupling:g}: spectra")
    system = ba.systems.two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=coupling, detuning=5, levels=12)
    unraveling = ba.Heterodyne("loss_a", "loss_b")
    data = pooled(system, unraveling, times, ntraj)
    width = times[1] - times[0]
    for channel in ("loss_a", "loss_b"):
        measured = ba.analysis.spectrum(data[f"current_{channel}"], segment=SEGMENT)
        exact = ba.references.measured_spectrum(system, unraveling, channel=channel, duration=SEGMENT, bin_width=width)
        line = []
        for label, broken in (
            ("exact", exact),
            ("signal/2", exact.assign(power=1 + (exact["power"] - 1) / 2)),
            ("signal*2", exact.assign(power=1 + (exact["power"] - 1) * 2)),
            ("floor 1.05", exact.assign(power=exact["power"] + 0.05)),
        ):
            chi2 = ba.analysis.chi2_test(measured, broken, band=(-BAND, BAND))
            line.append(f"{label}: chi2 {chi2.statistic:.1f}/{chi2.dof} p = {chi2.pvalue:.3g}")
        peak = float(measured["frequency"].values[measured["power"].values.argmax()])
        print(
            f"  {channel}: {measured.attrs['n_segments']} segments, peak near {peak:+.2f}; " + "; ".join(line),
            flush=True,
        )


def main() -> None:
    started = time.perf_counter()
    vdp = ba.systems.two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=3, detuning=0.5, levels=12)
    z = phases("two van der Pol", vdp, np.linspace(0, 200, 2001), 112, VDP, 0.005)
    spins = ba.systems.two_spins(gamma_plus=0.5, gamma_minus=1, coupling=3, detuning=0.5)
    z += phases("two spins", spins, np.linspace(0, 1000, 4001), 192, SPINS, 0.0)
    print(f"largest |z|: {max(map(abs, z)):.2f} of {len(z)}")
    for coupling in (0.0, 5.0):
        spectra(coupling, np.linspace(0, 256, 2561), 112)
    print(f"took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
