"""Rendering and training steps of `viewseg`: passes, losses, what a prediction may depend on, and a run."""

import copy
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import pixel_centres
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.viewseg.compat import Compat
from semantic_ns.methods.viewseg.encoder import FEATURES, DeepLabEncoder
from semantic_ns.methods.viewseg.method import viewseg
from semantic_ns.methods.viewseg.network import RenderedRays, RenderOptions, ViewsegNetwork
from semantic_ns.methods.viewseg.step import (
    TrainingRays,
    ViewsegLossWeights,
    nearest_pixels,
    ray_losses,
    render_training_rays,
)
from support.fresh_process import ROOT
from support.ring_of_views import bilinear, sample_of_the_wall

CLASSES = 5


def network_of(**options: Any) -> ViewsegNetwork:
    torch.manual_seed(0)
    network = ViewsegNetwork(CLASSES, RenderOptions(**options))
    for parameter in network.fine.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    return network


@pytest.fixture(scope="module")
def network() -> ViewsegNetwork:
    return network_of(near=0.5, far=4.0, num_coarse=6, num_fine=5).eval()


def of_sources(network: ViewsegNetwork, frames: Frames) -> Any:
    return network.sources(network.encoder(frames.images), frames.cameras)


@torch.no_grad()
def test_a_ray_is_a_loop_over_its_samples(network: ViewsegNetwork) -> None:
    sample = sample_of_the_wall(2)
    sources, camera = of_sources(network, sample.sources), sample.targets.cameras
    xy = torch.tensor([[0.3, 0.6], [0.8, 0.1]])
    coarse, fine = network.render(sources, camera, xy)
    torch.testing.assert_close(coarse.depths[0], torch.tensor([0.5 + 3.5 * (k + 0.5) / 6 for k in range(6)]))
    assert fine.depths.shape == (2, 11)
    directions = camera.ray_directions(xy[None])[0]
    for ray in range(2):
        depths = fine.depths[ray]
        points = camera.centres.float() + directions[ray] * depths[:, None]
        values = network._at(network.fine, sources, sources.fine, points, directions[ray].expand(11, 3))
        left, rgb, logits, depth = 1.0, torch.zeros(3), torch.zeros(CLASSES), 0.0
        for k in range(11):
            interval = float(depths[k + 1] - depths[k]) if k < 10 else 1e10
            alpha = 1 - math.exp(-max(0.0, float(values.raw_density[k])) * interval)
            rgb += left * alpha * values.rgb[k]
            logits += left * alpha * values.logits[k]
            depth += left * alpha * float(depths[k])
            left *= 1 - alpha
        torch.testing.assert_close(fine.rgb[ray], rgb, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fine.logits[ray], logits, atol=1e-3, rtol=1e-3)
        assert float(fine.depth[ray]) == pytest.approx(depth, rel=1e-3, abs=1e-3)


@torch.no_grad()
def test_the_order_of_sources_and_a_source_that_is_given_twice_do_not_matter(network: ViewsegNetwork) -> None:
    sample, xy = sample_of_the_wall(3), pixel_centres(3, 4).reshape(-1, 2)
    sources, camera, maps = sample.sources, sample.targets.cameras, torch.randn(3, FEATURES, 6, 8)

    def rendered(numbers: list[int]) -> RenderedRays:
        order = torch.tensor(numbers)
        return network.render(network.sources(maps[order], sources.cameras[order]), camera, xy)[1]

    for one, other in (([0, 1, 2], [2, 0, 1]), ([1], [1, 1])):
        for name in ("rgb", "logits", "depth"):
            first, second = getattr(rendered(one), name), getattr(rendered(other), name)
            torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_the_released_fine_pass_adds_as_many_samples_as_the_coarse_one_has() -> None:
    released = network_of(num_coarse=4, num_fine=9, compat=Compat(fewer_fine_samples=True)).eval()
    ours = network_of(num_coarse=4, num_fine=9).eval()
    sample, maps = sample_of_the_wall(1), torch.randn(1, FEATURES, 6, 8)
    found = [
        one.render(one.sources(maps, sample.sources.cameras), sample.targets.cameras, torch.rand(2, 2))[1].depths.shape[
            1
        ]
        for one in (released, ours)
    ]
    assert found == [8, 13]


