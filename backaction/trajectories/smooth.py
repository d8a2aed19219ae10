"""`smooth`: the past quantum state, from all of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..memory import in_bytes, text
from ..systems import System
from ..unravelings import Unraveling
from . import ensemble, gaussian_runs, noise
from .arguments import refuse
from .condition import LOG_LIKELIHOOD, TOO_WIDE, check_possible, check_resolution, read, recorded
from .drive import driven_plan
from .kernels.density import LANES
from .kernels.drive import CLOSING_PART, MIDDLE_PART, OPENING_PART, Drive, no_drive
from .levels import Density, Level, Moments, as_level
from .plan import density_plan
from .preparation import Prepared, check_system, prepare
from .schemes import Scheme

if TYPE_CHECKING:
    import xarray as xr

#: A click this near to where two slots meet, in roundings of the times, is moved behind it: into one slot in both
#: directions.
MEETING = 32
#: Difference of the log-likelihoods of a record, read forwards and backwards, above which a result is refused; and
#: over this, what rounding may leave of a long record's.
DISAGREEMENT, ROUNDED = 1e-6, 1e-3
#: Eigenvalues of an observable that differ by less, relative to the largest, are one outcome.
DEGENERATE = 1e-9
#: Copies of states and effects that a part of an ensemble needs while it is worked on.
COPIES = 6


def smooth(
    system: System,
    unraveling: Unraveling,
    record: xr.Dataset | Mapping[str, Any],
    *,
    initial: Any = None,
    observables: Sequence[str] | Mapping[str, Any] = (),
    states: bool = False,
    save_every: int = 1,
    level: Level | str = "density",
    scheme: Scheme | None = None,
    step: float | None = None,
    seed: int | None = None,
    max_error: float = TOO_WIDE,
    n_jobs: int = 1,
    max_memory: str | float = "1 GiB",
    progress: bool = True,
) -> xr.Dataset:
    """Past quantum states: what is known about time t from the record before t *and* after it.

    With the conditional state ρ(t) of the record so far belongs the effect operator E(t) of what came later,
    ``E(t) = Σ M†E(t + dt)M`` and ``E(T) = 1`` with the maps ``ρ → ΣMρM†`` of the record: whatever a measurement at t
    would have found, its probability is weighted with that of the rest of the record.

    Parameters
    ----------
    system, unraveling, record, initial
        As in `condition`.
    observables : sequence of str, or mapping of str to operator
        Names from `system.observables`, or names of your own with operators.
    states : bool
        Keep ρ and E, too.
    save_every : int
        Keep every `save_every`-th edge of the bins; a divisor of their number.
    n_jobs, max_memory, progress
        As in `simulate`.

    Other Parameters
    ----------------
    level : {"density", "moments"} or Density or Moments
        Moments are for linear bosonic systems (detectors of constant phase) and observables of first degree: exact at
        any width of the bins, with variances.
    scheme, step, seed, max_error
        As in `condition`.  There is no `feedback`: records of systems with feedback are for `condition`.

    Returns
    -------
    xarray.Dataset
        With dims ``trajectory`` and ``time`` (edges), for every observable O,

        * ``expect_<observable>``: ``Tr Oρ``, from the record before t (*filtered*);
        * ``smoothed_<observable>``, for Hermitian O: mean of a projective measurement of O at t,
          ``Σ_n o_n P(n)``, ``P(n) ∝ Tr(Π_n ρ Π_n E)`` with the eigenprojectors Π_n of O;
        * ``weak_<observable>``: mean of a measurement at t that is too weak to disturb,
          ``½Tr[(Oρ + ρO)E]/Tr ρE``, the real part of the weak value ``Tr OρE/Tr ρE`` for Hermitian O, which may lie
          outside of the spectrum of O.  For a quadrature of a mode it is the mean of the two-filter smoother, and to be
          preferred: a projective measurement makes states that reach the edge of any basis.

        ``log_likelihood`` (trajectory): ``ln Tr[ρE]`` of the unnormalised operators, which is the same at all times,
        relative to white noise and clicks of rate 1 as in `condition`.  If `states`: ``state``, ρ(t), and ``effect``,
        E(t), both (trajectory, time, row, column); ρ has trace 1, E has trace d, so that an effect of 1 says nothing.
        ``attrs["log_likelihood_error"]``: largest difference of ``log_likelihood``, which comes from E at the first
        time, from that of ρ at the last.  ``attrs["bin_error"]`` as in `condition`.

        Linear systems at the level of moments: the same ``expect_``, ``weak_`` and ``smoothed_<observable>``, and the
        variances ``weak_variance_<observable>`` and ``smoothed_variance_<observable>`` (time).  The former are mean and
        variance of the product of the Wigner functions of ρ and E, what a Rauch–Tung–Striebel smoother gives; the
        latter those of a projective measurement, which spoils the conjugate quadrature (Zhang and Mølmer, Phys. Rev. A
        96, 062131 (2017)).

    Raises
    ------
    ValueError
        For arguments that do not fit, bins that are too wide, or a click that the model excludes.
    FloatingPointError
        If ρ and E disagree about the likelihood of a record, as the step is far too coarse or the record all but
        impossible.

    Warns
    -----
    RuntimeWarning
        As `condition`.

    Notes
    -----
    Both operators are density matrices to the same kernel, and E sees the adjoint of each map that ρ sees, in reverse
    order: ``Tr ρE`` is constant to rounding.  Gammelmark, Julsgaard and Mølmer, Phys. Rev. Lett. 111, 160401 (2013),
    (5)–(7), for the past quantum state; Aharonov, Albert and Vaidman, Phys. Rev. Lett. 60, 1351 (1988) for the weak
    value.
    """
    unraveling = check_system(system, unraveling)
    rng = noise.generator(noise.entropy(seed), 0)
    detectors = recorded(unraveling)
    edges, given, untimed, trajectory = read(record, detectors, rng)
    chosen_level = as_level(level)
    if isinstance(chosen_level, Moments):
        refuse("moments", scheme=scheme, step=step)
        if chosen_level.order == 1:
            raise ValueError(
                "Argument `level` must be of order 2 for smoothing, ba.Moments(order=2), but is of order 1."
            )
        data = gaussian_runs.smooth_linear(
            system, detectors, edges, given, progress, initial=initial,
            observables=observables, states=states, save_every=save_every, n_jobs=n_jobs, max_memory=max_memory,
        )  # fmt: skip
        data["log_likelihood"].attrs = LOG_LIKELIHOOD
        data.attrs["title"] = f"{system.name} conditioned on all of a record of {unraveling!r}"
        return data.assign_coords(trajectory=trajectory)
    if not (chosen_level is None or isinstance(chosen_level, Density)):
        raise ValueError(f'Argument `level` must be "density" or "moments" for smoothing, but is {level!r}.')
    ntraj, n_bins = len(given.current), len(edges) - 1
    prepared = prepare(
        system, unraveling, edges, ntraj, initial=initial, level=chosen_level or "density", scheme=scheme, step=step,
        observables=observables, states=states, save_every=save_every, n_jobs=n_jobs, max_memory=max_memory, given=True,
    )  # fmt: skip
    if n_bins % prepared.save_every:
        raise ValueError(
            f"Argument `save_every` must divide the number of bins, {n_bins}, but is {save_every}; states and effects "
            "are kept at the same times, counted from either end."
        )
    part = _part(prepared, ntraj, in_bytes(max_memory))
    error = check_resolution(prepared, given, untimed, detectors, rng, max_error)
    given = _inside_slots(given, prepared)
    runs = _backward_runs(prepared)
    batches: list[ensemble.Batch] = []
    effects, values, log_likelihood, disagreement = [], [], [], 0.0
    for first in range(0, ntraj, part):
        chosen = slice(first, min(first + part, ntraj))
        forward = _forward(prepared, given, chosen, n_jobs, progress)
        filtered = np.concatenate([b.log_likelihood for b in forward])
        check_possible(filtered, forward)
        rho = np.concatenate([b.states for b in forward]).reshape(len(filtered), -1, *prepared.lowered.H.shape)
        effect, past = _backward(prepared, runs, given, chosen, n_jobs, progress)
        past += np.log(_overlap(rho[:, 0], effect[:, 0]))
        disagreement = max(disagreement, float(np.abs(past - filtered).max()))
        if not np.all(np.abs(past - filtered) <= DISAGREEMENT * (1 + ROUNDED * np.abs(filtered))):
            raise FloatingPointError(
                f"State and effect disagree about the likelihood of a record, by {disagreement:.2g} in its logarithm: "
                "the step is far too coarse, or the record all but impossible in this model; pass a smaller `step`."
            )
        values.append({name: _past_means(O, rho, effect) for name, O in prepared.operators.items()})
        log_likelihood.append(past)
        if states:
            effects.append(effect)
        else:
            forward = [b._replace(states=b.states[:, :0]) for b in forward]
        batches += forward
    attrs = {
        "title": f"{system.name} conditioned on all of a record of {unraveling!r}",
        "bin_error": error,
        "log_likelihood_error": disagreement,
    }
    data = prepared.dataset(batches, attrs, records=False)
    for name in prepared.operators:
        for kind, long_name in _KINDS.items():
            if kind in values[0][name]:
                array = np.concatenate([v[name][kind] for v in values])
                about = {"long_name": long_name.format(name), "conditioned_on": "all of the record"}
                data[f"{kind}_{name}"] = (("trajectory", "time"), array, about)
    if states:
        data["effect"] = (
            ("trajectory", "time", "row", "column"),
            np.concatenate(effects),
            {"long_name": "effect operator of the later record, of trace d"},
        )
    reference = len(prepared.roles.counters) * (edges[-1] - edges[0])
    data["log_likelihood"] = ("trajectory", np.concatenate(log_likelihood) + reference, LOG_LIKELIHOOD)
    return data.assign_coords(trajectory=trajectory[data["trajectory"].values])


_KINDS = {"smoothed": "past mean of a projective measurement of {}", "weak": "past mean of a weak measurement of {}"}


def _part(prepared: Prepared, ntraj: int, limit: float) -> int:
    """Trajectories that are worked on together: what fits into memory, in whole batches."""
    n_saved = (len(prepared.edges) - 1) // prepared.save_every + 1
    each = 16.0 * n_saved * prepared.lowered.dim**2
    kept = 2 * each * ntraj if prepared.states else 0.0
    if kept + COPIES * each * LANES > limit:
        raise ValueError(
            f"Argument `max_memory` is {text(limit)}, but states and effects need "
            f"{text(kept + COPIES * each * LANES)}. Use `save_every`, fewer records or a smaller basis, drop `states`, "
            f'or pass max_memory="{text(1.2 * (kept + COPIES * each * LANES))}".'
        )
    return LANES * int((limit - kept) // (COPIES * each * LANES))


def _inside_slots(given: ensemble.Given, prepared: Prepared) -> ensemble.Given:
    """Clicks in one slot of the steps in either direction: none where two of them meet."""
    rounding = MEETING * np.spacing(np.abs(prepared.edges).max())
    clicks = []
    for times, owner in given.clicks:
        moved = times.copy()
        for run in prepared.runs:
            begin, end = prepared.edges[run.first], prepared.edges[run.first + run.n_bins]
            inside = (times >= begin) & (times < end)
            unit = run.plan.dt if not prepared.roles.diffusive else 0.5 * run.plan.dt
            last = round((end - begin) / unit)
            steps = (times[inside] - begin) / unit
            nearest = np.round(steps)
            # from (−1, 3) behind a boundary into (1, 3), from (−3, 1) before the last one into (−3, −1): in order
            side = np.where(nearest < last, rounding, -rounding) / unit
            beside = (steps - nearest) / side
            near = (beside > -1) & (beside < 3)
            steps = np.where(near, nearest + side * (1.5 + 0.5 * beside), steps)
            moved[inside] = begin + unit * steps
        clicks.append((moved, owner))
    return replace(given, clicks=clicks)


def _backward_runs(prepared: Prepared) -> list[ensemble.Run]:
    """The runs of the effect operator: adjoint plans, the last bins first."""
    n_bins = len(prepared.edges) - 1
    plans: dict[tuple[float, bool], Any] = {}
    runs = []
    for run in reversed(prepared.runs):
        # the last channel of a step comes first; where the order alternates, an even number of steps does so, too
        flip = not run.plan.alternate or run.n_bins * run.plan.n_sub % 2 == 1
        make = partial(density_plan, adjoint=True, flip=flip)
        lowered, drive = prepared.lowered, no_drive()
        model: tuple[Any, ...] = (prepared.roles, [], run.width, prepared.step_asked, prepared.scheme)
        if run.drive.active or run.drive.rotating:
            begin = float(prepared.edges[run.first])
            plan, drive = driven_plan(  # type: ignore[call-arg]
                lowered, prepared.unraveling, *model, False, begin, run.n_bins, make
            )
            drive = _backward_drive(drive, flip)
        else:
            if (run.width, flip) not in plans:
                plans[run.width, flip] = make(lowered, *model)
            plan = plans[run.width, flip]
        first = n_bins - run.first - run.n_bins
        runs.append(ensemble.Run(plan._replace(given=True), first, run.n_bins, run.width, drive))
    return runs


def _backward_drive(drive: Drive, flip: bool) -> Drive:
    """Coefficients and phases from the end of a run: node k is what node n − k was, opening slots were closing ones."""
    parameters = drive.parameters[:, ::-1].copy()
    parameters[[OPENING_PART, CLOSING_PART]] = parameters[[CLOSING_PART, OPENING_PART]]
    parameters[MIDDLE_PART] = np.roll(parameters[MIDDLE_PART], -1, axis=0)  # step k is what step n − 1 − k was
    rotation = drive.rotation[::-1, :: -1 if flip else 1] * [1.0, -1.0]  # e^{−iφ} is conjugated
    return drive._replace(parameters=parameters, rotation=np.ascontiguousarray(rotation))


def _forward(
    prepared: Prepared, given: ensemble.Given, chosen: slice, n_jobs: int, progress: bool
) -> list[ensemble.Batch]:
    """Conditional states of some of the records."""
    some = ensemble.Given(given.current[chosen], given.clicks[chosen])
    start = prepared.start[chosen] if prepared.per_trajectory else prepared.start
    job = replace(prepared, states=True, start=start).job(0, len(some.current), some)
    return [b._replace(first=b.first + chosen.start) for b in _all(job, n_jobs, progress)]


def _backward(
    prepared: Prepared, runs: list[ensemble.Run], given: ensemble.Given, chosen: slice, n_jobs: int, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Effects of some of the records, of trace d, in the order of time, and the logarithm of what E(0) is over that."""
    d = prepared.lowered.dim
    current = np.ascontiguousarray(given.current[chosen, :, ::-1].conj())
    clicks = [(-times[::-1], owner[::-1]) for times, owner in given.clicks[chosen]]
    job = replace(
        replace(prepared, runs=runs, edges=-prepared.edges[::-1], operators={}, states=True).job(0, len(current)),
        initial=[(1.0, np.eye(d) / d)],
        per_trajectory=False,
        given=ensemble.Given(current, clicks),
    )
    batches = _all(job, n_jobs, progress)
    effect = np.concatenate([b.states for b in batches]).reshape(len(current), -1, d, d)
    return d * effect[:, ::-1], np.concatenate([b.log_likelihood for b in batches])


