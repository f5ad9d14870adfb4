"""The classes of a run's field, which follow the labels of a session in a process of its own.

Labelling never waits for that process: what the field said last is shown until it says something else, a process that
ends is started again, and what cannot be done is told in a sentence.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int16, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import replacing, write_errors_as_scene_error
from semantic_ns.labelling.field_process import FieldProcess, WorkerEndedError
from semantic_ns.labelling.interface import SessionLike

WORKER = "semantic_ns.labelling.head_worker"
_REST_S, _LONGEST_REST_S = 1.0, 6.0
"""How long nothing changes before a training begins, and the longest time that changes put it off."""
_LOOK_S = 0.2
_MOST_ENDS = 3
"""Processes that may end over the same kind of request, one after the other, before no further one is started."""
_PIECE_PIXELS = 1 << 16
"""Pixels that are rendered at a time, about: a fraction of a second, after which something else may have its turn."""

_CLOSED = "Expected the field to follow, found that the session has ended; start sns-label again."

T = TypeVar("T")
Kind = Literal["train", "render", "save", "look"]
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

    def at(self, pixels: ndarray) -> tuple[Int16[ndarray, "height width"], UInt8[ndarray, "height width"]]:
        """Class ids and confidence of training pixels (frame, row, column) [height, width, 3].

        Where the frame is -1, they are -1 and 0.
        """
        frames, rows, columns = np.moveaxis(pixels, -1, 0)
        place = frames, rows // self.stride, columns // self.stride
        labels = np.where(frames >= 0, self.labels[place], np.int16(-1))
        return labels, np.where(frames >= 0, self.confidence[place], np.uint8(0))


@dataclass(frozen=True)
class FieldState:
    """How far the field has followed.

    Attributes:
        state: What is going on; `failed` is until somebody has it begin again.
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


class _Request(NamedTuple):
    """What another thread waits for."""

    kind: Kind
    asks: Callable[[], Any]
    future: "Future[Any]"


