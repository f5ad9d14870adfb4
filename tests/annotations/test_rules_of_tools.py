"""What is not a clear region of a clear class follows a rule, and the user is told."""

import json
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
    cvat,
    label_studio,
    labelbox,
    labelme,
    names_of_pixels,
    supervisely,
    via_of_version_3,
    voc,
)

POINT = [[3.0, 3.0]]


LINE = [[3.0, 3.0], [9.0, 9.0], [6.0, 6.0]]


FLAT_LINE = [value for point in LINE for value in point]


DEGENERATE: dict[str, tuple[files.Make, int]] = {
    "coco": (
        coco(
            [POLYGON, [3.0, 3.0], FLAT_LINE],
            images=[{"id": "1", "file_name": IMAGE}],
            annotations=[
                {"id": i, "image_id": 1.0, "category_id": "1", "segmentation": segmentation}
                for i, segmentation in enumerate([[POLYGON, [3.0, 3.0], FLAT_LINE], [[3.0, 3.0]]])
            ],
        ),
        3,
    ),
    "labelme": (labelme(*map(files.labelme_shape, (CORNERS, POINT, LINE, []))), 3),
    "cvat": (
        cvat(files.cvat_polygon() + f'<polygon label="lamp" points="{files.cvat_points(LINE)}" z_order="0"/>'),
        1,
    ),
    "supervisely": (supervisely(*(files.supervisely_object("polygon", points) for points in (CORNERS, LINE))), 1),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_polygons_without_an_area_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    make, count = DEGENERATE[name]
    annotations = read_annotations(make(tmp_path))
    np.testing.assert_array_equal(names_of_pixels(annotations)[IMAGE] == "chair", files.chair())
    assert f"{count} polygons of fewer than 3 points or without an area label nothing" in annotations.notes.lines()


NAN = float("nan")


def without_numbers(value: Any) -> Any:
    """The first number of a record as a browser writes one that it could not compute."""
    return [[None, value[0][1]], *value[1:]]


def supervisely_with_a_hole(hole: Any) -> dict[str, Any]:
    record = files.supervisely_object("polygon", [[0, 30], [9, 30], [9, 36]])
    record["points"]["interior"] = [hole]
    return record


def label_studio_shape(kind: str, **value: Any) -> dict[str, Any]:
    return files.label_studio_region(f"{kind}labels", **value, **{f"{kind}labels": ["lamp"]})


def yolo_with_nan(folder: Path) -> Path:
    files.write_yolo(folder)
    path = folder / "train" / "labels" / "frame_00001.txt"
    path.write_text(path.read_text() + "0 0.1 nan 0.5 0.2 0.3 0.4\n0 inf 0.1 0.5 0.2 0.3 0.4\n")
    return folder


def via_with_nan(folder: Path) -> Path:
    content = files.via(files.via_polygon())
    xs, ys = [1, None, 3], [1, 2, 4]
    outlines = [
        {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
        {"name": "rect", "x": 3, "y": None, "width": 4, "height": 5},
        {"name": "circle", "cx": 3, "cy": 4, "r": None},
        {"name": "ellipse", "cx": NAN, "cy": 4, "rx": 3, "ry": 2},
    ]
    next(iter(content.values()))["regions"] += [files.via_region(**outline) for outline in outlines]
    return write(folder / "a.json", content)


def via_3_with_null(folder: Path) -> Path:
    path = via_of_version_3(7, *(value for corner in CORNERS for value in corner))(folder)
    content = json.loads(path.read_text())
    region = content["metadata"]["1_a"]
    content["metadata"]["1_b"] = {**region, "xy": [8, LEFT, 9, None, 5, 11, TOP, 12, BOTTOM]}
    content["metadata"]["1_c"] = {**region, "xy": [7, 1, None, 5, 6, 9, 1]}
    return write(path, content)


NOT_FINITE: dict[str, tuple[files.Make, int]] = {
    "coco": (
        coco(
            None,
            annotations=[
                {"id": i, "image_id": 1, "category_id": 1, "segmentation": segmentation}
                for i, segmentation in enumerate([[POLYGON, [NAN, 1, 2, 3, 4, 5]], [None, 1, 9, 9, 3, 4], [POLYGON]])
            ],
        ),
        2,
    ),
    "labelme": (
        labelme(
            files.labelme_shape(CORNERS),
            files.labelme_shape(without_numbers(CORNERS), label="lamp"),
            files.labelme_shape([[NAN, 1], [3, 4]], "rectangle"),
            files.labelme_shape([[1, 1], [3, float("inf")]], "circle"),
        ),
        3,
    ),
    "cvat": (
        cvat(
            files.cvat_polygon()
            + '<polygon label="lamp" points="1,nan;3,4;9,1" z_order="0"/>'
            + '<box label="lamp" xtl="NaN" ytl="1" xbr="9" ybr="9" z_order="0"/>'
            + '<ellipse label="lamp" cx="5" cy="5" rx="Infinity" ry="1" z_order="0"/>'
        ),
        3,
    ),
    "label studio": (
        label_studio(
            files.label_studio_polygon(),
            label_studio_shape("polygon", points=without_numbers(CORNERS)),
            label_studio_shape("rectangle", x=None, y=1, width=2, height=3),
            label_studio_shape("ellipse", x=1, y=1, radiusX=None, radiusY=3),
        ),
        3,
    ),
    "via": (via_with_nan, 4),
    "via 3": (via_3_with_null, 2),
    "labelbox": (
        labelbox(
            files.labelbox_polygon(),
            files.labelbox_object("lamp", polygon=[{"x": None, "y": 1}, {"x": 3, "y": 1}, {"x": 3, "y": 9}]),
            files.labelbox_object("lamp", bounding_box={"top": 1, "left": 1, "height": None, "width": 3}),
        ),
        2,
    ),
    "supervisely": (
        supervisely(
            files.supervisely_object("polygon", CORNERS),
            files.supervisely_object("polygon", without_numbers(CORNERS)),
            files.supervisely_object("rectangle", [[NAN, 1], [9, 9]]),
            supervisely_with_a_hole(without_numbers(CORNERS)),
        ),
        3,
    ),
    "yolo": (yolo_with_nan, 2),
}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_shapes_with_a_coordinate_that_is_no_number_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    make, count = NOT_FINITE[name]
    make(tmp_path)
    annotations = read_annotations(tmp_path)
    (image,) = names_of_pixels(annotations).values()
    np.testing.assert_array_equal(image == "chair", files.chair())
    assert (image[~files.chair()] == "-").all()
    assert annotations.notes.lines()[-1] == f"{count} shapes with a coordinate that is no finite number label nothing"


def test_between_two_frames_a_track_without_the_second_corners_stays(tmp_path: Path) -> None:
    box = '<box frame="{}" outside="0" keyframe="1" xtl="{}" ytl="0" xbr="40" ybr="36" z_order="0"/>'
    track = f'<track id="0" label="chair">{box.format(0, 20)}{box.format(2, "nan")}</track>'
    annotations = read_annotations(write(tmp_path / "a.xml", f"<annotations>{track}</annotations>"))
    first, second, last = names_of_pixels(annotations).values()
    assert (first[:, 20:40] == "chair").all()
    np.testing.assert_array_equal(first, second)
    assert (last == "-").all()


NAMELESS: dict[str, files.Make] = {
    "coco": coco(
        [POLYGON], images=[{"id": 2}, {"id": 1, "file_name": IMAGE}, {"id": 3, "file_name": None, "width": 5}]
    ),
    "labelbox": lambda folder: write(
        folder / "a.ndjson", files.labelbox(files.labelbox_polygon()) + '{"data_row": {}}\n{"data_row": {"id": "c"}}\n'
    ),
    "via": lambda folder: write(
        folder / "a.json",
        {
            "_via_settings": {},
            "_via_img_metadata": {**files.via(files.via_polygon()), "a": {"regions": []}, "b": {"size": -1}},
        },
    ),
    "cvat": lambda folder: write(
        folder / "a.xml",
        files.cvat(files.cvat_polygon()).replace(
            "</annotations>", '<image id="1"/><image id="2" name=""/></annotations>'
        ),
    ),
    "label studio": lambda folder: write(
        folder / "a.json",
        [
            *files.label_studio(files.label_studio_polygon()),
            {"id": 8, "data": {"image": None}, "annotations": []},
            {"id": 9, "data": {}, "annotations": [{"id": 1, "result": []}]},
        ],
    ),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_images_without_a_name_and_annotations_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    NAMELESS[name](tmp_path)
    annotations = read_annotations(tmp_path)
    (image,) = names_of_pixels(annotations).values()
    np.testing.assert_array_equal(image == "chair", files.chair())
    assert annotations.notes.lines()[-1] == "2 images without a name and without annotations are left out"


@pytest.mark.parametrize("segmentation", [None, [], {}, ""])
def test_annotations_without_a_region_are_counted(tmp_path: Path, segmentation: Any) -> None:
    annotations = read_annotations(coco(segmentation)(tmp_path))
    assert (names_of_pixels(annotations)[IMAGE] == "-").all()
    assert annotations.notes.lines() == ("1 annotations without a region label nothing",)


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
    with pytest.raises(SceneError, match="found 'Chair' for ids 1 and 2; rename one"):
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
