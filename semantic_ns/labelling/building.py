"""Makes the parts of a `LabelSurface` out of a trained run; apart from it, since it needs torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, Int32
from numpy import ndarray
from scipy.ndimage import distance_transform_edt

from semantic_ns.backbones.room_features import room_features
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rays import FastRayGenerator, intrinsics_of, poses_of
from semantic_ns.geometry.world import world_from_scene
from semantic_ns.labelling.thinning import enough_discs
from semantic_ns.labelling.view import SurfaceDiscs
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.propagation.appearance import chosen_frames, described, mean_features_of_several
from semantic_ns.propagation.pixel_points import PixelPoints, have_one_size
from semantic_ns.propagation.surface_graph import SHARP_EDGES, SurfaceGraph, SurfacePoints, build_surface_graph
from semantic_ns.runs import Run
from semantic_ns.surface.maps import SurfaceMaps, render_maps

_LARGEST_HOLE_PX = 2.0
"""How far a pixel without a voxel may be from one with a voxel to take that one: single pixels between others, whose
points lie apart. Larger areas show no surface, such as the sky."""
_OVERLAP = 0.75
"""Radius of a disc over the distance of two pixels of the maps at its depth: more than the half of a diagonal."""


def without_holes(voxels: Int32[ndarray, "height width"]) -> Int32[ndarray, "height width"]:
    """The voxels that pixels show, with small holes filled by the nearest pixel: -1 stays where none is near."""
    is_hole = voxels < 0
    if not is_hole.any() or is_hole.all():
        return voxels
    found: Any = distance_transform_edt(is_hole, return_indices=True)
    distances, (rows, columns) = found
    return np.where(is_hole & (distances <= _LARGEST_HOLE_PX), voxels[rows, columns], voxels)


@dataclass(frozen=True, eq=False)
class SurfaceBuilder:
    """A run with the maps of its surface, rendered once.

    Attributes:
        run: The run.
        pixels: Where its pixels lie.
        maps: The maps.
        points: The points of the maps.
    """

    run: Run
    pixels: PixelPoints
    maps: SurfaceMaps
    points: SurfacePoints

    @classmethod
    def of(cls, run: Run, num_rays: int) -> "SurfaceBuilder":
        """Render the maps of a run (slow).

        Raises:
            SceneError: if the training images have several sizes.
        """
        data = run.pipeline.datamanager
        if not have_one_size(data):
            raise SceneError(
                "Expected training images of one size to label them, found several sizes; train on images of one size."
            )
        # A run that is loaded to be seen has none.
        data.train_ray_generator = FastRayGenerator(data.train_dataset.cameras.to(run.model.device))
        pixels = PixelPoints.of(run.pipeline.model, data, data.training_depth)
        cameras = data.train_dataset.cameras
        maps = render_maps(run.pipeline.model, pixels.ray_generator, cameras, num_rays, pixels.known_depth)
        return cls(run, pixels, maps, pixels.of_maps(maps))

    def build(self, num_voxels: int) -> tuple[SurfaceGraph, Float32[ndarray, "nodes 3"]]:
        """The surface in about so many voxels, and the mean of the points in each, scene units."""
        graph = build_surface_graph(self.points, num_voxels, SHARP_EDGES)
        sums, counts = np.zeros((graph.num_nodes, 3)), np.zeros(graph.num_nodes)
        for frame, depths in enumerate(self.maps.depths):
            numbers = np.arange(frame * depths.size, (frame + 1) * depths.size)
            voxels = graph.voxels.at(self.points.positions[numbers])
            inside = voxels >= 0
            points = self.pixels.in_scene(self.maps.pixels_of(numbers), depths.reshape(-1)).cpu().numpy()[inside]
            for axis in range(3):
                sums[:, axis] += np.bincount(voxels[inside], points[:, axis], graph.num_nodes)
            counts += np.bincount(voxels[inside], minlength=graph.num_nodes)
        return graph, (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)

    def pixel_voxels(self, graphs: Sequence[SurfaceGraph], stride: int) -> list[Int32[ndarray, "frames height width"]]:
        """The voxel of each graph that every n-th pixel shows, the middle one of n x n.

        A pixel whose own point lies in no voxel takes the voxel of the pixel of the maps that it looks most like. Where
        there is none either, it takes that of the nearest pixel, see `without_holes`.
        """
        dataset = self.run.pipeline.datamanager.train_dataset
        found: list[list[ndarray]] = [[] for _ in graphs]
        for frame in range(len(dataset)):
            color = dataset.color_of(frame).numpy()
            height, width = color.shape[:2]
            rows, columns = (
                np.minimum(np.arange(0, length, stride) + stride // 2, length - 1) for length in (height, width)
            )
            grid = np.stack(np.meshgrid([frame], rows, columns, indexing="ij"), axis=-1).reshape(-1, 3)
            colors = np.ascontiguousarray(color[grid[:, 1], grid[:, 2]], np.float32)
            rendered, _ = self.maps.at(grid, colors)
            own = self.pixels.in_unit_cube(grid, self.pixels.depths_of(self.maps, grid, colors))
            alike = self.pixels.in_unit_cube(grid, rendered)
            for graph, of_frames in zip(graphs, found, strict=True):
                voxels = graph.voxels.at(own)
                voxels = np.where(voxels < 0, graph.voxels.at(alike), voxels).reshape(len(rows), len(columns))
                of_frames.append(without_holes(voxels))
        return [np.stack(of_frames).astype(np.int32) for of_frames in found]

    def features(self, graphs: Sequence[SurfaceGraph]) -> list[Float16[ndarray, "nodes channels"]]:
        """What the voxels of each graph look like in the images, see `appearance.described`; zero rows if in none."""
        num_pixels = self.maps.depths[0].size
        grid = torch.from_numpy(self.maps.pixels_of(np.arange(num_pixels))[:, :0:-1].copy()) + 0.5  # (x, y)
        divisions = [
            graph.voxels.at(self.points.positions).reshape(len(self.maps.depths), num_pixels) for graph in graphs
        ]
        dataset = self.run.pipeline.datamanager.train_dataset
        images = (
            (dataset.color_of(frame), grid, [nodes[frame] for nodes in divisions])
            for frame in chosen_frames(len(self.maps.depths))
        )
        found = mean_features_of_several(room_features().at, images, [graph.num_nodes for graph in graphs])
        return [
            (described(graph, features, is_seen) * is_seen[:, None]).astype(np.float16)
            for graph, (features, is_seen) in zip(graphs, found, strict=True)
        ]

    def discs(self) -> SurfaceDiscs:
        """The points of the maps as discs, each as large as the distance to its neighbours in the maps."""
        numbers = np.arange(self.maps.depths.size)
        pixels = self.maps.pixels_of(numbers)
        depths = self.maps.depths.reshape(-1)
        focal = self.cameras()[1][:, 0]
        dataset = self.run.pipeline.datamanager.train_dataset
        colors = [
            (dataset.color_of(frame).numpy()[:: self.maps.stride, :: self.maps.stride] * 255).round().astype(np.uint8)
            for frame in range(len(dataset))
        ]
        return SurfaceDiscs(
            self.pixels.in_scene(pixels, depths).float().cpu().numpy(),
            np.round(self.maps.normals.reshape(-1, 3) * 127).astype(np.int8),
            (_OVERLAP * self.maps.stride * depths / focal[pixels[:, 0]]).astype(np.float32),
            pixels.astype(np.int32),
            np.stack(colors).reshape(-1, 3),
        )

    def drawn(self, discs: SurfaceDiscs, near: float) -> Int32[ndarray, "drawn"]:
        """Numbers of the discs that are enough to draw the surface."""
        c2w, intrinsics = self.cameras()
        cameras = self.run.pipeline.datamanager.train_dataset.cameras
        heights = cameras.height.view(-1).cpu().numpy()
        fovs = 2 * np.arctan(0.5 * heights / intrinsics[:, 1])
        _, rows, columns = self.maps.depths.shape
        return enough_discs(discs, c2w, fovs.tolist(), (rows, columns), near)

    def cameras(self) -> tuple[Float32[ndarray, "frames 3 4"], Float32[ndarray, "frames 4"]]:
        """Poses (OpenGL axes, scene units) and intrinsics of the frames."""
        cameras = self.run.pipeline.datamanager.train_dataset.cameras
        with torch.no_grad():
            intrinsics = intrinsics_of(cameras).float().cpu().numpy()
            return poses_of(cameras).float().cpu().numpy()[:, :3], intrinsics

    def world_from_scene(self) -> Float64[ndarray, "3 4"]:
        """From scene units to the world of the data set's files."""
        return world_from_scene(self.run.pipeline.datamanager.train_dataparser_outputs, torch.float64).numpy()

    def classes(self) -> tuple[tuple[ClassEntry, ...], int]:
        """The classes of the scene, with their ids in its label images, and the id of void there."""
        taxonomy = self.run.pipeline.datamanager.train_dataset.taxonomy
        parts = taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing
        entries = tuple(ClassEntry(*of_class) for of_class in zip(*parts, strict=True))
        return entries, taxonomy.void_source_id
