"""A levitated nanoparticle's detector record, conditioned on: frequencies and dampings by maximum likelihood.

One detector sees the three centre-of-mass modes of a silica sphere in an optical trap (examples/data/levitated; record
and licence of AshleySetter/optoanalysis).  The model is a linear system like any other here: three damped oscillators
in hot baths, one slow mode of frequency 0 for the detector's drift, and one channel that reads the sum of their
positions, ``L = Σ √k_i (a_i + a_i†)``, under homodyne detection.  At the level of moments such a system is exact for
bins of any width, which these samples need: a mode turns by up to 0.42 rad in one.

What the record can tell is classical.  It fixes η k_i (2n_i + 1), not its factors: occupations are those of 300 K, and
the efficiency is an assumption.  The backaction 4k_i that follows is printed against the bath's noise: it is invisible.
Modes lose x and p alike, as in the rotating-wave approximation; a viscous force on p alone differs by γ/ω < 2 %.  The
oscilloscope samples, while a bin averages; the loss sinc(ωΔ/2) > 0.99 goes into k_i.  The white floor is fitted as the
voltage that shot noise has, which scales the record to the level 1 that `condition` expects.

(a) spectrum of the record and of the fitted model, (b) autocorrelation of the record and of the innovations, which are
white if the model is right.

    python examples/levitated.py [folder]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from scipy.signal import welch

import backaction as ba
from backaction.systems.linear import linear_model

DATA = Path(__file__).parent / "data" / "levitated" / "trace.npz"
MODES = ("z", "x", "y")
THERMAL = 1.380649e-23 * 300 / 1.054571817e-34 * 1e-6  # k_B T/ħ in rad/µs; times are in µs
EFFICIENCY = 0.01  # assumed, as said above
DRIFT_OCCUPATION = 1e8  # of a mode without frequency: any large number
# fits of the record's authors: frequency/(2π) in kHz; damping in 1/ms and its error
PUBLISHED = {"z": (61.802, 7.076, 0.521), "x": (149.831, 5.591, 0.337), "y": (166.070, 11.162, 0.953)}
GUESS = {
    "frequency": 2e-3 * np.pi * np.array([61.8, 149.8, 166.1]),  # rad/µs
    "damping": np.array([0.007, 0.006, 0.008, 0.1]),  # 1/µs: the modes, the drift
    "strength": np.array([0.3, 0.1, 0.05, 0.1]),  # variance of each one's current, in units of shot noise per µs
    "floor": 0.0425,  # V per sample
}
STEPS = np.array([2e-4] * 3 + [0.05] * 8 + [2e-3])  # for derivatives: of frequencies, then of logarithms
SETTLED = 5000  # samples after which the filter has forgotten its start
LAGS = 50


class Parameters(NamedTuple):
    frequency: np.ndarray
    damping: np.ndarray
    strength: np.ndarray
    floor: float


def parameters(theta: np.ndarray) -> Parameters:
    return Parameters(theta[:3], np.exp(theta[3:7]), np.exp(theta[7:11]), float(np.exp(theta[11])))


def model(p: Parameters) -> ba.System:
    channels, light, H = {}, [], []
    for name, frequency, damping, strength in zip(
        (*MODES, "drift"), (*p.frequency, 0.0), p.damping, p.strength, strict=True
    ):
        mode = ba.Boson(name)
        n = THERMAL / frequency if frequency else DRIFT_OCCUPATION
        H.append(frequency * mode.n)
        channels[f"cooling_{name}"] = np.sqrt(damping * (n + 1)) * mode.a
        channels[f"heating_{name}"] = np.sqrt(damping * n) * mode.a.dag()
        # the current is 2√(ηk)x, and x has the variance 2n + 1
        light.append(np.sqrt(strength / (4 * EFFICIENCY * (2 * n + 1))) * (mode.a + mode.a.dag()))
    return ba.System(sum(H[1:], H[0]), {**channels, "light": sum(light[1:], light[0])}, name="levitated")


def conditioned(theta: np.ndarray, volts: np.ndarray, dt: float):
    """The record in units of shot noise, conditioned on the model."""
    p = parameters(theta)
    record = {"times": dt * np.arange(len(volts) + 1), "current_light": volts / (p.floor * np.sqrt(dt))}
    detector = ba.Homodyne("light", efficiency=EFFICIENCY)
    return ba.condition(model(p), detector, record, initial="steady", level=ba.Moments(), progress=False)


def spread(theta: np.ndarray, found, dt: float) -> np.ndarray:
    """Predicted standard deviation of every sample given those before, in V."""
    return found["innovation_std_light"].values * parameters(theta).floor * np.sqrt(dt)


def minus_log_likelihood(theta: np.ndarray, volts: np.ndarray, dt: float) -> float:
    """Of the voltages: that of the current, relative to white noise, and white noise whose level is a parameter."""
    floor = parameters(theta).floor
    white = -0.5 * np.sum((volts / floor) ** 2) - len(volts) * np.log(floor)
    return -float(conditioned(theta, volts, dt)["log_likelihood"][0]) - white


def information(theta: np.ndarray, volts: np.ndarray, dt: float) -> np.ndarray:
    """Fisher information: Σ of the outer products of each sample's score, by central differences."""

    def terms(at: np.ndarray) -> np.ndarray:
        found = conditioned(at, volts, dt)
        return -0.5 * found["innovation_light"].values[0] ** 2 - np.log(spread(at, found, dt))

    scores = [(terms(theta + h) - terms(theta - h)) / (2 * h.sum()) for h in np.diag(STEPS)]
    return np.array([[float(a @ b) for a in scores] for b in scores])


