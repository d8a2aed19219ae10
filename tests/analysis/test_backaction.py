"""Backaction and information on closed forms: the qubit whose σ_z is measured without demolition, and simpler laws.

dρ = kD[σ_z]ρ dt + √(ηk) H[σ_z]ρ dW with the record Y = ∫(s⟨σ_z⟩dt + dW), s = 2√(ηk), has ⟨σ_z⟩ = tanh(sY + artanh z₀).
Its record is a mixture: with probability (1 ± z₀)/2 it is Y = ±st + W. Paths are drawn from that.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.special import roots_hermitenorm

from backaction import analysis

K = 1.0
# E⟨σ_z⟩² from ρ = 1/2 at t = .05, .25, 1
SQUARES = {1.0: (0.16909401, 0.55040049, 0.93140259), 0.5: (0.09134060, 0.35011340, 0.76898178)}
CHECKED = (0.05, 0.25, 1.0)
X, WEIGHT = roots_hermitenorm(150)
WEIGHT = WEIGHT / WEIGHT.sum()


def strength(efficiency: float) -> float:
    return 2 * math.sqrt(efficiency * K)


def over_records(function, s: float, t: float) -> float:
    """E f(Y_t) from ρ = 1/2, for an even f: the two branches are mirror images."""
    return float(WEIGHT @ function(s * t + math.sqrt(t) * X))


def square(s: float, t: float) -> float:
    return over_records(lambda y: np.tanh(s * y) ** 2, s, t)


def records(rng, s: float, times: np.ndarray, ntraj: int, z0: float = 0.0) -> np.ndarray:
    """Y at `times`: (trajectory, time)."""
    branch = np.where(rng.uniform(size=(ntraj, 1)) < (1 + z0) / 2, 1.0, -1.0)
    steps = np.diff(times, prepend=0.0)
    return branch * s * times + np.cumsum(rng.standard_normal((ntraj, times.size)) * np.sqrt(steps), axis=1)


def conditional(rng, efficiency: float, times, ntraj: int, z0: float = 0.0) -> np.ndarray:
    s = strength(efficiency)
    return np.tanh(s * records(rng, s, np.asarray(times, dtype=float), ntraj, z0) + np.arctanh(z0))


def labelled(values: np.ndarray, times, *state: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("trajectory", "time", *state), coords={"time": np.asarray(times)})


def qubit(z: np.ndarray, coherence: np.ndarray | float = 0.0) -> np.ndarray:
    rho = np.zeros((*np.shape(z), 2, 2), dtype=complex)
    rho[..., 0, 0], rho[..., 1, 1] = (1 + z) / 2, (1 - z) / 2
    rho[..., 0, 1] = coherence
    rho[..., 1, 0] = np.conj(coherence)
    return rho


def near(value, stderr, exact) -> bool:
    return bool(np.all(np.abs(np.asarray(value) - exact) < 5 * np.asarray(stderr)))


def far(value, stderr, wrong) -> bool:
    return bool(np.all(np.abs(np.asarray(value) - wrong) > 8 * np.asarray(stderr)))


def test_the_reference_numbers():
    for efficiency, numbers in SQUARES.items():
        np.testing.assert_allclose([square(strength(efficiency), t) for t in CHECKED], numbers, atol=5e-9)


# --- purity and entropy ----------------------------------------------------------------------------------


def random_states(rng, d: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Density matrices and their eigenvalues."""
    p = rng.dirichlet(np.ones(d), shape)
    a = rng.standard_normal((*shape, d, d)) + 1j * rng.standard_normal((*shape, d, d))
    u = np.linalg.qr(a)[0]
    return np.einsum("...ik,...k,...jk->...ij", u, p, u.conj()), p


