"""System + detector → exact prediction: what a record must show, without trajectories."""

from .clicks import g2 as g2
from .clicks import waiting_times as waiting_times
from .currents import measured_covariance as measured_covariance
from .currents import measured_spectrum as measured_spectrum
from .harmonics import gaussian_harmonics as gaussian_harmonics
from .phases import phase_distribution as phase_distribution
