"""Trajectory k depends on (seed, k) alone: the same bits for any number of workers, backend, batch or block."""

from __future__ import annotations

import _thread
import signal

import joblib
import numpy as np
import pytest
import xarray as xr

import backaction as ba
from backaction.systems import driven_qubit, two_spins
from backaction.trajectories import ensemble

QUBIT = driven_qubit(rabi=2.0, gamma=1.0)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
TIMES = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3])  # three widths
MIXED = ba.Heterodyne("loss_a") + ba.Homodyne("loss_b") + ba.QuantumJumps("pump_a", "coupling")

#: What can meet in one run: both levels, diffusive and counted records, hidden detectors, mixtures, clicks only.
CASES = {
    "ket": (SPINS, MIXED + ba.QuantumJumps("pump_b"), {"observables": ["sz_a", "coherence"], "states": True}),
    "hidden": (SPINS, MIXED, {"initial": "steady"}),
    "density": (SPINS, MIXED, {"observables": ["sz_a"], "states": True}),
    "clicks": (QUBIT, ba.QuantumJumps("loss", efficiency=0.7, dark_rate=1.0), {"level": "ket"}),
    "clicks_density": (QUBIT, ba.QuantumJumps("loss", efficiency=0.7), {"observables": ["sx"]}),
}


def simulate(case, ntraj=37, **options):
    system, unraveling, own = CASES[case]
    return ba.simulate(system, unraveling, TIMES, ntraj, seed=11, progress=False, **{**own, **options})


def assert_same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        x, y = one[name].values, other[name].values
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tobytes() == y.tobytes(), f"{name} differs by up to {abs(x - y).max()}"
    assert one.attrs == other.attrs


def first(data: xr.Dataset, n: int) -> xr.Dataset:
    """The first n trajectories, clicks included."""
    out = data.isel(trajectory=slice(0, n))
    for name in data.data_vars:
        if name.startswith("click_time_"):
            detector = name.removeprefix("click_time_")
            kept = int(out[f"click_count_{detector}"].sum())
            out = out.isel({f"click_{detector}": slice(0, kept)})
    return out


@pytest.mark.parametrize("case", CASES)
def test_two_runs_are_the_same(case):
    assert_same_bits(simulate(case), simulate(case))


@pytest.mark.parametrize("case", CASES)
def test_another_seed_is_another_run(case):
    system, unraveling, own = CASES[case]
    one = simulate(case)
    two = ba.simulate(system, unraveling, TIMES, 37, seed=12, progress=False, **own)
    name = next(n for n in one.data_vars if n.startswith(("current", "click_time")))
    assert one[name].shape != two[name].shape or not np.any(one[name].values == two[name].values)


@pytest.mark.parametrize("n_jobs", [2, 3, -1])
@pytest.mark.parametrize("case", CASES)
def test_threads_give_the_same_bits(case, n_jobs):
    assert_same_bits(simulate(case), simulate(case, n_jobs=n_jobs))


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_other_backends_give_the_same_bits(backend):
    """One pool of processes for all cases; a new process must also load, not compile, the kernels."""
    with joblib.parallel_config(backend=backend):
        others = {case: simulate(case, n_jobs=2) for case in CASES}
        one_batch = simulate("ket", ntraj=3, n_jobs=2)
    for case, other in others.items():
        assert_same_bits(simulate(case), other)
    assert_same_bits(simulate("ket", ntraj=3), one_batch)


@pytest.mark.parametrize("work", [1.0, 2e4, 1e5, np.inf])
@pytest.mark.parametrize("case", CASES)
def test_the_size_of_a_kernel_call_does_not_matter(case, work, monkeypatch):
    """From one bin per call to the whole run in one."""
    reference = simulate(case)
    monkeypatch.setattr(ensemble, "BLOCK_WORK", work if np.isfinite(work) else 1e300)
    assert_same_bits(reference, simulate(case))


@pytest.mark.parametrize("case", CASES)
def test_more_trajectories_extend_an_ensemble(case):
    """Also where a trajectory sits in its batch of 32 or 4 does not matter to those before it."""
    large = simulate(case, ntraj=37)
    for n in (1, 3, 16, 21):
        small = simulate(case, ntraj=n)
        small.attrs = large.attrs = {}
        assert_same_bits(small, first(large, n))


