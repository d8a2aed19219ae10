"""One trajectory on its own: the part of a slot in which it clicks.

Between clicks a state follows a linear equation v̇ = Gv.  Its Taylor vectors T_k = (Gh)^k v / k! serve
as propagator and as dense output, so the click time, where the surviving probability crosses its
threshold, is found to rounding by a safeguarded Newton iteration without another use of G.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, kernel
from ..simd import at

MAX_ORDER = 28  # Taylor terms; h‖G‖ <= 3 leaves 3^29/29! = 8e-18
REACH = 3.0  # largest h‖G‖ of one Taylor expansion
LOG_STEPS = 64  # steps after which the likelihood's logarithm is taken
NOISE_STEPS = 128  # steps whose noise is drawn at once, wherever bins and kernel calls begin; even: see `normals`
STAGED = 32  # bins after which the records are moved to where they belong


@inlined
def complex_values(re, im, out):
    """out = re + i im."""
    for k in range(re.size):
        out[k] = complex(re[k], im[k])


# Why an inner loop hands back control, and where in a step it stands (see `ket.advance`).
DONE, JUMP, SAVE, CLICK = (np.int64(i) for i in range(4))
BEFORE, BEHIND, CLOSING, CLOSED = (np.int64(i) for i in range(4))  # not literals: each would be a compilation


@inlined
def slot_times(stage, at_edge, b, s, dt, n_sub, n_diffusive):
    """Start (from the first bin's) and duration of the slot at hand: P(dt/2) D P(dt) D …, or P(dt) P(dt) …"""
    if stage == CLOSED:
        return (b * n_sub - 0.5) * dt, 0.5 * dt
    if n_diffusive == 0:
        return (b * n_sub + s) * dt, dt
    if at_edge:
        return (b * n_sub + s) * dt, 0.5 * dt
    return (b * n_sub + s - 0.5) * dt, dt


@inlined
def load_record(current, record, b, dt):
    """Increments per step of bin b of a given record: its sum spread evenly over the steps."""
    for o in range(current.shape[1]):
        for lane in range(current.shape[0]):
            record[o, 0, lane] = current[lane, o, b].real * dt
            record[o, 1, lane] = current[lane, o, b].imag * dt


@inlined
def clicks_due(work, end):
    """Does any lane have a given click before `end`?  Those that do get `jumping` −1, the others 1."""
    pending = 0
    for lane in range(work.jumping.size):
        k = work.given_next[lane]
        if k < work.given_stop[lane] and work.given_times[k] < end:
            work.jumping[lane] = -1.0
            pending += 1
        else:
            work.jumping[lane] = 1.0
    return pending > 0


@inlined
def take_logarithm(work):
    """Move the product of likelihood ratios into its logarithm, before it leaves the range of doubles."""
    for lane in range(work.likelihood.size):
        work.log_likelihood[lane] += np.log(work.likelihood[lane])
        work.likelihood[lane] = 1.0


@inlined
def csr_apply(ptr, col, values, scale, x, out):
    """out = scale A x for one operator: x, out (d,) complex."""
    for r in range(ptr.size - 1):
        re = 0.0
        im = 0.0
        for k in range(ptr[r], ptr[r + 1]):
            v = values[k]
            y = x[at(col, k)]
            re += v.real * y.real
            im += v.real * y.imag
            re -= v.imag * y.imag
            im += v.imag * y.real
        out[r] = complex(scale * re, scale * im)


@inlined
def copy(x, out):
    """out = x; an assignment of slices would allocate if they overlapped."""
    for i in range(x.size):
        out[i] = x[i]


@inlined
def horner(terms, order, theta, out):
    """out = Σ_k T_k θ^k."""
    n = out.size
    for i in range(n):
        out[i] = terms[order, i]
    for k in range(order - 1, -1, -1):
        for i in range(n):
            out[i] = out[i] * theta + terms[k, i]


@inlined
def overlap(x, y):
    """Re⟨x|y⟩, in sums that do not wait for each other."""
    a = 0.0
    b = 0.0
    c = 0.0
    e = 0.0
    n = x.size
    for i in range(0, n - 1, 2):
        a += x[i].real * y[i].real
        b += x[i].imag * y[i].imag
        c += x[i + 1].real * y[i + 1].real
        e += x[i + 1].imag * y[i + 1].imag
    if n % 2 == 1:
        a += x[n - 1].real * y[n - 1].real
        b += x[n - 1].imag * y[n - 1].imag
    return (a + b) + (c + e)


@inlined
def norm2(x):
    """⟨x|x⟩."""
    return overlap(x, x)


@inlined
def horner_slope(terms, order, theta, out):
    """out = Σ_k k T_k θ^(k−1)."""
    n = out.size
    for i in range(n):
        out[i] = order * terms[order, i]
    for k in range(order - 1, 0, -1):
        for i in range(n):
            out[i] = out[i] * theta + k * terms[k, i]


@inlined
def newton(value, slope, target, low, high, theta):
    """One safeguarded Newton step for a decreasing function; returns (theta, low, high)."""
    if value > target:
        low = theta
    else:
        high = theta
    step = theta + (target - value) / slope if slope < 0.0 else -1.0
    if not (low < step < high):
        step = 0.5 * (low + high)
    return step, low, high


@kernel
def push_click(times, owner, count, lane, time, detector):
    """Append a click; the buffers double when they are full."""
    if count >= times.size:
        bigger_times = np.empty(2 * times.size)
        bigger_owner = np.empty((2 * times.size, 2), dtype=np.int64)
        bigger_times[:count] = times[:count]
        bigger_owner[:count] = owner[:count]
        times = bigger_times
        owner = bigger_owner
    times[count] = time
    owner[count, 0] = lane
    owner[count, 1] = detector
    return times, owner, count + 1
