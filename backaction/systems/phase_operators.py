"""Harmonics of a phase or of a phase difference as operators: linear in the state, whatever the unraveling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp

from .algebra import Boson
from .basis import Basis
from .husimi import husimi_phase_operator
from .system import LoweredSystem, System
from .unconditional import lower

Kind = Literal["phase", "husimi"]


def phase_operators(
    system: System | LoweredSystem,
    sites: Sequence[str] | str,
    harmonics: int,
    basis: Basis | None = None,
    kind: Kind = "phase",
) -> dict[str, sp.csr_array]:
    """Operators ``M_1, M_2, ...`` whose means are the harmonics of a phase distribution.

    Two modes: ``M_k = Σ |n₁+k, n₂−k⟩⟨n₁, n₂|``, with ``⟨M_k⟩ = E[e^{ikδφ}]`` for ``δφ = arg⟨b₁†b₂⟩``; one mode:
    ``M_k = Σ |n+k⟩⟨n|`` with the phase of a† (of ``⟨a⟩*``).  The distribution is

        ``P(δφ) = (1/2π) [1 + 2 Re Σ_{k≥1} ⟨M_k⟩ e^{−ikδφ}]``,

    so ``q_k = ⟨M_k⟩*`` in the convention of `phase_distribution`.  For the Husimi distribution, which is broader, an
    element is multiplied by ``Γ(n + k/2 + 1)/√(n!(n+k)!)`` for each mode, n the smaller of its two numbers.  Being
    linear in the state, the means of a run do not depend on how it is unraveled; a histogram of the conditional phase
    arg⟨b₁†b₂⟩ does.

    Parameters
    ----------
    system : System or LoweredSystem
        With named bosons.
    sites : str or sequence of str
        One mode, or two for the difference.
    harmonics : int
        How many, k = 1 ... `harmonics`.
    basis : Basis, optional
        The one the run uses.
    kind : {"phase", "husimi"}
        Distribution of the phase operator, or of the phase of the Husimi function.

    Returns
    -------
    dict of str to csr_array, (d, d)
        ``{"M1": ..., "M2": ...}``, to be passed to `simulate` as ``observables``.

    Raises
    ------
    ValueError
        If the sites are not one or two bosons of the system, or there are too many harmonics for the basis.
    """
    if kind not in get_args(Kind):
        raise ValueError(f'Argument `kind` must be "phase" or "husimi", but is {kind!r}.')
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    lowered = lower(system, basis)
    places = {s.name: i for i, s in enumerate(lowered.basis.sites) if isinstance(s, Boson)}
    if len(names) not in (1, 2) or len(set(names)) != len(names) or not set(names) <= set(places):
        raise ValueError(
            f"Argument `sites` must name one boson or two different ones of {sorted(places)}, but is {sites!r}."
        )
    axes = [places[name] for name in names]
    occupations, dims = lowered.basis.occupations, lowered.basis.dims
    most = min(dims[axis] for axis in axes) - 1
    if isinstance(harmonics, bool) or not isinstance(harmonics, (int, np.integer)) or not 1 <= harmonics <= most:
        raise ValueError(f"Argument `harmonics` must be an integer in 1..{most} for this basis, but is {harmonics!r}.")
    index = np.full(int(np.prod(dims)), -1)
    index[lowered.basis.kept] = np.arange(lowered.dim)
    out = {}
    for k in range(1, harmonics + 1):
        shifted = occupations.copy()
        for axis, sign in zip(axes, (1, -1), strict=False):
            shifted[:, axis] += sign * k
        inside = np.flatnonzero(np.all((shifted >= 0) & (shifted < np.array(dims)), axis=1))
        rows = index[np.ravel_multi_index(tuple(shifted[inside].T), dims)]
        kept = rows >= 0
        values = np.ones(kept.sum(), dtype=complex)
        if kind == "husimi":
            for axis in axes:
                smaller = np.minimum(occupations[inside, axis], shifted[inside, axis])[kept]
                site = lowered.basis.sites[axis]
                values *= np.diagonal(husimi_phase_operator(site, dims[axis], k), k)[smaller]
        shape = (lowered.dim, lowered.dim)
        out[f"M{k}"] = sp.csr_array((values, (rows[kept], inside[kept])), shape=shape)
    return out
