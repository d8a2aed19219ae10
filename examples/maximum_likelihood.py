"""Decay rate, detuning and detector efficiency of a driven qubit, from nothing but its homodyne records.

A few records as a laboratory has them: bin edges and the current's average in each bin. `condition` gives the
log-likelihood of a record under a model (Gammelmark and Mølmer, Phys. Rev. A 87, 032115 (2013)); its maximum is the
estimate, its curvature there the error. Upper panel: part of a record, and the current that the model expects at each
time from what was recorded before. Lower panels: the log-likelihood against each parameter while the others follow, the
parabola that `likelihood_estimate` fits, the 95 % interval, and the value that the records were simulated with.

    python examples/maximum_likelihood.py [folder]
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.optimize import minimize
from scipy.stats import norm

import backaction as ba

RABI, PHASE = 2.0, np.pi / 4  # known: drive, and phase of the local oscillator
TRUTH = {"rate": 1.0, "detuning": 0.5, "efficiency": 0.6}  # rates in units of the decay rate
GUESS = {"rate": 1.3, "detuning": 0.2, "efficiency": 0.45}
BOUNDS = {"rate": (0.01, 10.0), "detuning": (-5.0, 5.0), "efficiency": (0.01, 1.0)}
FIRST_STEP = 0.1  # of the search, in every parameter
TIMES = np.linspace(0, 2000, 40001)  # bins of 1/20 of a lifetime, 1/63 of a Rabi period
RECORDS = 8
POINTS, SPACING = 5, 1.0  # of the grid around the maximum, per parameter; in standard errors at the others fixed
EXCERPT = (100.0, 130.0)
SYMBOLS = {"rate": r"decay rate $\gamma$", "detuning": r"detuning $\Delta$", "efficiency": r"efficiency $\eta$"}


def model(rate: float, detuning: float, efficiency: float) -> tuple[ba.System, ba.Unraveling]:
    system = ba.systems.driven_qubit(rabi=RABI, gamma=rate, detuning=detuning)
    return system, ba.Homodyne("loss", phase=PHASE, efficiency=efficiency)


def measured() -> dict[str, np.ndarray]:
    """What the laboratory has: bin edges and the current (record, bin)."""
    data = ba.simulate(
        *model(**TRUTH), TIMES, RECORDS, seed=21, initial="steady", step=(TIMES[1] - TIMES[0]) / 4, progress=False
    )
    return {"times": TIMES, "current_loss": data["current_loss"].values}


def log_likelihood(theta: np.ndarray, record: dict[str, np.ndarray]) -> float:
    """Of all records together."""
    found = ba.condition(*model(*theta), record, initial="steady", seed=0, progress=False)
    return float(found["log_likelihood"].sum())


def search(record: dict[str, np.ndarray]) -> np.ndarray:
    """The neighbourhood of the maximum, from a guess."""
    start = np.array(list(GUESS.values()))
    found = minimize(
        lambda theta: -log_likelihood(theta, record),
        start,
        method="Nelder-Mead",
        bounds=list(BOUNDS.values()),
        options={
            "initial_simplex": np.vstack([start, start + FIRST_STEP * np.eye(len(start))]),
            "xatol": FIRST_STEP / 10,
            "fatol": 0.1,  # nats: a third of a standard error at most
        },
    )
    if not found.success:
        raise RuntimeError(f"The search for the maximum did not end: {found.message}")
    print(f"  {found.nfev} likelihoods led to {dict(zip(TRUTH, found.x.round(3).tolist(), strict=True))}", flush=True)
    return np.asarray(found.x)


def on_grid(centre: np.ndarray, record: dict[str, np.ndarray]) -> xr.DataArray:
    """Log-likelihoods on a grid whose spacing is taken from the curvature at its centre."""
    here = log_likelihood(centre, record)
    steps = FIRST_STEP / 5 * np.eye(len(centre))
    second = [log_likelihood(centre + h, record) + log_likelihood(centre - h, record) - 2 * here for h in steps]
    spacing = SPACING * np.diag(steps) / np.sqrt(-np.array(second))
    offsets = np.arange(POINTS) - POINTS // 2
    grids = [c + s * offsets for c, s in zip(centre, spacing, strict=True)]
    values = [log_likelihood(np.array(theta), record) for theta in itertools.product(*grids)]
    return xr.DataArray(
        np.reshape(values, [POINTS] * len(grids)), dims=list(TRUTH), coords=dict(zip(TRUTH, grids, strict=True))
    )


def profiles(fit: xr.Dataset, record: dict[str, np.ndarray]) -> xr.Dataset:
    """Log-likelihoods, relative to the maximum, against each parameter while the others follow its error."""
    best, covariance = fit["estimate"].values, fit["covariance"].values
    z = np.linspace(-3, 3, 9)
    values = np.empty((len(best), z.size))
    for i in range(len(best)):
        # where the others are most likely, to the order of the parabola
        along = covariance[i] / np.sqrt(covariance[i, i])
        values[i] = [log_likelihood(best + x * along, record) for x in z]
    return xr.Dataset(
        {"profile": (("parameter", "z"), values - float(fit["log_likelihood"]))},
        coords={"parameter": list(TRUTH), "z": z},
    )


def expected_current(theta: np.ndarray, record: dict[str, np.ndarray]) -> np.ndarray:
    """√η⟨e^{−iφ}L + h.c.⟩ at the bin edges of the first record, from what was recorded before."""
    first = {name: values if name == "times" else values[:1] for name, values in record.items()}
    found = ba.condition(*model(*theta), first, initial="steady", observables=("sm",), seed=0, progress=False)
    rate, _, efficiency = theta
    lowering = found["expect_sm"].values[0]
    return 2 * np.sqrt(efficiency * rate) * (np.exp(-1j * PHASE) * lowering).real


def figure_of(record: dict[str, np.ndarray], expected: np.ndarray, fit: xr.Dataset, exact: xr.Dataset) -> plt.Figure:
    figure = plt.figure(figsize=(9.5, 5.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    ax = top.subplots()
    times, current = record["times"], record["current_loss"][0]
    shown = (times[:-1] >= EXCERPT[0]) & (times[:-1] < EXCERPT[1])
    edges = times[np.append(shown, False) | np.append(False, shown)]
    ax.stairs(current[shown], edges, color="0.75", lw=0.6, label="recorded, bin averages")
    inside = (times >= EXCERPT[0]) & (times <= EXCERPT[1])
    ax.plot(times[inside], expected[inside], color="C3", lw=1.3, label="expected from the record before")
    ax.set_xlim(*EXCERPT)
    ax.set_ylim(-1.05 * abs(current[shown]).max(), 1.45 * abs(current[shown]).max())
    ax.set_xlabel(r"time $\gamma t$")
    ax.set_ylabel(r"current $I/\sqrt{\gamma}$")
    ax.set_title("(a)", loc="left", fontsize=10)
    ax.legend(frameon=False, ncols=2, loc="upper right", fontsize=9)

    axes = bottom.subplots(1, len(TRUTH), sharey=True)
    quantile = norm.isf(0.025)
    z = np.linspace(-3.3, 3.3, 201)
    for letter, ax, name in zip("bcd", axes, TRUTH, strict=True):
        here = fit.sel(parameter=name)
        best, stderr = float(here["estimate"]), float(here["estimate_stderr"])
        ax.axvspan(best - quantile * stderr, best + quantile * stderr, color="C0", alpha=0.15, lw=0, label="95 %")
        ax.plot(best + z * stderr, -(z**2) / 2, color="C0", lw=1.3, label="parabola")
        line = exact.sel(parameter=name)
        ax.plot(best + line["z"] * stderr, line["profile"], "o", color="black", ms=4, label="likelihood")
        ax.axvline(TRUTH[name], color="C3", lw=1.2, ls="--", label="true value")
        ax.set_xlabel(SYMBOLS[name] if name == "efficiency" else SYMBOLS[name] + r" $/\,\gamma_\mathrm{true}$")
        ax.set_title(f"({letter})", loc="left", fontsize=10)
    axes[0].set_ylabel("log-likelihood − maximum")
    axes[0].set_ylim(-5.6, 0.4)
    axes[1].legend(frameon=False, loc="lower center", fontsize=9)
    return figure


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{RECORDS} records of {TIMES[-1]:g}/γ in {len(TIMES) - 1} bins")
    record = measured()
    np.savez_compressed(folder / "record.npz", **record)

    print("Search from a guess")
    centre = search(record)
    print(f"Grid of {POINTS}³ points")
    likelihoods = on_grid(centre, record)
    fit = ba.analysis.likelihood_estimate(likelihoods)
    quantile = norm.isf(0.025)
    for name, value in TRUTH.items():
        here = fit.sel(parameter=name)
        best, stderr = float(here["estimate"]), float(here["estimate_stderr"])
        low, high = best - quantile * stderr, best + quantile * stderr
        print(f"  {name:10s} {best:.3f}, 95 % interval {low:.3f} to {high:.3f}; true value {value:g}")
    exact = profiles(fit, record)
    fit.merge(exact).to_netcdf(folder / "estimate.nc", engine="h5netcdf")

    picture = folder / "maximum_likelihood.png"
    figure_of(record, expected_current(fit["estimate"].values, record), fit, exact).savefig(picture, dpi=160)
    print(f"Data:     {folder.resolve()}")
    print(f"Picture:  {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("maximum_likelihood"))
