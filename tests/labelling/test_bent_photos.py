"""Photos that a lens bends, labelled as Gaussians see them: what is written or read for others lies on the photos."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.folder_oracle import FolderOracle
from semantic_ns.active_learning.rounds.suggestions import write_suggestions
from semantic_ns.active_learning.strategies.candidates import Choice
from semantic_ns.audit.other_views import ViewSupport
from semantic_ns.audit.regions import Region
from semantic_ns.audit.report import write_audit
from semantic_ns.audit.run import Finding, LabelledImage, TrainedRun
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource, read_label_folder
from semantic_ns.fusion.views import SceneView
from semantic_ns.io.run_lengths import decode_coco, encode_coco
from semantic_ns.labelling.import_files import read_import
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import (
    LabelSurface,
    _frames_of,
    load_label_surface,
    read_color,
    save_label_surface,
)
from semantic_ns.labels.corruption import CorruptionConfig
from support.bent_scene import BENT, FISHEYE, HEIGHT, NUM_FRAMES, WIDTH, write_bent_scene
from support.label_surfaces import make_label_surface

ONE_PIXEL = 40


@pytest.fixture(scope="module", params=[BENT, FISHEYE], ids=["opencv", "fisheye"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bent_scene(tmp_path_factory.mktemp("bent") / "scene", request.param)


@pytest.fixture(scope="module")
def taken(scene: Path) -> SemanticDataset:
    return SemanticDataset(AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train"))


@pytest.fixture(scope="module")
def pinholes(taken: SemanticDataset) -> SemanticDataset:
    return PinholeDataset.of(taken)


@pytest.fixture(scope="module")
def surface(scene: Path, pinholes: SemanticDataset, tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    """A surface with the frames of a run of Gaussians; where its voxels lie does not matter, since all is painted."""
    folder = tmp_path_factory.mktemp("run")
    frames = _frames_of(cast(Any, SimpleNamespace(
        pipeline=SimpleNamespace(datamanager=SimpleNamespace(train_dataset=pinholes)), load_config=folder / "config.yml"
    )))  # fmt: skip
    plain = make_label_surface(folder / "plain", len(frames))
    taxonomy = pinholes.taxonomy
    classes = [
        replace(plain.classes[0], id=n, name=name) for n, name in zip(taxonomy.source_ids, taxonomy.names, strict=True)
    ]
    voxels = np.zeros((len(frames), HEIGHT, WIDTH), np.int32)
    return replace(
        plain, frames=frames, classes=tuple(classes), void_id=taxonomy.void_source_id, scene=scene, pixel_voxels=voxels
    )


@pytest.fixture
def session(surface: LabelSurface, pinholes: SemanticDataset, tmp_path: Path) -> Any:
    """All pixels are painted with the labels of the pictures that Gaussians are trained on."""
    made, sequence = LabelSession(surface, tmp_path / "journal"), 0
    for frame in range(len(pinholes)):
        labels = pinholes.labels_of(frame)
        for number, class_id in enumerate(pinholes.taxonomy.source_ids):
            if (labels == number).any():
                shape = {"kind": "mask", "runs": encode_coco(labels == number)["counts"]}
                made.add_mark(Mark(frame, class_id, shape, "paint"), "a", sequence)
                sequence += 1
    yield made
    made.close()


def test_exported_labels_serve_runs_on_the_photos_and_on_the_pictures_of_gaussians(
    session: LabelSession, scene: Path, pinholes: SemanticDataset, taken: SemanticDataset, tmp_path: Path
) -> None:
    session.export(tmp_path / "out", coco=True)
    for dataset, least_known in ((pinholes, 0.97), (taken, 0.3)):
        for index, found in enumerate(read_label_folder(str(tmp_path / "out"), dataset, scene)):
            is_known = found >= 0
            assert is_known.mean() > least_known
            assert (found == dataset.labels_of(index))[is_known].mean() > 0.98
    content = json.loads((tmp_path / "out/annotations/instances_default.json").read_text())
    assert [one["file_name"] for one in content["images"]] == [path.name for path in taken.image_filenames]
    for annotation in content["annotations"]:
        index = annotation["image_id"] - content["images"][0]["id"]
        mask = decode_coco(annotation["segmentation"]["counts"], WIDTH, HEIGHT)
        ids = np.asarray(Image.open(tmp_path / f"out/{session.frames[index].name}.png"))
        assert (mask == (ids == annotation["category_id"])).all()


@pytest.mark.parametrize("part", [".", "annotations"])
def test_exported_labels_come_back_to_a_session_on_gaussians(
    session: LabelSession, surface: LabelSurface, tmp_path: Path, part: str
) -> None:
    session.export(tmp_path / "out", coco=True)
    if part != ".":
        for path in (tmp_path / "out").glob("*.*"):
            path.unlink()
    again = read_import(tmp_path / "out" / part, surface.frames)
    for frame, ids in enumerate(again.ids):
        assert (ids >= 0).mean() > 0.97
        assert (ids == session.labels(frame))[ids >= 0].mean() > 0.98


def test_a_kept_surface_knows_the_lenses(surface: LabelSurface, tmp_path: Path) -> None:
    (tmp_path / "nerfstudio_models").mkdir()
    (tmp_path / "nerfstudio_models/step-000000001.ckpt").touch()
    save_label_surface(surface, tmp_path / "config.yml", 100)
    again = load_label_surface(tmp_path / "config.yml", 100)
    assert again is not None
    assert again.frames == surface.frames
    assert all(info.bent is not None for info in again.frames)


def units_of(dataset: SemanticDataset) -> Units:
    """A unit for each class of the first image, one of them of a single pixel, and one for each further image."""
    first = dataset.labels_of(0).astype(np.int32)
    numbers = np.searchsorted(np.unique(first), first).astype(np.int32)
    numbers[ONE_PIXEL, ONE_PIXEL] = numbers.max() + 1
    count = int(numbers.max()) + 1
    maps = [numbers, *(np.full(first.shape, count + n, np.int32) for n in range(len(dataset) - 1))]
    frames = np.array([0] * count + [*range(1, len(dataset))], np.int32)
    sizes = np.concatenate([np.bincount(one.ravel())[one.min() :] for one in maps])
    return Units(maps, frames, sizes, np.ones(len(frames), np.int64))


@pytest.fixture
def asked(pinholes: SemanticDataset, tmp_path: Path) -> Callable[[], tuple[FolderOracle, Units]]:
    def asking() -> tuple[FolderOracle, Units]:
        units = units_of(pinholes)
        oracle = FolderOracle(tmp_path / "questions", units, pinholes, {})
        oracle.ask(0, np.arange(len(units)))
        return oracle, units

    return asking


def boxed(numbers: np.ndarray, number: int) -> list[int]:
    rows, columns = np.nonzero(numbers == number)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_questions_are_about_pixels_of_the_photo(
    asked: Callable[[], tuple[FolderOracle, Units]], pinholes: SemanticDataset, taken: SemanticDataset, tmp_path: Path
) -> None:
    asked()
    content = json.loads((tmp_path / "questions/round-00_frame-0000.json").read_text())
    numbers = np.asarray(Image.open(tmp_path / "questions" / content["image_of_units"]))
    labels = taken.labels_of(0)
    places = np.searchsorted(np.unique(pinholes.labels_of(0)), labels) + 1
    is_asked = (numbers > 0) & (numbers < len(content["units"]))
    assert (numbers == places)[is_asked].mean() > 0.97
    assert (numbers == len(content["units"])).any()
    assert content["boxes"] == [boxed(numbers, number) for number in range(1, len(content["units"]) + 1)]


def test_a_session_answers_what_a_run_of_gaussians_asks(
    asked: Callable[[], tuple[FolderOracle, Units]],
    session: LabelSession,
    pinholes: SemanticDataset,
    tmp_path: Path,
) -> None:
    oracle, units = asked()
    questions = QuestionFolder(tmp_path / "questions", session)
    assert questions.problem is None
    for question in questions.questions():
        if question.is_of_frame or question.frame > 0:
            questions.confirm_frame(question)
    answers = oracle.answers(np.arange(len(units)), 1)
    for answer in answers:
        if answer.frame > 0:
            is_known = answer.labels >= 0
            assert is_known.mean() > 0.97
            assert (answer.labels == pinholes.labels_of(answer.frame))[is_known].mean() > 0.98
    assert len({answer.frame for answer in answers}) == len(pinholes)
    first = next(question for question in questions.questions() if question.frame == 0)
    assert set(np.unique(first.numbers)) >= set(range(1, first.num_units + 1))
    is_same = first.numbers - 1 == units.maps[0]
    assert is_same[first.numbers > 0].mean() > 0.97


def test_a_unit_of_a_bent_photo_that_has_two_classes_is_answered_pixel_by_pixel(
    asked: Callable[[], tuple[FolderOracle, Units]],
    session: LabelSession,
    pinholes: SemanticDataset,
    tmp_path: Path,
) -> None:
    oracle, units = asked()
    questions = QuestionFolder(tmp_path / "questions", session)
    question = next(one for one in questions.questions() if one.frame == 0)
    number = int(np.bincount(question.numbers.ravel())[1:].argmax()) + 1
    is_asked = question.numbers == number
    is_left = np.arange(is_asked.shape[1]) < np.median(np.nonzero(is_asked)[1])
    names = pinholes.taxonomy.names
    ids = [next(one.id for one in session.classes if one.name == name) for name in names[:2]]
    for place, mask in enumerate((is_asked & is_left, is_asked & ~is_left)):
        runs = encode_coco(mask)["counts"]
        session.add_mark(Mark(0, ids[place], {"kind": "mask", "runs": runs}), "parts", place)
    questions.update(None)
    found = next(one for one in oracle.answers(np.arange(len(units)), 1) if one.frame == 0)
    assert number - 1 in found.units
    labels = found.labels[is_asked]
    expected = np.broadcast_to(np.where(is_left, 0, 1), is_asked.shape)[is_asked]
    assert (labels >= 0).mean() > 0.9
    assert (labels == expected)[labels >= 0].mean() > 0.98


def test_suggestions_are_about_pixels_of_the_photo(
    pinholes: SemanticDataset, taken: SemanticDataset, tmp_path: Path
) -> None:
    units = units_of(pinholes)
    chosen = np.arange(int(units.maps[0].max()) + 1)
    write_suggestions(tmp_path, pinholes, units, Choice(chosen, np.zeros(len(chosen))), SelectionConfig())
    numbers = np.asarray(Image.open(tmp_path / "frame_0000_units.png"))
    places = np.searchsorted(np.unique(pinholes.labels_of(0)), taken.labels_of(0)) + 1
    assert (numbers == places)[(numbers > 0) & (numbers < len(chosen))].mean() > 0.97
    for entry in json.loads((tmp_path / "suggestions.json").read_text())["suggestions"]:
        assert entry["box"] == boxed(numbers, entry["number"])
        assert entry["pixels"] == (numbers == entry["number"]).sum()


def test_audits_tell_boxes_of_the_photo(pinholes: SemanticDataset, tmp_path: Path) -> None:
    box = np.s_[2:12, 40:60]
    region = Region(0, 0, 1, box, np.ones((10, 20), bool), 0.9, 1.0)
    given = np.zeros((HEIGHT, WIDTH), np.int16)
    depth_m = np.ones((HEIGHT, WIDTH), np.float32)
    image = LabelledImage(0, given, given, depth_m, SceneView(pinholes, 0).with_depth(depth_m))
    run = TrainedRun(pinholes, [given], LabelSource(None, CorruptionConfig()), [image])
    write_audit(tmp_path, run, [Finding(1, region, ViewSupport(1, 1, 0), 1.0)])
    header, row = (line.split(",") for line in (tmp_path / "audit.csv").read_text().splitlines())
    found = dict(zip(header, row, strict=True))
    mask = np.zeros((HEIGHT, WIDTH), np.int32)
    mask[box] = 1
    on_photo = pinholes.as_stored(mask, 0, unseen=0)
    assert [int(found[side]) for side in ("left", "top", "right", "bottom")] == boxed(on_photo, 1) != [40, 2, 60, 12]
    assert int(found["area_px"]) == on_photo.sum()


def test_pictures_of_frames_are_those_that_gaussians_see(surface: LabelSurface, pinholes: SemanticDataset) -> None:
    assert len(surface.frames) == len(pinholes) <= NUM_FRAMES
    for index, info in enumerate(surface.frames):
        color = (pinholes.color_of(index) * 255).round().byte().numpy()
        assert (read_color(info) == color).all()
        assert info.photo == Path(pinholes.image_filenames[index]).resolve()
