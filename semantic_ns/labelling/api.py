"""What each address of the server answers, over a session. No sockets: a path and a body in, an answer out."""

import base64
import dataclasses
import errno
import hashlib
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.labelling.access import session_refusal
from semantic_ns.labelling.answers import (
    Answer,
    array_answer,
    confidence_layer,
    error_answer,
    inline,
    jpeg,
    json_answer,
    label_layer,
)
from semantic_ns.labelling.class_api import class_change, listed_classes
from semantic_ns.labelling.export_api import ExportApi
from semantic_ns.labelling.field import FieldFollower
from semantic_ns.labelling.field_api import SOURCES, FieldApi
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.journal import JournalWriteError
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.placed_marks import PlacedMarks, file_stamp
from semantic_ns.labelling.question_api import UNITS, QuestionApi
from semantic_ns.labelling.ranking_api import RankingApi
from semantic_ns.labelling.requests import Body, RequestError
from semantic_ns.labelling.segment_api import SegmentApi
from semantic_ns.labelling.view import View

if TYPE_CHECKING:
    from semantic_ns.labelling.questions import QuestionFolder
    from semantic_ns.prediction.point_segmenter import PointSegmenter

LONGEST_WAIT_S = 25.0
"""Time after which a request for events is answered although there is none."""
_LOOK_AGAIN_S = 0.5
"""How often a waiting request looks for what no request changed: a finer surface that has been swapped in."""
_MAX_WAITING = 64
"""Requests for events that wait; further ones are answered at once."""
_THUMBNAIL_PX = 192
_NUM_IMAGES = 64
_NUM_THUMBNAILS = 2048
_FRAME = re.compile(r"/api/frame/([0-9]{1,9})/([a-z]+)")
_BESIDE_SURFACE = (
    "The mark lies where the run shows no surface, such as the sky: it counts for its own pixels, and does not spread."
)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

Query = Mapping[str, str]


