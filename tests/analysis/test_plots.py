"""Figures: what is drawn, on which axes, and what is refused."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from analysis.processes import OrnsteinUhlenbeck, gaussian_phase_density
from backaction import analysis

mpl.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(scope="module")
def measured() -> tuple[xr.Dataset, xr.Dataset]:
    process = OrnsteinUhlenbeck(n=3.0, gamma=0.5, c=0.5, dt=0.1)
    a, b = process.draw(np.random.default_rng(5), 30, 1000)
    return (
        analysis.phase_difference(a, b, window=1.0, bin_width=0.1, bins=12),
        analysis.spectrum(a, bin_width=0.1, segment=10.0),
    )


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_plot_phase_distribution(measured, tmp_path):
    phase = np.linspace(-np.pi, np.pi, 101)[::-1]  # any order
    exact = xr.Dataset({"density": ("phase", gaussian_phase_density(phase, 0.2))}, coords={"phase": phase})
    figure, axes = plt.subplots(1, 2)
    ax = analysis.plot_phase_distribution(measured[0], exact, ax=axes[1], color="C3")
    assert ax is axes[1]
    assert not axes[0].lines
    points = ax.containers[0]
    np.testing.assert_allclose(points.lines[0].get_ydata(), measured[0].density)
    half = [np.ptp(segment[:, 1]) / 2 for segment in points.lines[2][0].get_segments()]
    np.testing.assert_allclose(half, measured[0].density_stderr)
    line = next(item for item in ax.lines if item.get_label() == "exact")
    assert np.all(np.diff(line.get_xdata()) > 0)
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"measured", "exact"}
    figure.savefig(tmp_path / "phase.png")


def test_plot_spectrum(measured, tmp_path):
    ax = analysis.plot_spectrum(measured[1], measured[1][["power"]], band=(-2.0, 2.0))
    assert ax.get_xlim() == (-2.0, 2.0)
    assert np.max(np.abs(ax.containers[0].lines[0].get_xdata())) <= 2
    ax.figure.savefig(tmp_path / "spectrum.pdf")
    alone = analysis.plot_spectrum(None, measured[1], exact_label=None)
    assert alone.get_legend() is None


def test_plot__unknown_errors_are_not_drawn(measured):
    unknown = measured[1].assign(power_stderr=np.nan * measured[1].power_stderr)
    ax = analysis.plot_spectrum(unknown)
    assert not ax.containers[0].lines[2]


def test_plot__arguments(measured):
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset with `density"):
        analysis.plot_phase_distribution(measured[1])
    with pytest.raises(ValueError, match="Argument `exact` must be a dataset with `power"):
        analysis.plot_spectrum(measured[1], measured[0])
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset when"):
        analysis.plot_spectrum(None)
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset when"):
        analysis.plot_phase_distribution(None)


@pytest.fixture(scope="module")
def decomposed() -> xr.Dataset:
    z = xr.DataArray(
        np.random.default_rng(6).uniform(-1, 1, (30, 5)),
        dims=("trajectory", "time"),
        coords={"time": np.linspace(0, 1, 5)},
    )
    return analysis.variance_decomposition(z, 1 - z**2)


def test_plot_backaction(decomposed, tmp_path):
    exact = xr.Dataset({"resolved": ("time", [0.9, 0.1])}, coords={"time": [1.0, 0.0]})  # any order, any times
    figure, axes = plt.subplots(1, 2)
    ax = analysis.plot_backaction(decomposed, exact, ax=axes[1], ms=5)
    assert ax is axes[1]
    assert not axes[0].lines
    assert len(ax.containers) == 3
    for container, name in zip(ax.containers, ("total", "conditional", "resolved"), strict=True):
        np.testing.assert_allclose(container.lines[0].get_ydata(), decomposed[name])
        half = [np.ptp(segment[:, 1]) / 2 for segment in container.lines[2][0].get_segments()]
        np.testing.assert_allclose(half, decomposed[name + "_stderr"])
        assert container.lines[0].get_markersize() == 5
    line = next(item for item in ax.lines if item.get_label() == "exact")
    np.testing.assert_array_equal(line.get_xdata(), [0.0, 1.0])
    np.testing.assert_array_equal(line.get_ydata(), [0.1, 0.9])
    assert len(ax.get_legend().get_texts()) == 4
    assert ax.get_xlabel() == "time $t$"
    figure.savefig(tmp_path / "backaction.pdf")


def test_plot_backaction__of_one_quantity(decomposed):
    ax = analysis.plot_backaction(decomposed, variables=["resolved"], labels=["$\\eta = 1$"])
    assert ax.get_ylabel() == r"$\mathrm{Var}[E_c\,O]$"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [r"$\eta = 1$"]
    rates = analysis.disturbance(np.random.default_rng(7).standard_normal((30, 5)), bin_width=0.1)
    alone = analysis.plot_backaction(rates)  # scalars of the dataset are no curve
    assert alone.get_legend() is None
    assert len(alone.containers) == 1
    collected = xr.Dataset(
        {"purity": ("efficiency", [0.2, 0.6]), "purity_stderr": ("efficiency", [0.01, 0.02])},
        coords={"efficiency": [0.5, 1.0]},
    )
    ax = analysis.plot_backaction(collected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"efficiency $\eta$", "purity")


def test_plot_backaction__arguments(decomposed, measured):
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset, but is DataArray"):
        analysis.plot_backaction(decomposed["total"])
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset with a variable and its `_stderr`"):
        analysis.plot_backaction(decomposed.isel(time=0))
    with pytest.raises(ValueError, match="Argument `measured` must be a dataset with `other"):
        analysis.plot_backaction(decomposed, variables=["total", "other"])
    with pytest.raises(ValueError, match="Argument `labels` must be 3"):
        analysis.plot_backaction(decomposed, labels=["one"])
    with pytest.raises(ValueError, match="Argument `exact` must be a dataset with one of"):
        analysis.plot_backaction(decomposed, measured[1])
