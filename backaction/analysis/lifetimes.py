"""What dwell times show: survival, and whether one rate is all there is; reached through `residence`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import finite
from .uncertainty import TooLittleDataWarning

if TYPE_CHECKING:
    import xarray as xr


FEWEST_EXITS = 5  # below, a mean is known to a factor of 2 only


def dwells_in(found: xr.Dataset, label: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Dwell times in one state and whether each is right-censored, for `survival` and `exponentiality`.

    Left-censored ones are left out: when they began is not known.

    Parameters
    ----------
    found : xarray.Dataset
        From `dwell_times` or `residence_times`.
    label : str
        One of its labels: "0" or "pi" for phases.

    Returns
    -------
    dwells : numpy.ndarray of float, shape (interval,)
    censored : numpy.ndarray of bool, shape (interval,)

    Raises
    ------
    ValueError
        If there is no such label.
    """
    labels = list(found.attrs["labels"])
    if label not in labels:
        raise ValueError(f"Argument `label` must be one of {labels}, but is {label!r}.")
    use = (found.state.values == labels.index(label)) & ~found.left_censored.values
    return found.dwell_time.values[use], found.right_censored.values[use]


def survival(
    dwells: ArrayLike, censored: ArrayLike | None = None, times: ArrayLike | None = None, *, level: float = 0.95
) -> xr.Dataset:
    """Probability that a dwell time is longer than t, by Kaplan and Meier, with pointwise intervals.

    Dwell times are independent, and end no sooner or later for being about to be cut off.

    Parameters
    ----------
    dwells : array_like, shape (interval,)
        From `dwells_in`.
    censored : array_like of bool, shape (interval,), optional
        Whether each was cut off by the end of the record. Default: none.
    times : array_like, shape (time,), optional
        Where to evaluate. Default: at the dwell times that were seen to end.
    level : float
        Probability that an interval holds, in (0, 1).

    Returns
    -------
    xarray.Dataset
        `survival(time)`, `survival_low`, `survival_high` (products of Beta distributions: Clopper and Pearson's where
        none is cut off, wider where few are left to tell, and from 0 up once none is), `at_risk`. attrs: n_dwells,
        n_censored, level.

    Raises
    ------
    ValueError
        If dwell times are not positive, all are censored, or shapes differ.

    Notes
    -----
    Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data (2002), section 1.4. Intervals: Fay,
    Brittain and Proschan, Biostatistics 14, 723 (2013), by the method of moments.
    """
    import xarray as xr

    x, cut = _lifetimes(dwells, censored)
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if times is None:
        t = np.unique(x[~cut])
    else:
        t = finite(times, "times").astype(float)
        if t.ndim != 1:
            raise ValueError(f"Argument `times` must be one-dimensional, but has shape {t.shape}.")
    order = np.lexsort((cut, x))  # at ties what ends comes before what is cut off
    x, ended = x[order], ~cut[order]
    gone, at_risk = np.searchsorted(x, t, side="right"), x.size - np.searchsorted(x, t)
    y = np.arange(x.size, 0, -1)  # seen until each end

    def product(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of ends up to each time, less 1."""
        return np.expm1(np.append(0.0, np.cumsum(np.where(ended, logarithms, 0.0)))[gone])

    s = np.append(1.0, np.cumprod(np.where(ended, 1 - 1 / y, 1.0)))[gone]
    # Survival is distributed as a product of Beta(y, 1), of ends, and for the lower end of one more, as if the next one
    # of those left ended now. These products are Beta again, by mean and variance: exactly where none is cut off.
    tail, left = (1 - level) / 2, x.size - gone
    loss, spread = -product(-np.log1p(1 / y)), product(np.log1p(1 / (y * (y + 2.0))))  # 1 - mean, variance / mean^2
    n = np.maximum(left, 1)
    high = _beta(loss, spread, 1 - tail)
    low = _beta((1 + loss * n) / (n + 1), spread + (1 + spread) / (n * (n + 2.0)), tail)
    low = np.where(left > 0, low, 0.0)
    return xr.Dataset(
        {
            "survival": ("time", s),
            "survival_low": ("time", low),
            "survival_high": ("time", high),
            "at_risk": ("time", at_risk),
        },
        coords={"time": t},
        attrs={"n_dwells": int(x.size), "n_censored": int(cut.sum()), "level": level},
    )


def exponentiality(
    dwells: ArrayLike,
    censored: ArrayLike | None = None,
    *,
    threshold: float | None = None,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Whether dwell times are exponential: their coefficient of variation, and the mean excess beyond a threshold.

    The coefficient of variation is that of Kaplan and Meier's curve, completed beyond the longest dwell time by an
    exponential with the mean of all. It is 1 for an exponential law, more for a mixture of short and long visits, less
    for a clock. Its p-value (two-sided) comes from a parametric bootstrap: exponential dwell times with the same mean,
    cut off like those given, and not rounded to samples: these must be fine against the mean.

    Parameters
    ----------
    dwells, censored
        As for `survival`.
    threshold : float, optional
        Beyond which the mean excess is taken. Default: the mean residence time.
    level : float
        Probability that an interval holds, in (0, 1).
    replicates, seed : int
        Of the bootstrap.

    Returns
    -------
    xarray.Dataset
        Scalars `cv`, `cv_low`, `cv_high` (where it lies for exponential dwell times, with probability `level`),
        `pvalue`, `mean_dwell`, `mean_excess` (equal to the mean for an exponential law), `mean_excess_low`,
        `mean_excess_high` (for an exponential tail). attrs: threshold, n_dwells, n_censored, n_beyond (ends beyond the
        threshold), level.

    Raises
    ------
    ValueError
        If dwell times are not positive, fewer than 5 end, shapes differ, or `threshold`, `level` or `replicates` is out
        of range.

    Warns
    -----
    TooLittleDataWarning
        If fewer than 5 dwell times end beyond the threshold.
    """
    import xarray as xr

    x, cut = _lifetimes(dwells, censored)
    if not 0 < level < 1:
        raise ValueError(f"Argument `level` must be in (0, 1), but is {level}.")
    if replicates % 1 != 0 or replicates < 100:
        raise ValueError(f"Argument `replicates` must be an integer >= 100, but is {replicates}.")
    ends = int(np.sum(~cut))
    if ends < FEWEST_EXITS:
        raise ValueError(
            f"Argument `dwells` must hold at least {FEWEST_EXITS} that end, but has {ends}; record longer."
        )
    mean = float(x.sum()) / ends
    if threshold is None:
        threshold = mean
    if not (math.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"Argument `threshold` must be a time >= 0, but is {threshold}.")
    cv = _variation(x, cut)
    rng = np.random.default_rng(seed)
    # when a dwell time would be cut off: Kaplan and Meier's curve with the roles reversed
    limits, falls = _kaplan_meier(x, ~cut)
    drops = -np.diff(falls, prepend=1.0)
    drops = np.append(drops, max(0.0, 1 - drops.sum()))
    limits = np.append(limits, np.inf)
    null = np.empty(int(replicates))
    for i in range(null.size):
        while True:
            life = rng.exponential(mean, x.size)
            limit = rng.choice(limits, x.size, p=drops / drops.sum()) if cut.any() else np.inf
            over = life > limit
            if not np.all(over):
                break
        null[i] = _variation(np.minimum(life, limit), over)
    tail = (1 - level) / 2
    low, high = np.quantile(null, [tail, 1 - tail])
    beyond = (1 + min(np.sum(null >= cv), np.sum(null <= cv))) / (1 + null.size)
    later = int(np.sum(~cut & (x > threshold)))
    excess, excess_low, excess_high = math.nan, math.nan, math.nan
    total = float(np.maximum(x - threshold, 0).sum())
    if later:
        excess, _, excess_low, excess_high = exponential_mean(total / later, later, tail)
    if later < FEWEST_EXITS:
        warnings.warn(
            f"Too few dwell times for a mean excess: {later} end beyond the threshold of {threshold:.6g} (at least"
            f" {FEWEST_EXITS} are needed); lower it, or record longer.",
            TooLittleDataWarning,
            stacklevel=2,
        )
    return xr.Dataset(
        {
            "cv": cv,
            "cv_low": float(low),
            "cv_high": float(high),
            "pvalue": min(1.0, 2 * float(beyond)),
            "mean_dwell": mean,
            "mean_excess": excess,
            "mean_excess_low": excess_low,
            "mean_excess_high": excess_high,
        },
        attrs={
            "threshold": float(threshold),
            "n_dwells": int(x.size),
            "n_censored": int(cut.sum()),
            "n_beyond": later,
            "level": level,
        },
    )


def _lifetimes(dwells: ArrayLike, censored: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    x = finite(dwells, "dwells")
    if np.iscomplexobj(x):
        raise ValueError("Argument `dwells` must be real times, but is complex.")
    x = x.astype(float)
    cut = np.zeros(x.shape, dtype=bool) if censored is None else finite(censored, "censored")
    if x.ndim != 1 or x.size == 0 or np.any(x <= 0):
        raise ValueError(
            f"Argument `dwells` must be positive times along one axis, but is not; its shape is {x.shape}."
        )
    if cut.shape != x.shape or cut.dtype != bool:
        raise ValueError(
            f"Argument `censored` must be true or false for each of the {x.size} dwell times, but has shape {cut.shape}"
            f" and dtype {cut.dtype}."
        )
    if cut.all():
        raise ValueError("Argument `censored` must leave one dwell time that ends, but all are cut off; record longer.")
    return x, cut


def _beta(loss: NDArray[np.float64], spread: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """Quantiles of Beta distributions of which 1 - mean and variance / mean^2 are given; 1 where both are 0."""
    from scipy import special

    with np.errstate(divide="ignore", invalid="ignore"):
        total = loss / ((1 - loss) * spread) - 1
        return np.where(loss > 0, special.betaincinv(total * (1 - loss), total * loss, p), 1.0)


def _kaplan_meier(x: NDArray[np.float64], cut: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times of ends, ascending, and survival after each; at ties what ends comes before what is cut off."""
    order = np.lexsort((cut, x))
    alive = 1 - ~cut[order] / np.arange(x.size, 0, -1)
    at = ~cut[order]
    return x[order][at], np.cumprod(alive)[at]


def _variation(x: NDArray[np.float64], cut: NDArray[np.bool_]) -> float:
    """Coefficient of variation of Kaplan and Meier's curve with an exponential beyond the longest time."""
    t, s = _kaplan_meier(x, cut)
    edges, heights = np.concatenate([[0.0], t, [x.max()]]), np.concatenate([[1.0], s])
    mean = float(x.sum()) / t.size
    rest = heights[-1]
    first = float(np.sum(heights * np.diff(edges))) + rest * mean
    second = float(np.sum(heights * np.diff(edges**2))) + 2 * rest * mean * (edges[-1] + mean)
    return math.sqrt(max(second - first**2, 0.0)) / first


def exponential_mean(mean: float, exits: float, tail: float) -> tuple[float, float, float, float]:
    """Mean, standard error, low, high where the rate is known as from a number of exits of an exponential clock."""
    from scipy import stats

    low, high = stats.gamma.ppf([tail, 1 - tail], exits + 0.5) / exits
    return mean, mean / math.sqrt(exits), mean / float(high), mean / float(low)
