"""`condition`: from a record back to the states and to its likelihood."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..systems import System
from ..unravelings import Detector, Unraveling
from . import ensemble, gaussian_runs, noise
from .arguments import bin_edges, inside_run, refuse
from .feedback import Feedback
from .levels import Level, Moments, PhaseSpace, as_level
from .moment_runs import PreparedMoments, prepare_moments
from .preparation import Prepared, check_system, prepare
from .schemes import Scheme

if TYPE_CHECKING:
    import xarray as xr

#: Error that the width of the bins leaves in the states, above which it is reported, and refused.
WIDE, TOO_WIDE = 0.01, 0.1
#: Trajectories and bins on which it is estimated, and parts that a bin is split into.
SPLIT_TRAJECTORIES, SPLIT_BINS, PARTS = 4, 2000, 4
#: Attributes of the variable.
LOG_LIKELIHOOD = {"long_name": "log-likelihood relative to white noise and unit-rate clicks", "units": "1"}


def condition(
    system: System,
    unraveling: Unraveling,
    record: xr.Dataset | Mapping[str, Any],
    *,
    initial: Any = None,
    observables: Sequence[str] | Mapping[str, Any] = (),
    states: bool = False,
    save_every: int = 1,
    feedback: Feedback | Sequence[Feedback] | None = None,
    level: Level | str = "auto",
    scheme: Scheme | None = None,
    step: float | None = None,
    seed: int | None = None,
    max_error: float = TOO_WIDE,
    n_jobs: int = 1,
    max_memory: str | float = "1 GiB",
    progress: bool = True,
) -> xr.Dataset:
    """Conditional states and log-likelihood of records, simulated or measured.

    The kernels of `simulate` run with the record in place of the noise.  Detectors that are not recorded, unwatched
    channels and lost light are averaged over: nothing is hidden from the observer but what the record does not say.

    Parameters
    ----------
    system : System
        The model on which the record is conditioned.
    unraveling : Unraveling
        Its recorded detectors name what the record holds.
    record : xarray.Dataset or mapping
        A dataset of `simulate`, or what ``isel`` selects of its trajectories and of its bins, which must follow each
        other; or plain arrays: ``"times"`` (n_bins + 1 increasing bin edges) and for every recorded detector, named
        after its channel (a tuple's names joined by ``_``),

        * ``"current_<name>"``, (n_bins,) or (ntraj, n_bins): bin averages, real (homodyne) or complex (heterodyne),
          scaled so that shot noise has level 1: the variance of a bin of width Δ is 1/Δ;
        * ``"click_time_<name>"``: click times, or a sequence of such arrays, one per record (a dataset holds them in
          ragged form with ``"click_count_<name>"`` and ``"click_start_<name>"``); or ``"counts_<name>"``, (n_bins,)
          or (ntraj, n_bins): clicks per bin, whose times are then drawn at random inside their bins.
    initial : optional
        As in `simulate`: what is known before the record begins.
    observables, states, save_every, feedback, n_jobs, max_memory, progress
        As in `simulate`.

    Other Parameters
    ----------------
    level : {"auto", "ket", "density", "moments"} or Ket or Density or Moments
        "auto": state vectors if the record determines a pure state, else density matrices.  Moments must be asked for;
        the error of wide bins is not estimated for them.  Linear bosonic systems are exact at any width (detectors of
        constant phase, and no `step`), with the innovations in the result; others take a bin in one step.
    scheme : Splitting or Rouchon, optional
        How a step is taken; ``ba.Splitting()`` (weak order 2) if None.
    step : float, optional
        Upper bound of the internal step, which divides the bins, a bin's sum being spread evenly over its steps.
        With feedback that has no delay and no filter a bin is always one step, since it acts after the measurement.
    seed : int, optional
        For click times that are not given, and for the estimate of the bins' error.
    max_error : float
        Largest error due to the width of the bins that is accepted.

    Returns
    -------
    xarray.Dataset
        ``log_likelihood`` (trajectory): ``ln Tr`` of the unnormalised state, relative to white noise for currents and
        to a Poisson process of rate 1 for every counter:
        ``Σ(√η⟨x⟩dY − η⟨x⟩²dt/2)`` for homodyne, ``Σ(2Re[√η⟨L⟩*dZ] − η|⟨L⟩|²dt)`` for heterodyne,
        ``Σ ln λ_k − ∫(λ − 1)dt`` for clicks.  ``expect_<observable>`` and ``state`` as in `simulate`.
        ``attrs["bin_error"]``: root mean square distance (Frobenius/√2, the trace distance of pure states) between
        these states and those of the same record refined by random bridges inside its bins, and by new times of
        clicks that have none: what the record does not say.
        Linear systems at the level of moments: ``innovation_<channel>`` (trajectory, bin), what a bin's current was
        beyond its prediction from the earlier bins over the predicted spread, white and of variance 1 if the model is
        right (several detectors: made independent in their order), and ``innovation_std_<channel>`` (bin), that spread.

    Raises
    ------
    ValueError
        For arguments that do not fit, bins that are too wide or leave gaps, or a click that the model excludes (to
        rounding: its rate is below 1e-15 of the operator's, for state vectors 1e-28).
    FloatingPointError
        If a state or a likelihood is lost, as the step is far too coarse.

    Warns
    -----
    RuntimeWarning
        If the bins leave an error above 1 %, or an edge of the basis is populated.

    Notes
    -----
    With one step per bin, `condition` returns the states that `simulate` had.  Wiseman and Milburn, *Quantum
    Measurement and Control*, chapter 4; Gammelmark and Mølmer, Phys. Rev. A 87, 032115 (2013) for the likelihood.
    """
    unraveling = check_system(system, unraveling)
    rng = noise.generator(noise.entropy(seed), 0)
    detectors = recorded(unraveling)
    edges, given, untimed, trajectory = read(record, detectors, rng)
    ntraj = len(given.current)
    asked: dict[str, Any] = {
        "initial": initial, "step": step, "observables": observables, "states": states, "save_every": save_every,
        "n_jobs": n_jobs, "max_memory": max_memory,
    }  # fmt: skip
    chosen = as_level(level)
    prepared: Prepared | PreparedMoments
    error = np.nan
    if isinstance(chosen, PhaseSpace):
        raise ValueError(
            "Argument `level`: paths of phase space are not conditional states; condition at ba.Moments(), which is "
            "exact for linear systems, or at ba.Density()."
        )
    if isinstance(chosen, Moments):
        refuse("moments", scheme=scheme, feedback=feedback)
        if gaussian_runs.applies(system, detectors, chosen, step):
            del asked["step"]
            data = gaussian_runs.condition_linear(system, detectors, edges, given, progress, **asked)
            data["log_likelihood"].attrs = LOG_LIKELIHOOD
            data.attrs["title"] = f"{system.name} conditioned on {unraveling!r}"
            return data.assign_coords(trajectory=trajectory)
        prepared = prepare_moments(system, unraveling, edges, ntraj, level=chosen, given=True, **asked)
        n_counters = 0
    else:
        prepared = prepare(
            system, unraveling, edges, ntraj, scheme=scheme, level=level, feedback=feedback, given=True, **asked
        )
        error = check_resolution(prepared, given, untimed, detectors, rng, max_error)
        n_counters = len(prepared.roles.counters)
    batches, interrupted = ensemble.run(prepared.job(0, ntraj, given), int(n_jobs), progress)
    log_likelihood = np.concatenate([b.log_likelihood for b in batches])
    check_possible(log_likelihood, batches)
    log_likelihood += n_counters * (edges[-1] - edges[0])
    attrs = {
        "title": f"{system.name} conditioned on {unraveling!r}",
        "interrupted": int(interrupted),
        "bin_error": error,
    }
    data = prepared.dataset(batches, attrs, records=False)
    data["log_likelihood"] = ("trajectory", log_likelihood, LOG_LIKELIHOOD)
    return data.assign_coords(trajectory=trajectory[data["trajectory"].values])


def check_possible(log_likelihood: np.ndarray, batches: list[ensemble.Batch]) -> None:
    """Raise ValueError for a record that the model excludes."""
    if np.any(np.isnan(log_likelihood) | (log_likelihood == np.inf)):
        raise FloatingPointError(
            "The likelihood of a record is not finite: the step is far too coarse; pass a smaller `step`."
        )
    impossible = np.flatnonzero(log_likelihood == -np.inf)
    if impossible.size:
        k = np.concatenate([b.first + np.arange(len(b.current)) for b in batches])[impossible[0]]
        raise ValueError(
            f"Argument `record`: the model excludes a click of record {k} (rate 0 in the state at its time). Allow "
            "for it by `dark_rate`, `initial`, or another system."
        )


# === reading records


def recorded(unraveling: Unraveling) -> tuple[Detector, ...]:
    """The recorded detectors; ValueError if there are none."""
    detectors = tuple(d for d in unraveling.detectors if d.recorded)
    if not detectors:
        raise ValueError("Argument `unraveling` must have a recorded detector, but has none.")
    return detectors


def read(
    record: Any, detectors: tuple[Detector, ...], rng: np.random.Generator
) -> tuple[np.ndarray, ensemble.Given, dict[str, np.ndarray], np.ndarray]:
    """(edges, record, counts whose click times are drawn, trajectory labels)."""
    if not (hasattr(record, "data_vars") or isinstance(record, Mapping)):
        raise ValueError(
            'Argument `record` must be a dataset of `simulate` or a mapping with "times" and one entry per detector, '
            f"but is {type(record).__name__}."
        )
    edges = _edges(record)
    n_bins = len(edges) - 1
    currents: dict[str, np.ndarray] = {}
    clicks: dict[str, list[np.ndarray]] = {}
    untimed: dict[str, np.ndarray] = {}
    for d in detectors:
        if d.kind != "jumps":
            currents[d.name] = _current(record, d, n_bins)
        elif f"click_time_{d.name}" in record:
            clicks[d.name] = _click_times(record, d.name, edges)
        elif f"counts_{d.name}" in record:
            untimed[d.name] = _counts(record, d.name, n_bins)
            clicks[d.name] = _draw_times(untimed[d.name], edges, rng)
        else:
            raise ValueError(
                f"Argument `record` must hold 'click_time_{d.name}' or 'counts_{d.name}' for the counter of "
                f"{d.name}, but has {sorted(map(str, record))}."
            )
    sizes = {name: len(values) for name, values in currents.items()}
    sizes |= {name: len(values) for name, values in clicks.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Argument `record` must hold as many records of every detector, but has {sizes}.")
    ntraj = next(iter(sizes.values()))
    if ntraj == 0:
        raise ValueError("Argument `record` must hold at least one record, but is empty.")
    current = np.zeros((ntraj, len(currents), n_bins), dtype=complex)
    for i, values in enumerate(currents.values()):
        current[:, i] = values
    merged = [_merge([lists[k] for lists in clicks.values()], edges) for k in range(ntraj)]
    labels = (
        record["trajectory"].values if hasattr(record, "data_vars") and "trajectory" in record else np.arange(ntraj)
    )
    return edges, ensemble.Given(current, merged), untimed, np.atleast_1d(labels)


def _edges(record: Any) -> np.ndarray:
    if not hasattr(record, "data_vars"):
        if "times" not in record:
            raise ValueError('Argument `record` must hold the bin edges as "times", but does not.')
        return bin_edges(record["times"])
    if "bin" not in record.coords or "bin_width" not in record.coords:
        raise ValueError(
            "Argument `record` must have the coordinates 'bin' and 'bin_width' of `simulate`, but has not."
        )
    centre, width = np.atleast_1d(record["bin"].values), np.atleast_1d(record["bin_width"].values)
    start, stop = centre - 0.5 * width, centre + 0.5 * width
    rounding = np.maximum(1e-6 * width, 8 * np.spacing(np.abs(stop)))
    gaps = np.flatnonzero(np.abs(start[1:] - stop[:-1]) > rounding[1:])
    if gaps.size:
        raise ValueError(
            f"Argument `record` must have bins that follow each other, but after the one that ends at "
            f"{stop[gaps[0]]:g} comes one from {start[gaps[0] + 1]:g}. Condition on the parts before and behind the "
            "gap one by one, on the second from the state after the gap as `initial`."
        )
    edges = np.append(start, stop[-1:])
    if "time" in record.coords and record["time"].size == edges.size:
        saved = record["time"].values  # the same without rounding, unless it is of another stretch
        if np.all(np.abs(saved - edges) <= np.append(rounding, rounding[-1:])):
            edges = saved
    return bin_edges(edges)


def _current(record: Any, detector: Detector, n_bins: int) -> np.ndarray:
    name = f"current_{detector.name}"
    if name not in record:
        raise ValueError(
            f"Argument `record` must hold {name!r} for the {detector.kind} detector of {detector.name}, "
            f"but has {sorted(map(str, record))}."
        )
    values = np.asarray(record[name])
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != n_bins or values.dtype.kind not in "fciu":
        raise ValueError(
            f"Argument `record[{name!r}]` must have shape (n_bins,) or (ntraj, n_bins) with {n_bins} bins, but has "
            f"{values.shape} of type {values.dtype}."
        )
    if not np.all(np.isfinite(values)):
        raise ValueError(
            f"Argument `record[{name!r}]` must be finite, but holds NaN or infinity; cut such records out."
        )
    if detector.kind == "homodyne" and np.iscomplexobj(values):
        raise ValueError(f"Argument `record[{name!r}]` must be real for a homodyne detector, but is complex.")
    if detector.kind == "heterodyne" and not np.iscomplexobj(values):
        raise ValueError(
            f"Argument `record[{name!r}]` must be complex for a heterodyne detector, but is real; demodulate it, or "
            "describe the detector as Homodyne(phase=LocalOscillator(frequency))."
        )
    return values


def _click_times(record: Any, name: str, edges: np.ndarray) -> list[np.ndarray]:
    values = record[f"click_time_{name}"]
    if hasattr(record, "data_vars"):
        lists = _ragged(record, name, edges)
    elif len(values) and np.ndim(values[0]) == 0:
        lists = [np.asarray(values, dtype=float)]
    else:
        lists = [np.asarray(v, dtype=float) for v in values] if len(values) else [np.empty(0)]
    for times in lists:
        if times.ndim != 1 or not np.all(np.isfinite(times)):
            raise ValueError(f"Argument `record['click_time_{name}']` must hold finite times, one array per record.")
        if times.size and (times.min() < edges[0] or times.max() >= edges[-1]):
            raise ValueError(
                f"Argument `record['click_time_{name}']` must lie in [{edges[0]:g}, {edges[-1]:g}), but reaches from "
                f"{times.min():g} to {times.max():g}."
            )
    return lists


def _ragged(record: Any, name: str, edges: np.ndarray) -> list[np.ndarray]:
    """Click times of a dataset, of which trajectories and bins may have been selected."""
    values, counts = np.asarray(record[f"click_time_{name}"], dtype=float), record[f"click_count_{name}"].values
    counts = np.atleast_1d(counts)
    if f"click_start_{name}" in record:
        start = np.atleast_1d(record[f"click_start_{name}"].values)
        belong = bool(np.all(start + counts <= values.size))
    else:
        start = np.cumsum(counts) - counts
        belong = counts.sum() == values.size
    lists = [values[a : a + n] for a, n in zip(start, counts, strict=True)]
    if f"counts_{name}" in record:
        lists = [times[(times >= edges[0]) & (times < edges[-1])] for times in lists]
        belong &= np.array_equal(np.atleast_2d(record[f"counts_{name}"]).sum(axis=1), [len(times) for times in lists])
    if not belong:
        raise ValueError(
            f"Argument `record` must hold the clicks of its trajectories, but 'click_time_{name}' and the counts do "
            "not belong together; select with `isel` from a dataset of `simulate`, or pass a list of click times."
        )
    return lists


def _counts(record: Any, name: str, n_bins: int) -> np.ndarray:
    counts = np.asarray(record[f"counts_{name}"])
    counts = counts[None] if counts.ndim == 1 else counts
    if counts.ndim != 2 or counts.shape[1] != n_bins:
        raise ValueError(
            f"Argument `record['counts_{name}']` must have shape (n_bins,) or (ntraj, n_bins) with {n_bins} bins, but "
            f"has {counts.shape}."
        )
    if not (np.all(counts >= 0) and np.all(counts == np.floor(counts))):
        raise ValueError(f"Argument `record['counts_{name}']` must hold integers >= 0.")
    return counts.astype(np.int64)


def _draw_times(counts: np.ndarray, edges: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Times that counts do not tell, uniform in their bins."""
    bins = [np.repeat(np.arange(counts.shape[1]), row) for row in counts]
    return [edges[b] + rng.random(b.size) * (edges[b + 1] - edges[b]) for b in bins]


def _merge(lists: list[np.ndarray], edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clicks of all counters in order of time; (times, counter)."""
    if not lists:
        return np.empty(0), np.empty(0, dtype=np.int64)
    times = np.concatenate(lists)
    owner = np.repeat(np.arange(len(lists)), [len(t) for t in lists])
    order = np.argsort(times, kind="stable")
    return inside_run(times[order], edges), owner[order]


# === what the bins do not say


def check_resolution(
    prepared: Prepared,
    given: ensemble.Given,
    untimed: dict[str, np.ndarray],
    detectors: tuple[Detector, ...],
    rng: np.random.Generator,
    max_error: float,
) -> float:
    """Error that the width of the bins leaves in the states; ValueError above `max_error`, a warning above `WIDE`."""
    error = _bin_error(prepared, given, untimed, detectors, rng)
    if error > max_error:
        raise ValueError(
            f"Argument `record` has bins too wide for this system: what happens inside them changes the states by "
            f"{error:.1%}. Record with narrower bins, or accept it with max_error={1.2 * error:.2g}."
        )
    if error > WIDE:
        warnings.warn(
            f"The bins of the record leave an error of {error:.1%} in the conditional states; narrower bins would "
            "tell more.",
            RuntimeWarning,
            stacklevel=3,
        )
    return error


def _bin_error(
    prepared: Prepared,
    given: ensemble.Given,
    untimed: dict[str, np.ndarray],
    detectors: tuple[Detector, ...],
    rng: np.random.Generator,
) -> float:
    """Distance between states on the record spread evenly inside its bins and on the record with random bridges."""
    if not (given.current.shape[1] or untimed):
        return 0.0
    kept = min(len(given.current), SPLIT_TRAJECTORIES)
    n_bins = min(len(prepared.edges) - 1, SPLIT_BINS)
    edges = prepared.edges[: n_bins + 1]
    fine = np.append((edges[:-1, None] + np.diff(edges)[:, None] * np.arange(PARTS) / PARTS).ravel(), edges[-1])
    current = np.repeat(given.current[:kept, :, :n_bins], PARTS, axis=2)
    clicks = [_until(c, edges[-1]) for c in given.clicks[:kept]]
    refined = current + _bridges(current, np.diff(fine), prepared, rng)
    redrawn = clicks
    if untimed:
        counters = [d.name for d in detectors if d.kind == "jumps"]
        again = {name: _draw_times(c[:kept, :n_bins], edges, rng) for name, c in untimed.items()}
        lists = [
            [again[name][k] if name in again else clicks[k][0][clicks[k][1] == j] for j, name in enumerate(counters)]
            for k in range(kept)
        ]
        redrawn = [_merge(one, edges) for one in lists]
    saved = max(1, n_bins // 64) * PARTS
    split = prepared.rebinned(fine, saved)
    even = (
        _states(prepared.rebinned(edges, saved // PARTS), ensemble.Given(given.current[:kept, :, :n_bins], clicks))
        if any(loop.immediate for loop in prepared.feedback)  # which takes a bin as one step
        else _states(split, ensemble.Given(current, clicks))
    )
    bridged = _states(split, ensemble.Given(refined, redrawn))
    return float(np.sqrt(np.mean(_distance(even, bridged, prepared.is_ket) ** 2)))


def _until(clicks: tuple[np.ndarray, np.ndarray], end: float) -> tuple[np.ndarray, np.ndarray]:
    times, owner = clicks
    return times[times < end], owner[times < end]


def _bridges(current: np.ndarray, widths: np.ndarray, prepared: Prepared, rng: np.random.Generator) -> np.ndarray:
    """White noise on the parts of every bin, with no sum: what a Brownian bridge adds to a straight line."""
    out = np.zeros_like(current)
    scale = 1 / np.sqrt(widths)
    for i, detector in enumerate(prepared.roles.currents):
        noise_ = rng.standard_normal(current[:, i].shape).astype(complex)
        if detector.kind == "heterodyne":
            noise_ = (noise_ + 1j * rng.standard_normal(noise_.shape)) / np.sqrt(2)
        parts = noise_.reshape(len(current), -1, PARTS)
        out[:, i] = scale * (parts - parts.mean(axis=2, keepdims=True)).reshape(noise_.shape)
    return out


def _states(prepared: Prepared, given: ensemble.Given) -> np.ndarray:
    """States along a record: (trajectory, time, size)."""
    batches, _ = ensemble.run(prepared.job(0, len(given.current), given), 1, False)
    return np.concatenate([b.states for b in batches])


def _distance(a: np.ndarray, b: np.ndarray, is_ket: bool) -> np.ndarray:
    """Frobenius distance of density matrices over √2."""
    if is_ket:
        overlap = np.abs(np.sum(a.conj() * b, axis=-1)) ** 2
        return np.sqrt(np.maximum(0.0, 1.0 - overlap))
    return np.sqrt(0.5 * np.sum(np.abs(a - b) ** 2, axis=-1))
