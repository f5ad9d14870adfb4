"""A journal beside a scene that has changed: other pictures, further frames, other classes, and actions of another
version."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.journal import Journal
from semantic_ns.labelling.session import JOURNAL_FILE, LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassEntry, ClassTable
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import make_label_surface


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Callable[..., LabelSession]]:
    """Opens a session on a surface with one journal, after closing the one before."""
    sessions: list[LabelSession] = []

    def opening(surface: LabelSurface, **options: Any) -> LabelSession:
        for session in sessions:
            session.close()
        sessions.append(LabelSession(surface, tmp_path / "journal", **options))
        return sessions[-1]

    yield opening
    for session in sessions:
        session.close()


def with_frames(surface: LabelSurface, frames: list[int]) -> LabelSurface:
    """The surface with some of its frames."""
    chosen = [surface.frames[frame] for frame in frames]
    of_frames = {name: getattr(surface, name)[frames] for name in ("pixel_voxels", "c2w", "intrinsics")}
    return replace(surface, frames=tuple(chosen), **of_frames)


def with_other_pictures(surface: LabelSurface, folder: Path) -> LabelSurface:
    """The surface with pictures of the same names in another folder, which show something else."""
    folder.mkdir()
    for info in surface.frames:
        color = np.asarray(Image.open(info.image))
        Image.fromarray(np.ascontiguousarray(255 - color)).save(folder / info.image.name)
    return in_folder(surface, folder)


def in_folder(surface: LabelSurface, folder: Path) -> LabelSurface:
    frames = tuple(replace(info, image=folder / info.image.name) for info in surface.frames)
    return replace(surface, frames=frames, scene=folder)


def test_marks_of_other_pictures_with_the_same_names_are_refused(
    surface: LabelSurface, opening: Callable[..., LabelSession], tmp_path: Path
) -> None:
    opening(surface).add_mark(click(0, WALL, 5, 5), "a", 0)
    other = with_other_pictures(surface, tmp_path / "other")
    with pytest.raises(SceneError, match=r"found one of others with the same names.*choose another --output-dir"):
        opening(other)


def test_a_scene_that_was_moved_keeps_its_marks(
    surface: LabelSurface, opening: Callable[..., LabelSession], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opening(surface).add_mark(click(0, WALL, 5, 5), "a", 0)
    moved = in_folder(surface, Path(shutil.copytree(surface.scene, tmp_path / "moved")))
    assert (opening(moved).painted(0) == WALL).any()
    assert "journal" not in capsys.readouterr().out


def test_pictures_that_were_replaced_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    surface = make_label_surface(tmp_path / "images", FRAMES)
    LabelSession(surface, tmp_path / "journal").close()
    for info in surface.frames:
        Image.fromarray(255 - np.asarray(Image.open(info.image))).save(info.image)
    LabelSession(surface, tmp_path / "journal").close()
    assert "differ from those that were marked" in capsys.readouterr().out


def test_of_a_journal_that_does_not_know_how_its_pictures_look_another_place_is_told(
    surface: LabelSurface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LabelSession(surface, tmp_path / "first").close()
    header = json.loads((tmp_path / "first" / JOURNAL_FILE).read_text())["entry"]
    del header["looks"]
    (tmp_path / "old").mkdir()
    Journal(tmp_path / "old" / JOURNAL_FILE, header).close()
    other = with_other_pictures(surface, tmp_path / "other")
    LabelSession(other, tmp_path / "old").close()
    assert f"is of {surface.scene}; go on only if" in capsys.readouterr().out


@pytest.mark.parametrize("frames", [[0, 1, 2], [2, 0, 1]])
def test_marks_stay_on_their_frames_when_frames_are_added_or_in_another_order(
    surface: LabelSurface, opening: Callable[..., LabelSession], frames: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = opening(with_frames(surface, [0, 1]))
    first.add_mark(click(0, WALL, 5, 5), "a", 0)
    first.add_mark(click(1, LAMP, 20, 12), "a", 1)
    before = [first.painted(0), first.painted(1)]
    again = opening(with_frames(surface, frames))
    assert "1 frames are new" in capsys.readouterr().out
    for frame, painted in enumerate(before):
        assert (again.painted(frames.index(frame)) == painted).all()
    again.add_mark(click(frames.index(2), LAMP, 8, 8), "a", 2)
    new = again.painted(frames.index(2))
    assert (new == LAMP).any()
    whole = opening(surface)
    assert all((whole.painted(frame) == painted).all() for frame, painted in enumerate([*before, new]))


def test_marks_on_a_frame_that_is_gone_are_kept_and_count_again_when_it_is_back(
    surface: LabelSurface, opening: Callable[..., LabelSession], capsys: pytest.CaptureFixture[str]
) -> None:
    first = opening(surface)
    for frame in range(FRAMES):
        first.add_mark(click(frame, LAMP, 5 + frame, 5), "a", frame)
    shown = everything(first)
    without = opening(with_frames(surface, [0, 2]))
    (told,) = without.notices
    assert told.endswith("count again when the photos are back: 1 in all (frame_1: 1).")
    assert told.split()[-1] in capsys.readouterr().out
    assert [(without.painted(frame) == LAMP).any() for frame in range(2)] == [True, True]
    without.add_mark(click(1, WALL, 20, 15), "b", 0)
    without.undo("b", 1)
    assert are_equal(everything(opening(surface)), shown)


def test_a_mark_on_a_frame_that_is_gone_can_be_taken_back(
    surface: LabelSurface, opening: Callable[..., LabelSession]
) -> None:
    opening(surface).add_mark(click(1, LAMP, 5, 5), "a", 0)
    without = opening(with_frames(surface, [0, 2]))
    without.undo("a", 1)
    without.redo("a", 2)
    without.undo("a", 3)
    assert (opening(surface).painted(1) == -1).all()


def test_imported_labels_stay_on_their_frames(surface: LabelSurface, opening: Callable[..., LabelSession]) -> None:
    ids = np.full((FRAMES, *surface.pixel_voxels.shape[1:]), -1, np.int16)
    ids[1] = LAMP
    imported = ImportedLabels.of("predictions", ids, surface.classes[1:])
    whole = opening(surface, imported=imported)
    with_labels = whole.labels(1)
    assert (with_labels == LAMP).any()
    swapped = opening(with_frames(surface, [1, 0]))
    assert (swapped.labels(0) == with_labels).mean() > 0.95
    assert (opening(with_frames(surface, [0, 2])).voxel_labels() == -1).all()
    assert (opening(surface).labels(1) == with_labels).all()


def test_imported_labels_that_are_gone_are_named_although_frames_were_removed(
    surface: LabelSurface, opening: Callable[..., LabelSession], tmp_path: Path
) -> None:
    ids = np.full((FRAMES, *surface.pixel_voxels.shape[1:]), LAMP, np.int16)
    opening(surface, imported=ImportedLabels.of("predictions", ids, surface.classes[1:])).close()
    for path in (tmp_path / "journal/imports").iterdir():
        path.unlink()
    with pytest.raises(SceneError, match="Expected the imported labels of the session"):
        opening(with_frames(surface, [0, 2]))


ENTRIES = tuple(ClassEntry(n, name, (n, n, n), True) for name, n in (("wall", WALL), ("lamp", LAMP), ("chair", 20)))
TABLES = [
    pytest.param(["chair", "wall"], id="names"),
    pytest.param(ClassTable("table", ENTRIES, frozenset({0})), id="table"),
]


@pytest.mark.parametrize("classes", TABLES)
@pytest.mark.parametrize("change", ["merge", "rename", "take back"])
def test_the_same_command_starts_again_after_its_classes_were_changed(
    surface: LabelSurface, opening: Callable[..., LabelSession], change: str, classes: Any
) -> None:
    first = opening(surface, classes=classes)
    added = first.classes[-1].id
    if change == "merge":
        first.merge_class(added, WALL, "a", 0)
        first.merge_class(LAMP, WALL, "a", 1)
    elif change == "take back":
        first.undo("command line", 99)
    else:
        first.rename_class(added, "seat", "a", 0)
        first.rename_class(WALL, "plaster", "a", 1)
    before = [*first.classes]
    assert [*opening(surface, classes=classes).classes] == before


@pytest.mark.parametrize("change", ["merge", "rename"])
def test_imported_labels_of_a_class_that_was_merged_or_renamed_are_of_that_class(
    surface: LabelSurface, opening: Callable[..., LabelSession], change: str
) -> None:
    ids = np.full((FRAMES, *surface.pixel_voxels.shape[1:]), LAMP, np.int16)
    first = opening(surface)
    if change == "merge":
        first.merge_class(LAMP, WALL, "a", 0)
    else:
        first.rename_class(LAMP, "light", "a", 0)
    before = [*first.classes]
    again = opening(surface, imported=ImportedLabels.of("predictions", ids, surface.classes[1:]))
    assert [*again.classes] == before
    assert set(np.unique(again.voxel_labels())) == {WALL if change == "merge" else LAMP}
    again.undo("a", 1)
    assert set(np.unique(again.voxel_labels())) == {LAMP}


def test_classes_of_the_scene_that_have_changed_since_are_told(
    surface: LabelSurface, opening: Callable[..., LabelSession], capsys: pytest.CaptureFixture[str]
) -> None:
    opening(surface)
    opening(surface)
    assert "have changed" not in capsys.readouterr().out
    opening(replace(surface, classes=(surface.classes[0], replace(surface.classes[1], name="plant"))))
    assert "7 (lamp, now plant)" in capsys.readouterr().out


def test_an_action_after_the_end_is_refused_with_a_sentence(
    surface: LabelSurface, opening: Callable[..., LabelSession]
) -> None:
    session = opening(surface)
    session.close()
    with pytest.raises(SceneError, match="found that it has ended"):
        session.add_mark(click(0, WALL, 5, 5), "a", 0)


def test_an_action_that_this_version_does_not_know_is_named_with_its_line(
    surface: LabelSurface, opening: Callable[..., LabelSession], tmp_path: Path
) -> None:
    opening(surface).add_mark(click(0, WALL, 5, 5), "a", 0)
    path = tmp_path / "journal" / JOURNAL_FILE
    opening(surface).close()
    journal = Journal(path, {})
    journal.append({"kind": "from_the_future", "client": "a", "sequence": 1, "time": 1.0})
    journal.close()
    with pytest.raises(SceneError, match=r"at line 3 of .*marks\.jsonl, found one of the kind 'from_the_future'"):
        LabelSession(surface, tmp_path / "journal")


def test_marks_on_photos_are_refused_for_pictures_without_the_distortion_of_a_lens(
    opening: Callable[..., LabelSession], tmp_path: Path
) -> None:
    surface = make_label_surface(tmp_path / "images", FRAMES)
    opening(surface).close()
    path = tmp_path / "journal" / JOURNAL_FILE
    journal = Journal(path, {})
    header = {**journal.header, "is_undistorted": True}
    journal.close()
    path.unlink()
    Journal(path, header).close()
    with pytest.raises(SceneError, match="Expected marks on the photos, found those in"):
        opening(surface)


def test_a_mark_on_a_frame_that_is_gone_has_a_name_and_keeps_its_class(
    opening: Callable[..., LabelSession], tmp_path: Path
) -> None:
    surface = make_label_surface(tmp_path / "images", FRAMES)
    session = opening(surface)
    session.add_class("rug", None, "one", 1)
    rug = session.classes[-1].id
    session.add_mark(click(2, rug, 5, 5), "two", 1)
    session = opening(with_frames(surface, [0, 1]))
    found = session.last_of_others("three")
    assert found is not None
    assert found[1] == "a mark on a frame that is gone"
    with pytest.raises(SceneError, match="Expected no marks of the class 'rug'"):
        session.undo("one", 2)
