"""What moment equations settle to while nobody looks: evolution, steady states, stability, spectra by regression.

Variables that begin at zero by a symmetry stay zero: with all mean coherences zero at the start, U(1)-symmetric
equations remain in their symmetric sector, which for finite N and order 2 holds the unique steady state.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from .algebra import Operator
from .moments import MomentEquations, Polynomial
from .symbols import number, unknown

#: A steady state is found if the drift is this fraction of the largest variable times the largest rate.
RESIDUAL = 1e-9
NEWTON_STEPS = 30
#: How far it may lie from where the evolution ends, in the same units: an oscillation has a fixed point inside it.
NEAR = 0.05
#: The same where steady states form a family, above which a warning is given.
UNDETERMINED = 1e-4


@dataclass(frozen=True, eq=False)
class Flow:
    """The drift as a function of arrays; make it by `Flow.of`.

    Attributes
    ----------
    equations : MomentEquations
        Where it comes from.
    row, coefficient, factors : ndarray
        Of every term of the drift: its variable, its coefficient, and its factors among (variables, conjugates, 1).
    """

    equations: MomentEquations
    row: np.ndarray
    coefficient: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, equations: MomentEquations) -> Flow:
        """The flow of equations; ValueError if there are symbols in them."""
        if equations.symbols:
            raise unknown(equations.symbols)
        terms = [
            (i, complex(c), [factor_index(equations, f) for f in key])
            for i, v in enumerate(equations.variables)
            for key, c in equations.drift[v].items()
        ]
        width = max((len(f) for _, _, f in terms), default=0)
        one = 2 * len(equations.variables)
        factors = np.array([f + [one] * (width - len(f)) for _, _, f in terms], dtype=np.int64).reshape(-1, width)
        return cls(equations, np.array([i for i, _, _ in terms]), np.array([c for _, c, _ in terms]), factors)

    def point(self, values: np.ndarray) -> np.ndarray:
        """(variables, conjugates, 1)."""
        return np.concatenate([values, values.conj(), [1.0]])

    def drift(self, values: np.ndarray) -> np.ndarray:
        """Time derivatives of the variables, complex (n,)."""
        terms = self.coefficient * self.point(values)[self.factors].prod(axis=1)
        n = len(values)
        return np.bincount(self.row, terms.real, n) + 1j * np.bincount(self.row, terms.imag, n)

    def jacobian(self, values: np.ndarray) -> np.ndarray:
        """Derivatives by the variables and their conjugates, complex (2n, 2n)."""
        n, point = len(values), self.point(values)
        J = np.zeros((2 * n, 2 * n + 1), dtype=complex)
        for k in range(self.factors.shape[1]):
            others = np.delete(self.factors, k, axis=1)
            np.add.at(J, (self.row, self.factors[:, k]), self.coefficient * point[others].prod(axis=1))
        J = J[:, : 2 * n]
        J[n:, :n], J[n:, n:] = J[:n, n:].conj(), J[:n, :n].conj()
        return J

    def real_jacobian(self, values: np.ndarray) -> np.ndarray:
        """Derivatives in real coordinates, (m, m): see `coordinates`."""
        n = len(values)
        J = self.jacobian(values)
        # d(v)/dt = A dv + B dv*: for dv = 1 and dv = i
        A, B = J[:n, :n], J[:n, n:]
        Hermitian = self.hermitian
        columns = np.concatenate([A + np.where(Hermitian, 0, B), 1j * (A - B)[:, ~Hermitian]], axis=1)
        # of a Hermitian variable its conjugate is itself, and named once
        return np.concatenate([columns.real, columns.imag[~Hermitian]])

    @property
    def hermitian(self) -> np.ndarray:
        """Which variables are real."""
        return np.array([self.equations.conjugate(v) == v for v in self.equations.variables])

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Real parts of all variables, then imaginary parts of those that have one."""
        return np.concatenate([values.real, values.imag[~self.hermitian]])

    def values(self, coordinates: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`."""
        n = len(self.equations.variables)
        out = coordinates[:n].astype(complex)
        out[~self.hermitian] += 1j * coordinates[n:]
        return out

    def evolve(self, values: np.ndarray, times: Any) -> np.ndarray:
        """Variables at the given times, from `values` at the first of them; complex (n_times, n)."""
        times = np.asarray(times, dtype=float)
        solution = solve_ivp(
            lambda t, y: self.coordinates(self.drift(self.values(y))),
            (times[0], times[-1]), self.coordinates(values), t_eval=times, method="LSODA", rtol=1e-10, atol=1e-13,
            jac=lambda t, y: self.real_jacobian(self.values(y)),
        )  # fmt: skip
        if not solution.success:
            raise FloatingPointError(f"The moment equations could not be integrated: {solution.message}")
        return np.array([self.values(y) for y in solution.y.T])


def factor_index(equations: MomentEquations, factor: Any) -> int:
    """Position of a variable among the variables and, behind them, their conjugates."""
    variables = equations.variables
    if factor in variables:
        return variables.index(factor)
    return len(variables) + variables.index(equations.conjugate(factor))


def mean_value(equations: MomentEquations, polynomial: Polynomial, values: np.ndarray) -> complex:
    """The value of a polynomial of means and covariances."""
    point = np.concatenate([values, values.conj()])
    return number(sum(c * np.prod(point[[factor_index(equations, f) for f in key]]) for key, c in polynomial.items()))


def steady_moments(
    equations: MomentEquations, start: Mapping[str, Any] | np.ndarray | None = None, burn_in: float = 100.0
) -> np.ndarray:
    """A steady state of the moment equations.

    Parameters
    ----------
    equations : MomentEquations
        Of order 1 or 2.
    start : mapping of site states, or array (n,)
        Where the search begins; it keeps the symmetries of the start, the default of which is every site's ground
        state.
    burn_in : float
        Time of evolution before Newton's method takes over.

    Returns
    -------
    ndarray, complex (n,)
        Values of ``equations.variables``.

    Raises
    ------
    FloatingPointError
        If there is none near the end of the evolution, for example because the state oscillates.

    Warns
    -----
    RuntimeWarning
        If steady states form a family (something is conserved) and the evolution had not settled on one of them.
    """
    flow = Flow.of(equations)
    values = np.asarray(start, dtype=complex) if isinstance(start, np.ndarray) else equations.initial(start)
    values = flow.evolve(values, [0.0, burn_in])[-1]
    y = flow.coordinates(values)
    for _ in range(NEWTON_STEPS):
        J = flow.real_jacobian(flow.values(y))
        F = flow.coordinates(flow.drift(flow.values(y)))
        scale = max(1.0, abs(y).max()) * abs(J).max()
        if abs(F).max() < 1e-2 * RESIDUAL * scale:
            break
        y = y - np.linalg.lstsq(J, F, rcond=1e-12)[0]
    found = flow.values(y)
    moved = abs(found - values).max() / max(1.0, abs(values).max())
    singular = np.linalg.svd(J, compute_uv=False)
    if moved > UNDETERMINED and singular[-1] < RESIDUAL * singular[0]:
        warnings.warn(
            "The equations conserve something, so that steady states form a family, and the evolution had not "
            f"settled: the one returned is {moved:.2g} from where it ended, and may belong to another start. Pass a "
            "longer `burn_in`, or take the end of Flow.evolve.",
            RuntimeWarning,
            stacklevel=2,
        )
    near = moved < NEAR
    if near and abs(flow.drift(found)).max() < RESIDUAL * scale:
        return found
    raise FloatingPointError(
        "No steady state near the end of the evolution: the state may oscillate; pass another `start` or a longer "
        "`burn_in`, or follow it with ba.simulate(..., level=ba.Moments())."
    )


def stability(equations: MomentEquations, values: np.ndarray) -> np.ndarray:
    """Eigenvalues of the flow linearised about a state, sorted by falling real part; exceptional points are where two
    of them, and their eigenvectors, meet."""
    eigenvalues = np.linalg.eigvals(Flow.of(equations).real_jacobian(values))
    return eigenvalues[np.argsort(-eigenvalues.real, kind="stable")]


def _regression(equations: MomentEquations, values: np.ndarray) -> np.ndarray:
    """Derivatives of the means' drift by the means, over all letters."""
    letters = equations.letters
    if not equations.symmetric:
        at = [factor_index(equations, (x,)) for x in letters]
        return Flow.of(equations).jacobian(values)[np.ix_(at, at)]
    G = np.zeros((len(letters), len(letters)), dtype=complex)
    for i, x in enumerate(letters):
        drift = equations.mean_with_charges(equations.adjoint_liouvillian(equations.operator([x])))
        for key, c in drift.items():
            for k, factor in enumerate(key):
                others = (*key[:k], *key[k + 1 :])
                if len(factor) == 1 and all(map(equations.kept, others)):
                    G[i, letters.index(factor[0])] += mean_value(equations, {others: c}, values)
    return G


def moment_spectrum(equations: MomentEquations, values: np.ndarray, operator: Operator, omega: Any) -> np.ndarray:
    """Spectrum of a mode by regression: ``S(ω) = ∫ ⟨A†(t+τ) A(t)⟩ e^{−iωτ} dτ`` in a steady state.

    Two-time functions ``⟨x(t+τ) A(t)⟩ − ⟨x⟩⟨A⟩`` obey the linearised equations of the means, third cumulants being
    zero; a peak at +ω₀ belongs to ``H = ω₀ a†a``.  [T] appendices 6.F and 7.A.

    Parameters
    ----------
    equations : MomentEquations
        Of order 2.
    values : ndarray, (n,)
        The steady state.
    operator : Operator
        A, linear in the letters: a, S⁻, …
    omega : array_like
        Frequencies.

    Returns
    -------
    ndarray
        S(ω), real.

    Raises
    ------
    ValueError
        For order 1, an operator that is not linear, or a frequency at which a mode is undamped.
    """
    if equations.order != 2:
        raise ValueError(f"Argument `equations` must be of order 2 for spectra, but is of order {equations.order}.")
    letters = equations.letters
    G = _regression(equations, values)
    equal_time = np.array([
        mean_value(equations, equations.correlation(equations.operator([x]), operator), values) for x in letters
    ])  # fmt: skip
    row = np.zeros(len(letters), dtype=complex)  # A† in terms of the letters
    for monomial, c in equations.mean_with_charges(operator.dag()).items():
        if len(monomial) == 1 and len(monomial[0]) == 1:
            row[letters.index(monomial[0][0])] += c
        elif monomial:
            raise ValueError("Argument `operator` must be linear in the operators of first order, but is not.")
    omega = np.asarray(omega, dtype=float)
    identity = np.eye(len(letters))
    try:
        return np.array([
            2 * np.real(row @ np.linalg.solve(1j * w * identity - G, equal_time)) for w in omega.reshape(-1)
        ]).reshape(omega.shape)  # fmt: skip
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "Argument `omega` must not hit the frequency of an undamped mode, where the spectrum has no finite value; "
            "move it by a little."
        ) from error
