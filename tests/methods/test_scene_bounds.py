"""Near and far plane: what a person gives wins over the data set, which wins over the method, everywhere."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.plugins.types import MethodSpecification
from PIL import Image

from semantic_ns.dataparsers import specifications
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.shelf import SHELF
from semantic_ns.methods.scene_bounds import StatedBounds, resolve_bounds
from support.hand_made_scene import HEIGHT, WIDTH, each_frame, write_scene
from support.hypersim_scene import write_hypersim_scene
from support.registered import FIELDS, METHODS, SMALL
from support.scannet_scene import write_scan

PARSERS = [item.config for item in vars(specifications).values() if isinstance(item, DataParserSpecification)]
FROM_SOURCES = {name: METHODS[name] for name in ("gsnerf", "gsnerf-small", "viewseg", "viewseg-small")}
"""Those that see a view from source views, whose planes are depths in metres."""
KNOW_BOUNDS = {"ReplicaDataParserConfig", "ScanNetDataParserConfig"}
"""Parsers whose data set states near and far plane."""
OLD_STATE = {"near_plane": 0.05, "far_plane": 1000.0}
"""What configurations hold that were written when these options had a value by default."""


@pytest.fixture(scope="module")
def scenes(replica_scene: Path, nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small scene for each dataparser, by the name of its configuration."""
    return {
        "AutoDataParserConfig": nerfstudio_scene,
        "ReplicaDataParserConfig": replica_scene,
        "NerfstudioSemanticDataParserConfig": nerfstudio_scene,
        "ScanNetDataParserConfig": write_scan(tmp_path_factory.mktemp("scannet")),
        "HypersimDataParserConfig": write_hypersim_scene(tmp_path_factory.mktemp("hypersim")),
    }


def parsed(config: DataParserConfig, folder: Path) -> DataparserOutputs:
    config = copy.deepcopy(config)
    config.data = folder
    parser: DataParser = config.setup()
    return parser.get_dataparser_outputs("train")


def model_config(method: MethodSpecification, **options: Any) -> Any:
    config: Any = copy.deepcopy(method.config.pipeline.model)
    sizes = {"log2_hashmap_size": 8, "max_res": 32} if hasattr(config, "num_levels") else {}
    for name, value in (sizes | SMALL[str(method.config.method_name)] | options).items():
        assert hasattr(config, name)
        setattr(config, name, value)
    return config


def build(config: Any, scene: DataparserOutputs) -> Any:
    return config.setup(scene_box=scene.scene_box, num_train_data=3, metadata=scene.metadata, device="cpu")


def ray() -> RayBundle:
    return RayBundle(
        origins=torch.zeros(1, 3),
        directions=torch.tensor([[0.0, 0, 1]]),
        pixel_area=torch.ones(1, 1),
        camera_indices=torch.zeros(1, 1, dtype=torch.long),
        metadata={"directions_norm": torch.ones(1, 1)},
    )


def planes(model: Any, is_training: bool = True) -> tuple[float, float]:
    """Near and far plane of a ray along the optical axis, while training or at evaluation."""
    bundle = model.train(is_training).collider(ray())
    marched = model._march_bounds() if hasattr(model, "_march_bounds") else {"near_plane": 0.0, "far_plane": math.inf}
    return max(float(bundle.nears), marched["near_plane"]), min(float(bundle.fars), marched["far_plane"])