def _all(job: ensemble.Job, n_jobs: int, progress: bool) -> list[ensemble.Batch]:
    batches, interrupted = ensemble.run(job, int(n_jobs), progress)
    if interrupted:  # a part of the states without their effects is no result
        raise KeyboardInterrupt
    return batches


# === what state and effect say together; ρ and E (..., d, d)


def _overlap(rho: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Tr ρE."""
    return np.einsum("...ij,...ji->...", rho, effect).real


def _past_means(O: sp.csr_array, rho: np.ndarray, effect: np.ndarray) -> dict[str, np.ndarray]:
    """Means of a weak measurement of O and, if it is Hermitian, of a projective one."""
    matrix = O.toarray()
    # ½Tr[(Oρ + ρO)E] = Tr[½(EO + OE)ρ]
    weak = 0.5 * np.einsum("...ij,...ji->...", effect @ matrix + matrix @ effect, rho) / _overlap(rho, effect)
    if np.abs(matrix - matrix.conj().T).max() > 1e-10 * np.abs(matrix).max():
        return {"weak": weak}
    outcomes, vectors = np.linalg.eigh(matrix)
    same = np.abs(outcomes[:, None] - outcomes) <= DEGENERATE * np.abs(outcomes).max()
    rotated = [vectors.conj().T @ x @ vectors for x in (rho, effect)]
    # Σ over i, j of one outcome: ρ_ij E_ji, a probability once summed over the outcome
    weight = (rotated[0] * np.swapaxes(rotated[1], -1, -2) * same).sum(axis=-1).real
    return {"weak": weak.real, "smoothed": weight @ outcomes / weight.sum(axis=-1)}
