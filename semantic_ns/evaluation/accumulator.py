"""Running sums of one evaluation: what `ns-eval` pools over images instead of averaging per image, and one mean."""

import math
from collections.abc import Sequence
from itertools import zip_longest

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.evaluation.calibration import CalibrationSums, calibration_sums
from semantic_ns.evaluation.depth import DepthSums, depth_sums
from semantic_ns.evaluation.metrics import ImageMious, confusion_matrix, image_miou, missed_pixels, segmentation_scores
from semantic_ns.evaluation.worst_images import ImageScores
from semantic_ns.labels.taxonomy import VOID


class SceneAccumulator:
    """Sums over all evaluated pixels of a scene.

    Args:
        num_classes: C.
        metres_per_unit: Metres per scene unit, to report depth in metres.

    Attributes:
        calibration: Right and wrong pixels by confidence.
    """

    def __init__(self, num_classes: int, metres_per_unit: float) -> None:
        self.num_classes = num_classes
        self.metres_per_unit = metres_per_unit
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._confusion = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        self._missed = torch.zeros(self.num_classes, dtype=torch.int64)
        self._image_mious = ImageMious()
        self._has_labels = False
        self.calibration = CalibrationSums()
        self._has_confidence = False
        self._depth = DepthSums()
        self._has_depth = False
        self._squared_error = 0.0
        self._num_color_values = 0
        self._finished_images: list[ImageScores] = []
        self._image: tuple[SceneAccumulator, ...] = ()  # sums of the present image alone, none where none was begun
        self._image_name = ""

    def begin_image(self, name: str) -> None:
        """Keep sums of their own of what is added until the next image begins, for `image_scores`."""
        # A confusion matrix for each of many images and classes would not fit into memory.
        self._finished_images = self.image_scores()
        self._image, self._image_name = (SceneAccumulator(self.num_classes, self.metres_per_unit),), name

    def image_scores(self) -> list[ImageScores]:
        """Scores of each image that was begun, in that order."""
        names = ("psnr_pooled", "miou_present", "depth_l1")
        results = [image.result([""] * self.num_classes) for image in self._image]
        present = [ImageScores(self._image_name, *(_finite(result.get(name)) for name in names)) for result in results]
        return [*self._finished_images, *present]

    def add_labels(
        self,
        labels: Int64[Tensor, "height width 1"],
        target: Int64[Tensor, "height width 1"],
        confidence: Float[Tensor, "height width 1"] | None = None,
    ) -> None:
        """Add the classes of one image.

        Args:
            labels: Predicted classes 0..C-1; -1 (void) is wrong, and no other class's pixel.
            target: True classes, -1 (void) where nothing is scored.
            confidence: Probability of the predicted classes, if it is to be scored.
        """
        for image in self._image:
            image.add_labels(labels, target)
        self._has_labels = True
        target = target.to(labels.device)
        missed = missed_pixels(labels, target, self.num_classes).cpu()
        answered = target.masked_fill(labels == VOID, VOID)
        confusion = confusion_matrix(labels, answered, self.num_classes).cpu()
        self._image_mious += image_miou(confusion, missed)
        self._missed += missed
        self._confusion += confusion
        if confidence is not None:
            self._has_confidence = True
            self.calibration += calibration_sums(confidence, labels == target, target != VOID)

    def add_depth(
        self, planar_depth: Float[Tensor, "height width 1"], depth_m: Float[Tensor, "height width 1"]
    ) -> None:
        """Add the depth of one image, along the optical axis: rendered in scene units, true in metres (0: unknown)."""
        for image in self._image:
            image.add_depth(planar_depth, depth_m)
        self._has_depth = True
        self._depth += depth_sums(planar_depth * self.metres_per_unit, depth_m.to(planar_depth.device))

    def add_color(self, rendered: Float[Tensor, "height width 3"], target: Float[Tensor, "height width 3"]) -> None:
        """Add the colours of one image, both in [0, 1], for the pooled PSNR."""
        for image in self._image:
            image.add_color(rendered, target)
        error = rendered.double() - target.to(rendered.device).double()
        self._squared_error += float(error.square().sum())
        self._num_color_values += error.numel()

    def pool(self, parts: Sequence["SceneAccumulator"]) -> None:
        """Take over the sums of several accumulators, each of which had every n-th image in turn, from its own on.

        Counts are the same as if one accumulator had had all images; sums of floating-point numbers differ by rounding.
        """
        total = SceneAccumulator(self.num_classes, self.metres_per_unit)
        for part in parts:
            total._confusion += part._confusion
            total._missed += part._missed
            total._image_mious += part._image_mious
            total.calibration += part.calibration
            total._depth += part._depth
            total._squared_error += part._squared_error
            total._num_color_values += part._num_color_values
            total._has_labels |= part._has_labels
            total._has_confidence |= part._has_confidence
            total._has_depth |= part._has_depth
        images = zip_longest(*(part.image_scores() for part in parts))
        total._finished_images = [image for turn in images for image in turn if image is not None]
        self.__dict__.update(vars(total))

    def result(self, class_names: Sequence[str]) -> dict[str, float]:
        """Pooled scores of all images added since the last reset; NaN for a score without pixels.

        Args:
            class_names: The C names, for the keys `iou/<name>` of classes with ground truth or prediction.

        Returns:
            `miou miou_present miou_per_image class_accuracy pixel_accuracy fwiou iou/<name>` when labels were added,
            `ece` (expected calibration error) when their confidence was, `psnr_pooled` when colours were and `depth_l1
            depth_rel depth_delta1` when depth was. Of these `miou_per_image` alone is a mean over images, see
            `ImageMious`.
        """
        result = self._label_scores(class_names) if self._has_labels else {}
        if self._has_confidence:
            result["ece"] = self.calibration.expected_error()
        if self._num_color_values > 0:
            result["psnr_pooled"] = self._pooled_psnr()
        if self._has_depth:
            result |= self._depth.scores()
        return result

    def _label_scores(self, class_names: Sequence[str]) -> dict[str, float]:
        scores = segmentation_scores(self._confusion, self._missed)
        result = {
            "miou": scores.miou,
            "miou_present": scores.miou_present,
            "miou_per_image": self._image_mious.mean(),
            "class_accuracy": scores.class_accuracy,
            "pixel_accuracy": scores.pixel_accuracy,
            "fwiou": scores.fwiou,
        }
        named = zip(class_names, scores.class_iou, strict=True)
        return result | {f"iou/{name}": iou for name, iou in named if not math.isnan(iou)}

    def _pooled_psnr(self) -> float:
        """-10 log10 of the mean squared error over all values of all images; infinite for no error."""
        mean_squared_error = self._squared_error / self._num_color_values
        return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
