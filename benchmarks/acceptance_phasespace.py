"""Acceptance: two optomechanical cells in phase space, and their residence times from detector currents.

    python benchmarks/acceptance_phasespace.py [attractors|table|currents ...]

g₀ = .3 s, α_L = .3 / s, κ = .3, Δ = .15 (units of the mechanical frequency), set (c): K = .15, Γ = .015.

*attractors*: the classical equations (moments of order 1), 200 starts each: (a) → 0 at the frequency .689, (b) → π and
(c) → π only, at 1.125.

*table*: P(0) and residence times, w = π/4, mean amplitudes subtracted, first 800 discarded (s = .2 without thermal
noise: 3000, because runs that begin near 0 stay there for long).  The reference's equations are those printed in [S]
Ludwig and Marquardt (5), with the force ig₀|α|².  The Weyl symbol of a†a is |α|² − ½: without the ½ the vacuum presses
on the mirror and shifts the detuning by g₀², .09 at s = 1.  Both are run: "as printed" (H less g₀(b + b†)/2, which
undoes the ½) must give the reference's numbers; the right one is beside the exact quantum values.  Residence times
depend on how often the phase is looked at, which the reference does not say: every 1 explains its numbers, every .5 is
printed beside it.

*currents*: heterodyne currents of both cavities through Gaussian filters at the sidebands of the two states, decoded by
a model calibrated on seed 100.  s = .2, n_th = 10: filter 6, a sample every 1.5; P(0) within .08 and both times within
a factor 1.5 of those from the amplitudes.  s = .4, n_th = 0: filter 10, a sample every 10; P(0) within .05.  Beside it
the bias of both times for a simulated telegraph signal of the same rates and mean powers in the same white noise.

Declared here, and not chosen for their results: seeds 0, 1, 2; runs per seed and durations in RUNS.  Accepted if every
|z| <= 3, errors of the reference included, and the bounds above hold.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from receiver import Receiver, Run, compare, telegraph_bias

import backaction as ba

SEEDS, DISCARD, SPACING, HALF_WIDTH = (0, 1, 2), 800.0, 0.5, np.pi / 4
EVERY = (2, 1)  # samples of the phase that are looked at; the first is judged
RUNS = {"table": (48, 4000.0), "currents": (32, 4000.0)}
CALIBRATION = 100
LINES = (-0.825, -1.131)  # of the sum of the currents at 0, of their difference at π: e^{+iωt}
#: s, n_th -> P(0), τ_0, τ_π of the equations as printed, with errors.
PRINTED = {
    (1.0, 0.0): ((0.794, 0.011), (295, 12), (73, 3)),
    (0.5, 0.0): ((0.423, 0.015), (226, 17), (305, 14)),
    (0.4, 0.0): ((0.248, 0.014), (159, 11), (479, 36)),
    (0.2, 10.0): ((0.173, 0.014), None, (763, None)),
    (0.2, 0.0): ((0.014, 0.003), None, (7500, 1500)),
}
EXACT = {(1.0, 0.0): "exact quantum jumps: P(0) = .570(14), τ = 147(8), 108(6)"}
FAILED: list[str] = []


def pair(s: float, n_thermal: float = 0.0, coupling: float = 0.15, gamma: float = 0.015) -> ba.System:
    return ba.systems.optomechanical_pair(0.3 * s, 0.3, 0.3 / s, 0.15, gamma, coupling, n_thermal)


def as_printed(system: ba.System, s: float) -> ba.System:
    """The force ig₀|α|² in place of ig₀(|α|² − ½)."""
    H = system.hamiltonian
    for name in ("b1", "b2"):
        b = system.observables[name]
        H = H - 0.15 * s * (b + b.dag())
    return replace(system, H=H)


def attractors() -> None:
    rng = np.random.default_rng(0)
    for name, coupling, gamma, expected in (("a", 0.3, 0.015, 0), ("b", 0.15, 0.01, 1), ("c", 0.15, 0.015, 1)):
        system = pair(1.0, coupling=coupling, gamma=gamma)
        equations = ba.systems.MomentEquations(system, 1)
        order = [v[0][0].name for v in equations.variables]
        size = np.array([3.0 if m[0] == "b" else 0.5 for m in order])
        start = size * rng.normal(size=(200, 4, 2)).view(complex)[..., 0]
        times = np.linspace(0, 6000, 60001)[-2001:]
        first = ba.simulate(
            system, None, [0, times[0]], 200, level=ba.Moments(1), initial=start, states=True, step=0.02, n_jobs=2,
            progress=False,
        )  # fmt: skip
        data = ba.simulate(
            system, None, times, 200, level=ba.Moments(1), initial=first["moments"].values[:, -1], step=0.02, n_jobs=2,
            observables=("b1", "b2"), progress=False,
        )  # fmt: skip
        b = [data[f"expect_b{j}"].values for j in (1, 2)]
        b = [x - x.mean(axis=1, keepdims=True) for x in b]
        difference = np.angle((b[0].conj() * b[1]).mean(axis=1))
        state = (abs(difference) > np.pi / 2).astype(int)
        frequency = -np.diff(np.unwrap(np.angle(b[0]), axis=1), axis=1).mean() / (times[1] - times[0])
        good = np.all(state == expected)
        print(
            f"({name}) {np.mean(state == 0):.3f} of 200 starts end at 0; largest distance from 0 or π"
            f" {np.minimum(abs(difference), np.pi - abs(difference)).max():.1e}; frequency {frequency:.4f}"
        )
        if not good:
            FAILED.append(f"attractor of ({name})")


def differences(data: object, discard: float = DISCARD) -> tuple[np.ndarray, np.ndarray]:
    """Phase differences arg⟨b₁*b₂⟩ after the mean amplitudes are subtracted, and their times."""
    times = data["time"].values
    late = times >= discard
    b = [data[f"expect_b{j}"].values for j in (1, 2)]
    b = [x - x[:, late].mean() for x in b]
    return np.angle(b[0].conj() * b[1]), times


def residence(difference: np.ndarray, times: np.ndarray, discard: float) -> dict[str, tuple[float, float]]:
    """P(0), τ_0 and τ_π with errors."""
    found = ba.analysis.residence.dwell_times(difference, times, HALF_WIDTH, discard=discard)
    late = times >= discard
    near = (abs(difference[:, late]) < np.pi / 2).mean(axis=1)
    return {
        "P(0)": (near.mean(), near.std(ddof=1) / len(near) ** 0.5),
        "τ_0": (float(found.mean_0), float(found.mean_0_stderr)),
        "τ_π": (float(found.mean_pi), float(found.mean_pi_stderr)),
    }


def table() -> None:
    runs, T = RUNS["table"]
    for (s, n_thermal), reference in PRINTED.items():
        discard = 3000.0 if s == 0.2 and n_thermal == 0 else DISCARD
        times = np.linspace(0, T + discard, round((T + discard) / SPACING) + 1)
        for printed in (True, False):
            system = as_printed(pair(s, n_thermal), s) if printed else pair(s, n_thermal)
            parts = []
            for seed in SEEDS:
                data = ba.simulate(
                    system, None, times, runs, seed=seed, level="phasespace", observables=("b1", "b2"), step=0.02,
                    n_jobs=2, max_memory="4 GiB", progress=False,
                )  # fmt: skip
                parts.append(differences(data, discard)[0])
            print(f"s = {s}, n_th = {n_thermal:g}, {'as printed' if printed else 'Weyl symbol'}")
            for every in EVERY:
                found = residence(np.concatenate(parts)[:, ::every], times[::every], discard)
                judged = printed and every == EVERY[0]
                line = []
                for (name, (value, error)), given in zip(found.items(), reference, strict=True):
                    text = f"{name} {value:.3f}({error:.3f})" if value < 2 else f"{name} {value:.0f}({error:.0f})"
                    if printed and given is not None:
                        text += f" / {given[0]}"
                        if given[1] is not None:
                            z = (value - given[0]) / np.hypot(error, given[1])
                            text += f"({given[1]}) z = {z:+.2f}"
                            if judged and abs(z) > 3:
                                FAILED.append(f"s = {s}, n_th = {n_thermal}: {name}")
                    line.append(text)
                print(f"  every {every * SPACING:g}: " + "; ".join(line))
        if (s, n_thermal) in EXACT:
            print("  " + EXACT[s, n_thermal])


def currents() -> None:
    runs, T = RUNS["currents"]
    times = np.linspace(0, T, round(T / SPACING) + 1)
    detectors = ba.Heterodyne("cavity_1", "cavity_2")
    for s, n_thermal, filter_time, every, bound in ((0.2, 10.0, 6.0, 1.5, 0.08), (0.4, 0.0, 10.0, 10.0, 0.05)):
        system = pair(s, n_thermal)

        def run(seed: int) -> Run:
            data = ba.simulate(
                system, detectors, times, runs, seed=seed, level="phasespace", observables=("b1", "b2"),  # noqa: B023
                step=0.02, n_jobs=2, max_memory="4 GiB", progress=False,
            )  # fmt: skip
            return data["current_cavity_1"], data["current_cavity_2"], *differences(data)

        name, receiver = f"s = {s}, n_th = {n_thermal:g}", Receiver(LINES, filter_time, every, DISCARD, HALF_WIDTH)
        p, tau, model = compare(name, receiver, run(CALIBRATION), [run(seed) for seed in SEEDS])
        if abs(p[0] - p[1]) > bound:
            FAILED.append(f"{name}: P(0)")
        if s == 0.2 and not all(1 / 1.5 <= mine / theirs <= 1.5 for mine, theirs in tau):
            FAILED.append(f"{name}: residence times")
        telegraph_bias(receiver, tau, model, times, runs, [CALIBRATION, *SEEDS])


def main() -> int:
    parts = {"attractors": attractors, "table": table, "currents": currents}
    for name in sys.argv[1:] or parts:
        start = time.perf_counter()
        parts[name]()
        print(f"  [{name}: {time.perf_counter() - start:.0f} s]", flush=True)
    print("accepted" if not FAILED else "MISSED: " + "; ".join(FAILED))
    return int(bool(FAILED))


if __name__ == "__main__":
    sys.exit(main())
