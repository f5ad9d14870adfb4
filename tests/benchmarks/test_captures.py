"""The captures are what their names say, their depth is that of the place, and finished trainings are not repeated."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.captures import walks
from benchmarks.captures.captures import CAPTURES, DEPTH_FACTOR, spoiled, written_capture
from benchmarks.captures.places import CORRIDOR_HALF_SIZE, SKY_M
from benchmarks.captures.report import rows_of, sentences
from benchmarks.captures.run import parse, train, trials_of
from semantic_ns.benchmark.runner.trials import trial_folder, write_done, write_failed, write_trial
from semantic_ns.synthetic_scene import Box, View, render_content

SIZE = (12, 9)
PLACES = ("room", "inward", "outdoor", "corridor")


def positions_of(poses):
    return poses[:, :3, 3]


def forwards_of(poses):
    return poses[:, :3, 2]


def distance_to_nothing(points, content):
    """Signed distance of points to the nearest surface: negative in a thing or behind a side of the room."""
    half = np.array(content.room.half_size)
    found = (half - np.abs(points - [0, 0, half[2]])).min(axis=1)
    for thing in content.objects:
        offset = points - np.array(thing.centre)
        if isinstance(thing, Box):
            outside = np.abs(offset) - np.array(thing.half_size)
            of_thing = np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(axis=1), 0)
        else:
            of_thing = np.linalg.norm(offset, axis=1) - thing.radius
        found = np.minimum(found, of_thing)
    return found


def depth_by_marching(content, pose, hfov_degrees):
    """Planar depth, slowly: each ray goes on by the distance that is free."""
    width, height = SIZE
    focal = width / 2 / math.tan(math.radians(hfov_degrees) / 2)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(columns - width / 2) / focal, (rows - height / 2) / focal, np.ones_like(columns)], axis=-1)
    directions = (rays.reshape(-1, 3) @ pose[:3, :3].T) / np.linalg.norm(rays, axis=-1).reshape(-1, 1)
    way = np.zeros(len(directions))
    free = np.ones(1)
    while free.max() > 1e-4:
        free = distance_to_nothing(pose[:3, 3] + way[:, None] * directions, content)
        way += free
    return (way / np.linalg.norm(rays, axis=-1).reshape(-1)).reshape(height, width)


@pytest.mark.parametrize("name", PLACES)
def test_depth_is_that_of_a_march_through_free_space(name):
    capture = CAPTURES[name]
    content, poses = capture.place(), capture.poses()
    for pose in poses[1 :: len(poses) // 2]:
        found = render_content(content, pose, *SIZE, capture.hfov_degrees).depth_m
        np.testing.assert_allclose(found, depth_by_marching(content, pose, capture.hfov_degrees), rtol=2e-3)


@pytest.mark.parametrize("name", PLACES)
def test_every_camera_is_in_free_space_level_and_rigid(name):
    capture = CAPTURES[name]
    poses = capture.poses()
    assert (distance_to_nothing(positions_of(poses), capture.place()) > 0.1).all()
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotations.transpose(0, 2, 1) @ rotations, np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    np.testing.assert_allclose(rotations[:, 2, 0], 0, atol=1e-12)


@pytest.mark.parametrize("name", PLACES)
def test_labels_are_classes_of_the_capture(name):
    capture = CAPTURES[name]
    seen = {
        int(x) for pose in capture.poses()[::4] for x in np.unique(render_content(capture.place(), pose, *SIZE).labels)
    }
    assert seen - {0} <= set(capture.classes)
    assert len(seen) >= 5


def test_outward_cameras_stand_in_one_place_and_look_all_round():
    poses = CAPTURES["outward"].poses()
    positions, forwards = positions_of(poses), forwards_of(poses)
    farthest = np.linalg.norm(positions[:, None] - positions[None], axis=-1).max()
    assert 0.03 < farthest < 2 * math.sqrt(3) * walks.OUTWARD_SPREAD_M
    headings = np.sort(np.arctan2(forwards[:, 1], forwards[:, 0]))
    assert np.diff([*headings, headings[0] + 2 * math.pi]).max() < math.radians(12)


def test_inward_cameras_look_at_one_point_from_above_the_floor():
    poses = CAPTURES["inward"].poses()
    to_target = np.array([0.0, 0.0, 0.6]) - positions_of(poses)
    distances = np.linalg.norm(to_target, axis=1)
    np.testing.assert_allclose((to_target * forwards_of(poses)).sum(axis=1), distances)
    assert distances.min() > 1.2
    assert distances.max() < 1.8
    assert positions_of(poses)[:, 2].min() > 0.8


def test_the_street_is_seen_from_a_few_metres_and_reaches_far():
    capture = CAPTURES["outdoor"]
    poses, content = capture.poses(), capture.place()
    assert np.ptp(positions_of(poses), axis=0).max() < 7
    views = [render_content(content, pose, *SIZE, capture.hfov_degrees) for pose in poses[::3]]
    depth, labels = (np.concatenate([getattr(view, name).ravel() for view in views]) for name in ("depth_m", "labels"))
    number = {name: key for key, name in capture.classes.items()}
    assert depth[labels == number["sky"]].min() > 0.7 * SKY_M
    assert np.quantile(depth[labels == number["hill"]], (0.05, 0.95)) == pytest.approx((175, 175), abs=80)
    assert np.quantile(depth[labels == number["house"]], (0.05, 0.95)) == pytest.approx((17, 17), abs=13)


def test_the_corridor_is_walked_along_and_its_walls_are_near():
    capture = CAPTURES["corridor"]
    poses, content = capture.poses(), capture.place()
    assert (np.abs(positions_of(poses)) < np.array([9, 0.5, 2])).all()
    assert np.ptp(positions_of(poses)[:, 0]) == pytest.approx(17)
    along = np.abs(forwards_of(poses)[:, 0])
    assert (along > 0.9).sum() > 10
    assert (along < 0.1).sum() > 10
    depth = np.concatenate([render_content(content, pose, *SIZE).depth_m.ravel() for pose in poses])
    assert np.median(depth) < 0.2 * CORRIDOR_HALF_SIZE[0]


def test_wrong_depth_is_that_of_frames_that_train():
    shape = (2, 3)
    views = [View(np.zeros((*shape, 3), np.uint8), np.full(shape, i + 1, np.float32), np.ones(shape, np.uint8),
                  np.ones(shape, np.uint16)) for i in range(12)]  # fmt: skip
    right = np.arange(1, 13, dtype=np.float32)
    is_scored = CAPTURES["room"].scored(12)
    found = {name: np.array([view.depth_m[0, 0] for view in spoiled(views, CAPTURES[name])])
             for name in ("room", "scaled_depth", "shuffled_depth")}  # fmt: skip
    np.testing.assert_array_equal(found["room"], right)
    np.testing.assert_allclose(found["scaled_depth"], np.where(is_scored, right, DEPTH_FACTOR * right))
    shuffled = found["shuffled_depth"]
    np.testing.assert_array_equal(shuffled[is_scored], right[is_scored])
    assert sorted(shuffled) == sorted(right)
    assert (shuffled != right).sum() > 5


def test_a_written_capture_has_the_views_of_its_place(tmp_path, monkeypatch):
    capture = replace(CAPTURES["outdoor"], poses=lambda: walks.along_street(3)[2:])
    monkeypatch.setitem(CAPTURES, "outdoor", capture)
    scene = written_capture("outdoor", tmp_path)
    content = json.loads((scene.data / "transforms.json").read_text())
    assert scene.options[0] == "nerfstudio-semantic-data"
    assert content["fl_x"] == pytest.approx(80 / math.tan(math.radians(capture.hfov_degrees / 2)))
    assert len(content["frames"]) == 1
    view = render_content(capture.place(), capture.poses()[0], 160, 120, capture.hfov_degrees)
    stored = np.asarray(Image.open(scene.data / content["frames"][0]["depth_file_path"])) * capture.depth_unit_m
    is_sky = view.labels == {name: key for key, name in capture.classes.items()}["sky"]
    assert is_sky.any()
    assert (stored[is_sky] == 0).all()
    np.testing.assert_allclose(stored[~is_sky], view.depth_m[~is_sky], atol=0.0051)
    before = (scene.data / "transforms.json").stat().st_mtime_ns
    assert written_capture("outdoor", tmp_path) == scene
    assert (scene.data / "transforms.json").stat().st_mtime_ns == before


OUTCOME = {
    "scores": {"test": {"miou_present": 0.5, "psnr": 21.0, "depth_l1": 0.25, "depth_rel": 0.125, "num_images": 1},
               "train": {}},
    "poses": "test", "images": [], "worst_image": {"image": "frame_00000.png", "psnr": 18.5}, "commit": "abc",
    "processor": "a processor", "steps": 2000, "threads": 1, "device": "cpu", "training_seconds": 61.0,
    "milliseconds_per_step": 30.0,
}  # fmt: skip
LOG = """Setting up training dataset...
depth: depth images are left out: 10% of their points agree between views; see sns-doctor
Warning: 2 of 30 views lie behind a veil
Warning: 2 of 30 views lie behind a veil
Warnings are shown.
"""


def test_finished_trainings_are_not_repeated_and_stand_in_the_table(tmp_path, capsys):
    arguments = ["--output", str(tmp_path), "--captures", "one_image", "--seeds", "42", "7"]
    done, failed = trials_of(parse(arguments))
    for trial in (done, failed):
        write_trial(trial_folder(tmp_path, trial), trial)
    write_done(trial_folder(tmp_path, done), done, OUTCOME, ["--data", "x"])
    (trial_folder(tmp_path, done) / "log.txt").write_text(LOG)
    train(parse(arguments[:-1]), [done])
    assert "1 trials, 1 of them done before." in capsys.readouterr().out
    table = (tmp_path / "captures.md").read_text()
    assert "| one_image |  | 42 | 0.500 | 21.0 | 18.5 dB (frame_00000.png) | 0.250 | 0.125 | 1 | 61 |" in table
    assert "- one_image seed 42: depth: depth images are left out" in table
    write_failed(trial_folder(tmp_path, failed), failed, "Traceback\nSceneError: Expected | found")
    rows = rows_of(tmp_path)
    assert [(row["seed"], row.get("psnr"), row.get("error")) for row in rows] == [
        (7, None, "Traceback\nSceneError: Expected | found"),
        (42, 21.0, None),
    ]


def test_trainings_with_other_options_are_other_trainings(tmp_path):
    arguments = ["--output", str(tmp_path), "--captures", "one_image"]
    of_reach = [*arguments, "--", "--pipeline.model.near-camera-reach", "0.1"]
    trials = [trials_of(parse(words))[0] for words in (arguments, [*arguments, "--without-depth"], of_reach)]
    assert len({trial.key for trial in trials}) == 3
    assert len({trial.variant for trial in trials}) == 3
    assert trials[1].options == ("--pipeline.model.depth-loss-weight", "0")
    assert trials[2].options == ("--pipeline.model.near-camera-reach", "0.1")


def test_sentences_are_warnings_and_what_became_of_depth_once_each():
    assert [line[:12] for line in sentences(LOG)] == ["depth: depth", "Warning: 2 o"]
