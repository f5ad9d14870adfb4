"""Labels that a session begins with: weak evidence beneath the marks, the same after a new start."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_json
from semantic_ns.labelling.import_files import read_import
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassEntry, ClassTable
from semantic_ns.propagation.posterior import LEAST_NOISE, vote_strength
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import HEIGHT, WIDTH, truth

IDS = (40, 41, 3)
"""Of the three colours of the wall; the last one is that of another class in the session."""
CLASSES = [{"id": 40, "name": "Wall"}, {"id": 41, "name": "rug", "color": [4, 5, 6]}, {"id": 3, "name": "chair"}]


def write_folder(folder: Path, frames: tuple[int, ...] = (0, 2), wrong: float = 0.0) -> Path:
    """Label images of some frames, with a share of wrong pixels and a void corner."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for frame in frames:
        colors = truth(FRAMES)[frame]
        colors = np.where(rng.random(colors.shape) < wrong, rng.integers(3, size=colors.shape), colors)
        image = np.array(IDS, np.uint8)[colors]
        image[:3, :3] = 255
        Image.fromarray(image).save(folder / f"frame_{frame}.png")
    write_json(folder / "classes.json", {"void_id": 255, "classes": CLASSES})
    return folder


@pytest.fixture
def imported(surface: LabelSurface, tmp_path: Path) -> ImportedLabels:
    return read_import(write_folder(tmp_path / "predicted", wrong=0.1), surface.frames)


def test_label_images_are_read_by_name_with_void_and_missing_frames_left_out(
    imported: ImportedLabels, tmp_path: Path
) -> None:
    expected = np.full((FRAMES, HEIGHT, WIDTH), -1)
    for frame in (0, 2):
        expected[frame] = np.asarray(Image.open(tmp_path / "predicted" / f"frame_{frame}.png"))
    expected[expected == 255] = -1
    assert (imported.ids == expected).all()
    assert [(entry.id, entry.name) for entry in imported.classes] == [(3, "chair"), (40, "Wall"), (41, "rug")]


def test_imported_labels_spread_and_marks_win(opened: Callable[..., LabelSession], imported: ImportedLabels) -> None:
    session = opened(imported=imported)
    names = {entry.name: entry.id for entry in session.classes}
    assert names == {"wall": WALL, "lamp": LAMP, "rug": 41, "chair": 8}  # 3 was that of another one
    ids = np.array([WALL, 41, 8])[truth(FRAMES)]
    for frame in range(FRAMES):  # one of them has no label image
        assert (session.labels(frame) == ids[frame]).mean() > 0.9
        assert session.confidence(frame).max() <= 0.5
    session.add_mark(click(1, LAMP, 20, 12, 3), "a", 0)
    painted = session.painted(1) == LAMP
    assert painted.any()
    assert (session.labels(1)[painted] == LAMP).all()
    voxels = np.unique(session.surface.voxels_of(1)[painted])
    assert (session.voxel_labels()[voxels] == LAMP).all()


def test_switching_imported_labels_off_shows_what_marks_alone_say_and_undo_brings_them_back(
    opened: Callable[..., LabelSession], imported: ImportedLabels
) -> None:
    session, alone = opened(imported=imported), opened("other", classes=["rug", "chair"])
    for one in (session, alone):
        one.add_mark(click(0, WALL, 4, 4), "a", 0)
    with_them = everything(session)
    assert not are_equal(with_them, everything(alone))
    session.switch_import(False, "a", 1)
    assert session.imported is not None
    assert not session.imported.is_on
    assert are_equal(everything(session), everything(alone))
    session.undo("a", 2)
    assert are_equal(everything(session), with_them)
    session.redo("a", 3)
    assert are_equal(everything(session), everything(alone))


def test_voxels_of_a_locked_class_keep_it_when_imported_labels_are_switched(
    opened: Callable[..., LabelSession], imported: ImportedLabels
) -> None:
    """The class has no mark: what is kept is what the imported labels showed when it was locked."""
    session = opened(imported=imported)
    before = session.voxel_labels() == WALL
    assert before.any()
    session.lock_class(WALL, True, "a", 0)
    locked = everything(session)
    session.switch_import(False, "a", 1)
    np.testing.assert_array_equal(session.voxel_labels(), np.where(before, WALL, -1))
    off = everything(session)
    session.close()
    again = opened()
    assert are_equal(everything(again), off)
    again.undo("a", 2)
    assert are_equal(everything(again), locked)


def test_voxels_that_showed_no_locked_class_are_not_locked_by_a_later_import(
    opened: Callable[..., LabelSession], imported: ImportedLabels
) -> None:
    session = opened(imported=imported)
    session.switch_import(False, "a", 0)
    session.lock_class(WALL, True, "a", 1)
    session.switch_import(True, "a", 2)
    free, alone = session.voxel_labels(), opened("other", imported=imported).voxel_labels()
    np.testing.assert_array_equal(free, alone)


def test_imported_labels_that_cannot_be_read_are_not_switched_on_and_the_session_goes_on(
    opened: Callable[..., LabelSession], imported: ImportedLabels, tmp_path: Path
) -> None:
    session = opened(imported=imported)
    session.switch_import(False, "a", 0)
    off, revision = everything(session), session.revision
    kept = tmp_path / "journal" / "imports" / f"{imported.checksum[:16]}.npz"
    content = kept.read_bytes()
    kept.write_bytes(content[:100])
    for act in (lambda: session.switch_import(True, "a", 1), lambda: session.undo("a", 1)):
        with pytest.raises(SceneError, match="put a copy back"):
            act()
    assert session.revision == revision
    assert session.imported is not None
    assert not session.imported.is_on
    assert are_equal(everything(session), off)
    session.close()
    again = opened()
    assert again.revision == revision
    assert are_equal(everything(again), off)
    kept.write_bytes(content)
    assert again.switch_import(True, "a", 1) == revision + 1


