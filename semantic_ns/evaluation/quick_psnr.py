"""PSNR of every evaluation image from few of its pixels: none behind a veil is missed where few are scored whole."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.evaluation.other_views import tile_middles
from semantic_ns.evaluation.veil_of_model import undisturbed
from semantic_ns.evaluation.worst_images import NUM_WORST, short_names
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike
from semantic_ns.labels.corruption_frames import evenly_spaced

MAX_IMAGES = 128
"""Reading images takes longer than rendering a few pixels of them."""
_NUM_RAYS, _MAX_RAYS_OF_IMAGE = 1 << 15, 1024


@dataclass(frozen=True)
class QuickScores:
    """PSNR of images, each from some of its pixels.

    Attributes:
        psnr: PSNR in dB by the image's short name; infinite for no error.
        num_pixels: largest number of pixels of an image.
        num_all: number of images that there are.
    """

    psnr: dict[str, float]
    num_pixels: int
    num_all: int

    def sentence(self) -> str | None:
        """The mean, and the images with the lowest values, on one line; None if everything is masked."""
        if not self.psnr:
            return None
        counted = f"{len(self.psnr)} of {self.num_all}" if len(self.psnr) < self.num_all else f"all {self.num_all}"
        worst = sorted(self.psnr.items(), key=lambda item: item[1])[:NUM_WORST]
        finite = [value for value in self.psnr.values() if math.isfinite(value)]
        mean = sum(finite) / len(finite) if finite else math.inf
        return (
            f"PSNR of {counted} evaluation images from up to {self.num_pixels} pixels of each: {mean:.1f} dB on "
            f"average, lowest in {', '.join(f'{name} ({value:.1f})' for name, value in worst)}"
        )


def quick_scores(model: SemanticModelLike, dataset: SemanticDataset) -> QuickScores:
    """Render a regular grid of pixels of each image and compare it with the image; masked pixels are left out.

    Args:
        model: a model that renders rays; afterwards it is as it was.
        dataset: at least one image; of more than `MAX_IMAGES` as many, evenly spaced.
    """
    chosen = [int(index) for index in evenly_spaced(min(MAX_IMAGES, len(dataset)), len(dataset))]
    num_rays = min(_MAX_RAYS_OF_IMAGE, _NUM_RAYS // len(chosen))
    names = short_names(dataset.image_filenames)
    found, num_pixels = {}, 0
    generate_rays = FastRayGenerator(dataset.cameras.to(model.device))
    with undisturbed(model):
        for index in chosen:
            errors = _squared_errors(model, dataset, generate_rays, index, num_rays)
            num_pixels = max(num_pixels, len(errors))
            if len(errors) > 0:
                mean = float(errors.double().mean())
                found[names[index]] = -10 * math.log10(mean) if mean > 0 else math.inf
    return QuickScores(found, num_pixels, len(dataset))


def _squared_errors(
    model: SemanticModelLike, dataset: SemanticDataset, generate_rays: RayGeneratorLike, index: int, num_rays: int
) -> Tensor:
    """Those of the colours [pixels, 3] of a grid of unmasked pixels of an image."""
    rows, columns = tile_middles(int(dataset.cameras.height[index]), int(dataset.cameras.width[index]), num_rays)
    rays = generate_rays(torch.cartesian_prod(torch.tensor([index]), rows, columns))
    rendered = model.get_outputs_for_camera_ray_bundle(rays.reshape((len(rows), len(columns))))["rgb"]
    image = dataset.get_image_float32(index)[rows[:, None], columns]
    errors = (rendered - model.renderer_rgb.blend_background(image.to(rendered.device))).square()
    mask = dataset.mask_of(index)
    if mask is None:
        return errors.flatten(0, 1)
    return errors[torch.from_numpy(mask)[rows[:, None], columns].to(errors.device)]
