"""What an export holds beside label images: annotations in the format of COCO, and what something else says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_surfaces import HEIGHT, WIDTH, WORLD_FROM_SCENE


@pytest.fixture
def session(opened: Callable[..., LabelSession]) -> LabelSession:
    made = opened()
    made.add_mark(click(0, WALL, 4, 4), "a", 0)
    made.add_mark(click(2, LAMP, 28, 12), "a", 1)
    made.add_mark(click(1, None, 10, 10, action="void"), "a", 2)
    return made


def labels_in(folder: Path) -> list[np.ndarray]:
    """Label images, by frame."""
    return [np.asarray(Image.open(folder / f"frame_{frame}.png")).astype(int) for frame in range(FRAMES)]


@pytest.mark.parametrize("painted_only", [False, True])
def test_coco_annotations_hold_the_pixels_of_the_label_images(
    session: LabelSession, tmp_path: Path, painted_only: bool
) -> None:
    session.export(tmp_path / "out", painted_only=painted_only, coco=True)
    content = json.loads((tmp_path / "out" / "annotations" / "instances_default.json").read_text())
    assert [(one["id"], one["name"]) for one in content["categories"]] == [(WALL, "wall"), (LAMP, "lamp")]
    assert [one["file_name"] for one in content["images"]] == [f"frame_{frame}.png" for frame in range(FRAMES)]
    for image, labels in zip(content["images"], labels_in(tmp_path / "out"), strict=True):
        found = np.full((HEIGHT, WIDTH), session.void_id)
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                mask = decode_coco(one["segmentation"]["counts"], WIDTH, HEIGHT)
                assert (found[mask] == session.void_id).all()
                found[mask] = one["category_id"]
        assert (found == labels).all()
    assert len(content["annotations"]) >= 2


def test_no_annotations_are_written_unless_they_are_wanted(session: LabelSession, tmp_path: Path) -> None:
    session.export(tmp_path / "out")
    assert not (tmp_path / "out" / "annotations").exists()


def test_what_is_said_takes_the_place_of_spread_labels_and_never_of_painted_ones(
    session: LabelSession, tmp_path: Path
) -> None:
    asked: list[int] = []
    rng = np.random.default_rng(0)
    said = rng.choice(np.array([-1, WALL, LAMP], np.int16), (FRAMES, HEIGHT, WIDTH))
    sure = rng.random((FRAMES, HEIGHT, WIDTH)).astype(np.float32)

    def say(frame: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(frame)
        return said[frame], sure[frame]

    session.export(tmp_path / "out", least_confidence=0.5, said=say)
    assert asked == [*range(FRAMES)]
    for frame, labels in enumerate(labels_in(tmp_path / "out")):
        painted = session.painted(frame)
        assert (painted != -1).any()
        for row in range(HEIGHT):
            for column in range(WIDTH):
                if painted[row, column] != -1:
                    expected = max(painted[row, column], -1)
                else:
                    expected = said[frame, row, column] if sure[frame, row, column] >= 0.5 else -1
                assert labels[row, column] == (session.void_id if expected == -1 else expected)


def test_classes_that_change_while_what_is_said_is_exported_are_those_of_its_beginning(
    session: LabelSession, tmp_path: Path
) -> None:
    names: list[str] = []

    def say(frame: int) -> tuple[np.ndarray, np.ndarray]:
        if frame == 1:
            session.add_class("vase", None, "a", 3)
            session.merge_class(WALL, LAMP, "a", 4)
            session.rename_class(LAMP, "light", "a", 5)
        names.append(session.classes[-1].name)
        said = np.full((HEIGHT, WIDTH), WALL if frame < 2 else session.classes[-1].id, np.int16)
        return said, np.ones(said.shape, np.float32)

    session.export(tmp_path / "out", said=say)
    assert names == ["lamp", "vase", "vase"]
    content = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(one["id"], one["name"]) for one in content["classes"]] == [(WALL, "wall"), (LAMP, "lamp")]
    for frame, labels in enumerate(labels_in(tmp_path / "out")):
        is_painted = session.painted(frame) != -1
        assert set(labels[~is_painted].tolist()) == {WALL if frame < 2 else session.void_id}


def test_classes_that_were_merged_before_are_said_as_what_they_were_merged_into(
    session: LabelSession, tmp_path: Path
) -> None:
    session.merge_class(WALL, LAMP, "a", 3)
    said = np.full((HEIGHT, WIDTH), WALL, np.int16)
    session.export(tmp_path / "out", said=lambda _: (said, np.ones(said.shape, np.float32)))
    assert {number for labels in labels_in(tmp_path / "out") for number in np.unique(labels)} == {
        LAMP, session.void_id,
    }  # fmt: skip


def test_coco_refuses_images_of_one_name_before_anything_is_said_or_written(
    surface: LabelSurface, tmp_path: Path
) -> None:
    frames = tuple(
        replace(info, name=f"{folder}_0", image=tmp_path / folder / f"0.{ending}")
        for info, folder, ending in zip(surface.frames, "abc", ("png", "jpg", "png"), strict=True)
    )
    session = LabelSession(replace(surface, frames=frames, scene=tmp_path / "scene"), tmp_path / "journal")

    def say(frame: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError(frame)

    try:
        session.add_mark(click(0, WALL, 4, 4), "a", 0)
        with pytest.raises(SceneError, match=r"for coco, found '0' twice; export PNGs alone, or rename the images"):
            session.export(tmp_path / "out", coco=True, said=say)
        assert not (tmp_path / "out").exists()
        session.export(tmp_path / "out")
    finally:
        session.close()


def test_the_file_names_of_coco_are_those_of_the_images_at_the_size_of_the_labels(
    surface: LabelSurface, tmp_path: Path
) -> None:
    """Scaled images of two folders are written under the names of their frames, which differ."""
    frames = tuple(
        replace(info, name=f"{folder}_0", image=tmp_path / "images" / f"{folder}_0.png")
        for info, folder in zip(surface.frames, "abc", strict=True)
    )
    session = LabelSession(replace(surface, frames=frames, scene=tmp_path / "scene"), tmp_path / "journal")
    try:
        session.add_mark(click(0, WALL, 4, 4), "a", 0)
        session.export(tmp_path / "out", coco=True)
    finally:
        session.close()
    content = json.loads((tmp_path / "out" / "annotations" / "instances_default.json").read_text())
    assert [one["file_name"] for one in content["images"]] == [info.image.name for info in frames]


# Point clouds


@pytest.mark.parametrize("painted_only", [False, True])
def test_each_point_lies_in_the_world_and_has_the_class_and_the_colour_of_the_pixel_that_shows_it(
    session: LabelSession, tmp_path: Path, painted_only: bool
) -> None:
    session.export(tmp_path / "out", painted_only=painted_only, points=True)
    images, surface = labels_in(tmp_path / "out"), session.surface
    points, classes = (PlyData.read(tmp_path / "out" / name)["vertex"] for name in ("points.ply", "points_classes.ply"))
    colors = {entry.id: entry.color for entry in session.classes} | {session.void_id: (0, 0, 0)}
    assert len(points.data) == len(surface.discs.positions)
    for point, of_class, position, (frame, row, column), color in zip(
        points.data, classes.data, surface.discs.positions, surface.discs.pixels, surface.discs.colors, strict=True
    ):
        expected = [(np.append(position.astype(float), 1) * axis).sum() for axis in WORLD_FROM_SCENE]
        np.testing.assert_allclose([point[axis] for axis in "xyz"], expected, rtol=1e-6)
        np.testing.assert_allclose([point[axis] for axis in ("nx", "ny", "nz")], [0, 0, 1], atol=1e-6)
        assert point["scalar_class"] == of_class["scalar_class"] == images[frame][row, column]
        assert tuple(point[name] for name in ("red", "green", "blue")) == tuple(color)
        assert tuple(of_class[name] for name in ("red", "green", "blue")) == colors[int(point["scalar_class"])]
        is_void = point["scalar_class"] == session.void_id
        assert point["scalar_confidence"] == (0 if is_void else session.confidence(int(frame))[row, column])
    assert len(set(points["scalar_class"])) == 3


def test_no_point_cloud_is_written_unless_it_is_wanted(session: LabelSession, tmp_path: Path) -> None:
    session.export(tmp_path / "out", coco=True)
    assert not list((tmp_path / "out").glob("*.ply"))
