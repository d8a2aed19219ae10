"""Cascaded systems, the physics notes, section 7 (e): a source drives a target, nothing comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backaction import Heterodyne, Homodyne, QuantumJumps
from backaction.systems import cascaded
from backaction.systems.states import fock, spin
from physics.helpers import CONTROL, LIMIT, Regression, run, worst

DETECTORS = {
    "jumps": QuantumJumps("output"),
    "homodyne": Homodyne("output", phase=0.8),
    "heterodyne": Heterodyne("output"),
    "jumps, efficiency": QuantumJumps("output", efficiency=0.5),
}


def without_cascade(system, rabi=0.0):
    """The control: the same common channel without the Hamiltonian that makes it one-way."""
    drive = cascaded(0.0, 0.0, rabi, source="qubit", target="qubit") if rabi else None
    return replace(system, H=drive.H if drive else 0.0 * system.H)


def photon(t):
    """Populations of source and target at equal rates κ = 1: e^{−t}, t²e^{−t}."""
    return np.exp(-t), t**2 * np.exp(-t)


def observed(data, name):
    """Conditional (or hidden) means of an observable."""
    return data[f"expect_{name}" if f"expect_{name}" in data else f"hidden_{name}"].values


def test_the_closed_form_has_the_reference_value():
    assert photon(2.0)[1] == pytest.approx(0.5413411, abs=1e-7)


@pytest.mark.parametrize("kinds", ["boson", "qubit"])
@pytest.mark.parametrize("case", DETECTORS)
def test_a_photon_fills_the_target(case, kinds):
    """Averages over the records: 4/e² in the target at κt = 2, and a source that decays as if alone."""
    times = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    source, target = photon(times[1:])
    level = "density" if "efficiency" in case else "ket"
    options = {
        "seed": 0,
        "level": level,
        "step": None if "jumps" in case else 0.02,
        "observables": ("n_source", "n_target"),
        "initial": {"source": fock(1) if kinds == "boson" else spin(0.0, 0.0)},
    }
    ntraj = 8192
    system = cascaded(1.0, 1.0, source=kinds, target=kinds)
    data = run(system, DETECTORS[case], times, ntraj, **options)
    n_source, n_target = observed(data, "n_source")[:, 1:], observed(data, "n_target")[:, 1:]
    # exactly so within one excitation: the mean is that of the master equation
    good = max(worst(n_source, source), worst(n_target, target))
    data = run(without_cascade(system), DETECTORS[case], times, ntraj, **options)
    both_ways = worst(observed(data, "n_source")[:, 1:], source)
    at_two = worst(observed(data, "n_target")[:, 3], photon(2.0)[1])
    print(f"photon, {case}, {kinds}: z {good:.2f}; broken {both_ways:.0f}, {at_two:.0f}")
    assert good < LIMIT
    assert min(both_ways, at_two) > CONTROL
    assert worst(n_target[:, 2], 0.5) > CONTROL  # resolved to better than that


@pytest.mark.parametrize("case", DETECTORS)
def test_a_driven_qubit_drives_a_qubit(case):
    """Ω = κ = 1: p_source = 1/3 as if alone, p_target = .4."""
    times = np.linspace(0, 200, 401)
    system = cascaded(1.0, 1.0, rabi=1.0, source="qubit", target="qubit")
    options = {
        "seed": 0,
        "level": "density" if "efficiency" in case else "ket",
        "step": None if "jumps" in case else 0.05,
        "observables": ("n_source", "n_target"),
    }
    data = run(system, DETECTORS[case], times, 128, **options)
    late = times >= 20
    means = np.stack([observed(data, f"n_{name}")[:, late].mean(axis=1) for name in ("source", "target")], axis=1)
    good = worst(means, [1 / 3, 0.4])
    swapped = worst(means, [0.4, 1 / 3])
    data = run(without_cascade(system, rabi=1.0), DETECTORS[case], times, 128, **options)
    both_ways = worst(observed(data, "n_source")[:, late].mean(axis=1), 1 / 3)
    print(f"qubit drives qubit, {case}: z {good:.2f}; broken {swapped:.0f}, {both_ways:.0f}")
    assert good < LIMIT
    assert min(swapped, both_ways) > CONTROL


def test_steady_populations_without_trajectories():
    """The model itself: 1/3 and .4 exactly, the source the same with no target; the control is not."""
    system = cascaded(1.0, 1.0, rabi=1.0, source="qubit", target="qubit")

    def populations(system):
        theory = Regression(system)
        rho = theory.rho.reshape(theory.d, theory.d)
        return [np.trace(theory.lowered.observables[f"n_{k}"] @ rho).real for k in ("source", "target")]

    assert populations(system) == pytest.approx([1 / 3, 0.4], abs=1e-10)
    for kappa_target in (0.3, 2.0):
        other = cascaded(1.0, kappa_target, rabi=1.0, source="qubit", target="qubit")
        assert populations(other)[0] == pytest.approx(1 / 3, abs=1e-10)
    tilted = replace(system, H=system.H + 0.01 * system.observables["n_target"])
    assert populations(tilted)[0] == pytest.approx(1 / 3, abs=1e-10)  # detuning the target: no effect
    broken = without_cascade(tilted, rabi=1.0)
    broken = replace(broken, H=broken.H + 0.01 * system.observables["n_target"])
    assert abs(populations(broken)[0] - 1 / 3) > 0.01
