"""Batches of pixels with a minimum share of labels, for scenes of which only a few pixels are labelled."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from semantic_ns.batch import LABELS, NUM_UNIFORM
from semantic_ns.datamanagers.gathering_sampler import GatheringPixelSampler
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import VOID

_MAX_INT32 = 2**31 - 1


@dataclass
class LabelledPixelSamplerConfig(PixelSamplerConfig):
    """Options of the sampler."""

    _target: type = field(default_factory=lambda: LabelledPixelSampler)
    labelled_share: float = 0.05
    """Share of a batch that is drawn from labelled pixels where fewer of all pixels are labelled, 0 to below 1."""
    balance_classes: bool = False
    """Draw the labelled share uniformly over classes instead of over labelled pixels, and add it to every batch."""


class LabelledPixelSampler(GatheringPixelSampler):
    """nerfstudio's pixels, and in the last rows of the batch labelled ones where labels are few.

    If less than `labelled_share` of the pixels that may be drawn (a mask may exclude some) is labelled, or classes are
    balanced, the last round(labelled_share * batch) rows are drawn from the labelled pixels. The rows before stay
    uniform over all pixels: colour is to be trained on them alone, lest labelled places count more. Draws come from
    torch's generator.

    Raises:
        SceneError: if the share is not in [0, 1).
    """

    config: LabelledPixelSamplerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    adds_labelled = True
    """Whether the next batches have such rows; False makes all of their rows uniform."""

    def __init__(self, config: LabelledPixelSamplerConfig, **kwargs: Any) -> None:
        if not 0 <= config.labelled_share < 1:
            raise SceneError(
                "Expected a share of 0 or more and below 1 for --pipeline.datamanager.labelled-share, found "
                f"{config.labelled_share}; choose one, 0 for none."
            )
        super().__init__(config, **kwargs)
        self._labels: Tensor | None = None
        self._labelled: _LabelledPixels | None = None

    def collate_image_dataset_batch(
        self, batch: dict[str, Any], num_rays_per_batch: int, keep_full_image: bool = False
    ) -> dict[str, Any]:
        """The parent's batch of pixels, with `num_uniform_rays` and, after them, labelled ones where they are few.

        Args:
            batch: `image` [images, H, W, channels], `semantics` [images, H, W, 1], perhaps `mask`, `image_idx`.
            num_rays_per_batch: rows of the result.
            keep_full_image: same as in the parent.
        """
        labelled = self._labelled_pixels(batch)
        num_labelled = 0 if labelled is None else round(self.config.labelled_share * num_rays_per_batch)
        result = super().collate_image_dataset_batch(batch, num_rays_per_batch - num_labelled, keep_full_image)
        if labelled is not None:
            _append_rows(result, batch, labelled.draw(num_labelled, self.config.balance_classes))
        result[NUM_UNIFORM] = num_rays_per_batch - num_labelled
        return result

    def _labelled_pixels(self, batch: dict[str, Any]) -> "_LabelledPixels | None":
        """None where the uniform rows hold enough labels, or where there is none. Made once for a set of images."""
        if self.config.labelled_share == 0 or not self.adds_labelled:
            return None
        labels: Tensor = batch[LABELS]
        if labels is not self._labels:
            mask = None if self.config.ignore_mask else batch.get("mask")
            is_drawable = None if mask is None else mask.to(labels.device)[..., 0].bool()
            self._labels = labels
            # Balanced, rows of labelled pixels say more than uniform ones even where all pixels have labels.
            below = math.inf if self.config.balance_classes else self.config.labelled_share
            self._labelled = _find_labelled(labels[..., 0], is_drawable, below)
        return self._labelled


@dataclass(frozen=True)
class _LabelledPixels:
    """Indices of labelled pixels in the flat images, sorted by class, and where in them each class begins."""

    pixels: Int[Tensor, "labelled"]
    starts: Int64[Tensor, "present"]
    counts: Int64[Tensor, "present"]
    image_shape: tuple[int, int]

    def draw(self, count: int, balance_classes: bool) -> Int64[Tensor, "count 3"]:
        """Image, row and column of random pixels: all alike, or classes alike and then the pixels of each."""
        device = self.pixels.device
        if balance_classes:
            classes = torch.randint(len(self.starts), (count,), device=device)
            uniform = torch.rand(count, dtype=torch.float64, device=device)
            places = self.starts[classes] + _random_below(self.counts[classes], uniform)
        else:
            places = torch.randint(len(self.pixels), (count,), device=device)
        flat = self.pixels[places].long()
        height, width = self.image_shape
        return torch.stack([flat // (height * width), flat // width % height, flat % width], dim=-1)


def _random_below(counts: Int64[Tensor, "draws"], uniform: Float[Tensor, "draws"]) -> Int64[Tensor, "draws"]:
    return torch.minimum((uniform * counts).long(), counts - 1)


def _find_labelled(
    labels: Int[Tensor, "images height width"], is_drawable: Bool[Tensor, "images height width"] | None, below: float
) -> _LabelledPixels | None:
    is_labelled = labels != VOID
    if is_drawable is not None:
        is_labelled &= is_drawable
    num_drawable = labels.numel() if is_drawable is None else int(is_drawable.sum())
    num_labelled = int(is_labelled.sum())
    if num_labelled == 0 or num_labelled >= below * num_drawable:
        return None
    pixels = is_labelled.reshape(-1).nonzero()[:, 0]
    classes, order = labels.reshape(-1)[pixels].sort(stable=True)
    counts = classes.unique_consecutive(return_counts=True)[1]
    pixels = pixels[order].to(torch.int32 if labels.numel() <= _MAX_INT32 else torch.int64)
    return _LabelledPixels(pixels, counts.cumsum(0) - counts, counts, (labels.shape[1], labels.shape[2]))


def _append_rows(result: dict[str, Any], batch: dict[str, Any], indices: Int64[Tensor, "rows 3"]) -> None:
    """Append the values of further pixels to a batch of them."""
    for key in result.keys() & batch.keys():
        result[key] = torch.cat([result[key], batch[key][tuple(indices.to(batch[key].device).unbind(-1))]])
    # Rows of the images at hand become numbers of cameras.
    cameras = batch["image_idx"].to(indices.device)[indices[:, :1]]
    further = torch.cat([cameras, indices[:, 1:]], dim=-1)
    result["indices"] = torch.cat([result["indices"], further.to(result["indices"].device)])


def add_labelled_rays(sampler: PixelSampler, labelled_share: float, balance_classes: bool) -> PixelSampler:
    """The sampler with labelled rays; one that draws otherwise than pixel by pixel (patches, pairs) stays as it is."""
    if type(sampler) is not PixelSampler:
        return sampler
    config = LabelledPixelSamplerConfig(labelled_share=labelled_share, balance_classes=balance_classes)
    # As they are: nerfstudio puts a tensor where it says bool.
    for item in fields(PixelSamplerConfig):
        if item.name != "_target":
            setattr(config, item.name, getattr(sampler.config, item.name))
    return config.setup()
