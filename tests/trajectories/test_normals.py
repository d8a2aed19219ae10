"""The kernels' normal numbers: word by word against Python's integers, and their law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from backaction.trajectories import noise
from backaction.trajectories.kernels import normals
from physics.helpers import CONTROL, LIMIT
from reference import normal_pairs

N = 2**19


def drawn(lanes, rows, seed=5):
    words = noise.words(tuple(noise.generator(seed, k) for k in range(lanes)))
    out = np.empty((rows, lanes))
    normals.draw(words.copy(), out)
    return words, out


@pytest.mark.parametrize("lanes", [4, 32])
def test_numbers_are_those_of_the_reference(lanes):
    words, out = drawn(lanes, 600)
    for lane in range(lanes):
        pairs = normal_pairs(words[:, lane])
        np.testing.assert_allclose(out[:, lane], np.concatenate([next(pairs) for _ in range(300)]), rtol=1e-12)


def test_a_second_block_continues_the_first():
    words, out = drawn(32, 600)
    halves = np.empty((2, 300, 32))
    for half in halves:
        normals.draw(words, half)
    np.testing.assert_array_equal(halves.reshape(600, 32), out)


def moments_z(x):
    """z of the first four moments and of the tail beyond 3, each in its standard error."""
    tail = 2 * stats.norm.sf(3)
    values = [x, x**2 - 1, x**3, x**4 - 3, (abs(x) > 3) - tail]
    errors = np.sqrt([1, 2, 15, 96, tail * (1 - tail)])
    return np.abs([v.mean() for v in values]) / errors * np.sqrt(x.size)


def test_law():
    _, out = drawn(32, N // 32)
    pairs, lanes = out[::2] * out[1::2], out[:, ::2] * out[:, 1::2]
    z = {
        "moments": moments_z(out.reshape(-1)).max(),
        "a pair": abs(pairs.mean()) * np.sqrt(pairs.size),
        "squares of a pair": abs(((out[::2] ** 2 - 1) * (out[1::2] ** 2 - 1)).mean()) * np.sqrt(pairs.size) / 2,
        "neighbouring lanes": abs(lanes.mean()) * np.sqrt(lanes.size),
        "neighbouring pairs": abs((out[1:-1:2] * out[2::2]).mean()) * np.sqrt(pairs.size),
        "Kolmogorov": stats.norm.isf(max(stats.kstest(out.reshape(-1), "norm").pvalue / 2, 1e-300)),
    }
    print({name: round(float(value), 2) for name, value in z.items()})
    assert max(z.values()) < LIMIT
    assert moments_z(1.02 * out.reshape(-1)).max() > CONTROL
