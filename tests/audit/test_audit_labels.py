"""What `sns-audit-labels` writes, what it refuses, and that it finds an error planted in a scene."""

import copy
import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.audit.regions import RegionRule
from semantic_ns.audit.report import summary, write_audit, write_fixed_labels
from semantic_ns.audit.run import LabelledImage, TrainedRun, audit, render_run
from semantic_ns.cli import audit_labels
from semantic_ns.cli.audit_labels import AuditLabels
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.captions import GAP_PX
from semantic_ns.fusion.label_fusion import View
from semantic_ns.io.writing import refuse_used_folder
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.taxonomy import VOID, Taxonomy
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.synthetic_scene import write_replica_scene

SHAPE = (20, 30)
BOX = np.s_[14:24, 18:30]
EVERY = RegionRule(min_area=1, min_confidence=0.0, border_px=0)
COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
TAXONOMY = Taxonomy((4, 9, 700), ("wall, white", "chair", "table"), COLORS, (True,) * 3, 0)


class FakeDataset(SemanticDataset):
    """Three grey images."""

    def __init__(self) -> None:
        self.metadata = {"taxonomy": TAXONOMY}
        self.cameras = Cameras(torch.eye(4)[:3].repeat(3, 1, 1), 15.0, 15.0, 15.0, 10.0, SHAPE[1], SHAPE[0])

    @property
    def image_filenames(self) -> list[Path]:
        return [Path(f"rgb/rgb_{i}.png") for i in range(3)]

    def __len__(self) -> int:
        return 3

    def get_image_float32(self, image_idx: int) -> torch.Tensor:
        return torch.full((*SHAPE, 1), 0.1 * image_idx)


def image_of(index: int, given: np.ndarray, field: np.ndarray, confidence: float = 0.9) -> LabelledImage:
    view = View(np.full(SHAPE, 2.0, np.float32), np.eye(4), np.array([15.0, 15.0, 15.0, 10.0]))
    return LabelledImage(index, given, field, np.full(SHAPE, confidence, np.float32), view)


def run_of(*given: np.ndarray) -> TrainedRun:
    """A run whose field has class 1 everywhere; all images are taken from one place, the first has no label."""
    field = np.ones(SHAPE, np.int16)
    images = [image_of(index, labels, field) for index, labels in enumerate(given, start=1)]
    unlabelled = np.full(SHAPE, VOID, np.int16)
    return TrainedRun(FakeDataset(), [unlabelled, *given], LabelSource(None, CorruptionConfig()), images)


def labels_with(*boxes: tuple[Any, int]) -> np.ndarray:
    labels = np.ones(SHAPE, np.int16)
    for box, value in boxes:
        labels[box] = value
    return labels


@pytest.fixture
def two_errors() -> TrainedRun:
    return run_of(labels_with((np.s_[2:7, 3:9], 0)), labels_with((np.s_[10:20, 20:30], 2)))


def test_the_list_is_exactly_this(two_errors: TrainedRun, tmp_path: Path) -> None:
    write_audit(tmp_path / "out", two_errors, audit(two_errors, EVERY, 100))
    # 100 and 30 pixels of ln 9 each, times (1 + 1) / (1 + 2).
    assert (tmp_path / "out/audit.csv").read_text("utf8") == (
        "rank,frame,image,given,suggested,area_px,left,top,right,bottom,confidence,score,views,views_suggested,"
        "views_given,picture\n"
        "1,2,rgb/rgb_2.png,table,chair,100,20,10,30,20,0.9000,146.48,1,1,0,region_001.png\n"
        '2,1,rgb/rgb_1.png,"wall, white",chair,30,3,2,9,7,0.9000,43.94,1,1,0,region_002.png\n'
    )


def test_the_list_is_cut_after_the_worst(two_errors: TrainedRun) -> None:
    assert [(finding.rank, finding.region.area) for finding in audit(two_errors, EVERY, 1)] == [(1, 100)]


