"""Every mistake that a ScanNet scan can have is told in one sentence that names the file and what to do about it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig
from semantic_ns.errors import SceneError
from support.scannet_scene import HEIGHT, LOST, NAME, TABLE, WIDTH, intrinsics, write_scan


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def scan(tmp_path, original):
    shutil.copytree(original.parent, tmp_path / "scans")
    return tmp_path / "scans" / NAME


def replace_by(path: Path, content: str) -> None:
    path.write_text(content)


CASES = {
    "neither folders nor .sens": (lambda s: shutil.rmtree(s / "pose"), {}, ("color and pose", ".sens", "one scan")),
    "two .sens files": (
        lambda s: [shutil.rmtree(s / "pose"), *(replace_by(s / f"{n}.sens", "") for n in "ab")],
        {},
        ("one .sens file", "a.sens and b.sens"),
    ),
    "broken .sens file": (
        lambda s: [shutil.rmtree(s / "pose"), replace_by(s / "a.sens", "no")],
        {},
        ("4 bytes for the version at byte 0", "a.sens"),
    ),
    "no label table": (lambda s: (s.parent / TABLE).unlink(), {}, (TABLE, "--label-table", "--classes")),
    "no such label table": (lambda s: None, {"label_table": Path("absent.tsv")}, ("absent.tsv", "found none")),
    "table and classes": (
        lambda s: None,
        {"label_table": Path("a.tsv"), "classes": Path("nyu40")},
        ("--classes", "a.tsv", "leave out one"),
    ),
    "unknown label space": (lambda s: None, {"label_space": "nyu41"}, ("--label-space", "nyu41")),
    "labels still packed": (
        lambda s: [(s / "label-filt").rename(s / "x"), replace_by(s / f"{NAME}_2d-label-filt.zip", "")],
        {},
        (f"{NAME}_2d-label-filt.zip", "unpack"),
    ),
    "no labels": (lambda s: shutil.rmtree(s / "label-filt"), {}, ("label-filt/0.png", "found none for 12 images")),
    "labels of the 25k subset": (
        lambda s: [
            (s / "label-filt").rename(s / "label"),
            [Image.new("L", (WIDTH, HEIGHT), 5).save(path) for path in (s / "label").iterdir()],
        ],
        {},
        ("scannet_frames_25k", "--classes nyu40"),
    ),
    "label id outside the table": (
        lambda s: Image.fromarray(np.full((HEIGHT, WIDTH), 9999, np.uint16)).save(s / "label-filt" / "3.png"),
        {},
        ("3.png", "9999", TABLE),
    ),
    "no finite pose": (
        lambda s: [np.savetxt(path, LOST) for path in (s / "pose").iterdir()],
        {},
        ("finite pose", "none among 12"),
    ),
    "pose no rotation": (
        lambda s: np.savetxt(s / "pose" / "2.txt", np.diag([2, 2, 2, 1])),
        {},
        ("frame 2 of", "rotation"),
    ),
    "pose of 3 rows": (lambda s: np.savetxt(s / "pose" / "2.txt", np.eye(4)[:3]), {}, ("2.txt", "4x4", "12")),
    "pose with text": (lambda s: replace_by(s / "pose" / "2.txt", "a b\n"), {}, ("2.txt", "4x4")),
    "two images of one frame": (
        lambda s: shutil.copy(s / "color" / "2.jpg", s / "color" / "002.jpg"),
        {},
        ("one file per frame", "002.jpg"),
    ),
    "no intrinsics": (lambda s: shutil.rmtree(s / "intrinsic"), {}, ("intrinsic_color.txt", f"{NAME}.txt", "neither")),
    "intrinsics of no size": (
        lambda s: np.savetxt(s / "intrinsic" / "intrinsic_color.txt", intrinsics(300, 36)),
        {},
        ("principal point", "48x36", "(149.5, 17.5)"),
    ),
    "focal length 0": (
        lambda s: np.savetxt(s / "intrinsic" / "intrinsic_color.txt", np.eye(4) * 0),
        {},
        ("focal lengths", "intrinsic_color.txt"),
    ),
    "too few frames to spread": (lambda s: None, {"split": "published"}, ("600 frames", "12", "--num-frames")),
    "one frame": (lambda s: None, {"num_frames": 1}, ("--num-frames of 2 or more",)),
    "images of another shape in paper size": (
        lambda s: [Image.new("RGB", (48, 30)).save(path) for path in (s / "color").iterdir()],
        {"paper_size": True},
        ("--paper-size", "48x30"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_scan_is_told(scan, name):
    break_scan, options, says = CASES[name]
    break_scan(scan)
    with pytest.raises(SceneError) as raised:
        ScanNetDataParserConfig(data=scan, **options).setup().get_dataparser_outputs("train")
    message = str(raised.value)
    for text in says:
        assert text in message
    assert message.startswith("Expected ")
    assert "; " in message
    assert "\n" not in message
