"""A damped cavity from a coherent state, physics notes 7 (b): the same on every record of every detector."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm, poisson

from backaction import Heterodyne, Homodyne, QuantumJumps, coherent, thermal
from backaction.systems import damped_cavity
from physics.helpers import CONTROL, LIMIT, fitted_order, ks_sigma, run, worst

OMEGA, KAPPA, ALPHA = 0.7, 1.0, 0.9 - 0.4j
CAVITY = damped_cavity(KAPPA, omega=OMEGA, levels=18)
SPLIT = CAVITY.split("loss", first=0.3, second=0.3, third=0.4)
TIMES = np.linspace(0, 3, 7)
START = {"a": coherent(ALPHA)}

DIFFUSIVE = {
    "homodyne": (CAVITY, Homodyne("loss", phase=0.4)),
    "heterodyne": (CAVITY, Heterodyne("loss")),
    "all three": (SPLIT, Homodyne("first", phase=0.4) + Heterodyne("second") + QuantumJumps("third")),
    "homodyne, efficiency": (CAVITY, Homodyne("loss", phase=0.4, efficiency=0.6)),
    "heterodyne, unwatched": (SPLIT, Heterodyne("second")),
}
COUNTING = {
    "jumps": (CAVITY, QuantumJumps("loss")),
    "jumps, efficiency, dark counts": (CAVITY, QuantumJumps("loss", efficiency=0.5, dark_rate=0.3)),
    "one counter of two outputs": (SPLIT, QuantumJumps(("first", "second"))),
}


def alpha(t, omega=OMEGA):
    """α₀e^{−(iω+κ/2)t}."""
    return ALPHA * np.exp(-(1j * omega + KAPPA / 2) * t)


def follow(system, unraveling, level, step=None):
    """⟨a⟩, ⟨n⟩ and purity along 32 records."""
    data = run(
        system,
        unraveling,
        TIMES,
        32,
        seed=0,
        initial=START,
        level=level,
        step=step,
        observables=("a", "n"),
        states=True,
    )
    prefix = "hidden" if "hidden_a" in data else "expect"
    states = data["state"].values
    if level == "ket":
        purity = (abs(states) ** 2).sum(axis=-1) ** 2
    else:
        purity = np.einsum("tkij,tkji->tk", states, states).real
    return data[f"{prefix}_a"].values, data[f"{prefix}_n"].values, purity


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("case", DIFFUSIVE)
def test_every_record_of_a_current_finds_the_same_coherent_state(case, level):
    system, unraveling = DIFFUSIVE[case]
    steps, errors = np.array([0.02, 0.01, 0.005]), []
    for step in steps:
        a, n, purity = follow(system, unraveling, level, step)
        errors.append(float(np.sqrt((abs(a - alpha(TIMES)) ** 2).mean())))
        assert abs(a - alpha(TIMES)).max() < step**1.5
        assert abs(n - abs(a) ** 2).max() < step**1.5  # and a coherent one
        assert abs(purity - 1).max() < 1e-6
    order = fitted_order(steps, errors)
    print(f"cavity, {case}, {level}: rms {errors}, order {order:.2f}")
    assert order > 0.9
    a, _, _ = follow(system, unraveling, level, 1e-3)
    assert abs(a - alpha(TIMES)).max() < 1e-4  # the requirement is 1e-3 at κdt = 1e-3
    assert abs(a - alpha(TIMES, 1.01 * OMEGA)).max() > 1e-3


@pytest.mark.parametrize("level", ["ket", "density"])
@pytest.mark.parametrize("case", COUNTING)
def test_every_record_of_a_counter_finds_the_same_coherent_state(case, level):
    """Counting has no step error: to the rounding of the cut-off."""
    system, unraveling = COUNTING[case]
    a, n, purity = follow(system, unraveling, level)
    print(f"cavity, {case}, {level}: {abs(a - alpha(TIMES)).max():.1e}")
    assert abs(a - alpha(TIMES)).max() < 1e-9
    assert abs(n - abs(a) ** 2).max() < 1e-9
    assert abs(purity - 1).max() < 1e-9


def test_a_state_that_is_not_coherent_is_disturbed():
    """The control: records of a thermal state differ."""
    data = run(
        CAVITY,
        Homodyne("loss"),
        TIMES,
        16,
        seed=0,
        initial={"a": thermal(0.5)},
        level="density",
        observables=("a",),
    )
    assert data["expect_a"].values[:, -1].std() > 0.05


# === records


def poisson_sigma(counts, mean):
    """χ² of counts against a Poisson law, as standard errors of a normal."""
    top = int(poisson.isf(10 / len(counts), mean))
    seen = np.bincount(np.minimum(counts, top), minlength=top + 1)
    law = poisson.pmf(np.arange(top + 1), mean)
    law[-1] = poisson.sf(top - 1, mean)
    expected = len(counts) * law
    return float(norm.isf(chi2.sf(((seen - expected) ** 2 / expected).sum(), top) / 2))


@pytest.mark.parametrize("efficiency, dark_rate", [(1.0, 0.0), (0.5, 0.2)])
def test_counts_are_poissonian(efficiency, dark_rate):
    detector = QuantumJumps("loss", efficiency=efficiency, dark_rate=dark_rate)
    data = run(CAVITY, detector, [0.0, 1.0, 3.0], 20000, seed=0, initial=START)
    counts = data["counts_loss"].values
    light = efficiency * abs(ALPHA) ** 2 * -np.diff(np.exp(-KAPPA * np.array([0.0, 1.0, 3.0])))
    mean = light + dark_rate * np.array([1.0, 2.0])
    good = [poisson_sigma(counts[:, i], mean[i]) for i in range(2)]
    together = poisson_sigma(counts.sum(axis=1), mean.sum())
    broken = [poisson_sigma(counts[:, i], 1.2 * mean[i]) for i in range(2)]
    print(f"Poisson counts: z {good}, {together:.2f}; broken {broken}")
    assert max(*good, together) < LIMIT
    assert min(broken) > CONTROL
    # numbers in different bins are independent
    assert worst((counts[:, 0] - mean[0]) * (counts[:, 1] - mean[1])) < LIMIT


def test_counts_of_a_thermal_state_are_not_poissonian():
    data = run(CAVITY, QuantumJumps("loss"), [0.0, 3.0], 20000, seed=0, initial={"a": thermal(0.5)})
    counts = data["click_count_loss"].values
    assert poisson_sigma(counts, counts.mean()) > CONTROL


@pytest.mark.parametrize("efficiency", [1.0, 0.4])
@pytest.mark.parametrize("kind", ["heterodyne", "homodyne"])
def test_the_filtered_current_is_gaussian(kind, efficiency):
    """Z = ∫√κ e^{(iω−κ/2)t} I dt: mean √η α₀(1 − e^{−κt}), noise that of the vacuum."""
    system = damped_cavity(KAPPA, omega=0.0 if kind == "homodyne" else OMEGA, levels=18)
    phase = 0.4
    detector = (
        Heterodyne("loss", efficiency=efficiency)
        if kind == "heterodyne"
        else Homodyne("loss", phase=phase, efficiency=efficiency)
    )
    edges = np.linspace(0, 3, 151)
    data = run(system, detector, edges, 20000, seed=0, initial=START, step=0.02)
    current, width = data["current_loss"].values, edges[1]
    rate = KAPPA / 2 + (1j * OMEGA if kind == "heterodyne" else 0.0)
    # the filter's bin average, so that ∫f I dt of the signal is exact to O(width²)
    f = np.sqrt(KAPPA) * np.exp(-np.conj(rate) * 0.5 * (edges[1:] + edges[:-1]))
    signal = np.sqrt(KAPPA) * ALPHA * -np.diff(np.exp(-rate * edges)) / rate  # ∫√κα over each bin
    if kind == "homodyne":
        signal = 2 * (np.exp(-1j * phase) * signal).real
    Z = current @ f * width
    mean = np.sqrt(efficiency) * f @ signal
    variance = width * (abs(f) ** 2).sum()
    closed = np.sqrt(efficiency) * ALPHA * (1 - np.exp(-3.0))
    if kind == "heterodyne":
        assert abs(mean - closed) < 1e-3
        parts = np.concatenate([(Z - mean).real, (Z - mean).imag])
        spread = np.sqrt(variance / 2)
        assert worst((Z - mean) ** 2) < LIMIT  # E δZ² = 0: circular
        wrong = worst(Z, np.conj(mean))
    else:
        assert abs(mean - 2 * (np.exp(-1j * phase) * closed).real) < 1e-3
        parts, spread = (Z - mean).real, np.sqrt(variance)
        wrong = worst(Z.real, 2 * (np.exp(1j * phase) * closed).real)
    good = ks_sigma(parts / spread, norm.cdf)
    noise = ks_sigma(parts / (1.2 * spread), norm.cdf)
    print(f"filtered current, {kind}, η = {efficiency}: z {good:.2f}; broken {wrong:.0f}, {noise:.1f}")
    assert worst(Z, mean) < LIMIT
    assert worst(abs(Z - mean) ** 2, variance) < LIMIT
    assert good < LIMIT
    assert min(wrong, noise) > CONTROL
    assert worst(abs(Z - mean) ** 2, 1.15 * variance) > CONTROL
    assert worst(Z, mean / efficiency**0.5 * (efficiency if efficiency < 1 else 0.8)) > CONTROL
