"""GSNeRF (Chou et al., CVPR 2024) at its published sizes: 3D cost volumes, volume features as tokens, 128 samples a ray."""
