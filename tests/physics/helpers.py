"""Statistics and regression theory for the physics tests, independent of the package's own references.

Statistical tests here have a fixed seed and a tolerance of `LIMIT` standard errors; each has a negative
control, the same check with something broken, which must miss by more than `CONTROL`.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg as la
from scipy.stats import kstest, norm

from backaction import simulate
from trajectories.one_step import liouvillian

LIMIT = 5.0
CONTROL = 8.0


def run(system, unraveling, times, ntraj, *, seed, **options):
    """`simulate` without a progress bar."""
    return simulate(system, unraveling, times, ntraj, seed=seed, progress=False, **options)


# === statistics


def z_scores(samples, expected=0.0):
    """(mean over axis 0 − expected) in standard errors; real and imaginary parts one after the other."""
    difference = np.asarray(samples) - expected
    if np.iscomplexobj(difference):
        difference = np.stack([difference.real, difference.imag], axis=-1)
    mean = difference.mean(axis=0)
    error = difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
    fixed = error < 1e-13  # what never varies must be exact
    return np.where(fixed, np.where(abs(mean) < 1e-8, 0.0, np.inf), mean / np.where(fixed, 1.0, error))


def worst(samples, expected=0.0):
    """Largest |z|."""
    return float(abs(z_scores(samples, expected)).max())


def ks_sigma(samples, cdf):
    """Kolmogorov–Smirnov test, its p-value as standard errors of a normal."""
    return float(norm.isf(kstest(samples, cdf).pvalue / 2))


def fitted_order(steps, errors):
    """Slope of log(error) against log(step)."""
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


# === records


def transform(current, width, frequencies):
    """∫I e^{+iωt}dt of bins of equal width: (trajectory, frequency)."""
    t = width * (np.arange(current.shape[1]) + 0.5)
    return current @ np.exp(1j * np.outer(t, frequencies)) * width


def periodogram(current, width, frequencies):
    """|∫I e^{+iωt}dt|²/T."""
    return abs(transform(current, width, frequencies)) ** 2 / (width * current.shape[1])


def waits(data, channel, count):
    """Times between successive clicks, the first `count` of each trajectory after its first click.

    A fixed number for each, so that long waits are not cut off more often than short ones.
    """
    pieces = clicks(data, channel)
    assert min(len(p) for p in pieces) > count
    return np.concatenate([np.diff(p[: count + 1]) for p in pieces])


def clicks(data, channel):
    """Click times, an array per trajectory."""
    counts = data[f"click_count_{channel}"].values
    return np.split(data[f"click_time_{channel}"].values, np.cumsum(counts)[:-1])


# === regression


class Regression:
    """Two-time averages of records in the steady state, from a dense Liouvillian.

    The later of two readings is Tr[M ρ'], and the earlier one leaves its superoperator M behind, where M is
    cρ for a heterodyne current, ρc† for its conjugate, cρ + ρc† for a homodyne current, c = √η e^{−iφ}L.
    """

    def __init__(self, system, without=()):
        lowered = system.lower()
        self.lowered = lowered
        self.d = lowered.dim
        kept = [L.toarray() for name, L in lowered.channels.items() if name not in without]
        self.L = liouvillian(lowered.H.toarray(), kept)
        self.trace = np.eye(self.d).reshape(-1)
        self.rho = la.null_space(self.L, rcond=1e-10)
        assert self.rho.shape[1] == 1
        self.rho = self.rho[:, 0] / (self.trace @ self.rho[:, 0])

    def reading(self, channel, kind, efficiency=1.0, phase=0.0):
        """Superoperators of a current and of its conjugate."""
        c = np.sqrt(efficiency) * np.exp(-1j * phase) * self.lowered.channels[channel].toarray()
        left, right = np.kron(c, np.eye(self.d)), np.kron(np.eye(self.d), c.conj())
        return (left, right) if kind == "heterodyne" else (left + right, left + right)

    def mean(self, reading):
        """E I."""
        return self.trace @ reading[0] @ self.rho

    def modes(self, reading, other=None):
        """(amplitudes, λ) of E[I₁*(t + τ) I₂(t)] = Σ amplitude e^{λτ}, τ > 0."""
        values, vectors = la.eig(self.L)
        amplitudes = (self.trace @ reading[1] @ vectors) * la.solve(vectors, (other or reading)[0] @ self.rho)
        return amplitudes, values

    def spectrum(self, reading, frequencies, duration=None, width=0.0):
        """E|∫I e^{iωt}dt|²/T, shot noise 1 included, of a finite record, in bins of `width`."""
        amplitudes, values = self.modes(reading)
        total = np.zeros(len(frequencies))
        for alias in range(-3, 4) if width else (0,):
            omega = np.asarray(frequencies) + (2 * np.pi * alias / width if width else 0.0)
            z = 1j * omega[:, None] - values
            if duration is None:  # all but what never decays
                decays = abs(values) > 1e-9
                signal = 2 * (amplitudes[decays] / z[:, decays]).real.sum(axis=1)
            else:
                signal = 2 * (amplitudes / z * (1 - (1 - np.exp(-z * duration)) / (z * duration))).real.sum(axis=1)
            total += signal * np.sinc(omega * width / (2 * np.pi)) ** 2
        return 1 + total

    def window(self, duration):
        """∫₀ᵀ(1 − τ/T) e^{𝓛τ} dτ as a matrix."""
        n = self.d**2
        block = np.zeros((3 * n, 3 * n), dtype=complex)
        block[:n, :n] = self.L
        block[:n, n : 2 * n] = block[n : 2 * n, 2 * n :] = np.eye(n)
        return la.expm(block * duration)[:n, 2 * n :] / duration

    def boxcar(self, first, second, duration, window=None):
        """E[z₁ z₂*] of z = ∫₀ᵀ I dt/√T, without shot noise (1 where both are the same)."""
        W = self.window(duration) if window is None else window
        later_first = self.trace @ first[0] @ W @ second[1] @ self.rho
        later_second = self.trace @ second[1] @ W @ first[0] @ self.rho
        return later_first + later_second
