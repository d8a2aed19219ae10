"""`condition`: what `simulate` had, from the record alone; how records are read; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

import backaction as ba
from backaction.systems import driven_qubit, qnd_qubit, two_spins
from backaction.trajectories import ensemble

QUBIT = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.3)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
S = ba.Spin("s")
DRIVEN = ba.System([0.3 * S.sz, (S.sx, lambda t: 1 + np.cos(5 * t))], {"loss": S.sm}, {"sz": 2 * S.sz})
Homodyne, Heterodyne, Jumps = ba.Homodyne, ba.Heterodyne, ba.QuantumJumps

SPLITTING, ROUCHON = ba.Splitting(), ba.Rouchon()
ALL = Homodyne("pump_a", "pump_b", "coupling") + Heterodyne("loss_a") + Jumps("loss_b")
#: system, unraveling, level; channels of `SPINS` that are not named are unwatched, "coupling" commutes with no other.
CASES = {
    "homodyne": (QUBIT, Homodyne("loss", phase=0.4), "ket"),
    "heterodyne": (QUBIT, Heterodyne("loss"), "ket"),
    "clicks": (QUBIT, Jumps("loss"), "ket"),
    "all kinds": (SPINS, ALL, "ket"),
    "driven": (DRIVEN, Homodyne("loss", phase=ba.LocalOscillator(3.0)), "ket"),
    "inefficient homodyne": (QUBIT, Homodyne("loss", phase=0.4, efficiency=0.6), "density"),
    "inefficient heterodyne": (QUBIT, Heterodyne("loss", efficiency=0.6), "density"),
    "dark counts": (QUBIT, Jumps("loss", efficiency=0.6, dark_rate=0.3), "density"),
    "joined": (SPINS, Jumps(("loss_a", "loss_b"), dark_rate=0.5) + Heterodyne("coupling"), "density"),
    "not commuting": (SPINS, Homodyne("coupling") + Heterodyne("loss_a", efficiency=0.8) + Jumps("loss_b"), "density"),
}
TIMES = np.concatenate([np.linspace(0, 0.2, 11), 0.2 + 0.015 * np.arange(1, 8)])  # two widths


def states_of(data):
    """Density matrices, whatever the level."""
    state = data["state"].values
    return state if data.attrs["level"] == "density" else state[..., :, None] * state[..., None, :].conj()


@pytest.mark.filterwarnings("ignore:The bins of the record")
@pytest.mark.parametrize("scheme", [SPLITTING, ROUCHON], ids=repr)
@pytest.mark.parametrize("case", CASES)
def test_one_step_per_bin__the_states_that_simulate_had(case, scheme):
    system, unraveling, level = CASES[case]
    if system is DRIVEN and scheme == ROUCHON:
        pytest.skip("not offered")
    options = {"level": level, "scheme": scheme, "step": 1.0, "observables": system.observables, "states": True}
    times = TIMES[:11] if system is DRIVEN else TIMES  # a plan of a driven system for every stretch of bins takes long
    data = ba.simulate(system, unraveling, times, 9, seed=1, progress=False, **options)
    found = ba.condition(system, unraveling, data, max_error=np.inf, progress=False, **options)
    for name in found.data_vars:
        if str(name).startswith("expect_"):
            np.testing.assert_allclose(found[name], data[name], rtol=0, atol=1e-10)
    np.testing.assert_allclose(states_of(found), states_of(data), rtol=0, atol=1e-10)
    if level == "ket":  # the density matrix of a pure state takes the same path up to the order of the step
        options["level"] = "density"
        mixed = ba.condition(system, unraveling, data, max_error=np.inf, progress=False, **options)
        tolerance = 3e-3 if scheme == SPLITTING else 3e-2
        assert abs(states_of(mixed) - states_of(data)).max() < tolerance
        assert abs(mixed["log_likelihood"] - found["log_likelihood"]).max() < tolerance
    wrong = ba.Unraveling(
        ba.unravelings.detectors.Detector(d.kind, d.channels, 0.5 * d.efficiency, d.phase, d.dark_rate)
        for d in unraveling.detectors
    )
    spoiled = ba.condition(system, wrong, data, max_error=np.inf, progress=False, **{**options, "level": "density"})
    assert abs(states_of(spoiled) - states_of(data)).max() > 3e-4


@pytest.mark.parametrize("case", ["all kinds", "not commuting"])
def test_same_bits__however_the_work_is_cut(case, monkeypatch):
    system, unraveling, level = CASES[case]
    data = ba.simulate(system, unraveling, TIMES / 2, 11, seed=2, progress=False)
    options = {"level": level, "step": 0.005, "observables": system.observables, "states": True, "progress": False}
    first = ba.condition(system, unraveling, data, seed=0, **options)
    threads = ba.condition(system, unraveling, data, seed=0, n_jobs=2, **options)
    monkeypatch.setattr(ensemble, "BLOCK_WORK", 1.0)
    slices = ba.condition(system, unraveling, data, seed=0, **options)
    assert first.identical(threads)
    assert first.identical(slices)


def as_arrays(data):
    """A dataset's record as plain arrays."""
    edges = np.append(data["bin"] - data["bin_width"] / 2, data["bin"][-1] + data["bin_width"][-1] / 2)
    record = {"times": edges}
    for name in map(str, data.data_vars):
        if name.startswith("current_"):
            record[name] = data[name].values
        elif name.startswith("click_time_"):
            counts = data[name.replace("time", "count")].values
            record[name] = np.split(data[name].values, np.cumsum(counts)[:-1])
    return record


