"""A sweep over the training poses: the field as it is now, at every n-th pixel of each image."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float32, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike

T = TypeVar("T")


def sweep_stride(image_sizes: Sequence[tuple[int, int]], num_rays: int) -> int:
    """The smallest n with which every n-th pixel along rows and columns makes about so many rays, or fewer.

    Args:
        image_sizes: The height and width of each image, pixels.
        num_rays: The number of rays wanted, over all images. Where n does not divide a size the rays are a little more.
    """
    return max(1, math.ceil(math.sqrt(sum(height * width for height, width in image_sizes) / num_rays)))


def swept_pixels(frame: int, image_size: tuple[int, int], stride: int) -> Int64[Tensor, "height width 3"]:
    """Frame, row and column of every n-th pixel of an image, the first row and column among them.

    Args:
        frame: The number of the image.
        image_size: Its height and width, pixels.
        stride: n.
    """
    axes = torch.tensor([frame]), *(torch.arange(0, length, stride) for length in image_size)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)[0]


def sweep(
    model: SemanticModelLike,
    ray_generator: RayGeneratorLike,
    cameras: Cameras,
    num_rays: int,
    describe: Callable[[Int64[Tensor, "height width 3"], RayBundle], T],
) -> tuple[int, list[T]]:
    """Describe what the model shows at every n-th pixel of all images, at evaluation and without gradients.

    Args:
        model: The model that is seen; it is left in the mode, training or evaluation, that it was in.
        ray_generator: A function that gives the rays of (camera, row, column).
        cameras: The cameras of the images, which may differ in size.
        num_rays: The number of rays over all images, about; it decides n, see `sweep_stride`.
        describe: A function of the pixels of one image (frame, row, column) and of their rays [height, width].

    Returns:
        n, and what `describe` said of each image.
    """
    sizes = [(int(h), int(w)) for h, w in zip(cameras.height.view(-1), cameras.width.view(-1), strict=True)]
    stride = sweep_stride(sizes, num_rays)
    was_training = model.training
    model.eval()
    described = []
    try:
        with torch.no_grad():
            for frame, size in enumerate(sizes):
                pixels = swept_pixels(frame, size, stride)
                rays = ray_generator(pixels.view(-1, 3)).reshape(pixels.shape[:2])
                described.append(describe(pixels, rays))
    finally:
        model.train(was_training)
    return stride, described


def normals_of(points: Float32[Tensor, "height width 3"]) -> Float32[Tensor, "height width 3"]:
    """Unit normals of a surface from central differences of its points, one-sided at the border."""
    along_columns, along_rows = (
        torch.gradient(points, dim=axis)[0] if points.shape[axis] > 1 else torch.zeros_like(points) for axis in (1, 0)
    )
    return torch.nn.functional.normalize(torch.cross(along_columns, along_rows, dim=-1), dim=-1)
