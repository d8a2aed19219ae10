"""`simulate` for Langevin systems: from checked arguments to a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import check_size
from ..systems import LangevinSystem
from . import ensemble, noise
from .arguments import check_continues, check_run, count, last_states, stretches
from .heun import longest_step, warn_of_drift
from .langevin import langevin_plan, spread
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Starts, and displacements of each by noise, that the default step looks at.
STARTS, KICKS = 4, 8


@dataclass(frozen=True)
class PreparedLangevin:
    """A run that is ready to start."""

    system: LangevinSystem
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: list[np.ndarray]
    per_trajectory: bool
    observables: dict[str, Callable]
    states: bool
    save_every: int
    recorded: bool = False

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.observables)

    def job(self, seed: int, ntraj: int) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, [(1.0, x) for x in self.start], self.per_trajectory, seed, ntraj, self.save_every, 0,
            len(self.observables), self.states,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any]) -> xr.Dataset:
        """Labelled data of finished batches."""
        n, dt = len(self.system.variables), max(r.plan.dt for r in self.runs)
        warn_of_drift(batches, dt)
        attrs = {"level": "langevin", "complete": 0, "step": dt, **attrs}
        x = np.stack(2 * [self.start[0]], axis=1)
        real = {name: not np.iscomplexobj(f(x)) for name, f in self.observables.items()}
        data = dataset(batches, self.edges, self.save_every, (), (), real, "expect", self.states, n, True, [], attrs)
        for name in self.names:
            data[f"expect_{name}"].attrs = {"long_name": f"{name} on the path", "conditioned_on": "nothing"}
        if self.states:
            data = data.rename(state="values", level="variable")
            if not self.system.complex_noise:
                data["values"] = data["values"].real
            names = ", ".join(self.system.variables)
            data["values"].attrs = {"long_name": "variables on the path", "variables": names}
        return data


def prepare_langevin(
    system: LangevinSystem,
    edges: np.ndarray,
    ntraj: int,
    *,
    seed: int,
    initial: Any,
    step: float | None,
    observables: Any,
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
) -> PreparedLangevin:
    """Check and plan."""
    save_every = count(save_every, "save_every")
    check_run(step, states, n_jobs)
    check_continues(initial, seed)
    functions = _observables(system, observables)
    n = len(system.variables)
    if initial is None:
        # a stream of its own, so that the noise does not depend on how starts are drawn
        per_trajectory = callable(system.initial)
        # as many as the step is chosen for: it must not depend on the number of trajectories
        rngs = [noise.generator(seed, k, noise.START) for k in range(max(ntraj, STARTS) if per_trajectory else 1)]
        start = [system.draw(rng) for rng in rngs]
    else:
        if hasattr(initial, "data_vars"):
            names = ", ".join(system.variables)
            if "values" in initial and initial["values"].attrs["variables"] != names:
                raise ValueError(
                    f"Argument `initial` is a dataset of the variables {initial['values'].attrs['variables']}, but the "
                    f"system has {names}."
                )
            initial = last_states(initial, "values")
        values = np.asarray(initial)
        if np.iscomplexobj(values) and not system.complex_noise:
            raise ValueError("Argument `initial` must be real for a system of real variables, but is complex.")
        if values.shape not in ((n,), (ntraj, n)) or not np.all(np.isfinite(values)):
            raise ValueError(
                f"Argument `initial` must be a dataset with values, or finite values of the {n} variables, ({n},) or "
                f"({ntraj}, {n}), but has shape {values.shape}."
            )
        per_trajectory = values.ndim == 2
        start = list(np.atleast_2d(values).astype(system.dtype))
    n_saved = (len(edges) - 1) // save_every + 1
    size = 16.0 * ntraj * n_saved * (len(functions) + states * n)
    check_size(size, max_memory)
    bound = step if step is not None else default_step(system, start[:STARTS], edges)
    runs = [
        ensemble.Run(langevin_plan(system, functions, width, bound), first, n_bins, width)
        for first, n_bins, width in stretches(edges)
    ]
    return PreparedLangevin(system, runs, edges, start[:ntraj], per_trajectory, functions, states, save_every)


def _observables(system: LangevinSystem, observables: Any) -> dict[str, Callable]:
    if isinstance(observables, str):
        raise ValueError(f"Argument `observables` must be a sequence of names, but is the string {observables!r}.")
    if isinstance(observables, Mapping):
        chosen = dict(observables)
    else:
        unknown = [name for name in observables if name not in system.observables]
        if unknown:
            raise ValueError(
                f"Argument `observables` must hold names of {sorted(system.observables)}, or map names to functions, "
                f"but has {unknown}."
            )
        chosen = {name: system.observables[name] for name in observables}
    x = np.repeat(system.draw(np.random.default_rng(0))[:, None], 2, axis=1)
    for name, function in chosen.items():
        if not (isinstance(name, str) and name.isidentifier() and callable(function) and np.shape(function(x)) == (2,)):
            raise ValueError(
                f"Argument `observables[{name!r}]` must be a function from values (variables, trajectories) to "
                "(trajectories,), under an identifier."
            )
    return chosen


def default_step(system: LangevinSystem, starts: list[np.ndarray], edges: np.ndarray) -> float:
    """A step that is short against the rates of drift and diffusion, linearised about some starts.

    Rates are responses to small changes, at the starts and where drift and noise may take them soon.
    """
    rng = np.random.default_rng(0)
    n, wide = len(starts[0]), float(np.diff(edges).max())
    x: np.ndarray = np.repeat(np.stack(starts, axis=1).astype(system.dtype), KICKS, axis=1)
    plan = langevin_plan(system, {}, wide, wide)
    rate = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(3):
            kick = rng.normal(size=x.shape) / n**0.5
            w = rng.normal(size=(max(1, plan.noises), x.shape[1]))
            half = len(w) // 2
            w = w[:half] + 1j * w[half:] if system.complex_noise and half else w
            drift, diffusion = system.drift(x), spread(plan, w, x)
            # in the units of x, whatever these are: of where it is, or of where a bin takes it
            scale = max(float(abs(y).max()) for y in (x, wide * drift, wide**0.5 * diffusion)) or 1.0
            change = 1e-6 * scale * kick
            size = np.linalg.norm(change, axis=0)
            fields = [(system.drift, 1)] + ([(system.diffusion, 2)] if callable(system.diffusion) else [])
            for function, power in fields:
                response = np.linalg.norm(function(x + change) - function(x), axis=0) / size
                rate = max(rate, float(np.max(response, initial=0.0, where=np.isfinite(response))) ** power)
            time = min(wide, 1 / rate) if rate > 0 else wide
            x = x + time * drift + time**0.5 * diffusion
    return longest_step(rate, rate, 0.0, float(edges[-1] - edges[0]))
