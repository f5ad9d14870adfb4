"""The classes of a run's field, which follow the labels of a session in a process of its own.

Nothing here waits for that process while it answers: what the field said last is shown until it says something else,
and a process that ends is started again at the next change.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int16, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import replacing, write_errors_as_scene_error
from semantic_ns.labelling.interface import SessionLike

WORKER = "semantic_ns.labelling.head_worker"
_REST_S, _LONGEST_REST_S = 1.0, 6.0
"""How long nothing changes before a training begins, and the longest time that changes put it off."""
_LOOK_S = 0.2
_MOST_ENDS = 3
"""Processes that may end on their own before no further one is started."""

_CLOSED = "Expected the field to follow, found that the session has ended; start sns-label again."

State = Literal["waiting", "loading", "training", "ready", "failed"]


@dataclass(frozen=True, eq=False)
class FieldLabels:
    """What the field says of every n-th pixel along rows and columns of all frames.

    Attributes:
        labels: Class ids, -1 for none.
        confidence: How sure that is, 0..255 for 0..1.
        stride: n.
    """

    labels: Int16[ndarray, "frames rows columns"]
    confidence: UInt8[ndarray, "frames rows columns"]
    stride: int

    def of_frame(self, layer: ndarray, frame: int, height: int, width: int) -> ndarray:
        """A layer of a frame at its full size; each pixel shows the nearest one above and to the left."""
        full = layer[frame].repeat(self.stride, axis=0).repeat(self.stride, axis=1)
        return np.ascontiguousarray(full[:height, :width])

    def at(self, pixels: ndarray) -> Int16[ndarray, "height width"]:
        """Class ids of training pixels (frame, row, column) [height, width, 3]; -1 where the frame is -1."""
        frames, rows, columns = np.moveaxis(pixels, -1, 0)
        found = self.labels[frames, rows // self.stride, columns // self.stride]
        return np.where(frames >= 0, found, np.int16(-1))


@dataclass(frozen=True)
class FieldState:
    """How far the field has followed.

    Attributes:
        state: What is going on: `failed` is for good, unless it says that it goes on.
        version: Number of trainings so far.
        revision: The revision of the session that the field says; None before the first training.
        seconds: Time of the processor that the last training took.
        sentence: What went wrong, if anything did.
    """

    state: State
    version: int
    revision: int | None
    seconds: float | None
    sentence: str | None


class WorkerEndedError(Exception):
    """The process has ended before it answered."""


class FieldFollower:
    """Has the field of a run follow a session, and asks it what it says.

    Args:
        session: The session.
        load_config: The run's config.yml.
        folder: Folder for what is handed over between the processes, and for the log of the other one.
        command: What starts the other process; by default the worker on the run.

    Attributes:
        runs: The folder that holds the folder of the run, and in which the field is written as others.
    """

    def __init__(
        self, session: SessionLike, load_config: Path, folder: Path, command: Sequence[str] | None = None
    ) -> None:
        self._session, self._folder = session, folder
        self.runs = load_config.absolute().parent.parent
        self._command = command or [sys.executable, "-m", WORKER, str(load_config.absolute())]
        self._process: subprocess.Popen[str] | None = None
        self._grid: tuple[int, tuple[int, int, int]] | None = None
        self._labels: FieldLabels | None = None
        self._state = FieldState("waiting", 0, None, None, None)
        self._wanted: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._num_ends = 0
        self._taken: Any = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def state(self) -> FieldState:
        """How far it is."""
        return self._state

    @property
    def labels(self) -> FieldLabels | None:
        """What the field said last; None before it has said anything."""
        return self._labels

    def render(self, frame: int) -> tuple[Int16[ndarray, "height width"], UInt8[ndarray, "height width"]]:
        """What the field says of each pixel of a frame, class ids and confidence 0..255; waits until it is rendered.

        Raises:
            SceneError: if it has not said anything yet, or the other process fails.
        """
        return self._ask_later(lambda: self._arrays({"do": "render", "frame": frame}))

    def save(self, folder: Path) -> Path:
        """Write the field with its classes as a run of its own; waits until that is done. Returns its config.yml.

        Raises:
            SceneError: if it has not said anything yet, the folder is used, or the other process fails.
        """
        classes = [
            [one.id, one.name, list(one.color), one.is_thing]
            for one in self._session.classes
            if one.merged_into is None
        ]
        asked = {"do": "save", "folder": str(folder.absolute()), "classes": classes}
        return Path(self._ask_later(lambda: self._ask(asked))["path"])

    def close(self) -> None:
        """End the other process; waits for it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._end()
        self._thread.join(10.0)

    def _ask_later(self, asks: Callable[[], Any]) -> Any:
        if self._labels is None:
            raise SceneError(
                "Expected classes of the field, found that it has not been trained on the labels yet; wait until it is."
            )
        future: Future[Any] = Future()
        with self._changed:
            if self._is_closed:
                raise SceneError(_CLOSED)
            if self._state.state == "failed":
                raise SceneError(self._state.sentence or self._ended_sentence())
            self._wanted.append((asks, future))
            self._changed.notify_all()
        return future.result()

    # In the thread

    def _follow(self) -> None:
        changed_at, first_change, seen = 0.0, 0.0, None
        while not self._is_closed:
            with self._changed:
                if not self._wanted:
                    self._changed.wait(_LOOK_S)
                wanted = self._wanted.popleft() if self._wanted else None
            if wanted is not None:
                self._serve(*wanted)
                continue
            key, now = self._key(), time.monotonic()
            if key != seen:
                changed_at, first_change = now, first_change if seen != self._taken else now
                seen = key
            rested = now - changed_at >= _REST_S or now - first_change >= _LONGEST_REST_S
            if key != self._taken and rested and self._state.state != "failed" and self._has_labels():
                self._taken = key
                self._guarded(self._train)
        self._give_up(_CLOSED)

    def _key(self) -> Any:
        """What changes whenever the labels may."""
        return self._session.revision, id(self._session.surface)

    def _has_labels(self) -> bool:
        imported = self._session.imported
        return bool(self._session.marked_frames()) or (imported is not None and imported.is_on)

    def _serve(self, asks: Callable[[], Any], future: "Future[Any]") -> None:
        try:
            if self._process is None:  # it ended after it had said something
                self._train()
            future.set_result(asks())
        except (SceneError, WorkerEndedError, OSError) as error:
            self._note(error)
            future.set_exception(error if isinstance(error, SceneError) else SceneError(self._ended_sentence()))

    def _guarded(self, does: Callable[[], None]) -> None:
        try:
            does()
        except (SceneError, WorkerEndedError, OSError) as error:
            self._note(error, is_of_training=True)

    def _note(self, error: Exception, is_of_training: bool = False) -> None:
        """Tell what went wrong, and whether another process is worth trying."""
        if self._is_closed:
            return
        if isinstance(error, SceneError) and not is_of_training:
            return  # of that request alone
        self._end()
        self._num_ends += 1
        is_final = isinstance(error, SceneError) or self._num_ends >= _MOST_ENDS
        sentence = str(error) if isinstance(error, SceneError) else self._ended_sentence()
        self._set(state="failed" if is_final else "waiting", sentence=sentence)
        if is_final:
            self._give_up(sentence)
        else:
            self._taken = None

    def _give_up(self, sentence: str) -> None:
        while self._wanted:
            self._wanted.popleft()[1].set_exception(SceneError(sentence))

    def _ended_sentence(self) -> str:
        return (
            "Expected the process that trains the field's classes to go on, found that it ended; see "
            f"{self._folder / 'field.log'}."
        )

    def _set(self, **changes: Any) -> None:
        self._state = FieldState(**{**vars(self._state), **changes})

    def _train(self) -> None:
        if self._process is None:
            self._begin()
        revision = self._session.revision
        self._set(state="training", sentence=None)
        asked = {"do": "train", "targets": str(self._write_targets()), "class_ids": self._class_ids()}
        labels, confidence, seconds = self._timed_arrays(asked)
        assert self._grid is not None
        self._labels = FieldLabels(labels, confidence, self._grid[0])
        self._set(state="ready", version=self._state.version + 1, revision=revision, seconds=seconds)

    def _begin(self) -> None:
        self._set(state="loading", sentence=None)
        with write_errors_as_scene_error(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "field.log").open("w", encoding="utf8") as log:
                # One thread, and on the CPU: a GPU may be busy with the training of the run.
                one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                    encoding="utf8", env={**os.environ, **one_thread},
                )  # fmt: skip
        if self._is_closed:  # meanwhile, so that nobody else ends it
            self._end()
        said = self._ask({"do": "begin"})
        frames, rows, columns = said["shape"]
        self._grid = said["stride"], (frames, rows, columns)

    def _class_ids(self) -> list[int]:
        return sorted(one.id for one in self._session.classes if one.merged_into is None)

    def _write_targets(self) -> Path:
        """The labels that the session shows at the pixels whose rays the other process keeps."""
        assert self._grid is not None
        stride, shape = self._grid
        labels, confidence = np.full(shape, -1, np.int16), np.zeros(shape, np.uint8)
        for frame in range(shape[0]):
            labels[frame] = self._session.labels(frame)[::stride, ::stride]
            confidence[frame] = np.rint(self._session.confidence(frame)[::stride, ::stride] * 255)
        known = self._class_ids()
        labels[~np.isin(labels, known)] = -1  # of a class that was merged meanwhile
        path = self._folder / "targets.npz"
        with write_errors_as_scene_error(path), replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, labels=labels, confidence=confidence)
        return path

    def _arrays(self, asked: Mapping[str, Any]) -> tuple[ndarray, ndarray]:
        return self._timed_arrays(asked)[:2]

    def _timed_arrays(self, asked: Mapping[str, Any]) -> tuple[ndarray, ndarray, float]:
        path = self._folder / "said.npz"
        said = self._ask({**asked, "to": str(path)})
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["labels"], arrays["confidence"], said["seconds"]

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise WorkerEndedError
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError) as error:  # of a pipe that is broken or closed
            raise WorkerEndedError from error
        if not line.endswith("\n"):
            raise WorkerEndedError
        said = json.loads(line)
        if "error" in said:
            raise SceneError(said["error"])
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
