"""Marks on the free view, of which each pixel shows a training pixel of another image."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.labelling.journal import Journal
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import JOURNAL_FILE, LabelSession
from semantic_ns.labelling.session_journal import journal_header
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labelling.view import View
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import HEIGHT, WIDTH, make_label_surface

SIZE, FOV = (60, 80), 1.1
"""Rows and columns of the view, and its angle."""
MIDDLE = (40.0, 30.0)
"""A place of the view that all frames see."""


def every_nth(surface: LabelSurface, step: int) -> LabelSurface:
    """The surface with the discs of every n-th pixel along rows and columns, n times as large."""
    discs = surface.discs.part(np.flatnonzero((surface.discs.pixels[:, 1:] % step == 0).all(axis=1)))
    discs = replace(discs, radii=np.float32(step) * discs.radii)
    return replace(surface, discs=discs, drawn=np.arange(len(discs.positions), dtype=np.int32))


@pytest.fixture(params=[1, 2], ids=["each pixel is a disc", "one of four is"])
def thinned(request: pytest.FixtureRequest, tmp_path: Path) -> LabelSurface:
    """A wall of which each place is drawn by the disc of one of the frames that see it, now this and now that one."""
    surface = every_nth(make_label_surface(tmp_path / "images", FRAMES), request.param)
    _, places = np.unique(surface.discs.positions.round(5), axis=0, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(places))
    _, first = np.unique(places.reshape(-1)[order], return_index=True)
    return replace(surface, drawn=np.sort(order[first]).astype(np.int32))


@pytest.fixture
def session(thinned: LabelSurface, tmp_path: Path) -> LabelSession:
    return LabelSession(thinned, tmp_path / "journal")


def pose(surface: LabelSurface) -> ndarray:
    """Before the wall, which lies at z = 0.5."""
    middle = surface.positions.mean(axis=0)
    return np.array([[1, 0, 0, middle[0]], [0, 1, 0, middle[1]], [0, 0, 1, 1.2]], np.float32)


def shown(session: LabelSession) -> View:
    return session.view(pose(session.surface), FOV, *SIZE)


def on_view(session: LabelSession, action: str, class_id: int | None, radius: float = 12, sequence: int = 100) -> None:
    """A disc in the middle of the view."""
    said = session.mark_on_view(click(0, class_id, *MIDDLE, radius, action), pose(session.surface), FOV, *SIZE)
    session.add_mark(said, "viewer", sequence)


def under(radius: float) -> ndarray:
    """The pixels of the view under such a disc."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.hypot(columns - MIDDLE[0], rows - MIDDLE[1]) <= radius


def test_discs_of_all_frames_lie_under_a_mark(session: LabelSession) -> None:
    assert set(np.unique(shown(session).pixels[under(12)][:, 0])) == {0, 1, 2}


@pytest.mark.parametrize(("action", "class_id", "expected"), [("paint", LAMP, LAMP), ("void", None, -1)])
def test_the_view_shows_everywhere_under_a_mark_what_it_says(
    session: LabelSession, action: str, class_id: int | None, expected: int
) -> None:
    for frame in range(FRAMES):
        session.add_mark(click(frame, WALL, WIDTH / 2 - 8 * (frame - 1), HEIGHT / 2, 9), "a", frame)
    assert (shown(session).labels[under(12)] == WALL).all()
    on_view(session, action, class_id)
    assert (shown(session).labels[under(12)] == expected).all()
    assert (shown(session).confidence[under(12)] == 1).all()


@pytest.mark.parametrize("frame", range(FRAMES))
def test_what_is_erased_in_the_view_is_gone_from_the_frame_that_it_was_painted_on(
    session: LabelSession, frame: int
) -> None:
    session.add_mark(click(frame, WALL, WIDTH / 2 - 8 * (frame - 1), HEIGHT / 2, 4), "a", 0)
    assert (session.painted(frame) == WALL).sum() > 40
    on_view(session, "erase", None, 20)
    assert all((session.painted(number) == -1).all() for number in range(FRAMES))
    assert (shown(session).labels == -1).all()


def test_what_is_painted_elsewhere_stays(session: LabelSession) -> None:
    session.add_mark(click(0, WALL, 2, 2, 3), "a", 0)
    session.add_mark(click(0, LAMP, WIDTH / 2 + 8, HEIGHT / 2, 3), "a", 1)
    before = session.painted(0) == WALL
    on_view(session, "erase", None)
    assert ((session.painted(0) == WALL) == before).all()
    assert not (session.painted(0) == LAMP).any()


