"""Named one-site states, written without reference to a basis and lowered by each level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number, Real

import numpy as np
from scipy.special import gammaln, xlogy

from .algebra import Levels, Site, Spin
from .ensembles import Ensemble


@dataclass(frozen=True)
class SiteState:
    """A named state of one site: `kind` and its parameters."""

    kind: str
    parameters: tuple[complex, ...] = ()

    def lower(self, site: Site, levels: int) -> np.ndarray:
        """Vector (levels,) or density matrix (levels, levels) in the site's first `levels` states."""
        if isinstance(site, Ensemble):  # every member in this state
            return site.product(self.lower(site.member, site.member.levels))
        return _LOWERINGS[self.kind](site, levels, *self.parameters)


def vacuum() -> SiteState:
    """Ground state: |0⟩ of a boson, m = −J of a spin, level 0 of a few-level site."""
    return SiteState("vacuum")


def fock(n: int) -> SiteState:
    """Number state |n⟩ of a boson, or level n of a few-level site that is not a spin."""
    if not isinstance(n, Real) or n < 0 or int(n) != n:
        raise ValueError(f"Argument `n` must be an integer >= 0, but is {n!r}.")
    return SiteState("fock", (int(n),))


def coherent(alpha: complex) -> SiteState:
    """Coherent state |α⟩ of a boson, cut off and renormalised; refused if the cut loses over 1e-3."""
    return SiteState("coherent", (_finite(alpha, "alpha"),))


def thermal(n: float) -> SiteState:
    """Thermal state of a boson with mean occupation `n`; refused if the cut loses over 1e-3."""
    if not isinstance(n, Real) or not 0 <= n < np.inf:
        raise ValueError(f"Argument `n` must be >= 0, but is {n!r}.")
    return SiteState("thermal", (float(n),))


def spin(theta: float, phi: float) -> SiteState:
    """Spin coherent state along (θ, φ): θ = 0 is m = +J; ⟨S₊⟩ = J sin θ e^{iφ}."""
    return SiteState("spin", (_finite(theta, "theta"), _finite(phi, "phi")))


def _finite(value: complex, argument: str) -> complex:
    if not isinstance(value, Number) or not np.isfinite(complex(value)):
        raise ValueError(f"Argument `{argument}` must be a finite number, but is {value!r}.")
    return complex(value)


def _vacuum(site: Site, levels: int) -> np.ndarray:
    vector = np.zeros(levels, dtype=complex)
    vector[-1 if isinstance(site, Spin) else 0] = 1.0
    return vector


def _fock(site: Site, levels: int, n: complex) -> np.ndarray:
    k = int(n.real)
    if isinstance(site, Spin):
        raise ValueError(
            f"Argument `initial`: fock() does not fit the spin {site.name!r}; use ba.spin(theta, phi) or ba.vacuum()."
        )
    if k >= levels:
        raise ValueError(f"Argument `initial` asks for level {k} of site {site.name!r}, but only {levels} are kept.")
    vector = np.zeros(levels, dtype=complex)
    vector[k] = 1.0
    return vector


def _check_cut(site: Site, kept: float, what: str, levels: int) -> None:
    if kept < 1 - 1e-3:
        raise ValueError(
            f"Argument `initial`: {what} of site {site.name!r} loses {1 - kept:.1e} of its population "
            f"beyond {levels} levels; raise `levels`."
        )


def _need_boson(site: Site, what: str) -> None:
    if isinstance(site, Levels):
        raise ValueError(f"Argument `initial`: {what} needs a boson, but site {site.name!r} is a few-level system.")


def _coherent(site: Site, levels: int, alpha: complex) -> np.ndarray:
    _need_boson(site, "coherent()")
    n = np.arange(levels)
    # by logarithms: αⁿ and √n! leave the range of doubles before their ratio does
    size = np.exp(xlogy(n, abs(alpha)) - 0.5 * abs(alpha) ** 2 - 0.5 * gammaln(n + 1))
    vector = size * np.exp(1j * np.angle(alpha) * n)
    kept = float(np.vdot(vector, vector).real)
    _check_cut(site, kept, f"coherent({alpha:g})", levels)
    return vector / np.sqrt(kept)


def _thermal(site: Site, levels: int, n: complex) -> np.ndarray:
    _need_boson(site, "thermal()")
    ratio = n.real / (1 + n.real)
    p = (1 - ratio) * ratio ** np.arange(levels)
    _check_cut(site, float(p.sum()), f"thermal({n.real:g})", levels)
    return np.diag(p / p.sum()).astype(complex)


def _spin(site: Site, levels: int, theta: complex, phi: complex) -> np.ndarray:
    if not isinstance(site, Spin):
        raise ValueError(f"Argument `initial`: spin() needs a Spin site, but {site.name!r} is {type(site).__name__}.")
    k = np.arange(levels)  # number of lowerings from m = +J
    binomial = 0.5 * (gammaln(levels) - gammaln(k + 1) - gammaln(levels - k))
    c, s = np.cos(theta.real / 2), np.sin(theta.real / 2)
    sign = np.sign(c) ** (levels - 1 - k) * np.sign(s) ** k
    size = np.exp(binomial + xlogy(levels - 1 - k, abs(c)) + xlogy(k, abs(s)))
    return sign * size * np.exp(1j * phi.real * k)


_LOWERINGS: dict[str, Callable[..., np.ndarray]] = {
    "vacuum": _vacuum,
    "fock": _fock,
    "coherent": _coherent,
    "thermal": _thermal,
    "spin": _spin,
}
