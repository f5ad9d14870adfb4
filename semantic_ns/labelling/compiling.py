"""Compiles what the first mark and the first free view need, while a person still looks at the page."""

import threading

import numpy as np

from semantic_ns.labelling.marks import stroke_mask
from semantic_ns.labelling.solver import ExactSolver, Observation
from semantic_ns.labelling.view import SurfaceDiscs, nearest_discs
from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.surface_graph import SurfaceGraph
from semantic_ns.surface.voxels import VoxelGrid, Voxels


def compile_in_background() -> None:
    """Have a thread call `compile_kernels`."""
    threading.Thread(target=compile_kernels, daemon=True).start()


def compile_kernels() -> None:
    """Use every kernel once, on a surface of one voxel that one pixel shows.

    After an installation each is compiled when it is first used, which takes ten seconds of the processor in all. A
    mark that came meanwhile would wait for it.
    """
    one, point = np.ones(1, np.float32), np.zeros((1, 3), np.float32)
    stroke_mask(np.array([[0.5, 0.5]]), 1.0, 1, 1)
    neighbours = np.full((1, 27), -1, np.int32)
    voxels = Voxels(VoxelGrid.of_unit_cube(1), np.zeros(1, np.int64))
    graph = SurfaceGraph(voxels, neighbours, np.zeros((1, 27), np.float32), point, point, point)
    solver = ExactSolver(graph, Clusters(np.zeros((1, 1), np.int32), one[None]))
    solver.solve([Observation(np.zeros(1, np.int32), 0)], 1)
    pixels, colors = np.zeros((1, 3), np.int32), np.zeros((1, 3), np.uint8)
    discs = SurfaceDiscs(point, np.zeros((1, 3), np.int8), one, pixels, colors)
    nearest_discs(discs, np.eye(4, dtype=np.float32)[:3], 1.0, 1, 1, 0.1)
