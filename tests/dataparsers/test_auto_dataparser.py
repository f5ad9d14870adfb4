from pathlib import Path

import pytest
import tyro
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from semantic_ns.dataparsers import specifications
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig
from semantic_ns.errors import SceneError
from support.hypersim_scene import write_hypersim_scene
from support.scannet_scene import write_scan


def parse(folder, split="train", **options):
    return AutoDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(split)


@pytest.mark.parametrize(
    ("scene", "path", "parser"),
    [
        ("replica_scene", ".", "replica-data"),
        ("replica_scene", "Sequence_2", "replica-data"),
        ("nerfstudio_scene", ".", "nerfstudio-semantic-data"),
        ("nerfstudio_scene", "transforms.json", "nerfstudio-semantic-data"),
    ],
)
def test_the_layout_is_recognised_and_said(request, capsys, scene, path, parser):
    outputs = parse(request.getfixturevalue(scene) / path)
    said = capsys.readouterr().out
    assert f"({parser})" in said.splitlines()[0]
    assert f"{parser}: " in said.splitlines()[-1]
    assert len(outputs.image_filenames) == 10


def test_nerfstudios_format_with_images_in_a_folder_rgb_is_recognised(nerfstudio_scene, copy_scene):
    folder = copy_scene(nerfstudio_scene)
    (folder / "images").rename(folder / "rgb")
    path = folder / "transforms.json"
    path.write_text(path.read_text().replace("images/", "rgb/"))
    config, found = AutoDataParserConfig(data=folder).setup().choose()
    assert isinstance(config, NerfstudioSemanticDataParserConfig)
    assert "transforms.json" in found
    (folder / "traj.txt").write_text("")
    assert isinstance(AutoDataParserConfig(data=folder).setup().choose()[0], ReplicaDataParserConfig)


@pytest.fixture(scope="module")
def scannet_scan(tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp("scannet"))


@pytest.fixture(scope="module")
def hypersim_scene(tmp_path_factory):
    return write_hypersim_scene(tmp_path_factory.mktemp("hypersim"))


@pytest.mark.parametrize(
    ("scene", "parser", "config_type", "space_unless_given"),
    [
        ("replica_scene", "replica-data", ReplicaDataParserConfig, "native"),
        ("nerfstudio_scene", "nerfstudio-semantic-data", NerfstudioSemanticDataParserConfig, "native"),
        ("scannet_scan", "scannet-semantic-data", ScanNetDataParserConfig, None),
        ("hypersim_scene", "hypersim-data", HypersimDataParserConfig, "native"),
    ],
)
def test_label_space_and_split_are_handed_on(request, scene, parser, config_type, space_unless_given):
    folder = request.getfixturevalue(scene)
    options = {"split": "interval", "eval_interval": 5, "train_fraction": 0.7}
    chosen, found = AutoDataParserConfig(data=folder, label_space="nyu13", **options).setup().choose()
    assert isinstance(chosen, config_type)
    assert parser in found
    assert (chosen.data, chosen.label_space, chosen.eval_interval) == (folder, "nyu13", 5)
    assert 0.7 in vars(chosen).values()
    assert AutoDataParserConfig(data=folder).setup().choose()[0].label_space == space_unless_given
    outputs = parse(folder, label_space="nyu13")
    assert {"wall", "floor", "ceiling"} <= set(outputs.metadata["taxonomy"].names)
    assert max(outputs.metadata["taxonomy"].source_ids) <= 13


@pytest.mark.parametrize(
    ("scene", "options", "says"),
    [
        ("scannet_scan", {"train_sequence": "Sequence_1"}, "ScanNet scan"),
        ("hypersim_scene", {"eval_sequence": "Sequence_1"}, "--camera"),
        ("hypersim_scene", {"classes": Path("own.csv")}, "--label-space"),
    ],
)
def test_options_that_a_layout_does_not_know_are_refused(request, scene, options, says):
    with pytest.raises(SceneError, match=says):
        parse(request.getfixturevalue(scene), **options)


def test_it_gives_what_the_named_parser_gives(replica_scene, nerfstudio_scene):
    for folder, config in (
        (replica_scene, ReplicaDataParserConfig(data=replica_scene, split="fraction", train_fraction=0.5)),
        (
            nerfstudio_scene,
            NerfstudioSemanticDataParserConfig(data=nerfstudio_scene, eval_mode="fraction", train_split_fraction=0.5),
        ),
    ):
        ours = AutoDataParserConfig(data=folder, split="fraction", train_fraction=0.5).setup()
        for split in ("train", "val"):
            expected = config.setup().get_dataparser_outputs(split)
            outputs = ours.get_dataparser_outputs(split)
            assert outputs.image_filenames == expected.image_filenames
            assert outputs.metadata["split"] == expected.metadata["split"]


def test_sequences_are_handed_on(replica_scene):
    options = {"train_sequence": "Sequence_2", "eval_sequence": "Sequence_1"}
    assert {path.parts[-3] for path in parse(replica_scene, **options).image_filenames} == {"Sequence_2"}
    assert {path.parts[-3] for path in parse(replica_scene, "val", **options).image_filenames} == {"Sequence_1"}


def test_an_unknown_layout_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(SceneError) as raised:
        parse(tmp_path)
    for text in (str(tmp_path), "Sequence_*/rgb", "traj_w_c.txt", "transforms.json", "it holds images"):
        assert text in str(raised.value)


@pytest.mark.parametrize("options", [{"eval_sequence": "Sequence_2"}, {"split": "published"}])
def test_options_of_replica_are_refused_for_nerfstudios_format(nerfstudio_scene, options):
    with pytest.raises(SceneError, match="nerfstudio's format"):
        parse(nerfstudio_scene, **options)


@pytest.mark.parametrize("name", ["auto", "replica", "nerfstudio_semantic", "scannet", "hypersim"])
def test_every_parser_has_a_command_line_without_surprises(name):
    specification = getattr(specifications, name)
    assert isinstance(specification, DataParserSpecification)
    config = tyro.cli(type(specification.config), args=["--data", "somewhere", "--label-space", "own.csv"])
    assert str(config.data) == "somewhere"  # pyright: ignore[reportAttributeAccessIssue]
    assert config.label_space == "own.csv"  # pyright: ignore[reportAttributeAccessIssue]
    assert type(config) is type(specification.config)


def test_sequences_can_be_given_on_the_command_line():
    args = ["--data", "d", "--train-sequence", "Sequence_1", "--eval-sequence", "Sequence_2", "--split", "all"]
    config = tyro.cli(AutoDataParserConfig, args=args)
    assert (config.train_sequence, config.eval_sequence, config.split) == ("Sequence_1", "Sequence_2", "all")


def test_all_classes_are_for_scenes_that_are_still_to_be_labelled(replica_scene: Path, nerfstudio_scene: Path) -> None:
    chosen, _ = AutoDataParserConfig(data=nerfstudio_scene, all_classes=True).setup().choose()
    assert isinstance(chosen, NerfstudioSemanticDataParserConfig)
    assert chosen.all_classes
    with pytest.raises(SceneError, match="--all-classes"):
        AutoDataParserConfig(data=replica_scene, all_classes=True).setup().choose()
