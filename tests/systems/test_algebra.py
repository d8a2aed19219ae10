"""The operator algebra: identities on random operators, product tables against matrices."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import qutip

from backaction.systems import Basis, Boson, Levels, Operator, Spin
from backaction.systems.algebra import rate

A, B = Boson("a", 6), Boson("b", 5)
S, Q = Spin("s", 1.0), Levels("q", 3)
SITES = (A, B, S, Q)


def elementary(rng, site):
    if isinstance(site, Boson):
        return site.a.dag() ** int(rng.integers(0, 3)) * site.a ** int(rng.integers(0, 3))
    return site.unit(int(rng.integers(site.levels)), int(rng.integers(site.levels)))


def random_operator(rng, sites=SITES, terms=4):
    """A polynomial with Gaussian-integer coefficients: products of a few of them stay exact in doubles."""
    out = Operator({})
    for _ in range(terms):
        chosen = [s for s in sites if rng.random() < 0.6]
        monomial = reduce(lambda x, y: x * y, [elementary(rng, s) for s in chosen], A.identity)
        out = out + complex(rng.integers(-3, 4), rng.integers(-3, 4)) * monomial
    return out


@pytest.mark.parametrize("seed", range(12))
def test_products_are_associative_and_distributive(seed):
    x, y, z = (random_operator(np.random.default_rng([seed, k])) for k in range(3))
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert (x + y) * z == x * z + y * z
    assert x + y == y + x
    assert x - x == Operator({})


@pytest.mark.parametrize("seed", range(12))
def test_adjoint_reverses_products_and_is_an_involution(seed):
    x, y, _ = (random_operator(np.random.default_rng([seed, k])) for k in range(3))
    assert (x * y).dag() == y.dag() * x.dag()
    assert (x + 2j * y).dag() == x.dag() - 2j * y.dag()
    assert x.dag().dag() == x


@pytest.mark.parametrize("seed", range(8))
def test_commutator_is_antisymmetric_a_derivation_and_obeys_jacobi(seed):
    x, y, z = (random_operator(np.random.default_rng([seed, k]), terms=3) for k in range(3))
    assert x.commutator(y) == -y.commutator(x)
    assert x.commutator(y * z) == x.commutator(y) * z + y * x.commutator(z)
    jacobi = x.commutator(y.commutator(z)) + y.commutator(z.commutator(x)) + z.commutator(x.commutator(y))
    assert jacobi == Operator({})


def test_operators_on_different_sites_commute():
    for x, y in ((A.a, B.a.dag()), (A.n, S.sp), (S.sm, Q.unit(0, 2))):
        assert x.commutator(y) == Operator({})
        assert x * y == y * x


def test_canonical_commutators():
    assert A.a.commutator(A.a.dag()) == A.identity
    assert A.a.commutator(B.a.dag()) == Operator({})
    assert A.n.commutator(A.a) == -A.a
    assert A.a.dag() * A.a == A.n
    # [a², a†²] = 4a†a + 2
    assert (A.a**2).commutator(A.a.dag() ** 2) == 4 * A.n + 2


@pytest.mark.parametrize("seed", range(10))
def test_normal_ordering_agrees_with_matrices_in_a_large_basis(seed):
    """A word of a and a† read literally as matrices; far from the cut-off the normal order must agree."""
    rng = np.random.default_rng(seed)
    levels, length = 40, 9
    a = np.diag(np.sqrt(np.arange(1, levels)), 1)
    word = rng.integers(0, 2, length)
    symbolic = reduce(lambda x, y: x * y, [A.a.dag() if up else A.a for up in word], A.identity)
    literal = reduce(np.matmul, [a.T if up else a for up in word], np.eye(levels))
    ordered = Basis(levels={"a": levels}).resolve([A]).matrix(symbolic).toarray()
    inside = slice(0, levels - length)
    np.testing.assert_allclose(ordered[inside, inside], literal[inside, inside], rtol=1e-11, atol=1e-9)
    # every monomial is a†^m a^n: creation to the left
    assert all(len(m) <= 1 for m in symbolic.terms)


def test_boson_products_over_two_modes_agree_with_matrices():
    basis = Basis(levels={"a": 14, "b": 13}).resolve([A, B])
    rng = np.random.default_rng(3)
    x, y = (random_operator(rng, (A, B)) for _ in range(2))
    inside = np.flatnonzero((basis.occupations < [8, 7]).all(axis=1))
    product = (basis.matrix(x) @ basis.matrix(y)).toarray()
    np.testing.assert_allclose(
        basis.matrix(x * y).toarray()[np.ix_(inside, inside)], product[np.ix_(inside, inside)], atol=1e-9
    )


@pytest.mark.parametrize("seed", range(4))
def test_finite_sites_are_represented_exactly(seed):
    basis = Basis().resolve([Q, S])
    x, y = (random_operator(np.random.default_rng([seed, k]), (S, Q)) for k in range(2))
    X, Y = basis.matrix(x).toarray(), basis.matrix(y).toarray()
    np.testing.assert_allclose(basis.matrix(x * y).toarray(), X @ Y, atol=1e-11)
    np.testing.assert_allclose(basis.matrix(x.dag()).toarray(), X.conj().T, atol=1e-12)
    np.testing.assert_allclose(basis.matrix(x + 2j * y).toarray(), X + 2j * Y, atol=1e-12)


def test_matrix_units_multiply_as_such():
    assert Q.unit(0, 1) * Q.unit(1, 2) == Q.unit(0, 2)
    assert Q.unit(0, 1) * Q.unit(2, 1) == Operator({})
    assert Q.unit(0, 1).dag() == Q.unit(1, 0)
    completeness = sum(Q.unit(i, i) for i in range(3))
    assert np.allclose(Basis().resolve([Q]).matrix(completeness).toarray(), np.eye(3))


@pytest.mark.parametrize("J", [0.5, 1, 1.5, 2])
def test_spin_operators_are_qutips(J):
    s = Spin("s", J)
    basis = Basis().resolve([s])
    for ours, theirs in (("sx", "x"), ("sy", "y"), ("sz", "z"), ("sp", "+"), ("sm", "-")):
        expected = qutip.jmat(J, theirs).full()
        np.testing.assert_allclose(basis.matrix(getattr(s, ours)).toarray(), expected, atol=1e-14)


@pytest.mark.parametrize("J", [0.5, 1, 2.5])
def test_spin_algebra(J):
    s = Spin("s", J)
    assert (s.sx.commutator(s.sy) - 1j * s.sz).norm() < 1e-13
    assert (s.sp.commutator(s.sm) - 2 * s.sz).norm() < 1e-12
    assert (s.sz.commutator(s.sp) - s.sp).norm() < 1e-12
    casimir = s.sx**2 + s.sy**2 + s.sz**2
    unity = sum(s.unit(i, i) for i in range(s.levels))
    assert (casimir - J * (J + 1) * unity).norm() < 1e-12
    assert s.J == J
    assert s.sx.dag() == s.sx


def test_levels_operator_takes_a_matrix():
    matrix = np.arange(9).reshape(3, 3) + 1j
    np.testing.assert_array_equal(Basis().resolve([Q]).matrix(Q.operator(matrix)).toarray(), matrix)


def test_numbers_add_multiply_and_divide():
    x = A.a
    assert 2 * x == x * 2 == x + x
    assert x / 2 == 0.5 * x
    assert 1 + x == x + 1
    assert 1 - x == -(x - 1)
    assert np.float64(2.0) * x == 2 * x
    assert np.complex128(1j) * x == x * 1j
    assert x * np.int64(3) == 3 * x
    assert x**0 == A.identity
    assert x**3 == x * x * x
    assert sum([x, x]) == 2 * x
    assert 0 * x == Operator({})
    assert (3 * x - 4j * A.n).norm() == 4
    assert Operator({}).norm() == 0


def test_equal_operators_hash_alike_and_print():
    assert hash(A.a * B.a) == hash(B.a * A.a)
    assert A.a != B.a
    assert A.a != "a"
    assert repr(A.a * A.a.dag()) in ("Operator(a† a + 1)", "Operator(1 + a† a)")
    assert repr(Operator({})) == "Operator(0)"
    assert repr(2j * A.a.dag() ** 2 * S.unit(0, 1)) == "Operator((0+2j) a†^2 |0⟩⟨1|_s)"
    assert repr(1 * A.identity) == "Operator(1)"


def test_operators_do_not_mix_with_what_they_are_not():
    for bad in ("x", [1.0], None):
        with pytest.raises(TypeError):
            A.a + bad
        with pytest.raises(TypeError):
            A.a * bad
    with pytest.raises(TypeError):
        np.ones(2) * A.a


def test_sites_of_an_operator_are_sorted_by_name():
    assert (B.a * A.a + S.sz).sites == (A, B, S)
    assert A.identity.sites == ()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Boson("a b"), ("name", "a b")),
        (lambda: Boson("2a"), ("name", "2a")),
        (lambda: Boson(3), ("name", "3")),
        (lambda: Boson("a", 1), ("levels", "1")),
        (lambda: Boson("a", 3.0), ("levels", "3.0")),
        (lambda: Levels("q", 0), ("levels", "0")),
        (lambda: Spin("s", 0.3), ("J", "0.3")),
        (lambda: Spin("s", 0), ("J", "0")),
        (lambda: Spin("s", -0.5), ("J", "-0.5")),
        (lambda: Q.unit(0, 3), ("index", "3", "0..2")),
        (lambda: Q.unit(-1, 0), ("index", "-1")),
        (lambda: Q.operator(np.eye(2)), ("matrix", "(3, 3)", "(2, 2)")),
        (lambda: A.a**-1, ("power", "-1")),
        (lambda: A.a**0.5, ("power", "0.5")),
    ],
)
def test_bad_sites_and_operators_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match="must") as error:
        make()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 1j, "1", None, [1.0]])
def test_rates_are_checked(bad):
    with pytest.raises(ValueError, match="Argument `gamma` must be a finite rate >= 0"):
        rate(bad, "gamma")


def test_rate_is_the_root():
    assert rate(4, "gamma") == 2.0
    assert rate(0, "gamma") == 0.0
    assert rate(np.float64(9.0), "gamma") == 3.0
