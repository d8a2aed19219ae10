"""Arguments of `simulate` and `condition`: checked where they enter, turned into what plans and ensembles take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..memory import check_size, text
from ..systems import LoweredSystem, Operator, System
from .levels import Density, Ket, Level
from .plan import Roles


def bin_edges(times: Any) -> np.ndarray:
    try:
        if np.iscomplexobj(times):
            raise TypeError("complex")
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


def stretches(edges: np.ndarray) -> list[tuple[int, int, float]]:
    """(first bin, number of bins, width) of stretches of equal bins; equal up to the rounding of the edges."""
    widths = np.diff(edges)
    rounding = 4 * np.spacing(np.abs(edges).max())
    out: list[tuple[int, int, float]] = []
    known: list[float] = []
    first = 0
    for i in range(1, len(widths) + 1):
        if i == len(widths) or abs(widths[i] - widths[first]) > 2 * rounding:
            mean = float((edges[i] - edges[first]) / (i - first))
            # n of them end where the stretch does
            width = next((w for w in known if abs(w - mean) <= 2 * rounding / (i - first)), mean)
            known.append(width)
            out.append((first, i - first, width))
            first = i
    return out


def inside_run(clicks: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Times of clicks, none after the end of the last slot, which is the last edge up to rounding."""
    return np.minimum(clicks, edges[-1] - 32 * np.spacing(np.abs(edges).max()))


def count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Argument `{name}` must be an integer >= 1, but is {value!r}.")
    return int(value)


def check_run(step: Any, states: Any, n_jobs: Any) -> None:
    """Raise ValueError for a `step`, `states` or `n_jobs` that no level takes."""
    if step is not None and not (isinstance(step, Real) and 0 < float(step) < math.inf):
        raise ValueError(f"Argument `step` must be a positive time or None, but is {step!r}.")
    if not isinstance(states, (bool, np.bool_)):
        raise ValueError(f"Argument `states` must be True or False, but is {states!r}.")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"Argument `n_jobs` must be a non-zero integer (−1 for all cores), but is {n_jobs!r}.")


def refuse(what: str, /, **arguments: Any) -> None:
    """Raise ValueError for an argument that does not go with a level."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"Argument `{name}` does not go with {what}; leave it out, or choose another level.")


def symbolic_observables(system: System, observables: Any) -> dict[str, Operator]:
    """Observables of a symbolic system, by name, for the levels that know no matrices."""
    if isinstance(observables, Mapping):
        named: Mapping[str, Any] = observables
    else:
        names = [observables] if isinstance(observables, str) else list(observables)
        for name in names:
            if name not in system.observables:
                raise ValueError(
                    f"Argument `observables` must name the system's observables {sorted(system.observables)} or map "
                    f"names to operators, but has {name!r}."
                )
        named = {name: system.observables[name] for name in names}
    for name, O in named.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"Argument `observables` must have identifiers as names, but has {name!r}.")
        if not isinstance(O, Operator):
            raise ValueError(
                f"Argument `observables[{name!r}]` must be a symbolic operator at this level, but is "
                f"{type(O).__name__}."
            )
        foreign = [s for s in O.sites if s not in system.sites]
        if foreign:
            raise ValueError(
                f"Argument `observables[{name!r}]` must be of the system's sites {[s.name for s in system.sites]}, but "
                f"has {foreign[0]!r}."
            )
    return dict(named)


def observable_matrices(lowered: LoweredSystem, observables: Any) -> dict[str, sp.csr_array]:
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


def initial_states(lowered: LoweredSystem, initial: Any, ntraj: int) -> tuple[list[np.ndarray], bool]:
    """States to start from and whether there is one per trajectory."""
    if isinstance(initial, str):
        if initial != "steady":
            raise ValueError(f'Argument `initial` must be "steady" if it is a string, but is {initial!r}.')
        from ..systems.unconditional import steady_state

        return [steady_state(lowered)], False
    d = lowered.dim
    if hasattr(initial, "data_vars"):
        states = last_states(initial)
        many = True
    else:
        if isinstance(initial, (list, tuple)) and len(initial) and hasattr(initial[0], "data_as"):
            raise ValueError("Argument `initial`: stack the states into one array, (ntraj, d) or (ntraj, d, d).")
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


def check_continues(initial: Any, seed: int | None) -> None:
    """Raise ValueError if an earlier dataset would be continued with its own noise."""
    if hasattr(initial, "data_vars") and seed is not None and initial.attrs.get("seed") == str(seed):
        raise ValueError(
            f"Argument `seed` must differ from that of the run which `initial` continues, but is {seed} again: the "
            "noise would repeat. Pass another seed, or None."
        )


def last_states(data: Any, name: str = "state") -> np.ndarray:
    """States, or moments, at the end of an earlier run."""
    if name not in data:
        raise ValueError("Argument `initial` is a dataset without states; run it with `states=True` to continue it.")
    width = float(data["bin_width"][-1])
    end = float(data["bin"][-1]) + width / 2
    if abs(float(data["time"][-1]) - end) > max(1e-6 * width, 8 * np.spacing(abs(end))):
        raise ValueError(
            f"Argument `initial` is a dataset whose last state is at {float(data['time'][-1]):g}, but it ends at "
            f"{end:g}; choose `save_every` so that the last edge is saved."
        )
    return data[name].isel(time=-1).values


def mixture(start: list[np.ndarray], is_ket: bool, per_trajectory: bool) -> list[tuple[float, np.ndarray]]:
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


def check_memory(
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
                f"Argument `max_memory` is {text(limit)}, but density matrices of dimension {d} need {text(plan)}. Ask "
                "for records only (no `observables`, no `states`), watch every channel, shrink the basis, use fewer "
                f'`n_jobs`, or pass max_memory="{text(1.2 * plan)}".'
            )
    size = (d if isinstance(level, Ket) else d * d) if states else 0
    result = ntraj * (n_bins * (16.0 * len(roles.currents) + 8.0 * len(roles.counters)))
    result += 16.0 * ntraj * n_saved * (n_observables + size)
    check_size(result, limit, more=", no `states`")
