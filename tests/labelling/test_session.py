import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantic_ns.errors import SceneError
from semantic_ns.labelling.journal import JournalWriteError
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import JOURNAL_FILE, LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_surfaces import HEIGHT, WIDTH, make_label_surface, truth


def test_a_click_on_each_colour_labels_nearly_all_pixels_of_all_frames(opened: Callable[..., LabelSession]) -> None:
    session = opened(classes=["chair"])
    assert session.add_mark(click(0, WALL, 5, 5), "a", 0) == 2
    session.add_mark(click(1, LAMP, 20, 10), "a", 1)
    session.add_mark(click(2, 8, 25, 10), "a", 2)
    labels = np.stack([session.labels(frame) for frame in range(FRAMES)])
    assert (labels == np.array([WALL, LAMP, 8])[truth(FRAMES)]).mean() > 0.95
    progress = session.progress()
    assert (progress.num_marks, progress.num_frames_marked, progress.num_actions) == (3, 3, 4)


def test_without_marks_nothing_is_known(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    assert (session.labels(0) == -1).all()
    assert (session.confidence(0) == 0).all()
    assert (session.painted(0) == -1).all()
    assert session.progress().share_of_surface == 0


def test_undo_shows_the_bits_of_before_and_redo_those_of_after(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    before = everything(session)
    session.add_mark(click(0, LAMP, 6, 6, 3), "a", 1)
    after = everything(session)
    assert not are_equal(before, after)
    session.undo("a", 2)
    assert are_equal(before, everything(session))
    session.redo("a", 3)
    assert are_equal(after, everything(session))


def test_each_person_takes_back_what_is_their_own(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.add_mark(click(1, LAMP, 20, 10), "b", 0)
    session.undo("a", 1)
    assert (session.painted(0) == -1).all()
    assert (session.painted(1) == LAMP).any()
    with pytest.raises(SceneError, match=r"of yours to undo, found none; each tab .* the eraser takes away"):
        session.undo("a", 2)


def test_a_new_action_ends_what_can_be_repeated(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.undo("a", 1)
    session.add_mark(click(1, WALL, 5, 5), "a", 2)
    with pytest.raises(SceneError, match="Expected an action of yours to redo, found none"):
        session.redo("a", 3)


def test_the_same_client_and_sequence_count_once(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    first = session.add_mark(click(0, WALL, 5, 5), "a", 4)
    assert session.add_mark(click(0, LAMP, 15, 5), "a", 4) == first == session.revision == 1
    assert not (session.painted(0) == LAMP).any()


MARKS = st.builds(
    click,
    st.integers(0, FRAMES - 1),
    st.sampled_from([WALL, LAMP]),
    st.floats(0, WIDTH - 0.1),
    st.floats(0, HEIGHT - 0.1),
    st.floats(0.5, 6),
)


@given(st.lists(MARKS, min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_painted_pixels_win_over_spread_labels_and_the_later_over_the_earlier(
    surface: LabelSurface, tmp_path_factory: pytest.TempPathFactory, marks: list[Mark]
) -> None:
    session = LabelSession(surface, tmp_path_factory.mktemp("journal"))
    expected = np.full((FRAMES, HEIGHT, WIDTH), -1)
    for number, mark in enumerate(marks):
        session.add_mark(mark, "a", number)
        mask = mark.mask(HEIGHT, WIDTH, lambda: np.zeros((HEIGHT, WIDTH), np.int32))
        expected[mark.frame][mask] = mark.class_id
    for frame in range(FRAMES):
        is_painted = expected[frame] >= 0
        assert (session.painted(frame) == expected[frame]).all()
        assert (session.labels(frame)[is_painted] == expected[frame][is_painted]).all()
        assert (session.confidence(frame)[is_painted] == 1).all()
    session.close()


@given(st.permutations(range(6)))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_marks_that_do_not_overlap_give_the_same_in_any_order_but_for_rounding(
    surface: LabelSurface, tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    marks = [click(i % FRAMES, (WALL, LAMP)[i % 2], 4 + 5 * i, 4 + 3 * (i % 4)) for i in range(6)]
    shown = []
    for chosen in (range(6), order):
        session = LabelSession(surface, tmp_path_factory.mktemp("journal"))
        for number in chosen:
            session.add_mark(marks[number], "a", number)
            session.labels(0)  # columns are computed in this order
        shown.append([(session.labels(frame), session.confidence(frame)) for frame in range(FRAMES)])
        session.close()
    for (one, sure), (other, sure_too) in zip(*shown, strict=True):
        np.testing.assert_allclose(sure, sure_too, atol=1e-5)
        # As near to the marks of two classes: rounding decides.
        assert (sure[one != other] < 0.501).all()


def act_at_random(session: LabelSession, seed: int, num_actions: int) -> None:
    """Marks, undo, redo and changes of classes of two people; what is refused is left out."""
    rng = np.random.default_rng(seed)
    for sequence in range(num_actions):
        who = "ab"[rng.integers(2)], sequence
        x, y = rng.uniform(0, WIDTH - 1), rng.uniform(0, HEIGHT - 1)
        chosen, other = (int(number) for number in rng.choice([entry.id for entry in session.classes], 2))
        frame = int(rng.integers(FRAMES))
        actions: list[tuple[Callable[..., int], tuple[Any, ...]]] = [
            *[(session.add_mark, (click(frame, chosen, x, y, 3),))] * 6,
            (session.add_mark, (click(frame, None, x, y, 4, "erase"),)),
            (session.add_mark, (click(frame, None, x, y, 2, "void"),)),
            *[(session.undo, ())] * 3,
            (session.redo, ()),
            (session.add_class, (f"class {sequence}", None)),
            (session.rename_class, (chosen, f"name {sequence}")),
            (session.merge_class, (chosen, other)),
            (session.lock_class, (chosen, bool(rng.integers(2)))),
        ]
        act, arguments = actions[rng.integers(len(actions))]
        try:
            act(*arguments, *who)
        except SceneError:
            continue


@pytest.mark.parametrize("seed", range(4))
def test_a_session_that_is_opened_again_is_as_it_was(opened: Callable[..., LabelSession], seed: int) -> None:
    session = opened()
    act_at_random(session, seed, 60)
    assert session.revision > 20
    before = [*everything(session), np.array(session.revision)]
    classes, progress = session.classes, session.progress()
    session.close()
    again = opened()
    assert are_equal(before, [*everything(again), np.array(again.revision)])
    assert (again.classes, again.progress()) == (classes, progress)


def test_a_mark_spreads_if_a_pixel_of_its_own_shows_a_voxel(surface: LabelSurface, tmp_path: Path) -> None:
    voxels = surface.pixel_voxels.copy()
    voxels[0, :6] = -1  # the sky
    session = LabelSession(replace(surface, pixel_voxels=voxels), tmp_path / "journal")
    in_sky = session.add_mark(click(0, WALL, 10.5, 2.5), "one", 0)
    assert not session.spreads(in_sky)
    assert session.labels(0)[2, 10] == WALL  # it counts for its own pixels
    assert (session.labels(1) == -1).all()
    below = session.add_mark(click(0, LAMP, 10.5, 12.5), "one", 1)
    assert session.spreads(below)
    assert not session.spreads(in_sky)
    session.add_mark(click(0, WALL, 10.5, 12.5, radius=5), "one", 2)
    assert not session.spreads(below)  # it is covered
    session.undo("one", 3)
    assert session.spreads(below)
    assert not session.spreads(session.add_mark(click(0, None, 20.5, 12.5, action="void"), "one", 4))
    session.close()


def test_void_and_erased_pixels_say_nothing_about_the_surface(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5, 3), "a", 0)
    session.add_mark(click(0, None, 5, 5, 20, "erase"), "a", 1)
    assert (session.labels(0) == -1).all()
    session.undo("a", 2)
    session.add_mark(click(0, None, 5, 5, 20, "void"), "a", 3)
    assert session.painted(0)[5, 5] == -2
    assert session.labels(0)[5, 5] == -1
    assert (session.labels(1) == -1).all()


def test_the_finer_surface_takes_over_with_the_labels_that_it_alone_would_give(
    surface: LabelSurface, finer: LabelSurface, tmp_path: Path
) -> None:
    both = LabelSession(surface, tmp_path / "both", finer=finer)
    alone = LabelSession(finer, tmp_path / "alone")
    for session in (both, alone):
        session.add_mark(click(0, WALL, 5, 5), "a", 0)
        session.add_mark(click(1, LAMP, 20, 10), "a", 1)
    assert both.wait_for_finer(60.0)
    assert both.progress().num_voxels == finer.graph.num_nodes
    assert are_equal(everything(both), everything(alone))
    both.close()
    alone.close()


def test_a_second_session_on_one_journal_is_refused_and_one_after_it_is_not(
    opened: Callable[..., LabelSession],
) -> None:
    first = opened()
    with pytest.raises(SceneError, match="Expected a journal that nobody else has open, found that process"):
        opened()
    first.close()
    opened()


def test_a_journal_of_other_frames_is_refused(surface: LabelSurface, tmp_path: Path) -> None:
    others = make_label_surface(tmp_path / "images", 2)
    renamed = tuple(replace(info, name=f"other_{info.name}") for info in others.frames)
    LabelSession(replace(others, frames=renamed), tmp_path / "journal").close()
    before = (tmp_path / "journal" / JOURNAL_FILE).read_bytes()
    with pytest.raises(SceneError, match="Expected a journal of the 3 frames"):
        LabelSession(surface, tmp_path / "journal")
    assert (tmp_path / "journal" / JOURNAL_FILE).read_bytes() == before


@pytest.mark.parametrize("frame", [-1, FRAMES, 10**9])
def test_frames_and_classes_that_there_are_none_of_are_refused(opened: Callable[..., LabelSession], frame: int) -> None:
    session = opened()
    with pytest.raises(SceneError):
        session.labels(frame)
    with pytest.raises(SceneError, match="Expected the id of a class"):
        session.add_mark(click(0, 99, 5, 5), "a", 0)
    with pytest.raises(SceneError, match="covers no pixel"):
        session.add_mark(click(0, WALL, -50, 5), "a", 0)
    assert session.revision == 0


def test_time_without_actions_is_no_work(surface: LabelSurface, tmp_path: Path) -> None:
    times = iter([0.0, 30.0, 1000.0, 990.0, 1002.0])
    session = LabelSession(surface, tmp_path, clock=lambda: next(times))
    for number in range(5):
        session.add_mark(click(0, WALL, 5, 5), "a", number)
    assert session.progress().minutes == pytest.approx(42 / 60)
    session.close()


def test_frames_far_from_all_marks_come_first(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    assert [rank.frame for rank in session.ranked_frames()] == [0, 1, 2]
    for x in range(2, WIDTH, 4):
        session.add_mark(click(0, WALL, x, 12, 13), "a", x)
    ranks = session.ranked_frames()
    assert ranks[0].frame == 2
    assert ranks[-1].score <= ranks[0].score


def test_regions_are_painted_as_a_whole(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    regions = session.regions(0)
    mark = Mark.from_json({"frame": 0, "class_id": LAMP, "shape": {"kind": "region", "region_ids": [1, 2]}})
    session.add_mark(mark, "a", 0)
    assert ((session.painted(0) == LAMP) == np.isin(regions, [1, 2])).all()


def test_exported_labels_are_those_shown_and_nothing_is_written_into_the_scene(
    opened: Callable[..., LabelSession], surface: LabelSurface, tmp_path: Path
) -> None:
    from PIL import Image

    from semantic_ns.labels.class_table import ClassTable

    session = opened()
    with pytest.raises(SceneError, match="Expected a mark to write labels from"):
        session.export(tmp_path / "labels")
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.add_mark(click(1, LAMP, 20, 10), "a", 1)
    paths = session.export(tmp_path / "labels")
    for frame, path in enumerate(paths):
        labels = session.labels(frame)
        assert (np.asarray(Image.open(path)) == np.where(labels < 0, session.void_id, labels)).all()
    table = ClassTable.load(tmp_path / "labels" / "classes.json")
    assert {entry.id: entry.name for entry in table.entries} == {WALL: "wall", LAMP: "lamp"}
    with pytest.raises(SceneError, match="Expected a new or an empty folder"):
        session.export(tmp_path / "labels")
    with pytest.raises(SceneError, match="Expected a folder outside the scene"):
        session.export(surface.scene / "labels")
    assert sorted(path.name for path in surface.scene.iterdir()) == [f"frame_{i}.png" for i in range(FRAMES)]


def test_marks_are_taken_while_labels_are_exported_and_do_not_change_them(
    opened: Callable[..., LabelSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from semantic_ns.labelling import export

    session, write = opened(), export.write_png
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    before = [session.labels(frame) for frame in range(FRAMES)]

    def meanwhile(*options: Any) -> None:
        if session.revision == 1:
            other = threading.Thread(target=session.add_mark, args=(click(1, LAMP, 20, 10), "b", 0), daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive()
        write(*options)

    monkeypatch.setattr(export, "write_png", meanwhile)
    paths = session.export(tmp_path / "labels")
    assert not are_equal(before, [session.labels(frame) for frame in range(FRAMES)])
    written = [np.asarray(Image.open(path)) for path in paths]
    assert are_equal(written, [np.where(labels < 0, session.void_id, labels) for labels in before])


def test_export_leaves_out_what_is_unsure_or_not_painted(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    from PIL import Image

    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    (painted, *_) = session.export(tmp_path / "painted", painted_only=True)
    assert ((np.asarray(Image.open(painted)) == WALL) == (session.painted(0) == WALL)).all()
    (sure, *_) = session.export(tmp_path / "sure", least_confidence=0.9)
    assert ((np.asarray(Image.open(sure)) == WALL) == (session.confidence(0) >= 0.9)).all()


def test_actions_of_several_threads_are_all_taken_and_come_back(opened: Callable[..., LabelSession]) -> None:
    session = opened()

    def label(client: str) -> None:
        for sequence in range(15):
            session.add_mark(click(sequence % FRAMES, (WALL, LAMP)[sequence % 2], sequence * 2, 10), client, sequence)
            session.labels(sequence % FRAMES)
            session.progress()

    threads = [threading.Thread(target=label, args=(client,)) for client in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.revision == session.progress().num_marks == 45
    shown = everything(session)
    session.close()
    assert are_equal(shown, everything(opened()))


def test_a_mark_that_cannot_be_written_down_is_not_taken_and_can_be_sent_again(
    opened: Callable[..., LabelSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened()
    before = everything(session)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("semantic_ns.labelling.journal.os.fsync", refuse)
        with pytest.raises(JournalWriteError, match="No space left on device"):
            session.add_mark(click(0, WALL, 5, 5), "a", 0)
    assert session.revision == 0
    assert are_equal(before, everything(session))
    assert session.add_mark(click(0, WALL, 5, 5), "a", 0) == 1
