"""The library of models against QuTiP operators written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import qutip
from qutip import destroy, qeye, sigmam, sigmap, sigmax, sigmay, sigmaz, tensor

from backaction.systems import (
    cascaded,
    damped_cavity,
    driven_qubit,
    parametric_oscillator,
    qnd_qubit,
    spin,
    two_spins,
    two_vdp,
    vdp,
)

N = 5
a1 = destroy(N)
a, b = tensor(destroy(N), qeye(N)), tensor(qeye(N), destroy(N))
sma, smb = tensor(sigmam(), qeye(2)), tensor(qeye(2), sigmam())
sza, szb = tensor(sigmaz(), qeye(2)), tensor(qeye(2), sigmaz())
E = 0.3 - 0.2j

#: model -> system, H, channels, observables
MODELS = {
    "vdp": (
        vdp(kappa1=3, kappa2=0.5, kappa=2, omega=1.5, levels=N),
        1.5 * a1.dag() * a1,
        {"loss": 2**0.5 * a1, "pump": 3**0.5 * a1.dag(), "two_photon": 0.5**0.5 * a1 * a1},
        {"n": a1.dag() * a1, "a": a1},
    ),
    "two_vdp": (
        two_vdp(kappa1=3, kappa2=0.5, kappa=2, coupling=4, detuning=0.6, levels=N),
        0.3 * (a.dag() * a - b.dag() * b),
        {
            "loss_a": 2**0.5 * a,
            "loss_b": 2**0.5 * b,
            "pump_a": 3**0.5 * a.dag(),
            "pump_b": 3**0.5 * b.dag(),
            "two_photon_a": 0.5**0.5 * a * a,
            "two_photon_b": 0.5**0.5 * b * b,
            "coupling": 2 * (a - b),
        },
        {"n_a": a.dag() * a, "n_b": b.dag() * b, "a": a, "b": b, "coherence": a.dag() * b},
    ),
    "spin": (
        spin(gamma_plus=0.5, gamma_minus=2, omega=3),
        1.5 * sigmaz(),
        {"loss": 2**0.5 * sigmam(), "pump": 0.5**0.5 * sigmap()},
        {"sz": sigmaz(), "sp": sigmap(), "sx": sigmax()},
    ),
    "two_spins": (
        two_spins(gamma_plus=0.5, gamma_minus=2, coupling=4, detuning=0.6),
        0.15 * (sza - szb),
        {
            "loss_a": 2**0.5 * sma,
            "loss_b": 2**0.5 * smb,
            "pump_a": 0.5**0.5 * sma.dag(),
            "pump_b": 0.5**0.5 * smb.dag(),
            "coupling": 2 * (sma + smb),
        },
        {"sz_a": sza, "sz_b": szb, "sp_a": sma.dag(), "sp_b": smb.dag(), "coherence": sma.dag() * smb},
    ),
    "driven_qubit": (
        driven_qubit(rabi=5, gamma=2, detuning=0.4),
        2.5 * sigmax() + 0.2 * sigmaz(),
        {"loss": 2**0.5 * sigmam()},
        {
            "excited": sigmap() * sigmam(),
            "sm": sigmam(),
            "sx": sigmax(),
            "sy": sigmay(),
            "sz": sigmaz(),
        },
    ),
    "damped_cavity": (
        damped_cavity(kappa=2, omega=1.5, drive=E, n_thermal=0.5, levels=N),
        1.5 * a1.dag() * a1 + 1j * (E * a1.dag() - np.conj(E) * a1),
        {"loss": 3**0.5 * a1, "heating": a1.dag()},
        {"n": a1.dag() * a1, "a": a1},
    ),
    "cold_cavity": (
        damped_cavity(kappa=2, levels=N),
        0 * a1,
        {"loss": 2**0.5 * a1},
        {"n": a1.dag() * a1, "a": a1},
    ),
    "parametric_oscillator": (
        parametric_oscillator(epsilon=0.4, kappa=2, levels=N),
        0.2j * (a1.dag() ** 2 - a1**2),
        {"loss": 2**0.5 * a1},
        {"n": a1.dag() * a1, "x": a1 + a1.dag(), "p": -1j * (a1 - a1.dag())},
    ),
    "qnd_qubit": (
        qnd_qubit(k=3),
        0 * sigmaz(),
        {"probe": 3**0.5 * sigmaz()},
        {"sx": sigmax(), "sy": sigmay(), "sz": sigmaz()},
    ),
    "cascaded_bosons": (
        cascaded(kappa_source=2, kappa_target=3, rabi=0.8, levels=N),
        -0.5j * 6**0.5 * (b.dag() * a - a.dag() * b) + 0.4 * (a + a.dag()),
        {"output": 2**0.5 * a + 3**0.5 * b},
        {"n_source": a.dag() * a, "n_target": b.dag() * b},
    ),
    "cascaded_qubits": (
        cascaded(kappa_source=2, kappa_target=3, rabi=0.8, source="qubit", target="qubit"),
        -0.5j * 6**0.5 * (smb.dag() * sma - sma.dag() * smb) + 0.4 * (sma + sma.dag()),
        {"output": 2**0.5 * sma + 3**0.5 * smb},
        {"n_source": sma.dag() * sma, "n_target": smb.dag() * smb},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_model_is_what_its_docstring_says(name):
    system, H, channels, observables = MODELS[name]
    lowered = system.lower()
    np.testing.assert_allclose(lowered.H.toarray(), H.full(), atol=1e-13)
    assert set(lowered.channels) == set(channels)
    for key, expected in channels.items():
        np.testing.assert_allclose(lowered.channels[key].toarray(), expected.full(), atol=1e-13, err_msg=key)
    for key, expected in observables.items():
        ours = lowered.observables[key].toarray()
        np.testing.assert_allclose(ours, expected.full(), atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_kept_for_the_recipe(name):
    system = MODELS[name][0]
    assert name.startswith(system.name.split("_")[0]) or system.name == "damped_cavity"
    assert json.loads(json.dumps(dict(system.parameters))) == dict(system.parameters)
    assert system.parameters


def test_squares_of_quadratures_are_normally_ordered_before_the_cut():
    """x² of the docstring is the operator's, so the top level keeps its vacuum part."""
    lowered = parametric_oscillator(0.4, 2, levels=N).lower()
    big = destroy(N + 3)
    for key, x in (("x2", big + big.dag()), ("p2", -1j * (big - big.dag()))):
        np.testing.assert_allclose(lowered.observables[key].toarray(), (x * x).full()[:N, :N], atol=1e-12, err_msg=key)


