"""Training steps of `gsnerf` at its published sizes: losses, what a prediction may depend on, optimiser, schedule."""

import copy
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import SeenAt
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.method import gsnerf
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderOptions
from semantic_ns.methods.gsnerf.step import (
    Prediction,
    PublishedLossWeights,
    jittered,
    predict,
    prediction_losses,
)
from semantic_ns.methods.gsnerf.training import ClippedAdam
from semantic_ns.methods.gsnerf.volumes import DepthRange
from semantic_ns.multi_view.source_labels import carry_labels
from semantic_ns.optimizers import scale_schedules_to_run
from support.fresh_process import ROOT
from support.ring_of_views import sample_of_the_wall, without_depth

NUM_CLASSES = 5
BOUNDS = DepthRange(0.5, 4.5)


def network_of(seed: int = 0, **options: Any) -> PublishedNetwork:
    torch.manual_seed(seed)
    return PublishedNetwork(NUM_CLASSES, RenderOptions(**options))


def predicted(network: PublishedNetwork, sample: TargetSample, num_rays: int = 16, seed: int = 0) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    cameras, (height, width) = sample.targets.cameras, sample.targets.size
    places = [torch.randint(height * width, (num_rays,), generator=generator) for _ in range(len(cameras))]
    return predict(network, sample.sources, cameras, (height, width), places, BOUNDS, generator)


@pytest.mark.parametrize("has_depth", [True, False])
def test_a_step_at_published_sizes_lowers_its_loss(has_depth: bool) -> None:
    """8 sources, all channels, planes and samples as published; only the images are small and the rays few."""
    network, weights, sample = network_of(), PublishedLossWeights(), sample_of_the_wall(8)
    sample = sample if has_depth else without_depth(sample)
    optimizer = ClippedAdam(network.parameters(), 2.0, lr=5e-4, weight_decay=1e-5)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.stack(list(prediction_losses(network, predicted(network, sample), sample, weights).values())).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert network.options.num_samples == 128
    assert losses[-1] < losses[0]


def test_losses_are_those_of_the_supervision() -> None:
    network, sample, weights = network_of(num_samples=8), sample_of_the_wall(2), PublishedLossWeights()
    prediction = predicted(network, sample)
    both = {"color_loss", "semantic_loss", "source_semantic_loss"}
    samples = (sample, without_depth(sample))
    supervised, free = (prediction_losses(network, prediction, one, weights) for one in samples)
    assert set(supervised) == both | {"depth_loss", "ray_depth_loss"}
    assert set(free) == both | {"unsupervised_depth_loss", "pseudo_depth_loss", "reprojected_depth_loss"}


def test_each_weight_scales_its_loss() -> None:
    network, sample = network_of(num_samples=8), sample_of_the_wall(2)
    prediction = predicted(network, sample)
    for given in (sample, without_depth(sample)):
        once = prediction_losses(network, prediction, given, PublishedLossWeights())
        twice = PublishedLossWeights(2.0, 1.0, 1.0, 2.0, 0.2, 0.2, 0.2, 0.1)
        for name, loss in prediction_losses(network, prediction, given, twice).items():
            torch.testing.assert_close(loss, 2 * once[name])


def test_the_background_is_found_by_name_wherever_it_stands() -> None:
    names = ("chair", "Floor", "lamp", "wall", "window")
    weights = PublishedLossWeights(background=0.8).of_classes(names)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.8, 1.0, 0.8, 1.0]))
    other = PublishedLossWeights(background=0.5, background_classes=("lamp",)).of_classes(names)
    assert other is not None
    assert other.tolist() == [1.0, 1.0, 0.5, 1.0, 1.0]
    assert PublishedLossWeights().of_classes(("chair",)) is None


def test_a_background_that_no_scene_has_is_told_in_one_sentence() -> None:
    with pytest.raises(SceneError, match=r"\(wall, floor\) .*found chair, lamp; .*-classes") as raised:
        PublishedLossWeights(background=0.8).of_classes(("chair", "lamp"))
    assert "\n" not in str(raised.value)


def test_both_class_losses_weigh_the_background() -> None:
    network, sample = network_of(num_samples=8), sample_of_the_wall(2)
    prediction = predicted(network, sample)
    weights = PublishedLossWeights(background=0.0)
    for background in range(NUM_CLASSES):
        of_classes = weights.of_classes([("wall" if one == background else f"class {one}") for one in range(5)])
        sources, targets = (
            replace(one, labels=one.labels.masked_fill(one.labels == background, -1))
            for one in (sample.sources, sample.targets)
        )
        losses = prediction_losses(network, prediction, sample, weights, of_classes)
        expected = prediction_losses(network, prediction, TargetSample(sources, targets), weights)
        for name in ("semantic_loss", "source_semantic_loss"):
            torch.testing.assert_close(losses[name], expected[name])


