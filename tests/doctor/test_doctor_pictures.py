"""The picture grid of the doctor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.doctor.loading import LoadedScene, load_scene
from semantic_ns.doctor.pictures import picture_grid
from semantic_ns.synthetic_scene import write_nerfstudio_scene


def scene_of(folder: Path) -> LoadedScene:
    return load_scene(NerfstudioSemanticDataParserConfig(data=folder), {})


def places_of(picture: ndarray, grid: ndarray) -> list[tuple[int, int]]:
    """Rows and columns at which a picture begins in a grid, pixel for pixel."""
    height, width = picture.shape[:2]
    starts = np.argwhere((grid == picture[0, 0]).all(-1)).tolist()
    # Thousands begin with the same pixel, few with the same row.
    starts = [(y, x) for y, x in starts if np.array_equal(grid[y, x : x + width], picture[0])]
    return [(y, x) for y, x in starts if np.array_equal(grid[y : y + height, x : x + width], picture)]


def test_a_row_shows_colour_labels_depth_and_labels_over_colour_of_a_frame(nerfstudio_scene: Path) -> None:
    scene = scene_of(nerfstudio_scene)
    grid = picture_grid(scene, 3)
    tops, lefts = [], []
    for index in (0, 5, 11):
        color = torch.from_numpy(scene.read_color(index)).float()
        labels = scene.taxonomy.colorize(torch.from_numpy(scene.views.read_labels(index)).long())
        shown = [(picture * 255).round().byte().numpy() for picture in (color, labels, torch.lerp(color, labels, 0.5))]
        ((top, first),), ((label_top, second),), ((overlay_top, last),) = (places_of(tile, grid) for tile in shown)
        assert top == label_top == overlay_top
        # Depth is between the labels and the overlay.
        assert first + 48 <= second
        assert second + 2 * 48 <= last
        tops.append(top)
        lefts.append((first, second, last))
    assert tops[0] + 36 <= tops[1]
    assert tops[1] + 36 <= tops[2]
    assert len(set(lefts)) == 1


def test_large_frames_are_shrunk_and_their_class_colours_are_not_mixed(tmp_path: Path) -> None:
    folder = write_nerfstudio_scene(tmp_path / "room", num_frames=3, width=640, height=320)
    scene = scene_of(folder)
    grid = picture_grid(scene, 1)
    labels = scene.taxonomy.colorize(torch.from_numpy(scene.views.read_labels(0)).long())
    small = (labels * 255).round().byte().numpy()[1::2, 1::2]
    assert len(places_of(small, grid)) == 1


def test_a_scene_without_depth_has_no_column_for_it(nerfstudio_scene: Path) -> None:
    scene = scene_of(nerfstudio_scene)
    nowhere = replace(scene.views, read_depth=lambda index: np.zeros((36, 48), np.float32))
    without = picture_grid(replace(scene, views=replace(scene.views, read_depth=None)), 2)
    assert np.array_equal(picture_grid(replace(scene, views=nowhere), 2), without)
    assert without.shape[1] < picture_grid(scene, 2).shape[1]