def test_qnd_qubit_starts_in_plus():
    ket = qnd_qubit(1.0).lower().state()
    np.testing.assert_allclose(ket, [2**-0.5, 2**-0.5], atol=1e-15)


def test_default_levels():
    assert vdp(1, 1).lower().dim == 20
    assert two_vdp(3, 1, 1, 1, 0).lower().dim == 144
    assert damped_cavity(1.0).lower().dim == 20
    assert parametric_oscillator(0.1, 1).lower().dim == 40


def test_cascade_does_not_act_back():
    """The source alone obeys its own master equation whatever the target does."""
    lowered = cascaded(2.0, 3.0, rabi=0.8, source="qubit", target="qubit").lower()
    H, L = qutip.Qobj(lowered.H.toarray()), qutip.Qobj(lowered.channels["output"].toarray())
    n = qutip.Qobj(lowered.observables["n_source"].toarray())
    times = np.linspace(0, 3, 7)
    joint = qutip.mesolve(H, qutip.basis(4, 3), times, [L], e_ops=[n]).expect[0]
    alone = qutip.mesolve(
        0.4 * sigmax(), qutip.basis(2, 1), times, [2**0.5 * sigmam()], e_ops=[sigmap() * sigmam()]
    ).expect[0]
    np.testing.assert_allclose(joint, alone, atol=1e-4)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: vdp(-1, 1), "kappa1"),
        (lambda: vdp(1, np.nan), "kappa2"),
        (lambda: vdp(1, 1, kappa=-2), "kappa"),
        (lambda: vdp(1, 1, omega=1j), "H"),
        (lambda: vdp(1, 1, levels=1), "levels"),
        (lambda: two_vdp(1, 1, 1, -1, 0), "coupling"),
        (lambda: two_vdp(1, 1, 1, 1, np.nan), "H"),
        (lambda: two_spins(-1, 1, 1, 0), "gamma_plus"),
        (lambda: spin(1, -1), "gamma_minus"),
        (lambda: driven_qubit(1, -1), "gamma"),
        (lambda: driven_qubit(1j, 1), "H"),
        (lambda: damped_cavity(1, n_thermal=-1), "n_thermal"),
        (lambda: damped_cavity(-1), "kappa"),
        (lambda: parametric_oscillator(0.1, -1), "kappa"),
        (lambda: qnd_qubit(-1), "k"),
        (lambda: cascaded(-1, 1), "kappa_source"),
        (lambda: cascaded(1, -1), "kappa_target"),
        (lambda: cascaded(1, 1, source="fermion"), "source"),
    ],
)
def test_bad_parameters_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"`{name}`|Argument `{name}`"):
        make()
