"""Models of many spins: networks, [T] section 4.2.3; nonreciprocal species, chapter 6; superradiant lasers, 7."""

from __future__ import annotations

from numbers import Complex, Real

import numpy as np

from .algebra import Boson, Operator, rate
from .ensembles import MEMBER, Each, Ensemble
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
    every spin the pump D[σ⁺], γ₋D[σ⁻] and (γ_z/2)D[σ^z], by which coherence decays at the rate γ_z.

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
        channels |= _local(species, pump=1.0, loss=gamma_minus, dephasing=gamma_z)
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


def _local(species: Ensemble, **rates: float) -> dict[str, Each]:
    """Local channels of a species of spins 1/2, where the rates are not zero."""
    operators = {"pump": MEMBER.sp, "loss": MEMBER.sm, "dephasing": 2**0.5 * MEMBER.sz}  # coherence decays at γ_z
    arguments = {"pump": "gamma_plus", "loss": "gamma_minus", "dephasing": "gamma_z"}
    roots = {name: rate(value, arguments[name]) for name, value in rates.items()}
    return {f"{name}_{species.name}": species.each(root * operators[name]) for name, root in roots.items() if root > 0}


def superradiant_laser(
    N: int,
    p_driven: float,
    V: float,
    kappa: float | None = None,
    gamma_plus: float = 1.0,
    gamma_minus: float = 0.0,
    gamma_z: float = 0.0,
    levels: int = 10,
) -> System:
    """Superradiant laser of driven and undriven atoms, [T] (7.1).

    ``H = Ω(a†S⁻ + aS⁺)`` with S of all atoms, ``κD[a]``, the pump γ₊D[σ⁺] on the driven ones, γ₋D[σ⁻] and
    (γ_z/2)D[σ^z] on all; ``V = 2NΩ²/κ``.

    Parameters
    ----------
    N : int
        Atoms.
    p_driven : float
        Fraction of them that is driven, in (0, 1].
    V : float
        Collective coupling.
    kappa : float, optional
        Loss rate of the cavity; None: it is eliminated, which leaves ``(2V/N) D[S⁻]``.
    gamma_plus, gamma_minus, gamma_z : float
        Rates of the pump, of spontaneous emission and of dephasing.
    levels : int
        Fock levels of the cavity, where they matter.

    Returns
    -------
    System
        Sites ``driven``, ``undriven`` (if any) and, with the cavity, ``a``; channels ``cavity_loss`` or
        ``collective_loss``, and local ones; observables ``sp_driven``, ``sz_driven``, …, per spin, and ``a``.

    Raises
    ------
    ValueError
        For a fraction outside (0, 1], or negative rates.
    """
    if not isinstance(p_driven, Real) or not 0 < p_driven <= 1:
        raise ValueError(f"Argument `p_driven` must lie in (0, 1], but is {p_driven!r}.")
    driven = round(N * float(p_driven))
    species = [Ensemble(name, n) for name, n in (("driven", driven), ("undriven", N - driven)) if n > 0]
    lowering = sum((s.sm for s in species[1:]), species[0].sm)
    rate(V, "V")
    channels: dict[str, Operator | Each] = {}
    observables = {}
    for s in species:
        pumped = {"pump": gamma_plus} if s.name == "driven" else {}
        observables |= {f"sp_{s.name}": s.sp / s.N, f"sz_{s.name}": 2 / s.N * s.sz}
        channels |= _local(s, **pumped, loss=gamma_minus, dephasing=gamma_z)
    if kappa is None:
        H = 0.0 * species[0].sz
        channels["collective_loss"] = rate(2 * V / N, "V") * lowering
    else:
        if not isinstance(kappa, Real) or not 0 < kappa < np.inf:
            raise ValueError(f"Argument `kappa` must be a positive rate or None, but is {kappa!r}.")
        a = Boson("a", levels)
        half = np.sqrt(V * kappa / (2 * N)) * a.a.dag() * lowering
        H = half + half.dag()
        channels["cavity_loss"] = rate(kappa, "kappa") * a.a
        observables["a"] = a.a
    return System(
        H,
        channels=channels,
        observables=observables,
        name="superradiant_laser",
        parameters={
            "N": N, "p_driven": p_driven, "V": V, "kappa": kappa, "gamma_plus": gamma_plus, "gamma_minus": gamma_minus,
            "gamma_z": gamma_z, "levels": levels,
        },
    )  # fmt: skip


def spin_network(N: int, V: float, gamma_plus: float, gamma_minus: float) -> System:
    """N spins 1/2 that synchronize by a common loss, [T] (4.52): ``(V/N) D[S⁻]``, γ₊D[σ⁺] and γ₋D[σ⁻] on each.

    Returns
    -------
    System
        Site ``A``; channels ``collective_loss``, ``pump_A``, ``loss_A``; observables ``sp``, ``sz`` (σ⁺ and σ^z, per
        spin).
    """
    A = Ensemble("A", N)
    return System(
        0.0 * A.sz,
        channels={
            "collective_loss": rate(V / N, "V") * A.sm,
            **_local(A, pump=gamma_plus, loss=gamma_minus),
        },
        observables={"sp": A.sp / N, "sz": 2 / N * A.sz},
        name="spin_network",
        parameters={"N": N, "V": V, "gamma_plus": gamma_plus, "gamma_minus": gamma_minus},
    )


def two_ensembles(N: int, detuning: float, pump: float, gamma_c: float = 1.0) -> System:
    """Two ensembles of N atoms in one cavity, which has been eliminated; Xu, Tieri, Fine, Thompson and Holland (2014).

    ``H = (δ/2)(J_A^z − J_B^z)``, ``γ_c D[J_A⁻ + J_B⁻]``, and the pump wD[σ⁺] on every atom.

    Parameters
    ----------
    N : int
        Atoms of each ensemble.
    detuning, pump, gamma_c : float
        δ, w and γ_c.

    Returns
    -------
    System
        Sites ``A``, ``B``; channels ``collective_loss``, ``pump_A``, ``pump_B``; observables ``sp_A``, ``sp_B``,
        ``sz_A``, ``sz_B``, per spin.
    """
    A, B = Ensemble("A", N), Ensemble("B", N)
    return System(
        detuning / 2 * (A.sz - B.sz),
        channels={
            "collective_loss": rate(gamma_c, "gamma_c") * (A.sm + B.sm),
            **_local(A, pump=pump),
            **_local(B, pump=pump),
        },
        observables={"sp_A": A.sp / N, "sp_B": B.sp / N, "sz_A": 2 / N * A.sz, "sz_B": 2 / N * B.sz},
        name="two_ensembles",
        parameters={"N": N, "detuning": detuning, "pump": pump, "gamma_c": gamma_c},
    )
