"""Symbols in place of numbers: equations derived once against equations derived for every number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backaction as ba
from backaction.systems import Ensemble, MomentEquations, reduced, steady_moments
from backaction.systems.linear import why_not_linear

sympy = pytest.importorskip("sympy")

N = sympy.Symbol("N", positive=True)
NUMBERS = {"V": 2.0, "V_minus": 1.3, "kappa": 7.0}


def root(x: Any) -> Any:
    return sympy.sqrt(x) if hasattr(x, "free_symbols") else np.sqrt(x)


def with_cavity(N: Any, V: Any = 2.0, V_minus: Any = 1.3, kappa: Any = 7.0) -> ba.System:
    """Nonreciprocal spins, [T] (6.1), with a detuning, and local loss and dephasing."""
    A, B, a = Ensemble("A", N), Ensemble("B", N), ba.Boson("a")
    spin = A.member
    exchange = 1j * V_minus / (2 * N) * A.sp * B.sm
    coupling = root(V * kappa / N) / 2 * a.a.dag() * (A.sm + B.sm)
    local = {"pump": spin.sp, "loss": 0.3 * spin.sm, "dephasing": 0.2**0.5 * spin.sz}
    return ba.System(
        exchange + exchange.dag() + coupling + coupling.dag() + 0.15 * (A.sz - B.sz),
        channels={
            "cavity": root(kappa) * a.a,
            **{f"{name}_{s.name}": s.each(x) for s in (A, B) for name, x in local.items()},
        },
        observables={"sp": A.sp / N, "zz": A.sz * A.sz / N**2},
    )


def without_cavity(N: Any) -> ba.System:
    """Collective losses, and a Hamiltonian of degree two and three in each species."""
    A, B = Ensemble("A", N), Ensemble("B", 2 * N)
    H = 0.3 / N * A.sz * A.sz + 0.2 / N**2 * (A.sp * B.sm * B.sz + B.sz * B.sp * A.sm)
    channels = {"c": root(1 / (2 * N)) * (A.sm + 1j * B.sm), "pump": A.each(A.member.sp)}
    return ba.System(H, channels, {"sp": B.sp / N})


def difference(found: MomentEquations, wanted: MomentEquations) -> float:
    """Largest difference of two coefficients, in units of the largest of their equation."""
    assert found.variables == wanted.variables
    worst = 0.0
    for v in wanted.variables:
        x, y = found.drift[v], wanted.drift[v]
        assert set(x) == set(y)
        worst = max([worst, *(abs(x[key] - y[key]) / max(map(abs, y.values())) for key in y)])
    return worst


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("system_of", [with_cavity, without_cavity])
def test_equations_are_derived_once(system_of: Any, order: int) -> None:
    equations = MomentEquations(system_of(N), order)
    assert equations.symbols == ["N"]
    for n in (2, 3, 10, 100):  # at 10⁶ it is the numbers that cancel: 3e-11 in the cubic Hamiltonian
        wanted = MomentEquations(system_of(n), order)
        found = equations.substitute({N: n})
        assert difference(found, wanted) < 1e-12
        assert found.symbols == []
        if order == 2 and n == 10:  # the control: another number, and a coefficient that does not depend on it
            with pytest.raises(AssertionError):
                assert difference(equations.substitute(N=11), wanted) < 1e-12
        mean = found.mean(found.system.observables["sp"])
        assert mean == pytest.approx(wanted.mean(wanted.system.observables["sp"]), rel=1e-12)


def test_several_symbols() -> None:
    symbols = sympy.symbols("V V_minus kappa", positive=True)
    equations = MomentEquations(with_cavity(N, *symbols), 2)
    assert equations.symbols == ["N", "V", "V_minus", "kappa"]
    some = equations.substitute(V=2.0, kappa=7)
    assert some.symbols == ["N", "V_minus"]
    found = some.substitute({N: 50}, V_minus=1.3)
    assert difference(found, MomentEquations(with_cavity(50), 2)) < 1e-12
    values = steady_moments(found, burn_in=30.0)
    np.testing.assert_allclose(values, steady_moments(MomentEquations(with_cavity(50), 2), burn_in=30.0), atol=1e-10)
    assert len(found.variables) == 26


def test_symbols_are_printed() -> None:
    V = sympy.Symbol("V", positive=True)
    equations = MomentEquations(with_cavity(N, V, 1.0, 1.0), 2)
    text = str(equations)
    assert "d⟨a⟩/dt = +(-I*sqrt(N)*sqrt(V)/2) ⟨|1⟩⟨0|_A⟩" in text
    assert "+((N - 1)/(2*N)) ⟨|1⟩⟨0|_A⟩ C(|0⟩⟨0|_B, |0⟩⟨1|_B)" in text
    assert " +1 -1.09 ⟨|0⟩⟨0|_A⟩" in text  # numbers stay numbers
    A = Ensemble("A", N)
    assert repr(V * A.sp) == "Operator((1.0*V) Σ_A(|0⟩⟨1|))"


def test_a_substituted_system_is_the_system_of_these_numbers() -> None:
    system = without_cavity(N).substitute(N=2)
    assert [s.N for s in system.sites if isinstance(s, Ensemble)] == [2, 4]
    found, wanted = system.lower(), without_cavity(2).lower()
    for x, y in [(found.H, wanted.H), *((found.channels[k], wanted.channels[k]) for k in wanted.channels)]:
        assert abs(x - y).max() < 1e-14
    assert list(system.channels) == ["c", "pump"]
    options: dict[str, Any] = {
        "ntraj": 2, "seed": 1, "level": "moments", "observables": ("sp",), "progress": False,
    }  # fmt: skip
    times = np.linspace(0, 0.2, 3)
    one, two = (
        ba.simulate(s, ba.Heterodyne("c"), times, **options)
        for s in (without_cavity(N).substitute({"N": 30}), without_cavity(30))
    )
    np.testing.assert_allclose(one["current_c"], two["current_c"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(one["hidden_sp" if "hidden_sp" in one else "expect_sp"][:, -1], two["expect_sp"][:, -1])
    # three of two members: an operator that is zero
    A = Ensemble("A", N)
    three = ba.System(A.sp * A.sp * A.sp + A.sm * A.sm * A.sm, {}, {"x": A.sz}).substitute(N=2)
    assert three.lower().H.nnz == 0


def test_whatever_needs_numbers_says_so() -> None:
    system = with_cavity(N)
    equations = MomentEquations(system)
    times = np.linspace(0, 1, 3)
    for call in (
        system.lower,
        lambda: steady_moments(equations),
        lambda: reduced(system),
        lambda: ba.systems.steady_state(system),
        *(
            lambda level=level: ba.simulate(system, None, times, level=level, observables=("sp",), progress=False)
            for level in ("auto", "ket", "density", "moments", "dicke")
        ),
    ):
        with pytest.raises(ValueError, match=r"holds the symbols \['N'\].*system.substitute\(N=...\)"):
            call()
    kappa = sympy.Symbol("kappa", positive=True)
    a = ba.Boson("a")
    linear = ba.System(a.n, {"loss": sympy.sqrt(kappa) * a.a})
    assert why_not_linear(linear) == "holds the symbols ['kappa']"
    for level in ("auto", "moments"):
        with pytest.raises(ValueError, match=r"holds the symbols \['kappa'\]"):
            ba.simulate(linear, ba.Heterodyne("loss"), times, level=level, progress=False)
    with pytest.raises(ValueError, match="holds the symbols"):
        ba.System(a.n, {}).lower().operator(kappa * a.a)
    with pytest.raises(ValueError, match="holds the symbols"):
        ba.simulate(ba.System(Ensemble("A", 3).sz * kappa, {}, {"z": Ensemble("A", 3).sz}), None, times, level="dicke",
                    observables=("z",), progress=False)  # fmt: skip


def test_bad_symbols() -> None:
    with pytest.raises(ValueError, match=r'write sympy.Symbol\("M", positive=True\)'):
        Ensemble("A", sympy.Symbol("M"))
    with pytest.raises(ValueError, match="`N` must be"):
        Ensemble("A", sympy.Rational(1, 2))
    assert Ensemble("A", sympy.Integer(3)) == Ensemble("A", 3)
    A, g = Ensemble("A", N), sympy.Symbol("g")
    with pytest.raises(ValueError, match=r"symbols \['g'\]; they may stand before collective operators"):
        A.each(g * A.member.sp)
    with pytest.raises(ValueError, match="`H` must be Hermitian"):
        ba.System(g * A.sz, {})  # g may be complex
    with pytest.raises(ValueError, match="depend on time must have numbers"):
        ba.System([A.sz, (A.sp + A.sm, np.cos)], {})
    system = with_cavity(N)
    with pytest.raises(ValueError, match=r"must name the system's symbols \['N'\], but has 'M'"):
        system.substitute(M=3)
    for wrong in (0, 2.5, -N):
        with pytest.raises(ValueError, match="`N` must be"):
            system.substitute({N: wrong})
    with pytest.raises(ValueError, match="one member of 'A'"):
        MomentEquations(system).substitute(N=1)
    assert len(MomentEquations(system.substitute(N=1)).variables) < len(MomentEquations(system).variables)
