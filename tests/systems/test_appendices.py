"""Derived moment equations against those printed in [T], appendices 6.D and 7.A, in their U(1)-symmetric sectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import backaction as ba
from backaction.systems import MomentEquations
from backaction.systems.moment_states import Flow
from backaction.systems.moments import Letter

UP, RAISE, LOWER = (0, 0), (0, 1), (1, 0)


class Sector:
    """A U(1)-symmetric point of the equations: all means and covariances that carry charge are zero."""

    def __init__(self, system: ba.System, charge: Callable[[Letter], int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.equations = MomentEquations(system, 2)
        self.sites = {s.name: s for s in system.sites}
        values = np.zeros(len(self.equations.variables), dtype=complex)
        for i, v in enumerate(self.equations.variables):
            if sum(map(charge, v)) == 0:
                Hermitian = self.equations.conjugate(v) == v
                values[i] = rng.normal() + (0 if Hermitian else 1j * rng.normal())
        drift = Flow.of(self.equations).drift(values)
        self.at = self._all(values)
        self.change = self._all(drift)
        # nothing leaves the sector
        assert all(
            abs(d) < 1e-12 for v, d in zip(self.equations.variables, drift, strict=True) if sum(map(charge, v)) != 0
        )

    def _all(self, values: np.ndarray) -> dict:
        out = dict(zip(self.equations.variables, values, strict=True))
        return out | {self.equations.conjugate(v): np.conj(x) for v, x in out.items()}

    def pair(self, x: Letter, y: Letter) -> tuple[complex, complex]:
        """⟨xy⟩ and its derivative."""
        v = self.equations.covariance(x, y)
        return (
            self.at[v] + self.at[(x,)] * self.at[(y,)],
            self.change[v] + self.change[(x,)] * self.at[(y,)] + self.at[(x,)] * self.change[(y,)],
        )

    def one(self, x: Letter) -> tuple[complex, complex]:
        return self.at[(x,)], self.change[(x,)]

    def z(self, name: str) -> tuple[float, float]:
        """⟨σ^z⟩ and its derivative."""
        value, change = self.one((self.sites[name], UP))
        return 2 * value.real - 1, 2 * change.real

    def zz(self, a: str, b: str) -> tuple[float, float]:
        """⟨σ_a^z σ_b^z⟩ of two members and its derivative."""
        x, y = (self.sites[a], UP), (self.sites[b], UP)
        (m, dm), (p, dp), (q, dq) = self.pair(x, y), self.one(x), self.one(y)
        return (4 * m - 2 * p - 2 * q + 1).real, (4 * dm - 2 * dp - 2 * dq).real

    def flip(self, a: str, b: str) -> tuple[complex, complex]:
        """⟨σ_a⁺ σ_b⁻⟩ of two members and its derivative."""
        return self.pair((self.sites[a], RAISE), (self.sites[b], LOWER))


def charge(letter: Letter) -> int:
    i, j = letter[1]
    return i - j if isinstance(letter[0], ba.Boson) else j - i


@pytest.mark.parametrize("seed", range(3))
def test_appendix_6d(seed: int) -> None:
    """Finite-size second-order expansion of nonreciprocal spins, N per species, γ₊ = 1."""
    N, V, V_plus, V_minus, delta = 7 + seed, 1.7, 0.6, 2.3, 0.4
    system = ba.systems.nonreciprocal_spins(N, V, V_plus, V_minus, detuning=delta)
    s = Sector(system, charge, seed)
    V_AB, V_BA = V_plus + V_minus, V_plus - V_minus  # of A on B, and of B on A
    (zA, dzA), (zB, dzB) = s.z("A"), s.z("B")
    (aa, daa), (bb, dbb), (ab, dab) = s.flip("A", "A"), s.flip("B", "B"), s.flip("A", "B")
    (zzA, dzzA), (zzB, dzzB), (zAB, dzAB) = s.zz("A", "A"), s.zz("B", "B"), s.zz("A", "B")
    re, m = ab.real, (N - 1) / N
    printed = {
        "zA": (dzA, -V * (zA + 1) / N + (1 - zA) - 2 * V * m * aa - 2 * V_BA * re),
        "zB": (dzB, -V * (zB + 1) / N + (1 - zB) - 2 * V * m * bb - 2 * V_AB * re),
        "AA": (daa, -(1 + V / N) * aa + V / (2 * N) * (zzA + zA) + V * zA * (N - 2) / N * aa + V_BA * zA * re),
        "BB": (dbb, -(1 + V / N) * bb + V / (2 * N) * (zzB + zB) + V * zB * (N - 2) / N * bb + V_AB * zB * re),
        "AB": (dab, -(1 + V / N - 1j * delta) * ab + V * m / 2 * (zA + zB) * ab + V_AB * (zB + zAB) / (4 * N)
               + V_BA * (zA + zAB) / (4 * N) + m / 2 * (V_AB * zB * aa + V_BA * zA * bb)),
        "zzA": (dzzA, 2 * zA * (1 - V / N) - 2 * zzA * (1 + V / N) - 4 * V_BA * zA * re
                + V * (4 * aa - 4 * (N - 2) * zA * aa) / N),
        "zzB": (dzzB, 2 * zB * (1 - V / N) - 2 * zzB * (1 + V / N) - 4 * V_AB * zB * re
                + V * (4 * bb - 4 * (N - 2) * zB * bb) / N),
        "zzAB": (dzAB, (zA + zB - 2 * zAB) + 2 * m * V_minus * (zB - zA) * re - 2 * m * V_plus * (zA + zB) * re
                 - 2 * m * V * (zB * aa + zA * bb) - V * (zA + zB + 2 * zAB) / N + 4 * V_plus * re / N),
    }  # fmt: skip
    for name, (derived, expected) in printed.items():
        assert abs(derived - expected) < 1e-12 * max(1.0, abs(expected)) * N, name


@pytest.mark.parametrize("seed", range(3))
def test_appendix_7a(seed: int) -> None:
    """Superradiant laser of driven and undriven atoms; Γ = γ₋ + 2γ_z."""
    N, pump, loss, dephasing, kappa, V = 10, 1.3, 0.2, 0.15, 3.0, 0.9
    system = ba.systems.superradiant_laser(N, 0.7, V, kappa=kappa, gamma_plus=pump, gamma_minus=loss, gamma_z=dephasing)
    s = Sector(system, charge, 10 + seed)
    Omega, total = np.sqrt(V * kappa / (2 * N)), loss + 2 * dephasing
    n = {"driven": 7, "undriven": 3}
    a, up = (s.sites["a"], (0, 1)), (s.sites["a"], (1, 0))
    photons, dphotons = s.pair(a, up)
    field = {name: s.pair(up, (s.sites[name], LOWER)) for name in n}
    flip = {(i, j): s.flip(i, j) for i in n for j in n}
    expected = -kappa * photons + 2 * Omega * sum(n[i] * field[i][0].imag for i in n)
    assert abs(dphotons - expected) < 1e-11
    for name, other in (("driven", "undriven"), ("undriven", "driven")):
        gain = pump if name == "driven" else 0.0
        z, dz = s.z(name)
        assert abs(dz - (-loss * (z + 1) - gain * (z - 1) - 4 * Omega * field[name][0].imag)) < 1e-11
        inside = (n[name] - 1) * flip[name, name][0] + (1 + z) / 2 + n[other] * flip[other, name][0] + photons * z
        expected = -(gain + total + kappa) / 2 * field[name][0] + 1j * Omega * inside
        assert abs(field[name][1] - expected) < 1e-11
        expected = -(gain + total) * flip[name, name][0] + 2 * Omega * z * field[name][0].imag
        assert abs(flip[name, name][1] - expected) < 1e-11
    z, w = s.z("driven")[0], s.z("undriven")[0]
    expected = -(pump / 2 + total) * flip["driven", "undriven"][0]
    expected += 1j * Omega * (w * np.conj(field["driven"][0]) - z * field["undriven"][0])
    assert abs(flip["driven", "undriven"][1] - expected) < 1e-11
