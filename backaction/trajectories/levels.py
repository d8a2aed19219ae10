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


@dataclass(frozen=True)
class Moments:
    """Means and covariances of a symbolic system: any number of members of an ensemble, Gaussian states of bosons.

    Exact for linear bosonic systems in Gaussian states; else all cumulants above the order are neglected.  Homodyne and
    heterodyne detectors; no counting.

    Parameters
    ----------
    order : {1, 2}
        1: products of one-site states, mean-field theory, nobody watches; 2: second-order cumulants.

    Raises
    ------
    ValueError
        For another order.
    """

    order: int = 2

    def __post_init__(self) -> None:
        if isinstance(self.order, bool) or self.order not in (1, 2):
            raise ValueError(f"Argument `order` must be 1 or 2, but is {self.order!r}.")


@dataclass(frozen=True)
class Dicke:
    """State vectors in one Dicke sector, a total spin J, per ensemble of spins 1/2, and of any bosons beside.

    Exact for the law of the record and for averages, at hundreds of spins.  Local channels σ⁺, σ⁻ and σ^z become hidden
    jumps between sectors, which nobody reads, so that observables belong to an observer who knows them.

    Parameters
    ----------
    basis : Basis, optional
        Levels of the bosons, in place of the system's defaults; no totals.
    """

    basis: Basis | None = None


@dataclass(frozen=True)
class PhaseSpace:
    """Classical amplitudes with vacuum noise, truncated Wigner: bosons at large numbers, arrays of hundreds of modes.

    Averages over paths are those of the Wigner function without its derivatives above the second: exact for linear
    systems, else good where amplitudes are large against the vacuum's.  For channels of degree 2 the constant of the
    diffusion is left out, too: D[a²] spreads α by 2|α|² in place of 2|α|² − 1, which a run warns of where it matters.
    H has degree ≤ 4 in a and a†, channels degree ≤ 2, nothing depends on time.

    A path is not a conditional state: observables along it are their Weyl symbols, |α|² − 1/2 for a†a.  Its record
    is made by input and output, ``L + vacuum``, from the vacuum that drives the modes: homodyne and heterodyne
    detectors, no counting, no conditioning.

    Initial states are drawn from their Wigner functions, trajectory by trajectory: the vacuum, coherent and thermal
    states.  Arrays, (n_modes,) or (ntraj, n_modes), are amplitudes to start from as they are.

    Notes
    -----
    Heun's rule for the drift, the noise taken where a step begins (Itô): weak order 2 where the noise does not depend
    on the amplitudes, else 1.  The step is chosen from the drift linearised about the start, and a run warns if
    that has become faster since.  An oscillation of frequency ω is shifted by about ω (ω dt)²/6.

    Gardiner and Zoller, *Quantum Noise*, chapter 4; Polkovnikov, Ann. Phys. 325, 1790 (2010).
    """


Level = Ket | Density | Moments | Dicke | PhaseSpace
BY_NAME: dict[str, type[Ket] | type[Density] | type[Moments] | type[Dicke] | type[PhaseSpace]] = {
    "ket": Ket, "density": Density, "moments": Moments, "dicke": Dicke, "phasespace": PhaseSpace,
}  # fmt: skip


def as_level(level: Any) -> Level | None:
    """A level from its shorthand; None for "auto"."""
    if level == "auto":
        return None
    if isinstance(level, (Ket, Density, Moments, Dicke, PhaseSpace)):
        return level
    if isinstance(level, str) and level in BY_NAME:
        return BY_NAME[level]()
    raise ValueError(
        'Argument `level` must be "auto", "ket", "density", "moments", "dicke", "phasespace", ba.Ket(), ba.Density(), '
        f"ba.Moments(), ba.Dicke() or ba.PhaseSpace(), but is {level!r}."
    )
