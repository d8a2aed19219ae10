"""Levels of description, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..systems import Basis

PRECISIONS = ("double", "single")


@dataclass(frozen=True)
class Ket:
    """State vectors, d amplitudes per trajectory: exact for complete monitoring, and for records of anything.

    Parameters
    ----------
    basis : Basis, optional
        Overrides the system's default truncation.
    precision : {"double", "single"}
        Of the amplitudes.  "single" is twice as fast, for large systems under counters only: it moves clicks by some
        10⁻⁴ of the time between them, and populations by some 10⁻⁵.

    Raises
    ------
    ValueError
        For another precision.
    """

    basis: Basis | None = None
    precision: str = "double"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"Argument `precision` must be {' or '.join(map(repr, PRECISIONS))}, but is {self.precision!r}."
            )


@dataclass(frozen=True)
class Density:
    """Conditional density matrices, d² elements per trajectory: unwatched channels, efficiency below 1.

    Parameters
    ----------
    basis : Basis, optional
        Overrides the system's default truncation.
    """

    basis: Basis | None = None


Level = Ket | Density
BY_NAME: dict[str, type[Ket] | type[Density]] = {"ket": Ket, "density": Density}


def as_level(level: Any) -> Level | None:
    """A level from its shorthand; None for "auto"."""
    if level == "auto":
        return None
    if isinstance(level, (Ket, Density)):
        return level
    if isinstance(level, str) and level in BY_NAME:
        return BY_NAME[level]()
    raise ValueError(f'Argument `level` must be "auto", "ket", "density", ba.Ket() or ba.Density(), but is {level!r}.')
