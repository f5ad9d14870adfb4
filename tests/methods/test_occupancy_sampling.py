"""Marching through occupancy grids against a plain loop."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_ngp.occupancy import (
    BoundedRays,
    OccupancyGrid,
    OccupancySampler,
    require_nerfacc_kernels,
)

RAYS = 60
STEP = 0.05


def grid(levels: int = 2, occupied: float = 0.3, max_samples_per_ray: int = 1000) -> OccupancyGrid:
    built = OccupancyGrid(
        roi_aabb=[-1.0, -1, -0.5, 1, 1, 0.5],
        resolution=[8, 6, 4],
        levels=levels,
        max_samples_per_ray=max_samples_per_ray,
        decay=0.5,
        threshold=0.2,
    )
    generator = torch.Generator().manual_seed(levels)
    built.binaries = torch.rand(built.binaries.shape, generator=generator) < occupied
    built.occs = built.binaries.flatten().float()
    return built


def rays(far: float = 5.0) -> BoundedRays:
    generator = torch.Generator().manual_seed(3)
    origins = (torch.rand(RAYS, 3, generator=generator) - 0.5) * 2
    origins[RAYS // 2 :] *= 3  # half of them begin outside the scene
    directions = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1)
    directions[:6] = torch.cat([torch.eye(3), -torch.eye(3)])  # parallel to two faces each
    near = torch.rand(RAYS, generator=generator) * 0.5
    return BoundedRays(origins, directions, near, torch.full((RAYS,), far))


def options(**changes: Any) -> dict[str, Any]:
    """What nerfstudio's sampler passes to the grid."""
    return {
        "t_min": None, "t_max": None, "render_step_size": STEP, "near_plane": 0.0, "far_plane": 5.0,
        "stratified": False, "cone_angle": 0.0, "alpha_thre": 0.0,
    } | changes  # fmt: skip


def occupied_at(scene: OccupancyGrid, point: list[float]) -> bool:
    """The finest level whose box contains the point decides."""
    for level, box in enumerate(scene.aabbs.tolist()):
        cell = []
        for x, low, high, cells in zip(point, box[:3], box[3:], scene.resolution.tolist(), strict=True):
            if not low <= x < high:
                break
            cell.append(int((x - low) * (cells / (high - low))))
        else:
            return bool(scene.binaries[level, cell[0], cell[1], cell[2]])
    return False


def march_slowly(scene: OccupancyGrid, ray: list[Any], step: float, cone_angle: float) -> list[tuple[float, float]]:
    origin, direction, t, far = ray
    kept = []
    while t < far:
        t_next = t + max(step, cone_angle * t)
        middle = 0.5 * (t + t_next)
        point = [o + middle * d for o, d in zip(origin, direction, strict=True)]
        if middle < far and occupied_at(scene, point):
            kept.append((t, t_next))
        t = t_next
    return kept


@pytest.mark.parametrize("cone_angle", [0.0, 0.03])
@pytest.mark.parametrize("far", [5.0, 1.5])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_marching_equals_a_plain_loop(levels: int, far: float, cone_angle: float) -> None:
    scene, bundle = grid(levels), rays(far)
    indices, starts, ends = scene.march(bundle, STEP, cone_angle)
    expected = [
        (r, *edges)
        for r, ray in enumerate(zip(*(tensor.tolist() for tensor in bundle), strict=True))
        for edges in march_slowly(scene, list(ray), STEP, cone_angle)
    ]
    assert len(expected) > 20
    assert indices.tolist() == [r for r, _, _ in expected]
    torch.testing.assert_close(starts, torch.tensor([start for _, start, _ in expected]))
    torch.testing.assert_close(ends, torch.tensor([end for _, _, end in expected]))


def test_a_ray_outside_the_box_gets_no_samples() -> None:
    scene = grid(levels=1, occupied=1.0)
    origins = torch.tensor([[3.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 0]])
    directions = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [1, 0, 0], [1, 0, 0]])  # away, towards, beside, from inside
    indices, _, _ = scene.march(BoundedRays(origins, directions, torch.zeros(4), torch.full((4,), 1e10)), STEP, 0.0)
    assert torch.bincount(indices, minlength=4).tolist() == [0, 40, 0, 20]


