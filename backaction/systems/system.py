"""`System`: what evolves. Hamiltonian, named loss channels, observables; lowered to matrices on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from .algebra import Operator, Site
from .basis import Basis, ResolvedBasis, clean
from .states import SiteState, vacuum

HERMITIAN_TOLERANCE = 1e-10  # of |H − H†| relative to the largest element of H


def is_matrix(operator: Any) -> bool:
    """Is this a QuTiP object, an ndarray or a scipy sparse matrix?"""
    return sp.issparse(operator) or isinstance(operator, np.ndarray) or hasattr(operator, "data_as")


def to_matrix(operator: Any, argument: str) -> sp.csr_array:
    """Complex CSR (d, d) of a QuTiP object, ndarray or scipy sparse matrix."""
    if hasattr(operator, "data_as"):  # qutip.Qobj, without importing qutip
        if not operator.isoper:
            raise ValueError(f"Argument `{argument}` must be an operator, but is a QuTiP {operator.type}.")
        operator = operator.to("csr").data_as("csr_matrix")
    if len(operator.shape) != 2 or operator.shape[0] != operator.shape[1]:
        raise ValueError(f"Argument `{argument}` must be a square matrix, but has shape {operator.shape}.")
    out = clean(operator)
    if not np.all(np.isfinite(out.data)):
        raise ValueError(f"Argument `{argument}` must be finite, but holds NaN or infinity.")
    return out


@dataclass(frozen=True, eq=False)
class System:
    """A Markovian open quantum system: ``dρ/dt = −i[H, ρ] + Σ_j D[L_j]ρ``.

    Parameters
    ----------
    H : Operator or QuTiP Qobj or (d, d) array
        Hamiltonian (ħ = 1), Hermitian.  Symbolic operators are preferred: they can be lowered to any
        basis and level of description.
    channels : mapping of str to operator
        Loss channels by name (identifiers), rates included: ``L = √κ a``.
    observables : mapping of str to operator, optional
        Operators that `simulate` can follow by name; non-Hermitian ones give complex values.
    initial : mapping, Qobj or array, optional
        Default initial state: ``{"a": ba.coherent(1.0)}`` (sites left out start in their ground
        state), or a Qobj, or a (d,) / (d, d) array.
    basis : Basis, optional
        Default basis; sites carry defaults of their own.
    name, parameters : str, mapping
        For the recipe that is stored with the data.

    Raises
    ------
    ValueError
        If H is not Hermitian, a name is not an identifier, kinds of operators are mixed, or shapes differ.
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
            "H": self.H,
            **{f"channels[{k!r}]": v for k, v in self.channels.items()},
            **{f"observables[{k!r}]": v for k, v in self.observables.items()},
        }
        for kind in ("channels", "observables"):
            for key in getattr(self, kind):
                if not (isinstance(key, str) and key.isidentifier()):
                    raise ValueError(f"Argument `{kind}` must have identifiers as names, but has {key!r}.")
        for argument, operator in named.items():
            if not (isinstance(operator, Operator) or is_matrix(operator)):
                hint = (
                    " Time-dependent systems are not supported yet."
                    if callable(operator) or type(operator).__name__ == "QobjEvo"
                    else " For no Hamiltonian pass `0 * op`."
                )
                raise ValueError(
                    f"Argument `{argument}` must be an Operator, a QuTiP Qobj or a square array, "
                    f"but is {type(operator).__name__}.{hint}"
                )
        symbolic = {isinstance(v, Operator) for v in named.values()}
        if len(symbolic) > 1:
            raise ValueError("Arguments `H` and `channels` must be all symbolic or all matrices, but are mixed.")
        if symbolic == {True}:
            for argument, operator in named.items():
                if not np.isfinite(operator.norm()):
                    raise ValueError(f"Argument `{argument}` must be finite, but holds NaN or infinity.")
            excess, scale = (self.H - self.H.dag()).norm(), self.H.norm()
            by_name: dict[str, Site] = {}
            for argument, operator in named.items():
                for site in operator.sites:
                    if by_name.setdefault(site.name, site) != site:
                        raise ValueError(f"Argument `{argument}` has a second, different site named {site.name!r}.")
            if not by_name:
                raise ValueError("Argument `H` or `channels` must name at least one site, but all are constants.")
        else:
            matrices = {argument: to_matrix(v, argument) for argument, v in named.items()}
            excess, scale = abs(matrices["H"] - matrices["H"].conj().T).max(), abs(matrices["H"]).max()
            self._check_dims(named)
            d = matrices["H"].shape[0]
            for argument, matrix in matrices.items():
                if matrix.shape != (d, d):
                    raise ValueError(
                        f"Argument `{argument}` must have the shape of H, ({d}, {d}), but has {matrix.shape}."
                    )
            if self.basis is not None:
                raise ValueError("Argument `basis` goes with symbolic operators, but H is a matrix.")
        if symbolic == {True} and isinstance(self.initial, Mapping):
            _check_site_states(self.initial, set(by_name))
        elif symbolic == {False} and self.initial is not None:
            self.lower().state()
        if not excess <= HERMITIAN_TOLERANCE * scale:
            raise ValueError(
                f"Argument `H` must be Hermitian, but H − H† has an entry of {excess:.3g}; "
                "add the Hermitian conjugate, or make loss a channel."
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
        return list(self.H.dims[0]) if hasattr(self.H, "dims") else None

    @property
    def symbolic(self) -> bool:
        """Are the operators symbolic (as against matrices)?"""
        return isinstance(self.H, Operator)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites in the order of the tensor product (by name); empty for matrices."""
        if not self.symbolic:
            return ()
        operators = [self.H, *self.channels.values(), *self.observables.values()]
        return tuple(sorted({s for o in operators for s in o.sites}, key=lambda s: s.name))

    def lower(self, basis: Basis | None = None) -> LoweredSystem:
        """Matrices of everything in a truncated basis.

        Every H term and channel is lowered first; products such as L†L are to be formed from the
        lowered matrices, so that the truncated model is itself a Lindblad equation.
        """
        if not self.symbolic:
            if basis is not None:
                raise ValueError("Argument `basis` goes with symbolic operators, but this system holds matrices.")
            H = to_matrix(self.H, "H")
            d = H.shape[0]
            resolved = ResolvedBasis((), (d,), np.arange(d)[:, None], np.arange(d), {})
            return LoweredSystem(
                self,
                resolved,
                _hermitian(H),
                {k: to_matrix(v, k) for k, v in self.channels.items()},
                {k: to_matrix(v, k) for k, v in self.observables.items()},
            )
        resolved = (basis or self.basis or Basis()).resolve(self.sites)
        return LoweredSystem(
            self,
            resolved,
            _hermitian(resolved.matrix(self.H)),
            {k: resolved.matrix(v) for k, v in self.channels.items()},
            {k: resolved.matrix(v) for k, v in self.observables.items()},
        )

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
        L = self.channels[channel]
        new = {name: _times(L, f**0.5) for name, f in fractions.items()}
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
            terms = [_times(self.channels[c], complex(U[i, j])) for j, c in enumerate(channels)]
            outputs[name] = sum(terms[1:], terms[0])
        how = ["mix", U.real.tolist(), U.imag.tolist(), list(names)]
        return self._with_channels(channels, outputs, how)

    def displace(self, channel: str, alpha: complex) -> System:
        """Add a coherent amplitude to a channel: L → L + α, H → H − (i/2)(α*L − αL†)."""
        self._check_channel(channel)
        L = self.channels[channel]
        alpha = complex(alpha)
        if self.symbolic:
            shift = -0.5j * (alpha.conjugate() * L - alpha * L.dag())
            displaced: Any = L + alpha
            H: Any = self.H + shift
        else:
            matrix = to_matrix(L, channel)
            H = to_matrix(self.H, "H") - 0.5j * (alpha.conjugate() * matrix - alpha * matrix.conj().T)
            displaced = matrix + alpha * sp.eye_array(matrix.shape[0], format="csr")
        channels = {k: (displaced if k == channel else v) for k, v in self.channels.items()}
        note = self._rewritten([channel], ["displace", alpha.real, alpha.imag])
        return replace(self, H=H, channels=channels, parameters=note)

    def _check_channel(self, channel: str) -> None:
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
        Hamiltonian.
    channels, observables : dict of str to csr_array
        Lowered operators.
    """

    system: System
    basis: ResolvedBasis
    H: sp.csr_array
    channels: dict[str, sp.csr_array]
    observables: dict[str, sp.csr_array]

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
        _check_site_states(initial, {s.name for s in self.basis.sites})
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


def _check_site_states(initial: Mapping[str, Any], known: set[str]) -> None:
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


def _times(operator: Any, factor: complex) -> Any:
    return factor * operator if isinstance(operator, Operator) else factor * to_matrix(operator, "channel")


def _hermitian(H: sp.csr_array) -> sp.csr_array:
    return clean(0.5 * (H + H.conj().T))
