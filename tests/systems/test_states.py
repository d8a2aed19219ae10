"""Named one-site states and how they are lowered."""

from __future__ import annotations

import numpy as np
import pytest
import qutip

import backaction as ba
from backaction.systems import Basis, Boson, Levels, Spin, System

MODE, SPIN, QUTRIT = Boson("a", 12), Spin("s", 1.0), Levels("q", 3)


def test_vacuum_is_the_ground_state_of_each_kind_of_site():
    np.testing.assert_array_equal(ba.vacuum().lower(MODE, 12), np.eye(12)[0])
    np.testing.assert_array_equal(ba.vacuum().lower(QUTRIT, 3), np.eye(3)[0])
    np.testing.assert_array_equal(ba.vacuum().lower(SPIN, 3), np.eye(3)[2])  # m = −J


@pytest.mark.parametrize("n", [0, 1, 5, 11])
def test_fock(n):
    np.testing.assert_array_equal(ba.fock(n).lower(MODE, 12), np.eye(12)[n])


@pytest.mark.parametrize("alpha", [0.0, 0.7, -0.5 + 0.9j, 1.2j])
def test_coherent(alpha):
    levels = 20
    ket = ba.coherent(alpha).lower(MODE, levels)
    expected = qutip.coherent(levels, alpha, method="analytic").full()[:, 0]
    np.testing.assert_allclose(ket, expected / np.linalg.norm(expected), atol=1e-12)
    a = np.diag(np.sqrt(np.arange(1, levels)), 1)
    np.testing.assert_allclose(a @ ket, alpha * ket, atol=1e-6)
    assert np.linalg.norm(ket) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("alpha, levels", [(10.0, 400), (-20.0j, 600)])
def test_coherent__many_levels(alpha, levels):
    ket, n = ba.coherent(alpha).lower(MODE, levels), np.arange(levels)
    assert np.linalg.norm(ket) == pytest.approx(1, abs=1e-12)
    assert abs(ket) ** 2 @ n == pytest.approx(abs(alpha) ** 2, rel=1e-12)
    assert np.vdot(ket[:-1], np.sqrt(n[1:]) * ket[1:]) == pytest.approx(alpha, rel=1e-12)


def test_spin_of_many_members():
    J = 1500
    ket = ba.spin(0.8, -2.1).lower(Spin("s", J), 2 * J + 1)
    assert np.linalg.norm(ket) == pytest.approx(1, abs=1e-9)
    assert abs(ket) ** 2 @ (J - np.arange(2 * J + 1)) == pytest.approx(J * np.cos(0.8), rel=1e-9)


@pytest.mark.parametrize("n", [0.0, 0.3, 1.0])
def test_thermal(n):
    rho = ba.thermal(n).lower(MODE, 30)
    assert np.trace(rho) == pytest.approx(1, abs=1e-14)
    assert np.diag(rho).real @ np.arange(30) == pytest.approx(n, abs=1e-6)
    assert np.count_nonzero(rho - np.diag(np.diag(rho))) == 0


@pytest.mark.parametrize("J", [0.5, 1, 2])
def test_spin_coherent_state_points_along_theta_phi(J):
    site = Spin("s", J)
    theta, phi = 0.8, -2.1
    ket = ba.spin(theta, phi).lower(site, site.levels)
    basis = Basis().resolve([site])

    def mean(operator):
        return np.vdot(ket, basis.matrix(operator) @ ket)

    assert np.linalg.norm(ket) == pytest.approx(1, abs=1e-14)
    assert mean(site.sp) == pytest.approx(J * np.sin(theta) * np.exp(1j * phi), abs=1e-12)
    assert mean(site.sz) == pytest.approx(J * np.cos(theta), abs=1e-12)
    overlap = abs(np.vdot(qutip.spin_coherent(J, theta, phi).full()[:, 0], ket))
    assert overlap == pytest.approx(1, abs=1e-12)


def test_spin_poles_need_no_phase():
    np.testing.assert_allclose(ba.spin(0.0, 1.3).lower(SPIN, 3), np.eye(3)[0], atol=1e-15)
    np.testing.assert_allclose(abs(ba.spin(np.pi, 1.3).lower(SPIN, 3)), np.eye(3)[2], atol=1e-15)


def test_states_are_values():
    assert ba.coherent(1.0) == ba.coherent(1)
    assert ba.coherent(1.0) != ba.coherent(1j)
    assert hash(ba.fock(2)) == hash(ba.fock(2))


# --- products over sites, through LoweredSystem.state


def two_modes(**options):
    a, b = Boson("a", 8), Boson("b", 7)
    return System(0 * a.n, {"loss_a": a.a, "loss_b": b.a}, **options)


