"""A hand-made scene in the form of ARKitScenes."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from support.hand_made_scene import CLASSES, FOCAL, HEIGHT, WIDTH

FIRST_S = 1000.5


def as_arkit_scenes(scene: Path, folder: Path, is_raw: bool = False) -> Path:
    """Write a scene with a `transforms.json` as a video `folder`, with an image more than there are poses.

    Images follow each other by 0.1 s. Poses lie up to 2 ms beside them and intrinsics 1 ms, as in the data set. The
    depth of image i is i + 1 m.
    """
    video = folder if is_raw else folder / f"{folder.name}_frames"
    for name in ("lowres_wide", "lowres_wide_intrinsics", "lowres_depth"):
        (video / name).mkdir(parents=True)
    lines = []
    frames = json.loads((scene / "transforms.json").read_text())["frames"]
    for index, frame in enumerate(frames):
        time = FIRST_S + 0.1 * index
        name = f"{folder.name}_{time:.3f}"
        shutil.copy(scene / frame["file_path"], video / f"lowres_wide/{name}.png")
        depth = np.full((HEIGHT, WIDTH), 1000 * (index + 1), np.uint16)
        Image.fromarray(depth).save(video / f"lowres_depth/{name}.png")
        camera = f"{WIDTH} {HEIGHT} {FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}"
        near = f"{folder.name}_{time + 0.001 * (index % 3 - 1):.3f}"
        (video / f"lowres_wide_intrinsics/{near}.pincam").write_text(camera)
        w2c = np.linalg.inv(np.array(frame["transform_matrix"]) * [1, -1, -1, 1])
        turn = Rotation.from_matrix(w2c[:3, :3]).as_rotvec()
        lines.append(" ".join(map(repr, map(float, (time + 0.002 * (index % 2), *turn, *w2c[:3, 3])))))
        label = scene / "semantics" / Path(frame["file_path"]).name
        if label.is_file():
            (folder / "semantics").mkdir(exist_ok=True)
            shutil.copy(label, folder / f"semantics/{name}.png")
    (video / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    shutil.copy(video / f"lowres_wide/{name}.png", video / f"lowres_wide/{folder.name}_{FIRST_S + 99:.3f}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder
