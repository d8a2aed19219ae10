"""Units of time are the user's: rates times s and times over s give the same paths."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba

S = ba.Spin("s")
START = np.array([0.6, 0.8j])
Homodyne, Heterodyne, Jumps = ba.Homodyne, ba.Heterodyne, ba.QuantumJumps
DIFFUSIVE = Heterodyne("loss") + Homodyne("dephasing")
BESIDE = Homodyne("dephasing") + Jumps("loss", efficiency=0.8)
COUNTERS = Jumps("loss", efficiency=0.8)
#: unraveling, level, what depends on time
CASES = {
    "diffusive, ket": (DIFFUSIVE, "ket", ""),
    "diffusive, density": (DIFFUSIVE, "density", ""),
    "counter beside, ket": (BESIDE, "ket", ""),
    "counter beside, density": (BESIDE, "density", ""),
    "counter, ket": (COUNTERS, "ket", ""),
    "counter, density": (COUNTERS, "density", ""),
    "driven, counter beside, density": (BESIDE, "density", "H"),
    "driven channel, counter, density": (COUNTERS, "density", "loss"),
}


def system(s, driven):
    root = np.sqrt(s)
    H = 2.0 * s * S.sx + 0.3 * s * S.sz
    loss = root * S.sm
    return ba.System(
        [H, (0.5 * s * S.sx, lambda t: np.cos(2 * s * t))] if driven == "H" else H,
        {
            "loss": (loss, lambda t: 1 + 0.8 * np.cos(1.5 * s * t)) if driven == "loss" else loss,
            "dephasing": 0.6 * root * S.sz,
            "unwatched": 0.5 * root * S.sm,
        },
        {"x": S.sx, "z": S.sz},
    )


@pytest.mark.filterwarnings("ignore:The bins of the record")
@pytest.mark.parametrize("exponent", [-46, 40])
@pytest.mark.parametrize("case", CASES)
def test_units_of_time(case, exponent):
    unraveling, level, driven = CASES[case]
    found = []
    for s in (1.0, 2.0**exponent):
        model, times = system(s, driven), np.linspace(0, 4 / s, 41)
        options = {"level": level, "observables": ["x", "z"], "progress": False, "seed": 3, "initial": START}
        data = ba.simulate(model, unraveling, times, 8, **options)
        if level == "density":
            del options["level"]
            past = ba.smooth(model, unraveling, data, **options, max_error=np.inf)
            data = data.assign({"smoothed_z": past["smoothed_z"]})
        data = data.assign({n: data[n] / np.sqrt(s) for n in data if str(n).startswith("current")})
        if "click_time_loss" in data:
            data = data.assign(click_time_loss=data["click_time_loss"] * s)
        found.append(data)
    one, other = found
    if "click_time_loss" in one:
        assert one["click_time_loss"].size >= 5
    for name in [n for n in one if str(n).startswith(("current", "expect", "hidden", "click", "smoothed"))]:
        np.testing.assert_allclose(other[name].values, one[name].values, rtol=0, atol=1e-8, err_msg=name)
