"""Small rooms for methods that know many scenes, and what can be taken away from them."""

import json
import shutil
from pathlib import Path
from typing import Any

from semantic_ns.synthetic_scene import write_nerfstudio_scene


def write_room(folder: Path, seed: int, num_frames: int = 5) -> Path:
    """A room of 48x36 pixels in nerfstudio's format, with depth, and labels of every frame."""
    return write_nerfstudio_scene(folder, num_frames=num_frames, seed=seed)


def change_transforms(room: Path, change: Any) -> Path:
    """Change the content of transforms.json."""
    path = room / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return room


def keep_labels(room: Path, *frames: int) -> Path:
    """Take the label images of all other frames away."""
    kept = {f"frame_{number:05d}.png" for number in frames}
    for path in (room / "semantics").iterdir():
        if path.name not in kept:
            path.unlink()

    def forget(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            if Path(frame["file_path"]).name not in kept:
                frame.pop("semantics_path", None)

    return change_transforms(room, forget)


def without_labels(room: Path) -> Path:
    """Take all label images and the class table away."""
    keep_labels(room)
    shutil.rmtree(room / "semantics")
    return change_transforms(room, lambda content: content.pop("semantic_classes"))


def without_depth(room: Path) -> Path:
    """Take depth away, and with it what makes the scale known."""

    def forget(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame.pop("depth_file_path", None)

    return change_transforms(room, forget)
