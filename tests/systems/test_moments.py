"""Moment equations against matrices.

A mixture of two products of one-member states, ``½(ρ₊ ⊗ ρ₊ … + ρ₋ ⊗ ρ₋ …)`` with ρ± = ρ₀ ± ε σ, has no cumulants of odd
order, and those of fourth order are ε⁴: the closure at second order is exact on it, so that every derivative can be
compared with the Liouvillian's.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest

import backaction as ba
from backaction.systems import Ensemble, Levels
from backaction.systems.moments import MomentEquations, Polynomial, Variable

EPSILON = 1e-4  # covariances of ε², fourth cumulants of ε⁴: at 3e-4 they are seen where N = 3
LEVELS = 8


def value(polynomial: Polynomial, values: dict[Variable, complex]) -> complex:
    return sum(c * np.prod([values[v] for v in key]) for key, c in polynomial.items())


def kron(parts: list[np.ndarray]) -> np.ndarray:
    return reduce(np.kron, parts)


class Brute:
    """Matrices of a system and a mixture of two products."""

    def __init__(self, system: ba.System, rng: np.random.Generator, epsilon: float = EPSILON) -> None:
        self.lowered = system.lower()
        self.matrices: dict[ba.Operator, Any] = {}
        plus, minus = [], []
        for site in system.sites:
            if isinstance(site, ba.Boson):
                alpha = 0.1 * np.exp(2j * np.pi * rng.random())
                beta = epsilon * np.exp(2j * np.pi * rng.random())
                kets = [ba.coherent(alpha + s * beta).lower(site, site.levels) for s in (1, -1)]
                plus.append(np.outer(kets[0], kets[0].conj()))
                minus.append(np.outer(kets[1], kets[1].conj()))
                continue
            one = site.member.levels if isinstance(site, Ensemble) else site.levels
            x = rng.normal(size=(one, one)) + 1j * rng.normal(size=(one, one))
            rho = x @ x.conj().T
            rho /= np.trace(rho)
            y = rng.normal(size=(one, one)) + 1j * rng.normal(size=(one, one))
            sigma = y + y.conj().T
            sigma -= np.trace(sigma) / one * np.eye(one)
            n = site.N if isinstance(site, Ensemble) else 1
            plus.append(kron([rho + epsilon * sigma] * n))
            minus.append(kron([rho - epsilon * sigma] * n))
        self.rho = 0.5 * (kron(plus) + kron(minus))

    def mean(self, operator: ba.Operator, rho: np.ndarray | None = None) -> complex:
        if operator not in self.matrices:
            self.matrices[operator] = self.lowered.operator(operator)
        O = self.matrices[operator].tocoo()
        return complex(np.sum(O.data * (self.rho if rho is None else rho)[O.col, O.row]))

    def drift(self) -> np.ndarray:
        H = self.lowered.H
        G = -1j * H - 0.5 * sum(L.conj().T @ L for L in self.lowered.channels.values())
        half = G @ self.rho
        return half + half.conj().T + sum(L @ (L @ self.rho.conj().T).conj().T for L in self.lowered.channels.values())

    def noise(self, L: ba.Operator, phase: float) -> np.ndarray:
        half = np.exp(-1j * phase) * (self.lowered.operator(L) @ self.rho - self.mean(L) * self.rho)
        return half + half.conj().T


def values_of(equations: MomentEquations, brute: Brute) -> dict[Variable, complex]:
    out: dict[Variable, complex] = {(x,): brute.mean(equations.operator([x])) for x in equations.letters}
    for x, y in equations.pairs:
        out[x, y] = brute.mean(equations.operator([x, y])) - out[(x,)] * out[(y,)]
    return out


def random_operator(rng: np.random.Generator, sites: list, degree: int) -> ba.Operator:
    """A random polynomial of the sites' operators."""
    letters = []
    for s in sites:
        letters += [s.a, s.a.dag()] if isinstance(s, ba.Boson) else [s.sp, s.sm, s.sz]
    out = ba.Operator({})
    for _ in range(4):
        word = ba.Operator({(): complex(*rng.normal(size=2))})
        for k in rng.integers(len(letters), size=rng.integers(1, degree + 1)):
            word = word * letters[k]
        out = out + word
    return out


