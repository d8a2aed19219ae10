"""Optomechanical cells and phase operators against matrices, the master equation and values of another program."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qutip import destroy, qeye, tensor
from scipy.integrate import solve_ivp

import backaction as ba
from backaction.systems import optomechanical_array, optomechanical_pair, phase_operators

MIXED = {"g0": 0.3, "kappa": 0.3, "drive": 0.3, "detuning": 0.15, "gamma": 0.015, "coupling": 0.15}
SMALL = ba.Basis(levels={"a1": 3, "a2": 3, "b1": 5, "b2": 5})
TIMES = (10.0, 20.0, 40.0)
#: PHYSICS.md section 8, set (c) from vac ⊗ |1⟩ ⊗ vac ⊗ |.8i⟩, coherent states cut at 5 levels and renormalised.
N_B1 = (1.08900, 1.50430, 1.65705)
COHERENCE = (0.13427 - 0.62421j, 0.21128 + 0.26511j, 0.23525 + 0.09537j)


def cut_coherent(alpha: complex, levels: int) -> np.ndarray:
    v = np.array([alpha**k / math.sqrt(math.factorial(k)) for k in range(levels)], dtype=complex)
    return v / np.linalg.norm(v)


def start(lowered: ba.systems.LoweredSystem) -> np.ndarray:
    dark = np.eye(3)[0]
    vectors = {"a1": dark, "a2": dark, "b1": cut_coherent(1.0, 5), "b2": cut_coherent(0.8j, 5)}
    return lowered.basis.product_state(vectors)


def master_equation(lowered: ba.systems.LoweredSystem, psi: np.ndarray, times: tuple[float, ...]) -> list[np.ndarray]:
    d, jumps = lowered.dim, list(lowered.channels.values())
    A = (-1j * lowered.H - 0.5 * sum(L.conj().T @ L for L in jumps)).tocsr()

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        rho = y.reshape(d, d)
        half = A @ rho
        out = half + half.conj().T
        for L in jumps:
            out = out + L @ (L @ rho).conj().T
        return out.ravel()

    rho = np.outer(psi, psi.conj()).ravel()
    solution = solve_ivp(slope, (0, times[-1]), rho, method="DOP853", rtol=1e-8, atol=1e-10, t_eval=times)
    return [y.reshape(d, d) for y in solution.y.T]


@pytest.mark.parametrize("n_thermal", [0.0, 0.4])
def test_operators_of_the_pair(n_thermal):
    levels = (2, 3, 3, 4)  # a1, a2, b1, b2

    def on(k: int) -> object:
        return tensor(*(destroy(n) if i == k else qeye(n) for i, n in enumerate(levels)))

    (a1, a2, b1, b2) = map(on, range(4))
    H = -0.15 * (b1.dag() * b2 + b2.dag() * b1)
    for a, b in ((a1, b1), (a2, b2)):
        H += -0.15 * a.dag() * a + b.dag() * b + 0.3 * (a + a.dag()) - 0.3 * a.dag() * a * (b + b.dag())
    basis = ba.Basis(levels=dict(zip(("a1", "a2", "b1", "b2"), levels, strict=True)))
    lowered = optomechanical_pair(**MIXED, n_thermal=n_thermal).lower(basis)
    expected = {"cavity_1": 0.3**0.5 * a1, "cavity_2": 0.3**0.5 * a2}
    for k, b in (("1", b1), ("2", b2)):
        expected[f"loss_{k}"] = (0.015 * (1 + n_thermal)) ** 0.5 * b
        if n_thermal:
            expected[f"heating_{k}"] = (0.015 * n_thermal) ** 0.5 * b.dag()
    assert abs(lowered.H.toarray() - H.full()).max() < 1e-14
    assert set(lowered.channels) == set(expected)
    for name, L in expected.items():
        assert abs(lowered.channels[name].toarray() - L.full()).max() < 1e-14
    assert abs(lowered.observables["coherence"].toarray() - (b1.dag() * b2).full()).max() < 1e-14


def test_the_default_basis():
    lowered = optomechanical_pair(**MIXED).lower()
    assert lowered.dim == 28 * 451  # photons 1 + 2 <= 6; phonons <= 22 each and <= 32 in all
    assert {"a1", "b1", "a1+a2", "b1+b2"} <= set(lowered.basis.edges)


def test_small_basis_against_the_values_of_another_program():
    lowered = optomechanical_pair(**MIXED, basis=SMALL).lower()
    states = master_equation(lowered, start(lowered), TIMES)
    n, C = lowered.observables["n_b1"], lowered.observables["coherence"]
    assert np.allclose([(n @ rho).trace().real for rho in states], N_B1, rtol=0, atol=6e-6)
    assert np.allclose([(C @ rho).trace() for rho in states], COHERENCE, rtol=0, atol=8e-6)


@pytest.mark.filterwarnings("ignore:The basis' edge")  # the master equation has the same basis
@pytest.mark.parametrize("precision", ["double", "single"])
def test_jump_trajectories_against_the_master_equation(precision):
    """400 runs to T = 10; with cavities that decay four times as fast they disagree."""
    system = optomechanical_pair(**MIXED, basis=SMALL)
    lowered = system.lower()
    observables = {"n": lowered.observables["n_b1"], "C": lowered.observables["coherence"]}
    observables |= phase_operators(system, ("b1", "b2"), 2)
    detectors = ba.QuantumJumps("cavity_1", "cavity_2", "loss_1", "loss_2")
    rho = master_equation(lowered, start(lowered), (10.0,))[0]

    def distances(model: ba.System) -> list[float]:
        data = ba.simulate(
            model, detectors, np.linspace(0, 10, 11), 400, seed=3, initial=start(lowered), observables=observables,
            level=ba.Ket(precision=precision), progress=False,
        )  # fmt: skip
        out = []
        for name, O in observables.items():
            values = data[f"expect_{name}"].values[:, -1]
            exact = (O @ rho).trace()
            for part in (np.real, np.imag) if np.iscomplexobj(values) else (np.real,):
                error = part(values).std(ddof=1) / 20
                out.append(abs(part(values).mean() - part(exact)) / error)
        return out

    assert max(distances(system)) < 5
    assert max(distances(optomechanical_pair(**{**MIXED, "kappa": 1.2}, basis=SMALL))) > 8


def test_phase_operators_of_one_mode_and_of_two():
    system = optomechanical_pair(**MIXED)
    lowered = system.lower(ba.Basis(levels={"a1": 2, "a2": 2, "b1": 6, "b2": 6}, totals=[(("b1", "b2"), 7)]))
    one, two = phase_operators(lowered, "b1", 3), phase_operators(lowered, ("b1", "b2"), 3)
    occupations = {tuple(n): i for i, n in enumerate(lowered.basis.occupations)}
    for k in (1, 2, 3):
        expected_one, expected_two = np.zeros((2, lowered.dim, lowered.dim))
        for (a1, a2, b1, b2), i in occupations.items():
            for target, matrix in (((a1, a2, b1 + k, b2), expected_one), ((a1, a2, b1 + k, b2 - k), expected_two)):
                if target in occupations:
                    matrix[occupations[target], i] = 1.0
        assert abs(one[f"M{k}"].toarray() - expected_one).max() == 0
        assert abs(two[f"M{k}"].toarray() - expected_two).max() == 0


def test_husimi_harmonics_are_those_of_the_distribution():
    """The same numbers as from the reduced density matrix, of one mode and of two."""
    lowered = optomechanical_pair(**MIXED).lower(ba.Basis(levels={"a1": 2, "a2": 2, "b1": 7, "b2": 6}))
    rng = np.random.default_rng(3)
    psi = rng.normal(size=(lowered.dim, 2)).view(complex)[:, 0]
    psi /= np.linalg.norm(psi)
    for sites in ("b2", ("b1", "b2")):
        exact = ba.systems.phase_distribution(lowered, sites, state=psi)["q"].values
        found = phase_operators(lowered, sites, len(exact), kind="husimi")
        # one mode: α = r e^{−iφ}, so that E[e^{−ikφ}] is the mean of what lowers n by k
        values = np.array([psi.conj() @ (M @ psi) for M in found.values()])
        assert np.allclose(values.conj(), exact, rtol=0, atol=1e-14)


def test_phase_operators_see_the_phase_difference():
    """Coherent states of amplitude 3: E[e^{ikδφ}] is near e^{ikδφ}, δφ = arg⟨b₁†b₂⟩, and M_1 has its sign."""
    system = optomechanical_pair(**MIXED)
    lowered = system.lower(ba.Basis(levels={"a1": 2, "a2": 2, "b1": 30, "b2": 30}))
    psi = lowered.state({"b1": ba.coherent(3 * np.exp(0.4j)), "b2": ba.coherent(3 * np.exp(1.3j))})
    for k, M in enumerate(phase_operators(lowered, ("b1", "b2"), 2).values(), start=1):
        value = psi.conj() @ (M @ psi)
        assert abs(np.angle(value) - 0.9 * k) < 1e-9
        assert 1 - 0.08 * k**2 < abs(value) < 1
    assert abs(np.angle(psi.conj() @ (lowered.observables["coherence"] @ psi)) - 0.9) < 1e-9


def test_an_array_of_two_is_the_pair():
    levels = {"a": 2, "b": 3}
    pair = optomechanical_pair(**MIXED).lower(
        ba.Basis(levels={f"{x}{i}": n for x, n in levels.items() for i in (1, 2)})
    )
    basis = ba.Basis(levels={f"{x}_{i}": n for x, n in levels.items() for i in (0, 1)})
    for periodic in (False, True):
        array = optomechanical_array(2, **MIXED, periodic=periodic).lower(basis)
        assert abs(array.H - pair.H).max() == 0
        assert list(array.channels) == ["cavity_0", "loss_0", "cavity_1", "loss_1"]


def test_neighbours_on_lattices():
    def hops(shape: object, periodic: bool) -> int:
        terms = optomechanical_array(shape, **MIXED, periodic=periodic).hamiltonian.terms
        return sum(len({site.name[0] for site, _ in m} - {"b"}) == 0 and len(m) == 2 for m in terms) // 2

    assert hops(5, False) == 4
    assert hops(5, True) == 5
    assert hops((3, 4), False) == 3 * 3 + 2 * 4
    assert hops((3, 4), True) == 24
    assert len(optomechanical_array((3, 4), **MIXED).sites) == 24


@pytest.mark.parametrize("shape", [0, (2, 0), (), 2.5, (True,)])
def test_shapes_that_are_no_lattice(shape):
    with pytest.raises(ValueError, match="Argument `shape`"):
        optomechanical_array(shape, **MIXED)


@pytest.mark.parametrize(
    "change, name", [({"gamma": -1.0}, "gamma"), ({"kappa": np.nan}, "kappa"), ({"n_thermal": -0.1}, "n_thermal")]
)
def test_rates_are_checked(change, name):
    with pytest.raises(ValueError, match=f"Argument `{name}`"):
        optomechanical_pair(**{**MIXED, **change})


@pytest.mark.parametrize(
    "sites, harmonics, name",
    [(("b1", "b1"), 1, "sites"), ("c", 1, "sites"), (("a1", "b1", "b2"), 1, "sites"), (("b1", "b2"), 5, "harmonics"),
     ("b1", 0, "harmonics"), ("b1", True, "harmonics")],
)  # fmt: skip
def test_phase_operators_refuse(sites, harmonics, name):
    with pytest.raises(ValueError, match=f"Argument `{name}`"):
        phase_operators(optomechanical_pair(**MIXED), sites, harmonics, SMALL)


def test_kinds_of_phase():
    with pytest.raises(ValueError, match="Argument `kind`"):
        phase_operators(optomechanical_pair(**MIXED), "b1", 1, SMALL, kind="wigner")


def test_a_basis_that_is_too_small_warns():
    """4 × 14 levels per cell for set (b): its edges are the only sign that it shows the wrong regime."""
    system = optomechanical_pair(**{**MIXED, "gamma": 0.01})
    basis = ba.Basis(levels={"a1": 4, "a2": 4, "b1": 14, "b2": 14})
    with pytest.warns(RuntimeWarning, match="edge 'a1' holds"), pytest.warns(RuntimeWarning, match="edge 'a2' holds"):
        ba.simulate(
            system, ba.QuantumJumps("cavity_1", "cavity_2", "loss_1", "loss_2"), np.linspace(0, 20, 3), 1, seed=0,
            level=ba.Ket(basis, "single"), progress=False,
        )  # fmt: skip
