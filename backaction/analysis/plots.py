"""Figures on a given `ax`: measured points with error bars, exact lines; each function returns its `ax`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_POINTS: dict[str, Any] = {
    "fmt": "o",
    "ms": 3,
    "lw": 0,
    "elinewidth": 0.8,
    "capsize": 0,
    "color": "C0",
    "zorder": 2,
}
_LINE: dict[str, Any] = {"color": "black", "lw": 1.2, "zorder": 3}
_BACKACTION_LABELS = {
    "time": r"time $t$",
    "efficiency": r"efficiency $\eta$",
    "total": r"$\mathrm{Var}\,O$",
    "conditional": r"$E[\mathrm{Var}_c\,O]$",
    "resolved": r"$\mathrm{Var}[E_c\,O]$",
    "disturbance": r"disturbance $E|d\langle O\rangle_c|^2/dt$",
    "purification_rate": r"rate of purification $dE[P]/dt$",
}


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(3.4, 2.5), layout="constrained")[1]  # one column of a journal


def _need(data: Any, name: str, variable: str, coordinate: str) -> None:
    if not (hasattr(data, "data_vars") and variable in data and coordinate in data.coords):
        raise ValueError(
            f"Argument `{name}` must be a dataset with `{variable}({coordinate})`, but has none; see the"
            " analysis"
            " function of the same topic."
        )


def _points(ax: Axes, data: xr.Dataset, variable: str, coordinate: str, options: dict[str, Any]) -> None:
    y = np.asarray(data[variable].values)
    stderr = np.asarray(data[variable + "_stderr"].values) if variable + "_stderr" in data else None
    if stderr is not None and not np.isfinite(stderr).any():
        stderr = None  # unknown errors are not drawn as none
    ax.errorbar(np.asarray(data[coordinate].values), y, yerr=stderr, **{**_POINTS, **options})


def plot_phase_distribution(
    measured: xr.Dataset | None,
    exact: xr.Dataset | None = None,
    ax: Axes | None = None,
    *,
    label: str | None = "measured",
    exact_label: str | None = "exact",
    **options: Any,
) -> Axes:
    """Draw a measured phase distribution (points, one standard error) and an exact one (line).

    Parameters
    ----------
    measured : xarray.Dataset or None
        With `density(phase)` and `density_stderr`, as from `phase_difference`.
    exact : xarray.Dataset, optional
        With `density(phase)`.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure of one journal column.
    label, exact_label : str, optional
        For the legend; None leaves the entry out.
    **options
        Passed to `Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a dataset lacks the variables, or both are None.
    """
    if measured is None and exact is None:
        raise ValueError("Argument `measured` must be a dataset when `exact` is None, but is None too.")
    if measured is not None:
        _need(measured, "measured", "density", "phase")
    if exact is not None:
        _need(exact, "exact", "density", "phase")
    ax = _axes(ax)
    if measured is not None:
        _points(ax, measured, "density", "phase", {"label": label, **options})
    if exact is not None:
        order = np.argsort(exact["phase"].values)
        ax.plot(exact["phase"].values[order], exact["density"].values[order], label=exact_label, **_LINE)
    ax.axhline(1 / (2 * np.pi), color="0.7", lw=0.8, ls=":", zorder=1)  # no phase preferred
    ax.set_xlim(-np.pi, np.pi)
    ax.set_ylim(bottom=0)
    ax.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
    ax.set_xlabel(r"phase $\phi$")
    ax.set_ylabel(r"density $P(\phi)$")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax


def plot_spectrum(
    measured: xr.Dataset | None,
    exact: xr.Dataset | None = None,
    ax: Axes | None = None,
    *,
    label: str | None = "measured",
    exact_label: str | None = "exact",
    band: tuple[float, float] | None = None,
    **options: Any,
) -> Axes:
    """Draw a measured spectrum (points, one standard error) and an exact one (line).

    Parameters
    ----------
    measured : xarray.Dataset or None
        With `power(frequency)` and `power_stderr`, as from `spectrum`.
    exact : xarray.Dataset, optional
        With `power(frequency)`.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure of one journal column.
    label, exact_label : str, optional
        For the legend; None leaves the entry out.
    band : (float, float), optional
        Frequencies to show. Default: all of `measured`.
    **options
        Passed to `Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a dataset lacks the variables, or both are None.
    """
    if measured is None and exact is None:
        raise ValueError("Argument `measured` must be a dataset when `exact` is None, but is None too.")
    if measured is not None:
        _need(measured, "measured", "power", "frequency")
    if exact is not None:
        _need(exact, "exact", "power", "frequency")
    shown = [d for d in (measured, exact) if d is not None]
    low, high = band or (float(shown[0]["frequency"].min()), float(shown[0]["frequency"].max()))
    # cut before drawing, so that the vertical scale is that of what is shown
    cut = [d.isel(frequency=(d["frequency"].values >= low) & (d["frequency"].values <= high)) for d in shown]
    ax = _axes(ax)
    if measured is not None:
        _points(ax, cut[0], "power", "frequency", {"label": label, **options})
    if exact is not None:
        ax.plot(cut[-1]["frequency"].values, cut[-1]["power"].values, label=exact_label, **_LINE)
    ax.axhline(1.0, color="0.7", lw=0.8, ls=":", zorder=1)  # shot noise
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(r"frequency $\omega$")
    ax.set_ylabel(r"power $S(\omega)$ / shot noise")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax


def plot_backaction(
    measured: xr.Dataset,
    exact: xr.Dataset | None = None,
    ax: Axes | None = None,
    *,
    variables: Sequence[str] | None = None,
    labels: Sequence[str | None] | None = None,
    exact_label: str | None = "exact",
    **options: Any,
) -> Axes:
    """Draw quantities of a monitored system (points, one standard error) against time or another coordinate.

    Parameters
    ----------
    measured : xarray.Dataset
        With variables `<name>` and `<name>_stderr` along one coordinate, as from `variance_decomposition`,
        `disturbance`, `purification_rate` or `trajectory_mean`, or collected from several runs.
    exact : xarray.Dataset, optional
        With variables of the same names (those it has are drawn as lines), on a coordinate of its own.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure of one journal column.
    variables : sequence of str, optional
        What to draw. Default: all that have a standard error along the first such variable's coordinate.
    labels : sequence of str, optional
        For the legend, one for each variable; None leaves an entry out. Default: the variables' symbols.
    exact_label : str, optional
        For the legend; None leaves the entry out.
    **options
        Passed to `Axes.errorbar`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a dataset lacks the variables, or `labels` are not as many as the variables.
    """
    if not hasattr(measured, "data_vars"):
        raise ValueError(f"Argument `measured` must be a dataset, but is {type(measured).__name__}.")
    if variables is None:
        lines = [str(v) for v in measured.data_vars if f"{v}_stderr" in measured and measured[v].ndim == 1]
        variables = [v for v in lines if measured[v].dims == measured[lines[0]].dims]
    if len(variables) == 0 or variables[0] not in measured or measured[variables[0]].ndim != 1:
        raise ValueError(
            "Argument `measured` must be a dataset with a variable and its `_stderr` along one coordinate, but has"
            f" {list(measured.data_vars)}; select one point of a sweep first."
        )
    coordinate = str(measured[variables[0]].dims[0])
    for v in variables:
        _need(measured, "measured", v, coordinate)
    names = [_BACKACTION_LABELS.get(v, v) for v in variables]
    if labels is not None and len(labels) != len(variables):
        raise ValueError(f"Argument `labels` must be {len(variables)}, one for each variable, but are {len(labels)}.")
    if exact is not None and not (
        hasattr(exact, "data_vars") and coordinate in exact.coords and any(v in exact for v in variables)
    ):
        raise ValueError(
            f"Argument `exact` must be a dataset with one of {list(variables)} along `{coordinate}`, but has none."
        )
    ax = _axes(ax)
    # a single quantity is named by its axis
    legend = labels if labels is not None else (names if len(names) > 1 else [None])
    for i, (v, label) in enumerate(zip(variables, legend, strict=True)):
        _points(ax, measured, v, coordinate, {"color": f"C{i}", "label": label, **options})
        if exact is not None and v in exact:
            line = exact[v].sortby(coordinate)
            ax.plot(line[coordinate].values, line.values, label=exact_label, **_LINE)
            exact_label = None  # one entry for all lines
    ax.set_xlabel(_BACKACTION_LABELS.get(coordinate, coordinate))
    if len(names) == 1:
        ax.set_ylabel(names[0])
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)
    return ax
