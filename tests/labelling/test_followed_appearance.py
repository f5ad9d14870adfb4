"""What looks alike follows the marks in the background; once it has, labels follow from the journal alone."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.labelling import spreading
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassEntry
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import HEIGHT, WIDTH, alike, looks, make_label_surface

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return alike(make_label_surface(tmp_path_factory.mktemp("images"), FRAMES))


@pytest.fixture(scope="module")
def finer(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    return alike(make_label_surface(tmp_path_factory.mktemp("images"), FRAMES, 600))


def settled(session: LabelSession) -> list[np.ndarray]:
    """Everything that a session shows once nothing is fitted any more."""
    assert session.wait_for_appearance(PATIENCE_S)
    return everything(session)


class HeldFits:
    """Fits that wait until the test lets them go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_end, self.has_begun = threading.Event(), threading.Event()
        fit = spreading.Spreader.fit

        def held(*arguments: Any) -> Any:
            self.has_begun.set()
            assert self.may_end.wait(PATIENCE_S)
            return fit(*arguments)

        monkeypatch.setattr(spreading.Spreader, "fit", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldFits]:
    fits = HeldFits(monkeypatch)
    yield fits
    fits.may_end.set()


def mark_two(session: LabelSession) -> None:
    """Mark the first stripe as a wall, look at it, and mark the second as a lamp."""
    session.add_mark(click(0, WALL, 2, 12, 1.5), "a", 0)
    session.progress()
    session.add_mark(click(0, LAMP, 9, 12, 1.5), "a", 1)


def test_what_looks_like_a_marked_stripe_takes_its_class_far_away(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path
) -> None:
    session, alone = opened(), LabelSession(surface.without_features(), tmp_path / "alone")
    for one in (session, alone):
        mark_two(one)
        assert one.wait_for_appearance(PATIENCE_S)
    far = surface.graph.centres[:, 0] > np.median(surface.graph.centres[:, 0])
    expected = np.array([WALL, LAMP])[np.minimum(looks(surface), 1)]
    is_one_of_them = far & (looks(surface) < 2)
    right, right_alone = ((one.voxel_labels() == expected)[is_one_of_them].mean() for one in (session, alone))
    assert right >= 0.8
    assert right_alone <= 0.6
    alone.close()


def test_an_action_is_answered_while_looks_are_fitted_and_what_is_fitted_shows_without_another(
    opened: Callable[..., LabelSession], held: HeldFits
) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 2, 12, 1.5), "a", 0)
    first = session.progress()
    assert session.add_mark(click(0, LAMP, 9, 12, 1.5), "a", 1) == 2
    before, interim = everything(session), session.progress()
    assert held.has_begun.wait(PATIENCE_S)
    assert interim.fitted == first.fitted
    assert session.labels(0)[12, 9] == LAMP
    assert session.add_mark(click(2, WALL, 30, 20, 1), "b", 0) == 3
    held.may_end.set()
    after = settled(session)
    assert session.revision == 3
    assert session.progress().surface_key != interim.surface_key
    assert not are_equal(before, after)
    assert session.changed_frames(2)