def test_plain_arrays():
    system, unraveling, _ = CASES["not commuting"]
    data = ba.simulate(system, unraveling, TIMES, 5, seed=2, progress=False, observables=("sz_a",))
    options = {"observables": ("sz_a",), "progress": False, "seed": 0}
    expected = ba.condition(system, unraveling, data, **options)
    record = as_arrays(data)
    found = ba.condition(system, unraveling, record, **options)
    for name in ("expect_sz_a", "log_likelihood"):  # edges that come from centres and widths are rounded
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-10)
    one = {k: v if k == "times" else v[3] for k, v in record.items()}
    alone = ba.condition(system, unraveling, one, **options)
    np.testing.assert_allclose(alone["log_likelihood"], expected["log_likelihood"][[3]], rtol=0, atol=1e-10)


def test_counts_without_times():
    """Times are drawn inside their bins: of narrow ones, almost the same states; the same seed, the same times."""
    system, unraveling = QUBIT, Jumps("loss", efficiency=0.8)
    times = np.linspace(0, 4, 401)
    data = ba.simulate(system, unraveling, times, 8, seed=3, progress=False)
    options = {"observables": ("excited",), "progress": False}
    exact = ba.condition(system, unraveling, data, **options)
    counts = {"times": times, "counts_loss": data["counts_loss"].values}
    found, again, other = (ba.condition(system, unraveling, counts, seed=s, **options) for s in (0, 0, 1))
    assert found.identical(again)
    assert 0 < abs(found["expect_excited"] - other["expect_excited"]).max() < 0.05
    assert 0 < abs(found["expect_excited"] - exact["expect_excited"]).max() < 0.05
    assert 0 < found.attrs["bin_error"] < 0.01
    assert exact.attrs["bin_error"] == 0


