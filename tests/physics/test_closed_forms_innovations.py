"""What a current holds beyond its prediction is white, the physics notes, section 7 (f): variance 1/Δ, no memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg as la
from scipy.stats import norm

from backaction import Heterodyne, Homodyne, spin
from backaction.systems import driven_qubit
from physics.helpers import CONTROL, LIMIT, ks_sigma, run, worst
from trajectories.one_step import liouvillian

WIDTH = 0.01


def prediction(system, channel, kind, efficiency, phase):
    """Operator whose conditional mean at a bin's start is the exact mean of the bin's current.

    ``(1/Δ)∫₀^Δ e^{𝓛†s}(c) ds`` for heterodyne, of ``c + c†`` for homodyne, c = √η e^{−iφ}L.
    """
    lowered = system.lower()
    d = lowered.dim
    L = liouvillian(lowered.H.toarray(), [c.toarray() for c in lowered.channels.values()])
    c = np.sqrt(efficiency) * np.exp(-1j * phase) * lowered.channels[channel].toarray()
    read = c if kind == "heterodyne" else c + c.conj().T
    block = np.zeros((2 * d * d, 2 * d * d), dtype=complex)
    block[: d * d, : d * d], block[: d * d, d * d :] = L, np.eye(d * d)
    integral = la.expm(block * WIDTH)[: d * d, d * d :] / WIDTH
    # Tr[X e^{𝓛s}ρ] with Tr[Xρ] = vec(Xᵀ)·vec(ρ) for row-stacked ρ
    return (read.T.reshape(-1) @ integral).reshape(d, d).T


QUBIT = driven_qubit(0.5, 1.0)
PUMPED = replace(QUBIT, channels={**QUBIT.channels, "pump": 0.3 * QUBIT.channels["loss"].dag()})

CASES = {
    "homodyne, driven qubit": (QUBIT, "homodyne", 0.5, np.pi / 2),
    "heterodyne, driven qubit": (QUBIT, "heterodyne", 0.5, 0.0),
    "heterodyne, driven qubit, all light": (QUBIT, "heterodyne", 1.0, 0.0),
    "homodyne, unwatched pump": (PUMPED, "homodyne", 0.5, np.pi / 2),
}


@pytest.mark.parametrize("case", CASES)
def test_innovations_are_white(case):
    system, kind, efficiency, phase = CASES[case]
    detector = (
        Homodyne("loss", phase=phase, efficiency=efficiency)
        if kind == "homodyne"
        else Heterodyne("loss", efficiency=efficiency)
    )
    wrong_efficiency = efficiency**2 if efficiency < 1 else 0.5
    operators = {
        "right": prediction(system, "loss", kind, efficiency, phase),
        "wrong": prediction(system, "loss", kind, wrong_efficiency, phase),  # √η → η
    }
    times = np.arange(2001) * WIDTH
    data = run(
        system,
        detector,
        times,
        768,
        seed=0,
        level="density",
        observables=operators,
        step=WIDTH / 2,
        initial={"s": spin(1.2, 0.5)},
    )
    current = data["current_loss"].values
    right = current - data["expect_right"].values[:, :-1]
    wrong = current - data["expect_wrong"].values[:, :-1]

    def checks(innovation):
        """Largest |z| of the mean, the variance, and the power in windows of 2/γ, which sees any memory."""
        windows = innovation.reshape(len(innovation), -1, 200).sum(axis=2) * WIDTH
        return {
            "mean": worst(innovation.mean(axis=1)),
            "windows": worst((abs(windows) ** 2).mean(axis=1), 200 * WIDTH),
        }

    good, broken = checks(right), checks(wrong)
    # the bin's variance exceeds 1/Δ by O(1): a share of η Var(c) Δ, well below the tolerance
    excess = (abs(right) ** 2).mean(axis=1) * WIDTH - 1
    lags = [worst((right[:, lag:] * right[:, :-lag].conj()).mean(axis=1)) for lag in (1, 2, 5, 20, 100)]
    parts = right.reshape(-1)[::7]
    parts = np.concatenate([parts.real, parts.imag]) * np.sqrt(2) if kind == "heterodyne" else parts
    gauss = ks_sigma(parts * np.sqrt(WIDTH), norm.cdf)
    print(f"innovations, {case}: {good}, lags {max(lags):.2f}, normal {gauss:.2f}; broken {broken}")
    print(f"    excess variance {excess.mean():.5f} ± {excess.std() / np.sqrt(len(excess)):.5f}")
    assert max(good.values()) < LIMIT
    assert max(lags) < LIMIT
    assert gauss < LIMIT
    assert abs(excess.mean()) < LIMIT * excess.std() / np.sqrt(len(excess)) + 0.5 * WIDTH
    assert max(broken.values()) > CONTROL
    if kind == "heterodyne":
        assert worst((right**2).mean(axis=1)) < LIMIT  # E δZ² = 0
