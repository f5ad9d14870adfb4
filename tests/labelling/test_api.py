"""What the labelling server answers over a real port, and which bodies it refuses."""

import base64
import errno
import io
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labelling.access import SESSION_HEADER
from semantic_ns.labelling.answers import confidence_layer
from semantic_ns.labelling.marks import Mark
from support.label_server import TOKEN, action, ask, inline_array, mark, serving
from support.label_session import VOID, SmallSession


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3, height=48, width=64)


def test_the_state_names_frames_classes_and_progress(port: int, session: SmallSession) -> None:
    state = ask(port, "/api/state").content
    assert [frame["name"] for frame in state["frames"]] == [frame.name for frame in session.frames]
    assert state["classes"][0] == {
        "id": 0,
        "name": "wall",
        "color": "#e69f00",
        "is_locked": False,
        "is_void": False,
        "merged_into": None,
        "num_marks": 0,
        "is_imported": False,
    }
    assert (state["scene"], state["revision"], state["marked_frames"]) == ("a scene", 0, [])
    assert state["progress"]["num_marks"] == 0


def test_layers_are_the_arrays_of_the_session(port: int, session: SmallSession) -> None:
    session.add_mark(Mark.from_json(mark(1, 2, 10, 10)), "two", 1)
    session.add_mark(Mark.from_json(mark(1, None, 40, 20, action="void")), "two", 2)
    expected = session.labels(1).copy()
    expected[session.painted(1) == VOID] = VOID
    assert {-2, -1, 2} <= set(expected.ravel())
    for name, dtype, values in (
        ("labels", "<i2", expected),
        ("painted", "<i2", session.painted(1)),
        ("regions", "<i4", session.regions(1)),
        ("confidence", "u1", confidence_layer(session.confidence(1))),
    ):
        answer = ask(port, f"/api/frame/1/{name}?revision=2")
        assert answer.headers["x-revision"] == "2"
        assert (np.frombuffer(answer.body, dtype).reshape(48, 64) == values).all()
        packed = ask(port, f"/api/frame/1/{name}", headers={"Accept-Encoding": "gzip"})
        assert len(packed.body) <= len(answer.body)


def test_images_come_whole_and_small(port: int, session: SmallSession) -> None:
    whole = Image.open(io.BytesIO(ask(port, "/api/frame/2/image").body))
    assert whole.size == (64, 48)
    assert np.abs(np.asarray(whole).astype(int) - session.color(2)).mean() < 3
    assert Image.open(io.BytesIO(ask(port, "/api/frame/2/image?size=small").body)).size == (64, 48)


def test_a_mark_answers_with_the_labels_of_the_frame_that_is_shown(port: int, session: SmallSession) -> None:
    answer = ask(port, "/api/marks", "POST", action(1, mark=mark(0, 3), show=2, with_confidence=True)).content
    assert (answer["revision"], answer["frame"], answer["marked_frames"]) == (1, 2, [0])
    assert (inline_array(answer["labels"], "<i2", session) == session.labels(2)).all()
    confidence = inline_array(answer["confidence"], "u1", session) / 255
    assert np.abs(confidence - session.confidence(2)).max() <= 0.5 / 31
    assert "labels" not in ask(port, "/api/marks", "POST", action(2, mark=mark(0, 3))).content


def test_a_mark_beside_the_surface_counts_and_is_told(port: int, session: SmallSession) -> None:
    assert ask(port, "/api/marks", "POST", action(1, mark=mark())).content["notice"] is None
    session.has_surface = False
    told = ask(port, "/api/marks", "POST", action(2, mark=mark())).content
    assert told["notice"].startswith("The mark lies where the run shows no surface")
    assert told["progress"]["num_marks"] == 2
    for number, said in enumerate(("void", "erase"), 3):
        silent = ask(port, "/api/marks", "POST", action(number, mark=mark(class_id=None, action=said)))
        assert silent.content["notice"] is None
    assert ask(port, "/api/undo", "POST", action(5)).content["notice"] is None


def test_an_action_counts_once_however_often_it_is_sent(port: int, session: SmallSession) -> None:
    requests = [
        ("/api/marks", action(1, mark=mark())),
        ("/api/marks", action(2, mark=mark(1, 1))),
        ("/api/undo", action(3)),
        ("/api/redo", action(4)),
        ("/api/classes", action(5, action="add", name="clock", color="#102030")),
        ("/api/marks", action(1, client="two", mark=mark())),
    ]
    for number, (path, body) in enumerate(requests, 1):
        for _ in range(3):
            assert ask(port, path, "POST", body).content["revision"] == number
    assert (session.revision, len(session.marks), len(session.classes)) == (6, 3, 7)


