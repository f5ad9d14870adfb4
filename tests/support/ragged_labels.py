"""Labels of an image with every shape of edge that pixels can have."""

import numpy as np

WIDTH, HEIGHT = 37, 29


def ragged_labels(seed: int) -> np.ndarray:
    """Patches of three classes and void (-1) with holes, islands and pixels that touch at corners alone, [29, 37]."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(-1, 3, (8, 8)).repeat(5, 0).repeat(5, 1)[:HEIGHT, :WIDTH]
    noise = generator.integers(-1, 3, (HEIGHT, WIDTH))
    return np.where(generator.random((HEIGHT, WIDTH)) < 0.15, noise, coarse)
