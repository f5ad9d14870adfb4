"""The views of a scene, with depth that is given or that a trained run renders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float32, Int16
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig
from numpy import ndarray

from semantic_ns.batch import planar_depth_m
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.fusion.label_fusion import View
from semantic_ns.interfaces import RenderingModel
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.taxonomy import Taxonomy

Frames = Literal["all", "train", "test"]


@dataclass(frozen=True, eq=False)
class SceneView:
    """One frame of a parsed scene.

    Attributes:
        dataset: the split that holds it.
        index: its place there.
    """

    dataset: SemanticDataset
    index: int

    @property
    def image(self) -> Path:
        """Its colour image."""
        return self.dataset.image_filenames[self.index]

    @property
    def label_stem(self) -> str:
        """Name of its files without suffix, see `metadata.FRAME_NAMES`: mostly that of its label image in the scene."""
        return self.dataset.metadata[keys.FRAME_NAMES][self.index]

    @property
    def camera(self) -> Cameras:
        """Its camera in scene units."""
        return self.dataset.cameras[self.index : self.index + 1]

    @property
    def size(self) -> tuple[int, int]:
        """Height, width."""
        return int(self.camera.height), int(self.camera.width)

    @property
    def labels(self) -> Int16[ndarray, "height width"]:
        """The scene's own labels, -1..C-1."""
        return self.dataset.labels_of(self.index)

    def given_depth(self) -> Float32[ndarray, "height width"]:
        """Depth of the scene's files in metres, 0 where unknown.

        Raises:
            SceneError: if the scene has none.
        """
        depth_m = self.dataset.depth_of(self.index)
        if depth_m is None:
            raise SceneError(
                f"Expected depth images in the scene, found none for {self.image}; train the scene and fuse with "
                "--depth rendered --load-config <run>/config.yml."
            )
        return depth_m

    def rendered_depth(self, model: RenderingModel) -> Float32[ndarray, "height width"]:
        """Depth that a model of the scene renders, in metres."""
        with torch.no_grad(), model.raw_outputs():
            outputs = model.get_outputs_for_camera(self.camera.to(model.device))
        return planar_depth_m(outputs, self.dataset.metadata[keys.METRES_PER_UNIT])[..., 0].cpu().numpy()

    def with_depth(self, depth_m: Float32[ndarray, "height width"]) -> View:
        """The view as fusion takes it."""
        camera = self.camera[0]
        c2w = np.eye(4)
        c2w[:3] = camera.camera_to_worlds.double().numpy()
        c2w[:3, 3] *= self.dataset.metadata[keys.METRES_PER_UNIT]
        intrinsics = np.array([float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")])
        return View(np.ascontiguousarray(depth_m), c2w, intrinsics)


@dataclass(frozen=True)
class SceneViews:
    """The views that are fused with each other.

    Attributes:
        views: views in the order of their split; training views first.
        taxonomy: the classes of the scene.
        label_map: map from the ids in its label images to those of the classes; None where they are the same.
        split: sentence that says which frames train and which are scored.
        void_rule: what becomes of void pixels, as a sentence.
    """

    views: Sequence[SceneView]
    taxonomy: Taxonomy
    label_map: LabelMap | None
    split: str
    void_rule: str


def read_views(config: DataParserConfig, frames: Frames) -> SceneViews:
    """Read a scene by its dataparser.

    Args:
        config: configuration of one of this package's dataparsers.
        frames: the views of which split.

    Raises:
        SceneError: if the scene cannot be used, or its cameras have lens distortion that cannot be undone.
    """
    parser = cast(DataParser, config.setup())
    chosen: dict[Path, SceneView] = {}
    metadata: keys.Metadata = {}
    for name, split in (("train", "train"), ("test", "val")):
        if frames in (name, "all"):
            dataset = PinholeDataset(parser.get_dataparser_outputs(split))
            refuse_distortion(dataset)  # of a kind that cannot be undone
            metadata = dataset.metadata
            for view in (SceneView(dataset, index) for index in range(len(dataset))):
                chosen.setdefault(view.image, view)
    return SceneViews(
        views=tuple(chosen.values()),
        taxonomy=metadata[keys.TAXONOMY],
        label_map=metadata[keys.LABEL_MAP],
        split=metadata[keys.SPLIT],
        void_rule=metadata[keys.VOID_RULE],
    )


def refuse_distortion(dataset: SemanticDataset) -> None:
    """Check that views can be projected into each other.

    Raises:
        SceneError: if the cameras have lens distortion.
    """
    parameters = dataset.cameras.distortion_params
    if parameters is not None and bool((parameters != 0).any()):
        raise SceneError(
            f"Expected cameras without lens distortion, found distortion parameters of {dataset.image_filenames[0]}; "
            "undistort images and labels first."
        )
