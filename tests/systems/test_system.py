"""`System`: lowering keeps trace, rewriting of beams keeps the Liouvillian, arguments are checked."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
import scipy.sparse as sp

import backaction as ba
from backaction.systems import (
    Basis,
    Boson,
    Levels,
    Spin,
    System,
    cascaded,
    damped_cavity,
    driven_qubit,
    liouvillian,
    parametric_oscillator,
    qnd_qubit,
    spin,
    two_spins,
    two_vdp,
    vdp,
)
from backaction.trajectories.propagators import generator


def three_modes():
    m1, m2, s = Boson("m1", 4), Boson("m2", 4), Spin("s")
    return System(
        m1.a.dag() * m2.a + m2.a.dag() * m1.a + 0.3 * s.sx,
        {"loss": m1.a + 0.5j * m2.a, "pump": m2.a.dag(), "pair": m1.a**2, "flip": s.sm * m1.a.dag()},
    )


LIBRARY = {
    "vdp": vdp(3, 0.7, 1, omega=1.3, levels=9),
    "two_vdp": two_vdp(3, 1, 1, 3, 0.5, levels=5),
    "spin": spin(0.5, 1, 2.0),
    "two_spins": two_spins(0.5, 1, 3, 0.5),
    "driven_qubit": driven_qubit(5, 1, 0.3),
    "damped_cavity": damped_cavity(1, 2, 0.4 + 0.1j, n_thermal=0.5, levels=8),
    "parametric_oscillator": parametric_oscillator(0.3, 1, levels=9),
    "qnd_qubit": qnd_qubit(0.8),
    "cascaded": cascaded(1, 0.6, 0.4, source="boson", target="qubit", levels=4),
    "three_modes": three_modes(),
}
BASES = {
    "vdp": [Basis(levels={"a": 4}), Basis(totals=[(("a",), 5)])],
    "two_vdp": [Basis(levels={"a": 3, "b": 6}), Basis(levels={"a": 6, "b": 6}, totals=[(("a", "b"), 6)])],
    "damped_cavity": [Basis(levels={"a": 3})],
    "parametric_oscillator": [Basis(levels={"a": 5})],
    "cascaded": [Basis(levels={"source": 2}), Basis(totals=[(("source", "target"), 2)])],
    "three_modes": [
        Basis(totals=[(("m1", "m2"), 4)]),
        Basis(levels={"m1": 5}, totals=[(("m1", "m2"), 5), (("m2",), 2)]),
    ],
}
CASES = [
    pytest.param(system, basis, id=f"{name}-{i}")
    for name, system in LIBRARY.items()
    for i, basis in enumerate([None, *BASES.get(name, [])])
]


def matrices_of(system):
    """The same system as QuTiP objects."""
    lowered = system.lower()
    return System(
        qutip.Qobj(lowered.H.toarray()),
        {k: qutip.Qobj(v.toarray()) for k, v in lowered.channels.items()},
    )


def largest(matrix):
    return abs(matrix).max() if matrix.nnz else 0.0


def distance(one, other, basis=None):
    """Largest entry of 𝓛 − 𝓛', relative to the largest of 𝓛 (at least 1)."""
    x, y = (liouvillian(s.lower(basis if s.symbolic else None)) for s in (one, other))
    return largest(x - y) / max(1.0, largest(x))


# --- the truncated model is itself a Lindblad equation


@pytest.mark.parametrize("system,basis", CASES)
def test_trace_is_conserved_in_every_basis(system, basis):
    lowered = system.lower(basis)
    L = liouvillian(lowered)
    one = np.eye(lowered.dim).reshape(-1)
    assert abs(L.conj().T @ one).max() <= 1e-13 * max(1.0, largest(L))
    # the same from the no-jump generator that the kernels are built from
    channels = list(lowered.channels.values())
    A = generator(lowered.H, channels)
    leak = A + A.conj().T + sum((c.conj().T @ c for c in channels), 0 * A)
    assert largest(leak) <= 1e-13 * max(1.0, largest(A))


@pytest.mark.parametrize("system,basis", CASES)
def test_lowered_hamiltonian_is_hermitian_to_the_last_bit(system, basis):
    H = system.lower(basis).H
    assert (H - H.conj().T).nnz == 0


