"""Synchronization transition of a network of spins 1/2: [T] Fig. 4.10.

Mean field for N → ∞, (4.55) and (4.56), and second-order cumulants for finite N.

    python examples/fig_4_10.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq

import backaction as ba
from backaction.systems import MomentEquations, stability, steady_moments
from backaction.systems.moment_states import mean_value

# [T] Fig. 4.10: γ₊ = 10γ₋; (b) N = 10⁴; rates over γ₋
GAIN = 10.0
SIZES = (10, 100, 1000, 10_000)
COUPLINGS = np.linspace(0.5, 40, 80)
GAINS_MAP, COUPLINGS_MAP, N_MAP = np.geomspace(0.3, 100, 31), np.geomspace(0.3, 300, 33), 10_000
MANY = 10**9
#: |s⁺| of the mean field; ⟨σ^z⟩, ⟨σ₊σ₋⟩ and ⟨σ^zσ^z⟩ of cumulants at N = 100, V = 20, of an independent program.
REFERENCE_COHERENCE = {15.0: 0.17638342, 30.0: 0.28771128}
REFERENCE_CUMULANTS = (0.51812520, 0.07568176, 0.27255709)


def critical(gain: np.ndarray) -> np.ndarray:
    """V_c of (4.55)."""
    return (gain + 1) ** 2 / (gain - 1)


def mean_field(V: float) -> float:
    """|s⁺|."""
    system = ba.systems.spin_network(MANY, V, GAIN, 1.0)
    equations = MomentEquations(system, 1)
    values = steady_moments(equations, {"A": ba.spin(1.0, 0.0)}, burn_in=200.0)
    return abs(mean_value(equations, equations.mean(system.observables["sp"]), values))


def growth(V: float) -> float:
    """Largest growth rate about the incoherent state."""
    equations = MomentEquations(ba.systems.spin_network(MANY, V, GAIN, 1.0), 1)
    return float(stability(equations, steady_moments(equations))[0].real)


def cumulants(N: int, V: float, gain: float) -> tuple[float, float, float]:
    """⟨σ^z⟩, ⟨σ₊σ₋⟩ and ⟨σ^zσ^z⟩ of two members."""
    system = ba.systems.spin_network(N, V, gain, 1.0)
    equations = MomentEquations(system, 2)
    values = steady_moments(equations, burn_in=50.0)
    (A,) = system.sites
    member = ba.Spin("member")
    pairs = N * (N - 1)
    operators = (
        system.observables["sz"],
        (A.sp * A.sm - A.total(member.sp * member.sm)) / pairs,
        (4 * A.sz * A.sz - N) / pairs,
    )
    z, coherence, zz = (mean_value(equations, equations.mean(o), values).real for o in operators)
    return z, coherence, zz


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    for V, expected in REFERENCE_COHERENCE.items():
        print(f"mean field, V = {V:g}: |s⁺| = {mean_field(V):.8f}   reference {expected:.8f}")
    print(f"critical coupling {brentq(growth, 10.0, 20.0, xtol=1e-9):.6f}   (4.55) {critical(GAIN):.6f}")
    for name, found, expected in zip(("σ^z", "σ₊σ₋", "σ^zσ^z"), cumulants(100, 20.0, GAIN), REFERENCE_CUMULANTS,
                                     strict=True):  # fmt: skip
        print(f"N = 100, V = 20: ⟨{name}⟩ = {found:.8f}   reference {expected:.8f}")

    order = np.array([[np.sqrt(max(cumulants(N, V, GAIN)[1], 0.0)) for V in COUPLINGS] for N in SIZES])
    limit = np.array([mean_field(V) for V in COUPLINGS])
    closed = np.sqrt(np.maximum(GAIN - 1, 0) / 2 * np.maximum(COUPLINGS - critical(GAIN), 0)) / COUPLINGS
    print(f"mean field against (4.56): largest distance {abs(limit - closed).max():.1e}")
    table = np.array([[np.sqrt(max(cumulants(N_MAP, V, gain)[1], 0.0)) for gain in GAINS_MAP] for V in COUPLINGS_MAP])
    gains = np.geomspace(1.01, 100, 1000)
    expected = (GAINS_MAP > 1) & (COUPLINGS_MAP[:, None] > critical(np.maximum(GAINS_MAP, 1.0001)))
    print(f"N = 10⁴: largest order parameter below threshold {table[~expected].max():.3f}, above {table.max():.3f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for k, N in enumerate(SIZES):
        left.plot(
            COUPLINGS, order[k], color=plt.get_cmap("viridis")(k / len(SIZES)), lw=1.6,
            label=rf"$N=10^{len(str(N)) - 1}$"
        )  # fmt: skip
    fine = np.linspace(0.5, 40, 1000)
    left.plot(
        fine, np.sqrt((GAIN - 1) / 2 * np.maximum(fine - critical(GAIN), 0)) / fine, "k", lw=2,
        label=r"$N\to\infty$, (4.56)",
    )  # fmt: skip
    left.axvline(critical(GAIN), color="0.6", lw=0.9, ls=":")
    left.set(
        xlabel=r"collective coupling $V/\gamma_-$", ylabel=r"order parameter $\sqrt{\langle\sigma^+\sigma^-\rangle}$",
        xlim=(0, 40), ylim=(0, None),
    )  # fmt: skip
    left.set_title(r"(a) synchronization transition, $\gamma_+=10\gamma_-$", fontsize=11)
    left.legend(fontsize=9, loc="lower right")
    image = right.pcolormesh(GAINS_MAP, COUPLINGS_MAP, table, cmap="magma", shading="nearest", rasterized=True, vmin=0)
    figure.colorbar(image, ax=right, label=r"$\sqrt{\langle\sigma^+\sigma^-\rangle}$")
    right.plot(gains, critical(gains), "--", color="C0", lw=2, label=r"$V_c$, (4.55)")
    right.set(
        xscale="log", yscale="log", xlabel=r"gain $\gamma_+/\gamma_-$", ylabel=r"collective coupling $V/\gamma_-$",
        xlim=(GAINS_MAP[0], GAINS_MAP[-1]), ylim=(COUPLINGS_MAP[0], COUPLINGS_MAP[-1]),
    )  # fmt: skip
    right.set_title(r"(b) second-order cumulants, $N=10^4$", fontsize=11)
    right.legend(fontsize=9, loc="lower left")
    picture = folder / "fig_4_10.png"
    figure.savefig(picture, dpi=150)
    np.savez_compressed(
        folder / "fig_4_10.npz", V=COUPLINGS, N=SIZES, order=order, mean_field=limit, gain_map=GAINS_MAP,
        V_map=COUPLINGS_MAP, order_map=table,
    )  # fmt: skip
    print(f"Picture: {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("fig_4_10"))
