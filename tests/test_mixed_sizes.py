"""Portrait beside landscape: asking for labels, suggesting, fusing and auditing treat each image at its own size."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.rounds.suggestions import suggest, write_suggestions
from semantic_ns.cli.audit_labels import AuditLabels
from semantic_ns.cli.fuse_labels import FuseLabels
from support.active_runs import ACTIVE, config_of, revealed_of, trainer_of, truth_of
from support.hand_made_scene import HEIGHT, WIDTH, each_frame, labels_of, write_scene

STEPS = 12
PORTRAITS = (0, 3, 6)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 0, 3 and 6 are turned by a quarter, with their labels and depth; frame 4 has no labels."""
    folder = write_scene(tmp_path_factory.mktemp("mixed") / "scene")
    (folder / "depth").mkdir()

    def change(index: int, entry: dict[str, Any]) -> None:
        depth = np.full((HEIGHT, WIDTH), 1500, np.uint16)
        if index in PORTRAITS:
            for name in ("images", "semantics"):
                path = folder / name / f"frame_{index}.png"
                Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
            entry.update(w=HEIGHT, h=WIDTH, cx=HEIGHT / 2, cy=WIDTH / 2)
            depth = depth.T
        Image.fromarray(depth).save(folder / f"depth/{index}.png")
        entry["depth_file_path"] = f"depth/{index}.png"

    each_frame(folder, change)
    (folder / "semantics/frame_4.png").unlink()
    return folder


def shape_of(number: int) -> tuple[int, int]:
    return (WIDTH, HEIGHT) if number in PORTRAITS else (HEIGHT, WIDTH)


def number_of(dataset: Any, index: int) -> int:
    return int(dataset.image_filenames[index].stem.rpartition("_")[2])


@pytest.fixture(scope="module")
def trained(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A run of a few steps that was given all labels."""
    config = config_of(scene, tmp_path_factory.mktemp("run"), replace(ACTIVE, strategy=None))
    config.max_num_iterations = STEPS
    with trainer_of(config) as trainer:
        trainer.train()
        yield trainer


@pytest.mark.parametrize("strategy", ["random", "entropy", "geometry"])
def test_a_run_asks_for_labels_of_images_of_each_size(strategy: Any, scene: Path, tmp_path: Path) -> None:
    config = config_of(scene, tmp_path, replace(ACTIVE, strategy=strategy))
    config.max_num_iterations = STEPS
    with trainer_of(config) as trainer:
        trainer.train()
        revealed, truth = revealed_of(trainer), truth_of(trainer)
        assert len(revealed.rounds) == 3
        for given, whole in zip(revealed.labels, truth, strict=True):
            assert given.shape == whole.shape
            assert np.isin(given, [-1]).sum() + (given == whole).sum() >= given.size
        assert any((given >= 0).any() for given in revealed.labels)


@pytest.mark.parametrize("unit", ["region", "frame"])
def test_suggestions_lie_in_images_of_their_own_size(unit: Any, trained: Any, tmp_path: Path) -> None:
    pipeline = trained.pipeline
    dataset = pipeline.datamanager.train_dataset
    units, choice = suggest(pipeline, 1, SelectionConfig(unit=unit, region_pixels=60))
    assert [maps.shape for maps in units.maps] == [shape_of(number_of(dataset, i)) for i in range(len(dataset))]
    assert [number_of(dataset, int(frame)) for frame in units.frames[choice.chosen]] == [4]  # the one without labels
    write_suggestions(tmp_path, dataset, units, choice, SelectionConfig(unit=unit))
    assert (tmp_path / "suggestions.json").is_file()


def test_the_audit_compares_images_of_each_size(trained: Any, tmp_path: Path) -> None:
    output = tmp_path / "audit"
    AuditLabels(trained.base_dir / "resume.yml", output, min_area=1, min_confidence=0.0, border_px=0).main()
    assert any(output.iterdir())


def test_labels_of_each_size_are_fused_at_it(scene: Path, tmp_path: Path) -> None:
    FuseLabels(scene, scene / "semantics", tmp_path / "fused").main()
    written = sorted((tmp_path / "fused").rglob("frame_*.png"))
    assert written
    for path in written:
        number = int(path.stem.rpartition("_")[2])
        ids = np.asarray(Image.open(path))
        assert ids.shape == shape_of(number)
        if number not in (4, *PORTRAITS):
            assert (ids == labels_of(number)).mean() > 0.5
