"""Feedback against Wiseman and Milburn's master equation, closed forms along records, and delay equations."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import qutip
import scipy.linalg as la
from scipy.special import roots_hermitenorm

import backaction as ba
from backaction.systems import Spin, System, damped_cavity
from physics.helpers import CONTROL, LIMIT, fitted_order, z_scores
from trajectories.given import along, average_of_steps, trace_norm
from trajectories.one_step import liouvillian

q = Spin("q")
QUBIT = System(0.8 * q.sx + 0.3 * q.sz, {"loss": q.sm, "pump": 0.5 * q.sp}, {"sx": q.sx, "sy": q.sy, "sz": q.sz})
BARE = System(0.8 * q.sx + 0.3 * q.sz, {"loss": q.sm}, {"sx": q.sx, "sy": q.sy, "sz": q.sz})
F = 0.6 * q.sy + 0.35 * q.sx


def master_equation(system, loop, kind, efficiency, phase=0.0):
    """𝓛 with feedback; homodyne: Wiseman and Milburn; heterodyne: the noise fed back has variance dt/2.

    With s = gain Re[e^{−iφ}dZ] over white noise, E s dZ* = gain e^{−iφ}dt/2 and E s² = gain² dt/2.
    """
    lowered = system.lower()
    H = lowered.H.toarray()
    L = liouvillian(H, [c.toarray() for c in lowered.channels.values()])
    c = np.sqrt(efficiency) * np.exp(-1j * phase) * lowered.channels["loss"].toarray()
    f = lowered.operator(loop.F, "F").toarray()
    one = np.eye(len(f))
    commutator = np.kron(f, one) - np.kron(one, f.T)
    gathered = np.kron(c, one) + np.kron(one, c.conj())
    part = 1.0 if kind == "homodyne" else 0.5
    return L - 1j * loop.gain * part * commutator @ gathered - 0.5 * loop.gain**2 * part * commutator @ commutator


#: system, unraveling, kind, η, phase of the current, level
PROPORTIONAL = {
    "homodyne": (QUBIT, ba.Homodyne("loss", phase=0.4, efficiency=0.6), "homodyne", 0.6, 0.4, "density"),
    "heterodyne": (QUBIT, ba.Heterodyne("loss", efficiency=0.6), "heterodyne", 0.6, 1.1, "density"),
    "homodyne, ket": (BARE, ba.Homodyne("loss", phase=0.4), "homodyne", 1.0, 0.4, "ket"),
    "heterodyne, ket": (BARE, ba.Heterodyne("loss"), "heterodyne", 1.0, 1.1, "ket"),
}


RHO = np.array([[0.7, 0.2 - 0.3j], [0.2 + 0.3j, 0.3]])


def loop_of(kind, phase, gain=0.7, **memory):
    return ba.Feedback("loss", F, gain=gain, phase=phase if kind == "heterodyne" else 0.0, **memory)


#: Four states that span the others, and these as columns.
KETS = np.array([[1, 0], [0, 1], [np.sqrt(0.5), np.sqrt(0.5)], [np.sqrt(0.5), 1j * np.sqrt(0.5)]])
SPANNING = np.array([np.outer(ket, ket.conj()).reshape(-1) for ket in KETS]).T


def map_of_a_step(case, dt, gain=0.7):
    """The average of one step as a matrix on stacked rows."""
    system, unraveling, kind, _, phase, level = PROPORTIONAL[case]
    edges = np.array([0.0, dt])
    loop = loop_of(kind, phase, gain)
    after = [average_of_steps(system, unraveling, edges, ket, 9, loop, level).reshape(-1) for ket in KETS]
    return np.array(after).T @ la.inv(SPANNING)


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_the_average_follows_the_master_equation_to_first_order(case):
    """Deterministic: (average of a step)^n against e^{𝓛T}."""
    system, _, kind, efficiency, phase, _ = PROPORTIONAL[case]
    duration, steps = 1.0, np.array([20, 40, 80])

    def errors(gain, told):
        L = master_equation(system, loop_of(kind, phase, told), kind, efficiency, phase)
        expected = (la.expm(duration * L) @ RHO.reshape(-1)).reshape(2, 2)
        out = []
        for n in steps:
            found = np.linalg.matrix_power(map_of_a_step(case, duration / n, gain), n) @ RHO.reshape(-1)
            out.append(trace_norm(found.reshape(2, 2) - expected))
        return np.array(out)

    good = errors(0.7, 0.7)
    order = fitted_order(duration / steps, good)
    print(f"feedback, {case}: {good}, order {order:.2f}")
    assert 0.8 < order < 2.3
    assert good[-1] < 0.02
    wrong = errors(0.7, -0.7)
    assert wrong[-1] > 0.1
    assert fitted_order(duration / steps, wrong) < 0.2


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_ensembles_follow_the_master_equation(case):
    system, unraveling, kind, efficiency, phase, level = PROPORTIONAL[case]
    times = np.linspace(0, 2, 6)
    names = list(system.observables)
    loop = loop_of(kind, phase)
    data = ba.simulate(
        system, unraveling, times, 2048, seed=3, level=level, observables=names, feedback=loop, step=0.01,
        progress=False,
    )  # fmt: skip
    found = np.stack([data[f"expect_{n}"].values[:, 1:] for n in names], axis=-1)
    lowered = system.lower()
    psi = lowered.state()
    rho = np.outer(psi, psi.conj()).reshape(-1)
    operators = [lowered.observables[n].toarray().T.reshape(-1) for n in names]

    def miss(gain):
        L = master_equation(system, loop_of(kind, phase, gain), kind, efficiency, phase)
        means = np.array([[o @ la.expm(L * t) @ rho for o in operators] for t in times[1:]]).real
        return abs(z_scores(found, means)).max()

    print(f"feedback ensemble, {case}: z {miss(0.7):.2f}, wrong sign {miss(-0.7):.1f}")
    assert miss(0.7) < LIMIT
    assert miss(-0.7) > CONTROL
    assert abs(np.linalg.norm(found, axis=-1)).max() < 1 + 1e-9  # a state stays one


# === delay and filter: the average over all records, what the loop remembers being carried along


def normalized_hermite(x, orders):
    """He_n(x)/√n!, orthonormal under a normal law."""
    rows = [np.ones_like(x), x]
    for n in range(1, orders):
        rows.append((x * rows[n] - np.sqrt(n) * rows[n - 1]) / np.sqrt(n + 1))
    return np.array(rows[:orders])


def maps_along(case, loop, dt, current):
    """Unnormalised maps of ρ, as matrices on stacked rows, along given currents (n, n_bins), a step per bin."""
    system, unraveling, *_, level = PROPORTIONAL[case]
    edges = dt * np.arange(current.shape[1] + 1)
    every, start = np.repeat(current, len(KETS), axis=0)[:, None], np.tile(KETS, (len(current), 1))
    states, log_likelihood = along(system, unraveling, edges, every, start, loop, level)
    last = states[:, -1]
    if level == "ket":
        last = last[:, :, None] * last[:, None, :].conj()
    after = (np.exp(log_likelihood)[:, None] * last.reshape(-1, 4)).reshape(-1, 4, 4)
    return after.transpose(0, 2, 1) @ la.inv(SPANNING)


def maps_with_memory(case, loop, dt, x, memory, noise):
    """Maps of ρ over one step: (filter's output x, increment that leaves the delay line, increment of this step).

    `x` and the increments `noise` are in units of their standard deviations without a signal.  Earlier steps prepare
    what the loop remembers; that they act on ρ as well is taken back, since the maps can be inverted.
    """
    kind, phase = PROPORTIONAL[case][2], PROPORTIONAL[case][4]
    points, weights = noise
    across, shares = (points, weights) if kind == "heterodyne" else (np.zeros(1), np.ones(1))  # not fed back
    current = np.zeros((len(x), len(points), len(points), len(across), memory.delay + 2), dtype=complex)
    current[..., 0] = (memory.spread * x / (1 - memory.decay))[:, None, None, None]
    current[..., 1] = memory.unit * points[:, None, None]
    current[..., -1] = memory.unit * (points[:, None] + 1j * across)  # without delay, it also is the one that leaves
    if kind == "heterodyne":
        current *= np.exp(1j * phase)
    maps = maps_along(case, loop, dt, current.reshape(-1, memory.delay + 2)).reshape(*current.shape[:-1], 4, 4)
    earlier = current[:, :, 0, 0, :-1]
    undone = np.linalg.inv(maps_along(case, loop, dt, earlier.reshape(-1, memory.delay + 1)))
    return (maps * shares[:, None, None]).sum(axis=3) @ undone.reshape(len(x), -1, 1, 4, 4)


class Memory(NamedTuple):
    """What a loop remembers, in steps; and standard deviations without a signal."""

    delay: int
    decay: float  # of the filter's output in a step
    unit: float  # of the current
    spread: float  # of the filter's output
    orders: int  # Hermite polynomials for its law


def memory_of(loop, kind, dt, orders):
    unit = np.sqrt((1.0 if kind == "homodyne" else 0.5) / dt)
    if loop.bandwidth is None:
        return Memory(round(loop.delay / dt), 0.0, unit, unit, 1)
    decay = np.exp(-loop.bandwidth * dt)
    return Memory(round(loop.delay / dt), decay, unit, unit * np.sqrt((1 - decay) / (1 + decay)), orders)


def averages(case, loop, dt, steps, rho, orders=6):
    """E ρ after each step, deterministic: E[h_n(x)ρ] for every content of the delay line is carried from step to step.

    x: the filter's output, h_n its Hermite polynomials; increments take three values, which average polynomials of
    degree five exactly, as in `average_of_steps`.
    """
    memory = memory_of(loop, PROPORTIONAL[case][2], dt, orders)
    points, weights = roots_hermitenorm(3)
    weights = weights / weights.sum()
    x, w = roots_hermitenorm(memory.orders + 2 if memory.orders > 1 else 1)
    maps = maps_with_memory(case, loop, dt, x, memory, (points, weights))
    later = memory.decay * x[:, None] + (1 - memory.decay) * memory.unit / memory.spread * points
    before, behind = normalized_hermite(x, memory.orders), normalized_hermite(later, memory.orders)
    size = 4 * memory.orders
    step = np.einsum("x,e,pxl,qx,xleij->elpiqj", w / w.sum(), weights, behind, before, maps).reshape(3, 3, size, size)
    state = np.zeros((3**memory.delay, size), dtype=complex)  # newest increment first; the middle of three values is 0
    state[3**memory.delay // 2] = np.kron(normalized_hermite(np.zeros(1), memory.orders)[:, 0], rho.reshape(-1))
    out = []
    for _ in range(steps):
        if memory.delay == 0:
            state = np.einsum("eepq,kq->kp", step, state)
        else:
            state = np.tensordot(step, state.reshape(-1, 3, size), axes=([1, 3], [1, 2]))
            state = state.transpose(0, 2, 1).reshape(-1, size)
        out.append(state[:, :4].sum(axis=0).reshape(2, 2))
    return np.array(out)


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_carrying_the_memory_along__is_the_average_over_all_records(case):
    kind, phase, level = PROPORTIONAL[case][2], PROPORTIONAL[case][4], PROPORTIONAL[case][5]
    system, unraveling = PROPORTIONAL[case][:2]
    dt, steps = 0.01, 5 if kind == "homodyne" else 3
    ket = np.array([0.6, 0.8j])
    for loop in ({"delay": 0.01, "bandwidth": 40.0}, {"delay": 0.02}, {"bandwidth": 40.0}):
        loop = loop_of(kind, phase, **loop)
        every = average_of_steps(system, unraveling, dt * np.arange(steps + 1), ket, 3, loop, level)
        start = np.outer(ket, ket.conj())
        # P(dt) between two steps is P(dt/2)² up to third order; the rules for two quadratures are not the same
        assert trace_norm(averages(case, loop, dt, steps, start)[-1] - every) < 2e-7
    for broken in ({"gain": -loop.gain}, {"delay": dt}, {"bandwidth": 20.0}):  # the last one has a filter, no delay
        wrong = averages(case, replace(loop, **broken), dt, steps, start)[-1]
        assert trace_norm(wrong - every) > 1e-4


def filtered_master_equation(system, loop, kind, efficiency, phase, orders):
    """Matrix of d/dt E[h_n(x)ρ], the filter's output being x √(B part/2): from dy = B(I − y)dt and Itô's rule alone.

    dσ_n/dt = 𝓛σ_n − nBσ_n + √(2 B part n) (cσ + σc†)_{n−1} − i gain √(B part/2) [F, √(n+1) σ_{n+1} + √n σ_{n−1}].
    """
    lowered = system.lower()
    L = liouvillian(lowered.H.toarray(), [c.toarray() for c in lowered.channels.values()])
    c = np.sqrt(efficiency) * np.exp(-1j * phase) * lowered.channels["loss"].toarray()
    f = lowered.operator(loop.F, "F").toarray()
    one = np.eye(len(f))
    commutator = np.kron(f, one) - np.kron(one, f.T)
    gathered = np.kron(c, one) + np.kron(one, c.conj())
    rate = loop.bandwidth * (1.0 if kind == "homodyne" else 0.5)
    up = np.diag(np.sqrt(np.arange(1.0, orders)), -1)
    return (
        np.kron(np.eye(orders), L)
        - loop.bandwidth * np.kron(np.diag(np.arange(orders)), np.eye(len(L)))
        + np.sqrt(2 * rate) * np.kron(up, gathered)
        - 1j * loop.gain * np.sqrt(rate / 2) * np.kron(up + up.T, commutator)
    )


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_filtered_feedback_follows_its_master_equation(case):
    """At a bandwidth as slow as the system itself."""
    system, _, kind, efficiency, phase, _ = PROPORTIONAL[case]
    duration, steps, orders = 1.0, np.array([20, 40, 80]), 8
    loop = loop_of(kind, phase, bandwidth=3.0)
    start = np.kron(normalized_hermite(np.zeros(1), orders)[:, 0], RHO.reshape(-1))
    found = [averages(case, loop, duration / n, n, RHO, orders)[-1] for n in steps]

    def errors(**changes):
        L = filtered_master_equation(system, replace(loop, **changes), kind, efficiency, phase, orders)
        expected = (la.expm(duration * L) @ start)[:4].reshape(2, 2)
        return np.array([trace_norm(rho - expected) for rho in found])

    good = errors()
    order = fitted_order(duration / steps, good)
    wrong = {name: errors(**{name: value})[-1] for name, value in (("gain", -0.7), ("bandwidth", 4.0))}
    print(f"filter, {case}: {good}, order {order:.2f}; sign of the gain, bandwidth of 4: {wrong}")
    assert 0.8 < order < 2.3
    assert good[-1] < 1e-3
    assert wrong["gain"] > 0.05
    assert wrong["bandwidth"] > 5e-3


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_delayed_and_filtered_feedback_tends_to_the_master_equation(case):
    """As delay + 1/bandwidth falls, and to nothing else when it is extrapolated to 0."""
    system, _, kind, efficiency, phase, _ = PROPORTIONAL[case]
    late = np.array([0.1, 0.05, 0.025])
    found = [
        averages(case, loop_of(kind, phase, delay=e / 2, bandwidth=2 / e), e / 6, round(6 / e), RHO)[-1] for e in late
    ]

    def errors(told):
        """Of the three, and of the limit by the first two and by the last two."""
        L = master_equation(system, loop_of(kind, phase, told), kind, efficiency, phase)
        off = [rho - (la.expm(L) @ RHO.reshape(-1)).reshape(2, 2) for rho in found]
        limits = [2 * b - a for a, b in pairwise(off)]
        return np.array([trace_norm(x) for x in off]), np.array([trace_norm(x) for x in limits])

    good, limits = errors(0.7)
    print(f"delay and filter, {case}: {good}, ratios {good[:-1] / good[1:]}; limits {limits}")
    np.testing.assert_allclose(good[:-1] / good[1:], 2, atol=0.15)
    assert 3.5 < limits[0] / limits[1] < 4.5  # the next order
    assert limits[1] < 4e-4
    for told in (-0.7, 0.0, 0.75):
        wrong, elsewhere = errors(told)
        print(f"gain {told}: {wrong}, limit {elsewhere[1]:.4f}")
        assert elsewhere[1] > 20 * limits[1]


@pytest.mark.parametrize("case", PROPORTIONAL)
def test_ensembles_with_delayed_and_filtered_feedback(case):
    """`simulate`, on records of its own, against the average over all records: at the same step, however wide."""
    system, unraveling, kind, _, phase, level = PROPORTIONAL[case]
    dt, steps, names = 0.05, np.array([10, 20, 30, 40]), list(system.observables)
    loop = loop_of(kind, phase, gain=1.0, delay=0.15, bandwidth=5.0)
    data = ba.simulate(
        system, unraveling, dt * np.arange(41), 4096, seed=11, level=level, observables=names, feedback=loop, step=dt,
        save_every=10, progress=False,
    )  # fmt: skip
    found = np.stack([data[f"expect_{n}"].values[:, 1:] for n in names], axis=-1)
    lowered = system.lower()
    psi = lowered.state()
    rho = np.outer(psi, psi.conj())
    operators = [lowered.observables[n].toarray() for n in names]

    def miss(loop):
        means = np.einsum("oij,tji->to", operators, averages(case, loop, dt, 40, rho)[steps - 1]).real
        return abs(z_scores(found, means)).max()

    off = miss(loop)
    wrong = [miss(replace(loop, **change)) for change in ({"gain": -1.0}, {"delay": 0.0}, {"bandwidth": None})]
    print(f"ensemble with delay and filter, {case}: z {off:.2f}; sign, no delay, no filter: {np.round(wrong, 1)}")
    assert off < LIMIT
    assert min(wrong) > CONTROL


# === along a record: a cavity whose coherent state follows the fed-back current

KAPPA, LEVELS = 1.0, 16
CAVITY = damped_cavity(kappa=KAPPA, levels=LEVELS)
a = qutip.destroy(LEVELS)
DISPLACE = (1j * (a.dag() - a)).full()  # H = s i(a† − a): α̇ = s


def cavity(**changes):
    return ba.Feedback("loss", DISPLACE, **{"gain": -0.3, **changes})


def follow(times, current, alpha, gain, delay=0.0, bandwidth=None):
    """α at the edges: α̇ = −κα/2 + gain y, y the delayed and filtered current, constant over bins.

    Exact for kicks in the middles of bins, which is what P(dt/2) D F P(dt/2) does.
    """
    dt = times[1] - times[0]
    shift = round(delay / dt)
    past = np.concatenate([np.zeros(shift), current])[: len(current)]
    y, out = 0.0, [alpha]
    for I in past:
        push = I
        if bandwidth is not None:
            decay = np.exp(-bandwidth * dt)
            held = (1 - decay) / (bandwidth * dt)
            push, y = held * y + (1 - held) * I, decay * y + (1 - decay) * I
        alpha = np.exp(-KAPPA * dt / 4) * (np.exp(-KAPPA * dt / 4) * alpha + gain * push * dt)
        out.append(alpha)
    return np.array(out)


LOOPS = {
    "immediate": {},
    "delayed": {"delay": 0.5},
    "filtered": {"bandwidth": 2.0},
    "delayed and filtered": {"delay": 0.3, "bandwidth": 4.0},
}


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("case", LOOPS)
def test_a_coherent_state_follows_a_given_record(case, level):
    """The innovation changes no coherent state, so that only feedback moves it, whatever the record is."""
    times = np.linspace(0, 2, 161)
    middle = 0.5 * (times[1:] + times[:-1])
    currents = np.stack([np.sin(3 * middle), 1 + 0 * middle, np.random.default_rng(0).normal(size=160)])
    start = qutip.coherent(LEVELS, 0.8 + 0.3j).full()[:, 0]
    start /= la.norm(start)
    loop = cavity(**LOOPS[case])
    states, _ = along(CAVITY, ba.Homodyne("loss"), times, currents[:, None], start, loop, level)
    if level == "ket":
        found = np.einsum("kti,ij,ktj->kt", states.conj(), a.full(), states)
    else:
        found = np.einsum("ij,ktji->kt", a.full(), states)
    expected = np.array([follow(times, c, 0.8 + 0.3j, loop.gain, loop.delay, loop.bandwidth) for c in currents])
    assert abs(found - expected).max() < 2e-3  # of the step; 5e-3 at four times this step
    for broken in ({"gain": -loop.gain}, {"delay": loop.delay + 0.2}, {"bandwidth": 1.0}):
        changed = {"gain": loop.gain, "delay": loop.delay, "bandwidth": loop.bandwidth, **broken}
        wrong = np.array([follow(times, c, 0.8 + 0.3j, **changed) for c in currents])
        assert abs(found - wrong).max() > 0.03


def delay_equation(t_end, alpha, gain, delay, n=2000):
    """α̇ = −κα/2 + 2 gain √κ Re α(t − delay), midpoints on a fine grid; at multiples of delay/n."""
    h = delay / n
    x, old = [alpha], [0.0] * n
    for k in range(round(t_end / h)):
        late = 0.5 * (old[k] + (old[k + 1] if k + 1 < n else x[k + 1 - n]))
        push = 2 * gain * np.sqrt(KAPPA) * np.real(late)
        half = x[-1] + 0.5 * h * (-0.5 * KAPPA * x[-1] + push)
        x.append(x[-1] + h * (-0.5 * KAPPA * half + push))
        old.append(x[k])
    return np.array(x), h


def test_delayed_feedback_obeys_the_delay_equation():
    """E α of records that the loop has made itself; the default step."""
    times = np.linspace(0, 3, 7)
    loop = cavity(gain=-0.4, delay=0.5)
    start = {"a": ba.coherent(1.2)}
    data = ba.simulate(
        CAVITY, ba.Homodyne("loss"), times, 1024, seed=5, observables={"alpha": a.full()}, initial=start,
        feedback=loop, progress=False,
    )  # fmt: skip
    assert data.attrs["step"] <= loop.delay / 20 + 1e-12
    found = data["expect_alpha"].values[:, 2:].real  # before the delay is over nothing is random

    def miss(delay):
        x, h = delay_equation(3.0, 1.2, -0.4, delay)
        return abs(z_scores(found, x[np.round(times[2:] / h).astype(int)].real)).max()

    print(f"delay equation: z {miss(0.5):.2f}, delay of 0.02 instead {miss(0.02):.1f}")
    assert miss(0.5) < LIMIT
    assert miss(0.02) > CONTROL


# === the same from `condition`; reproducibility; steps; arguments


@pytest.mark.filterwarnings("ignore:The bins of the record:RuntimeWarning")  # what feedback does inside them
@pytest.mark.parametrize("case", [*PROPORTIONAL, "delayed", "filtered"])
def test_condition_repeats_simulate(case):
    if case in PROPORTIONAL:
        system, unraveling, kind, _, phase, level = PROPORTIONAL[case]
        loop = loop_of(kind, phase)
    else:
        system, unraveling, level = QUBIT, ba.Homodyne("loss", efficiency=0.6), "density"
        loop = ba.Feedback("loss", F, gain=0.7, **LOOPS[case])
    times = np.linspace(0, 0.5, 51)
    if case == "delayed":
        times = np.linspace(0, 1, 101)
    options = {"level": level, "step": 0.01, "states": True, "progress": False}
    data = ba.simulate(system, unraveling, times, 5, seed=1, feedback=loop, **options)
    again = ba.condition(system, unraveling, data, feedback=loop, seed=0, max_error=1.0, **options)
    assert abs(again["state"].values - data["state"].values).max() < 1e-10
    without = ba.condition(system, unraveling, data, seed=0, max_error=1.0, **options)
    assert abs(without["state"].values - data["state"].values).max() > 0.05


@pytest.mark.filterwarnings("ignore:The bins of the record:RuntimeWarning")  # what feedback does inside them
def test_condition_on_wide_bins_feeds_back_after_the_measurement(monkeypatch):
    """A bin's sum spread over steps would be fed back before half of its measurement, whatever the bins' width."""
    detector, loop = ba.Homodyne("loss"), ba.Feedback("loss", F, gain=-0.8)
    times = np.linspace(0, 1, 2001)
    data = ba.simulate(BARE, detector, times, 32, seed=1, observables=["sz"], feedback=loop, step=1.0, progress=False)

    def error(n):
        record = {"times": times[::n], "current_loss": data["current_loss"].values.reshape(32, -1, n).mean(axis=2)}
        again = ba.condition(
            BARE, detector, record, observables=["sz"], feedback=loop, step=5e-4, seed=0, max_error=1.0, progress=False
        )
        difference = again["expect_sz"].values - data["expect_sz"].values[:, ::n]
        return np.sqrt(np.mean(difference**2)), again.attrs["bin_error"]

    found, told = error(4)
    assert found < 0.01
    assert told < 0.02
    monkeypatch.setattr(ba.Feedback, "immediate", False)
    spread, _ = error(4)
    print(f"bins of four steps: error {found:.4f}, told {told:.4f}; spread evenly {spread:.3f}")
    assert spread > 5 * found


def test_condition_refuses_bins_wider_than_the_delay():
    times = np.linspace(0, 1, 11)
    loop = ba.Feedback("loss", F, delay=0.05)
    record = {"times": times, "current_loss": np.zeros(10)}
    with pytest.raises(ValueError, match="no wider than the delay"):
        ba.condition(BARE, ba.Homodyne("loss"), record, feedback=loop, step=0.01, progress=False)


def test_bits_do_not_depend_on_jobs_or_blocks(monkeypatch):
    from backaction.trajectories import ensemble

    loops = [cavity(delay=0.1), cavity(bandwidth=2.0, gain=0.1)]

    def run(**options):
        return ba.simulate(
            CAVITY, ba.Homodyne("loss"), np.linspace(0, 1, 51), 20, seed=2, feedback=loops, progress=False, **options
        )["current_loss"].values

    one = run()
    assert np.array_equal(one, run(n_jobs=2))
    monkeypatch.setattr(ensemble, "BLOCK_WORK", 1e5)
    assert np.array_equal(one, run())


def test_the_default_step_is_short_against_feedback():
    times = np.linspace(0, 20, 3)

    def step(**changes):
        loop = ba.Feedback("loss", q.sx, **changes) if changes else None
        return ba.simulate(QUBIT, ba.Homodyne("loss"), times, 1, seed=0, feedback=loop, progress=False).attrs["step"]

    assert step(gain=0.01) < 0.3 * step()  # a scheme of first order
    loop = ba.Feedback("loss", F)
    fine = ba.simulate(QUBIT, ba.Homodyne("loss"), np.linspace(0, 0.01, 11), feedback=loop, progress=False)
    assert fine.attrs["step"] == pytest.approx(0.001)  # bins that are short enough are not divided
    assert step(gain=10.0) == pytest.approx(0.1 * 0.25 / 10.0**2 * 4, rel=0.1)  # sx = σx/2: ‖F‖²/d = 1/4
    assert step(gain=0.1, bandwidth=100.0) < 0.1 / 100
    assert step(gain=0.1, delay=0.02) <= 0.001


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ba.Feedback(3, F), "Argument `detector`"),
        (lambda: ba.Feedback("loss", F, gain=np.inf), "Argument `gain`"),
        (lambda: ba.Feedback("loss", F, phase=None), "Argument `phase`"),
        (lambda: ba.Feedback("loss", F, delay=-1.0), "Argument `delay`"),
        (lambda: ba.Feedback("loss", F, bandwidth=0.0), "Argument `bandwidth`"),
        (lambda: run_one(ba.Feedback("loss", q.sm)), "Argument `F` must be Hermitian"),
        (lambda: run_one(ba.Feedback("pump", q.sx)), "Argument `feedback` must name"),
        (lambda: run_one(q.sx), "Argument `feedback` must be"),
        (lambda: run_one(ba.Feedback("loss", q.sx, delay=0.02), step=0.05), "Argument `delay` must be a number"),
        (lambda: run_one(ba.Feedback("loss", q.sx, delay=0.1), times=[0, 0.1, 0.3]), "Argument `times`"),
        (lambda: run_one(ba.Feedback("loss", q.sx), unraveling=ba.QuantumJumps("loss")), "Argument `feedback`"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def run_one(loop, times=(0.0, 0.1, 0.2), unraveling=None, **options):
    return ba.simulate(
        QUBIT, unraveling or ba.Homodyne("loss"), np.array(times), 1, seed=0, feedback=loop, progress=False, **options
    )
