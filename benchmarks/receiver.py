"""What the acceptance runs share: residence times from detector currents, beside the phases of the same runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import backaction as ba

residence, sidebands = ba.analysis.residence, ba.analysis.sidebands

#: Currents of both cavities, the phase difference and its times.
Run = tuple[xr.DataArray, xr.DataArray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Receiver:
    """Filters at two sidebands and the assignment, fixed on other seeds than those judged.

    Attributes
    ----------
    lines : (float, float)
        Of the sum of the currents at 0, of their difference at π.
    filter_time, every : float
        Of the Gaussian filters, and the time between samples.
    discard, half_width : float
        Burn-in, and w of the true states.
    """

    lines: tuple[float, float]
    filter_time: float
    every: float
    discard: float
    half_width: float = np.pi / 4

    def powers(self, one: xr.DataArray, two: xr.DataArray) -> xr.Dataset:
        found = sidebands.sideband_powers(one, two, self.lines, self.filter_time, every=self.every)
        return found.sel(time=slice(self.discard, None))

    def states(self, difference: np.ndarray, times: np.ndarray, at: np.ndarray) -> np.ndarray:
        """True states at the samples of the powers."""
        nearest = np.clip(np.rint(np.interp(at, times, np.arange(times.size))).astype(int), 0, times.size - 1)
        return residence.assign(difference, self.half_width)[:, nearest]


def compare(
    name: str, receiver: Receiver, calibration: Run, judged: list[Run]
) -> tuple[tuple[float, float], list[tuple[float, float]], xr.Dataset]:
    """Print currents against phases; returns P(0) and both times, each from currents and from phases, and the model."""
    powers = receiver.powers(*calibration[:2])
    model = sidebands.calibrate_sidebands(powers, *calibration[2:], receiver.half_width)
    at = powers["time"].values
    own = residence.confusion(
        sidebands.decode_sidebands(powers, model)["state"].values, receiver.states(*calibration[2:], at)
    )
    seen, true, states = [], [], []
    for one, two, difference, times in judged:
        powers = receiver.powers(one, two)
        at = powers["time"].values  # those judged may be longer
        seen.append(sidebands.decode_sidebands(powers, model)["state"].values)
        true.append(receiver.states(difference, times, at))
        states.append(residence.assign(difference, receiver.half_width)[:, times >= receiver.discard])
    matrix = residence.confusion(np.concatenate(seen), np.concatenate(true))
    from_currents = residence.residence_times(np.concatenate(seen), at)
    from_phases = residence.residence_times(np.concatenate(states), times[times >= receiver.discard])
    p, e = ([float(x[f"occupation_0{end}"]) for x in (from_currents, from_phases)] for end in ("", "_stderr"))
    print(f"{name}: P(0) from currents {p[0]:.3f}({e[0]:.3f}), from phases {p[1]:.3f}({e[1]:.3f})")
    print(
        f"  confusion P(seen | true) {np.round(matrix['probability'].values, 3).tolist()}, balanced accuracy"
        f" {float(matrix.balanced_accuracy):.3f}({float(matrix.balanced_accuracy_stderr):.3f})"
    )
    tau = []
    for label in ("0", "1"):
        mine, theirs = float(from_currents[f"mean_{label}"]), float(from_phases[f"mean_{label}"])
        errors = [float(x[f"mean_{label}_stderr"]) for x in (from_currents, from_phases)]
        tau.append((mine, theirs))
        print(
            f"  residence time in {'0π'[int(label)]}: {mine:.0f}({errors[0]:.0f}) from currents,"
            f" {theirs:.0f}({errors[1]:.0f}) from phases, ratio {mine / theirs:.2f}"
        )
    right = residence.deconvolve(p[0], own, stderr=e[0])
    value, error = float(right.occupation), float(right.occupation_stderr)
    print(f"  after deconvolution by the calibration's matrix: P(0) {value:.3f}({error:.3f}), P(π) {1 - value:.3f}")
    return (p[0], p[1]), tau, model


def telegraph_bias(
    receiver: Receiver,
    tau: list[tuple[float, float]],
    model: xr.Dataset,
    times: np.ndarray,
    runs: int,
    seeds: list[int],
) -> None:
    """The same for a telegraph signal with the rates of the phases and the powers of the model: what noise alone does.

    The first seed calibrates.
    """
    bins, width = 0.5 * (times[1:] + times[:-1]), times[1] - times[0]
    amplitudes = np.zeros(2)
    for hidden, line in ((0, 0), (3, 1)):  # near 0 and near π: the sideband that is lit
        power = np.exp(model["level"].sel(hidden=hidden).values[line])
        amplitudes[line] = np.sqrt(max(power - 1, 0) / (2 * np.sqrt(np.pi) * receiver.filter_time))

    def run(seed: int) -> Run:
        rng = np.random.default_rng(seed)
        rates = (1 / tau[0][1], 1 / tau[1][1])
        found = residence.telegraph(rates, bins.size * width, width, n_trajectories=runs, rng=rng)
        state = np.atleast_2d(found["state"].values)
        lines = [amplitudes[k] * (state == k) * np.exp(-1j * receiver.lines[k] * bins) for k in (0, 1)]
        noise = rng.normal(size=(2, *state.shape, 2)).view(complex)[..., 0] / np.sqrt(2 * width)
        one, two = (
            xr.DataArray(
                (lines[0] + sign * lines[1]) / np.sqrt(2) + n, dims=("trajectory", "bin"), coords={"bin": bins}
            )
            for sign, n in zip((1, -1), noise, strict=True)
        )
        return one, two, np.pi * state, bins

    calibration, *judged = map(run, seeds)
    compare("  telegraph signal", receiver, calibration, judged)
