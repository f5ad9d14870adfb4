"""Instances of things on the surface that a run shows, and in its images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int16, Int32, Int64, Integer
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export import view_votes_numba as kernels
from semantic_ns.export.surface_views import SurfaceView
from semantic_ns.export.view_votes import Tolerance, gather
from semantic_ns.instances.association import complete, join_masks
from semantic_ns.instances.masks import FrameMasks, MaskSets
from semantic_ns.instances.nearest import NearestOfClass
from semantic_ns.instances.parts import NO_INSTANCE, connected_parts, without_specks
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.surface.voxels import VoxelGrid, Voxels, voxelise

_EDGE_PX = 3.0
"""Edge of a voxel in sides of a pixel on the surface: each voxel is then seen by several pixels of every view."""

_MOST_PARTS = 1_000_000
"""Voxels of single views, of which each may be there several times, that are kept before they are joined."""


@dataclass(frozen=True, eq=False)
class LabelledVoxels:
    """The surface in voxels, as most views see it.

    Attributes:
        voxels: The voxels, which lie about `origin`.
        centres: Mean of the points in each voxel, in the world of the data set's files.
        classes: The class that most views give, void -1.
        is_thing: Whether each class is of things.
        tolerance: How far depths of one surface may differ.
    """

    voxels: Voxels
    centres: Float64[ndarray, "voxels 3"]
    classes: Int16[ndarray, "voxels"]
    is_thing: tuple[bool, ...]
    tolerance: Tolerance

    def seen_by(self, view: SurfaceView, masks: Integer[ndarray, "height width"]) -> FrameMasks:
        """The voxels that a view sees, each with the mask of the pixel in which its centre lies.

        Args:
            view: The view.
            masks: Ids of masks, 0 for none.
        """
        pixels = np.empty(len(self.centres), np.int64)
        kernels.find_pixels(
            self.centres, view.w2c, view.lens, view.depth, self.tolerance.least, self.tolerance.relative, pixels
        )
        seen = np.flatnonzero(pixels >= 0)
        return FrameMasks(seen.astype(np.int32), masks.reshape(-1)[pixels[seen]].astype(np.int32))

    @cached_property
    def _known(self) -> NearestOfClass:
        # void is -1, the last place
        is_thing = np.array([*self.is_thing, False])[self.classes]
        return NearestOfClass(self.centres, np.where(is_thing, self.classes, np.int16(-1)))

    def nearest(
        self, points: Float64[ndarray, "points 3"], classes: Integer[ndarray, "points"]
    ) -> Int64[ndarray, "points"]:
        """The nearest voxel of the class of each point; -1 for stuff and void, and where the class has no voxel.

        Args:
            points: Places in the world of the data set's files.
            classes: The class of each, void -1.
        """
        return self._known.find(points, classes)

    def shown_by(self, view: SurfaceView) -> Int64[ndarray, "height width"]:
        """The voxel that each pixel of a view shows a thing of; -1 for stuff and void, and where depth is unknown.

        What a depth image leaves unknown is looked up where the run renders it.
        """
        view = view.completed()
        classes = np.where(view.depth > 0, view.labels, np.int16(-1)).reshape(-1)
        return self.nearest(view.points().reshape(-1, 3), classes).reshape(view.depth.shape)

    @cached_property
    def parts(self) -> Int32[ndarray, "voxels"]:
        """Connected parts of things without specks, numbered from 1 by their size, 0 for other voxels."""
        parts = connected_parts(self.voxels, self.classes, self.is_thing)
        return without_specks(parts, self.classes, self.centres)


def label_voxels(views: Sequence[SurfaceView], taxonomy: Taxonomy, tolerance: Tolerance, edge: float) -> LabelledVoxels:
    """The surface that views show, without voxels that more views see through than see.

    Args:
        views: The views.
        taxonomy: The classes.
        tolerance: How far depths of one surface may differ.
        edge: Edge of a voxel in the unit of the world.

    Raises:
        SceneError: if no class is of things.
    """
    refuse_without_things(taxonomy)
    origin = _mean_point(views)
    found = _VoxelSums(VoxelGrid(edge))
    for view in views:  # one by one: all pixels of all views at once can take more memory than there is
        found.add(view.points()[view.depth > 0] - origin)
    voxels, means = found.result()
    centres = origin + means
    votes = gather(centres, views, taxonomy.num_classes, tolerance)
    is_kept = (votes.seen > 0) & (votes.seen >= votes.seen_through)
    kept = Voxels(voxels.grid, voxels.keys[is_kept])
    return LabelledVoxels(kept, centres[is_kept], votes.labels[is_kept], taxonomy.is_thing, tolerance)


def _mean_point(views: Sequence[SurfaceView]) -> Float64[ndarray, "3"]:
    total, count = np.zeros(3), 0
    for view in views:
        points = view.points()[view.depth > 0]
        total, count = total + points.sum(axis=0), count + len(points)
    return total / max(count, 1)


class _VoxelSums:
    """The voxels that points occupy, and the mean of the points in each, of points that come in parts.

    Args:
        grid: The grid that the voxels belong to.
    """

    def __init__(self, grid: VoxelGrid) -> None:
        self._grid = grid
        self._keys = [np.zeros(0, np.int64)]
        self._sums: list[Any] = [np.zeros((0, 4))]
        """Of each voxel x, y and z of its points, and their number."""

    def add(self, points: Float64[ndarray, "points 3"]) -> None:
        """Take more points."""
        if len(points) == 0:
            return
        voxels, of_points = voxelise(self._grid, points.astype(np.float32))
        values = (*points.T, np.ones(len(points)))
        self._keys.append(voxels.keys)
        self._sums.append(np.stack([np.bincount(of_points, value, len(voxels)) for value in values], axis=1))
        if sum(map(len, self._keys[1:])) > max(len(self._keys[0]), _MOST_PARTS):
            self._merge()

    def _merge(self) -> None:
        keys, numbers = np.unique(np.concatenate(self._keys), return_inverse=True)
        sums = np.concatenate(self._sums)
        columns = [np.bincount(numbers, sums[:, column], len(keys)) for column in range(4)]
        self._keys, self._sums = [keys], [np.stack(columns, axis=1)]

    def result(self) -> tuple[Voxels, Float64[ndarray, "voxels 3"]]:
        """The voxels, and the mean of the points in each."""
        self._merge()
        return Voxels(self._grid, self._keys[0]), self._sums[0][:, :3] / self._sums[0][:, 3:]


def edge_of(pixel_side: float, difference: float) -> float:
    """Edge of a voxel for instances: three sides of a pixel, or how far depth differs between views if that is more."""
    return max(_EDGE_PX * pixel_side, float(np.nan_to_num(difference)))


def refuse_without_things(taxonomy: Taxonomy) -> None:
    """Check that there is something to count.

    Raises:
        SceneError: if every class is stuff.
    """
    if not any(taxonomy.is_thing):
        raise SceneError(
            "Expected a class of things, found stuff alone in the scene's class table; set is_thing of the classes to "
            "count to 1 there and train again."
        )


@dataclass(frozen=True, eq=False)
class SurfaceInstances:
    """Instances of things.

    Attributes:
        surface: The voxels.
        ids: The instance of each voxel, from 1, 0 for stuff and void.
    """

    surface: LabelledVoxels
    ids: Int32[ndarray, "voxels"]

    @property
    def count(self) -> int:
        """Number of instances."""
        return int(self.ids.max(initial=0))

    @property
    def classes(self) -> Int16[ndarray, "instances"]:
        """The class of each instance, in the order of their ids."""
        numbers, first = np.unique(self.ids, return_index=True)
        return self.surface.classes[first[numbers > NO_INSTANCE]]

    def of(self, voxels: Int64[ndarray, "*shape"]) -> Int32[ndarray, "*shape"]:
        """The instance of voxels by their numbers, 0 for -1."""
        return np.append(self.ids, np.int32(NO_INSTANCE))[voxels]

    def at(self, points: Float64[ndarray, "points 3"], classes: Integer[ndarray, "points"]) -> Int32[ndarray, "points"]:
        """The instance of places on the surface: that of the nearest voxel of their class, 0 of stuff and void.

        Args:
            points: Places in the world of the data set's files.
            classes: The class of each, void -1.
        """
        return self.of(self.surface.nearest(points, classes))


def find_instances(
    surface: LabelledVoxels,
    views: Sequence[SurfaceView] = (),
    masks: Sequence[Integer[ndarray, "_height _width"] | None] = (),
    track: Callable[[Sequence[int]], Iterator[int]] = iter,
) -> SurfaceInstances:
    """Instances of things: connected parts of the surface or, where there are masks of frames, these joined over views.

    Args:
        surface: The voxels.
        views: The views.
        masks: Ids of the masks of each view, 0 for none, or None for a view without masks; nothing for none at all.
        track: Wraps the numbers of the views, to show progress.
    """
    if not masks:
        return SurfaceInstances(surface, surface.parts)
    frames = [
        surface.seen_by(views[index], image)
        for index in track(range(len(views)))
        if (image := masks[index]) is not None
    ]
    sets = MaskSets.of(frames, surface.classes, surface.is_thing)
    ids = join_masks(sets, surface.classes)
    return SurfaceInstances(surface, complete(ids, surface.parts, surface.classes, surface.centres, sets))
