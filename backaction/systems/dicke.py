"""Ensembles of spins 1/2 in Dicke sectors: collective operators and local channels at one total spin J.

For permutation-symmetric states the reduced state of N spins lives on ⊕_J C^{2J+1}, J = N/2, N/2 − 1, … ≥ 0.
Collective operators keep J, and a local channel Σ_i D[x_i] has exactly one Kraus operator per J → J', J' = J, J ± 1
(Schur–Weyl duality and the Wigner–Eckart theorem).

Conventions: sector j has J = N/2 − j; state k of a sector has M = J − k, so that k = 0 is M = +J as in `Spin`.
Every elementary operator changes k (or a boson's number) by a fixed amount: it is a `Band`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .algebra import Boson, Operator, Site, Spin
from .ensembles import Each, Ensemble, Unit
from .symbols import number

#: Local channels: what they do to M.
PUMP, LOSS, DEPHASING = range(3)
RAISES = (1, -1, 0)


@dataclass(frozen=True, eq=False)
class Band:
    """An operator of one site with a single diagonal: ``values[j, k] = ⟨k + shift|O|k⟩`` in sector j.

    Attributes
    ----------
    shift : int
        What it adds to k.
    values : ndarray, (n_sectors, n_states)
        Zero where k or k + shift is no state of the sector; one sector for a boson.
    """

    shift: int
    values: np.ndarray

    def __matmul__(self, other: Band) -> Band:
        return Band(self.shift + other.shift, self._moved(other.shift) * other.values)

    def dag(self) -> Band:
        """Adjoint; elements are real."""
        return Band(-self.shift, self._moved(-self.shift))

    def _moved(self, by: int) -> np.ndarray:
        """values[:, k + by], zero outside."""
        k = np.arange(self.values.shape[1]) + by
        inside = (k >= 0) & (k < self.values.shape[1])
        return np.where(inside, self.values[:, np.clip(k, 0, self.values.shape[1] - 1)], 0.0)

    @property
    def gathered(self) -> np.ndarray:
        """The same elements by the state that they lead to: ``⟨k|O|k − shift⟩``."""
        return self._moved(-self.shift)

    @property
    def key(self) -> tuple[int, bytes]:
        """Equal for equal operators."""
        return self.shift, self.values.tobytes()

    def matrix(self, sector: int, n: int) -> sp.csr_array:
        """Matrix (n, n) in one sector of n states."""
        k = np.arange(n)
        inside = (k + self.shift >= 0) & (k + self.shift < n)
        at = k[inside]
        return sp.csr_array((self.values[sector, at], (at + self.shift, at)), shape=(n, n))


def sectors(N: int) -> int:
    """Number of values of J."""
    return N // 2 + 1


def _grid(N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J (n_sectors, 1), M (n_sectors, N + 1), and which states exist."""
    J = N / 2 - np.arange(sectors(N))[:, None]
    k = np.arange(N + 1)[None, :]
    return J, J - k, k <= 2 * J


def element(site: Site, x: tuple, levels: int) -> Band:
    """An elementary operator of a boson (in its first `levels` states) or of an ensemble of spins 1/2."""
    if isinstance(site, Ensemble):
        return sum_over_distinct(site.N, tuple(x))
    out = site.matrix(x, levels).tocoo()
    values = np.zeros((1, levels))
    values[0, out.col] = out.data.real
    return Band(int(x[0] - x[1]), values)


def identity(site: Site, levels: int) -> Band:
    """The identity of a site."""
    if isinstance(site, Ensemble):
        return Band(0, _grid(site.N)[2].astype(float))
    return Band(0, np.ones((1, levels)))


def _collective(N: int, unit: Unit) -> Band:
    """Σ_i u_i for a matrix unit u: S₊, S₋ or N/2 ± S_z."""
    J, M, exists = _grid(N)
    if unit[0] == unit[1]:
        return Band(0, np.where(exists, N / 2 + M if unit[0] == 0 else N / 2 - M, 0.0))
    sign = 1 if unit == (0, 1) else -1
    return Band(-sign, np.where(exists, np.sqrt(np.maximum((J - sign * M) * (J + sign * M + 1), 0.0)), 0.0))


