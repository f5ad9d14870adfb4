"""Read a scene format that the package does not know.

The format of this example is a folder with

    cameras.txt       one line per frame: name of the image, then the 16 numbers of camera-to-world, row by row
    images/NAME       colour; the camera is OpenCV's, the world is metric with z up
    labels/NAME.png   label image with ids, where a frame has one
    classes.csv       class table: id,name

A dataparser turns it into a `PosedScene`, which gives nerfstudio the cameras and the package the labels. To make it a
word of `ns-train`, name a `DataParserSpecification` of its configuration in the pyproject.toml of your package, under
`[project.entry-points."nerfstudio.dataparser_configs"]`. Then `ns-eval` and the other commands can load the run as
well: they import the dataparser from where it was defined, which cannot be a script.

    python examples/02_custom_dataparser.py --data FOLDER      # or without --data: on the bundled scene in this format
"""

import argparse
import copy
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.plugins.registry import discover_methods
from nerfstudio.scripts.train import main as train

from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.posed_scene import Intrinsics, PosedFrame, PosedScene
from semantic_ns.dataparsers.splits import SplitOptions, split_frames
from semantic_ns.geometry import poses
from semantic_ns.labels.class_table import ClassTable

BUNDLED_SCENE = Path(__file__).resolve().parent.parent / "scripts" / "demo_scene"


@dataclass
class CamerasTxtDataParserConfig(DataParserConfig):
    """A folder with cameras.txt, images, labels and classes.csv."""

    _target: type = field(default_factory=lambda: CamerasTxtDataParser)
    data: Path = Path()
    """Folder of the scene."""
    hfov_degrees: float = 90.0
    """Horizontal field of view; pixels are square, and the principal point is the middle of the image."""
    eval_interval: int = 8
    """Every how many frames one is scored."""


@dataclass
class CamerasTxtDataParser(DataParser):
    """Reads the frames once, and gives each split its share of them."""

    config: CamerasTxtDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _generate_dataparser_outputs(self, split: str = "train", **_: Any) -> DataparserOutputs:
        return read_scene(self.config).outputs(split)


def read_frames(folder: Path) -> tuple[PosedFrame, ...]:
    """The frames of cameras.txt, numbered by their line."""
    frames = []
    for number, line in enumerate((folder / "cameras.txt").read_text().splitlines()):
        name, *numbers = line.split()
        label = folder / "labels" / f"{Path(name).stem}.png"
        frames.append(
            PosedFrame(
                image=folder / "images" / name,
                label=label if label.is_file() else None,
                depth=None,
                label_export_name=f"labels/{label.name}",
                id=number,
                pose_name=f"line {number + 1} of cameras.txt",
                c2w_opencv=np.array(numbers, np.float64).reshape(4, 4),
            )
        )
    return tuple(frames)


def read_scene(config: CamerasTxtDataParserConfig) -> PosedScene:
    """Frames, camera, classes and split of a folder; the checks raise a `SceneError` that says what is wrong."""
    frames = read_frames(config.data)
    c2w = np.stack([frame.c2w_opencv for frame in frames])
    poses.check_poses(c2w, [frame.pose_name for frame in frames])
    width, height = size = scene.common_image_size([frame.image for frame in frames])
    focal = width / 2 / np.tan(np.radians(config.hfov_degrees) / 2)
    split = SplitOptions("interval", config.eval_interval)
    return PosedScene(
        frames=frames,
        intrinsics=Intrinsics(fx=focal, fy=focal, cx=width / 2, cy=height / 2, size=size),
        # The classes are fixed over all label images, before splitting.
        classes=scene.read_classes(frames, size, ClassTable.load(config.data / "classes.csv"), config.data),
        label_map=None,
        split=split_frames([frame.id for frame in frames], split, str(config.data)),
        similarity=poses.centre_and_scale(c2w, margin_m=1.0),
        depth_metres_per_unit=0.001,
    )


def write_from_replica(replica: Path, folder: Path) -> Path:
    """Copy the first sequence of a scene in Replica's layout into the format of this example."""
    sequence = replica / "Sequence_1"
    c2w = np.loadtxt(sequence / "traj_w_c.txt")
    lines = []
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for image in sorted(sequence.glob("rgb/rgb_*"), key=lambda path: int(path.stem.split("_")[1])):
        number = int(image.stem.split("_")[1])
        shutil.copy(image, folder / "images" / f"{number:04d}{image.suffix}")
        shutil.copy(sequence / f"semantic_class/semantic_class_{number}.png", folder / "labels" / f"{number:04d}.png")
        lines.append(f"{number:04d}{image.suffix} " + " ".join(f"{value:.9f}" for value in c2w[number]))
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    table = ClassTable.load("replica")
    rows = [f"{entry.id},{entry.name}" for entry in table.entries]
    (folder / "classes.csv").write_text("\n".join(["id,name", "0,void", *rows]) + "\n")
    return folder


def train_on(data: Path, output: Path, steps: int | None) -> Path:
    """Train `semantic-nerf` on a scene of this format; returns the path of the run's config.yml."""
    methods, _ = discover_methods()
    config: Any = copy.deepcopy(methods["semantic-nerf"])
    config.output_dir = output
    config.experiment_name = "custom-dataparser"
    config.vis = "tensorboard"
    config.pipeline.datamanager.dataparser = CamerasTxtDataParserConfig(data=data)
    if steps is not None:
        config.max_num_iterations = steps
    train(config)
    return config.get_base_dir() / "config.yml"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on a scene of this format, and print where the run lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the scene")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--steps", type=int, help="length of the run; by default that of the method")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data or write_from_replica(BUNDLED_SCENE, Path(temporary) / "scene")
        print(f"Run: {train_on(data, options.output, options.steps)}")


if __name__ == "__main__":
    main()