def test_products_are_formed_after_lowering():
    """a†: the symbolic aa† = a†a + 1 would leak probability out of the top level."""
    system = LIBRARY["vdp"]
    lowered = system.lower()
    pump = lowered.channels["pump"]
    formed = (pump.conj().T @ pump).toarray()
    symbolic = lowered.operator(system.channels["pump"].dag() * system.channels["pump"]).toarray()
    top = lowered.dim - 1
    assert formed[top, top] == 0
    assert symbolic[top, top] == pytest.approx(3 * lowered.dim)
    np.testing.assert_allclose(formed[:top, :top], symbolic[:top, :top], atol=1e-12)


def test_lowered_channels_are_those_of_the_untruncated_operators():
    """Every matrix element between kept states is that of a much larger basis."""
    system = LIBRARY["three_modes"]
    small = system.lower(Basis(totals=[(("m1", "m2"), 3)]))
    big = system.lower(Basis(levels={"m1": 9, "m2": 9}))
    rows = [int(np.flatnonzero((big.basis.occupations == o).all(axis=1))[0]) for o in small.basis.occupations]
    for name in ("loss", "pump", "pair", "flip"):
        expected = big.channels[name].toarray()[np.ix_(rows, rows)]
        np.testing.assert_allclose(small.channels[name].toarray(), expected, atol=1e-13)


# --- rewritings leave 𝓛 as it was


def rewritings(system):
    names = list(system.channels)
    rng = np.random.default_rng(5)
    n = min(3, len(names))
    U, _ = np.linalg.qr(rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)))
    split = system.split(names[0], first=0.3, second=0.45, third=0.25)
    return {
        "split": split,
        "split_zero": system.split(names[-1], **{names[-1]: 1.0, "nothing": 0.0}),
        "mix": system.mix(names[:n], U, [f"out{i}" for i in range(n)]),
        "mix_in_place": system.mix(names[:n], U, names[:n]),
        "displace": system.displace(names[0], 0.7 - 1.1j),
        "all": split.displace("second", -2.0).mix(("first", "third"), [[0.6, 0.8j], [0.8j, 0.6]], ("p", "q")),
    }


KINDS = ["split", "split_zero", "mix", "mix_in_place", "displace", "all"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("system,basis", CASES)
def test_rewritings_keep_the_liouvillian(system, basis, kind):
    assert distance(system, rewritings(system)[kind], basis) <= 1e-13


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["two_vdp", "cascaded", "qnd_qubit"])
def test_rewritings_keep_the_liouvillian_of_matrices(name, kind):
    system = LIBRARY[name]
    assert distance(system, rewritings(matrices_of(system))[kind]) <= 1e-13


def test_rewritings_change_what_is_measured():
    """A negative control: the operators do change."""
    system = LIBRARY["two_spins"]
    lowered = system.lower().channels
    assert abs(system.displace("loss_a", 1.0).lower().channels["loss_a"] - lowered["loss_a"]).max() == 1
    halves = system.split("loss_a", x=0.25, y=0.75).lower().channels
    np.testing.assert_allclose(halves["x"].toarray(), 0.5 * lowered["loss_a"].toarray())
    root = np.sqrt(0.5)
    mixed = system.mix(("loss_a", "loss_b"), [[root, root], [root, -root]], ("plus", "minus")).lower()
    expected = root * (lowered["loss_a"] + lowered["loss_b"])
    np.testing.assert_allclose(mixed.channels["plus"].toarray(), expected.toarray(), atol=1e-15)
    wrong = System(system.H, {**system.channels, "loss_a": system.channels["loss_a"] + 1.0})
    assert distance(system, wrong) > 1e-2  # a displacement without its Hamiltonian


def test_rewritings_name_their_channels_and_leave_the_others():
    system = LIBRARY["two_spins"]
    split = system.split("loss_a", loss_a1=0.5, loss_a2=0.5)
    assert set(split.channels) == {"loss_a1", "loss_a2", "loss_b", "pump_a", "pump_b", "coupling"}
    mixed = system.mix(("loss_a", "loss_b"), np.eye(2), ("plus", "minus"))
    assert set(mixed.channels) == {"plus", "minus", "pump_a", "pump_b", "coupling"}
    assert set(system.displace("loss_a", 1.0).channels) == set(system.channels)
    assert set(system.channels) == {"loss_a", "loss_b", "pump_a", "pump_b", "coupling"}  # untouched
    assert split.observables == system.observables


# --- two ways to write a system down


@pytest.mark.parametrize("name", LIBRARY)
def test_matrices_and_symbols_give_the_same_liouvillian(name):
    assert distance(LIBRARY[name], matrices_of(LIBRARY[name])) <= 1e-13