def test_taking_back_and_making_again_shows_the_same_and_so_does_a_session_that_is_opened_again(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    mark_two(session)
    two = settled(session)
    session.add_mark(click(1, WALL, 24, 6, 2), "a", 2)
    three = settled(session)
    assert not are_equal(two, three)
    session.undo("a", 3)
    assert are_equal(settled(session), two)
    session.redo("a", 4)
    assert are_equal(settled(session), three)
    session.close()
    again = opened()
    assert are_equal(everything(again), three)  # it is fitted before anything is shown
    again.undo("a", 5)
    assert are_equal(settled(again), two)


def test_marks_of_deleted_classes_teach_nothing_and_those_of_merged_ones_their_new_class(
    opened: Callable[..., LabelSession],
) -> None:
    session, deleted, merged = opened(), opened("deleted"), opened("merged")
    mark_two(session)
    rug = session.add_class("rug", None, "a", 2)
    assert rug == 3
    number = session.classes[-1].id
    session.add_mark(click(1, number, 24, 6, 2), "a", 3)
    with_rug = settled(session)
    session.delete_class(number, True, "a", 4)
    mark_two(deleted)
    assert are_equal(settled(session), settled(deleted))
    session.undo("a", 5)
    assert are_equal(settled(session), with_rug)
    session.merge_class(number, WALL, "a", 6)
    mark_two(merged)
    merged.add_mark(click(1, WALL, 24, 6, 2), "a", 2)
    assert are_equal(settled(session), settled(merged))


def test_erased_marks_and_do_not_know_teach_nothing(opened: Callable[..., LabelSession]) -> None:
    session, other = opened(), opened("other")
    for one in (session, other):
        mark_two(one)
    session.add_mark(click(1, LAMP, 24, 6, 1.5), "a", 2)
    session.add_mark(click(1, None, 24, 6, 3, "erase"), "a", 3)
    assert are_equal(settled(session), settled(other))
    session.add_mark(click(1, None, 24, 6, 3, "void"), "a", 4)
    assert session.wait_for_appearance(PATIENCE_S)
    assert (session.voxel_labels() == other.voxel_labels()).all()


def test_while_imported_labels_count_looks_do_not(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path
) -> None:
    ids = np.full((FRAMES, HEIGHT, WIDTH), -1, np.int16)
    ids[0, :, :8], ids[2, :, 20:] = WALL, LAMP
    classes = (ClassEntry(WALL, "wall", (1, 2, 3), False), ClassEntry(LAMP, "lamp", (4, 5, 6), True))
    imported = ImportedLabels.of("predicted", ids, classes)
    session, plain = opened(imported=imported), LabelSession(surface.without_features(), tmp_path / "plain")
    other = LabelSession(surface.without_features(), tmp_path / "other", imported=imported)
    for one in (session, other):
        mark_two(one)
    assert session.progress().fitted == ""
    assert are_equal(settled(session), everything(other))
    session.switch_import(False, "a", 2)
    mark_two(plain)
    assert session.progress().fitted
    assert not are_equal(settled(session), everything(plain))
    session.switch_import(True, "a", 3)
    assert are_equal(settled(session), everything(other))
    plain.close()
    other.close()


def test_an_export_waits_for_what_is_fitted_to_its_own_marks(
    opened: Callable[..., LabelSession], held: HeldFits, tmp_path: Path
) -> None:
    session = opened()
    mark_two(session)
    interim = everything(session)
    session.export(tmp_path / "labels")
    held.may_end.set()
    final = settled(session)
    assert not are_equal(interim, final)
    for frame in range(FRAMES):
        written = np.asarray(Image.open(tmp_path / "labels" / f"frame_{frame}.png")).astype(int)
        assert (written == np.maximum(final[3 * frame], session.void_id)).all()


def test_the_finer_surface_takes_over_with_its_looks_fitted(
    surface: LabelSurface, finer: LabelSurface, tmp_path: Path
) -> None:
    session = LabelSession(surface, tmp_path / "both", finer=finer)
    mark_two(session)
    assert session.wait_for_finer(PATIENCE_S)
    alone = LabelSession(finer, tmp_path / "alone")
    mark_two(alone)
    assert session.surface is finer
    assert are_equal(settled(session), settled(alone))
    session.close()
    alone.close()


def test_after_a_fit_that_found_no_memory_the_next_mark_tries_again(
    opened: Callable[..., LabelSession], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session, other = opened(), opened("other")
    with monkeypatch.context() as patched:

        def no_memory(*_: Any) -> Any:
            raise MemoryError

        patched.setattr(spreading.Spreader, "fit", no_memory)
        mark_two(session)
        assert not session.wait_for_appearance(PATIENCE_S)
        assert "what looks alike does not fit into memory" in capsys.readouterr().out.replace("\n", " ")
    mark_two(other)
    for one in (session, other):
        one.add_mark(click(2, LAMP, 30, 20, 1), "a", 2)
    assert are_equal(settled(session), settled(other))
