"""What is no problem of a scene but good to know: what could not be compared, and images that others show turned."""

from semantic_ns.doctor.label_ids import LabelCounts
from semantic_ns.doctor.loading import LoadedScene
from semantic_ns.doctor.mistakes import Diagnosis
from semantic_ns.io.orientation import UPRIGHT

LEAST_SEEN = 1000
"""Points seen in two views below which nothing is said of how well the views agree."""


def remarks_on(scene: LoadedScene, labels: LabelCounts, diagnosis: Diagnosis | None) -> list[str]:
    """What is no problem of a scene but good to know, as sentences.

    Args:
        scene: examined scene.
        labels: counts of its ids.
        diagnosis: comparison of its views; None where they were not compared.
    """
    remarks = [f"{note[0].upper()}{note[1:]}." for note in scene.notes]
    if len(scene.views) == 1:
        remarks.append("There is no second frame to compare the first one with.")
    elif diagnosis is None:
        remarks.append("There is no depth to compare the views by; train, then pass the run's config.yml by --trained.")
    elif diagnosis.given.seen.sum() < LEAST_SEEN:
        remarks.append("Too few points of one view lie in another one to say whether the views agree.")
    elif diagnosis.best_pixel_shift:
        remarks.append(
            f"The views agree best with cx and cy {diagnosis.best_pixel_shift:+g} pixels on, as after taking every "
            "second pixel of a larger image."
        )
    if diagnosis is not None and diagnosis.given.agreeing.any() and not diagnosis.given.labelled_anywhere.any():
        remarks.append("No point is labelled in both views, so labels were not compared.")
    if not scene.is_metric:
        of_depth = "so is depth" if any(scene.has_depth) else "depth is not scored"
        remarks.append(f"Nothing says how long a unit of the poses is; lengths are in these units, and {of_depth}.")
    if scene.has_distortion:
        remarks.append("Lens distortion is left out of the comparison of views.")
    remarks += _remarks_on_images(scene)
    if labels.num_unlabelled + labels.num_all_void:
        remarks.append(f"{labels.num_unlabelled + labels.num_all_void} frames train colour only.")
    return remarks


def _remarks_on_images(scene: LoadedScene) -> list[str]:
    remarks = []
    sizes = scene.views.sizes
    num_others = len(sizes) - len(scene.of_commonest_size().views)
    if num_others:
        remarks.append(
            f"The images have {len(set(sizes))} sizes; {num_others} that have not the commonest one are left out of "
            "the comparison of views."
        )
    num_turned = sum(orientation != UPRIGHT for orientation in scene.views.exif_orientations)
    if num_turned:
        remarks.append(
            f"{num_turned} images have an EXIF orientation and are read as they are stored, not as viewers turn them: "
            "poses and label images must be those of the stored pixels, or turn all of them and remove the orientation."
        )
    return remarks
