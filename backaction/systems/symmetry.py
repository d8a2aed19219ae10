"""U(1) symmetries of a Liouvillian, read off its operators: H has no charge, and every channel a definite one.

A charge gives every boson's a† a number, and every level of a few-level site or of an ensemble's members another, so
that a monomial has a sum of these.  Charges for which 𝓛 is invariant are the null space of integer equations: monomials
of H have charge 0, those of one channel the same.  An operator is *neutral* if all these charges of it are zero.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .algebra import Boson, Levels, Monomial, Operator, Site
from .ensembles import Ensemble
from .symbols import size
from .system import System

#: Coefficients below this fraction of the operator's largest are rounding.
ROUNDING = 1e-13


class Charges:
    """All U(1) symmetries of a system.

    Parameters
    ----------
    system : System
        Symbolic, constant in time; sites are bosons, few-level sites and ensembles.

    Raises
    ------
    ValueError
        If there is no such symmetry.
    """

    def __init__(self, system: System) -> None:
        self._offset: dict[Site, int] = {}
        self._n = 0
        for site in system.sites:
            self._offset[site] = self._n
            self._n += 1 if isinstance(site, Boson) else _levels(site)
        equations = self._terms(system.hamiltonian)
        for name in system.outputs:
            equations += self._alike(self._terms(system.output(name)))
        for each in system.local_channels.values():
            units = [((each.ensemble, ((int(i), int(j)),)),) for i, j in zip(*np.nonzero(each.matrix), strict=True)]
            equations += self._alike([self._charge(unit) for unit in units])
        self._rows: list[list[Fraction]] = []
        for row in equations:
            rest = self._reduced(row)
            if any(rest):
                first = next(x for x in rest if x)
                self._rows.append([x / first for x in rest])
        hops = [self._charge(((s, x),)) for s in system.sites for x in _hops(s)]
        if not any(any(self._reduced(hop)) for hop in hops):
            raise ValueError(
                "Argument `symmetric`: the system has no U(1) symmetry, because terms of H create or annihilate what "
                "would be conserved (a drive, squeezing), or one channel does both; leave it out."
            )

    def neutral(self, monomial: Monomial) -> bool:
        """Is the monomial invariant?"""
        return not any(self._reduced(self._charge(monomial)))

    def _charge(self, monomial: Monomial) -> np.ndarray:
        """How many charges of each sort a monomial brings, integers."""
        out = np.zeros(self._n, dtype=int)
        for site, x in monomial:
            at = self._offset[site]
            if isinstance(site, Boson):
                out[at] += x[0] - x[1]
                continue
            for i, j in x if isinstance(site, Ensemble) else (x,):
                out[at + i] += 1
                out[at + j] -= 1
        return out

    def _terms(self, operator: Operator) -> list[np.ndarray]:
        largest = operator.norm()
        return [self._charge(m) for m, c in operator.terms.items() if size(c) > ROUNDING * largest]

    @staticmethod
    def _alike(charges: list[np.ndarray]) -> list[np.ndarray]:
        return [charge - charges[0] for charge in charges[1:]]

    def _reduced(self, row: np.ndarray) -> list[Fraction]:
        """What is left of an integer row after the equations found so far; zero if it follows from them."""
        rest = [Fraction(int(x)) for x in row]
        for known in self._rows:
            at = known.index(Fraction(1))  # the first that is not zero
            if rest[at]:
                rest = [x - rest[at] * y for x, y in zip(rest, known, strict=True)]
        return rest


def _levels(site: Any) -> int:
    if isinstance(site, Ensemble):
        return site.member.levels
    if isinstance(site, Levels):
        return site.levels
    raise ValueError(f"Argument `symmetric`: charges are not known for the site {site!r}; leave it out.")


def _hops(site: Any) -> list[Any]:
    """Elementary operators of all changes of a site."""
    if isinstance(site, Boson):
        return [(1, 0)]
    units = [(0, j) for j in range(1, _levels(site))]
    return [(unit,) for unit in units] if isinstance(site, Ensemble) else units
