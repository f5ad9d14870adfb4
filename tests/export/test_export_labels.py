"""Label export: what is written, under which names, and what is never written over."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from PIL import Image
from torch import Tensor

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.cli.export_labels import entrypoint
from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.export.labels import (
    Frame,
    LabelExporter,
    camera_path_frames,
    choose_frames,
    dataset_frames,
    input_paths,
    unique_frames,
)
from semantic_ns.io.writing import replacing, write_json, write_png
from semantic_ns.labels.label_files import label_image
from semantic_ns.labels.taxonomy import Taxonomy

HEIGHT, WIDTH = 3, 5


def taxonomy_of(*source_ids: int) -> Taxonomy:
    count = len(source_ids)
    return Taxonomy(
        source_ids=source_ids,
        names=tuple(f"class {i}" for i in source_ids),
        colors=tuple((10 * k + 10, 5, 200) for k in range(count)),
        is_thing=(True,) * count,
        void_source_id=0,
    )


class FakeModel:
    """Renders labels that depend on the camera's position: class (x + camera) mod C in column x."""

    gives_raw_outputs = True
    device = "cpu"

    def __init__(self, taxonomy: Taxonomy, fails_at: int | None = None) -> None:
        self.taxonomy = taxonomy
        self.fails_at = fails_at
        self.is_raw = False
        self.accumulation = torch.ones(HEIGHT, WIDTH, 1)

    @contextmanager
    def raw_outputs(self) -> Iterator[None]:
        self.is_raw = True
        yield
        self.is_raw = False

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, Tensor]:
        assert self.is_raw
        assert camera.shape == (1,)
        index = int(camera.camera_to_worlds[0, 0, 3])
        if index == self.fails_at:
            raise RuntimeError("out of memory")
        columns = (torch.arange(WIDTH) + index) % self.taxonomy.num_classes
        labels = columns.expand(HEIGHT, WIDTH)[..., None]
        quarter = torch.full((HEIGHT, WIDTH, 1), 0.25)
        return {"semantics_labels": labels, "semantics_confidence": quarter, "accumulation": self.accumulation}


def cameras_of(count: int) -> Cameras:
    poses = torch.eye(4)[:3].repeat(count, 1, 1)
    poses[:, 0, 3] = torch.arange(count)
    return Cameras(poses, fx=5.0, fy=5.0, cx=2.5, cy=1.5, width=WIDTH, height=HEIGHT)


def frames_of(count: int) -> list[Frame]:
    cameras = cameras_of(count)
    return [Frame(PurePosixPath(f"seq/semantic_class/label_{i}.png"), cameras[i : i + 1]) for i in range(count)]


def dataset_of(names: list[str], folder: Path, labels: list[Path | None] | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        cameras=cameras_of(len(names)),
        image_filenames=[folder / f"rgb/{i}.png" for i in range(len(names))],
        metadata={"label_export_names": names, "label_filenames": labels or [None] * len(names)},
    )


def write_camera_path(path: Path, **changes: object) -> Path:
    camera = {"camera_to_world": torch.eye(4).flatten().tolist(), "fov": 60.0, "aspect": 1.0}
    content = {"render_height": HEIGHT, "render_width": WIDTH, "camera_path": [camera, camera], "seconds": 1}
    path.write_text(json.dumps(content | changes), "utf8")
    return path


def test_label_images_hold_the_source_ids_that_were_rendered(tmp_path: Path) -> None:
    paths = LabelExporter(FakeModel(taxonomy_of(4, 9)), tmp_path, []).export(frames_of(2))
    assert paths == [tmp_path / f"seq/semantic_class/label_{i}.png" for i in range(2)]
    for index, path in enumerate(paths):
        written = np.asarray(Image.open(path))
        assert written.dtype == np.uint8
        assert written.tolist() == [[(4, 9)[(x + index) % 2] for x in range(WIDTH)]] * HEIGHT


