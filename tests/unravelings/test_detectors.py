"""Unravelings: values that name channels; checked where they are written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import qutip

import backaction as ba
from backaction import Heterodyne, Homodyne, LocalOscillator, QuantumJumps, Sampled, Unraveling


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
        Homodyne("a", phase=LocalOscillator(50.0)) + Homodyne("b", phase=LocalOscillator(-3, phase=0.5)),
        Homodyne("a", phase=Sampled([0, 1, 2], [0.5, 0.25, 1], order=2)),
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


# --- phases that depend on time

TIMES = np.random.default_rng(4).uniform(0, 3, 9)
NODES = np.linspace(0, 3, 31)


def sweep(t):
    return 0.3 * t**2


def single_times_only(t):
    return math.sqrt(t)


@pytest.mark.parametrize(
    "phase, exact",
    [
        (0.7, 0.7 + 0 * TIMES),
        (np.float64(-2), -2 + 0 * TIMES),
        (LocalOscillator(5.0), 5 * TIMES),
        (LocalOscillator(-5, phase=0.3), 0.3 - 5 * TIMES),
        (sweep, 0.3 * TIMES**2),
        (single_times_only, np.sqrt(TIMES)),
        (lambda t: 1.0, 1 + 0 * TIMES),
        (Sampled(NODES, 0.3 * NODES**2), 0.3 * TIMES**2),
        (qutip.coefficient(sweep), 0.3 * TIMES**2),
    ],
)
def test_phase_at_times(phase, exact):
    (detector,) = Homodyne("a", phase=phase).detectors
    found = detector.phase_at(TIMES)
    assert found.dtype == float
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert detector.time_dependent is callable(phase)
    (wrong,) = Homodyne("a", phase=LocalOscillator(5.1)).detectors
    assert abs(wrong.phase_at(TIMES) - exact).max() > 0.1  # negative control


def test_a_local_oscillator_brings_its_signal_to_rest():
    """φ = ωt: ``⟨L⟩ ∝ e^{iωt}`` gives a constant current; of the opposite sign it beats at 2ω."""
    signal = 0.4 * np.exp(3j * TIMES)
    (detector,) = Homodyne("a", phase=LocalOscillator(3.0)).detectors
    current = 2 * np.real(np.exp(-1j * detector.phase_at(TIMES)) * signal)
    np.testing.assert_allclose(current, 0.8, rtol=1e-12)
    assert np.ptp(2 * np.real(np.exp(1j * detector.phase_at(TIMES)) * signal)) > 0.5


def test_demodulation_of_a_local_oscillators_record_gives_the_signal():
    """I e^{+iφ}, averaged over whole periods, is ⟨L⟩."""
    phase = Homodyne("a", phase=LocalOscillator(2 * np.pi, phase=0.4)).detectors[0].phase_at(np.arange(64) / 64)
    amplitude = 0.3 - 0.8j
    current = 2 * np.real(np.exp(-1j * phase) * amplitude)
    assert np.mean(current * np.exp(1j * phase)) == pytest.approx(amplitude, abs=1e-14)


def test_local_oscillators_are_values():
    one = LocalOscillator(50.0)
    assert one == LocalOscillator(50)
    assert hash(one) == hash(LocalOscillator(50))
    assert one != LocalOscillator(50, phase=0.1)
    assert repr(one) == "LocalOscillator(50.0)"
    assert repr(LocalOscillator(50.0, phase=0.1)) == "LocalOscillator(50.0, phase=0.1)"
    assert Homodyne("a", phase=one) == Homodyne("a", phase=LocalOscillator(50.0))
    assert Homodyne("a", phase=one) != Homodyne("a", phase=50.0)
    assert Homodyne("a", phase=sweep) == Homodyne("a", phase=sweep)
    assert hash(Homodyne("a", phase=sweep)) == hash(Homodyne("a", phase=sweep))
    assert hash(Homodyne("a", phase=Sampled(NODES, NODES))) == hash(Homodyne("a", phase=Sampled(NODES, NODES)))
    assert repr(Homodyne("loss", phase=LocalOscillator(50.0))) == "Homodyne('loss', phase=LocalOscillator(50.0))"
    assert repr(Homodyne("a", phase=sweep, efficiency=0.5)) == "Homodyne('a', phase=<function sweep>, efficiency=0.5)"
    assert ba.LocalOscillator is LocalOscillator


@pytest.mark.parametrize("name", ["frequency", "phase"])
@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1", 1j, True])
def test_bad_local_oscillators_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Argument `{name}` must be a finite number") as error:
        LocalOscillator(**{"frequency": 1.0, name: value})
    assert repr(value) in str(error.value)


def test_bad_phases_of_time_are_refused_at_their_time():
    for phase, words in (
        (lambda t: 1j * t, "real.*t = 1"),
        (lambda t: math.nan, "finite.*t = 1"),
        (lambda t, w: t, "functools.partial"),
        (Sampled([0, 1], [0, 1], 1), r"\[0, 1\].*t = 2"),
    ):
        with pytest.raises(ValueError, match=f"Argument `phase` must .*{words}"):
            Homodyne("a", phase=phase).detectors[0].phase_at([1.0, 2.0])
    with pytest.raises(ValueError, match=r"`phase` must be real.*Sampled\("):
        Homodyne("a", phase=Sampled([0, 1], [0, 1j], 1))
    with pytest.raises(ValueError, match=r"`phase` must be .* ba\.Sampled"):
        Homodyne("a", phase=np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="`times` must be"):
        Homodyne("a").detectors[0].phase_at(0.5)


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
