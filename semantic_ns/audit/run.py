"""The training images of a run: the labels that it was given beside those of its field."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int16, UInt8
from numpy import ndarray
from rich.progress import track

from semantic_ns.audit.other_views import LabelledViews, ViewSupport
from semantic_ns.audit.regions import Region, RegionRule, find_regions
from semantic_ns.batch import RENDERED_LABELS, planar_depth_m, seen_labels
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource
from semantic_ns.errors import SceneError
from semantic_ns.fusion.label_fusion import View
from semantic_ns.fusion.views import SceneView
from semantic_ns.interfaces import PipelineLike, RenderingModel
from semantic_ns.labels.taxonomy import VOID


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A training image with labels.

    Attributes:
        index: number among the training images.
        given: labels that the run was trained on, -1..C-1.
        field: most likely class of the field, 0..C-1.
        confidence: its probability.
        view: where the image was taken, with the depth that the field has.
    """

    index: int
    given: Int16[ndarray, "height width"]
    field: Int16[ndarray, "height width"]
    confidence: Float32[ndarray, "height width"]
    view: View


@dataclass(frozen=True)
class Finding:
    """A region, its place in the list, and what other views say."""

    rank: int
    region: Region
    votes: ViewSupport
    score: float


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run and the labelled ones of its training images.

    Attributes:
        dataset: all training images, with the scene's own labels or those of the run.
        given: labels of all training images that the run was trained on, -1..C-1.
        source: how these came about.
        images: the images with labels.
    """

    dataset: SemanticDataset
    given: Sequence[Int16[ndarray, "_height _width"]]
    source: LabelSource
    images: Sequence[LabelledImage]

    def color(self, image: LabelledImage) -> UInt8[ndarray, "height width 3"]:
        """The colour image."""
        return (self.dataset.color_of(image.index) * 255).round().byte().numpy()


def render_run(pipeline: PipelineLike) -> TrainedRun:
    """Render every training image that has labels (slow: an image at a time).

    Args:
        pipeline: The model and data of a run, see `load_run`.

    Raises:
        SceneError: if the run has no classes, or no training image has labels.
    """
    model, datamanager = pipeline.model, pipeline.datamanager
    labels = datamanager.training_labels
    dataset, given = datamanager.train_dataset, list(labels)
    labelled = [index for index, labels in enumerate(given) if (labels != VOID).any()]
    if not labelled:
        raise SceneError(
            f"Expected training images with labels, found none with any among {len(dataset)}; there is nothing to "
            "audit."
        )
    images = [_render(model, SceneView(dataset, index), given[index]) for index in track(labelled, "Rendering")]
    return TrainedRun(dataset, given, labels.source, images)


def _render(model: RenderingModel, view: SceneView, given: Int16[ndarray, "height width"]) -> LabelledImage:
    with torch.no_grad(), model.raw_outputs():
        outputs = model.get_outputs_for_camera(view.camera.to(model.device))
    if RENDERED_LABELS not in outputs:
        raise SceneError(
            "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it "
            "with classes to audit labels."
        )
    labels, confidence = (
        values[..., 0].cpu().numpy() for values in (seen_labels(outputs), outputs["semantics_confidence"])
    )
    depth_m = planar_depth_m(outputs, view.dataset.metadata[keys.METRES_PER_UNIT])[..., 0].cpu().numpy()
    return LabelledImage(view.index, given, labels.astype(np.int16), confidence, view.with_depth(depth_m))


def audit(run: TrainedRun, rule: RegionRule, max_regions: int) -> list[Finding]:
    """The regions that the field contradicts and other views do not defend, worst first.

    The score is the evidence of the region times (s - g + 1) / (n + 2), where n other views with labels see it, s of
    them have the suggested class there and g the given label: the difference of the two shares that is to be expected
    of further views after these n. Regions without a positive score (s < g) are left out: there the field
    contradicts most of its input, not one image, and is more likely wrong itself.
    """
    views = LabelledViews([image.view for image in run.images], [image.given for image in run.images])
    judged = [
        (region, views.votes(region))
        for number, image in enumerate(run.images)
        for region in find_regions(image.given, image.field, image.confidence, rule, number)
    ]
    scored = [(worth, region, votes) for region, votes in judged if (worth := score(region, votes)) > 0]
    scored.sort(key=lambda item: -item[0])
    return [Finding(rank, region, votes, worth) for rank, (worth, region, votes) in enumerate(scored[:max_regions], 1)]


def score(region: Region, votes: ViewSupport) -> float:
    """How much speaks against the given label of a region, see `audit`."""
    return region.evidence * (votes.suggested - votes.given + 1) / (votes.views + 2)
