"""Marks that waited in a page while the session was started again, with other photos, classes or questions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS, RUN_FILE
from semantic_ns.labelling.access import session_refusal
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.questions import QuestionFolder
from support.label_page import FLOOR, NO_BROWSER, ON_FLOOR, ON_SOFA, ON_WALL, LabelPage, marked_classes
from support.label_questions import FIRST, Asked, listed
from support.label_server import action, mark, serving
from support.label_session import SmallSession

in_a_browser = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))


def with_photos(numbers: list[int], **options: object) -> SmallSession:
    """A session of some of the photos 0, 1, ... that it had at first, in any order."""
    session = SmallSession(num_frames=len(numbers), frame_numbers=numbers, **options)  # pyright: ignore[reportArgumentType]
    session.frames = [
        replace(info, name=f"photo_{number}") for info, number in zip(session.frames, numbers, strict=True)
    ]
    return session


def post(session: SmallSession, folder: Path, path: str, **parts: Any) -> tuple[int, str]:
    answer = LabelApi(session, "scene", folder).post(path, json.dumps(action(0, **parts)).encode())
    return answer.status, json.loads(answer.body).get("error", "")


def key_of(session: SmallSession, folder: Path) -> str:
    return json.loads(LabelApi(session, "scene", folder).get("/api/state", {}).body)["key"]


def test_the_key_of_a_session_says_which_marks_and_which_photos_it_has(tmp_path: Path) -> None:
    first = key_of(with_photos([0, 1, 2]), tmp_path)
    assert key_of(with_photos([0, 1, 2]), tmp_path) == first
    others = [key_of(with_photos(numbers), tmp_path) for numbers in ([1, 0, 2], [0, 1], [0, 1, 2, 3])]
    another = key_of(with_photos([0, 1, 2], identity="f" * 16), tmp_path)
    assert len({first, *others, another}) == 5
    assert all("Reload the page" in str(session_refusal(first, other)) for other in others)
    assert "another session is open" in str(session_refusal(first, another))
    assert session_refusal(first, first) is None


@pytest.mark.parametrize("is_own", [True, False])
def test_regions_of_a_photo_that_has_changed_are_refused(tmp_path: Path, is_own: bool) -> None:
    session = with_photos([0, 1])
    picture = json.loads(LabelApi(session, "scene", tmp_path).get("/api/state", {}).body)["frames"][1]["picture"]
    of_region = mark(1, FLOOR, shape={"kind": "region", "region_ids": [3]})
    found = post(session, tmp_path, "/api/marks", mark=of_region, picture=picture if is_own else "of before")
    assert (found[0] == 200, len(session.marks)) == (is_own, int(is_own))
    assert is_own or "file has changed since" in found[1]


@pytest.mark.parametrize("is_own", [True, False])
def test_a_mark_on_a_view_of_another_surface_is_refused(tmp_path: Path, is_own: bool) -> None:
    session = with_photos([0, 1])
    cameras = json.loads(LabelApi(session, "scene", tmp_path).get("/api/state", {}).body)["cameras"]
    pose = session.surface.c2w[0].reshape(-1).tolist()
    view = {"pose": pose, "vertical_fov": 1.0, "height": 60, "width": 80}
    parts = {"mark": mark(0, FLOOR), "view": view, "cameras": cameras if is_own else "of before"}
    status, sentence = post(session, tmp_path, "/api/marks", **parts)
    assert (status == 200, len(session.marks)) == (is_own, int(is_own))
    assert is_own or "trained anew since; draw it again" in sentence


def test_an_answer_to_a_run_of_before_is_refused(tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    session = asked.session()
    run = listed(asked, session)[0]["run"]
    api = LabelApi(session, "scene", tmp_path / "exports", QuestionFolder(asked.folder, session))

    def answer(number: int) -> int:
        body = action(number, question=FIRST, run=run, unit=1, class_id=21)
        return api.post("/api/answer", json.dumps(body).encode()).status

    assert answer(0) == 200
    path = asked.folder / RUN_FILE
    path.write_text(path.read_text().replace("random", "geometry"))
    (asked.folder / ANSWERS / f"{FIRST}.json").unlink()
    assert answer(1) == 400
    assert (session.revision, list((asked.folder / ANSWERS).iterdir())) == (1, [])


@in_a_browser
def test_a_mark_that_waits_is_put_on_its_photo_wherever_that_is_now(one_page: LabelPage, tmp_path: Path) -> None:
    first, page = with_photos([0, 1, 2]), one_page
    with serving(first, tmp_path) as server:
        page.open(server.address)
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    page.keys("2")
    page.stroke(ON_FLOOR)
    page.page.value("snsLabel.goTo(1), 0")
    page.stroke(ON_WALL)
    page.page.value("snsLabel.goTo(2), 0")
    page.stroke(ON_SOFA)
    second = with_photos([5, 2, 0])  # photo 1 is gone
    with serving(second, tmp_path, port=server.port):
        page.page.wait_until("snsLabel.store.isOfAnother")
        assert "Reload the page, and what waits here is put on its own photos" in page.text("toasts")
        assert second.marks == []
        page.page.value("delete document.documentElement.dataset.ready")
        # Not at once: the answer to this evaluation would be lost with the page.
        page.page.value("setTimeout(() => document.querySelector('.toast .text').click()), 0")
        page.wait_until_ready()
        page.wait_until_saved()
        assert [one.frame for _, one in second.marks] == [2, 1]
        told = "1 mark waits in this browser on photos that the session does not have now (photo_1)"
        assert told in page.text("toasts")
    third = with_photos([1, 0])
    with serving(third, tmp_path, port=server.port):
        page.open(server.address)
        page.wait_until_saved()
        assert [one.frame for _, one in third.marks] == [0]
        assert page.text("toasts") == ""


@in_a_browser
def test_marks_for_a_session_that_is_gone_are_named_and_can_be_given_up(one_page: LabelPage, tmp_path: Path) -> None:
    first, page = with_photos([0, 1]), one_page
    with serving(first, tmp_path) as server:
        page.open(server.address)
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    page.stroke(ON_WALL)
    second = with_photos([0, 1], identity="f" * 16, names=("sky", "car"))  # the journal was begun anew
    with serving(second, tmp_path, port=server.port):
        page.open(server.address)
        assert "1 mark waits in this browser for another session, of a scene" in page.text("toasts")
        page.page.value("document.querySelector('.toast .text').click()")
        page.open(server.address)
        assert (second.marks, page.text("toasts")) == ([], "")


@in_a_browser
def test_a_mark_of_a_class_that_was_deleted_meanwhile_is_told_with_its_photo(
    one_page: LabelPage, tmp_path: Path
) -> None:
    first, page = with_photos([0, 1]), one_page
    with serving(first, tmp_path) as server:
        page.open(server.address)
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    page.keys("3")
    page.stroke(ON_SOFA)
    page.keys("2")
    page.stroke(ON_FLOOR)
    first.delete_class(2, True, "another", 1)
    with serving(first, tmp_path, port=server.port):
        page.wait_until_saved()
    assert marked_classes(first) == [FLOOR]
    assert "A mark on photo_0 that waited was not taken. Expected the number of a class, found 2." in page.text(
        "toasts"
    )


@in_a_browser
def test_the_page_says_what_became_of_marks_when_photos_changed(one_page: LabelPage, tmp_path: Path) -> None:
    with serving(with_photos([0], notices=["3 photos have other names than before."]), tmp_path) as server:
        one_page.open(server.address)
        assert one_page.text("toasts") == "3 photos have other names than before."