class LabelApi:
    """Answers requests about a session.

    Args:
        session: The session.
        name: Name of the scene, which the page shows.
        exports: Folder below which exports get folders of their own.
        questions: Questions of a run, if one asks.
        field: The field whose classes follow the labels, if one does.
        segmenter: The networks that propose masks, if there are any.
    """

    def __init__(
        self,
        session: SessionLike,
        name: str,
        exports: Path,
        questions: "QuestionFolder | None" = None,
        field: FieldFollower | None = None,
        segmenter: "PointSegmenter | None" = None,
    ) -> None:
        self._session = session
        self._questions = QuestionApi(questions, session)
        self._field = FieldApi(field, session)
        self._segments = SegmentApi(segmenter, session)
        ranking = RankingApi(session)
        self._name = name
        self._exports = exports
        self._changed = threading.Condition()
        self._num_waiting = 0
        self._is_closed = False
        self._image = lru_cache(_NUM_IMAGES)(lambda frame: jpeg(session.color(frame)))
        self._thumbnail = lru_cache(_NUM_THUMBNAILS)(lambda frame: jpeg(session.color(frame), _THUMBNAIL_PX))
        frames = [(frame.name, frame.height, frame.width) for frame in session.frames]
        # Browsers keep pictures for a week: of others at the same place they must not.
        files = [file_stamp(frame.image) for frame in session.frames]
        self._images_key = hashlib.sha256(repr((str(exports.absolute()), frames, files)).encode()).hexdigest()[:16]
        self._placed = PlacedMarks(session)
        # A copy of the marks elsewhere is another session.
        parts = (session.identity, str(exports.absolute())), (frames, [*session.frame_numbers])
        self._key = "-".join(hashlib.sha256(repr(part).encode()).hexdigest()[:16] for part in parts)
        self._gets: dict[str, Callable[[Query], Answer]] = {
            "/api/state": self._state,
            "/api/ranked": ranking.frames,
            "/api/ranked_regions": ranking.regions,
            "/api/events": self._events,
            "/api/cameras": self._cameras,
            "/api/questions": self._questions.listed,
            "/api/others": self._last_of_others,
        }
        self._layers: dict[str, Callable[[int, Query], Answer]] = {
            "image": self._picture,
            "labels": lambda frame, _: self._array(lambda: self._labels(frame)),
            "confidence": lambda frame, _: self._array(lambda: confidence_layer(session.confidence(frame))),
            "painted": lambda frame, _: self._array(lambda: session.painted(frame)),
            "regions": lambda frame, _: self._array(lambda: session.regions(frame)),
            "ranked": ranking.region,
            "field": self._field.layer,
        }
        self._posts: dict[str, Callable[[Body], Answer]] = {
            "/api/marks": self._add_mark,
            "/api/undo": self._undo,
            "/api/redo": lambda body: self._act(body, session.redo),
            "/api/classes": self._change_classes,
            "/api/import": self._switch_import,
            "/api/answer": lambda body: self._act(body, lambda *who: self._questions.answer(body, *who)),
            "/api/export": ExportApi(session, exports, self._field).export,
            "/api/run": self._field.save,
            "/api/field": self._field.change,
            "/api/view": self._view,
            "/api/segment": self._segments.propose,
        }

    def get(self, path: str, query: Query, session_key: str | None = None) -> Answer:
        """Answer a request that changes nothing, of the page of a session if it says of which."""
        return self._answered(lambda: self._got(path, query), session_key)

    def post(self, path: str, body: bytes, session_key: str | None = None) -> Answer:
        """Answer a request that changes the session; it is on the disk when this returns."""
        return self._answered(lambda: self._posted(path, body), session_key)

    def close(self) -> None:
        """Answer all that wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _answered(self, answer: Callable[[], Answer], session_key: str | None) -> Answer:
        refusal = session_refusal(session_key, self._key)
        if refusal is not None:
            return error_answer(refusal, HTTPStatus.PRECONDITION_FAILED)
        try:
            return answer()
        except RequestError as error:
            return error_answer(error.sentence, error.status)
        except SceneError as error:
            return error_answer(str(error), _status(error))
        except OSError as error:
            sentence = f"The session cannot be written ({error.strerror or error}); nothing was changed."
            return error_answer(sentence, _status(error))
        except MemoryError:
            sentence = (
                "Expected enough memory to spread the labels, found too little; end sns-label and start with fewer "
                "--voxels."
            )
            return error_answer(sentence, HTTPStatus.INSUFFICIENT_STORAGE)

    def _got(self, path: str, query: Query) -> Answer:
        match = _FRAME.fullmatch(path)
        if match and match[2] in self._layers:
            return self._layers[match[2]](self._frame(int(match[1])), query)
        if path in self._gets:
            return self._gets[path](query)
        if asked := UNITS.fullmatch(path):
            return self._questions.units(asked[1])
        raise self._unknown(path, self._posts, "POST")

    def _posted(self, path: str, body: bytes) -> Answer:
        if path not in self._posts:
            raise self._unknown(path, self._gets, "GET")
        return self._posts[path](Body.read(body))

    @staticmethod
    def _unknown(path: str, others: Mapping[str, Any], method: str) -> RequestError:
        if path in others:
            return RequestError(f"Expected {method} for this address.", HTTPStatus.METHOD_NOT_ALLOWED)
        return RequestError("There is nothing at this address.", HTTPStatus.NOT_FOUND)

    def _frame(self, frame: int) -> int:
        last = len(self._session.frames) - 1
        if frame > last:
            raise RequestError(f"Expected a frame from 0 to {last}, found {frame}.", HTTPStatus.NOT_FOUND)
        return frame

    def _picture(self, frame: int, query: Query) -> Answer:
        if query.get("key", self._images_key) != self._images_key:  # browsers would keep it as the picture of another
            raise RequestError("Expected other pictures than this session has; reload.", HTTPStatus.PRECONDITION_FAILED)
        return (self._thumbnail if query.get("size") == "small" else self._image)(frame)

    def _array(self, values: Callable[[], Any]) -> Answer:
        revision = self._session.revision  # before the values, which may be newer and not older
        return array_answer(values(), revision)

    def _labels(self, frame: int) -> Any:
        return label_layer(self._session.labels(frame), self._session.painted(frame))

    # State

    def _state(self, _: Query) -> Answer:
        content = {"scene": self._name, "key": self._key, "images_key": self._images_key, **self._placed.listed()}
        offers = {"has_questions": self._questions.are_there, "has_segmenter": self._segments.is_there}
        return json_answer({**content, **offers, **self._summary()})

    def _summary(self) -> dict[str, Any]:
        session = self._session
        revision, progress, imported = session.revision, session.progress(), session.imported
        return {
            "revision": revision,
            "surface": progress.surface_key,
            "classes": listed_classes(session),
            "progress": dataclasses.asdict(progress),
            "marked_frames": session.marked_frames(),
            "import": imported and {"name": imported.name, "is_on": imported.is_on},
            "field": self._field.summary(),
        }

    def _events(self, query: Query) -> Answer:
        since = query.get("since", "")
        if not re.fullmatch("[0-9]{1,15}", since):
            raise RequestError("Expected the number of a revision as 'since' in the address.")
        self._wait(int(since), query.get("surface"), query.get("field"))
        summary = self._summary()  # before the frames, of which there may be more by then, and not less
        is_known = int(since) <= self._session.revision and query.get("surface") == summary["surface"]
        return json_answer({**summary, "changed_frames": self._changed_frames(int(since) if is_known else -1)})

    def _changed_frames(self, since: int) -> list[int]:
        return list(range(len(self._session.frames))) if since < 0 else self._session.changed_frames(since)

    def _wait(self, since: int, surface: str | None, field: str | None) -> None:
        """Wait until the session has another revision, or another surface or state of the field than the page knows."""
        surface = self._surface() if surface is None else surface
        with self._changed:
            if self._num_waiting >= _MAX_WAITING:
                return
            self._num_waiting += 1
            try:
                for _ in range(round(LONGEST_WAIT_S / _LOOK_AGAIN_S)):
                    if self._is_closed or self._session.revision != since or surface != self._surface():
                        return
                    if field is not None and field != (self._field.summary() or {}).get("key"):
                        return
                    self._changed.wait(_LOOK_AGAIN_S)
            finally:
                self._num_waiting -= 1

    def _surface(self) -> str:
        return self._session.progress().surface_key

    # The free view

    def _cameras(self, _: Query) -> Answer:
        surface = self._session.surface
        heights = [frame.height for frame in self._session.frames]
        angles = [
            2 * math.atan(0.5 * height / fy) for height, fy in zip(heights, surface.intrinsics[:, 1], strict=True)
        ]
        return json_answer({"c2w": surface.c2w.reshape(-1, 12).tolist(), "vertical_fov": angles})

    def _seen(self, body: Body) -> View:
        return self._session.view(*_pose_and_size(body))

    def _view(self, body: Body) -> Answer:
        revision, seen = self._session.revision, self._seen(body)
        color = base64.b64encode(jpeg(seen.color).body).decode("ascii")
        is_said = body.optional_choice("source", SOURCES) == "field"
        labels, confidence = self._field.seen_as(seen) if is_said else (seen.labels, confidence_layer(seen.confidence))
        layers = {"labels": inline(labels), "confidence": inline(confidence)}
        return json_answer({"revision": revision, "color": color, **layers})

    # Actions

    def _act(
        self,
        body: Body,
        action: Callable[[str, int], Any],
        frames: Sequence[int] | None = None,
        notice: Callable[[Any], str | None] = lambda _: None,
        adds_class: bool = False,
    ) -> Answer:
        """Run an action of a client and a sequence, and answer with what the page shows next.

        What is painted can change in some frames alone, if they are given. `notice` gives what else people are to be
        told of what the action gives. One that `adds_class` is answered with the id of the class.
        """
        show = body.optional_integer("show")
        show = None if show is None else self._frame(show)
        with_confidence = body.truth("with_confidence")
        since = body.optional_integer("since")
        made = action(body.client, body.sequence)
        self._questions.update(frames)
        content = {**self._summary(), "notice": notice(made)}
        if adds_class:
            content["added"] = self._session.class_added_by(body.client, body.sequence)
        if since is not None:
            content["changed_frames"] = self._changed_frames(since if since <= content["revision"] else -1)
        if show is not None:
            content |= {"frame": show, "labels": inline(self._labels(show))}
            if with_confidence:
                content["confidence"] = inline(confidence_layer(self._session.confidence(show)))
        with self._changed:  # only now: who acted is answered first
            self._changed.notify_all()
        return json_answer(content)

    def _undo(self, body: Body) -> Answer:
        of = body.optional_integer("revision")
        return self._act(body, lambda client, sequence: self._session.undo(client, sequence, of))

    def _last_of_others(self, query: Query) -> Answer:
        """What somebody who has nothing left to take back may take back of others."""
        found = self._session.last_of_others(query.get("client", ""))
        revision, what = (None, None) if found is None else found
        return json_answer({"revision": revision, "what": what})

    def _add_mark(self, body: Body) -> Answer:
        values, view = body.mapping("mark"), body.part("view")
        added_by = body.optional_integer("added_by")
        if added_by is not None:  # the page did not know the id yet when it was drawn
            values = {**values, "class_id": self._session.class_added_by(body.client, added_by)}
        mark = Mark.from_json(values)
        self._placed.refuse_elsewhere(body, mark, is_on_view=view is not None)
        if view is not None:
            mark = self._session.mark_on_view(mark, *_pose_and_size(view))
        notice = self._notice_beside_surface if mark.action == "paint" else lambda _: None
        return self._act(body, lambda *who: self._session.add_mark(mark, *who), mark.frames, notice)

    def _notice_beside_surface(self, revision: int) -> str | None:
        return None if self._session.spreads(revision) else _BESIDE_SURFACE

    def _change_classes(self, body: Body) -> Answer:
        change, is_new = class_change(body, self._session)
        return self._act(body, change, adds_class=is_new)

    def _switch_import(self, body: Body) -> Answer:
        is_on = body.truth("is_on")
        return self._act(body, lambda *who: self._session.switch_import(is_on, *who))


def _pose_and_size(body: Body) -> tuple[np.ndarray, float, int, int]:
    """Pose, vertical angle of view, height and width of a picture of the surface."""
    with np.errstate(over="ignore"):  # what does not fit is refused as not finite
        pose = np.array(body.numbers("pose", 12), np.float32).reshape(3, 4)
    return pose, body.number("vertical_fov"), body.integer("height"), body.integer("width")


def _status(error: Exception) -> HTTPStatus:
    """A sentence is about the request, unless the disk stands behind it."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError):  # of an action without one the session has ended, and it is sent once more
        return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, JournalWriteError) else HTTPStatus.BAD_REQUEST
    return HTTPStatus.INSUFFICIENT_STORAGE if cause.errno in _FULL_DISK else HTTPStatus.INTERNAL_SERVER_ERROR
