"""The average of one step over the noise, by quadrature: bias without Monte Carlo."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy.linalg as la
from scipy.special import roots_hermitenorm

from backaction.trajectories.kernels import density
from backaction.trajectories.plan import assign, density_plan


def liouvillian(H, operators):
    """Matrix of 𝓛 on row-stacked ρ, written out from its definition."""
    d = H.shape[0]
    one = np.eye(d)
    L = -1j * (np.kron(H, one) - np.kron(one, H.T))
    for c in operators:
        cdc = c.conj().T @ c
        L = L + np.kron(c, c.conj()) - 0.5 * np.kron(cdc, one) - 0.5 * np.kron(one, cdc.T)
    return L


def exact_map(lowered, dt, rho):
    """e^{𝓛dt}ρ."""
    L = liouvillian(lowered.H.toarray(), [c.toarray() for c in lowered.channels.values()])
    return (la.expm(L * dt) @ rho.reshape(-1)).reshape(rho.shape)


def put_state(plan, work, rho):
    """Put all lanes into one state."""
    for part, value in zip(density.elements(work, len(rho)), (rho.real, rho.imag), strict=True):
        part[:] = value[..., None]
    work.trace[:] = 1.0


def average_step(lowered, unraveling, dt, rho, nodes=7, steps=1):
    """E over the noise of the normalised state after `steps` real steps of the density kernel."""
    plan = density_plan(lowered, assign(lowered, unraveling, hidden=False), [], steps * dt, dt)
    assert plan.n_sub == steps
    assert not plan.exact
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    used = [2 * c + i for c, kind in enumerate(plan.kinds) for i in range(1 + kind)]
    grid = list(product(range(nodes), repeat=len(used) * steps))
    work = density.density_work(plan)
    total = np.zeros_like(rho)
    record = np.zeros((max(1, len(plan.kinds)), 2, 4))
    noise = np.zeros((steps, 2 * len(plan.kinds), 4))
    for start in range(0, len(grid), 4):
        lanes = grid[start : start + 4]
        for lane, index in enumerate(lanes):
            noise[:, used, lane] = x[list(index)].reshape(steps, -1)
        put_state(plan, work, rho)
        density.slot(plan, work, work.place[1], 1, 0.5 * dt)
        work.trace[:] = work.trial
        for s in range(steps):
            order = range(len(plan.kinds))
            for channel in reversed(order) if (plan.alternate and s % 2) else order:
                work.place[1] = density.diffuse(plan, work, work.place[1], noise, s, channel, record)
            last = s + 1 == steps
            density.slot(plan, work, work.place[1], 1 if last else 0, 0.5 * dt if last else dt)
            work.trace[:] = work.trial
        re, im = density.elements(work, len(rho))
        for lane, index in enumerate(lanes):
            weight = np.prod(w[list(index)])
            state = re[..., lane] + 1j * im[..., lane]
            total += weight * state / np.trace(state).real
    return total
