"""Truncated Wigner: amplitudes and records against closed forms, exact levels, and themselves at other steps.

Statistical tests compare with 5 standard errors, and each has a control that must fail them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import backaction as ba
from backaction.systems.wigner import WignerEquations
from backaction.trajectories.kernels.lane import NOISE_STEPS
from backaction.trajectories.kernels.phasespace import LANES, advance_phasespace, phasespace_work
from backaction.trajectories.phasespace_plan import phasespace_plan

A, B = ba.Boson("a"), ba.Boson("b")
KAPPA, THERMAL, OMEGA = 1.0, 0.7, 0.4


def run(system: ba.System, unraveling: Any, times: Any, ntraj: int = 1, **options: Any) -> Any:
    return ba.simulate(
        system, unraveling, times, ntraj, **{"level": "phasespace", "seed": 3, "progress": False, **options}
    )


def cavity(drive: float = 0.0) -> ba.System:
    """Damped into a thermal bath."""
    return ba.System(
        OMEGA * A.n + drive * (A.a + A.a.dag()),
        {"loss": np.sqrt(KAPPA * (THERMAL + 1)) * A.a, "gain": np.sqrt(KAPPA * THERMAL) * A.a.dag()},
        {"a": A.a, "n": A.n},
    )


def kerr(U: float = 0.05, gain: float = 1.0) -> ba.System:
    """A driven and damped Kerr oscillator with noise."""
    return ba.System(
        -1.0 * A.n + U * A.a.dag() ** 2 * A.a**2 + 1.5 * (A.a + A.a.dag()),
        {"loss": np.sqrt(2.0) * A.a, "gain": np.sqrt(gain) * A.a.dag()},
        {"a": A.a, "n": A.n},
    )


def periodogram(current: np.ndarray, width: float, segments: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ω, mean of |Σ I e^{iωt} dt|²/T over segments and trajectories, and its standard error."""
    n = current.shape[1] // segments
    Z = n * width * np.fft.ifft(current[:, : n * segments].reshape(-1, n), axis=1)
    S = abs(Z) ** 2 / (n * width)
    return 2 * np.pi * np.fft.fftfreq(n, width), S.mean(axis=0), S.std(axis=0, ddof=1) / np.sqrt(len(S))


def line(omega: np.ndarray, z: complex, T: float) -> np.ndarray:
    """2 Re ∫ e^{iωτ + zτ} (1 − τ/T) dτ over a record of length T: a line at −Im z."""
    s = -1j * omega - z
    return 2 * np.real((1 - (1 - np.exp(-s * T)) / (s * T)) / s)


def scores(found: np.ndarray, error: np.ndarray, expected: np.ndarray, groups: int = 20) -> np.ndarray:
    """Deviations of groups of neighbouring frequencies, in standard errors."""
    z = (np.fft.fftshift(found) - np.fft.fftshift(expected)) / np.fft.fftshift(error)
    return np.array([part.sum() / np.sqrt(len(part)) for part in np.array_split(z, groups)])


def strangers(data: Any, name: str, signal: np.ndarray) -> np.ndarray:
    """The record with the signal of another trajectory: its noise is not the vacuum that drives the mode."""
    current = data[f"current_{name}"].values
    return current - signal + np.roll(signal, 1, axis=0)


# === linear systems


def test_mean_and_variance_of_a_thermal_cavity() -> None:
    alpha0, drive, times = 1.5 - 0.5j, 0.6, np.array([0.0, 0.3, 1.0, 3.0])
    data = run(
        cavity(drive), None, times, 4096, states=True, observables=("n",), initial={"a": ba.coherent(alpha0)}, step=0.02
    )
    alpha = data["amplitude"].values[..., 0]
    lam = -1j * OMEGA - KAPPA / 2
    mean = alpha0 * np.exp(lam * times) - 1j * drive * (np.exp(lam * times) - 1) / lam
    variance = 0.5 * np.exp(-KAPPA * times) + (THERMAL + 0.5) * (1 - np.exp(-KAPPA * times))
    error = np.sqrt(variance / 4096)
    assert np.all(abs(alpha.mean(axis=0) - mean) < 5 * error)
    spread = np.mean(abs(alpha - mean) ** 2, axis=0)
    assert np.all(abs(spread - variance) < 5 * variance / np.sqrt(4096))
    assert np.all(abs(np.mean((alpha - mean) ** 2, axis=0)) < 5 * np.sqrt(2) * variance / np.sqrt(4096))
    assert np.all(abs(spread - (variance - 0.5)) > 10 * variance / np.sqrt(4096))  # without the vacuum
    np.testing.assert_allclose(data["expect_n"].values, abs(alpha) ** 2 - 0.5, atol=1e-12)


