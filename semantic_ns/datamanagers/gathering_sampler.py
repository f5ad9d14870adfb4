"""Batches of pixels out of cached images, gathered where the images are, by a kernel if that is the CPU."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from jaxtyping import Int64, Shaped
from nerfstudio.data.pixel_samplers import PixelSampler
from torch import Tensor

from semantic_ns.batch import LABELS

_KNOWN_KEYS = {"image", "image_idx", LABELS}


class GatheringPixelSampler(PixelSampler):
    """nerfstudio's sampler of pixels; the same draws and the same batches, gathered in one pass on the CPU.

    Images and labels that are on another device are drawn from and gathered there: nothing of a batch passes through
    the CPU. Labels come out as int64, whatever they are kept as.
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

    def collate_image_dataset_batch_list(
        self, batch: dict[str, Any], num_rays_per_batch: int, keep_full_image: bool = False
    ) -> dict[str, Any]:
        """The parent's pixels of images of several sizes, and their labels, which the parent takes for one array."""
        numbers = torch.as_tensor(batch["image_idx"])
        known = {key: batch[key] for key in ("image", "mask") if key in batch}
        known["image_idx"] = torch.arange(len(numbers))
        result = super().collate_image_dataset_batch_list(known, num_rays_per_batch, keep_full_image)
        image, row, column = result["indices"].cpu().unbind(dim=-1)
        labels = torch.empty(len(image), 1, dtype=torch.int64)
        for number, values in enumerate(batch[LABELS]):
            is_here = image == number
            labels[is_here] = values[row[is_here], column[is_here]].long().cpu()
        indices = torch.stack([numbers.cpu()[image], row, column], dim=-1)
        return {**result, LABELS: labels, "indices": indices.to(result["indices"].device)}

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rays 3"]:
        """The parent's draws; without a mask nothing is copied to the device, which would have to come to rest."""
        if mask is not None or torch.device(device).type == "cpu":
            return super().sample_method(batch_size, num_images, image_height, image_width, mask, device)
        sizes = _on_device((num_images, image_height, image_width), torch.device(device))
        return (torch.rand((batch_size, 3), device=device) * sizes).long()

    def _knows(self, batch: Mapping[str, Any]) -> bool:
        image = batch["image"]
        return (
            batch.keys() == _KNOWN_KEYS
            and image.device == batch[LABELS].device
            and image.dtype == torch.float32
            and all(batch[key].is_contiguous() for key in ("image", LABELS))
            and not self.config.is_equirectangular
            and self.config.fisheye_crop_radius is None
        )


def _gather(batch: Mapping[str, Any], indices: Int64[Tensor, "rays 3"]) -> dict[str, Any]:
    # nerfstudio puts what says whose images they are on the device, even where the images themselves are not.
    numbers = torch.as_tensor(batch["image_idx"]).to(indices.device)
    images, labels = batch["image"], batch[LABELS]
    gather = _gather_by_kernel if indices.device.type == "cpu" else gather_by_index
    colors, classes, indices = gather(images, labels, numbers, indices)
    return {"image": colors, LABELS: classes, "indices": indices}


@cache
def _on_device(numbers: tuple[int, ...], device: torch.device) -> Int64[Tensor, "numbers"]:
    return torch.tensor(numbers, device=device)


_Pixels = tuple[Tensor, Int64[Tensor, "rays 1"], Int64[Tensor, "rays 3"]]
"""Colours, classes, and camera, row and column."""


def _gather_by_kernel(images: Tensor, labels: Tensor, numbers: Tensor, indices: Tensor) -> _Pixels:
    from semantic_ns.datamanagers.gathering_sampler_numba import gather_pixels

    indices = indices.contiguous()
    colors = torch.empty(indices.shape[0], images.shape[-1])
    classes = torch.empty(indices.shape[0], 1, dtype=torch.int64)
    gather_pixels(*(array.numpy() for array in (images, labels, numbers, indices, colors, classes)))
    return colors, classes, indices


def gather_by_index(
    images: Shaped[Tensor, "images height width channels"],
    labels: Shaped[Tensor, "images height width 1"],
    numbers: Int64[Tensor, "images"],
    indices: Int64[Tensor, "rays 3"],
) -> _Pixels:
    """What the kernel gives, on any device and without asking it for anything."""
    image, row, column = indices.unbind(dim=-1)
    flat = (image * images.shape[1] + row) * images.shape[2] + column
    colors, classes = (values.flatten(0, 2).index_select(0, flat) for values in (images, labels))
    return colors, classes.long(), torch.stack([numbers[image], row, column], dim=-1)


def gathered_by_kernel(sampler: PixelSampler) -> PixelSampler:
    """The same sampler with batches from the kernel; samplers of patches and pairs stay as they are."""
    if type(sampler) is not PixelSampler:
        return sampler
    return GatheringPixelSampler(sampler.config, **sampler.kwargs)
