"""What the benchmarks share: contenders that take turns on one core, and the machine they run on.

Import it before numpy, numba, qutip or jax: it limits their thread pools, which read the environment once.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# Freed memory is kept: on a virtual machine a fresh page can cost more than what is computed for it, and whoever runs
# first after another contender would pay.  Of glibc, which ignores its environment once Python runs.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
if (_name := ctypes.util.find_library("c")) and hasattr(_libc := ctypes.CDLL(_name), "mallopt"):
    _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    _libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


class Contender(NamedTuple):
    """`run(steps)` integrates `trajectories` of them; short and long are the steps of the two runs compared."""

    name: str
    run: Callable[[int], object]
    trajectories: int
    short: int
    long: int


def spent(run: Callable[[int], object], steps: int) -> float:
    """CPU seconds of one run."""
    start = time.process_time()
    run(steps)
    return time.process_time() - start


def cost_per_step(c: Contender) -> float:
    """CPU seconds per step and trajectory: a long run less a short one, so that set-up drops out."""
    short, long = spent(c.run, c.short), spent(c.run, c.long)
    return (long - short) / (c.trajectories * (c.long - c.short))


def race(contenders: Sequence[Contender], repeats: int) -> dict[str, list[float]]:
    """CPU seconds per step and trajectory, every repeat of every contender, taking turns."""
    cost: dict[str, list[float]] = {c.name: [] for c in contenders}
    for c in contenders:  # compile, and fill caches
        c.run(c.short)
        c.run(c.long)
    for _ in range(repeats):
        for c in contenders:
            cost[c.name].append(cost_per_step(c))
    return cost


def fastest(contenders: Sequence[Contender]) -> Contender:
    """The contender with the lowest cost in a race of three rounds: one program in several layouts, say."""
    if len(contenders) == 1:
        return contenders[0]
    cost = race(contenders, 3)
    return min(contenders, key=lambda c: statistics.median(cost[c.name]))


def spread(values: Sequence[float]) -> float:
    """(largest − smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


def installed(package: str) -> bool:
    """Is the package there?  Nothing is imported."""
    return importlib.util.find_spec(package) is not None


def machine(*packages: str) -> str:
    """Processor, load, and the versions of Python and of these packages (those that are installed)."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    load = f", load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores{load}, {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{p} {version(p)}" for p in packages if installed(p))
    )


def scientific(seconds: float) -> str:
    """A time with three digits and its unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
