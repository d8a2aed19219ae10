"""A detuned local oscillator: conditional covariances by Riccati equations, and records, against heterodyne detection.

How fast its records tend to those of heterodyne detection is measured on the kernels, without Monte Carlo.

Quadratures x = a + a†, p = −i(a − a†), so that the vacuum has variance 1 and ``e^{−iφ}a + h.c. = x cos φ + p sin φ``.
"""

from __future__ import annotations

from itertools import accumulate, product, repeat
from typing import NamedTuple

import numpy as np
import pytest
import scipy.linalg as la
from scipy.integrate import solve_ivp
from scipy.special import roots_hermitenorm

from backaction import Density, Heterodyne, Homodyne, LocalOscillator, Sampled
from backaction.systems import Basis, Boson, System, damped_cavity, driven_qubit, spin
from backaction.trajectories import drive
from physics.helpers import CONTROL, LIMIT, Regression, fitted_order, run, z_scores
from trajectories.given import along

LEVELS = 14
N_THERMAL, DETUNING, SQUEEZING = 0.15, 0.4, 0.15

mode = Boson("a", LEVELS)
X, P = mode.a + mode.a.dag(), -1j * (mode.a - mode.a.dag())
MOMENTS = {"x": X, "p": P, "xx": X * X, "pp": P * P, "xp": 0.5 * (X * P + P * X)}


def cavity(squeezing):
    """Thermal cavity, κ = 1, with H = δa†a + (iε/2)(a†² − a²)."""
    H = DETUNING * mode.n + 0.5j * squeezing * (mode.a.dag() * mode.a.dag() - mode.a * mode.a)
    return System(H, {"loss": (1 + N_THERMAL) ** 0.5 * mode.a, "pump": N_THERMAL**0.5 * mode.a.dag()}, MOMENTS)


def riccati(times, squeezing, phase=None):
    """Conditional covariance (xx, pp, xp) at the times, from vacuum; `phase` None: heterodyne.

    V̇ = AV + VAᵀ − V + (2n + 1) − Σ gain gainᵀ with gain = √(1 + n) (V − 1)u for every measured quadrature u.
    """
    A = np.array([[squeezing, DETUNING], [-DETUNING, -squeezing]])
    one = np.eye(2)

    def slope(t, y):
        V = np.array([[y[0], y[2]], [y[2], y[1]]])
        out = A @ V + V @ A.T - V + (2 * N_THERMAL + 1) * one
        if phase is None:
            out -= 0.5 * (1 + N_THERMAL) * (V - one) @ (V - one)
        else:
            gain = (V - one) @ np.array([np.cos(phase(t)), np.sin(phase(t))])
            out -= (1 + N_THERMAL) * np.outer(gain, gain)
        return [out[0, 0], out[1, 1], out[0, 1]]

    return solve_ivp(slope, (0, times[-1]), [1, 1, 0], t_eval=times, rtol=1e-10, atol=1e-12, method="DOP853").y


def covariance(squeezing, unraveling, times, seed=0):
    """(xx, pp, xp) of four conditional states; of a Gaussian state they are the same on every record."""
    options = {"level": "density", "observables": list(MOMENTS), "step": 0.005}
    data = run(cavity(squeezing), unraveling, times, 4, seed=seed, **options)
    x, p, xx, pp, xp = (data[f"expect_{name}"].values for name in MOMENTS)
    assert x[:, -1].std() > 0.01  # the means are not
    return np.stack([xx - x**2, pp - p**2, xp - x * p])


def test_conditional_covariance_of_a_squeezed_cavity():
    """No U(1) symmetry: the sign of ω and the phase show, on every single record."""
    times = np.linspace(0, 4, 81)
    omega, phase = 5.0, 0.6
    detector = Homodyne("loss", phase=LocalOscillator(omega, phase))
    found = covariance(SQUEEZING, detector, times)
    good = abs(found - riccati(times, SQUEEZING, lambda t: omega * t + phase)[:, None]).max()
    wrong = [
        abs(found - riccati(times, SQUEEZING, f)[:, None]).max()
        for f in (lambda t: -omega * t + phase, lambda t: omega * t, None)
    ]
    print(f"covariance against Riccati: {good:.1e}; ω → −ω, φ₀ = 0, heterodyne: {np.round(wrong, 4)}")
    assert good < 2e-3  # of the step: strong order 1
    assert min(wrong) > 0.015


