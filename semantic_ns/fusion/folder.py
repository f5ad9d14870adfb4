"""Fuses the predictions in a folder over the views of a scene, and scores them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from rich.progress import track

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.calibration import LikelihoodSums, likelihood_sums
from semantic_ns.fusion.label_fusion import (
    RELATIVE_TOLERANCE,
    SMALLEST_PROBABILITY,
    TOLERANCE_M,
    PixelDistributions,
    Rule,
    fuse,
    most_likely,
)
from semantic_ns.fusion.predictions import Predictions
from semantic_ns.fusion.views import SceneView
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_png
from semantic_ns.labels.label_files import label_image
from semantic_ns.labels.taxonomy import VOID

PARAMETERS_FILE = "fusion.json"
WRITTEN_BY = "sns-fuse-labels"
VOTE_RULE = "pixels without a vote (void predictions that no other view fills) are not scored; coverage is their rest"


@dataclass(frozen=True)
class Fusion:
    """What is fused, and how.

    Attributes:
        predictions: predictions for the views of a scene.
        rule: how votes become one distribution.
        by_distance: whether near views count more.
        read_depth: depth of a view in metres, 0 where unknown.
        sources: what the parameters file says about where all this comes from.
    """

    predictions: Predictions
    rule: Rule
    by_distance: bool
    read_depth: Callable[[SceneView], Float32[ndarray, "height width"]]
    sources: Mapping[str, str]

    def run(self, output: Path, is_scored: bool) -> dict[str, Any]:
        """Write a label image per view under the name of its label image, and the parameters as JSON.

        Returns:
            The content of the parameters file, with scores of the predictions and of the fused labels if asked for.

        Raises:
            SceneError: if the folder holds what this command did not write, or on a damaged file of the scene.
        """
        _refuse_to_overwrite(output)
        views = self.predictions.scene.views
        with_depth = [view.with_depth(self.read_depth(view)) for view in track(views, "Reading depth")]
        fused = fuse(
            with_depth, self.predictions.votes, self.predictions.taxonomy.num_classes, self.rule, self.by_distance
        )
        before, after = FusionScores(self.predictions), FusionScores(self.predictions)
        with write_errors_as_scene_error(output):
            # Written first: it marks the folder as ours, so that a run that was stopped can be repeated.
            write_json(output / PARAMETERS_FILE, self._parameters())
            for index, view in enumerate(track(views, "Fusing labels")):
                probabilities = next(fused)
                labels = most_likely(probabilities)
                stored = view.dataset.as_stored(labels, view.index, VOID)
                write_png(output / f"{view.label_stem}.png", label_image(stored, self.predictions.taxonomy))
                if is_scored:
                    before.add(view, as_image(self.predictions.votes(index)))
                    after.add(view, probabilities)
            parameters = self._parameters()
            if is_scored:
                parameters |= {"scores": {"predictions": before.result(), "fused": after.result()}}
                write_json(output / PARAMETERS_FILE, parameters)
        return parameters

    def _parameters(self) -> dict[str, Any]:
        predictions, scene = self.predictions, self.predictions.scene
        own, every = scene.taxonomy.source_ids, predictions.taxonomy.source_ids
        return {
            "written_by": WRITTEN_BY,
            **self.sources,
            "rule": self.rule,
            "by_distance": self.by_distance,
            "label_confidence": predictions.confidence,
            "smallest_probability": SMALLEST_PROBABILITY,
            "tolerance_m": TOLERANCE_M,
            "relative_tolerance": RELATIVE_TOLERANCE,
            "void_id": predictions.taxonomy.void_source_id,
            "classes": {str(number): name for number, name in zip(own, scene.taxonomy.names, strict=True)},
            "ids_of_predictions_only": sorted(set(every) - set(own)),
            "frames": [view.label_stem for view in scene.views],
            "frames_without_prediction": [
                view.label_stem for view, file in zip(scene.views, predictions.files, strict=True) if file is None
            ],
            "split": scene.split,
            "void_rule": f"{scene.void_rule}; {VOTE_RULE}",
        }


class FusionScores:
    """Scores of distributions against the scene's own labels, pooled over views.

    Classes that only the predictions have count like all others.
    """

    def __init__(self, predictions: Predictions) -> None:
        self._taxonomy = predictions.taxonomy
        self._class_of = predictions.taxonomy.encode(
            np.array(predictions.scene.taxonomy.source_ids, np.int64), "the scene"
        ).astype(np.int64)
        self._sums = SceneAccumulator(self._taxonomy.num_classes, metres_per_unit=1.0)
        self._likelihood = LikelihoodSums()
        self._num_labelled = 0

    def add(self, view: SceneView, probabilities: Float32[ndarray, "height width classes"]) -> None:
        """Add a view by the distributions of its pixels, all 0 where there is none."""
        labels = most_likely(probabilities).astype(np.int64)
        target: Int64[ndarray, "height width"] = np.append(self._class_of, VOID)[view.labels]
        self._num_labelled += int((target != VOID).sum())
        target = np.where(labels == VOID, VOID, target)
        confidence = torch.from_numpy(probabilities.max(axis=-1, keepdims=True))
        scored = torch.from_numpy(target)
        self._sums.add_labels(torch.from_numpy(labels)[..., None], scored[..., None], confidence)
        self._likelihood += likelihood_sums(torch.from_numpy(probabilities), scored)

    def result(self) -> dict[str, float | None]:
        """`miou`, `miou_present` and what else `ns-eval` reports of labels; None where nothing was scored."""
        scores = self._sums.result(self._taxonomy.names)
        scores |= {
            "nll": self._likelihood.mean(),
            "coverage": self._likelihood.num_pixels / self._num_labelled if self._num_labelled else float("nan"),
        }
        return {name: value if np.isfinite(value) else None for name, value in scores.items()}


def as_image(votes: PixelDistributions) -> Float32[ndarray, "height width classes"]:
    """The distribution of each pixel, all 0 where it abstains."""
    image = votes.table[votes.choice].astype(np.float32)
    image[votes.choice < 0] = 0
    return image


def _refuse_to_overwrite(output: Path) -> None:
    if not output.is_dir() or not any(output.iterdir()):
        return
    try:
        is_ours = json.loads((output / PARAMETERS_FILE).read_text("utf8")).get("written_by") == WRITTEN_BY
    except (OSError, ValueError, AttributeError):
        is_ours = False
    if not is_ours:
        raise SceneError(
            f"Expected an empty output folder or one of an earlier {WRITTEN_BY}, found other files in {output}; choose "
            "another --output."
        )
