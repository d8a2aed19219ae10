"""Models of many spins: mean-field thresholds and frequencies, second-order cumulants, spectra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

import backaction as ba
from backaction.systems import MomentEquations, moment_spectrum, stability, steady_moments
from backaction.systems.moment_states import Flow, factor_index, mean_value

MANY = 10**9


def growth(system: ba.System, burn_in: float = 500.0) -> float:
    """Largest growth rate about the incoherent state."""
    equations = MomentEquations(system, 1)
    return float(stability(equations, steady_moments(equations, burn_in=burn_in))[0].real)


def threshold(system_of: Callable[[float], ba.System], low: float, high: float, burn_in: float = 500.0) -> float:
    return float(brentq(lambda x: growth(system_of(x), burn_in), low, high, xtol=1e-8))


def mean(equations: MomentEquations, operator: ba.Operator, values: np.ndarray) -> complex:
    return mean_value(equations, equations.mean(operator), values)


@pytest.mark.parametrize("V_plus, V_minus", [(0.5, 4.0), (0.5, 0.3)])
def test_threshold_of_nonreciprocal_spins(V_plus: float, V_minus: float) -> None:
    """[T] (6.32): Γ = z₀V, or z₀(V + √(V₊² − V₋²)), with Γ = γ₊ + γ₋ + 2γ_z."""
    loss, dephasing = 0.1, 0.15
    z0, total = (1 - loss) / (1 + loss), 1 + loss + 2 * dephasing
    found = threshold(
        lambda V: ba.systems.nonreciprocal_spins(
            MANY, V, V_plus, V_minus, gamma_minus=loss, gamma_z=dephasing
        ), 0.8, 2.5,
    )  # fmt: skip
    expected = total / z0 - (np.sqrt(V_plus**2 - V_minus**2) if abs(V_minus) < abs(V_plus) else 0.0)
    assert abs(found / expected - 1) < 1e-6


def test_threshold_of_the_laser() -> None:
    """[T] (7.11) at (V, γ₊, γ₋, γ_z) = (1, 1, .01, .02); undriven atoms at rest come to it slowly."""
    found = threshold(
        lambda p: ba.systems.superradiant_laser(MANY, p, 1.0, gamma_minus=0.01, gamma_z=0.02), 0.77, 0.80, 3000.0
    )
    assert abs(found - 0.782750) < 1e-6


def test_threshold_of_a_network() -> None:
    """[T] (4.55) at γ₊ = 10, γ₋ = 1."""
    found = threshold(lambda V: ba.systems.spin_network(MANY, V, 10.0, 1.0), 10.0, 20.0)
    assert abs(found - 13.444444) < 1e-5


@pytest.mark.parametrize("V, coherence", [(15.0, 0.17638342), (30.0, 0.28771128)])
def test_a_network_above_threshold(V: float, coherence: float) -> None:
    system = ba.systems.spin_network(MANY, V, 10.0, 1.0)
    equations = MomentEquations(system, 1)
    values = steady_moments(equations, {"A": ba.spin(1.0, 0.0)})
    assert abs(abs(mean(equations, system.observables["sp"], values)) - coherence) < 1e-7


def test_cumulants_of_a_network() -> None:
    """Second order, N = 100, V = 20: ⟨σ^z⟩, ⟨σ₊σ₋⟩ and ⟨σ^zσ^z⟩ of two members."""
    N = 100
    system = ba.systems.spin_network(N, 20.0, 10.0, 1.0)
    equations = MomentEquations(system, 2)
    values = steady_moments(equations, burn_in=20.0)
    (A,) = system.sites
    assert isinstance(A, ba.Ensemble)
    s = ba.Spin("member")
    pairs = N * (N - 1)
    found = [
        mean(equations, operator, values).real
        for operator in (
            system.observables["sz"],
            (A.sp * A.sm - A.total(s.sp * s.sm)) / pairs,
            (4 * A.sz * A.sz - N) / pairs,
        )
    ]
    np.testing.assert_allclose(found, [0.51812520, 0.07568176, 0.27255709], atol=2e-8)


def traveling_wave(V_minus: float, V_plus: float = 2.0, V: float = 2.0) -> tuple[MomentEquations, np.ndarray]:
    """[T] (6.11): the solution, in the frame in which it stands still."""
    gap = V_minus**2 - V_plus**2
    omega = np.sqrt(gap**2 - V**2 * V_plus**2) / (2 * V * V_minus)
    theta = np.arccos(V * V_plus / gap)
    modulus = np.sqrt(gap / 2) / (V * V_minus)
    system = ba.systems.nonreciprocal_spins(MANY, V, V_plus, V_minus)
    A, B = system.sites
    assert isinstance(A, ba.Ensemble)
    assert isinstance(B, ba.Ensemble)
    equations = MomentEquations(replace(system, H=system.H - omega * (A.sz + B.sz)), 1)
    values = equations.initial()
    for i, v in enumerate(equations.variables):
        site, unit = v[0]
        sign = 1 if site.name == "A" else -1
        z = 0.5 * (1 + sign * V_plus / V_minus)
        values[i] = (1 + z) / 2 if unit == (0, 0) else modulus * np.exp(0.5j * sign * theta)
    return equations, values


@pytest.mark.parametrize("V_minus", [4.0, 3.4])
def test_traveling_wave_stands_still_in_its_frame(V_minus: float) -> None:
    equations, values = traveling_wave(V_minus)
    assert abs(Flow.of(equations).drift(values)).max() < 1e-7  # 1/N is 1e-9


def test_boundaries_at_twice_the_pump() -> None:
    """V₊ = 2: the traveling wave is stable from V₋ = 3.3085; the synchronized state ends at 2.9103."""

    def slowest(V_minus: float) -> float:
        eigenvalues = stability(*traveling_wave(V_minus))
        free = eigenvalues[np.argsort(abs(eigenvalues))[1:]]  # without that of the free phase
        return float(free.real.max())

    assert abs(brentq(slowest, 3.1, 3.6, xtol=1e-8) - 3.3085) < 5e-5

    def synchronized(V_minus: float) -> None:
        equations = MomentEquations(ba.systems.nonreciprocal_spins(MANY, 2.0, 2.0, V_minus), 1)
        start = {"A": ba.spin(1.5, 0.0), "B": ba.spin(1.5, 0.1)}
        values = steady_moments(equations, start, burn_in=400.0)
        assert abs(mean(equations, equations.system.observables["sp_A"], values)) > 0.2

    synchronized(2.9102)
    with pytest.raises(FloatingPointError, match="may oscillate"):
        synchronized(2.9106)


def test_frequency_of_the_laser() -> None:
    """[T] (7.7) at p_d = .8, V = γ₊, undriven atoms pure."""
    equations = MomentEquations(ba.systems.superradiant_laser(MANY, 0.8, 1.0), 1)
    start = equations.initial({"driven": ba.spin(1.0, 0.0), "undriven": ba.spin(2.8, 1.0)})
    path = Flow.of(equations).evolve(start, [0.0, 590.0, 600.0])
    s = next(i for i, v in enumerate(equations.variables) if equations.label(v) == "⟨|0⟩⟨1|_driven⟩")
    assert abs(abs(np.angle(path[2, s] / path[1, s])) / 10.0 - 0.195440) < 2e-6


def test_spectrum_of_the_laser() -> None:
    """N = 1000, κ = 50 V, p_d = .8: peak at .18915, width .0049."""
    system = ba.systems.superradiant_laser(1000, 0.8, 1.0, kappa=50.0)
    equations = MomentEquations(system, 2)
    values = steady_moments(equations, burn_in=200.0)
    omega = np.linspace(0.16, 0.22, 6001)
    a = next(s for s in system.sites if isinstance(s, ba.Boson))
    S = moment_spectrum(equations, values, a.a, omega)
    wide = omega[S.max() / 2 < S]
    assert abs(omega[S.argmax()] - 0.18915) < 5e-5
    assert abs(wide[-1] - wide[0] - 0.0049) < 1e-4


@pytest.mark.parametrize(
    "detuning, width, splitting", [(0.3, 5.609, 0.0), (0.49, 142.25, 0.06307), (1.0, 3.333, 0.86613)]
)
def test_two_ensembles_lock(detuning: float, width: float, splitting: float) -> None:
    """Xu et al., w = Nγ_c/2, N = 10⁴: linewidth Γ/γ_c, and the distance Δ/N of the two lines, against δ/N."""
    N = 10**4
    equations = MomentEquations(ba.systems.two_ensembles(N, detuning * N, 0.5 * N), 2)
    values = steady_moments(equations, burn_in=0.1)
    J = Flow.of(equations).jacobian(values)
    lowering = [factor_index(equations, (x,)) for x in equations.letters if x[1] == (0, 1)]
    eigenvalues = np.linalg.eigvals(J[np.ix_(lowering, lowering)])
    first = eigenvalues[eigenvalues.real.argmax()]
    assert abs(-2 * first.real / width - 1) < 2e-4
    assert abs(np.ptp(eigenvalues.imag) / N - splitting) < 1e-5


def test_regression_of_a_linear_system_is_exact() -> None:
    """The parametric oscillator: the same spectrum as the Liouvillian's."""
    system = ba.systems.parametric_oscillator(0.2, 1.0, levels=24)
    equations = MomentEquations(system, 2)
    values = steady_moments(equations)
    (a,) = system.sites
    assert isinstance(a, ba.Boson)
    omega = np.array([-1.0, 0.0, 0.3, 2.0])
    found = moment_spectrum(equations, values, a.a, omega)
    np.testing.assert_allclose(found, ba.systems.spectrum(system.lower(), a.a, omega), rtol=1e-5)