def test_conditional_states_tend_to_heterodyne_as_one_over_frequency_squared():
    """U(1) symmetry: Tr V, averaged over half a turn, exceeds the limit by a multiple of 1/ω²; no Monte Carlo."""
    frequencies = np.array([4.0, 8.0, 16.0])
    found, exact = [], []
    for omega in frequencies:
        times = np.pi / omega / 8 * np.arange(np.ceil(2.0 * 8 * omega / np.pi) + 9)
        limit = riccati(times, 0.0)[:2, -8:].sum(axis=0)
        covariances = covariance(0.0, Homodyne("loss", phase=LocalOscillator(omega)), times)
        found.append((covariances[:2, :, -8:].sum(axis=0) - limit).mean())
        exact.append((riccati(times, 0.0, lambda t, w=omega: w * t)[:2, -8:].sum(axis=0) - limit).mean())
    orders = [fitted_order(1 / frequencies, np.abs(x)) for x in (found, exact)]
    print(f"Tr V − heterodyne: {found}; Riccati {exact}; orders {orders}")
    assert orders[0] == pytest.approx(2.0, abs=0.3)
    assert orders[1] == pytest.approx(2.0, abs=0.15)
    np.testing.assert_allclose(found, exact, rtol=0.25)


# === records

OMEGA, LINE, WIDTH, DURATION = 12.0, 2.0, 0.02, 12.0


def demodulated(data, frequency):
    """I e^{+iφ(t)} over the bins."""
    t = data["bin"].values
    return data["current_loss"].values * np.exp(1j * frequency * t)


def spectrum(current, frequencies):
    t = WIDTH * (np.arange(current.shape[1]) + 0.5)
    return abs(current @ np.exp(1j * np.outer(t, frequencies)) * WIDTH) ** 2 / (WIDTH * current.shape[1])


def test_demodulated_records_have_the_heterodyne_spectrum():
    """1 + κS(δ), and the image at −2ω − δ, both of a finite record in bins: a line at +ω₀ for H = ω₀σ_z/2."""
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)
    detector = Homodyne("loss", phase=LocalOscillator(OMEGA))
    times = np.linspace(0, DURATION, round(DURATION / WIDTH) + 1)
    data = run(system, detector, times, 1536, seed=4, initial="steady", level="ket", step=WIDTH)
    frequencies = np.array([-4.0, -2.0, 0.1, 1.0, 2.0, 3.0, 4.0])
    theory = Regression(system)
    reading = theory.reading("loss", "heterodyne")

    def expected(detuning):
        beat = np.sinc((OMEGA + detuning) * WIDTH / (2 * np.pi)) ** 2
        direct = theory.spectrum(reading, detuning, DURATION) - 1
        image = theory.spectrum(reading, -2 * OMEGA - detuning, DURATION) - 1
        return 1 + beat * (direct + image)

    found = spectrum(demodulated(data, OMEGA), frequencies)
    wrong = spectrum(demodulated(data, -OMEGA), frequencies)
    misses = [abs(z_scores(s, expected(frequencies))).max() for s in (found, wrong)]
    print(f"demodulated spectrum: z {misses[0]:.2f}, wrong sign {misses[1]:.1f}; {found.mean(axis=0)}")
    assert misses[0] < LIMIT
    assert misses[1] > CONTROL
    floor = spectrum(demodulated(data, OMEGA), np.array([60.0, 75.0]))
    assert abs(z_scores(floor, expected(np.array([60.0, 75.0])))).max() < LIMIT
    heterodyne = run(system, Heterodyne("loss"), times, 1024, seed=6, initial="steady", level="ket", step=WIDTH)
    other = spectrum(heterodyne["current_loss"].values, frequencies)
    error = np.hypot(*(s.std(axis=0) / np.sqrt(len(s)) for s in (found, other)))
    assert abs((found.mean(axis=0) - other.mean(axis=0)) / error).max() < LIMIT


