"""The classes of a field that are trained on the labels of a session, and the run that they are written to."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.checkpoints import find_checkpoint
from semantic_ns.errors import SceneError
from semantic_ns.fields.class_rays import ClassRays
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.labelling.head_run import linear_for, read_config, taxonomy_of_session, write_head_run
from semantic_ns.labelling.head_training import HeadTargets, HeadTrainer
from semantic_ns.labelling.head_worker import HeadWorker, answers, reply
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.surface_run import surface_config
from semantic_ns.runs import Run, load_run
from support.active_runs import trainer_of
from support.hand_made_scene import rewrite, write_scene
from support.registered import configured

NEW = 500
"""Id of a class that the scene does not have."""


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """A small scene is learned in fewer."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FIRST_STEPS", "FURTHER_STEPS"):
            patch.setattr(f"semantic_ns.labelling.head_training.{name}", 60)
        yield


@pytest.fixture(scope="module")
def run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without classes, as `sns-label` trains the surface of a scene."""
    config: Any = configured(semantic_nerf, replica_scene, tmp_path_factory.mktemp("runs"), 8, num_levels=4)
    config.pipeline.model.use_semantics = False
    config.pipeline.propagation.enabled = False
    config.pipeline.eval_images_at_end = 0
    config.timestamp = "bare"
    with trainer_of(config) as trainer:
        config.save_config()
        trainer.train()
    return load_run(config.get_base_dir() / "config.yml")


@pytest.fixture(scope="module")
def worker(run: Run) -> HeadWorker:
    return HeadWorker(run, read_config(run.load_config).optimizers)


@pytest.fixture(scope="module")
def halves(run: Run, worker: HeadWorker) -> tuple[np.ndarray, tuple[int, int]]:
    """Labels whose class is that of the half of the scene in which the ray ends, and their two ids: an old, a new."""
    ids = run.model.taxonomy.source_ids[2], NEW
    x = np.array([worker.rays.positions[first, 0] if first < last else 0 for first, last in _ranges(worker)])
    labels = np.where(x < np.median(x), *ids).astype(np.int16).reshape(worker.shape)
    return labels, ids


def _ranges(worker: HeadWorker) -> Iterator[tuple[int, int]]:
    return zip(worker.rays.first[:-1], worker.rays.first[1:], strict=True)


def classes_of(run: Run) -> list[tuple[int, str, tuple[int, int, int], bool | None]]:
    taxonomy = run.model.taxonomy
    entries = zip(taxonomy.source_ids, taxonomy.names, taxonomy.colors, strict=True)
    known = [(number, name, color, None) for number, name, color in entries]
    return [*known, (NEW, "a new one", (1, 2, 3), None)]


@pytest.fixture(scope="module")
def trained(run: Run, worker: HeadWorker, halves: Any) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The state of the field before the training, and what the field says after it."""
    before = {name: value.clone() for name, value in run.pipeline.model.field.state_dict().items()}
    labels, _ = halves
    said, sure = worker.train(labels, np.full(labels.shape, 255, np.uint8), sorted(one[0] for one in classes_of(run)))
    assert (sure > 0).mean() > 0.9
    return before, said


def test_the_field_learns_the_labels_and_nothing_else_changes(run: Run, trained: Any, halves: Any) -> None:
    before, said = trained
    assert (said == halves[0]).mean() > 0.95
    after = run.pipeline.model.field.state_dict()
    assert before.keys() == after.keys()
    others = [name for name in before if not name.startswith("semantic_")]
    assert len(others) > 5
    assert all(torch.equal(before[name], after[name]) for name in others)


def test_a_frame_is_rendered_as_its_rays_that_are_kept(worker: HeadWorker, trained: Any) -> None:
    said, sure = worker.render(3)
    stride = worker.stride
    assert (said[::stride, ::stride] == trained[1][3]).mean() > 0.99
    assert said.shape == sure.shape
    for layer, rows in zip((said, sure), worker.render(3, [5, 9]), strict=True):
        assert (layer[5:9] == rows).all()


