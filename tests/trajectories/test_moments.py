"""Means and covariances as trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import backaction as ba
from backaction.systems.moments import MomentEquations


def spins(N: int = 100, kappa: float | None = 10.0) -> ba.System:
    return ba.systems.nonreciprocal_spins(N, 2.0, 2.0, 4.0, kappa=kappa)


def run(system: ba.System, unraveling: Any, times: np.ndarray, ntraj: int = 1, **options: Any) -> Any:
    return ba.simulate(system, unraveling, times, ntraj, level=ba.Moments(), seed=3, progress=False, **options)


def exact(system: ba.System, end: float, initial: Any) -> np.ndarray:
    """Variables at `end` while nobody looks."""
    equations = MomentEquations(system)
    n = len(equations.variables)
    index = {equations.conjugate(v): n + i for i, v in enumerate(equations.variables)}
    index |= {v: i for i, v in enumerate(equations.variables)}
    terms = [[(c, [index[f] for f in key]) for key, c in equations.drift[v].items()] for v in equations.variables]

    def drift(t: float, x: np.ndarray) -> np.ndarray:
        full = np.concatenate([x, x.conj()])
        return np.array([sum(c * np.prod(full[f]) for c, f in row) for row in terms])

    return solve_ivp(drift, (0, end), equations.initial(initial), rtol=1e-9, atol=1e-11).y[:, -1]


def test_the_drift_is_integrated_to_second_order() -> None:
    system, initial = spins(), {"A": ba.spin(1.0, 0.0), "B": ba.spin(1.2, 0.5), "a": ba.coherent(0.5)}
    reference = exact(system, 1.0, initial)
    errors = []
    for step in (0.01, 0.005):
        end = run(system, None, [0, 1], initial=initial, step=step, states=True)["moments"].values[0, -1]
        errors.append(np.linalg.norm(end - reference))
    assert errors[1] < 1e-3 * np.linalg.norm(reference)
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2


def test_long_oscillations_keep_their_damping() -> None:
    """What Heun's rule gives to an oscillation stays small against what its damping takes."""
    a, kappa = ba.Boson("a", 4), 1e-4
    system = ba.System(a.n, {"loss": np.sqrt(kappa) * a.a}, {"n": a.n}, initial={"a": ba.coherent(2.0)})
    T = 1 / kappa
    data = ba.simulate(system, None, [0, T], 1, level=ba.Moments(order=1), observables=["n"], progress=False)
    assert float(data["expect_n"][0, -1]) == pytest.approx(4 * np.exp(-1), rel=0.021)  # 1 % of the amplitude in the run


@pytest.mark.parametrize("detector", ["homodyne", "heterodyne", "oscillator"])
def test_one_qubit_is_exact(detector: str) -> None:
    """The means of one few-level system are its Bloch vector: the noise depends on it, and must be Itô's."""
    system = ba.systems.driven_qubit(rabi=2.0, gamma=1.0, detuning=0.4)
    unraveling = {
        "homodyne": ba.Homodyne("loss", phase=0.6, efficiency=0.7),
        "heterodyne": ba.Heterodyne("loss", efficiency=0.7),
        "oscillator": ba.Homodyne("loss", phase=ba.LocalOscillator(30.0, 0.3), efficiency=0.7),
    }[detector]
    errors = []
    data = ba.simulate(system, unraveling, np.linspace(0, 2, 4001), 16, seed=1, progress=False)
    names = ("sx", "sy", "sz")
    truth = ba.condition(system, unraveling, data, observables=names, max_error=1, progress=False)
    found = ba.condition(system, unraveling, data, observables=names, level="moments", progress=False)
    for name in names:
        errors.append((found[f"expect_{name}"] - truth[f"expect_{name}"]).values)
    assert np.sqrt(np.mean(np.square(errors))) < 6e-3  # Stratonovich noise: 0.2
    np.testing.assert_allclose(found["log_likelihood"], truth["log_likelihood"], atol=0.05)


def test_an_oscillator_with_light_of_a_kerr_medium_is_conditioned_like_its_density_matrix() -> None:
    """A weakly nonlinear oscillator: second-order cumulants against the density matrix on one record."""
    a = ba.Boson("a", 14)
    system = ba.System(
        0.5j * 0.25 * (a.a.dag() ** 2 - a.a**2) + 1e-3 * a.n**2,
        channels={"loss": a.a},
        observables={"x": a.a + a.a.dag(), "n": a.n},
    )
    unraveling = ba.Heterodyne("loss", efficiency=0.8)
    data = ba.simulate(system, unraveling, np.linspace(0, 3, 601), 4, seed=2, progress=False)
    names = ("x", "n")
    truth = ba.condition(system, unraveling, data, observables=names, max_error=1, progress=False)
    found = ba.condition(system, unraveling, data, observables=names, level="moments", progress=False)
    for name in names:
        np.testing.assert_allclose(found[f"expect_{name}"], truth[f"expect_{name}"], atol=0.02)


@pytest.mark.parametrize("kappa", [10.0, None])
def test_condition_returns_what_simulate_had(kappa: float | None) -> None:
    system = spins(30, kappa)
    name = system.outputs[0]
    unraveling = ba.Homodyne(name, phase=0.3, efficiency=0.6)
    if kappa is None:
        unraveling = ba.Heterodyne(name, efficiency=0.6)
    times = np.arange(201) * 0.005
    initial = {"A": ba.spin(1.0, 0.0), "B": ba.spin(1.2, 0.5)}
    data = run(system, unraveling, times, 3, initial=initial, step=0.005, states=True)
    again = ba.condition(
        system, unraveling, data, level="moments", initial=initial, step=0.005, states=True, progress=False
    )
    np.testing.assert_allclose(again["moments"], data["moments"], atol=1e-10)
    assert np.all(np.isfinite(again["log_likelihood"]))


