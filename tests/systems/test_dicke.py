"""Dicke sectors: Kraus operators of local channels, and the reduced master equation against all 2^N states."""

import numpy as np
import pytest
from scipy.sparse.linalg import expm_multiply

import backaction as ba
from backaction.systems import liouvillian
from backaction.systems.dicke import DEPHASING, LOSS, PUMP, RAISES, DickeSpace, kraus, local_rates, sectors


@pytest.mark.parametrize("N", [*range(1, 10), 100, 301])
@pytest.mark.parametrize("kind", [PUMP, LOSS, DEPHASING])
def test_kraus_operators_are_complete(N, kind):
    J = N / 2 - np.arange(sectors(N))[:, None]
    M = J - np.arange(N + 1)[None, :]
    wanted = {PUMP: N / 2 - M, LOSS: N / 2 + M, DEPHASING: N + 0 * M}[kind]
    total = (kraus(N, kind) ** 2).sum(axis=0)
    exists = -M <= J
    assert np.all(abs(total - wanted)[exists] < 1e-13 * N)
    assert np.all(total[~exists] == 0)


@pytest.mark.parametrize("kind", [PUMP, LOSS, DEPHASING])
def test_kraus_operators_stay_within_sectors(kind):
    N = 7
    for i, K in enumerate(kraus(N, kind)):
        for j, k in zip(*np.nonzero(K), strict=True):
            J, M = N / 2 - j, N / 2 - j - k
            assert 0 <= J + i - 1 <= N / 2
            assert abs(M + RAISES[kind]) <= J + i - 1


def reduced_liouvillian(N, H, channels, local, space):
    """The master equation on ⊕_J C^{2J+1} ⊗ its dual, dense; sector by sector."""
    dims = [N + 1 - 2 * j for j in range(sectors(N))]
    starts = np.cumsum([0, *dims])
    D = starts[-1]

    def block(operator):
        out = np.zeros((D, D), dtype=complex)
        for j, d in enumerate(dims):
            out[starts[j] : starts[j + 1], starts[j] : starts[j + 1]] = operator.matrix([j], [d]).toarray()
        return out

    Ks = [block(space.lower(L)) for L in channels]
    for kind, rate in enumerate(local):
        for i, K in enumerate(kraus(N, kind)):
            out = np.zeros((D, D), dtype=complex)
            for j, k in zip(*np.nonzero(K), strict=True):
                out[starts[j - (i - 1)] + k + i - 1 - RAISES[kind], starts[j] + k] = K[j, k]
            # one Kraus operator per J → J': coherences between sectors stay apart
            for j in range(len(dims)):
                part = np.zeros_like(out)
                part[:, starts[j] : starts[j + 1]] = out[:, starts[j] : starts[j + 1]]
                Ks.append(np.sqrt(rate) * part)
    one = np.eye(D)
    h = block(space.lower(H))
    G = -1j * h - 0.5 * sum(K.conj().T @ K for K in Ks)
    return np.kron(G, one) + np.kron(one, G.conj()) + sum(np.kron(K, K.conj()) for K in Ks), block, D


@pytest.mark.parametrize("N", [2, 3, 4])
def test_the_reduced_master_equation_is_the_full_one(N):
    A = ba.Ensemble("A", N)
    spin = A.member
    H = 0.7 * A.sp + 0.7 * A.sm + 0.4 * A.sz * A.sz + 0.3 * A.sz
    collective = 0.6 * A.sm + 0.2j * A.sz
    observables = {
        "sz": A.sz, "sp": A.sp, "zz": A.sz * A.sz, "pm": A.sp * A.sm, "pz": A.sp * A.sz, "pp": A.sp * A.sp,
        "zzz": A.sz**3, "ppm": A.sp * A.sp * A.sm,
    }  # fmt: skip
    rates = [0.9, 0.5, 0.3]
    system = ba.System(
        H,
        channels={
            "c": collective, "pump": A.each(rates[0] ** 0.5 * spin.sp), "loss": A.each(rates[1] ** 0.5 * spin.sm),
            "dephasing": A.each(2 * rates[2] ** 0.5 * spin.sz),
        },
        observables=observables,
    )  # fmt: skip
    lowered = system.lower()
    psi = ba.spin(1.1, 0.4).lower(A, 2**N)
    rho = expm_multiply(liouvillian(lowered) * 0.6, np.outer(psi, psi.conj()).reshape(-1)).reshape(2**N, 2**N)
    space = DickeSpace.of(system.sites, {})
    L, block, D = reduced_liouvillian(N, H, [collective], rates, space)
    start = np.zeros(D, dtype=complex)
    start[: N + 1] = ba.spin(1.1, 0.4).lower(ba.Spin("A", N / 2), N + 1)
    small = expm_multiply(L * 0.6, np.outer(start, start.conj()).reshape(-1)).reshape(D, D)
    assert np.trace(small) == pytest.approx(1, abs=1e-12)
    worst = 0.0
    for name, O in observables.items():
        wanted = (lowered.observables[name] @ rho).trace()
        worst = max(worst, abs(np.trace(block(space.lower(O)) @ small) - wanted))
        assert np.trace(block(space.lower(O)) @ small) == pytest.approx(wanted, abs=1e-10)
    # a wrong coefficient would be seen
    wrong = np.array(rates) * [1, 1, 1.01]
    L, _, _ = reduced_liouvillian(N, H, [collective], wrong, space)
    other = expm_multiply(L * 0.6, np.outer(start, start.conj()).reshape(-1)).reshape(D, D)
    assert abs(np.trace(block(space.lower(A.sp)) @ (other - small))) > 1e4 * max(worst, 1e-10)


def test_products_of_bands_are_products_of_matrices():
    A, a = ba.Ensemble("A", 5), ba.Boson("a", 4)
    space = DickeSpace.of([A, a], {})
    x = space.lower(A.sm * a.a.dag() + 0.5j * A.sz + 2.0)
    y = space.lower(A.sp * a.n + a.a * A.sz * A.sp)
    for j in range(3):
        dims = [4, 6 - 2 * j]
        X, Y = x.matrix([0, j], dims).toarray(), y.matrix([0, j], dims).toarray()
        assert (x @ y).matrix([0, j], dims).toarray() == pytest.approx(X @ Y, abs=1e-12)
        assert x.dag().matrix([0, j], dims).toarray() == pytest.approx(X.conj().T, abs=1e-12)
        assert (x @ y).size([0, j]) == pytest.approx(np.linalg.norm(X @ Y), rel=1e-12)


def test_local_operators_other_than_sigma_are_refused():
    A = ba.Ensemble("A", 3)
    spin = A.member
    assert local_rates("x", A.each(0.5j * spin.sp)) == pytest.approx([0.25, 0, 0])
    assert local_rates("x", A.each(2 * spin.sz)) == pytest.approx([0, 0, 1])
    for operator in (spin.sx, spin.sp * spin.sm, spin.sz + 0.5):
        with pytest.raises(ValueError, match=r"multiple of σ⁺, σ⁻ or σ\^z"):
            local_rates("x", A.each(operator))
