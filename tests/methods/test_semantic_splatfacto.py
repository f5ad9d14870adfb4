"""`semantic-splatfacto`: Gaussians with classes in closed form, in nerfstudio's trainer and commands."""

import copy
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallbackLocation

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.rounds.suggestions import suggest
from semantic_ns.audit.run import render_run
from semantic_ns.batch import RENDERED_LABELS
from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.commands import refuse_impossible
from semantic_ns.errors import SceneError
from semantic_ns.export.splat import Splat, pinhole_camera, write_splat_files
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_splatfacto import start
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.runs import load_run
from semantic_ns.splatting.classes import labels_of, shares_of
from semantic_ns.splatting.fit import view_loss
from semantic_ns.splatting.likelihood import most_likely_classes
from semantic_ns.splatting.ply import read_splat
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.votes import gaussian_votes
from support.registered import configured
from support.scoring import scores

STEPS = 30


def set_up(scene: Path, folder: Path, steps: int = STEPS, data: dict[str, Any] | None = None, **model: Any) -> Any:
    """A trainer that has not begun."""
    config = configured(semantic_splatfacto, scene, folder, steps, **model)
    for name, value in (data or {}).items():
        setattr(config.pipeline.datamanager, name, value)
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


@pytest.fixture(scope="module")
def trained(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = set_up(nerfstudio_scene, tmp_path_factory.mktemp("splat"))
    trainer.config.save_config()
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def run(trained: Any) -> Path:
    return trained.base_dir / "config.yml"


@pytest.fixture(scope="module")
def untrained(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer that has not begun, and that no test changes."""
    return set_up(nerfstudio_scene, tmp_path_factory.mktemp("untrained"))


def copied(model: Any) -> Any:
    """A model that a test may change, of the same scene."""
    return copy.deepcopy(model, {id(model.kwargs): model.kwargs}).eval()


def before_step(trainer: Any, step: int) -> None:
    for callback in trainer.callbacks:
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def one_camera(trainer: Any) -> Cameras:
    return trainer.pipeline.datamanager.train_dataset.cameras[0:1]


def test_the_loss_of_a_step_is_that_of_the_fit_without_nerfstudio(untrained: Any) -> None:
    pipeline = untrained.pipeline
    camera, batch = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(camera)
    losses = pipeline.model.get_loss_dict(outputs, batch)
    model, view = pipeline.model, batch["view"]
    image, depth, opacity = rasterize(model.gaussians(), model.colors, view.camera)
    image = image + (1 - opacity)[..., None] * outputs["background"]
    torch.testing.assert_close(sum(losses.values()), view_loss(view, outputs["background"], image, depth, opacity))
    assert losses["depth_loss"] > 0


def test_each_image_trains_once_before_any_trains_again_and_a_step_has_the_same_after_a_break(untrained: Any) -> None:
    data = untrained.pipeline.datamanager
    count = len(data.train_dataset)
    first, second = ([data.next_train(step)[1]["image_idx"] for step in range(n, n + count)] for n in (0, count))
    assert sorted(first) == sorted(second) == list(range(count))
    assert first != second
    assert data.next_train(3)[1]["image_idx"] == first[3]


def test_training_makes_images_better_and_gives_the_classes_of_the_labels(
    trained: Any, tmp_path: Path, nerfstudio_scene: Path
) -> None:
    before = set_up(nerfstudio_scene, tmp_path / "before", 1).pipeline
    after = trained.pipeline
    psnr = []
    for pipeline in (before, after):
        pipeline.update_classes()
        metrics = pipeline.get_average_image_metrics(pipeline.datamanager.fixed_indices_eval_dataloader, "eval")
        psnr.append(metrics["psnr"])
    assert psnr[1] > psnr[0] + 1
    assert metrics["pixel_accuracy"] > 0.9
    assert metrics["depth_l1"] < 0.25
    assert metrics["worst_psnr"]


def test_classes_are_the_most_likely_ones_by_the_labels_that_training_sees(trained: Any) -> None:
    model, views = copied(trained.pipeline.model), trained.pipeline.datamanager.training_views
    gaussians = model.gaussians()
    votes = gaussian_votes(gaussians, [view.camera for view in views.views], views.labels, model.taxonomy.num_classes)
    model.update_classes(views)
    shares = shares_of(votes.counts)
    expected = most_likely_classes(gaussians, [view.camera for view in views.views], views.labels, shares)
    torch.testing.assert_close(model.class_probabilities, expected)
    model.update_classes(views, spreads=False)
    torch.testing.assert_close(model.class_probabilities, shares)


def test_corrupted_labels_give_other_classes(nerfstudio_scene: Path, tmp_path: Path) -> None:
    found = []
    for noise in (0.0, 0.9):
        data = {"corruption": CorruptionConfig(pixel_noise=noise)}
        trainer = set_up(nerfstudio_scene, tmp_path / str(noise), 1, data)
        trainer.pipeline.config.propagation.enabled = False  # the posterior would make the noise good
        trainer.pipeline.update_classes()
        found.append(trainer.pipeline.model.class_probabilities.amax(dim=1).mean())
    assert found[0] > found[1] + 0.1


def test_new_labels_are_followed_before_the_next_step_and_no_label_is_no_class(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path)
    pipeline = trainer.pipeline
    data, model = pipeline.datamanager, pipeline.model
    before = data.train_dataset.read_labels(0)
    data.set_training_labels(
        [np.full_like(data.train_dataset.read_labels(n), 3) for n in range(len(data.train_dataset))]
    )
    before_step(trainer, 0)
    assert set(model.class_probabilities.argmax(dim=1)[model.class_probabilities.sum(dim=1) > 0].tolist()) == {3}
    data.set_training_labels([np.full_like(before, -1)] * len(data.train_dataset))
    before_step(trainer, 1)
    assert not bool(model.class_probabilities.any())
    with model.raw_outputs():
        assert RENDERED_LABELS in model.eval().get_outputs_for_camera(one_camera(trainer))


def test_a_checkpoint_holds_the_gaussians_and_their_classes_and_is_scored_alike(
    trained: Any, run: Path, tmp_path: Path
) -> None:
    trained.pipeline.update_classes()
    loaded, model = load_run(run).pipeline.model, trained.pipeline.model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    results = scores(trained.config, tmp_path)
    assert results["pixel_accuracy"] > 0.9
    assert results["worst_miou_present"]


def test_a_run_is_audited_and_written_as_gaussians(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Gaussians need no open3d, which does not load on every machine.
    monkeypatch.setitem(sys.modules, "open3d", mock.MagicMock())
    from nerfstudio.scripts.exporter import ExportGaussianSplat

    ExportGaussianSplat(run, tmp_path).main()
    gaussians, colors, _ = read_splat(tmp_path / "splat.ply")
    pipeline = load_run(run).pipeline
    model = pipeline.model
    is_written = model.opacities[:, 0] >= -5.5373
    assert len(gaussians) == int(is_written.sum())
    torch.testing.assert_close(gaussians.means, model.means.detach()[is_written])
    torch.testing.assert_close(colors, model.colors.detach()[is_written], atol=1e-5, rtol=1e-5)
    given = start.GivenFile(tmp_path / "splat.ply", "scene")
    in_scene, _ = start.of_file(given, pipeline.datamanager.training_views)
    assert torch.equal(in_scene.means, gaussians.means)
    refuse_impossible(["ns-export", "gaussian-splat"], has_gaussians=True)
    with pytest.raises(SceneError, match="needs Gaussians"):
        refuse_impossible(["ns-export", "gaussian-splat"])
    audited = render_run(pipeline)
    assert len(audited.images) == len(pipeline.datamanager.train_dataset)
    shares = [(image.field == image.given)[image.given >= 0].mean() for image in audited.images]
    assert np.mean(shares) > 0.9


def test_the_commands_of_labels_and_of_gaussians_read_the_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no --steps with a run of semantic-splatfacto"):
        ToSplat(run, tmp_path / "splat", steps=7).main()
    ToSplat(run, tmp_path / "splat").main()
    pipeline = load_run(run).pipeline
    gaussians, _, classes = read_splat(tmp_path / "splat" / "splat.ply")
    assert len(gaussians) == pipeline.model.num_points
    assert classes.tolist() == pipeline.model.taxonomy.decode(labels_of(pipeline.model.class_probabilities)).tolist()
    ExportLabels(run, tmp_path / "labels", "test").main()
    images = list((tmp_path / "labels").rglob("*.png"))
    assert len(images) >= 2 * len(pipeline.datamanager.eval_dataset)
    sparse = [np.full_like(image, -1) for image in pipeline.datamanager.training_labels]
    pipeline.datamanager.set_training_labels(sparse)
    units, choice = suggest(pipeline, 3, SelectionConfig(strategy="entropy", unit="region"))
    assert len(choice.chosen) == 3
    assert len(units) > 3


def test_a_resumed_run_has_the_optimisers_of_its_gaussians(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 4)
    trainer.config.save_config()
    trainer.train()
    config = copy.deepcopy(trainer._resume_config())
    config.max_num_iterations = 6
    assert config.pipeline.model.resumes
    again: Any = config.setup(local_rank=0, world_size=1)
    again.setup()
    model = again.pipeline.model
    assert torch.equal(model.means, trainer.pipeline.model.means)
    for name, optimizer in again.optimizers.optimizers.items():
        if name in model.gauss_params:
            assert optimizer.param_groups[0]["params"][0] is model.gauss_params[name]
    before = model.means.detach().clone()
    again.train()
    assert not torch.equal(model.means, before)


@pytest.fixture(scope="module")
def written(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as the files of `sns-to-splat`, in the world of the scene's files."""
    trained.pipeline.update_classes()
    model, folder = trained.pipeline.model, tmp_path_factory.mktemp("files")
    with torch.no_grad():
        splat = Splat(model.gaussians(), model.colors, model.class_probabilities)
        write_splat_files(splat, trained.pipeline.datamanager.train_dataparser_outputs, model.taxonomy, folder)
    return folder


def test_gaussians_made_elsewhere_stay_as_they_are_and_take_the_classes_of_the_labels(
    trained: Any, written: Path, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 1, start_from=written, train_gaussians=False)
    assert trainer.pipeline.datamanager.training_views.depths is None
    expected, model = trained.pipeline.model, trainer.pipeline.model
    trainer.train()
    torch.testing.assert_close(model.means, expected.means, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.colors, expected.colors, atol=1e-5, rtol=1e-5)
    is_close = (model.class_probabilities - expected.class_probabilities).abs().amax(dim=1) < 0.05
    assert float(is_close.float().mean()) > 0.95
    camera = one_camera(trainer)
    one, other = (m.eval().get_outputs_for_camera(camera)["rgb"] for m in (model, expected))
    assert float((one - other).abs().mean()) < 0.01


def test_a_file_of_another_frame_or_none_is_one_sentence(written: Path, nerfstudio_scene: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="found no file"):
        set_up(nerfstudio_scene, tmp_path, start_from=tmp_path / "none.ply")
    with pytest.raises(SceneError, match="start-from with --pipeline"):
        set_up(nerfstudio_scene, tmp_path, train_gaussians=False)
    (tmp_path / "broken.ply").write_text("ply\nnothing")
    with pytest.raises(SceneError, match="Expected a PLY file of Gaussians"):
        set_up(nerfstudio_scene, tmp_path, start_from=tmp_path / "broken.ply")


def test_gaussians_that_no_camera_sees_are_refused(untrained: Any, written: Path) -> None:
    views = copy.copy(untrained.pipeline.datamanager.training_views)
    outputs = copy.copy(views.outputs)
    outputs.dataparser_transform = torch.cat([torch.eye(3), torch.tensor([[0.0], [0.0], [900.0]])], dim=1)
    views.outputs = outputs
    with pytest.raises(SceneError, match=r"start-frame scene"):
        start.of_file(start.GivenFile(written, "world"), views)


def test_without_depth_gaussians_begin_at_sparse_points_and_without_these_nowhere(
    nerfstudio_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SceneError, match="Expected depth images, depth by stereo or sparse points"):
        set_up(nerfstudio_scene, tmp_path, data={"use_depth": False})
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [np.nan, 0, 0]])
    gaussians, colors = start.of_points(positions, torch.full((5, 3), 51, dtype=torch.uint8))
    assert len(gaussians) == 4
    assert gaussians.scales[0].tolist() == pytest.approx([2, 2, 2])
    torch.testing.assert_close(colors, torch.full((4, 3), 0.2))
    with pytest.raises(SceneError, match="Expected 4 sparse points or more to begin with, found 3"):
        start.of_points(positions[:3], torch.zeros(3, 3))


