"""The surface of a run with the instances of things on it, from connected parts or from masks of single frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Int32
from numpy import ndarray

from semantic_ns.datasets.semantic_dataset import PinholeDataset
from semantic_ns.export.instance_masks import mask_names, read_masks, relative_paths
from semantic_ns.export.instance_surface import SurfaceInstances, edge_of, find_instances, label_voxels
from semantic_ns.export.labels import dataset_frames
from semantic_ns.export.surface_files import Precision
from semantic_ns.export.surface_views import (
    DepthSource,
    SceneSurface,
    SurfaceView,
    given_depth,
    render_views,
    scene_surface,
)
from semantic_ns.interfaces import RenderingModel
from semantic_ns.labels.taxonomy import Taxonomy

Masks = Sequence[Int32[ndarray, "_height _width"] | None]


@dataclass(frozen=True, eq=False)
class RunSurface:
    """The training images of a run, what they show of its surface, and masks of things in them.

    Attributes:
        views: One for each training image.
        scene: Those that know some depth.
        taxonomy: The classes.
        masks: Of each training image the ids of its masks, or None; nothing without any masks at all.
    """

    views: Sequence[SurfaceView]
    scene: SceneSurface
    taxonomy: Taxonomy
    masks: Masks = ()

    @cached_property
    def instances(self) -> SurfaceInstances:
        """Connected parts of things or, with masks, these joined over views.

        Raises:
            SceneError: if no class is of things.
        """
        precision = Precision.of(self.scene)
        edge = edge_of(precision.pixel_side, precision.difference)
        return find_instances(
            label_voxels(self.views, self.taxonomy, precision.tolerance, edge), self.views, self.masks
        )

    @property
    def said(self) -> str:
        """Where instances come from, in words."""
        num_masked = sum(image is not None for image in self.masks)
        return (
            f"masks of {num_masked} of {len(self.views)} training images"
            if self.masks
            else "connected parts of the surface"
        )


def training_masks(folder: Path, data: Any) -> Masks:
    """The masks of the training images of a run, as these are stored.

    Args:
        folder: Folder of PNGs of mask ids.
        data: The run's data manager.

    Raises:
        SceneError: See `read_masks`.
    """
    train, scored = data.train_dataset, data.eval_dataset
    images = relative_paths([*train.image_filenames, *scored.image_filenames])
    names = mask_names(train.image_filenames, images[: len(train)], [frame.name for frame in dataset_frames(train)])
    return read_masks(folder, names, [train.without_label(index).shape for index in range(len(train))])


def read_run_surface(
    model: RenderingModel,
    data: Any,
    depth: DepthSource,
    masks: Masks = (),
    track: Callable[[Sequence[int]], Any] = iter,
) -> RunSurface:
    """Render every training image of a run (slow), and take depth from where `depth` says.

    Depth of test images is never read.

    Args:
        model: The model of a run.
        data: Its data manager.
        depth: Where depth comes from.
        masks: See `training_masks`.
        track: Wraps the numbers of the images, to show progress.

    Raises:
        SceneError: if the run has no classes or its cameras are no pinhole cameras, if depth images are asked for and
            cannot be trusted, or if no depth is known.
    """
    dataset = PinholeDataset.of(data.train_dataset)
    masks = [None if image is None else dataset.undistorted(image, index) for index, image in enumerate(masks)]
    given, source = given_depth(dataset, depth)
    views = render_views(model, dataset, data.train_dataparser_outputs, given, track)
    surface = scene_surface(views, dataset, source, given is not None)
    return RunSurface(views, surface, model.taxonomy, masks)
