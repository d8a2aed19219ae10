"""`simulate`: what goes in, what comes out, and under which name."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import qutip
import scipy.linalg as la
import xarray as xr

import backaction as ba
from backaction.systems import Basis, Boson, Spin, System, damped_cavity, driven_qubit, two_spins, vdp
from trajectories.one_step import liouvillian

QUBIT = driven_qubit(rabi=2.0, gamma=1.0)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
ALL = ba.Heterodyne("loss_a", "loss_b") + ba.QuantumJumps("pump_a", "pump_b", "coupling")
TIMES = np.linspace(0, 1, 6)


def simulate(*args, **options):
    return ba.simulate(*args, **{"seed": 5, "progress": False, **options})


def propagated(system, rho, times):
    """e^{𝓛t}ρ of the lowered matrices at every time."""
    lowered = system.lower()
    L = liouvillian(lowered.H.toarray(), [c.toarray() for c in lowered.channels.values()])
    rho = np.outer(rho, rho.conj()) if rho.ndim == 1 else rho
    return [(la.expm(L * (t - times[0])) @ rho.reshape(-1)).reshape(rho.shape) for t in times]


# --- layout of the data


def test_dims_coordinates_and_names():
    unraveling = ba.Heterodyne("loss_a") + ba.Homodyne("loss_b") + ba.QuantumJumps("coupling", ("pump_a", "pump_b"))
    data = simulate(SPINS, unraveling, TIMES, ntraj=3, observables=("sz_a", "coherence"), states=True, level="density")
    assert isinstance(data, xr.Dataset)
    expected = {
        "current_loss_a": ("trajectory", "bin"),
        "current_loss_b": ("trajectory", "bin"),
        "counts_coupling": ("trajectory", "bin"),
        "click_time_coupling": ("click_coupling",),
        "click_count_coupling": ("trajectory",),
        "click_start_coupling": ("trajectory",),
        "counts_pump_a_pump_b": ("trajectory", "bin"),
        "click_time_pump_a_pump_b": ("click_pump_a_pump_b",),
        "click_count_pump_a_pump_b": ("trajectory",),
        "click_start_pump_a_pump_b": ("trajectory",),
        "expect_sz_a": ("trajectory", "time"),
        "expect_coherence": ("trajectory", "time"),
        "state": ("trajectory", "time", "row", "column"),
    }
    assert {name: v.dims for name, v in data.data_vars.items()} == expected
    assert data.sizes["trajectory"] == 3
    assert data.sizes["row"] == data.sizes["column"] == 4
    np.testing.assert_array_equal(data["trajectory"], [0, 1, 2])
    np.testing.assert_array_equal(data["time"], TIMES)
    np.testing.assert_allclose(data["bin"], 0.5 * (TIMES[1:] + TIMES[:-1]), rtol=1e-15)
    np.testing.assert_array_equal(data["bin_width"], np.diff(TIMES))


def test_types_follow_the_detector_and_the_operator():
    unraveling = ba.Heterodyne("loss_a") + ba.Homodyne("loss_b") + ba.QuantumJumps("coupling")
    data = simulate(SPINS, unraveling, TIMES, ntraj=2, observables=("sz_a", "sp_a"), states=True)
    assert data["current_loss_a"].dtype == complex
    assert data["current_loss_b"].dtype == float
    assert data["counts_coupling"].dtype.kind == "i"
    assert data["click_count_coupling"].dtype.kind == "i"
    assert data["click_time_coupling"].dtype == float
    assert data["expect_sz_a"].dtype == float
    assert data["expect_sp_a"].dtype == complex
    assert data["state"].dtype == complex
    for variable in data.data_vars.values():
        assert np.all(np.isfinite(variable))
        assert variable.attrs["long_name"]


def test_conventions_are_written_down():
    data = simulate(
        SPINS,
        ba.Homodyne("loss_a", phase=0.3, efficiency=0.7) + ba.QuantumJumps("loss_b", efficiency=0.6, dark_rate=0.2),
        TIMES,
        observables=["sz_a"],
    )
    current, clicks = data["current_loss_a"].attrs, data["click_time_loss_b"].attrs
    assert (current["efficiency"], current["phase"]) == (0.7, 0.3)
    assert "dW" in current["convention"]
    assert (clicks["efficiency"], clicks["dark_rate"]) == (0.6, 0.2)
    assert clicks["sample_dimension"] == "click_loss_b"
    assert data["click_count_loss_b"].attrs["sample_dimension"] == "click_loss_b"
    for name in ("time", "bin"):
        assert data[name].attrs["units"]
    assert data["expect_sz_a"].attrs["conditioned_on"] == "record"


def test_recipe_and_seed():
    data = simulate(SPINS, ALL, TIMES, ntraj=2, seed=2**70 + 3, step=0.05, save_every=2, observables=["sz_a"])
    assert int(data.attrs["seed"]) == 2**70 + 3
    recipe = json.loads(data.attrs["recipe"])
    assert recipe["system"] == {"name": "two_spins", "parameters": dict(SPINS.parameters)}
    assert recipe["seed"] == 2**70 + 3
    assert recipe["ntraj"] == 2
    assert recipe["save_every"] == 2
    assert recipe["step"] == 0.05
    assert recipe["observables"] == ["sz_a"]
    assert set(recipe["versions"]) >= {"backaction", "numpy", "numba"}
    assert "two_spins" in data.attrs["title"]
    assert data.attrs["interrupted"] == 0


def test_no_seed_is_a_fresh_seed_that_is_kept():
    one, two = (simulate(QUBIT, ba.Homodyne("loss"), TIMES, seed=None) for _ in range(2))
    assert one.attrs["seed"] != two.attrs["seed"]
    again = simulate(QUBIT, ba.Homodyne("loss"), TIMES, seed=int(one.attrs["seed"]))
    np.testing.assert_array_equal(again["current_loss"], one["current_loss"])


def test_edges_of_the_basis_are_reported():
    system = vdp(kappa1=0.5, kappa2=1.0, kappa=1.0, levels=8)
    data = simulate(system, ba.Heterodyne("loss"), TIMES, ntraj=3)
    assert data["edge_population"].attrs["edges"] == "a"
    assert data["edge_population"].dims == ("trajectory", "edge")
    assert float(data["edge_population"].max()) < 2e-3
    assert "edge_population" not in simulate(QUBIT, ba.Homodyne("loss"), TIMES)
    # by hand: the mean population of the top level at the end of every bin
    states = simulate(system, ba.Heterodyne("loss"), TIMES, ntraj=3, states=True, level="ket")["state"]
    top = (abs(states[:, 1:, -1]) ** 2).mean("time")
    np.testing.assert_allclose(data["edge_population"][:, 0], top, rtol=1e-9, atol=1e-18)


# --- warnings with the remedy


def test_a_populated_edge_is_reported_with_the_remedy():
    cavity = damped_cavity(kappa=1.0, drive=0.8, levels=4)
    with pytest.warns(RuntimeWarning, match="edge 'a' holds .* raise its levels"):
        simulate(cavity, ba.Heterodyne("loss"), np.linspace(0, 4, 5), ntraj=2)


def test_a_coarse_step_is_reported_with_the_remedy():
    with pytest.warns(RuntimeWarning, match=r"step 0\.5 is coarse: .* Pass step=0\.\d+ or less"):
        simulate(driven_qubit(2.0, 3.0), ba.Homodyne("loss"), np.linspace(0, 2, 5), ntraj=16, step=0.5)


def test_the_step_of_the_remedy_is_not_coarse():
    system = driven_qubit(2.0, 3.0)
    with pytest.warns(RuntimeWarning) as caught:
        simulate(system, ba.Homodyne("loss"), np.linspace(0, 2, 5), ntraj=16, step=0.5)
    step = float(str(caught[0].message).split("step=")[1].split()[0])
    simulate(system, ba.Homodyne("loss"), np.linspace(0, 2, 5), ntraj=16, step=step)


def test_a_step_that_loses_the_state_says_so():
    a = Boson("a", 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((FloatingPointError, ValueError), match="step"):
            simulate(System(0 * a.n, {"loss": 1e3 * a.a}), ba.Heterodyne("loss"), [0, 1], step=1.0)


# --- the level that is chosen

KET, DENSITY = "ket", "density"
PLUS = np.array([1, 1]) / np.sqrt(2)


@pytest.mark.parametrize(
    "unraveling, options, level, complete, prefix",
    [
        (ba.Homodyne("loss"), {"observables": ["sx"]}, KET, 1, "expect"),
        (ba.Homodyne("loss"), {}, KET, 1, None),
        (ba.Homodyne("loss"), {"states": True}, KET, 1, None),
        (ba.Homodyne("loss", efficiency=0.5), {}, KET, 0, None),
        (ba.Homodyne("loss", efficiency=0.5), {"observables": ["sx"]}, DENSITY, 0, "expect"),
        (ba.Homodyne("loss", efficiency=0.5), {"states": True}, DENSITY, 0, None),
        (ba.Homodyne("loss", efficiency=0.5), {"observables": ["sx"], "level": "ket"}, KET, 0, "hidden"),
        (ba.Homodyne("loss", efficiency=0.5), {"observables": ["sx"], "level": ba.Ket()}, KET, 0, "hidden"),
        (ba.Homodyne("loss"), {"observables": ["sx"], "level": "density"}, DENSITY, 1, "expect"),
        (ba.Homodyne("loss"), {"observables": ["sx"], "level": ba.Density()}, DENSITY, 1, "expect"),
        (ba.Homodyne("loss"), {"observables": ["sx"], "initial": np.eye(2) / 2}, DENSITY, 0, "expect"),
        (ba.Homodyne("loss"), {"initial": np.eye(2) / 2}, KET, 0, None),
        (
            ba.Homodyne("loss"),
            {"observables": ["sx"], "initial": np.eye(2) / 2, "level": "ket"},
            KET,
            0,
            "hidden",
        ),
        (ba.QuantumJumps("loss", dark_rate=0.3), {"observables": ["sx"]}, DENSITY, 0, "expect"),
        (ba.QuantumJumps("loss", dark_rate=0.3), {}, KET, 0, None),
        (ba.Heterodyne("loss", recorded=False), {"observables": ["sx"]}, KET, 0, "hidden"),
        (
            ba.Heterodyne("loss", recorded=False),
            {"observables": ["sx"], "level": "density"},
            DENSITY,
            0,
            "expect",
        ),
        (None, {"observables": ["sx"]}, DENSITY, 0, "expect"),
        (None, {"observables": ["sx"], "level": "ket"}, KET, 0, "hidden"),
        (None, {"states": True}, DENSITY, 0, None),
    ],
)
def test_level_and_names(unraveling, options, level, complete, prefix):
    data = simulate(QUBIT, unraveling, TIMES, ntraj=2, **options)
    assert data.attrs["level"] == level
    assert data.attrs["complete"] == complete
    for other in ("expect", "hidden"):
        assert (f"{other}_sx" in data) == (other == prefix)
    if prefix:
        conditioned = data[f"{prefix}_sx"].attrs["conditioned_on"]
        assert ("hidden" in conditioned) == (prefix == "hidden")
    if options.get("states"):
        assert data["state"].dims[2:] == (("level",) if level == KET else ("row", "column"))


def test_every_channel_must_be_watched_alone_for_a_run_to_be_complete():
    assert simulate(SPINS, ALL, TIMES).attrs["complete"] == 1
    assert simulate(SPINS, ba.Heterodyne("loss_a"), TIMES).attrs["complete"] == 0
    joined = ba.Heterodyne("loss_a", "loss_b", "coupling") + ba.QuantumJumps(("pump_a", "pump_b"))
    assert simulate(SPINS, joined, TIMES).attrs["complete"] == 0
    assert simulate(SPINS, joined, TIMES, observables=["sz_a"]).attrs["level"] == DENSITY


def test_a_channel_of_rate_zero_need_not_be_watched():
    uncoupled = two_spins(0.5, 1.0, 0.0, 0.5)
    watched = ba.Heterodyne("loss_a", "loss_b", "pump_a", "pump_b")
    assert simulate(uncoupled, watched, TIMES).attrs["complete"] == 1
    # and if it is watched, it gives pure noise
    data = simulate(uncoupled, watched + ba.Homodyne("coupling"), TIMES, ntraj=64)
    assert float(data["current_coupling"].var()) * 0.2 == pytest.approx(1, abs=0.25)


def test_the_basis_of_a_level_overrides_the_systems():
    system = damped_cavity(kappa=1.0, levels=5)
    for level in (ba.Ket(basis=Basis(levels={"a": 3})), ba.Density(basis=Basis(levels={"a": 3}))):
        data = simulate(system, ba.Heterodyne("loss"), TIMES, level=level, states=True)
        assert data["state"].shape[-1] == 3
    assert simulate(system, ba.Heterodyne("loss"), TIMES, states=True)["state"].shape[-1] == 5


# --- initial states


@pytest.mark.parametrize("level", [KET, DENSITY])
def test_kinds_of_initial_states(level):
    ket = ba.spin(1.0, 0.4).lower(Spin("s"), 2)
    kinds = [{"s": ba.spin(1.0, 0.4)}, ket, ket[:, None], qutip.Qobj(ket), list(ket)]
    kinds += [np.outer(ket, ket.conj()), qutip.Qobj(np.outer(ket, ket.conj()))]
    options = {"observables": ["sx", "sy", "sz"], "level": level, "ntraj": 3}
    runs = [simulate(QUBIT, ba.Homodyne("loss"), TIMES, initial=k, **options) for k in kinds]
    for run in runs[1:]:
        np.testing.assert_allclose(run["current_loss"], runs[0]["current_loss"], atol=1e-12)
    prefix = "expect" if "expect_sx" in runs[0] else "hidden"
    start = [float(runs[0][f"{prefix}_s{i}"][0, 0]) for i in "xyz"]
    expected = [np.sin(1) * np.cos(0.4), np.sin(1) * np.sin(0.4), np.cos(1)]
    np.testing.assert_allclose(start, expected, atol=1e-12)


def test_default_initial_state_is_the_systems_then_the_ground_state():
    assert float(simulate(QUBIT, ba.Homodyne("loss"), TIMES, observables=["sz"])["expect_sz"][0, 0]) == -1
    qnd = ba.systems.qnd_qubit(1.0)
    start = simulate(qnd, ba.Homodyne("probe"), TIMES, observables=["sx"])["expect_sx"][0, 0]
    assert float(start) == pytest.approx(1)


@pytest.mark.parametrize("ntraj", [2, 3, 4, 5, 18])
@pytest.mark.parametrize("level", [KET, DENSITY])
def test_one_ket_per_trajectory(level, ntraj):
    """4 is the dimension: (ntraj, d) must not be read as a density matrix."""
    kets = np.random.default_rng(0).normal(size=(ntraj, 4, 2)) @ [1, 1j]
    kets /= np.linalg.norm(kets, axis=1, keepdims=True)
    data = simulate(SPINS, ALL, TIMES, ntraj=ntraj, initial=kets, states=True, level=level)
    start = data["state"].values[:, 0]
    expected = kets if level == KET else np.einsum("ij,ik->ijk", kets, kets.conj())
    np.testing.assert_allclose(start, expected, atol=1e-14)
    # trajectory k with state k is the run of that state alone with the same seed
    one = simulate(SPINS, ALL, TIMES, ntraj=ntraj, initial=kets[1], level=level)
    np.testing.assert_allclose(one["current_loss_a"][1], data["current_loss_a"][1], atol=1e-12)


def test_one_density_matrix_per_trajectory():
    rho = np.array([np.diag([p, 1 - p]) for p in (0.1, 0.5, 1.0)])
    data = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=3, initial=rho, observables=["excited"])
    assert data.attrs["level"] == DENSITY
    np.testing.assert_allclose(data["expect_excited"][:, 0], [0.1, 0.5, 1.0], atol=1e-15)


@pytest.mark.parametrize("ntraj", [1, 2, 3])
@pytest.mark.parametrize(
    "unraveling, level",
    [(ba.Homodyne("loss"), KET), (ba.Homodyne("loss", efficiency=0.5), DENSITY), (ba.QuantumJumps("loss"), KET)],
)
def test_a_dataset_is_continued_from_its_last_state(unraveling, level, ntraj):
    options = {"ntraj": ntraj, "observables": ["sx", "sz"], "states": True}
    first = simulate(QUBIT, unraveling, np.linspace(0, 1, 4), **options)
    assert first.attrs["level"] == level
    second = simulate(QUBIT, unraveling, np.linspace(1, 2, 3), initial=first, **{**options, "seed": 6})
    np.testing.assert_allclose(second["state"][:, 0], first["state"][:, -1], atol=1e-14)
    np.testing.assert_allclose(second["expect_sx"][:, 0], first["expect_sx"][:, -1], atol=1e-14)
    whole = xr.concat([first[["expect_sx"]], second[["expect_sx"]].isel(time=slice(1, None))], "time")
    assert whole.sizes["time"] == 6
    assert whole.indexes["time"].is_monotonic_increasing


def test_a_ket_dataset_can_be_continued_as_density_matrices():
    first = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=3, states=True, observables=["sx"])
    second = simulate(QUBIT, None, TIMES + 1, ntraj=3, initial=first, seed=2, observables=["sx"])
    np.testing.assert_allclose(second["expect_sx"][:, 0], first["expect_sx"][:, -1], atol=1e-14)


def test_steady_is_the_unconditional_steady_state():
    data = simulate(SPINS, None, TIMES, initial="steady", observables=["sz_a", "coherence"])
    for name in ("expect_sz_a", "expect_coherence"):
        np.testing.assert_allclose(data[name][0], data[name][0, 0], atol=1e-10)
    # the physics notes, section 3, V = 1, δ = 0.5
    assert complex(data["expect_coherence"][0, 0]) == pytest.approx(-0.05084746 - 0.01016949j, abs=1e-7)


def test_steady_at_ket_is_drawn_from_the_mixture():
    ntraj = 4000
    data = simulate(
        SPINS, ba.QuantumJumps("loss_a"), [0, 1e-3], ntraj=ntraj, initial="steady", observables=["sz_a"],
        level="ket",
    )  # fmt: skip
    exact = float(simulate(SPINS, None, [0, 1], initial="steady", observables=["sz_a"])["expect_sz_a"][0, 0])
    start = data["hidden_sz_a"][:, 0]
    assert len(np.unique(np.round(start, 9))) <= 4
    assert abs(float(start.mean()) - exact) <= 4 * float(start.std()) / np.sqrt(ntraj)


@pytest.mark.parametrize("initial", [np.diag([0.25, 0.75]), qutip.Qobj(np.diag([0.25, 0.75]))])
def test_a_mixed_initial_state_at_ket_is_drawn_from_its_eigenvectors(initial):
    ntraj = 2000
    data = simulate(
        QUBIT, ba.QuantumJumps("loss"), [0, 0.1], ntraj=ntraj, initial=initial, observables=["excited"],
        level="ket",
    )  # fmt: skip
    start = data["hidden_excited"][:, 0].values
    assert set(np.round(start, 12)) == {0.0, 1.0}
    assert abs(start.mean() - 0.25) <= 4 * np.sqrt(0.25 * 0.75 / ntraj)


# --- time axis


def test_save_every_keeps_every_nth_edge():
    options = {"ntraj": 3, "observables": ["sx", "sz"], "states": True}
    every = simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 2, 11), **options)
    for n, level in ((1, KET), (3, KET), (10, KET), (3, DENSITY), (12, KET)):
        kept = simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 2, 11), save_every=n, level=level, **options)
        np.testing.assert_array_equal(kept["time"], every["time"][::n])
        assert kept.sizes["bin"] == 10
        if level == KET:  # to rounding: at an edge that nobody looks at, two half slots are one
            np.testing.assert_allclose(kept["current_loss"], every["current_loss"], atol=1e-11)
            np.testing.assert_allclose(kept["expect_sx"], every["expect_sx"][:, ::n], atol=1e-11)
            np.testing.assert_allclose(kept["state"], every["state"][:, ::n], atol=1e-11)
        else:
            assert kept["state"].shape == (3, 4, 2, 2)


@pytest.mark.parametrize("level", [KET, DENSITY])
def test_the_record_does_not_depend_on_where_the_bins_lie(level):
    """Bins of two, one, one and three steps on the same path: wide bins are means of the narrow ones."""
    wide = np.array([0.0, 0.4, 0.6, 0.8, 1.4])
    fine = np.linspace(0, 1.4, 8)
    options = {"ntraj": 5, "step": 0.1, "observables": ["sx", "sz"], "level": level}
    unraveling = ba.Homodyne("loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the step is coarse on purpose
        coarse = simulate(QUBIT, unraveling, wide, **options)
        reference = simulate(QUBIT, unraveling, fine, **options)
    np.testing.assert_allclose(coarse["bin_width"], [0.4, 0.2, 0.2, 0.6])
    sums = reference["current_loss"].values * 0.2
    expected = np.stack([sums[:, :2].sum(1), sums[:, 2], sums[:, 3], sums[:, 4:].sum(1)], axis=1) / np.diff(wide)
    np.testing.assert_allclose(coarse["current_loss"], expected, atol=1e-11)
    for name in ("expect_sx", "expect_sz"):
        np.testing.assert_allclose(coarse[name], reference[name][:, [0, 2, 3, 4, 7]], atol=1e-11)


@pytest.mark.parametrize("level", [KET, DENSITY])
def test_clicks_do_not_depend_on_the_bins_when_only_counting(level):
    """Exact click times: no step, no bin enters."""
    unraveling = ba.QuantumJumps("loss", efficiency=1.0 if level == KET else 0.7)
    options = {"ntraj": 6, "observables": ["sx"], "level": level}
    one = simulate(QUBIT, unraveling, np.linspace(0, 6, 7), **options)
    two = simulate(QUBIT, unraveling, [0, 0.3, 1, 2, 2.71, 5, 6], **options)
    assert one["click_time_loss"].size > 5
    np.testing.assert_array_equal(one["click_count_loss"], two["click_count_loss"])
    np.testing.assert_allclose(one["click_time_loss"], two["click_time_loss"], atol=1e-11)
    shared = {"time": [0, 1, 2, 5, 6]}
    np.testing.assert_allclose(one["expect_sx"].sel(shared), two["expect_sx"].sel(shared), atol=1e-10)


def test_times_may_start_anywhere_and_be_any_sequence():
    for times in ([0, 1, 2], (3, 4.5), range(-2, 1), xr.DataArray([0.0, 0.1])):
        data = simulate(QUBIT, ba.Homodyne("loss"), times, observables=["sx"])
        np.testing.assert_array_equal(data["time"], np.asarray(times, dtype=float))


def test_bins_of_linspace_count_as_equal():
    """Rounding of the edges must not make a plan per bin: 2000 bins, one plan, in no time."""
    data = simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 200, 2001))
    assert data.sizes["bin"] == 2000
    from backaction.trajectories.arguments import stretches as _runs

    assert len(_runs(np.linspace(0, 200, 2001))) == 1
    assert len(_runs(np.arange(0, 30, 0.1))) == 1
    assert [r[1] for r in _runs(np.array([0, 1, 2, 2.5, 3, 4, 5]))] == [2, 2, 2]


def test_the_step_divides_the_bins():
    data = simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 1, 4), step=0.1)
    assert data.attrs["step"] == pytest.approx(1 / 12)
    assert simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 1, 11), step=0.1).attrs["step"] == pytest.approx(0.1)


# --- observables


def test_observables_by_name_by_operator_and_by_matrix_agree():
    s = Spin("s")
    by_name = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=2, observables=("sx", "sm"))
    mapping = {"x": 2 * s.sx, "lowering": qutip.sigmam(), "array": np.array([[0, 1], [1, 0]])}
    by_operator = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=2, observables=mapping)
    np.testing.assert_array_equal(by_operator["expect_x"], by_name["expect_sx"])
    np.testing.assert_array_equal(by_operator["expect_array"], by_name["expect_sx"])
    np.testing.assert_array_equal(by_operator["expect_lowering"], by_name["expect_sm"])
    assert by_operator["expect_x"].dtype == float
    assert by_operator["expect_lowering"].dtype == complex
    alone = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=2, observables="sx")
    np.testing.assert_array_equal(alone["expect_sx"], by_name["expect_sx"])


@pytest.mark.parametrize("level", [KET, DENSITY])
def test_observables_are_those_of_the_states(level):
    data = simulate(SPINS, ALL, TIMES, ntraj=3, observables=["sz_a", "coherence"], states=True, level=level)
    lowered = SPINS.lower()
    states = data["state"].values
    for name in ("sz_a", "coherence"):
        O = lowered.observables[name].toarray()
        if level == KET:
            expected = np.einsum("kti,ij,ktj->kt", states.conj(), O, states)
        else:
            expected = np.einsum("ij,ktji->kt", O, states)
        np.testing.assert_allclose(data[f"expect_{name}"], expected, atol=1e-13)
    norms = abs(states**2).sum(-1) if level == KET else np.einsum("ktii->kt", states)
    np.testing.assert_allclose(norms, 1, atol=1e-13)


@pytest.mark.parametrize("level", [KET, DENSITY])
def test_asking_for_observables_does_not_change_the_record(level):
    """To the tolerance of click times beside diffusive detectors: the slots are cut at the edges looked at."""
    options = {"ntraj": 32, "level": level}
    plain = simulate(SPINS, ALL, TIMES, **options)
    rich = simulate(SPINS, ALL, TIMES, observables=["sz_a"], states=True, **options)
    for name in plain.data_vars:
        if "count" in name:
            np.testing.assert_array_equal(plain[name], rich[name])
        else:
            np.testing.assert_allclose(plain[name], rich[name], atol=2e-3 if level == DENSITY else 1e-4)


# --- clicks


@pytest.mark.parametrize(
    "unraveling, options",
    [
        (ALL, {}),
        (ALL, {"level": "density"}),
        (ba.QuantumJumps("loss_a", ("pump_a", "pump_b"), efficiency=0.8, dark_rate=0.5), {}),
        (ba.QuantumJumps("loss_a", "coupling", dark_rate=0.5), {"level": "density"}),
        (ba.QuantumJumps("loss_a") + ba.Homodyne("loss_b"), {"observables": ["sz_a"]}),
    ],
)
def test_ragged_clicks_agree_with_counts(unraveling, options):
    times = np.array([0, 0.5, 1.0, 2.5, 3.0, 6.0])
    data = simulate(SPINS, unraveling, times, ntraj=19, **options)
    for detector in unraveling.detectors:
        if detector.kind != "jumps":
            continue
        name = detector.name
        clicks, per = data[f"click_time_{name}"].values, data[f"click_count_{name}"].values
        assert clicks.size == per.sum() > 10
        starts = np.cumsum([0, *per])
        for k in range(19):
            mine = clicks[starts[k] : starts[k + 1]]
            assert np.all(np.diff(mine) > 0)
            assert np.all((mine >= times[0]) & (mine <= times[-1]))
            counts, _ = np.histogram(mine, bins=times)
            np.testing.assert_array_equal(counts, data[f"counts_{name}"][k])


def test_no_clicks_is_an_empty_list():
    data = simulate(damped_cavity(1.0, levels=3), ba.QuantumJumps("loss"), TIMES, ntraj=3)
    assert data["click_time_loss"].shape == (0,)
    assert data["counts_loss"].values.sum() == 0
    np.testing.assert_array_equal(data["click_count_loss"], [0, 0, 0])


def test_many_clicks_in_one_bin_outgrow_no_buffer():
    data = simulate(QUBIT, ba.QuantumJumps("loss", dark_rate=2000.0), [0, 1], ntraj=2)
    assert np.all(abs(data["click_count_loss"] - 2000) < 6 * np.sqrt(2000))


@pytest.mark.parametrize("level", [KET, DENSITY])
@pytest.mark.parametrize("observables", [(), ("sz_a",)])
def test_clicks_come_until_the_last_edge(level, observables):
    """The last half slot of a run clicks, too, whether or not anybody looks at the state behind it."""
    unraveling = ba.Homodyne("loss_a") + ba.QuantumJumps("loss_b", dark_rate=20.0)
    options = {"ntraj": 400, "step": 0.1, "level": level, "observables": observables}
    for times in ([0, 0.1], [0, 0.1, 0.3, 0.4]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a coarse step makes it visible
            data = simulate(SPINS, unraveling, times, **options)
        rates = data["counts_loss_b"].mean("trajectory") / data["bin_width"]
        np.testing.assert_allclose(rates, 20.2, atol=5 * np.sqrt(20 / 0.1 / 400))


# --- hidden detectors


def test_hidden_detectors_leave_no_record():
    unraveling = ba.Heterodyne("loss_a") + ba.QuantumJumps("pump_a", recorded=False)
    unraveling += ba.Homodyne("loss_b", recorded=False)
    data = simulate(SPINS, unraveling, TIMES, observables=["sz_a"])
    assert {"current_loss_a", "hidden_sz_a"} == set(data.data_vars)


def test_hidden_observables_follow_a_pure_state():
    data = simulate(QUBIT, ba.Homodyne("loss", efficiency=0.4), np.linspace(0, 3, 9), ntraj=8, level="ket",
                    observables=["sx", "sy", "sz"])  # fmt: skip
    bloch2 = sum(data[f"hidden_s{i}"] ** 2 for i in "xyz")
    np.testing.assert_allclose(bloch2, 1, atol=1e-10)
    mixed = simulate(QUBIT, ba.Homodyne("loss", efficiency=0.4), np.linspace(0, 3, 9), ntraj=8,
                     observables=["sx", "sy", "sz"])  # fmt: skip
    assert float(sum(mixed[f"expect_s{i}"] ** 2 for i in "xyz").max()) <= 1 + 1e-12
    assert float(sum(mixed[f"expect_s{i}"] ** 2 for i in "xyz").min()) < 0.9


# --- nothing watched: the master equation


@pytest.mark.parametrize(
    "system",
    [QUBIT, SPINS, vdp(0.5, 1.0, 1.0, omega=0.7, levels=7), damped_cavity(1.0, 1.0, 0.2, 0.05, levels=7)],
    ids=lambda s: s.name,
)
@pytest.mark.parametrize("times", [np.linspace(0, 4, 5), np.array([0.0, 0.3, 1.1, 7.0])], ids=["even", "uneven"])
def test_unwatched_is_the_master_equation(system, times):
    names = list(system.observables)
    data = simulate(system, None, times, observables=names, states=True)
    exact = propagated(system, system.lower().state(), times)
    np.testing.assert_allclose(data["state"][0], exact, atol=1e-11)
    for name in names:
        O = system.lower().observables[name].toarray()
        np.testing.assert_allclose(data[f"expect_{name}"][0], [np.trace(O @ r) for r in exact], atol=1e-10)


def test_unwatched_trajectories_are_all_the_same():
    data = simulate(QUBIT, None, TIMES, ntraj=6, observables=["sz"])
    np.testing.assert_array_equal(data["expect_sz"], np.broadcast_to(data["expect_sz"][0], (6, 6)))


@pytest.mark.parametrize("recorded", [ba.Homodyne("loss", efficiency=0.0), ba.QuantumJumps("loss", efficiency=0.0)])
def test_a_blind_detector_is_the_master_equation_too(recorded):
    data = simulate(QUBIT, recorded, TIMES, ntraj=2, observables=["sz"], level="density", step=0.01)
    exact = propagated(QUBIT, QUBIT.lower().state(), TIMES)
    expected = [np.trace(QUBIT.lower().observables["sz"].toarray() @ r).real for r in exact]
    np.testing.assert_allclose(data["expect_sz"], [expected, expected], atol=1e-5)


def test_progress_is_shown_and_can_be_left_out(capsys):
    simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=3, progress=False)
    assert capsys.readouterr().err == ""
    simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=3, progress=True)
    shown = capsys.readouterr().err
    assert "trajectories" in shown
    assert "100%" in shown


# --- a run that goes on, and a step that is checked


def test_a_continued_run_must_not_repeat_its_noise():
    first = simulate(QUBIT, ba.Homodyne("loss"), TIMES, ntraj=3, states=True)
    with pytest.raises(ValueError, match=r"Argument `seed` must differ .* noise would repeat"):
        simulate(QUBIT, ba.Homodyne("loss"), TIMES + 1, ntraj=3, initial=first)
    second = simulate(QUBIT, ba.Homodyne("loss"), TIMES + 1, ntraj=3, initial=first, seed=6)
    assert np.all(second["current_loss"].values != first["current_loss"].values)


def test_what_a_state_knows_of_hidden_detectors_stays_hidden():
    half = ba.Homodyne("loss", efficiency=0.5)
    first = simulate(QUBIT, half, TIMES, ntraj=3, level="ket", states=True, observables=["sz"])
    assert "hidden_sz" in first
    second = simulate(QUBIT, half, TIMES + 1, ntraj=3, level="density", initial=first, seed=6, observables=["sz"])
    assert "hidden_sz" in second
    assert "expect_sz" not in second


def test_mixed_states_per_trajectory_stay_matrices_when_only_records_are_asked_for():
    half = ba.Homodyne("loss", efficiency=0.5)
    first = simulate(QUBIT, half, TIMES, ntraj=3, states=True)
    second = simulate(QUBIT, half, TIMES + 1, ntraj=3, initial=first, seed=6)
    assert second.attrs["level"] == "density"
    assert second.sizes["trajectory"] == 3


def test_a_step_too_coarse_for_the_hamiltonian_warns():
    fast = driven_qubit(rabi=2 * np.pi / 0.1, gamma=1.0)  # a whole turn per step, few events
    edges = np.linspace(0, 1, 11)
    with pytest.warns(RuntimeWarning, match=r"coarse.*H turns what is measured.*Pass step="):
        simulate(fast, ba.Homodyne("loss"), edges, step=0.1)
    simulate(fast, ba.Homodyne("loss"), edges)  # the default is fine


def test_the_recipe_keeps_what_was_asked():
    edges = np.array([0.0, 0.1, 0.3])
    split = damped_cavity(1.0, levels=3).displace("loss", 0.5 + 1j).split("loss", p=0.25, q=0.75)
    recipe = json.loads(simulate(split, ba.Homodyne("p"), edges, initial="steady").attrs["recipe"])
    assert recipe["times"] == edges.tolist()
    assert recipe["initial"] == "steady"
    assert recipe["system"]["name"] == "damped_cavity"
    assert recipe["system"]["parameters"]["rewritten"] == [
        [["loss"], ["displace", 0.5, 1.0]],
        [["loss"], {"p": 0.25, "q": 0.75}],
    ]


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("scheme", [ba.Splitting(), ba.Rouchon()], ids=repr)
def test_a_blind_detector_leaves_the_other_operators_in_place(scheme, level):
    """Efficiency 0 makes an operator without elements, behind which those of clicks and observables lie."""
    system = ba.systems.two_spins(0.5, 1.0, 1.0, 0.5)
    unraveling = ba.Heterodyne("loss_a", efficiency=0.0) + ba.QuantumJumps("loss_b")
    one = {"one": np.eye(4)}
    data = ba.simulate(
        system, unraveling, [0, 0.1, 0.2], 3, seed=1, level=level, scheme=scheme, step=0.01, observables=one,
        initial="steady", progress=False,
    )  # fmt: skip
    found = next(data[name].values for name in ("expect_one", "hidden_one") if name in data)
    np.testing.assert_allclose(found, 1.0, rtol=1e-12)
