"""Labels that only training sees: from other folders, corrupted, written beside the run and read back."""

import json
import shutil
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.datamanagers.labelled_pixel_sampler import LabelledPixelSampler
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import files_of_frames, frame_names, read_label_folder
from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.registered import configured
from support.scoring import scores

LABELS = "Sequence_1/semantic_class"


def manager(scene, parser: Any = ReplicaDataParserConfig, test_mode="inference", **options):
    config = SemanticDataManagerConfig(dataparser=parser(data=scene), train_num_rays_per_batch=64, **options)
    return config.setup(device="cpu", test_mode=test_mode, world_size=1, local_rank=0)


def clean(datamanager):
    dataset = SemanticDataset(datamanager.train_dataparser_outputs)
    return [dataset.labels_of(i) for i in range(len(dataset))]


def assert_all_equal(images, others):
    for image, other in zip(images, others, strict=True):
        np.testing.assert_array_equal(image, other)


@pytest.fixture(scope="module")
def predictions(replica_scene, tmp_path_factory) -> Path:
    """The scene with a folder of predictions beside its labels: the same, one column to the right."""
    scene = Path(shutil.copytree(replica_scene, tmp_path_factory.mktemp("predictions") / "room"))
    for path in (scene / LABELS).iterdir():
        target = scene / "Sequence_1" / "predicted" / path.name
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(np.array(Image.open(path)), 1, axis=1)).save(target)
    return scene


def test_probabilities_train_by_their_most_likely_class(predictions: Path, tmp_path: Path) -> None:
    data = manager(predictions)
    dataset = data.train_dataset
    generator = np.random.default_rng(0)
    hard, soft = tmp_path / "hard", tmp_path / "soft"
    hard.mkdir()
    soft.mkdir()
    ids = np.array([*dataset.taxonomy.source_ids, 12])  # 12: a class that the scene does not have
    for index, stem in enumerate(Path(name).stem for name in dataset.metadata["label_export_names"]):
        shape = dataset.labels_of(index).shape
        probabilities = generator.dirichlet(np.ones(len(ids)), shape).astype(np.float32)
        probabilities[:2] = 0
        best = ids[probabilities.argmax(axis=-1)]
        best[:2] = dataset.taxonomy.void_source_id
        Image.fromarray(best.astype(np.uint8)).save(hard / f"{stem}.png")
        np.savez(soft / f"{stem}.npz", probabilities=probabilities, ids=ids)
    expected = read_label_folder(str(hard), dataset, predictions)
    assert (np.stack(expected) == -1).mean() > 0.05
    assert_all_equal(read_label_folder(str(soft), dataset, predictions), expected)
    for path in hard.iterdir():
        np.save(path.with_suffix(".npy"), np.zeros(3))  # of whatever, beside the label images
    assert_all_equal(read_label_folder(str(hard), dataset, predictions), expected)


def test_labels_written_here_are_found_by_their_names_alone(tmp_path: Path) -> None:
    names = ["cam0_t12", "cam1_t12"]
    path = tmp_path / "cam1_t12.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    assert files_of_frames(tmp_path, names, names, by_number=False) == [None, path]
    with pytest.raises(SceneError, match="for the frames cam0_t12 and cam1_t12"):
        files_of_frames(tmp_path, names, names, by_number=True)


def test_corrupted_labels_train_and_clean_ones_score(replica_scene):
    corruption = CorruptionConfig(pixel_noise=0.5, seed=3)
    data = manager(replica_scene, test_mode="val", corruption=corruption)
    cached = data.train_image_dataloader.cached_collated_batch
    places = torch.argsort(cached["image_idx"])
    for index, labels in enumerate(data.training_labels):
        np.testing.assert_array_equal(cached["semantics"][places[index], ..., 0].numpy(), labels)
    changed = (np.stack(data.training_labels) != np.stack(clean(data))).mean()
    assert changed == pytest.approx(0.5 * 10 / 11, abs=0.02)
    scored = SemanticDataset(data.dataparser.get_dataparser_outputs("val"))
    for index in range(len(scored)):
        torch.testing.assert_close(data.eval_dataset[index]["semantics"], scored[index]["semantics"])