def test_demodulated_mean_of_a_driven_cavity():
    """√(ηκ)⟨a⟩, complex: the phase of the amplitude and its sign."""
    system = damped_cavity(kappa=1.0, omega=0.5, drive=0.4, levels=6)
    eta = 0.7
    times = np.linspace(0, 2 * np.pi, 315)  # whole turns
    detector = Homodyne("loss", efficiency=eta, phase=LocalOscillator(10.0, 0.3))
    data = run(system, detector, times, 768, seed=2, initial="steady", level="ket", step=0.02)
    current = data["current_loss"].values
    t = data["bin"].values
    lowered = system.lower()
    expected = np.sqrt(eta) * Regression(system).mean((np.kron(lowered.channels["loss"].toarray(), np.eye(6)),))
    beat = np.sinc(10.0 * (times[1] - times[0]) / (2 * np.pi))
    z = {
        sign: abs(z_scores((current * np.exp(sign * 1j * (10.0 * t + 0.3))).mean(axis=1) / beat, expected)).max()
        for sign in (1, -1)
    }
    print(f"demodulated mean: z {z[1]:.2f}, conjugate phase {z[-1]:.1f}; {expected}")
    assert z[1] < LIMIT
    assert z[-1] > CONTROL


# === |q₁|: two coupled oscillators, linear, so that everything about a window is a Gaussian of four real numbers

LOSS, PUMP, COUPLING, WINDOW = 1.0, 0.3, 1.0, 1.5
#: ωτ = (k + ½)π: |E[Z²]| = 1/(ωτ), the most that a window of this length can have
QUARTERS = (np.array([3, 7, 15, 31]) + 0.5) * np.pi / WINDOW


def coupled_oscillators(levels=7, pump=PUMP, detuning=0.0):
    """H = (δ/2)(a†a − b†b), κD[a] + pD[a†], the same for b, and V D[a − b]: thermal."""
    a, b = Boson("a", levels), Boson("b", levels)
    channels = {"loss_a": LOSS**0.5 * a.a, "loss_b": LOSS**0.5 * b.a, "coupling": COUPLING**0.5 * (a.a - b.a)}
    pumps = {"pump_a": pump**0.5 * a.a.dag(), "pump_b": pump**0.5 * b.a.dag()}
    return System(0.5 * detuning * (a.n - b.n), channels | pumps)


def window_moments(omega, points=1200, pump=PUMP, detuning=0.0):
    """E[Z_j* Z_k] and E[Z_j Z_k] of Z = ∫ e^{iωt} I dt/√τ over a window, on a grid; heterodyne for None.

    E[I_j(t)I_k(s)] = δ_jk δ(t − s) + 2κ Re[e^{iω(t−s)} C_jk(t − s)], where C = ⟨a_j†(t)a_k(s)⟩ = (e^{−K*(t−s)}N)_jk for
    t > s and (N e^{−Kᵀ(s−t)})_jk for t < s: K = ½[(κ − p)1 + V(1, −1; −1, 1)] + i(δ/2)σ_z, K*N + NKᵀ = p.
    """
    K = 0.5 * ((LOSS - pump) * np.eye(2) + COUPLING * np.array([[1, -1], [-1, 1]]) + 1j * detuning * np.diag([1, -1]))
    N = la.solve_sylvester(K.conj(), K.T, pump * np.eye(2))
    h = WINDOW / points
    lag = h * np.arange(points)[:, None, None]
    decay = np.array(list(accumulate(repeat(la.expm(-K * h), points - 1), np.matmul, initial=np.eye(2))))
    later, earlier = decay.conj() @ N, N @ decay.transpose(0, 2, 1)
    noise = np.where(lag == 0, np.eye(2) / h, 0.0)
    if omega is None:
        column, row = LOSS * later + noise, LOSS * earlier + noise
        e = np.full(points, h / WINDOW**0.5)
    else:
        beat = np.exp(1j * omega * lag)
        column, row = (2 * LOSS * x.real + noise for x in (beat * later, beat.conj() * earlier))
        e = np.exp(1j * omega * (h * np.arange(points) + 0.5 * h)) * h / WINDOW**0.5
    filtered = np.array([[la.matmul_toeplitz((column[:, j, k], row[:, j, k]), e) for k in range(2)] for j in range(2)])
    return filtered @ e.conj(), np.zeros((2, 2)) if omega is None else filtered @ e


