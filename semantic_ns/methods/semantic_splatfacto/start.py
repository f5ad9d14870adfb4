"""The Gaussians that a training begins with: of a file, of depth images, or of sparse points."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Shaped
from nerfstudio.models.splatfacto import RGB2SH
from scipy.spatial import KDTree
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.export.splat import SPLAT_FILE, in_world
from semantic_ns.geometry.world import scene_from_world
from semantic_ns.io.console import announce
from semantic_ns.methods.semantic_splatfacto.datamanager import TrainingViews
from semantic_ns.methods.semantic_splatfacto.likeness import Likeness, fitting_scale, likeness
from semantic_ns.splatting.memory import memory_errors_as_scene_error
from semantic_ns.splatting.ply import read_splat
from semantic_ns.splatting.project import Gaussians

StartFrame = Literal["world", "scene"]
Start = tuple[Gaussians, Float[Tensor, "gaussians 3"]]

_LEAST_POINTS = 4
_NUM_NEIGHBOURS = 3
_OPACITY_OF_POINTS = 0.1
"""As splatfacto has it."""


@dataclass(frozen=True)
class GivenFile:
    """A file of Gaussians to begin with.

    Attributes:
        path: a PLY file, or a folder that `sns-to-splat` wrote.
        frame: whether it is in the world of `world_from_scene`, or in scene units.
    """

    path: Path
    frame: StartFrame


@memory_errors_as_scene_error("the images and the Gaussians to begin with")
def first_of(views: TrainingViews, given: GivenFile | None, uses_points: bool) -> Start | None:
    """The Gaussians to begin with, in scene units, and their colours: of the file, else of depth, else of points.

    Args:
        views: the training images.
        given: the file, if there is one.
        uses_points: whether Gaussians may begin at sparse points of the scene, which are read only where they do.

    Returns:
        None where there is nothing to begin with.

    Raises:
        SceneError: if the file or the points, where they are used, are of no use, or no depth is known.
    """
    found = _first_of(views, given, uses_points)
    return found if found is None or views.blur is None else (replace(found[0], blur=views.blur), found[1])


def _first_of(views: TrainingViews, given: GivenFile | None, uses_points: bool) -> Start | None:
    if given is not None:
        return of_file(given, views)
    if views.depths is not None:
        return views.first_gaussians()
    points = views.sparse_points() if uses_points else None
    if points is not None:
        found = of_points(*points)
        announce(
            "start",
            f"{len(found[0])} sparse points and no depth: Gaussians are less sharp than those that begin at depth by "
            "stereo (--pipeline.datamanager.depth stereo)",
        )
        return found
    return None


def parameters_of(
    gaussians: Gaussians, colors: Float[Tensor, "gaussians 3"], of_harmonics: bool, trains: bool
) -> dict[str, Tensor]:
    """Parameters of splatfacto that show Gaussians in one colour from all sides.

    Args:
        gaussians: the Gaussians.
        colors: their colours; outside of 0..1 they stay so only where nothing trains, and as harmonics.
        of_harmonics: whether colours are harmonics, or else logits.
        trains: whether they will be trained, for which nothing may be so opaque or clear that no gradient passes.
    """
    seen = colors.clamp(0, 1)
    harmonics = RGB2SH(seen if trains else colors)
    return {
        "means": gaussians.means,
        "scales": gaussians.scales.clamp(min=1e-8 if trains else 1e-12).log(),
        "quats": gaussians.quats,
        "features_dc": harmonics if of_harmonics else torch.logit(seen, eps=1e-3),
        "opacities": torch.logit(gaussians.opacities, eps=1e-4 if trains else 1e-6)[:, None],
    }


def of_points(positions: Float[Tensor, "points 3"], colors: Shaped[Tensor, "points 3"]) -> Start:
    """Round Gaussians as wide as the mean distance to their three nearest neighbours (Kerbl et al. 2023, section 5.1).

    Args:
        positions: in scene units.
        colors: in 0..255.

    Raises:
        SceneError: there are fewer than four finite points.
    """
    is_finite = positions.isfinite().all(dim=1)
    positions, colors = positions[is_finite].float(), colors[is_finite].float() / 255
    if len(positions) < _LEAST_POINTS:
        raise SceneError(
            f"Expected {_LEAST_POINTS} sparse points or more to begin with, found {len(positions)}; give depth images, "
            "let --pipeline.datamanager.depth stereo find some, or train semantic-nerf and make Gaussians of it with "
            "sns-to-splat."
        )
    tree = KDTree(positions.numpy())
    distances, _ = tree.query(positions.numpy(), k=_NUM_NEIGHBOURS + 1)
    sides = torch.from_numpy(np.mean(distances[:, 1:], axis=1)).float().clamp(min=1e-7)
    quats = torch.zeros(len(positions), 4)
    quats[:, 0] = 1
    opacities = torch.full((len(positions),), _OPACITY_OF_POINTS)
    return Gaussians(positions, quats, sides[:, None].repeat(1, 3), opacities), colors


def of_file(given: GivenFile, views: TrainingViews) -> Start:
    """The Gaussians of a file, in scene units.

    Raises:
        SceneError: there is no such file, it is no PLY of Gaussians, or they do not lie where the scene is.
    """
    path = given.path.expanduser()
    path = path / SPLAT_FILE if path.is_dir() else path
    if not path.is_file():
        raise SceneError(
            f"Expected a PLY file of Gaussians for --pipeline.model.start-from, found no file {path}; sns-to-splat "
            "writes one."
        )
    gaussians, colors, classes = read_splat(path)
    if not len(gaussians):
        raise SceneError(f"Expected Gaussians in {path}, found none; give a file of this scene.")

    def placed(frame: StartFrame, scale: float = 1.0) -> Gaussians:
        own = replace(gaussians, means=scale * gaussians.means, scales=scale * gaussians.scales)
        return in_world(own, scene_from_world(views.outputs)) if frame == "world" else own

    frames: tuple[StartFrame, ...] = get_args(StartFrame)
    found: dict[StartFrame, Likeness] = {frame: likeness(placed(frame), colors, views.views) for frame in frames}
    _check_frame(path, given.frame, found)
    _check_scale(path, *fitting_scale(partial(placed, given.frame), colors, views.views))
    _check_shows_the_scene(path, given.frame, found[given.frame])
    if bool((classes >= 0).any()):
        announce("start", f"the classes in {path} are left out; Gaussians take theirs from the labels of the scene")
    return placed(given.frame), colors


def _check_frame(path: Path, frame: StartFrame, found: Mapping[StartFrame, Likeness]) -> None:
    """Check that the Gaussians of a file are seen in the frame that was chosen, and fit no better in the other.

    Args:
        path: the file.
        frame: the frame that was chosen.
        found: how they look in each frame.

    Raises:
        SceneError: they are hardly seen, or look like the images in the other frame.
    """
    other: StartFrame = "scene" if frame == "world" else "world"
    here, there = found[frame], found[other]
    if there.is_clearly_better(here):
        covers = f"found {here.psnr:.1f} dB" if math.isfinite(here.psnr) else "found hardly any of them in the images"
        raise SceneError(
            f"Expected the Gaussians of {path} to look like the training images, {covers} as {frame} and "
            f"{there.psnr:.1f} dB as {other}; give --pipeline.model.start-frame {other}."
        )
    if not here.is_seen:
        raise SceneError(
            f"Expected the Gaussians of {path} where the training cameras look, found that they see {here.visible:.1%} "
            f"of them; give --pipeline.model.start-frame {other}, or a file of this scene."
        )


def _check_scale(path: Path, scale: float, there: Likeness, here: Likeness) -> None:
    """Check that the Gaussians of a file have the units of the poses.

    Args:
        path: the file.
        scale: the scale at which they look most like the images.
        there: how they look at that scale.
        here: how they look as they are, beside the same images.

    Raises:
        SceneError: they look much more like the images at another scale.
    """
    if scale != 1 and there.is_clearly_better(here):
        raise SceneError(
            f"Expected the Gaussians of {path} in the units of the scene's poses, found that they look like the "
            f"training images with {here.psnr:.1f} dB as they are, and with {there.psnr:.1f} dB {scale:.2f} times as "
            "large; scale the file by this, or give the poses that it was made with."
        )


def _check_shows_the_scene(path: Path, frame: StartFrame, here: Likeness) -> None:
    """Say how the Gaussians of a file look beside the training images.

    Args:
        path: the file.
        frame: the frame that was chosen.
        here: how they look in it.

    Raises:
        SceneError: they look like other images.
    """
    if here.is_unlike:
        other: StartFrame = "scene" if frame == "world" else "world"
        raise SceneError(
            f"Expected the Gaussians of {path} to look like the training images, found {here.psnr:.1f} dB, less than "
            f"images of one colour have ({here.plain_psnr:.1f} dB), and no better as {other}; give a file of this "
            "scene, in the coordinates of its poses."
        )
    beside = f", and look like the images with {here.psnr:.1f} dB" if math.isfinite(here.psnr) else ""
    announce("start", f"Gaussians of {path}: the training cameras see {here.visible:.0%} of them{beside}")
    if not here.is_alike:
        announce(
            "start",
            "they cover the training images so little, or look so little like them, that they may be of another scene "
            "or in other coordinates (--pipeline.model.start-frame); their classes would then be wrong",
        )
