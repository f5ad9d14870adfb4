"""The field that follows a session, by a process that stands in for the training: what it is asked."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling import field as following
from semantic_ns.labelling.field import FieldLabels
from semantic_ns.labelling.field_api import FieldApi
from semantic_ns.labelling.in_force import ImportInForce
from support.field_followers import NO_ROOM, STRIDE, Followers, Watched, has_followed, of_request, post
from support.label_page import NO_BROWSER, SOFA, LabelPage
from support.label_server import action, ask, inline_array, mark, serving, wait_until
from support.label_session import SmallSession


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3, height=48, width=64)


def test_the_field_follows_each_change_and_nothing_is_asked_before_the_first_mark(
    session: SmallSession, follow: Followers
) -> None:
    field = follow()
    with pytest.raises(SceneError, match="has not been trained on the labels yet"):
        field.render(0)
    assert field.state.state == "waiting"
    assert follow.asked() == []
    post(session, 0, class_id=SOFA, x=20, y=30)
    wait_until(has_followed(field, 1))
    assert field.labels is not None
    shown = np.stack([session.labels(frame)[::STRIDE, ::STRIDE] for frame in range(3)])
    assert (shown >= 0).any()
    assert (field.labels.labels == np.where(shown < 0, 3, shown)).all()
    assert (field.state.version, field.state.seconds) == (1, 1.5)
    session.undo("one", 1)
    post(session, 2, class_id=1, x=20, y=30)
    wait_until(has_followed(field, 3))
    assert field.state.version >= 2
    assert sum('"begin"' in one for one in follow.asked()) == 1


@pytest.mark.parametrize("kind", ["void", "erase"])
def test_void_and_what_is_erased_alone_teach_nothing(
    tmp_path: Path, follow: Followers, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(following, "_REST_S", 0.0)
    session = follow.session = Watched(num_frames=3, height=48, width=64)
    field = follow()
    post(session, 0, class_id=None, action=kind)
    before = session.num_looks
    wait_until(lambda: session.num_looks > before + 5 or bool(follow.asked()))
    assert follow.asked() == []
    assert field.state.state == "waiting"
    post(session, 1)
    wait_until(has_followed(field, 2))


def test_imported_labels_are_learned_without_a_mark(session: SmallSession, follow: Followers) -> None:
    session.imported = ImportInForce("predictions", "0", 1e-4, (), is_on=True)
    wait_until(has_followed(follow(), 0))


def test_a_frame_is_rendered_in_pieces_between_which_the_field_learns(
    session: SmallSession, follow: Followers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first piece waits for a file that is written after the next mark."""
    monkeypatch.setattr(following, "_PIECE_PIXELS", 20 * 64)
    monkeypatch.setattr(following, "_REST_S", 0.0)
    go_on = tmp_path / "go_on"
    field = follow(RENDER=f"import time\n        while not os.path.exists({str(go_on)!r}): time.sleep(0.01)")
    post(session, 0)
    wait_until(has_followed(field, 1))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(field.render(2)), daemon=True)
    thread.start()
    wait_until(lambda: '"render"' in follow.asked()[-1])
    post(session, 1, x=10)
    go_on.touch()
    thread.join(60)
    asked = [json.loads(one) for one in follow.asked()]
    assert [one.get("rows", one["do"]) for one in asked] == [
        "begin", "train", [0, 20], "train", [20, 40], [40, 48],
    ]  # fmt: skip
    assert found[0][0].shape == found[0][1].shape == (48, 64)
    assert (found[0][0] == 2).all()


