"""Classes of a run's Gaussians from the labels of a session, in closed form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.export.splat import pinhole_cameras
from semantic_ns.labelling.head_run import entries_of_session, write_run
from semantic_ns.labelling.spreading import REACHED
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.runs import Run
from semantic_ns.splatting.classes import shares_of
from semantic_ns.splatting.composite import Tiles
from semantic_ns.splatting.frame_memory import FrameMemories
from semantic_ns.splatting.project import PinholeCamera, every_nth, project
from semantic_ns.splatting.votes import VoteCounter
from semantic_ns.surface.sweep import sweep_stride

NUM_PIXELS = 1_200_000
"""Pixels of the training images whose labels vote, about."""
_LEAST_PROBABILITY = 1e-3
"""Of what a pixel shows, the least that has to have a class for the pixel to have one."""


class GaussianWorker:
    """A run of Gaussians whose classes are what the labels of a session vote for, as in `splatting.classes`.

    Labels have spread already, so that no vote is spread again.

    Args:
        run: The run.

    Attributes:
        stride: n; every n-th pixel along rows and columns of all frames votes.
        shape: Number of frames, rows and columns of these pixels.

    Raises:
        SceneError: if a camera is no pinhole camera.
    """

    def __init__(self, run: Run) -> None:
        self._run, dataset = run, run.pipeline.datamanager.train_dataset
        model: Any = run.pipeline.model  # a SemanticSplatfactoModel
        self._gaussians, self._colors = model.gaussians_on_cpu()
        self._is_antialiased: bool = model.is_antialiased
        self._cameras = pinhole_cameras(dataset)
        self.stride = sweep_stride([(camera.height, camera.width) for camera in self._cameras], NUM_PIXELS)
        self._coarse = [every_nth(camera, self.stride) for camera in self._cameras]
        self.shape = len(self._coarse), self._coarse[0].height, self._coarse[0].width
        self._class_ids: tuple[int, ...] = ()
        self._probabilities: Float[Tensor, "gaussians classes"] = torch.zeros(len(self._gaussians), 0)
        self._rendered: tuple[int, ndarray, ndarray] | None = None
        self._memories, self._counter = FrameMemories(), cast(VoteCounter | None, None)

    def train(self, labels: ndarray, confidence: ndarray, class_ids: Sequence[int]) -> tuple[ndarray, ndarray]:
        """Give the Gaussians the classes of a session.

        Args:
            labels: Class ids [frames, rows, columns] of the pixels that vote, -1 for none.
            confidence: How sure they are, 0..255. Labels far from any mark do not vote, since all votes weigh alike.
            class_ids: The classes of the session, ascending.

        Returns:
            What the Gaussians say of the same pixels: class ids, and confidence 0..255.
        """
        if self._counter is None or self._counter.num_classes != len(class_ids):
            self._counter = VoteCounter(self._gaussians, self._coarse, len(class_ids), self._is_antialiased)
        known = np.array(class_ids, np.int64)
        votes = (confidence >= 255 * REACHED) & np.isin(labels, known)
        classes = np.where(votes, np.searchsorted(known, labels), -1).astype(np.int32)
        images = [torch.from_numpy(image) for image in classes]
        counted = self._counter.count(images)
        found = shares_of(counted.counts)
        # Together, for if any of the above fails what was said before still holds.
        self._class_ids, self._probabilities, self._rendered = tuple(class_ids), found, None
        said, sure = zip(*(self._say(camera) for camera in self._coarse), strict=True)
        return np.stack(said), np.stack(sure)

    def render(self, frame: int, rows: Sequence[int] | None = None) -> tuple[ndarray, ndarray]:
        """What the Gaussians say of pixels [rows, width] of a frame: class ids, and confidence 0..255.

        Args:
            frame: The number of the frame.
            rows: The first row, and the one after the last; by default all of them.
        """
        first, end = (0, self._cameras[frame].height) if rows is None else rows
        if self._rendered is None or self._rendered[0] != frame:  # frames are asked for in pieces
            self._rendered = frame, *self._say(self._cameras[frame])
        _, labels, confidence = self._rendered
        return labels[first:end], confidence[first:end]

    def save(self, folder: Path, classes: Sequence[tuple[int, str, Sequence[int], bool | None]], void_id: int) -> Path:
        """Write the Gaussians with their classes as a run of its own, see `write_run`.

        Args:
            folder: A new folder.
            classes: Id, name, colour and, where it is known, whether it is a thing, of each class of the session.
            void_id: The id of void in the session.

        Raises:
            SceneError: if no label has given them a class, or `write_run` refuses.
        """
        if not bool(self._probabilities.any()):
            raise SceneError(
                "Expected Gaussians with a class to write them as a run, found none; mark something first."
            )
        entries = entries_of_session(self._run.model.taxonomy, classes)
        return write_run(self._run, folder, self._changes, entries, void_id)

    def _changes(self, taxonomy: Taxonomy) -> dict[str, Tensor]:
        """The classes of the Gaussians among all classes of a run."""
        found = torch.zeros(len(self._gaussians), taxonomy.num_classes)
        for place, number in enumerate(self._class_ids):
            if number in taxonomy.source_ids:
                found[:, taxonomy.source_ids.index(number)] = self._probabilities[:, place]
        return {"_model.class_probabilities": found}

    @torch.no_grad()
    def _say(self, camera: PinholeCamera) -> tuple[ndarray, ndarray]:
        height, width = camera.height, camera.width
        if not self._class_ids:
            return np.full((height, width), -1, np.int16), np.zeros((height, width), np.uint8)
        with self._memories.lent() as memory:
            projected = project(self._gaussians, camera, is_antialiased=self._is_antialiased, memory=memory)
            shares, left = Tiles.of(projected, height, width, memory).composite(self._probabilities, memory)
            best, places = shares.max(dim=-1)
            opacity = 1 - left
        has_class = best > _LEAST_PROBABILITY
        labels = torch.tensor(self._class_ids)[places].where(has_class, -1)
        confidence = (best / opacity.clamp(min=_LEAST_PROBABILITY)).clamp(0, 1).where(has_class, 0.0)
        return labels.numpy().astype(np.int16), (confidence * 255).round().numpy().astype(np.uint8)