def sum_over_distinct(N: int, units: tuple[Unit, ...]) -> Band:
    """S(u, Y) = S(u) S(Y) − Σ_k S(Y with u y_k in the place of y_k)."""
    u, *rest = units
    out = _collective(N, u)
    if not rest:
        return out
    out = out @ sum_over_distinct(N, tuple(rest))
    values = out.values
    for k, v in enumerate(rest):
        if u[1] == v[0]:
            values = values - sum_over_distinct(N, (*rest[:k], (u[0], v[1]), *rest[k + 1 :])).values
    return Band(out.shift, values)


def kraus(N: int, kind: int) -> np.ndarray:
    """The Kraus operators of a local channel σ⁺, σ⁻ or σ^z at unit rate.

    With M' = M ± 1 or M for the three kinds (upper signs: pump)

    - J → J: ``√{(N/2+1)/(2J(J+1))} × √{(J∓M)(J±M+1)}`` or ``2M``,
    - J → J−1: ``√{(N/2+J+1)/(2J(2J+1))} × √{(J∓M)(J∓M−1)}`` or ``2√(J²−M²)``,
    - J → J+1: ``√{(N/2−J)/(2(J+1)(2J+1))} × √{(J±M+1)(J±M+2)}`` or ``2√((J+1)²−M²)``,

    the matrix elements of a vector operator (Wigner–Eckart).  There is no 0 → 0.

    Parameters
    ----------
    N : int
        Spins.
    kind : {PUMP, LOSS, DEPHASING}
        Which channel.

    Returns
    -------
    ndarray, (3, n_sectors, N + 1)
        ``[i, j, k] = ⟨J', M'|K|J, M⟩`` for J' = J + i − 1; state k goes to ``k + J' − J − (M' − M)``.
        ``Σ_i K²`` is N/2 − M, N/2 + M or N.
    """
    J, M, exists = _grid(N)
    if kind == DEPHASING:
        squares = [4 * (J * J - M * M), 4 * M * M, 4 * ((J + 1) ** 2 - M * M)]
    else:
        m = M if kind == PUMP else -M
        squares = [(J - m) * (J - m - 1), (J - m) * (J + m + 1), (J + m + 1) * (J + m + 2)]
    safe = np.maximum(J, 0.5)
    weights = [
        np.where(J >= 1, (N / 2 + J + 1) / (2 * safe * (2 * safe + 1)), 0.0),
        np.where(J > 0, (N / 2 + 1) / (2 * safe * (safe + 1)), 0.0),
        (N / 2 - J) / (2 * (J + 1) * (2 * J + 1)),
    ]
    out = np.stack(
        [np.where(exists, np.sqrt(np.maximum(w * s, 0.0)), 0.0) for w, s in zip(weights, squares, strict=True)]
    )
    if kind == DEPHASING:
        out[1] *= np.sign(M)
    return out


def local_rates(name: str, each: Each) -> np.ndarray:
    """Rates (3,) of pump, loss and dephasing of one local channel, of which two are zero.

    Raises
    ------
    ValueError
        If its operator is no multiple of σ⁺, σ⁻ or σ^z.
    """
    L = each.matrix
    parts = np.array([abs(L[0, 1]), abs(L[1, 0]), abs(L[0, 0] - L[1, 1]) / 2])
    is_single = np.count_nonzero(parts) <= 1 and abs(L[0, 0] + L[1, 1]) <= 1e-12 * max(1.0, abs(L).max())
    if not is_single:
        raise ValueError(
            f"Argument `system`: at level 'dicke' the local channel {name!r} must be a multiple of σ⁺, σ⁻ or σ^z, but "
            f"is {L.tolist()}; divide it into such channels, or choose ba.Moments() or another level."
        )
    return parts**2


Term = tuple[complex, tuple[Band, ...]]