def test_clients_undo_what_is_theirs(port: int, session: SmallSession) -> None:
    ask(port, "/api/marks", "POST", action(1, mark=mark(0, 1)))
    ask(port, "/api/marks", "POST", action(1, client="two", mark=mark(0, 2)))
    assert ask(port, "/api/undo", "POST", action(2)).status == 200
    assert [one.class_id for _, one in session.marks] == [2]
    refused = ask(port, "/api/undo", "POST", action(3))
    assert (refused.status, refused.sentence) == (400, "There is nothing to undo.")


def test_classes_are_added_renamed_recoloured_merged_and_locked(port: int) -> None:
    name = 'a "b" <img src=x onerror=alert(1)> ☂ '
    for number, change in enumerate(
        (
            {"action": "add", "name": name},
            {"action": "rename", "id": 0, "name": "ceiling"},
            {"action": "recolor", "id": 1, "color": "#0a0b0c"},
            {"action": "merge", "id": 2, "into": 3},
            {"action": "lock", "id": 4, "is_locked": True},
            {"action": "merge", "id": 5, "into": 3},
            {"action": "split", "id": 5},
        )
    ):
        answer = ask(port, "/api/classes", "POST", action(number, **change))
        assert answer.status == 200
    classes = ask(port, "/api/state").content["classes"]
    assert classes[6]["name"] == name.strip()
    assert (classes[0]["name"], classes[1]["color"], classes[2]["merged_into"]) == ("ceiling", "#0a0b0c", 3)
    assert classes[4]["is_locked"]
    assert classes[5]["merged_into"] is None


def test_a_mark_may_name_its_class_by_the_action_that_added_it(port: int, session: SmallSession) -> None:
    added = ask(port, "/api/classes", "POST", action(5, action="add", name="rug")).content["added"]
    assert session.classes[added].name == "rug"
    made = mark(class_id=None)
    assert ask(port, "/api/marks", "POST", action(6, mark=made, added_by=5)).status == 200
    assert [one.class_id for _, one in session.marks] == [added]
    for client, added_by in (("one", 4), ("two", 5), ("one", -1), ("one", "5")):
        assert ask(port, "/api/marks", "POST", action(7, client, mark=made, added_by=added_by)).status == 400


def test_events_wait_for_the_next_action_of_anybody(port: int) -> None:
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(port, "/api/events?since=0&surface=100").content))
    waiting.start()
    ask(port, "/api/marks", "POST", action(1, mark=mark()))
    waiting.join(20)
    assert [answer["revision"] for answer in answers] == [1]
    assert answers[0]["changed_frames"] == [0, 1, 2]


def test_events_tell_of_another_surface_although_nobody_acted(port: int, session: SmallSession) -> None:
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(port, "/api/events?since=0&surface=100").content))
    waiting.start()
    session.num_voxels = 300
    waiting.join(20)
    assert [answer["surface"] for answer in answers] == ["300"]


def test_closing_the_server_answers_those_that_wait(session: SmallSession, tmp_path: Path) -> None:
    ended = threading.Event()
    with serving(session, tmp_path) as server:
        connection = socket.create_connection(("127.0.0.1", server.port))
        request = f"GET /api/events?since=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(request.encode())
        threading.Thread(target=lambda: (connection.recv(1), ended.set()), daemon=True).start()
    assert ended.wait(10)
    connection.close()


def test_frames_are_ranked(port: int) -> None:
    ranked = ask(port, "/api/ranked").content["ranked"]
    assert {frame["frame"] for frame in ranked} == {0, 1, 2}
    assert ranked[0]["reason"].endswith("has no label")


