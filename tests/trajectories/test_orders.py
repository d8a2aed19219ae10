"""Weak and strong orders of both schemes at both levels: what docs/accuracy.md says, measured."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba
from backaction.trajectories import plan as plans
from trajectories import given
from trajectories.given import weak_errors_of_records
from trajectories.one_step import CASES, DRIVEN, slope, strong_errors, weak_errors

SPLITTING, ROUCHON = ba.Splitting(), ba.Rouchon()
WEAK = 0.01 / 2.0 ** np.arange(3)
FEW = WEAK[:2]  # where a step has many records
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


WITH_CLICKS = [
    ("the same, clicks that do not commute", SPLITTING, "ket"),
    ("the same, clicks that do not commute", ROUCHON, "density"),
    ("also efficiencies < 1, a channel unwatched", SPLITTING, "density"),
]


@pytest.mark.parametrize("name, scheme, level", WITH_CLICKS)
def test_weak_order__with_a_counter(name, scheme, level):
    """Clicks are in the average as they are read: where they come, and what they do to the state."""
    case = (CASES | DRIVEN)[name]
    if scheme == ROUCHON:
        case = case._replace(steps=1)  # has no order of the channels that alternates
    errors = weak_errors_of_records(case, scheme, level, FEW)
    measured = slope(FEW, errors)
    print(f"{name}, {scheme}, {level}: {errors}, order {measured:.2f}")
    assert measured == pytest.approx(scheme.weak_order, abs=0.15)


def test_weak_order__is_one_if_clicks_have_the_rate_before_their_step(monkeypatch):
    """The control of clicks: each at the beginning of its step."""
    whole = given.click_nodes

    def early(counters, edges):
        clicks, weights = whole(counters, edges)
        return [(edges[np.searchsorted(edges, times) - 1], owner) for times, owner in clicks], weights

    monkeypatch.setattr(given, "click_nodes", early)
    case = CASES["the same, clicks that do not commute"]
    errors = weak_errors_of_records(case, SPLITTING, "ket", FEW, missing=np.inf)
    print(f"clicks at the beginning of their steps: {errors}, order {slope(FEW, errors):.2f}")
    assert slope(FEW, errors) < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [SPLITTING, ROUCHON], ids=repr)
@pytest.mark.parametrize("name", CASES | DRIVEN)
def test_weak_order__all_cases(name, scheme):
    case = (CASES | DRIVEN)[name]
    measure = weak_errors_of_records if case.counts else weak_errors
    levels = ["ket"] * case.ket + ["density"] * (scheme == SPLITTING or name not in DRIVEN)
    if not levels:
        pytest.skip("not offered")
    for level in levels:
        errors = measure(case, scheme, level, WEAK)
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
    ("also efficiencies < 1, a channel unwatched", SPLITTING, "density"),
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
