"""The operator algebra: polynomials of elementary operators on named sites.

A site knows three things about its own elementary operators: how two of them multiply, what the
adjoint of one is, and what its matrix is.  Everything else (sums, products over several sites,
adjoints, commutators) is written once, in `Operator`.  A new kind of site (a spin ensemble, a
rotor) is a new subclass of `Site`; a new level of description reads `Operator.terms` directly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import comb, factorial, sqrt
from numbers import Complex, Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from .symbols import is_scalar, is_symbolic, size, text

Element = Any  # hashable
Monomial = tuple[tuple["Site", Element], ...]


@dataclass(frozen=True)
class Site(ABC):
    """One named degree of freedom.

    Attributes
    ----------
    name : str
        An identifier; sites are told apart by it.
    levels : int
        Default number of basis states kept when the site is lowered to matrices.
    """

    name: str
    levels: int

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise ValueError(f"Argument `name` must be an identifier (letters, digits, _), but is {self.name!r}.")
        if not isinstance(self.levels, (int, np.integer)) or self.levels < 2:
            raise ValueError(
                f"Argument `levels` of site {self.name!r} must be an integer >= 2, but is {self.levels!r}."
            )

    def excitations(self, index: Any) -> Any:
        """Excitations in basis state `index`, as they are counted in a basis' totals."""
        return index

    #: May the number of basis states be chosen freely (bosons), so that a cut-off edge exists?
    truncated = False

    @abstractmethod
    def multiply(self, x: Any, y: Any) -> list[tuple[Element | None, complex]]:
        """Product of two elementary operators as [(element or None for the identity, coefficient)]."""

    @abstractmethod
    def adjoint(self, x: Any) -> Element:
        """Adjoint of an elementary operator."""

    @abstractmethod
    def matrix(self, x: Any, levels: int) -> sp.csr_array:
        """Matrix of an elementary operator in the first `levels` basis states."""

    @abstractmethod
    def label(self, x: Any) -> str:
        """How an elementary operator is printed."""

    def _operator(self, element: Element, coefficient: complex = 1.0) -> Operator:
        return Operator({((self, element),): coefficient})

    @property
    def identity(self) -> Operator:
        """The identity."""
        return Operator({(): 1.0})


@dataclass(frozen=True)
class Boson(Site):
    """A bosonic mode; elementary operators are the normally ordered a†^m a^n.

    Parameters
    ----------
    name : str
        Site name, e.g. ``"a"``.
    levels : int
        Default number of Fock levels |0⟩ … |levels−1⟩.

    Examples
    --------
    >>> mode = Boson("a", levels=12)
    >>> mode.a * mode.a.dag() - mode.a.dag() * mode.a
    Operator(1)
    """

    levels: int = 10
    truncated = True

    @property
    def a(self) -> Operator:
        """Annihilation operator."""
        return self._operator((0, 1))

    @property
    def n(self) -> Operator:
        """Number operator a†a."""
        return self._operator((1, 1))

    def multiply(self, x: tuple[int, int], y: tuple[int, int]) -> list[tuple[Element | None, complex]]:
        (m, n), (p, q) = x, y
        out: list[tuple[Element | None, complex]] = []
        for k in range(min(n, p) + 1):  # a^n a†^p = Σ k! C(n,k) C(p,k) a†^(p−k) a^(n−k)
            element = (m + p - k, n + q - k)
            out.append((element if element != (0, 0) else None, float(factorial(k) * comb(n, k) * comb(p, k))))
        return out

    def adjoint(self, x: tuple[int, int]) -> Element:
        return (x[1], x[0])

    def matrix(self, x: tuple[int, int], levels: int) -> sp.csr_array:
        m, n = x
        # ⟨k−n+m| a†^m a^n |k⟩ = √(k!/(k−n)!) √((k−n+m)!/(k−n)!)
        cols = np.arange(n, min(levels, levels + n - m))
        low = cols - n
        values = np.ones(cols.size)
        for j in range(1, n + 1):
            values = values * np.sqrt(low + j)
        for j in range(1, m + 1):
            values = values * np.sqrt(low + j)
        return sp.csr_array((values, (low + m, cols)), shape=(levels, levels), dtype=complex)

    def label(self, x: tuple[int, int]) -> str:
        power = ["", "^{}"]
        m, n = x
        up = f"{self.name}†" + power[m > 1].format(m) if m else ""
        down = self.name + power[n > 1].format(n) if n else ""
        return " ".join(part for part in (up, down) if part)


