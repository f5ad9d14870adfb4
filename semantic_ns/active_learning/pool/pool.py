"""What a field shows of the frames that may be labelled; no label is in here."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int32, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.active_learning.acquisition import margin
from semantic_ns.active_learning.pool.ensemble_head import RayStatistic
from semantic_ns.active_learning.pool.ray_statistics import (
    RayStatistics,
    describe_image,
    describe_rays,
    refuse_other_models,
)
from semantic_ns.active_learning.pool.units import Units
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike, can
from semantic_ns.rendering import describe_logits
from semantic_ns.surface.sweep import normals_of, sweep

_LEAST_ACCUMULATION = 0.9
_LARGEST_SPREAD_M = 0.1
_TIMES_MEDIAN = 2.0


@dataclass(frozen=True, eq=False)
class Pool:
    """Every n-th pixel of all frames, and what the field shows there; the pixels of a frame are adjacent.

    Attributes:
        stride: n, along rows and columns; the first row and column are in the pool.
        frames, rows, columns: position of each pixel.
        entropy: entropy of the class probabilities, divided by ln C.
        confidence: largest class probability.
        margin: its distance from the second largest.
        points_m: where the ray ends (median distance), scene frame, metres.
        spread_m: spread of the distance at which light is taken, metres; see `distance_spread`.
        accumulation: share of the light that is taken.
        normals: normals of the surface, unit length, towards either side, scene frame.
        camera_positions_m: camera position of each frame, scene frame, metres.
        viewing_directions: viewing direction of each frame, unit length, scene frame.
        features: composited semantic features, where they were asked for.
        disagreement: disagreement of members that see some of the semantic features each, where it was asked for.
        colors: rendered, in 0..1; the strategy reach needs them.
    """

    stride: int
    frames: Int32[ndarray, "pixels"]
    rows: Int32[ndarray, "pixels"]
    columns: Int32[ndarray, "pixels"]
    entropy: Float32[ndarray, "pixels"]
    confidence: Float32[ndarray, "pixels"]
    margin: Float32[ndarray, "pixels"]
    points_m: Float32[ndarray, "pixels 3"]
    spread_m: Float32[ndarray, "pixels"]
    accumulation: Float32[ndarray, "pixels"]
    normals: Float32[ndarray, "pixels 3"]
    camera_positions_m: Float32[ndarray, "frames 3"]
    viewing_directions: Float32[ndarray, "frames 3"]
    features: Float16[ndarray, "pixels channels"] | None = None
    disagreement: Float32[ndarray, "pixels"] | None = None
    colors: Float32[ndarray, "pixels 3"] | None = None

    @property
    def has_sure_depth(self) -> Bool[ndarray, "pixels"]:
        """Pixels whose rays end, and on one surface: accumulation >= 0.9, spread <= 10 cm or twice the median.

        The median takes over where the whole field is that unsure, as it is early in training: what stands out then
        are silhouettes and floaters still.
        """
        largest = max(_LARGEST_SPREAD_M, _TIMES_MEDIAN * float(np.median(self.spread_m)))
        is_sure = (self.accumulation >= _LEAST_ACCUMULATION) & (self.spread_m <= largest)
        return is_sure & np.isfinite(self.points_m).all(axis=1)

    def units_of(self, units: Units) -> Int32[ndarray, "pixels"]:
        """The unit that each pixel belongs to."""
        result = np.empty(len(self.frames), np.int32)
        for frame, part in enumerate(self._parts(len(units.maps))):
            result[part] = units.maps[frame][self.rows[part], self.columns[part]]
        return result

    def is_labelled(self, units: Units, labelled: Bool[ndarray, "units"]) -> Bool[ndarray, "pixels"]:
        """Whether a unit with a label has any of the n x n pixels that each pixel stands for, itself the first."""
        result = np.zeros(len(self.frames), np.bool_)
        for frame, part in enumerate(self._parts(len(units.maps))):
            is_labelled = labelled[units.maps[frame]]
            below, beyond = (-length % self.stride for length in is_labelled.shape)
            blocks = np.pad(is_labelled, ((0, below), (0, beyond)))
            blocks = blocks.reshape(-1, self.stride, blocks.shape[1] // self.stride, self.stride).any(axis=(1, 3))
            result[part] = blocks[self.rows[part] // self.stride, self.columns[part] // self.stride]
        return result

    def _parts(self, num_frames: int) -> list[slice]:
        """The pixels of each frame."""
        ends = np.searchsorted(self.frames, np.arange(num_frames + 1))
        return [slice(start, end) for start, end in pairwise(ends)]


def render_pool(
    model: SemanticModelLike,
    ray_generator: RayGeneratorLike,
    cameras: Cameras,
    num_rays: int = 1_200_000,
    needs: Collection[RayStatistic] = (),
) -> Pool:
    """Render every n-th pixel of all frames, frame by frame.

    Args:
        model: semantic-nerf, or one built as it is.
        ray_generator: function that returns the rays of (camera, row, column).
        cameras: cameras of the frames.
        num_rays: approximate number of rays over all frames, which decides n; see `sweep_stride`.
        needs: what the strategy needs beyond the rest, see `required_statistics`.

    Raises:
        SceneError: if the model is of another kind, or has no classes.
    """
    refuse_other_models(model)

    def statistics(pixels: Int64[Tensor, "height width 3"], rays: RayBundle) -> RayStatistics:
        if not can(model, "renders_image_intervals"):
            return describe_rays(model, rays.flatten(), needs)
        # By the camera itself: the frame that it belongs to is known by its exact pose, and is no source of itself.
        frame = int(pixels[0, 0, 0])
        rows = pixels[:, 0, 1]
        return describe_image(model, cameras[frame : frame + 1], int(rows[1] - rows[0]) if len(rows) > 1 else 1, needs)

    def describe(pixels: Int64[Tensor, "height width 3"], rays: RayBundle) -> dict[str, ndarray]:
        seen = statistics(pixels, rays)
        distance = seen.distance.view(*rays.shape, 1).to(rays.origins)
        points = (rays.origins + rays.directions * distance) * model.metres_per_unit
        frame = _columns(seen, model.metres_per_unit)
        frame["frames"], frame["rows"], frame["columns"] = pixels.view(-1, 3).numpy().astype(np.int32).T
        frame["points_m"] = points.view(-1, 3).cpu().numpy()
        frame["normals"] = normals_of(points).view(-1, 3).cpu().numpy()
        if seen.features is not None:
            frame["features"] = seen.features.cpu().numpy().astype(np.float16)
        return frame

    stride, rendered = sweep(model, ray_generator, cameras, num_rays, describe)
    columns = {name: np.concatenate([frame[name] for frame in rendered]) for name in rendered[0]}
    poses = cameras.camera_to_worlds.reshape(-1, 3, 4).detach().cpu().numpy().astype(np.float32)
    positions = poses[:, :, 3] * np.float32(model.metres_per_unit)
    return Pool(stride, **columns, camera_positions_m=positions, viewing_directions=-poses[:, :, 2])


def _columns(seen: RayStatistics, metres_per_unit: float) -> dict[str, ndarray]:
    _, confidence, entropy = describe_logits(seen.logits)
    tensors = {
        "entropy": entropy[:, 0],
        "confidence": confidence[:, 0],
        "margin": margin(seen.logits),
        "spread_m": seen.spread * metres_per_unit,
        "accumulation": seen.accumulation,
        "colors": seen.colors,
    }
    if seen.disagreement is not None:
        tensors["disagreement"] = seen.disagreement
    return {name: tensor.float().cpu().numpy() for name, tensor in tensors.items()}
