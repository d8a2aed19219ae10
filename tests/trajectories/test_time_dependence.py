"""Time-dependent systems: against constant ones, exact time-ordered propagators and QuTiP's mesolve."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
import scipy.linalg as la

import backaction as ba
from backaction.systems import Boson, Spin, System
from backaction.trajectories import drive, ensemble
from backaction.trajectories.drive import fit, real_parameters, spread_out
from physics.helpers import CONTROL, LIMIT, fitted_order, z_scores
from trajectories.given import average_of_steps, exact, trace_norm

q = Spin("q")
OBSERVABLES = {"sx": q.sx, "sy": q.sy, "sz": q.sz}
RHO = np.array([[0.6, 0.25 - 0.2j], [0.25 + 0.2j, 0.4]])
MIXED = ba.Homodyne("loss", phase=0.4, efficiency=0.6) + ba.QuantumJumps("pump", efficiency=0.7)
ALL = ba.Homodyne("loss", phase=0.4) + ba.QuantumJumps("pump")


def one(t):
    return 1.0 + 0.0 * t


def wave(t):
    return 1.5 + np.cos(3 * t)


def decay(t):
    return 0.8 + 0.4 * np.sin(2 * t)


def fade(t):  # linear in `wave`: polynomials of one number only
    return 0.2 + 0.4 * wave(t)


CONSTANT = System(0.8 * q.sx + 0.3 * q.sz, {"loss": q.sm, "pump": 0.5 * q.sp}, OBSERVABLES)
WRITTEN = System([0.3 * q.sz, (0.8 * q.sx, one)], {"loss": (q.sm, one), "pump": 0.5 * q.sp}, OBSERVABLES)
DRIVEN = System([0.3 * q.sz, (0.8 * q.sx, wave)], {"loss": (q.sm, fade), "pump": 0.5 * q.sp}, OBSERVABLES)


def run(system, unraveling, times, ntraj=1, seed=0, **options):
    return ba.simulate(system, unraveling, times, ntraj, seed=seed, progress=False, **options)


def mesolve(system, times, initial=None):
    """Means of the observables, (observable, time), from the coefficients themselves."""
    lowered = system.lower()

    def evo(constant, terms):
        parts = [qutip.Qobj(constant.toarray())]
        parts += [[qutip.Qobj(A.toarray()), lowered.coefficients[k]] for A, k in terms]
        return qutip.QobjEvo(parts)

    H = evo(lowered.H, lowered.H_terms)
    channels = [evo(L, lowered.channel_terms.get(name, ())) for name, L in lowered.channels.items()]
    state = lowered.state(initial)
    rho = state if state.ndim == 2 else np.outer(state, state.conj())
    e_ops = [qutip.Qobj(O.toarray()) for O in lowered.observables.values()]
    options = {"rtol": 1e-10, "atol": 1e-12, "max_step": 0.05, "progress_bar": ""}
    return np.array(qutip.mesolve(H, qutip.Qobj(rho), times, channels, e_ops=e_ops, options=options).expect)


def means(data, system):
    """(trajectory, observable, time)."""
    prefix = "expect" if f"expect_{next(iter(system.observables))}" in data else "hidden"
    return np.stack([data[f"{prefix}_{name}"].values for name in system.observables], axis=1)


# === against constant systems


@pytest.mark.parametrize("level", ["ket", "density"])
def test_a_constant_system_written_with_coefficients_follows_the_constant_one(level):
    times = np.linspace(0, 1, 11)
    options = {"ntraj": 20, "level": level, "observables": list(OBSERVABLES), "step": 0.02}
    unraveling = ALL if level == "ket" else MIXED
    constant = run(CONSTANT, unraveling, times, **options)
    written = run(WRITTEN, unraveling, times, **options)
    assert set(constant) == set(written)
    for name in constant:
        assert abs(constant[name].values - written[name].values).max() < 1e-8
    assert constant["click_time_pump"].size > 0
    driven = run(DRIVEN, unraveling, times, **options)
    assert abs(means(driven, DRIVEN) - means(constant, CONSTANT)).max() > 0.1


def test_counting_only():
    times = np.linspace(0, 3, 4)
    constant, written = (run(s, ba.QuantumJumps("loss", "pump"), times, 20, step=0.05) for s in (CONSTANT, WRITTEN))
    assert constant["click_time_loss"].size > 0
    assert abs(constant["click_time_loss"].values - written["click_time_loss"].values).max() < 1e-8


# === bias


#: H and a detected channel, an unwatched one, η < 1, two kinds of detectors, a local oscillator
BIAS = System(
    [0.3 * q.sz, (0.8 * q.sx, wave)],
    {"loss": (q.sm, decay), "pump": 0.5 * q.sp, "dephasing": (0.6 * q.sz, lambda t: decay(t + 0.3))},
    OBSERVABLES,
)
WATCHED = ba.Homodyne("loss", phase=ba.LocalOscillator(2.0, 0.3), efficiency=0.6) + ba.Heterodyne("dephasing")


def bias(system, unraveling, dts, nodes, steps):
    """Trace norm of (the average of some steps − the time-ordered propagator)ρ, from t = 0.4 on."""
    out = []
    for dt in dts:
        edges = 0.4 + dt * np.arange(steps + 1)
        average = average_of_steps(system, unraveling, edges, RHO, nodes)
        out.append(trace_norm(average - exact(system, edges[0], edges[-1], RHO)))
    return np.array(out)


def test_the_average_of_a_step_has_local_order_three():
    dts = 0.08 / 2.0 ** np.arange(3)
    errors = bias(BIAS, WATCHED, dts, 7, 1)
    print(f"driven, one step: {errors}, order {fitted_order(dts, errors):.2f}")
    assert 2.7 < fitted_order(dts, errors) < 3.6
    assert errors[-1] < 1e-4


def test_coefficients_at_the_beginning_of_a_step_lose_an_order(monkeypatch):
    """The control."""

    def early(t0, dt, n_steps):
        node = t0 + dt * np.arange(n_steps + 1)
        begins = np.maximum(node - dt, t0)
        return np.stack([node, node, begins, node])

    monkeypatch.setattr(drive, "times_of_parts", early)
    dts = 0.08 / 2.0 ** np.arange(3)
    assert fitted_order(dts, bias(BIAS, ba.Homodyne("loss", efficiency=0.6), dts, 7, 1)) < 2.3


@pytest.mark.parametrize("width", [0.3, 3.0])
def test_without_detectors_the_error_falls_as_the_square_of_the_step(width):
    """Bins of one slot and bins of many: half-slots behind and before the edges and slots about nodes."""
    times = np.arange(0, 3 + 1e-9, width)
    reference = mesolve(DRIVEN, times)
    steps = np.array([0.1, 0.05])
    blind = ba.Homodyne("loss", efficiency=0.0)
    errors = [
        abs(means(run(DRIVEN, blind, times, level="density", observables=list(OBSERVABLES), step=s), DRIVEN)[0]
            - reference).max()
        for s in steps
    ]  # fmt: skip
    print(f"driven, bins of {width}: {errors}")
    assert 1.6 < np.log2(errors[0] / errors[1]) < 2.4
    assert errors[1] < 2e-3


def test_no_unraveling_is_the_master_equation():
    times = np.linspace(0, 3, 7)
    reference = mesolve(DRIVEN, times)
    steps = np.array([0.1, 0.05, 0.025, 0.0125])
    errors = [
        abs(means(run(DRIVEN, None, times, observables=list(OBSERVABLES), step=s), DRIVEN)[0] - reference).max()
        for s in steps
    ]
    assert fitted_order(steps, errors) == pytest.approx(2.0, abs=0.2)
    chosen = run(DRIVEN, None, times, observables=list(OBSERVABLES))
    assert abs(means(chosen, DRIVEN)[0] - reference).max() < 1e-3


# === ensembles

mode, spin = Boson("a", 6), Spin("s")
JAYNES = System(
    [
        mode.n,
        spin.sp * mode.a + spin.sm * mode.a.dag(),
        (0.4 * mode.a.dag(), lambda t: np.exp(-1j * t)),
        (0.4 * mode.a, lambda t: np.exp(1j * t)),
    ],
    {"loss": mode.a, "decay": 0.5 * spin.sm},
    {"n": mode.n, "a": mode.a, "sz": spin.sz},
)

#: Entangled, so that conditional means differ.
INITIAL = {JAYNES: {"s": ba.spin(0.3, 0.2)}}

ENSEMBLES = {
    "counters only": (DRIVEN, ba.QuantumJumps("loss", "pump", efficiency=0.7, dark_rate=0.2), "ket", 2048),
    "homodyne and a counter, ket": (DRIVEN, ALL, "ket", 2048),
    "homodyne and a counter, density": (DRIVEN, MIXED, "density", 1024),
    "heterodyne, local oscillator": (
        JAYNES,
        ba.Heterodyne("loss") + ba.Homodyne("decay", phase=ba.LocalOscillator(4.0)),
        "ket",
        1024,
    ),
}


@pytest.mark.filterwarnings("ignore:The basis' edge:RuntimeWarning")  # small on purpose
@pytest.mark.parametrize("case", ENSEMBLES)
def test_ensembles_follow_mesolve(case):
    system, unraveling, level, ntraj = ENSEMBLES[case]
    times = np.linspace(0, 2, 21)
    initial = INITIAL.get(system)
    options = {"level": level, "observables": list(system.observables), "initial": initial, "step": 0.02}
    found = means(run(system, unraveling, times, ntraj, seed=1, **options), system)[..., 5:]
    good = abs(z_scores(found, mesolve(system, times, initial)[:, 5:])).max()
    lowered = system.lower()
    frozen = System(
        qutip.Qobj(lowered.at(0.0).H.toarray()),
        {k: qutip.Qobj(L.toarray()) for k, L in lowered.at(0.0).channels.items()},
        {k: qutip.Qobj(O.toarray()) for k, O in lowered.observables.items()},
        initial=lowered.state(initial),
    )
    broken = abs(z_scores(found, mesolve(frozen, times)[:, 5:])).max()
    print(f"driven ensemble, {case}: z {good:.2f}; frozen {broken:.1f}")
    assert good < LIMIT
    assert broken > CONTROL


# === condition, bits


@pytest.mark.filterwarnings("ignore:The bins of the record")  # what they leave open is not the subject
@pytest.mark.parametrize("level", ["ket", "density"])
def test_condition_repeats_simulate(level):
    unraveling = ALL if level == "ket" else MIXED
    times = np.linspace(0, 0.5, 26)
    options = {"level": level, "step": 0.02, "states": True, "progress": False}
    data = ba.simulate(DRIVEN, unraveling, times, 5, seed=1, **options)
    again = ba.condition(DRIVEN, unraveling, data, seed=0, max_error=1.0, **options)
    one_, other = (x["state"].values for x in (data, again))
    if level == "ket":  # up to a phase
        one_, other = (x[..., :, None] * x[..., None, :].conj() for x in (one_, other))
    assert abs(one_ - other).max() < 1e-10


def test_bits_do_not_depend_on_jobs_or_blocks(monkeypatch):
    def currents(**options):
        return run(DRIVEN, ALL, np.linspace(0, 1, 26), 37, step=0.02, **options)["current_loss"].values

    first = currents()
    assert np.array_equal(first, currents(n_jobs=2))
    monkeypatch.setattr(ensemble, "BLOCK_WORK", 1e5)
    assert np.array_equal(first, currents())


# === the fit


def test_a_fit_of_too_low_degree_fails_the_comparison(monkeypatch):
    """The control of all that is above: a loose tolerance lets a low degree pass."""
    times = np.linspace(0, 1, 3)
    options = {"observables": list(OBSERVABLES), "step": 0.05, "level": "density"}
    blind = ba.Homodyne("loss", efficiency=0.0)
    exact_ = means(run(DRIVEN, blind, times, **options), DRIVEN)
    monkeypatch.setattr(drive, "FIT_TOLERANCE", 1e-2)
    assert abs(means(run(DRIVEN, blind, times, **options), DRIVEN) - exact_).max() > 1e-7  # above: 1e-8


def test_the_error_of_the_fit_is_below_its_tolerance_everywhere(monkeypatch):
    """Also for a short pulse in a long run, most of whose times have one value."""
    t = np.linspace(0, 1000, 20001)
    pulse = np.exp(-0.5 * ((t - 777.3) / 0.5) ** 2)[None].astype(complex)
    steps = np.select([t < 900, t < 900.2], [0.0, 0.4], 1.0)[None].astype(complex)

    def build(values):
        x = values[0].real
        return np.array([np.exp(0.3 * x), np.sin(0.4 * x), 1.0])

    def error(values):
        factors, weights, parameters = fit(build, values)
        everywhere = drive.monomials(parameters, factors).T @ weights
        return abs(everywhere - np.array([build(v) for v in values.T])).max()

    for values in (pulse, steps, np.concatenate([pulse, steps])):
        assert error(values) < 1e-10
    # the control: values at random times
    monkeypatch.setattr(drive, "spread_out", lambda p, n: np.append([0, p[0].argmax()], np.arange(1, p.shape[1])))
    assert error(steps) > 1e-4


def test_what_does_not_vary_is_not_fitted():
    """The mean of 1 is 1: three numbers along one curve leave a fit badly determined, and its rounding large (2e-9)."""
    data = run(BIAS, WATCHED, np.linspace(0, 1, 6), 2, step=0.001, level="density", observables={"one": np.eye(2)})
    assert abs(data["expect_one"].values - 1).max() < 1e-14


@pytest.mark.parametrize("step", [0.02, 0.004, 0.001])
def test_a_driven_oscillator_of_many_levels_is_fitted_at_any_step(step):
    """Elements of propagators that come and go, as they pass a threshold, are not smooth."""
    a = Boson("a", 16)
    x = a.a + a.a.dag()
    system = System([0.3 * a.n, (0.5 * x, np.cos)], {"loss": a.a, "x": 0.5 * x}, {"n": a.n})
    detectors = ba.QuantumJumps("loss") + ba.Homodyne("x")
    for level in ("ket", "density"):
        data = run(system, detectors, np.array([0.0, 0.04]), 2, level=level, step=step, observables=["n"])
        assert np.all(np.isfinite(data["expect_n"].values))


def test_conjugate_coefficients_are_one_number_each():
    t = np.linspace(0, 7, 101)
    f = np.exp(1j * t) * (1 + 0.3 * t)
    assert len(real_parameters(np.stack([f, f.conj(), 2 - 3 * f]))) == 2
    assert len(real_parameters(np.stack([f, f.conj() ** 2]))) == 4
    assert len(real_parameters(np.ones((3, 101), dtype=complex))) == 0


def test_values_are_chosen_far_apart():
    x = np.concatenate([np.zeros(1000), np.linspace(-1, 1, 65)])[None]
    first = x[0, spread_out(x, 9)[:9]]
    np.testing.assert_allclose(np.sort(first), np.linspace(-1, 1, 9), atol=0.05)


# === ways to write coefficients


def test_sampled_and_qobjevo_are_the_function():
    """In H, in a channel that is watched, and in the phase of its local oscillator."""
    times = np.linspace(0, 2, 9)
    grid = np.linspace(0, 2, 401)
    sx, sz, sm = (qutip.Qobj(O.toarray()) for O in map(DRIVEN.lower().operator, (q.sx, q.sz, q.sm), "xzm"))

    def turning(t):
        return 0.4 + 2 * t + 0.5 * np.sin(3 * t)

    def found(H, loss, phase):
        system = System(H, {"loss": loss, "pump": 0.5 * sm.dag()}, {"sx": sx})
        unraveling = ba.Homodyne("loss", phase=phase) + ba.QuantumJumps("pump")
        data = run(system, unraveling, times, 4, observables=["sx"], initial=np.array([0.6, 0.8]), step=0.02)
        return np.concatenate([data["expect_sx"].values, data["current_loss"].values], axis=1)

    H, loss = [0.3 * sz, (0.8 * sx, wave)], (sm, decay)
    function = found(H, loss, turning)
    waves, decays, phases = (ba.Sampled(grid, f(grid)) for f in (wave, decay, turning))
    sampled = found([0.3 * sz, (0.8 * sx, waves)], (sm, decays), phases)
    evolving = found(qutip.QobjEvo([0.3 * sz, [0.8 * sx, wave]]), qutip.QobjEvo([[sm, decay]]), turning)
    errors = [abs(values - function).max() for values in (sampled, evolving)]
    # the controls: each of the three held at its first value
    held = [
        abs(values - function).max()
        for values in (
            found([0.3 * sz, 0.8 * wave(0.0) * sx], loss, turning),
            found(H, decay(0.0) * sm, turning),
            found(H, loss, turning(0.0)),
        )
    ]
    print(f"Sampled, QobjEvo: {errors}; H, channel, phase held: {held}")
    assert errors[0] < 1e-6
    assert errors[1] < 1e-8
    assert min(held) > 0.05


def test_pulses_switched_at_edges_are_exact_and_inside_bins_of_second_order():
    """Piecewise constant H: the product of exponentials."""
    pulses = ba.Sampled([0.0, 0.4, 1.2, 2.0], [1.0, -2.0, 0.5, 0.5], order=0)
    system = System([0.3 * q.sz, (0.8 * q.sx, pulses)], {"loss": q.sm}, OBSERVABLES)
    blind = ba.Homodyne("loss", efficiency=0.0)
    rho = RHO
    for t0, t1 in ((0.0, 0.4), (0.4, 1.2), (1.2, 2.0)):
        rho = exact(system, t0, t1 - 1e-12, rho)
    lowered = system.lower()
    expected = np.array([np.trace(lowered.observables[k].toarray() @ rho).real for k in OBSERVABLES])

    def error(times, step):
        data = run(system, blind, times, level="density", observables=list(OBSERVABLES), initial=RHO, step=step)
        return abs(means(data, system)[0, :, -1] - expected).max()

    inside = [error(np.array([0.0, 2.0]), s) for s in (0.1, 0.05, 0.025)]
    print(f"pulses switched at nodes: {inside}, at edges {error(np.linspace(0, 2, 6), 0.05):.2e}")
    assert fitted_order([4, 2, 1], inside) > 1.7
    assert error(np.linspace(0, 2, 6), 0.05) < 2e-4


# === steps and errors


def test_the_default_step_sees_fast_coefficients_in_long_runs():
    """512 looks at 2000 periods must not take the drive for a slow one."""
    fast = System([(0.1 * q.sx, lambda t: np.cos(60 * t))], {"loss": 0.1 * q.sm}, OBSERVABLES)
    lowered = fast.lower()
    unraveling = ba.Homodyne("loss")
    roles = drive.assign(lowered, unraveling, True, keep_empty=True)
    step = drive.choose_step(lowered, unraveling, roles, 200.0, True, 0.0, 1)
    assert 0.5 * 0.1 / 60 < step <= 0.11 / 60
    switched = System([(0.1 * q.sx, lambda t: 1.0 * (np.sin(t) > 0))], {"loss": 0.1 * q.sm}, OBSERVABLES)
    calm = drive.choose_step(switched.lower(), unraveling, roles, 0.5, True, 0.0, 400)
    assert calm > 1.0


def test_too_many_coefficients():
    terms = [(0.1 * q.sx, lambda t, k=k: np.cos((1 + k) * t)) for k in range(30)]
    system = System([0.3 * q.sz, *terms], {"loss": q.sm}, OBSERVABLES)
    with pytest.raises(ValueError, match=r"Argument `system` has .* independent time-dependent numbers"):
        run(system, ALL_LOSS, np.linspace(0, 1, 11), step=0.05)


ALL_LOSS = ba.Homodyne("loss")


@pytest.mark.parametrize(
    "system, unraveling, options",
    [
        (DRIVEN, ALL_LOSS, {}),
        (System([(q.sx, wave)], {"loss": q.sm}), ALL_LOSS, {"level": "density"}),
        (CONSTANT, ba.Homodyne("loss", phase=ba.LocalOscillator(1.0)), {}),
    ],
)
def test_rouchon_is_refused_where_it_is_not_made_for(system, unraveling, options):
    with pytest.raises(ValueError, match="Argument `scheme`"):
        run(system, unraveling, np.linspace(0, 1, 11), scheme=ba.Rouchon(), step=0.05, **options)


def test_a_step_given_to_rouchon_is_kept():
    system = System([(q.sx, wave)], {"loss": q.sm})
    data = run(system, ALL_LOSS, np.linspace(0, 1, 11), scheme=ba.Rouchon(), step=0.05, level="ket")
    assert data.attrs["step"] == pytest.approx(0.05)


def test_bins_too_wide_for_a_local_oscillator():
    def wide(turn):
        detector = ba.Homodyne("loss", phase=ba.LocalOscillator(-turn / 0.1))
        return run(CONSTANT, detector, np.linspace(0, 0.2, 3), step=0.1)

    wide(0.4)
    with pytest.warns(RuntimeWarning, match="local oscillator of loss turns by 0.6 rad"):
        wide(0.6)
    with pytest.raises(ValueError, match="too wide for the local oscillator"):
        wide(3.2)


def test_a_long_run_of_many_steps_is_refused(monkeypatch):
    monkeypatch.setattr(drive, "MAX_TABLE", 100)
    with pytest.raises(ValueError, match="Argument `times` spans"):
        run(DRIVEN, ALL, np.linspace(0, 1, 11), step=0.02)


def test_strong_order_is_one():
    """States on one path: the record of a fine run summed to coarser steps."""
    times = np.linspace(0, 1, 257)
    unraveling = ba.Homodyne("loss", phase=0.4)
    system = System([0.3 * q.sz, (0.8 * q.sx, wave)], {"loss": (q.sm, decay)})
    from trajectories.given import along

    psi = system.lower().state()
    fine = run(system, unraveling, times, 48, seed=3, step=1.0, states=True)
    current = fine["current_loss"].values
    rho = fine["state"].values[:, -1]
    errors, dts = [], []
    for n in (4, 8, 16):
        coarse = current.reshape(len(current), -1, n).mean(axis=2)[:, None]
        states, _ = along(system, unraveling, times[::n], coarse, psi, level="ket")
        overlap = abs(np.sum(states[:, -1].conj() * rho, axis=1)) ** 2
        errors.append(np.sqrt(np.mean(np.maximum(0, 1 - overlap))))
        dts.append(n / 256)
    print(f"driven, strong: {errors}")
    assert fitted_order(dts, errors) == pytest.approx(1.0, abs=0.25)


def test_matrix_norms_are_kept():
    data = run(DRIVEN, MIXED, np.linspace(0, 2, 5), 8, level="density", states=True, step=0.1)
    assert la.eigvalsh(data["state"].values.reshape(-1, 2, 2)[0])[0] > -1e-12
    assert np.linalg.eigvalsh(data["state"].values).min() > -1e-12