def test_a_disc_stands_for_all_pixels_around_its_own(session: LabelSession, thinned: LabelSurface) -> None:
    on_view(session, "paint", LAMP)
    step = int(thinned.discs.pixels[1, 2] - thinned.discs.pixels[0, 2])
    seen = shown(session).pixels[under(12)]
    for frame in range(FRAMES):
        of_frame = np.unique(seen[seen[:, 0] == frame, 1:], axis=0)
        assert (session.painted(frame) == LAMP).sum() == len(of_frame) * step**2
        assert (session.painted(frame)[tuple(of_frame.T)] == LAMP).all()


def test_a_mark_on_several_frames_is_one_that_is_taken_back_at_once_and_read_again(
    session: LabelSession, thinned: LabelSurface, tmp_path: Path
) -> None:
    session.add_mark(click(1, WALL, 16, 12, 3), "a", 0)
    before = everything(session)
    on_view(session, "paint", LAMP, 9)
    after = everything(session)
    assert (session.progress().num_marks, session.progress().num_frames_marked) == (2, FRAMES)
    assert session.spreads(session.revision)
    assert set(session.changed_frames(1)) == {0, 1, 2}
    session.undo("viewer", 101)
    assert are_equal(before, everything(session))
    assert session.progress().num_marks == 1
    session.redo("viewer", 102)
    assert are_equal(after, everything(session))
    session.close()
    again = LabelSession(thinned, tmp_path / "journal")
    assert are_equal(after, everything(again))
    again.close()


def test_a_mark_on_several_frames_leaves_a_locked_class_alone_in_each(
    session: LabelSession, thinned: LabelSurface, tmp_path: Path
) -> None:
    session.add_mark(click(1, WALL, 16, 12, 4), "a", 0)
    on_view(session, "paint", LAMP, 5)
    session.lock_class(LAMP, True, "a", 1)
    kept = np.stack([session.painted(frame) == LAMP for frame in range(FRAMES)])
    assert kept.any(axis=(1, 2)).sum() > 1
    with pytest.raises(SceneError, match="all of its pixels show a locked class"):
        on_view(session, "void", None, 2, 101)
    on_view(session, "void", None, 14, 102)
    painted = [session.painted(frame) for frame in range(FRAMES)]
    assert (np.stack(painted) == LAMP)[kept].all()
    assert (np.stack(painted) == -2).any()
    session.close()
    again = LabelSession(thinned, tmp_path / "journal")
    assert are_equal(painted, [again.painted(frame) for frame in range(FRAMES)])
    again.close()


def test_journals_of_before_with_marks_of_one_frame_are_read(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[3:5, 6:9] = True
    who = {"kind": "mark", "client": "a", "time": 0.0}
    journal = Journal(tmp_path / "journal" / JOURNAL_FILE, journal_header(surface))
    region = {"frame": 2, "class_id": LAMP, "action": "paint", "shape": {"kind": "region", "region_ids": [0]}}
    journal.append({**who, "sequence": 0, "mark": click(0, WALL, 5, 5).to_json()})
    journal.append({**who, "sequence": 1, "mark": region, "pixels": encode_coco(mask)["counts"]})
    journal.close()
    session = opened()
    assert (session.painted(0) == WALL).any()
    assert ((session.painted(2) == LAMP) == mask).all()
    assert (session.undo("a", 2), session.progress().num_marks) == (3, 1)


RUNS = encode_coco(np.ones((HEIGHT, WIDTH), np.bool_))["counts"]


@pytest.mark.parametrize(
    "runs", [None, "", {}, {"0": 1}, {0: RUNS}, {"00": RUNS}, {"-1": RUNS}, {"²": RUNS}, {"9" * 30: RUNS}, {"1": RUNS}]
)
def test_masks_that_are_none_are_refused(runs: object) -> None:
    shape = {"kind": "masks", "runs": runs}
    with pytest.raises(SceneError, match="send another mark"):
        Mark.from_json({"frame": 0, "class_id": WALL, "shape": shape})


def test_masks_of_a_frame_that_is_not_there_are_refused_and_change_nothing(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    mark = Mark.from_json({"frame": 0, "class_id": WALL, "shape": {"kind": "masks", "runs": {"0": RUNS, "9": RUNS}}})
    with pytest.raises(SceneError, match=r"Expected a frame 0\.\.2, found 9"):
        session.add_mark(mark, "a", 0)
    assert session.revision == 0


@pytest.mark.parametrize("kind", ["region", "masks"])
def test_regions_and_masks_of_images_are_refused_in_the_view(session: LabelSession, kind: str) -> None:
    shape = {"kind": kind, "region_ids": [0], "runs": {"0": RUNS}}
    mark = Mark.from_json({"frame": 0, "class_id": WALL, "shape": shape})
    with pytest.raises(SceneError, match="use the brush"):
        session.mark_on_view(mark, pose(session.surface), FOV, *SIZE)
