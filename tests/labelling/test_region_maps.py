import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.active_learning.pool import units
from semantic_ns.errors import SceneError
from semantic_ns.labelling import region_maps
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.region_maps import RegionMaps
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_surfaces import make_label_surface


class SlowRegions:
    """Super-pixels that are found when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pixels: list[int] = []
        self.begun, self.may_end = threading.Event(), threading.Event()
        self._find = units.super_pixels
        monkeypatch.setattr(units, "super_pixels", self)

    def __call__(self, image: np.ndarray, region_pixels: int) -> np.ndarray:
        self.pixels.append(image.shape[0] * image.shape[1])
        self.begun.set()
        assert self.may_end.wait(60)
        return self._find(image, region_pixels)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowRegions:
    return SlowRegions(monkeypatch)


def picture(height: int, width: int) -> np.ndarray:
    """Two halves of other colours."""
    color = np.zeros((height, width, 3), np.uint8)
    color[:, width // 2 :] = 200
    return color


def test_nobody_waits_for_regions_that_somebody_else_asked_for(
    opened: Callable[..., LabelSession], slow: SlowRegions
) -> None:
    session, found = opened(), []
    mark = Mark.from_json({"frame": 0, "class_id": LAMP, "shape": {"kind": "region", "region_ids": [1, 2]}})
    asks = [lambda: found.append(session.regions(0)), lambda: session.add_mark(mark, "b", 0)]
    threads = [threading.Thread(target=ask) for ask in asks]
    for thread in threads:
        thread.start()
    assert slow.begun.wait(60)
    others = threading.Thread(target=lambda: (session.add_mark(click(1, WALL, 5, 5), "a", 0), session.progress()))
    others.start()
    others.join(60)
    is_answered = not others.is_alive()
    slow.may_end.set()
    for thread in (*threads, others):
        thread.join(60)
    assert is_answered
    assert len(slow.pixels) == 1  # both who asked for the regions have the same ones
    assert ((session.painted(0) == LAMP) == np.isin(found[0], [1, 2])).all()


def test_regions_of_few_frames_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_maps, "_MOST_KEPT", 2)
    maps = RegionMaps(lambda frame: picture(24, 32 + frame))
    first = [maps.of(frame) for frame in range(4)]
    assert len(maps) == 2
    for frame in range(4):  # the same ones when they are found again
        assert (maps.of(frame) == first[frame]).all()


def test_what_is_divided_of_a_large_frame_has_about_half_a_million_pixels(slow: SlowRegions) -> None:
    slow.may_end.set()
    regions = RegionMaps(lambda _: picture(1079, 1441)).of(0)
    assert slow.pixels[0] <= 520_000
    assert regions.shape == (1079, 1441)
    assert set(np.unique(regions)) == set(range(regions.max() + 1))
    # No region lies on both sides of the border, but for the pixels of the smaller picture that show both.
    left, right = regions[:, : 1441 // 2 - 2], regions[:, 1441 // 2 + 2 :]
    assert not set(np.unique(left)) & set(np.unique(right))


def test_regions_of_a_small_frame_are_the_super_pixels_of_all_of_it(surface: LabelSurface, tmp_path: Path) -> None:
    color = picture(24, 32)
    assert (RegionMaps(lambda _: color).of(0) == units.super_pixels(color.astype(np.float32) / 255, 16)).all()


def test_regions_of_an_image_that_comes_back_are_found(tmp_path: Path) -> None:
    surface = make_label_surface(tmp_path / "scene", FRAMES)
    session = LabelSession(replace(surface), tmp_path / "journal")
    image = surface.frames[0].image
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(SceneError, match="Expected the colour image"):
        session.regions(0)
    image.write_bytes(content)
    assert session.regions(0).shape == session.color(0).shape[:2]
    session.close()
