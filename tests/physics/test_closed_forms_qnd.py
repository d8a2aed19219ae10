"""A non-demolition measurement of σ_z, physics notes 7 (c): the conditional state is a function of the record."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import roots_hermitenorm

from backaction import Heterodyne, Homodyne
from backaction.systems import qnd_qubit
from physics.helpers import CONTROL, LIMIT, fitted_order, run, worst

K = 1.0
QUBIT = qnd_qubit(K)
TIMES = np.linspace(0, 1, 21)


def integrated(data, ntraj):
    """Y(t) = ∫I dt at the bin edges."""
    current = data["current_probe"].values * data["bin_width"].values
    return np.concatenate([np.zeros((ntraj, 1)), np.cumsum(current, axis=1)], axis=1)


def mixture(z0):
    """ρ with ⟨σ_z⟩ = z₀ and no coherence."""
    return np.diag([(1 + z0) / 2, (1 - z0) / 2]).astype(complex)


@pytest.mark.parametrize("z0", [0.0, 0.6])
@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_the_state_is_a_function_of_the_record(efficiency, z0):
    """z = tanh(sY + artanh z₀), s = 2√(ηk), path by path."""
    ntraj, steps = 256, 0.01 / 2.0 ** np.arange(4)
    errors, spoiled = [], []
    for step in steps:
        data = run(
            QUBIT,
            Homodyne("probe", efficiency=efficiency),
            TIMES,
            ntraj,
            seed=0,
            initial=mixture(z0),
            level="density",
            step=step,
            observables=("sz", "sx"),
        )
        Y, z = integrated(data, ntraj), data["expect_sz"].values
        s = 2 * np.sqrt(efficiency * K)
        difference = z - np.tanh(s * Y + np.arctanh(z0))
        errors.append(float(np.sqrt((difference**2).mean())))
        assert abs(difference).max() < 5 * step
        assert abs(data["expect_sx"].values).max() < 1e-14
        wrong = 2 * np.sqrt(np.sqrt(efficiency) * K) if efficiency < 1 else 0.9 * s  # √η → η, the other way
        spoiled.append(float(np.sqrt(((z - np.tanh(wrong * Y + np.arctanh(z0))) ** 2).mean())))
        assert abs(z + np.tanh(s * Y - np.arctanh(z0))).max() > 0.5  # the sign of the current
    order = fitted_order(steps, errors)
    print(f"qnd, η = {efficiency}, z0 = {z0}: rms {errors}, order {order:.2f}; broken {spoiled[-1]:.3f}")
    assert order == pytest.approx(1.0, abs=0.2)
    assert errors[-1] < 5e-4
    assert spoiled[-1] > 20 * errors[-1]
    assert fitted_order(steps, spoiled) < 0.2  # a wrong formula does not converge


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_the_coherence_is_a_function_of_the_record(efficiency):
    """From |+⟩: ⟨σ_x⟩ = sech(sY) e^{−2k(1−η)t}."""
    ntraj, steps = 128, 0.01 / 2.0 ** np.arange(3)
    s = 2 * np.sqrt(efficiency * K)
    errors = []
    for step in steps:
        data = run(
            QUBIT,
            Homodyne("probe", efficiency=efficiency),
            TIMES,
            ntraj,
            seed=1,
            level="density",
            step=step,
            observables=("sx", "sy", "sz"),
        )
        Y = integrated(data, ntraj)
        closed = np.exp(-2 * K * (1 - efficiency) * TIMES) / np.cosh(s * Y)
        x, z = data["expect_sx"].values, data["expect_sz"].values
        errors.append(float(np.sqrt(((x - closed) ** 2).mean())))
        assert abs(data["expect_sy"].values).max() < 1e-12
        assert abs(x**2 + z**2 - 1).max() < 1e-12 or efficiency < 1
        assert abs(x - closed / np.exp(-2 * K * 0.1 * TIMES)).max() > 0.05
    order = fitted_order(steps, errors)
    print(f"qnd coherence, η = {efficiency}: rms {errors}, order {order:.2f}")
    assert order == pytest.approx(1.0, abs=0.25)
    assert errors[-1] < 1e-3


def test_the_other_quadrature_knows_nothing():
    """φ = π/2 reads no σ_z: z stays put, the phase of the coherence wanders instead."""
    data = run(
        QUBIT,
        Homodyne("probe", phase=np.pi / 2),
        TIMES,
        64,
        seed=0,
        step=0.005,
        observables=("sx", "sy", "sz"),
    )
    Y = integrated(data, 64)
    assert abs(data["expect_sz"].values).max() < 1e-12
    assert abs(data["expect_sx"].values - np.cos(2 * Y)).max() < 0.1
    assert worst(Y[:, -1] ** 2, 1.0) < LIMIT
    assert abs(data["expect_sx"].values.mean(axis=0)[-1] - np.exp(-2)) < 0.3


def mean_square(efficiency, t):
    """E z² from ρ = 1/2: Y is s t + √t ξ, or its mirror image."""
    nodes, weights = roots_hermitenorm(120)
    s = 2 * np.sqrt(efficiency * K)
    values = np.tanh(s * (s * t + np.sqrt(t) * nodes)) ** 2
    return float(values @ weights / weights.sum())


def test_the_mean_square_has_the_reference_values():
    assert [mean_square(1.0, t) for t in (0.05, 0.25, 1.0)] == pytest.approx(
        [0.16909401, 0.55040049, 0.93140259], abs=1e-6
    )
    assert [mean_square(0.5, t) for t in (0.05, 0.25, 1.0)] == pytest.approx(
        [0.09134060, 0.35011340, 0.76898178], abs=1e-6
    )


@pytest.mark.parametrize("detector", ["homodyne", "heterodyne"])
@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_mean_square(efficiency, detector):
    """E z² at kt = .05, .25, 1; a heterodyne detector knows as much as homodyne at half the efficiency."""
    times = np.array([0.0, 0.05, 0.25, 1.0])
    kind = Homodyne if detector == "homodyne" else Heterodyne
    data = run(
        QUBIT,
        kind("probe", efficiency=efficiency),
        times,
        8192,
        seed=0,
        initial=mixture(0.0),
        level="density",
        step=0.0025,
        observables=("sz",),
    )
    z = data["expect_sz"].values[:, 1:]
    eta = efficiency if detector == "homodyne" else efficiency / 2

    def miss(eta):
        return worst(z**2, np.array([mean_square(eta, t) for t in times[1:]]))

    good, half, root = miss(eta), miss(eta / 2), miss(np.sqrt(eta) if eta < 1 else 0.8)
    print(f"qnd E z², {detector}, η = {efficiency}: z {good:.2f}; broken {half:.0f}, {root:.0f}")
    assert good < LIMIT
    assert min(half, root) > CONTROL
    assert worst(z) < LIMIT


def test_records_without_states_have_the_same_law():
    """Hidden detectors: records of a state vector drawn from ρ = 1/2 give the same tanh²(sY)."""
    times = np.array([0.0, 0.05, 0.25, 1.0])
    data = run(
        QUBIT,
        Homodyne("probe", efficiency=0.5),
        times,
        16384,
        seed=0,
        initial=mixture(0.0),
        step=0.0025,
    )
    assert data.attrs["level"] == "ket"
    z = np.tanh(np.sqrt(2) * integrated(data, 16384)[:, 1:])
    assert worst(z**2, np.array([mean_square(0.5, t) for t in times[1:]])) < LIMIT
    assert worst(z**2, np.array([mean_square(0.4, t) for t in times[1:]])) > CONTROL
