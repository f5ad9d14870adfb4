"""Paintings against a twin that draws all marks anew, pixel by pixel, at the size of the frame."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from semantic_ns.labelling import painting as drawing
from semantic_ns.labelling.marks import Action
from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.painting import PaintedMark, Painting
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, LAMP, WALL, click

SIZES = [(1, 1), (24, 32), (32, 64), (70, 131)]


def slow_owners(marks: list[tuple[PaintedMark, np.ndarray]], frame: int, size: tuple[int, int]) -> np.ndarray:
    owners = np.zeros(size, np.int32)
    for mark, mask in sorted(marks, key=lambda one: one[0].number):
        if mark.frame == frame:
            owners[mask] = 0 if mark.action == "erase" else mark.number
    return owners


def random_mask(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A box, single pixels, or all."""
    mask = np.zeros((height, width), np.bool_)
    top, left = random.integers(height), random.integers(width)
    mask[top : top + random.integers(1, height + 1), left : left + random.integers(1, width + 1)] = True
    kind = random.integers(4)
    if kind == 0:
        mask &= random.random(mask.shape) < 0.3
        mask[top, left] = True
    elif kind == 1:
        mask[:] = True
    return mask


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_owners_and_pixels_are_those_of_all_marks_drawn_one_after_the_other(size: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    painting, marks = Painting(), []
    for _ in range(40):
        if marks and random.random() < 0.35:
            painting.remove(marks.pop(random.integers(len(marks)))[0].number)
        else:
            number = int(random.choice([n for n in range(1, 200) if n not in painting.marks]))
            action: Action = random.choice(["paint", "paint", "erase", "void"])
            mask = random_mask(random, *size)
            mark = PaintedMark.of(number, int(random.integers(2)), 1 if action == "paint" else None, action, mask)
            marks.append((mark, mask))
            painting.add(mark)
        for frame in range(2):
            expected, owners = slow_owners(marks, frame, size), painting.owners(frame)
            if owners is None:
                assert not expected.any()
                continue
            np.testing.assert_array_equal(owners.all(), expected)
            for mark, _ in marks:
                if mark.frame == frame:
                    pixels = painting.pixels(mark.number)
                    np.testing.assert_array_equal(pixels, np.flatnonzero(expected == mark.number))
    again = Painting.of(mark for mark, _ in marks)
    for frame in {mark.frame for mark, _ in marks}:
        np.testing.assert_array_equal(again.owners(frame).all(), painting.owners(frame).all())  # type: ignore[union-attr]


def test_pixels_of_a_mark_are_the_same_array_until_they_change() -> None:
    """By which the session knows that what they say of the surface is known."""
    mask = np.zeros((40, 50), np.bool_)
    mask[:10, :10] = True
    painting = Painting.of([PaintedMark.of(1, 0, 1, "paint", mask)])
    first = painting.pixels(1)
    painting.add(PaintedMark.of(2, 0, 1, "paint", mask[::-1]))
    assert painting.pixels(1) is first
    painting.add(PaintedMark.of(3, 0, 1, "paint", np.roll(mask, 5, axis=0)))
    assert len(painting.pixels(1)) == 50


@pytest.mark.parametrize("size", SIZES)
def test_single_pixels_of_a_map_are_those_of_all_of_it(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    numbers = np.zeros(size, np.int32)
    for number in range(1, 6):
        numbers[random_mask(random, *size)] = number
    owners = OwnerMap.of(numbers)
    np.testing.assert_array_equal(owners.all(), numbers)
    rows, columns = random.integers(size[0], size=(9, 4)), random.integers(size[1], size=(9, 4))
    np.testing.assert_array_equal(owners.at(rows, columns), numbers[rows, columns])
    for step in (1, 2, 5, 100):
        np.testing.assert_array_equal(owners.every(step), numbers[::step, ::step])


def stroke_of(number: int, frame: int) -> PaintedMark:
    """A slanting line with a brush of 30 pixels."""
    mask = np.zeros((1440, 1920), np.bool_)
    for step in range(200):
        row, column = 600 + step, 500 + 2 * step + 50 * number
        mask[row - 15 : row + 15, column - 15 : column + 15] = True
    return PaintedMark.of(number, frame, 1, "paint", mask)


def test_a_marked_frame_takes_the_room_of_its_marks() -> None:
    tracemalloc.start()
    try:
        painting = Painting.of(stroke_of(number, number) for number in range(1, 9))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(painting.marks) == 8
    assert kept / 8 < 500_000  # of 11 million bytes that the map of a frame would take


def test_a_mark_over_all_of_a_large_frame_takes_no_more_room_than_a_small_one() -> None:
    painting = Painting.of([PaintedMark.of(1, 0, 1, "paint", np.ones((1430, 1915), np.bool_))])
    owners = painting.owners(0)
    assert owners is not None
    assert len(owners.mixed) == 0


def test_undo_draws_those_marks_alone_that_touch_the_one_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    size, marks = (600, 800), []
    for number in range(1, 100):
        mask = np.zeros(size, np.bool_)
        top, left = 60 * ((number - 1) // 10), 80 * ((number - 1) % 10)
        mask[top : top + 50, left : left + 70] = True
        marks.append(PaintedMark.of(number, 0, 1, "paint", mask))
    touching = np.zeros(size, np.bool_)
    touching[10:100, 10:100] = True
    painting = Painting.of([*marks, PaintedMark.of(100, 0, 1, "paint", touching)])
    read: list[int] = []
    mask = PaintedMark.mask
    monkeypatch.setattr(PaintedMark, "mask", property(lambda mark: read.append(mark.number) or mask.__get__(mark)))
    painting.remove(100)
    assert read == [1, 2, 11, 12]


@pytest.fixture
def no_full_maps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Maps of whole frames that were made."""
    made: list[Any] = []
    whole = OwnerMap.all
    monkeypatch.setattr(drawing.OwnerMap, "all", lambda owners: made.append(owners) or whole(owners))
    return made


def test_views_and_ranks_make_no_map_of_a_whole_frame(
    opened: Callable[..., LabelSession], no_full_maps: list[Any]
) -> None:
    session = opened()
    for frame in range(FRAMES):
        session.add_mark(click(frame, WALL if frame else LAMP, 9, 9, 5), "a", frame)
    session.view(*session.pose(0), 24, 32)
    session.ranked_frames()
    session.ranked_regions()
    assert not no_full_maps
