"""GSNeRF (Chou et al., CVPR 2024) at its published sizes: 3D cost volumes, and 128 samples for each ray."""