def test_sites_left_out_start_in_their_ground_state():
    lowered = two_modes().lower()
    expected = np.kron(np.eye(8)[2], np.eye(7)[0])
    np.testing.assert_array_equal(lowered.state({"a": ba.fock(2)}), expected)
    np.testing.assert_array_equal(lowered.state(None), np.eye(56)[0])
    np.testing.assert_array_equal(lowered.state({}), np.eye(56)[0])


def test_a_mixed_factor_makes_a_density_matrix():
    rho = two_modes().lower().state({"a": ba.fock(1), "b": ba.thermal(0.2)})
    assert rho.shape == (56, 56)
    assert np.trace(rho) == pytest.approx(1, abs=1e-14)
    reduced = np.einsum("ijkj->ik", rho.reshape(8, 7, 8, 7))
    np.testing.assert_allclose(reduced, np.diag(np.eye(8)[1]), atol=1e-14)


def test_system_default_initial_is_used_and_can_be_replaced():
    lowered = two_modes(initial={"a": ba.fock(3)}).lower()
    np.testing.assert_array_equal(lowered.state(), np.kron(np.eye(8)[3], np.eye(7)[0]))
    np.testing.assert_array_equal(lowered.state({"b": ba.fock(1)}), np.kron(np.eye(8)[0], np.eye(7)[1]))


def test_states_from_arrays_and_qutip():
    lowered = two_modes().lower()
    ket = qutip.tensor(qutip.basis(8, 1), qutip.basis(7, 2))
    expected = ket.full()[:, 0]
    for form in (ket, ket.full(), expected, list(expected)):
        np.testing.assert_allclose(lowered.state(form), expected, atol=1e-15)
    rho = qutip.ket2dm(ket)
    for form in (rho, rho.full()):
        np.testing.assert_allclose(lowered.state(form), rho.full(), atol=1e-15)


def test_small_losses_at_the_cut_are_renormalised():
    state = two_modes().lower().state({"a": ba.coherent(0.8)})
    assert np.linalg.norm(state) == pytest.approx(1, abs=1e-14)


D = 56


@pytest.mark.parametrize(
    "initial, words",
    [
        ({"c": ba.vacuum()}, ("'c'", "'a'")),
        ({"a": 1.0}, ("initial['a']", "1.0")),
        ({"a": ba.fock(8)}, ("level 8", "'a'", "8 are kept")),
        ({"a": ba.coherent(3.0)}, ("coherent", "'a'", "levels")),
        ({"a": ba.thermal(5.0)}, ("thermal", "'a'", "levels")),
        ({"a": ba.spin(0.1, 0.0)}, ("Spin", "'a'")),
        (np.ones(5), ("(56,)", "(5,)")),
        (np.ones((3, 3)), ("(56, 56)", "(3, 3)")),
        (np.ones(D), ("normalised", "norm")),
        (np.full(D, np.nan), ("finite",)),
        (np.eye(D), ("trace 1", "56")),
        (np.diag([2.0, -1.0, *np.zeros(D - 2)]), ("positive", "-1")),
        (np.diag([1.0, *np.zeros(D - 1)]) + np.eye(D, k=1) * 0.1, ("Hermitian",)),
        ("vacuum", ("'vacuum'",)),
        (object(), ("object",)),
        (qutip.basis(3, 0), ("(56,)", "(3,)")),
    ],
)
def test_bad_states_are_refused_by_name(initial, words):
    lowered = two_modes().lower()
    with pytest.raises(ValueError, match="Argument `initial") as error:
        lowered.state(initial)
    for word in words:
        assert word in str(error.value)


def test_a_total_that_cuts_the_state_off_is_refused():
    lowered = two_modes().lower(Basis(totals=[(("a", "b"), 3)]))
    with pytest.raises(ValueError, match=r"`initial` loses .* outside the basis"):
        lowered.state({"a": ba.fock(2), "b": ba.fock(2)})


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: ba.fock(-1), "n"),
        (lambda: ba.fock(1.5), "n"),
        (lambda: ba.thermal(-0.1), "n"),
        (lambda: ba.thermal(float("nan")), "n"),
    ],
)
def test_bad_parameters_are_refused_where_they_enter(make, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must be"):
        make()


def test_boson_states_are_refused_on_other_sites():
    lowered = System(SPIN.sz, {"loss": SPIN.sm}).lower()
    for state in (ba.coherent(0.5), ba.thermal(0.5)):
        with pytest.raises(ValueError, match="needs a boson, but site 's'"):
            lowered.state({"s": state})


def test_matrix_systems_have_no_ground_state_to_assume():
    system = System(np.diag([0.0, 1.0]), {"loss": np.array([[0.0, 1.0], [0.0, 0.0]])})
    with pytest.raises(ValueError, match="Argument `initial` must be given"):
        system.lower().state(None)
    with pytest.raises(ValueError, match="Argument `initial` by site goes with symbolic"):
        system.lower().state({"a": ba.vacuum()})
    np.testing.assert_array_equal(system.lower().state([1, 0]), [1, 0])