@pytest.mark.parametrize(
    "convert", [lambda m: m.toarray(), lambda m: m, sp.csc_matrix, sp.coo_array, lambda m: qutip.Qobj(m.toarray())]
)
def test_every_kind_of_matrix_is_taken(convert):
    lowered = driven_qubit(0.7, 1.0).lower()
    system = System(
        convert(lowered.H),
        {"loss": convert(lowered.channels["loss"])},
        {"excited": convert(lowered.observables["excited"])},
    )
    assert not system.symbolic
    assert system.sites == ()
    again = system.lower()
    for one, other in ((again.H, lowered.H), (again.channels["loss"], lowered.channels["loss"])):
        assert largest(one - other) == 0
        assert isinstance(one, sp.csr_array)


def test_qutips_sparse_and_dense_objects_are_taken():
    for dtype in ("csr", "dense", "dia"):
        a = qutip.destroy(4, dtype=dtype)
        system = System(a.dag() * a, {"loss": a})
        np.testing.assert_allclose(system.lower().channels["loss"].toarray(), a.full())


def test_lowering_uses_the_systems_basis_unless_told_otherwise():
    a = Boson("a", 8)
    system = System(a.n, {"loss": a.a}, basis=Basis(levels={"a": 5}))
    assert system.lower().dim == 5
    assert system.lower(Basis(levels={"a": 3})).dim == 3
    assert System(a.n, {"loss": a.a}).lower().dim == 8


def test_sites_are_sorted_by_name_whatever_the_order_of_writing():
    a, b, q = Boson("a", 2), Boson("b", 3), Levels("q", 4)
    system = System(q.unit(0, 0), {"x": b.a}, {"n": a.n})
    assert system.sites == (a, b, q)
    assert system.lower().dim == 24


def test_lowered_operator_fits_further_operators():
    lowered = driven_qubit(1.0, 1.0).lower()
    s = Spin("s")
    np.testing.assert_allclose(lowered.operator(2 * s.sx).toarray(), qutip.sigmax().full())
    np.testing.assert_allclose(lowered.operator(qutip.sigmay()).toarray(), qutip.sigmay().full())
    assert lowered.dim == 2


def test_systems_are_not_changed_from_outside():
    system = driven_qubit(1.0, 1.0)
    with pytest.raises(AttributeError):
        system.H = 2 * system.H


# --- arguments

