"""Weak and strong orders of both schemes at both levels: what docs/accuracy.md says, measured."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba
from backaction.trajectories import plan as plans
from trajectories.one_step import CASES, DRIVEN, slope, strong_errors, weak_errors

SPLITTING, ROUCHON = ba.Splitting(), ba.Rouchon()
WEAK = 0.01 / 2.0 ** np.arange(3)
STRONG = np.array([128, 256, 512])

WEAK_CASES = [
    ("not commuting", SPLITTING, "ket"),
    ("not commuting", ROUCHON, "ket"),
    ("not commuting", ROUCHON, "density"),
    ("an unwatched channel", SPLITTING, "density"),
    ("an unwatched channel", ROUCHON, "density"),
    ("efficiency < 1", ROUCHON, "density"),
]


def few_nodes(name, **changes):
    """A case with quadratures of four nodes, enough for moments up to the seventh."""
    return CASES[name]._replace(nodes=4, **changes)


@pytest.mark.parametrize("name, scheme, level", WEAK_CASES)
def test_weak_order(name, scheme, level):
    errors = weak_errors(few_nodes(name), scheme, level, WEAK)
    measured = slope(WEAK, errors)
    print(f"{name}, {scheme}, {level}: {errors}, order {measured:.2f}")
    assert measured == pytest.approx(scheme.weak_order, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [SPLITTING, ROUCHON], ids=repr)
@pytest.mark.parametrize("name", CASES)
def test_weak_order__all_cases(name, scheme):
    case = CASES[name]
    errors = weak_errors(case, scheme, "density", WEAK)
    assert slope(WEAK, errors) == pytest.approx(scheme.weak_order, abs=0.15)


def test_weak_order__is_one_if_channels_are_measured_in_one_order_only():
    """The control of alternation: half of the two steps that belong together."""
    errors = weak_errors(few_nodes("commuting", steps=1), SPLITTING, "ket", WEAK)
    assert slope(WEAK, errors) < 1.3


def test_weak_order__is_none_if_an_unwatched_channel_is_missing_from_k0(monkeypatch):
    """The control of completeness: the gain of the channel without its loss."""
    whole = plans.rouchon_remainder
    monkeypatch.setattr(plans, "rouchon_remainder", lambda diffusive, dt, unread, H: whole(diffusive, dt, [], H))
    errors = weak_errors(few_nodes("an unwatched channel"), ROUCHON, "density", WEAK)
    assert slope(WEAK, errors) < 0.3


STRONG_CASES = [
    ("commuting", SPLITTING, "ket"),
    ("commuting", ROUCHON, "density"),
    ("not commuting", SPLITTING, "ket"),
    ("not commuting", ROUCHON, "density"),
    ("an unwatched channel", SPLITTING, "density"),
    ("efficiency < 1", ROUCHON, "density"),
    ("homodyne, heterodyne, counter", SPLITTING, "ket"),
    ("homodyne, heterodyne, counter", ROUCHON, "density"),
    ("the same, clicks that do not commute", SPLITTING, "ket"),
    ("the same, clicks that do not commute", ROUCHON, "density"),
    ("the three detectors, H(t)", SPLITTING, "density"),
]


@pytest.mark.parametrize("name, scheme, level", STRONG_CASES)
def test_strong_order(name, scheme, level):
    case = (CASES | DRIVEN)[name]
    errors = strong_errors(case, scheme, level, STRONG)
    measured = slope(case.duration / STRONG, errors)
    print(f"{name}, {scheme}, {level}: {errors}, order {measured:.2f}")
    assert measured == pytest.approx(case.strong, abs=0.2)
    assert errors[-1] < 0.03


def test_strong_order__of_another_path_is_none():
    errors = strong_errors(CASES["commuting"], SPLITTING, "ket", STRONG[:2], finer=2, same_path=False)
    assert errors.min() > 0.1
