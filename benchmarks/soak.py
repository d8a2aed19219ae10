"""Soak: random systems, detectors, bins and steps, until the time is up; whatever breaks is printed with its case.

    python benchmarks/soak.py                     20 minutes
    python benchmarks/soak.py --minutes 3 --seed 5
    python benchmarks/soak.py --seed 5 --case 17  one case again, in words

Every case simulates, conditions on what it simulated, sometimes with feedback, smooths some records, and holds the
results to what no step may break: finite numbers, norms and traces 1 within 1e-12, no eigenvalue below −1e-14,
Hermitian states, finite log-likelihoods, clicks in order and inside the run, the states of `simulate` again from its
record where a bin is one step; paths of counters alone against products of matrix exponentials.  One case in ten
counts only, in 64 or more dimensions, in either precision.  Errors may be ValueErrors that name an argument (at most
15 % of the cases); warnings may be the package's own.  Memory may not grow.  Exits with status 1 if anything of this
fails.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import expm

import backaction as ba

NORM, EIGENVALUE, HERMITIAN, AGAIN = 1e-12, -1e-14, 1e-16, 1e-10
SINGLE_NORM = 1e-5
#: Of exact runs against products of exponentials.
EXACT = 1e-10
#: Between levels: series beside diffusive detectors end at 1e-10, and likely clicks of unlikely records amplify it.
LEVELS = 1e-6
#: Most steps of a case, all trajectories together.
MAX_STEPS = 3e5
#: Bytes per minute that what the allocator has given away may gain over the last two thirds of the run, beyond doubt.
GROWTH, DOUBT = 0.2 * 2**20, 3.0
#: Growth of the resident memory, from the second third of the run to the last, that is fragmentation: pages that cases
#: of ever new sizes leave half empty.
FRAGMENTS = 24 * 2**20
#: Part of the cases that may be refused.
REFUSED = 0.15
#: How the package's own warnings begin.
KNOWN = (
    "The step", "The basis' edge", "The bins of the record", "The local oscillator", "The mean of the record",
)  # fmt: skip


class Violation(Exception):
    """Something that must not happen."""


#: The largest deviation that each check has seen.
WORST: dict[str, float] = {}


def need(true: Any, what: str) -> None:
    """Raise Violation unless it is true."""
    if not true:
        raise Violation(what)


def within(deviation: float, bound: float, what: str) -> None:
    """Raise Violation unless the deviation is at most its bound."""
    WORST[what] = max(WORST.get(what, 0.0), float(deviation))
    need(deviation <= bound, f"{what}: {deviation:.1e}, allowed {bound:.0e}")


def random_matrix(rng: np.random.Generator, d: int) -> np.ndarray:
    """A random operator: full, sparse, triangular or diagonal; Frobenius norm √d, or 0."""
    x = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    kind = rng.integers(5)
    if kind == 1:
        x = x * (rng.random((d, d)) < 0.3)
    elif kind == 2:
        x = np.triu(x, 1)
    elif kind == 3:
        x = np.diag(np.diag(x))
    norm = np.linalg.norm(x)
    return x * np.sqrt(d) / norm if norm > 0 else x


def random_system(rng: np.random.Generator) -> ba.System:
    """Matrices without structure, or two oscillators."""
    if rng.random() < 0.2:
        levels = int(rng.integers(3, 6))
        rates = rng.uniform(0.2, 2.0, 3)
        return ba.systems.two_vdp(
            kappa1=rates[0], kappa2=rates[1], kappa=rates[2], coupling=rng.uniform(0, 3), detuning=rng.normal(),
            levels=levels,
        )  # fmt: skip
    d = int(rng.integers(2, 7) if rng.random() < 0.85 else rng.integers(7, 19))
    H: Any = rng.exponential(1.0) * random_matrix(rng, d)
    H = H + H.conj().T
    channels = {f"c{k}": 10 ** rng.uniform(-1, 0.5) * random_matrix(rng, d) for k in range(rng.integers(1, 5))}
    if rng.random() < 0.15:
        frequency, V = rng.uniform(0.5, 5.0), random_matrix(rng, d)
        H = [H, (V + V.conj().T, lambda t: np.cos(frequency * t))]
        if rng.random() < 0.5:
            channels["c0"] = (channels["c0"], lambda t: 1.0 + 0.5 * np.sin(frequency * t))
    return ba.System(H, channels, initial=random_state(rng, d), name="random")


def random_state(rng: np.random.Generator, d: int) -> np.ndarray:
    """A ket, or a density matrix of any rank."""
    x = rng.normal(size=(d, rng.integers(1, d + 1))) + 1j * rng.normal(size=(d, 1))
    if rng.random() < 0.6:
        return x[:, 0] / np.linalg.norm(x[:, 0])
    rho = x @ x.conj().T
    rho = rho + rho.conj().T
    return rho / np.trace(rho).real


def random_unraveling(rng: np.random.Generator, channels: list[str]) -> ba.Unraveling:
    """Detectors of all kinds, some channels unwatched, some counters joined."""
    out = ba.Unraveling()
    left = list(rng.permutation(channels))
    while left:
        name = str(left.pop())
        efficiency = float(rng.choice([1.0, 1.0, rng.random(), 0.0], p=[0.3, 0.25, 0.4, 0.05]))
        options: dict[str, Any] = {"efficiency": efficiency, "recorded": bool(rng.random() < 0.85)}
        kind = rng.integers(5)
        if kind == 0:
            phase: Any = rng.uniform(-7, 7)
            if rng.random() < 0.1:
                phase = ba.LocalOscillator(rng.uniform(-5, 5), phase)
            out += ba.Homodyne(name, phase=phase, **options)
        elif kind == 1:
            out += ba.Heterodyne(name, **options)
        elif kind in (2, 3):
            joined = (name, str(left.pop())) if left and rng.random() < 0.3 else name
            dark = float(rng.choice([0.0, rng.exponential(0.5)])) if options["recorded"] else 0.0
            out += ba.QuantumJumps(joined, dark_rate=dark, **options)
    return out


def random_times(rng: np.random.Generator) -> np.ndarray:
    """Bin edges: stretches of equal bins of different widths."""
    widths = [
        np.full(rng.integers(1, 12), 10 ** rng.uniform(-2.5, 0.3) * rng.uniform(0.5, 1))
        for _ in range(rng.integers(1, 5))
    ]
    start = float(rng.choice([0.0, rng.normal(scale=100)]))
    return start + np.concatenate([[0.0], np.cumsum(np.concatenate(widths))])


def random_feedback(rng: np.random.Generator, unraveling: ba.Unraveling, dim: int, width: float) -> list[ba.Feedback]:
    """Of a current, without delay or with one of some bins."""
    currents = [d for d in unraveling.detectors if d.recorded and d.kind != "jumps"]
    if not currents or rng.random() > 0.15:
        return []
    F = random_matrix(rng, dim)
    bandwidth = None if rng.random() < 0.5 else 10 ** rng.uniform(-1, 1)
    delay = float(rng.choice([0.0, 2 * width]))
    return [ba.Feedback(currents[0].name, F + F.conj().T, 0.3 * rng.normal(), delay, bandwidth)]


def check_states(data: Any, allowed: float = NORM) -> None:
    """Norms, traces, eigenvalues, Hermitian."""
    states = data["state"].values
    if data.attrs["level"] == "ket":
        single = " in single precision" if allowed > NORM else ""
        within(abs(np.sum(abs(states) ** 2, axis=-1) - 1).max(), allowed, f"norm{single}")
        return
    within(abs(np.trace(states, axis1=-2, axis2=-1) - 1).max(), NORM, "trace")
    within(abs(states - states.conj().swapaxes(-1, -2)).max(), HERMITIAN, "Hermitian")
    within(-np.linalg.eigvalsh(states).min(), -EIGENVALUE, "negative eigenvalue")


def check_dataset(data: Any, times: np.ndarray, allowed: float = NORM) -> None:
    """Finite numbers, states, clicks."""
    for name, values in data.variables.items():
        need(values.dtype.kind not in "fc" or np.all(np.isfinite(values.values)), f"{name} is not finite")
    check_states(data, allowed)
    for name in [str(n)[11:] for n in data.data_vars if str(n).startswith("click_time_")]:
        clicks = np.split(data[f"click_time_{name}"].values, np.cumsum(data[f"click_count_{name}"].values)[:-1])
        counts = data[f"counts_{name}"].values
        for one, row in zip(clicks, counts, strict=True):
            need(np.all(np.diff(one) >= 0), f"clicks of {name} are not in order")
            need(one.size == 0 or (one[0] >= times[0] and one[-1] < times[-1]), f"a click of {name} is outside the run")
            need(row.sum() == one.size, f"counts of {name} do not add up")


def exact_maps(system: ba.System, unraveling: ba.Unraveling, data: Any, edges: np.ndarray) -> list[np.ndarray]:
    """What the first record of clicks does to ρ, row by row in one vector, in every bin: products of exponentials."""
    lowered = system.lower()
    H, d = lowered.H.toarray(), lowered.dim
    L = {name: c.toarray() for name, c in lowered.channels.items()}
    one = np.eye(d)
    A = -1j * H - 0.5 * sum(c.conj().T @ c for c in L.values())
    rest = np.kron(A, one) + np.kron(one, A.conj()) + sum(np.kron(c, c.conj()) for c in L.values())
    events = []
    for x in unraveling.detectors:
        if not x.recorded:
            continue
        click = x.efficiency * sum(np.kron(L[n], L[n].conj()) for n in x.channels) + x.dark_rate * np.eye(d * d)
        rest = rest - click
        times = data[f"click_time_{x.name}"].values[: int(data[f"click_count_{x.name}"][0])]
        events += [(float(t), click) for t in times]
    events.sort(key=lambda event: event[0])
    maps = []
    for start, stop in pairwise(edges):
        total, now = np.eye(d * d), start
        while events and events[0][0] < stop:
            t, click = events.pop(0)
            total, now = click @ expm(rest * (t - now)) @ total, t
        maps.append(expm(rest * (stop - now)) @ total)
    return maps


def check_exactly(case: Case, data: Any, again: Any) -> None:
    """States, effects and log-likelihood of the first record of counters alone, against products of exponentials."""
    edges = np.append(data["bin"] - data["bin_width"] / 2, data["bin"][-1] + data["bin_width"][-1] / 2)
    maps = exact_maps(case.system, case.unraveling, data, edges)
    rho = matrices(data)[0, 0]
    d = len(rho)
    log_likelihood = sum(x.recorded for x in case.unraveling.detectors) * (edges[-1] - edges[0])
    states = [rho]
    for M in maps:
        rho = (M @ rho.ravel()).reshape(d, d)
        trace = np.trace(rho).real
        log_likelihood += np.log(trace)
        rho = rho / trace
        states.append(rho)
    saved = abs(edges[:, None] - again["time"].values).argmin(axis=0)
    within(abs(np.array(states)[saved] - matrices(again)[0]).max(), EXACT, "counters against exponentials")
    difference = abs(log_likelihood - float(again["log_likelihood"][0])) / max(1.0, abs(log_likelihood))
    within(difference, EXACT, "log-likelihood against exponentials")
    past = ba.smooth(case.system, case.unraveling, data, states=True, progress=False)
    effect = np.eye(d)
    effects = [effect]
    for M in maps[::-1]:
        effect = (M.conj().T @ effect.ravel()).reshape(d, d)
        effect = effect * (d / np.trace(effect).real)
        effects.append(effect)
    found = past["effect"].values[0]
    within(abs(np.array(effects[::-1]) - found).max(), EXACT, "effects against exponentials")


def matrices(data: Any) -> np.ndarray:
    """Density matrices, whatever the level."""
    states = data["state"].values
    return states if data.attrs["level"] == "density" else states[..., :, None] * states[..., None, :].conj()


class Case:
    """One case; everything in it follows from (seed, index)."""

    def __init__(self, seed: int, index: int) -> None:
        rng = np.random.default_rng([seed, index])
        self.system = random_system(rng)
        self.unraveling = random_unraveling(rng, list(self.system.channels))
        self.times = random_times(rng)
        self.ntraj = int(rng.integers(1, 24))
        span, widest = self.times[-1] - self.times[0], np.diff(self.times).max()
        shortest = max(span * self.ntraj / MAX_STEPS, 1e-4)
        step = 10 ** rng.uniform(np.log10(shortest), np.log10(max(10 * widest, 10 * shortest)))
        n_bins = len(self.times) - 1
        level = str(rng.choice(["auto", "ket", "density"]))
        lowered = self.system.lower()
        turning = bool(lowered.channel_terms) or any(d.time_dependent for d in self.unraveling.detectors)
        driven = turning or (lowered.time_dependent and level != "ket")  # beyond what Rouchon is made for
        self.options: dict[str, Any] = {
            "level": level,
            "scheme": ba.Rouchon() if rng.random() < 0.4 and not driven else ba.Splitting(),
            "step": None if rng.random() < 0.25 else float(step),
            "save_every": int(rng.integers(1, n_bins + 2)),
            "n_jobs": int(rng.integers(1, 3)),
            "states": True,
            "progress": False,
        }
        self.seed = int(rng.integers(2**31))
        self.one_step = rng.random() < 0.5
        equal = np.allclose(np.diff(self.times), widest)
        self.feedback = random_feedback(rng, self.unraveling, self.system.lower().dim, widest) if equal else []
        self.smooths = rng.random() < 0.15

    def __repr__(self) -> str:
        bins = f"{len(self.times) - 1} bins of {np.diff(self.times).min():.3g} to {np.diff(self.times).max():.3g}"
        return (
            f"{self.system.name} with {list(self.system.channels)}, {self.unraveling!r}, {bins}, ntraj={self.ntraj}, "
            f"seed={self.seed}, one step per bin: {self.one_step}, {self.feedback}, smooths: {self.smooths}, "
            f"{self.options}"
        )

    def run(self) -> str:
        """Simulate and condition in turn; what became of it."""
        observables = {"one": np.eye(self.system.lower().dim)}
        if self.one_step:
            self.options["step"] = float(1.1 * np.diff(self.times).max())
        data = ba.simulate(
            self.system, self.unraveling, self.times, self.ntraj, seed=self.seed, observables=observables,
            feedback=self.feedback, **self.options,
        )  # fmt: skip
        check_dataset(data, self.times)
        of_one = next(data[n].values for n in ("expect_one", "hidden_one") if n in data)
        within(abs(of_one - 1).max(), NORM, "⟨1⟩")
        if not any(d.recorded for d in self.unraveling.detectors):
            return "simulated"
        hidden = data.attrs["level"] == "ket" and not data.attrs["complete"]
        options = {**self.options, "level": "density" if hidden else data.attrs["level"]}
        options |= {"max_error": np.inf, "seed": self.seed}
        again = ba.condition(self.system, self.unraveling, data, feedback=self.feedback, **options)
        check_dataset(again.drop_vars([n for n in again if str(n).startswith("c")]), self.times)
        need(np.all(np.isfinite(again["log_likelihood"].values)), "log-likelihood is not finite")
        if self.smooths and not self.feedback:
            smoothing = {**options, "level": "density", "save_every": 1}
            past = ba.smooth(self.system, self.unraveling, data, observables=observables, **smoothing)
            ones = [past[n].values for n in past if str(n).startswith("smoothed_one")]
            within(abs(ones[0] - 1).max(), 1e-10, "smoothed ⟨1⟩")
        counting = all(x.kind == "jumps" for x in self.unraveling.detectors)
        if counting and not hidden and not self.system.time_dependent and self.system.lower().dim <= 8:
            check_exactly(self, data, again)
        if self.one_step and not hidden:
            if data.attrs["level"] == "ket" and isinstance(options["scheme"], ba.Splitting) and not self.feedback:
                # the same maps in another kernel
                options |= {"level": "density"}
                other = ba.condition(self.system, self.unraveling, data, **options)
                within(abs(matrices(other) - matrices(again)).max(), LEVELS, "state vectors against density matrices")
            within(abs(matrices(data) - matrices(again)).max(), AGAIN, "condition against simulate")
            return "simulated, conditioned, the same"
        return "simulated, conditioned"


class Counting:
    """Counters alone in a large basis, in either precision."""

    def __init__(self, seed: int, index: int) -> None:
        rng = np.random.default_rng([seed, index])
        rates = 10 ** rng.uniform(-1, 0.5, 4)
        self.system = ba.systems.two_vdp(
            kappa1=rates[0], kappa2=rates[1], kappa=rates[2], coupling=rates[3], detuning=rng.normal(),
            levels=int(rng.integers(8, 13)),
        )  # fmt: skip
        names = list(self.system.channels)
        watched = [n for n in names if rng.random() < 0.7] or names[:1]
        self.unraveling = ba.QuantumJumps(*watched, efficiency=float(rng.choice([1.0, rng.random()])))
        self.times = np.linspace(0, 10 ** rng.uniform(-1, 1), int(rng.integers(2, 30)))
        self.precision = str(rng.choice(["double", "single"]))
        self.seed = int(rng.integers(2**31))

    def __repr__(self) -> str:
        return f"{self.system.lower().dim} levels, {self.unraveling!r}, {self.precision}, seed={self.seed}"

    def run(self) -> str:
        """Simulate."""
        data = ba.simulate(
            self.system, self.unraveling, self.times, 16, seed=self.seed, level=ba.Ket(precision=self.precision),
            states=True, observables=["n_a"], progress=False,
        )  # fmt: skip
        check_dataset(data, self.times, SINGLE_NORM if self.precision == "single" else NORM)
        return f"counted in {self.precision} precision"


def case_of(seed: int, index: int) -> Case | Counting:
    """The case of this number."""
    return Counting(seed, index) if index % 10 == 9 else Case(seed, index)


def attempt(case: Case | Counting) -> str:
    """Run a case; its outcome, or Violation."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for beginning in KNOWN:
            warnings.filterwarnings("ignore", message=beginning, category=RuntimeWarning)
        try:
            return case.run()
        except ValueError as error:  # a FloatingPointError is the NaN that is looked for
            text = str(error)
            need("Argument `" in text or "`step`" in text, f"ValueError names no argument: {text}")
            return f"refused: {text.split(',')[0][:60]}"
        except Violation:
            raise
        except Exception as error:
            raise Violation("".join(traceback.format_exception(error))) from error


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905
    ]


