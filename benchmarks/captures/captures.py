"""The captures by name, and how they are written as scenes in nerfstudio's format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.captures import places, walks
from benchmarks.captures.walks import Poses
from semantic_ns.benchmark.runner.trials import BenchmarkScene
from semantic_ns.synthetic_scene import Content, View, make_trajectory, render_content, write_nerfstudio_views

WIDTH, HEIGHT = 160, 120
RAYS_PER_SIDE = 3
DEPTH_FACTOR = 1.3
"""What wrong depth is multiplied by."""


@dataclass(frozen=True)
class Capture:
    """Pictures of a place.

    Attributes:
        place: gives what there is to see.
        poses: gives the cameras.
        classes: names of the classes by id.
        hfov_degrees: horizontal field of view.
        depth_unit_m: what 1 means in depth images.
        wrong_depth: what is wrong with the depth of frames that train: scaled, of another frame, or nothing.
        interval: every n-th frame is scored, the others train.
    """

    place: Callable[[], Content]
    poses: Callable[[], Poses]
    classes: Mapping[int, str]
    hfov_degrees: float = 75.0
    depth_unit_m: float = 0.001
    wrong_depth: Literal["none", "scaled", "shuffled"] = "none"
    interval: int = 4

    def scored(self, num_frames: int) -> "np.ndarray":
        """Whether each frame is scored."""
        return np.arange(num_frames) % self.interval == 0

    def scene(self, folder: Path, name: str) -> BenchmarkScene:
        """The capture in a folder as a scene of a benchmark."""
        unit = ("--depth-unit-scale-factor", f"{self.depth_unit_m:g}")
        split = ("--eval-mode", "interval", "--eval-interval", str(self.interval))
        return BenchmarkScene(folder, name, ("nerfstudio-semantic-data", *split, *unit))


def _in_room(num_frames: int) -> Poses:
    return make_trajectory(num_frames, seed=1)


_ROOM = Capture(places.furnished_room, lambda: _in_room(40), places.ROOM_CLASSES)
CAPTURES: dict[str, Capture] = {
    "room": _ROOM,
    "outward": replace(_ROOM, poses=walks.outward),
    "inward": Capture(places.hall, walks.inward, places.HALL_CLASSES, hfov_degrees=60.0),
    # Depth images of 16 bits in millimetres end at 65 m.
    "outdoor": Capture(places.street, walks.along_street, places.STREET_CLASSES, depth_unit_m=0.01),
    "corridor": Capture(places.corridor, walks.along_corridor, places.CORRIDOR_CLASSES),
    "scaled_depth": replace(_ROOM, wrong_depth="scaled"),
    "shuffled_depth": replace(_ROOM, wrong_depth="shuffled"),
    # The other one is scored.
    "one_camera": replace(_ROOM, poses=lambda: _in_room(40)[:2], interval=2),
    "one_image": replace(_ROOM, poses=lambda: _in_room(40)[:1]),
}
"""The captures: `room` is what the others differ from."""


def render_capture(capture: Capture, width: int = WIDTH, height: int = HEIGHT) -> tuple[Poses, list[View]]:
    """Cameras and views of a capture; the sky has no depth."""
    poses, place = capture.poses(), capture.place()
    views = [
        _without_depth_of_sky(
            render_content(place, pose, width, height, capture.hfov_degrees, RAYS_PER_SIDE), capture.classes
        )
        for pose in poses
    ]
    return poses, spoiled(views, capture)


def _without_depth_of_sky(view: View, classes: Mapping[int, str]) -> View:
    skies = [number for number, name in classes.items() if name == "sky"]
    return replace(view, depth_m=np.where(np.isin(view.labels, skies), np.float32(0), view.depth_m))


def spoiled(views: list[View], capture: Capture) -> list[View]:
    """The views with the wrong depth of the capture, in frames that train alone: scores are against the true one."""
    trains = np.flatnonzero(~capture.scored(len(views)))
    found = list(views)
    shuffled = np.random.default_rng(0).permutation(trains)
    for index, other in zip(trains.tolist(), shuffled.tolist(), strict=True):
        if capture.wrong_depth == "scaled":
            found[index] = replace(views[index], depth_m=views[index].depth_m * np.float32(DEPTH_FACTOR))
        elif capture.wrong_depth == "shuffled":
            found[index] = replace(views[index], depth_m=views[other].depth_m)
    return found


def written_capture(name: str, folder: Path) -> BenchmarkScene:
    """The scene of a capture in a folder of its name, which is written unless it is there.

    Args:
        name: name of the capture.
        folder: folder of all captures.
    """
    capture, own = CAPTURES[name], folder / name
    if not (own / "transforms.json").is_file():  # written last
        poses, views = render_capture(capture)
        colors = np.random.default_rng(3).integers(40, 230, (len(capture.classes), 3)).tolist()
        classes = [
            {"id": number, "name": title, "color": color}
            for (number, title), color in zip(capture.classes.items(), colors, strict=True)
        ]
        write_nerfstudio_views(own, poses, views, classes, capture.hfov_degrees, capture.depth_unit_m)
    return capture.scene(own, name)
