"""The library of models.  Rates and frequencies are angular, in one arbitrary unit; ħ = 1."""

from __future__ import annotations

from typing import Any

from .algebra import Boson, Operator, Spin, rate
from .system import System


def vdp(kappa1: float, kappa2: float, kappa: float = 1.0, omega: float = 0.0, levels: int = 20) -> System:
    """Quantum van der Pol oscillator, [T] (4.1): ``−iω[a†a,·] + κ₁D[a†] + κ₂D[a²] + κD[a]``.

    Parameters
    ----------
    kappa1, kappa2, kappa : float
        Rates of one-photon gain, two-photon loss and (monitored) one-photon loss.
    omega : float
        Frequency; ⟨a⟩ ∝ e^{−iωt}.
    levels : int
        Fock levels.

    Returns
    -------
    System
        Site ``a``; channels ``loss``, ``pump``, ``two_photon``; observables ``n``, ``a``.
    """
    a = Boson("a", levels)
    return System(
        omega * a.n,
        channels={
            "loss": rate(kappa, "kappa") * a.a,
            "pump": rate(kappa1, "kappa1") * a.a.dag(),
            "two_photon": rate(kappa2, "kappa2") * a.a**2,
        },
        observables={"n": a.n, "a": a.a},
        name="vdp",
        parameters={"kappa1": kappa1, "kappa2": kappa2, "kappa": kappa, "omega": omega, "levels": levels},
    )


def two_vdp(kappa1: float, kappa2: float, kappa: float, coupling: float, detuning: float, levels: int = 12) -> System:
    """Two dissipatively coupled quantum van der Pol oscillators, [T] (4.8).

    ``H = (δ/2)(a†a − b†b)``, ``V D[a − b]`` and the rates of `vdp` on each, in the frame of the mean frequency.

    Parameters
    ----------
    kappa1, kappa2, kappa : float
        Rates of gain, two-photon loss and one-photon loss, the same for both.
    coupling, detuning : float
        V >= 0 and δ.
    levels : int
        Fock levels per oscillator (12 for κ₁ = 3, κ₂ = κ = 1).

    Returns
    -------
    System
        Sites ``a``, ``b``; channels ``loss_a, loss_b, pump_a, pump_b, two_photon_a, two_photon_b, coupling``;
        observables ``n_a``, ``n_b``, ``a``, ``b``, ``coherence`` (a†b).
    """
    a, b = Boson("a", levels), Boson("b", levels)
    channels: dict[str, Operator] = {}
    for mode in (a, b):
        channels[f"loss_{mode.name}"] = rate(kappa, "kappa") * mode.a
        channels[f"pump_{mode.name}"] = rate(kappa1, "kappa1") * mode.a.dag()
        channels[f"two_photon_{mode.name}"] = rate(kappa2, "kappa2") * mode.a**2
    channels["coupling"] = rate(coupling, "coupling") * (a.a - b.a)
    return System(
        detuning / 2 * (a.n - b.n),
        channels=channels,
        observables={"n_a": a.n, "n_b": b.n, "a": a.a, "b": b.a, "coherence": a.a.dag() * b.a},
        name="two_vdp",
        parameters={"kappa1": kappa1, "kappa2": kappa2, "kappa": kappa, "coupling": coupling,
                    "detuning": detuning, "levels": levels},
    )  # fmt: skip


def spin(gamma_plus: float, gamma_minus: float, omega: float = 0.0) -> System:
    """Spin-1/2 limit-cycle oscillator, [T] (4.26): ``H = (ω/2)σ_z``, gain γ₊D[σ⁺], loss γ₋D[σ⁻].

    Returns
    -------
    System
        Site ``s``; channels ``loss``, ``pump``; observables ``sz`` (σ_z), ``sp`` (σ⁺), ``sx`` (σ_x).
    """
    s = Spin("s")
    return System(
        omega * s.sz,
        channels={
            "loss": rate(gamma_minus, "gamma_minus") * s.sm,
            "pump": rate(gamma_plus, "gamma_plus") * s.sp,
        },
        observables={"sz": 2 * s.sz, "sp": s.sp, "sx": 2 * s.sx},
        name="spin",
        parameters={"gamma_plus": gamma_plus, "gamma_minus": gamma_minus, "omega": omega},
    )


def two_spins(gamma_plus: float, gamma_minus: float, coupling: float, detuning: float) -> System:
    """Two dissipatively coupled spin-1/2 oscillators, [T] (4.35).

    ``H = (δ/4)(σ_A^z − σ_B^z)``, ``V D[σ_A⁻ + σ_B⁻]``, γ₊D[σ⁺] and γ₋D[σ⁻] on each.

    Returns
    -------
    System
        Sites ``a``, ``b``; channels ``loss_a, loss_b, pump_a, pump_b, coupling``; observables ``sz_a``,
        ``sz_b``, ``sp_a``, ``sp_b``, ``coherence`` (σ_A⁺σ_B⁻).
    """
    a, b = Spin("a"), Spin("b")
    channels: dict[str, Operator] = {}
    for s in (a, b):
        channels[f"loss_{s.name}"] = rate(gamma_minus, "gamma_minus") * s.sm
        channels[f"pump_{s.name}"] = rate(gamma_plus, "gamma_plus") * s.sp
    channels["coupling"] = rate(coupling, "coupling") * (a.sm + b.sm)
    return System(
        detuning / 2 * (a.sz - b.sz),
        channels=channels,
        observables={"sz_a": 2 * a.sz, "sz_b": 2 * b.sz, "sp_a": a.sp, "sp_b": b.sp, "coherence": a.sp * b.sm},
        name="two_spins",
        parameters={"gamma_plus": gamma_plus, "gamma_minus": gamma_minus, "coupling": coupling,
                    "detuning": detuning},
    )  # fmt: skip