def test_a_class_that_imported_labels_have_is_not_taken_back(
    opened: Callable[..., LabelSession], imported: ImportedLabels
) -> None:
    session = opened()
    session.add_class("rug", None, "a", 0)
    session.close()
    again = opened(imported=imported)
    shown = everything(again)
    with pytest.raises(SceneError, match="found that predicted has it; merge it"):
        again.undo("a", 1)
    assert are_equal(everything(again), shown)


def test_a_session_opened_again_without_the_folder_has_the_same_labels(
    opened: Callable[..., LabelSession], imported: ImportedLabels, surface: LabelSurface, tmp_path: Path
) -> None:
    session = opened(imported=imported, import_weight=0.02)
    session.add_mark(click(0, LAMP, 4, 4), "a", 0)
    before = everything(session)
    revision = session.revision
    session.close()
    again = opened()
    assert are_equal(everything(again), before)
    again.close()
    kept = tmp_path / "journal" / "imports" / f"{imported.checksum[:16]}.npz"
    same = opened(imported=imported, import_weight=0.02)
    assert same.revision == revision  # it counts once
    same.close()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(SceneError, match="give what they came from with --import again"):
        opened()
    assert are_equal(everything(opened(imported=imported, import_weight=0.02)), before)


def test_the_finer_surface_takes_over_with_imported_labels(
    opened: Callable[..., LabelSession], finer: LabelSurface, imported: ImportedLabels, tmp_path: Path
) -> None:
    session = opened(imported=imported, finer=finer)
    assert session.wait_for_finer()
    alone = LabelSession(finer, tmp_path / "alone", imported=imported)
    assert are_equal(everything(session), everything(alone))
    session.switch_import(False, "a", 0)
    assert session.wait_for_finer()
    assert session.surface is finer
    assert not session.progress().share_of_surface
    alone.close()


def test_anchors_hold_the_shares_of_the_pixels_of_each_voxel(surface: LabelSurface, imported: ImportedLabels) -> None:
    anchors = imported.anchors(surface, 0.5)
    ids = [entry.id for entry in imported.classes]
    for voxel in range(0, surface.graph.num_nodes, 7):
        votes = np.zeros(3)
        for pixel in zip(*np.nonzero(surface.pixel_voxels == voxel), strict=True):
            if imported.ids[pixel] >= 0:
                votes[ids.index(int(imported.ids[pixel]))] += 1
        assert anchors.weights[voxel] == (0.5 * vote_strength(LEAST_NOISE) if votes.any() else 0)
        assert np.abs(anchors.shares[voxel] - votes / max(votes.sum(), 1)).max() < 1e-6


def test_labels_without_a_list_of_classes_have_the_ids_of_the_session(surface: LabelSurface, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bare")
    (folder / "classes.json").unlink()
    with pytest.raises(SceneError, match="Expected a list of the classes of the label images"):
        read_import(folder, surface.frames)
    entries = tuple(ClassEntry(number, f"class {number}", (0, 0, 0), True) for number in IDS)
    found = read_import(folder, surface.frames, ClassTable("scene", entries, frozenset({255})))
    assert {entry.name for entry in found.classes} == {"class 40", "class 41", "class 3"}


def resized(folder: Path, size: tuple[int, int]) -> None:
    path = folder / "frame_0.png"
    Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)


def test_label_images_of_another_size_are_brought_to_that_of_the_frames(surface: LabelSurface, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "small")
    resized(folder, (2 * WIDTH, 2 * HEIGHT))
    larger = read_import(folder, surface.frames).ids
    assert (larger == read_import(write_folder(tmp_path / "whole"), surface.frames).ids).all()


def spoil_id(image: ndarray) -> ndarray:
    return np.where(image == 41, 77, image).astype(np.uint8)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: resized(folder, (WIDTH, WIDTH)), "for 32x24 pixels as the frame frame_0 has, found 32x32"),
        (
            lambda folder: [path.unlink() for path in folder.glob("*.png")],
            r"Expected annotations of .*, found neither; check the path",
        ),
        (
            lambda folder: Image.fromarray(spoil_id(np.asarray(Image.open(folder / "frame_0.png")))).save(
                folder / "frame_0.png"
            ),
            "found 77 at",
        ),
        (
            lambda folder: [
                Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(p) for p in folder.glob("*.png")
            ],
            "found void alone",
        ),
    ],
)
def test_folders_that_cannot_be_imported_are_refused(
    surface: LabelSurface, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    folder = write_folder(tmp_path / "bad")
    spoil(folder)
    with pytest.raises(SceneError, match=sentence):
        read_import(folder, surface.frames)


def test_without_imported_labels_there_is_nothing_to_switch(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    with pytest.raises(SceneError, match="start with --import LABELS"):
        session.switch_import(True, "a", 0)
    assert session.revision == 0


def test_imported_labels_are_exported_without_any_mark(
    opened: Callable[..., LabelSession], imported: ImportedLabels, tmp_path: Path
) -> None:
    session = opened(imported=imported)
    files = session.export(tmp_path / "out")
    assert (np.asarray(Image.open(files[1])) == session.labels(1)).all()
    session.switch_import(False, "a", 0)
    with pytest.raises(SceneError, match="Expected a mark to write labels from"):
        session.export(tmp_path / "more")