class SectorOperator:
    """A sum of products of one band per site, with complex coefficients.

    Parameters
    ----------
    terms : sequence of (coefficient, bands)
        One band per site; equal products are put together.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        merged: dict[tuple, Term] = {}
        for c, bands in terms:
            key = tuple(b.key for b in bands)
            merged[key] = (merged[key][0] + c if key in merged else complex(c), bands)
        self.terms = [(c, bands) for c, bands in merged.values() if c != 0 and all(b.values.any() for b in bands)]

    def __add__(self, other: SectorOperator) -> SectorOperator:
        return SectorOperator([*self.terms, *other.terms])

    def __rmul__(self, factor: complex) -> SectorOperator:
        return SectorOperator([(factor * c, bands) for c, bands in self.terms])

    def __matmul__(self, other: SectorOperator) -> SectorOperator:
        return SectorOperator(
            [
                (a * b, tuple(x @ y for x, y in zip(left, right, strict=True)))
                for a, left in self.terms
                for b, right in other.terms
            ]
        )

    def dag(self) -> SectorOperator:
        """Adjoint."""
        return SectorOperator([(np.conj(c), tuple(b.dag() for b in bands)) for c, bands in self.terms])

    def matrix(self, sector: Sequence[int], dims: Sequence[int]) -> sp.csr_array:
        """Matrix in the sector j of every site, whose numbers of states are `dims`; order of the sites' product."""
        n = int(np.prod(dims))
        out = sp.csr_array((n, n), dtype=complex)
        for c, bands in self.terms:
            factor = sp.csr_array(np.ones((1, 1)))
            for band, j, d in zip(bands, sector, dims, strict=True):
                factor = sp.csr_array(sp.kron(factor, band.matrix(j, d), format="csr"))
            out = out + c * factor
        return sp.csr_array(out)

    def size(self, sector: Sequence[int]) -> float:
        """``√(Tr O†O)`` in one sector of every site."""
        total = 0.0
        for a, left in self.terms:
            for b, right in self.terms:
                if all(x.shift == y.shift for x, y in zip(left, right, strict=True)):
                    overlap = [x.values[j] @ y.values[j] for x, y, j in zip(left, right, sector, strict=True)]
                    total += float((np.conj(a) * b).real * np.prod(overlap))
        return float(np.sqrt(max(total, 0.0)))


@dataclass(frozen=True)
class DickeSpace:
    """Sites of a system in the order of the product, with the states kept.

    Attributes
    ----------
    sites : tuple of Site
        Bosons, then ensembles; the one with most spins is the last.
    levels : tuple of int
        States kept of every boson; N + 1 for an ensemble.
    """

    sites: tuple[Site, ...]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, sites: Sequence[Site], levels: Mapping[str, int]) -> DickeSpace:
        """Check the sites and put them in order.

        Raises
        ------
        ValueError
            If a site is neither a boson nor an ensemble of spins 1/2, or there is no ensemble.
        """
        bosons = [s for s in sites if isinstance(s, Boson)]
        ensembles = [s for s in sites if isinstance(s, Ensemble)]
        for s in sites:
            if isinstance(s, Ensemble):
                number(s.N)
                if not isinstance(s.member, Spin) or s.member.levels != 2:
                    raise ValueError(
                        f"Argument `system`: Dicke sectors need spins 1/2, but the members of {s.name!r} are "
                        f"{s.member!r}; choose ba.Moments() or another level."
                    )
            elif not isinstance(s, Boson):
                raise ValueError(
                    f"Argument `system`: at level 'dicke' sites are bosons and ensembles of spins 1/2, but {s.name!r} "
                    f"is {type(s).__name__}; make it an Ensemble with N=1, or choose another level."
                )
        if not ensembles:
            raise ValueError(
                "Argument `system`: level 'dicke' needs an ensemble of spins, but there is none; choose ba.Ket()."
            )
        for name in levels:
            if name not in {s.name for s in bosons}:
                raise ValueError(f"Argument `basis` must name bosons {[s.name for s in bosons]}, but has {name!r}.")
        ordered: list[Site] = [*bosons, *sorted(ensembles, key=lambda s: s.N)]
        kept = [s.N + 1 if isinstance(s, Ensemble) else int(levels.get(s.name, s.levels)) for s in ordered]
        return cls(tuple(ordered), tuple(kept))

    @property
    def identity(self) -> tuple[Band, ...]:
        """The identity of every site."""
        return tuple(identity(s, n) for s, n in zip(self.sites, self.levels, strict=True))

    def lower(self, operator: Operator) -> SectorOperator:
        """A symbolic operator, at all sectors at once; bosons are cut off, so multiply what comes out."""
        terms: list[Term] = []
        one = self.identity
        for monomial, c in operator.terms.items():
            bands = list(one)
            for site, x in monomial:
                if site not in self.sites:
                    raise ValueError(
                        f"The site {site!r} is not one of the system's sites {[s.name for s in self.sites]}; "
                        "build the operator from the same site objects as H."
                    )
                i = self.sites.index(site)
                bands[i] = element(site, x, self.levels[i])
            terms.append((number(c), tuple(bands)))
        return SectorOperator(terms)