def test_the_written_run_says_the_same_and_its_own_run_stays_as_it_was(
    run: Run, worker: HeadWorker, trained: Any, halves: Any
) -> None:
    folder, before = run.load_config.parent, checksums(run.load_config.parent)
    config = worker.save(folder.with_name("labelled_1"), classes_of(run), 0)
    assert checksums(folder) == before
    opened = load_run(config)
    assert opened.model.taxonomy.source_ids == tuple(sorted(one[0] for one in classes_of(run)))
    assert opened.model.taxonomy.names[-1] == "a new one"
    assert opened.pipeline.model.renders_classes
    dataset = opened.pipeline.datamanager.eval_dataset
    assert dataset.taxonomy == opened.model.taxonomy
    ids, void = np.array(opened.model.taxonomy.source_ids), opened.model.taxonomy.void_source_ids
    assert set(np.unique(ids[dataset.read_labels(0)]).tolist()) - set(void) <= set(run.model.taxonomy.source_ids)
    camera = opened.pipeline.datamanager.train_dataset.cameras[3:4]
    with opened.model.raw_outputs():
        rendered = opened.model.get_outputs_for_camera(camera)
    said = ids[rendered["semantics_labels"][..., 0].numpy()]
    assert (said == worker.render(3)[0]).mean() > 0.97
    color = run.pipeline.model.get_outputs_for_camera(camera)["rgb"]
    assert torch.equal(rendered["rgb"], color)
    with pytest.raises(SceneError, match="a new or an empty folder"):
        worker.save(folder.with_name("labelled_1"), classes_of(run), 0)
    with pytest.raises(SceneError, match="a new or an empty folder"):
        worker.save(folder, classes_of(run), 0)


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_classes_that_stay_keep_what_they_learned_and_new_ones_begin_alike() -> None:
    field = SimpleNamespace(head=SemanticHead(None, None, torch.nn.Linear(4, 2)))
    trainer = HeadTrainer(field, {})
    trainer.set_classes([1, 5, 8])
    before = trainer.head.linear
    before.bias.data += 1
    trainer.set_classes([0, 5, 8, 9])
    after = trainer.head.linear
    assert after.weight.shape == (4, 4)
    assert torch.equal(after.weight[1:3], before.weight[1:])
    assert torch.equal(after.bias[1:3], before.bias[1:])
    assert (after.bias[[0, 3]] == 0).all()
    assert trainer.class_ids == (0, 5, 8, 9)


def test_void_and_rays_without_weight_teach_nothing(run: Run, worker: HeadWorker, trained: Any) -> None:
    before = {name: value.clone() for name, value in run.pipeline.model.field.state_dict().items()}
    count = len(worker.rays)
    for labels, weight in ((-1, 1.0), (NEW, 0.0)):
        targets = HeadTargets(np.full(count, labels, np.int16), np.full(count, weight, np.float32))
        worker.trainer.train(worker.rays, targets)
    after = run.pipeline.model.field.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_classes_of_the_scene_that_a_session_merged_are_never_said() -> None:
    scene = Taxonomy((3, 7, 9), ("wall", "lamp", "rug"), ((1, 1, 1),) * 3, (False, True, True), 0, (0, 255))
    found = taxonomy_of_session(
        scene, [ClassEntry(9, "carpet", (9, 9, 9), False), ClassEntry(255, "cup", (2, 2, 2), True)], 0
    )
    assert found.source_ids == (3, 7, 9, 255)
    assert found.names == ("wall", "lamp", "carpet", "cup")
    assert found.void_source_ids == (0,)
    linear = torch.nn.Linear(4, 2)
    weight, bias = linear_for(found, linear, (9, 255))
    dropped = linear_for(found, torch.nn.Linear(4, 3), (9, 10, 255))[1]
    assert (dropped[2:] > -1).all()  # of classes 9 and 255; 10 is of no class any more
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    logits = x @ weight.T + bias
    assert torch.equal(logits[:, 2:].argmax(dim=1), linear(x).argmax(dim=1))
    assert (logits.argmax(dim=1) >= 2).all()


def test_requests_are_answered_by_files(worker: HeadWorker, halves: Any, tmp_path: Path) -> None:
    answer = answers(lambda: worker)
    begun = answer({"do": "begin"})
    assert (begun["stride"], tuple(begun["shape"])) == (worker.stride, worker.shape)
    labels, ids = halves
    np.savez(tmp_path / "targets.npz", labels=labels, confidence=np.full(labels.shape, 255, np.uint8))
    asked = {"do": "train", "targets": str(tmp_path / "targets.npz"), "class_ids": sorted(ids)}
    assert answer({**asked, "to": str(tmp_path / "said.npz")})["seconds"] > 0
    with np.load(tmp_path / "said.npz") as said:
        assert (said["labels"] == labels).mean() > 0.95
    answer({"do": "render", "frame": 1, "rows": [0, 10**6], "to": str(tmp_path / "frame.npz")})
    with np.load(tmp_path / "frame.npz") as said:
        assert (said["labels"] == worker.render(1)[0]).all()


