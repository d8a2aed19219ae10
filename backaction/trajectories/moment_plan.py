"""Plans of `kernels.moments`: polynomials of means and covariances as products and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..systems.moments import MomentEquations, Polynomial
from ..unravelings import Detector
from .kernels.moments import MomentPlan
from .plan import substeps
from .polynomials import Products, row_table

#: Largest table of a turning local oscillator, in numbers.
MAX_TABLE = 5e7


def moment_plan(
    equations: MomentEquations,
    detectors: list[Detector],
    outputs: list[int],
    observables: Mapping[str, Polynomial],
    width: float,
    step: float,
    t0: float,
    n_bins: int,
) -> MomentPlan:
    """Equations and detectors as arrays, for bins of one width.

    Parameters
    ----------
    equations : MomentEquations
        Of order 1 or 2; at order 1 without detectors.
    detectors : list of Detector
        Homodyne and heterodyne.
    outputs : list of int
        Each one's row of the record, or −1.
    observables : mapping of str to Polynomial
        Means to be followed.
    width, step : float
        Of a bin, and the upper bound of a step.
    t0, n_bins : float, int
        Where the stretch of bins begins, and how many there are.

    Raises
    ------
    ValueError
        If a turning local oscillator needs too large a table.
    """
    products = Products(equations)
    means = [v for v in equations.variables if len(v) == 1]
    covariances = [v for v in equations.variables if len(v) == 2]
    n = products.n
    channels = [equations.system.output(d.channels[0]) for d in detectors]
    signals = [equations.mean(L) for L in channels]
    for polynomial in signals:
        for key in polynomial:
            products.of(key)
    needed = [len(products.factors)]
    rows: list[Polynomial] = [equations.drift[v] for v in equations.variables]
    responses = [equations.response(L) for L in channels]
    noisy = [v for v in equations.variables if len(v) == 1 or any(v in r for r in responses)]
    for signal, response in zip(signals, responses, strict=True):
        rows.append(signal)
        for k in range(2):
            rows += [response[v][k] if v in response else {} for v in noisy]
    # is the noise of a variable on which the noise depends?
    fed = {*noisy, *map(equations.conjugate, noisy)} if detectors else set()
    multiplicative = any(
        factor in fed for r in responses for parts in r.values() for part in parts for key in part for factor in key
    )
    terms = [products.row(row) for row in rows]
    needed.append(len(products.factors))
    terms += [products.row(row) for row in observables.values()]
    needed.append(len(products.factors))

    rank = {v: i for i, v in enumerate(means)}
    of_mean = {equations.conjugate(v): len(noisy) + i for v, i in rank.items()} | rank
    n_sub = substeps(width, step)
    measurements = real_measurements(detectors)
    halves = [1.0 if d.kind == "homodyne" else 2.0 for _, _, d in measurements]
    return MomentPlan(
        ptr=np.zeros((1, n + 1), dtype=np.int64),
        **row_table(terms),
        **products.table(),
        needed=np.array(needed, dtype=np.int64),
        n_means=len(means),
        noisy=np.array([equations.variables.index(v) for v in noisy], dtype=np.int64),
        multiplicative=multiplicative,
        channels=len(detectors),
        first=np.array([of_mean[(x,)] for x, _ in covariances], dtype=np.int64),
        second=np.array([of_mean[(y,)] for _, y in covariances], dtype=np.int64),
        channel=np.array([k for k, _, _ in measurements], dtype=np.int64),
        root=np.array([np.sqrt(d.efficiency / h) for (_, _, d), h in zip(measurements, halves, strict=True)]),
        outputs=np.array([outputs[k] for k, _, _ in measurements], dtype=np.int64),
        part=np.array([part for _, part, _ in measurements], dtype=np.int64),
        scale=np.array([1 / np.sqrt(h) for h in halves]),
        rotation=rotation_table(measurements, t0, width / n_sub, n_bins * n_sub),
        n_observables=len(observables),
        dt=width / n_sub,
        n_sub=n_sub,
        given=False,
    )


def real_measurements(detectors: Sequence[Detector]) -> list[tuple[int, int, Detector]]:
    """(detector's number, part, detector): heterodyne is two, the second a quarter of a turn ahead."""
    return [(k, part, d) for k, d in enumerate(detectors) for part in range(2 if d.kind == "heterodyne" else 1)]


def rotation_table(measurements: Sequence[tuple[int, int, Detector]], t0: float, dt: float, n_steps: int) -> np.ndarray:
    """cos φ and sin φ in the middle of every step, (n_steps, n_measurements, 2); one step for all if no phase turns."""
    if not any(d.time_dependent for _, _, d in measurements):
        n_steps = 1
    if 2.0 * n_steps * len(measurements) > MAX_TABLE:
        raise ValueError(
            f"Argument `times` spans {n_steps:.2g} steps of a turning local oscillator in one run; continue shorter "
            "runs with `initial`, or pass a longer `step`."
        )
    middle = t0 + dt * (np.arange(n_steps) + 0.5)
    phases = np.array([d.phase_at(middle) + part * np.pi / 2 for _, part, d in measurements]).reshape(-1, n_steps)
    return np.ascontiguousarray(np.stack([np.cos(phases), np.sin(phases)], axis=-1).transpose(1, 0, 2))