def test_options_that_a_cpu_cannot_follow_are_refused(nerfstudio_scene: Path, tmp_path: Path) -> None:
    for name, value in (("use_absgrad", False), ("stop_split_at", 7), ("color_corrected_metrics", True)):
        with pytest.raises(SceneError, match=f"pipeline.model.{name.replace('_', '-')}, found"):
            set_up(nerfstudio_scene, tmp_path, STEPS, None, **{name: value})


def test_rays_one_by_one_and_bent_lenses_are_one_sentence(trained: Any) -> None:
    model = trained.pipeline.model
    with pytest.raises(SceneError, match="found single rays"):
        model(RayBundle(torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 1)))
    camera = one_camera(trained)[0]
    camera.distortion_params = torch.tensor([0.1, 0, 0, 0, 0, 0])
    with pytest.raises(SceneError, match="Expected pinhole cameras"):
        pinhole_camera(camera)


def test_the_rays_of_an_image_are_rendered_as_its_camera(trained: Any) -> None:
    model, camera = trained.pipeline.model.eval(), one_camera(trained)
    expected = model.get_outputs_for_camera(camera)
    found = model.get_outputs_for_camera_ray_bundle(camera.generate_rays(0, keep_shape=True))
    torch.testing.assert_close(found["rgb"], expected["rgb"], atol=2e-2, rtol=0)
    intervals = model.render_image_intervals(camera)
    torch.testing.assert_close(intervals.rgb, expected["rgb"].flatten(0, 1))
    torch.testing.assert_close(intervals.distances[:, :1], expected["depth"].flatten(0, 1))


