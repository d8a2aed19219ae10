"""`kernels.counting`, photon counting in large Hilbert spaces: against dense propagators, laws and master equations."""

from __future__ import annotations

import re
from itertools import pairwise

import numba
import numpy as np
import pytest
import qutip
import scipy.linalg as la
import scipy.sparse as sp
from scipy.sparse.linalg import expm_multiply

import backaction as ba
from backaction.trajectories import counting_plan as plans
from backaction.trajectories import ensemble, noise
from backaction.trajectories.kernels import counting
from backaction.trajectories.plan import assign
from physics.helpers import CONTROL, LIMIT, ks_sigma, worst
from trajectories.test_reproducible import assert_same_bits, first

pytestmark = pytest.mark.filterwarnings("ignore:The basis' edge")  # small on purpose

SEED = 5
Jumps = ba.QuantumJumps


def pair(coupling=0.8, pump=0.6):
    """A driven Kerr oscillator and a pumped one, 64 levels; complex elements, channels that do not commute."""
    a, b = ba.Boson("a", 8), ba.Boson("b", 8)
    hop = 0.6 * np.exp(0.7j) * (a.a.dag() * b.a)
    drive = (0.9 - 0.5j) * a.a
    H = -0.4 * a.n + 0.3 * (a.a.dag() ** 2 * a.a**2) + 1.3 * b.n + hop + hop.dag() + drive + drive.dag()
    channels = {
        "loss_a": a.a,
        "loss_b": 0.7 * b.a,
        "pump": pump * b.a.dag(),
        "coupling": np.sqrt(coupling) * (a.a - np.exp(0.4j) * b.a),
    }
    return ba.System(H, channels=channels, observables={"n_a": a.n, "n_b": b.n, "hop": a.a.dag() * b.a})


def decay():
    """No Hamiltonian: rates up to some hundreds, a spectrum without width along the energies."""
    a = ba.Boson("a", 64)
    channels = {"loss": a.a, "two_photon": 0.3 * a.a**2, "pump": 0.9 * a.a.dag()}
    return ba.System(0 * a.n, channels=channels, observables={"n": a.n}, initial={"a": ba.coherent(3.0)})


def dense():
    """Full matrices without any symmetry."""
    rng = np.random.default_rng(1)

    def matrix(scale):
        return qutip.Qobj(scale * (rng.normal(size=(70, 70)) + 1j * rng.normal(size=(70, 70))))

    H = matrix(0.3)
    channels = {"first": matrix(0.06), "second": matrix(0.04)}
    return ba.System(H + H.dag(), channels=channels, initial=qutip.basis(70, 3))


def poisson():
    """L†L = 1: whatever the state does, clicks are Poissonian."""
    shift = np.roll(np.eye(64), 1, axis=0) * np.exp(1j * np.arange(64))
    channels = {"shift": qutip.Qobj(shift)}
    return ba.System(qutip.Qobj(np.diag(np.arange(64.0))), channels=channels, initial=qutip.basis(64, 5))


def weak():
    """Long pieces: 30 radians between clicks and more."""
    a, b = ba.Boson("a", 10), ba.Boson("b", 8)
    H = 3.0 * a.n - 2.0 * b.n + 1.5 * (a.a + a.a.dag()) * (b.a + b.a.dag())
    return ba.System(H, channels={"loss_a": 0.2 * a.a, "loss_b": 0.3j * b.a}, observables={"n_a": a.n})


#: system, unraveling, edges
CASES = {
    "pair": (pair(), None, [0, 0.3, 0.6, 0.9, 1.9, 3.9]),
    "decay": (decay(), None, [0, 0.1, 0.2, 0.5, 1.5]),
    "dense": (dense(), None, [0, 0.1, 0.2, 0.3, 3.3]),
    "poisson": (poisson(), None, [0, 2, 4, 6]),
    "weak": (weak(), None, [0, 5, 10, 15]),
}


def detectors(system):
    """A counter for every channel."""
    return Jumps(*system.channels)


def simulate(system, edges, ntraj, *, unraveling=None, precision="double", seed=SEED, **options):
    """Through the kernel of this module: clicks by channel, states."""
    return ba.simulate(
        system, unraveling or detectors(system), edges, ntraj, seed=seed, level=ba.Ket(precision=precision),
        progress=False, **options,
    )  # fmt: skip


