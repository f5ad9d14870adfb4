"""The process that has the classes of a run's field, or of its Gaussians, follow the labels of a session.

`python -m semantic_ns.labelling.head_worker RUN/config.yml` reads a request a line on its standard input, and answers
each by a line on its standard output, both JSON. It works on one thread with low priority, so that nobody waits for it
who labels, and holds nothing that is not in the session, so that it may be killed at any time.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.fields.class_rays import ClassRays, collect_rays
from semantic_ns.geometry.rays import FastRayGenerator
from semantic_ns.interfaces import can
from semantic_ns.io.writing import replacing
from semantic_ns.labelling.head_run import entries_of_session, read_config, write_head_run
from semantic_ns.labelling.head_training import HeadTargets, HeadTrainer
from semantic_ns.runs import Run, load_run
from semantic_ns.splatting.memory import lacks_memory
from semantic_ns.surface.sweep import sweep_stride, swept_pixels

NUM_RAYS = 300_000
"""Rays of the training images that are kept, about."""
_NICENESS = 15
_LOOK_S = 1.0
"""How often it looks whether the process that started it is still there."""


class HeadWorker:
    """A run with its rays and the head that is trained (slow to make: the run is loaded and its rays are rendered).

    Args:
        run: The run.
        optimizers: Optimiser configurations of its method, by parameter group.

    Attributes:
        stride: n; of every n-th pixel along rows and columns of all frames the rays are kept.
        shape: Number of frames, rows and columns of these pixels.
        rays: Their rays, frame by frame and row by row.
        trainer: The head.

    Raises:
        SceneError: if labels do not leave geometry and colours alone in such a run.
    """

    def __init__(self, run: Run, optimizers: dict[str, Any]) -> None:
        self._run, self._model = run, run.pipeline.model
        cameras = run.pipeline.datamanager.train_dataset.cameras
        self._generator = FastRayGenerator(cameras.to(self._model.device))
        height, width = int(cameras.height[0]), int(cameras.width[0])
        self._size = height, width
        self.stride = sweep_stride([self._size] * len(cameras), NUM_RAYS)
        pixels = [swept_pixels(frame, self._size, self.stride) for frame in range(len(cameras))]
        self.shape = len(pixels), *pixels[0].shape[:2]
        self.rays = self._collect(torch.cat([of_frame.view(-1, 3) for of_frame in pixels]))
        self.trainer = HeadTrainer(self._model.field, optimizers)

    def _collect(self, pixels: Any) -> ClassRays:
        return collect_rays(self._model, self._generator, pixels)

    def train(self, labels: ndarray, confidence: ndarray, class_ids: Sequence[int]) -> tuple[ndarray, ndarray]:
        """Train on the labels of a session; see `HeadTrainer`.

        Args:
            labels: Class ids [frames, rows, columns] of the pixels whose rays are kept, -1 for none.
            confidence: How sure they are, 0..255 for 0..1.
            class_ids: The classes of the session, ascending.

        Returns:
            What the field says of the same pixels: class ids, and confidence 0..255.
        """
        if tuple(class_ids) != self.trainer.class_ids:
            self.trainer.set_classes(class_ids)
        targets = HeadTargets(labels.reshape(-1), confidence.reshape(-1).astype(np.float32) / 255)
        self.trainer.train(self.rays, targets)
        said, sure = self.trainer.predict(self.rays)
        return said.reshape(self.shape), sure.reshape(self.shape)

    def say(self, rays: ClassRays) -> ndarray:
        """What the field says of other rays of the same run: class ids."""
        return self.trainer.predict(rays)[0]

    def render(self, frame: int, rows: Sequence[int] | None = None) -> tuple[ndarray, ndarray]:
        """What the field says of pixels [rows, width] of a frame: class ids, and confidence 0..255.

        Args:
            frame: The number of the frame.
            rows: The first row, and the one after the last; by default all of them.
        """
        first, end = (0, self._size[0]) if rows is None else rows
        pixels = swept_pixels(frame, self._size, 1)[first:end]
        said, sure = self.trainer.predict(self._collect(pixels.reshape(-1, 3)))
        return said.reshape(pixels.shape[:2]), sure.reshape(pixels.shape[:2])

    def save(self, folder: Path, classes: Sequence[tuple[int, str, Sequence[int], bool | None]], void_id: int) -> Path:
        """Write the head as a run of its own, see `write_head_run`.

        Args:
            folder: A new folder.
            classes: Id, name, colour and, where it is known, whether it is a thing, of each class of the session.
            void_id: The id of void in the session.

        Raises:
            SceneError: if no label has taught it anything, or `write_head_run` refuses.
        """
        if not self.trainer.is_trained:
            raise SceneError(
                "Expected a field that has learned a class to write it as a run, found none; mark something first."
            )
        entries = entries_of_session(self._run.model.taxonomy, classes)
        return write_head_run(self._run, folder, self.trainer.head, self.trainer.class_ids, entries, void_id)


@runtime_checkable  # for beartype in the tests
class ClassWorker(Protocol):
    """What follows a session: `HeadWorker`, or `GaussianWorker`, whose methods do the same."""

    @property
    def stride(self) -> int:
        """n; every n-th pixel along rows and columns of all frames is asked for."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, rows and columns of these pixels."""
        ...

    def train(self, labels: ndarray, confidence: ndarray, class_ids: Sequence[int]) -> tuple[ndarray, ndarray]:
        """Take the labels of a session, and say what the run then shows."""
        ...

    def render(self, frame: int, rows: Sequence[int] | None = None) -> tuple[ndarray, ndarray]:
        """What the run says of pixels of a frame."""
        ...

    def save(self, folder: Path, classes: Sequence[tuple[int, str, Sequence[int], bool | None]], void_id: int) -> Path:
        """Write a run of its own."""
        ...


