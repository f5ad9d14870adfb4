"""Masks that are proposed for a click: over the API, and in the page."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.labelling.requests import Body
from semantic_ns.labelling.segment_api import SegmentApi
from semantic_ns.labelling.server import LabelServer
from semantic_ns.prediction.point_segmenter import PointSegmenter
from support.label_page import CONTROL, NO_BROWSER, ON_FLOOR, ON_SOFA, SOFA, LabelPage, shapes
from support.label_server import ask, serving, wait_until
from support.label_session import SmallSession
from support.segmenters import write_pair


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> PointSegmenter:
    return PointSegmenter(write_pair(tmp_path_factory.mktemp("pair"), side=160))


@pytest.fixture
def session() -> SmallSession:
    return SmallSession(num_frames=3)


@pytest.fixture
def server(session: SmallSession, segmenter: PointSegmenter, tmp_path: Path) -> Iterator[LabelServer]:
    with serving(session, tmp_path / "exports", segmenter=segmenter) as running:
        yield running


def test_a_mask_is_proposed_and_counts_for_nothing(server: LabelServer, session: SmallSession) -> None:
    asked = {"frame": 0, "points": [[*ON_SOFA, True]]}
    reply = ask(server.port, "/api/segment", "POST", asked)
    mask = decode_coco(reply.content["runs"], session.width, session.height)
    row, column = int(ON_SOFA[1]), int(ON_SOFA[0])
    assert mask[row, column]
    assert 0.05 < mask.mean() < 0.5
    assert (session.revision, session.marks) == (0, [])
    assert ask(server.port, "/api/segment", "POST", {"frame": 1, "points": []}).content == {"frame": 1}
    assert ask(server.port, "/api/state").content["has_segmenter"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"points": [[1, 2, True]]}, "'frame'"),
        ({"frame": 3, "points": []}, "frame from 0 to 2"),
        ({"frame": 0}, "points (x, y"),
        ({"frame": 0, "points": [[1, 2]]}, "points (x, y"),
        ({"frame": 0, "points": [[1, True, True]]}, "points (x, y"),
        ({"frame": 0, "points": [[1, 1e7, True]]}, "points (x, y"),
        ({"frame": 0, "points": [[1, 1, True]] * 101}, "at most 100 points"),
    ],
)
def test_wrong_requests_are_refused_with_a_sentence(server: LabelServer, body: object, expected: str) -> None:
    reply = ask(server.port, "/api/segment", "POST", body)
    assert (reply.status, expected in reply.sentence) == (400, True)


def test_without_networks_the_page_offers_nothing(session: SmallSession, tmp_path: Path) -> None:
    with serving(session, tmp_path / "exports") as server:
        assert not ask(server.port, "/api/state").content["has_segmenter"]
        assert "start with --segmenter" in ask(server.port, "/api/segment", "POST", {"frame": 0, "points": []}).sentence


class SlowSegmenter:
    """Prepares a frame when it is let, and remembers which."""

    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.may_go_on = threading.Semaphore(0)

    def prepare(self, key: int, color: np.ndarray) -> None:
        self.prepared.append(key)
        assert self.may_go_on.acquire(timeout=60)
        if key == 0:
            raise SceneError("Expected a network, found one that fails.")


def test_of_frames_that_are_stepped_through_the_first_and_the_last_are_prepared(session: SmallSession) -> None:
    """Each request is answered at once: none waits for the one frame that is being prepared."""
    slow = SlowSegmenter()
    api = SegmentApi(cast(Any, slow), session)
    for frame in (0, 1, 2, 1):
        body = Body.read(json.dumps({"frame": frame, "points": []}).encode())
        assert json.loads(api.propose(body).body) == {"frame": frame}
    slow.may_go_on.release(2)
    wait_until(lambda: not api.is_preparing)
    assert slow.prepared == [0, 1]
    api.propose(body)
    slow.may_go_on.release()
    wait_until(lambda: not api.is_preparing)
    assert slow.prepared == [0, 1, 1]


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_asks_to_prepare_the_frame_that_is_looked_at_and_none_that_is_passed(
    one_page: LabelPage, server: LabelServer
) -> None:
    one_page.open(server.address)
    page = one_page.page
    page.value(
        "(() => { const { store } = snsLabel, ask = store.ask.bind(store); window.prepared = []; store.ask = (path,"
        " body, ...rest) => { if (path === '/api/segment') prepared.push(body.frame);"
        " return ask(path, body, ...rest); }; })()"
    )
    one_page.keys("m")
    page.value("[1, 2, 1, 2].forEach((frame) => snsLabel.goTo(frame))")
    page.wait_until("prepared.length")
    assert page.value("prepared") == [2]


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_a_mask_is_shown_before_it_counts_and_accepted_or_dropped(
    one_page: LabelPage, server: LabelServer, session: SmallSession, segmenter: PointSegmenter
) -> None:
    one_page.open(server.address)
    page, choose = one_page.page, f"document.querySelector('#classes li:nth-child({SOFA + 1}) button').click()"
    page.value(choose)
    one_page.keys("m")
    expected = segmenter.mask("test", session.color(0), [(*ON_SOFA, True)])

    def click(place: tuple[float, float]) -> None:
        one_page.stroke(place)

    click(ON_SOFA)
    page.wait_until("snsLabel.segments.proposal && !snsLabel.segments.isWaiting")
    assert session.marks == []
    assert page.value("snsLabel.segments.proposal.mask.reduce((sum, one) => sum + one, 0)") == int(expected.sum())
    one_page.keys("Escape")
    assert page.value("snsLabel.segments.proposal") is None
    click(ON_SOFA)
    page.wait_until("snsLabel.segments.proposal && !snsLabel.segments.isWaiting")
    one_page.keys("Enter")
    one_page.wait_until_saved()
    (shape,) = shapes(session)
    assert (decode_coco(shape["runs"], session.width, session.height) == expected).all()
    click(ON_FLOOR)  # beside the mask, so that it is another one
    page.wait_until("snsLabel.segments.proposal && !snsLabel.segments.isWaiting")
    assert len(session.marks) == 1
    click(ON_FLOOR)
    one_page.wait_until_saved()
    page.wait_until("snsLabel.store.state.revision === 2")
    assert page.value("snsLabel.segments.proposal") is None
    one_page.keys("z", modifiers=CONTROL)
    page.wait_until("snsLabel.store.state.revision === 3")
    assert (session.labels(0)[expected] == SOFA).all()
    assert len(session.marks) == 1
    assert set(np.unique(session.labels(0)).tolist()) <= {-1, SOFA}


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_without_networks_the_page_has_no_such_tool(one_page: LabelPage, session: SmallSession, tmp_path: Path) -> None:
    with serving(session, tmp_path / "exports") as server:
        one_page.open(server.address)
        one_page.keys("m")
        assert one_page.page.value("snsLabel.tool.shape") == "stroke"
        assert one_page.page.value("document.querySelector('[data-tool=segment]').offsetParent === null")
