"""Runs along given records: averages over the noise by quadrature, without Monte Carlo."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy.linalg as la
from scipy.integrate import solve_ivp
from scipy.special import roots_hermitenorm

from backaction.trajectories import ensemble
from backaction.trajectories.preparation import prepare
from trajectories.one_step import liouvillian


def along(system, unraveling, edges, current, initial, feedback=None, level="density"):
    """States at every edge and log-likelihoods of given currents (ntraj, n_currents, n_bins), a step per bin."""
    prepared = prepare(
        system, unraveling, edges, len(current), initial=initial, level=level, step=float(edges[-1] - edges[0]),
        scheme=None, observables=(), states=True, save_every=1, n_jobs=1, max_memory="1 GiB", given=True,
        feedback=feedback,
    )  # fmt: skip
    given = ensemble.Given(current.astype(complex), [(np.empty(0), np.empty(0, dtype=np.int64))] * len(current))
    batches, _ = ensemble.run(prepared.job(0, len(current), given), 1, False)
    states = np.concatenate([b.states for b in batches])
    if level == "density":
        d = round(states.shape[-1] ** 0.5)
        states = states.reshape(*states.shape[:-1], d, d)
    return states, np.concatenate([b.log_likelihood for b in batches])


def average_of_steps(system, unraveling, edges, initial, nodes, feedback=None, level="density"):
    """E ρ at the last edge: Σ weight · likelihood · state over white noise, by Gauss–Hermite quadrature.

    The records are white noise weighted with their likelihoods, so that each map is averaged, whatever the state.
    """
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    detectors = unraveling.detectors
    kinds = [d.kind for d in detectors]
    widths = np.diff(edges)
    parts = sum(2 if k == "heterodyne" else 1 for k in kinds)
    grid = np.array(list(product(range(nodes), repeat=parts * len(widths)))).reshape(-1, len(widths), parts)
    current = np.zeros((len(grid), len(kinds), len(widths)), dtype=complex)
    column = 0
    for i, kind in enumerate(kinds):
        if kind == "heterodyne":
            current[:, i] = (x[grid[..., column]] + 1j * x[grid[..., column + 1]]) / np.sqrt(2 * widths)
            column += 2
        else:
            current[:, i] = x[grid[..., column]] / np.sqrt(widths)
            column += 1
    states, log_likelihood = along(system, unraveling, edges, current, initial, feedback, level)
    last = states[:, -1]
    if level == "ket":
        last = last[:, :, None] * last[:, None, :].conj()
    weights = w[grid].prod(axis=(1, 2)) * np.exp(log_likelihood)
    return np.einsum("k,kij->ij", weights, last)


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


def trace_norm(X):
    """Sum of the moduli of a Hermitian matrix' eigenvalues."""
    return float(abs(la.eigvalsh(X)).sum())