@pytest.mark.parametrize("detector", ["heterodyne", "heterodyne of the gain", "homodyne", "oscillator"])
def test_the_spectrum_of_the_record_is_that_of_normal_order(detector: str) -> None:
    """1 + ηκS with S of a†a: the vacuum in the amplitudes is cancelled by that in the record.

    A record of the gain, L ∝ a†, has S of aa†: there it is added once more.
    """
    efficiency, width, segments = 0.7, 0.1, 4
    unraveling = {
        "heterodyne": ba.Heterodyne("loss", efficiency=efficiency),
        "heterodyne of the gain": ba.Heterodyne("gain", efficiency=efficiency),
        "homodyne": ba.Homodyne("loss", efficiency=efficiency, phase=0.8),
        "oscillator": ba.Homodyne("loss", efficiency=efficiency, phase=ba.LocalOscillator(-OMEGA, 0.3)),
    }[detector]
    gain = detector == "heterodyne of the gain"
    name = "gain" if gain else "loss"
    times = np.arange(2001) * width
    data = run(cavity(), unraveling, times, 128, states=True, initial={"a": ba.thermal(THERMAL)}, step=0.05)
    omega, S, error = periodogram(data[f"current_{name}"].values, width, segments)
    T = width * len(omega)
    rate, quanta = (THERMAL, THERMAL + 1) if gain else (THERMAL + 1, THERMAL)
    at = {"oscillator": 0.0, "heterodyne of the gain": -OMEGA}.get(detector, OMEGA)
    z = -1j * at - KAPPA / 2
    shape = line(omega, z, T) + (0 if "hetero" in detector else line(omega, np.conj(z), T))
    expected = 1 + efficiency * KAPPA * rate * quanta * np.sinc(omega * width / 2 / np.pi) ** 2 * shape
    assert np.all(abs(scores(S, error, expected)) < 5)
    # control: the noise of another trajectory
    alpha = data["amplitude"].values[..., 0]
    signal = np.sqrt(efficiency * KAPPA * rate) * 0.5 * (alpha[:, 1:] + alpha[:, :-1])
    if gain:
        signal = signal.conj()
    if "hetero" not in detector:
        phase = 0.8 if detector == "homodyne" else -OMEGA * (times[1:] - width / 2) + 0.3
        signal = 2 * np.real(np.exp(-1j * phase) * signal)
    _, S, error = periodogram(strangers(data, name, signal), width, segments)
    assert np.max(abs(scores(S, error, expected))) > 10


def test_squeezed_light() -> None:
    """PHYSICS.md 7d: floor 1, and below it for p."""
    eps, efficiency, width = 0.25, 0.8, 0.1
    system = ba.System(0.5j * eps * (A.a.dag() ** 2 - A.a**2), {"loss": A.a})
    for phase, sign in ((0.0, 1), (np.pi / 2, -1)):
        data = run(
            system, ba.Homodyne("loss", phase=phase, efficiency=efficiency), np.arange(4201) * width, 96, states=True
        )
        current = data["current_loss"].values[:, 200:]
        omega, S, error = periodogram(current, width, 4)
        slow = abs(omega) < 3
        decay = 0.5 - sign * eps
        height = 2 * eps / (2 * decay)  # 2ηκε/(decay² + ω²) as a line of this height
        shape = line(omega, -decay, width * len(omega)) * np.sinc(omega * width / 2 / np.pi) ** 2
        expected = 1 + sign * efficiency * height * shape
        assert expected.min() < 0.4 or sign > 0
        assert np.all(abs(scores(S[slow], error[slow], expected[slow], 8)) < 5)
        alpha = data["amplitude"].values[:, 200:, 0]
        signal = np.sqrt(efficiency) * np.real(np.exp(-1j * phase) * (alpha[:, 1:] + alpha[:, :-1]))
        strange = strangers(data.isel(bin=slice(200, None)), "loss", signal)
        _, S, error = periodogram(strange, width, 4)
        assert np.max(abs(scores(S[slow], error[slow], expected[slow], 8))) > 10