def clicks(data, k):
    """[(time, channel), …] of trajectory k, in order of time."""
    found = []
    for name in data.data_vars:
        if name.startswith("click_time_"):
            channel = name.removeprefix("click_time_")
            ends = np.cumsum(data[f"click_count_{channel}"].values)
            times = data[name].values[ends[k] - int(data[f"click_count_{channel}"][k]) : ends[k]]
            found += [(float(t), channel) for t in times]
    return sorted(found)


class Replay:
    """No-click propagators and jumps of a system in which every channel is counted, by SciPy."""

    def __init__(self, system):
        lowered = system.lower()
        self.channels = {name: L.toarray() for name, L in lowered.channels.items()}
        rate = sum(L.conj().T @ L for L in self.channels.values())
        self.A = -1j * lowered.H.toarray() - 0.5 * rate
        self.start = lowered.state(system.initial).astype(complex)

    def follow(self, found, edges):
        """States at the edges, [(survival, rates of the channels)] at the clicks, for given clicks."""
        psi, t = self.start, 0.0
        states, seen = [psi], []
        for time, channel in sorted([*found, *((float(e), "") for e in edges[1:])]):
            psi = expm_multiply(self.A * (time - t), psi, traceA=np.trace(self.A) * (time - t))
            t = time
            if not channel:
                states.append(psi / np.linalg.norm(psi))
                continue
            after = {name: L @ psi for name, L in self.channels.items()}
            survival = np.vdot(psi, psi).real
            seen.append((survival, {name: np.vdot(x, x).real / survival for name, x in after.items()}))
            psi = after[channel] / np.linalg.norm(after[channel])
        return np.array(states), seen


# === one trajectory at a time


@pytest.mark.parametrize("precision, states, survivals", [("double", 1e-9, 1e-10), ("single", 1e-4, 2e-5)])
@pytest.mark.parametrize("case", CASES)
def test_replay__states_clicks_and_channels(case, precision, states, survivals):
    """Along the recorded clicks: the states at the edges, phases included; thresholds and channels as drawn."""
    system, unraveling, edges = CASES[case]
    data = simulate(system, edges, 20, precision=precision, states=True, unraveling=unraveling)
    replay = Replay(system)
    total, worst_state, worst_survival = 0, 0.0, 0.0
    for k in (0, 3, 7, 8, 15, 19):  # both ends of batches of 8 and 16, one that is not full
        found = clicks(data, k)
        expected, seen = replay.follow(found, edges)
        worst_state = max(worst_state, np.linalg.norm(data["state"].values[k] - expected, axis=-1).max())
        rng = noise.generator(SEED, k)
        threshold = rng.random()
        for (_, channel), (survival, rates) in zip(found, seen, strict=True):
            worst_survival = max(worst_survival, abs(survival - threshold) / threshold)
            left = rng.random() * sum(rates.values())
            names, cumulative = list(rates), np.cumsum(list(rates.values()))
            drawn = names.index(channel)
            low = cumulative[drawn - 1] if drawn else 0.0
            assert low - 1e-3 * cumulative[-1] < left < cumulative[drawn] + 1e-3 * cumulative[-1]
            threshold = rng.random()
        total += len(found)
    print(f"replay, {case}, {precision}: {total} clicks, states {worst_state:.1e}, survival {worst_survival:.1e}")
    assert total > 12
    assert worst_state < states
    assert worst_survival < survivals


def test_replay__can_fail():
    """The reference tells a rate that is wrong by 10⁻⁶, and a click that is late by 10⁻⁶."""
    system, _, edges = CASES["pair"]
    data = simulate(system, edges, 1, states=True)
    found = clicks(data, 0)
    late = [(t + 1e-6, c) for t, c in found]
    for replay, given in ((Replay(pair(coupling=0.8 * (1 + 1e-6))), found), (Replay(system), late)):
        states, _ = replay.follow(given, edges)
        assert np.linalg.norm(data["state"].values[0] - states, axis=-1).max() > 1e-8


def test_observables_are_those_of_the_states():
    system, _, edges = CASES["pair"]
    data = simulate(system, edges, 3, states=True, observables=["n_a", "hop"])
    psi = data["state"].values
    for name in ("n_a", "hop"):
        O = system.lower().observables[name].toarray()
        expected = np.einsum("tei,ij,tej->te", psi.conj(), O, psi)
        np.testing.assert_allclose(data[f"expect_{name}"], expected, atol=1e-12)


