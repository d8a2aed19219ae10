"""Likelihoods of records that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg as la
from scipy.special import logsumexp

import backaction as ba
from backaction import Homodyne, QuantumJumps
from backaction.systems import damped_cavity, driven_qubit, parametric_oscillator, qnd_qubit
from physics.helpers import clicks, fitted_order, run

pytestmark = pytest.mark.filterwarnings("ignore:The bins of the record")


def likelihood(system, unraveling, record, **options):
    return ba.condition(system, unraveling, record, max_error=1.0, progress=False, **options)["log_likelihood"].values


def coarse(data, channel, n):
    """The record in bins n times as wide."""
    current = data[f"current_{channel}"].values
    edges = np.append(data["bin"] - data["bin_width"] / 2, data["bin"][-1] + data["bin_width"][-1] / 2)
    return {"times": edges[::n], f"current_{channel}": current.reshape(len(current), -1, n).mean(axis=2)}


def rms(difference):
    return float(np.sqrt(np.mean(np.asarray(difference) ** 2)))


@pytest.mark.parametrize("z0", [0.0, 0.6])
@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_qnd_qubit__mixture_of_two_gaussians(efficiency, z0):
    """Y(T) is ±sT with probability (1 ± z₀)/2, plus noise: Λ = Σ_± (1 ± z₀)/2 e^{±sY − s²T/2}, s = 2√(ηk)."""
    k, duration = 0.7, 1.0
    system, unraveling = qnd_qubit(k), Homodyne("probe", efficiency=efficiency)
    initial = np.diag([1 + z0, 1 - z0]) / 2
    data = run(system, unraveling, np.linspace(0, duration, 401), 256, seed=1, initial=initial, step=1.0)
    Y = (data["current_probe"] * data["bin_width"]).sum("bin").values

    def closed_form(s):
        exponents = np.stack([s * Y, -s * Y]) - s**2 * duration / 2
        return logsumexp(exponents, axis=0, b=np.array([[1 + z0], [1 - z0]]) / 2)

    s, errors, broken = 2 * np.sqrt(efficiency * k), [], 0.0
    for bins in (4, 2, 1):
        found = likelihood(system, unraveling, coarse(data, "probe", bins), initial=initial, step=1.0)
        errors.append(rms(found - closed_form(s)))
        broken = rms(found - closed_form(0.9 * s))
    steps = 0.0025 * np.array([4, 2, 1])
    print(f"qnd, η = {efficiency}, z0 = {z0}: {errors}; broken {broken:.3f}")
    assert errors[-1] < 5e-3
    assert fitted_order(steps, errors) > 0.7
    assert broken > 5 * errors[-1]


def kalman(drift, diffusion, gain, correlation, width, increments, variance):
    """ln Λ of ∫dY of every bin from its innovations, relative to white noise.

    ``dx = drift x dt + dv``, ``dY = gain x dt + dW``, ``dv² = diffusion dt``, ``dv dW = correlation dt``, x(0) of mean
    0; transitions over a bin in closed form (Van Loan).
    """
    A = np.array([[drift, 0.0], [gain, 0.0]])
    D = np.array([[diffusion, correlation], [correlation, 1.0]])
    block = la.expm(width * np.block([[-A, D], [np.zeros((2, 2)), A.T]]))
    F = block[2:, 2:].T
    Q = F @ block[:2, 2:]
    mean, V, total = np.zeros(len(increments)), variance, np.zeros(len(increments))
    for dY in increments.T:
        joint = F[:, :1] @ F[:, :1].T * V + Q  # covariance of (x after the bin, ∫dY of the bin)
        innovation = dY - F[1, 0] * mean
        total += 0.5 * (dY**2 / width - innovation**2 / joint[1, 1] - np.log(joint[1, 1] / width))
        mean = F[0, 0] * mean + joint[0, 1] / joint[1, 1] * innovation
        V = joint[0, 0] - joint[0, 1] ** 2 / joint[1, 1]
    return total


def test_parametric_oscillator__innovations():
    """x = a + a†: ẋ = (ε − κ/2)x with noise κ, of which −√(ηκ) is in the record ``dY = √(ηκ)x dt + dW``."""
    epsilon, kappa, efficiency, width = 0.15, 1.0, 0.6, 0.0125
    system, unraveling = parametric_oscillator(epsilon, kappa, levels=16), Homodyne("loss", efficiency=efficiency)
    data = run(system, unraveling, width * np.arange(321), 64, seed=2, step=width)
    gain = np.sqrt(efficiency * kappa)
    model = (epsilon - kappa / 2, kappa, gain, -gain, width, data["current_loss"].values * width, 1.0)
    exact = kalman(*model)
    steps, errors, found = width * np.array([4, 2, 1]), [], 0.0
    for bins in (4, 2, 1):  # one step each
        found = likelihood(system, unraveling, coarse(data, "loss", bins), step=1.0)
        errors.append(rms(found - exact))
    broken = {
        "efficiency": (*model[:2], efficiency, -efficiency, *model[4:]),
        "drift": (-epsilon - kappa / 2, *model[1:]),
        "correlation": (*model[:3], 0.0, *model[4:]),
    }
    missed = {name: rms(found - kalman(*wrong)) for name, wrong in broken.items()}
    print(f"Gaussian: {errors}, scatter {exact.std():.2f}; broken {missed}")
    assert errors[-1] < 0.01
    assert fitted_order(steps, errors) > 0.7
    assert min(missed.values()) > 5 * errors[-1]


def test_driven_qubit__waiting_times():
    """Photon counting at η = 1 renews the atom: Λ = Π w(τ_i) P₀(T − t_n) e^T.

    From ċ_e = −(γ/2)c_e − i(Ω/2)c_g, ċ_g = −i(Ω/2)c_e: with λ² = Ω² − γ²/4, ``w = γ(Ω/λ)² e^{−γτ/2} sin²(λτ/2)``.
    """
    rabi, gamma, duration = 1.7, 1.2, 8.0
    data = run(driven_qubit(rabi, gamma), QuantumJumps("loss"), np.linspace(0, duration, 41), 32, seed=3)

    def closed_form(times, rabi=rabi):
        frequency = np.sqrt(rabi**2 - gamma**2 / 4)

        def amplitudes(t):
            angle, decay = frequency * t / 2, np.exp(-gamma * t / 4)
            ground = decay * (np.cos(angle) + gamma / (2 * frequency) * np.sin(angle))
            return ground, decay * rabi / frequency * np.sin(angle)

        waits = np.diff(times, prepend=0.0)
        ground, excited = amplitudes(duration - (times[-1] if len(times) else 0.0))
        return np.sum(np.log(gamma * amplitudes(waits)[1] ** 2)) + np.log(ground**2 + excited**2) + duration

    exact = np.array([closed_form(t) for t in clicks(data, "loss")])
    spoiled = np.array([closed_form(t, 1.02 * rabi) for t in clicks(data, "loss")])
    for level in ("ket", "density"):
        found = likelihood(driven_qubit(rabi, gamma), QuantumJumps("loss"), data, level=level)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)
        assert rms(found - spoiled) > 1e-3


def test_coherent_light__a_poisson_process():
    """A cavity in a coherent state clicks at the constant rate λ = ηκ|α|² + ν: Λ = λⁿ e^{−(λ − 1)T}."""
    kappa, drive, efficiency, dark_rate, duration = 1.0, 0.4, 0.6, 0.25, 6.0
    alpha = 2 * drive / kappa
    system = damped_cavity(kappa, drive=drive, levels=16)
    unraveling = QuantumJumps("loss", efficiency=efficiency, dark_rate=dark_rate)
    initial = {"a": ba.coherent(alpha)}
    data = run(system, unraveling, np.linspace(0, duration, 7), 16, seed=4, initial=initial)
    n = data["click_count_loss"].values
    rate = efficiency * kappa * alpha**2 + dark_rate
    found = likelihood(system, unraveling, data, initial=initial)
    np.testing.assert_allclose(found, n * np.log(rate) - (rate - 1) * duration, rtol=0, atol=1e-7)
    without = efficiency * kappa * alpha**2
    assert abs(found - (n * np.log(without) - (without - 1) * duration)).max() > 0.1
