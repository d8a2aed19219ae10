"""`simulate`: the one call from system and unraveling to a record."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..systems import LoweredSystem, System
from ..unravelings import Unraveling
from . import ensemble, noise
from .levels import Density, Ket, Level, as_level
from .plan import Roles, assign, density_plan, is_complete, ket_plan
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Mean probability of an event per step above which the step is called coarse.
COARSE = 0.15
#: Mean population of a cut-off edge above which it is reported.
EDGE = 2e-3


def simulate(
    system: System,
    unraveling: Unraveling | None,
    times: Any,
    ntraj: int = 1,
    *,
    initial: Any = None,
    seed: int | None = None,
    level: Level | str = "auto",
    step: float | None = None,
    observables: Sequence[str] | Mapping[str, Any] = (),
    states: bool = False,
    save_every: int = 1,
    n_jobs: int = 1,
    max_memory: str | float = "1 GiB",
    progress: bool = True,
) -> xr.Dataset:
    """Simulate monitored runs: ``dρ = 𝓛ρ dt + backaction of what the detectors saw``.

    Parameters
    ----------
    system : System
        What evolves.
    unraveling : Unraveling or None
        What is watched, e.g. ``ba.Heterodyne("loss_a") + ba.QuantumJumps("loss_b")``; None: nothing is.
    times : array, (n_bins + 1,)
        Increasing edges of the bins ``[t_k, t_{k+1})`` over which currents are averaged.
    ntraj : int
        Number of trajectories.
    initial : optional
        None (the system's default, else every site in its ground state); ``{"a": ba.coherent(1)}``; a Qobj or
        array ((d,) ket, (d, d) density matrix); an array per trajectory, (ntraj, d) or (ntraj, d, d); an earlier
        dataset with states (continues it); or ``"steady"``, the unconditional steady state.
    seed : int, optional
        Trajectory k depends on (seed, k) only: more trajectories extend an ensemble.

    Other Parameters
    ----------------
    level : {"auto", "ket", "density"} or Ket or Density
        "auto": complete monitoring → state vectors; only records asked for → state vectors with hidden
        detectors; otherwise conditional density matrices.
    step : float, optional
        Upper bound of the internal step, which divides the bins; chosen from the rates if None.  Runs with
        counters only have no step error: leave it unset there.
    observables : sequence of str or mapping of str to operator
        Names from `system.observables`, or operators, followed at the edges of the bins.
    states : bool
        Keep the states, too.
    save_every : int
        Keep observables and states at every `save_every`-th edge.
    n_jobs : int
        Threads (or joblib workers under ``joblib.parallel_config``); −1 for all cores.
    max_memory : str or float
        Refuse a plan or result above this, in bytes or as "2 GiB".
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        Dims ``trajectory``, ``bin`` (centres), ``time`` (edges).  ``current_<channel>`` (trajectory, bin): bin
        averages of ``I dt = √η⟨L⟩dt + (dW_x + i dW_y)/√2`` (heterodyne, complex) or
        ``I dt = √η⟨e^{−iφ}L + h.c.⟩dt + dW`` (homodyne, real).  ``counts_<channel>`` (trajectory, bin),
        ``click_time_<channel>`` and ``click_count_<channel>``: clicks in CF's contiguous ragged form.
        ``expect_<observable>`` (trajectory, time), or ``hidden_<observable>`` where the state vector also knows
        what hidden detectors saw.  ``state`` if asked for.  ``edge_population`` (trajectory, edge).

    Raises
    ------
    ValueError
        For arguments that do not fit; the message names the argument, what it was, and what to do.
    FloatingPointError
        If a state is lost to a step that is far too coarse.

    Warns
    -----
    RuntimeWarning
        If the step is too coarse or an edge of the basis is populated.

    Notes
    -----
    Wiseman and Milburn, *Quantum Measurement and Control*, chapter 4; [T] (3.11)–(3.15).  The scheme is a
    symmetric splitting of weak order 2; see the documentation's page on accuracy.
    """
    # === check arguments
    if not isinstance(system, System):
        raise ValueError(f"Argument `system` must be a backaction System, but is {type(system).__name__}.")
    if unraveling is None:
        unraveling = Unraveling()
    if not isinstance(unraveling, Unraveling):
        raise ValueError(
            f'Argument `unraveling` must be an Unraveling like ba.Heterodyne("loss"), or None, but is {unraveling!r}.'
        )
    unraveling.check(system.channels)
    edges = _times(times)
    ntraj = _count(ntraj, "ntraj")
    save_every = _count(save_every, "save_every")
    if step is not None and not (isinstance(step, Real) and 0 < step < math.inf):
        raise ValueError(f"Argument `step` must be a positive time or None, but is {step!r}.")
    if not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"Argument `n_jobs` must be a non-zero integer (−1 for all cores), but is {n_jobs!r}.")
    limit = _bytes(max_memory)
    seed_used = noise.entropy(seed)
    chosen = as_level(level)

    # === lower
    lowered = system.lower(chosen.basis if chosen else None)
    operators = _observables(lowered, observables)
    start, per_trajectory = _initial(lowered, initial, ntraj)
    pure = all(state.ndim == 1 for state in start)
    complete = is_complete(lowered, unraveling) and pure
    hidden = any(not d.recorded for d in unraveling.detectors)
    if chosen is None:
        chosen = Ket() if complete or hidden or not (operators or states) else Density()
    is_ket = isinstance(chosen, Ket)
    roles = assign(lowered, unraveling, hidden=is_ket)
    if not (operators or states or roles.currents or roles.counters):
        raise ValueError("Argument `unraveling` records nothing and no `observables` or `states` are asked for.")
    _check_memory(lowered, roles, chosen, edges, ntraj, save_every, len(operators), states, n_jobs, limit)
    matrices = list(operators.values())
    make = ket_plan if is_ket else density_plan
    runs, plans = [], {}
    for first, n_bins, width in _runs(edges):
        if width not in plans:
            plans[width] = make(lowered, roles, matrices, width, step)
        runs.append(ensemble.Run(plans[width], first, n_bins, width))
    job = ensemble.Job(
        runs, edges, _mixture(start, is_ket, per_trajectory), per_trajectory, seed_used, ntraj, save_every,
        len(roles.currents), len(matrices), states,
    )  # fmt: skip

    # === run
    batches, interrupted = ensemble.run(job, int(n_jobs), progress)

    # === collect
    edge_names = list(lowered.basis.edges)
    _warn(batches, edge_names, bool(roles.diffusive), runs)
    hermitian = {name: abs(O - O.conj().T).max() < 1e-12 for name, O in operators.items()}
    attrs = {
        "title": f"{system.name} monitored by {unraveling!r}",
        "level": "ket" if is_ket else "density",
        "complete": int(complete),
        "interrupted": int(interrupted),
        "step": runs[0].plan.dt,
        "seed": str(seed_used),
        "recipe": _recipe(
            system,
            unraveling,
            edges,
            ntraj,
            seed_used,
            level,
            step,
            list(operators),
            states,
            save_every,
            initial,
        ),
    }
    prefix = "expect" if complete or not is_ket else "hidden"
    return dataset(
        batches, edges, save_every, roles.currents, roles.counters, hermitian, prefix, states, lowered.dim,
        is_ket, edge_names, attrs,
    )  # fmt: skip


def _times(times: Any) -> np.ndarray:
    try:
        edges = np.asarray(times, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Argument `times` must hold real numbers, but is {times!r}.") from error
    if edges.ndim != 1 or len(edges) < 2:
        raise ValueError(
            f"Argument `times` must hold at least two bin edges in one dimension, but has shape {edges.shape}."
        )
    if not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
        raise ValueError("Argument `times` must increase strictly and be finite; sort it and drop repeated edges.")
    return edges


def _runs(edges: np.ndarray) -> list[tuple[int, int, float]]:
    """(first bin, number of bins, width) of stretches of equal bins; equal up to the rounding of the edges."""
    widths = np.diff(edges)
    rounding = 4 * np.spacing(np.abs(edges).max())
    out: list[tuple[int, int, float]] = []
    known: list[float] = []
    first = 0
    for i in range(1, len(widths) + 1):
        if i == len(widths) or abs(widths[i] - widths[first]) > 2 * rounding:
            mean = float((edges[i] - edges[first]) / (i - first))
            width = next((w for w in known if abs(w - mean) <= 2 * rounding), mean)
            known.append(width)
            out.append((first, i - first, width))
            first = i
    return out


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Argument `{name}` must be an integer >= 1, but is {value!r}.")
    return int(value)


_UNITS = {
    "": 1,
    "B": 1,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def _bytes(value: str | float) -> float:
    if isinstance(value, Real) and value > 0:
        return float(value)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", str(value))
    if not match or match[2].upper() not in _UNITS:
        raise ValueError(f'Argument `max_memory` must be a number of bytes or like "2 GiB", but is {value!r}.')
    return float(match[1]) * _UNITS[match[2].upper()]


def _observables(lowered: LoweredSystem, observables: Any) -> dict[str, sp.csr_array]:
    if isinstance(observables, str):
        observables = (observables,)
    if isinstance(observables, Mapping):
        for name in observables:
            if not (isinstance(name, str) and name.isidentifier()):
                raise ValueError(f"Argument `observables` must have identifiers as names, but has {name!r}.")
        return {k: lowered.operator(v, f"observables[{k!r}]") for k, v in observables.items()}
    try:
        observables = list(observables)
    except TypeError as error:
        raise ValueError(f"Argument `observables` must be names or a mapping, but is {observables!r}.") from error
    for name in observables:
        if not isinstance(name, str) or name not in lowered.observables:
            raise ValueError(
                f"Argument `observables` must name the system's observables {sorted(lowered.observables)} or map "
                f"names to operators, but has {name!r}."
            )
    return {name: lowered.observables[name] for name in observables}


def _initial(lowered: LoweredSystem, initial: Any, ntraj: int) -> tuple[list[np.ndarray], bool]:
    """States to start from and whether there is one per trajectory."""
    if isinstance(initial, str):
        if initial != "steady":
            raise ValueError(f'Argument `initial` must be "steady" if it is a string, but is {initial!r}.')
        from ..systems.unconditional import steady_state

        return [steady_state(lowered)], False
    d = lowered.dim
    if hasattr(initial, "data_vars"):
        states = _last_states(initial)
        many = True
    else:
        states = initial if isinstance(initial, np.ndarray) else np.empty(0)
        # (ntraj, d) rows of norm 1 against (d, d), whose squared elements add to at most 1
        rows = states.ndim == 2 and states.shape[1] == d and np.allclose(np.linalg.norm(states, axis=1), 1.0, atol=1e-6)
        many = states.ndim == 3 or (
            states.ndim == 2 and states.shape[1] == d and (len(states) != d or (rows and ntraj == d))
        )
    if many:
        if len(states) != ntraj:
            raise ValueError(f"Argument `initial` holds {len(states)} states, but `ntraj` is {ntraj}.")
        return [lowered.state(a) for a in states], True
    return [lowered.state(initial)], False


def _last_states(data: Any) -> np.ndarray:
    """States at the end of an earlier run."""
    if "state" not in data:
        raise ValueError("Argument `initial` is a dataset without states; run it with `states=True` to continue it.")
    end = float(data["bin"][-1] + data["bin_width"][-1] / 2)
    if abs(float(data["time"][-1]) - end) > 1e-9 * max(1.0, abs(end)):
        raise ValueError(
            f"Argument `initial` is a dataset whose last state is at {float(data['time'][-1]):g}, but it ends at "
            f"{end:g}; choose `save_every` so that the last edge is saved."
        )
    return data["state"].isel(time=-1).values


def _mixture(start: list[np.ndarray], is_ket: bool, per_trajectory: bool) -> list[tuple[float, np.ndarray]]:
    if not is_ket:
        return [(1.0, s if s.ndim == 2 else np.outer(s, s.conj())) for s in start]
    if per_trajectory:
        if any(s.ndim == 2 for s in start):
            raise ValueError(
                "Argument `initial` must hold kets, one per trajectory, at level 'ket', but holds matrices."
            )
        return [(1.0, s) for s in start]
    if start[0].ndim == 1:
        return [(1.0, start[0])]
    p, vectors = np.linalg.eigh(start[0])
    return [(float(w), vectors[:, i]) for i, w in enumerate(p) if w > 1e-14]


def _check_memory(
    lowered: LoweredSystem,
    roles: Roles,
    level: Level,
    edges: np.ndarray,
    ntraj: int,
    save_every: int,
    n_observables: int,
    states: bool,
    n_jobs: int,
    limit: float,
) -> None:
    d, n_bins = lowered.dim, len(edges) - 1
    n_saved = n_bins // save_every + 1
    threads = n_jobs if n_jobs > 0 else 8
    if isinstance(level, Density):
        counting = bool(roles.counted) or not roles.diffusive
        plan = threads * d * d * (4 * 4 * 8 + (2 * 4 * 8 + 31 * 16 if counting else 0))
        if plan > limit:
            raise ValueError(
                f"Argument `max_memory` is {_size(limit)}, but density matrices of dimension {d} need {_size(plan)}. "
                "Ask "
                "for records only (no `observables`, no `states`), watch every channel, shrink the basis, use fewer "
                f'`n_jobs`, or pass max_memory="{_size(1.2 * plan)}".'
            )
    size = (d if isinstance(level, Ket) else d * d) if states else 0
    result = 16.0 * ntraj * (n_bins * len(roles.currents) + n_saved * (n_observables + size))
    if result > limit:
        raise ValueError(
            f"Argument `max_memory` is {_size(limit)}, but the result needs {_size(result)}. Use `save_every`, fewer "
            f'trajectories or wider bins, drop `states`, or pass max_memory="{_size(1.2 * result)}".'
        )


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.3g} {unit}"
        n /= 1024
    return f"{n:.3g} GiB"


def _warn(batches: list[ensemble.Batch], edge_names: list[str], diffusive: bool, runs: list[ensemble.Run]) -> None:
    hazard = float(np.mean(np.concatenate([b.hazard for b in batches])))
    if diffusive and hazard > COARSE:
        dt = max(r.plan.dt for r in runs)
        warnings.warn(
            f"The step {dt:.3g} is coarse: {hazard:.2g} events per step. "
            f"Pass step={dt * COARSE / 3 / hazard:.2g} or less.",
            RuntimeWarning,
            stacklevel=3,
        )
    populations = np.concatenate([b.edges for b in batches]).mean(axis=0)
    for name, population in zip(edge_names, populations, strict=True):
        if population > EDGE:
            warnings.warn(
                f"The basis' edge {name!r} holds {population:.2g} of the population: raise its levels "
                "(`levels=` of the model, or level=ba.Ket(basis=ba.Basis(levels=...))).",
                RuntimeWarning,
                stacklevel=3,
            )


def _recipe(
    system: System,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    seed: int,
    level: Any,
    step: float | None,
    observables: list[str],
    states: bool,
    save_every: int,
    initial: Any,
) -> str:
    versions = {}
    for package in ("backaction", "numpy", "scipy", "numba"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return json.dumps(
        {
            "system": {"name": system.name, "parameters": dict(system.parameters)},
            "unraveling": repr(unraveling),
            "times": {"first": edges[0], "last": edges[-1], "edges": len(edges)},
            "ntraj": ntraj,
            "seed": seed,
            "level": str(level),
            "step": step,
            "observables": observables,
            "states": states,
            "save_every": save_every,
            "initial": None if initial is None else str(type(initial).__name__),
            "versions": versions,
        },
        default=str,
    )
