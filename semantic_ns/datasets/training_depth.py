"""What training knows of the depth of its images: whether it can be trusted, and how far each pixel's ray goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from nerfstudio.cameras.cameras import Cameras
from numpy import ndarray
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.comparable_depth import ComparableDepth
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.depth_agreement import DepthAgreement, DepthViews, measure_agreement, spread_pairs
from semantic_ns.geometry.depth_outlines import lie_behind_outlines
from semantic_ns.geometry.depth_scale import judge_scale, refusal_of_scale
from semantic_ns.labels.corruption_frames import evenly_spaced

_LEAST_SHARE = 0.5
_LEAST_POINTS = 200
_LEAST_SPREAD = 0.01
_NUM_FIRST, _NUM_OTHERS = 16, 8
_POINTS_OF_FRAME, _LEAST_POINTS_OF_FRAME = 100, 40
_LEAST_OF_SIZE = 4
"""Images of one size that are judged apart from those of other sizes."""
_LEAST_RELATIVE_SHARE = 0.6
"""Of an image's agreeing points, relative to the median over images."""

_RADIUS = 1 / 80
"""How far behind an outline a pixel is not learnt from, as a share of the columns of its image.

Rays that pass close to a thin object far outnumber those that end on it. If they learn that nothing is there before
colours have put it there, it never forms.
"""

DepthImages = Sequence[Float32[ndarray, "_height _width"]]
"""Planar depth of images in metres, 0 where unknown."""


def known_depth(depth_m: Float[ndarray, "height width"]) -> Float32[ndarray, "height width"]:
    """Depth with one mark, 0, for all that is unknown: not a number, infinite, or not before the camera."""
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TrainingDepth:
    """Distances along the rays of all pixels of the training images, one image behind the other.

    Attributes:
        values: distances along the unit rays, scene units, 0 where unknown.
        first: index of the first pixel of each image; images of which nothing is known share theirs.
        is_learnt: whether the ray of a pixel learns where it ends: not close behind the outline of something nearer.
        widths: pixels in a row of each image.
    """

    values: Float32[Tensor, "pixels"]
    is_learnt: Bool[Tensor, "pixels"]
    first: Int64[Tensor, "images"]
    widths: Int64[Tensor, "images"]

    @classmethod
    def of(
        cls,
        images_m: DepthImages,
        ray_lengths: Callable[[int], Float[Tensor, "height width"]],
        metres_per_unit: float,
        trains: bool = True,
    ) -> "TrainingDepth":
        """Those of images.

        Args:
            images_m: Planar depth, 0 where unknown.
            ray_lengths: A function that gives, for an image, the distance along each ray per planar depth.
            metres_per_unit: Metres per scene unit.
            trains: Whether rays learn from it; without it none does, which takes no time and no memory.
        """
        distances, is_learnt, first, num_pixels = [], [], [], 0
        unknown: dict[int, int] = {}  # images of nothing share the pixels of the first one of their size
        for index, image in enumerate(images_m):
            is_known = bool(image.any())
            if not is_known and image.size in unknown:
                first.append(unknown[image.size])
                continue
            if not is_known:
                unknown[image.size] = num_pixels
            first.append(num_pixels)
            num_pixels += image.size
            distance = torch.from_numpy(image) / metres_per_unit * ray_lengths(index).cpu()
            distances.append(distance.float().reshape(-1))
            if not trains:
                continue
            behind = lie_behind_outlines(image, max(1, round(_RADIUS * image.shape[1])))
            is_learnt.append(torch.from_numpy(~behind).reshape(-1))
        widths = torch.tensor([image.shape[1] for image in images_m])
        values = torch.cat(distances)
        learnt = torch.cat(is_learnt) if trains else torch.zeros(1, dtype=torch.bool).expand(len(values))
        return cls(values, learnt, torch.tensor(first), widths)

    def to(self, device: torch.device | str) -> "TrainingDepth":
        """The same on a device."""
        moved = (values.to(device) for values in (self.values, self.is_learnt, self.first, self.widths))
        return TrainingDepth(*moved)

    def between(self, near: float, far: float) -> "TrainingDepth":
        """The distances between two planes, scene units; the others are unknown."""
        inside = (self.values > near) & (self.values < far)
        return replace(self, values=self.values * inside)

    def at(self, pixels: Int64[Tensor, "*rays 3"]) -> Float32[Tensor, "*rays"]:
        """Distances along the unit rays of pixels (image, row, column), scene units, 0 where unknown."""
        return self.values[self._places(pixels)]

    def learnt_at(self, pixels: Int64[Tensor, "*rays 3"]) -> Float32[Tensor, "*rays"]:
        """The same for a loss: 0 also where the ray is not to learn where it ends."""
        places = self._places(pixels)
        return self.values[places] * self.is_learnt[places]

    def _places(self, pixels: Int64[Tensor, "*rays 3"]) -> Int64[Tensor, "*rays"]:
        image, row, column = pixels.unbind(dim=-1)
        return self.first[image] + row * self.widths[image] + column

    def where_known(
        self, pixels: Int64[Tensor, "*rays 3"], others: Float32[Tensor, "*rays"]
    ) -> Float32[Tensor, "*rays"]:
        """The distances of pixels, and others in place of those that are unknown, on the device of the latter."""
        distances = self.at(pixels.to(self.values.device)).to(others.device)
        return torch.where(distances > 0, distances, others)


