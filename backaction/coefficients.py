"""Coefficients: functions of time that multiply operators, or are the phase of a local oscillator.

A coefficient is a callable of one argument, time.  It may take an array of times or single times only; it
may be a `Sampled` waveform, or a coefficient of QuTiP.  `evaluate` treats them all alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from numbers import Number
from typing import Any

import numpy as np

Coefficient = Callable[[Any], Any]

#: Spline orders that `Sampled` takes.
ORDERS = range(6)
#: Times may lie outside a `Sampled` range by this fraction of it: the rounding of sums of steps.
ROUNDING = 1e-9
#: `repr` lists up to this many samples; of more it gives their number, range and digest.
LISTED = 8
#: Kinds of NumPy types that are numbers.
NUMBERS = "fciub"
#: Agreement, relative to the largest value, between a call with an array of times and calls with single times.
AGREEMENT = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Sampled:
    """Coefficient interpolated between samples: a spline through (times, values).

    Parameters
    ----------
    times : array_like, (n,)
        Increasing times, not necessarily equidistant.
    values : array_like, (n,)
        Real or complex samples at these times.
    order : int
        Order of the spline, 0 to 5, below n.  0 holds each sample until the next one, 1 is linear, 3 a
        cubic spline with not-a-knot ends.  Orders above 1 overshoot where samples jump.

    Raises
    ------
    ValueError
        For samples that do not fit; when called, for times outside the range of the samples (by more than
        their rounding): nothing is extrapolated.

    Notes
    -----
    Two are equal if samples and order are.  The `repr` of a long one has a SHA-256 digest of the samples in place
    of them, so that a recipe tells which samples it needs.

    Examples
    --------
    >>> ramp = Sampled([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], order=2)
    >>> ramp([0.5, 1.5])
    array([0.25, 2.25])
    """

    times: np.ndarray
    values: np.ndarray
    order: int = 3

    def __post_init__(self) -> None:
        times, values = _array(self.times, "times"), _array(self.values, "values")
        if np.iscomplexobj(times):
            raise ValueError("Argument `times` must hold real numbers, but is complex.")
        if isinstance(self.order, bool) or not isinstance(self.order, (int, np.integer)) or self.order not in ORDERS:
            raise ValueError(
                f"Argument `order` must be an integer from {ORDERS[0]} to {ORDERS[-1]}, but is {self.order!r}."
            )
        if times.size <= self.order or times.size < 2:
            raise ValueError(
                f"Argument `times` must hold at least {max(2, self.order + 1)} samples for order {self.order}, but "
                f"holds {times.size}; sample more finely, or lower `order`."
            )
        if not np.all(np.diff(times) > 0):
            raise ValueError("Argument `times` must increase strictly; sort the samples and drop repeated times.")
        if values.shape != times.shape:
            raise ValueError(
                f"Argument `values` must have one value per time, shape {times.shape}, but has {values.shape}."
            )
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "order", int(self.order))

    def __call__(self, t: Any) -> Any:
        """Value at time t, in the shape of t."""
        return self.at(t, "t")

    def at(self, t: Any, argument: str) -> Any:
        """Value at time t; errors name the argument for which the samples stand."""
        t = np.asarray(t, dtype=float)
        first, last = self.times[0], self.times[-1]
        slack = ROUNDING * (last - first)
        outside = ~((t >= first - slack) & (t <= last + slack))  # NaN is outside
        if outside.any():
            raise ValueError(
                f"Argument `{argument}` must lie within the sampled times [{first:.6g}, {last:.6g}], but "
                f"t = {t[outside].flat[0]:.6g} is asked for; sample the whole run."
            )
        return self._spline(np.clip(t, first, last))[()]

    @cached_property
    def _spline(self) -> Callable[[np.ndarray], np.ndarray]:
        from scipy.interpolate import make_interp_spline

        return make_interp_spline(self.times, self.values, k=self.order)

    @cached_property
    def _digest(self) -> str:
        return sha256(self.times.tobytes() + self.values.tobytes()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sampled)
            and self.order == other.order
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.values, other.values)
        )

    def __hash__(self) -> int:
        return hash((self.order, tuple(self.times), tuple(self.values)))  # of the numbers: equal for 1 and 1 + 0j

    def __repr__(self) -> str:
        if self.times.size <= LISTED:
            return f"Sampled({self.times.tolist()}, {self.values.tolist()}, order={self.order})"
        return (
            f"Sampled(<{self.times.size} samples in [{self.times[0]:.17g}, {self.times[-1]:.17g}], "
            f"sha256 {self._digest}>, order={self.order})"
        )


def _array(values: Any, argument: str) -> np.ndarray:
    """A read-only copy as a one-dimensional array of finite floats or complex numbers."""
    try:
        array = np.array(values)
    except ValueError as error:
        raise ValueError(f"Argument `{argument}` must be a one-dimensional array, but is ragged.") from error
    if array.dtype.kind not in "fciu" or array.ndim != 1:
        raise ValueError(
            f"Argument `{argument}` must be a one-dimensional array of numbers, but has shape {array.shape} and "
            f"type {array.dtype}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Argument `{argument}` must be finite, but holds NaN or infinity.")
    array = array.astype(complex if array.dtype.kind == "c" else float)
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Conjugate:
    """Complex conjugate of another coefficient."""

    of: Coefficient

    def __call__(self, t: Any) -> Any:
        return np.conj(self.of(t))


def conjugate(coefficient: Coefficient) -> Coefficient:
    """The complex conjugate of a coefficient."""
    if isinstance(coefficient, Sampled):
        return replace(coefficient, values=coefficient.values.conj())
    return coefficient.of if isinstance(coefficient, Conjugate) else Conjugate(coefficient)


def same(one: Coefficient, other: Coefficient) -> bool:
    """Are two coefficients one function: the same object, or equal values of one type?"""
    return one is other or (type(one) is type(other) and (one == other) is True)


def text(coefficient: Coefficient) -> str:
    """`repr` without addresses in memory, so that it is the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(coefficient))


