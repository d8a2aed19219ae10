"""Quantum systems as an experimenter sees them: one monitored run at a time.

A monitored experiment is a system, an unraveling, one call, and a record; everything after the
record is analysis that works as well on a laboratory's data.

>>> import backaction as ba
>>> system = ba.systems.driven_qubit(rabi=5.0, gamma=1.0)
>>> data = ba.simulate(system, ba.Homodyne("loss"), times=[0, 0.1, 0.2], ntraj=4, seed=7, progress=False)
>>> data["current_loss"].dims
('trajectory', 'bin')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module that holds it.  Resolved on first use (PEP 562), so that
# `import backaction` costs nothing and loads neither qutip nor matplotlib nor xarray.
_PUBLIC = {
    "Basis": "systems",
    "Boson": "systems",
    "Ensemble": "systems",
    "LangevinSystem": "systems",
    "Levels": "systems",
    "Operator": "systems",
    "Spin": "systems",
    "System": "systems",
    "Sampled": "coefficients",
    "coherent": "systems.states",
    "fock": "systems.states",
    "spin": "systems.states",
    "thermal": "systems.states",
    "vacuum": "systems.states",
    "Heterodyne": "unravelings",
    "Homodyne": "unravelings",
    "LocalOscillator": "unravelings",
    "QuantumJumps": "unravelings",
    "Unraveling": "unravelings",
    "Density": "trajectories",
    "Dicke": "trajectories",
    "Feedback": "trajectories",
    "Ket": "trajectories",
    "Moments": "trajectories",
    "PhaseSpace": "trajectories",
    "Rouchon": "trajectories",
    "Splitting": "trajectories",
    "condition": "trajectories",
    "simulate": "trajectories",
    "smooth": "trajectories",
}
_ROOMS = ("systems", "unravelings", "trajectories", "analysis", "references")

__all__ = [*_PUBLIC, *_ROOMS, "__version__"]  # noqa: PLE0604

if TYPE_CHECKING:
    from . import analysis, references, systems, trajectories, unravelings
    from .coefficients import Sampled
    from .systems import (
        Basis,
        Boson,
        Ensemble,
        LangevinSystem,
        Levels,
        Operator,
        Spin,
        System,
    )
    from .systems.states import coherent, fock, spin, thermal, vacuum
    from .trajectories import (
        Density,
        Dicke,
        Feedback,
        Ket,
        Moments,
        PhaseSpace,
        Rouchon,
        Splitting,
        condition,
        simulate,
        smooth,
    )
    from .unravelings import Heterodyne, Homodyne, LocalOscillator, QuantumJumps, Unraveling


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    elif name in _ROOMS:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
