"""Systems on permutation-symmetric states against the same systems on all 2^N states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.linalg import expm_multiply

import backaction as ba
from backaction.systems import liouvillian, reduced, steady_state
from backaction.systems.reduced import TotalSpins

START = {"A": ba.spin(1.0, 0.3), "B": ba.spin(2.0, 1.0)}


def random_system(seed: int, sizes: dict[str, int], boson: bool = False, general: bool = False) -> ba.System:
    """Random collective H and channels, and random local rates; `general`: any operator on each member, too."""
    rng = np.random.default_rng(seed)
    species = [ba.Ensemble(name, N) for name, N in sizes.items()]
    a = ba.Boson("a", 3)
    letters = [x for s in species for x in (s.sp, s.sm, s.sz)] + ([a.a, a.a.dag()] if boson else [])

    def word(degree: int) -> ba.Operator:
        out = ba.Operator({(): complex(*rng.normal(size=2))})
        for k in rng.integers(len(letters), size=degree):
            out = out * letters[k]
        return out

    H = sum((word(2) for _ in range(4)), word(1))
    channels: dict = {f"c{k}": 0.4 * (word(1) + word(1)) for k in range(2)}
    observables = {f"x{k}": word(1 + k % 3) for k in range(6)}
    if boson:
        channels["cavity"] = a.a
        observables["n"] = a.n
    for s in species:
        one = s.member
        x, y, z = rng.uniform(0.3, 1.0, 3)
        channels |= {
            f"pump_{s.name}": s.each(x * one.sp), f"loss_{s.name}": s.each(y * one.sm),
            f"dephasing_{s.name}": s.each(z * one.sz),
        }  # fmt: skip
        if general:
            u = rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2))
            channels[f"any_{s.name}"] = s.each(0.4 * one.operator(u))
    initial = {s.name: START[s.name] for s in species}
    return ba.System(0.15 * (H + H.dag()), channels=channels, observables=observables, initial=initial)


def means(lowered: ba.systems.LoweredSystem, rho: np.ndarray) -> np.ndarray:
    return np.array([(O @ rho).trace() for O in lowered.observables.values()])


def evolved(lowered: ba.systems.LoweredSystem, t: float = 0.7) -> np.ndarray:
    ket = lowered.state()
    return expm_multiply(liouvillian(lowered) * t, np.outer(ket, ket.conj()).reshape(-1)).reshape(2 * (lowered.dim,))


CASES = [
    ({"A": 2, "B": 2}, True),
    ({"A": 3, "B": 3}, False),
    ({"A": 2, "B": 2}, False),
    ({"A": 2}, True),
    ({"A": 5}, False),
]


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("sizes, boson", CASES)
def test_time_evolution_and_steady_state(sizes: dict[str, int], boson: bool, general: bool) -> None:
    system = random_system(4, sizes, boson, general)
    full, small = system.lower(), reduced(system).lower()
    rho = evolved(small)
    assert rho.trace() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(means(small, rho), means(full, evolved(full)), rtol=0, atol=1e-10)
    if full.dim <= 16:
        found = means(small, steady_state(small))
        np.testing.assert_allclose(found, means(full, steady_state(full)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("part", ["pump_A_down", "loss_A_same", "dephasing_A_up", "any_A_down"])
def test_every_part_of_a_local_channel_matters(part: str) -> None:
    """The negative control: one Kraus operator left out."""
    system = random_system(4, {"A": 3}, general=True)
    full, small = system.lower(), reduced(system).lower()
    wanted = means(full, evolved(full))
    without = replace(small, channels={name: L for name, L in small.channels.items() if name != part})
    assert abs(means(without, evolved(without)) - wanted).max() > 1e-3


@pytest.mark.parametrize("N", [1, 2, 5, 6])
def test_states_are_counted_as_the_theory_counts_them(N: int) -> None:
    A = ba.Ensemble("A", N)
    channels = {"c": A.sm, "pump": A.each(A.member.sp)}
    lowered = reduced(ba.System(A.sz, channels, initial={"A": ba.spin(1.0, 0.3)})).lower()
    assert lowered.dim == ((N + 2) ** 2 // 4 if N % 2 == 0 else (N + 1) * (N + 3) // 4)
    # from a product state, no element between different J ever appears, and all those within do
    rho = evolved(lowered)
    widths = np.arange(N + 1, 0, -2)
    sector = np.repeat(np.arange(len(widths)), widths)
    inside = sector[:, None] == sector[None, :]
    assert inside.sum() == (N + 1) * (N + 2) * (N + 3) // 6
    assert np.all(rho[~inside] == 0)
    assert np.count_nonzero(abs(rho[inside]) > 1e-12) == inside.sum()


UNRAVELINGS = [
    ba.Heterodyne("c0", efficiency=0.6),
    ba.Homodyne("c0", phase=0.4, efficiency=0.7) + ba.QuantumJumps("c1", efficiency=0.5, dark_rate=0.2),
]


@pytest.mark.parametrize("unraveling", UNRAVELINGS, ids=repr)
@pytest.mark.parametrize("sizes", [{"A": 2, "B": 2}, {"A": 3}, {"A": 4, "B": 1}], ids=str)
def test_conditional_states_on_one_record(sizes: dict[str, int], unraveling: ba.Unraveling) -> None:
    system = random_system(1, sizes)
    small = reduced(system)
    names = list(system.observables)
    times = np.linspace(0, 0.2, 21)
    data = ba.simulate(small, unraveling, times, 3, seed=2, observables=names, level="density", progress=False)
    options = {
        "observables": names, "level": "density", "step": 0.005, "max_error": np.inf, "seed": 0, "progress": False,
    }  # fmt: skip
    wanted, found = (ba.condition(s, unraveling, data, **options) for s in (system, small))
    for name in names:
        np.testing.assert_allclose(found[f"expect_{name}"], wanted[f"expect_{name}"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found["log_likelihood"], wanted["log_likelihood"], rtol=0, atol=1e-8)
    # the record tells: without it the means are others, and so they are with a local channel left out
    assert abs(found[f"expect_{names[0]}"][:, -1] - means(small.lower(), evolved(small.lower(), 0.2))[0]).max() > 1e-3
    wrong = replace(small, channels={k: v for k, v in small.channels.items() if k != "pump_A"})
    other = ba.condition(wrong, unraveling, data, **options)
    assert abs(other[f"expect_{names[0]}"] - wanted[f"expect_{names[0]}"]).max() > 1e-5


def test_the_past_quantum_state() -> None:
    system = random_system(1, {"A": 3})
    unraveling = ba.Heterodyne("c0", efficiency=0.6)
    data = ba.simulate(reduced(system), unraveling, np.linspace(0, 0.2, 21), 2, seed=2, progress=False)
    options = {"observables": list(system.observables), "step": 0.005, "max_error": np.inf, "progress": False}
    wanted, found = (ba.smooth(s, unraveling, data, **options) for s in (system, reduced(system)))
    compared = [name for name in wanted.data_vars if str(name).split("_")[-1] in system.observables]
    assert compared
    for name in compared:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-7)


def correlations(data: object) -> tuple[np.ndarray, np.ndarray]:
    """Mean current and two-bin correlation of a heterodyne record, and their standard errors; real parts."""
    current = data["current_c"].values  # type: ignore[index]
    samples = np.stack([
        current[:, -1].real, current[:, -1].imag, (current[:, -1] * current[:, 0].conj()).real,
        (current[:, -1] * current[:, 1]).imag,
    ])  # fmt: skip
    return samples.mean(axis=1), samples.std(axis=1) / np.sqrt(samples.shape[1])


def apart(one: object, two: object) -> float:
    """Largest distance of two samples' statistics, in standard errors."""
    (x, dx), (y, dy) = correlations(one), correlations(two)
    return float((abs(x - y) / np.hypot(dx, dy)).max())