def test_few_labels_get_their_share_of_each_batch(replica_scene):
    corruption = CorruptionConfig(propagation=0.0)
    data = manager(replica_scene, test_mode="val", corruption=corruption, labelled_share=0.5)
    for step in range(3):
        rays, batch = data.next_train(step)
        assert batch["num_uniform_rays"] == 32
        assert (batch["semantics"][32:] != -1).all()
        assert rays.camera_indices[:, 0].tolist() == batch["indices"][:, 0].tolist()
        for (frame, row, column), label in zip(batch["indices"].tolist(), batch["semantics"][:, 0], strict=True):
            assert data.training_labels[frame][row, column] == label


@pytest.mark.parametrize("interval", [0, -4])
def test_an_interval_below_one_step_is_refused(replica_scene: Path, interval: int) -> None:
    with pytest.raises(SceneError, match=f"semantic-interval, found {interval}"):
        manager(replica_scene, test_mode="val", semantic_interval=interval)


@pytest.mark.parametrize(
    ("corruption", "is_complete"), [({}, True), ({"pixel_noise": 0.5}, False), ({"propagation": 0.0}, False)]
)
def test_labels_of_all_pixels_are_complete_and_noisy_or_few_ones_are_not(
    corruption: dict[str, Any], is_complete: bool, replica_scene: Path
) -> None:
    data = manager(replica_scene, test_mode="val", corruption=CorruptionConfig(**corruption))
    assert data.training_labels.are_complete == is_complete


def test_classes_train_in_every_nth_step_alone_and_rays_for_labels_alone_are_in_no_other(replica_scene):
    data = manager(replica_scene, test_mode="val", labelled_share=0.25, semantic_interval=3, balance_classes=True)
    batches = [data.next_train(step)[1] for step in range(7)]
    trains = [bool((batch["semantics"] != -1).any()) for batch in batches]
    assert trains == [True, False, False, True, False, False, True]
    assert [batch["num_uniform_rays"] for batch in batches] == [48 if step else 64 for step in trains]


@pytest.mark.parametrize("option", [None, True, False])
@pytest.mark.parametrize(
    ("corruption", "is_consistent"),
    [({}, True), ({"propagation": 20.0}, True), ({"pixel_noise": 0.5}, False), ({"propagation": 0.0}, False)],
)
def test_classes_are_balanced_where_labels_are_consistent_unless_an_option_says_otherwise(
    corruption: dict[str, Any], is_consistent: bool, option: bool | None, replica_scene: Path
) -> None:
    given = CorruptionConfig(**corruption)
    data = manager(replica_scene, test_mode="val", corruption=given, balance_classes=option)
    sampler = data.train_pixel_sampler
    assert isinstance(sampler, LabelledPixelSampler)
    assert sampler.config.balance_classes == (is_consistent if option is None else option)


def test_without_options_training_sees_the_labels_of_the_scene(replica_scene, tmp_path):
    data = manager(replica_scene, test_mode="val")
    assert_all_equal(data.training_labels, clean(data))
    assert data.next_train(0)[1]["num_uniform_rays"] == 61
    assert not data.training_labels.are_changed_by_options


def test_evaluation_on_the_training_poses_has_clean_labels(replica_scene):
    data = manager(replica_scene, corruption=CorruptionConfig(propagation=0.0), evaluate_on="train")
    assert data.eval_dataset.image_filenames == data.train_dataset.image_filenames
    items = [data.eval_dataset[i]["semantics"][..., 0].numpy() for i in range(len(data.eval_dataset))]
    assert_all_equal(items, clean(data))
    assert "training frames" in data.eval_dataset.metadata["split"]
    assert "training frames" not in data.train_dataset.metadata["split"]


@pytest.mark.parametrize("parser", [ReplicaDataParserConfig, NerfstudioSemanticDataParserConfig])
@pytest.mark.parametrize("options", [{"pixel_noise": 0.3}, {"propagation": 0.0, "sparse_ratio": 0.5}])
def test_written_labels_are_read_back_unchanged(replica_scene, nerfstudio_scene, tmp_path, parser, options):
    scene = replica_scene if parser is ReplicaDataParserConfig else nerfstudio_scene
    first = manager(scene, parser, corruption=CorruptionConfig(seed=4, **options))
    first.training_labels.write(tmp_path / "labels")
    second = manager(scene, parser, train_labels=str(tmp_path / "labels"))
    assert_all_equal(second.training_labels, first.training_labels)
    assert not np.array_equal(second.training_labels[0], clean(second)[0])


