"""The measurement of killed batches tells one that loses nothing from one that trains twice or has other scores."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.batch_kills import Kill, _wait, differences, main, moments, parse, rooms_of, trained_again
from semantic_ns.scene_batch.records import Record
from support.batch_program import program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
HANG = ",".join(str(moment.num_ended) for moment in moments(0, 2, 4))


def measure(output: Path, *changes: str) -> tuple[int, str]:
    status = main(["--tiny", "--output", str(output)], program("--hang", HANG, *changes))
    return status, (output / "kills.md").read_text()


def test_a_batch_that_is_killed_twice_trains_nothing_twice_and_has_the_same_table(tmp_path: Path) -> None:
    status, found = measure(tmp_path)
    assert (status, found.splitlines()[-1]) == (0, "Met.")
    assert "Trained again although done: none." in found
    assert "Rows that differ in status, reason, miou_present, miou, psnr, depth_l1, train, eval: none of 2." in found
    started = (tmp_path / "killed/journal.txt").read_text().splitlines()
    # The steps that hung are started once more, and no other one.
    assert sorted(set(started)) == ["room_0 eval", "room_0 train", "room_1 eval", "room_1 train"]
    assert 4 <= len(started) <= 6
    assert started.count("room_0 train") == 1
    assert (tmp_path / "killed/calls.txt").read_text() == "xxx"


def test_a_batch_that_trains_again_what_it_has_trained_is_found_out(tmp_path: Path) -> None:
    status, found = measure(tmp_path, "--forget")
    assert (status, found.splitlines()[-1]) == (1, "Missed.")
    assert "Trained again although done: room_0" in found


def test_a_batch_that_ends_with_other_scores_is_found_out(tmp_path: Path) -> None:
    status, found = measure(tmp_path, "--scores")
    assert (status, found.splitlines()[-1]) == (1, "Missed.")
    assert "depth_l1, train, eval: room_0, room_1 of 2." in found


def test_a_batch_that_ends_before_it_is_killed_measures_nothing() -> None:
    with pytest.raises(RuntimeError, match="ended before it could be killed"):
        _wait(subprocess.Popen([sys.executable, "-S", "-c", ""]), 60)


def test_a_training_with_another_record_was_trained_again() -> None:
    done, redone = (Record("train", "done", 0, seconds) for seconds in ((5.0,), (5.0, 6.0)))
    kills = [Kill(1.0, 1, "", {"a": done}), Kill(1.0, 2, "", {"a": done, "b": done})]
    assert trained_again(kills, {"a": done, "b": done}) == []
    assert trained_again(kills, {"a": redone, "b": done}) == ["a"]


def test_a_row_that_is_missing_or_has_another_score_is_different(tmp_path: Path) -> None:
    for folder, rows in (("whole", "a,0.5\nb,0.5\n"), ("killed", "a,0.50000001\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "results.csv").write_text("scene,psnr\n" + rows)
    assert differences(tmp_path / "whole", tmp_path / "killed") == ["a", "b"]
    assert differences(tmp_path / "whole", tmp_path / "whole") == []


def test_kills_come_at_moments_of_their_seed_while_the_batch_is_at_work() -> None:
    assert moments(3, 2, 24) == moments(3, 2, 24) != moments(4, 2, 24)
    for seed in range(50):
        numbers = [moment.num_ended for moment in moments(seed, 3, 24)]
        assert numbers == sorted(set(numbers))
        assert numbers[0] >= 1
        assert numbers[-1] <= 22


@pytest.mark.parametrize("words", [["--tiny", "--kills", "3"], ["--tiny", "--kills", "0"], ["--scenes", "0"]])
def test_kills_that_a_batch_is_too_short_for_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--output", str(tmp_path), *words])
    assert "--kills of 1 to" in capsys.readouterr().err


def test_a_used_folder_and_missing_rooms_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "killed").mkdir()
    with pytest.raises(SystemExit):
        parse(["--tiny", "--output", str(tmp_path)])
    assert "a new folder expected for --output" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="Expected a folder of rooms for --rooms"):
        rooms_of(parse(["--output", str(tmp_path / "new")]))
    (tmp_path / "rooms/scene_01").mkdir(parents=True)
    with pytest.raises(SystemExit, match="Expected the rooms scene_02, scene_03 in"):
        rooms_of(parse(["--output", str(tmp_path / "new"), "--rooms", str(tmp_path / "rooms"), "--scenes", "3"]))


def test_what_follows_two_hyphens_is_for_the_training(tmp_path: Path) -> None:
    given = parse(["--output", str(tmp_path), "--tiny", "--", "--pipeline.model.max-res", "64"])
    assert given.arguments == ["--pipeline.model.max-res", "64"]
