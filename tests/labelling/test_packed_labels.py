"""Labels that a session begins with, of which only one image at a time takes the room of its pixels."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_json
from semantic_ns.labelling import opening
from semantic_ns.labelling.import_files import read_import
from semantic_ns.labelling.imports import FOLDER, ImportedLabels, kept_import
from semantic_ns.labelling.packed_labels import PackedLabels
from semantic_ns.labelling.spreading import Beneath, Spreader
from semantic_ns.labelling.surface import FrameInfo, LabelSurface
from support.label_actions import LAMP, WALL
from support.label_surfaces import CLASSES, HEIGHT, WIDTH, make_label_surface, truth

TIMES, NUM_FRAMES = 20, 30
"""How much larger the frames are than their maps, and how many they are."""


@pytest.fixture
def random_ids() -> np.ndarray:
    return np.random.default_rng(0).choice([-1, WALL, LAMP], (5, 7, 9)).astype(np.int16)


def test_images_come_back_as_they_were(random_ids: np.ndarray) -> None:
    packed = PackedLabels.of(iter(random_ids), 7, 9)
    assert packed.shape == random_ids.shape
    np.testing.assert_array_equal(np.stack(list(packed)), random_ids)


def test_kept_labels_and_their_check_sum_are_those_of_the_array_of_all_images(
    random_ids: np.ndarray, tmp_path: Path
) -> None:
    """So that sessions of before find theirs."""
    imported = ImportedLabels.of("predicted", random_ids, CLASSES)
    content = json.dumps([random_ids.shape, [[entry.id, entry.name] for entry in CLASSES]])
    assert imported.checksum == hashlib.sha256(content.encode() + random_ids.astype("<i2").tobytes()).hexdigest()
    imported.keep(tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    with np.load(path) as arrays:
        header = arrays["header"]
        np.testing.assert_array_equal(arrays["ids"], random_ids)
    with path.open("wb") as file:
        np.savez_compressed(file, header=header, ids=random_ids)
    found = kept_import(tmp_path, imported.checksum)
    assert (found.name, found.classes) == ("predicted", CLASSES)
    np.testing.assert_array_equal(found.ids, random_ids)


def _other_array(path: Path, array: np.ndarray) -> None:
    with np.load(path) as arrays:
        header = arrays["header"]
    np.savez_compressed(path, header=header, ids=array)


def _with_array_of(path: Path, shape: tuple[int, ...]) -> None:
    """The header of an array of another size before the same content."""
    with np.load(path) as arrays:
        header, ids = arrays["header"], arrays["ids"]
    np.savez(path, header=header)
    with ZipFile(path, "a", ZIP_DEFLATED) as archive, archive.open("ids.npy", "w") as file:
        described: Any = {"descr": "<i2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, described)
        file.write(ids.tobytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"ids.npy", b"xyz.npy")),
        lambda path: _other_array(path, np.zeros((5, 7, 9), np.int64)),
        lambda path: _other_array(path, np.zeros((5, 7), np.int16)),
        lambda path: _other_array(path, np.zeros((9, 7, 5), np.int16).T),
        lambda path: _with_array_of(path, (4, 7, 9)),
        lambda path: _with_array_of(path, (10**6, 10**6, 10**6)),
        lambda path: _with_array_of(path, (0, 7, 9)),
    ],
)
def test_kept_labels_that_are_damaged_are_refused(
    random_ids: np.ndarray, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    imported = ImportedLabels.of("predicted", random_ids, CLASSES)
    imported.keep(tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    damage(path)
    with pytest.raises(SceneError, match="put a copy back"):
        kept_import(tmp_path, imported.checksum)


@pytest.fixture
def large(tmp_path: Path) -> LabelSurface:
    """A surface whose frames are larger than their maps."""
    small = make_label_surface(tmp_path / "scene", NUM_FRAMES)
    frames = [FrameInfo(info.name, HEIGHT * TIMES, WIDTH * TIMES, info.image) for info in small.frames]
    return replace(small, stride=TIMES, frames=tuple(frames))


def test_an_import_takes_the_room_of_few_images(large: LabelSurface, tmp_path: Path) -> None:
    folder = tmp_path / "predicted"
    folder.mkdir()
    for info, colors in zip(large.frames, truth(NUM_FRAMES), strict=True):
        labels = np.where(colors == 0, WALL, LAMP).astype(np.uint8)
        Image.fromarray(labels.repeat(TIMES, axis=0).repeat(TIMES, axis=1)).save(folder / f"{info.name}.png")
    write_json(folder / "classes.json", {"void_id": 255, "classes": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]})
    size = HEIGHT * WIDTH * TIMES**2 * 2
    read_import(folder, large.frames)  # what is imported and compiled the first time
    tracemalloc.start()
    try:
        imported = read_import(folder, large.frames)
        imported.keep(tmp_path)
        found = kept_import(tmp_path, imported.checksum)
        found.anchors(large, 0.1)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * NUM_FRAMES * size  # a quarter of it are 8 bytes for each of two images
    assert kept < 0.1 * NUM_FRAMES * size


def test_anchors_of_large_frames_are_those_of_the_middle_pixels(large: LabelSurface) -> None:
    labels = np.where(truth(NUM_FRAMES) == 0, WALL, LAMP).astype(np.int16)
    wide = np.zeros((NUM_FRAMES, HEIGHT * TIMES, WIDTH * TIMES), np.int16)
    wide[:, TIMES // 2 :: TIMES, TIMES // 2 :: TIMES] = labels
    first = ImportedLabels.of("wide", wide, CLASSES).anchors(large, 0.1)
    second = ImportedLabels.of("small", labels, CLASSES).anchors(replace(large, stride=1), 0.1)
    np.testing.assert_array_equal(first.shares, second.shares)
    np.testing.assert_array_equal(first.weights, second.weights)


def test_too_little_memory_at_the_start_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    surface = make_label_surface(tmp_path / "scene", 2)
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("")
    monkeypatch.setattr(opening, "label_surfaces", lambda *_: [surface])
    with pytest.raises(SceneError, match=r"Expected enough memory to label 2 images .* start with fewer --voxels"):
        opening.open_session(config, tmp_path / "session", labels=SimpleNamespace(read=full))  # type: ignore[arg-type]
    monkeypatch.setattr(Spreader, "__init__", full)
    for _ in range(2):  # and its journal is free again
        with pytest.raises(SceneError, match="Expected enough memory to label 2 images"):
            opening.open_session(config, tmp_path / "session")


def test_what_lies_beneath_is_kept_packed(large: LabelSurface) -> None:
    ids = np.where(truth(NUM_FRAMES) == 0, WALL, LAMP).repeat(TIMES, axis=1).repeat(TIMES, axis=2).astype(np.int16)
    beneath = Beneath(ImportedLabels.of("predicted", ids, CLASSES), 0.1, (WALL, LAMP))
    assert sum(map(len, beneath.labels.images.packed)) < 0.05 * ids.nbytes
