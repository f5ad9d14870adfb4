"""A near plane beyond, or a far plane short of, what the scene holds is said in one sentence when a training starts."""

from pathlib import Path

import pytest
import torch
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.scripts.train import main as train

from semantic_ns.methods.scene_bounds import BY_DEFAULT, SceneBounds
from support.registered import FIELDS, SMALL, configured

GIVEN = "given by option"
KNOWN = torch.cat([torch.zeros(50), torch.linspace(0.5, 1.5, 1001)])
"""Distances in scene units, of which some are unknown."""


def test_planes_around_all_known_depth_raise_no_doubt() -> None:
    assert SceneBounds(0.05, 1000.0, BY_DEFAULT, BY_DEFAULT).doubt_of_depth(KNOWN, 3.0) is None
    assert SceneBounds(0.5, 1.5, GIVEN, GIVEN).doubt_of_depth(KNOWN, 3.0) is None
    assert SceneBounds(9.0, 10.0, GIVEN, GIVEN).doubt_of_depth(torch.zeros(20), 3.0) is None


def test_a_near_plane_that_skips_known_depth_is_said_with_the_share_and_the_option() -> None:
    doubt = SceneBounds(1.25, 1000.0, GIVEN, BY_DEFAULT).doubt_of_depth(KNOWN, 3.0)
    assert doubt is not None
    assert "75% lie before the near plane at 1.25 scene units (3.75 m, given by option)" in doubt
    assert "lower --pipeline.model.near-plane" in doubt
    assert "far" not in doubt


def test_a_far_plane_short_of_known_depth_is_said_whoever_stated_it() -> None:
    for source in (GIVEN, "stated by the data set", BY_DEFAULT):
        doubt = SceneBounds(0.05, 1.4, BY_DEFAULT, source).doubt_of_depth(KNOWN, 3.0)
        assert doubt is not None
        assert f"10% lie behind the far plane at 1.4 scene units (4.2 m, {source})" in doubt
        assert "raise --pipeline.model.far-plane" in doubt
    both = SceneBounds(0.75, 1.0, GIVEN, GIVEN).doubt_of_depth(KNOWN, 3.0)
    assert both is not None
    assert "25% lie before" in both
    assert "50% lie behind" in both
    assert both.count(". ") == 0


def test_without_depth_the_extent_of_the_cameras_says_what_a_plane_leaves_out() -> None:
    extent = 0.7
    assert SceneBounds(0.6, 1000.0, GIVEN, BY_DEFAULT).doubt_of_cameras(extent) is None
    near = SceneBounds(2.0, 1000.0, GIVEN, BY_DEFAULT).doubt_of_cameras(extent)
    assert near is not None
    assert "near plane at 2 scene units (given by option)" in near
    assert "lower --pipeline.model.near-plane" in near
    far = SceneBounds(0.05, 0.5, BY_DEFAULT, "stated by the data set").doubt_of_cameras(extent)
    assert far is not None
    assert "far plane at 0.5 scene units (stated by the data set)" in far
    assert "raise --pipeline.model.far-plane" in far
    # Cameras in about one place say nothing about a near plane that nobody chose.
    assert SceneBounds(0.05, 1000.0, BY_DEFAULT, BY_DEFAULT).doubt_of_cameras(0.01) is None


@pytest.mark.parametrize(
    ("method", "known_by"),
    [("semantic-nerf", "Of the pixels with known depth"), ("semantic-ngp", "than the cameras lie from their middle")],
)
def test_a_training_says_once_that_a_plane_leaves_out_the_scene(
    method: str, known_by: str, replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specification: MethodSpecification = FIELDS[method]
    config = configured(specification, replica_scene, tmp_path, 2, **SMALL[method], near_plane=2.0, far_plane=20.0)
    config.pipeline.eval_images_at_end = 0  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("bounds: ")]
    (doubt,) = [line for line in said if "lower --pipeline.model.near-plane" in line]
    assert known_by in doubt
