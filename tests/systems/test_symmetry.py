"""Equations of invariant variables only, against all of them."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba
from backaction.systems import Ensemble, MomentEquations, moment_spectrum, stability, steady_moments
from backaction.systems.moment_states import Flow

OMEGA = np.linspace(-2, 2, 9)


def mixed(drive: float = 0.0, squeezing: float = 0.0) -> ba.System:
    """Two charges: excitations of a, A and the lower step of s; the second mode b with the upper step of s."""
    A, s, a, b = Ensemble("A", 5), ba.Levels("s", 3), ba.Boson("a"), ba.Boson("b")
    H = 0.4 * a.a * A.sp + 0.3j * a.a * s.unit(1, 0) + 0.2 * b.a * s.unit(2, 1) + drive * a.a + squeezing * b.a**2
    return ba.System(
        H + H.dag() + 0.3 * a.n * b.n + 0.1 * A.sz * A.sz,
        channels={
            "loss": a.a + 0.5 * A.sm, "b": 0.7 * b.a, "gain": 0.2 * a.a.dag(), "s": 0.5 * s.unit(0, 2),
            "pump": A.each(A.member.sp), "dephasing": A.each(0.3 * A.member.sz),
        },
    )  # fmt: skip


CASES = [
    (ba.systems.nonreciprocal_spins(100, 2.0, 2.0, 1.0, kappa=10.0, detuning=0.2), "a", 26, 11),
    (ba.systems.nonreciprocal_spins(100, 2.0, 1.0, 1.0), "sp_A", 17, 8),
    (ba.systems.superradiant_laser(1000, 0.8, 1.0, kappa=50.0, gamma_minus=0.05), "a", 26, 11),
    (ba.systems.spin_network(100, 20.0, 10.0, 1.0), "sp", 6, 3),
]


@pytest.mark.parametrize("system, name, many, few", CASES, ids=["cavity", "eliminated", "laser", "network"])
def test_steady_state_and_spectrum(system: ba.System, name: str, many: int, few: int) -> None:
    """[T] Fig. 6.7: fewer equations, the same answers."""
    whole, half = (MomentEquations(system, 2, symmetric=symmetric) for symmetric in (False, True))
    assert (len(whole.variables), len(half.variables)) == (many, few)
    assert len(str(half).splitlines()) == few
    x, y = (steady_moments(e, burn_in=200.0) for e in (whole, half))
    at = [whole.variables.index(v) for v in half.variables]
    np.testing.assert_allclose(y, x[at], rtol=0, atol=1e-11)
    operator = system.observables[name]
    operator = operator if name == "a" else operator.dag()
    S, T = (moment_spectrum(e, values, operator, OMEGA) for e, values in ((whole, x), (half, y)))
    assert S.max() > 0
    np.testing.assert_allclose(T, S, rtol=1e-10)
    # eigenvalues of the sector are among those of all
    everything = stability(whole, x)
    assert all(abs(everything - eigenvalue).min() < 1e-8 * abs(everything).max() for eigenvalue in stability(half, y))


@pytest.mark.parametrize("order", [1, 2])
def test_what_is_left_out_stays_zero(order: int) -> None:
    system = mixed()
    whole, half = (MomentEquations(system, order, symmetric=symmetric) for symmetric in (False, True))
    rng = np.random.default_rng(0)
    y = rng.normal(size=len(half.variables)) + 1j * rng.normal(size=len(half.variables))
    y[Flow.of(half).hermitian] = y[Flow.of(half).hermitian].real
    x = np.zeros(len(whole.variables), dtype=complex)
    at = [whole.variables.index(v) for v in half.variables]
    x[at] = y
    change = Flow.of(whole).drift(x)
    np.testing.assert_allclose(Flow.of(half).drift(y), change[at], rtol=0, atol=1e-12)
    rest = np.delete(np.arange(len(x)), at)
    assert abs(change[rest]).max() < 1e-12
    assert len(rest) > len(at)
    # the control: a drive
    driven = Flow.of(MomentEquations(mixed(drive=0.1), order)).drift(x)
    assert abs(driven[rest]).max() > 0.01


def test_charges_that_are_left() -> None:
    """A drive breaks one of two symmetries, and squeezing the other."""
    letters = {"a": ("a", (0, 1)), "b": ("b", (0, 1)), "A": ("A", (0, 1)), "up": ("s", (2, 1)), "low": ("s", (1, 0))}

    def kept(system: ba.System) -> set[str]:
        equations = MomentEquations(system, 1, symmetric=True)
        sites = {s.name: s for s in system.sites}
        return {name for name, (site, x) in letters.items() if equations.kept(((sites[site], x),))}

    assert kept(mixed()) == set()
    with pytest.raises(ValueError, match=r"no U\(1\) symmetry"):
        kept(mixed(drive=0.1, squeezing=0.1))
    assert kept(mixed(squeezing=0.1)) == {"b", "up"}
    assert kept(mixed(drive=0.1)) == {"a", "A", "low"}
    a, b = ba.Boson("a"), ba.Boson("b")
    two = ba.System(a.n * b.n + 0.1 * (a.a + a.a.dag()), {"a": a.a, "b": b.a})
    equations = MomentEquations(two, 1, symmetric=True)
    assert [equations.label(v) for v in equations.variables] == ["⟨a⟩"]
    # a channel of two charges
    for L in (b.a + 0.1 * b.a.dag(), b.a + 0.1, b.a + b.a**2):
        with pytest.raises(ValueError, match=r"no U\(1\) symmetry"):
            MomentEquations(ba.System(b.n, {"b": L}), 2, symmetric=True)
    A = Ensemble("A", 4)
    MomentEquations(ba.System(A.sz, {"x": A.each(A.member.sp)}), symmetric=True)
    with pytest.raises(ValueError, match=r"no U\(1\) symmetry"):
        MomentEquations(ba.System(A.sz, {"x": A.each(A.member.sx)}), symmetric=True)


@pytest.mark.parametrize(
    "system", [ba.systems.parametric_oscillator(0.2, 1.0, levels=4), ba.systems.driven_qubit(1.0, 1.0)]
)
def test_a_driven_system_has_none(system: ba.System) -> None:
    with pytest.raises(ValueError, match=r"`symmetric`: the system has no U\(1\) symmetry"):
        MomentEquations(system, 2, symmetric=True)


def test_a_start_that_breaks_the_symmetry() -> None:
    system = ba.systems.nonreciprocal_spins(100, 2.0, 2.0, 1.0, kappa=10.0)
    equations = MomentEquations(system, 2, symmetric=True)
    equations.initial({"A": ba.spin(0.0, 0.0), "a": ba.thermal(0.3)})
    for start in ({"A": ba.spin(1.0, 0.0)}, {"a": ba.coherent(0.1)}):
        with pytest.raises(ValueError, match=r"`initial`: in .* is not zero as the symmetry asks"):
            steady_moments(equations, start)
    with pytest.raises(ValueError, match="`symmetric` must be left out for measurements"):
        equations.response(system.output("cavity_loss"))


def test_together_with_symbols() -> None:
    sympy = pytest.importorskip("sympy")
    N = sympy.Symbol("N", positive=True)
    A, a = Ensemble("A", N), ba.Boson("a")
    g = 1 / sympy.sqrt(N) * a.a * A.sp

    def equations(n: object) -> MomentEquations:
        system = ba.System(g + g.dag(), {"loss": 3 * a.a, "pump": A.each(A.member.sp)})
        system = system if n is N else system.substitute(N=n)
        return MomentEquations(system, 2, symmetric=True)

    found, wanted = equations(N).substitute(N=40), equations(40)
    assert found.variables == wanted.variables
    assert len(found.variables) == 5
    np.testing.assert_allclose(steady_moments(found), steady_moments(wanted), rtol=0, atol=1e-12)


def test_substitution_can_restore_a_symmetry():
    """A drive e breaks a symmetry while it is a symbol; put to 0, the equations are those of the symmetric system."""
    sympy = pytest.importorskip("sympy")
    e = sympy.Symbol("e", real=True)
    a, b = ba.Boson("a"), ba.Boson("b")

    def system(drive):
        H = a.n + 0.1 * a.n * a.n + drive * (a.a + a.a.dag()) + 2 * b.n
        return ba.System(H, {"loss_a": a.a, "pump_a": 0.7 * a.a.dag(), "loss_b": b.a})

    general = MomentEquations(system(e), 2, symmetric=True).substitute(e=0)
    direct = MomentEquations(system(0.0), 2, symmetric=True)
    assert general.variables == direct.variables
    for v, polynomial in direct.drift.items():
        assert {k: complex(c) for k, c in general.drift[v].items()} == pytest.approx(polynomial)
