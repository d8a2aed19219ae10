"""Hidden Markov models for `residence`: a library fits them, here is what it is asked and what is read off."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .uncertainty import ENOUGH_TRAJECTORIES

_ITERATIONS = 500  # of expectation maximisation
_TOLERANCE = 1e-3  # gain of log-likelihood at which it has converged: 0.05 standard errors of a parameter at worst

CENTRES = 2 * np.pi / 24 * np.arange(24)  # of bins of a phase: narrow against its wells
_WIDTH = float(CENTRES[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Without what hmmlearn says about numpy, and with what it says about convergence left to `Fit`."""
    logger = logging.getLogger("hmmlearn")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting the shape on a NumPy array", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)


def _categorical(n_states: int) -> Any:
    """Phases in bins on the circle, each state with a distribution of any shape: it begins with cosines."""
    hmm = library()
    # a hundredth of a sample in each bin keeps what was not seen in training from being impossible
    model = hmm.CategoricalHMM(n_states, emissionprob_prior=1.01, params="te", init_params="")
    model.n_features = CENTRES.size
    shapes = np.stack([(1 + np.cos(CENTRES)) ** 2, (1 - np.cos(CENTRES)) ** 2, np.sin(CENTRES) ** 4]) + 1e-2
    model.emissionprob_ = (shapes / shapes.sum(axis=1, keepdims=True))[:n_states]
    return model


def _gaussian(n_states: int, z: NDArray[np.float64]) -> Any:
    """Gaussian signals: two states begin with the halves of the first one's range, a third with all there is."""
    hmm = library()
    model = hmm.GaussianHMM(n_states, "full", min_covar=1e-6, covars_prior=1e-6, params="tmc", init_params="")
    upper = z[:, 0] > (z[:, 0].min() + z[:, 0].max()) / 2
    means = np.stack([z[~upper].mean(axis=0), z[upper].mean(axis=0)])
    within = np.where(upper[:, None], z - means[1], z - means[0])
    covariances = 2 * [within.T @ within / len(z) + 1e-3 * np.eye(z.shape[1])]
    if n_states == 3:
        means = np.vstack([means, means.mean(axis=0)])
        covariances.append(np.eye(z.shape[1]))
    model.means_, model.covars_ = means, np.array(covariances)
    return model


def library() -> Any:
    try:
        from hmmlearn import hmm  # heavy: only when asked for
    except ImportError as error:
        raise ImportError("Hidden Markov models need hmmlearn: pip install hmmlearn") from error
    return hmm


