"""The frames of all scenes of a run, each read when it is asked for."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.io.console import without_routine
from semantic_ns.many_scenes.camera_noise import turned
from semantic_ns.many_scenes.scene_frames import FrameCache, SceneFrames, frames_of

SHELF = "scene_shelf"
"""Key in the metadata of the data set that nerfstudio sees: the `SceneShelf`, from which models take source views."""
SCENE = "scene_number"
"""Key in the metadata of a camera: number of its scene among the scored ones, [..., 1]; the shown scene if left out."""

_COLOR_AND_LABEL, _DEPTH, _MASK = 3 + 2, 4, 1
"""Bytes of a pixel."""
_SHOWN = -1
"""Number of the shown scene where it is none of the scored ones."""


class SceneShelf:
    """The frames of training scenes, and the source frames of scored ones.

    Attributes:
        source_noise_deg: the option below.

    Args:
        parser: reads the scenes.
        max_width: wider images are made smaller.
        max_bytes: memory for what is read of the training scenes, and as much for that of the scored ones.
        scale_factor: size of the images relative to their files, before `max_width`.
        complete: what is done to the frames of a training scene before the first one is read.
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
        complete: Callable[[SceneFrames], SceneFrames] = lambda frames: frames,
        source_noise_deg: float = 0.0,
    ) -> None:
        self._parser, self._max_width, self._scale_factor = parser, max_width, scale_factor
        self._complete, self.source_noise_deg = complete, source_noise_deg
        self.training_cache, self.source_cache = FrameCache(max_bytes), FrameCache(max_bytes)
        self._training: dict[int, SceneFrames] = {}
        self._sources: dict[int, SceneFrames] = {}

    @cached_property
    def _training_sizes(self) -> tuple[tuple[int, int], ...]:
        """Number of frames of each training scene, and memory that they need."""
        found = []
        for number in range(len(self._parser.training_scenes)):
            frames = self.training(number)
            per_pixel = _COLOR_AND_LABEL + _DEPTH * frames.has_depth + _MASK * (frames.read_mask is not None)
            height, width = frames.size
            found.append((len(frames), len(frames) * height * width * per_pixel))
        return tuple(found)

    @cached_property
    def num_training_frames(self) -> tuple[int, ...]:
        """Number of frames to train on of each training scene; no image is read for it."""
        return tuple(count for count, _ in self._training_sizes)

    @cached_property
    def training_bytes(self) -> tuple[int, ...]:
        """Memory that the frames of each training scene need; no image is read for it."""
        return tuple(size for _, size in self._training_sizes)

    def training(self, number: int) -> SceneFrames:
        """All frames to train on of a training scene."""
        if number not in self._training:
            outputs = self._parser.training_outputs(self._parser.training_scenes[number])
            dataset = SemanticDataset(outputs, self._scale_factor)
            frames = frames_of(dataset, self._max_width, self.training_cache.of_scene(number))
            self._training[number] = self._complete(frames)
        return self._training[number]

    def sources(self, number: int | None = None) -> SceneFrames:
        """The source frames of a scored scene; without a number, of the one that is shown."""
        number = self.shown_number if number is None else number
        number = _SHOWN if number is None else number
        if number not in self._sources:
            self._sources[number] = self._source_frames(number)
        return self._sources[number]

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

    def _source_frames(self, number: int) -> SceneFrames:
        parser = self._parser
        scene = parser.shown_scene if number == _SHOWN else parser.scored_scenes[number]
        dataset = SemanticDataset(parser.scored_outputs(scene, "train"), self._scale_factor)
        frames = frames_of(dataset, self._max_width, self.source_cache.of_scene(number))
        if self.source_noise_deg == 0:
            return frames
        generator = torch.Generator().manual_seed(max(number, 0))
        return replace(frames, noisy_cameras=turned(frames.cameras, self.source_noise_deg, generator))
