"""`semantic-splatfacto` while it is scored: the background and the classes that scores see, and what depth is for."""

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.configs.method_configs import method_configs
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from PIL import Image

from semantic_ns.active_learning.rounds import stage
from semantic_ns.batch import LABELS, RENDERED_LABELS
from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.color import PeakSignalNoiseRatio
from semantic_ns.export.splat import Splat, pinhole_camera, score_splat
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.methods.semantic_splatfacto import rendering
from semantic_ns.methods.semantic_splatfacto.datamanager import TrainingViews
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.rasterize import rasterize
from support.registered import configured

GREEN, BLACK, WHITE = torch.tensor([0.0, 1, 0]), torch.zeros(3), torch.ones(3)
NUM_CLEAR_ROWS = 9


def set_up(scene: Path, folder: Path, **model: Any) -> Any:
    trainer = configured(semantic_splatfacto, scene, folder, 2, **model).setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


@pytest.fixture(scope="module")
def object_scene(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file per split as nerf_synthetic has them, and images that are transparent above."""
    scene = Path(shutil.copytree(nerfstudio_scene, tmp_path_factory.mktemp("object") / "scene"))
    content = json.loads((scene / "transforms.json").read_text("utf8"))
    (scene / "transforms.json").unlink()
    frames = content.pop("frames")
    content["camera_angle_x"] = 2 * math.atan(content["w"] / 2 / content["fl_x"])
    for split, chosen in (("train", frames[2:]), ("test", frames[:2])):
        (scene / f"transforms_{split}.json").write_text(json.dumps(content | {"frames": chosen}), "utf8")
    for frame in frames:
        colors = np.array(Image.open(scene / frame["file_path"]).convert("RGBA"))
        colors[:NUM_CLEAR_ROWS, :, 3] = 0
        Image.fromarray(colors).save(scene / frame["file_path"])
    return scene


@pytest.fixture(scope="module")
def trainer(object_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer of the object that has not begun, and that no test changes for good."""
    return set_up(object_scene, tmp_path_factory.mktemp("run"))


@pytest.fixture
def model(trainer: Any) -> Any:
    """Its model, from which nobody sees anything but the background."""
    model = trainer.pipeline.model.eval()
    kept, color, data = model.opacities.detach().clone(), model.background_color, model.kwargs["metadata"]
    model.opacities.data.fill_(-50)
    model.set_background(GREEN)
    yield model
    model.kwargs["metadata"] = data
    model.config.background_color = "random"
    model.opacities.data.copy_(kept)
    model.set_background(color)


def test_images_of_objects_keep_their_transparency_which_takes_away_depth_and_labels(trainer: Any) -> None:
    data = trainer.pipeline.datamanager
    views, dataset = data.training_views, data.train_dataset
    for index, (view, labels) in enumerate(zip(views.views, views.labels, strict=True)):
        stored = np.array(Image.open(dataset.image_filenames[index])).astype(np.float32) / 255
        assert view.pixels.dtype == torch.uint8
        np.testing.assert_allclose(torch.cat([view.color, view.alpha[..., None]], dim=-1), stored, atol=1e-6)
        assert not bool(view.depth[:NUM_CLEAR_ROWS].any())
        assert set(labels[:NUM_CLEAR_ROWS].flatten().tolist()) == {-1}
        assert bool((view.depth[NUM_CLEAR_ROWS:] > 0).any())
        torch.testing.assert_close(view.before(WHITE), dataset.get_image_float32(index))


@pytest.mark.parametrize("option", ["random", "black", "white"])
@pytest.mark.parametrize("has_color", [True, False])
def test_scores_see_the_background_of_the_truth_whatever_a_viewer_or_an_option_says(
    trainer: Any, model: Any, option: str, has_color: bool
) -> None:
    model.config.background_color = option
    if not has_color:  # then images keep their alpha channel, and are scored before black
        model.kwargs["metadata"] = {k: v for k, v in model.kwargs["metadata"].items() if k != keys.ALPHA_COLOR}
    camera, expected = trainer.pipeline.datamanager.train_dataset.cameras[0:1], WHITE if has_color else BLACK
    with model.raw_outputs():
        assert bool((model.get_outputs_for_camera(camera)["rgb"] == expected).all())
    logged = model(camera)
    assert bool((logged["rgb"] == expected).all())
    assert torch.equal(logged["background"], expected)
    seen = model.get_outputs_for_camera(camera)
    shown = {"random": GREEN, "black": BLACK, "white": WHITE}[option]
    assert bool((seen["rgb"] == shown).all())
    assert "background" not in seen


def test_logged_losses_compare_images_with_transparency_before_the_same_background(trainer: Any, model: Any) -> None:
    data = trainer.pipeline.datamanager
    color, alpha = data.eval_dataset.layers_of(0)
    outputs = {"rgb": color, "background": torch.tensor([0.2, 0.4, 0.9])}
    truth = alpha[..., None] * color + (1 - alpha[..., None]) * outputs["background"]
    batch = {"image": torch.cat([color, alpha[..., None]], dim=-1), LABELS: None}
    loss = model.get_loss_dict(outputs, batch)["color_loss"]
    torch.testing.assert_close(loss, 3 * (color - truth).square().mean())
    assert loss > 0
    psnr = model.get_metrics_dict(outputs, batch)["psnr"]
    torch.testing.assert_close(psnr, PeakSignalNoiseRatio()(color, truth))


def test_nothing_before_white_is_the_truth_of_an_empty_image(trainer: Any) -> None:
    views = trainer.pipeline.datamanager.training_views
    view, gaussians = views.views[0], trainer.pipeline.model.gaussians()
    empty = type(view)(view.camera, torch.cat([view.color, torch.zeros_like(view.color[..., :1])], dim=-1))
    gaussians = type(gaussians)(gaussians.means, gaussians.quats, gaussians.scales, 0 * gaussians.opacities)
    classes = torch.zeros(len(gaussians), 2)
    splat, labels = Splat(gaussians, trainer.pipeline.model.colors, classes), [torch.full_like(empty.color[..., 0], -1)]
    with torch.no_grad():
        scores = [score_splat(splat, [empty], [labels[0].int()], 1.0, color) for color in (None, WHITE)]
    assert [score.psnr for score in scores] == [pytest.approx(120), pytest.approx(120)]


def test_an_object_is_written_and_scored_as_ns_eval_scores_it(
    object_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = set_up(object_scene, tmp_path / "run")
    trainer.config.save_config()
    trainer.train()
    pipeline = trainer.pipeline
    metrics = pipeline.get_average_image_metrics(pipeline.datamanager.fixed_indices_eval_dataloader, "eval")
    capsys.readouterr()
    ToSplat(trainer.base_dir / "config.yml", tmp_path / "splat").main()
    said = float(capsys.readouterr().out.partition("PSNR ")[2].partition(" dB")[0])
    assert said == pytest.approx(metrics["psnr"], abs=0.02)


def test_classes_are_computed_before_scores_where_none_fit_the_gaussians(trainer: Any) -> None:
    pipeline = trainer.pipeline
    model, count = pipeline.model, pipeline.model.num_points
    for number in (count, count - 1):
        model.class_probabilities = torch.zeros(number, model.taxonomy.num_classes)
        pipeline.get_eval_image_metrics_and_images(0)
        assert len(model.class_probabilities) == count
        assert bool(model.class_probabilities.any())
    own = model.class_probabilities
    pipeline.get_eval_image_metrics_and_images(0)
    assert model.class_probabilities is own
    model.step += 1
    pipeline.get_average_image_metrics(pipeline.datamanager.fixed_indices_eval_dataloader, "eval", step=0)
    assert model.class_probabilities is not own
    torch.testing.assert_close(model.class_probabilities, own)


def test_what_is_asked_for_is_chosen_by_the_classes_of_the_gaussians_as_they_are(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    config = configured(semantic_splatfacto, nerfstudio_scene, tmp_path, 4)
    active: Any = config.pipeline.active  # pyright: ignore[reportAttributeAccessIssue]
    active.strategy, active.unit, active.fractions = "entropy", "frame", (0.0, 0.75)
    active.budgets, active.cost = (0.2, 0.5), "frames"
    trainer: Any = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    pipeline, render, shown = trainer.pipeline, stage.render_pool, []

    def look(model: Any, *arguments: Any, **options: Any) -> Any:
        shown.append(model.class_probabilities)
        pipeline.update_classes()
        torch.testing.assert_close(shown[-1], model.class_probabilities, atol=0, rtol=0)
        return render(model, *arguments, **options)

    with mock.patch.object(stage, "render_pool", look):
        trainer.train()
    assert len(shown) == 1
    assert bool(shown[0].any())
    assert len(pipeline.revealed_labels.rounds) == 2
    active.restart = True
    with pytest.raises(SceneError, match=r"active\.restart False"):
        config.setup(local_rank=0, world_size=1).setup()


def test_gaussians_that_must_not_move_are_refused_on_cuda(nerfstudio_scene: Path, tmp_path: Path) -> None:
    on_cuda = mock.patch.object(SemanticSplatfactoModel, "_is_on_cpu", False)
    with on_cuda, pytest.raises(SceneError, match=r"Expected a CPU for --pipeline\.model\.train-gaussians False"):
        set_up(nerfstudio_scene, tmp_path, train_gaussians=False, start_from=tmp_path)


def test_the_bilateral_grid_has_the_optimiser_of_splatfacto() -> None:
    splatfacto: Any = method_configs["splatfacto"]
    expected = splatfacto.optimizers["bilateral_grid"]
    assert semantic_splatfacto.config.optimizers["bilateral_grid"] == expected


@pytest.mark.parametrize(
    ("begins", "trains", "said"),
    [
        (True, True, "Gaussians begin at the surface of the depth images, and train to stay there ("),
        (True, False, "Gaussians begin at the surface of the depth images ("),
        (False, True, "Gaussians train to lie at the surface of the depth images ("),
        (False, False, None),
    ],
)
def test_the_log_says_what_depth_is_for_and_depth_for_nothing_is_not_read(
    trainer: Any, capsys: pytest.CaptureFixture[str], begins: bool, trains: bool, said: str | None
) -> None:
    given = trainer.pipeline.datamanager.training_views
    views = TrainingViews(given.dataset, given.training_labels, given.outputs, "scene")
    views.use_depth_for(begins, trains)
    assert (views.depths is None) == (said is None)
    out = " ".join(capsys.readouterr().out.split())
    assert ("depth images" in out) == (said is not None)
    assert (said or "") in out


def test_a_surface_without_a_class_is_void_and_other_pixels_are_as_ever(trainer: Any) -> None:
    pipeline, camera = trainer.pipeline, trainer.pipeline.datamanager.train_dataset.cameras[0:1]
    pipeline.update_classes()
    model = pipeline.model.eval()
    classes = model.class_probabilities
    with model.raw_outputs():
        before = model.get_outputs_for_camera(camera)
        left = model.means[:, 0] < model.means[:, 0].median()
        model.class_probabilities = classes.masked_fill(left[:, None], 0.0)
        with torch.no_grad():
            shares = rendering.on_cpu(model, camera, FrameMemory())
            expected = shares.probabilities.argmax(dim=-1, keepdim=True)
        after = model.get_outputs_for_camera(camera)
        model.class_probabilities = torch.zeros_like(classes)
        nothing = model.get_outputs_for_camera(camera)
    model.class_probabilities = classes
    is_void = after[RENDERED_LABELS] == VOID
    assert bool(is_void.any())
    assert bool((before[RENDERED_LABELS] >= 0)[before["accumulation"] >= 0.5].all())
    share = shares.probabilities.sum(dim=-1, keepdim=True) / shares.opacity[..., None].clamp(min=1e-6)
    assert torch.equal(is_void, share <= 1e-3)
    assert torch.equal(after[RENDERED_LABELS][~is_void], expected[~is_void])
    assert set(nothing[RENDERED_LABELS].flatten().tolist()) == {VOID}
    is_seen = nothing["accumulation"] >= 0.5
    assert not bool(nothing["semantics_confidence"].any())
    assert not bool(nothing["semantics_colormap"].any())
    torch.testing.assert_close(
        nothing["semantics_overlay"], nothing["rgb"].where(is_seen, nothing["semantics_overlay"])
    )


def test_nothing_with_a_class_scores_nothing(trainer: Any) -> None:
    data, model = trainer.pipeline.datamanager, trainer.pipeline.model
    gaussians, colors = model.gaussians_on_cpu()
    views, num_classes = data.training_views.views, model.taxonomy.num_classes
    scores = score_splat(
        Splat(gaussians, colors, torch.zeros(len(gaussians), num_classes)), views, data.training_views.labels, 1.0
    )
    assert scores.classes is not None
    assert scores.classes.pixel_accuracy == scores.classes.miou_present == 0


@pytest.mark.parametrize("kind", [CameraType.FISHEYE624, CameraType.EQUIRECTANGULAR])
def test_a_viewer_sees_other_cameras_as_pinholes_and_is_told_once(
    trainer: Any, capsys: pytest.CaptureFixture[str], kind: CameraType
) -> None:
    model, camera = trainer.pipeline.model.eval(), trainer.pipeline.datamanager.train_dataset.cameras[0:1]
    expected = model.get_outputs_for_camera(camera)["rgb"]
    other = copy.deepcopy(camera)
    other.camera_type.fill_(kind.value)
    for _ in range(2):
        assert torch.equal(model.get_outputs_for_camera(other)["rgb"], expected)
    assert " ".join(capsys.readouterr().out.split()).count("as the pinhole of the same focal lengths") == 1
    with model.raw_outputs(), pytest.raises(SceneError, match="Expected pinhole cameras"):
        model.get_outputs_for_camera(other)


def test_the_first_step_on_cuda_leaves_opacities_which_later_ones_reset(trainer: Any) -> None:
    given = trainer.pipeline.model
    model = copy.deepcopy(given, {id(given.kwargs): given.kwargs})
    means = torch.zeros(1, model.num_points, 2)
    means.absgrad = torch.zeros_like(means)  # pyright: ignore[reportAttributeAccessIssue]  # as gsplat gives them
    model.info = {"means2d": means, "width": 8, "height": 8, "n_cameras": 1, "gaussian_ids": None}
    model.info["radii"] = torch.ones(1, model.num_points)
    for step, is_kept in ((0, True), (model.strategy.reset_every, False)):
        groups = model.get_gaussian_param_groups()
        model.step, model.optimizers = step, {name: torch.optim.Adam(groups[name], 0.1) for name in groups}
        before = model.opacities.detach().clone()
        assert bool((before.sigmoid() > 0.5).any())
        model.strategy.refine_every = 10**9  # only the reset is of interest
        model.step_post_backward(step)
        assert torch.equal(model.opacities, before) == is_kept
        assert model.optimizers["opacities"].param_groups[0]["params"][0] is model.gauss_params["opacities"]


def test_classes_are_computed_once_for_the_scores_and_the_checkpoint_of_a_step(trainer: Any) -> None:
    pipeline = trainer.pipeline
    model, loader = pipeline.model, pipeline.datamanager.fixed_indices_eval_dataloader
    pipeline.get_average_image_metrics(loader, "eval", step=0)
    own = model.class_probabilities
    pipeline.state_dict()
    assert model.class_probabilities is own
    for callback in pipeline.get_training_callbacks(
        TrainingCallbackAttributes(trainer.optimizers, None, pipeline, None)
    ):
        callback.run_callback_at_location(model.step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    pipeline.state_dict()  # of the Gaussians after the step whose number the model still has
    assert model.class_probabilities is not own


def test_an_antialiased_run_is_trained_drawn_and_voted_for_so_on_a_cpu(trainer: Any) -> None:
    pipeline = trainer.pipeline
    model, camera = pipeline.model.eval(), pipeline.datamanager.train_dataset.cameras[0:1]
    pinhole, views = pinhole_camera(camera[0]), pipeline.datamanager.training_views
    pipeline.update_classes()
    classic, classes = model.get_outputs_for_camera(camera), model.class_probabilities
    model.config.rasterize_mode = "antialiased"
    found = model.get_outputs_for_camera(camera)
    model.update_classes(views)
    votes = model.class_probabilities
    model.train()
    trained = model(camera)
    model.eval()
    model.config.rasterize_mode, model.class_probabilities = "classic", classes
    _, _, opacity = rasterize(model.gaussians(), model.colors, pinhole, is_antialiased=True)
    torch.testing.assert_close(trained["accumulation"], found["accumulation"])
    torch.testing.assert_close(found["accumulation"][..., 0], opacity.detach())
    assert not torch.equal(found["accumulation"], classic["accumulation"])
    assert not torch.equal(votes, classes)
