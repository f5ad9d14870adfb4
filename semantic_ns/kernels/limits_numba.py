"""Limits of the raw density, before its exponential, in all kernels."""

import numpy as np

RAW_DENSITY_LIMIT = np.float32(60.0)
"""Nothing is more opaque than this; more would overflow times a length."""
GRADIENT_RAW_DENSITY_LIMIT = np.float32(15.0)
"""Beyond this the gradient grows no further, as in nerfstudio's `trunc_exp`."""
