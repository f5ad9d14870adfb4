"""Whether the views of a scene agree: the depth of one view, seen from another one, and the labels on it.

A point of a view is the centre of a pixel with known depth. Seen from another view it has depth z; where that view
itself sees depth d, the point agrees if |z - d| <= max(2 cm, 1.5 % of z), is hidden (and not held against the scene) if
z is larger, and contradicts if z is smaller. Pixels at depth edges and creases are left out in both views, since a
pixel there mixes two surfaces. Labels are compared on points that agree in depth and are labelled in both views, one
pixel away from label edges: the nearest pixel is up to half a pixel off and may belong to the other class there. The
share with label edges is given as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int16, Shaped
from numpy import ndarray

from semantic_ns.doctor.views import InspectedScene
from semantic_ns.geometry.depth_agreement import RELATIVE_TOLERANCE, SMALLEST_TOLERANCE_M
from semantic_ns.geometry.pinhole import Pixels, Surface, are_inside_regions, project, rays
from semantic_ns.io.orientation import UPRIGHT
from semantic_ns.labels.taxonomy import VOID

_NEAREST_M = 0.05
_FAR_OUTSIDE_PX = 1e6
_STEPS = (1, 2, 4, 8)
OF_EACH_IMAGE = 0
"""In place of an EXIF orientation: that of each image."""


@dataclass(frozen=True)
class Reading:
    """How the numbers of a scene are understood; the default is as given.

    Attributes:
        is_inverted: the poses are world to camera.
        is_flipped: camera axes y and z point the other way.
        depth_factor: factor on depth.
        position_factor: factor on the positions in the poses, as they are given.
        ray_power: depth is multiplied by this power of the length of the pixel's ray whose z is 1: -1 where the files
            hold distances along the ray, 1 where planar depth was taken for such distances.
        pixel_shift: added to cx and cy.
        intrinsics_factor: factor on focal lengths and principal point.
        is_swapped: the focal lengths, and the two numbers of the principal point, change places.
        label_step: labels belong to the frame so many places on.
        depth_step: depth belongs to the frame so many places on.
        pose_step: poses belong to the frame so many places on.
        label_orientation: label images are as the EXIF orientation of this number shows the stored pixels: 1 as they
            are, 2 mirrored, 3 turned by 180 degrees, 4 upside down; 0 by the orientation of each image.
    """

    is_inverted: bool = False
    is_flipped: bool = False
    depth_factor: float = 1.0
    position_factor: float = 1.0
    ray_power: int = 0
    pixel_shift: float = 0.0
    intrinsics_factor: float = 1.0
    is_swapped: bool = False
    label_step: int = 0
    depth_step: int = 0
    pose_step: int = 0
    label_orientation: int = UPRIGHT

    def poses(self, c2w: Float[ndarray, "frames 4 4"]) -> Float[ndarray, "frames 4 4"]:
        """The OpenCV camera-to-world poses that the given ones mean."""
        given = c2w * np.array([[1, 1, 1, self.position_factor]] * 3 + [[1] * 4])
        result = np.linalg.inv(given) if self.is_inverted else given
        return result * [1.0, -1.0, -1.0, 1.0] if self.is_flipped else result

    def intrinsics(self, given: Float[ndarray, "frames 4"]) -> Float[ndarray, "frames 4"]:
        """The fx, fy, cx, cy that the given ones mean."""
        result = given[:, [1, 0, 3, 2]] if self.is_swapped else given
        return result * self.intrinsics_factor + np.array([0.0, 0.0, self.pixel_shift, self.pixel_shift])

    def label_pixels(self, pixels: Pixels, size: tuple[int, int], exif: Callable[[], Int[ndarray, "frames"]]) -> Pixels:
        """The pixels of label images that belong to those of the images.

        Args:
            pixels: pixels of the images.
            size: width and height of all images.
            exif: a function that gives the EXIF orientation of each image.
        """
        if self.label_orientation == UPRIGHT:
            return replace(pixels, image=pixels.image + self.label_step)
        width, height = size
        is_own = self.label_orientation == OF_EACH_IMAGE
        orientation = exif()[pixels.image] if is_own else np.array(self.label_orientation)
        # As in `io.orientation.to_upright`: rows and columns are exchanged first, which only square images can hide.
        swaps = np.isin(orientation, (5, 6, 7, 8)) & (width == height)
        row, column = np.where(swaps, pixels.column, pixels.row), np.where(swaps, pixels.row, pixels.column)
        row = np.where(np.isin(orientation, (3, 4)) | (np.isin(orientation, (7, 8)) & swaps), height - 1 - row, row)
        column = np.where(
            np.isin(orientation, (2, 3)) | (np.isin(orientation, (6, 7)) & swaps), width - 1 - column, column
        )
        return Pixels(pixels.image + self.label_step, row, column)


@dataclass(frozen=True)
class Agreement:
    """Points counted per pair of views.

    Attributes:
        seen: points that land in the other view on a pixel where depth can be compared.
        hidden: those behind what the other view sees.
        agreeing: those that agree in depth.
        labelled: agreeing pixels that are labelled in both views, away from label edges.
        same: those of `labelled` with the same label.
        labelled_anywhere: agreeing pixels that are labelled in both views, label edges included.
        same_anywhere: those of `labelled_anywhere` with the same label.
        residual: mean |z - d| / z of the agreeing ones, NaN where there is none.
    """

    seen: Int[ndarray, "pairs"]
    hidden: Int[ndarray, "pairs"]
    agreeing: Int[ndarray, "pairs"]
    labelled: Int[ndarray, "pairs"]
    same: Int[ndarray, "pairs"]
    labelled_anywhere: Int[ndarray, "pairs"]
    same_anywhere: Int[ndarray, "pairs"]
    residual: Float[ndarray, "pairs"]

    @property
    def depth_share(self) -> float:
        """Share of the points that are not hidden that agree in depth; NaN without any."""
        return _share(self.agreeing, self.seen - self.hidden)

    @property
    def label_share(self) -> float:
        """Share with the same label, away from label edges, of the points that agree in depth; NaN without any."""
        return _share(self.same, self.labelled)

    @property
    def label_share_anywhere(self) -> float:
        """The same, label edges included."""
        return _share(self.same_anywhere, self.labelled_anywhere)

    @property
    def hidden_share(self) -> float:
        """Share of the seen points that are hidden; NaN without any."""
        return _share(self.hidden, self.seen)

    @property
    def score(self) -> float:
        """Share of all seen points that agree in depth times that with the same label; 0 without any point.

        What is hidden counts here, since a wrong reading hides about half of the points. Where nothing is labelled
        the labels do not count.
        """
        same = self.label_share if self.labelled.any() else 1.0
        return _share(self.agreeing, self.seen) * same if self.seen.any() else 0.0

    def of_pairs(self, chosen: Bool[ndarray, "pairs"]) -> "Agreement":
        """That of some of the pairs."""
        return Agreement(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def pair_scores(self) -> Float[ndarray, "pairs"]:
        """The score of each pair."""
        same = np.where(self.labelled > 0, self.same / np.maximum(self.labelled, 1), 1.0)
        return self.agreeing / np.maximum(self.seen, 1) * same


def _share(part: Int[ndarray, "pairs"], whole: Int[ndarray, "pairs"]) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")


def neighbouring_pairs(num_frames: int, num_first: int) -> list[tuple[int, int]]:
    """Pairs (i, j) of frames: evenly spread i, each with the frames 1, 2, 4 and 8 places on.

    By order and not by pose, as poses may be what is wrong.
    """
    first = np.unique(np.linspace(0, num_frames - 1, num_first).astype(int)).tolist()
    return [(i, i + step) for i in first for step in _STEPS if i + step < num_frames]


@dataclass
class ViewComparison:
    """Compares pairs of views under different readings; the pixels drawn are the same for all of them.

    Attributes:
        views: the scene, with depth.
        pairs: indices of the first and the second view of each pair.
        num_points: pixels drawn from the first view of a pair.
        seed: seed of that draw.
    """

    views: InspectedScene
    pairs: Sequence[tuple[int, int]]
    num_points: int = 1000
    seed: int = 0

    def measure(self, reading: Reading) -> Agreement:
        """The agreement of all pairs; a pair that needs a frame beyond the ends counts no point."""
        intrinsics = reading.intrinsics(self.views.intrinsics)[self._frames]
        pair, pixels = self._drawn(reading)
        surface = self._surface(pixels, reading, intrinsics)
        is_plane = surface.is_plane
        pair, pixels, inverse = pair[is_plane], pixels[is_plane], surface.inverse[is_plane]
        points = self._in_second_view(pair, rays(pixels, intrinsics) / inverse[:, np.newaxis], reading)
        second = self._second[pair]
        place = project(points, intrinsics[second])
        is_ahead = (points[:, 2] > _NEAREST_M) & (np.abs(place).max(axis=1) < _FAR_OUTSIDE_PX)
        row, column = np.where(is_ahead, np.floor(place.T[::-1]), -1).astype(np.int64)
        there = Pixels(second, row, column)
        is_inner = there.are_inner(self.views.size)
        pair, pixels, there, place, z = (
            pair[is_inner],
            pixels[is_inner],
            there[is_inner],
            place[is_inner],
            points[is_inner, 2],
        )
        surface = self._surface(there, reading, intrinsics)
        # 1 / depth is affine on a plane, so this is exact there between pixel centres too.
        inverse = surface.inverse + surface.by_column * (place[:, 0] - there.column - 0.5)
        inverse += surface.by_row * (place[:, 1] - there.row - 0.5)
        is_seen = surface.is_plane & (inverse > 0)
        pair, pixels, there, z = pair[is_seen], pixels[is_seen], there[is_seen], z[is_seen]
        return self._count(reading, pair, (pixels, there), z, z - 1 / inverse[is_seen])

    def are_apart(self) -> Bool[ndarray, "pairs"]:
        """Whether the cameras of each pair stand apart, by more than 1 % of the largest distance of a pair.

        Views from one place agree whatever the units of positions and depth are.
        """
        first, second = (self.views.c2w[[pair[i] for pair in self.pairs], :3, 3] for i in (0, 1))
        distance = np.linalg.norm(second - first, axis=1)
        return distance > 0.01 * distance.max()

    def median_depth(self) -> float:
        """Median of the known depth of the compared views in metres, as given; NaN without any."""
        thinned = self._depth[:, ::8, ::8]
        known = thinned[thinned > 0]
        return float(np.median(known)) if known.size else float("nan")

    def _count(
        self,
        reading: Reading,
        pair: Int[ndarray, "points"],
        pixels: tuple[Pixels, Pixels],
        z: Float[ndarray, "points"],
        difference: Float[ndarray, "points"],
    ) -> Agreement:
        tolerance = np.maximum(SMALLEST_TOLERANCE_M, RELATIVE_TOLERANCE * z)
        is_agreeing: Bool[ndarray, "points"] = np.abs(difference) <= tolerance
        here, there = (reading.label_pixels(place, self.views.size, self._exif) for place in pixels)
        first, second = here.of(self._labels), there.of(self._labels)
        is_labelled = is_agreeing & (first != VOID) & (second != VOID)
        is_inside = is_labelled.copy()
        is_inside[is_labelled] = np.logical_and(
            *(are_inside_regions(place[is_labelled], self._labels) for place in (here, there))
        )

        def count(is_counted: Bool[ndarray, "points"]) -> Int[ndarray, "pairs"]:
            return np.bincount(pair[is_counted], minlength=len(self.pairs))

        agreeing = count(is_agreeing)
        residual = np.bincount(pair, np.where(is_agreeing, np.abs(difference / z), 0.0), len(self.pairs))
        return Agreement(
            seen=np.bincount(pair, minlength=len(self.pairs)),
            hidden=count(difference > tolerance),
            agreeing=agreeing,
            labelled=count(is_inside),
            same=count(is_inside & (first == second)),
            labelled_anywhere=count(is_labelled),
            same_anywhere=count(is_labelled & (first == second)),
            residual=np.where(agreeing > 0, residual / np.maximum(agreeing, 1), np.nan),
        )

    def _drawn(self, reading: Reading) -> tuple[Int[ndarray, "points"], Pixels]:
        """Pair and pixel of the points, without pairs that the reading leads beyond the ends."""
        rng = np.random.default_rng(self.seed)
        width, height = self.views.size
        shape = (len(self.pairs), self.num_points)
        row, column = rng.integers(1, height - 1, shape), rng.integers(1, width - 1, shape)
        steps = np.array([reading.label_step, reading.depth_step, reading.pose_step])
        used = np.array(self.pairs).reshape(-1, 2, 1) + steps
        chosen = np.flatnonzero(((used >= 0) & (used < len(self.views))).all(axis=(1, 2)))
        pair = np.repeat(chosen, self.num_points)
        return pair, Pixels(self._first[pair], row[chosen].ravel(), column[chosen].ravel())

    def _in_second_view(
        self, pair: Int[ndarray, "points"], points: Float[ndarray, "points 3"], reading: Reading
    ) -> Float[ndarray, "points 3"]:
        c2w = reading.poses(self.views.c2w)
        last = len(c2w) - 1
        # Pairs beyond the ends have no points, so what stands there does not count.
        first, second = (np.clip(np.array(self.pairs)[:, i] + reading.pose_step, 0, last) for i in (0, 1))
        relative = (np.linalg.inv(c2w[second]) @ c2w[first])[pair]
        return np.einsum("pij,pj->pi", relative[:, :3, :3], points) + relative[:, :3, 3]

    def _surface(self, pixels: Pixels, reading: Reading, intrinsics: Float[ndarray, "frames 4"]) -> Surface:
        place = replace(pixels, image=pixels.image + reading.depth_step)
        # Rays are those of the frame itself, and all steps but one of labels, depth and poses are 0.
        shifted = np.roll(intrinsics, reading.depth_step, axis=0)
        return Surface.at(place, self._depth, shifted, reading.depth_factor, reading.ray_power)

    @cached_property
    def _frames(self) -> Int[ndarray, "frames"]:
        """The frames that some reading needs, those beside the compared ones included."""
        beside = np.array(self.pairs).reshape(-1, 1) + np.array([-1, 0, 1])
        return np.unique(beside[(beside >= 0) & (beside < len(self.views))])

    def _exif(self) -> Int[ndarray, "frames"]:
        """EXIF orientation of each of `_frames`."""
        return np.array([self.views.exif_orientations[index] for index in self._frames])

    @cached_property
    def _first(self) -> Int[ndarray, "pairs"]:
        """Place of the first frame of each pair among `_frames`."""
        return np.searchsorted(self._frames, [first for first, _ in self.pairs])

    @cached_property
    def _second(self) -> Int[ndarray, "pairs"]:
        """Place of the second frame of each pair among `_frames`."""
        return np.searchsorted(self._frames, [second for _, second in self.pairs])

    @cached_property
    def _labels(self) -> Int16[ndarray, "frames height width"]:
        return self._read(self.views.read_labels, np.int16)

    @cached_property
    def _depth(self) -> Float32[ndarray, "frames height width"]:
        if self.views.read_depth is None:
            raise ValueError("views are compared by their depth, and these have none")
        return self._read(self.views.read_depth, np.float32)

    def _read(self, read: Callable[[int], ndarray], dtype: type[np.number]) -> Shaped[ndarray, "frames height width"]:
        # Into one array: a list and its stack would need the memory twice.
        width, height = self.views.size
        images = np.empty((len(self._frames), height, width), dtype)
        for place, index in enumerate(self._frames):
            images[place] = read(int(index))
        return images
