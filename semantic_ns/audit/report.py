"""What an audit writes: a list, a picture of each region, and label images in which the regions are corrected."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int16, Int32, UInt8
from numpy import ndarray
from scipy import ndimage

from semantic_ns.audit.regions import Region
from semantic_ns.audit.run import Finding, LabelledImage, TrainedRun
from semantic_ns.datasets.training_labels import write_label_folder
from semantic_ns.evaluation.captions import GridRow, captioned_grid, class_legend
from semantic_ns.evaluation.pictures import paint
from semantic_ns.io.writing import replacing, write_errors_as_scene_error, write_png

CSV_FILE = "audit.csv"
COLUMNS = (
    "rank", "frame", "image", "given", "suggested", "area_px", "left", "top", "right", "bottom", "confidence",
    "score", "views", "views_suggested", "views_given", "picture",
)  # fmt: skip
_PANEL_PX = 240
_SMALLEST_MARGIN_PX = 8


def write_audit(folder: Path, run: TrainedRun, findings: Sequence[Finding]) -> None:
    """Write `audit.csv` (header only where nothing was found) and `region_<rank>.png` of each finding.

    Boxes are left, top (inclusive), right, bottom (exclusive). They and areas are of pixels of the photo, also where
    training sees it without the distortion of its lens, as the pictures show it. `frame` counts the training images
    from 0.

    Raises:
        SceneError: if the folder cannot be written to.
    """
    with write_errors_as_scene_error(folder):
        for finding in findings:
            write_png(folder / picture_name(finding), draw_finding(run, finding))
        # The list comes last: where it exists, the audit is complete.
        with replacing(folder / CSV_FILE) as temporary, temporary.open("w", encoding="utf8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_row(run, finding) for finding in findings)


def picture_name(finding: Finding) -> str:
    """File name of the picture of a finding."""
    return f"region_{finding.rank:03d}.png"


def _row(run: TrainedRun, finding: Finding) -> tuple[object, ...]:
    region, votes, names = finding.region, finding.votes, run.dataset.taxonomy.names
    index = run.images[region.frame].index
    on_photo = _on_photo(run, region)
    rows, columns = ndimage.find_objects(on_photo)[0]
    return (
        finding.rank, index, run.dataset.image_filenames[index], names[region.given], names[region.suggested],
        int(on_photo.sum()), columns.start, rows.start, columns.stop, rows.stop, f"{region.confidence:.4f}",
        f"{finding.score:.2f}", votes.views, votes.suggested, votes.given, picture_name(finding),
    )  # fmt: skip


def _on_photo(run: TrainedRun, region: Region) -> Int32[ndarray, "height width"]:
    """1 in the pixels of a region on the photo, 0 elsewhere."""
    image = run.images[region.frame]
    numbers = np.zeros(image.given.shape, np.int32)
    numbers[region.pixels] = 1
    return run.dataset.parts_as_stored(numbers, image.index)


def summary(run: TrainedRun, findings: Sequence[Finding]) -> str:
    """What was found, as one paragraph."""
    num_images = len(run.images)
    if not findings:
        return f"The field contradicts no region of the labels of {num_images} images with confidence."
    area, total = sum(finding.region.area for finding in findings), sum(image.given.size for image in run.images)
    frames = {finding.region.frame for finding in findings}
    names = run.dataset.taxonomy.names
    pairs = Counter((names[finding.region.given], names[finding.region.suggested]) for finding in findings)
    usual = ", ".join(f"{given} -> {suggested} ({count})" for (given, suggested), count in pairs.most_common(3))
    seconded = sum(finding.votes.suggested > finding.votes.given for finding in findings)
    return (
        f"The field contradicts {len(findings)} regions in {len(frames)} of {num_images} labelled images, "
        f"{100 * area / total:.2g} % of their pixels; in {seconded} of these regions more labels of other views agree "
        f"with the field than with the given label. Most often: {usual}."
    )


def write_fixed_labels(folder: Path, run: TrainedRun, findings: Sequence[Finding]) -> int:
    """Write the labels of the run with the class of the field in the regions of the findings.

    The absolute path of the folder is a value of `train_labels` of the data manager, to train on these labels.

    Returns:
        The number of label images that differ from those of the run.

    Raises:
        SceneError: if the folder cannot be written to.
    """
    labels = list(run.given)
    for number, image in enumerate(run.images):
        of_image = [finding for finding in findings if finding.region.frame == number]
        labels[image.index] = fixed_labels(image, of_image)
    write_label_folder(folder, run.dataset, labels, run.source)
    return len({finding.region.frame for finding in findings})


def fixed_labels(image: LabelledImage, findings: Sequence[Finding]) -> Int16[ndarray, "height width"]:
    """The given labels with the class of the field in the regions of the findings, all of this image."""
    labels = image.given.copy()
    for finding in findings:
        labels[finding.region.pixels] = finding.region.suggested
    return labels


def draw_finding(run: TrainedRun, finding: Finding) -> UInt8[ndarray, "height width 3"]:
    """Colour, given labels, the field's labels and its confidence (black to yellow: 0 to 1) around a region.

    The region is outlined in white; its classes in words are above, and a legend names those around it.
    """
    region, taxonomy = finding.region, run.dataset.taxonomy
    image = run.images[region.frame]
    mask = np.zeros(image.given.shape, bool)
    mask[region.pixels] = True
    crop = _with_margin(region.box, mask.shape)
    confidence = torch.from_numpy(image.confidence[crop])[..., None]
    panels = [
        torch.from_numpy(run.color(image)[crop]).float() / 255,
        taxonomy.colorize(torch.from_numpy(image.given[crop])),
        taxonomy.colorize(torch.from_numpy(image.field[crop])),
        paint(confidence, 0.0, 1.0, "inferno"),
    ]
    factor = max(1, _PANEL_PX // max(mask[crop].shape))
    outline = _outline(_enlarged(mask[crop], factor))
    enlarged = [_enlarged((panel * 255).round().byte().numpy(), factor) for panel in panels]
    drawn = [np.where(outline[..., None], np.uint8(255), panel) for panel in enlarged]
    titles = ("colour", "given labels", "labels of the field", "confidence, 0 to 1")
    row = GridRow([torch.from_numpy(panel).float() / 255 for panel in drawn], column_titles=titles)
    title = f"{finding.rank}: {taxonomy.names[region.given]} -> {taxonomy.names[region.suggested]}"
    shown = (torch.from_numpy(image.given[crop]), torch.from_numpy(image.field[crop]))
    return (captioned_grid([row], class_legend(taxonomy, *shown), title) * 255).round().byte().numpy()


def _with_margin(box: tuple[slice, slice], size: tuple[int, ...]) -> tuple[slice, slice]:
    margin = max(_SMALLEST_MARGIN_PX, max(side.stop - side.start for side in box) // 2)
    rows, columns = (
        slice(max(0, side.start - margin), min(length, side.stop + margin))
        for side, length in zip(box, size, strict=True)
    )
    return rows, columns


def _enlarged(image: ndarray, factor: int) -> ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _outline(mask: Bool[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    return ndimage.binary_dilation(mask) & ~mask
