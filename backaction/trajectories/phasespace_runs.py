"""`simulate` in phase space: from checked arguments to a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import check_size
from ..systems import System
from ..systems.system import check_site_states
from ..systems.wigner import WignerEquations, weyl_symbol
from ..unravelings import Detector, Unraveling
from . import ensemble, noise
from .arguments import check_continues, check_run, count, last_states, stretches, symbolic_observables
from .heun import longest_step, warn_of_drift
from .moment_runs import turn
from .phasespace_plan import phasespace_plan
from .preparation import check_bins
from .record import dataset

if TYPE_CHECKING:
    import xarray as xr

#: Mean |α|² of a mode under a channel of degree 2 below which the diffusion that is left out matters.
SMALL = 1.0


@dataclass(frozen=True)
class PreparedPhaseSpace:
    """A run in phase space that is ready to start.

    Attributes
    ----------
    currents : tuple of Detector
        Those that are recorded, in the order of the record.
    start : list of ndarray
        Amplitudes (n,) of every trajectory, or of all.
    hermitian : dict of str to bool
        Observables: are their symbols real?
    """

    equations: WignerEquations
    currents: tuple[Detector, ...]
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: list[np.ndarray]
    hermitian: dict[str, bool]
    states: bool
    save_every: int

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.hermitian)

    @property
    def recorded(self) -> bool:
        """Is there a record?"""
        return bool(self.currents)

    def job(self, seed: int, ntraj: int) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, [(1.0, x) for x in self.start], len(self.start) > 1, seed, ntraj, self.save_every,
            len(self.currents), len(self.hermitian), self.states,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any]) -> xr.Dataset:
        """Labelled data of finished batches; warns of coarse steps and of small amplitudes under nonlinear loss."""
        dt = max(r.plan.dt for r in self.runs)
        self._warn(batches, dt)
        modes = [site.name for site in self.equations.modes]
        data = dataset(
            batches, self.edges, self.save_every, self.currents, (), self.hermitian, "expect", self.states, len(modes),
            True, [], {"level": "phasespace", "complete": 0, "step": dt, **attrs},
        )  # fmt: skip
        for name in self.hermitian:
            data[f"expect_{name}"].attrs = {
                "long_name": f"Weyl symbol of {name} along the path", "conditioned_on": "nothing",
            }  # fmt: skip
        if self.states:
            data = data.rename(state="amplitude", level="mode")
            data["amplitude"].attrs = {
                "long_name": "amplitudes, distributed as the Wigner function", "modes": ", ".join(modes),
            }  # fmt: skip
        return data

    def _warn(self, batches: list[ensemble.Batch], dt: float) -> None:
        warn_of_drift(batches, dt)
        intensity = np.concatenate([b.edges for b in batches]).mean(axis=0)
        small = [
            f"{site.name!r} (|α|² = {value:.2g})"
            for site, value in zip(self.equations.modes, intensity, strict=True)
            if site.name in self.equations.truncated and value < SMALL
        ]
        if small:
            warnings.warn(
                f"Amplitudes of {', '.join(small)} are too small on average for truncated Wigner with channels of "
                "degree 2, whose diffusion lacks a constant that matters below 1: take results as qualitative, or "
                "choose ba.Ket() or ba.Density().",
                RuntimeWarning,
                stacklevel=4,
            )


def prepare_phasespace(
    system: System,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    *,
    seed: int,
    initial: Any,
    step: float | None,
    observables: Sequence[str] | Mapping[str, Any],
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
) -> PreparedPhaseSpace:
    """Check, derive the equations, draw the initial amplitudes, plan."""
    save_every = count(save_every, "save_every")
    check_run(step, states, n_jobs)
    for d in unraveling.detectors:
        if d.kind == "jumps":
            raise ValueError(
                f"Argument `unraveling`: amplitudes of phase space have no clicks, but {d.name!r} counts; watch it by "
                "ba.Homodyne or ba.Heterodyne, or choose ba.Ket() or ba.Density()."
            )
    check_bins(unraveling, edges)
    check_continues(initial, seed)
    equations = WignerEquations(system)
    operators = symbolic_observables(system, observables)
    # a detector that nobody reads is vacuum that comes in, as anywhere else
    currents = tuple(d for d in unraveling.detectors if d.recorded)
    modes = equations.modes
    n_saved = (len(edges) - 1) // save_every + 1
    size = 16.0 * ntraj * ((len(edges) - 1) * len(currents) + n_saved * (len(operators) + states * len(modes)))
    check_size(size, max_memory, more=", detectors with recorded=False")
    start, typical = _start(equations, initial, ntraj, seed)
    if step is None:
        step = min(default_step(equations, typical, float(edges[-1] - edges[0])), *(turn(d) for d in currents), np.inf)
    symbols = {name: weyl_symbol(O) for name, O in operators.items()}
    runs = [
        ensemble.Run(
            phasespace_plan(equations, currents, symbols, width, step, float(edges[first]), n_bins),
            first, n_bins, width,
        )
        for first, n_bins, width in stretches(edges)
    ]  # fmt: skip
    hermitian = {name: O.hermitian for name, O in operators.items()}
    return PreparedPhaseSpace(equations, currents, runs, edges, start, hermitian, states, save_every)


def default_step(equations: WignerEquations, values: np.ndarray, duration: float) -> float:
    """A step that is short against the rates of the drift, linearised where it starts."""
    J = equations.jacobian(values)
    eigenvalues = np.linalg.eigvals(J)
    rate = max(float(abs(eigenvalues).max()), float(abs(np.diag(J)).max()))
    return longest_step(rate, eigenvalues.imag, abs(eigenvalues.real), duration)


def _start(equations: WignerEquations, initial: Any, ntraj: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Amplitudes to start from, of every trajectory or one for all; and a point for the choice of the step."""
    if initial is None:
        initial = equations.system.initial
    modes = [site.name for site in equations.modes]
    if hasattr(initial, "data_vars"):
        found = initial["amplitude"].attrs["modes"].split(", ") if "amplitude" in initial else modes
        if found != modes:
            raise ValueError(f"Argument `initial` is a dataset of the modes {found}, but the system has {modes}.")
        initial = last_states(initial, "amplitude")
    if initial is None or isinstance(initial, Mapping):
        check_site_states(initial or {}, set(modes))
        mean, variance = equations.initial(initial)
        root = np.sqrt(variance)
        start = []
        for trajectory in range(ntraj):
            rng = noise.generator(seed, trajectory, noise.START)
            x, y = rng.standard_normal((2, len(modes))) / np.sqrt(2)
            start.append(mean + root * (x + 1j * y))
        return start, mean + root * np.exp(1j * np.angle(mean))
    try:
        values = np.asarray(initial, dtype=complex)
    except (TypeError, ValueError):
        values = np.empty(0)
    n = len(modes)
    if hasattr(initial, "data_as") or values.shape not in ((n,), (ntraj, n)) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"Argument `initial` must be site states, a dataset with amplitudes, or finite amplitudes of the {n} modes "
            f"{modes}, ({n},) or ({ntraj}, {n}), but is {type(initial).__name__} of shape {values.shape}."
        )
    return (list(values), values[0]) if values.ndim == 2 else ([values], values)
