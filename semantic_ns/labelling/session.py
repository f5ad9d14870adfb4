"""A labelling session: marks of people on training images, the classes of all voxels, and the labels of every frame."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16, Int32, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.labelling.changes import FrameChanges, SeenVoxels
from semantic_ns.labelling.class_actions import ClassActions
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.followed_appearance import FollowedAppearance
from semantic_ns.labelling.followed_frames import FollowedFrames
from semantic_ns.labelling.free_views import FreeViews
from semantic_ns.labelling.import_actions import ImportActions
from semantic_ns.labelling.imports import DEFAULT_WEIGHT, ImportedLabels
from semantic_ns.labelling.in_force import AtLock, ImportInForce
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.painting import Painting
from semantic_ns.labelling.progress import Progress
from semantic_ns.labelling.region_maps import RegionMaps
from semantic_ns.labelling.session_journal import SessionJournal, tell_other_classes
from semantic_ns.labelling.shown import LabelsAlongEdges, Said, SaidLabels, ShownLabels
from semantic_ns.labelling.spreaders import Begun, Spreaders
from semantic_ns.labelling.spreading import REACHED, SpreadLabels
from semantic_ns.labelling.state import SessionState, Unchecked, check_client, refuse_large_ids
from semantic_ns.labelling.suggestions import Suggestions
from semantic_ns.labelling.surface import FrameInfo, LabelSurface, read_color
from semantic_ns.labelling.undo_actions import UndoActions
from semantic_ns.labels.class_table import ClassTable

JOURNAL_FILE = "marks.jsonl"


class LabelSession(
    ClassActions, ImportActions, UndoActions, FollowedFrames, FollowedAppearance, FreeViews, Suggestions
):
    """Marks of people on training images -> classes of all voxels -> labels of every frame.

    All methods can be called from several threads. Everything shown follows from the actions in force alone, so that
    taking one back shows exactly what was shown before. Each action is in the journal, on the disk, before it is
    answered, and the same (client, sequence) counts once.

    What is painted stays as painted; of two marks on one pixel the later counts, and the earlier says nothing there any
    more. A locked class is left alone by marks of other classes: these do not cover pixels that show the locked class
    (which pixels that are is written into the journal), and voxels that showed it when it was locked keep it. Where it
    only shows because no other mark is near, it can be painted over.

    Args:
        surface: The surface, of few voxels if a finer one is to follow. Where it has features, voxels far from marks
            take the class that they look like, while no imported labels count.
        folder: Where the journal is, or will be.
        classes: Names of classes, or a table of them, that there must be beside those of the scene or of the journal.
            A table also says their ids and colours.
        finer: The same surface in more voxels. A thread factors its system meanwhile, and it takes over when that is
            done; revisions do not change by it, but labels do.
        imported: Labels to begin with, beneath all marks; none for those of before, if there were any.
        import_weight: Weight of one of their voxels beside one with a mark, above 0.

    Attributes:
        notices: What people are to know of marks since photos were renamed, replaced or removed.

    Raises:
        SceneError: if the journal is that of another scene, is damaged or open elsewhere, a name is none, an id of the
            scene is too large, or a table gives a class another id than it has.
    """

    def __init__(
        self,
        surface: LabelSurface,
        folder: Path,
        classes: Sequence[str] | ClassTable = (),
        finer: LabelSurface | None = None,
        imported: ImportedLabels | None = None,
        import_weight: float = DEFAULT_WEIGHT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.frames: Sequence[FrameInfo] = surface.frames
        self._surface, self._finer, self._clock, self._folder = surface, finer, clock, folder
        self._is_closed = False
        self._begun: Begun | None = None
        self._background: threading.Thread | None = None
        self._lock = threading.RLock()
        refuse_large_ids(surface)
        self._journal = SessionJournal(folder / JOURNAL_FILE, surface, classes)
        try:
            tell_other_classes(self._journal.header, surface)
            self._state = SessionState(self.frames, self._journal.header, self.regions)
            self._shown: SpreadLabels | None = None
            self._color = lru_cache(16)(lambda frame: read_color(self.frames[frame]))
            self._regions = RegionMaps(self._color)
            for values in self._journal.entries:
                self._state.take(values)
            self.notices = self._told()
            self._changes = FrameChanges(len(self.frames), self._state.log.revision)
            self._add_missing(classes)
            if imported is not None:
                self._add_import(imported, import_weight)
            self._spreaders = Spreaders(folder)
            self._begun = self._begin(self._state.imported, self._state.locks())
            self._spreader = self._begun.spreader
            self._spreaders.keep_columns(
                self._spreader, self._begun.imported, self._state.painting, self._state.locks()
            )
        except BaseException:
            self._journal.close()
            raise
        self._refine()

    @property
    def classes(self) -> Sequence[LabelClass]:
        """The classes, merged ones among them."""
        with self._lock:
            return self._state.classes

    @property
    def revision(self) -> int:
        """Number of actions so far."""
        with self._lock:
            return self._state.log.revision

    def add_mark(self, mark: Mark, client: Unchecked, sequence: Unchecked) -> int:
        """Take a mark.

        Args:
            mark: The mark.
            client: Who made it.
            sequence: Its number among the actions of this client; the same one twice counts once.

        Returns:
            The revision that it makes.

        Raises:
            SceneError: if frame or class are unknown, or it covers no pixel, or only such of locked classes.
            JournalWriteError: if it cannot be written down; it is then not taken.
        """
        # Before the session is locked, for it may take seconds.
        regions = self.regions(mark.frame) if mark.shape["kind"] == "region" else None

        def describe() -> dict[str, Any]:
            infos = {frame: self._state.info(frame) for frame in mark.frames}
            if mark.class_id is not None:
                self._state.find_class(mark.class_id)
            masks = {
                part.frame: part.mask(
                    infos[part.frame].height,
                    infos[part.frame].width,
                    lambda frame=part.frame: self.regions(frame) if regions is None else regions,
                )
                for part in mark.parts
            }
            kept = self._less_locked(mark, masks)
            values: dict[str, Any] = {"mark": mark.to_json()}
            if kept is not masks or mark.shape["kind"] == "region":
                # Written down, since they follow from what is shown now, or from how an image is divided.
                runs = {str(frame): encode_coco(mask)["counts"] for frame, mask in kept.items() if mask.any()}
                values["pixels"] = runs if mark.shape["kind"] == "masks" else runs[str(mark.frame)]
            return values

        return self._act("mark", client, sequence, describe)

    def spreads(self, revision: int) -> bool:
        """Whether the mark of a revision says something of the surface; of one that is not in force, it is said, too.

        It does not where none of its pixels, or of those that no later mark covers, shows a voxel.
        """
        with self._lock:
            painting = self._state.painting
            is_in_force = any(mark.revision == revision for mark in painting.marks.values())
            return not is_in_force or bool(self._spreader.parts_of(painting).get(revision))

    def _act(self, kind: str, client: Unchecked, sequence: Unchecked, describe: Callable[[], dict[str, Any]]) -> int:
        """Take an action, once it is on the disk."""
        check_client(client, sequence)
        begun: Begun | None = None
        while True:
            with self._lock:
                answer = self._state.log.answer(client, sequence)
                if answer is not None:
                    return answer
                values = {"kind": kind, "client": client, "sequence": sequence, "time": self._clock(), **describe()}
                before, after = self._state.imported, self._state.imported_after(values)
                if after == before or self._begun is None or (begun is not None and begun.imported == after):
                    return self._take(values, None if after == before else begun)
                locks = self._state.locks()
            # Others act meanwhile. Before the journal has it, for what cannot be read is not switched on.
            begun = self._begin(after, locks)

    def _take(self, values: dict[str, Any], begun: Begun | None) -> int:
        self._journal.append(values)
        self._shown = None
        self._changes.painted(self._state.take(values), self._state.log.revision)
        if begun is not None:
            self._begun, self._spreader = begun, begun.spreader
            self._refine()
        return self._state.log.revision

    def _less_locked(self, mark: Mark, masks: dict[int, ndarray]) -> dict[int, ndarray]:
        """The pixels of a mark by frame, without those that show a locked class other than its own."""
        locked = self._state.locked_for(mark.class_id)
        if not locked:
            return masks
        kept = {
            frame: mask & ~(np.isin(self.labels(frame), list(locked)) & (self.confidence(frame) >= REACHED))
            for frame, mask in masks.items()
        }
        if all((kept[frame] == mask).all() for frame, mask in masks.items()):
            return masks
        if not any(mask.any() for mask in kept.values()):
            raise SceneError(
                "Expected a mark on pixels that may change, found that all of its pixels show a locked class; unlock "
                "the class first."
            )
        return kept

    def color(self, frame: Unchecked) -> UInt8[ndarray, "height width 3"]:
        """The colours of a frame."""
        self._state.info(frame)
        return self._color(int(frame))

    def labels(self, frame: Unchecked) -> Int16[ndarray, "height width"]:
        """Class ids, painted where painted, else those of the voxels; -1 where nothing is known, or for void."""
        with self._lock:
            return self._shown_labels().labels(frame)

    def voxel_labels(self) -> Int16[ndarray, "voxels"]:
        """The class id of each voxel of `surface`, -1 where nothing is known."""
        with self._lock:
            return self._spread().labels

    def confidence(self, frame: Unchecked) -> Float32[ndarray, "height width"]:
        """How sure the labels are: 1 where painted, 0 where no mark reaches.

        Elsewhere it is the probability of the voxel's class, and less where the nearest mark is far away along the
        surface.
        """
        with self._lock:
            return self._shown_labels().confidence(frame)

    def shown_every(
        self, step: int
    ) -> tuple[Int16[ndarray, "frames rows columns"], Float32[ndarray, "frames rows columns"]]:
        """Labels and confidence of every n-th pixel along rows and columns of all frames, at one revision.

        Marks are taken meanwhile.
        """
        return self._frozen_labels().every(step)

    def painted(self, frame: Unchecked) -> Int16[ndarray, "height width"]:
        """Painted pixels alone: the class id, -2 where void is painted, -1 elsewhere."""
        self._state.info(frame)
        with self._lock:
            return self._state.painted(frame)

    def regions(self, frame: Unchecked) -> Int32[ndarray, "height width"]:
        """Super-pixels of a frame, numbered from 0 (slow the first time: nobody else waits for it)."""
        self._state.info(frame)
        return self._regions.of(int(frame))

    def progress(self) -> Progress:
        """How far the session has come."""
        with self._lock:
            return Progress.of(self._state, self._spread())

    def marked_frames(self) -> list[int]:
        """Frames with a mark in force, in ascending order."""
        with self._lock:
            return sorted({mark.frame for mark in self._state.painting.marks.values()})

    def changed_frames(self, since: int) -> list[int]:
        """Frames that show something else than at a revision; all of them where that is not known any more."""
        with self._lock:
            self._spread()
            return self._changes.since(since)

    def export(
        self,
        folder: Path,
        least_confidence: float = 0.0,
        painted_only: bool = False,
        coco: bool = False,
        said: Said | None = None,
        points: bool = False,
    ) -> list[Path]:
        """Write label images of all frames and the table of classes into a new folder, see `export_labels`.

        They are those of the revision at which it begins. Marks are taken meanwhile. Where the voxel of every n-th
        pixel alone is known, spread labels follow the edges of the pictures in between, see `edges.along_edges`.

        Args:
            folder: A new or an empty folder outside the scene.
            least_confidence: Spread labels that are less sure become void.
            painted_only: Whether to write painted pixels alone.
            coco: Whether to write annotations in the format of COCO as well.
            said: What to write in the place of spread labels, if anything.
            points: Whether to write the surface as a point cloud as well.
        """
        from semantic_ns.labelling.export import export_labels

        shown = LabelsAlongEdges(self._frozen_labels(is_final=True), self.color)
        shown = shown if said is None else SaidLabels(shown, said)
        return export_labels(shown, folder, least_confidence, painted_only, coco, points)

    @property
    def surface(self) -> LabelSurface:
        """The surface that labels spread over now."""
        with self._lock:
            return self._spreader.surface

    @property
    def void_id(self) -> int:
        """Id of void in label images."""
        return self._state.void_id

    def close(self) -> None:
        """End the session; what was answered is on the disk already."""
        with self._lock:
            self._is_closed = True
            self._journal.close()

    def _frozen_labels(self, is_final: bool = False) -> ShownLabels:
        """What is shown now, or will be once what looks alike is fitted; later actions do not change it."""
        with self._lock:
            spread = self._state.spread_by(self._spreader, self._spreaders.aside) if is_final else self._spread()
            return ShownLabels(self._state.frozen(), self._spreader.surface, spread)

    def _shown_labels(self) -> ShownLabels:
        return ShownLabels(self._state, self._spreader.surface, self._spread())

    def _spread(self) -> SpreadLabels:
        if self._shown is None:
            self._shown = self._state.spread_by(self._spreader, self._spreaders.aside, is_final=False)
            self._changes.take(self._spreader.surface, self._shown, self._state.log.revision)
            self._fit_soon()
        return self._shown

    def _begin(self, imported: ImportInForce | None, locks: list[AtLock]) -> Begun:
        """What to spread with over the coarser surface with imported labels, and with those of locks (slow)."""
        begun = self._spreaders.begin(self._surface, imported)
        self._spreaders.make_for_locks(self._surface, imported, locks)
        return begun

    def _refine(self) -> None:
        """Let a thread factor the system of the finer surface, if there is one."""
        if self._finer is not None and self._begun is not None:
            asked = self._finer, self._begun, self._background
            self._background = threading.Thread(target=self._take_finer, args=asked, daemon=True)
            self._background.start()

    def _take_finer(self, surface: LabelSurface, begun: Begun, before: threading.Thread | None) -> None:
        """Factor the system of a finer surface, solve for the marks of meanwhile, and spread over it from then on."""
        if before is not None:
            before.join()  # which ends soon: it, too, looks whether others have begun anew
        try:
            if begun is not self._begun or self._is_closed:
                return
            spreader, seen, is_first = self._spreaders.make(surface, begun.imported), SeenVoxels(surface), True
            while not self._is_closed and begun is self._begun:
                with self._lock:
                    revision, marks = self._state.log.revision, list(self._state.painting.marks.values())
                    locks, final_ids = self._state.locks(), self._state.final_ids()
                spreader.prepare(Painting.of(marks), final_ids)
                self._spreaders.prepare_locks(spreader, begun.imported, locks, final_ids)
                if is_first:  # of a spreader over this surface: what is done from then on is kept
                    self._spreaders.keep_columns(spreader, begun.imported, Painting.of(marks), locks)
                is_first = False
                with self._lock:
                    is_current = self._state.log.revision == revision and begun is self._begun
                    if is_current and not self._is_closed:
                        self._shown, self._spreader = None, spreader
                        self._begun = Begun(begun.imported, spreader)  # without the coarser one
                        self._changes.expect(seen)
                        self._spread()
                        return
        except MemoryError:
            announce("labelling", "the finer surface does not fit into memory; labels keep to the coarser one")
        except SceneError as error:  # imported labels that are gone by now, for one
            announce("labelling", f"labels keep to the coarser surface: {error}")

    def wait_for_finer(self, timeout_s: float = 600.0) -> bool:
        """Wait until the finer surface has taken over; whether it has."""
        if self._background is not None:
            self._background.join(timeout_s)
        return self._background is None or not self._background.is_alive()