def test_purity_and_entropy__of_known_eigenvalues(rng):
    rho, p = random_states(rng, 4, (3, 5))
    np.testing.assert_allclose(analysis.purity(rho), (p**2).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(analysis.entropy(rho), -(p * np.log(p)).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(analysis.entropy(rho, base=2), -(p * np.log2(p)).sum(axis=-1), rtol=1e-12)
    # what is easily written instead: the sum of squares without the modulus
    assert np.abs(np.sum(rho**2, axis=(-2, -1)).real - analysis.purity(rho)).max() > 0.1


def test_purity_and_entropy__axes_and_labels(rng):
    rho, _ = random_states(rng, 3, (4, 6))
    plain = analysis.purity(rho)
    array = labelled(rho, np.arange(6) / 10, "row", "column").assign_coords(trajectory=np.arange(4))
    for found in (analysis.purity(array), analysis.purity(array.transpose("row", "time", "column", "trajectory"))):
        np.testing.assert_allclose(found.transpose("trajectory", "time"), plain, rtol=1e-14)
        assert found.name == "purity"
        np.testing.assert_array_equal(found.time, array.time)
    moved = np.moveaxis(rho, (2, 3), (0, 2))
    np.testing.assert_allclose(analysis.purity(moved, axis=(0, 2)), plain, rtol=1e-14)
    np.testing.assert_allclose(analysis.entropy(moved, axis=(0, 2)), analysis.entropy(array), rtol=1e-12)
    renamed = array.rename(row="i", column="j")
    np.testing.assert_allclose(analysis.purity(renamed, axis=("i", "j")), plain, rtol=1e-14)
    assert analysis.entropy(array, base=2).attrs["units"] == "bit"
    assert float(analysis.purity(np.eye(5) / 5)) == pytest.approx(0.2)
    assert float(analysis.entropy(np.eye(5) / 5, base=5)) == pytest.approx(1)


def test_purity_and_entropy__of_kets(rng):
    psi = rng.standard_normal((4, 6, 3)) + 1j * rng.standard_normal((4, 6, 3))
    psi /= np.linalg.norm(psi, axis=-1, keepdims=True)
    array = labelled(psi, np.arange(6), "level")
    np.testing.assert_allclose(analysis.purity(array), 1, rtol=1e-14)
    np.testing.assert_array_equal(analysis.entropy(psi, axis=-1), np.zeros((4, 6)))
    projector = psi[..., :, None] * psi[..., None, :].conj()
    np.testing.assert_allclose(analysis.purity(projector), 1, rtol=1e-13)
    np.testing.assert_allclose(analysis.entropy(projector), 0, atol=1e-13)  # rounding of 0 log 0 is no NaN
    single = analysis.purity(array.astype(np.complex64))
    np.testing.assert_allclose(single, 1, rtol=1e-6)


@pytest.mark.parametrize(
    "states, options, message",
    [
        (np.eye(2), {}, "must be normalised, but a trace differs from 1 by 1"),
        (np.array([[0.5, 0.4], [0.0, 0.5]]), {}, "must be Hermitian, but differs"),
        (np.full((3, 2), 1 / 3), {}, "must be square matrices, but they are 3 x 2"),
        (np.full((3, 2), 1 / 3), {"axis": -1}, "a squared norm differs from 1"),
        (np.diag([np.nan, 1.0]), {}, "Argument `states` must be finite"),
        (np.ones(3) / 3, {}, "Argument `axis` must be the two axes"),
        (np.eye(2) / 2, {"axis": (0, 0)}, "Argument `axis` must be the two axes"),
        (np.eye(2) / 2, {"axis": "row"}, "Argument `axis` must be the two axes"),
        (xr.DataArray(np.eye(2) / 2, dims=("i", "j")), {}, "Argument `axis` must name the dims"),
        (np.empty((0, 2, 2)), {}, "must not be empty"),
    ],
)
def test_purity__arguments(states, options, message):
    for function in (analysis.purity, analysis.entropy):
        with pytest.raises(ValueError, match=message):
            function(states, **options)


def test_entropy__arguments():
    with pytest.raises(ValueError, match=r"must have no negative eigenvalues, but has -0\.1"):
        analysis.entropy(np.diag([1.1, -0.1]))
    with pytest.raises(ValueError, match=r"must have no negative eigenvalues, but a purity is 1\.22"):
        analysis.purity(np.diag([1.1, -0.1]))
    with pytest.raises(ValueError, match="Argument `base` must be finite and above 1, but is 1"):
        analysis.entropy(np.eye(2) / 2, base=1)


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_purity__of_the_qubit(rng, efficiency):
    """From ρ = 1/2, E Tr ρ² = (1 + E z²)/2; from |+⟩ the coherence sech(sY) e^{−2k(1−η)t}/2 adds its part."""
    z = conditional(rng, efficiency, CHECKED, 16_000)
    data = analysis.trajectory_mean(analysis.purity(labelled(qubit(z), CHECKED, "row", "column")))
    exact = (1 + np.array(SQUARES[efficiency])) / 2
    assert near(data["mean"], data["mean_stderr"], exact)
    other = [square(2 * math.sqrt(efficiency**2 * K), t) for t in CHECKED] if efficiency < 1 else SQUARES[0.5]
    assert far(data["mean"], data["mean_stderr"], (1 + np.array(other)) / 2)  # √η → η

    left = np.exp(-2 * K * (1 - efficiency) * np.array(CHECKED))
    data = analysis.trajectory_mean(analysis.purity(qubit(z, np.sqrt(1 - z**2) * left / 2)))
    m = np.array(SQUARES[efficiency])
    exact = (1 + m + (1 - m) * left**2) / 2
    if efficiency == 1:
        np.testing.assert_allclose(data["mean"], 1, rtol=1e-13)  # efficient monitoring from a pure state
    else:
        assert near(data["mean"], data["mean_stderr"], exact)
        assert far(data["mean"], data["mean_stderr"], (1 + m + (1 - m) * left**4) / 2)


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_entropy__is_lost_as_the_record_informs(rng, efficiency):
    """ln 2 − E S(ρ_c) = (s²/2) ∫ (1 − E z²) dt: mutual information of σ_z and the record (Duncan 1970)."""
    s = strength(efficiency)
    z = conditional(rng, efficiency, CHECKED, 4000)
    unconditional = analysis.entropy(np.eye(2) / 2)
    gained = analysis.trajectory_mean(unconditional - analysis.entropy(labelled(qubit(z), CHECKED, "row", "column")))
    exact = np.array([s**2 / 2 * quad(lambda u: 1 - square(s, u), 0, t)[0] for t in CHECKED])
    assert near(gained["mean"], gained["mean_stderr"], exact)
    assert far(gained["mean"], gained["mean_stderr"], 2 * exact)  # noise of half the variance
    bits = analysis.trajectory_mean(1 - analysis.entropy(qubit(z), base=2))
    np.testing.assert_allclose(bits["mean"], gained["mean"] / math.log(2), rtol=1e-12)


# --- means over trajectories -----------------------------------------------------------------------------


def test_trajectory_mean__is_the_textbook_formula(rng):
    x = rng.standard_normal((30, 4)) + 1j * rng.standard_normal((30, 4))
    array = labelled(x, np.arange(4.0)).assign_coords(bin_width=("time", np.ones(4)), trajectory=np.arange(30))
    for data in (analysis.trajectory_mean(array.T), analysis.trajectory_mean(x.T, trajectory_axis=1)):
        np.testing.assert_allclose(data["mean"], x.mean(axis=0), rtol=1e-12)
        stderr = (x.real.std(axis=0, ddof=1) + 1j * x.imag.std(axis=0, ddof=1)) / np.sqrt(30)
        np.testing.assert_allclose(data["mean_stderr"], stderr, rtol=1e-12)
        assert data.attrs == {"n_trajectories": 30, "n_blocks": 30, "error_method": "trajectories"}
    assert set(analysis.trajectory_mean(array).coords) == {"time", "bin_width"}


def test_trajectory_mean__of_a_linear_combination(rng):
    """What two times have in common drops out of the error of their difference."""
    p = analysis.purity(labelled(qubit(conditional(rng, 1.0, [0.99, 1.0], 400)), [0.99, 1.0], "row", "column"))
    apart = analysis.trajectory_mean(p)["mean_stderr"].values
    together = float(analysis.trajectory_mean(p.diff("time"))["mean_stderr"][0])
    assert together < 0.5 * np.hypot(*apart)


def test_trajectory_mean__arguments(rng):
    with pytest.warns(analysis.TooLittleDataWarning, match="the mean"):
        assert np.isnan(analysis.trajectory_mean(rng.standard_normal((7, 2)))["mean_stderr"]).all()
    with pytest.raises(ValueError, match="Argument `trajectory_axis` must be a dim of `values`"):
        analysis.trajectory_mean(xr.DataArray(np.ones((9, 2)), dims=("run", "time")))
    with pytest.raises(ValueError, match="Argument `trajectory_axis` must be an axis of `values`"):
        analysis.trajectory_mean(np.ones((9, 2)), trajectory_axis=2)
    with pytest.raises(ValueError, match="Argument `values` must be finite"):
        analysis.trajectory_mean(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="Argument `values` must not be empty"):
        analysis.trajectory_mean(np.empty((0, 3)))


# --- parts of a variance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("z0", [0.0, 0.6])
def test_variance_decomposition__of_the_qubit(rng, z0):
    """σ_z is not disturbed: its total variance stays, and the record resolves E z² − z₀² of it."""
    z = labelled(conditional(rng, 0.5, CHECKED, 4000, z0), CHECKED)
    data = analysis.variance_decomposition(z, 1 - z**2)
    assert near(data.total, data.total_stderr, 1 - z0**2)
    assert near(data.conditional + data.resolved, 1e-12, data.total)
    if z0 == 0:
        exact = np.array(SQUARES[0.5])
        assert near(data.resolved, data.resolved_stderr, exact)
        assert near(data.conditional, data.conditional_stderr, 1 - exact)
        assert far(data.resolved, data.resolved_stderr, np.array(SQUARES[1.0]))
    again = analysis.variance_decomposition(z.values, square=np.ones_like(z.values))
    for name in data.data_vars:
        np.testing.assert_allclose(again[name], data[name], rtol=1e-9, atol=1e-14)


def test_variance_decomposition__coverage(rng):
    scores = []
    exact = np.array(SQUARES[0.5])
    for _ in range(400):
        z = conditional(rng, 0.5, CHECKED, 60)
        data = analysis.variance_decomposition(z, 1 - z**2)
        scores.append(
            [(data.conditional - 1 + exact) / data.conditional_stderr, (data.resolved - exact) / data.resolved_stderr]
        )
    # three correlated times of 400 experiments: binomial error 1.3 to 2.3 %
    assert abs(np.mean(np.abs(scores) < 1) - 0.68) < 0.06


def test_variance_decomposition__is_unbiased(rng):
    x = rng.standard_normal((5, 200_000)) + 0.5j * rng.standard_normal((5, 200_000)) + 30
    with pytest.warns(analysis.TooLittleDataWarning, match="parts of a variance"):
        data = analysis.variance_decomposition(x, variance=np.ones_like(x.real))
    mean, stderr = float(data.resolved.mean()), float(data.resolved.std()) / np.sqrt(200_000)
    assert near(mean, stderr, 1.25)
    assert far(mean * 4 / 5, stderr, 1.25)  # division by n
    assert np.isnan(data.resolved_stderr).all()
    np.testing.assert_allclose(data.resolved, x.var(axis=0, ddof=1), rtol=1e-9)


def test_variance_decomposition__of_an_amplitude(rng):
    """Conditional coherent states |α⟩ of random α: Var a = E|α|² − |Eα|², all of it resolved."""
    alpha = 2 + rng.standard_normal(4000) + 0.5j * rng.standard_normal(4000)
    data = analysis.variance_decomposition(alpha, square=np.abs(alpha) ** 2)
    assert near(data.resolved, data.resolved_stderr, 1.25)
    np.testing.assert_allclose(data.conditional, 0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_variance_decomposition__in_single_precision(rng, dtype, unit):
    mean = (unit * rng.uniform(0.5, 1.0, (200, 30))).astype(dtype)
    square = np.square(np.abs(mean))  # eigenstates, but for rounding
    data = analysis.variance_decomposition(mean, square=square)
    assert float(np.abs(data.conditional).max()) < np.finfo("float32").eps * unit**2
    # what is more than rounding is refused in this precision, and in double precision what is less
    for wrong in (mean, mean.astype(mean.dtype.newbyteorder("=")).astype("complex128")):
        lower = square.astype(float) - (2e-6 if wrong is mean else 1e-8) * unit**2
        with pytest.raises(ValueError, match="Argument `square` must give variances >= 0"):
            analysis.variance_decomposition(wrong, square=lower)


def test_variance_decomposition__arguments():
    mean = xr.DataArray(np.zeros((9, 2)), dims=("trajectory", "time"), coords={"time": [0.0, 1.0]})
    with pytest.raises(ValueError, match="or else `square`, but neither"):
        analysis.variance_decomposition(mean)
    with pytest.raises(ValueError, match="or else `square`, but both"):
        analysis.variance_decomposition(mean, mean, square=mean)
    with pytest.raises(ValueError, match="Argument `square` must give variances >= 0, but gives -1"):
        analysis.variance_decomposition(mean + 1, square=mean)
    with pytest.raises(ValueError, match="Argument `variance` must give variances >= 0"):
        analysis.variance_decomposition(mean, mean - 1)
    with pytest.raises(ValueError, match="Argument `variance` must be real"):
        analysis.variance_decomposition(mean, mean + 1j)
    with pytest.raises(ValueError, match="Argument `variance` must have the shape of `mean`"):
        analysis.variance_decomposition(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(ValueError, match="must have the dims"):
        analysis.variance_decomposition(mean, mean.rename(time="bin"))
    with pytest.raises(ValueError, match=r"must belong to the same runs .* `time` differs"):
        analysis.variance_decomposition(mean, mean.assign_coords(time=[0.0, 2.0]))
    with pytest.raises(ValueError, match="at least two trajectories, but holds 1"):
        analysis.variance_decomposition(np.zeros((1, 2)), np.zeros((1, 2)))


# --- disturbance and purification ------------------------------------------------------------------------


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_disturbance__of_a_non_demolition_variable_is_information(rng, efficiency):
    """z is a martingale: E(Δz)²/Δ = (E z²(t+Δ) − E z²(t))/Δ at any spacing, 4ηk at first."""
    s, times = strength(efficiency), np.linspace(0, 1, 21)
    z = labelled(conditional(rng, efficiency, times, 4000), times)
    data = analysis.disturbance(z)
    m = np.array([0.0, *(square(s, t) for t in times[1:])])
    assert near(data.disturbance, data.disturbance_stderr, np.diff(m) * 20)
    assert near(data.disturbance_mean, data.disturbance_mean_stderr, SQUARES[efficiency][2])
    assert far(data.disturbance_mean, data.disturbance_mean_stderr, SQUARES[1.5 - efficiency][2])
    assert near(data.spacing_bias, data.spacing_bias_stderr, 0)
    np.testing.assert_allclose(data.time, (np.arange(20) + 0.5) / 20)
    # the same as what the record resolves in all
    resolved = analysis.variance_decomposition(z, 1 - z**2).isel(time=-1)
    both = np.hypot(data.disturbance_mean_stderr, resolved.resolved_stderr)
    assert near(data.disturbance_mean, both, resolved.resolved)
    # from the start, where E(Δz)² ≈ s²Δ
    early = analysis.disturbance(conditional(rng, efficiency, [1e-4, 2e-4], 4000), bin_width=1e-4)
    assert near(early.disturbance_mean, early.disturbance_mean_stderr, 4 * efficiency * K)
    np.testing.assert_allclose(early.time, 0.5e-4)


def test_disturbance__of_a_relaxing_amplitude(rng):
    """dα = −γα dt + g dξ, E|dξ|² = dt, stationary: E|Δα|²/Δ = g²(1 − e^{−γΔ})/(γΔ)."""
    gamma, g, dt, n = 0.5, 1.3, 0.2, 50
    rho = math.exp(-gamma * dt)
    drive = (rng.standard_normal((2000, n)) + 1j * rng.standard_normal((2000, n))) * g / math.sqrt(4 * gamma)
    alpha = drive[:, :1]
    for k in range(1, n):
        alpha = np.concatenate([alpha, rho * alpha[:, -1:] + math.sqrt(1 - rho**2) * drive[:, k : k + 1]], axis=1)
    exact = [g**2 * (1 - math.exp(-gamma * h)) / (gamma * h) for h in (dt, 2 * dt)]
    data = analysis.disturbance(alpha, bin_width=dt)
    assert near(data.disturbance_mean, data.disturbance_mean_stderr, exact[0])
    assert near(data.spacing_bias, data.spacing_bias_stderr, exact[1] - exact[0])
    assert far(data.spacing_bias, data.spacing_bias_stderr, 0)
    limit = float(data.disturbance_mean - data.spacing_bias)
    assert abs(limit - g**2) < 0.2 * abs(exact[0] - g**2) + 5 * float(data.disturbance_mean_stderr)
    # common motion is no disturbance, and does not spoil the numbers
    moved = analysis.disturbance(alpha + 40 * np.cos(np.arange(n)), bin_width=dt)
    np.testing.assert_allclose(moved.disturbance, data.disturbance, rtol=1e-9)


def test_disturbance__of_jumps(rng):
    """A mean that changes its sign at the clicks of a Poisson process of rate r: 2c²(1 − e^{−2rΔ})/Δ → 4rc²."""
    r, c, dt = 0.7, 0.4, 0.05
    x = c * (-1.0) ** np.cumsum(rng.poisson(r * dt, (1000, 100)), axis=1) * rng.choice([-1.0, 1.0], (1000, 1))
    data = analysis.disturbance(x, bin_width=dt)
    exact = 2 * c**2 * -math.expm1(-2 * r * dt) / dt
    assert near(data.disturbance_mean, data.disturbance_mean_stderr, exact)
    assert far(data.disturbance_mean, data.disturbance_mean_stderr, exact / 2)


def test_disturbance__is_unbiased(rng):
    x = np.cumsum(rng.standard_normal((5, 100_000)), axis=1)
    with pytest.warns(analysis.TooLittleDataWarning, match="the disturbance"):
        data = analysis.disturbance(x, bin_width=1.0)
    stderr = math.sqrt(2 / (4 * 99_999))  # of a variance from 4 degrees of freedom per interval
    assert near(data.disturbance_mean, stderr, 1)
    assert far(data.disturbance_mean * 4 / 5, stderr, 1)  # division by n


def test_disturbance__coverage(rng):
    score = []
    for _ in range(400):
        z = conditional(rng, 0.5, [0.2, 0.4, 0.6, 0.8, 1.0], 60)
        data = analysis.disturbance(z, bin_width=0.2)
        score.append(
            float(
                (data.disturbance_mean - (SQUARES[0.5][2] - square(strength(0.5), 0.2)) / 0.8)
                / data.disturbance_mean_stderr
            )
        )
    assert abs(np.mean(np.abs(score) < 1) - 0.68) < 0.1  # binomial error 2.3 %


@pytest.mark.parametrize("efficiency", [1.0, 0.5])
def test_purification_rate(rng, efficiency):
    """P = (1 + z²)/2: dE[P]/dt = 2ηk E(1 − z²)²; from ρ = 1/2 it is 2ηk (Jacobs 2003)."""
    s, times = strength(efficiency), np.linspace(0, 1, 11)
    purity = analysis.purity(labelled(qubit(conditional(rng, efficiency, times, 4000)), times, "row", "column"))
    data = analysis.purification_rate(purity)
    m = np.array([0.0, *(square(s, t) for t in times[1:])])
    assert near(data.purification_rate, data.purification_rate_stderr, np.diff(m) * 5)
    assert near(data.purification_rate_mean, data.purification_rate_mean_stderr, SQUARES[efficiency][2] / 2)
    slope = quad(lambda t: s**2 / 2 * over_records(lambda y: (1 - np.tanh(s * y) ** 2) ** 2, s, t), 0, 1)[0]
    np.testing.assert_allclose(slope, SQUARES[efficiency][2] / 2, atol=1e-7)
    assert far(data.purification_rate_mean, data.purification_rate_mean_stderr, SQUARES[1.5 - efficiency][2] / 2)
    start = analysis.purification_rate(
        np.concatenate([np.full((4000, 1), 0.5), 0.5 + conditional(rng, efficiency, [1e-4], 4000) ** 2 / 2], axis=1),
        bin_width=1e-4,
    )
    assert near(start.purification_rate[0], start.purification_rate_stderr[0], 2 * efficiency * K)


@pytest.mark.parametrize("function", [analysis.disturbance, analysis.purification_rate])
def test_rates__arguments(rng, function):
    with pytest.warns(analysis.TooLittleDataWarning, match="the (disturbance|rate of purification)"):
        data = function(rng.standard_normal((7, 5)), bin_width=0.1)
    assert all(np.isnan(data[name]).all() for name in data.data_vars if name.endswith("_stderr"))
    with pytest.raises(ValueError, match="at least two times, but has 1"):
        function(np.zeros((9, 1)), bin_width=0.1)
    with pytest.raises(ValueError, match="Argument `bin_width` must be given"):
        function(np.zeros((9, 3)))
    with pytest.raises(ValueError, match="must be sampled uniformly"):
        function(labelled(np.zeros((9, 3)), [0.0, 0.1, 0.3]))


def test_rates__labels(rng):
    values = rng.standard_normal((9, 4))
    late = analysis.disturbance(labelled(values, [2.0, 2.5, 3.0, 3.5]))
    np.testing.assert_allclose(late.time, [2.25, 2.75, 3.25])
    unnamed = analysis.disturbance(xr.DataArray(values, dims=("trajectory", "time")), bin_width=0.5)
    np.testing.assert_allclose(unnamed.time, [0.25, 0.75, 1.25])
    xr.testing.assert_allclose(unnamed.drop_vars("time"), late.drop_vars("time"))
    assert "spacing_bias" not in analysis.disturbance(values[:, :2], bin_width=0.5)
    with pytest.raises(ValueError, match="at least two trajectories, but holds 1"):
        analysis.disturbance(values[:1], bin_width=0.5)
    with pytest.raises(ValueError, match="Argument `purity` must be real"):
        analysis.purification_rate(values + 1j, bin_width=0.5)


# --- likelihoods -----------------------------------------------------------------------------------------


def mixture(y: np.ndarray, s, t: float):
    """Log-likelihood of Y_t against white noise from ρ = 1/2: ln E e^{±sY − s²t/2}; Y_t is sufficient."""
    return np.logaddexp(s * y, -s * y) - math.log(2) - s**2 * t / 2


def mixture_fisher(s: float, t: float) -> float:
    """About s: E (Y tanh sY − st)²."""
    return over_records(lambda y: (y * np.tanh(s * y) - s * t) ** 2, s, t)


@pytest.mark.parametrize("t", [0.25, 1.0])
def test_information_rate__against_white_noise(rng, t):
    """E ln Λ = ½ s² ∫ E z² dt: half of the power of the predicted current."""
    s = strength(0.5)
    y = records(rng, s, np.array([t]), 4000)[:, 0]
    data = analysis.information_rate(mixture(y, s, t), 0.0, t)
    exact = s**2 / 2 * quad(lambda u: square(s, u), 0, t)[0] / t
    assert near(data.information_rate, data.information_rate_stderr, exact)
    assert far(data.information_rate, data.information_rate_stderr, 2 * exact)
    assert bool(data.consistent)
    # against the eigenstate's law: s²/2 less the mutual information of σ_z and Y
    branch = np.where(rng.uniform(size=4000) < 0.5, 1.0, -1.0)
    y = branch * s * t + math.sqrt(t) * rng.standard_normal(4000)
    data = analysis.information_rate(branch * s * y - s**2 * t / 2, mixture(y, s, t), t, base=2)
    exact = s**2 / 2 * quad(lambda u: 1 - square(s, u), 0, t)[0] / t / math.log(2)
    assert near(data.information_rate, data.information_rate_stderr, exact)


def test_information_rate__of_clicks_in_a_sweep(rng):
    """Poisson counts of rate λ against rate μ: λ ln(λ/μ) − λ + μ."""
    rates, t = np.array([0.5, 1.5, 3.0]), 20.0
    n = rng.poisson(rates * t, (500, 3))

    def log_likelihood(rate):
        values = n * np.log(rate) - (rate - 1) * t
        return xr.DataArray(values, dims=("trajectory", "rate"), coords={"rate": rates})

    data = analysis.information_rate(log_likelihood(rates), log_likelihood(1.0), t)
    assert near(data.information_rate, data.information_rate_stderr, rates * np.log(rates) - rates + 1)
    np.testing.assert_array_equal(data.rate, rates)
    scalar = analysis.information_rate(log_likelihood(rates).values, 0.0, t)
    np.testing.assert_allclose(scalar.information_rate, data.information_rate)
    with pytest.warns(RuntimeWarning, match="negative by more than 5 standard errors"):
        swapped = analysis.information_rate(log_likelihood(1.0), log_likelihood(rates), t)
    assert not swapped.consistent.all()


def test_information_rate__is_not_negative_by_rounding():
    values = np.full(20, 100.3)
    for reference in (np.nextafter(100.3, 200), np.full(20, (100.3 - 0.1) + 0.1 + 3e-14)):
        assert np.mean(values - reference) < 0
        assert bool(analysis.information_rate(values, reference, 2.0).consistent)
    single = values.astype("float32")
    assert bool(analysis.information_rate(single, np.nextafter(single, np.float32(200)), 2.0).consistent)
    with pytest.warns(RuntimeWarning, match="negative by more than"):
        assert not analysis.information_rate(values, values + 1e-12, 2.0).consistent


def test_information_rate__arguments():
    x = np.ones(9)
    with pytest.raises(ValueError, match="Argument `duration` must be positive"):
        analysis.information_rate(x, 0.0, 0.0)
    with pytest.raises(ValueError, match="Argument `log_likelihood_reference` must have the shape"):
        analysis.information_rate(x, np.ones(8), 1.0)
    with pytest.raises(ValueError, match="Argument `log_likelihood_reference` must be finite"):
        analysis.information_rate(x, np.nan, 1.0)
    with pytest.raises(ValueError, match="Argument `log_likelihood` must be real"):
        analysis.information_rate(x + 1j, 0.0, 1.0)
    with pytest.warns(analysis.TooLittleDataWarning, match="information rate"):
        assert np.isnan(analysis.information_rate(x[:7], 0.0, 1.0).information_rate_stderr)


@pytest.mark.parametrize("points", [3, 5])
@pytest.mark.parametrize("t", [0.25, 1.0])
def test_fisher_information__of_the_qubit(rng, points, t):
    s = strength(0.5)
    grid = s + 0.05 * (np.arange(points) - points // 2)
    y = records(rng, s, np.array([t]), 16_000)
    data = analysis.fisher_information(mixture(y, grid, t), grid)
    exact = mixture_fisher(s, t)
    assert near(data.fisher_score, data.fisher_score_stderr, exact)
    assert near(data.fisher_curvature, data.fisher_curvature_stderr, exact)
    assert near(data.score_mean, data.score_mean_stderr, 0)
    assert bool(data.consistent)
    assert far(data.fisher_score, data.fisher_score_stderr, t)  # that of an eigenstate of σ_z
    assert data.attrs["parameter"] == pytest.approx(s)
    assert data.attrs["n_points"] == points


def test_fisher_information__of_an_eigenstate(rng):
    """ln P = sY − s²t/2: the curvature is t on every record, the mixture's is less."""
    s, t, grid = 1.0, 2.0, np.array([0.9, 1.0, 1.15])  # not uniform
    y = s * t + math.sqrt(t) * rng.standard_normal(4000)
    values = y[:, None] * grid - grid**2 * t / 2 - 1e4  # a constant is no information
    array = xr.DataArray(values.T, dims=("strength", "trajectory"), coords={"strength": grid})
    data = analysis.fisher_information(array)
    assert float(data.fisher_curvature) == pytest.approx(t, rel=1e-8)
    assert near(data.fisher_score, data.fisher_score_stderr, t)
    plain = analysis.fisher_information(values, grid)
    assert float(plain.fisher_score) == pytest.approx(float(data.fisher_score), rel=1e-12)


def test_fisher_information__coverage(rng):
    s, t, grid = 1.5, 0.5, np.array([1.45, 1.5, 1.55])
    exact, score = mixture_fisher(s, t), []
    for _ in range(400):
        data = analysis.fisher_information(mixture(records(rng, s, np.array([t]), 200), grid, t), grid)
        score.append([(data.fisher_score - exact) / data.fisher_score_stderr,
                      (data.fisher_curvature - exact) / data.fisher_curvature_stderr])  # fmt: skip
    assert np.all(np.abs(np.mean(np.abs(score) < 1, axis=0) - 0.68) < 0.12)  # binomial error 2.3 %


def test_fisher_information__too_wide_a_step_is_flagged(rng):
    """Counts of mean μe^θ at θ = 0, ℓ = nθ − μe^θ: I = μ, by differences over ±δ 2μ(cosh δ − 1)/δ² from curvature."""
    mu = 20.0
    n = rng.poisson(mu, 4000)[:, None]

    def data(delta, points=3):
        theta = delta * (np.arange(points) - points // 2)
        return analysis.fisher_information(n * theta - mu * np.exp(theta), theta)

    fine = data(0.02)
    assert near(fine.fisher_score, fine.fisher_score_stderr, mu)
    assert float(fine.fisher_curvature) == pytest.approx(mu, rel=1e-4)
    with pytest.warns(RuntimeWarning, match="Use a smaller spacing"):
        coarse = data(2.0)
    assert not bool(coarse.consistent)
    assert float(coarse.fisher_curvature) == pytest.approx(mu * 2 * (math.cosh(2) - 1) / 4, rel=1e-9)
    # five points are of fourth order
    errors = [float(data(delta, 5).fisher_curvature) / mu - 1 for delta in (0.2, 0.1)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)
    errors = [float(data(delta).fisher_curvature) / mu - 1 for delta in (0.2, 0.1)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_fisher_information__elsewhere_than_the_truth_is_flagged(rng):
    s, t, grid = strength(0.5), 1.0, np.linspace(0.8, 2.0, 25)
    values = mixture(records(rng, s, np.array([t]), 2000), grid, t)
    with pytest.warns(RuntimeWarning, match="records drawn at `at`"):
        wrong = analysis.fisher_information(values, grid, at=1.0)
    assert not bool(wrong.consistent)
    right = analysis.fisher_information(values, grid, at=1.4)
    assert bool(right.consistent)
    # an eigenstate's law is a shift: variance and curvature agree everywhere, but the score has a mean
    y = 1.2 * t + math.sqrt(t) * rng.standard_normal((2000, 1))
    values = y * grid - grid**2 * t / 2
    with pytest.warns(RuntimeWarning, match="records drawn at `at`"):
        shifted = analysis.fisher_information(values, grid, at=1.0)
    assert near(shifted.fisher_score, shifted.fisher_score_stderr, t)
    assert near(shifted.score_mean, shifted.score_mean_stderr, 0.2 * t)
    assert not bool(shifted.consistent)


def test_fisher_information__too_little_data(rng):
    s, t, grid = 0.3, 0.1, np.array([0.29, 0.3, 0.31])
    values = mixture(records(rng, s, np.array([t]), 12), grid, t)
    with pytest.warns(analysis.TooLittleDataWarning, match="Too little data for the Fisher information at 0.3"):
        data = analysis.fisher_information(values, grid)
    assert not bool(data.consistent)
    with pytest.warns(analysis.TooLittleDataWarning, match="standard error of the Fisher information"):
        data = analysis.fisher_information(values[:5], grid)
    assert np.isnan(data.fisher_score_stderr)
    assert not bool(data.consistent)


@pytest.mark.parametrize(
    "values, parameters, options, message",
    [
        (np.ones((9, 3)), [1.0, 3.0, 2.0], {}, "Argument `parameters` must be at least 3 ascending"),
        (np.ones((9, 3)), [1.0, 2.0], {}, "Argument `parameters` must be at least 3 ascending"),
        (np.ones((9, 3)), [1.0, 2.0, 3.0, 4.0], {"at": 2.0}, "one value for each of the 3"),
        (np.ones((9, 4)), [1.0, 2.0, 3.0, 4.0], {}, "Argument `at` must be given for an even number"),
        (np.ones((9, 3)), [1.0, 2.0, 3.0], {"at": 2.2}, "must be one of the parameters, but is 2.2; the nearest is 2"),
        (np.ones((9, 3)), [1.0, 2.0, 3.0], {"at": 3.0}, "must have neighbours on both sides"),
        (np.ones((9, 3)), None, {}, "Argument `parameters` must be given"),
        (np.ones(9), [1.0, 2.0, 3.0], {}, "must have shape .trajectory, parameter."),
        (np.full((9, 3), np.inf), [1.0, 2.0, 3.0], {}, "Argument `log_likelihoods` must be finite"),
        (np.ones((1, 3)), [1.0, 2.0, 3.0], {}, "at least two trajectories"),
    ],
)
def test_fisher_information__arguments(values, parameters, options, message):
    with pytest.raises(ValueError, match=message):
        analysis.fisher_information(values, parameters, **options)


def test_likelihood_estimate__of_a_linear_model(rng):
    """Currents I = θ₀f₀ + θ₁f₁ + noise: the likelihood is a parabola, estimate and covariance are least squares'."""
    f = np.stack([np.ones(50), np.sin(np.arange(50))])
    truth = np.array([0.7, -1.2])
    data = truth @ f + rng.standard_normal((30, 50))
    grids = [np.linspace(0.5, 0.9, 15), np.linspace(-1.4, -1.0, 12)]
    signal = np.einsum("i,t->it", grids[0], f[0])[:, None] + np.einsum("j,t->jt", grids[1], f[1])
    values = np.einsum("nt,ijt->nij", data, signal) - (signal**2).sum(axis=-1) / 2
    information = 30 * f @ f.T
    exact = np.linalg.solve(information, f @ data.sum(axis=0))
    found = analysis.likelihood_estimate(values, grids)
    np.testing.assert_allclose(found.estimate, exact, rtol=1e-8)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(information), rtol=1e-7)
    np.testing.assert_allclose(found.estimate_stderr**2, np.diag(found.covariance), rtol=1e-12)
    best = data.sum(axis=0) @ (exact @ f) - 30 * ((exact @ f) ** 2).sum() / 2
    assert float(found.log_likelihood) == pytest.approx(best, rel=1e-9)
    assert bool(found.resolved)
    assert found.attrs["n_trajectories"] == 30
    # labelled, in another order, and summed beforehand
    array = xr.DataArray(values, dims=("trajectory", "offset", "depth"), coords={"offset": grids[0], "depth": grids[1]})
    again = analysis.likelihood_estimate(array.transpose("depth", "trajectory", "offset"))
    np.testing.assert_allclose(again.estimate.sel(parameter=["offset", "depth"]), exact, rtol=1e-8)
    summed = analysis.likelihood_estimate(values.sum(axis=0), grids)
    np.testing.assert_allclose(summed.estimate, exact, rtol=1e-8)
    assert "n_trajectories" not in summed.attrs
    # a covariance without its off-diagonal elements is another one
    assert abs(float(found.covariance[0, 1])) > 1e-3 * float(found.covariance[0, 0])


def test_likelihood_estimate__of_the_qubit(rng):
    s, t, grid = strength(0.5), 1.0, np.linspace(1.0, 1.9, 46)
    score, stderr = [], []
    for _ in range(300):
        found = analysis.likelihood_estimate(mixture(records(rng, s, np.array([t]), 400), grid, t), grid)
        assert bool(found.resolved)
        score.append((float(found.estimate[0]) - s) / float(found.estimate_stderr[0]))
        stderr.append(float(found.estimate_stderr[0]))
    assert abs(np.mean(np.abs(score) < 1) - 0.68) < 0.135  # binomial error 2.7 %
    assert abs(np.mean(score)) < 5 / math.sqrt(300) + 0.1  # skewness: a tenth of a standard error
    np.testing.assert_allclose(np.mean(stderr), 1 / math.sqrt(400 * mixture_fisher(s, t)), rtol=0.03)
    # conditioned with η for √η
    y, grid = records(rng, s, np.array([t]), 4000), np.linspace(0.7, 1.6, 46)
    wrong = analysis.likelihood_estimate(mixture(y, grid / math.sqrt(0.5), t), grid)
    assert far(wrong.estimate, wrong.estimate_stderr, s)


def test_likelihood_estimate__what_is_not_resolved(rng):
    theta = np.linspace(-3, 3, 13)
    with pytest.warns(RuntimeWarning, match="not resolved: .* spacing is 5 standard errors"):
        found = analysis.likelihood_estimate(-((10 * theta) ** 2) / 2, theta)
    assert not bool(found.resolved)
    fine = np.linspace(-3, 3, 301)
    with pytest.warns(RuntimeWarning, match="misses points"):
        analysis.likelihood_estimate(-np.abs(fine), fine)  # a cusp is no parabola
    ok = analysis.likelihood_estimate(-(fine**2) / 2, fine)
    assert float(ok.estimate_stderr[0]) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    "values, parameters, options, message",
    [
        (
            np.arange(5.0),
            np.arange(5.0),
            {},
            "must enclose the maximum of the likelihood, but it lies at parameter_0 = 4",
        ),
        (np.zeros((3, 3)), [np.arange(3.0)] * 2, {}, "must enclose the maximum"),
        (np.ones(4), np.arange(5.0), {}, "must have the shape .5,. of the grid"),
        (np.ones(5), None, {}, "Argument `parameters` must be given with a plain array"),
        (xr.DataArray(np.ones(5), dims="k"), None, {}, "has no coordinates of"),
        (-((np.arange(5.0) - 2) ** 2), np.arange(5.0), {"drop": 0}, "Argument `drop` must be positive"),
        (np.full(5, np.nan), np.arange(5.0), {}, "Argument `log_likelihoods` must be finite"),
        (np.ones((9, 5)), np.arange(5.0), {"trajectory_axis": "run"}, "Argument `trajectory_axis` must be an axis"),
        (
            xr.DataArray(np.ones((9, 5)), dims=("trajectory", "k"), coords={"k": np.arange(5)}),
            None,
            {"trajectory_axis": "run"},
            "Argument `trajectory_axis` must be a dim",
        ),
    ],
)
def test_likelihood_estimate__arguments(values, parameters, options, message):
    with pytest.raises(ValueError, match=message):
        analysis.likelihood_estimate(values, parameters, **options)


def test_likelihood_estimate__a_ridge_determines_no_parameters():
    x = np.linspace(-1, 1, 21)
    # only the sum of the two matters; the point in the middle is the highest
    values = -((x[:, None] + x) ** 2) * 10
    values[10, 10] += 1e-12
    with pytest.raises(ValueError, match="the records do not determine all the parameters"):
        analysis.likelihood_estimate(values, [x, x])
