"""Rays from between the training cameras: where they start, what they cost, and that nothing else changes by them."""

import copy
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation

from semantic_ns.batch import Targets, attach_targets
from semantic_ns.errors import SceneError
from semantic_ns.methods import near_camera
from semantic_ns.methods.options import HashGridOptions
from semantic_ns.methods.schedules import checked_ramp, ramp
from semantic_ns.sampling import unseen_rays
from semantic_ns.sampling.unseen_rays import UnseenRays, camera_extent
from support.ray_batches import CLASSES, batch, rays
from support.registered import FIELDS, SMALL
from support.small_nerf import build, lean_config

CAMERAS = [0, 0, 1, 2, 3]
WITH_PRICE = [name for name, method in FIELDS.items() if isinstance(method.config.pipeline.model, HashGridOptions)]
LINE = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [9.0, 0.0, 0.0]])


def bundle_of(cameras: list[int]) -> RayBundle:
    index = torch.tensor(cameras)
    directions = torch.nn.functional.normalize(torch.randn(len(index), 3, generator=torch.Generator().manual_seed(3)))
    ones = torch.ones(len(index), 1)
    return RayBundle(
        origins=LINE[index], directions=directions, pixel_area=ones, camera_indices=index[:, None],
        nears=ones * 0.1, fars=ones * 5,
    )  # fmt: skip


def test_an_unseen_ray_starts_between_its_camera_and_a_neighbour_and_looks_where_a_ray_of_the_camera_does() -> None:
    bundle = bundle_of(CAMERAS)
    torch.manual_seed(0)
    extended = UnseenRays(LINE, num_neighbours=1).append(bundle, 500)
    assert len(extended) == 505
    assert extended.camera_indices is not None
    assert extended.nears is not None
    assert extended.fars is not None
    seen = extended[:5]
    assert torch.equal(seen.origins, bundle.origins)
    assert torch.equal(seen.directions, bundle.directions)
    nearest = {0: 1, 1: 0, 2: 1, 3: 2}
    started = set()
    for origin, direction, camera in zip(
        extended.origins[5:], extended.directions[5:], extended.camera_indices[5:, 0].tolist(), strict=True
    ):
        ends = sorted((LINE[camera, 0].item(), LINE[nearest[camera], 0].item()))
        assert ends[0] <= origin[0] <= ends[1]
        assert origin[1:].abs().max() == 0
        own = bundle.directions[torch.tensor(CAMERAS) == camera]
        assert (own == direction).all(dim=1).any()
        started.add(camera)
    assert started == {0, 1, 2, 3}
    assert torch.equal(extended.nears, torch.full((505, 1), 0.1))
    assert torch.equal(extended.fars, torch.full((505, 1), 5.0))


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_neighbours_are_the_nearest_other_cameras_however_many_are_compared_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen_rays, "_CAMERAS_AT_ONCE", at_once)
    positions = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))
    found = UnseenRays(positions).neighbours
    for camera, neighbours in enumerate(found.tolist()):
        others = [other for other in range(23) if other != camera]
        assert neighbours == sorted(others, key=lambda other: float((positions[other] - positions[camera]).norm()))[:3]


@pytest.mark.parametrize("positions", [LINE[:1], LINE[:0]])
def test_one_camera_alone_has_no_unseen_rays(positions: torch.Tensor) -> None:
    bundle = bundle_of([0, 0])
    assert UnseenRays(positions).append(bundle, 7) is bundle


def test_none_are_added_to_no_rays_or_if_none_are_wanted() -> None:
    unseen = UnseenRays(LINE)
    assert len(unseen.append(bundle_of([0, 1]), 0)) == 2
    assert len(unseen.append(bundle_of([0, 1])[:0], 5)) == 0


def test_cameras_in_one_place_give_rays_from_that_place() -> None:
    extended = UnseenRays(torch.zeros(4, 3)).append(bundle_of([0, 0]), 6)
    assert extended.origins.abs().max() == 0


def losses_with(unseen: float, **changes: Any) -> dict[str, torch.Tensor]:
    model = build(lean_config(unseen_ray_share=unseen, near_camera_reach=3.0, **changes)).train()
    model.proposal_sampler.eval()  # no jitter, so that all see the same samples
    model._unseen_rays = UnseenRays(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))
    bundle = rays()
    bundle.camera_indices = torch.zeros(len(bundle), 1, dtype=torch.long)
    if model.config.fuse_on_cpu:
        attach_targets(bundle, batch())
    torch.manual_seed(2)
    outputs = model(bundle)
    return model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))


@pytest.mark.parametrize("changes", [{}, {"semantic_features": "shared"}, {"fuse_on_cpu": False}], ids=str)
def test_unseen_rays_change_the_price_near_the_camera_and_no_loss_that_compares_with_images(
    changes: dict[str, Any],
) -> None:
    without, with_them = losses_with(0.0, **changes), losses_with(0.8, **changes)
    assert without.keys() == with_them.keys()
    for name in ("rgb_loss", "distortion_loss", "opacity_loss", "semantic_loss"):
        torch.testing.assert_close(without[name], with_them[name], rtol=1e-5, atol=1e-7)
    assert without["near_camera_loss"] != with_them["near_camera_loss"]


