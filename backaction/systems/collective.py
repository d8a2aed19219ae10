"""Models of many spins: nonreciprocal species, [T] chapter 6."""

from __future__ import annotations

from numbers import Complex, Real

import numpy as np

from .algebra import Boson, Operator, rate
from .ensembles import Each, Ensemble
from .system import System


def nonreciprocal_spins(
    N: int,
    V: float,
    V_plus: float,
    V_minus: complex,
    kappa: float | None = None,
    detuning: float = 0.0,
    gamma_minus: float = 0.0,
    gamma_z: float = 0.0,
    levels: int = 10,
) -> System:
    """Two species of N spins 1/2 that chase each other, [T] (6.1)–(6.11); rates in units of the pump γ₊ = 1.

    ``H = (Ω/2)(a†S⁻ + aS⁺) + (iV₋/2N) S_A⁺S_B⁻ + h.c. + (δ/4) Σ(σ_A^z − σ_B^z)`` with S = S_A + S_B, ``κD[a]``, and on
    every spin the pump D[σ⁺], γ₋D[σ⁻] and γ_z D[σ^z].

    Parameters
    ----------
    N : int
        Spins of each species.
    V, V_plus : float
        Dissipative couplings within and between the species.  With the cavity they are equal, ``V = NΩ²/κ``.
    V_minus : complex
        Nonreciprocal coupling V₋.
    kappa : float, optional
        Loss rate of the cavity; None: it is eliminated, which leaves the collective loss rates of the matrix
        ``(V, V₊; V₊, V)/N`` with the eigenchannels ``(S_A⁻ ± S_B⁻)/√2``.
    detuning, gamma_minus, gamma_z : float
        δ, γ₋ and γ_z.
    levels : int
        Fock levels of the cavity, where they matter.

    Returns
    -------
    System
        Sites ``A``, ``B`` and, with the cavity, ``a``.  Channels ``cavity_loss``, or ``collective_loss`` and
        ``collective_loss_minus``; local channels ``pump_A``, ``pump_B`` and those of γ₋ and γ_z, ``loss_A``, …,
        ``dephasing_B``, where they are not zero.  Observables ``sp_A``, ``sp_B`` (σ⁺), ``sz_A``, ``sz_B`` (σ^z), means
        per spin, and ``a``.

    Raises
    ------
    ValueError
        For negative rates, ``|V_plus| > V``, or ``V_plus`` other than V with the cavity.
    """
    A, B = Ensemble("A", N), Ensemble("B", N)
    spin = A.member
    for name, value in (("V", V), ("V_plus", V_plus), ("detuning", detuning)):
        if not isinstance(value, Real) or not np.isfinite(value):
            raise ValueError(f"Argument `{name}` must be a finite real number, but is {value!r}.")
    if not isinstance(V_minus, Complex) or not np.isfinite(complex(V_minus)):
        raise ValueError(f"Argument `V_minus` must be a finite number, but is {V_minus!r}.")
    rate(V, "V")
    exchange = 1j * complex(V_minus) / (2 * N) * A.sp * B.sm
    H = exchange + exchange.dag() + detuning / 2 * (A.sz - B.sz)
    channels: dict[str, Operator | Each] = {}
    observables = {
        "sp_A": A.sp / N, "sp_B": B.sp / N, "sz_A": 2 / N * A.sz, "sz_B": 2 / N * B.sz,
    }  # fmt: skip
    if kappa is None:
        if abs(V_plus) > V:
            raise ValueError(
                f"Argument `V_plus` must lie in [−V, V], or a collective loss rate is negative, but is {V_plus!r} for "
                f"V = {V!r}."
            )
        for name, sign in (("collective_loss", 1), ("collective_loss_minus", -1)):
            if V + sign * V_plus > 0:
                channels[name] = rate((V + sign * V_plus) / (2 * N), name) * (A.sm + sign * B.sm)
    else:
        if not isinstance(kappa, Real) or not 0 < kappa < np.inf:
            raise ValueError(f"Argument `kappa` must be a positive rate or None, but is {kappa!r}.")
        if V_plus != V:
            raise ValueError(
                f"Argument `V_plus` must equal V with the cavity, which sees both species alike, but is {V_plus!r} for "
                f"V = {V!r}; pass kappa=None."
            )
        a = Boson("a", levels)
        coupling = np.sqrt(V * kappa / N) / 2 * a.a.dag() * (A.sm + B.sm)
        H = H + coupling + coupling.dag()
        channels["cavity_loss"] = rate(kappa, "kappa") * a.a
        observables["a"] = a.a
    for species in (A, B):
        channels[f"pump_{species.name}"] = species.each(spin.sp)
        for name, value, operator in (
            ("loss", gamma_minus, spin.sm),
            ("dephasing", gamma_z, 2 * spin.sz),
        ):
            root = rate(value, "gamma_minus" if name == "loss" else "gamma_z")
            if root > 0:
                channels[f"{name}_{species.name}"] = species.each(root * operator)
    return System(
        H,
        channels=channels,
        observables=observables,
        name="nonreciprocal_spins",
        parameters={
            "N": N, "V": V, "V_plus": V_plus, "V_minus": [complex(V_minus).real, complex(V_minus).imag],
            "kappa": kappa, "detuning": detuning, "gamma_minus": gamma_minus, "gamma_z": gamma_z, "levels": levels,
        },
    )  # fmt: skip
