"""From finished batches to a labelled dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..coefficients import text as coefficient_text
from ..unravelings import Detector
from .ensemble import Batch, joined_currents

if TYPE_CHECKING:
    import xarray as xr


def dataset(
    batches: list[Batch],
    edges: np.ndarray,
    save_every: int,
    currents: tuple[Detector, ...],
    counters: tuple[Detector, ...],
    observables: dict[str, bool],
    prefix: str,
    states: bool,
    dim: int,
    is_ket: bool,
    edge_names: list[str],
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Assemble the dataset that `simulate` documents."""
    import xarray as xr

    trajectory = np.concatenate([b.first + np.arange(len(b.current)) for b in batches])
    ntraj = len(trajectory)
    coords = {
        "trajectory": ("trajectory", trajectory),
        "bin": ("bin", 0.5 * (edges[1:] + edges[:-1]), {"long_name": "bin centre", "units": "1/rate"}),
        "bin_width": ("bin", np.diff(edges)),
        "time": ("time", edges[::save_every], {"long_name": "time", "units": "1/rate"}),
    }
    data: dict[str, Any] = {}
    current = joined_currents(batches)
    for i, detector in enumerate(currents):
        values = current[:, i]
        data[f"current_{detector.name}"] = (
            ("trajectory", "bin"),
            values.real.copy() if detector.kind == "homodyne" else values,
            {
                "long_name": f"{detector.kind} current of {', '.join(detector.channels)}",
                "units": "rate^(1/2)",
                "convention": _CURRENT[detector.kind],
                "efficiency": detector.efficiency,
                "phase": coefficient_text(detector.phase) if callable(detector.phase) else detector.phase,
            },
        )
    clicks = [c for b in batches for c in b.clicks]
    for i, detector in enumerate(counters):
        name = detector.name
        lists = [times[which == i] for times, which in clicks]
        counts = np.array([np.histogram(t, bins=edges)[0] for t in lists]).reshape(ntraj, len(edges) - 1)
        data[f"counts_{name}"] = (
            ("trajectory", "bin"),
            counts,
            {"long_name": f"clicks per bin of {', '.join(detector.channels)}", "units": "1"},
        )
        data[f"click_time_{name}"] = (
            f"click_{name}",
            np.concatenate(lists) if lists else np.empty(0),
            {
                "long_name": "click times, ordered by trajectory and time",
                "units": "1/rate",
                "sample_dimension": f"click_{name}",
                "efficiency": detector.efficiency,
                "dark_rate": detector.dark_rate,
            },
        )
        sizes = np.array([len(t) for t in lists], dtype=np.int64)
        about = {"long_name": "clicks per trajectory", "sample_dimension": f"click_{name}"}
        data[f"click_count_{name}"] = ("trajectory", sizes, about)
        # so that a selection of trajectories still knows which clicks are its own
        data[f"click_start_{name}"] = (
            "trajectory",
            np.cumsum(sizes) - sizes,
            {"long_name": f"index along click_{name} of the trajectory's first click"},
        )
    expectations = np.concatenate([b.expectations for b in batches])
    for i, (name, hermitian) in enumerate(observables.items()):
        values = expectations[:, i]
        conditioned = "record" if prefix == "expect" else "record and hidden detectors"
        data[f"{prefix}_{name}"] = (
            ("trajectory", "time"),
            values.real.copy() if hermitian else values,
            {"long_name": f"conditional mean of {name}", "conditioned_on": conditioned},
        )
    if states:
        array = np.concatenate([b.states for b in batches])
        dims = ("trajectory", "time", "level") if is_ket else ("trajectory", "time", "row", "column")
        shape = array.shape[:2] + ((dim,) if is_ket else (dim, dim))
        data["state"] = (dims, array.reshape(shape), {"long_name": "conditional state, normalised"})
    if edge_names:
        data["edge_population"] = (
            ("trajectory", "edge"),
            np.concatenate([b.edges for b in batches]),
            {
                "long_name": "time-averaged population of the basis' edges",
                "units": "1",
                "edges": ", ".join(edge_names),  # not a coordinate: Zarr has no settled type for text
            },
        )
    return xr.Dataset(data, coords, attrs)


_CURRENT = {
    "homodyne": "I dt = sqrt(eta) <exp(-i phase) L + h.c.> dt + dW, averaged over the bin; white noise of level 1",
    "heterodyne": "I dt = sqrt(eta) <L> dt + (dW_x + i dW_y)/sqrt(2), averaged over the bin; white noise of level 1",
}
