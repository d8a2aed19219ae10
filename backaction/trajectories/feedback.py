"""Feedback of a current on the system: an argument of `simulate` and `condition`, and what a kernel sees of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import norm

from ..systems import LoweredSystem
from .kernels.feedback import FeedbackPlan, no_feedback
from .plan import FIRST_ORDER_FRACTION, STEP_FRACTION, Roles
from .propagators import largest

#: Feedback operators are Hermitian up to this, relative to their largest element.
HERMITIAN = 1e-10
#: Relative error of a delay that rounding to steps may make, and least number of steps in one by default.
DELAY_ERROR, STEPS_PER_DELAY = 0.1, 20


@dataclass(frozen=True)
class Feedback:
    """A Hamiltonian proportional to a measured current, ``H_fb(t) = gain · y(t) · F``.

    ``y(t) = I(t − delay)``, or, with a bandwidth, the current behind a one-pole low-pass filter,
    ``y(t) = ∫ bandwidth e^{−bandwidth (t − delay − s)} I(s) ds``.  Of a complex (heterodyne) current the quadrature
    ``Re[e^{−i phase} I]`` is fed back.

    Parameters
    ----------
    detector : str
        Name of the detector in the record: the channel's.
    F : Operator, Qobj or array
        Hermitian.
    gain : float
        Units of the inverse square root of a rate if F is a pure number.
    delay : float
        Delay ≥ 0; rounded to internal steps, and refused if that changes it by more than 10 %.  0 is the limit of a
        feedback that acts right after the measurement.
    bandwidth : float, optional
        Rate of the low-pass filter; None: no filter.
    phase : float
        Quadrature of a heterodyne current, in rad.

    Notes
    -----
    Without filter and delay, and averaged over the record, the master equation is (Wiseman and Milburn, Phys. Rev.
    Lett. 70, 548 (1993); *Quantum Measurement and Control*, (5.40)), for homodyne detection of c with efficiency η,
    ``dρ/dt = 𝓛ρ − i√η gain [F, cρ + ρc†] + gain² D[F]ρ``; of a heterodyne current, whose quadrature has half the
    noise, it is that of ``e^{−i phase}c`` with both terms of the feedback halved.  Steps are of first order in it.

    Currents from before the run are taken to be zero.
    """

    detector: str
    F: Any
    gain: float = 1.0
    delay: float = 0.0
    bandwidth: float | None = None
    phase: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.detector, str):
            raise ValueError(f"Argument `detector` must be a detector's name, but is {self.detector!r}.")
        for name in ("gain", "phase"):
            if not _finite(getattr(self, name)):
                raise ValueError(f"Argument `{name}` must be a finite number, but is {getattr(self, name)!r}.")
        if not (_finite(self.delay) and self.delay >= 0):
            raise ValueError(f"Argument `delay` must be a finite time >= 0, but is {self.delay!r}.")
        if self.bandwidth is not None and not (_finite(self.bandwidth) and self.bandwidth > 0):
            raise ValueError(f"Argument `bandwidth` must be a rate > 0 or None, but is {self.bandwidth!r}.")

    @property
    def immediate(self) -> bool:
        """Does it act right after the measurement?"""
        return self.delay == 0 and self.bandwidth is None


def _finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))


def as_feedback(feedback: Any) -> tuple[Feedback, ...]:
    """The argument `feedback` as a tuple."""
    if feedback is None:
        return ()
    several = (feedback,) if isinstance(feedback, Feedback) else feedback
    if not isinstance(several, (list, tuple)) or not all(isinstance(f, Feedback) for f in several):
        raise ValueError(f"Argument `feedback` must be a ba.Feedback or a list of them, but is {feedback!r}.")
    return tuple(several)


def feedback_plan(feedback: tuple[Feedback, ...], lowered: LoweredSystem, roles: Roles, dt: float) -> FeedbackPlan:
    """F = V diag(f) V†, sparse where F is, and the loops' numbers in units of steps."""
    if not feedback:
        return no_feedback()
    outputs, matrices, values = [], [], []
    names = [d.name for d in roles.currents]
    for loop in feedback:
        if loop.detector not in names:
            raise ValueError(
                f"Argument `feedback` must name a recorded homodyne or heterodyne detector, one of {names}, but names "
                f"{loop.detector!r}."
            )
        outputs.append(names.index(loop.detector))
        if abs(round(loop.delay / dt) * dt - loop.delay) > DELAY_ERROR * loop.delay:
            raise ValueError(
                f"Argument `delay` must be a number of steps to {DELAY_ERROR:.0%}, but is {loop.delay:g} for steps of "
                f"{dt:.3g}; pass `step` shorter than {2 * DELAY_ERROR * loop.delay:.2g}, or such that steps divide it."
            )
        f, V = eigenbasis(hermitian(loop, lowered))
        values.append(f)
        matrices += [sp.csr_array(V.conj().T), V]
    d = lowered.dim
    turns = np.array([(loop.bandwidth or 0.0) * dt for loop in feedback])  # of the filters in a step
    used = np.cumsum([0] + [m.nnz for m in matrices])
    return FeedbackPlan(
        np.array(outputs, dtype=np.int64),
        np.array([np.cos(loop.phase) for loop in feedback]),
        np.array([np.sin(loop.phase) for loop in feedback]),
        np.array([loop.gain for loop in feedback], dtype=float),
        np.array([round(loop.delay / dt) for loop in feedback], dtype=np.int64),
        np.where(turns > 0, np.exp(-turns), 0.0),
        -np.expm1(-turns) / np.where(turns > 0, turns, 1.0),
        np.array(values).reshape(-1, d),
        np.array([m.indptr.astype(np.int64) + u for m, u in zip(matrices, used[:-1], strict=True)]),
        np.concatenate([m.indices for m in matrices]).astype(np.int64),
        np.concatenate([m.data.real for m in matrices]).astype(float),
        np.concatenate([m.data.imag for m in matrices]).astype(float),
        np.zeros(d, dtype=np.int64),
    )


