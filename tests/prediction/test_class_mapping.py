"""Channels of a network and classes of a scene meet by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.prediction.class_mapping import WrittenClasses, keep_classes, map_to_scene, map_to_table
from semantic_ns.prediction.class_names import names_in_metadata, names_of_mapping, read_class_names

NAMES = ("Wall", "arm-chair", "sky", "door;double door", "wall", "seat, chair")
TABLE = ClassTable.from_list(
    [{"id": 3, "name": "chair"}, {"id": 7, "name": "wall"}, {"id": 9, "name": "double_door"}], 0, "the table"
)
TAXONOMY = Taxonomy.from_table(TABLE, [3, 7, 9])


def test_names_meet_without_case_blanks_and_dashes_and_the_first_known_synonym_counts() -> None:
    mapping = map_to_scene(NAMES, TAXONOMY, None, "room")
    assert mapping.targets.tolist() == [1, -1, -1, 2, 1, 0]
    assert mapping.unknown == ("arm-chair", "sky")
    assert mapping.missing == ()
    (sentence,) = mapping.sentences("room")
    assert "2 of the network's 6 classes (arm-chair, sky)" in sentence


def slow_label(probabilities: dict[str, float], mapping: Any) -> int:
    """The class of one pixel: classes add up their channels, and each channel without a class stands alone."""
    scores: dict[Any, float] = {}
    for number, name in enumerate(NAMES):
        target = mapping.targets[number]
        key = int(target) if target >= 0 else f"void {number}"
        scores[key] = scores.get(key, 0.0) + probabilities[name]
    best = max(scores, key=lambda key: scores[key])
    return best if isinstance(best, int) else -1


def test_labels_and_distributions_are_those_of_each_pixel_by_itself() -> None:
    mapping = map_to_scene(NAMES, TAXONOMY, None, "room")
    shares = torch.rand(6, 9, 11, generator=torch.Generator().manual_seed(0)).pow(3)
    shares /= shares.sum(dim=0)
    merged = mapping.merge(shares).permute(1, 2, 0).numpy()
    labels, distributions = mapping.labels(merged), mapping.distributions(merged)
    for row, column in np.ndindex(9, 11):
        pixel = {name: float(shares[number, row, column]) for number, name in enumerate(NAMES)}
        label = slow_label(pixel, mapping)
        assert labels[row, column] == label
        known = np.array([pixel["seat, chair"], pixel["Wall"] + pixel["wall"], pixel["door;double door"]])
        expected = known / known.sum() if label >= 0 else np.zeros(3)
        np.testing.assert_allclose(distributions[row, column], expected, rtol=1e-4, atol=1e-6)
    assert {-1, 0, 1, 2} == set(labels.ravel().tolist())


def test_ids_in_images_are_those_of_the_scenes_own_label_images() -> None:
    label_map = LabelMap("raw ids", TABLE, {-1: 0, 5: 0, 40: 3, 20: 3, 300: 7})
    written = map_to_scene(("chair", "wall"), TAXONOMY, label_map, "room").written
    labels = np.array([[0, 1, -1]])
    image = written.label_image(labels)
    assert image.tolist() == [[20, 300, 5]]
    assert image.dtype == np.uint16
    assert (TAXONOMY.encode(label_map.apply(image), "") == labels).all()
    # No id means the double door in these images.
    assert [entry.name for entry in written.entries] == ["chair", "wall"]
    assert written.to_json()["void_id"] == 5
    assert [(row["id"], row["name"]) for row in written.to_json()["classes"]] == [(20, "chair"), (300, "wall")]


def test_a_scene_without_an_id_for_void_is_one_sentence() -> None:
    with pytest.raises(SceneError, match="means void"):
        WrittenClasses.of_scene(TAXONOMY, LabelMap("raw ids", TABLE, {20: 3}))


def test_a_table_of_the_user_maps_by_its_column_from(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,name,from\n0,void,\n2,seat,arm-chair|sofa\n5,wall,\n")
    mapping = map_to_table(NAMES, str(path))
    assert [mapping.written.image_ids[target] if target >= 0 else None for target in mapping.targets] == [
        5, 2, None, None, 5, 2,
    ]  # fmt: skip
    assert mapping.written.void_id == 0


def test_label_spaces_are_reached_by_way_of_nyu40() -> None:
    mapping = map_to_table(("sofa", "cushion", "spaceship"), "nyu13")
    names = [mapping.written.entries[target].name if target >= 0 else None for target in mapping.targets]
    assert names[0] == "sofa"
    assert names[2] is None


def test_the_networks_own_classes_keep_its_numbers_and_equal_names_are_told_apart() -> None:
    mapping = keep_classes(["wall", "bed ", "bed", ""])
    assert mapping.targets.tolist() == [0, 1, 2, 3]
    assert [entry.name for entry in mapping.written.entries] == ["wall", "bed", "bed 2", "3"]
    assert mapping.written.void_id == 255
    assert keep_classes([str(number) for number in range(300)]).written.void_id == 300
    ClassTable.from_list(mapping.written.to_json()["classes"], 255, "classes.json")  # readable


def test_no_two_of_the_networks_own_classes_have_one_name() -> None:
    names = [entry.name for entry in keep_classes(["bed 2", "bed", "bed", "bed 4", "BED"]).written.entries]
    assert names == ["bed 2", "bed", "bed 2 2", "bed 4", "BED 4 4"]


def test_a_channel_whose_name_means_void_is_void_and_others_keep_their_numbers() -> None:
    mapping = keep_classes(["Unlabeled", "wall", "void", "bed"])
    assert mapping.targets.tolist() == [-1, 0, -1, 1]
    merged = mapping.merge(torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1))
    np.testing.assert_allclose(merged[:, 0, 0], [0.2, 0.4, 0.1, 0.3])
    assert mapping.written.label_image(np.array([[0, -1, 1]])).tolist() == [[1, 255, 3]]
    assert mapping.sentences("model") == []
    table = ClassTable.from_list(mapping.written.to_json()["classes"], 255, "classes.json")
    assert [entry.id for entry in table.entries] == [1, 3]
    with pytest.raises(SceneError, match="other than void"):
        keep_classes(["void"])


def test_nothing_in_common_no_classes_and_unknown_spaces_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"found no common name with sky, sea"):
        map_to_scene(("sky", "sea"), TAXONOMY, None, "room")
    with pytest.raises(SceneError, match=r"--classes-of model"):
        map_to_scene(("sky", "sea"), Taxonomy((), (), (), (), 0), None, "room")
    with pytest.raises(SceneError, match=r"--classes-of to be scene"):
        map_to_table(NAMES, "nyu41")
    with pytest.raises(SceneError, match=r"missing\.csv"):
        map_to_table(NAMES, str(tmp_path / "missing.csv"))


@pytest.mark.parametrize(
    ("name", "text", "num_channels", "expected"),
    [
        ("a.txt", "wall\nchair\n", 2, ("wall", "chair")),
        ("a.csv", "id,name\n7,wall\n3,chair\n0,void\n", 2, ("chair", "wall")),
        ("a.csv", "id,name\n7,wall\n3,chair\n0,void\n", 3, ("void", "chair", "wall")),
        ("a.json", '{"classes": ["background", "wall"]}', 2, ("background", "wall")),
    ],
)
def test_a_list_names_the_channels_by_ascending_id_with_void_where_there_is_a_channel_for_it(
    name: str, text: str, num_channels: int, expected: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name).of_channels(num_channels, Path("n.onnx")) == expected
    with pytest.raises(SceneError, match="has channels, 4, found"):
        read_class_names(tmp_path / name).of_channels(4, Path("n.onnx"))


def test_names_in_metadata_are_json_or_a_python_literal_and_never_code() -> None:
    assert names_in_metadata({}, "file") is None
    for text in ('["a", "b"]', '{"0": "a", "1": "b"}', "{0: 'a', 1: 'b'}"):
        found = names_in_metadata({"names": text}, "file")
        assert found is not None
        assert found.names == ("a", "b")
    with pytest.raises(SceneError, match="names of file"):
        names_in_metadata({"names": "__import__('os').getcwd()"}, "file")
    with pytest.raises(SceneError, match="each channel"):
        names_of_mapping({0: "a", 2: "b"}, "id2label")
