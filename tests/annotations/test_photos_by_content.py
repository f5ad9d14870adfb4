"""Annotations of photos that a scene has under other names come to the frames that show them, or are left out."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.annotations.content import LEAST_RATIO, MAX_DIFFERENCE, find_frames
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, ImportSummary, import_labels
from semantic_ns.errors import SceneError
from semantic_ns.io.orientation import to_stored
from support.hand_made_scene import pose_of

WIDTH, HEIGHT = 96, 64
NUM_PHOTOS = 4
CHAIR = (slice(8, 24), slice(12, 60))


def picture(number: int) -> np.ndarray:
    """A photo [64, 96, 3] of soft shapes, another for each number."""
    rows, columns = np.indices((HEIGHT, WIDTH)) / HEIGHT
    waves = [
        np.sin((2 + channel) * columns + (3 - channel) * rows + 1.3 * number * (channel + 1)) for channel in range(3)
    ]
    return (128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def write_scene(folder: Path, pictures: Iterable[np.ndarray]) -> Path:
    """A scene as `ns-process-data` writes it: frames in another order than that of the photos' names."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for index, values in enumerate(pictures):
        name = f"images/frame_{index + 1:05d}.png"
        Image.fromarray(values).save(folder / name)
        frames.append({"file_path": name, "transform_matrix": pose_of(index).tolist()})
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 90.0, "frames": frames}))
    return folder


def annotate(folder: Path, number: int, size: tuple[int, int] = (WIDTH, HEIGHT), name: str = "IMG_{}") -> None:
    """A file of LabelMe for a photo of a size, with a chair in it."""
    across, down = size[0] / WIDTH, size[1] / HEIGHT
    rows, columns = CHAIR
    points = [[columns.start * across, rows.start * down], [columns.stop * across, rows.stop * down]]
    shape = {"label": "chair", "points": points, "shape_type": "rectangle"}
    stem = name.format(number)
    content = {"shapes": [shape], "imagePath": f"{stem}.jpg", "imageWidth": size[0], "imageHeight": size[1]}
    (folder / f"{stem}.json").write_text(json.dumps(content))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def run(scene: Path, labels: Path, photos: Path | None = None) -> ImportSummary:
    return import_labels(scene, read_annotations(labels), ImportOptions(photos=photos))


def chairs(scene: Path) -> dict[int, np.ndarray]:
    """Where the chair is in each labelled frame, by the number of the frame."""
    return {int(path.stem[-5:]): np.asarray(Image.open(path)) == 1 for path in (scene / "semantics").glob("*.png")}


def chair() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[CHAIR] = True
    return mask


COPIES: dict[str, Callable[[Image.Image, Path], None]] = {
    "the same pixels": lambda image, path: image.save(path.with_suffix(".png")),
    "JPEG": lambda image, path: image.save(path, quality=50),
    "half the size": lambda image, path: image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS).save(path),
    "twice the size": lambda image, path: image.resize((WIDTH * 2, HEIGHT * 2), Image.Resampling.BICUBIC).save(path),
}


@pytest.mark.parametrize("kind", COPIES)
def test_annotations_come_to_the_frame_that_shows_their_photo(kind: str, tmp_path: Path, photos: Path) -> None:
    order = [2, 0, 3, 1]
    scene = write_scene(tmp_path / "scene", map(picture, order))
    for number in range(NUM_PHOTOS):
        COPIES[kind](Image.fromarray(picture(number)), photos / f"IMG_{number}.jpg")
        size = Image.open(next(photos.glob(f"IMG_{number}.*"))).size
        annotate(photos, number, size)
    (photos / "IMG_3.json").unlink()
    summary = run(scene, photos)
    assert {index: image.name for index, image in summary.matches.pairs} == {
        0: "IMG_2.jpg",
        1: "IMG_0.jpg",
        3: "IMG_1.jpg",
    }
    found = chairs(scene)
    assert set(found) == {1, 2, 4}
    for mask in found.values():
        np.testing.assert_array_equal(mask, chair())
    assert sum("3 frames were found by what their photos show" in line for line in summary.lines()) == 1


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("is_upright", [True, False])
def test_the_orientation_of_a_photo_counts_as_its_frame_was_turned(
    orientation: int, is_upright: bool, tmp_path: Path, photos: Path
) -> None:
    def stored(values: np.ndarray) -> np.ndarray:
        return np.stack([to_stored(channel, orientation) for channel in np.moveaxis(values, -1, 0)], axis=-1)

    scene = write_scene(tmp_path / "scene", [picture(i) if is_upright else stored(picture(i)) for i in range(3)])
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored(picture(1))).save(photos / "IMG_1.jpg", exif=exif, quality=95)
    annotate(photos, 1)
    run(scene, photos)
    (mask,) = chairs(scene).values()
    np.testing.assert_array_equal(mask, chair() if is_upright else to_stored(chair(), orientation))


