"""Truncated product bases, and how symbolic operators become matrices in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import scipy.sparse as sp

from .algebra import Operator, Site
from .symbols import number

#: Largest number of product states that are looked at.
MAX_STATES = 10**8


@dataclass(frozen=True)
class Basis:
    """Which product states are kept.

    Parameters
    ----------
    levels : mapping, optional
        Site name -> number of levels; sites not named keep their default.
    totals : sequence of (site names, limit), optional
        Keep only states whose excitations over the named sites (of a spin: from m = −J) add to at most `limit`, e.g.
        ``totals=[(("m1", "m2"), 32)]``.

    Examples
    --------
    >>> Basis(levels={"a": 12, "b": 12}, totals=[(("a", "b"), 15)])
    Basis(levels={'a': 12, 'b': 12}, totals=((('a', 'b'), 15),))
    """

    levels: Mapping[str, int] = field(default_factory=dict)
    totals: Sequence[tuple[Sequence[str], int]] = ()

    def __post_init__(self) -> None:
        for name, n in self.levels.items():
            if not isinstance(n, (int, np.integer)) or n < 2:
                raise ValueError(f"Argument `levels[{name!r}]` must be an integer >= 2, but is {n!r}.")
        totals = tuple((tuple(names), int(limit)) for names, limit in self.totals)
        for names, limit in totals:
            if limit < 1 or not names:
                raise ValueError(f"Argument `totals` must hold (names, limit >= 1), but has ({names!r}, {limit!r}).")
        object.__setattr__(self, "totals", totals)

    def resolve(self, sites: Sequence[Site]) -> ResolvedBasis:
        """The states this basis keeps for the given sites."""
        known = {s.name for s in sites}
        for name in [*self.levels, *(n for names, _ in self.totals for n in names)]:
            if name not in known:
                raise ValueError(f"Argument `basis` names the site {name!r}, but the system has {sorted(known)}.")
        dims = tuple(int(self.levels.get(s.name, s.levels)) for s in sites)
        if prod(dims) > MAX_STATES:
            raise ValueError(
                f"Argument `levels`: the sites {[s.name for s in sites]} have {prod(dims):.2g} product states, too "
                "many for matrices; keep fewer levels, or use level=ba.Moments() for ensembles."
            )
        index = {s.name: i for i, s in enumerate(sites)}
        occupations = np.indices(dims).reshape(len(dims), -1).T if dims else np.zeros((1, 0), dtype=int)
        keep = np.ones(len(occupations), dtype=bool)
        excitations = np.stack([s.excitations(occupations[:, i]) for i, s in enumerate(sites)], axis=1)
        sums = [(names, limit, excitations[:, [index[n] for n in names]].sum(axis=1)) for names, limit in self.totals]
        for _, limit, total in sums:
            keep &= total <= limit
        edges = {}
        for site, n in zip(sites, dims, strict=True):
            if site.truncated:
                edges[site.name] = np.flatnonzero(occupations[keep][:, index[site.name]] == n - 1)
        for names, limit, total in sums:
            edges["+".join(names) if len(names) > 1 else f"{names[0]}<={limit}"] = np.flatnonzero(total[keep] == limit)
        kept = np.flatnonzero(keep)
        return ResolvedBasis(tuple(sites), dims, occupations[kept], kept, edges)


@dataclass(frozen=True)
class ResolvedBasis:
    """Product states kept, for definite sites.

    Attributes
    ----------
    sites : tuple of Site
        In the order of the tensor product.
    dims : tuple of int
        Levels per site of the product space before `totals` are applied.
    occupations : ndarray, (d, n_sites)
        Level index of each site in each kept state.
    kept : ndarray, (d,)
        Positions of the kept states in the full product space.
    edges : dict of str to ndarray
        Indices of the states at each cut-off ("a", or "m1+m2" for a total).
    """

    sites: tuple[Site, ...]
    dims: tuple[int, ...]
    occupations: np.ndarray
    kept: np.ndarray
    edges: dict[str, np.ndarray]

    @property
    def dim(self) -> int:
        """Dimension d."""
        return len(self.occupations)

    def matrix(self, operator: Operator) -> sp.csr_array:
        """Matrix (d, d) of a symbolic operator in this basis, complex CSR."""
        full = int(np.prod(self.dims))
        out = sp.csr_array((full, full), dtype=complex)
        for monomial, coefficient in operator.terms.items():
            local = {site.name: site.matrix(x, self.dims[self._position(site)]) for site, x in monomial}
            factors = [
                local.get(site.name, sp.eye_array(n, dtype=complex, format="csr"))
                for site, n in zip(self.sites, self.dims, strict=True)
            ]
            out = out + number(coefficient) * reduce(lambda x, y: sp.kron(x, y, format="csr"), factors)
        if len(self.kept) < full:
            out = out[self.kept][:, self.kept]
        return clean(out)

    def _position(self, site: Site) -> int:
        for i, known in enumerate(self.sites):
            if known == site:
                return i
        raise ValueError(
            f"The site {site!r} is not one of the system's sites {[s.name for s in self.sites]}; "
            "build the operator from the same site objects as H."
        )

    def product_state(self, vectors: Mapping[str, Any]) -> np.ndarray:
        """Product of one vector (levels,) or density matrix (levels, levels) per site.

        Returns a ket (d,) when every factor is a vector, else a density matrix (d, d).
        """
        factors = [np.asarray(vectors[s.name], dtype=complex) for s in self.sites]
        if all(f.ndim == 1 for f in factors):
            return reduce(np.kron, factors)[self.kept]
        factors = [np.outer(f, f.conj()) if f.ndim == 1 else f for f in factors]
        return reduce(np.kron, factors)[np.ix_(self.kept, self.kept)]


def clean(matrix: Any) -> sp.csr_array:
    """Complex CSR with sorted indices and no stored zeros."""
    out = sp.csr_array(matrix, dtype=complex)
    out.sum_duplicates()
    out.eliminate_zeros()
    out.sort_indices()
    return out
