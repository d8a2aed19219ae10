"""Plans of `kernels.phasespace`: Weyl symbols as products and rows, noise, and what detectors make of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..systems.moments import Polynomial
from ..systems.wigner import WignerEquations
from ..unravelings import Detector
from .kernels.phasespace import PhaseSpacePlan
from .moment_plan import real_measurements, rotation_table
from .plan import substeps
from .polynomials import Products, row_table


def phasespace_plan(
    equations: WignerEquations,
    detectors: Sequence[Detector],
    observables: Mapping[str, Polynomial],
    width: float,
    step: float,
    t0: float,
    n_bins: int,
) -> PhaseSpacePlan:
    """Equations and detectors as arrays, for bins of one width.

    Parameters
    ----------
    equations : WignerEquations
        Of the system.
    detectors : sequence of Detector
        Homodyne and heterodyne, recorded; the record has a row for each.
    observables : mapping of str to Polynomial
        Symbols to be followed.
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
    n = products.n
    watched = [d.channels[0] for d in detectors]
    noises = {name: equations.noise(name) for name in equations.system.outputs}
    # two white noises for every channel that drives or is watched
    first_of = {name: 2 * i for i, name in enumerate(c for c in noises if noises[c] or c in watched)}
    constant: list[tuple[int, int, complex]] = []  # amplitude, white noise, coefficient
    varying: list[tuple[int, int, Polynomial]] = []
    for name, driven in noises.items():
        for v, parts in driven.items():
            for k, part in enumerate(parts):
                if set(part) == {()}:
                    constant.append((products.node[v], first_of[name] + k, complex(part[()])))
                elif part:
                    varying.append((products.node[v], first_of[name] + k, part))
    constant.sort(key=lambda item: item[:2])
    varying.sort(key=lambda item: item[:2])

    rows = [products.row(part) for _, _, part in varying]
    rows += [products.row(equations.drift[v]) for v in equations.variables]
    rows += [products.row(equations.signal(name)) for name in watched]
    needed = [len(products.factors)]
    rows += [products.row(symbol) for symbol in observables.values()]
    needed.append(len(products.factors))

    n_sub = substeps(width, step)
    measurements = real_measurements(detectors)
    homodyne = np.array([d.kind == "homodyne" for _, _, d in measurements], dtype=bool)
    efficiency = np.array([d.efficiency for _, _, d in measurements], dtype=float)
    return PhaseSpacePlan(
        ptr=np.zeros((1, n + 1), dtype=np.int64),
        **row_table(rows),
        **products.table(),
        needed=np.array(needed, dtype=np.int64),
        n_signals=len(watched),
        n_observables=len(observables),
        n_noises=2 * len(first_of) + len(measurements),
        kick_ptr=_begins([j for j, _, _ in constant], n),
        kick_noise=np.array([w for _, w, _ in constant], dtype=np.int64),
        kick_re=np.array([c.real for _, _, c in constant]),
        kick_im=np.array([c.imag for _, _, c in constant]),
        varying_ptr=_begins([j for j, _, _ in varying], n),
        varying_noise=np.array([w for _, w, _ in varying], dtype=np.int64),
        signal=np.array([k for k, _, _ in measurements], dtype=np.int64),
        vacuum=np.array([first_of[d.channels[0]] for _, _, d in measurements], dtype=np.int64),
        own=2 * len(first_of) + np.arange(len(measurements), dtype=np.int64),
        gain=np.where(homodyne, 2.0, 1.0) * np.sqrt(efficiency),
        # lost light; of heterodyne detection a quadrature of it and of the image band, whose half is 1/2 each
        rest=np.sqrt(np.where(homodyne, 1.0 - efficiency, 0.5 * (1.0 - 0.5 * efficiency))),
        outputs=np.array([k for k, _, _ in measurements], dtype=np.int64),
        part=np.array([part for _, part, _ in measurements], dtype=np.int64),
        rotation=rotation_table(measurements, t0, width / n_sub, n_bins * n_sub),
        dt=width / n_sub,
        n_sub=n_sub,
    )


def _begins(amplitudes: list[int], n: int) -> np.ndarray:
    """Where those of each amplitude begin in a sorted list, (n + 1,)."""
    return np.searchsorted(np.array(amplitudes, dtype=np.int64), np.arange(n + 1)).astype(np.int64)
