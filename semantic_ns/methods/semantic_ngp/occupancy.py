"""Ray marching through an occupancy grid, on CUDA by nerfacc, on the CPU by a kernel of the same meaning."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from nerfacc import OccGridEstimator
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_samplers import VolumetricSampler
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.kernels.layers import as_arrays
from semantic_ns.methods.semantic_ngp.packed import packed_visibility

_POINTS_PER_BATCH = 1 << 18
"""Points whose density is asked for at once: bounds the memory, whatever the number of samples."""

_RAYS_PER_COUNTED = 8
"""One ray in so many is marched to foresee the number of samples of a batch."""

_WARM_UP_STEPS = 256
"""Training steps in which each update takes all cells; later ones take some at random and some occupied ones."""


class BoundedRays(NamedTuple):
    """Rays and where they begin and end, as tensors or, for the kernels, as arrays; lengths are in scene units."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    """Of length 1."""
    near: Float[Tensor, "rays"]
    far: Float[Tensor, "rays"]


class Steps(NamedTuple):
    """Lengths of the steps along a ray."""

    least: float
    """In scene units."""
    per_distance: float
    """Length over the distance of the step's start, where that is more."""


class OccupancyArrays(NamedTuple):
    """L nested grids of X * Y * Z cells as the kernels take them, each within the next."""

    boxes: Float64[np.ndarray, "levels 6"]
    """Least and greatest corner in scene units."""
    cells_per_unit: Float64[np.ndarray, "levels 3"]
    is_occupied: Bool[np.ndarray, "levels x y z"]


def require_nerfacc_kernels() -> None:
    """Build nerfacc's CUDA kernels, which takes minutes the first time, or load them.

    Raises:
        SceneError: if this machine cannot.
    """
    try:
        # nerfacc imports this when its first kernel is called.
        kernels = importlib.import_module("nerfacc.cuda._backend")._C
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _no_kernels(f"could not be built ({reason})") from error
    if kernels is None:
        raise _no_kernels("were not installed, and no CUDA toolkit (nvcc) was found to build them")


def _no_kernels(reason: str) -> SceneError:
    return SceneError(
        f"semantic-ngp on a CUDA device needs the CUDA kernels of nerfacc, which {reason}; train semantic-nerf, which "
        "needs none, or hide the device by CUDA_VISIBLE_DEVICES='' to use the CPU."
    )