def test_depth_is_the_distance_along_the_ray(trained: Any) -> None:
    model, camera = trained.pipeline.model.eval(), one_camera(trained)
    with model.raw_outputs():
        outputs = model.get_outputs_for_camera(camera)
    rays = camera.generate_rays(0, keep_shape=True)
    assert rays.metadata is not None
    torch.testing.assert_close(
        outputs["depth"], outputs["planar_depth"] * rays.metadata["directions_norm"], atol=1e-4, rtol=1e-4
    )


def test_holes_show_what_lies_around_them_or_the_background_and_a_box_only_what_is_inside(
    trained: Any,
) -> None:
    model, camera = copied(trained.pipeline.model), one_camera(trained)
    config, seen = model.config, model.get_outputs_for_camera(camera)
    whole = OrientedBox(R=torch.eye(3), T=torch.zeros(3), S=torch.full((3,), 100.0))
    nothing = OrientedBox(R=torch.eye(3), T=torch.full((3,), 500.0), S=torch.ones(3))
    background = torch.tensor([0.1, 0.7, 0.3])
    model.set_background(background)
    empty = model.get_outputs_for_camera(camera, nothing)
    assert not bool(empty["accumulation"].any())
    torch.testing.assert_close(empty["rgb"], background.expand_as(empty["rgb"]))
    boxed = model.get_outputs_for_camera(camera, whole)
    torch.testing.assert_close(boxed["accumulation"], seen["accumulation"])
    config.fill_holes = False
    torch.testing.assert_close(model.get_outputs_for_camera(camera)["rgb"], boxed["rgb"])
    # A box that a viewer has left is nothing to what is asked by, or logged.
    model.set_crop(nothing)
    intervals = model.render_image_intervals(camera)
    torch.testing.assert_close(intervals.weights, seen["accumulation"].flatten(0, 1))
    model.set_crop(nothing)
    torch.testing.assert_close(model(camera)["accumulation"], seen["accumulation"])