def read_training_depth(dataset: SemanticDataset) -> tuple[DepthImages, str | None]:
    """Depth of all images of a data set, and what is to be said of images that cannot be read.

    Returns:
        Images in metres, 0 where a pixel is unknown or masked; none where the scene has no depth.
    """
    files = dataset.metadata.get(keys.DEPTH_FILENAMES)
    if files is None or all(file is None for file in files):
        return [], None
    images, refusals = [], []
    for index in range(len(dataset)):
        mask = dataset.mask_of(index)
        try:
            depth_m = dataset.depth_of(index)
        except SceneError as error:
            refusals.append(str(error))
            depth_m = None
        size = dataset.without_label(index).shape
        known = np.zeros(size, np.float32) if depth_m is None else known_depth(depth_m)
        images.append(known if mask is None else known * mask)
    if not refusals:
        return images, None
    return images, f"{len(refusals)} of {len(files)} depth images are left out; the first: {refusals[0]}"


@dataclass(frozen=True)
class DepthVerdict:
    """Whether depth images can be learnt from, and why.

    Attributes:
        is_usable: whether they can.
        reason: why, as a sentence about them without its end.
        wrong_frames: images whose depth the others contradict, which are usable.
        wrong_sizes: images of a size of which no depth image is usable, while those of other sizes are.
        notes: what else is to be said of the images, as sentences.
    """

    is_usable: bool
    reason: str
    wrong_frames: tuple[int, ...] = ()
    wrong_sizes: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def judge_depth(images_m: DepthImages, cameras: Cameras, metres_per_unit: float) -> DepthVerdict:
    """Whether the depth of training images agrees between views, so that training can rely on it.

    It does not if fewer than half of the points that other views can judge agree, if another scale lets a tenth more of
    the points agree, or if all pixels hold one value. What no two cameras can judge is trusted. Where images have
    several sizes, those of each are first judged by themselves, and their scale beside those of commoner sizes: they
    may come from another sensor. Single images are wrong if their points agree far less often than those of most
    others; what is hidden from other views says nothing there. Lens distortion is undone first. Images of cameras that
    no pinhole can replace are trusted, with a note.

    Args:
        images_m: Planar depth, 0 where unknown.
        cameras: Their cameras, in scene units.
        metres_per_unit: Metres per scene unit.
    """
    known = np.concatenate([image[image > 0][::7] for image in images_m])
    if not known.size:
        return DepthVerdict(False, "no pixel of the depth images is known")
    low, middle, high = np.quantile(known, (0.01, 0.5, 0.99))
    if high - low < _LEAST_SPREAD * middle:
        return DepthVerdict(False, f"all depth images hold about the same value, {middle:.3g} m")
    found = ComparableDepth.of(images_m, cameras, metres_per_unit)
    notes = _notes_on_refusals(found.refusals, len(images_m))
    if not found.numbers:
        return DepthVerdict(True, "none of them could be compared between views", notes=notes)
    verdict = _judge_sizes(found, [(len(image), image.shape[1]) for image in images_m])
    return replace(verdict, notes=(*verdict.notes, *notes))


