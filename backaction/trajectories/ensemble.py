"""Ensembles: batches of trajectories over joblib, with progress, interruption and checks."""

from __future__ import annotations

import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from . import langevin, noise
from .drive import own_numbers
from .kernels import counting as counting_kernel
from .kernels import density as density_kernel
from .kernels import dicke as dicke_kernel
from .kernels import ket as ket_kernel
from .kernels import moments as moment_kernel
from .kernels import phasespace as phasespace_kernel
from .kernels.drive import Drive, no_drive
from .simd import at_line, line_up

Plan = (
    ket_kernel.KetPlan
    | counting_kernel.CountingPlan
    | density_kernel.DensityPlan
    | moment_kernel.MomentPlan
    | dicke_kernel.DickePlan
    | phasespace_kernel.PhaseSpacePlan
    | langevin.LangevinPlan
)


class Kernel(NamedTuple):
    """How a plan of one type is run.

    Attributes
    ----------
    run : callable
        The kernel.
    work : callable
        (plans) -> state and scratch of a batch.
    save : callable
        (plan, work, expectations, states): what holds at the first edge.
    lanes : callable
        (plan) -> trajectories of a batch.
    cost : callable
        (plan) -> multiply-adds of a step of a batch, about.
    lost : str
        What to say of a state that is not finite, with {t} and {norm}.
    """

    run: Callable[..., tuple]
    work: Callable[[list[Any]], Any]
    save: Callable[[Any, Any, np.ndarray, np.ndarray], None]
    lanes: Callable[[Any], int]
    cost: Callable[[Any], float]
    lost: str


_COARSE = (
    "Trajectory state lost before t = {t:.6g} (norm {norm:.3g}): the step is far too coarse or an operator too large; "
    "pass a smaller `step`."
)
KERNELS: dict[type, Kernel] = {
    ket_kernel.KetPlan: Kernel(
        ket_kernel.run_ket,
        lambda plans: ket_kernel.ket_work(plans[0]),
        lambda plan, work, e, s: ket_kernel.save(plan, work, 0, 0, e, s),
        lambda plan: ket_kernel.LANES,
        lambda plan: ket_kernel.LANES * plan.re.size * max(1, plan.orders[:, 0].prod()),
        _COARSE,
    ),
    counting_kernel.CountingPlan: Kernel(
        counting_kernel.run_counting,
        lambda plans: counting_kernel.counting_work(plans[0]),
        lambda plan, work, e, s: counting_kernel.save(plan, work, 0, e, s),
        counting_kernel.lanes,
        lambda plan: counting_kernel.lanes(plan) * plan.re.size,
        _COARSE,
    ),
    density_kernel.DensityPlan: Kernel(
        density_kernel.run_density,
        lambda plans: density_kernel.density_work(*plans),
        lambda plan, work, e, s: density_kernel.save(plan, work, work.place[1], 0, e, s),
        lambda plan: density_kernel.LANES,
        density_kernel.multiply_adds,
        _COARSE,
    ),
    moment_kernel.MomentPlan: Kernel(
        moment_kernel.run_moments,
        lambda plans: moment_kernel.moment_work(plans[0]),
        lambda plan, work, e, s: moment_kernel.save(plan, work, 0, e, s),
        lambda plan: moment_kernel.LANES,
        lambda plan: moment_kernel.LANES * plan.re.size,
        "Means and covariances diverge before t = {t:.6g}: pass a smaller `step`; if that does not help, cumulants of "
        "third order must not be neglected here.",
    ),
    dicke_kernel.DickePlan: Kernel(
        dicke_kernel.run_dicke,
        lambda plans: dicke_kernel.dicke_work(plans[0]),
        lambda plan, work, e, s: dicke_kernel.save(plan, work, 0, e),
        lambda plan: dicke_kernel.LANES,
        dicke_kernel.multiply_adds,
        _COARSE,
    ),
    phasespace_kernel.PhaseSpacePlan: Kernel(
        phasespace_kernel.run_phasespace,
        lambda plans: phasespace_kernel.phasespace_work(plans[0]),
        lambda plan, work, e, s: phasespace_kernel.save(plan, work, 0, e, s),
        lambda plan: phasespace_kernel.LANES,
        lambda plan: phasespace_kernel.LANES * plan.re.size,
        "Amplitudes diverge before t = {t:.6g}: pass a smaller `step`; if that does not help, the classical equations "
        "have no bound.",
    ),
    langevin.LangevinPlan: Kernel(
        langevin.run_langevin,
        lambda plans: langevin.langevin_work(plans[0]),
        lambda plan, work, e, s: langevin.save(plan, work, 0, e, s),
        langevin.lanes,
        langevin.multiply_adds,
        "Values diverge before t = {t:.6g}: pass a smaller `step`; if that does not help, the equations have no bound.",
    ),
}


