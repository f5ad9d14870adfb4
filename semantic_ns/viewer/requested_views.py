"""Pictures of a model while it trains, which another process asks for by `view_requests`."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from PIL import Image

from semantic_ns.evaluation.veil_of_model import undisturbed
from semantic_ns.interfaces import PipelineLike
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import replacing, write_json
from semantic_ns.viewer.view_requests import ASKED, CAMERAS, VARIABLE, ViewRequest, picture_path

_QUALITY = 85


def camera_of(request: ViewRequest) -> Cameras:
    """The camera [1] that takes a picture."""
    focal = 0.5 * request.height / float(np.tan(0.5 * request.vertical_fov))
    return Cameras(
        torch.tensor(request.pose, dtype=torch.float32).view(1, 3, 4), fx=focal, fy=focal, cx=0.5 * request.width,
        cy=0.5 * request.height, width=request.width, height=request.height,
    )  # fmt: skip


class RequestedViews:
    """The side that trains.

    Args:
        pipeline: The pipeline.
        folder: The folder.
    """

    def __init__(self, pipeline: PipelineLike, folder: Path) -> None:
        self._pipeline, self._folder = pipeline, folder
        self._answered: tuple[int, int] | None = None
        self._newest: Path | None = None

    def callbacks(self) -> list[TrainingCallback]:
        """What nerfstudio's trainer is to call."""
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._describe),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self._answer, update_every_num_iters=1),
        ]

    def _describe(self, step: int) -> None:
        """Write the cameras once."""
        del step
        if (self._folder / CAMERAS).exists():
            return
        dataset = self._pipeline.datamanager.train_dataset
        cameras = dataset.cameras
        fovs = 2 * np.arctan(0.5 * cameras.height.view(-1).cpu().numpy() / cameras.fy.view(-1).cpu().numpy())
        content = {
            "images": [str(Path(path).resolve()) for path in dataset.image_filenames],
            "c2w": cameras.camera_to_worlds.view(-1, 12).tolist(),
            "vertical_fov": fovs.tolist(),
            "aspect": float(cameras.width.view(-1)[0] / cameras.height.view(-1)[0]),
        }
        with contextlib.suppress(OSError):  # such as of a full disk, over which no training is to end
            write_json(self._folder / CAMERAS, content)

    def _answer(self, step: int) -> None:
        """Render what is asked for, if there is a new request."""
        del step
        try:
            found = (self._folder / ASKED).stat()
        except OSError:
            return
        newest = found.st_mtime_ns, found.st_ino  # times alone are too coarse on some disks
        if newest == self._answered:
            return
        self._answered = newest
        model: Any = self._pipeline.model
        # A folder that was removed, a full disk, no request, too little memory: no training is to end over a picture.
        with contextlib.suppress(Exception), undisturbed(model):
            request = ViewRequest(**read_json(self._folder / ASKED))
            self._write(request, model.get_outputs_for_camera(camera_of(request).to(model.device))["rgb"])

    def _write(self, request: ViewRequest, color: torch.Tensor) -> None:
        path = picture_path(self._folder, request.number)
        with replacing(path) as temporary:
            image = Image.fromarray((color.clamp(0, 1) * 255).round().byte().cpu().numpy())
            image.save(temporary, "JPEG", quality=_QUALITY)
        if self._newest is not None and self._newest != path:
            self._newest.unlink(missing_ok=True)
        self._newest = path


def requested_views(pipeline: PipelineLike) -> list[TrainingCallback]:
    """The callbacks of a training of which somebody wants to see pictures; none if nobody does."""
    folder = os.environ.get(VARIABLE)
    return [] if not folder else RequestedViews(pipeline, Path(folder)).callbacks()