@pytest.mark.parametrize("ids", [(4, 9), (4, 300)], ids=["8 bits", "16 bits"])
def test_exported_label_images_are_read_as_annotations_with_every_pixel_and_id(
    ids: tuple[int, ...], tmp_path: Path
) -> None:
    paths = LabelExporter(FakeModel(taxonomy_of(*ids)), tmp_path, []).export(frames_of(2))
    annotations = read_annotations(tmp_path / "seq/semantic_class", "png", tmp_path / "classes.json")
    assert annotations.taxonomy.source_ids == ids
    read = {image.name: image.read((WIDTH, HEIGHT)) for image in annotations.images}
    assert {path.name for path in paths} == read.keys()
    for path in paths:
        np.testing.assert_array_equal(np.array(ids)[read[path.name]], np.asarray(Image.open(path)))


def test_labels_for_a_tool_lie_beside_and_belong_to_the_upright_picture(tmp_path: Path) -> None:
    image = tmp_path / "photo.jpg"
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture.save(image, exif=exif)
    (frame,) = frames_of(1)
    exporter = LabelExporter(FakeModel(taxonomy_of(4, 9)), tmp_path / "out", [], annotations="coco")
    paths = exporter.export([Frame(frame.name, frame.camera, image)])
    (annotated,) = read_annotations(tmp_path / "out" / "coco").images
    assert annotated.name == "photo.jpg"
    stored = np.asarray(Image.open(paths[0])) == 9
    np.testing.assert_array_equal(annotated.read((HEIGHT, WIDTH)) == 1, np.rot90(stored, -1))


def test_images_of_one_name_are_refused_for_a_tool_before_the_first_is_rendered(tmp_path: Path) -> None:
    frames = [replace(frame, image=tmp_path / str(i) / "0.png") for i, frame in enumerate(frames_of(2))]
    exporter = LabelExporter(FakeModel(taxonomy_of(4)), tmp_path / "out", [], annotations="coco")
    with pytest.raises(SceneError, match="for coco, found '0' twice"):
        exporter.export(frames)
    assert not (tmp_path / "out").exists()


def test_colour_and_confidence_lie_in_parallel_folders_under_the_same_name(tmp_path: Path) -> None:
    model = FakeModel(taxonomy_of(4, 9))
    LabelExporter(model, tmp_path, []).export(frames_of(1))
    color = np.asarray(Image.open(tmp_path / "seq/semantic_class_colour/label_0.png"))
    assert color[0].tolist() == [list(model.taxonomy.colors[x % 2]) for x in range(WIDTH)]
    confidence = np.asarray(Image.open(tmp_path / "seq/semantic_class_confidence/label_0.png"))
    assert confidence.tolist() == [[64] * WIDTH] * HEIGHT


def test_confidence_can_be_left_out(tmp_path: Path) -> None:
    LabelExporter(FakeModel(taxonomy_of(1)), tmp_path, [], with_confidence=False).export(frames_of(1))
    assert not list(tmp_path.rglob("*confidence*"))


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (1191, np.uint16)])
def test_ids_above_255_are_written_with_16_bits_and_read_back(largest: int, dtype: type, tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, 0]])
    image = label_image(labels, taxonomy_of(1, largest))
    assert image.dtype == dtype
    write_png(tmp_path / "a.png", image)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[1, largest], [largest, 1]]


def test_an_exported_label_image_encodes_back_to_the_rendered_classes(tmp_path: Path) -> None:
    taxonomy = taxonomy_of(4, 9, 700)
    (path,) = LabelExporter(FakeModel(taxonomy), tmp_path, []).export(frames_of(1))
    encoded = taxonomy.encode(np.asarray(Image.open(path)).astype(np.int64), where=str(path))
    assert encoded.tolist() == [[x % 3 for x in range(WIDTH)]] * HEIGHT


def test_the_class_table_is_written_beside_the_labels(tmp_path: Path) -> None:
    LabelExporter(FakeModel(taxonomy_of(4, 9)), tmp_path, []).export(frames_of(1))
    table = json.loads((tmp_path / "classes.json").read_text("utf8"))
    assert table["void_id"] == 0
    assert [entry["id"] for entry in table["classes"]] == [4, 9]
    assert table["classes"][0] == {"id": 4, "name": "class 4", "color": [10, 5, 200], "is_thing": True}


