"""Questions to a person or a program by way of a folder, and their answers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Int64, Integer, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.revealed_labels import Answer
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.images import read_label_image
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.taxonomy import VOID

ANSWERS = "answers"
"""Folder of the answers, inside that of the questions."""
RUN_FILE = "run.json"
"""File that says which run asks here."""
TAKEN_FILE = "taken.json"
"""File that says at which step of the run each answer was taken, and up to which step answers were looked for."""
MASKS = "masks"
"""In an answer of a unit that has several classes: a list of pairs of a class and the run lengths of its pixels."""
_ENDINGS = (".json", ".png")
_LONGEST_SIDE_PX = 960
_MOST_NUMBERS = 300
"""A picture with more units than this has no room for their numbers."""
_MOST_UNITS = 2**16 - 1
_HOW_TO_ANSWER = (
    "Give each unit (outlined and numbered in the picture; its number is the value of its pixels in the image of "
    f"units, 0 is not asked) a class, in {ANSWERS}/<name of the question> with one of two endings. .json: an object "
    'from numbers of units to names or ids of classes, such as {"1": "chair", "2": 20, "3": "void"}; units may be left '
    'out and added later. A unit of several classes is {"masks": [["chair", runs], ["table", runs]]}: the run lengths '
    "of COCO of each class over the whole frame, compressed or not; its other pixels are void. .png: ids of classes "
    "for the whole frame, 8 or 16 bit grey; only pixels of units count."
)


class FolderOracle:
    """Writes one question for each frame of a round into a folder, and takes up answers as they come.

    `round-01_frame-0012.json` lists units, classes and how to answer, `.png` shows the frame with the units outlined,
    `_units.png` holds their numbers. `round-01.json` comes last; an existing round is
    never re-issued. On resume, each recorded answer is applied at its original step, so the run is reproducible; newer
    answers are applied at the first look after the last one that did not find them.

    An answer that cannot be read may be half-written: it is left alone until it can, and complained of once if it does
    not change any more.

    Args:
        folder: made as needed.
        units: division of the pool.
        dataset: the pool: images, their names, and classes.
        settings: what distinguishes the run; a folder of a run with others is refused.
        is_resumed: whether the run goes on from a checkpoint. One that starts anew takes all answers that are there
            with its first look: they came while no run was there to take them.

    Raises:
        SceneError: if the folder belongs to another run, or cannot be written to.
    """

    def __init__(
        self, folder: Path, units: Units, dataset: SemanticDataset, settings: dict[str, Any], is_resumed: bool = True
    ) -> None:
        self._folder, self._units, self._dataset = folder, units, dataset
        self._names = frame_names(dataset)
        self._taken: dict[str, list[Any]] = {}
        self._looked = self._looked_before = -1
        self._unread: dict[Path, tuple[int, int]] = {}
        self._told: dict[Path, tuple[int, int]] = {}
        self._foreign: set[str] = set()
        # The number of units tells scenes apart whose frames have the same names.
        content = {
            "settings": settings,
            "frames": self._names,
            "classes": list(dataset.taxonomy.names),
            "num_units": len(units),
        }
        if (folder / RUN_FILE).exists():
            if read_json(folder / RUN_FILE) != content:
                raise SceneError(
                    f"Expected a new folder, or the one of this run, found {folder / RUN_FILE} of a run with other "
                    "frames, classes or options; choose another --pipeline.active.oracle-folder."
                )
            if is_resumed and (folder / TAKEN_FILE).exists():
                log = read_json(folder / TAKEN_FILE)
                self._taken, self._looked, self._looked_before = log["taken"], log["looked"], log["looked"]
        with write_errors_as_scene_error(folder):
            (folder / ANSWERS).mkdir(parents=True, exist_ok=True)
            write_json(folder / RUN_FILE, content)

    def asked_in(self, number: int) -> Int64[ndarray, "asked"] | None:
        """What was asked in a round before, by this run or before it was resumed."""
        path = self._folder / f"{_round_name(number)}.json"
        return np.array(read_json(path)["units"], np.int64) if path.exists() else None

    def ask(self, number: int, chosen: Int64[ndarray, "chosen"]) -> None:
        """Write the questions of a round, unless they are there.

        Raises:
            SceneError: if the folder cannot be written to, or more units of a frame are asked for than have numbers.
        """
        path = self._folder / f"{_round_name(number)}.json"
        if path.exists():
            return
        with write_errors_as_scene_error(self._folder):
            for frame, asked in self._by_frame(chosen):
                self._write_question(_question_name(number, frame), frame, asked)
            write_json(path, {"units": chosen.tolist()})
        announce("active learning", f"Round {number} asks in {self._folder} and takes answers from its {ANSWERS}/.")

    def answers(self, pending: Int64[ndarray, "pending"], step: int) -> Sequence[Answer]:
        """Answers that can be read and are due at this step."""
        found, before = [], json.dumps(self._taken)
        for path in sorted(self._folder.glob("round-*_frame-*.json")):
            question = path.stem
            frame, asked = int(question.rpartition("-")[2]), None
            for answer in (self._folder / ANSWERS / f"{question}{ending}" for ending in _ENDINGS):
                if answer.exists():
                    asked = np.array(read_json(path)["units"], np.int64) if asked is None else asked
                    if np.isin(asked, pending).any():
                        found += self._take(answer, frame, asked, pending, step)
        self._tell_of_foreign_files()
        if step > self._looked or json.dumps(self._taken) != before:
            self._looked = max(step, self._looked)
            with write_errors_as_scene_error(self._folder):
                write_json(self._folder / TAKEN_FILE, {"looked": self._looked, "taken": self._taken})
        return found

    def _tell_of_foreign_files(self) -> None:
        """Name files, once each, that answer no question: a wrong name or ending would wait for ever."""
        known = {f"{path.stem}{ending}" for path in self._folder.glob("round-*_frame-*.json") for ending in _ENDINGS}
        names = {path.name for path in (self._folder / ANSWERS).iterdir()} - known - self._foreign
        for name in sorted(name for name in names if not name.startswith(".")):
            announce("active learning", f"{ANSWERS}/{name} answers no question; see how_to_answer in the questions.")
        self._foreign |= names

    def _by_frame(self, chosen: Int64[ndarray, "chosen"]) -> Iterator[tuple[int, Int64[ndarray, "asked"]]]:
        frames = self._units.frames[chosen]
        for frame in np.unique(frames):
            yield int(frame), chosen[frames == frame]

    def _write_question(self, name: str, frame: int, asked: Int64[ndarray, "asked"]) -> None:
        if len(asked) > _MOST_UNITS:
            raise SceneError(
                f"Expected at most {_MOST_UNITS} units of a frame to be asked for in a folder, found {len(asked)}; "
                "ask for regions or frames, or set smaller --pipeline.active.budgets."
            )
        # All pixels are those of the photo, whose name the question has, though training may see it undistorted.
        numbers = self._dataset.parts_as_stored(self._numbers(frame, asked), frame)
        colors = self._dataset.stored_color_of(frame)
        taxonomy = self._dataset.taxonomy
        write_png(self._folder / f"{name}.png", draw_units(colors, numbers))
        write_png(self._folder / f"{name}_units.png", numbers.astype(np.uint16))
        classes = zip(taxonomy.source_ids, taxonomy.names, taxonomy.colors, strict=True)
        content = {
            "image": str(self._dataset.image_filenames[frame]),
            "picture": f"{name}.png",
            "image_of_units": f"{name}_units.png",
            "how_to_answer": _HOW_TO_ANSWER,
            "void_id": taxonomy.void_source_id,
            "classes": [{"id": number, "name": title, "color": list(color)} for number, title, color in classes],
            "units": asked.tolist(),
            "boxes": boxes_of(numbers, len(asked)),
        }
        write_json(self._folder / f"{name}.json", content)

    def _numbers(self, frame: int, asked: Int64[ndarray, "asked"]) -> Int64[ndarray, "height width"]:
        """The place, from 1, of each pixel's unit among those asked for; 0: not asked for."""
        places = np.zeros(len(self._units.frames) + 1, np.int64)
        places[asked] = np.arange(1, len(asked) + 1)
        return places[self._units.maps[frame]]

    def _take(
        self, path: Path, frame: int, asked: Int64[ndarray, "asked"], pending: Int64[ndarray, "pending"], step: int
    ) -> list[Answer]:
        status = path.stat()
        stamp = status.st_mtime_ns, status.st_size
        if self._told.get(path) == stamp:
            return []
        try:
            places, labels = self._read(path, frame, asked)
        except SceneError as error:
            if self._unread.get(path) == stamp:  # it is not being written any more
                announce("active learning", f"This answer is not taken. {error}")
                self._told[path] = stamp
            self._unread[path] = stamp
            return []
        # What was taken before stays in the file.
        places = self._due(path.name, places[np.isin(asked[places], pending)], step)
        return [Answer(frame, asked[places], labels)] if len(places) else []

    def _due(self, name: str, places: Int64[ndarray, "answered"], step: int) -> Int64[ndarray, "due"]:
        """Of the units that are answered those to be taken now: new ones, and those whose step of before has come."""
        before = {place: at for at, taken in self._taken.get(name, []) for place in taken}
        new = [place for place in places.tolist() if place not in before] if step > self._looked_before else []
        if new:
            self._taken.setdefault(name, []).append([step, new])
        due = [place for place in places.tolist() if before.get(place, step + 1) <= step]
        return np.array(sorted([*due, *new]), np.int64)

    def _read(
        self, path: Path, frame: int, asked: Int64[ndarray, "asked"]
    ) -> tuple[Int64[ndarray, "answered"], Int16[ndarray, "height width"]]:
        """Places of the answered units among those asked for, and the labels of the frame."""
        numbers = self._numbers(frame, asked)
        if path.suffix == ".json":
            classes = self._read_classes(path, len(asked))
            masks = {place: found for place, found in classes.items() if isinstance(found, list)}
            table = np.full(len(asked) + 1, VOID, np.int16)
            for place, found in classes.items():
                table[place + 1] = VOID if isinstance(found, list) else found
            labels = table[numbers]
            return np.array([*classes], np.int64), self._with_masks(labels, numbers, masks, frame, path)
        ids = read_label_image(path)
        if ids.shape != numbers.shape:
            height, width = numbers.shape
            raise SceneError(
                f"Expected an answer of {width}x{height} pixels at {path}, found {ids.shape[1]}x{ids.shape[0]}; write "
                "it at the size of the frame."
            )
        ids = np.where(numbers > 0, self._dataset.undistorted(ids, frame), self._dataset.taxonomy.void_source_id)
        return np.arange(len(asked)), self._dataset.taxonomy.encode(ids, str(path))

    def _with_masks(
        self,
        labels: Int16[ndarray, "height width"],
        numbers: Int64[ndarray, "height width"],
        masks: dict[int, list[Any]],
        frame: int,
        path: Path,
    ) -> Int16[ndarray, "height width"]:
        """Labels with those of units that are answered pixel by pixel, by place."""
        if not masks:
            return labels
        stored, (height, width) = self._dataset.parts_as_stored(numbers, frame), numbers.shape
        taxonomy = self._dataset.taxonomy
        ids = np.full(numbers.shape, taxonomy.void_source_id, np.int64)
        for place, of_unit in masks.items():
            for title, runs in of_unit:
                number = self._class_of(title, path)
                ids[_mask(runs, width, height, path) & (stored == place + 1)] = (
                    taxonomy.void_source_id if number == VOID else taxonomy.source_ids[number]
                )
        found = taxonomy.encode(self._dataset.undistorted(ids, frame), str(path))
        return np.where(np.isin(numbers, np.array([*masks]) + 1), found, labels).astype(np.int16)

    def _read_classes(self, path: Path, num_asked: int) -> dict[int, int | list[Any]]:
        """The class of each unit that a JSON file answers, by place, or a list of classes with their run lengths."""
        content = read_json(path)
        if not isinstance(content, dict):
            raise SceneError(f"Expected an object from numbers of units to classes in {path}, found none; write one.")
        found: dict[int, int | list[Any]] = {}
        for number, name in content.items():
            if not number.isdecimal() or not 1 <= int(number) <= num_asked:
                raise SceneError(f"Expected units 1..{num_asked} in {path}, found {number!r}; see the image of units.")
            masks = name.get(MASKS) if isinstance(name, dict) else None
            found[int(number) - 1] = (
                masks if isinstance(masks, list) and _are_masks(masks) else self._class_of(name, path)
            )
        return found

    def _class_of(self, name: Any, path: Path) -> int:
        taxonomy = self._dataset.taxonomy
        is_word = isinstance(name, str | int)  # and no list, which is none of the ids
        if is_word and (name == "void" or name in taxonomy.void_source_ids):
            return VOID
        for known in (taxonomy.names, taxonomy.source_ids) if is_word else ():
            if name in known:
                return known.index(name)
        raise SceneError(
            f"Expected a name or id of a class of the scene, void, or {MASKS} in {path}, found {name!r:.60}; the "
            "question lists them."
        )


