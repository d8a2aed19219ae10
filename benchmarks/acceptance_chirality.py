"""Acceptance: chirality reversals of nonreciprocal spins on second-order cumulant trajectories, [T] chapter 6.

    python benchmarks/acceptance_chirality.py

V = V₊ = 2, V₋ = 4, κ = 10 (rates over γ₊), real heterodyne detection at ω_m = 2πκ, ξ = 1; T = 1000, the first 100
discarded, windows of 10.  For N = 50, 100, 125, 150, 175, 200, 250, 64 trajectories each: reversals by blocks, moving
average and hysteresis, beside the reference counts; the decay δN over N = 100 … 250; and the time that the scan takes.
Then frequencies, phase differences and amplitudes of single runs (8 runs of T = 400).  Last the bias of the counts at
the step used, against a step four times shorter on as many trajectories.

Declared here, and not chosen for their results: seeds 0, 1, 2 with 22, 21 and 21 trajectories, pooled; accepted if no
|z| exceeds 3 combined standard errors.  Exits with status 1 otherwise.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import backaction as ba

SEEDS = {0: 22, 1: 21, 2: 21}
METHODS = ("block", "sliding", "hysteresis")
#: Mean and standard error of 64 trajectories, from an independent program.
REFERENCE = {
    50: ((29.0, 0.5), (39.9, 0.9), (22.5, 0.5)),
    100: ((14.7, 0.5), (17.8, 0.5), (13.0, 0.4)),
    150: ((6.7, 0.3), (7.8, 0.4), (6.0, 0.3)),
    200: ((2.6, 0.2), (3.0, 0.2), (2.4, 0.2)),
}
SCALING = ((60.1, 1.8), (58.2, 1.8), (61.1, 1.9))
STEP, KAPPA, LIMIT = 0.005, 10.0, 3.0
DETECTOR = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(2 * np.pi * KAPPA), recorded=False)


def trajectories(N: int, V_minus: float, duration: float, seeds: dict[int, int], step: float = STEP) -> list:
    """(⟨σ_A⁺⟩, ⟨σ_B⁺⟩, times) of every seed."""
    system = ba.systems.nonreciprocal_spins(N, 2.0, 2.0, V_minus, kappa=KAPPA)
    out = []
    for seed, n in seeds.items():
        data = ba.simulate(
            system, DETECTOR, np.linspace(0, duration, round(10 * duration) + 1), n, seed=seed, level="moments",
            observables=("sp_A", "sp_B"), step=step, n_jobs=2, progress=False,
        )  # fmt: skip
        out.append((data["hidden_sp_A"].values, data["hidden_sp_B"].values, data["time"].values))
    return out


def counts(runs: list) -> np.ndarray:
    """(method, trajectory) reversals."""
    return np.concatenate(
        [
            [ba.analysis.reversals(np.angle(a * b.conj()), t, 10.0, method=m, discard=100.0) for m in METHODS]
            for a, b, t in runs
        ],
        axis=1,
    )


def compare(what: str, found: float, error: float, reference: float, its_error: float) -> float:
    z = (found - reference) / np.hypot(error, its_error)
    print(f"  {what:34} {found:9.3f}({error:.3f})   reference {reference:8.3f}({its_error:.3f})   z = {z:+.2f}")
    return float(z)


def main() -> int:
    zs: list[float] = []
    table: dict[int, np.ndarray] = {}
    trajectories(50, 4.0, 10.0, {0: 1})  # compile
    start = time.perf_counter()
    for N in (50, 100, 125, 150, 175, 200, 250):
        table[N] = counts(trajectories(N, 4.0, 1000.0, SEEDS))
    spent = time.perf_counter() - start
    print(f"scan of seven N: {spent:.0f} s on 2 cores, {spent * 2 / (7 * 64):.3f} s of a core per trajectory")
    mean = {N: c.mean(axis=1) for N, c in table.items()}
    error = {N: c.std(axis=1, ddof=1) / np.sqrt(c.shape[1]) for N, c in table.items()}
    for N, references in REFERENCE.items():
        for k, method in enumerate(METHODS):
            zs.append(compare(f"N = {N}, {method}", mean[N][k], error[N][k], *references[k]))
    sizes = [N for N in table if N >= 100]
    for k, method in enumerate(METHODS):
        fit = ba.analysis.scaling(
            np.array(sizes), np.array([mean[N][k] for N in sizes]), np.array([error[N][k] for N in sizes]), (100, 250)
        )
        zs.append(
            compare(f"δN, {method}, N = 100 … 250", float(fit["delta_N"]), float(fit["delta_N_stderr"]), *SCALING[k])
        )

    print("single runs, 8 of T = 400")
    for N, V_minus, frequency in ((100, 4.0, (0.833, 0.015)), (500, 4.0, (0.823, 0.006)), (2000, 3.2, (0.497, 0.007))):
        a, b, t = trajectories(N, V_minus, 400.0, {0: 8})[0]
        a, b, t = a[:, 1000:], b[:, 1000:], t[1000:]
        turning = np.abs(np.diff(np.unwrap(np.angle(a)), axis=1)[:, :-100].reshape(8, -1, 100).sum(axis=2)) / 10.0
        each = np.median(turning, axis=1)
        zs.append(compare(f"N = {N}, V₋ = {V_minus}, |ω|", each.mean(), each.std(ddof=1) / 8**0.5, *frequency))
        print(f"    |Δφ| = {np.mean(abs(np.angle(a * b.conj()))) / np.pi:.3f} π, |s| = {abs(a).mean():.3f}, "
              f"{abs(b).mean():.3f}")  # fmt: skip
    a, b, t = trajectories(100, 1.0, 400.0, {0: 8})[0]
    print(f"  synchronized, V₋ = 1: |s| = {abs(a[:, 1000:]).mean():.3f}, {abs(b[:, 1000:]).mean():.3f} "
          f"(reference .332, .264), Δφ = {np.angle(a[:, 1000:] * b[:, 1000:].conj()).mean():.3f}")  # fmt: skip

    fine = counts(trajectories(100, 4.0, 1000.0, SEEDS, step=STEP / 4))
    for k, method in enumerate(METHODS):
        ratio = fine[k].mean() / mean[100][k] - 1
        print(f"  bias of the step, {method}: counts at a quarter of it differ by {ratio:+.1%} "
              f"(± {np.hypot(error[100][k], fine[k].std() / 8) / mean[100][k]:.1%})")  # fmt: skip
    print(f"largest |z|: {max(map(abs, zs)):.2f}")
    return int(max(map(abs, zs)) > LIMIT or spent > 300)


if __name__ == "__main__":
    sys.exit(main())
