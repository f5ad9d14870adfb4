"""Images, labels and poses that are replaced where a scene lies: its row says so, or it is trained anew."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.dataparsers.scene_files import files_of_scene
from semantic_ns.jobs.processes import Processes
from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.index_page import PAGE
from semantic_ns.scene_batch.records import read_record
from semantic_ns.scene_batch.run import run_batch, write_results
from semantic_ns.scene_batch.scene import SceneTask, run_scene
from semantic_ns.scene_batch.scene_stamp import Change, find_change, read_stamp, write_stamp
from semantic_ns.scene_batch.steps import STEPS
from semantic_ns.scene_batch.table import Rows
from support.batch_steps import FakeSteps, task

SILENT = Console(quiet=True)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    room = tmp_path / "room"
    for name in ("images/0.png", "images/1.png", "labels/0.png", "transforms.json", ".hidden/notes"):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).write_text(f"content of {name}")
    return room


def folder(tmp_path: Path) -> Path:
    """The folder of the results of the room."""
    return tmp_path / "out/scenes/room"


def changed(tmp_path: Path, room: Path) -> Change | None:
    return find_change(folder(tmp_path), room)


def later(path: Path) -> None:
    """Give a file a time after its own."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def replace_content(path: Path) -> None:
    path.write_text(path.read_text()[::-1])
    later(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "labels of other size": (lambda room: (room / "labels/0.png").write_text("other"), "labels"),
    "labels of the same size": (lambda room: replace_content(room / "labels/0.png"), "labels"),
    "poses": (lambda room: (room / "transforms.json").write_text("{}"), "transforms.json"),
    "an image more": (lambda room: (room / "images/2.png").touch(), "images"),
    "an image less": (lambda room: (room / "images/1.png").unlink(), "images"),
    "an image of another name": (lambda room: (room / "images/1.png").rename(room / "images/7.png"), "images"),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda room: None,
    "times alone, as of a copy": lambda room: later(room / "labels/0.png"),
    "a new folder, as of smaller images": lambda room: shutil.copytree(room / "images", room / "images_2"),
    "a new file beside the folders": lambda room: (room / "points.ply").touch(),
    "a hidden file": lambda room: (room / "images/.DS_Store").touch(),
    "images that are removed after training": lambda room: shutil.rmtree(room / "images"),
    "a scene that is gone": shutil.rmtree,
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_that_are_replaced_are_found_and_their_folder_is_named(name: str, room: Path, tmp_path: Path) -> None:
    write_stamp(folder(tmp_path), room)
    change, what = CHANGES[name]
    change(room)
    found = changed(tmp_path, room)
    assert found is not None
    assert found.what == what
    assert f"that it was trained on: {what} changed;" in found.sentence()


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_does_not_change_a_training_is_no_change(name: str, room: Path, tmp_path: Path) -> None:
    write_stamp(folder(tmp_path), room)
    NO_CHANGES[name](room)
    assert changed(tmp_path, room) is None


def test_contents_that_were_compared_are_not_read_again(room: Path, tmp_path: Path) -> None:
    write_stamp(folder(tmp_path), room)
    later(room / "labels/0.png")
    before = read_stamp(folder(tmp_path))
    assert changed(tmp_path, room) is None
    after = read_stamp(folder(tmp_path))
    assert before != after
    write_stamp(folder(tmp_path), room)
    assert read_stamp(folder(tmp_path)) == after


def test_contents_that_are_others_are_not_read_again_until_they_are_touched(room: Path, tmp_path: Path) -> None:
    write_stamp(folder(tmp_path), room)
    label = room / "labels/0.png"
    former = label.read_text()
    replace_content(label)
    first, time = changed(tmp_path, room), label.stat().st_mtime_ns
    label.write_text(former)
    os.utime(label, ns=(0, time))  # whoever reads it again finds the former content
    assert changed(tmp_path, room) == first
    assert first is not None
    later(label)
    assert changed(tmp_path, room) is None


def test_results_that_lie_beside_the_file_of_a_scene_are_no_files_of_it(room: Path) -> None:
    for output in (room / "out", room):
        results = output / "scenes/room"
        (results / "steps").mkdir(parents=True)
        (results / "steps/doctor.json").write_text("open")
        write_stamp(results, room / "transforms.json")
        (results / "steps/doctor.json").write_text("it is done")
        assert find_change(results, room / "transforms.json") is None


def test_a_folder_whose_name_is_no_text_is_named_in_a_sentence_that_can_be_printed(room: Path, tmp_path: Path) -> None:
    (room / os.fsdecode(b"caf\xe9")).mkdir()
    path = room / os.fsdecode(b"caf\xe9") / "0.png"
    path.write_text("0")
    write_stamp(folder(tmp_path), room)
    path.write_text("other")
    found = changed(tmp_path, room)
    assert found is not None
    assert rb"trained on: caf\xe9 changed" in found.sentence().encode()


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"labels/": 3}', '{"labels/": {"status": "x"}}'])
def test_where_nothing_is_known_of_the_former_files_nothing_is_said(
    content: str | None, room: Path, tmp_path: Path
) -> None:
    write_stamp(folder(tmp_path), room)
    (path,) = (folder(tmp_path) / "steps").iterdir()
    path.unlink() if content is None else path.write_text(content)
    assert changed(tmp_path, room) is None


