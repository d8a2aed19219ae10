"""What `simulate` and `condition` share: from checked arguments to plans, from finished batches to a dataset."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..memory import in_bytes
from ..systems import LoweredSystem, System
from ..unravelings import LocalOscillator, Unraveling
from . import ensemble
from .arguments import (
    check_continues,
    check_memory,
    check_run,
    count,
    initial_states,
    mixture,
    observable_matrices,
    stretches,
)
from .counting_plan import counting_plan, counts_only
from .drive import choose_step, driven_plan
from .feedback import Feedback, as_feedback, feedback_plan, short_step
from .levels import Density, Dicke, Ket, Level, Moments, PhaseSpace, as_level
from .plan import Roles, assign, density_plan, frequency, is_complete, ket_plan, measurements_commute
from .record import dataset
from .report import warn_of_limits
from .schemes import Scheme, as_scheme

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes
    ----------
    prefix : str
        Of observables in the record: ``expect`` or ``hidden``.
    complete : bool
        Does the record determine a pure state?
    """

    lowered: LoweredSystem
    unraveling: Unraveling
    roles: Roles
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: list[tuple[float, np.ndarray]]
    per_trajectory: bool
    operators: dict[str, sp.csr_array]
    states: bool
    save_every: int
    is_ket: bool
    complete: bool
    prefix: str
    step_asked: float | None
    scheme: Scheme
    given: bool
    feedback: tuple[Feedback, ...]
    precision: str = "double"

    @property
    def step(self) -> float:
        """The longest internal step."""
        return max(r.plan.dt for r in self.runs)

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.operators)

    @property
    def recorded(self) -> bool:
        """Is there a record?"""
        return bool(self.roles.currents or self.roles.counters)

    @cached_property
    def strong_order(self) -> float:
        """Strong order of the scheme on this system: 1 if all that is measured commutes, else 1/2.

        The increment of a step does not say in what order two operators acted that do not commute, nor what part of it
        came before a click.
        """
        lowered = self.lowered
        if lowered.time_dependent:  # at some values of the coefficients, so that every term counts
            values = np.random.default_rng(0).normal(size=(len(lowered.coefficients), 2)) @ [1, 1j]
            lowered = replace(lowered, H_terms=()).frozen(values)
        if not measurements_commute(assign(lowered, self.unraveling, hidden=self.is_ket), self.is_ket):
            return 0.5
        return self.scheme.strong_order

    def rebinned(self, edges: np.ndarray, save_every: int) -> Prepared:
        """The same system and detectors on other bins, with states and nothing else saved."""
        runs = plan_runs(
            self.lowered,
            self.unraveling,
            self.roles,
            [],
            edges,
            self.step_asked,
            self.scheme,
            self.is_ket,
            self.given,
            self.feedback,
            self.precision,
        )
        return replace(self, runs=runs, edges=edges, operators={}, states=True, save_every=save_every)

    def with_step(self, step: float) -> Prepared:
        """The same run with another upper bound of the internal step."""
        matrices = list(self.operators.values())
        runs = plan_runs(
            self.lowered, self.unraveling, self.roles, matrices, self.edges, step, self.scheme, self.is_ket, self.given,
            self.feedback, self.precision,
        )  # fmt: skip
        return replace(self, runs=runs, step_asked=step)

    def job(self, seed: int, ntraj: int, given: ensemble.Given | None = None) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, self.start, self.per_trajectory, seed, ntraj, self.save_every,
            len(self.roles.currents), len(self.operators), self.states, given,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any], records: bool = True) -> xr.Dataset:
        """Labelled data of finished batches; warns of populated edges and coarse steps."""
        edge_names = list(self.lowered.basis.edges)
        first = self.lowered.at(self.edges[0]) if self.lowered.time_dependent else self.lowered
        turn = self.step * frequency(first, assign(first, self.unraveling, self.is_ket))
        warn_of_limits(batches, edge_names, bool(self.roles.diffusive), self.step, turn)
        hermitian = {name: abs(O - O.conj().T).max() <= 1e-10 * abs(O).max() for name, O in self.operators.items()}
        attrs = {
            "level": "ket" if self.is_ket else "density",
            "complete": int(self.complete),
            "step": self.step,
            "scheme": repr(self.scheme),
            **({"strong_order": self.strong_order} if self.roles.diffusive else {}),
            **attrs,
        }
        return dataset(
            batches, self.edges, self.save_every, self.roles.currents if records else (),
            self.roles.counters if records else (), hermitian, self.prefix, self.states, self.lowered.dim, self.is_ket,
            edge_names, attrs,
        )  # fmt: skip


def check_system(system: Any, unraveling: Any) -> Unraveling:
    """The unraveling (empty for None), checked against the system."""
    if not isinstance(system, System):
        raise ValueError(f"Argument `system` must be a backaction System, but is {type(system).__name__}.")
    if unraveling is None:
        unraveling = Unraveling()
    if not isinstance(unraveling, Unraveling):
        raise ValueError(
            f'Argument `unraveling` must be an Unraveling like ba.Heterodyne("loss"), or None, but is {unraveling!r}.'
        )
    unraveling.check(system.outputs)
    return unraveling


