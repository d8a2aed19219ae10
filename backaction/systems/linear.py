"""Linear bosonic systems: from symbolic operators to matrices of drift and diffusion.

Quadratures ``r = (x_1, p_1, x_2, p_2, …)`` with ``x = a + a†``, ``p = −i(a − a†)``, so that ``[r_i, r_j] = 2iΩ_ij``,
``Ω = ⊕ ((0, 1), (−1, 0))``, and the vacuum has variance 1.  With ``H = ½rᵀRr + sᵀr`` and ``L = lᵀr + c``

    d⟨r⟩/dt = A⟨r⟩ + b,      A = 2Ω(R − Σ Im ll†),   b = 2Ω(s − Σ Im lc*),
    dV/dt = AV + VAᵀ + D,    D = 4Ω(Σ Re ll†)Ωᵀ,     V_ij = ½⟨{Δr_i, Δr_j}⟩,

which is closed, and a Gaussian state stays one.  Wiseman and Milburn, *Quantum Measurement and Control*, section 6.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as la

from .algebra import Boson, Operator
from .moments import NEGLIGIBLE, Letter, Variable, boson_moments, conjugate
from .states import vacuum
from .system import System


class LinearModel(NamedTuple):
    """A linear bosonic system in quadratures.

    Attributes
    ----------
    sites : tuple of Boson
        The modes, n of them.
    A : ndarray, (2n, 2n)
        Drift of the means, in 1/time.
    b : ndarray, (2n,)
        Constant force on them.
    D : ndarray, (2n, 2n)
        Diffusion that all channels make together, watched or not.
    channels : dict of str to (ndarray of complex (2n,), complex)
        ``(l, c)`` of every channel ``L = lᵀr + c``.
    """

    sites: tuple[Boson, ...]
    A: np.ndarray
    b: np.ndarray
    D: np.ndarray
    channels: dict[str, tuple[np.ndarray, complex]]


def symplectic(n: int) -> np.ndarray:
    """Ω of n modes, (2n, 2n): ``[r_i, r_j] = 2iΩ_ij``."""
    return np.kron(np.eye(n), [[0.0, 1.0], [-1.0, 0.0]])


def why_not_linear(system: System) -> str | None:
    """What keeps a system from being linear; None if it is."""
    if not system.symbolic:
        return "holds matrices"
    if system.time_dependent:
        return "depends on time"
    if system.symbols:
        return f"holds the symbols {system.symbols}"
    if system.local_channels:
        return f"has the local channel {next(iter(system.local_channels))!r}"
    for site in system.sites:
        if not isinstance(site, Boson):
            return f"has the site {site.name!r}, which is not a boson"
    if _degree(system.hamiltonian) > 2:
        return "has a Hamiltonian of degree above 2"
    for name in system.outputs:
        if _degree(system.output(name)) > 1:
            return f"has the channel {name!r} of degree above 1"
    return None


def linear_model(system: System) -> LinearModel:
    """Matrices of a linear bosonic system.

    Parameters
    ----------
    system : System
        Symbolic, constant in time, with bosons only; H of degree ≤ 2 in a and a†, channels of degree ≤ 1.

    Returns
    -------
    LinearModel

    Raises
    ------
    ValueError
        For another system; the message says what keeps it from being linear.
    """
    reason = why_not_linear(system)
    if reason is not None:
        raise ValueError(
            f"Argument `system` must be linear (bosons, H of degree ≤ 2, channels of degree ≤ 1), but {reason}; "
            "use another level, or expand it about a mean field."
        )
    sites = tuple(site for site in system.sites if isinstance(site, Boson))
    n = 2 * len(sites)
    Omega = symplectic(len(sites))
    R, s, _ = quadratic_form(system.hamiltonian, sites)
    channels = {}
    ll, lc = np.zeros((n, n), dtype=complex), np.zeros(n, dtype=complex)
    for name in system.outputs:
        _, l, c = quadratic_form(system.output(name), sites)
        channels[name] = (l, c)
        ll += np.outer(l, l.conj())
        lc += l * np.conj(c)
    A = 2 * Omega @ (R.real - ll.imag)
    b = 2 * Omega @ (s.real - lc.imag)
    return LinearModel(sites, A, b, 4 * Omega @ ll.real @ Omega.T, channels)


def quadratic_form(operator: Operator, sites: tuple[Boson, ...]) -> tuple[np.ndarray, np.ndarray, complex]:
    """``(R, s, c)`` of an operator ``½rᵀRr + sᵀr + c`` of degree ≤ 2.

    Parameters
    ----------
    operator : Operator
        Polynomial in a and a† of `sites`.
    sites : tuple of Boson
        In the order of the quadratures.

    Returns
    -------
    R : ndarray of complex, (2n, 2n)
        Symmetric.
    s : ndarray of complex, (2n,)
    c : complex
        What symmetric order leaves over included.

    Raises
    ------
    ValueError
        If the degree is above 2.
    """
    rank = {site.name: 2 * i for i, site in enumerate(sites)}
    n = 2 * len(sites)
    R, s, c = np.zeros((n, n), dtype=complex), np.zeros(n, dtype=complex), 0j
    for monomial, coefficient in _kept(operator).items():
        letters = [
            (rank[site.name], sign)
            for site, (up, down) in monomial
            for sign in (*[-1.0] * up, *[1.0] * down)  # a = (x + ip)/2, a† = (x − ip)/2
        ]
        if len(letters) == 0:
            c += coefficient
        elif len(letters) == 1:
            (i, sign), weight = letters[0], 0.5 * coefficient
            s[i] += weight
            s[i + 1] += 1j * sign * weight
        elif len(letters) == 2:
            (i, first), (j, second) = letters
            block = 0.25 * coefficient * np.outer([1.0, 1j * first], [1.0, 1j * second])
            R[i : i + 2, j : j + 2] += block
            R[j : j + 2, i : i + 2] += block.T
            if i == j and first != second:
                c -= 0.5 * coefficient  # a†a = ½{a, a†} − ½
        else:
            raise ValueError(f"Argument `operator` must have degree ≤ 2 in a and a†, but is {operator!r}.")
    return R, s, c


def stationary(model: LinearModel) -> tuple[np.ndarray, np.ndarray]:
    """Means (2n,) and covariances (2n, 2n) that do not change while nobody looks.

    Raises
    ------
    ValueError
        If the system has none: an eigenvalue of A has a real part ≥ 0.
    """
    rates = la.eigvals(model.A).real
    scale = max(float(np.abs(model.A).max()), 1e-300)
    if rates.max() >= -1e-13 * scale:
        raise ValueError(
            f'Argument `initial` is "steady", but a mode of the linear system grows or stays (rate {rates.max():.3g}); '
            "start from site states, or give every mode a loss channel."
        )
    V = la.solve_continuous_lyapunov(model.A, -model.D)
    return np.linalg.solve(model.A, -model.b), 0.5 * (V + V.T)


def from_site_states(model: LinearModel, states: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Means (2n,) and covariances (2n, 2n) of a product of site states; sites left out are in the vacuum.

    A number state is replaced by the thermal state of its mean, with a warning.
    """
    n = len(model.sites)
    mean, variance = np.zeros(2 * n), np.ones(2 * n)
    for i, site in enumerate(model.sites):
        alpha, thermal = boson_moments(site, states.get(site.name, vacuum()))
        mean[2 * i : 2 * i + 2] = 2 * np.real(alpha), 2 * np.imag(alpha)
        variance[2 * i : 2 * i + 2] += 2 * thermal
    return mean, np.diag(variance)


