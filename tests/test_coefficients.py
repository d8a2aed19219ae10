"""Coefficients: whatever may be written as a function of time is evaluated alike; samples are not extrapolated."""

from __future__ import annotations

import math
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import qutip

import backaction as ba
from backaction.coefficients import Conjugate, Sampled, conjugate, evaluate, same, text

TIMES = np.random.default_rng(11).uniform(0.0, 4.0, 40)
NODES = np.array([0.0, 0.3, 1.1, 1.9, 2.0, 3.2, 4.0])


def signal(t, w=2.3):
    return np.exp(1j * w * t) + 0.5


# === samples


@pytest.mark.parametrize("order", range(6))
def test_sampled_polynomials_of_the_order_are_exact(order):
    rng = np.random.default_rng(order)
    c = rng.normal(size=order + 1) + 1j * rng.normal(size=order + 1)
    sampled = Sampled(NODES, np.polyval(c, NODES), order=order)
    np.testing.assert_allclose(sampled(TIMES), np.polyval(c, TIMES), rtol=1e-10)
    higher = np.append(1.0, c)  # a power more than the spline has
    off = Sampled(NODES, np.polyval(higher, NODES), order=order)(TIMES) - np.polyval(higher, TIMES)
    assert abs(off).max() > 1e-3


def test_order_0_holds_each_sample_until_the_next():
    sampled = Sampled([0.0, 1.0, 2.0, 3.5], [1, 5, 2, 7], order=0)
    np.testing.assert_array_equal(sampled([0.0, 0.99, 1.0, 1.99, 2.0, 3.4, 3.5]), [1, 1, 5, 5, 2, 2, 7])
    assert Sampled([0.0, 1.0], [1, 5], order=1)(0.99) == pytest.approx(4.96)  # held is not interpolated


def test_order_1_is_linear_interpolation():
    values = np.sin(NODES)
    np.testing.assert_allclose(Sampled(NODES, values, 1)(TIMES), np.interp(TIMES, NODES, values), atol=1e-15)


def test_sampled_agrees_with_qutips_cubic_coefficient():
    """QuTiP interpolates an array given with `tlist` by a cubic spline with not-a-knot ends."""
    tlist = np.linspace(0, 4, 60)
    theirs = qutip.coefficient(signal(tlist), tlist=tlist, boundary_conditions="not-a-knot")
    np.testing.assert_allclose(Sampled(tlist, signal(tlist))(TIMES), [theirs(t) for t in TIMES], atol=1e-13)


def test_sampled_keeps_shape_and_type():
    real, complex_ = Sampled(NODES, np.cos(NODES)), Sampled(NODES, signal(NODES))
    assert real(TIMES.reshape(8, 5)).shape == (8, 5)
    assert np.isrealobj(real(TIMES))
    assert np.iscomplexobj(complex_(TIMES))
    assert np.ndim(real(0.5)) == 0
    assert Sampled([0, 1], [1, 2], order=1)(0.5) == 1.5


@pytest.mark.parametrize("t", [-1e-3, 4.001, math.nan, math.inf])
def test_sampled_is_not_extrapolated(t):
    with pytest.raises(ValueError, match=r"`t` must lie within the sampled times \[0, 4\]"):
        Sampled(NODES, np.cos(NODES))(t)
    with pytest.raises(ValueError, match=r"`H\[1\]\[1\]` must lie within the sampled times \[0, 4\]") as error:
        Sampled(NODES, np.cos(NODES)).at([1.0, t], "H[1][1]")
    assert f"t = {t:.6g}" in str(error.value)


def test_rounding_at_the_ends_of_the_samples_is_forgiven():
    sampled = Sampled(NODES, np.cos(NODES))
    assert sampled(4.0 + 1e-12) == sampled(4.0)
    assert sampled(-1e-12) == sampled(0.0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([0, 1, 2, 3], [1, 2, 3]), ("`values`", "(4,)", "(3,)")),
        (([0, 1, 2], [1, 2, 3]), ("`times`", "4 samples", "order 3")),
        (([0.0], [1.0], 0), ("`times`", "2 samples")),
        (([0, 2, 1, 3], [1, 2, 3, 4]), ("`times`", "increase")),
        (([0, 1, 1, 3], [1, 2, 3, 4]), ("`times`", "increase", "repeated")),
        (([0, 1, 2, np.nan], [1, 2, 3, 4]), ("`times`", "finite")),
        (([0, 1, 2, 3], [1, 2, np.inf, 4]), ("`values`", "finite")),
        (([0, 1, 2, 3j], [1, 2, 3, 4]), ("`times`", "real")),
        (([0, 1, 2, 3], [[1, 2], [3, 4]]), ("`values`", "one-dimensional", "(2, 2)")),
        (([0, 1, 2, 3], [[1], [3, 4]]), ("`values`", "ragged")),
        (([0, 1, 2, 3], ["a", "b", "c", "d"]), ("`values`", "numbers")),
        (([0, 1, 2, 3], [1, 2, 3, 4], 6), ("`order`", "0 to 5", "6")),
        (([0, 1, 2, 3], [1, 2, 3, 4], 1.0), ("`order`", "1.0")),
        (([0, 1, 2, 3], [1, 2, 3, 4], True), ("`order`", "True")),
    ],
)
def test_bad_samples_are_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match="Argument") as error:
        Sampled(*arguments)
    for word in words:
        assert word in str(error.value)


