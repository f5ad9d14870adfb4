"""Writing files."""

import json
import os
from pathlib import Path

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import (
    making_folder,
    refuse_inside,
    refuse_used_folder,
    write_errors_as_scene_error,
    write_json,
)


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.json"
    with pytest.raises(SceneError) as raised, write_errors_as_scene_error(path):
        write_json(path, {})
    assert str(raised.value).startswith(f"Expected to write to {path}, found that it cannot be written (")
    assert str(raised.value).endswith("; make room, change its rights or choose another place.")


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match="no place"), write_errors_as_scene_error(tmp_path):
        raise ValueError("no place")


def test_content_is_on_the_disk_before_a_file_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    flush, seen = os.fsync, []

    def watched(descriptor: int) -> None:
        flush(descriptor)
        seen.append((os.fstat(descriptor).st_size, json.loads(path.read_text("utf8"))))

    monkeypatch.setattr(os, "fsync", watched)
    write_json(path, {"a": 22})
    assert seen == [(path.stat().st_size, {"a": 1})]
    assert json.loads(path.read_text("utf8")) == {"a": 22}


def test_a_folder_appears_when_it_is_complete_or_not_at_all(tmp_path: Path) -> None:
    with making_folder(tmp_path / "a/out") as folder:
        (folder / "file").write_text("content")
        assert not (tmp_path / "a/out").exists()
    assert (tmp_path / "a/out/file").read_text() == "content"
    (tmp_path / "empty").mkdir()
    with making_folder(tmp_path / "empty") as folder:
        (folder / "file").touch()
    assert (tmp_path / "empty/file").exists()

    def write_half() -> None:
        with making_folder(tmp_path / "half") as folder:
            (folder / "file").touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(SceneError, match="No space left on device"):
        write_half()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_a_folder_is_made_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name, target in (("link", "far/empty"), ("dangling", "far/new")):
        (tmp_path / name).symlink_to(tmp_path / target)
    (tmp_path / "far/empty").mkdir()
    for name, target in (("link", "far/empty"), ("dangling", "far/new")):
        refuse_used_folder(tmp_path / name, "--output-dir", is_replaced=True)
        with making_folder(tmp_path / name) as folder:
            (folder / "file").touch()
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target / "file").is_file()


def test_a_folder_that_cannot_be_replaced_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SceneError, match="folder in which the command runs"):
        refuse_used_folder(Path(), "--output-dir", is_replaced=True)
    refuse_used_folder(Path(), "--output-dir")  # one that is filled in place
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(SceneError, match=r"root of a file system.*--output-dir"):
        refuse_used_folder(tmp_path / "disk", "--output-dir", is_replaced=True)


def test_a_folder_inside_the_input_is_refused(tmp_path: Path) -> None:
    refuse_inside(tmp_path / "out", [tmp_path / "scene"], "--output-dir")
    with pytest.raises(SceneError, match="outside the scene"):
        refuse_inside(tmp_path / "scene/../scene/out", [tmp_path / "scene"], "--output-dir")