def test_while_it_is_held_the_field_learns_nothing(follow: Followers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_REST_S", 0.0)
    session = follow.session = Watched(num_frames=3, height=48, width=64)
    field = follow()
    post(session, 0)
    wait_until(has_followed(field, 1))
    with field.holding() as version:
        post(session, 1, x=10)
        before = session.num_looks
        wait_until(lambda: session.num_looks > before + 5)
        assert version == field.state.version
        assert field.state.revision == 1
    wait_until(has_followed(field, 2))


def test_an_export_of_the_field_is_of_one_training_and_has_its_ids(session: SmallSession, follow: Followers) -> None:
    field = follow(RENDER="if number == 3: sys.exit(1)")
    post(session, 0, class_id=SOFA)
    wait_until(has_followed(field, 1))
    with FieldApi(field, session).saying() as said:
        assert (said(1)[0] == 1).all()
        session.merge_class(2, 0, "one", 1)
        labels, sure = said(2)
        assert (labels == 2).all()
        assert np.unique(sure) == np.float32(51 / 255)
        assert "found that it ended" in of_request(lambda: said(0))
        assert "it was trained anew meanwhile; export again" in of_request(lambda: said(0))


def test_a_run_is_written_with_the_classes_of_now_and_what_is_void_in_the_session(
    session: SmallSession, follow: Followers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    field = follow()
    post(session, 0)
    wait_until(has_followed(field, 1))
    monkeypatch.setattr(following, "_REST_S", 1e9)
    monkeypatch.setattr(following, "_LONGEST_REST_S", 1e9)
    session.add_class("rug", (1, 2, 3), "one", 1)
    session.merge_class(4, 0, "one", 2)
    of_request(lambda: field.save(tmp_path / "first"))
    of_request(lambda: field.save(tmp_path / "second"))
    asked = [json.loads(one) for one in follow.asked()]
    assert [one["do"] for one in asked] == ["begin", "train", "train", "save", "save"]
    ids = [0, 1, 2, 3, 5, 6]
    assert asked[2]["class_ids"] == ids
    for one in asked[3:]:
        assert ([entry[0] for entry in one["classes"]], one["void_id"]) == (ids, 255)


def test_marks_are_answered_while_the_field_learns(session: SmallSession, follow: Followers, tmp_path: Path) -> None:
    """The process waits for a file that is written after the answers: they would never come if they waited for it."""
    go_on = tmp_path / "go_on"
    field = follow(TRAIN=f"import time\n        while not os.path.exists({str(go_on)!r}): time.sleep(0.01)")
    with serving(session, tmp_path / "exports", field=field) as server:
        port = server.port
        assert ask(port, "/api/marks", "POST", action(0, mark=mark())).status == 200
        wait_until(lambda: field.state.state == "training")
        reply = None
        for number in range(1, 5):
            reply = ask(port, "/api/marks", "POST", action(number, mark=mark(x=10 + number), show=0))
            assert (reply.status, reply.content["revision"]) == (200, number + 1)
        assert reply is not None
        assert reply.content["field"]["state"] == "training"
        go_on.touch()
        wait_until(has_followed(field, 5))


def test_each_pixel_shows_the_nearest_one_above_and_to_the_left_that_is_known() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 9, (2, 3, 4)).astype(np.int16)
    said = FieldLabels(labels, labels.astype(np.uint8), 3)
    frame = said.of_frame(labels, 1, 8, 11)
    assert frame.shape == (8, 11)
    pixels = rng.integers(0, (2, 8, 11), (5, 6, 3)).astype(np.int32)
    pixels[0, :2, 0] = -1
    found, confidence = said.at(pixels)
    assert (confidence[found >= 0] == found[found >= 0]).all()  # of the same pixels
    assert (confidence[pixels[..., 0] < 0] == 0).all()
    for place in np.ndindex(5, 6):
        number, row, column = pixels[place]
        assert found[place] == (-1 if number < 0 else labels[number, row // 3, column // 3])
        assert number != 1 or found[place] == frame[row, column]


def test_the_api_shows_exports_and_writes_what_the_field_says(
    session: SmallSession, follow: Followers, tmp_path: Path
) -> None:
    field = follow()
    with serving(session, tmp_path / "exports", field=field) as server:
        port = server.port
        asked = {"pose": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], "vertical_fov": 1.0, "height": 9, "width": 12}
        for path, body in (
            ("/api/run", {}),
            ("/api/export", {"source": "field"}),
            ("/api/view", {**asked, "source": "field"}),
        ):
            reply = ask(port, path, "POST", body)
            assert (reply.status, "not been trained" in reply.sentence) == (400, True)
        assert "not been trained" in ask(port, "/api/frame/0/field").sentence
        ask(port, "/api/marks", "POST", action(0, mark=mark(class_id=SOFA)))
        wait_until(has_followed(field, 1))
        state = ask(port, "/api/state").content["field"]
        assert (state["state"], state["version"], state["revision"]) == ("ready", 1, 1)
        assert ask(port, f"/api/events?since=1&surface={session.num_voxels}&field=0-waiting").content["field"] == state
        labels = np.frombuffer(ask(port, "/api/frame/1/field").body, "<i2").reshape(48, 64)
        assert field.labels is not None
        assert (labels == field.labels.of_frame(field.labels.labels, 1, 48, 64)).all()
        assert set(ask(port, "/api/frame/1/field?part=confidence").body) == {204}
        rows = ask(port, "/api/frame/2/field?row=47").content
        assert (inline_array(rows["labels"], "<i2", session) == np.full((1, 64), 2)).all()
        assert (inline_array(rows["confidence"], "u1", session) == np.full((1, 64), 51)).all()
        for row in ("48", "-1", "x"):
            assert "a row from 0 to 47" in ask(port, f"/api/frame/2/field?row={row}").sentence
        assert ask(port, "/api/view", "POST", {**asked, "source": "field"}).status == 200
        assert "voxels, field" in ask(port, "/api/view", "POST", {**asked, "source": "stars"}).sentence
        reply = ask(port, "/api/export", "POST", {"source": "field", "coco": True})
        assert reply.content["num_files"] == 3
        assert session.exported_coco
        for name in ("labelled_1", "labelled_2"):
            written = ask(port, "/api/run", "POST", {}).content["config"]
            assert written == str(tmp_path / "runs" / name / "config.yml")
        assert ask(port, "/api/run", "POST", {"folder": "../x"}).status == 400


def test_without_a_field_its_addresses_say_so(session: SmallSession, tmp_path: Path) -> None:
    with serving(session, tmp_path / "exports") as server:
        assert ask(server.port, "/api/state").content["field"] is None
        assert "none" in ask(server.port, "/api/frame/0/field").sentence
        assert "none" in ask(server.port, "/api/run", "POST", {}).sentence


def test_a_class_that_was_merged_meanwhile_is_said_as_the_one_that_it_is_now(
    session: SmallSession, follow: Followers, tmp_path: Path
) -> None:
    field = follow()
    with serving(session, tmp_path / "exports", field=field) as server:
        post(session, 0, class_id=SOFA)
        wait_until(has_followed(field, 1))
        session.merge_class(3, 0, "one", 1)
        labels = np.frombuffer(ask(server.port, "/api/frame/1/field").body, "<i2")
        assert 3 not in labels
        assert 0 in labels


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_shows_what_the_field_says_and_writes_it(
    one_page: LabelPage, session: SmallSession, follow: Followers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PIECE_PIXELS", 20 * 64)
    field = follow()
    with serving(session, tmp_path / "exports", field=field) as server:
        one_page.open(server.address)
        page = one_page.page
        assert one_page.text("field-note") == "Learns from your marks in the background"
        assert page.value("document.getElementById('write-run').disabled")
        page.value("document.querySelector('[data-source=field]').click()")
        page.wait_until("document.getElementById('toasts').textContent.includes('not learned the labels yet')")
        one_page.stroke((20, 20), (30, 20))
        one_page.wait_until_saved()
        page.wait_until("document.getElementById('field-note').textContent.startsWith('Up to date')")
        page.value("document.querySelector('[data-source=field]').click()")
        page.wait_until("snsLabel.field.layer?.isFull && snsLabel.view.layer === snsLabel.field.layer")
        assert page.value("snsLabel.view.labelAt({x: 2, y: 47})") == 0  # what it renders
        page.value("[1, 2].forEach((frame) => snsLabel.goTo(frame))")
        page.wait_until("snsLabel.field.layer?.isFull")
        assert page.value("[...new Set(snsLabel.field.layer.labels)]") == [2]
        rendered = [json.loads(one) for one in follow.asked() if '"render"' in one]
        assert [(one["frame"], *one["rows"]) for one in rendered] == [
            (frame, *rows) for frame in (0, 2) for rows in ((0, 20), (20, 40), (40, 48))
        ]  # and none of the frame that was passed
        page.value("snsLabel.goTo(0)")
        page.value("document.querySelector('[data-source=voxels]').click()")
        assert page.value("snsLabel.view.layer === snsLabel.store.layers.get(0)")
        page.value("document.getElementById('write-run').click()")
        written = tmp_path / "runs" / "labelled_1" / "config.yml"
        page.wait_until("document.getElementById('field-note').textContent.startsWith('Wrote')")
        assert one_page.text("field-note") == f"Wrote {written}"


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_export_button_writes_coco_and_what_the_field_says_if_wanted(
    one_page: LabelPage, session: SmallSession, follow: Followers, tmp_path: Path
) -> None:
    field = follow()
    with serving(session, tmp_path / "exports", field=field) as server:
        one_page.open(server.address)
        page = one_page.page
        post(session, 0)
        wait_until(has_followed(field, 1))
        page.wait_until("snsLabel.store.state.field.version === 1")
        page.value("document.getElementById('export').click()")
        for name in ("field", "coco", "points"):
            page.value(f"document.getElementById('export-{name}').click()")
        page.value("document.querySelector('#export-form .primary').click()")
        page.wait_until("document.getElementById('export-result').textContent.startsWith('Wrote')")
        assert session.exported_coco
        assert session.exported_points
        assert any('"render"' in one for one in follow.asked())


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_says_why_the_field_does_not_follow_and_has_it_begin_again(
    one_page: LabelPage, session: SmallSession, follow: Followers, tmp_path: Path
) -> None:
    field = follow(BEGIN=f"if number == 1: {NO_ROOM}")
    with serving(session, tmp_path / "exports", field=field) as server:
        one_page.open(server.address)
        page = one_page.page
        assert page.value("document.getElementById('begin-again').hidden")
        one_page.stroke((20, 20), (30, 20))
        page.wait_until("document.getElementById('field-note').textContent === 'Expected room, found none.'")
        page.wait_until("!document.getElementById('begin-again').hidden")
        page.value("document.getElementById('begin-again').click()")
        page.wait_until("document.getElementById('field-note').textContent.startsWith('Up to date')")
        assert page.value("document.getElementById('begin-again').hidden")
