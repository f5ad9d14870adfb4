"""What the server answers while the surface of a scene is trained: how far it is, and pictures to look at."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import is_hdf5
from semantic_ns.io.images import opened_color_image, read_hdr_image, to_8_bit_color
from semantic_ns.io.text import read_json
from semantic_ns.io.tone_mapping import image_exposure, tone_map, trajectory_exposure
from semantic_ns.labelling.access import session_refusal
from semantic_ns.labelling.answers import Answer, error_answer, jpeg, json_answer
from semantic_ns.labelling.requests import Body, RequestError
from semantic_ns.viewer.view_requests import CAMERAS, ViewRequest, picture_path

PAGE = "waiting.html"
_MOST_SIDE = 256
"""Pixels of a side of a picture: it is rendered by the training, which waits for it."""
_MOST_UNITS = 1e6
_PATIENCE_S, _LOOK_S = 20.0, 0.02
_NUM_IMAGES, _NUM_THUMBNAILS = 8, 400
_IMAGE_PX, _THUMBNAIL_PX = 1024, 160


class WaitingApi:
    """Answers requests of the page that waits.

    Args:
        name: Name of the scene, which the page shows.
        views: Folder in which pictures of the training are asked for, see `viewer.view_requests`.
        limit_s: Longest time of the training, seconds.

    Attributes:
        views: That folder.
    """

    def __init__(self, name: str, views: Path, limit_s: float) -> None:
        self.views = views
        self._name, self._limit_s = name, limit_s
        self._step, self._share, self._began_at = 0, 0.0, None
        self._sentence = "The training of the surface starts."
        self._one = threading.Lock()
        self._number = 0
        self._is_trained = self._is_closed = False
        self._decoding = threading.Lock()
        self._content: dict[str, Any] | None = None
        self._image = lru_cache(_NUM_IMAGES)(lambda number: self._jpeg(number, _IMAGE_PX))
        self._thumbnail = lru_cache(_NUM_THUMBNAILS)(lambda number: self._jpeg(number, _THUMBNAIL_PX))
        self._gets: dict[str, Callable[[Mapping[str, str]], Answer]] = {
            "/api/waiting": lambda _: json_answer(self.state()),
            "/api/waiting/cameras": lambda _: self._shown_cameras(),
            "/api/waiting/image": self._shown_image,
        }
        self._posts: dict[str, Callable[[Body], Answer]] = {"/api/waiting/view": self._view}

    def progress(self, step: int, share: float) -> None:
        """Note how far the training is.

        Args:
            step: The step.
            share: The share of all steps, 0..1.
        """
        if self._began_at is None:
            self._began_at = time.monotonic()
        self._step, self._share, self._sentence = step, share, "The surface is being trained."

    def end_training(self, sentence: str) -> None:
        """Note what is done after the training, and ask it for no picture any more."""
        self._sentence, self._share, self._is_trained = sentence, 1.0, True

    def state(self) -> dict[str, Any]:
        """How far it is: of all steps, or of the longest time, whichever is nearer to the end."""
        seconds = 0.0 if self._began_at is None else time.monotonic() - self._began_at
        share = max(self._share, min(1.0, seconds / self._limit_s))
        return {
            "name": self._name,
            "sentence": self._sentence,
            "step": self._step,
            "share": share,
            "seconds": round(seconds),
            "limit_s": self._limit_s,
            "has_cameras": (self.views / CAMERAS).is_file(),
        }

    def get(self, path: str, query: Mapping[str, str], session_key: str | None = None) -> Answer:
        """Answer a request that changes nothing; pages of sessions are told to wait."""
        return self._told_to_wait(session_key) or self._answered(self._gets, path, query)

    def post(self, path: str, body: bytes, session_key: str | None = None) -> Answer:
        """Answer a request for a picture; pages of sessions are told to wait."""
        told = self._told_to_wait(session_key)
        if told is not None:
            return told
        try:
            read = Body.read(body)
        except RequestError as error:
            return error_answer(error.sentence, error.status)
        return self._answered(self._posts, path, read)

    def close(self) -> None:
        """Answer all that wait."""
        self._is_closed = True

    @staticmethod
    def _told_to_wait(session_key: str | None) -> Answer | None:
        refusal = session_refusal(session_key, None)
        return None if refusal is None else error_answer(refusal, HTTPStatus.PRECONDITION_FAILED)

    def _answered(self, answers: Mapping[str, Callable[[Any], Answer]], path: str, asked: Any) -> Answer:
        if path not in answers:
            return error_answer("Expected an address of the waiting page, found another one.", HTTPStatus.NOT_FOUND)
        try:
            return answers[path](asked)
        except RequestError as error:
            return error_answer(error.sentence, error.status)
        except (SceneError, OSError, ValueError) as error:
            return error_answer(str(error), HTTPStatus.SERVICE_UNAVAILABLE)

    def _cameras(self) -> dict[str, Any]:
        if self._content is not None:
            return self._content
        if not (self.views / CAMERAS).is_file():
            raise SceneError("Expected the cameras of the scene, found that the training has not begun yet; wait.")
        self._content = content = read_json(self.views / CAMERAS)
        return content

    def _shown_cameras(self) -> Answer:
        """The cameras, and in the place of the paths of the images their number."""
        cameras = self._cameras()
        return json_answer({**cameras, "images": len(cameras["images"])})

    def _shown_image(self, query: Mapping[str, str]) -> Answer:
        images, text = self._cameras()["images"], query.get("number", "")
        if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(images)):
            raise RequestError(f"Expected the number of one of {len(images)} images.")
        return (self._thumbnail if query.get("size") == "small" else self._image)(int(text))

    def _jpeg(self, number: int, longest_side: int) -> Answer:
        with self._decoding:  # one at a time, beside a training
            made = jpeg(_read_color(Path(self._cameras()["images"][number]), longest_side), longest_side)
        return Answer(made.body, made.kind)  # no browser keeps it: another scene may follow at this address

    def _view(self, body: Body) -> Answer:
        """A picture of the surface as it is now, from any pose; one is rendered at a time."""
        pose = [float(value) for value in body.numbers("pose", 12)]
        fov, height, width = body.number("vertical_fov"), body.integer("height"), body.integer("width")
        if not (max(map(abs, pose)) < _MOST_UNITS and 0.01 < fov < 3.1):
            raise RequestError("Expected a pose of finite numbers and an angle of view between 0.01 and 3.1.")
        if not (1 <= height <= _MOST_SIDE and 1 <= width <= _MOST_SIDE):
            raise RequestError(f"Expected a picture of 1 to {_MOST_SIDE} pixels a side, found {width}x{height}.")
        with self._one:
            self._number += 1
            path = picture_path(self.views, self._number)
            ViewRequest(self._number, pose, fov, height, width).ask(self.views)
            deadline = time.monotonic() + _PATIENCE_S
            while not path.is_file():
                if self._is_trained or self._is_closed or time.monotonic() > deadline:
                    raise SceneError("Expected a picture of the training, found that it makes no step now; wait.")
                time.sleep(_LOOK_S)
            return Answer(path.read_bytes(), "image/jpeg")


def _read_color(path: Path, longest_side: int) -> UInt8[ndarray, "height width 3"]:
    """The colours of an image of a scene, at least of a size that is shown."""
    if is_hdf5(path):
        linear = read_hdr_image(path)
        return tone_map(linear, trajectory_exposure([image_exposure(linear, np.isfinite(linear).all(axis=-1))]))
    with opened_color_image(path) as image:
        image.draft("RGB", (2 * longest_side, 2 * longest_side))  # a large JPEG is decoded at less than its size
        return np.asarray(to_8_bit_color(image).convert("RGB"))