def covariance_of_parts(direct, pseudo):
    """Of (Re Z_A, Im Z_A, Re Z_B, Im Z_B), from E[Z_j* Z_k] and E[Z_j Z_k]."""
    re, im = 0.5 * (direct + pseudo), 0.5 * (direct - pseudo)
    out = np.empty((2, 2, 2, 2))  # mode, part, mode, part
    out[:, 0, :, 0], out[:, 1, :, 1] = re.real, im.real
    out[:, 0, :, 1], out[:, 1, :, 0] = re.imag, -im.imag
    return out.reshape(4, 4)


def first_harmonic(direct, pseudo, nodes=40):
    """E[Z_A* Z_B/|Z_A Z_B|] of a Gaussian: 1/|z| = ∫ds e^{−s|z|²}/√(πs), s = tan²u, for both factors."""
    covariance = covariance_of_parts(direct, pseudo)
    x, w = np.polynomial.legendre.leggauss(nodes)
    tangent = np.tan(0.25 * np.pi * (x + 1))
    w = 0.25 * np.pi * w * 2 * (1 + tangent**2) / np.pi**0.5
    u, v = np.broadcast_arrays(tangent[:, None] ** 2, tangent**2)
    weighted = np.eye(4) + 2 * covariance * np.stack([u, u, v, v], axis=-1)[..., None, :]
    C = np.linalg.solve(weighted, np.broadcast_to(covariance, weighted.shape))
    mean = C[..., 0, 2] + C[..., 1, 3] + 1j * (C[..., 0, 3] - C[..., 1, 2])
    return w @ (mean / np.linalg.det(weighted) ** 0.5) @ w


def test_first_harmonic_tends_to_heterodyne_as_one_over_frequency_squared():
    """Exactly; and E[Z²] as 1/ω.  This checks the closed form alone; `test_first_harmonic_of_the_kernel` uses it."""
    limit = first_harmonic(*window_moments(None))
    moments = [window_moments(w) for w in QUARTERS]
    deviations = [abs(first_harmonic(*m)) - abs(limit) for m in moments]
    squares = [abs(pseudo[0, 0]) for _, pseudo in moments]
    orders = [fitted_order(1 / QUARTERS, np.abs(x)) for x in (deviations, squares)]
    print(f"|q₁| = {abs(limit):.5f}; deviations {deviations}, |E Z²| {squares}; orders {orders}")
    assert orders[0] == pytest.approx(2.0, abs=0.1)
    assert orders[1] == pytest.approx(1.0, abs=0.05)


@pytest.mark.filterwarnings("ignore:The local oscillator")
def test_first_harmonic_of_the_records():
    """At a slow local oscillator, where the difference is large: as computed, and not the limit."""
    omega, width = 0.6 / WINDOW, WINDOW / 30
    times = np.arange(60 * 30 + 1) * width
    detectors = Homodyne("loss_a", "loss_b", phase=LocalOscillator(omega))
    data = run(coupled_oscillators(), detectors, times, 2048, seed=7, initial="steady", level="ket", step=width)
    beat = np.exp(1j * omega * data["bin"].values)
    Z = [(data[f"current_{name}"].values * beat).reshape(2048, 60, 30).sum(axis=2) for name in ("loss_a", "loss_b")]
    phase = np.exp(1j * (np.angle(Z[1]) - np.angle(Z[0]))).mean(axis=1)
    exact, limit = (first_harmonic(*window_moments(w)) for w in (omega, None))
    z = {name: abs(z_scores(phase[:, None], np.array([q]))).max() for name, q in (("exact", exact), ("limit", limit))}
    print(
        f"q₁ = {phase.mean():.5f}, exact {exact:.5f} (z {z['exact']:.2f}), heterodyne {limit:.5f} (z {z['limit']:.1f})"
    )
    assert z["exact"] < LIMIT
    assert z["limit"] > CONTROL


