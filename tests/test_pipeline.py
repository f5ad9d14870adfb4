"""What ns-eval and the trainer get from the pipeline."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.train import main as train
from PIL import Image
from torch import Tensor, nn

from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.accumulator import SceneAccumulator
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig, without_nan
from support.registered import SMALL, configured

HEIGHT, WIDTH = 2, 4
METRES_PER_UNIT = 2.0
POOLED = {"miou", "miou_present", "miou_per_image", "class_accuracy", "pixel_accuracy", "fwiou"}
RULES = {"split", "void_rule", "miou_rule"}
WORST = {"worst_miou_present", "worst_depth_l1"}
TIMES = {"num_rays_per_sec", "fps"}


class FakeModel(nn.Module):
    """Predicts class 0 everywhere and depth 1; reports a PSNR of 10, 20, ... for the first, second, ... image."""

    def __init__(self) -> None:
        super().__init__()
        self.taxonomy = Taxonomy((3, 7), ("wall", "lamp"), ((9, 9, 9), (200, 0, 0)), (False, True), 0)
        self.evaluation_state = SceneAccumulator(2, METRES_PER_UNIT)
        self.is_raw = False
        self.num_seen = 0

    @contextmanager
    def raw_outputs(self) -> Iterator[None]:
        self.is_raw = True
        try:
            yield
        finally:
            self.is_raw = False

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, Tensor]:
        assert self.is_raw
        assert not self.training
        labels = torch.zeros(HEIGHT, WIDTH, 1, dtype=torch.int64)
        return {"semantics_labels": labels, "planar_depth": torch.ones(HEIGHT, WIDTH, 1)}

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        self.num_seen += 1
        self.evaluation_state.add_labels(outputs["semantics_labels"], batch["semantics"])
        if "depth_image_m" in batch:
            self.evaluation_state.add_depth(outputs["planar_depth"], batch["depth_image_m"])
        return {"psnr": 10.0 * self.num_seen}, {"grid": torch.zeros(HEIGHT, WIDTH, 3)}


class FakeEvalDataset:
    """Images whose labels are those given; with `load_depth` also a depth of 3 m."""

    loads_depth = True
    load_depth = False
    metadata: ClassVar = {"split": "every 8th frame: 7 train, 1 test images", "void_rule": "void is not scored"}

    def __init__(self, labels: list[Tensor]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Cameras, dict[str, Tensor]]]:
        camera = Cameras(torch.eye(4)[None, :3], 1.0, 1.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
        depth = {"depth_image_m": torch.full((HEIGHT, WIDTH, 1), 3.0)} if self.load_depth else {}
        for labels in self.labels:
            yield camera, {"semantics": labels, **depth}


class FakeTrainDataset:
    """What a model is set up with."""

    scene_box = None
    metadata: ClassVar[dict[str, Any]] = {}

    def __len__(self) -> int:
        return 1


class FakeDataManager(nn.Module):
    """A data manager that only evaluates."""

    def __init__(self, eval_dataset: Any) -> None:
        super().__init__()
        self.train_dataset = FakeTrainDataset()
        self.eval_dataset = eval_dataset
        self.fixed_indices_eval_dataloader = eval_dataset


def make_pipeline(labels: list[Tensor], eval_dataset: Any = None) -> SemanticPipeline:
    dataset = FakeEvalDataset(labels) if eval_dataset is None else eval_dataset
    config = SemanticPipelineConfig(
        datamanager=cast(Any, SimpleNamespace(setup=lambda **_: FakeDataManager(dataset))),
        model=cast(Any, SimpleNamespace(setup=lambda **_: FakeModel())),
    )
    return SemanticPipeline(config, device="cpu", test_mode="test")


def image_of(*classes: int) -> Tensor:
    """One label image whose columns hold the classes."""
    return torch.tensor(classes).expand(HEIGHT, len(classes))[..., None]


TWO_IMAGES = [image_of(0, 0, 0, 0), image_of(0, 1, 1, -1)]


def ns_eval(pipeline: SemanticPipeline, folder: Path | None = None) -> dict[str, Any]:
    """Call the pipeline as scripts/eval.py does, and go through JSON."""
    metrics = pipeline.get_average_eval_image_metrics(output_path=folder, get_std=True)
    return json.loads(json.dumps(metrics, allow_nan=False))


def test_ns_eval_gets_every_score_the_split_and_the_rules() -> None:
    results = ns_eval(make_pipeline(TWO_IMAGES))
    per_image = {"psnr", "psnr_std", *TIMES, *(f"{name}_std" for name in TIMES)}
    depth = {"depth_l1", "depth_rel", "depth_delta1"}
    assert set(results) == per_image | POOLED | depth | RULES | WORST | {"iou/wall", "iou/lamp", "num_images"}
    assert results["num_images"] == 2
    assert results["split"] == FakeEvalDataset.metadata["split"]
    assert results["void_rule"] == FakeEvalDataset.metadata["void_rule"]
    assert all(f"{name}: " in results["miou_rule"] for name in ("miou", "miou_present", "miou_per_image"))


def test_pooled_scores_count_all_pixels_while_psnr_stays_a_mean_over_images() -> None:
    results = ns_eval(make_pipeline(TWO_IMAGES))
    assert results["iou/wall"] == pytest.approx(10 / 14)  # 2 rows x (4 + 1) right, 2 x 2 false, void left out
    assert results["iou/lamp"] == 0
    assert results["miou"] == pytest.approx(5 / 14)
    assert results["miou_per_image"] == pytest.approx((1 + (1 / 3 + 0) / 2) / 2)
    assert results["pixel_accuracy"] == pytest.approx(10 / 14)
    assert results["psnr"] == pytest.approx(15)


def test_depth_is_loaded_for_evaluation_and_scored_in_metres() -> None:
    results = ns_eval(make_pipeline(TWO_IMAGES))
    assert results["depth_l1"] == pytest.approx(3 - 1 * METRES_PER_UNIT)


def test_a_data_set_without_depth_gets_no_depth_scores() -> None:
    class WithoutDepth:
        metadata = FakeEvalDataset.metadata

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[tuple[Cameras, dict[str, Tensor]]]:
            return iter(FakeEvalDataset([image_of(0, 0, 0, 0)]))

    results = ns_eval(make_pipeline([], WithoutDepth()))
    assert not any(name.startswith("depth") for name in results)


def test_the_worst_images_are_named_with_their_scores_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    results = ns_eval(make_pipeline(TWO_IMAGES))
    perfect, poor = (
        {"image": f"image {i}", "psnr": None, "miou_present": pytest.approx(miou), "depth_l1": 1.0}
        for i, miou in ((0, 1.0), (1, (2 / 6 + 0) / 2))
    )
    assert results["worst_miou_present"] == [poor, perfect]
    assert {image["image"] for image in results["worst_depth_l1"]} == {"image 0", "image 1"}
    said = capsys.readouterr().out
    assert "all 2 scored" in said
    assert f"{results['miou_present']:.3f}" in said


def test_evaluating_twice_gives_the_same_scores() -> None:
    pipeline = make_pipeline(TWO_IMAGES)
    first, second = ns_eval(pipeline), ns_eval(pipeline)
    assert {name: first[name] for name in POOLED} == {name: second[name] for name in POOLED}


def test_one_image_makes_valid_json_with_null_for_what_does_not_exist() -> None:
    results = ns_eval(make_pipeline([image_of(0, 0, 1, 1)]))
    assert results["psnr_std"] is None
    assert results["miou"] == pytest.approx(0.25)


def test_images_of_void_only_make_valid_json_too() -> None:
    results = ns_eval(make_pipeline([image_of(-1, -1, -1, -1)] * 2))
    assert all(results[name] is None for name in POOLED)


def test_the_trainer_gets_finite_numbers_only() -> None:
    """Its log writers take scalars."""
    metrics = make_pipeline([image_of(-1, -1, -1, -1)]).get_average_eval_image_metrics(step=100)
    assert metrics["num_images"] == 1
    assert not RULES & set(metrics)
    assert not POOLED & set(metrics)
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in metrics.values())


def test_the_model_renders_labels_during_evaluation_only() -> None:
    pipeline = make_pipeline(TWO_IMAGES)
    assert not pipeline.model.is_raw
    ns_eval(pipeline)
    assert not pipeline.model.is_raw


def test_saved_pictures_come_with_a_legend(tmp_path: Path) -> None:
    ns_eval(make_pipeline(TWO_IMAGES), tmp_path / "pictures")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "eval_grid_0000.png",
        "eval_grid_0001.png",
        "eval_legend.png",
    }
    with Image.open(tmp_path / "pictures/eval_legend.png") as legend:
        assert legend.mode == "RGB"


def test_without_nan_keeps_everything_else() -> None:
    metrics = {"a": 1.5, "b": math.nan, "c": math.inf, "d": 3, "e": "text"}
    assert without_nan(metrics) == {"a": 1.5, "b": None, "c": None, "d": 3, "e": "text"}


def test_the_config_sets_up_this_pipeline() -> None:
    assert SemanticPipelineConfig()._target is SemanticPipeline


@pytest.fixture(scope="module")
def trained_run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of a run of two steps, made as ns-train makes it."""
    config = configured(semantic_nerf, replica_scene, tmp_path_factory.mktemp("outputs"), 2, **SMALL["semantic-nerf"])
    train(config)
    return config.get_base_dir() / "config.yml"


