"""The doctor finds nothing wrong with a good scene and names what is wrong with a bad one."""

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image

from semantic_ns.cli import doctor
from semantic_ns.dataparsers import specifications
from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import Report, examine
from semantic_ns.doctor.trained import load_trained_scene
from semantic_ns.synthetic_scene import write_nerfstudio_scene, write_replica_scene
from support.broken_scenes import MISTAKES, each_image, each_pose, edit, positions_times
from support.new_rooms import change_transforms


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """nerfstudio's format, 64x48, 24 frames."""
    return write_nerfstudio_scene(tmp_path_factory.mktemp("doctor") / "room", num_frames=24, width=64, height=48)


def examined(folder: Path, parser: str = "semantic-data") -> Report:
    return examine(load_scene(parser_config(parser, folder)), str(folder))


@pytest.fixture(scope="session")
def of_healthy(healthy) -> Report:
    """What the doctor says of `healthy`."""
    return examined(healthy)


def test_nothing_is_wrong_with_a_healthy_scene(of_healthy):
    report = of_healthy
    assert report.is_healthy
    assert report.mistake is None
    assert report.remarks == ()
    assert report.diagnosis is not None
    assert report.diagnosis.given.label_share > 0.99
    assert report.diagnosis.given.depth_share > 0.99


def test_a_scene_that_says_that_its_scale_is_unknown_has_no_lengths_in_metres_whatever_its_depth(
    healthy, of_healthy, copy_scene
):
    scene = change_transforms(copy_scene(healthy), lambda content: content.update(semantic_has_unknown_scale=True))
    report = examined(scene)
    assert report.is_healthy
    (remark,) = report.remarks
    assert remark.endswith("lengths are in these units, and so is depth.")
    assert (of_healthy.path.unit, report.path.unit) == ("m", "units")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistake_in_a_broken_copy_is_named(healthy, copy_scene, mistake):
    change, name, remedy = MISTAKES[mistake]
    folder = copy_scene(healthy)
    change(folder)
    report = examined(folder)
    assert report.mistake is not None, report.problems
    assert report.mistake.name == name
    assert remedy in report.mistake.sentence
    assert report.mistake.sentence.count(".") == report.mistake.sentence.rstrip(".").count(".") + 1
    assert not report.is_healthy


@pytest.mark.parametrize(("by", "remedy"), [(1, "subtract 1"), (-1, "add 1")])
def test_ids_off_by_one_are_found_where_all_are_in_the_table(tmp_path, by, remedy):
    folder = write_replica_scene(tmp_path / "room", num_frames=8)
    each_image("Sequence_1/semantic_class", lambda ids: np.maximum(ids + by, 0))(folder)
    report = examined(folder)
    assert report.labels.outside == ()
    assert report.mistake is not None
    assert remedy in report.mistake.sentence


def test_ids_outside_the_table_are_listed_beside_what_the_parser_says(healthy, copy_scene):
    folder = copy_scene(healthy)
    edit(lambda content: content["semantic_classes"].pop(0))(folder)
    gone = json.loads((healthy / "transforms.json").read_text())["semantic_classes"][0]["id"]
    report = examined(folder)
    assert report.labels.outside == (gone,)
    assert "class table" in report.problems[0]
    assert report.mistake is None


def test_the_usual_noise_of_depth_is_no_mistake(healthy, copy_scene):
    folder = copy_scene(healthy)
    rng = np.random.default_rng(0)
    each_image("depth", lambda d: d * rng.normal(1, 0.005, d.shape))(folder)
    report = examined(folder)
    assert report.is_healthy
    assert report.mistake is None


def test_labels_that_disagree_are_a_problem_without_a_name(healthy, copy_scene):
    folder = copy_scene(healthy)
    rng = np.random.default_rng(0)
    each_image("semantics", lambda ids: np.where(ids == 93, rng.choice([93, 40]), ids))(folder)
    report = examined(folder)
    assert report.mistake is None
    assert any(problem.startswith("Labels agree") for problem in report.problems)


def test_views_that_do_not_meet_are_a_problem(healthy, copy_scene):
    folder = copy_scene(healthy)
    each_pose(lambda pose: pose * positions_times(60))(folder)
    report = examined(folder)
    assert report.diagnosis is not None
    assert report.diagnosis.given.agreeing.sum() == 0
    assert not report.is_healthy
    assert report.problems[-1].startswith("No point of one view lies in another one")


