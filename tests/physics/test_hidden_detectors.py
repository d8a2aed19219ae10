"""Records do not tell what became of the light nobody reads: kets with hidden detectors, density matrices."""

from __future__ import annotations

import numpy as np
import pytest

from backaction import Heterodyne, Homodyne, QuantumJumps
from backaction.systems import driven_qubit, two_spins, two_vdp
from physics.helpers import CONTROL, LIMIT, Regression, ks_sigma, run, waits, worst

WINDOW = 2.0

#: name: (kind, efficiency, phase, dark rate); channels that are not named are not watched.
READINGS = {
    "loss_a": ("heterodyne", 0.7, 0.0, 0.0),
    "loss_b": ("heterodyne", 0.9, 0.0, 0.0),
    "coupling": ("homodyne", 0.6, 0.4, 0.0),
    "pump_a": ("jumps", 0.5, 0.0, 0.2),
}
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=3.0, detuning=0.5)


def unraveling(readings=READINGS):
    """The sum of the detectors."""
    total = None
    for channel, (kind, efficiency, phase, dark_rate) in readings.items():
        part = {
            "heterodyne": lambda c, e, p, d: Heterodyne(c, efficiency=e),
            "homodyne": lambda c, e, p, d: Homodyne(c, efficiency=e, phase=p),
            "jumps": lambda c, e, p, d: QuantumJumps(c, efficiency=e, dark_rate=d),
        }[kind](channel, efficiency, phase, dark_rate)
        total = part if total is None else total + part
    return total


def predicted(system, readings=READINGS, without=(), window=WINDOW):
    """E[z_i z_j*], E[z_i z_j] of boxcar windows ∫I dt/√T and counts/√T, shot noise included."""
    theory = Regression(system, without)
    operators, floor = [], []
    for channel, (kind, efficiency, phase, dark_rate) in readings.items():
        if kind == "jumps":
            L = np.sqrt(efficiency) * theory.lowered.channels[channel].toarray()
            click = np.kron(L, L.conj()) + dark_rate * np.eye(theory.d**2)
            operators.append((click, click))
            floor.append((theory.trace @ click @ theory.rho).real)
        else:
            operators.append(theory.reading(channel, kind, efficiency, phase))
            floor.append(1.0)
    W = theory.window(window)
    n = len(operators)
    real = [kind != "heterodyne" for kind, *_ in readings.values()]
    normal, anomalous = np.zeros((n, n), dtype=complex), np.zeros((n, n), dtype=complex)
    for i, first in enumerate(operators):
        for j, second in enumerate(operators):
            noise = floor[i] if i == j else 0.0
            normal[i, j] = theory.boxcar(first, second, window, W) + noise
            anomalous[i, j] = theory.boxcar(first, second[::-1], window, W) + (noise if real[i] else 0.0)
    return normal, anomalous


def windows(system, level, ntraj, n_windows, seed, readings=READINGS, **options):
    """z of consecutive windows: (trajectory, window, detector)."""
    times = WINDOW * np.arange(n_windows + 1)
    data = run(system, unraveling(readings), times, ntraj, seed=seed, level=level, initial="steady", **options)
    assert data.attrs["level"] == ("density" if level == "density" else "ket")
    return np.stack(
        [
            data[f"counts_{channel}"].values / np.sqrt(WINDOW)
            if kind == "jumps"
            else data[f"current_{channel}"].values * np.sqrt(WINDOW)
            for channel, (kind, *_) in readings.items()
        ],
        axis=-1,
    ).astype(complex)


def moments(z):
    """Per trajectory: (E z z*, E z z)."""
    n = z.shape[1]
    return np.einsum("twi,twj->tij", z, z.conj()) / n, np.einsum("twi,twj->tij", z, z) / n


def misses(found, expected):
    """Largest |z| over all second moments."""
    return max(worst(f, e) for f, e in zip(found, expected, strict=True))


def test_second_moments_of_the_records_of_spins():
    expected = predicted(SPINS)
    found = {
        level: moments(windows(SPINS, level, 256, 500 if level == "auto" else 250, seed=0))
        for level in ("auto", "density")
    }
    squared = {k: (v[0], v[1] ** 2, *v[2:]) for k, v in READINGS.items()}  # √η → η in the currents
    turned = {**READINGS, "coupling": ("homodyne", 0.6, 1.4, 0.0)}
    broken = {
        "efficiency": predicted(SPINS, squared),
        "phase": predicted(SPINS, turned),
        "unwatched channel": predicted(SPINS, without=("pump_b",)),
        "dark counts": predicted(SPINS, {k: (*v[:3], 0.0) for k, v in READINGS.items()}),
    }
    for level, value in found.items():
        good = misses(value, expected)
        bad = {what: misses(value, wrong) for what, wrong in broken.items()}
        print(f"two spins, {level}: z {good:.2f}; broken {bad}")
        assert good < LIMIT
        assert min(bad.values()) > CONTROL
    for ket, density in zip(found["auto"], found["density"], strict=True):
        error = np.sqrt(ket.var(axis=0) / len(ket) + density.var(axis=0) / len(density))
        assert (abs(ket.mean(axis=0) - density.mean(axis=0)) < LIMIT * error + 1e-12).all()