@dataclass(frozen=True)
class Levels(Site):
    """A few-level system; elementary operators are the matrix units |i⟩⟨j|.

    Parameters
    ----------
    name : str
        Site name.
    levels : int
        Number of levels.
    """

    levels: int = 2

    def unit(self, i: int, j: int) -> Operator:
        """Matrix unit |i⟩⟨j|."""
        for index in (i, j):
            if not 0 <= index < self.levels:
                raise ValueError(f"Level index of site {self.name!r} must lie in 0..{self.levels - 1}, but is {index}.")
        return self._operator((i, j))

    def operator(self, matrix: Any) -> Operator:
        """Operator with the given (levels, levels) matrix."""
        matrix = np.asarray(matrix, dtype=complex)
        if matrix.shape != (self.levels, self.levels):
            raise ValueError(
                f"Argument `matrix` must have shape ({self.levels}, {self.levels}), but has {matrix.shape}."
            )
        return Operator({((self, (int(i), int(j))),): matrix[i, j] for i, j in zip(*np.nonzero(matrix), strict=True)})

    def multiply(self, x: tuple[int, int], y: tuple[int, int]) -> list[tuple[Element | None, complex]]:
        return [((x[0], y[1]), 1.0)] if x[1] == y[0] else []

    def adjoint(self, x: tuple[int, int]) -> Element:
        return (x[1], x[0])

    def matrix(self, x: tuple[int, int], levels: int) -> sp.csr_array:
        if levels != self.levels:
            raise ValueError(f"Site {self.name!r} has exactly {self.levels} levels; a basis cannot give it {levels}.")
        return sp.csr_array(([1.0], ([x[0]], [x[1]])), shape=(levels, levels), dtype=complex)

    def label(self, x: tuple[int, int]) -> str:
        return f"|{x[0]}⟩⟨{x[1]}|_{self.name}"


class Spin(Levels):
    """A spin J; level 0 is m = +J (QuTiP's order).

    Parameters
    ----------
    name : str
        Site name.
    J : float
        Spin quantum number, a multiple of 1/2.
    """

    def __init__(self, name: str, J: float = 0.5) -> None:
        if J <= 0 or int(2 * J) != 2 * J:
            raise ValueError(f"Argument `J` must be a positive multiple of 1/2, but is {J!r}.")
        super().__init__(name, int(2 * J) + 1)

    def excitations(self, index: Any) -> Any:
        return self.levels - 1 - index  # level 0 is m = +J

    @property
    def J(self) -> float:
        """Spin quantum number."""
        return (self.levels - 1) / 2

    @property
    def sz(self) -> Operator:
        """S_z (eigenvalues −J … J)."""
        return self.operator(np.diag(self.J - np.arange(self.levels)))

    @property
    def sp(self) -> Operator:
        """S₊ = S_x + iS_y; for J = 1/2 this is σ⁺ = |↑⟩⟨↓|."""
        m = self.J - np.arange(1, self.levels)
        return self.operator(np.diag(np.sqrt(self.J * (self.J + 1) - m * (m + 1)), 1))

    @property
    def sm(self) -> Operator:
        """S₋, the adjoint of S₊."""
        return self.sp.dag()

    @property
    def sx(self) -> Operator:
        """S_x."""
        return 0.5 * (self.sp + self.sm)

    @property
    def sy(self) -> Operator:
        """S_y."""
        return -0.5j * (self.sp - self.sm)


