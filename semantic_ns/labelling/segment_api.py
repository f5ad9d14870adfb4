"""What the address of proposed masks answers; no sockets."""

import threading
from contextlib import suppress
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

    Attributes:
        is_preparing: Whether a frame is being prepared in the background.
    """

    def __init__(self, segmenter: "PointSegmenter | None", session: SessionLike) -> None:
        self._segmenter, self._session = segmenter, session
        self._guard = threading.Lock()
        self._wanted: int | None = None
        self.is_preparing = False

    @property
    def is_there(self) -> bool:
        """Whether there are networks."""
        return self._segmenter is not None

    def propose(self, body: Body) -> Answer:
        """The mask at some points, which counts for nothing until it is sent as a mark.

        Without points the answer comes at once, and the frame is prepared in the background, unless another one is
        wanted before its turn.
        """
        if self._segmenter is None:
            raise SceneError("Expected a network that segments, found none; start with --segmenter.")
        frame, points = body.integer("frame"), body.points("points", _MAX_POINTS)
        if frame >= len(self._session.frames):
            raise RequestError(f"Expected a frame from 0 to {len(self._session.frames) - 1}, found {frame}.")
        if not points:
            self._prepare(self._segmenter, frame)
            return json_answer({"frame": frame})
        mask = self._segmenter.mask(frame, self._session.color(frame), points)
        if not mask.any():
            raise SceneError("Expected something at that place, found that the network sees nothing; point elsewhere.")
        runs = encode_coco(mask)["counts"]
        return json_answer({"frame": frame, "runs": runs, "mask": inline(mask.astype(np.uint8))})

    def _prepare(self, segmenter: "PointSegmenter", frame: int) -> None:
        """Prepare a frame once the one that is being prepared is done; of those that wait, the last one counts."""
        with self._guard:
            self._wanted = frame
            if self.is_preparing:
                return
            self.is_preparing = True
        threading.Thread(target=self._prepare_wanted, args=(segmenter,), daemon=True).start()

    def _prepare_wanted(self, segmenter: "PointSegmenter") -> None:
        while True:
            with self._guard:
                frame, self._wanted = self._wanted, None
                if frame is None:
                    self.is_preparing = False
                    return
            with suppress(Exception):  # the click for which it is prepared meets the same, and tells it
                segmenter.prepare(frame, self._session.color(frame))
