"""Checks and look-ups that the references share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..systems.basis import Basis
from ..systems.system import LoweredSystem, System
from ..systems.unconditional import Sectors, lower, steady_state
from ..unravelings import Detector, Unraveling


def prepare(
    system: System | LoweredSystem, unraveling: Unraveling, basis: Basis | None
) -> tuple[LoweredSystem, Sectors, np.ndarray]:
    """Lowered system, sectors of its Liouvillian, steady state; the unraveling's names are checked."""
    lowered = lower(system, basis)
    if not isinstance(unraveling, Unraveling):
        kind = type(unraveling).__name__
        raise ValueError(f"Argument `unraveling` must be an Unraveling, but is {kind}.")
    unraveling.check(lowered.channels)
    return lowered, Sectors.of(lowered), steady_state(lowered)


def detectors(
    unraveling: Unraveling,
    kinds: Sequence[str],
    count: int,
    channel: str | Sequence[str] | None,
    argument: str,
) -> list[Detector]:
    """The `count` recorded detectors of the given kinds, picked by name where there are more."""
    available = {d.name: d for d in unraveling.detectors if d.kind in kinds and d.recorded}
    what = " or ".join(kinds)
    if channel is None:
        names = list(available)
        if len(names) != count:
            raise ValueError(
                f"Argument `unraveling` must have {count} recorded {what} detector(s), but has {len(names)}: "
                f"{names}; add what is missing, or choose by `{argument}`."
            )
    else:
        names = [channel] if isinstance(channel, str) else list(channel)
        if len(names) != count or len(set(names)) != count or not set(names) <= set(available):
            raise ValueError(
                f"Argument `{argument}` must name {count} of the recorded {what} detectors "
                f"{list(available)}, but is {channel!r}."
            )
    chosen = [available[name] for name in names]
    for detector in chosen:
        if detector.time_dependent:
            raise ValueError(
                f"Argument `unraveling` must have local oscillators of constant phase, but that of {detector.name!r} "
                "depends on time; demodulate its record and compare with a heterodyne detector, or simulate."
            )
    return chosen


def positive(value: Any, argument: str) -> float:
    """A finite number > 0."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"Argument `{argument}` must be a finite number > 0, but is {value!r}.")
    return number


def instants(values: Any, argument: str) -> np.ndarray:
    """One-dimensional array of finite, non-negative times that do not decrease."""
    times = np.atleast_1d(np.asarray(values, dtype=float))
    ordered = times.ndim == 1 and np.all(np.diff(times, prepend=0.0) >= 0)
    if not ordered or not np.all(np.isfinite(times)):
        raise ValueError(f"Argument `{argument}` must hold finite times >= 0 that do not decrease.")
    return times