# === the variables of `MomentEquations`


def moment_variables(model: LinearModel) -> list[Variable]:
    """`MomentEquations.variables` of order 2, in their order; in a time that hundreds of modes allow."""
    letters: list[Letter] = [(site, x) for site in model.sites for x in ((0, 1), (1, 0))]
    rank = {letter: i for i, letter in enumerate(letters)}
    out: dict[Variable, None] = {}
    pairs = [(x, y) for i, x in enumerate(letters) for y in letters[i:]]
    for v in (*((x,) for x in letters), *pairs):
        if tuple(sorted(map(conjugate, v), key=rank.__getitem__)) not in out:
            out[v] = None
    return list(out)


def letter_rows(model: LinearModel) -> np.ndarray:
    """U, complex (2n, 2n): a and a† of every mode, in turn, are ``U r``."""
    return np.kron(np.eye(len(model.sites)), 0.5 * np.array([[1.0, 1j], [1.0, -1j]]))


def letter_covariances(model: LinearModel, V: np.ndarray) -> np.ndarray:
    """Normally ordered covariances of a and a† of every mode, complex (…, 2n, 2n), of V (…, 2n, 2n)."""
    n = len(model.sites)
    excess = 0.25 * (V - np.eye(2 * n)).reshape(*V.shape[:-2], n, 2, n, 2)
    xx, xp = excess[..., :, 0, :, 0], excess[..., :, 0, :, 1]
    px, pp = excess[..., :, 1, :, 0], excess[..., :, 1, :, 1]
    out = np.empty(excess.shape, dtype=complex)  # element by element: far faster than products with U
    out[..., :, 0, :, 0] = xx - pp + 1j * (xp + px)
    out[..., :, 0, :, 1] = xx + pp + 1j * (px - xp)
    out[..., :, 1, :, :] = out[..., :, 0, :, ::-1].conj()
    return out.reshape(V.shape)


def positions(model: LinearModel, variables: list[Variable]) -> list[tuple[int, ...]]:
    """Which letters a variable is made of, as indices into the rows of `letter_rows`."""
    rank = {(site.name, x): 2 * i + k for i, site in enumerate(model.sites) for k, x in enumerate(((0, 1), (1, 0)))}
    return [tuple(rank[site.name, x] for site, x in v) for v in variables]


def from_moments(model: LinearModel, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (2n,) and covariances (2n, 2n) of values of `moment_variables`, (m,)."""
    n = 2 * len(model.sites)
    mu, W = np.zeros(n, dtype=complex), np.zeros((n, n), dtype=complex)
    for letters, value in zip(positions(model, moment_variables(model)), values, strict=True):
        other = tuple(k ^ 1 for k in letters)  # the adjoint letters
        if len(letters) == 1:
            mu[letters[0]], mu[other[0]] = value, np.conj(value)
        else:
            (i, j), (k, l) = letters, other
            W[i, j] = W[j, i] = value
            W[k, l] = W[l, k] = np.conj(value)
    back = np.linalg.inv(letter_rows(model))
    V = (back @ W @ back.T).real + np.eye(n)
    return (back @ mu).real, 0.5 * (V + V.T)


def _kept(operator: Operator) -> dict[Any, complex]:
    """Without the rounding of what cancels."""
    smallest = NEGLIGIBLE * operator.norm()
    return {m: complex(c) for m, c in operator.terms.items() if abs(c) > smallest}


def _degree(operator: Operator) -> int:
    return max((sum(sum(element) for _, element in monomial) for monomial in _kept(operator)), default=0)
