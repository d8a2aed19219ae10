"""One step at a time: bias by quadrature, completeness, strong order on refined noise, positivity, purity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg as la
import scipy.sparse as sp

from backaction import Heterodyne, Homodyne, QuantumJumps, Rouchon, simulate
from backaction import System as MatrixSystem
from backaction.systems import cascaded, damped_cavity, driven_qubit, qnd_qubit, spin, two_spins, vdp
from backaction.trajectories import plan as plans
from backaction.trajectories.kernels import density, ket
from backaction.trajectories.plan import assign, ket_plan
from backaction.trajectories.propagators import (
    completeness,
    exact_dual,
    generator,
    kraus,
    rouchon_remainder,
    slot_dual,
    slot_operators,
)
from trajectories import one_step
from trajectories.one_step import average_step, exact_map

QUBIT = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.7)
SPIN = spin(gamma_plus=0.8, gamma_minus=1.0, omega=0.9)
TWO_SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
VDP = vdp(kappa1=3.0, kappa2=1.0, kappa=1.0, omega=1.0, levels=6)


def random_state(d, seed=0):
    """A mixed state without symmetry."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    rho = X @ X.conj().T
    return rho / np.trace(rho).real


def random_system(d, seed, scale):
    """H and four channels a, b, c, d of matrices without any structure, rates about `scale`."""
    rng = np.random.default_rng(seed)

    def matrix():
        return rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))

    H = matrix()
    channels = {name: np.sqrt(scale / d) * matrix() for name in "abcd"}
    return MatrixSystem(scale * (H + H.conj().T), channels, initial=random_state(d, seed))


# === bias: the average over the noise against e^{𝓛dt}


def local_errors(system, unraveling, dts, nodes=7, steps=1):
    """Trace norm of (average of one step − e^{𝓛dt})ρ."""
    lowered = system.lower()
    rho = random_state(lowered.dim)
    out = []
    for dt in dts:
        average = average_step(lowered, unraveling, dt, rho, nodes=nodes, steps=steps)
        exact = exact_map(lowered, steps * dt, rho)
        out.append(abs(la.eigvalsh(average - exact)).sum())
    return np.array(out)


def order(dts, errors):
    """Slope of log(error) against log(dt)."""
    return np.polyfit(np.log(dts), np.log(errors), 1)[0]


BIAS = {
    "qubit, homodyne, phase, efficiency": (QUBIT, Homodyne("loss", phase=0.7, efficiency=0.5), 0.04, 7, 1),
    "qubit, heterodyne": (QUBIT, Heterodyne("loss"), 0.04, 7, 1),
    "spin, homodyne, unwatched pump": (SPIN, Homodyne("loss", phase=0.3), 0.04, 7, 1),
    "two spins, homodyne and heterodyne": (
        TWO_SPINS,
        Homodyne("loss_a", phase=0.4, efficiency=0.8) + Heterodyne("loss_b"),
        0.04,
        5,
        1,
    ),
    # measurements that do not commute: their order alternates, so two steps belong together
    "two spins, homodyne of loss and pump": (TWO_SPINS, Homodyne("loss_a", "pump_a"), 0.02, 7, 2),
    "two spins, homodyne and heterodyne that do not commute": (
        TWO_SPINS,
        Homodyne("loss_a") + Heterodyne("coupling"),
        0.02,
        4,
        2,
    ),
    "vdp, heterodyne": (VDP, Heterodyne("loss"), 0.008, 7, 1),
    "vdp, homodyne": (VDP, Homodyne("loss", phase=0.2), 0.008, 7, 1),
}


@pytest.mark.parametrize("case", BIAS)
def test_the_average_of_a_step_has_local_order_three(case):
    system, unraveling, dt, nodes, steps = BIAS[case]
    dts = dt / 2.0 ** np.arange(3)
    errors = local_errors(system, unraveling, dts, nodes, steps)
    measured = order(dts, errors)
    print(f"{case}: {errors}, order {measured:.3f}")
    assert 2.7 <= measured <= 3.6
    assert errors[-1] < 2e-5


