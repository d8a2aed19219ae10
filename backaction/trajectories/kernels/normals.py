"""Standard normals for all lanes at once: numba's own come one by one, which takes more than twice as long.

Every lane has a xoshiro256++ generator (Blackman and Vigna, ACM Trans. Math. Softw. 47, 36 (2021)); two of its words
become two normals by the method of Box and Muller.  Logarithm, sine and cosine are fdlibm's polynomials, without
branches, so that the loop over lanes becomes vector instructions.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, inner_loop
from ..simd import as_bits, as_float

_WORD = np.uint64
LOW_BITS, SHIFTED, ROTATED, ONE_BIT, TO_SIGN = _WORD(12), _WORD(17), _WORD(23), _WORD(1), _WORD(62)
ROTATED_BACK, LAST_ROTATED, LAST_ROTATED_BACK = _WORD(41), _WORD(45), _WORD(19)
EXPONENT, SIGN = _WORD(52), _WORD(1 << 63)
MANTISSA, ROOT_HALF = _WORD((1 << 52) - 1), _WORD(0x3FE6A09E00000000)  # the bits of √½
FROM_ROOT_HALF = _WORD(0x3FF0000000000000 - 0x3FE6A09E00000000)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
HALF_PI = 0.5 * np.pi


@inlined
def uniform(word):
    """The upper 52 bits of a word as a number in (0, 1)."""
    return (np.float64(np.int64(word >> LOW_BITS)) + 0.5) * 2.0**-52


@inlined
def radius(u):
    """√(−2 ln u): u = 2^k (1 + f) with 1 + f from √½ to √2."""
    bits = as_bits(u) + FROM_ROOT_HALF
    k = np.float64(np.int64(bits >> EXPONENT) - np.int64(1023))
    f = as_float((bits & MANTISSA) + ROOT_HALF) - 1.0
    h = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    p = 1.531383769920937332e-01 + z * 1.479819860511658591e-01
    p = 2.222219843214978396e-01 + z * (1.818357216161805012e-01 + z * p)
    p = z * (6.666666666666735130e-01 + z * (3.999999999940941908e-01 + z * (2.857142874366239149e-01 + z * p)))
    return np.sqrt(-2.0 * (k * LN2_HIGH - ((h - (s * (h + p) + k * LN2_LOW)) - f)))


@inlined
def sine(x, z):
    """sin x for |x| <= π/4, z = x²."""
    p = 2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    p = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * p)
    return x + x * z * (-1.66666666666666324348e-01 + z * p)


@inlined
def cosine(z):
    """cos x for |x| <= π/4, z = x²."""
    p = -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    p = -1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 + z * p)
    return 1.0 - 0.5 * z + z * z * (4.16666666666666019037e-02 + z * p)


@inlined
def next_word(a, b, c, d):
    """One step of xoshiro256++: its word, and the new state."""
    word = a + d
    word = ((word << ROTATED) | (word >> ROTATED_BACK)) + a
    t = b << SHIFTED
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    return word, a, b, c, (d << LAST_ROTATED) | (d >> LAST_ROTATED_BACK)


@inner_loop
def draw(words, out):
    """Fill `out` (an even number of rows, lanes) with standard normals.

    `words` (4, lanes) uint64 are the generators.  A pair of rows takes one word for the radius and one for the angle:
    52 bits for an angle in (−π/4, π/4), a bit that exchanges the two normals, a bit for their sign.
    """
    lanes = words.shape[1]
    for row in range(0, out.shape[0], 2):
        for lane in range(lanes):
            a, b, c, d = words[0, lane], words[1, lane], words[2, lane], words[3, lane]
            x, a, b, c, d = next_word(a, b, c, d)
            y, a, b, c, d = next_word(a, b, c, d)
            words[0, lane] = a
            words[1, lane] = b
            words[2, lane] = c
            words[3, lane] = d
            r = as_float(as_bits(radius(uniform(x))) ^ ((y << TO_SIGN) & SIGN))  # bit 1
            angle = HALF_PI * (uniform(y) - 0.5)
            z = angle * angle
            across, along = r * sine(angle, z), r * cosine(z)
            exchange = (y & ONE_BIT) == ONE_BIT
            out[row, lane] = across if exchange else along
            out[row + 1, lane] = along if exchange else across
