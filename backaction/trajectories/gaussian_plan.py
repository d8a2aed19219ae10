"""Linear bosonic systems, exactly: bins of any width and their Kalman gains.

Quadratures r follow ``dr = (Ar + b)dt + noise`` of diffusion D, and a homodyne detector of ``L = lᵀr + c`` records

    dY = (Cr + d)dt + dW,   C = 2√η Re e^{−iφ}l,   d = 2√η Re e^{−iφ}c,

whose dW is correlated with the noise of r, ``E[dr dW] = N dt`` with ``N = −2√η Ω Im e^{−iφ}l``: the backaction.  A
heterodyne detector is two of them with half the efficiency, a quarter of a turn apart.  Both r at the end of a bin and
the bin's ΔY are linear in r at its beginning plus Gaussian noise whose covariance is an integral of matrix exponentials
(Van Loan, IEEE Trans. Autom. Control 23, 395 (1978)), so that the Kalman filter over bins is the exact conditional
state, however wide they are.  Covariances do not depend on the record and are shared by all trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg as la

from ..systems.linear import LinearModel, symplectic
from ..unravelings import Detector

#: Bins between two looks at the covariances.
CHUNK = 512
#: Change of covariances, relative to the variances, over half of all bins so far, below which they are constant.
SETTLED = 1e-13
#: Norm of the generator times the step of the series, and terms of it: the rest is below 1e-18.
SERIES, TERMS = 0.5, 20
#: What went wrong where numbers overflow.
UNSTABLE = "A linear system overflows: it is unstable and not measured well enough; end the run earlier."


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


class Rest:
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
        rest, last = Rest(V), None
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
