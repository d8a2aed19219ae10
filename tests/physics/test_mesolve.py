"""Ensemble means follow QuTiP's `mesolve` for every detector and level."""

from __future__ import annotations

import numpy as np
import pytest
import qutip

from backaction import Heterodyne, Homodyne, QuantumJumps, System, Unraveling, coherent, spin
from backaction.systems import two_spins, vdp
from physics.helpers import CONTROL, LIMIT, run, z_scores

pytestmark = pytest.mark.filterwarnings("ignore:The basis' edge:RuntimeWarning")  # small on purpose

TIMES = np.linspace(0, 2.5, 7)


def three_levels():
    """A system without any symmetry, given as QuTiP objects; channels a, b, c."""
    rng = np.random.default_rng(7)

    def matrix():
        return rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))

    H = matrix()
    channels = {name: qutip.Qobj(0.5 * matrix()) for name in "abc"}
    rho = matrix()
    rho = rho @ rho.conj().T
    observables = {
        "hermitian": qutip.Qobj(H @ H.conj().T),
        "population": qutip.basis(3, 0).proj(),
        "coherence": qutip.basis(3, 0) @ qutip.basis(3, 2).dag(),
        "lowering": channels["a"],
    }
    return System(qutip.Qobj(0.5 * (H + H.conj().T)), channels, observables, initial=qutip.Qobj(rho / np.trace(rho)))


SYSTEMS = {
    "two spins": two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=1.5),
    "vdp": vdp(kappa1=1.0, kappa2=0.5, kappa=1.0, omega=1.0, levels=6),
    "three levels": three_levels(),
}
INITIAL = {
    "two spins": {"a": spin(0.5, 0.3), "b": spin(2.0, -1.0)},
    "vdp": {"a": coherent(0.5 + 0.2j)},
    "three levels": None,  # its own, mixed
}
MEASURED = {
    "two spins": ("loss_a", "loss_b", "coupling", ("pump_a", "pump_b")),
    "vdp": ("loss", "pump", "two_photon", ()),
    "three levels": ("a", "b", "c", ()),
}
#: Left out of the master equation for the control.
DROPPED = {"two spins": "loss_a", "vdp": "pump", "three levels": "b"}


def detectors(system):
    """Every kind of detector, on channels i, j, k; the others are not watched."""
    i, j, k, others = MEASURED[system]
    return {
        "nothing": Unraveling(),
        "jumps": QuantumJumps(i, j),
        "jumps, efficiency, dark counts": QuantumJumps(i, k, efficiency=0.6, dark_rate=0.4),
        "one counter of two channels": QuantumJumps((i, j), k),
        "homodyne, phase": Homodyne(i, phase=0.7),
        "homodyne, efficiency": Homodyne(i, phase=-1.2, efficiency=0.4),
        "two homodyne that do not commute": Homodyne(i, phase=0.7) + Homodyne(j, efficiency=0.5),
        "heterodyne": Heterodyne(i, k),
        "heterodyne, efficiency": Heterodyne(j, efficiency=0.5),
        "mixed": Homodyne(i, phase=0.7, efficiency=0.6)
        + Heterodyne(k)
        + QuantumJumps(j, efficiency=0.5, dark_rate=0.3),
        "complete": Homodyne(i, phase=0.7) + Heterodyne(j) + QuantumJumps(k, *others),
        "not recorded": Homodyne(i, phase=0.7) + Heterodyne(j, recorded=False),
    }


def master_equation(name, without=None):
    """Means of the observables at TIMES by QuTiP: (time, observable)."""
    system = SYSTEMS[name]
    lowered = system.lower()
    state = lowered.state(INITIAL[name])
    rho = state if state.ndim == 2 else np.outer(state, state.conj())
    channels = [qutip.Qobj(L.toarray()) for channel, L in lowered.channels.items() if channel != without]
    result = qutip.mesolve(
        qutip.Qobj(lowered.H.toarray()),
        qutip.Qobj(rho),
        TIMES,
        channels,
        e_ops=[qutip.Qobj(O.toarray()) for O in lowered.observables.values()],
        options={"rtol": 1e-10, "atol": 1e-12, "progress_bar": ""},
    )
    return np.array(result.expect).T


def misses(data, names, expected):
    """|z| of every observable at every time but the first, over the trajectories."""
    out = []
    for o, name in enumerate(names):
        key = f"expect_{name}" if f"expect_{name}" in data else f"hidden_{name}"
        out.append(abs(z_scores(data[key].values[:, 1:], expected[1:, o])).max())
    return max(out)


REFERENCE = {name: master_equation(name) for name in SYSTEMS}


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("case", detectors("vdp"))
@pytest.mark.parametrize("name", SYSTEMS)
def test_means_follow_the_master_equation(name, case, level):
    system, unraveling = SYSTEMS[name], detectors(name)[case]
    names = list(system.observables)
    options = {"seed": 0, "level": level, "initial": INITIAL[name], "observables": names}
    data = run(system, unraveling, TIMES, 2048, **options)
    complete = case == "complete" and name != "three levels"  # that one starts mixed
    assert ("expect_" + names[0] in data) == (level == "density" or complete)
    good = misses(data, names, REFERENCE[name])
    broken = misses(data, names, master_equation(name, DROPPED[name]))
    print(f"mesolve, {name}, {case}, {level}: z {good:.2f}; broken {broken:.1f}")
    assert good < LIMIT
    assert broken > CONTROL


def test_density_without_a_detector_is_the_master_equation():
    """Deterministic: no tolerance for chance."""
    for name, system in SYSTEMS.items():
        names = list(system.observables)
        data = run(system, None, TIMES, 1, seed=0, level="density", initial=INITIAL[name], observables=names)
        for o, observable in enumerate(names):
            found = data[f"expect_{observable}"].values[0]
            assert abs(found - REFERENCE[name][:, o]).max() < 1e-7


@pytest.mark.parametrize("name", SYSTEMS)
def test_states_follow_the_master_equation(name):
    """All elements of ρ at once, from kets and from density matrices."""
    system, unraveling = SYSTEMS[name], detectors(name)["mixed"]
    d = system.lower().dim
    units = {f"u{r}{c}": np.eye(d)[:, [c]] @ np.eye(d)[[r]] for r in range(d) for c in range(r, d)}
    exact = System(
        qutip.Qobj(system.lower().H.toarray()),
        {k: qutip.Qobj(L.toarray()) for k, L in system.lower().channels.items()},
        {k: qutip.Qobj(u) for k, u in units.items()},
        initial=_density(system, name),
    )
    data = run(exact, None, TIMES, 1, seed=0, level="density", observables=list(units))
    for level in ("ket", "density"):
        found = run(system, unraveling, TIMES, 1024, seed=1, level=level, initial=INITIAL[name], states=True)[
            "state"
        ].values
        rho = found if level == "density" else found[..., :, None] * found[..., None, :].conj()
        worst = 0.0
        for key in units:
            r, c = int(key[1]), int(key[2])
            worst = max(worst, abs(z_scores(rho[:, 1:, r, c], data[f"expect_{key}"].values[0, 1:])).max())
        print(f"states, {name}, {level}: z {worst:.2f}")
        assert worst < LIMIT


def _density(system, name):
    state = system.lower().state(INITIAL[name])
    return state if state.ndim == 2 else np.outer(state, state.conj())
