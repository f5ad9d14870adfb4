"""The command `sns-batch-cost`: what it refuses, what it prints and what it writes."""

from pathlib import Path
from typing import Any

import pytest

from semantic_ns.cli.batch_cost import BatchCost
from semantic_ns.errors import SceneError
from support.batch_folders import write_batch, write_training

SCENE = {"doctor": ("done", 2.0), "train": ("done", 60.0), "eval": ("done", 10.0)}
GIVEN: dict[str, Any] = {"files_per_second": 100.0, "megabytes_per_second": 50.0, "reads_per_second": 1000.0}


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    out = write_batch(tmp_path / "out", {"a": SCENE, "b": SCENE})
    write_training(out / "scenes/a", 1000, 100, 400)
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "--nodes of at least 1, found 0"), ({"num_scenes": (0,)}, "--num-scenes of at least 1, found 0"),
        ({"num_scenes": ()}, "at least one number for --num-scenes"), ({"simulate": -1}, "--simulate of at least 0"),
        ({"losses_per_node_hour": -0.1}, "--losses-per-node-hour of at least 0, found -0.1"),
        ({"losses_per_node_hour": float("nan")}, "found nan"), ({"replacement_seconds": -1.0}, "--replacement-seconds"),
        ({"checkpoint_seconds": 0.0}, "--checkpoint-seconds above 0"), ({"cpus": 0.0}, "--cpus above 0"),
        ({"tasks_per_second": -5.0}, "--tasks-per-second above 0"), ({"reads_per_second": 0.0}, "--reads-per-second"),
        ({"price_per_core_hour": -1.0}, "--price-per-core-hour of at least 0"),
        ({"memory_per_node": float("inf")}, "--memory-per-node above 0, found inf"),
        ({"cores_per_node": 0.5}, "found 0.5 cores"),
        ({"losses_per_node_hour": 1e6}, "which never ends; lower --losses"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_in_a_sentence_and_nothing_is_written(
    changes: dict, message: str, batch: Path
) -> None:
    with pytest.raises(SceneError, match=message):
        BatchCost(batch, **{**GIVEN, **changes}).main()
    assert not (batch / "cost.md").exists()


def test_the_table_is_printed_and_written_with_all_that_it_comes_from(
    batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BatchCost(batch, (100, 1000), simulate=2, losses_per_node_hour=1.0, **GIVEN).main()
    printed, page = capsys.readouterr().out, (batch / "cost.md").read_text()
    for text in (printed, page):
        assert "first bottleneck is small files" in text
        assert "2 simulated batches of 100 scenes" in text
        assert "1,000" in text
    assert "2 of 2 scenes have ended" in page
    assert "a checkpoint each 15 s" in page
    assert "| train, core-seconds | 60.0 |" in page


def test_the_file_system_is_tried_where_nothing_is_said_of_it(batch: Path) -> None:
    before = sorted(path.name for path in batch.iterdir())
    BatchCost(batch, (10,)).main()
    assert sorted(path.name for path in batch.iterdir()) == sorted([*before, "cost.md"])
