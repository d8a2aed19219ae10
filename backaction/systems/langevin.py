"""Systems that are classical from the start: Langevin equations, and the oscillators of [T] chapter 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np

from .algebra import rate

#: From values (variable, trajectory) to values of the same shape.
Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LangevinSystem:
    """Itô equations ``dx_i = f_i(x) dt + Σ_j b_ij(x) dξ_j`` of real variables, or of complex amplitudes.

    ``ba.simulate(system, None, times, ntraj, ...)`` runs them; nobody measures.

    Parameters
    ----------
    drift : callable
        f: from values (n, trajectories) to drifts of the same shape, elementwise in the trajectories, NumPy functions
        only.
    diffusion : float, array (n,), array (n, m), or callable
        b: one strength, one for each variable (each with its own noise), a matrix that mixes m noises, or a function
        of the values as `drift` is, for noise of its own of each variable.
    initial : array (n,), or callable
        Where every trajectory starts, or a function of a ``numpy.random.Generator`` that draws a start, (n,).
    variables : sequence of str, optional
        Names; ``x_0`` ... by default.
    observables : mapping of str to callable
        Functions from values (n, trajectories) to (trajectories,), complex where they are.
    complex_noise : bool
        Are the variables complex, ``E|dξ|² = dt`` and ``E dξ² = 0``?  Otherwise they are real, ``E dξ² = dt``.
    name, parameters : str, mapping
        For the recipe that is stored with the data.

    Raises
    ------
    ValueError
        If a shape does not fit, a value is not finite, or a function is none.

    Examples
    --------
    >>> import numpy as np
    >>> LangevinSystem(lambda x: -x, 0.1, initial=np.zeros(1)).variables  # an Ornstein-Uhlenbeck process
    ('x_0',)
    """

    drift: Field
    diffusion: Any
    initial: Any
    variables: Sequence[str] = ()
    observables: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    complex_noise: bool = False
    name: str = "langevin"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.drift):
            raise ValueError(f"Argument `drift` must be a function, but is {type(self.drift).__name__}.")
        for name, observable in self.observables.items():
            if not callable(observable):
                raise ValueError(
                    f"Argument `observables[{name!r}]` must be a function of the values, but is "
                    f"{type(observable).__name__}."
                )
        start = self.draw(np.random.default_rng(0))
        variables = tuple(self.variables) or tuple(f"x_{i}" for i in range(len(start)))
        if isinstance(self.variables, str) or len(variables) != len(start) or len(set(variables)) != len(variables):
            raise ValueError(
                f"Argument `variables` must be {len(start)} different names, one for each value of `initial`, but is "
                f"{self.variables!r}."
            )
        object.__setattr__(self, "variables", variables)
        x = np.stack([start, start], axis=1)
        self.evaluate(self.drift, x, "drift")
        if callable(self.diffusion):
            self.evaluate(self.diffusion, x, "diffusion")
            return
        b = np.asarray(self.diffusion)
        n = len(start)
        if b.dtype.kind not in "fiuc" or (np.iscomplexobj(b) and not self.complex_noise):
            kind = "complex" if self.complex_noise else "real"
            raise ValueError(
                f"Argument `diffusion` must be {kind} numbers or a function, but is {self.diffusion!r}; complex noise"
                " needs complex_noise=True."
            )
        if not (b.ndim == 0 or b.shape == (n,) or (b.ndim == 2 and len(b) == n)) or not np.all(np.isfinite(b)):
            raise ValueError(
                f"Argument `diffusion` must be a finite number, or have shape ({n},) or ({n}, m), but has {b.shape}."
            )

    @property
    def dtype(self) -> type:
        """Of the values: float or complex."""
        return complex if self.complex_noise else float

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A start, (n,)."""
        x = np.asarray(self.initial(rng) if callable(self.initial) else self.initial)
        if x.ndim != 1 or not len(x) or not np.all(np.isfinite(x)) or (np.iscomplexobj(x) and not self.complex_noise):
            kind = "complex" if self.complex_noise else "real"
            raise ValueError(
                f"Argument `initial` must be finite {kind} values, (n,), or draw them; but has shape {x.shape}."
            )
        return x.astype(self.dtype)

    def evaluate(self, function: Field, x: np.ndarray, argument: str) -> np.ndarray:
        """Values of a field, checked."""
        out = np.asarray(function(x))
        if out.shape != x.shape or not np.all(np.isfinite(out)) or (np.iscomplexobj(out) and not self.complex_noise):
            raise ValueError(
                f"Argument `{argument}` must take values (variables, trajectories) = {x.shape} to finite ones of the "
                f"same shape{'' if self.complex_noise else ', real'}, but gives {out.dtype} of shape {out.shape}."
            )
        return out


def _number(value: float, name: str) -> None:
    if not isinstance(value, Real) or not np.isfinite(value):
        raise ValueError(f"Argument `{name}` must be a finite number, but is {value!r}.")