def test_edge_populations_are_averages_over_time():
    """Against averages of the states at many edges; the kernel sees the ends of its pieces only."""
    system, _, _ = CASES["pair"]
    start = np.exp(1j * np.arange(64)) / 8
    data = simulate(system, np.linspace(0, 1, 401), 16, states=True, initial=start)
    p = abs(data["state"].values.reshape(16, 401, 8, 8)) ** 2
    expected = np.stack([p[:, :, -1, :].sum(-1), p[:, :, :, -1].sum(-1)], axis=-1).mean(axis=(0, 1))
    coarse = simulate(system, [0, 1], 16, initial=start)
    for run, tolerance in ((data, 0.02), (coarse, 0.5)):
        np.testing.assert_allclose(run["edge_population"].mean("trajectory"), expected, rtol=tolerance)


def test_a_dark_state_never_clicks():
    a = ba.Boson("a", 64)
    system = ba.System(0.5 * a.n, channels={"loss": a.a}, observables={"n": a.n})
    data = simulate(system, [0, 1e3, 2e3], 3, observables=["n"], states=True)
    assert int(data["click_count_loss"].sum()) == 0
    np.testing.assert_array_equal(data["expect_n"], 0.0)
    np.testing.assert_allclose(abs(data["state"].values[..., 0]), 1.0, rtol=1e-12)


def test_where_pieces_end_does_not_matter():
    """Short pieces, long ones, ends forced by saved edges: the same clicks to rounding."""
    system, _, _ = CASES["pair"]
    reference = simulate(system, [0, 6], 12)
    for edges, options in (([0, 6], {"step": 0.013}), (np.linspace(0, 6, 241), {"observables": ["n_a"]})):
        other = simulate(system, edges, 12, **options)
        for k in range(12):
            one, two = clicks(reference, k), clicks(other, k)
            assert [c for _, c in one] == [c for _, c in two]
            np.testing.assert_allclose([t for t, _ in one], [t for t, _ in two], atol=1e-9)


# === laws


@pytest.fixture(scope="module")
def many():
    """Clicks of many trajectories with survival and rates from the dense reference: [(survival, rates, channel)]."""
    system, per = CASES["pair"][0], 12
    data = simulate(system, [0, 12], 384, seed=17)
    found = [clicks(data, k)[:per] for k in range(384)]
    assert min(map(len, found)) == per  # a fixed number: long waits are not cut off
    return found


def replayed(system, found):
    """Survival, rates and channel of every click, by eigenvectors."""
    replay = Replay(system)
    values, V = la.eig(replay.A)
    inverse = la.inv(V)
    names = list(replay.channels)
    survivals, rates, chosen = [], [], []
    for sequence in found:
        psi, t = replay.start, 0.0
        for time, channel in sequence:
            psi = V @ (np.exp(values * (time - t)) * (inverse @ psi))
            t = time
            after = [replay.channels[name] @ psi for name in names]
            survivals.append(np.vdot(psi, psi).real)
            rates.append([np.vdot(x, x).real for x in after])
            chosen.append(names.index(channel))
            psi = after[chosen[-1]] / np.linalg.norm(after[chosen[-1]])
    return np.array(survivals), np.array(rates), np.array(chosen)


def test_survival_at_the_clicks_is_uniform(many):
    """What is left of ⟨ψ|ψ⟩ at a click is uniform in (0, 1): the law of waiting times, whatever the state."""
    good = ks_sigma(replayed(pair(), many)[0], "uniform")
    bad = ks_sigma(replayed(pair(pump=0.2), many)[0], "uniform")
    print(f"survival: {sum(map(len, many))} clicks, z {good:.2f}; broken {bad:.1f}")
    assert good < LIMIT
    assert bad > CONTROL


def test_channels_are_chosen_by_their_rates(many):
    """Σ (chosen − probability) of each channel over its standard deviation."""
    _, rates, chosen = replayed(pair(), many)

    def z(rates):
        p = rates / rates.sum(axis=1, keepdims=True)
        miss = (chosen[:, None] == np.arange(p.shape[1])) - p
        return float(abs(miss.sum(axis=0) / np.sqrt((p * (1 - p)).sum(axis=0))).max())

    wrong = rates * np.array([1.0, 2.0, 1.0, 1.0])
    print(f"channels: z {z(rates):.2f}; broken {z(wrong):.1f}")
    assert z(rates) < LIMIT
    assert z(wrong) > CONTROL


