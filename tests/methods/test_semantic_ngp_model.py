"""The model: packed rendering equals that of single rays, nothing in sight is the background, outputs have one name."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.model_components.renderers import background_color_override_context

from semantic_ns.errors import SceneError
from semantic_ns.fields.semantic_nerf_field import SemanticHeadNames
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_ngp.model import SemanticNgpModel
from semantic_ns.methods.semantic_ngp.occupancy import BoundedRays
from support.ray_batches import CLASSES, RAYS, batch, rays
from support.small_nerf import build as build_nerf
from support.small_nerf import lean_config as nerf_config
from support.small_ngp import build, lean_config, render


def losses(model: SemanticNgpModel) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    outputs = model.train()(rays())
    return outputs, model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))


def test_outputs_are_those_of_semantic_nerf() -> None:
    nerf = build_nerf(nerf_config()).eval()
    with torch.no_grad(), nerf.raw_outputs():
        expected = nerf(rays())
    outputs = render(build(lean_config()), rays())
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        assert output.shape == expected[name].shape, name
        assert output.dtype == expected[name].dtype, name
        assert output.isfinite().all(), name


def test_a_batch_of_rays_renders_as_its_rays_do_alone() -> None:
    model, bundle = build(lean_config(average_init_density=3.0), occupied=0.1), rays()
    together = render(model, bundle)
    alone = [render(model, bundle[r : r + 1]) for r in range(RAYS)]
    assert together["accumulation"].min() == 0  # a ray without samples is among them
    assert together["accumulation"].max() > 0.5
    for name, output in together.items():
        expected = torch.cat([single[name] for single in alone])
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def values_at(model: SemanticNgpModel, ray: RayBundle, start: float, end: float) -> dict[Any, torch.Tensor]:
    """The field at one sample of one ray."""
    edges = torch.tensor([[[start], [end]]])
    samples: RaySamples = ray.get_ray_samples(bin_starts=edges[:, :1], bin_ends=edges[:, 1:])
    return {name: value[0, 0] for name, value in model.field(samples).items()}


def test_rendering_equals_a_loop_over_rays_and_samples() -> None:
    model, bundle = build(lean_config(alpha_thre=0.0)), rays()
    outputs = render(model, bundle)
    near, far = torch.full((RAYS,), 0.05), torch.full((RAYS,), 5.0)
    # At evaluation nerfstudio's collider lets rays start at the camera, and the near plane of the options remains.
    with torch.no_grad():
        indices, starts, ends = model.occupancy_grid.march(
            BoundedRays(bundle.origins, bundle.directions, near, far), 0.1, 0.004
        )
        for r in range(0, RAYS, 7):
            transmittance, rgb, logits = 1.0, torch.zeros(3), torch.zeros(3)
            for n in (indices == r).nonzero()[:, 0].tolist():
                values = values_at(model, bundle[r : r + 1], float(starts[n]), float(ends[n]))
                through = torch.exp(-values[FieldHeadNames.DENSITY] * (ends[n] - starts[n])).item()
                if transmittance < 1e-4:
                    break
                rgb += transmittance * (1 - through) * values[FieldHeadNames.RGB]
                logits += (
                    transmittance
                    * (1 - through)
                    * model.field.semantic_head(values[SemanticHeadNames.SEMANTIC_FEATURES])
                )
                transmittance *= through
            assert outputs["accumulation"][r].item() == pytest.approx(1 - transmittance, abs=1e-4)
            torch.testing.assert_close(outputs["rgb"][r], rgb, rtol=1e-3, atol=1e-4)
            expected = logits.softmax(-1).amax()
            assert outputs["semantics_confidence"][r].item() == pytest.approx(expected.item(), abs=1e-3)


def test_an_empty_scene_shows_the_background_and_trains_nothing() -> None:
    model = build(lean_config(), occupied=0.0)
    with background_color_override_context(torch.tensor([0.25, 0.5, 0.75])):
        outputs = render(model, rays())
    torch.testing.assert_close(outputs["rgb"], torch.tensor([[0.25, 0.5, 0.75]]).expand(RAYS, 3))
    torch.testing.assert_close(outputs["semantics_colormap"], outputs["rgb"])
    for name in ("accumulation", "depth", "expected_depth"):
        assert outputs[name].abs().max() == 0, name
    _, parts = losses(model)
    sum(parts.values(), torch.zeros(())).backward()
    for name, parameter in model.field.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() == 0, name


def test_colour_and_classes_train_every_part_of_the_field() -> None:
    model = build(lean_config())
    outputs, parts = losses(model)
    assert parts.keys() == {"rgb_loss", "near_camera_loss", "semantic_loss"}
    assert outputs["num_samples_per_ray"].shape == (RAYS,)
    sum(parts.values(), torch.zeros(())).backward()
    for name, parameter in model.field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_without_semantic_gradients_the_semantic_loss_trains_the_head_alone() -> None:
    model = build(lean_config(pass_semantic_gradients=False))
    losses(model)[1]["semantic_loss"].backward()
    for name, parameter in model.field.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached == name.startswith("semantic_"), name


@pytest.mark.parametrize("changes", [{"use_gradient_scaling": True}, {"use_appearance_embedding": True}], ids=str)
def test_options_of_instant_ngp_train(changes: dict[str, Any]) -> None:
    model = build(lean_config(**changes))
    assert torch.stack(list(losses(model)[1].values())).isfinite().all()
    assert render(model, rays())["rgb"].isfinite().all()


def test_evaluation_batches_are_measured_without_a_count_of_samples() -> None:
    model = build(lean_config())
    outputs = render(model, rays())
    assert model.get_metrics_dict(outputs, batch()).keys() == {"psnr"}
    assert model.get_loss_dict(outputs, batch()).keys() == {"rgb_loss"}


def test_the_grid_is_updated_from_the_field_while_training() -> None:
    model = build(lean_config(average_init_density=0.01), occupied=0.0).train()
    (callback,) = model.get_training_callbacks(TrainingCallbackAttributes(None, None, None, None))
    callback.run_callback(step=0)
    assert model.occupancy_grid.binaries.any()
    assert not model.occupancy_grid.binaries.all()


def test_the_occupancy_is_part_of_the_checkpoint() -> None:
    source, target = build(lean_config()), build(lean_config(), occupied=0.0)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.occupancy_grid.binaries, source.occupancy_grid.binaries)
    torch.testing.assert_close(render(target, rays()), render(source, rays()))


def test_a_checkpoint_of_other_classes_or_another_grid_is_refused() -> None:
    other = Taxonomy((3, 7, 41), CLASSES.names, CLASSES.colors, CLASSES.is_thing, 0)
    with pytest.raises(SceneError, match=r"\[3, 7, 41\].*\[3, 7, 40\]"):
        build(lean_config()).load_state_dict(build(lean_config(), other).state_dict())
    with pytest.raises(SceneError, match=r"of another size.*occupancy_grid.binaries"):
        build(lean_config()).load_state_dict(build(lean_config(grid_resolution=4)).state_dict())


def test_a_cuda_device_without_nerfaccs_kernels_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = ModuleType("nerfacc.cuda._backend")
    backend._C = None
    monkeypatch.setitem(sys.modules, "nerfacc.cuda._backend", backend)
    with pytest.raises(SceneError, match=r"needs the CUDA kernels of nerfacc.*train semantic-nerf"):
        build(lean_config(), device="cuda:0")


@pytest.mark.parametrize("fuse", [True, False])
def test_rays_pay_for_ending_on_nothing_where_that_has_a_weight_and_by_default_do_not(fuse: bool) -> None:
    assert "opacity_loss" not in losses(build(lean_config(fuse_on_cpu=fuse)))[1]
    model = build(lean_config(fuse_on_cpu=fuse, opacity_loss_weight=0.5, unseen_ray_share=0.0))
    outputs, found = losses(model)
    accumulation = outputs["accumulation"][:RAYS, 0]
    torch.testing.assert_close(found["opacity_loss"], -0.5 * (accumulation + 0.01).log().mean())
    found["opacity_loss"].backward()
    encoding: Any = model.field.mlp_base.model
    assert encoding[0].hash_table.grad.abs().sum() > 0