def coupled(g: float) -> ba.System:
    return ba.System(
        0.5 * A.n - 0.5 * B.n + g * (A.a.dag() * B.a + B.a.dag() * A.a),
        {"loss_a": A.a, "loss_b": np.sqrt(0.4 * 2.0) * B.a, "gain_b": np.sqrt(0.4) * B.a.dag()},
        {"n_a": A.n, "n_b": B.n},
    )


def autocovariance(data: Any, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the current of a, at lags 1 … in bins, and its standard errors across trajectories (real, imaginary)."""
    I = data["current_loss_a"].values[:, 60:]
    one = np.array([np.mean(I[:, k:] * I[:, : I.shape[1] - k].conj(), axis=1) for k in range(1, lags + 1)])
    parts = np.concatenate([one.real, one.imag])
    return parts.mean(axis=1), parts.std(axis=1, ddof=1) / np.sqrt(parts.shape[1])


def test_coupled_modes_have_the_record_of_exact_moments() -> None:
    """The same system at two levels: currents of conditional means and their innovations, and of amplitudes."""
    times, unraveling = np.arange(461) * 0.25, ba.Heterodyne("loss_a", efficiency=0.9)
    n = 1536
    exact = ba.simulate(coupled(0.8), unraveling, times, n, level="moments", seed=5, progress=False)
    expected, error = autocovariance(exact, 12)
    found, error_found = autocovariance(run(coupled(0.8), unraveling, times, n), 12)
    z = (found - expected) / np.hypot(error, error_found)
    assert np.all(abs(z) < 5)
    assert np.sum(abs(expected) > 20 * error) > 4  # there is something to see
    control, error_control = autocovariance(run(coupled(0.4), unraveling, times, n), 12)
    assert np.max(abs(control - expected) / np.hypot(error, error_control)) > 10


# === nonlinear systems


def test_a_kerr_oscillator_dephases() -> None:
    """⟨a⟩ of a coherent state under U a†²a², in closed form for truncated Wigner and exactly."""
    U, alpha0, times = 0.002, 6.0, np.linspace(0, 20, 5)
    data = run(
        ba.System(U * A.a.dag() ** 2 * A.a**2, {}), None, times, 2048, states=True, initial={"a": ba.coherent(alpha0)}
    )
    alpha = data["amplitude"].values[..., 0]
    mean, error = alpha.mean(axis=0), alpha.std(axis=0) / np.sqrt(2048)

    def wigner(a: float, t: Any) -> Any:
        turn = 1j * U * t
        return a * np.exp(2 * turn - 2 * a**2 * turn / (1 + turn)) / (1 + turn) ** 2

    def quantum(a: float, t: Any) -> Any:
        return a * np.exp(a**2 * (np.exp(-2j * U * t) - 1))

    assert np.all(abs(mean - wigner(alpha0, times)) < 5 * error + 1e-3)
    classical = alpha0 * np.exp(-2j * U * alpha0**2 * times)
    assert abs(mean - classical)[-1] > 10 * error[-1]
    # truncated Wigner is what is left at large amplitudes: U ~ 1/|α|²
    off = [abs(wigner(a, 36 / a**2 * times[-1]) - quantum(a, 36 / a**2 * times[-1])) / a for a in (6.0, 12.0)]
    assert off[0] < 2e-3
    assert off[1] < 0.3 * off[0]


@pytest.mark.parametrize("kappa1, warns", [(4.0, False), (0.2, True)])
def test_a_van_der_pol_oscillator(kappa1: float, warns: bool) -> None:
    """κ₂ = .5, κ = 1: 3.60 quanta exactly at κ₁ = 4; far below threshold the run says that it is not to be trusted."""
    system = ba.systems.vdp(kappa1, 0.5, 1.0, omega=0.0)

    def mean() -> float:
        data = run(system, None, np.arange(101) * 0.5, 64, observables={"n": system.sites[0].n}, save_every=2)
        return float(data["expect_n"][:, 10:].mean())

    if warns:
        with pytest.warns(RuntimeWarning, match=r"Amplitudes of 'a' \(\|α\|² = 0\.[5-9].* are too small"):
            mean()
    else:
        assert mean() == pytest.approx(3.598, rel=0.06)


def test_an_optomechanical_limit_cycle() -> None:
    """PHYSICS.md section 8: n_a = .3672 and n_b = 5.2622 exactly, at a photon number far too small for a good classical
    limit.  Without the −1/2 in the symbol of a†a the vacuum would press on the mirror, and g₀² detune the cavity."""
    cell = ba.systems.optomechanical_array(1, 0.3, 0.3, 0.3, 0.15, 0.015, 0.0)
    mirror = cell.sites[1]
    pressed = ba.System(cell.hamiltonian - 0.15 * (mirror.a + mirror.a.dag()), cell.channels, cell.observables)

    def numbers(system: ba.System) -> np.ndarray:
        data = run(system, None, np.arange(1501) * 1.0, 64, observables=("n_a_0", "n_b_0"))
        return np.array([data[f"expect_{name}"].values[:, 300:].mean() for name in ("n_a_0", "n_b_0")])

    exact = np.array([0.3672, 5.2622])
    assert np.all(abs(numbers(cell) / exact - 1) < [0.07, 0.16])
    assert numbers(pressed)[0] < 0.9 * exact[0]


def test_weak_order() -> None:
    """Additive noise: averages of the amplitude and of the record converge with the square of the step.

    The kernel runs on noise of ours, of which coarse steps take sums.
    """
    system = ba.System(
        -1.0 * A.n + 0.2 * A.a.dag() ** 2 * A.a**2 + 3.0 * (A.a + A.a.dag()),
        {"loss": np.sqrt(2.0) * A.a, "gain": np.sqrt(0.5) * A.a.dag()},
    )
    equations, detectors = WignerEquations(system), ba.Heterodyne("loss", efficiency=0.8).detectors
    rng = np.random.default_rng(0)
    steps, batches = (24, 48, 96), 3000
    assert max(steps) <= NOISE_STEPS
    works = {}
    for n in steps:
        plan = phasespace_plan(equations, detectors, {}, 1.0, 1.0 / n, 0.0, 1)
        assert plan.n_sub == n
        works[n] = plan, phasespace_work(plan)
    noises = works[steps[0]][0].n_noises
    means = np.empty((len(steps), batches, 5))
    for batch in range(batches):
        fine, start = rng.normal(size=(max(steps), noises, LANES)), 0.3 * rng.normal(size=(2, LANES))
        for k, n in enumerate(steps):
            plan, work = works[n]
            coarse = fine.reshape(n, -1, noises, LANES).sum(axis=1) / np.sqrt(max(steps) // n)
            work.noise[: n * noises] = coarse.reshape(-1, LANES)
            work.place[0] = 0
            work.record[:] = 0
            work.re[:LANES], work.im[:LANES] = 1.5 + start[0], -1.0 + start[1]
            advance_phasespace(plan, work, 0, n)
            alpha = work.re[:LANES] + 1j * work.im[:LANES]
            Z = work.record[0, 0] + 1j * work.record[0, 1]
            means[k, batch] = np.mean([alpha.real, alpha.imag, Z.real, abs(Z) ** 2, (Z * alpha.conj()).real], axis=1)
    changes = means[:-1] - means[1:]
    size, error = abs(changes.mean(axis=1)), changes.std(axis=1) / np.sqrt(batches)
    order = np.log2(size[0] / size[1])
    uncertain = np.hypot(*(error / size)) / np.log(2)
    assert np.all(uncertain < 0.15)
    assert np.all(abs(order - 2) < 5 * uncertain)
    assert np.all(order - 1 > 5 * uncertain)


def test_noise_that_depends_on_the_amplitude_is_ito() -> None:
    """Dephasing and nonlinear loss: ⟨a⟩ decays at γ/2, and |α|² does not move; Stratonovich noise would keep ⟨a⟩."""
    gamma = 0.8
    system = ba.System(0 * A.n, {"dephasing": np.sqrt(gamma) * A.n})
    data = run(system, None, [0.0, 1.0, 2.0], 4096, states=True, initial=np.array([2.0]), step=0.01)
    alpha = data["amplitude"].values[..., 0]
    error = alpha.std(axis=0) / np.sqrt(4096)
    expected = 2 * np.exp(-gamma / 2 * np.array([0, 1, 2]))
    assert np.all(abs(alpha.mean(axis=0) - expected) <= 5 * error + 1e-2)
    assert abs(np.mean(abs(alpha[:, -1]) ** 2) - 4) < 0.05
    assert abs(alpha.mean(axis=0)[-1] - 2) > 10 * error[-1]


def test_a_record_of_nonlinear_loss() -> None:
    """Heterodyne detection of √κ₂ a² on a large coherent amplitude: the mean current is √κ₂ α², its noise white."""
    system = ba.System(0 * A.n, {"two": np.sqrt(1e-4) * A.a**2})
    data = run(system, ba.Heterodyne("two"), np.arange(6) * 0.2, 512, initial={"a": ba.coherent(10.0)}, step=0.02)
    I = data["current_two"].values
    mean = I.mean(axis=0)
    t = np.arange(5) * 0.2 + 0.1
    expected = 1e-2 * 100 / (1 + 2e-4 * 100 * t)
    assert np.all(abs(mean - expected) < 5 * I.std(axis=0) / np.sqrt(512))
    assert np.all(abs(I.var(axis=0) * 0.2 - 1) < 5 / np.sqrt(512))  # white: a coherent beam


# === ensembles


def same(one: Any, other: Any) -> None:
    n = other.sizes["trajectory"]
    for name in other.data_vars:
        assert np.array_equal(one[name][:n], other[name]), name


def test_bits_depend_on_seed_and_trajectory_only() -> None:
    unraveling = ba.Homodyne("loss", phase=ba.LocalOscillator(4.0), efficiency=0.5)
    times = np.arange(101) * 0.05
    many = run(kerr(), unraveling, times, 40, observables=("a", "n"), states=True)
    same(many, run(kerr(), unraveling, times, 40, observables=("a", "n"), states=True, n_jobs=2))
    same(many, run(kerr(), unraveling, times, 19, observables=("a", "n"), states=True))
    same(many, run(kerr(), unraveling, times, 1, observables=("a", "n"), states=True))


def test_a_detector_that_nobody_reads_is_none() -> None:
    times = np.arange(21) * 0.1
    same(
        run(kerr(), None, times, 3, observables=("n",)),
        run(kerr(), ba.Heterodyne("loss", recorded=False), times, 3, observables=("n",)),
    )


def test_a_run_can_be_continued() -> None:
    system = ba.System(kerr().hamiltonian, {}, {"n": A.n})
    whole = run(system, None, [0, 1, 2], 3, states=True, step=0.05)
    first = run(system, None, [0, 1], 3, states=True, step=0.05)
    second = run(system, None, [1, 2], 3, states=True, step=0.05, initial=first, seed=4)
    np.testing.assert_allclose(second["amplitude"][:, -1], whole["amplitude"][:, -1], atol=1e-13)
    with pytest.raises(ValueError, match="the noise would repeat"):
        run(system, None, [1, 2], 3, initial=first, observables=("n",))
    two = ba.System(A.n + B.n, {}, {"n": A.n})
    with pytest.raises(ValueError, match=r"dataset of the modes \['a'\]"):
        run(two, None, [1, 2], 3, initial=first, observables=("n",), seed=4)


def test_points_are_not_sampled() -> None:
    points = np.array([[1.0, 2j], [0.5, -1.0], [3.0, 0.0]])
    system = ba.System(A.n + B.n, {"loss": A.a})
    data = run(system, None, [0, 0.1], 3, states=True, initial=points)
    assert np.array_equal(data["amplitude"][:, 0], points)
    assert data["amplitude"].attrs["modes"] == "a, b"
    data = run(system, None, [0, 0.1], 3, states=True, initial=points[0])
    assert np.array_equal(data["amplitude"][:, 0], np.tile(points[0], (3, 1)))


def test_what_the_data_say() -> None:
    data = run(
        kerr(), ba.Heterodyne("loss") + ba.Homodyne("gain"), [0, 0.1, 0.3], 2, observables=("n", "a"), states=True
    )
    assert data.attrs["level"] == "phasespace"
    assert data["expect_n"].attrs["conditioned_on"] == "nothing"
    assert data["expect_n"].dtype == float
    assert data["expect_a"].dtype == complex
    assert data["amplitude"].dims == ("trajectory", "time", "mode")
    assert data["current_loss"].dtype == complex
    assert data["current_gain"].dtype == float


# === steps


def test_the_default_step_is_short_against_a_weak_damping() -> None:
    """Heun's rule would otherwise drive an oscillator of high quality: it would hold more than its thermal quanta."""
    gamma, n = 1e-4, 50.0
    system = ba.System(
        A.n, {"loss": np.sqrt(gamma * (n + 1)) * A.a, "gain": np.sqrt(gamma * n) * A.a.dag()}, {"n": A.n}
    )
    data = run(system, None, [0, 1e4, 2e4, 3e4], 16, observables=("n",), initial={"a": ba.thermal(n)})
    assert 0.015 < data.attrs["step"] < 0.025
    assert run(system, None, [0, 1, 2], 16, observables=("n",)).attrs["step"] == pytest.approx(0.05, rel=0.06)


def test_a_coarse_step_is_reported() -> None:
    with pytest.warns(RuntimeWarning, match="the drift has grown to a rate of"):
        run(kerr(0.5, 0.0), None, np.arange(11) * 1.0, 16, observables=("n",), step=0.1)


def test_a_divergence_is_reported() -> None:
    with pytest.raises(FloatingPointError, match=r"Amplitudes diverge before t = .* smaller `step`"):
        run(kerr(0.5), None, np.arange(11) * 5.0, 16, observables=("n",), step=1.0)


# === bad input


@pytest.mark.parametrize(
    "change, message",
    [
        ({"unraveling": ba.QuantumJumps("loss")}, "no clicks, but 'loss' counts"),
        ({"system": ba.System(np.eye(2), {"loss": np.eye(2)})}, "must have symbolic operators"),
        ({"system": ba.systems.driven_qubit(1.0, 1.0)}, "must consist of bosons"),
        ({"system": ba.System([A.n, (A.a + A.a.dag(), np.cos)], {"loss": A.a})}, "must be constant in time"),
        ({"system": ba.System(A.a.dag() ** 3 * A.a**3, {"loss": A.a})}, "`H` must have degree ≤ 4"),
        ({"scheme": ba.Rouchon()}, "`scheme` does not go with level 'phasespace'"),
        ({"tolerance": 1e-2}, "`tolerance` does not go with level 'phasespace'"),
        ({"feedback": ba.Feedback("loss", A.n)}, "`feedback` does not go with level 'phasespace'"),
        ({"observables": ("nothing",)}, "`observables` must name the system's observables"),
        ({"observables": {"m": np.eye(2)}}, "must be a symbolic operator at this level"),
        ({"initial": {"b": ba.vacuum()}}, "names the site 'b'"),
        ({"initial": {"a": ba.fock(2)}}, "positive Wigner function"),
        ({"initial": {"a": ba.spin(1.0, 0.0)}}, "must be a state of a boson"),
        ({"initial": "steady"}, "must be site states, a dataset with amplitudes, or finite amplitudes of the 1 modes"),
        ({"initial": np.zeros((3, 2))}, r"\(1,\) or \(2, 1\), but is ndarray of shape \(3, 2\)"),
        ({"initial": np.array([np.nan])}, "finite amplitudes"),
        ({"step": -1.0}, "`step` must be a positive time"),
        ({"max_memory": "1 kB"}, "`max_memory` is"),
        ({"level": "phase"}, '"phasespace"'),
    ],
)  # fmt: skip
def test_bad_input(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "system": kerr(), "unraveling": ba.Heterodyne("loss"), "times": np.linspace(0, 1, 101), "ntraj": 2,
        "level": "phasespace", "progress": False,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ba.simulate(**arguments)


def test_paths_are_not_conditioned() -> None:
    record = {"times": np.arange(21) * 0.1, "current_loss": np.zeros(20, complex)}
    with pytest.raises(ValueError, match="are not conditional states"):
        ba.condition(kerr(), ba.Heterodyne("loss"), record, level="phasespace", progress=False)
    with pytest.raises(ValueError, match='must be "density" or "moments"'):
        ba.smooth(kerr(), ba.Heterodyne("loss"), record, level=ba.PhaseSpace(), progress=False)
