"""Annotations of other tools come into a scene unchanged, and nothing that exists is lost."""

import json
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

import support.annotation_writers as writers
from semantic_ns.annotations.formats import Format, read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, import_labels
from semantic_ns.cli.import_labels import ImportLabels, entrypoint
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

HEIGHT, WIDTH = 36, 48
NAMES = [f"frame_{i:05d}.png" for i in (1, 2, 3, 9)]


def read_labels(folder):
    """Label image of each image's name."""
    return {path.name: np.array(Image.open(path)) for path in sorted((folder / "semantics").glob("*.png"))}


@pytest.fixture(scope="session")
def truth(nerfstudio_scene):
    """The label images of 4 of the 12 frames of a room (0 is void) and the table of their classes."""
    content = json.loads((nerfstudio_scene / "transforms.json").read_text())
    labels = {name: values for name, values in read_labels(nerfstudio_scene).items() if name in NAMES}
    present = set(np.unique(list(labels.values())).tolist())
    classes = [entry for entry in content["semantic_classes"] if entry["id"] in present]
    return labels, ClassTable.from_list(classes, 0, "the room")


@pytest.fixture
def scene(nerfstudio_scene, copy_scene):
    """The room without labels and classes."""
    folder = copy_scene(nerfstudio_scene)
    for path in (folder / "semantics").iterdir():
        path.unlink()
    (folder / "semantics").rmdir()
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    del content["semantic_classes"], content["semantic_void_id"]
    path.write_text(json.dumps(content))
    return folder


def parse(folder):
    return NerfstudioSemanticDataParserConfig(data=folder).setup().get_dataparser_outputs("train")


def run_import(scene, labels, file_format: Format = "auto", classes=None, **options):
    return import_labels(scene, read_annotations(labels, file_format, classes), ImportOptions(**options))


def coco(labels, encode, **options):
    """COCO annotations of one frame, from a dictionary."""
    table = ClassTable.from_list([{"id": i, "name": f"class {i}"} for i in (1, 2, 3)], 0, "three")
    return {**writers.coco({"frame_00001.png": labels}, table, encode), **options}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


