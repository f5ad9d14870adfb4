"""Classes of all voxels of a surface from marks of a person, solved exactly after each mark.

The system is that of `propagation.posterior.solve_posterior`. There it is solved anew for each set of votes; here the
surface stays while marks come and go, so that it is factored once. With L the Laplacian of the graph and of the
clusters, u_k the mean over the n_k voxels of mark k, and e_k its class as a unit vector, x minimises for each class

    sum_k s n_k |e_k - ((1 - eta) u_k . x + eta / C)|^2 + x . L x

so that L x = sum_k u_k y_k with the multipliers y_k = s (1 - eta) n_k (t_k - u_k . x) and the targets
t_k = (e_k - eta / C) / (1 - eta). A mark thus costs one column z_k = L^+ u_k, kept as long as there is room, and a
small dense system (Woodbury) gives x for any set of marks: taking a mark back gives the bits of before.

Weak evidence t_v with the weight d_v at some voxels (`Anchors`) adds sum_v d_v |t_v - x_v|^2. It stays while marks come
and go, too: L becomes L + D, and x the sum of (L + D)^-1 D t, its base, and of the columns of the marks. Other t with
the same d make another base, and leave factor and columns as they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8
from numpy import ndarray
from scipy.sparse import csc_array
from scipy.sparse.csgraph import connected_components

from semantic_ns.labelling import solver_numba as kernels
from semantic_ns.labelling.columns import Column, ColumnFile
from semantic_ns.labelling.growing_cholesky import GrowingCholesky
from semantic_ns.labelling.matrices import factored, graph_laplacian, laplacian_of
from semantic_ns.propagation.clusters import Clusters
from semantic_ns.propagation.posterior import LEAST_COUPLING, LEAST_NOISE, vote_strength
from semantic_ns.propagation.surface_graph import SurfaceGraph

_LEAK = 1e-9
"""On the diagonal, so that the singular Laplacian can be factored; beside the weight 1 of an edge."""
_STRONG = 1e-3
"""Weight of an edge that joins two voxels to one piece of the surface."""
_FIRST_CAPACITY = 64
_MOST_SPARE_COLUMNS = 256
"""Columns of marks that were taken back, kept for when they return."""
_WALK_OF_60_000 = 1e-3
"""Rate at which a walk over the surface dies, at 60 000 voxels: such walks go some 50 voxels far."""
_FULL_REACH = 0.3
"""Probability of meeting a mark from which on a voxel counts as near one."""
_STEPS = 255
"""In which nearness is kept."""
ANCHORED_CONFIDENCE = 0.5
"""What nearness to anchors counts for, beside that of marks: nobody has looked at them."""
COLUMN_CONSTANTS = (_LEAK, _STRONG, _WALK_OF_60_000, _FULL_REACH, _STEPS, LEAST_COUPLING)
"""What columns follow from beside the surface and the labels beneath the marks."""


@dataclass(frozen=True)
class Observation:
    """What one mark says: the mean over its voxels belongs to a class.

    Attributes:
        voxels: Its voxels, ascending, at least one.
        label: Its class, as a number 0..C-1.
    """

    voxels: Int32[ndarray, "voxels"]
    label: int

    @property
    def key(self) -> bytes:
        """What tells its voxels from those of others."""
        return self.voxels.tobytes()


@dataclass(frozen=True, eq=False)
class Anchors:
    """What is known of single voxels beneath all marks.

    Attributes:
        weights: d, beside the weight 1 of an edge between voxels that look the same; 0 where nothing is known.
        shares: t, how much of each of B classes each voxel has; each of them sums to 1 where something is known.
        confidence: What nearness to them counts for, beside that of marks.
    """

    weights: Float64[ndarray, "voxels"]
    shares: Float32[ndarray, "voxels classes"]
    confidence: float = ANCHORED_CONFIDENCE


@dataclass(frozen=True)
class VoxelClasses:
    """Classes of all voxels.

    Attributes:
        labels: The most likely class of each voxel, 0..C-1; -1 where no mark reaches.
        probabilities: The probability of that class; 0 where no mark reaches.
        nearness: How likely a walk from the voxel over the surface meets a mark before it dies, over the probability at
            which that is near enough, in 1/255; 255 from there on.
    """

    labels: Int32[ndarray, "voxels"]
    probabilities: Float32[ndarray, "voxels"]
    nearness: UInt8[ndarray, "voxels"]

    @cached_property
    def confidence(self) -> Float32[ndarray, "voxels"]:
        """The probability of the class, less where the nearest mark is far away."""
        return self.probabilities * (self.nearness / np.float32(_STEPS))


class ExactSolver:
    """The factored system of a surface, and the columns of the marks on it.

    Args:
        graph: The voxels.
        clusters: Their appearance clusters; none has no divisions.
        anchors: What is known beneath the marks.
        columns: A file where columns of this very system are kept.
    """

    def __init__(
        self, graph: SurfaceGraph, clusters: Clusters, anchors: Anchors | None = None, columns: Path | None = None
    ) -> None:
        self._num_voxels = graph.num_nodes
        laplacian = laplacian_of(graph, clusters)
        self._num_parts, parts = connected_components(laplacian, directed=False)
        self._parts = parts[: self._num_voxels]
        self._part_sizes = np.bincount(self._parts, minlength=self._num_parts)
        self._num_pieces, self._pieces, self._piece_sizes, self._part_of_piece = self._divided(laplacian)
        weights = np.zeros(self._num_voxels) if anchors is None else anchors.weights
        # Of these parts, nothing is left open but for the marks.
        self._is_anchored = np.bincount(self._parts, weights, self._num_parts) > 0
        self._weights, self._factor = weights, factored(laplacian, _LEAK, weights)
        death = _WALK_OF_60_000 * 60_000 / max(1, self._num_voxels)
        self._walks = factored(graph_laplacian(graph), death)
        self._base, self._base_nearness = self._based_on(anchors)
        self._base_products = np.empty((0, len(self._base)))
        self._based: tuple[ndarray, Float32[ndarray, "classes voxels"]] | None = None
        self._places: dict[bytes, int] = {}
        self._voxels: list[ndarray] = []
        sizes = self._num_parts, self._num_pieces, self._num_voxels
        self._kept = None if columns is None else ColumnFile(columns, *sizes)
        self._columns = np.empty((0, self._num_voxels), np.float32)
        self._nearness = np.empty((0, self._num_voxels), np.uint8)
        self._products = np.empty((0, 0))
        self._small = GrowingCholesky()
        self._masses = np.empty((0, self._num_parts))
        self._means = np.empty((0, self._num_pieces))

    def _divided(self, laplacian: csc_array) -> tuple[int, ndarray, ndarray, ndarray]:
        """The surface in pieces that only weak edges join: how many, that of each voxel, their sizes and parts.

        A column is nearly constant on a piece, and may be large there. It is kept as its mean over each piece in 64
        bits and its deviations in 32, which would drown in the rounding of the means.
        """
        strong = laplacian.copy()
        strong.data[np.abs(strong.data) < _STRONG] = 0
        strong.eliminate_zeros()
        _, pieces = connected_components(strong, directed=False)
        used, numbers = np.unique(pieces[: self._num_voxels], return_inverse=True)
        numbers = numbers.reshape(-1)
        part_of_piece = np.zeros(len(used), np.int64)
        part_of_piece[numbers] = self._parts
        return len(used), numbers, np.bincount(numbers, minlength=len(used)), part_of_piece

    def _based_on(self, anchors: Anchors | None) -> tuple[Float32[ndarray, "classes voxels"], UInt8[ndarray, "voxels"]]:
        """What x is without marks, and how near each voxel is to what is known."""
        if anchors is None:
            return np.empty((0, self._num_voxels), np.float32), np.zeros(self._num_voxels, np.uint8)
        known = np.flatnonzero(anchors.weights > 0).astype(np.int32)
        nearness = self._nearness_of(known) if len(known) else np.zeros(self._num_voxels)
        return self.base_of(anchors.shares), (nearness * anchors.confidence).astype(np.uint8)

    def base_of(self, shares: Float32[ndarray, "voxels classes"]) -> Float32[ndarray, "classes voxels"]:
        """What x is without marks where anchors have some shares (slow). Nothing is changed, so that others may solve.

        Args:
            shares: How much of each class each voxel has.
        """
        if not shares.size:
            return np.empty((shares.shape[1], self._num_voxels), np.float32)
        source = np.zeros((self._factor.shape[0], shares.shape[1]))
        source[: self._num_voxels] = self._weights[:, None] * shares
        base = self._factor.solve(source)[: self._num_voxels]  # all at once takes half the time
        return np.ascontiguousarray(base.T, np.float32)

    def take_base(self, base: Float32[ndarray, "classes voxels"]) -> None:
        """Solve with another base from now on, see `base_of`."""
        if base is not self._base:
            self._base, self._based = base, None
            self._base_products = np.empty((len(self._columns), len(base)))
            if self._voxels and len(base):
                self._base_products[: len(self._voxels)] = self._means_of_base(self._voxels)

    def _means_of_base(self, voxels: Sequence[ndarray]) -> Float64[ndarray, "observations classes"]:
        """The means of the base over the voxels of observations."""
        values = self._base[:, np.concatenate(voxels)].astype(np.float64)
        lengths = np.array([len(some) for some in voxels])
        return np.stack([_means_of_runs(of_class, lengths) for of_class in values], axis=1)

    @property
    def num_voxels(self) -> int:
        """Number of voxels M."""
        return self._num_voxels

    def prepare(self, voxels: Int32[ndarray, "voxels"]) -> None:
        """Compute the column of an observation, unless it is there (slow: one back-substitution)."""
        key = voxels.tobytes()
        if key in self._places:
            return
        place = len(self._voxels)
        self._grow_to(place + 1)
        column = None if self._kept is None else self._kept.get(voxels)
        if column is None:
            column = self._solved(voxels)
            if self._kept is not None:
                self._kept.put(voxels, column)
        self._means[place], self._columns[place] = column.means, column.deviations
        self._nearness[place], self._masses[place] = column.nearness, column.mass
        if len(self._base):
            self._base_products[place] = self._means_of_base([voxels])[0]
        self._voxels.append(voxels)
        # u_i . z_j for this and each earlier one, either way: the same numbers in whatever order they come.
        self._products[place, : place + 1] = self._means_of_columns(voxels, place + 1)
        self._products[: place + 1, place] = self._means_of_column(place)
        self._places[key] = place

    def keep_columns(self, parts: Iterable[Int32[ndarray, "_voxels"]]) -> None:
        """Let the file of columns have those of some observations, and few others: what it holds is bounded by them."""
        if self._kept is not None:
            self._kept.keep(parts)

    def _solved(self, voxels: Int32[ndarray, "voxels"]) -> Column:
        mass = np.bincount(self._parts[voxels], minlength=self._num_parts) / len(voxels) * ~self._is_anchored
        source = np.zeros(self._factor.shape[0])
        source[: self._num_voxels] = -(mass / np.maximum(self._part_sizes, 1))[self._parts]
        source[voxels] += 1 / len(voxels)
        column = self._factor.solve(source)[: self._num_voxels]
        levels = np.bincount(self._parts, column, self._num_parts) / np.maximum(self._part_sizes, 1)
        column -= np.where(self._is_anchored, 0, levels)[self._parts]
        means = np.bincount(self._pieces, column, self._num_pieces) / self._piece_sizes
        deviations = (column - means[self._pieces]).astype(np.float32)
        return Column(mass, means, deviations, self._nearness_of(voxels))

    def _means_of_columns(self, voxels: Int32[ndarray, "voxels"], num_columns: int) -> Float64[ndarray, "columns"]:
        """The mean of each column over some voxels."""
        deviations = np.take(self._columns[:num_columns], voxels, axis=1)
        values = deviations + np.take(self._means[:num_columns], self._pieces[voxels], axis=1)
        return _means_of_runs(values.reshape(-1), np.full(num_columns, len(voxels)))

    def _means_of_column(self, place: int) -> Float64[ndarray, "observations"]:
        """The mean of one column over the voxels of each observation."""
        voxels = np.concatenate(self._voxels)
        values = self._columns[place, voxels] + self._means[place, self._pieces[voxels]]
        return _means_of_runs(values, np.array([len(some) for some in self._voxels]))

    def _nearness_of(self, voxels: Int32[ndarray, "voxels"]) -> UInt8[ndarray, "nodes"]:
        """That of one observation, exact if it is of a single voxel."""
        source = np.zeros(self._num_voxels)
        source[voxels] = 1
        found = self._walks.solve(source)
        enough = _FULL_REACH * max(float(found[voxels].min()), 1e-300)
        return np.round(np.minimum(found / enough, 1) * _STEPS).astype(np.uint8)

    def _grow_to(self, num_columns: int) -> None:
        capacity = len(self._columns)
        if num_columns <= capacity:
            return
        capacity = max(_FIRST_CAPACITY, num_columns, capacity + capacity // 2)
        self._columns = _grown(self._columns, capacity)
        self._nearness = _grown(self._nearness, capacity)
        self._masses, self._means = _grown(self._masses, capacity), _grown(self._means, capacity)
        self._base_products = _grown(self._base_products, capacity)
        products = np.empty((capacity, capacity))
        products[: len(self._products), : len(self._products)] = self._products
        self._products = products

    def solve(
        self, observations: Sequence[Observation], num_classes: int, anchored: Sequence[int] = ()
    ) -> VoxelClasses:
        """Classes of all voxels: the same bits for the same observations, whatever was asked before.

        In another order they differ by rounding.

        Args:
            observations: What is said, what came first before the others: little has to be done anew for what follows
                what was asked before, or for less of it. Of each, the column is computed if it is not there.
            num_classes: C.
            anchored: The number 0..C-1 that each class of the anchors has here; -1 for one that says nothing.
        """
        assignment = (np.arange(num_classes)[:, None] == np.array(anchored, np.int64)).astype(np.float64)
        if not observations and not assignment.any():
            nothing = np.zeros(self._num_voxels, np.float32)
            return VoxelClasses(np.full(self._num_voxels, -1, np.int32), nothing, nothing.astype(np.uint8))
        self._forget_others({observation.key for observation in observations})
        for observation in observations:
            self.prepare(observation.voxels)
        places = np.array([self._places[observation.key] for observation in observations], np.int64)
        multipliers, levels, is_seen = self._multipliers(observations, places, assignment)
        levels = levels[self._part_of_piece] + self._means[places].T @ multipliers  # [pieces, classes]
        labels = np.empty(self._num_voxels, np.int32)
        probabilities, nearest = np.empty(self._num_voxels, np.float32), np.empty(self._num_voxels, np.uint8)
        kernels.most_likely(
            self._columns, self._nearness, places, multipliers.astype(np.float32), levels, self._pieces,
            is_seen[self._part_of_piece], self._based_as(assignment), self._base_nearness, labels, probabilities,
            nearest,
        )  # fmt: skip
        return VoxelClasses(labels, probabilities, nearest)

    def _multipliers(
        self, observations: Sequence[Observation], places: ndarray, assignment: Float64[ndarray, "classes anchored"]
    ) -> tuple[Float64[ndarray, "observations classes"], Float64[ndarray, "parts classes"], ndarray]:
        """The multipliers y, the level of x in each connected part of the surface, and which parts have a mark.

        On each part the columns are known but for a constant, which the multipliers pay for: they sum to what leaks,
        about zero. The matrix of the multipliers grows with the marks: of the marks that came before, and are still
        there, its factor is kept.
        """
        num_classes = len(assignment)
        counts = np.array([len(observation.voxels) for observation in observations], np.float64)
        targets = np.full((len(observations), num_classes), -LEAST_NOISE / num_classes)
        targets[np.arange(len(observations)), [observation.label for observation in observations]] += 1
        masses = self._masses[places]
        seen = np.flatnonzero(masses.any(axis=0))
        weights = vote_strength(LEAST_NOISE) * (1 - LEAST_NOISE) * counts

        def rows(first: int, last: int) -> Float64[ndarray, "some columns"]:
            some, others = places[first:last], places[:last]
            found = (self._products[np.ix_(some, others)] + self._products[np.ix_(others, some)].T) / 2
            found[np.arange(last - first), np.arange(first, last)] += 1 / weights[first:last]
            return found

        right = targets / (1 - LEAST_NOISE) - self._based_products(places, assignment)
        border, leaks = masses[:, seen], np.diag(_LEAK * self._part_sizes[seen])
        levels = np.zeros((self._num_parts, num_classes))
        try:
            self._small.factor([observation.key for observation in observations], rows)
        except np.linalg.LinAlgError:  # only by rounding: many marks in one place may be told apart by nothing else
            system = np.block([[rows(0, len(places)), border], [border.T, -leaks]])
            found = np.linalg.solve(system, np.concatenate([right, np.zeros((len(seen), num_classes))]))
            multipliers, levels[seen] = found[: len(places)], found[len(places) :]
        else:
            halves = self._small.forward(np.concatenate([border, right], axis=1))
            border, right = halves[:, : len(seen)], halves[:, len(seen) :]
            levels[seen] = np.linalg.solve(leaks + border.T @ border, border.T @ right)
            multipliers = self._small.backward(right - border @ levels[seen])
        return multipliers, levels, masses.any(axis=0) | self._is_anchored

    def _based_as(self, assignment: Float64[ndarray, "classes anchored"]) -> Float32[ndarray, "_rows voxels"]:
        """What x is without marks, for each of C classes; no rows where there are no anchors."""
        if not assignment.size:
            return self._base
        if self._based is None or not np.array_equal(self._based[0], assignment):
            self._based = assignment, assignment.astype(np.float32) @ self._base
        return self._based[1]

    def _based_products(
        self, places: Int64[ndarray, "observations"], assignment: Float64[ndarray, "classes anchored"]
    ) -> Float64[ndarray, "observations classes"]:
        return self._base_products[places] @ assignment.T

    def _forget_others(self, keys: set[bytes]) -> None:
        """Drop the columns of what is not asked for any more, once there are many of them."""
        if len(self._places) - len(keys & self._places.keys()) <= _MOST_SPARE_COLUMNS:
            return
        kept = [(key, place) for key, place in self._places.items() if key in keys]
        places = np.array([place for _, place in kept], np.int64)
        self._columns, self._nearness = self._columns[places], self._nearness[places]
        self._masses, self._means = self._masses[places], self._means[places]
        self._base_products = self._base_products[places]
        self._products = self._products[np.ix_(places, places)]
        self._voxels = [self._voxels[place] for place in places]
        self._places = {key: place for place, (key, _) in enumerate(kept)}


def _means_of_runs(values: Float64[ndarray, "values"], lengths: ndarray) -> Float64[ndarray, "runs"]:
    """Means of runs of values, each added up apart from the others, so that it has the same bits among any others."""
    starts = np.cumsum(lengths) - lengths
    return np.add.reduceat(values, starts) / lengths


def _grown(array: ndarray, capacity: int) -> ndarray:
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
