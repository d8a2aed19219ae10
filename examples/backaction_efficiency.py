"""What a detector tells and what it does to the system, against its efficiency and its kind.

Upper row: the photons that a quantum van der Pol oscillator ([T] (4.1)) loses fall on a counter, a homodyne or a
heterodyne detector, in the steady state. Lower row: the qubit whose σ_z is measured without demolition, from |+⟩, with
closed forms for all three detectors. Columns: purity of the conditional state; the share of a variance that the record
resolves, Var[E_c O]/Var O; Fisher information of the record about a parameter; and how far the record kicks
conditional means, E|d⟨O⟩_c|²/dt.

    python examples/backaction_efficiency.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.special import roots_hermitenorm

import backaction as ba

EFFICIENCIES = (0.25, 0.5, 0.75, 1.0)
DETECTORS = {"counter": ba.QuantumJumps, "homodyne": ba.Homodyne, "heterodyne": ba.Heterodyne}
COLOURS = {"counter": "C0", "homodyne": "C3", "heterodyne": "C2"}

OSCILLATOR = {"kappa1": 1.5, "kappa2": 0.1, "kappa": 1.0, "levels": 18}
OSCILLATOR_TIMES = np.linspace(0, 6, 301)  # in 1/kappa
FORGOTTEN = 3.0  # the beginning, while the observer still learns the state
OSCILLATOR_STEP = 0.1  # of the finite difference of log-likelihoods, in kappa1
OSCILLATOR_RUNS = 200

K = 1.0  # dephasing of the qubit: kD[σ_z]
QUBIT_TIMES = np.linspace(0, 0.5, 101)
QUBIT_STEP = 0.05
QUBIT_RUNS = 1000
NO_SCATTER = 1e-6  # standard errors below: all records have the same value but for the step's error


def fisher(system_at, unraveling, record: xr.Dataset, value: float, step: float, **options) -> tuple[float, float]:
    """Fisher information of a record about a parameter, with its error, from the curvature of log-likelihoods.

    `fisher_information` warns where the variance of the score contradicts the curvature.
    """
    values = value + step * np.array([-1, 0, 1])
    log_likelihoods = [
        ba.condition(system_at(v), unraveling, record, progress=False, **options)["log_likelihood"] for v in values
    ]
    found = ba.analysis.fisher_information(np.stack(log_likelihoods, axis=1), values)
    return float(found["fisher_curvature"]), float(found["fisher_curvature_stderr"])


def last(data: xr.Dataset, name: str, scale: float = 1.0) -> tuple[float, float]:
    """Value and error at the last time."""
    return float(data[name][-1]) / scale, float(data[name + "_stderr"][-1]) / scale


def overall(data: xr.Dataset, name: str, scale: float = 1.0) -> tuple[float, float]:
    return float(data[name]) / scale, float(data[name + "_stderr"]) / scale


def collect(rows: dict[tuple[str, float], dict[str, tuple[float, float]]]) -> xr.Dataset:
    """Values with errors as variables (detector, efficiency)."""
    names = next(iter(rows.values()))
    data = {}
    for name in names:
        pairs = np.array([[rows[kind, efficiency][name] for efficiency in EFFICIENCIES] for kind in DETECTORS])
        data[name] = (("detector", "efficiency"), pairs[..., 0])
        data[name + "_stderr"] = (("detector", "efficiency"), pairs[..., 1])
    return xr.Dataset(data, coords={"detector": list(DETECTORS), "efficiency": list(EFFICIENCIES)})


# --- the oscillator --------------------------------------------------------------------------------------


def noise_strength(states: xr.DataArray, operator: np.ndarray, jump: np.ndarray, kind: str, efficiency: float) -> float:
    """E|d⟨O⟩_c|²/dt as the stochastic master equation has it, from conditional states."""
    rho = states.values
    mean = {
        name: np.einsum("...ij,ji->...", rho, matrix, optimize=True)
        for name, matrix in {
            "O": operator,
            "L": jump,
            "OL": operator @ jump,
            "LdO": jump.conj().T @ operator,
            "LdL": jump.conj().T @ jump,
            "LdOL": jump.conj().T @ operator @ jump,
        }.items()
    }
    forwards = mean["OL"] - mean["O"] * mean["L"]
    backwards = mean["LdO"] - mean["O"] * mean["L"].conj()
    strength = {
        "counter": mean["LdL"].real * abs(mean["LdOL"] / mean["LdL"] - mean["O"]) ** 2,
        "homodyne": abs(forwards + backwards) ** 2,
        "heterodyne": abs(forwards) ** 2 + abs(backwards) ** 2,
    }[kind]
    return float(efficiency * strength.mean())


def oscillator() -> tuple[xr.Dataset, xr.Dataset, float]:
    """Measured values, the noise strengths from the equation, and the unconditional purity."""

    def system_at(kappa1):
        return ba.systems.vdp(**{**OSCILLATOR, "kappa1": kappa1})

    mode = ba.Boson("a", OSCILLATOR["levels"])
    lower = np.diag(np.sqrt(np.arange(1, OSCILLATOR["levels"])), 1).astype(complex)
    operators = {"a": lower, "n": lower.conj().T @ lower}
    system = system_at(OSCILLATOR["kappa1"])
    steady = ba.systems.steady_state(system)
    # Var O of the unconditional state, with ⟨a⟩ = 0
    n = np.diag(steady).real @ np.arange(OSCILLATOR["levels"])
    variance = {"a": n, "n": np.diag(steady).real @ np.arange(OSCILLATOR["levels"]) ** 2 - n**2}
    duration = OSCILLATOR_TIMES[-1]

    rows, noise = {}, {}
    for kind, detector in DETECTORS.items():
        for efficiency in EFFICIENCIES:
            unraveling = detector("loss", efficiency=efficiency)
            data = ba.simulate(
                system,
                unraveling,
                OSCILLATOR_TIMES,
                ntraj=OSCILLATOR_RUNS,
                seed=11,
                initial="steady",
                level="density",
                observables={"a": mode.a, "n": mode.n, "n2": mode.n**2},
                states=True,
                n_jobs=-1,
                progress=False,
            )
            late = data.sel(time=slice(FORGOTTEN, None))
            some = late["state"].isel(time=slice(None, None, 10))
            # stationary: average over time too
            purity = ba.analysis.mean_stderr(ba.analysis.purity(some))
            row = {"purity": (float(purity["mean"]), float(purity["stderr"]))}
            squares = {"a": late["expect_n"], "n": late["expect_n2"]}
            for name, operator in operators.items():
                mean = late[f"expect_{name}"]
                parts = ba.analysis.variance_decomposition(mean, square=squares[name])
                row[f"resolved_{name}"] = last(parts, "resolved", variance[name])
                kicks = ba.analysis.disturbance(mean)
                row[f"disturbance_{name}"] = overall(kicks, "disturbance_mean")
                noise[kind, efficiency, name] = noise_strength(some, operator, lower, kind, efficiency)
            value, error = fisher(
                system_at, unraveling, data, OSCILLATOR["kappa1"], OSCILLATOR_STEP, initial="steady", n_jobs=-1
            )
            row["information"] = (value / duration, error / duration)
            rows[kind, efficiency] = row
            report(kind, efficiency, row)
    exact = xr.Dataset(
        {
            f"disturbance_{name}": (
                ("detector", "efficiency"),
                [[0.0, *(noise[kind, efficiency, name] for efficiency in EFFICIENCIES)] for kind in DETECTORS],
            )
            for name in operators
        },
        coords={"detector": list(DETECTORS), "efficiency": [0.0, *EFFICIENCIES]},
    )
    return collect(rows), exact, float(ba.analysis.purity(steady))


# --- the qubit -------------------------------------------------------------------------------------------


def qubit() -> xr.Dataset:
    system = ba.systems.qnd_qubit(K)
    rows = {}
    for kind, detector in DETECTORS.items():
        for efficiency in EFFICIENCIES:
            unraveling = detector("probe", efficiency=efficiency)
            data = ba.simulate(
                system,
                unraveling,
                QUBIT_TIMES,
                ntraj=QUBIT_RUNS,
                seed=12,
                level="density",
                observables=("sx", "sy", "sz"),
                states=True,
                n_jobs=-1,
                progress=False,
            )
            purity = ba.analysis.trajectory_mean(ba.analysis.purity(data["state"].isel(time=[-1])))
            z = data["expect_sz"]
            parts = ba.analysis.variance_decomposition(z, 1 - z**2)
            coherence = ba.analysis.disturbance(data["expect_sx"] + 1j * data["expect_sy"])
            row = {
                "purity": last(purity, "mean"),
                "resolved": last(parts, "resolved"),
                "disturbance": overall(coherence, "disturbance_mean"),
                "information": fisher(ba.systems.qnd_qubit, unraveling, data, K, QUBIT_STEP, n_jobs=-1),
            }
            rows[kind, efficiency] = row
            report(kind, efficiency, row)
    return collect(rows)


def qubit_exact(efficiency: np.ndarray) -> xr.Dataset:
    """Closed forms: Y = ∫I dt tells σ_z with the strength s; light that is lost dephases at the rate 2k(1 − η).

    A homodyne current has s = 2√(ηk), a heterodyne current half of s², a counter s = 0: its clicks come at the rate
    ηk whatever the state.
    """
    x, weight = roots_hermitenorm(80)
    weight = weight / weight.sum()
    t = QUBIT_TIMES[-1]
    middle = (QUBIT_TIMES[1:] + QUBIT_TIMES[:-1]) / 2

    def over_records(function, s, t):
        y = s * t + np.sqrt(t) * x  # the two branches σ_z = ±1 are mirror images
        return np.sum(weight * function(y), axis=-1)

    rows = []
    for eta in efficiency:
        row = []
        for kind in DETECTORS:
            s2 = {"counter": 0.0, "homodyne": 4 * eta * K, "heterodyne": 2 * eta * K}[kind]
            s = np.sqrt(s2)
            resolved = over_records(lambda y, s=s: np.tanh(s * y) ** 2, s, t)
            left = np.exp(-4 * K * (1 - eta) * t)
            # information about s becomes one about k with ds/dk = s/2k
            about_s = over_records(lambda y, s=s: (y * np.tanh(s * y) - s * t) ** 2, s, t)
            information = eta * t / K if kind == "counter" else about_s * s2 / (2 * K) ** 2
            z = np.tanh(s * (s * middle[:, None] + np.sqrt(middle)[:, None] * x))
            kick = {"counter": 1.0 + 0 * z, "homodyne": z**2, "heterodyne": (1 + z**2) / 2}[kind] * (1 - z**2)
            disturbance = 4 * eta * K * np.mean((kick @ weight) * np.exp(-4 * K * (1 - eta) * middle))
            row.append(((1 + resolved + (1 - resolved) * left) / 2, resolved, information, disturbance))
        rows.append(row)
    values = np.array(rows)
    names = ("purity", "resolved", "information", "disturbance")
    return xr.Dataset(
        {name: (("efficiency", "detector"), values[..., i]) for i, name in enumerate(names)},
        coords={"efficiency": efficiency, "detector": list(DETECTORS)},
    )


# --- numbers and figure ----------------------------------------------------------------------------------


def report(kind: str, efficiency: float, row: dict[str, tuple[float, float]]) -> None:
    numbers = ", ".join(f"{name} {value:.4f} ± {error:.4f}" for name, (value, error) in row.items())
    print(f"  {kind:10s} η = {efficiency:.2f}: {numbers}", flush=True)


def draw(ax, measured: xr.Dataset, variable: str, exact: xr.Dataset | None = None, label=True, **options) -> None:
    for kind, colour in COLOURS.items():
        line = exact.sel(detector=kind) if exact is not None else None
        ba.analysis.plot_backaction(
            measured.sel(detector=kind),
            line,
            ax=ax,
            variables=[variable],
            labels=[kind if label else None],
            exact_label=None,
            **{"color": colour, "ms": 4.5, **options},
        )
    ax.set_xlim(0, 1.05)


def figure_of(measured: dict[str, xr.Dataset], exact: dict[str, xr.Dataset], unconditional: float) -> plt.Figure:
    figure, axes = plt.subplots(2, 4, figsize=(13.5, 6.4), layout="constrained")
    vdp, qnd = measured["oscillator"], measured["qubit"]
    second = {"mfc": "white", "fmt": "s", "label": False}  # the second quantity of a panel: open squares

    (purity, resolved, information, kicks), (purity2, resolved2, information2, kicks2) = axes
    draw(purity, vdp, "purity")
    purity.axhline(unconditional, color="0.7", lw=0.8, ls=":", zorder=1)
    purity.set_ylabel(r"purity $E\,\mathrm{Tr}\,\rho_c^2$")
    draw(resolved, vdp, "resolved_a", label=False)
    draw(resolved, vdp, "resolved_n", **second)
    resolved.set_ylabel(r"resolved share $\mathrm{Var}[E_c O]\,/\,\mathrm{Var}\,O$")
    draw(information, vdp, "information", label=False)
    information.set_ylabel(r"Fisher information $\kappa F(\kappa_1)/T$")
    draw(kicks, vdp, "disturbance_a", exact["oscillator"], label=False)
    draw(kicks, vdp, "disturbance_n", exact["oscillator"], **second)
    kicks.set_ylabel(r"disturbance $E|d\langle O\rangle_c|^2/\kappa\,dt$")

    draw(purity2, qnd, "purity", exact["qubit"])
    purity2.set_ylabel(r"purity $E\,\mathrm{Tr}\,\rho_c^2$")
    draw(resolved2, qnd, "resolved", exact["qubit"], label=False)
    resolved2.set_ylabel(r"resolved share $\mathrm{Var}[E_c\sigma_z]$")
    draw(information2, qnd, "information", exact["qubit"], label=False)
    information2.set_ylabel(r"Fisher information $k^2 F(k)$")
    draw(kicks2, qnd, "disturbance", exact["qubit"], label=False)
    kicks2.set_ylabel(r"disturbance $E|d\langle\sigma_x + i\sigma_y\rangle_c|^2/k\,dt$")

    for ax in (resolved, kicks):
        ax.plot([], [], "o", color="0.4", ms=4.5, label="$O = a$")
        ax.plot([], [], "s", color="0.4", mfc="white", ms=4.5, label=r"$O = a^\dagger a$")
    kicks.plot([], [], color="black", lw=1.2, label="stochastic master equation")
    purity.plot([], [], color="0.7", lw=0.8, ls=":", label="unconditional")
    purity2.plot([], [], color="black", lw=1.2, label="closed form")
    for ax in axes.flat:
        ax.set_ylim(bottom=0)
    for ax, room in ((purity, 1.6), (resolved, 1.3), (kicks, 1.35)):
        ax.set_ylim(0, room * ax.get_ylim()[1])
        ax.legend(frameon=False, loc="upper left", fontsize=9)
    purity2.legend(frameon=False, loc="lower right", fontsize=9)
    titles = ("(a) van der Pol oscillator", "(b)", "(c)", "(d)", r"(e) qubit, $\sigma_z$ measured", "(f)", "(g)", "(h)")
    for ax, title in zip(axes.flat, titles, strict=True):
        ax.set_title(title, loc="left", fontsize=10)
    return figure


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Van der Pol oscillator: {OSCILLATOR_RUNS} records of {OSCILLATOR_TIMES[-1]:g}/κ each")
    vdp, noise, unconditional = oscillator()
    print(f"  purity of the unconditional state: {unconditional:.4f}")
    print(f"Qubit: {QUBIT_RUNS} records of {QUBIT_TIMES[-1]:g}/k each")
    qnd = qubit()
    measured = {"oscillator": vdp, "qubit": qnd}
    exact = {"oscillator": noise, "qubit": qubit_exact(np.linspace(0, 1, 41))}

    at = qubit_exact(np.array(EFFICIENCIES)).transpose("detector", "efficiency")
    for name in at.data_vars:
        error = qnd[name + "_stderr"]
        deviation = abs(qnd[name] - at[name])
        random = error > NO_SCATTER
        print(
            f"  {name}: largest deviation from the closed form {float((deviation / error.where(random)).max()):.1f}"
            f" standard errors, {float(deviation.where(~random, 0).max()):.1g} where all records agree"
        )
    for name, data in measured.items():
        data.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")
    picture = folder / "backaction_efficiency.png"
    figure_of(measured, exact, unconditional).savefig(picture, dpi=160)
    print(f"Data:     {folder.resolve()}")
    print(f"Picture:  {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("backaction_efficiency"))
