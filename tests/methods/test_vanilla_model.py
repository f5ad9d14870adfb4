"""`semantic-nerf-vanilla`: rendering and losses against a loop over rays and samples, options, schedule, learning."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
from nerfstudio.model_components.renderers import background_color_override_context
from torch import Tensor

from benchmarks.speed.turn import take_steps, trainer_of
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf_vanilla.datamanager import SemanticNerfVanillaDataManager
from semantic_ns.methods.semantic_nerf_vanilla.field import SemanticNerfVanillaField
from semantic_ns.methods.semantic_nerf_vanilla.method import semantic_nerf_vanilla
from semantic_ns.methods.semantic_nerf_vanilla.model import SemanticNerfVanillaModel
from semantic_ns.optimizers import scale_schedules_to_run
from semantic_ns.synthetic_scene import write_replica_scene
from support.ray_batches import CLASSES, RAYS, batch, rays
from support.reference import slow_refined
from support.registered import configured
from support.small_vanilla import METRES, OFFSET, TURNED, build

MOST_STEPS = 800


def render(model: SemanticNerfVanillaModel, bundle: RayBundle) -> dict[str, Any]:
    with torch.no_grad(), model.eval().raw_outputs():
        return model(bundle)


def losses(model: SemanticNerfVanillaModel, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    outputs = model.train()(rays())
    return outputs, model.get_loss_dict(outputs, given, model.get_metrics_dict(outputs, given))


# The twin: one ray, one sample after the other


def slow_pass(
    network: SemanticNerfVanillaField, origin: Tensor, direction: Tensor, depths: list[float], norm: float
) -> dict[str, Any]:
    """One network along one ray in metres; `depths` are planar."""
    lengths = [(b - a) * norm for a, b in pairwise(depths)] + [1e10 * norm]
    light, weights, colors, logits = torch.ones(()), [], [], []
    for depth, length in zip(depths, lengths, strict=True):
        values = network((origin + direction * norm * depth)[None, None], direction[None])
        assert values.semantic_features is not None
        alpha = 1 - torch.exp(-values.raw_density[0, 0, 0].relu() * length)
        weights.append(light * alpha)
        light = light * (1 - alpha + 1e-10)
        colors.append(values.rgb[0, 0])
        logits.append(network.semantic_head(values.semantic_features[0, 0]))
    return {
        "weights": [w.item() for w in weights],
        "rgb": sum(w * c for w, c in zip(weights, colors, strict=True)),
        "logits": sum(w * s for w, s in zip(weights, logits, strict=True)),
        "depth": sum(w * t for w, t in zip(weights, depths, strict=True)),
        "accumulation": sum(weights),
    }


def slow_ray(model: SemanticNerfVanillaModel, bundle: RayBundle, ray: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Coarse and fine pass of one ray at evaluation."""
    turned, offset = (x.to(bundle.origins.dtype) for x in (TURNED, OFFSET))
    origin = METRES * turned @ bundle.origins[ray] + offset
    direction, norm = turned @ bundle.directions[ray], bundle.metadata["directions_norm"][ray].item()
    depths = [0.1 + k * 9.9 / 5 for k in range(6)]
    coarse = slow_pass(model.field_coarse, origin, direction, depths, norm)
    fine = slow_refined(depths, coarse["weights"], [0.0, 0.25, 0.5, 0.75, 1.0])
    return coarse, slow_pass(model.field_fine, origin, direction, fine, norm)


def test_rendering_equals_a_loop_over_rays_and_samples_in_metres() -> None:
    model, bundle = build(), rays()
    outputs = render(model, bundle)
    with torch.no_grad():
        for ray in range(0, RAYS, 5):
            coarse, fine = slow_ray(model, bundle, ray)
            for name, part in (("", fine), ("_coarse", coarse)):
                torch.testing.assert_close(outputs[f"rgb{name}"][ray], part["rgb"], rtol=1e-3, atol=2e-3)
                assert outputs[f"accumulation{name}"][ray].item() == pytest.approx(
                    part["accumulation"].item(), abs=2e-3
                )
            p = fine["logits"].softmax(-1)
            assert outputs["semantics_confidence"][ray].item() == pytest.approx(p.max().item(), abs=5e-3)
            assert METRES * outputs["planar_depth"][ray].item() == pytest.approx(fine["depth"].item(), abs=2e-2)
            entropy = -sum(x * math.log(x) for x in p.tolist()) / math.log(3)
            assert outputs["semantics_entropy"][ray].item() == pytest.approx(entropy, abs=1e-2)
    assert outputs["accumulation"].min() < 0.5 < outputs["accumulation"].max()


