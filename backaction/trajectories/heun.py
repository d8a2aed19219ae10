"""How long Heun's steps may be, in phase space and for Langevin systems, and a warning where they are too long."""

from __future__ import annotations

import warnings

import numpy as np

from . import ensemble

#: Longest step, in units of the inverse rate of the linearised drift where it starts.
FRACTION = 0.05
#: By how much of a damping (or of the inverse duration of the run) a step may undamp an oscillation.
UNDAMPED = 0.01
#: Rate of the drift along the paths, in units of the step, above which the step is called coarse.
COARSE = 0.15


def longest_step(rate: float, omega: np.ndarray | float, damping: np.ndarray | float, duration: float) -> float:
    """A step that is short against the rates of the linearised drift.

    Heun's rule lets an oscillation of frequency ω grow at the rate ω (ω dt)³/8, which must stay small against its
    damping, or against the inverse duration of the run.
    """
    if rate == 0:
        return np.inf
    omega = np.abs(omega)
    with np.errstate(divide="ignore"):
        undamped = np.cbrt(8 * UNDAMPED * np.maximum(damping, 1.0 / duration) / omega) / omega
    return min(FRACTION / rate, float(np.min(undamped)))


def warn_of_drift(batches: list[ensemble.Batch], dt: float) -> None:
    """Warn if the drift along the paths has become fast against the step."""
    rate = max(float(b.hazard.max()) for b in batches)
    if rate > COARSE:
        warnings.warn(
            f"The step {dt:.3g} is coarse: along the paths the drift has grown to a rate of {rate / dt:.2g}. Pass "
            f"step={FRACTION * dt / rate:.2g} or less.",
            RuntimeWarning,
            stacklevel=5,
        )
