"""A small scene for each reader of scenes, and what becomes of a scene that is read whole."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.synthetic_scene import write_replica_scene
from support import hypersim_scene, scannet_scene
from support.arkit_scene import as_arkit_scenes
from support.colmap_scene import as_colmap
from support.hand_made_scene import CLASSES, HEIGHT, WIDTH, each_frame, rewrite, write_scene

NUM_FRAMES = 5
Write = Callable[[Path], Path]
"""Writes a scene somewhere in a folder and returns what `--data` names."""


def transforms(folder: Path) -> Path:
    """A `transforms.json` with depth, masks, lists of files, sparse points and lens distortion."""
    scene = write_scene(folder / "scene", NUM_FRAMES)
    for name in ("depth", "masks"):
        (scene / name).mkdir()
    for index in range(NUM_FRAMES):
        Image.fromarray(np.full((HEIGHT, WIDTH), 1500, np.uint16)).save(scene / f"depth/{index}.png")
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(scene / f"masks/{index}.png")
    each_frame(scene, lambda i, e: e.update(depth_file_path=f"depth/{i}.png", mask_path=f"masks/{i}.png"))
    names = [f"images/frame_{i}.png" for i in range(NUM_FRAMES)]
    rewrite(scene, lambda content: content.update(train_filenames=names[1:], val_filenames=names[:1], k1=0.01))
    rewrite(scene, lambda content: content.update(semantic_void_id=255, applied_scale=1.0, ply_file_path="points.ply"))
    (scene / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n0 0 0 1 2 3\n"
    )
    return scene


def split_files(folder: Path) -> Path:
    """A file per split, as nerf_synthetic has them, and classes as CSV."""
    scene = write_scene(folder / "scene", NUM_FRAMES)
    content = json.loads((scene / "transforms.json").read_text())
    (scene / "transforms.json").unlink()
    for split, frames in (("train", content["frames"][1:]), ("test", content["frames"][:1])):
        (scene / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 1.1, "frames": frames}))
    (scene / "classes.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    return scene


def scannetpp(folder: Path) -> Path:
    """ScanNet++: images apart from the json file, which lists test frames of its own."""
    scene = write_scene(folder / "written", NUM_FRAMES)
    content = json.loads((scene / "transforms.json").read_text())
    frames = [{**frame, "file_path": Path(frame["file_path"]).name} for frame in content["frames"]]
    content.update(frames=frames[1:], test_frames=frames[:1])
    (folder / "scene/dslr/nerfstudio").mkdir(parents=True)
    (folder / "scene/dslr/nerfstudio/transforms.json").write_text(json.dumps(content))
    (scene / "images").rename(folder / "scene/dslr/resized_images")
    (scene / "semantics").rename(folder / "scene/dslr/nerfstudio/semantics")
    shutil.rmtree(scene)
    return folder / "scene"


def arkit_scenes(folder: Path) -> Path:
    """ARKitScenes: a trajectory, a file of intrinsics per image, and depth."""
    written = write_scene(folder / "written", NUM_FRAMES)
    scene = as_arkit_scenes(written, folder / "41069021")
    shutil.rmtree(written)
    return scene


def colmap(binary: bool) -> Write:
    """A COLMAP model with sparse points and lists of the splits."""

    def write(folder: Path) -> Path:
        scene = as_colmap(write_scene(folder / "scene", NUM_FRAMES), binary=binary)
        names = [f"frame_{i}.png" for i in range(NUM_FRAMES)]
        (scene / "train_list.txt").write_text("\n".join(names[1:]))
        (scene / "test_list.txt").write_text(names[0])
        return scene

    return write


def replica(folder: Path) -> Path:
    """Semantic-NeRF's Replica layout."""
    return write_replica_scene(folder / "scene", num_frames=NUM_FRAMES, width=24, height=16)


def scannet(folder: Path) -> Path:
    """Exported folders of a ScanNet scan, and its table of labels."""
    return scannet_scene.write_scan(folder, scannet_scene.record(NUM_FRAMES))


def sens(folder: Path) -> Path:
    """A scan with its `.sens` file in place of colour, depth and poses."""
    recording = scannet_scene.record(NUM_FRAMES)
    scan = scannet_scene.write_scan(folder, recording)
    for name in ("color", "depth", "pose", "intrinsic", "instance-filt"):
        shutil.rmtree(scan / name)
    scannet_scene.write_sens(scan / f"{scan.name}.sens", recording)
    return scan


def hypersim(folder: Path) -> Path:
    """HDF5 files of a Hypersim scene and its table of cameras."""
    return hypersim_scene.write_hypersim_scene(folder)


SAMPLES: dict[str, Write] = {
    "transforms": transforms,
    "split files": split_files,
    "scannetpp": scannetpp,
    "arkit scenes": arkit_scenes,
    "colmap text": colmap(binary=False),
    "colmap binary": colmap(binary=True),
    "replica": replica,
    "scannet": scannet,
    "sens": sens,
    "hypersim": hypersim,
}


def outcome(scene: Path) -> str:
    """The sentence, or `right` if every image, label and depth of both splits can be had; anything else fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser = AutoDataParserConfig(data=scene).setup()
            for split in ("train", "val"):
                dataset = SemanticDataset(parser.get_dataparser_outputs(split), load_depth=True)
                assert dataset.cameras.camera_to_worlds.isfinite().all()
                for index in range(len(dataset)):
                    item = dataset[index]
                    labels = item["semantics"][..., 0]
                    assert item["image"].shape[:2] == labels.shape
                    assert -1 <= int(labels.min()) <= int(labels.max()) < dataset.taxonomy.num_classes
                    assert item["depth_image_m"].isfinite().all() if "depth_image_m" in item else True
        except SceneError as error:
            message = str(error)
            assert message.startswith("Expected "), message
            assert "found" in message, message
            assert "\n" not in message, message
            assert len(message) < 10_000, message
            return message
    return "right"
