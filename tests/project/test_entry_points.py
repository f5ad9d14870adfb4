"""What nerfstudio finds after the installation, in fresh processes and in either order of import."""

import json
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pytest
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.plugins.types import MethodSpecification

from support.fresh_process import HIDE_PLUGIN, last_line, run_with_libraries

METHODS = "nerfstudio.method_configs"
DATAPARSERS = "nerfstudio.dataparser_configs"
COMMANDS = "console_scripts"
EXPECTED = {
    METHODS: {
        "gsnerf",
        "gsnerf-small",
        "semantic-nerf",
        "semantic-nerf-big",
        "semantic-ngp",
        "semantic-nerf-vanilla",
        "semantic-splatfacto",
        "viewseg",
        "viewseg-small",
    },
    DATAPARSERS: {
        "semantic-data",
        "replica-data",
        "nerfstudio-semantic-data",
        "scannet-semantic-data",
        "hypersim-data",
    },
    COMMANDS: {
        "sns-apply",
        "sns-audit-labels",
        "sns-batch",
        "sns-batch-cost",
        "sns-benchmark",
        "sns-doctor",
        "sns-export",
        "sns-export-labels",
        "sns-export-weights",
        "sns-extract-sens",
        "sns-fuse-labels",
        "sns-import-labels",
        "sns-label",
        "sns-pairs",
        "sns-predict",
        "sns-suggest",
        "sns-to-splat",
    },
}

OURS = EXPECTED[METHODS] | EXPECTED[DATAPARSERS]


def ours(group: str) -> list[EntryPoint]:
    return [point for point in entry_points(group=group) if point.value.startswith("semantic_ns.")]


@pytest.mark.parametrize("group", EXPECTED)
def test_the_installation_offers_exactly_these_names(group: str) -> None:
    assert {point.name for point in ours(group)} == EXPECTED[group]


@pytest.mark.parametrize("point", ours(COMMANDS), ids=lambda point: point.name)
def test_a_command_is_a_function_without_arguments(point: EntryPoint) -> None:
    assert callable(point.load())


@pytest.mark.parametrize("point", ours(METHODS), ids=lambda point: point.name)
def test_a_method_is_registered_under_its_own_name(point: EntryPoint) -> None:
    specification = point.load()
    assert isinstance(specification, MethodSpecification)
    assert isinstance(specification.config, TrainerConfig)
    # Evaluation looks the method up by this name, and the command line shows this and not the entry point's.
    assert specification.config.method_name == point.name
    assert specification.description


def test_methods_share_no_configuration_object() -> None:
    configs = [point.load().config for point in ours(METHODS)]
    assert len({id(config.pipeline) for config in configs}) == len(configs)
    assert len({id(config.pipeline.model) for config in configs}) == len(configs)
    assert len({id(config.pipeline.datamanager) for config in configs}) == len(configs)


@pytest.mark.parametrize("point", ours(DATAPARSERS), ids=lambda point: point.name)
def test_a_dataparser_is_registered(point: EntryPoint) -> None:
    specification = point.load()
    assert isinstance(specification, DataParserSpecification)
    assert specification.description


SHOW = """
import json, re
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.configs.dataparser_configs import all_dataparsers
names = [*all_methods, *all_dataparsers]
# Addresses of functions differ from process to process.
options = {name: re.sub("0x[0-9a-f]+", "", repr(config)) for name, config in all_methods.items()}
print(json.dumps({"names": names, "options": options}))
"""


@cache
def registered(first: str) -> dict[str, Any]:
    """What nerfstudio knows in a process that begins with some code."""
    return json.loads(last_line(f"{first}\n{SHOW}", run_with_libraries))


@pytest.mark.parametrize(
    "first",
    [
        "nerfstudio.scripts.train",
        "semantic_ns.methods.semantic_nerf.method",
        "semantic_ns.methods.semantic_nerf_vanilla.method",
        "semantic_ns.dataparsers.specifications",
    ],
)
def test_methods_and_dataparsers_appear_in_any_order_of_import(first: str) -> None:
    assert OURS | {"nerfacto", "nerfstudio-data"} <= set(registered(f"import {first}")["names"])


def test_the_methods_of_the_host_are_the_same_with_and_without_this_package() -> None:
    with_package, without = registered("import nerfstudio.scripts.train"), registered(HIDE_PLUGIN)
    assert set(with_package["names"]) - set(without["names"]) == OURS
    assert without["options"].items() <= with_package["options"].items()