def test_a_run_whose_classes_share_features_is_refused(run: Run) -> None:
    field = run.pipeline.model.field
    grid, field.semantic_grid = field.semantic_grid, None
    field.semantic_trunk = torch.nn.Identity()
    try:
        with pytest.raises(SceneError, match="semantic-features own"):
            HeadWorker(run, {})
    finally:
        field.semantic_grid = grid
        del field.semantic_trunk


def test_a_run_without_a_class_is_not_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="Expected a head with a class"):
        write_head_run(run, tmp_path / "new", run.pipeline.model.field.head, (), [], 0)
    assert not (tmp_path / "new").exists()
    assert find_checkpoint(run.load_config.parent / "nerfstudio_models").is_file()


def test_a_field_that_has_learned_nothing_says_nothing() -> None:
    """A head of random values would say some class of every ray, and one without a class has no most likely one."""
    trainer = HeadTrainer(SimpleNamespace(head=SemanticHead(None, None, torch.nn.Linear(4, 2))), {})
    rays = ClassRays(np.zeros((2, 3), np.uint16), np.ones(2, np.float16), np.array([0, 1, 2]))
    nothing = HeadTargets(np.full(2, -1, np.int16), np.ones(2, np.float32))
    for classes in ([], [3, 5]):
        trainer.set_classes(classes)
        trainer.train(rays, nothing)
        said, sure = trainer.predict(rays)
        assert (said.tolist(), sure.tolist()) == ([-1, -1], [0, 0])


def test_a_field_whose_classes_are_all_gone_says_nothing_of_others() -> None:
    trainer = HeadTrainer(SimpleNamespace(head=SemanticHead(None, None, torch.nn.Linear(4, 2))), {})
    trainer.set_classes([3, 5])
    trainer.is_trained = True
    trainer.set_classes([5, 8])
    assert trainer.is_trained
    trainer.set_classes([4])
    assert not trainer.is_trained


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("too\nlarge"), KeyError("x")])
@pytest.mark.parametrize("what", ["train", "render", "save"])
def test_what_fails_is_answered_in_a_sentence_and_only_a_beginning_ends_the_process(
    error: Exception, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(_: Any) -> Any:
        raise error

    sentence = reply(failing, {"do": what})["error"]
    assert sentence.startswith(f"Expected the field to {what}, found {type(error).__name__}: ")
    assert sentence.endswith("; see field.log, and try again.")
    assert "\n" not in sentence
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(type(error)):
        reply(failing, {"do": "begin"})


def test_a_sentence_is_answered_as_it_is() -> None:
    def refusing(_: Any) -> Any:
        raise SceneError("Expected this, found that.")

    assert reply(refusing, {"do": "begin"}) == {"error": "Expected this, found that."}
    assert reply(lambda request: {"path": request["do"]}, {"do": "save"}) == {"path": "save"}


def test_the_surface_of_a_scene_without_labels_becomes_a_run_with_the_classes_of_the_session(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene")
    shutil.rmtree(scene / "semantics")
    rewrite(scene, lambda content: content.pop("semantic_classes"))
    config = surface_config(scene, tmp_path / "runs" / "surface")
    config.max_num_iterations, config.pipeline.eval_images_at_end = 4, 0
    with trainer_of(config) as trainer:
        config.save_config()
        trainer.train()
    bare = load_run(tmp_path / "runs" / "surface" / "config.yml")
    assert bare.model.taxonomy.num_classes == 0
    worker = HeadWorker(bare, read_config(bare.load_config).optimizers)
    classes = [(0, "cup", (1, 2, 3), None), (7, "wall", (4, 5, 6), None)]
    with pytest.raises(SceneError, match="has learned a class"):
        worker.save(tmp_path / "runs" / "named", classes, 255)
    labels = np.full(worker.shape, 7, np.int16)
    worker.train(labels, np.full(labels.shape, 255, np.uint8), [0, 7])
    run = load_run(worker.save(tmp_path / "runs" / "named", classes, 255))
    assert (run.model.taxonomy.source_ids, run.model.taxonomy.void_source_id) == ((0, 7), 255)
    assert (run.model.taxonomy.names, run.model.taxonomy.is_thing) == (("cup", "wall"), (True, False))
    with run.model.raw_outputs():
        rendered = run.model.get_outputs_for_camera(run.pipeline.datamanager.train_dataset.cameras[0:1])
    assert (rendered["semantics_labels"] == 1).all()
