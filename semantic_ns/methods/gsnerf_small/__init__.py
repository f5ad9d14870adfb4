"""GSNeRF (Chou et al., CVPR 2024): depth, colour and classes of a new view of a new room, without training on it."""