def liouvillian(system, without=()):
    """𝓛 of row-stacked density matrices, sparse."""
    lowered = system.lower()
    one = sp.eye_array(lowered.dim)
    L = -1j * (sp.kron(lowered.H, one) - sp.kron(one, lowered.H.T))
    for name, c in lowered.channels.items():
        if name not in without:
            rate = c.conj().T @ c
            L = L + sp.kron(c, c.conj()) - 0.5 * (sp.kron(rate, one) + sp.kron(one, rate.T))
    return sp.csr_array(L)


def evolve(M, rho):
    """e^M ρ."""
    return expm_multiply(M, rho.reshape(-1), traceA=M.trace()).reshape(rho.shape)


def test_means_follow_the_master_equation():
    system, edges = pair(), np.array([0, 0.7, 1.5, 3.0])
    names = list(system.observables)

    def exact(model):
        lowered = model.lower()
        rho = np.outer(lowered.state(), lowered.state().conj()).astype(complex)
        found = []
        for width in np.diff(edges):
            rho = evolve(liouvillian(model) * width, rho)
            found.append([np.trace(lowered.observables[o] @ rho) for o in names])
        return np.array(found)

    expected, wrong = exact(system), exact(pair(coupling=0.6))
    for precision in ("double", "single"):
        data = simulate(system, edges, 1024, precision=precision, observables=names)
        samples = np.stack([data[f"expect_{o}"].values[:, 1:] for o in names], axis=-1)
        good, bad = worst(samples, expected), worst(samples, wrong)
        print(f"means, {precision}: z {good:.2f}; broken {bad:.1f}")
        assert good < LIMIT
        assert bad > CONTROL


POINTS = np.array([0.0, 0.5, -0.4, 0.8j])


def generating_function(system, efficiency, dark_rate, duration, rho, without=()):
    """E z^N of the clicks of ``loss_a`` (efficiency, dark counts) and ``pump`` together: Tr e^{(𝓛+(z−1)𝒥)T}ρ."""
    channels = system.lower().channels
    L, a, b = liouvillian(system, without), channels["loss_a"], channels["pump"]
    J = efficiency * sp.kron(a, a.conj()) + sp.kron(b, b.conj()) + dark_rate * sp.eye_array(L.shape[0])
    return np.array([evolve(sp.csr_array(L + (z - 1) * J) * duration, rho).trace() for z in POINTS])


def test_unwatched_channels_efficiency_and_dark_counts():
    """The whole distribution of the counts where two channels are unread, half the photons are lost, start mixed."""
    system, duration = pair(), 2.0
    d = system.lower().dim
    rho = np.zeros((d, d), dtype=complex)
    rho[36, 36], rho[0, 0], rho[0, 36], rho[36, 0] = 0.6, 0.4, 0.2j, -0.2j
    detector = Jumps("loss_a", efficiency=0.5, dark_rate=0.3) + Jumps("pump")
    data = simulate(system, [0, 0.5, duration], 8192, unraveling=detector, initial=rho)
    counts = data["click_count_loss_a"].values + data["click_count_pump"].values
    samples = POINTS[None, :] ** counts[:, None]
    good = worst(samples, generating_function(system, 0.5, 0.3, duration, rho))
    broken = {
        "efficiency": generating_function(system, 0.5**0.5, 0.3, duration, rho),
        "dark counts": generating_function(system, 0.5, 0.0, duration, rho),
        "unwatched channel": generating_function(system, 0.5, 0.3, duration, rho, without=("coupling", "loss_b")),
        "start": generating_function(system, 0.5, 0.3, duration, np.diag(np.eye(d)[0]).astype(complex)),
    }
    bad = {what: worst(samples, wrong) for what, wrong in broken.items()}
    print(f"counts: z {good:.2f}; broken {bad}")
    assert good < LIMIT
    assert min(bad.values()) > CONTROL


# === single precision


def test_single_against_double():
    """What `Ket` says of it: clicks move by some 10⁻⁴ of the time between them, populations by some 10⁻⁵."""
    system, duration, ntraj = pair(), 6.0, 64
    one, two = (
        simulate(system, [0, 0.2], ntraj, precision=p, observables=["n_a", "n_b"]) for p in ("double", "single")
    )
    moved = max(abs(one[f"expect_{o}"].values - two[f"expect_{o}"].values).max() for o in ("n_a", "n_b"))
    one, two = (simulate(system, [0, duration], ntraj, precision=p) for p in ("double", "single"))
    pairs = [(clicks(one, k), clicks(two, k)) for k in range(ntraj)]
    wait = duration * ntraj / sum(len(x) for x, _ in pairs)
    shifts = np.concatenate([[abs(t - s) for (t, _), (s, _) in zip(x, y, strict=False)] for x, y in pairs])
    same = [[c for _, c in x] == [c for _, c in y] for x, y in pairs]
    print(f"single: n moves by {moved:.1e}, clicks by {np.median(shifts) / wait:.1e} of the mean wait")
    assert 0 < moved < 1e-4
    assert 0 < np.quantile(shifts, 0.9) < 2e-4 * wait
    assert np.mean(same) > 0.95


