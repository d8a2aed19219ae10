"""Resonance fluorescence, the physics notes, section 7 (a): waiting times, g², counting, Mollow, squeezing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad

from backaction import Heterodyne, Homodyne, QuantumJumps
from backaction.systems import driven_qubit
from physics.helpers import CONTROL, LIMIT, Regression, clicks, ks_sigma, periodogram, run, waits, worst

# === closed forms


def excited(rabi, gamma=1.0):
    """Steady population of the excited state."""
    return rabi**2 / (gamma**2 + 2 * rabi**2)


def waiting_density(t, rabi, gamma=1.0):
    """w(t)."""
    s2 = rabi**2 - gamma**2 / 4
    return gamma * rabi**2 / s2 * np.exp(-gamma * t / 2) * np.sin(np.sqrt(s2) * t / 2) ** 2


def waiting_cdf(t, rabi, gamma=1.0):
    """∫₀ᵗ w."""
    s, half = np.sqrt(rabi**2 - gamma**2 / 4), gamma / 2
    decay = np.exp(-half * t)
    plain = (1 - decay) / half
    wave = (half + decay * (s * np.sin(s * t) - half * np.cos(s * t))) / (half**2 + s**2)
    return gamma * rabi**2 / (2 * s**2) * (plain - wave)


def g2(tau, rabi, gamma=1.0):
    """g²(τ)."""
    w = np.sqrt(rabi**2 - gamma**2 / 16)
    return 1 - np.exp(-0.75 * gamma * tau) * (np.cos(w * tau) + 0.75 * gamma / w * np.sin(w * tau))


def test_the_closed_forms_have_the_reference_values():
    assert excited(5.0) == pytest.approx(0.4901961, abs=1e-7)
    assert waiting_density(np.array([0.3, 1.0, 2.5]), 5.0) == pytest.approx(
        [0.40069210, 0.22682339, 0.00120282], abs=1e-8
    )
    for t in (0.3, 2.5, 30.0):
        assert waiting_cdf(t, 5.0) == pytest.approx(quad(waiting_density, 0, t, (5.0,), limit=200)[0], abs=1e-9)
    mean = quad(lambda t: t * waiting_density(t, 5.0), 0, 60, limit=500)[0]
    square = quad(lambda t: t**2 * waiting_density(t, 5.0), 0, 60, limit=500)[0]
    assert (mean, square - mean**2) == (pytest.approx(2.04, abs=1e-6), pytest.approx(3.9216, abs=1e-5))
    slope = 2 * excited(5.0) * quad(lambda tau: g2(tau, 5.0) - 1, 0, 60, limit=500)[0]
    assert slope == pytest.approx(-6 * 25 / 51**2, abs=1e-8)


def test_regression_has_the_reference_values():
    """The helper that finite records are compared with, against the closed forms."""
    theory = Regression(driven_qubit(5.0, 1.0))
    spectrum = theory.spectrum(theory.reading("loss", "heterodyne"), [0.0, 5.0])
    assert spectrum - 1 == pytest.approx([1.01770812, 0.33072021], abs=1e-8)
    omega = np.array([0.0, 0.3, 1.0])
    theory = Regression(driven_qubit(0.3, 1.0))
    x = theory.spectrum(theory.reading("loss", "homodyne"), omega)
    assert x == pytest.approx(1 + 2 * excited(0.3) / (0.25 + omega**2), abs=1e-10)
    for phase in (np.pi / 2, -np.pi / 2):
        y = theory.spectrum(theory.reading("loss", "homodyne", phase=phase), [0.0])
        assert y == pytest.approx(1 + 8 * 0.09 * (0.36 - 1) / 1.18**3, abs=1e-10)
        assert y == pytest.approx(0.71954289, abs=1e-8)


# === clicks


@pytest.mark.parametrize("level", ["ket", "density"])
def test_waiting_times(level):
    duration, count, ntraj = (2000.0, 800, 64) if level == "ket" else (1000.0, 400, 64)
    system = driven_qubit(5.0, 1.0)
    data = run(system, QuantumJumps("loss"), [0.0, duration], ntraj, seed=0, level=level)
    intervals = waits(data, "loss", count)
    good = ks_sigma(intervals, lambda t: waiting_cdf(t, 5.0))
    # broken: 5 % off in γ; the same mean without antibunching
    rate = ks_sigma(intervals, lambda t: waiting_cdf(t, 5.0, 1.1))
    poisson = ks_sigma(intervals, lambda t: 1 - np.exp(-t / 2.04))
    print(f"waiting times, {level}: {len(intervals)} of them, z {good:.2f}; broken {rate:.1f}, {poisson:.1f}")
    assert good < LIMIT
    assert min(rate, poisson) > CONTROL
    assert worst(intervals, 2.04) < LIMIT
    assert worst((intervals - 2.04) ** 2, 3.9216) < LIMIT


@pytest.mark.parametrize("rabi, efficiency", [(5.0, 1.0), (0.7, 1.0), (5.0, 0.5)])
def test_g2(rabi, efficiency):
    """Pairs of clicks at a delay; g² does not depend on the efficiency."""
    duration, longest = 200.0, 6.0
    data = run(
        driven_qubit(rabi, 1.0),
        QuantumJumps("loss", efficiency=efficiency),
        [0.0, duration],
        1024,
        seed=0,
        initial="steady",
    )
    edges = np.concatenate([np.linspace(0, 2, 11), np.linspace(2.5, longest, 8)])
    pairs, starts = [], []
    for t in clicks(data, "loss"):
        first = t[t < duration - longest]
        delays = (t[None, :] - first[:, None]).ravel()
        pairs.append(np.histogram(delays[delays > 0], edges)[0])
        starts.append(len(first))
    pairs, starts = np.array(pairs), np.array(starts)[:, None]
    rate = efficiency * excited(rabi)

    def miss(correlation):
        integral = [quad(correlation, a, b)[0] for a, b in itertools.pairwise(edges)]
        return worst(pairs - starts * rate * np.array(integral))

    good = miss(lambda tau: g2(tau, rabi))
    flat = miss(lambda tau: 1.0)
    flipped = miss(lambda tau: 2 - g2(tau, rabi))
    print(f"g2, Ω = {rabi}, η = {efficiency}: z {good:.2f}; broken {flat:.0f}, {flipped:.0f}")
    assert good < LIMIT
    assert min(flat, flipped) > CONTROL


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_mandel_q(efficiency):
    """Variance of counts against ηQ, Q = −6γ²Ω²/(γ²+2Ω²)² and its correction for a finite time."""
    rabi, duration = 1.0, 200.0
    long_time = -6 * rabi**2 / (1 + 2 * rabi**2) ** 2
    lag = quad(lambda tau: tau * (g2(tau, rabi) - 1), 0, 60, limit=200)[0]
    Q = long_time - 2 * excited(rabi) * lag / duration
    assert abs(Q - long_time) < 0.01
    mean = efficiency * excited(rabi) * duration
    detector = QuantumJumps("loss", efficiency=efficiency)
    data = run(driven_qubit(rabi, 1.0), detector, [0.0, duration], 4096, seed=0, initial="steady")
    counts = data["click_count_loss"].values
    assert worst(counts, mean) < LIMIT

    def miss(q):
        return worst((counts - mean) ** 2, mean * (1 + q))

    good, poisson, other = miss(efficiency * Q), miss(0.0), miss(Q if efficiency < 1 else 0.5 * Q)
    print(f"Mandel Q, η = {efficiency}: z {good:.2f}; broken {poisson:.0f}, {other:.0f}")
    assert good < LIMIT
    assert min(poisson, other) > CONTROL


# === spectra


def bands(duration, centres, width):
    """Frequencies 2πn/T near each centre, 0 left out: the coherent line has no power there."""
    grid = 2 * np.pi / duration * np.arange(-400, 401)
    grid = grid[grid != 0]
    return [grid[abs(grid - centre) <= width] for centre in centres]


def misses(power, frequencies, expected):
    """Largest |z| over the bands; one number per trajectory and band."""
    out, start = [], 0
    for band in frequencies:
        part = slice(start, start + len(band))
        out.append(worst(power[:, part].mean(axis=1), expected[part].mean()))
        start += len(band)
    return max(out)


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_mollow_triplet(efficiency):
    duration, width = 40.0, 0.1
    detector = Heterodyne("loss", efficiency=efficiency)
    system = driven_qubit(5.0, 1.0)
    times = np.linspace(0, duration, round(duration / width) + 1)
    data = run(system, detector, times, 8192, seed=0, initial="steady")
    frequencies = bands(duration, [0.0, 2.5, 5.0, -5.0, 7.5, -10.0], 0.5)
    omega = np.concatenate(frequencies)
    power = periodogram(data["current_loss"].values, width, omega)
    theory = Regression(system)
    S = theory.spectrum(theory.reading("loss", "heterodyne"), omega, duration, width) - 1
    good = misses(power, frequencies, 1 + efficiency * S)
    halved = misses(power, frequencies, 1 + efficiency * S / 2)
    root = misses(power, frequencies, 1 + (np.sqrt(efficiency) if efficiency < 1 else 1.2) * S)
    floor = misses(power, frequencies, 1.05 + efficiency * S)
    print(f"Mollow, η = {efficiency}: z {good:.2f}; broken {halved:.0f}, {root:.0f}, {floor:.0f}")
    assert good < LIMIT
    assert min(halved, root, floor) > CONTROL


SQUEEZING = {"x": 0.0, "y": np.pi / 2, "between": 0.6}


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
@pytest.mark.parametrize("quadrature", SQUEEZING)
def test_homodyne_squeezing(quadrature, efficiency):
    """H = (Ω/2)σ_x: φ = 0 reads σ_x, φ = π/2 reads −σ_y, the squeezed one at Ω = .3γ."""
    duration, width, phase = 80.0, 0.2, SQUEEZING[quadrature]
    system = driven_qubit(0.3, 1.0)
    times = np.linspace(0, duration, round(duration / width) + 1)
    detector = Homodyne("loss", phase=phase, efficiency=efficiency)
    data = run(system, detector, times, 8192, seed=0, initial="steady")
    frequencies = bands(duration, [0.0, 0.5, 1.0, 2.0], 0.24)
    omega = np.concatenate(frequencies)
    power = periodogram(data["current_loss"].values, width, omega)
    theory = Regression(system)

    def expected(eta, phi):
        reading = theory.reading("loss", "homodyne", phase=phi)
        return 1 + eta * (theory.spectrum(reading, omega, duration, width) - 1)

    if quadrature == "y":  # squeezing that is there to be seen
        assert worst(power[:, : len(frequencies[0])].mean(axis=1), 1.0) > CONTROL
        assert expected(efficiency, phase)[: len(frequencies[0])].max() < 1
    good = misses(power, frequencies, expected(efficiency, phase))
    turned = misses(power, frequencies, expected(efficiency, phase + np.pi / 2))
    root = misses(power, frequencies, expected(np.sqrt(efficiency) if efficiency < 1 else 0.7, phase))
    print(f"squeezing, {quadrature}, η = {efficiency}: z {good:.2f}; broken {turned:.0f}, {root:.0f}")
    assert good < LIMIT
    assert turned > CONTROL
    if quadrature != "between":  # there the two quadratures nearly cancel
        assert root > CONTROL
    mean = data["current_loss"].values.mean(axis=1)
    amplitude = theory.mean(theory.reading("loss", "homodyne", efficiency, phase)).real
    assert worst(mean, amplitude) < LIMIT
    if quadrature != "x":
        assert worst(mean, -amplitude) > CONTROL
