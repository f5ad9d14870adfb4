"""Marks on the surface of `label_surfaces`, and what a session shows of them."""

import numpy as np

from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession

FRAMES = 3
WALL, LAMP = 3, 7
"""Ids of the two classes."""


def click(frame: int, class_id: int | None, x: float, y: float, radius: float = 2, action: str = "paint") -> Mark:
    shape = {"kind": "click", "x": x, "y": y, "radius": radius}
    return Mark.from_json({"frame": frame, "class_id": class_id, "shape": shape, "action": action})


def everything(session: LabelSession) -> list[np.ndarray]:
    shown = (session.labels, session.confidence, session.painted)
    return [show(frame) for frame in range(FRAMES) for show in shown]


def are_equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(bool((a == b).all()) for a, b in zip(first, second, strict=True))