class OccupancyGrid(OccGridEstimator):
    """nerfacc's occupancy grid (Li et al. 2023; Mueller et al. 2022, appendix E.2), which also samples on the CPU.

    State, update and checkpoints are nerfacc's. A ray is cut into steps from the near plane on; a step is a sample
    if its centre lies before the far plane, and in an occupied cell of the finest level that contains it. On the
    CPU two things differ: the length of a step, max(step size, cone angle times distance), is that at its start,
    where nerfacc keeps one length while it crosses an empty cell; and while training, steps are longer where the
    batch would otherwise have too many samples, as it does until the grid knows where the scene is empty.

    Args:
        max_samples_per_ray: approximate upper limit on the mean number of samples per ray of a training batch.
        decay: factor of what a cell held before, at each of its updates; nerfacc's 0.95 takes thousands of steps to
            forget the fog of the first ones.
        threshold: occupancy above which a cell is occupied after the warm-up, at most (the mean is the other bound);
            nerfacc's 0.01 before.
        kwargs: arguments of ``OccGridEstimator``.
    """

    aabbs: Tensor
    binaries: Tensor
    occs: Tensor
    resolution: Tensor

    def __init__(self, *, max_samples_per_ray: int, decay: float, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_samples_per_ray = max_samples_per_ray
        self.decay = decay
        self.threshold = threshold

    def update_every_n_steps(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, step: int, occ_eval_fn: Callable[[Tensor], Tensor], **options: Any
    ) -> None:
        """Take a step of nerfacc's update, with our decay and, once every cell has been seen, our threshold."""
        ours: dict[str, Any] = {"ema_decay": self.decay}
        if step >= _WARM_UP_STEPS:
            ours["occ_thre"] = self.threshold
        super().update_every_n_steps(step, occ_eval_fn, warmup_steps=_WARM_UP_STEPS, **(ours | options))

    @torch.no_grad()
    def sampling(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        rays_o: Float[Tensor, "rays 3"],
        rays_d: Float[Tensor, "rays 3"],
        sigma_fn: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        **options: Any,
    ) -> tuple[Int[Tensor, "samples"], Float[Tensor, "samples"], Float[Tensor, "samples"]]:
        """Ray, start and end of each sample, rays ascending; options are those of ``OccGridEstimator.sampling``.

        Args:
            rays_o: origins in scene units.
            rays_d: unit directions.
            sigma_fn: densities from starts, ends and rays of samples; without it nothing invisible is left out.
            options: ``render_step_size``, ``near_plane`` and so on.
        """
        if rays_o.device.type != "cpu":
            return super().sampling(rays_o, rays_d, sigma_fn, **options)
        march = self.plan(rays_o, rays_d, **options)
        rays, starts, ends = self.march(march.rays, march.step, march.cone_angle)
        if sigma_fn is None:
            return rays, starts, ends
        optical = sigma_fn(starts, ends, rays) * (ends - starts)
        visible = packed_visibility(optical, rays, rays_o.shape[0], march.min_transmittance, march.min_opacity)
        return rays[visible], starts[visible], ends[visible]

    def plan(self, rays_o: Float[Tensor, "rays 3"], rays_d: Float[Tensor, "rays 3"], **options: Any) -> "March":
        """How a batch of CPU rays goes through the grid; arguments as for :meth:`sampling`.

        Raises:
            SceneError: the step has no length.
        """
        if not options["render_step_size"] > 0:
            raise SceneError(
                f"--pipeline.model.render-step-size must be positive, found {options['render_step_size']}; "
                "leave it out for instant-ngp's, a thousandth of the scene box's diagonal."
            )
        step, cone_angle = options["render_step_size"], options["cone_angle"]
        near = torch.full(rays_o.shape[:1], options["near_plane"])
        far = torch.full(rays_o.shape[:1], options["far_plane"])
        if options["t_min"] is not None:
            near = torch.maximum(near, options["t_min"])
        if options["t_max"] is not None:
            far = torch.minimum(far, options["t_max"])
        if options["stratified"]:
            stretch = self._stretch(BoundedRays(rays_o, rays_d, near, far), step, cone_angle)
            step, cone_angle = step * stretch, cone_angle * stretch
            near += torch.rand(near.shape) * step
        # nerfacc's bound: a thin scene must not lose all of its samples.
        min_opacity = min(options["alpha_thre"], self.occs.mean().item())
        min_transmittance = options.get("early_stop_eps", 1e-4)
        return March(self, BoundedRays(rays_o, rays_d, near, far), step, cone_angle, min_transmittance, min_opacity)

    def march(
        self, rays: BoundedRays, step: float, cone_angle: float
    ) -> tuple[Int[Tensor, "samples"], Float[Tensor, "samples"], Float[Tensor, "samples"]]:
        """Ray, start and end of each step in an occupied cell, for CPU tensors.

        Args:
            rays: R rays.
            step: smallest length of a step.
            cone_angle: length of a step over the distance of its start, where that is more.
        """
        from semantic_ns.methods.semantic_ngp import occupancy_numba as kernels

        march = March(self, rays, step, cone_angle)
        first = march.count()
        room = _room_for(int(first[-1]))
        if first[-1] > 0:
            kernels.march(*march.arguments(), first, *room)
        t_starts, t_ends, indices = (torch.from_numpy(array) for array in room)
        return indices, t_starts, t_ends

    def _stretch(self, rays: BoundedRays, step: float, cone_angle: float) -> float:
        """How much longer the steps must be for a batch to keep to ``max_samples_per_ray``; at least 1."""
        some = BoundedRays(*(tensor[::_RAYS_PER_COUNTED] for tensor in rays))
        march = March(self, some, step, cone_angle)
        mean = march.count()[-1] / max(1, len(some.origins))
        return max(1.0, float(mean) / self.max_samples_per_ray)


@dataclass(frozen=True)
class March:
    """Rays on their way through an occupancy grid, and which of their samples count; for CPU tensors."""

    grid: OccupancyGrid
    rays: BoundedRays
    step: float
    """Smallest length of a step in scene units."""
    cone_angle: float
    """Length of a step over the distance of its start, where that is more."""
    min_transmittance: float = 1e-4
    """Share of the light that must reach a sample."""
    min_opacity: float = 0.0
    """Opacity that it must have."""

    def arguments(self) -> tuple[BoundedRays, Steps, OccupancyArrays]:
        """Rays, steps and occupancy as the kernels take them."""
        boxes = self.grid.aabbs.numpy().astype(np.float64)
        cells_per_unit = self.grid.resolution.numpy() / (boxes[:, 3:] - boxes[:, :3])
        occupancy = OccupancyArrays(boxes, cells_per_unit, self.grid.binaries.numpy())
        return as_arrays(self.rays), Steps(float(self.step), float(self.cone_angle)), occupancy

    def count(self) -> np.ndarray:
        """Index [R + 1] of each ray's first step in an occupied cell, and the number of all."""
        from semantic_ns.methods.semantic_ngp import occupancy_numba as kernels

        first = np.zeros(len(self.rays.origins) + 1, np.int64)
        kernels.march(*self.arguments(), first, *_room_for(0))
        return np.cumsum(first)


def _room_for(num_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(num_samples, np.float32), np.empty(num_samples, np.float32), np.empty(num_samples, np.int64)


class OccupancySampler(VolumetricSampler):
    """nerfstudio's sampler; it leaves out what is invisible not only while training, but in every rendering."""

    def plan(self, ray_bundle: RayBundle, **options: Any) -> March:
        """How the sampler takes CPU rays through the grid, for kernels that go along; options as for a call of it."""
        nears, fars = ray_bundle.nears, ray_bundle.fars
        grid: Any = self.occupancy_grid
        return grid.plan(
            ray_bundle.origins,
            ray_bundle.directions,
            t_min=None if nears is None else nears.reshape(-1),
            t_max=None if fars is None else fars.reshape(-1),
            stratified=self.training,
            **options,
        )

    def get_sigma_fn(
        self, origins: Tensor, directions: Tensor, times: Tensor | None = None
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The densities of samples, given their starts, ends and rays."""
        del times
        density_fn: Any = self.density_fn
        if density_fn is None:
            return None

        def sigma_fn(starts: Tensor, ends: Tensor, rays: Tensor) -> Tensor:
            densities = torch.empty_like(starts)
            for part in torch.arange(len(starts), device=starts.device).split(_POINTS_PER_BATCH):
                if len(part):  # torch gives one empty part for no samples at all
                    distance = (starts[part] + ends[part])[:, None] / 2
                    points = origins[rays[part]] + directions[rays[part]] * distance
                    densities[part] = density_fn(points).squeeze(-1).to(densities)
            return densities

        return sigma_fn
