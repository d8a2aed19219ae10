"""Which channels are watched, and how.

An `Unraveling` is a tuple of detectors and nothing else: it names channels of a system that it has
never seen.  Unravelings add: ``Heterodyne("loss_a") + QuantumJumps("loss_b")``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from ..coefficients import Coefficient, Sampled, evaluate, instants, text

Kind = Literal["jumps", "homodyne", "heterodyne"]
Phase = float | Coefficient


@dataclass(frozen=True, repr=False)
class LocalOscillator:
    """Phase of a detuned local oscillator, ``φ(t) = ωt + φ₀``.

    A homodyne detector with it is a real heterodyne detector.  Its record is one real current,
    ``dY = √η⟨e^{−iφ(t)}L + h.c.⟩dt + dW``, in which the signal beats at ω.  The current times ``e^{+iφ(t)}``, averaged
    over times long against 1/ω and short against the system's own, is ``√η⟨L⟩`` plus noise; this demodulation is
    left to analysis.  In the limit of large ω the demodulated record has the law of `Heterodyne`.

    Parameters
    ----------
    frequency : float
        Angular frequency ω, in rad per unit of time.  A signal ``⟨L⟩ ∝ e^{+iωt}`` gives a constant current: the
        mode of ``H = ω₀a†a``, which goes as ``e^{−iω₀t}``, beats at zero for ω = −ω₀.
    phase : float
        φ₀, in rad.

    Raises
    ------
    ValueError
        If one of them is not a finite number.

    Examples
    --------
    >>> Homodyne("loss", phase=LocalOscillator(50.0))
    Homodyne('loss', phase=LocalOscillator(50.0))
    """

    frequency: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frequency", "phase"):
            value = getattr(self, name)
            if not _finite(value):
                raise ValueError(f"Argument `{name}` must be a finite number, but is {value!r}.")

    def __call__(self, t: Any) -> Any:
        return self.frequency * t + self.phase

    def __repr__(self) -> str:
        phase = f", phase={self.phase!r}" if self.phase else ""
        return f"LocalOscillator({self.frequency!r}{phase})"


@dataclass(frozen=True)
class Detector:
    """One detector.

    Attributes
    ----------
    kind : {"jumps", "homodyne", "heterodyne"}
        What it does.
    channels : tuple of str
        Channels it sees; more than one only for a counter that cannot tell them apart.
    efficiency : float
        η in [0, 1].
    phase : float or callable
        Local-oscillator phase φ of a homodyne detector, in rad: it measures e^{−iφ}L + h.c.  A number, a
        `LocalOscillator`, or another real function of time φ(t), for example `backaction.Sampled`.
    dark_rate : float
        Rate ν of dark counts of a counter.
    recorded : bool
        False for a hidden detector: the state is unravelled by it, but nobody reads it.
    """

    kind: Kind
    channels: tuple[str, ...]
    efficiency: float = 1.0
    phase: Phase = 0.0
    dark_rate: float = 0.0
    recorded: bool = True

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("Argument `channel`: a tuple of channels must name at least one, but is ().")
        for channel in self.channels:
            if not (isinstance(channel, str) and channel.isidentifier()):
                raise ValueError(f"Argument `channel` must be a channel name (an identifier), but is {channel!r}.")
        if not (_real(self.efficiency) and 0 <= self.efficiency <= 1):
            raise ValueError(f"Argument `efficiency` must lie in [0, 1], but is {self.efficiency!r}.")
        if not (_real(self.dark_rate) and 0 <= self.dark_rate < math.inf):
            raise ValueError(f"Argument `dark_rate` must be a finite rate >= 0, but is {self.dark_rate!r}.")
        if not (_finite(self.phase) or callable(self.phase)):
            raise ValueError(
                "Argument `phase` must be a finite number in rad, a LocalOscillator or a real function of time, but is "
                f"{self.phase!r}; give samples as ba.Sampled(times, phases)."
            )
        if isinstance(self.phase, Sampled) and np.iscomplexobj(self.phase.values):
            raise ValueError(f"Argument `phase` must be real, but is {self.phase!r}; take the angle of the samples.")
        if not isinstance(self.recorded, bool):
            raise ValueError(f"Argument `recorded` must be True or False, but is {self.recorded!r}.")

    @property
    def name(self) -> str:
        """Name in the record: the channel's, or a tuple's names joined by ``_``."""
        return "_".join(self.channels)

    @property
    def time_dependent(self) -> bool:
        """Is the phase a function of time?"""
        return callable(self.phase)

    def phase_at(self, times: Any) -> np.ndarray:
        """Phase φ at the given times.

        Parameters
        ----------
        times : array_like, (n,)
            Times.

        Returns
        -------
        ndarray of float, (n,)
            φ(t) in rad.

        Raises
        ------
        ValueError
            If φ is not one finite real number at each of the times.
        """
        if callable(self.phase):
            return evaluate(self.phase, times, "phase", real=True)
        return np.full(instants(times).shape, float(self.phase))


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(float(value))


def _finite(value: object) -> bool:
    return _real(value) and math.isfinite(value)  # type: ignore[arg-type]


class Unraveling:
    """A set of detectors.

    Parameters
    ----------
    detectors : iterable of Detector
        No channel may be seen by two of them.

    Raises
    ------
    ValueError
        If a channel is watched twice, or two detectors would have the same name.
    """

    def __init__(self, detectors: Iterable[Detector] = ()) -> None:
        self.detectors = tuple(detectors)
        seen: set[str] = set()
        for detector in self.detectors:
            for channel in detector.channels:
                if channel in seen:
                    raise ValueError(
                        f"Argument `channel` must be watched by at most one detector, but {channel!r} is watched "
                        f"twice; divide it first: system.split({channel!r}, {channel}1=0.5, {channel}2=0.5)."
                    )
                seen.add(channel)
        names = [d.name for d in self.detectors]
        if len(set(names)) < len(names):
            raise ValueError(f"Argument `channel`: two detectors would have the same name in the record: {names}.")

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels watched, in order."""
        return tuple(c for d in self.detectors for c in d.channels)

    def check(self, available: Iterable[str]) -> None:
        """Raise ValueError if a watched channel is not one of `available`."""
        available = list(available)
        for channel in self.channels:
            if channel not in available:
                raise ValueError(
                    f"Argument `channel` must be one of the system's channels {sorted(available)}, but is {channel!r}."
                )

    def __add__(self, other: Unraveling) -> Unraveling:
        if not isinstance(other, Unraveling):
            return NotImplemented
        return Unraveling(self.detectors + other.detectors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unraveling) and self.detectors == other.detectors

    def __hash__(self) -> int:
        return hash(self.detectors)

    def __repr__(self) -> str:
        return " + ".join(_describe(d) for d in self.detectors) or "Unraveling()"