def test_a_near_plane_behind_the_scene_leaves_no_samples() -> None:
    """The viewer's crop gives rays that miss it the distance 1e10."""
    origins, directions, near, far = rays()
    samples = grid(occupied=1.0).sampling(origins, directions, **options(t_min=near + 1e10, t_max=far + 1e10))
    assert [len(part) for part in samples] == [0, 0, 0]


def test_no_rays_give_no_samples() -> None:
    none = (torch.empty(0, 3), torch.empty(0, 3))
    for stratified in (False, True):
        assert [len(part) for part in grid().sampling(*none, **options(stratified=stratified))] == [0, 0, 0]


def test_near_and_far_are_the_narrower_of_scene_and_ray() -> None:
    origins, directions, _, _ = rays()
    t_min, t_max = torch.full((RAYS,), 0.5), torch.full((RAYS,), 2.0)
    scene = grid(occupied=1.0)
    _, starts, ends = scene.sampling(origins, directions, **options(t_min=t_min, t_max=t_max, far_plane=1.0))
    assert starts.min() == 0.5
    assert ((starts + ends) / 2).max() < 1.0
    _, starts, ends = scene.sampling(origins, directions, **options(t_min=t_min, t_max=t_max, near_plane=1.0))
    assert starts.min() == 1.0
    assert 1.9 < ((starts + ends) / 2).max() < 2.0


def test_jitter_shifts_each_ray_by_less_than_a_step() -> None:
    scene = grid(occupied=1.0)
    origins, directions = torch.zeros(RAYS, 3), rays()[1]
    torch.manual_seed(0)
    indices, starts, _ = scene.sampling(origins, directions, **options(stratified=True))
    shift = torch.stack([starts[indices == r].min() for r in range(RAYS)])
    assert shift.min() >= 0
    assert shift.max() < STEP
    assert shift.max() - shift.min() > STEP / 2


def test_training_keeps_to_the_number_of_samples_and_evaluation_to_the_step() -> None:
    scene = grid(occupied=1.0, max_samples_per_ray=6)
    origins, directions = (
        torch.zeros(1000, 3),
        torch.nn.functional.normalize(torch.randn(1000, 3, generator=torch.Generator().manual_seed(1)), dim=-1),
    )
    indices, starts, ends = scene.sampling(origins, directions, **options(stratified=True))
    assert 4 < len(indices) / 1000 < 8
    assert (ends - starts).min() > STEP
    indices, starts, ends = scene.sampling(origins, directions, **options())
    assert len(indices) / 1000 > 20
    torch.testing.assert_close(ends - starts, torch.full_like(ends, STEP))


def density(starts: Tensor, ends: Tensor, indices: Tensor) -> Tensor:
    return 20 * torch.rand(starts.shape, generator=torch.Generator().manual_seed(8)) ** 4


def test_what_is_invisible_is_left_out_as_a_plain_loop_does() -> None:
    scene, (origins, directions, _, _) = grid(occupied=0.8), rays()
    indices, starts, ends = scene.sampling(origins, directions, **options())
    kept = scene.sampling(origins, directions, sigma_fn=density, **options(alpha_thre=0.1, early_stop_eps=0.2))
    expected, transmittances = [], dict.fromkeys(range(RAYS), 1.0)
    for n, sigma in enumerate(density(starts, ends, indices).tolist()):
        r = int(indices[n])
        opacity = 1 - torch.exp(torch.tensor(-sigma * float(ends[n] - starts[n]))).item()
        if transmittances[r] >= 0.2 and opacity >= 0.1:
            expected.append(n)
        transmittances[r] *= 1 - opacity
    assert 0 < len(expected) < len(starts)
    for got, everything in zip(kept, (indices, starts, ends), strict=True):
        assert torch.equal(got, everything[expected])


def test_a_thin_scene_keeps_samples_below_the_threshold_of_opacity() -> None:
    """nerfacc's bound: the threshold is never above the mean occupancy."""
    scene, (origins, directions, _, _) = grid(), rays()
    scene.occs = torch.full_like(scene.occs, 1e-4)
    thin = options(alpha_thre=0.5)
    kept = scene.sampling(origins, directions, sigma_fn=lambda t, *_: torch.full_like(t, 0.1), **thin)
    assert len(kept[0]) == len(scene.sampling(origins, directions, **thin)[0])


def test_the_update_marks_the_cells_with_density() -> None:
    scene = grid(levels=1, occupied=0.0).train()
    scene.update_every_n_steps(step=0, occ_eval_fn=lambda x: (x[:, :1] > 0).float())
    assert scene.binaries[0, 4:].all()
    assert not scene.binaries[0, :4].any()