def worker_of(load_config: Path) -> ClassWorker:
    """What follows a session on a run (slow to make).

    Raises:
        SceneError: if nothing can follow a session on such a run.
    """
    run = load_run(load_config)
    if can(run.model, "exports_gaussians"):
        from semantic_ns.labelling.gaussian_worker import GaussianWorker  # compiles kernels

        return GaussianWorker(run)
    return HeadWorker(run, read_config(load_config).optimizers)


def answers(begin: Callable[[], ClassWorker]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function that answers requests: `begin` first, then `train`, `render` and `save` in any order.

    Args:
        begin: A function that makes the worker.
    """
    made: list[ClassWorker] = []

    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        started, does = time.process_time(), request["do"]
        if does == "begin":
            made.append(begin())
            return {"stride": made[0].stride, "shape": list(made[0].shape), "seconds": time.process_time() - started}
        if does == "save":
            return {"path": str(made[0].save(Path(request["folder"]), request["classes"], request["void_id"]))}
        if does == "train":
            with np.load(request["targets"], allow_pickle=False) as given:
                found = made[0].train(given["labels"], given["confidence"], request["class_ids"])
        else:
            found = made[0].render(request["frame"], request["rows"])
        path = Path(request["to"])
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, labels=found[0], confidence=found[1])
        return {"seconds": time.process_time() - started}

    return answer


def reply(answer: Callable[[Mapping[str, Any]], dict[str, Any]], request: Mapping[str, Any]) -> dict[str, Any]:
    """What is answered to a request, where it fails a sentence as `error`; the next one may do better.

    Only a beginning that fails otherwise than by a sentence ends the process, since nothing follows from it.
    """
    try:
        return answer(request)
    except SceneError as error:
        return {"error": str(error)}
    except Exception as error:  # such as a full disk
        if lacks_memory(error):
            return {"error": "Expected memory for the field's classes, found too little; start with --field False."}
        if request["do"] == "begin":
            raise
        traceback.print_exc()
        found = " ".join(f"{type(error).__name__}: {error}".split())
        return {"error": f"Expected the field to {request['do']}, found {found:.200}; see field.log, and try again."}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(0)


def main(load_config: Path) -> None:
    """Answer until the standard input ends, or the process that started this one does."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    torch.set_num_threads(1)
    # What is printed meanwhile is not to come between the answers.
    channel = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)

    answer = answers(lambda: worker_of(load_config))
    for line in sys.stdin:
        channel.write(json.dumps(reply(answer, json.loads(line))) + "\n")
        channel.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
