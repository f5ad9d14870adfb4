"""What the addresses of ranked frames and regions answer; no sockets."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from semantic_ns.labelling.answers import Answer, array_answer, json_answer
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import RequestError

Query = Mapping[str, str]


class RankingApi:
    """Answers requests about what is most worth looking at next.

    Args:
        session: The session.
    """

    def __init__(self, session: SessionLike) -> None:
        self._session = session

    def frames(self, _: Query) -> Answer:
        """All frames in the order of their ranks."""
        return self._ranked(self._session.ranked_frames)

    def regions(self, _: Query) -> Answer:
        """The regions that are most worth looking at, in the order of their ranks."""
        return self._ranked(self._session.ranked_regions)

    def _ranked(self, rank: Callable[[], Sequence[Any]]) -> Answer:
        revision = self._session.revision  # before: an action meanwhile makes the ranks old, and not new
        return json_answer({"revision": revision, "ranked": [dataclasses.asdict(one) for one in rank()]})

    def region(self, frame: int, query: Query) -> Answer:
        """Whether each pixel of a frame shows the region at the place of `x` and `y` in the address."""
        x, y = (_coordinate(query, name) for name in "xy")
        revision = self._session.revision
        return array_answer(self._session.ranked_region_at(frame, x, y).astype(np.uint8), revision)


def _coordinate(query: Query, name: str) -> float:
    try:
        value = float(query.get(name, ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RequestError(f"Expected the pixel of a place as '{name}' in the address, such as {name}=12.5.")
    return value
