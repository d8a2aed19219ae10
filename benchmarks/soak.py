"""Soak: random systems, detectors, bins and steps, until the time is up; whatever breaks is printed with its case.

    python benchmarks/soak.py                     20 minutes
    python benchmarks/soak.py --minutes 3 --seed 5
    python benchmarks/soak.py --seed 5 --case 17  one case again, in words

Every case simulates, conditions on what it simulated, and holds the results to what no step may break: finite numbers,
norms and traces 1 within 1e-12, no eigenvalue below −1e-14, Hermitian states, finite log-likelihoods, clicks in order
and inside the run, the states of `simulate` again from its record where a bin is one step.  Errors may be ValueError or
FloatingPointError and must name an argument; warnings may be the package's own.  Memory may not grow.  Exits with
status 1 if anything of this fails.
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
from typing import Any

import numpy as np

import backaction as ba

NORM, EIGENVALUE, HERMITIAN, AGAIN = 1e-12, -1e-14, 1e-16, 1e-8
#: Most steps of a case, all trajectories together.
MAX_STEPS = 3e5
#: Growth of the resident memory, from the second third of the run to the last, that is noise.
GROWTH = 24 * 2**20
#: How the package's own warnings begin.
KNOWN = (
    "The step", "The basis' edge", "The bins of the record", "The local oscillator", "The mean of the record",
)  # fmt: skip


class Violation(Exception):
    """Something that must not happen."""


def need(true: Any, what: str) -> None:
    """Raise Violation unless it is true."""
    if not true:
        raise Violation(what)


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
    d = int(rng.integers(2, 7))
    H: Any = rng.exponential(1.0) * random_matrix(rng, d)
    H = H + H.conj().T
    channels = {f"c{k}": 10 ** rng.uniform(-1, 0.5) * random_matrix(rng, d) for k in range(rng.integers(1, 5))}
    if rng.random() < 0.15:
        frequency, V = rng.uniform(0.5, 5.0), random_matrix(rng, d)
        H = [H, (V + V.conj().T, lambda t: np.cos(frequency * t))]
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


def check_states(data: Any) -> None:
    """Norms, traces, eigenvalues, Hermitian."""
    states = data["state"].values
    if data.attrs["level"] == "ket":
        error = abs(np.sum(abs(states) ** 2, axis=-1) - 1).max()
        need(error <= NORM, f"norm is off by {error:.1e}")
        return
    error = abs(np.trace(states, axis1=-2, axis2=-1) - 1).max()
    need(error <= NORM, f"trace is off by {error:.1e}")
    error = abs(states - states.conj().swapaxes(-1, -2)).max()
    need(error <= HERMITIAN, f"state is not Hermitian by {error:.1e}")
    lowest = np.linalg.eigvalsh(states).min()
    need(lowest >= EIGENVALUE, f"smallest eigenvalue is {lowest:.1e}")


def check_dataset(data: Any, times: np.ndarray) -> None:
    """Finite numbers, states, clicks."""
    for name, values in data.variables.items():
        need(values.dtype.kind not in "fc" or np.all(np.isfinite(values.values)), f"{name} is not finite")
    check_states(data)
    for name in [str(n)[11:] for n in data.data_vars if str(n).startswith("click_time_")]:
        clicks = np.split(data[f"click_time_{name}"].values, np.cumsum(data[f"click_count_{name}"].values)[:-1])
        counts = data[f"counts_{name}"].values
        for one, row in zip(clicks, counts, strict=True):
            need(np.all(np.diff(one) >= 0), f"clicks of {name} are not in order")
            need(one.size == 0 or (one[0] >= times[0] and one[-1] < times[-1]), f"a click of {name} is outside the run")
            need(row.sum() == one.size, f"counts of {name} do not add up")


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
        self.options: dict[str, Any] = {
            "level": str(rng.choice(["auto", "ket", "density"])),
            "scheme": ba.Rouchon() if rng.random() < 0.4 else ba.Splitting(),
            "step": None if rng.random() < 0.25 else float(step),
            "save_every": int(rng.integers(1, n_bins + 2)),
            "n_jobs": int(rng.integers(1, 3)),
            "states": True,
            "progress": False,
        }
        self.seed = int(rng.integers(2**31))
        self.one_step = rng.random() < 0.5

    def __repr__(self) -> str:
        bins = f"{len(self.times) - 1} bins of {np.diff(self.times).min():.3g} to {np.diff(self.times).max():.3g}"
        return (
            f"{self.system.name} with {list(self.system.channels)}, {self.unraveling!r}, {bins}, ntraj={self.ntraj}, "
            f"seed={self.seed}, one step per bin: {self.one_step}, {self.options}"
        )

    def run(self) -> str:
        """Simulate and condition in turn; what became of it."""
        observables = {"one": np.eye(self.system.lower().dim)}
        if self.one_step:
            self.options["step"] = float(1.1 * np.diff(self.times).max())
        data = ba.simulate(
            self.system, self.unraveling, self.times, self.ntraj, seed=self.seed, observables=observables,
            **self.options,
        )  # fmt: skip
        check_dataset(data, self.times)
        of_one = next(data[n].values for n in ("expect_one", "hidden_one") if n in data)
        need(abs(of_one - 1).max() <= NORM, f"⟨1⟩ is off by {abs(of_one - 1).max():.1e}")
        if not any(d.recorded for d in self.unraveling.detectors):
            return "simulated"
        hidden = data.attrs["level"] == "ket" and not data.attrs["complete"]
        options = {**self.options, "level": "density" if hidden else data.attrs["level"]}
        again = ba.condition(self.system, self.unraveling, data, max_error=np.inf, seed=self.seed, **options)
        check_dataset(again.drop_vars([n for n in again if str(n).startswith("c")]), self.times)
        need(np.all(np.isfinite(again["log_likelihood"].values)), "log-likelihood is not finite")
        if self.one_step and not hidden:
            a, b = data["state"].values, again["state"].values
            if data.attrs["level"] == "ket":
                distance = np.sqrt(np.maximum(0, 1 - abs(np.sum(a.conj() * b, axis=-1)) ** 2))
                allowed = 1e-6  # the root of rounding
            else:
                distance, allowed = abs(a - b), AGAIN
            need(distance.max() <= allowed, f"condition differs from simulate by {distance.max():.1e}")
            return "simulated, conditioned, the same"
        return "simulated, conditioned"


def attempt(case: Case) -> str:
    """Run a case; its outcome, or Violation."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for beginning in KNOWN:
            warnings.filterwarnings("ignore", message=beginning, category=RuntimeWarning)
        try:
            return case.run()
        except (ValueError, FloatingPointError) as error:
            text = str(error)
            need("Argument `" in text or "`step`" in text, f"{type(error).__name__} names no argument: {text}")
            return f"{type(error).__name__}: {text.split(',')[0][:60]}"
        except Violation:
            raise
        except Exception as error:
            raise Violation("".join(traceback.format_exception(error))) from error


