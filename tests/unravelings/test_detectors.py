"""Unravelings: values that name channels; checked where they are written."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backaction as ba
from backaction import Heterodyne, Homodyne, QuantumJumps, Unraveling


def test_each_name_is_a_detector_of_its_own():
    unraveling = Homodyne("a", "b", phase=0.3, efficiency=0.5)
    assert [d.channels for d in unraveling.detectors] == [("a",), ("b",)]
    assert all((d.kind, d.phase, d.efficiency) == ("homodyne", 0.3, 0.5) for d in unraveling.detectors)
    assert [d.kind for d in Heterodyne("a", "b").detectors] == ["heterodyne"] * 2
    assert [d.kind for d in QuantumJumps("a", "b").detectors] == ["jumps"] * 2


def test_defaults_are_perfect_detectors():
    for unraveling in (Homodyne("a"), Heterodyne("a"), QuantumJumps("a")):
        (detector,) = unraveling.detectors
        assert detector.efficiency == 1
        assert detector.dark_rate == 0
        assert detector.phase == 0
        assert detector.recorded is True


def test_a_tuple_is_one_counter_that_cannot_tell_apart():
    unraveling = QuantumJumps(("a", "b"), "c", dark_rate=0.1)
    assert [d.channels for d in unraveling.detectors] == [("a", "b"), ("c",)]
    assert [d.name for d in unraveling.detectors] == ["a_b", "c"]
    assert unraveling.channels == ("a", "b", "c")


def test_detectors_add_in_order():
    total = Heterodyne("a") + QuantumJumps("b", efficiency=0.5) + Homodyne("c")
    assert isinstance(total, Unraveling)
    assert total.channels == ("a", "b", "c")
    assert [d.kind for d in total.detectors] == ["heterodyne", "jumps", "homodyne"]
    assert Unraveling() + total == total
    assert sum([Heterodyne("b"), Heterodyne("c")], Heterodyne("a")) == Heterodyne("a", "b", "c")
    with pytest.raises(TypeError):
        total + "c"


def test_unravelings_are_values():
    assert Heterodyne("a", "b") == Heterodyne("a") + Heterodyne("b")
    assert hash(Heterodyne("a", "b")) == hash(Heterodyne("a") + Heterodyne("b"))
    assert Heterodyne("a") != Homodyne("a")
    assert Heterodyne("a") != Heterodyne("a", efficiency=0.9)
    assert Heterodyne("a") != "a"


@pytest.mark.parametrize(
    "unraveling",
    [
        Heterodyne("a", "b", efficiency=0.25),
        Homodyne("a", phase=math.pi / 3) + Homodyne("b", recorded=False),
        QuantumJumps("a", ("b", "c"), efficiency=0.5, dark_rate=0.2) + Heterodyne("d"),
        QuantumJumps("a", recorded=False),
        Heterodyne("a", efficiency=np.float64(0.5)),
        Unraveling(),
    ],
)
def test_repr_can_be_evaluated(unraveling):
    assert eval(repr(unraveling), {**vars(ba), "np": np}) == unraveling


def test_check_names_the_channel_and_what_there_is():
    Heterodyne("a").check(["a", "b"])
    with pytest.raises(ValueError, match=r"`channel` must be one of .*'a', 'b'.* but is 'c'"):
        (Heterodyne("a") + Homodyne("c")).check(["b", "a"])


@pytest.mark.parametrize("edge", [0, 0.0, 1, 1.0, np.float64(0.3)])
def test_every_efficiency_between_0_and_1_is_taken(edge):
    assert Heterodyne("a", efficiency=edge).detectors[0].efficiency == edge


@pytest.mark.parametrize("kind", [Homodyne, Heterodyne, QuantumJumps])
@pytest.mark.parametrize("efficiency", [1.2, -0.1, math.nan, math.inf, None, "1", 1j, True])
def test_bad_efficiencies_are_refused(kind, efficiency):
    with pytest.raises(ValueError, match="Argument `efficiency`") as error:
        kind("a", efficiency=efficiency)
    assert repr(efficiency) in str(error.value)


@pytest.mark.parametrize("rate", [-1.0, math.nan, math.inf, None, "1", 1j])
def test_bad_dark_rates_are_refused(rate):
    with pytest.raises(ValueError, match="Argument `dark_rate`") as error:
        QuantumJumps("a", dark_rate=rate)
    assert repr(rate) in str(error.value)


@pytest.mark.parametrize("phase", [math.nan, math.inf, None, "0", 1j])
def test_bad_phases_are_refused(phase):
    with pytest.raises(ValueError, match="Argument `phase`") as error:
        Homodyne("a", phase=phase)
    assert repr(phase) in str(error.value)


def test_time_dependent_local_oscillators_are_refused_for_now():
    with pytest.raises(ValueError, match=r"`phase` .* time-dependent local oscillators are not supported yet"):
        Homodyne("a", phase=lambda t: t)


@pytest.mark.parametrize("recorded", [None, 1, "no"])
def test_recorded_is_a_bool(recorded):
    with pytest.raises(ValueError, match="Argument `recorded`"):
        Heterodyne("a", recorded=recorded)


@pytest.mark.parametrize("kind", [Homodyne, Heterodyne, QuantumJumps])
@pytest.mark.parametrize("channel", ["loss a", "", "2a", 3, None])
def test_bad_channel_names_are_refused(kind, channel):
    with pytest.raises(ValueError, match="Argument `channel`") as error:
        kind(channel)
    assert repr(channel) in str(error.value)


@pytest.mark.parametrize("kind", [Homodyne, Heterodyne, QuantumJumps])
def test_at_least_one_channel_is_named(kind):
    with pytest.raises(ValueError, match="Argument `channel`: name at least one"):
        kind()


def test_an_empty_tuple_is_no_counter():
    with pytest.raises(ValueError, match="Argument `channel`"):
        QuantumJumps(())


@pytest.mark.parametrize("channels", [("a", "b"), ["a", "b"]])
@pytest.mark.parametrize("kind", [Homodyne, Heterodyne])
def test_only_counters_join_channels(kind, channels):
    with pytest.raises(ValueError, match="Argument `channel`"):
        kind(channels)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Heterodyne("a", "a"),
        lambda: Heterodyne("a") + Homodyne("a"),
        lambda: QuantumJumps(("a", "b")) + Heterodyne("b") + Heterodyne("a"),
        lambda: QuantumJumps(("a", "a")),
        lambda: Heterodyne("a", efficiency=0.5) + QuantumJumps("a", recorded=False),
    ],
)
def test_a_channel_is_watched_once_and_the_way_out_is_split(make):
    with pytest.raises(ValueError, match=r"Argument `channel`.*'[ab]' is watched twice.*split\("):
        make()


def test_two_detectors_cannot_share_a_name():
    with pytest.raises(ValueError, match="same name"):
        QuantumJumps(("a", "b")) + Heterodyne("a_b")
