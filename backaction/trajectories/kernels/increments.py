"""The law of a diffusive detector's increment, given the state it measures; for either width of lanes."""

from __future__ import annotations

import numpy as np

from ..compiled import inlined
from ..simd import add, fma, load_as, maximum, minimum, mul, neg, rough_root, splat_as, sqrt, store, sub

#: Bound of the relative corrections to an increment's law, reached only at steps that are far too coarse.
GAIN_LIMIT = 0.4


@inlined
def clamp(x, limit):
    """x cut to [−limit, limit], lane by lane."""
    return maximum(minimum(x, limit), neg(limit))


@inlined
def sample_homodyne(m_re, g11, q_re, dt, root_dt, half_dt, limit, normal):
    """Increment dY from m = ⟨K0†K1 + 2dt K1†K2⟩, ⟨K1†K1⟩, ⟨K0†K2⟩ of normalised states and standard normals.

    The law p(dY) ∝ ‖K(dY)ψ‖² G(dY) has, to O(dt²), mean x dt and variance dt + (⟨:x²:⟩ − x²)dt², x = 2 Re m.
    """
    x = add(m_re, m_re)
    second = add(add(q_re, q_re), g11)
    gain = clamp(mul(half_dt, sub(add(second, second), mul(x, x))), limit)
    return fma(x, dt, mul(root_dt, fma(gain, normal, normal)))


@inlined
def sample_heterodyne(m_re, m_im, g11, q_re, q_im, dt, root_dt, half_dt, limit, normal_x, normal_y):
    """Increment dZ; E|δZ|² = dt + (⟨c†c⟩ − |m|²)dt², E δZ² = (⟨c²⟩ − m²)dt²; real and imaginary part."""
    x = mul(root_dt, normal_x)
    y = mul(root_dt, normal_y)
    rr = mul(m_re, m_re)
    ii = mul(m_im, m_im)
    direct = clamp(mul(half_dt, sub(sub(g11, rr), ii)), limit)
    cross_re = clamp(mul(half_dt, add(sub(add(q_re, q_re), rr), ii)), limit)
    cross_im = clamp(mul(half_dt, sub(add(q_im, q_im), mul(add(m_re, m_re), m_im))), limit)
    # δZ = w + direct w + cross w*
    z_re = fma(cross_im, y, fma(cross_re, x, fma(direct, x, fma(m_re, dt, x))))
    z_im = fma(neg(cross_re), y, fma(cross_im, x, fma(direct, y, fma(m_im, dt, y))))
    return z_re, z_im


@inlined
def rotate(re, im, cos, sin):
    """(re + i im)(cos + i sin)."""
    return fma(neg(im), sin, mul(re, cos)), fma(im, cos, mul(re, sin))


@inlined
def sample(plan, work, noise, step, channel, lanes, inverse):
    """The channel's increments for all lanes, real and imaginary part, from `work.sums` and standard normals."""
    m_re = mul(load_as(work.sums, 0, inverse), inverse)
    m_im = mul(load_as(work.sums, lanes, inverse), inverse)
    g11 = mul(load_as(work.sums, 2 * lanes, inverse), inverse)
    q_re = mul(load_as(work.sums, 4 * lanes, inverse), inverse)
    q_im = mul(load_as(work.sums, 5 * lanes, inverse), inverse)
    if work.drive.rotating:
        cos = splat_as(work.drive.rotation[work.clock[0], channel, 0], inverse)
        sin = splat_as(work.drive.rotation[work.clock[0], channel, 1], inverse)
        m_re, m_im = rotate(m_re, m_im, cos, sin)
        q_re, q_im = rotate(q_re, q_im, cos, sin)
        q_re, q_im = rotate(q_re, q_im, cos, sin)
    dt = splat_as(plan.dt, inverse)
    half_dt = splat_as(0.5 * plan.dt, inverse)
    limit = splat_as(GAIN_LIMIT, inverse)
    at = (step * plan.columns[plan.kinds.size] + plan.columns[channel]) * lanes
    store(work.hazard, 0, fma(dt, g11, load_as(work.hazard, 0, inverse)))
    if plan.kinds[channel] == 0:
        root_dt = splat_as(np.sqrt(plan.dt), inverse)
        y_re = sample_homodyne(m_re, g11, q_re, dt, root_dt, half_dt, limit, load_as(noise, at, inverse))
        y_im = splat_as(0.0, inverse)
    else:
        root_dt = splat_as(np.sqrt(0.5 * plan.dt), inverse)
        normal_x = load_as(noise, at, inverse)
        normal_y = load_as(noise, at + lanes, inverse)
        y_re, y_im = sample_heterodyne(m_re, m_im, g11, q_re, q_im, dt, root_dt, half_dt, limit, normal_x, normal_y)
    return y_re, y_im


@inlined
def increments(plan, work, record, noise, step, channel, lanes, inverse):
    """The channel's increments for all lanes, drawn and added to the record or read from it; scaled into work.z.

    `inverse` is 1/⟨ψ|ψ⟩ or 1/Tr ρ; `work.sums` holds, lane by lane, the real and imaginary parts of
    ⟨K0†K1 + 2dt K1†K2⟩, ⟨K1†K1⟩ and ⟨K0†K2⟩, not yet divided by it.  The state sees z = dY, z2 = dY² − dt
    (homodyne) or z = dZ*, z2 = dZ*² (heterodyne).
    """
    output = plan.outputs[channel]
    row = 2 * output * lanes
    if plan.given:
        y_re = load_as(record, row, inverse)
        y_im = load_as(record, row + lanes, inverse)
    else:
        y_re, y_im = sample(plan, work, noise, step, channel, lanes, inverse)
        if output >= 0:
            store(record, row, add(load_as(record, row, inverse), y_re))
            store(record, row + lanes, add(load_as(record, row + lanes, inverse), y_im))
    if plan.loops.outputs.size > 0 and output >= 0:
        store(work.loops.latest, row, y_re)
        store(work.loops.latest, row + lanes, y_im)
    u_re = sub(mul(y_re, y_re), mul(y_im, y_im))
    u_im = neg(mul(add(y_re, y_re), y_im))
    if plan.kinds[channel] == 0:
        u_re = sub(u_re, splat_as(plan.dt, inverse))
    z_re = y_re
    z_im = neg(y_im)  # z = dZ*
    if work.drive.rotating:  # the operator is e^{−iφ}L; the plan holds L
        cos = splat_as(work.drive.rotation[work.clock[0], channel, 0], inverse)
        sin = splat_as(work.drive.rotation[work.clock[0], channel, 1], inverse)
        z_re, z_im = rotate(z_re, z_im, cos, sin)
        u_re, u_im = rotate(u_re, u_im, cos, sin)
        u_re, u_im = rotate(u_re, u_im, cos, sin)
    # keeps the state near norm 1; of a given record, the new norm is the likelihood
    scale = sqrt(inverse) if plan.given else rough_root(inverse)
    store(work.z, 0, scale)
    store(work.z, lanes, mul(z_re, scale))
    store(work.z, 2 * lanes, mul(z_im, scale))
    store(work.z, 3 * lanes, mul(u_re, scale))
    store(work.z, 4 * lanes, mul(u_im, scale))
