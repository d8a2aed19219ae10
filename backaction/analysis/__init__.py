"""What a record shows, with honest uncertainties: phases, spectra, chirality, clicks, backaction; and figures of them.

Arrays and labelled arrays in, labelled datasets out. Nothing here knows where a record comes from: a
laboratory's plain arrays (with `bin_width`) do as well as a simulation's `xarray.DataArray`.
"""

from . import residence, sidebands
from .backaction import (
    disturbance,
    entropy,
    fisher_information,
    information_rate,
    likelihood_estimate,
    purification_rate,
    purity,
    trajectory_mean,
    variance_decomposition,
)
from .chirality import (
    agreement,
    current_reversals,
    current_sense,
    dwell_times,
    reversal_rate,
    reversals,
    rotation_frequency,
    scaling,
    sense,
)
from .counting import fano_factor, g2, mandel_q, waiting_times
from .phases import (
    circular_harmonics,
    circular_histogram,
    demodulate,
    filter_current,
    phase,
    phase_difference,
)
from .plots import plot_backaction, plot_phase_distribution, plot_spectrum
from .spectra import Chi2, chi2_test, frequency_entrainment, linewidth, noise_floor, peak, spectrum
from .uncertainty import TooLittleDataWarning, integrated_autocorrelation_time, jackknife, mean_stderr

__all__ = [
    "Chi2",
    "TooLittleDataWarning",
    "agreement",
    "chi2_test",
    "circular_harmonics",
    "circular_histogram",
    "current_reversals",
    "current_sense",
    "demodulate",
    "disturbance",
    "dwell_times",
    "entropy",
    "fano_factor",
    "filter_current",
    "fisher_information",
    "frequency_entrainment",
    "g2",
    "information_rate",
    "integrated_autocorrelation_time",
    "jackknife",
    "likelihood_estimate",
    "linewidth",
    "mandel_q",
    "mean_stderr",
    "noise_floor",
    "peak",
    "phase",
    "phase_difference",
    "plot_backaction",
    "plot_phase_distribution",
    "plot_spectrum",
    "purification_rate",
    "purity",
    "residence",
    "reversal_rate",
    "reversals",
    "rotation_frequency",
    "scaling",
    "sense",
    "sidebands",
    "spectrum",
    "trajectory_mean",
    "variance_decomposition",
    "waiting_times",
]
