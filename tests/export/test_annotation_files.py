"""Labels that are exported for a tool come back as they were, pixel by pixel."""

import json
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_functions

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.regions import polygon_mask
from semantic_ns.annotations.scene_labels import ImportOptions, import_labels
from semantic_ns.annotations.types import UNLABELLED
from semantic_ns.errors import SceneError
from semantic_ns.export.annotation_files import AnnotationFiles, AnnotationFormat
from semantic_ns.export.outlines import outlines_of
from semantic_ns.io.orientation import exif_orientation, to_upright
from semantic_ns.labels.taxonomy import VOID, Taxonomy
from support.ragged_labels import HEIGHT, WIDTH, ragged_labels

FORMATS = get_args(AnnotationFormat)
SIZE = (WIDTH, HEIGHT)
NAMES = ("wall", "Tür: links #2", 'a "b" & <c>')
TAXONOMY = Taxonomy((3, 7, 300), NAMES, ((0, 0, 0), (9, 9, 9), (9, 9, 9)), (True,) * 3, 0)


LABELS = {f"photo_{i}.png": ragged_labels(i) for i in range(3)} | {"empty.png": np.full((HEIGHT, WIDTH), VOID)}


def write_all(folder: Path, file_format: str, taxonomy: Taxonomy = TAXONOMY) -> Path:
    files = AnnotationFiles(folder, cast(AnnotationFormat, file_format), taxonomy)
    for name, labels in LABELS.items():
        files.add(name, labels)
    files.finish()
    return folder


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("colors", [TAXONOMY.colors, ((1, 2, 3), (200, 9, 9), (9, 200, 9))])
def test_what_is_exported_comes_back_to_the_pixel(tmp_path: Path, file_format: str, colors: Any) -> None:
    taxonomy = Taxonomy(TAXONOMY.source_ids, NAMES, colors, TAXONOMY.is_thing, 0)
    annotations = read_annotations(write_all(tmp_path / "out", file_format, taxonomy))
    read = {PurePosixPath(image.name).stem: image.read(SIZE) for image in annotations.images}
    # Where all pixels are void there may be nothing to write.
    assert {PurePosixPath(name).stem for name in LABELS} == read.keys()
    names = np.array([*annotations.taxonomy.names, "-", "-"])
    for name, labels in LABELS.items():
        expected = np.array([*NAMES, "-"])[labels]
        np.testing.assert_array_equal(names[read[PurePosixPath(name).stem]], expected)
    assert set(annotations.taxonomy.names) == set(NAMES)


@pytest.mark.parametrize("file_format", FORMATS)
def test_with_the_exported_classes_the_ids_come_back_too(tmp_path: Path, file_format: str) -> None:
    classes = tmp_path / "classes.json"
    listed = [{"id": number, "name": name} for number, name in zip(TAXONOMY.source_ids, NAMES, strict=True)]
    classes.write_text(json.dumps({"void_id": 0, "classes": listed}))
    annotations = read_annotations(write_all(tmp_path / "out", file_format), "auto", classes)
    assert [entry.id for entry in annotations.table.entries] == list(TAXONOMY.source_ids)
    for image in annotations.images:
        labels = LABELS[f"{PurePosixPath(image.name).stem}.png"]
        np.testing.assert_array_equal(image.read(SIZE), np.where(labels == VOID, UNLABELLED, labels))


