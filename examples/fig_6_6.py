"""Correlations between two species of nonreciprocal spins that tell their states, N = 12: [T] Fig. 6.6.

Exact: the master equation on permutation-symmetric states (`ba.systems.reduced`), of which U(1) symmetry leaves few
elements.  One factorisation serves all couplings, as what makes an iteration converge.

    python examples/fig_6_6.py [folder]
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from scipy.optimize import brentq
from scipy.sparse.linalg import LinearOperator, gmres, splu

import backaction as ba
from backaction.systems import MomentEquations, stability, steady_moments

# [T] Fig. 6.6: V = 2, δ = 0, N = 12; rates over γ₊
N, V = 12, 2.0
V_MINUS, V_PLUS = np.linspace(0, 4, 17), np.linspace(0, 2, 9)  # −V₊ by the mirror S_B → −S_B
FACTORISED_AT = (2.0, 0.75)  # V₋ and V₊
TOLERANCE = 1e-7
MANY = 10**9
LABELS = (r"$\langle\sigma_A^+\sigma_B^-\rangle$", r"$\langle\sigma_A^+\sigma_A^+\sigma_B^-\sigma_B^-\rangle$")
#: Mean-field bounds at V₊ = 2, of an independent program: synchronized up to, traveling wave from.
REFERENCE_BOUNDS = (2.9103, 3.3085)


class Symmetric:
    """The part of ρ that populations ever reach: one J of each species and one S^z of both, on either side."""

    def __init__(self, N: int):
        self.N = N
        system = self.system(0.0, 0.0)
        lowered = system.lower()
        self.A, self.B = system.sites
        self.dim = lowered.dim
        casimirs = [s.sp * s.sm + s.sz * s.sz - s.sz for s in (self.A, self.B)]
        labels = np.array([lowered.operator(o).diagonal().real.round(6) for o in (*casimirs, self.A.sz + self.B.sz)])
        group = np.unique(labels, axis=1, return_inverse=True)[1].reshape(-1)
        members = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
        #: Elements |row⟩⟨column| kept.
        self.row = np.concatenate([np.repeat(m, len(m)) for m in members])
        self.column = np.concatenate([np.tile(m, len(m)) for m in members])
        self.position = np.full(self.dim**2, -1)
        self.position[self.row * self.dim + self.column] = np.arange(len(self.row))
        # ρ is real and symmetric, (6.17): half of the elements are enough
        self.upper = np.flatnonzero(self.row <= self.column)
        half = np.empty(len(self.row), dtype=int)
        half[self.upper] = np.arange(len(self.upper))
        half[self.position[self.column * self.dim + self.row][self.upper]] = np.arange(len(self.upper))
        self.unfold = sp.csr_array((np.ones(len(half)), (np.arange(len(half)), half)))

    def system(self, V_minus: float, V_plus: float) -> ba.System:
        return ba.systems.reduced(ba.systems.nonreciprocal_spins(self.N, V, V_plus, V_minus))

    def sandwich(self, left: sp.csr_array, right: sp.csr_array) -> sp.csr_array:
        """ρ → left ρ right†."""
        L, R = sp.csc_array(left), sp.csc_array(right)
        n_left, n_right = np.diff(L.indptr), np.diff(R.indptr)
        rows, columns, values = [], [], []
        for i in range(n_left.max(initial=0)):
            for j in range(n_right.max(initial=0)):
                at = np.flatnonzero((n_left[self.row] > i) & (n_right[self.column] > j))
                l, r = L.indptr[self.row[at]] + i, R.indptr[self.column[at]] + j
                to = self.position[L.indices[l] * self.dim + R.indices[r]]
                inside = to >= 0  # two terms of S_A S_B⁺ leave it alone and cancel
                rows.append(to[inside])
                columns.append(at[inside])
                values.append((L.data[l] * R.data[r].conj())[inside])
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sp.csr_array(entries, shape=(len(self.row),) * 2)

    def generator(self, V_minus: float, V_plus: float) -> tuple[sp.csr_array, float]:
        """The Liouvillian on the half kept, and the largest imaginary part, which PT symmetry forbids."""
        lowered = self.system(V_minus, V_plus).lower()
        one = sp.eye_array(self.dim, format="csr", dtype=complex)
        drift = -1j * lowered.H
        for L in lowered.channels.values():
            drift = drift - 0.5 * (L.conj().T @ L)
        out = self.sandwich(drift, one) + self.sandwich(one, drift)
        for L in lowered.channels.values():
            out = out + self.sandwich(L, L)
        return sp.csr_array(out.real[self.upper] @ self.unfold), float(abs(out.imag).max())

    def bordered(self, generator: sp.csr_array) -> sp.csc_array:
        """One row of a population replaced by the trace."""
        trace = self.unfold.T @ (self.row == self.column).astype(float)
        columns = np.flatnonzero(trace)
        keep = np.ones(len(trace))
        keep[columns[0]] = 0.0
        row = sp.csr_array((trace[columns], (np.full(len(columns), columns[0]), columns)), shape=generator.shape)
        self.source = 1.0 - keep
        return sp.csc_array(sp.diags_array(keep) @ generator + row)

    def weights(self, operator: ba.Operator) -> np.ndarray:
        """The mean of an operator is their product with the half kept."""
        matrix = sp.csr_array(self.system(0.0, 0.0).lower().operator(operator))
        return self.unfold.T @ np.asarray(matrix[self.column, self.row]).reshape(-1).real

    @property
    def operators(self) -> tuple[ba.Operator, ba.Operator]:
        """σ_A⁺σ_B⁻ and σ_A⁺σ_A⁺σ_B⁻σ_B⁻ of different spins."""
        A, B, n = self.A, self.B, self.N
        return A.sp * B.sm / n**2, A.sp * A.sp * B.sm * B.sm / (n * (n - 1)) ** 2


def slowest_wave(V_minus: float, V_plus: float) -> float:
    """Largest growth rate about the mean-field traveling wave (6.11), where it stands, without the free phase."""
    gap = V_minus**2 - V_plus**2
    omega = np.sqrt(gap**2 - V**2 * V_plus**2) / (2 * V * V_minus)
    theta, modulus = np.arccos(V * V_plus / gap), np.sqrt(gap / 2) / (V * V_minus)
    system = ba.systems.nonreciprocal_spins(MANY, V, V_plus, V_minus)
    A, B = system.sites
    equations = MomentEquations(replace(system, H=system.H - omega * (A.sz + B.sz)), 1)
    values = equations.initial()
    for i, variable in enumerate(equations.variables):
        site, unit = variable[0]
        sign = 1 if site.name == "A" else -1
        population = (1 + 0.5 * (1 + sign * V_plus / V_minus)) / 2
        values[i] = population if unit == (0, 0) else modulus * np.exp(0.5j * sign * theta)
    eigenvalues = stability(equations, values)
    return float(eigenvalues[np.argsort(abs(eigenvalues))[1:]].real.max())


def first_wave(V_plus: float) -> float:
    """Where the traveling wave becomes stable, or begins to exist."""
    begins = np.sqrt(V_plus**2 + V * V_plus)
    if slowest_wave(begins + 1e-3, V_plus) < 0:
        return begins
    return brentq(slowest_wave, begins + 1e-3, 3.9, args=(V_plus,), xtol=1e-6)


def last_synchronized(V_plus: float) -> float:
    """The mean-field synchronized state is followed in V₋ until it is lost or unstable."""
    values: np.ndarray | None = None
    low, step = 1.0, 0.25
    while step > 1e-4:
        equations = MomentEquations(ba.systems.nonreciprocal_spins(MANY, V, V_plus, low + step), 1)
        start = values if values is not None else equations.initial({"A": ba.spin(1.5, 0.3), "B": ba.spin(1.5, 0.3)})
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The equations conserve")  # a family it is: the phase is free
                found = steady_moments(equations, start, burn_in=0.01 if values is not None else 200.0)
        except FloatingPointError:
            step /= 2
            continue
        eigenvalues = stability(equations, found)
        if eigenvalues[np.argsort(abs(eigenvalues))[1:]].real.max() > 0:
            step /= 2
        else:
            low, values = low + step, found
    return low


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    small = Symmetric(4)
    generator, imaginary = small.generator(2.0, 1.0)
    mine = splu(small.bordered(generator)).solve(small.source)
    rho = ba.systems.steady_state(small.system(2.0, 1.0))
    lowered = small.system(2.0, 1.0).lower()
    for name, operator in zip(("σ_A⁺σ_B⁻", "σ_A⁺σ_A⁺σ_B⁻σ_B⁻"), small.operators, strict=True):
        package = np.sum(lowered.operator(operator).toarray() * rho.T)
        print(
            f"N = 4, V₋ = 2, V₊ = 1: ⟨{name}⟩ = {small.weights(operator) @ mine:.9f}   ba's steady_state {package:.9f}"
        )

    states = Symmetric(N)
    generator, imaginary = states.generator(*FACTORISED_AT)
    print(f"N = {N}: {len(states.row)} of {states.dim}² elements, imaginary part of the Liouvillian {imaginary:.0e}, "
          "(6.17): none")  # fmt: skip
    solver = splu(states.bordered(generator))
    near = LinearOperator(generator.shape, matvec=solver.solve)
    found = np.zeros((2, len(V_PLUS), len(V_MINUS)))
    worst, half = 0.0, solver.solve(states.source)
    weights = [states.weights(operator) for operator in states.operators]
    for i, V_plus in enumerate(V_PLUS):
        for j in range(len(V_MINUS)) if i % 2 == 0 else range(len(V_MINUS) - 1, -1, -1):
            generator, _ = states.generator(V_MINUS[j], V_plus)
            half, failed = gmres(
                states.bordered(generator), states.source, x0=half, M=near, rtol=TOLERANCE, restart=80, maxiter=5
            )
            if failed:
                print(f"  not converged: V₋ = {V_MINUS[j]:g}, V₊ = {V_plus:g}")
            worst = max(worst, abs(generator @ half).max())
            found[:, i, j] = [w @ half for w in weights]
    print(f"largest |𝓛ρ| of the grid: {worst:.0e}")

    upper = np.linspace(1, 2, 6)
    synchronized = np.array([last_synchronized(v) for v in upper])
    waves = np.array([first_wave(v) for v in upper])
    print(f"mean field, V₊ = 2: synchronized up to {synchronized[-1]:.4f}, traveling wave from {waves[-1]:.4f}   "
          f"reference {REFERENCE_BOUNDS[0]}, {REFERENCE_BOUNDS[1]}")  # fmt: skip
    at_zero = V_PLUS == 0
    print(f"V₊ = 0: |⟨σ_A⁺σ_B⁻⟩| < {abs(found[0, at_zero]).max():.0e}   (6.11) and symmetry: 0")
    for i, V_plus in enumerate(V_PLUS):
        signs = np.flatnonzero((found[1, i, :-1] > 0) & (found[1, i, 1:] <= 0))
        for j in signs:
            x = V_MINUS[j] + (V_MINUS[j + 1] - V_MINUS[j]) * found[1, i, j] / (found[1, i, j] - found[1, i, j + 1])
            print(f"V₊ = {V_plus:g}: ⟨σ_A⁺σ_A⁺σ_B⁻σ_B⁻⟩ < 0 from V₋ = {x:.2f}   mean-field boundary "
                  f"√(V₊² + VV₊) = {np.sqrt(V_plus**2 + V * V_plus):.2f}")  # fmt: skip
    print(f"largest ⟨σ_A⁺σ_B⁻⟩ {found[0].max():.4f}; "
          f"⟨σ_A⁺σ_A⁺σ_B⁻σ_B⁻⟩ from {found[1].min():.5f} to {found[1].max():.5f}")  # fmt: skip

    both_plus = np.concatenate([-V_PLUS[:0:-1], V_PLUS])
    both = np.concatenate([found[:, :0:-1] * np.array([-1, 1])[:, None, None], found], axis=1)
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.6), sharey=True, layout="constrained")
    line = np.linspace(0, 1, 101)
    for k, (axis, values, label) in enumerate(zip(axes, both, LABELS, strict=True)):
        limit = abs(values).max()
        image = axis.pcolormesh(
            V_MINUS, both_plus, values, cmap="RdBu_r", vmin=-limit, vmax=limit, shading="gouraud", rasterized=True
        )
        if k == 1:
            axis.contour(V_MINUS, both_plus, values, levels=[0], colors="C2", linewidths=1.5)
        for sign in (1, -1):
            axis.plot(np.sqrt(line**2 + V * line), sign * line, "k", lw=1.2)
            axis.plot(synchronized, sign * upper, "k", lw=1.2)
            axis.plot(waves, sign * upper, "k", lw=1.2)
        axis.set(xlabel=r"nonreciprocal coupling $V_-/\gamma_+$", xlim=(0, 4), ylim=(-2, 2))
        axis.set_title(f"({'ab'[k]}) {label}", fontsize=11)
        figure.colorbar(image, ax=axis)
    axes[0].set_ylabel(r"reciprocal coupling $V_+/\gamma_+$")
    figure.suptitle(
        rf"Exact correlations of nonreciprocal spins, $N={N}$, $V=2\gamma_+$; black: mean-field bounds, green: zero",
        fontsize=11,
    )
    picture = folder / "fig_6_6.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_6_6.npz", V_minus=V_MINUS, V_plus=both_plus, second=both[0], fourth=both[1], bounds_V_plus=upper,
        bounds_synchronized=synchronized, bounds_wave=waves,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_6_6"))