def test_second_moments_of_the_records_of_oscillators():
    """Two van der Pol oscillators of three levels, the losses watched: as in the demo, but small."""
    system = two_vdp(kappa1=1.0, kappa2=0.5, kappa=1.0, coupling=3.0, detuning=0.5, levels=3)
    readings = {k: READINGS[k] for k in ("loss_a", "loss_b")}
    expected = predicted(system, readings)
    wrong = predicted(system, readings, without=("two_photon_b",))
    with pytest.warns(RuntimeWarning, match="edge"):
        z = windows(system, "auto", 1024, 100, seed=0, readings=readings)
    with pytest.warns(RuntimeWarning, match="edge"):
        z_density = windows(system, "density", 64, 40, seed=1, readings=readings, step=0.02)
    good, density, bad = (
        misses(moments(z), expected),
        misses(moments(z_density), expected),
        misses(moments(z), wrong),
    )
    print(f"two vdp: z {good:.2f}, {density:.2f}; broken {bad:.1f}")
    assert max(good, density) < LIMIT
    assert bad > CONTROL
    # the measured phase difference of the demo: E z_a z_b* is what locks
    assert worst(moments(z)[0][:, 0, 1]) > CONTROL


@pytest.mark.parametrize("hidden", ["nothing", "jumps", "homodyne", "heterodyne"])
def test_what_hides_does_not_show(hidden):
    """Hidden detectors of any kind on the unwatched channels leave the record's law alone."""
    readings = {k: READINGS[k] for k in ("loss_a", "coupling")}
    expected = predicted(SPINS, readings)
    extra = {
        "nothing": None,
        "jumps": QuantumJumps("loss_b", "pump_a", recorded=False),
        "homodyne": Homodyne("loss_b", "pump_a", phase=0.3, recorded=False),
        "heterodyne": Heterodyne("loss_b", "pump_a", recorded=False),
    }[hidden]
    detectors = unraveling(readings) if extra is None else unraveling(readings) + extra
    times = WINDOW * np.arange(201)
    data = run(SPINS, detectors, times, 256, seed=3, initial="steady", observables=("sz_a",), level="ket")
    assert "hidden_sz_a" in data
    assert set(data.data_vars) >= {"current_loss_a", "current_coupling"}
    assert "current_loss_b" not in data
    z = np.stack([data[f"current_{k}"].values * np.sqrt(WINDOW) for k in readings], axis=-1).astype(complex)
    good = misses(moments(z), expected)
    print(f"hidden {hidden}: z {good:.2f}")
    assert good < LIMIT
    assert misses(moments(z), predicted(SPINS, readings, without=("pump_b",))) > CONTROL


@pytest.mark.parametrize("level", ["auto", "density"])
def test_waiting_times_with_efficiency_and_dark_counts(level):
    """w(t) of a counter that misses half the photons, from e^{(𝓛−𝒥)t}, against both levels."""
    system = driven_qubit(2.0, 1.0, 0.5)
    efficiency, dark_rate = 0.5, 0.1
    duration, count = (2000.0, 350) if level == "auto" else (1000.0, 150)
    detector = QuantumJumps("loss", efficiency=efficiency, dark_rate=dark_rate)
    data = run(system, detector, [0.0, duration], 64, seed=0, level=level)
    intervals = waits(data, "loss", count)

    def cdf(t, efficiency, dark_rate):
        theory = Regression(system)
        L = theory.lowered.channels["loss"].toarray()
        click = efficiency * np.kron(L, L.conj()) + dark_rate * np.eye(4)
        after = click @ theory.rho
        values, vectors = np.linalg.eig(theory.L - click)
        weights = (theory.trace @ vectors) * np.linalg.solve(vectors, after / (theory.trace @ after))
        return 1 - (np.exp(np.outer(t, values)) @ weights).real

    good = ks_sigma(intervals, lambda t: cdf(t, efficiency, dark_rate))
    bad = [ks_sigma(intervals, lambda t, e=e, d=d: cdf(t, e, d)) for e, d in ((0.4, 0.1), (0.5, 0.0))]
    print(f"waiting times, {level}: {len(intervals)}, z {good:.2f}; broken {bad}")
    assert good < LIMIT
    assert min(bad) > CONTROL


@pytest.mark.slow
def test_second_moments_to_one_percent():
    """E|z_a|², E z_a z_b* of kets with hidden detectors, of density matrices, and of regression: within 1 %."""
    expected, _ = predicted(SPINS)
    found = {}
    for level, repeats in (("auto", 16), ("density", 16)):
        total = 0.0
        for seed in range(repeats):
            total = total + moments(windows(SPINS, level, 1024, 1000, seed=seed, n_jobs=-1))[0].mean(axis=0)
        found[level] = total / repeats
        difference = abs(found[level] - expected) / abs(expected)
        print(f"{level}: E|z|² {np.diag(difference)}, E z_a z_b* {difference[0, 1]:.5f}")
    for first, second in ((found["auto"], expected), (found["density"], expected), (found["auto"], found["density"])):
        for i, j in ((0, 0), (1, 1), (2, 2), (3, 3), (0, 1)):
            assert abs(first[i, j] - second[i, j]) < 0.01 * abs(expected[i, j])
