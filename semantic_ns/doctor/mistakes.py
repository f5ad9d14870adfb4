"""The usual mistakes in a scene's geometry and order, and which of them mends it."""

from dataclasses import dataclass

import numpy as np

from semantic_ns.doctor.agreement import OF_EACH_IMAGE, Agreement, Reading, ViewComparison
from semantic_ns.doctor.views import InspectedScene
from semantic_ns.io.orientation import UPRIGHT

LEAST_DEPTH_SHARE = 0.9
LEAST_LABEL_SHARE = 0.9
_DEPTH_UNITS_PER_METRE = (1.0, 1000.0, 4000.0, 5000.0, 6553.5)
_POSITION_FACTORS = {"in millimetres": 0.001, "in centimetres": 0.01, "in kilometres": 1000.0}
_MEDIAN_DEPTH_RANGE_M = (0.1, 100.0)
_LEAST_GAIN = 0.03
_LEAST_MENDED_SCORE = 0.6
_LEAST_T = 4.0
_LEAST_SEEN = 50
_LARGEST_RESIDUAL_RATIO = 0.7
_LEAST_SCALE_ERROR = 0.1
_TURNS = (
    (2, "mirrored", "mirror them"),
    (3, "turned by 180 degrees", "turn them by 180 degrees"),
    (4, "flipped upside down", "flip them upside down"),
)
"""EXIF orientations that keep the size of an image, what they do to it, and what undoes that."""
_PIXEL_SHIFTS = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Mistake:
    """A usual mistake: a short name, how the scene must be read instead, and what to change in one sentence."""

    name: str
    reading: Reading
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """The comparison of the views of a scene.

    Attributes:
        given: agreement as the scene is given.
        mistake: what mends the scene, None if nothing does or nothing is wrong.
        mended: agreement without the mistake.
        best_pixel_shift: of the tried shifts of the principal point that with the smallest residual, pixels; 0 where
            a mistake was found.
    """

    given: Agreement
    mistake: Mistake | None
    mended: Agreement | None
    best_pixel_shift: float


def usual_mistakes(views: InspectedScene) -> list[Mistake]:
    """The mistakes to try, worded for the convention of the scene's files; rendered depth is planar and to scale."""
    of_scale = [] if views.is_depth_rendered else [*_depth_mistakes(views), *_position_mistakes()]
    return [
        *_pose_mistakes(views),
        *of_scale,
        *_intrinsics_mistakes(views),
        *_order_mistakes(),
        *_turned_label_mistakes(views),
    ]


def _pose_mistakes(views: InspectedScene) -> list[Mistake]:
    expected, other = ("OpenGL", "OpenCV") if views.has_opengl_files else ("OpenCV", "OpenGL")
    flip = "multiply columns 2 and 3 of each camera-to-world matrix by -1"
    # An inverted OpenGL matrix reads as the inverted OpenCV one with flipped axes, up to the choice of the world.
    is_flipped = views.has_opengl_files
    return [
        Mistake(
            "camera axes flipped",
            Reading(is_flipped=True),
            f"The poses have {other} camera axes where {expected} ones are expected: {flip}.",
        ),
        Mistake(
            "world-to-camera poses",
            Reading(is_inverted=True, is_flipped=is_flipped),
            "The poses are world to camera where camera to world is expected: invert each matrix.",
        ),
        Mistake(
            "world-to-camera poses with flipped axes",
            Reading(is_inverted=True, is_flipped=not is_flipped),
            f"The poses are world to camera with {other} camera axes where camera to world with {expected} ones is "
            f"expected: invert each matrix, then {flip}.",
        ),
    ]


def _depth_mistakes(views: InspectedScene) -> list[Mistake]:
    given = 1 / views.metres_per_depth_unit
    units = [
        Mistake(
            f"depth scale {units:g}",
            Reading(depth_factor=given / units),
            f"The depth images hold {units:g} units per metre and are read with {given:g}: set the depth scale to "
            f"{units:g} (or rewrite the images with {given:g}).",
        )
        for units in _DEPTH_UNITS_PER_METRE
        if abs(given / units - 1) > 0.01
    ]
    return [
        *units,
        Mistake(
            "ray distance for planar depth",
            Reading(ray_power=-1),
            "The depth images hold distances along the ray where planar depth is expected: divide each by the length "
            "of the pixel's ray ((u-cx)/fx, (v-cy)/fy, 1).",
        ),
        Mistake(
            "planar depth for ray distance",
            Reading(ray_power=1),
            "The depth images hold planar depth where distances along the ray are expected: multiply each by the "
            "length of the pixel's ray ((u-cx)/fx, (v-cy)/fy, 1).",
        ),
    ]


def _position_mistakes() -> list[Mistake]:
    return [
        Mistake(
            f"camera positions {name}",
            Reading(position_factor=factor),
            f"The camera positions are {name} where metres are expected: multiply the position (first three numbers of "
            f"the last column) in each pose by {factor:g}.",
        )
        for name, factor in _POSITION_FACTORS.items()
    ]


def _intrinsics_mistakes(views: InspectedScene) -> list[Mistake]:
    fx, fy, cx, cy = views.intrinsics.mean(axis=0)
    factor = float(views.size[0] / (2 * cx))
    mistakes = []
    if abs(factor - 1) > _LEAST_SCALE_ERROR:
        mistakes.append(
            Mistake(
                "intrinsics of another image size",
                Reading(intrinsics_factor=factor),
                f"The intrinsics belong to images {1 / factor:.3g} times as large: multiply fx, fy, cx and cy by "
                f"{factor:.3g}.",
            )
        )
    if abs(fx / fy - 1) > 0.01 or abs(cx / cy - 1) > 0.01:
        mistakes.append(
            Mistake(
                "intrinsics swapped",
                Reading(is_swapped=True),
                "The intrinsics of rows and columns are swapped: exchange fx with fy and cx with cy.",
            )
        )
    return mistakes