def hermitian(loop: Feedback, lowered: LoweredSystem) -> sp.csr_array:
    """The loop's F as a matrix."""
    F = lowered.operator(loop.F, "F")
    if largest(F - F.conj().T) > HERMITIAN * largest(F):
        raise ValueError("Argument `F` must be Hermitian, but is not; add its Hermitian conjugate.")
    return F


def short_step(feedback: tuple[Feedback, ...], lowered: LoweredSystem, step: float) -> float:
    """A step that would do without feedback, shortened for it.

    Feedback without delay and filter diffuses at the rate ``gain² ‖F − Tr F/d‖²/d`` (Frobenius), in a scheme of first
    order; a filter has its bandwidth for a rate, and a delay is a number of steps.
    """
    rate = STEP_FRACTION / step
    for loop in feedback:
        F = hermitian(loop, lowered)
        square = float(norm(F) ** 2 - abs(F.trace()) ** 2 / lowered.dim) / lowered.dim
        rate += loop.gain**2 * square + (loop.bandwidth or 0.0)
    immediate = any(loop.immediate for loop in feedback)
    steps = [loop.delay / STEPS_PER_DELAY for loop in feedback if loop.delay > 0]
    fraction = STEP_FRACTION * (FIRST_ORDER_FRACTION if immediate else 1.0)
    return min(fraction / rate if rate > 0 else math.inf, *steps, step)


def eigenbasis(F: sp.csr_array) -> tuple[np.ndarray, sp.csr_array]:
    """Eigenvalues and eigenvectors (columns) of a Hermitian matrix, block by block of what it connects."""
    d = F.shape[0]
    _, labels = connected_components(abs(F), directed=False)
    values, V = np.zeros(d), sp.lil_array((d, d), dtype=complex)
    for label in np.unique(labels):
        block = np.flatnonzero(labels == label)
        f, v = np.linalg.eigh(F[block][:, block].toarray())
        values[block] = f
        V[np.ix_(block, block)] = v
    V = sp.csr_array(V)
    V.sort_indices()
    return values, V
