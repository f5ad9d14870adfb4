"""COCO's panoptic files: an independent reader finds every pixel, area and id, and the labels come back."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.types import UNLABELLED
from semantic_ns.export.panoptic_files import PanopticFiles, box_of, ids_as_colors
from semantic_ns.labels.taxonomy import VOID
from support.box_views import COLORS, NAMES, TAXONOMY

THINGS = replace(TAXONOMY, is_thing=(True, True, False, False, False, False))
IMAGES = [{"id": number + 1, "file_name": f"photo_{number}.jpg", "width": 23, "height": 17} for number in range(3)]


def frame(seed: int) -> tuple[ndarray, ndarray]:
    """Ids and labels of random blocks: thing 1 and 300 are of the first class, 70000 of the second."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(-1, 6, (5, 6)), np.ones((4, 4), int))[:17, :23].astype(np.int16)
    things = np.array([1, 300])[rng.integers(0, 2, labels.shape)]
    ids = np.where(labels == 0, things, np.where(labels == 1, 70000, 0))
    return np.where(rng.random(labels.shape) < 0.1, 0, ids).astype(np.int32), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panoptic")
    files = PanopticFiles(folder / "panoptic.json", 70000, THINGS)
    for number in range(3):
        files.add(PurePosixPath(f"side/photo_{number}.png"), number + 1, *frame(number))
    files.finish(IMAGES)
    return folder


def segments_of(folder: Path) -> list[tuple[dict[str, Any], ndarray]]:
    """What an independent reader finds: each annotation and the ids of the pixels of its image."""
    content = json.loads((folder / "panoptic.json").read_text())
    found = []
    for annotation in content["annotations"]:
        with Image.open(folder / "panoptic" / annotation["file_name"]) as image:
            assert image.mode == "RGB"
            red, green, blue = np.asarray(image).astype(int).transpose(2, 0, 1)
        found.append((annotation, red + 256 * green + 256 * 256 * blue))
    return found


def test_every_segment_of_an_image_is_listed_once_with_its_pixels_class_and_box(folder: Path) -> None:
    content = json.loads((folder / "panoptic.json").read_text())
    assert content["images"] == IMAGES
    for number, (annotation, ids) in enumerate(segments_of(folder)):
        listed = annotation["segments_info"]
        assert annotation["image_id"] == number + 1
        assert sorted(item["id"] for item in listed) == sorted(set(ids[ids > 0].tolist()))
        _, labels = frame(number)
        for item in listed:
            row, column = np.nonzero(ids == item["id"])
            assert item["area"] == len(row)
            left, top, width, height = item["bbox"]
            assert (column.min(), row.min()) == (left, top)
            assert (column.max() + 1, row.max() + 1) == (left + width, top + height)
            assert {THINGS.source_ids[label] for label in labels[row, column]} == {item["category_id"]}


def test_things_keep_their_ids_and_void_is_0(folder: Path) -> None:
    for number, (_, found) in enumerate(segments_of(folder)):
        ids, labels = frame(number)
        np.testing.assert_array_equal(np.where(found <= 70000, found, 0), ids)
        np.testing.assert_array_equal(found == 0, labels == VOID)


def test_stuff_and_the_rest_of_a_class_of_things_are_a_segment_for_each_class(folder: Path) -> None:
    is_thing = dict(zip(THINGS.source_ids, THINGS.is_thing, strict=True))
    category_of: dict[int, int] = {}
    for annotation, _ in segments_of(folder):
        for item in annotation["segments_info"]:
            is_group = item["id"] > 70000
            assert item["iscrowd"] == (is_group and is_thing[item["category_id"]])
            assert is_group or is_thing[item["category_id"]]
            assert category_of.setdefault(item["id"], item["category_id"]) == item["category_id"]
    assert len({number for number in category_of if number > 70000}) == 6


def test_categories_say_what_is_a_thing_and_their_colours(folder: Path) -> None:
    content = json.loads((folder / "panoptic.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == list(NAMES)
    assert [entry["isthing"] for entry in content["categories"]] == [1, 1, 0, 0, 0, 0]
    assert [tuple(entry["color"]) for entry in content["categories"]] == list(COLORS)


def test_the_labels_come_back_to_the_pixel(folder: Path) -> None:
    annotations = read_annotations(folder)
    assert list(annotations.taxonomy.source_ids) == list(TAXONOMY.source_ids)
    for number, image in enumerate(annotations.images):
        _, labels = frame(number)
        assert image.name == f"photo_{number}.jpg"
        np.testing.assert_array_equal(image.read((23, 17)), np.where(labels == VOID, UNLABELLED, labels))


@pytest.mark.parametrize("number", [0, 255, 256, 65535, 65536, 2**24 - 1])
def test_an_id_is_the_sum_of_its_bytes(number: int) -> None:
    red, green, blue = ids_as_colors(np.array([[number]], np.int32))[0, 0].tolist()
    assert red + 256 * green + 65536 * blue == number


def test_the_box_of_a_pixel_is_the_pixel() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    assert box_of(mask) == [3, 2, 1, 1]
