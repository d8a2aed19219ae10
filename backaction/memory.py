"""Amounts of memory, as arguments and in messages."""

from __future__ import annotations

import re
from numbers import Real

_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def in_bytes(value: str | float) -> float:
    """Bytes of an argument `max_memory`: a number > 0, or text such as "2 GiB"."""
    if isinstance(value, Real) and not isinstance(value, bool) and value > 0:
        return float(value)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*", str(value))
    if not match or match[2].upper() not in _UNITS or isinstance(value, bool):
        raise ValueError(f'Argument `max_memory` must be a number of bytes or like "2 GiB", but is {value!r}.')
    return float(match[1]) * _UNITS[match[2].upper()]


def text(n: float) -> str:
    """`n` bytes for a message."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.3g} {unit}"
        n /= 1024
    return f"{n:.3g} GiB"


def check_size(size: float, max_memory: str | float, what: str = "the result needs", more: str = "") -> None:
    """Raise ValueError if a result of so many bytes is above the limit; `more` names further ways out."""
    limit = in_bytes(max_memory)
    if size > limit:
        raise ValueError(
            f"Argument `max_memory` is {text(limit)}, but {what} {text(size)}. Use `save_every`, fewer trajectories or "
            f'wider bins{more}, or pass max_memory="{text(1.2 * size)}".'
        )
