"""Batches of pixels out of cached images, gathered by a kernel where that is possible."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from nerfstudio.data.pixel_samplers import PixelSampler
from torch import Tensor

from semantic_ns.datamanagers.semantic_dataset import SEMANTICS

_KNOWN_KEYS = {"image", "image_idx", SEMANTICS}


class GatheringPixelSampler(PixelSampler):
    """nerfstudio's sampler of pixels; the same draws and the same batches, gathered in one pass on the CPU.

    Labels come out as int64, whatever they are kept as.
    """

    def collate_image_dataset_batch(
        self, batch: dict[str, Any], num_rays_per_batch: int, keep_full_image: bool = False
    ) -> dict[str, Any]:
        """Pixels [rays, ...] of a batch of images: ``image``, ``semantics`` and ``indices`` (image, row, column)."""
        if keep_full_image or not self._knows(batch):
            return super().collate_image_dataset_batch(batch, num_rays_per_batch, keep_full_image)
        images: Shaped[Tensor, "images height width channels"] = batch["image"]
        num_images, height, width, _ = images.shape
        indices = self.sample_method(num_rays_per_batch, num_images, height, width, device=images.device)
        return _gather(batch, indices)

    def _knows(self, batch: Mapping[str, Any]) -> bool:
        image = batch["image"]
        return (
            batch.keys() == _KNOWN_KEYS
            and image.device.type == "cpu"
            and image.dtype == torch.float32
            and all(batch[key].is_contiguous() for key in ("image", SEMANTICS))
            and not self.config.is_equirectangular
            and self.config.fisheye_crop_radius is None
        )


def _gather(batch: Mapping[str, Any], indices: Tensor) -> dict[str, Any]:
    from semantic_ns.datamanagers.pixel_batches_numba import gather_pixels

    indices = indices.contiguous()
    colours = torch.empty(indices.shape[0], batch["image"].shape[-1])
    classes = torch.empty(indices.shape[0], 1, dtype=torch.int64)
    numbers = torch.as_tensor(batch["image_idx"])
    arrays = (batch["image"], batch[SEMANTICS], numbers, indices, colours, classes)
    gather_pixels(*(array.numpy() for array in arrays))
    return {"image": colours, SEMANTICS: classes, "indices": indices}


def gathered_by_kernel(sampler: PixelSampler) -> PixelSampler:
    """The same sampler with batches from the kernel; samplers of patches and pairs stay as they are."""
    if type(sampler) is not PixelSampler:
        return sampler
    return GatheringPixelSampler(sampler.config, **sampler.kwargs)
