"""Randomness: one generator per trajectory, fixed by (seed, trajectory) alone."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np


def entropy(seed: Any) -> int:
    """The integer that identifies a run; fresh for None."""
    if seed is None:
        return int(np.random.SeedSequence().entropy)  # type: ignore[arg-type]
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"Argument `seed` must be None or an integer >= 0, but is {seed!r}.")
    return int(seed)


def words(generators: tuple[np.random.Generator, ...]) -> np.ndarray:
    """States (4, n) of the kernels' own generators of normal numbers, drawn from those of the trajectories."""
    return np.ascontiguousarray(np.stack([g.bit_generator.random_raw(4) for g in generators], axis=1))


#: Further streams of a trajectory.
START = 1


def generator(seed: int, trajectory: int, *stream: int) -> np.random.Generator:
    """The generator of one trajectory, or of a further stream of it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(trajectory, *stream))))
