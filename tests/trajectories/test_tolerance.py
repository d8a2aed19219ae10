"""`tolerance`: the step it chooses, and the error at that step, measured by other means."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import backaction as ba
from backaction.systems import driven_qubit, qnd_qubit, two_spins
from backaction.trajectories import tolerance as module
from backaction.trajectories.preparation import Prepared
from trajectories.one_step import Case, strong_errors

QUBIT = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.7)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
TIMES = np.linspace(0, 2, 9)

CASES = {
    "complete": (QUBIT, ba.Heterodyne("loss"), "auto", 1e-2),
    "efficiency": (QUBIT, ba.Homodyne("loss", phase=0.7, efficiency=0.4), "density", 3e-3),
    "two detectors, unwatched channels": (SPINS, ba.Homodyne("loss_a") + ba.Heterodyne("loss_b"), "density", 1e-2),
}

SX, SZ = np.array([[0, 1], [1, 0]]), np.diag([1, -1])
#: Both quadratures of one spin at once: nothing commutes.
BOTH = ba.System(0.5 * SX, {"x": 0.7 * SX, "z": 0.7 * SZ}, initial=np.array([1, 0]))
NOT_COMMUTING = ba.Homodyne("x", "z", efficiency=0.8)


def chosen(system, unraveling, tolerance, level="density", **options):
    """The step of a run."""
    data = ba.simulate(
        system, unraveling, TIMES, 1, seed=0, tolerance=tolerance, level=level, states=True, progress=False, **options
    )
    assert data.attrs["tolerance"] == tolerance
    return data.attrs["step"]


def observed(system, unraveling, step, level):
    """Error of paths with this step against those with a 16th of it, by simulate and condition."""
    level = "ket" if level == "auto" else level
    looks = 8 * round(TIMES[-1] / step / 8)
    case = Case(system, unraveling, 1, 1, TIMES[-1], 1.0, level == "ket")
    return strong_errors(case, None, level, [looks], finer=16)[0]


@pytest.mark.parametrize("name", CASES)
def test_error__is_within_the_tolerance(name):
    system, unraveling, level, tolerance = CASES[name]
    step = chosen(system, unraveling, tolerance, level)
    error = observed(system, unraveling, step, level)
    print(f"{name}: step {step:.3g}, error {error:.2g}, {error / tolerance:.2f} of the tolerance")
    assert error <= 2 * tolerance
    # not needlessly short either, unless it is the default step
    default = ba.simulate(system, unraveling, TIMES, 1, seed=0, level=level, states=True, progress=False).attrs["step"]
    assert error > tolerance / 5 or step == default


def test_error__where_measurements_do_not_commute():
    with pytest.warns(RuntimeWarning, match="do not commute"):
        step = chosen(BOTH, NOT_COMMUTING, 2e-2)
    error = observed(BOTH, NOT_COMMUTING, step, "density")
    assert 2e-2 / 5 < error <= 4e-2


def test_the_strong_order_is_in_the_attributes():
    """Also where a channel that does not commute is on for a moment."""

    def order(system, unraveling):
        return ba.simulate(system, unraveling, TIMES, 1, seed=0, progress=False).attrs.get("strong_order")

    later = ba.System(
        0.5 * SX,
        {"x": 0.7 * SX, "z": (0.7 * SZ, lambda t: np.exp(-((10 * (t - 1.13)) ** 4)))},
        initial=np.array([1, 0]),
    )
    assert order(QUBIT, ba.Heterodyne("loss")) == 1.0
    assert order(BOTH, NOT_COMMUTING) == order(later, NOT_COMMUTING) == 0.5
    assert order(BOTH, ba.Homodyne("x") + ba.QuantumJumps("z")) == 0.5
    assert order(BOTH, ba.QuantumJumps("x", "z")) is None  # no step


def test_error__is_too_large_if_order_one_is_taken_for_granted(monkeypatch):
    """The control: extrapolating from long steps as if all measurements commuted."""
    monkeypatch.setattr(Prepared, "strong_order", 1.0)
    monkeypatch.setattr(module, "ORDER_MARGIN", 10.0)
    monkeypatch.setattr(module, "REACH", np.inf)
    monkeypatch.setattr(module, "LEAST_ORDER", 1.0)
    step = chosen(BOTH, NOT_COMMUTING, 1e-3)
    assert observed(BOTH, NOT_COMMUTING, step, "density") > 2e-3


def test_error__is_too_large_without_safety(monkeypatch):
    """The control of the measure: a step for ten times the tolerance is seen to be too long."""
    system, unraveling, level, _ = CASES["efficiency"]
    monkeypatch.setattr(module, "SAFETY", 0.1)
    assert observed(system, unraveling, chosen(system, unraveling, 1e-3, level), level) > 2e-3


def test_step__does_not_depend_on_seed_or_number_of_trajectories():
    options = {"tolerance": 3e-3, "states": True, "progress": False}
    runs = [ba.simulate(QUBIT, ba.Heterodyne("loss"), TIMES, n, seed=s, **options) for n, s in ((1, 0), (3, 5))]
    assert runs[0].attrs["step"] == runs[1].attrs["step"]


def test_step__is_that_of_a_run_with_it():
    """The record is the one that the chosen step gives, pilot or not."""
    u = ba.Heterodyne("loss")
    one = ba.simulate(QUBIT, u, TIMES, 2, seed=3, tolerance=3e-3, states=True, observables=("sz",), progress=False)
    two = ba.simulate(
        QUBIT, u, TIMES, 2, seed=3, step=one.attrs["step"], states=True, observables=("sz",), progress=False
    )
    np.testing.assert_array_equal(one["state"].values, two["state"].values)
    np.testing.assert_array_equal(one["current_loss"].values, two["current_loss"].values)


def test_step__is_never_longer_than_the_default():
    system, unraveling = qnd_qubit(1.0), ba.Homodyne("probe", efficiency=0.5)
    plain = ba.simulate(system, unraveling, TIMES, 1, seed=0, states=True, progress=False).attrs["step"]
    assert chosen(system, unraveling, 0.5) == plain


def test_step__counters_alone_have_no_step_error():
    for level in ("ket", "density"):
        options = {"states": True, "level": level, "progress": False}
        steps = [
            ba.simulate(QUBIT, ba.QuantumJumps("loss"), TIMES, 1, seed=0, **options, **extra).attrs["step"]
            for extra in ({}, {"tolerance": 1e-9})
        ]
        assert steps[0] == steps[1]


def test_step__of_state_vectors_with_hidden_detectors():
    """Records alone: the state vector also knows what was lost, and its error is that of a complete record."""
    unraveling = ba.Heterodyne("loss", efficiency=0.5)
    loose, tight = (
        ba.simulate(QUBIT, unraveling, TIMES, 1, seed=0, tolerance=t, progress=False).attrs for t in (1e-2, 1e-3)
    )
    assert loose["level"] == tight["level"] == "ket"
    assert 4 < loose["step"] / tight["step"] < 20  # order 1: loss, seen or not, commutes with itself


def test_order__clicks_of_another_operator_beside_diffusion():
    with pytest.warns(RuntimeWarning, match="do not commute"):
        chosen(SPINS, ba.Homodyne("loss_a") + ba.QuantumJumps("coupling", "pump_a"), 3e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen(SPINS, ba.Homodyne("loss_a") + ba.QuantumJumps("coupling", "loss_b"), 3e-2)


@pytest.mark.parametrize("tolerance", [0, -1e-3, 1, np.nan, np.inf, "1e-3", True, 1j])
def test_bad_input__tolerance(tolerance):
    with pytest.raises(ValueError, match=r"Argument `tolerance` must be a distance between 0 and 1"):
        ba.simulate(QUBIT, ba.Heterodyne("loss"), TIMES, tolerance=tolerance, progress=False)


def test_bad_input__tolerance_beside_step():
    with pytest.raises(ValueError, match="Argument `tolerance` must be None where `step` is given"):
        ba.simulate(QUBIT, ba.Heterodyne("loss"), TIMES, tolerance=1e-2, step=0.01, progress=False)


def test_bad_input__tolerance_that_needs_absurd_steps():
    with (
        pytest.warns(RuntimeWarning, match="do not commute"),
        pytest.raises(ValueError, match=r"Argument `tolerance` must allow for a step .* square root"),
    ):
        chosen(BOTH, NOT_COMMUTING, 1e-6)
    with pytest.raises(ValueError, match=r"Argument `tolerance` must allow for a step .* pass a larger tolerance"):
        chosen(QUBIT, ba.Homodyne("loss", efficiency=0.5), 1e-9)
