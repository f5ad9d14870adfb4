"""When and from what a training run spreads its labels over the surface."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from semantic_ns.backbones.room_features import room_features
from semantic_ns.batch import LABELS
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike
from semantic_ns.io.console import announce
from semantic_ns.propagation.appearance import chosen_frames, class_prior, described, mean_features
from semantic_ns.propagation.class_shares import shares_of_classes, with_class_shares
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.propagation.pixel_points import PixelPoints, have_one_size
from semantic_ns.propagation.posterior import DENSE_LABELS, count_votes, noise_rate, share_of_voxels, solve_posterior
from semantic_ns.propagation.surface_graph import (
    SOFT_EDGES,
    SurfaceGraph,
    SurfacePoints,
    build_surface_graph,
)
from semantic_ns.propagation.targets import SHARPNESS, PropagatedLabels
from semantic_ns.surface.maps import SurfaceMaps, maps_of_known_depth, render_maps, share_of_known

_MOSTLY_KNOWN = 0.5
"""Share of pixels of known depth from which on the colours of the images are where the surface is."""


class PropagationStage:
    """Spreads the labels of a run over the surface that its field has found, at set fractions of the run.

    Args:
        config: when, and how finely.
        model: model with `field.unit_positions`.
        datamanager: data manager with `train_dataset` and `train_ray_generator`; its `propagated` is set.
        num_steps: number of steps of the whole run.

    Raises:
        SceneError: an option is out of range.
    """

    def __init__(
        self, config: PropagationConfig, model: SemanticModelLike, datamanager: TrainingDataLike, num_steps: int
    ) -> None:
        config.check()
        self._config, self._model, self._datamanager = config, model, datamanager
        self._labelled_share = 0.0
        self._steps = sorted(round(fraction * num_steps) for fraction in config.fractions) if config.enabled else []
        self._first_step = self._steps[0] if self._steps else num_steps

    def before_step(self, step: int) -> None:
        """Spread the labels if it is time: the first step from each fraction on that this is called for."""
        due = [at for at in self._steps if at <= step]
        if due:
            self._steps = self._steps[len(due) :]
            self._settle(self.propagate())

    def labels_changed(self, step: int) -> None:
        """Have labels spread anew before this step, if it is not before the first fraction."""
        if step >= self._first_step:
            self._steps = sorted({step, *self._steps})

    def resume(self, step: int, maps: SurfaceMaps | None) -> None:
        """Spread the labels over the surface of before, if any, and take the fractions before this step as done."""
        has_begun = any(at < step for at in self._steps)
        self._steps = [at for at in self._steps if at >= step]
        if maps is not None:
            self.spread(maps)
        elif has_begun:
            self._settle(None)  # as the last turn did, else there were a surface

    def spread(self, maps: SurfaceMaps) -> None:
        """Spread the labels over a surface that was found before."""
        self._settle(self.propagate(maps))

    def _settle(self, propagated: PropagatedLabels | None) -> None:
        self._datamanager.propagated = propagated
        if propagated is None:
            self._steps = []  # the labels stand as they are, whatever an earlier turn found

    def propagate(self, maps: SurfaceMaps | None = None) -> PropagatedLabels | None:
        """Labels of the training images on the surface as it is now, or as some maps show it.

        Returns:
            None if nothing is to be completed or cleaned, or if the images have several sizes.
        """
        if maps is None:
            if not have_one_size(self._datamanager):
                announce("propagation", "labels are not propagated, since the training images have several sizes")
                return None
            maps = self.maps()
        spreading = self._config.spreading
        edges = replace(
            SOFT_EDGES,
            color_slope=SOFT_EDGES.color_slope * spreading.colors,
            normal_slope=SOFT_EDGES.normal_slope * spreading.normals,
        )
        points = self._points.of_maps(maps)
        num_nodes = max(1, self._config.num_nodes // 4 ** len(self._steps))
        graph = build_surface_graph(points, num_nodes, edges)
        votes = self._votes(maps, graph)
        # Of fine voxels: coarse ones lie across the outlines of classes, where labels differ without being wrong.
        if self._labelled_share > DENSE_LABELS and noise_rate(votes) < self._config.clean_noise_rate:
            return None
        num_suitable = self._num_suitable(num_nodes, maps.depths.size, votes)
        if num_suitable < num_nodes:
            graph = build_surface_graph(points, num_suitable, edges)
            votes = self._votes(maps, graph)
        prior = self._prior(maps, points, graph, votes) if spreading.appearance else None
        posterior = solve_posterior(graph, votes, spreading=spreading, prior=prior)
        if prior is not None and spreading.shares:
            posterior = with_class_shares(posterior, shares_of_classes(votes, prior))
        return PropagatedLabels(
            maps, graph, posterior, self._points.to_unit, self._points.known_depth, sharpness=SHARPNESS
        )

    def maps(self) -> SurfaceMaps:
        """The surface that the training images show now, by known depth where most of their pixels have one."""
        dataset, rays, known = self._datamanager.train_dataset, self._points.ray_generator, self._points.known_depth
        sources = self._model, rays, dataset.cameras, self._config.num_rays
        if known is None or share_of_known(known, dataset.cameras) < _MOSTLY_KNOWN:
            return render_maps(*sources, known)
        return maps_of_known_depth(*sources, known, dataset.color_of)

    @cached_property
    def _points(self) -> PixelPoints:
        return PixelPoints.of(self._model, self._datamanager, self._datamanager.surface_depth())

    def _num_suitable(self, num_nodes: int, num_rays: int, votes: Float32[ndarray, "nodes classes"]) -> int:
        """Voxels that are found by enough rays and have enough votes, if those of `votes` do not."""
        share = share_of_voxels(votes) if self._config.spreading.noise else 1.0
        return max(1, int(min(share * num_nodes, num_rays / self._config.rays_per_node)))

    def _votes(self, maps: SurfaceMaps, graph: SurfaceGraph) -> Float32[ndarray, "nodes classes"]:
        """Votes of all labelled pixels; notes how many there are."""
        votes = np.zeros((graph.num_nodes, self._model.taxonomy.num_classes), np.float32)
        num_labelled, cameras = 0, self._datamanager.train_dataset.cameras
        for pixels, colors, labels in self._labelled_pixels():
            num_labelled += len(labels)
            if len(labels):
                depths = self._points.depths_of(maps, pixels, colors)
                points = self._points.in_unit_cube(pixels, depths)
                votes += count_votes(graph.voxels.at(points), labels, *votes.shape)
        self._labelled_share = num_labelled / int((cameras.height * cameras.width).sum())
        return votes

    def _prior(
        self, maps: SurfaceMaps, points: SurfacePoints, graph: SurfaceGraph, votes: Float32[ndarray, "nodes classes"]
    ) -> Float32[ndarray, "nodes classes"] | None:
        """What the voxels look like in the images; None where labels are so many that it has nothing to say."""
        if self._labelled_share > DENSE_LABELS:
            return None
        of_pixels = graph.voxels.at(points.positions).reshape(len(maps.depths), -1)
        grid = torch.from_numpy(maps.pixels_of(np.arange(maps.depths[0].size))[:, :0:-1].copy()) + 0.5  # (x, y)
        dataset = self._datamanager.train_dataset
        images = (
            (dataset[frame]["image"][..., :3], grid, of_pixels[frame]) for frame in chosen_frames(len(maps.depths))
        )
        features, is_seen = mean_features(room_features().at, images, graph.num_nodes)
        return class_prior(described(graph, features, is_seen), votes, is_seen)

    def _labelled_pixels(self) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """For each training image: (frame, row, column), colours and classes of its labelled pixels."""
        dataset = self._datamanager.train_dataset
        for frame in range(len(dataset)):
            item = dataset[frame]
            labels = item[LABELS][..., 0].numpy()
            rows, columns = np.nonzero(labels >= 0)
            pixels = np.stack([np.full_like(rows, frame), rows, columns], axis=-1)
            yield pixels, item["image"][..., :3].numpy()[rows, columns], labels[rows, columns]
