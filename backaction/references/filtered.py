r"""Moments of two filtered output modes, from a hierarchy that the system alone drives.

A filter f, ∫|f|² = 1, of the output of channel L defines a mode v, the virtual cavity into which the
output is cascaded ([T] section 4.1).  The cavity does not act back, so the operators

    R_mn = Tr_cavities[v^m ρ v†^n] / √(m! n!),        m = (m_A, m_B),  n = (n_A, n_B)

of the system close from below:

    dR_mn/dt = 𝓛R_mn + Σ_i f_i(t) (√m_i L_i R_{m−e_i,n} + √n_i R_{m,n−e_i} L_i†),     R_00 = ρ_ss.

Their traces r_mn are the normally ordered moments of the filtered modes, hence the law of the filtered
currents.  Against cavities with Fock levels this has no stiff G(t) = 1/t, no back-coupling, and an
order p = |m|, |n| that can be raised without changing what lies below.  A boxcar has f = 1/√τ, constant.
An exponential filter of power decay rate G = 1/window is stationary: each R_mn is one linear solve.

Elements are restricted to the connected components that L moves the populations to: with a U(1)
symmetry, the sector of charge |m| − |n|.  R_nm = R_mn† halves the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from ..systems.unconditional import Sectors, left, right
from .propagation import DIMENSION, expm_krylov

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The operators R_mn up to |m|, |n| = order, of a system with two watched channels.

    Attributes
    ----------
    sectors : Sectors
        Liouvillian and its components.
    rho : ndarray, (d, d)
        Steady state.
    channels : pair of csr_array, (d, d)
        L_A, L_B.
    order : int
        Highest |m|, |n|.
    """

    sectors: Sectors
    rho: np.ndarray
    channels: tuple[sp.csr_array, sp.csr_array]
    order: int

    @property
    def memory(self) -> int:
        """Bytes needed at the peak, about: the Krylov space."""
        return 16 * self.size * (DIMENSION + 6)

    @cached_property
    def _superoperators(self) -> tuple[list[sp.csr_array], list[sp.csr_array]]:
        return [left(L) for L in self.channels], [right(L.conj().T.tocsr()) for L in self.channels]

    @cached_property
    def members(self) -> dict[Pair, np.ndarray]:
        """Elements of ρ that R_mn may have, by (|m|, |n|) with |m| ≥ |n|; a key is absent if it has none."""
        lefts, rights = self._superoperators
        seed = self.sectors.around((self.rho != 0).astype(float).ravel())
        found: dict[Pair, np.ndarray] = {(0, 0): seed}
        indicator = np.zeros(len(self.sectors.labels))
        for p in range(self.order + 1):
            for q in range(p + 1):
                sources = []
                if (p - 1, q) in found:
                    sources += [(abs(A), found[p - 1, q]) for A in lefts]
                if (p, q - 1) in found:
                    sources += [(abs(A), found[p, q - 1]) for A in rights]
                if not sources:
                    continue
                reached = np.zeros_like(indicator)
                for matrix, members in sources:
                    indicator[:] = 0
                    indicator[members] = 1
                    reached += matrix @ indicator
                if p == q:
                    reached += reached[self.sectors.transposed()]
                    reached[seed] = 1
                if reached.any():
                    found[p, q] = self.sectors.around(reached)
        shared: dict[bytes, np.ndarray] = {}
        return {key: shared.setdefault(m.tobytes(), m) for key, m in found.items()}

    @cached_property
    def size(self) -> int:
        """Complex numbers in the whole hierarchy."""
        return sum(len(m) * (p + 1) * (q + 1) for (p, q), m in self.members.items())

    @cached_property
    def _blocks(self) -> dict[Pair, sp.csr_array]:
        shared: dict[int, sp.csr_array] = {}
        out = {}
        for key, members in self.members.items():
            if id(members) not in shared:
                shared[id(members)] = self.sectors.block(members)
            out[key] = shared[id(members)]
        return out

    @cached_property
    def _raises(self) -> dict[tuple[str, Pair], list[sp.csr_array]]:
        lefts, rights = self._superoperators
        out: dict[tuple[str, Pair], list[sp.csr_array]] = {}
        shared: dict[tuple[str, int, int], list[sp.csr_array]] = {}

        def restricted(side: str, matrices: list[sp.csr_array], to: np.ndarray, source: np.ndarray) -> list:
            key = (side, id(to), id(source))
            if key not in shared:
                shared[key] = [A[to][:, source] for A in matrices]
            return shared[key]

        for (p, q), members in self.members.items():
            if p > q and (p - 1, q) in self.members:
                out["left", (p, q)] = restricted("left", lefts, members, self.members[p - 1, q])
            if (p, q - 1) in self.members:
                out["right", (p, q)] = restricted("right", rights, members, self.members[p, q - 1])
        return out

    @cached_property
    def _transposes(self) -> dict[int, np.ndarray]:
        transposed = self.sectors.transposed()
        return {p: np.searchsorted(self.members[p, p], transposed[self.members[p, p]]) for p in range(self.order + 1)}

    def _views(self, vector: np.ndarray) -> dict[Pair, np.ndarray]:
        """Blocks (D, p+1, q+1) of a flat vector: element, m_A, n_A."""
        out, start = {}, 0
        for (p, q), members in self.members.items():
            shape = (len(members), p + 1, q + 1)
            n = int(np.prod(shape))
            out[p, q] = vector[start : start + n].reshape(shape)
            start += n
        return out

    def _driven(self, key: Pair, blocks: dict[Pair, np.ndarray]) -> np.ndarray:
        """Σ_i (√m_i L_i R_{m−e_i,n} + √n_i R_{m,n−e_i} L_i†) for one (|m|, |n|)."""
        p, q = key
        out = np.zeros((len(self.members[key]), p + 1, q + 1), dtype=complex)
        if ("left", key) in self._raises:
            source = blocks[p - 1, q]
            flat = source.reshape(len(source), -1)
            A, B = ((M @ flat).reshape(-1, p, q + 1) for M in self._raises["left", key])
            root = np.sqrt(np.arange(1, p + 1))[:, None]
            out[:, 1:] += root * A
            out[:, :-1] += root[::-1] * B
        if ("right", key) in self._raises:
            source = blocks[p, q - 1]
            flat = source.reshape(len(source), -1)
            A, B = ((M @ flat).reshape(-1, p + 1, q) for M in self._raises["right", key])
            root = np.sqrt(np.arange(1, q + 1))
            out[:, :, 1:] += root * A
            out[:, :, :-1] += root[::-1] * B
        if p == q and p > 0:
            out = out + out[self._transposes[p]].conj().transpose(0, 2, 1)
        return out

    def boxcar(self, window: float, tolerance: float = 1e-8) -> dict[Pair, np.ndarray]:
        """R_mn at the end of a boxcar [0, window] that starts in the steady state."""
        coupling = window**-0.5

        def generator(vector: np.ndarray) -> np.ndarray:
            blocks = self._views(vector.view(complex))
            out = np.empty(self.size, dtype=complex)
            for key, target in self._views(out).items():
                x = blocks[key]
                target[:] = (self._blocks[key] @ x.reshape(len(x), -1)).reshape(x.shape)
                if key != (0, 0):
                    target += coupling * self._driven(key, blocks)
            return out.view(float)

        start = np.zeros(self.size, dtype=complex)
        self._views(start)[0, 0][:, 0, 0] = self.rho.ravel()[self.members[0, 0]]
        return self._views(expm_krylov(generator, start.view(float), window, tolerance).view(complex))

    def exponential(self, window: float) -> dict[Pair, np.ndarray]:
        """Stationary R_mn of the filter ``√G e^{−G(t−s)/2}``, G = 1/window."""
        G = 1.0 / window
        blocks: dict[Pair, np.ndarray] = {(0, 0): self.rho.ravel()[self.members[0, 0]].reshape(-1, 1, 1)}
        for key in sorted(self.members, key=sum):
            p, q = key
            if key == (0, 0):
                continue
            drive = np.sqrt(G) * self._driven(key, blocks)
            shift = 0.5 * G * (p + q) * sp.eye_array(len(drive), format="csc")
            solver = splu(sp.csc_array(shift - self._blocks[key]))
            blocks[key] = solver.solve(drive.reshape(len(drive), -1)).reshape(drive.shape)
        return blocks

    def moments(self, blocks: dict[Pair, np.ndarray]) -> np.ndarray:
        """Normally ordered moments r_mn with |m| = |n|.

        Returns
        -------
        ndarray, (P+1, P+1, P+1, P+1)
            ``Tr R_mn = ⟨v†^n v^m⟩/√(m! n!)`` at [m_A, m_B, n_A, n_B]; zero where |m| ≠ |n| or |m| > P.
        """
        P = self.order
        out = np.zeros((P + 1,) * 4, dtype=complex)
        for p in range(P + 1):
            trace = blocks[p, p][np.isin(self.members[p, p], self.sectors.diagonal)].sum(axis=0)
            m = np.arange(p + 1)
            out[m[:, None], p - m[:, None], m[None, :], p - m[None, :]] = trace
        return out
