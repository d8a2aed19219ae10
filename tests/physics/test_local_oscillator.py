"""A detuned local oscillator: conditional covariances by Riccati equations, and records, against heterodyne detection.

Quadratures x = a + a†, p = −i(a − a†), so that the vacuum has variance 1 and ``e^{−iφ}a + h.c. = x cos φ + p sin φ``.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from backaction import Heterodyne, Homodyne, LocalOscillator
from backaction.systems import Boson, System, damped_cavity, spin
from physics.helpers import CONTROL, LIMIT, Regression, fitted_order, run, z_scores

LEVELS = 14
N_THERMAL, DETUNING, SQUEEZING = 0.15, 0.4, 0.15

mode = Boson("a", LEVELS)
X, P = mode.a + mode.a.dag(), -1j * (mode.a - mode.a.dag())
MOMENTS = {"x": X, "p": P, "xx": X * X, "pp": P * P, "xp": 0.5 * (X * P + P * X)}


def cavity(squeezing):
    """Thermal cavity, κ = 1, with H = δa†a + (iε/2)(a†² − a²)."""
    H = DETUNING * mode.n + 0.5j * squeezing * (mode.a.dag() * mode.a.dag() - mode.a * mode.a)
    return System(H, {"loss": (1 + N_THERMAL) ** 0.5 * mode.a, "pump": N_THERMAL**0.5 * mode.a.dag()}, MOMENTS)


def riccati(times, squeezing, phase=None):
    """Conditional covariance (xx, pp, xp) at the times, from vacuum; `phase` None: heterodyne.

    V̇ = AV + VAᵀ − V + (2n + 1) − Σ gain gainᵀ with gain = √(1 + n) (V − 1)u for every measured quadrature u.
    """
    A = np.array([[squeezing, DETUNING], [-DETUNING, -squeezing]])
    one = np.eye(2)

    def slope(t, y):
        V = np.array([[y[0], y[2]], [y[2], y[1]]])
        out = A @ V + V @ A.T - V + (2 * N_THERMAL + 1) * one
        if phase is None:
            out -= 0.5 * (1 + N_THERMAL) * (V - one) @ (V - one)
        else:
            gain = (V - one) @ np.array([np.cos(phase(t)), np.sin(phase(t))])
            out -= (1 + N_THERMAL) * np.outer(gain, gain)
        return [out[0, 0], out[1, 1], out[0, 1]]

    return solve_ivp(slope, (0, times[-1]), [1, 1, 0], t_eval=times, rtol=1e-10, atol=1e-12, method="DOP853").y


def covariance(squeezing, unraveling, times, seed=0):
    """(xx, pp, xp) of four conditional states; of a Gaussian state they are the same on every record."""
    options = {"level": "density", "observables": list(MOMENTS), "step": 0.005}
    data = run(cavity(squeezing), unraveling, times, 4, seed=seed, **options)
    x, p, xx, pp, xp = (data[f"expect_{name}"].values for name in MOMENTS)
    assert x[:, -1].std() > 0.01  # the means are not
    return np.stack([xx - x**2, pp - p**2, xp - x * p])


def test_conditional_covariance_of_a_squeezed_cavity():
    """No U(1) symmetry: the sign of ω and the phase show, on every single record."""
    times = np.linspace(0, 4, 81)
    omega, phase = 5.0, 0.6
    detector = Homodyne("loss", phase=LocalOscillator(omega, phase))
    found = covariance(SQUEEZING, detector, times)
    good = abs(found - riccati(times, SQUEEZING, lambda t: omega * t + phase)[:, None]).max()
    wrong = [
        abs(found - riccati(times, SQUEEZING, f)[:, None]).max()
        for f in (lambda t: -omega * t + phase, lambda t: omega * t, None)
    ]
    print(f"covariance against Riccati: {good:.1e}; ω → −ω, φ₀ = 0, heterodyne: {np.round(wrong, 4)}")
    assert good < 2e-3  # of the step: strong order 1
    assert min(wrong) > 0.015


def test_conditional_states_tend_to_heterodyne_as_one_over_frequency_squared():
    """U(1) symmetry: Tr V, averaged over half a turn, exceeds the limit by a multiple of 1/ω²; no Monte Carlo."""
    frequencies = np.array([4.0, 8.0, 16.0])
    found, exact = [], []
    for omega in frequencies:
        times = np.pi / omega / 8 * np.arange(np.ceil(2.0 * 8 * omega / np.pi) + 9)
        limit = riccati(times, 0.0)[:2, -8:].sum(axis=0)
        covariances = covariance(0.0, Homodyne("loss", phase=LocalOscillator(omega)), times)
        found.append((covariances[:2, :, -8:].sum(axis=0) - limit).mean())
        exact.append((riccati(times, 0.0, lambda t, w=omega: w * t)[:2, -8:].sum(axis=0) - limit).mean())
    orders = [fitted_order(1 / frequencies, np.abs(x)) for x in (found, exact)]
    print(f"Tr V − heterodyne: {found}; Riccati {exact}; orders {orders}")
    assert orders[0] == pytest.approx(2.0, abs=0.3)
    assert orders[1] == pytest.approx(2.0, abs=0.15)
    np.testing.assert_allclose(found, exact, rtol=0.25)


# === records

OMEGA, LINE, WIDTH, DURATION = 12.0, 2.0, 0.02, 12.0


def demodulated(data, frequency):
    """I e^{+iφ(t)} over the bins."""
    t = data["bin"].values
    return data["current_loss"].values * np.exp(1j * frequency * t)


def spectrum(current, frequencies):
    t = WIDTH * (np.arange(current.shape[1]) + 0.5)
    return abs(current @ np.exp(1j * np.outer(t, frequencies)) * WIDTH) ** 2 / (WIDTH * current.shape[1])


def test_demodulated_records_have_the_heterodyne_spectrum():
    """1 + κS(δ), and the image at −2ω − δ, both of a finite record in bins: a line at +ω₀ for H = ω₀σ_z/2."""
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)
    detector = Homodyne("loss", phase=LocalOscillator(OMEGA))
    times = np.linspace(0, DURATION, round(DURATION / WIDTH) + 1)
    data = run(system, detector, times, 1536, seed=4, initial="steady", level="ket", step=WIDTH)
    frequencies = np.array([-4.0, -2.0, 0.1, 1.0, 2.0, 3.0, 4.0])
    theory = Regression(system)
    reading = theory.reading("loss", "heterodyne")

    def expected(detuning):
        beat = np.sinc((OMEGA + detuning) * WIDTH / (2 * np.pi)) ** 2
        direct = theory.spectrum(reading, detuning, DURATION) - 1
        image = theory.spectrum(reading, -2 * OMEGA - detuning, DURATION) - 1
        return 1 + beat * (direct + image)

    found = spectrum(demodulated(data, OMEGA), frequencies)
    wrong = spectrum(demodulated(data, -OMEGA), frequencies)
    misses = [abs(z_scores(s, expected(frequencies))).max() for s in (found, wrong)]
    print(f"demodulated spectrum: z {misses[0]:.2f}, wrong sign {misses[1]:.1f}; {found.mean(axis=0)}")
    assert misses[0] < LIMIT
    assert misses[1] > CONTROL
    floor = spectrum(demodulated(data, OMEGA), np.array([60.0, 75.0]))
    assert abs(z_scores(floor, expected(np.array([60.0, 75.0])))).max() < LIMIT
    heterodyne = run(system, Heterodyne("loss"), times, 1024, seed=6, initial="steady", level="ket", step=WIDTH)
    other = spectrum(heterodyne["current_loss"].values, frequencies)
    error = np.hypot(*(s.std(axis=0) / np.sqrt(len(s)) for s in (found, other)))
    assert abs((found.mean(axis=0) - other.mean(axis=0)) / error).max() < LIMIT


def test_demodulated_mean_of_a_driven_cavity():
    """√(ηκ)⟨a⟩, complex: the phase of the amplitude and its sign."""
    system = damped_cavity(kappa=1.0, omega=0.5, drive=0.4, levels=6)
    eta = 0.7
    times = np.linspace(0, 2 * np.pi, 315)  # whole turns
    detector = Homodyne("loss", efficiency=eta, phase=LocalOscillator(10.0, 0.3))
    data = run(system, detector, times, 768, seed=2, initial="steady", level="ket", step=0.02)
    current = data["current_loss"].values
    t = data["bin"].values
    lowered = system.lower()
    expected = np.sqrt(eta) * Regression(system).mean((np.kron(lowered.channels["loss"].toarray(), np.eye(6)),))
    beat = np.sinc(10.0 * (times[1] - times[0]) / (2 * np.pi))
    z = {
        sign: abs(z_scores((current * np.exp(sign * 1j * (10.0 * t + 0.3))).mean(axis=1) / beat, expected)).max()
        for sign in (1, -1)
    }
    print(f"demodulated mean: z {z[1]:.2f}, conjugate phase {z[-1]:.1f}; {expected}")
    assert z[1] < LIMIT
    assert z[-1] > CONTROL
