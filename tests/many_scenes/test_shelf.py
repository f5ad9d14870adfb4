"""Frames of training scenes and of scored ones, each read at the size of its scene when it is asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semantic_ns.many_scenes.shelf import SceneShelf
from support.rooms import NUM_FRAMES, SIZES, note_reads, parser_of

MIB = 1 << 20


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
    for number in (0, 1):
        shelf.training(number).whole()
        assert shelf.training_cache.num_bytes == sum(found[: number + 1])


def test_frames_that_train_without_depth_need_less_memory(rooms: Path) -> None:
    with_depth, without = (
        SceneShelf(parser_of(rooms), None, MIB, complete=complete).training_bytes
        for complete in (lambda frames: frames, lambda frames: replace(frames, read_depth=None))
    )
    assert [9 * less for less in without] == [5 * more for more in with_depth]


def test_a_frame_is_read_at_the_size_of_its_scene_when_it_is_asked_for(
    rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    shelf = SceneShelf(parser_of(rooms, split="all"), None, MIB)
    for number, name in [(1, "studio"), (0, "replica"), (1, "studio")]:
        views = shelf.training(number)
        assert views.size == SIZES[name][::-1]
        assert len(views) == NUM_FRAMES[name]
        assert views.images_of(torch.tensor([4])).shape == (1, *views.size, 3)
    assert [path.relative_to(rooms).parts[0] for path in opened] == ["studio", "replica"]


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
    for number in (None, 1):
        shelf.sources(number).whole()
    assert len(opened) == len(shelf.sources())


def test_a_shown_scene_that_is_not_scored_has_no_number_and_its_sources(rooms: Path) -> None:
    shelf = SceneShelf(parser_of(rooms, held_out_scenes=("studio",), view_scene="replica"), None, MIB)
    assert shelf.shown_number is None
    assert shelf.sources().size == SIZES["replica"][::-1]
    assert shelf.sources(0).size == SIZES["studio"][::-1]