def classical_vdp(kappa1: float, kappa2: float, omega: float = 0.0, noise: float = 0.0) -> LangevinSystem:
    """Van der Pol oscillator with noise, [T] (2.8): ``α̇ = −iωα + κ₁α/2 − κ₂|α|²α + σ(ξ_x + iξ_y)``.

    The limit cycle has the radius ``√(κ₁/2κ₂)``; for weak noise its line has the full width ``2D = 2κ₂σ²/κ₁``, (2.13).

    Parameters
    ----------
    kappa1, kappa2, omega : float
        Gain, nonlinear loss and frequency.
    noise : float
        σ >= 0.

    Returns
    -------
    LangevinSystem
        Complex variable ``alpha``, from the limit cycle at phase 0; observables ``alpha``, ``r`` and ``n``, |α|².
    """
    gain, loss = rate(kappa1, "kappa1") ** 2, rate(kappa2, "kappa2") ** 2
    rate(noise, "noise")
    _number(omega, "omega")
    if loss == 0:
        raise ValueError("Argument `kappa2` must be positive: nothing else ends the growth.")
    return LangevinSystem(
        lambda a: (-1j * omega + 0.5 * gain - loss * (a.real**2 + a.imag**2)) * a,
        2**0.5 * noise,
        initial=[(gain / (2 * loss)) ** 0.5],
        variables=("alpha",),
        observables={"alpha": lambda a: a[0], "r": lambda a: abs(a[0]), "n": lambda a: abs(a[0]) ** 2},
        complex_noise=True,
        name="classical_vdp",
        parameters={"kappa1": kappa1, "kappa2": kappa2, "omega": omega, "noise": noise},
    )


def adler(detuning: float, coupling: float, noise: float = 0.0) -> LangevinSystem:
    """Adler equation with noise, [T] (2.25): ``dφ/dt = δ − V sin φ + σξ``, φ the phase difference of two oscillators.

    Without noise φ stops at arcsin(δ/V) for |δ| < V and else grows at the mean rate ``√(δ² − V²)``, (2.23).

    Returns
    -------
    LangevinSystem
        Real variable ``phase`` from 0, not wrapped; observables ``phase`` and ``e_phase``, e^{iφ}.
    """
    rate(noise, "noise")
    _number(detuning, "detuning")
    _number(coupling, "coupling")
    return LangevinSystem(
        lambda x: detuning - coupling * np.sin(x),
        float(noise),
        initial=[0.0],
        variables=("phase",),
        observables={"phase": lambda x: x[0], "e_phase": lambda x: np.exp(1j * x[0])},
        name="adler",
        parameters={"detuning": detuning, "coupling": coupling, "noise": noise},
    )


def kuramoto(frequencies: Any, coupling: float, noise: float = 0.0) -> LangevinSystem:
    """Kuramoto model, [T] (2.29): ``dφ_i/dt = ω_i + (V/N) Σ_j sin(φ_j − φ_i) + σξ_i``.

    Identical oscillators synchronize for ``V > σ²``; without noise, frequencies of a Lorentz distribution of width G do
    so for ``V > 2G``, and then ``|z| = √(1 − 2G/V)``, (2.44).

    Parameters
    ----------
    frequencies : array, (N,)
        ω_i; see `lorentzian_frequencies`.
    coupling, noise : float
        V and σ.

    Returns
    -------
    LangevinSystem
        Real variables ``phase_0`` ..., from phases drawn at random; observables ``z``, the order parameter
        (1/N) Σ e^{iφ_j} (2.30), and ``r``, |z|.
    """
    omega = np.asarray(frequencies, dtype=float)
    if omega.ndim != 1 or not omega.size or not np.all(np.isfinite(omega)):
        raise ValueError(f"Argument `frequencies` must be finite and (N,), but has shape {omega.shape}.")
    rate(noise, "noise")
    _number(coupling, "coupling")

    def order(x: np.ndarray) -> np.ndarray:
        return np.exp(1j * x).mean(axis=0)

    def drift(x: np.ndarray) -> np.ndarray:
        e = np.exp(1j * x)
        return omega[:, None] + coupling * (e.mean(axis=0) * e.conj()).imag

    return LangevinSystem(
        drift,
        float(noise),
        initial=lambda rng: rng.uniform(-np.pi, np.pi, omega.size),
        variables=tuple(f"phase_{i}" for i in range(omega.size)),
        observables={"z": order, "r": lambda x: abs(order(x))},
        name="kuramoto",
        parameters={"frequencies": omega.tolist(), "coupling": coupling, "noise": noise},
    )


def lorentzian_frequencies(N: int, width: float) -> np.ndarray:
    """Quantiles of the Lorentz distribution ``g(ω) = G/π(ω² + G²)``, [T] (2.34), for `kuramoto`: (N,).

    Parameters
    ----------
    N : int
        How many.
    width : float
        G, half the full width.
    """
    if isinstance(N, bool) or not isinstance(N, Integral) or N < 1:
        raise ValueError(f"Argument `N` must be an integer >= 1, but is {N!r}.")
    rate(width, "width")
    return width * np.tan(np.pi * ((np.arange(N) + 0.5) / N - 0.5))
