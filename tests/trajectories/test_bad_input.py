"""Bad input: a ValueError that names the argument, what it was, and what to do; before anything is computed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import qutip

import backaction as ba
from backaction.systems import Basis, Boson, System, driven_qubit, two_spins, two_vdp
from backaction.trajectories import ensemble

QUBIT = driven_qubit(rabi=2.0, gamma=1.0)
SPINS = two_spins(0.5, 1.0, 1.0, 0.5)
HOMODYNE = ba.Homodyne("loss")
PARTIAL = ba.Homodyne("loss", efficiency=0.5)
TIMES = [0.0, 0.1, 0.2]
UP = np.array([1.0, 0.0])


def simulate(*args, **options):
    return ba.simulate(*args, **{"seed": 5, "progress": False, **options})


def run(system=QUBIT, unraveling=HOMODYNE, times=TIMES, **options):
    return lambda: simulate(system, unraveling, times, **options)


def kept_dataset(**options):
    return simulate(SPINS, None, TIMES, **{"states": True, "observables": ["sz_a"], **options})


def vdp_pair():
    return two_vdp(3, 1, 1, 3, 0.5, levels=10)


#: what is done -> (argument named, words of what it was, words of what to do or is expected)
CASES = {
    # --- channels and detectors
    "channel that does not exist": (run(unraveling=ba.Heterodyne("lost")), "channel", ["'lost'", "'loss'"]),
    "channel missing in a sum": (run(unraveling=HOMODYNE + ba.QuantumJumps("x")), "channel", ["'x'", "'loss'"]),
    "hidden channel missing": (run(unraveling=ba.QuantumJumps("x", recorded=False)), "channel", ["'x'"]),
    "channel missing from a counter's tuple": (
        run(unraveling=ba.QuantumJumps(("loss", "x"))),
        "channel",
        ["'x'", "'loss'"],
    ),
    "channel watched twice": (
        lambda: simulate(QUBIT, HOMODYNE + ba.Heterodyne("loss"), TIMES),
        "channel",
        ["'loss'", "twice", "split("],
    ),
    "efficiency above 1": (lambda: ba.Homodyne("loss", efficiency=1.2), "efficiency", ["1.2", "[0, 1]"]),
    "efficiency below 0": (lambda: ba.Homodyne("loss", efficiency=-0.2), "efficiency", ["-0.2", "[0, 1]"]),
    "negative dark rate": (lambda: ba.QuantumJumps("loss", dark_rate=-1), "dark_rate", ["-1", ">= 0"]),
    "unraveling is a name": (run(unraveling="loss"), "unraveling", ["'loss'", "ba.Heterodyne"]),
    "unraveling is a class": (run(unraveling=ba.Homodyne), "unraveling", ["Homodyne"]),
    "nothing recorded, nothing asked": (run(unraveling=None), "unraveling", ["observables", "states"]),
    "hidden only, nothing asked": (
        run(unraveling=ba.Homodyne("loss", recorded=False)),
        "unraveling",
        ["observables", "states"],
    ),
    # --- the system
    "H is not Hermitian": (
        lambda: System(Boson("a").a, {"loss": Boson("a").a}),
        "H",
        ["Hermitian", "add the Hermitian conjugate"],
    ),
    "H of QuTiP is not Hermitian": (
        lambda: System(qutip.sigmap(), {"loss": qutip.sigmam()}),
        "H",
        ["Hermitian", "1"],
    ),
    "system is a Qobj": (run(system=qutip.sigmax()), "system", ["Qobj", "System"]),
    "system is lowered": (run(system=QUBIT.lower()), "system", ["LoweredSystem"]),
    "system is missing": (run(system=None), "system", ["NoneType"]),
    # --- times
    "times do not increase": (run(times=[0, 0.2, 0.1]), "times", ["increase", "sort"]),
    "times repeat": (run(times=[0, 0.1, 0.1]), "times", ["increase"]),
    "times fall": (run(times=[1, 0]), "times", ["increase"]),
    "times are NaN": (run(times=[0, math.nan]), "times", ["finite"]),
    "times are infinite": (run(times=[0, math.inf]), "times", ["finite"]),
    "one time": (run(times=[0.5]), "times", ["two", "(1,)"]),
    "no times": (run(times=[]), "times", ["two", "(0,)"]),
    "times are a number": (run(times=1.0), "times", ["()"]),
    "times are nothing": (run(times=None), "times", []),
    "times are a matrix": (run(times=[[0, 1]]), "times", ["(1, 2)"]),
    "times are words": (run(times=["now", "then"]), "times", []),
    "times are complex": (run(times=[0, 1j]), "times", []),
    # --- numbers
    "negative ntraj": (run(ntraj=-3), "ntraj", ["-3", ">= 1"]),
    "no trajectories": (run(ntraj=0), "ntraj", ["0", ">= 1"]),
    "ntraj is a float": (run(ntraj=3.0), "ntraj", ["3.0", "integer"]),
    "ntraj is a bool": (run(ntraj=True), "ntraj", ["True"]),
    "save_every 0": (run(save_every=0), "save_every", ["0", ">= 1"]),
    "save_every is a float": (run(save_every=0.5), "save_every", ["0.5"]),
    "step 0": (run(step=0), "step", ["0", "positive"]),
    "negative step": (run(step=-0.1), "step", ["-0.1"]),
    "step is NaN": (run(step=math.nan), "step", ["nan"]),
    "step is infinite": (run(step=math.inf), "step", ["inf"]),
    "step is an array": (run(step=np.array([0.1])), "step", ["0.1"]),
    "step is a word": (run(step="small"), "step", ["'small'"]),
    "step is complex": (run(step=1j), "step", ["1j"]),
    "n_jobs 0": (run(n_jobs=0), "n_jobs", ["0", "all cores"]),
    "n_jobs is a float": (run(n_jobs=1.5), "n_jobs", ["1.5"]),
    "n_jobs is nothing": (run(n_jobs=None), "n_jobs", ["None"]),
    "negative seed": (run(seed=-1), "seed", ["-1", ">= 0"]),
    "seed is a float": (run(seed=1.5), "seed", ["1.5"]),
    "seed is a word": (run(seed="7"), "seed", ["'7'"]),
    "seed is a generator": (run(seed=np.random.default_rng(0)), "seed", ["Generator"]),
    "seed is a list": (run(seed=[1, 2]), "seed", ["[1, 2]"]),
    # --- levels
    "level that does not exist": (run(level="wavefunction"), "level", ["'wavefunction'", "density"]),
    "level is a class": (run(level=ba.Ket), "level", ["Ket"]),
    "level is nothing": (run(level=None), "level", ["None"]),
    "basis of a level names another site": (
        run(level=ba.Ket(basis=Basis(levels={"a": 3}))),
        "basis",
        ["'a'", "'s'"],
    ),
    "basis of a level cuts a spin": (run(level=ba.Ket(basis=Basis(levels={"s": 3}))), None, ["'s'", "2"]),
    # --- observables
    "observable that does not exist": (run(observables=["n"]), "observables", ["'n'", "'sx'", "map"]),
    "observable by name that does not exist": (run(observables="n"), "observables", ["'n'"]),
    "observable of the wrong size": (
        run(observables={"x": qutip.sigmax() & qutip.sigmax()}),
        "observables",
        ["'x'", "(4, 4)", "(2, 2)"],
    ),
    "observable on another site": (run(observables={"n": Boson("a").n}), "observables", ["'a'"]),
    "observable is a state": (run(observables={"x": qutip.basis(2, 0)}), "observables", ["ket"]),
    "observable is a number": (run(observables={"x": 1.0}), "observables", ["float"]),
    "observable's name has a space": (run(observables={"s x": qutip.sigmax()}), "observables", ["'s x'"]),
    "observables are operators without names": (run(observables=[qutip.sigmax()]), "observables", ["map"]),
    "observables are arrays without names": (run(observables=[np.eye(2)]), "observables", ["map"]),
    "observables are one operator": (run(observables=qutip.sigmax()), "observables", ["map"]),
    "observables are a number": (run(observables=5), "observables", ["5"]),
    # --- initial states
    "ket of the wrong size": (run(initial=np.array([1.0, 0, 0])), "initial", ["(3,)", "(2,)"]),
    "density matrix of the wrong size": (run(initial=np.eye(3) / 3), "initial", ["(3, 3)", "(2, 2)"]),
    "Qobj of the wrong size": (run(initial=qutip.basis(4, 1)), "initial", ["(4,)"]),
    "initial is an operator": (run(initial=qutip.sigmax()), "initial", ["trace", "0"]),
    "ket without norm": (run(initial=np.array([1.0, 1.0])), "initial", ["norm", "1.41"]),
    "initial is NaN": (run(initial=np.array([np.nan, 1.0])), "initial", ["finite"]),
    "density matrix with trace 2": (run(initial=np.eye(2)), "initial", ["trace", "2"]),
    "density matrix not Hermitian": (run(initial=np.array([[1, 0.5], [0, 0]])), "initial", ["Hermitian"]),
    "density matrix not positive": (run(initial=np.diag([1.5, -0.5])), "initial", ["positive", "-0.5"]),
    "site that does not exist": (run(initial={"a": ba.vacuum()}), "initial", ["'a'", "'s'"]),
    "site state of another kind": (run(initial={"s": ba.coherent(1.0)}), "initial", ["coherent", "'s'"]),
    "site state is a number": (run(initial={"s": 1}), "initial", ["1", "ba.coherent"]),
    "unknown word": (run(initial="ground"), "initial", ["'ground'", "steady"]),
    "initial is a number": (run(initial=1.0), "initial", ["()"]),
    "too few initial states": (
        run(initial=np.tile(UP, (3, 1)), ntraj=5),
        "initial",
        ["3", "ntraj", "5"],
    ),
    "initial states of the wrong size": (run(initial=np.ones((5, 3)), ntraj=5), "initial", ["(5, 3)"]),
    "one bad initial state among many": (
        run(initial=np.array([[1, 0], [0, 2.0], [1, 0]]), ntraj=3),
        "initial",
        ["norm", "2"],
    ),
    "density matrices per trajectory at ket": (
        run(initial=np.tile(np.eye(2) / 2, (3, 1, 1)), ntraj=3, level="ket"),
        "initial",
        ["ket", "matrices"],
    ),
    "dataset without states": (
        lambda: run(initial=simulate(QUBIT, HOMODYNE, TIMES))(),
        "initial",
        ["states=True"],
    ),
    "dataset of another system": (lambda: run(initial=kept_dataset())(), "initial", ["4", "2"]),
    "dataset of another ntraj": (
        lambda: run(SPINS, ba.Homodyne("loss_a"), initial=kept_dataset(ntraj=3), ntraj=2)(),
        "initial",
        ["3", "ntraj", "2"],
    ),
    "matrices without an initial state": (
        run(system=System(qutip.sigmax(), {"loss": qutip.sigmam()})),
        "initial",
        ["Qobj"],
    ),
    # --- memory
    "density plan over max_memory": (
        run(vdp_pair(), ba.Heterodyne("loss_a"), observables=["n_a"], max_memory="1 MiB"),
        "max_memory",
        ["1 MiB", "dimension 100", "records only", "max_memory="],
    ),
    "result over max_memory": (
        run(times=np.linspace(0, 1, 10001), ntraj=1000, max_memory="10 MB"),
        "max_memory",
        ["save_every", "max_memory="],
    ),
    "states over max_memory": (
        run(vdp_pair(), ba.Heterodyne("loss_a"), np.linspace(0, 1, 101), ntraj=100, states=True),
        "max_memory",
        ["1 GiB", "states"],
    ),
    "max_memory is a word": (run(max_memory="plenty"), "max_memory", ["'plenty'", "2 GiB"]),
    "max_memory has an unknown unit": (run(max_memory="2 GiBit"), "max_memory", ["'2 GiBit'"]),
    "max_memory is negative": (run(max_memory=-1), "max_memory", ["-1"]),
    "max_memory is nothing": (run(max_memory=None), "max_memory", ["None"]),
    "max_memory has two points": (run(max_memory="1.5.2 GiB"), "max_memory", ["'1.5.2 GiB'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_by_name(case, monkeypatch):
    call, argument, words = CASES[case]
    if "dataset" not in case:  # those simulate first
        monkeypatch.setattr(ensemble, "run", lambda *_: pytest.fail("something was computed"))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    message = str(error.value)
    if argument:
        assert f"`{argument}" in message, message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("value", ["1 GiB", "1GiB", "500 MB", "1e9", 1e9, 2**30, "64 KiB", 1e16, math.inf])
def test_good_memory_limits_are_taken(value):
    simulate(QUBIT, HOMODYNE, TIMES, max_memory=value)


def test_the_memory_that_is_proposed_is_enough():
    call = {"observables": ["n_a"], "max_memory": "1 MiB"}
    with pytest.raises(ValueError, match="max_memory") as error:
        simulate(vdp_pair(), ba.Heterodyne("loss_a"), [0, 1e-3], **call)
    proposed = str(error.value).split('max_memory="')[1].split('"')[0]
    simulate(vdp_pair(), ba.Heterodyne("loss_a"), [0, 1e-3], **{**call, "max_memory": proposed})


@pytest.mark.parametrize(
    "options",
    [
        {"ntraj": np.int64(2)},
        {"seed": np.int64(3)},
        {"seed": np.uint64(2**63)},
        {"step": np.float64(0.05)},
        {"step": 1},
        {"save_every": np.int32(1)},
        {"n_jobs": np.int64(1)},
        {"times": np.array([0, 1], dtype=np.float32)},
        {"observables": ()},
        {"observables": {"sx"}},
        {"observables": np.array(["sx"])},
    ],
    ids=str,
)
def test_numpys_numbers_are_numbers(options):
    data = simulate(QUBIT, HOMODYNE, **{"times": TIMES, **options})
    assert data.sizes["bin"] >= 1


@pytest.mark.parametrize("name", ["time", "n_traj", "store", "solver", "method"])
def test_unknown_arguments_are_pythons_own_error(name):
    """`store`, `feedback` and `scheme` come later; until then they must not be taken silently."""
    with pytest.raises(TypeError, match=name):
        simulate(QUBIT, HOMODYNE, TIMES, **{name: None})
