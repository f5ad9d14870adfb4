"""What labels nothing is left out and counted, and the shapes beside it are drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import support.tool_files as files
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.errors import SceneError
from support.tool_files import BOTTOM, CORNERS, IMAGE, LEFT, POLYGON, TOP, write
from support.tool_samples import (
    coco,
    cvat,
    label_studio,
    labelbox,
    labelme,
    names_of_pixels,
    supervisely,
    via_of_version_3,
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


def test_a_line_of_labelbox_has_no_area_though_it_has_the_address_of_a_mask(tmp_path: Path) -> None:
    line = [{"x": 1, "y": 1}, {"x": 9, "y": 9}]
    objects = [{"title": "crack", "line": line, "instanceURI": "https://api.labelbox.com/masks/feature/x"}]
    objects.append({"title": "chair", "polygon": [{"x": x, "y": y} for x, y in CORNERS]})
    row = {"External ID": IMAGE, "Labeled Data": "https://x/y.png", "Label": {"objects": objects}}
    annotations = read_annotations(write(tmp_path / "a.json", [row]))
    np.testing.assert_array_equal(names_of_pixels(annotations)[IMAGE] == "chair", files.chair())
    assert annotations.notes.lines() == ("1 shapes without an area (points, lines) label nothing",)


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


def via_without_a_class(folder: Path) -> Path:
    content = files.via(files.via_polygon())
    regions = next(iter(content.values()))["regions"]
    regions += [{**files.via_polygon(), "region_attributes": given} for given in ({}, {"class": ""}, {"class": {}})]
    return write(folder / "a.json", content)


UNNAMED: dict[str, tuple[files.Make, int]] = {
    "via": (via_without_a_class, 3),
    "label studio": (
        label_studio(
            files.label_studio_polygon(),
            files.label_studio_region("polygon", points=[[0, 0], [9, 0], [9, 9]], closed=True) | {"id": "y"},
            files.label_studio_region("rectangle", x=0, y=0, width=9, height=9, rectanglelabels=[]) | {"id": "z"},
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_regions_without_a_class_label_nothing_and_are_counted(tmp_path: Path, name: str) -> None:
    make, count = UNNAMED[name]
    annotations = read_annotations(make(tmp_path))
    (image,) = names_of_pixels(annotations).values()
    np.testing.assert_array_equal(image == "chair", files.chair())
    assert (image[~files.chair()] == "-").all()
    assert annotations.notes.lines() == (f"{count} regions without a class label nothing",)


def test_a_brush_without_a_stroke_is_counted(tmp_path: Path) -> None:
    brush = label_studio_shape("brush", format="rle", rle=[])
    annotations = read_annotations(label_studio(files.label_studio_polygon(), brush)(tmp_path))
    (image,) = names_of_pixels(annotations).values()
    np.testing.assert_array_equal(image == "chair", files.chair())
    assert annotations.notes.lines() == ("1 annotations without a region label nothing",)


def test_two_options_of_a_checkbox_are_left_to_the_user(tmp_path: Path) -> None:
    region = {**files.via_polygon(), "region_attributes": {"kind": {"lamp": True, "chair": True}}}
    with pytest.raises(SceneError, match=r"one option of 'kind' at region 0 .* found \['lamp', 'chair'\]; choose one"):
        read_annotations(write(tmp_path / "a.json", files.via(region)))


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
