"""`simulate` in Dicke sectors: from checked arguments to a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import check_size
from ..systems import Ensemble, Spin, System
from ..systems.dicke import DickeSpace
from ..systems.states import vacuum
from ..systems.system import check_site_states
from ..unravelings import Unraveling
from . import ensemble
from .arguments import check_run, count, stretches, symbolic_observables
from .dicke_plan import DickeRoles, dicke_plan, dicke_roles, dicke_step
from .kernels.dicke import DickePlan, padded, span_of
from .levels import Dicke
from .preparation import check_bins
from .record import dataset
from .report import EDGE

if TYPE_CHECKING:
    import xarray as xr

#: Mean number of events per step above which the step is called coarse; jumps of single spins count, too.
COARSE = 0.5


@dataclass(frozen=True)
class PreparedDicke:
    """A run in Dicke sectors that is ready to start.

    Attributes
    ----------
    roles : DickeRoles
        Operators and what the detectors make of them.
    start : ndarray
        Initial amplitudes as the kernel lays them out.
    hermitian : dict of str to bool
        Observables: are their means real?
    """

    roles: DickeRoles
    runs: list[ensemble.Run]
    edges: np.ndarray
    start: np.ndarray
    hermitian: dict[str, bool]
    save_every: int

    @property
    def names(self) -> list[str]:
        """Observables that are followed."""
        return list(self.hermitian)

    @property
    def recorded(self) -> bool:
        """Is there a record?"""
        return bool(self.roles.currents or self.roles.counters)

    def job(self, seed: int, ntraj: int) -> ensemble.Job:
        """The job of an ensemble."""
        return ensemble.Job(
            self.runs, self.edges, [(1.0, self.start)], False, seed, ntraj, self.save_every, len(self.roles.currents),
            len(self.hermitian), False,
        )  # fmt: skip

    def dataset(self, batches: list[ensemble.Batch], attrs: dict[str, Any]) -> xr.Dataset:
        """Labelled data of finished batches; warns of populated edges and coarse steps."""
        dt = max(r.plan.dt for r in self.runs)
        hazard = float(np.mean(np.concatenate([b.hazard for b in batches])))
        if hazard > COARSE:
            warnings.warn(
                f"The step {dt:.3g} is coarse: {hazard:.2g} events per step. Pass step={dt / 3 * COARSE / hazard:.2g} "
                "or less.",
                RuntimeWarning,
                stacklevel=3,
            )
        space = self.roles.space
        bosons = [s.name for s in space.sites if not isinstance(s, Ensemble)]
        for name, population in zip(bosons, np.concatenate([b.edges for b in batches]).mean(axis=0), strict=True):
            if population > EDGE:
                warnings.warn(
                    f"The basis' edge {name!r} holds {population:.2g} of the population: raise its levels (`levels=` "
                    "of the model, or level=ba.Dicke(basis=ba.Basis(levels=...))).",
                    RuntimeWarning,
                    stacklevel=3,
                )
        complete = self.roles.complete
        attrs = {"level": "dicke", "complete": int(complete), "step": dt, **attrs}
        return dataset(
            batches, self.edges, self.save_every, self.roles.currents, self.roles.counters, self.hermitian,
            "expect" if complete else "hidden", False, 0, True, bosons, attrs,
        )  # fmt: skip


def prepare_dicke(
    system: System,
    unraveling: Unraveling,
    edges: np.ndarray,
    ntraj: int,
    *,
    level: Dicke,
    initial: Any,
    step: float | None,
    observables: Sequence[str] | Mapping[str, Any],
    states: bool,
    save_every: int,
    n_jobs: int,
    max_memory: str | float,
) -> PreparedDicke:
    """Check, lower to Dicke sectors, plan."""
    save_every = count(save_every, "save_every")
    check_run(step, states, n_jobs)
    if states:
        raise ValueError(
            "Argument `states` must be False at level 'dicke', whose states change their size from jump to jump; "
            "follow `observables`."
        )
    basis = level.basis or system.basis
    if basis is not None and basis.totals:
        raise ValueError("Argument `basis` must have no `totals` at level 'dicke'; give the bosons `levels`.")
    levels = basis.levels if basis is not None else {}
    check_bins(unraveling, edges)
    roles = dicke_roles(system, unraveling, levels)
    followed = symbolic_observables(system, observables)
    operators = [roles.space.lower(O) for O in followed.values()]
    recorded = len(roles.currents) + len(roles.counters)
    n_saved = (len(edges) - 1) // save_every + 1
    size = 16.0 * ntraj * ((len(edges) - 1) * recorded + n_saved * len(operators))
    bound = step or dicke_step(roles)
    plans: dict[float, DickePlan] = {}
    runs = []
    turning = any(d.time_dependent for _, d, _ in roles.diffusive)
    for first, n_bins, width in stretches(edges):
        if turning or width not in plans:
            plans[width] = dicke_plan(roles, operators, width, bound, float(edges[first]), n_bins)
        runs.append(ensemble.Run(plans[width], first, n_bins, width))
    plan = runs[0].plan
    assert isinstance(plan, DickePlan)
    size += 11 * 8.0 * span_of(plan) * (n_jobs if n_jobs > 0 else 8)
    ways_out = ", fewer `n_jobs`, detectors with recorded=False"
    check_size(size, max_memory, "states and result need", ways_out)
    hermitian = {name: O.hermitian for name, O in followed.items()}
    return PreparedDicke(roles, runs, edges, _start(system, roles.space, initial, plan), hermitian, save_every)


def _start(system: System, space: DickeSpace, initial: Any, plan: DickePlan) -> np.ndarray:
    """A product of site states, all members of a species alike, with the kernel's empty lines."""
    if initial is None:
        initial = system.initial
    known = {s.name for s in space.sites}
    if initial is not None and not isinstance(initial, Mapping):
        raise ValueError(
            f"Argument `initial` must map sites {sorted(known)} to site states like ba.spin(theta, phi) at level "
            f"'dicke', but is {type(initial).__name__}."
        )
    given = dict(initial or {})
    check_site_states(given, known)
    out = np.ones((1, 1), dtype=complex)
    for site, n in zip(space.sites, space.levels, strict=True):
        whole = Spin(site.name, site.N / 2) if isinstance(site, Ensemble) else site
        vector = given.get(site.name, vacuum()).lower(whole, n)
        if vector.ndim != 1:
            raise ValueError(
                f"Argument `initial` must hold pure states at level 'dicke', but that of {site.name!r} is mixed; start "
                "from draws of it."
            )
        out = np.kron(out, vector[None, :])
    rows = out.reshape(-1, space.levels[-1])
    start = np.zeros((len(rows), padded(space.levels[-1])), dtype=complex)
    start[:, : rows.shape[1]] = rows / np.linalg.norm(rows)
    return np.concatenate([np.zeros(plan.guard), start.reshape(-1)])