def test_the_image_in_the_spectrum_falls_as_one_over_frequency_squared():
    """What the spectrum of a demodulated record has beside the heterodyne one, S(−2ω − δ), on resonance and beside.

    This checks the closed form alone; `test_the_image_in_the_spectrum_of_the_kernel` uses it.
    """
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)
    theory = Regression(system)
    reading = theory.reading("loss", "heterodyne")
    frequencies = np.array([20.0, 40.0, 80.0, 160.0])
    for detuning in (LINE, 0.5):
        image = theory.spectrum(reading, -2 * frequencies - detuning, DURATION) - 1
        assert fitted_order(1 / frequencies, image) == pytest.approx(2.0, abs=0.15)


# === the rates, of the kernels: second moments of records by quadrature, without Monte Carlo

#: Steps in a turn of the local oscillator, which do not make a bin too wide for it
STEPS = 16
#: So weak a pump that a second quantum does not matter, and a detuning that makes q₁ complex
WEAK = {"pump": 2e-4, "detuning": 0.8}
ONE_QUANTUM = Density(Basis(totals=[(("a", "b"), 1)]))
PHASE = 0.3


class Averages(NamedTuple):
    """Averages over the record of one step, as matrices on row-stacked ρ; ΔX: the record's increments."""

    state: np.ndarray  # E ρ
    read: np.ndarray  # E ΔX_j ρ
    read_conjugate: np.ndarray  # E ΔX_j* ρ
    direct: np.ndarray  # E ΔX_j* ΔX_k ρ
    pseudo: np.ndarray  # E ΔX_j ΔX_k ρ


def averages(system, unraveling, begin, width, level, nodes=3):
    """By Gauss–Hermite quadrature of the kernel: Σ weight · likelihood · state over white noise, from pure states.

    The unnormalised state after a given record is linear in the state before: d² pure states give the matrices.
    """
    d = system.lower(getattr(level, "basis", None)).dim
    one = np.eye(d, dtype=complex)
    sums = [(one[i] + f * one[j]) / 2**0.5 for i in range(d) for j in range(i) for f in (1, 1j)]
    kets = np.array([*one, *sums])
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    kinds = [detector.kind for detector in unraveling.detectors]
    grid = np.array(list(product(range(nodes), repeat=sum(2 if k == "heterodyne" else 1 for k in kinds))))
    normals = iter(x[grid].T)
    current = np.stack(
        [(next(normals) + 1j * next(normals)) / 2**0.5 if k == "heterodyne" else next(normals) + 0j for k in kinds],
        axis=1,
    ) / np.sqrt(width)  # fmt: skip
    states, log_likelihood = along(
        system, unraveling, np.array([begin, begin + width]), np.tile(current, (len(kets), 1))[:, :, None],
        np.repeat(kets, len(grid), axis=0), level=level,
    )  # fmt: skip
    after = states[:, -1].reshape(len(states), -1)
    if level == "ket":
        after = np.einsum("ni,nj->nij", after, after.conj()).reshape(len(after), -1)
    after = (after * np.exp(log_likelihood)[:, None]).reshape(len(kets), -1)
    before = np.einsum("ni,nj->nij", kets, kets.conj()).reshape(len(kets), -1)
    maps = np.linalg.solve(before, after).reshape(len(kets), len(grid), -1)  # before, record, after
    weights, X = w[grid].prod(axis=1), current * width
    return Averages(
        np.einsum("g,bga->ab", weights, maps),
        np.einsum("g,gj,bga->jab", weights, X, maps),
        np.einsum("g,gj,bga->jab", weights, X.conj(), maps),
        np.einsum("g,gj,gk,bga->jkab", weights, X.conj(), X, maps),
        np.einsum("g,gj,gk,bga->jkab", weights, X, X, maps),
    )


def kernel_steps(system, channels, frequency, heterodyne, level, efficiency=1.0, others=None):
    """Width and averages of the steps of one turn of a local oscillator, or of the one step of heterodyne detection.

    Every step is taken from another turn, since the phase depends on time alone.  `others` are watched as well.
    """
    width = 2 * np.pi / frequency / STEPS
    detectors = (
        Heterodyne(*channels, efficiency=efficiency)
        if heterodyne
        else Homodyne(*channels, efficiency=efficiency, phase=LocalOscillator(frequency, PHASE))
    )
    detectors = detectors if others is None else detectors + others
    begins = [0.0] if heterodyne else width * np.arange(STEPS) * (1 + STEPS)
    return width, [averages(system, detectors, float(t), width, level) for t in begins]


