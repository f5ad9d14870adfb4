"""Annotations find their frames under the names that tools give, in other sizes, and through EXIF orientations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import support.tool_files as files
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.placement import is_copy
from semantic_ns.annotations.scene_labels import ImportOptions, ImportSummary, import_labels
from semantic_ns.errors import SceneError
from support.tool_files import CORNERS, HEIGHT, WIDTH, write


@pytest.fixture
def scene(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    """Twelve frames of 48x36 pixels without labels."""
    folder = copy_scene(nerfstudio_scene)
    for path in (folder / "semantics").iterdir():
        path.unlink()
    return folder


def run_import(scene: Path, labels: Path, are_stored: bool = False) -> ImportSummary:
    return import_labels(scene, read_annotations(labels), ImportOptions(are_stored=are_stored))


def imported(scene: Path, stem: str = "frame_00001") -> np.ndarray:
    return np.asarray(Image.open(scene / "semantics" / f"{stem}.png"))


def turn(scene: Path, orientation: int) -> None:
    path = scene / "images" / "frame_00001.png"
    image = Image.open(path)
    image.load()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


def shown(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A mask of the stored pixels as a viewer shows it."""
    image = Image.fromarray(mask.astype(np.uint8))
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image)) > 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_of_the_upright_picture_is_turned_to_the_stored_pixels(
    scene: Path, tmp_path: Path, orientation: int
) -> None:
    turn(scene, orientation)
    write(tmp_path / "in" / "classes.txt", "wall\nchair\n")
    Image.fromarray(shown(files.chair(), orientation).astype(np.uint8)).save(tmp_path / "in" / "frame_00001.png")
    summary = run_import(scene, tmp_path / "in")
    np.testing.assert_array_equal(imported(scene) == 1, files.chair())
    assert len(summary.remarks) == (orientation > 1)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_polygon_of_the_upright_picture_is_turned_to_the_stored_pixels(
    scene: Path, tmp_path: Path, orientation: int
) -> None:
    turn(scene, orientation)
    # A quarter clockwise sends (x, y) to (HEIGHT - y, x).
    points = [[WIDTH - x, HEIGHT - y] if orientation == 3 else [HEIGHT - y, x] for x, y in CORNERS]
    size = {} if orientation == 3 else {"imageWidth": HEIGHT, "imageHeight": WIDTH}
    run_import(scene, write(tmp_path / "a.json", files.labelme(files.labelme_shape(points), **size)))
    np.testing.assert_array_equal(imported(scene) == 1, files.chair())


@pytest.mark.parametrize(("orientation", "are_stored"), [(3, True), (6, False), (6, True)])
def test_annotations_of_the_stored_pixels_stay(scene: Path, tmp_path: Path, orientation: int, are_stored: bool) -> None:
    """By their size, which a quarter turn exchanges, or because the user says so."""
    turn(scene, orientation)
    run_import(scene, write(tmp_path / "a.json", files.labelme(files.labelme_shape(CORNERS))), are_stored)
    np.testing.assert_array_equal(imported(scene) == 1, files.chair())


@pytest.mark.parametrize("factor", [2, 4 / 3])
def test_polygons_of_a_copy_of_another_size_are_scaled_and_told(scene: Path, tmp_path: Path, factor: float) -> None:
    points = [[x * factor, y * factor] for x, y in CORNERS]
    size = {"imageWidth": round(WIDTH * factor), "imageHeight": round(HEIGHT * factor)}
    summary = run_import(scene, write(tmp_path / "a.json", files.labelme(files.labelme_shape(points), **size)))
    np.testing.assert_array_equal(imported(scene) == 1, files.chair())
    assert "annotated in another size" in summary.remarks[0]


