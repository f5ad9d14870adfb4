"""semantic-nerf: hash grids, a proposal network and fused CPU kernels."""
