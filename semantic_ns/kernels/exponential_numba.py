"""The exponential in plain arithmetic: loops over it become vector code, which those over libm's cannot."""

from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import inlined_part

_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first of few bits, so that n ln 2 loses nothing (Cody, Waite 1980).
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_C2, _C3, _C4 = np.float32(0.5), np.float32(1 / 6), np.float32(0.041664738)
_C5, _C6 = np.float32(0.008333877), np.float32(0.0013935166)
_ONE, _HALF = np.float32(1), np.float32(0.5)
_EXPONENT_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@inlined_part
@no_type_check
def exp32(x):
    """``e^x`` to about 2e-7 of its value; x is clamped to [-87, 88], where float32 ends."""
    x = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(x * _LOG2_E + _HALF)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    # Taylor's coefficients up to r^3, the last ones fitted to |r| <= ln 2 / 2.
    series = _ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * _C6)))))
    bits = np.int32((np.int32(n) + _EXPONENT_BIAS) << _MANTISSA_BITS)
    return series * bits.view(np.float32)
