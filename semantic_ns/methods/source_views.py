"""What models share that see a new view from a few source views: they render whole images, without rays of their own."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.shelf import SCENE, SHELF, SceneShelf
from semantic_ns.many_scenes.source_selection import Selection, are_same_image, select_sources
from semantic_ns.many_scenes.views import SceneViews, view_cameras

Features = TypeVar("Features")
_NUM_KEPT = 64


@dataclass
class SourceViewsConfig(ModelConfig):
    """Options of models that see a new view from a few source views."""

    num_source_views: int = 3
    """Number of source frames from which an image is rendered; it can be changed at any time."""
    source_selection: Selection = "coverage"
    """Rule by which source frames are chosen: coverage adds the frame that shows most of what the others do not,
    nearest takes the closest ones."""
    use_source_labels: bool = True
    """Where source frames have labels, let these have a say in what is rendered. Scores without any label of the scene
    need False."""


class FrameFeatures(Generic[Features]):
    """What a network makes of single frames, kept while its weights stay."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], Features] = OrderedDict()

    def forget(self) -> None:
        """Forget all: the weights change."""
        self._kept.clear()

    def get(self, key: tuple[int, int]) -> Features | None:
        """The features of a frame (scene, frame) if they are kept."""
        return self._kept.get(key)

    def keep(self, key: tuple[int, int], features: Features) -> None:
        """Keep the features of a frame; the oldest ones go."""
        self._kept[key] = features
        while len(self._kept) > _NUM_KEPT:
            self._kept.popitem(last=False)
