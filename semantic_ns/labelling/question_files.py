"""The files of a run that asks in a folder, read without trust: what does not fit is refused with a sentence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Int16, UInt16
from numpy import ndarray
from PIL import Image

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS, RUN_FILE, TAKEN_FILE
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.io.locking import take_lock
from semantic_ns.io.text import read_json
from semantic_ns.labelling.surface import FrameInfo, read_color

LOCK_FILE = ".sns-label.lock"
_NAME = re.compile(r"round-[0-9]{1,9}_frame-[0-9]{1,9}")
_LEAST_EQUAL = 0.5
"""Share of a picture's pixels that are those of the image; outlines and numbers hide others."""


def lock_answers(folder: Path) -> int:
    """Keep other processes from answering the questions of a folder: each would take back what the other answered.

    Args:
        folder: The folder of the run's option.

    Returns:
        A descriptor; `os.close` lets others answer, and so does the end of this process, however it ends.

    Raises:
        SceneError: if another process answers, or the folder cannot be written.
    """
    return take_lock(
        folder / LOCK_FILE,
        lambda owner: (
            f"Expected questions that nobody else answers, found that process {owner} answers those in {folder}; end "
            "it first, or start without --questions."
        ),
    )


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


class QuestionFiles:
    """The files in the folder of a run.

    Args:
        folder: The folder of the run's option.
        frames: The frames of the session.

    Raises:
        SceneError: if no run asks there, or one of a scene of which the session has no frame.
    """

    def __init__(self, folder: Path, frames: Sequence[FrameInfo]) -> None:
        if not (folder / RUN_FILE).is_file():
            raise SceneError(
                f"Expected the folder in which a run asks for --questions, found no {RUN_FILE} in {folder}; give the "
                "one of --pipeline.active.oracle-folder."
            )
        self.folder, self._frames = folder, frames
        self._numbers = {info.name: number for number, info in enumerate(frames)}
        run = _object(folder / RUN_FILE)
        asked = run.get("frames")
        if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
            raise _refusal(folder / RUN_FILE, "a list of names as frames")
        if not any(name in self._numbers for name in asked):
            raise SceneError(
                f"Expected questions about frames of this session in {folder}, found a run of {len(asked)} others; "
                "label the scene that the run trains on."
            )
        self._names: list[str] = asked

    def read(self, path: Path) -> Question | None:
        """The question of a file; None if it is about a frame that the session does not have.

        Raises:
            SceneError: if it is none, does not fit its image of units, or is about another image.
        """
        if not _NAME.fullmatch(path.stem):
            raise SceneError(
                f"Expected files of questions to be named like round-01_frame-0012.json, found {path}; move it away."
            )
        frame = int(path.stem.rpartition("-")[2])
        if frame >= len(self._names):
            raise _refusal(path, f"one of the {len(self._names)} frames of {RUN_FILE}")
        number = self._numbers.get(self._names[frame])
        if number is None:
            return None
        content, info = _object(path), self._frames[number]
        ids, num_units, void_id = _ids(path, content), content.get("units"), content.get("void_id")
        if not isinstance(num_units, list) or not _is_integer(void_id):
            raise _refusal(path, "a list of units and an id of void")
        self._refuse_other_image(path, content, info)
        return Question(path.stem, number, self._units(path, content, info), len(num_units), ids, void_id)

    def _units(self, path: Path, content: Mapping[str, Any], info: FrameInfo) -> UInt16[ndarray, "height width"]:
        place, num_units = self._beside(path, content, "image_of_units"), len(content["units"])
        units = read_label_image(place)
        if units.shape != (info.height, info.width):
            raise SceneError(
                f"Expected an image of units of {info.width}x{info.height} at {place}, found "
                f"{units.shape[1]}x{units.shape[0]}; label the images at the size at which the run trains."
            )
        if units.min() < 0 or units.max() > num_units:
            raise SceneError(
                f"Expected numbers 0..{num_units} in the image of units at {place}, found "
                f"{units.min()}..{units.max()}; put back the file that the run wrote."
            )
        # The run asks about the photo, which a lens may bend.
        numbers = units.astype(np.uint16)
        return numbers if info.bent is None else info.bent.undistortion.undistort_numbers(numbers)

    def _refuse_other_image(self, path: Path, content: Mapping[str, Any], info: FrameInfo) -> None:
        """Check that a question is about the image of a frame: frames of several scenes often have one name."""
        image = content.get("image")
        if not isinstance(image, str):
            raise _refusal(path, "the path of an image")
        if _resolved(image) == _resolved(str(info.photo)):
            return
        # The scene was moved, or the run trains on smaller images than those of the scene.
        if not _shows(self._beside(path, content, "picture"), info):
            raise SceneError(
                f"Expected questions about {info.photo}, found one about another image, {image}, in {path}; label the "
                "scene that the run trains on."
            )

    def _beside(self, path: Path, content: Mapping[str, Any], key: str) -> Path:
        """A file in the folder that a question names; files elsewhere are not its own to show."""
        name = content.get(key)
        if not isinstance(name, str) or name in {"", ".", ".."} or set(name) & set("/\\:\0"):
            raise _refusal(path, f"the name of a file in the same folder as {key}")
        return self.folder / name

    def answers(self, question: Question) -> dict[str, Any]:
        """The content of a JSON file of answers, by number of unit, as it is.

        Raises:
            SceneError: if it is none.
        """
        path = self.answer_path(question, ".json")
        return _object(path) if path.exists() else {}

    def has_image(self, question: Question) -> bool:
        """Whether an image answers all units."""
        return self.answer_path(question, ".png").exists()

    def taken(self, question: Question) -> set[str]:
        """Numbers of the units whose answers the run has taken.

        Raises:
            SceneError: if what the run writes about that cannot be read.
        """
        path = self.folder / TAKEN_FILE
        if not path.exists():
            return set()
        of_files: Any = _object(path).get("taken")
        try:
            steps = [of_files.get(f"{question.name}{ending}", []) for ending in (".json", ".png")]
            return {str(int(place) + 1) for of_file in steps for _, places in of_file for place in places}
        except (AttributeError, TypeError, ValueError) as error:
            raise _refusal(path, "the steps at which answers were taken") from error

    def answer_path(self, question: Question, ending: str) -> Path:
        """Where an answer is."""
        return self.folder / ANSWERS / f"{question.name}{ending}"


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise _refusal(path, "an object")
    return content


def _ids(path: Path, content: Mapping[str, Any]) -> dict[str, int]:
    classes = content.get("classes")
    found: dict[str, int] = {}
    for entry in classes if isinstance(classes, list) else [None]:
        name, number = (entry.get("name"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not _is_integer(number):
            raise _refusal(path, "a list of classes, each with id and name")
        found[name.strip().casefold()] = number
    return found


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**16


def _resolved(path: str) -> Path | None:
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def _shows(picture: Path, info: FrameInfo) -> bool:
    """Whether a picture of a question is the image of a frame, each pixel enlarged by a whole number."""
    try:
        color = read_color(replace(info, image=info.photo))
        with Image.open(picture) as image:
            factor = image.height // info.height
            if (image.width, image.height) != (factor * info.width, factor * info.height):
                return False
            shown = np.asarray(image.convert("RGB"))[factor // 2 :: factor, factor // 2 :: factor]
    except (SceneError, OSError, ValueError, SyntaxError):
        return False
    return bool((shown == color).all(axis=-1).mean() >= _LEAST_EQUAL)


def _refusal(path: Path, expected: str) -> SceneError:
    return SceneError(f"Expected {expected} in {path}, found something else; put back the file that was there.")
