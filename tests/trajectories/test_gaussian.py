"""Linear systems at the level of moments: filter, likelihood and smoother against one dense Gaussian of everything."""

from __future__ import annotations

import runpy
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg as la
from scipy.special import eval_hermitenorm, gammaln
from scipy.stats import multivariate_normal

import backaction as ba
from backaction.systems import Boson, System, damped_cavity, parametric_oscillator, vdp
from backaction.systems.linear import from_moments, linear_model, stationary, symplectic
from backaction.trajectories.gaussian_plan import exact_bin, measured

LIMIT, CONTROL = 5.0, 8.0


def simulate(system, unraveling, times, ntraj=1, **options):
    return ba.simulate(
        system, unraveling, times, ntraj, **{"seed": 3, "level": "moments", "progress": False, **options}
    )


def condition(system, unraveling, record, **options):
    return ba.condition(system, unraveling, record, **{"level": "moments", "progress": False, **options})


def smooth(system, unraveling, record, **options):
    return ba.smooth(system, unraveling, record, **{"level": "moments", "progress": False, **options})


# === two modes with everything, and three measurements


def network():
    """Two coupled modes: a drive, two kinds of squeezing, a channel of both modes with a constant, a hot one."""
    m, q = Boson("m"), Boson("q")
    H = 1.3 * m.n - 0.4 * q.n + 0.5 * (m.a.dag() * q.a + q.a.dag() * m.a) + 0.2 * (m.a * q.a + m.a.dag() * q.a.dag())
    H = H + 0.1j * (q.a.dag() ** 2 - q.a**2) + 0.3 * (m.a + m.a.dag())
    channels = {
        "out": m.a + (0.3 - 0.5j) * q.a + 0.2j,
        "loss": 0.8 * q.a,
        "probe": 0.4 * (m.a + m.a.dag()) - 0.1 * q.a.dag(),
        "bath": 0.5 * m.a,
        "heat": 0.3 * m.a.dag(),
    }
    observables = {"x_m": m.a + m.a.dag(), "p_m": -1j * (m.a - m.a.dag()), "x_q": q.a + q.a.dag(), "a": m.a, "n": m.n}
    return System(H, channels, observables)


NETWORK = network()
DETECTORS = ba.Heterodyne("out", efficiency=0.7) + ba.Homodyne("loss", phase=0.4) + ba.Homodyne("probe", efficiency=0.5)
INITIAL = {"m": ba.coherent(0.5 - 1j), "q": ba.thermal(0.8)}


def generator(system, unraveling):
    """(F, K) of dz = Fz dt + noise of (r, Y, 1), put together here: quadratures from matrix elements of the algebra."""
    model = linear_model(system)  # A, b and D have tests of their own
    n = len(model.A)
    rows, back, constants = [], [], []
    for d in unraveling.detectors:
        l, c = model.channels[d.channels[0]]
        parts = [0.0, np.pi / 2] if d.kind == "heterodyne" else [0.0]
        for part in parts:
            share = d.efficiency / len(parts)
            turned = np.exp(-1j * (d.phase + part)) * np.array([*l, c])
            rows.append(np.sqrt(share) * 2 * turned[:-1].real)
            constants.append(np.sqrt(share) * 2 * turned[-1].real)
            # ½√η⟨[r, L] + [L†, r]⟩ with [r_i, r_j] = 2iΩ_ij
            commutator = 2j * symplectic(n // 2) @ turned[:-1]
            back.append(np.sqrt(share) * commutator.real)
    m = len(rows)
    F, K = np.zeros((n + m + 1, n + m + 1)), np.zeros((n + m + 1, n + m + 1))
    F[:n, :n], F[:n, -1], F[n:-1, :n], F[n:-1, -1] = model.A, model.b, rows, constants
    K[:n, :n], K[n:-1, n:-1], K[:n, n:-1] = model.D, np.eye(m), np.transpose(back)
    K[n:-1, :n] = K[:n, n:-1].T
    return F, K, n, m


def van_loan(F, K, width):
    size = len(F)
    block = la.expm(np.block([[-F, K], [np.zeros_like(F), F.T]]) * width)
    Phi = block[size:, size:].T
    return Phi, Phi @ block[:size, size:]


def everything(system, unraveling, edges, mean, V):
    """Mean and covariance of (r at every edge, ΔY of every bin): joint[(edges · n + bins · m)]."""
    F, K, n, m = generator(system, unraveling)
    bins = len(edges) - 1
    size = (bins + 1) * n + bins * m
    root = np.zeros((size, n + bins * (n + m)))  # in units of independent noises
    total = np.zeros(size)
    total[:n], root[:n, :n] = mean, la.cholesky(V, lower=True)
    for k in range(bins):
        Phi, Q = van_loan(F, K, edges[k + 1] - edges[k])
        now, later = slice(k * n, (k + 1) * n), slice((k + 1) * n, (k + 2) * n)
        y = slice((bins + 1) * n + k * m, (bins + 1) * n + (k + 1) * m)
        fresh = la.cholesky(Q[:-1, :-1] + 1e-300 * np.eye(n + m), lower=True)
        where = slice(n + k * (n + m), n + (k + 1) * (n + m))
        for target, part in ((later, slice(0, n)), (y, slice(n, n + m))):
            total[target] = Phi[part, :n] @ total[now] + Phi[part, -1]
            root[target] = Phi[part, :n] @ root[now]
            root[target, where] += fresh[part]
    return total, root @ root.T, n, m


def given(total, covariance, target, seen, values):
    """Conditional mean and covariance of a Gaussian."""
    K = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, target)]).T
    return (
        total[target] + K @ (values - total[seen]),
        covariance[np.ix_(target, target)] - K @ covariance[np.ix_(seen, target)],
    )


