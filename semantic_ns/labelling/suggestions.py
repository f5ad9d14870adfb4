"""Where to look next in a session: frames, and regions of the surface with the class that is guessed."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.painting import NOBODY
from semantic_ns.labelling.ranking import FrameRank, rank_frames
from semantic_ns.labelling.region_ranking import RankedRegions, RegionRank, SurfaceRegions
from semantic_ns.labelling.spreading import Spreader, SpreadLabels
from semantic_ns.labelling.state import NOTHING, SessionState, Unchecked
from semantic_ns.labelling.surface import FrameInfo, LabelSurface


class Suggestions:
    """The part of a session that says where to look; `LabelSession` gives it its state, and what has spread.

    Nothing is computed before it is asked for, and marks are taken while regions are ranked.
    """

    frames: Sequence[FrameInfo]
    _state: SessionState
    _surface: LabelSurface
    _spreader: Spreader
    _lock: threading.RLock
    _spread: Callable[[], SpreadLabels]
    _surface_regions: tuple[LabelSurface, SurfaceRegions] | None = None
    _last_ranked: tuple[SpreadLabels, RankedRegions] | None = None

    def ranked_frames(self) -> list[FrameRank]:
        """All frames, first those most worth looking at."""
        with self._lock:
            shown, surface, state = self._spread(), self._spreader.surface, self._state.frozen()
        # Marks are taken meanwhile. Of one action on a frame several parts may be in force, which are one look.
        num_marks = Counter(frame for frame, _ in {(one.frame, one.revision) for one in state.painting.marks.values()})
        return rank_frames(surface, shown, lambda *pixels: state.painted_at(*pixels) != NOTHING, num_marks)

    def ranked_regions(self) -> list[RegionRank]:
        """Regions of the surface that are not sure, first those most worth looking at; see `SurfaceRegions`."""
        return self._ranked_now()[0].ranks

    def ranked_region_at(self, frame: Unchecked, x: float, y: float) -> Bool[ndarray, "height width"]:
        """The pixels of a frame that show the region at a place, but for those that have a mark.

        Args:
            frame: The frame.
            x: The place, pixels to the right; the centre of the first is 0.5.
            y: The same, pixels down.

        Raises:
            SceneError: if there is no such frame or pixel, or what it shows is sure or has a mark.
        """
        info = self._state.info(frame)
        if not (0 <= x < info.width and 0 <= y < info.height):
            raise SceneError(
                f"Expected a place in the frame of {info.width}x{info.height} pixels, found ({x:g}, {y:g}); reload the "
                "page."
            )
        ranked, surface, owners = self._ranked_now()
        voxels, owner = surface.voxels_of(frame), owners.get(frame)
        is_open = voxels >= 0 if owner is None else (voxels >= 0) & (owner.all() == NOBODY)
        numbers = np.where(is_open, ranked.numbers[voxels], -1)
        number = int(numbers[int(y), int(x)])
        if number < 0:
            raise SceneError(
                f"Expected a region that is not sure at ({x:g}, {y:g}) of {info.name}, found none; somebody has "
                "labelled it meanwhile: take the next one."
            )
        return numbers == number

    def _ranked_now(self) -> tuple[RankedRegions, LabelSurface, dict[int, OwnerMap]]:
        """The regions of now, with the surface that they are of, and who owns the pixels of the frames with marks."""
        with self._lock:
            shown, surface, painting = self._spread(), self._spreader.surface, self._state.painting
            owners = {mark.frame: painting.owners(mark.frame) for mark in painting.marks.values()}
            owners = {frame: of_frame for frame, of_frame in owners.items() if of_frame is not None}
            ranked, regions = self._last_ranked, self._surface_regions
        # Each action spreads anew, so that what was ranked for these very labels still holds.
        if ranked is None or ranked[0] is not shown:
            if regions is None or regions[0] is not surface:
                self._surface_regions = regions = surface, SurfaceRegions(surface)
            self._last_ranked = ranked = shown, regions[1].ranked(shown, owners)
        return ranked[1], surface, owners