@pytest.mark.parametrize("parser", PARSERS, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_options_win_over_the_data_set_which_wins_over_the_method(
    method: MethodSpecification, parser: DataParserConfig, scenes: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name = type(parser).__name__
    scene = parsed(parser, scenes[name])
    metres = scene.metadata["metres_per_unit"]
    is_paper = method is FIELDS["semantic-nerf-vanilla"]
    default = (0.1 / metres, 10 / metres) if is_paper else (0.05, 1000.0)
    unchanged = (0.1 / metres, 10 / metres) if name in KNOW_BOUNDS else default
    capsys.readouterr()

    assert planes(build(model_config(method), scene)) == pytest.approx(unchanged)
    said = capsys.readouterr().out.splitlines()[-1]
    assert ("data set" in said) == (name in KNOW_BOUNDS)
    assert f"near plane at {unchanged[0]:.4g} scene units ({unchanged[0] * metres:.4g} m)" in said

    # The values that nerfstudio has by default are options like any others.
    for given in ({"near_plane": 0.05, "far_plane": 1000.0}, {"near_plane": 0.3, "far_plane": 4.0}):
        assert planes(build(model_config(method, **given), scene)) == pytest.approx(tuple(given.values()))
    assert planes(build(model_config(method, near_plane=0.3), scene)) == pytest.approx((0.3, unchanged[1]))
    assert planes(build(model_config(method, far_plane=4.0), scene)) == pytest.approx((unchanged[0], 4.0))
    assert "4 scene units" in capsys.readouterr().out.splitlines()[-1]
    assert planes(build(model_config(method, use_scene_bounds=False), scene)) == pytest.approx(default)


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_bounds_of_a_data_set_are_found_through_the_dataparser_that_recognises_it(
    method: MethodSpecification, replica_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recognised = parsed(specifications.auto.config, replica_scene)
    named = parsed(specifications.replica.config, replica_scene)
    capsys.readouterr()
    expected = (0.1 / named.metadata["metres_per_unit"], 10 / named.metadata["metres_per_unit"])
    assert planes(build(model_config(method), recognised)) == pytest.approx(expected)
    assert "both stated by the data set" in capsys.readouterr().out.splitlines()[-1]
    assert planes(build(model_config(method, far_plane=4.0), recognised)) == pytest.approx((expected[0], 4.0))


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_a_near_plane_that_is_given_also_holds_at_evaluation(
    method: MethodSpecification, scenes: dict[str, Path]
) -> None:
    scene = parsed(specifications.replica.config, scenes["ReplicaDataParserConfig"])
    assert planes(build(model_config(method, near_plane=0.3), scene), is_training=False)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("method", [FIELDS["semantic-nerf"], FIELDS["semantic-nerf-big"]], ids=["small", "big"])
def test_a_near_plane_that_nobody_gave_lets_rays_start_at_the_camera_at_evaluation(
    method: MethodSpecification, scenes: dict[str, Path]
) -> None:
    states_none = parsed(specifications.nerfstudio_semantic.config, scenes["NerfstudioSemanticDataParserConfig"])
    states_some = parsed(specifications.replica.config, scenes["ReplicaDataParserConfig"])
    for scene in (states_none, states_some):
        assert planes(build(model_config(method), scene), is_training=False)[0] == 0
    # What a file of before holds as the value of an option may be a default of then.
    assert (
        planes(build(restored(method, {"near_plane": 0.2, "far_plane": 3.0}), states_none), is_training=False)[0] == 0
    )


def build_from_sources(method: MethodSpecification, scene: DataparserOutputs, **options: float) -> Any:
    """A model whose shelf of source frames is empty: none is rendered."""
    shelf = SimpleNamespace(scored_names=(), shown_number=None)
    return build(model_config(method, **options), replace(scene, metadata=scene.metadata | {SHELF: shelf}))


@pytest.mark.parametrize("method", FROM_SOURCES.values(), ids=FROM_SOURCES)
def test_depths_that_sources_are_searched_between_are_announced_and_refused_in_the_unit_of_the_options(
    method: MethodSpecification, replica_scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = parsed(specifications.replica.config, replica_scene)
    scene = replace(scene, metadata=scene.metadata | {"metres_per_unit": 3.0})
    capsys.readouterr()
    bounds = build_from_sources(method, scene, near_plane=0.3).bounds
    said = capsys.readouterr().out
    assert f"near plane at 0.3 m, given by option; far plane at {3 * bounds.far:.4g} m, the method's default" in said
    assert "scene units" not in said
    assert bounds.near == pytest.approx(0.1)
    with pytest.raises(SceneError, match=r"near plane at 9 m \(given by option\) and the far plane at 8") as error:
        build_from_sources(method, scene, near_plane=9.0, far_plane=8.0)
    assert "scene units" not in str(error.value)


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_options_survive_a_configuration_file(method: MethodSpecification) -> None:
    for given in ({}, {"near_plane": 0.05, "far_plane": 1000.0}, {"near_plane": 0.3}):
        config = model_config(method, **given)
        assert yaml.load(yaml.dump(config), Loader=yaml.Loader) == config


@pytest.mark.parametrize("method", [FIELDS["semantic-nerf"], FIELDS["semantic-nerf-big"]], ids=["small", "big"])
@pytest.mark.parametrize("scene", ["ReplicaDataParserConfig", "NerfstudioSemanticDataParserConfig"])
def test_a_configuration_of_before_has_the_bounds_that_it_had(
    method: MethodSpecification, scene: str, scenes: dict[str, Path]
) -> None:
    outputs = parsed(next(p for p in PARSERS if type(p).__name__ == scene), scenes[scene])
    metres = outputs.metadata["metres_per_unit"]
    for planes_then in (OLD_STATE, {"near_plane": 0.2, "far_plane": 3.0}):
        old = restored(method, planes_then)
        expected = (0.1 / metres, 10 / metres) if scene in KNOW_BOUNDS else tuple(planes_then.values())
        assert planes(build(old, outputs)) == pytest.approx(expected)
        # It stays what it is in the files of a run that goes on from there.
        again = yaml.load(yaml.dump(copy.deepcopy(old)), Loader=yaml.Loader)
        assert planes(build(again, outputs)) == pytest.approx(expected)


def restored(method: MethodSpecification, planes_then: dict[str, float]) -> Any:
    """The configuration of a method from a file of before."""
    config = model_config(method)
    del config.__dict__["prefer_scene_bounds"]
    config.__dict__.update(planes_then)
    text = yaml.dump(config)
    assert "prefer_scene_bounds" not in text
    return yaml.load(text, Loader=yaml.Loader)


def test_an_occupancy_grid_of_before_is_marched_between_the_planes_of_then(scenes: dict[str, Path]) -> None:
    scene = parsed(specifications.replica.config, scenes["ReplicaDataParserConfig"])
    model = build(restored(FIELDS["semantic-ngp"], OLD_STATE), scene)
    assert model._march_bounds() == OLD_STATE
    bundle = model.eval().collider(ray())
    assert (float(bundle.nears), float(bundle.fars)) == pytest.approx((0.0, 10 / scene.metadata["metres_per_unit"]))


def test_the_papers_collider_params_win_over_the_data_set_where_they_are_not_the_default(
    scenes: dict[str, Path],
) -> None:
    scene = parsed(specifications.replica.config, scenes["ReplicaDataParserConfig"])
    metres = scene.metadata["metres_per_unit"]
    given = model_config(FIELDS["semantic-nerf-vanilla"], collider_params={"near_plane": 0.4, "far_plane": 10.0})
    assert planes(build(given, scene)) == pytest.approx((0.4 / metres, 10 / metres))
    given.near_plane = 0.3
    assert planes(build(given, scene)) == pytest.approx((0.3, 10 / metres))


@pytest.mark.parametrize("name", ["enable_collider", "collider_params"])
@pytest.mark.parametrize("method", ["semantic-nerf", "semantic-nerf-big", "semantic-ngp"])
def test_options_of_a_collider_that_no_ray_meets_are_refused_in_training(
    method: str, name: str, scenes: dict[str, Path]
) -> None:
    config = model_config(FIELDS[method])
    change = {"enable_collider": not config.enable_collider, "collider_params": {"near_plane": 0.4, "far_plane": 6.0}}
    scene = parsed(specifications.nerfstudio_semantic.config, scenes["NerfstudioSemanticDataParserConfig"])
    data: Any = SimpleNamespace(datamanager=SimpleNamespace(train_dataset=SimpleNamespace(cameras=scene.cameras)))
    attributes = TrainingCallbackAttributes(None, None, data, None)
    build(config, scene).get_training_callbacks(attributes)
    with pytest.raises(SceneError, match=r"leave it out, and give --pipeline.model.near-plane"):
        build(model_config(FIELDS[method], **{name: change[name]}), scene).get_training_callbacks(attributes)


@pytest.mark.parametrize(
    ("near", "far"),
    [(5.0, 4.0), (4.0, 4.0), (0.0, 4.0), (-1.0, 4.0), (math.nan, 4.0), (0.1, math.nan), (0.1, math.inf)],
)
def test_planes_that_no_ray_can_have_are_refused_in_one_sentence(near: float, far: float) -> None:
    scene = StatedBounds("stated by the data set", 0.05, far)
    with pytest.raises(SceneError, match=r"found the near plane at .* \(given by option\) and the far plane") as error:
        resolve_bounds([StatedBounds("given by option", near, None), scene])
    assert "\n" not in str(error.value)
    assert "--pipeline.model.near-plane" in str(error.value)


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_a_near_plane_beyond_the_scene_is_refused_by_every_method(
    method: MethodSpecification, scenes: dict[str, Path]
) -> None:
    scene = parsed(specifications.replica.config, scenes["ReplicaDataParserConfig"])
    with pytest.raises(SceneError, match="near-plane"):
        build(model_config(method, near_plane=100.0), scene)


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_rays_that_skip_the_whole_scene_box_are_said_to(
    method: MethodSpecification, scenes: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    scene = parsed(specifications.nerfstudio_semantic.config, scenes["NerfstudioSemanticDataParserConfig"])
    for near, is_beyond in ((3.4, False), (3.5, True)):  # the box from -1 to 1 has a diagonal of 3.464
        capsys.readouterr()
        build(model_config(method, near_plane=near, far_plane=1000.0), scene)
        said = capsys.readouterr().out
        assert ("beyond the scene" in said) == is_beyond
        assert ("lower --pipeline.model.near-plane" in said) == is_beyond


def test_planes_are_in_metres_only_where_something_says_how_long_a_unit_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = write_scene(tmp_path / "scene")
    for has_depth in (False, True):
        if has_depth:
            Image.fromarray(np.full((HEIGHT, WIDTH), 1500, np.uint16)).save(scene / "depth.png")
            each_frame(scene, lambda i, entry: entry.update({"depth_file_path": "depth.png"} if i == 3 else {}))
        outputs = AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
        capsys.readouterr()
        build(model_config(FIELDS["semantic-nerf"]), outputs)
        said = capsys.readouterr().out.splitlines()[-1]
        assert "near plane at 0.05 scene units" in said
        assert (" m)" in said) == has_depth
