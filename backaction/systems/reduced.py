"""Permutation-symmetric states of spins 1/2 without their 2^N states: one copy of every total spin J.

The state of N spins, as far as collective operators tell, is a density matrix on ``⊕_J C^{2J+1}`` that has no elements
between different J (the space in which J occurs several times over is traced out): (N+1)(N+2)(N+3)/6 numbers.
Collective operators are block-diagonal there, and a local channel has one Kraus operator per J → J' (`dicke`): together
a Lindblad equation of its own, of dimension (N+2)²/4 or (N+1)(N+3)/4, and exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import comb
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from .algebra import Element, Operator, Site, Spin
from .basis import Basis, clean
from .dicke import DEPHASING, LOSS, PUMP, RAISES, identity, kraus, sectors, sum_over_distinct
from .ensembles import MAX_DIM, Each, Ensemble
from .symbols import unknown
from .system import System
from .terms import Term, joined

#: How the names of a local channel's parts end, by J' − J + 1, and their signs in pump, loss and dephasing: the parts
#: of a vector operator (Condon and Shortley), which matter where one channel is a sum of these.
PARTS = ("down", "same", "up")
SIGNS = ((1, -1, 1), (1, 1, 1), (-1, 1, 1))


class Part(NamedTuple):
    """The element that takes J to J' in a local channel: for matrices.

    Attributes
    ----------
    number : int
        J' − J + 1.
    member : tuple of complex
        The channel's operator on one member, row by row.
    """

    number: int
    member: tuple[complex, ...]


class TotalSpins(Ensemble):
    """An `Ensemble` of spins 1/2 whose matrices live on ``⊕_J C^{2J+1}``; made by `reduced`.

    Basis states have falling J, and for each J falling M.

    Parameters
    ----------
    name : str
        Site name.
    N : int
        Spins.
    """

    def __init__(self, name: str, N: int) -> None:
        super().__init__(name, N)
        object.__setattr__(self, "levels", sum(self._widths))

    @property
    def _widths(self) -> list[int]:
        """2J + 1 of every J."""
        return [self.N + 1 - 2 * j for j in range(sectors(self.N))]

    @property
    def _starts(self) -> np.ndarray:
        """Where every J begins."""
        return np.cumsum([0, *self._widths])[:-1]

    def excitations(self, index: Any) -> Any:
        j = np.repeat(np.arange(sectors(self.N)), self._widths)
        return (self.N - j - (np.arange(self.levels) - self._starts[j]))[index]  # N/2 + M

    def jumps(self, each: Each) -> list[tuple[str, Operator]]:
        member = tuple(complex(c) for c in each.matrix.reshape(-1))
        parts = [(PARTS[i], Part(i, member)) for i in range(3)]
        return [(name, Operator({((self, p),): 1.0})) for name, p in parts if self._part(p).nnz or p.number == 1]

    def product(self, one: np.ndarray) -> np.ndarray:
        if one.ndim != 1:
            raise ValueError(f"Argument `initial`: the members of {self.name!r} must be in a pure state.")
        out = np.zeros(self.levels, dtype=complex)
        k = np.arange(self.N + 1)
        out[: self.N + 1] = [comb(self.N, n) ** 0.5 for n in range(self.N + 1)] * one[0] ** (self.N - k) * one[1] ** k
        return out

    def multiply(self, x: Any, y: Any) -> list[tuple[Element | None, complex]]:
        if isinstance(x, Part) or isinstance(y, Part):
            raise ValueError(f"Parts of a local channel of {self.name!r} are matrices only and have no products.")
        return super().multiply(x, y)

    def matrix(self, x: Any, levels: int) -> sp.csr_array:
        if levels != self.levels:
            raise ValueError(
                f"Site {self.name!r} has exactly {self.levels} symmetric states; a basis cannot give it {levels}."
            )
        if isinstance(x, Part):
            return self._part(x)
        band = sum_over_distinct(self.N, tuple(x)) if x else identity(self, levels)
        return sp.csr_array(
            sp.block_diag([band.matrix(j, n) for j, n in enumerate(self._widths)], format="csr", dtype=complex)
        )

    def _part(self, part: Part) -> sp.csr_array:
        """The Kraus operators J → J' of all J, which do not overlap, as one matrix."""
        (a, b, c, d), i = part.member, part.number
        total = sp.csr_array((self.levels, self.levels), dtype=complex)
        for kind, coefficient, sign in zip((PUMP, LOSS, DEPHASING), (b, c, (a - d) / 2), SIGNS[i], strict=True):
            j, k = np.nonzero(kraus(self.N, kind)[i])
            to = self._starts[j - (i - 1)] + k + i - 1 - RAISES[kind]
            values = sign * coefficient * kraus(self.N, kind)[i, j, k]
            total = total + sp.csr_array((values, (to, self._starts[j] + k)), shape=total.shape)
        if i == 1:  # D[x + c] needs c beside x where J stays: Σ_i c* x_i is c* times the collective operator
            J = np.repeat(self.N / 2 - np.arange(sectors(self.N)), self._widths)
            total = total + sp.diags_array((a + d) / 2 * np.sqrt(2 * J * (J + 1) / (self.N / 2 + 1)))
        return clean(total)

    def label(self, x: Any) -> str:
        return f"J → J{('−1', '', '+1')[x.number]} of {self.name}" if isinstance(x, Part) else super().label(x)


def reduced(system: System, basis: Basis | None = None) -> System:
    """The same system on permutation-symmetric states: every ensemble of spins 1/2 has one copy of each total spin J.

    Exact for means of collective operators, and so for every record and for what it tells: ``level="density"`` is the
    state of an observer who sees the record only, as it would be in all 2^N states per ensemble, with
    (N+2)²/4 (even N) or (N+1)(N+3)/4 in their place.  A local channel becomes its parts J → J − 1, J and J + 1
    (``pump_A_down``, ``pump_A_same``, ``pump_A_up`` in `System.lower`), and still nobody can watch it.  Steady states,
    spectra, `condition` and `smooth` take the reduced system, too.

    Parameters
    ----------
    system : System
        Symbolic, with ensembles of spins 1/2; other sites stay as they are.  ``system.initial`` names site states.
    basis : Basis, optional
        Levels of the other sites, in place of the system's own.

    Returns
    -------
    System
        With the same names.  Further operators are to be built from *its* sites, which `System.sites` gives.

    Raises
    ------
    ValueError
        For matrices, members other than spins 1/2, no ensemble at all, an initial array, or more states than matrices
        are made of.

    Examples
    --------
    >>> import backaction as ba
    >>> system = ba.systems.nonreciprocal_spins(4, V=2.0, V_plus=2.0, V_minus=4.0)
    >>> system.lower().dim, reduced(system).lower().dim
    (256, 81)
    """
    if not isinstance(system, System) or not system.symbolic:
        raise ValueError("Argument `system` must be a System of symbolic operators with ba.Ensemble sites.")
    if system.symbols:
        raise unknown(system.symbols)
    ensembles = [s for s in system.sites if isinstance(s, Ensemble)]
    if not ensembles:
        raise ValueError("Argument `system` must have an ensemble of spins, but has none; there is nothing to reduce.")
    for s in ensembles:
        if not isinstance(s.member, Spin) or s.member.levels != 2:
            raise ValueError(
                f"Argument `system`: total spins need spins 1/2, but the members of {s.name!r} are {s.member!r}; "
                "choose ba.Moments() or another level."
            )
    if system.initial is not None and not isinstance(system.initial, Mapping):
        raise ValueError(
            "Argument `system`: its `initial` must name site states, like {'A': ba.spin(1.0, 0.0)}, but is an array or "
            "Qobj in the states of all members; pass the initial state to `simulate`."
        )
    new: dict[Site, Site] = {s: TotalSpins(s.name, s.N) for s in ensembles}
    basis = basis or system.basis
    d = (basis or Basis()).resolve([new.get(s, s) for s in system.sites]).dim
    if d > MAX_DIM:
        raise ValueError(
            f"Argument `system` has {d} permutation-symmetric states, more than the {MAX_DIM} that density matrices "
            "are made of; use fewer members or levels, or state vectors in one sector: level=ba.Dicke() of the system "
            "as it is."
        )

    def moved(operator: Operator) -> Operator:
        return Operator({tuple((new.get(s, s), x) for s, x in m): c for m, c in operator.terms.items()})

    def terms(name: str) -> Any:
        return joined([Term(t.argument, moved(t.operator), t.coefficient, t.name) for t in system._terms[name]])

    channels: dict[str, Any] = {}
    for name, L in system.channels.items():
        if isinstance(L, Each):
            site = new[L.ensemble]
            assert isinstance(site, TotalSpins)
            channels[name] = Each(site, L.operator)
        else:
            channels[name] = terms(f"channels[{name!r}]")
    return replace(
        system,
        H=terms("H"),
        channels=channels,
        observables={name: moved(O) for name, O in system.observables.items()},
        basis=basis,
        parameters=system._rewritten([], ["reduced"]),
    )