@pytest.mark.parametrize("seed", range(6))
def test_outlines_hold_the_pixels_of_the_mask_and_no_others(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((HEIGHT, WIDTH)) < (0.2, 0.5, 0.8, 0.95, 1.0, 0.0)[seed]
    parts = [polygon_mask(outline, SIZE) for outline in outlines_of(mask)]
    np.testing.assert_array_equal(np.sum(parts, 0) if parts else np.zeros((HEIGHT, WIDTH)), mask)


def test_pycocotools_reads_the_exported_codes(tmp_path: Path) -> None:
    content = json.loads((write_all(tmp_path, "coco") / "annotations" / "instances_default.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(content["annotations"]) == 9
    for annotation in content["annotations"]:
        mask: Any = mask_functions.decode(annotation["segmentation"])
        number = TAXONOMY.source_ids.index(annotation["category_id"])
        np.testing.assert_array_equal(mask, LABELS[names[annotation["image_id"]]] == number)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == mask_functions.toBbox(annotation["segmentation"]).tolist()


def test_files_of_cityscapes_hold_ids_and_colours_of_each_pixel(tmp_path: Path) -> None:
    write_all(tmp_path, "cityscapes")
    table = np.array([*TAXONOMY.source_ids, 0]), np.array([*TAXONOMY.colors, (0, 0, 0)])
    for name, labels in LABELS.items():
        start = tmp_path / "gtFine" / "train" / "scene" / f"{PurePosixPath(name).stem}_gtFine"
        for kind, values in zip(("labelIds", "color"), table, strict=True):
            with Image.open(f"{start}_{kind}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), values[labels])


def test_things_that_are_not_told_apart_are_groups_of_the_panoptic_format(tmp_path: Path) -> None:
    write_all(tmp_path, "coco-panoptic")
    content = json.loads((tmp_path / "annotations" / "panoptic_default.json").read_text())
    segments = [item for record in content["annotations"] for item in record["segments_info"]]
    assert len(segments) == 9
    assert {item["iscrowd"] for item in segments} == {1}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for record in content["annotations"]:
        labels = LABELS[names[record["image_id"]]]
        found = {item["category_id"]: item["area"] for item in record["segments_info"]}
        assert found == {
            TAXONOMY.source_ids[number]: (labels == number).sum() for number in np.unique(labels[labels >= 0])
        }


@pytest.mark.parametrize("file_format", FORMATS)
def test_names_that_mean_something_else_to_a_format_come_back_too(tmp_path: Path, file_format: str) -> None:
    names = ("background", "instances", "a/b", "ä ö", "x:1,2,3::", "null", "group", "default", "[1]", "-")
    count = len(names)
    colors = tuple((number, 9, 9) for number in range(count))
    taxonomy = Taxonomy(tuple(range(1, count + 1)), names, colors, (True,) * count, 0)
    labels = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) // 7 % (count + 1) - 1
    files = AnnotationFiles(tmp_path, cast(AnnotationFormat, file_format), taxonomy)
    files.add("a.png", labels)
    files.finish()
    annotations = read_annotations(tmp_path)
    found = np.array([*annotations.taxonomy.names, "", ""])[annotations.images[0].read(SIZE)]
    np.testing.assert_array_equal(found, np.array([*names, ""])[labels])


def test_more_classes_than_voc_has_colors_are_refused_for_it_unless_their_own_differ(tmp_path: Path) -> None:
    def files(count: int, colors: list[tuple[int, int, int]]) -> AnnotationFiles:
        names = tuple(f"class {number}" for number in range(count))
        taxonomy = Taxonomy(tuple(range(1, count + 1)), names, tuple(colors), (True,) * count, 0)
        return AnnotationFiles(tmp_path, "voc", taxonomy)

    files(255, [(1, 1, 1)] * 255)
    files(300, [(1, number // 256, number % 256) for number in range(300)])
    with pytest.raises(SceneError, match="at most 255 classes"):
        files(256, [(1, 1, 1)] * 256)


def test_a_name_that_a_list_of_voc_takes_for_a_comment_is_refused(tmp_path: Path) -> None:
    taxonomy = Taxonomy((1, 2), ("wall", "#2"), ((1, 2, 3), (4, 5, 6)), (True,) * 2, 0)
    with pytest.raises(SceneError, match="found '#2'; rename the class"):
        AnnotationFiles(tmp_path, "voc", taxonomy)
    AnnotationFiles(tmp_path, "coco", taxonomy)


def test_images_of_one_name_are_refused(tmp_path: Path) -> None:
    files = AnnotationFiles(tmp_path, "yolo", TAXONOMY)
    files.add("a.png", LABELS["photo_0.png"])
    with pytest.raises(SceneError, match="found 'a' twice"):
        files.add("a.jpg", LABELS["photo_1.png"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_photos_that_are_not_upright_come_back_to_the_stored_pixels(
    tmp_path: Path, orientation: int, nerfstudio_scene: Path, copy_scene: Any
) -> None:
    """Exported for the upright picture, which tools show, and imported to the stored pixels."""
    scene = copy_scene(nerfstudio_scene)
    path = scene / "images" / "frame_00003.png"
    image = Image.open(path)
    image.load()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    labels = np.random.default_rng(orientation).integers(0, 3, (image.height, image.width))
    files = AnnotationFiles(tmp_path / "out", "coco", TAXONOMY)
    files.add(path.name, to_upright(labels, exif_orientation(path)))
    files.finish()
    for file in (scene / "semantics").iterdir():
        file.unlink()
    summary = import_labels(scene, read_annotations(tmp_path / "out"), ImportOptions())
    imported = np.asarray(Image.open(scene / "semantics" / "frame_00003.png"))
    np.testing.assert_array_equal(imported, np.array(TAXONOMY.source_ids)[labels])
    assert len(summary.remarks) == (orientation > 1)
