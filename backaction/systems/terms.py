"""Operators as sums ``A₀ + Σ f_j(t) A_j``: how they are written, put together and kept Hermitian."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..coefficients import Coefficient, check, conjugate
from .algebra import Operator
from .basis import clean

#: H − H† may be this fraction of H.
HERMITIAN_TOLERANCE = 1e-10


class Term(NamedTuple):
    """One summand, ``f(t) A``.

    Attributes
    ----------
    argument : str
        How errors name the operator, ``H[1][0]``.
    operator : Operator, Qobj or matrix
        A.
    coefficient : callable or None
        f; None for a constant term.
    name : str
        How errors name the coefficient, ``H[1][1]``.
    """

    argument: str
    operator: Any
    coefficient: Coefficient | None = None
    name: str = ""


def is_matrix(operator: Any) -> bool:
    """Is this a QuTiP object, an ndarray or a scipy sparse matrix?"""
    return sp.issparse(operator) or isinstance(operator, np.ndarray) or hasattr(operator, "data_as")


def is_operator(operator: Any) -> bool:
    """Is this a symbolic operator or a matrix?"""
    return isinstance(operator, Operator) or is_matrix(operator)


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


# === reading


def parse(value: Any, argument: str) -> tuple[Term, ...]:
    """Terms of what a user may write: ``A``, ``(A, f)``, ``[A0, (A1, f), [A2, g], ...]``, a QobjEvo.

    What stands in the place of an operator is not checked here, so that `System` checks all of them alike.

    Raises
    ------
    ValueError
        If a coefficient cannot be called, a pair is none, or a QobjEvo cannot be taken apart.
    """
    if not isinstance(value, (list, tuple)):
        return _single(value, argument)
    if _is_pair(value):
        return (_pair(value, argument),)
    if not value:
        raise ValueError(f"Argument `{argument}` must hold at least one operator, but is {value!r}.")
    out: list[Term] = []
    for i, part in enumerate(value):
        where = f"{argument}[{i}]"
        out += [_pair(part, where)] if isinstance(part, (list, tuple)) else _single(part, where)
    return tuple(out)


def _single(value: Any, argument: str) -> tuple[Term, ...]:
    if not _is_evo(value):
        return (Term(argument, value),)
    out: list[Term] = []
    for i, part in enumerate(value.to_list()):
        where = f"{argument}.to_list()[{i}]"
        if not isinstance(part, list):
            out.append(Term(where, part))
        elif is_operator(part[0]):
            out.append(_pair(part, where))
        else:
            raise ValueError(
                f"Argument `{argument}` must be a sum of constant operators with coefficients, but is a QobjEvo of a "
                "function that returns operators; write it as [H0, (H1, f), ...]."
            )
    return tuple(out)


def _is_evo(value: Any) -> bool:
    return hasattr(value, "to_list") and hasattr(value, "isoper")  # qutip.QobjEvo, without importing qutip


def _is_operator_valued(value: Any) -> bool:
    """Is it an operator, constant or not?  One-dimensional arrays are somebody's samples of a coefficient."""
    return (is_operator(value) and getattr(value, "ndim", 2) != 1) or _is_evo(value)


def _is_pair(value: Sequence[Any]) -> bool:
    """Is it (A, f), rather than a list of two terms?"""
    f = value[-1] if value else None
    return len(value) == 2 and is_operator(value[0]) and not (_is_operator_valued(f) or isinstance(f, (list, tuple)))


def _pair(value: Sequence[Any], argument: str) -> Term:
    if len(value) != 2 or not is_operator(value[0]) or _is_operator_valued(value[1]):
        raise ValueError(
            f"Argument `{argument}` must be an operator or a pair (operator, function of time), but is a "
            f"{type(value).__name__} of {[type(v).__name__ for v in value]}; a matrix must be an array."
        )
    name = f"{argument}[1]"
    return Term(f"{argument}[0]", value[0], check(value[1], name), name)


# === putting together


