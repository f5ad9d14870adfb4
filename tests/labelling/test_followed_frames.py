"""Marks follow their photos when these are renamed, replaced, added and removed between two sessions."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.labelling.frame_files import KnownFrame, fingerprint, have_moved, places_of
from semantic_ns.labelling.journal import Journal
from semantic_ns.labelling.session import JOURNAL_FILE, LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_surfaces import make_label_surface


@pytest.fixture
def own(tmp_path: Path) -> LabelSurface:
    """A surface whose photos are unlike each other, and may be changed."""
    surface = make_label_surface(tmp_path / "images", FRAMES)
    for number, info in enumerate(surface.frames):
        color = np.asarray(Image.open(info.image)).copy()
        color[0, 0] = 10 * number
        Image.fromarray(color).save(info.image)
    return surface


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Callable[[LabelSurface], LabelSession]]:
    sessions: list[LabelSession] = []

    def opening(surface: LabelSurface) -> LabelSession:
        for session in sessions:
            session.close()
        sessions.append(LabelSession(surface, tmp_path / "journal"))
        return sessions[-1]

    yield opening
    for session in sessions:
        session.close()


def renamed(surface: LabelSurface, folder: Path, names: dict[int, str]) -> LabelSurface:
    """The surface with some of its photos, in order, under other names in another folder."""
    folder.mkdir()
    frames = []
    for number, name in names.items():
        shutil.copy(surface.frames[number].image, folder / f"{name}.png")
        frames.append(replace(surface.frames[number], name=name, image=folder / f"{name}.png"))
    of_frames = {name: getattr(surface, name)[[*names]] for name in ("pixel_voxels", "c2w", "intrinsics")}
    return replace(surface, frames=tuple(frames), scene=folder, **of_frames)


def marked(session: LabelSession) -> list[np.ndarray]:
    """A mark of its own on each frame, and what is painted then."""
    for frame in range(FRAMES):
        session.add_mark(click(frame, (WALL, LAMP)[frame % 2], 5 + 4 * frame, 6 + 3 * frame), "a", frame)
    return [session.painted(frame) for frame in range(FRAMES)]


NAMES = [
    pytest.param({0: "c", 1: "a", 2: "b"}, id="all others"),
    pytest.param({0: "frame_1", 1: "frame_2", 2: "frame_0"}, id="in a circle"),
    pytest.param({2: "frame_1", 0: "frame_0", 1: "frame_2"}, id="and in another order"),
    pytest.param({1: "frame_0", 2: "frame_1"}, id="numbered anew after one was removed"),
]


@pytest.mark.parametrize("names", NAMES)
def test_marks_follow_photos_that_are_renamed(
    own: LabelSurface, opening: Callable[[LabelSurface], LabelSession], tmp_path: Path, names: dict[int, str]
) -> None:
    painted = marked(opening(own))
    again = opening(renamed(own, tmp_path / "other", names))
    for place, number in enumerate(names):
        assert (again.painted(place) == painted[number]).all()
    assert len(again.notices) == (1 if len(names) == FRAMES else 2)
    assert "Marks have followed photos" in again.notices[-1]
    back = opening(own)
    assert all((back.painted(frame) == painted[frame]).all() for frame in range(FRAMES))


def test_marks_on_photos_that_are_gone_are_named_and_none_is_lost(
    own: LabelSurface, opening: Callable[[LabelSurface], LabelSession], tmp_path: Path
) -> None:
    session = opening(own)
    painted = marked(session)
    session.add_mark(click(2, WALL, 25, 4), "b", 0)
    session.undo("b", 1)  # it is not in force
    without = opening(renamed(own, tmp_path / "other", {0: "frame_0"}))
    assert without.notices == [
        "Marks on photos that the scene no longer has are kept without effect, and count again when the photos are "
        "back: 2 in all (frame_1: 1, frame_2: 1)."
    ]
    back = opening(renamed(own, tmp_path / "back", {1: "x", 0: "y", 2: "z"}))
    assert all((back.painted(place) == painted[frame]).all() for place, frame in enumerate((1, 0, 2)))


def test_a_photo_that_was_saved_anew_keeps_its_marks_and_is_named_once(
    own: LabelSurface, opening: Callable[[LabelSurface], LabelSession], tmp_path: Path
) -> None:
    painted = marked(opening(own))
    color = np.asarray(Image.open(own.frames[1].image)).copy()
    color[0, 0] += 1
    Image.fromarray(color).save(own.frames[1].image)
    session = opening(own)
    assert (session.painted(1) == painted[1]).all()
    assert session.notices == ["The files of photos with marks have changed (frame_1); check that the marks still fit."]
    assert opening(own).notices == []
    moved = opening(renamed(own, tmp_path / "other", {1: "new"}))  # by the content that it has now
    assert (moved.painted(0) == painted[1]).all()


def test_a_journal_of_before_learns_what_its_photos_are(
    own: LabelSurface, opening: Callable[[LabelSurface], LabelSession], tmp_path: Path
) -> None:
    painted = marked(opening(own))
    path = tmp_path / "journal" / JOURNAL_FILE
    opening(own).close()
    journal = Journal(path, {})
    header, entries = journal.header, journal.entries
    journal.close()
    path.unlink()
    old = Journal(path, {name: value for name, value in header.items() if name not in {"files", "id"}})
    for entry in entries:
        old.append(entry)
    old.close()
    first = opening(own)
    identity, numbers = first.identity, first.frame_numbers
    assert all((first.painted(frame) == painted[frame]).all() for frame in range(FRAMES))
    again = opening(renamed(own, tmp_path / "other", {2: "a", 0: "b", 1: "c"}))
    assert all((again.painted(place) == painted[frame]).all() for place, frame in enumerate((2, 0, 1)))
    assert (again.identity, again.frame_numbers) == (identity, [numbers[frame] for frame in (2, 0, 1)])


def test_two_journals_of_one_scene_are_told_apart(own: LabelSurface, tmp_path: Path) -> None:
    identities = set()
    for folder in ("one", "two", "one"):
        session = LabelSession(own, tmp_path / folder)
        identities.add(session.identity)
        session.close()
    assert len(identities) == 2


def frame(name: str, file: str | None, height: int = 4) -> KnownFrame:
    return KnownFrame(name, height, 5, file)


@pytest.mark.parametrize(
    ("known", "own", "places"),
    [
        ([frame("a", "1"), frame("b", "2")], [frame("b", "1"), frame("a", "2")], {0: 0, 1: 1}),
        ([frame("a", None), frame("b", None)], [frame("b", "1"), frame("a", "2")], {0: 1, 1: 0}),
        ([frame("a", "1"), frame("b", "1")], [frame("b", "1"), frame("a", "1")], {0: 1, 1: 0}),  # one content
        ([frame("a", "1"), frame("b", "1")], [frame("c", "1")], {}),
        ([frame("a", "1"), frame("b", "2")], [frame("a", "2")], {1: 0}),  # and not the marks of the other
        ([frame("a", "1")], [frame("a", "9")], {0: 0}),
        ([frame("a", "1")], [frame("a", "1", 8)], {}),  # of another size
        ([frame("a", "1"), frame("a", "1", 8)], [frame("b", "1", 8)], {1: 0}),  # known at both sizes
        ([frame("a", "1")], [frame("b", None)], {}),
    ],
)
def test_photos_are_found_by_their_content_and_else_by_their_name(
    known: list[KnownFrame], own: list[KnownFrame], places: dict[int, int]
) -> None:
    assert places_of(known, own) == places


@pytest.mark.parametrize("size", [0, 100, 40_000, 200_000])
def test_files_of_other_content_have_other_fingerprints(tmp_path: Path, size: int) -> None:
    content = bytes(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    contents = [content, content + b"x", content[:-1], b"x" + content, *([content[:-1] + b"?"] if size else [])]
    found = set()
    for text in contents:
        (tmp_path / "a").write_bytes(text)
        (tmp_path / "b").write_bytes(text)
        assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
        found.add(fingerprint(tmp_path / "a"))
    assert len(found) == len(set(contents))
    assert fingerprint(tmp_path / "nothing") is None


def test_photos_that_are_not_compressed_are_told_apart_by_what_is_in_their_middle(tmp_path: Path) -> None:
    found = set()
    for gray in (0, 100):
        color = np.full((300, 400, 3), 255, np.uint8)
        color[140:160, 190:210] = gray
        Image.fromarray(color).save(tmp_path / "photo.bmp")
        found.add(fingerprint(tmp_path / "photo.bmp"))
    assert len(found) == 2


def test_photos_with_each_others_names_are_seen(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    before = [fingerprint(path) for path in paths]
    assert not have_moved(before, paths)
    paths[0].write_text("saved anew")
    assert not have_moved(before, paths)
    paths[0].write_text("b")
    assert have_moved(before, paths)
