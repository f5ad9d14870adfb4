"""A session as the labelling server sees it, without a trained scene: objects on a wall, seen by a camera that moves.

A mark colours the object that it lies on in all frames, and the pixels that it covers as they are.
"""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw

from semantic_ns.errors import SceneError
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.in_force import ImportInForce
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.ranking import FrameRank
from semantic_ns.labelling.region_ranking import RegionRank
from semantic_ns.labelling.session import Progress
from semantic_ns.labelling.surface import FrameInfo
from semantic_ns.labelling.view import View
from semantic_ns.labelling.view_marks import covered, with_masks

NOTHING, VOID = -1, -2
SHIFT = 24
"""Pixels by which each frame lies further right than the one before."""
OBJECTS = (
    # colour, box in shares of the frame
    ((196, 189, 176), (0.0, 0.0, 9.0, 0.7)),
    ((120, 88, 60), (0.0, 0.7, 9.0, 1.0)),
    ((74, 96, 140), (0.1, 0.45, 0.5, 0.85)),
    ((150, 60, 50), (0.6, 0.2, 0.85, 0.45)),
    ((60, 120, 80), (0.9, 0.5, 1.1, 0.8)),
    ((220, 200, 120), (1.2, 0.1, 1.35, 0.75)),
)


class Cameras(NamedTuple):
    c2w: ndarray
    intrinsics: ndarray


