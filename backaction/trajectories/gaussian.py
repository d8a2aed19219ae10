"""Linear bosonic systems, exactly: records, conditional Gaussian states and smoothing for bins of any width.

Quadratures r follow ``dr = (Ar + b)dt + noise`` of diffusion D, and a homodyne detector of ``L = lᵀr + c`` records

    dY = (Cr + d)dt + dW,   C = 2√η Re e^{−iφ}l,   d = 2√η Re e^{−iφ}c,

whose dW is correlated with the noise of r, ``E[dr dW] = N dt`` with ``N = −2√η Ω Im e^{−iφ}l``: the backaction.  A
heterodyne detector is two of them with half the efficiency, a quarter of a turn apart.  Both r at the end of a bin and
the bin's ΔY are linear in r at its beginning plus Gaussian noise whose covariance is an integral of matrix exponentials
(Van Loan, IEEE Trans. Autom. Control 23, 395 (1978)), so that the Kalman filter over bins is the exact conditional
state, however wide they are.  Covariances do not depend on the record and are shared by all trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.linalg as la
from tqdm.auto import tqdm

from ..memory import in_bytes, text
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
from ..systems.states import SiteState
from ..unravelings import Detector
from . import ensemble, noise
from .arguments import count, last_states, stretches
from .compiled import kernel
from .levels import Level, Moments
from .moment_runs import _operators
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Trajectories that a kernel advances together, padded, so that a path's bits do not depend on how many there are.
LANES = 16
#: Bins between two looks at the covariances.
CHUNK = 512
#: Change of covariances, relative to the variances, over half of all bins so far, below which they are constant.
SETTLED = 1e-13
#: Norm of the generator times the step of the series, and terms of it: the rest is below 1e-18.
SERIES, TERMS = 0.5, 20
#: What went wrong where numbers overflow.
UNSTABLE = "A linear system overflows: it is unstable and not measured well enough; end the run earlier."
#: An uncertainty product may be below Heisenberg's by this fraction of the largest variance.
ROUNDING = 1e-9


# === what is measured, and one bin of it


class Measured(NamedTuple):
    """Homodyne measurements in quadratures, m of them: ``dY = (Cr + d)dt + dW``, ``E[dr dW] = N dt``."""

    C: np.ndarray  # (m, 2n)
    d: np.ndarray  # (m,)
    N: np.ndarray  # (2n, m)


class Bin(NamedTuple):
    """One bin: ``r' = Φr + β + w``, ``ΔY = Hr + γ + v``; cov(w) = Q, cov(w, v) = S, cov(v) = R."""

    width: float
    Phi: np.ndarray  # (2n, 2n)
    beta: np.ndarray  # (2n,)
    H: np.ndarray  # (m, 2n)
    gamma: np.ndarray  # (m,)
    Q: np.ndarray  # (2n, 2n)
    S: np.ndarray  # (2n, m)
    R: np.ndarray  # (m, m)


class Gain(NamedTuple):
    """What a bin's record does: ``ΔY = Hr + γ + Le``, ``r' = Φr + β + Ge`` for means r, with e white of variance 1."""

    L: np.ndarray  # (m, m) lower triangular
    G: np.ndarray  # (2n, m)
    after: np.ndarray  # (2n, 2n) covariances at the end of the bin
    T: np.ndarray  # (2n, 2n) Φ − G L⁻¹ H
    read: np.ndarray  # (m, 2n) L⁻¹ H