def fit(volts: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Maximum-likelihood parameters, and their covariances."""
    theta = np.concatenate([GUESS["frequency"], *(np.log(np.atleast_1d(GUESS[k])) for k in list(GUESS)[1:])])
    for samples in (len(volts) // 5, len(volts)):
        some = volts[:samples]
        # in units of standard errors, along which the likelihood is nearly round
        unit = np.linalg.cholesky(np.linalg.inv(information(theta, some, dt)))
        found = minimize(
            lambda z, unit=unit, some=some, theta=theta: minus_log_likelihood(theta + unit @ z, some, dt),
            np.zeros(len(theta)),
            method="BFGS",
            options={"eps": 0.02, "gtol": 0.05, "maxiter": 40},
        )
        theta = theta + unit @ found.x
        print(f"  {samples} samples: {found.nfev} likelihoods, −ln L = {found.fun:.2f}; {found.message}", flush=True)
    return theta, np.linalg.inv(information(theta, volts, dt))


def autocorrelation(x: np.ndarray) -> np.ndarray:
    x = x - x.mean()
    return np.array([x[k:] @ x[: len(x) - k] for k in range(LAGS + 1)]) / (x @ x)


def model_spectrum(p: Parameters, frequency: np.ndarray, dt: float) -> np.ndarray:
    """One-sided spectrum of the voltage, V²/kHz, of bin averages; frequency in kHz."""
    linear = linear_model(model(p))
    read = 2 * np.sqrt(EFFICIENCY) * linear.channels["light"][0].real
    total = np.ones(len(frequency))
    for alias in range(-2, 3):
        omega = 2e-3 * np.pi * frequency + 2 * np.pi * alias / dt
        G = np.linalg.inv(1j * omega[:, None, None] * np.eye(len(read)) - linear.A)
        row = np.einsum("i,wij->wj", read, G)
        signal = np.einsum("wi,ij,wj->w", row, linear.D, row.conj()).real
        total += signal * np.sinc(omega * dt / 2 / np.pi) ** 2
    return 2e-3 * dt * p.floor**2 * total


def figure_of(volts: np.ndarray, dt: float, p: Parameters, innovation: np.ndarray) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", width_ratios=[1.5, 1])
    ax = axes[0]
    frequency, power = welch(volts, 1e3 / dt, nperseg=8192)
    shown = (frequency > 0) & (frequency < 250)
    ax.semilogy(frequency[shown], power[shown], color="0.6", lw=0.7, label="record")
    ax.semilogy(frequency[shown], model_spectrum(p, frequency[shown], dt), color="C3", lw=1.3, label="model")
    for name, f in zip(MODES, p.frequency / (2e-3 * np.pi), strict=True):
        ax.annotate(f"${name}$", (f, 1.3 * model_spectrum(p, np.array([f]), dt)[0]), ha="center", color="C3")
    ax.set_ylim(top=5 * power[shown].max())
    ax.set_xlabel("frequency (kHz)")
    ax.set_ylabel(r"spectral density (V$^2$/kHz)")
    ax.set_title("(a)", loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=9)
    ax = axes[1]
    lags = np.arange(1, LAGS + 1)
    ax.axhspan(-0.01, 0.01, color="C0", alpha=0.12, lw=0)
    ax.plot(lags, autocorrelation(volts)[1:], color="0.6", lw=1, label="record")
    ax.plot(lags, autocorrelation(innovation)[1:], "o", color="C0", ms=3, label="innovations")
    ax.set_xlabel("lag (samples)")
    ax.set_ylabel("autocorrelation")
    ax.set_title("(b)", loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def main(folder: Path) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(DATA) as data:
        volts, dt = data["volts"].astype(float), float(data["dt"]) * 1e6
    volts -= volts.mean()
    print(f"{len(volts)} samples, {dt:g} µs apart; standard deviation {volts.std():.4f} V")

    theta, covariance = fit(volts, dt)
    p, error = parameters(theta), np.sqrt(np.diag(covariance))
    print("mode  frequency (kHz)        damping (1/ms)       of the record's authors")
    for i, name in enumerate(MODES):
        f, df = p.frequency[i] / (2e-3 * np.pi), error[i] / (2e-3 * np.pi)
        g, dg = 1e3 * p.damping[i], 1e3 * p.damping[i] * error[3 + i]
        known = "{:.3f} kHz, {:.2f} ± {:.2f} /ms".format(*PUBLISHED[name])
        print(f"  {name}   {f:8.3f} ± {df:.3f}      {g:6.2f} ± {dg:.2f}        {known}")
    k = p.strength[:3] / (4 * EFFICIENCY * (2 * THERMAL / p.frequency + 1))
    bath = 2 * p.damping[:3] * (2 * THERMAL / p.frequency + 1)
    print(f"Floor {p.floor:.5f} V; drift: 1/e time {2 / p.damping[3]:.1f} µs")
    print(f"Backaction over thermal noise, if the efficiency is {EFFICIENCY:g}: {(4 * k / bath).max():.0e}")

    found = conditioned(theta, volts, dt)
    innovation = found["innovation_light"].values[0, SETTLED:]
    predicted = spread(theta, found, dt)[SETTLED:]
    measured = (innovation * predicted).std()
    worst = np.abs(autocorrelation(innovation)[1:]).max()
    print(f"Innovations: standard deviation {predicted[-1]:.5f} V predicted, {measured:.5f} V measured")
    print(f"             autocorrelation at lags 1 to {LAGS} at most {worst:.4f}")

    np.savez_compressed(
        folder / "levitated.npz", theta=theta, covariance=covariance, innovation=innovation, predicted=predicted
    )
    picture = folder / "levitated.png"
    figure_of(volts, dt, p, innovation).savefig(picture, dpi=160)
    print(f"Data:     {folder.resolve()}")
    print(f"Picture:  {picture.resolve()}")
    print(f"Took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("levitated"))
