"""Linear bosonic systems: matrices against moment equations and Fock matrices, moments there and back, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba
from backaction.systems import Basis, Boson, System, damped_cavity, parametric_oscillator, vdp
from backaction.systems.linear import (
    from_moments,
    from_site_states,
    letter_covariances,
    letter_rows,
    linear_model,
    moment_variables,
    positions,
    quadratic_form,
    stationary,
    symplectic,
    why_not_linear,
)
from backaction.systems.moments import MomentEquations

MODES = [Boson(name, 12) for name in ("a", "b", "c")]


def random_system(seed, n_modes=3):
    """A network with every term that a linear system may have."""
    rng = np.random.default_rng(seed)
    letters = [x for m in MODES[:n_modes] for x in (m.a, m.a.dag())]

    def number():
        return complex(rng.normal(), rng.normal())

    half = sum((number() * x * y for x in letters for y in letters), Boson("a", 12).identity)
    half = half + sum((number() * x for x in letters), 0 * letters[0])
    H = 0.1 * (half + half.dag())
    channels = {f"c{k}": 0.5 * sum((number() * x for x in letters), number() * letters[0] ** 0) for k in range(3)}
    channels |= {f"loss_{m.name}": 1.5 * m.a for m in MODES[:n_modes]}
    return System(H, channels)


def random_moments(seed, n):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    return rng.normal(size=n), root @ root.T + np.eye(n)


def values_of(model, mean, V):
    mu, W = letter_rows(model) @ mean, letter_covariances(model, V)
    return np.array([mu[k[0]] if len(k) == 1 else W[k] for k in positions(model, moment_variables(model))])


def evaluate(equations, polynomial, values):
    known = dict(zip(equations.variables, values, strict=True))
    known |= {equations.conjugate(v): np.conj(x) for v, x in known.items()}
    return sum(c * np.prod([known[v] for v in key]) for key, c in polynomial.items())


def test_drift_and_diffusion_are_those_of_the_moment_equations():
    system = random_system(0)
    model, equations = linear_model(system), MomentEquations(system, 2)
    mean, V = random_moments(1, 6)
    values = values_of(model, mean, V)
    slope = np.array([evaluate(equations, equations.drift[v], values) for v in equations.variables])
    dm, dV = model.A @ mean + model.b, model.A @ V + V @ model.A.T + model.D
    mine = values_of(model, dm, dV + np.eye(6))  # which takes the vacuum away, that has no derivative
    assert mine == pytest.approx(slope, rel=1e-11, abs=1e-11)
    # broken: diffusion without the unwatched channels
    assert abs(values_of(model, dm, dV - model.D + np.eye(6)) - slope).max() > 0.1


def test_the_vacuum_of_a_cavity():
    model = linear_model(damped_cavity(2.0, omega=3.0, n_thermal=0.5))
    assert pytest.approx(np.array([[-1.0, 3.0], [-3.0, -1.0]])) == model.A
    assert pytest.approx(4.0 * np.eye(2)) == model.D
    _, V = stationary(model)
    assert pytest.approx(2.0 * np.eye(2)) == V


def test_a_driven_cavity_has_the_amplitude_of_its_drive():
    model = linear_model(damped_cavity(2.0, omega=3.0, drive=0.4 - 0.3j))
    mean, _ = stationary(model)
    alpha = (0.4 - 0.3j) / (1.0 + 3.0j)
    assert mean == pytest.approx([2 * alpha.real, 2 * alpha.imag])


def test_quadratic_forms_are_the_operators():
    rng = np.random.default_rng(3)
    sites = MODES[:2]
    system = random_system(4, 2)
    O = system.H + complex(*rng.normal(size=2)) * sites[0].a * sites[1].a.dag() + (0.3 - 1j) * sites[1].a ** 2
    R, s, c = quadratic_form(O, tuple(sites))
    basis = Basis(levels={"a": 8, "b": 8}).resolve(tuple(sites))
    r = [basis.matrix(q).toarray() for m in sites for q in (m.a + m.a.dag(), -1j * (m.a - m.a.dag()))]
    total = c * np.eye(64) + sum(x * y for x, y in zip(s, r, strict=True))
    total = total + 0.5 * sum(R[i, j] * r[i] @ r[j] for i in range(4) for j in range(4))
    low = [8 * i + j for i in range(6) for j in range(6)]  # products are not cut off there
    assert total[np.ix_(low, low)] == pytest.approx(basis.matrix(O).toarray()[np.ix_(low, low)], abs=1e-12)
    assert abs(R - R.T).max() == 0.0
    with pytest.raises(ValueError, match="degree ≤ 2"):
        quadratic_form(sites[0].a ** 3, tuple(sites))


def test_moments_there_and_back():
    system = random_system(5)
    model, equations = linear_model(system), MomentEquations(system, 2)
    assert moment_variables(model) == equations.variables
    mean, V = random_moments(6, 6)
    back, W = from_moments(model, values_of(model, mean, V))
    assert back == pytest.approx(mean, abs=1e-12)
    assert pytest.approx(V, abs=1e-12) == W
    states = {"a": ba.coherent(1 - 2j), "c": ba.thermal(0.7)}
    assert values_of(model, *from_site_states(model, states)) == pytest.approx(equations.initial(states))


def test_uncertainty_holds_in_steady_states():
    _, V = stationary(linear_model(parametric_oscillator(0.25, 1.0)))
    assert np.linalg.eigvalsh(V + 1j * symplectic(1)).min() >= -1e-12
    assert np.diag(V) == pytest.approx([1 / (1 - 0.5), 1 / (1 + 0.5)])


@pytest.mark.parametrize("epsilon", [0.5, 0.7])
def test_what_grows_has_no_steady_state(epsilon):
    with pytest.raises(ValueError, match=r"`initial`.*grows or stays"):
        stationary(linear_model(parametric_oscillator(epsilon, 1.0)))


a, spin = Boson("a"), ba.Spin("s")
NOT_LINEAR = {
    "a van der Pol oscillator": (vdp(3, 1), "channel 'two_photon' of degree above 1"),
    "a Kerr oscillator": (System(a.n**2, {"loss": a.a}), "Hamiltonian of degree above 2"),
    "a spin": (System(spin.sz * a.n, {"loss": a.a}), "site 's'"),
    "matrices": (System(np.eye(2), {"loss": np.eye(2)}), "matrices"),
    "a drive in time": (System([a.n, (a.a + a.a.dag(), np.cos)], {"loss": a.a}), "time"),
}


@pytest.mark.parametrize("case", NOT_LINEAR)
def test_other_systems_are_refused(case):
    system, words = NOT_LINEAR[case]
    assert words in str(why_not_linear(system))
    with pytest.raises(ValueError, match="`system` must be linear") as error:
        linear_model(system)
    assert words in str(error.value)


def test_terms_that_cancel_to_rounding_do_not_count():
    x = a.a + a.a.dag()
    cubic = 0.1 * x**3 - (0.3 * x**3) / 3
    assert why_not_linear(System(a.n + cubic, {"loss": a.a})) is None