def measured(model: LinearModel, detectors: Sequence[Detector]) -> Measured:
    """Homodyne measurements of detectors, two of each heterodyne one.

    Raises
    ------
    ValueError
        For counters and for local oscillators that depend on time.
    """
    Omega = symplectic(len(model.sites))
    rows, constants, back = [], [], []
    for detector in detectors:
        if detector.kind == "jumps":
            raise ValueError(
                f"Argument `unraveling`: {detector.name!r} counts, which makes states that are not Gaussian; watch it "
                "by ba.Homodyne or ba.Heterodyne, or choose another level."
            )
        if callable(detector.phase):
            raise ValueError(
                f"Argument `unraveling`: the local oscillator of {detector.name!r} depends on time, which the exact "
                "bins of a linear system do not; use bins that are short against it and pass a `step`, for the general "
                "equations of moments."
            )
        l, c = model.channels[detector.channels[0]]
        parts = (0.0, 0.5 * np.pi) if detector.kind == "heterodyne" else (0.0,)
        scale = 2 * np.sqrt(detector.efficiency / len(parts))
        for quarter in parts:
            turn = np.exp(-1j * (detector.phase + quarter))
            rows.append(scale * (turn * l).real)
            constants.append(scale * (turn * c).real)
            back.append(-scale * Omega @ (turn * l).imag)
    n = len(model.A)
    return Measured(
        np.array(rows).reshape(-1, n), np.array(constants, dtype=float), np.array(back).reshape(-1, n).T.copy()
    )


def exact_bin(model: LinearModel, what: Measured, width: float) -> Bin:
    """Transition and noise of a bin of any width, to rounding.

    With F the generator of (r, Y, 1) and K the diffusion: ``e^{Ft}`` and ``∫e^{Fs}K e^{Fᵀs}ds``, as power series for a
    short time that is then doubled.  Unlike the exponential of one large matrix, this keeps the accuracy of every
    element where those of K differ by many orders.
    """
    n, m = len(model.A), len(what.d)
    F = np.zeros((n + m + 1, n + m + 1))
    F[:n, :n], F[:n, -1] = model.A, model.b
    F[n:-1, :n], F[n:-1, -1] = what.C, what.d
    K = np.zeros_like(F)
    K[:n, :n], K[:n, n:-1], K[n:-1, :n] = model.D, what.N, what.N.T
    K[n:-1, n:-1] = np.eye(m)
    doublings = max(0, int(np.ceil(np.log2(max(la.norm(F, 1), la.norm(F, np.inf)) * width / SERIES + 1e-300))))
    t = width / 2**doublings
    power, term = np.eye(len(F)), t * K
    Phi, noise_ = power.copy(), term.copy()
    for j in range(1, TERMS):
        power = power @ F * (t / j)
        half = F @ term * (t / (j + 1))
        term = half + half.T
        Phi, noise_ = Phi + power, noise_ + term
    for _ in range(doublings):
        noise_ = noise_ + Phi @ noise_ @ Phi.T
        Phi = Phi @ Phi
    noise_ = 0.5 * (noise_ + noise_.T)
    parts = (
        Phi[:n, :n], Phi[:n, -1], Phi[n:-1, :n], Phi[n:-1, -1], noise_[:n, :n], noise_[:n, n:-1], noise_[n:-1, n:-1]
    )  # fmt: skip
    return Bin(width, *(np.ascontiguousarray(x) for x in parts))


def gain(bin_: Bin, V: np.ndarray) -> Gain:
    """Kalman gain of a bin that begins with covariances V, (2n, 2n)."""
    if not len(bin_.R):
        after = bin_.Phi @ V @ bin_.Phi.T + bin_.Q
        return Gain(bin_.R, bin_.S, 0.5 * (after + after.T), bin_.Phi, bin_.H)
    with np.errstate(over="ignore", invalid="ignore"):
        HV = bin_.H @ V
        spread = HV @ bin_.H.T + bin_.R
        try:
            L = np.linalg.cholesky(spread) if len(spread) > 1 else np.sqrt(spread)
            inverse = np.linalg.inv(L) if len(spread) > 1 else 1 / L
        except np.linalg.LinAlgError as error:
            raise FloatingPointError(UNSTABLE) from error
        G = (bin_.Phi @ HV.T + bin_.S) @ inverse.T
        read = inverse @ bin_.H
        T = bin_.Phi - G @ read
        # Joseph's form: a sum of squares, which rounding leaves positive
        K = G @ inverse
        KS = K @ bin_.S.T
        after = T @ V @ T.T + (bin_.Q - KS - KS.T + K @ bin_.R @ K.T)
    if not np.isfinite(after).all():
        raise FloatingPointError(UNSTABLE)
    return Gain(L, G, 0.5 * (after + after.T), T, read)


