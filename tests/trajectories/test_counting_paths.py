"""Counting in large Hilbert spaces: click by click against a dense reference on the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
from scipy.optimize import brentq

import backaction as ba
from backaction.trajectories import noise

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


def eigensystem(A):
    values, vectors = np.linalg.eig(A)
    return values, vectors, np.linalg.inv(vectors)


def dense_run(eigen, jumps, psi, duration, rng):
    """One trajectory by the eigenvectors of −iH − Γ/2; recorded clicks (time, counter) and the last state."""
    values, vectors, inverse = eigen
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
@pytest.mark.parametrize("precision, tolerance", [("double", 1e-9), ("single", 1e-5)])
@pytest.mark.parametrize("case", UNRAVELINGS)
def test_clicks_and_states_follow_a_dense_run_with_the_same_random_numbers(case, precision, tolerance):
    unraveling, duration, ntraj = UNRAVELINGS[case], 25.0, 5
    data = run(unraveling, [0.0, 7.0, duration], ntraj, precision, states=True)
    A, jumps = operators(unraveling)
    eigen, psi = eigensystem(A), START
    total = 0
    for k in range(ntraj):
        clicks, last = dense_run(eigen, jumps, psi, duration, noise.generator(SEED, k))
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
    (right, _), (other, _) = (dense_run(eigensystem(X), jumps, psi, 25.0, noise.generator(SEED, 0)) for X in (A, wrong))
    assert right
    assert len(right) != len(other) or abs(right[0][0] - other[0][0]) > 1e-4