def test_the_fused_path_and_the_plain_one_price_the_same_unseen_rays_alike() -> None:
    fused, plain = losses_with(0.8), losses_with(0.8, fuse_on_cpu=False)
    torch.testing.assert_close(fused["near_camera_loss"], plain["near_camera_loss"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rays_without_targets_leave_the_shares_of_the_others(soft: bool, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = Targets(
        color=torch.rand(4, 3, generator=generator),
        labels=torch.tensor([0, -1, 2, 1]),
        soft_labels=torch.rand(4, 3, generator=generator) if soft else None,
        label_weights=torch.tensor([1.0, 0.0, 2.0, 0.5]) if weighted else None,
    )
    shares = targets.with_void(3).normalized_label_weights()
    torch.testing.assert_close(shares, torch.cat([targets.normalized_label_weights(), torch.zeros(3)]))


def test_a_ramp_is_0_before_1_behind_and_linear_between() -> None:
    assert [ramp(p, 0.2, 0.6) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert [ramp(p, 0.0, 0.0) for p in (0.0, 0.5)] == [1, 1]
    assert [ramp(p, 0.5, 0.5) for p in (0.4, 0.5)] == [0, 1]


@pytest.mark.parametrize("shares", [(0.6, 0.2), (-0.1, 0.5), (0.2, 1.5), (float("nan"), 1.0)])
def test_shares_out_of_order_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(SceneError, match=r"Expected two shares of the run for --x"):
        checked_ramp(shares, "--x")


def remembering(positions: torch.Tensor) -> Any:
    """A model that has been told where the training cameras are."""
    model = build(lean_config(near_camera_reach=0.5))
    poses = torch.cat([torch.eye(3).expand(len(positions), 3, 3), positions[:, :, None]], dim=2)
    dataset = SimpleNamespace(cameras=SimpleNamespace(camera_to_worlds=poses))
    pipeline: Any = SimpleNamespace(datamanager=SimpleNamespace(train_dataset=dataset))
    model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, None))
    return model.train()


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_price_reaches_as_far_in_a_scene_of_any_scale(scale: float) -> None:
    # The cameras of the line lie up to 5.75 from their middle.
    assert remembering(scale * LINE)._near_camera_reach() == pytest.approx(0.5 * 5.75 * scale)


def limited(depth: list[float] | None, **changes: Any) -> Any:
    """A model whose cameras are those of the line, with distances of pixels by depth images, if there are any."""
    model = build(lean_config(near_camera_reach=0.5, **changes))
    poses = torch.cat([torch.eye(3).repeat(len(LINE), 1, 1), LINE[:, :, None]], dim=2)
    dataset = SimpleNamespace(cameras=SimpleNamespace(camera_to_worlds=poses))
    known = SimpleNamespace(values=torch.tensor(depth or [0.0]))
    manager = SimpleNamespace(train_dataset=dataset, trains_with_depth=depth is not None, training_depth=known)
    pipeline: Any = SimpleNamespace(datamanager=manager)
    model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, None))
    return model