def test_there_is_a_picture_of_each_region_with_its_outline(two_errors: TrainedRun, tmp_path: Path) -> None:
    write_audit(tmp_path, two_errors, audit(two_errors, EVERY, 100))
    assert {path.name for path in tmp_path.iterdir()} == {"audit.csv", "region_001.png", "region_002.png"}
    picture = np.asarray(Image.open(tmp_path / "region_002.png"))
    # The box 3..9 x 2..7 with 8 pixels around is cut off at the image: 17 x 15 pixels, enlarged 14 times.
    height, width, panel = 5 * 14, 6 * 14, 17 * 14 + GAP_PX
    is_given = (picture == TAXONOMY.colors[0]).all(-1)
    whole = np.lib.stride_tricks.sliding_window_view(is_given, (height, width)).all((-1, -2))
    ((y, x),) = np.argwhere(whole).tolist()
    assert (picture[y : y + height, x + panel : x + panel + width] == TAXONOMY.colors[1]).all()
    for left in range(x - panel, x + 3 * panel, panel):
        for edge in (picture[y - 1, left : left + width], picture[y : y + height, left - 1]):
            assert (edge == 255).all()


def test_nothing_found_gives_an_empty_list_and_says_so(tmp_path: Path) -> None:
    run = run_of(labels_with())
    findings = audit(run, EVERY, 100)
    write_audit(tmp_path, run, findings)
    assert len((tmp_path / "audit.csv").read_text("utf8").splitlines()) == 1
    assert "contradicts no region of the labels of 1 images" in summary(run, findings)


def test_the_summary_says_how_much_where_and_what(two_errors: TrainedRun) -> None:
    said = summary(two_errors, audit(two_errors, EVERY, 100))
    assert "2 regions in 2 of 2 labelled images, 11 % of their pixels; in 2 of these" in said
    assert "table -> chair (1)" in said


