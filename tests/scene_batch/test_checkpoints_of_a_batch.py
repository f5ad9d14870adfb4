"""From which checkpoint a training of a batch goes on, and what becomes of the others."""

from pathlib import Path

import pytest

from semantic_ns.checkpoints import find_checkpoint
from semantic_ns.jobs.processes import Ending, Limits
from semantic_ns.run_paths import RESUME_CONFIG
from semantic_ns.scene_batch.reasons import reason_of
from semantic_ns.scene_batch.steps import DAMAGED, command_of, config_path, is_trained, newest_step

WHOLE = b"PK\5\6" + bytes(18)
"""The smallest zip file."""
PART = b"PK\3\4 and then the disk was full"


def run_with(folder: Path, checkpoints: dict[int, bytes], limit: int = 6000) -> Path:
    config = config_path(folder, "semantic-nerf")
    place = config.parent / "nerfstudio_models"
    place.mkdir(parents=True)
    for steps, content in checkpoints.items():
        (place / f"step-{steps - 1:09d}.ckpt").write_bytes(content)
    (config.parent / RESUME_CONFIG).write_text(f"!!python/object:x\nmax_num_iterations: {limit}\n")
    return config


def train(folder: Path, config: Path) -> list[str]:
    return command_of("train", folder / "data", folder, config, "semantic-nerf", ())


@pytest.mark.parametrize("limit", [4000, 6000])
def test_a_training_goes_on_from_its_newest_whole_checkpoint(limit: int, tmp_path: Path) -> None:
    config = run_with(tmp_path, {2000: WHOLE, 3000: WHOLE, 4000: PART, 5000: PART}, limit)
    assert newest_step(config) == 3000
    assert not is_trained(config)
    assert train(tmp_path, config)[-2:] == ["--load-config", str(config.parent / RESUME_CONFIG)]
    # What the training and ns-eval take for the newest is now whole, and nothing is lost.
    assert find_checkpoint(config.parent / "nerfstudio_models").name == "step-000002999.ckpt"
    assert sorted(path.name for path in (config.parent / DAMAGED).iterdir()) == [
        "step-000003999.ckpt",
        "step-000004999.ckpt",
    ]
    assert len(list(config.parent.glob("nerfstudio_models/*"))) == 2


def test_a_run_without_a_damaged_checkpoint_is_left_as_it_is(tmp_path: Path) -> None:
    config = run_with(tmp_path, {2000: WHOLE, 3000: WHOLE})
    before = sorted(config.parent.rglob("*"))
    train(tmp_path, config)
    assert sorted(config.parent.rglob("*")) == before


def test_a_step_that_the_time_limit_ends_says_whether_the_next_attempt_goes_on() -> None:
    ending, limits = Ending(-15, 60.0, 0, "time"), Limits(60.0)
    assert reason_of(ending, limits, "", goes_on=True).endswith("the same command goes on from its checkpoint.")
    assert reason_of(ending, limits, "").endswith("the next attempt starts over; raise --time-limit.")