def training_rays(network: ViewsegNetwork, sample: TargetSample, kind: Any = "target", count: int = 12) -> TrainingRays:
    frames = sample.targets if kind == "target" else sample.sources
    generator = torch.Generator().manual_seed(0)
    sources = of_sources(network, sample.sources)
    return render_training_rays(network, sources, frames.cameras[:1], (kind, 0), count, generator)


@torch.no_grad()
def test_losses_are_written_out(network: ViewsegNetwork) -> None:
    sample = sample_of_the_wall(2, (16, 20))
    frames = sample.targets
    assert frames.depths_m is not None
    rays = training_rays(network, sample)
    weights = ViewsegLossWeights(color=2.0, semantic=0.5, source_view=3.0, depth=0.1)
    color = semantic = depth = 0.0
    for one in rays.passes:
        errors, entropies, offs = [], [], []
        for ray, (x, y) in enumerate(rays.xy.tolist()):
            row, column = int(16 * y), int(20 * x)
            label = int(frames.labels[0, row, column])
            offs.append(abs(float(one.depth[ray]) - float(frames.depths_m[0, row, column])))
            if label >= 0:
                entropies.append(-float(one.logits[ray].log_softmax(dim=0)[label]))
            truth = bilinear(frames.images[0], 20 * x - 0.5, 16 * y - 0.5)
            errors.append(float(((one.rgb[ray] - truth) ** 2).mean()))
        color += sum(errors) / len(errors)
        semantic += sum(entropies) / len(entropies)
        depth += sum(offs) / len(offs)
    found = ray_losses(rays, frames, weights)
    expected = {
        "target_color_loss": 2 * color,
        "target_semantic_loss": 0.5 * semantic,
        "target_depth_loss": 0.1 * depth,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-3)
    of_source = ray_losses(replace(rays, kind="source"), frames, weights)
    assert float(of_source["source_color_loss"]) == pytest.approx(3 * 2 * color, rel=1e-3)


def test_depth_is_not_looked_at_by_default(network: ViewsegNetwork) -> None:
    sample = sample_of_the_wall(2)
    found = ray_losses(training_rays(network, sample), sample.targets, ViewsegLossWeights())
    assert found.keys() == {"target_color_loss", "target_semantic_loss"}


def test_without_a_label_the_loss_of_classes_is_0_and_no_nan(network: ViewsegNetwork) -> None:
    sample = sample_of_the_wall(2)
    void = replace(sample.targets, labels=torch.full_like(sample.targets.labels, -1))
    losses = ray_losses(training_rays(network, sample), void, ViewsegLossWeights())
    assert float(losses["target_semantic_loss"].detach()) == 0


def test_pixels_are_those_in_which_places_lie() -> None:
    values = torch.arange(6).reshape(2, 3)
    xy = torch.tensor([[0.0, 0.0], [0.99, 0.49], [1.0, 1.0], [0.34, 0.5]])
    assert nearest_pixels(values, xy).tolist() == [0, 2, 5, 4]


@torch.no_grad()
def test_image_labels_and_depth_of_the_target_do_not_reach_the_prediction(network: ViewsegNetwork) -> None:
    sample = sample_of_the_wall(2)
    truth = sample.targets
    assert truth.depths_m is not None
    poisoned = TargetSample(
        sample.sources,
        replace(truth, images=1 - truth.images, labels=(truth.labels + 2) % 5, depths_m=truth.depths_m + 1),
    )
    one, other = (training_rays(network, given) for given in (sample, poisoned))
    for first, second in zip(one.passes, other.passes, strict=True):
        for name in ("rgb", "logits", "depth"):
            assert torch.equal(getattr(first, name), getattr(second, name))
    weights = ViewsegLossWeights()
    assert ray_losses(one, truth, weights) != ray_losses(other, poisoned.targets, weights)
    changed = TargetSample(replace(sample.sources, images=1 - sample.sources.images), truth)
    assert not torch.equal(training_rays(network, changed).passes[1].rgb, one.passes[1].rgb)


