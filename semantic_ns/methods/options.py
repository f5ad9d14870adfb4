"""The options that models with classes share; to be listed before the configuration of nerfstudio's model."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from semantic_ns.encodings.hash_grid import Backend
from semantic_ns.errors import SceneError


@dataclass
class SemanticOptions:
    """Options of every model with classes; to be listed before the configuration of nerfstudio's model."""

    use_semantics: bool = True
    """Train and render semantics. Without them only colour and depth are scored."""
    near_plane: float | None = None
    """Distance from the camera at which rays start, in scene units; semantic-nerf-vanilla counts it along the optical
    axis. One that is given also holds for rendered images; without it, those of semantic-nerf and semantic-nerf-big
    start at the camera. The default is the data set's near plane if `use_scene_bounds` finds one, else the method's
    (0.05; semantic-nerf-vanilla: 0.1 m)."""
    far_plane: float | None = None
    """Distance from the camera at which rays end, in scene units; semantic-nerf-vanilla counts it along the optical
    axis. The default is the data set's far plane if `use_scene_bounds` finds one, else the method's (1000;
    semantic-nerf-vanilla: 10 m)."""
    use_scene_bounds: bool = True
    """Use the near and far planes that the data set states in metres (Replica and ScanNet: 0.1 to 10) unless an option
    gives them."""
    prefer_scene_bounds: tyro.conf.Suppress[bool] = False
    """Whether bounds of the data set win over those of the options, as they did when options had a value of their own
    by default; set in configurations of that time, whose runs are to be rendered as they were trained."""
    opacity_loss_weight: float = 0.01
    """Weight of the loss that drives the accumulated opacity of every ray to 1. Set it to 0 for images with
    transparency."""
    semantic_loss_weight: float = 0.04
    """Weight of the cross-entropy relative to the colour loss (Zhi et al. 2021, section 3.2). It matters only where
    semantics share features or geometry with colour: for a separate semantic grid Adam cancels it."""
    pass_semantic_gradients: bool = False
    """Let the semantic loss also train geometry and the features shared with colour."""
    geometry_fraction: float = 0.0
    """Fraction of training, from its start, during which the semantic loss trains geometry in any case if labels are
    complete (see `are_complete`). Labels flatten untextured walls, whose depth colour leaves undetermined. 0 disables
    it."""
    semantic_width: int = 64
    """Width of the hidden layer of the semantic head."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; one from before `prefer_scene_bounds` gets it as True."""
        self.__dict__.update({"prefer_scene_bounds": True} | state)


@dataclass
class HashGridOptions(SemanticOptions):
    """Options of the models whose field is on a hash grid; to be listed as :class:`SemanticOptions` are."""

    implementation: Literal["tcnn", "torch"] = "torch"
    """Library for networks and hash grids: torch runs everywhere; tcnn needs CUDA and an installed tiny-cuda-nn."""
    hash_backend: Backend = "auto"
    """Kernels for the hash grids of the torch implementation: numba (CPU), triton (CUDA), torch (everywhere, slow), or
    the fastest available (auto)."""
    semantic_features: Literal["own", "shared"] = "own"
    """Features for semantics: a separate hash grid (own), or the features that colour uses (shared)."""
    semantic_levels: int = 6
    """Number of levels of the separate semantic hash grid."""
    semantic_max_res: int = 512
    """Resolution of the finest level of the separate semantic hash grid, in cells per axis."""
    near_camera_loss_weight: float = 0.02
    """Weight of the penalty on rendering weight close to the camera, which prevents floaters before the lens. 0
    disables it."""
    near_camera_boost: float = 2.5
    """Factor on the near-camera weight at the start of training, when a floater can still be removed easily."""
    near_camera_ramp: tuple[float, float] = (0.1, 0.4)
    """Fractions of training between which the near-camera boost falls to 1."""
    near_camera_reach: float = 0.65
    """Distance from the camera at which the near-camera penalty ends, relative to half the extent of the camera
    positions. Cameras in one place have no parallax, and no penalty."""
    near_camera_depth_reach: float = 0.75
    """Largest distance at which the near-camera penalty ends, relative to the typical depth of the images: by their
    depth images, or else by stereo between a few of them. It counts where cameras spread farther than they see, as
    along a corridor. Cameras in nearly one place have a penalty of at least .4 times that distance. 0 sets no limit."""
    unseen_ray_share: float = 0.05
    """Number of unseen rays added to each batch, as a share of its size. They start between the training cameras, have
    no colour target, and carry only the near-camera penalty. 0 disables them."""
    depth_loss_weight: float = 0.01
    """Weight of the loss that makes rays end where the depth images of the training frames say, if the scene has such
    images and they agree with each other. 0 leaves them out of training, as published protocols do."""
    depth_loss_boost: float = 5.0
    """Factor on that weight at the start of training, before colours have put far surfaces too near, where no light
    passes them any more."""
    depth_loss_ramp: tuple[float, float] = (0.1, 0.4)
    """Fractions of training between which the boost of depth falls to 1."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration; a run from before an option goes on as it did without it."""
        super().__setstate__({"depth_loss_weight": 0.0, "near_camera_depth_reach": 0.0} | state)

    def check_collider(self) -> None:
        """Refuse nerfstudio's options of a collider, on which these models, as nerfacto, have nothing to act.

        Raises:
            SceneError: one of them is not as it is by default.
        """
        default = type(self)()
        for name in ("enable_collider", "collider_params"):
            value = getattr(self, name)
            if value != getattr(default, name):
                raise SceneError(
                    f"Expected no --pipeline.model.{name.replace('_', '-')}, which this method does not use, found "
                    f"{value}; leave it out, and give --pipeline.model.near-plane and --pipeline.model.far-plane."
                )

    def check_price(self) -> None:
        """Refuse numbers that the price close to the camera, and the loss of depth, cannot have.

        Raises:
            SceneError: one of them is negative or not finite.
        """
        price = ("near_camera_loss_weight", "near_camera_boost", "near_camera_reach", "near_camera_depth_reach")
        for name in (*price, "unseen_ray_share", "depth_loss_weight", "depth_loss_boost"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:  # NaN fails this, too
                raise SceneError(
                    f"Expected a finite number of 0 or more for --pipeline.model.{name.replace('_', '-')}, found "
                    f"{value:g}; 0 means none."
                )
