"""Defects of the released code of GSNeRF that published numbers may depend on, each with a switch."""

from dataclasses import dataclass
from typing import Literal

from semantic_ns.methods.defects import Defects

Defect = Literal[
    "concatenated-views",
    "random-evaluation",
    "raw-images",
    "level-offsets",
    "released-target-depth",
    "depth-loss-over-all-rays",
    "inverted-poses",
    "correlation-over-all-views",
    "relu-logits",
    "batch-norm",
    "scalar-reconstruction",
    "all",
]
"""Names of the defects, see :class:`Compat`; `all` means each of them."""


@dataclass(frozen=True)
class Compat(Defects):
    """Which defects of the released code are restored; by default none.

    Attributes:
        concatenated_views: The class head reads the tokens of all views side by side. The number of views is then fixed
            by the weights, and their order matters. By default it reads the global token and the mean of the tokens of
            the views that see the point.
        random_evaluation: Samples around the surface are random at evaluation, too. By default they stand at quantiles
            of the same normal distribution.
        raw_images: Colours in 0..1 enter the encoder. By default mean and deviation of ImageNet are taken out.
        level_offsets: Principal points of the coarser levels are divided without regard to the half pixel between the
            edge of an image and its first pixel centre.
        released_target_depth: The depth of the target has no depth buffer, its offsets are those of the rounded pixel,
            and holes are filled with wrong distances, or with 0.
        depth_loss_over_all_rays: The loss of the rendered depth is divided by the number of rays. By default it is
            divided by the number of rays whose true depth is known.
        inverted_poses: The neighbours of a source are those with the nearest -R^T t, which is right only for poses from
            world to camera. By default they are those with the nearest camera centres.
        correlation_over_all_views: The summed correlation is divided by the number of all other views. By default it is
            divided by the number of the views that are summed. The norm after the first convolution takes either
            factor out again.
        relu_logits: Class logits pass through a ReLU.
        batch_norm: Norms take their moments over the views of a scene, in evaluation, too. By default they are group
            norms, so that a view does not depend on the others of its batch.
        scalar_reconstruction: The reconstruction error is one number for each pair of views, so that the minimum over
            the views only selects by what is inside their images. By default it is a map.
    """

    concatenated_views: bool = False
    random_evaluation: bool = False
    raw_images: bool = False
    level_offsets: bool = False
    released_target_depth: bool = False
    depth_loss_over_all_rays: bool = False
    inverted_poses: bool = False
    correlation_over_all_views: bool = False
    relu_logits: bool = False
    batch_norm: bool = False
    scalar_reconstruction: bool = False