def driven_qubit(rabi: float, gamma: float, detuning: float = 0.0) -> System:
    """Resonance fluorescence: ``H = (Ω/2)σ_x + (Δ/2)σ_z``, loss γD[σ⁻].

    Parameters
    ----------
    rabi, gamma, detuning : float
        Ω, γ and Δ (transition minus drive frequency).

    Returns
    -------
    System
        Site ``s``; channel ``loss``; observables ``excited`` (σ⁺σ⁻), ``sm``, ``sx``, ``sy``, ``sz`` (Pauli).
    """
    s = Spin("s")
    return System(
        rabi * s.sx + detuning * s.sz,
        channels={"loss": rate(gamma, "gamma") * s.sm},
        observables={"excited": s.sp * s.sm, "sm": s.sm, "sx": 2 * s.sx, "sy": 2 * s.sy, "sz": 2 * s.sz},
        name="driven_qubit",
        parameters={"rabi": rabi, "gamma": gamma, "detuning": detuning},
    )


def damped_cavity(
    kappa: float, omega: float = 0.0, drive: complex = 0.0, n_thermal: float = 0.0, levels: int = 20
) -> System:
    """Damped cavity: ``H = ωa†a + i(E a† − E* a)``, κ(n_th+1)D[a] + κ n_th D[a†].

    Returns
    -------
    System
        Site ``a``; channel ``loss``, and ``heating`` if n_thermal > 0; observables ``n``, ``a``.
    """
    a = Boson("a", levels)
    rate(n_thermal, "n_thermal")
    channels = {"loss": rate(kappa, "kappa") * (1 + n_thermal) ** 0.5 * a.a}
    if n_thermal > 0:
        channels["heating"] = (kappa * n_thermal) ** 0.5 * a.a.dag()
    drive = complex(drive)
    return System(
        omega * a.n + 1j * (drive * a.a.dag() - drive.conjugate() * a.a),
        channels=channels,
        observables={"n": a.n, "a": a.a},
        name="damped_cavity",
        parameters={"kappa": kappa, "omega": omega, "drive": [drive.real, drive.imag],
                    "n_thermal": n_thermal, "levels": levels},
    )  # fmt: skip


def parametric_oscillator(epsilon: float, kappa: float, levels: int = 40) -> System:
    """Degenerate parametric oscillator below threshold: ``H = (iε/2)(a†² − a²)``, κD[a], |ε| < κ/2.

    Returns
    -------
    System
        Site ``a``; channel ``loss``; observables ``n``, ``x = a + a†``, ``p = −i(a − a†)`` (vacuum variance 1)
        and their squares ``x2``, ``p2``.
    """
    a = Boson("a", levels)
    x, p = a.a + a.a.dag(), -1j * (a.a - a.a.dag())
    return System(
        0.5j * epsilon * (a.a.dag() ** 2 - a.a**2),
        channels={"loss": rate(kappa, "kappa") * a.a},
        observables={"n": a.n, "x": x, "p": p, "x2": x**2, "p2": p**2},
        name="parametric_oscillator",
        parameters={"epsilon": epsilon, "kappa": kappa, "levels": levels},
    )


def qnd_qubit(k: float) -> System:
    """Qubit under a quantum non-demolition measurement of σ_z: ``kD[σ_z]``, H = 0.

    Returns
    -------
    System
        Site ``s``; channel ``probe`` (√k σ_z); observables ``sx``, ``sy``, ``sz`` (Pauli).  Starts in |+⟩.
    """
    from .states import spin as spin_state

    s = Spin("s")
    return System(
        0.0 * s.sz,
        channels={"probe": rate(k, "k") * 2 * s.sz},
        observables={"sx": 2 * s.sx, "sy": 2 * s.sy, "sz": 2 * s.sz},
        initial={"s": spin_state(1.5707963267948966, 0.0)},
        name="qnd_qubit",
        parameters={"k": k},
    )


def cascaded(
    kappa_source: float,
    kappa_target: float,
    rabi: float = 0.0,
    source: str = "boson",
    target: str = "boson",
    levels: int = 3,
) -> System:
    """A source whose output drives a target, nothing coming back.

    ``L = √κ_s a + √κ_t b``, ``H = (1/2i)√(κ_sκ_t)(b†a − a†b) + (Ω/2)(a + a†)`` with a, b the lowering
    operators of source and target.

    Parameters
    ----------
    kappa_source, kappa_target : float
        Couplings to the common output line.
    rabi : float
        Coherent drive Ω of the source.
    source, target : {"boson", "qubit"}
        What each is.
    levels : int
        Fock levels of a boson.

    Returns
    -------
    System
        Sites ``source``, ``target``; channel ``output``; observables ``n_source``, ``n_target``.
    """

    def lowering(kind: str, name: str) -> Operator:
        kinds: dict[str, Any] = {"boson": lambda: Boson(name, levels).a, "qubit": lambda: Spin(name).sm}
        if kind not in kinds:
            raise ValueError(f'Argument `{name}` must be "boson" or "qubit", but is {kind!r}.')
        return kinds[kind]()

    a, b = lowering(source, "source"), lowering(target, "target")
    root_s, root_t = rate(kappa_source, "kappa_source"), rate(kappa_target, "kappa_target")
    return System(
        -0.5j * root_s * root_t * (b.dag() * a - a.dag() * b) + rabi / 2 * (a + a.dag()),
        channels={"output": root_s * a + root_t * b},
        observables={"n_source": a.dag() * a, "n_target": b.dag() * b},
        name="cascaded",
        parameters={"kappa_source": kappa_source, "kappa_target": kappa_target, "rabi": rabi,
                    "source": source, "target": target, "levels": levels},
    )  # fmt: skip
