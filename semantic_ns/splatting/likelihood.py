"""Classes of Gaussians under which the labels of images are most likely."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting.composite import SLOTS, Tiles
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import Gaussians, PinholeCamera, project

NUM_STEPS = 4
"""Steps after which two real rooms gained hardly more, at two walks over all labelled images each."""


@torch.no_grad()
def responsibilities(
    gaussians: Gaussians,
    cameras: Sequence[PinholeCamera],
    labels: Sequence[Int[Tensor, "_height _width"]],
    probabilities: Float[Tensor, "gaussians classes"],
    is_antialiased: bool = False,
) -> Float[Tensor, "gaussians classes"]:
    """How many pixels of each class each Gaussian answers for, see :meth:`Tiles.add_responsibilities`.

    Args:
        gaussians: the Gaussians.
        cameras: cameras of the images.
        labels: classes of their pixels, 0..C-1, void -1.
        probabilities: classes of the Gaussians.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
    """
    sums, memory = torch.zeros(SLOTS, *probabilities.shape), FrameMemory()
    for camera, image in zip(cameras, labels, strict=True):
        if bool((image >= 0).any()):
            projected = project(gaussians, camera, is_antialiased=is_antialiased, memory=memory)
            tiles = Tiles.of(projected, camera.height, camera.width, memory)
            tiles.add_responsibilities(image.int(), probabilities, sums)
    return sums.sum(dim=0)


def most_likely_classes(
    gaussians: Gaussians,
    cameras: Sequence[PinholeCamera],
    labels: Sequence[Int[Tensor, "_height _width"]],
    probabilities: Float[Tensor, "gaussians classes"],
    is_antialiased: bool = False,
    num_steps: int = NUM_STEPS,
) -> Float[Tensor, "gaussians classes"]:
    """Classes that make the labels of the images more likely with each step (Dempster et al. 1977, EM).

    A pixel has the class of one of its Gaussians, drawn by their rendering weights. Votes let each Gaussian have its
    share of all that lies in its pixels, so that one beside an outline has the class across it as well; here a pixel
    counts for those Gaussians that explain it.

    Args:
        gaussians: the Gaussians.
        cameras: cameras of the images.
        labels: classes of their pixels, 0..C-1, void -1.
        probabilities: classes to begin with, such as shares of votes. What is 0 stays 0.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
        num_steps: number of steps.
    """
    for _ in range(num_steps):
        found = responsibilities(gaussians, cameras, labels, probabilities, is_antialiased)
        total = found.sum(dim=1, keepdim=True)
        # A Gaussian that answers for no pixel stays as it is.
        probabilities = torch.where(total > 1e-6, found / total.clamp(min=1e-6), probabilities)
    return probabilities
