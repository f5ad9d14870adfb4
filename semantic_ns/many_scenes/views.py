"""The frames of one scene as a method for many scenes sees them: images, cameras in metres, labels and depth."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float32, Int16, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.labels.taxonomy import VOID


@dataclass(frozen=True, eq=False)
class SceneViews:
    """N frames of a scene, of one size, in memory; `SceneFrames` are those that are read when they are asked for.

    Attributes:
        images: colours.
        cameras: cameras in metres.
        labels: classes 0..C-1, void -1.
        depths_m: planar depth in metres, 0 where unknown; None where the scene has none.
        metres_per_unit: metres per scene unit of nerfstudio's cameras.
        masks: which pixels are used; None where all are. The others are void, and of unknown depth.
        noisy_cameras: wrong cameras, which a model gets in place of the exact ones; None where there is no noise.
    """

    images: UInt8[Tensor, "frames height width 3"]
    cameras: ViewCameras
    labels: Int16[Tensor, "frames height width"]
    depths_m: Float32[Tensor, "frames height width"] | None
    metres_per_unit: float
    masks: Bool[Tensor, "frames height width"] | None = None
    noisy_cameras: ViewCameras | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def has_depth(self) -> bool:
        """Whether the scene has depth."""
        return self.depths_m is not None

    def masked(self, masks: Bool[Tensor, "frames height width"]) -> "SceneViews":
        """The same frames, of which only some pixels are used."""
        depths = None if self.depths_m is None else self.depths_m.where(masks, 0.0)
        return replace(self, labels=self.labels.masked_fill(~masks, VOID), depths_m=depths, masks=masks)

    def masks_of(
        self, chosen: Int64[Tensor, "chosen"], device: torch.device | str
    ) -> Bool[Tensor, "chosen height width"] | None:
        """Which pixels of some frames are used; None where all are."""
        return None if self.masks is None else self.masks[chosen].to(device)

    @property
    def known_cameras(self) -> ViewCameras:
        """The cameras as a model knows them; which frames are which is told by the exact ones."""
        return self.cameras if self.noisy_cameras is None else self.noisy_cameras

    def colors(self, chosen: Int64[Tensor, "chosen"]) -> Float32[Tensor, "chosen 3 height width"]:
        """Colours 0..1 of some frames."""
        return colors_of_bytes(self.images[chosen])

    def labels_of(self, chosen: Int64[Tensor, "chosen"]) -> Int16[Tensor, "chosen height width"]:
        """Classes of some frames, void -1."""
        return self.labels[chosen]

    def depths_of(self, chosen: Int64[Tensor, "chosen"]) -> Float32[Tensor, "chosen height width"] | None:
        """Planar depth of some frames in metres, 0 where unknown; None where the scene has none."""
        return None if self.depths_m is None else self.depths_m[chosen]


def colors_of_bytes(images: UInt8[Tensor, "frames height width 3"]) -> Float32[Tensor, "frames 3 height width"]:
    """Colours 0..1 of images of bytes."""
    return images.permute(0, 3, 1, 2).float() / 255


def view_cameras(cameras: Cameras, metres_per_unit: float) -> ViewCameras:
    """Cameras of nerfstudio, [N] or [N, 1...], in metres.

    Raises:
        SceneError: if a camera is no pinhole camera without distortion.
    """
    flat = cameras.flatten()
    if bool((flat.camera_type != CameraType.PERSPECTIVE.value).any()):
        raise SceneError(
            "Expected perspective cameras for a method that compares views, found others; undistort the images, for "
            "example with COLMAP's image_undistorter."
        )
    if flat.distortion_params is not None and bool((flat.distortion_params != 0).any()):
        raise SceneError(
            "Expected images without lens distortion for a method that compares views, found distortion parameters; "
            "undistort the images, for example with COLMAP's image_undistorter."
        )
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(flat), 1, 1)
    c2w[:, :3] = flat.camera_to_worlds.double().cpu()
    # From OpenGL's axes to OpenCV's.
    c2w[:, :3, 1:3] *= -1
    c2w[:, :3, 3] *= metres_per_unit
    width, height = flat.width[:, 0].double(), flat.height[:, 0].double()
    parts = (flat.fx[:, 0] / width, flat.fy[:, 0] / height, flat.cx[:, 0] / width, flat.cy[:, 0] / height)
    return ViewCameras(c2w, torch.stack([part.double().cpu() for part in parts], dim=-1))


def reduced_size(cameras: Cameras, max_width: int | None = None) -> tuple[int, int]:
    """Height and width of the images of a scene that is read with `max_width`."""
    height, width = int(cameras.height.flatten()[0]), int(cameras.width.flatten()[0])
    factor = min(1.0, (max_width or width) / width)
    return max(1, round(height * factor)), round(width * factor)
