"""Gaussians in space: projected, composited and their gradients, on CPUs; the conventions are those of gsplat."""
