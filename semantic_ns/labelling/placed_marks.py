"""What a mark that waited in a page was drawn on: it is refused where that is not there any more. No sockets."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.requests import Body


class PlacedMarks:
    """Tells pages what their marks are on, and compares that with what is there when the marks come.

    Marks wait in a page while nobody answers, and the session may have been started again meanwhile. That they are on
    the right photo, the page sees to by the numbers of the frames, which stay.

    Args:
        session: The session.
    """

    def __init__(self, session: SessionLike) -> None:
        self._session = session
        self._pictures = [_short(repr(file_stamp(frame.image))) for frame in session.frames]

    def listed(self) -> dict[str, Any]:
        """The frames with their numbers and what tells their pictures, the cameras, and what people are to know."""
        frames = [
            {"name": one.name, "height": one.height, "width": one.width, "id": number, "picture": picture}
            for one, number, picture in zip(
                self._session.frames, self._session.frame_numbers, self._pictures, strict=True
            )
        ]
        return {"frames": frames, "cameras": self._cameras(), "notices": [*self._session.notices]}

    def refuse_elsewhere(self, body: Body, mark: Mark, is_on_view: bool) -> None:
        """Check that a mark is on what it was drawn on, if the page says what that was.

        Raises:
            SceneError: if it is of regions of another picture, or on a view of another surface.
        """
        picture, cameras = body.optional_text("picture"), body.optional_text("cameras")
        is_here = mark.frame < len(self._pictures) and picture == self._pictures[mark.frame]
        if mark.shape["kind"] == "region" and not is_on_view and picture is not None and not is_here:
            raise SceneError(
                "Expected regions of the photo as it is, found those of a photo whose file has changed since; fill "
                "them again."
            )
        if is_on_view and cameras is not None and cameras != self._cameras():
            raise SceneError(
                "Expected a mark on the surface as it is, found one on a free view of a surface that was trained anew "
                "since; draw it again."
            )

    def _cameras(self) -> str:
        surface = self._session.surface
        arrays = (np.ascontiguousarray(surface.c2w), np.ascontiguousarray(surface.intrinsics))
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def file_stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
