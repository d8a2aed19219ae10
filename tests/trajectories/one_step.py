"""Orders of a step, measured: its average over the noise by quadrature, paths on records added up to longer steps."""

from __future__ import annotations

import warnings
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.linalg as la
from scipy.special import roots_hermitenorm

import backaction as ba
from backaction.trajectories.kernels import density, ket
from backaction.trajectories.plan import assign, density_plan, ket_plan

#: Paths that are refined, and the seed of their noise.
PATHS, SEED = 64, 0


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


def average_step(lowered, unraveling, dt, state, nodes=7, steps=1, scheme=ba.Splitting(), level="density"):  # noqa: B008
    """E over the noise of the normalised state after `steps` real steps of a kernel, from a matrix or (ket) vector.

    Without counters, whose clicks are drawn: `given.average_of_steps` has them.
    """
    assert all(d.kind != "jumps" for d in unraveling.detectors)
    is_ket = level == "ket"
    make, kernel = (ket_plan, ket.run_ket) if is_ket else (density_plan, density.run_density)
    plan = make(lowered, assign(lowered, unraveling, hidden=False), [], steps * dt, dt, scheme)
    assert plan.n_sub == steps
    assert not (plan.jumps.size if is_ket else plan.exact)
    lanes = ket.LANES if is_ket else density.LANES
    x, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    numbers = steps * int(plan.columns[-1])
    grid = list(product(range(nodes), repeat=numbers))
    rngs = tuple(np.random.default_rng(0) for _ in range(lanes))  # nothing is drawn from them
    n_currents = int(plan.outputs.max(initial=-1)) + 1
    total = np.zeros((lowered.dim, lowered.dim), dtype=complex)
    for start in range(0, len(grid), lanes):
        chosen = grid[start : start + lanes]
        work = ket.ket_work(plan) if is_ket else density.density_work(plan)
        for lane, index in enumerate(chosen):
            work.noise[:numbers, lane] = x[list(index)]
        work.place[0] = 0  # the noise is there
        if is_ket:
            work.re.reshape(-1, lanes)[: lowered.dim] = state.real[:, None]
            work.im.reshape(-1, lanes)[: lowered.dim] = state.imag[:, None]
        else:
            put_state(plan, work, state)
        after = np.zeros((1, lanes, state.size), dtype=complex)
        kernel(
            plan, work, rngs, 0.0, steps * dt, 0, 0, 1, 1, True, np.zeros((lanes, n_currents, 1), dtype=complex), 0,
            np.zeros((0, 1, lanes), dtype=complex), after, np.zeros(4), np.zeros((4, 2), dtype=np.int64),
        )  # fmt: skip
        for lane, index in enumerate(chosen):
            one = after[0, lane].reshape(state.shape)
            total += np.prod(w[list(index)]) * (np.outer(one, one.conj()) if is_ket else one)
    return total


# === orders of whole runs


class Case(NamedTuple):
    """A system, its detectors, and what the documentation says of them.

    Attributes
    ----------
    steps : int
        Steps that belong together: 2 where the order of the channels alternates.
    nodes : int
        Of the quadrature of `weak_errors`, per normal.
    duration : float
        Of the paths.
    strong : float
        Strong order of both schemes.
    ket : bool
        Does the record determine a pure state?
    """

    system: ba.System
    unraveling: ba.Unraveling
    steps: int
    nodes: int
    duration: float
    strong: float
    ket: bool

    @property
    def counts(self):
        """Is there a counter?"""
        return any(d.kind == "jumps" for d in self.unraveling.detectors)