def test_an_export_is_named_by_its_full_path(
    session: SmallSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(session, Path("mine/exports")) as server:
        assert ask(server.port, "/api/export", "POST", {}).content["folder"] == str(tmp_path / "mine/exports/labels_1")


def test_an_export_gets_a_new_folder_and_never_an_old_one(port: int, tmp_path: Path) -> None:
    first = ask(port, "/api/export", "POST", {}).content
    second = ask(port, "/api/export", "POST", {"painted_only": True, "least_confidence": 0.5}).content
    assert [Path(one["folder"]).name for one in (first, second)] == ["labels_1", "labels_2"]
    assert len(list((tmp_path / "exports" / "labels_1").glob("*.png"))) == first["num_files"] == 3
    assert ask(port, "/api/export", "POST", {"folder": "labels_1"}).status == 409
    assert ask(port, "/api/export", "POST", {"folder": "mine.v2"}).status == 200


POSE = [1.0, 0, 0, 24, 0, 0, -1, 0, 0, 1, 0, 0]
"""That of the second frame."""


def test_the_free_view_begins_at_the_cameras_of_the_frames(port: int, session: SmallSession) -> None:
    cameras = ask(port, "/api/cameras").content
    assert cameras["c2w"][1] == POSE
    assert cameras["vertical_fov"] == pytest.approx([2 * np.arctan(24 / 32)] * 3)
    view = {"pose": POSE, "vertical_fov": 1.0, "height": 24, "width": 32}
    answer = ask(port, "/api/view", "POST", view).content
    color = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["color"]))))
    seen = session.view(session.surface.c2w[1], 1.0, 24, 32)
    assert np.abs(color.astype(int) - seen.color).mean() < 6
    confidence = inline_array(answer["confidence"], "u1", session).reshape(24, 32)
    assert (confidence == confidence_layer(seen.confidence)).all()


def test_a_mark_on_the_free_view_is_one_on_the_training_pixels_that_it_shows(port: int, session: SmallSession) -> None:
    view = {"pose": POSE, "vertical_fov": 1.0, "height": 24, "width": 32}
    made = mark(0, 2, 8.0, 8.0)
    assert ask(port, "/api/marks", "POST", action(1, mark=made, view=view)).status == 200
    rows, columns = np.mgrid[:24, :32] + 0.5
    disc = np.argwhere(np.hypot(rows - 8, columns - 8) <= 4)
    painted = session.painted(1)
    assert (painted[2 * disc[:, 0], 2 * disc[:, 1]] == 2).all()
    assert (painted == 2).sum() == len(disc)
    for wrong, sentence in (
        (mark(0, 2, 8.0, 28.0), "covers no pixel"),
        (mark(0, 2, shape={"kind": "polygon", "points": [[0, 23], [32, 23], [32, 24], [0, 24]]}), "on the surface"),
        (mark(0, 2, shape={"kind": "region", "region_ids": [0]}), "use the brush"),
    ):
        refused = ask(port, "/api/marks", "POST", action(2, mark=wrong, view=view))
        assert refused.status == 400
        assert sentence in refused.sentence


@pytest.mark.parametrize(
    "change",
    [
        {"pose": POSE[:11]},
        {"pose": "here"},
        {"pose": [*POSE[:11], "0"]},
        {"pose": [*POSE[:11], 1e300]},
        {"vertical_fov": None},
        {"height": 0},
        {"height": 10**7},
        {"width": 1.5},
    ],
)
def test_a_wrong_view_is_refused(port: int, change: dict[str, Any]) -> None:
    view = {"pose": POSE, "vertical_fov": 1.0, "height": 24, "width": 32, **change}
    assert ask(port, "/api/view", "POST", view).status == 400
    assert ask(port, "/api/marks", "POST", action(1, mark=mark(), view=view)).status == 400


