"""The kernels' equations once more, in plain NumPy: one trajectory, dense matrices, one line per equation.

Slow and obvious on purpose.  It shares with the package only the order in which a trajectory's generator is asked:
one uniform number for the first threshold; standard normals for NOISE_STEPS steps at a time, before the first slot
that needs them; after each click one uniform number for the choice and one for the next threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg as la
from scipy.optimize import brentq

NOISE_STEPS = 128


def dag(A):
    return A.conj().T


def root(A, power=0.5):
    values, vectors = la.eigh(A)
    return (vectors * values**power) @ dag(vectors)


def kraus(c, dt):
    """K0 = e^{−c†c dt/2}, K1 = √K0 c √K0, K2 = √K0 c² √K0/2, times S^{−1/2}; S = ΣE|z_i|² K_i†K_i."""
    half = la.expm(-0.25 * dt * dag(c) @ c)
    K = [half @ half, half @ c @ half, 0.5 * half @ c @ c @ half]
    S = dag(K[0]) @ K[0] + dt * dag(K[1]) @ K[1] + 2 * dt**2 * dag(K[2]) @ K[2]
    return [k @ root(S, -0.5) for k in K]


def homodyne(m, g11, q, dt, normal):
    """dY with mean 2 Re m dt and variance dt + (⟨:x²:⟩ − x²)dt²; the state sees z = dY, z2 = dY² − dt."""
    x = 2 * m.real
    dY = x * dt + np.sqrt(dt) * (1 + 0.5 * dt * (2 * (2 * q.real + g11) - x**2)) * normal
    return dY, dY, dY**2 - dt


def heterodyne(m, g11, q, dt, normal_x, normal_y):
    """dZ with E|δZ|² = dt + (⟨c†c⟩ − |m|²)dt², E δZ² = (⟨c²⟩ − m²)dt²; the state sees z = dZ*, z2 = dZ*²."""
    w = np.sqrt(0.5 * dt) * (normal_x + 1j * normal_y)
    direct = 0.5 * dt * (g11 - abs(m) ** 2)
    cross = 0.5 * dt * (2 * q - m**2)
    dZ = m * dt + w + direct * w + cross * np.conj(w)
    return dZ, np.conj(dZ), np.conj(dZ) ** 2


@dataclass
class Model:
    """H; diffusive (operator, kind 0 homodyne or 1 heterodyne); counters as lists of operators; unread operators."""

    H: np.ndarray
    diffusive: list = field(default_factory=list)
    counters: list = field(default_factory=list)
    unread: list = field(default_factory=list)

    @property
    def alternate(self):
        """Do two diffusive measurements fail to commute?"""
        for i, (a, _) in enumerate(self.diffusive):
            for b, _ in self.diffusive[i + 1 :]:
                for x, y in ((a, b), (dag(a) @ a, b), (dag(b) @ b, a)):
                    if abs(x @ y - y @ x).max() > 1e-10:
                        return True
        return False


class Ket:
    """A state vector; unread channels are counters that nobody reads (index −1)."""

    def __init__(self, model, psi):
        self.state = psi / np.linalg.norm(psi)
        self.jumps = [(L, j) for j, group in enumerate(model.counters) for L in group]
        self.jumps += [(L, -1) for L in model.unread]
        self.A = -1j * model.H - 0.5 * sum(dag(L) @ L for L, _ in [(0 * model.H, 0), *self.jumps])

    def after(self, t):
        """No jump for t: the unnormalised state and its probability."""
        phi = la.expm(self.A * t) @ self.state
        return phi, np.vdot(phi, phi).real

    exactly_after = after

    def measure(self, K, dt):
        """m = ⟨K0†K1 + 2dt K1†K2⟩, ⟨K1†K1⟩, ⟨K0†K2⟩."""
        a, b, c = (k @ self.state for k in K)
        return np.vdot(a, b) + 2 * dt * np.vdot(b, c), np.vdot(b, b).real, np.vdot(a, c)

    def update(self, M):
        self.set(M @ self.state)

    def set(self, state):
        self.state = state / np.linalg.norm(state)

    def click(self, rng):
        """ψ → Lψ with probability ∝ ‖Lψ‖²; the counter's index."""
        weights = np.array([np.linalg.norm(L @ self.state) ** 2 for L, _ in self.jumps])
        chosen = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
        L, counter = self.jumps[chosen]
        self.update(L)
        return counter

    def mean(self, O):
        return np.vdot(self.state, O @ self.state)


