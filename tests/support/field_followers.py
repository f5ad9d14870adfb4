"""A field that follows a small session, by a process that stands in for the training."""

import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labelling.field import FieldFollower
from semantic_ns.labelling.marks import Mark
from support.label_server import mark
from support.label_session import SmallSession

STRIDE = 4
WORKER = """
import json, os, sys
from pathlib import Path
import numpy as np
log = Path(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    with log.open("a") as file:
        file.write(line)
    number = len([one for one in log.read_text().splitlines() if f'"do": "{asked["do"]}"' in one])
    if asked["do"] == "begin":
        said = {"stride": 4, "shape": [3, 12, 16]}
        BEGIN
    elif asked["do"] == "train":
        TRAIN
        labels = np.load(asked["targets"])["labels"]
        labels = np.where(labels < 0, 3, labels)  # it has something to say of every pixel
        np.savez(asked["to"], labels=labels.astype(np.int16), confidence=np.full(labels.shape, 204, np.uint8))
        said = {"seconds": 1.5}
    elif asked["do"] == "render":
        RENDER
        first, end = asked["rows"]
        labels = np.full((end - first, 64), asked["frame"], np.int16)
        np.savez(asked["to"], labels=labels, confidence=np.full(labels.shape, 51, np.uint8))
        said = {"seconds": 0.5}
    else:
        Path(asked["folder"]).mkdir()
        said = {"path": asked["folder"] + "/config.yml"}
    print(json.dumps(said), flush=True)
"""


class Followers:
    """Makes fields that follow a session, and ends them."""

    def __init__(self, session: SmallSession, folder: Path) -> None:
        self.session, self.folder, self.made = session, folder, []
        self.log = folder / "asked.jsonl"

    def __call__(self, **changed: str) -> FieldFollower:
        text = WORKER
        for name in ("BEGIN", "TRAIN", "RENDER"):
            text = text.replace(name, changed.get(name, "pass"))
        (self.folder / "worker.py").write_text(textwrap.dedent(text))
        command = [sys.executable, str(self.folder / "worker.py"), str(self.log)]
        config = self.folder / "runs" / "one" / "config.yml"
        config.parent.mkdir(parents=True, exist_ok=True)
        self.made.append(FieldFollower(self.session, config, self.folder / "field", command))
        return self.made[-1]

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


class Watched(SmallSession):
    """Counts how often the field looks whether there is something to learn."""

    num_looks = 0

    @property
    def surface(self) -> Any:
        self.num_looks += 1
        return None


def has_followed(field: FieldFollower, revision: int) -> Callable[[], bool]:
    return lambda: field.state.state == "ready" and field.state.revision == revision


def post(session: SmallSession, number: int, **changes: Any) -> None:
    session.add_mark(Mark.from_json(mark(**changes)), "one", number)


def of_request(does: Callable[[], Any]) -> Any:
    """What another thread is answered, or the sentence that it is refused with; fails where it hangs."""
    found: list[Any] = []

    def ask_for_it() -> None:
        try:
            found.append(does())
        except SceneError as error:
            found.append(str(error))

    thread = threading.Thread(target=ask_for_it, daemon=True)
    thread.start()
    thread.join(60)
    assert found, "it hangs"
    return found[0]


NO_ROOM = 'print(json.dumps({"error": "Expected room, found none."}), flush=True); continue'
