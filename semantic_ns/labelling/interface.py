"""What the server asks of a session, and nothing else; `LabelSession` is one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float32, Int16, Int32, UInt8
from numpy import ndarray

from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.in_force import ImportInForce
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.ranking import FrameRank
from semantic_ns.labelling.region_ranking import RegionRank
from semantic_ns.labelling.session import Progress
from semantic_ns.labelling.shown import Said
from semantic_ns.labelling.surface import FrameInfo
from semantic_ns.labelling.view import View


@runtime_checkable  # for beartype in the tests
class CamerasLike(Protocol):
    """The cameras of the frames."""

    @property
    def c2w(self) -> Float32[ndarray, "frames 3 4"]:
        """Poses, OpenGL axes, scene units."""
        ...

    @property
    def intrinsics(self) -> Float32[ndarray, "frames 4"]:
        """fx, fy, cx, cy, pixels."""
        ...


@runtime_checkable  # for beartype in the tests
class SessionLike(Protocol):
    """A session, of which several threads may ask at once; see `LabelSession` for what each method means."""

    @property
    def frames(self) -> Sequence[FrameInfo]:
        """The frames."""
        ...

    @property
    def identity(self) -> str:
        """What tells its marks from those of all other sessions."""
        ...

    @property
    def frame_numbers(self) -> Sequence[int]:
        """A number of each frame that stays whatever becomes of the others."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What people are to know of marks since photos were renamed, replaced or removed."""
        ...

    @property
    def classes(self) -> Sequence[LabelClass]:
        """The classes, merged ones among them."""
        ...

    @property
    def revision(self) -> int:
        """Number of actions so far."""
        ...

    @property
    def void_id(self) -> int:
        """Id of void in label images."""
        ...

    def color(self, frame: int) -> UInt8[ndarray, "height width 3"]:
        """The colours of a frame."""
        ...

    def labels(self, frame: int) -> Int16[ndarray, "height width"]:
        """Class ids, -1 where nothing is known, or for void."""
        ...

    def confidence(self, frame: int) -> Float32[ndarray, "height width"]:
        """How sure the labels are, 0..1."""
        ...

    def shown_every(
        self, step: int
    ) -> tuple[Int16[ndarray, "frames rows columns"], Float32[ndarray, "frames rows columns"]]:
        """Labels and confidence of every n-th pixel along rows and columns of all frames, at one revision."""
        ...

    def painted(self, frame: int) -> Int16[ndarray, "height width"]:
        """Painted pixels alone: the class id, -2 for void, -1 elsewhere."""
        ...

    def regions(self, frame: int) -> Int32[ndarray, "height width"]:
        """Super-pixels, numbered from 0."""
        ...

    def progress(self) -> Progress:
        """How far the session has come."""
        ...

    def marked_frames(self) -> list[int]:
        """Frames with a mark in force, in ascending order."""
        ...

    @property
    def surface(self) -> CamerasLike:
        """The surface, with the cameras that see it."""
        ...

    def view(self, c2w: Float32[ndarray, "3 4"], vertical_fov: float, height: int, width: int) -> View:
        """The surface from any pose, with its labels."""
        ...

    def mark_on_view(
        self, mark: Mark, c2w: Float32[ndarray, "3 4"], vertical_fov: float, height: int, width: int
    ) -> Mark:
        """The mark on training pixels that a mark on a picture of the surface stands for."""
        ...

    def ranked_frames(self) -> list[FrameRank]:
        """All frames, first those most worth looking at."""
        ...

    def ranked_regions(self) -> list[RegionRank]:
        """Regions of the surface that are not sure, first those most worth looking at."""
        ...

    def ranked_region_at(self, frame: int, x: float, y: float) -> Bool[ndarray, "height width"]:
        """The pixels of a frame that show the region at a place, but for those that have a mark."""
        ...

    def changed_frames(self, since: int) -> list[int]:
        """Frames whose labels may be others than at a revision."""
        ...

    def add_mark(self, mark: Mark, client: str, sequence: int) -> int:
        """Take a mark; returns the revision."""
        ...

    def spreads(self, revision: int) -> bool:
        """Whether the mark of a revision says something of the surface."""
        ...

    def undo(self, client: str, sequence: int, of: int | None = None) -> int:
        """Take back the last action of a client, or that of a revision; returns the revision that this makes."""
        ...

    def last_of_others(self, client: str) -> tuple[int, str] | None:
        """Revision and description of the last action of others, where this client has none in force."""
        ...

    def redo(self, client: str, sequence: int) -> int:
        """Repeat what a client took back last; returns the revision."""
        ...

    def add_class(self, name: str, color: Any, client: str, sequence: int) -> int:
        """Add a class; returns the revision."""
        ...

    def class_added_by(self, client: str, sequence: int) -> int:
        """The id of the class that an action of a client added."""
        ...

    def rename_class(self, number: int, name: str, client: str, sequence: int) -> int:
        """Give a class another name; returns the revision."""
        ...

    def recolor_class(self, number: int, color: Any, client: str, sequence: int) -> int:
        """Give a class another colour; returns the revision."""
        ...

    def merge_class(self, number: int, into: int, client: str, sequence: int) -> int:
        """Let the marks of a class count for another one; returns the revision."""
        ...

    def split_class(self, number: int, client: str, sequence: int) -> int:
        """Let the marks of a class that was merged count for itself again; returns the revision."""
        ...

    def lock_class(self, number: int, is_locked: bool, client: str, sequence: int) -> int:
        """Lock or unlock a class; returns the revision."""
        ...

    def void_class(self, number: int, is_void: bool, client: str, sequence: int) -> int:
        """Let a class be void for all who read the labels, or not; returns the revision."""
        ...

    def delete_class(
        self, number: int, with_marks: bool, client: str, sequence: int, most_marks: int | None = None
    ) -> int:
        """Delete a class, with its marks if they may go and are no more than that; returns the revision."""
        ...

    def class_evidence(self) -> dict[int, tuple[int, bool]]:
        """Of each class that was not merged, how many marks it has, and whether imported labels have it."""
        ...

    @property
    def imported(self) -> ImportInForce | None:
        """The labels that were imported last, if any were."""
        ...

    def switch_import(self, is_on: bool, client: str, sequence: int) -> int:
        """Let imported labels count, or not; returns the revision."""
        ...

    def export(
        self,
        folder: Path,
        least_confidence: float = 0.0,
        painted_only: bool = False,
        coco: bool = False,
        said: Said | None = None,
        points: bool = False,
    ) -> list[Path]:
        """Write label images into a new folder."""
        ...