class Operator:
    """A polynomial of elementary operators: {monomial: coefficient}.

    A monomial is a tuple of (site, element), sorted by site name, at most one element per site; the
    empty tuple is the identity.  Immutable by convention.  Coefficients are complex numbers, or
    expressions with symbols in them (`symbols`).
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None  # numpy scalars defer to our reflected operations

    def __init__(self, terms: Mapping[Monomial, Any]) -> None:
        self.terms = {m: c for m, c in terms.items() if c != 0}

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites that occur, sorted by name."""
        return tuple(sorted({site for m in self.terms for site, _ in m}, key=lambda s: s.name))

    def dag(self) -> Operator:
        """Adjoint."""
        return Operator({tuple((s, s.adjoint(x)) for s, x in m): c.conjugate() for m, c in self.terms.items()})

    def commutator(self, other: Operator) -> Operator:
        """[self, other]."""
        return self * other - other * self

    def norm(self) -> float:
        """Largest modulus of a coefficient (0 for the zero operator)."""
        return float(np.max([size(c) for c in self.terms.values()], initial=0.0))  # NaN stays NaN

    @property
    def hermitian(self) -> bool:
        """Is it its own adjoint, up to rounding?"""
        return (self - self.dag()).norm() <= 1e-10 * self.norm()

    def _scaled(self, factor: Any) -> Operator:
        return Operator({m: factor * c for m, c in self.terms.items()})

    def __add__(self, other: Any) -> Operator:
        if is_scalar(other):
            other = Operator({(): other})
        if not isinstance(other, Operator):
            return NotImplemented
        terms = dict(self.terms)
        for m, c in other.terms.items():
            terms[m] = terms[m] + c if m in terms else c
        return Operator(terms)

    __radd__ = __add__

    def __neg__(self) -> Operator:
        return self._scaled(-1.0)

    def __sub__(self, other: Any) -> Operator:
        return self + (-other)

    def __rsub__(self, other: Any) -> Operator:
        return (-self) + other

    def __mul__(self, other: Any) -> Operator:
        if is_scalar(other):
            return self._scaled(other)
        if not isinstance(other, Operator):
            return NotImplemented
        terms: dict[Monomial, Any] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in other.terms.items():
                for monomial, c in _multiply(m1, m2):
                    terms[monomial] = terms.get(monomial, 0.0) + c1 * c2 * c
        return Operator(terms)

    def __rmul__(self, other: Any) -> Operator:
        return self._scaled(other) if is_scalar(other) else NotImplemented

    def __truediv__(self, other: Any) -> Operator:
        if is_symbolic(other):
            return self._scaled(1 / other)
        return self._scaled(1 / complex(other)) if isinstance(other, Complex) else NotImplemented

    def __pow__(self, power: int) -> Operator:
        if not isinstance(power, Integral) or power < 0:
            raise ValueError(f"An operator's power must be a non-negative integer, but is {power!r}.")
        out = Operator({(): 1.0})
        for _ in range(int(power)):
            out = out * self
        return out

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __repr__(self) -> str:
        if not self.terms:
            return "Operator(0)"
        parts = []
        for monomial, c in self.terms.items():
            labels = " ".join(site.label(x) for site, x in monomial)
            if is_symbolic(c):
                number = f"({text(c)})"
            else:
                number = f"{c.real:.6g}" if np.imag(c) == 0 else f"({c:.6g})"
            parts.append(labels if (labels and number == "1") else f"{number} {labels}".strip())
        return f"Operator({' + '.join(parts)})"


def _multiply(m1: Monomial, m2: Monomial) -> list[tuple[Monomial, complex]]:
    """Product of two monomials as a list of (monomial, coefficient)."""
    left, right = dict(m1), dict(m2)
    out: list[tuple[Monomial, complex]] = [((), 1.0)]
    for site in sorted({*left, *right}, key=lambda s: s.name):
        if site not in right or site not in left:
            factors: list[tuple[Element | None, complex]] = [(left.get(site, right.get(site)), 1.0)]
        else:
            factors = site.multiply(left[site], right[site])
        out = [
            (m if element is None else (*m, (site, element)), c * factor) for m, c in out for element, factor in factors
        ]
    return out


def rate(value: float, name: str) -> float:
    """√value for a rate that must be real, finite and >= 0 (errors name the argument)."""
    if not isinstance(value, Real) or not np.isfinite(value) or value < 0:
        raise ValueError(f"Argument `{name}` must be a finite rate >= 0, but is {value!r}.")
    return sqrt(value)