a, b, s = Boson("a", 4), Boson("b", 4), Spin("s")
array = np.diag([0.0, 1.0])
qubit = driven_qubit(1.0, 1.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: System(a.a, {"loss": a.a}), ("`H`", "Hermitian", "Hermitian conjugate")),
        (lambda: System(1j * a.n, {"loss": a.a}), ("`H`", "Hermitian", "2")),
        (lambda: System(array + 1j, {"loss": array}), ("`H`", "Hermitian")),
        (lambda: System(np.nan * a.n, {"loss": a.a}), ("`H`",)),
        (lambda: System(np.full((2, 2), np.nan), {"loss": array}), ("`H`", "finite")),
        (lambda: System(array, {"loss": np.full((2, 2), np.inf)}), ("channels['loss']", "finite")),
        (lambda: System(a.n, {"loss": np.nan * a.a}), ("channels['loss']",)),
        (lambda: System(a.n, {"loss": array}), ("mixed",)),
        (lambda: System(array, {"loss": np.eye(3)}), ("channels['loss']", "(2, 2)", "(3, 3)")),
        (lambda: System(np.ones((2, 3)), {}), ("`H`", "square", "(2, 3)")),
        (lambda: System(array, {"loss": array}, {"x": np.eye(3)}), ("observables['x']", "(3, 3)")),
        (lambda: System(qutip.basis(2, 0), {}), ("`H`", "operator", "ket")),
        (lambda: System(0, {"loss": a.a}), ("`H`", "int", "0 * op")),
        (lambda: System(None, {"loss": a.a}), ("`H`", "NoneType")),
        (lambda: System(a.n, {"loss": 1.0}), ("channels['loss']", "float")),
        (lambda: System(lambda t: array, {"loss": array}), ("`H`", "Time-dependent")),
        (lambda: System(a.n, {"loss a": a.a}), ("channels", "'loss a'", "identifier")),
        (lambda: System(a.n, {1: a.a}), ("channels", "1")),
        (lambda: System(a.n, {"loss": a.a}, {"n-a": a.n}), ("observables", "'n-a'")),
        (lambda: System(a.n, {"loss": Boson("a", 7).a}), ("channels['loss']", "different site", "'a'")),
        (lambda: System(a.identity, {"loss": 2 * a.identity}), ("`H`", "site")),
        (lambda: System(array, {"loss": array}, basis=Basis()), ("`basis`", "matrix")),
        (lambda: System(array, {"loss": array}).lower(Basis()), ("`basis`", "matrices")),
        (lambda: qubit.lower(Basis(levels={"x": 3})), ("`basis`", "'x'", "'s'")),
        (lambda: qubit.split("lost", x=1.0), ("`channel`", "'lost'", "'loss'")),
        (lambda: qubit.split("loss", x=0.5), ("`fractions`", "add to 1", "0.5")),
        (lambda: qubit.split("loss", x=1.5, y=-0.5), ("`fractions`", "1.5")),
        (lambda: two_spins(1, 1, 1, 0).split("loss_a", loss_b=1.0), ("free", "'loss_b'")),
        (lambda: qubit.mix(("loss", "x"), np.eye(2), ("p", "q")), ("`channel`", "'x'")),
        (lambda: qubit.mix(("loss", "loss"), np.eye(2), ("p", "q")), ("`channels`", "different")),
        (lambda: qubit.mix(("loss",), np.eye(2), ("p",)), ("`U`", "(2, 2)")),
        (lambda: qubit.mix(("loss",), [[2.0]], ("p",)), ("`U`", "unitary")),
        (lambda: qubit.mix(("loss",), [[1.0]], ("p q",)), ("channels", "'p q'")),
        (lambda: qubit.displace("lost", 1.0), ("`channel`", "'lost'")),
        (lambda: qubit.lower().operator(a.n, "observables['n']"), ("observables['n']", "'a'")),
        (lambda: qubit.lower().operator(np.eye(3), "x"), ("`x`", "(2, 2)", "(3, 3)")),
        (lambda: qubit.lower().operator(3.0, "x"), ("`x`", "float")),
        (lambda: System(array, {"loss": array}).lower().operator(s.sz, "x"), ("`x`", "symbolic")),
    ],
)
def test_bad_systems_are_refused_by_name(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    for word in words:
        assert word in str(error.value)


def test_public_names_are_the_rooms_own():
    assert ba.System is System
    assert ba.systems.System is System


def test_tensor_factors_must_agree_in_order():
    a, b = qutip.tensor(qutip.num(3), qutip.qeye(4)), qutip.tensor(qutip.destroy(4), qutip.qeye(3))
    with pytest.raises(ValueError, match=r"channels\['l'\].*tensor factors.*order"):
        System(a, {"l": b})
    cavity, atom = Boson("cav", 10), Spin("atom")  # sites in the order atom, cav
    system = System(cavity.n + 0.5 * atom.sz, {"loss": cavity.a})
    wrong = qutip.tensor(qutip.basis(10, 3), qutip.basis(2, 0))
    with pytest.raises(ValueError, match=r"`initial`.*tensor factors \[2, 10\].*order"):
        system.lower().state(wrong)
    right = qutip.tensor(qutip.basis(2, 0), qutip.basis(10, 3))
    np.testing.assert_allclose(system.lower().state(right), right.full()[:, 0])


def test_hermiticity_is_relative_to_the_size_of_h():
    random = np.random.default_rng(3)
    U, _ = np.linalg.qr(random.normal(size=(5, 5)) + 1j * random.normal(size=(5, 5)))
    System(U @ np.diag(random.normal(size=5)) @ U.conj().T * 6e9, {"loss": np.eye(5)})  # SI units: rounding is 1e-6
    with pytest.raises(ValueError, match="Hermitian"):
        System(np.array([[0, 9e-11], [0, 0]]), {"loss": np.eye(2)})


def test_fock_does_not_fit_a_spin():
    system = driven_qubit(1.0, 1.0)
    with pytest.raises(ValueError, match=r"fock\(\) does not fit the spin 's'"):
        system.lower().state({"s": ba.fock(0)})


def test_an_initial_state_is_checked_where_it_enters():
    a = Boson("a", 4)
    with pytest.raises(ValueError, match="Argument `initial` names the site 'b'"):
        System(a.n, {"loss": a.a}, initial={"b": ba.vacuum()})
    with pytest.raises(ValueError, match=r"Argument `initial` must have shape \(2,\)"):
        System(np.eye(2), {"loss": np.eye(2)}, initial=np.array([1.0, 0.0, 0.0]))