def test_written_labels_are_16_bit_ids_of_the_scene_beside_their_parameters(replica_scene, tmp_path):
    data = manager(replica_scene, corruption=CorruptionConfig(sparse_ratio=0.5, super_resolution=2, seed=8))
    data.training_labels.write(tmp_path)
    names = frame_names(data.train_dataset)
    written = {path.stem for path in tmp_path.glob("*.png")}
    assert written == {name for name, labels in zip(names, data.training_labels, strict=True) if (labels != -1).any()}
    assert len(written) == len(names) // 2
    name = min(written)
    ids = np.array(Image.open(tmp_path / f"{name}.png"))
    assert ids.dtype == np.uint16
    original = np.array(Image.open(replica_scene / LABELS / f"semantic_class_{name.removeprefix('rgb_')}.png"))
    np.testing.assert_array_equal(ids[::2, ::2], original[::2, ::2])
    assert not ids[1::2].any()
    parameters = json.loads((tmp_path / "corruption.json").read_text())
    assert parameters["train_labels"] is None
    assert parameters["corruption"] == json.loads(json.dumps(asdict(data.config.corruption)))
    assert parameters["corruption"]["seed"] == 8
    assert parameters["void_id"] == 0


def test_another_start_with_fewer_labels_leaves_none_of_the_old(replica_scene, tmp_path):
    manager(replica_scene, corruption=CorruptionConfig(pixel_noise=0.1)).training_labels.write(tmp_path)
    manager(replica_scene, corruption=CorruptionConfig(label_frames=("3",))).training_labels.write(tmp_path)
    assert [path.name for path in tmp_path.glob("*.png")] == ["rgb_3.png"]


def test_labels_of_another_label_space_are_read_back_but_not_by_other_classes(replica_scene, tmp_path):
    def in_space(space, **options):
        parser = ReplicaDataParserConfig(data=replica_scene, label_space=space)
        config = SemanticDataManagerConfig(dataparser=parser, **options)
        return config.setup(device="cpu", test_mode="inference", world_size=1, local_rank=0)

    first = in_space("nyu40", corruption=CorruptionConfig(pixel_noise=0.2))
    first.training_labels.write(tmp_path)
    assert_all_equal(in_space("nyu40", train_labels=str(tmp_path)).training_labels, first.training_labels)
    with pytest.raises(SceneError, match=r"other classes in .*corruption\.json"):
        _ = in_space("native", train_labels=str(tmp_path)).training_labels[0]


@pytest.mark.parametrize("name", ["predicted", "Sequence_1/predicted"])
def test_predictions_replace_the_labels_of_training_only(predictions, name):
    data = manager(predictions, train_labels=name, evaluate_on="train")
    assert_all_equal(data.training_labels, [np.roll(labels, 1, axis=1) for labels in clean(data)])
    assert_all_equal([data.eval_dataset.labels_of(i) for i in range(len(data.eval_dataset))], clean(data))


def test_predictions_can_be_corrupted(predictions):
    options = {"train_labels": "predicted", "corruption": CorruptionConfig(super_resolution=4)}
    for labels, full in zip(manager(predictions, **options).training_labels, clean(manager(predictions)), strict=True):
        np.testing.assert_array_equal(labels[::4, ::4], np.roll(full, 1, axis=1)[::4, ::4])


def test_predicted_classes_that_the_scene_has_not_become_void_and_frames_without_file_have_no_label(
    predictions, tmp_path, capsys
):
    folder = Path(shutil.copytree(predictions / "Sequence_1/predicted", tmp_path / "folder"))
    (folder / "semantic_class_2.png").unlink()
    changed = np.array(Image.open(folder / "semantic_class_1.png"))
    changed[:5] = 3  # a class of Replica that this room has not
    Image.fromarray(changed).save(folder / "semantic_class_1.png")
    data = manager(predictions, train_labels=str(folder))
    names = frame_names(data.train_dataset)
    labels = dict(zip(names, data.training_labels, strict=True))
    assert (labels["rgb_1"][:5] == -1).all()
    assert (labels["rgb_1"][5:] != -1).any()
    assert (labels["rgb_2"] == -1).all()
    assert f"{len(names) - 1} of {len(names)} frames" in capsys.readouterr().out


