"""Labels that `sns-label` has exported train the classes that their own list names, or are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import frame_names, read_label_folder
from semantic_ns.errors import SceneError
from support.hand_made_scene import load, write_scene

ADDED = 77
OTHER_VOID = 66


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("exported") / "scene")


@pytest.fixture(scope="module")
def dataset(scene: Path) -> SemanticDataset:
    return load(scene)


def exported(folder: Path, dataset: SemanticDataset, ids: dict[int, int], names: dict[int, str], void_id: int) -> Path:
    """The scene's labels with other ids, beside a list of classes."""
    folder.mkdir()
    for index, name in enumerate(frame_names(dataset)):
        labels = dataset.labels_of(index)
        image = np.full(labels.shape, void_id, np.uint8)
        for number, own in enumerate(dataset.taxonomy.source_ids):
            image[labels == number] = ids.get(own, own)
        Image.fromarray(image).save(folder / f"{name}.png")
    classes = [{"id": number, "name": name, "color": [1, 2, 3]} for number, name in names.items()]
    content = {"written_by": "sns-label", "void_id": void_id, "classes": classes}
    (folder / "classes.json").write_text(json.dumps(content))
    return folder


def own_names(dataset: SemanticDataset) -> dict[int, str]:
    return dict(zip(dataset.taxonomy.source_ids, dataset.taxonomy.names, strict=True))


def test_classes_are_matched_by_name_whatever_their_ids_are(
    scene: Path, dataset: SemanticDataset, tmp_path: Path
) -> None:
    own = own_names(dataset)
    turned = dict(zip(own, [*[*own][1:], next(iter(own))], strict=True))
    names = {turned[number]: f" {name.upper()}" for number, name in own.items()}
    folder = exported(tmp_path / "out", dataset, turned, names, OTHER_VOID)
    for index, labels in enumerate(read_label_folder(str(folder), dataset, scene)):
        np.testing.assert_array_equal(labels, dataset.labels_of(index))


def test_an_id_that_means_another_class_in_the_scene_is_refused(
    scene: Path, dataset: SemanticDataset, tmp_path: Path
) -> None:
    own = own_names(dataset)
    number, name = next(iter(own.items()))
    folder = exported(tmp_path / "out", dataset, {}, {**own, number: "sofa"}, OTHER_VOID)
    with pytest.raises(SceneError, match=rf"the id {number} means '{name}' in .*, found that it means 'sofa' by"):
        read_label_folder(str(folder), dataset, scene)


def test_a_class_that_was_added_is_void_and_named(
    scene: Path, dataset: SemanticDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = own_names(dataset)
    first = next(iter(own))
    names = {number: name for number, name in own.items() if number != first} | {ADDED: "rug"}
    folder = exported(tmp_path / "out", dataset, {first: ADDED}, names, OTHER_VOID)
    for index, labels in enumerate(read_label_folder(str(folder), dataset, scene)):
        expected = dataset.labels_of(index)
        np.testing.assert_array_equal(labels, np.where(expected == 0, -1, expected))
    assert "do not hold: rug" in capsys.readouterr().out


def test_a_class_that_no_pixel_has_is_no_reason_to_refuse(
    scene: Path, dataset: SemanticDataset, tmp_path: Path
) -> None:
    void_id = dataset.taxonomy.void_source_id
    folder = exported(tmp_path / "out", dataset, {}, {**own_names(dataset), void_id: "unused"}, OTHER_VOID)
    read_label_folder(str(folder), dataset, scene)


def test_a_damaged_list_of_classes_is_named(scene: Path, dataset: SemanticDataset, tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", dataset, {}, own_names(dataset), OTHER_VOID)
    (folder / "classes.json").write_text(json.dumps({"written_by": "sns-label", "classes": [1]}))
    with pytest.raises(SceneError, match=r"a list of classes with ids and names in .*classes\.json"):
        read_label_folder(str(folder), dataset, scene)