class Run(NamedTuple):
    """Consecutive bins of equal width, their plan, and its time dependence."""

    plan: Plan
    first: int
    n_bins: int
    width: float
    drive: Drive = no_drive()


@dataclass(frozen=True)
class Given:
    """A record to condition on.

    Attributes
    ----------
    current : ndarray, (ntraj, n_currents, n_bins) complex
        Bin averages.
    clicks : list of (times, counter)
        Per trajectory, in order of time.
    """

    current: np.ndarray
    clicks: list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Job:
    """All that a worker needs; the same for every batch.

    Attributes
    ----------
    runs : list of Run
        Covering the time axis.
    edges : ndarray, (n_bins + 1,)
        Bin edges.
    initial : list of (probability, state)
        Mixture that a trajectory starts from (a single state most often), or one state per trajectory.
    per_trajectory : bool
        Is `initial` one state per trajectory?
    """

    runs: list[Run]
    edges: np.ndarray
    initial: list[tuple[float, np.ndarray]]
    per_trajectory: bool
    seed: int
    ntraj: int
    save_every: int
    n_currents: int
    n_observables: int
    states: bool
    given: Given | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def lanes(self) -> int:
        return self.kernel.lanes(self.runs[0].plan)

    @property
    def kernel(self) -> Kernel:
        """What runs its plans."""
        return KERNELS[type(self.runs[0].plan)]

    @property
    def is_vector(self) -> bool:
        """Are states vectors (as against matrices)?"""
        return not isinstance(self.runs[0].plan, density_kernel.DensityPlan)

    @property
    def counts(self) -> bool:
        """Do the states go through the kernel that counts only?"""
        return isinstance(self.runs[0].plan, counting_kernel.CountingPlan)

    @property
    def dim(self) -> int:
        return self.runs[0].plan.ptr.shape[1] - 1

    @property
    def n_saved(self) -> int:
        return (len(self.edges) - 1) // self.save_every + 1


class Batch(NamedTuple):
    """What a finished batch brings home, lanes cut to the trajectories asked for."""

    first: int
    current: np.ndarray  # (trajectories, n_currents, n_bins) complex
    expectations: np.ndarray  # (trajectories, n_observables, n_saved) complex
    states: np.ndarray  # (trajectories, n_saved, size) complex
    clicks: list[tuple[np.ndarray, np.ndarray]]  # per trajectory: times, counter
    edges: np.ndarray  # (trajectories, n_edges) time-averaged populations
    hazard: np.ndarray  # (trajectories,) mean probability of an event per step
    log_likelihood: np.ndarray  # (trajectories,) of a given record, without the counters' reference


def joined_currents(batches: list[Batch]) -> np.ndarray:
    """Records of all batches (trajectory, current, bin); no copy if they were written side by side."""
    parts = [b.current for b in batches]
    memory, ntraj = parts[0].base, sum(map(len, parts))
    places = [part.ctypes.data for part in parts]
    if (
        isinstance(memory, np.ndarray)
        and all(part.base is memory for part in parts)  # not what other processes sent
        and all(place == places[0] + b.first * parts[0].strides[0] for place, b in zip(places, batches, strict=True))
        and batches[-1].first + len(parts[-1]) == ntraj
    ):
        shape = (ntraj, *parts[0].shape[1:])
        return np.ndarray(shape, complex, memory, places[0] - memory.ctypes.data)
    return np.concatenate(parts)


class Interrupted(Exception):
    """Raised inside a worker whose run is being stopped."""


