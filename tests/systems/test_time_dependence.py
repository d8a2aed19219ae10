"""Time-dependent systems against QuTiP's QobjEvo at random times; Hermiticity; what must be constant says so."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qutip
import scipy.sparse as sp

import backaction as ba
from backaction import references
from backaction.coefficients import conjugate
from backaction.systems import Basis, Boson, Levels, Spin, System, driven_qubit, liouvillian, unconditional
from backaction.systems.terms import antihermitian_map

TIMES = np.random.default_rng(2).uniform(0.0, 5.0, 6)
GRID = np.linspace(0.0, 5.0, 101)
LEVELS = 4

# sites in the order of their names: the mode first
mode, spin = Boson("a", LEVELS), Spin("s")
A = qutip.tensor(qutip.destroy(LEVELS), qutip.qeye(2))
SM = qutip.tensor(qutip.qeye(LEVELS), qutip.sigmam())
SZ = qutip.tensor(qutip.qeye(LEVELS), qutip.sigmaz())


def drive(t):
    return np.exp(1.7j * t) * (1 + 0.3 * np.sin(t))


def undrive(t):
    return np.conj(drive(t))


def ramp(t):
    return 0.2 + t**2 / 10


def switch(t):  # single times only
    return 1.0 if t < 2.0 else 0.25


def decay(t):
    return math.sqrt(0.3 + 0.2 * math.sin(t)) + 0.1j


SAMPLES = ba.Sampled(GRID, np.cos(GRID))

SYMBOLIC = System(
    [
        0.7 * mode.n,
        (0.5 * mode.a.dag(), drive),
        [0.5 * mode.a, undrive],
        (2 * spin.sz, ramp),
        spin.sp * mode.a + spin.sm * mode.a.dag(),
        (0.1 * mode.n, ramp),
        (0.2 * (mode.a + mode.a.dag()), SAMPLES),
    ],
    {
        "loss": [0.3 * mode.a, (0.4 * mode.a + 0.1j * spin.sm, decay), [spin.sm, drive]],
        "gate": (0.5 * spin.sm, switch),
        "pump": 0.2 * mode.a.dag(),
    },
    {"n": mode.n},
)
MATRICES = System(
    [
        0.7 * A.dag() * A,
        (0.5 * A.dag(), drive),
        [0.5 * A, undrive],
        (SZ, ramp),
        SM.dag() * A + SM * A.dag(),
        (0.1 * A.dag() * A, ramp),
        (0.2 * (A + A.dag()), SAMPLES),
    ],
    {
        "loss": [0.3 * A, (0.4 * A + 0.1j * SM, decay), [SM, drive]],
        "gate": (0.5 * SM, switch),
        "pump": 0.2 * A.dag(),
    },
    {"n": A.dag() * A},
)
HAMILTONIAN = qutip.QobjEvo(
    [
        0.7 * A.dag() * A + SM.dag() * A + SM * A.dag(),
        [0.5 * A.dag(), drive],
        [0.5 * A, undrive],
        [SZ + 0.1 * A.dag() * A, ramp],
        [0.2 * (A + A.dag()), np.cos],
    ]
)
CHANNELS = {
    "loss": qutip.QobjEvo([0.3 * A, [0.4 * A + 0.1j * SM, decay], [SM, drive]]),
    "gate": qutip.QobjEvo([[0.5 * SM, switch]]),
    "pump": qutip.QobjEvo(0.2 * A.dag()),
}
EVO = System(HAMILTONIAN, CHANNELS, {"n": A.dag() * A})
BARE = System(
    [(0.7 * A.dag() * A + SM.dag() * A + SM * A.dag()).full(),
     (0.5 * A.dag().full(), drive), (sp.csc_matrix(0.5 * A.full()), undrive),
     ((SZ + 0.1 * A.dag() * A).full(), ramp),
     (0.2 * (A + A.dag()).full(), SAMPLES)],
    {"loss": [0.3 * A.full(), ((0.4 * A + 0.1j * SM).full(), decay), (SM.full(), drive)],
     "gate": [((0.5 * SM).full(), switch)], "pump": 0.2 * A.dag().full()},
)  # fmt: skip
KINDS = {"symbolic": SYMBOLIC, "matrices": MATRICES, "QobjEvo": EVO, "arrays": BARE}
kinds = pytest.mark.parametrize("system", KINDS.values(), ids=KINDS)


def largest(matrix):
    return abs(matrix).max() if matrix.nnz else 0.0


def theirs(t):
    """𝓛 of QuTiP, rearranged from stacked columns to stacked rows."""
    L = qutip.liouvillian(HAMILTONIAN(t), [c(t) for c in CHANNELS.values()]).full()
    d = HAMILTONIAN.shape[0]
    return L.reshape(d, d, d, d).transpose(1, 0, 3, 2).reshape(d * d, d * d)


# === lowering


@kinds
def test_hamiltonian_and_channels_at_random_times(system):
    lowered = system.lower()
    for t in TIMES:
        now = lowered.at(t)
        assert not now.time_dependent
        np.testing.assert_allclose(now.H.toarray(), HAMILTONIAN(t).full(), atol=1e-6)  # of the samples
        assert list(now.channels) == list(CHANNELS)
        for name, L in now.channels.items():
            np.testing.assert_allclose(L.toarray(), CHANNELS[name](t).full(), atol=1e-13)
        assert (now.H - now.H.conj().T).nnz == 0
        later = lowered.at(t + 0.01).H.toarray()
        assert abs(later - HAMILTONIAN(t).full()).max() > 1e-3  # negative control


@kinds
def test_liouvillian_at_random_times(system):
    for t in TIMES:
        found = liouvillian(system.lower().at(t)).toarray()
        assert abs(found - theirs(t)).max() < 1e-6
        assert abs(found - theirs(t + 0.01)).max() > 1e-3  # negative control


@kinds
def test_terms_and_values_add_up_to_the_operators(system):
    """What a plan is built from: constant parts, terms and the values of shared coefficients."""
    lowered = system.lower()
    values = lowered.values(TIMES)
    assert values.shape == (len(lowered.coefficients), len(TIMES))
    assert values.dtype == complex
    for i, t in enumerate(TIMES):
        H = lowered.H + sum(values[k, i] * X for X, k in lowered.H_terms)
        np.testing.assert_allclose(H.toarray(), HAMILTONIAN(t).full(), atol=1e-6)
        for name, terms in lowered.channel_terms.items():
            L = lowered.channels[name] + sum(values[k, i] * X for X, k in terms)
            np.testing.assert_allclose(L.toarray(), CHANNELS[name](t).full(), atol=1e-13)
        np.testing.assert_allclose(lowered.frozen(values[:, i]).H.toarray(), H.toarray(), atol=1e-13)
    assert set(lowered.channel_terms) == {"loss", "gate"}
    assert all(isinstance(X, sp.csr_array) and X.dtype == complex for X, _ in lowered.H_terms)
    assert lowered.channels["gate"].nnz == 0


def test_terms_with_the_same_function_share_a_coefficient():
    lowered = SYMBOLIC.lower()
    assert lowered.coefficients == (drive, undrive, ramp, SAMPLES, decay, switch)
    assert [k for _, k in lowered.H_terms] == [0, 1, 2, 3]  # ramp's two terms are one matrix
    assert [k for _, k in lowered.channel_terms["loss"]] == [4, 0]
    assert [k for _, k in lowered.channel_terms["gate"]] == [5]
    separate = System([0 * mode.n, (mode.n, lambda t: t), (mode.n, lambda t: t)], {}).lower()
    assert len(separate.coefficients) == 2
    equal = System([(mode.n, ba.Sampled(GRID, GRID)), (mode.a.dag() * mode.a, ba.Sampled(GRID, GRID))], {}).lower()
    assert len(equal.coefficients) == len(equal.H_terms) == 1


@kinds
def test_time_dependence_is_told(system):
    assert system.time_dependent
    assert system.lower().time_dependent
    assert not driven_qubit(1.0, 1.0).time_dependent
    assert system.symbolic == (system is SYMBOLIC)


def test_constant_systems_are_as_they_were():
    lowered = driven_qubit(1.0, 1.0).lower()
    assert (lowered.H_terms, lowered.channel_terms, lowered.coefficients) == ((), {}, ())
    assert not lowered.time_dependent
    assert lowered.values(TIMES).shape == (0, len(TIMES))
    assert abs(lowered.at(3.0).H - lowered.H).max() == 0
    one = System([A.dag() * A, A + A.dag()], {"loss": [0.3 * A, 0.1 * SM]})  # sums of constant operators
    assert not one.time_dependent
    np.testing.assert_allclose(one.lower().H.toarray(), (A.dag() * A + A + A.dag()).full())
    np.testing.assert_allclose(one.lower().channels["loss"].toarray(), (0.3 * A + 0.1 * SM).full())
    assert "time_dependence" not in driven_qubit(1.0, 1.0).parameters


def test_one_term_needs_no_list():
    for H in ((A + A.dag(), np.cos), [A + A.dag(), np.cos], [(A + A.dag(), np.cos)]):
        np.testing.assert_allclose(System(H, {}).lower().at(0.4).H.toarray(), np.cos(0.4) * (A + A.dag()).full())


def test_sites_and_bases_see_every_term():
    q = Levels("q", 3)
    system = System([mode.n, (q.unit(0, 0), np.cos)], {"loss": (spin.sm, np.sin)})
    assert system.sites == (mode, q, spin)
    assert system.lower(Basis(levels={"a": 3})).at(0.3).dim == 18
    small = SYMBOLIC.lower(Basis(totals=[(("a", "s"), 2)]))
    big = SYMBOLIC.lower()
    index = [int(np.flatnonzero((big.basis.occupations == o).all(axis=1))[0]) for o in small.basis.occupations]
    for t in TIMES:
        np.testing.assert_allclose(small.at(t).H.toarray(), big.at(t).H.toarray()[np.ix_(index, index)], atol=1e-14)


def test_initial_states_of_time_dependent_matrices():
    ket = qutip.tensor(qutip.basis(LEVELS, 1), qutip.basis(2, 0))
    system = System(HAMILTONIAN, CHANNELS, initial=ket)
    np.testing.assert_array_equal(system.lower().state(), ket.full()[:, 0])
    assert system.factors == [LEVELS, 2]
    with pytest.raises(ValueError, match="`initial` must have the tensor factors"):
        System(HAMILTONIAN, CHANNELS, initial=qutip.tensor(qutip.basis(2, 0), qutip.basis(LEVELS, 1)))


# === QobjEvo


def test_every_kind_of_qobjevo_is_taken():
    a = qutip.destroy(3)
    x = a + a.dag()
    evos = [
        qutip.QobjEvo([a.dag() * a, [a, lambda t, w: np.exp(1j * w * t)], [a.dag(), lambda t, w: np.exp(-1j * w * t)]],
                      args={"w": 1.3}),
        qutip.QobjEvo([a.dag() * a, [x, np.sin(GRID)]], tlist=GRID),
        2 * qutip.QobjEvo([[x, np.cos]]) + qutip.QobjEvo([[a.dag() * a, np.sin]]),
        qutip.QobjEvo([[a, drive]]) + qutip.QobjEvo([[a, drive]]).dag(),
        qutip.tensor(qutip.QobjEvo([x, [x, np.cos]]), qutip.qeye(2)),
        qutip.QobjEvo(x),
    ]  # fmt: skip
    for evo in evos:
        d = evo.shape[0]
        system = System(evo, {"loss": evo})
        assert system.time_dependent is not evo.isconstant
        lowered = system.lower()
        for t in TIMES:
            np.testing.assert_allclose(lowered.at(t).H.toarray(), evo(t).full(), atol=1e-13)
            np.testing.assert_allclose(lowered.at(t).channels["loss"].toarray(), evo(t).full(), atol=1e-13)
        mixed = System([evo, sp.eye_array(d), (np.eye(d), np.sin)], {}).lower().at(0.4)
        np.testing.assert_allclose(mixed.H.toarray(), evo(0.4).full() + (1 + np.sin(0.4)) * np.eye(d), atol=1e-13)


# === Hermiticity


def test_a_term_without_its_conjugate_is_refused_where_it_is_written():
    a, b = Boson("a", 3), Boson("b", 3)
    for H in (
        [a.n, (a.a, drive)],
        (a.a, drive),
        [(a.n, ramp), (a.a, drive), (2 * b.a, undrive)],
        [(a.a.dag() + b.a, drive), (a.a, undrive)],
        [(A, drive), (2j * SM, undrive)],
        qutip.QobjEvo([A.dag() * A, [A, drive]]),
    ):
        with pytest.raises(ValueError, match=r"`H` must be Hermitian at all times, but `H.* no partner; add the Herm"):
            System(H, {})


def test_terms_whose_conjugate_is_among_the_others_are_taken():
    a, b = Boson("a", 3), Boson("b", 3)
    for H in (
        [(a.a, drive), (a.a.dag(), undrive)],
        [(a.a + b.a, drive), (a.a.dag(), lambda t: undrive(t)), (b.a.dag(), lambda t: undrive(t))],
        [(2 * a.a, drive), (1j * a.a.dag(), lambda t: -2j * undrive(t))],
        [(a.a + a.a.dag(), np.cos), (1j * a.n, lambda t: 1j * t), (a.a, drive), (a.a.dag(), conjugate(drive))],
        [(1e9 * a.a, drive), (1e9 * a.a.dag(), undrive), (1e-9 * b.n, ramp)],
        [(a.a, lambda t: 0.0), (a.a.dag(), lambda t: 0.0)],
    ):
        System(H, {}).lower().values(TIMES)


@pytest.mark.parametrize(
    "H",
    [
        [(mode.a, drive), (mode.a.dag(), drive)],
        [(mode.a, drive), (mode.a.dag(), lambda t: undrive(t) * (1 + 1e-8))],
        [(mode.n, drive)],
        [1e6 * mode.n, (mode.n, lambda t: ramp(t) + 1e-8j)],
        [(A + A.dag(), lambda t: 1j * t)],
        qutip.QobjEvo([[A.dag() * A, lambda t: 1j * (t > 2)]]),
    ],
)
def test_values_that_do_not_make_h_hermitian_are_refused_at_their_time(H):
    lowered = System(H, {}).lower()
    with pytest.raises(ValueError, match=r"`H` must be Hermitian at all times, but at t = .* add the Hermitian conj"):
        lowered.values(TIMES)
    with pytest.raises(ValueError, match=r"at t = 3\.5 "):
        lowered.at(3.5)
    with pytest.raises(ValueError, match="for these values"):
        lowered.frozen(np.linspace(1j, 2, len(lowered.coefficients)))


def test_hermiticity_is_that_of_the_dense_sum():
    """The check against H − H† formed element by element, for random operators and values."""
    rng = np.random.default_rng(8)
    d, n = 5, 3
    X = rng.normal(size=(n, d, d)) + 1j * rng.normal(size=(n, d, d))
    operators = [sp.csr_array(M) for M in (*X, *X.conj().transpose(0, 2, 1))]
    R = antihermitian_map(operators)
    for _ in range(4):
        f = rng.normal(size=2 * n) + 1j * rng.normal(size=2 * n)
        H = sum(c * M for c, M in zip(f, operators, strict=True)).toarray()
        expected = np.linalg.norm(H - H.conj().T)
        assert np.linalg.norm(R @ np.concatenate([f.real, f.imag])) == pytest.approx(expected, rel=1e-12)
        f[n:] = f[:n].conj()
        assert np.linalg.norm(R @ np.concatenate([f.real, f.imag])) < 1e-12 * expected


def test_channels_need_no_partner():
    lowered = System(mode.n, {"loss": (mode.a, drive)}).lower()
    expected = drive(0.3) * qutip.destroy(LEVELS).full()
    np.testing.assert_allclose(lowered.at(0.3).channels["loss"].toarray(), expected, atol=1e-15)


# === rewriting beams


def rewritings(system):
    rng = np.random.default_rng(5)
    U, _ = np.linalg.qr(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))
    split = system.split("loss", first=0.3, second=0.7)
    return {
        "split": split,
        "mix": system.mix(("loss", "gate", "pump"), U, ("x", "y", "z")),
        "displace": system.displace("loss", 0.7 - 1.1j),
        "displace constant": system.displace("pump", 0.7 - 1.1j),
        "displace varying": system.displace("gate", -0.4j),
        "all": split.displace("second", -2.0).mix(("first", "gate"), [[0.6, 0.8j], [0.8j, 0.6]], ("p", "q")),
    }


@pytest.mark.parametrize("kind", rewritings(SYMBOLIC))
@kinds
def test_rewritings_keep_the_liouvillian_at_all_times(system, kind):
    rewritten = rewritings(system)[kind]
    lowered, again = system.lower(), rewritten.lower()
    again.values(TIMES)
    for t in TIMES[:3]:
        x, y = liouvillian(lowered.at(t)), liouvillian(again.at(t))
        assert largest(x - y) < 1e-13 * largest(x)
    assert rewritten.parameters["rewritten"]


@kinds
def test_rewritings_change_what_is_measured(system):
    now = system.lower().at(1.3).channels
    split = system.split("loss", first=0.36, second=0.64).lower()
    np.testing.assert_allclose(split.at(1.3).channels["first"].toarray(), 0.6 * now["loss"].toarray(), atol=1e-14)
    assert len(split.coefficients) == len(system.lower().coefficients)
    displaced = system.displace("gate", 2.0).lower().at(1.3).channels["gate"]
    np.testing.assert_allclose(displaced.toarray(), now["gate"].toarray() + 2 * np.eye(2 * LEVELS), atol=1e-14)
    mixed = system.mix(("loss", "gate"), [[0.6, 0.8j], [0.8j, 0.6]], ("p", "q")).lower().at(1.3).channels["p"]
    expected = 0.6 * now["loss"] + 0.8j * now["gate"]
    np.testing.assert_allclose(mixed.toarray(), expected.toarray(), atol=1e-14)


def test_a_displacement_takes_the_conjugate_of_the_coefficient():
    """Negative control: with f in place of f*, the Hamiltonian of a displaced channel is not Hermitian."""
    alpha, L = 0.5 + 0.2j, 0.3 * mode.a
    right = [(-0.5j * alpha.conjugate() * L, drive), (0.5j * alpha * L.dag(), undrive)]
    wrong = [right[0], (right[1][0], drive)]
    ours = System(0 * mode.n, {"loss": (L, drive)}).displace("loss", alpha).lower().at(1.1)
    assert largest(ours.H - System(right, {}).lower().at(1.1).H) < 1e-15
    with pytest.raises(ValueError, match="Hermitian"):
        System(wrong, {}).lower().at(1.1)


# === what must be constant


UNRAVELING = ba.Heterodyne("loss", "gate")
CONSTANT = {
    "liouvillian": lambda s: liouvillian(s.lower() if isinstance(s, System) else s),
    "steady_state": ba.systems.steady_state,
    "spectrum": lambda s: ba.systems.spectrum(s, "n", [0.0]),
    "husimi": lambda s: ba.systems.phase_distribution(s, "a"),
    "Sectors": lambda s: unconditional.Sectors.of(unconditional.lower(s)),
    "waiting_times": lambda s: references.waiting_times(s, ba.QuantumJumps("loss"), [1.0]),
    "g2": lambda s: references.g2(s, "loss", [1.0]),
    "measured_spectrum": lambda s: references.measured_spectrum(
        s, ba.Heterodyne("loss"), duration=1.0, bin_width=0.1
    ),
    "measured_covariance": lambda s: references.measured_covariance(s, ba.Heterodyne("loss"), 3, bin_width=0.1),
    "phase_distribution": lambda s: references.phase_distribution(s, UNRAVELING, window=1.0),
}  # fmt: skip


@pytest.mark.parametrize("function", CONSTANT.values(), ids=CONSTANT)
def test_unconditional_results_need_a_constant_system(function):
    for system in (SYMBOLIC, SYMBOLIC.lower(), System(mode.n, {"loss": (mode.a, ramp), "gate": mode.a})):
        with pytest.raises(ValueError, match=r"`system` must be constant in time, but .*at\(t\)"):
            function(system)


@pytest.mark.parametrize("name", ["steady_state", "spectrum", "husimi", "g2", "measured_covariance", "liouvillian"])
def test_at_one_moment_a_system_is_constant(name):
    CONSTANT[name](SYMBOLIC.lower().at(1.3))


def test_the_steady_state_at_a_moment_is_qutips():
    H, channels = HAMILTONIAN(1.3), [c(1.3) for c in CHANNELS.values()]
    ours = ba.systems.steady_state(SYMBOLIC.lower().at(1.3))
    np.testing.assert_allclose(ours, qutip.steadystate(H, channels).full(), atol=1e-6)


OSCILLATING = {
    "LocalOscillator": ba.LocalOscillator(3.0),
    "Sampled": ba.Sampled([0, 1], [0, 1], 1),
    "function": np.cos,
}


@pytest.mark.parametrize("phase", OSCILLATING.values(), ids=OSCILLATING)
def test_references_need_a_constant_local_oscillator(phase):
    system = driven_qubit(1.0, 1.0)
    for call in (
        lambda u: references.measured_spectrum(system, u, duration=1.0, bin_width=0.1),
        lambda u: references.measured_covariance(system, u, 3, bin_width=0.1),
    ):
        call(ba.Homodyne("loss", phase=0.3))
        with pytest.raises(ValueError, match=r"`unraveling` must have local oscillators of constant phase, .* 'loss'"):
            call(ba.Homodyne("loss", phase=phase))


# === recipes


def test_parameters_name_the_coefficients():
    assert SYMBOLIC.parameters["time_dependence"] == {
        "H[1][1]": "<function drive>",
        "H[2][1]": "<function undrive>",
        "H[3][1]": "<function ramp>",
        "H[6][1]": repr(SAMPLES),
        "channels['loss'][1][1]": "<function decay>",
        "channels['gate'][1]": "<function switch>",
    }
    split = SYMBOLIC.split("gate", gate1=0.5, gate2=0.5).parameters
    assert split["time_dependence"]["channels['gate1'][0][1]"] == "<function switch>"
    assert split["rewritten"]
    assert "0x" not in json.dumps([EVO.parameters, SYMBOLIC.displace("loss", 1.0).parameters])


def test_parameters_are_the_same_in_another_process():
    code = (
        "import json, sys; sys.path[:0] = [sys.argv[1]]; import test_time_dependence as t;"
        "print(json.dumps(dict(t.SYMBOLIC.parameters)))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == dict(SYMBOLIC.parameters)


# === arguments

x = np.array([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: System([], {}), ("`H`", "at least one", "[]")),
        (lambda: System([x, (x, 2.0)], {}), ("`H[1][1]`", "function of time", "float", "multiply")),
        (lambda: System([x, (x, np.cos(GRID))], {}), ("`H[1][1]`", "ndarray", "ba.Sampled")),
        (lambda: System([x, np.cos(GRID)], {}), ("`H[1]`", "ndarray", "ba.Sampled")),
        (lambda: System([x, (x, [0.0, 1.0])], {}), ("`H[1][1]`", "list", "ba.Sampled")),
        (lambda: System([x, (x, "cos(t)")], {}), ("`H[1][1]`", "str", "function")),
        (lambda: System([x, (x, None)], {}), ("`H[1][1]`", "NoneType")),
        (lambda: System((x, "cos(t)"), {}), ("`H[1]`", "str")),
        (lambda: System([x, (x, x)], {}), ("`H[1]`", "pair", "['ndarray', 'ndarray']")),
        (lambda: System([x, (x,)], {}), ("`H[1]`", "pair")),
        (lambda: System([x, (x, np.cos, np.sin)], {}), ("`H[1]`", "pair")),
        (lambda: System([x, (np.cos, x)], {}), ("`H[1]`", "pair")),
        (lambda: System([[0, 1], [1, 0]], {}), ("`H[0]`", "pair", "array")),
        (lambda: System([x, 3.0, (x, np.cos)], {}), ("`H[1]`", "float")),
        (lambda: System([x, (x + 1j, np.cos)], {}), ("`H[1][0]`", "Hermitian")),
        (lambda: System([x + 1j, (x, np.cos)], {}), ("`H`", "Hermitian", "2")),
        (lambda: System([1j * mode.n, (mode.n, np.cos)], {}), ("`H`", "Hermitian")),
        (lambda: System([x, (np.eye(3), np.cos)], {}), ("`H[1][0]`", "(2, 2)", "(3, 3)")),
        (lambda: System([x, (np.nan * x, np.cos)], {}), ("`H[1][0]`", "finite")),
        (lambda: System([mode.n, (np.inf * mode.n, np.cos)], {}), ("`H[1][0]`", "finite")),
        (lambda: System([mode.n, (x, np.cos)], {}), ("mixed",)),
        (lambda: System([mode.n, (Boson("a", 9).n, np.cos)], {}), ("`H[1][0]`", "different site")),
        (lambda: System([A + A.dag(), (qutip.qeye([2, LEVELS]), np.cos)], {}), ("`H[1][0]`", "factors", "order")),
        (lambda: System(x, {"loss": [x, (x, 1.0)]}), ("`channels['loss'][1][1]`", "float")),
        (lambda: System(x, {"loss": (x, "t")}), ("`channels['loss'][1]`", "str")),
        (lambda: System(x, {"loss": []}), ("`channels['loss']`", "[]")),
        (lambda: System(x, {}, {"x": (x, np.cos)}), ("`observables['x']`", "constant")),
        (lambda: System(x, {}, {"x": HAMILTONIAN}), ("`observables['x']`", "QobjEvo", "constant")),
        (lambda: System(qutip.QobjEvo(lambda t: t * qutip.sigmax()), {}), ("`H`", "QobjEvo of a function", "[H0,")),
        (lambda: System(lambda t: x, {}), ("`H`", "function", "[H0, (H1, f), ...]")),
        (lambda: SYMBOLIC.lower().values(0.3), ("`times`", "one-dimensional")),
        (lambda: SYMBOLIC.lower().values([np.nan]), ("`times`", "finite")),
        (lambda: SYMBOLIC.lower().values([0.0, 5.1]), ("`H[6][1]`", "[0, 5]", "5.1")),
        (lambda: SYMBOLIC.lower().at(-0.1), ("`H[6][1]`", "[0, 5]", "-0.1")),
        (lambda: SYMBOLIC.lower().frozen([1.0]), ("`values`", "6 coefficients")),
        (lambda: SYMBOLIC.lower().frozen([1, 1, np.nan, 1, 1, 1]), ("`values`", "finite")),
        (lambda: System(mode.n, {"loss": (mode.a, lambda t: 1 / t)}).lower().at(0.0), ("`channels['loss'][1]`",)),
        (
            lambda: System([mode.n, (mode.n, lambda t: np.where(t > 1, np.nan, t))], {}).lower().values([0.5, 2.0]),
            ("`H[1][1]`", "finite", "t = 2"),
        ),
    ],
)
def test_bad_time_dependence_is_refused_by_name(make, words):
    with pytest.raises(ValueError, match="Argument") as error:
        make()
    for word in words:
        assert word in str(error.value)
