"""Folders of scenes of different layouts, in one label space and in metres."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParser
from semantic_ns.dataparsers.scene_folders import SceneFolder, find_scenes, pick_scenes
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.labels.taxonomy import Taxonomy
from support import scannet_scene
from support.colmap_scene import as_colmap
from support.hand_made_scene import CLASSES, labels_of, write_scene
from support.rooms import NUM_FRAMES, class_names, expect_one_sentence, parser_of, rename_classes


def names_of(scenes: list[SceneFolder]) -> list[str]:
    return [scene.name for scene in scenes]


def scene_called(parser: ManyScenesDataParser, name: str) -> SceneFolder:
    return pick_scenes(parser.scenes, (name,), "--view-scene")[0]


def shown_names(outputs: DataparserOutputs, index: int) -> np.ndarray:
    """The name of the class of each pixel of an image; void is empty."""
    labels = SemanticDataset(outputs).labels_of(index)
    return np.array([*outputs.metadata[keys.TAXONOMY].names, ""])[labels]


# Which scenes


def test_a_folder_has_the_scenes_of_its_sub_folders_whatever_their_layout(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    as_colmap(write_scene(tmp_path / "rooms/photos"))
    scan = scannet_scene.write_scan(tmp_path / "rooms", scannet_scene.record(2))
    (tmp_path / "rooms/.cache").mkdir()
    assert names_of(find_scenes(tmp_path / "rooms")) == ["photos", "replica", scan.name, "studio"]
    said = capsys.readouterr().out
    assert "hold no scene: notes" in said
    assert ".cache" not in said


@pytest.mark.parametrize("name", ["replica", "studio"])
def test_the_folder_of_a_scene_is_one_scene_also_as_seen_from_inside(
    name: str, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_scenes(rooms / name) == [SceneFolder(name, rooms / name)]
    monkeypatch.chdir(rooms / name)
    assert names_of(find_scenes(Path())) == [name]
    monkeypatch.chdir(rooms / name / ("Sequence_1" if name == "replica" else "images"))
    assert names_of(find_scenes(Path(".."))) == [name]


def test_the_json_file_of_a_scene_is_a_scene_with_the_name_of_its_folder(rooms: Path) -> None:
    path = rooms / "studio/transforms.json"
    assert find_scenes(path) == [SceneFolder("studio", path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_file_lists_scenes_relative_to_itself(encoding: str, rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms / "studio", tmp_path / "kitchen")
    lines = ["# rooms to train on", "", " kitchen/transforms.json ", str(rooms / "replica"), f"{rooms / 'studio'}/"]
    (tmp_path / "rooms.txt").write_bytes("\r\n".join(lines).encode(encoding))
    found = find_scenes(tmp_path / "rooms.txt")
    assert names_of(found) == ["kitchen", "replica", "studio"]
    assert [scene.path.resolve() for scene in found[1:]] == [rooms / "replica", rooms / "studio"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"Expected the path of a scene on each line of .*, found none; add"),
        ("# none yet\n", r"Expected the path of a scene on each line"),
        (
            "{rooms}/studio\nattic\n",
            r"Expected the path of a scene in line 2 of .*list\.txt, found attic, which is none",
        ),
        ("{rooms}/notes\n", r"line 1 .* found .*notes, which is none; correct"),
        ("{rooms}/studio\n{rooms}/studio\n", r"different names in .*, found studio more than once; rename"),
    ],
)
def test_a_mistake_in_a_list_is_told_with_its_line(content: str, message: str, rooms: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(content.format(rooms=rooms))
    expect_one_sentence(tmp_path / "list.txt", message)


def test_a_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"rooms/\xff\xfe/1")
    expect_one_sentence(tmp_path / "list.txt", r"Expected UTF-8 text in .*list\.txt")


def test_a_folder_without_scenes_is_told_with_what_it_holds(tmp_path: Path) -> None:
    expect_one_sentence(tmp_path, "folder whose sub-folders are scenes, at .*, found no folder; see the layouts")
    (tmp_path / "recordings").mkdir()
    (tmp_path / "notes.txt").touch()
    expect_one_sentence(tmp_path, "folder whose sub-folders are scenes, at .*, found recordings; see the layouts")
    expect_one_sentence(tmp_path / "missing", "Expected a folder of scenes at .*missing, found nothing; check --data")


def test_held_out_scenes_are_scored_and_all_frames_of_the_others_train(rooms: Path) -> None:
    parser = parser_of(rooms, held_out_scenes=("studio",), eval_interval=3)
    assert names_of(parser.training_scenes) == ["replica"]
    assert names_of(parser.scored_scenes) == ["studio"]
    assert len(parser.training_outputs(parser.training_scenes[0]).image_filenames) == NUM_FRAMES["replica"]
    assert parser.shown_scene.name == "studio"
    for split, count in [("train", 4), ("test", 2), ("val", 2)]:
        outputs = parser.get_dataparser_outputs(split)
        assert len(outputs.image_filenames) == count
        assert all(path.is_relative_to(rooms / "studio") for path in outputs.image_filenames)


def test_without_held_out_scenes_the_split_of_every_scene_decides(rooms: Path) -> None:
    parser = parser_of(rooms, eval_interval=3, split="interval")
    assert names_of(parser.training_scenes) == names_of(parser.scored_scenes) == ["replica", "studio"]
    for scene in parser.scenes:
        trained, sources, scored = (
            set(outputs.image_filenames)
            for outputs in (
                parser.training_outputs(scene),
                parser.scored_outputs(scene, "train"),
                parser.scored_outputs(scene, "test"),
            )
        )
        assert trained == sources
        assert len(scored) == NUM_FRAMES[scene.name] // 3
        assert trained.isdisjoint(scored)


def test_held_out_scenes_are_scored_in_the_order_of_their_names_in_the_option_each_once(rooms: Path) -> None:
    scenes = find_scenes(rooms)
    assert names_of(pick_scenes(scenes, ("studio", "replica", "studio"), "--held-out-scenes")) == ["studio", "replica"]


def test_the_scene_to_be_shown_is_chosen_by_name(rooms: Path) -> None:
    parser = parser_of(rooms, held_out_scenes=("studio",), view_scene="replica")
    assert all(path.is_relative_to(rooms / "replica") for path in parser.get_dataparser_outputs().image_filenames)


@pytest.mark.parametrize("options", [{"held_out_scenes": ("studio", "attic")}, {"view_scene": "attic"}])
def test_a_name_that_is_no_scene_is_told_with_the_option_and_the_names(options: dict[str, Any], rooms: Path) -> None:
    option = "--" + next(iter(options)).replace("_", "-")
    expect_one_sentence(
        rooms, rf"Expected names of scenes for {option}, found attic; the scenes are replica, studio", **options
    )


@pytest.mark.parametrize("options", [{"held_out_scenes": ("attic", "studio", "hall")}, {"view_scene": "attic"}])
def test_one_scene_for_a_model_that_knows_its_classes_needs_no_name_that_the_options_have(
    options: dict[str, Any], rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Taxonomy((1, 3), ("floor", "wall"), ((9, 0, 0), (0, 9, 0)), (False, False), 0).to_json()
    for name in ("studio", "replica"):
        parser = parser_of(rooms / name, label_space=given, **options)
        assert (names_of(parser.scored_scenes), parser.shown_scene.name) == ([name], name)
        assert len(parser.get_dataparser_outputs("test").image_filenames) > 0
        said = capsys.readouterr().out
        assert said.count(f"{name} is the only scene here, so that --") == 1
        assert "attic" in said
    message = r"Expected names of scenes for --.*, found attic.*; the scenes are replica, studio"
    expect_one_sentence(rooms, message, label_space=given, **options)
    expect_one_sentence(rooms / "studio", r"found attic.*; the scenes are studio", **options)


def test_all_scenes_held_out_leave_none_to_train_on(rooms: Path) -> None:
    message = r"Expected a scene to train on in .*, found only those of --held-out-scenes; leave one"
    expect_one_sentence(rooms, message, held_out_scenes=("replica", "studio"))


# Label space


def test_scenes_of_different_layouts_have_one_label_space_in_which_their_pixels_keep_their_names(rooms: Path) -> None:
    parser = parser_of(rooms)
    own = {
        name: AutoDataParserConfig(data=rooms / name).setup().get_dataparser_outputs("train")
        for name in ("replica", "studio")
    }
    assert set(parser.taxonomy.names) == {
        name for outputs in own.values() for name in outputs.metadata[keys.TAXONOMY].names
    }
    for scene in parser.scenes:
        outputs = parser.training_outputs(scene)
        assert outputs.metadata[keys.TAXONOMY] == parser.taxonomy
        for index in range(len(outputs.image_filenames)):
            np.testing.assert_array_equal(shown_names(outputs, index), shown_names(own[scene.name], index))


def test_other_ids_and_spellings_of_a_class_are_read_as_the_same_class(rooms: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(rooms / "studio", tmp_path / name)
    names = class_names(tmp_path / "second")
    rename_classes(tmp_path / "second", {name: name.upper() for name in names})
    path = tmp_path / "second/transforms.json"
    content = json.loads(path.read_text())
    old = [entry["id"] for entry in content["semantic_classes"]]
    for number, entry in enumerate(reversed(content["semantic_classes"]), start=1):
        entry["id"] = number
    path.write_text(json.dumps(content))
    new = dict(zip(old, [entry["id"] for entry in content["semantic_classes"]], strict=True)) | {0: 0}
    table = np.array([new.get(number, 0) for number in range(256)], np.uint8)
    for label in (tmp_path / "second/semantics").iterdir():
        Image.fromarray(table[np.array(Image.open(label))]).save(label)
    parser = parser_of(tmp_path)
    assert len(parser.taxonomy.names) == len(names)
    first, second = (SemanticDataset(parser.training_outputs(scene)) for scene in parser.scenes)
    for index in range(len(first)):
        np.testing.assert_array_equal(first.labels_of(index), second.labels_of(index))
        assert (first.labels_of(index) >= 0).mean() > 0.9


def test_a_scene_whose_labels_go_through_a_map_of_more_classes_than_it_shows_is_read(tmp_path: Path) -> None:
    """ScanNet's raw ids lead to all 40 classes of NYU40, of which a scan shows a few."""
    scan = scannet_scene.write_scan(tmp_path, scannet_scene.record(6))
    expected = AutoDataParserConfig(data=scan).setup().get_dataparser_outputs("train")
    parser = parser_of(scan)
    outputs = parser.training_outputs(parser.scenes[0])
    assert set(outputs.metadata[keys.TAXONOMY].names) == set(expected.metadata[keys.TAXONOMY].names)
    np.testing.assert_array_equal(shown_names(outputs, 0), shown_names(expected, 0))