def test_the_quadrature_is_converged():
    lowered = QUBIT.lower()
    rho = random_state(2)
    unraveling = Homodyne("loss", phase=0.7, efficiency=0.5)
    few, many = (average_step(lowered, unraveling, 0.02, rho, nodes=n) for n in (7, 11))
    assert abs(few - many).max() < 1e-10  # the least bias measured above is 1e3 times larger


@pytest.mark.parametrize("broken", ["no second-order Kraus operator", "no K1†K2 in the mean", "dropped channel"])
def test_a_broken_step_does_not_have_local_order_three(broken, monkeypatch):
    system, unraveling = SPIN, Heterodyne("loss")
    if broken == "no second-order Kraus operator":
        system, unraveling = VDP, Heterodyne("loss")

        def first_order(c, dt):
            K = kraus(c, dt)
            return K[0], K[1], 0 * K[2]

        monkeypatch.setattr(plans, "kraus", first_order)
    elif broken == "no K1†K2 in the mean":
        system, unraveling = VDP, Heterodyne("loss")
        whole = one_step.density_plan

        def short_mean(*args):
            plan = whole(*args)
            K0, K1, _ = kraus(system.lower().channels["loss"], plan.dt)
            pack = plans._Pack(plan.ptr.shape[1] - 1)
            pack.add(sp.csr_array(K0.conj().T @ K1))
            ptr, col, re, im = pack.arrays()
            moments = plan.moments.copy()
            moments[:, 0] = plan.ptr.shape[0]
            return plan._replace(
                ptr=np.concatenate([plan.ptr, ptr + plan.col.size]),
                col=np.concatenate([plan.col, col]),
                re=np.concatenate([plan.re, re]),
                im=np.concatenate([plan.im, im]),
                moments=moments,
            )

        monkeypatch.setattr(one_step, "density_plan", short_mean)
    else:
        whole_assign = one_step.assign

        def without_unread(*args, **options):
            roles = whole_assign(*args, **options)
            return plans.Roles(roles.diffusive, roles.counted, [], roles.currents, roles.counters)

        monkeypatch.setattr(one_step, "assign", without_unread)
    dts = (0.008 if system is VDP else 0.04) / 2.0 ** np.arange(3)
    measured = order(dts, local_errors(system, unraveling, dts))
    print(f"{broken}: order {measured:.3f}")
    assert measured < 2.3


# === completeness

COMPLETE = {
    "qubit": QUBIT,
    "two spins": two_spins(0.5, 1.0, 3.0, 0.5),
    "vdp": VDP,
    "cascaded": cascaded(1.0, 1.0, rabi=0.5),
}


@pytest.mark.parametrize("dt", [1e-3, 1e-2, 1e-1, 1.0])
@pytest.mark.parametrize("name", COMPLETE)
def test_measurement_operators_are_complete_at_any_step(name, dt):
    lowered = COMPLETE[name].lower()
    one = sp.eye_array(lowered.dim)
    for c in lowered.channels.values():
        assert abs(completeness(kraus(c, dt), dt) - one).max() < 1e-12


