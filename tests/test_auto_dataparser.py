import pytest
import tyro
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from semantic_ns.dataparsers import specifications
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.errors import SceneError


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


@pytest.mark.parametrize("name", ["auto", "replica", "nerfstudio_semantic"])
def test_every_parser_has_a_command_line_without_surprises(name):
    specification = getattr(specifications, name)
    assert isinstance(specification, DataParserSpecification)
    config = tyro.cli(type(specification.config), args=["--data", "somewhere", "--classes", "own.csv"])
    assert str(config.data) == "somewhere"  # pyright: ignore[reportAttributeAccessIssue]
    assert type(config) is type(specification.config)


def test_sequences_can_be_given_on_the_command_line():
    args = "--data d --train-sequence Sequence_1 --eval-sequence Sequence_2 --split all".split()
    config = tyro.cli(AutoDataParserConfig, args=args)
    assert (config.train_sequence, config.eval_sequence, config.split) == ("Sequence_1", "Sequence_2", "all")
