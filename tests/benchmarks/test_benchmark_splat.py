"""The benchmark of Gaussians names the image that they show worst, and how bad it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import splat
from support.markdown import rows
from support.new_rooms import write_room


@pytest.mark.parametrize("spoilt", ["frame_00000.png", "frame_00002.png"])
def test_the_row_names_the_image_that_is_not_as_the_others_show_it(
    tmp_path: Path, spoilt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    room = write_room(tmp_path / "room", seed=0, num_frames=6)
    path = room / "images" / spoilt
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    output = tmp_path / "found.json"
    asked = {"--split": "interval", "--eval-interval": "2", "--steps": "4", "--output": str(output)}
    splat.main([str(room), *(part for option in asked.items() for part in option)])
    (row,) = json.loads(output.read_text())
    assert row["test"]["worst_image"] == spoilt
    assert row["test"]["worst_psnr"] < row["test"]["psnr"]
    assert row["train"]["worst_image"] not in {"frame_00000.png", "frame_00002.png", "frame_00004.png"}
    (cells,) = rows(capsys.readouterr().out)
    assert cells[4] == f"{spoilt}, {row['test']['worst_psnr']:.2f}"
