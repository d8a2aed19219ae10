"""The one place that sets numba options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Contraction to FMA only: NaN and infinity keep their meaning, and no sum is reordered, so a
# path's bits do not depend on the lane it runs in.
FASTMATH = {"contract", "nsz"}


_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": FASTMATH, "error_model": "numpy"}


def kernel(function: Callable) -> Any:
    """Compile a kernel: no GIL, cached on disk, division by zero gives inf instead of a branch."""
    return numba.njit(**_OPTIONS)(function)


def inlined(function: Callable) -> Any:
    """Compile a helper of the inner loop into its caller: a plan is hundreds of words to pass."""
    return numba.njit(**_OPTIONS, forceinline=True, _nrt=False)(function)


def inner_loop(function: Callable) -> Any:
    """Compile a loop that allocates nothing: without numba's reference counts, which cost more than a small step."""
    return numba.njit(**_OPTIONS, _nrt=False)(function)
