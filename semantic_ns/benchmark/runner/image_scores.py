"""Scores of each image of a trained scene, beside those of all of them: means hide an image behind a veil."""

from dataclasses import asdict
from typing import Any

from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.interfaces import ScoredPipeline
from semantic_ns.pipeline import IMAGE_MIOU_RULE, without_nan


def scores_and_images(
    pipeline: ScoredPipeline, dataset: SemanticDataset, stride: int = 1
) -> tuple[dict[str, Any], list[dict]]:
    """Score every n-th image of a dataset as `ns-eval` does, each one by itself and all of them together.

    Args:
        pipeline: a trained `SemanticPipeline`.
        dataset: poses, images, labels and perhaps depth.
        stride: every n-th image is scored.

    Returns:
        Scores of all images: `psnr` (mean over images, dB), `psnr_std` (their sample standard deviation) and what
        `SceneAccumulator.result` gives; and for each image what `ImageScores` has. None: not known.
    """
    dataset.load_depth = True
    numbers: Any = tuple(range(0, len(dataset), stride))  # declared as a tuple of one number
    loader = FixedIndicesEvalDataloader(dataset, image_indices=numbers, device=pipeline.device)
    # Not the model by itself: a pipeline may have to compute classes before they are scored.
    means = pipeline.get_average_image_metrics(loader, "scored", get_std=True)
    model = pipeline.model
    state = model.evaluation_state
    pooled = without_nan(state.result(model.taxonomy.names))
    scores = {**{name: means[name] for name in ("psnr", "psnr_std")}, **pooled}
    images = [asdict(image) for image in state.image_scores()]
    return {**scores, "num_images": len(images), "miou_rule": IMAGE_MIOU_RULE}, images


def worst_image(images: list[dict]) -> dict[str, Any] | None:
    """The image with the lowest PSNR, the first of equals; None without any."""
    return min((image for image in images if image["psnr"] is not None), key=lambda image: image["psnr"], default=None)
