"""`System`: what evolves. Hamiltonian, named loss channels, observables; lowered to matrices on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..coefficients import Coefficient, evaluate, instants, same, text
from .algebra import Operator, Site
from .basis import Basis, ResolvedBasis, clean
from .ensembles import Each, Ensemble
from .states import SiteState, vacuum
from .symbols import is_symbolic, names_of, substituted, unknown
from .terms import (
    HERMITIAN_TOLERANCE,
    Term,
    adjoint,
    antihermitian_map,
    constant,
    is_matrix,
    is_operator,
    joined,
    never_hermitian,
    norms,
    parse,
    plain,
    scaled,
    to_matrix,
)

PARTNER = (
    "add the Hermitian conjugate of each term: (A.dag(), lambda t: np.conj(f(t))) to (A, f), unless A is Hermitian and "
    "f real"
)

#: Terms of a lowered operator: matrices with the index of their coefficient.
LoweredTerms = tuple[tuple[sp.csr_array, int], ...]


@dataclass(frozen=True, eq=False)
class System:
    """A Markovian open quantum system: ``dρ/dt = −i[H, ρ] + Σ_j D[L_j]ρ``.

    H and the channels may depend on time, as sums of constant operators with *coefficients*:
    ``[H0, (H1, f), (H2, g), ...]`` is ``H(t) = H0 + f(t) H1 + g(t) H2 + ...``.

    Parameters
    ----------
    H : Operator or QuTiP Qobj or (d, d) array; list of them and of pairs (operator, coefficient); QobjEvo
        Hamiltonian (ħ = 1), Hermitian at all times: with a term ``(A, f)`` goes ``(A.dag(), conjugate of f)`` where
        A is not Hermitian or f not real.  Symbolic operators are preferred: they can be lowered to any
        basis and level of description.  A coefficient is a function of time, of an array of times or of single
        times; `backaction.Sampled` makes one from samples.  Terms with the same function share it.
    channels : mapping of str to operator
        Loss channels by name (identifiers), rates included: ``L = √κ a``.  A channel may depend on time as H
        does, ``{"loss": [(L, f)]}`` or ``{"loss": (L, f)}``.  ``ensemble.each(L)`` is a local channel: L acts on each
        member of an ensemble, and nobody can watch it.
    observables : mapping of str to operator, optional
        Operators that `simulate` can follow by name; non-Hermitian ones give complex values.
    initial : mapping, Qobj or array, optional
        Default initial state: ``{"a": ba.coherent(1.0)}`` (sites left out start in their ground
        state), or a Qobj, or a (d,) / (d, d) array.
    basis : Basis, optional
        Default basis; sites carry defaults of their own.
    name, parameters : str, mapping
        For the recipe that is stored with the data; ``parameters["time_dependence"]`` names the coefficients of
        a time-dependent system.

    Raises
    ------
    ValueError
        If H is not Hermitian, a name is not an identifier, kinds of operators are mixed, shapes differ, or a
        coefficient is not a function.
    """

    H: Any
    channels: Mapping[str, Any]
    observables: Mapping[str, Any] = field(default_factory=dict)
    initial: Any = None
    basis: Basis | None = None
    name: str = "custom"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("channels", "observables"):
            if not isinstance(getattr(self, kind), Mapping):
                raise ValueError(
                    f'Argument `{kind}` must map names to operators, like {{"loss": L}}, '
                    f"but is {type(getattr(self, kind)).__name__}."
                )
        named = {
            **{t.argument: t.operator for terms in self._terms.values() for t in terms},
            **{f"observables[{k!r}]": v for k, v in self.observables.items()},
        }
        for kind in ("channels", "observables"):
            for key in getattr(self, kind):
                if not (isinstance(key, str) and key.isidentifier()):
                    raise ValueError(f"Argument `{kind}` must have identifiers as names, but has {key!r}.")
        for argument, operator in named.items():
            if not is_operator(operator):
                hint = " For no Hamiltonian pass `0 * op`."
                if argument.startswith("observables"):
                    hint = " Observables are constant in time."
                elif callable(operator):
                    hint = " Time-dependent operators are written [H0, (H1, f), ...] with functions of time f, ..."
                raise ValueError(
                    f"Argument `{argument}` must be an Operator, a QuTiP Qobj or a square array, "
                    f"but is {type(operator).__name__}.{hint}"
                )
        symbolic = {isinstance(v, Operator) for v in named.values()} | ({True} if self.local_channels else set())
        if len(symbolic) > 1:
            raise ValueError("Arguments `H` and `channels` must be all symbolic or all matrices, but are mixed.")
        if symbolic == {True}:
            for argument, operator in named.items():
                if not np.isfinite(operator.norm()):
                    raise ValueError(f"Argument `{argument}` must be finite, but holds NaN or infinity.")
            H = sum(constant(self._terms["H"]), Operator({}))
            excess, scale = (H - H.dag()).norm(), H.norm()
            by_name: dict[str, Site] = {}
            sites = {argument: operator.sites for argument, operator in named.items()}
            sites |= {f"channels[{name!r}]": (each.ensemble,) for name, each in self.local_channels.items()}
            for argument, used in sites.items():
                for site in used:
                    if by_name.setdefault(site.name, site) != site:
                        raise ValueError(f"Argument `{argument}` has a second, different site named {site.name!r}.")
            if not by_name:
                raise ValueError("Argument `H` or `channels` must name at least one site, but all are constants.")
        else:
            matrices = {argument: to_matrix(v, argument) for argument, v in named.items()}
            self._check_dims(named)
            d = matrices[self._terms["H"][0].argument].shape[0]
            for argument, matrix in matrices.items():
                if matrix.shape != (d, d):
                    raise ValueError(
                        f"Argument `{argument}` must have the shape of H, ({d}, {d}), but has {matrix.shape}."
                    )
            if self.basis is not None:
                raise ValueError("Argument `basis` goes with symbolic operators, but H is a matrix.")
            H = sum((matrices[t.argument] for t in self._terms["H"] if t.coefficient is None), sp.csr_array((d, d)))
            excess, scale = abs(H - H.conj().T).max(), abs(H).max()
        if symbolic == {True} and isinstance(self.initial, Mapping):
            check_site_states(self.initial, set(by_name))
        elif symbolic == {False} and self.initial is not None:
            self.lower().state()
        if not excess <= HERMITIAN_TOLERANCE * scale:
            raise ValueError(
                f"Argument `H` must be Hermitian, but H − H† has an entry of {excess:.3g}; "
                "add the Hermitian conjugate, or make loss a channel."
            )
        if self.time_dependent and self.symbols:
            raise ValueError(
                f"Argument `H`: operators that depend on time must have numbers as coefficients, but the symbols "
                f"{self.symbols} occur."
            )
        if self.time_dependent:
            self._check_partners()
            used = {argument: text(f) for argument, f in self._coefficients.items()}
            object.__setattr__(self, "parameters", {**self.parameters, "time_dependence": used})

    @cached_property
    def _terms(self) -> dict[str, tuple[Term, ...]]:
        """Terms of the Hamiltonian, "H", and of every channel, "channels[...]"."""
        return {
            "H": parse(self.H, "H"),
            **{
                f"channels[{k!r}]": parse(v, f"channels[{k!r}]")
                for k, v in self.channels.items()
                if not isinstance(v, Each)
            },
        }

    @cached_property
    def local_channels(self) -> dict[str, Each]:
        """Channels that act on each member of an ensemble."""
        return {name: v for name, v in self.channels.items() if isinstance(v, Each)}

    @property
    def outputs(self) -> list[str]:
        """Channels that can be watched."""
        return [name for name in self.channels if name not in self.local_channels]

    @cached_property
    def _coefficients(self) -> dict[str, Coefficient]:
        """Different coefficients, by the argument that each came in first."""
        found: dict[str, Coefficient] = {}
        for term in (t for terms in self._terms.values() for t in terms):
            f = term.coefficient
            if f is not None and not any(same(f, other) for other in found.values()):
                found[term.name] = f
        return found

    def _varying(self, terms: Sequence[Term]) -> dict[int, list[Term]]:
        """Terms that depend on time, by the index of their coefficient."""
        groups: dict[int, list[Term]] = {}
        for term in terms:
            if term.coefficient is not None:
                k = next(k for k, f in enumerate(self._coefficients.values()) if same(f, term.coefficient))
                groups.setdefault(k, []).append(term)
        return groups

    def _check_partners(self) -> None:
        """No term of H may lack its Hermitian conjugate; values at times are for `LoweredSystem.values` to check."""
        groups = list(self._varying(plain(self._terms["H"])).values())
        if not groups:
            return
        alone = never_hermitian([sum((t.operator for t in g[1:]), g[0].operator) for g in groups])
        if alone:
            raise ValueError(
                f"Argument `H` must be Hermitian at all times, but `{groups[alone[0]][0].argument}` is not Hermitian "
                f"and has no partner; {PARTNER}."
            )

    def _check_dims(self, named: Mapping[str, Any]) -> None:
        """QuTiP objects must agree in the factors of their tensor product, not in size only."""
        dims = {argument: v.dims[0] for argument, v in named.items() if hasattr(v, "dims")}
        for argument, factors in dims.items():
            if factors != next(iter(dims.values())):
                raise ValueError(
                    f"Argument `{argument}` must have the tensor factors {next(iter(dims.values()))} of "
                    f"`{next(iter(dims))}`, but has {factors}; mind the order of the factors."
                )

    @property
    def factors(self) -> list[int] | None:
        """Dimensions of the tensor factors of QuTiP matrices; None if H is a bare array or symbolic."""
        H = self._terms["H"][0].operator
        return list(H.dims[0]) if hasattr(H, "dims") else None

    @property
    def symbolic(self) -> bool:
        """Are the operators symbolic (as against matrices)?"""
        return isinstance(self._terms["H"][0].operator, Operator)

    @property
    def time_dependent(self) -> bool:
        """Does H or a channel depend on time?"""
        return bool(self._coefficients)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Sites in the order of the tensor product (by name); empty for matrices."""
        if not self.symbolic:
            return ()
        local = [each.ensemble for each in self.local_channels.values()]
        return tuple(sorted({*local, *(s for o in self._operators for s in o.sites)}, key=lambda s: s.name))

    @property
    def symbols(self) -> list[str]:
        """Names of the symbols in coefficients and in numbers of members, which `substitute` replaces by numbers."""
        if not self.symbolic:
            return []
        sizes = [s.N for s in self.sites if isinstance(s, Ensemble)]
        return names_of([*sizes, *(c for o in self._operators for c in o.terms.values())])

    @property
    def _operators(self) -> list[Any]:
        """H's terms, channels' terms and observables."""
        return [*(t.operator for terms in self._terms.values() for t in terms), *self.observables.values()]

    def substitute(self, values: Mapping[Any, Any] | None = None, **named: Any) -> System:
        """Numbers (or other expressions) in the place of symbols.

        Parameters
        ----------
        values : mapping of symbol or name to number, optional
            What to put for the symbols.
        **named
            The same by name, ``system.substitute(N=100)``.

        Returns
        -------
        System
            Whose sites are others, if numbers of members were symbols.

        Raises
        ------
        ValueError
            If a symbol does not occur, or a number of members does not come out as an integer >= 1.
        """
        by_name = {str(s): v for s, v in {**(values or {}), **named}.items()}
        for name in by_name:
            if name not in self.symbols:
                raise ValueError(f"Argument `values` must name the system's symbols {self.symbols}, but has {name!r}.")
        new: dict[Any, Any] = {
            s: Ensemble(s.name, substituted(s.N, by_name), s.member)
            for s in self.sites
            if isinstance(s, Ensemble) and is_symbolic(s.N)
        }

        def changed(operator: Operator) -> Operator:
            return Operator({
                tuple((new.get(s, s), x) for s, x in m): substituted(c, by_name) for m, c in operator.terms.items()
            })  # fmt: skip

        def terms(name: str) -> Any:
            return joined([t._replace(operator=changed(t.operator)) for t in self._terms[name]])

        channels: dict[str, Any] = {name: terms(f"channels[{name!r}]") for name in self.outputs}
        for name, each in self.local_channels.items():
            channels[name] = replace(each, ensemble=new.get(each.ensemble, each.ensemble))
        return replace(
            self,
            H=terms("H"),
            channels={name: channels[name] for name in self.channels},
            observables={name: changed(O) for name, O in self.observables.items()},
            parameters=self._rewritten([], ["substitute", {name: str(v) for name, v in by_name.items()}]),
        )

    def lower(self, basis: Basis | None = None) -> LoweredSystem:
        """Matrices of everything in a truncated basis.

        Every H term and channel is lowered first; products such as L†L are to be formed from the
        lowered matrices, so that the truncated model is itself a Lindblad equation.
        """
        if not self.symbolic:
            if basis is not None:
                raise ValueError("Argument `basis` goes with symbolic operators, but this system holds matrices.")
            d = self._terms["H"][0].operator.shape[0]
            return self._lowered(ResolvedBasis((), (d,), np.arange(d)[:, None], np.arange(d), {}), to_matrix)
        if self.symbols:
            raise unknown(self.symbols)
        resolved = (basis or self.basis or Basis()).resolve(self.sites)
        return self._lowered(resolved, lambda operator, _: resolved.matrix(operator))

    def _lowered(self, basis: ResolvedBasis, matrix: Callable[[Any, str], sp.csr_array]) -> LoweredSystem:
        def total(terms: Sequence[Term]) -> sp.csr_array:
            matrices = [matrix(t.operator, t.argument) for t in terms]
            return clean(sum(matrices[1:], matrices[0]) if matrices else sp.csr_array((basis.dim, basis.dim)))

        def parts(argument: str) -> tuple[sp.csr_array, LoweredTerms]:
            terms = self._terms[argument]
            varying = tuple((total(group), k) for k, group in self._varying(terms).items())
            return total([t for t in terms if t.coefficient is None]), varying

        H, H_terms = parts("H")
        lowered = {name: parts(f"channels[{name!r}]") for name in self.outputs}
        for name, each in self.local_channels.items():
            for ending, L in each.jumps():
                lowered[f"{name}_{ending}"] = (matrix(L, f"channels[{name!r}]"), ())
        return LoweredSystem(
            self,
            basis,
            _hermitian(H),
            {name: L for name, (L, _) in lowered.items()},
            {name: matrix(v, f"observables[{name!r}]") for name, v in self.observables.items()},
            H_terms,
            {name: terms for name, (_, terms) in lowered.items() if terms},
            tuple(self._coefficients.values()),
        )

    @cached_property
    def hamiltonian(self) -> Operator:
        """The constant part of a symbolic H."""
        return sum(constant(self._terms["H"]), Operator({}))

    def output(self, channel: str) -> Operator:
        """The constant part of a symbolic channel that can be watched, L with its rate."""
        return sum(constant(self._channel(channel)), Operator({}))

    def split(self, channel: str, **fractions: float) -> System:
        """Divide a channel's output between new channels, as beam splitters do: L → √f_i L.

        Parameters
        ----------
        channel : str
            Channel to divide.
        **fractions : float
            New channel name = fraction of the power; they add to 1.

        Returns
        -------
        System
            With the same Liouvillian.
        """
        self._check_channel(channel)
        values = list(fractions.values())
        if (
            not all(isinstance(f, Real) for f in values)
            or any(not 0 <= f <= 1 for f in values)
            or abs(sum(values) - 1) > 1e-12
        ):
            raise ValueError(f"Argument `fractions` must lie in [0, 1] and add to 1, but is {fractions}.")
        L = self._channel(channel)
        new = {name: joined(scaled(L, f**0.5)) for name, f in fractions.items()}
        return self._with_channels([channel], new, dict(fractions))

    def mix(self, channels: Sequence[str], U: Any, names: Sequence[str]) -> System:
        """Interfere channels on a linear network: L'_i = Σ_j U_ij L_j with U unitary.

        Parameters
        ----------
        channels : sequence of str
            Channels that enter the network.
        U : array, (n, n)
            Unitary matrix.
        names : sequence of str
            Names of the n outputs.
        """
        if isinstance(channels, str) or isinstance(names, str):
            raise ValueError("Arguments `channels` and `names` must be sequences of names, but one is a string.")
        U = np.asarray(U, dtype=complex)
        n = len(channels)
        if len(set(channels)) != n:
            raise ValueError(f"Argument `channels` must name different channels, but is {tuple(channels)}.")
        for channel in channels:
            self._check_channel(channel)
        if U.shape != (n, n) or len(names) != n or len(set(names)) != n:
            raise ValueError(
                f"Arguments `U` and `names` must fit {n} channels, but U has shape {U.shape} "
                f"and names are {tuple(names)}."
            )
        if abs(U @ U.conj().T - np.eye(n)).max() > 1e-10:
            raise ValueError("Argument `U` must be unitary, but U U† differs from 1.")
        outputs = {}
        for i, name in enumerate(names):
            inputs = zip(channels, U[i], strict=True)
            outputs[name] = joined([t for c, u in inputs for t in scaled(self._channel(c), complex(u))])
        how = ["mix", U.real.tolist(), U.imag.tolist(), list(names)]
        return self._with_channels(channels, outputs, how)

    def displace(self, channel: str, alpha: complex) -> System:
        """Add a coherent amplitude to a channel: L → L + α, H → H − (i/2)(α*L − αL†)."""
        self._check_channel(channel)
        L, H = plain(self._channel(channel)), plain(self._terms["H"])
        alpha = complex(alpha)
        one = Operator({(): 1.0}) if self.symbolic else sp.eye_array(L[0].operator.shape[0], format="csr")
        displaced = joined((*L, Term(channel, alpha * one)))
        shift = (*scaled(L, -0.5j * alpha.conjugate()), *scaled(adjoint(L), 0.5j * alpha))
        channels = {k: (displaced if k == channel else v) for k, v in self.channels.items()}
        note = self._rewritten([channel], ["displace", alpha.real, alpha.imag])
        return replace(self, H=joined((*H, *shift)), channels=channels, parameters=note)

    def _channel(self, channel: str) -> tuple[Term, ...]:
        return self._terms[f"channels[{channel!r}]"]

    def _check_channel(self, channel: str) -> None:
        if channel in self.local_channels:
            raise ValueError(
                f"Argument `channel`: {channel!r} acts on each member of an ensemble by itself and cannot be rewritten."
            )
        if channel not in self.channels:
            raise ValueError(
                f"Argument `channel` must be one of the system's channels {sorted(self.channels)}, but is {channel!r}."
            )

    def _with_channels(self, old: Sequence[str], new: Mapping[str, Any], how: Any) -> System:
        kept = {k: v for k, v in self.channels.items() if k not in old}
        clash = sorted(set(kept) & set(new))
        if clash:
            raise ValueError(f"Argument `names`: new channel names must be free, but {clash} are taken.")
        return replace(self, channels={**kept, **new}, parameters=self._rewritten(old, how))

    def _rewritten(self, old: Sequence[str], how: Any) -> dict[str, Any]:
        """Parameters with one more rewriting noted, for the recipe."""
        earlier = list(self.parameters.get("rewritten", []))
        return {**self.parameters, "rewritten": [*earlier, [list(old), how]]}


@dataclass(frozen=True, eq=False)
class LoweredSystem:
    """A system as matrices in a definite basis: what plans and references are built from.

    Attributes
    ----------
    system : System
        Where it comes from.
    basis : ResolvedBasis
        The product states kept, and the edges of the cut-off.
    H : csr_array, (d, d)
        Hamiltonian; of a time-dependent system its constant part.
    channels, observables : dict of str to csr_array
        Lowered operators; of time-dependent channels the constant part, which may be zero.
    H_terms : tuple of (csr_array, int)
        A_j and the index k of its coefficient: ``H(t) = H + Σ_j f_k(t) A_j``.
    channel_terms : dict of str to tuple of (csr_array, int)
        The same for the channels that depend on time.
    coefficients : tuple of callable
        f_k.
    """

    system: System
    basis: ResolvedBasis
    H: sp.csr_array
    channels: dict[str, sp.csr_array]
    observables: dict[str, sp.csr_array]
    H_terms: LoweredTerms = ()
    channel_terms: dict[str, LoweredTerms] = field(default_factory=dict)
    coefficients: tuple[Coefficient, ...] = ()

    @property
    def time_dependent(self) -> bool:
        """Does H or a channel depend on time?"""
        return bool(self.coefficients)

    def values(self, times: Any) -> np.ndarray:
        """Values of the coefficients, checked.

        Parameters
        ----------
        times : array_like, (n,)
            Times.

        Returns
        -------
        ndarray of complex, (n_coefficients, n)
            f_k(t).

        Raises
        ------
        ValueError
            If a value is not finite, or H(t) is not Hermitian at one of the times.
        """
        times = instants(times)
        out = np.empty((len(self.coefficients), times.size), dtype=complex)
        names = list(self.system._coefficients)
        for k, f in enumerate(self.coefficients):
            out[k] = evaluate(f, times, names[k])
        self._check_hermitian(out, times)
        return out

    def frozen(self, values: Any) -> LoweredSystem:
        """The constant system that this one is at a moment.

        Parameters
        ----------
        values : array_like, (n_coefficients,)
            Values of the coefficients at that moment, a column of `values`.

        Raises
        ------
        ValueError
            If the values do not fit, are not finite, or do not make H Hermitian.
        """
        values = np.asarray(values, dtype=complex)
        if values.shape != (len(self.coefficients),) or not np.all(np.isfinite(values)):
            raise ValueError(
                f"Argument `values` must hold one finite value for each of {len(self.coefficients)} coefficients, but "
                f"is {values}."
            )
        self._check_hermitian(values[:, None])

        def total(fixed: sp.csr_array, terms: LoweredTerms) -> sp.csr_array:
            return clean(sum((values[k] * A for A, k in terms), fixed))

        return replace(
            self,
            H=_hermitian(total(self.H, self.H_terms)),
            channels={name: total(L, self.channel_terms.get(name, ())) for name, L in self.channels.items()},
            H_terms=(),
            channel_terms={},
            coefficients=(),
        )

    def at(self, t: float) -> LoweredSystem:
        """The constant system that this one is at time t."""
        return self.frozen(self.values([t])[:, 0])

    @cached_property
    def _antihermitian(self) -> tuple[np.ndarray, np.ndarray]:
        operators = [A for A, _ in self.H_terms]
        return antihermitian_map(operators), norms(operators)

    def _check_hermitian(self, values: np.ndarray, times: np.ndarray | None = None) -> None:
        """H − H† may be a small fraction of the terms that vary."""
        if not self.H_terms:
            return
        R, size = self._antihermitian
        f = values[[k for _, k in self.H_terms]]
        excess = np.linalg.norm(R @ np.vstack([f.real, f.imag]), axis=0)
        bad = excess > HERMITIAN_TOLERANCE * (size @ np.abs(f))
        if bad.any():
            i = int(np.argmax(bad))
            where = "for these values" if times is None else f"at t = {times[i]:.6g}"
            raise ValueError(
                f"Argument `H` must be Hermitian at all times, but {where} H − H† has the norm {excess[i]:.3g}; "
                f"{PARTNER}."
            )

    @property
    def dim(self) -> int:
        """Hilbert-space dimension d."""
        return self.H.shape[0]

    def operator(self, operator: Any, argument: str = "operator") -> sp.csr_array:
        """Lower one more operator into the same basis."""
        if isinstance(operator, Operator):
            if not self.system.symbolic:
                raise ValueError(f"Argument `{argument}` is symbolic, but the system holds matrices.")
            try:
                return self.basis.matrix(operator)
            except ValueError as error:
                raise ValueError(f"Argument `{argument}` does not fit the system: {error}") from error
        if not is_matrix(operator):
            raise ValueError(f"Argument `{argument}` must be an operator, but is {type(operator).__name__}.")
        self._check_factors(operator, argument)
        matrix = to_matrix(operator, argument)
        if matrix.shape != (self.dim, self.dim):
            raise ValueError(
                f"Argument `{argument}` must have shape ({self.dim}, {self.dim}) to fit the system, "
                f"but has {matrix.shape}."
            )
        return matrix

    def state(self, initial: Any = None) -> np.ndarray:
        """Ket (d,) or density matrix (d, d) for an `initial` argument, normalised and checked.

        Parameters
        ----------
        initial : None, mapping, Qobj or array
            None takes the system's own default; a mapping gives named site states.

        Raises
        ------
        ValueError
            If the size does not fit, the norm is not 1, or a density matrix is not positive.
        """
        if initial is None:
            initial = self.system.initial
        if initial is None and not self.system.symbolic:
            raise ValueError("Argument `initial` must be given for a system of matrices: a Qobj or an array.")
        if initial is None or isinstance(initial, Mapping):
            return self._product_state(initial or {})
        if hasattr(initial, "data_as"):
            self._check_factors(initial, "initial")
            initial = initial.full()
        array = np.asarray(initial)
        if array.dtype == object or array.dtype.kind not in "fciu":
            raise ValueError(f"Argument `initial` must be site states, a Qobj or an array, but is {initial!r}.")
        array = array.astype(complex)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        d = self.dim
        if array.shape not in ((d,), (d, d)):
            raise ValueError(f"Argument `initial` must have shape ({d},) or ({d}, {d}), but has {array.shape}.")
        if not np.all(np.isfinite(array)):
            raise ValueError("Argument `initial` must be finite, but holds NaN or infinity.")
        return _checked_density(array) if array.ndim == 2 else _checked_ket(array)

    def _check_factors(self, operator: Any, argument: str) -> None:
        """A QuTiP object must have the basis' tensor factors, in its order, or be flat."""
        expected = list(self.basis.dims) if self.system.symbolic else self.system.factors
        given = list(operator.dims[0]) if hasattr(operator, "dims") else [self.dim]
        same_size = expected is not None and np.prod(given) == np.prod(expected)
        if same_size and given not in ([self.dim], expected):
            order = f" (sites {[s.name for s in self.basis.sites]})" if self.system.symbolic else ""
            raise ValueError(
                f"Argument `{argument}` must have the tensor factors {expected}{order}, but has {given}; "
                "mind the order of the factors."
            )

    def _product_state(self, initial: Mapping[str, Any]) -> np.ndarray:
        if not self.system.symbolic:
            raise ValueError("Argument `initial` by site goes with symbolic systems; give a Qobj or an array.")
        check_site_states(initial, {s.name for s in self.basis.sites})
        vectors = {
            s.name: initial.get(s.name, vacuum()).lower(s, n)
            for s, n in zip(self.basis.sites, self.basis.dims, strict=True)
        }
        state = self.basis.product_state(vectors)
        norm = np.trace(state).real if state.ndim == 2 else np.vdot(state, state).real
        if norm < 1 - 1e-3:
            raise ValueError(
                f"Argument `initial` loses {1 - norm:.1e} of its population outside the basis; "
                "raise `levels` or `totals`."
            )
        return state / (norm if state.ndim == 2 else np.sqrt(norm))


def check_site_states(initial: Mapping[str, Any], known: set[str]) -> None:
    """Raise ValueError for an `initial` that names other sites, or holds no site states."""
    for name, state in initial.items():
        if name not in known:
            raise ValueError(f"Argument `initial` names the site {name!r}, but the system has {sorted(known)}.")
        if not isinstance(state, SiteState):
            raise ValueError(
                f"Argument `initial[{name!r}]` must be a site state such as ba.coherent(1.0), but is {state!r}."
            )


def _checked_ket(ket: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(ket)
    if abs(norm - 1) > 1e-6:
        raise ValueError(f"Argument `initial` must be normalised, but the ket has norm {norm:.6g}.")
    return ket / norm


def _checked_density(rho: np.ndarray) -> np.ndarray:
    trace = np.trace(rho).real
    if abs(trace - 1) > 1e-6 or abs(rho - rho.conj().T).max() > 1e-8:
        raise ValueError(f"Argument `initial` must be Hermitian with trace 1, but its trace is {trace:.6g}.")
    rho = 0.5 * (rho + rho.conj().T)
    lowest = np.linalg.eigvalsh(rho)[0]
    if lowest < -1e-8:
        raise ValueError(f"Argument `initial` must be positive, but its smallest eigenvalue is {lowest:.3g}.")
    return rho / np.trace(rho).real


def _hermitian(H: sp.csr_array) -> sp.csr_array:
    return clean(0.5 * (H + H.conj().T))
