"""Labels of large frames, of which the voxel of every n-th pixel alone is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from semantic_ns.labelling import opening
from semantic_ns.labelling.edges import along_edges
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import FrameInfo, LabelSurface
from support.label_actions import LAMP, WALL, click
from support.label_surfaces import HEIGHT, WIDTH, make_label_surface

STRIDE = 6


def scene(height: int, width: int, noise: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Which of two things each pixel shows, a disc before a wall, and a noisy picture of them."""
    rows, columns = np.mgrid[:height, :width]
    truth = (rows - 0.55 * height) ** 2 + (columns - 0.4 * width) ** 2 < (0.28 * height) ** 2
    color = np.where(truth[..., None], (150, 110, 70), (90, 100, 120))
    color = color + np.random.default_rng(0).normal(0, noise, color.shape)
    return truth, np.clip(color, 0, 255).astype(np.uint8)


def distances(mask: np.ndarray) -> np.ndarray:
    """How far each pixel of a mask is from the next one outside."""
    return np.asarray(distance_transform_edt(mask))


def middles(length: int, stride: int) -> np.ndarray:
    return np.minimum(np.arange(0, length, stride) + stride // 2, length - 1)


@pytest.mark.parametrize(("stride", "size"), [(2, (100, 130)), (6, (143, 199)), (9, (181, 300))])
def test_outlines_lie_within_two_pixels_of_those_of_the_picture(stride: int, size: tuple[int, int]) -> None:
    truth, color = scene(*size)
    known = truth[np.ix_(*(middles(length, stride) for length in size))].astype(np.int32)
    found = along_edges(known, color, stride)
    assert found.shape == size
    # How far each pixel lies inside of its own thing: what is wrong lies at the border.
    inside = np.maximum(distances(truth), distances(~truth))
    is_wrong = found != truth
    assert inside[is_wrong].max(initial=0) <= max(2, stride / 2)
    assert (is_wrong & (inside > 2)).sum() <= 0.002 * inside[inside > 2].size
    blocks = known.repeat(stride, axis=0).repeat(stride, axis=1)[: size[0], : size[1]]
    assert is_wrong.sum() < 0.4 * (blocks != truth).sum()


def test_where_the_picture_shows_nothing_the_nearest_known_pixel_counts() -> None:
    known = np.random.default_rng(0).integers(-1, 50, (5, 7)).astype(np.int32)
    found = along_edges(known, np.full((25, 35, 3), 99, np.uint8), 5)
    np.testing.assert_array_equal(found, known.repeat(5, axis=0).repeat(5, axis=1))


@pytest.fixture
def large(tmp_path: Path) -> LabelSurface:
    """A wall in frames that are larger than their maps; there is a lamp in the first one."""
    small = make_label_surface(tmp_path / "scene", 3)
    frames = []
    for number, info in enumerate(small.frames):
        image = tmp_path / "scene" / f"large_{number}.png"
        _, color = scene(HEIGHT * STRIDE, WIDTH * STRIDE)
        Image.fromarray(color if number == 0 else np.full_like(color, 90)).save(image)
        frames.append(FrameInfo(info.name, HEIGHT * STRIDE, WIDTH * STRIDE, image))
    truth, _ = scene(HEIGHT * STRIDE, WIDTH * STRIDE)
    voxels = np.full_like(small.pixel_voxels, -1)
    voxels[0] = truth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] * (small.graph.num_nodes - 1)
    return replace(small, stride=STRIDE, frames=tuple(frames), pixel_voxels=voxels)


def test_exported_labels_of_large_frames_follow_the_picture_and_paint(large: LabelSurface, tmp_path: Path) -> None:
    session = LabelSession(large, tmp_path / "journal")
    session.add_mark(click(0, WALL, 6, 6), "a", 0)
    session.add_mark(click(0, LAMP, 0.4 * WIDTH * STRIDE, 0.55 * HEIGHT * STRIDE, 4), "a", 1)
    session.add_mark(click(1, LAMP, 30, 30, 8), "a", 2)
    truth, _ = scene(HEIGHT * STRIDE, WIDTH * STRIDE)
    expected = np.where(truth, LAMP, WALL)
    first, second, _ = (np.asarray(Image.open(path)) for path in session.export(tmp_path / "labels"))
    shown = session.labels(0)
    assert (first != expected).sum() < 0.4 * (shown != expected).sum()
    painted = session.painted(1) >= 0
    np.testing.assert_array_equal(second[painted], session.painted(1)[painted])
    large.frames[0].image.unlink()
    session.close()
    again = LabelSession(large, tmp_path / "journal")
    blocks = np.asarray(Image.open(again.export(tmp_path / "without_picture")[0]))
    np.testing.assert_array_equal(blocks, shown)
    again.close()


@pytest.mark.parametrize("stride", [1, STRIDE])
def test_the_size_of_blocks_is_told_at_the_start(
    large: LabelSurface,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stride: int,
) -> None:
    config = tmp_path / "run" / "config.yml"
    config.parent.mkdir()
    config.write_text("")
    surface = large if stride > 1 else make_label_surface(tmp_path / "small", 3)
    monkeypatch.setattr(opening, "label_surfaces", lambda *_: [surface])
    opening.open_session(config, tmp_path / "session").close()
    is_told = f"blocks of {STRIDE}x{STRIDE} pixels" in " ".join(capsys.readouterr().out.split())
    assert is_told == (stride > 1)
