"""How a step is taken: schemes, as values that say what order they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Splitting:
    """The default: P(dt/2) D P(dt/2), one diffusive channel after the other, increments with their law to second order.

    Weak order 2; strong order 1 where the measured operators commute, else about 1/2 (as for any scheme that is driven
    by the increments alone).  See the documentation's page on accuracy.
    """

    weak_order: ClassVar[float] = 2.0
    strong_order: ClassVar[float] = 1.0  # commuting measurements; 1/2 otherwise


@dataclass(frozen=True)
class Rouchon:
    """All diffusive channels in one Kraus operator per step: cheaper, of first order.

    ``ψ → (K0 + X + ½:X²:)ψ``, X = Σ c_j z_j, after Rouchon and Ralph, Phys. Rev. A 91, 012118 (2015), with K0 such
    that the probabilities of all outcomes add to 1 exactly.  Weak order 1; strong order 1 where the measured operators
    commute, else about 1/2.  At `density`, Hamiltonian and unread loss are in the same step.
    """

    weak_order: ClassVar[float] = 1.0
    strong_order: ClassVar[float] = 1.0


Scheme = Splitting | Rouchon


def as_scheme(scheme: Any) -> Scheme:
    """A scheme from its argument; None for the default."""
    if scheme is None:
        return Splitting()
    if isinstance(scheme, (Splitting, Rouchon)):
        return scheme
    raise ValueError(f"Argument `scheme` must be None, ba.Splitting() or ba.Rouchon(), but is {scheme!r}.")