class _Patience:
    """Says when what is followed has rested, or has changed for long enough."""

    def __init__(self) -> None:
        self._seen: Any = None
        self._changed_at = self._first_change = 0.0

    def is_over(self, key: Any, taken: Any) -> bool:
        """Whether a key that is not the taken one is to be taken now."""
        now = time.monotonic()
        if key != self._seen:
            self._changed_at, self._first_change = now, self._first_change if self._seen != taken else now
            self._seen = key
        rested = now - self._changed_at >= _REST_S or now - self._first_change >= _LONGEST_REST_S
        return key != taken and rested


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
        command = command or [sys.executable, "-m", WORKER, str(load_config.absolute())]
        self._process = FieldProcess(command, folder)
        self._grid: tuple[int, tuple[int, int, int]] = (1, (0, 0, 0))
        self._labels: FieldLabels | None = None
        self._class_ids: list[int] = []
        self._state = FieldState("waiting", 0, None, None, None)
        self._wanted: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._num_holding = 0
        self._num_ends: Counter[Kind] = Counter()
        self._patience = _Patience()
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

        It is rendered in pieces, between which the field may learn something else, unless `holding` keeps it from that.

        Raises:
            SceneError: if it has not said anything yet, or the other process fails.
        """
        info = self._session.frames[frame]
        pieces = [self.render_rows(frame, row) for row in range(0, info.height, _rows_at_a_time(info.width))]
        labels, confidence = (np.concatenate(layers) for layers in zip(*pieces, strict=True))
        return labels, confidence

    def render_rows(self, frame: int, row: int) -> tuple[Int16[ndarray, "rows width"], UInt8[ndarray, "rows width"]]:
        """The same of some rows of a frame from one on, as many as take a fraction of a second.

        Raises:
            SceneError: if it has not said anything yet, or the other process fails.
        """
        info = self._session.frames[frame]
        rows = [row, min(row + _rows_at_a_time(info.width), info.height)]
        asked = {"do": "render", "frame": frame, "rows": rows}
        return self._ask_later("render", lambda: self._process.ask_arrays(asked))[:2]

    def save(self, folder: Path) -> Path:
        """Write the field with its classes as a run of its own; waits until that is done. Returns its config.yml.

        Raises:
            SceneError: if it has not said anything yet, the folder is used, or the other process fails.
        """
        return self._ask_later("save", lambda: self._save(folder.absolute()))

    @contextmanager
    def holding(self) -> Iterator[int]:
        """Let the field learn nothing until the block ends; gives the number of the training that it says meanwhile.

        Where its process ends meanwhile it is trained anew all the same, and the number in `state` is another one.

        Raises:
            SceneError: if it has not said anything yet, or the other process fails.
        """
        with self._changed:
            self._num_holding += 1
        try:
            yield self._ask_later("look", lambda: self._state.version)  # once the training of now has ended
        finally:
            with self._changed:
                self._num_holding -= 1

    def begin_again(self) -> None:
        """Follow again after it has failed."""
        with self._changed:
            if self._state.state == "failed":
                self._num_ends.clear()
                self._taken = None
                self._set(state="waiting", sentence=None)
                self._changed.notify_all()

    def close(self) -> None:
        """End the other process; waits for it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._process.end()
        self._thread.join(10.0)

    def _ask_later(self, kind: Kind, asks: Callable[[], T]) -> T:
        if self._labels is None:
            raise SceneError(
                "Expected classes of the field, found that it has not been trained on the labels yet; wait until it is."
            )
        future: Future[T] = Future()
        with self._changed:
            if self._is_closed:
                raise SceneError(_CLOSED)
            self._wanted.append(_Request(kind, asks, future))
            self._changed.notify_all()
        return future.result()

    # In the thread

    def _follow(self) -> None:
        try:
            while not self._is_closed:
                with self._changed:
                    if not self._wanted:
                        self._changed.wait(_LOOK_S)
                with suppress(SceneError):  # is in the state
                    self._noted("train", self._train_if_due)
                # One request, and not all: who asks again and again does not keep the field from learning.
                with self._changed:
                    request = self._wanted.popleft() if self._wanted else None
                if request is not None:
                    self._serve(request)
        finally:
            with self._changed:
                self._is_closed = True
            self._give_up(_CLOSED)

    def _train_if_due(self) -> None:
        key = self._key()
        is_due = self._patience.is_over(key, self._taken)
        if not is_due or self._num_holding or self._state.state == "failed":
            return
        if self._has_labels():
            self._train()
        else:
            self._taken = key

    def _key(self) -> Any:
        """What changes whenever the labels may."""
        return self._session.revision, id(self._session.surface), self._session.progress().fitted

    def _has_labels(self) -> bool:
        """Whether anything has a class: void, and what is erased, teach nothing."""
        imported, session, class_ids = self._session.imported, self._session, [entry[0] for entry in self._classes()]
        if imported is not None and imported.is_on:
            return bool(class_ids)
        return any(bool(np.isin(session.painted(frame), class_ids).any()) for frame in session.marked_frames())

    def _serve(self, request: _Request) -> None:
        try:
            if self._state.state == "failed":
                raise SceneError(self._state.sentence or self._ended_sentence())
            if not self._process.is_running:  # it ended after it had said something
                self._noted("train", self._train)
            found = self._noted(request.kind, request.asks)
        except Exception as error:
            request.future.set_exception(error)
        else:
            self._num_ends[request.kind] = 0
            request.future.set_result(found)

    def _noted(self, kind: Kind, does: Callable[[], T]) -> T:
        """What a function gives; what goes wrong is noted, and raised as a sentence."""
        try:
            return does()
        except SceneError as error:  # of this request alone
            if self._state.state in ("loading", "training"):
                self._set(state="ready" if self._state.version else "waiting", sentence=str(error))
            raise
        except Exception as error:
            raise SceneError(self._after_end(kind, error)) from error

    def _after_end(self, kind: Kind, error: Exception) -> str:
        """Note that the process has ended, or is to end after a fault, and say it."""
        self._process.end()
        if self._is_closed:
            return _CLOSED
        if isinstance(error, WorkerEndedError):
            sentence = self._ended_sentence()
        else:
            self._process.note(error)
            fault = f"{type(error).__name__}: {error}"
            sentence = (
                f"Expected the field to follow the labels, found a fault of this program ({fault:.200}); report it "
                f"with {self._process.log}."
            )
        self._num_ends[kind] += 1
        if self._num_ends[kind] >= _MOST_ENDS:
            self._fail(sentence)
        else:
            self._taken = None
            self._set(state="waiting", sentence=sentence)
        return sentence

    def _fail(self, sentence: str) -> None:
        self._process.end()
        if not self._is_closed:
            self._set(state="failed", sentence=sentence)
        self._give_up(sentence)

    def _give_up(self, sentence: str) -> None:
        while self._wanted:
            self._wanted.popleft().future.set_exception(SceneError(sentence))

    def _ended_sentence(self) -> str:
        return (
            "Expected the process that trains the field's classes to go on, found that it ended; see "
            f"{self._process.log}."
        )

    def _set(self, **changes: Any) -> None:
        self._state = FieldState(**{**vars(self._state), **changes})

    def _train(self) -> None:
        self._taken = self._key()
        if not self._process.is_running:
            self._begin()
        revision, class_ids = self._session.revision, [entry[0] for entry in self._classes()]
        self._set(state="training", sentence=None)
        asked = {"do": "train", "targets": str(self._write_targets(class_ids)), "class_ids": class_ids}
        labels, confidence, seconds = self._process.ask_arrays(asked)
        self._labels, self._class_ids = FieldLabels(labels, confidence, self._grid[0]), class_ids
        self._num_ends["train"] = 0
        self._set(state="ready", version=self._state.version + 1, revision=revision, seconds=seconds)

    def _begin(self) -> None:
        self._set(state="loading", sentence=None)
        self._process.start()
        if self._is_closed:  # meanwhile, so that nobody else ends it
            self._process.end()
        try:
            said = self._process.ask({"do": "begin"})
        except SceneError as error:  # the run does not suit, and will not the next time
            self._fail(str(error))
            raise
        frames, rows, columns = said["shape"]
        self._grid = said["stride"], (frames, rows, columns)

    def _classes(self) -> list[tuple[int, str, list[int], bool | None]]:
        """Id, name, colour, and whether it is a thing, of each class in use that is not void."""
        classes = [entry for entry in self._session.classes if entry.merged_into is None and not entry.is_void]
        return sorted((entry.id, entry.name, list(entry.color), entry.is_thing) for entry in classes)

    def _write_targets(self, class_ids: Sequence[int]) -> Path:
        """The labels that the session shows at the pixels whose rays the other process keeps."""
        labels, sure = self._session.shown_every(self._grid[0])
        confidence = np.rint(sure * 255).astype(np.uint8)
        labels[~np.isin(labels, class_ids)] = -1  # of a class that is void, or was merged meanwhile
        path = self._folder / "targets.npz"
        with write_errors_as_scene_error(path), replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, labels=labels, confidence=confidence)
        return path

    def _save(self, folder: Path) -> Path:
        classes = self._classes()
        if [entry[0] for entry in classes] != self._class_ids:  # so that the run says those that it lists
            self._train()
        asked = {"do": "save", "folder": str(folder), "classes": classes, "void_id": self._session.void_id}
        return Path(self._process.ask(asked)["path"])


def _rows_at_a_time(width: int) -> int:
    return max(1, _PIECE_PIXELS // width)