class _Rest:
    """Has a sequence of covariances come to rest?  Yes, if it stays near one of them for as many steps as it took."""

    def __init__(self, first: np.ndarray) -> None:
        self.reference, self.at, self.steps = first, 0, 0

    def reached(self, X: np.ndarray) -> bool:
        self.steps += 1
        size = np.sqrt(np.maximum(X.diagonal(), 0.0)) * SETTLED**0.5
        if not (np.abs(X - self.reference) <= size[:, None] * size).all():
            self.reference, self.at = X, self.steps
        return self.steps - self.at >= max(16, self.at)


class Chunk(NamedTuple):
    """Consecutive bins of one width; bin k has ``gains[which[k]]``."""

    first: int
    bin: Bin
    gains: list[Gain]
    which: np.ndarray


def chunks(parts: list[tuple[int, int, Bin]], V: np.ndarray) -> Iterator[Chunk]:
    """Gains of all bins, in order: `parts` are (first bin, number, bin), V the covariances to begin with."""
    for first, n_bins, bin_ in parts:
        rest, last = _Rest(V), None
        for begin in range(0, n_bins, CHUNK):
            gains = [] if last is None else [last]
            which = np.zeros(min(CHUNK, n_bins - begin), dtype=np.int64)
            for k in range(len(which)):
                if last is None:
                    gains.append(gain(bin_, V))
                    V = gains[-1].after
                    if rest.reached(V):
                        last = gains[-1]
                which[k] = len(gains) - 1
            yield Chunk(first + begin, bin_, gains, which)


# === kernels; all arrays have the trajectories last


@kernel
def _advance(width, Phi, beta, H, gamma, which, L, G, given, y, e, mean, likelihood):  # type: ignore[no-untyped-def]
    """Means after every bin, mean[k + 1], from mean[0]; y from e, or, if given, e from y, and the likelihood."""
    n, m, lanes = mean.shape[1], y.shape[1], mean.shape[2]
    for k in range(y.shape[0]):
        g = which[k]
        for j in range(m):
            for lane in range(lanes):
                y_or_e = y[k, j, lane] - gamma[j] if given else gamma[j]
                e_or_y = e[k, j, lane]
                if given:
                    e[k, j, lane] = y_or_e
                else:
                    y[k, j, lane] = y_or_e + L[g, j, j] * e_or_y
            for i in range(n):
                h = H[j, i]
                if h != 0.0:
                    if given:
                        for lane in range(lanes):
                            e[k, j, lane] -= h * mean[k, i, lane]
                    else:
                        for lane in range(lanes):
                            y[k, j, lane] += h * mean[k, i, lane]
            for q in range(j):
                c = L[g, j, q]
                if given:
                    for lane in range(lanes):
                        e[k, j, lane] -= c * e[k, q, lane]
                else:
                    for lane in range(lanes):
                        y[k, j, lane] += c * e[k, q, lane]
            if given:
                inverse = 1.0 / L[g, j, j]
                constant = np.log(inverse * np.sqrt(width))
                for lane in range(lanes):
                    e[k, j, lane] *= inverse
                    likelihood[lane] += constant + 0.5 * (y[k, j, lane] ** 2 / width - e[k, j, lane] ** 2)
        for i in range(n):
            for lane in range(lanes):
                mean[k + 1, i, lane] = beta[i]
            for j in range(n):
                c = Phi[i, j]
                if c != 0.0:
                    for lane in range(lanes):
                        mean[k + 1, i, lane] += c * mean[k, j, lane]
            for j in range(m):
                c = G[g, i, j]
                for lane in range(lanes):
                    mean[k + 1, i, lane] += c * e[k, j, lane]


@kernel
def _retreat(which, T, read, e, back):  # type: ignore[no-untyped-def]
    """What the later record says: back[k] = readᵀe[k] + Tᵀback[k + 1], from the last."""
    n, m, lanes = back.shape[1], e.shape[1], back.shape[2]
    for k in range(e.shape[0] - 1, -1, -1):
        g = which[k]
        for i in range(n):
            for lane in range(lanes):
                back[k, i, lane] = 0.0
        for j in range(m):
            for i in range(n):
                c = read[g, j, i]
                for lane in range(lanes):
                    back[k, i, lane] += c * e[k, j, lane]
        for j in range(n):
            for i in range(n):
                c = T[g, j, i]
                for lane in range(lanes):
                    back[k, i, lane] += c * back[k + 1, j, lane]


