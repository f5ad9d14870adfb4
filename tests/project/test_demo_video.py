"""The demo's video: the rendered frames with titles and a legend."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.fresh_process import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from demo_video import titled_frame, write_video

from semantic_ns.evaluation.captions import LegendEntry


@pytest.mark.parametrize("shape", [(20, 66), (21, 69)])
def test_a_titled_frame_holds_its_pictures_and_has_even_sizes(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    titled = titled_frame(frame, ("left", "middle", "right"), [LegendEntry("wall", (1, 2, 3))])
    assert [side % 2 for side in titled.shape] == [0, 0, 1]
    height, width = shape[0], shape[1] // 3
    for picture in np.split(frame, 3, axis=1):
        starts = np.argwhere((titled == picture[0, 0]).all(-1)).tolist()
        assert any(np.array_equal(titled[y : y + height, x : x + width], picture) for y, x in starts)


def test_the_video_has_every_frame_in_order_and_the_colours_of_the_classes(tmp_path: Path) -> None:
    colors = {"wall": (250, 0, 0), "lamp": (0, 0, 250)}
    legend = [LegendEntry(*pair) for pair in colors.items()]
    classes = [{"id": 1, "name": name, "color": color} for name, color in colors.items()]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    (tmp_path / "frames").mkdir()
    greys = (40, 120, 200)
    for number, grey in enumerate(greys):
        picture = np.full((64, 192, 3), grey, np.uint8)
        Image.fromarray(picture).save(tmp_path / "frames" / f"{number:05d}.png")
    write_video(tmp_path / "v.mp4", tmp_path / "frames", ("a", "b"), tmp_path / "classes.json", 12)
    height, width = titled_frame(np.zeros((64, 192, 3), np.uint8), ("a", "b"), legend).shape[:2]
    command = ["ffmpeg", "-loglevel", "error", "-i", tmp_path / "v.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    video = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3).astype(int)
    assert len(video) == len(greys)
    for image, grey in zip(video, greys, strict=True):
        # The middle of the left picture, and some pixel of the legend below; a codec changes values a little.
        assert abs(image[48, 48] - grey).max() <= 8
        for color in colors.values():
            assert abs(image[64:] - color).max(-1).min() <= 30