def test_the_cavity_follows_the_spins_when_it_is_fast() -> None:
    """An eliminated cavity is one of infinite κ; what cumulants of second order make of it differs by 1/N."""
    gaps = []
    for N in (500, 5000):
        found = []
        for kappa in (None, 4e4):
            system = ba.systems.nonreciprocal_spins(N, 2.0, 2.0, 1.0, kappa=kappa)
            equations = MomentEquations(system, 2)
            values = steady_moments(equations, burn_in=60.0)
            found.append([mean(equations, system.observables[name], values).real for name in ("sz_A", "sz_B")])
        gaps.append(abs(np.subtract(*found)).max())
    assert gaps[1] < 3e-4
    assert 8 < gaps[0] / gaps[1] < 12


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"V": -1.0, "V_plus": 0.0}, "`V` must be"),
        ({"V_plus": 3.0}, r"`V_plus` must lie in \[−V, V\]"),
        ({"V_plus": 1.0, "kappa": 10.0}, "`V_plus` must equal V with the cavity"),
        ({"kappa": 0.0}, "`kappa` must be a positive rate"),
        ({"gamma_z": -0.1}, "`gamma_z` must be"),
        ({"N": 0}, "`N` must be an integer >= 1"),
        ({"V_minus": np.nan}, "`V_minus` must be a finite number"),
    ],
)
def test_bad_parameters(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ba.systems.nonreciprocal_spins(**({"N": 10, "V": 2.0, "V_plus": 2.0, "V_minus": 4.0} | arguments))


def test_bad_fractions() -> None:
    with pytest.raises(ValueError, match="`p_driven` must lie in"):
        ba.systems.superradiant_laser(100, 0.0, 1.0)


def test_an_oscillation_has_no_steady_state() -> None:
    equations = MomentEquations(ba.systems.nonreciprocal_spins(MANY, 2.0, 2.0, 4.0), 1)
    with pytest.raises(FloatingPointError, match="may oscillate"):
        steady_moments(equations, {"A": ba.spin(1.5, 0.0), "B": ba.spin(1.7, 0.7)})


def test_a_family_of_steady_states_is_reported() -> None:
    """Undriven atoms without loss conserve their total spin: Newton's method may leave the evolution's own state."""
    equations = MomentEquations(ba.systems.superradiant_laser(1000, 0.9, 1.0, kappa=50.0), 2)
    with pytest.warns(RuntimeWarning, match="steady states form a family"):
        steady_moments(equations, burn_in=200.0)


def test_an_undamped_line_is_refused() -> None:
    a, b = ba.Boson("a"), ba.Boson("b")
    equations = MomentEquations(ba.System(a.n, channels={"loss": b.a}), 2)
    with pytest.raises(ValueError, match="must not hit the frequency of an undamped mode"):
        moment_spectrum(equations, equations.initial(), a.a, [-1.0, 1.0])


def test_number_states_are_replaced_with_a_warning() -> None:
    equations = MomentEquations(ba.systems.damped_cavity(1.0, levels=4), 2)
    with pytest.warns(RuntimeWarning, match="is not Gaussian"):
        equations.initial({"a": ba.fock(1)})


def test_steady_moments__in_any_unit() -> None:
    """A start is not steady because its rates are small."""
    s = 2.0**-40
    a = ba.Boson("a", 4)
    H = s * (1.3 * a.n + 0.7 * (a.a + a.a.dag()))
    system = ba.System(H, {"loss": np.sqrt(s) * a.a, "gain": np.sqrt(0.3 * s) * a.a.dag()})
    equations = MomentEquations(system)
    values = steady_moments(equations, burn_in=100 / s)
    assert abs(mean(equations, a.a, values) - -0.7j / (0.35 + 1.3j)) < 1e-9
    with pytest.raises(FloatingPointError, match="No steady state near"):
        steady_moments(equations)