def resident() -> int:
    """Resident memory in bytes, without what the allocator keeps of arrays that are gone."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one only, and describe it")
    arguments = parser.parse_args()
    if arguments.case is not None:
        case = Case(arguments.seed, arguments.case)
        print(case)
        print(attempt(case))
        return 0
    attempt(Case(arguments.seed, 0))  # compiles
    outcomes: Counter[str] = Counter()
    violations = 0
    memory: list[tuple[float, int]] = []
    started = time.monotonic()
    index = 0
    while (elapsed := time.monotonic() - started) < 60 * arguments.minutes:
        case = Case(arguments.seed, index)
        try:
            outcomes[attempt(case)] += 1
        except Violation as violation:
            violations += 1
            print(f"VIOLATION {violation}\n  {case}")
            print(f"  again: python benchmarks/soak.py --seed {arguments.seed} --case {index}", flush=True)
        index += 1
        if index % 10 == 0:
            memory.append((elapsed, resident()))
    for outcome, number in outcomes.most_common():
        print(f"{number:6d}  {outcome}")
    middle = [m for t, m in memory if elapsed / 3 <= t < 2 * elapsed / 3]
    late = [m for t, m in memory if t >= 2 * elapsed / 3]
    growth = float(np.median(late) - np.median(middle)) if middle and late else 0.0
    print(f"{index} cases in {elapsed / 60:.1f} min, {violations} violations, memory {growth / 2**20:+.1f} MiB")
    if growth > GROWTH:
        print("VIOLATION memory grows")
        violations += 1
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
