"""Questions that a run asks in a folder (`--pipeline.active.oracle-folder`), answered by what people paint.

A unit of a question is answered by a class once half of its pixels are painted with it, and nothing else; one that is
painted in several is answered pixel by pixel, void where nothing is painted. A question about a whole frame is answered
when a person says so: by the labels that the session shows there, or by what is painted alone.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Int32
from numpy import ndarray

from semantic_ns.active_learning.rounds.folder_oracle import MASKS, RUN_FILE
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.own_answers import OwnAnswers, changed_answers
from semantic_ns.labelling.question_files import Question, QuestionFiles

VOID_ANSWER = "void"
_PAINTED_VOID = -2
_NOTHING = -1
_LEAST_PAINTED = 0.5
"""Share of a unit that is painted in one class from which on all of it is of that class."""
_LEAST_PAINTED_MIXED = 0.9
"""Share of one that is painted in several from which on what is painted answers it: the run takes answers at once."""
_Stamp = tuple[int, int, int] | None
"""Time, size and number on the disk of a file; None where there is none."""


@dataclass(frozen=True)
class UnitState:
    """A unit as a person sees it.

    Attributes:
        number: Its number in the question.
        box: Left, top (inclusive), right, bottom (exclusive).
        guess: Id in the session of the class that most of its pixels show; None where nothing is known.
        share: The share of its pixels that show it.
        answer: The answer in the folder, as text: a name or an id of a class, `void`, `masks` or `image`; None where
            there is none.
    """

    number: int
    box: tuple[int, ...]
    guess: int | None
    share: float
    answer: str | None


class QuestionFolder:
    """The questions of a run, and the answers of a session; several threads may ask at once.

    What does not fit in the folder is left out, and told by `problem`.

    Args:
        folder: The folder of the run's option.
        session: The session.
        kept: Folder in which to keep which answers are those of the session, and what they replaced; None for nowhere,
            so that no later session can take them back.

    Raises:
        SceneError: if no run asks there, or one of a scene of which the session has no frame.
    """

    def __init__(self, folder: Path, session: SessionLike, kept: Path | None = None) -> None:
        self._files, self._session, self._kept = QuestionFiles(folder, session.frames), session, kept
        self._lock = threading.RLock()
        self._read: dict[str, tuple[_Stamp, Question | None]] = {}
        self._unreadable: dict[str, str] = {}
        self._unwritten: dict[str, str] = {}
        self._run = _stamp(folder / RUN_FILE)
        self._checksum = _checksum(folder)
        self._own = self._own_answers()
        self.update(None)

    @property
    def problem(self) -> str | None:
        """What in the folder does not fit or cannot be written, if anything."""
        with self._lock:
            return " ".join(dict.fromkeys([*self._unreadable.values(), *self._unwritten.values()])) or None

    def questions(self) -> list[Question]:
        """All questions there are now, those of the last round first."""
        with self._lock:
            try:
                self._follow_run()
            except SceneError as error:
                self._read, self._unreadable = {}, {"": str(error)}
                return []
            with write_errors_as_scene_error(self._files.folder):
                paths = sorted(self._files.folder.glob("round-*_frame-*.json"))
            self._unreadable = {}
            read: dict[str, tuple[_Stamp, Question | None]] = {}
            for path in paths:
                stamp = _stamp(path)
                known = self._read.get(path.stem)
                try:
                    found = known[1] if known is not None and known[0] == stamp else self._files.read(path)
                except SceneError as error:
                    self._unreadable[path.stem] = str(error)
                else:
                    read[path.stem] = stamp, found
            self._read = read
            questions = [question for _, question in read.values() if question is not None]
            return sorted(questions, key=lambda one: (_round_of(one.name), one.name))

    def _follow_run(self) -> None:
        """Forget what was read of a run if another one asks in the folder now.

        Raises:
            SceneError: if none does, or one of other frames.
        """
        folder = self._files.folder
        stamp = _stamp(folder / RUN_FILE)
        if stamp is not None and stamp == self._run:
            return
        # A run that goes on writes the same file again.
        files = QuestionFiles(folder, self._session.frames)
        checksum = _checksum(folder)
        if checksum != self._checksum:
            self._files, self._checksum, self._read = files, checksum, {}
            self._own = self._own_answers()
        self._run = stamp

    def _own_answers(self) -> OwnAnswers:
        return OwnAnswers(None if self._kept is None else self._kept / f"answers_{self._checksum}.json")

    @property
    def run(self) -> str:
        """What tells the run that asks from others that asked in the folder before."""
        return self._checksum

    def find(self, name: str, run: str | None = None) -> Question:
        """The question of a name.

        Args:
            name: The name.
            run: What `run` was when the question was seen; None where nobody knows.

        Raises:
            SceneError: if there is none, or it is of another run.
        """
        with self._lock:
            self.questions()
            if run is not None and run != self._checksum:
                raise SceneError(
                    f"Expected an answer to the run that asks now, found one to the question {name!r:.60} of a run "
                    "before it; look at the question again."
                )
        for question in self.questions():
            if question.name == name:
                return question
        raise SceneError(f"Expected the name of a question, found {name!r:.60}; reload the page.")

    def units(self, question: Question) -> list[UnitState]:
        """The units of a question, with what the session guesses and what was answered."""
        shown = question.counts(self._session.labels(question.frame))
        answers = self._answers(question)
        boxes = _boxes(question.numbers.astype(np.int32), question.num_units)
        known = {*self._void_ids(), *(entry.id for entry in self._askable(question))}
        units = []
        for number, counts in shown.items():
            guesses = {label: count for label, count in counts.items() if label in known}
            guess = max(guesses, key=lambda label: (guesses[label], -label), default=None)
            share = 0.0 if guess is None else guesses[guess] / sum(counts.values())
            units.append(UnitState(number, boxes[number - 1], guess, share, answers.get(str(number))))
        return units

    def mark(self, question: Question, number: int, class_id: int | None) -> Mark:
        """The mark that answers a unit with a class of the session, or with void.

        Raises:
            SceneError: if there is no such unit, or the run does not know the class.
        """
        if not 1 <= number <= question.num_units:
            raise SceneError(f"Expected a unit 1..{question.num_units} of {question.name}, found {number}.")
        known = {*self._void_ids(), *(entry.id for entry in self._askable(question))}
        if class_id is not None and class_id not in known:
            raise SceneError("Expected a class that the run knows as an answer, found another; see its classes.")
        runs = encode_coco(question.numbers == number)["counts"]
        action = "void" if class_id is None else "paint"
        return Mark(question.frame, class_id, {"kind": "mask", "runs": runs}, action)

    def rest(self, question: Question, number: int) -> Mark | None:
        """The mark that answers a unit with what is painted in it: void where nothing is; None where all of it is.

        Raises:
            SceneError: if there is no such unit, or most of what is painted in it is of classes that the run does not
                know.
        """
        self.mark(question, number, None)  # refuses a unit that there is none of
        painted = self._session.painted(question.frame)
        is_asked = question.numbers == number
        known = [_PAINTED_VOID, *self._void_ids(), *(entry.id for entry in self._askable(question))]
        num_known, num_painted = np.isin(painted[is_asked], known).sum(), (painted[is_asked] != _NOTHING).sum()
        if 2 * num_known <= num_painted:
            raise SceneError(
                f"Expected painted pixels of classes that the run knows in the unit of {question.name} to answer with, "
                f"found {num_known} of {num_painted}; paint what you are sure of."
            )
        is_left = is_asked & (painted == _NOTHING)
        if not is_left.any():
            return None
        return Mark(question.frame, None, {"kind": "mask", "runs": encode_coco(is_left)["counts"]}, "void")

    def confirm_frame(self, question: Question, painted_only: bool = False) -> None:
        """Answer a question about a whole frame by the labels that the session shows there, for good.

        Args:
            question: The question.
            painted_only: Whether what is painted is the answer alone, and all else void.

        Raises:
            SceneError: if it is about parts of a frame, the frame has no such label that the run knows, the run has
                taken an answer already, or the answer cannot be written.
        """
        if not question.is_of_frame:
            raise SceneError(f"Expected a question about a whole frame, found {question.name}; answer its parts.")
        with self._lock:
            table = {entry.id: question.ids[entry.name.casefold()] for entry in self._askable(question)}
            painted = self._session.painted(question.frame)
            labels = painted if painted_only else self._session.labels(question.frame)
            image = np.full(labels.shape, question.void_id, np.uint16)
            for own, asked in table.items():
                image[labels == own] = asked
            if not (np.isin(labels, [*table, *self._void_ids()]) | (painted == _PAINTED_VOID)).any():
                what = "painted pixels" if painted_only else "labels"
                raise SceneError(
                    f"Expected {what} on the frame of {question.name} of classes that the run knows, found none; "
                    "label it first."
                )
            if self._files.taken(question):
                raise SceneError(
                    f"Expected a question without an answer, found that the run has taken that of {question.name}; "
                    "reload the page."
                )
            path = self._files.answer_path(question, ".png")
            with write_errors_as_scene_error(path):
                # The run reads answers on the photo, which a lens may bend.
                on_photo = self._session.frames[question.frame].on_photo(image.astype(np.int32), question.void_id)
                write_png(path, on_photo.astype(np.uint16))

    def update(self, frames: Sequence[int] | None) -> None:
        """Write the answers that follow from what is painted; what cannot be written is told by `problem`.

        What is painted takes the place of an answer of others, which comes back when it is not painted any more. An
        answer that the run has taken stays as it is, and so does one that others gave in place of that of the session.

        Args:
            frames: Frames in which it may have changed; None for all.
        """
        with self._lock:
            try:
                questions = self.questions()
            except SceneError as error:
                self._unwritten[""] = str(error)
                return
            self._unwritten.pop("", None)
            marked = set(self._session.marked_frames())
            for question in questions:
                # What could not be written is tried again.
                is_due = frames is None or question.frame in frames or question.name in self._unwritten
                is_own = question.frame in marked or bool(self._own.of(question))
                if not is_due:
                    continue
                self._unwritten.pop(question.name, None)
                if question.is_of_frame or not is_own:
                    continue
                try:
                    self._write(question)
                except SceneError as error:
                    self._unwritten[question.name] = str(error)

    def _write(self, question: Question) -> None:
        painted, own = self._painted_answers(question), self._own.of(question)
        if self._files.has_image(question) or not (painted or own):
            return
        found = self._files.answers(question)
        taken = self._files.taken(question) if found else set()
        answers, kept = changed_answers(found, painted, own, taken)
        if kept != own:
            self._own.keep(question, kept)  # first: an answer that nobody owns would stay for ever
        if answers != found:
            path = self._files.answer_path(question, ".json")
            with write_errors_as_scene_error(path):
                write_json(path, answers)

    def _painted_answers(self, question: Question) -> dict[str, Any]:
        # By id, as names may differ in case.
        ids: dict[int, Any] = {entry.id: question.ids[entry.name.casefold()] for entry in self._askable(question)}
        ids |= dict.fromkeys([_PAINTED_VOID, *self._void_ids()], VOID_ANSWER)
        found, layer = {}, self._session.painted(question.frame)
        for number, counts in question.counts(layer).items():
            size = sum(counts.values())
            painted = {value: count for value, count in counts.items() if value != _NOTHING}
            least = _LEAST_PAINTED if len(painted) < 2 else _LEAST_PAINTED_MIXED
            if not painted or sum(painted.values()) < least * size:
                continue
            # Of all values: a class that the run does not know is no reason to answer with a rare one that it knows.
            if 2 * sum(count for value, count in painted.items() if value in ids) <= sum(painted.values()):
                continue
            is_one = len(painted) == 1
            found[str(number)] = ids[next(iter(painted))] if is_one else self._masks(question, number, layer, ids)
        return found

    def _masks(
        self, question: Question, number: int, painted: Int16[ndarray, "height width"], ids: Mapping[int, Any]
    ) -> dict[str, Any]:
        """The answer of a unit that is painted in several ways: the pixels of each class, the others being void."""
        is_asked = question.numbers == number
        image = np.full(painted.shape, question.void_id, np.int32)
        for own, asked in ids.items():
            if asked != VOID_ANSWER:
                image[is_asked & (painted == own)] = asked
        on_photo = self._session.frames[question.frame].on_photo(image, question.void_id)
        used = [int(one) for one in np.unique(on_photo) if one != question.void_id]
        return {MASKS: [[one, encode_coco(on_photo == one)["counts"]] for one in used]}

    def _askable(self, question: Question) -> list[LabelClass]:
        """The classes of the session that the run knows by their names."""
        known = [one for one in self._session.classes if one.merged_into is None and not one.is_void]
        return [one for one in known if one.name.casefold() in question.ids]

    def _void_ids(self) -> list[int]:
        """The classes of the session that are void for the run."""
        return [one.id for one in self._session.classes if one.is_void]

    def _answers(self, question: Question) -> dict[str, str]:
        """The answers in the folder as text to show; those of an image are all of its units."""
        if self._files.has_image(question):
            return {str(number): "image" for number in range(1, question.num_units + 1)}
        try:
            answers = self._files.answers(question)
            return {number: MASKS if isinstance(one, dict) else str(one) for number, one in answers.items()}
        except SceneError as error:
            with self._lock:
                self._unreadable[question.name] = str(error)
            return {}


def _checksum(folder: Path) -> str:
    """What tells a run that asks in a folder from others."""
    with write_errors_as_scene_error(folder):
        content = (folder / RUN_FILE).read_bytes()
    return hashlib.sha256(str(folder.resolve()).encode() + b"\0" + content).hexdigest()[:16]


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _round_of(name: str) -> int:
    return -int(name.partition("_")[0].rpartition("-")[2])


def _boxes(numbers: Int32[ndarray, "height width"], count: int) -> list[tuple[int, ...]]:
    from scipy import ndimage

    found = ndimage.find_objects(numbers, max_label=count)
    return [() if box is None else (box[1].start, box[0].start, box[1].stop, box[0].stop) for box in found]
