"""Statistics of a counter's clicks in the steady state: waiting times and g²."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import expm
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import expm_multiply, splu

from ..systems.basis import Basis
from ..systems.system import LoweredSystem, System
from ..systems.unconditional import Sectors, lower, steady_state
from ..unravelings import Unraveling
from .arguments import detectors, instants, prepare
from .propagation import DENSE

if TYPE_CHECKING:
    import xarray


def waiting_times(
    system: System | LoweredSystem,
    unraveling: Unraveling,
    times: np.ndarray,
    *,
    channel: str | None = None,
    basis: Basis | None = None,
) -> xarray.Dataset:
    """Exact density of the time between successive clicks of a counter in the steady state.

    With the click map ``𝒥ρ = ηΣLρL† + νρ``, ``w(t) = Tr 𝒥e^{(𝓛−𝒥)t}𝒥ρ / Tr 𝒥ρ``.

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    unraveling : Unraveling
        With a counter (efficiency η, dark rate ν); other detectors make no difference.
    times : array_like, (n,)
        Times since a click, not decreasing.
    channel : str, optional
        Which counter (its name in the record), if there are several.
    basis : Basis, optional
        Basis to lower the system to.

    Returns
    -------
    xarray.Dataset
        ``density(time)``, ``survival(time)`` (probability of no click yet); attrs ``rate`` (clicks per
        time), ``mean`` = 1/rate, ``variance``.
    """
    import xarray as xr

    times = instants(times, "times")
    lowered, sectors, rho = prepare(system, unraveling, basis)
    (detector,) = detectors(unraveling, ("jumps",), 1, channel, "channel")
    d = lowered.dim
    click = sp.csr_array(detector.dark_rate * sp.eye_array(d * d, dtype=complex, format="csr"))
    for name in detector.channels:
        L = lowered.channels[name]
        click = click + detector.efficiency * sp.kron(L, L.conj(), format="csr")
    after = click @ rho.ravel()
    rate = float(after[sectors.diagonal].sum().real)
    if rate <= 1e-14 * max(1.0, float(abs(sectors.generator).max())):
        raise ValueError(f"Argument `unraveling` must have a counter that clicks, but {detector.name!r} never does.")
    labels = connected_components(abs(sectors.generator) + abs(click), directed=False)[1]
    waiting = Sectors(sp.csr_array(sectors.generator - click), labels)
    members = waiting.around(after)
    block, vector = waiting.block(members), after[members] / rate
    trace = np.isin(members, sectors.diagonal).astype(float)
    hazard = trace @ click[members][:, members]
    path = _path(block, vector, times)
    solver = splu(sp.csc_array(block))
    once = solver.solve(vector)  # ∫₀^∞ of the survival is −Tr(𝓛−𝒥)⁻¹, of 2t × survival 2Tr(𝓛−𝒥)⁻²
    mean = -float((trace @ once).real)
    variance = 2 * float((trace @ solver.solve(once)).real) - mean**2
    return xr.Dataset(
        {"density": ("time", (path @ hazard).real), "survival": ("time", (path @ trace).real)},
        coords={"time": times},
        attrs={"channel": detector.name, "rate": rate, "mean": mean, "variance": variance,
               "efficiency": detector.efficiency, "dark_rate": detector.dark_rate},
    )  # fmt: skip


def g2(
    system: System | LoweredSystem, channel: str, delays: np.ndarray, *, basis: Basis | None = None
) -> xarray.Dataset:
    """``g²(τ) = ⟨L†(t)L†(t+τ)L(t+τ)L(t)⟩/⟨L†L⟩²`` in the steady state.

    Losses do not change it: it is the same for any efficiency (without dark counts).

    Parameters
    ----------
    system : System or LoweredSystem
        System with a unique steady state.
    channel : str
        Channel counted.
    delays : array_like, (n,)
        τ ≥ 0, not decreasing.
    basis : Basis, optional
        Basis to lower the system to.

    Returns
    -------
    xarray.Dataset
        ``g2(delay)``; attr ``rate`` = ⟨L†L⟩.
    """
    import xarray as xr

    delays = instants(delays, "delays")
    lowered = lower(system, basis)
    if channel not in lowered.channels:
        raise ValueError(
            f"Argument `channel` must be one of the system's channels {sorted(lowered.channels)}, but is {channel!r}."
        )
    L = lowered.channels[channel]
    sectors, rho = Sectors.of(lowered), steady_state(lowered)
    after = (L @ rho @ L.conj().T).ravel()
    rate = float(after[sectors.diagonal].sum().real)
    if rate <= 0:
        raise ValueError(f"Argument `channel` must have a flux, but ⟨L†L⟩ of {channel!r} is {rate:.3g}.")
    members = sectors.around(after)
    number = (L.conj().T @ L).toarray().T.ravel()[members]
    path = _path(sectors.block(members), after[members] / rate, delays)
    return xr.Dataset(
        {"g2": ("delay", (path @ number).real / rate)},
        coords={"delay": delays},
        attrs={"channel": channel, "rate": rate},
    )


def _path(block: sp.csr_array, vector: np.ndarray, times: np.ndarray) -> np.ndarray:
    """e^{tA}v at each time, (n_times, n)."""
    out = np.empty((len(times), len(vector)), dtype=complex)
    steps = np.diff(times, prepend=0.0)
    propagators: dict[float, np.ndarray] = {}
    for j, step in enumerate(steps):
        if step > 0:
            if len(vector) <= DENSE:
                rounded = float(f"{step:.12e}")
                if rounded not in propagators:
                    propagators = {rounded: expm(step * block.toarray())}
                vector = propagators[rounded] @ vector
            else:
                vector = expm_multiply(step * block, vector)
        out[j] = vector
    return out
