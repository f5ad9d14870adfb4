"""What fusing the predictions of a network without a field gives, on the frames that a trained field is scored on."""

from functools import partial
from pathlib import Path
from typing import Any, get_args

from semantic_ns.benchmark.runner.results import PREDICTIONS, baseline_name
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.datasets.training_labels import find_label_folder
from semantic_ns.errors import SceneError
from semantic_ns.fusion.folder import FusionScores, as_image
from semantic_ns.fusion.label_fusion import Rule, fuse
from semantic_ns.fusion.predictions import find_predictions
from semantic_ns.fusion.views import SceneView, SceneViews, refuse_distortion
from semantic_ns.interfaces import RenderingModel

CONFIDENCE = 0.9
"""Probability of the class that a label image names, as by default in `sns-fuse-labels`."""


def baseline_scores(
    folder: str, clean: SemanticDataset, scene_folder: Path, model: RenderingModel, stride: int
) -> dict[str, dict[str, float | None]]:
    """Score the predictions of a network for the training images, and what fusing all of them gives.

    Args:
        folder: folder of the predictions, as the data manager's `train_labels` names it.
        clean: the training images with the scene's own labels.
        scene_folder: folder of the scene.
        model: model that renders depth.
        stride: every n-th image is scored.

    Returns:
        Scores by `predictions` and, for each rule and where depth comes from, such as `bayes_given_depth`; those with
        given depth are left out where the scene has none.

    Raises:
        SceneError: if the predictions cannot be used, see `find_predictions`, or the cameras have lens distortion that
            cannot be undone.
    """
    clean = PinholeDataset.of(clean)
    refuse_distortion(clean)
    metadata = clean.metadata
    views = tuple(SceneView(clean, index) for index in range(len(clean)))
    scene = SceneViews(
        views, metadata[keys.TAXONOMY], metadata[keys.LABEL_MAP], metadata[keys.SPLIT], metadata[keys.VOID_RULE]
    )
    predictions = find_predictions(find_label_folder(folder, clean, scene_folder), scene, CONFIDENCE)
    scored = range(0, len(views), stride)
    before = FusionScores(predictions)
    for index in scored:
        before.add(views[index], as_image(predictions.votes(index)))
    found = {PREDICTIONS: before.result()}
    readers = {"given": SceneView.given_depth, "rendered": partial(SceneView.rendered_depth, model=model)}
    for depth, read in readers.items():
        if depth == "given" and keys.DEPTH_FILENAMES not in metadata:
            continue
        with_depth = [view.with_depth(read(view)) for view in views]
        for rule in get_args(Rule):
            after = FusionScores(predictions)
            for index, fused in enumerate(fuse(with_depth, predictions.votes, predictions.taxonomy.num_classes, rule)):
                if index in scored:
                    after.add(views[index], fused)
            found[baseline_name(rule, depth)] = after.result()
    return found


def scores_or_reason(*arguments: Any) -> tuple[dict[str, dict[str, float | None]], str | None]:
    """What `baseline_scores` gives, or nothing and why not: a training can learn labels that fusion refuses."""
    try:
        return baseline_scores(*arguments), None
    except SceneError as error:
        return {}, str(error)
