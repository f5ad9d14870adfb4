"""Options of the model; light, for registration reads them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from nerfstudio.models.splatfacto import SplatfactoModelConfig

from semantic_ns.splatting.fit_config import DEPTH_WEIGHT, OUTLINE_WEIGHT

if TYPE_CHECKING:  # compiles kernels, which registration must not
    from semantic_ns.methods.semantic_splatfacto.start import StartFrame
else:
    StartFrame = Literal["world", "scene"]


def _model() -> type:
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel

    return SemanticSplatfactoModel


@dataclass
class SemanticSplatfactoModelConfig(SplatfactoModelConfig):
    """Options of `semantic-splatfacto`."""

    _target: type = field(default_factory=_model)
    start_from: Path | None = None
    """Gaussians to begin with: a PLY file of any program for Gaussian splats, or a folder that sns-to-splat wrote. By
    default they begin at the surface that the depth images of the scene show, or else at its sparse points, or else on
    a CPU at depth by stereo between the training images."""
    start_frame: StartFrame = "world"
    """Coordinates of the file to begin with: world are those of the scene's files, as sns-to-splat writes, but where
    transforms.json has an applied_transform those of the COLMAP model before it; scene are nerfstudio's own, as
    ns-export gaussian-splat writes."""
    train_gaussians: bool = True
    """Train the Gaussians. False leaves them as the file has them, and only gives them classes; it needs a CPU."""
    depth_loss_weight: float = DEPTH_WEIGHT
    """Weight of the relative error of depth beside the colour loss, on a CPU, where depth images or that of stereo are
    used."""
    num_splits: int | None = None
    """How often half of the Gaussians, those on whose place the loss depends most, are split in two on a CPU, up to
    200 000 of them. By default 7 times where they begin at sparse points or depth by stereo, and never where they begin
    at depth images or in a file, where it gains nothing."""
    outline_loss_weight: float = OUTLINE_WEIGHT
    """Weight of the error of what classes look like beside the colour loss, on a CPU, where labels are dense and clean
    or depth lets them spread: Gaussians end where classes do. 0 leaves labels out of the training."""
    blur: float | None = None
    """Variance in pixels², 0.03 to 10, that images add to Gaussians that begin on a CPU. By default 0.05 for those that
    begin at depth images, so that thin things keep their width; for Gaussians of a file what it states; and else 0.3,
    which gsplat and most viewers of Gaussian splats add. Gaussians look right with that which they were trained with,
    and a checkpoint keeps it."""
    fill_holes: bool = True
    """Let pixels that no Gaussian covers show what lies around them, but not where the viewer crops, and not in scenes
    of images with transparency. False shows the background."""
    resumes: tyro.conf.Suppress[bool] = False
    """Whether a checkpoint is loaded next, so that there is nothing to begin with; not an option, but for the pipeline
    to say."""
