"""Depth is judged whatever the lens and the size of the images; where it cannot be, the log says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from PIL import Image

from semantic_ns.datamanagers.trusted_depth import read_trusted_depth
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_depth import DepthVerdict, judge_depth
from semantic_ns.synthetic_scene import Content, _trace, make_objects, make_trajectory, write_nerfstudio_scene

NUM, METRES_PER_UNIT = 20, 2.0
BENT = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0)
STRONGLY_BENT = (-0.2, 0.04, 0.0, 0.0, 0.003, -0.002)
PERSPECTIVE, FISHEYE, SPHERE = CameraType.PERSPECTIVE, CameraType.FISHEYE, CameraType.EQUIRECTANGULAR


def cameras_of(
    sizes: list[tuple[int, int]],
    distortion: tuple[float, ...] = (0.0,) * 6,
    kind: CameraType = PERSPECTIVE,
) -> Cameras:
    """Cameras in the room with (width, height), in scene units."""
    poses = make_trajectory(len(sizes)) * np.array([1.0, -1.0, -1.0, 1.0])
    poses[:, :3, 3] /= METRES_PER_UNIT
    width, height = (torch.tensor(lengths)[:, None] for lengths in zip(*sizes, strict=True))
    return Cameras(
        torch.from_numpy(poses[:, :3]).float(), fx=0.5 * width.float(), fy=0.5 * width.float(),
        cx=0.5 * width.float(), cy=0.5 * height.float(), width=width, height=height,
        distortion_params=torch.tensor(distortion).repeat(len(sizes), 1), camera_type=kind,
    )  # fmt: skip


def depth_through_lens(cameras: Cameras, index: int) -> np.ndarray:
    """What a depth image holds: where nerfstudio's rays meet the room, as distances per `directions_norm`."""
    bundle = cameras.generate_rays(torch.tensor([index]))
    c2w = make_trajectory(len(cameras))[index]
    directions = bundle.directions.view(-1, 3).double().numpy()
    norms = bundle.metadata["directions_norm"].view(-1).double().numpy()
    distances = _trace(c2w[:3, 3], directions, Content(make_objects())).depth
    return (distances / norms).astype(np.float32).reshape(int(cameras.height[index]), int(cameras.width[index]))


def verdict_through(cameras: Cameras, factor: float = 1.0) -> DepthVerdict:
    images = [factor * depth_through_lens(cameras, index) for index in range(len(cameras))]
    return judge_depth(images, cameras, METRES_PER_UNIT)


@pytest.mark.parametrize(
    ("distortion", "kind"),
    [((0.0,) * 6, PERSPECTIVE), (BENT, PERSPECTIVE), (STRONGLY_BENT, PERSPECTIVE), (BENT, FISHEYE)],
    ids=["none", "bent", "strongly bent", "fisheye"],
)
def test_true_depth_is_used_and_wrong_depth_is_not_whatever_the_lens(
    distortion: tuple[float, ...], kind: CameraType
) -> None:
    cameras = cameras_of([(64, 48)] * NUM, distortion, kind)
    true = verdict_through(cameras)
    assert true.is_usable
    assert "agree between views" in true.reason
    assert (true.wrong_frames, true.notes) == ((), ())
    wrong = verdict_through(cameras, 10.0)
    assert not wrong.is_usable
    assert "multiplied by 0.1" in wrong.reason


def test_distortion_that_is_left_in_lets_less_of_true_depth_agree() -> None:
    bent = cameras_of([(64, 48)] * NUM, STRONGLY_BENT)
    straight = cameras_of([(64, 48)] * NUM)
    images = [depth_through_lens(bent, index) for index in range(NUM)]
    shares = [float(judge_depth(images, c, METRES_PER_UNIT).reason.split("%")[0].split()[-1]) for c in (bent, straight)]
    assert shares[0] > shares[1] + 10


def test_images_of_each_size_are_judged() -> None:
    sizes = [(64, 48) if index % 4 else (48, 64) for index in range(NUM)]
    cameras = cameras_of(sizes)
    images = [depth_through_lens(cameras, index) for index in range(NUM)]
    assert judge_depth(images, cameras, METRES_PER_UNIT).wrong_sizes == ()
    upright = tuple(range(0, NUM, 4))
    found = judge_depth(
        [10 * image if index in upright else image for index, image in enumerate(images)], cameras, METRES_PER_UNIT
    )
    assert found.is_usable
    assert (found.wrong_frames, found.wrong_sizes) == ((), upright)
    (note,) = found.notes
    assert note.startswith("5 of 20 depth images, those of 48x64 pixels, are left out: ")
    assert "multiplied by 0.1" in note
    assert not judge_depth([10 * image for image in images], cameras, METRES_PER_UNIT).is_usable


def test_images_that_all_differ_in_size_are_compared_with_each_other() -> None:
    cameras = cameras_of([(64 + index, 48 + index % 3) for index in range(NUM)])
    assert "agree between views" in verdict_through(cameras).reason
    assert "multiplied by 0.1" in verdict_through(cameras, 10.0).reason


def test_images_that_nothing_can_compare_are_used_with_one_sentence_that_says_so() -> None:
    sizes = [(64, 32)] * NUM
    images = [depth_through_lens(cameras_of(sizes), index) for index in range(NUM)]
    found = judge_depth(images, cameras_of(sizes, kind=SPHERE), METRES_PER_UNIT)
    assert found.is_usable
    (note,) = found.notes
    assert "20 of 20 depth images are used without having been compared between views" in note
    assert "found EQUIRECTANGULAR" in note


def test_the_log_tells_what_was_left_out_and_what_was_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_nerfstudio_scene(tmp_path, NUM, width=64, height=48)
    content = json.loads((folder / "transforms.json").read_text())
    for index, frame in enumerate(content["frames"]):
        if index % 4 == 0:  # from a second device, whose images are narrower and whose depth is in another unit
            for path in (folder / kind / Path(frame["file_path"]).name for kind in ("images", "semantics", "depth")):
                values = np.asarray(Image.open(path))[:, 8:56]
                Image.fromarray(values * 10 if path.parent.name == "depth" else values).save(path)
            frame |= {"w": 48, "cx": 24.0}
        elif index == 1:
            frame |= {"k4": 0.1}  # which OpenCV does not have
    shared = {name: content.pop(name) for name in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    content["frames"] = [shared | frame for frame in content["frames"]]
    (folder / "transforms.json").write_text(json.dumps(content))
    parser = AutoDataParserConfig(data=folder, split="all").setup()
    capsys.readouterr()
    trusted = read_trusted_depth(SemanticDataset(parser.get_dataparser_outputs("train")))
    assert trusted is not None
    is_used = [bool(image.any()) for image in trusted[0]]
    said = capsys.readouterr().out.splitlines()
    assert is_used == [index % 4 != 0 for index in range(NUM)]
    assert any("those of 48x48 pixels, are left out" in line for line in said)
    assert any("1 of 20 depth images are used without" in line and "found k4 0.1" in line for line in said)