SHAPE = {"kind": "stroke", "points": [[1, 1]], "radius": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b'{"client": "one", "sequence": NaN}',
        b'{"client": "one", "sequence": 1, "x": 1e400}',
        b'{"client": "one", "sequence": ' + b"9" * 5000 + b"}",
        b'{"client": "one", "sequence": 1, "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"client": "one", "sequence": 1, "x": "\\ud800"}',
        json.dumps(action(1)).encode(),
        json.dumps(action(-1, mark=mark())).encode(),
        json.dumps(action(1, client="../x", mark=mark())).encode(),
        json.dumps({**action(1, mark=mark()), "client": 7}).encode(),
        json.dumps(action(1, mark=mark(frame=3))).encode(),
        json.dumps(action(1, mark=mark(class_id=99))).encode(),
        json.dumps(action(1, mark=mark(action="burn"))).encode(),
        json.dumps(action(1, mark=mark(shape={"kind": "spiral"}))).encode(),
        json.dumps(action(1, mark=mark(shape={**SHAPE, "points": [[1]]}))).encode(),
        json.dumps(action(1, mark=mark(shape={**SHAPE, "radius": "wide"}))).encode(),
        json.dumps(action(1, mark=mark(), show=9)).encode(),
        json.dumps(action(1, mark=mark(), show=0.5)).encode(),
        json.dumps(action(1, mark=mark(), with_confidence=1)).encode(),
    ],
)
def test_a_wrong_mark_is_refused_and_changes_nothing(port: int, session: SmallSession, body: bytes) -> None:
    refused = ask(port, "/api/marks", "POST", body)
    assert refused.status in (400, 404)
    assert refused.sentence.endswith(".")
    assert session.revision == 0


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"action": "remove", "id": 0},
        {"action": "delete"},
        {"action": "delete", "id": 0, "with_marks": "yes"},
        {"action": "add", "name": ""},
        {"action": "add", "name": "  \t "},
        {"action": "add", "name": "x" * 101},
        {"action": "add", "name": "a\u202eb"},
        {"action": "add", "name": "x", "color": "red"},
        {"action": "recolor", "id": 0},
        {"action": "recolor", "id": 0, "color": "#12345"},
        {"action": "rename", "id": 99, "name": "x"},
        {"action": "merge", "id": 0},
        {"action": "lock", "id": 0, "is_locked": "yes"},
        {"action": "lock", "id": True, "is_locked": True},
    ],
)
def test_a_wrong_change_of_classes_is_refused(port: int, session: SmallSession, change: dict[str, Any]) -> None:
    refused = ask(port, "/api/classes", "POST", action(1, **change))
    assert refused.status == 400
    assert refused.sentence.endswith(".")
    assert session.revision == 0


@pytest.mark.parametrize(
    "body",
    [{"folder": name} for name in ("..", ".", "", "a/b", "/etc", "..\\x", ".hidden", "x" * 81, "a\x00b", 5, ["x"])]
    + [{"least_confidence": value} for value in (-0.1, 1.1, "0.5", True, None)]
    + [{"painted_only": 1}],
)
def test_a_wrong_export_writes_nothing(port: int, tmp_path: Path, body: dict[str, Any]) -> None:
    assert ask(port, "/api/export", "POST", body).status == 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [(OSError(errno.ENOSPC, "No space left on device"), 507), (OSError(errno.EROFS, "Read-only file system"), 500)],
)
def test_a_disk_that_takes_nothing_is_told_and_the_action_may_come_again(
    port: int, session: SmallSession, failure: OSError, status: int
) -> None:
    wrapped = SceneError("Expected to write to the journal, found that it cannot be written; make room.")
    wrapped.__cause__ = failure
    for number, error in enumerate((failure, wrapped)):
        session.failure = error
        refused = ask(port, "/api/marks", "POST", action(number, mark=mark()))
        assert refused.status == status
        assert refused.sentence.endswith(".")
        assert ask(port, "/api/marks", "POST", action(number, mark=mark())).status == 200
    assert session.revision == 2


def test_too_little_memory_for_an_answer_is_told_and_the_server_goes_on(port: int, session: SmallSession) -> None:
    session.failure = MemoryError()
    refused = ask(port, "/api/marks", "POST", action(0, mark=mark()))
    assert refused.status == 507
    assert "fewer --voxels" in refused.sentence
    assert ask(port, "/api/marks", "POST", action(0, mark=mark())).status == 200


@pytest.mark.parametrize("path", ["/api/marks", "/api/undo", "/api/export", "/api/events?since=0&surface=100"])
def test_a_page_of_another_session_is_refused_and_one_of_this_session_is_not(
    port: int, session: SmallSession, tmp_path: Path, path: str
) -> None:
    own = ask(port, "/api/state").content["key"]
    with serving(session, tmp_path / "elsewhere") as other:
        theirs = ask(other.port, "/api/state").content["key"]
    method, body = ("GET", None) if "events" in path else ("POST", action(1, mark=mark()))
    for key in (theirs, "", "ü"):
        refused = ask(port, path, method, body, {SESSION_HEADER: key})
        assert refused.status == 412
        assert "found that another session is open" in refused.sentence
    assert (session.revision, list(tmp_path.iterdir())) == (0, [])
    session.num_voxels = 300  # so that events do not wait
    assert ask(port, path, method, body, {SESSION_HEADER: own}).status == (400 if "undo" in path else 200)
