"""Whatever `sns-import-labels` reads is a beginning of a session, too, and means the same there."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

import support.annotation_writers as writers
from semantic_ns.errors import SceneError
from semantic_ns.export.annotation_files import AnnotationFiles, AnnotationFormat
from semantic_ns.io.orientation import exif_orientation
from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labelling.import_files import ImportFiles, read_import
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import FrameInfo, LabelSurface
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.taxonomy import Taxonomy
from support.label_actions import FRAMES, LAMP, are_equal, click, everything
from support.label_surfaces import CLASSES, HEIGHT, WIDTH, truth

LISTED = [{"id": i, "name": name, "color": [i, 9, 99]} for i, name in enumerate(("Wall", "rug", "lamp"), 1)]
TABLE = ClassTable.from_list(LISTED, 0, "three")
NAMES = np.array(["nothing", "wall", "rug", "lamp"])
SQUARE = [[4.0, 2.0], [20.0, 2.0], [20.0, 12.0], [4.0, 12.0]]


def labels_of(frames: tuple[int, ...] = (0, 2), size: int = 1) -> dict[str, ndarray]:
    """Label images of some frames, size times as large, with a part that nobody annotated."""
    images = (truth(FRAMES) + 1).astype(np.uint8)
    images[:, :3, :5] = 0
    return {f"frame_{i}.png": images[i].repeat(size, axis=0).repeat(size, axis=1) for i in frames}


def names_in(imported: ImportedLabels) -> ndarray:
    """Name of the class of each pixel."""
    name_of_id = {-1: "nothing"} | {entry.id: entry.name.casefold() for entry in imported.classes}
    return np.vectorize(name_of_id.__getitem__)(imported.ids)


def expected_names(frames: tuple[int, ...] = (0, 2)) -> ndarray:
    images = np.zeros((FRAMES, HEIGHT, WIDTH), int)
    for name, values in labels_of(frames).items():
        images[int(name[6])] = values
    return NAMES[images]


def write_images(folder: Path) -> Path:
    writers.write_png(folder, labels_of())
    write_json(folder / "classes.json", {"classes": LISTED, "void_id": 0})
    return folder


def of_this_package(file_format: AnnotationFormat) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        taxonomy = Taxonomy.from_table(TABLE, (1, 2, 3))
        files = AnnotationFiles(folder, file_format, taxonomy)
        for name, values in labels_of().items():
            files.add(name, taxonomy.encode(values.astype(int), name))
        files.finish()
        return folder

    return write


def predicted(folder: Path) -> Path:
    """What `sns-predict` writes."""
    write_images(folder)
    write_json(folder / "classes.json", {"written_by": "sns-predict", "classes": LISTED, "void_id": 0})
    write_json(folder / "predictions.json", {"written_by": "sns-predict", "frames": [*labels_of()]})
    for name, values in labels_of().items():
        write_png(folder / "color" / name, np.stack([values * 60] * 3, axis=-1))
        ids = np.array([3, 1, 2])
        shares = np.where(values[..., None] == ids, 0.6, 0.2).astype(np.float16)
        (folder / "probabilities").mkdir(exist_ok=True)
        file = folder / "probabilities" / f"{Path(name).stem}.npz"
        np.savez(file, probabilities=shares * (values > 0)[..., None], ids=ids)
    return folder


def zipped(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """An archive of a folder in which everything lies in one folder."""

    def writing(folder: Path) -> Path:
        write(folder)
        return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))

    return writing


FORMATS: dict[str, Callable[[Path], Path]] = {
    **{f"{name} of this package": of_this_package(name) for name in get_args(AnnotationFormat)},
    "coco polygons, one file": lambda folder: writers.write_coco(folder, (labels_of(), TABLE), writers.polygons),
    "coco codes": lambda folder: writers.write_coco(folder, (labels_of(), TABLE), writers.compressed_code).parent,
    "labelme": lambda folder: writers.write_labelme(folder, (labels_of(), TABLE), "polygon"),
    "voc with a palette": lambda folder: writers.write_voc(folder, (labels_of(), TABLE), "P"),
    "coco, larger": lambda folder: writers.write_coco(folder, (labels_of(size=3), TABLE), writers.plain_code),
    "voc, larger": lambda folder: writers.write_voc(folder, (labels_of(size=3), TABLE), "RGB"),
    "zip of voc": zipped(of_this_package("voc")),
    "zip of images": zipped(write_images),
    "prediction": predicted,
    "zip of a prediction": zipped(predicted),
    "probabilities": lambda folder: predicted(folder) / "probabilities",
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_labels_begin_the_same_session_in_every_format(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path, name: str
) -> None:
    imported = read_import(FORMATS[name](tmp_path / "labels"), surface.frames)
    np.testing.assert_array_equal(names_in(imported), expected_names())
    plain = read_import(write_images(tmp_path / "images"), surface.frames)
    session = opened("first", classes=["rug"], imported=imported)
    expected = opened("second", classes=["rug"], imported=plain)
    for one in (session, expected):
        one.add_mark(click(1, LAMP, 4, 4), "a", 0)
    assert are_equal(everything(session), everything(expected))


def test_nothing_is_left_of_an_archive_that_was_read(surface: LabelSurface, tmp_path: Path) -> None:
    files = ImportFiles.find(zipped(write_images)(tmp_path / "labels"))
    unpacked = files.source.labels
    assert files.read(surface.frames).name == "labels.zip"
    assert unpacked.is_dir()
    files.close()
    assert not unpacked.exists()


def coco(shapes: dict[str, list[list[float]]], ids: tuple[int, ...] = (1, 2), **image: Any) -> dict[str, Any]:
    """A file of polygons by the names of their classes, in `frame_0.png`."""
    categories = [{"id": number, "name": name} for number, name in zip(ids, shapes, strict=False)]
    annotations = [
        {"image_id": 7, "category_id": number, "segmentation": [np.ravel(points).tolist()]}
        for number, points in zip(ids, shapes.values(), strict=False)
        if points
    ]
    images = [{"id": 7, "file_name": "frame_0.png", "width": WIDTH, "height": HEIGHT, **image}]
    return {"images": images, "categories": categories, "annotations": annotations}


def write_coco(folder: Path, shapes: dict[str, list[list[float]]], *ids: int, **image: Any) -> Path:
    return write_text(folder, json.dumps(coco(shapes, ids or (1, 2), **image)))


def write_text(folder: Path, text: str, name: str = "labels.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_pixels_without_an_annotation_and_void_are_no_evidence(surface: LabelSurface, tmp_path: Path) -> None:
    whole = [[0.0, 0.0], [WIDTH, 0.0], [WIDTH, 12.0], [0.0, 12.0]]
    imported = read_import(write_coco(tmp_path, {"ignore": whole, "lamp": SQUARE}), surface.frames)
    expected = np.full((FRAMES, HEIGHT, WIDTH), -1)
    expected[0, 2:12, 4:20] = 2
    np.testing.assert_array_equal(imported.ids, expected)
    weights = imported.anchors(surface, 1.0).weights
    assert set(np.flatnonzero(weights)) == set(np.unique(surface.voxels_of(0)[2:12, 4:20])) - {-1}


def test_images_of_no_frame_are_left_out_and_counted_in_one_sentence(
    surface: LabelSurface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = coco({"lamp": SQUARE, "rug": []})
    content["images"] += [{"id": i, "file_name": f"other_{i}.png"} for i in range(5)]
    read_import(write_text(tmp_path, json.dumps(content)), surface.frames)
    said = capsys.readouterr().out
    assert "labels.json has labels of 1 of the 3 training images: lamp 20.8%, no label 79.2%" in said
    assert "Annotated images that no frame has: 5 (other_0.png, other_1.png, other_2.png, ...)" in said
    write_images(tmp_path / "images")
    shutil.copy(tmp_path / "images" / "frame_0.png", tmp_path / "images" / "test_9.png")
    read_import(tmp_path / "images", surface.frames)
    assert "Annotated images that no frame has: 1 (test_9.png)" in capsys.readouterr().out


WAY_OUT = r"It is sns-import-labels that has --{} for such labels: let it write into a copy of the scene"


def two_formats(folder: Path) -> Path:
    write_coco(folder, {"lamp": SQUARE})
    return writers.write_labelme(folder / "more", (labels_of(), TABLE), "polygon").parent


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda folder: folder / "nothing", r"for --import, found nothing at .*; correct it\."),
        (lambda folder: write_text(folder, "{}"), rf"found neither in labels\.json.*{WAY_OUT.format('format')}"),
        (lambda folder: write_text(folder, "a", "a.txt"), f"found neither; .*{WAY_OUT.format('format')}"),
        (two_formats, rf"Expected annotations of one format in .*{WAY_OUT.format('format')}"),
        (
            lambda folder: write_coco(folder, {"lamp": SQUARE}, file_name="kitchen.png"),
            rf"Expected annotations of images of .*\(frame_0\.png, .*found those of 1 \(kitchen\.png\).*"
            rf"{WAY_OUT.format('photos')}",
        ),
        (lambda folder: write_coco(folder, {"lamp": [], "rug": []}), r"found void alone"),
        (
            lambda folder: write_coco(folder, {"lamp": SQUARE}, height=WIDTH),
            "for 32x24 pixels as the frame frame_0 has",
        ),
        (lambda folder: write_coco(folder, {"lamp": SQUARE}, 40_000), r"up to 32000 at .*, found 40000 for 'lamp'"),
    ],
)
def test_labels_that_cannot_begin_a_session_are_refused_in_one_sentence(
    surface: LabelSurface, tmp_path: Path, write: Callable[[Path], Path], sentence: str
) -> None:
    with pytest.raises(SceneError, match=sentence):
        read_import(write(tmp_path / "labels"), surface.frames)


def test_a_large_id_of_a_class_that_no_pixel_has_is_no_obstacle(surface: LabelSurface, tmp_path: Path) -> None:
    path = write_coco(tmp_path, {"lamp": SQUARE, "rug": []}, 4, 40_000)
    assert [(entry.id, entry.name) for entry in read_import(path, surface.frames).classes] == [(4, "lamp")]


def turned_frame(surface: LabelSurface, folder: Path) -> FrameInfo:
    """The first frame with a photo that is to be looked at upside down."""
    photo = folder / "frame_0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(surface.frames[0].image).save(photo, exif=exif)
    return replace(surface.frames[0], image=photo, orientation=exif_orientation(photo))


def test_annotations_belong_to_the_upright_picture_and_label_images_to_the_stored_pixels(
    surface: LabelSurface, tmp_path: Path
) -> None:
    frames = [turned_frame(surface, tmp_path), *surface.frames[1:]]
    path = write_coco(tmp_path / "coco", {"lamp": SQUARE})
    ids = read_import(path, surface.frames).ids
    copied = [replace(frames[0], image=surface.frames[0].image), *frames[1:]]  # of a training that wrote its own images
    for turned in (frames, copied):
        np.testing.assert_array_equal(read_import(path, turned).ids[0], ids[0, ::-1, ::-1])
    folder = write_images(tmp_path / "images")
    assert read_import(folder, frames).checksum == read_import(folder, surface.frames).checksum


def test_frames_are_found_by_photos_beside_the_annotations_where_names_differ(
    surface: LabelSurface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_coco(tmp_path / "coco", {"lamp": SQUARE}, file_name="IMG_7.png")
    shutil.copy(surface.frames[2].image, path.with_name("IMG_7.png"))
    imported = read_import(path, surface.frames)
    assert [bool((ids >= 0).any()) for ids in imported.ids] == [False, False, True]
    assert "1 frames were found by what their photos show" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("frame_0_mask", "frame_2_mask"), ("frame_0_png.rf.b2", "frame_2_jpg.rf.1"), ("0", "002")]
)
def test_label_images_belong_to_frames_by_the_names_that_tools_make_and_else_by_number(
    surface: LabelSurface, tmp_path: Path, names: tuple[str, str]
) -> None:
    folder = write_images(tmp_path / "images")
    for frame, name in zip((0, 2), names, strict=True):
        (folder / f"frame_{frame}.png").rename(folder / f"{name}.png")
    np.testing.assert_array_equal(names_in(read_import(folder, surface.frames)), expected_names())


def test_an_export_of_the_page_begins_a_session_with_its_classes_whatever_lies_beside_the_images(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path
) -> None:
    session = opened(imported=read_import(write_images(tmp_path / "images"), surface.frames))
    plain, full = tmp_path / "plain", tmp_path / "full"
    session.export(plain)
    session.export(full, coco=True, points=True)
    first, second = (read_import(folder, surface.frames) for folder in (plain, full))
    assert first.checksum == second.checksum
    assert first.classes == second.classes
    assert next(entry.color for entry in second.classes if entry.name == "rug") == (2, 9, 99)


def test_a_list_of_classes_goes_before_those_of_the_session_wherever_it_lies(
    surface: LabelSurface, tmp_path: Path
) -> None:
    known = ClassTable("scene", (*CLASSES, replace(CLASSES[0], id=1, name="sofa")), frozenset({0}))
    roboflow = tmp_path / "roboflow"
    roboflow.mkdir()
    writers.write_png(roboflow / "train", labels_of())
    (roboflow / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, void\n1, wall\n2, rug\n3, lamp\n")
    scene = tmp_path / "scene"
    scene.mkdir()
    writers.write_png(scene / "semantics", labels_of())
    write_json(scene / "transforms.json", {"frames": [], "semantic_classes": LISTED, "semantic_void_id": 0})
    for folder in (roboflow, scene / "semantics"):
        np.testing.assert_array_equal(names_in(read_import(folder, surface.frames, known)), expected_names())


def test_hdf5_label_images_and_arrays_of_ids_or_probabilities_are_read_as_images_are(
    surface: LabelSurface, tmp_path: Path
) -> None:
    for kind in ("hdf5", "ids", "probabilities"):
        folder = tmp_path / kind
        folder.mkdir()
        write_json(folder / "classes.json", {"classes": LISTED, "void_id": 0})
        for name, values in labels_of().items():
            ids = np.where(values == 0, -1, values.astype(np.int32))
            if kind == "hdf5":
                with h5py.File(folder / f"{Path(name).stem}.hdf5", "w") as file:
                    file["dataset"] = ids
            else:
                shares = (values[..., None] == [1, 2, 3]).astype(np.float32)
                np.save(folder / f"{Path(name).stem}.npy", ids if kind == "ids" else shares)
        np.testing.assert_array_equal(names_in(read_import(folder, surface.frames)), expected_names())
