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
from .langevin import langevin_plan
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Longest step, in units of the inverse rate of the linearised equations where they start.
FRACTION = 0.05


@dataclass(frozen=True)
class PreparedLangevin:
    """A run that is ready to start."""

    system: LangevinSystem
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: list[np.ndarray]
    per_trajectory: bool
    names: list[str]
    states: bool
    save_every: int
    recorded: bool = False

    def job(self, seed: int, ntraj: int) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, [(1.0, x) for x in self.start], self.per_trajectory, seed, ntraj, self.save_every, 0,
            len(self.names), self.states,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any]) -> xr.Dataset:
        """Labelled data of finished batches."""
        n = len(self.system.variables)
        attrs = {"level": "langevin", "step": max(r.plan.dt for r in self.runs), **attrs}
        saved = np.concatenate([b.expectations for b in batches])
        real = {name: not np.any(saved[:, i].imag) for i, name in enumerate(self.names)}
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
        rngs = [noise.generator(seed, k, noise.START) for k in range(ntraj if per_trajectory else 1)]
        start = [system.draw(rng) for rng in rngs]
    else:
        values = last_states(initial, "values") if hasattr(initial, "data_vars") else np.asarray(initial)
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
    bound = step if step is not None else FRACTION / max(_rate(system, start[0]), 1e-300)
    runs = [
        ensemble.Run(langevin_plan(system, functions, width, bound), first, n_bins, width)  # type: ignore[arg-type]
        for first, n_bins, width in stretches(edges)
    ]
    return PreparedLangevin(system, runs, edges, start, per_trajectory, list(functions), states, save_every)


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
        if not (name.isidentifier() and callable(function) and np.shape(function(x)) == (2,)):
            raise ValueError(
                f"Argument `observables[{name!r}]` must be a function from values (variables, trajectories) to "
                "(trajectories,), under an identifier."
            )
    return chosen


def _rate(system: LangevinSystem, x: np.ndarray) -> float:
    """Bound of the rates of the linearised equations: the largest response of the drift to a small change of all x."""
    rng = np.random.default_rng(0)
    kicks = rng.normal(size=(len(x), 8)) / len(x) ** 0.5
    size = 1e-6 * max(1.0, float(abs(x).max()))
    base: np.ndarray = np.repeat(x[:, None], 8, axis=1).astype(system.dtype)
    change = (system.drift(base + size * kicks) - system.drift(base)) / size
    return float(np.max(np.linalg.norm(change, axis=0) / np.linalg.norm(kicks, axis=0)))