class _Live:
    """What the main process shares with workers in the same process."""

    def __init__(self, job: Job, bar: tqdm) -> None:
        self.stop = threading.Event()
        self.bar = bar
        # written side by side: joined without a copy
        batches = -(-job.ntraj // job.lanes)
        self.current = at_line((batches * job.lanes, job.n_currents, len(job.edges) - 1), complex)
        self.lock = threading.Lock()
        self.reported = False

    def advance(self, trajectories: int, bins: int) -> None:
        if self.stop.is_set():
            raise Interrupted
        with self.lock:
            self.reported = True
            self.bar.update(trajectories * bins)


_LIVE: dict[str, _Live] = {}

#: Work per kernel call, in multiply-adds: some tens of milliseconds, so that Ctrl-C is answered.
BLOCK_WORK = 3e8


def run(job: Job, n_jobs: int, progress: bool) -> tuple[list[Batch], bool]:
    """Run all batches; returns those that finished, in order, and whether the user interrupted."""
    n_bins = len(job.edges) - 1
    batches = range(0, job.ntraj, job.lanes)
    done: list[Batch] = []
    interrupted = False
    with tqdm(total=job.ntraj * n_bins, unit="bin", unit_scale=True, disable=not progress, desc="trajectories") as bar:
        live = _LIVE[job.key] = _Live(job, bar)
        try:
            for batch in _parallel(job, batches, n_jobs):
                done.append(batch)
                if not live.reported:  # workers in other processes cannot reach the bar
                    bar.update(len(batch.current) * n_bins)
        except KeyboardInterrupt:
            live.stop.set()
            interrupted = True
            if not done:
                raise
            warnings.warn(
                f"Interrupted: returning the {sum(len(b.current) for b in done)} trajectories that had finished, "
                f"of {job.ntraj}. The same call with the same seed gives them again.",
                RuntimeWarning,
                stacklevel=3,
            )
        finally:
            live.stop.set()
            _LIVE.pop(job.key, None)
    return sorted(done, key=lambda b: b.first), interrupted


def _parallel(job: Job, batches: range, n_jobs: int) -> Iterator[Batch]:
    if n_jobs == 1:
        # Beside the main thread, too: Ctrl-C inside a kernel call would surface as numba's SystemError.
        with ThreadPoolExecutor(max_workers=1) as thread:
            for first in batches:
                task = thread.submit(run_batch, job, first)
                try:
                    yield task.result()
                except KeyboardInterrupt:
                    _LIVE[job.key].stop.set()
                    raise
        return
    # Kernels release the GIL, so threads share plans and compiled code; any backend of
    # joblib.parallel_config may take their place.  max_nbytes: memory-mapped plans are read-only,
    # a second signature to compile.
    pool = joblib.Parallel(n_jobs=n_jobs, prefer="threads", max_nbytes=None, return_as="generator_unordered")
    yield from pool(joblib.delayed(run_batch)(job, first) for first in batches)


def run_batch(job: Job, first: int) -> Batch:
    """One batch of `job.lanes` trajectories, from `first` on; depends on (seed, trajectory) only."""
    lanes = job.lanes
    live = _LIVE.get(job.key)
    rngs = tuple(noise.generator(job.seed, first + lane) for lane in range(lanes))
    kernel, plan0 = job.kernel, job.runs[0].plan
    work = line_up(kernel.work([r.plan for r in job.runs]))
    if not job.counts:
        work.words[:] = noise.words(rngs)
    _start(job, work, rngs, first)
    n_bins = len(job.edges) - 1
    kept = min(lanes, job.ntraj - first)
    size = (job.dim if job.is_vector else job.dim**2) if job.states else 0
    current = live.current[first : first + lanes] if live else at_line((lanes, job.n_currents, n_bins), complex)
    if job.given is not None:
        work = _give(job.given, work, current, first, kept)
    expectations = np.zeros((job.n_observables, job.n_saved, lanes), dtype=complex)
    states = np.zeros((job.n_saved if job.states else 0, lanes, size), dtype=complex)
    kernel.save(plan0, work, expectations, states)
    saved = 1
    clicks: list[tuple[np.ndarray, np.ndarray]] = []
    times, owner = np.empty(256), np.empty((256, 2), dtype=np.int64)
    save_every = job.save_every if job.n_observables or job.states else 0
    for run_ in job.runs:
        plan = own_numbers(run_.plan) if run_.drive.active else run_.plan  # type: ignore[arg-type]
        if run_.drive.active or run_.drive.rotating:
            n_numbers = max(run_.drive.slot_targets.size, run_.drive.step_targets.size)
            work = work._replace(drive=run_.drive, numbers=np.zeros(n_numbers))
        if isinstance(plan, ket_kernel.KetPlan):
            work = work._replace(rows=line_up(ket_kernel.own_rows(plan)))
        block = max(1, int(BLOCK_WORK / (run_.plan.n_sub * max(1.0, kernel.cost(run_.plan)))))
        if job.counts:
            work.stretch[0] = run_.n_bins  # lanes may be ahead of the bins of a call
        for offset in range(0, run_.n_bins, block):
            b0 = run_.first + offset
            n = min(block, run_.n_bins - offset)
            n_save = (b0 + n) // job.save_every - b0 // job.save_every
            times, owner, count = kernel.run(
                plan,
                work,
                rngs,
                float(job.edges[run_.first]),
                run_.width,
                b0,
                offset,
                n,
                save_every,
                offset + n == run_.n_bins,
                current,
                saved,
                expectations,
                states,
                times,
                owner,
            )
            saved += n_save
            if count:
                clicks.append((times[:count].copy(), owner[:count].copy()))
            weight = work.norm if job.is_vector else work.trace
            if not np.all(np.isfinite(weight[:kept])) or np.any(weight[:kept] <= 0):
                raise FloatingPointError(kernel.lost.format(t=job.edges[b0 + n], norm=weight[:kept].min()))
            if live:
                live.advance(kept, n)
    if hasattr(work, "given_next") and np.any(work.given_next[:kept] != work.given_stop[:kept]):
        raise RuntimeError("The kernel did not come to all clicks of the record; this is an error of backaction.")
    steps = sum(r.n_bins * r.plan.n_sub for r in job.runs)
    return Batch(
        first,
        current[:kept],
        np.ascontiguousarray(expectations.transpose(2, 0, 1)[:kept]),
        np.ascontiguousarray(states.transpose(1, 0, 2)[:kept]),
        _clicks_by_lane(clicks, kept, job.edges),
        work.edges.T[:kept] / n_bins,
        work.hazard[:kept] / steps,
        work.log_likelihood[:kept] + np.log(work.likelihood[:kept]),
    )


def _give(given: Given, work: Any, current: np.ndarray, first: int, kept: int) -> Any:
    """Lay the record out for the kernel; lanes beyond the last trajectory repeat it."""
    lanes = len(current)
    chosen = first + np.minimum(np.arange(lanes), kept - 1)
    current[:] = given.current[chosen]
    clicks = [given.clicks[k] for k in chosen]
    ends = np.cumsum([len(times) for times, _ in clicks])
    work.given_stop[:] = ends
    work.given_next[:] = np.concatenate([[0], ends[:-1]])
    work.threshold[:] = 0.0
    return work._replace(
        given_times=np.concatenate([times for times, _ in clicks]),
        given_owner=np.concatenate([owner for _, owner in clicks]).astype(np.int64),
    )


def _start(job: Job, work: Any, rngs: tuple, first: int) -> None:
    """Put every lane into its initial state; a mixture is drawn from with the lane's own generator."""
    lanes = job.lanes
    if job.counts:
        re, im = counting_kernel.elements(work, job.dim)
    elif job.is_vector:
        re, im = (x.reshape(-1, lanes)[: job.dim] for x in (work.re, work.im))
    else:
        re, im = density_kernel.elements(work, job.dim)
    for lane, rng in enumerate(rngs):
        if job.per_trajectory:
            state = job.initial[min(first + lane, len(job.initial) - 1)][1]
        elif len(job.initial) == 1:
            state = job.initial[0][1]
        else:
            cumulative = np.cumsum([p for p, _ in job.initial])
            state = job.initial[int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))][1]
        re[..., lane], im[..., lane] = np.real(state), np.imag(state)
        work.threshold[lane] = rng.random()


def _clicks_by_lane(
    clicks: list[tuple[np.ndarray, np.ndarray]], kept: int, edges: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    if not clicks:
        return [(np.empty(0), np.empty(0, dtype=np.int64))] * kept
    # a sum of steps may round past an edge of the run
    last = np.nextafter(edges[-1], -np.inf)
    times = np.clip(np.concatenate([t for t, _ in clicks]), edges[0], last)
    owner = np.concatenate([o for _, o in clicks])
    out = []
    for lane in range(kept):
        mine = owner[:, 0] == lane
        order = np.argsort(times[mine], kind="stable")
        out.append((times[mine][order], owner[mine, 1][order]))
    return out
