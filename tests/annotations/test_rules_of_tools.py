"""What is not a clear region of a clear class follows a rule, and the user is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import support.tool_files as files
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.errors import SceneError
from support.tool_files import BOTTOM, CORNERS, HEIGHT, IMAGE, LEFT, POLYGON, RIGHT, TOP, WIDTH, write
from support.tool_samples import (
    coco,
    labelme,
    names_of_pixels,
    voc,
)


def category(number: Any, name: str, parent: str = "") -> dict[str, Any]:
    return {"id": number, "name": name, "supercategory": parent}


CATEGORIES: dict[str, tuple[list[dict[str, Any]], list[tuple[int, str]]]] = {
    "the root of roboflow": ([category(0, "room", "none"), category(1, "chair", "room")], [(1, "chair")]),
    "a root of the same name": ([category(0, "chair", "none"), category(1, "chair", "chair")], [(1, "chair")]),
    "another case without annotations": ([category(1, "chair"), category(2, "Chair")], [(1, "chair")]),
    "ids as texts": ([category("1", "chair"), category("4", "lamp")], [(1, "chair"), (4, "lamp")]),
    "an id above 16 bits": ([category(1, "chair"), category(70000, "lamp")], [(1, "chair"), (2, "lamp")]),
    "an id that is a word": ([category(1, "chair"), category("x", "lamp")], [(1, "chair"), (2, "lamp")]),
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories_are_classes_of_their_ids(tmp_path: Path, name: str) -> None:
    categories, expected = CATEGORIES[name]
    annotations = read_annotations(coco([POLYGON], categories=categories)(tmp_path))
    assert [(entry.id, entry.name) for entry in annotations.table.entries] == expected
    np.testing.assert_array_equal(names_of_pixels(annotations)[IMAGE] == "chair", files.chair())


def test_two_classes_with_annotations_that_differ_in_case_are_left_to_the_user(tmp_path: Path) -> None:
    content = files.coco([POLYGON], categories=[category(1, "chair"), category(2, "Chair")])
    content["annotations"].append({**content["annotations"][0], "category_id": 2})
    with pytest.raises(SceneError, match="'chair' for id 1 and 'Chair' for id 2, which differ in case; rename one"):
        read_annotations(write(tmp_path / "a.json", content))


def test_coco_files_of_one_folder_are_one(tmp_path: Path) -> None:
    """The categories have other ids in the second file, which holds an image of the first one as well."""
    write(tmp_path / "train" / "_annotations.coco.json", files.coco([POLYGON]))
    other = files.coco([[0, 30, 48, 30, 48, 36, 0, 36]], categories=[category(1, "lamp"), category(2, "chair")])
    other["images"].append({"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT})
    other["annotations"].append({**other["annotations"][0], "image_id": 2, "category_id": 2})
    write(tmp_path / "valid" / "_annotations.coco.json", other)
    annotations = read_annotations(tmp_path)
    pixels = names_of_pixels(annotations)
    assert list(pixels) == [IMAGE, "b.png"]
    np.testing.assert_array_equal(pixels[IMAGE] == "chair", files.chair())
    assert (pixels[IMAGE][30:] == "lamp").all()
    assert (pixels["b.png"][30:] == "chair").all()
    assert [(entry.id, entry.name) for entry in annotations.table.entries] == [(1, "chair"), (2, "lamp")]


def test_files_of_other_kinds_are_left_out_and_counted(tmp_path: Path) -> None:
    labelme(files.labelme_shape(CORNERS))(tmp_path)
    write(tmp_path / "settings.json", {"theme": "dark"})
    write(tmp_path / "list.json", [1, 2])
    annotations = read_annotations(tmp_path)
    np.testing.assert_array_equal(names_of_pixels(annotations)[IMAGE] == "chair", files.chair())
    assert annotations.notes.lines() == ("2 JSON files are not of the format labelme and were left out",)


def test_names_that_mean_void_are_void_and_told(tmp_path: Path) -> None:
    shapes = [files.labelme_shape(CORNERS), files.labelme_shape([[0, 30], [48, 36]], "rectangle", "Unlabeled")]
    annotations = read_annotations(labelme(*shapes)(tmp_path))
    assert (names_of_pixels(annotations)[IMAGE][30:] == "void").all()
    assert annotations.taxonomy.names == ("chair",)
    assert annotations.notes.lines() == ("the class 'Unlabeled' means void",)


def test_labels_of_labelme_that_differ_in_case_are_one_class_and_told(tmp_path: Path) -> None:
    other = files.labelme_shape([[0, 30], [48, 36]], "rectangle", "Chair")
    annotations = read_annotations(labelme(files.labelme_shape(CORNERS), other)(tmp_path))
    assert (names_of_pixels(annotations)[IMAGE] == "chair").sum() == files.chair().sum() + 6 * 48
    assert annotations.notes.lines() == ("the names chair, Chair differ in case alone and are one class",)


def test_the_users_background_is_a_class_and_the_tools_is_not(tmp_path: Path) -> None:
    label_map = "Background:0,215,255::\nchair:9,9,99::\nbackground:0,0,0::\n"
    annotations = read_annotations(voc(label_map, (0, 215, 255), (0, 0, 0))(tmp_path / "a"))
    pixels = names_of_pixels(annotations)[IMAGE]
    np.testing.assert_array_equal(pixels == "Background", files.chair())
    assert (pixels[~files.chair()] == "-").all()
    assert annotations.taxonomy.names == ("Background", "chair")
    assert "'Background' has the colour (0, 215, 255), and so is a class" in annotations.notes.lines()[0]


def test_unequal_colours_at_edges_get_the_nearest_class_or_are_void(tmp_path: Path) -> None:
    folder = voc("chair:200,0,0::\nlamp:0,0,200::\nbackground:0,0,0::\n", (200, 0, 0), (0, 0, 200))(tmp_path / "a")
    path = folder / "SegmentationClass" / IMAGE
    picture = np.array(Image.open(path))
    picture[TOP, LEFT:RIGHT] = (185, 10, 15)  # 23 from the chair
    picture[BOTTOM - 1, LEFT:RIGHT] = (100, 0, 100)  # 141 from both
    Image.fromarray(picture).save(path)
    annotations = read_annotations(folder)
    pixels = names_of_pixels(annotations)[IMAGE]
    assert (pixels[TOP : BOTTOM - 1, LEFT:RIGHT] == "chair").all()
    assert (pixels[BOTTOM - 1, LEFT:RIGHT] == "void").all()
    assert (pixels[~files.chair()] == "lamp").all()
    assert annotations.notes.lines() == (
        "24 pixels at edges of masks have the class of the nearest colour of the map",
        "24 pixels at edges of masks have no such colour and are void",
    )


def test_names_in_a_label_map_may_hold_colons_and_hashes(tmp_path: Path) -> None:
    folder = voc("# label:color_rgb:parts:actions\nseat: chair #2:9,9,99::\n", (9, 9, 99), (0, 0, 0))(tmp_path / "a")
    annotations = read_annotations(folder)
    assert annotations.taxonomy.names == ("seat: chair #2",)
    np.testing.assert_array_equal(names_of_pixels(annotations)[IMAGE] == "seat: chair #2", files.chair())


def test_masks_in_jpeg_are_refused_since_they_blend_classes(tmp_path: Path) -> None:
    folder = voc("chair:9,9,99::\n", (9, 9, 99), (0, 0, 0))(tmp_path / "a")
    path = folder / "SegmentationClass" / IMAGE
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    with pytest.raises(SceneError, match="JPEG blends the classes"):
        read_annotations(folder)


def test_bounding_boxes_of_yolo_label_nothing_and_are_counted(tmp_path: Path) -> None:
    folder = files.write_yolo(tmp_path)
    path = folder / "train" / "labels" / "frame_00001.txt"
    path.write_text(path.read_text() + "0 0.5 0.5 1.0 1.0\n")
    annotations = read_annotations(folder)
    np.testing.assert_array_equal(names_of_pixels(annotations)["frame_00001.png"] == "chair", files.chair())
    assert annotations.notes.lines() == ("1 bounding boxes without an outline label nothing",)
