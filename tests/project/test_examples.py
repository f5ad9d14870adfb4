"""Every example runs, on a tiny scene with few steps, and does what its docstring says."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from support.fresh_process import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
STEPS = 4


def example(number: int) -> ModuleType:
    """The module of an example, whose name begins with a digit and cannot be imported by a statement."""
    path = EXAMPLES[number - 1]
    if path.stem not in sys.modules:
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[path.stem] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
    return sys.modules[path.stem]


@pytest.fixture(scope="module")
def few_clicks(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The config.yml and the scores of a run of the first example."""
    return example(1).train_few_clicks(replica_scene / "Sequence_1", tmp_path_factory.mktemp("runs"), STEPS)


def test_examples_are_numbered_from_one_and_are_in_the_documentation() -> None:
    assert [int(path.stem.split("_")[0]) for path in EXAMPLES] == [1, 2, 3, 4]
    page = (ROOT / "docs/quick_start.md").read_text(encoding="utf8")
    assert [path.name for path in EXAMPLES if f"examples/{path.name}" not in page] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_it_is_called(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example(EXAMPLES.index(path) + 1)
    assert module.__doc__ is not None
    assert f"python examples/{path.name}" in module.__doc__
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    assert module.__doc__.splitlines()[0] in capsys.readouterr().out


def test_few_clicks_train_one_pixel_per_class_and_image_and_are_scored(
    few_clicks: tuple[Path, dict], replica_scene: Path
) -> None:
    config, scores = few_clicks
    trained = sorted((config.parent / "labels").glob("*.png"))
    assert trained
    for path in trained:
        clicks = np.array(Image.open(path))
        number = int(path.stem.split("_")[-1])
        given = np.array(Image.open(replica_scene / f"Sequence_1/semantic_class/semantic_class_{number}.png"))
        classes = np.unique(given[given != 0])
        assert sorted(clicks[clicks != 0].tolist()) == classes.tolist(), path.name
    assert 0 <= float(scores["miou_present"]) <= 1


def test_a_custom_dataparser_reads_the_scene_that_the_built_in_one_reads(replica_scene: Path, tmp_path: Path) -> None:
    module = example(2)
    folder = module.write_from_replica(replica_scene, tmp_path / "scene")
    config = module.CamerasTxtDataParserConfig(data=folder, eval_interval=4)
    outputs = {split: config.setup().get_dataparser_outputs(split) for split in ("train", "test")}
    assert [len(outputs[split].image_filenames) for split in ("train", "test")] == [9, 3]
    c2w = np.loadtxt(replica_scene / "Sequence_1/traj_w_c.txt")[0].reshape(4, 4)
    first = outputs["test"].cameras.camera_to_worlds[0].numpy() / outputs["test"].dataparser_scale
    # OpenGL's camera looks along -z, with y up; only the place of the origin differs besides.
    np.testing.assert_allclose(
        first[:, :3] * outputs["test"].dataparser_scale, c2w[:3, :3] * [1.0, -1.0, -1.0], atol=1e-6
    )
    run = module.train_on(folder, tmp_path / "runs", STEPS)
    assert list((run.parent / "nerfstudio_models").glob("*.ckpt"))


def test_a_custom_dataparser_refuses_a_pose_that_is_none_by_its_line(replica_scene: Path, tmp_path: Path) -> None:
    module = example(2)
    folder = module.write_from_replica(replica_scene, tmp_path / "scene")
    lines = (folder / "cameras.txt").read_text().splitlines()
    name, *numbers = lines[2].split()
    lines[2] = " ".join([name, *(str(2 * float(number)) for number in numbers)])
    (folder / "cameras.txt").write_text("\n".join(lines))
    with pytest.raises(SceneError, match=r"line 3 of cameras\.txt"):
        module.read_scene(module.CamerasTxtDataParserConfig(data=folder))


def test_an_audit_finds_planted_errors_first(
    replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = shutil.copytree(replica_scene / "Sequence_1", tmp_path / "Sequence_1")
    path = scene / "semantic_class/semantic_class_5.png"
    labels = np.array(Image.open(path))
    clean = labels.copy()
    labels[4:20, 8:30] = np.where(labels[4:20, 8:30] == 93, 40, 93)  # floor on the wall, wall on all else
    Image.fromarray(labels).save(path)
    config = example(1).few_click_config(scene, tmp_path / "runs", 30)  # more learn ten small images by heart
    config.pipeline.datamanager.corruption = CorruptionConfig()
    config.pipeline.propagation.enabled = False
    config.pipeline.eval_images_at_end = 0
    train(config)
    load_config = config.get_base_dir() / "config.yml"

    module = example(3)
    run, findings = module.audit_run(load_config, module.RegionRule(), 3)
    worst = findings[0].region
    assert Path(run.dataset.image_filenames[run.images[worst.frame].index]).name == "rgb_5.png"
    assert (labels[worst.box][worst.mask] != clean[worst.box][worst.mask]).all()
    module.main(["--load-config", str(load_config)])
    said = capsys.readouterr().out
    assert f"regions in {len(run.images)} images" in said
    assert f"{module.sentence_of(run, findings[0])}\n" in said


def test_exported_labels_are_written_for_every_training_image_and_scored(
    few_clicks: tuple[Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example(4).main(["--load-config", str(few_clicks[0]), "--output", str(tmp_path / "labels")])
    said = capsys.readouterr().out
    written = list((tmp_path / "labels").rglob("semantic_class/*.png"))
    assert f"Wrote {len(written)} label images" in said
    assert len(written) >= 9
    assert "miou_present: 0." in said
