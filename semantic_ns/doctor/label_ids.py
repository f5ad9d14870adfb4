"""The ids in the label images: how often each occurs, and whether all of them are one too large or one too small.

Views agree whatever the ids mean, so a constant error shows elsewhere. The floor is level, and so is the ceiling, and
walls are upright; if this holds for what is called so one id further on, and not for what is called so now, all ids are
off by one. Where no class has such a name, ids outside the class table tell, together with void that never occurs, or
a class 0 that never occurs.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from semantic_ns.doctor.agreement import Reading
from semantic_ns.doctor.loading import IdMeanings, LoadedScene
from semantic_ns.doctor.mistakes import Mistake
from semantic_ns.geometry.pinhole import Pixels, Surface
from semantic_ns.io.images import read_label_image
from semantic_ns.labels.borders import Borders
from semantic_ns.labels.mask_values import may_start_at_one

_NUM_POINTS = 2000
_STEPS_ACROSS = 48
_LEVEL = 0.9
_UPRIGHT = 0.2
_LARGEST_TILT = 0.85
_LEAST_PRECISION = 0.8
_LEAST_COVERAGE = 0.15
_MOST_FRAMES = 32


@dataclass(frozen=True)
class LabelCounts:
    """Pixels of each id over all label images, and how many frames have none or only void.

    Attributes:
        pixels: number of pixels of each id in the images.
        num_unlabelled: frames without label image.
        num_all_void: frames whose label image holds no class.
        outside: ids that are neither class nor void.
    """

    pixels: dict[int, int]
    num_unlabelled: int
    num_all_void: int
    outside: tuple[int, ...]
    void_share: float
    by_name: dict[str, float]

    @classmethod
    def of(cls, scene: LoadedScene) -> "LabelCounts":
        """Read every label image of a scene."""
        pixels: Counter[int] = Counter()
        num_unlabelled = num_all_void = 0
        for index in range(len(scene.views)):
            ids = scene.read_ids(index)
            if ids is None:
                num_unlabelled += 1
                continue
            numbers, counts = _unique(ids)
            pixels.update(dict(zip(numbers, counts, strict=True)))
            num_all_void += set(numbers) <= scene.meanings.void_ids
        meanings, total = scene.meanings, max(pixels.total(), 1)
        shares: Counter[str] = Counter()
        for number, count in pixels.items():
            if number in meanings.names:
                shares[meanings.names[number]] += count
        return cls(
            pixels=dict(sorted(pixels.items())),
            num_unlabelled=num_unlabelled,
            num_all_void=num_all_void,
            outside=tuple(sorted(set(pixels) - set(meanings.names) - meanings.void_ids)),
            void_share=sum(pixels[number] for number in meanings.void_ids) / total,
            by_name={name: count / total for name, count in shares.most_common()},
        )


def _unique(ids: Int[ndarray, "rows columns"]) -> tuple[list[int], list[int]]:
    low = int(ids.min())
    counts = np.bincount((ids - low).ravel())
    numbers = np.flatnonzero(counts)
    return (numbers + low).tolist(), counts[numbers].tolist()


@dataclass(frozen=True)
class SurfacePoints:
    """Ids at points of planes of a scene, and the vertical part of the normals there, 1 for what faces upwards."""

    ids: Int[ndarray, "points"]
    upwards: Float[ndarray, "points"]

    def evidence(self, meanings: IdMeanings, offset: int) -> tuple[float, float]:
        """How well floor, ceiling and walls lie if `offset` is added to every id.

        Returns:
            Share of the points called so that lie as they should, and the share of all points that do.
        """
        conditions: dict[str, Bool[ndarray, "points"]] = {
            "floor": self.upwards > _LEVEL,
            "ceiling": self.upwards < -_LEVEL,
            "wall": np.abs(self.upwards) < _UPRIGHT,
        }
        num_called = num_right = 0
        for number, name in meanings.names.items():
            is_right = conditions.get(name.strip().casefold())
            if is_right is not None:
                is_called = self.ids + offset == number
                num_called += int(is_called.sum())
                num_right += int((is_called & is_right).sum())
        return num_right / max(num_called, 1), num_right / max(len(self.ids), 1)


def surface_points(scene: LoadedScene, num_frames: int, seed: int = 0) -> SurfacePoints:
    """Draw points of labelled frames with depth; up is what the cameras hold for it, set right by level surfaces."""
    views = scene.views
    labelled = [i for i, path in enumerate(scene.label_files) if path is not None]
    chosen = [labelled[i] for i in np.unique(np.linspace(0, len(labelled) - 1, num_frames).astype(int))]
    rng = np.random.default_rng(seed)
    width, height = views.size
    step = max(1, width // _STEPS_ACROSS)
    ids, normals = [], []
    for index in chosen:
        raw = scene.read_ids(index)
        if views.read_depth is None or raw is None:
            continue
        row, column = (rng.integers(step, length - step, _NUM_POINTS) for length in (height, width))
        pixels = Pixels(np.zeros_like(row), row, column)
        intrinsics = views.intrinsics[index : index + 1]
        surface = Surface.at(pixels, views.read_depth(index)[None], intrinsics, step=step)
        normals.append((surface.normals(pixels, intrinsics) @ views.c2w[index, :3, :3].T)[surface.is_plane])
        # Label images may have another size than depth.
        there = ((row + 0.5) * raw.shape[0] / height).astype(int), ((column + 0.5) * raw.shape[1] / width).astype(int)
        ids.append(raw[there][surface.is_plane])
    if not ids:
        return SurfacePoints(np.zeros(0, int), np.zeros(0))
    joined = np.concatenate(normals)
    return SurfacePoints(np.concatenate(ids), joined @ _up(-views.c2w[chosen, :3, 1], joined))


def _up(up_of_cameras: Float[ndarray, "frames 3"], normals: Float[ndarray, "points 3"]) -> Float[ndarray, "3"]:
    up = _unit(up_of_cameras.mean(axis=0))
    for _ in range(3):
        # The middle of what is about level, floors and ceilings alike.
        level = normals * np.sign(normals @ up)[:, None]
        level = level[level @ up > _LARGEST_TILT]
        up = _unit(np.median(level, axis=0)) if len(level) else up
    return up


def _unit(vector: Float[ndarray, "3"]) -> Float[ndarray, "3"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def find_id_offset(counts: LabelCounts, points: SurfacePoints, meanings: IdMeanings) -> Mistake | None:
    """The mistake that every id is one too large or too small, None where nothing speaks for it."""
    for offset in (-1, 1):
        is_told = _surfaces_tell(points, meanings, offset) or _table_tells(counts, meanings, offset)
        if is_told or (offset == -1 and _first_id_tells(counts, points, meanings)):
            word, verb = ("large", "subtract 1 from") if offset == -1 else ("small", "add 1 to")
            return Mistake(
                "label ids off by one",
                Reading(),
                f"Every label id is one too {word}: {verb} the ids in the label images, or renumber the class table.",
            )
    return None


def _surfaces_tell(points: SurfacePoints, meanings: IdMeanings, offset: int) -> bool:
    (precision, coverage), (given, given_coverage) = (points.evidence(meanings, step) for step in (offset, 0))
    is_right = precision >= _LEAST_PRECISION and coverage >= _LEAST_COVERAGE
    is_given_right = given >= _LEAST_PRECISION and given_coverage >= _LEAST_COVERAGE
    return is_right and not is_given_right and coverage > 3 * given_coverage


def _first_id_tells(counts: LabelCounts, points: SurfacePoints, meanings: IdMeanings) -> bool:
    """Whether class 0 never occurs, though class 1 does, and no surface speaks for the ids as they are."""
    is_given_right = points.evidence(meanings, 0)[0] >= _LEAST_PRECISION
    return may_start_at_one(meanings.names, counts.pixels) and not is_given_right


def _table_tells(counts: LabelCounts, meanings: IdMeanings, offset: int) -> bool:
    known = set(meanings.names) | meanings.void_ids
    shifted = {number + offset for number in counts.pixels}
    return bool(counts.outside) and counts.void_share == 0 and shifted <= known and bool(shifted & meanings.void_ids)


def find_interpolation(scene: LoadedScene) -> Mistake | None:
    """The mistake that label images were interpolated, None where their borders do not speak for it."""
    files = [path for path in scene.label_files if path is not None]
    borders = Borders.of_some(files, read_label_image, _MOST_FRAMES)
    if not borders.are_interpolated:
        return None
    sentence = borders.sentence()
    return Mistake("interpolated label images", Reading(), f"{sentence[0].upper()}{sentence[1:]}.")