def second_moments(steps, factors):
    """E[F_j* F_k] and E[F_j F_k] of F_j = Σ_n factors_n ΔX_j(n), (j, k, several F), in the steady state of the steps.

    Along with ρ go E[F_j ρ] and E[F_j* ρ]: ``E[F ρ] → state E[F ρ] + factor · read ρ``.  The steps are repeated.
    """
    size = len(steps[0].state)
    trace = np.eye(round(size**0.5)).reshape(-1)
    rho = la.null_space(steps[0].state - np.eye(size), rcond=1e-9)[:, 0]
    rho = rho / (trace @ rho)
    assert max(abs(trace @ s.state - trace).max() for s in steps) < 1e-12
    traces = [Averages(*(trace @ m for m in s)) for s in steps]
    read = np.zeros((len(steps[0].read), size, factors.shape[1]), dtype=complex)
    conjugate = np.zeros_like(read)
    direct = np.zeros((len(read), len(read), factors.shape[1]), dtype=complex)
    pseudo = np.zeros_like(direct)
    for n, e in enumerate(factors):
        s, t = steps[n % len(steps)], traces[n % len(steps)]
        past = np.einsum("ka,jaf->jkf", t.read, read)
        direct += e * np.einsum("ka,jaf->jkf", t.read, conjugate) + abs(e) ** 2 * (t.direct @ rho)[..., None]
        direct += e.conj() * np.einsum("ja,kaf->jkf", t.read_conjugate, read)
        pseudo += e * (past + past.transpose(1, 0, 2)) + e**2 * (t.pseudo @ rho)[..., None]
        read = s.state @ read + (s.read @ rho)[..., None] * e
        conjugate = s.state @ conjugate + (s.read_conjugate @ rho)[..., None] * e.conj()
        rho = s.state @ rho
    return direct, pseudo


@pytest.fixture
def broken(monkeypatch):
    """Local oscillators that are wrong: put in place of the package's."""
    rotation = drive._rotation

    def other_way(roles, t0, dt, n_steps):
        return rotation(roles, t0, dt, n_steps) * np.array([1.0, -1.0])

    def at_rest(roles, t0, dt, n_steps):
        return np.repeat(rotation(roles, 0.0, dt, 1), n_steps, axis=0)

    def early(roles, t0, dt, n_steps):  # the phase at the beginning of a step
        return rotation(roles, t0 - 0.5 * dt, dt, n_steps)

    wrong = {"other way": other_way, "at rest": at_rest, "early": early}
    return lambda name: monkeypatch.setattr(drive, "_rotation", wrong[name])


def test_a_run_is_its_steps_one_by_one():
    """Along one record: phases come from the place in a run, here, and from the time at which a run begins, below."""
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)
    detector = Homodyne("loss", phase=LocalOscillator(OMEGA, PHASE))
    edges = 0.7 + 0.02 * np.arange(25)
    current = np.random.default_rng(5).standard_normal((3, 1, 24)) / 0.02**0.5
    states, log_likelihood = along(system, detector, edges, current, np.array([0.6, 0.8]))

    def one_by_one(shift):
        state, total = states[:, 0], 0.0
        for n in range(24):
            now = edges[n : n + 2] + shift
            after, more = along(system, detector, now, current[:, :, n : n + 1], state)
            state, total = after[:, -1], total + more
        return abs(state - states[:, -1]).max(), abs(total - log_likelihood).max()

    good, late = one_by_one(0.0), one_by_one(0.02)
    print(f"steps one by one: states and log-likelihoods differ by {good}; a step later {late}")
    assert max(good) < 1e-11
    assert min(late) > 1e-2