@pytest.mark.parametrize(("step", "is_occupied"), [(16, True), (256, False)])
def test_after_the_warm_up_thin_cells_are_empty(step: int, is_occupied: bool) -> None:
    scene = grid(levels=1, occupied=0.0).train()
    for _ in range(20):  # later updates take cells at random
        scene.update_every_n_steps(step=step, occ_eval_fn=lambda x: torch.where(x[:, :1] > 0, 1.0, 0.1))
    assert scene.binaries[0, 4:].all()
    assert scene.binaries[0, :4].all() == is_occupied


def test_a_cell_that_became_empty_is_forgotten_by_the_decay() -> None:
    scene = grid(levels=1, occupied=1.0).train()
    for update in range(1, 4):
        scene.update_every_n_steps(step=16 * update, occ_eval_fn=lambda x: torch.zeros(len(x), 1))
        torch.testing.assert_close(scene.occs, torch.full_like(scene.occs, 0.5**update))


@pytest.mark.parametrize("training", [True, False])
def test_the_sampler_asks_for_densities_while_training_and_afterwards(training: bool) -> None:
    origins, directions, _, _ = rays()
    bundle = RayBundle(origins, directions, torch.ones(RAYS, 1))
    asked: list[int] = []

    def opaque(positions: Tensor, times: Tensor | None = None) -> Tensor:
        asked.append(len(positions))
        return torch.full((len(positions), 1), 1e4)

    sampler = OccupancySampler(grid(levels=1, occupied=1.0), opaque).train(training)
    samples, indices = sampler(bundle, render_step_size=STEP, far_plane=5.0)
    assert asked
    assert indices.unique().numel() == indices.numel() == len(samples)  # the first sample hides the others


def test_without_an_occupied_cell_there_is_one_sample_of_no_length() -> None:
    origins, directions, _, _ = rays()
    bundle = RayBundle(origins, directions, torch.ones(RAYS, 1))
    samples, indices = OccupancySampler(grid(occupied=0.0))(bundle, render_step_size=STEP)
    assert indices.tolist() == [0]
    assert torch.equal(samples.frustums.starts, samples.frustums.ends)


def test_a_step_of_no_length_is_refused() -> None:
    with pytest.raises(SceneError, match="render-step-size must be positive, found 0"):
        grid().sampling(*rays()[:2], **options(render_step_size=0.0))


class BrokenBackend(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("nvcc failed\nand this is why")


def test_missing_cuda_kernels_are_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = ModuleType("nerfacc.cuda._backend")
    backend._C = None
    monkeypatch.setitem(sys.modules, "nerfacc.cuda._backend", backend)
    with pytest.raises(SceneError, match=r"no CUDA toolkit \(nvcc\) was found.*train semantic-nerf"):
        require_nerfacc_kernels()
    monkeypatch.setitem(sys.modules, "nerfacc.cuda._backend", BrokenBackend("nerfacc.cuda._backend"))
    with pytest.raises(SceneError, match=r"could not be built \(nvcc failed\); train semantic-nerf"):
        require_nerfacc_kernels()
    backend._C = object()
    monkeypatch.setitem(sys.modules, "nerfacc.cuda._backend", backend)
    require_nerfacc_kernels()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("levels", [1, 3])
def test_marching_equals_nerfaccs(levels: int) -> None:
    scene, (origins, directions, near, far) = grid(levels), rays()
    chosen = options(t_min=near, t_max=far)
    ours = scene.sampling(origins, directions, **chosen)
    device: dict[str, Any] = {
        name: value.cuda() if isinstance(value, Tensor) else value for name, value in chosen.items()
    }
    theirs = [part.cpu() for part in scene.cuda().sampling(origins.cuda(), directions.cuda(), **device)]
    # In single precision a centre on the edge of a cell may fall to either side.
    ours_by_ray, theirs_by_ray = (torch.bincount(part[0], minlength=RAYS) for part in (ours, theirs))
    assert (ours_by_ray - theirs_by_ray).abs().max() <= 2
    same = ours_by_ray == theirs_by_ray
    assert same.float().mean() > 0.9
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a[same[ours[0]]], b[same[theirs[0]]], rtol=1e-4, atol=1e-4)
