"""`smooth`: state and effect of one sequence of maps; against measurements written out, and against closed forms."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg as la

import backaction as ba
from backaction.systems import driven_qubit, parametric_oscillator, qnd_qubit, two_spins
from physics.helpers import fitted_order

room = sys.modules["backaction.trajectories.smooth"]
QUBIT = driven_qubit(rabi=2.0, gamma=1.0, detuning=0.3)
S = ba.Spin("s")
DRIVEN = ba.System(
    [0.3 * S.sz, (0.4 * S.sx, lambda t: np.cos(5 * t))],
    channels={"a": [S.sm, (0.2j * S.sz, lambda t: np.cos(5 * t))], "b": 0.6 * (S.sp + S.sz), "c": 0.7 * S.sm},
    observables={"sz": 2 * S.sz, "sm": S.sm},
    name="driven",
)
SPINS = two_spins(gamma_plus=0.5, gamma_minus=1.0, coupling=1.0, detuning=0.5)
Homodyne, Heterodyne, Jumps = ba.Homodyne, ba.Heterodyne, ba.QuantumJumps

#: Four channels of `SPINS` are unwatched in some.  H("coupling") does not commute with H("loss_a").
CASES = {
    "homodyne": (QUBIT, Homodyne("loss", phase=0.4, efficiency=0.6)),
    "heterodyne": (QUBIT, Heterodyne("loss", efficiency=0.6)),
    "counting": (QUBIT, Jumps("loss", efficiency=0.6, dark_rate=0.3)),
    "mixed": (SPINS, Heterodyne("loss_a") + Jumps("coupling", efficiency=0.7, dark_rate=0.4) + Homodyne("loss_b")),
    "not commuting": (SPINS, Homodyne("coupling") + Heterodyne("loss_a", efficiency=0.8) + Jumps("loss_b")),
    "joined": (SPINS, Jumps(("loss_a", "loss_b"), dark_rate=0.5) + Heterodyne("coupling")),
    "driven": (DRIVEN, Homodyne("a", phase=ba.LocalOscillator(3.0), efficiency=0.7) + Heterodyne("b") + Jumps("c")),
}
#: Bins of two widths; numbers of bins and steps per bin of either parity.
GRIDS = {
    "even": np.concatenate([np.linspace(0, 0.4, 5), 0.4 + 0.07 * np.arange(1, 5)]),
    "odd": np.concatenate([np.linspace(-1, -0.5, 6), -0.5 + 0.12 * np.arange(1, 4)]),
}
STEP = 0.04


def smooth(system, unraveling, record, **options):
    """`smooth` on bins as wide as they are: how wide is not what is tested."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The bins of the record", RuntimeWarning)
        return ba.smooth(system, unraveling, record, max_error=np.inf, progress=False, **options)


