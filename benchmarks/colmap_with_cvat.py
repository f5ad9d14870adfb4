"""A labelled scene as a stranger would have it: a COLMAP model, and the labels as an export of CVAT beside it.

What people do with it is in `docs/results/data.md`: `sns-import-labels`, `ns-train`, `ns-eval`.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.export.annotation_files import AnnotationFiles


def quaternion_of(rotation: Float[ndarray, "3 3"]) -> Float[ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation (Bar-Itzhack 2000).

    It is the eigenvector of the largest eigenvalue of a symmetric matrix.
    """
    m = rotation
    trace = np.trace(m)
    axis = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    k = np.zeros((4, 4))
    k[0, 0], k[0, 1:], k[1:, 0] = trace, axis, axis
    k[1:, 1:] = m + m.T - trace * np.eye(3)
    return np.linalg.eigh(k)[1][:, -1]


def write(scene: Path, output: Path) -> int:
    """Write `images/`, `sparse/0/` (text, without points) and `annotations.xml`; returns the number of frames.

    Args:
        scene: scene in any layout that `semantic-data` reads; its cameras must be one pinhole camera.
        output: folder, which must not exist.
    """
    outputs = AutoDataParserConfig(data=scene, split="all").setup().get_dataparser_outputs("train")
    dataset = SemanticDataset(outputs)
    (output / "images").mkdir(parents=True)
    (output / "sparse/0").mkdir(parents=True)
    cameras = outputs.cameras
    numbers = " ".join(f"{float(part[0, 0])!r}" for part in (cameras.fx, cameras.fy, cameras.cx, cameras.cy))
    size = f"{int(cameras.width[0, 0])} {int(cameras.height[0, 0])}"
    (output / "sparse/0/cameras.txt").write_text(f"1 PINHOLE {size} {numbers}\n")
    annotations = AnnotationFiles(output, "cvat", dataset.taxonomy)
    lines = []
    for index, path in enumerate(dataset.image_filenames):
        shutil.copyfile(path, output / "images" / path.name)
        annotations.add(path.name, dataset.labels_of(index))
        c2w = np.eye(4)
        c2w[:3] = cameras.camera_to_worlds[index].double().numpy()
        w2c = np.linalg.inv(c2w * [1, -1, -1, 1])  # from OpenGL's axes to OpenCV's
        pose = " ".join(repr(float(value)) for value in (*quaternion_of(w2c[:3, :3]), *w2c[:3, 3]))
        lines.append(f"{index + 1} {pose} 1 {path.name}\n\n")
    (output / "sparse/0/images.txt").write_text("".join(lines))
    (output / "sparse/0/points3D.txt").write_text("# no points\n")
    annotations.finish()
    return len(dataset)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the scene and say what to do with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="labelled scene")
    parser.add_argument("output", type=Path, help="folder to be made")
    options = parser.parse_args(arguments)
    print(f"{write(options.scene, options.output)} frames in {options.output}")
    print(f"sns-import-labels {options.output} {options.output / 'annotations.xml'}")
    print(f"ns-train semantic-nerf --data {options.output}")


if __name__ == "__main__":
    main()