def slow_losses(model: SemanticNerfVanillaModel, weight: float) -> Tensor:
    """Mean squared errors and cross-entropies of both passes, ray by ray, without noise and jitter."""
    given, bundle = batch(), _in_precision_of(model, rays())
    squared, entropies, labelled = torch.zeros(()), torch.zeros(()), 0
    for ray in range(RAYS):
        label = given["semantics"][ray].item()
        labelled += label >= 0
        for part in slow_ray(model, bundle, ray):
            squared = squared + ((part["rgb"] - given["image"][ray]) ** 2).sum()
            if label >= 0:
                entropies = entropies - part["logits"].log_softmax(-1)[label]
    return squared / (3 * RAYS) + weight * entropies / labelled


def test_losses_and_all_gradients_equal_those_of_a_loop() -> None:
    model, twin = (build(density_noise=0.0, semantic_loss_weight=0.3).double().train() for _ in range(2))
    given = batch() | {"image": batch()["image"].double()}
    found = model.get_loss_dict(_without_jitter(model), given)
    assert found.keys() == {"rgb_loss_coarse", "rgb_loss_fine", "semantic_loss", "semantic_loss_coarse"}
    total, expected = torch.stack(list(found.values())).sum(), slow_losses(twin, 0.3)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
    total.backward()
    expected.backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        if name == "device_indicator_param":
            continue
        assert ours.grad is not None, name
        assert theirs.grad is not None, name
        scale = float(theirs.grad.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=2e-3 * scale, msg=lambda m, n=name: f"{n}: {m}")


def _without_jitter(model: SemanticNerfVanillaModel) -> dict[str, Any]:
    """Outputs of a training step whose samples are those of evaluation."""
    model.sampler_uniform.eval()
    model._draws = lambda d: torch.linspace(0, 1, 5, dtype=d.dtype).expand(d.shape[0], 5)  # pyright: ignore[reportAttributeAccessIssue]
    return model(_in_precision_of(model, rays()))


def _in_precision_of(model: SemanticNerfVanillaModel, bundle: RayBundle) -> RayBundle:
    kind = model.world_from_scene.dtype
    bundle.origins, bundle.directions = bundle.origins.to(kind), bundle.directions.to(kind)
    bundle.metadata["directions_norm"] = bundle.metadata["directions_norm"].to(kind)
    return bundle


def test_density_noise_is_of_training_alone_and_of_both_passes() -> None:
    quiet, noisy = build(density_noise=0.0), build(density_noise=3.0)
    torch.testing.assert_close(render(quiet, rays()), render(noisy, rays()))
    torch.manual_seed(1)
    one, two = _without_jitter(noisy.train()), _without_jitter(noisy.train())
    for name in ("rgb", "rgb_coarse"):
        assert not torch.allclose(one[name], two[name])
    torch.testing.assert_close(_without_jitter(quiet.train())["rgb"], _without_jitter(quiet.train())["rgb"])


def test_the_losses_train_every_parameter_of_both_networks() -> None:
    model = build()
    torch.stack(list(losses(model, batch())[1].values())).sum().backward()
    for network in (model.field_coarse, model.field_fine):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
    grouped = {id(p) for p in model.get_param_groups()["fields"]}
    assert grouped == {id(p) for name, p in model.named_parameters() if name != "device_indicator_param"}


