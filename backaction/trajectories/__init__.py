"""How it is integrated: plans, kernels, noise, ensembles; `simulate`."""

from .condition import condition as condition
from .levels import Density as Density
from .levels import Ket as Ket
from .simulate import simulate as simulate
