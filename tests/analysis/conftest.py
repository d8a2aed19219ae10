"""Fixtures for the tests of `backaction.analysis`."""

from __future__ import annotations

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator with a fixed seed of the test's own, so that a failure can be replayed alone."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))