def test_harmonics_of_degree_one_are_linear_in_the_direction(trained: Any) -> None:
    model = copied(trained.pipeline.model)
    rest = torch.randn(model.features_rest.shape, generator=torch.Generator().manual_seed(0))
    position = torch.tensor([0.1, 0.2, 0.3])
    plain = model.seen_colors(position)
    torch.testing.assert_close(plain, model.colors)
    with torch.no_grad():
        model.features_rest.copy_(0.1 * rest)
        x, y, z = torch.nn.functional.normalize(model.means - position, dim=1).T[:, :, None]
        bands = model.features_rest
        linear = 0.4886025119029199 * (-y * bands[:, 0] + z * bands[:, 1] - x * bands[:, 2])
        torch.testing.assert_close(model.seen_colors(position), (plain + linear).clamp(min=0), atol=1e-5, rtol=1e-5)


@pytest.mark.cuda
def test_on_cuda_gaussians_train_as_in_splatfacto_and_have_classes(nerfstudio_scene: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU, on which gsplat renders")
    config = configured(semantic_splatfacto, nerfstudio_scene, tmp_path, 20)
    config.machine.device_type = "cuda"
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    model = trainer.pipeline.model
    assert model.class_probabilities.shape == (model.num_points, model.taxonomy.num_classes)
    assert bool(model.class_probabilities.any())
    with model.eval().raw_outputs():
        outputs = model.get_outputs_for_camera(one_camera(trainer))
    assert outputs[RENDERED_LABELS].shape == outputs["depth"].shape
