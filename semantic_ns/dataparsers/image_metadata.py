"""Further keys of `DataparserOutputs.metadata`, for scenes whose files only become images by a computation.

They are the same in every split, and absent where there is nothing to compute.
"""

EXPOSURE = "exposure"
"""`float`: factor on linear colour (HDF5) before tone mapping, one for all images."""

PLANAR_PER_RAY_DEPTH = "planar_per_ray_depth"
"""float32 `ndarray` [H, W] of the depth images: planar depth per unit of the ray distance that the files hold."""
