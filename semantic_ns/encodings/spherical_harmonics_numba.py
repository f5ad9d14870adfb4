"""Real spherical harmonics up to degree 3 as polynomials (Sloan 2008, appendix A2, without alternating signs)."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import kernel

_PI = np.pi
_L0 = np.float32(np.sqrt(1 / (4 * _PI)))
_L1 = np.float32(np.sqrt(3 / (4 * _PI)))
_L2_XY, _L2_ZZ = np.float32(np.sqrt(15 / (4 * _PI))), np.float32(np.sqrt(5 / (16 * _PI)))
_L2_XX = np.float32(np.sqrt(15 / (16 * _PI)))
_L3_YXX, _L3_XYZ = np.float32(np.sqrt(35 / (32 * _PI))), np.float32(np.sqrt(105 / (4 * _PI)))
_L3_YZZ, _L3_ZZZ = np.float32(np.sqrt(21 / (32 * _PI))), np.float32(np.sqrt(7 / (16 * _PI)))
_L3_ZXX = np.float32(np.sqrt(105 / (16 * _PI)))
_ONE, _THREE, _FIVE = np.float32(1), np.float32(3), np.float32(5)


@kernel
@no_type_check
def components(vectors, out):
    """Fill ``out`` [N, 16] for ``vectors`` [N, 3] of any length."""
    for n in prange(vectors.shape[0]):
        x, y, z = vectors[n, 0], vectors[n, 1], vectors[n, 2]
        xx, yy, zz = x * x, y * y, z * z
        out[n, 0] = _L0
        out[n, 1], out[n, 2], out[n, 3] = _L1 * y, _L1 * z, _L1 * x
        out[n, 4], out[n, 5], out[n, 7] = _L2_XY * x * y, _L2_XY * y * z, _L2_XY * x * z
        out[n, 6] = _L2_ZZ * (_THREE * zz - _ONE)
        out[n, 8] = _L2_XX * (xx - yy)
        out[n, 9], out[n, 15] = _L3_YXX * y * (_THREE * xx - yy), _L3_YXX * x * (xx - _THREE * yy)
        out[n, 10] = _L3_XYZ * x * y * z
        out[n, 11], out[n, 13] = _L3_YZZ * y * (_FIVE * zz - _ONE), _L3_YZZ * x * (_FIVE * zz - _ONE)
        out[n, 12] = _L3_ZZZ * z * (_FIVE * zz - _THREE)
        out[n, 14] = _L3_ZXX * z * (xx - yy)
