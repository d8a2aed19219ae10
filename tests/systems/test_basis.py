"""Bases and lowering: which states are kept, what the matrices are, where the edges lie."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
import scipy.sparse as sp

from backaction.systems import Basis, Boson, Levels, Spin

A, B, S = Boson("a", 4), Boson("b", 3), Spin("s")


def test_sites_carry_defaults_and_levels_override_them():
    assert Basis().resolve([A, B]).dims == (4, 3)
    assert Basis(levels={"a": 7}).resolve([A, B]).dims == (7, 3)
    assert Basis(levels={"a": np.int64(7)}).resolve([A, B]).dim == 21


def test_order_is_qutips_tensor_product():
    basis = Basis().resolve([A, B, S])
    a, b, s = qutip.destroy(4), qutip.destroy(3), qutip.sigmap()
    one = [qutip.qeye(4), qutip.qeye(3), qutip.qeye(2)]
    expected = qutip.tensor(a, one[1], s) + 2j * qutip.tensor(one[0], b.dag() * b, one[2])
    ours = basis.matrix(A.a * S.sp + 2j * B.n)
    np.testing.assert_allclose(ours.toarray(), expected.full(), atol=1e-14)


def test_matrices_are_clean_complex_csr():
    matrix = Basis().resolve([A, B]).matrix(A.a - A.a + 2 * B.a)
    assert isinstance(matrix, sp.csr_array)
    assert matrix.dtype == complex
    assert matrix.has_sorted_indices
    assert np.all(matrix.data != 0)
    zero = Basis().resolve([A]).matrix(0 * A.a)
    assert zero.nnz == 0
    assert zero.shape == (4, 4)
    identity = Basis().resolve([A]).matrix(A.identity)
    np.testing.assert_array_equal(identity.toarray(), np.eye(4))


@pytest.mark.parametrize("power", [(0, 1), (1, 1), (2, 1), (0, 3), (3, 3), (1, 5), (5, 0)])
def test_boson_matrices_are_projected_normally_ordered_products(power):
    """⟨j|a†^m a^n|k⟩ is exact inside the cut-off: a^n first never leaves the basis."""
    m, n = power
    big = qutip.destroy(20)
    expected = (big.dag() ** m * big**n).full()[:4, :4]
    ours = Basis().resolve([A]).matrix(A.a.dag() ** m * A.a**n).toarray()
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_totals_keep_exactly_the_states_below_the_limit():
    basis = Basis(levels={"a": 6, "b": 6}, totals=[(("a", "b"), 5)]).resolve([A, B])
    assert basis.dim == 21
    assert basis.occupations.sum(axis=1).max() == 5
    assert len({tuple(o) for o in basis.occupations}) == 21
    full = Basis(levels={"a": 6, "b": 6}).resolve([A, B])
    np.testing.assert_array_equal(full.occupations[basis.kept], basis.occupations)


def test_totals_project_the_full_matrix():
    full = Basis(levels={"a": 5, "b": 4}).resolve([A, B, S])
    cut = Basis(levels={"a": 5, "b": 4}, totals=[(("a", "b"), 4)]).resolve([A, B, S])
    operator = A.a.dag() * B.a + 1j * A.n * S.sp + B.a.dag() ** 2
    expected = full.matrix(operator).toarray()[np.ix_(cut.kept, cut.kept)]
    np.testing.assert_array_equal(cut.matrix(operator).toarray(), expected)


def test_several_totals_apply_together():
    basis = Basis(levels={"a": 5, "b": 5}, totals=[(("a", "b"), 4), (("b",), 2)]).resolve([A, B])
    assert basis.occupations.sum(axis=1).max() == 4
    assert basis.occupations[:, 1].max() == 2
    assert set(basis.edges) >= {"a", "b", "a+b"}


def test_edges_are_the_states_at_each_cut_off():
    basis = Basis(levels={"a": 5, "b": 4}, totals=[(("a", "b"), 5)]).resolve([A, B, S])
    for name, expected in (
        ("a", basis.occupations[:, 0] == 4),
        ("b", basis.occupations[:, 1] == 3),
        ("a+b", basis.occupations[:, :2].sum(axis=1) == 5),
    ):
        np.testing.assert_array_equal(basis.edges[name], np.flatnonzero(expected))
    # a spin has no cut-off, hence no edge
    assert set(basis.edges) == {"a", "b", "a+b"}
    assert Basis().resolve([S, Levels("q", 3)]).edges == {}


def test_product_states_follow_the_order_of_the_sites():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=4) + 1j * rng.normal(size=4), rng.normal(size=3)
    basis = Basis().resolve([A, B])
    np.testing.assert_allclose(basis.product_state({"b": b, "a": a}), np.kron(a, b))
    rho = np.outer(b, b)
    np.testing.assert_allclose(basis.product_state({"a": a, "b": rho}), np.kron(np.outer(a, a.conj()), rho))
    cut = Basis(totals=[(("a", "b"), 2)]).resolve([A, B])
    np.testing.assert_allclose(cut.product_state({"a": a, "b": b}), np.kron(a, b)[cut.kept])
    np.testing.assert_allclose(
        cut.product_state({"a": a, "b": rho}),
        np.kron(np.outer(a, a.conj()), rho)[np.ix_(cut.kept, cut.kept)],
    )


def test_bases_are_values():
    x = Basis(levels={"a": 4}, totals=[(["a", "b"], 3)])
    assert x == Basis(levels={"a": 4}, totals=[(("a", "b"), 3)])
    assert x.totals == ((("a", "b"), 3),)
    assert x != Basis()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Basis(levels={"a": 1}), ("levels['a']", "1")),
        (lambda: Basis(levels={"a": 3.5}), ("levels['a']", "3.5")),
        (lambda: Basis(totals=[((), 3)]), ("totals",)),
        (lambda: Basis(totals=[(("a",), 0)]), ("totals", "0")),
        (lambda: Basis(levels={"c": 3}).resolve([A, B]), ("basis", "'c'", "'a'")),
        (lambda: Basis(totals=[(("a", "c"), 3)]).resolve([A, B]), ("basis", "'c'")),
        (lambda: Basis(levels={"s": 3}).resolve([S]).matrix(S.sz), ("'s'", "2", "3")),
        (lambda: Basis().resolve([A]).matrix(B.a), ("'b'",)),
        (lambda: Basis().resolve([A]).matrix(Boson("a", 9).a), ("'a'",)),
    ],
)
def test_bad_bases_are_refused_by_name(make, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make()
    for word in words:
        assert word in str(error.value)


def test_totals_count_a_spins_excitations_from_below():
    basis = Basis(totals=[(("a", "s"), 2)]).resolve([A, S])
    kept = {tuple(state) for state in basis.occupations}  # spin index 0 is up
    assert (2, 1) in kept
    assert (1, 0) in kept
    assert (2, 0) not in kept