def test_without_restoring_the_defect_is_of_third_order():
    c = VDP.lower().channels["loss"]
    dts = np.array([0.02, 0.01, 0.005])
    defects = []
    for dt in dts:
        root = la.expm(-0.25 * dt * (c.conj().T @ c).toarray())
        K = [sp.csr_array(root @ x @ root) for x in (np.eye(6), c.toarray(), 0.5 * (c @ c).toarray())]
        defects.append(abs(completeness(K, dt) - sp.eye_array(6)).max())
    assert defects[-1] > 1e-8
    assert order(dts, defects) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("dt", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("name", COMPLETE)
def test_slots_have_the_exact_probability(name, dt):
    """P†(1) of the density matrix' slot is e^{𝓛†t}(1): 1 without counters, the no-click probability with."""
    lowered = COMPLETE[name].lower()
    L = list(lowered.channels.values())
    d = lowered.dim
    one = sp.eye_array(d, dtype=complex, format="csr")
    for counted, unread in (([], L), (L[:1], L[1:]), (L[1:], L[:1]), (L, [])):
        A = generator(lowered.H, unread + counted)
        first, last = slot_operators(A, unread, dt)
        dense = np.kron(A.toarray(), np.eye(d)) + np.kron(np.eye(d), A.toarray().conj())
        for operator in unread:
            dense = dense + np.kron(operator.toarray(), operator.toarray().conj())
        exact = (la.expm(dense * dt).conj().T @ np.eye(d).reshape(-1)).reshape(d, d)
        assert abs(exact_dual(A, unread, dt) - exact).max() < 1e-12
        # entries below 1e-10 are dropped from the operators
        assert abs(slot_dual(one, first, last, unread, dt) - exact).max() < 1e-9
        if not counted:
            assert abs(exact - np.eye(d)).max() < 1e-12


def test_slots_have_the_exact_probability__of_clicks_that_are_rare_against_H():
    turns, rate, dt = 1e4, 5e-9, 0.01
    lowered = MatrixSystem(np.diag([turns, -turns]), {"loss": np.sqrt(rate) * np.array([[0, 1], [0, 0]])}).lower()
    A = generator(lowered.H, list(lowered.channels.values()))
    first, last = slot_operators(A, [], dt)
    lost = 1 - slot_dual(sp.eye_array(2, dtype=complex, format="csr"), first, last, [], dt).toarray()[1, 1].real
    assert lost == pytest.approx(rate * dt, abs=1e-14)
    with pytest.raises(ValueError, match="rotating frame"):
        slot_operators(1e6 * A, [], 1.0)


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("scheme", [None, Rouchon()])
def test_weak_couplings_stay(level, scheme):
    """All that couples two states may be far below what a step of the strong channels resolves."""
    H, c = np.zeros((3, 3)), np.zeros((3, 3))
    H[0, 1] = H[1, 0] = 1e-4
    c[0, 2] = 1e3
    system, options = MatrixSystem(H, {"c": c}, initial=[1.0, 0, 0]), {"states": True, "level": level}
    data = simulate(system, Homodyne("c"), [0, 1e-2], 1, seed=1, scheme=scheme, progress=False, **options)
    assert data.attrs["step"] < 1e-6
    state = data["state"].values[0, -1]
    coherence = state[0].conj() * state[1] if level == "ket" else state[1, 0]
    assert abs(coherence + 1e-6j) < 1e-9


# === strong order: one Brownian path, refined


def follow(lowered, unraveling, duration, steps, normals, rho):
    """Conditional states of four paths after `steps` steps; normals (fine steps, 2 channels, 4) are the path."""
    roles = plans.assign(lowered, unraveling, hidden=False)
    plan = plans.density_plan(lowered, roles, [], duration, duration / steps)
    assert plan.n_sub == steps
    grouped = normals.reshape(steps, -1, *normals.shape[1:])
    used = [2 * c + i for c, kind in enumerate(plan.kinds) for i in range(1 + kind)]
    noise = (grouped.sum(axis=1) / np.sqrt(grouped.shape[1]))[:, used].reshape(-1, 4)
    work = density.density_work(plan)
    record = np.zeros((max(1, len(plan.kinds)), 2, 4))
    one_step.put_state(plan, work, rho)
    density.slot(plan, work, work.place[1], 1, 0.5 * plan.dt)
    work.trace[:] = work.trial
    for s in range(steps):
        channels = range(len(plan.kinds))
        for channel in reversed(channels) if plan.alternate and s % 2 else channels:
            work.place[1] = density.diffuse(plan, work, work.place[1], noise, s, channel, record)
        last = s + 1 == steps
        density.slot(plan, work, work.place[1], 1 if last else 0, 0.5 * plan.dt if last else plan.dt)
        work.trace[:] = work.trial
    re, im = density.elements(work, lowered.dim)
    states = (re + 1j * im).transpose(2, 0, 1)
    return states / np.trace(states, axis1=1, axis2=2)[:, None, None]


def strong_order(system, unraveling, duration, levels=4, coarsest=32, batches=16, same_path=True):
    """Order and errors √E‖ρ(dt) − ρ(dt/4)‖², dt halved `levels` − 1 times."""
    lowered = system.lower()
    rng = np.random.default_rng(1)
    rho = np.eye(lowered.dim, dtype=complex) / lowered.dim
    channels = len(plans.assign(lowered, unraveling, hidden=False).diffusive)
    counts = coarsest * 2 ** np.arange(levels)
    squares = np.zeros(levels)
    for _ in range(batches):
        normals = rng.normal(size=(4 * counts[-1], 2 * channels, 4))
        others = normals if same_path else rng.normal(size=normals.shape)
        states = {n: follow(lowered, unraveling, duration, n, normals, rho) for n in counts}
        quarter = {n: follow(lowered, unraveling, duration, 4 * n, others, rho) for n in counts}
        squares += [(abs(states[n] - quarter[n]) ** 2).sum() for n in counts]
    errors = np.sqrt(squares / (4 * batches))
    return order(duration / counts, errors), errors


STRONG = {
    "qubit, homodyne, efficiency": (QUBIT, Homodyne("loss", phase=0.7, efficiency=0.5), 2.0, 1.0),
    "qubit, heterodyne": (QUBIT, Heterodyne("loss"), 2.0, 1.0),
    "qnd qubit": (qnd_qubit(1.0), Homodyne("probe", efficiency=0.5), 1.0, 1.0),
    "spin, homodyne, unwatched pump": (SPIN, Homodyne("loss", phase=0.3), 2.0, 1.0),
    "two spins, commuting": (TWO_SPINS, Homodyne("loss_a", phase=0.4) + Heterodyne("loss_b"), 2.0, 1.0),
    "cavity": (damped_cavity(1.0, omega=0.5, drive=0.4, levels=6), Homodyne("loss"), 2.0, 1.0),
    # without Lévy areas, channels that do not commute are left with order 1/2
    "two spins, not commuting": (TWO_SPINS, Homodyne("loss_a", "pump_a"), 2.0, 0.5),
}


@pytest.mark.parametrize("case", STRONG)
def test_a_step_against_a_quarter_of_it_on_one_path(case):
    system, unraveling, duration, expected = STRONG[case]
    measured, errors = strong_order(system, unraveling, duration)
    print(f"{case}: {errors}, order {measured:.3f}")
    assert measured == pytest.approx(expected, abs=0.25)
    assert errors[-1] < (0.01 if expected == 1.0 else 0.1)


def test_another_path_does_not_converge():
    measured, errors = strong_order(QUBIT, Heterodyne("loss"), 2.0, levels=3, batches=8, same_path=False)
    assert measured < 0.25
    assert errors[-1] > 0.1


# === positivity and purity, from `simulate`

COARSE = {
    "homodyne and heterodyne, efficiency": Homodyne("a", efficiency=0.5) + Heterodyne("b"),
    "homodyne and a counter": Homodyne("a", phase=1.0) + QuantumJumps("b", efficiency=0.5, dark_rate=0.3),
    "three heterodyne": Heterodyne("a", "b", "c"),
    "complete": Homodyne("a", "b") + Heterodyne("c", "d"),
}


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("case", COARSE)
def test_density_matrices_are_positive_at_absurd_steps(case, scale):
    """Rates of 1 to 10, a step of 1: wrong by far, and said so, but states all the same."""
    system = random_system(3, seed=1, scale=scale)
    with pytest.warns(RuntimeWarning, match="coarse"):
        data = simulate(
            system,
            COARSE[case],
            np.linspace(0, 20, 21),
            16,
            seed=0,
            level="density",
            step=1.0,
            states=True,
            progress=False,
        )
    states = data["state"].values
    lowest = np.linalg.eigvalsh(states).min()
    print(f"{case}: smallest eigenvalue {lowest:.2e}")
    assert lowest > -1e-14
    assert abs(np.trace(states, axis1=2, axis2=3) - 1).max() < 1e-14
    assert abs(states - states.conj().swapaxes(2, 3)).max() == 0.0


@pytest.mark.parametrize("step", [None, 0.005])
def test_density_matrices_are_positive_at_sensible_steps(step):
    system = random_system(3, seed=2, scale=1.0)
    unraveling = Homodyne("a") + Heterodyne("b") + QuantumJumps(("c", "d"), dark_rate=0.2)
    options = {"seed": 0, "level": "density", "step": step, "states": True, "progress": False}
    states = simulate(system, unraveling, np.linspace(0, 5, 51), 16, **options)["state"].values
    assert np.linalg.eigvalsh(states).min() > -1e-14
    assert abs(np.trace(states, axis1=2, axis2=3) - 1).max() < 1e-14


WATCH_ALL = {
    "homodyne": Homodyne("loss", "pump", phase=0.3),
    "heterodyne": Heterodyne("loss", "pump"),
    "jumps": QuantumJumps("loss", "pump"),
    "mixed": Homodyne("loss", phase=0.3) + QuantumJumps("pump"),
}


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("case", WATCH_ALL)
def test_complete_runs_are_pure(case, level):
    data = simulate(
        SPIN,
        WATCH_ALL[case],
        np.linspace(0, 20, 201),
        16,
        seed=0,
        level=level,
        states=True,
        progress=False,
        observables=("sx", "sz"),
    )
    states = data["state"].values
    if level == "ket":
        purity = (abs(states) ** 2).sum(axis=-1) ** 2
    else:
        purity = np.einsum("tkij,tkji->tk", states, states).real
    assert data.attrs["complete"] == 1
    assert "expect_sz" in data  # the observer's own state, not a hidden one
    assert abs(purity - 1).max() < 1e-12


def test_incomplete_runs_are_not_pure():
    """The control: with one channel unread, or read in part, purity falls far below 1."""
    for unraveling in (Homodyne("loss"), Homodyne("loss", "pump", efficiency=0.9)):
        data = simulate(
            SPIN, unraveling, np.linspace(0, 5, 51), 16, seed=0, level="density", states=True, progress=False
        )
        states = data["state"].values
        assert np.einsum("tkij,tkji->tk", states, states).real.min() < 0.9
        assert data.attrs["complete"] == 0


def test_density_matrices_are_positive_where_counters_click_beside_currents():
    """Complete monitoring keeps ρ pure, so that a Taylor series cut early in the slot of a click would show."""
    unraveling = Homodyne("a") + QuantumJumps("b", "c", "d")
    lowest = []
    for seed in range(20):
        system = random_system(4, seed=seed, scale=2.0)
        psi = np.random.default_rng(seed).normal(size=4)
        options = {"seed": seed, "level": "density", "step": 0.01, "states": True, "progress": False}
        data = simulate(system, unraveling, np.linspace(0, 1, 11), 4, initial=psi / la.norm(psi), **options)
        assert data["click_time_b"].size > 0
        lowest.append(np.linalg.eigvalsh(data["state"].values).min())
    assert min(lowest) > -1e-14


def test_measurement_operators_do_not_depend_on_the_unit_of_time():
    """The same channel with rates in units of 1e-20: K1 √dt and K2 dt stay what they are."""
    c = damped_cavity(kappa=1.0, levels=6).lower().channels["loss"]
    for one, other, power in zip(kraus(c, 1e-2), kraus(1e-10 * c, 1e18), (0, 0.5, 1), strict=True):
        np.testing.assert_allclose((1e20**power * other).toarray(), one.toarray(), rtol=1e-9, atol=1e-12)


# === positivity where rounding is amplified


def lowest_eigenvalue_after_clicks():
    """Smallest eigenvalue while counters watch a system of very different rates for long, in wide bins."""
    rng = np.random.default_rng([0, 199])
    x = [rng.normal(size=(6, 6)) + 1j * rng.normal(size=(6, 6)) for _ in range(3)]
    H = x[0] + x[0].conj().T
    system = MatrixSystem(H, {"c0": 0.8 * x[1], "c1": 0.04 * x[2]}, initial=np.eye(6)[0].astype(complex))
    unraveling = QuantumJumps("c1", dark_rate=0.36) + QuantumJumps("c0")
    data = simulate(
        system, unraveling, np.linspace(0, 24, 25), 64, seed=1, level="density", states=True, progress=False
    )
    return np.linalg.eigvalsh(data["state"].values).min()


def test_rounding_does_not_make_states_negative_after_many_clicks():
    assert lowest_eigenvalue_after_clicks() >= -1e-14


# === merged channels


def patterns():
    """Channels without structure, sparse, with empty rows; and ladder operators, whose elements are often alike."""
    rng = np.random.default_rng(8)
    out = {}
    for name, d, filled in (("dense", 5, 1.0), ("sparse", 11, 0.25), ("very sparse", 19, 0.08)):
        channels = rng.normal(size=(3, d, d)) + 1j * rng.normal(size=(3, d, d))
        out[name] = [0.5 * c * (rng.random((d, d)) < filled) for c in channels]
    a, b = np.kron(np.diag(np.arange(1, 4) ** 0.5, 1), np.eye(3)), np.kron(np.eye(4), np.diag([1, 2**0.5], 1))
    out["ladders"] = [0.3 * a.T, 0.4 * (a - b), 0.2 * b @ b]
    late = np.zeros((9, 9))
    late[6, 2] = late[8, 7] = 1.0
    out["dark"] = [0.8 * np.diag(np.arange(1, 9) ** 0.5, 1), 0.5 * np.diag(np.arange(1, 9) ** 0.5, -1), late]
    out["lowering"], out["raising"] = [np.diag([0.7], 1)] * 3, [np.diag([0.7], -1)] * 3
    return out


@pytest.mark.parametrize("name", patterns())
def test_a_merged_step_is_its_formula(name):
    """ψ → (K0 + X + ½X²)ψ with X = Σ c_j z_j, and records with their means: wherever the elements of X lie."""
    channels, dt = patterns()[name], 0.01
    d = len(channels[0])
    system = MatrixSystem(np.zeros((d, d)), {f"c{j}": c for j, c in enumerate(channels)})
    blind = 0.0 if name == "dark" else 1.0  # its zeros are stored
    unraveling = Homodyne("c0", phase=0.4) + Heterodyne("c1") + Heterodyne("c2", efficiency=blind)
    lowered = system.lower()
    roles = replace(assign(lowered, unraveling, hidden=False), unread=[])
    plan = ket_plan(lowered, roles, [], dt, dt, Rouchon())
    K0 = rouchon_remainder([(c, kind) for c, kind, _ in roles.diffusive], dt).toarray()
    work = ket.ket_work(plan)
    work.slots[:] = np.nan  # what is not computed must not be read
    rng = np.random.default_rng(9)
    psi = rng.normal(size=(ket.LANES, d)) + 1j * rng.normal(size=(ket.LANES, d))
    psi /= np.linalg.norm(psi, axis=1)[:, None]
    work.re.reshape(-1, ket.LANES)[:d] = psi.real.T
    work.im.reshape(-1, ket.LANES)[:d] = psi.imag.T
    normals = rng.normal(size=(5, ket.LANES))
    work.noise[:5] = normals
    work.place[0] = 0  # the noise is there
    current, after = np.zeros((ket.LANES, 3, 1), dtype=complex), np.zeros((1, ket.LANES, d), dtype=complex)
    ket.run_ket(
        plan, work, tuple(np.random.default_rng(0) for _ in range(ket.LANES)), 0.0, dt, 0, 0, 1, 1, True, current, 0,
        np.zeros((0, 1, ket.LANES), dtype=complex), after, np.zeros(4), np.zeros((4, 2), dtype=np.int64),
    )  # fmt: skip
    c = [np.exp(-0.4j) * channels[0], channels[1], blind * channels[2]]
    for lane in range(ket.LANES):
        x = np.sqrt(dt) * normals[:, lane]
        mean = [psi[lane].conj() @ L @ psi[lane] for L in c]
        dY = 2 * mean[0].real * dt + x[0]
        dZ = [mean[j] * dt + (x[2 * j - 1] + 1j * x[2 * j]) / np.sqrt(2) for j in (1, 2)]
        np.testing.assert_allclose(current[lane, :, 0] * dt, [dY, *dZ], atol=1e-14)
        X = dY * c[0] + np.conj(dZ[0]) * c[1] + np.conj(dZ[1]) * c[2]
        expected = (K0 + X + 0.5 * X @ X) @ psi[lane]
        np.testing.assert_allclose(after[0, lane], expected / np.linalg.norm(expected), atol=1e-13)
