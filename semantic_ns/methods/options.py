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
    """Train and render classes; without them the model is scored in colour and depth alone."""
    near_plane: float | None = None
    """Distance from the camera, in scene units, at which training rays start; without it that of the data set where
    `use_scene_bounds` finds one, else the method's own (0.05)."""
    far_plane: float | None = None
    """Distance from the camera, in scene units, at which rays end; without it that of the data set where
    `use_scene_bounds` finds one, else the method's own (1000)."""
    use_scene_bounds: bool = True
    """Take near and far plane from the data set where it states them in metres (Replica: 0.1 to 10) and no option
    gives them."""
    prefer_scene_bounds: tyro.conf.Suppress[bool] = False
    """Whether bounds of the data set win over those of the options, as they did when options had a value of their own
    by default; set in configurations of that time, whose runs are to be rendered as they were trained."""
    opacity_loss_weight: float = 0.01
    """Weight of the loss that wants every ray to end on something; only for images without transparency."""
    semantic_loss_weight: float = 0.04
    """Weight of the cross-entropy beside the colour loss (Zhi et al. 2021, section 3.2). Classes with a grid of their
    own train the same with any, for Adam divides it out; it matters where they share features or geometry."""
    pass_semantic_gradients: bool = False
    """Whether the semantic loss also trains geometry, and the features that classes share with colour."""
    geometry_fraction: float = 0.0
    """Share of the run, from its start, in which it does so anyway if labels are complete (see `are_complete`): they
    flatten plain walls, which colour leaves open."""
    semantic_width: int = 64
    """Width of the semantic hidden layer."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; one from before `prefer_scene_bounds` gets it as True."""
        self.__dict__.update({"prefer_scene_bounds": True} | state)


@dataclass
class HashGridOptions(SemanticOptions):
    """Options of the models whose field is on a hash grid; to be listed as :class:`SemanticOptions` are."""

    implementation: Literal["tcnn", "torch"] = "torch"
    """Networks and hash grids by torch (everywhere) or by tiny-cuda-nn (CUDA, where it is installed)."""
    hash_backend: Backend = "auto"
    """Hash grids of the torch implementation: numba (CPU), triton (CUDA), torch (slow, everywhere), or what fits."""
    semantic_features: Literal["own", "shared"] = "own"
    """Classes from a hash grid of their own, or from the features that colour is made of."""
    semantic_levels: int = 6
    """Levels of the classes' own hash grid."""
    semantic_max_res: int = 512
    """Cells per axis of its finest level."""
    near_camera_loss_weight: float = 0.02
    """Weight of the price of what a ray meets close to its camera, so that no veil hangs before a lens; 0: none."""
    near_camera_boost: float = 2.5
    """Factor on that weight at the start of the run, while a surface that hangs before the true one is still easily
    given up."""
    near_camera_ramp: tuple[float, float] = (0.1, 0.4)
    """Shares of the run between which that factor falls to 1."""
    near_camera_reach: float = 0.65
    """Distance from the camera at which the price ends, as a share of how far the cameras lie from their middle along
    an axis; cameras in one place have no parallax, and nothing a price."""
    unseen_ray_share: float = 0.05
    """Rays from between the training cameras that are added to each batch, as a share of it, and pay that price, too;
    0: none."""

    def check_price(self) -> None:
        """Refuse numbers that the price close to the camera cannot have.

        Raises:
            SceneError: one of them is negative or not finite.
        """
        for name in ("near_camera_loss_weight", "near_camera_boost", "near_camera_reach", "unseen_ray_share"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:  # NaN fails this, too
                raise SceneError(
                    f"Expected a finite number of 0 or more for --pipeline.model.{name.replace('_', '-')}, found "
                    f"{value:g}; 0 means none."
                )
