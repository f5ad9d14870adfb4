"""Pairs of target and source: overlap pixel by pixel, translation, rotation, and `sns-pairs` in files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semantic_ns.cli.pairs import Pairs
from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.view_pairs import PairRule, overlaps, partners, rotations_deg
from semantic_ns.synthetic_scene import write_nerfstudio_scene, write_replica_scene
from support.new_rooms import without_depth, without_labels, write_room
from support.rooms import class_names, rename_classes
from support.views import cameras_at, lifted, pose, projected, random_cameras, scene_views


def test_overlap_is_a_loop_over_every_eighth_pixel_with_known_depth() -> None:
    cameras = random_cameras(3)
    depth = torch.rand((20, 26), generator=torch.Generator().manual_seed(0)) * 2 + 0.5
    depth[8, :9] = 0.0
    depth[0, 0] = 0.0
    found = overlaps(cameras[:1], depth, cameras)
    for source in range(3):
        counted = seen = 0
        for row in range(0, 20, 8):
            for column in range(0, 26, 8):
                if depth[row, column] > 0:
                    counted += 1
                    xy = torch.tensor([(column + 0.5) / 26, (row + 0.5) / 20]).numpy()
                    x, y, z = projected(cameras, source, lifted(cameras, 0, xy, float(depth[row, column])))
                    seen += z > 1e-3 and 0 <= x <= 1 and 0 <= y <= 1
        assert float(found[source]) == pytest.approx(seen / counted)
    assert 0 < float(found[1:].min()) <= float(found[1:].max()) < 1
    assert float(found[0]) == 1
    assert overlaps(cameras[:1], torch.zeros(20, 26), cameras).tolist() == [0, 0, 0]


def test_angles_are_those_of_the_poses() -> None:
    cameras = cameras_at(pose((0, 0, 0)), pose((1, 0, 0), (0.5, 0, 0)), pose((0, 0, 0), (0, 0, -1.2)))
    expected = torch.rad2deg(torch.tensor([0.0, 0.5, 1.2], dtype=torch.float64))
    torch.testing.assert_close(rotations_deg(cameras[:1], cameras), expected)


def test_a_partner_passes_all_three_bounds() -> None:
    views = scene_views(random_cameras(6), (24, 32))
    assert views.depths_m is not None
    rule = PairRule(0.3, 0.4, 10.0)
    found = partners(views, views.cameras, rule)
    for target in range(6):
        camera = views.cameras[target : target + 1]
        share = overlaps(camera, views.depths_m[target], views.cameras)
        angle = rotations_deg(camera, views.cameras)
        for source in range(6):
            shift = float((views.cameras.centres[source] - camera.centres[0]).norm())
            passes = float(share[source]) >= 0.3 and shift > 0.4 and float(angle[source]) >= 10
            assert float(found[target, source]) == (float(share[source]) if passes else 0)
    assert 0 < int((found > 0).sum()) < 30
    assert not bool(found.diagonal().any())


def test_a_rule_without_overlap_takes_partners_that_see_nothing() -> None:
    views = scene_views(cameras_at(pose((0, 0, 0)), pose((0, 0, 1), (0, 3.1, 0))), (24, 32))
    assert views.depths_m is not None
    assert float(overlaps(views.cameras[:1], views.depths_m[0], views.cameras)[1]) == 0
    assert [(row > 0).tolist() for row in partners(views, views.cameras, PairRule(0.0, 0.5, 30.0))] == [
        [False, True],
        [True, False],
    ]


@pytest.mark.parametrize(
    ("rule", "option"),
    [((1.2, 0.5, 30.0), "overlap"), ((0.1, -1.0, 30.0), "translation"), ((0.1, 0.5, float("nan")), "rotation")],
)
def test_bounds_that_no_pair_can_have_are_refused_in_one_sentence(
    rule: tuple[float, float, float], option: str
) -> None:
    with pytest.raises(SceneError, match=f"change --min-{option}") as raised:
        PairRule(*rule)
    assert "\n" not in str(raised.value)


def test_pairs_are_written_with_their_rule_and_none_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_room(tmp_path / "rooms/kitchen", seed=1)
    output = tmp_path / "pairs.json"
    Pairs(tmp_path / "rooms", output, 0.05, 0.01, 0.0).main()
    content = json.loads(output.read_text())
    rule = PairRule(0.05, 0.01, 0.0).sentence()
    assert content["rule"] == rule
    assert rule in capsys.readouterr().out
    pairs = content["scenes"]["kitchen"]
    assert pairs
    assert all(target not in sources for target, sources in pairs.items())
    with pytest.raises(SceneError, match="exists"):
        Pairs(tmp_path / "rooms", output).main()
    with pytest.raises(SceneError, match="found none by the rule") as raised:
        Pairs(tmp_path / "rooms", tmp_path / "none.json", min_translation=100.0).main()
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "none.json").exists()


def test_scenes_need_no_common_class(tmp_path: Path) -> None:
    for number, name in enumerate(("kitchen", "office")):
        room = write_room(tmp_path / "rooms" / name, seed=1 + number)
        rename_classes(room, {one: f"{name}-{one}" for one in class_names(room)})
    Pairs(tmp_path / "rooms", tmp_path / "pairs.json", 0.05, 0.01, 0.0).main()
    assert set(json.loads((tmp_path / "pairs.json").read_text())["scenes"]) == {"kitchen", "office"}


def pairs_of(room: Path, output: Path) -> dict[str, list[str]]:
    Pairs(room, output, 0.05, 0.01, 0.0).main()
    return json.loads(output.read_text())["scenes"][room.name]


@pytest.mark.parametrize("write", [write_nerfstudio_scene, write_replica_scene])
def test_pairs_do_not_depend_on_labels(write: Callable[..., Path], tmp_path: Path) -> None:
    """Nor on a class table: neither in nerfstudio's format nor in Replica's layout."""
    room = write(tmp_path / "kitchen", num_frames=5, seed=1)
    expected = pairs_of(room, tmp_path / "with.json")
    if write is write_nerfstudio_scene:
        without_labels(room)
    else:
        for folder in room.rglob("semantic_*"):
            shutil.rmtree(folder)
        (room / "info_semantic.json").unlink()
    assert not list(room.rglob("*semantic*"))
    assert pairs_of(room, tmp_path / "without.json") == expected
    assert expected


def test_a_scene_without_depth_is_told_in_one_sentence(tmp_path: Path) -> None:
    without_depth(write_room(tmp_path / "rooms/kitchen", seed=1))
    with pytest.raises(SceneError, match=r"Expected depth in .*kitchen") as raised:
        Pairs(tmp_path / "rooms", tmp_path / "pairs.json").main()
    assert "\n" not in str(raised.value)


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError):
        Pairs(tmp_path, tmp_path / "pairs.json").main()
