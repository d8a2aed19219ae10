"""Truncated Wigner: bosonic systems as classical amplitudes with vacuum noise, from the same symbolic description.

The *Weyl symbol* of an operator is the function of amplitudes α_j whose average over the Wigner function is the
operator's mean; of one mode

    a†^m a^n  →  Σ_k (−1/2)^k k! C(m,k) C(n,k) α*^(m−k) α^(n−k),

and a product over modes.  With the symbols H of the Hamiltonian and ℓ of every channel the amplitudes follow Itô's

    dα_j = f_j dt + Σ (A_j dξ* − B_j dξ),     A_j = ∂ℓ/∂α_j*,   B_j = ∂ℓ*/∂α_j*,

where f_j is the symbol of 𝓛†(a_j), of which H contributes −i ∂H/∂α_j*, and ``dξ = (dW_1 + i dW_2)/2`` is the vacuum
that comes in at the channel, E|dξ|² = dt/2.  The drift is exact.  What is left out: derivatives of the Wigner function
above the second, and for channels of degree 2 a constant of the diffusion: D[a²] spreads α by 2|α|² in place of
2|α|² − 1.  Linear systems are exact.

Gardiner and Zoller, *Quantum Noise*, chapter 4; Polkovnikov, Ann. Phys. 325, 1790 (2010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product as choices
from math import comb, factorial
from typing import Any

import numpy as np

from .algebra import Boson, Operator
from .moments import NEGLIGIBLE, Letter, Polynomial, Variable, cleaned, conjugate
from .states import vacuum
from .symbols import number, unknown
from .system import System

#: Highest degrees in a and a†.
HAMILTONIAN_DEGREE, CHANNEL_DEGREE = 4, 2


def weyl_symbol(operator: Operator) -> Polynomial:
    """The Weyl symbol of a polynomial of a and a†.

    Parameters
    ----------
    operator : Operator
        Of bosons only.

    Returns
    -------
    Polynomial
        Products of α, the variables ``((site, (0, 1)),)``, and α*, ``((site, (1, 0)),)``, with their coefficients.

    Raises
    ------
    ValueError
        For a site that is not a boson, or coefficients that are not numbers.
    """
    out: Polynomial = {}
    for monomial, coefficient in operator.terms.items():
        expansions = []
        for site, element in monomial:
            if not isinstance(site, Boson):
                raise ValueError(f"Argument `operator` must be of bosons only for Weyl symbols, but has {site!r}.")
            m, n = element
            up, down = ((site, (1, 0)),), ((site, (0, 1)),)
            expansions.append(
                [
                    ((down,) * (n - k) + (up,) * (m - k), (-0.5) ** k * factorial(k) * comb(m, k) * comb(n, k))
                    for k in range(min(m, n) + 1)
                ]
            )
        for parts in choices(*expansions):
            key = tuple(sorted((v for word, _ in parts for v in word), key=_order))
            weight = number(coefficient)
            for _, factor in parts:
                weight *= factor
            out[key] = out.get(key, 0.0) + weight
    return cleaned(out)


def _order(variable: Variable) -> tuple[str, Any]:
    (site, element) = variable[0]
    return site.name, element


def derivative(polynomial: Polynomial, variable: Variable) -> Polynomial:
    """∂/∂variable; a variable and its conjugate are independent."""
    out: Polynomial = {}
    for key, c in polynomial.items():
        power = key.count(variable)
        if power:
            at = key.index(variable)
            rest = key[:at] + key[at + 1 :]
            out[rest] = out.get(rest, 0.0) + power * c
    return out


def degree(operator: Operator) -> int:
    """Degree in a and a†, of what is not the rounding of others."""
    smallest = NEGLIGIBLE * operator.norm()
    return max((sum(sum(x) for _, x in m) for m, c in operator.terms.items() if abs(c) > smallest), default=0)


@dataclass(frozen=True, eq=False)
class WignerEquations:
    """Stochastic equations of the amplitudes, ``print`` shows their drift.

    Parameters
    ----------
    system : System
        Symbolic and constant in time, of bosons only; H of degree ≤ 4 in a and a†, channels of degree ≤ 2.

    Raises
    ------
    ValueError
        For another system; the message says what is in the way, and which level to take instead.
    """

    system: System

    def __post_init__(self) -> None:
        system = self.system
        if not system.symbolic:
            raise ValueError(
                "Argument `system` must have symbolic operators for phase space, but holds matrices; write H and "
                "channels with ba.Boson."
            )
        if system.symbols:
            raise unknown(system.symbols)
        if system.time_dependent:
            raise ValueError(
                "Argument `system` must be constant in time for phase space, but has coefficients; go to a rotating "
                "frame, or choose ba.Ket() or ba.Density()."
            )
        for site in system.sites:
            if not isinstance(site, Boson):
                raise ValueError(
                    f"Argument `system` must consist of bosons for phase space, but has the site {site!r}; choose "
                    "ba.Moments() or ba.Density()."
                )
        if degree(system.hamiltonian) > HAMILTONIAN_DEGREE:
            raise ValueError(
                f"Argument `H` must have degree ≤ {HAMILTONIAN_DEGREE} in a and a† for phase space, but has "
                f"{degree(system.hamiltonian)}; choose ba.Ket() or ba.Density()."
            )
        for name in system.outputs:
            if degree(system.output(name)) > CHANNEL_DEGREE:
                raise ValueError(
                    f"Argument `channels[{name!r}]` must have degree ≤ {CHANNEL_DEGREE} in a and a† for phase space, "
                    f"but has {degree(system.output(name))}; choose ba.Ket() or ba.Density()."
                )

    @cached_property
    def modes(self) -> tuple[Boson, ...]:
        """The modes, sorted by name."""
        return tuple(site for site in self.system.sites if isinstance(site, Boson))

    @cached_property
    def variables(self) -> list[Variable]:
        """The amplitudes α_j."""
        return [((site, (0, 1)),) for site in self.modes]

    def conjugate(self, variable: Variable) -> Variable:
        """α_j* for α_j, and back."""
        return (conjugate(variable[0]),)

    @cached_property
    def drift(self) -> dict[Variable, Polynomial]:
        """f_j: symbols of 𝓛†(a_j), exact."""
        return {v: weyl_symbol(self._generator(site)) for v, site in zip(self.variables, self.modes, strict=True)}

    def _generator(self, site: Boson) -> Operator:
        """𝓛†(a) of one mode, from what acts on it: hundreds of modes would otherwise take n² commutators."""
        a = site.a
        H = Operator({m: c for m, c in self.system.hamiltonian.terms.items() if any(s == site for s, _ in m)})
        out = 1j * H.commutator(a)
        for name in self._channels_of.get(site, ()):
            L = self.system.output(name)
            out = out + 0.5 * (L.dag() * a.commutator(L) + L.dag().commutator(a) * L)
        return out

    @cached_property
    def _channels_of(self) -> dict[Any, list[str]]:
        out: dict[Any, list[str]] = {}
        for name in self.system.outputs:
            for site in self.system.output(name).sites:
                out.setdefault(site, []).append(name)
        return out

    def jacobian(self, values: np.ndarray) -> np.ndarray:
        """The drift linearised about amplitudes (n,): derivatives by (α, α*) of those of (α, α*), complex (2n, 2n)."""
        n = len(self.variables)
        index = {v: i for i, v in enumerate(self.variables)}
        index |= {self.conjugate(v): n + i for i, v in enumerate(self.variables)}
        point = np.concatenate([values, np.conj(values)])
        J = np.zeros((2 * n, 2 * n), dtype=complex)
        for v, polynomial in self.drift.items():
            for key, c in polynomial.items():
                factors = [index[f] for f in key]
                for k, column in enumerate(factors):
                    J[index[v], column] += c * np.prod(point[factors[:k] + factors[k + 1 :]])
        J[n:, :n], J[n:, n:] = J[:n, n:].conj(), J[:n, :n].conj()
        return J

    def signal(self, channel: str) -> Polynomial:
        """ℓ: the symbol of a channel."""
        return weyl_symbol(self.system.output(channel))

    def noise(self, channel: str) -> dict[Variable, tuple[Polynomial, Polynomial]]:
        """What the two white noises of a channel do to the amplitudes that it drives.

        With ``dξ = (dW_1 + i dW_2)/2`` they are ``½(A − B) dW_1`` and ``−(i/2)(A + B) dW_2``.
        """
        L = self.system.output(channel)
        symbol, adjoint = weyl_symbol(L), weyl_symbol(L.dag())
        out: dict[Variable, tuple[Polynomial, Polynomial]] = {}
        for site in L.sites:
            v: Variable = ((site, (0, 1)),)
            A, B = (derivative(s, self.conjugate(v)) for s in (symbol, adjoint))
            keys = [*A, *(k for k in B if k not in A)]
            first = {k: 0.5 * (A.get(k, 0.0) - B.get(k, 0.0)) for k in keys}
            second = {k: -0.5j * (A.get(k, 0.0) + B.get(k, 0.0)) for k in keys}
            parts = tuple({k: c for k, c in part.items() if c != 0} for part in (first, second))
            if any(parts):
                out[v] = (parts[0], parts[1])
        return out

    @cached_property
    def truncated(self) -> list[str]:
        """Modes that channels of degree 2 act on whose diffusion lacks a constant: it matters where |α|² < 1."""
        out: set[str] = set()
        for name in self.system.outputs:
            L = self.system.output(name)
            if degree(L) == 2 and any(self._missing(L, site) for site in L.sites):
                out |= {site.name for m in L.terms for site, x in m if sum(sum(y) for _, y in m) == 2}
        return sorted(out)

    def _missing(self, L: Operator, site: Any) -> bool:
        """Is the diffusion of |α|², the symbol of ½([L†,a][a†,L] + [L†,a†][a,L]), not that of the noise?"""
        a = site.a
        up, down = L.dag().commutator(a), L.dag().commutator(a.dag())
        exact = weyl_symbol(0.5 * (up * a.dag().commutator(L) + down * a.commutator(L)))
        classical = 0.0
        for operator in (up, down):
            # the product of a symbol and its conjugate has as its constant that of the symbol
            classical += 0.5 * abs(weyl_symbol(operator).get((), 0.0)) ** 2
        return abs(exact.get((), 0.0) - classical) > 1e-12 * L.norm() ** 2

    # === states

    def initial(self, states: Mapping[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Wigner functions of site states, which are Gaussian.

        Parameters
        ----------
        states : mapping of str to SiteState, optional
            Modes left out are in the vacuum.

        Returns
        -------
        mean : ndarray of complex, (n,)
        variance : ndarray, (n,)
            E|δα|²: 1/2 for the vacuum and coherent states, n + 1/2 for thermal ones.

        Raises
        ------
        ValueError
            For number states and states of spins.
        """
        states = states or {}
        mean, variance = np.zeros(len(self.modes), dtype=complex), np.full(len(self.modes), 0.5)
        for i, site in enumerate(self.modes):
            state = states.get(site.name, vacuum())
            parameter = complex(state.parameters[0]) if state.parameters else 0j
            if state.kind == "coherent":
                mean[i] = parameter
            elif state.kind == "thermal":
                variance[i] += parameter.real
            elif state.kind == "fock" and parameter != 0:
                raise ValueError(
                    f"Argument `initial[{site.name!r}]` must have a positive Wigner function for phase space, but a "
                    "number state has none; start from ba.coherent(alpha) or ba.thermal(n), or pass amplitudes, "
                    "(ntraj, n_modes)."
                )
            elif state.kind not in ("vacuum", "fock"):
                raise ValueError(f"Argument `initial[{site.name!r}]` must be a state of a boson, but is {state!r}.")
        return mean, variance

    def __str__(self) -> str:
        lines = []
        for v, polynomial in self.drift.items():
            terms = [f"+ ({c:.6g}) {' '.join(map(_label, key))}".rstrip() for key, c in polynomial.items()]
            lines.append(f"d{_label(v)}/dt = {' '.join(terms) or '0'}")
        return "\n".join(lines)


def _label(variable: tuple[Letter, ...]) -> str:
    (site, (conjugated, _)) = variable[0]
    return site.name + "*" * conjugated
