"""What the doctor says of scans and Hypersim scenes, and of options and files that cannot be used."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from semantic_ns.cli import doctor
from semantic_ns.doctor import loading
from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import examine
from semantic_ns.errors import SceneError
from support.hypersim_scene import edit_hdf5, write_hypersim_scene
from support.scannet_scene import HEIGHT, TABLE, WIDTH, write_scan


@pytest.fixture
def scan(tmp_path):
    return write_scan(tmp_path)


@pytest.fixture(scope="module")
def hypersim(tmp_path_factory):
    return write_hypersim_scene(tmp_path_factory.mktemp("hypersim"))


def examined(folder, **options):
    return examine(load_scene(parser_config("semantic-data", folder), options), str(folder))


def status_of(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["sns-doctor", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        doctor.entrypoint()
    return stop.value.code


@pytest.mark.parametrize(("options", "largest_id"), [({}, loading.MAX_ID), ({"label_space": "nyu13"}, 9999)])
def test_a_scan_with_ids_outside_the_table_is_counted_and_compared(scan, monkeypatch, options, largest_id):
    # A table of all ids takes seconds with the checks of types: one of both cases does without most of them.
    monkeypatch.setattr(loading, "MAX_ID", largest_id)
    ids = np.array(Image.open(scan / "label-filt" / "3.png"))
    ids[:9, :9] = 9999
    Image.fromarray(ids).save(scan / "label-filt" / "3.png")
    report = examined(scan, **options)
    assert report.labels.outside == (9999,)
    assert report.labels.pixels[9999] == 81
    assert "9999" in report.problems[0]
    assert report.labels.by_name["wall"] > 0.1
    assert report.diagnosis is not None
    assert report.diagnosis.given.depth_share > 0.9


def test_a_scan_without_its_table_is_refused_as_by_the_parser(scan):
    (scan.parent / TABLE).unlink()
    with pytest.raises(SceneError, match="--label-table, an option of scannet-semantic-data"):
        examined(scan)


def test_a_tilted_camera_of_hypersim_may_be_off_centre(hypersim):
    report = examined(hypersim)
    assert "cy" in report.intrinsics.problems()[0]
    assert report.is_healthy, report.problems
    loaded = load_scene(parser_config("semantic-data", hypersim))
    assert loaded.views.has_opengl_files
    assert loaded.has_known_camera


def test_ids_that_hypersim_does_not_have_are_told(hypersim, copy_scene):
    folder = copy_scene(hypersim.parent) / hypersim.name
    path = folder / "images/scene_cam_00_geometry_hdf5/frame.0005.semantic.hdf5"
    edit_hdf5(path, lambda values: np.where(values == 1, 77, values).astype(np.int16))
    with pytest.raises(SceneError, match=r"Hypersim's ids .* knows in .*frame\.0005\.semantic\.hdf5, found 77"):
        examined(folder)


def test_options_of_the_dataparser_are_handed_on(scan, hypersim, tmp_path, monkeypatch, capsys):
    assert status_of(monkeypatch, scan, "--label-space", "nyu13") == 0
    (scan.parent / TABLE).rename(tmp_path / "mine.tsv")
    assert status_of(monkeypatch, scan) == 2
    assert status_of(monkeypatch, scan, "--label-table", tmp_path / "mine.tsv") == 0
    capsys.readouterr()
    assert status_of(monkeypatch, hypersim, "--camera", "cam_07") == 2
    assert "found 'cam_07'" in capsys.readouterr().err
    own = tmp_path / "own.csv"
    shutil.copy(hypersim.parent / "metadata_camera_parameters.csv", own)
    assert status_of(monkeypatch, hypersim, "--camera-parameters", own) == 0


def test_an_option_that_the_dataparser_does_not_have_is_refused(scan, hypersim, monkeypatch, capsys):
    assert status_of(monkeypatch, scan, "--camera", "cam_00") == 2
    message = capsys.readouterr().err
    assert "scannet-semantic-data" in message
    assert "--camera" in message
    assert status_of(monkeypatch, hypersim, "--label-table", "a.tsv") == 2
    assert "--label-table" in capsys.readouterr().err
    assert status_of(monkeypatch, scan, "--trained", "config.yml", "--label-space", "nyu13") == 2
    assert "either --trained" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--pictures"])
def test_a_report_that_cannot_be_written_is_told_after_it_was_shown(scan, tmp_path, monkeypatch, capsys, option):
    (tmp_path / "file").write_text("")
    assert status_of(monkeypatch, scan, option, tmp_path / "file" / "out") == 2
    shown = capsys.readouterr()
    assert "Healthy" in shown.out
    assert shown.err.startswith(f"Error: Expected to write to {tmp_path / 'file' / 'out'}, found")


def test_the_scan_of_the_tests_is_sound(scan):
    report = examined(scan)
    assert report.is_healthy, report.problems
    assert (report.intrinsics.width, report.intrinsics.height) == (WIDTH, HEIGHT)
