"""Ensembles: N identical members as one site, collective operators, and channels that act on each member.

An elementary operator of an ensemble is a sum over *distinct* members, ``S(u, v, …) = Σ_{i≠j≠…} u_i v_j …`` with
matrix units u, v, … of one member.  The last diagonal unit is left out, because the units add to the identity; so the
elements are linearly independent, and the product of two of them is a sum over the ways in which members can coincide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import combinations, permutations
from math import prod
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, eye_array, kron

from .algebra import Element, Levels, Operator, Site, Spin
from .symbols import is_symbolic, names_of

Unit = tuple[int, int]
#: An operator of one member as a combination of units and the identity, None.
Slot = Sequence[tuple[Unit | None, complex]]

#: A spin 1/2, of which ensembles are made where nothing else is said.
MEMBER = Spin("member")
#: Largest matrix dimension d^N that an ensemble is lowered to.
MAX_DIM = 4096


class Member(NamedTuple):
    """The element that acts on one member only: for matrices, where members can be told apart."""

    number: int
    unit: Unit


def without_last(unit: Unit, levels: int) -> list[tuple[Unit | None, float]]:
    """A matrix unit in terms of the identity (None) and all units but the last diagonal one."""
    if unit != (levels - 1, levels - 1):
        return [(unit, 1.0)]
    return [(None, 1.0), *(((i, i), -1.0) for i in range(levels - 1))]


@dataclass(frozen=True)
class Each:
    """A local channel: the same operator on each member of an ensemble, ``Σ_i D[L_i]``; made by `Ensemble.each`.

    Attributes
    ----------
    ensemble : Ensemble
        Whose members.
    operator : Operator
        L, on the site of a member.
    """

    ensemble: Ensemble
    operator: Operator

    @property
    def matrix(self) -> np.ndarray:
        """L as a matrix, (levels, levels)."""
        return self.ensemble.member_matrix(self.operator)

    def on(self, index: int) -> Operator:
        """L_i of one member; for matrices only."""
        L = self.matrix
        return Operator(
            {((self.ensemble, Member(index, (int(i), int(j)))),): L[i, j] for i, j in zip(*np.nonzero(L), strict=True)}
        )

    def jumps(self) -> list[tuple[str, Operator]]:
        """Jump operators, for matrices only, and how the names of their channels end."""
        return self.ensemble.jumps(self)


@dataclass(frozen=True)
class Ensemble(Site):
    """N identical few-level systems; elementary operators are sums over distinct members.

    Parameters
    ----------
    name : str
        Site name.
    N : int
        Number of members; or, for moment equations, a positive symbol of sympy's, for which `System.substitute` puts
        a number.
    member : Levels
        One of them: `Spin` or `Levels`, whose name plays no part.

    Raises
    ------
    ValueError
        If N is no integer >= 1 and no positive symbol, or a member has no finite number of levels.

    Examples
    --------
    >>> spins = Ensemble("A", N=100)
    >>> spins.sp.commutator(spins.sm) == 2 * spins.sz
    True
    """

    levels: int = 2
    N: int = 1
    member: Levels = MEMBER

    def __init__(self, name: str, N: Any, member: Levels | None = None) -> None:
        member = MEMBER if member is None else member
        symbolic = is_symbolic(N) and not N.is_Integer
        if symbolic and not (N.free_symbols and N.is_positive):
            raise ValueError(
                f'Argument `N` must be positive, but {N} may not be; write sympy.Symbol("{N}", positive=True).'
            )
        if is_symbolic(N) and N.is_Integer:
            N = int(N)
        if not symbolic and (isinstance(N, bool) or not isinstance(N, (int, np.integer)) or N < 1):
            raise ValueError(f"Argument `N` must be an integer >= 1, but is {N!r}.")
        if not isinstance(member, Levels):
            raise ValueError(f"Argument `member` must be a Spin or Levels site, but is {member!r}.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "N", N if symbolic else int(N))
        object.__setattr__(self, "member", member)
        few = not symbolic and N * np.log2(member.levels) < 62
        states = member.levels ** int(N) if few else 2**62  # no number of 10⁶ digits
        object.__setattr__(self, "levels", states)
        self.__post_init__()

    # === operators

    def member_matrix(self, operator: Operator) -> np.ndarray:
        """Matrix (levels, levels) of an operator of one member."""
        if any(site != self.member for site in operator.sites):
            raise ValueError(
                f"Argument `operator` must act on a member of {self.name!r}, {self.member!r}, but acts on "
                f"{[s.name for s in operator.sites]}."
            )
        if names := names_of(operator.terms.values()):
            raise ValueError(
                f"Argument `operator` must have numbers as coefficients on a member of {self.name!r}, but holds the "
                f"symbols {names}; they may stand before collective operators."
            )
        n = self.member.levels
        out = np.zeros((n, n), dtype=complex)
        for monomial, c in operator.terms.items():
            out += complex(c) * (self.member.matrix(monomial[0][1], n).toarray() if monomial else np.eye(n))
        return out

    def total(self, operator: Operator) -> Operator:
        """Collective operator ``Σ_i x_i`` of an operator x of one member."""
        matrix = self.member_matrix(operator)
        out = Operator({})
        for i, j in zip(*np.nonzero(matrix), strict=True):
            for unit, c in without_last((int(i), int(j)), self.member.levels):
                value = complex(matrix[i, j] * c)
                out = out + (self.N * value if unit is None else self._operator((unit,), value))
        return out

    def each(self, operator: Operator) -> Each:
        """Local channel ``Σ_i D[x_i]`` of an operator x of one member."""
        self.member_matrix(operator)
        return Each(self, operator)

    def jumps(self, each: Each) -> list[tuple[str, Operator]]:
        """Jump operators of a local channel, for matrices only: one for each member."""
        return [(str(i + 1), each.on(i)) for i in range(self.N)]

    def product(self, one: np.ndarray) -> np.ndarray:
        """Every member in the same state, (levels,) or a density matrix (levels, levels)."""
        return reduce(np.kron, [one] * self.N)

    def _spin(self, what: str) -> Operator:
        if not isinstance(self.member, Spin):
            raise ValueError(f"Site {self.name!r} has no `{what}`: its members are no spins; use `total`.")
        return self.total(getattr(self.member, what))

    @property
    def sz(self) -> Operator:
        """Collective S_z."""
        return self._spin("sz")

    @property
    def sp(self) -> Operator:
        """Collective S₊."""
        return self._spin("sp")

    @property
    def sm(self) -> Operator:
        """Collective S₋."""
        return self._spin("sm")

    # === what `Operator` asks of a site

    def falling(self, k: int) -> float:
        """N(N−1)…(N−k+1): terms of a sum over k distinct members."""
        if is_symbolic(self.N):
            return prod((self.N - i for i in range(k)), start=1)
        return float(prod(range(self.N - k + 1, self.N + 1)))

    def joined(self, slots: Sequence[Slot]) -> dict[tuple[Unit, ...], complex]:
        """Sum over distinct members, one for each slot; a slot is a combination of units and the identity."""
        out: dict[tuple[Unit | None, ...], complex] = {(): 1.0}
        for slot in slots:
            longer: dict[tuple[Unit | None, ...], complex] = {}
            for element, c in out.items():
                for unit, factor in slot:
                    key = (*element, unit)  # None: a member whose operator is the identity; they are counted below
                    longer[key] = longer.get(key, 0.0) + c * factor
            out = longer
        result: dict[tuple[Unit, ...], complex] = {}
        for element, c in out.items():
            kept = tuple(sorted(u for u in element if u is not None))
            if not is_symbolic(self.N) and len(element) > self.N:
                continue
            free = prod(self.N - i for i in range(len(kept), len(element)))
            result[kept] = result.get(kept, 0.0) + c * free
        return result

    def multiply(self, x: tuple[Unit, ...], y: tuple[Unit, ...]) -> list[tuple[Element | None, complex]]:
        return _product(self, x, y)

    def adjoint(self, x: tuple[Unit, ...]) -> Element:
        return tuple(sorted((j, i) for i, j in x))

    def matrix(self, x: tuple[Unit, ...] | Member, levels: int) -> csr_array:
        if self.levels > MAX_DIM or levels != self.levels:
            raise ValueError(
                f"Site {self.name!r} has {self.member.levels}^{self.N} states, more than the {MAX_DIM} that are "
                "treated as matrices; use level=ba.Moments(), or fewer members."
            )
        if isinstance(x, Member):
            return self._on(x.number, x.unit)
        # S(u, Y) = S(u) S(Y) − Σ_k S(Y with u y_k in the place of y_k)
        if not x:
            return eye_array(levels, dtype=complex, format="csr")
        u, *rest = x
        collective = sum((self._on(i, u) for i in range(self.N)), csr_array((levels, levels), dtype=complex))
        out = collective @ self.matrix(tuple(rest), levels)
        for k, v in enumerate(rest):
            if u[1] == v[0]:
                out = out - self.matrix((*rest[:k], (u[0], v[1]), *rest[k + 1 :]), levels)
        return csr_array(out)

    def _on(self, index: int, unit: Unit) -> csr_array:
        n = self.member.levels
        one = self.member.matrix(unit, n)
        before, behind = eye_array(n**index), eye_array(n ** (self.N - 1 - index))
        return csr_array(kron(kron(before, one), behind, format="csr"))

    def label(self, x: tuple[Unit, ...] | Member) -> str:
        if isinstance(x, Member):
            return f"{self.member.label(x.unit)}[{self.name}, {x.number}]"
        inner = " ".join(f"|{i}⟩⟨{j}|" for i, j in x)
        return f"Σ_{self.name}({inner})"


@cache
def _product(site: Ensemble, x: tuple[Unit, ...], y: tuple[Unit, ...]) -> list[tuple[Element | None, complex]]:
    """S(x) S(y): members of x coincide with members of y in every possible way."""
    total: dict[tuple[Unit, ...], complex] = {}
    n = site.member.levels
    for k in range(min(len(x), len(y)) + 1):
        for mine in combinations(range(len(x)), k):
            for theirs in permutations(range(len(y)), k):
                pairs = [(x[i], y[j]) for i, j in zip(mine, theirs, strict=True)]
                if any(a[1] != b[0] for a, b in pairs):
                    continue
                slots: list[Slot] = [without_last((a[0], b[1]), n) for a, b in pairs]
                slots += [[(u, 1.0)] for i, u in enumerate(x) if i not in mine]
                slots += [[(u, 1.0)] for j, u in enumerate(y) if j not in theirs]
                for element, c in site.joined(slots).items():
                    total[element] = total.get(element, 0.0) + c
    return [(element or None, c) for element, c in total.items() if c != 0]