ROUND_TRIPS: dict[str, tuple[Format, Any]] = {
    "coco polygons": ("coco", lambda folder, truth: writers.write_coco(folder, truth, writers.polygons)),
    "coco plain codes": ("coco", lambda folder, truth: writers.write_coco(folder, truth, writers.plain_code)),
    "coco compressed codes": (
        "coco",
        lambda folder, truth: writers.write_coco(folder, truth, writers.compressed_code),
    ),
    "labelme polygons": ("labelme", lambda folder, truth: writers.write_labelme(folder, truth, "polygon")),
    "labelme rectangles": ("labelme", lambda folder, truth: writers.write_labelme(folder, truth, "rectangle")),
    "labelme masks": ("labelme", lambda folder, truth: writers.write_labelme(folder, truth, "mask")),
    "voc in colour": ("voc", lambda folder, truth: writers.write_voc(folder, truth, "RGB")),
    "voc with a palette": ("voc", lambda folder, truth: writers.write_voc(folder, truth, "P")),
    "voc in grey": ("voc", lambda folder, truth: writers.write_voc(folder, truth, "L")),
    "png of 8 bits": ("png", lambda folder, truth: writers.write_png(folder, truth[0], 8)),
    "png of 16 bits": ("png", lambda folder, truth: writers.write_png(folder, truth[0], 16)),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_label_image_comes_back_as_it_was(scene, truth, tmp_path, name):
    labels = ROUND_TRIPS[name][1](tmp_path / "labels", truth)
    classes = writers.write_classes(tmp_path / "table.csv", truth[1])
    summary = run_import(scene, labels, "auto", classes)
    imported = read_labels(scene)
    assert imported.keys() == truth[0].keys()
    for image, values in truth[0].items():
        assert imported[image].dtype == np.uint8
        np.testing.assert_array_equal(imported[image], values)
    assert summary.num_void == sum(int((values == 0).sum()) for values in truth[0].values())
    outputs = parse(scene)
    assert outputs.metadata["taxonomy"].source_ids == tuple(entry.id for entry in truth[1].entries)
    assert outputs.metadata["taxonomy"].colors == tuple(entry.color for entry in truth[1].entries)


@pytest.mark.parametrize("name", [name for name in ROUND_TRIPS if not name.startswith("png")])
def test_without_a_table_the_formats_bring_their_classes(scene, truth, tmp_path, name):
    file_format, write = ROUND_TRIPS[name]
    run_import(scene, write(tmp_path / "labels", truth), file_format)
    taxonomy = parse(scene).metadata["taxonomy"]
    names = {entry.id: entry.name for entry in truth[1].entries}
    assert sorted(taxonomy.names) == sorted(names.values())
    for image, values in read_labels(scene).items():
        classes = taxonomy.encode(values.astype(int), image)
        found = np.array([*taxonomy.names, "void"])[classes]
        expected = np.vectorize(lambda number: names.get(number, "void"))(truth[0][image])
        np.testing.assert_array_equal(found, expected)


def test_ids_above_255_make_16_bit_images(scene, truth, tmp_path):
    labels = {"frame_00001.png": np.where(truth[0]["frame_00001.png"] > 0, 700, 0)}
    table = ClassTable.from_list([{"id": 700, "name": "thing"}], 0, "one")
    run_import(scene, writers.write_coco(tmp_path / "labels", (labels, table), writers.compressed_code))
    imported = read_labels(scene)["frame_00001.png"]
    assert imported.dtype == np.uint16
    np.testing.assert_array_equal(imported, labels["frame_00001.png"])
    assert parse(scene).metadata["taxonomy"].source_ids == (700,)


def test_frames_without_annotations_stay_without_labels(scene, truth, tmp_path):
    summary = run_import(scene, writers.write_voc(tmp_path / "labels", truth, "RGB"))
    assert sorted(read_labels(scene)) == NAMES
    assert summary.lines()[0].startswith("Labelled 4 of 12 frames: ")
    is_labelled = [path is not None for path in parse(scene).metadata["label_filenames"]]
    assert sum(is_labelled) == 4


@pytest.fixture
def half(tmp_path):
    """COCO file of one frame, whose left half is class 2."""
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[:, : WIDTH // 2] = 2
    return write_json(tmp_path / "coco.json", coco(labels, writers.polygons))


def test_pixels_in_no_annotation_are_void(scene, half):
    run_import(scene, half)
    imported = read_labels(scene)["frame_00001.png"]
    assert (imported[:, : WIDTH // 2] == 2).all()
    assert (imported[:, WIDTH // 2 :] == 0).all()


@pytest.mark.parametrize(("unlabelled", "number"), [("Class 3", 3), ("background", 4)])
def test_pixels_in_no_annotation_get_the_class_that_is_asked_for(scene, half, unlabelled, number):
    summary = run_import(scene, half, unlabelled=unlabelled)
    imported = read_labels(scene)["frame_00001.png"]
    assert (imported[:, : WIDTH // 2] == 2).all()
    assert (imported[:, WIDTH // 2 :] == number).all()
    assert summary.num_void == 0


def test_void_annotations_stay_void_when_the_unlabelled_pixels_get_a_class(scene, tmp_path):
    shapes = [
        {"label": "chair", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"},
        {"label": "__ignore__", "points": [[5, 5], [20, 20]], "shape_type": "rectangle"},
    ]
    content = writers.labelme("frame_00003.png", np.zeros((HEIGHT, WIDTH)), shapes)
    run_import(scene, write_json(tmp_path / "a.json", content), unlabelled="wall")
    imported = read_labels(scene)["frame_00003.png"]
    assert (imported[:5, :9] == 1).all()
    assert (imported[5:20, 5:20] == 0).all()
    assert (imported[20:] == 2).all()
    assert parse(scene).metadata["taxonomy"].names == ("chair", "wall")


def test_in_labelme_the_later_shape_wins(scene, tmp_path):
    boxes = {"table": [[0, 0], [20, 20]], "cup": [[5, 5], [9, 9]], "box": [[7, 7], [30, 30]]}
    shapes = [{"label": name, "points": points, "shape_type": "rectangle"} for name, points in boxes.items()]
    shapes.append({"label": "Table", "points": [[1, 1], [3, 3]], "shape_type": "line"})
    content = writers.labelme("frame_00003.png", np.zeros((HEIGHT, WIDTH)), shapes)
    summary = run_import(scene, write_json(tmp_path / "a.json", content))
    imported = read_labels(scene)["frame_00003.png"]
    assert [imported[2, 2], imported[5, 5], imported[8, 8], imported[29, 29]] == [3, 2, 1, 1]
    assert summary.remarks == ("1 shapes without an area (points, lines) label nothing",)


def test_a_labelme_circle_is_a_disc(scene, tmp_path):
    shapes = [{"label": "plate", "points": [[20.5, 10.5], [23.5, 14.5]], "shape_type": "circle"}]
    content = writers.labelme("frame_00003.png", np.zeros((HEIGHT, WIDTH)), shapes)
    run_import(scene, write_json(tmp_path / "a.json", content))
    rows, columns = np.indices((HEIGHT, WIDTH))
    is_inside = (columns - 20) ** 2 + (rows - 10) ** 2 <= 25
    np.testing.assert_array_equal(read_labels(scene)["frame_00003.png"], is_inside)


def test_a_grey_mask_value_of_255_is_void(scene, truth, tmp_path):
    folder = writers.write_voc(tmp_path / "labels", truth, "L")
    path = folder / "SegmentationClass" / "frame_00001.png"
    values = np.array(Image.open(path))
    values[:5] = 255
    Image.fromarray(values).save(path)
    run_import(scene, folder, "auto", writers.write_classes(tmp_path / "table.csv", truth[1]), unlabelled="wall")
    imported = read_labels(scene)["frame_00001.png"]
    assert (imported[:5] == 0).all()
    np.testing.assert_array_equal(imported[5:] == 0, np.zeros_like(imported[5:], bool))


@pytest.mark.parametrize("value", [None, "", " ", 7, ["a"]])
def test_a_labelme_file_without_an_image_path_belongs_to_the_image_of_its_name(scene, tmp_path, value):
    shapes = [{"label": "plate", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"}]
    content = writers.labelme("x.png", np.zeros((HEIGHT, WIDTH)), shapes) | {"imagePath": value}
    run_import(scene, write_json(tmp_path / "frame_00003.json", content))
    assert sorted(read_labels(scene)) == ["frame_00003.png"]


def test_in_coco_the_smaller_annotation_wins_and_among_equals_the_later(scene, tmp_path):
    def annotation(number, *corners):
        points = [coordinate for x, y in zip(corners[::2], corners[1::2], strict=True) for coordinate in (x, y)]
        return {"image_id": 7, "category_id": number, "segmentation": [points]}

    content = coco(np.zeros((HEIGHT, WIDTH), int), writers.polygons)
    content["annotations"] = [
        annotation(1, 4, 4, 8, 4, 8, 8, 4, 8),
        annotation(2, 0, 0, 20, 0, 20, 20, 0, 20),
        annotation(3, 6, 4, 10, 4, 10, 8, 6, 8),
        {"image_id": 7, "category_id": 1, "segmentation": [], "bbox": [0, 0, 4, 4]},
    ]
    summary = run_import(scene, write_json(tmp_path / "coco.json", content))
    imported = read_labels(scene)["frame_00001.png"]
    assert [imported[5, 5], imported[5, 7], imported[5, 9], imported[12, 12]] == [1, 3, 3, 2]
    assert summary.remarks == ("1 annotations without a region label nothing",)


def test_a_crowd_region_is_one_of_its_category(scene, tmp_path):
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[3:9, 4:11] = 3
    content = coco(labels, writers.plain_code)
    content["annotations"][0]["iscrowd"] = 1
    run_import(scene, write_json(tmp_path / "coco.json", content))
    np.testing.assert_array_equal(read_labels(scene)["frame_00001.png"], labels)


def test_several_annotations_of_a_class_become_one_region(scene, tmp_path):
    parts = [np.zeros((HEIGHT, WIDTH), int) for _ in range(2)]
    parts[0][2:9, 2:9] = 2
    parts[1][5:15, 5:15] = 2
    contents = [coco(part, writers.compressed_code) for part in parts]
    contents[0]["annotations"] += contents[1]["annotations"]
    run_import(scene, write_json(tmp_path / "coco.json", contents[0]))
    np.testing.assert_array_equal(read_labels(scene)["frame_00001.png"], np.maximum(*parts))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "chair\n\ntable\n"),
        ("classes.txt", "__ignore__\nchair\ntable\n"),
        ("classes.json", '["chair", "table"]'),
        ("classes.csv", "id,name\n0,chair\n1,table\n"),
    ],
)
def test_a_class_list_beside_the_label_images_is_found(scene, tmp_path, file, text):
    labels = np.full((HEIGHT, WIDTH), 255)
    labels[:9] = 1
    folder = writers.write_png(tmp_path / "labels", {"frame_00004.png": labels})
    (folder / file).write_text(text)
    run_import(scene, folder)
    np.testing.assert_array_equal(read_labels(scene)["frame_00004.png"], labels)
    assert parse(scene).metadata["taxonomy"].names == ("table",)


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_tells_the_same_and_writes_nothing(scene, half):
    before = everything(scene)
    dry = run_import(scene, half, dry_run=True)
    assert everything(scene) == before
    wet = run_import(scene, half)
    assert dry.lines() == ["Would label 1 of 12 frames: class 2 50.0%, void 50.0%"]
    assert wet.lines()[0] == dry.lines()[0].replace("Would label", "Labelled")


def test_the_former_json_file_is_kept_each_time(scene, half):
    first = (scene / "transforms.json").read_bytes()
    assert run_import(scene, half).backup == scene / "transforms.json.bak"
    second = (scene / "transforms.json").read_bytes()
    assert run_import(scene, half, overwrite=True).backup == scene / "transforms.json.bak1"
    assert (scene / "transforms.json.bak").read_bytes() == first
    assert (scene / "transforms.json.bak1").read_bytes() == second


def test_other_entries_of_the_json_file_stay(scene, half):
    before = json.loads((scene / "transforms.json").read_text())
    run_import(scene, half)
    after = json.loads((scene / "transforms.json").read_text())
    assert after["frames"][1].pop("semantics_path") == "semantics/frame_00001.png"
    assert after.pop("semantic_void_id") == [0]
    assert [entry["name"] for entry in after.pop("semantic_classes")] == ["class 1", "class 2", "class 3"]
    assert after == before


def test_both_frames_of_an_image_get_its_label_image(scene, half):
    path = scene / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"].insert(0, {**content["frames"][1], "file_path": "./" + content["frames"][1]["file_path"]})
    path.write_text(json.dumps(content))
    run_import(scene, half)
    named = [entry.get("semantics_path") for entry in json.loads(path.read_text())["frames"]]
    assert named == ["semantics/frame_00001.png", None, "semantics/frame_00001.png", *[None] * 10]


def test_label_images_are_replaced_only_if_asked_for(scene, half):
    run_import(scene, half)
    Image.fromarray(np.full((HEIGHT, WIDTH), 3, np.uint8)).save(scene / "semantics" / "frame_00001.png")
    before = everything(scene)
    with pytest.raises(SceneError, match=r"--overwrite.*"):
        run_import(scene, half)
    assert everything(scene) == before
    run_import(scene, half, overwrite=True)
    assert (read_labels(scene)["frame_00001.png"] != 3).all()


def test_label_images_that_stay_must_mean_the_same(scene, half, tmp_path):
    run_import(scene, half)
    labels = np.full((HEIGHT, WIDTH), 1)
    same = coco(labels, writers.polygons)
    same["images"][0]["file_name"] = "frame_00002.png"
    other = json.loads(json.dumps(same))
    other["categories"][1]["name"] = "sofa"
    before = everything(scene)
    with pytest.raises(SceneError, match="Expected the classes that"):
        run_import(scene, write_json(tmp_path / "other.json", other), overwrite=True)
    assert everything(scene) == before
    run_import(scene, write_json(tmp_path / "same.json", same))
    assert sorted(read_labels(scene)) == ["frame_00001.png", "frame_00002.png"]


def test_a_failure_in_the_last_image_changes_nothing(scene, truth, tmp_path):
    labels = writers.write_voc(tmp_path / "labels", truth, "RGB")
    last = labels / "SegmentationClass" / "frame_00009.png"
    Image.open(last).resize((WIDTH * 2, HEIGHT), Image.Resampling.NEAREST).save(last)
    before = everything(scene)
    with pytest.raises(SceneError, match=r"found 96x36 for 'frame_00009\.png'"):
        run_import(scene, labels)
    assert everything(scene) == before
    assert not [path for path in scene.iterdir() if path.name.startswith("import-labels")]


def test_unmatched_and_ambiguous_names_are_counted_and_left_out(scene, truth, tmp_path):
    labels = writers.write_voc(tmp_path / "labels", truth, "RGB")
    folder = labels / "SegmentationClass"
    (folder / "frame_00001.png").rename(folder / "x.png")
    (folder / "more").mkdir()
    (folder / "frame_00003.png").rename(folder / "more" / "frame_00002.png")
    summary = run_import(scene, labels)
    assert summary.matches.unmatched == ("x.png",)
    assert summary.matches.ambiguous == ("frame_00002.png", "frame_00002.png")
    assert sorted(read_labels(scene)) == ["frame_00009.png"]
    assert "Annotated images that no frame has: 1 (x.png)" in summary.lines()
    assert "Names that occur more than once, left out: 2 (frame_00002.png, frame_00002.png)" in summary.lines()


def test_the_command_writes_and_tells(scene, half, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sns-import-labels", str(scene), str(half), "--unlabelled", "class 1"])
    entrypoint()
    told = capsys.readouterr().out
    assert "Labelled 1 of 12 frames: class 1 50.0%, class 2 50.0%, void 0.0%" in told
    assert "transforms.json.bak" in told
    assert parse(scene).metadata["taxonomy"].names == ("class 1", "class 2")


def test_the_command_ends_with_one_sentence_on_bad_input(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sns-import-labels", str(scene), str(tmp_path / "none.json"), "--dry-run"])
    with pytest.raises(SystemExit):
        entrypoint()
    assert capsys.readouterr().err.startswith("Error: Expected annotations at ")


def test_the_options_of_the_command_are_those_of_the_library(scene, half):
    ImportLabels(scene, half, dry_run=True).main()
    assert not (scene / "semantics").exists()
