"""Two states or three behind a noisy signal: hidden Markov models, fitted and compared; reached through `residence`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import Records, as_series, drop_start, is_labelled, labelled_series
from ._hidden import CENTRES, Fit
from .uncertainty import FEWEST_BLOCKS

if TYPE_CHECKING:
    import xarray as xr

Kind = Literal["phase", "signal"]

_FEWEST_SAMPLES = 20  # of a sequence


def hidden_markov(
    signal: Any,
    times: ArrayLike | None = None,
    *,
    n_states: Literal[2, 3] = 2,
    kind: Kind = "phase",
    discard: float = 0.0,
    axis: int | str = -1,
) -> xr.Dataset:
    """States and rates by a hidden Markov model: a state jumps at random, and each has its own distribution of samples.

    Phases are put into 24 bins on the circle, and their distribution in a state may have any shape: a lone sample on
    the other side may then be noise, and rates of short records are lower by a per cent or two. Signals are Gaussian.

    The noise is taken as independent from sample to sample. Where the signal is filtered, or the phase of a conditional
    state diffuses within its well, that is not so: the model then follows slow noise by jumps that are none, and its
    rates come out too high. Take samples no closer than the memory of the noise.

    Parameters
    ----------
    signal : array_like or xarray.DataArray, shape (time,) or (trajectory, time), or a sequence of these
        Angles in radians of any branch (`kind="phase"`), or real signals, such as the powers of two sidebands
        (`kind="signal"`; a tuple or list of several arrays, seen together).
    times : array_like, shape (time,), optional
        Uniform. Default: the coordinate of a DataArray.
    n_states : {2, 3}
        With three, the third lies in between: the slip.
    kind : {"phase", "signal"}
        What the signal is. State 0 is that about 0, state 1 that about pi; of signals the one with the lowest and the
        one with the highest mean (of the first).
    discard : float
        Times before ``times[0] + discard`` are left out.
    axis : int or str
        Axis of time; of a DataArray, a dim.

    Returns
    -------
    xarray.Dataset
        `state` (trajectory, time), of the most likely path (int8: 0, 1, and 2 for the slip); `probability` (...,
        hidden), of the states given all samples; `rate` (hidden, to) of jumps per unit of time, minus the total on the
        diagonal (of three states the nearest rates to what was fitted to jumps from sample to sample, none negative);
        `rate_stderr` (for two states; NaN on the diagonal and for three); `density` (hidden, phase), of phases per
        radian, or `level` (hidden, feature), the means of signals; `occupation` (hidden), stationary.
        attrs: log_likelihood, iterations, n_states, kind.

    Raises
    ------
    ImportError
        If hmmlearn is not installed.
    ValueError
        If the signal is complex, NaN, infinite or constant; times are missing, not uniform or not one per sample; or no
        such model fits: a state stays empty, or jumps from sample to sample (record at a finer resolution).

    Warns
    -----
    RuntimeWarning
        If the fit has not converged, or three states jump from sample to sample as by no rates.

    Notes
    -----
    Rabiner, Proc. IEEE 77, 257 (1989); fitted by expectation maximisation with hmmlearn, from a start that is found
    without random numbers. Rates from transitions: Israel, Rosenthal and Wei, Math. Finance 11, 245 (2001). Standard
    errors of rates: from the curvature of the likelihood or, from 20 trajectories on, the scatter of its slopes over
    trajectories; distributions of samples are taken as known.
    """
    features, records, source = _observed(signal, times, kind, discard, axis)
    fit = Fit(features, records.bin_width, n_states, kind)
    dataset = labelled_series(replace(records, values=fit.path()), source, "state", {}).to_dataset()
    names = list(dataset.state.dims)
    probability = fit.probability()
    dataset["probability"] = ([*names, "hidden"], probability if records.has_trajectories else probability[0])
    error = np.full((n_states, n_states), math.nan)
    if n_states == 2:
        k, covariance = fit.rates()
        error[[0, 1], [1, 0]] = k * np.sqrt(np.diag(covariance))
    dataset["rate"] = (("hidden", "to"), fit.generator())
    dataset["rate_stderr"] = (("hidden", "to"), error)
    if kind == "phase":
        dataset["density"] = (("hidden", "phase"), np.roll(fit.densities(), CENTRES.size // 2, axis=1))
        dataset = dataset.assign_coords(phase=CENTRES - math.pi)
    else:
        dataset["level"] = (("hidden", "feature"), fit.levels())
    dataset["occupation"] = ("hidden", fit.stationary())
    hidden = np.arange(n_states)
    attrs = {"log_likelihood": fit.log_likelihood, "iterations": fit.iterations, "n_states": n_states, "kind": kind}
    return dataset.assign_coords(hidden=hidden, to=hidden).assign_attrs(attrs)


def compare_hidden_markov(
    signal: Any,
    times: ArrayLike | None = None,
    *,
    kind: Kind = "phase",
    folds: int = 4,
    discard: float = 0.0,
    axis: int | str = -1,
) -> xr.Dataset:
    """Two states or three, 0 / pi / slip: log-likelihoods of data on which the models were not fitted.

    Trajectories are dealt out into `folds`; each fold is scored by models fitted on the others. Fewer trajectories than
    8 are cut into pieces, which count as independent: they must be long against a residence time.

    Parameters
    ----------
    signal, times, kind, discard, axis
        As for `hidden_markov`.
    folds : int
        At least 2.

    Returns
    -------
    xarray.Dataset
        `log_likelihood(n_states)`, held out, per sample; `gain`, that of three states less that of two, per sample, and
        `gain_stderr` (scatter of trajectories or pieces); `preferred`, 3 if the gain exceeds two standard errors, else
        2. attrs: n_pieces, folds, kind.

    Raises
    ------
    ImportError, ValueError
        As `hidden_markov`; also if `folds` is out of range, or pieces hold fewer than 20 samples.
    """
    import xarray as xr

    features, records, _ = _observed(signal, times, kind, discard, axis)
    if folds % 1 != 0 or not 2 <= folds <= FEWEST_BLOCKS:
        raise ValueError(f"Argument `folds` must be an integer from 2 to {FEWEST_BLOCKS}, but is {folds}.")
    cuts = math.ceil(FEWEST_BLOCKS / len(features))
    if features.shape[1] // cuts < _FEWEST_SAMPLES:
        raise ValueError(
            f"Argument `signal` must have {_FEWEST_SAMPLES} samples in each of the {FEWEST_BLOCKS} pieces that are"
            f" compared, but has shape {features.shape[:2]}."
        )
    pieces = [piece for x in features for piece in np.array_split(x, cuts)]
    scores = np.empty((2, len(pieces)))
    for fold in range(int(folds)):
        train = [x for i, x in enumerate(pieces) if i % folds != fold]
        for k in (0, 1):
            fit = Fit(train, records.bin_width, k + 2, kind, patient=False)
            for i in range(fold, len(pieces), int(folds)):
                scores[k, i] = fit.score(pieces[i])
    size = sum(len(x) for x in pieces)
    difference = scores[1] - scores[0]
    gain = float(difference.sum()) / size
    error = float(np.std(difference, ddof=1)) * math.sqrt(len(pieces)) / size
    return xr.Dataset(
        {
            "log_likelihood": ("n_states", scores.sum(axis=1) / size),
            "gain": gain,
            "gain_stderr": error,
            "preferred": 3 if gain > 2 * error else 2,
        },
        coords={"n_states": [2, 3]},
        attrs={"n_pieces": len(pieces), "folds": int(folds), "kind": kind},
    )


def _observed(
    signal: Any, times: ArrayLike | None, kind: str, discard: float, axis: int | str
) -> tuple[NDArray[np.float64], Records, Any]:
    """Features (trajectory, time, feature), the records they belong to, and the array that these came from."""
    if kind not in get_args(Kind):
        raise ValueError(f'Argument `kind` must be "phase" or "signal", but is {kind!r}.')
    several = isinstance(signal, (tuple, list)) and bool(signal) and not np.isscalar(signal[0])
    several = several and kind == "signal" and (is_labelled(signal[0]) or isinstance(signal[0], np.ndarray))
    sources = list(signal) if several else [signal]
    series = [drop_start(as_series(x, times, "signal", axis=axis), discard) for x in sources]
    if len({x.values.shape for x in series}) > 1:
        raise ValueError(
            f"Argument `signal` must hold arrays of one shape, but they have {[x.values.shape for x in series]}."
        )
    if any(np.iscomplexobj(x.values) for x in series):
        raise ValueError("Argument `signal` must be real, but is complex; take np.angle or a power first.")
    if kind == "phase":
        return series[0].values.astype(float)[..., None], series[0], sources[0]
    return np.stack([x.values.astype(float) for x in series], axis=-1), series[0], sources[0]
