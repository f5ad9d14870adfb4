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
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco, encode_label_studio, runs_of
from support.tool_files import BOTTOM, CORNERS, HEIGHT, IMAGE, LEFT, POLYGON, RIGHT, TOP, WIDTH, write
from support.tool_samples import (
    coco,
    cvat,
    label_studio,
    labelbox,
    labelme,
    names_of_pixels,
    supervisely,
    via,
    via_3_csv,
    via_csv,
    via_of_version_3,
)

MIDDLE = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)


def turned(points: Sequence[Sequence[float]], angle_deg: float) -> list[list[float]]:
    """Points turned clockwise about the middle of the chair."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((np.array(points) - MIDDLE) @ turn.T + MIDDLE).tolist()


QUARTER = turned(CORNERS, 90)


QUARTER_BOX = [*np.min(QUARTER, axis=0), *np.max(QUARTER, axis=0)]


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


def labelbox_mask(color: tuple[int, int, int], **mask: dict[str, Any]) -> files.Make:
    """A mask that was downloaded as `cl9.png`, the id of its object."""

    def make(folder: Path) -> Path:
        picture = np.where(files.chair()[..., None], color, 0).astype(np.uint8)
        write(folder / "masks" / "readme.txt", "")
        Image.fromarray(picture).save(folder / "masks" / "cl9.png")
        address = "https://api.labelbox.com/api/v1/tasks/x/masks/clx/index/1"
        shape: dict[str, Any] = {key: {"url": address, **value} for key, value in mask.items()}
        return labelbox(files.labelbox_object(**shape))(folder)

    return make


LABELBOX_BOX = {"top": TOP, "left": LEFT, "height": BOTTOM - TOP, "width": RIGHT - LEFT}
LABELBOX_V1 = [
    {
        "ID": "x",
        "Labeled Data": f"https://storage.labelbox.com/x/{IMAGE}?sig=1",
        "Label": {"objects": [{"title": "chair", "value": "chair", "polygon": [{"x": x, "y": y} for x, y in CORNERS]}]},
    }
]


LABELBOX_OF_2018: list[Any] = [
    {
        "ID": "x",
        "External ID": IMAGE,
        "Labeled Data": "https://firebasestorage.googleapis.com/v0/b/x/o/y",
        "Label": {"chair": [[{"x": x, "y": y} for x, y in CORNERS]], "is it tidy?": "no"},
    }
]
LABELBOX_WITH_GEOMETRY: list[Any] = [
    {**LABELBOX_OF_2018[0], "Label": {"chair": [{"geometry": LABELBOX_OF_2018[0]["Label"]["chair"][0]}]}}
]


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
    "cityscapes polygons": files.write_cityscapes,
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
    "via csv": via_csv,
    "via 3 csv": via_3_csv,
    "via 3 polygon": via_of_version_3(7, *(value for corner in CORNERS for value in corner)),
    "via 3 rectangle": via_of_version_3(2, LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP),
    "via 3 extreme rectangle": via_of_version_3(8, LEFT, 9, RIGHT, 5, 11, TOP, 12, BOTTOM),
    "via 3 with the class as text": via_of_version_3(2, LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, value="chair", kind=1),
    "labelbox polygon": labelbox(files.labelbox_polygon()),
    "labelbox box": labelbox(files.labelbox_object(bounding_box=LABELBOX_BOX)),
    "labelbox mask": labelbox_mask((255, 255, 255), mask={}),
    "labelbox composite mask": labelbox_mask((7, 99, 3), composite_mask={"color_rgb": [7, 99, 3]}),
    "labelbox of version 1": lambda folder: write(folder / "export.json", LABELBOX_V1),
    "labelbox of 2018": lambda folder: write(folder / "export.json", LABELBOX_OF_2018),
    "labelbox with geometry": lambda folder: write(folder / "export.json", LABELBOX_WITH_GEOMETRY),
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


def test_of_several_labels_of_labelbox_the_latest_counts_and_is_told(tmp_path: Path) -> None:
    line = files.labelbox(files.labelbox_object(line=[]), files.labelbox_polygon())
    read = read_annotations(write(tmp_path / "export.ndjson", line))
    np.testing.assert_array_equal(names_of_pixels(read)[IMAGE] == "chair", files.chair())
    assert read.notes.lines() == (
        "1 images have several labels, of which the latest counts",
        "1 shapes without an area (points, lines) label nothing",
    )


def test_a_name_in_an_address_of_labelbox_is_decoded_and_a_separator_in_a_text_ends_no_line(tmp_path: Path) -> None:
    row = {"row_data": "https://storage.labelbox.com/x/living%20room%201.png?sig=1", "note": "one\u2028two\u0085"}
    line = files.labelbox(files.labelbox_polygon(), data_row=row)
    raw = line.replace("\\u2028", "\u2028").replace("\\u0085", "\u0085")
    assert "\u2028" in raw
    read = read_annotations(write(tmp_path / "export.ndjson", raw))
    (name,) = names_of_pixels(read)
    assert Path(name).name == "living room 1.png"
    np.testing.assert_array_equal(names_of_pixels(read)[name] == "chair", files.chair())


@pytest.mark.parametrize(("line", "says"), [
    (files.labelbox(files.labelbox_object(mask={"url": "https://api.labelbox.com/x/1"})), "each as <feature_id>.png"),
    (files.labelbox(files.labelbox_object(mask={"url": "../../secret.png"})), "each as <feature_id>.png"),
    (files.labelbox(files.labelbox_object(bounding_box={"top": 1})), "finite number as left of object 0 of row 0"),
    (files.labelbox() + "{", "line 2 of"),
    (files.labelbox(files.labelbox_polygon(), data_row={}), "a name as external_id of row 0"),
    (files.labelbox(files.labelbox_object(polygon=[{"x": 1}])), "finite number as y of object 0 of row 0"),
    ('{"data_row": {}}', "regions of some class .* found none in 0 images"),
])  # fmt: skip
def test_a_bad_row_of_labelbox_is_told(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(SceneError, match=says):
        read_annotations(write(tmp_path / "export.ndjson", line))


@pytest.mark.parametrize(("change", "says"), [
    (lambda content: content["metadata"]["1_a"].update(vid="9"), "a view of .* found '9'"),
    (lambda content: content["metadata"]["1_a"].update(xy=[2, 1]), r"its numbers as xy of region '1_a'"),
    (lambda content: content["metadata"]["1_a"].update(xy=[8, "a", "b"]), "four points"),
    (lambda content: content["view"]["1"].update(fid_list=["1", "1"]), "one file as fid_list"),
    (lambda content: content.update(file={}), "a text as fname"),
])  # fmt: skip
def test_a_bad_project_of_via_3_is_told(tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    path = via_of_version_3(2, LEFT, TOP, 9, 9)(tmp_path)
    content = json.loads(path.read_text())
    change(content)
    with pytest.raises(SceneError, match=says):
        read_annotations(write(path, content))


def test_label_studio_addresses_of_local_files_name_the_image(tmp_path: Path) -> None:
    address = "/data/local-files/?d=photos%2Froom%201/frame_00001.png"
    path = write(tmp_path / "a.json", files.label_studio(files.label_studio_polygon(), data={"picture": address}))
    assert [image.name for image in read_annotations(path).images] == ["photos/room 1/frame_00001.png"]


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
