"""The model: both rendering paths agree, colour is nerfacto's, checkpoints fit or fail loudly."""

import copy
import socket
from typing import Any

import pytest
import torch
from nerfstudio.model_components.renderers import background_color_override_context
from nerfstudio.models.nerfacto import NerfactoModel

from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_nerf.method import semantic_nerf, semantic_nerf_big
from semantic_ns.methods.semantic_nerf.model import SemanticNerfModel
from support.ray_batches import CLASSES, RAYS, batch, rays
from support.small_nerf import build, lean_config


@pytest.fixture
def both_paths() -> tuple[SemanticNerfModel, SemanticNerfModel]:
    """The same model with and without the fused kernels."""
    fused, plain = build(lean_config()), build(lean_config(fuse_on_cpu=False))
    plain.load_state_dict(fused.state_dict())
    return fused, plain


def test_fused_and_plain_path_render_the_same(both_paths: tuple[SemanticNerfModel, SemanticNerfModel]) -> None:
    outputs = []
    for model in both_paths:
        model.eval()
        with torch.no_grad(), model.raw_outputs():
            outputs.append(model(rays()))
    fused, plain = outputs
    assert fused.keys() == plain.keys()
    for name in fused.keys() - {"semantics_labels", "semantics_colormap", "semantics_overlay"}:
        torch.testing.assert_close(fused[name], plain[name], rtol=1e-3, atol=2e-3, msg=lambda m, n=name: f"{n}: {m}")
    assert (fused["semantics_labels"] == plain["semantics_labels"]).float().mean() > 0.95


def test_fused_and_plain_path_train_the_same(both_paths: tuple[SemanticNerfModel, SemanticNerfModel]) -> None:
    gradients, losses = [], []
    for model in both_paths:
        model.train()
        model.proposal_sampler.eval()  # no jitter, so that both paths see the same samples
        model.proposal_sampler.step_cb(100)
        outputs = model(rays())
        parts = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
        # The plain path also reports the interlevel loss where it trains nothing.
        total = parts["rgb_loss"] + parts["distortion_loss"] + parts["semantic_loss"]
        names, parameters = zip(*model.field.named_parameters(), strict=True)
        gradients.append(dict(zip(names, torch.autograd.grad(total, parameters, allow_unused=True), strict=True)))
        losses.append(total)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-5)
    for name, expected in gradients[1].items():
        got = gradients[0][name]
        assert (got is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_colour_equals_nerfactos_for_equal_weights() -> None:
    model = build(lean_config(fuse_on_cpu=False)).eval()
    with torch.no_grad():
        expected = NerfactoModel.get_outputs(model, model.collider(rays()))
        rendered = model(rays())
    torch.testing.assert_close(rendered["rgb"], expected["rgb"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rendered["expected_depth"], expected["expected_depth"], rtol=1e-4, atol=1e-5)


def test_every_parameter_is_in_one_group_and_only_tables_decay() -> None:
    model = build(lean_config())
    groups = model.get_param_groups()
    grouped = [id(parameter) for group in groups.values() for parameter in group]
    parameters = {id(p) for name, p in model.named_parameters() if name != "device_indicator_param"}
    assert sorted(grouped) == sorted(parameters)
    tables = {id(p) for name, p in model.field.named_parameters() if name.endswith("hash_table")}
    assert {id(parameter) for parameter in groups["grids"]} == tables
    assert tables
    configured = semantic_nerf.config.optimizers
    assert {name for name in groups if configured[name]["optimizer"].weight_decay} == {"grids"}


@pytest.mark.parametrize("fuse", [True, False])
def test_without_semantic_gradients_the_semantic_loss_trains_the_head_alone(fuse: bool) -> None:
    model = build(lean_config(pass_semantic_gradients=False, fuse_on_cpu=fuse)).train()
    outputs = model(rays())
    loss = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))["semantic_loss"]
    loss.backward()
    for name, parameter in model.field.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached == name.startswith("semantic_"), name


def test_viewer_outputs_are_floats_of_one_or_three_channels() -> None:
    model = build(lean_config()).eval()
    with torch.no_grad():
        outputs = model(rays())
    assert {"rgb", "depth", "semantics_colormap", "semantics_confidence", "semantics_entropy"} <= outputs.keys()
    for name, output in outputs.items():
        assert output.dtype == torch.float32, name
        assert output.shape[-1] in (1, 3), name
        assert output.isfinite().all(), name