def test_nothing_is_written_inside_the_scene(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    with pytest.raises(SceneError, match="choose another --output-dir"):
        LabelExporter(FakeModel(taxonomy_of(4)), scene / "out", [scene]).export(frames_of(1))
    assert not list(scene.iterdir())


def test_a_link_into_the_scene_is_seen_through(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    (scene / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(scene / "out")
    with pytest.raises(SceneError, match="outside the scene"):
        LabelExporter(FakeModel(taxonomy_of(4)), tmp_path / "out", [scene]).export(frames_of(1))
    assert not list((scene / "out").iterdir())


def test_files_that_are_there_are_never_replaced_nor_mixed_with_those_of_another_run(tmp_path: Path) -> None:
    LabelExporter(FakeModel(taxonomy_of(4, 9)), tmp_path / "out", []).export(frames_of(2))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SceneError, match="new or an empty folder"):
        LabelExporter(FakeModel(taxonomy_of(5, 6)), tmp_path / "out", []).export(frames_of(1))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_frame_that_cannot_be_rendered_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(SceneError, match=r"3 frames, found frame seq/semantic_class/label_1\.png.*nothing was"):
        LabelExporter(FakeModel(taxonomy_of(4), fails_at=1), output, [], annotations="yolo").export(frames_of(3))
    assert not list(tmp_path.iterdir())
    assert len(LabelExporter(FakeModel(taxonomy_of(4)), output, []).export(frames_of(3))) == 3


def test_a_run_without_classes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(taxonomy_of(4))
    monkeypatch.setattr(model, "get_outputs_for_camera", lambda camera: {"accumulation": model.accumulation})
    with pytest.raises(SceneError, match="use-semantics False"):
        LabelExporter(model, tmp_path / "out", []).export(frames_of(1))
    assert not list(tmp_path.iterdir())


def test_no_frame_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="at least one frame"):
        LabelExporter(FakeModel(taxonomy_of(4)), tmp_path / "out", []).export([])


def test_frames_take_the_names_of_the_dataparser_and_one_camera_each(tmp_path: Path) -> None:
    frames = dataset_frames(dataset_of(["a/x.png", "a/y.tif"], tmp_path))
    assert [str(frame.name) for frame in frames] == ["a/x.png", "a/y.png"]
    assert [int(frame.camera.camera_to_worlds[0, 0, 3]) for frame in frames] == [0, 1]


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png"])
def test_names_that_leave_the_output_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="inside the scene folder"):
        dataset_frames(dataset_of([name], tmp_path))


def test_a_run_of_a_foreign_dataparser_is_refused(tmp_path: Path) -> None:
    dataset = dataset_of(["a.png"], tmp_path)
    del dataset.metadata["label_export_names"]
    with pytest.raises(SceneError, match="--frames camera-path"):
        dataset_frames(dataset)


def test_all_is_train_then_test_each_frame_once(tmp_path: Path) -> None:
    train, test = dataset_of(["l/1.png", "l/2.png"], tmp_path), dataset_of(["l/2.png", "l/3.png"], tmp_path)
    manager: Any = SimpleNamespace(train_dataset=train, eval_dataset=test)
    names = {choice: [f.name.name for f in choose_frames(manager, choice, None)] for choice in ("train", "test", "all")}
    assert names == {
        "train": ["1.png", "2.png"],
        "test": ["2.png", "3.png"],
        "all": ["1.png", "2.png", "3.png"],
    }


def test_unique_frames_keeps_the_first_of_each_name() -> None:
    first, second = frames_of(2)
    assert unique_frames([first, second, Frame(first.name, second.camera)]) == [first, second]


def test_a_camera_path_gives_one_frame_per_camera_with_its_size(tmp_path: Path) -> None:
    frames = camera_path_frames(write_camera_path(tmp_path / "path.json"))
    assert [str(frame.name) for frame in frames] == ["semantics/frame_00001.png", "semantics/frame_00002.png"]
    assert (int(frames[0].camera.height), int(frames[0].camera.width)) == (HEIGHT, WIDTH)


CROP = {"crop_center": [0.5, 0, 0], "crop_scale": [1, 2, 3], "crop_rot": [0, 0, 0], "crop_bg_color": {}}