class Fit:
    """A fitted model of sequences (time, feature), its states in order: 0, 1, and what lies in between.

    `kind` "phase": one feature, an angle. "signal": the first feature tells the order, lowest to highest. `name` is
    that of the caller's argument.
    """

    def __init__(
        self, sequences: Any, dt: float, n_states: int, kind: str, *, patient: bool = True, name: str = "signal"
    ) -> None:
        if n_states not in (2, 3):
            raise ValueError(f"Argument `n_states` must be 2 or 3, but is {n_states}.")
        self.dt, self.kind, self.sequences, self.name = dt, kind, list(sequences), name
        self.error_method = "trajectories" if len(self.sequences) >= ENOUGH_TRAJECTORIES else "curvature"
        x = np.concatenate(self.sequences)
        self.centre, self.spread = x.mean(axis=0), x.std(axis=0)
        if not np.all(self.spread > 1e-9 * np.abs(x).max(axis=0)):
            raise ValueError(f"Argument `{name}` must not be constant, but is: there is nothing to tell states by.")
        z = self._scaled(x)
        lengths = [len(s) for s in self.sequences]
        for implementation in ("scaling", "log"):  # the second is slower, but bears outliers
            model = _categorical(n_states) if kind == "phase" else _gaussian(n_states, z)
            model.n_iter, model.tol = (_ITERATIONS, _TOLERANCE) if patient else (_ITERATIONS // 5, 10 * _TOLERANCE)
            model.implementation = implementation
            model.startprob_ = np.full(n_states, 1 / n_states)  # a record knows little of its own beginning
            model.transmat_ = np.full((n_states, n_states), 0.02) + (1 - 0.02 * n_states) * np.eye(n_states)
            try:
                with quiet():
                    model.fit(z, lengths)
                    share = model.predict_proba(z, lengths).sum(axis=0)
                break
            except (ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
                if implementation == "log":
                    raise ValueError(
                        f"Argument `{name}` must be one that {n_states} states can describe, but the fit broke down"
                        f" ({error}); look at the signal, or use hysteresis."
                    ) from error
        model.implementation = "log"
        if patient and not share.min() >= 2:
            raise ValueError(
                f"Argument `{name}` must be one that {n_states} states can describe, but one of them stays empty"
                f" ({share.min():.2g} of {len(z)} samples); use fewer states, or record longer."
            )
        monitor = model.monitor_
        if patient and monitor.iter >= _ITERATIONS:
            warnings.warn(
                f"The hidden Markov model has not converged in {_ITERATIONS} iterations; its rates are uncertain.",
                RuntimeWarning,
                stacklevel=4,
            )
        place = -model.emissionprob_ @ np.cos(CENTRES) if kind == "phase" else model.means_[:, 0]
        order = np.argsort(place, kind="stable")
        self.order = order if n_states == 2 else order[[0, 2, 1]]
        self.model, self.iterations = model, int(monitor.iter)
        # of a density of the data in their own units
        self.offset = -math.log(_WIDTH) if kind == "phase" else -float(np.log(self.spread).sum())
        self.log_likelihood = float(model.score(z, lengths)) + len(z) * self.offset

    def _scaled(self, x: NDArray[np.float64]) -> NDArray[Any]:
        if self.kind == "phase":
            return np.asarray(np.round(x / _WIDTH).astype(np.int64) % CENTRES.size)
        return np.asarray((x - self.centre) / self.spread)

    def path(self) -> NDArray[np.int8]:
        place = np.argsort(self.order).astype(np.int8)
        return np.stack([place[self.model.predict(self._scaled(s))] for s in self.sequences])

    def probability(self) -> NDArray[np.float64]:
        return np.stack([self.model.predict_proba(self._scaled(s))[:, self.order] for s in self.sequences])

    def densities(self) -> NDArray[np.float64]:
        """Of phases, per radian: (state, bin)."""
        return np.asarray(self.model.emissionprob_[self.order] / _WIDTH)

    def levels(self) -> NDArray[np.float64]:
        return np.asarray(self.centre + self.model.means_[self.order] * self.spread)

    def transitions(self) -> NDArray[np.float64]:
        return np.asarray(self.model.transmat_[np.ix_(self.order, self.order)])

    def stationary(self) -> NDArray[np.float64]:
        """Of the transitions, by the eigenvector of 1."""
        value, vector = np.linalg.eig(self.transitions().T)
        p = np.abs(vector[:, np.argmin(np.abs(value - 1))].real)
        return np.asarray(p / p.sum())

    def score(self, sequence: NDArray[np.float64]) -> float:
        """Log-likelihood of a sequence that begins in the stationary state."""
        start = np.empty(self.order.size)
        start[self.order] = self.stationary()
        before = self.model.startprob_
        self.model.startprob_ = start
        value = float(self.model.score(self._scaled(sequence))) + len(sequence) * self.offset
        self.model.startprob_ = before
        return value

    def generator(self) -> NDArray[np.float64]:
        """Rates of jumps, whose exponential over a sample is the matrix of transitions, or the nearest that are rates.

        Transitions of two states have rates. Of three they may have none: slips shorter than a sample, say.
        """
        from scipy.linalg import expm, logm

        p = self.transitions()
        if np.linalg.det(p) <= 0:
            raise ValueError(
                "Argument `times` must resolve the residence times, but states jump from sample to sample; record at a"
                " finer resolution, or use fewer states."
            )
        jumps = np.maximum(np.asarray(logm(p)).real, 0.0) * (1 - np.eye(len(p)))
        jumps -= np.diag(jumps.sum(axis=1))
        visits = self.stationary()[:, None] * sum(len(s) for s in self.sequences)
        amiss = np.abs(expm(jumps) - p)
        if np.any(visits * amiss > 1 + np.sqrt(visits * p * (1 - p))):  # a jump and its counting error
            warnings.warn(
                "The hidden Markov model jumps from sample to sample as no process in continuous time does: negative"
                f" rates are set to 0, which changes probabilities of jumps by up to {amiss.max():.2g}; record at a"
                " finer resolution, or use fewer states.",
                RuntimeWarning,
                stacklevel=3,
            )
        return np.asarray(jumps / self.dt)

    def rates(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rates of leaving states 0 and 1, and the covariance of their logarithms."""
        generator = self.generator()
        k = np.array([generator[0, 1], generator[1, 0]])
        if not k.min() > 0:
            raise ValueError(
                f"Argument `{self.name}` must show jumps in either direction, but the fitted model has none; record"
                " longer."
            )
        scaled = [self._scaled(s) for s in self.sequences]
        model, before = self.model, self.model.transmat_

        def likelihoods(*logarithms: float) -> NDArray[np.float64]:
            k0, k1 = k * np.exp(logarithms)
            jump = -math.expm1(-(k0 + k1) * self.dt) / (k0 + k1)
            p = np.array([[1 - k0 * jump, k0 * jump], [k1 * jump, 1 - k1 * jump]])
            place = np.argsort(self.order)
            model.transmat_ = p[np.ix_(place, place)]
            return np.array([model.score(z) for z in scaled])

        h = 0.05  # of a logarithm; likelihoods are smooth on the scale 1
        try:
            centre = likelihoods(0, 0)
            up0, down0, up1, down1 = (likelihoods(*x) for x in ((h, 0), (-h, 0), (0, h), (0, -h)))
            mixed = likelihoods(h, h) - likelihoods(h, -h) - likelihoods(-h, h) + likelihoods(-h, -h)
        finally:
            model.transmat_ = before
        information = -np.array(
            [
                [(up0 + down0 - 2 * centre).sum(), mixed.sum() / 4],
                [mixed.sum() / 4, (up1 + down1 - 2 * centre).sum()],
            ]
        ) / h**2  # fmt: skip
        if not (np.trace(information) > 0 and np.linalg.det(information) > 0):
            raise ValueError(
                f"Argument `{self.name}` must determine the rates of a model, but does not; record longer, or at a"
                " finer resolution."
            )
        covariance = np.linalg.inv(information)
        n = len(scaled)
        if self.error_method == "trajectories":
            slopes = np.stack([up0 - down0, up1 - down1], axis=1) / (2 * h)
            covariance = covariance @ (slopes.T @ slopes * (n / (n - 1))) @ covariance
        return k, covariance
