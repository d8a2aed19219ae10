"""Processes with closed forms, generated without the package: what the tests of the room measure."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.special import factorial, gamma, hyp2f1


class OrnsteinUhlenbeck:
    """Complex AR(1) signals of two channels, constant over bins, in complex white noise.

    ``I_k = s_k + xi_k``, E|xi|^2 = 1/dt, E[s*_j s_k] = n rho^(k - j) for k >= j with
    rho = exp(-(gamma + i w0) dt), and E[sA s*B] = n c at equal times. As a process on bins all its
    statistics are exact sums.
    """

    def __init__(self, n: float, gamma: float, c: complex, dt: float, frequency: float = 0.0) -> None:
        self.n, self.gamma, self.c, self.dt, self.frequency = n, gamma, complex(c), dt, frequency

    @property
    def rho(self) -> complex:
        return np.exp(-(self.gamma + 1j * self.frequency) * self.dt)

    def draw(self, rng: np.random.Generator, ntraj: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
        def white(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)

        x, y = white(ntraj, bins), white(ntraj, bins)
        # E[a b*] = c with unit variances
        drive = np.stack([x, self.c.conjugate() * x + np.sqrt(1 - abs(self.c) ** 2) * y])
        drive *= np.sqrt(self.n)
        drive[:, :, 1:] *= np.sqrt(1 - abs(self.rho) ** 2)  # stationary from the first bin on
        signal = lfilter([1], [1, -self.rho], drive, axis=2)
        noise = np.stack([white(ntraj, bins), white(ntraj, bins)]) / np.sqrt(self.dt)
        a, b = signal + noise
        return a, b

    def window_correlation(self, taps: int) -> complex:
        """E[Z_A Z_B^*] / E|Z|^2 for boxcar windows of `taps` bins."""
        lag = np.abs(np.subtract.outer(np.arange(taps), np.arange(taps)))
        signal = self.n * self.dt / taps * np.sum((abs(self.rho) ** lag) * np.cos(lag * self.frequency * self.dt))
        return self.c * signal / (1 + signal)

    def periodogram(self, omega: np.ndarray, taps: int) -> np.ndarray:
        """Expected boxcar periodogram of `taps` bins."""
        m = np.arange(-(taps - 1), taps)
        # E[I*(t) I(t + m dt)] exp(+i w m dt): the signal turns as exp(-i w0 t)
        covariance = self.n * abs(self.rho) ** np.abs(m) * np.exp(-1j * self.frequency * m * self.dt)
        weight = self.dt * (1 - np.abs(m) / taps)
        return 1 + (np.exp(1j * np.outer(omega, m) * self.dt) @ (weight * covariance)).real


def gaussian_phase_density(phi: np.ndarray, r: complex) -> np.ndarray:
    """Density of arg(Z_B / Z_A) for complex Gaussians of equal variance with E[Z_A Z_B^*] = r E|Z|^2.

    Mardia & Jupp, Directional Statistics; with x = |r| cos(phi - phi0), where phi0 = -arg r.
    """
    x = abs(r) * np.cos(phi + np.angle(r))
    return (1 - abs(r) ** 2) / (2 * np.pi * (1 - x**2)) * (1 + x * np.arccos(-x) / np.sqrt(1 - x**2))


def gaussian_harmonics(k: np.ndarray, r: complex) -> np.ndarray:
    """q_k = E[exp(-i k phi)] of the same law (the physics notes, section 1)."""
    return r**k * gamma(1 + k / 2) ** 2 / factorial(k) * hyp2f1(k / 2, k / 2, k + 1, abs(r) ** 2)


def binned_phase_density(centres: np.ndarray, r: complex) -> np.ndarray:
    """Averages of `gaussian_phase_density` over bins of equal width (midpoint rule, 21 points)."""
    width = centres[1] - centres[0]
    return gaussian_phase_density(centres[:, None] + width * (np.arange(21) - 10) / 21, r).mean(axis=1)


def erlang_clicks(rng: np.random.Generator, rate: float, duration: float, ntraj: int) -> list[np.ndarray]:
    """Stationary renewal process that clicks at every second event of a Poisson process of rate 2 `rate`.

    g2(tau) = 1 - exp(-4 rate tau).
    """
    result = []
    for _ in range(ntraj):
        events = poisson_clicks(rng, 2 * rate, duration, 1)[0]
        result.append(events[rng.integers(2) :: 2])  # which of the two events clicks is a coin's toss: stationary
    return result


def poisson_clicks(rng: np.random.Generator, rate: float, duration: float, ntraj: int) -> list[np.ndarray]:
    return [np.sort(rng.uniform(0, duration, rng.poisson(rate * duration))) for _ in range(ntraj)]
