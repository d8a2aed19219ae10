"""Acceptance: maximum-likelihood estimates from records, and whether their 95 % intervals hold what they promise.

    python benchmarks/acceptance_likelihood.py

Homodyne records of a driven qubit (Ω known), cut from its steady state.  Decay rate γ, detuning Δ and efficiency η are
estimated from each record by itself: the maximum of `condition`'s log-likelihood, with standard errors from the
curvature there (the observed Fisher information, which a laboratory has, too).  Required, for each parameter: between
91.2 and 98.8 % of the intervals estimate ± 1.96 standard errors hold the true value (95 % ± 3.5 standard errors of a
fraction of 400).

Declared here, and not chosen for their results: seeds 0, 1, 2 with 134, 133 and 133 records, pooled.

1. Scale: the scores at the true values, by central differences, give the expected Fisher information F of one record.
2. Log-likelihoods of all records at the points u of a cubic lattice around the true values, θ = θ₀ + F^(−1/2)u.
3. A polynomial through them, record by record: its maximum and its curvature there.  How well it represents the
   log-likelihood is measured at random points that it has not seen.

That all records are looked at through the same values of θ is what makes this cheap; the maxima are those of a search
that knows nothing of the truth as long as they lie among the points.  So that is required, too: no maximum farther from
the truth than the farthest point.  (By chance one of 400 is, in one of five runs: then more points, not other seeds.)

And the polynomials must be the log-likelihoods in place of which they stand.  At the unseen points, where these have
fallen by 2, they may miss them by 0.1 (root mean square) and nowhere by more than 0.5: a twentieth of the fall is 1/40
of an interval's width and 0.6 % of the coverage, half a standard error of the fraction of 400.

Exits with status 1 if any of these is not so.

Steps of the simulation are half as wide as the bins, those of the conditioning as wide; both err in second order,
(ΩΔt)²/12 ≈ 10⁻³ of the parameters, against standard errors of some percent.  The mean of z says whether it shows.
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings

import numpy as np
from scipy.stats import chi2, norm, skew

import backaction as ba

SEEDS = {0: 134, 1: 133, 2: 133}  # records of each
REQUIRED = (0.912, 0.988)
RABI, PHASE = 2.0, np.pi / 4  # known
TRUTH = {"rate": 1.0, "detuning": 0.5, "efficiency": 0.8}
DURATION, BIN = 3000.0, 0.05  # in 1/γ
SCORE_STEP = 0.02  # of the central differences
SPACING, LARGEST = 2.1, 6  # of the lattice, in standard errors; squared length of its points before scaling
HELD_OUT, MIDDLE = 4, 2.0  # points at which the polynomial is tested, and their distance from the truth
MISFIT, WORST_MISFIT = 0.1, 0.5  # of log-likelihoods there: root mean square, and the largest


def model(theta: np.ndarray) -> tuple[ba.System, ba.Unraveling]:
    rate, detuning, efficiency = theta
    system = ba.systems.driven_qubit(rabi=RABI, gamma=rate, detuning=detuning)
    return system, ba.Homodyne("loss", phase=PHASE, efficiency=efficiency)


def simulated(theta: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Currents of all seeds: (record, bin)."""
    options = {"initial": "steady", "step": BIN / 2, "n_jobs": -1, "progress": False}
    runs = [ba.simulate(*model(theta), times, ntraj, seed=seed, **options) for seed, ntraj in SEEDS.items()]
    return np.concatenate([run["current_loss"].values for run in runs])


def log_likelihood(theta: np.ndarray, times: np.ndarray, current: np.ndarray) -> np.ndarray:
    """(record,)"""
    record = {"times": times, "current_loss": current}
    found = ba.condition(*model(theta), record, initial="steady", step=BIN, seed=0, n_jobs=-1, progress=False)
    return found["log_likelihood"].values