def with_repeated_views(scene, times, factor):
    """Some of 24 frames several times, so that many pairs of neighbours are from one place, and scaled positions."""
    places = np.repeat(np.arange(0, 24, times), times)
    views = scene.views
    changed = replace(
        views,
        c2w=views.c2w[places] * positions_times(factor),
        read_depth=lambda i: views.read_depth(int(places[i])),
        read_labels=lambda i: views.read_labels(int(places[i])),
    )
    return replace(scene, views=changed)


@pytest.mark.parametrize("factor", [0.1, 10, 40])
def test_views_from_one_place_do_not_hide_that_the_others_disagree(healthy, factor):
    scene = load_scene(parser_config("semantic-data", healthy))
    report = examine(with_repeated_views(scene, 6, factor), "room")
    assert any("lies in another" in text or "from two places" in text for text in report.problems), report.problems


def test_views_from_one_place_are_no_problem_where_the_others_agree(healthy):
    scene = load_scene(parser_config("semantic-data", healthy))
    assert examine(with_repeated_views(scene, 6, 1), "room").is_healthy


def test_positions_of_another_unit_are_named_though_views_from_one_place_agree(healthy):
    scene = load_scene(parser_config("semantic-data", healthy))
    report = examine(with_repeated_views(scene, 3, 1000), "room")
    assert report.diagnosis is not None
    assert report.diagnosis.given.score > 0.97
    assert report.mistake is not None
    assert report.mistake.name == "camera positions in millimetres"


def test_labels_that_never_meet_are_no_problem(healthy, copy_scene):
    """One of 24 frames is labelled."""
    folder = copy_scene(healthy)
    for path in sorted((folder / "semantics").iterdir())[:-1]:
        path.unlink()
    content = transforms(folder)
    content["train_filenames"] = [frame["file_path"] for frame in content["frames"]]
    content["test_filenames"] = content["train_filenames"]
    (folder / "transforms.json").write_text(json.dumps(content))
    report = examined(folder)
    assert report.is_healthy, report.problems
    assert "No point is labelled in both views, so labels were not compared." in report.remarks
    assert report.to_json()["agreement"]["label_agreement"] is None


def test_a_scene_without_depth_is_told_how_to_compare_its_views(healthy, copy_scene):
    folder = copy_scene(healthy)
    edit(lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])(folder)
    report = examined(folder)
    assert report.diagnosis is None
    assert report.is_healthy
    assert "--trained" in report.remarks[0]
    assert report.to_json()["agreement"] is None


def test_counts_are_those_of_the_images(healthy, copy_scene):
    folder = copy_scene(healthy)
    paths = sorted((folder / "semantics").iterdir())
    paths[0].unlink()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(paths[1])
    report = examined(folder)
    ids = np.stack([np.array(Image.open(path)) for path in paths[1:]])
    assert report.labels.num_unlabelled == 1
    assert report.labels.num_all_void == 1
    assert report.labels.void_share == (ids == 0).mean()
    assert report.labels.pixels == {i: (ids == i).sum() for i in np.unique(ids)}
    assert report.labels.by_name["floor"] == (ids == 40).mean()
    assert report.num_depth == 24


def test_intrinsics_and_path_are_judged(healthy, of_healthy):
    report = of_healthy
    assert not report.intrinsics.problems()
    assert report.intrinsics.hfov == pytest.approx(90)
    assert "cx" in replace(report.intrinsics, cx=10.0).problems()[0]
    assert "field of view" in replace(report.intrinsics, hfov=170.0).problems()[0]
    positions = [np.array(f["transform_matrix"])[:3, 3] for f in transforms(healthy)["frames"]]
    assert report.path.extent_m == pytest.approx(np.ptp(positions, axis=0), abs=1e-5)
    assert not report.path.problems()
    assert "span" in replace(report.path, extent_m=(0.0, 900.0, 0.0)).problems()[0]
    assert "rotation" in replace(report.path, largest_rotation_error=0.1).problems()[0]
    assert "finite" in replace(report.path, num_not_finite=2).problems()[0]


def test_the_principal_point_is_judged_unless_depth_shows_that_it_is_right(healthy, copy_scene):
    """Images cut on the right, as a tilted or cropped camera has them."""
    folder = copy_scene(healthy)
    for name in ("images", "depth", "semantics"):
        for path in (folder / name).iterdir():
            image = Image.open(path)
            image.crop((0, 0, 48, 48)).save(path)
    edit(lambda content: content.update(w=48))(folder)
    report = examined(folder)
    assert "cx" in report.intrinsics.problems()[0]
    assert report.is_healthy, report.problems
    edit(lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])(folder)
    assert "cx" in examined(folder).problems[0]


