"""Large state vectors beside diffusive detectors: a Taylor series in place of the propagator of a step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backaction as ba
from backaction.trajectories import plan

TIMES = np.linspace(0, 3, 13)
RUN = {"ntraj": 5, "seed": 4, "level": "ket", "progress": False, "step": 1 / 256}


def run(detectors: ba.Unraveling, monkeypatch: pytest.MonkeyPatch, smallest: int, **options: object):
    system = ba.systems.two_vdp(kappa1=1.5, kappa2=0.5, kappa=1, coupling=1, detuning=0.7, levels=7)
    monkeypatch.setattr(plan, "SERIES_FROM", smallest)
    return ba.simulate(system, detectors, TIMES, observables=("n_a", "coherence"), **{**RUN, **options})


@pytest.mark.filterwarnings("ignore:The basis' edge")
@pytest.mark.parametrize("scheme", [ba.Splitting(), ba.Rouchon()])
def test_the_series_is_the_propagator(monkeypatch, scheme):
    """Same currents, clicks and hidden jumps to the propagator's own precision, however the steps are cut by edges."""
    detectors = ba.Heterodyne("loss_a") + ba.Homodyne("loss_b", efficiency=0.7) + ba.QuantumJumps("pump_a")
    for save_every in (1, 4):
        series, exact = (
            run(detectors, monkeypatch, n, scheme=scheme, save_every=save_every) for n in (0, 10**9)
        )  # fmt: skip
        assert exact["click_count_pump_a"].sum() > 10
        for name in ("current_loss_a", "current_loss_b", "hidden_n_a", "hidden_coherence", "click_time_pump_a"):
            assert np.allclose(series[name], exact[name], rtol=0, atol=2e-6), name
        for name in (
            "current_loss_a",
            "hidden_coherence",
        ):  # clicks are placed to 1e-4 of a step
            assert np.median(abs(series[name] - exact[name])) < 1e-8


@pytest.mark.filterwarnings("ignore:The basis' edge")
def test_a_series_cut_short_is_seen(monkeypatch):
    detectors = ba.Heterodyne("loss_a", "loss_b")
    good = run(detectors, monkeypatch, 0)
    monkeypatch.setattr(plan, "_series", lambda x: (1, 1))
    bad = run(detectors, monkeypatch, 0)
    assert abs(good["hidden_coherence"] - bad["hidden_coherence"]).max() > 1e-4


def test_order_and_pieces_of_the_series():
    for x in (1e-3, 0.3, 1.0, 6.0, 20.0):
        k, pieces = plan._series(x)
        rest = sum((x / pieces) ** j / math.factorial(j) for j in range(k + 1, k + 60))
        assert rest < 4 * plan.SERIES_ERROR
        assert x / pieces <= plan.SERIES_REACH


@pytest.mark.filterwarnings("ignore:The basis' edge", "ignore:The step")
def test_a_long_step_is_cut_into_pieces_of_the_series_only(monkeypatch):
    """The step stays what was asked for, with a local oscillator that turns and with clicks in it."""
    detectors = ba.Homodyne("loss_a", phase=ba.LocalOscillator(1.0)) + ba.QuantumJumps("pump_a", "loss_b")
    options = {"step": 1 / 8}
    exact = run(detectors, monkeypatch, 10**9, **options)
    for reach in (6.0, 0.5, 0.2):
        monkeypatch.setattr(plan, "SERIES_REACH", reach)
        series = run(detectors, monkeypatch, 0, **options)
        assert series.attrs["step"] == exact.attrs["step"] == 1 / 8
        assert np.array_equal(series["click_count_loss_b"], exact["click_count_loss_b"])
        for name in ("current_loss_a", "hidden_coherence"):
            assert np.allclose(series[name], exact[name], rtol=0, atol=2e-5), name
