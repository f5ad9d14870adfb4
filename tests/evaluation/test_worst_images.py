"""The worst images: which they are, under which names, and when a training names them."""

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.scripts.train import main as train
from rich.console import Console

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.evaluation.worst_images import (
    ImageScores,
    NamedImages,
    short_names,
    worst_as_json,
    worst_images,
    worst_table,
)
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.pipeline import SemanticPipelineConfig
from support.registered import SMALL, configured

SCORES = [
    ImageScores("a", 30.0, 0.5, 0.1),
    ImageScores("b", 10.0, None, 0.4),
    ImageScores("c", 20.0, 0.9, None),
    ImageScores("d", 40.0, 0.7, 0.2),
]


def named(images: list[ImageScores]) -> list[str]:
    return [image.image for image in images]


def test_low_psnr_and_miou_and_high_depth_error_are_worst() -> None:
    found = worst_images(SCORES, 3)
    assert {name: named(images) for name, images in found.items()} == {
        "psnr": ["b", "c", "a"], "miou_present": ["a", "d", "c"], "depth_l1": ["b", "d", "a"],
    }  # fmt: skip


def test_a_score_that_no_image_has_is_left_out() -> None:
    found = worst_as_json([ImageScores("a", 30.0, None, None)])
    assert found == {"worst_psnr": [{"image": "a", "psnr": 30.0, "miou_present": None, "depth_l1": None}]}
    assert worst_as_json([]) == {}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/s/rgb/1.png", "/s/rgb/2.png"], ["1.png", "2.png"]),
        (["/s/one/rgb/1.png", "/s/two/rgb/1.png"], ["one/rgb/1.png", "two/rgb/1.png"]),
        (["/s/rgb/1.png"], ["1.png"]),
    ],
)
def test_images_have_the_shortest_names_that_tell_them_apart(paths: list[str], names: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == names


def test_the_table_has_the_means_above_the_worst_images_and_says_how_many_were_scored() -> None:
    console = Console(width=100, record=True)
    console.print(worst_table(SCORES, {"psnr": 25.0, "miou_present": 0.66, "depth_l1": float("nan")}, 9))
    lines = [line for line in console.export_text().splitlines() if line.strip()]
    assert "4 of 9 scored" in lines[0]
    means, worst = (next(line for line in lines if word in line) for word in ("25.0", "worst PSNR"))
    assert "0.660" in means
    assert lines.index(means) < lines.index(worst)
    assert "b" in worst
    assert "10.0" in worst


def test_scores_of_an_image_are_those_of_an_evaluation_of_it_alone() -> None:
    generator = torch.Generator().manual_seed(0)

    def image() -> dict[str, Any]:
        return {
            "labels": torch.randint(0, 3, (4, 5, 1), generator=generator),
            "target": torch.randint(-1, 3, (4, 5, 1), generator=generator),
            "depth": torch.rand(4, 5, 1, generator=generator),
            "true_depth": torch.rand(4, 5, 1, generator=generator),
            "rgb": torch.rand(4, 5, 3, generator=generator),
            "true_rgb": torch.rand(4, 5, 3, generator=generator),
        }

    def add(state: SceneAccumulator, values: dict[str, Any]) -> None:
        state.add_labels(values["labels"], values["target"])
        state.add_depth(values["depth"], values["true_depth"])
        state.add_color(values["rgb"], values["true_rgb"])

    images, together, plain = [image(), image()], SceneAccumulator(3, 2.0), SceneAccumulator(3, 2.0)
    for number, values in enumerate(images):
        together.begin_image(str(number))
        add(together, values)
        add(plain, values)
    for values, scores in zip(images, together.image_scores(), strict=True):
        alone = SceneAccumulator(3, 2.0)
        add(alone, values)
        expected = alone.result(("a", "b", "c"))
        assert scores.psnr == expected["psnr_pooled"]
        assert scores.miou_present == expected["miou_present"]
        assert scores.depth_l1 == expected["depth_l1"]
    assert together.result(("a", "b", "c")) == plain.result(("a", "b", "c"))
    together.reset()
    assert together.image_scores() == []


def test_many_images_of_many_classes_need_no_more_memory_than_two() -> None:
    def size(num_images: int) -> int:
        state = SceneAccumulator(300, 1.0)
        for number in range(num_images):
            state.begin_image(str(number))
            state.add_labels(torch.zeros(2, 2, 1, dtype=torch.long), torch.zeros(2, 2, 1, dtype=torch.long))
        assert len(state.image_scores()) == num_images
        return len(pickle.dumps(state))

    assert size(40) < 1.1 * size(2)


def test_an_evaluation_that_is_stopped_has_its_first_image() -> None:
    state = SceneAccumulator(2, 1.0)
    loader = [("camera", {}), ("camera", {})]
    assert len(list(NamedImages(loader, state, is_over=lambda: True))) == 1
    assert len(list(NamedImages(loader, state))) == 2


@pytest.mark.parametrize(
    ("num_images", "said"),
    [(SemanticPipelineConfig().eval_images_at_end, "all 2 scored"), (1, "1 of 2 scored"), (0, None)],
)
def test_a_training_ends_with_its_worst_images(
    num_images: int,
    said: str | None,
    replica_scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = num_images  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    shown = capsys.readouterr().out
    assert ("Evaluation images" in shown) == (said is not None)
    if said is not None:
        assert said in shown
        assert "rgb_0.png" in shown


def test_all_images_are_scored_where_the_run_evaluates_all_anyway(
    replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = 1  # pyright: ignore[reportAttributeAccessIssue]
    config.steps_per_eval_all_images = 2
    train(config)
    assert "all 2 scored" in capsys.readouterr().out


def test_a_run_that_never_evaluates_all_images_scores_those_of_its_end_alone(
    replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = 1  # pyright: ignore[reportAttributeAccessIssue]
    config.steps_per_eval_all_images = 0  # nerfstudio's "never"
    train(config)
    assert "1 of 2 scored" in capsys.readouterr().out


def test_a_training_whose_time_is_over_ends_with_its_worst_images_too(
    replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 1000, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = 8  # pyright: ignore[reportAttributeAccessIssue]
    config.max_seconds = 1e-9  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    shown = capsys.readouterr().out
    assert "1 steps were trained" in shown
    assert "all 2 scored" in shown


def test_a_training_that_a_signal_stops_scores_nothing(
    replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 5, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = 8  # pyright: ignore[reportAttributeAccessIssue]
    trainer = config.setup()
    trainer.setup()
    step_of_the_parent = trainer.train_iteration

    def train_iteration(step: int) -> Any:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step_of_the_parent(step)

    monkeypatch.setattr(trainer, "train_iteration", train_iteration)
    with pytest.raises(SystemExit):
        trainer.train()
    assert "Evaluation images" not in capsys.readouterr().out


def test_a_negative_number_of_images_is_refused(replica_scene: Path, tmp_path: Path) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"])
    config.pipeline.eval_images_at_end = -1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(SceneError, match="eval-images-at-end"):
        config.setup().setup()
