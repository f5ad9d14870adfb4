"""What the address of exports answers; no sockets."""

from contextlib import nullcontext, suppress
from http import HTTPStatus
from pathlib import Path

from semantic_ns.labelling.answers import Answer, json_answer
from semantic_ns.labelling.export import remove_leftovers, reserved_folder
from semantic_ns.labelling.field_api import SOURCES, FieldApi
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body, RequestError


class ExportApi:
    """Answers requests to export.

    Args:
        session: The session.
        exports: Folder below which exports get folders of their own.
        field: What the field says, if one follows.
    """

    def __init__(self, session: SessionLike, exports: Path, field: FieldApi) -> None:
        self._session, self._exports, self._field = session, exports, field
        remove_leftovers(exports)

    def export(self, body: Body) -> Answer:
        """Write label images, and COCO annotations and a point cloud if they are wanted, into a new folder."""
        name, least, painted_only = body.folder("folder"), body.share("least_confidence"), body.truth("painted_only")
        coco, is_said = body.truth("coco"), body.optional_choice("source", SOURCES) == "field" and not painted_only
        points = body.truth("points")
        folder = reserved_folder(self._exports, name, "labels")
        if folder is None:
            raise RequestError(
                f"Expected the name of a new folder, found {name}, which exists; choose another.", HTTPStatus.CONFLICT
            )
        try:
            with self._field.saying() if is_said else nullcontext() as said:
                files = self._session.export(folder, least, painted_only, coco, said, points)
        except BaseException:
            with suppress(OSError):
                folder.rmdir()  # it is empty, unless everything was written
            raise
        # In full: who reads it in a browser does not know where the server was started.
        return json_answer({"folder": str(folder.absolute()), "num_files": len(files)})