def test_records_have_the_law_of_dicke_trajectories() -> None:
    """Averaged over hidden jumps, the state vectors' records are those of the observer who sees the current only."""
    A = ba.Ensemble("A", 3)
    system = ba.System(
        0.4 * A.sz + 0.5 * (A.sp + A.sm),
        channels={
            "c": 1.2 * A.sm, "pump": A.each(A.member.sp), "loss": A.each(0.5 * A.member.sm),
            "dephasing": A.each(0.6 * A.member.sz),
        },
        initial={"A": ba.spin(1.0, 0.3)},
        observables={"z": A.sz, "zz": A.sz * A.sz},
    )  # fmt: skip
    times, unraveling = np.linspace(0, 0.6, 4), ba.Heterodyne("c", efficiency=0.8)
    options = {"ntraj": 3000, "progress": False}
    vectors = ba.simulate(system, unraveling, times, level="dicke", seed=1, observables=("z", "zz"), **options)
    matrices = ba.simulate(reduced(system), unraveling, times, level="density", seed=2, **options)
    kets = ba.simulate(reduced(system), unraveling, times, level="ket", seed=3, **options)
    assert apart(vectors, matrices) < 5
    assert apart(kets, matrices) < 5
    # the control: an efficiency, which changes the law of the record
    other = ba.simulate(reduced(system), ba.Heterodyne("c", efficiency=0.2), times, level="density", seed=2, **options)
    assert apart(vectors, other) > 5
    small = reduced(system).lower()
    exact = means(small, evolved(small, times[-1])).real
    control = replace(small, channels={k: v for k, v in small.channels.items() if k != "pump_same"})
    wrong = means(control, evolved(control, times[-1])).real
    for k, name in enumerate(("z", "zz")):
        x = vectors[f"hidden_{name}"].values[:, -1]
        error = x.std() / np.sqrt(len(x))
        assert abs(x.mean() - exact[k]) < 5 * error
        assert abs(x.mean() - wrong[k]) > 5 * error


