"""The end of an export of points to which no ray adds one; nerfstudio's own would wait for ever."""

from collections.abc import Sequence

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor

from semantic_ns.commands import crop_box_of_export
from semantic_ns.errors import SceneError

IS_IN_CROP_BOX = "is_in_crop_box"
"""Output of single rays of an export with a crop box: whether their point lies in it, [rays] bool."""
_MOST_EMPTY_RAYS = 1_000_000
_LEAST_OPACITY = 0.5
"""Above it a ray gives a point of `ns-export pointcloud`."""


class EmptyRays:
    """Counts the rays that gave no point, one after the other.

    Args:
        arguments: Command line, whose options `--obb-*` are the crop box; that of this process by default.
    """

    def __init__(self, arguments: Sequence[str] | None = None) -> None:
        given = crop_box_of_export(arguments)
        self._box = None if given is None else OrientedBox.from_params(*given)
        self._num_without_surface = 0
        self._num_outside = 0

    @torch.no_grad()
    def described(self, depth: Tensor, rays: RayBundle) -> dict[str, Tensor]:
        """`IS_IN_CROP_BOX` of rays with their depths [rays, 1], as the export takes points; nothing without a box."""
        if self._box is None:
            return {}
        return {IS_IN_CROP_BOX: self._box.within(rays.origins + rays.directions * depth)}

    def count(self, opacity: Tensor, is_in_crop_box: Tensor | None) -> None:
        """Count rays of which none gives a point, and start again where one does.

        Args:
            opacity: Share of the light that each ray loses, [rays].
            is_in_crop_box: `IS_IN_CROP_BOX`, or None without a box.

        Raises:
            SceneError: if so many rays one after the other gave no point that no point cloud will come of them.
        """
        has_surface = opacity > _LEAST_OPACITY
        has_point = has_surface if is_in_crop_box is None else has_surface & is_in_crop_box
        self._num_without_surface = 0 if bool(has_surface.any()) else self._num_without_surface + len(opacity)
        self._num_outside = 0 if bool(has_point.any()) else self._num_outside + len(opacity)
        if self._num_without_surface >= _MOST_EMPTY_RAYS:
            raise SceneError(
                f"Expected surfaces for a point cloud, found that none of {self._num_without_surface} rays of training "
                "views loses more than half of its light; train the run for longer."
            )
        if self._num_outside >= _MOST_EMPTY_RAYS:
            raise SceneError(
                f"Expected points inside the crop box of --obb-center, --obb-rotation and --obb-scale, found none on "
                f"{self._num_outside} rays of training views; move or enlarge the box, which is in scene units as the "
                "viewer shows it."
            )
