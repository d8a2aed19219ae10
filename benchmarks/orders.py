"""Weak and strong orders, measured: the table of docs/accuracy.md.  About two minutes on a slow core.

Weak: slope of the error per time of the average of one step, by quadrature over its noise; with a counter or H(t), over
white noise and clicks weighted with their likelihoods.  Strong: slope of the root mean square distance between paths
and the same paths from their own records, added up to longer steps.

    python benchmarks/orders.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import backaction as ba

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from trajectories.given import weak_errors_of_records
from trajectories.one_step import CASES, DRIVEN, slope, strong_errors, weak_errors

WEAK = 0.02 / 2.0 ** np.arange(4)
STRONG = 64 * 2 ** np.arange(5)


def main() -> None:
    print("| detectors | level | scheme | weak order | error per time | strong order | error of a path |")
    print("|---|---|---|---|---|---|---|")
    for name, case in (CASES | DRIVEN).items():
        for level in ("ket", "density") if case.ket else ("density",):
            for scheme in (ba.Splitting(), ba.Rouchon()):
                if name in DRIVEN and level == "density" and scheme == ba.Rouchon():
                    continue  # not offered
                measure = weak_errors_of_records if case.counts or name in DRIVEN else weak_errors
                errors = measure(case, scheme, level, WEAK)
                paths = strong_errors(case, scheme, level, STRONG)
                print(
                    f"| {name} | {level} | {type(scheme).__name__} | {slope(WEAK, errors):.2f} | {errors[1]:.1e} "
                    f"| {slope(case.duration / STRONG, paths):.2f} | {paths[1]:.1e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
