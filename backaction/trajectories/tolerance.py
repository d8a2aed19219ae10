"""A step from an error: pilot runs measure the strong error of long steps on the records of short ones."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from . import ensemble
from .arguments import inside_run
from .condition import _distance
from .kernels.ket import KetPlan
from .plan import MAX_SUBSTEPS
from .preparation import Prepared

#: The chosen step's estimated error times this is at most the tolerance.
SAFETY = 1.5
#: Seed and trajectories of a pilot: the same for every run, so that runs with other seeds have the same step.
PILOT_SEED, PILOT_TRAJECTORIES = 20_150_731, 32
#: Steps that a pilot compares, each half the one before; how many steps of its reference the shortest of them is.
LEVELS, REFINEMENT = 3, 4
#: Bounds of a pilot's length: steps of its reference, and multiply-adds.
PILOT_STEPS, PILOT_WORK = 2**16, 3e10
#: Times at which a pilot's states are compared, and stretches of time over which the squared error is averaged.
LOOKS, BLOCKS = 64, 8
#: Most pilots; largest ratio of errors over which the order of the scheme is trusted to extrapolate.
MAX_PILOTS, REACH = 8, 10.0
#: How far a measured order may be from the scheme's where that is trusted, and its least value.
ORDER_MARGIN, LEAST_ORDER = 0.15, 0.25
#: Shortest step, relative to the one that is chosen without a tolerance.
SHORTEST = 1e-5
#: Exponent above which the error is taken to grow with time beyond the pilot.
GROWTH = 0.25


class Pilot(NamedTuple):
    """Strong errors of a few steps.

    Attributes
    ----------
    steps : ndarray, (n,)
        Decreasing.
    errors : ndarray, (n,)
        Largest over the run of the root mean square distance from the exact conditional state.
    covers : bool
        Is the pilot as long as the run?
    """

    steps: np.ndarray
    errors: np.ndarray
    covers: bool


def check_tolerance(tolerance: Any, step: Any, feedback: Any) -> None:
    """Raise ValueError for a tolerance that is none, or one beside a step or feedback."""
    if isinstance(tolerance, bool) or not (isinstance(tolerance, Real) and 0 < float(tolerance) < 1):
        raise ValueError(f"Argument `tolerance` must be a distance between 0 and 1, or None, but is {tolerance!r}.")
    if step is not None:
        raise ValueError(
            f"Argument `tolerance` must be None where `step` is given, but is {tolerance!r}; leave one of them out."
        )
    if feedback is not None:
        raise ValueError(
            f"Argument `tolerance` must be None where `feedback` is given, but is {tolerance!r}; pass a `step`, and "
            "compare with a shorter one."
        )


def step_for(prepared: Prepared, tolerance: float) -> float | None:
    """The longest step whose strong error is within a tolerance.

    The error is the distance of a run's states from the exact conditional states that go with the same noise,
    ``√E‖ρ − ρ_exact‖²/2`` (Frobenius; the trace distance of pure states), at its largest over the run.  It is
    measured: a few trajectories are simulated with a short step, then conditioned on their own records, coarse-grained
    to longer steps.  State vectors with hidden detectors are those of an observer who reads these, too.

    Parameters
    ----------
    prepared : Prepared
        A run with the step that is chosen without a tolerance; the result is not longer, for the law of the records.
    tolerance : float
        Distance, in (0, 1).

    Returns
    -------
    float or None
        The step; None where steps make no error (counters alone, nothing that depends on time).

    Raises
    ------
    ValueError
        If the step would be shorter than 1e-5 of the one chosen without a tolerance, or 1e-9 of a bin.

    Warns
    -----
    RuntimeWarning
        If the strong order is 1/2, or if a time-dependent run is too long for its pilot.
    """
    if not (prepared.roles.diffusive or prepared.lowered.time_dependent):
        return None
    order = prepared.strong_order
    if order < 1:
        warnings.warn(
            "The measured operators (or clicks beside them) do not commute: the error of a path falls with the square "
            "root of the step only, and a `tolerance` is expensive; averages and spectra need no such step.",
            RuntimeWarning,
            stacklevel=3,
        )
    longest = prepared.step
    target = tolerance / SAFETY
    steps, errors = np.empty(0), np.empty(0)
    start = longest
    for _ in range(MAX_PILOTS):
        pilot = run_pilot(prepared, start, order)
        steps, errors = np.append(steps, pilot.steps), np.append(errors, pilot.errors)
        if pilot.errors.min() <= target:
            break
        slope = math.log2(pilot.errors[-2] / pilot.errors[-1])
        ratio = pilot.errors[-1] / target
        if abs(slope - order) <= ORDER_MARGIN and ratio <= REACH:
            break
        start = min(1.0, 2 * ratio ** (-1 / max(slope, order))) * pilot.steps[-1]
        if start < SHORTEST * longest:
            break
    step = min(longest, _within(steps, errors, target, order))
    if step < max(SHORTEST * longest, float(np.diff(prepared.edges).max()) / MAX_SUBSTEPS):
        why = "errors of paths fall with the square root of the step here" if order < 1 else "errors fall with the step"
        raise ValueError(
            f"Argument `tolerance` must allow for a step of {SHORTEST * longest:.2g} or longer, but is {tolerance:g}, "
            f"which needs about {step:.1g}: {why}. At {longest:.2g} the error is {errors[0]:.1g}; pass a larger "
            "tolerance, or a `step`."
        )
    if prepared.lowered.time_dependent and not pilot.covers:
        warnings.warn(
            "The run is too long for the pilot that chooses its step: `tolerance` holds where the time dependence is "
            "as in its beginning. Check with a shorter `step`.",
            RuntimeWarning,
            stacklevel=3,
        )
    return step


def _within(steps: np.ndarray, errors: np.ndarray, target: float, order: float) -> float:
    """The longest step whose error, between or beyond those measured, is on target."""
    by_step = np.argsort(steps)
    steps, errors = steps[by_step], errors[by_step]
    above = np.flatnonzero(errors > target)
    if above.size == 0:
        return float(steps[-1])
    i = above[0]
    if i > 0:  # between a step that is good enough and one that is not
        fraction = math.log(target / errors[i - 1]) / math.log(errors[i] / errors[i - 1]) if errors[i - 1] > 0 else 0.0
        return float(steps[i - 1] * (steps[i] / steps[i - 1]) ** fraction)
    # of a whole pilot: two errors alone are noisy, and a low slope asks for a far shorter step
    slope = float(np.polyfit(np.log(steps[:LEVELS]), np.log(errors[:LEVELS]), 1)[0])
    return float(steps[0] * (target / errors[0]) ** (1 / max(min(slope, order), LEAST_ORDER)))


def run_pilot(prepared: Prepared, step: float, order: float) -> Pilot:
    """Errors of `step`, its half and its quarter, from runs whose steps are a quarter of these.

    Parameters
    ----------
    prepared : Prepared
        What is to be run.
    step : float
        The longest step, made to divide the run.
    order : float
        Strong order, for the error of the reference (Richardson).

    Returns
    -------
    Pilot
    """
    runs = prepared.runs
    parts = REFINEMENT * 2 ** (LEVELS - 1)
    duration = prepared.edges[-1] - prepared.edges[0]
    cost = max(r.plan.re.size for r in runs) * (1 if prepared.is_ket else 2 * prepared.lowered.dim)
    affordable = max(LOOKS, int(min(PILOT_STEPS, PILOT_WORK / (PILOT_TRAJECTORIES * max(1, cost)))) // parts)
    whole = math.ceil(duration / step - 1e-9)
    covers = whole <= affordable
    looks = min(LOOKS, whole)
    between = math.ceil(whole / looks) if covers else affordable // looks  # longest steps from one look to the next
    n = looks * between
    step = duration / n if covers else step
    fine = _simulated(prepared, step / parts, n * parts, between * parts)
    states = _states(fine)
    squares = []
    for level in range(LEVELS):
        coarse = _conditioned(prepared, fine, parts >> level, between << level, step / 2**level)
        distance = _distance(states, _states(coarse), prepared.is_ket)[:, 1:]
        squares.append([np.mean(block**2) for block in np.array_split(distance, min(BLOCKS, looks), axis=1)])
    steps = step / 2.0 ** np.arange(LEVELS)
    per_block = np.sqrt(np.array(squares) / (1 - (step / parts / steps[:, None]) ** (2 * order)))
    errors = per_block.max(axis=1)
    if not covers:
        quarter = len(per_block[-1]) // 4
        early, late = (np.sqrt(np.mean(b**2)) for b in (per_block[-1][quarter : 2 * quarter], per_block[-1][-quarter:]))
        exponent = math.log(late / early) / math.log(7 / 3) if min(early, late) > 0 else 0.0
        if exponent > GROWTH:
            errors = errors * (duration / (n * step)) ** exponent
    return Pilot(steps, errors, covers)


class _Finished(NamedTuple):
    edges: np.ndarray
    batches: list[ensemble.Batch]


def _simulated(prepared: Prepared, step: float, n: int, save_every: int) -> _Finished:
    """Pilot trajectories from the beginning of the run, one bin per step, all detectors read."""
    edges = prepared.edges[0] + step * np.arange(n + 1)
    return _Finished(edges, _run(prepared, edges, save_every, None))


def _conditioned(prepared: Prepared, fine: _Finished, group: int, save_every: int, step: float) -> _Finished:
    """The same trajectories from their records, the increments of `group` steps added up."""
    edges = prepared.edges[0] + step * np.arange((len(fine.edges) - 1) // group + 1)
    current = np.concatenate([b.current for b in fine.batches])
    current = current.reshape(*current.shape[:2], -1, group).mean(axis=3)
    clicks = [(inside_run(times, edges), counter) for b in fine.batches for times, counter in b.clicks]
    return _Finished(edges, _run(prepared, edges, save_every, ensemble.Given(current, clicks)))


def _run(prepared: Prepared, edges: np.ndarray, save_every: int, given: ensemble.Given | None) -> list[ensemble.Batch]:
    other = replace(prepared, step_asked=math.inf, given=given is not None).rebinned(edges, save_every)
    runs = [_all_read(run) for run in other.runs]
    job = replace(other, runs=runs).job(PILOT_SEED, PILOT_TRAJECTORIES, given)
    batches, _ = ensemble.run(replace(job, n_currents=len(prepared.roles.diffusive)), 1, False)
    return batches


def _all_read(run: ensemble.Run) -> ensemble.Run:
    """Hidden detectors of state vectors made visible, counters told apart: a record that determines the state."""
    if not isinstance(run.plan, KetPlan):
        return run
    outputs, counters = np.arange(len(run.plan.kinds)), np.arange(len(run.plan.jumps))
    return run._replace(plan=run.plan._replace(outputs=outputs, counters=counters))


def _states(finished: _Finished) -> np.ndarray:
    return np.concatenate([b.states for b in finished.batches])