def test_the_price_ends_at_the_typical_depth_where_cameras_spread_farther_than_they_see(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 0 is no depth.
    assert limited([0.0, 0.0, 1.0, 2.0, 40.0])._near_camera_reach() == pytest.approx(0.75 * 2)
    said = capsys.readouterr().out
    assert "near cameras: their penalty ends at 1.5 scene units" in said
    assert "--pipeline.model.near-camera-depth-reach 0" in said
    assert limited([1.0, 2.0, 40.0], near_camera_depth_reach=0.25)._near_camera_reach() == pytest.approx(0.5)


def test_it_reaches_a_part_of_the_typical_depth_where_cameras_stand_in_nearly_one_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert limited([99.0, 100.0, 200.0])._near_camera_reach() == pytest.approx(0.3 * 100)
    said = capsys.readouterr().out
    assert "near cameras: their penalty ends at 30 scene units, 0.3 times the depth" in said
    assert "nearly one place" not in said


def test_who_has_images_from_nearly_one_place_alone_is_told_that_depth_will_be_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(near_camera, "Images", SimpleNamespace)
    monkeypatch.setattr(near_camera, "SmallImages", lambda dataset: dataset)
    monkeypatch.setattr(near_camera, "least_depth", lambda images: 100.0)
    assert limited(None)._near_camera_reach() == pytest.approx(0.3 * 100)
    assert "the cameras stand in nearly one place, from which images do not show how far" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("depth", "changes"),
    [
        ([4.0], {}), ([9.5], {}), (None, {}), ([1.5], {"depth_loss_weight": 0.0}),
        ([1.5], {"near_camera_depth_reach": 0.0}), ([100.0], {"near_camera_depth_reach": 0.0}),
    ],
)  # fmt: skip
def test_elsewhere_it_ends_exactly_where_the_cameras_say(
    depth: list[float] | None, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert limited(depth, **changes)._near_camera_reach() == 0.5 * camera_extent(LINE)
    assert "near cameras" not in capsys.readouterr().out


def test_a_run_from_before_the_limit_goes_on_without_it() -> None:
    config = lean_config()
    state = {name: value for name, value in vars(config).items() if name != "near_camera_depth_reach"}
    restored = object.__new__(type(config))
    restored.__setstate__(state)
    assert config.near_camera_depth_reach > 0
    assert restored.near_camera_depth_reach == 0.0


@pytest.mark.parametrize("positions", [LINE[:1], LINE[:1].expand(4, 3)])
def test_cameras_in_one_place_train_without_a_price(positions: torch.Tensor) -> None:
    model, bundle = remembering(positions), rays()
    attach_targets(bundle, batch())
    outputs = model(bundle)
    losses = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
    assert float(losses["near_camera_loss"]) == 0
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_the_extent_is_that_of_the_farthest_camera_but_for_a_stray_pose() -> None:
    assert camera_extent(LINE) == pytest.approx(9 - 3.25)
    assert camera_extent(LINE[:1]) == 0
    path = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    stray = torch.cat([path, torch.full((1, 3), 100.0)])
    assert camera_extent(path) <= 0.6
    assert camera_extent(stray) <= 3 * (1 + 100 / 51)  # its pull on the middle is left


def weights_of_a_run(method: str, num_steps: int, pace: int = 1, **changes: Any) -> list[float]:
    """The weight of the price near the camera in each step, of which the time allows one in `pace`."""
    config: Any = copy.deepcopy(FIELDS[method].config.pipeline.model)
    changes = SMALL[method] | {"near_camera_loss_weight": 0.02, "near_camera_reach": 0.5} | changes
    for name, value in changes.items():
        setattr(config, name, value)
    box, metadata = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])), {"taxonomy": CLASSES, "metres_per_unit": 2.0}
    model = config.setup(scene_box=box, num_train_data=4, metadata=metadata, device="cpu")
    poses = torch.cat([torch.eye(3).expand(len(LINE), 3, 3), LINE[:, :, None]], dim=2)
    dataset = SimpleNamespace(cameras=SimpleNamespace(camera_to_worlds=poses))
    pipeline: Any = SimpleNamespace(datamanager=SimpleNamespace(train_dataset=dataset))
    clock = SimpleNamespace(schedule_step=lambda step: pace * step)
    trainer: Any = SimpleNamespace(config=SimpleNamespace(max_num_iterations=num_steps), clock=clock)
    callbacks = model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer))
    weights = []
    for step in range(num_steps // pace):
        for callback in callbacks:
            if TrainingCallbackLocation.BEFORE_TRAIN_ITERATION in callback.where_to_run:
                callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        weights.append(model._near_camera_weight())
    return weights


@pytest.mark.parametrize("method", WITH_PRICE)
def test_the_price_near_the_camera_falls_from_its_boost_to_its_weight_and_stays_there(method: str) -> None:
    weights = weights_of_a_run(method, 20, near_camera_boost=5.0, near_camera_ramp=(0.25, 0.6))
    assert weights[:6] == pytest.approx([0.1] * 6)
    assert weights[12:] == pytest.approx([0.02] * 8)
    falls = [a - b for a, b in pairwise(weights[5:13])]
    assert falls == pytest.approx([0.08 / 7] * 7)


@pytest.mark.parametrize("method", WITH_PRICE)
def test_the_price_near_the_camera_falls_with_the_clock_where_time_ends_the_run(method: str) -> None:
    options = {"near_camera_boost": 5.0, "near_camera_ramp": (0.25, 0.6)}
    assert weights_of_a_run(method, 20, pace=2, **options) == weights_of_a_run(method, 20, **options)[::2]


@pytest.mark.parametrize("method", WITH_PRICE)
def test_without_a_boost_the_price_near_the_camera_is_the_same_in_all_steps(method: str) -> None:
    assert weights_of_a_run(method, 7, near_camera_boost=1.0) == pytest.approx([0.02] * 7)


@pytest.mark.parametrize("method", WITH_PRICE)
def test_a_fall_out_of_order_is_refused(method: str) -> None:
    with pytest.raises(SceneError, match=r"Expected two shares of the run for --pipeline.model.near-camera-ramp"):
        weights_of_a_run(method, 2, near_camera_ramp=(0.6, 0.25))


@pytest.mark.parametrize("method", WITH_PRICE)
@pytest.mark.parametrize("boost", [-1.0, float("inf"), float("nan")])
def test_a_boost_that_is_no_factor_is_refused(boost: float, method: str) -> None:
    with pytest.raises(SceneError, match=r"--pipeline.model.near-camera-boost"):
        weights_of_a_run(method, 2, near_camera_boost=boost)
