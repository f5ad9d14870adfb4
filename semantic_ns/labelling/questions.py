"""Questions that a run asks in a folder (`--pipeline.active.oracle-folder`), answered by what people paint.

A unit of a question has the answer that most of its pixels are painted with, once half of them are painted. A question
about a whole frame is answered by the labels that the session shows there, when a person says that they are right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Int32, UInt16
from numpy import ndarray

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS, RUN_FILE
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.marks import Mark

VOID_ANSWER = "void"
_PAINTED_VOID = -2
_NOTHING = -1
_LEAST_PAINTED = 0.5


@dataclass(frozen=True, eq=False)
class Question:
    """What a run asks about one frame.

    Attributes:
        name: Its name, such as `round-01_frame-0012`.
        frame: The frame of the session.
        numbers: The unit that each pixel belongs to, from 1 on; 0 for none.
        num_units: Number of units.
        ids: The id that each class has in the answers, by its name without case.
        void_id: Id of void there.
    """

    name: str
    frame: int
    numbers: UInt16[ndarray, "height width"]
    num_units: int
    ids: Mapping[str, int]
    void_id: int

    @property
    def is_of_frame(self) -> bool:
        """Whether it asks for a whole image, in which one class for all says nothing."""
        return self.num_units == 1 and bool((self.numbers == 1).all())

    def counts(self, layer: Int16[ndarray, "height width"]) -> dict[int, dict[int, int]]:
        """How many pixels of each unit have each value of a layer."""
        pairs, counts = np.unique(
            np.stack([self.numbers.reshape(-1).astype(np.int64), layer.reshape(-1).astype(np.int64)]),
            axis=1,
            return_counts=True,
        )
        found: dict[int, dict[int, int]] = {number: {} for number in range(1, self.num_units + 1)}
        for number, value, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            if number > 0:
                found[number][value] = count
        return found


@dataclass(frozen=True)
class UnitState:
    """A unit as a person sees it.

    Attributes:
        number: Its number in the question.
        box: Left, top (inclusive), right, bottom (exclusive).
        guess: Id in the session of the class that most of its pixels show; None where nothing is known.
        share: The share of its pixels that show it.
        answer: The answer in the folder: a name of a class or `void`; None where there is none.
    """

    number: int
    box: tuple[int, ...]
    guess: int | None
    share: float
    answer: str | None


class QuestionFolder:
    """The questions of a run, and the answers of a session.

    Args:
        folder: The folder of the run's option.
        session: The session.

    Raises:
        SceneError: if no run asks there, or one of a scene of which the session has no frame.
    """

    def __init__(self, folder: Path, session: SessionLike) -> None:
        if not (folder / RUN_FILE).is_file():
            raise SceneError(
                f"Expected the folder in which a run asks for --questions, found no {RUN_FILE} in {folder}; give the "
                "one of --pipeline.active.oracle-folder."
            )
        self._folder, self._session = folder, session
        self._frames = {info.name: number for number, info in enumerate(session.frames)}
        asked = read_json(folder / RUN_FILE).get("frames", [])
        if not any(name in self._frames for name in asked):
            raise SceneError(
                f"Expected questions about frames of this session in {folder}, found a run of {len(asked)} others; "
                "label the scene that the run trains on."
            )
        self._names: list[str] = asked
        self._read: dict[str, Question] = {}
        self._written: dict[str, dict[str, Any]] = {}
        self.update(None)

    def questions(self) -> list[Question]:
        """All questions there are now, those of the last round first."""
        with write_errors_as_scene_error(self._folder):
            paths = sorted(self._folder.glob("round-*_frame-*.json"))
        for path in paths:
            if path.stem not in self._read:
                question = self._question(path)
                if question is not None:
                    self._read[path.stem] = question
        return sorted(self._read.values(), key=lambda one: (_round_of(one.name), one.name))

    def find(self, name: str) -> Question:
        """The question of a name.

        Raises:
            SceneError: if there is none.
        """
        for question in self.questions():
            if question.name == name:
                return question
        raise SceneError(f"Expected the name of a question, found {name!r:.60}; reload the page.")

    def _question(self, path: Path) -> Question | None:
        frame = int(path.stem.rpartition("-")[2])
        if frame >= len(self._names) or self._names[frame] not in self._frames:
            return None
        content = read_json(path)
        number = self._frames[self._names[frame]]
        info = self._session.frames[number]
        units = read_label_image(self._folder / content["image_of_units"])
        if units.shape != (info.height, info.width):
            raise SceneError(
                f"Expected an image of units of {info.width}x{info.height} at {content['image_of_units']}, found "
                f"{units.shape[1]}x{units.shape[0]}; label the images at the size at which the run trains."
            )
        ids = {entry["name"].strip().casefold(): entry["id"] for entry in content["classes"]}
        return Question(path.stem, number, units.astype(np.uint16), len(content["units"]), ids, content["void_id"])

    def units(self, question: Question) -> list[UnitState]:
        """The units of a question, with what the session guesses and what was answered."""
        shown = question.counts(self._session.labels(question.frame))
        answers = self._answers(question)
        boxes = _boxes(question.numbers.astype(np.int32), question.num_units)
        known = {entry.id for entry in self._askable(question)}
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
        if class_id is not None and class_id not in {entry.id for entry in self._askable(question)}:
            raise SceneError("Expected a class that the run knows as an answer, found another; see its classes.")
        runs = encode_coco(question.numbers == number)["counts"]
        action = "void" if class_id is None else "paint"
        return Mark(question.frame, class_id, {"kind": "mask", "runs": runs}, action)

    def confirm_frame(self, question: Question) -> None:
        """Answer a question about a whole frame by the labels that the session shows there.

        Raises:
            SceneError: if it is about parts of a frame, or the answer cannot be written.
        """
        if not question.is_of_frame:
            raise SceneError(f"Expected a question about a whole frame, found {question.name}; answer its parts.")
        table = {entry.id: question.ids[entry.name.casefold()] for entry in self._askable(question)}
        labels = self._session.labels(question.frame)
        image = np.full(labels.shape, question.void_id, np.uint16)
        for own, asked in table.items():
            image[labels == own] = asked
        path = self._answer_path(question, ".png")
        with write_errors_as_scene_error(path):
            write_png(path, image)

    def update(self, frames: Sequence[int] | None) -> None:
        """Write the answers that follow from what is painted.

        An answer that was painted and is not any more is taken back, unless the run has taken it; answers of others
        stay.

        Args:
            frames: Frames in which it may have changed; None for all.

        Raises:
            SceneError: if an answer cannot be read or written.
        """
        marked = set(self._session.marked_frames())
        for question in self.questions():
            is_asked = frames is None or question.frame in frames
            if not is_asked or question.is_of_frame or not (question.frame in marked or question.name in self._written):
                continue
            answers: dict[str, Any] = self._painted_answers(question)
            before = self._written.get(question.name, {})
            if answers == before:
                continue
            kept = {number: name for number, name in self._answers(question).items() if number not in before}
            path = self._answer_path(question, ".json")
            with write_errors_as_scene_error(path):
                write_json(path, {**kept, **answers})
            self._written[question.name] = answers

    def _painted_answers(self, question: Question) -> dict[str, Any]:
        names = {entry.id: entry.name for entry in self._askable(question)} | {_PAINTED_VOID: VOID_ANSWER}
        found = {}
        for number, counts in question.counts(self._session.painted(question.frame)).items():
            size = sum(counts.values())
            painted = {value: count for value, count in counts.items() if value in names}
            if painted and size - counts.get(_NOTHING, 0) >= _LEAST_PAINTED * size:
                name = names[max(painted, key=lambda value: (painted[value], value))]
                # By id, as names may differ in case.
                found[str(number)] = name if name == VOID_ANSWER else question.ids[name.casefold()]
        return found

    def _askable(self, question: Question) -> list[LabelClass]:
        """The classes of the session that the run knows by their names."""
        return [one for one in self._session.classes if one.merged_into is None and one.name.casefold() in question.ids]

    def _answers(self, question: Question) -> dict[str, str]:
        """The answers in the folder; those of an image are all of its units."""
        if self._answer_path(question, ".png").is_file():
            return {str(number): "image" for number in range(1, question.num_units + 1)}
        path = self._answer_path(question, ".json")
        if not path.is_file():
            return {}
        content: Any = read_json(path)
        return {str(number): str(name) for number, name in content.items()} if isinstance(content, dict) else {}

    def _answer_path(self, question: Question, ending: str) -> Path:
        return self._folder / ANSWERS / f"{question.name}{ending}"


def _round_of(name: str) -> int:
    return -int(name.partition("_")[0].rpartition("-")[2])


def _boxes(numbers: Int32[ndarray, "height width"], count: int) -> list[tuple[int, ...]]:
    from scipy import ndimage

    found = ndimage.find_objects(numbers, max_label=count)
    return [() if box is None else (box[1].start, box[0].start, box[1].stop, box[0].stop) for box in found]
