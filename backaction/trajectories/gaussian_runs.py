"""`simulate`, `condition` and `smooth` for linear bosonic systems, exactly: from checked arguments to a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.linalg as la
from tqdm.auto import tqdm

from ..memory import check_size, in_bytes, text
from ..systems import Operator, System
from ..systems.linear import (
    LinearModel,
    from_moments,
    from_site_states,
    letter_covariances,
    linear_model,
    moment_variables,
    positions,
    quadratic_form,
    stationary,
    symplectic,
    why_not_linear,
)
from ..systems.moments import MomentEquations, Polynomial
from ..systems.system import check_site_states
from ..unravelings import Detector
from . import ensemble, noise
from .arguments import check_continues, check_run, count, last_states, stretches, symbolic_observables
from .gaussian_plan import UNSTABLE, Bin, Chunk, Rest, chunks, exact_bin, measured
from .kernels.gaussian import advance_means, retreat_scores
from .levels import Level, Moments
from .moment_runs import named_moments
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Trajectories that a kernel advances together, padded, so that a path's bits do not depend on how many there are.
LANES = 16
#: An uncertainty product may be below Heisenberg's by this fraction of the largest variance.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes
    ----------
    detectors : tuple of Detector
        Those that measure, recorded or not.
    parts : list of (int, int, Bin)
        Stretches of equal bins: the first, their number, and one of them.
    mean : ndarray, (2n, padded ntraj)
        To begin with.
    V : ndarray, (2n, 2n)
    operators : dict of str to Operator
        Observables.
    """

    system: System
    model: LinearModel
    detectors: tuple[Detector, ...]
    parts: list[tuple[int, int, Bin]]
    edges: np.ndarray
    ntraj: int
    mean: np.ndarray
    V: np.ndarray
    operators: dict[str, Operator]
    states: bool
    save_every: int
    n_jobs: int
    limit: float

    @property
    def equations(self) -> MomentEquations:
        """For means of operators."""
        return MomentEquations(self.system, 2)

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.operators)

    @property
    def recorded(self) -> list[tuple[Detector, slice]]:
        """Recorded detectors, and their measurements."""
        out, at = [], 0
        for d in self.detectors:
            n = 2 if d.kind == "heterodyne" else 1
            if d.recorded:
                out.append((d, slice(at, at + n)))
            at += n
        return out

    @property
    def n_saved(self) -> int:
        """Edges at which observables are kept."""
        return (len(self.edges) - 1) // self.save_every + 1


def applies(system: System, detectors: Sequence[Detector], level: Level | None, step: float | None) -> bool:
    """Is this a run of moments that can be exact?  With a `step` the general equations are asked for."""
    return (
        isinstance(level, Moments)
        and level.order == 2
        and step is None
        and not any(d.kind == "jumps" or callable(d.phase) for d in detectors)
        and why_not_linear(system) is None
    )


