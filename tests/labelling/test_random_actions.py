"""Whatever several people do, in whatever order: what is shown follows from the journal alone."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.classes import ClassList, LabelClass
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, WALL, are_equal, click, everything
from support.label_surfaces import alike

KINDS = ("mark", "void", "undo", "redo", "others", "delete", "void class", "merge", "split", "lock", "unlock", "add")
CHANCES = (0.34, 0.03, 0.16, 0.12, 0.03, 0.1, 0.04, 0.06, 0.04, 0.03, 0.03, 0.02)
ROUNDS, ACTIONS = 3, 15


def act(session: LabelSession, kind: str, rng: np.random.Generator, client: str, sequence: int) -> None:
    ids = [entry.id for entry in session.classes] or [WALL]  # all may be deleted
    first, second = (int(rng.choice(ids)) for _ in range(2))
    place = int(rng.integers(FRAMES)), float(rng.uniform(0, 28)), float(rng.uniform(0, 18))
    paint = click(place[0], first, *place[1:], float(rng.uniform(1, 5)))
    void = click(place[0], None, *place[1:], 3, "void")
    other = session.last_of_others(client)
    actions: dict[str, Callable[[], object]] = {
        "mark": lambda: session.add_mark(paint, client, sequence),
        "void": lambda: session.add_mark(void, client, sequence),
        "undo": lambda: session.undo(client, sequence),
        "redo": lambda: session.redo(client, sequence),
        "others": lambda: other and session.undo(client, sequence, other[0]),
        "delete": lambda: session.delete_class(first, bool(rng.random() < 0.7), client, sequence),
        "void class": lambda: session.void_class(first, bool(rng.random() < 0.5), client, sequence),
        "merge": lambda: session.merge_class(first, second, client, sequence),
        "split": lambda: session.split_class(first, client, sequence),
        "lock": lambda: session.lock_class(first, True, client, sequence),
        "unlock": lambda: session.lock_class(first, False, client, sequence),
        "add": lambda: session.add_class(f"class {sequence}", None, client, sequence),
    }
    actions[kind]()


@pytest.mark.parametrize("has_looks", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_session_that_is_opened_again_shows_what_it_showed(
    surface: LabelSurface, tmp_path: Path, seed: int, has_looks: bool
) -> None:
    surface = alike(surface) if has_looks else surface
    rng, sequence, shown = np.random.default_rng(seed), 0, None
    for _ in range(ROUNDS):
        session = LabelSession(surface, tmp_path, ["rug", "desk", "door"])
        now = (list(session.classes), session.class_evidence(), session.progress().num_marks)
        assert shown is None or (shown[0] == now and are_equal(shown[1], everything(session)))
        for kind in rng.choice(KINDS, ACTIONS, p=CHANCES).tolist():
            sequence += 1
            with contextlib.suppress(SceneError):  # what is refused changes nothing
                act(session, kind, rng, "abc"[int(rng.integers(3))], sequence)
        assert session.wait_for_appearance()
        now = (list(session.classes), session.class_evidence(), session.progress().num_marks)
        shown = now, everything(session)
        session.close()


def test_each_class_is_a_part_of_the_one_that_it_was_merged_into_at_last() -> None:
    rng = np.random.default_rng(0)
    into = [None if number < 5 else int(rng.integers(number)) for number in range(40)]
    classes = ClassList(
        LabelClass(number, str(number), (0, 0, 0), merged_into=other) for number, other in enumerate(into)
    )
    parts = classes.parts()
    assert [*parts] == [entry.id for entry in classes.in_use()]
    assert sum(map(len, parts.values())) == len(classes)
    assert all(number in parts[classes.final_id(number)] for number in range(40))
    assert [classes.parts_of(number) for number in range(40)] == [parts.get(number, {number}) for number in range(40)]
