"""`simulate` and `condition` for means and covariances: from checked arguments to a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import check_size
from ..systems import System
from ..systems.moment_states import Flow
from ..systems.moments import MomentEquations, Polynomial
from ..systems.system import check_site_states
from ..unravelings import Detector, LocalOscillator, Unraveling
from . import ensemble
from .arguments import check_continues, check_run, count, last_states, stretches, symbolic_observables
from .heun import longest_step
from .levels import Moments
from .moment_plan import moment_plan
from .preparation import check_bins
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Angle by which a local oscillator turns in the longest step.
TURN = 0.4
#: Bins of a given record, in units of that step, above which a warning is given.
WIDE = 2.0


@dataclass(frozen=True)
class PreparedMoments:
    """A run of moments that is ready to start.

    Attributes
    ----------
    detectors : tuple of Detector
        Those that measure.
    hidden : bool
        Is one of them not recorded?
    hermitian : dict of str to bool
        Observables: are their means real?
    """

    level: Moments
    equations: MomentEquations
    detectors: tuple[Detector, ...]
    hidden: bool
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: list[np.ndarray]
    per_trajectory: bool
    hermitian: dict[str, bool]
    states: bool
    save_every: int

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.hermitian)

    @property
    def recorded(self) -> bool:
        """Is there a record?"""
        return bool(self.currents)

    @property
    def currents(self) -> tuple[Detector, ...]:
        """Recorded detectors, in the order of the record."""
        return tuple(d for d in self.detectors if d.recorded)

    def job(self, seed: int, ntraj: int, given: ensemble.Given | None = None) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, [(1.0, x) for x in self.start], self.per_trajectory, seed, ntraj, self.save_every,
            len(self.currents), len(self.hermitian), self.states, given,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any], records: bool = True) -> xr.Dataset:
        """Labelled data of finished batches."""
        attrs = {
            "level": f"moments(order={self.level.order})",
            "complete": 0,
            "step": max(r.plan.dt for r in self.runs),
            **attrs,
        }
        variables = self.equations.variables
        data = dataset(
            batches, self.edges, self.save_every, self.currents if records else (), (), self.hermitian,
            "hidden" if self.hidden else "expect", self.states, len(variables), True, [], attrs,
        )  # fmt: skip
        return named_moments(data, list(map(self.equations.label, variables))) if self.states else data


def named_moments(data: xr.Dataset, labels: list[str]) -> xr.Dataset:
    """States that are values of variables, under their name."""
    data = data.rename(state="moments", level="variable")
    data["moments"].attrs = {"long_name": "conditional means, then covariances", "variables": ", ".join(labels)}
    return data


def prepare_moments(
    system: System,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    *,
    level: Moments,
    initial: Any,
    step: float | None,
    observables: Sequence[str] | Mapping[str, Any],
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
    given: bool = False,
    continues_seed: int | None = None,
) -> PreparedMoments:
    """Check, derive the equations, plan; `given`: the record is given, and what is not recorded is averaged over."""
    save_every = count(save_every, "save_every")
    check_run(step, states, n_jobs)
    detectors = tuple(d for d in unraveling.detectors if d.recorded or not given)
    for d in detectors:
        if d.kind == "jumps":
            raise ValueError(
                f"Argument `unraveling`: moments have no counting detectors, but {d.name!r} counts; watch it by "
                "ba.Homodyne or ba.Heterodyne, or choose another level."
            )
    if detectors and level.order == 1:
        raise ValueError(
            "Argument `unraveling` must be None for moments of order 1, where nothing is correlated with a record; use "
            "ba.Moments(order=2)."
        )
    check_bins(unraveling, edges)
    check_continues(initial, continues_seed)
    equations = MomentEquations(system, level.order)
    operators = symbolic_observables(system, observables)
    start, per_trajectory = _start(equations, initial, ntraj)
    recorded = [d for d in detectors if d.recorded]
    n_saved = (len(edges) - 1) // save_every + 1
    size = (
        16.0
        * ntraj
        * ((len(edges) - 1) * len(recorded) + n_saved * (len(operators) + states * len(equations.variables)))
    )
    check_size(size, max_memory, more=", detectors with recorded=False")
    outputs = [recorded.index(d) if d.recorded else -1 for d in detectors]
    means: dict[str, Polynomial] = {name: equations.mean(O) for name, O in operators.items()}
    bound = min(default_step(equations, start[0], float(edges[-1] - edges[0])), *(turn(d) for d in detectors), np.inf)
    if given:
        _check_one_step(step, edges, bound)
        bound = np.inf
    elif step is not None:
        bound = step
    runs = [
        ensemble.Run(
            moment_plan(
                equations, list(detectors), outputs, means, width, bound, float(edges[first]), n_bins
            )._replace(given=given),
            first, n_bins, width,
        )
        for first, n_bins, width in stretches(edges)
    ]  # fmt: skip
    hermitian = {name: O.hermitian for name, O in operators.items()}
    hidden = any(not d.recorded for d in detectors)
    return PreparedMoments(
        level, equations, detectors, hidden, runs, edges, start, per_trajectory, hermitian, states, save_every
    )


def _check_one_step(step: float | None, edges: np.ndarray, good: float) -> None:
    """A given bin is one step: spread over several, its sum would be correlated with itself, and Itô's noise is not."""
    widths = np.diff(edges)
    if step is not None and step < 0.999 * widths.max():
        raise ValueError(
            f"Argument `step` must be None or not below the bins of the record, {widths.max():.3g}, for moments, which "
            f"take a bin in one step, but is {step!r}."
        )
    if widths.max() > WIDE * good:
        warnings.warn(
            f"The record's bins of {widths.max():.3g} are wide for the equations, which ask for steps of {good:.2g}: "
            "means, covariances and likelihood are off. Use narrower bins, or level=ba.Density().",
            RuntimeWarning,
            stacklevel=4,
        )


def default_step(equations: MomentEquations, values: np.ndarray, duration: float) -> float:
    """A step that is short against the rates of the equations, linearised where they start."""
    J = Flow.of(equations).jacobian(values)
    modes = np.linalg.eigvals(J)
    rate = max(float(abs(modes).max()), float(abs(np.diag(J)).max()))
    return longest_step(rate, modes.imag, -modes.real, duration)


def turn(detector: Detector) -> float:
    """A step that is short against the turn of its local oscillator."""
    if isinstance(detector.phase, LocalOscillator) and detector.phase.frequency != 0:
        return TURN / abs(detector.phase.frequency)
    return np.inf


def _start(equations: MomentEquations, initial: Any, ntraj: int) -> tuple[list[np.ndarray], bool]:
    if initial is None:
        initial = equations.system.initial
    if hasattr(initial, "data_vars"):
        initial = last_states(initial, "moments")
    if initial is None or isinstance(initial, Mapping):
        check_site_states(initial or {}, {s.name for s in equations.system.sites})
        return [equations.initial(initial)], False
    values = np.asarray(initial, dtype=complex)
    n = len(equations.variables)
    if values.shape not in ((n,), (ntraj, n)) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"Argument `initial` must be site states, a dataset with moments, or finite values of the {n} variables, "
            f"({n},) or ({ntraj}, {n}), but has shape {values.shape}."
        )
    return (list(values), True) if values.ndim == 2 else ([values], False)