def windows(frequencies, heterodyne=False):
    """Per frequency E[Z_j* Z_k] and E[Z_j Z_k] of both detectors' windows, and E[Z_j Z_k] over whole half-turns."""
    system, out = coupled_oscillators(2, **WEAK), []
    for omega in frequencies:
        width, steps = kernel_steps(system, ("loss_a", "loss_b"), omega, heterodyne, ONE_QUANTUM)
        t = width * (np.arange(steps_in_window(omega)) + 0.5)
        e = np.exp((not heterodyne) * 1j * (omega * t + PHASE))[:, None] / WINDOW**0.5
        direct, pseudo = second_moments(steps, e)
        halves = second_moments(steps, e[: -STEPS // 4])[1]
        out.append((direct[..., 0], pseudo[..., 0], halves[..., 0]))
    return out


def steps_in_window(omega):
    return round(WINDOW * omega * STEPS / (2 * np.pi))


def deviations(found, limit):
    """Of |q₁| and of q₁ from heterodyne detection."""
    q, q0 = (np.array([first_harmonic(*m[:2]) for m in moments]) for moments in (found, limit))
    return abs(q) - abs(q0), abs(q - q0)


def test_first_harmonic_of_the_kernel(broken):
    """As 1/ω², of what the package's own steps record: rate and values, of |q₁| and of q₁.

    E[Z_A²], mostly shot noise, as 1/ω.  E[Z_A Z_B], signal alone, as 1/ω, over whole half-turns as 1/ω²; not E[Z_A²],
    since the line of A is beside the local oscillator's frequency.
    The closed form is summed over the same steps, since phases are constant within a step.
    """
    frequencies = QUARTERS[:3]
    found, limit = windows(frequencies), windows(frequencies, heterodyne=True)
    exact, exact_limit = (
        [window_moments(w if turns else None, steps_in_window(w), **WEAK) for w in frequencies]
        for turns in (True, False)
    )
    deviation, exact_deviation = deviations(found, limit), deviations(exact, exact_limit)
    pseudo = [[m[1][0, 0] for m in found], [m[1][0, 1] for m in found], [m[2][0, 1] for m in found]]
    orders = [fitted_order(1 / frequencies, np.abs(x)) for x in (*deviation, *pseudo)]
    print(f"|q₁|, q₁ − heterodyne: {deviation}, over the exact one {np.divide(deviation, exact_deviation)}")
    print(f"orders of |q₁|, q₁, E Z_A², E Z_A Z_B, over half-turns: {orders}")
    assert orders == pytest.approx([2.0, 2.0, 1.0, 1.0, 2.0], abs=0.15)
    np.testing.assert_allclose(deviation, exact_deviation, rtol=0.03)  # of the steps
    # the controls: no image, but shot noise as it is; local oscillators that are wrong (Z → Z* keeps |q₁|, not q₁)
    blind = deviations([(h[0], np.diag(np.diag(m[1]))) for m, h in zip(found, limit, strict=True)], limit)
    slow, wrong = frequencies[:2], {}
    for name in ("other way", "at rest"):
        broken(name)
        wrong[name] = [fitted_order(1 / slow, abs(x)) for x in deviations(windows(slow), limit[:2])]
    print(f"controls: |q₁| without image, over the exact one {blind[0] / exact_deviation[0]}; orders {wrong}")
    assert abs(blind[0] / exact_deviation[0] - 1).min() > 0.3
    assert abs(wrong["other way"][1]) < 0.5
    assert max(map(abs, wrong["at rest"])) < 0.5


WATCHED = {
    "density": {"level": "density", "efficiency": 0.7},  # and a channel that nobody watches
    "ket": {"level": "ket", "others": Homodyne("pump")},
}
DETUNINGS = np.array([LINE, 0.5])


def spectra(frequencies, case, heterodyne=False):
    """Demodulated spectrum at `DETUNINGS`: (frequency, detuning)."""
    system, out = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE), []
    for omega in frequencies:
        width, steps = kernel_steps(system, ("loss",), omega, heterodyne, **WATCHED[case])
        t = width * (np.arange(round(DURATION / width)) + 0.5)[:, None]
        e = np.exp(1j * t * (DETUNINGS + (0.0 if heterodyne else omega))) / (width * len(t)) ** 0.5
        out.append(second_moments(steps, e)[0][0, 0].real)
    return np.array(out)


@pytest.mark.parametrize("case", WATCHED)
def test_the_image_in_the_spectrum_of_the_kernel(case, broken):
    """As 1/ω², on resonance and beside: rate and values.

    In a record of steps the image comes with its aliases: Σ_k (Ω + 2πk/dt)⁻² = (dt/2)²/sin²(Ωdt/2), Ω = 2ω + δ.
    """
    frequencies = np.array([40.0, 80.0, 160.0])
    theory = Regression(spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE))
    reading = theory.reading("loss", "heterodyne", WATCHED[case].get("efficiency", 1.0))
    limit = spectra(frequencies, case, heterodyne=True)
    found = spectra(frequencies, case) - limit
    orders = [fitted_order(1 / frequencies, abs(x)) for x in found.T]
    image = 2 * frequencies[:, None] + DETUNINGS
    half = np.pi / STEPS * image / frequencies[:, None]
    exact = np.array([theory.spectrum(reading, -w, DURATION) - 1 for w in image]) * (half / np.sin(half)) ** 2
    print(f"image in the spectrum, {case}: {found.T}; over the exact one {(found / exact).T}; orders {orders}")
    assert orders == pytest.approx([2.0, 2.0], abs=0.15)
    np.testing.assert_allclose(found, exact, rtol=0.01)  # of the steps
    np.testing.assert_allclose(limit[-1], theory.spectrum(reading, DETUNINGS, DURATION), rtol=1e-3)
    # the controls
    slow = frequencies[:2]
    for name in ("other way", "at rest"):
        broken(name)
        wrong = [fitted_order(1 / slow, abs(x)) for x in (spectra(slow, case) - limit[:2]).T]
        print(f"control, {name}: orders {wrong}")
        assert max(map(abs, wrong)) < 0.5


