"""The part of a scene that is exported: what lies in a box."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import OrientedBox
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.geometry.world import world_from_scene

Three = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Crop:
    """A box in the world of the scene's files.

    Attributes:
        axes: From the world to the box: what turns a point into coordinates along its sides.
        centre: Its middle.
        sides: Lengths of its sides.
    """

    axes: Float64[ndarray, "3 3"]
    centre: Float64[ndarray, "3"]
    sides: Float64[ndarray, "3"]

    @classmethod
    def of_viewer(cls, center: Three, rotation: Three, scale: Three, outputs: DataparserOutputs) -> "Crop":
        """The box of a crop in nerfstudio's viewer, whose Export panel prints these numbers.

        Args:
            center: Its middle in scene units.
            rotation: Roll, pitch and yaw, radians.
            scale: Lengths of its sides in scene units.
            outputs: The scene, or a split of it.

        Raises:
            SceneError: if a number is not finite, or a side is not above 0.
        """
        numbers = np.array([center, rotation, scale], np.float64)
        if not np.isfinite(numbers).all() or (numbers[2] <= 0).any():
            raise SceneError(
                f"Expected finite numbers, and sides above 0, for the box of --obb-center, --obb-rotation and "
                f"--obb-scale, found {center}, {rotation} and {scale}; copy them from the Export panel of ns-viewer."
            )
        box = OrientedBox.from_params(center, rotation, scale)
        matrix = world_from_scene(outputs, torch.float64).numpy()
        turned = matrix[:, :3] * float(outputs.dataparser_scale)
        middle = matrix[:, :3] @ numbers[0] + matrix[:, 3]
        return cls((turned @ box.R.double().numpy()).T, middle, numbers[2] / float(outputs.dataparser_scale))

    def contains(self, points: Float[ndarray, "points 3"]) -> Bool[ndarray, "points"]:
        """Which points of the world lie in the box."""
        return (np.abs((points - self.centre) @ self.axes.T) < self.sides / 2).all(axis=1)

    def refuse_nothing(self, is_left: bool) -> None:
        """Check that something is left.

        Raises:
            SceneError: if nothing is.
        """
        if not is_left:
            middle, sides = (", ".join(f"{value:.3g}" for value in values) for values in (self.centre, self.sides))
            raise SceneError(
                f"Expected a surface in the box of --obb-center, --obb-rotation and --obb-scale, found none; it has "
                f"its middle at ({middle}) and sides of {sides} in the world of the scene's files. Copy the "
                "numbers from the Export panel of ns-viewer, which are in its units."
            )
