"""Supervision modes of a scoreboard: each trains with the labels that its name says."""

import json
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.benchmark.runner.trials import BenchmarkScene, read_result, state_of, write_done, write_trial
from semantic_ns.benchmark.scenes.plan import ScenePlan, SceneTrial, scoreboard_scene
from semantic_ns.cli.benchmark import Scenes
from semantic_ns.errors import SceneError
from support.fresh_process import last_line, run_warm

FRAMES = "--pipeline.datamanager.corruption.label-frames"


def scoreboard(**changes: Any) -> list[SceneTrial]:
    scene = BenchmarkScene(Path("/data/room"), "room", **changes)
    return ScenePlan((scene,), (42,), modes=("all", "two-frames", "region-sort-30%")).trials()


def test_two_frames_train_with_the_labels_of_two_frames(replica_scene: Path) -> None:
    """In a process of its own, which has no checks of types: these refuse what nerfstudio's parents have."""
    said = last_line(
        "import json\n"
        "from pathlib import Path\n"
        "from semantic_ns.benchmark.scenes import trial\n"
        "from semantic_ns.benchmark.scenes.plan import ScenePlan, scoreboard_scene\n"
        "def stop(one, arguments, folder):\n"
        "    print(json.dumps(arguments))\n"
        "    raise SystemExit\n"
        "trial.started_trainer = stop\n"
        f"(one,) = ScenePlan((scoreboard_scene({str(replica_scene)!r}),), (42,), modes=('two-frames',)).trials()\n"
        "trial.train_and_score(one, Path('/nowhere'))",
        run_warm,
    )
    arguments = json.loads(said)
    place = arguments.index(FRAMES)
    assert all(name.startswith("rgb_") or name.isdigit() for name in arguments[place + 1 : place + 3])
    assert arguments[place + 3].startswith("--")


def test_a_result_of_two_frames_that_was_trained_with_all_labels_is_none(tmp_path: Path) -> None:
    """Earlier versions left such results in the folders of scoreboards."""
    _, one, _ = scoreboard()
    write_trial(tmp_path, one)
    write_done(tmp_path, one, {}, one.arguments())
    assert read_result(tmp_path) is None
    assert state_of(tmp_path) == "open"
    write_done(tmp_path, one, {}, one.arguments(("1", "2")))
    assert state_of(tmp_path) == "done"


def test_frames_and_region_classes_change_the_trials_of_the_modes_that_use_them_only() -> None:
    plain, named = scoreboard(), scoreboard(frames=("1", "2"), region_classes=("chair",))
    assert [a == b for a, b in zip(plain, named, strict=True)] == [True, False, False]
    assert [a.key == b.key for a, b in zip(plain, named, strict=True)] == [True, False, False]
    assert " ".join([FRAMES, "1", "2"]) in " ".join(named[1].arguments())
    assert "region-classes chair" in " ".join(named[2].arguments())


def test_region_noise_without_classes_is_refused_with_an_option_that_the_command_has() -> None:
    *_, one = scoreboard()
    with pytest.raises(SceneError, match="--region-classes"):
        one.arguments()
    assert Scenes(Path("out"), ("room",), region_classes=("chair",)).region_classes == ("chair",)


def test_frames_and_classes_of_the_command_reach_the_scene(nerfstudio_scene: Path) -> None:
    scene = scoreboard_scene(str(nerfstudio_scene), None, ["3"], ["chair"])
    assert (scene.frames, scene.region_classes) == (("3",), ("chair",))
