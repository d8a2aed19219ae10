"""Coefficients with symbols in them, as sympy writes them: all that the rest of the package asks of a coefficient.

A number of members, ``Ensemble("A", N=sympy.Symbol("N", positive=True))``, or a coupling, ``V / N``, may be a symbol
where operators and moment equations are derived; numbers are substituted afterwards.  sympy is no dependency: it is
there if somebody hands over what it has made.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterable, Mapping
from importlib import import_module
from numbers import Number
from typing import Any
from zlib import crc32

#: Denominators up to which a coefficient's number is taken for a fraction, if that is the same number.
DENOMINATOR = 10**6


def is_symbolic(c: Any) -> bool:
    """Is this an expression of sympy's (with symbols, or a number that it has made)?"""
    return hasattr(c, "free_symbols")


def is_scalar(c: Any) -> bool:
    """Is this a number or an expression?"""
    return isinstance(c, Number) or is_symbolic(c)


def names_of(coefficients: Iterable[Any]) -> list[str]:
    """Names of the symbols that occur."""
    return sorted({str(s) for c in coefficients if is_symbolic(c) for s in c.free_symbols})


def number(c: Any) -> complex:
    """A coefficient as a number.

    Raises
    ------
    ValueError
        If there are symbols in it.
    """
    if is_symbolic(c) and c.free_symbols:
        raise unknown(names_of([c]))
    return complex(c)


def unknown(names: Iterable[str]) -> ValueError:
    """The error of whatever needs numbers."""
    names = list(names)
    values = ", ".join(f"{name}=..." for name in names)
    return ValueError(
        f"Argument `system` holds the symbols {names}, but numbers are needed here: use system.substitute({values}), "
        "or the method of the same name of its MomentEquations."
    )


def size(c: Any) -> float:
    """Modulus; of an expression, where its symbols have values at random (always the same), so that 0 is 0."""
    return abs(complex(c.xreplace({s: _somewhere(s) for s in c.free_symbols}))) if is_symbolic(c) else abs(c)


def _somewhere(symbol: Any) -> Any:
    """A value of no special kind, of the symbol's own sort."""
    at = crc32(str(symbol).encode()) / 2**32
    value: complex = -1.3 - 0.9 * at if symbol.is_negative else 1.3 + 0.9 * at
    return import_module("sympy").sympify(value if symbol.is_extended_real else value * cmath.exp(1j + 1j * at))


def tidy(c: Any) -> Any:
    """An expression with its fractions reduced, so that numbers put into it do not cancel; a number if it is one."""
    if not is_symbolic(c):
        return c
    sympy = import_module("sympy")
    exact = c.xreplace({x: _fraction(sympy, x) for x in c.atoms(sympy.Float)})
    out = sympy.factor_terms(sympy.cancel(exact))
    return out if out.free_symbols else plain(out)


def _fraction(sympy: Any, x: Any) -> Any:
    exact = sympy.Rational(*float(x).as_integer_ratio())
    near = exact.limit_denominator(DENOMINATOR)
    return near if float(near) == float(x) else exact


def substituted(c: Any, values: Mapping[str, Any]) -> Any:
    """An expression with numbers, or other expressions, in the place of symbols; a number if none is left."""
    if not is_symbolic(c):
        return c
    sympy = import_module("sympy")
    out = c.subs({s: sympy.sympify(values[str(s)]) for s in c.free_symbols if str(s) in values}, simultaneous=True)
    return out if out.free_symbols else plain(out)


def plain(c: Any) -> Any:
    """A number of sympy's as one of Python's."""
    if c.is_Integer:
        return int(c)
    value = complex(c.evalf(30))
    return value if value.imag else value.real


def text(c: Any) -> str:
    """How an expression is printed: numbers to six digits."""
    sympy = import_module("sympy")
    long = [x for x in c.atoms(sympy.Float, sympy.Rational) if not x.is_Integer and (x.is_Float or x.q > 99)]
    return str(c.xreplace({x: sympy.Float(x, 6) for x in long}))
