"""Rays, batches and classes for models that are built without a scene."""

from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle

from semantic_ns.labels.taxonomy import Taxonomy

CLASSES = Taxonomy((3, 7, 40), ("wall", "bed", "floor"), ((9, 9, 9), (0, 99, 0), (0, 0, 99)), (False, True, False), 0)
RAYS = 50


def rays(seed: int = 0) -> RayBundle:
    generator = torch.Generator().manual_seed(seed)
    return RayBundle(
        origins=torch.rand(RAYS, 3, generator=generator) - 0.5,
        directions=torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1),
        pixel_area=torch.ones(RAYS, 1),
        camera_indices=torch.zeros(RAYS, 1, dtype=torch.long),
        metadata={"directions_norm": torch.full((RAYS, 1), 1.25)},
    )


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(4)
    return {
        "image": torch.rand(RAYS, 3, generator=generator),
        "semantics": torch.randint(-1, 3, (RAYS, 1), generator=generator),
    }
