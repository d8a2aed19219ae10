"""Plans of `kernels.dicke`: operators in Dicke sectors as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..systems import Ensemble, System
from ..systems.dicke import RAISES, Band, DickeSpace, SectorOperator, kraus, local_rates, sectors
from ..unravelings import Detector, Unraveling
from .kernels.dicke import FIRST_CHANNEL, LINE, DickePlan, padded
from .plan import STEP_FRACTION, substeps

#: Largest table of a turning local oscillator, in numbers.
MAX_TABLE = 5e7


@dataclass(frozen=True)
class DickeRoles:
    """What the detectors make of a system's channels, in Dicke sectors.

    Attributes
    ----------
    space : DickeSpace
        Sites.
    H : SectorOperator
        Hamiltonian.
    diffusive : list of (SectorOperator, Detector, int)
        √η L without its phase, and its row of the record (−1: hidden).
    jumps : list of (SectorOperator, int)
        Jump operators and their counters (−1: hidden).
    dark : list of float
        Rate of dark counts of each counter.
    local : list of (site, rates)
        Rates of pump, loss and dephasing of each species.
    currents, counters : tuple of Detector
        Recorded detectors.
    """

    space: DickeSpace
    H: SectorOperator
    diffusive: list[tuple[SectorOperator, Detector, int]]
    jumps: list[tuple[SectorOperator, int]]
    dark: list[float]
    local: list[tuple[int, np.ndarray]]
    currents: tuple[Detector, ...]
    counters: tuple[Detector, ...]

    @property
    def complete(self) -> bool:
        """Does the record determine the state?"""
        joined = any(len(d.channels) > 1 for d in self.counters)
        hidden = any(counter < 0 for _, counter in self.jumps) or any(output < 0 for _, _, output in self.diffusive)
        return not (joined or hidden or self.local or any(self.dark))


def dicke_roles(system: System, unraveling: Unraveling, levels: Mapping[str, int]) -> DickeRoles:
    """Lower a system and give its channels their roles.

    Parameters
    ----------
    system : System
        Symbolic, constant in time; sites are bosons and ensembles of spins 1/2.
    unraveling : Unraveling
        Its detectors.
    levels : mapping
        Boson -> Fock levels, where they are not the default.

    Raises
    ------
    ValueError
        For systems that have no Dicke sectors, and local channels other than σ⁺, σ⁻ and σ^z.
    """
    if not system.symbolic or system.time_dependent:
        raise ValueError(
            "Argument `system` must have symbolic operators that do not depend on time at level 'dicke'; choose "
            "another level."
        )
    space = DickeSpace.of(system.sites, levels)
    currents = tuple(d for d in unraveling.detectors if d.recorded and d.kind != "jumps")
    counters = tuple(d for d in unraveling.detectors if d.recorded and d.kind == "jumps")
    channels = {name: space.lower(system.output(name)) for name in system.outputs}
    diffusive: list[tuple[SectorOperator, Detector, int]] = []
    jumps: list[tuple[SectorOperator, int]] = []
    for d in unraveling.detectors:
        for name in d.channels:
            L = channels.pop(name)
            if not d.recorded and d.kind == "jumps":
                jumps.append((L, -1))
                continue
            seen = math.sqrt(d.efficiency) * L
            if d.kind == "jumps":
                jumps.append((seen, counters.index(d)))
            else:
                diffusive.append((seen, d, currents.index(d) if d.recorded else -1))
            if d.efficiency < 1:
                jumps.append((math.sqrt(1 - d.efficiency) * L, -1))
    jumps += [(L, -1) for L in channels.values()]
    local: dict[int, np.ndarray] = {}
    for name, each in system.local_channels.items():
        site = space.sites.index(each.ensemble)
        local[site] = local.get(site, np.zeros(3)) + local_rates(name, each)
    return DickeRoles(
        space,
        space.lower(system.hamiltonian),
        [item for item in diffusive if item[0].terms or item[2] >= 0],
        [item for item in jumps if item[0].terms],
        [d.dark_rate for d in counters],
        [(site, rates) for site, rates in local.items() if rates.any()],
        currents,
        counters,
    )


def dicke_step(roles: DickeRoles) -> float:
    """A step short against the mean rate of events at J = N/2 and against the turning of what is measured.

    Local jumps count with the rate of one spin: each changes the state by 1/N only.
    """
    space = roles.space
    top = [0] * len(space.sites)
    dim = math.prod(space.levels)
    events = sum(L.size(top) ** 2 for L in [c for c, _, _ in roles.diffusive] + [L for L, _ in roles.jumps]) / dim
    turning = [0.0]
    for c, d, _ in roles.diffusive:
        size = c.size(top)
        if size > 0:
            turning.append((roles.H @ c + (-1.0) * (c @ roles.H)).size(top) / size)
        frequency = getattr(d.phase, "frequency", 0.0)
        turning.append(abs(frequency) / 4)
    rate = events + max(turning) + sum(float(rates.sum()) for _, rates in roles.local)
    return STEP_FRACTION / rate if rate > 0 else math.inf


class _Tables:
    """Numbers of bands, laid out sector by sector; equal ones once."""

    def __init__(self, space: DickeSpace) -> None:
        self.widths = [*space.levels[:-1], padded(space.levels[-1])]
        self.parts: list[np.ndarray] = []
        self.used = 0
        self.known: dict[tuple, int] = {}

    def add(self, site: int, band: Band) -> int:
        key = (site, band.key)
        if key not in self.known:
            out = np.zeros((band.values.shape[0], self.widths[site]))
            out[:, : band.values.shape[1]] = band.gathered
            self.known[key] = self.used
            self.parts.append(out.reshape(-1))
            self.used += out.size
        return self.known[key]

    def array(self) -> np.ndarray:
        """All numbers, and an empty line behind them."""
        return np.concatenate([*self.parts, np.zeros(LINE)])


def dicke_plan(
    roles: DickeRoles,
    observables: Sequence[SectorOperator],
    width: float,
    step: float,
    t0: float,
    n_bins: int,
) -> DickePlan:
    """Operators and detectors as arrays, for bins of one width.

    Parameters
    ----------
    roles : DickeRoles
        System and detectors.
    observables : sequence of SectorOperator
        To be followed.
    width, step : float
        Of a bin, and the upper bound of a step.
    t0, n_bins : float, int
        Where the stretch of bins begins, and how many there are.

    Raises
    ------
    ValueError
        If a turning local oscillator needs too large a table.
    """
    space = roles.space
    loss = SectorOperator([])
    rate = SectorOperator([])
    for c, _, _ in roles.diffusive:
        loss = loss + c.dag() @ c
    for L, _ in roles.jumps:
        rate = rate + L.dag() @ L
    for site, rates in roles.local:
        rate = rate + _local_rate(space, site, rates)
    G = (-1j) * roles.H + (-0.5) * (loss + rate)
    operators = [*_parts(G), *_parts(rate), *(c for c, _, _ in roles.diffusive), *(L for L, _ in roles.jumps)]
    operators += observables
    tables = _Tables(space)
    terms = [term for O in operators for term in O.terms]
    shifts = np.array([[b.shift for b in bands] for _, bands in terms], dtype=np.int64).reshape(-1, len(space.sites))
    places = [[tables.add(a, b) for a, b in enumerate(bands)] for _, bands in terms]
    spins = np.array([s.N if isinstance(s, Ensemble) else 0 for s in space.sites], dtype=np.int64)
    n_sub = substeps(width, step)
    turning = any(d.time_dependent for _, d, _ in roles.diffusive)
    n_steps = n_bins * n_sub if turning else 1
    if 2.0 * n_steps * len(roles.diffusive) > MAX_TABLE:
        raise ValueError(
            f"Argument `times` spans {n_steps:.2g} steps of a turning local oscillator in one run; use shorter runs, "
            "or pass a longer `step`."
        )
    middle = t0 + width / n_sub * (np.arange(n_steps) + 0.5)
    phases = np.array(
        [d.phase_at(middle) if d.kind == "homodyne" else np.zeros(n_steps) for _, d, _ in roles.diffusive]
    ).reshape(-1, n_steps)
    kinds = [0 if d.kind == "homodyne" else 1 for _, d, _ in roles.diffusive]
    local_site, local_to, local_shift, local, arrive = _local_kraus(roles)
    guard = padded(int(max(abs(shifts[:, -1]).max(initial=0), 2))) + LINE
    size = math.prod(space.levels[:-1]) * padded(space.levels[-1])
    return DickePlan(
        ptr=np.zeros((1, guard + size + 1), dtype=np.int64),
        re=np.array([c.real for c, _ in terms], dtype=float),
        im=np.array([c.imag for c, _ in terms], dtype=float),
        op_ptr=np.cumsum([0, *(len(O.terms) for O in operators)]).astype(np.int64),
        shifts=shifts,
        places=np.array(places, dtype=np.int64).reshape(-1, len(space.sites)),
        tables=tables.array(),
        widths=np.array(tables.widths, dtype=np.int64),
        spins=spins,
        levels=np.array(space.levels, dtype=np.int64),
        guard=guard,
        n_channels=len(kinds),
        kinds=np.array(kinds, dtype=np.int64),
        outputs=np.array([output for _, _, output in roles.diffusive], dtype=np.int64),
        columns=np.cumsum([0, *(1 + kind for kind in kinds)]).astype(np.int64),
        rotation=np.ascontiguousarray(np.stack([np.cos(phases), np.sin(phases)], axis=-1).transpose(1, 0, 2)),
        jumps=FIRST_CHANNEL + len(kinds) + np.arange(len(roles.jumps), dtype=np.int64),
        counters=np.array([counter for _, counter in roles.jumps], dtype=np.int64),
        dark=np.array(roles.dark, dtype=float),
        local_site=local_site,
        local_to=local_to,
        local_shift=local_shift,
        local=local,
        arrive=arrive,
        n_observables=len(observables),
        n_bosons=int(np.count_nonzero(spins == 0)),
        dt=width / n_sub,
        n_sub=n_sub,
        given=False,
    )


def _parts(operator: SectorOperator) -> tuple[SectorOperator, SectorOperator]:
    """What is not diagonal, and what is."""
    diagonal = [all(b.shift == 0 for b in bands) for _, bands in operator.terms]
    return (
        SectorOperator([t for t, d in zip(operator.terms, diagonal, strict=True) if not d]),
        SectorOperator([t for t, d in zip(operator.terms, diagonal, strict=True) if d]),
    )


def _local_rate(space: DickeSpace, site: int, rates: np.ndarray) -> SectorOperator:
    """ΣK†K of the local channels of a species."""
    species = space.sites[site]
    assert isinstance(species, Ensemble)
    bands = list(space.identity)
    values = sum(rates[kind] * (kraus(species.N, kind) ** 2).sum(axis=0) for kind in range(3))
    bands[site] = Band(0, np.asarray(values))
    return SectorOperator([(1.0, tuple(bands))])


def _local_kraus(roles: DickeRoles) -> tuple[np.ndarray, ...]:
    """Species, J' − J, change of k and numbers (both ways) of every Kraus operator of local channels."""
    found: list[tuple[int, int, int, np.ndarray]] = []
    for site, rates in roles.local:
        species = roles.space.sites[site]
        assert isinstance(species, Ensemble)
        for kind in range(3):
            if rates[kind] > 0:
                K = math.sqrt(rates[kind]) * kraus(species.N, kind)
                found += [(site, i - 1, i - 1 - RAISES[kind], K[i]) for i in range(3) if K[i].any()]
    most = max((s.N for s in roles.space.sites if isinstance(s, Ensemble)), default=0)
    out = np.zeros((len(found), sectors(most), most + 1))
    for o, (_, _, _, K) in enumerate(found):
        out[o, : K.shape[0], : K.shape[1]] = K
    arrive = np.zeros((len(found), sectors(most), padded(most + 1)))
    for o, (_, _, shift, K) in enumerate(found):
        arrive[o, : K.shape[0], : K.shape[1]] = Band(shift, K).gathered
    columns = np.array([item[:3] for item in found], dtype=np.int64).reshape(-1, 3)
    return *(np.ascontiguousarray(columns[:, i]) for i in range(3)), out, arrive  # type: ignore[return-value]