def test_gradients_of_rendered_rays_are_slopes() -> None:
    network = network_of(near=0.5, far=4.0, num_coarse=4, num_fine=2).double().eval()
    sample = sample_of_the_wall(2)
    maps = torch.randn(2, FEATURES, 2, 2, dtype=torch.float64, requires_grad=True)
    xy = torch.tensor([[0.4, 0.6]], dtype=torch.float64)

    def rendered(maps: Tensor) -> Tensor:
        # The coarse pass: the places of the fine samples hang on it without a gradient.
        found = network.render(network.sources(maps, sample.sources.cameras), sample.targets.cameras, xy)[0]
        return torch.cat([found.rgb[0], found.logits[0], found.depth])

    assert torch.autograd.gradcheck(rendered, maps, fast_mode=True, atol=1e-4)


def losses_at_published_sizes(steps: int) -> list[float]:
    """4 sources, all channels and samples as published; only the images are small and the rays few."""
    torch.manual_seed(0)
    network, sample = ViewsegNetwork(37), sample_of_the_wall(4)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.stack(
            [
                value
                for kind in ("target", "source")
                for value in ray_losses(
                    training_rays(network, sample, kind, 2),
                    sample.targets if kind == "target" else sample.sources,
                    ViewsegLossWeights(),
                ).values()
            ]
        ).sum()
        loss.backward()
        assert [name for name, one in network.named_parameters() if one.grad is None] == []
        optimizer.step()
        found.append(float(loss.detach()))
    return found


def test_a_step_at_published_sizes_trains_every_parameter_and_lowers_its_loss() -> None:
    first, second = losses_at_published_sizes(2)
    assert second < first


def test_frozen_norms_keep_their_statistics_while_training() -> None:
    encoder = DeepLabEncoder(is_frozen=True).train()
    norm: Any = encoder.trunk.bn1
    before = norm.running_mean.clone()
    encoder(torch.rand(1, 3, 32, 32))
    assert torch.equal(norm.running_mean, before)


def test_weights_of_a_trunk_are_taken_and_others_refused_in_one_sentence(tmp_path: Path) -> None:
    given, encoder = DeepLabEncoder(), DeepLabEncoder()
    torch.save(given.trunk.state_dict(), tmp_path / "resnet50.pth")
    encoder.load_trunk(tmp_path / "resnet50.pth")
    assert torch.equal(encoder.trunk.conv1.weight, given.trunk.conv1.weight)  # pyright: ignore[reportArgumentType]
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.pth", "text.pth", "missing.pth"):
        with pytest.raises(SceneError, match=rf"resnet50 in .*{name}, found .*trunk-weights") as raised:
            encoder.load_trunk(tmp_path / name)
        assert "\n" not in str(raised.value)


def small_run(scene: Path, folder: Path, compat: tuple[str, ...] = ()) -> Any:
    config: Any = copy.deepcopy(viewseg.config)
    config.output_dir, config.max_num_iterations, config.vis = folder, 2, "tensorboard"
    config.machine.device_type = "cpu"
    config.pipeline.datamanager.data, config.pipeline.datamanager.max_image_width = scene, 32
    config.pipeline.eval_images_at_end = 0
    model = config.pipeline.model
    model.rays_per_image, model.num_coarse_samples, model.num_fine_samples = 8, 6, 4
    model.num_source_views, model.compat = 1, compat
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def test_a_run_trains_and_renders_a_view_from_a_single_source(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = small_run(nerfstudio_scene, tmp_path)
    trainer.train()
    assert list(tmp_path.rglob("step-*.ckpt"))
    pipeline = trainer.pipeline
    camera, batch = pipeline.datamanager.next_eval_image(0)
    outputs = pipeline.model.eval().get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (*batch["image"].shape[:2], 3)
    assert bool(outputs["depth"].isfinite().all())


def test_targets_and_sources_train_in_turns_where_the_released_loop_is_asked_for(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    trainer = small_run(nerfstudio_scene, tmp_path, ("alternating-steps",))
    pipeline = trainer.pipeline.train()
    kinds = [{name.partition("_")[0] for name in pipeline.get_train_loss_dict(step)[1]} for step in range(3)]
    assert kinds == [{"target"}, {"source"}, {"target"}]


def test_viewseg_is_registered() -> None:
    (line,) = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("viewseg = ")]
    module, _, name = line.partition(" = ")[2].strip('"').partition(":")
    assert getattr(import_module(module), name) is viewseg