def check(coefficient: Any, argument: str) -> Coefficient:
    """The coefficient, if it can be called."""
    if callable(coefficient):
        return coefficient
    remedy = "pass a callable of one argument"
    if isinstance(coefficient, Number):
        remedy = "multiply the operator by a constant factor"
    elif isinstance(coefficient, (np.ndarray, list, tuple)):
        remedy = "give samples as ba.Sampled(times, values)"
    elif isinstance(coefficient, str):
        remedy = "write it as a function, or make it a qutip.coefficient"
    raise ValueError(
        f"Argument `{argument}` must be a function of time, but is of type {type(coefficient).__name__}; {remedy}."
    )


def evaluate(coefficient: Coefficient, times: Any, argument: str = "coefficient", *, real: bool = False) -> np.ndarray:
    """Values of any coefficient at the given times.

    Parameters
    ----------
    coefficient : callable
        Function of an array of times or of single times, `Sampled`, or a coefficient of QuTiP (which holds
        sampled values beyond the ends of their time list).
    times : array_like, (n,)
        Times.
    argument : str
        What errors call the coefficient.
    real : bool
        Must the values be real?

    Returns
    -------
    ndarray, (n,)
        Complex, or float if `real`.

    Raises
    ------
    ValueError
        If the coefficient cannot be evaluated at a time, or its value there is not one finite (real) number.
    """
    times = instants(times)
    call = coefficient.at if isinstance(coefficient, Sampled) else partial(_call, coefficient)
    values = np.asarray(call(times, argument), dtype=complex) if times.size else np.empty(0, dtype=complex)
    bad = ~np.isfinite(values)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"Argument `{argument}` must be finite at all times, but is {values[i]:.6g} at t = {times[i]:.6g}."
        )
    if not real:
        return values
    imaginary = abs(values.imag) > AGREEMENT * abs(values).max(initial=0.0)
    if imaginary.any():
        i = int(np.argmax(imaginary))
        raise ValueError(
            f"Argument `{argument}` must be real, but is {values[i]:.6g} at t = {times[i]:.6g}; take its real part."
        )
    return values.real.copy()


def instants(times: Any) -> np.ndarray:
    """One-dimensional array of finite times."""
    array = np.asarray(times)
    if array.dtype.kind not in "fiu" or array.ndim != 1 or not np.all(np.isfinite(array)):
        raise ValueError(f"Argument `times` must be a one-dimensional array of finite times, but is {times!r}.")
    return array.astype(float)


def _call(function: Coefficient, times: np.ndarray, argument: str) -> np.ndarray:
    """Values (n,) by one call where the function takes arrays of times, else by one call per time."""
    if times.size == 1:  # an array of one time may pass for a number, and a number for an array: ask for two
        return _call(function, np.repeat(times, 2), argument)[:1]
    try:
        values = np.asarray(function(times.copy()))
    except Exception:
        values = np.empty(0)  # it takes single times only, or fails there as well and says why
    if values.shape == times.shape and values.dtype.kind in NUMBERS and _agrees(function, times, values):
        return values
    values = np.empty(times.shape, dtype=complex)
    for i, t in enumerate(times.tolist()):
        try:
            value = np.asarray(function(t))
        except Exception as error:
            raise ValueError(
                f"Argument `{argument}` must be a function of time alone, but at t = {t:.6g} raises "
                f"{type(error).__name__}: {error}; bind further arguments with functools.partial."
            ) from error
        if value.shape != () or value.dtype.kind not in NUMBERS:
            raise ValueError(
                f"Argument `{argument}` must return one number per time, but at t = {t:.6g} returns {value!r}."
            )
        values[i] = value
    return values


def _agrees(function: Coefficient, times: np.ndarray, values: np.ndarray) -> bool:
    """Does a call with an array mean what calls with single times do?  (A sum over its argument does not.)"""
    scale = np.abs(values).max()
    for i in (0, times.size // 2, times.size - 1):
        try:
            single = complex(function(float(times[i])))
        except Exception:
            return True  # it takes arrays only
        if not abs(single - values[i]) <= AGREEMENT * scale and np.isfinite(single):
            return False
    return True