def test_sampled_is_a_value():
    one, other = Sampled(NODES, np.cos(NODES)), Sampled(list(NODES), np.cos(NODES))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Sampled(NODES, np.cos(NODES), order=1)
    assert one != Sampled(NODES, np.sin(NODES))
    assert one != Sampled(NODES + 0.1, np.cos(NODES))
    assert one != "x"
    assert pickle.loads(pickle.dumps(one)) == one
    source = np.cos(NODES)
    kept = Sampled(NODES, source)
    source[0] = 99
    assert kept == one
    with pytest.raises(ValueError, match="read-only"):
        kept.values[0] = 99


def test_repr_of_samples_is_short_and_tells_them_apart():
    short = Sampled(NODES, signal(NODES), order=2)
    assert eval(repr(short), {"Sampled": ba.Sampled}) == short
    fine = np.linspace(0, 1, 1001)
    one, other = Sampled(fine, np.cos(fine)), Sampled(fine, np.cos(fine) + (fine == 0.5) * 1e-15)
    assert len(repr(one)) < 120
    assert "1001 samples in [0, 1]" in repr(one)
    assert repr(one) == repr(Sampled(fine, np.cos(fine)))
    assert repr(one) != repr(other)


def test_public_name_is_there():
    assert ba.Sampled is Sampled


# === evaluation


def scalar_only(t):
    return math.cos(2.0 * t) + 1j * math.sin(t)


def branching(t):
    return 1.0 if t < 2.0 else 1j * t


def summing(t):
    """Scalar for an array of its own length: taken at its word, it would be a constant."""
    return np.sum(np.cos(np.arange(len(TIMES)) * t))


def smearing(t):
    """An array for an array, but not element by element."""
    return np.cumsum(np.atleast_1d(t))[-1] * np.ones_like(t)


def arrays_only(t):
    out = np.zeros(len(t), dtype=complex)
    out[:] = signal(t)
    return out


class Drive:
    def __init__(self, w):
        self.w = w

    def __call__(self, t):
        return math.cos(self.w * t)


LIST = np.linspace(0, 4, 400)
QUTIP = {
    "function": (qutip.coefficient(signal), signal),
    "scalars": (qutip.coefficient(scalar_only), scalar_only),
    "arguments": (qutip.coefficient(lambda t, w: np.exp(1j * w * t), args={"w": 3.0}), lambda t: np.exp(3j * t)),
    "samples": (qutip.coefficient(np.sin(LIST), tlist=LIST), math.sin),
    "product": (qutip.coefficient(signal) * qutip.coefficient(scalar_only), lambda t: signal(t) * scalar_only(t)),
    "conjugate": (qutip.coefficient(signal).conj(), lambda t: np.conj(signal(t))),
}
KINDS = {
    "array": (signal, signal),
    "ufunc": (np.cos, math.cos),
    "scalar": (scalar_only, scalar_only),
    "branching": (branching, branching),
    "constant": (lambda t: 0.7, lambda t: 0.7),
    "summing": (summing, summing),
    "smearing": (smearing, lambda t: t),
    "arrays only": (arrays_only, signal),
    "object": (Drive(3.0), lambda t: math.cos(3.0 * t)),
    "method": (Drive(3.0).__call__, lambda t: math.cos(3.0 * t)),
    "partial": (partial(signal, w=0.4), lambda t: signal(t, 0.4)),
    "conjugate": (conjugate(scalar_only), lambda t: np.conj(scalar_only(t))),
    **{f"qutip {name}": pair for name, pair in QUTIP.items()},
}


