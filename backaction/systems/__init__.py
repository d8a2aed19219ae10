"""What evolves: the operator algebra, `System`, bases and lowering, the library of models."""

from .algebra import Boson as Boson
from .algebra import Levels as Levels
from .algebra import Operator as Operator
from .algebra import Site as Site
from .algebra import Spin as Spin
from .basis import Basis as Basis
from .basis import ResolvedBasis as ResolvedBasis
from .models import cascaded as cascaded
from .models import damped_cavity as damped_cavity
from .models import driven_qubit as driven_qubit
from .models import parametric_oscillator as parametric_oscillator
from .models import qnd_qubit as qnd_qubit
from .models import spin as spin
from .models import two_spins as two_spins
from .models import two_vdp as two_vdp
from .models import vdp as vdp
from .states import SiteState as SiteState
from .states import coherent as coherent
from .states import fock as fock
from .states import thermal as thermal
from .states import vacuum as vacuum
from .system import LoweredSystem as LoweredSystem
from .system import System as System
