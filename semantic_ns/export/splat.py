"""A trained run as Gaussians with classes: what its depth and images show, and what its labels say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from semantic_ns.batch import PLANAR_DEPTH, meets_nothing
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.metrics import SegmentationScores, confusion_matrix, missed_pixels, segmentation_scores
from semantic_ns.export.labels import CLASSES_FILE
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.geometry.world import world_from_scene
from semantic_ns.io.writing import write_json
from semantic_ns.labels.label_files import class_table
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.classes import are_classless, labels_of
from semantic_ns.splatting.first_gaussians import OF_IMAGES
from semantic_ns.splatting.fit import View, fit
from semantic_ns.splatting.fit_config import FINE_BLUR, FitConfig
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.memory import memory_errors_as_scene_error
from semantic_ns.splatting.octree import quaternions
from semantic_ns.splatting.outlined_labels import outlined_start
from semantic_ns.splatting.ply import write_splat
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import draw, fill_light

_OPAQUE = 0.5
"""Opacity of an image from which on a pixel shows a surface."""
MOST_OF_RENDERED_DEPTH = 800_000
"""Gaussians at the surface that a run renders, whose noise would divide nearly all leaves of the octree. In room_0 1.9
million of them took five times as long to train as .75 million and were no better."""
SPLAT_FILE, CLASS_COLORS_FILE = "splat.ply", "splat_classes.ply"


@dataclass(frozen=True, eq=False)
class Splat:
    """Gaussians of a scene, in scene units.

    Attributes:
        gaussians: the Gaussians.
        colors: their colours in 0..1.
        probabilities: class probabilities of each; all zero where no label reaches.
    """

    gaussians: Gaussians
    colors: Float[Tensor, "gaussians 3"]
    probabilities: Float[Tensor, "gaussians classes"]

    def features_of(self, rows: Int[Tensor, "rows"]) -> list[Tensor]:
        """Colours and probabilities of some of the Gaussians, as `splatting.rasterize.draw` asks for them."""
        return [self.colors.index_select(0, rows), self.probabilities.index_select(0, rows)]


@dataclass(frozen=True)
class SplatScores:
    """What the Gaussians show of images that they were not trained on.

    Attributes:
        num_images: number of images.
        psnr: mean over images, dB.
        worst_psnr: that of the worst image.
        worst_image: number of the worst image among the views, the first of several.
        depth_l1_m: mean error of planar depth over pixels of known depth, metres; None without depth.
        classes: scores of classes, pooled over pixels that are not void; None without labels.
    """

    num_images: int
    psnr: float
    worst_psnr: float
    worst_image: int
    depth_l1_m: float | None
    classes: SegmentationScores | None


def pinhole_camera(camera: Cameras, image: object = "a view") -> PinholeCamera:
    """One camera [] of nerfstudio, in scene units.

    Args:
        camera: the camera.
        image: what it has taken, for the error.

    Raises:
        SceneError: if it is no pinhole camera.
    """
    distortion = camera.distortion_params
    if int(camera.camera_type) != CameraType.PERSPECTIVE.value or (
        distortion is not None and bool((distortion != 0).any())
    ):
        raise SceneError(
            f"Expected pinhole cameras, found lens distortion or another kind of camera of {image}; undistort "
            "images, labels and depth first, or choose perspective for a camera path."
        )
    pose = np.eye(4)
    pose[:3] = camera.camera_to_worlds.double().cpu().numpy()
    # The same change of axes leads either way.
    w2c = np.linalg.inv(opencv_to_opengl(pose[None])[0])[:3]
    lens = torch.stack([getattr(camera, name).flatten()[0].float().cpu() for name in ("fx", "fy", "cx", "cy")])
    return PinholeCamera(torch.from_numpy(w2c).float(), lens, int(camera.height), int(camera.width))


def pinhole_cameras(dataset: Any) -> list[PinholeCamera]:
    """The cameras of a data set.

    Raises:
        SceneError: if one of them is no pinhole camera.
    """
    return [pinhole_camera(dataset.cameras[index], image) for index, image in enumerate(dataset.image_filenames)]


@memory_errors_as_scene_error("the images")
def views_of(dataset: Any, depths: Sequence[Tensor] | None) -> list[View]:
    """The images of a data set, with planar depth in scene units, 0 where unknown (None: of all)."""
    views = []
    for index, camera in enumerate(pinhole_cameras(dataset)):
        mask, depth = dataset.mask_of(index), None if depths is None else depths[index]
        view = View(camera, dataset.bytes_of(index), depth, None if mask is None else torch.from_numpy(mask))
        alpha = view.alpha
        if depth is not None and alpha is not None:
            view = replace(view, depth=depth * (alpha >= _OPAQUE))
        views.append(view)
    return views


def used_labels(views: Sequence[View], labels: Sequence[Int[Tensor, "_height _width"]]) -> list[Tensor]:
    """Labels of the pixels that are used; masked and transparent ones are void."""
    found = []
    for view, label in zip(views, labels, strict=True):
        used, alpha = label if view.mask is None else label.where(view.mask, -1), view.alpha
        found.append(used if alpha is None else used.where(alpha >= _OPAQUE, -1))
    return found


def given_depths(dataset: Any) -> list[Tensor] | None:
    """Planar depth of the images in scene units, 0 where unknown; None where no image has any."""
    if not any(dataset.metadata.get(keys.DEPTH_FILENAMES) or ()):
        return None
    metres_per_unit = dataset.metadata[keys.METRES_PER_UNIT]
    return [torch.from_numpy(dataset.depth_of(index) / metres_per_unit).float() for index in range(len(dataset))]


@torch.no_grad()
def rendered_depths(model: Any, dataset: Any) -> list[Tensor]:
    """Planar depth that a model renders of the images, in scene units, 0 where a ray passes by every surface."""
    found = []
    with model.raw_outputs():
        for index in range(len(dataset)):
            outputs = model.get_outputs_for_camera(dataset.cameras[index : index + 1].to(model.device))
            depth = outputs[PLANAR_DEPTH].float()
            found.append(depth.where(~meets_nothing(outputs["accumulation"]), 0.0)[..., 0].cpu())
    return found


@memory_errors_as_scene_error("the Gaussians")
def make_splat(
    views: Sequence[View],
    labels: Sequence[Tensor],
    num_classes: int,
    config: FitConfig,
    after_step: Callable[[int], None] = lambda _: None,
    most: int | None = None,
    blur: float = FINE_BLUR,
) -> Splat:
    """Gaussians of views whose depth is known, and their classes from labels of the same images.

    Args:
        views: images with depth.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
        config: how the Gaussians are trained.
        after_step: called after each step of the training.
        most: see `first_gaussians`.
        blur: that of the Gaussians, pixels².

    Raises:
        SceneError: no pixel has a class, or no depth is known.
    """
    labels = used_labels(views, labels)
    if not any(bool((image >= 0).any()) for image in labels):
        raise SceneError(
            "Expected labels in some training image, found none with a class; label the scene, or choose a run of a "
            "labelled one."
        )
    start = outlined_start(views, labels, num_classes, most, replace(OF_IMAGES, blur=blur))
    gaussians, colors = fit(start.gaussians, start.colors, views, config, after_step, start.outlines)
    return Splat(gaussians, colors, ClassUpdates().update(gaussians, views, labels, num_classes))


@torch.no_grad()
def score_splat(
    splat: Splat,
    views: Sequence[View],
    labels: Sequence[Tensor],
    metres_per_unit: float,
    background: Float[Tensor, "3"] | None = None,
) -> SplatScores:
    """Compare what the Gaussians show, holes filled, with images, depth and labels.

    Of images with transparency holes stay, and both are compared before a background, as ns-eval does. A surface
    without a class is wrong.

    Args:
        splat: the Gaussians.
        views: the images.
        labels: classes of their pixels, 0..C-1, void -1.
        metres_per_unit: metres per unit of the cameras.
        background: colour behind images with transparency; None is black.

    Raises:
        SceneError: if no pixel is used.
    """
    num_classes = splat.probabilities.shape[1]
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.long)
    missed = torch.zeros(num_classes, dtype=torch.long)
    background = torch.zeros(3) if background is None else background
    psnr: dict[int, float] = {}
    depth_error, num_depths = 0.0, 0
    memory = FrameMemory()
    for number, (view, truth) in enumerate(zip(views, labels, strict=True)):
        image, depth, opacity, _ = draw(splat.gaussians, splat.features_of, view.camera, memory)
        if not view.has_alpha:
            image = fill_light(image, opacity)
        else:  # what is transparent is no hole
            image[..., :3] += (1 - opacity)[..., None] * background
        is_used = torch.ones_like(opacity, dtype=torch.bool) if view.mask is None else view.mask
        if not bool(is_used.any()):
            continue
        error = (image[..., :3].clamp(0, 1) - view.before(background)).square().mean(dim=-1)[is_used].mean()
        psnr[number] = float(-10 * error.clamp(min=1e-12).log10())
        is_classless, target = are_classless(image[..., 3:], opacity), truth.where(is_used, -1)
        found = image[..., 3:].argmax(dim=-1).masked_fill(is_classless, -1)
        missed += missed_pixels(found, target, num_classes)
        confusion += confusion_matrix(found, target.masked_fill(is_classless, -1), num_classes)
        if view.depth is not None:
            is_known = is_used & (view.depth > 0)
            expected = depth / opacity.clamp(min=1e-6)
            depth_error += float((expected - view.depth).abs()[is_known].sum()) * metres_per_unit
            num_depths += int(is_known.sum())
    if not psnr:
        raise SceneError("Expected a used pixel in the scored images, found none; check their masks.")
    worst = min(psnr, key=psnr.__getitem__)
    return SplatScores(
        len(psnr),
        float(np.mean(list(psnr.values()))),
        psnr[worst],
        worst,
        depth_error / num_depths if num_depths else None,
        segmentation_scores(confusion, missed) if bool(confusion.any()) or bool(missed.any()) else None,
    )


def in_world(gaussians: Gaussians, world_from_scene: Float[Tensor, "3 4"]) -> Gaussians:
    """Gaussians moved, turned and scaled by a similarity [sR | t]."""
    linear = world_from_scene[:, :3].double()
    scale = float(torch.linalg.det(linear)) ** (1 / 3)
    turn = quaternions((linear / scale).numpy()[None])[0]
    w, x, y, z = gaussians.quats.double().unbind(-1)
    a, b, c, d = (float(value) for value in turn)
    quats = torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )
    means = gaussians.means.double() @ linear.mT + world_from_scene[:, 3].double()
    return replace(gaussians, means=means.float(), quats=quats.float(), scales=scale * gaussians.scales)


def write_splat_files(splat: Splat, outputs: Any, taxonomy: Taxonomy, folder: Path) -> list[Path]:
    """Write the Gaussians in the world of the data set's files, once in colour, once in the colours of their classes.

    Args:
        splat: the Gaussians, in scene units.
        outputs: the dataparser's outputs, which say where the scene lies in the world.
        taxonomy: the classes.
        folder: folder of the files.
    """
    moved, classes = in_world(splat.gaussians, world_from_scene(outputs)), labels_of(splat.probabilities)
    ids = np.where(classes < 0, -1, taxonomy.decode(classes)).astype(np.int32)
    shown = taxonomy.colorize(torch.from_numpy(classes))
    write_json(folder / CLASSES_FILE, class_table(taxonomy))
    write_splat(folder / CLASS_COLORS_FILE, moved, shown.float(), ids)
    write_splat(folder / SPLAT_FILE, moved, splat.colors, ids)
    return [folder / SPLAT_FILE, folder / CLASS_COLORS_FILE, folder / CLASSES_FILE]