def memory_now() -> tuple[float, float]:
    """Bytes resident, without what the allocator can give back, and those it has given away (NaN: not glibc).

    Python's small objects are not the C library's: each counts as 128 bytes, about their mean.
    """
    gc.collect()
    in_use = np.nan
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        libc.mallinfo2.restype = _Mallinfo
        info = libc.mallinfo2()
        in_use = float(info.uordblks + info.hblkhd + 128 * sys.getallocatedblocks())
    with open("/proc/self/statm") as file:
        return float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")), in_use


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Of a straight line, with its standard error; neighbours may be correlated: means of ten are taken."""
    n = len(x) // 10
    if n < 4:
        return 0.0, np.inf
    x, y = (v[: 10 * n].reshape(n, 10).mean(axis=1) for v in (x, y))
    (value, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(value), float(np.sqrt(covariance[0, 0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one only, and describe it")
    arguments = parser.parse_args()
    if arguments.case is not None:
        case = case_of(arguments.seed, arguments.case)
        print(case)
        print(attempt(case))
        return 0
    for first in (0, 9):
        attempt(case_of(arguments.seed, first))  # compiles
    outcomes: Counter[str] = Counter()
    violations = 0
    memory: list[tuple[float, float, float]] = []
    started = time.monotonic()
    index = 0
    while (elapsed := time.monotonic() - started) < 60 * arguments.minutes:
        case = case_of(arguments.seed, index)
        try:
            outcomes[attempt(case)] += 1
        except Violation as violation:
            violations += 1
            print(f"VIOLATION {violation}\n  {case}")
            print(f"  again: python benchmarks/soak.py --seed {arguments.seed} --case {index}", flush=True)
        index += 1
        if index % 2 == 0:
            memory.append((elapsed / 60, *memory_now()))
    for outcome, number in outcomes.most_common():
        print(f"{number:6d}  {outcome}")
    print("largest deviations: " + ", ".join(f"{what} {value:.1e}" for what, value in WORST.items()))
    minutes, resident, in_use = np.array(memory or [(0.0, 0.0, 0.0)]).T
    late = minutes >= elapsed / 180
    growth, doubt = slope(minutes[late], in_use[late])
    last = minutes >= elapsed / 90
    fragments = (
        float(np.median(resident[last]) - np.median(resident[late & ~last])) if last.any() and not last.all() else 0.0
    )
    print(
        f"{index} cases in {elapsed / 60:.1f} min, {violations} violations; memory in use {growth / 2**20:+.3f} ± "
        f"{doubt / 2**20:.3f} MiB per minute, resident {fragments / 2**20:+.1f} MiB"
    )
    if not np.isfinite(doubt):
        print("too short a run, or another allocator: not measured whether memory grows")
    elif growth - DOUBT * doubt > GROWTH:
        print("VIOLATION memory grows")
        violations += 1
    if fragments > FRAGMENTS:
        print("VIOLATION resident memory grows")
        violations += 1
    refused = sum(number for outcome, number in outcomes.items() if outcome.startswith("refused"))
    if refused > REFUSED * index:
        print(f"VIOLATION {refused} cases were refused")
        violations += 1
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