def scores(theta: np.ndarray, times: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Derivatives of the log-likelihood: (record, parameter)."""
    steps = SCORE_STEP * np.eye(len(theta))
    pairs = [(log_likelihood(theta + h, times, current), log_likelihood(theta - h, times, current)) for h in steps]
    return np.stack([(above - below) / (2 * SCORE_STEP) for above, below in pairs], axis=1)


# === a polynomial for the log-likelihood of each record


def monomials(n: int) -> np.ndarray:
    """Powers of n variables, (monomial, variable): all up to degree 4, which the lattice determines."""
    powers = np.array(list(itertools.product(range(5), repeat=n)))
    return powers[powers.sum(axis=1) <= 4]


def derivative(powers: np.ndarray, u: np.ndarray, *variables: int) -> np.ndarray:
    """Of the monomials with respect to these variables at points u: (point, monomial)."""
    powers, factor = powers.copy(), np.ones(len(powers))
    for i in variables:
        factor *= powers[:, i]
        powers[:, i] = np.maximum(powers[:, i] - 1, 0)
    return factor * np.prod(u[:, None, :] ** powers, axis=2)


def gradient(powers: np.ndarray, coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Of each record's polynomial at its own point: (record, variable)."""
    n = u.shape[1]
    return np.stack([np.sum(coefficients * derivative(powers, u, i), axis=1) for i in range(n)], axis=1)


def hessian(powers: np.ndarray, coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(record, variable, variable)"""
    n = u.shape[1]
    pairs = itertools.product(range(n), repeat=2)
    flat = np.stack([np.sum(coefficients * derivative(powers, u, i, j), axis=1) for i, j in pairs], axis=1)
    return flat.reshape(-1, n, n)


def maxima(powers: np.ndarray, coefficients: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maxima (record, variable), by Newton's method, and minus the second derivatives there."""
    u = start.copy()
    for _ in range(50):
        shift = np.linalg.solve(hessian(powers, coefficients, u), gradient(powers, coefficients, u)[..., None])[..., 0]
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        u -= shift / np.maximum(1, length)  # no more than a standard error at a time
        if length.max() < 1e-10:
            break
    information = -hessian(powers, coefficients, u)
    found = (length[:, 0] < 1e-10) & (np.linalg.eigvalsh(information).min(axis=1) > 0)
    if not found.all():
        raise RuntimeError(f"The polynomials of records {np.flatnonzero(~found)} have no maximum near the truth.")
    return u, information


# === coverage


def main() -> int:
    started, cpu = time.perf_counter(), time.process_time()
    # about 1 % in the states; what that does to the estimates is second order, see above
    warnings.filterwarnings("ignore", message="The bins of the record leave")
    truth = np.array(list(TRUTH.values()))
    times = np.linspace(0, DURATION, round(DURATION / BIN) + 1)
    n = sum(SEEDS.values())
    print(f"{n} records of {DURATION:g}/γ in {len(times) - 1} bins; records of each seed: {SEEDS}", flush=True)
    current = simulated(truth, times)

    at_truth = scores(truth, times, current)
    covariance = np.linalg.inv(at_truth.T @ at_truth / n)
    root = np.linalg.cholesky(covariance)  # F^(-1/2)
    z = at_truth.mean(axis=0) / (at_truth.std(axis=0, ddof=1) / np.sqrt(n))
    print("mean score, in standard errors:", ", ".join(f"{name} {x:+.2f}" for name, x in zip(TRUTH, z, strict=True)))
    print("standard errors that F predicts:", np.sqrt(np.diag(covariance)).round(4), flush=True)

    reach = int(np.sqrt(LARGEST))
    lattice = np.array(list(itertools.product(range(-reach, reach + 1), repeat=len(truth))))
    lattice = SPACING * lattice[np.sum(lattice**2, axis=1) <= LARGEST]
    unseen = np.random.default_rng(0).standard_normal((HELD_OUT, len(truth)))
    unseen *= MIDDLE / np.linalg.norm(unseen, axis=1, keepdims=True)
    points = np.concatenate([lattice, unseen])
    values = np.empty((len(points), n))
    for i, u in enumerate(points):
        values[i] = log_likelihood(truth + root @ u, times, current)
        if i % 10 == 0:
            print(f"  point {i + 1} of {len(points)}, {time.perf_counter() - started:.0f} s", flush=True)

    powers = monomials(len(truth))
    values -= values[np.flatnonzero(~lattice.any(axis=1))]
    coefficients = np.linalg.lstsq(derivative(powers, lattice), values[: len(lattice)], rcond=None)[0].T
    misfit = values[len(lattice) :].T - coefficients @ derivative(powers, unseen).T
    u, curvature = maxima(powers, coefficients, at_truth @ root)
    missed, most = np.sqrt(np.mean(misfit**2)), abs(misfit).max()
    farthest, end = (np.linalg.norm(x, axis=1).max() for x in (u, lattice))
    print(
        f"polynomials of {len(powers)} terms through {len(lattice)} points miss log-likelihoods at {HELD_OUT} others "
        f"by {missed:.2g} (rms), {most:.2g} (largest); farthest maximum at |u| = {farthest:.2f}, points reach to "
        f"{end:.2f}"
    )

    error = u @ root.T
    stderr = np.sqrt(np.einsum("ij,rjk,ik->ri", root, np.linalg.inv(curvature), root))
    z = error / stderr
    held = np.mean(abs(z) <= norm.isf(0.025), axis=0)
    for i, (name, value) in enumerate(TRUTH.items()):
        print(
            f"{name}, true value {value:g}\n"
            f"  estimates: mean {value + error[:, i].mean():.4f}, spread {error[:, i].std(ddof=1):.4f}, skewness "
            f"{skew(error[:, i]):+.2f} ± {np.sqrt(6 / n):.2f}; mean standard error {stderr[:, i].mean():.4f}\n"
            f"  z: mean {z[:, i].mean():+.3f} ± {1 / np.sqrt(n):.3f}, spread {z[:, i].std(ddof=1):.3f} ± "
            f"{1 / np.sqrt(2 * n):.3f}, skewness {skew(z[:, i]):+.2f}\n"
            f"  95 % intervals that hold it: {100 * held[i]:.2f} %"
        )
    distance = np.einsum("ri,rij,rj->r", u, curvature, u)
    print(f"95 % ellipsoids that hold all three: {100 * np.mean(distance <= chi2.ppf(0.95, len(truth))):.2f} %")
    required = {
        f"{100 * REQUIRED[0]:g} to {100 * REQUIRED[1]:g} % of the intervals": np.all(
            (held >= REQUIRED[0]) & (held <= REQUIRED[1])
        ),
        f"polynomials within {MISFIT:g} (rms) and {WORST_MISFIT:g}": missed <= MISFIT and most <= WORST_MISFIT,
        f"maxima within {end:.2f}": farthest <= end,
    }
    for what, passed in required.items():
        print(f"required {what}: {'passed' if passed else 'FAILED'}")
    print(f"took {time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of processor time")
    return int(not all(required.values()))


if __name__ == "__main__":
    sys.exit(main())