def rename(folder, pattern):
    for path in list(folder.iterdir()):
        path.rename(folder / pattern.format(path.stem.rpartition("_")[2]))


@pytest.mark.parametrize("pattern", ["rgb_{}.png", "{:0>5}.png", "frame{:0>4}.png"])
def test_files_are_found_by_the_name_of_the_image_or_its_number(predictions, tmp_path, pattern):
    folder = Path(shutil.copytree(predictions / "Sequence_1/predicted", tmp_path / "folder"))
    rename(folder, pattern)
    expected = manager(predictions, train_labels="predicted").training_labels
    assert_all_equal(manager(predictions, train_labels=str(folder)).training_labels, expected)


def test_names_of_frames_are_unique_file_names(replica_scene):
    dataset = SemanticDataset(ReplicaDataParserConfig(data=replica_scene).setup().get_dataparser_outputs("train"))
    assert frame_names(dataset)[:2] == ["rgb_1", "rgb_2"]
    dataset = deepcopy(dataset)
    dataset._dataparser_outputs.image_filenames = [Path("/s/cam_0/0.png"), Path("/s/cam_1/0.png")]
    assert frame_names(dataset) == ["cam_0_0", "cam_1_0"]


def empty_folder(folder):
    for path in folder.iterdir():
        path.unlink()


def void_everywhere(folder):
    for path in folder.iterdir():
        Image.fromarray(np.zeros((36, 48), np.uint8)).save(path)


def two_for_one(folder):
    rename(folder, "a_{}.png")
    shutil.copy(folder / "a_1.png", folder / "b_1.png")


def wrong_shape(folder):
    Image.fromarray(np.ones((36, 36), np.uint8)).save(folder / "semantic_class_3.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "train-labels .*, found none at"),
        (empty_folder, "semantic_class_1.png or rgb_1.png in .*, found none"),
        (void_everywhere, "labelled pixel in the label images"),
        (two_for_one, r"one label image of frame rgb_1 in .*a_1\.png and b_1\.png"),
        (wrong_shape, "in proportion, found 36x36"),
    ],
)
def test_folders_that_cannot_be_used_are_said(predictions, tmp_path, damage, message):
    folder = Path(shutil.copytree(predictions / "Sequence_1/predicted", tmp_path / "folder"))
    damage(folder)
    data = manager(predictions)
    with pytest.raises(SceneError, match=message):
        read_label_folder(str(folder), data.train_dataset, predictions)


def test_region_noise_reads_the_instances_of_replica_scenes(replica_scene):
    name = "chair"
    data = manager(replica_scene, corruption=CorruptionConfig(region_noise=1.0, region_classes=(name,)))
    chair = data.train_dataset.taxonomy.names.index(name)
    is_struck = [noisy != labels for noisy, labels in zip(data.training_labels, clean(data), strict=True)]
    assert any(struck.any() for struck in is_struck)
    for struck, labels in zip(is_struck, clean(data), strict=True):
        assert (labels[struck] == chair).all()
        assert not struck.any() or struck.sum() == (labels == chair).sum()


def test_region_noise_without_instance_images_is_said(nerfstudio_scene):
    corruption = CorruptionConfig(region_noise=0.5, region_classes=("chair",))
    with pytest.raises(SceneError, match="instance images for region noise"):
        manager(nerfstudio_scene, NerfstudioSemanticDataParserConfig, "val", corruption=corruption)


def test_configurations_from_before_these_options_are_clean():
    old = SemanticDataManagerConfig.__new__(SemanticDataManagerConfig)
    assert old.corruption.is_clean
    assert (old.train_labels, old.labelled_share, old.evaluate_on) == (None, 0.05, "test")
    assert old.balance_classes is None


def test_one_click_per_class_trains_and_is_scored_on_the_training_poses(replica_scene, tmp_path):
    config = configured(semantic_nerf, replica_scene, tmp_path, 3, num_levels=4, log2_hashmap_size=8)
    config.pipeline.datamanager.corruption = CorruptionConfig(propagation=0.0, seed=1)  # pyright: ignore[reportAttributeAccessIssue]
    config.pipeline.datamanager.evaluate_on = "train"  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    results = scores(config, tmp_path)
    assert results["num_images"] == 10
    assert "training frames" in results["split"]
    assert 0 <= results["miou_present"] <= 1
