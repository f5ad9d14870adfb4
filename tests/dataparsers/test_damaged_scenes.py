"""Damaged scenes of every format give one sentence or a right result, in bounded memory, and nothing is written."""

import random
import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from semantic_ns.io import images, text
from support.damage import damage
from support.hand_made_scene import rewrite
from support.hostile_files import huge_array, huge_png
from support.scene_samples import SAMPLES, outcome

NUM_MUTATIONS = 8
SHARE_OF_TEXTS = 0.6
MIB = 2**20
MEMORY_LIMIT = 500 * MIB


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_scene_gives_a_sentence_or_a_right_result(name: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    data = SAMPLES[name](sample).relative_to(sample)
    shutil.copytree(sample, tmp_path / "in")
    assert outcome(tmp_path / "in" / data) == "right"
    shutil.rmtree(tmp_path / "in")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for seed in range(NUM_MUTATIONS):
        folder = tmp_path / "in"
        shutil.copytree(sample, folder)
        damage(folder, random.Random(f"{name} {seed}"), SHARE_OF_TEXTS)
        kept = files_in(tmp_path)
        outcomes.append(outcome(folder / data))
        new = {path: content for path, content in files_in(tmp_path).items() if kept.get(path) != content}
        assert all("sens" in path.relative_to(folder / data).parts[0] for path in new)  # frames of a .sens file
        shutil.rmtree(folder)
    assert sum(found != "right" for found in outcomes) > NUM_MUTATIONS // 8
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_LIMIT


def with_file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda scene: (scene / name).write_bytes(content)


def with_array(name: str) -> Callable[[Path], object]:
    """An array that announces 75 GiB in place of a depth image or label image of frame 1."""

    def apply(scene: Path) -> None:
        huge_array(scene)
        array = (scene / "frame_00001.npy").read_bytes()
        key, target = ("depth_file_path", "depth") if name == "depth" else ("semantics_path", "semantics")
        (scene / target / "huge.npy").write_bytes(array)
        (scene / "frame_00001.npy").unlink()
        (scene / "classes.txt").unlink()
        rewrite(scene, lambda content: content["frames"][1].update({key: f"{target}/huge.npy"}))

    return apply


def huge_hdf5(scene: Path) -> None:
    """An array of 8 TB, of which nothing is stored."""
    path = next(scene.rglob("frame.0001.color.hdf5"))
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", (10**6, 10**6, 3), np.float16, chunks=(100, 100, 3), fillvalue=1)


def packed_depth_of_zeros(scene: Path) -> None:
    """The depth of the first frame of a `.sens` file unpacks to 64 MiB; its length stands before it."""
    (path,) = scene.glob("*.sens")
    content = path.read_bytes()
    start = content.index(b"\x78", 600)
    while True:
        try:
            packer = zlib.decompressobj()
            packer.decompress(content[start:])
            break
        except zlib.error:
            start = content.index(b"\x78", start + 1)
    length = len(content) - start - len(packer.unused_data)
    bomb = zlib.compress(bytes(64 * MIB))
    at = content.index(struct.pack("<Q", length))
    path.write_bytes(content[:at] + struct.pack("<Q", len(bomb)) + content[at + 8 : start] + bomb + packer.unused_data)


def json_of(content: str) -> Callable[[Path], object]:
    return lambda scene: (scene / "transforms.json").write_text(content)


ATTACKS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an image that announces 16 gigapixels": (
        "transforms", with_file("images/frame_1.png", huge_png(2**17, 2**17)), "cannot be read"
    ),
    "an image that announces 150 megapixels": (
        "transforms", with_file("images/frame_1.png", huge_png(15_000, 10_000)), "at most 134217728 pixels"
    ),
    "a label image that announces 150 megapixels": (
        "transforms", with_file("semantics/frame_1.png", huge_png(15_000, 10_000)), "at most 134217728 pixels"
    ),
    "a depth image that announces 150 megapixels": (
        "transforms", with_file("depth/1.png", huge_png(15_000, 10_000)), "at most 134217728 pixels"
    ),
    "a mask that announces 150 megapixels": (
        "transforms", with_file("masks/1.png", huge_png(15_000, 10_000)), "at most 134217728 pixels"
    ),
    "labels in an array that announces 75 GiB": ("transforms", with_array("labels"), "complete label image"),
    "depth in an array that announces 75 GiB": ("transforms", with_array("depth"), "complete depth image"),
    "HDF5 that announces 6 TB": ("hypersim", huge_hdf5, "at most 268435456 numbers"),
    "packed depth of zeros": ("sens", packed_depth_of_zeros, "found"),
    "lists in lists": ("transforms", json_of("[" * 100_000), "nested too deeply"),
    "a number of many digits": ("transforms", json_of('{"frames": [' + "9" * 10_000 + "]}"), "too long"),
    "a name of a million letters": (
        "transforms",
        lambda scene: rewrite(scene, lambda content: content["frames"][1].update(file_path="x" * 10**6)),
        "at most 4096 letters as file_path of frame number 1 of",
    ),
    "images of a COLMAP model without an end": (
        "colmap binary", with_file("sparse/0/images.bin", struct.pack("<Q", 2**62)), "COLMAP"
    ),
    "points of a COLMAP model without an end": (
        "colmap binary", with_file("sparse/0/points3D.bin", struct.pack("<QQ", 2**62, 1)), "COLMAP"
    ),
    "a camera beyond what numbers can hold": (
        "transforms",
        lambda scene: rewrite(scene, lambda content: content["frames"][1]["transform_matrix"][0].__setitem__(3, 1e40)),
        "a position within 1e+12 of the origin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_small_scenes_that_would_grow_are_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    sample, attack, says = ATTACKS[name]
    scene = SAMPLES[sample](tmp_path)
    attack(scene)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = outcome(scene)
    assert says in message
    assert len(message) < 1000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 150 * MIB


@pytest.mark.parametrize("key", ["semantics_path", "depth_file_path", "mask_path"])
@pytest.mark.parametrize("value", [True, 3.5, ["a"], {"a": 1}])
def test_a_path_that_is_no_text_is_refused(key: str, value: object, tmp_path: Path) -> None:
    scene = SAMPLES["transforms"](tmp_path)
    rewrite(scene, lambda content: content["frames"][1].update({key: value}))
    assert f"as {key} of frame number 1 of" in outcome(scene)


def test_a_path_of_points_that_is_no_text_is_refused(tmp_path: Path) -> None:
    scene = SAMPLES["transforms"](tmp_path)
    rewrite(scene, lambda content: content.update(ply_file_path=[1]))
    assert "as ply_file_path of" in outcome(scene)


def test_sizes_above_their_limits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SAMPLES["transforms"](tmp_path)
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 16 - 1)
    assert "at most 383 pixels" in outcome(scene)
    monkeypatch.undo()
    assert outcome(scene) == "right"
    monkeypatch.setattr(text, "MAX_TEXT_BYTES", 100)
    assert "split the file" in outcome(scene)