def condition(system, unraveling, record, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The bins of the record", RuntimeWarning)
        return ba.condition(
            system, unraveling, record, max_error=np.inf, level="density", states=True, progress=False, **options
        )


def simulate(system, unraveling, times, ntraj, **options):
    return ba.simulate(system, unraveling, times, ntraj, level="density", progress=False, **options)


# === one sequence of maps


@pytest.mark.parametrize(
    "grid, scheme", [("even", ba.Splitting()), ("odd", ba.Splitting()), ("odd", ba.Rouchon())], ids=str
)
@pytest.mark.parametrize("case", [case for case in CASES if case != "driven"])
def test_state_and_effect_agree_about_the_record(case, grid, scheme):
    """ln Tr[ρE] at the first time is ln Tr ρ at the last, to rounding."""
    system, unraveling = CASES[case]
    times = GRIDS[grid]
    record = simulate(system, unraveling, times, 6, seed=3, step=STEP, scheme=scheme)
    save_every = 1 if grid == "odd" else 2
    options = {"step": STEP, "scheme": scheme, "save_every": save_every}
    smoothed = smooth(system, unraveling, record, states=True, observables=system.observables, **options)
    filtered = condition(system, unraveling, record, observables=system.observables, **options)
    assert smoothed.attrs["log_likelihood_error"] < 1e-12
    np.testing.assert_allclose(smoothed["log_likelihood"], filtered["log_likelihood"], rtol=0, atol=1e-10)
    for name in ("state", *(f"expect_{o}" for o in system.observables)):
        np.testing.assert_allclose(smoothed[name], filtered[name], rtol=0, atol=1e-12)
    effect = smoothed["effect"].values
    np.testing.assert_allclose(np.trace(effect, axis1=2, axis2=3), system.lower().dim, rtol=1e-12)
    np.testing.assert_allclose(effect[:, -1], np.broadcast_to(np.eye(effect.shape[-1]), effect[:, -1].shape))
    assert np.linalg.eigvalsh(effect).min() > -1e-12


def unturned(backward_runs):
    """Steps that keep the order of their channels."""

    def runs(prepared):
        return [r._replace(plan=r.plan._replace(alternate=False)) for r in backward_runs(prepared)]

    return runs


def unconjugated(backward):
    def broken(prepared, runs, given, *rest):
        return backward(prepared, runs, replace(given, current=given.current.conj()), *rest)

    return broken


BROKEN = {
    "the record is not conjugated": ("heterodyne", "_backward", unconjugated),
    "the channels' order": ("not commuting", "_backward_runs", unturned),
    "plans that are not adjoint": ("homodyne", "density_plan", lambda f: lambda *a, adjoint, **k: f(*a, **k)),
    "clicks left in the slots' meeting": ("on the grid", "_inside_slots", lambda f: lambda given, prepared: given),
}


def on_the_grid():
    """Time tags that fall where slots meet: at the middle and the ends of steps."""
    current = np.random.default_rng(5).normal(0, 1 / np.sqrt(0.1), (1, 10))
    times = [0.0, 0.05, 0.1, 0.275, 0.5, 0.95]
    return {"times": np.linspace(0, 1, 11), "current_loss_a": current, "click_time_loss_b": times}


@pytest.mark.parametrize("broken", [None, *BROKEN])
def test_maps_that_do_not_belong_together_are_refused(broken, monkeypatch):
    case, name, breaking = BROKEN[broken] if broken else ("on the grid", None, None)
    if case == "on the grid":
        system, unraveling, record = SPINS, Homodyne("loss_a") + Jumps("loss_b", dark_rate=1.0), on_the_grid()
    else:
        system, unraveling = CASES[case]
        record = simulate(system, unraveling, GRIDS["odd"], 6, seed=3, step=STEP)
    options = {"step": 0.05} if case == "on the grid" else {"step": STEP}
    if name is None:
        assert smooth(system, unraveling, record, **options).attrs["log_likelihood_error"] < 1e-10
        return
    monkeypatch.setattr(room, name, breaking(getattr(room, name)))
    with pytest.raises(FloatingPointError, match="disagree about the likelihood"):
        smooth(system, unraveling, record, **options)


def test_clicks_near_edges_and_each_other():
    """Clicks keep their order, and their times to rounding: beside edges, close to each other, in bins of any width."""
    s = ba.Spin("s")
    system, wide = ba.System(1.3 * s.sx, {"loss": s.sm}), 3e4
    for times, clicks in (
        (np.linspace(0, 4, 9), [1.0, 3.0, 3.5, 3.5 + 1e-6, np.nextafter(4, 0)]),
        ([0.0, wide], [1e-5, 2.0]),
        ([0.0, wide], [wide - 3.0, wide - 1e-4]),
    ):
        record = {"times": times, "click_time_loss": clicks}
        unraveling = Jumps("loss", efficiency=0.5)
        smoothed = smooth(system, unraveling, record)
        filtered = condition(system, unraveling, record)
        np.testing.assert_allclose(smoothed["log_likelihood"], filtered["log_likelihood"], rtol=1e-8)
    narrow = {"times": [0, 1e-3, 3, wide], "click_time_loss": [1e-5, 2.0]}
    record = {"times": [0.0, wide], "click_time_loss": [1e-5, 2.0]}
    one, other = (smooth(system, unraveling, r, states=True)["effect"].values[0, 0] for r in (record, narrow))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_driven_system(monkeypatch):
    """Coefficients and oscillators run backwards, too."""
    system, unraveling = CASES["driven"]
    times = np.linspace(-0.1, 0.5, 6)
    record = simulate(system, unraveling, times, 6, seed=3, step=STEP)
    assert smooth(system, unraveling, record, step=STEP).attrs["log_likelihood_error"] < 1e-10
    monkeypatch.setattr(room, "_backward_drive", lambda drive, flip: drive)
    with pytest.raises(FloatingPointError, match="disagree about the likelihood"):
        smooth(system, unraveling, record, step=STEP)


def parts(record, k):
    """A dataset's record before and after the edge k."""
    edges = np.append(record["bin"] - record["bin_width"] / 2, record["bin"][-1] + record["bin_width"][-1] / 2)
    out = []
    for chosen in (slice(None, k), slice(k, None)):
        piece = {"times": edges[chosen.start or 0 : k + 1 if chosen.stop else None]}
        for name in record.data_vars:
            if str(name).startswith("current"):
                piece[name] = record[name].values[:, chosen]
            elif str(name).startswith("click_time"):
                counts = record[str(name).replace("click_time", "click_count")].values
                lists = np.split(record[name].values, np.cumsum(counts)[:-1])
                piece[name] = [t[(t >= piece["times"][0]) & (t < piece["times"][-1])] for t in lists]
        out.append(piece)
    return out


@pytest.mark.parametrize("case", [case for case in CASES if case != "driven"])  # whose plans take long
def test_a_measurement_in_between(case):
    """Projections, and weak updates 1 ± sO, are applied to the state at t and followed to the end of the record."""
    system, unraveling = CASES[case]
    times = np.linspace(0, 1, 11)
    record = simulate(system, unraveling, times, 4, seed=4, step=0.05)
    name = "coherence" if system is SPINS else "sm"
    O = system.lower().observables[name].toarray()
    hermitian = O + O.conj().T  # of the spins: doubly degenerate
    options = {"step": 0.05, "observables": {"O": hermitian, "half": O}}
    smoothed = smooth(system, unraveling, record, states=True, **options)
    k, scale = 4, 0.1
    before, after = parts(record, k)
    rho = condition(system, unraveling, before, step=0.05)["state"].values[:, -1]
    at = smoothed.isel(time=k)
    np.testing.assert_allclose(at["state"], rho, rtol=0, atol=1e-12)

    def weight(K):
        """Probability of the later record and of the outcome with Kraus operator K."""
        after_it = K @ rho @ K.conj().T
        norm = np.trace(after_it, axis1=1, axis2=2).real
        possible = norm > 1e-14
        states = np.where(possible[:, None, None], after_it, np.eye(len(K)))
        states = states / np.trace(states, axis1=1, axis2=2)[:, None, None]
        later = condition(system, unraveling, after, initial=states, step=0.05)["log_likelihood"].values
        return np.where(possible, norm * np.exp(later), 0.0)

    outcomes, vectors = la.eigh(hermitian)
    levels = np.unique(np.round(outcomes, 9))
    projectors = [vectors[:, abs(outcomes - o) < 1e-8] for o in levels]
    probabilities = np.array([weight(v @ v.conj().T) for v in projectors])
    strong = levels @ probabilities / probabilities.sum(axis=0)
    np.testing.assert_allclose(at["smoothed_O"], strong, rtol=0, atol=1e-10)
    one = np.eye(len(O))
    total = weight(one)
    weak = (weight(one + scale * hermitian) - weight(one - scale * hermitian)) / (4 * scale * total)
    np.testing.assert_allclose(at["weak_O"], weak, rtol=0, atol=1e-10)
    assert "smoothed_half" not in smoothed
    np.testing.assert_allclose(2 * at["weak_half"].real, at["weak_O"], rtol=0, atol=1e-12)
    filtered = np.trace(hermitian @ rho, axis1=1, axis2=2).real
    # what is tested is not the filtered mean, and strong is not weak
    assert abs(strong - filtered).max() > 1e-3
    assert abs(strong - weak).max() > 1e-4
    # ln Tr ρE at the edge k, from the later record alone
    tail = smooth(system, unraveling, after, initial=rho, states=True, step=0.05)
    np.testing.assert_allclose(tail["effect"][:, 0], at["effect"], rtol=0, atol=1e-10)


# === closed forms


@pytest.mark.parametrize("z0", [0.0, 0.6])
def test_qnd_qubit__the_last_word_holds_at_all_times(z0):
    """z(t) = tanh(sY(T) + artanh z₀), s = 2√(ηk), of all of the record, whatever t."""
    k, efficiency, times = 1.0, 0.5, np.linspace(0, 1, 21)
    system, unraveling = qnd_qubit(k), Homodyne("probe", efficiency=efficiency)
    initial = np.diag([1 + z0, 1 - z0]) / 2
    s, errors, steps = 2 * np.sqrt(efficiency * k), [], 0.05 / 2.0 ** np.arange(1, 4)
    for step in steps:
        record = simulate(system, unraveling, times, 64, seed=0, step=step, initial=initial)
        data = smooth(system, unraveling, record, step=step, initial=initial, observables=("sz",))
        Y = (record["current_probe"] * record["bin_width"]).sum("bin").values
        final = data["expect_sz"].values[:, -1]
        for kind in ("smoothed_sz", "weak_sz"):
            np.testing.assert_allclose(data[kind], np.repeat(final[:, None], len(times), axis=1), rtol=0, atol=1e-12)
        errors.append(float(np.sqrt(np.mean((final - np.tanh(s * Y + np.arctanh(z0))) ** 2))))
        assert abs(data["smoothed_sz"] - data["expect_sz"])[:, 0].max() > 0.5  # not what was known at the time
        spoiled = np.tanh(2 * np.sqrt(k) * efficiency * Y + np.arctanh(z0))  # √η → η
        assert np.sqrt(np.mean((final - spoiled) ** 2)) > 0.02
    print(f"qnd, z0 = {z0}: rms {errors}")
    assert errors[-1] < 2e-3
    assert fitted_order(steps, errors) > 0.8


def gaussian_smoother(drift, diffusion, gain, correlation, width, increments, variance):
    """Means and variances of x at the edges, given ∫dY of every bin.

    ``dx = drift x dt + dv``, ``dY = gain x dt + dW``, ``dv² = diffusion dt``, ``dv dW = correlation dt``, x(0) of
    mean 0: transitions over a bin in closed form (Van Loan), then one dense Gaussian posterior for all edges together.
    """
    A = np.array([[drift, 0.0], [gain, 0.0]])
    D = np.array([[diffusion, correlation], [correlation, 1.0]])
    block = la.expm(width * np.block([[-A, D], [np.zeros((2, 2)), A.T]]))
    F = block[2:, 2:].T
    precision = la.inv(F @ block[:2, 2:])
    n = increments.shape[1]
    P, b = np.zeros((n + 1, n + 1)), np.zeros((n + 1, len(increments)))
    P[0, 0] = 1 / variance
    for k in range(n):  # residual R (x_k, x_{k+1}) + (0, ΔY_k)
        R = np.array([[-F[0, 0], 1.0], [-F[1, 0], 0.0]])
        P[k : k + 2, k : k + 2] += R.T @ precision @ R
        b[k : k + 2] -= R.T @ precision @ np.stack([0 * increments[:, k], increments[:, k]])
    covariance = la.inv(P)
    return (covariance @ b).T, np.diag(covariance)


def test_parametric_oscillator__gaussian_smoother():
    """x of a squeezer under homodyne detection: ẋ = (ε − κ/2)x with noise κ, of which −√(ηκ) is in the record."""
    epsilon, kappa, efficiency, width = -0.2, 1.0, 0.7, 0.05
    system = parametric_oscillator(epsilon, kappa, levels=14)
    unraveling = Homodyne("loss", efficiency=efficiency)
    times, steps = width * np.arange(41), [0.05, 0.025, 0.0125]
    errors, spreads = [], []
    gain = np.sqrt(efficiency * kappa)
    record = simulate(system, unraveling, times, 16, seed=2, step=steps[-1] / 2)
    increments = record["current_loss"].values * width
    model = (epsilon - kappa / 2, kappa, gain, -gain, width, increments, 1.0)
    mean, variance = gaussian_smoother(*model)
    for step in steps:
        data = smooth(system, unraveling, record, step=step, observables=("x", "x2"))
        errors.append(float(np.sqrt(np.mean((data["weak_x"].values - mean) ** 2))))
        # nothing is known about p: ½(x²ρ + ρx²) has the Wigner function x²W up to a derivative by p
        spreads.append(float(abs(data["weak_x2"].values - data["weak_x"].values ** 2 - variance).max()))
    filtered = float(np.sqrt(np.mean((data["expect_x"].values - mean) ** 2)))
    print(f"smoother: rms {errors}, variance {spreads}; filtered {filtered:.3f}")
    assert errors[-1] < 0.01
    assert spreads[-1] < 0.01
    broken = {
        "correlation": (*model[:3], 0.0, *model[4:]),
        "efficiency": (*model[:2], efficiency, -efficiency, *model[4:]),
        "drift": (epsilon - kappa, *model[1:]),
    }
    for name, wrong in broken.items():
        missed = np.sqrt(np.mean((data["weak_x"].values - gaussian_smoother(*wrong)[0]) ** 2))
        print(f"  broken {name}: {missed:.3f}")
        assert missed > 5 * errors[-1]
    assert filtered > 10 * errors[-1]


# === arguments


RECORD = {"times": np.linspace(0, 0.1, 11), "current_loss": np.zeros((3, 10))}


def test_parts_of_an_ensemble__same_bits(monkeypatch):
    """However many records are worked on at once, by however many workers."""
    system, unraveling = CASES["homodyne"]
    record = simulate(system, unraveling, np.linspace(0, 1, 21), 11, seed=1, step=STEP)
    initial = np.stack([np.diag([1 + z, 1 - z]) / 2 for z in np.linspace(-1, 1, 11)])
    options = {"initial": initial, "observables": ("sz",), "step": STEP}
    whole = smooth(system, unraveling, record, **options)
    parts, run = [], room._forward
    monkeypatch.setattr(room, "_forward", lambda *arguments: parts.append(arguments[2]) or run(*arguments))
    pieces = smooth(system, unraveling, record, max_memory=60e3, n_jobs=2, **options)
    assert len(parts) == 3
    assert whole.drop_attrs().identical(pieces.drop_attrs())


def test_labels_and_means():
    system, unraveling = CASES["heterodyne"]
    record = simulate(system, unraveling, np.linspace(0, 1, 21), 3, seed=1).isel(trajectory=[2, 0])
    data = smooth(system, unraveling, record, observables=("sz", "sm"), save_every=5)
    assert list(data["trajectory"]) == [2, 0]
    assert data.sizes["time"] == 5
    assert {"smoothed_sz", "weak_sz", "weak_sm", "expect_sm", "log_likelihood"} <= set(data)
    assert not {"smoothed_sm", "state", "effect"} & set(data)
    np.testing.assert_allclose(data["smoothed_sz"][:, -1], data["expect_sz"][:, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"save_every": 3}, "`save_every` must divide the number of bins, 10, but is 3"),
        ({"max_memory": "1 KiB"}, "`max_memory` is"),
        ({"unraveling": Homodyne("loss", recorded=False)}, "`unraveling` must have a recorded detector"),
        ({"max_error": 1e-9}, "`record` has bins too wide"),
    ],
)
def test_bad_input(change, message):
    options = {"unraveling": Homodyne("loss"), "progress": False, **change}
    with pytest.raises(ValueError, match=message):
        ba.smooth(QUBIT, record=RECORD, **options)


def test_impossible_click():
    record = {"times": np.linspace(0, 1, 11), "click_time_loss": [0.5, 0.5]}  # nothing left after the first
    with pytest.raises(ValueError, match="the model excludes a click of record 0"):
        ba.smooth(QUBIT, Jumps("loss"), record, progress=False)
