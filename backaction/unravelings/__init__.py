"""What is watched: quantum jumps, homodyne and heterodyne detectors, and their sums."""

from .detectors import Detector as Detector
from .detectors import Heterodyne as Heterodyne
from .detectors import Homodyne as Homodyne
from .detectors import LocalOscillator as LocalOscillator
from .detectors import QuantumJumps as QuantumJumps
from .detectors import Unraveling as Unraveling
