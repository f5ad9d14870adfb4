"""What the addresses about the classes of the field answer; no sockets."""

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labelling.answers import Answer, array_answer, json_answer
from semantic_ns.labelling.export import unused_folder
from semantic_ns.labelling.field import FieldFollower, FieldLabels
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body
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
        self._lock = threading.Lock()
        self._last: tuple[tuple[int, int], tuple[ndarray, ndarray]] | None = None

    def summary(self) -> dict[str, Any] | None:
        """How far the field is, and a key that changes with it; None where none follows."""
        if self._follower is None:
            return None
        state = self._follower.state
        return {**asdict(state), "key": f"{state.version}-{state.state}"}

    def layer(self, frame: int, query: Mapping[str, str]) -> Answer:
        """What the field says of each pixel of a frame: class ids, or with `part` confidence how sure it is, 0..255.

        At once it is what is known of every n-th pixel; with `size` full it is rendered, which takes a second or so.
        """
        said, info = self._said(), self._session.frames[frame]
        part = query.get("part") == "confidence"
        if query.get("size") == "full":
            layer = self._rendered(frame, self._given().state.version)[part]
        else:
            layer = said.of_frame(said.confidence if part else said.labels, frame, info.height, info.width)
        return array_answer(layer if part else self._renamed(layer), self._state_revision())

    def _rendered(self, frame: int, version: int) -> tuple[ndarray, ndarray]:
        """Class ids and confidence of a frame, which pages ask for one after the other."""
        with self._lock:
            if self._last is None or self._last[0] != (frame, version):
                self._last = (frame, version), self._given().render(frame)
            return self._last[1]

    def labels_of(self, seen: View) -> Int16[ndarray, "height width"]:
        """What the field says of the training pixels that a picture of the surface shows."""
        return self._renamed(self._said().at(seen.pixels))

    def said(self) -> Said:
        """A function that gives what the field says of each pixel of a frame, rendered at its full size."""
        follower = self._given()
        self._said()

        def of_frame(frame: int) -> tuple[ndarray, ndarray]:
            labels, confidence = follower.render(frame)
            return self._renamed(labels), confidence.astype(np.float32) / 255

        return of_frame

    def save(self, body: Body) -> Answer:
        """Write the field as a run of its own, in a new folder beside its run."""
        name, follower = body.folder("folder"), self._given()
        config = follower.save(unused_folder(follower.runs, "labelled") if name is None else follower.runs / name)
        return json_answer({"config": str(config)})

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

    def _renamed(self, labels: ndarray) -> ndarray:
        """The same labels, with those of classes that were merged meanwhile as what they were merged into."""
        classes = {one.id: one.merged_into for one in self._session.classes}
        for number in np.unique(labels[labels >= 0]).tolist():
            final = number
            while final in classes and classes[final] is not None:
                final = classes[final]
            if final != number or final not in classes:
                labels = np.where(labels == number, np.int16(final if final in classes else -1), labels)
        return labels
