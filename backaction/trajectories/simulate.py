"""`simulate`: the one call from system and unraveling to a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..systems import LangevinSystem, System
from ..unravelings import Unraveling
from . import ensemble, gaussian_runs, noise
from .arguments import bin_edges, count, refuse
from .dicke_runs import PreparedDicke, prepare_dicke
from .feedback import Feedback
from .langevin_runs import PreparedLangevin, prepare_langevin
from .levels import Dicke, Level, Moments, PhaseSpace, as_level
from .moment_runs import PreparedMoments, prepare_moments
from .phasespace_runs import PreparedPhaseSpace, prepare_phasespace
from .preparation import Prepared, check_system, prepare
from .report import recipe
from .schemes import Scheme
from .tolerance import check_tolerance, step_for

if TYPE_CHECKING:
    import xarray as xr

AnyPrepared = (
    Prepared | PreparedMoments | PreparedDicke | PreparedPhaseSpace | PreparedLangevin | gaussian_runs.Prepared
)


def simulate(
    system: System | LangevinSystem,
    unraveling: Unraveling | None,
    times: Any,
    ntraj: int = 1,
    *,
    initial: Any = None,
    seed: int | None = None,
    level: Level | str = "auto",
    scheme: Scheme | None = None,
    step: float | None = None,
    tolerance: float | None = None,
    observables: Sequence[str] | Mapping[str, Any] = (),
    states: bool = False,
    save_every: int = 1,
    feedback: Feedback | Sequence[Feedback] | None = None,
    n_jobs: int = 1,
    max_memory: str | float = "1 GiB",
    progress: bool = True,
) -> xr.Dataset:
    """Simulate monitored runs: ``dρ = 𝓛ρ dt + backaction of what the detectors saw``.

    Parameters
    ----------
    system : System or LangevinSystem
        What evolves; a Langevin system without a `level`.
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
    level : {"auto", "ket", "density", "moments", "dicke", "phasespace"} or Ket, Density, Moments, Dicke or PhaseSpace
        "auto": complete monitoring → state vectors; only records asked for → state vectors with hidden
        detectors; otherwise conditional density matrices.  Moments (no `scheme`, `tolerance` or `feedback`) must be
        asked for; ``states`` are then means and covariances, in ``moments``.  Linear bosonic systems in Gaussian states
        are exact there for bins of any width (detectors of constant phase), unless a `step` asks for the general
        equations.  "phasespace": truncated Wigner; see `ba.PhaseSpace`.
    scheme : Splitting or Rouchon, optional
        How a step is taken; ``ba.Splitting()`` (weak order 2) if None.
    step : float, optional
        Upper bound of the internal step, which divides the bins; chosen from the rates if None.  Runs with
        counters only have no step error: leave it unset there.
    tolerance : float, optional
        In place of `step`: bound of the root mean square distance (Frobenius/√2, the trace distance of pure states)
        between the run's states and the exact conditional states that go with the same noise, at its largest over the
        run.  Short pilot runs, the same for every `seed`, measure that error and choose the step (``attrs["step"]``),
        never longer than the default.  State vectors with hidden detectors are compared with those of an observer who
        reads these, too.  Not with `feedback`.
    observables : sequence of str, or mapping of str to operator
        Names from `system.observables`, or names of your own with operators; followed at the edges of the bins.
    states : bool
        Keep the states, too.
    save_every : int
        Keep observables and states at every `save_every`-th edge.
    feedback : Feedback or sequence of Feedback, optional
        Hamiltonians proportional to measured currents, see `ba.Feedback`.
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
        CF's contiguous ragged form; ``click_start_<channel>``, where those of a trajectory begin.
        ``expect_<observable>`` (trajectory, time), or ``hidden_<observable>`` where the state also knows what hidden
        detectors saw.  ``state`` if asked for.  At level "phasespace" ``expect_<observable>`` is the observable's Weyl
        symbol on the path, conditioned on nothing, and states are ``amplitude`` (trajectory, time, mode).
        ``edge_population`` (trajectory, edge), for symbolic systems.  ``attrs["strong_order"]``: 1, or 1/2 where
        measured operators do not commute, so that a path's states converge slowly (averages do not).

    Raises
    ------
    ValueError
        For arguments that do not fit; the message names the argument, what it was, and what to do.
    FloatingPointError
        If a state is lost to a step that is far too coarse.

    Warns
    -----
    RuntimeWarning
        If the step is too coarse or an edge of the basis is populated; with `tolerance`, if measured operators do
        not commute, so that the error of a path falls with the square root of the step only.

    Notes
    -----
    Wiseman and Milburn, *Quantum Measurement and Control*, chapter 4; [T] (3.11)–(3.15).  The scheme is a
    symmetric splitting of weak order 2; see the documentation's page on accuracy.
    """
    if isinstance(system, LangevinSystem):
        refuse("Langevin systems, which nobody measures", unraveling=unraveling)
        unraveling = Unraveling(())
    else:
        unraveling = check_system(system, unraveling)
    edges = bin_edges(times)
    ntraj = count(ntraj, "ntraj")
    seed_used = noise.entropy(seed)
    common: dict[str, Any] = {
        "initial": initial, "step": step, "observables": observables, "states": states, "save_every": save_every,
        "n_jobs": n_jobs, "max_memory": max_memory,
    }  # fmt: skip
    chosen = as_level(level)
    prepared: AnyPrepared
    only_exact = {"scheme": scheme, "tolerance": tolerance, "feedback": feedback}
    if isinstance(chosen, Moments):
        refuse("moments", **only_exact)
    if isinstance(system, LangevinSystem):
        refuse("Langevin systems", level=chosen, **only_exact)
        prepared = prepare_langevin(system, edges, ntraj, seed=seed_used, **common)
    elif gaussian_runs.applies(system, unraveling.detectors, chosen, step):
        del common["step"]
        prepared = gaussian_runs.prepare(system, unraveling.detectors, edges, ntraj, seed=seed_used, **common)
    elif isinstance(chosen, Moments):
        prepared = prepare_moments(system, unraveling, edges, ntraj, level=chosen, continues_seed=seed_used, **common)
    elif isinstance(chosen, Dicke):
        refuse("level 'dicke'", **only_exact)
        prepared = prepare_dicke(system, unraveling, edges, ntraj, level=chosen, **common)
    elif isinstance(chosen, PhaseSpace):
        refuse("level 'phasespace'", **only_exact)
        prepared = prepare_phasespace(system, unraveling, edges, ntraj, seed=seed_used, **common)
    else:
        if tolerance is not None:
            check_tolerance(tolerance, step, feedback)
        prepared = prepare(
            system, unraveling, edges, ntraj, level=level, scheme=scheme, continues_seed=seed_used, feedback=feedback,
            **common,
        )  # fmt: skip
    if not (prepared.names or states or prepared.recorded):
        raise ValueError("Argument `unraveling` records nothing and no `observables` or `states` are asked for.")
    if tolerance is not None and isinstance(prepared, Prepared):
        step = step_for(prepared, tolerance)
        prepared = prepared if step is None else prepared.with_step(step)
    if isinstance(prepared, gaussian_runs.Prepared):
        result, interrupted = gaussian_runs.run(prepared, seed=seed_used, progress=progress), False
    else:
        batches, interrupted = ensemble.run(prepared.job(seed_used, ntraj), int(n_jobs), progress)
    attrs = {
        "title": f"{system.name} monitored by {unraveling!r}",
        "interrupted": int(interrupted),
        "seed": str(seed_used),
        "recipe": recipe(
            system, unraveling, edges, ntraj, seed_used, level, step, list(prepared.names), states, save_every, initial,
        ),
    }  # fmt: skip
    if tolerance is not None:
        attrs["tolerance"] = float(tolerance)
    if isinstance(prepared, gaussian_runs.Prepared):
        return gaussian_runs.labelled(prepared, result, attrs, records=True)
    return prepared.dataset(batches, attrs)
