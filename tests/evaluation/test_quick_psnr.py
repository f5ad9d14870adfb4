"""At the end of a training every evaluation image is compared in some of its pixels, also those not scored whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.evaluation import quick_psnr
from semantic_ns.evaluation.quick_psnr import QuickScores, quick_scores
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.hand_made_scene import rewrite
from support.registered import SMALL, configured


@pytest.fixture
def masked_scene(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    """The left half of each image is masked."""
    scene = copy_scene(nerfstudio_scene)
    Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 24, axis=1).repeat(36, axis=0)).save(scene / "mask.png")
    rewrite(scene, lambda content: [frame.update({"mask_path": "mask.png"}) for frame in content["frames"]])
    return scene


def set_up(scene: Path, folder: Path) -> Any:
    trainer = configured(semantic_nerf, scene, folder, 2, **SMALL["semantic-nerf"]).setup()
    trainer.setup()
    return trainer


def test_psnr_from_all_pixels_is_that_of_an_evaluation(
    masked_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = set_up(masked_scene, tmp_path / "run").pipeline
    pipeline.get_average_eval_image_metrics()
    exact = {image.image: image.psnr for image in pipeline.model.evaluation_state.image_scores()}
    dataset = pipeline.datamanager.eval_dataset
    rough = quick_scores(pipeline.model, dataset)
    assert rough.psnr == pytest.approx(exact, abs=1.0)
    assert rough.num_pixels < 48 * 36 / 2
    monkeypatch.setattr(quick_psnr, "_MAX_RAYS_OF_IMAGE", 48 * 36)
    assert quick_scores(pipeline.model, dataset).psnr == pytest.approx(exact, abs=1e-3)


def test_the_worst_image_is_named_where_it_is_not_scored_whole(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = copy_scene(nerfstudio_scene)
    spoilt = AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("val").image_filenames[-1]
    colors = np.array(Image.open(spoilt))
    Image.fromarray(np.random.default_rng(0).choice([0, 255], colors.shape).astype(np.uint8)).save(spoilt)
    config = configured(semantic_nerf, scene, tmp_path / "again", 2, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = 1  # pyright: ignore[reportAttributeAccessIssue]
    capsys.readouterr()
    train(config)
    shown = capsys.readouterr().out
    table, _, line = shown.partition("PSNR of all 2 evaluation images")
    assert spoilt.name not in table.partition("Evaluation images, 1 of 2 scored")[2]
    assert f"lowest in {spoilt.name} (" in line


def test_the_sentence_names_the_three_lowest_and_how_many_were_compared() -> None:
    said = QuickScores({"a": 30.0, "b": 10.0, "c": 25.0, "d": 15.0}, 256, 9).sentence()
    assert said == (
        "PSNR of 4 of 9 evaluation images from up to 256 pixels of each: 20.0 dB on average, lowest in b (10.0), "
        "d (15.0), c (25.0)"
    )
    assert QuickScores({}, 0, 9).sentence() is None
