"""The likelihood of records as a probability density, and how much a record of coarse bins knows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import qutip

import backaction as ba
from backaction.systems import damped_cavity, driven_qubit, two_spins
from physics.helpers import CONTROL, LIMIT, fitted_order, run, worst
from trajectories.given import click_nodes, noise_nodes

S = ba.Spin("s")
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
Homodyne, Heterodyne, Jumps = ba.Homodyne, ba.Heterodyne, ba.QuantumJumps


def qubit(rabi=2.0, detuning=0.3, gamma=1.0, dephasing=0.3):
    """A driven qubit with dephasing that nobody watches."""
    channels = {"loss": gamma**0.5 * S.sm}
    if dephasing:
        channels["dephasing"] = (dephasing / 2) ** 0.5 * 2 * S.sz
    return ba.System(rabi * S.sx + detuning * S.sz, channels, {"excited": S.sp * S.sm, "sz": 2 * S.sz})


def condition(system, unraveling, record, **options):
    """`condition` on bins as wide as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The bins of the record", RuntimeWarning)
        return ba.condition(system, unraveling, record, max_error=np.inf, progress=False, **options)


def likelihood(system, unraveling, record, **options):
    """ln Λ, one per record."""
    return condition(system, unraveling, record, **options)["log_likelihood"].values


# === over records of white noise and of clicks at rate 1 the likelihood has mean 1: Λ is a density


def mean_likelihood(system, unraveling, dt, spread=1.0, rate=1.0, **options):
    """E Λ − 1 over one step, by quadrature: over noise of that spread, and over clicks at that rate."""
    diffusive = [d for d in unraveling.detectors if d.kind != "jumps"]
    counters = [d for d in unraveling.detectors if d.kind == "jumps"]
    noise, weights = noise_nodes(diffusive, [dt], spread=spread)
    clicks, shares = click_nodes(len(counters), np.array([0.0, dt]))
    record = {"times": [0.0, dt]}
    for d, x in zip(diffusive, noise.transpose(1, 0, 2), strict=True):
        record[f"current_{d.name}"] = np.tile(x.real if d.kind == "homodyne" else x, (len(clicks), 1))
    for i, d in enumerate(counters):
        record[f"click_time_{d.name}"] = [times[owner == i] for times, owner in clicks for _ in weights]
    poisson = shares * [rate ** len(times) for times, _ in clicks] * np.exp(-rate * dt * len(counters))
    values = likelihood(system, unraveling, record, step=2 * dt, **options)
    return float(np.outer(poisson, weights).ravel() @ np.exp(values) - 1)


EXCITED = {"s": ba.spin(2.0, 0.5)}
BOTH = {"a": ba.spin(2.0, 0.5), "b": ba.spin(1.0, -2.0)}
TURNING = ba.LocalOscillator(5.0, 0.4)
#: system, unraveling, initial state, level
DENSITIES = {
    "homodyne": (qubit(dephasing=0), Homodyne("loss", phase=0.4), EXCITED, "ket"),
    "heterodyne": (qubit(dephasing=0), Heterodyne("loss"), EXCITED, "ket"),
    "local oscillator": (qubit(dephasing=0), Homodyne("loss", phase=TURNING), EXCITED, "ket"),
    "inefficient homodyne": (qubit(), Homodyne("loss", phase=0.4, efficiency=0.6), EXCITED, "density"),
    "inefficient heterodyne": (qubit(), Heterodyne("loss", efficiency=0.6), EXCITED, "density"),
    "inefficient, local oscillator": (qubit(), Homodyne("loss", phase=TURNING, efficiency=0.6), EXCITED, "density"),
    "not commuting": (SPINS, Homodyne("coupling") + Heterodyne("loss_a", efficiency=0.8), BOTH, "density"),
    "clicks": (qubit(dephasing=0), Jumps("loss"), EXCITED, "ket"),
    "dark counts": (qubit(), Jumps("loss", efficiency=0.6, dark_rate=0.4), EXCITED, "density"),
    "joined": (SPINS, Jumps(("loss_a", "loss_b"), efficiency=0.8, dark_rate=0.1), BOTH, "density"),
    "both": (SPINS, Homodyne("coupling") + Jumps("loss_a", "loss_b", dark_rate=0.1), BOTH, "density"),
    "joined, local oscillator": (
        SPINS, Homodyne("coupling", phase=TURNING) + Jumps(("loss_a", "loss_b"), dark_rate=0.1), BOTH, "density"
    ),
}  # fmt: skip
#: Steps, by whether there are counters: more than four clicks, which are left out, have a weight below 1e-14.
WITHOUT_CLICKS, WITH_CLICKS = 0.02, 0.005


