"""Langevin systems and the classical oscillators of [T] chapter 2 against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ive

import backaction as ba
from backaction.systems import LangevinSystem, adler, classical_vdp, kuramoto, lorentzian_frequencies


def test_adler_without_noise_drifts_at_its_beat_frequency():
    """√(δ² − V²), [T] (2.23), over whole periods; below the threshold the phase stops at arcsin(δ/V), (2.22)."""
    for detuning in (1.5, -2.0):
        period = 2 * np.pi / np.sqrt(detuning**2 - 1)
        data = ba.simulate(
            adler(detuning, 1.0), None, [0, 20 * period], observables=["phase"], step=0.01, progress=False
        )
        frequency = data["expect_phase"].values[0, -1] / (20 * period)
        assert abs(frequency - np.sign(detuning) * np.sqrt(detuning**2 - 1)) < 2e-5
    locked = ba.simulate(adler(0.6, 1.0), None, [0, 60], observables=["phase"], progress=False)
    assert abs(locked["expect_phase"].values[0, -1] - np.arcsin(0.6)) < 1e-9


def adler_stationary(detuning: float, coupling: float, noise: float) -> np.ndarray:
    """E[e^{−ikφ}], k = 0 … 40: 0 = −ik[δ q_k − (V/2i)(q_{k−1} − q_{k+1})] − k²σ²/2 q_k, cut off above."""
    n = 40
    A, b = np.zeros((n, n), dtype=complex), np.zeros(n, dtype=complex)
    for k in range(1, n + 1):
        A[k - 1, k - 1] = -1j * k * detuning - 0.5 * k**2 * noise**2
        if k < n:
            A[k - 1, k] = -0.5 * k * coupling
        if k > 1:
            A[k - 1, k - 2] = 0.5 * k * coupling
        else:
            b[0] = -0.5 * k * coupling
    return np.concatenate([[1.0], np.linalg.solve(A, b)])


def test_noisy_adler_against_its_fokker_planck_equation():
    """Mean of e^{iφ} and mean frequency δ − V E[sin φ]; twice the noise is another distribution."""
    detuning, coupling, noise, T = 0.8, 1.0, 0.7, 400.0

    def measured(strength: float) -> tuple[np.ndarray, np.ndarray]:
        data = ba.simulate(
            adler(detuning, coupling, strength), None, np.linspace(0, T, 401), 64, seed=5,
            observables=["phase", "e_phase"], progress=False,
        )  # fmt: skip
        frequency = (data["expect_phase"].values[:, -1] - data["expect_phase"].values[:, 40]) / (T - 40)
        return frequency, data["expect_e_phase"].values[:, 40:].mean(axis=1)

    q = adler_stationary(detuning, coupling, noise)
    expected = detuning + coupling * q[1].imag, q[1].conj()  # sin φ = −Im e^{−iφ}

    def distance(strength: float) -> float:
        frequency, phase = measured(strength)
        return max(
            abs(x.mean() - e) / x.std(ddof=1) * 8
            for x, e in ((frequency, expected[0]), (phase.real, expected[1].real), (phase.imag, expected[1].imag))
        )

    assert distance(noise) < 5
    assert distance(1.4) > 8


def test_classical_vdp_has_its_radius_and_linewidth():
    """r₀ = √(κ₁/2κ₂) without noise; with weak noise E[α*(t)α(0)] decays at D = σ²/2r₀² and turns at ω, (2.13)."""
    quiet = ba.simulate(
        classical_vdp(2.0, 0.25, omega=1.0), None, [0, 30], initial=[0.3], observables=["r"], step=0.01,
        progress=False,
    )  # fmt: skip
    assert abs(quiet["expect_r"].values[0, -1] - 2.0) < 1e-4

    def decay(noise: float) -> tuple[float, float]:
        data = ba.simulate(
            classical_vdp(20.0, 2.5, omega=0.5, noise=noise), None, np.linspace(0, 4, 3), 2000, seed=6,
            observables=["alpha"], progress=False,
        )  # fmt: skip
        a = data["expect_alpha"].values
        g = a[:, 1].conj() * a[:, 2]  # e^{−iωτ − Dτ}, τ = 2, r₀ = 2
        phase = (g / abs(g) * np.exp(1j * 0.5 * 2)).real
        return float(phase.mean()), float(phase.std(ddof=1) / 2000**0.5)

    mean, error = decay(0.4)
    D = 0.4**2 / (2 * 4)
    assert abs(mean - np.exp(-2 * D)) < 5 * error
    mean, error = decay(0.8)
    assert abs(mean - np.exp(-2 * D)) > 8 * error


def test_kuramoto_with_noise_synchronizes_above_its_threshold():
    """|z| solves r = I₁(2Vr/σ²)/I₀(2Vr/σ²), nonzero for V > σ², [T] section 2.3.2; below, z is of order N^{−1/2}."""
    N, noise = 1000, 1.0

    def order(coupling: float) -> np.ndarray:
        data = ba.simulate(
            kuramoto(np.zeros(N), coupling, noise), None, np.linspace(0, 40, 41), 4, seed=1, observables=["r"],
            progress=False, step=0.05,
        )  # fmt: skip
        return data["expect_r"].values[:, 20:].mean(axis=1)

    r = 1.0
    for _ in range(500):
        r = ive(1, 2 * 1.6 * r) / ive(0, 2 * 1.6 * r)
    assert abs(order(1.6).mean() - r) < 0.02
    assert order(0.7).max() < 0.15


def test_kuramoto_of_lorentzian_frequencies():
    """|z| = √(1 − 2G/V) above V = 2G, [T] (2.44)."""
    frequencies = lorentzian_frequencies(1000, 0.5)
    for coupling, expected, slack in ((2.0, np.sqrt(0.5), 0.02), (0.5, 0.0, 0.12)):
        data = ba.simulate(
            kuramoto(frequencies, coupling), None, np.linspace(0, 40, 41), 2, seed=2, observables=["r"],
            progress=False, step=0.05,
        )  # fmt: skip
        assert abs(data["expect_r"].values[:, 20:].mean() - expected) < slack


def test_an_ornstein_uhlenbeck_process_with_mixed_noise():
    """dx = −Ax dt + B dW: covariance from the Lyapunov equation; E[xxᵀ] with B transposed is another one."""
    from scipy.linalg import solve_continuous_lyapunov

    A, B = np.array([[1.0, 0.4], [-0.3, 0.7]]), np.array([[0.5, 0.0, 0.3], [0.2, 0.9, 0.0]])
    system = LangevinSystem(lambda x: -A @ x, B, initial=np.zeros(2), variables=("x", "y"))
    data = ba.simulate(system, None, [0, 15], 4000, seed=3, states=True, progress=False)
    x = data["values"].values[:, -1]
    assert data["values"].attrs["variables"] == "x, y"
    assert x.dtype == float
    exact = solve_continuous_lyapunov(A, B @ B.T)
    products = np.einsum("ki,kj->kij", x, x)
    error = products.std(axis=0, ddof=1) / 4000**0.5
    assert np.all(abs(products.mean(axis=0) - exact) < 5 * error)
    wrong = solve_continuous_lyapunov(A, np.diag(B @ B.T) * np.eye(2))
    assert np.any(abs(products.mean(axis=0) - wrong) > 8 * error)


def test_complex_noise_and_noise_that_depends_on_the_state():
    """dα = −α dt + √2 dξ: E|α|² = 1; dx = x dW (Itô): E[x] stays, E[x²] grows as e^t."""
    system = LangevinSystem(lambda a: -a, 2**0.5, initial=np.zeros(1), complex_noise=True)
    data = ba.simulate(system, None, [0, 8], 4000, seed=4, observables={"n": lambda a: abs(a[0]) ** 2}, progress=False)
    n = data["expect_n"].values[:, -1]
    assert abs(n.mean() - 1) < 5 * n.std(ddof=1) / 4000**0.5
    assert n.std(ddof=1) > 0.9  # of an exponential law: real noise would give √2
    assert n.std(ddof=1) < 1.1

    growth = LangevinSystem(lambda x: 0 * x, lambda x: x, initial=np.ones(1))
    data = ba.simulate(growth, None, [0, 0.5], 8000, seed=4, states=True, progress=False)
    assert data.attrs["step"] <= 0.05
    x = data["values"].values[:, -1, 0]
    assert abs(x.mean() - 1) < 5 * x.std(ddof=1) / 8000**0.5  # Stratonovich: e^{1/4}
    assert abs((x**2).mean() - np.exp(0.5)) < 5 * (x**2).std(ddof=1) / 8000**0.5


@pytest.mark.filterwarnings("ignore:The step")
def test_the_drift_is_of_second_order():
    system = LangevinSystem(lambda x: -np.sin(2 * x), 0.0, initial=np.array([0.9]))
    values = [
        ba.simulate(system, None, [0, 2], states=True, step=step, progress=False)["values"].values[0, -1, 0]
        for step in (0.2, 0.1, 0.05, 0.001)
    ]
    errors = [abs(v - values[-1]) for v in values[:-1]]
    assert 3.5 < errors[0] / errors[1] < 5
    assert 3.5 < errors[1] / errors[2] < 5


def test_paths_do_not_depend_on_batches_or_workers():
    system = kuramoto(lorentzian_frequencies(400, 1.0), 1.5, 0.4)  # 20 in a batch
    options = {"seed": 9, "observables": ["z"], "states": True, "progress": False}
    times = np.linspace(0, 3, 7)
    long = ba.simulate(system, None, times, 50, n_jobs=2, **options)
    short = ba.simulate(system, None, times, 43, **options)
    for name in ("expect_z", "values"):
        assert np.array_equal(long[name].values[:43], short[name].values)
    other = ba.simulate(system, None, times, 43, **{**options, "seed": 10})
    assert not np.array_equal(other["values"].values[:, 0], short["values"].values[:, 0])
    again = ba.simulate(system, None, times, 43, initial=short, **{**options, "seed": 11})
    assert np.array_equal(again["values"].values[:, 0], short["values"].values[:, -1])


def test_the_default_step():
    """Short against the drift where noise takes it, long oscillations kept, and a warning where the drift grows."""
    well = LangevinSystem(lambda x: x - x**3, 0.3, initial=[3**-0.5])
    assert ba.simulate(well, None, [0, 0.9, 1.8], states=True, progress=False).attrs["step"] < 0.2
    spin = LangevinSystem(lambda a: -1j * a, 0.0, initial=[1.0], complex_noise=True)
    end = ba.simulate(spin, None, [0, 2000], states=True, progress=False)["values"].values[0, -1, 0]
    assert abs(abs(end) - 1) < 0.02
    fast = LangevinSystem(lambda x: np.stack([1 + 0 * x[0], -x[0] * x[1]]), 0.1, initial=[0.0, 1.0])
    with pytest.warns(RuntimeWarning, match="is coarse: along the paths"):
        ba.simulate(fast, None, np.linspace(0, 40, 21), states=True, step=0.5, progress=False)


def test_the_default_step__whatever_the_unit_and_the_number_of_trajectories():
    def duffing(unit, initial):
        return LangevinSystem(
            lambda x: np.stack([x[1], -x[0] - x[0] ** 3 / unit**2 - 0.1 * x[1]]),
            np.array([[0.0], [0.1 * unit]]),
            initial=initial,
        )

    options = {"seed": 3, "states": True, "progress": False}
    steps = []
    for unit in (1.0, 1e-9):
        data = ba.simulate(duffing(unit, [unit, 0.0]), None, np.linspace(0, 1, 3), 2, **options)
        steps.append(data.attrs["step"])
    assert steps[1] == pytest.approx(steps[0], rel=0.01)
    drawn = duffing(1.0, lambda rng: np.array([rng.normal(0, 2), 0.0]))
    one, many = (ba.simulate(drawn, None, np.linspace(0, 1, 3), n, **options) for n in (1, 9))
    assert np.array_equal(one["values"].values, many["values"].values[:1])


@pytest.mark.parametrize(
    "change, name",
    [
        ({"drift": 1.0}, "drift"),
        ({"drift": lambda x: x[0]}, "drift"),
        ({"drift": lambda x: x * np.nan}, "drift"),
        ({"drift": lambda x: 1j * x}, "drift"),
        ({"diffusion": np.ones(3)}, "diffusion"),
        ({"diffusion": 1j}, "diffusion"),
        ({"diffusion": None}, "diffusion"),
        ({"variables": "xy"}, "variables"),
        ({"variables": ("x", "x")}, "variables"),
        ({"diffusion": lambda x: x[:1]}, "diffusion"),
        ({"initial": np.zeros((2, 2))}, "initial"),
        ({"initial": 1j * np.ones(2)}, "initial"),
        ({"variables": ("x",)}, "variables"),
        ({"observables": {"a": 1}}, "observables"),
    ],
)
def test_systems_that_do_not_fit(change, name):
    with pytest.raises(ValueError, match=f"Argument `{name}"):
        LangevinSystem(**{"drift": lambda x: -x, "diffusion": 1.0, "initial": np.zeros(2), **change})


def test_runs_that_do_not_fit():
    system = adler(1.0, 1.0)
    with pytest.raises(ValueError, match="Argument `unraveling`"):
        ba.simulate(system, ba.Homodyne("loss"), [0, 1], observables=["phase"])
    with pytest.raises(ValueError, match="Argument `observables`"):
        ba.simulate(system, None, [0, 1], observables=["n"])
    for initial in ([1.0, 2.0], [1j], ba.simulate(LangevinSystem(np.cos, 0.0, [0.0]), None, [0, 1], states=True)):
        with pytest.raises(ValueError, match="Argument `initial`"):
            ba.simulate(system, None, [0, 1], observables=["phase"], initial=initial)
    for call, name in (
        (lambda: adler(np.nan, 1.0), "detuning"),
        (lambda: classical_vdp(1.0, 1.0, np.nan), "omega"),
        (lambda: lorentzian_frequencies(2.5, 1.0), "N"),
    ):
        with pytest.raises(ValueError, match=f"Argument `{name}`"):
            call()
    with pytest.raises(ValueError, match="level"):
        ba.simulate(system, None, [0, 1], observables=["phase"], level="ket")
    with pytest.raises(ValueError, match="records nothing"):
        ba.simulate(system, None, [0, 1])
    with pytest.raises(FloatingPointError, match="step"):
        ba.simulate(LangevinSystem(lambda x: x**3, 0.0, initial=np.ones(1)), None, [0, 5], states=True, progress=False)