def prepare(
    system: System,
    detectors: Sequence[Detector],
    edges: np.ndarray,
    ntraj: int,
    *,
    initial: Any,
    observables: Sequence[str] | Mapping[str, Any],
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
    copies: int = 1,
    seed: int | None = None,
) -> Prepared:
    """Check and discretise; `copies` is how many arrays of the size of the record are made."""
    save_every = count(save_every, "save_every")
    check_run(None, states, n_jobs)
    model = linear_model(system)
    what = measured(model, detectors)
    operators = symbolic_observables(system, observables)
    n, n_bins = len(model.A), len(edges) - 1
    n_recorded = sum(d.recorded for d in detectors)
    n_variables = n // 2 * (n + 3) if states else 0  # at most
    size = 16.0 * ntraj * (n_bins * n_recorded * copies + (n_bins // save_every + 1) * (len(operators) + n_variables))
    check_size(size, max_memory, more=", detectors with recorded=False")
    mean, V = _start(model, system, initial, ntraj, seed)
    padded = np.zeros((n, -(-ntraj // LANES) * LANES))
    padded[:, :ntraj] = mean.T
    known: dict[float, Bin] = {}
    parts = []
    for first, number, width in stretches(edges):
        if width not in known:
            known[width] = exact_bin(model, what, width)
        parts.append((first, number, known[width]))
    return Prepared(
        system, model, tuple(detectors), parts, edges, ntraj, padded, V, operators, bool(states), save_every,
        int(n_jobs), in_bytes(max_memory),
    )  # fmt: skip


def _start(
    model: LinearModel, system: System, initial: Any, ntraj: int, seed: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Means (1 or ntraj, 2n) and covariances to begin with."""
    if initial is None:
        initial = system.initial
    if isinstance(initial, str):
        if initial != "steady":
            raise ValueError(f'Argument `initial` must be "steady" if it is a string, but is {initial!r}.')
        mean, V = stationary(model)
        return mean[None], V
    if hasattr(initial, "data_vars"):
        check_continues(initial, seed)
        initial = last_states(initial, "moments")
    elif initial is None or isinstance(initial, Mapping):
        check_site_states(initial or {}, {s.name for s in model.sites})
        mean, V = from_site_states(model, initial or {})
        return mean[None], V
    values = np.asarray(initial, dtype=complex)
    n = len(moment_variables(model))
    if values.shape not in ((n,), (ntraj, n)) or not np.all(np.isfinite(values)):
        raise ValueError(
            f'Argument `initial` must be site states, "steady", a dataset with moments, or finite values of the {n} '
            f"variables, ({n},) or ({ntraj}, {n}), but has shape {values.shape}."
        )
    found = [from_moments(model, row) for row in np.atleast_2d(values)]
    V = found[0][1]
    scale = float(np.abs(V).max())
    if max(float(np.abs(other - V).max()) for _, other in found) > ROUNDING * scale:
        raise ValueError(
            "Argument `initial` must have the same covariances in all trajectories of a linear system, but has "
            "several; run them apart, or pass a `step` for the general equations of moments."
        )
    if la.eigvalsh(V + 1j * symplectic(len(model.sites))).min() < -ROUNDING * scale:
        raise ValueError("Argument `initial` must obey the uncertainty relation, but its covariances do not.")
    return np.array([mean for mean, _ in found]), V


def _observables(prepared: Prepared) -> list[tuple[Polynomial, dict[Any, tuple[int, ...]]]]:
    """Means of the observables as polynomials, and the letters of their variables."""
    equations = prepared.equations
    out = []
    for operator in prepared.operators.values():
        polynomial = equations.mean(operator)
        names = list(dict.fromkeys(v for key in polynomial for v in key))
        out.append((polynomial, dict(zip(names, positions(prepared.model, names), strict=True))))
    return out


def _letters(mean: np.ndarray) -> np.ndarray:
    """⟨a⟩, ⟨a†⟩ of every mode, complex (…, 2n, lanes), from quadratures."""
    out = np.empty(mean.shape, dtype=complex)
    out[..., ::2, :].real, out[..., ::2, :].imag = 0.5 * mean[..., ::2, :], 0.5 * mean[..., 1::2, :]
    out[..., 1::2, :] = out[..., ::2, :].conj()
    return out


class Result(NamedTuple):
    """Arrays of a finished run."""

    current: np.ndarray  # (ntraj, n_currents, n_bins) complex
    innovation: np.ndarray  # the same, or without bins
    spread: np.ndarray  # (n_currents, n_bins) predicted standard deviations
    expectations: np.ndarray  # (ntraj, n_observables, n_saved) complex
    states: np.ndarray  # (ntraj, n_saved, n_variables) complex
    log_likelihood: np.ndarray  # (ntraj,)
    means: np.ndarray  # (n_saved, 2n, padded ntraj) if kept
    chunks: list[Chunk]  # if kept


def run(
    prepared: Prepared,
    *,
    seed: int = 0,
    given: np.ndarray | None = None,
    keep: bool = False,
    progress: bool = False,
) -> Result:
    """All trajectories through all bins.

    Parameters
    ----------
    prepared : Prepared
    seed : int
        Trajectory k draws from ``noise.generator(seed, k)``.
    given : ndarray of complex, (ntraj, n_currents, n_bins), optional
        A record to condition on; its bin averages.
    keep : bool
        Keep means and gains, for smoothing.
    """
    ntraj, n_bins = prepared.ntraj, len(prepared.edges) - 1
    n, m = len(prepared.model.A), len(prepared.parts[0][2].gamma)
    recorded, padded = prepared.recorded, prepared.mean.shape[1]
    observables = _observables(prepared)
    variables = positions(prepared.model, moment_variables(prepared.model)) if prepared.states else []
    shape = (padded, len(recorded), n_bins)
    out = Result(
        np.empty(shape if given is None else (padded, len(recorded), 0), dtype=complex),
        np.empty(shape if given is not None else (padded, len(recorded), 0), dtype=complex),
        np.empty((len(recorded), n_bins)),
        np.empty((padded, len(observables), prepared.n_saved), dtype=complex),
        np.empty((padded, prepared.n_saved, len(variables)), dtype=complex),
        np.zeros(padded),
        np.empty((prepared.n_saved if keep else 0, n, padded)),
        [],
    )
    batches = range(0, padded, LANES)
    rngs = [] if given is not None else [noise.generator(seed, k) for k in range(ntraj)]
    last = {first: np.ascontiguousarray(prepared.mean[:, first : first + LANES]) for first in batches}

    def save(first: int, rows: slice, mean: np.ndarray, W: np.ndarray) -> None:
        """Observables and states of a batch at saved edges: means (t, 2n, LANES), normally ordered covariances W."""
        chosen = slice(first, first + LANES)
        if keep:
            out.means[rows, :, chosen] = mean
        if not (observables or variables):
            return
        mu = _letters(mean)
        for i, (polynomial, names) in enumerate(observables):
            total = np.zeros((len(mean), LANES), dtype=complex)
            for key, c in polynomial.items():
                term = np.full((len(mean), LANES), complex(c))
                for v in key:
                    where = names[v]
                    term *= mu[:, where[0]] if len(where) == 1 else W[:, where[0], where[1], None]
                total += term
            out.expectations[chosen, i, rows] = total.T
        for i, where in enumerate(variables):
            values = mu[:, where[0]] if len(where) == 1 else W[:, where[0], where[1], None]
            out.states[chosen, rows, i] = np.broadcast_to(values, (len(mean), LANES)).T

    def advance(first: int, chunk: Chunk, L: np.ndarray, G: np.ndarray, at: np.ndarray, rows: slice, W: Any) -> None:
        size, bin_ = len(chunk.which), chunk.bin
        bins = slice(chunk.first, chunk.first + size)
        y, e = np.zeros((size, m, LANES)), np.zeros((size, m, LANES))
        mean = np.empty((size + 1, n, LANES))
        mean[0] = last[first]
        if given is None:
            for lane, rng in enumerate(rngs[first : first + LANES]):
                e[:, :, lane] = rng.standard_normal((size, m))
        else:
            some = given[first : first + LANES, :, bins]
            for i, (d, where) in enumerate(recorded):
                y[:, where, : len(some)] = _to_measurements(d, some[:, i] * bin_.width)
        kept = len(rngs[first : first + LANES]) if given is None else len(some)
        likelihood = np.zeros(LANES)
        advance_means(
            bin_.width, bin_.Phi, bin_.beta, bin_.H, bin_.gamma, chunk.which, L, G, given is not None, y, e, mean,
            likelihood,
        )  # fmt: skip
        last[first] = mean[-1].copy()
        if not np.all(np.isfinite(last[first][:, :kept])):
            raise FloatingPointError(UNSTABLE)
        out.log_likelihood[first : first + LANES] += likelihood
        for i, (d, where) in enumerate(recorded):
            if given is None:
                out.current[first : first + LANES, i, bins] = _from_measurements(d, y[:, where]) / bin_.width
            else:
                out.innovation[first : first + LANES, i, bins] = _from_measurements(d, e[:, where])
        if at.size:
            save(first, rows, np.ascontiguousarray(mean[1:][at]), W)

    workers = 1 if prepared.n_jobs == 1 else prepared.n_jobs if prepared.n_jobs > 0 else None
    W0 = letter_covariances(prepared.model, prepared.V)[None]
    for first in batches:
        save(first, slice(0, 1), last[first][None], W0)
    bar = tqdm(total=ntraj * n_bins, unit="bin", unit_scale=True, disable=not progress, desc="trajectories")
    used = 0.0
    with bar, ThreadPoolExecutor(workers) as pool:
        for chunk in chunks(prepared.parts, prepared.V):
            edge = chunk.first + 1 + np.arange(len(chunk.which))
            at = np.flatnonzero(edge % prepared.save_every == 0)
            begin = int(edge[at[0]]) // prepared.save_every if at.size else 0
            rows = slice(begin, begin + at.size)
            L, G = np.array([g.L for g in chunk.gains]), np.array([g.G for g in chunk.gains])
            for i, (d, where) in enumerate(recorded):
                variance = np.einsum("gij,gij->gi", L[:, where], L[:, where]).sum(axis=1)  # of one or two measurements
                out.spread[i, edge - 1] = (np.sqrt(variance / _parts(d)) / chunk.bin.width)[chunk.which]
            W = None
            if at.size and (observables or variables):
                used_here, inverse = np.unique(chunk.which[at], return_inverse=True)
                after = np.array([chunk.gains[g].after for g in used_here])
                W = letter_covariances(prepared.model, after)[inverse]
            if keep:
                used += 8.0 * sum(x.size for g in chunk.gains for x in g)
                if used > prepared.limit:
                    raise ValueError(
                        f"Argument `max_memory` is {text(prepared.limit)}, but the gains of all bins need more; use "
                        "wider bins, a shorter record, or more memory."
                    )
                out.chunks.append(chunk)
            work = partial(advance, chunk=chunk, L=L, G=G, at=at, rows=rows, W=W)
            # one by one where there is one worker, so that Ctrl-C is answered
            list(map(work, batches) if workers == 1 or len(batches) == 1 else pool.map(work, batches))
            bar.update(ntraj * len(chunk.which))
    return out._replace(
        current=out.current[:ntraj], innovation=out.innovation[:ntraj], expectations=out.expectations[:ntraj],
        states=out.states[:ntraj], log_likelihood=out.log_likelihood[:ntraj],
    )  # fmt: skip


def _parts(detector: Detector) -> int:
    return 2 if detector.kind == "heterodyne" else 1


def _to_measurements(detector: Detector, increments: np.ndarray) -> np.ndarray:
    """ΔY or √2 (Re, Im)ΔZ, (bins, 1 or 2, trajectories), of increments (trajectories, bins)."""
    if detector.kind == "homodyne":
        return increments.real.T[:, None]
    return np.sqrt(2) * np.stack([increments.real.T, increments.imag.T], axis=1)


def _from_measurements(detector: Detector, y: np.ndarray) -> np.ndarray:
    """ΔY or ΔZ (trajectories, bins) of measurements (bins, 1 or 2, trajectories)."""
    return y[:, 0].T if detector.kind == "homodyne" else (y[:, 0] + 1j * y[:, 1]).T / np.sqrt(2)


def labelled(prepared: Prepared, result: Result, attrs: dict[str, Any], records: bool) -> xr.Dataset:
    """Labelled data of a finished run."""
    ntraj = prepared.ntraj
    attrs = {
        "level": "moments(order=2)",
        "method": "linear system, exact for any width of the bins",
        "complete": 0,
        "step": float(max(b.width for _, _, b in prepared.parts)),
        "interrupted": 0,
        **attrs,
    }
    batch = ensemble.Batch(
        0, result.current, result.expectations, result.states, [], np.empty((ntraj, 0)), np.zeros(ntraj),
        result.log_likelihood,
    )  # fmt: skip
    hermitian = {name: O.hermitian for name, O in prepared.operators.items()}
    hidden = any(not d.recorded for d in prepared.detectors)
    data = dataset(
        [batch], prepared.edges, prepared.save_every, tuple(d for d, _ in prepared.recorded) if records else (), (),
        hermitian, "hidden" if hidden else "expect", prepared.states, result.states.shape[-1], True, [], attrs,
    )  # fmt: skip
    labels = list(map(prepared.equations.label, moment_variables(prepared.model)))
    return named_moments(data, labels) if prepared.states else data


def condition_linear(
    system: System,
    detectors: Sequence[Detector],
    edges: np.ndarray,
    given: ensemble.Given,
    progress: bool,
    **asked: Any,
) -> xr.Dataset:
    """`condition` for a linear system.

    Parameters
    ----------
    system, detectors, edges, given
        Checked and read.
    **asked
        ``initial``, ``observables``, ``states``, ``save_every``, ``n_jobs`` and ``max_memory``, as in `condition`.

    Returns
    -------
    xarray.Dataset
        What `condition` documents, and for every recorded detector ``innovation_<channel>`` (trajectory, bin): what a
        bin's current was beyond its prediction from all earlier bins, divided by the predicted spread: white, of
        variance 1 (complex for heterodyne, E|e|² = 1), and independent of the other detectors', in whose order they are
        made so (Cholesky).  ``innovation_std_<channel>`` (bin): the predicted standard deviation of a bin's current.
    """
    prepared = prepare(system, detectors, edges, len(given.current), copies=2, **asked)
    result = run(prepared, given=given.current, progress=progress)
    data = labelled(prepared, result, {"bin_error": 0.0}, records=False)
    for i, (d, _) in enumerate(prepared.recorded):
        values = result.innovation[:, i]
        data[f"innovation_{d.name}"] = (
            ("trajectory", "bin"),
            values.real.copy() if d.kind == "homodyne" else values,
            {"long_name": f"normalised innovation of the current of {d.name}", "units": "1"},
        )
        data[f"innovation_std_{d.name}"] = (
            "bin",
            result.spread[i],
            {"long_name": f"predicted standard deviation of the current of {d.name}", "units": "rate^(1/2)"},
        )
    data["log_likelihood"] = ("trajectory", result.log_likelihood.copy())
    return data


# === smoothing


def smooth_linear(
    system: System,
    detectors: Sequence[Detector],
    edges: np.ndarray,
    given: ensemble.Given,
    progress: bool,
    **asked: Any,
) -> xr.Dataset:
    """`smooth` for a linear system: Gaussian past quantum states.

    The Wigner functions of the conditional state ρ(t) and of the effect operator E(t) of the later record are both
    Gaussian, and the modified Bryson–Frazier recursion (de Jong, Biometrika 75, 594 (1988), for noises that are
    correlated) gives mean and covariance of their product.

    Parameters
    ----------
    system, detectors, edges, given
        Checked and read.
    **asked
        ``initial``, ``observables``, ``states``, ``save_every``, ``n_jobs`` and ``max_memory``, as in `smooth`.

    Returns
    -------
    xarray.Dataset
        For every observable O of first degree, a quadrature plus a constant:

        * ``expect_<observable>``: mean from the record before t (*filtered*);
        * ``weak_<observable>``: mean of the product of the two Wigner functions, ``½Tr[(Oρ + ρO)E]/Tr ρE``, which is
          what the Rauch–Tung–Striebel smoother of the equivalent classical problem estimates; ``weak_variance_…``
          (time), for Hermitian O, is that smoother's variance, which no projective measurement has;
        * ``smoothed_<observable>``, for Hermitian O: mean of a projective measurement of O at t, and
          ``smoothed_variance_…`` (time) its variance: the conjugate quadrature is integrated out of ρ and E first, as
          such a measurement spoils it (Zhang and Mølmer, Phys. Rev. A 96, 062131 (2017)).

        Classical oscillators, hot and weakly measured, have both alike.

    Raises
    ------
    ValueError
        For observables of higher degree, and `states`.
    """
    if asked["states"] is not False:
        raise ValueError(
            "Argument `states` must be False for the smoothing of linear systems; ask for quadratures as "
            '`observables`, or use level="density".'
        )
    prepared = prepare(system, detectors, edges, len(given.current), copies=2, **asked)
    forms = {}
    for name, operator in prepared.operators.items():
        R, s, c = (
            quadratic_form(operator, prepared.model.sites)
            if all(sum(sum(x) for _, x in monomial) <= 1 for monomial in operator.terms)
            else (np.ones(1), np.zeros(1), 0j)
        )
        if np.any(R):
            raise ValueError(
                f"Argument `observables[{name!r}]` must be of first degree in a and a† for smoothing, but is "
                f'{operator!r}; use level="density" for others.'
            )
        forms[name] = s, c
    size = 16.0 * len(prepared.model.A) * prepared.mean.shape[1] * prepared.n_saved
    if size > prepared.limit:
        raise ValueError(
            f"Argument `max_memory` is {text(prepared.limit)}, but means of all edges need {text(size)}. Use "
            f'`save_every`, fewer records, or pass max_memory="{text(1.2 * size)}".'
        )
    result = run(prepared, given=given.current, keep=True, progress=progress)
    V = [prepared.V, *(c.gains[g].after for c in result.chunks for g in c.which)][:: prepared.save_every]
    back, information = _backwards(prepared, result)
    data = labelled(prepared, result, {"bin_error": 0.0}, records=False)
    n_saved, Omega = prepared.n_saved, symplectic(len(prepared.model.sites))
    for name, (s, c) in forms.items():
        hermitian = bool(np.abs(s.imag).max(initial=0.0) <= 1e-10 * np.abs(s).max(initial=0.0))
        w = np.empty((n_saved, len(s)), dtype=complex)
        d = Omega @ s.real
        variance, spoiled, share = np.empty(n_saved), np.zeros(n_saved), np.zeros(n_saved)
        previous: tuple[Any, Any] = (None, None)
        for t in range(n_saved):
            if previous == (id(V[t]), id(information[t])):
                w[t], variance[t], spoiled[t], share[t] = w[t - 1], variance[t - 1], spoiled[t - 1], share[t - 1]
                continue
            previous = (id(V[t]), id(information[t]))
            w[t] = V[t] @ s
            if hermitian:
                u, J = w[t].real, information[t]
                variance[t] = s.real @ u - u @ J @ u
                known = d @ J @ d  # how well the later record knows the conjugate quadrature
                if known > 1e-14 * np.abs(J).max(initial=0.0) * (d @ d):
                    share[t] = u @ J @ d / known
                    spoiled[t] = (u @ J @ d) ** 2 / known
        ntraj = prepared.ntraj
        filtered = _dot(np.broadcast_to(s, w.shape), result.means) + c
        weak = filtered + _dot(w, back)
        values = {"weak": weak}
        if hermitian:
            values["smoothed"] = weak - share[:, None] * _dot(np.broadcast_to(d, w.shape), back)
            for kind, of in (("weak", variance), ("smoothed", variance + spoiled)):
                data[f"{kind}_variance_{name}"] = ("time", of, {"long_name": _VARIANCES[kind].format(name)})
        for kind, array in values.items():
            shown = np.ascontiguousarray(array.T[:ntraj])
            about = {"long_name": _KINDS[kind].format(name), "conditioned_on": "all of the record"}
            data[f"{kind}_{name}"] = (("trajectory", "time"), shown.real.copy() if hermitian else shown, about)
    data["log_likelihood"] = ("trajectory", result.log_likelihood.copy())
    return data


_KINDS = {"smoothed": "past mean of a projective measurement of {}", "weak": "past mean of a weak measurement of {}"}
_VARIANCES = {"smoothed": "past variance of a projective measurement of {}", "weak": "variance of the smoother of {}"}


def _dot(rows: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Scalar products (t, lanes) of rows (t, n) with vectors (t, n, lanes)."""
    return np.einsum("ti,til->tl", rows, vectors)


def _backwards(prepared: Prepared, result: Result) -> tuple[np.ndarray, list[np.ndarray]]:
    """Score r (n_saved, 2n, padded ntraj) and information J at saved edges: the product has mean m + Vr, V − VJV."""
    n, padded = len(prepared.model.A), prepared.mean.shape[1]
    n_bins, every = len(prepared.edges) - 1, prepared.save_every
    m = len(prepared.parts[0][2].gamma)
    back = np.zeros((prepared.n_saved, n, padded))
    information: list[np.ndarray] = [np.zeros((n, n))] * prepared.n_saved
    J, rest, of, settled = np.zeros((n, n)), Rest(np.zeros((n, n))), None, False
    last = np.zeros((n, padded))
    for chunk in reversed(result.chunks):
        size = len(chunk.which)
        T, read = np.array([g.T for g in chunk.gains]), np.array([g.read for g in chunk.gains])
        edge = chunk.first + np.arange(size)
        at = np.flatnonzero(edge % every == 0)
        for k in range(size - 1, -1, -1):
            here = chunk.gains[chunk.which[k]]
            if here is not of:
                of, settled, rest = here, False, Rest(J)
            if not settled:
                J = here.read.T @ here.read + here.T.T @ J @ here.T
                J = 0.5 * (J + J.T)
                settled = rest.reached(J)
            if edge[k] % every == 0:
                information[edge[k] // every] = J
        for first in range(0, padded, LANES):
            lanes = slice(first, first + LANES)
            e = np.zeros((size, m, LANES))
            some = result.innovation[first : first + LANES, :, chunk.first : chunk.first + size]
            for i, (d, where) in enumerate(prepared.recorded):
                e[:, where, : len(some)] = _to_measurements(d, some[:, i])
            all_ = np.empty((size + 1, n, LANES))
            all_[-1] = last[:, lanes]
            retreat_scores(chunk.which, T, read, e, all_)
            last[:, lanes] = all_[0]
            if at.size:
                back[edge[at] // every, :, lanes] = all_[at]
    if n_bins % every == 0:  # nothing comes after the last edge
        back[-1] = 0.0
    return back, information
