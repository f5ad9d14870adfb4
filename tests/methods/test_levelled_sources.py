"""A model that was trained with wrong source cameras turns them until they are as level as their images say."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.source_views import ChosenSources
from semantic_ns.methods.viewseg_small.method import viewseg_small
from semantic_ns.methods.viewseg_small.model import ViewsegSmallModelConfig
from semantic_ns.methods.viewseg_small.network import ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.methods.viewseg_small.step import SmallLossWeights, predict, prediction_losses
from semantic_ns.methods.weights import Origin, options_of, write_weights
from semantic_ns.multi_view.levelling import levelled, up_of
from support.new_rooms import write_room
from support.ring_of_views import sample_of_the_wall

SIZES = Sizes(
    encoder="unet", encoder_widths=(8, 16), geometry_widths=(8, 16), width=16, features=8, decoder_widths=(8, 16),
    num_coarse=8, num_fine=4, levels_cameras=True,
)  # fmt: skip
SIZE = (32, 48)


def network_of() -> ViewsegSmallNetwork:
    torch.manual_seed(0)
    made = ViewsegSmallNetwork(5, SIZES)
    for parameter in made.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def tilted(cameras: ViewCameras) -> ViewCameras:
    """Cameras that are turned about level axes alone."""
    off = torch.nn.functional.normalize(up_of(cameras) + torch.tensor([0.1, 0.0, -0.15], dtype=torch.float64), dim=-1)
    return levelled(cameras, off)


@torch.no_grad()
def test_tilted_cameras_change_nothing_where_images_say_what_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sample = network_of().eval(), sample_of_the_wall(2, SIZE)
    images, cameras = sample.sources.images, sample.sources.cameras
    monkeypatch.setattr(network.up, "forward", lambda features, given: up_of(cameras).float())
    exact, wrong = (
        network.plane(network.sources(images, given), sample.targets.cameras, SIZE)
        for given in (cameras, tilted(cameras))
    )
    for name in ("rgb", "logits", "depth"):
        torch.testing.assert_close(getattr(exact, name), getattr(wrong, name), rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(network, "up", None)
    trusting = network.plane(network.sources(images, tilted(cameras)), sample.targets.cameras, SIZE)
    assert float((trusting.logits - exact.logits).abs().max()) > 0.01


def losses_of(network: ViewsegSmallNetwork, sample: TargetSample) -> Any:
    generator = torch.Generator().manual_seed(0)
    predicted = predict(network, sample.sources, sample.targets.cameras, sample.targets.size, 16, generator)
    return prediction_losses(network, predicted, sample, SmallLossWeights())


def test_every_parameter_that_finds_up_is_trained_by_sources_and_targets_with_labels_and_without() -> None:
    network, sample = network_of(), sample_of_the_wall(2, SIZE)
    void = TargetSample(
        replace(sample.sources, labels=torch.full_like(sample.sources.labels, -1)),
        replace(sample.targets, labels=torch.full_like(sample.targets.labels, -1)),
    )
    assert network.up is not None
    found = []
    for given in (sample, void):
        loss = losses_of(network, given)["up_loss"]
        found.append(float(loss.detach()))
        (gradient,) = torch.autograd.grad(loss, [network.up.direction.weight])
        assert bool(gradient.any())
    assert found[0] == pytest.approx(found[1])
    turned = replace(sample, targets=replace(sample.targets, cameras=tilted(sample.targets.cameras)))
    assert float(losses_of(network, turned)["up_loss"].detach()) != pytest.approx(found[0])


def test_no_loss_but_that_of_up_trains_what_finds_it() -> None:
    network = network_of()
    losses = losses_of(network, sample_of_the_wall(2, SIZE))
    rest = torch.stack([loss for name, loss in losses.items() if name != "up_loss"]).sum()
    assert network.up is not None
    gradients = torch.autograd.grad(rest, list(network.up.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def pipeline_of(noise: float, weights: Path | None = None, levels: bool | None = None) -> Any:
    pipeline: Any = copy.deepcopy(viewseg_small.config.pipeline)
    pipeline.model.encoder, pipeline.model.weights, pipeline.model.levels_cameras = "unet", weights, levels
    pipeline.datamanager.train_camera_noise = noise
    pipeline.settle()
    return pipeline


@pytest.mark.parametrize(
    ("noise", "levels", "expected"), [(0.0, None, False), (10.0, None, True), (10.0, False, False)]
)
def test_cameras_are_levelled_where_training_turns_them_unless_asked_otherwise(
    noise: float, levels: bool | None, expected: bool
) -> None:
    assert pipeline_of(noise, levels=levels).model.levels_cameras is expected


def weights_of(folder: Path, trained: bool | None, is_said: bool = True) -> Path:
    """A file of weights of a run with this option, or of a run of before, which did not say it."""
    options = options_of(ViewsegSmallModelConfig(encoder="unet", levels_cameras=trained))
    if not is_said:
        del options["levels_cameras"]
    classes = Taxonomy((1, 4), ("wall", "chair"), ((1, 2, 3), (4, 5, 6)), (False, True), 0)
    state = {"label_space": torch.tensor(list(classes.to_json().encode()), dtype=torch.uint8)}
    write_weights(folder / "rooms.pt", Origin("viewseg-small", options, 192), state)
    return folder / "rooms.pt"


@pytest.mark.parametrize(("trained", "is_said"), [(True, True), (False, True), (None, True), (None, False)])
def test_a_training_that_begins_with_weights_levels_cameras_as_they_do(
    trained: bool | None, is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = weights_of(tmp_path, trained, is_said)
    for noise in (0.0, 10.0):
        assert pipeline_of(noise, weights).model.levels_cameras is bool(trained)
        said = " ".join(capsys.readouterr().out.split())
        assert ("turned in training, and not levelled" in said) is (noise > 0 and not trained)


def test_weights_whose_run_did_not_say_it_take_a_person_who_says_that_cameras_stay_as_they_are(tmp_path: Path) -> None:
    assert pipeline_of(0.0, weights_of(tmp_path, None), levels=False).model.levels_cameras is False


def test_what_is_up_in_a_scene_is_asked_once_and_told_beside_its_scores(tmp_path: Path) -> None:
    config: Any = copy.deepcopy(viewseg_small.config.pipeline)
    config.datamanager.data = write_room(tmp_path / "room", 4)
    config.model.encoder, config.model.levels_cameras = "unet", True
    model: Any = config.setup(device="cpu").model.eval()
    views, asked = model.shelf.sources(None), []
    vertical = torch.tensor([0.0, 0.28, 0.96], dtype=torch.float64)

    def up(features: Tensor, cameras: ViewCameras) -> Tensor:
        asked.append(len(features))
        return up_of(cameras, vertical).float()

    model.network.up.forward = up
    chosen = ChosenSources(None, views, torch.tensor([0]))
    torch.testing.assert_close(model._vertical(chosen), vertical, atol=1e-5, rtol=0)
    assert asked == [len(views)]
    model._vertical(chosen)
    assert len(asked) == 1
    model.train()
    model._vertical(chosen)
    assert len(asked) == 2
    assert "and then levelled by their images" in model.sources_sentence()
