"""Weyl symbols and the equations of truncated Wigner, against symmetrised products, quadrature and matrices.

The average of a Weyl symbol over the Wigner function of a coherent state, a Gaussian of variance 1/2, is the mean in
that state; Gauss–Hermite quadrature takes it exactly.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

import backaction as ba
from backaction.systems.moments import Polynomial, Variable
from backaction.systems.moments import product as multiplied
from backaction.systems.wigner import WignerEquations, weyl_symbol

A, B, C = ba.Boson("a"), ba.Boson("b"), ba.Boson("c")


def symmetrised(site: ba.Boson, m: int, n: int) -> ba.Operator:
    """Average of a†^m a^n over all orders of its factors: its symbol is α*^m α^n by definition."""
    words = set(permutations([site.a.dag()] * m + [site.a] * n))
    total = ba.Operator({})
    for word in words:
        one = site.identity
        for letter in word:
            one = one * letter
        total = total + one
    return total / len(words)


def value(polynomial: Polynomial, alpha: dict[str, Any]) -> Any:
    """At amplitudes α, by the names of the modes."""
    total: Any = 0.0
    for key, c in polynomial.items():
        term: Any = c
        for variable in key:
            (site, (conjugated, _)) = variable[0]
            term = term * (np.conj(alpha[site.name]) if conjugated else alpha[site.name])
        total = total + term
    return total


def gaussian_mean(polynomial: Polynomial, beta: dict[str, complex]) -> complex:
    """Over the Wigner functions of coherent states."""
    x, w = np.polynomial.hermite.hermgauss(8)
    alpha = {}
    weight: Any = 1.0
    for i, (name, centre) in enumerate(beta.items()):
        shape = [1] * (2 * len(beta))
        shape[2 * i] = 8
        re = x.reshape(shape) / np.sqrt(2)
        wr = w.reshape(shape) / np.sqrt(np.pi)
        shape[2 * i], shape[2 * i + 1] = 1, 8
        alpha[name] = centre + re + 1j * x.reshape(shape) / np.sqrt(2)
        weight = weight * wr * w.reshape(shape) / np.sqrt(np.pi)
    return complex(np.sum(weight * value(polynomial, alpha)))


def random_amplitudes(rng: np.random.Generator, names: str, scale: float = 1.0) -> dict[str, complex]:
    return {name: scale * complex(rng.normal(), rng.normal()) for name in names}


@pytest.mark.parametrize("m, n", [(m, n) for m in range(4) for n in range(4)])
def test_symbols_of_symmetrised_products(m: int, n: int) -> None:
    symbol = weyl_symbol(symmetrised(A, m, n))
    ((key, c),) = symbol.items()
    assert c == pytest.approx(1.0, abs=1e-13)
    assert sorted(v[0][1] for v in key) == [(0, 1)] * n + [(1, 0)] * m


def test_symbols_average_to_means_in_coherent_states() -> None:
    rng = np.random.default_rng(1)
    beta = random_amplitudes(rng, "ab")
    for m, n, p, q in product(range(3), repeat=4):
        O = A.a.dag() ** m * A.a**n * B.a.dag() ** p * B.a**q
        normal = beta["a"].conjugate() ** m * beta["a"] ** n * beta["b"].conjugate() ** p * beta["b"] ** q
        assert gaussian_mean(weyl_symbol(O), beta) == pytest.approx(normal, rel=1e-11, abs=1e-11)


def test_the_drift_is_the_poisson_bracket_of_the_symbol() -> None:
    """H = Σ c Π (symmetrised products), whose symbol is Σ c Π α*^m α^n without any calculation."""
    rng = np.random.default_rng(2)
    sites = (A, B, C)
    powers = [p for p in product(range(5), repeat=6) if 1 <= sum(p) <= 4]
    chosen = [powers[i] for i in rng.choice(len(powers), 30, replace=False)]
    # three modes, and quartic in one of them
    chosen += [(1, 1, 1, 0, 0, 1), (2, 2, 0, 0, 0, 0), (0, 0, 3, 1, 0, 0)]
    coefficients = rng.normal(size=(len(chosen), 2)) @ [1, 1j]
    half = ba.Operator({})
    for c, p in zip(coefficients, chosen, strict=True):
        term = ba.Operator({(): c})
        for i, site in enumerate(sites):
            term = term * symmetrised(site, p[2 * i], p[2 * i + 1])
        half = half + term
    equations = WignerEquations(ba.System(half + half.dag(), {"loss": 0.0 * A.a}))
    for _ in range(5):
        alpha = random_amplitudes(rng, "abc")
        z = np.array([alpha[s.name] for s in sites])
        for j, site in enumerate(sites):
            slope = 0j  # of the symbol by α_j*
            for c, p in zip(coefficients, chosen, strict=True):
                for weight, up, down in ((c, p[0::2], p[1::2]), (np.conj(c), p[1::2], p[0::2])):
                    if up[j]:
                        less = np.array(up) - np.eye(3, dtype=int)[j]
                        slope += weight * up[j] * np.prod(z.conj() ** less * z ** np.array(down))
            found = value(equations.drift[((site, (0, 1)),)], alpha)
            assert found == pytest.approx(-1j * slope, rel=1e-12)


a, b = ba.Boson("a", 24), ba.Boson("b", 24)
#: Channels, and what D leaves out of the growth of |α|² and |β|²: W of products of linear operators less the products
#: of their symbols.
CHANNELS = {
    "loss and gain": (0.8 * a.a + 0.3j * b.a.dag() + 0.2 * a.a.dag(), (0.0, 0.0)),
    "dephasing": (0.7 * a.n, (0.0, 0.0)),
    "two-photon loss": (0.9 * a.a**2 + 0.5 * b.a, (-(0.9**2), 0.0)),
    "two-photon gain": (0.5 * a.a.dag() ** 2, (0.5**2, 0.0)),
    "loss in pairs": (0.6 * a.a * b.a, (-(0.6**2) / 4, -(0.6**2) / 4)),
    "hopping": (0.6 * a.a.dag() * b.a, (-(0.6**2) / 4, 0.6**2 / 4)),
    "all": (0.3 * a.a + 0.2j * a.n + 0.4 * a.a**2 - 0.3 * a.a * b.a + 0.1 * b.a.dag() + 0.2, None),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_against_the_liouvillian(name: str) -> None:
    """d⟨a⟩/dt and d⟨a†a⟩/dt of coherent states, from matrices; the latter but for the constant that is left out."""
    L, missing = CHANNELS[name]
    system = ba.System(0.3 * a.n + 0.2 * (a.a.dag() * b.a + b.a.dag() * a.a), {"loss": L})
    lowered, equations = system.lower(), WignerEquations(system)
    beta = random_amplitudes(np.random.default_rng(3), "ab", 0.4)
    psi = np.kron(*(ba.coherent(beta[s.name]).lower(s, s.levels) for s in (a, b)))
    rho, M = np.outer(psi, psi.conj()), lowered.channels["loss"].toarray()
    half = -1j * (lowered.H @ rho) + 0.5 * (M @ rho @ M.conj().T - M.conj().T @ (M @ rho))
    slope = half + half.conj().T
    for k, site in enumerate((a, b)):
        v: Variable = ((site, (0, 1)),)
        f = equations.drift[v]
        assert gaussian_mean(f, beta) == pytest.approx(np.sum(lowered.operator(site.a) * slope.T), abs=1e-8)
        growth = 2 * gaussian_mean({(*key, equations.conjugate(v)): c for key, c in f.items()}, beta).real
        for part in equations.noise("loss").get(v, ({}, {})):
            conjugated = {tuple(map(equations.conjugate, key)): np.conj(c) for key, c in part.items()}
            growth += gaussian_mean(multiplied(part, conjugated), beta).real
        if missing is not None:
            exact = np.sum(lowered.operator(site.n) * slope.T).real
            assert growth + missing[k] == pytest.approx(exact, abs=1e-7)
    if missing is not None:
        assert bool(equations.truncated) == any(missing)


def test_two_photon_loss() -> None:
    kappa = 0.7
    equations = WignerEquations(ba.System(0 * A.n, {"two": np.sqrt(kappa) * A.a**2}))
    alpha = 0.6 - 1.1j
    drift = value(equations.drift[((A, (0, 1)),)], {"a": alpha})
    assert drift == pytest.approx(-kappa * (abs(alpha) ** 2 - 1) * alpha, rel=1e-13)
    parts = equations.noise("two")[((A, (0, 1)),)]
    assert sum(abs(value(p, {"a": alpha})) ** 2 for p in parts) == pytest.approx(2 * kappa * abs(alpha) ** 2, rel=1e-13)
    assert equations.truncated == ["a"]


def test_a_thermal_bath() -> None:
    kappa, n = 0.8, 1.7
    equations = WignerEquations(
        ba.System(0.3 * A.n, {"loss": np.sqrt(kappa * (n + 1)) * A.a, "gain": np.sqrt(kappa * n) * A.a.dag()})
    )
    v = ((A, (0, 1)),)
    assert value(equations.drift[v], {"a": 2.0}) == pytest.approx(2 * (-0.3j - kappa / 2), rel=1e-13)
    spread = [abs(value(p, {"a": 0})) ** 2 for c in ("loss", "gain") for p in equations.noise(c)[v]]
    assert sum(spread) == pytest.approx(kappa * (n + 0.5), rel=1e-13)
    # loss: dα = −√κ dξ, dξ = (dW_1 + i dW_2)/2
    root = np.sqrt(kappa * (n + 1))
    assert [value(p, {"a": 0}) for p in equations.noise("loss")[v]] == pytest.approx([-root / 2, -0.5j * root])
    assert equations.truncated == []


def test_dephasing_is_exact() -> None:
    equations = WignerEquations(ba.System(0 * A.n, {"dephasing": 0.6 * A.n}))
    first, second = equations.noise("dephasing")[((A, (0, 1)),)]
    assert first == {}
    assert value(second, {"a": 2.0}) == pytest.approx(-1.2j)
    assert equations.truncated == []


def test_states() -> None:
    system = ba.System(A.n + B.n + C.n, {"loss": A.a})
    mean, variance = WignerEquations(system).initial({"a": ba.coherent(1 - 2j), "c": ba.thermal(0.7)})
    assert mean == pytest.approx([1 - 2j, 0, 0])
    assert variance == pytest.approx([0.5, 0.5, 1.2])
    with pytest.raises(ValueError, match="positive Wigner function"):
        WignerEquations(system).initial({"b": ba.fock(1)})
    with pytest.raises(ValueError, match="must be a state of a boson"):
        WignerEquations(system).initial({"b": ba.spin(1.0, 0.0)})


def test_equations_are_printed() -> None:
    text = str(WignerEquations(ba.System(A.n, {"loss": A.a})))
    assert text == "da/dt = + (-0.5-1j) a"


@pytest.mark.parametrize(
    "system, message",
    [
        (ba.System(A.a.dag() ** 3 * A.a**3, {}), r"`H` must have degree ≤ 4"),
        (ba.System(A.n, {"three": A.a**3}), r"`channels\['three'\]` must have degree ≤ 2"),
        (ba.System(np.eye(3), {"loss": np.eye(3)}), "must have symbolic operators"),
        (ba.System([A.n, (A.a + A.a.dag(), np.cos)], {}), "must be constant in time"),
        (ba.systems.driven_qubit(1.0, 1.0), "must consist of bosons"),
        (ba.systems.nonreciprocal_spins(10, 2.0, 2.0, 4.0, kappa=10.0), "must consist of bosons"),
    ],
)
def test_bad_input(system: ba.System, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WignerEquations(system)


def test_symbols_are_of_bosons() -> None:
    with pytest.raises(ValueError, match="must be of bosons only"):
        weyl_symbol(ba.Spin("s").sz)
