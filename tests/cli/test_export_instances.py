"""`sns-export instances` on a run: ids that hold in every frame, and wrong input is one sentence."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image
from pycocotools.coco import COCO

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.cli import export_instances
from semantic_ns.cli.export_instances import Instances, _at_size
from semantic_ns.errors import SceneError
from semantic_ns.export import instance_surface
from semantic_ns.export.instance_files import InstanceFiles
from semantic_ns.export.instance_masks import MaskNames, mask_names, read_masks, relative_paths
from semantic_ns.export.instance_surface import (
    SurfaceInstances,
    edge_of,
    find_instances,
    label_voxels,
    refuse_without_things,
)
from semantic_ns.export.surface_views import SurfaceView
from semantic_ns.export.view_votes import Tolerance
from semantic_ns.instances.colors import instance_color
from semantic_ns.instances.parts import connected_parts
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.surface.voxels import VoxelGrid
from support.box_views import TAXONOMY, box_views

THINGS = Taxonomy(TAXONOMY.source_ids, TAXONOMY.names, TAXONOMY.colors, (True, True, True, True, False, False), 0)
IMAGES = [Path(f"/scene/images/frame_{number}.jpg") for number in range(8)]
TWO_FOLDERS = [Path(f"/scene/images/{side}/{number:04d}.png") for side in ("left", "right") for number in range(2)]


@pytest.fixture(scope="module")
def views() -> list[SurfaceView]:
    return box_views()


def found_in(views: list[SurfaceView], masks: list[ndarray | None]) -> SurfaceInstances:
    return find_instances(label_voxels(views, THINGS, Tolerance(0.03), 0.1), views, masks)


def halves(view: SurfaceView) -> ndarray:
    """Masks of the lower and the upper half of each wall."""
    upper = (view.points()[..., 2] > 1.25).astype(np.int32)
    return np.where(view.labels < 4, 2 * view.labels + upper + 1, 0).astype(np.int32)


def test_walls_that_are_things_are_one_instance_each_in_every_view(views: list[SurfaceView]) -> None:
    found = found_in(views, [])
    assert found.count == 4
    for view in views:
        ids = found.of(found.surface.shown_by(view))
        assert (ids[view.labels >= 4] == 0).all()
        for wall in np.unique(view.labels[view.labels < 4]):
            assert len(np.unique(ids[view.labels == wall])) == 1


def test_masks_divide_what_is_connected_whatever_their_ids(views: list[SurfaceView]) -> None:
    rng = np.random.default_rng(0)
    masks: list[ndarray | None] = [
        np.concatenate([[0], rng.permutation(50)[:8] + 1]).astype(np.int32)[halves(view)] for view in views
    ]
    found = found_in(views, masks)
    assert found.count == 8
    for view in views:
        ids, true = found.of(found.surface.shown_by(view)), halves(view)
        for number in np.unique(true[true > 0]):
            own = ids[true == number]
            assert (own == np.bincount(own).argmax()).mean() > 0.85


def test_frames_without_masks_show_instances_too(views: list[SurfaceView]) -> None:
    masks: list[ndarray | None] = [halves(view) for view in views]
    masks[3] = None
    found = found_in(views, masks)
    ids = found.of(found.surface.shown_by(views[3]))
    assert (ids[views[3].labels < 4] > 0).all()


def test_holes_of_a_depth_image_show_the_instances_where_the_run_renders_them(views: list[SurfaceView]) -> None:
    found = found_in(views, [])
    whole = found.of(found.surface.shown_by(views[0]))
    for hole in (np.s_[10:30, 20:40], np.s_[:, :]):  # a place, and a frame without a depth image
        depth = views[0].depth.copy()
        depth[hole] = 0
        holed = replace(views[0], depth=depth, rendered_depth=views[0].depth)
        np.testing.assert_array_equal(found.of(found.surface.shown_by(holed)), whole)
    assert (whole[10:30, 20:40] > 0).any()


def test_specks_of_a_class_without_masks_are_no_instances(views: list[SurfaceView]) -> None:
    surface = label_voxels(views, THINGS, Tolerance(0.03), 0.1)
    west, east = np.flatnonzero(surface.classes == 0), np.flatnonzero(surface.classes == 1)
    classes = surface.classes.copy()
    classes[east[:: len(east) // 5]] = 0  # lone voxels of the west wall, four metres away from it
    speckled = replace(surface, classes=classes)
    only_south: list[ndarray | None] = [np.where(view.labels == 2, 1, 0).astype(np.int32) for view in views]
    found = find_instances(speckled, views, only_south)
    assert len(np.unique(connected_parts(speckled.voxels, classes, THINGS.is_thing)[classes == 0])) > 4
    assert found.count == 4
    assert len(np.unique(found.ids[classes == 0])) == 1
    assert (found.ids[west] == found.ids[classes == 0][0]).all()
    np.testing.assert_array_equal(found.ids > 0, find_instances(speckled).ids > 0)


@pytest.mark.parametrize("most_parts", [1, 300, 10**9])
def test_voxels_of_views_that_come_one_by_one_are_those_of_all_pixels_together(
    most_parts: int, views: list[SurfaceView], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_surface, "_MOST_PARTS", most_parts)
    points = np.concatenate([view.points().reshape(-1, 3) for view in views])
    largest: list[int] = []
    original = instance_surface.voxelise

    def noted(grid: VoxelGrid, part: ndarray) -> Any:
        largest.append(len(part))
        return original(grid, part)

    monkeypatch.setattr(instance_surface, "voxelise", noted)
    without_depth = replace(views[0], depth=np.zeros_like(views[0].depth))
    found = label_voxels([*views[:4], without_depth, *views[4:]], THINGS, Tolerance(10.0), 0.1)
    assert max(largest) == views[0].depth.size  # never more than one view's
    numbers = np.floor((points - points.mean(axis=0)).astype(np.float32) / np.float32(0.1)).astype(int)
    rows, of_points = np.unique(numbers, axis=0, return_inverse=True)
    assert len(found.voxels) == len(rows)
    sums = [np.bincount(of_points.reshape(-1), points[:, axis]) for axis in range(3)]
    expected = np.stack(sums, axis=1) / np.bincount(of_points.reshape(-1))[:, None]
    np.testing.assert_allclose(found.centres, expected, atol=1e-9)


def test_a_voxel_is_as_large_as_three_pixels_or_as_depth_is_uncertain() -> None:
    assert edge_of(0.01, 0.002) == pytest.approx(0.03)
    assert edge_of(0.01, 0.08) == 0.08
    assert edge_of(0.01, float("nan")) == pytest.approx(0.03)


def test_files_hold_the_ids_and_coco_reads_them(views: list[SurfaceView], tmp_path: Path) -> None:
    found = found_in(views, [])
    files = InstanceFiles(tmp_path, found, THINGS, "m")
    images = [found.of(found.surface.shown_by(view)) for view in views[:2]]
    for number, ids in enumerate(images):
        name, image = PurePosixPath(f"frame_{number}.png"), PurePosixPath(f"left/photo_{number}.jpg")
        files.add(name, image, ids, views[number].labels)
    files.finish()
    content = json.loads((tmp_path / "instances.json").read_text())
    coco = COCO(str(tmp_path / "instances_coco.json"))
    for number, ids in enumerate(images):
        with Image.open(tmp_path / "instances" / f"frame_{number}.png") as image:
            assert image.mode.startswith("I;16")
            np.testing.assert_array_equal(np.asarray(image), ids)
        with Image.open(tmp_path / "instances_color" / f"frame_{number}.png") as image:
            expected = np.array([instance_color(i) for i in range(found.count + 1)])[ids]
            np.testing.assert_array_equal(np.asarray(image), expected)
        assert coco.imgs[number + 1]["file_name"] == f"left/photo_{number}.jpg"
        annotations: list[Any] = coco.loadAnns(coco.getAnnIds(imgIds=[number + 1]))
        assert {item["track_id"] for item in annotations} == set(np.unique(ids)) - {0}
        for item in annotations:
            np.testing.assert_array_equal(coco.annToMask(item), ids == item["track_id"])
            assert content["instances"][item["track_id"] - 1]["class_id"] == item["category_id"]
    for row in content["instances"]:
        own = found.ids == row["id"]
        assert row["num_voxels"] == own.sum() > 0
        low, high = np.array(row["box"])
        centres = found.surface.centres[own]
        assert ((low < centres) & (centres < high)).all()
        assert (centres.min(axis=0) - low < 0.051).all()


def test_what_is_for_coco_belongs_to_the_upright_picture_and_ids_lie_on_the_stored_pixels(
    views: list[SurfaceView], tmp_path: Path
) -> None:
    found = found_in(views, [])
    files = InstanceFiles(tmp_path, found, THINGS, "m")
    ids, labels = found.of(found.surface.shown_by(views[0])), views[0].labels
    files.add(PurePosixPath("photo.png"), PurePosixPath("photo.jpg"), ids, labels, orientation=6)
    files.finish()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "instances/photo.png")), ids)
    coco = COCO(str(tmp_path / "instances_coco.json"))
    upright = np.rot90(ids, -1)  # orientation 6 is turned clockwise by a quarter
    assert (coco.imgs[1]["height"], coco.imgs[1]["width"]) == upright.shape
    annotations: list[Any] = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    for item in annotations:
        np.testing.assert_array_equal(coco.annToMask(item), upright == item["track_id"])
    (image,) = read_annotations(tmp_path / "panoptic.json").images
    np.testing.assert_array_equal(image.read((upright.shape[1], upright.shape[0])), np.rot90(labels, -1))


def test_colours_of_instances_differ() -> None:
    colors = {instance_color(number) for number in range(200)}
    assert len(colors) > 190
    assert instance_color(0) == (0, 0, 0)


# Wrong input


def written(folder: Path, name: str, ids: ndarray) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(folder / name)
    return folder


def names_of(images: list[Path]) -> list[MaskNames]:
    paths = relative_paths(images)
    return mask_names(images, paths, [PurePosixPath("semantics") / path.with_suffix(".png") for path in paths])


def first_ids(folder: Path, images: list[Path]) -> list[int | None]:
    """Of the masks of each image the first id."""
    found = read_masks(folder, names_of(images), [(3, 4)] * len(images))
    return [None if masks is None else int(masks[0, 0]) for masks in found]


def test_masks_are_found_by_the_names_of_the_images_and_frames_may_be_without(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint16).reshape(3, 4)
    found = read_masks(written(tmp_path / "masks", "frame_2.png", ids), names_of(IMAGES), [(3, 4)] * 8)
    assert [number for number, masks in enumerate(found) if masks is not None] == [2]
    assert found[2] is not None
    np.testing.assert_array_equal(found[2], ids)


@pytest.mark.parametrize("pattern", ["{}/{}.png", "semantics/{}/{}.png", "{}_{}.png"])
def test_images_of_one_name_in_two_folders_have_masks_of_their_own(tmp_path: Path, pattern: str) -> None:
    for number, image in enumerate(TWO_FOLDERS[:3]):
        name = pattern.format(image.parent.name, image.stem)
        written(tmp_path, name, np.full((3, 4), 10 + number, np.uint8))
    assert first_ids(tmp_path, TWO_FOLDERS) == [10, 11, 12, None]


def test_a_mask_that_may_belong_to_two_images_is_one_sentence(tmp_path: Path) -> None:
    written(tmp_path, "0001.png", np.ones((3, 4), np.uint8))
    written(tmp_path, "left/0001.png", np.ones((3, 4), np.uint8))
    with pytest.raises(SceneError, match=r"0001.png may belong to left/0001.png and to right/0001.png; name the masks"):
        first_ids(tmp_path, TWO_FOLDERS)


def test_an_image_beside_a_folder_with_an_image_of_the_same_name_has_the_mask_beside_that_folder(
    tmp_path: Path,
) -> None:
    images = [Path("/scene/images/0001.png"), Path("/scene/images/more/0001.png")]
    written(tmp_path, "0001.png", np.full((3, 4), 5, np.uint8))
    assert first_ids(tmp_path, images) == [5, None]
    written(tmp_path, "more/0001.png", np.full((3, 4), 6, np.uint8))
    assert first_ids(tmp_path, images) == [5, 6]


@pytest.mark.parametrize(
    ("name", "ids", "sentence"),
    [
        ("other.png", np.zeros((3, 4), np.uint8), "named like the frames"),
        ("frame_1.png", np.zeros((4, 3), np.uint8), "4x3 pixels as its frame has"),
        ("frame_1.png", np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "one channel"),
        ("frame_1.txt", None, "PNG images of mask ids"),
    ],
)
def test_wrong_masks_are_one_sentence(tmp_path: Path, name: str, ids: ndarray | None, sentence: str) -> None:
    folder = tmp_path / "masks"
    if ids is not None:
        written(folder, name, ids)
    with pytest.raises(SceneError, match=sentence):
        read_masks(folder, names_of(IMAGES), [(3, 4)] * 8)


def test_a_run_without_things_is_refused_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SceneError, match="stuff alone"):
        refuse_without_things(TAXONOMY)
    run = SimpleNamespace(model=SimpleNamespace(taxonomy=TAXONOMY), pipeline=SimpleNamespace(datamanager=None))
    monkeypatch.setattr(export_instances, "load_run", lambda path: run)
    with pytest.raises(SceneError, match="is_thing"):
        Instances(tmp_path / "config.yml", tmp_path / "out").main()


def test_too_many_instances_for_16_bits_are_one_sentence(tmp_path: Path, views: list[SurfaceView]) -> None:
    found = found_in(views, [])
    many = np.full(len(found.ids), 65536, np.int32)
    with pytest.raises(SceneError, match="at most 65535 instances"):
        InstanceFiles(tmp_path, SurfaceInstances(found.surface, many), THINGS, "m")


def test_masks_of_coco_take_the_size_of_smaller_training_images() -> None:
    ids = np.arange(48).reshape(6, 8)
    dataset: Any = SimpleNamespace(without_label=lambda index: np.zeros((3, 4)))
    np.testing.assert_array_equal(_at_size(ids, dataset, 0), ids[1::2, 1::2])
    dataset = SimpleNamespace(without_label=lambda index: np.zeros((6, 8)))
    np.testing.assert_array_equal(_at_size(ids, dataset, 0), ids)
