"""Scores of a trained scene on its test and its training poses, and of the labels that it was trained with."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from numpy import ndarray

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.interfaces import ScoredPipeline
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.pipeline import without_nan

INPUT_RULE = (
    "the labels that training saw against the clean labels of the scored training poses; pixels that are void in "
    "either are not counted (labelled_share: share of the clean labels that are)"
)


def pose_scores(pipeline: ScoredPipeline, dataset: SemanticDataset, name: str, stride: int = 1) -> dict[str, Any]:
    """What `ns-eval` reports, over the images of a dataset; scored against the labels that the dataset gives.

    Args:
        pipeline: a trained `SemanticPipeline`.
        dataset: poses, images, labels and perhaps depth.
        name: prefix of the pictures' file names.
        stride: every n-th image is scored.
    """
    dataset.load_depth = True
    numbers: Any = tuple(range(0, len(dataset), stride))  # declared as a tuple of one number
    loader = FixedIndicesEvalDataloader(dataset, image_indices=numbers, device=pipeline.device)
    # The loader's length is that of its dataset, whichever images it gives.
    return pipeline.get_average_image_metrics(loader, name) | {"num_images": len(numbers)}


def input_scores(given: SemanticDataset, clean: SemanticDataset, stride: int = 1) -> dict[str, float | None]:
    """Score the labels that a training was given against the clean ones, pooled over every n-th frame.

    Pixels that are void in either fall out of the matrix (Zhi et al. 2021, as their released metric does).

    Returns:
        `miou`, `miou_present`, `class_accuracy` and `pixel_accuracy` (None: no pixel has a label in both), and
        `labelled_share`, the share of the pixels with a clean label that also have a given one.
    """
    num_classes = len(clean.taxonomy.names)
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    num_clean = 0
    for index in range(0, len(clean), stride):
        labels, target = torch.from_numpy(given.labels_of(index)), torch.from_numpy(clean.labels_of(index))
        num_clean += int((target != VOID).sum())
        confusion += confusion_matrix(labels, torch.where(labels == VOID, VOID, target.long()), num_classes)
    scores = segmentation_scores(confusion)
    names = ("miou", "miou_present", "class_accuracy", "pixel_accuracy")
    return without_nan(
        {name: getattr(scores, name) for name in names} | {"labelled_share": int(confusion.sum()) / max(1, num_clean)}
    )


def class_counts(dataset: SemanticDataset) -> Int64[ndarray, "frames classes"]:
    """Pixels of each class in each frame; void is not counted."""
    num_classes = len(dataset.taxonomy.names)
    counts = [
        np.bincount(dataset.labels_of(index).ravel() + 1, minlength=num_classes + 1)[1:]
        for index in range(len(dataset))
    ]
    return np.stack(counts).astype(np.int64)


def best_pair(counts: Int64[ndarray, "frames classes"]) -> tuple[int, int]:
    """The two frames that together show the classes best; the first such pair.

    A pair's worth is the sum over classes of its better view's pixels over those of the best view of all, so a pair
    that holds the best view of every class is worth C.

    Args:
        counts: pixels of each class in each frame; two frames at least.
    """
    shares = counts / np.maximum(1, counts.max(0))
    # combinations() goes in ascending order and max() keeps the first, so equal pairs cannot change places.
    return max(combinations(range(len(counts)), 2), key=lambda pair: np.maximum(shares[pair[0]], shares[pair[1]]).sum())


def chosen_frames(dataset: SemanticDataset) -> Sequence[str]:
    """Names of the two training frames whose labels show the classes best."""
    names = frame_names(dataset)
    return [names[index] for index in best_pair(class_counts(dataset))]
