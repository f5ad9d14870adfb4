"""Every mistake in annotations is told in one sentence that names the place, and leaves the scene as it was."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import support.annotation_writers as writers
from semantic_ns.annotations import scene_labels
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, import_labels
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

HEIGHT, WIDTH = 36, 48
NAME = "frame_00001.png"
TABLE = ClassTable.from_list([{"id": 1, "name": "chair"}, {"id": 2, "name": "table"}], 0, "two")


def one_image() -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[3:9, 4:20] = 1
    labels[10:30, 2:9] = 2
    return labels


@pytest.fixture
def scene(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    folder = copy_scene(nerfstudio_scene)
    for path in (folder / "semantics").iterdir():
        path.unlink()
    return folder


def run_import(
    scene: Path, labels: Path, file_format: Any = "auto", classes: Path | None = None, unlabelled: str | None = None
) -> None:
    import_labels(scene, read_annotations(labels, file_format, classes), ImportOptions(unlabelled))


def refusal(scene: Path, labels: Path, **options: Any) -> str:
    """The sentence with which an import is refused; the scene must be as before."""
    before = {path: path.read_bytes() for path in scene.rglob("*") if path.is_file()}
    with pytest.raises(SceneError) as raised:
        run_import(scene, labels, **options)
    assert {path: path.read_bytes() for path in scene.rglob("*") if path.is_file()} == before
    message = str(raised.value)
    assert message.startswith("Expected ")
    assert "found " in message
    assert "\n" not in message
    return message


@dataclass(frozen=True)
class Case:
    """A change of sound annotations, and what the sentence must hold."""

    change: Callable[[Any], object]
    says: tuple[str, ...]


def coco_segmentation(value: Any) -> Callable[[Any], object]:
    return lambda content: content["annotations"][1].update(segmentation=value)


RUNS = [HEIGHT * WIDTH - 5, 5]

BAD_COCO = {
    "no annotations": Case(lambda c: c.update(annotations="none"), ("annotations", "a list")),
    "annotation is a number": Case(lambda c: c["annotations"].append(3), ("annotation 2",)),
    "unknown category": Case(lambda c: c["annotations"][1].update(category_id=9), ("annotation 2", "category_id 9")),
    "unknown image": Case(lambda c: c["annotations"][1].update(image_id=99), ("annotation 2", "image_id 99")),
    "category twice": Case(lambda c: c["categories"].append(c["categories"][0]), ("categories", "twice")),
    "category without a name": Case(lambda c: c["categories"][1].pop("name"), ("category number 1", "name")),
    "image without a name": Case(lambda c: c["images"][0].pop("file_name"), ("image number 0", "file_name")),
    "image with half a size": Case(lambda c: c["images"][0].pop("width"), ("image number 0", "width")),
    "image of no size": Case(lambda c: c["images"][0].update(height=0), ("image number 0", "above 0")),
    "image twice": Case(lambda c: c["images"].append(c["images"][0]), ("image id", "twice")),
    "another size": Case(lambda c: c["images"][0].update(width=96), ("48x36", "96x36", NAME)),
    "other images": Case(lambda c: c["images"][0].update(file_name="x.png"), ("12 (frame_00000.png", "1 (x.png)")),
    "odd number of coordinates": Case(coco_segmentation([[1, 1, 5, 5, 9, 9, 2]]), ("annotation 2", "7 numbers")),
    "text in a polygon": Case(coco_segmentation([[1, 1, 5, "a", 9, 9]]), ("annotation 2", "finite numbers")),
    "corner far outside": Case(coco_segmentation([[1, 1, 5, 1e30, 9, 9]]), ("annotation 2", "finite numbers")),
    "text for polygons": Case(coco_segmentation("1 1 5 5 9 9"), ("annotation 2", "list of polygons")),
    "code of another size": Case(
        coco_segmentation({"size": [WIDTH, HEIGHT], "counts": RUNS}), ("annotation 2", "[36, 48]", "[48, 36]")
    ),
    "code too short": Case(coco_segmentation({"size": [HEIGHT, WIDTH], "counts": [3, 9]}), ("annotation 2", "fewer")),
    "code too short by one": Case(
        coco_segmentation({"size": [HEIGHT, WIDTH], "counts": [RUNS[0] - 1, 5]}), ("annotation 2", "fewer")
    ),
    "code too long by one": Case(
        coco_segmentation({"size": [HEIGHT, WIDTH], "counts": [*RUNS, 1]}), ("annotation 2", "more")
    ),
    "fractions in a code": Case(
        coco_segmentation({"size": [HEIGHT, WIDTH], "counts": [1.5, 9]}), ("annotation 2", "counts")
    ),
    "negative run": Case(
        coco_segmentation({"size": [HEIGHT, WIDTH], "counts": [-1, *RUNS]}), ("annotation 2", "counts")
    ),
    "damaged code": Case(
        coco_segmentation({"size": [HEIGHT, WIDTH], "counts": "zz\x01z"}), ("annotation 2", "damaged")
    ),
    "empty code": Case(coco_segmentation({"size": [HEIGHT, WIDTH], "counts": ""}), ("annotation 2", "fewer")),
    "nothing annotated": Case(lambda c: c.update(annotations=[]), ("1 images", "regions")),
}


@pytest.mark.parametrize("name", BAD_COCO)
def test_bad_coco_is_told(scene: Path, tmp_path: Path, name: str) -> None:
    content = writers.coco({NAME: one_image()}, TABLE, writers.polygons)
    BAD_COCO[name].change(content)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    message = refusal(scene, path)
    for part in BAD_COCO[name].says:
        assert part in message


@pytest.mark.parametrize("cut", [1, 4])
def test_a_compressed_code_that_was_cut_is_told(scene: Path, tmp_path: Path, cut: int) -> None:
    content = writers.coco({NAME: one_image()}, TABLE, writers.compressed_code)
    code = content["annotations"][0]["segmentation"]
    code["counts"] = code["counts"][:-cut]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    assert "annotation 1" in refusal(scene, path)


def labelme_shape(**values: Any) -> Callable[[Any], object]:
    return lambda content: content["shapes"][3].update(values)


BAD_LABELME = {
    "no shapes": Case(lambda c: c.update(shapes=None), ("shapes",)),
    "half a size": Case(lambda c: c.pop("imageWidth"), ("imageWidth",)),
    "size of nothing": Case(lambda c: c.update(imageHeight=0), ("above 0",)),
    "no label": Case(labelme_shape(label=None), ("shape number 3", "label")),
    "no points": Case(labelme_shape(points=None), ("shape number 3 ", "points")),
    "rectangle of three points": Case(
        labelme_shape(shape_type="rectangle", points=[[1, 1], [5, 5], [1, 5]]), ("shape number 3 ", "rectangle", "3")
    ),
    "circle of one point": Case(labelme_shape(shape_type="circle", points=[[1, 1]]), ("shape number 3 ", "two points")),
    "unknown shape": Case(labelme_shape(shape_type="spline"), ("shape number 3 ", "spline")),
    "mask that is no PNG": Case(
        labelme_shape(shape_type="mask", points=[[1, 1], [5, 5]], mask="AAAA"), ("shape number 3 ", "base 64")
    ),
    "mask of another size": Case(
        lambda c: c["shapes"][3].update(writers.labelme_mask(one_image(), 1) | {"points": [[0, 0], [3, 3]]}),
        ("shape number 3 ", "(3, 3)", "16x6"),
    ),
}


@pytest.mark.parametrize("name", BAD_LABELME)
def test_bad_labelme_is_told(scene: Path, tmp_path: Path, name: str) -> None:
    shapes = writers.labelme_shapes(one_image(), TABLE, "polygon")
    content = writers.labelme(NAME, one_image(), shapes)
    BAD_LABELME[name].change(content)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    message = refusal(scene, path, file_format="labelme")
    for part in (*BAD_LABELME[name].says, str(path)):
        assert part in message


BAD_LABEL_MAPS = {
    "no colour": ("chair", ("line 2", "r,g,b")),
    "two channels": ("chair:1,2::", ("line 2", "1,2")),
    "channel above 255": ("chair:1,2,256::", ("line 2", "1,2,256")),
    "one colour twice": ("chair:9,9,9::\ntable:9,9,9::", ("line 3", "chair", "table")),
    "one name twice": ("chair:9,9,9::\nchair:8,8,8::", ("chair",)),
    "no classes": ("# nothing", ("list the classes",)),
}


@pytest.mark.parametrize("name", BAD_LABEL_MAPS)
def test_a_bad_colour_map_is_told(scene: Path, tmp_path: Path, name: str) -> None:
    folder = writers.write_voc(tmp_path / "labels", ({NAME: one_image()}, TABLE), "RGB")
    text, says = BAD_LABEL_MAPS[name]
    (folder / "labelmap.txt").write_text(f"# label:color_rgb\n{text}\n")
    message = refusal(scene, folder)
    for part in (*says, "labelmap.txt"):
        assert part in message


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_unknown_mask_value_is_told_with_its_first_pixel(scene: Path, tmp_path: Path, mode: str) -> None:
    folder = writers.write_voc(tmp_path / "labels", ({NAME: one_image()}, TABLE), mode)
    path = folder / "SegmentationClass" / NAME
    values = np.array(Image.open(path))
    values[7:10, 11:14] = 77
    Image.fromarray(values).save(path)
    message = refusal(scene, folder)
    for part in ("row 7, column 11", str(path), "9 pixels", "(77, 77, 77)" if mode == "RGB" else "found 77"):
        assert part in message


def test_an_id_outside_the_class_list_is_told_with_its_first_pixel(scene: Path, tmp_path: Path) -> None:
    labels = one_image()
    labels[20, 30] = 9
    folder = writers.write_png(tmp_path / "labels", {NAME: labels})
    message = refusal(scene, folder, classes=writers.write_classes(tmp_path / "table.csv", TABLE))
    for part in ("row 20, column 30", "found 9", "table.csv", NAME):
        assert part in message


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def masks(folder: Path) -> Path:
    return writers.write_voc(folder / "labels", ({NAME: one_image()}, TABLE), "RGB")


def without_masks(folder: Path) -> Path:
    path = masks(folder)
    (path / "SegmentationClass" / NAME).unlink()
    return path


def deep_mask(folder: Path) -> Path:
    path = masks(folder)
    Image.fromarray(one_image().astype(np.uint16)).save(path / "SegmentationClass" / NAME)
    return path


def truncated_mask(folder: Path) -> Path:
    path = masks(folder)
    file = path / "SegmentationClass" / NAME
    file.write_bytes(file.read_bytes()[:60])
    return path


def two_formats(folder: Path) -> Path:
    writers.write_coco(folder / "a", ({NAME: one_image()}, TABLE), writers.polygons)
    writers.write_labelme(folder / "b", ({NAME: one_image()}, TABLE), "polygon")
    return folder


OTHER_CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], tuple[str, ...]]] = {
    "broken JSON": (lambda f: write(f / "a.json", '{\n"shapes": [\n1,,]}'), {}, ("a.json", "line 3")),
    "JSON of something else": (lambda f: write(f / "a.json", '{"frames": []}'), {}, ("a.json", "neither")),
    "a list as JSON": (lambda f: write(f / "a.json", "[]"), {"file_format": "coco"}, ("a.json", "categories")),
    "an empty folder": (lambda f: f, {}, ("labelmap.txt", "neither")),
    "no file": (lambda f: f / "none", {}, ("none", "nothing")),
    "no JSON in the folder": (masks, {"file_format": "coco"}, ("JSON", "coco")),
    "files of two formats": (two_formats, {}, ("coco (instances_default.json)", "labelme (frame_00001.json)")),
    "a file for a folder": (lambda f: write(f / "a.json", "{}"), {"file_format": "voc"}, ("voc", "a.json")),
    "no colour map": (lambda f: f, {"file_format": "voc"}, ("labelmap.txt",)),
    "no masks": (without_masks, {}, ("SegmentationClass",)),
    "mask of 16 bits": (deep_mask, {}, (NAME, "I;16")),
    "truncated mask": (truncated_mask, {}, (NAME, "truncated")),
    "no class list": (
        lambda f: writers.write_png(f / "labels", {NAME: one_image()}),
        {},
        ("class list", "--classes", "found 0"),
    ),
    "no label images": (
        lambda f: write(f / "classes.txt", "chair").parent,
        {"file_format": "png"},
        ("PNG", "found none"),
    ),
}


@pytest.mark.parametrize("name", OTHER_CASES)
def test_what_is_no_annotation_is_told(scene: Path, tmp_path: Path, name: str) -> None:
    make, options, says = OTHER_CASES[name]
    folder = tmp_path / "in"
    folder.mkdir()
    message = refusal(scene, make(folder), **options)
    for part in says:
        assert part in message


@pytest.mark.parametrize("file_format", ["coco", "labelme", "voc"])
def test_a_class_outside_the_given_table_is_told(scene: Path, tmp_path: Path, file_format: str) -> None:
    labels = {
        "coco": lambda: writers.write_coco(tmp_path / "labels", ({NAME: one_image()}, TABLE), writers.polygons),
        "labelme": lambda: writers.write_labelme(tmp_path / "labels", ({NAME: one_image()}, TABLE), "polygon"),
        "voc": lambda: writers.write_voc(tmp_path / "labels", ({NAME: one_image()}, TABLE), "RGB"),
    }[file_format]()
    message = refusal(scene, labels, classes=write(tmp_path / "own.txt", "chair\nsofa\n"))
    assert "own.txt" in message
    assert "'table'" in message


def test_a_class_for_unlabelled_pixels_outside_the_given_table_is_told(scene: Path, tmp_path: Path) -> None:
    classes = writers.write_classes(tmp_path / "table.csv", TABLE)
    message = refusal(scene, masks(tmp_path), classes=classes, unlabelled="backgroud")
    assert "'backgroud'" in message
    assert "table.csv" in message


def test_a_missing_image_is_told(scene: Path, tmp_path: Path) -> None:
    (scene / "images" / NAME).unlink()
    assert str(scene / "images" / NAME) in refusal(scene, masks(tmp_path))


def test_a_folder_that_is_no_scene_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "transforms.json" in refusal(folder, masks(tmp_path))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_the_listed_label_image_and_the_one_to_be_written_are_protected(scene: Path, tmp_path: Path) -> None:
    (scene / "mine").mkdir()
    for name in (f"mine/{NAME}", f"semantics/{NAME}"):
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(scene / name)
    path = scene / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"][1]["semantics_path"] = f"mine/{NAME}"
    path.write_text(json.dumps(content))
    message = refusal(scene, masks(tmp_path))
    for part in (f"mine/{NAME}", f"semantics/{NAME}", "found 2", "--overwrite"):
        assert part in message


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_import_that_is_stopped_leaves_ids_and_classes_as_they_were(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """One image had labels before, which come back; the other one had none."""
    run_import(scene, masks(tmp_path))
    before = everything(scene)
    truth = {NAME: one_image().T.reshape(HEIGHT, WIDTH), "frame_00002.png": one_image()}
    labels = writers.write_voc(tmp_path / "others", (truth, TABLE), "RGB")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(scene_labels, "write_json", fail)
    with pytest.raises(SceneError if isinstance(error, OSError) else KeyboardInterrupt):
        import_labels(scene, read_annotations(labels), ImportOptions(overwrite=True))
    after = everything(scene)
    assert after.pop("transforms.json.bak1") == before["transforms.json"]
    assert after == before
    monkeypatch.undo()
    import_labels(scene, read_annotations(labels), ImportOptions(overwrite=True))
    assert everything(scene)[f"semantics/{NAME}"] != before[f"semantics/{NAME}"]


def test_a_scene_that_cannot_be_written_is_told(scene: Path, tmp_path: Path) -> None:
    (scene / "semantics").rmdir()
    (scene / "semantics").write_text("in the way of the folder")
    before = everything(scene)
    with pytest.raises(SceneError, match="found that it cannot be written"):
        run_import(scene, masks(tmp_path))
    after = everything(scene)
    assert after.pop("transforms.json.bak") == before["transforms.json"]
    assert after == before
