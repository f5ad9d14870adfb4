"""Labels, images, depth and masks in every form that people bring are read as the numbers that they hold."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io import images
from support.hand_made_scene import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    check_labels,
    each_file,
    each_frame,
    labels_of,
    load,
    number_of,
    rewrite,
    write_scene,
)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "my scene")


def save_labels(change: Callable[[np.ndarray], Image.Image], suffix: str = ".png") -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        image = change(np.array(Image.open(path)))
        path.unlink()
        image.save(path.with_suffix(suffix))

    return lambda folder: each_file(folder, "semantics", apply)


def with_palette(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids, "P")
    image.putpalette([value for index in range(4) for value in (60 * index, 255 - index, 7)])
    return image


def as_array(folder: Path) -> None:
    def apply(path: Path) -> None:
        np.save(path.with_suffix(".npy"), np.array(Image.open(path)).astype(np.int32))
        path.unlink()

    each_file(folder, "semantics", apply)


LABEL_FORMS: dict[str, Callable[[Path], object]] = {
    "grey with alpha": save_labels(lambda ids: Image.fromarray(ids).convert("LA")),
    "equal channels": save_labels(lambda ids: Image.fromarray(np.stack([ids] * 3, axis=-1))),
    "equal channels with alpha": save_labels(lambda ids: Image.fromarray(np.stack([ids] * 3, axis=-1)).convert("RGBA")),
    "palette": save_labels(with_palette),
    "16 bits": save_labels(lambda ids: Image.fromarray(ids.astype(np.uint16))),
    "TIFF of 32 bits": save_labels(lambda ids: Image.fromarray(ids.astype(np.int32)), ".tif"),
    "TIFF of whole numbers in floating point": save_labels(lambda ids: Image.fromarray(ids.astype(np.float32)), ".tif"),
    "npy": as_array,
    "twice as large": save_labels(lambda ids: Image.fromarray(ids.repeat(2, axis=0).repeat(2, axis=1))),
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_are_the_same_in_every_form(form: str, scene: Path) -> None:
    LABEL_FORMS[form](scene)
    check_labels(load(scene))


def test_ids_that_begin_at_1_for_a_list_of_names_are_its_classes(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_labels(lambda ids: Image.fromarray(ids + 1))(scene)
    check_labels(load(scene))
    assert capsys.readouterr().out.count("ids 1..4 are read as the 4 names") == 1


@pytest.mark.parametrize(("values", "names", "found"), [
    ((0, 1, 3), ["class_0", "class_1", "class_3"], "the ids 0, 1, 3 are called class_<id>"),
    ((0, 255, 3), ["class_0", "class_3"], "the ids 0, 3 are called class_<id>"),
    ((0, 255, 255), ["class_0", "class_1"], "masks of 0 and 255 are read as class_0 and class_1"),
])  # fmt: skip
def test_without_names_of_classes_the_ids_are_their_names(
    values: tuple[int, ...], names: list[str], found: str, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(scene, lambda content: content.pop("semantic_classes"))
    numbers = np.array([values[0], values[1], 0, values[2]], np.uint8)
    save_labels(lambda ids: Image.fromarray(numbers[ids]))(scene)
    dataset = load(scene)
    assert list(dataset.taxonomy.names) == names
    classes = {0: 0, 1: 1, 3: len(names) - 1, 255: 1 if 3 not in values else -1}
    for index in range(len(dataset)):
        ids = numbers[labels_of(number_of(dataset, index))]
        np.testing.assert_array_equal(dataset.labels_of(index), np.vectorize(classes.get)(ids))
    assert found in " ".join(capsys.readouterr().out.split())


def test_hundreds_of_ids_without_names_are_no_classes(scene: Path) -> None:
    rewrite(scene, lambda content: content.pop("semantic_classes"))
    many = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    save_labels(lambda ids: Image.fromarray(many))(scene)
    with pytest.raises(SceneError, match=r"found none, and 384 different ids"):
        load(scene)


def test_labels_of_another_size_are_said_once_and_sampled_at_pixel_centres(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_labels(lambda ids: Image.fromarray(ids[1::2, 1::2]))(scene)
    dataset = load(scene)
    assert capsys.readouterr().out.count("another size than their images") == 1
    for index in range(len(dataset)):
        half = labels_of(number_of(dataset, index))[1::2, 1::2]
        expected = np.searchsorted((0, 1, 3), half).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(dataset.labels_of(index), expected)


REFUSED_LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "JPEG": (save_labels(Image.fromarray, ".jpg"), "without losses .* found JPEG"),
    "colours": (save_labels(lambda ids: Image.fromarray(np.stack([ids, ids, ids + 7], axis=-1))), "found 3 channels"),
    "transparent": (save_labels(lambda ids: Image.fromarray(np.stack([ids, ids], axis=-1), "LA")), "2 channels"),
    "other proportions": (save_labels(lambda ids: Image.fromarray(ids[:, :12])), "in proportion, .* found 12x16"),
    "turned": (save_labels(lambda ids: Image.fromarray(ids.T.copy())), "found 16x24; it may be .*EXIF.*turn it"),
}


@pytest.mark.parametrize("form", REFUSED_LABELS)
def test_labels_that_only_a_person_can_mend_are_refused_with_the_reason(form: str, scene: Path) -> None:
    change, reason = REFUSED_LABELS[form]
    change(scene)
    with pytest.raises(SceneError, match=reason):
        load(scene)


def convert_images(change: Callable[[Image.Image], Image.Image], suffix: str = ".png") -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for path in sorted((folder / "images").iterdir()):
            image = change(Image.open(path))
            image.load()
            path.unlink()
            image.save(path.with_suffix(suffix))
        each_frame(folder, lambda i, e: e.update(file_path=f"images/frame_{i}{suffix}"))

    return apply


def grey_of(scene: Path, index: int) -> np.ndarray:
    return np.asarray(Image.open(scene / f"images/frame_{index}.png").convert("L"))


def test_images_of_16_bits_keep_their_brightness(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {index: grey_of(scene, index) for index in range(NUM_FRAMES)}
    convert_images(lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257))(scene)
    dataset = load(scene)
    assert capsys.readouterr().out.count("9 of 9 images are converted") == 1
    for index in range(len(dataset)):
        image = dataset.get_numpy_image(index)
        np.testing.assert_array_equal(image, np.repeat(before[number_of(dataset, index)][..., None], 3, axis=-1))


@pytest.mark.parametrize("mode", ["P", "CMYK", "LA", "1"])
def test_images_of_other_modes_become_what_pillow_shows(mode: str, scene: Path) -> None:
    convert_images(lambda image: image.convert(mode), ".tif" if mode == "CMYK" else ".png")(scene)
    dataset = load(scene)
    for index in range(len(dataset)):
        shown = Image.open(dataset.image_filenames[index]).convert("RGBA" if mode == "LA" else "RGB")
        np.testing.assert_array_equal(dataset.get_numpy_image(index), np.asarray(shown))
        assert dataset[index]["image"].shape == (HEIGHT, WIDTH, 4 if mode == "LA" else 3)


@pytest.mark.parametrize("suffix", [".HEIC", ".heif", ".CR2", ".dng"])
def test_formats_of_cameras_are_refused_with_the_tool_that_converts_them(suffix: str, scene: Path) -> None:
    def rename(index: int, entry: dict[str, Any]) -> None:
        (scene / f"images/frame_{index}.png").rename(scene / f"images/frame_{index}{suffix}")
        entry["file_path"] = f"images/frame_{index}{suffix}"

    each_frame(scene, rename)
    with pytest.raises(SceneError, match=rf"found {suffix.upper()[1:]}, .*magick mogrify") as raised:
        load(scene)
    assert ("semantic-ns[heic]" in str(raised.value)) == suffix.lower().startswith(".hei")


def test_heic_is_read_where_its_package_is_installed(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    opener = SimpleNamespace(register_heif_opener=lambda: calls.append("registered"))
    monkeypatch.setitem(sys.modules, "pillow_heif", opener)  # the package itself is no dependency of the tests
    images._reads_heic.cache_clear()
    try:

        def rename(index: int, entry: dict[str, Any]) -> None:
            (scene / f"images/frame_{index}.png").rename(scene / f"images/frame_{index}.HEIC")
            entry["file_path"] = f"images/frame_{index}.HEIC"

        each_frame(scene, rename)
        dataset = load(scene)
        check_labels(dataset)
        assert dataset[0]["image"].shape == (HEIGHT, WIDTH, 3)
        assert calls == ["registered"]
    finally:
        images._reads_heic.cache_clear()


def test_depth_and_masks_may_be_there_for_some_frames(scene: Path) -> None:
    for name in ("depth", "masks"):
        (scene / name).mkdir()
    mask = np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    mask[:, 3:] = 255

    def add(index: int, entry: dict[str, Any]) -> None:
        if index % 2:
            Image.fromarray(np.full((HEIGHT, WIDTH), 1500, np.uint16)).save(scene / f"depth/{index}.png")
            Image.fromarray(mask).save(scene / f"masks/{index}.png")
            entry.update(depth_file_path=f"depth\\{index}.png", mask_path=f"masks/{index}.png")

    each_frame(scene, add)
    dataset = load(scene)
    for index in range(len(dataset)):
        item, is_given = dataset[index], number_of(dataset, index) % 2 == 1
        assert item["depth_image_m"].unique().tolist() == pytest.approx([1.5 if is_given else 0.0])
        assert item["mask"].shape == (HEIGHT, WIDTH, 1)
        assert int(item["mask"].sum()) == HEIGHT * (WIDTH - 6 if is_given else WIDTH)


def test_depth_of_fractions_in_arrays_is_in_metres(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scene / "depth").mkdir()

    def add(index: int, entry: dict[str, Any]) -> None:
        np.save(scene / f"depth/{index}.npy", np.full((HEIGHT, WIDTH), 2.5 + index, np.float32))
        entry["depth_file_path"] = f"depth/{index}.npy"

    each_frame(scene, add)
    dataset = load(scene)
    assert dataset[0]["depth_image_m"].unique().tolist() == [2.5 + number_of(dataset, 0)]
    assert "depth is read in metres" in capsys.readouterr().out