@pytest.mark.parametrize("scheme", [ba.Splitting(), ba.Rouchon()], ids=repr)
@pytest.mark.parametrize("case", DENSITIES)
def test_mean_likelihood_is_one(case, scheme):
    system, unraveling, initial, level = DENSITIES[case]
    if "oscillator" in case and scheme == ba.Rouchon():
        pytest.skip("not offered")
    options = {"initial": initial, "level": level, "scheme": scheme}
    counts = [d.kind == "jumps" for d in unraveling.detectors]
    dt = WITH_CLICKS if any(counts) else WITHOUT_CLICKS
    defect = mean_likelihood(system, unraveling, dt, **options)
    # noise of another level, or clicks at another rate, are not the reference
    controls = [] if all(counts) else [mean_likelihood(system, unraveling, dt, spread=1.05, **options)]
    controls += [mean_likelihood(system, unraveling, dt, rate=1.05, **options)] if any(counts) else []
    print(f"{case}, {scheme}: E Λ − 1 = {defect:.1e}; controls {controls}")
    assert abs(defect) < 1e-13
    assert min(map(abs, controls)) > 1e-8


# === over records of one model, the likelihood ratio with another has mean 1

#: model, another one, unraveling
RATIOS = {
    "homodyne": (qubit(), qubit(rabi=2.65), Homodyne("loss", phase=1.2, efficiency=0.7)),
    "heterodyne": (qubit(), qubit(gamma=1.8), Heterodyne("loss", efficiency=0.7)),
    "local oscillator": (qubit(), qubit(gamma=1.8), Homodyne("loss", phase=TURNING, efficiency=0.7)),
    "counting": (qubit(), qubit(gamma=1.85), Jumps("loss", efficiency=0.7, dark_rate=0.2)),
    "joined": (qubit(), qubit(gamma=1.85), Jumps(("loss", "dephasing"), efficiency=0.7, dark_rate=0.2)),
    "both": (
        SPINS,
        two_spins(gamma_plus=0.5, gamma_minus=2.2, coupling=1.0, detuning=0.5),
        Heterodyne("loss_a", efficiency=0.8) + Jumps("loss_b", dark_rate=0.1),
    ),
}


