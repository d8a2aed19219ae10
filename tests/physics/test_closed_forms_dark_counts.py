"""Dark counts, physics notes 7 (g): what a counter of efficiency η and dark rate ν knows of a decaying qubit."""

from __future__ import annotations

import numpy as np
import pytest

from backaction import QuantumJumps, spin
from backaction.systems import driven_qubit
from physics.helpers import CONTROL, LIMIT, clicks, run, worst

GAMMA = 1.0
QUBIT = driven_qubit(0.0, GAMMA)
TIMES = np.linspace(0, 5, 51)


def silent(p, t, efficiency):
    """Excited population after a time t without a click, from p."""
    left = p * np.exp(-GAMMA * t)
    return left / (1 - efficiency * p * (1 - np.exp(-GAMMA * t)))


def clicked(p, efficiency, dark_rate):
    """Excited population just after a click."""
    return dark_rate * p / (efficiency * GAMMA * p + dark_rate)


def predicted(click_times, efficiency, dark_rate):
    """Excited population at TIMES, given the clicks."""
    out = np.empty(len(TIMES))
    p, since, pending = 1.0, 0.0, list(click_times)
    for i, t in enumerate(TIMES):
        while pending and pending[0] <= t:
            p = clicked(silent(p, pending[0] - since, efficiency), efficiency, dark_rate)
            since = pending.pop(0)
        out[i] = silent(p, t - since, efficiency)
    return out


def measured(efficiency, dark_rate, ntraj, times=TIMES, **options):
    """A run from |e⟩."""
    detector = QuantumJumps("loss", efficiency=efficiency, dark_rate=dark_rate)
    return run(QUBIT, detector, times, ntraj, seed=0, initial={"s": spin(0.0, 0.0)}, **options)


@pytest.mark.parametrize("efficiency, dark_rate", [(0.6, 0.4), (1.0, 0.5), (0.3, 0.05), (0.5, 0.0)])
def test_the_state_is_a_function_of_the_clicks(efficiency, dark_rate):
    """Path by path, through every click: exact."""
    data = measured(efficiency, dark_rate, 64, level="density", observables=("excited",))
    p = data["expect_excited"].values
    paths = clicks(data, "loss")
    errors, other_rate, other_efficiency = [], [], []
    for i, t in enumerate(paths):
        errors.append(abs(p[i] - predicted(t, efficiency, dark_rate)).max())
        other_rate.append(abs(p[i] - predicted(t, efficiency, 1.1 * dark_rate + 0.05)).max())
        other_efficiency.append(abs(p[i] - predicted(t, 0.9 * efficiency, dark_rate)).max())
    first = [t[0] for t in paths if len(t)]
    print(
        f"dark counts, η = {efficiency}, ν = {dark_rate}: {sum(map(len, paths))} clicks, error {max(errors):.1e}; "
        f"broken {max(other_rate):.3f}, {max(other_efficiency):.3f}"
    )
    assert max(errors) < 1e-10
    assert max(other_rate) > 1e-3
    assert max(other_efficiency) > 1e-3
    # before the first click, as written in the physics notes
    decay = np.exp(-GAMMA * TIMES)
    before = decay / (1 - efficiency * (1 - decay))
    for i, t in enumerate(paths):
        quiet = t[0] > TIMES if len(t) else slice(None)
        assert abs(p[i, quiet] - before[quiet]).max() < 1e-10
    assert first
    if dark_rate == 0:  # a click leaves no doubt
        assert max(p[i, t[0] <= TIMES].max() for i, t in enumerate(paths) if len(t)) < 1e-12


@pytest.mark.parametrize("level", ["auto", "density"])
def test_clicks_of_a_decaying_qubit(level):
    """Their number: η(1 − e^{−γt}) + νt on average, with or without hidden detectors; variance of the sum."""
    efficiency, dark_rate, t = 0.6, 0.4, 3.0
    data = measured(efficiency, dark_rate, 16384, times=[0.0, t], level=level)
    assert data.attrs["level"] == ("ket" if level == "auto" else "density")
    counts = data["click_count_loss"].values
    light = efficiency * (1 - np.exp(-GAMMA * t))
    mean, variance = light + dark_rate * t, light * (1 - light) + dark_rate * t
    good = max(worst(counts, mean), worst((counts - mean) ** 2, variance))
    blind = worst(counts, light + 0.9 * dark_rate * t)
    poisson = worst((counts - mean) ** 2, mean)
    print(f"dark counts, {level}: z {good:.2f}; broken {blind:.0f}, {poisson:.0f}")
    assert good < LIMIT
    assert min(blind, poisson) > CONTROL
