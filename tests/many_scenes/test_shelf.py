"""Views of scenes are read when they are first asked for, and only as many are kept as fit."""

from pathlib import Path

import pytest
import torch

from semantic_ns.many_scenes.shelf import SceneShelf
from semantic_ns.many_scenes.views import SceneViews, ViewCache
from support.rooms import NUM_FRAMES, SIZES, note_reads, parser_of
from support.views import random_cameras, scene_views

MIB = 1 << 20


class Reader:
    """Notes which scenes are read; scene `n` has n + 1 frames."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, number: int) -> SceneViews:
        self.read.append(number)
        return scene_views(random_cameras(number + 1))


BYTES_OF_A_FRAME = 6 * 8 * (3 + 2 + 4)
"""Colour of 8, labels of 16 and depth of 32 bits."""


def test_nothing_is_read_before_it_is_asked_for_and_then_once() -> None:
    read = Reader()
    cache = ViewCache(read, MIB)
    assert read.read == []
    assert [len(cache[number]) for number in (2, 0, 2, 2, 0)] == [3, 1, 3, 3, 1]
    assert read.read == [2, 0]


def test_memory_is_that_of_colours_labels_and_depths() -> None:
    cache = ViewCache(Reader(), MIB)
    assert cache.num_bytes == 0
    assert cache[1].num_bytes == 2 * BYTES_OF_A_FRAME
    assert cache[3].num_bytes == 4 * BYTES_OF_A_FRAME
    assert cache.num_bytes == 6 * BYTES_OF_A_FRAME
    assert scene_views(random_cameras(1), has_depth=False).num_bytes == 6 * 8 * (3 + 2)


def test_the_scene_used_longest_ago_goes_when_memory_is_full() -> None:
    read = Reader()
    cache = ViewCache(read, 6 * BYTES_OF_A_FRAME)
    for number in (0, 1, 2):  # six frames in all
        cache[number]
    cache[0]
    cache[1]
    cache[0]
    assert read.read == [0, 1, 2]
    cache[3]  # four frames more: 2 and 1 go, and 0 stays
    assert cache.num_bytes == 5 * BYTES_OF_A_FRAME
    cache[0]
    assert read.read == [0, 1, 2, 3]
    cache[1]
    assert read.read == [0, 1, 2, 3, 1]


def test_a_scene_larger_than_memory_is_kept_until_the_next_one_comes() -> None:
    read = Reader()
    cache = ViewCache(read, BYTES_OF_A_FRAME)
    assert len(cache[4]) == len(cache[4]) == 5
    assert len(cache[5]) == 6
    assert read.read == [4, 5]
    assert cache.num_bytes == 6 * BYTES_OF_A_FRAME


def test_frames_are_counted_without_reading_an_image(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = note_reads(monkeypatch)
    shelf = SceneShelf(parser_of(rooms, split="all"), None, MIB)
    assert shelf.num_training_frames == (NUM_FRAMES["replica"], NUM_FRAMES["studio"])
    assert opened == []


@pytest.mark.parametrize("max_width", [None, 24])
def test_the_memory_of_a_scene_is_known_without_reading_an_image(
    max_width: int | None, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    shelf = SceneShelf(parser_of(rooms), max_width, MIB)
    found = shelf.training_bytes
    assert opened == []
    assert found == tuple(shelf.training(number).num_bytes for number in (0, 1))


def test_labels_of_a_scene_are_those_of_its_frames(rooms: Path) -> None:
    shelf = SceneShelf(parser_of(rooms), 16, MIB)
    for number in (0, 1):
        assert torch.equal(torch.stack(list(shelf.training_labels(number))), shelf.training(number).labels)


def test_each_scene_is_read_at_its_own_size_when_it_is_asked_for(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = note_reads(monkeypatch)
    shelf = SceneShelf(parser_of(rooms, split="all"), None, MIB)
    for number, name in [(1, "studio"), (0, "replica"), (1, "studio")]:
        views = shelf.training(number)
        assert views.size == SIZES[name][::-1]
        assert len(views) == NUM_FRAMES[name]
    assert [path.relative_to(rooms).parts[0] for path in opened] == ["studio"] * 6 + ["replica"] * 9


def test_wide_images_are_made_smaller_and_narrow_ones_stay(rooms: Path) -> None:
    shelf = SceneShelf(parser_of(rooms), 24, MIB)
    assert shelf.training(0).size == (18, 24)
    assert shelf.training(1).size == (18, 24)


def test_sources_of_a_scored_scene_are_its_frames_that_are_not_scored(rooms: Path) -> None:
    parser = parser_of(rooms, held_out_scenes=("studio",), eval_interval=3)
    sources = SceneShelf(parser, None, MIB).sources(0)
    assert len(sources) == 4
    scored = parser.get_dataparser_outputs("test").cameras.camera_to_worlds[:, :3, 3]
    positions = sources.cameras.centres / sources.metres_per_unit
    assert float(torch.cdist(positions, scored.double()).min()) > 0.01


def test_the_shown_scene_is_read_once_by_its_number_and_without_one(
    rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    shelf = SceneShelf(parser_of(rooms, view_scene="studio"), None, MIB)
    assert shelf.shown_number == 1
    assert shelf.sources() is shelf.sources(1)
    assert len(opened) == len(shelf.sources())


def test_a_shown_scene_that_is_not_scored_has_no_number_and_its_sources(rooms: Path) -> None:
    shelf = SceneShelf(parser_of(rooms, held_out_scenes=("studio",), view_scene="replica"), None, MIB)
    assert shelf.shown_number is None
    assert shelf.sources().size == SIZES["replica"][::-1]
    assert shelf.sources(0).size == SIZES["studio"][::-1]
