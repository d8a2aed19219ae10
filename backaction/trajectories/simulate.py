"""`simulate`: the one call from system and unraveling to a record."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..memory import in_bytes, text
from ..systems import LoweredSystem, System
from ..unravelings import Unraveling
from . import ensemble, noise
from .levels import Density, Ket, Level, as_level
from .plan import Roles, assign, density_plan, frequency, is_complete, ket_plan
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Mean probability of an event per step above which the step is called coarse.
COARSE = 0.15
#: The same for the angle by which H turns what is measured, in rad per step.
TURN = 0.5
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
        dataset with states (continues it; give another seed); or ``"steady"``, the unconditional steady state.
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
    observables : sequence of str, or mapping of str to operator
        Names from `system.observables`, or names of your own with operators; followed at the edges of the bins.
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
        Dims ``trajectory``, ``bin`` (centres; ``bin_width``), ``time`` (edges).
        ``current_<channel>`` (trajectory, bin): bin averages of ``I dt = √η⟨L⟩dt + (dW_x + i dW_y)/√2``
        (heterodyne, complex) or ``I dt = √η⟨e^{−iφ}L + h.c.⟩dt + dW`` (homodyne, real).
        ``counts_<channel>`` (trajectory, bin), ``click_time_<channel>`` and ``click_count_<channel>``: clicks in
        CF's contiguous ragged form.  ``expect_<observable>`` (trajectory, time), or ``hidden_<observable>`` where
        the state also knows what hidden detectors saw.  ``state`` if asked for.
        ``edge_population`` (trajectory, edge), for symbolic systems.

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
    if not isinstance(states, (bool, np.bool_)):
        raise ValueError(f"Argument `states` must be True or False, but is {states!r}.")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"Argument `n_jobs` must be a non-zero integer (−1 for all cores), but is {n_jobs!r}.")
    limit = in_bytes(max_memory)
    seed_used = noise.entropy(seed)
    chosen = as_level(level)

    # === lower
    lowered = system.lower(chosen.basis if chosen else None)
    operators = _observables(lowered, observables)
    start, per_trajectory = _initial(lowered, initial, ntraj)
    knows_hidden = False
    if hasattr(initial, "data_vars"):
        if initial.attrs.get("seed") == str(seed_used):
            raise ValueError(
                f"Argument `seed` must differ from that of the run which `initial` continues, but is {seed!r} again: "
                "the noise would repeat. Pass another seed, or None."
            )
        knows_hidden = initial.attrs.get("level") == "ket" and not initial.attrs.get("complete", 1)
    pure = all(state.ndim == 1 for state in start)
    complete = is_complete(lowered, unraveling) and pure and not knows_hidden
    hidden = any(not d.recorded for d in unraveling.detectors)
    if chosen is None:
        mixed_each = per_trajectory and not pure  # kets cannot be drawn from as many mixtures as there are trajectories
        needs_density = bool(operators or states or mixed_each)
        chosen = Ket() if complete or hidden or not needs_density else Density()
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
    dt = max(r.plan.dt for r in runs)
    edge_names = list(lowered.basis.edges)
    _warn(batches, edge_names, bool(roles.diffusive), dt, dt * frequency(lowered, roles))
    hermitian = {name: abs(O - O.conj().T).max() <= 1e-10 * abs(O).max() for name, O in operators.items()}
    attrs = {
        "title": f"{system.name} monitored by {unraveling!r}",
        "level": "ket" if is_ket else "density",
        "complete": int(complete),
        "interrupted": int(interrupted),
        "step": dt,
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
    prefix = "hidden" if knows_hidden or (is_ket and not complete) else "expect"
    return dataset(
        batches, edges, save_every, roles.currents, roles.counters, hermitian, prefix, states, lowered.dim,
        is_ket, edge_names, attrs,
    )  # fmt: skip


def _times(times: Any) -> np.ndarray:
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
                f"Argument `max_memory` is {text(limit)}, but density matrices of dimension {d} need {text(plan)}. Ask "
                "for records only (no `observables`, no `states`), watch every channel, shrink the basis, use fewer "
                f'`n_jobs`, or pass max_memory="{text(1.2 * plan)}".'
            )
    size = (d if isinstance(level, Ket) else d * d) if states else 0
    result = ntraj * (n_bins * (16.0 * len(roles.currents) + 8.0 * len(roles.counters)))
    result += 16.0 * ntraj * n_saved * (n_observables + size)
    if result > limit:
        raise ValueError(
            f"Argument `max_memory` is {text(limit)}, but the result needs {text(result)}. Use `save_every`, fewer "
            f'trajectories or wider bins, drop `states`, or pass max_memory="{text(1.2 * result)}".'
        )


def _warn(batches: list[ensemble.Batch], edge_names: list[str], diffusive: bool, dt: float, turn: float) -> None:
    hazard = float(np.mean(np.concatenate([b.hazard for b in batches])))
    if diffusive and (hazard > COARSE or turn > TURN):
        better = dt / 3 * min(COARSE / hazard if hazard else math.inf, TURN / turn if turn else math.inf)
        warnings.warn(
            f"The step {dt:.3g} is coarse: {hazard:.2g} events per step; H turns what is measured by {turn:.2g} rad. "
            f"Pass step={better:.2g} or less.",
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


def _axis(edges: np.ndarray) -> Any:
    """The edges as numpy.linspace makes them, or all of them."""
    uniform = np.array_equal(edges, np.linspace(edges[0], edges[-1], len(edges)))
    return {"linspace": [edges[0], edges[-1], len(edges)]} if uniform else edges.tolist()


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
            "times": _axis(edges),
            "ntraj": ntraj,
            "seed": seed,
            "level": str(level),
            "step": step,
            "observables": observables,
            "states": states,
            "save_every": save_every,
            "initial": initial if initial is None or isinstance(initial, str) else repr(initial)[:2000],
            "versions": versions,
        },
        default=str,
    )
