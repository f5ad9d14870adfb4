"""The surface of a session from any pose, with what is painted and what has spread."""

import threading
from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int16
from numpy import ndarray

from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.painting import NOBODY
from semantic_ns.labelling.spreading import Spreader, SpreadLabels
from semantic_ns.labelling.state import NOTHING, SessionState, Unchecked
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labelling.view import View, nearest_discs, view_of, without_gaps
from semantic_ns.labelling.view_marks import PixelBlocks, PlaceOnView, covered, with_masks

_REACH_OF_ERASER = 2
"""Voxels up to which what lies behind or before what is shown is erased with it; to paint there would be to guess."""


class FreeViews:
    """The part of a session that shows its surface; `LabelSession` gives it its state, and what has spread."""

    _state: SessionState
    _surface: LabelSurface
    _spreader: Spreader
    _lock: threading.RLock
    _spread: Callable[[], SpreadLabels]

    def view(self, c2w: Float32[ndarray, "3 4"], vertical_fov: float, height: int, width: int) -> View:
        """The surface from any pose, with its labels; see `nearest_discs` for the arguments."""
        while True:
            surface = self._spreader.surface
            discs = surface.drawn_discs
            nearest = without_gaps(nearest_discs(discs, c2w, vertical_fov, height, width, surface.near))
            with self._lock:
                if self._spreader.surface is surface:  # and no finer one has taken its place meanwhile
                    return view_of(discs, nearest, *self._shown_by_discs())

    def mark_on_view(
        self, mark: Mark, c2w: Float32[ndarray, "3 4"], vertical_fov: float, height: int, width: int
    ) -> Mark:
        """The mark on training pixels that a mark on a picture of the surface stands for.

        It is on all images whose pixels the picture shows there. A view shows those of few of the images that see a
        place, so that it is also on what is painted there in any other image: what is erased is gone.

        Args:
            mark: The mark, in pixels of the picture.
            c2w: See `nearest_discs` for this and the others.
            vertical_fov: See there.
            height: See there.
            width: See there.

        Raises:
            SceneError: it lies beside the surface, or is made of what a picture does not have.
        """
        surface = self._spreader.surface
        nearest = without_gaps(nearest_discs(surface.drawn_discs, c2w, vertical_fov, height, width, surface.near))
        place = PlaceOnView(surface, nearest, covered(mark, height, width), c2w, vertical_fov)
        masks = {frame: self._blocks.mask(pixels) for frame, pixels in place.shown_pixels().items()}
        with self._lock:
            painting = self._state.painting
            owners = {one.frame: painting.owners(one.frame) for one in painting.marks.values()}
        for frame, of_frame in owners.items() if masks else ():
            pixels = place.pixels_of(frame, _REACH_OF_ERASER if mark.action == "erase" else 0)
            if of_frame is not None and len(pixels):
                painted = self._blocks.mask(pixels) & (of_frame.all() != NOBODY)
                masks[frame] = painted | masks[frame] if frame in masks else painted
        return with_masks(mark, masks)

    @cached_property
    def _blocks(self) -> PixelBlocks:
        return PixelBlocks(self._surface)

    def pose(self, frame: Unchecked) -> tuple[Float32[ndarray, "3 4"], float]:
        """The pose of the camera of a frame (OpenGL axes, scene units) and its vertical angle of view, for `view`."""
        height = self._state.info(frame).height
        return self._surface.c2w[frame], float(2 * np.arctan(0.5 * height / self._surface.intrinsics[frame, 1]))

    def _shown_by_discs(self) -> tuple[Int16[ndarray, "drawn"], Float32[ndarray, "drawn"]]:
        """The labels of the training pixels that the drawn discs of the surface are, and how sure they are."""
        surface, spread = self._spreader.surface, self._spread()
        voxels = surface.drawn_voxels
        labels = np.where(voxels >= 0, spread.labels[voxels], np.int16(NOTHING))
        confidence = np.where(voxels >= 0, spread.confidence[voxels], np.float32(0))
        frames, rows, columns = surface.drawn_discs.pixels.T
        for frame in sorted({mark.frame for mark in self._state.painting.marks.values()}):
            of_frame = slice(*np.searchsorted(frames, [frame, frame + 1]))
            painted = self._state.painted_at(frame, rows[of_frame], columns[of_frame])
            is_painted = painted != NOTHING
            labels[of_frame] = np.where(is_painted, np.maximum(painted, NOTHING), labels[of_frame])
            confidence[of_frame][is_painted] = 1
        return labels, confidence