@pytest.mark.parametrize("factor", [2, 3])
def test_masks_of_a_larger_copy_are_scaled_by_nearest_neighbours(scene: Path, tmp_path: Path, factor: int) -> None:
    write(tmp_path / "in" / "classes.txt", "wall\nchair\n")
    large = files.chair().repeat(factor, 0).repeat(factor, 1).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "in" / "frame_00001.png")
    run_import(scene, tmp_path / "in")
    np.testing.assert_array_equal(imported(scene) == 1, files.chair())


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((640, 480), (1280, 960), True),
        ((1000, 667), (500, 333), True),
        ((1000, 667), (500, 334), True),
        ((640, 640), (640, 480), False),
        ((480, 640), (640, 480), False),
        ((640, 480), (640, 479), False),
        ((640, 480), (1280, 950), False),
    ],
)
def test_a_copy_has_one_factor_for_both_sides(one: tuple[int, int], other: tuple[int, int], expected: bool) -> None:
    assert is_copy(one, other) == is_copy(other, one) == expected


NAMES = {
    "roboflow": "frame_00002_png.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f0.jpg",
    "label studio": "/data/upload/1/7f3c9a1b-frame_00002.png",
    "two suffixes": "frame_00002.PNG.png",
    "another case": "FRAME_00002.JPG",
    "blanks as dashes": "frame-00002.jpg",
    "windows": "C:\\photos\\frame_00002.png",
    "a mask of roboflow": "frame_00002_png.rf.0a1b2c_mask.png",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_tools_change_find_their_frame(scene: Path, tmp_path: Path, name: str) -> None:
    content = files.labelme(files.labelme_shape(CORNERS), imagePath=NAMES[name])
    summary = run_import(scene, write(tmp_path / "x.json", content))
    assert [index for index, _ in summary.matches.pairs] == [2]
    np.testing.assert_array_equal(imported(scene, "frame_00002") == 1, files.chair())


def test_the_name_itself_comes_before_a_changed_one(scene: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.json", files.labelme(files.labelme_shape(CORNERS), imagePath="frame_00002_mask.png"))
    write(
        tmp_path / "b.json",
        files.labelme(files.labelme_shape([[0, 0], [3, 3]], "rectangle"), imagePath="frame_00002.png"),
    )
    summary = run_import(scene, tmp_path)
    assert imported(scene, "frame_00002").sum() == 9
    assert summary.matches.ambiguous == ("frame_00002_mask.png",)


def test_two_augmented_copies_of_an_image_are_ambiguous(scene: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("frame_00002_png.rf.aa1.jpg", "frame_00002_png.rf.bb2.jpg", "frame_00003.png")):
        write(tmp_path / f"{number}.json", files.labelme(files.labelme_shape(CORNERS), imagePath=name))
    summary = run_import(scene, tmp_path)
    assert len(summary.matches.pairs) == 1
    assert len(summary.matches.ambiguous) == 2


def video(num_frames: int) -> str:
    box = '<box frame="{}" outside="0" keyframe="1" xtl="0" ytl="0" xbr="{}" ybr="36" z_order="0"/>'
    shapes = "".join(box.format(i, i + 1) for i in range(num_frames))
    meta = f"<meta><task><size>{num_frames}</size></task></meta>"
    return f'<annotations>{meta}<track id="0" label="chair">{shapes}</track></annotations>'


def test_frames_of_a_video_belong_to_as_many_images_in_order(scene: Path, tmp_path: Path) -> None:
    content = json.loads((scene / "transforms.json").read_text())
    content["frames"].reverse()
    (scene / "transforms.json").write_text(json.dumps(content))
    summary = run_import(scene, write(tmp_path / "a.xml", video(12)))
    for number in range(12):
        assert (imported(scene, f"frame_{number:05d}") == 1).sum() == (number + 1) * 36
    assert "in the order of their names" in summary.remarks[-1]


def test_a_video_of_another_number_of_frames_is_left_to_the_user(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"Expected annotations of images of .*found those of 11 \(frame_000000"):
        run_import(scene, write(tmp_path / "a.xml", video(11)))
