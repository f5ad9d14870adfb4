"""A labelling server on a real port, and a client of it."""

import base64
import contextlib
import http.client
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.server import LabelServer

TOKEN = "test-token-test-token-test-token"


@contextlib.contextmanager
def serving(
    session: Any, exports: Path, port: int = 0, questions: Any = None, field: Any = None, segmenter: Any = None
) -> Iterator[LabelServer]:
    """A server that answers until the block ends."""
    server = LabelServer(LabelApi(session, "a scene", exports, questions, field, segmenter), TOKEN, port=port)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def sentence(self) -> str:
        assert self.content.keys() == {"error"}
        return self.content["error"]


def ask(
    port: int,
    path: str,
    method: str = "GET",
    body: Any = None,
    headers: dict[str, str] | None = None,
    bearer: str | None = TOKEN,
) -> Reply:
    """One request on a connection of its own; a body that is no bytes is sent as JSON."""
    given = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    if body is not None:
        given["Content-Type"] = "application/json"
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {**given, **(headers or {})})
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def mark(frame: int = 0, class_id: int | None = 0, x: float = 20.0, y: float = 20.0, **changes: Any) -> dict[str, Any]:
    """A stroke of one point."""
    shape = {"kind": "stroke", "points": [[x, y]], "radius": 4.0}
    return {"frame": frame, "class_id": class_id, "action": "paint", "shape": shape, **changes}


def action(sequence: int, client: str = "one", **parts: Any) -> dict[str, Any]:
    """The body of a request that changes something."""
    return {"client": client, "sequence": sequence, **parts}


def inline_array(text: str, dtype: str, session: Any) -> ndarray:
    """Rows of a frame in a JSON answer."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)
    return values.reshape(-1, session.frames[0].width)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for another process, for as long as it may take on a busy machine."""
    pause = threading.Event()
    for _ in range(6000):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")
