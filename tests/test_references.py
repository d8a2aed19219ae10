"""Exact predictions for records: the physics notes, sections 0, 1 and 7, and brute force where there is no number."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import qutip
import scipy.sparse as sp
from scipy.special import gamma, hyp1f1

from backaction import references
from backaction.references import filtered, harmonics, propagation
from backaction.references.cache import directory
from backaction.systems import (
    Boson,
    System,
    damped_cavity,
    driven_qubit,
    parametric_oscillator,
    phase_distribution,
    spectrum,
    steady_state,
    two_spins,
    two_vdp,
)
from backaction.systems.husimi import husimi_phase_operator
from backaction.unravelings import Heterodyne, Homodyne, QuantumJumps

PAIR = Heterodyne("loss_a", "loss_b")


@pytest.fixture(autouse=True)
def cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKACTION_CACHE", str(tmp_path / "cache"))


def vdp_pair(levels, coupling=3.0, detuning=0.5):
    return two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=coupling, detuning=detuning, levels=levels)


def spins(coupling=3.0, detuning=0.5):
    return two_spins(gamma_plus=0.5, gamma_minus=1, coupling=coupling, detuning=detuning)


def q1(system, window, unraveling=PAIR, **options):
    return complex(references.phase_distribution(system, unraveling, window, **options)["q"][0])


# --- filtered phase distributions ------------------------------------------------------------------


@pytest.mark.parametrize(
    "window,expected",
    [(0.1, 0.0068077), (0.5, 0.0321700), (1, 0.0571835), (2, 0.0877422), (5, 0.1158283), (np.inf, 0.1301924)],
)
def test_two_spins_against_window(window, expected):
    assert abs(q1(spins(), window)) == pytest.approx(expected, rel=5e-5)


def test_two_spins__matching_window_and_sign():
    husimi = complex(phase_distribution(spins(), ("a", "b"))["q"][0])
    found = q1(spins(), 0.9186)
    assert abs(found) == pytest.approx(0.0536361, rel=2e-4)
    assert np.angle(found / husimi) == pytest.approx(0, abs=0.02)
    assert np.angle(found.conjugate() / husimi) != pytest.approx(0, abs=0.1)  # arg(I_A/I_B) would fail
    swapped = q1(spins(), 0.9186, channels=("loss_b", "loss_a"))
    assert swapped == pytest.approx(found.conjugate(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("window,expected", [(0.1, 0.06607), (0.4, 0.21474), (0.8, 0.34206), (1.0, 0.38702)])
def test_two_van_der_pol_against_window(window, expected):
    assert abs(q1(vdp_pair(12), window)) == pytest.approx(expected, rel=5e-3)


@pytest.mark.slow
def test_two_van_der_pol__matching_window():
    assert abs(q1(vdp_pair(12), 0.923)) == pytest.approx(0.3707253, rel=5e-3)


def test_two_van_der_pol__long_window():
    assert abs(q1(vdp_pair(14), np.inf)) == pytest.approx(0.623288, rel=1e-4)


def test_short_window():
    system = vdp_pair(6)
    rho = steady_state(system)
    coherence = np.sum(system.lower().observables["coherence"].toarray().T * rho)  # ⟨a†b⟩
    assert q1(system, 1e-3) == pytest.approx(np.pi / 4 * 1e-3 * coherence.conjugate(), rel=5e-3)


def cascade(system, channels, levels, G):
    """Everything of the physics notes, section 1 in one Hilbert space: the system and two virtual cavities."""
    lowered = system.lower()
    one = sp.eye_array(lowered.dim)
    ladder = sp.diags_array(np.sqrt(np.arange(1, levels)), offsets=1, shape=(levels, levels))
    unit = sp.eye_array(levels)
    cavities = [sp.kron(sp.kron(one, ladder), unit), sp.kron(sp.kron(one, unit), ladder)]

    def embed(o):
        return sp.kron(o, sp.eye_array(levels**2), format="csr")

    H, coupled, others = embed(lowered.H), {}, {}
    for name, L in lowered.channels.items():
        if name in channels:
            v, L = cavities[channels.index(name)], embed(L)
            H = H + np.sqrt(G) / 2j * (v.conj().T @ L - L.conj().T @ v)
            coupled[name] = L + np.sqrt(G) * v
        else:
            others[name] = embed(L)
    return H, coupled | others


def husimi_q(rho, d, levels, k):
    E = husimi_phase_operator(Boson("v", levels), levels, k)
    rho = rho.reshape(d, levels, levels, d, levels, levels)
    return np.einsum("ij,kl,ajlaik->", E, E.conj().T, rho, optimize=True)


@pytest.mark.slow
@pytest.mark.parametrize("efficiency", [1.0, 0.6])
def test_exponential_window_against_the_full_cascade(efficiency):
    # two oscillators of three levels with two cavities of five: d = 225
    system, levels, G = vdp_pair(3, coupling=4.0), 5, 16.0
    a = system.split("loss_a", loss_a=efficiency, lost_a=1 - efficiency)
    a = a.split("loss_b", loss_b=efficiency, lost_b=1 - efficiency)
    H, channels = cascade(a, ("loss_a", "loss_b"), levels, G)
    rho = steady_state(System(H, channels), max_dim=225, check_unique=False)
    found = references.phase_distribution(
        system, Heterodyne("loss_a", "loss_b", efficiency=efficiency), 1 / G, kind="exponential"
    )
    for k in (1, 2):
        assert complex(found["q"][k - 1]) == pytest.approx(husimi_q(rho, 9, levels, k), abs=2e-5)
    other = q1(system, 2 / G, kind="exponential")  # negative control: another window
    assert abs(other - complex(found["q"][0])) > 1e-3
    n_a = np.einsum("aijaij,i->", rho.reshape((9, levels, levels) * 2), np.arange(levels)).real
    assert found.attrs["n_a"] == pytest.approx(n_a, abs=1e-5)


def test_boxcar_against_the_full_cascade_in_qutip():
    # G(t) = 1/t; the cavity's vacuum stands in for the first thousandth of the window
    system, levels, window = spins(), 3, 0.5
    lowered = system.lower()
    H0, channels0 = cascade(system, (), levels, 1.0)
    H1, channels1 = cascade(system, ("loss_a", "loss_b"), levels, 1.0)
    dims = [[4, levels, levels]] * 2

    def qobj(m):
        return qutip.Qobj(sp.csr_matrix(m), dims=dims)

    def root(t):
        return (t or 1.0) ** -0.5

    v = {k: qobj(channels1[k] - channels0[k]) for k in ("loss_a", "loss_b")}
    H = [qobj(H0), [qobj(H1 - H0), root]]
    c_ops = [qutip.QobjEvo([qobj(L), [v[k], root]]) if k in v else qobj(L) for k, L in channels0.items()]
    vacuum = np.zeros((levels**2,) * 2)
    vacuum[0, 0] = 1
    start = qobj(np.kron(steady_state(lowered), vacuum))
    options = {"progress_bar": "", "method": "adams", "atol": 1e-9, "rtol": 1e-7, "nsteps": 100000}
    t0 = 1e-3 * window
    result = qutip.mesolve(H, start, [t0, window], c_ops=c_ops, options={**options, "store_final_state": True})
    expected = husimi_q(result.final_state.full(), 4, levels, 1)
    assert q1(system, window) == pytest.approx(expected, rel=4e-3)
    assert q1(system, 1.1 * window) != pytest.approx(expected, rel=3e-2)  # negative control


def test_system_without_symmetry__one_qubit_seen_by_two_detectors():
    system = driven_qubit(rabi=1.5, gamma=1.0, detuning=0.7)
    system = System(system.lower().H, {"loss": system.lower().channels["loss"]}).split("loss", loss_a=0.3, loss_b=0.7)
    levels, G = 5, 4.0
    H, channels = cascade(system, ("loss_a", "loss_b"), levels, G)
    rho = qutip.steadystate(qutip.Qobj(H), [qutip.Qobj(L) for L in channels.values()]).full()
    found = references.phase_distribution(system, PAIR, 1 / G, kind="exponential")
    for k in (1, 2):
        assert complex(found["q"][k - 1]) == pytest.approx(husimi_q(rho, 2, levels, k), abs=2e-5)


def test_coherent_currents():
    # ⟨L⟩ ≠ 0: displaced vacuum in each filtered mode, for any window and efficiency
    a, b = Boson("a", 6), Boson("b", 6)
    drive = 0.2 * (a.a + a.a.dag()) + 0.15j * (b.a - b.a.dag())
    system = System(drive, {"loss_a": a.a, "loss_b": b.a})
    alpha, beta = -0.4j, -0.3
    window, eta = 2.0, 0.8
    found = references.phase_distribution(system, Heterodyne("loss_a", "loss_b", efficiency=eta), window)

    def kummer(z, k):
        s = abs(z) ** 2
        return abs(z) ** k * gamma(1 + k / 2) / gamma(k + 1) * np.exp(-s) * hyp1f1(1 + k / 2, k + 1, s)

    z_a, z_b = (np.sqrt(eta * window) * z for z in (alpha, beta))
    for k in (1, 2, 3):
        expected = kummer(z_a, k) * kummer(z_b, k) * np.exp(1j * k * (np.angle(z_a) - np.angle(z_b)))
        assert complex(found["q"][k - 1]) == pytest.approx(expected, abs=3e-5)
    with pytest.raises(ValueError, match=r"`window` must be finite.*mean current"):
        references.phase_distribution(system, PAIR, np.inf)


def test_uncoupled_oscillators_have_no_preferred_phase():
    found = references.phase_distribution(vdp_pair(5, coupling=0), PAIR, 0.5)
    np.testing.assert_allclose(found["density"], 1 / (2 * np.pi), atol=1e-7)


@pytest.mark.slow
def test_convergence_in_order_and_step():
    system = vdp_pair(6)
    values = {n: q1(system, 0.8, order=n) for n in (3, 5, 7, 9)}
    exact = values[9]
    errors = [abs(values[n] - exact) for n in (3, 5, 7)]
    assert errors[0] > 1e-4 > errors[1] > errors[2]  # the order matters, and converges
    assert errors[2] < 2e-5
    automatic = references.phase_distribution(system, PAIR, 0.8)
    assert abs(complex(automatic["q"][0]) - exact) < 1e-4
    assert automatic.attrs["truncation_error"] < 1e-4
    # the integrator: moments of a coarse tolerance against a fine one
    prepared = references.phases.prepare(system, PAIR, None)
    channels = tuple(prepared[0].channels[k] for k in ("loss_a", "loss_b"))
    h = filtered.Hierarchy(prepared[1], prepared[2], channels, 4)
    coarse, fine = (h.moments(h.boxcar(0.8, tolerance=t)) for t in (1e-8, 1e-12))
    assert 0 < np.abs(coarse - fine).max() < 1e-7


def test_gaussian_part_may_have_any_width():
    system = spins()
    prepared = references.phases.prepare(system, PAIR, None)
    channels = tuple(prepared[0].channels[k] for k in ("loss_a", "loss_b"))
    h = filtered.Hierarchy(prepared[1], prepared[2], channels, 7)
    moments = h.moments(h.boxcar(1.0))
    values = [harmonics.phase_harmonics(moments, 3, scale)[-1] for scale in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(values[0], values[1], atol=2e-6)
    np.testing.assert_allclose(values[1], values[2], atol=2e-6)
    first = harmonics.phase_harmonics(moments, 3)[0]
    N = harmonics.covariance(moments)
    r = N[0, 1] / np.sqrt((1 + N[0, 0].real) * (1 + N[1, 1].real))
    np.testing.assert_allclose(first, harmonics.gaussian_harmonics(r, 3), atol=1e-14)


def test_gaussian_harmonics_against_sampling():
    r, rng = 0.7 * np.exp(-0.4j), np.random.default_rng(1)
    z = rng.normal(size=(2, 400_000, 2))
    z = z[..., 0] + 1j * z[..., 1]
    b = z[0]
    a = r * b + np.sqrt(1 - abs(r) ** 2) * z[1]
    phi = np.angle(b / a)
    for k, q in enumerate(harmonics.gaussian_harmonics(r, 3), start=1):
        assert abs(np.mean(np.exp(-1j * k * phi)) - q) < 4 / np.sqrt(400_000)


def test_density_and_harmonics_belong_together():
    found = references.phase_distribution(spins(), PAIR, 1.0, phases=720)
    phi, density = found["phase"].values, found["density"].values
    assert density.min() > 0
    assert phi.max() == np.pi
    for k in (1, 2):
        assert np.sum(density * np.exp(-1j * k * phi)) * 2 * np.pi / 720 == pytest.approx(
            complex(found["q"][k - 1]), abs=1e-12
        )


def test_cache(monkeypatch):
    first = references.phase_distribution(spins(), PAIR, 1.0)
    (file,) = directory().iterdir()
    monkeypatch.setattr(filtered.Hierarchy, "boxcar", lambda *_: pytest.fail("not cached"))
    second = references.phase_distribution(spins(), PAIR, 1.0)
    assert second.identical(first)
    lossy = references.phase_distribution(spins(), Heterodyne("loss_a", "loss_b", efficiency=0.5), 1.0)
    assert abs(complex(lossy["q"][0])) < 0.7 * abs(complex(first["q"][0]))  # same moments, other efficiency
    for changed in (
        lambda: references.phase_distribution(spins(), PAIR, 1.0, cache=False),
        lambda: references.phase_distribution(spins(), PAIR, 1.1),
        lambda: references.phase_distribution(spins(detuning=0.6), PAIR, 1.0),
        lambda: references.phase_distribution(spins(), PAIR, 1.0, channels=("loss_b", "loss_a")),
    ):
        with pytest.raises(pytest.fail.Exception):
            changed()
    monkeypatch.undo()
    monkeypatch.setenv("BACKACTION_CACHE", str(file.parent))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="cannot be read"):
        again = references.phase_distribution(spins(), PAIR, 1.0)
    assert again.identical(first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        references.phase_distribution(spins(), PAIR, 1.0)
    assert [f.suffix for f in directory().iterdir()] == [".npy"]


def test_cache__directory_that_cannot_be_written(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("BACKACTION_CACHE", str(blocked))
    with pytest.warns(UserWarning, match="BACKACTION_CACHE"):
        assert abs(q1(spins(), 1.0)) == pytest.approx(0.0571835, rel=1e-4)


def test_phase_distribution__errors():
    system = vdp_pair(4)
    with pytest.raises(ValueError, match=r"`max_memory` must be at least .* GiB.*levels"):
        references.phase_distribution(system, PAIR, 1.0, max_memory="100 kB")
    with pytest.raises(ValueError, match="`max_memory`"):
        references.phase_distribution(system, PAIR, 1.0, max_memory="much")
    with pytest.raises(ValueError, match=r"`unraveling` must have 2 recorded heterodyne"):
        references.phase_distribution(system, Heterodyne("loss_a"), 1.0)
    with pytest.raises(ValueError, match=r"`unraveling` must have 2 recorded heterodyne"):
        references.phase_distribution(system, Heterodyne("loss_a") + Homodyne("loss_b"), 1.0)
    with pytest.raises(ValueError, match="`channels`"):
        references.phase_distribution(system, PAIR, 1.0, channels=("loss_a", "loss_a"))
    with pytest.raises(ValueError, match="`channel`"):
        references.phase_distribution(system, Heterodyne("loss_a", "loss_c"), 1.0)
    for window in (0, -1.0, np.nan, "1"):
        with pytest.raises(ValueError, match="`window`"):
            references.phase_distribution(system, PAIR, window)
    for option in ({"kind": "hann"}, {"order": 2}, {"harmonics": 0}, {"phases": 0}):
        with pytest.raises(ValueError, match=f"`{next(iter(option))}`"):
            references.phase_distribution(system, PAIR, 1.0, **option)


# --- integrators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.3, 5.0])
def test_expm_krylov(time):
    rng = np.random.default_rng(2)
    n = 120
    A = (
        -np.diag(np.geomspace(0.1, 500, n))
        + np.triu(rng.normal(size=(n, n)), 1)
        + 3 * (np.eye(n, k=1) - np.eye(n, k=-1))
    )
    v = rng.normal(size=n)
    expected = propagation.expm(time * A) @ v
    calls = []

    def apply(x):
        calls.append(1)
        return A @ x

    found = propagation.expm_krylov(apply, v, time, tolerance=1e-10)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.linalg.norm(v))
    assert len(calls) < 500 * time * 4 + 400
    small = propagation.expm_krylov(lambda x: np.array([-x[1], x[0]]), np.array([1.0, 0.0]), time)
    np.testing.assert_allclose(small, [np.cos(time), np.sin(time)], atol=1e-12)


def test_evolve_and_phi_functions__dense_and_sparse_agree(monkeypatch):
    rng = np.random.default_rng(3)
    A = sp.random_array((30, 30), density=0.2, rng=rng, format="csr") * 1j - 2 * sp.eye_array(30, format="csr")
    v, f = rng.normal(size=30) + 0j, rng.normal(size=30) + 0j
    dense = propagation.evolve(A, v, f, 0.1, 40), *propagation.phi_functions(A, v, 0.1)
    monkeypatch.setattr(propagation, "DENSE", 1)
    monkeypatch.setattr(propagation, "CHUNK", 7)
    sparse = propagation.evolve(A, v, f, 0.1, 40), *propagation.phi_functions(A, v, 0.1)
    for x, y in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-12)
    z = 0.1 * A.toarray()
    np.testing.assert_allclose(z @ dense[1], propagation.expm(z) @ v - v, atol=1e-12)
    np.testing.assert_allclose(z @ dense[2], dense[1] - v, atol=1e-12)


# --- measured spectra ------------------------------------------------------------------------------


def warm_cavity(omega=1.3):
    return damped_cavity(kappa=1.0, omega=omega, n_thermal=0.6, levels=40)


def test_measured_covariance__closed_form():
    # ⟨L†(s)L⟩ = κ(n+1) n e^{iω₀s − κs/2}; E[I_k* I_{k+j}] is its conjugate
    eta, width = 0.7, 0.25
    found = references.measured_covariance(warm_cavity(), Heterodyne("loss", efficiency=eta), 12, bin_width=width)
    mu = -1.3j - 0.5
    z = mu * width
    amplitude = eta * 1.6 * 0.6
    j = np.arange(1, 12)
    np.testing.assert_allclose(found["moment"][1:], amplitude * (np.expm1(z) / z) ** 2 * np.exp(z * (j - 1)), atol=1e-5)
    zero = 2 * amplitude * np.real((np.expm1(z) - z) / z**2) + 1 / width
    assert complex(found["moment"][0]) == pytest.approx(zero, abs=1e-5)
    assert complex(found["mean"]) == pytest.approx(0)
    assert np.abs(found["moment"][3] - np.conj(found["moment"][3])) > 0.1  # the sign of ω shows


def finite_record(omega, T, amplitude, eigenvalue):
    """the physics notes, section 0: 1 + κΣ 2Re[(amp/z)(1 − (1 − e^{−zT})/(zT))], z = iω − λ."""
    z = 1j * omega - eigenvalue
    return 1 + 2 * np.real(amplitude / z * (1 - (1 - np.exp(-z * T)) / (z * T)))


def test_measured_spectrum__finite_record():
    T, width, omega = 20.0, 0.01, np.linspace(-4, 4, 41)
    found = references.measured_spectrum(warm_cavity(), Heterodyne("loss"), omega, duration=T, bin_width=width)
    exact = finite_record(omega, T, 1.6 * 0.6, 1.3j - 0.5)
    np.testing.assert_allclose(found["power"], exact, rtol=2e-4)
    lorentzian = 1 + 1.6 * 0.6 / (0.25 + (omega - 1.3) ** 2)
    np.testing.assert_allclose(found["power_stationary"], lorentzian, rtol=1e-5)
    assert found["power"].max() < 0.95 * lorentzian.max()  # a finite record is lower: not the limit
    assert np.abs(found["power"] - finite_record(-omega, T, 0.96, 1.3j - 0.5)).max() > 1


@pytest.mark.parametrize("window", ["boxcar", "hann"])
@pytest.mark.parametrize("detector", [Heterodyne("loss"), Homodyne("loss", phase=0.4, efficiency=0.5)])
def test_measured_spectrum__double_sum_parseval_and_default_grid(detector, window):
    from scipy.signal import get_window

    system = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.5)
    n, width = 16, 0.3
    C = references.measured_covariance(system, detector, n, bin_width=width)["moment"].values
    matrix = np.array([[C[k - j] if k >= j else np.conj(C[j - k]) for k in range(n)] for j in range(n)])
    w = get_window(window, n)
    found = references.measured_spectrum(system, detector, duration=n * width, bin_width=width, window=window)
    omega = found["frequency"].values
    t = width * np.arange(n)
    e = w * np.exp(1j * np.outer(omega, t))  # E|Σ w I e^{iωt}|² = Σ e_j* C_jk e_k
    direct = width * np.real(np.einsum("fj,jk,fk->f", e.conj(), matrix, e)) / np.sum(w**2)
    np.testing.assert_allclose(found["power"], direct, atol=1e-10)
    assert np.all(np.diff(omega) > 0)
    np.testing.assert_allclose(np.diff(omega), 2 * np.pi / (n * width))
    assert found["power"].mean() == pytest.approx(width * C[0].real)  # Parseval
    again = references.measured_spectrum(system, detector, omega, duration=n * width, bin_width=width, window=w)
    np.testing.assert_allclose(found["power"], again["power"], atol=1e-10)


def test_measured_spectrum__van_der_pol_sum_rule_and_peak():
    system = two_vdp(kappa1=3, kappa2=1, kappa=1, coupling=0, detuning=5, levels=10)
    eta = 0.5
    found = references.measured_spectrum(system, Heterodyne("loss_a", efficiency=eta), duration=20.0, bin_width=0.05)
    S = spectrum(system, "a", found["frequency"].values[150:250:10])
    np.testing.assert_allclose(found["power_stationary"][150:250:10], 1 + eta * S, rtol=1e-9)
    number = np.sum(system.lower().observables["n_a"].toarray().T * steady_state(system)).real
    excess = float((found["power"] - 1).sum()) / 20.0  # ∫ dω/2π: all of the bins' power
    C0 = references.measured_covariance(system, Heterodyne("loss_a", efficiency=eta), 1, bin_width=0.05)
    assert excess == pytest.approx(float(C0["moment"][0].real) - 20.0, rel=1e-9)
    assert excess == pytest.approx(eta * number, rel=0.05)  # 5 %: within a bin the signal is averaged
    peak = float(found["frequency"][found["power"].argmax("frequency")])
    assert peak == pytest.approx(2.5, abs=0.16)


def test_measured_spectrum__mean_current_is_a_coherent_line():
    # ȧ = E − κa/2, so I = √κ 2E/κ + noise: a line of height |mean|² T at ω = 0, and white elsewhere
    system = damped_cavity(kappa=1.0, drive=0.3, levels=16)
    found = references.measured_spectrum(system, Heterodyne("loss"), duration=10.0, bin_width=0.1)
    power = found["power"].values
    zero = len(power) // 2
    assert power[zero] == pytest.approx(1 + 0.36 * 10, rel=1e-6)
    np.testing.assert_allclose(np.delete(power, zero), 1, atol=1e-6)
    np.testing.assert_allclose(found["power_stationary"], 1, atol=1e-6)
    moments = references.measured_covariance(system, Heterodyne("loss"), 3, bin_width=0.1)
    assert complex(moments["mean"]) == pytest.approx(0.6, abs=1e-6)
    np.testing.assert_allclose(moments["covariance"], [10, 0, 0], atol=1e-6)


def stationary(system, detector, omega):
    found = references.measured_spectrum(system, detector, np.atleast_1d(omega), duration=1.0, bin_width=0.5)
    return found["power_stationary"].values


def test_resonance_fluorescence__mollow_and_homodyne():
    system = driven_qubit(rabi=5, gamma=1)
    np.testing.assert_allclose(stationary(system, Heterodyne("loss"), [0, 5]), [2.01770812, 1.33072021], atol=1e-8)
    omega = np.array([0.0, 0.4, 2.0])
    rho_ee = 25 / 51
    x = stationary(system, Homodyne("loss"), omega)
    np.testing.assert_allclose(x, 1 + 2 * rho_ee / (0.25 + omega**2), rtol=1e-9)
    weak = driven_qubit(rabi=0.3, gamma=1)
    y = stationary(weak, Homodyne("loss", phase=np.pi / 2), 0.0)[0]
    assert y == pytest.approx(0.71954289, abs=1e-8)
    assert y == pytest.approx(1 + 8 * 0.09 * (4 * 0.09 - 1) / 1.18**3)
    assert stationary(weak, Homodyne("loss", phase=-np.pi / 2), 0.0)[0] == pytest.approx(y)
    assert stationary(weak, Homodyne("loss"), 0.0)[0] > 1  # negative control: the other quadrature
    lossy = stationary(weak, Homodyne("loss", phase=np.pi / 2, efficiency=0.4), 0.0)[0]
    assert lossy == pytest.approx(1 + 0.4 * (y - 1))


@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_parametric_oscillator__squeezed_output(eta):
    kappa, epsilon, omega = 1.0, 0.2, np.array([0.0, 0.3, 1.5])
    system = parametric_oscillator(epsilon, kappa, levels=30)
    for phase, sign in ((0.0, 1), (np.pi / 2, -1)):
        found = stationary(system, Homodyne("loss", phase=phase, efficiency=eta), omega)
        exact = 1 + sign * 2 * eta * kappa * epsilon / ((kappa / 2 - sign * epsilon) ** 2 + omega**2)
        np.testing.assert_allclose(found, exact, rtol=2e-5)


def test_measured_spectrum__errors():
    system, detector = driven_qubit(1, 1), Heterodyne("loss")
    with pytest.raises(ValueError, match=r"`duration` must be a whole number of bins"):
        references.measured_spectrum(system, detector, duration=1.05, bin_width=0.1)
    with pytest.raises(ValueError, match="`bin_width`"):
        references.measured_spectrum(system, detector, duration=1.0, bin_width=0)
    with pytest.raises(ValueError, match="`window`"):
        references.measured_spectrum(system, detector, duration=1.0, bin_width=0.1, window="door")
    with pytest.raises(ValueError, match="`window`"):
        references.measured_spectrum(system, detector, duration=1.0, bin_width=0.1, window=[1, 2])
    with pytest.raises(ValueError, match=r"`unraveling` must have 1 recorded homodyne or heterodyne"):
        references.measured_spectrum(system, QuantumJumps("loss"), duration=1.0, bin_width=0.1)
    with pytest.raises(ValueError, match="`channel`"):
        references.measured_spectrum(vdp_pair(3), PAIR, duration=1.0, bin_width=0.1, channel="coupling")
    with pytest.raises(ValueError, match="`lags`"):
        references.measured_covariance(system, detector, 0, bin_width=0.1)


# --- clicks ----------------------------------------------------------------------------------------


def test_waiting_times__resonance_fluorescence():
    found = references.waiting_times(driven_qubit(5, 1), QuantumJumps("loss"), [0.3, 1, 2.5])
    np.testing.assert_allclose(found["density"], [0.40069210, 0.22682339, 0.00120282], atol=1e-8)
    assert found.attrs["mean"] == pytest.approx(2.04)
    assert found.attrs["variance"] == pytest.approx(3.9216)
    assert found.attrs["rate"] == pytest.approx(25 / 51)


def test_waiting_times__efficiency_and_dark_counts():
    system, t = driven_qubit(2, 1), np.linspace(0, 400, 40001)
    ideal = references.waiting_times(system, QuantumJumps("loss"), t)
    eta, s = 0.3, 0.17
    lossy = references.waiting_times(system, QuantumJumps("loss", efficiency=eta), t)

    def laplace(found):
        return np.trapezoid(found["density"] * np.exp(-s * t), t)

    w = laplace(ideal)  # a renewal process, thinned: w_η = ηw/(1 − (1−η)w)
    assert laplace(lossy) == pytest.approx(eta * w / (1 - (1 - eta) * w), rel=1e-4)
    assert laplace(lossy) != pytest.approx(w, rel=0.1)
    assert lossy.attrs["mean"] == pytest.approx(ideal.attrs["mean"] / eta)
    dark = references.waiting_times(system, QuantumJumps("loss", efficiency=0.0, dark_rate=0.7), t)
    np.testing.assert_allclose(dark["density"], 0.7 * np.exp(-0.7 * t), atol=1e-10)
    both = references.waiting_times(system, QuantumJumps("loss", efficiency=eta, dark_rate=0.2), t)
    assert both.attrs["rate"] == pytest.approx(eta * ideal.attrs["rate"] + 0.2)
    assert both.attrs["mean"] == pytest.approx(1 / both.attrs["rate"])
    np.testing.assert_allclose(-np.gradient(both["survival"].values, t)[1:-1], both["density"][1:-1], atol=2e-5)
    assert np.trapezoid(both["density"] * t**2, t) - both.attrs["mean"] ** 2 == pytest.approx(
        both.attrs["variance"], rel=1e-3
    )


def test_waiting_times__one_counter_for_two_channels():
    system = spins()
    together = references.waiting_times(system, QuantumJumps(("loss_a", "loss_b")), [0.0, 0.5])
    apart = references.waiting_times(system, QuantumJumps("loss_a", "loss_b"), [0.0, 0.5], channel="loss_a")
    assert together.attrs["rate"] == pytest.approx(2 * apart.attrs["rate"])
    assert together.attrs["channel"] == "loss_a_loss_b"
    with pytest.raises(ValueError, match="`unraveling`"):
        references.waiting_times(system, QuantumJumps("loss_a", "loss_b"), [0.0])
    with pytest.raises(ValueError, match="`times`"):
        references.waiting_times(system, QuantumJumps("loss_a"), [1.0, 0.5])
    with pytest.raises(ValueError, match="never does"):
        references.waiting_times(damped_cavity(1.0, levels=4), QuantumJumps("loss"), [0.0])


def test_g2():
    tau = np.array([0.0, 0.1, 0.5, 1.0, 3.0])
    found = references.g2(driven_qubit(5, 1), "loss", tau)
    rabi = np.sqrt(25 - 1 / 16)
    exact = 1 - np.exp(-0.75 * tau) * (np.cos(rabi * tau) + 0.75 / rabi * np.sin(rabi * tau))
    np.testing.assert_allclose(found["g2"], exact, atol=1e-9)
    thermal = references.g2(warm_cavity(), "loss", [0.0, 1.0])
    np.testing.assert_allclose(thermal["g2"], 1 + np.exp(-np.array([0.0, 1.0])), rtol=1e-4)
    with pytest.raises(ValueError, match="`channel`"):
        references.g2(driven_qubit(5, 1), "gain", tau)