def test_states_in_single_precision_come_back_normalised():
    system, _, edges = CASES["weak"]
    data = simulate(system, edges, 4, precision="single", states=True)
    assert data["state"].dtype == complex
    np.testing.assert_allclose(np.linalg.norm(data["state"], axis=-1), 1.0, atol=1e-6)


# === the same bits


TIMES = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3])  # three widths
SAME = {
    "records": (None, {}),
    "observables": (None, {"observables": ["n_a", "hop"], "states": True}),
    "every third": (None, {"observables": ["n_a"], "save_every": 3}),
    "hidden": (Jumps("loss_a", efficiency=0.6, dark_rate=0.5) + Jumps(("loss_b", "pump")), {"observables": ["n_b"]}),
    "single": (None, {"precision": "single", "observables": ["n_a"]}),
}


def run(case, ntraj=21, **options):
    unraveling, own = SAME[case]
    return simulate(CASES["pair"][0], TIMES, ntraj, unraveling=unraveling, **own, **options)


@pytest.mark.parametrize("case", SAME)
def test_same_bits__jobs_and_lengths_of_calls(case, monkeypatch):
    reference = run(case)
    assert_same_bits(reference, run(case, n_jobs=2))
    for work in (1.0, 3e5, 1e300):  # a bin per call, some, all
        monkeypatch.setattr(ensemble, "BLOCK_WORK", work)
        assert_same_bits(reference, run(case))


@pytest.mark.parametrize("case", SAME)
def test_same_bits__more_trajectories(case):
    large = run(case)
    for n in (1, 8, 11):
        small = run(case, ntraj=n)
        small.attrs = large.attrs = {}
        assert_same_bits(small, first(large, n))


def test_the_lane_does_not_matter():
    """Trajectory 5, whatever its neighbours start from, and however often they click."""
    basis = np.eye(64, dtype=complex)
    kets, others = basis[:12].copy(), basis[40:52].copy()
    others[5] = kets[5]
    one, two = (simulate(pair(), TIMES, 12, initial=k, states=True) for k in (kets, others))
    assert one["state"][5].values.tobytes() == two["state"][5].values.tobytes()
    assert clicks(one, 5) == clicks(two, 5)
    assert clicks(one, 4) != clicks(two, 4)


# === plan and compilation


@pytest.mark.parametrize("case", CASES)
def test_interval_holds_the_spectrum(case):
    lowered = CASES[case][0].lower()
    rate = sum((L.conj().T @ L for L in lowered.channels.values()), 0 * lowered.H)
    for A in (lowered.H, rate):
        low, high = plans.interval(sp.csr_array(A, dtype=complex))
        values = la.eigvalsh(A.toarray())
        assert low <= values[0] + 1e-9
        assert values[-1] - 1e-9 <= high
        assert high - low <= 1.02 * (values[-1] - values[0]) + 1e-9


def plan_of(system, precision="double"):
    lowered = system.lower()
    return plans.counting_plan(lowered, assign(lowered, detectors(system), hidden=True), [], 1.0, precision)


