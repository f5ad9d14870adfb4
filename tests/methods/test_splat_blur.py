"""The blur of Gaussians in `semantic-splatfacto`: chosen where they begin, and kept with them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.errors import SceneError
from semantic_ns.export.splat import pinhole_camera
from semantic_ns.methods.semantic_splatfacto.config import SemanticSplatfactoModelConfig
from semantic_ns.methods.semantic_splatfacto.datamanager import TrainingViews
from semantic_ns.methods.semantic_splatfacto.device_options import blur_to_go_on_with, refuse_options_of_device
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.start import GivenFile, first_of
from semantic_ns.runs import load_run
from semantic_ns.splatting.fit_config import COMMON_BLUR, FINE_BLUR
from semantic_ns.splatting.ply import read_splat, write_splat
from semantic_ns.splatting.rasterize import rasterize
from support.registered import configured


def set_up(scene: Path, folder: Path, **model: Any) -> Any:
    """A trainer that has not begun."""
    torch.manual_seed(0)
    trainer = configured(semantic_splatfacto, scene, folder, 2, **model).setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


@pytest.fixture(scope="module")
def trained(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = set_up(nerfstudio_scene, tmp_path_factory.mktemp("fine"))
    trainer.config.save_config()
    trainer.train()
    return trainer


def test_gaussians_of_a_scene_are_fine_and_are_loaded_written_and_begun_with_as_they_are(
    trained: Any, nerfstudio_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, run = trained.pipeline.model, trained.base_dir / "config.yml"
    assert model.blur == model.gaussians().blur == FINE_BLUR
    assert load_run(run).pipeline.model.gaussians().blur == FINE_BLUR
    ToSplat(run, tmp_path / "files").main()
    assert "0.05 pixels²" in capsys.readouterr().out
    gaussians, colors, classes = read_splat(tmp_path / "files" / "splat.ply")
    assert gaussians.blur == FINE_BLUR
    begun = set_up(nerfstudio_scene, tmp_path, start_from=tmp_path / "files", train_gaussians=False).pipeline.model
    assert begun.blur == FINE_BLUR
    common = tmp_path / "common.ply"
    write_splat(common, replace(gaussians, blur=COMMON_BLUR), colors, classes)
    assert set_up(nerfstudio_scene, tmp_path, start_from=common).pipeline.model.blur == COMMON_BLUR
    assert set_up(nerfstudio_scene, tmp_path, start_from=common, blur=0.2).pipeline.model.blur == 0.2


def test_images_are_those_of_the_gaussians_with_the_blur_that_is_asked_for(
    trained: Any, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    fine, wide = trained.pipeline.model.eval(), set_up(nerfstudio_scene, tmp_path, blur=2.0).pipeline.model.eval()
    camera = trained.pipeline.datamanager.train_dataset.cameras[0:1]
    drawn = {}
    for model in (fine, wide):
        found = model.get_outputs_for_camera(camera)["accumulation"][..., 0]
        for blur in (FINE_BLUR, 2.0):
            gaussians = replace(model.gaussians(), blur=blur)
            with torch.no_grad():
                _, _, opacity = rasterize(gaussians, torch.zeros(len(gaussians), 1), pinhole_camera(camera[0]))
            drawn[model.blur, blur] = float((found - opacity).abs().max())
    assert drawn[FINE_BLUR, FINE_BLUR] < 1e-5
    assert drawn[2.0, 2.0] < 1e-5
    assert min(drawn[FINE_BLUR, 2.0], drawn[2.0, FINE_BLUR]) > 1e-3


def test_checkpoints_from_before_have_the_blur_that_all_had(
    trained: Any, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    model = set_up(nerfstudio_scene, tmp_path).pipeline.model
    state = {name: value for name, value in trained.pipeline.model.state_dict().items() if name != "pixel_blur"}
    model.load_state_dict(state)
    assert model.gaussians().blur == COMMON_BLUR


@pytest.mark.parametrize("blur", [0.0, 0.029, 10.1, -0.1, math.nan, math.inf])
def test_blurs_that_are_no_variance_are_refused(blur: float) -> None:
    with pytest.raises(SceneError, match=r"Expected 0\.03 to 10 for --pipeline\.model\.blur, found"):
        refuse_options_of_device(SemanticSplatfactoModelConfig(blur=blur), is_on_cpu=True)


def test_on_cuda_the_blur_is_that_of_gsplat() -> None:
    with pytest.raises(SceneError, match=r"Expected a CPU for --pipeline\.model\.blur, found CUDA"):
        refuse_options_of_device(SemanticSplatfactoModelConfig(blur=0.1), is_on_cpu=False)


def test_a_checkpoint_keeps_its_blur_and_says_so_where_another_was_asked_for_or_cuda_draws_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = torch.tensor(0.2, dtype=torch.float64)
    assert blur_to_go_on_with(kept, None, is_on_cpu=True) == blur_to_go_on_with(kept, 0.2, is_on_cpu=True) == kept
    assert blur_to_go_on_with(None, None, is_on_cpu=False) == COMMON_BLUR
    assert not capsys.readouterr().out
    assert blur_to_go_on_with(kept, 0.5, is_on_cpu=True) == kept
    assert "keep the 0.2 pixels²" in capsys.readouterr().out
    assert blur_to_go_on_with(kept, None, is_on_cpu=False) == COMMON_BLUR
    assert "they look too wide" in capsys.readouterr().out


def test_gaussians_of_a_scene_begin_with_the_blur_of_their_device_and_option(
    trained: Any, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    views = trained.pipeline.datamanager.training_views
    assert views.blur is None
    assert views.first_gaussians()[0].blur == FINE_BLUR
    with mock.patch.object(TrainingViews, "are_by_stereo", True):
        assert views.leaves.blur == COMMON_BLUR
    asked = set_up(nerfstudio_scene, tmp_path, blur=0.2).pipeline
    assert asked.model.blur == asked.datamanager.training_views.first_gaussians()[0].blur == 0.2
    files = tmp_path / "fine.ply"
    gaussians, colors = trained.pipeline.model.gaussians_on_cpu()
    write_splat(files, gaussians, colors, np.full(len(gaussians), -1, np.int32))
    given = GivenFile(files, "scene")
    assert first_of(views, given, uses_points=True)[0].blur == FINE_BLUR  # pyright: ignore[reportOptionalSubscript]
    views.blur = COMMON_BLUR  # on CUDA
    on_cuda, views.blur = first_of(views, given, uses_points=False), None
    assert on_cuda is not None
    assert on_cuda[0].blur == COMMON_BLUR
    with mock.patch.object(TrainingViews, "depths", None), mock.patch.object(TrainingViews, "sparse_points", _points):
        of_points = first_of(views, None, uses_points=True)
    assert of_points is not None
    assert of_points[0].blur == COMMON_BLUR


def _points(_: TrainingViews) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.eye(5, 3), torch.zeros((5, 3), dtype=torch.uint8)
