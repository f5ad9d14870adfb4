"""The surface of a run, which need not be trained for what is asked here."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.datasets.training_labels import frame_names, read_label_folder
from semantic_ns.errors import SceneError
from semantic_ns.labelling import building
from semantic_ns.labelling.building import without_holes
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface, build_label_surface, build_label_surfaces, read_color
from semantic_ns.runs import Run
from support.propagation_runs import CLICKS, pipeline_of


@pytest.fixture(scope="module")
def run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    with pipeline_of(replica_scene, folder, CLICKS) as pipeline:
        parser: Any = pipeline.datamanager.config.dataparser
        parser.data = replica_scene
        yield Run(folder / "config.yml", pipeline, parser)


@pytest.fixture(scope="module")
def surface(run: Run) -> LabelSurface:
    return build_label_surface(run, 300)


def test_nearly_every_pixel_shows_a_voxel_near_the_point_of_its_ray(run: Run, surface: LabelSurface) -> None:
    dataset = run.pipeline.datamanager.train_dataset
    assert surface.stride == 1
    assert surface.pixel_voxels.shape == (len(dataset), surface.frames[0].height, surface.frames[0].width)
    assert (surface.pixel_voxels >= 0).all()
    # In the camera's frame, the mean of the points of the voxel lies about where the pixel looks.
    for frame in range(len(dataset)):
        rotation, origin = surface.c2w[frame, :, :3], surface.c2w[frame, :, 3]
        fx, fy, cx, cy = surface.intrinsics[frame]
        rows, columns = np.nonzero(surface.pixel_voxels[frame] >= 0)
        x, y, z = ((surface.positions[surface.pixel_voxels[frame, rows, columns]] - origin) @ rotation).T
        right, down = cx + fx * x / -z - (columns + 0.5), cy - fy * y / -z - (rows + 0.5)
        size = math.hypot(*surface.pixel_voxels.shape[1:])
        assert np.median(np.hypot(right, down)) < size / 10


def test_edges_of_a_surface_that_is_marked_are_sharp(surface: LabelSurface) -> None:
    graph = surface.graph
    place, neighbour = np.nonzero(graph.weights > 0)
    others = graph.neighbours[place, neighbour]
    colors = ((graph.colors[place] - graph.colors[others]) ** 2).sum(axis=1)
    normals = ((graph.normals[place] - graph.normals[others]) ** 2).sum(axis=1)
    axes = np.abs(np.stack([neighbour // 9 - 1, neighbour // 3 % 3 - 1, neighbour % 3 - 1])).sum(axis=0)
    expected = np.exp(-1500 * colors - 3 * normals) / np.sqrt(axes)
    np.testing.assert_allclose(graph.weights[place, neighbour], expected + 1e-5, rtol=5e-3, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_without_a_voxel_takes_that_of_a_nearest_pixel_within_two_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voxels = np.where(rng.random((17, 23)) < 0.15, rng.permutation(17 * 23).reshape(17, 23), -1).astype(np.int32)
    voxels[5:15, 3:14] = -1  # the sky
    rows, columns = np.nonzero(voxels >= 0)
    filled = without_holes(voxels)
    for place in np.ndindex(17, 23):
        distances = np.hypot(rows - place[0], columns - place[1])
        if distances.min() > 2:
            assert filled[place] == -1
        else:
            assert filled[place] in voxels[rows, columns][distances == distances.min()]
    assert (filled[voxels >= 0] == voxels[voxels >= 0]).all()
    assert (filled == -1).any()


@pytest.mark.parametrize("value", [-1, 5])
def test_where_no_pixel_or_each_one_has_a_voxel_nothing_is_filled(value: int) -> None:
    voxels = np.full((3, 4), value, np.int32)
    assert (without_holes(voxels) == value).all()


def test_frames_and_classes_are_those_of_the_scene(run: Run, surface: LabelSurface) -> None:
    dataset = run.pipeline.datamanager.train_dataset
    assert [info.name for info in surface.frames] == frame_names(dataset)
    for index, info in enumerate(surface.frames):
        color = (dataset.color_of(index).numpy() * 255).round().astype(np.uint8)
        assert (read_color(info) == color).all()
        assert info.image == Path(dataset.image_filenames[index]).resolve()
    assert tuple(entry.id for entry in surface.classes) == dataset.taxonomy.source_ids
    assert surface.void_id == dataset.taxonomy.void_source_id


def test_surfaces_of_several_numbers_of_voxels_show_the_same_frames(run: Run) -> None:
    coarse, fine = build_label_surfaces(run, [100, 400])
    assert coarse.graph.num_nodes < fine.graph.num_nodes
    assert coarse.frames == fine.frames


def test_exported_labels_are_labels_to_train_with(
    run: Run, surface: LabelSurface, replica_scene: Path, tmp_path: Path
) -> None:
    session = LabelSession(surface, tmp_path / "journal")
    class_id = surface.classes[0].id
    shape = {"kind": "click", "x": 5, "y": 5, "radius": 3}
    session.add_mark(Mark.from_json({"frame": 0, "class_id": class_id, "shape": shape}), "a", 0)
    session.export(tmp_path / "labels", painted_only=True)
    dataset = run.pipeline.datamanager.train_dataset
    labels = read_label_folder(str(tmp_path / "labels"), dataset, replica_scene)
    for frame, read in enumerate(labels):
        painted = session.painted(frame)
        assert (np.array([*dataset.taxonomy.source_ids, -1])[read] == painted).all()
    session.close()


def test_a_method_without_such_a_surface_is_refused(run: Run) -> None:
    class Other:
        shows_surface = False

    class Pipeline:
        model = Other()

    other: Any = Pipeline()
    with pytest.raises(SceneError, match=r"Expected a run of semantic-nerf, .* or semantic-splatfacto, found a Other"):
        build_label_surface(Run(run.load_config, other, run.parser_config), 100)


def test_features_of_a_voxel_are_those_of_its_pixels_of_the_maps_beside_its_colour_direction_and_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looks:
        """Of a pixel its place in the image, and the mean colour of the image."""

        def at(self, image: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
            return torch.cat([xy, image.mean().expand(len(xy), 1)], dim=1)

    monkeypatch.setattr(building, "room_features", Looks)
    surfaces = build_label_surfaces(run, [100, 400])
    dataset = run.pipeline.datamanager.train_dataset
    means_of_frames = [float(dataset.color_of(frame).mean()) for frame in range(len(dataset))]
    for surface in surfaces:
        discs, graph = surface.discs, surface.graph
        sums, counts = np.zeros((graph.num_nodes, 3)), np.zeros(graph.num_nodes)
        maps = building.SurfaceBuilder.of(run, 400_000)
        voxels = graph.voxels.at(maps.points.positions)
        for (frame, row, column), voxel in zip(discs.pixels.tolist(), voxels.tolist(), strict=True):
            if voxel >= 0:
                sums[voxel] += column + 0.5, row + 0.5, means_of_frames[frame]
                counts[voxel] += 1
        assert (counts > 0).all()
        means = sums / counts[:, None]
        columns = np.concatenate([means, graph.colors, np.abs(graph.normals), graph.centres], axis=1)
        expected = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-6)
        varies = columns.std(axis=0) > 1e-4
        assert varies.sum() >= 6
        assert np.abs(surface.features - expected)[:, varies].max() < 0.05
