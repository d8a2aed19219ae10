"""The compiled kernels: against the plain NumPy reference on the same noise; one signature each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import backaction as ba
from backaction.systems import driven_qubit, two_spins, vdp
from backaction.trajectories import ensemble, noise
from backaction.trajectories import plan as plans
from backaction.trajectories.kernels import density, ket
from reference import Density, Ket, Model, trajectory

QUBIT = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.3)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
VDP = vdp(0.5, 1.0, 1.0, omega=0.7, levels=5)
EXCITED = {"s": ba.spin(2.0, 0.5), "a": ba.spin(0.3, 0.4), "b": ba.spin(1.0, -2.0)}
SEED = 21

Homodyne, Heterodyne, Jumps = ba.Homodyne, ba.Heterodyne, ba.QuantumJumps

#: system, unraveling, level
CASES = {
    "homodyne": (QUBIT, Homodyne("loss", phase=0.4), "ket"),
    "heterodyne": (QUBIT, Heterodyne("loss"), "ket"),
    "inefficient": (QUBIT, Homodyne("loss", efficiency=0.6), "ket"),
    "boson": (VDP, Heterodyne("loss") + Homodyne("two_photon", phase=-0.3), "ket"),
    "clicks": (SPINS, Jumps("loss_a", "loss_b", "coupling", efficiency=0.7, dark_rate=0.4), "ket"),
    "mixed": (SPINS, Heterodyne("loss_a") + Jumps("coupling") + Homodyne("loss_b", phase=1.1), "ket"),
    "not commuting": (SPINS, Homodyne("coupling") + Heterodyne("loss_a") + Jumps("loss_b"), "ket"),
    "joined": (SPINS, Jumps(("loss_a", "loss_b"), dark_rate=0.5) + Heterodyne("coupling"), "ket"),
    "density homodyne": (QUBIT, Homodyne("loss", phase=0.4, efficiency=0.6), "density"),
    "density heterodyne": (QUBIT, Heterodyne("loss", efficiency=0.6), "density"),
    "density boson": (VDP, Heterodyne("loss") + Homodyne("two_photon"), "density"),
    "density clicks": (SPINS, Jumps("loss_a", "loss_b", "coupling", efficiency=0.7, dark_rate=0.4), "density"),
    "density mixed": (SPINS, Heterodyne("loss_a") + Jumps("coupling") + Homodyne("loss_b"), "density"),
    "density not commuting": (SPINS, Homodyne("coupling") + Heterodyne("loss_a") + Jumps("loss_b"), "density"),
    "density joined": (SPINS, Jumps(("loss_a", "loss_b"), dark_rate=0.5) + Heterodyne("coupling"), "density"),
    "nothing watched": (SPINS, None, "density"),
}


def model_of(system, unraveling):
    """The reference's lists, straight from docs/conventions.md."""
    lowered = system.lower()
    L = {k: v.toarray() for k, v in lowered.channels.items()}
    model = Model(lowered.H.toarray())
    watched = unraveling.detectors if unraveling else ()
    for d in watched:
        seen = [np.sqrt(d.efficiency) * L[c] for c in d.channels]
        if d.kind == "jumps":
            dark = [np.sqrt(d.dark_rate) * np.eye(lowered.dim)] if d.dark_rate else []
            model.counters.append(seen + dark)
        else:
            model.diffusive.append((np.exp(-1j * d.phase) * seen[0], int(d.kind == "heterodyne")))
        if d.efficiency < 1:
            model.unread += [np.sqrt(1 - d.efficiency) * L[c] for c in d.channels]
    model.unread += [L[c] for c in L if not unraveling or c not in unraveling.channels]
    return model


