"""A small scene in nerfstudio's format, as a person would write it, to be brought into other forms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from PIL import Image

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset

CLASSES = ("wall", "floor", "ceiling", "box")
NUM_FRAMES = 9
WIDTH, HEIGHT = 24, 16
FOCAL = 20.0
Content = dict[str, Any]


def labels_of(index: int) -> ndarray:
    """The ids of frame `index`, uint8 [16, 24]: wall above, floor below, a box that moves, and no ceiling."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[10:] = 1
    ids[6:12, 4 + index : 10 + index] = 3
    return ids


def pose_of(index: int, num_frames: int = NUM_FRAMES) -> ndarray:
    """OpenGL camera to world of frame `index`, on a circle, looking at its middle."""
    angle = 2 * np.pi * index / num_frames
    backward = np.array([np.cos(angle), np.sin(angle), 0.3])
    backward /= np.linalg.norm(backward)
    right = np.cross([0, 0, 1], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(backward, right), backward], axis=1)
    pose[:3, 3] = 2 * backward + [0.1, 0.2, 0.3]
    return pose


def write_scene(folder: Path, num_frames: int = NUM_FRAMES) -> Path:
    """Write the scene: images/frame_<i>.png, semantics/frame_<i>.png and transforms.json."""
    for name in ("images", "semantics"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    frames = []
    for index in range(num_frames):
        name = f"frame_{index}.png"
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / "images" / name)
        Image.fromarray(labels_of(index)).save(folder / "semantics" / name)
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose_of(index, num_frames).tolist()})
    camera = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    content = {"camera_model": "OPENCV", **camera, "semantic_classes": list(CLASSES), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def rewrite(folder: Path, change: Callable[[Content], object], name: str = "transforms.json") -> None:
    """Change the content of the json file in place."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def each_frame(folder: Path, change: Callable[[int, Content], object]) -> None:
    """Change every frame in the json file, given its place and its entry."""
    rewrite(folder, lambda content: [change(index, entry) for index, entry in enumerate(content["frames"])])


def each_file(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    """Do something with every file of a folder of the scene."""
    for path in sorted((folder / name).iterdir()):
        change(path)


def load(data: Path, split: str = "train", **options: Any) -> SemanticDataset:
    """One split of a scene, recognised by the default dataparser, with depth."""
    outputs = AutoDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)
    return SemanticDataset(outputs, load_depth=True)


def number_of(dataset: SemanticDataset, index: int) -> int:
    """The number in the name of an image."""
    return int(dataset.image_filenames[index].stem.rpartition("_")[2])


def check_labels(dataset: SemanticDataset) -> None:
    """Each frame has the labels that were made for it, and no other."""
    assert list(dataset.taxonomy.names) == ["wall", "floor", "box"]
    for index in range(len(dataset)):
        expected = np.searchsorted((0, 1, 3), labels_of(number_of(dataset, index)))
        np.testing.assert_array_equal(dataset.labels_of(index), expected)