def constant(terms: Iterable[Term]) -> list[Any]:
    """Operators of the constant terms."""
    return [t.operator for t in terms if t.coefficient is None]


def plain(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Terms of operators that add and multiply: symbolic ones as they are, matrices as CSR."""
    return tuple(
        t if isinstance(t.operator, Operator) else t._replace(operator=to_matrix(t.operator, t.argument)) for t in terms
    )


def scaled(terms: Iterable[Term], factor: complex) -> tuple[Term, ...]:
    """``factor × Σ f A``."""
    return tuple(t._replace(operator=factor * t.operator) for t in plain(terms))


def adjoint(terms: Iterable[Term]) -> tuple[Term, ...]:
    """``Σ f* A†``."""
    return tuple(
        t._replace(
            operator=t.operator.dag() if isinstance(t.operator, Operator) else t.operator.conj().T.tocsr(),
            coefficient=None if t.coefficient is None else conjugate(t.coefficient),
        )
        for t in plain(terms)
    )


def joined(terms: Sequence[Term]) -> Any:
    """What `parse` reads as these terms: an operator, or a list."""
    fixed = constant(terms)
    out: list[Any] = [sum(fixed[1:], fixed[0])] if fixed else []
    varying = [(t.operator, t.coefficient) for t in terms if t.coefficient is not None]
    return [*out, *varying] if varying else out[0]


# === Hermiticity


def antihermitian_map(operators: Sequence[Any]) -> np.ndarray:
    """Triangular R, real (2n, 2n), with ``‖R (Re f, Im f)‖ = ‖Σ f_k A_k − h.c.‖``.

    Frobenius norm for matrices; for symbolic operators that of the coefficients.
    """
    n = len(operators)
    vectors = _vectors([*operators, *(t.operator for t in adjoint([Term("", A) for A in operators]))])
    A, dag = vectors[:, :n], vectors[:, n:]
    columns = np.hstack([A - dag, 1j * (A + dag)])
    stacked = np.vstack([columns.real, columns.imag, np.zeros((2 * n, 2 * n))])  # at least as many rows as columns
    return np.asarray(np.linalg.qr(stacked, mode="r"))


def norms(operators: Sequence[Any]) -> np.ndarray:
    """‖A_k‖ in the norm of `antihermitian_map`, (n,)."""
    return np.linalg.norm(_vectors(operators), axis=0)


def never_hermitian(operators: Sequence[Any]) -> list[int]:
    """Which A_k no ``Σ f_k A_k`` with f_k ≠ 0 makes Hermitian: those whose conjugate has been left out.

    They have no part in the null space of f → Σ f_k A_k − h.c.
    """
    size = norms(operators)
    n = len(operators)
    scale = np.where(size > 0, size, 1.0)
    _, values, vectors = np.linalg.svd(antihermitian_map(operators) / np.tile(scale, 2))
    null = vectors[values <= HERMITIAN_TOLERANCE]
    part = np.hypot(*np.linalg.norm(null, axis=0).reshape(2, n))
    return [k for k in range(n) if size[k] > 0 and part[k] <= HERMITIAN_TOLERANCE]


def _vectors(operators: Sequence[Any]) -> np.ndarray:
    """Operators as columns, (m, n), over the elements that occur in any of them."""
    if isinstance(operators[0], Operator):
        rows = {m: i for i, m in enumerate({m: None for A in operators for m in A.terms})}
        out = np.zeros((len(rows), len(operators)), dtype=complex)
        for k, A in enumerate(operators):
            for monomial, c in A.terms.items():
                out[rows[monomial], k] = c
        return out
    matrices = [sp.coo_array(A) for A in operators]
    keys = np.concatenate([A.row.astype(np.int64) * A.shape[1] + A.col for A in matrices])
    owner = np.repeat(np.arange(len(matrices)), [A.nnz for A in matrices])
    elements, row = np.unique(keys, return_inverse=True)
    out = np.zeros((len(elements), len(operators)), dtype=complex)
    out[row, owner] = np.concatenate([A.data for A in matrices])
    return out