@dataclass
class SmallSession:
    """See `LABELS` for the classes that it begins with; everything is in memory."""

    num_frames: int = 6
    height: int = 120
    width: int = 160
    names: tuple[str, ...] = ("wall", "floor", "sofa", "picture", "plant", "lamp")
    revision: int = 0
    num_voxels: int = 100
    fitted: str = ""
    alike: int = NOTHING
    """The class of objects without a mark; `fitted` tells that it is another one."""
    void_id: int = 255
    done: dict[tuple[str, int], int] = field(default_factory=dict)
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    undone: dict[str, list[Mark]] = field(default_factory=dict)
    pixels: dict[int, ndarray] = field(default_factory=dict)
    added: dict[tuple[str, int], int] = field(default_factory=dict)
    imported: ImportInForce | None = None
    has_surface: bool = True
    """Whether marks lie on the surface; where they do not, they spread here all the same."""
    failure: Exception | None = None
    """What the next action raises."""
    identity: str = "0123456789abcdef"
    frame_numbers: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    exported_coco: bool = False
    exported_points: bool = False

    def __post_init__(self) -> None:
        size = (self.width + SHIFT * self.num_frames, self.height)
        color, objects = Image.new("RGB", size), Image.new("L", size)
        for number, (rgb, (left, top, right, bottom)) in enumerate(OBJECTS):
            box = (left * self.width, top * self.height, right * self.width - 1, bottom * self.height - 1)
            ImageDraw.Draw(color).rectangle(box, fill=rgb)
            ImageDraw.Draw(objects).rectangle(box, fill=number)
        noise = np.random.default_rng(0).integers(-9, 10, (self.height, size[0], 1))
        self._color = np.clip(np.asarray(color).astype(int) + noise, 0, 255).astype(np.uint8)
        self._objects = np.asarray(objects).astype(np.int32)
        self.lock = threading.RLock()
        self._surface = self._make_surface()
        self.frames = [
            FrameInfo(f"frame_{number:03d}", self.height, self.width, Path(f"frame_{number:03d}.png"))
            for number in range(self.num_frames)
        ]
        self.frame_numbers = self.frame_numbers or [*range(self.num_frames)]
        colors = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0), (204, 121, 167), (240, 228, 66))
        self.classes = [LabelClass(number, name, colors[number % 6]) for number, name in enumerate(self.names)]

    def _window(self, frame: int) -> slice:
        return slice(frame * SHIFT, frame * SHIFT + self.width)

    def color(self, frame: int) -> ndarray:
        return self._color[:, self._window(frame)]

    def regions(self, frame: int) -> ndarray:
        rows, columns = np.mgrid[: self.height, : self.width]
        cells = (rows // 20) * (self.width // 20 + 1) + columns // 20
        both = self._objects[:, self._window(frame)] * 10_000 + cells
        return np.unique(both, return_inverse=True)[1].reshape(both.shape).astype(np.int32)

    def _pixels(self, mark: Mark) -> ndarray:
        return mark.mask(self.height, self.width, lambda: self.regions(mark.frame))

    def _act(self, client: str, sequence: int, action: Any) -> int:
        with self.lock:
            if (client, sequence) not in self.done:
                if self.failure is not None:
                    failure, self.failure = self.failure, None
                    raise failure
                action()
                self.revision += 1
                self.done[client, sequence] = self.revision
            return self.done[client, sequence]

    def add_mark(self, mark: Mark, client: str, sequence: int) -> int:
        if mark.frame >= self.num_frames:
            raise SceneError(f"Expected a frame from 0 to {self.num_frames - 1}, found {mark.frame}.")
        if mark.class_id is not None and mark.class_id not in [one.id for one in self.classes]:
            raise SceneError(f"Expected the number of a class, found {mark.class_id}.")
        pixels = self._pixels(mark)

        def add() -> None:
            self.marks.append((client, mark))
            self.pixels[id(mark)] = pixels
            self.undone[client] = []

        return self._act(client, sequence, add)

    def spreads(self, revision: int) -> bool:
        return self.has_surface

    def last_of_others(self, client: str) -> tuple[int, str] | None:
        if not self.marks or any(who == client for who, _ in self.marks):
            return None
        return len(self.marks), "a mark of somebody"

    def undo(self, client: str, sequence: int, of: int | None = None) -> int:
        def take_back() -> None:
            own = [number for number, (who, _) in enumerate(self.marks) if who == client]
            own = own if of is None else [of - 1]
            if not own:
                raise SceneError("There is nothing to undo.")
            self.undone.setdefault(client, []).append(self.marks.pop(own[-1])[1])

        return self._act(client, sequence, take_back)

    def redo(self, client: str, sequence: int) -> int:
        def again() -> None:
            if not self.undone.get(client):
                raise SceneError("There is nothing to redo.")
            self.marks.append((client, self.undone[client].pop()))

        return self._act(client, sequence, again)

    def add_class(self, name: str, color: Any, client: str, sequence: int) -> int:
        new = LabelClass(len(self.classes), name, color or (128, 128, 128))
        self.added.setdefault((client, sequence), new.id)
        return self._act(client, sequence, lambda: self.classes.append(new))

    def class_added_by(self, client: str, sequence: int) -> int:
        if (client, sequence) not in self.done:
            raise SceneError("Expected a class that was added before the mark, found that it was not.")
        return self.added[client, sequence]

    def _change(self, number: int, client: str, sequence: int, **changes: Any) -> int:
        if number not in range(len(self.classes)):
            raise SceneError(f"Expected the number of a class, found {number}.")

        def change() -> None:
            self.classes[number] = replace(self.classes[number], **changes)

        return self._act(client, sequence, change)

    def rename_class(self, number: int, name: str, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, name=name)

    def recolor_class(self, number: int, color: Any, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, color=color)

    def merge_class(self, number: int, into: int, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, merged_into=into)

    def split_class(self, number: int, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, merged_into=None)

    def lock_class(self, number: int, is_locked: bool, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, is_locked=is_locked)

    def void_class(self, number: int, is_void: bool, client: str, sequence: int) -> int:
        return self._change(number, client, sequence, is_void=is_void)

    def delete_class(
        self, number: int, with_marks: bool, client: str, sequence: int, most_marks: int | None = None
    ) -> int:
        own = [mark for _, mark in self.marks if mark.class_id == number]
        if own and (not with_marks or len(own) > (most_marks or len(own))):
            raise SceneError(f"Expected no marks of the class, found {len(own)}.")

        def delete() -> None:
            self.classes = [one for one in self.classes if one.id != number]
            self.marks = [(who, mark) for who, mark in self.marks if mark.class_id != number]

        return self._act(client, sequence, delete)

    def class_evidence(self) -> dict[int, tuple[int, bool]]:
        with self.lock:
            counts = {one.id: sum(mark.class_id == one.id for _, mark in self.marks) for one in self.classes}
            return {number: (count, False) for number, count in counts.items()}

    def switch_import(self, is_on: bool, client: str, sequence: int) -> int:
        if self.imported is None:
            raise SceneError("Expected imported labels to switch, found none.")
        with self.lock:
            self.imported, self.revision = replace(self.imported, is_on=is_on), self.revision + 1
            return self.revision

    def _spread(self) -> ndarray:
        """Class of each object."""
        classes = np.full(len(OBJECTS), self.alike)
        for _, mark in self.marks:
            if mark.class_id is not None:
                inside = self._objects[:, self._window(mark.frame)][self.pixels[id(mark)]]
                classes[np.bincount(inside).argmax()] = mark.class_id
        return classes

    def painted(self, frame: int) -> ndarray:
        with self.lock:
            painted = np.full((self.height, self.width), NOTHING, np.int16)
            for _, mark in self.marks:
                if mark.frame == frame:
                    said = VOID if mark.action == "void" else NOTHING
                    painted[self.pixels[id(mark)]] = said if mark.class_id is None else mark.class_id
            return painted

    def labels(self, frame: int) -> ndarray:
        with self.lock:
            painted = self.painted(frame)
            spread = self._spread()[self._objects[:, self._window(frame)]]
            return np.where(painted == NOTHING, spread, np.maximum(painted, -1)).astype(np.int16)

    def confidence(self, frame: int) -> ndarray:
        with self.lock:
            spread = np.where(self.labels(frame) >= 0, 0.75, 0.0)
            return np.where(self.painted(frame) >= 0, 1.0, spread).astype(np.float32)

    def shown_every(self, step: int) -> tuple[ndarray, ndarray]:
        frames = range(self.num_frames)
        with self.lock:
            labels, confidence = [self.labels(f) for f in frames], [self.confidence(f) for f in frames]
        return np.stack(labels)[:, ::step, ::step], np.stack(confidence)[:, ::step, ::step]

    def progress(self) -> Progress:
        with self.lock:
            share = float((self._spread() >= 0)[self._objects].mean())
            marked = {mark.frame for _, mark in self.marks}
            minutes, accuracy = 0.1 * self.revision, 0.75 * share
            counts = len(self.marks), self.revision, minutes, len(marked)
            return Progress(share, *counts, accuracy, self.num_voxels, self.fitted)

    def marked_frames(self) -> list[int]:
        with self.lock:
            return sorted({mark.frame for _, mark in self.marks})

    @property
    def surface(self) -> Cameras:
        return self._surface

    def _make_surface(self) -> Cameras:
        c2w = np.tile(np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]], np.float32), (self.num_frames, 1, 1))
        c2w[:, 0, 3] = SHIFT * np.arange(self.num_frames)
        focal = self.width / 2
        one = np.array([focal, focal, self.width / 2, self.height / 2], np.float32)
        return Cameras(c2w, np.tile(one, (self.num_frames, 1)))

    def view(self, c2w: ndarray, vertical_fov: float, height: int, width: int) -> View:
        """The nearest frame, at another size; there is no surface in its last rows."""
        if not np.isfinite(c2w).all() or not 1 <= height * width <= 1_000_000:
            raise SceneError("Expected a pose of finite numbers and a picture of a million pixels at most.")
        frame = int(np.clip(round(float(c2w[0, 3]) / SHIFT), 0, self.num_frames - 1))
        rows, columns = np.mgrid[:height, :width]
        rows, columns = rows * self.height // height, columns * self.width // width
        pixels = np.stack([np.full_like(rows, frame), rows, columns], axis=-1).astype(np.int32)
        pixels[rows >= self.height - 2] = -1
        color, labels, confidence = self.color(frame), self.labels(frame), self.confidence(frame)
        return View(color[rows, columns], labels[rows, columns], confidence[rows, columns], pixels)

    def mark_on_view(self, mark: Mark, c2w: ndarray, vertical_fov: float, height: int, width: int) -> Mark:
        pixels = self.view(c2w, vertical_fov, height, width).pixels[covered(mark, height, width)]
        masks = {}
        for frame in np.unique(pixels[pixels[:, 0] >= 0, 0]).tolist():
            masks[frame] = np.zeros((self.height, self.width), np.bool_)
            masks[frame][tuple(pixels[pixels[:, 0] == frame, 1:].T)] = True
        return with_masks(mark, masks)

    def ranked_frames(self) -> list[FrameRank]:
        scores = [float((self.labels(frame) < 0).mean()) for frame in range(self.num_frames)]
        order = sorted(range(self.num_frames), key=lambda frame: -scores[frame])
        return [FrameRank(frame, scores[frame], f"{scores[frame]:.0%} of it has no label") for frame in order]

    def ranked_regions(self) -> list[RegionRank]:
        """Objects without a class, each in the frame that shows most of it without a mark."""
        with self.lock:
            ranks = []
            for number in np.flatnonzero(self._spread() < 0).tolist():
                seen = [self._pixels_of(frame, number) for frame in range(self.num_frames)]
                frame = int(np.argmax([pixels.sum() for pixels in seen]))
                if seen[frame].any():
                    row, column = np.argwhere(seen[frame])[seen[frame].sum() // 2].tolist()
                    score = float(np.mean(seen))
                    ranks.append(
                        RegionRank(frame, column + 0.5, row + 0.5, 2.0, None, 0.0, score, f"{score:.1%} of all")
                    )
            return sorted(ranks, key=lambda rank: -rank.score)

    def ranked_region_at(self, frame: int, x: float, y: float) -> ndarray:
        with self.lock:
            number = int(self._objects[:, self._window(frame)][int(y), int(x)])
            if self._spread()[number] >= 0:
                raise SceneError("Expected an object without a class, found one that has one.")
            return self._pixels_of(frame, number)

    def _pixels_of(self, frame: int, number: int) -> ndarray:
        return (self._objects[:, self._window(frame)] == number) & (self.painted(frame) == NOTHING)

    def changed_frames(self, since: int) -> list[int]:
        return list(range(self.num_frames)) if since != self.revision else []

    def export(
        self,
        folder: Path,
        least_confidence: float = 0.0,
        painted_only: bool = False,
        coco: bool = False,
        said: Any = None,
        points: bool = False,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{frame.name}.png" for frame in self.frames]
        self.exported_coco, self.exported_points = coco, points
        for number, file in enumerate(files):
            layer = self.painted(number) if painted_only else self.labels(number)
            layer = layer if said is None else said(number)[0]
            Image.fromarray(np.where(layer < 0, 255, layer).astype(np.uint8)).save(file)
        return files

    def close(self) -> None:
        pass
