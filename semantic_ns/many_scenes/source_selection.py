"""Which frames of a scene serve as sources of a target view."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sweep_matrices

Selection = Literal["coverage", "nearest", "published", "inverted-poses"]
SAME_POSE_M = 1e-6
"""Cameras that differ by less than this, in metres and in their rotation matrices, are the same image."""
NEAR_M, FAR_M = 0.3, 8.0
"""Depths of rooms in metres, between which sources are compared where nobody says how far a run looks."""
_PROBE_DEPTHS = 3
_PROBE_GRID = (9, 12)


@dataclass(frozen=True)
class SelectionRule:
    """By which rule, and for which depths, the sources of a training target are chosen, see `select_sources`.

    Attributes:
        selection: the rule.
        near: nearest depth in metres.
        far: farthest depth in metres.
    """

    selection: Selection = "coverage"
    near: float = NEAR_M
    far: float = FAR_M


def _probes(near: float, far: float) -> tuple[Float[Tensor, "probes 2"], Float[Tensor, "probes"]]:
    """Image coordinates and planar depths of a grid of pixels at three depths, equally spaced in log depth."""
    rows, columns = _PROBE_GRID
    xy = pixel_centres(rows, columns).reshape(1, -1, 2).expand(_PROBE_DEPTHS, -1, -1)
    shares = (torch.arange(_PROBE_DEPTHS) + 1.0) / (_PROBE_DEPTHS + 1)
    depths = (near ** (1 - shares) * far**shares)[:, None].expand(-1, xy.shape[1])
    return xy.flatten(0, 1), depths.flatten()


def seen_probes(target: ViewCameras, sources: ViewCameras, near: float, far: float) -> Bool[Tensor, "sources probes"]:
    """Which sources see points of a target: a grid of its pixels at three depths, equally spaced in log depth.

    Args:
        target: one camera.
        sources: cameras of the sources.
        near: nearest depth in metres.
        far: farthest depth in metres.
    """
    return reproject(sweep_matrices(sources, target), *_probes(near, far)).is_seen


def shown_probes(
    target: ViewCameras, sources: ViewCameras, near: float, far: float
) -> Float64[Tensor, "sources probes"]:
    """How well sources show the points of :func:`seen_probes`: the cosine of the angle between the lines of sight.

    It is 0 for points that a source does not see, and for those that it sees from the other side: a surface there would
    turn its back to one of the two cameras. Buehler et al. (2001) weight views by this angle, too.
    """
    xy, depths = _probes(near, far)
    ahead = target.ray_directions(xy[None])[0].double() * depths[:, None]
    to_points = target.centres + ahead - sources.centres[:, None]
    cosine = F.cosine_similarity(ahead[None], to_points, dim=-1)
    return cosine.clamp(min=0) * seen_probes(target, sources, near, far)


def pose_distances(target: ViewCameras, sources: ViewCameras) -> Float64[Tensor, "sources"]:
    """Distance in metres plus angle in radians between one camera and each of several."""
    shift = (sources.centres - target.centres).norm(dim=-1)
    turns = sources.c2w[:, :3, :3].mT @ target.c2w[:, :3, :3]
    cosine = ((turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    return shift + torch.arccos(cosine)


def are_same_image(target: ViewCameras, sources: ViewCameras) -> Bool[Tensor, "sources"]:
    """Which sources stand where the target stands and look where it looks."""
    return (sources.c2w - target.c2w).abs().amax(dim=(1, 2)) < SAME_POSE_M


def draw_published_sources(
    target: ViewCameras,
    sources: ViewCameras,
    count: int,
    generator: torch.Generator,
    selection: Selection = "published",
) -> Int64[Tensor, "count"]:
    """Sources of a training target as the released code of GSNeRF draws them (Chou et al. 2024).

    It takes `count` random ones of the nearest `count` or, in half of the steps, of the nearest 1.5 `count` (released
    with 8 sources: of 8 or 12). In 2 % of its steps the target may be one of its own sources; here it never is.

    Args:
        target: one camera.
        sources: cameras to choose from.
        count: number of sources.
        generator: draws.
        selection: which cameras are nearest, `published` or `inverted-poses`, see `select_sources`.

    Raises:
        SceneError: if there are not as many cameras beside the target.
    """
    num_others = int((~are_same_image(target, sources)).sum())
    is_wide = bool(torch.randint(2, (), generator=generator))
    size = max(count, min(num_others, count + count // 2 if is_wide else count))
    nearest = select_sources(target, sources, size, selection=selection)
    return nearest[torch.randperm(size, generator=generator)[:count]]


def select_sources(
    target: ViewCameras,
    sources: ViewCameras,
    count: int,
    near: float = NEAR_M,
    far: float = FAR_M,
    selection: Selection = "coverage",
) -> Int64[Tensor, "count"]:
    """The sources of a target, never the target itself.

    `nearest` takes those with the smallest sum of distance (metres) and angle (radians). `coverage` takes one source
    after the other: the one that adds most to how well the points of :func:`shown_probes` are shown, in the mean, by
    the best source and, with half the weight, by the second best, less a tenth of its pose distance; the order of the
    result is that of the choice. `published` takes those whose centres are nearest, wherever they look (Chou et al.
    2024, released code).

    `inverted-poses` takes those with the nearest -R^T t, as that code does: it is the centre of a camera only where
    poses lead from the world to the camera, and those at hand lead back. It depends on the origin of the world, which
    is that of the scene here.

    Args:
        target: one camera.
        sources: cameras to choose from.
        count: number of sources.
        near: nearest depth in metres.
        far: farthest depth in metres.
        selection: rule of the choice.

    Raises:
        SceneError: if there are not as many cameras beside the target.
    """
    distances = pose_distances(target, sources).where(~are_same_image(target, sources), torch.inf)
    usable = distances.isfinite()
    if int(usable.sum()) < count:
        raise SceneError(
            f"Expected at least {count} source {'frame' if count == 1 else 'frames'} beside the target, found "
            f"{int(usable.sum())} in its scene; give the scene more frames"
            f"{'' if count == 1 else ', or take a smaller --pipeline.model.num-source-views'}."
        )
    if selection in ("published", "inverted-poses"):
        of_target, of_sources = (
            views.centres if selection == "published" else _centres_by_inverted_poses(views)
            for views in (target, sources)
        )
        distances = (of_sources - of_target).norm(dim=-1).where(usable, torch.inf)
    if selection != "coverage":
        return distances.argsort(stable=True)[:count]
    shown = shown_probes(target, sources, near, far)
    best = second = shown.new_zeros(shown.shape[1])
    chosen: list[int] = []
    for _ in range(count):
        best_with = torch.maximum(best, shown)
        second_with = torch.maximum(second, torch.minimum(best, shown))
        score = (best_with + 0.5 * second_with).mean(dim=1) - 0.1 * distances
        score[chosen] = -torch.inf
        chosen.append(int(score.argmax()))
        best, second = best_with[chosen[-1]], second_with[chosen[-1]]
    return torch.tensor(chosen, dtype=torch.int64)


def _centres_by_inverted_poses(cameras: ViewCameras) -> Float64[Tensor, "cameras 3"]:
    """-R^T t of each pose from camera to world."""
    return -(cameras.c2w[:, :3, :3].mT @ cameras.centres[..., None])[..., 0]
