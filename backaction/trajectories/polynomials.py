"""Polynomials of complex variables as the arrays of `kernels.polynomials`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from ..systems.moments import Polynomial, Variable


class Equations(Protocol):
    """What has variables, and their complex conjugates."""

    @property
    def variables(self) -> list[Variable]:
        """Independent variables."""

    def conjugate(self, variable: Variable) -> Variable:
        """The variable with the complex conjugate value."""


class Products:
    """Nodes of polynomials: shared products of variables."""

    def __init__(self, equations: Equations) -> None:
        variables = equations.variables
        self.n = len(variables)
        self.node: dict[Variable, int] = {}
        for i, v in enumerate(variables):
            self.node[equations.conjugate(v)] = self.n + i
        for i, v in enumerate(variables):  # a Hermitian one is its own conjugate
            self.node[v] = i
        self.factors: dict[tuple[int, int], int] = {}

    def of(self, key: tuple[Variable, ...]) -> int:
        """The node of a product."""
        if not key:
            return 2 * self.n
        nodes = sorted(self.node[v] for v in key)
        out = nodes[0]
        for other in nodes[1:]:
            pair = (out, other)
            if pair not in self.factors:
                self.factors[pair] = 2 * self.n + 1 + len(self.factors)
            out = self.factors[pair]
        return out

    def row(self, polynomial: Polynomial) -> Row:
        """A polynomial as nodes and their coefficients."""
        return [(self.of(key), c) for key, c in polynomial.items()]

    def table(self) -> dict[str, Any]:
        """`left` and `right` of the plan."""
        return {
            "left": np.array([a for a, _ in self.factors], dtype=np.int64),
            "right": np.array([b for _, b in self.factors], dtype=np.int64),
        }


Row = list[tuple[int, complex]]


def row_table(rows: Iterable[Row]) -> dict[str, Any]:
    """`row_ptr`, `row_node`, `re` and `im` of the plan: rows of nodes and their coefficients."""
    rows = list(rows)
    flat = [(node, complex(c)) for row in rows for node, c in row]
    return {
        "row_ptr": np.cumsum([0, *map(len, rows)]).astype(np.int64),
        "row_node": np.array([node for node, _ in flat], dtype=np.int64),
        "re": np.array([c.real for _, c in flat]),
        "im": np.array([c.imag for _, c in flat]),
    }
