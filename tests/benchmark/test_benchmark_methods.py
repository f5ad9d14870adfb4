"""Trials of every method begin as its own training does, and are scored as `ns-eval` scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.benchmark.runner.image_scores import scores_and_images
from semantic_ns.benchmark.runner.trials import BenchmarkScene, write_trial
from semantic_ns.benchmark.scenes.plan import SceneTrial
from semantic_ns.benchmark.scenes.trial import MODULE
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.benchmark_trials import train_warm
from support.fresh_process import last_line, run_warm
from support.hand_made_scene import rewrite
from support.registered import SMALL as SMALL_MODELS
from support.registered import configured

CPU = ("--machine.device-type", "cpu")
SMALL = (
    "--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "8", "--pipeline.model.max-res", "64",
    "--pipeline.datamanager.train-num-rays-per-batch", "256",
)  # fmt: skip


def trial(scene: Path, method: str, *options: str) -> SceneTrial:
    return SceneTrial(BenchmarkScene(scene, "room"), method, "all", 1, 2, options=(*options, *CPU))


PATHS = "[path.name for path in trainer.pipeline.datamanager.eval_dataset.image_filenames]"
WEIGHTS = "trainer.pipeline.model.config.weights and str(trainer.pipeline.model.config.weights)"


def of_started_trainers(expressions: dict[str, SceneTrial], folder: Path) -> dict[str, Any]:
    """What expressions in `trainer` are, once their trials are set up one after the other in a process of their own."""
    for number, one in enumerate(expressions.values()):
        write_trial(folder / str(number), one)
    return json.loads(
        last_line(
            "import json\n"
            "from pathlib import Path\n"
            "from semantic_ns.benchmark.runner.one_trial import started_trainer\n"
            "from semantic_ns.benchmark.runner.trials import read_trial\n"
            "found = {}\n"
            f"for number, expression in enumerate({list(expressions)!r}):\n"
            f"    folder = Path({str(folder)!r}) / str(number)\n"
            "    trial = read_trial(folder)\n"
            "    trainer = started_trainer(trial, trial.arguments(), folder / 'run')\n"
            "    found[expression] = eval(expression)\n"
            "print(json.dumps(found))",
            run_warm,
        )
    )


def test_gaussians_begin_at_the_surface_and_are_scored_with_classes(nerfstudio_scene: Path, tmp_path: Path) -> None:
    write_trial(tmp_path, trial(nerfstudio_scene, "semantic-splatfacto"))
    train_warm(MODULE, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["state"] == "done", result["error"]
    scores = result["scores"]["test"]
    # Noise in the place of a room, or Gaussians without classes, would have far less.
    assert scores["psnr"] > 15
    assert scores["miou_present"] > 0.5


def test_given_weights_are_begun_with_and_a_scene_that_lists_validation_and_test_poses_is_scored_on_the_latter(
    rooms: Path, nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)
    names = [frame["file_path"] for frame in json.loads((scene / "transforms.json").read_text())["frames"]]
    lists = {"train_filenames": names[:8], "val_filenames": names[8:10], "test_filenames": names[10:]}
    rewrite(scene, lambda content: content.update(lists))
    begun = trial(rooms / "studio", "gsnerf-small", "--pipeline.model.weights", "rooms-small")
    # Both in one process, which is slow to start.
    found = of_started_trainers({WEIGHTS: begun, PATHS: trial(scene, "semantic-nerf", *SMALL)}, tmp_path / "trials")
    assert found[WEIGHTS] == "rooms-small"
    assert found[PATHS] == [Path(name).name for name in names[10:]]


@pytest.fixture
def masked_scene(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    """Each image is white in a part of its own, which is masked; two images have the same file name."""
    scene = copy_scene(nerfstudio_scene)

    def mask(content: dict[str, Any]) -> None:
        for number, frame in enumerate(content["frames"]):
            colors = np.array(Image.open(scene / frame["file_path"]))
            seen = np.full(colors.shape[:2], 255, np.uint8)
            seen[: 3 * number % 30] = 0
            colors[seen == 0] = 255
            name, short = Path(frame["file_path"]).name, f"{number % 2}/{number // 2}.png"
            frame |= {"mask_path": f"mask_{number}.png", "file_path": f"colors/{short}"}
            for kind in ("colors", "semantics"):
                (scene / kind / short).parent.mkdir(parents=True, exist_ok=True)
            (scene / "semantics" / name).rename(scene / "semantics" / short)
            Image.fromarray(colors).save(scene / frame["file_path"])
            Image.fromarray(seen).save(scene / frame["mask_path"])

    rewrite(scene, mask)
    return scene


def test_an_image_has_the_scores_and_the_name_that_ns_eval_gives_it(masked_scene: Path, tmp_path: Path) -> None:
    trainer = configured(semantic_nerf, masked_scene, tmp_path / "run", 2, **SMALL_MODELS["semantic-nerf"]).setup()
    trainer.setup(test_mode="test")
    pipeline = trainer.pipeline
    evaluated = pipeline.get_average_eval_image_metrics(get_std=True)
    scores, images = scores_and_images(pipeline, pipeline.datamanager.eval_dataset)
    assert len(images) == evaluated["num_images"] == 2
    for name in ("psnr", "miou_present", "depth_l1"):
        worst = sorted(images, key=lambda image: image[name], reverse=name == "depth_l1")
        assert worst == evaluated[f"worst_{name}"]
    assert scores == {name: evaluated[name] for name in scores}
