"""Moment equations: means and covariances of elementary operators, derived from the operator algebra.

The *letters* of a system are its operators of first order: a and a† of a boson, the matrix units of a few-level site
but the last diagonal one, and the same units of one member of an ensemble, (1/N) Σ_i u_i.  At order 1 all letters are
independent of each other.  At order 2 they have covariances, and all higher cumulants are zero; letters of one ensemble
then belong to two different members, and pairs of a boson are normally ordered.  Products of letters on one few-level
system, or on one member, are letters again, so nothing is neglected there.

The mean of any operator is a polynomial of means and covariances:

    ⟨x_1 x_2 … x_n⟩ = Σ over ways of choosing disjoint pairs of Π C(pairs) Π m(the rest).

Equations hold between records: ``dm_x/dt = F_x`` and, with ``M_xy = C_xy + m_x m_y``, ``dC_xy/dt = F_xy − F_x m_y −
m_x F_y``.  A detector of L adds ``g_x dW`` to m_x, with ``g_x = √η (e^{−iφ} c_x + h.c.)`` and c_x = ⟨xL⟩ − ⟨x⟩⟨L⟩, and
``−g_x g_y dt`` to C_xy.  Its noise of C_xy is a third cumulant of x, y and L and mostly zero; not where L is a sum over
the members that x and y belong to, because products on one member are letters again: there it is smaller by 1/N.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .algebra import Boson, Levels, Operator, Site
from .ensembles import Each, Ensemble, Slot, Unit, without_last
from .states import vacuum
from .symbols import is_symbolic, size, substituted, text, tidy
from .symmetry import Charges
from .system import System

Letter = tuple[Site, Any]
#: A mean is named by its letter, a covariance by its two letters, in the order of `MomentEquations.letters`.
Variable = tuple[Letter, ...]
#: Product of variables -> coefficient; the empty product is 1.
Polynomial = dict[tuple[Variable, ...], complex]

#: Coefficients below this fraction of the largest are the rounding of others that cancel.
NEGLIGIBLE = 1e-13


def _units(levels: int) -> list[Unit]:
    """Matrix units but the last diagonal one."""
    return [(i, j) for i in range(levels) for j in range(levels) if (i, j) != (levels - 1, levels - 1)]


def letters_of(site: Site) -> list[Letter]:
    """Operators of first order of one site."""
    if isinstance(site, Boson):
        return [(site, (0, 1)), (site, (1, 0))]
    if isinstance(site, Ensemble):
        return [(site, unit) for unit in _units(site.member.levels)]
    if isinstance(site, Levels):
        return [(site, unit) for unit in _units(site.levels)]
    raise ValueError(f"Argument `level`: moments are not known for the site {site!r}.")


def conjugate(letter: Letter) -> Letter:
    """The adjoint letter."""
    site, (i, j) = letter
    return (site, (j, i))


def _matchings(items: tuple[Any, ...]) -> Iterator[tuple[list[tuple[Any, Any]], list[Any]]]:
    """Every way of choosing disjoint pairs: (pairs, the rest)."""
    if not items:
        yield [], []
        return
    first, *others = items
    for pairs, rest in _matchings(tuple(others)):
        yield pairs, [first, *rest]
    for k, second in enumerate(others):
        for pairs, rest in _matchings((*others[:k], *others[k + 1 :])):
            yield [(first, second), *pairs], rest


def _order(variable: Variable) -> tuple[tuple[str, Any], ...]:
    """Where a factor stands in a product."""
    return tuple((site.name, element) for site, element in variable)


def add_to(total: Polynomial, other: Mapping[tuple[Variable, ...], complex], factor: complex = 1.0) -> None:
    """total += factor × other."""
    for key, c in other.items():
        total[key] = total.get(key, 0.0) + factor * c


def product(a: Polynomial, b: Polynomial) -> Polynomial:
    """a × b."""
    out: Polynomial = {}
    for ka, ca in a.items():
        for kb, cb in b.items():
            key = tuple(sorted((*ka, *kb), key=_order))
            out[key] = out.get(key, 0.0) + ca * cb
    return out


def largest(polynomial: Polynomial) -> float:
    """Modulus of the largest coefficient."""
    return max(map(size, polynomial.values()), default=0.0)


def cleaned(polynomial: Polynomial, scale: float | None = None) -> Polynomial:
    """Without what cancels, of terms as large as `scale`; its own by default."""
    scale = largest(polynomial) if scale is None else scale
    return {key: c for key, c in polynomial.items() if size(c) > NEGLIGIBLE * scale}


@dataclass(frozen=True, eq=False)
class MomentEquations:
    """Equations of motion of means and covariances, ``print`` shows them.

    Parameters
    ----------
    system : System
        Symbolic and constant in time.
    order : {1, 2}
        1: means only; 2: covariances, too.
    symmetric : bool
        Keep only variables that the system's U(1) symmetries leave as they are.  The others stay zero if they are zero
        at the start and nobody looks, so that evolution, steady states and spectra are the same with fewer equations.

    Raises
    ------
    ValueError
        For matrices, time-dependent operators, another order, a site without moments, or `symmetric` without a
        symmetry.
    """

    system: System
    order: int = 2
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise ValueError(f"Argument `order` must be 1 or 2, but is {self.order!r}.")
        if not self.system.symbolic:
            raise ValueError(
                "Argument `system` must have symbolic operators for moments, but holds matrices; write H and channels "
                "with ba.Boson, ba.Spin, ba.Levels and ba.Ensemble."
            )
        if self.system.time_dependent:
            raise ValueError("Argument `system` must be constant in time for moments, but has coefficients.")
        if self.symmetric:
            self._charges  # noqa: B018 (an error is due here)

    @cached_property
    def _charges(self) -> Charges:
        return Charges(self.system)

    def kept(self, variable: Variable) -> bool:
        """Is it one of the variables, or the conjugate of one?  Not if it is charged, and `symmetric`."""
        if not self.symmetric:
            return True
        return all(map(self._charges.neutral, self.operator(variable).terms))

    @cached_property
    def letters(self) -> list[Letter]:
        """All operators of first order."""
        return [letter for site in self.system.sites for letter in letters_of(site)]

    @cached_property
    def _rank(self) -> dict[Letter, int]:
        return {letter: i for i, letter in enumerate(self.letters)}

    @cached_property
    def pairs(self) -> list[tuple[Letter, Letter]]:
        """Pairs of letters that have a covariance: of two sites, of two members, of one boson."""
        if self.order == 1:
            return []
        return [
            (x, y)
            for i, x in enumerate(self.letters)
            for y in self.letters[i:]
            if (x[0] != y[0] or isinstance(x[0], Boson) or (isinstance(x[0], Ensemble) and x[0].N != 1))
            and self.kept((x, y))
        ]

    @cached_property
    def _known(self) -> set[Variable]:
        return {*((x,) for x in self.letters), *self.pairs}

    def covariance(self, x: Letter, y: Letter) -> Variable:
        """The name of C_xy."""
        return (x, y) if self._rank[x] <= self._rank[y] else (y, x)

    @cached_property
    def variables(self) -> list[Variable]:
        """Independent variables: of two that are complex conjugates, the first."""
        out: list[Variable] = []
        for v in (*((x,) for x in self.letters if self.kept((x,))), *self.pairs):
            if self.conjugate(v) not in out:
                out.append(v)
        return out

    @cached_property
    def _charged(self) -> set[Variable]:
        """Means that are zero by symmetry."""
        return {(x,) for x in self.letters if not self.kept((x,))}

    def _neutral(self, polynomial: Polynomial) -> Polynomial:
        """Without products of means that are zero by symmetry."""
        if not self._charged:
            return polynomial
        return {key: c for key, c in polynomial.items() if self._charged.isdisjoint(key)}

    def conjugate(self, variable: Variable) -> Variable:
        """The variable with the complex conjugate value."""
        if len(variable) == 1:
            return (conjugate(variable[0]),)
        return self.covariance(conjugate(variable[0]), conjugate(variable[1]))

    # === operators

    def operator(self, letters: Sequence[Letter]) -> Operator:
        """Product of letters: normally ordered on a boson, of different members of an ensemble."""
        out = Operator({(): 1.0})
        for site in sorted({x[0] for x in letters}, key=lambda s: s.name):
            mine = [x[1] for x in letters if x[0] == site]
            if isinstance(site, Boson):
                element: Any = tuple(int(n) for n in np.sum(mine, axis=0))
                out = out * Operator({((site, element),): 1.0})
            elif isinstance(site, Ensemble):
                element = tuple(sorted(mine))
                out = out * Operator({((site, element),): 1.0 / site.falling(len(mine))})
            else:
                out = out * Operator({((site, mine[0]),): 1.0})
        return out

    def mean(self, operator: Operator) -> Polynomial:
        """⟨O⟩ as a polynomial of means and covariances, cumulants above the order being zero."""
        return self._neutral(self.mean_with_charges(operator))

    def mean_with_charges(self, operator: Operator) -> Polynomial:
        """The same with means that are zero by symmetry, which tell how small ones would evolve."""
        out: Polynomial = {}
        for monomial, coefficient in operator.terms.items():
            choices: list[tuple[tuple[Letter, ...], complex]] = [((), _scalar(coefficient))]
            for site, element in monomial:
                options: list[tuple[tuple[Letter, ...], complex]] = []
                if isinstance(site, Boson):
                    m, n = element
                    options.append((((site, (1, 0)),) * m + ((site, (0, 1)),) * n, 1.0))
                elif isinstance(site, Ensemble):
                    options.append((tuple((site, unit) for unit in element), site.falling(len(element))))
                elif isinstance(site, Levels):
                    for unit, weight in without_last(element, site.levels):
                        options.append(((() if unit is None else ((site, unit),)), weight))
                else:
                    raise ValueError(f"Argument `level`: moments are not known for the site {site!r}.")
                choices = [((*w, *more), c * factor) for w, c in choices for more, factor in options]
            for word, c in choices:
                if c != 0:
                    self._close(word, c, out)
        return cleaned(out)

    def _close(self, word: tuple[Letter, ...], coefficient: complex, out: Polynomial) -> None:
        for pairs, rest in _matchings(word):
            names = [self.covariance(x, y) for x, y in pairs]
            if all(name in self._known for name in names):
                key = tuple(sorted((*names, *((x,) for x in rest)), key=_order))
                out[key] = out.get(key, 0.0) + coefficient

    def adjoint_liouvillian(self, operator: Operator) -> Operator:
        """𝓛†O = i[H, O] + ½ Σ (L†[O, L] + [L†, O]L), local channels included."""
        out = 1j * self.system.hamiltonian.commutator(operator)
        for name in self.system.outputs:
            L = self.system.output(name)
            out = out + 0.5 * (L.dag() * operator.commutator(L) + L.dag().commutator(operator) * L)
        for each in self.system.local_channels.values():
            out = out + _local(each, operator)
        return out

    # === equations

    @cached_property
    def drift(self) -> dict[Variable, Polynomial]:
        """Time derivatives of the independent variables while nobody looks."""
        of_mean = {x: self.mean(self.adjoint_liouvillian(self.operator([x]))) for x in self.letters}
        out: dict[Variable, Polynomial] = {}
        for v in self.variables:
            if len(v) == 1:
                out[v] = {key: tidy(c) for key, c in of_mean[v[0]].items()}
                continue
            x, y = v
            total = dict(self.mean(self.adjoint_liouvillian(self.operator([x, y]))))
            scale = largest(total)
            add_to(total, product(of_mean[x], {((y,),): 1.0}), -1.0)
            add_to(total, product({((x,),): 1.0}, of_mean[y]), -1.0)
            out[v] = {key: tidy(c) for key, c in cleaned(self._neutral(total), scale).items()}
        return out

    def substitute(self, values: Mapping[Any, Any] | None = None, **named: Any) -> MomentEquations:
        """The equations of `System.substitute`, without deriving them again.

        Parameters
        ----------
        values : mapping of symbol or name to number, optional
            What to put for the symbols.
        **named
            The same by name, ``equations.substitute(N=100)``.

        Raises
        ------
        ValueError
            If a symbol does not occur, or an ensemble is left with one member, which has other equations.
        """
        system = self.system.substitute(values, **named)
        new = dict(zip(self.system.sites, system.sites, strict=True))
        for old, site in new.items():
            if isinstance(site, Ensemble) and site.N == 1 and old != site:
                raise ValueError(
                    f"Argument `values` leaves one member of {site.name!r}, which has no pairs; derive the equations "
                    "again, from system.substitute(...)."
                )
        numbers = {str(s): v for s, v in {**(values or {}), **named}.items()}

        def moved(v: Variable) -> Variable:
            return tuple((new[site], element) for site, element in v)

        out = MomentEquations(system, self.order, self.symmetric)
        drift = {
            moved(v): {tuple(map(moved, key)): substituted(c, numbers) for key, c in polynomial.items()}
            for v, polynomial in self.drift.items()
        }
        # numbers make more terms vanish, three different members of two say, and restore symmetries
        kept = set(out.variables)
        out.__dict__["drift"] = {v: cleaned(out._neutral(p)) for v, p in drift.items() if v in kept}
        return out

    @property
    def symbols(self) -> list[str]:
        """Names of the symbols in the system."""
        return self.system.symbols

    def correlation(self, left: Operator, right: Operator) -> Polynomial:
        """⟨AB⟩ − ⟨A⟩⟨B⟩."""
        total = dict(self.mean(left * right))
        scale = largest(total)
        add_to(total, product(self.mean(left), self.mean(right)), -1.0)
        return cleaned(total, scale)

    def response(self, L: Operator) -> dict[Variable, tuple[Polynomial, Polynomial]]:
        """What a measurement of L does: c and d of every independent variable, ``g = √η (e^{−iφ} c + e^{iφ} d)``.

        ``c_x = ⟨xL⟩ − ⟨x⟩⟨L⟩`` and ``d_x = ⟨L†x⟩ − ⟨L†⟩⟨x⟩``; of a covariance, ``c_xy`` is that of the product less
        ``m_x c_y + m_y c_x``.  Those without noise are left out, means never.
        """
        if self.symmetric:
            raise ValueError("Argument `symmetric` must be left out for measurements, which break the symmetry.")

        def both(letters: Sequence[Letter]) -> tuple[Polynomial, Polynomial]:
            X = self.operator(letters)
            return self.correlation(X, L), self.correlation(L.dag(), X)

        of_mean = {x: both([x]) for x in self.letters}
        out: dict[Variable, tuple[Polynomial, Polynomial]] = {}
        for v in self.variables:
            if len(v) == 1:
                out[v] = of_mean[v[0]]
                continue
            x, y = v
            parts = []
            for k, whole in enumerate(both(v)):
                total = dict(whole)
                scale = largest(total)
                add_to(total, product({((x,),): 1.0}, of_mean[y][k]), -1.0)
                add_to(total, product({((y,),): 1.0}, of_mean[x][k]), -1.0)
                parts.append(cleaned(total, scale))
            if any(parts):
                out[v] = (parts[0], parts[1])
        return out

    def initial(self, states: Mapping[str, Any] | None = None) -> np.ndarray:
        """Values of `variables` in a product of site states, complex (n,)."""
        states = states or {}
        rank = {v: i for i, v in enumerate(self.variables)}
        out = np.zeros(len(rank), dtype=complex)
        for site in self.system.sites:
            state = states.get(site.name, vacuum())
            if isinstance(site, Boson):
                alpha, n = boson_moments(site, state)
                values = {((site, (0, 1)),): alpha, self.covariance((site, (0, 1)), (site, (1, 0))): n}
            else:
                one = site.member if isinstance(site, Ensemble) else site
                vector = state.lower(one, one.levels)
                rho = np.outer(vector, vector.conj()) if vector.ndim == 1 else vector
                values = {((site, (i, j)),): rho[j, i] for i, j in _units(one.levels)}
            for v, value in values.items():
                if v in rank:
                    out[rank[v]] = value
                elif self.conjugate(v) in rank:
                    out[rank[self.conjugate(v)]] = np.conj(value)
                elif abs(value) > NEGLIGIBLE and v in self._charged:
                    raise ValueError(
                        f"Argument `initial`: in {state!r} of site {site.name!r}, {self.label(v)} is not zero as the "
                        "symmetry asks; start from a symmetric state, or derive the equations without `symmetric`."
                    )
        return out

    def label(self, variable: Variable) -> str:
        """How a variable is printed."""
        names = []
        for site, (i, j) in variable:
            if isinstance(site, Boson):
                names.append(site.name + "†" * i)
            else:
                names.append(f"|{i}⟩⟨{j}|_{site.name}")
        return f"⟨{names[0]}⟩" if len(names) == 1 else f"C({', '.join(names)})"

    def __str__(self) -> str:
        lines = []
        for v, polynomial in self.drift.items():
            terms = [" ".join([_number(c), *(self.label(factor) for factor in key)]) for key, c in polynomial.items()]
            lines.append(f"d{self.label(v)}/dt = {' '.join(terms) or '0'}")
        return "\n".join(lines)


def _scalar(c: Any) -> Any:
    """A coefficient: complex, or with symbols in it."""
    return c if is_symbolic(c) else complex(c)


def _number(c: Any) -> str:
    """A coefficient with its sign."""
    if is_symbolic(c) and c.free_symbols:
        return f"+({text(c)})"
    c = complex(c)
    if abs(c.imag) <= NEGLIGIBLE * abs(c):
        return f"{c.real:+.6g}"
    return f"{c.imag:+.6g}i" if abs(c.real) <= NEGLIGIBLE * abs(c) else f"+({c.real:.6g}{c.imag:+.6g}i)"


def _local(each: Each, operator: Operator) -> Operator:
    """Σ_i D†[L_i] O: it acts on every slot of the ensemble's elements."""
    site, L = each.ensemble, each.matrix
    n = site.member.levels
    out = Operator({})
    for monomial, c in operator.terms.items():
        factors = dict(monomial)
        element = factors.get(site, ())
        for k, (i, j) in enumerate(element):
            u = np.zeros((n, n), dtype=complex)
            u[i, j] = 1.0
            changed = L.conj().T @ u @ L - 0.5 * (L.conj().T @ L @ u + u @ L.conj().T @ L)
            slot: Slot = [
                (unit, complex(changed[a, b]) * factor)
                for a, b in zip(*np.nonzero(changed), strict=True)
                for unit, factor in without_last((int(a), int(b)), n)
            ]
            others: list[Slot] = [[(unit, 1.0)] for q, unit in enumerate(element) if q != k]
            for new, factor in site.joined([slot, *others]).items():
                rest = {**factors, site: new} if new else {s: x for s, x in factors.items() if s != site}
                key = tuple(sorted(rest.items(), key=lambda item: item[0].name))
                out = out + Operator({key: c * factor})
    return out


def boson_moments(site: Boson, state: Any) -> tuple[complex, float]:
    """⟨a⟩ and ⟨a†a⟩ − |⟨a⟩|² of a Gaussian state with ⟨aa⟩ = ⟨a⟩²; a number state becomes one, with a warning."""
    if state.kind == "coherent":
        return complex(state.parameters[0]), 0.0
    if state.kind == "fock" and np.real(state.parameters[0]) > 0:
        warnings.warn(
            f"The number state of site {site.name!r} is not Gaussian: moments replace it by the thermal state of the "
            "same mean. Start from ba.thermal(n), or choose another level.",
            RuntimeWarning,
            stacklevel=2,
        )
    if state.kind in ("thermal", "fock"):
        return 0.0, float(np.real(state.parameters[0]))
    if state.kind == "vacuum":
        return 0.0, 0.0
    raise ValueError(f"Argument `initial[{site.name!r}]` must be a state of a boson, but is {state!r}.")