def test_a_batch_without_label_has_no_semantic_loss_and_no_semantic_gradient() -> None:
    model = build()
    parts = losses(model, batch() | {"semantics": torch.full((RAYS, 1), -1)})[1]
    assert parts["semantic_loss"] == parts["semantic_loss_coarse"] == 0
    (parts["semantic_loss"] + parts["semantic_loss_coarse"]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() == 0, name


def test_further_labelled_rays_have_no_colour_loss() -> None:
    model = build(density_noise=0.0).train()
    outputs = _without_jitter(model)
    parts = model.get_loss_dict(outputs, batch() | {"num_uniform_rays": 10})
    expected = (outputs["rgb"][:10] - batch()["image"][:10]).square().mean()
    torch.testing.assert_close(parts["rgb_loss_fine"], expected)
    torch.testing.assert_close(parts["semantic_loss"], model.get_loss_dict(outputs, batch())["semantic_loss"])


def test_without_semantic_gradients_the_semantic_losses_train_the_semantic_branches_alone() -> None:
    model = build(pass_semantic_gradients=False)
    parts = losses(model, batch())[1]
    (parts["semantic_loss"] + parts["semantic_loss_coarse"]).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached == (".semantic_" in name), name


def test_in_mixed_precision_the_layers_alone_are_rounded() -> None:
    model = build(density_noise=0.0).train()
    exact = _without_jitter(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = _without_jitter(model)
        total = torch.stack(list(model.get_loss_dict(rounded, batch()).values())).sum()
    total.backward()
    for name, value in rounded.items():
        assert value.dtype == torch.float32, name
        assert (value - exact[name]).abs().median() < 0.1, name
    assert all(p.grad.isfinite().all() for p in model.field.parameters() if p.grad is not None)


# Options


def test_without_world_metres_networks_see_scene_units() -> None:
    bounds = {"near_plane": 0.2, "far_plane": 4.0}
    metadata = {"taxonomy": CLASSES, "metres_per_unit": METRES}
    model = build(metadata, world_metres=False, collider_params=bounds)
    same = build(metadata | {"metres_per_unit": 1.0}, collider_params=bounds)
    found, expected = render(model, rays()), render(same, rays())
    torch.testing.assert_close(found["rgb"], expected["rgb"])
    torch.testing.assert_close(found["planar_depth"], expected["planar_depth"])


def test_bounds_are_metres_of_the_options_where_the_scene_states_none() -> None:
    model = build({"taxonomy": CLASSES, "metres_per_unit": METRES})
    collider: Any = model.collider
    assert (collider.near_plane, collider.far_plane) == (0.05, 5.0)


@pytest.mark.parametrize("option", ["enable_temporal_distortion", "use_gradient_scaling"])
def test_options_that_the_paper_does_not_have_are_refused(option: str) -> None:
    with pytest.raises(SceneError, match=option.replace("_", "-")):
        build(None, **{option: True})


def test_the_viewers_crop_shows_its_background_behind_the_end_of_a_ray() -> None:
    model, bundle = build(), rays()
    bundle.nears, bundle.fars = torch.full((RAYS, 1), 1e10), torch.full((RAYS, 1), 1e10)  # all miss the box
    with background_color_override_context(torch.tensor([0.25, 0.5, 0.75])):
        outputs = render(model, bundle)
    torch.testing.assert_close(outputs["rgb"], torch.tensor([[0.25, 0.5, 0.75]]).expand(RAYS, 3))
    assert torch.equal(outputs["semantics_colormap"], outputs["rgb"])
    assert torch.equal(outputs["semantics_overlay"], outputs["rgb"])


def test_viewer_outputs_are_floats_of_one_or_three_channels() -> None:
    with torch.no_grad():
        outputs = build().eval()(rays())
    for name, output in outputs.items():
        assert output.dtype == torch.float32, name
        assert output.shape == (RAYS, output.shape[-1]), name
        assert output.shape[-1] in (1, 3), name
        assert output.isfinite().all(), name


def test_a_checkpoint_of_another_width_is_refused() -> None:
    with pytest.raises(SceneError, match=r"of another size.*field_fine.trunk"):
        build().load_state_dict(build(hidden_dim=8).state_dict())


# The method


def test_the_learning_rate_falls_to_a_tenth_in_250000_steps_however_long_the_run_is() -> None:
    for num_steps in (1000, 200_000):
        group = scale_schedules_to_run(semantic_nerf_vanilla.config.optimizers, num_steps)["fields"]
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=group["optimizer"].lr)
        (rate,) = group["scheduler"].setup().get_scheduler(optimizer, group["optimizer"].lr).lr_lambdas
        for step in (0, 1, 20_000, 200_000):
            assert 5e-4 * rate(step) == pytest.approx(5e-4 * 0.1 ** (step / 250_000))
    assert pytest.approx(7.92e-5, rel=1e-3) == 5e-4 * 0.1**0.8


def test_the_method_is_that_of_the_paper() -> None:
    config = semantic_nerf_vanilla.config
    pipeline: Any = config.pipeline
    manager, model = pipeline.datamanager, pipeline.model
    assert (config.max_num_iterations, manager.train_num_rays_per_batch) == (200_000, 1024)
    assert (model.num_coarse_samples, model.num_importance_samples, model.density_noise) == (64, 128, 1.0)
    assert (model.semantic_loss_weight, model.opacity_loss_weight) == (0.04, 0.0)
    assert not pipeline.propagation.enabled
    assert config.optimizers["fields"]["optimizer"].weight_decay == 0


def small_run(scene: Path, output: Path, steps: int, **model: Any) -> Any:
    config: Any = configured(semantic_nerf_vanilla, scene, output, steps, **model)
    config.pipeline.datamanager.dataparser = ReplicaDataParserConfig(split="all")
    return config


@pytest.mark.parametrize(("one_image", "share"), [(True, 0.0), (False, 0.0), (False, 0.05)])
def test_batches_are_of_one_image_or_of_all_with_labelled_rays_on_request(
    one_image: bool, share: float, replica_scene: Path, tmp_path: Path
) -> None:
    manager_config = small_run(replica_scene, tmp_path, 1).pipeline.datamanager
    manager_config.one_image_per_batch, manager_config.labelled_share = one_image, share
    manager_config.corruption = CorruptionConfig(propagation=0.0)
    manager = manager_config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    assert isinstance(manager, SemanticNerfVanillaDataManager)
    bundle, given = manager.next_train(0)
    assert bundle.camera_indices is not None
    assert (len(bundle.camera_indices.unique()) == 1) == one_image
    assert given["num_uniform_rays"] == round(512 * (1 - share))


def test_labelled_rays_in_batches_of_one_image_are_refused(replica_scene: Path, tmp_path: Path) -> None:
    manager_config = small_run(replica_scene, tmp_path, 1).pipeline.datamanager
    manager_config.labelled_share = 0.05
    with pytest.raises(SceneError, match="one-image-per-batch False"):
        manager_config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)