def random_system(seed: int, N: int) -> tuple[ba.System, np.random.Generator]:
    rng = np.random.default_rng(seed)
    A, B, a = Ensemble("A", N), Ensemble("B", N), ba.Boson("a", LEVELS)
    sites = [A, B, a]
    H = random_operator(rng, sites, 3)
    channels: dict[str, object] = {f"collective_{k}": random_operator(rng, sites, 1) for k in range(2)}
    for species in (A, B):
        channels[f"local_{species.name}"] = species.each(random_operator(rng, [species.member], 1))
    return ba.System(0.5 * (H + H.dag()), channels=channels), rng


RANDOM = [(k, 1) for k in range(4)] + [(k, 2) for k in range(30)]
RANDOM += [pytest.param(k, 3, marks=[] if k < 2 else [pytest.mark.slow]) for k in range(30)]


@pytest.mark.parametrize("seed, N", RANDOM)
def test_random_systems_against_matrices(seed: int, N: int) -> None:
    system, rng = random_system(seed, N)
    equations = MomentEquations(system, 2)
    brute = Brute(system, rng)
    values = values_of(equations, brute)
    change = brute.drift()
    derivative = {x: brute.mean(equations.operator([x]), change) for x in equations.letters}
    scale = max(1.0, max(abs(d) for d in derivative.values()))
    for v in equations.variables:
        x = v[0]
        exact = derivative[x]
        if len(v) == 2:
            y = v[1]
            exact = brute.mean(equations.operator([x, y]), change)
            exact -= derivative[x] * values[(y,)] + values[(x,)] * derivative[y]
        assert abs(value(equations.drift[v], values) - exact) < 1e-12 * scale, equations.label(v)
    # two detectors: noise of the means, and of covariances of members that L acts on
    for name, phase in zip(system.outputs, rng.uniform(0, 2 * np.pi, 2), strict=True):
        L = system.output(name)
        noise = brute.noise(L, phase)
        g = {x: brute.mean(equations.operator([x]), noise) for x in equations.letters}
        response = equations.response(L)
        for (x,) in [v for v in equations.variables if len(v) == 1]:
            c, d = (value(part, values) for part in response[(x,)])
            assert abs(np.exp(-1j * phase) * c + np.exp(1j * phase) * d - g[x]) < 1e-12 * scale
        for x, y in equations.pairs:
            v = equations.covariance(x, y)
            if v not in equations.variables:
                continue
            exact = brute.mean(equations.operator([x, y]), noise) - values[(x,)] * g[y] - values[(y,)] * g[x]
            c, d = response.get(v, ({}, {}))
            g_xy = np.exp(-1j * phase) * value(c, values) + np.exp(1j * phase) * value(d, values)
            assert abs(g_xy - exact) < 1e-12 * scale


def test_covariances_matter() -> None:
    """The negative control of the comparison: without covariances the same equations are off by ε²."""
    system, rng = random_system(5, 2)
    equations = MomentEquations(system, 2)
    brute = Brute(system, rng)
    values = values_of(equations, brute)
    without = {v: (c if len(v) == 1 else 0.0) for v, c in values.items()}
    change = brute.drift()
    error = max(
        abs(value(equations.drift[(x,)], without) - brute.mean(equations.operator([x]), change))
        for (x,) in [v for v in equations.variables if len(v) == 1]
    )
    assert error > 1e-9


def test_few_level_sites_are_closed_at_order_one() -> None:
    """A product of one-site states: the nonlinear mean-field master equation."""
    rng = np.random.default_rng(1)
    s, t, a = Levels("s", 3), ba.Spin("t"), ba.Boson("a", LEVELS)
    m = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    X = s.operator(m)
    H = X * t.sp * a.a + (X * t.sp * a.a).dag() + s.operator(m + m.conj().T)
    system = ba.System(H, channels={"one": s.operator(m.T) + t.sm, "two": X * a.a})
    equations = MomentEquations(system, 1)
    brute = Brute(system, rng, epsilon=0.0)
    values = values_of(equations, brute)
    change = brute.drift()
    for v in equations.variables:
        exact = brute.mean(equations.operator(list(v)), change)
        assert abs(value(equations.drift[v], values) - exact) < 1e-10


