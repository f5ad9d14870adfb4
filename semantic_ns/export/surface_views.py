"""What each training image shows of the surface: depth, colour and class of its pixels, in the world of the files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int16, UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from numpy import ndarray

from semantic_ns.batch import RENDERED_LABELS, seen_labels, seen_planar_depth
from semantic_ns.datamanagers.trusted_depth import read_trusted_depth
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.export.splat import pinhole_cameras
from semantic_ns.geometry.pinhole import Pixels, Surface, rays
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.geometry.world import poses_in_world, units_of_files
from semantic_ns.interfaces import RenderingModel

DepthSource = Literal["auto", "given", "rendered"]
"""Where depth comes from: the images of the scene, what the run renders, or the first of these that can be trusted."""
_LEAST_SLANT = 0.02
_OPAQUE = 0.5
"""Opacity of an image from which on a pixel shows a surface."""


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """A pinhole camera and the surface that its pixels show.

    Attributes:
        w2c: World to camera, OpenCV axes, in the unit of the world, which is the metre where the scale is known.
        lens: fx, fy, cx, cy in pixels; pixel centres lie at +0.5.
        depth: Planar depth in the unit of the world, 0 where unknown.
        color: RGB.
        labels: Classes 0..C-1, void -1.
        confidence: Probability of the class, 0..1.
        rendered_depth: What the run renders where depth comes from images, which may leave pixels unknown.
    """

    w2c: Float64[ndarray, "3 4"]
    lens: Float64[ndarray, "4"]
    depth: Float32[ndarray, "height width"]
    color: UInt8[ndarray, "height width 3"]
    labels: Int16[ndarray, "height width"]
    confidence: Float32[ndarray, "height width"]
    rendered_depth: Float32[ndarray, "height width"] | None = None

    @property
    def centre(self) -> Float64[ndarray, "3"]:
        """Where the camera stands in the world."""
        return -self.w2c[:, :3].T @ self.w2c[:, 3]

    def completed(self) -> "SurfaceView":
        """This view with the depth that the run renders wherever it is unknown."""
        if self.rendered_depth is None:
            return self
        return replace(self, depth=np.where(self.depth > 0, self.depth, self.rendered_depth))

    @property
    def pixel_side(self) -> float:
        """Median side of a pixel at the depth that it shows, in the unit of the world; NaN without depth."""
        known = self.depth[self.depth > 0]
        return float(np.median(known)) / float(np.sqrt(self.lens[0] * self.lens[1])) if len(known) else float("nan")

    def points(self) -> Float64[ndarray, "height width 3"]:
        """The point in the world that each pixel shows; that of a pixel without depth is the camera's place."""
        local = self._rays(0) * self.depth.reshape(-1, 1).astype(np.float64)
        return ((local - self.w2c[:, 3]) @ self.w2c[:, :3]).reshape(*self.depth.shape, 3)

    def normals(self) -> Float32[ndarray, "height width 3"]:
        """Unit normals in the world towards the camera; zero at the border and where depth is unknown nearby."""
        normals, is_known, _ = self._planes()
        found = np.zeros((*self.depth.shape, 3), np.float32)
        found[1:-1, 1:-1][is_known] = (normals @ self.w2c[:, :3])[is_known.reshape(-1)]
        return found

    def slants(self) -> Float32[ndarray, "height width"]:
        """Distance from the surface of a point before it, over how much less deep it lies on the same ray.

        It is |n . (x, y, 1)|, with the normal n and the ray through the pixel, and 1 where there is no plane.
        """
        normals, _, is_plane = self._planes()
        found = np.ones(self.depth.shape, np.float32)
        along = np.abs((normals * self._rays(1)).sum(axis=1))
        found[1:-1, 1:-1][is_plane] = np.maximum(along, _LEAST_SLANT)[is_plane.reshape(-1)]
        return found

    def _pixels(self, border: int) -> Pixels:
        height, width = self.depth.shape
        row, column = (axis.reshape(-1) for axis in np.mgrid[border : height - border, border : width - border])
        return Pixels(np.zeros_like(row), row, column)

    def _rays(self, border: int) -> Float64[ndarray, "pixels 3"]:
        return rays(self._pixels(border), self.lens[None])

    def _planes(
        self,
    ) -> tuple[Float64[ndarray, "pixels 3"], Bool[ndarray, "rows columns"], Bool[ndarray, "rows columns"]]:
        """Of inner pixels the normals in the camera, whether depth is known around them, and whether it is a plane."""
        pixels = self._pixels(1)
        surface = Surface.at(pixels, self.depth[None], self.lens[None])
        shape = max(0, self.depth.shape[0] - 2), max(0, self.depth.shape[1] - 2)
        is_known = self.depth > 0
        around = np.logical_and.reduce(
            [is_known[1:-1, 1:-1], is_known[:-2, 1:-1], is_known[2:, 1:-1], is_known[1:-1, :-2], is_known[1:-1, 2:]]
        )
        return surface.normals(pixels, self.lens[None]), around, surface.is_plane.reshape(shape)


