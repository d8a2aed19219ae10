"""Unconditional results against QuTiP and the numbers of the physics notes, sections 2 and 3."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
from scipy.optimize import brentq, minimize_scalar

from backaction.systems import (
    Basis,
    Boson,
    Levels,
    Spin,
    System,
    cascaded,
    driven_qubit,
    liouvillian,
    parametric_oscillator,
    phase_distribution,
    qnd_qubit,
    spectrum,
    spin,
    steady_state,
    two_spins,
    two_vdp,
    unconditional,
    vdp,
)
from backaction.systems.husimi import husimi_phase_operator
from backaction.systems.unconditional import Sectors


def qutip_parts(lowered):
    H = qutip.Qobj(lowered.H.toarray())
    return H, [qutip.Qobj(L.toarray()) for L in lowered.channels.values()]


def vdp_pair(coupling, detuning=0.5, levels=14):
    return two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=coupling, detuning=detuning, levels=levels)


SYSTEMS = [
    driven_qubit(rabi=0.7, gamma=1.0, detuning=0.4),
    vdp_pair(3, levels=5),
    two_spins(0.5, 1.0, 3.0, 0.5),
    cascaded(1.0, 1.0, rabi=1.0, source="qubit", target="qubit"),
    parametric_oscillator(0.25, 1.0, levels=12),
]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
def test_liouvillian_and_steady_state_agree_with_qutip(system):
    lowered = system.lower()
    d = lowered.dim
    H, c_ops = qutip_parts(lowered)
    rng = np.random.default_rng(0)
    rho = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    ours = (liouvillian(lowered) @ rho.ravel()).reshape(d, d)
    theirs = qutip.vector_to_operator(qutip.liouvillian(H, c_ops) * qutip.operator_to_vector(qutip.Qobj(rho)))
    np.testing.assert_allclose(ours, theirs.full(), atol=1e-11)
    if np.abs(liouvillian(lowered).imag).max() > 0:  # negative control: stacked by columns
        wrong = (liouvillian(lowered) @ rho.T.ravel()).reshape(d, d).T
        assert np.abs(wrong - theirs.full()).max() > 1e-3
    expected = qutip.steadystate(H, c_ops).full()
    np.testing.assert_allclose(steady_state(system), expected, atol=1e-9)
    np.testing.assert_allclose(steady_state(lowered), expected, atol=1e-9)


def test_sectors__charge_of_two_oscillators():
    sectors = Sectors.of(vdp_pair(3, levels=4).lower())
    n = np.add.outer(np.arange(4), np.arange(4)).ravel()
    charge = np.subtract.outer(n, n).ravel()
    for value in np.unique(charge):
        assert len(np.unique(sectors.labels[charge == value])) == 1
    assert len(np.unique(sectors.labels)) == len(np.unique(charge))
    driven = Sectors.of(driven_qubit(1.0, 1.0).lower())
    assert len(np.unique(driven.labels)) == 1


def test_single_van_der_pol():
    system = vdp(kappa1=4, kappa2=0.5, kappa=1, omega=4, levels=30)
    rho = steady_state(system)
    p = np.diag(rho).real
    n = np.arange(30)
    mean, pairs = p @ n, p @ (n * (n - 1))
    assert mean == pytest.approx(3.598056, abs=1e-6)
    assert p @ n**2 - mean**2 == pytest.approx(5.446218, abs=2e-6)
    assert pairs / mean**2 == pytest.approx(1.142759, abs=1e-6)
    assert np.sum(abs(rho) ** 2) == pytest.approx(0.12474299, abs=1e-8)
    np.testing.assert_allclose(p[:5], [0.071556, 0.124555, 0.161669, 0.170479, 0.152859], atol=1e-6)
    assert 4 * (mean + 1) - mean - 2 * 0.5 * pairs == pytest.approx(0, abs=1e-8)
    # the Husimi function's ring, and the slowest decay of ⟨a⟩
    log_factorial = np.cumsum(np.log(np.maximum(n, 1)))

    def husimi(r):
        return np.exp(-(r**2)) / np.pi * np.sum(p * np.exp(2 * n * np.log(r) - log_factorial))

    ring = minimize_scalar(lambda r: -husimi(r), bounds=(1, 2.5), method="bounded", options={"xatol": 1e-9})
    assert ring.x == pytest.approx(1.628982, abs=2e-6)
    assert husimi(ring.x) == pytest.approx(0.04486448, abs=1e-8)
    sectors = Sectors.of(system.lower())
    block = sectors.block(sectors.members(sectors.labels[[30]])).toarray()  # of ρ_10
    assert -np.linalg.eigvals(block).real.max() == pytest.approx(0.48214059, abs=1e-7)


@pytest.mark.parametrize(
    "coupling,peak,at,q1,ratio",
    [
        (0, 0.15915494, None, 0, 0),
        (1, 0.22956674, 0.2035779, 0.19744322 - 0.04359613j, 0.36997),
        (3, 0.30170956, 0.1175514, 0.36764386 - 0.04769981j, 0.68756),
    ],
)
def test_two_van_der_pol__husimi_phase_difference(coupling, peak, at, q1, ratio):
    system = vdp_pair(coupling)
    rho = steady_state(system)
    q = phase_distribution(system, ("a", "b"), state=rho)
    assert complex(q["q"][0]) == pytest.approx(q1, abs=2e-5)
    expect = {k: np.sum(o.toarray().T * rho) for k, o in system.lower().observables.items()}
    assert abs(expect["coherence"]) / expect["n_a"].real == pytest.approx(ratio, abs=2e-5)
    if at is None:
        np.testing.assert_allclose(q["density"], peak, atol=1e-8)
        return
    grid = at + np.linspace(-1e-3, 1e-3, 2001)
    near = phase_distribution(system, ("a", "b"), state=rho, phases=grid)["density"].values
    assert near.max() == pytest.approx(peak, abs=1e-5)
    assert grid[near.argmax()] == pytest.approx(at, abs=5e-5)
    assert q["density"].max() <= near.max() + 1e-9
    swapped = phase_distribution(system, ("b", "a"), state=rho)["q"][0]
    assert complex(swapped) == pytest.approx(np.conj(q1), abs=2e-5)
    assert abs(complex(swapped) - q1) > 0.05  # the sign of the phase shows


@pytest.mark.parametrize("levels,peak", [(8, 0.29433), (10, 0.30095), (12, 0.30166), (14, 0.301707)])
def test_two_van_der_pol__cut_off(levels, peak):
    density = phase_distribution(vdp_pair(3, levels=levels), ("a", "b"), phases=4001)["density"]
    assert float(density.max()) == pytest.approx(peak, abs=6e-6)


@pytest.mark.parametrize(
    "system,operator,peak,height,width",
    [
        (vdp_pair(0, 5, 13), "a", 2.5, 3.79296, 1.71938),
        pytest.param(vdp_pair(5, 5, 13), "a", 0.60974, 0.98777, 4.16477, marks=pytest.mark.slow),
        (two_spins(0.5, 1, 0, 5), "sm_a", 2.5, 8 / 9, 1.5),
        (two_spins(0.5, 1, 5, 5), "sm_a", 1.104675, 0.0863332, 5.65555),
    ],
    ids=["vdp V=0", "vdp V=5", "spins V=0", "spins V=5"],
)
def test_spectra_of_coupled_oscillators(system, operator, peak, height, width):
    lowered = system.lower()
    other = operator.replace("a", "b")
    if operator == "sm_a":
        operator, other = (lowered.channels[f"loss_{s}"] for s in "ab")  # γ₋ = 1

    def S(omega):
        return spectrum(lowered, operator, [omega])[0]

    assert S(peak) == pytest.approx(height, rel=1e-5)
    assert S(peak + 0.02) < S(peak) > S(peak - 0.02)
    half = 0.5 * S(peak)
    edges = [brentq(lambda w: S(w) - half, peak + s * 0.1, peak + s * width, xtol=1e-5) for s in (-1, 1)]
    assert edges[1] - edges[0] == pytest.approx(width, abs=3e-5)
    assert S(-peak) < 0.9 * height  # negative control: the other sign of the frequency
    assert spectrum(lowered, other, [-peak])[0] == pytest.approx(height, rel=1e-5)  # B mirrors A


def test_spectrum__at_zero_frequency_and_sum_rule():
    assert spectrum(vdp_pair(5, 5, 13), "a", [0.0])[0] == pytest.approx(0.915849, abs=2e-6)
    omega = np.linspace(-200, 200, 8001)
    S = spectrum(spin(0.5, 1.0, omega=2.0), "sp", omega)  # ⟨σ⁻σ⁺⟩ = 2/3, at −ω
    assert np.sum(S) * (omega[1] - omega[0]) / (2 * np.pi) == pytest.approx(2 / 3, rel=4e-3)  # the tails
    assert omega[S.argmax()] == pytest.approx(-2, abs=0.02)


def test_spectrum__against_qutip_and_mollow():
    system = driven_qubit(rabi=5, gamma=1)
    omega = np.array([-5.0, -1.0, 0.0, 0.3, 5.0])
    ours = spectrum(system, "sm", omega)
    # only the fluctuations: QuTiP's a and b with their means taken off
    H, c_ops = qutip_parts(system.lower())
    sm = qutip.Qobj(system.lower().observables["sm"].toarray())
    sm = sm - qutip.expect(sm, qutip.steadystate(H, c_ops))
    np.testing.assert_allclose(ours, qutip.spectrum(H, -omega, c_ops, sm.dag(), sm), rtol=1e-5)
    np.testing.assert_allclose(ours[[2, 4]], [1.01770812, 0.33072021], atol=1e-8)


def test_spectrum__krylov_space_too_small(monkeypatch):
    system, omega = vdp_pair(3, 5, 6), np.array([-3.0, 0.0, 0.7, 40.0])
    expected = spectrum(system, "n_a", omega), spectrum(system, "a", omega)
    monkeypatch.setattr(unconditional, "KRYLOV", 1)
    nonzero = omega != 0  # the sector of the populations is singular at ω = 0
    np.testing.assert_allclose(spectrum(system, "n_a", omega[nonzero]), expected[0][nonzero], rtol=1e-8)
    np.testing.assert_allclose(spectrum(system, "a", omega), expected[1], rtol=1e-8)


def test_single_spin():
    system = spin(0.5, 1.0)
    rho = steady_state(system)
    assert rho[0, 0] - rho[1, 1] == pytest.approx(-1 / 3)
    assert np.sum(abs(rho) ** 2) == pytest.approx(5 / 9)
    S = spectrum(system, "sp", [0.0, 0.75])
    assert S[1] / S[0] == pytest.approx(0.5)  # decay 3/4
    state = np.array([[0.4, 0.3 * np.exp(-0.7j)], [0.3 * np.exp(0.7j), 0.6]])
    raising = np.array([[0, 1], [0, 0]])
    Q = phase_distribution(system, "s", state=state)
    phi = Q["phase"].values
    formula = 1 / (2 * np.pi) + 0.25 * np.real(np.trace(raising @ state) * np.exp(-1j * phi))
    np.testing.assert_allclose(Q["density"], formula, atol=1e-12)
    assert phi[np.argmax(Q["density"].values)] == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize(
    "coupling,C,peak",
    [(1, -0.05084746 - 0.01016949j, 0.16933654), (3, -0.08641975 - 0.00960219j, 0.17622784)],
)
def test_two_spins(coupling, C, peak):
    system = two_spins(0.5, 1, coupling, 0.5)
    rho = steady_state(system)
    found = np.sum(system.lower().observables["coherence"].toarray().T * rho)
    assert found == pytest.approx(C, abs=1e-8)
    Q = phase_distribution(system, ("a", "b"), phases=[np.angle(C)])
    assert float(Q["density"][0]) == pytest.approx(peak, abs=1e-8)
    assert abs(complex(Q["q"][0])) == pytest.approx(np.pi**2 / 16 * abs(C), abs=1e-8)
    assert Q.sizes["harmonic"] == 1


def random_state(d, seed=3):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    return A @ A.conj().T / np.trace(A @ A.conj().T)


def test_husimi_phase_operator__boson_against_qutip():
    rho = random_state(4)
    x = np.linspace(-6, 6, 601)
    Q = qutip.qfunc(qutip.Qobj(rho), x, x, g=2)  # α = x + iy, ∫Q d²α = 1
    alpha = x[None, :] + 1j * x[:, None]
    cell = (x[1] - x[0]) ** 2
    assert np.sum(Q) * cell == pytest.approx(1, abs=1e-6)
    for k in (1, 2, 3):
        direction = np.exp(1j * k * np.angle(alpha))  # e^{−ikφ}
        expected = np.sum(Q * direction) * cell
        found = np.trace(husimi_phase_operator(Boson("a", 4), 4, k) @ rho)
        assert found == pytest.approx(expected, abs=2e-4)
        assert abs(found - expected.conj()) > 1e-2  # negative control: α = re^{+iφ}


@pytest.mark.parametrize("J", [0.5, 1, 1.5])
def test_husimi_phase_operator__spin_coherent_states(J):
    from backaction.systems.states import spin as spin_state

    site = Spin("s", J)
    rho = random_state(site.levels)
    theta, weights = np.polynomial.legendre.leggauss(60)
    theta = np.arccos(theta)
    phi = 2 * np.pi * np.arange(40) / 40
    kets = np.array([[spin_state(t, f).lower(site, site.levels) for f in phi] for t in theta])
    Q = (2 * J + 1) / (4 * np.pi) * np.einsum("tfi,ij,tfj->tf", kets.conj(), rho, kets).real
    for k in range(1, site.levels):
        expected = np.einsum("t,tf,f->", weights, Q, np.exp(-1j * k * phi)) * 2 * np.pi / 40
        assert np.trace(husimi_phase_operator(site, site.levels, k) @ rho) == pytest.approx(expected, abs=1e-5)


def test_phase_distribution__reduced_and_restricted_bases():
    system = vdp_pair(3, levels=6)
    single = phase_distribution(system, "a")
    np.testing.assert_allclose(single["density"], 1 / (2 * np.pi), atol=1e-12)  # no preferred phase
    cut = phase_distribution(system, ("a", "b"), basis=Basis(totals=[(("a", "b"), 8)]))
    full = phase_distribution(system, ("a", "b"))
    assert abs(complex(cut["q"][0] - full["q"][0])) < 0.02
    assert cut.attrs["sites"] == ["a", "b"]
    grid = full["phase"].values
    assert grid.min() > -np.pi
    assert grid.max() == np.pi
    assert full["density"].sum() * 2 * np.pi / len(grid) == pytest.approx(1, abs=1e-12)


def no_decay_of_a_coherence():
    s = Spin("s")
    return System(0 * s.sz, {"flip": 2 * s.sx})


@pytest.mark.parametrize("system", [qnd_qubit(1.0), no_decay_of_a_coherence()], ids=["populations", "coherence"])
def test_steady_state__not_unique(system):
    with pytest.raises(ValueError, match=r"`system` must have a unique steady state.*initial"):
        steady_state(system)


def test_steady_state__dark_states_in_one_component():
    s = Levels("s", 3)  # |0⟩ decays to |1⟩ and |2⟩, mixed by H with nothing to choose between them
    system = System(
        s.unit(1, 2) + s.unit(2, 1) + s.unit(0, 1) * 0 + s.unit(1, 0) * 0,
        {"down": s.unit(1, 0), "also": s.unit(2, 0)},
    )
    with pytest.raises(ValueError, match="unique"):
        steady_state(system)


def test_errors():
    with pytest.raises(ValueError, match=r"`system` must have at most 200 states.*burn-in"):
        steady_state(vdp_pair(1, levels=15))
    system = vdp_pair(1, levels=3)
    with pytest.raises(ValueError, match="`sites`"):
        phase_distribution(system, ("a", "c"))
    with pytest.raises(ValueError, match="`sites`"):
        phase_distribution(system, ("a", "a"))
    with pytest.raises(ValueError, match="`sites`"):
        phase_distribution(system, ("a", "b", "a"))
    with pytest.raises(ValueError, match="`operator`"):
        spectrum(system, "nothing", [0.0])
    with pytest.raises(ValueError, match="`frequencies`"):
        spectrum(system, "a", [np.nan])
    with pytest.raises(ValueError, match="`basis`"):
        steady_state(system.lower(), Basis())
    level = Levels("x", 2)
    with pytest.raises(ValueError, match=r"`sites` must name bosons or spins"):
        phase_distribution(System(0 * level.unit(0, 0), {"down": level.unit(1, 0)}), "x")