def test_with_the_cavity_there_are_26_moments() -> None:
    """[T] chapter 6: 26 with the cavity (44 real numbers), 17 without."""
    with_cavity = MomentEquations(ba.systems.nonreciprocal_spins(100, 2.0, 2.0, 4.0, kappa=10.0))
    without = MomentEquations(ba.systems.nonreciprocal_spins(100, 2.0, 2.0, 4.0))
    assert len(with_cavity.variables) == 26
    assert len(without.variables) == 17
    hermitian = sum(with_cavity.conjugate(v) == v for v in with_cavity.variables)
    assert 2 * 26 - hermitian == 44


def test_mean_field_limit_of_the_traveling_wave() -> None:
    """[T] (6.11): z = ½(1 ± V₊/V₋), |s|² = (V₋² − V₊²)/(2V²V₋²), cos θ and ω at V = V₊ = 2, V₋ = 4; N → ∞."""
    from scipy.integrate import solve_ivp

    equations = MomentEquations(ba.systems.nonreciprocal_spins(10**9, 2.0, 2.0, 4.0), 1)
    index = {v: i for i, v in enumerate(equations.variables)}
    n = len(index)

    def full(x: np.ndarray) -> dict[Variable, complex]:
        return {v: x[i] for v, i in index.items()} | {equations.conjugate(v): np.conj(x[i]) for v, i in index.items()}

    def drift(t: float, x: np.ndarray) -> np.ndarray:
        at = full(x)
        return np.array([value(equations.drift[v], at) for v in equations.variables])

    start = equations.initial({"A": ba.spin(1.5, 0.0), "B": ba.spin(1.7, 0.7)})
    end = solve_ivp(drift, (0, 150), start.astype(complex), rtol=1e-9, atol=1e-11).y[:, -1]
    means = {s: {e: value(equations.mean(op), full(end)) for e, op in zip(("p", "z"), ops, strict=True)}
             for s, ops in {
                 "A": (equations.system.observables["sp_A"], equations.system.observables["sz_A"]),
                 "B": (equations.system.observables["sp_B"], equations.system.observables["sz_B"]),
             }.items()}  # fmt: skip
    assert n == 4
    np.testing.assert_allclose([means["A"]["z"].real, means["B"]["z"].real], [0.75, 0.25], atol=1e-7)
    np.testing.assert_allclose([abs(means["A"]["p"]), abs(means["B"]["p"])], 0.3061862178, atol=1e-7)
    theta = np.angle(means["A"]["p"] * np.conj(means["B"]["p"]))
    assert abs(abs(theta) - 0.391826552 * np.pi) < 1e-6
    now = drift(0.0, end)
    s_A = next(v for v in equations.variables if equations.label(v) == "⟨|0⟩⟨1|_A⟩")
    omega = (now[index[s_A]] / end[index[s_A]]).imag
    assert abs(abs(omega) - 0.5**0.5) < 1e-6
    assert np.sign(omega) == np.sign(theta)


def test_bad_systems() -> None:
    import qutip

    with pytest.raises(ValueError, match="must have symbolic operators"):
        MomentEquations(ba.System(qutip.sigmaz(), channels={"loss": qutip.sigmam()}))
    s = ba.Spin("s")
    with pytest.raises(ValueError, match="must be constant in time"):
        MomentEquations(ba.System([s.sz, (s.sx, np.cos)], channels={"loss": s.sm}))
    with pytest.raises(ValueError, match="`order` must be 1 or 2"):
        MomentEquations(ba.System(s.sz, channels={"loss": s.sm}), 3)


def test_equations_are_printed() -> None:
    text = str(MomentEquations(ba.systems.nonreciprocal_spins(10, 2.0, 2.0, 4.0, kappa=10.0)))
    assert "d⟨a⟩/dt = " in text
    assert "C(|0⟩⟨1|_A, |1⟩⟨0|_B)" in text
