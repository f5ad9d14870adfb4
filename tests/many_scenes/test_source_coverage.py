"""How much of each target its sources see."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.doctor.loading import LoadedScene, load_scene
from semantic_ns.doctor.report import examine
from semantic_ns.doctor.source_frames import coverage_of
from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.source_coverage import SourceCoverage, SourceRule
from support.hand_made_scene import write_scene
from support.views import cameras_at, lifted, pose, projected, random_cameras


def share_slowly(target: ViewCameras, sources: ViewCameras, near: float, far: float) -> float:
    """Point by point: 12x9 rays, at three depths whose logarithms are evenly spaced."""
    seen = []
    for number, row, column in itertools.product((1, 2, 3), range(9), range(12)):
        depth = math.exp(math.log(near) + number * (math.log(far) - math.log(near)) / 4)
        point = lifted(target, 0, np.array([(column + 0.5) / 12, (row + 0.5) / 9]), depth)
        places = [projected(sources, index, point) for index in range(len(sources))]
        seen.append(any(z > 1e-3 and 0 <= x <= 1 and 0 <= y <= 1 for x, y, z in places))
    return sum(seen) / len(seen)


@pytest.mark.parametrize("rule", [SourceRule(2), SourceRule(3, 0.5, 4.0, "nearest")])
def test_coverage_is_the_share_of_points_on_rays_that_the_chosen_sources_see(rule: SourceRule) -> None:
    cameras = random_cameras(7, seed=3)
    names = tuple("abcdefg")
    found = SourceCoverage.of(cameras, cameras, names, rule)
    assert found.names == names
    for number, share in enumerate(found.shares):
        target = cameras[number : number + 1]
        chosen = rule.choose(target, cameras)
        assert len(chosen) == rule.count
        assert number not in chosen.tolist()
        assert share == pytest.approx(share_slowly(target, cameras[chosen], rule.near, rule.far))
    assert min(found.shares) < 0.99
    assert found.mean == pytest.approx(np.mean(found.shares))
    assert [name for name, _ in found.worst()] == [names[index] for index in np.argsort(found.shares)[:3]]


def test_a_target_whose_sources_look_elsewhere_is_named_first_and_one_alone_is_seen_by_nothing() -> None:
    poses = [pose((0.1 * index, 0, 0)) for index in range(4)]
    cameras = cameras_at(*poses, pose((0, 0, 0), (0, math.pi, 0)))
    found = SourceCoverage.of(cameras, cameras, ("a", "b", "c", "d", "turned"), SourceRule())
    assert found.worst()[0] == ("turned", 0.0)
    assert found.unseen() == ("turned",)
    assert "least of turned 0%" in found.sentence()
    assert SourceCoverage.of(cameras[:1], cameras[:1], ("alone",), SourceRule()).shares == (0.0,)


@pytest.mark.parametrize(
    ("num_frames", "said"),
    [
        (2, "1 source (coverage, not 3: the scene has no more frames) sees "),
        (3, "2 sources (coverage, not 3: the scene has no more frames) see "),
        (4, "3 sources (coverage) see "),
    ],
)
def test_the_number_of_sources_that_is_told_is_that_which_a_frame_has(num_frames: int, said: str) -> None:
    cameras = cameras_at(*(pose((0.1 * index, 0, 0)) for index in range(num_frames)))
    found = SourceCoverage.of(cameras, cameras, tuple("abcd"[:num_frames]), SourceRule())
    assert found.sentence().startswith(said)
    assert found.to_json()["count"] == num_frames - 1


def test_of_many_targets_evenly_spread_ones_are_looked_at() -> None:
    cameras = cameras_at(*(pose((0.01 * index, 0, 0)) for index in range(401)))
    found = SourceCoverage.of(cameras, cameras[:3], [str(number) for number in range(401)], SourceRule(1))
    assert found.names == tuple(str(number) for number in range(0, 401, 3))


@pytest.fixture(scope="module")
def loaded(nerfstudio_scene: Path) -> LoadedScene:
    return load_scene(AutoDataParserConfig(data=nerfstudio_scene))


def test_the_doctor_says_it_in_one_line_and_for_each_frame_in_its_file(loaded: LoadedScene) -> None:
    report = examine(loaded, "scene", num_views=2)
    content: Any = report.to_json()["source_coverage"]
    assert len(content["by_frame"]) == report.num_frames
    assert content["count"] == 3
    assert content["mean"] == pytest.approx(np.mean(list(content["by_frame"].values())))
    assert 0.3 < content["mean"] <= 1
    console = Console(width=300, record=True)
    console.print(report.to_text())
    assert "source coverage" in console.export_text()


def test_what_a_trained_run_sees_goes_before_what_the_doctor_takes_for_granted(loaded: LoadedScene) -> None:
    stated = SourceCoverage(SourceRule(5), ("a",), (0.25,))
    assert coverage_of(replace(loaded, find_coverage=lambda: stated)) is stated


def test_nothing_is_said_without_a_scale_or_with_poses_that_are_no_numbers(tmp_path: Path, loaded: LoadedScene) -> None:
    assert coverage_of(load_scene(AutoDataParserConfig(data=write_scene(tmp_path / "scene")))) is None
    c2w = loaded.views.c2w.copy()
    c2w[0, 0, 3] = np.nan
    assert coverage_of(replace(loaded, views=replace(loaded.views, c2w=c2w))) is None
    assert torch.isfinite(torch.from_numpy(loaded.views.c2w)).all()