@dataclass(frozen=True)
class SceneSurface:
    """The views of a scene and what is known about them.

    Attributes:
        views: One for each training image of which depth is known.
        unit: `m`, or `units of the poses` where the scale of the scene is unknown.
        depth_source: Where depth comes from, as a sentence.
        is_given: Whether it comes from the depth images of the scene.
    """

    views: Sequence[SurfaceView]
    unit: str
    depth_source: str
    is_given: bool


def scene_surface(views: Sequence[SurfaceView], dataset: SemanticDataset, source: str, is_given: bool) -> SceneSurface:
    """The surface of a scene by those of its views that know some depth.

    Args:
        views: All views.
        dataset: Their images.
        source: Where depth comes from, as a sentence.
        is_given: Whether it comes from the depth images of the scene.

    Raises:
        SceneError: if no depth is known.
    """
    views = [view for view in views if bool((view.depth > 0).any())]
    if not views:
        raise SceneError(
            "Expected depth of some pixel of the training images, found none; train longer, or check the depth images "
            "with sns-doctor."
        )
    has_unknown_scale = bool(dataset.metadata.get(keys.HAS_UNKNOWN_SCALE, False))
    return SceneSurface(views, "units of the poses" if has_unknown_scale else "m", source, is_given)


def render_views(
    model: RenderingModel,
    dataset: SemanticDataset,
    outputs: DataparserOutputs,
    given: Sequence[ndarray] | None = None,
    track: Callable[[Sequence[int]], Iterator[int]] = iter,
) -> list[SurfaceView]:
    """Render all images of a data set (slow), also those that show no surface.

    Args:
        model: The model of a run.
        dataset: The images.
        outputs: The scene that they are of, or a split of it.
        given: Planar depth of each image in metres, 0 where unknown; by default what the model renders.
        track: Wraps the numbers of the images, to show progress.

    Raises:
        SceneError: if the model has no classes or the cameras are no pinhole cameras.
    """
    cameras = pinhole_cameras(dataset)
    c2w = dataset.cameras.camera_to_worlds[:, :3, :4].double().numpy()
    poses = np.linalg.inv(opencv_to_opengl(poses_in_world(outputs, c2w)))[:, :3]
    scale = units_of_files(outputs)  # not metres per unit: depth and poses are in one world
    per_metre = scale / float(dataset.metadata[keys.METRES_PER_UNIT])
    views = []
    with torch.no_grad(), model.raw_outputs():
        for index in track(range(len(dataset))):
            rendered = model.get_outputs_for_camera(dataset.cameras[index : index + 1].to(model.device))
            _refuse_without_classes(rendered)
            used = _is_used(dataset, index)
            shown = np.where(used, seen_planar_depth(rendered, scale)[..., 0].cpu().numpy(), 0).astype(np.float32)
            depth = shown if given is None else np.where(used, given[index] * per_metre, 0).astype(np.float32)
            labels = seen_labels(rendered)[..., 0].cpu().numpy().astype(np.int16)
            views.append(
                SurfaceView(
                    poses[index],
                    cameras[index].lens.double().numpy(),
                    depth,
                    (dataset.color_of(index) * 255).round().byte().numpy(),
                    labels,
                    rendered["semantics_confidence"][..., 0].float().cpu().numpy(),
                    None if given is None else shown,
                )
            )
    return views


def given_depth(dataset: SemanticDataset, depth: DepthSource) -> tuple[Sequence[ndarray] | None, str]:
    """Trusted depth images in metres, or None for what the run renders; and where depth comes from.

    Raises:
        SceneError: if depth images are asked for and cannot be trusted.
    """
    trusted = None if depth == "rendered" else read_trusted_depth(dataset)
    if trusted is not None:
        images_m, reason = trusted
        num_known = sum(bool(image.any()) for image in images_m)
        return images_m, f"the depth images of {num_known} of {len(images_m)} training images ({reason})"
    if depth == "given":
        raise SceneError(
            "Expected depth images in the scene that agree between views, found none; give --depth rendered, or ask "
            "sns-doctor what is wrong with them."
        )
    return None, f"{len(dataset)} training images, rendered by the run"


def _is_used(dataset: SemanticDataset, index: int) -> ndarray:
    """Pixels that are neither masked nor transparent."""
    mask, alpha = dataset.mask_of(index), dataset.alpha_of(index)
    used = np.ones(dataset.without_label(index).shape, bool) if mask is None else mask
    return used if alpha is None else used & (alpha.numpy() >= _OPAQUE)


def _refuse_without_classes(outputs: Any) -> None:
    if RENDERED_LABELS not in outputs:
        raise SceneError(
            "Expected a model with classes, found one trained with --pipeline.model.use-semantics False; train it with "
            "classes to export them."
        )
