"""What a run says of itself: its recipe, and warnings about the limits it has met."""

from __future__ import annotations

import json
import math
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..systems import LangevinSystem, System
from ..unravelings import Unraveling
from . import ensemble

#: Mean probability of an event per step above which the step is called coarse.
COARSE = 0.15
#: The same for the angle by which H turns what is measured, in rad per step.
TURN = 0.5
#: Mean population of a cut-off edge above which it is reported.
EDGE = 2e-3


def warn_of_limits(
    batches: list[ensemble.Batch], edge_names: list[str], diffusive: bool, dt: float, turn: float
) -> None:
    hazard = float(np.mean(np.concatenate([b.hazard for b in batches])))
    if diffusive and (hazard > COARSE or turn > TURN):
        better = dt / 3 * min(COARSE / hazard if hazard else math.inf, TURN / turn if turn else math.inf)
        warnings.warn(
            f"The step {dt:.3g} is coarse: {hazard:.2g} events per step; H turns what is measured by {turn:.2g} rad. "
            f"Pass step={better:.2g} or less.",
            RuntimeWarning,
            stacklevel=4,
        )
    populations = np.concatenate([b.edges for b in batches]).mean(axis=0)
    for name, population in zip(edge_names, populations, strict=True):
        if population > EDGE:
            warnings.warn(
                f"The basis' edge {name!r} holds {population:.2g} of the population: raise its levels "
                "(`levels=` or `basis=` of the model, or level=ba.Ket(basis=ba.Basis(levels=...))).",
                RuntimeWarning,
                stacklevel=4,
            )


def _axis(edges: np.ndarray) -> Any:
    """The edges as numpy.linspace makes them, or all of them."""
    uniform = np.array_equal(edges, np.linspace(edges[0], edges[-1], len(edges)))
    return {"linspace": [edges[0], edges[-1], len(edges)]} if uniform else edges.tolist()


def _basis(system: System | LangevinSystem) -> dict[str, str]:
    """The system's own basis: a cut-off can decide the physics."""
    basis = getattr(system, "basis", None)
    return {"basis": repr(basis)} if basis is not None else {}


def recipe(
    system: System | LangevinSystem,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    seed: int,
    level: Any,
    step: float | None,
    observables: list[str],
    states: bool,
    save_every: int,
    initial: Any,
) -> str:
    versions = {}
    for package in ("backaction", "numpy", "scipy", "numba"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return json.dumps(
        {
            "system": {"name": system.name, "parameters": dict(system.parameters), **_basis(system)},
            "unraveling": repr(unraveling),
            "times": _axis(edges),
            "ntraj": ntraj,
            "seed": seed,
            "level": str(level),
            "step": step,
            "observables": observables,
            "states": states,
            "save_every": save_every,
            "initial": initial if initial is None or isinstance(initial, str) else repr(initial)[:2000],
            "versions": versions,
        },
        default=str,
    )
