"""Nobody waits while a matrix is factored, and what is shown then is what it would be if everybody had waited."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semantic_ns.labelling import spreaders
from semantic_ns.labelling.changes import SeenVoxels
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import CLASSES, truth

PATIENCE_S = 60


class SlowFactors:
    """Spreaders that are made when the test says so, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_begun, self._num_allowed = 0, 0
        self._changed = threading.Condition()
        make = spreaders.Spreader

        def slowly(*arguments: Any) -> Any:
            with self._changed:
                self.num_begun += 1
                own = self.num_begun
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._num_allowed >= own, PATIENCE_S)
            return make(*arguments)

        monkeypatch.setattr(spreaders, "Spreader", slowly)

    def wait_until_begun(self, number: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.num_begun >= number, PATIENCE_S)

    def allow(self, number: int) -> None:
        with self._changed:
            self._num_allowed = number
            self._changed.notify_all()


@pytest.fixture
def imported() -> ImportedLabels:
    ids = np.where(truth(FRAMES) == 0, WALL, LAMP).astype(np.int16)
    return ImportedLabels.of("predicted", ids, CLASSES)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowFactors]:
    factors = SlowFactors(monkeypatch)
    yield factors
    factors.allow(1000)


def is_answered(act: Callable[[], Any]) -> bool:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(PATIENCE_S / 2)
    return not thread.is_alive()


def test_marks_are_taken_while_imported_labels_are_switched(
    opened: Callable[..., LabelSession], imported: ImportedLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(imported=imported)
    slow = SlowFactors(monkeypatch)
    answers: list[int] = []
    switches = [threading.Thread(target=lambda: answers.append(session.switch_import(False, "a", 0))) for _ in range(2)]
    for thread in switches:  # the second is the first one sent again, which counts once
        thread.start()
    assert slow.wait_until_begun(1)
    assert is_answered(lambda: session.add_mark(click(0, LAMP, 4, 4), "b", 0))
    revision = session.revision
    slow.allow(1000)
    for thread in switches:
        thread.join(PATIENCE_S)
    assert answers == [revision + 1, revision + 1]
    alone = opened("alone")
    alone.add_mark(click(0, LAMP, 4, 4), "b", 0)
    assert are_equal(everything(session), everything(alone))


def test_marks_are_taken_while_the_finer_surface_is_made_for_a_class_that_was_locked_over_other_labels(
    opened: Callable[..., LabelSession],
    surface: LabelSurface,
    finer: LabelSurface,
    imported: ImportedLabels,
    slow: SlowFactors,
    tmp_path: Path,
) -> None:
    slow.allow(1)  # with the imported labels
    session = opened(imported=imported)
    session.add_mark(click(0, WALL, 4, 4), "a", 0)
    session.lock_class(WALL, True, "a", 1)
    slow.allow(3)  # without them, and with them for the class that is locked
    session.switch_import(False, "a", 2)
    expected = session.voxel_labels()
    session.close()

    slow.allow(5)  # over the coarser surface, without imported labels and with them
    again = opened(finer=finer)
    for number in (6, 7):  # the same over the finer one
        assert slow.wait_until_begun(number)
        assert again.surface is surface
        assert is_answered(lambda number=number: again.add_mark(click(1, LAMP, 20, 10), "b", number))
        assert is_answered(again.voxel_labels)
        slow.allow(number)
    assert again.wait_for_finer()
    assert slow.num_begun == 7
    assert again.surface is finer
    again.undo("b", 10)
    again.undo("b", 11)
    assert set(np.unique(again.voxel_labels())) == set(np.unique(expected))
    everything_again = everything(again)
    again.close()
    slow.allow(1000)
    alone = LabelSession(finer, tmp_path / "journal")
    assert are_equal(everything(alone), everything_again)
    alone.close()


@pytest.mark.parametrize("seed", [0, 1])
def test_frames_with_a_voxel_are_those_that_show_it(finer: LabelSurface, seed: int) -> None:
    seen, random = SeenVoxels(finer), np.random.default_rng(seed)
    for share in (0, 0.001, 0.01, 0.5, 1):
        voxels = random.random(finer.graph.num_nodes) < share
        expected = [bool(voxels[of_frame[of_frame >= 0]].any()) for of_frame in finer.pixel_voxels]
        assert seen.frames_with(voxels).tolist() == expected


def test_what_frames_see_takes_a_bit_for_each_voxel(finer: LabelSurface) -> None:
    kept = sum(value.nbytes for value in vars(SeenVoxels(finer)).values() if isinstance(value, np.ndarray))
    assert kept <= FRAMES * (finer.graph.num_nodes / 8 + 8)
