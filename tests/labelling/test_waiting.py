"""While a surface is trained: what the page is told, the pictures that it gets, and the page for labelling after it."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.io.writing import write_json
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.server import LabelServer
from semantic_ns.labelling.waiting import PAGE, WaitingApi
from semantic_ns.viewer.view_requests import ASKED, CAMERAS, picture_path
from support.label_page import NO_BROWSER, LabelPage
from support.label_server import TOKEN, ask
from support.label_session import SmallSession

VIEW = {"pose": [1, 0, 0, 0, 0, 0, -1, 0.5, 0, 1, 0, 1], "vertical_fov": 1.0, "height": 24, "width": 32}
COLORS = ((200, 10, 10), (10, 200, 10), (10, 10, 200))


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """What a training with three images writes before its first step."""
    images = []
    for number, color in enumerate(COLORS):
        images.append(tmp_path / f"{number}.png")
        Image.new("RGB", (64, 48), color).save(images[-1])
    folder = tmp_path / "views"
    poses = [[1, 0, 0, x, 0, 0, -1, 0, 0, 1, 0, 1] for x in range(3)]
    content = {"images": [str(path) for path in images], "c2w": poses, "vertical_fov": [1.0] * 3, "aspect": 4 / 3}
    write_json(folder / CAMERAS, content)
    return folder


@contextmanager
def training(views: Path) -> Iterator[list[dict[str, Any]]]:
    """A training that answers each request with one grey of the number of the request; gives what it was asked."""
    asked: list[dict[str, Any]] = []
    is_over = threading.Event()

    def answer() -> None:
        while not is_over.wait(0.005):
            if (views / ASKED).is_file():
                request = json.loads((views / ASKED).read_text("utf8"))
                if not asked or asked[-1]["number"] != request["number"]:
                    asked.append(request)
                    picture = Image.new("RGB", (request["width"], request["height"]), (request["number"],) * 3)
                    picture.save(views / "new", "JPEG")
                    (views / "new").rename(picture_path(views, request["number"]))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield asked
    finally:
        is_over.set()
        thread.join()


@contextmanager
def waiting(api: WaitingApi) -> Iterator[LabelServer]:
    server = LabelServer(api, TOKEN, port=0, page=PAGE)
    server.serve_in_background()
    try:
        yield server
    finally:
        server.release()


def test_the_share_is_that_of_the_steps_or_of_the_time_whichever_is_nearer_to_the_end(tmp_path: Path) -> None:
    api = WaitingApi("room", tmp_path, 1e9)
    assert (api.state()["share"], api.state()["step"], api.state()["has_cameras"]) == (0, 0, False)
    api.progress(200, 0.1)
    assert (api.state()["share"], api.state()["step"]) == (0.1, 200)
    assert "being trained" in api.state()["sentence"]
    late = WaitingApi("room", tmp_path, 1e-9)
    late.progress(200, 0.1)
    assert late.state()["share"] == 1
    api.end_training("Voxels are made.")
    assert (api.state()["share"], api.state()["sentence"]) == (1, "Voxels are made.")


def test_pictures_are_those_of_the_poses_that_are_asked_for_one_after_the_other(views: Path) -> None:
    with waiting(WaitingApi("room", views, 60.0)) as server, training(views) as asked:
        for number in (1, 2, 3):
            reply = ask(server.port, "/api/waiting/view", "POST", {**VIEW, "vertical_fov": 0.5 * number})
            assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
            with Image.open(io.BytesIO(reply.body)) as picture:
                assert picture.size == (32, 24)
                assert np.abs(np.asarray(picture).astype(int) - number).max() <= 2
    assert [one["vertical_fov"] for one in asked] == [0.5, 1.0, 1.5]
    assert all(one["pose"] == VIEW["pose"] for one in asked)


def test_images_are_shown_by_their_number_and_no_browser_keeps_them(views: Path) -> None:
    with waiting(WaitingApi("room", views, 60.0)) as server:
        assert ask(server.port, "/api/waiting/cameras").content["images"] == 3
        for number, color in enumerate(COLORS):
            for size in ("", "&size=small"):
                reply = ask(server.port, f"/api/waiting/image?number={number}{size}")
                assert reply.headers["cache-control"] == "no-store"
                with Image.open(io.BytesIO(reply.body)) as image:
                    assert np.abs(np.asarray(image).astype(int) - color).max() <= 8


@pytest.mark.parametrize("number", ["3", "-1", "", "x", "1.0", "²", "../0", "9" * 30])
def test_other_numbers_of_images_are_refused(views: Path, number: str) -> None:
    api = WaitingApi("room", views, 60.0)
    assert api.get("/api/waiting/image", {"number": number}).status == 400


@pytest.mark.parametrize(
    "change",
    [{"pose": [0] * 11}, {"pose": [1e9] * 12}, {"vertical_fov": 0}, {"vertical_fov": "1"}, {"height": 0},
     {"width": 9999}, {"width": 1.5}, {"height": None}],
)  # fmt: skip
def test_what_is_no_picture_is_refused_and_not_asked_for(views: Path, change: dict[str, Any]) -> None:
    api = WaitingApi("room", views, 60.0)
    assert api.post("/api/waiting/view", json.dumps(VIEW | change).encode()).status == 400
    assert not (views / ASKED).exists()


def test_before_the_training_has_begun_and_elsewhere_there_is_a_sentence(tmp_path: Path) -> None:
    api = WaitingApi("room", tmp_path / "views", 60.0)
    for answer, status in (
        (api.get("/api/waiting/cameras", {}), 503),
        (api.get("/api/state", {}), 404),
        (api.post("/api/marks", b"{}"), 404),
        (api.post("/api/marks", b"{}", "key of a session that is gone"), 412),
        (api.get("/api/events", {"since": "0"}, "key of a session that is gone"), 412),
        (api.post("/api/waiting/view", b"no"), 400),
    ):
        assert answer.status == status
        assert json.loads(answer.body)["error"].startswith("Expected ")


def test_who_waits_for_a_picture_is_answered_when_the_training_has_ended(views: Path) -> None:
    api, answers = WaitingApi("room", views, 60.0), []
    thread = threading.Thread(target=lambda: answers.append(api.post("/api/waiting/view", json.dumps(VIEW).encode())))
    thread.start()
    api.close()
    thread.join(10)
    assert [answer.status for answer in answers] == [503]


def test_after_the_training_no_picture_is_waited_for(views: Path) -> None:
    api = WaitingApi("room", views, 60.0)
    api.end_training("Voxels are made.")
    answer = api.post("/api/waiting/view", json.dumps(VIEW).encode())
    assert answer.status == 503
    assert b"makes no step now" in answer.body


def test_images_of_16_bits_are_as_bright_as_those_of_8(views: Path) -> None:
    content = json.loads((views / CAMERAS).read_text("utf8"))
    Image.fromarray(np.full((20, 30), 128 * 257, np.uint16)).save(content["images"][0])
    shown = WaitingApi("room", views, 60.0).get("/api/waiting/image", {"number": "0"})
    with Image.open(io.BytesIO(shown.body)) as image:
        assert np.abs(np.asarray(image).astype(int) - 128).max() <= 2


def test_the_server_hands_over_to_a_session_at_the_same_address(views: Path, tmp_path: Path) -> None:
    with waiting(WaitingApi("room", views, 60.0)) as server:
        address, before = server.address, ask(server.port, "/").body
        assert b"waiting.js" in before
        assert ask(server.port, "/api/state").status == 404
        assert ask(server.port, "/api/waiting", bearer=None).status == 401
        server.hand_over(LabelApi(SmallSession(), "a scene", tmp_path / "exports"))
        assert server.address == address
        assert b"label.js" in ask(server.port, "/").body
        assert ask(server.port, "/api/state").status == 200
        assert ask(server.port, "/api/waiting").status == 404


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_shows_images_and_the_surface_and_becomes_the_one_for_labelling(
    one_page: LabelPage, views: Path, tmp_path: Path
) -> None:
    api, page = WaitingApi("my room", views, 1e9), one_page.page
    with waiting(api) as server, training(views) as asked:
        page.call("Page.navigate", url=server.address)
        page.wait_until("globalThis.snsWaiting?.cameras && document.querySelectorAll('#strip img').length === 3")
        assert one_page.text("scene") == "my room"
        api.progress(500, 0.25)
        page.wait_until("document.getElementById('numbers').textContent.includes('Step 500')")
        assert page.value("document.getElementById('share').value") == pytest.approx(0.25)
        page.value("document.querySelectorAll('#strip button')[2].click()")
        assert page.value("document.getElementById('picture').src").endswith("/api/waiting/image?number=2")
        one_page.keys("w")
        page.wait_until("document.getElementById('picture').src.startsWith('blob:') && !snsWaiting.isBusy")
        one_page.keys("d")
        page.wait_until("snsWaiting.position[0] > 2.01 && !snsWaiting.isBusy")
        poses = np.array([one["pose"] for one in asked]).reshape(-1, 3, 4)
        forward, right = poses[0, :, 3] - [2, 0, 1], poses[-1, :, 3] - poses[0, :, 3]
        assert forward @ -poses[0, :, 2] == pytest.approx(np.linalg.norm(forward))
        assert right @ poses[0, :, 0] == pytest.approx(np.linalg.norm(right))
        assert max(asked[0]["width"], asked[0]["height"]) == 192
        assert asked[0]["width"] / asked[0]["height"] == pytest.approx(4 / 3, rel=0.01)
        page.value("snsWaiting.isLooking = false; clearTimeout(snsWaiting.timer)")
        server.hand_over(LabelApi(SmallSession(), "a scene", tmp_path / "exports"))
        with contextlib.suppress(RuntimeError):  # what is evaluated while a page goes has no value
            page.wait_until("!globalThis.snsWaiting")
        one_page.wait_until_ready()
        assert one_page.text("scene") == "a scene"