def _order_mistakes() -> list[Mistake]:
    mistakes = []
    for step, word in ((1, "next"), (-1, "previous")):
        found = "earlier" if step == 1 else "later"
        mistakes += [
            Mistake(
                f"{kind} of the {word} frame",
                reading,
                f"Each frame's {kind} {verb} found with the frame one place {found}: shift the {kind} by one frame.",
            )
            for kind, verb, reading in (
                ("labels", "are", Reading(label_step=step)),
                ("depth", "is", Reading(depth_step=step)),
                ("pose", "is", Reading(pose_step=step)),
            )
        ]
    return mistakes


def _turned_label_mistakes(views: InspectedScene) -> list[Mistake]:
    """Label images of the size of their images that are turned or mirrored, as by the EXIF orientation of photos."""
    mistakes = [
        Mistake(
            f"label images {word}",
            Reading(label_orientation=orientation),
            f"The label images are {word} beside their images: {remedy}.",
        )
        for orientation, word, remedy in _TURNS
    ]
    if any(orientation != UPRIGHT for orientation in views.exif_orientations):
        upright = Mistake(
            "label images of turned pictures",
            Reading(label_orientation=OF_EACH_IMAGE),
            "The images have an EXIF orientation, and the label images are those of the pictures as viewers turn them: "
            "turn the label images of these images back to the stored pixels.",
        )
        mistakes.insert(0, upright)  # of two readings that mend as much, the first one counts
    return mistakes


def diagnose(comparison: ViewComparison) -> Diagnosis:
    """Compare the views as given and under each usual mistake, and choose the one that mends them, if any does.

    A mistake is named if without it the score rises by 0.03 or more, clearly over the pairs (paired t of 4), to 0.6 or
    more; or if it stays as high while a quarter more points agree. Half a pixel hardly moves the score and shows in the
    residual of depth between the views: it is named if a shift of half a pixel or more has the smallest residual of all
    shifts, 30 % less than as given, again clearly.
    Positions a thousand times smaller fit as depth a thousand times larger does; that one counts which leaves the
    median depth between 0.1 m and 100 m.
    """
    given = comparison.measure(Reading())
    median_depth_m = comparison.median_depth()
    mistakes = [
        item for item in usual_mistakes(comparison.views) if _has_scale_of_a_scene(item.reading, median_depth_m)
    ]
    tried = [(mistake, comparison.measure(mistake.reading)) for mistake in mistakes]
    mending = [(mistake, mended) for mistake, mended in tried if _mends(given, mended)]
    if mending:
        mistake, mended = max(mending, key=lambda item: item[1].score)
        return Diagnosis(given, mistake, mended, 0.0)
    return _diagnose_pixel(comparison, given)


def _has_scale_of_a_scene(reading: Reading, median_depth_m: float) -> bool:
    low, high = _MEDIAN_DEPTH_RANGE_M
    is_scaled = reading.depth_factor != 1 or reading.position_factor != 1
    return not is_scaled or low <= median_depth_m * reading.depth_factor <= high


def _mends(given: Agreement, mended: Agreement) -> bool:
    if _joins(given, mended):
        return True
    if mended.score < max(given.score + _LEAST_GAIN, _LEAST_MENDED_SCORE):
        return False
    # What is seen by chance, in a corner, may agree by chance.
    if mended.seen.sum() < 0.3 * given.seen.sum():
        return False
    both = (given.seen >= _LEAST_SEEN) & (mended.seen >= _LEAST_SEEN)
    return int(both.sum()) < 2 or _paired_t((mended.pair_scores - given.pair_scores)[both]) >= _LEAST_T


def _joins(given: Agreement, mended: Agreement) -> bool:
    # Far too large positions leave the views from one place, which agree, and no others.
    is_as_good = mended.score >= max(given.score - _LEAST_GAIN, _LEAST_MENDED_SCORE)
    return is_as_good and int(mended.agreeing.sum()) >= 1.25 * int(given.agreeing.sum())


def _diagnose_pixel(comparison: ViewComparison, given: Agreement) -> Diagnosis:
    nothing = Diagnosis(given, None, None, 0.0)
    if not given.agreeing.any():
        return nothing
    tried = {shift: comparison.measure(Reading(pixel_shift=shift)) for shift in _PIXEL_SHIFTS}
    shift = min(tried, key=lambda s: float(np.nanmean(tried[s].residual)))
    before, after = given.residual, tried[shift].residual
    both = (given.agreeing >= _LEAST_SEEN) & (tried[shift].agreeing >= _LEAST_SEEN)
    is_clear = both.sum() >= 2 and _paired_t((before - after)[both]) >= _LEAST_T
    if not is_clear or after[both].mean() > _LARGEST_RESIDUAL_RATIO * before[both].mean():
        return nothing
    if abs(shift) < 0.5:
        return Diagnosis(given, None, None, shift)
    word, half = ("small", 0.5) if shift > 0 else ("large", -0.5)
    mistake = Mistake(
        "half a pixel",
        Reading(pixel_shift=half),
        f"The principal point is half a pixel too {word} (pixel centres lie at +0.5 here): add {half:g} to cx and cy.",
    )
    return Diagnosis(given, mistake, tried[half], 0.0)


def _paired_t(differences: np.ndarray) -> float:
    """Mean over its standard error; infinite where all are equal and above 0."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    if error == 0:
        return float("inf") if differences.mean() > 0 else 0.0
    return float(differences.mean() / error)
