"""Frames that `ns-render` wrote as PNG, as a video with titles above and a legend of the classes below."""

import json
from collections.abc import Sequence
from pathlib import Path

import mediapy as media
import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from semantic_ns import host
from semantic_ns.evaluation.captions import GridRow, LegendEntry, captioned_grid


def write_video(path: Path, frames: Path, titles: Sequence[str], classes: Path, frame_rate: int) -> None:
    """Write a video of all frames.

    Args:
        path: Video to write, H.264.
        frames: Folder of PNG files, in the order of their names. Each holds one picture beside the other, of one width.
        titles: Title of each of these pictures, from left to right.
        classes: The `classes.json` of `sns-export-labels`, for the legend.
        frame_rate: Frames per second.
    """
    entries = json.loads(classes.read_text("utf8"))["classes"]
    legend = [LegendEntry(entry["name"], tuple(entry["color"])) for entry in entries]
    host.put_ffmpeg_on_path()
    pictures = [
        titled_frame(np.asarray(Image.open(file).convert("RGB")), titles, legend)
        for file in sorted(frames.glob("*.png"))
    ]
    media.write_video(path, pictures, fps=frame_rate)


def titled_frame(
    frame: UInt8[ndarray, "height width 3"], titles: Sequence[str], legend: Sequence[LegendEntry]
) -> UInt8[ndarray, "even_height even_width 3"]:
    """A frame with titles and legend; white fills it up to even sizes, which H.264 asks for."""
    pictures = (torch.from_numpy(frame.copy()).float() / 255).chunk(len(titles), dim=1)
    image = (captioned_grid([GridRow(pictures, column_titles=titles)], legend) * 255).round().byte().numpy()
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
