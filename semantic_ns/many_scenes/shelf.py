"""The views of all scenes of a run, each read when it is first asked for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Int16
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.io.console import without_routine
from semantic_ns.many_scenes.camera_noise import turned
from semantic_ns.many_scenes.views import SceneViews, ViewCache, read_labels, read_views, reduced_size

SHELF = "scene_shelf"
"""Key in the metadata of the data set that nerfstudio sees: the `SceneShelf`, from which models take source views."""
SCENE = "scene_number"
"""Key in the metadata of a camera: number of its scene among the scored ones, [..., 1]; the shown scene if left out."""

_BYTES_PER_PIXEL = 3 + 2 + 4
"""Memory of a pixel's colour, label and depth."""
_SHOWN = -1
"""Number of the shown scene where it is none of the scored ones."""


class SceneShelf:
    """The frames of training scenes, and the source frames of scored ones.

    Attributes:
        source_noise_deg: the option below.

    Args:
        parser: reads the scenes.
        max_width: wider images are made smaller.
        max_bytes: memory for views of each kind.
        scale_factor: size of the images relative to their files, before `max_width`.
        complete: what is done to the frames of a training scene when they are read.
        source_noise_deg: largest angle by which the cameras of scored scenes' sources are turned, see `turned`; the
            same angles each time.
    """

    def __init__(
        self,
        parser: ManyScenesDataParser,
        max_width: int | None,
        max_bytes: int,
        *,
        scale_factor: float = 1.0,
        complete: Callable[[SceneViews], SceneViews] = lambda views: views,
        source_noise_deg: float = 0.0,
    ) -> None:
        self._parser, self._max_width, self._scale_factor = parser, max_width, scale_factor
        self._complete, self.source_noise_deg = complete, source_noise_deg
        self._training = ViewCache(self._read_training, max_bytes)
        self._sources = ViewCache(self._read_sources, max_bytes)

    @cached_property
    def _training_sizes(self) -> tuple[tuple[int, int], ...]:
        """Number of frames of each training scene, and memory that they need with depth."""
        found = []
        for number in range(len(self._parser.training_scenes)):
            dataset = self._training_dataset(number)
            height, width = reduced_size(dataset.cameras, self._max_width)
            per_pixel = _BYTES_PER_PIXEL + (keys.MASK_FILENAMES in dataset.metadata)
            found.append((len(dataset), len(dataset) * height * width * per_pixel))
        return tuple(found)

    @property
    def num_training_frames(self) -> tuple[int, ...]:
        """Number of frames to train on of each training scene; no image is read for it."""
        return tuple(count for count, _ in self._training_sizes)

    @property
    def training_bytes(self) -> tuple[int, ...]:
        """Memory that the frames of each training scene need if they have depth; no image is read for it."""
        return tuple(size for _, size in self._training_sizes)

    def training_labels(self, number: int) -> Iterator[Int16[Tensor, "height width"]]:
        """Labels of the frames to train on of a training scene, one after the other; nothing else is read or kept."""
        return read_labels(self._training_dataset(number), self._max_width)

    def training(self, number: int) -> SceneViews:
        """All frames to train on of a training scene."""
        return self._training[number]

    def sources(self, number: int | None = None) -> SceneViews:
        """The source frames of a scored scene; without a number, of the one that is shown."""
        number = self.shown_number if number is None else number
        return self._sources[_SHOWN if number is None else number]

    @cached_property
    def shown_number(self) -> int | None:
        """Number of the shown scene among the scored ones, if it is one of them."""
        scenes = self._parser.scored_scenes
        return scenes.index(self._parser.shown_scene) if self._parser.shown_scene in scenes else None

    def name_of(self, number: int | None) -> str:
        """Name of a scored scene; without a number, of the one that is shown."""
        return self._parser.shown_scene.name if number is None else self.scored_names[number]

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Names of the scored scenes, in the order of their numbers."""
        return tuple(scene.name for scene in self._parser.scored_scenes)

    @cached_property
    def num_source_frames(self) -> tuple[int, int]:
        """Number of source frames of all scored scenes that have a label image, and of all of them; none is read."""
        parser = self._parser
        with without_routine():
            outputs = [parser.scored_outputs(scene, "train") for scene in parser.scored_scenes]
        files = [path for one in outputs for path in one.metadata[keys.LABEL_FILENAMES]]
        return sum(path is not None for path in files), len(files)

    def _read_training(self, number: int) -> SceneViews:
        return self._complete(read_views(self._training_dataset(number), self._max_width))

    def _training_dataset(self, number: int) -> SemanticDataset:
        outputs = self._parser.training_outputs(self._parser.training_scenes[number])
        return SemanticDataset(outputs, self._scale_factor)

    def _read_sources(self, number: int) -> SceneViews:
        parser = self._parser
        scene = parser.shown_scene if number == _SHOWN else parser.scored_scenes[number]
        views = self._views(parser.scored_outputs(scene, "train"))
        if self.source_noise_deg == 0:
            return views
        generator = torch.Generator().manual_seed(max(number, 0))
        return replace(views, noisy_cameras=turned(views.cameras, self.source_noise_deg, generator))

    def _views(self, outputs: DataparserOutputs) -> SceneViews:
        return read_views(SemanticDataset(outputs, self._scale_factor), self._max_width)