def test_the_networks_see_the_camera_where_the_files_have_it(replica_scene: Path, tmp_path: Path) -> None:
    manager = small_run(replica_scene, tmp_path, 1).pipeline.datamanager.setup(
        device="cpu", test_mode="val", world_size=1, local_rank=0
    )
    dataset = manager.train_dataset
    model = build(dict(dataset.metadata))
    place = model.world_from_scene[:, :3] @ dataset.cameras.camera_to_worlds[3, :, 3] + model.world_from_scene[:, 3]
    line = (replica_scene / "Sequence_1" / "traj_w_c.txt").read_text().splitlines()[3]
    pose = torch.tensor([float(x) for x in line.split()]).view(4, 4)
    torch.testing.assert_close(place, pose[:3, 3], rtol=1e-4, atol=1e-4)


# Learning


def test_a_few_small_images_are_learnt_to_the_last_pixel(tmp_path: Path) -> None:
    scene = write_replica_scene(tmp_path / "room", num_frames=2, width=16, height=12)
    sizes = {"hidden_dim": 32, "num_coarse_samples": 8, "num_importance_samples": 8}
    # The paper's other weight of the semantic loss, 1, and a learning rate for a run of seconds instead of hours.
    config = small_run(scene, tmp_path, MOST_STEPS, semantic_loss_weight=1.0, **sizes)
    config.pipeline.datamanager.train_num_rays_per_batch = 192
    config.optimizers["fields"]["optimizer"].lr = 1e-2
    config.optimizers["fields"]["scheduler"] = ExponentialDecaySchedulerConfig(lr_final=3e-3, max_steps=MOST_STEPS)
    with trainer_of(config, scene) as trainer:
        pipeline: Any = trainer.pipeline
        loader = pipeline.datamanager.fixed_indices_eval_dataloader
        miou, done = 0.0, 0
        while miou < 1 and done < MOST_STEPS:
            take_steps(trainer, range(done, done + 50))
            done += 50
            if done >= 200:
                miou = pipeline.get_average_image_metrics(loader, "eval", done)["miou"]
    assert len(loader) == 2
    assert miou == 1.0