def _notes_on_refusals(refusals: Mapping[int, str], num_images: int) -> tuple[str, ...]:
    if not refusals:
        return ()
    reason = next(iter(refusals.values())).rstrip(".")
    return (
        f"{len(refusals)} of {num_images} depth images are used without having been compared between views, so that "
        f"wrong ones would not be noticed: {reason}.",
    )


def _judge_sizes(found: ComparableDepth, shapes: Sequence[tuple[int, int]]) -> DepthVerdict:
    """The verdict on images with these shapes, without those of a size of which no depth image is usable."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for number in found.numbers:
        by_size.setdefault(shapes[number], []).append(number)
    refused: dict[tuple[int, int], str] = {}
    trusted: list[int] = []
    for size, numbers in sorted(by_size.items(), key=lambda item: -len(item[1])):
        is_judged = len(by_size) > 1 and len(numbers) >= _LEAST_OF_SIZE
        refusal = _refusal_of_size(found, numbers, trusted) if is_judged else None
        if refusal is None:
            trusted += numbers
        else:
            refused[size] = refusal
    if len(refused) == len(by_size):
        return DepthVerdict(False, next(iter(refused.values())))
    notes = tuple(
        f"{len(by_size[size])} of {len(shapes)} depth images, those of {size[1]}x{size[0]} pixels, are left out: "
        f"{refusal}."
        for size, refusal in refused.items()
    )
    wrong_sizes = tuple(number for size in refused for number in by_size[size])
    kept = found.part(trusted)
    verdict = _judge_views(kept.views)
    wrong = _wrong_frames(kept.views) if verdict.is_usable else []
    wrong_frames = tuple(kept.numbers[place] for place in wrong)
    return replace(verdict, wrong_frames=wrong_frames, wrong_sizes=wrong_sizes, notes=notes)


def _refusal_of_size(found: ComparableDepth, numbers: Sequence[int], trusted: Sequence[int]) -> str | None:
    """What speaks against the images of one size, by themselves or beside those of other sizes that are trusted."""
    alone = _judge_views(found.part(numbers).views)
    if not alone.is_usable or not trusted:
        return None if alone.is_usable else alone.reason
    first, others = (_spread(images, most) for images, most in ((numbers, _NUM_FIRST), (trusted, 2 * _NUM_OTHERS)))
    both = found.part([*first, *others])
    are_first = np.isin(both.numbers, first)
    pairs = [(int(i), int(j)) for i in np.flatnonzero(are_first) for j in np.flatnonzero(~are_first)]

    def measure(factor: float) -> DepthAgreement:
        factors = np.where(are_first, factor, 1.0).astype(np.float32)
        return measure_agreement(both.views._replace(depth_m=both.views.depth_m * factors[:, None, None]), pairs)

    # Not whether few points agree: images of another size may well show another part of the scene.
    given = measure(1.0)
    return refusal_of_scale(given, measure) if given.num_points >= _LEAST_POINTS else None


def _spread(images: Sequence[int], most: int) -> list[int]:
    return [images[int(place)] for place in evenly_spaced(min(most, len(images)), len(images))]


def _wrong_frames(views: DepthViews) -> list[int]:
    pairs = spread_pairs(len(views.depth_m), len(views.depth_m), _NUM_OTHERS)
    found = measure_agreement(views, pairs, num_points=_POINTS_OF_FRAME)
    shares = np.where(found.agreeing + found.contradicting >= _LEAST_POINTS_OF_FRAME, found.shares_unhidden, np.nan)
    if np.isnan(shares).all():
        return []
    return np.flatnonzero(shares < _LEAST_RELATIVE_SHARE * np.nanmedian(shares)).tolist()


def _judge_views(views: DepthViews) -> DepthVerdict:
    return DepthVerdict(*judge_scale(views, _NUM_FIRST, _NUM_OTHERS))
