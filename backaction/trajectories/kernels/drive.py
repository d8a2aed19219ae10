"""Time dependence: the numbers of a plan that vary, summed from monomials of the coefficients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import inlined

#: Parts of a step that have times of their own.
NODE_PART, OPENING_PART, CLOSING_PART, MIDDLE_PART = range(4)


class Drive(NamedTuple):
    """Time dependence in a run of equal bins.

    A slot P(dt) about node k takes the coefficients at t_k, the half-slots behind and before an edge those at
    t_k ± dt/4, and D, or the slot of a counting run, those at t_k + dt/2.
    """

    active: bool
    parameters: np.ndarray  # (4, n_steps + 1, n_parameters) per part and node
    factors: np.ndarray  # (n_terms, degree) parameters whose product a monomial is; −1: none
    slot_weights: np.ndarray  # (n_terms, n_slot) of the numbers that belong to P
    slot_targets: np.ndarray  # (n_slot,) where they go: index into the plan's numbers, one array after the other
    step_weights: np.ndarray  # (n_terms, n_step) the same for D
    step_targets: np.ndarray
    rotating: bool
    rotation: np.ndarray  # (n_steps, n_diffusive, 2) cos φ and −sin φ of local oscillators at t_k + dt/2


def no_drive() -> Drive:
    """Nothing depends on time."""
    empty, none = np.zeros((0, 0)), np.zeros(0, dtype=np.int64)
    return Drive(
        False,
        np.zeros((4, 0, 0)),
        np.zeros((0, 0), dtype=np.int64),
        empty,
        none,
        empty,
        none,
        False,
        np.zeros((0, 0, 2)),
    )


@inlined
def sum_numbers(drive, part, row, weights, out):
    """out[i] = Σ_m monomial_m weights[m, i]."""
    n = weights.shape[1]
    for i in range(n):
        out[i] = 0.0
    for m in range(weights.shape[0]):
        x = 1.0
        for j in range(drive.factors.shape[1]):
            if drive.factors[m, j] >= 0:
                x *= drive.parameters[part, row, drive.factors[m, j]]
        for i in range(n):
            out[i] += x * weights[m, i]


@inlined
def part_of_slot(stage, closing, at_edge, n_diffusive):
    """Which part of a step a slot is."""
    if n_diffusive == 0:
        return MIDDLE_PART
    if stage == closing:
        return CLOSING_PART
    return OPENING_PART if at_edge else NODE_PART