def test_trajectories_differ():
    data = simulate("hidden", ntraj=40)
    assert len(np.unique(data["current_loss_a"].values.ravel())) == data["current_loss_a"].size
    correlation = np.corrcoef(data["current_loss_b"].values)
    assert abs(correlation - np.eye(40)).max() < 0.999


@pytest.mark.parametrize("level", ["ket", "density"])
def test_the_lane_does_not_matter(level):
    """Trajectory 5 with its own initial state, whatever its neighbours in the batch start from."""
    rng = np.random.default_rng(0)
    kets = rng.normal(size=(8, 4)) + 1j * rng.normal(size=(8, 4))
    kets /= np.linalg.norm(kets, axis=1, keepdims=True)
    others = np.roll(kets, 3, axis=0)
    others[5] = kets[5]
    one, two = (
        ba.simulate(SPINS, MIXED, TIMES, 8, initial=k, seed=1, level=level, progress=False) for k in (kets, others)
    )
    np.testing.assert_array_equal(one["current_loss_a"][5], two["current_loss_a"][5])
    assert not np.any(one["current_loss_a"][4].values == two["current_loss_a"][4].values)


def test_workers_compile_nothing_of_their_own():
    """A plan that reaches a worker read-only would be a second signature (and minutes of compilation)."""
    with joblib.parallel_config(backend="loky"):
        pool = joblib.Parallel(n_jobs=2, max_nbytes=None)  # arguments as in `ensemble`: the same processes
        simulate("ket", n_jobs=2)
        counts = pool(joblib.delayed(_signatures)() for _ in range(20))
    assert max(counts) == 1


def _signatures() -> int:
    from backaction.trajectories.kernels import ket

    return len(ket.run_ket.signatures)


# --- Ctrl-C keeps what is finished


def interrupting(after, how):
    """`run_batch` that is interrupted when batch number `after` starts."""
    original = ensemble.run_batch

    def run_batch(job, first):
        if first >= after * job.lanes:
            how()
        return original(job, first)

    return run_batch


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("case, lanes", [("ket", 32), ("density", 4)])
def test_ctrl_c_keeps_what_is_finished(case, lanes, monkeypatch):
    whole = simulate(case, ntraj=100)
    monkeypatch.setattr(ensemble, "run_batch", interrupting(3, raise_interrupt))
    with pytest.warns(RuntimeWarning, match=f"Interrupted: returning the {3 * lanes} trajectories .* of 100"):
        part = simulate(case, ntraj=100)
    assert part.sizes["trajectory"] == 3 * lanes
    assert part.attrs["interrupted"] == 1
    part.attrs = whole.attrs
    assert_same_bits(part, first(whole, 3 * lanes))


def test_ctrl_c_before_anything_is_finished_is_an_interrupt(monkeypatch):
    monkeypatch.setattr(ensemble, "run_batch", interrupting(0, raise_interrupt))
    with pytest.raises(KeyboardInterrupt):
        simulate("ket")
    assert not ensemble._LIVE


def test_ctrl_c_among_threads_keeps_what_is_finished(monkeypatch, request):
    """The main thread is interrupted while the workers compute, as by a signal."""
    # a shell that runs us in the background has SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    whole = simulate("ket", ntraj=400)
    done = []

    def interrupt_once():
        if not done:
            done.append(True)
            _thread.interrupt_main()

    monkeypatch.setattr(ensemble, "run_batch", interrupting(12, interrupt_once))
    with pytest.warns(RuntimeWarning, match="Interrupted: returning the"):
        part = simulate("ket", ntraj=400, n_jobs=2)
    kept = part["trajectory"].values
    assert part.attrs["interrupted"] == 1
    assert 0 < len(kept) < 400
    assert np.all(np.diff(kept) > 0)
    np.testing.assert_array_equal(part["current_loss_a"], whole["current_loss_a"][kept])
    np.testing.assert_array_equal(part["click_count_coupling"], whole["click_count_coupling"][kept])
    assert not ensemble._LIVE


def test_a_run_after_an_interrupted_one_is_whole(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ensemble, "run_batch", interrupting(1, raise_interrupt))
        with pytest.warns(RuntimeWarning, match="Interrupted"):
            simulate("ket", ntraj=40)
    assert simulate("ket", ntraj=40).sizes["trajectory"] == 40
