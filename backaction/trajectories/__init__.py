"""How it is integrated: plans, kernels, noise, ensembles; `simulate`."""

from .condition import condition as condition
from .feedback import Feedback as Feedback
from .levels import Density as Density
from .levels import Dicke as Dicke
from .levels import Ket as Ket
from .levels import Moments as Moments
from .levels import PhaseSpace as PhaseSpace
from .schemes import Rouchon as Rouchon
from .schemes import Splitting as Splitting
from .simulate import simulate as simulate
from .smooth import smooth as smooth