def test_planar_depth_is_the_distance_over_the_length_of_the_direction() -> None:
    model = build(lean_config()).eval()
    with torch.no_grad(), model.raw_outputs():
        outputs = model(rays())
    torch.testing.assert_close(outputs["planar_depth"] * 1.25, outputs["depth"])


def test_near_and_far_come_from_the_scene_in_metres() -> None:
    model = build(lean_config())
    assert model.collider.near_plane == pytest.approx(0.05)
    assert model.collider.far_plane == pytest.approx(5.0)


def test_nothing_before_a_near_plane_that_is_given_is_rendered(
    both_paths: tuple[SemanticNerfModel, SemanticNerfModel],
) -> None:
    for path in both_paths:
        model = build(lean_config(near_plane=2.0, fuse_on_cpu=path.config.fuse_on_cpu)).eval()
        with torch.no_grad():
            nearest = [float(each(rays())["expected_depth"].min()) for each in (path.eval(), model)]
        assert nearest[0] < 2.0 <= nearest[1]


def test_a_checkpoint_without_head_names_the_missing_keys() -> None:
    model = build(lean_config())
    state = {name: value for name, value in model.state_dict().items() if "semantic_head" not in name}
    with pytest.raises(SceneError, match=r"missing: \['field.semantic_head.bias', 'field.semantic_head.weight'\]"):
        model.load_state_dict(state, strict=False)


def test_a_checkpoint_of_other_classes_is_refused() -> None:
    other = Taxonomy((3, 7, 41), CLASSES.names, CLASSES.colors, CLASSES.is_thing, 0)
    state = build(lean_config(), other).state_dict()
    with pytest.raises(SceneError, match=r"\[3, 7, 41\].*\[3, 7, 40\]"):
        build(lean_config()).load_state_dict(state)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("method", [semantic_nerf, semantic_nerf_big], ids=lambda method: method.config.method_name)
def test_building_a_model_needs_no_network(method: Any, no_network: None) -> None:
    config = copy.deepcopy(method.config.pipeline.model)
    config.log2_hashmap_size = 8
    build(config)


def test_without_lpips_weights_the_images_are_scored_without_it() -> None:
    model = build(lean_config()).eval()
    camera_rays = rays()[:48]
    with torch.no_grad(), model.raw_outputs():
        outputs = {name: output.view(6, 8, -1) for name, output in model(camera_rays).items()}
    images = {"image": torch.rand(6, 8, 3), "semantics": torch.zeros(6, 8, 1, dtype=torch.long), "image_idx": 0}
    model.ssim = lambda *_: torch.tensor(0.5)  # pyright: ignore[reportAttributeAccessIssue]  # the real one needs larger pictures
    metrics, pictures = model.get_image_metrics_and_images(outputs, images)
    assert metrics.keys() >= {"psnr", "ssim"}
    assert all(picture.shape[-1] == 3 for name, picture in pictures.items() if name != "accumulation")
    assert model.evaluation_state.result(CLASSES.names)["pixel_accuracy"] <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_dim_color": 32},
        {"disable_scene_contraction": True},
        {"background_color": "white"},
        {"use_gradient_scaling": True},
        {"use_single_jitter": False},
        {"num_proposal_iterations": 2, "num_proposal_samples_per_ray": (16, 8)},
        {"hash_backend": "torch"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_the_kernels_do_not_know_is_rendered_sample_by_sample(changes: dict[str, Any]) -> None:
    model = build(lean_config(**changes)).train()
    outputs = model(rays())
    assert "fused" not in outputs
    losses = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
    torch.stack(list(losses.values())).sum().backward()
    assert model.field.semantic_head.weight.grad is not None


def test_the_viewers_crop_sets_the_background_and_leaves_no_class_outside() -> None:
    model = build(lean_config()).eval()
    bundle = rays()
    bundle.nears, bundle.fars = torch.full((RAYS, 1), 1e10), torch.full((RAYS, 1), 1e10)  # all miss the box
    with torch.no_grad(), background_color_override_context(torch.tensor([0.25, 0.5, 0.75])):
        outputs = model(bundle)
    torch.testing.assert_close(outputs["rgb"], torch.tensor([[0.25, 0.5, 0.75]]).expand(RAYS, 3))
    assert torch.equal(outputs["semantics_colormap"], outputs["rgb"])
    assert torch.equal(outputs["semantics_overlay"], outputs["rgb"])


def test_normals_are_refused() -> None:
    with pytest.raises(SceneError, match="does not predict normals"):
        build(lean_config(predict_normals=True))
