"""The ids in the label images of a large scene are read once, and again where an image has changed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.dataparsers import known_label_ids, scene
from semantic_ns.dataparsers.scene import FrameFiles, LabelIds, read_label_ids
from semantic_ns.errors import SceneError

AN_HOUR_AGO_NS = 1_700_000_000_000_000_000


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_label_ids, "_WORTHWHILE_PIXELS", 1)
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A list of the label images in the order in which they are read."""
    found: list[Path] = []
    original = scene.read_label_image

    def noted(path: Path) -> np.ndarray:
        found.append(path)
        return original(path)

    monkeypatch.setattr(scene, "read_label_image", noted)
    return found


def write(path: Path, ids: list[int], changed_ns: int = AN_HOUR_AGO_NS) -> Path:
    Image.fromarray(np.array([ids, ids[::-1]], np.uint8)).save(path)
    os.utime(path, ns=(changed_ns, changed_ns))
    return path


def frames_of(*labels: Path | None) -> list[FrameFiles]:
    return [FrameFiles(Path("image.png"), label, None, "label.png") for label in labels]


@pytest.fixture
def frames(tmp_path: Path) -> list[FrameFiles]:
    return frames_of(write(tmp_path / "a.png", [1, 2, 2]), None, write(tmp_path / "b.png", [7]))


def expected(a: frozenset[int] = frozenset({1, 2})) -> LabelIds:
    return LabelIds((a, None, frozenset({7})), ((3, 2), None, (1, 2)))


@pytest.mark.usefixtures("user_cache")
def test_ids_are_read_once(frames: list[FrameFiles], read: list[Path]) -> None:
    assert read_label_ids(frames) == expected()
    assert len(read) == 2
    assert read_label_ids(frames) == expected()
    assert len(read) == 2


@pytest.mark.usefixtures("user_cache")
def test_an_image_that_has_changed_is_read_again_and_the_others_are_not(
    frames: list[FrameFiles], read: list[Path], tmp_path: Path
) -> None:
    read_label_ids(frames)
    read.clear()
    write(tmp_path / "a.png", [1, 5, 2], AN_HOUR_AGO_NS + 1)
    for _ in range(2):
        assert read_label_ids(frames) == expected(frozenset({1, 2, 5}))
        assert read == [tmp_path / "a.png"]
    write(tmp_path / "a.png", [1] * 900, AN_HOUR_AGO_NS + 1)  # another length at the same time
    assert read_label_ids(frames).ids[0] == {1}


@pytest.mark.usefixtures("user_cache")
def test_an_image_that_is_gone_is_told_although_its_ids_are_known(frames: list[FrameFiles], tmp_path: Path) -> None:
    read_label_ids(frames)
    (tmp_path / "b.png").unlink()
    with pytest.raises(SceneError, match=r"Expected a label image at .*b\.png, found none"):
        read_label_ids(frames)


@pytest.mark.usefixtures("user_cache")
def test_images_that_may_still_be_written_are_not_remembered(read: list[Path], tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", [1, 2])
    os.utime(path)  # now
    for count in (1, 2):
        read_label_ids(frames_of(path))
        assert len(read) == count


@pytest.mark.usefixtures("user_cache")
def test_scenes_with_images_of_the_same_names_do_not_meet(frames: list[FrameFiles], tmp_path: Path) -> None:
    read_label_ids(frames)
    (tmp_path / "other").mkdir()
    other = [tmp_path / "other" / name for name in ("a.png", "b.png")]
    shutil.copy2(tmp_path / "b.png", other[0])
    shutil.copy2(tmp_path / "b.png", other[1])
    assert read_label_ids(frames_of(*other)).ids == ({7}, {7})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1, "images": [[1]]}', '{"version": 0}'])
def test_a_damaged_list_is_made_anew(
    content: str, user_cache: Path, frames: list[FrameFiles], read: list[Path]
) -> None:
    read_label_ids(frames)
    (kept,) = user_cache.rglob("*.json")
    whole = kept.read_text()
    kept.write_text(content)
    assert read_label_ids(frames) == expected()
    assert len(read) == 4
    assert json.loads(kept.read_text()) == json.loads(whole)


def test_ids_of_small_scenes_are_not_kept(
    user_cache: Path, frames: list[FrameFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_label_ids, "_WORTHWHILE_PIXELS", 9)
    read_label_ids(frames)
    assert not user_cache.exists()


def test_without_a_cache_that_can_be_written_ids_are_read_each_time(
    frames: list[FrameFiles], read: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(known_label_ids, "_WORTHWHILE_PIXELS", 1)
    for count in (2, 4):
        assert read_label_ids(frames) == expected()
        assert len(read) == count
