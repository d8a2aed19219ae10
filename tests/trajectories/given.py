"""Runs along given records: averages over noise and clicks by quadrature, without Monte Carlo."""

from __future__ import annotations

from itertools import pairwise, product
from math import factorial

import numpy as np
import scipy.linalg as la
from scipy.integrate import solve_ivp
from scipy.special import roots_hermitenorm, roots_jacobi

from backaction.trajectories import ensemble
from backaction.trajectories.preparation import prepare
from trajectories.one_step import liouvillian, without_symmetry

NO_CLICKS = (np.empty(0), np.empty(0, dtype=np.int64))


def along(
    system, unraveling, edges, current, initial, feedback=None, level="density", scheme=None, clicks=None, save_every=1
):
    """States at every edge and log-likelihoods of given currents (ntraj, n_currents, n_bins), a step per bin.

    `clicks`: (times, counter) of every record.  The log-likelihood is the density of their times: no reference is
    taken off.  `save_every`: states at some of the edges only.
    """
    prepared = prepare(
        system, unraveling, edges, len(current), initial=initial, level=level, step=float(edges[-1] - edges[0]),
        scheme=scheme, observables=(), states=True, save_every=save_every, n_jobs=1, max_memory="1 GiB", given=True,
        feedback=feedback,
    )  # fmt: skip
    given = ensemble.Given(current.astype(complex), clicks or [NO_CLICKS] * len(current))
    batches, _ = ensemble.run(prepared.job(0, len(current), given), 1, False)
    states = np.concatenate([b.states for b in batches])
    if level == "density":
        d = round(states.shape[-1] ** 0.5)
        states = states.reshape(*states.shape[:-1], d, d)
    return states, np.concatenate([b.log_likelihood for b in batches])


# === records over which one averages


def noise_nodes(detectors, widths, nodes=None, spread=1.0):
    """White noise of all diffusive detectors in bins, (record, current, bin), and its weights.

    `nodes`: of a Gauss–Hermite rule, per normal number.  None: the fewest that average a step exactly, which is a
    polynomial of second degree in dY or dZ* on either side of the state: three for dY; for dZ, whose powers i and j
    of dZ and dZ* differ by two at most, the centre and three on a circle.
    """
    x, w = roots_hermitenorm(nodes or 3)
    w = w / w.sum()
    if nodes is None:
        z, v = np.sqrt(2) * np.append(0, np.exp(2j * np.pi * np.arange(3) / 3)), np.array([3, 1, 1, 1]) / 6
    else:
        z, v = ((x[:, None] + 1j * x) / np.sqrt(2)).ravel(), np.outer(w, w).ravel()
    kinds = [d.kind for d in detectors if d.kind != "jumps"]
    rules = [(x, w) if kind == "homodyne" else (z, v) for kind in kinds for _ in widths]
    grid = np.array(list(product(*(range(len(points)) for points, _ in rules))), dtype=int)
    current, weights = np.zeros(grid.shape, dtype=complex), np.ones(len(grid))
    for column, (points, shares) in enumerate(rules):
        current[:, column] = spread * points[grid[:, column]]
        weights *= shares[grid[:, column]]
    return current.reshape(len(grid), len(kinds), len(widths)) / np.sqrt(widths), weights


def ordered_nodes(begin, end, n, nodes):
    """n times in order between two limits, and weights of the integral over them: exact to degree 2·nodes − 1."""
    found = [((), (end - begin) ** n / factorial(n))]
    for later in reversed(range(n)):  # clicks that come behind this one: their times have a volume
        x, w = roots_jacobi(nodes, later, 0)
        found = [
            ((*times, last + (end - last) * (1 + u) / 2), weight * v)
            for times, weight in found
            for last in [times[-1] if times else begin]
            for u, v in zip(x, w / w.sum(), strict=True)
        ]
    return found


def click_nodes(counters, edges, most=4):
    """Clicks (times, counter) of so many counters in bins of one step, and weights of the integral over their times.

    Diffusive channels are measured in the middles of the bins: what clicks do is smooth between two of these.  The
    rules' errors are of the fifth order in the step, as is the probability of a fifth click.
    """
    slots = list(pairwise([edges[0], *(edges[1:] + edges[:-1]) / 2, edges[-1]]))
    clicks, weights = [], []
    for n in range(most + 1 if counters else 1):
        nodes = 2 if n <= 2 else 1
        for numbers in product(range(n + 1), repeat=len(slots)):
            if sum(numbers) != n:
                continue
            parts = [ordered_nodes(*slot, k, nodes) for slot, k in zip(slots, numbers, strict=True)]
            for chosen in product(*parts):
                times = np.array([t for some, _ in chosen for t in some])
                for owner in product(range(counters), repeat=n):
                    clicks.append((times, np.array(owner, dtype=np.int64)))
                    weights.append(np.prod([weight for _, weight in chosen]))
    return clicks, np.array(weights)


def average_of_steps(system, unraveling, edges, initial, nodes=None, feedback=None, level="density", scheme=None):
    """E ρ at the last edge: Σ weight · likelihood · state over white noise and clicks; `nodes` as in `noise_nodes`.

    The records are white noise and any clicks, weighted with their likelihoods, so that each map is averaged, whatever
    the state.
    """
    detectors = unraveling.detectors
    currents, weights = noise_nodes(detectors, np.diff(edges), nodes)
    clicks, shares = click_nodes(sum(d.kind == "jumps" for d in detectors), np.asarray(edges))
    states, log_likelihood = along(
        system, unraveling, edges, np.tile(currents, (len(clicks), 1, 1)), initial, feedback, level, scheme,
        [some for some in clicks for _ in currents], save_every=len(edges) - 1,
    )  # fmt: skip
    last = states[:, -1]
    if level == "ket":
        last = last[:, :, None] * last[:, None, :].conj()
    return np.einsum("k,kij->ij", np.outer(shares, weights).ravel() * np.exp(log_likelihood), last)


# === what the average must be


def exact(system, t0, t1, rho):
    """ρ(t1) of the master equation, time-ordered, as an ODE with tolerance 1e-13."""
    lowered = system.lower()
    d = lowered.dim

    def slope(t, y):
        now = lowered.at(t)
        L = liouvillian(now.H.toarray(), [c.toarray() for c in now.channels.values()])
        return L @ y

    out = solve_ivp(slope, (t0, t1), rho.reshape(-1).astype(complex), method="DOP853", rtol=1e-12, atol=1e-14)
    return out.y[:, -1].reshape(d, d)


def weak_errors_of_records(case, scheme, level, dts, missing=0.01):
    """As `one_step.weak_errors`, over records: clicks as counters have them, and H(t), from t = 0.4 on.

    `missing`: of the error, the part that may be due to more clicks than `click_nodes` has.
    """
    state, rho = without_symmetry(case.system.lower().dim, level)
    out = []
    for dt in dts:
        edges = 0.4 + dt * np.arange(case.steps + 1)
        average = average_of_steps(case.system, case.unraveling, edges, state, level=level, scheme=scheme)
        error = trace_norm(average - exact(case.system, edges[0], edges[-1], rho))
        # these would add a positive matrix, the trace of which is what there is too little of
        assert abs(1 - np.trace(average).real) < missing * error
        out.append(error / (edges[-1] - edges[0]))
    return np.array(out)


def trace_norm(X):
    """Sum of the moduli of a Hermitian matrix' eigenvalues."""
    return float(abs(la.eigvalsh(X)).sum())