def test_ns_eval_of_a_trained_run_writes_all_scores_and_pictures(trained_run: Path, tmp_path: Path) -> None:
    ComputePSNR(trained_run, tmp_path / "scores.json", tmp_path / "pictures").main()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    written = json.loads((tmp_path / "scores.json").read_text("utf8"), parse_constant=refuse)
    results = written["results"]
    depth = {"depth_l1", "depth_rel", "depth_delta1"}
    assert {"psnr", "ssim", "psnr_pooled", "ece", "worst_psnr"} | depth | POOLED | RULES | WORST <= set(results)
    assert [image["image"] for image in results["worst_psnr"]] in (
        ["rgb_0.png", "rgb_8.png"],
        ["rgb_8.png", "rgb_0.png"],
    )
    mean = sum(image["psnr"] for image in results["worst_psnr"]) / results["num_images"]
    assert mean == pytest.approx(results["psnr"], abs=1e-3)
    assert any(name.startswith("iou/") for name in results)
    assert all(0 <= results[name] <= 1 for name in {"ece"} | POOLED)
    pictures = [path.name for path in (tmp_path / "pictures").glob("eval_grid_*.png")]
    assert len(pictures) == results["num_images"] > 0
    with Image.open(tmp_path / "pictures/eval_reliability.png") as diagram:
        assert diagram.mode == "RGB"


def test_labels_of_a_trained_run_are_exported_under_the_names_of_the_input(
    trained_run: Path, replica_scene: Path, tmp_path: Path
) -> None:
    ExportLabels(trained_run, tmp_path / "out", "test").main()
    written = sorted((tmp_path / "out").rglob("semantic_class/*.png"))
    assert written
    for path in written:
        source = Image.open(replica_scene / path.relative_to(tmp_path / "out"))
        assert Image.open(path).size == source.size
    known_ids = {entry["id"] for entry in json.loads((tmp_path / "out/classes.json").read_text("utf8"))["classes"]}
    assert set(np.unique(np.asarray(Image.open(written[0]))).tolist()) <= known_ids


def test_labels_of_a_trained_run_are_never_exported_into_its_scene(trained_run: Path, replica_scene: Path) -> None:
    before = sorted(replica_scene.rglob("*"))
    with pytest.raises(SceneError, match="choose another --output-dir"):
        ExportLabels(trained_run, replica_scene, "train").main()
    assert sorted(replica_scene.rglob("*")) == before
