"""What the addresses about the classes of the field answer; no sockets."""

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Int16, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labelling.answers import Answer, array_answer, inline, json_answer
from semantic_ns.labelling.classes import as_final
from semantic_ns.labelling.export import unused_folder
from semantic_ns.labelling.field import FieldFollower, FieldLabels
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body, RequestError
from semantic_ns.labelling.shown import Said
from semantic_ns.labelling.view import View

SOURCES = ("voxels", "field")
"""Whose classes are wanted: those that marks have spread to, or those that the field has learned from them."""


class FieldApi:
    """Answers requests about the field.

    Args:
        follower: The field; None where none follows.
        session: The session.
    """

    def __init__(self, follower: FieldFollower | None, session: SessionLike) -> None:
        self._follower, self._session = follower, session

    def summary(self) -> dict[str, Any] | None:
        """How far the field is, and a key that changes with it; None where none follows."""
        if self._follower is None:
            return None
        state = self._follower.state
        sentence = zlib.crc32((state.sentence or "").encode())
        return {**asdict(state), "key": f"{state.version}-{state.state}-{sentence}"}

    def layer(self, frame: int, query: Mapping[str, str]) -> Answer:
        """What the field says of each pixel of a frame: class ids, or with `part` confidence how sure it is, 0..255.

        At once it is what is known of every n-th pixel. With `row` both are rendered of some rows from that one on, as
        many as take a fraction of a second: pages ask for the next ones then, and for none if nobody looks any more.
        """
        said, info = self._said(), self._session.frames[frame]
        if "row" in query:
            return self._rows(frame, query["row"])
        part = query.get("part") == "confidence"
        layer = said.of_frame(said.confidence if part else said.labels, frame, info.height, info.width)
        return array_answer(layer if part else self._as_final(layer), self._state_revision())

    def _rows(self, frame: int, row: str) -> Answer:
        last = self._session.frames[frame].height - 1
        if not re.fullmatch("[0-9]{1,9}", row) or int(row) > last:
            raise RequestError(f"Expected a row from 0 to {last} as 'row' in the address.")
        labels, confidence = self._given().render_rows(frame, int(row))
        return json_answer({"labels": inline(self._as_final(labels)), "confidence": inline(confidence)})

    def seen_as(self, seen: View) -> tuple[Int16[ndarray, "height width"], UInt8[ndarray, "height width"]]:
        """What the field says of the training pixels that a picture shows: class ids, and how sure it is, 0..255."""
        labels, confidence = self._said().at(seen.pixels)
        return self._as_final(labels), confidence

    @contextmanager
    def saying(self) -> Iterator[Said]:
        """A function that gives what the field says of each pixel of a frame, rendered at its full size.

        Until the block ends the field learns nothing, so that all frames are said by one training. Class ids are those
        of the training: classes may be merged, and others may come, before the last frame is rendered.

        Raises:
            SceneError: from the function, if the process of the field ended meanwhile, so that it was trained anew.
        """
        follower = self._given()
        with follower.holding() as version:

            def of_frame(frame: int) -> tuple[ndarray, ndarray]:
                labels, confidence = follower.render(frame)
                if follower.state.version != version:
                    raise SceneError(
                        "Expected one training of the field to say all frames, found that it was trained anew "
                        "meanwhile; export again."
                    )
                return labels, confidence.astype(np.float32) / 255

            yield of_frame

    def save(self, body: Body) -> Answer:
        """Write the field as a run of its own, in a new folder beside its run."""
        name, follower = body.folder("folder"), self._given()
        config = follower.save(unused_folder(follower.runs, "labelled") if name is None else follower.runs / name)
        return json_answer({"config": str(config)})

    def change(self, body: Body) -> Answer:
        """Let the field follow again after it has failed."""
        body.choice("action", ("begin-again",))
        self._given().begin_again()
        return json_answer({"field": self.summary()})

    def _given(self) -> FieldFollower:
        if self._follower is None:
            raise SceneError("Expected a field that follows the labels, found none; start with a run and --field True.")
        return self._follower

    def _said(self) -> FieldLabels:
        said = self._given().labels
        if said is None:
            raise SceneError(
                "Expected classes of the field, found that it has not been trained on the labels yet; wait until it is."
            )
        return said

    def _state_revision(self) -> int:
        return self._given().state.revision or 0

    def _as_final(self, labels: ndarray) -> ndarray:
        return as_final(labels, self._session.classes)
