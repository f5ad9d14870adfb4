"""Sums over scored images of one way to predict, and the scores that they give."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.evaluation.depth import DepthSums
from semantic_ns.evaluation.metrics import ImageMious, image_miou, segmentation_scores

MIN_SHARE = 0.005
"""Classes that cover at least this share of the scored pixels are averaged once more by themselves."""


STUFF = ("wall", "floor", "ceiling")
"""Classes that are stuff in the scores of Qian et al. (2021); all others are things."""


@dataclass
class DepthErrors:
    """Sums over pixels: absolute and relative error, and how many are right within 1.25, 1.25^2 and 1.25^3."""

    sums: Float[Tensor, "5"] = field(default_factory=lambda: torch.zeros(5, dtype=torch.float64))
    count: int = 0

    def add(self, predicted: Float[Tensor, "height width"], truth: Float[Tensor, "height width"], mask: Tensor) -> None:
        """Compare depth where the truth is known and the mask is set."""
        chosen = mask & (truth > 0)
        p, t = predicted[chosen].double().clamp(min=1e-6), truth[chosen].double()
        ratio = torch.maximum(p / t, t / p)
        error = (p - t).abs()
        within = [(ratio < 1.25**power).double() for power in (1, 2, 3)]
        self.sums = self.sums + torch.stack([part.sum() for part in (error, error / t, *within)])
        self.count += int(chosen.sum())

    def scores(self, name: str) -> dict[str, float]:
        """Means by name; nothing without a pixel."""
        if not self.count:
            return {}
        names = ("l1", "rel", "delta1", "delta2", "delta3")
        return {f"depth_{one}_{name}": float(v) / self.count for one, v in zip(names, self.sums, strict=True)}


@dataclass
class Row:
    """Sums over images of one way to predict."""

    confusion: Int64[Tensor, "classes classes"] | None = None
    depth: DepthSums = field(default_factory=DepthSums)
    groups: Int64[Tensor, "groups groups"] | None = None
    errors: "defaultdict[str, DepthErrors]" = field(default_factory=lambda: defaultdict(DepthErrors))
    psnr: list[float] = field(default_factory=list)
    psnr_seen: list[float] = field(default_factory=list)
    image_mious: ImageMious = field(default_factory=ImageMious)

    def add_classes(self, counted: Int64[Tensor, "classes classes"]) -> None:
        """Add the classes of one image by its confusion matrix."""
        self.image_mious += image_miou(counted)
        self.confusion = counted if self.confusion is None else self.confusion + counted

    def scores(self) -> dict[str, float]:
        """Scores by name, of what was predicted."""
        found: dict[str, float] = {}
        if self.confusion is not None and bool(self.confusion.any()):
            scores = segmentation_scores(self.confusion)
            share = self.confusion.sum(dim=1) / self.confusion.sum()
            iou = torch.tensor(scores.class_iou)[share >= MIN_SHARE]
            found |= {"miou_present": scores.miou_present, "accuracy": scores.pixel_accuracy, "fwiou": scores.fwiou}
            found["miou_of_frequent"] = float(iou.mean())
            found |= {"miou": scores.miou, "class_accuracy": scores.class_accuracy}
            found["miou_per_image"] = self.image_mious.mean()
        if self.groups is not None and bool(self.groups.any()):
            found["iou_of_stuff"], found["iou_of_things"] = segmentation_scores(self.groups).class_iou
        if self.depth.num_pixels:
            found |= self.depth.scores()
            for name, errors in self.errors.items():
                found |= errors.scores(name)
        if self.psnr:
            found |= {"psnr": mean(self.psnr), "psnr_worst": min(self.psnr)}
        if self.psnr_seen:
            found["psnr_seen"] = mean(self.psnr_seen)
        return found


def mean(values: Sequence[float]) -> float:
    """Mean of some numbers."""
    return sum(values) / len(values)
