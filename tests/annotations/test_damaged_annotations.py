"""Damaged files of every format give one sentence or a right result, in bounded memory and without writing anything."""

import base64
import random
import resource
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import support.tool_files as files
from semantic_ns.annotations import archive
from semantic_ns.io import text
from support.annotation_samples import SAMPLES, coco, label_images, outcome
from support.damage import change_bytes, damage
from support.hostile_files import huge_array, huge_png
from support.tool_files import HEIGHT, IMAGE, POLYGON, WIDTH, write

NUM_MUTATIONS = 52
MIB = 2**20
MEMORY_LIMIT = 400 * MIB
SIZE = (WIDTH, HEIGHT)


@pytest.fixture
def color(tmp_path: Path) -> Path:
    path = tmp_path / "color.png"
    Image.new("RGB", SIZE).save(path)
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_gives_a_sentence_or_a_right_result(tmp_path: Path, color: Path, name: str) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    SAMPLES[name](sample)
    assert outcome(sample, color) == "right"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for seed in range(NUM_MUTATIONS):
        folder = tmp_path / "in"
        shutil.copytree(sample, folder)
        damage(folder, random.Random(f"{name} {seed}"))
        kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        outcomes.append(outcome(folder, color))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept
        shutil.rmtree(folder)
    assert sum(found != "right" for found in outcomes) > NUM_MUTATIONS // 8
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_LIMIT


def bomb_of_zeros(folder: Path) -> Path:
    """300 MiB of zeros in an archive of 300 kB."""
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.json", "w") as member:
        for _ in range(300):
            member.write(bytes(MIB))
    return path


def bomb_that_lies(folder: Path) -> Path:
    """The archive says that a file has 10 bytes, and it has a million."""
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"[" * MIB)
    content = path.read_bytes().replace(struct.pack("<I", MIB), struct.pack("<I", 10))
    path.write_bytes(content)
    return path


def bomb_of_entities(folder: Path) -> Path:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    return write(folder / "a.xml", f'<!DOCTYPE x [<!ENTITY a0 "x">{entities}]><annotations>&a9;</annotations>')


def bomb_of_references(folder: Path) -> Path:
    lists = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    return files.write_yolo(folder, f"a0: &a0 [x]\n{lists}names: *a11\n")


def packed_bitmap_of_zeros(folder: Path) -> Path:
    record = files.supervisely_bitmap("L")
    record["bitmap"]["data"] = base64.b64encode(zlib.compress(bytes(200 * MIB))).decode()
    return files.write_supervisely(folder, record)


def with_image(data: bytes) -> files.Make:
    def make(folder: Path) -> Path:
        label_images(folder)
        (folder / IMAGE).write_bytes(data)
        return folder

    return make


def coco_of(**changes: Any) -> files.Make:
    return lambda folder: write(folder / "a.json", files.coco([POLYGON], **changes))


def panoptic_file(name: str) -> files.Make:
    def make(folder: Path) -> Path:
        files.write_panoptic(folder)
        path = folder / "annotations" / "panoptic_default.json"
        path.write_text(
            path.read_text().replace(f'"file_name": "{IMAGE}", "segments', f'"file_name": "{name}", "segments')
        )
        return folder

    return make


def big_image(width: int, height: int) -> list[dict[str, Any]]:
    return [{"id": 1, "file_name": IMAGE, "width": width, "height": height}]


def label_studio_bytes(*codes: int) -> files.Make:
    region = files.label_studio_region("brushlabels", format="rle", rle=list(codes), brushlabels=["lamp"])
    return lambda folder: write(folder / "a.json", files.label_studio(region))


ATTACKS: dict[str, tuple[files.Make, str]] = {
    "a picture that announces 16 gigapixels": (with_image(huge_png(2**17, 2**17)), "cannot be read"),
    "a picture that announces 150 megapixels": (with_image(huge_png(15_000, 10_000)), "at most 134217728 pixels"),
    "an array that announces 75 GiB": (huge_array, "complete array"),
    "an archive of zeros": (bomb_of_zeros, "usual density"),
    "an archive that lies about its size": (bomb_that_lies, "found"),
    "entities of XML": (bomb_of_entities, "EntitiesForbidden"),
    "references of YAML": (bomb_of_references, "references"),
    "a bitmap of zeros": (packed_bitmap_of_zeros, "packed PNG"),
    "an image of many pixels": (coco_of(images=big_image(10**6, 10**6)), "at most 134217728 pixels"),
    "an image of a negative size": (coco_of(images=big_image(-48, 36)), "above 0"),
    "run lengths of many pixels": (
        coco_of(
            images=[{"id": 1, "file_name": IMAGE}],
            annotations=[
                {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [10**5, 10**5], "counts": [10**10]}}
            ],
        ),
        "at most 134217728 pixels",
    ),
    "a brush that announces 4 GiB": (label_studio_bytes(255, 255, 255, 255, 1, 2, 3, 4, 5), "4294967295 values"),
    "a panoptic picture above the folder": (panoptic_file("../../secret.png"), "inside the annotations' folder"),
    "a panoptic picture at a path": (panoptic_file("/etc/hostname.png"), "inside the annotations' folder"),
    "lists in lists": (lambda folder: write(folder / "a.json", "[" * 100_000), "nested too deeply"),
    "a number of many digits": (lambda folder: write(folder / "a.json", "[" + "9" * 10_000 + "]"), "too long"),
    "elements in elements": (
        lambda folder: write(folder / "a.xml", "<annotations>" + "<image>" * 50_000),
        "mistake at line 1",
    ),
    "a video of many frames": (
        lambda folder: write(
            folder / "a.xml", '<annotations><track label="x"><box frame="99999999999"/></track></annotations>'
        ),
        "frames 0..99999",
    ),
    "lists in lists of YAML": (lambda folder: files.write_yolo(folder, "names: " + "[" * 100_000), "nested too deeply"),
    "a number of the class that is huge": (
        lambda folder: files.write_yolo(folder, "names: {99999999999999999999: chair}\n"),
        "1..10000 classes",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_small_files_that_would_grow_are_refused_in_little_memory(tmp_path: Path, color: Path, name: str) -> None:
    make, says = ATTACKS[name]
    folder = tmp_path / "in"
    folder.mkdir()
    labels = make(folder)
    is_traced = not tracemalloc.is_tracing()
    if is_traced:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        message = outcome(labels, color)
        assert tracemalloc.get_traced_memory()[1] - before < 80 * MIB
    finally:
        if is_traced:
            tracemalloc.stop()
    assert says in message


def test_texts_and_archives_above_their_limits_are_refused(
    tmp_path: Path, color: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    coco(sample)
    packed = Path(shutil.make_archive(str(tmp_path / "export"), "zip", sample))
    monkeypatch.setattr(archive, "MAX_FILES", 0)
    assert "at most 0 files" in outcome(packed, color)
    monkeypatch.undo()
    assert outcome(packed, color) == "right"
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 100)
    assert "split the file" in outcome(sample, color)


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_a_damaged_archive_gives_a_sentence_or_a_right_result(tmp_path: Path, color: Path, name: str) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    SAMPLES[name](sample)
    packed = Path(shutil.make_archive(str(tmp_path / "export"), "zip", sample))
    sound = packed.read_bytes()
    assert outcome(packed, color) == "right"
    outcomes = []
    for seed in range(20):
        packed.write_bytes(change_bytes(sound, random.Random(seed)))
        before = sorted(tmp_path.rglob("*"))
        outcomes.append(outcome(packed, color))
        assert sorted(tmp_path.rglob("*")) == before
    assert sum(found != "right" for found in outcomes) > 5
