"""The room stands alone: it needs none of the others, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import backaction.analysis as analysis

ALONE = """
import sys

for name in ("systems", "unravelings", "trajectories", "references", "sweep", "cli", "qutip_api"):
    sys.modules["backaction." + name] = None  # importing it raises ImportError
sys.modules["qutip"] = None

import backaction.analysis as analysis

loaded = {name for name, module in sys.modules.items() if module}
heavy = loaded & {"matplotlib", "xarray", "qutip", "numba", "pandas", "scipy", "zarr"}
assert not heavy, heavy

import numpy as np

rng = np.random.default_rng(1)
a, b = (rng.standard_normal((25, 400)) + 1j * rng.standard_normal((25, 400)) for _ in range(2))
assert analysis.phase_difference(a, b, window=1.0, bin_width=0.1, bins=8).sizes["phase"] == 8
assert analysis.spectrum(a, bin_width=0.1).sizes["frequency"] > 1
assert analysis.mandel_q(rng.poisson(3, 50)).attrs["n_blocks"] == 50
print("alone")
"""


def test_room_works_without_the_others():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "alone"


def test_every_public_name_is_documented():
    for name in analysis.__all__:
        assert (getattr(analysis, name).__doc__ or "").strip(), name
