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


# === |q₁|: two coupled oscillators, linear, so that everything about a window is a Gaussian of four real numbers

LOSS, PUMP, COUPLING, WINDOW = 1.0, 0.3, 1.0, 1.5
#: ωτ = (k + ½)π: |E[Z²]| = 1/(ωτ), the most that a window of this length can have
QUARTERS = (np.array([3, 7, 15, 31]) + 0.5) * np.pi / WINDOW


def coupled_oscillators(levels=7):
    """κD[a] + pD[a†], the same for b, and V D[a − b]: thermal, without detuning."""
    a, b = Boson("a", levels), Boson("b", levels)
    channels = {"loss_a": LOSS**0.5 * a.a, "loss_b": LOSS**0.5 * b.a, "coupling": COUPLING**0.5 * (a.a - b.a)}
    return System(0 * a.n, channels | {"pump_a": PUMP**0.5 * a.a.dag(), "pump_b": PUMP**0.5 * b.a.dag()})


def window_covariance(omega, points=1200):
    """Of (Re Z_A, Im Z_A, Re Z_B, Im Z_B), Z = ∫ e^{iωt} I dt/√τ over a window; heterodyne for None.

    E[I_j(t)I_k(s)] = δ_jk δ(t − s) + 2κ Re[e^{iω(t−s)}] C_jk(t − s), where C = ⟨a_j†(t)a_k(s)⟩ = (N e^{M|t−s|})_jk is
    real: M = −½[(κ − p)1 + V(1, −1; −1, 1)], MN + NM + p = 0.
    """
    decay = 0.5 * (LOSS - PUMP + COUPLING * np.array([0, 2]))  # of (a ± b)/√2
    occupation = 0.5 * PUMP / decay
    t = (np.arange(points) + 0.5) * WINDOW / points
    h = WINDOW / points
    lag = t[:, None] - t
    plus, minus = (n * np.exp(-g * abs(lag)) for n, g in zip(occupation, decay, strict=True))
    C = 0.5 * np.array([[plus + minus, plus - minus], [plus - minus, plus + minus]])
    if omega is None:
        direct, pseudo = LOSS * h * h / WINDOW * C.sum(axis=(2, 3)) + np.eye(2), np.zeros((2, 2))
    else:
        current = 2 * LOSS * np.cos(omega * lag) * C + np.eye(2)[:, :, None, None] * np.eye(points) / h
        e = np.exp(1j * omega * t) * h / WINDOW**0.5
        direct = np.einsum("t,jkts,s->jk", e.conj(), current, e)  # E[Z_j* Z_k]
        pseudo = np.einsum("t,jkts,s->jk", e, current, e)  # E[Z_j Z_k]
    re, im = 0.5 * (direct + pseudo), 0.5 * (direct - pseudo)
    out = np.empty((2, 2, 2, 2))  # mode, part, mode, part
    out[:, 0, :, 0], out[:, 1, :, 1] = re.real, im.real
    out[:, 0, :, 1], out[:, 1, :, 0] = re.imag, -im.imag
    return out.reshape(4, 4)


def first_harmonic(covariance, nodes=40):
    """E[Z_A* Z_B/|Z_A Z_B|] of a Gaussian: 1/|z| = ∫ds e^{−s|z|²}/√(πs), s = tan²u, for both factors."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    tangent = np.tan(0.25 * np.pi * (x + 1))
    w = 0.25 * np.pi * w * 2 * (1 + tangent**2) / np.pi**0.5
    total = 0.0j
    for u, a in zip(tangent, w, strict=True):
        for v, b in zip(tangent, w, strict=True):
            weighted = np.eye(4) + 2 * covariance @ np.diag([u * u, u * u, v * v, v * v])
            C = np.linalg.solve(weighted, covariance)
            mean = C[0, 2] + C[1, 3] + 1j * (C[0, 3] - C[1, 2])
            total += a * b * mean / np.linalg.det(weighted) ** 0.5
    return total


def test_first_harmonic_tends_to_heterodyne_as_one_over_frequency_squared():
    """Exactly; and E[Z²] as 1/ω."""
    limit = first_harmonic(window_covariance(None))
    covariances = [window_covariance(w) for w in QUARTERS]
    deviations = [abs(first_harmonic(C)) - abs(limit) for C in covariances]
    squares = [abs(C[0, 0] - C[1, 1] + 2j * C[0, 1]) for C in covariances]
    orders = [fitted_order(1 / QUARTERS, np.abs(x)) for x in (deviations, squares)]
    print(f"|q₁| = {abs(limit):.5f}; deviations {deviations}, |E Z²| {squares}; orders {orders}")
    assert orders[0] == pytest.approx(2.0, abs=0.1)
    assert orders[1] == pytest.approx(1.0, abs=0.05)


@pytest.mark.filterwarnings("ignore:The local oscillator")
def test_first_harmonic_of_the_records():
    """At a slow local oscillator, where the difference is large: as computed, and not the limit."""
    omega, width = 0.6 / WINDOW, WINDOW / 30
    times = np.arange(60 * 30 + 1) * width
    detectors = Homodyne("loss_a", "loss_b", phase=LocalOscillator(omega))
    data = run(coupled_oscillators(), detectors, times, 2048, seed=7, initial="steady", level="ket", step=width)
    beat = np.exp(1j * omega * data["bin"].values)
    Z = [(data[f"current_{name}"].values * beat).reshape(2048, 60, 30).sum(axis=2) for name in ("loss_a", "loss_b")]
    phase = np.exp(1j * (np.angle(Z[1]) - np.angle(Z[0]))).mean(axis=1)
    exact, limit = (first_harmonic(window_covariance(w)) for w in (omega, None))
    z = {name: abs(z_scores(phase[:, None], np.array([q]))).max() for name, q in (("exact", exact), ("limit", limit))}
    print(
        f"q₁ = {phase.mean():.5f}, exact {exact:.5f} (z {z['exact']:.2f}), heterodyne {limit:.5f} (z {z['limit']:.1f})"
    )
    assert z["exact"] < LIMIT
    assert z["limit"] > CONTROL


def test_the_image_in_the_spectrum_falls_as_one_over_frequency_squared():
    """What the spectrum of a demodulated record has beside the heterodyne one, S(−2ω − δ), on resonance and beside."""
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)
    theory = Regression(system)
    reading = theory.reading("loss", "heterodyne")
    frequencies = np.array([20.0, 40.0, 80.0, 160.0])
    for detuning in (LINE, 0.5):
        image = theory.spectrum(reading, -2 * frequencies - detuning, DURATION) - 1
        assert fitted_order(1 / frequencies, image) == pytest.approx(2.0, abs=0.15)
