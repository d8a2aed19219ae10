"""Ensembles against matrices of all members."""

from __future__ import annotations

import numpy as np
import pytest

import backaction as ba
from backaction.systems import Each, Ensemble, Levels, liouvillian


def collective(matrix: np.ndarray, N: int) -> np.ndarray:
    """Σ_i m_i by Kronecker products."""
    n = len(matrix)
    return sum(np.kron(np.kron(np.eye(n**i), matrix), np.eye(n ** (N - 1 - i))) for i in range(N))


def dense(site: Ensemble, operator: ba.Operator) -> np.ndarray:
    d = site.levels
    return sum(
        (c * (site.matrix(m[0][1], d).toarray() if m else np.eye(d)) for m, c in operator.terms.items()),
        np.zeros((d, d), complex),
    )


@pytest.mark.parametrize("N, levels", [(1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (3, 3)])
def test_products_are_those_of_matrices(N: int, levels: int) -> None:
    rng = np.random.default_rng(N + 10 * levels)
    member = Levels("m", levels)
    site = Ensemble("A", N, member)
    ms = rng.normal(size=(3, levels, levels)) + 1j * rng.normal(size=(3, levels, levels))
    x, y, z = (site.total(member.operator(m)) for m in ms)
    X, Y, Z = (collective(m, N) for m in ms)
    for symbolic, matrix in ((x, X), (x * y, X @ Y), (x * y * z, X @ Y @ Z), ((x * y).dag(), (X @ Y).conj().T)):
        np.testing.assert_allclose(dense(site, symbolic), matrix, atol=1e-12 * abs(matrix).max())


def test_commutators_of_any_number_of_spins() -> None:
    A = Ensemble("A", 10**6)
    assert A.sp.commutator(A.sm) == 2 * A.sz
    assert A.sz.commutator(A.sp) == A.sp


def test_local_channels_act_on_every_member() -> None:
    A, B = Ensemble("A", 2), Ensemble("B", 1)
    system = ba.System(
        A.sp * B.sm + A.sm * B.sp,
        channels={"pump": A.each(0.7 * A.member.sp), "loss": 0.3 * (A.sm + B.sm)},
        observables={"sz": A.sz},
    )
    assert system.outputs == ["loss"]
    assert isinstance(system.local_channels["pump"], Each)
    lowered = system.lower()
    assert sorted(lowered.channels) == ["loss", "pump_1", "pump_2"]
    up = np.array([[0, 1], [0, 0]])
    np.testing.assert_allclose(
        lowered.channels["pump_2"].toarray(), 0.7 * np.kron(np.kron(np.eye(2), up), np.eye(2)), atol=1e-15
    )
    one = np.eye(8).reshape(-1)
    np.testing.assert_allclose(one @ liouvillian(lowered), 0.0, atol=1e-13)
    state = lowered.state({"A": ba.spin(0.3, 0.2)})
    member = ba.spin(0.3, 0.2).lower(A.member, 2)
    np.testing.assert_allclose(state, np.kron(np.kron(member, member), [0, 1]), atol=1e-15)


def test_a_local_channel_cannot_be_watched_or_divided() -> None:
    A = Ensemble("A", 2)
    system = ba.System(A.sz, channels={"pump": A.each(A.member.sp), "loss": A.sm})
    with pytest.raises(ValueError, match=r"`channel` must be one of the system.s channels .*loss"):
        ba.simulate(system, ba.Heterodyne("pump"), [0, 1], progress=False)
    with pytest.raises(ValueError, match="acts on each member"):
        system.split("pump", pump1=0.5, pump2=0.5)


@pytest.mark.parametrize("N", [0, -1, 1.5, True])
def test_bad_numbers_of_members(N: object) -> None:
    with pytest.raises(ValueError, match="`N` must be an integer >= 1"):
        Ensemble("A", N)  # type: ignore[arg-type]


def test_bad_members() -> None:
    with pytest.raises(ValueError, match="`member` must be a Spin or Levels"):
        Ensemble("A", 2, ba.Boson("a"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must act on a member"):
        Ensemble("A", 2).each(ba.Spin("other").sp)
    with pytest.raises(ValueError, match="its members are no spins"):
        _ = Ensemble("A", 2, Levels("m", 3)).sp


def test_many_members_have_no_matrices() -> None:
    A = Ensemble("A", 100)
    system = ba.System(A.sz, channels={"loss": A.sm})
    with pytest.raises(ValueError, match="too many for matrices"):
        system.lower()
