"""Images with labels, as pixel samplers get them."""

import torch
from torch import Tensor


def images(**changes: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image_idx": torch.tensor([7, 3, 5]),
        "image": torch.rand(3, 6, 9, 3, generator=generator),
        "semantics": torch.randint(-1, 4, (3, 6, 9, 1), generator=generator, dtype=torch.int16),
    } | changes
