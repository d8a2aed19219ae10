"""Degenerate parametric oscillator, the physics notes, section 7 (d): conditional variances and output spectra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from backaction import Heterodyne, Homodyne
from backaction.systems import parametric_oscillator
from physics.helpers import CONTROL, LIMIT, Regression, fitted_order, periodogram, run, worst

EPSILON, KAPPA = 0.25, 1.0
TIMES = np.linspace(0, 12, 25)


def steady_variance(epsilon, eta):
    """Conditional variance of the quadrature that grows at ε, of which a share η is read."""
    b = 2 * epsilon - KAPPA + 2 * eta * KAPPA
    return (b + np.sqrt(b**2 + 4 * eta * KAPPA**2 * (1 - eta))) / (2 * eta * KAPPA)


def riccati(epsilon, eta, times):
    """V(t) from the vacuum: V̇ = (2ε − κ)V + κ − ηκ(V − 1)²."""
    return solve_ivp(
        lambda _, V: (2 * epsilon - KAPPA) * V + KAPPA - eta * KAPPA * (V - 1) ** 2,
        (times[0], times[-1]),
        [1.0],
        t_eval=times,
        rtol=1e-10,
        atol=1e-12,
    ).y[0]


def test_the_closed_form_has_the_reference_values():
    assert steady_variance(EPSILON, 0.5) == pytest.approx(1.6180340, abs=1e-7)
    assert steady_variance(-EPSILON, 0.5) == pytest.approx(0.6180340, abs=1e-7)
    for epsilon in (EPSILON, -EPSILON):
        for eta in (0.25, 0.6, 1.0):
            assert riccati(epsilon, eta, np.array([0.0, 60.0]))[-1] == pytest.approx(
                steady_variance(epsilon, eta), abs=1e-7
            )


# detector, quadrature whose variance is followed, sign of ε, share η of that quadrature that is read
VARIANCE = {
    "homodyne x, η = .5": (Homodyne("loss", efficiency=0.5), "x", +1, 0.5),
    "homodyne p, η = .5": (Homodyne("loss", phase=np.pi / 2, efficiency=0.5), "p", -1, 0.5),
    "homodyne x, η = .8": (Homodyne("loss", efficiency=0.8), "x", +1, 0.8),
    "heterodyne x": (Heterodyne("loss"), "x", +1, 0.5),
    "heterodyne p": (Heterodyne("loss"), "p", -1, 0.5),
    "heterodyne x, η = .6": (Heterodyne("loss", efficiency=0.6), "x", +1, 0.3),
    "heterodyne p, η = .6": (Heterodyne("loss", efficiency=0.6), "p", -1, 0.3),
}


@pytest.mark.parametrize("case", VARIANCE)
def test_conditional_variances_are_the_same_on_every_record(case):
    detector, quadrature, sign, eta = VARIANCE[case]
    system = parametric_oscillator(EPSILON, KAPPA, levels=24)
    steps, errors = np.array([0.02, 0.01, 0.005]), []
    for step in steps:
        data = run(
            system,
            detector,
            TIMES,
            16,
            seed=0,
            level="density",
            step=step,
            observables=("x", "p", "x2", "p2"),
        )
        mean = data[f"expect_{quadrature}"].values
        V = data[f"expect_{quadrature}2"].values - mean**2
        errors.append(float(np.sqrt(((V - riccati(sign * EPSILON, eta, TIMES)) ** 2).mean())))
        assert abs(V - riccati(sign * EPSILON, eta, TIMES)).max() < step
    order = fitted_order(steps, errors)
    final = V[:, -1]
    print(f"oscillator, {case}: V {final.mean():.6f} ± {final.std():.1e}, rms {errors}, order {order:.2f}")
    assert order > 0.8
    assert abs(final - steady_variance(sign * EPSILON, eta)).max() < 2.5e-3
    assert mean[:, -1].std() > 0.1  # while the mean wanders
    # broken: other efficiency, other quadrature
    for wrong in (np.sqrt(eta), eta / 2):
        assert abs(final - steady_variance(sign * EPSILON, wrong)).min() > 9e-3
    assert abs(final - steady_variance(-sign * EPSILON, eta)).min() > 0.1


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
@pytest.mark.parametrize("quadrature", ["x", "p"])
def test_output_spectra(quadrature, efficiency):
    """S_{x,p}(ω) = 1 ± 2ηκε/((κ/2 ∓ ε)² + ω²), for a finite record in bins."""
    duration, width = 100.0, 0.1
    sign, phase = (1, 0.0) if quadrature == "x" else (-1, np.pi / 2)
    omega = 2 * np.pi / duration * np.arange(1, 41)
    system = parametric_oscillator(EPSILON, KAPPA, levels=24)
    times = np.linspace(0, duration, round(duration / width) + 1)
    detector = Homodyne("loss", phase=phase, efficiency=efficiency)
    data = run(system, detector, times, 1024, seed=0, initial="steady")
    power = periodogram(data["current_loss"].values, width, omega)

    def spectrum(eta, sign):
        rate = KAPPA / 2 - sign * EPSILON
        amplitude = sign * eta * KAPPA * EPSILON / rate  # of E[I(τ)I(0)], τ > 0
        total = np.ones(len(omega))
        for alias in range(-3, 4):
            shifted = omega + 2 * np.pi * alias / width
            z = 1j * shifted + rate
            finite = 1 - (1 - np.exp(-z * duration)) / (z * duration)
            total += 2 * (amplitude / z * finite).real * np.sinc(shifted * width / 2 / np.pi) ** 2
        infinite = 1 + sign * 2 * eta * KAPPA * EPSILON / (rate**2 + omega**2)
        assert abs(total / infinite - 1).max() < 0.1
        return total

    def miss(expected):
        groups = [slice(0, 3), slice(3, 8), slice(8, 20), slice(20, 40)]
        return max(worst(power[:, g].mean(axis=1), expected[g].mean()) for g in groups)

    good = miss(spectrum(efficiency, sign))
    root = miss(spectrum(np.sqrt(efficiency) if efficiency < 1 else 0.75, sign))
    other = miss(spectrum(efficiency, -sign))
    print(f"oscillator spectrum, {quadrature}, η = {efficiency}: z {good:.2f}; broken {root:.0f}, {other:.0f}")
    assert good < LIMIT
    assert min(root, other) > CONTROL


def test_the_regression_helper_agrees():
    """Homodyne spectra of the truncated model, against the linear theory."""
    theory = Regression(parametric_oscillator(EPSILON, KAPPA, levels=10))
    omega = np.array([0.0, 0.4, 1.5])
    for sign, phase in ((1, 0.0), (-1, np.pi / 2)):
        measured = theory.spectrum(theory.reading("loss", "homodyne", 0.5, phase), omega)
        rate = KAPPA / 2 - sign * EPSILON
        assert measured == pytest.approx(1 + sign * KAPPA * EPSILON / (rate**2 + omega**2), rel=0.02)
