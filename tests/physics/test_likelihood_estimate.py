"""Estimates from records: right within their errors, and wrong by many of them where the model is."""

from __future__ import annotations

import numpy as np
import pytest

from backaction import Homodyne, analysis, condition
from backaction.systems import driven_qubit
from physics.helpers import CONTROL, LIMIT, run

RABI, PHASE = 2.0, np.pi / 4
TRUTH = np.array([1.0, 0.5, 0.6])  # rate, detuning, efficiency
TIMES = np.linspace(0, 150, 3751)
STEP = 0.05  # of the central differences
ITERATIONS = 6


def model(theta):
    rate, detuning, efficiency = theta
    return driven_qubit(RABI, rate, detuning), Homodyne("loss", phase=PHASE, efficiency=efficiency)


@pytest.fixture(scope="module")
def record():
    """Plain arrays; the simulation's steps are finer than the bins."""
    data = run(*model(TRUTH), TIMES, 64, seed=5, initial="steady", step=0.02)
    return {"times": TIMES, "current_loss": data["current_loss"].values}


def log_likelihood(theta, record):
    return condition(*model(theta), record, initial="steady", seed=0, progress=False)["log_likelihood"].values


def scoring(start, free, record):
    """Maximum-likelihood estimate and its errors, by Fisher's scoring: F = Σ s sᵀ over records, s by differences."""
    theta = np.array(start)
    directions = np.eye(len(theta))[list(free)]
    for _ in range(ITERATIONS):
        pairs = [(theta + STEP * e, theta - STEP * e) for e in directions]
        s = np.array([(log_likelihood(a, record) - log_likelihood(b, record)) / (2 * STEP) for a, b in pairs])
        covariance = np.linalg.inv(s @ s.T)
        shift = covariance @ s.sum(axis=1)
        theta = theta + shift @ directions
    stderr = np.sqrt(np.diag(covariance))
    assert np.all(abs(shift) < 0.2 * stderr)
    return theta[list(free)], stderr


def test_three_parameters(record):
    estimate, stderr = scoring([1.15, 0.4, 0.5], (0, 1, 2), record)
    assert np.all(stderr < 0.08)
    assert np.all(abs(estimate - TRUTH) < LIMIT * stderr)


def test_likelihood_estimate__and_the_wrong_efficiency(record):
    """√η → η in the model: the rate must pay for it."""
    rates = np.linspace(0.88, 1.12, 7)
    values = np.stack([log_likelihood([rate, *TRUTH[1:]], record) for rate in rates], axis=1)
    found = analysis.likelihood_estimate(values, rates)
    estimate, stderr = float(found["estimate"][0]), float(found["estimate_stderr"][0])
    assert found["resolved"]
    assert stderr < 0.04
    assert abs(estimate - TRUTH[0]) < LIMIT * stderr
    # the same records determine it by their scores, without a parabola
    by_scores, its_stderr = scoring(TRUTH, (0,), record)
    assert abs(by_scores[0] - estimate) < 0.5 * stderr
    assert its_stderr[0] == pytest.approx(stderr, rel=0.5)

    wrong, wrong_stderr = scoring([1.2, TRUTH[1], TRUTH[2] ** 2], (0,), record)
    assert abs(wrong[0] - TRUTH[0]) > CONTROL * wrong_stderr[0]