class Density:
    """A density matrix; unread channels are averaged over."""

    def __init__(self, model, rho):
        rho = np.outer(rho, rho.conj()) if rho.ndim == 1 else rho
        self.state = rho / np.trace(rho)
        self.counters, self.gain, self.counting_only = model.counters, model.unread, not model.diffusive
        counted = [K for group in model.counters for K in group]
        self.A = -1j * model.H - 0.5 * sum(dag(L) @ L for L in [0 * model.H, *counted, *model.unread])
        one = np.eye(len(self.A))
        self.generator = np.kron(self.A, one) + np.kron(one, self.A.conj())  # row stacking
        self.generator = self.generator + sum(np.kron(L, L.conj()) for L in [0 * one, *self.gain])
        self.halves = {}

    def exactly_after(self, t):
        """e^{(𝓛 − clicks)t}ρ and its trace."""
        rho = (la.expm(self.generator * t) @ self.state.reshape(-1)).reshape(self.state.shape)
        return rho, np.trace(rho).real

    def after(self, t):
        """P = E e^{Jt} EC, e^{Jt} to second order, C such that the probability of no click is exact."""
        if self.counting_only:
            return self.exactly_after(t)
        if t not in self.halves:
            self.halves[t] = self._halves(t)
        E, EC = self.halves[t]
        rho = EC @ self.state @ dag(EC)
        rho = rho + t * self._jump(rho) + 0.5 * t**2 * self._jump(self._jump(rho))
        rho = E @ rho @ dag(E)
        return rho, np.trace(rho).real

    def _halves(self, t):
        d = len(self.A)
        E = la.expm(0.5 * t * self.A)
        S = dag(E) @ E
        S = dag(E) @ (S + t * self._dual(S) + 0.5 * t**2 * self._dual(self._dual(S))) @ E
        target = (la.expm(dag(self.generator) * t) @ np.eye(d).reshape(-1)).reshape(d, d)
        C = root(S, -0.5) @ root(root(S) @ target @ root(S)) @ root(S, -0.5)  # C†SC = target
        return E, E @ C

    def _jump(self, X):
        return sum((L @ X @ dag(L) for L in self.gain), 0 * X)

    def _dual(self, X):
        return sum((dag(L) @ X @ L for L in self.gain), 0 * X)

    def measure(self, K, dt):
        means = (dag(K[0]) @ K[1] + 2 * dt * dag(K[1]) @ K[2], dag(K[1]) @ K[1], dag(K[0]) @ K[2])
        m, g11, q = (np.trace(O @ self.state) for O in means)
        return m, g11.real, q

    def update(self, M):
        self.set(M @ self.state @ dag(M))

    def set(self, state):
        self.state = state / np.trace(state).real

    def click(self, rng):
        """ρ → ΣKρK† over the operators of one counter, chosen by its rate."""
        after = [sum(K @ self.state @ dag(K) for K in group) for group in self.counters]
        weights = np.array([np.trace(rho).real for rho in after])
        chosen = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
        self.set(after[chosen])
        return chosen

    def mean(self, O):
        return np.trace(O @ self.state)


def normal_pairs(words):
    """Pairs of standard normals from xoshiro256++ on Python's integers: one word for the radius, one for the angle."""
    s, full = [int(w) for w in words], (1 << 64) - 1

    def rotated(x, k):
        return (x << k | x >> 64 - k) & full

    def word():
        out = (rotated((s[0] + s[3]) & full, 23) + s[0]) & full
        t = s[1] << 17 & full
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotated(s[3], 45)
        return out

    while True:
        x, y = word(), word()
        r = np.sqrt(-2 * np.log(((x >> 12) + 0.5) / 2**52))
        angle = np.pi / 2 * (((y >> 12) + 0.5) / 2**52 - 0.5)
        pair = r * np.array([np.cos(angle), np.sin(angle)]) * (-1 if y & 2 else 1)
        yield pair[::-1] if y & 1 else pair


def trajectory(model, state, dt, n_sub, n_bins, rng, observables=(), t0=0.0):
    """One monitored run from `state` (a `Ket` or a `Density`); every edge of a bin is looked at.

    Returns the bin averages of the currents (channel, bin), [(time, counter), …], means (observable, edge).
    """
    kinds = [kind for _, kind in model.diffusive]
    K = [kraus(c, dt) for c, _ in model.diffusive]
    current = np.zeros((len(K), n_bins), dtype=complex)
    means = [[state.mean(O) for O in observables]]
    clicks = []
    pairs = normal_pairs(rng.bit_generator.random_raw(4))
    alive, threshold = 1.0, rng.random()
    normals = []

    def slot(start, duration):
        """No-click evolution; clicks where the surviving probability crosses its threshold."""
        nonlocal alive, threshold
        after, survival = state.after(duration)
        done = 0.0
        while not alive * survival >= threshold:
            level = threshold / alive
            h = brentq(lambda h, level=level: state.exactly_after(h)[1] - level, 0, duration - done, xtol=1e-15)
            state.set(state.exactly_after(h)[0])
            done += h
            counter = state.click(rng)
            if counter >= 0:
                clicks.append((start + done, counter))
            alive, threshold = 1.0, rng.random()
            after, survival = state.exactly_after(duration - done)
        alive *= survival
        state.set(after)

    for b in range(n_bins):
        begin = t0 + b * n_sub * dt
        for s in range(n_sub):  # P(dt/2) D P(dt) D … D P(dt/2), or P(dt) P(dt) … when only counting
            if K and not normals:
                drawn = iter(np.concatenate([next(pairs) for _ in range(NOISE_STEPS * sum(1 + k for k in kinds) // 2)]))
                normals = [[[next(drawn) for _ in range(1 + kind)] for kind in kinds] for _ in range(NOISE_STEPS)]
            if not K:
                slot(begin + s * dt, dt)
                continue
            slot(begin + max(0.0, s - 0.5) * dt, dt if s else 0.5 * dt)
            noise = normals.pop(0)
            for c in reversed(range(len(K))) if model.alternate and s % 2 else range(len(K)):
                draw = heterodyne if kinds[c] else homodyne
                increment, z, z2 = draw(*state.measure(K[c], dt), dt, *noise[c])
                current[c, b] += increment / (n_sub * dt)
                state.update(K[c][0] + z * K[c][1] + z2 * K[c][2])
        if K:
            slot(begin + (n_sub - 0.5) * dt, 0.5 * dt)
        means.append([state.mean(O) for O in observables])
    return current, clicks, np.array(means).T