def as_measurements(data, unraveling, widths):
    """ΔY (bins, m) of the first record."""
    columns = []
    for d in unraveling.detectors:
        dy = data[f"current_{d.name}"].values[0] * widths
        columns += [dy] if d.kind == "homodyne" else [np.sqrt(2) * dy.real, np.sqrt(2) * dy.imag]
    return np.stack(columns, axis=1)


FINE = np.concatenate([0.03 * np.arange(21), 0.6 + 0.05 * np.arange(1, 21)])  # two widths
COARSE = FINE[::10]


@pytest.fixture(scope="module")
def dense():
    """The record in fine bins, its sums in wide ones, and the Gaussian of states and wide sums."""
    fine = simulate(NETWORK, DETECTORS, FINE, initial=INITIAL)
    sums = {"times": COARSE}
    for d in DETECTORS.detectors:
        name = f"current_{d.name}"
        total = (fine[name].values * fine["bin_width"].values).reshape(1, -1, 10).sum(axis=2)
        sums[name] = total / np.diff(COARSE)
    mean, V = np.array([1.0, -2.0, 0.0, 0.0]), np.diag([1.0, 1.0, 2.6, 2.6])
    total, covariance, n, m = everything(NETWORK, DETECTORS, FINE, mean, V)
    bins, wide = len(FINE) - 1, len(COARSE) - 1
    # r at the wide edges, and sums of ten ΔY
    pick = np.zeros(((wide + 1) * n + wide * m, len(total)))
    for k in range(wide + 1):
        pick[k * n : (k + 1) * n, 10 * k * n : (10 * k + 1) * n] = np.eye(n)
    for k in range(bins):
        at, y = (wide + 1) * n + k // 10 * m, (bins + 1) * n + k * m
        pick[at : at + m, y : y + m] = np.eye(m)
    values = as_measurements(
        {k: np.asarray(v) if k == "times" else _Values(v) for k, v in sums.items()}, DETECTORS, np.diff(COARSE)
    )
    return {
        "fine": fine, "record": sums, "mean": pick @ total, "covariance": pick @ covariance @ pick.T, "n": n, "m": m,
        "wide": wide, "values": values,
    }  # fmt: skip


class _Values:
    def __init__(self, values):
        self.values = values


def seen_until(dense, k):
    first = (dense["wide"] + 1) * dense["n"]
    return np.arange(first, first + k * dense["m"])


def at_edge(dense, k):
    return np.arange(k * dense["n"], (k + 1) * dense["n"])