# === from checked arguments to a dataset


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
    if not isinstance(states, (bool, np.bool_)):
        raise ValueError(f"Argument `states` must be True or False, but is {states!r}.")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"Argument `n_jobs` must be a non-zero integer (−1 for all cores), but is {n_jobs!r}.")
    model = linear_model(system)
    what = measured(model, detectors)
    operators = _operators(system, observables)
    for name, operator in operators.items():
        foreign = set(operator.sites) - set(model.sites)
        if foreign:
            raise ValueError(
                f"Argument `observables[{name!r}]` must be of the system's sites {list(model.sites)}, but has "
                f"{sorted(foreign, key=repr)[0]!r}."
            )
    n, n_bins = len(model.A), len(edges) - 1
    n_recorded = sum(d.recorded for d in detectors)
    n_variables = n // 2 * (n + 3) if states else 0  # at most
    size = 16.0 * ntraj * (n_bins * n_recorded * copies + (n_bins // save_every + 1) * (len(operators) + n_variables))
    limit = in_bytes(max_memory)
    if size > limit:
        raise ValueError(
            f"Argument `max_memory` is {text(limit)}, but the result needs {text(size)}. Use `save_every`, fewer "
            "trajectories or wider bins, detectors with recorded=False, or pass "
            f'max_memory="{text(1.2 * size)}".'
        )
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
        int(n_jobs), limit,
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
        if seed is not None and str(initial.attrs.get("seed")) == str(seed):
            raise ValueError(
                f"Argument `seed` must differ from that of the run which `initial` continues, but is {seed} again: the "
                "noise would repeat. Pass another seed, or None."
            )
        initial = last_states(initial, "moments")
    elif initial is None or isinstance(initial, Mapping):
        known = {s.name for s in model.sites}
        for name, state in (initial or {}).items():
            if name not in known or not isinstance(state, SiteState):
                raise ValueError(
                    f"Argument `initial` must map sites {sorted(known)} to site states like ba.coherent(1), but has "
                    f"{name!r}: {state!r}."
                )
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
        _advance(
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
    hermitian = {name: (O - O.dag()).norm() <= 1e-10 * max(O.norm(), 1e-300) for name, O in prepared.operators.items()}
    hidden = any(not d.recorded for d in prepared.detectors)
    data = dataset(
        [batch], prepared.edges, prepared.save_every, tuple(d for d, _ in prepared.recorded) if records else (), (),
        hermitian, "hidden" if hidden else "expect", prepared.states, result.states.shape[-1], True, [], attrs,
    )  # fmt: skip
    if prepared.states:
        data = data.rename(state="moments", level="variable")
        label = prepared.equations.label
        data["moments"].attrs = {
            "long_name": "conditional means, then covariances",
            "variables": ", ".join(map(label, moment_variables(prepared.model))),
        }
    return data


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
    J, rest, of, settled = np.zeros((n, n)), _Rest(np.zeros((n, n))), None, False
    last = np.zeros((n, padded))
    for chunk in reversed(result.chunks):
        size = len(chunk.which)
        T, read = np.array([g.T for g in chunk.gains]), np.array([g.read for g in chunk.gains])
        edge = chunk.first + np.arange(size)
        at = np.flatnonzero(edge % every == 0)
        for k in range(size - 1, -1, -1):
            here = chunk.gains[chunk.which[k]]
            if here is not of:
                of, settled, rest = here, False, _Rest(J)
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
            _retreat(chunk.which, T, read, e, all_)
            last[:, lanes] = all_[0]
            if at.size:
                back[edge[at] // every, :, lanes] = all_[at]
    if n_bins % every == 0:  # nothing comes after the last edge
        back[-1] = 0.0
    return back, information