@pytest.mark.parametrize("case", CASES)
def test_kernel_follows_the_reference_on_the_same_noise(case, monkeypatch):
    system, unraveling, level = CASES[case]
    monkeypatch.setattr(plans, "DIFFUSIVE_TOLERANCE", 1e-14)
    # 150 steps of dt = 0.02: the noise is drawn twice; 34 and 5 trajectories: a second batch
    n_bins, n_sub, dt, ntraj = 15, 10, 0.02, 34 if level == "ket" else 5
    names = list(system.observables)[:3]
    initial = {s.name: EXCITED[s.name] for s in system.sites if system is not VDP}
    data = ba.simulate(
        system, unraveling, np.arange(n_bins + 1) * n_sub * dt, ntraj, seed=SEED, level=level, step=dt,
        observables=names, initial=initial, progress=False,
    )  # fmt: skip
    model = model_of(system, unraveling)
    lowered = system.lower()
    operators = [lowered.observables[name].toarray() for name in names]
    detectors = unraveling.detectors if unraveling else ()
    currents = [d for d in detectors if d.kind != "jumps"]
    counters = [d for d in detectors if d.kind == "jumps"]
    prefix = "expect" if f"expect_{names[0]}" in data else "hidden"
    total = 0
    for k in range(ntraj) if level == "ket" else (0, 3, 4):
        start = (Ket if level == "ket" else Density)(model, lowered.state(initial))
        steps = 1 if not currents else n_sub  # the step of a counting run is the bin: there is no step error
        current, clicks, means = trajectory(
            model, start, n_sub * dt / steps, steps, n_bins, noise.generator(SEED, k), operators
        )
        for i, d in enumerate(currents):
            ours = data[f"current_{d.name}"][k]
            np.testing.assert_allclose(ours, current[i].real if d.kind == "homodyne" else current[i], atol=2e-8)
        for i, d in enumerate(counters):
            expected = [t for t, counter in clicks if counter == i]
            per = data[f"click_count_{d.name}"].values
            ours = data[f"click_time_{d.name}"].values[per[:k].sum() : per[: k + 1].sum()]
            np.testing.assert_allclose(ours, expected, atol=1e-9)
            total += len(expected)
        for name, expected in zip(names, means, strict=True):
            np.testing.assert_allclose(data[f"{prefix}_{name}"][k], expected, atol=2e-8)
    assert total > 1 or not counters


def test_the_reference_alternates_where_the_plan_does():
    for system, unraveling, _ in CASES.values():
        if unraveling is None:
            continue
        lowered = system.lower()
        for make, hidden in ((plans.ket_plan, True), (plans.density_plan, False)):
            plan = make(lowered, plans.assign(lowered, unraveling, hidden), [], 0.2, 0.02)
            assert plan.alternate == model_of(system, unraveling).alternate


def use_everything():
    """Every combination of layouts that `simulate` can hand to a kernel."""
    times = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.9])
    for unraveling in (Jumps("loss_a"), Homodyne("loss_a"), Heterodyne("loss_a", "loss_b") + Jumps("pump_a")):
        for observables in ((), ("sz_a",), ("sz_a", "coherence")):
            for states in (False, True):
                for level in ("ket", "density"):
                    for seed in (1, np.int64(1)):
                        ba.simulate(
                            SPINS, unraveling, times, 2, seed=seed, level=level, observables=observables,
                            states=states, progress=False, n_jobs=1 + (seed == 1),
                        )  # fmt: skip
    ba.simulate(VDP, Heterodyne("loss"), range(3), 2, seed=1, progress=False)
    ba.simulate(SPINS, None, times.astype(np.float32), observables=["sz_a"], progress=False)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.filterwarnings("ignore:The basis' edge")
@pytest.mark.parametrize("work", [1.0, ensemble.BLOCK_WORK])
def test_each_kernel_has_one_signature(work, monkeypatch):
    """A slice of a result array, a read-only plan or a numpy scalar would each be a compilation of its own."""
    monkeypatch.setattr(ensemble, "BLOCK_WORK", work)
    use_everything()
    assert len(ket.run_ket.signatures) == 1
    assert len(density.run_density.signatures) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="this is the run without compilation")
def test_kernels_are_the_same_program_without_compilation():
    """NUMBA_DISABLE_JIT=1 runs the same lines as NumPy (what coverage sees): same clicks, same currents."""
    code = """
import numpy as np, backaction as ba, sys
from backaction.systems import two_spins
system = two_spins(0.5, 1.0, 1.0, 0.5)
unraveling = ba.Heterodyne("loss_a") + ba.Homodyne("coupling") + ba.QuantumJumps("loss_b")
for level in ("ket", "density"):
    data = ba.simulate(system, unraveling, [0, 0.2, 0.4, 0.5], 2, seed=3, step=0.1, level=level,
                       observables=["sz_a"], states=True, progress=False, initial="steady")
    for name in data.data_vars:
        np.savetxt(sys.stdout, np.atleast_1d(data[name].values).ravel().view(float), fmt="%.17g")
"""

    def numbers(**environment):
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return np.array(result.stdout.split(), dtype=float)

    # fused multiply-add rounds once where NumPy rounds twice
    np.testing.assert_allclose(numbers(NUMBA_DISABLE_JIT="1"), numbers(NUMBA_DISABLE_JIT="0"), atol=1e-9)


def test_scratch_fits_the_widest_pattern_of_several_steps():
    """At a tiny step the exponential of c†c of a quadrature is banded, at a long one it is full."""
    a = ba.Boson("a", 8)
    lowered = ba.System(a.n, {"loss": a.a + a.a.dag()}).lower()
    roles = plans.assign(lowered, ba.Homodyne("loss"), hidden=False)
    tiny, long = (plans.density_plan(lowered, roles, [], width, width) for width in (1e-6, 0.01))
    assert tiny.pattern_col.size < long.pattern_col.size
    work = density.density_work(tiny, long)
    assert work.coef_re.size == 16 * long.pattern_col.size
