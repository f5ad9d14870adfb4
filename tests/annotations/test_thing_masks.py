"""Masks of things come from COCO files whatever made them: the smallest wins, and categories do not count."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.annotations.thing_masks import read_coco_masks
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.io.writing import write_png

WIDTH, HEIGHT = 12, 8
NAMES = [f"frame_{number}.png" for number in range(3)]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"frame_{number}.png" for number in range(3)]
    for path in paths:
        write_png(path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return paths


def block(top: int, left: int, bottom: int, right: int) -> ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def written(folder: Path, annotations: list[dict[str, Any]], **further: Any) -> Path:
    images = [{"id": number, "file_name": f"photos/frame_{number}.jpg", **further} for number in range(2)]
    path = folder / "masks.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_each_pixel_has_the_smallest_of_the_masks_that_cover_it(images: list[Path], tmp_path: Path) -> None:
    masks = [block(0, 0, 8, 6), block(2, 2, 5, 5), block(1, 4, 7, 12)]
    codes = [{"image_id": 1, "segmentation": encode_coco(mask), "area": 1} for mask in masks]
    first, second, third = read_coco_masks(written(tmp_path, codes), images, NAMES)
    assert first is None
    assert third is None
    assert second is not None
    expected = np.zeros((HEIGHT, WIDTH), int)
    for number in sorted(range(3), key=lambda number: -masks[number].sum()):
        expected[masks[number]] = number + 1
    np.testing.assert_array_equal(second, expected)


def test_polygons_of_a_larger_copy_of_the_image_are_scaled(images: list[Path], tmp_path: Path) -> None:
    corners = [4, 4, 16, 4, 16, 12, 4, 12]
    path = written(tmp_path, [{"image_id": 0, "segmentation": [corners]}], width=2 * WIDTH, height=2 * HEIGHT)
    found = read_coco_masks(path, images, NAMES)[0]
    assert found is not None
    np.testing.assert_array_equal(found, block(2, 2, 6, 8))


def test_a_path_tells_frames_of_one_name_apart(tmp_path: Path) -> None:
    names = [f"{side}/frame_0.png" for side in ("left", "right")]
    for name in names:
        write_png(tmp_path / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    content = {
        "images": [{"id": 7, "file_name": "right/frame_0.png"}, {"id": 8, "file_name": "right/frame_9.png"}],
        "annotations": [{"image_id": number, "segmentation": encode_coco(block(0, 0, 2, number))} for number in (7, 8)],
    }
    (tmp_path / "masks.json").write_text(json.dumps(content))
    left, right = read_coco_masks(tmp_path / "masks.json", [tmp_path / name for name in names], names)
    assert left is None
    assert right is not None
    np.testing.assert_array_equal(right, block(0, 0, 2, 7))


def test_a_file_without_masks_or_of_other_images_is_refused(images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="annotations with a segmentation"):
        read_coco_masks(written(tmp_path, [{"image_id": 0, "bbox": [1, 1, 2, 2]}]), images, NAMES)
    others = [image.with_name(f"other{number}.png") for number, image in enumerate(images)]
    path = written(tmp_path, [{"image_id": 0, "segmentation": encode_coco(block(0, 0, 2, 2))}])
    with pytest.raises(SceneError, match="found those of"):
        read_coco_masks(path, others, NAMES)
    path = tmp_path / "wrong.json"
    path.write_text('{"images": []}')
    with pytest.raises(SceneError, match="list as annotations"):
        read_coco_masks(path, images, NAMES)