def test_long_wait_for_a_click__exact():
    """Between clicks, what counters miss refills the states: its errors must decay like the states themselves."""
    rng = np.random.default_rng(4)
    d, efficiency, times = 6, 0.35, np.linspace(0, 12, 4)
    H, K = rng.normal(size=(2, d, d)) + 1j * rng.normal(size=(2, d, d))
    H, K = H + H.conj().T, 7.5 * K / np.linalg.norm(K)
    system = ba.System(H, {"loss": K}, initial=np.diag(np.arange(d) / 15.0))
    detector, record = Jumps("loss", efficiency=efficiency), {"times": times, "counts_loss": np.zeros((1, 3))}
    found = ba.condition(system, detector, record, states=True, progress=False, seed=0)["state"].values[0]
    A, one = -1j * H - 0.5 * K.conj().T @ K, np.eye(d)
    no_click = np.kron(A, one) + np.kron(one, A.conj()) + (1 - efficiency) * np.kron(K, K.conj())
    for t, state in zip(times, found, strict=True):
        expected = (expm(t * no_click) @ np.diag(np.arange(d) / 15.0).ravel()).reshape(d, d)
        np.testing.assert_allclose(state, expected / np.trace(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_bins", [1, 40])
@pytest.mark.parametrize("level", ["ket", "density"])
def test_very_long_wait_for_a_click__likelihood(level, n_bins):
    """A click after a time in which the model expects thousands: neither states nor likelihoods underflow."""
    rate, T = 2000.0, 2.0
    channels = {"loss": np.sqrt(rate) * np.diag([1.0, 0.0]), "flip": 0.1 * np.array([[0, 1], [1, 0]])}
    system = ba.System(np.zeros((2, 2)), channels, {"z": np.diag([1.0, -1.0])}, initial=[1.0, 0.0])
    record = {"times": np.linspace(0, T, n_bins + 1), "click_time_loss": [[1.99]], "click_time_flip": [[]]}
    options = {"level": level, "observables": ("z",), "progress": False}
    found = ba.condition(system, Jumps("loss") + Jumps("flip"), record, **options)
    assert float(found["log_likelihood"][0]) == pytest.approx(2 * T + np.log(rate) - (rate + 0.01) * T, rel=1e-9)
    np.testing.assert_allclose(found["expect_z"], 1.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("level", ["ket", "density"])
def test_likelihood_beyond_the_range_of_doubles__beside_currents(level):
    """Of steps whose ratios are fine, but not the product of some: a current far from what the model expects."""
    c, current, dt, n_steps = 1.0, -2e4, 0.05, 100
    system = ba.System(np.zeros((2, 2)), {"x": c * np.diag([1.0, -1.0])}, initial=[1.0, 0.0])
    record, options = {"times": [0.0, n_steps * dt], "current_x": [current]}, {"level": level, "progress": False}
    found = ba.condition(system, Homodyne("x"), record, step=dt, max_error=np.inf, **options)
    K0, K1, K2 = np.exp(-0.5 * c**2 * dt), c * np.exp(-0.5 * c**2 * dt), 0.5 * c**2 * np.exp(-0.5 * c**2 * dt)
    S = K0**2 + dt * K1**2 + 2 * dt**2 * K2**2
    step = np.log((K0 + current * dt * K1 + ((current * dt) ** 2 - dt) * K2) ** 2 / S)
    assert n_steps * step == pytest.approx(float(found["log_likelihood"][0]), rel=1e-9)


def test_excluded_clicks__to_rounding():
    v, w = np.array([1, np.sqrt(2)]) / np.sqrt(3), np.array([np.sqrt(2), -1]) / np.sqrt(3)
    system = ba.System(np.zeros((2, 2)), {"loss": np.outer(v, w)}, initial=v)
    record = {"times": [0.0, 1.0], "click_time_loss": [0.5]}
    for level in ("ket", "density"):
        with pytest.raises(ValueError, match="excludes a click"):
            ba.condition(system, Jumps("loss"), record, level=level, progress=False)


def test_parts_of_records():
    """A stretch of the bins is a record; bins with a gap are not, and saved times are not edges by their number."""
    times = np.linspace(0, 1, 101)
    options = {"observables": ("excited",), "progress": False}
    data = ba.simulate(QUBIT, Homodyne("loss"), times, 3, seed=1, save_every=10, step=1.0, **options)
    part = data.isel(bin=slice(0, 10))
    assert part.sizes["time"] == part.sizes["bin"] + 1
    found = ba.condition(QUBIT, Homodyne("loss"), part, step=1.0, **options)
    np.testing.assert_allclose(found["time"], times[:11], atol=1e-12)
    np.testing.assert_allclose(found["expect_excited"][:, -1], data["expect_excited"][:, 1], rtol=0, atol=1e-10)
    clicks = Jumps("loss", efficiency=0.7)
    data = ba.simulate(QUBIT, clicks, np.linspace(0, 6, 61), 6, seed=2, states=True, level="density", **options)
    whole = ba.condition(QUBIT, clicks, data, **options)
    assert len(set(data["click_count_loss"].values)) > 2
    for chosen in ([4], [5, 1, 3], [0, 2]):
        some = ba.condition(QUBIT, clicks, data.isel(trajectory=chosen), **options)
        np.testing.assert_array_equal(some["log_likelihood"], whole["log_likelihood"][chosen])
    begin = data.isel(bin=slice(20), time=slice(21))
    late = ba.condition(QUBIT, clicks, data.isel(bin=slice(20, 50)), initial=begin, **options)
    np.testing.assert_allclose(late["expect_excited"], data["expect_excited"][:, 20:51], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="do not belong together"):
        ba.condition(QUBIT, clicks, data.drop_vars("click_start_loss").isel(trajectory=[4]), **options)
    data = ba.simulate(QUBIT, Homodyne("loss"), times, 3, seed=1, **options)
    for gap in (data.isel(bin=[*range(60), *range(61, 100)]), data.isel(bin=slice(None, None, 2))):
        with pytest.raises(ValueError, match="follow each other"):
            ba.condition(QUBIT, Homodyne("loss"), gap, **options)


@pytest.mark.parametrize("driven", [False, True])
def test_two_widths__state_vectors_and_density_matrices_agree(driven):
    """Clicks beside diffusive detection: the plan of each width has elements of its own."""
    a = ba.Boson("a", 16)
    x = a.a + a.a.dag()
    H = [0.3 * a.n, (x, np.cos)] if driven else 0.3 * a.n + 0.5 * x
    system = ba.System(H, {"loss": a.a, "x": 0.5 * x})
    unraveling = ba.QuantumJumps("loss") + Homodyne("x")
    times = np.concatenate([np.linspace(0, 0.5, 51), 0.5 + 0.02 * np.arange(1, 26)])
    options = {"states": True, "step": 1.0, "progress": False, "seed": 1}
    data = ba.simulate(system, unraveling, times, 8, initial={"a": ba.coherent(1.5)}, level="ket", **options)
    assert (data["click_time_loss"].values > 0.5).sum() > 5
    again = ba.condition(system, unraveling, data, initial={"a": ba.coherent(1.5)}, level="density", **options)
    psi = data["state"].values
    assert abs(psi[..., :, None] * psi[..., None, :].conj() - again["state"].values).max() < 1e-8


def test_wide_bins():
    system, unraveling = driven_qubit(rabi=5.0, gamma=1.0), Homodyne("loss", phase=np.pi / 2)
    data = ba.simulate(system, unraveling, np.linspace(0, 2, 41), 4, seed=4, progress=False, step=0.005)
    with pytest.warns(RuntimeWarning, match="The bins of the record leave an error of .*%") as caught:
        found = ba.condition(system, unraveling, data, seed=0, progress=False)
    assert caught[0].filename == __file__
    assert 0.01 < found.attrs["bin_error"] < 0.1
    with pytest.raises(ValueError, match=r"bins too wide .* Record with narrower bins, or accept it with max_error=0"):
        ba.condition(system, unraveling, data, max_error=0.005, seed=0, progress=False)
    wider = ba.simulate(system, unraveling, np.linspace(0, 4, 14), 4, seed=4, progress=False, step=0.005)
    with pytest.raises(ValueError, match="bins too wide"):  # 10 %, unless asked otherwise
        ba.condition(system, unraveling, wider, seed=0, progress=False)


# === what is refused

EDGES = np.linspace(0, 0.1, 6)
CURRENT = np.zeros((3, 5))


def changed(**changes):
    return {k: v for k, v in {"times": EDGES, "current_loss": CURRENT, **changes}.items() if v is not None}


@pytest.mark.parametrize(
    "detector, record, message",
    [
        (Homodyne, CURRENT, 'must be a dataset of `simulate` or a mapping with "times" .* but is ndarray'),
        (Homodyne, changed(times=None), 'must hold the bin edges as "times"'),
        (Homodyne, changed(times=EDGES[::-1]), "`times` must increase strictly"),
        (Homodyne, changed(current_loss=None), r"must hold 'current_loss' for the homodyne detector of loss, but has"),
        (
            Homodyne,
            changed(current_loss=CURRENT[:, 1:]),
            r"\(n_bins,\) or \(ntraj, n_bins\) with 5 bins.*\(3, 4\)",
        ),
        (Homodyne, changed(current_loss=CURRENT[:, :, None]), "must have shape"),
        (Homodyne, changed(current_loss=CURRENT.astype(str)), "of type <U"),
        (Homodyne, changed(current_loss=CURRENT + np.nan), "must be finite, but holds NaN or infinity"),
        (Homodyne, changed(current_loss=CURRENT + 0j), "must be real for a homodyne detector"),
        (Homodyne, changed(current_loss=CURRENT[:0]), "must hold at least one record"),
        (Heterodyne, changed(), "must be complex for a heterodyne detector"),
        (Jumps, changed(), "must hold 'click_time_loss' or 'counts_loss' for the counter of loss"),
        (Jumps, changed(click_time_loss=[0.05, 0.1]), r"must lie in \[0, 0.1\), but reaches from 0.05 to 0.1"),
        (Jumps, changed(click_time_loss=[-0.1]), "but reaches from -0.1"),
        (Jumps, changed(click_time_loss=[np.nan]), "must hold finite times"),
        (Jumps, changed(counts_loss=CURRENT[:, 1:]), "must have shape"),
        (Jumps, changed(counts_loss=CURRENT - 1), "must hold integers >= 0"),
        (Jumps, changed(counts_loss=CURRENT + 0.5), "must hold integers >= 0"),
        (Jumps, changed(click_time_loss=[0.01, 0.01]), "the model excludes a click of record 0"),
    ],
)
def test_bad_records(detector, record, message):
    with pytest.raises(ValueError, match=message):
        ba.condition(QUBIT, detector("loss"), record, progress=False)


def test_bad_records__datasets():
    data = ba.simulate(QUBIT, Homodyne("loss"), EDGES, 2, seed=0, progress=False)
    with pytest.raises(ValueError, match="must have the coordinates 'bin' and 'bin_width'"):
        ba.condition(QUBIT, Homodyne("loss"), data.drop_vars("bin_width"), progress=False)


def test_bad_records__different_numbers():
    record = {"times": EDGES, "current_loss_a": CURRENT, "current_loss_b": CURRENT[:2]}
    with pytest.raises(ValueError, match=r"as many records of every detector, but has .*: 3, .*: 2"):
        ba.condition(SPINS, Homodyne("loss_a", "loss_b"), record, progress=False)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"system": None}, "`system` must be a backaction System"),
        ({"unraveling": None}, "must have a recorded detector"),
        ({"unraveling": Homodyne("loss", recorded=False)}, "must have a recorded detector"),
        ({"unraveling": Homodyne("pump")}, "must be one of the system's channels"),
        ({"level": "ket", "unraveling": Homodyne("loss", efficiency=0.5)}, '`level` must be "density"'),
        ({"initial": np.eye(2)[None].repeat(2, 0) / 2}, "holds 2 states, but `ntraj` is 3"),
        ({"step": 0.0}, "`step` must be a positive time"),
    ],
)
def test_bad_input(change, message):
    arguments = {"system": QUBIT, "unraveling": Homodyne("loss"), "record": changed(), **change}
    with pytest.raises(ValueError, match=message):
        ba.condition(progress=False, **arguments)


def test_likelihood_of_long_records():
    """Its logarithm is taken before it leaves the range of doubles, however many clicks are in a bin."""
    system, times = qnd_qubit(1.0), np.linspace(0, 5, 6)
    clicks = 0.0005 + 0.001 * np.arange(5000)
    found = ba.condition(
        system, Jumps("probe", dark_rate=1e-3), {"times": times, "click_time_probe": clicks}, progress=False
    )
    assert float(found["log_likelihood"][0]) == pytest.approx(5000 * np.log(1.001) - 0.001 * 5, abs=1e-8)
    assert ba.condition(
        system, Jumps("probe", efficiency=1e-9, dark_rate=1e-12), {"times": times, "click_time_probe": clicks},
        progress=False,
    )["log_likelihood"][0] == pytest.approx(5000 * np.log(1.001e-9) + 5, rel=1e-9)  # fmt: skip
