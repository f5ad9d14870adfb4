"""A run that asks in a folder, and a session that answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.folder_oracle import FolderOracle
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.surface import FrameInfo
from support.hand_made_scene import HEIGHT, WIDTH, load, write_scene
from support.label_server import action
from support.label_session import SmallSession

FIRST = "round-00_frame-0000"


class Asked:
    """A run that asks about the left and the right half of its first image, and about the whole of its second one."""

    def __init__(self, tmp_path: Path) -> None:
        self.dataset = load(write_scene(tmp_path / "scene"))
        num_frames = len(self.dataset)
        halves = (np.arange(WIDTH) >= WIDTH // 2).astype(np.int32)[None].repeat(HEIGHT, axis=0)
        maps = [halves, *(np.full((HEIGHT, WIDTH), frame + 1, np.int32) for frame in range(1, num_frames))]
        frames = np.array([0, 0, *range(1, num_frames)], np.int32)
        sizes = np.array([HEIGHT * WIDTH // 2] * 2 + [HEIGHT * WIDTH] * (num_frames - 1))
        self.units = Units(maps, frames, sizes, np.ones(num_frames + 1, np.int64))
        self.folder = tmp_path / "questions"
        self.oracle = FolderOracle(self.folder, self.units, self.dataset, {"strategy": "random"})
        self.pending = np.arange(3)
        self.oracle.ask(0, self.pending)

    def session(self) -> SmallSession:
        """A session of the same frames in another order, with classes of other ids, one of them unknown to the run."""
        names = frame_names(self.dataset)
        session = SmallSession(num_frames=len(names), height=HEIGHT, width=WIDTH)
        images = [Path(path) for path in self.dataset.image_filenames]
        frames = [FrameInfo(name, HEIGHT, WIDTH, image) for name, image in zip(names, images, strict=True)]
        session.frames = frames[::-1]
        titles = [*self.dataset.taxonomy.names, "unknown to the run"]
        session.classes = [LabelClass(20 + n, name.upper(), (n, 0, 0)) for n, name in enumerate(titles)]
        return session


def posting(asked: Asked, session: SmallSession, exports: Path) -> Callable[..., int]:
    """A function that sends an action with a number to a new server, and gives the status of its answer."""
    api = LabelApi(session, "scene", exports, QuestionFolder(asked.folder, session))

    def post(path: str, number: int, **parts: Any) -> int:
        return api.post(path, json.dumps(action(number, **parts)).encode()).status

    return post


def painted_box(session: SmallSession, class_id: int, left: float, right: float) -> dict:
    """A mark on some columns of the first image."""
    points = [[left, 0], [right, 0], [right, HEIGHT], [left, HEIGHT]]
    frame, shape = len(session.frames) - 1, {"kind": "polygon", "points": points}
    return {"frame": frame, "class_id": class_id, "action": "paint", "shape": shape}


def problem_of(asked: Asked, session: SmallSession) -> str | None:
    api = LabelApi(session, "scene", asked.folder, QuestionFolder(asked.folder, session))
    return json.loads(api.get("/api/questions", {}).body)["problem"]


def listed(asked: Asked, session: SmallSession) -> list[dict]:
    api = LabelApi(session, "scene", asked.folder, QuestionFolder(asked.folder, session))
    return json.loads(api.get("/api/questions", {}).body)["questions"]