_CLASS = {"jumps": "QuantumJumps", "homodyne": "Homodyne", "heterodyne": "Heterodyne"}


def _describe(d: Detector) -> str:
    words = [repr(d.channels[0]) if len(d.channels) == 1 else repr(d.channels)]
    defaults = Detector(d.kind, d.channels)
    for option in ("phase", "efficiency", "dark_rate", "recorded"):
        if getattr(d, option) != getattr(defaults, option):
            words.append(f"{option}={text(getattr(d, option))}")
    return f"{_CLASS[d.kind]}({', '.join(words)})"


def _need_names(channels: tuple) -> None:
    if not channels:
        raise ValueError("Argument `channel`: name at least one channel to watch, but none is given.")


class QuantumJumps(Unraveling):
    """Photon counting.

    Clicks come at the rate ``λ = η⟨L†L⟩ + ν``; at a click ``ρ → (ηLρL† + νρ)/λ``.

    Parameters
    ----------
    *channels : str or tuple of str
        One counter per argument; a tuple of names is one counter that cannot tell them apart
        (``ρ → Σ L_i ρ L_i†``).
    efficiency : float
        η in [0, 1].
    dark_rate : float
        ν, rate of dark counts per counter.
    recorded : bool
        False: a hidden detector that nobody reads.

    Examples
    --------
    >>> QuantumJumps("loss_a", ("loss_b", "pump_b"), efficiency=0.5)
    QuantumJumps('loss_a', efficiency=0.5) + QuantumJumps(('loss_b', 'pump_b'), efficiency=0.5)
    """

    def __init__(
        self,
        *channels: str | tuple[str, ...],
        efficiency: float = 1.0,
        dark_rate: float = 0.0,
        recorded: bool = True,
    ) -> None:
        _need_names(channels)
        super().__init__(
            Detector("jumps", c if isinstance(c, tuple) else (c,), efficiency, 0.0, dark_rate, recorded)
            for c in channels
        )


class Homodyne(Unraveling):
    """Homodyne detection: ``dY = √η⟨e^{−iφ}L + h.c.⟩dt + dW``, record ``ΔY/Δt`` (real).

    Parameters
    ----------
    *channels : str
        One detector per name.
    phase : float or callable
        Local-oscillator phase φ in rad; it is −φ_m of [T].  A number, a `LocalOscillator` (detuned by ω, φ = ωt + φ₀:
        a real heterodyne detector), or any real function of time φ(t), such as `backaction.Sampled`.
    efficiency : float
        η in [0, 1].
    recorded : bool
        False: a hidden detector that nobody reads.
    """

    def __init__(self, *channels: str, phase: Phase = 0.0, efficiency: float = 1.0, recorded: bool = True) -> None:
        _need_names(channels)
        super().__init__(Detector("homodyne", (c,), efficiency, phase, 0.0, recorded) for c in channels)


class Heterodyne(Unraveling):
    """Heterodyne detection with a far-detuned local oscillator: both quadratures.

    ``dZ = √η⟨L⟩dt + (dW_x + i dW_y)/√2``, record ``ΔZ/Δt`` (complex), [T] (3.15).  For a local oscillator at a
    given frequency see `LocalOscillator`.

    Parameters
    ----------
    *channels : str
        One detector per name.
    efficiency : float
        η in [0, 1].
    recorded : bool
        False: a hidden detector that nobody reads.
    """

    def __init__(self, *channels: str, efficiency: float = 1.0, recorded: bool = True) -> None:
        _need_names(channels)
        super().__init__(Detector("heterodyne", (c,), efficiency, 0.0, 0.0, recorded) for c in channels)
