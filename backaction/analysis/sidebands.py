"""Locked at 0 or at pi, from the currents of two cavities: powers of two sidebands, and a calibrated model of them.

Two oscillators that hop into each other rotate at different frequencies in phase and in antiphase, so that each state
has a sideband of its own: that at 0 in the sum of the currents, that at pi in their difference. A power alone cannot
tell the state of a phase difference that swings half-way and comes back, which hysteresis leaves in its state. The
model has four hidden states for that: near 0, between but last at 0, between but last at pi, near pi. What powers they
show and how they follow each other is learned from runs whose phase difference is known, such as simulated ones, and
then decoded from currents alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import (
    Current,
    Records,
    as_records,
    finite,
    is_labelled,
    labelled_series,
    need_same_runs,
    need_simultaneous,
    positive,
    time_dim,
    uniform_step,
)
from ._hidden import library, quiet
from .phases import demodulate
from .residence import assign

if TYPE_CHECKING:
    import xarray as xr

#: Near 0, between and last at 0, between and last at pi, near pi.
HIDDEN = 4
#: Added to powers, whose white noise has the mean 1, before their logarithm.
_SOFT = 0.5
_FEWEST = 20  # samples of each hidden state


def sideband_powers(
    current_1: Current,
    current_2: Current,
    frequencies: tuple[float, float],
    filter_time: float,
    *,
    every: float | None = None,
    bin_width: float | None = None,
) -> xr.Dataset:
    """Power of the sum of two currents at one frequency, and of their difference at another, through a Gaussian filter.

    ``P_0 = |∫ g(t − t') (I_1 + I_2)/√2 e^{iω_0 t'} dt'|²`` and ``P_pi`` of the difference at ``ω_pi``; g is a Gaussian
    whose square integrates to 1 over what there is of the record, so that white noise of level 1 has the mean power 1
    everywhere (and is exponential).

    Parameters
    ----------
    current_1, current_2 : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Complex currents of two heterodyne detectors.
    frequencies : (float, float)
        ω_0 and ω_pi, where `spectrum` of the sum and of the difference has the lines.
    filter_time : float
        Standard deviation of g, in units of time; at least a bin.
    every : float, optional
        Time between samples of the powers, rounded to whole bins: `filter_time` by default.
    bin_width : float, optional
        Of plain arrays, whose time then begins with 0.

    Returns
    -------
    xarray.Dataset
        `power_0`, `power_pi` (trajectory, time); attrs: frequencies, filter_time.

    Raises
    ------
    ValueError
        If currents are real, NaN or infinite, or do not fit each other, a time is too short, or a frequency too high.
    """
    import xarray as xr
    from scipy.ndimage import correlate1d

    one, two = as_records(current_1, "current_1", bin_width), as_records(current_2, "current_2", bin_width)
    need_simultaneous(one, two, (current_1, current_2), ("current_1", "current_2"))
    for name, records in (("current_1", one), ("current_2", two)):
        if not np.iscomplexobj(records.values):
            raise ValueError(f"Argument `{name}` must be complex, the current of a heterodyne detector, but is real.")
    width = one.bin_width
    sigma = positive(filter_time, "filter_time") / width
    lines = finite(frequencies, "frequencies").astype(float)
    if lines.shape != (2,) or np.abs(lines).max() > np.pi / width:
        raise ValueError(
            f"Argument `frequencies` must be two, within ±π/bin width = {np.pi / width:.6g}, but is {frequencies}."
        )
    if sigma < 1:
        raise ValueError(f"Argument `filter_time` must be at least a bin, {width:.6g}, but is {filter_time}.")
    hop = max(1, round(positive(filter_time if every is None else every, "every") / width))
    times = one.start + width * np.arange(one.shape[1])
    reach = math.ceil(6 * sigma)
    g = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    norm = correlate1d(np.ones(one.shape[1]), g**2, mode="constant")
    powers = []
    for sign, frequency in zip((1, -1), lines, strict=True):
        turned = demodulate((one.values + sign * two.values) / math.sqrt(2), times, frequency)
        smooth = [correlate1d(part, g, axis=1, mode="constant") for part in (turned.real, turned.imag)]
        powers.append((width / norm * (smooth[0] ** 2 + smooth[1] ** 2))[:, ::hop])
    thinned = Records(powers[0], hop * width, one.start, one.labelled, one.has_trajectories, one.trajectory_dims)
    attrs = {"long_name": "power of a sideband", "units": "1"}
    power_0 = labelled_series(thinned, current_1, "power_0", attrs)
    out = xr.Dataset({"power_0": power_0, "power_pi": power_0.copy(data=powers[1].reshape(power_0.shape))})
    return out.assign_attrs(frequencies=[float(f) for f in frequencies], filter_time=float(filter_time))


def calibrate_sidebands(
    powers: xr.Dataset, phase_difference: Any, times: ArrayLike | None = None, half_width: float = math.pi / 4
) -> xr.Dataset:
    """What powers the states show and how they follow each other, from runs whose phase difference is known.

    Parameters
    ----------
    powers : xarray.Dataset
        From `sideband_powers`; its dims in any order.
    phase_difference : array_like or xarray.DataArray, shape (time,) or (trajectory, time)
        Of the same runs, in radians; its states are those of `residence.assign` with `half_width`.
    times : array_like, shape (time,), optional
        Of `phase_difference`; the coordinate of time of a DataArray by default.
    half_width : float
        In (0, pi/2].

    Returns
    -------
    xarray.Dataset
        `level` (hidden, feature) and `covariance` (hidden, feature, other), of the logarithms of the powers + 1/2;
        `transition` (hidden, to), from sample to sample; `occupation` (hidden). `hidden` numbers the states that were
        visited: 0 near 0, 1 between and last at 0, 2 between and last at pi, 3 near pi. attrs: every, half_width, and
        those of `powers`.

    Raises
    ------
    ValueError
        If times do not cover those of the powers, shapes or trajectories do not fit, samples are missing, or a state is
        visited hardly ever.
    """
    import xarray as xr

    if is_labelled(phase_difference):
        along = time_dim(phase_difference, "phase_difference")
        phase_difference = phase_difference.transpose(..., along)
        need_same_runs(phase_difference, powers, "phase_difference", phase_difference.dims[:-1])
        if times is None and along in phase_difference.coords:
            times = phase_difference.coords[along].values
    if times is None:
        raise ValueError("Argument `times` must be given where `phase_difference` has no coordinate of time.")
    known = finite(times, "times").astype(float)
    angle = np.atleast_2d(finite(getattr(phase_difference, "values", phase_difference), "phase_difference"))
    z, at = _features(powers), powers["time"].values
    if known.ndim != 1 or angle.shape != (len(z), known.size):
        raise ValueError(
            f"Argument `phase_difference` must have shape ({len(z)}, {known.size}), of the powers' trajectories and of"
            f" `times`, but has {angle.shape}."
        )
    every = uniform_step(at, "powers")
    step = float(np.median(np.diff(known)))
    if at[0] < known[0] - step or at[-1] > known[-1] + step:
        raise ValueError(
            f"Argument `times` must cover the powers, {at[0]:.6g} to {at[-1]:.6g}, but is {known[0]:.6g} to"
            f" {known[-1]:.6g}."
        )
    state = assign(angle, half_width)
    near = np.abs(np.pi - (np.pi - angle) % (2 * np.pi))
    near = np.where(state == 0, near, np.pi - near) < half_width
    hidden = np.where(state == 0, np.where(near, 0, 1), np.where(near, 3, 2))
    nearest = np.clip(np.rint(np.interp(at, known, np.arange(known.size))).astype(int), 0, known.size - 1)
    decided = (state >= 0)[:, nearest]
    hidden = np.where(decided, hidden[:, nearest], -1)
    counts = np.array([(hidden == i).sum() for i in range(HIDDEN)])
    index = np.flatnonzero(counts)  # a telegraph signal is never in between
    if not (counts[:2].any() and counts[2:].any()) or counts[index].min() < _FEWEST:
        raise ValueError(
            f"Argument `phase_difference` must visit 0 and pi, and every state that it visits in {_FEWEST} samples at"
            f" least, but has {counts.tolist()} near 0, between from 0, between from pi, near pi; calibrate on longer"
            " runs."
        )
    before, after = hidden[:, :-1], hidden[:, 1:]
    jumps = np.array([[((before == i) & (after == j)).sum() for j in index] for i in index], dtype=float)
    jumps += 1e-6  # what was never seen is not impossible
    return xr.Dataset(
        {
            "level": (("hidden", "feature"), np.stack([z[hidden == i].mean(axis=0) for i in index])),
            "covariance": (("hidden", "feature", "other"), np.stack([np.cov(z[hidden == i].T) for i in index])),
            "transition": (("hidden", "to"), jumps / jumps.sum(axis=1, keepdims=True)),
            "occupation": ("hidden", counts[index] / counts.sum()),
        },
        coords={"hidden": index, "to": index},
        attrs={**powers.attrs, "every": every, "half_width": float(half_width)},
    )


def decode_sidebands(powers: xr.Dataset, calibration: xr.Dataset) -> xr.Dataset:
    """The state at 0 or pi in every sample, from the powers alone.

    Parameters
    ----------
    powers : xarray.Dataset
        From `sideband_powers`, with the frequencies, filter and samples of the calibration; its dims in any order.
    calibration : xarray.Dataset
        From `calibrate_sidebands`, of other runs.

    Returns
    -------
    xarray.Dataset
        `state` (trajectory, time), int8: 0 or 1 (pi), of the most likely path; `probability_0`, given all samples.

    Raises
    ------
    ImportError
        If hmmlearn is not installed.
    ValueError
        If filter, frequencies or samples are not those of the calibration, or samples are missing.
    """
    z = _features(powers)
    for name in ("frequencies", "filter_time"):
        if not np.allclose(powers.attrs[name], calibration.attrs[name], rtol=1e-9, atol=0):
            raise ValueError(
                f"Argument `powers` must have the `{name}` of the calibration, {calibration.attrs[name]}, but has"
                f" {powers.attrs[name]}."
            )
    at = powers["time"].values
    # one sample has no neighbour to be far from
    every = uniform_step(at, "powers") if at.size > 1 else calibration.attrs["every"]
    if abs(every - calibration.attrs["every"]) > 1e-6 * every:
        raise ValueError(
            f"Argument `powers` must have a sample every {calibration.attrs['every']:.6g}, as the calibration has, but"
            f" has one every {every:.6g}."
        )
    hidden = calibration["hidden"].values
    model = library().GaussianHMM(hidden.size, "full", params="", init_params="")
    model.startprob_, model.transmat_ = calibration["occupation"].values, calibration["transition"].values
    model.means_, model.covars_ = calibration["level"].values, calibration["covariance"].values
    with quiet():
        path = hidden[np.stack([model.predict(x) for x in z])]
        probability = np.stack([model.predict_proba(x)[:, hidden < 2].sum(axis=1) for x in z])
    template = powers["power_0"].transpose(..., "time")
    state = template.copy(data=(path >= 2).astype(np.int8).reshape(template.shape)).rename("state")
    state.attrs = {"long_name": "0: locked at 0, 1: locked at pi"}
    found = state.to_dataset()
    found["probability_0"] = template.copy(data=probability.reshape(template.shape))
    found["probability_0"].attrs = {"long_name": "probability of the state at 0, given all samples"}
    return found


def _features(powers: xr.Dataset) -> NDArray[np.float64]:
    """Logarithms, (trajectory, time, feature)."""
    both = [np.atleast_2d(powers[name].transpose(..., "time").values) for name in ("power_0", "power_pi")]
    return np.stack([np.log(finite(p, "powers") + _SOFT) for p in both], axis=-1)
