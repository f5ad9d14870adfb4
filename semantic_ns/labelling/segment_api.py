"""What the address of proposed masks answers; no sockets."""

from typing import TYPE_CHECKING

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.labelling.answers import Answer, inline, json_answer
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body, RequestError

if TYPE_CHECKING:
    from semantic_ns.prediction.point_segmenter import PointSegmenter

_MAX_POINTS = 100


class SegmentApi:
    """Answers requests for masks of what lies at points of a frame.

    Args:
        segmenter: The networks; None if there are none.
        session: The session.
    """

    def __init__(self, segmenter: "PointSegmenter | None", session: SessionLike) -> None:
        self._segmenter, self._session = segmenter, session

    @property
    def is_there(self) -> bool:
        """Whether there are networks."""
        return self._segmenter is not None

    def propose(self, body: Body) -> Answer:
        """The mask at some points, which counts for nothing until it is sent as a mark; without points, prepare."""
        if self._segmenter is None:
            raise SceneError("Expected a network that segments, found none; start with --segmenter.")
        frame, points = body.integer("frame"), body.points("points", _MAX_POINTS)
        if frame >= len(self._session.frames):
            raise RequestError(f"Expected a frame from 0 to {len(self._session.frames) - 1}, found {frame}.")
        color = self._session.color(frame)
        if not points:
            self._segmenter.prepare(frame, color)
            return json_answer({"frame": frame})
        mask = self._segmenter.mask(frame, color, points)
        if not mask.any():
            raise SceneError("Expected something at that place, found that the network sees nothing; point elsewhere.")
        runs = encode_coco(mask)["counts"]
        return json_answer({"frame": frame, "runs": runs, "mask": inline(mask.astype(np.uint8))})