def test_photos_that_are_named_go_before_equal_names(tmp_path: Path, photos: Path) -> None:
    """The frames of a video that were chosen anew are numbered anew, so that names mean other frames."""
    by_name, by_content = (write_scene(tmp_path / name, map(picture, (1, 2, 3))) for name in ("name", "content"))
    labels = tmp_path / "labels"
    labels.mkdir()
    for number in (1, 2):
        Image.fromarray(picture(number + 1)).save(photos / f"frame_0000{number}.jpg")
        annotate(labels, number, name="frame_0000{}")
    assert [index for index, _ in run(by_name, labels).matches.pairs] == [0, 1]
    assert [index for index, _ in run(by_content, labels, photos).matches.pairs] == [1, 2]


def test_photos_of_several_frames_and_of_none_are_left_out(tmp_path: Path, photos: Path) -> None:
    scene = write_scene(tmp_path / "scene", map(picture, (0, 1, 1)))
    for number, shown in enumerate((0, 1, 7)):
        Image.fromarray(picture(shown)).save(photos / f"IMG_{number}.jpg", quality=95)
        annotate(photos, number)
    annotate(photos, 9)  # and one whose photo is not there
    summary = run(scene, photos)
    assert [index for index, _ in summary.matches.pairs] == [0]
    assert summary.matches.ambiguous == ("IMG_1.jpg",)
    assert set(summary.matches.unmatched) == {"IMG_2.jpg", "IMG_9.jpg"}
    assert "Photos that look like several frames, or whose frame looks like another, left out: 1" in "\n".join(
        summary.lines()
    )


def test_two_photos_of_one_frame_are_left_out(tmp_path: Path, photos: Path) -> None:
    scene = write_scene(tmp_path / "scene", map(picture, (0, 1)))
    for number in range(3):
        Image.fromarray(picture(min(number, 1))).save(photos / f"IMG_{number}.jpg")
        annotate(photos, number)
    matches = run(scene, photos).matches
    assert [index for index, _ in matches.pairs] == [0]
    assert set(matches.ambiguous) == {"IMG_1.jpg", "IMG_2.jpg"}


@pytest.mark.parametrize("given", [True, False])
def test_annotations_whose_photos_are_elsewhere_are_told_how_to_be_found(
    given: bool, tmp_path: Path, photos: Path
) -> None:
    scene = write_scene(tmp_path / "scene", map(picture, range(2)))
    annotate(photos, 0)
    with pytest.raises(SceneError, match="--photos"):
        run(scene, photos, photos if given else None)
    with pytest.raises(SceneError, match=r"Expected the folder of the annotated photos at .*none"):
        run(scene, photos, tmp_path / "none")
    assert not (scene / "semantics").exists()


@pytest.mark.parametrize(("difference", "next_one", "is_found"), [
    (0, 12, True),
    (3, 10, True),
    (3, 8, False),
    (5, 60, False),
    (0, 0, False),
])  # fmt: skip
def test_the_nearest_frame_counts_if_it_is_near_and_the_others_are_far(
    difference: int, next_one: int, is_found: bool, tmp_path: Path
) -> None:
    """Each image has one color, so that the difference of two is that of their colors."""
    assert (MAX_DIFFERENCE, LEAST_RATIO) == (4, 3)
    paths = {}
    for name, value in {"photo": 100, "near": 100 + difference, "far": 100 - next_one}.items():
        paths[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (20, 10), (value,) * 3).save(paths[name])
    seen, ambiguous = find_frames({"photo": paths["photo"]}, [paths["far"], paths["near"]])
    assert ({key: sight.frame for key, sight in seen.items()} == {"photo": 1}) == is_found
    assert (ambiguous == ["photo"]) == (not is_found and difference <= MAX_DIFFERENCE)


def test_a_photo_of_another_shape_is_no_copy(tmp_path: Path) -> None:
    for name, size in (("photo", (20, 10)), ("cut", (20, 14))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    assert find_frames({"a": tmp_path / "photo.png"}, [tmp_path / "cut.png"]) == ({}, [])
