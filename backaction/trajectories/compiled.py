"""The one place that sets numba options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Contraction to FMA only: NaN and infinity keep their meaning, and no sum is reordered, so a
# path's bits do not depend on the lane it runs in.
FASTMATH = {"contract", "nsz"}


def kernel(function: Callable) -> Any:
    """Compile a kernel: no GIL, cached on disk, division by zero gives inf instead of a branch."""
    return numba.njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(function)