def _cases():
    """Three levels, matrices without structure, norms near 1."""
    rng = np.random.default_rng(3)

    def matrix():
        x = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
        return x * np.sqrt(3) / np.linalg.norm(x)

    H, a, b = matrix(), matrix(), matrix()
    H = H + H.conj().T
    commuting = {"a": 0.7 * a, "b": 0.4 * a @ a}
    psi = np.array([0.6, 0.64, 0.48j])

    def system(H=H, **channels):
        return ba.System(H, channels, initial=psi)

    homodyne, heterodyne, counter = ba.Homodyne("a", phase=0.4), ba.Heterodyne("b"), ba.QuantumJumps("c")
    cubed = 0.4 * a @ a @ a
    lossy = ba.Homodyne("a", phase=0.4, efficiency=0.5) + ba.Heterodyne("b", efficiency=0.8)
    driven = [H, (b + b.conj().T, lambda t: np.cos(3 * t))]
    cases = {
        "commuting": Case(system(**commuting), homodyne + heterodyne, 2, 4, 2.0, 1.0, True),
        "not commuting": Case(system(a=0.7 * a, b=0.7 * b), homodyne + ba.Homodyne("b"), 2, 7, 2.0, 0.5, True),
        "an unwatched channel": Case(system(a=0.7 * a, b=0.7 * b), homodyne, 1, 9, 2.0, 1.0, False),
        "efficiency < 1": Case(system(**commuting), lossy, 2, 4, 2.0, 1.0, False),
        "homodyne, heterodyne, counter": Case(
            system(**commuting, c=cubed), homodyne + heterodyne + counter, 2, 4, 2.0, 1.0, True
        ),
        "the same, clicks that do not commute": Case(
            system(a=0.3 * a, b=0.2 * a @ a, c=1.2 * b), homodyne + heterodyne + counter, 2, 4, 2.0, 0.5, True
        ),
    }
    mixed = Case(system(driven, **commuting, c=cubed), homodyne + heterodyne + counter, 2, 4, 2.0, 1.0, True)
    all_lossy = lossy + ba.QuantumJumps("c", efficiency=0.7)
    everything = Case(system(driven, **commuting, c=cubed, lost=0.7 * b), all_lossy, 2, 4, 2.0, 1.0, False)
    return cases, {"the three detectors, H(t)": mixed, "also efficiencies < 1, a channel unwatched": everything}


CASES, DRIVEN = _cases()


def slope(dts, errors):
    """Of log(error) against log(dt)."""
    return np.polyfit(np.log(dts), np.log(errors), 1)[0]


def without_symmetry(d, level):
    """A state for a kernel of this level, and its density matrix."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    if level == "ket":
        psi = X[0] / np.linalg.norm(X[0])
        return psi, np.outer(psi, psi.conj())
    rho = X @ X.conj().T / np.linalg.norm(X) ** 2
    return rho, rho


def weak_errors(case, scheme, level, dts):
    """Error per time of the average of one step: trace norm of (average − e^{𝓛dt})ρ over dt.

    Without counters and at constant H; others are for `given.weak_errors_of_records`.
    """
    lowered = case.system.lower()
    state, rho = without_symmetry(lowered.dim, level)
    out = []
    for dt in dts:
        average = average_step(lowered, case.unraveling, dt, state, case.nodes, case.steps, scheme, level)
        exact = exact_map(lowered, case.steps * dt, rho)
        out.append(abs(la.eigvalsh(average - exact)).sum() / (case.steps * dt))
    return np.array(out)


def strong_errors(case, scheme, level, counts, finer=8, same_path=True):
    """Root mean square distance (Frobenius/√2) between paths of `counts` steps and of `finer` times the most.

    The fine paths are simulated; the coarse ones are conditioned on their records, one bin per step.
    """
    n, looks = finer * max(counts), 8
    options = {"states": True, "level": level, "scheme": scheme, "progress": False, "step": case.duration}

    def simulated(seed):
        times = np.linspace(0, case.duration, n + 1)
        return ba.simulate(
            case.system, case.unraveling, times, PATHS, seed=seed, save_every=n // looks, max_memory="2 GiB", **options
        )

    fine = simulated(SEED)
    noise = fine if same_path else simulated(SEED + 1)
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the width of the bins: it is what is measured
        for count in counts:
            record = {"times": np.linspace(0, case.duration, count + 1)}
            for d in case.unraveling.detectors:
                if d.kind == "jumps":
                    ends = np.cumsum(noise[f"click_count_{d.name}"].values)[:-1]
                    record[f"click_time_{d.name}"] = np.split(noise[f"click_time_{d.name}"].values, ends)
                else:
                    current = noise[f"current_{d.name}"].values
                    record[f"current_{d.name}"] = current.reshape(PATHS, count, -1).mean(axis=2)
            coarse = ba.condition(
                case.system, case.unraveling, record, save_every=count // looks, max_error=np.inf, seed=0, **options
            )
            x, y = fine["state"].values[:, 1:], coarse["state"].values[:, 1:]
            if level == "ket":
                squares = 1 - abs(np.sum(x.conj() * y, axis=2)) ** 2
            else:
                squares = 0.5 * np.sum(abs(x - y) ** 2, axis=(2, 3))
            out.append(np.sqrt(np.mean(squares)))
    return np.array(out)