def test_bits_depend_on_seed_and_trajectory_only() -> None:
    unraveling = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(20.0), efficiency=0.5)
    times = np.arange(101) * 0.02
    many = run(spins(), unraveling, times, 40, observables=("sp_A", "a"))
    for other in (
        run(spins(), unraveling, times, 40, observables=("sp_A", "a"), n_jobs=2),
        run(spins(), unraveling, times, 19, observables=("sp_A", "a")),
    ):
        n = other.sizes["trajectory"]
        for name in ("current_cavity_loss", "expect_sp_A", "expect_a"):
            assert np.array_equal(many[name][:n], other[name])


def test_a_run_can_be_continued() -> None:
    whole = run(spins(), None, [0, 1, 2], states=True, step=0.005)
    first = run(spins(), None, [0, 1], states=True, step=0.005)
    second = ba.simulate(
        spins(), None, [1, 2], level="moments", seed=4, states=True, step=0.005, initial=first, progress=False
    )
    np.testing.assert_allclose(second["moments"][:, -1], whole["moments"][:, -1], atol=1e-13)
    with pytest.raises(ValueError, match="the noise would repeat"):
        run(spins(), None, [1, 2], states=True, initial=first)


def test_the_record_is_that_of_the_mean() -> None:
    """Currents carry √η ⟨L⟩ and white noise of level 1, recorded or not."""
    unraveling = ba.Heterodyne("cavity_loss", efficiency=0.3)
    times = np.arange(2001) * 0.02
    data = run(spins(), unraveling, times, 32, observables=("a",))
    mean = 0.5 * (data["expect_a"].values[:, 1:] + data["expect_a"].values[:, :-1])
    noise = (data["current_cavity_loss"].values - np.sqrt(0.3 * 10.0) * mean) * np.sqrt(0.02)
    n = noise.size
    assert abs(np.mean(abs(noise) ** 2) - 1) < 5 / np.sqrt(n) + 2e-3
    assert abs(np.mean(noise**2)) < 5 / np.sqrt(n) + 2e-3
    hidden = run(spins(), ba.Heterodyne("cavity_loss", efficiency=0.3, recorded=False), times, 32, observables=("a",))
    assert np.array_equal(hidden["hidden_a"], data["expect_a"])


def counts(system: ba.System) -> np.ndarray:
    unraveling = ba.Homodyne("cavity_loss", phase=ba.LocalOscillator(20 * np.pi), recorded=False)
    data = run(system, unraveling, np.linspace(0, 400, 4001), 48, observables=("sp_A", "sp_B"), step=0.005)
    phase = np.angle(data["hidden_sp_A"].values * data["hidden_sp_B"].values.conj())
    return np.asarray(ba.analysis.reversals(phase, data["time"].values, 10.0, discard=100.0))


def test_chirality_reverses_as_often_as_in_the_source() -> None:
    """[T] Fig. 6.10: 14.7(5) reversals of blocks in 900/γ₊ at N = 100; a third of that in 300."""
    found = counts(spins(100))
    error = np.hypot(found.std(ddof=1) / np.sqrt(len(found)), 0.5 / 3)
    assert abs(found.mean() - 14.7 / 3) < 5 * error
    control = counts(spins(200))
    assert abs(control.mean() - 14.7 / 3) > 8 * error


@pytest.mark.parametrize(
    "change, message",
    [
        ({"unraveling": ba.QuantumJumps("cavity_loss")}, "no counting detectors"),
        ({"level": ba.Moments(1)}, "must be None for moments of order 1"),
        ({"system": ba.systems.System(np.eye(2), channels={"cavity_loss": np.eye(2)})}, "must have symbolic operators"),
        ({"scheme": ba.Rouchon()}, "`scheme` does not go with moments"),
        ({"tolerance": 1e-2}, "`tolerance` does not go with moments"),
        ({"observables": ("nothing",)}, "`observables` must name the system's observables"),
        ({"initial": {"A": 3.0}}, r"`initial\['A'\]` must be a site state"),
        ({"initial": np.zeros(5)}, "values of the 26 variables"),
        ({"step": -1.0}, "`step` must be a positive time"),
        ({"max_memory": "1 kB"}, "`max_memory` is"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "system": spins(), "unraveling": ba.Heterodyne("cavity_loss"), "times": np.linspace(0, 1, 101),
        "level": "moments", "progress": False,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ba.simulate(**arguments)


def test_a_divergence_is_reported() -> None:
    with pytest.raises(FloatingPointError, match="Means and covariances diverge"):
        run(spins(), ba.Heterodyne("cavity_loss"), [0, 50, 100], step=0.5)


def test_a_bin_of_a_given_record_is_one_step() -> None:
    system = spins()
    record = {"times": np.arange(21) * 0.1, "current_cavity_loss": np.zeros(20, complex)}
    with pytest.raises(ValueError, match="take a bin in one step"):
        ba.condition(system, ba.Heterodyne("cavity_loss"), record, level="moments", step=0.01, progress=False)
    with pytest.warns(RuntimeWarning, match="bins of 0.1 are wide for the equations"):
        ba.condition(system, ba.Heterodyne("cavity_loss"), record, level="moments", progress=False)
