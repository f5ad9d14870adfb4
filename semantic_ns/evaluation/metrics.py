"""Segmentation scores from one confusion matrix.

Symbols: `C` is the number of classes; `M[g, p]` counts pixels with ground truth `g` and prediction `p`; void ground
truth (-1) is never counted. With `row_c = sum_p M[c, p]` and `col_c = sum_g M[g, c]`,
`IoU_c = M[c, c] / (row_c + col_c - M[c, c])`.

The matrix is summed over all pixels of all evaluated images before any score is taken: a mean of per-image scores is
another number, see `ImageMious`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from semantic_ns.labels.taxonomy import VOID


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of one confusion matrix, all in [0, 1]; NaN where nothing could be scored.

    Each mean is named after the classes it is taken over.
    """

    miou: float
    """Mean IoU over classes with ground truth or prediction: a class that is only predicted counts 0."""
    miou_present: float
    """Mean IoU over classes with ground truth."""
    class_accuracy: float
    """Mean recall over classes with ground truth."""
    pixel_accuracy: float
    """Share of right pixels."""
    fwiou: float
    """IoU weighted with the share of ground-truth pixels of each class."""
    class_iou: tuple[float, ...]
    """IoU of each class; NaN for a class with neither ground truth nor prediction."""


def confusion_matrix(
    prediction: Integer[Tensor, "*pixels"], target: Integer[Tensor, "*pixels"], num_classes: int
) -> Int64[Tensor, "classes classes"]:
    """Count the pixels of each pair of ground truth (row) and prediction (column).

    Args:
        prediction: Classes 0..C-1. May hold anything where the target is void.
        target: Classes 0..C-1, or -1 (void) where there is nothing to score.
        num_classes: C.

    Returns:
        Counts, on the device of the target. Counts of several images add up.

    Raises:
        ValueError: if a scored pixel holds a class outside 0..C-1.
    """
    scored = target != VOID
    rows = target[scored].to(torch.int64)
    columns = prediction[scored].to(torch.int64)
    for name, classes in (("target", rows), ("prediction", columns)):
        if classes.numel() > 0 and not (int(classes.min()) >= 0 and int(classes.max()) < num_classes):
            raise ValueError(
                f"expected {name} classes in 0..{num_classes - 1}, found {int(classes.min())}..{int(classes.max())}"
            )
    counts = torch.bincount(rows * num_classes + columns, minlength=num_classes * num_classes)
    return counts.view(num_classes, num_classes)


@dataclass(frozen=True)
class ImageMious:
    """The other mean IoU in use: that of each image over the classes of its own ground truth, averaged over images.

    Generalisable methods report it (S-Ray, Liu et al. 2023; GSNeRF, Chou et al. 2024). Their released code counts an
    image without ground truth as 0; here it is left out. Those of several images add up.
    """

    total: float = 0.0
    """Sum over images of their `SegmentationScores.miou_present`."""
    num_images: int = 0
    """Number of images with ground truth."""

    def __add__(self, other: "ImageMious") -> "ImageMious":
        return ImageMious(self.total + other.total, self.num_images + other.num_images)

    def mean(self) -> float:
        """The mean over images; NaN without any."""
        return self.total / self.num_images if self.num_images else math.nan


def missed_pixels(
    prediction: Integer[Tensor, "*pixels"], target: Integer[Tensor, "*pixels"], num_classes: int
) -> Int64[Tensor, "classes"]:
    """Count the pixels of each class that are predicted to have none, which `confusion_matrix` refuses.

    Args:
        prediction: Classes 0..C-1, or -1 (void).
        target: Classes 0..C-1, or -1 (void) where there is nothing to score.
        num_classes: C.
    """
    return torch.bincount(target[(prediction == VOID) & (target != VOID)].to(torch.int64), minlength=num_classes)


def segmentation_scores(
    confusion: Int64[Tensor, "classes classes"], missed: Int64[Tensor, "classes"] | None = None
) -> SegmentationScores:
    """Take every score from one confusion matrix (rows: ground truth, columns: prediction).

    The two means of IoU are the two in use: over the classes of the union (Zhi et al. 2021, released code, "mIoU")
    and over those of the ground truth ("mIoU_valid" there).

    A matrix without a single count gives NaN for every score.

    Args:
        confusion: see `confusion_matrix`.
        missed: pixels of each class for which none is predicted: wrong, but nobody else's; None for no such pixel.
    """
    counts = confusion.to("cpu", torch.float64)
    hits, rows, columns = counts.diagonal(), counts.sum(1), counts.sum(0)
    if missed is not None:
        rows = rows + missed.to(rows)
    iou = hits / (rows + columns - hits)  # 0 / 0 = NaN for a class that does not occur.
    present = rows > 0
    share = rows[present] / rows.sum()
    return SegmentationScores(
        miou=float(iou.nanmean()),
        miou_present=float(iou[present].mean()),
        class_accuracy=float((hits / rows)[present].mean()),
        pixel_accuracy=float(hits.sum() / rows.sum()),
        # An empty sum is 0, which would read as a score.
        fwiou=float((share * iou[present]).sum()) if bool(present.any()) else math.nan,
        class_iou=tuple(iou.tolist()),
    )


def image_miou(
    confusion: Int64[Tensor, "classes classes"], missed: Int64[Tensor, "classes"] | None = None
) -> ImageMious:
    """The mean IoU of one image by its own counts, see `segmentation_scores`."""
    miou = segmentation_scores(confusion, missed).miou_present
    return ImageMious() if math.isnan(miou) else ImageMious(miou, 1)
