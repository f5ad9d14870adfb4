"""A small surface to label: a wall of three colours that several frames see, each shifted against the others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.labelling.surface import FrameInfo, LabelSurface
from semantic_ns.labelling.view import SurfaceDiscs
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.propagation.clusters import find_clusters
from semantic_ns.propagation.surface_graph import SHARP_EDGES, SurfacePoints, build_surface_graph

HEIGHT, WIDTH, SHIFT = 24, 32, 8
COLORS = ((0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.2, 0.2, 0.9))
CLASSES = (ClassEntry(3, "wall", (10, 20, 30), False), ClassEntry(7, "lamp", (200, 100, 0), True))


def truth(num_frames: int) -> np.ndarray:
    """The colour, 0..2, of each pixel of each frame [frames, HEIGHT, WIDTH]."""
    columns = np.arange(WIDTH) + SHIFT * np.arange(num_frames)[:, None]
    third = (WIDTH + SHIFT * (num_frames - 1)) / 3
    return np.broadcast_to((columns / third).astype(int).clip(0, 2)[:, None], (num_frames, HEIGHT, WIDTH)).copy()


WORLD_FROM_SCENE = np.array([[0.0, -2.0, 0.0, 1.0], [2.0, 0.0, 0.0, -3.0], [0.0, 0.0, 2.0, 0.5]])
"""A quarter of a turn about z, twice as large, and moved."""


def make_label_surface(folder: Path, num_frames: int = 3, num_voxels: int = 200) -> LabelSurface:
    """The surface, with the images of its frames in a folder."""
    colors = np.array(COLORS, np.float32)[truth(num_frames)]
    folder.mkdir(parents=True, exist_ok=True)
    for frame, color in enumerate(colors):
        Image.fromarray((color * 255).round().astype(np.uint8)).save(folder / f"frame_{frame}.png")
    rows, columns = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    shifted = columns[None] + SHIFT * np.arange(num_frames)[:, None, None]
    width = WIDTH + SHIFT * num_frames
    planar = [
        (shifted + 0.5) / width,
        np.broadcast_to((rows + 0.5) / width, shifted.shape),
        np.full(shifted.shape, 0.5),
    ]
    positions = np.stack(planar, axis=-1).reshape(-1, 3).astype(np.float32)
    normals = np.broadcast_to(np.array([0, 0, 1], np.float32), positions.shape)
    graph = build_surface_graph(
        SurfacePoints(positions, colors.reshape(-1, 3), np.ascontiguousarray(normals)), num_voxels, SHARP_EDGES
    )
    c2w = np.tile(np.eye(4, dtype=np.float32)[:3], (num_frames, 1, 1))
    return LabelSurface(
        graph=graph,
        clusters=find_clusters(graph),
        stride=1,
        pixel_voxels=graph.voxels.at(positions).reshape(num_frames, HEIGHT, WIDTH),
        positions=graph.centres,
        c2w=c2w,
        intrinsics=np.tile(np.array([30, 30, WIDTH / 2, HEIGHT / 2], np.float32), (num_frames, 1)),
        frames=tuple(FrameInfo(f"frame_{i}", HEIGHT, WIDTH, folder / f"frame_{i}.png") for i in range(num_frames)),
        classes=CLASSES,
        void_id=0,
        scene=folder,
        discs=SurfaceDiscs(
            positions,
            np.round(normals * 127).astype(np.int8),
            np.full(len(positions), 0.8 / width, np.float32),
            np.stack(np.meshgrid(np.arange(num_frames), np.arange(HEIGHT), np.arange(WIDTH), indexing="ij"), axis=-1)
            .reshape(-1, 3)
            .astype(np.int32),
            (colors.reshape(-1, 3) * 255).round().astype(np.uint8),
        ),
        drawn=np.arange(len(positions), dtype=np.int32),
        near=0.01,
        world_from_scene=WORLD_FROM_SCENE,
        features=np.empty((graph.num_nodes, 0), np.float16),
    )


NUM_LOOKS = 4
"""Looks of the surface `alike`."""


def looks(surface: LabelSurface) -> np.ndarray:
    """What each voxel looks like on the surface `alike`, 0..3: that of those a fixed number of voxels further on."""
    columns = surface.graph.centres[:, 0]
    places = (columns - columns.min()) / (np.ptp(columns) + 1e-6)
    return (places * 2 * NUM_LOOKS).astype(int) % NUM_LOOKS


def alike(surface: LabelSurface, unseen: int = 5) -> LabelSurface:
    """The surface with features that tell which of its stripes look alike, with noise; some voxels have none.

    Args:
        surface: The surface.
        unseen: Of how many voxels one has no features.
    """
    noise = np.random.default_rng(0).normal(0, 0.2, (surface.graph.num_nodes, NUM_LOOKS + 2))
    features = noise + 2 * np.eye(NUM_LOOKS, NUM_LOOKS + 2)[looks(surface)]
    features[::unseen] = 0
    return replace(surface, features=features.astype(np.float16))