@pytest.mark.parametrize("ntraj", [700, pytest.param(40000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", RATIOS)
def test_mean_likelihood_ratio_is_one(case, ntraj):
    """E_θ[Λ_θ'/Λ_θ] = 1, where θ' is far enough for the ratio to vary by a factor."""
    system, other, unraveling = RATIOS[case]
    times = np.linspace(0, 8, 161)
    options = {"step": 0.05, "n_jobs": 1}

    def log_ratio(data):
        return likelihood(other, unraveling, data, **options) - likelihood(system, unraveling, data, **options)

    found = log_ratio(run(system, unraveling, times, ntraj, seed=5, step=0.05))
    assert 0.2 < found.var() < 0.5
    off = worst(np.exp(found), 1.0)
    # records of the other model, and the second moment in place of the first
    controls = [worst(np.exp(log_ratio(run(other, unraveling, times, ntraj, seed=6, step=0.05))), 1.0)]
    controls.append(worst(np.exp(-found), 1.0))
    ratio = np.exp(found)
    error = ratio.std(ddof=1) / np.sqrt(ntraj)
    print(
        f"{case}: mean {100 * (ratio.mean() - 1):+.3f} ± {100 * error:.3f} %, {off:.1f} σ, Var ln {found.var():.3f}; "
        f"controls {controls}"
    )
    assert off < LIMIT
    assert min(controls) > CONTROL
    if ntraj > 10000:
        assert ratio.mean() == pytest.approx(1.0, abs=0.01)


# === a wrong model of the detector gives another estimate


def estimate(values, log_likelihoods):
    """Maximum of the parabola through three points of Σ ln Λ, the middle one highest, and its standard error."""
    a, b, _ = np.polyfit(values - values[1], log_likelihoods - log_likelihoods[1], 2)
    return values[1] - b / (2 * a), 1 / np.sqrt(-2 * a)


def cavity(omega=0.0):
    """In a coherent state of amplitude near 1, whose phase is −2ω/κ."""
    return damped_cavity(1.0, omega=omega, drive=0.5, levels=10)


EFFICIENCY, QUADRATURE = 0.6, np.pi / 2
#: System, estimated parameter, its value, distance between points, phase, records; what is wrong with the system and
#: with the detector of the conditioning.
WRONG = {
    "√η → η": (qubit, "gamma", 1.0, 0.15, 0.0, 400, {}, {"efficiency": EFFICIENCY**2}),
    "phase + 0.1": (cavity, "omega", 0.0, 0.03, QUADRATURE, 250, {}, {"phase": QUADRATURE + 0.1}),
    "a channel dropped": (qubit, "gamma", 1.0, 0.15, 0.8, 800, {"dephasing": 0.0}, {}),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_conditioning_moves_the_estimate(case):
    make, parameter, true, spread, phase, ntraj, model, detector = WRONG[case]
    seen = {"phase": phase, "efficiency": EFFICIENCY}
    given = {"rabi": 4.0 if case == "√η → η" else 1.0, "detuning": 0.5} if make is qubit else {}
    data = run(make(**given), Homodyne("loss", **seen), np.linspace(0, 20, 401), ntraj, seed=7, step=0.05)

    def fitted(model, **changes):
        """Uphill from the true value, one point at a time, so that the maximum lies between those that are used."""
        unraveling = Homodyne("loss", **{**seen, **changes})
        known = {}

        def total(k):
            if k not in known:
                one = make(**{**given, **model, parameter: true + k * spread})
                known[k] = likelihood(one, unraveling, data, step=0.05).sum()
            return known[k]

        middle = 0
        while (best := max((-1, 0, 1), key=lambda k: total(middle + k))) != 0:
            middle += best
        chosen = np.array([middle - 1, middle, middle + 1])
        return estimate(true + spread * chosen, np.array([total(k) for k in chosen]))

    (right, error), (wrong, _) = fitted({}), fitted(model, **detector)
    print(f"{case}: {parameter} = {true}: {right:.4f} ± {error:.4f}; {wrong:.4f}, {(wrong - right) / error:.1f} σ away")
    assert abs(right - true) < LIMIT * error
    assert abs(wrong - right) > LIMIT * error


# === what bins do not say

#: Width of the bins: rms error of P_e (PHYSICS.md 7h), parts of a bin that are simulated, records of each seed, seeds.
COARSE = {
    0.1: (0.048, 16, 2048, [8]),
    0.05: (0.025, 16, 2048, [8]),
    0.01: (0.0047, 8, 1024, [8]),
    0.001: (0.0005, 8, 256, range(8, 16)),
}


def in_bins(data, edges, parts):
    """The record of a simulation in bins that are so many times wider."""
    current = data["current_loss"].values
    return {"times": edges[::parts], "current_loss": current.reshape(len(current), -1, parts).mean(axis=2)}


@pytest.mark.parametrize("width", [0.1, 0.05, 0.01, pytest.param(0.001, marks=pytest.mark.slow)])
def test_coarse_records(width):
    """How far P_e is from that of the record within its bins; Ω = 5γ, x quadrature, η = 1, in the steady state.

    A bin's sum is spread over steps.  Of the y quadrature the error is a fifth larger, and before t = 4/γ much smaller.
    It needs many records: the squares of the errors hardly have a variance (the tail of their law falls as their −2nd
    power), so that a few hundred records may give anything.
    """
    system, unraveling = driven_qubit(rabi=5.0, gamma=1.0), Homodyne("loss")
    known, parts, ntraj, seeds = COARSE[width]
    every = round(0.1 / width)
    edges = width / parts * np.arange(round(12 / width) * parts + 1)
    options = {"observables": ("excited",), "level": "ket"}
    # bins in `width`, steps in a bin
    ways = {"as they are": (1, 10), "steps halved": (1, 20), "bins halved": (2, 10)}
    squares = {way: [] for way in ways}  # of the error of P_e per record, mean over the times from 4/γ on
    for seed in seeds:
        data = run(
            system, unraveling, edges, ntraj, seed=seed, step=1.0, save_every=every * parts, max_memory="2 GiB",
            **options,
        )  # fmt: skip
        for way, (bins, steps) in ways.items():
            found = condition(
                system, unraveling, in_bins(data, edges, parts // bins), step=width / bins / steps,
                save_every=every * bins, seed=0, **options,
            )  # fmt: skip
            difference = (found["expect_excited"].values - data["expect_excited"].values)[:, 40:]
            squares[way].extend((difference**2).mean(axis=1))
    error, shorter, narrower = (np.sqrt(np.mean(found)) for found in squares.values())
    uncertainty = 0.5 * np.std(squares["as they are"]) / error**2 / np.sqrt(ntraj * len(seeds))
    print(
        f"bins of {width}: P_e within {error:.6f} ± {100 * uncertainty:.1f} % (known: {known}); steps halved: "
        f"{100 * (shorter / error - 1):+.2f} %, bins halved: {100 * (narrower / error - 1):+.1f} %"
    )
    assert uncertainty < 0.04  # a fifth is five of it
    assert error == pytest.approx(known, rel=0.2)
    assert shorter == pytest.approx(error, rel=0.05)  # information lost, not the error of steps,
    assert narrower == pytest.approx(error / 2, rel=0.2)
    assert narrower != pytest.approx(known, rel=0.2)


@pytest.mark.parametrize("width", [0.1, 0.05, 0.01])
def test_coarse_records__the_error_that_is_estimated(width):
    """From four records at a time, by refining them at random; root mean squares over many fours."""
    system, unraveling = driven_qubit(rabi=5.0, gamma=1.0), Homodyne("loss")
    parts, ntraj, every = 16, 128, round(0.1 / width)
    edges = width / parts * np.arange(round(8 / width) * parts + 1)
    data = run(system, unraveling, edges, ntraj, seed=9, step=1.0, save_every=every * parts, states=True)
    record = in_bins(data, edges, parts)
    estimated, squares = [], []
    for k in range(0, ntraj, 4):
        some = {"times": record["times"], "current_loss": record["current_loss"][k : k + 4]}
        found = condition(system, unraveling, some, step=width / 10, save_every=every, seed=k, states=True)
        overlap = abs((found["state"].values.conj() * data["state"].values[k : k + 4]).sum(axis=-1)) ** 2
        squares.append(np.mean(1 - np.minimum(overlap, 1)))
        estimated.append(found.attrs["bin_error"] ** 2)
    ratio = np.sqrt(np.mean(estimated) / np.mean(squares))
    relative = np.array(estimated) / np.mean(estimated) - np.array(squares) / np.mean(squares)
    uncertainty = 0.5 * relative.std(ddof=1) / np.sqrt(len(relative))
    print(
        f"bins of {width}: states within {np.sqrt(np.mean(squares)):.5f}, estimated {ratio:.3f} ± {uncertainty:.3f} of"
    )
    assert uncertainty < 0.08
    assert abs(ratio - 1) < LIMIT * uncertainty
    assert abs(2 * ratio - 1) > CONTROL * uncertainty  # as of bins twice as wide


# === QuTiP


def test_qutip__replayed_noise():
    """QuTiP's solution for a Wiener path is what its record says."""
    system, efficiency, phase = qubit(), 0.6, 0.4
    lowered = system.lower()
    dense = {name: qutip.Qobj(L.toarray()) for name, L in lowered.channels.items()}
    H, seen = qutip.Qobj(lowered.H.toarray()), np.exp(-1j * phase) * np.sqrt(efficiency) * dense["loss"]
    lost = [np.sqrt(1 - efficiency) * dense["loss"], dense["dephasing"]]
    fine, n, paths = 0.0025, 400, 4
    times = fine * np.arange(n + 1)
    ground = qutip.Qobj(lowered.state(None))
    solver = qutip.SMESolver(
        H, [seen], False, c_ops=lost, options={"method": "platen", "dt": fine, "store_states": True, "progress_bar": ""}
    )
    dW = np.random.default_rng(9).normal(0, np.sqrt(fine), (paths, n))
    results = [solver.run_from_experiment(ground, times, w[None], e_ops=[seen + seen.dag()]) for w in dW]
    signal = np.array([r.expect[0] for r in results])
    dY = dW + 0.5 * fine * (signal[:, 1:] + signal[:, :-1])
    states = np.array([r.states[-1].full() for r in results])
    steps, errors = fine * np.array([16, 8, 4, 2]), []
    for k in (16, 8, 4, 2):
        record = {"times": times[::k], "current_loss": dY.reshape(paths, -1, k).sum(axis=2) / (k * fine)}
        options = {"step": 1.0, "states": True}
        found = condition(system, Homodyne("loss", phase=phase, efficiency=efficiency), record, **options)
        difference = found["state"].values[:, -1] - states
        errors.append(float(np.sqrt(0.5 * np.mean(np.sum(abs(difference) ** 2, axis=(1, 2))))))
    print(f"QuTiP: {errors}, order {fitted_order(steps, errors):.2f}")
    assert errors[-1] < 2e-3
    assert fitted_order(steps, errors) == pytest.approx(1.0, abs=0.4)
    spoiled = condition(system, Homodyne("loss", phase=-phase, efficiency=efficiency), record, **options)
    assert abs(spoiled["state"].values[:, -1] - states).max() > 0.05