def test_unknown_classes_of_a_held_out_scene_become_void_and_are_said_once(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    rename_classes(tmp_path / "rooms/studio", {"sofa": "divan", "lamp": "lantern"})
    parser = parser_of(tmp_path / "rooms", held_out_scenes=("studio",))
    scene = scene_called(parser, "studio")
    for split in ("train", "test", "train"):
        outputs = parser.scored_outputs(scene, split)
    said = [line for line in capsys.readouterr().out.splitlines() if "become void" in line]
    assert len(said) == 1
    assert "studio: the model does not know" in said[0]
    assert all(name in said[0] for name in ("divan", "lantern"))
    plain = AutoDataParserConfig(data=rooms / "studio").setup().get_dataparser_outputs("train")
    for index in range(len(outputs.image_filenames)):
        before = shown_names(plain, index)
        expected = np.where(np.isin(before, ["sofa", "lamp"]), "", before)
        np.testing.assert_array_equal(shown_names(outputs, index), expected)


def test_a_held_out_scene_does_not_widen_the_label_space(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    rename_classes(tmp_path / "rooms/studio", {"sofa": "divan"})
    assert "divan" in parser_of(tmp_path / "rooms").taxonomy.names
    assert "divan" not in parser_of(tmp_path / "rooms", held_out_scenes=("studio",)).taxonomy.names


def test_a_scene_without_a_class_of_the_model_is_told_with_both_lists(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    names = class_names(tmp_path / "rooms/studio")
    rename_classes(tmp_path / "rooms/studio", {name: f"my {name}" for name in names})
    message = r"at least one class of .*studio in the label space .*, found none of my \w+, .* among \w+, .*; rename"
    expect_one_sentence(tmp_path / "rooms", message, held_out_scenes=("studio",))


def test_training_scenes_without_a_class_in_common_are_told_with_the_lists_of_two(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    names = class_names(tmp_path / "rooms/studio")
    rename_classes(tmp_path / "rooms/studio", {name: f"my {name}" for name in names})
    message = r"two have a class in common by name, found none \(replica has \w+, .*; studio has my \w+, .*\); rename"
    expect_one_sentence(tmp_path / "rooms", message)
    rename_classes(tmp_path / "rooms/studio", {f"my {name}": name for name in names[:1]})
    assert f"my {names[1]}" in parser_of(tmp_path / "rooms").taxonomy.names


def test_a_given_label_space_decides_what_is_known_and_in_which_order(rooms: Path) -> None:
    given = Taxonomy((1, 3), ("Floor", "WALL"), ((9, 0, 0), (0, 9, 0)), (False, False), 0)
    parser = parser_of(rooms, label_space=given.to_json())
    assert parser.taxonomy == given
    labels = SemanticDataset(parser.training_outputs(scene_called(parser, "studio"))).labels_of(0)
    assert set(np.unique(labels)) == {-1, 0, 1}


def test_a_scene_in_nerfstudios_format_takes_its_names_from_a_file_beside_it(tmp_path: Path) -> None:
    as_colmap(write_scene(tmp_path / "rooms/named"))
    outputs = parser_of(tmp_path / "rooms", normalize_scale=True).get_dataparser_outputs("train")
    assert outputs.metadata[keys.TAXONOMY].names == tuple(name for name in CLASSES if name != "ceiling")
    number = int(outputs.image_filenames[0].stem.rpartition("_")[2])
    np.testing.assert_array_equal(shown_names(outputs, 0), np.array(CLASSES)[labels_of(number)])


@pytest.mark.parametrize("has_names", [False, True])
def test_a_scene_that_nobody_has_labelled_is_void_in_the_classes_of_the_model(has_names: bool, tmp_path: Path) -> None:
    scene = as_colmap(write_scene(tmp_path / "new_room"))
    shutil.rmtree(scene / "semantics")
    if not has_names:
        (scene / "classes.txt").unlink()
    given = Taxonomy((3, 5), ("floor", "wall"), ((9, 0, 0), (0, 9, 0)), (False, True), 0)
    parser = parser_of(scene, label_space=given.to_json(), normalize_scale=True)
    for split in ("train", "test"):
        outputs = parser.get_dataparser_outputs(split)
        assert outputs.metadata[keys.TAXONOMY] == given
        assert set(shown_names(outputs, 0).ravel()) == {""}


def test_labels_of_a_few_frames_are_enough_to_be_read_as_usual(tmp_path: Path) -> None:
    scene = as_colmap(write_scene(tmp_path / "new_room"))
    for path in sorted((scene / "semantics").iterdir())[2:]:
        path.unlink()
    given = Taxonomy((3, 5), ("floor", "wall"), ((9, 0, 0), (0, 9, 0)), (False, True), 0)
    outputs = parser_of(scene, label_space=given.to_json(), normalize_scale=True).get_dataparser_outputs("train")
    place = [path.stem for path in outputs.image_filenames].index("frame_1")
    expected = np.array([*CLASSES[:2], "", ""])[labels_of(1)]
    np.testing.assert_array_equal(shown_names(outputs, place), expected)


def test_a_scene_without_names_of_its_classes_is_told_beside_others(tmp_path: Path) -> None:
    as_colmap(write_scene(tmp_path / "rooms/unnamed"))
    (tmp_path / "rooms/unnamed/classes.txt").unlink()
    alone = parser_of(tmp_path / "rooms", normalize_scale=True).taxonomy
    assert all(name.startswith("class_") for name in alone.names)
    as_colmap(write_scene(tmp_path / "rooms/named"))
    expect_one_sentence(tmp_path / "rooms", r"unnamed; .* semantic_classes .* classes\.txt", normalize_scale=True)


# Reading


def test_the_files_of_a_scene_are_read_once_for_all_its_splits(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of(rooms, held_out_scenes=("studio",), split="all")
    for _ in range(2):
        parser.training_outputs(parser.training_scenes[0])
        for split in ("train", "test"):
            parser.get_dataparser_outputs(split)
    said = capsys.readouterr().out.splitlines()
    assert sum("semantic-data: found" in line for line in said) == 2


def test_scenes_that_only_train_are_announced_together_and_scored_ones_each(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = parser_of(rooms, held_out_scenes=("studio",))
    parser.training_outputs(parser.training_scenes[0])
    parser.get_dataparser_outputs("train")
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "replica" in line] == []
    assert sum("semantic-data: found" in line and "studio" in line for line in said) == 1
    assert sum("many scenes: 1 to train on" in line for line in said) == 1