@pytest.mark.parametrize("n", [0, 1, 2, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_coefficient_is_evaluated(kind, n):
    coefficient, exact = KINDS[kind]
    values = evaluate(coefficient, TIMES[:n], "f")
    assert values.shape == (n,)
    assert values.dtype == complex
    np.testing.assert_allclose(values, [complex(exact(t)) for t in TIMES[:n]], rtol=1e-9, atol=1e-9)


def test_what_array_calls_alone_would_give():
    """Negative control: `summing` and `smearing` are not what an array call returns."""
    assert np.ndim(summing(TIMES)) == 0
    assert abs(smearing(TIMES) - TIMES).max() > 1
    assert same(evaluate, evaluate)


def test_functions_of_arrays_are_called_few_times():
    calls = []

    def counted(t):
        calls.append(np.size(t))
        return np.cos(t)

    evaluate(counted, np.linspace(0, 1, 10_000))
    assert max(calls) == 10_000
    assert len(calls) < 10


def test_no_warnings_leak_from_trying_an_array():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(math.cos, [0.5])
        evaluate(math.cos, [0.5, 0.6])


def test_evaluation_does_not_let_functions_change_the_times():
    def spoils(t):
        t *= 0
        return t + 1.0

    times = np.array([1.0, 2.0])
    np.testing.assert_array_equal(evaluate(spoils, times), [1, 1])
    np.testing.assert_array_equal(times, [1, 2])


@pytest.mark.parametrize(
    "coefficient, words",
    [
        (lambda t: np.where(t > 1, np.nan, 1.0), ("`f`", "finite", "nan", "t = 2")),
        (lambda t: math.inf, ("`f`", "finite", "inf", "t = 0.5")),
        (lambda t: 1 / 0, ("`f`", "t = 0.5", "ZeroDivisionError")),
        (lambda t, w: w * t, ("`f`", "'w'", "functools.partial")),
        (lambda: 1.0, ("`f`", "TypeError")),
        (lambda t: None, ("`f`", "one number", "None")),
        (lambda t: "1", ("`f`", "one number", "'1'")),
        (lambda t: np.array([1.0, 2.0, 3.0]), ("`f`", "one number", "t = 0.5")),
        (lambda t: math.sqrt(1.0 - t), ("`f`", "t = 2", "ValueError")),
        (Sampled([0, 1], [1, 1], 1), ("`f`", "[0, 1]", "t = 2")),
    ],
)
def test_bad_coefficients_are_refused_by_name(coefficient, words):
    with pytest.raises(ValueError, match="Argument") as error:
        evaluate(coefficient, [0.5, 2.0], "f")
    for word in words:
        assert word in str(error.value)


def test_real_coefficients_are_told_from_complex_ones():
    values = evaluate(lambda t: np.exp(1j * t) * np.exp(-1j * t) * t, TIMES, "phase", real=True)
    assert values.dtype == float
    np.testing.assert_allclose(values, TIMES)
    with pytest.raises(ValueError, match=r"`phase` must be real, but is .*t = "):
        evaluate(signal, TIMES, "phase", real=True)


@pytest.mark.parametrize("times", [0.5, [[0.5]], [np.nan], ["a"], [1j], None])
def test_bad_times_are_refused(times):
    with pytest.raises(ValueError, match="`times` must be a one-dimensional array of finite times"):
        evaluate(np.cos, times)


def test_conjugates():
    np.testing.assert_array_equal(evaluate(conjugate(signal), TIMES), np.conj(signal(TIMES)))
    assert conjugate(conjugate(signal)) is signal
    assert conjugate(signal) == Conjugate(signal)
    sampled = Sampled(NODES, signal(NODES))
    assert conjugate(sampled) == Sampled(NODES, np.conj(signal(NODES)))


def test_same_function_or_equal_values():
    drive = Drive(1.0)
    assert same(signal, signal)
    assert same(drive.__call__, drive.__call__)
    assert same(Sampled(NODES, NODES), Sampled(NODES, NODES))
    assert not same(signal, scalar_only)
    assert not same(Drive(1.0), Drive(1.0))
    assert not same(lambda t: t, lambda t: t)


@pytest.mark.parametrize("coefficient", [signal, lambda t: t, partial(signal, w=2.0), Drive(1.0), QUTIP["function"][0]])
def test_text_has_no_addresses(coefficient):
    assert "0x" not in text(coefficient)
    assert "0x" not in text(conjugate(coefficient))
    assert "0x" in repr(coefficient)


def test_text_names_the_function():
    assert text(signal) == "<function signal>"
    assert "w=2.0" in text(partial(signal, w=2.0))
