"""Cityscapes' layout: what its ids say of classes and things, and that labels and things come back from them."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.errors import SceneError
from semantic_ns.export.annotation_files import AnnotationFiles
from semantic_ns.export.cityscapes_files import CityscapesFiles
from semantic_ns.export.instance_masks import mask_names, read_masks
from semantic_ns.io.orientation import to_upright
from semantic_ns.labels.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    (3, 7, 26), ("wall", "chair", "car"), ((1, 2, 3), (9, 9, 9), (0, 0, 142)), (False, True, True), 0, (0,)
)
CLASSES_OF_INSTANCES = (2, 1, 2, 1)
"""Instances 1 and 3 are cars, 2 and 4 are chairs."""
SIZE = (10, 6)


def labels_and_instances() -> tuple[ndarray, ndarray]:
    """Void, wall, all things, the first chair in two pieces, and a car that is not told apart."""
    instances = np.zeros((6, 10), np.int32)
    instances[0, :3], instances[0, 5:7], instances[2, :4] = 1, 2, 3
    instances[4, 2:5] = 4
    instances[5, 8:] = 2
    labels = np.array([-1, *CLASSES_OF_INSTANCES], np.int16)[instances]
    labels[1], labels[3, :2] = 0, 2
    return labels, instances


def write(folder: Path, taxonomy: Taxonomy = TAXONOMY, name: str = "a") -> tuple[ndarray, ndarray]:
    labels, instances = labels_and_instances()
    files = CityscapesFiles(folder, taxonomy, CLASSES_OF_INSTANCES)
    files.add(name, labels, instances)
    files.write_classes()
    return labels, instances


def image_of(folder: Path, ending: str) -> ndarray:
    (path,) = folder.glob(f"gtFine/*/*/*_gtFine_{ending}.png")
    with Image.open(path) as image:
        if ending == "instanceIds":
            assert image.mode.startswith("I;16")
        return np.asarray(image).astype(np.int64)


def without_polygons(folder: Path) -> Path:
    for path in folder.glob("gtFine/*/*/*.json"):
        path.unlink()
    return folder


def test_an_id_is_a_thousand_times_the_class_and_the_number_of_a_thing_or_else_the_class_alone(tmp_path: Path) -> None:
    labels, instances = write(tmp_path)
    classes = np.array([*TAXONOMY.source_ids, 0])[labels]
    expected = np.where(instances > 0, np.array([0, 26000, 7000, 26001, 7001])[instances], classes)
    np.testing.assert_array_equal(image_of(tmp_path, "instanceIds"), expected)
    np.testing.assert_array_equal(image_of(tmp_path, "labelIds"), classes)


def test_a_thing_has_its_number_in_every_image_also_where_others_are_not_seen(tmp_path: Path) -> None:
    files = CityscapesFiles(tmp_path, TAXONOMY, CLASSES_OF_INSTANCES)
    files.add("a", np.full((2, 2), 2), np.full((2, 2), 3))
    assert (image_of(tmp_path, "instanceIds") == 26001).all()


@pytest.mark.parametrize("source", ["polygons", "instance ids", "class ids"])
def test_labels_come_back_from_each_of_the_files(source: str, tmp_path: Path) -> None:
    labels, _ = write(tmp_path)
    if source != "polygons":
        without_polygons(tmp_path)
    if source == "class ids":
        next(tmp_path.glob("gtFine/*/*/*_instanceIds.png")).unlink()
    annotations = read_annotations(tmp_path)
    (image,) = annotations.images
    assert image.name == "a.png"
    found = np.array([*annotations.taxonomy.names, "-", "-"])[image.read(SIZE)]
    np.testing.assert_array_equal(found, np.array([*TAXONOMY.names, "-"])[labels])
    if source != "polygons":
        assert annotations.taxonomy.source_ids == TAXONOMY.source_ids


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_things_come_back_as_masks_also_of_photos_that_are_not_upright(orientation: int, tmp_path: Path) -> None:
    labels, instances = labels_and_instances()
    photo = Image.new("RGB", SIZE)
    exif = photo.getexif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "photo.jpg", exif=exif)
    files = CityscapesFiles(tmp_path / "out", TAXONOMY, CLASSES_OF_INSTANCES)
    files.add("photo", to_upright(labels, orientation), to_upright(instances, orientation))
    names = mask_names([tmp_path / "photo.jpg"], [PurePosixPath("photo.jpg")], [PurePosixPath("semantics/photo.png")])
    height, width = instances.shape
    (masks,) = read_masks(tmp_path / "out", names, [(height, width)])
    assert masks is not None
    np.testing.assert_array_equal(masks > 0, instances > 0)
    pairs = {(int(mask), int(number)) for mask, number in zip(masks.flat, instances.flat, strict=True)}
    assert len(pairs) == len(CLASSES_OF_INSTANCES) + 1


@pytest.mark.parametrize(
    "taxonomy",
    [
        replace(TAXONOMY, source_ids=(3, 66, 76)),  # 76 000 has more than 16 bits
        replace(TAXONOMY, source_ids=(3, 26, 1163)),  # 1163 would be number 163 of class 1
        replace(TAXONOMY, source_ids=(0, 1, 2), void_source_id=4000, void_source_ids=(4000,)),
        replace(TAXONOMY, source_ids=(0, 1, 2), is_thing=(True,) * 3, void_source_id=255, void_source_ids=(255,)),
    ],
    ids=["large", "ambiguous", "void", "zero"],
)
def test_classes_whose_ids_have_no_room_for_instances_are_numbered_anew_and_the_list_says_so(
    taxonomy: Taxonomy, tmp_path: Path
) -> None:
    things = (0, 1) if taxonomy.is_thing[0] else (1, 2)
    labels = np.array([[-1, 0, 1], [2, *things]], np.int16)
    instances = np.array([[0, 0, 0], [0, 1, 2]])
    files = CityscapesFiles(tmp_path, taxonomy, things)
    files.add("a", labels, instances)
    files.write_classes()
    ids = image_of(tmp_path, "instanceIds")
    assert ids[1, 1:].tolist() == [1000 * (number + 1) for number in things]
    annotations = read_annotations(without_polygons(tmp_path))
    np.testing.assert_array_equal(annotations.images[0].read((3, 2)), np.where(labels < 0, -2, labels))
    assert annotations.taxonomy.names == taxonomy.names
    assert [entry["id"] for entry in json.loads((tmp_path / "classes.json").read_text())["classes"]] == [1, 2, 3]


def test_more_things_than_ids_are_refused(tmp_path: Path) -> None:
    CityscapesFiles(tmp_path, TAXONOMY, [1] * 1000)
    with pytest.raises(SceneError, match=r"found 1001 things of one class .* leave out --cityscapes"):
        CityscapesFiles(tmp_path, TAXONOMY, [1] * 1001)
    names = tuple(f"class {number}" for number in range(70))
    many = Taxonomy(tuple(range(1, 71)), names, ((1, 2, 3),) * 70, (True,) * 70, 0)
    CityscapesFiles(tmp_path, many, [64])
    with pytest.raises(SceneError, match="things of class number 70"):
        CityscapesFiles(tmp_path, many, [64, 69])


def test_labels_without_instances_are_groups(tmp_path: Path) -> None:
    labels, _ = labels_and_instances()
    files = AnnotationFiles(tmp_path, "cityscapes", TAXONOMY)
    files.add("a.jpg", labels)
    files.finish()
    np.testing.assert_array_equal(image_of(tmp_path, "instanceIds"), image_of(tmp_path, "labelIds"))
    with pytest.raises(SceneError, match="Expected one class list"):
        read_annotations(without_polygons(tmp_path))


def test_ids_of_classes_that_would_read_as_instances_have_no_image_of_instances(tmp_path: Path) -> None:
    files = AnnotationFiles(tmp_path, "cityscapes", replace(TAXONOMY, source_ids=(3, 26, 1163)))
    files.add("a.jpg", labels_and_instances()[0])
    assert 1163 in image_of(tmp_path, "labelIds")
    assert not list(tmp_path.rglob("*_instanceIds.png"))


def test_ids_of_instances_that_two_folders_have_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    second = tmp_path / "gtFine/val/a_gtFine_instanceIds.png"
    second.parent.mkdir()
    second.write_bytes(next(tmp_path.rglob("*_instanceIds.png")).read_bytes())
    names = mask_names([Path("/s/a.jpg")], [PurePosixPath("a.jpg")], [PurePosixPath("semantics/a.png")])
    with pytest.raises(SceneError, match=r"Expected a_gtFine_instanceIds\.png once"):
        read_masks(tmp_path, names, [(6, 10)])


def test_ids_of_instances_that_may_belong_to_two_frames_are_refused(tmp_path: Path) -> None:
    write(tmp_path, name="0")
    images = [Path("/s/left/0.jpg"), Path("/s/right/0.jpg")]
    paths = [PurePosixPath("left/0.jpg"), PurePosixPath("right/0.jpg")]
    names = mask_names(images, paths, [path.with_suffix(".png") for path in paths])
    with pytest.raises(SceneError, match=r"0_gtFine_instanceIds\.png may belong to left/0\.png and to right/0\.png"):
        read_masks(tmp_path, names, [(6, 10)] * 2)