def test_wide_bins_are_what_their_sums_determine(dense):
    data = condition(NETWORK, DETECTORS, dense["record"], initial=INITIAL, states=True)
    model = linear_model(NETWORK)
    for k in range(dense["wide"] + 1):
        mean, V = from_moments(model, data["moments"].values[0, k])
        exact, covariance = given(
            dense["mean"], dense["covariance"], at_edge(dense, k), seen_until(dense, k), dense["values"][:k].ravel()
        )
        assert mean == pytest.approx(exact, abs=1e-10)
        assert pytest.approx(covariance, abs=1e-10) == V
    # broken: the fine record says more
    fine = condition(NETWORK, DETECTORS, dense["fine"], initial=INITIAL, observables=("x_m",))
    coarse = condition(NETWORK, DETECTORS, dense["record"], initial=INITIAL, observables=("x_m",))
    assert abs(fine["expect_x_m"].values[0, ::10] - coarse["expect_x_m"].values[0]).max() > 1e-4


def test_the_likelihood_is_the_dense_one(dense):
    data = condition(NETWORK, DETECTORS, dense["record"], initial=INITIAL)
    seen, values = seen_until(dense, dense["wide"]), dense["values"].ravel()
    law = multivariate_normal(dense["mean"][seen], dense["covariance"][np.ix_(seen, seen)])
    white = multivariate_normal(np.zeros(len(seen)), np.diag(np.repeat(np.diff(COARSE), dense["m"])))
    exact = law.logpdf(values) - white.logpdf(values)
    assert float(data["log_likelihood"][0]) == pytest.approx(exact, abs=1e-9)
    other = ba.Heterodyne("out", efficiency=0.6) + ba.Unraveling(DETECTORS.detectors[1:])
    assert abs(float(condition(NETWORK, other, dense["record"], initial=INITIAL)["log_likelihood"][0]) - exact) > 1e-3


def test_smoothing_is_the_dense_one(dense):
    names = ("x_m", "p_m", "x_q", "a")
    data = smooth(NETWORK, DETECTORS, dense["record"], initial=INITIAL, observables=names)
    filtered = condition(NETWORK, DETECTORS, dense["record"], initial=INITIAL, observables=names)
    for k in range(dense["wide"] + 1):
        exact, covariance = given(
            dense["mean"], dense["covariance"], at_edge(dense, k), seen_until(dense, dense["wide"]),
            dense["values"].ravel(),
        )  # fmt: skip
        for name, i in (("x_m", 0), ("p_m", 1), ("x_q", 2)):
            assert float(data[f"weak_{name}"][0, k]) == pytest.approx(exact[i], abs=1e-10)
            assert float(data[f"weak_variance_{name}"][k]) == pytest.approx(covariance[i, i], abs=1e-10)
        assert complex(data["weak_a"][0, k]) == pytest.approx((exact[0] + 1j * exact[1]) / 2, abs=1e-10)
    for name in names:
        assert data[f"expect_{name}"].values == pytest.approx(filtered[f"expect_{name}"].values, abs=1e-13)
    assert data["log_likelihood"].values == pytest.approx(filtered["log_likelihood"].values, abs=1e-12)
    assert "smoothed_a" not in data
    assert abs(data["weak_x_m"] - data["expect_x_m"]).max() > 0.1
    every = smooth(NETWORK, DETECTORS, dense["fine"], initial=INITIAL, observables=("x_q",))
    some = smooth(NETWORK, DETECTORS, dense["fine"], initial=INITIAL, observables=("x_q",), save_every=7)
    for kind in ("weak_x_q", "smoothed_x_q", "smoothed_variance_x_q"):
        assert some[kind].values == pytest.approx(every[kind].values[..., ::7], abs=1e-13)


def test_bins_are_van_loans_and_compose():
    F, K, n, _ = generator(NETWORK, DETECTORS)
    model = linear_model(NETWORK)
    what = measured(model, DETECTORS.detectors)
    wide = exact_bin(model, what, 0.7)
    Phi, Q = van_loan(F, K, 0.7)
    joined = np.block([[wide.Q, wide.S], [wide.S.T, wide.R]])
    assert joined == pytest.approx(Q[:-1, :-1], abs=1e-11)
    assert wide.Phi == pytest.approx(Phi[:n, :n], abs=1e-12)
    assert pytest.approx(Phi[n:-1, :n], abs=1e-12) == wide.H
    assert np.append(wide.beta, wide.gamma) == pytest.approx(Phi[:-1, -1], abs=1e-12)
    # a bin in which everything has decayed, where the exponential of −F would be lost
    assert pytest.approx(stationary(model)[1], abs=1e-10) == exact_bin(model, what, 200.0).Q


