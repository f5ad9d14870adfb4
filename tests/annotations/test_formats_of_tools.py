"""The files of each tool become the same pixels, whatever variant of its format they are in."""

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_functions

import support.tool_files as files
from semantic_ns.annotations.formats import Format, read_annotations
from semantic_ns.annotations.types import UNLABELLED, Annotations
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco, encode_label_studio, runs_of
from semantic_ns.labels.taxonomy import VOID
from support.tool_files import BOTTOM, CORNERS, HEIGHT, IMAGE, LEFT, POLYGON, RIGHT, TOP, WIDTH, write

MIDDLE = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)


def names_of_pixels(annotations: Annotations) -> dict[str, np.ndarray]:
    """Class names of the pixels of each image; `-` where nothing is annotated, `void` for void."""
    table = [*annotations.taxonomy.names, "-", "void"]
    assert (UNLABELLED, VOID) == (-2, -1)
    return {image.name: np.array(table)[image.read((WIDTH, HEIGHT))] for image in annotations.images}


def turned(points: Sequence[Sequence[float]], angle_deg: float) -> list[list[float]]:
    """Points turned clockwise about the middle of the chair."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((np.array(points) - MIDDLE) @ turn.T + MIDDLE).tolist()


# A box with the sides of the chair exchanged, which is the chair after a quarter turn about its middle.
QUARTER = turned(CORNERS, 90)
QUARTER_BOX = [*np.min(QUARTER, axis=0), *np.max(QUARTER, axis=0)]


def cvat(shapes: str) -> files.Make:
    return lambda folder: write(folder / "annotations.xml", files.cvat(shapes))


def label_studio(*results: Any, **task: Any) -> files.Make:
    return lambda folder: write(folder / "export.json", files.label_studio(*results, **task))


def coco(segmentation: Any, **changes: Any) -> files.Make:
    return lambda folder: write(folder / "coco.json", files.coco(segmentation, **changes))


def via(region: dict[str, Any]) -> files.Make:
    return lambda folder: write(folder / "via.json", files.via(region))


def labelme(*shapes: dict[str, Any], **changes: Any) -> files.Make:
    return lambda folder: write(folder / "frame_00001.json", files.labelme(*shapes, **changes))


def supervisely(*objects: dict[str, Any]) -> files.Make:
    return lambda folder: files.write_supervisely(folder, *objects)


def label_studio_rectangle(angle: int) -> dict[str, Any]:
    """The chair as a rectangle that is turned by a quarter or not about its upper left corner before the turn."""
    x, y, width, height = (LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP)
    if angle:
        x, width, height = RIGHT, height, width
    value = {"x": x / WIDTH * 100, "y": y / HEIGHT * 100, "width": width / WIDTH * 100, "height": height / HEIGHT * 100}
    return files.label_studio_region("rectanglelabels", **value, rotation=angle, rectanglelabels=["chair"])


def label_studio_brush() -> dict[str, Any]:
    rle = encode_label_studio(files.chair())
    return files.label_studio_region("brushlabels", format="rle", rle=rle, brushlabels=["chair"])


def label_studio_short(folder: Path) -> Path:
    polygon = files.label_studio_polygon()
    region = {**polygon["value"], "original_width": WIDTH, "original_height": HEIGHT}
    return write(folder / "min.json", [{"image": f"/data/x/{IMAGE}", "id": 7, "label": [region], "annotator": 1}])


def compressed_by_pycocotools() -> dict[str, Any]:
    code: Any = mask_functions.encode(np.asfortranarray(files.chair(), np.uint8))
    return {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}


def label_arrays(dtype: type) -> files.Make:
    def make(folder: Path) -> Path:
        write(folder / "classes.txt", "wall\nchair\n")
        np.save(folder / "frame_00001.npy", np.where(files.chair(), 1, -1).astype(dtype))
        return folder

    return make


def roboflow_masks(folder: Path) -> Path:
    write(folder / "train" / "_classes.csv", "Pixel Value, Class\n0, background\n1, chair\n")
    mask = Image.fromarray(files.chair().astype(np.uint8))
    mask.save(folder / "train" / "frame_00001_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f0_mask.png")
    return folder


VIA_PROJECT = {"_via_settings": {}, "_via_attributes": {}, "_via_img_metadata": files.via(files.via_polygon())}
VIA_1 = {"x": {"filename": IMAGE, "regions": {"0": files.via_polygon()}}}
CHECKBOX = {"region_attributes": {"kind": {"lamp": False, "chair": True}, "text": "old"}}
BOX = f'xtl="{LEFT}" ytl="{TOP}" xbr="{RIGHT}" ybr="{BOTTOM}"'
TURNED_BOX = 'xtl="{}" ytl="{}" xbr="{}" ybr="{}" rotation="90"'.format(*QUARTER_BOX)
DATUMARO_MAP = "background:::\nlamp:::\nchair:::\n"

FILES: dict[str, files.Make] = {
    "cvat polygon": cvat(files.cvat_polygon()),
    "cvat box": cvat(f'<box label="chair" {BOX} z_order="0"/>'),
    "cvat turned box": cvat(f'<box label="chair" {TURNED_BOX} z_order="0"/>'),
    "cvat mask": cvat(files.cvat_mask()),
    "label studio polygon": label_studio(files.label_studio_polygon()),
    "label studio rectangle": label_studio(label_studio_rectangle(0)),
    "label studio turned rectangle": label_studio(label_studio_rectangle(90)),
    "label studio brush": label_studio(label_studio_brush()),
    "label studio short form": label_studio_short,
    "coco polygon": coco([POLYGON]),
    "coco polygon of texts": coco([[str(value) for value in POLYGON]]),
    "coco flat polygon": coco(POLYGON),
    "coco polygon of pairs": coco([CORNERS]),
    "coco plain code": coco({"size": [HEIGHT, WIDTH], "counts": runs_of(files.chair().T.ravel())}),
    "coco code of pycocotools": coco(compressed_by_pycocotools()),
    "coco own code": coco(encode_coco(files.chair())),
    "coco panoptic": files.write_panoptic,
    "labelme polygon": labelme(files.labelme_shape(CORNERS)),
    "labelme rectangle of four points": labelme(files.labelme_shape(CORNERS, "rectangle")),
    "labelme turned rectangle": labelme(files.labelme_shape(CORNERS, "rotation")),
    "labelme without sizes": labelme(files.labelme_shape(CORNERS), imageWidth=None, imageHeight=None),
    "labelme with sizes as texts": labelme(files.labelme_shape(CORNERS), imageWidth="48", imageHeight=36.0),
    "via polygon": via(files.via_polygon()),
    "via rectangle": via(files.via_region(name="rect", x=LEFT, y=TOP, width=RIGHT - LEFT, height=BOTTOM - TOP)),
    "via project": lambda folder: write(folder / "project.json", VIA_PROJECT),
    "via of version 1": lambda folder: write(folder / "via.json", VIA_1),
    "via checkbox": via({**files.via_polygon(), "region_attributes": {"kind": {"lamp": False, "chair": True}}}),
    "supervisely polygon": supervisely(files.supervisely_object("polygon", CORNERS)),
    "supervisely rectangle": supervisely(files.supervisely_object("rectangle", [[LEFT, TOP], [RIGHT - 1, BOTTOM - 1]])),
    "supervisely bitmap": supervisely(files.supervisely_bitmap("RGBA")),
    "supervisely grey bitmap": supervisely(files.supervisely_bitmap("L")),
    "yolo with a list": files.write_yolo,
    "yolo with numbered names": lambda folder: files.write_yolo(folder, "names:\n  0: lamp\n  1: chair\n"),
    "yolo with classes.txt": lambda folder: files.write_yolo(folder, "lamp\nchair\n", "classes.txt"),
    "yolo of cvat": lambda folder: files.write_yolo(folder, "lamp\nchair\n", "obj.names"),
    "voc without colours": lambda folder: files.write_voc(
        folder, DATUMARO_MAP, {"chair": (0, 128, 0), "rest": (0, 0, 0)}
    ),
    "integer array": label_arrays(np.int32),
    "array of floats": label_arrays(np.float32),
    "masks of roboflow": roboflow_masks,
}


@pytest.mark.parametrize("name", FILES)
def test_the_chair_is_where_it_was_drawn(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for place in (FILES[name](folder), folder):
        pixels = names_of_pixels(read_annotations(place))
        assert len(pixels) == 1
        np.testing.assert_array_equal(next(iter(pixels.values())) == "chair", files.chair())


@pytest.mark.parametrize("name", FILES)
def test_a_zip_file_is_read_as_its_content_and_removed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    FILES[name](folder)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._a.json").write_bytes(b"\0\xff")
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", folder))
    shutil.rmtree(folder)
    annotations = read_annotations(archive)
    np.testing.assert_array_equal(next(iter(names_of_pixels(annotations).values())) == "chair", files.chair())
    unpacked = Path(annotations.holder.name)
    assert unpacked.is_dir()
    del annotations
    assert not unpacked.exists()


def ellipse(centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> np.ndarray:
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    return ((columns - centre_x) / radius_x) ** 2 + ((rows - centre_y) / radius_y) ** 2 <= 1


def percent(**values: float) -> dict[str, float]:
    return {key: value / (HEIGHT if key in {"y", "radiusY"} else WIDTH) * 100 for key, value in values.items()}


ELLIPSES: dict[str, files.Make] = {
    "cvat": cvat('<ellipse label="chair" cx="20" cy="15" rx="4" ry="9" rotation="90" z_order="0"/>'),
    "label studio": label_studio(
        files.label_studio_region(
            "ellipselabels", **percent(x=20, y=15, radiusX=9, radiusY=4), rotation=0, ellipselabels=["chair"]
        )
    ),
    "via": via(files.via_region(name="ellipse", cx=20, cy=15, rx=4, ry=9, theta=np.pi / 2)),
}


@pytest.mark.parametrize("name", ELLIPSES)
def test_ellipses_have_the_pixels_whose_centres_they_hold(tmp_path: Path, name: str) -> None:
    (pixels,) = names_of_pixels(read_annotations(ELLIPSES[name](tmp_path))).values()
    np.testing.assert_array_equal(pixels == "chair", ellipse(20, 15, 9, 4))


def test_a_hole_of_supervisely_is_no_part_of_the_object(tmp_path: Path) -> None:
    hole = [[10, 8], [14, 8], [14, 12], [10, 12]]
    record = files.supervisely_object("polygon", CORNERS)
    record["points"]["interior"] = [hole]
    expected = files.chair()
    expected[8:12, 10:14] = False
    pixels = names_of_pixels(read_annotations(files.write_supervisely(tmp_path, record)))
    np.testing.assert_array_equal(pixels[IMAGE] == "chair", expected)


def test_in_cvat_the_higher_shape_wins_whatever_the_order(tmp_path: Path) -> None:
    lamp = f'<box label="lamp" xtl="0" ytl="0" xbr="{WIDTH}" ybr="{HEIGHT}" z_order="1"/>'
    path = write(tmp_path / "a.xml", files.cvat(files.cvat_polygon(z_order=2) + lamp))
    annotations = read_annotations(path)
    pixels = names_of_pixels(annotations)[IMAGE]
    np.testing.assert_array_equal(pixels == "chair", files.chair())
    assert ((pixels == "chair") | (pixels == "lamp")).all()
    first = annotations.table.entries[0]
    assert (first.id, first.name, first.color) == (1, "chair", (10, 20, 30))


def track(*shapes: str) -> str:
    meta = "<meta><task><size>7</size><original_size><width>48</width><height>36</height></original_size></task></meta>"
    body = f'<track id="0" label="chair" source="manual">{"".join(shapes)}</track>'
    return f"<annotations><version>1.1</version>{meta}{body}</annotations>"


def track_box(frame: int, left: int, outside: int = 0) -> str:
    return (
        f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" xtl="{left}" ytl="4" xbr="{left + 10}" '
        'ybr="20" z_order="0"></box>'
    )


def test_a_track_of_a_video_moves_evenly_and_ends_where_it_is_outside(tmp_path: Path) -> None:
    content = track(track_box(1, 4), track_box(3, 12), track_box(5, 12, outside=1))
    pixels = names_of_pixels(read_annotations(write(tmp_path / "a.xml", content)))
    assert list(pixels) == [f"frame_{i:06d}" for i in range(7)]
    lefts = [np.flatnonzero((image == "chair").any(0)) for image in pixels.values()]
    assert [columns[0] if len(columns) else None for columns in lefts] == [None, 4, 8, 12, 12, None, None]


def at(time: str, label: str, **entries: Any) -> dict[str, Any]:
    return {"id": 1, "updated_at": time, "result": [files.label_studio_polygon(label)], **entries}


def test_of_several_annotators_the_latest_counts_and_is_told(tmp_path: Path) -> None:
    annotations = [
        at("2024-01-02T10:00:00Z", "lamp"),
        at("2024-03-02T10:00:00Z", "chair"),
        at("2024-02-02T10:00:00Z", "table"),
        at("2025-02-02T10:00:00Z", "sofa", was_cancelled=True),
    ]
    path = write(tmp_path / "a.json", files.label_studio(annotations=annotations))
    read = read_annotations(path)
    np.testing.assert_array_equal(next(iter(names_of_pixels(read).values())) == "chair", files.chair())
    assert read.taxonomy.names == ("chair",)
    assert read.notes.lines() == ("1 tasks have several annotations, of which the latest counts",)


def test_label_studio_addresses_of_local_files_name_the_image(tmp_path: Path) -> None:
    address = "/data/local-files/?d=photos%2Froom%201/frame_00001.png"
    path = write(tmp_path / "a.json", files.label_studio(files.label_studio_polygon(), data={"picture": address}))
    assert [image.name for image in read_annotations(path).images] == ["photos/room 1/frame_00001.png"]


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


def voc(label_map: str, chair: tuple[int, int, int], rest: tuple[int, int, int]) -> files.Make:
    return lambda folder: files.write_voc(folder, label_map, {"chair": chair, "rest": rest})


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


def test_an_array_of_objects_is_not_loaded(tmp_path: Path) -> None:
    """What a pickled object does when it is loaded must not happen."""
    loaded = tmp_path / "loaded"

    class Touch:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (loaded,)

    write(tmp_path / "in" / "classes.txt", "chair\n")
    np.save(tmp_path / "in" / "frame_00001.npy", np.array([[Touch()]], object), allow_pickle=True)
    (image,) = read_annotations(tmp_path / "in").images
    with pytest.raises(SceneError, match="complete array"):
        image.read((WIDTH, HEIGHT))
    assert not loaded.exists()


def test_bounding_boxes_of_yolo_label_nothing_and_are_counted(tmp_path: Path) -> None:
    folder = files.write_yolo(tmp_path)
    path = folder / "train" / "labels" / "frame_00001.txt"
    path.write_text(path.read_text() + "0 0.5 0.5 1.0 1.0\n")
    annotations = read_annotations(folder)
    np.testing.assert_array_equal(names_of_pixels(annotations)["frame_00001.png"] == "chair", files.chair())
    assert annotations.notes.lines() == ("1 bounding boxes without an outline label nothing",)


def test_the_format_that_is_named_is_taken_from_a_folder_of_several(tmp_path: Path) -> None:
    labelme(files.labelme_shape(CORNERS))(tmp_path)
    coco([[0, 0, 3, 0, 3, 3]])(tmp_path)
    chosen: Format = "labelme"
    np.testing.assert_array_equal(names_of_pixels(read_annotations(tmp_path, chosen))[IMAGE] == "chair", files.chair())


def test_a_zip_file_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    content = json.dumps(files.labelme(files.labelme_shape(CORNERS)))
    for number, name in enumerate(("../out.json", "/out.json", "a/../../out.json", "..\\out.json", "C:\\out.json")):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(SceneError, match="leads out of it or is a link"):
            read_annotations(path)
    assert not list(tmp_path.parent.glob("out.json"))


def test_a_link_in_a_zip_file_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("classes.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/hostname")
    with pytest.raises(SceneError, match="is a link"):
        read_annotations(tmp_path / "a.zip")
