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
    monkeypatch.setattr(plan, "_series_order", lambda x: 1)
    bad = run(detectors, monkeypatch, 0)
    assert abs(good["hidden_coherence"] - bad["hidden_coherence"]).max() > 1e-4


def test_order_of_the_series():
    for x in (1e-3, 0.3, 1.0, 6.0):
        k = plan._series_order(x)
        rest = sum(x**j / math.factorial(j) for j in range(k + 1, k + 60))
        assert rest < 4 * plan.SERIES_ERROR


@pytest.mark.filterwarnings("ignore:The basis' edge")
def test_steps_stay_within_reach(monkeypatch):
    monkeypatch.setattr(plan, "SERIES_REACH", 0.05)
    data = run(ba.Heterodyne("loss_a"), monkeypatch, 0)
    assert data.attrs["step"] < 1 / 300