def test_the_source_depth_loss_weighs_levels_2_1_and_a_half() -> None:
    network, sample = network_of(num_samples=8), sample_of_the_wall(2, (16, 32))
    prediction = predicted(network, sample)
    truth = sample.sources.depths_m
    assert truth is not None
    total = 0.0
    for weight, step, level in zip((2.0, 1.0, 0.5), (1, 2, 4), prediction.sources.geometry, strict=True):
        # The nearest pixel of a pixel centre that lies between pixels is the one behind it.
        errors = (level.depth.detach() - truth[:, step // 2 :: step, step // 2 :: step]).abs()
        total += weight * float(torch.where(errors < 1, errors**2 / 2, errors - 0.5).mean())
    losses = prediction_losses(network, prediction, sample, PublishedLossWeights(depth=0.3))
    assert float(losses["depth_loss"].detach()) == pytest.approx(0.3 * total, rel=1e-4)


def test_without_labels_no_class_is_trained() -> None:
    network, sample = network_of(num_samples=8), sample_of_the_wall(2)
    for frames in (sample.sources, sample.targets):
        frames.labels[:] = -1
    losses = prediction_losses(network, predicted(network, sample), sample, PublishedLossWeights())
    assert float(losses["semantic_loss"].detach()) == 0
    assert float(losses["source_semantic_loss"].detach()) == 0


@torch.no_grad()
def test_image_labels_and_depth_of_the_target_do_not_reach_the_prediction() -> None:
    network, sample = network_of(num_samples=16), sample_of_the_wall(3)
    truth = sample.targets
    assert truth.depths_m is not None
    poisoned = TargetSample(
        sample.sources,
        replace(truth, images=1 - truth.images, labels=(truth.labels + 2) % 5, depths_m=truth.depths_m + 1),
    )
    first, second = (predicted(network, one) for one in (sample, poisoned))
    for name in ("rgb", "logits", "depth", "z", "accumulation"):
        assert torch.equal(getattr(first.targets[0].rendered, name), getattr(second.targets[0].rendered, name))
    weights = PublishedLossWeights()
    clean, other = (
        prediction_losses(network, prediction, one, weights)
        for prediction, one in ((first, sample), (second, poisoned))
    )
    assert clean["color_loss"] != other["color_loss"]
    # The sources do reach it.
    changed = TargetSample(replace(sample.sources, images=1 - sample.sources.images), truth)
    assert not torch.equal(first.targets[0].rendered.rgb, predicted(network, changed).targets[0].rendered.rgb)


@torch.no_grad()
def test_labels_and_depth_of_the_sources_do_not_reach_the_prediction() -> None:
    network, sample = network_of(num_samples=16), sample_of_the_wall(3)
    blank = replace(sample.sources, labels=torch.full_like(sample.sources.labels, -1), depths_m=None)
    first, second = (predicted(network, one) for one in (sample, TargetSample(blank, sample.targets)))
    assert torch.equal(first.targets[0].rendered.rgb, second.targets[0].rendered.rgb)
    assert torch.equal(first.targets[0].rendered.logits, second.targets[0].rendered.logits)


def test_the_depth_of_rays_is_averaged_over_all_of_them_only_as_released() -> None:
    sample = sample_of_the_wall(2)
    assert sample.targets.depths_m is not None
    sample.targets.depths_m[:, ::2] = 0
    values = []
    for is_released in (False, True):
        network = network_of(num_samples=8, compat=Compat(depth_loss_over_all_rays=is_released))
        prediction = predicted(network, sample, 64)
        losses = prediction_losses(network, prediction, sample, PublishedLossWeights())
        values.append(float(losses["ray_depth_loss"].detach()))
        known = prediction.targets[0].of(sample.targets.depths_m[0]) > 0
    assert values[1] == pytest.approx(values[0] * float(known.float().mean()), rel=1e-4)


def test_bounds_are_changed_by_up_to_a_twentieth_in_one_of_twenty_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [jittered(BOUNDS, generator) for _ in range(2000)]
    changed = [one for one in found if one != BOUNDS]
    assert 60 < len(changed) < 140
    assert all(0.95 * 0.5 <= one.near <= 1.05 * 0.5 and 0.95 * 4.5 <= one.far <= 1.05 * 4.5 for one in changed)


def test_gradients_are_clipped_by_value() -> None:
    first, second = (torch.zeros(3, requires_grad=True) for _ in range(2))
    clipped, plain = ClippedAdam([first], 2.0, lr=0.1), torch.optim.Adam([second], lr=0.1)
    for step in ([5.0, -1.0, -30.0], [0.5, 4.0, 1.0]):
        gradient = torch.tensor(step)
        first.grad, second.grad = gradient.clone(), gradient.clamp(-2, 2)
        clipped.step()
        plain.step()
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("length", [300_000, 30_000])
def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine(length: int) -> None:
    optimizers = copy.deepcopy(gsnerf.config.optimizers)
    config = scale_schedules_to_run(optimizers, length)["network"]["scheduler"]
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=5e-4)
    scheduler: Any = config.setup().get_scheduler(optimizer, 5e-4)
    (factor,) = scheduler.lr_lambdas
    warmup = length // 600
    assert 5e-4 * factor(warmup // 2) == pytest.approx(2.5e-4, rel=1e-3)
    for step in (warmup, length // 3, length // 2, length - 1):
        angle = math.pi * (step - warmup) / (length - warmup)
        assert 5e-4 * factor(step) == pytest.approx(1e-5 + (5e-4 - 1e-5) * (1 + math.cos(angle)) / 2, rel=1e-6)


def test_the_optimiser_is_the_published_one() -> None:
    group = gsnerf.config.optimizers["network"]["optimizer"]
    built = group.setup([torch.zeros(1, requires_grad=True)])
    options = built.param_groups[0]
    assert isinstance(built, ClippedAdam)
    assert (options["lr"], options["betas"], options["weight_decay"], group.clip_value) == (5e-4, (0.9, 0.999), 1e-5, 2)
    assert gsnerf.config.max_num_iterations == 300_000


def test_gsnerf_is_registered() -> None:
    (line,) = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("gsnerf = ")]
    module, _, name = line.partition(" = ")[2].strip('"').partition(":")
    assert getattr(import_module(module), name) is gsnerf
    assert gsnerf.config.method_name == "gsnerf"


def test_labels_of_sources_decide_where_they_see_a_point() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    labels = torch.full((2, 4, 4), 1)
    labels[1] = -1
    at = SeenAt(torch.full((2, 3, 2), 0.5), torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    seen = torch.tensor([[True, False, False], [True, True, False]])
    mixed = carry_labels(logits, labels, at, seen, torch.ones(2, 3))
    assert mixed.argmax(dim=-1).tolist() == [1, 0, 0]
    assert torch.equal(mixed[1:], logits[1:])  # void, and not seen
    assert float(mixed[0].exp().sum()) == pytest.approx(1, abs=1e-4)


def test_labels_of_the_source_that_looks_the_same_way_outvote_those_of_two_others() -> None:
    labels = torch.stack([torch.full((4, 4), number) for number in (0, 2, 2)])
    at = SeenAt(torch.full((3, 1, 2), 0.5), torch.ones(3, 1), torch.ones(3, 1, dtype=torch.bool))
    mixed = carry_labels(torch.zeros(1, 3), labels, at, at.is_seen, torch.tensor([[9.0], [1.0], [2.0]]))
    votes = torch.tensor([0.75, 0.0, 0.25])
    torch.testing.assert_close(mixed[0].exp(), 0.95 * votes + 0.05 / 3, rtol=1e-4, atol=1e-6)
    again = carry_labels(torch.zeros(1, 3), labels, at, at.is_seen, torch.tensor([[90.0], [10.0], [20.0]]))
    torch.testing.assert_close(again, mixed)


def small_run(scene: Path, folder: Path) -> Any:
    """A run of two steps over one scene, at published widths with few samples and rays."""
    config: Any = copy.deepcopy(gsnerf.config)
    config.output_dir, config.max_num_iterations, config.vis = folder, 2, "tensorboard"
    config.machine.device_type = "cpu"
    config.pipeline.datamanager.data = scene
    config.pipeline.datamanager.train_sources, config.pipeline.model.num_source_views = (3, 3), 3
    config.pipeline.eval_images_at_end = 0
    config.pipeline.model.rays_per_target, config.pipeline.model.num_samples = 16, 8
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


def test_a_run_trains_and_renders_a_scored_view_that_it_has_not_seen(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = small_run(nerfstudio_scene, tmp_path)
    assert list((tmp_path).rglob("step-*.ckpt"))
    pipeline = trainer.pipeline
    assert pipeline.datamanager.num_source_views == 3
    camera, batch = pipeline.datamanager.next_eval_image(0)
    model = pipeline.model.eval()
    outputs = model.get_outputs_for_camera(camera)
    height, width = batch["image"].shape[:2]
    assert outputs["rgb"].shape == (height, width, 3)
    assert bool((outputs["depth"] > 0).all())
    # The same sources are encoded once, and labels of the sources are carried only where that is wanted.
    assert model._last is not None
    kept = model._last[1]
    again = model.get_outputs_for_camera(camera)
    assert model._last[1] is kept
    assert torch.equal(again["rgb"], outputs["rgb"])
    model.config.use_source_labels = False
    without = model.get_outputs_for_camera(camera)
    assert torch.equal(without["rgb"], outputs["rgb"])
    assert different(without, outputs)
    model.train()
    assert model._last is None


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one if name.startswith("semantics"))