# === closed forms, the physics notes, section 7 (d)

EPSILON, KAPPA = 0.25, 1.0
OSCILLATOR = parametric_oscillator(EPSILON, KAPPA, levels=16)


def steady_variance(epsilon, eta):
    b = 2 * epsilon - KAPPA + 2 * eta * KAPPA
    return (b + np.sqrt(b**2 + 4 * eta * KAPPA**2 * (1 - eta))) / (2 * eta * KAPPA)


# detector, quadrature, sign of ε, share of it that is read
VARIANCE = {
    "homodyne x, η = .5": (ba.Homodyne("loss", efficiency=0.5), "x", 1, 0.5),
    "homodyne p, η = .8": (ba.Homodyne("loss", phase=np.pi / 2, efficiency=0.8), "p", -1, 0.8),
    "heterodyne x": (ba.Heterodyne("loss"), "x", 1, 0.5),
    "heterodyne p": (ba.Heterodyne("loss"), "p", -1, 0.5),
    "heterodyne x, η = .6": (ba.Heterodyne("loss", efficiency=0.6), "x", 1, 0.3),
}


def final_variance(detector, quadrature, width):
    data = simulate(
        OSCILLATOR, detector, width * np.arange(round(40 / width) + 1), observables=(quadrature, quadrature + "2")
    )
    last = data.isel(trajectory=0, time=-1)
    return float(last[f"expect_{quadrature}2"] - last[f"expect_{quadrature}"] ** 2)


@pytest.mark.parametrize("case", VARIANCE)
def test_conditional_variances(case):
    detector, quadrature, sign, eta = VARIANCE[case]
    # the error of a bin's width is even in it: two extrapolations
    V = [final_variance(detector, quadrature, width) for width in (0.08, 0.04, 0.02)]
    exact = steady_variance(sign * EPSILON, eta)
    first = [(4 * V[k + 1] - V[k]) / 3 for k in range(2)]
    assert (16 * first[1] - first[0]) / 15 == pytest.approx(exact, abs=1e-8)
    if case == "heterodyne x":
        assert exact == pytest.approx(1.6180340, abs=1e-7)
    assert abs(steady_variance(sign * EPSILON, eta / 2) - exact) > 1e-2


@pytest.mark.parametrize("width", [0.25, 2.0])
@pytest.mark.parametrize("quadrature", ["x", "p"])
def test_records_have_the_spectrum_of_the_output(quadrature, width):
    """E[I(t)I(t + τ)] = δ(τ) ± (ηκε/λ)e^{−λτ} of S = 1 ± 2ηκε/(λ² + ω²), λ = κ/2 ∓ ε; averaged over bins."""
    sign, phase, eta = (1, 0.0, 0.6) if quadrature == "x" else (-1, np.pi / 2, 0.6)
    detector = ba.Homodyne("loss", phase=phase, efficiency=eta)
    bins, lags = 128, np.arange(6)

    def expected(eta, sign):
        decay = KAPPA / 2 - sign * EPSILON
        amplitude, turn = sign * eta * KAPPA * EPSILON / decay, decay * width
        out = amplitude * np.exp(-turn * lags) * 2 * (np.cosh(turn) - 1) / turn**2
        out[0] = 1 / width + amplitude * 2 * (turn - 1 + np.exp(-turn)) / turn**2
        return out

    data = simulate(OSCILLATOR, detector, width * np.arange(bins + 1), 6000, initial="steady")
    current = data["current_loss"].values
    products = np.stack([(current[:, : bins - k] * current[:, k:]).mean(axis=1) for k in lags], axis=1)
    z = (products.mean(axis=0) - expected(eta, sign)) / (products.std(axis=0, ddof=1) / np.sqrt(len(products)))
    assert abs(z).max() < LIMIT
    for wrong in (expected(np.sqrt(eta), sign), expected(eta, -sign)):
        broken = (products.mean(axis=0) - wrong) / (products.std(axis=0, ddof=1) / np.sqrt(len(products)))
        assert abs(broken).max() > CONTROL
    # the first bin's spread is that of the stationary record, exactly
    found = condition(OSCILLATOR, detector, data.isel(trajectory=[0]), initial="steady")
    assert float(found["innovation_std_loss"][0]) ** 2 == pytest.approx(expected(eta, sign)[0], rel=1e-12)


