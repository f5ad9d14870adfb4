"""Void that is said in all images at once, by a class that is marked and spreads as others do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS
from semantic_ns.errors import SceneError
from semantic_ns.labelling import field as following
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.session import LabelSession
from support.field_followers import STRIDE, Followers, Watched, has_followed, post
from support.label_actions import LAMP, WALL, are_equal, click, everything
from support.label_page import NO_BROWSER, SOFA, LabelPage
from support.label_questions import FIRST, Asked, painted_box, posting
from support.label_server import serving, wait_until
from support.label_session import SmallSession


def exported(session: LabelSession, folder: Path, **options: Any) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in session.export(folder, **options)]


def test_a_void_class_spreads_and_shows_as_before_and_is_void_in_exports(
    opened: Callable[..., LabelSession], tmp_path: Path
) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.add_mark(click(1, LAMP, 25, 10), "a", 1)
    before, images = everything(session), exported(session, tmp_path / "before")
    session.void_class(LAMP, True, "a", 2)
    assert are_equal(before, everything(session))
    for number, image in enumerate(exported(session, tmp_path / "void", coco=True, points=True)):
        np.testing.assert_array_equal(image, np.where(images[number] == LAMP, session.void_id, images[number]))
    assert sum((image == LAMP).any() for image in images) > 1  # it had spread
    names = [one["name"] for one in json.loads((tmp_path / "void" / "classes.json").read_text())["classes"]]
    assert "lamp" not in names
    assert not any((image == LAMP).any() for image in exported(session, tmp_path / "painted", painted_only=True))
    session.close()
    again = opened()
    assert [entry.is_void for entry in again.classes] == [False, True]
    assert again.last_of_others("b") == (3, "'lamp' made void")
    again.undo("a", 3)
    for image, after in zip(images, exported(again, tmp_path / "after"), strict=True):
        np.testing.assert_array_equal(image, after)


def test_what_is_merged_into_a_void_class_is_void(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.void_class(LAMP, True, "a", 1)
    session.merge_class(WALL, LAMP, "a", 2)
    assert all((image == session.void_id).all() for image in exported(session, tmp_path / "out"))
    with pytest.raises(SceneError, match="Expected true or false for is_void"):
        session.void_class(LAMP, 1, "a", 3)


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3, height=48, width=64)


def test_a_void_class_teaches_the_field_nothing(
    tmp_path: Path, follow: Followers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_REST_S", 0.0)
    session = follow.session = Watched(num_frames=3, height=48, width=64)
    session.void_class(SOFA, True, "one", 0)
    field = follow()
    post(session, 1, class_id=SOFA, x=20, y=30)
    before = session.num_looks
    wait_until(lambda: session.num_looks > before + 5 or bool(follow.asked()))
    assert follow.asked() == []
    post(session, 2, class_id=0, x=8, y=8)
    wait_until(has_followed(field, 3))
    (trained,) = [json.loads(one) for one in follow.asked() if '"train"' in one]
    assert trained["class_ids"] == [0, 1, 3, 4, 5]
    assert field.labels is not None
    shown = np.stack([session.labels(frame)[::STRIDE, ::STRIDE] for frame in range(3)])
    assert (shown == SOFA).any()
    assert (field.labels.labels == np.where((shown < 0) | (shown == SOFA), 3, shown)).all()


def test_a_void_class_answers_void(tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    session = asked.session()
    session.classes = [*session.classes]
    answer = posting(asked, session, tmp_path / "exports")
    session.classes[1] = type(session.classes[1])(21, session.classes[1].name, (0, 0, 0), is_void=True)
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    assert answer("/api/marks", 0, mark=painted_box(session, 21, 0, 100)) == 200
    assert json.loads(path.read_text()) == {"1": "void", "2": "void"}
    assert answer("/api/answer", 1, question=FIRST, unit=2, class_id=20) == 200
    assert answer("/api/answer", 2, question=FIRST, unit=1, class_id=21) == 200
    assert json.loads(path.read_text()) == {"1": "void", "2": asked.dataset.taxonomy.source_ids[0]}
    questions = QuestionFolder(asked.folder, session)
    assert questions.units(questions.find(FIRST))[0].guess == 21


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_makes_a_class_void(one_page: LabelPage, session: SmallSession, tmp_path: Path) -> None:
    page = one_page
    with serving(session, tmp_path) as server:
        page.open(server.address)
        page.page.value(f"document.querySelector('#classes li[data-id=\"{SOFA}\"] [data-part=edit]').click()")
        page.page.value("document.getElementById('class-void').click()")
        page.page.value("document.querySelector('#class-form [value=save]').click()")
        page.wait_until_saved()
        page.page.wait_until("document.querySelectorAll('#classes .void').length === 1")
    assert [one.is_void for one in session.classes] == [False, False, True, False, False, False]
