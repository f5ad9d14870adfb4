"""The frames of a parsed scene as the checks need them: OpenCV poses in metres, classes and planar depth by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float, Float32, Int16
from numpy import ndarray


@dataclass(frozen=True)
class InspectedScene:
    """All frames of a scene, in the order of their file names.

    Attributes:
        images: colour image of each frame.
        exif_orientations: EXIF orientation 1..8 of each image, 1 where pixels are stored upright.
        c2w: OpenCV camera to world as the files say, metres.
        intrinsics: fx, fy, cx, cy of each frame in pixels, pixel centres at +0.5.
        sizes: width and height of each image.
        read_labels: classes -1..C-1 (-1 is void) of a frame [H, W].
        read_depth: planar depth of a frame in metres [H, W], 0 where unknown; None where the scene has no depth.
        metres_per_depth_unit: scale of the depth images, in metres per stored unit.
        has_opengl_files: whether the pose files hold OpenGL cameras (nerfstudio, Hypersim) instead of OpenCV ones.
        is_depth_rendered: whether depth was rendered by a trained scene, so that it has the scale of the poses.
    """

    images: tuple[Path, ...]
    exif_orientations: tuple[int, ...]
    c2w: Float[ndarray, "frames 4 4"]
    intrinsics: Float[ndarray, "frames 4"]
    sizes: tuple[tuple[int, int], ...]
    read_labels: Callable[[int], Int16[ndarray, "height width"]]
    read_depth: Callable[[int], Float32[ndarray, "height width"]] | None
    metres_per_depth_unit: float
    has_opengl_files: bool
    is_depth_rendered: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first image."""
        return self.sizes[0]

    def of_frames(self, chosen: Sequence[int]) -> "InspectedScene":
        """The scene of some of the frames."""
        read_depth = self.read_depth
        return replace(
            self,
            images=tuple(self.images[index] for index in chosen),
            exif_orientations=tuple(self.exif_orientations[index] for index in chosen),
            c2w=self.c2w[list(chosen)],
            intrinsics=self.intrinsics[list(chosen)],
            sizes=tuple(self.sizes[index] for index in chosen),
            read_labels=lambda index: self.read_labels(chosen[index]),
            read_depth=None if read_depth is None else lambda index: read_depth(chosen[index]),
        )

    def __len__(self) -> int:
        return len(self.images)