def prepare(
    system: System,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    *,
    initial: Any,
    level: Level | str,
    step: float | None,
    scheme: Any,
    observables: Sequence[str] | Mapping[str, Any],
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
    given: bool = False,
    feedback: Any = None,
    continues_seed: int | None = None,
) -> Prepared:
    """Check, choose the level, lower, plan.

    `given`: the record is given, so that no detector may be hidden and nothing is drawn.
    `continues_seed`: seed that an earlier dataset passed as `initial` must not have.
    """
    save_every = count(save_every, "save_every")
    check_run(step, states, n_jobs)
    limit = in_bytes(max_memory)
    chosen = as_level(level)
    if isinstance(chosen, Moments):
        raise ValueError("Argument `level`: moments are for `simulate` and `condition`; choose ba.Density().")
    if isinstance(chosen, Dicke):
        raise ValueError("Argument `level`: Dicke sectors are for `simulate`; choose ba.Density() or ba.Moments().")
    if isinstance(chosen, PhaseSpace):
        raise ValueError("Argument `level`: phase space is for `simulate`; choose ba.Density() or ba.Moments().")
    scheme = as_scheme(scheme)

    lowered = system.lower(chosen.basis if chosen else None)
    operators = observable_matrices(lowered, observables)
    start, per_trajectory = initial_states(lowered, initial, ntraj)
    knows_hidden = False
    if hasattr(initial, "data_vars"):
        check_continues(initial, continues_seed)
        knows_hidden = initial.attrs.get("level") == "ket" and not initial.attrs.get("complete", 1)
    pure = all(state.ndim == 1 for state in start)
    complete = is_complete(lowered, unraveling) and pure and not knows_hidden
    hidden = any(not d.recorded for d in unraveling.detectors)
    if chosen is None:
        mixed_each = per_trajectory and not pure  # kets cannot be drawn from as many mixtures as there are trajectories
        needs_density = given or bool(operators or states or mixed_each)
        chosen = Ket() if complete or (hidden and not given) or not needs_density else Density()
    is_ket = isinstance(chosen, Ket)
    if given and is_ket and not complete:
        raise ValueError(
            "Argument `level` must be \"density\" where the record does not determine a pure state, but is 'ket'."
        )
    roles = assign(lowered, unraveling, hidden=is_ket, keep_empty=lowered.time_dependent)
    check_bins(unraveling, edges)
    check_memory(lowered, roles, chosen, edges, ntraj, save_every, len(operators), states, n_jobs, limit)
    matrices = list(operators.values())
    loops = as_feedback(feedback)
    precision = chosen.precision if isinstance(chosen, Ket) else "double"
    runs = plan_runs(lowered, unraveling, roles, matrices, edges, step, scheme, is_ket, given, loops, precision)
    return Prepared(
        lowered, unraveling, roles, runs, edges, mixture(start, is_ket, per_trajectory), per_trajectory, operators,
        states, save_every, is_ket, complete, "hidden" if knows_hidden or (is_ket and not complete) else "expect", step,
        scheme, given, loops, precision,
    )  # fmt: skip


def check_bins(unraveling: Unraveling, edges: np.ndarray) -> None:
    """Bins must be short against the period of a local oscillator: a bin's average weakens the signal at ω by sinc."""
    widest = float(np.diff(edges).max())
    for d in unraveling.detectors:
        if not isinstance(d.phase, LocalOscillator) or not d.recorded:
            continue
        turn = abs(d.phase.frequency) * widest
        if turn > math.pi:
            raise ValueError(
                f"Argument `times` has bins of {widest:.3g}, too wide for the local oscillator of {d.name}: it turns "
                f"by {turn:.3g} rad in one (at most π); use bins of {0.5 / abs(d.phase.frequency):.2g} or narrower."
            )
        if turn > 0.5:
            warnings.warn(
                f"The local oscillator of {d.name} turns by {turn:.2g} rad in a bin: its average weakens the signal by "
                f"a factor {np.sinc(turn / 2 / np.pi):.3f}. Bins of {0.5 / abs(d.phase.frequency):.2g} do not.",
                RuntimeWarning,
                stacklevel=4,
            )


def plan_runs(
    lowered: LoweredSystem,
    unraveling: Unraveling,
    roles: Roles,
    matrices: list[sp.csr_array],
    edges: np.ndarray,
    step: float | None,
    scheme: Scheme,
    is_ket: bool,
    given: bool,
    feedback: tuple[Feedback, ...] = (),
    precision: str = "double",
) -> list[ensemble.Run]:
    """A plan per width of bins; where something depends on time, per stretch of equal bins."""
    make = ket_plan if is_ket else density_plan
    counts = is_ket and counts_only(lowered, roles, precision, given or bool(feedback))
    runs: list[ensemble.Run] = []
    plans: dict[float, Any] = {}
    if len({width for _, _, width in stretches(edges)}) > 1 and any(loop.delay > 0 for loop in feedback):
        raise ValueError("Argument `times` must have bins of one width where feedback is delayed, but has several.")
    for first, n_bins, width in stretches(edges):
        bound, t0 = step, float(edges[first])
        if given and any(0 < loop.delay < 0.999 * width for loop in feedback):
            raise ValueError(
                f"Argument `record` must have bins no wider than the delay of the feedback, but has bins of {width:g}."
            )
        if given and any(loop.immediate for loop in feedback):
            # a sum spread over several steps would be fed back before, not after, half of its own measurement
            bound = width
        elif step is None and feedback:
            bound = short_step(feedback, lowered, choose_step(lowered, unraveling, roles, width, is_ket, t0, n_bins))
        if lowered.time_dependent or roles.rotating:
            plan, drive = driven_plan(lowered, unraveling, roles, matrices, width, bound, scheme, is_ket, t0, n_bins)
            loops = feedback_plan(feedback, lowered, roles, plan.dt)
            runs.append(ensemble.Run(plan._replace(given=given, loops=loops), first, n_bins, width, drive))
            continue
        if width not in plans and counts:
            plans[width] = counting_plan(lowered, roles, matrices, width, precision, bound)
        elif width not in plans:
            plan = make(lowered, roles, matrices, width, bound, scheme)
            loops = feedback_plan(feedback, lowered, roles, plan.dt)
            plans[width] = plan._replace(given=given, loops=loops)
        runs.append(ensemble.Run(plans[width], first, n_bins, width))
    return runs
