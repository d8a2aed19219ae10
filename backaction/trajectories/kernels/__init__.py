"""numba kernels: functions of arrays and scalars, nothing above them is imported here."""