# === against the general levels


def test_density_matrices_agree_in_short_bins():
    system = damped_cavity(1.0, omega=0.7, drive=0.3, n_thermal=0.2, levels=14)
    detector = ba.Homodyne("loss", phase=0.3, efficiency=0.8)
    names, errors = ("expect_a", "expect_n", "log_likelihood"), []
    for width in (0.02, 0.005):
        data = simulate(system, detector, width * np.arange(round(2 / width) + 1), 16)
        ours = condition(system, detector, data, observables=("a", "n"))
        theirs = condition(system, detector, data, level="density", step=width, observables=("a", "n"), seed=0)
        errors.append([float((abs(ours[name] - theirs[name]) ** 2).mean() ** 0.5) for name in names])
    assert max(errors[1]) < 2e-4
    assert all(fine < coarse / 2 for coarse, fine in zip(*errors, strict=True))
    wrong = condition(system, ba.Homodyne("loss", phase=0.4, efficiency=0.8), data, observables=("a", "n"))
    broken = [float((abs(wrong[name] - theirs[name]) ** 2).mean() ** 0.5) for name in names]
    assert all(large > 20 * small for large, small in zip(broken, errors[1], strict=True))


def test_smoothing_agrees_with_density_matrices():
    """Projective measurements, too: those of Zhang and Mølmer, which spoil the conjugate quadrature."""
    levels, width, start = 36, 0.01, {"a": ba.coherent(0.6 + 0.3j)}
    system = parametric_oscillator(0.2, 1.0, levels=levels)
    detector = ba.Homodyne("loss", phase=0.6, efficiency=0.7)
    data = simulate(system, detector, width * np.arange(201), 2, initial=start)
    asked = {"observables": ("x", "p"), "initial": start, "save_every": 10}
    ours = smooth(system, detector, data, **asked)
    theirs = ba.smooth(system, detector, data, step=width, seed=0, states=True, progress=False, **asked)
    early = {"time": slice(0, 6)}  # E, nearly 1 at the end, is cut off by the basis
    ours, theirs = ours.isel(early), theirs.isel(early)
    # ⟨x|ρ|x⟩⟨x|E|x⟩ from wave functions; quadratures of vacuum variance 1
    x, n = np.linspace(-9, 9, 601), np.arange(levels)[:, None]
    waves = eval_hermitenorm(n, x) * np.exp(-(x**2) / 4 - 0.5 * gammaln(n + 1))
    for name, turn, tolerance in (("x", 1, 0.06), ("p", -1j, 0.01)):
        assert abs(ours[f"weak_{name}"] - theirs[f"weak_{name}"]).max() < tolerance
        turned = np.power(turn, n) * waves
        p = 1.0
        for matrix in (theirs["state"].values, theirs["effect"].values):
            p = p * np.einsum("nx,ktnx->ktx", turned, matrix @ turned.conj(), optimize=True).real
        p = p / p.sum(axis=-1, keepdims=True)
        mean = p @ x
        variance = p @ x**2 - mean**2
        assert abs(ours[f"smoothed_{name}"].values - mean).max() < tolerance
        assert abs(ours[f"smoothed_variance_{name}"].values - variance).max() < tolerance
        # broken: the smoother of the classical problem, which is no projective measurement
        assert abs(ours[f"weak_{name}"].values - mean).max() > 5 * tolerance


def test_a_step_asks_for_the_general_equations():
    detector = ba.Heterodyne("loss")
    data = simulate(OSCILLATOR, detector, np.linspace(0, 2, 401), 2)
    general = condition(OSCILLATOR, detector, data, step=0.005, observables=("x",))
    exact = condition(OSCILLATOR, detector, data, observables=("x",))
    assert "method" not in general.attrs
    assert "exact" in exact.attrs["method"]
    assert abs(general["expect_x"] - exact["expect_x"]).max() < 3e-3
    assert abs(general["log_likelihood"] - exact["log_likelihood"]).max() < 0.1