def transforms(folder):
    return json.loads((folder / "transforms.json").read_text())


def run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["sns-doctor", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        doctor.entrypoint()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_command_writes_text_json_and_pictures(healthy, tmp_path, monkeypatch, capsys):
    json_path, pictures = tmp_path / "report.json", tmp_path / "grid.png"
    assert run(monkeypatch, healthy, "--json", json_path, "--pictures", pictures) == 0
    text = capsys.readouterr().out
    assert "Healthy" in text
    assert "floor" in text
    content = json.loads(json_path.read_text())
    assert content["is_healthy"] is True
    assert content["agreement"]["label_agreement"] > 0.99
    assert content["layout"] == "transforms.json (nerfstudio-semantic-data)"
    # Colour, labels, depth and overlay of four frames, with titles and a legend around them.
    width, height = Image.open(pictures).size
    assert width > 4 * 64
    assert height > 4 * 48


def test_the_exit_status_tells_a_problem_from_an_unusable_scene(healthy, copy_scene, tmp_path, monkeypatch, capsys):
    folder = copy_scene(healthy)
    MISTAKES["world to camera"][0](folder)
    assert run(monkeypatch, folder, "--parser", "nerfstudio-semantic-data") == 1
    assert "invert each matrix" in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, tmp_path / "nothing") == 2
    assert "Expected the folder of a scene" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(healthy, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, healthy, "--trained", tmp_path / "config.yml") == 2
    assert "config.yml" in capsys.readouterr().err


class RenderedTruth:
    """A model that renders the depth images of the scene, in scene units."""

    gives_raw_outputs = True
    device = "cpu"

    def __init__(self, scene):
        self.taxonomy, self.scene = scene.taxonomy, scene
        self.poses = [scene.camera(i).camera_to_worlds for i in range(len(scene.views))]
        self.is_raw = False

    @contextmanager
    def raw_outputs(self):
        self.is_raw = True
        yield
        self.is_raw = False

    def get_outputs_for_camera(self, camera):
        assert self.is_raw
        index = next(i for i, pose in enumerate(self.poses) if torch.equal(pose, camera.camera_to_worlds))
        depth = torch.from_numpy(self.scene.views.read_depth(index))[..., None]
        return {"planar_depth": depth / self.scene.places[0][0].metadata["metres_per_unit"]}


def test_depth_that_a_run_renders_serves_where_there_are_no_depth_images(healthy, copy_scene, monkeypatch, capsys):
    folder = copy_scene(healthy)
    edit(lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])(folder)
    config = SimpleNamespace(pipeline=SimpleNamespace(datamanager=SimpleNamespace()))
    config.pipeline.datamanager.dataparser = parser_config("nerfstudio-semantic-data", folder)
    pipeline = SimpleNamespace(model=RenderedTruth(load_scene(parser_config("semantic-data", healthy))))
    monkeypatch.setattr("nerfstudio.utils.eval_utils.eval_setup", lambda *_, **__: (config, pipeline, None, 0))
    run_file = folder / "config.yml"
    run_file.touch()
    report = examine(load_trained_scene(run_file, folder), str(folder), "a run", num_views=4)
    assert report.is_healthy
    assert report.mistake is None
    assert report.diagnosis is not None
    assert report.diagnosis.given.depth_share > 0.99
    MISTAKES["labels of the frame before"][0](folder)
    assert run(monkeypatch, folder, "--trained", run_file) == 1
    assert "shift the labels" in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, healthy, "--trained", run_file) == 2
    pipeline.model = object()
    assert run(monkeypatch, folder, "--trained", run_file) == 2


def test_every_dataparser_can_be_named():
    found = [item for item in vars(specifications).values() if isinstance(item, DataParserSpecification)]
    names = doctor.Doctor.__dataclass_fields__["parser"].type.__args__
    assert {type(parser_config(name, Path())) for name in names} == {type(item.config) for item in found}


SCENES = {
    "replica/kitchen_A": 0.97,
    "replica/bed1_A": 0.97,
    "rendered/room_0": 0.97,
    "scannet/scans/scene0014_00": 0.95,
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_views_of_known_scenes_agree(data_root, scene):
    report = examined(data_root / scene)
    assert report.is_healthy, report.problems
    assert report.diagnosis is not None
    assert report.diagnosis.given.label_share >= SCENES[scene]
    assert report.diagnosis.given.label_share_anywhere >= SCENES[scene]
