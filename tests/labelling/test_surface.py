from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import read_color
from support.label_surfaces import HEIGHT, WIDTH, make_label_surface


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_the_voxel_of_every_nth_pixel_stands_for_n_times_n_pixels(tmp_path: Path, stride: int) -> None:
    whole = make_label_surface(tmp_path / "images", 2)
    surface = replace(whole, stride=stride, pixel_voxels=whole.pixel_voxels[:, ::stride, ::stride])
    for frame in range(2):
        voxels = surface.voxels_of(frame)
        assert voxels.shape == (HEIGHT, WIDTH)
        for row, column in ((0, 0), (HEIGHT - 1, WIDTH - 1), (7, 11)):
            nearest = row // stride * stride, column // stride * stride
            assert voxels[row, column] == whole.pixel_voxels[frame][nearest]
    session = LabelSession(surface, tmp_path / "journal")
    shape = {"kind": "click", "x": 11.5, "y": 7.5, "radius": 0.5}
    session.add_mark(Mark.from_json({"frame": 0, "class_id": 3, "shape": shape}), "a", 0)
    assert (session.painted(0) == 3).sum() == 1
    assert (session.labels(1) == 3).any()
    assert session.ranked_frames()[-1].frame in {0, 1}
    session.close()


def test_an_image_that_is_gone_damaged_or_of_another_size_is_named(tmp_path: Path) -> None:
    info = make_label_surface(tmp_path, 1).frames[0]
    assert read_color(info).shape == (HEIGHT, WIDTH, 3)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(info.image)
    with pytest.raises(SceneError, match=r"Expected a colour image of 32x24 at .*frame_0\.png, found 4x3"):
        read_color(info)
    info.image.write_bytes(b"no image")
    with pytest.raises(SceneError, match=r"Expected the colour image .*frame_0\.png"):
        read_color(info)
    info.image.unlink()
    with pytest.raises(SceneError, match=r"Expected the colour image .*frame_0\.png"):
        read_color(info)