def test_sites_keep_their_names() -> None:
    """Site states, a basis, time dependence, rewritten channels; local channels stay out of reach."""
    A, a = ba.Ensemble("A", 2), ba.Boson("a", 4)
    system = ba.System(
        [A.sz, (A.sp + A.sm, np.cos)],
        channels={"c": A.sm, "cavity": a.a, "pump": A.each(A.member.sp)},
        observables={"z": A.sz, "n": a.n},
    )
    small = reduced(system, ba.Basis(levels={"a": 6}))
    assert small.lower().dim == 24
    options = {
        "initial": {"a": ba.coherent(0.3)}, "observables": ("z", "n"), "level": "density", "progress": False,
    }  # fmt: skip
    times = np.linspace(0, 0.4, 5)
    found = ba.simulate(small, None, times, **options)
    wanted = ba.simulate(replace(system, basis=small.basis), None, times, **options)
    for name in ("expect_z", "expect_n"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-9)
    assert float(found["expect_z"][0, 0]) == pytest.approx(-1)
    assert found.sizes["edge"] == wanted.sizes["edge"] == 1
    assert small.split("c", c1=0.5, c2=0.5).outputs == ["cavity", "c1", "c2"]
    with pytest.raises(ValueError, match="'pump' acts on each member"):
        small.split("pump", c1=0.5, c2=0.5)
    with pytest.raises(ValueError, match="pump"):
        ba.simulate(small, ba.Heterodyne("pump"), times, progress=False)
    with pytest.raises(ValueError, match="same site objects"):
        small.lower().operator(A.sz)
    totals = ba.Basis(totals=[(("A", "a"), 2)])
    kept = reduced(system, totals).lower()
    excitations = kept.operator(small.sites[0].sz + small.sites[1].n).diagonal().real + 1
    assert excitations.max() == pytest.approx(2)
    assert kept.dim == 3 + 2 + 2 + 1  # by excitations of the spins: 0, twice 1, 2


def test_what_cannot_be_reduced_is_refused() -> None:
    import qutip

    A, s = ba.Ensemble("A", 3), ba.Spin("s")
    for system, message in [
        (ba.System(qutip.sigmaz(), channels={}), "System of symbolic operators"),
        (ba.System(s.sz, channels={}), "ensemble of spins"),
        (ba.System(ba.Ensemble("A", 2, ba.Levels("m", 3)).total(ba.Levels("m", 3).unit(0, 0)), {}), "need spins 1/2"),
        (ba.System(A.sz, channels={}, initial=np.eye(8)[0]), "must name site states"),
        (ba.System(ba.Ensemble("A", 200).sz, channels={}), "10201 permutation-symmetric states"),
    ]:
        with pytest.raises(ValueError, match=message):
            reduced(system)
    site = TotalSpins("A", 3)
    with pytest.raises(ValueError, match="exactly 6 symmetric states"):
        ba.System(site.sz, channels={}, basis=ba.Basis(levels={"A": 4})).lower()
    (_, part), *_ = site.each(site.member.sp).jumps()
    with pytest.raises(ValueError, match="have no products"):
        part * site.sz
    assert "J → J−1 of A" in repr(part)
    with pytest.raises(ValueError, match="pure state"):
        site.product(np.eye(2) / 2)