def _are_masks(values: list[Any]) -> bool:
    return all(isinstance(one, list) and len(one) == 2 for one in values)


def _mask(runs: Any, width: int, height: int, path: Path) -> ndarray:
    try:
        is_list = isinstance(runs, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in runs)
        return decode_coco(runs if is_list or isinstance(runs, str) else "?", width, height)
    except ValueError as error:
        raise SceneError(
            f"Expected the run lengths of a mask of {width}x{height} pixels in {path}, found {error}; write it at the "
            "size of the frame."
        ) from error


def _round_name(number: int) -> str:
    return f"round-{number:02d}"


def _question_name(number: int, frame: int) -> str:
    return f"{_round_name(number)}_frame-{frame:04d}"


def boxes_of(numbers: Integer[ndarray, "height width"], count: int) -> list[list[int]]:
    """Left, top (inclusive), right, bottom (exclusive) of the pixels that have each number from 1 to `count`."""
    from scipy import ndimage

    found = ndimage.find_objects(numbers, max_label=count)
    return [[] if box is None else [box[1].start, box[0].start, box[1].stop, box[0].stop] for box in found]


def draw_units(
    colors: UInt8[ndarray, "height width 3"], numbers: Integer[ndarray, "height width"]
) -> UInt8[ndarray, "tall wide 3"]:
    """A frame, enlarged by a whole number, with an outline in white and a number for each unit; 0 is no unit."""
    from skimage.segmentation import find_boundaries

    factor = max(1, _LONGEST_SIDE_PX // max(numbers.shape))
    large, units = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (colors, numbers))
    if numbers.min() > 0 and numbers.max() == 1:
        return large
    large = np.where(find_boundaries(units, mode="inner")[..., None], np.uint8(255), large)
    image = Image.fromarray(large)
    boxes = boxes_of(numbers, int(numbers.max()))
    if len(boxes) <= _MOST_NUMBERS:
        pen, font = ImageDraw.Draw(image), ImageFont.load_default()
        for number, box in enumerate(boxes, 1):
            if not box:
                continue
            column, row = _inside(numbers, number, box)
            pen.text(
                (factor * (column + 0.5), factor * (row + 0.5)),
                str(number),
                fill="white",
                font=font,
                anchor="mm",
                stroke_width=1,
                stroke_fill="black",
            )
    return np.asarray(image)


def _inside(numbers: Integer[ndarray, "height width"], number: int, box: list[int]) -> tuple[int, int]:
    """Column and row of the pixel of a unit that is nearest to the middle of its box: a bent one may not cover that."""
    left, top, right, bottom = box
    rows, columns = np.nonzero(numbers[top:bottom, left:right] == number)
    nearest = np.argmin((columns - (right - left - 1) / 2) ** 2 + (rows - (bottom - top - 1) / 2) ** 2)
    return left + int(columns[nearest]), top + int(rows[nearest])
