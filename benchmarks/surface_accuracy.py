"""How far is the surface that `sns-export` wrote from the one that the depth images of the scene show?

The truth is the depth and the labels of all images of a run's scene, those that were not trained on among them,
whether the run was trained with depth or not. Of each file are said the median distance of its places from the nearest
true pixel, the share of them within 5 cm, the share of true pixels that have a place of the file within 5 cm, and how
many of the places within 5 cm of the truth have the class of the nearest pixel. The places of a mesh are drawn at
random from its area, and their class is that of the nearest vertex; true pixels without a label are not asked.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from rich.console import Console
from scipy.spatial import KDTree

from semantic_ns.errors import SceneError
from semantic_ns.export.splat import pinhole_cameras
from semantic_ns.geometry.pinhole import Pixels, rays
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.geometry.world import poses_in_world
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_json
from semantic_ns.runs import load_run

CONSOLE = Console(soft_wrap=True, highlight=False)
NEAR_M = 0.05
NUM_ASKED = 100_000
"""Places of a mesh, and true pixels, that are asked for."""
NUM_MESH_PLACES = 1_000_000
"""Places of a mesh in which true pixels look for the nearest: they lie a few millimetres apart."""


class Places(NamedTuple):
    """Places on a surface with their class, by the ids of the label images."""

    positions: Float64[ndarray, "places 3"]
    ids: Int64[ndarray, "places"]


def true_places(dataset: Any, outputs: Any) -> Places:
    """What every pixel of known depth of the images of a data set shows, in the world of the scene's files."""
    cameras = pinhole_cameras(dataset)
    c2w = opencv_to_opengl(poses_in_world(outputs, dataset.cameras.camera_to_worlds[:, :3, :4].double().numpy()))
    positions, ids = [], []
    for index in range(len(dataset)):
        depth_m = dataset.depth_of(index)
        if depth_m is None:
            raise SceneError("Expected a scene with depth images, found one without; give a run of another scene.")
        row, column = np.nonzero(depth_m > 0)
        local = rays(Pixels(np.zeros_like(row), row, column), cameras[index].lens.double().numpy()[None])
        local *= depth_m[row, column, None].astype(np.float64)
        positions.append(local @ c2w[index, :3, :3].T + c2w[index, :3, 3])
        ids.append(dataset.taxonomy.decode(dataset.read_labels(index))[row, column].astype(np.int64))
    return Places(np.concatenate(positions), np.concatenate(ids))


def read_surface(path: Path, rng: np.random.Generator) -> tuple[Places, Places]:
    """Places of a file that are asked for, and those among which the truth looks for the nearest; of points the same.

    Args:
        path: A PLY that `sns-export pointcloud` or `sns-export mesh` wrote.
        rng: Draws the places of a mesh.
    """
    import plyfile

    table = plyfile.PlyData.read(str(path))
    vertex = table["vertex"].data
    positions = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    if "scalar_class" in vertex.dtype.names:
        points = Places(positions, vertex["scalar_class"].astype(np.int64))
        return points, points
    faces = np.stack(table["face"].data["vertex_indices"])
    of_vertices = KDTree(positions)
    drawn = places_on(positions[faces], NUM_MESH_PLACES, rng)
    nearest = of_vertices.query(drawn[:NUM_ASKED])[1]
    ids = vertex["label"].astype(np.int64)
    return Places(drawn[:NUM_ASKED], ids[nearest]), Places(drawn, np.zeros(len(drawn), np.int64))


def places_on(
    triangles: Float64[ndarray, "faces 3 3"], count: int, rng: np.random.Generator
) -> Float64[ndarray, "places 3"]:
    """Places drawn evenly from the area of triangles."""
    first, second, third = triangles.transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    along, across = rng.random((2, count, 1))
    is_outside = along + across > 1
    along, across = np.where(is_outside, 1 - along, along), np.where(is_outside, 1 - across, across)
    return first[chosen] + along * (second - first)[chosen] + across * (third - first)[chosen]


def accuracy(
    asked: Places,
    covering: Places,
    truth: Places,
    void: int,
    rng: np.random.Generator,
    nearest_of: KDTree | None = None,
) -> dict[str, float]:
    """How well a surface agrees with the truth.

    Args:
        asked: Places of the surface.
        covering: Places of it among which the truth looks for the nearest.
        truth: True places.
        void: Id of true places without a class.
        rng: Draws the true places that look.
        nearest_of: A tree of the true places, where there is one already.
    """
    tree = KDTree(truth.positions) if nearest_of is None else nearest_of
    distance, nearest = tree.query(asked.positions)
    drawn = truth.positions[rng.choice(len(truth.positions), min(NUM_ASKED, len(truth.positions)), replace=False)]
    missed = KDTree(covering.positions).query(drawn)[0]
    is_asked = (distance <= NEAR_M) & (truth.ids[nearest] != void)
    return {
        "median_m": float(np.median(distance)),
        "share_near": float((distance <= NEAR_M).mean()),
        "covered": float((missed <= NEAR_M).mean()),
        "class_right": float((asked.ids == truth.ids[nearest])[is_asked].mean()) if is_asked.any() else float("nan"),
    }


def measure(load_config: Path, files: Sequence[Path], seed: int) -> list[dict[str, Any]]:
    """A row for each file."""
    data: Any = load_run(load_config).pipeline.datamanager
    sets = [data.train_dataset]
    if data.eval_dataset.image_filenames != data.train_dataset.image_filenames:
        sets.append(data.eval_dataset)
    parts = [true_places(dataset, data.train_dataparser_outputs) for dataset in sets]
    truth = Places(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    tree = KDTree(truth.positions)
    void = data.train_dataset.taxonomy.void_source_id
    rows = []
    for path in files:
        rng = np.random.default_rng(seed)
        asked, covering = read_surface(path, rng)
        rows.append({"file": str(path), "places": len(asked.positions)})
        rows[-1].update(accuracy(asked, covering, truth, void, rng, tree))
        CONSOLE.print(rows[-1])
    return rows


def main() -> None:
    """Measure the files of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a run on a scene with depth")
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="points.ply and mesh.ply of sns-export")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seed", type=int, default=0, help="of the places that are drawn")
    options = parser.parse_args()
    rows = measure(options.load_config, options.files, options.seed)
    write_json(options.output, {"load_config": str(options.load_config), "seed": options.seed, "rows": rows})
    header = ["file", "median distance", "within 5 cm", "of the truth within 5 cm", "class right"]
    lines = [
        [
            Path(row["file"]).name, f"{row['median_m'] * 1000:.1f} mm",
            *(f"{row[name]:.4f}" for name in ("share_near", "covered", "class_right")),
        ]
        for row in rows
    ]  # fmt: skip
    CONSOLE.print(markdown_table(header, lines), markup=False)


if __name__ == "__main__":
    main()