# === what goes on along a record


def test_conditioning_returns_the_simulated_states():
    data = simulate(NETWORK, DETECTORS, COARSE, 20, initial=INITIAL, observables=("n", "a"), states=True)
    again = condition(NETWORK, DETECTORS, data, initial=INITIAL, observables=("n", "a"), states=True)
    for name in ("expect_n", "expect_a", "moments"):
        assert again[name].values == pytest.approx(data[name].values, abs=1e-12)
    assert data["expect_n"].dtype == float
    assert data["expect_a"].dtype == complex
    one = condition(NETWORK, DETECTORS, data.isel(trajectory=[7]), initial=INITIAL)
    assert int(one["trajectory"][0]) == 7
    assert float(one["log_likelihood"][0]) == float(again["log_likelihood"][7])


def test_innovations_are_white():
    times = 0.4 * np.arange(101)
    data = simulate(NETWORK, DETECTORS, times, 400, initial=INITIAL)

    def worst(unraveling):
        found = condition(NETWORK, unraveling, data, initial=INITIAL)
        z = found["innovation_out"].values
        real = np.stack(
            [np.sqrt(2) * z.real, np.sqrt(2) * z.imag, found["innovation_loss"], found["innovation_probe"]], axis=1
        )
        products = [real.mean(axis=2)]
        for lag in range(4):
            product = real[:, :, None, : 100 - lag] * real[:, None, :, lag:]
            products.append((product.mean(axis=3) - (np.eye(4) if lag == 0 else 0)).reshape(len(real), -1))
        values = np.concatenate(products, axis=1)
        return abs(values.mean(axis=0) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))).max()

    assert worst(DETECTORS) < LIMIT
    wrong = (
        ba.Heterodyne("out", efficiency=0.7) + ba.Homodyne("loss", phase=0.7) + ba.Unraveling(DETECTORS.detectors[2:])
    )
    assert worst(wrong) > CONTROL


def test_the_truth_is_the_likeliest():
    times = 0.5 * np.arange(601)
    detector = ba.Homodyne("loss", efficiency=0.6)
    data = simulate(OSCILLATOR, detector, times, 400, initial="steady")
    best = condition(OSCILLATOR, detector, data, initial="steady")["log_likelihood"].values
    for other in (ba.Homodyne("loss", efficiency=0.6**0.5), ba.Homodyne("loss", phase=0.4, efficiency=0.6)):
        gain = best - condition(OSCILLATOR, other, data, initial="steady")["log_likelihood"].values
        assert gain.mean() > LIMIT * gain.std() / np.sqrt(len(gain))


def test_trajectories_depend_on_seed_and_number_only():
    def run(ntraj, **options):
        return simulate(
            NETWORK, DETECTORS, 0.1 * np.arange(701), ntraj, initial=INITIAL, observables=("n",), **options
        )  # fmt: skip

    many = run(40)
    for fewer in (run(3), run(17), run(40, n_jobs=2), run(40, n_jobs=-1)):
        for name in ("current_out", "current_loss", "current_probe", "expect_n"):
            assert np.array_equal(fewer[name].values, many[name].values[: fewer.sizes["trajectory"]])
    seldom = run(3, save_every=50)
    assert np.array_equal(seldom["expect_n"].values, many["expect_n"].values[:3, ::50])
    assert np.array_equal(seldom["current_out"].values, many["current_out"].values[:3])
    assert not np.array_equal(run(3, seed=4)["current_out"].values, many["current_out"].values[:3])