@pytest.mark.parametrize("case", CASES)
def test_longest_piece__error_of_the_series(case):
    """‖series − e^{Ah}‖ for every order at the longest piece it is for, with SciPy's Bessel numbers and exponential."""
    from scipy.special import jv

    system = CASES[case][0]
    plan, replay = plan_of(system), Replay(system)
    d = len(replay.A)
    Y = (replay.A + (plan.decay + 1j * plan.energy) * np.eye(d)) / plan.radius
    for order in (1, len(plan.reach) // 2, len(plan.reach) - 1):
        h = plan.reach[order]
        old, new, total = np.eye(d), Y, jv(0, plan.radius * h) * np.eye(d)
        for k in range(1, order + 1):
            total = total + 2 * jv(k, plan.radius * h) * new
            old, new = new, 2 * Y @ new + old
        total = total * np.exp(-(plan.decay + 1j * plan.energy) * h)
        assert np.linalg.norm(total - la.expm(replay.A * h), 2) < 1e-12 * plan.speed * h + 2e-12


def dephasing():
    """Six spins whose decay is far stronger than their H: every state decays at the same rate."""
    spins = [ba.Spin(f"q{i}") for i in range(6)]
    hops = [a.sp * b.sm + a.sm * b.sp for a, b in pairwise(spins)]
    channels = {f"z{i}": 2 * s.sz for i, s in enumerate(spins)}
    return ba.System(sum(hops, 0.3 * spins[0].sz), channels, initial={"q0": ba.spin(1.0, 0.0)})


@pytest.mark.parametrize("precision", ["double", "single"])
def test_strong_decay(precision):
    """Pieces end before states are too small to be told from 0, and before Bessel numbers leave their array."""
    system = dephasing()
    plan = plan_of(system, precision)
    assert plan.decay * plan.reach[-1] <= 30
    for order, h in enumerate(plan.reach[1:], 1):
        assert order >= plan.radius * h * (1 - 1e-12)
    T, ntraj = 50.0, 16
    data = ba.simulate(
        system, detectors(system), [0, T], ntraj, seed=SEED, level=ba.Ket(precision=precision), progress=False
    )
    clicks = sum(data[f"counts_z{i}"].values.sum(axis=1) for i in range(6))  # Poissonian of mean 6T
    assert abs(clicks.mean() - 6 * T) < LIMIT * np.sqrt(6 * T / ntraj)
    assert clicks.std() < 2 * np.sqrt(6 * T)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_one_signature_per_precision(monkeypatch):
    for work in (1.0, ensemble.BLOCK_WORK):
        monkeypatch.setattr(ensemble, "BLOCK_WORK", work)
        for precision in ("double", "single"):
            for options in ({}, {"observables": ["n_a"]}, {"states": True}, {"seed": np.int64(3)}):
                simulate(CASES["pair"][0], [0, 0.1, 0.2], 2, precision=precision, **options)
    assert len(counting.run_counting.signatures) == 2
    assert len(counting.save.signatures) == 2


def test_which_runs_go_this_way():
    """From LARGE on, or in single precision; a step or a diffusive detector is another kernel's."""
    small = ba.System(ba.Boson("a", 5).n, channels={"loss": ba.Boson("a", 5).a})
    large = CASES["weak"][0]

    def goes(system, unraveling, precision="double", otherwise_driven=False):
        lowered = system.lower()
        return plans.counts_only(lowered, assign(lowered, unraveling, hidden=True), precision, otherwise_driven)

    assert goes(large, Jumps("loss_a"))
    assert goes(large, ba.Unraveling())
    assert goes(small, Jumps("loss"), "single")
    assert not goes(small, Jumps("loss"))
    assert not goes(large, ba.Heterodyne("loss_a"))
    assert not goes(large, Jumps("loss_a"), otherwise_driven=True)


# === bad input


def test_single_precision__elsewhere_is_an_error():
    system = CASES["weak"][0]
    single = ba.Ket(precision="single")
    message = re.escape('Argument `precision` must be "double" where there is more than counters')
    heterodyne = ba.Heterodyne("loss_a") + Jumps("loss_b")
    with pytest.raises(ValueError, match=message):
        ba.simulate(system, heterodyne, [0, 1], 1, level=single, progress=False)
    clicked = simulate(system, [0, 1], 1)
    with pytest.raises(ValueError, match=message):
        ba.condition(system, detectors(system), clicked, level=single, progress=False)
    with pytest.raises(ValueError, match=r"Argument `precision` must be 'double' or 'single', but is 'half'\."):
        ba.Ket(precision="half")


def test_plan__bad_input():
    system = CASES["weak"][0]
    lowered = system.lower()
    diffusive = assign(lowered, ba.Homodyne("loss_a"), hidden=True)
    with pytest.raises(ValueError, match="Argument `roles` must have no diffusive channels"):
        plans.counting_plan(lowered, diffusive, [], 1.0)
    with pytest.raises(ValueError, match=r"Argument `precision` must be one of \['double', 'single'\]"):
        plan_of(system, "half")


def test_a_wrong_expansion_is_noticed(monkeypatch):
    """A spectrum outside the frame makes the series grow: the run stops, it does not go on with noise."""
    monkeypatch.setattr(plans, "interval", lambda A: (-0.1, 0.1))
    with pytest.raises(FloatingPointError, match="Trajectory state lost"):
        simulate(CASES["weak"][0], [0, 50], 2)