def test_fixed_labels_have_the_class_of_the_field_in_listed_regions_alone(two_errors: TrainedRun) -> None:
    before = [labels.copy() for labels in two_errors.given]
    (worst,) = audit(two_errors, EVERY, 1)
    written: dict[str, Any] = {}

    def keep(folder: Path, dataset: Any, labels: Any, source: Any) -> None:
        written.update(folder=folder, labels=labels, source=source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semantic_ns.audit.report.write_label_folder", keep)
        assert write_fixed_labels(Path("fixed"), two_errors, [worst]) == 1
    assert written["source"] == two_errors.source
    expected = [*before[:2], np.ones(SHAPE, np.int16)]
    for labels, right, original, given in zip(written["labels"], expected, before, two_errors.given, strict=True):
        assert (labels == right).all()
        assert (given == original).all()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    refuse_used_folder(tmp_path / "new", "--output")
    refuse_used_folder(tmp_path, "--output")
    (tmp_path / "labels.png").touch()
    for place in (tmp_path, tmp_path / "labels.png"):
        with pytest.raises(SceneError, match="choose another --fix"):
            refuse_used_folder(place, "--fix")


def test_a_folder_that_cannot_be_written_is_told(two_errors: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SceneError, match="cannot be written"):
        write_audit(tmp_path / "file" / "out", two_errors, audit(two_errors, EVERY, 100))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_area": 0}, "--min-area"),
        ({"min_confidence": 1.5}, "--min-confidence"),
        ({"border_px": -1}, "--border-px"),
        ({"max_regions": 0}, "--max-regions"),
        ({"fix": Path("out")}, "--fix"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").touch()
    with pytest.raises(SceneError, match=named):
        AuditLabels(tmp_path / "config.yml", Path("out"), **options).main()


def test_the_command_says_which_config_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--load-config", str(tmp_path / "config.yml"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["sns-audit-labels", *options])
    with pytest.raises(SystemExit) as caught:
        audit_labels.entrypoint()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("Error: Expected the config.yml of a training run, found no file")


class FakeModel:
    """A model that was trained without classes."""

    taxonomy, device, gives_raw_outputs = TAXONOMY, "cpu", True

    def raw_outputs(self) -> Any:
        return torch.no_grad()

    def get_outputs_for_camera(self, camera: Any) -> dict[str, torch.Tensor]:
        return {"rgb": torch.zeros(*SHAPE, 3)}


def pipeline_of(given: np.ndarray) -> Any:
    return SimpleNamespace(
        model=FakeModel(),
        datamanager=SimpleNamespace(train_dataset=FakeDataset(), training_labels=[given]),
    )


def test_a_run_without_any_label_is_refused() -> None:
    with pytest.raises(SceneError, match="training images with labels"):
        render_run(pipeline_of(np.full(SHAPE, VOID, np.int16)))


def test_a_run_without_classes_is_refused() -> None:
    with pytest.raises(SceneError, match="use-semantics False"):
        render_run(pipeline_of(labels_with()))


@pytest.fixture(scope="module")
def wrong_scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A scene in which a box of frame 12 has the class of another object; and the right ids of frame 12.

    With 24 frames one training of five finds no connected region of the box, with 36 all find most of it.
    """
    folder = write_replica_scene(tmp_path_factory.mktemp("audit") / "room", num_frames=36)
    label = folder / "Sequence_1/semantic_class/semantic_class_12.png"
    right = np.asarray(Image.open(label))
    wrong = right.copy()
    wrong[BOX] = next(i for i in np.unique(right) if i != 0 and i not in right[BOX])
    Image.fromarray(wrong).save(label)
    return folder, right


@pytest.fixture(scope="module")
def trained_on_errors(wrong_scene: tuple[Path, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = copy.deepcopy(semantic_nerf.config)
    # After 300 steps the depth of some runs is still too rough for any other view to be counted as seeing the box.
    config.output_dir, config.max_num_iterations = tmp_path_factory.mktemp("outputs"), 200
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.pipeline.datamanager.data = wrong_scene[0]
    config.pipeline.datamanager.train_num_rays_per_batch = 512  # pyright: ignore[reportAttributeAccessIssue]
    config.pipeline.datamanager.dataparser = ReplicaDataParserConfig(split="all")  # pyright: ignore[reportAttributeAccessIssue]
    config.pipeline.eval_images_at_end = 0  # pyright: ignore[reportAttributeAccessIssue]
    config.pipeline.propagation.clean_noise_rate = 0.0  # pyright: ignore[reportAttributeAccessIssue]  # a single error must not pass for clean
    config.pipeline.model.log2_hashmap_size, config.pipeline.model.max_res = 12, 128  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


def test_an_error_planted_in_one_image_is_the_worst_region_and_is_corrected(
    wrong_scene: tuple[Path, np.ndarray],
    trained_on_errors: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, right = wrong_scene
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    AuditLabels(trained_on_errors, tmp_path / "out", tmp_path / "fixed", min_confidence=0.3, border_px=1).main()
    with (tmp_path / "out/audit.csv").open(encoding="utf8", newline="") as file:
        worst = next(csv.DictReader(file))
    assert worst["image"].endswith("rgb_12.png")
    assert int(worst["views_suggested"]) > int(worst["views_given"])
    left, top, right_end, bottom = (int(worst[name]) for name in ("left", "top", "right", "bottom"))
    assert 18 <= left < right_end <= 30
    assert 14 <= top < bottom <= 24
    fixed = np.asarray(Image.open(tmp_path / "fixed/rgb_12.png"))
    wrong = np.asarray(Image.open(folder / "Sequence_1/semantic_class/semantic_class_12.png"))
    assert (fixed != right).sum() < 0.75 * (wrong != right).sum()
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    said = capsys.readouterr().out
    assert "The field contradicts" in said
    assert str(tmp_path / "fixed") in said