def test_covariances_that_have_come_to_rest_are_exact():
    """A mode of long memory beside a fast one: what is taken for constant must be, and stay so."""
    m, q = Boson("m"), Boson("q")
    system = System(
        0.3 * q.n,
        {"slow": 0.06 * m.a, "warm": 0.03 * m.a.dag(), "fast": q.a, "light": 0.02 * (m.a + m.a.dag())},
    )
    detector = ba.Homodyne("light", efficiency=0.5) + ba.Homodyne("fast")
    a, D, c = 0.06**2 - 0.03**2, 0.06**2 + 0.03**2, 4 * 0.5 * 0.02**2
    for times in (np.arange(40001.0), np.append(np.arange(16001.0), 16000.0 + 2 * np.arange(1, 12001))):
        data = simulate(system, detector, times, states=True, save_every=400)
        V = np.array([from_moments(linear_model(system), values)[1] for values in data["moments"].values[0]])
        last = (D + 4 * 0.02**2) / a  # of p, which nobody reads
        assert V[:, 1, 1] == pytest.approx(last + (1 - last) * np.exp(-a * data["time"].values), abs=1e-9)
        assert V[-1] == pytest.approx(V[-3], abs=1e-11)
        # of x, closed for continuous monitoring
        assert V[-1][0, 0] == pytest.approx((-a + np.sqrt(a**2 + 4 * c * D)) / (2 * c), rel=1e-4)


def test_hidden_detectors_and_none():
    hidden = ba.Homodyne("loss", recorded=False) + ba.Homodyne("probe")
    data = simulate(NETWORK, hidden, COARSE, 2, observables=("n",))
    assert "hidden_n" in data
    assert "current_loss" not in data
    assert "expect_n" in condition(NETWORK, hidden, data, observables=("n",))
    alone = simulate(damped_cavity(1.0, n_thermal=0.5), None, [0.0, 1.0, 3.0], observables=("n",))
    assert alone["expect_n"].values[0] == pytest.approx(0.5 * (1 - np.exp(-np.array([0.0, 1.0, 3.0]))), abs=1e-14)


def test_runs_continue():
    first = simulate(NETWORK, DETECTORS, COARSE, 3, states=True, seed=1)
    again = simulate(NETWORK, DETECTORS, COARSE, 3, states=True, seed=2, initial=first)
    assert again["moments"].values[:, 0] == pytest.approx(first["moments"].values[:, -1], abs=1e-12)
    with pytest.raises(ValueError, match="`seed` must differ"):
        simulate(NETWORK, DETECTORS, COARSE, 3, seed=1, initial=first)
    bad = first["moments"].values[:, -1].copy()
    bad[1, -1] += 0.1
    with pytest.raises(ValueError, match="same covariances"):
        simulate(NETWORK, DETECTORS, COARSE, 3, initial=bad)
    with pytest.raises(ValueError, match="uncertainty relation"):
        simulate(NETWORK, DETECTORS, COARSE, 3, initial=0 * bad[0] - 0.3)


def test_higher_degrees_are_means_of_gaussian_states():
    system = damped_cavity(1.0, n_thermal=0.5)
    data = simulate(system, None, [0.0, 50.0], observables={"n2": system.observables["n"] ** 2})
    assert float(data["expect_n2"][0, -1]) == pytest.approx(0.5 + 2 * 0.5**2, rel=1e-12)


def test_fifty_modes_are_quick():
    modes = [Boson(f"m{i:02d}") for i in range(50)]
    H = sum(((1 + 0.01 * i) * m.n for i, m in enumerate(modes)), 0 * modes[0].n)
    for m, q in pairwise(modes):
        H = H + 0.2 * (m.a.dag() * q.a + q.a.dag() * m.a)
    channels = {f"loss{i}": 0.5 * m.a for i, m in enumerate(modes)}
    channels |= {f"heat{i}": 0.4 * m.a.dag() for i, m in enumerate(modes)}
    system = System(H, channels, {"n": modes[0].n})
    detector = ba.Heterodyne("loss0") + ba.Homodyne("loss10", "loss49", efficiency=0.5)
    started = time.perf_counter()
    data = simulate(system, detector, np.linspace(0, 20, 101), 16, observables=("n",))
    again = condition(system, detector, data, observables=("n",))
    took = time.perf_counter() - started
    assert again["expect_n"].values == pytest.approx(data["expect_n"].values, abs=1e-11)
    assert took < 20  # 0.3 s on an idle core


