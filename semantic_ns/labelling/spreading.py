"""Spreads the marks in force over a surface: the classes of its voxels, with locked classes left alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16, Int32
from numpy import ndarray

from semantic_ns.labelling.appearance_prior import AppearancePrior, Fitted, Wanted
from semantic_ns.labelling.columns import column_path
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.painting import PaintedMark, Painting
from semantic_ns.labelling.solver import COLUMN_CONSTANTS, ExactSolver, Observation
from semantic_ns.labelling.surface import LabelSurface

_MOST_VOXELS = 64
"""Voxels whose mean one observation speaks of; of a mark with more voxels, parts of it do."""
_MOST_PARTS = 8
REACHED = 0.1
"""Confidence below which a voxel is far from any mark: the first class that is marked shows everywhere."""


@dataclass(frozen=True, eq=False)
class SpreadLabels:
    """Classes of the voxels of a surface.

    Attributes:
        labels: The class id of each voxel, -1 where no mark reaches.
        confidence: How sure that is, 0..1, see `VoxelClasses.confidence`.
        contradicted: Whether marks of two classes speak of the voxel.
        fitted: What tells the marks that `AppearancePrior` is fitted to from others; empty where it says nothing.
    """

    labels: Int16[ndarray, "voxels"]
    confidence: Float32[ndarray, "voxels"]
    contradicted: ndarray
    fitted: str = ""


def split_voxels(voxels: Int32[ndarray, "voxels"]) -> list[Int32[ndarray, "_part"]]:
    """The voxels of a mark in parts of about equal size, each of neighbours in the order of the grid.

    A mean says little about the voxels of a large area, and one column for each voxel would cost too much.
    """
    num_parts = min(_MOST_PARTS, -(-len(voxels) // _MOST_VOXELS))
    return np.array_split(voxels, num_parts) if num_parts > 1 else [voxels]


@dataclass(frozen=True, eq=False)
class Beneath:
    """Imported labels beneath the marks.

    Attributes:
        labels: The labels.
        weight: Weight of one of their voxels beside one with a mark.
        class_ids: The id in the session of each of their classes.
    """

    labels: ImportedLabels
    weight: float
    class_ids: tuple[int, ...]


class Spreader:
    """A surface with its solver, which turns paintings into classes of voxels (slow to make: factors a matrix).

    Args:
        surface: The surface. If it has features, and nothing is known beneath the marks, voxels far from these take
            the class that they look like.
        beneath: What is known beneath the marks.
        folder: Where columns of marks are kept for the next start; None for nowhere.

    Attributes:
        surface: The surface.
        wanted: The marks that were spread last, if the classifier of what looks alike was fitted to others.
    """

    def __init__(self, surface: LabelSurface, beneath: "Beneath | None" = None, folder: Path | None = None) -> None:
        self.surface = surface
        self.wanted: Wanted | None = None
        self._last: Fitted | None = None
        self._anchored = () if beneath is None else beneath.class_ids
        has_prior = beneath is None and surface.features.shape[1] > 0
        self._prior = AppearancePrior(surface.features) if has_prior else None
        if beneath is not None:
            anchors = beneath.labels.anchors(surface, beneath.weight)
        else:
            anchors = None if self._prior is None else self._prior.anchors
        known = () if anchors is None else (anchors.weights, anchors.shares)
        columns = None if folder is None else column_path(folder, surface, known, COLUMN_CONSTANTS)
        self._solver = ExactSolver(surface.graph, surface.clusters, anchors, columns)
        # Of each mark its pixels in each image, and what was found for them: other pixels are another array.
        self._parts: dict[int, tuple[list[ndarray], list[ndarray]]] = {}

    def parts_of(self, painting: Painting) -> dict[int, list[Int32[ndarray, "_part"]]]:
        """For each mark in force that paints, by its revision, the voxels that it speaks of, in parts."""
        found: dict[int, list[ndarray]] = {}
        for revision, marks in _painted_marks(painting).items():
            pixels = [painting.pixels(mark.number) for mark in marks]
            known = self._parts.get(revision)
            if known is None or not _are_same(known[0], pixels):
                of_frames = [self._voxels(mark, own) for mark, own in zip(marks, pixels, strict=True)]
                voxels = np.unique(np.concatenate(of_frames))
                voxels = voxels[voxels >= 0].astype(np.int32)
                known = pixels, split_voxels(voxels) if len(voxels) else []
                self._parts[revision] = known
            found[revision] = known[1]
        return found

    def _voxels(self, mark: PaintedMark, pixels: Int32[ndarray, "pixels"]) -> Int32[ndarray, "pixels"]:
        return self.surface.voxels_at(mark.frame, *np.divmod(pixels, mark.width))

    def prepare(self, painting: Painting, final_ids: Mapping[int, int]) -> None:
        """Compute the columns of all marks of a painting, and fit what looks alike, so that `spread` has little to do.

        Nobody may spread meanwhile. For the arguments see `spread`.
        """
        for parts in self.parts_of(painting).values():
            for part in parts:
                self._solver.prepare(part)
        if self._prior is not None:
            self._fitted(self._said(painting, final_ids), self._prior, is_final=True)

    def keep_columns(self, paintings: Iterable[Painting]) -> None:
        """Let the file of columns have those of the marks of some paintings, and few others."""
        parts = [part for painting in paintings for of_mark in self.parts_of(painting).values() for part in of_mark]
        self._solver.keep_columns(parts)

    def spread(self, painting: Painting, final_ids: Mapping[int, int], is_final: bool = True) -> SpreadLabels:
        """Classes of all voxels from the marks of a painting.

        Args:
            painting: The marks.
            final_ids: The class that marks of each class count for; those of other classes say nothing.
            is_final: Whether what looks alike is what these very marks say. It may else be what was fitted last, and
                `wanted` has the marks that it should be fitted to.
        """
        said, anchored = self._said(painting, final_ids), self._anchored
        fitted = None
        if self._prior is not None:
            fitted = self._fitted(said, self._prior, is_final)
            self._solver.take_base(fitted.base)
            anchored = fitted.class_ids
        anchored = [final_ids.get(number, -1) for number in anchored]
        used = sorted({*said.class_ids, *anchored} - {-1})
        place = {class_id: index for index, class_id in enumerate(used)}
        observations = [Observation(one.voxels, place[said.class_ids[one.label]]) for one in said.observations]
        found = self._solver.solve(observations, max(1, len(used)), [place.get(number, -1) for number in anchored])
        ids = np.array([*used, -1], np.int16)
        contradicted = self._contradicted(observations)
        return SpreadLabels(ids[found.labels], found.confidence, contradicted, "" if fitted is None else fitted.key)

    def _said(self, painting: Painting, final_ids: Mapping[int, int]) -> Wanted:
        """What the marks of a painting say, in the order in which they came."""
        class_ids = {revision: _class_of(marks[0]) for revision, marks in _painted_marks(painting).items()}
        parts = {
            revision: of_mark
            for revision, of_mark in self.parts_of(painting).items()
            if class_ids[revision] in final_ids
        }
        classes = {revision: final_ids[class_ids[revision]] for revision in parts if parts[revision]}
        used = sorted(set(classes.values()))
        place = {class_id: index for index, class_id in enumerate(used)}
        observations = [
            Observation(part, place[classes[revision]]) for revision in sorted(classes) for part in parts[revision]
        ]
        return Wanted(observations, tuple(used))

    def fit(self, wanted: Wanted) -> Fitted:
        """What looks alike by some marks (slow). Others may spread meanwhile; `take` then lets it count."""
        if self._prior is None:
            raise ValueError("nothing is known of what voxels look like")
        return self._prior.fit(wanted, self._solver)

    def take(self, fitted: Fitted) -> None:
        """Let what looks alike count for the marks that it was fitted to, and for others until theirs is there."""
        if self._prior is not None:
            self._prior.keep(fitted)
            self._last = fitted

    def _fitted(self, said: Wanted, prior: AppearancePrior, is_final: bool) -> Fitted:
        """What is fitted to some marks, or was fitted last if it need not be final."""
        found = prior.find(said)
        if found is None and (is_final or self._last is None or not self._last.class_ids):
            found = prior.fit(said, self._solver)
            prior.keep(found)
        if is_final:
            assert found is not None
            return found
        self.wanted = said if found is None else None
        self._last = found or self._last
        assert self._last is not None
        return self._last

    def _contradicted(self, observations: Sequence[Observation]) -> ndarray:
        first = np.full(self._solver.num_voxels, -1, np.int32)
        contradicted = np.zeros(self._solver.num_voxels, np.bool_)
        for observation in observations:
            before = first[observation.voxels]
            contradicted[observation.voxels] |= (before >= 0) & (before != observation.label)
            first[observation.voxels] = observation.label
        return contradicted


def _painted_marks(painting: Painting) -> dict[int, list[PaintedMark]]:
    """The marks that paint, by their revisions: one for each image that they are on."""
    found: dict[int, list[PaintedMark]] = defaultdict(list)
    for mark in painting.marks.values():
        if mark.action == "paint":
            found[mark.revision].append(mark)
    return found


def _are_same(first: Sequence[ndarray], second: Sequence[ndarray]) -> bool:
    return len(first) == len(second) and all(one is other for one, other in zip(first, second, strict=True))


def _class_of(mark: PaintedMark) -> int:
    if mark.class_id is None:
        raise ValueError(f"mark {mark.number} paints without a class")
    return mark.class_id
