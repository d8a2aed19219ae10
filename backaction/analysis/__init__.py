"""What a record shows: phases, spectra and click statistics with honest uncertainties, and figures of them.

Arrays and labelled arrays in, labelled datasets out. Nothing here knows where a record comes from: a
laboratory's plain arrays (with `bin_width`) do as well as a simulation's `xarray.DataArray`.
"""

from .counting import fano_factor, g2, mandel_q, waiting_times
from .phases import (
    circular_harmonics,
    circular_histogram,
    demodulate,
    filter_current,
    phase,
    phase_difference,
)
from .plots import plot_phase_distribution, plot_spectrum
from .spectra import Chi2, chi2_test, frequency_entrainment, linewidth, noise_floor, peak, spectrum
from .uncertainty import TooLittleDataWarning, integrated_autocorrelation_time, jackknife, mean_stderr

__all__ = [
    "Chi2",
    "TooLittleDataWarning",
    "chi2_test",
    "circular_harmonics",
    "circular_histogram",
    "demodulate",
    "fano_factor",
    "filter_current",
    "frequency_entrainment",
    "g2",
    "integrated_autocorrelation_time",
    "jackknife",
    "linewidth",
    "mandel_q",
    "mean_stderr",
    "noise_floor",
    "peak",
    "phase",
    "phase_difference",
    "plot_phase_distribution",
    "plot_spectrum",
    "spectrum",
    "waiting_times",
]
