"""Scores of each image of a trained scene, beside those of all of them: means hide an image behind a veil."""

import statistics
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader

from semantic_ns.batch import DEPTH_M, LABELS, PLANAR_DEPTH, RENDERED_LABELS, planar_depth_m
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.evaluation.depth import depth_sums
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.interfaces import ScoredPipeline, SemanticModelLike
from semantic_ns.pipeline import MIOU_RULE, without_nan


def scores_and_images(
    pipeline: ScoredPipeline, dataset: SemanticDataset, stride: int = 1
) -> tuple[dict[str, Any], list[dict]]:
    """Score every n-th image of a dataset, each one by itself and all of them together.

    Args:
        pipeline: a trained `SemanticPipeline`.
        dataset: poses, images, labels and perhaps depth.
        stride: every n-th image is scored.

    Returns:
        Scores of all images: `psnr` (mean over images, dB), `psnr_std` (their sample standard deviation) and what
        `SceneAccumulator.result` gives; and for each image `image` (its file, relative to the scene), `psnr`,
        `depth_l1` (m) and `miou_present` (over the classes that the image shows). None: not known.
    """
    dataset.load_depth = True
    numbers: Any = tuple(range(0, len(dataset), stride))
    loader = FixedIndicesEvalDataloader(dataset, image_indices=numbers, device=pipeline.device)
    model = pipeline.model
    model.evaluation_state.reset()
    images = []
    pipeline.eval()
    with torch.no_grad(), model.raw_outputs():
        for camera, batch in loader:
            outputs = model.get_outputs_for_camera(camera)
            metrics, _ = model.get_image_metrics_and_images(outputs, batch)
            name = _name_of(dataset, int(batch["image_idx"]))
            images.append(without_nan({"image": name, "psnr": metrics["psnr"], **image_scores(model, outputs, batch)}))
    pipeline.train()
    psnr = [image["psnr"] for image in images if image["psnr"] is not None]
    scores = {"psnr": statistics.fmean(psnr), "psnr_std": statistics.stdev(psnr) if len(psnr) > 1 else None}
    pooled = without_nan(model.evaluation_state.result(model.taxonomy.names))
    return {**scores, **pooled, "num_images": len(images), "miou_rule": MIOU_RULE}, images


def image_scores(model: SemanticModelLike, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, float]:
    """`depth_l1` (m) and `miou_present` of one image, where it has depth and labels; NaN without a single pixel.

    Args:
        model: model with `metres_per_unit` and `taxonomy`.
        outputs: outputs of the model inside `raw_outputs`, [H, W, 1] each.
        batch: the truth, [H, W, 1] each.
    """
    found = {}
    if DEPTH_M in batch and PLANAR_DEPTH in outputs:
        planar_m = planar_depth_m(outputs, model.metres_per_unit)
        found["depth_l1"] = depth_sums(planar_m, batch[DEPTH_M].to(planar_m.device)).scores()["depth_l1"]
    if RENDERED_LABELS in outputs:
        labels = outputs[RENDERED_LABELS]
        confusion = confusion_matrix(labels, batch[LABELS].to(labels.device), model.taxonomy.num_classes)
        found["miou_present"] = segmentation_scores(confusion.cpu()).miou_present
    return found


def worst_image(images: list[dict]) -> dict[str, Any] | None:
    """The image with the lowest PSNR, the first of equals; None without any."""
    return min((image for image in images if image["psnr"] is not None), key=lambda image: image["psnr"], default=None)


def _name_of(dataset: SemanticDataset, index: int) -> str:
    """The image's file from the folder that all images have in common, so that it is the same on every machine."""
    paths = [Path(path) for path in dataset.image_filenames]
    return paths[index].name if len({path.name for path in paths}) == len(paths) else "/".join(paths[index].parts[-3:])