@pytest.mark.parametrize("level", ["density", "ket"])
def test_demodulated_mean_of_the_kernel(level, broken):
    """√η⟨L⟩, complex, of a driven qubit: where U(1) symmetry is broken, a constant error of the phase shows."""
    system = driven_qubit(rabi=1.3, gamma=1.0, detuning=0.7)
    options = {"level": level, "efficiency": 0.7 if level == "density" else 1.0}
    theory = Regression(system)
    expected = theory.mean(theory.reading("loss", "heterodyne", options["efficiency"]))

    def error():
        width, steps = kernel_steps(system, ("loss",), 40.0, False, **options)
        trace = np.eye(2).reshape(-1)
        currents = np.array([trace @ s.read[0] @ theory.rho for s in steps]) / width
        t = width * (np.arange(STEPS) + 0.5)
        return abs((np.exp(1j * (40.0 * t + PHASE)) * currents).mean() / expected - 1)

    good, wrong = error(), {}
    for name in ("other way", "at rest", "early"):
        broken(name)
        wrong[name] = error()
    print(f"demodulated mean, {level}: relative error {good:.1e}; controls {wrong}")
    assert good < 2e-3  # of the step
    assert min(wrong.values()) > 0.15


# === phases given as samples


@pytest.mark.parametrize("level", ["density", "ket"])
def test_a_sampled_phase_is_the_function(level):
    """A straight line is a local oscillator, a curve the function that was sampled; the same noise, the same record."""
    times = np.linspace(0.0, 2.0, 41)
    grid = np.linspace(0.0, 2.0, 401)
    system = spin(gamma_plus=0.4, gamma_minus=1.0, omega=LINE)

    def curved(t):
        return 3.0 * t + np.sin(2.0 * t) + PHASE

    def record(phase):
        options = {"level": level, "observables": ["sx"], "initial": np.array([0.6, 0.8]), "step": 0.02}
        data = run(system, Homodyne("loss", phase=phase) + Homodyne("pump"), times, 8, seed=8, **options)
        return np.concatenate([data["current_loss"].values, data["expect_sx"].values], axis=1)

    line, curve = record(LocalOscillator(3.0, PHASE)), record(curved)
    errors = [
        abs(record(Sampled([0.0, 2.0], [PHASE, 6.0 + PHASE], order=1)) - line).max(),
        abs(record(Sampled(grid, curved(grid))) - curve).max(),
    ]
    wrong = [abs(record(PHASE) - line).max(), abs(line - curve).max()]
    print(f"sampled phases, {level}: {errors}; a constant one, a straight for a curved one: {wrong}")
    assert errors[0] < 1e-12
    assert errors[1] < 1e-7  # of the spline
    assert min(wrong) > 0.05