def test_a_crop_of_a_path_reaches_the_model_so_that_outside_is_void_or_is_refused(tmp_path: Path) -> None:
    class Cropping(FakeModel):
        def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
            assert obb_box is not None
            places = torch.tensor([0.0, 0.25, 0.9, 1.1, 2.0])  # along x, of the columns
            is_inside = obb_box.within(torch.stack([places, places * 0, places * 0], dim=1))
            return {
                **super().get_outputs_for_camera(camera),
                "accumulation": is_inside.float().expand(HEIGHT, WIDTH)[..., None],
            }

    for name, crop in (("whole", None), ("cropped", CROP)):
        frames = camera_path_frames(write_camera_path(tmp_path / "path.json", crop=crop))
        model = FakeModel(taxonomy_of(4, 9)) if crop is None else Cropping(taxonomy_of(4, 9))
        LabelExporter(model, tmp_path / name, []).export(frames)
    whole, cropped = (
        np.asarray(Image.open(tmp_path / name / "semantics/frame_00001.png")) for name in ("whole", "cropped")
    )
    assert cropped[0].tolist() == [0, *whole[0, 1:3].tolist(), 0, 0]
    assert whole[0].tolist() == [4, 9, 4, 9, 4]
    of_many_rooms: Any = FakeModel(taxonomy_of(4, 9))
    of_many_rooms.renders_from_sources = True
    with pytest.raises(SceneError, match="path without a crop"):
        LabelExporter(of_many_rooms, tmp_path / "none", []).export(frames)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "none that can be read"),
        ("{\n,", "line 2"),
        ("{}", "KeyError"),
        ("[1]", "TypeError"),
        ('{"render_height": 4, "render_width": 4, "camera_path": []}', "camera path"),
        (
            '{"render_height": 4, "render_width": 4, "crop": {"crop_center": [1]},'
            ' "camera_path": [{"camera_to_world": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "fov": 3}]}',
            "ValueError",
        ),
        ('{"render_height": 4, "render_width": 4, "camera_path": [{"camera_to_world": [1, 2], "fov": 3}]}', "camera"),
    ],
)
def test_a_file_without_a_camera_path_is_refused_with_its_name(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "path.json"
    if content is not None:
        path.write_text(content, "utf8")
    with pytest.raises(SceneError, match=said) as caught:
        camera_path_frames(path)
    assert str(path) in str(caught.value)


def test_a_camera_path_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="--camera-path-filename"):
        choose_frames(cast(Any, SimpleNamespace()), "camera-path", None)


def test_the_protected_input_is_the_scene_folder_and_every_file_of_it(tmp_path: Path) -> None:
    label = tmp_path / "elsewhere/label.png"
    manager: Any = SimpleNamespace(
        config=SimpleNamespace(dataparser=SimpleNamespace(data=tmp_path / "scene")),
        train_dataset=dataset_of(["a.png", "b.png"], tmp_path / "images", [label, None]),
        eval_dataset=dataset_of(["c.png"], tmp_path / "images"),
    )
    (tmp_path / "scene").mkdir()
    assert {tmp_path / "scene", label, tmp_path / "images/rgb/1.png"} <= set(input_paths(manager))


def test_a_scene_given_as_a_file_protects_its_folder(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text("{}", "utf8")
    manager: Any = SimpleNamespace(
        config=SimpleNamespace(dataparser=SimpleNamespace(data=tmp_path / "transforms.json")),
        train_dataset=dataset_of([], tmp_path),
        eval_dataset=dataset_of([], tmp_path),
    )
    assert input_paths(manager) == [tmp_path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half", "utf8")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert json.loads(path.read_text("utf8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_bad_input_ends_a_command_with_one_sentence_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise SceneError("Expected this, found that.")

    with pytest.raises(SystemExit) as caught:
        run_command(refuse)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "Error: Expected this, found that.\n"


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(fail)


def test_the_command_says_which_config_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--load-config", str(tmp_path / "config.yml"), "--output-dir", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["sns-export-labels", *options])
    with pytest.raises(SystemExit) as caught:
        entrypoint()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"Error: Expected the config.yml of a training run, found no file {tmp_path}")
    assert said.count("\n") == 1
