"""A scene of numbered frames from one pinhole camera, and how nerfstudio gets each split of it."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.splits import Split
from semantic_ns.geometry import poses
from semantic_ns.labels.label_map import LabelMap


@dataclass(frozen=True)
class PosedFrame(scene.FrameFiles):
    """A frame with its number and its OpenCV camera-to-world pose in metres; `pose_name` names the pose in errors."""

    id: int
    pose_name: str
    c2w_opencv: Float[ndarray, "4 4"]


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels, pixel centres at +0.5, and the size (width, height) of images."""

    fx: float
    fy: float
    cx: float
    cy: float
    size: scene.ImageSize


@dataclass(frozen=True)
class PosedScene:
    """Everything that the splits share.

    Attributes:
        frames: frames of every split, by ascending number.
        intrinsics: pinhole intrinsics shared by all frames.
        classes: class table of the scene.
        label_map: map from the ids in the label images to those of the classes; None where they are the same.
        split: indices into `frames`.
        similarity: transform from the world frame, z up, to scene units.
        depth_metres_per_unit: scale of the depth images, in metres per stored unit.
        further_metadata: the same in every split.
    """

    frames: tuple[PosedFrame, ...]
    intrinsics: Intrinsics
    classes: scene.SceneClasses
    label_map: LabelMap | None
    split: Split
    similarity: poses.Similarity
    depth_metres_per_unit: float
    further_metadata: keys.Metadata = field(default_factory=dict)

    def outputs(self, split: str) -> DataparserOutputs:
        """The frames of `train`, or of every other name the scored ones."""
        frames = [self.frames[i] for i in (self.split.train if split == "train" else self.split.eval)]
        metres_per_unit = 1 / self.similarity.scale
        shared = scene.scene_metadata(
            self.classes.taxonomy, self.split.sentence, metres_per_unit, near_far_m=None, label_map=self.label_map
        )
        names = scene.frame_names(self.frames)
        return DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=self._cameras(frames),
            scene_box=SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
            dataparser_scale=self.similarity.scale,
            dataparser_transform=torch.from_numpy(self.similarity.transform).float(),
            metadata={
                **shared,
                **scene.frame_metadata(frames, names, self.depth_metres_per_unit),
                **self.further_metadata,
            },
        )

    def _cameras(self, frames: list[PosedFrame]) -> Cameras:
        c2w = poses.opencv_to_opengl(np.stack([frame.c2w_opencv for frame in frames]))
        width, height = self.intrinsics.size
        return Cameras(
            camera_to_worlds=torch.from_numpy(self.similarity.apply_to_poses(c2w)).float(),
            # Plain numbers: nerfstudio keeps those of numpy in double precision.
            fx=float(self.intrinsics.fx),
            fy=float(self.intrinsics.fy),
            cx=float(self.intrinsics.cx),
            cy=float(self.intrinsics.cy),
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
        )
