"""Optomechanical cells: a driven cavity and a mechanical oscillator each, in units of the mechanical frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from .algebra import Boson, Operator, rate
from .basis import Basis
from .system import System

#: Two cells in the regime of mixed synchronization (g₀ = κ = .3, drive .3): PHYSICS.md section 8's cut-offs.
PHOTONS, PHONONS, PHONONS_IN_ALL = 6, 22, 32


def optomechanical_pair(
    g0: float,
    kappa: float,
    drive: float,
    detuning: float,
    gamma: float,
    coupling: float,
    n_thermal: float = 0.0,
    basis: Basis | None = None,
) -> System:
    """Two optomechanical cells with coupled mechanics, [S] Weiss et al., New J. Phys. 18, 013043 (2016).

    ``H = Σ_j [−Δ a_j†a_j + b_j†b_j − g₀ a_j†a_j (b_j + b_j†) + α_L (a_j + a_j†)] − K (b_1†b_2 + h.c.)`` and
    ``κD[a_j] + Γ(n_th + 1)D[b_j] + Γ n_th D[b_j†]``; the frame of the laser for light, the laboratory's for mechanics.

    Parameters
    ----------
    g0, kappa, drive, detuning : float
        Single-photon coupling g₀, cavity decay κ, laser amplitude α_L and detuning Δ (laser minus cavity), in units
        of the mechanical frequency.
    gamma, coupling : float
        Mechanical damping Γ and phonon hopping K.
    n_thermal : float
        Thermal occupation of the mechanical baths.
    basis : Basis, optional
        By default 6 photons in both cavities together and 32 phonons, at most 22 in one oscillator (d = 12 628): what
        g₀ = κ = α_L = .3 needs near its mixed regime.  Too few levels put the pair into the wrong regime with no other
        sign than the populations of the edges.

    Returns
    -------
    System
        Sites ``a1``, ``a2`` (light), ``b1``, ``b2`` (mechanics); channels ``cavity_1``, ``cavity_2``, ``loss_1``,
        ``loss_2``, with n_thermal > 0 ``heating_1``, ``heating_2``; observables ``a1``, ``a2``, ``b1``, ``b2``, the
        numbers ``n_a1`` ... ``n_b2`` and ``coherence``, b_1†b_2.
    """
    if basis is None:
        basis = Basis(
            levels={"a1": PHOTONS + 1, "a2": PHOTONS + 1, "b1": PHONONS + 1, "b2": PHONONS + 1},
            totals=[(("a1", "a2"), PHOTONS), (("b1", "b2"), PHONONS_IN_ALL)],
        )
    cell = {
        "g0": g0, "kappa": kappa, "drive": drive, "detuning": detuning, "gamma": gamma, "coupling": coupling,
        "n_thermal": n_thermal,
    }  # fmt: skip
    mechanics = [Boson("b1"), Boson("b2")]
    H, channels, observables = _cells([Boson("a1"), Boson("a2")], mechanics, [(0, 1)], ["1", "2"], cell)
    observables["coherence"] = mechanics[0].a.dag() * mechanics[1].a
    return System(H, channels, observables, basis=basis, name="optomechanical_pair", parameters=cell)


def optomechanical_array(
    shape: int | Sequence[int],
    g0: float,
    kappa: float,
    drive: float,
    detuning: float,
    gamma: float,
    coupling: float,
    n_thermal: float = 0.0,
    periodic: bool = False,
) -> System:
    """Optomechanical cells on a lattice with phonons hopping between neighbours, [S] Ludwig and Marquardt, PRL 111,
    073603 (2013).

    The cells and their parameters are those of `optomechanical_pair`.  Meant for ``ba.PhaseSpace()``: state vectors of
    more than two cells are too large.

    Parameters
    ----------
    shape : int or sequence of int
        Cells along each axis of the lattice: 20 is a chain, (8, 8) a square.
    g0, kappa, drive, detuning, gamma, coupling, n_thermal : float
        As in `optomechanical_pair`.
    periodic : bool
        Are the ends of each axis neighbours?

    Returns
    -------
    System
        Sites ``a_0`` ... and ``b_0`` ... numbered along the last axis first; channels ``cavity_0``, ``loss_0``,
        ``heating_0`` ...; observables ``a_0`` ..., ``b_0`` ... and the numbers ``n_a_0`` ..., ``n_b_0`` ...

    Raises
    ------
    ValueError
        For a shape that is no lattice.
    """
    sizes: tuple[Any, ...] = (shape,) if np.ndim(shape) == 0 else tuple(np.asarray(shape).tolist())
    if not sizes or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in sizes):
        raise ValueError(f"Argument `shape` must be a number of cells >= 1, or one for each axis, but is {shape!r}.")
    cells = {place: i for i, place in enumerate(product(*(range(n) for n in sizes)))}
    neighbours = []
    for place, i in cells.items():
        for axis, n in enumerate(sizes):
            step = place[axis] + 1
            if step < n or (periodic and n > 2):  # two cells are neighbours once
                neighbours.append((i, cells[(*place[:axis], step % n, *place[axis + 1 :])]))
    width = len(str(len(cells) - 1))  # sites are sorted by name
    labels = [f"{i:0{width}d}" for i in range(len(cells))]
    cell = {
        "g0": g0, "kappa": kappa, "drive": drive, "detuning": detuning, "gamma": gamma, "coupling": coupling,
        "n_thermal": n_thermal,
    }  # fmt: skip
    light, mechanics = [Boson(f"a_{label}") for label in labels], [Boson(f"b_{label}") for label in labels]
    H, channels, observables = _cells(light, mechanics, neighbours, labels, cell)
    parameters = {"shape": [int(n) for n in sizes], "periodic": periodic, **cell}
    return System(H, channels, observables, name="optomechanical_array", parameters=parameters)


def _cells(
    light: Sequence[Boson],
    mechanics: Sequence[Boson],
    neighbours: Sequence[tuple[int, int]],
    labels: Sequence[str],
    cell: Mapping[str, float],
) -> tuple[Operator, dict[str, Operator], dict[str, Operator]]:
    """H, channels and the observables of every mode."""
    cavity, damping, hot = rate(cell["kappa"], "kappa"), rate(cell["gamma"], "gamma"), cell["n_thermal"]
    rate(hot, "n_thermal")
    H, channels = Operator({}), {}
    observables: dict[str, Operator] = {}
    for a, b, label in zip(light, mechanics, labels, strict=True):
        pressure = a.n * (b.a + b.a.dag())
        H = H - cell["detuning"] * a.n + b.n - cell["g0"] * pressure + cell["drive"] * (a.a + a.a.dag())
        channels[f"cavity_{label}"] = cavity * a.a
        channels[f"loss_{label}"] = damping * (1 + hot) ** 0.5 * b.a
        if hot > 0:
            channels[f"heating_{label}"] = damping * hot**0.5 * b.a.dag()
    for i, j in neighbours:
        hop = cell["coupling"] * (mechanics[i].a.dag() * mechanics[j].a)
        H = H - hop - hop.dag()
    for mode in (*light, *mechanics):
        observables |= {mode.name: mode.a, f"n_{mode.name}": mode.n}
    return H, channels, observables