def test_folders_behind_links_belong_to_a_scene_and_circles_of_links_end(room: Path, tmp_path: Path) -> None:
    shutil.move(room / "labels", tmp_path / "far")
    (room / "labels").symlink_to(tmp_path / "far")
    (tmp_path / "far/up").symlink_to(room)
    (room / "gone").symlink_to(tmp_path / "nowhere")
    assert [path for path, _ in files_of_scene(room)] == [
        "images/0.png", "images/1.png", "labels/0.png", "transforms.json",
    ]  # fmt: skip
    assert list(files_of_scene(room / "transforms.json")) == list(files_of_scene(room))


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def looked_at(one: SceneTask) -> SceneTask:
    return replace(one, change=find_change(one.folder, one.data))


def batch(one: SceneTask, steps: FakeSteps) -> Rows:
    return run_batch([looked_at(one)], LocalBackend(1, steps), SILENT)


def test_the_row_of_a_scene_whose_labels_were_replaced_says_so_and_nothing_is_trained(
    room: Path, tmp_path: Path
) -> None:
    one, steps = task(tmp_path), FakeSteps(tmp_path)
    assert batch(one, steps)[0].reason == ""
    replace_content(room / "labels/0.png")
    for rows in (batch(one, steps), batch(one, steps)):
        assert (rows[0].status, rows[0].scores["miou_present"]) == ("done", 0.5)
        assert rows[0].reason == (
            "Its files are not those that it was trained on: labels changed; --changed-scenes train trains it anew."
        )
    assert len(steps.started()) == 3
    summary = write_results(tmp_path, batch(one, steps))
    assert summary.remark() == (
        "1 scene has other files now than in training, as the rows say; their models are of the former."
    )
    assert "labels changed" in (tmp_path / PAGE).read_text()


def test_a_scene_whose_labels_were_replaced_is_trained_anew_once_where_that_is_wanted(
    room: Path, tmp_path: Path
) -> None:
    one, steps = task(tmp_path, changed_scenes="train"), FakeSteps(tmp_path)
    (one.config.parent).mkdir(parents=True)
    batch(one, steps)
    (one.config.parent / "former").touch()
    replace_content(room / "labels/0.png")
    for _ in range(2):
        (row,) = batch(one, steps)
        assert (row.status, row.reason) == ("done", "")
    assert steps.started() == [f"room {step}" for step in (*one.steps, *one.steps)]
    assert not (one.config.parent / "former").exists()
    assert read_record(one.folder, "train").attempts == 2


def test_a_scene_that_is_to_be_trained_anew_keeps_its_row_until_then(room: Path, tmp_path: Path) -> None:
    one, steps = task(tmp_path, changed_scenes="train"), FakeSteps(tmp_path)
    batch(one, steps)
    replace_content(room / "labels/0.png")
    (row,) = Rows([looked_at(one)], {})
    assert (row.status, row.scores["miou_present"]) == ("done", 0.5)
    assert "labels changed" in row.reason
    assert {record.state for record in looked_at(one).records()} == {"open"}


def test_a_training_that_goes_on_is_of_the_files_that_it_was_begun_on(room: Path, tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train",))
    checkpoint = one.config.parent / "nerfstudio_models/step-000000009.ckpt"
    begin = (
        "from pathlib import Path; import sys\n"
        f"path = Path({str(checkpoint)!r}); path.parent.mkdir(parents=True)\n"
        f"path.write_bytes({b'PK' + bytes([5, 6]) + bytes(18)!r})\n"
        f"Path({str(one.config.parent / 'resume.yml')!r}).write_text('max_num_iterations: 90'); sys.exit(3)"
    )
    run_scene(one, Processes(), command_of=FakeSteps(tmp_path, {("room", "train"): begin}))
    replace_content(room / "labels/0.png")
    (row,) = batch(one, FakeSteps(tmp_path))
    assert row.status == "done"
    assert "labels changed" in row.reason


def test_nobody_looks_at_the_files_of_a_scene_where_that_is_not_wanted(room: Path, tmp_path: Path) -> None:
    one = task(tmp_path, changed_scenes="ignore")
    batch(one, FakeSteps(tmp_path))
    assert read_stamp(one.folder) == ""
    assert all(read_record(one.folder, step).state == "done" for step in STEPS[:3])


def test_a_training_of_which_nothing_is_noted_is_not_compared_with_the_files_of_one_that_failed(
    room: Path, tmp_path: Path
) -> None:
    one = task(tmp_path, steps=("train",))
    batch(one, FakeSteps(tmp_path, {("room", "train"): "raise SystemExit(3)"}))
    replace_content(room / "labels/0.png")
    run_scene(replace(one, changed_scenes="ignore"), Processes(), command_of=FakeSteps(tmp_path))
    (row,) = batch(one, FakeSteps(tmp_path))
    assert (row.status, row.reason) == ("done", "")


def test_a_call_without_training_leaves_the_model_of_other_files_where_it_is(room: Path, tmp_path: Path) -> None:
    one, steps = task(tmp_path), FakeSteps(tmp_path)
    batch(one, steps)
    one.config.parent.mkdir(parents=True)
    replace_content(room / "labels/0.png")
    (row,) = batch(replace(one, steps=("doctor",), earlier_steps=STEPS[:3], changed_scenes="train"), steps)
    assert one.config.parent.exists()
    assert len(steps.started()) == 3
    assert "labels changed" in row.reason


def test_a_run_behind_a_link_is_not_taken_for_one_that_was_trained_anew(room: Path, tmp_path: Path) -> None:
    one, steps = task(tmp_path, changed_scenes="train"), FakeSteps(tmp_path)
    batch(one, steps)
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk/model").touch()
    one.config.parent.parent.mkdir(parents=True)
    one.config.parent.symlink_to(tmp_path / "large disk")
    replace_content(room / "labels/0.png")
    (row,) = batch(one, steps)
    assert (row.status, row.reason) == ("done", "")
    assert not one.config.parent.exists()
    assert (tmp_path / "large disk/model").exists()