def test_a_laboratory_record():
    """Part of the record of a levitated particle, on what the example's search found in all of it."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "levitated.py"))
    with np.load(example["DATA"]) as data:
        volts, dt = data["volts"].astype(float), float(data["dt"]) * 1e6
    volts = (volts - volts.mean())[:60000]
    theta = np.array(
        [0.38834, 0.94124, 1.04319, -5.0058, -5.3421, -5.0032, -1.973, -0.98232, -2.2578, -3.2466, -1.9423, -3.16464]
    )

    def whiteness(theta):
        found = example["conditioned"](theta, volts, dt)
        innovation = found["innovation_light"].values[0, 5000:]
        return innovation.std(), abs(example["autocorrelation"](innovation)[1:]).max(), found["log_likelihood"].item()

    spread, correlation, best = whiteness(theta)
    assert spread == pytest.approx(1.0, abs=0.01)
    assert correlation < LIMIT / np.sqrt(55000)
    without = theta.copy()
    without[8] = -12.0  # without the mode at 150 kHz
    assert whiteness(without)[1] > CONTROL / np.sqrt(55000)
    assert whiteness(without)[2] < best - 100


# === what goes elsewhere, and what is refused


def test_other_systems_go_the_general_way():
    pumped = simulate(vdp(0.2, 0.1), ba.Homodyne("loss"), [0.0, 0.1], observables=("n",))
    assert "method" not in pumped.attrs
    turning = ba.Homodyne("loss", phase=ba.LocalOscillator(2.0))
    assert "method" not in simulate(OSCILLATOR, turning, np.linspace(0, 1, 11)).attrs
    with pytest.raises(ValueError, match="bins that are short"):
        measured(linear_model(OSCILLATOR), turning.detectors)


READ = {"times": [0.0, 1.0, 2.0], "current_loss": [0.1, 0.2]}
LOSS = ba.Homodyne("loss")
BAD = {
    "a counter": (lambda: simulate(OSCILLATOR, ba.QuantumJumps("loss"), [0.0, 1.0]), "`unraveling`.*counts"),
    "a counter, smoothed": (
        lambda: smooth(OSCILLATOR, ba.QuantumJumps("loss"), {"times": [0.0, 1.0], "click_time_loss": []}),
        "`unraveling`.*counts",
    ),
    "a nonlinear system, smoothed": (
        lambda: smooth(vdp(1, 1), LOSS, READ),
        "`system` must be linear.*two_photon",
    ),
    "a turning oscillator, smoothed": (
        lambda: smooth(OSCILLATOR, ba.Homodyne("loss", phase=ba.LocalOscillator(0.1)), READ),
        "`unraveling`.*depends on time",
    ),
    "a square, smoothed": (lambda: smooth(OSCILLATOR, LOSS, READ, observables=("x2",)), "`observables.*first degree"),
    "states, smoothed": (lambda: smooth(OSCILLATOR, LOSS, READ, states=True), "`states` must be False"),
    "kets, smoothed": (lambda: smooth(OSCILLATOR, LOSS, READ, level="ket"), "`level`"),
    "order 1, smoothed": (lambda: smooth(OSCILLATOR, LOSS, READ, level=ba.Moments(1)), "`level`.*order 2"),
    "no steady state": (
        lambda: simulate(parametric_oscillator(0.6, 1.0), LOSS, [0.0, 1.0], initial="steady"),
        "`initial`.*grows",
    ),
    "another word": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], initial="vacuum"), "`initial`.*steady"),
    "another site": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], initial={"b": ba.vacuum()}), "`initial`.*'b'"),
    "another shape": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], initial=np.zeros(7)), r"`initial`.*\(7,\)"),
    "an observable": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], observables=("y",)), "`observables`.*'y'"),
    "a foreign site": (
        lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], observables={"n": Boson("z").n}),
        r"`observables\['n'\]`.*'z'",
    ),
    "save_every": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], save_every=0), "`save_every`"),
    "n_jobs": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], n_jobs=0), "`n_jobs`"),
    "memory": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], 1000, max_memory="1 kiB"), "`max_memory`"),
    "a scheme": (lambda: simulate(OSCILLATOR, LOSS, [0.0, 1.0], scheme=ba.Splitting()), "`scheme`"),
    "nothing to do": (lambda: simulate(OSCILLATOR, None, [0.0, 1.0]), "`unraveling` records nothing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_what_overflows_says_so():
    amplifier = System(0 * Boson("a").n, {"gain": Boson("a").a.dag(), "probe": 1e-3 * Boson("a").a})
    with pytest.raises(FloatingPointError, match="unstable"):
        simulate(amplifier, ba.Homodyne("probe"), np.linspace(0, 2000, 101))
