"""Counting in large Hilbert spaces: click by click against a dense reference on the same random numbers, and means."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import qutip
from scipy.optimize import brentq

import backaction as ba
from backaction.trajectories import counting_plan, ensemble, noise
from backaction.trajectories.kernels import counting
from physics.helpers import CONTROL, LIMIT, z_scores

SEED = 3
LEVELS = (3, 5, 3, 5)  # PHYSICS: the small basis on which a master equation can be solved
Jumps = ba.QuantumJumps


def cells(coupling=0.15):
    """Two optomechanical cells, Weiss et al., New J. Phys. 18, 013043 (2016), set (c), in units of Ω."""
    sites = [ba.Boson(name, n) for name, n in zip(("a1", "b1", "a2", "b2"), LEVELS, strict=True)]
    (a1, b1, a2, b2) = (s.a for s in sites)
    H = -coupling * (b1.dag() * b2 + b2.dag() * b1)
    for a, b in ((a1, b1), (a2, b2)):
        n = a.dag() * a
        H = H - 0.15 * n + b.dag() * b - 0.3 * n * (b + b.dag()) + 0.3 * (a + a.dag())
    channels = {
        "cavity_1": 0.3**0.5 * a1,
        "loss_1": 0.015**0.5 * b1,
        "cavity_2": 0.3**0.5 * a2,
        "loss_2": 0.015**0.5 * b2,
    }
    observables = {"n_b1": b1.dag() * b1, "C": b1.dag() * b2}
    return ba.System(H, channels, observables)


CELLS = cells()
#: vacuum, |1.0⟩, vacuum, |0.8i⟩, displaced within the basis; sites come in the order in which H names them
AMPLITUDES = {"a1": 0, "b1": 1.0, "a2": 0, "b2": 0.8j}
START = qutip.tensor(*(qutip.coherent(s.levels, AMPLITUDES[s.name]) for s in CELLS.sites)).full()[:, 0]

ALL = Jumps("cavity_1", "loss_1", "cavity_2", "loss_2")
#: what is watched
UNRAVELINGS = {
    "all": ALL,
    "one": Jumps("cavity_1"),
    "inefficient": Jumps("cavity_1", efficiency=0.6, dark_rate=0.05) + Jumps("cavity_2", efficiency=0.3),
    "joined": Jumps(("cavity_1", "cavity_2"), dark_rate=0.02),
}


def operators(unraveling):
    """(−iH − Γ/2, [(jump, counter or −1)]) in the order of the counters, then what nobody reads."""
    lowered = CELLS.lower()
    L = {name: operator.toarray() for name, operator in lowered.channels.items()}
    counted, unread = [], []
    for j, d in enumerate(unraveling.detectors):
        counted += [(np.sqrt(d.efficiency) * L[c], j) for c in d.channels]
        if d.dark_rate:
            counted.append((np.sqrt(d.dark_rate) * np.eye(lowered.dim), j))
        if d.efficiency < 1:
            unread += [(np.sqrt(1 - d.efficiency) * L[c], -1) for c in d.channels]
    jumps = counted + unread + [(L[c], -1) for c in L if c not in unraveling.channels]
    return -1j * lowered.H.toarray() - 0.5 * sum(K.conj().T @ K for K, _ in jumps), jumps


def dense_run(A, jumps, psi, duration, rng):
    """One trajectory by the eigenvectors of A; recorded clicks (time, counter) and the last state."""
    values, vectors = np.linalg.eig(A)
    inverse = np.linalg.inv(vectors)
    time, threshold, clicks = 0.0, rng.random(), []
    while True:
        c = inverse @ psi

        def after(s, c=c):
            return vectors @ (np.exp(values * s) * c)

        def excess(s, after=after, threshold=threshold):
            return np.linalg.norm(after(s)) ** 2 - threshold

        if excess(duration - time) >= 0:
            psi = after(duration - time)
            return clicks, psi / np.linalg.norm(psi)
        s = brentq(excess, 0, duration - time, xtol=1e-13)
        time += s
        images = [K @ after(s) for K, _ in jumps]
        weights = [np.linalg.norm(image) ** 2 for image in images]
        chosen = int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))
        psi = images[chosen] / np.linalg.norm(images[chosen])
        threshold = rng.random()
        if jumps[chosen][1] >= 0:
            clicks.append((time, jumps[chosen][1]))


def run(unraveling, times, ntraj, precision="double", system=CELLS, **options):
    return ba.simulate(
        system, unraveling, times, ntraj, seed=SEED, level=ba.Ket(precision=precision), initial=START, progress=False,
        **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:The basis' edge")
@pytest.mark.parametrize("precision, tolerance", [("double", 1e-9), ("single", 1e-3)])
@pytest.mark.parametrize("case", UNRAVELINGS)
def test_clicks_and_states_follow_a_dense_run_with_the_same_random_numbers(case, precision, tolerance):
    unraveling, duration, ntraj = UNRAVELINGS[case], 25.0, 5
    data = run(unraveling, [0.0, 7.0, duration], ntraj, precision, states=True)
    A, jumps = operators(unraveling)
    psi = START
    total = 0
    for k in range(ntraj):
        clicks, last = dense_run(A, jumps, psi, duration, noise.generator(SEED, k))
        np.testing.assert_allclose(data["state"].values[k, -1], last, atol=10 * tolerance)
        for j, d in enumerate(unraveling.detectors):
            counts = data[f"click_count_{d.name}"].values
            ours = data[f"click_time_{d.name}"].values[counts[:k].sum() : counts[: k + 1].sum()]
            np.testing.assert_allclose(ours, [t for t, i in clicks if i == j], atol=10 * tolerance)
            total += len(ours)
    assert total > 4


def test_the_reference_tells_one_operator_from_another():
    """The control: the same random numbers and a coupling that is one per cent larger."""
    A, jumps = operators(ALL)
    wrong = A - 1j * (cells(1.01 * 0.15).lower().H - CELLS.lower().H).toarray()
    psi = START
    (right, _), (other, _) = (dense_run(X, jumps, psi, 25.0, noise.generator(SEED, 0)) for X in (A, wrong))
    assert right
    assert len(right) != len(other) or abs(right[0][0] - other[0][0]) > 1e-4


@pytest.mark.filterwarnings("ignore:The basis' edge")
@pytest.mark.parametrize("precision", ["double", "single"])
def test_means_follow_the_master_equation(precision):
    """⟨b₁†b₁⟩ and ⟨b₁†b₂⟩ at t = 10, 20, 40, from QuTiP's Liouvillian and SciPy's expm_multiply."""
    numbers = [1.0927469, 1.5071377, 1.6584893, 0.1317435, 0.2100103, 0.2344900, -0.6261749, 0.2643452, 0.0950552]
    exact = np.array(numbers)  # n, Re C, Im C

    def means(system):
        data = run(ALL, [0, 10, 20, 40], 600, precision, system=system, observables=["n_b1", "C"])
        n, C = data["expect_n_b1"], data["expect_C"]
        return np.concatenate([n.values[:, 1:], C.values[:, 1:].real, C.values[:, 1:].imag], axis=1)

    good, bad = (abs(z_scores(means(s), exact)).max() for s in (CELLS, cells(0.2)))
    print(f"means in {precision} precision: z {good:.2f}, wrong coupling {bad:.1f}")
    assert good < LIMIT
    assert bad > CONTROL


@pytest.mark.filterwarnings("ignore:The basis' edge")
@pytest.mark.parametrize("precision", ["double", "single"])
def test_same_bits(precision, monkeypatch):
    """For any number of jobs, length of kernel calls, and number of trajectories."""
    options = {"observables": ["n_b1"], "states": True, "save_every": 3}
    times = np.linspace(0, 12, 31)

    def arrays(data):
        return [data[v].values for v in sorted(data.data_vars) if v.startswith(("click", "count", "expect", "state"))]

    whole = run(ALL, times, 20, precision, **options)
    assert any(v.startswith("expect") for v in whole.data_vars)
    two = run(ALL, times, 20, precision, n_jobs=2, **options)
    monkeypatch.setattr(ensemble, "BLOCK_WORK", 1.0)
    short = run(ALL, times, 20, precision, **options)
    for other in (two, short):
        assert all(np.array_equal(a, b) for a, b in zip(arrays(whole), arrays(other), strict=True))
    fewer = run(ALL, times, 5, precision, **options)
    assert np.array_equal(fewer["state"].values, whole["state"].values[:5])
    assert np.array_equal(fewer["counts_cavity_1"].values, whole["counts_cavity_1"].values[:5])


@pytest.mark.filterwarnings("ignore:The basis' edge")
def test_a_bound_of_the_pieces_changes_nothing_but_rounding():
    whole, pieces = (run(ALL, [0, 12.0], 4, step=step, states=True) for step in (None, 0.37))
    np.testing.assert_allclose(whole["state"], pieces["state"], atol=1e-8)
    np.testing.assert_allclose(whole["click_time_cavity_1"], pieces["click_time_cavity_1"], atol=1e-9)


@pytest.mark.filterwarnings("ignore:The basis' edge")
def test_one_signature_per_precision():
    for precision in ("double", "single"):
        run(Jumps("cavity_1"), [0, 0.5, 1.5], 2, precision, observables=["n_b1"])
        run(ALL, [0, 0.5, 0.7], 9, precision, states=True)
    assert numba.config.DISABLE_JIT or len(counting.run_counting.signatures) == 2


def test_small_systems_and_currents_go_another_way():
    lowered = CELLS.lower()
    assert lowered.dim >= counting_plan.LARGE
    with pytest.raises(ValueError, match="Argument `precision`"):
        run(ba.Heterodyne("cavity_1"), [0, 1], 1, "single")
    with pytest.raises(ValueError, match="Argument `precision`"):
        ba.Ket(precision="half")
