"""Writing files."""

import json
import os
from pathlib import Path

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error, write_json


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
