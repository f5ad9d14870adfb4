"""When and from what a training run spreads its labels over the surface."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.batch import LABELS
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike, TrainingDataLike
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.propagation.posterior import count_votes, noise_rate, share_of_voxels, solve_posterior
from semantic_ns.propagation.surface_graph import (
    COLOR_SLOPE,
    NORMAL_SLOPE,
    SurfaceGraph,
    SurfacePoints,
    build_surface_graph,
)
from semantic_ns.propagation.targets import PropagatedLabels, SurfaceMaps

_DENSE = 0.5
"""Share of labelled pixels from which on there is nothing to complete."""


def render_maps(
    model: SemanticModelLike, ray_generator: RayGeneratorLike, image_sizes: list[tuple[int, int]], num_rays: int
) -> SurfaceMaps:
    """Depth, colour and normals at every n-th pixel of the training images, as the model shows them now.

    Args:
        model: renders rays at evaluation to `rgb` and `depth`.
        ray_generator: gives the rays of (camera, row, column).
        image_sizes: height and width of each image; all alike.
        num_rays: at most, over all images.
    """
    height, width = image_sizes[0]
    stride = max(1, math.ceil(math.sqrt(len(image_sizes) * height * width / num_rays)))
    rows, columns = torch.arange(0, height, stride), torch.arange(0, width, stride)
    depths, colors, normals = [], [], []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for image in range(len(image_sizes)):
            grid = torch.stack(torch.meshgrid(torch.tensor([image]), rows, columns, indexing="ij"), dim=-1)
            rays: RayBundle = ray_generator(grid.view(-1, 3)).reshape((len(rows), len(columns)))
            outputs = model.get_outputs_for_camera_ray_bundle(rays)
            depth = outputs["depth"]
            normals.append(normals_of(rays.origins + rays.directions * depth).cpu().numpy())
            depths.append(depth[..., 0].cpu().numpy())
            colors.append(outputs["rgb"].cpu().numpy())
    model.train(was_training)
    return SurfaceMaps(stride, np.stack(depths), np.stack(colors), np.stack(normals))


def normals_of(points: Float32[Tensor, "height width 3"]) -> Float32[Tensor, "height width 3"]:
    """Unit normals of a surface from central differences of its points, one-sided at the border."""
    along_columns, along_rows = (
        torch.gradient(points, dim=axis)[0] if points.shape[axis] > 1 else torch.zeros_like(points) for axis in (1, 0)
    )
    return torch.nn.functional.normalize(torch.cross(along_columns, along_rows, dim=-1), dim=-1)


class PropagationStage:
    """Spreads the labels of a run over the surface that its field has found, at set fractions of the run.

    Args:
        config: when, and how finely.
        model: with `field.unit_positions`.
        datamanager: with `train_dataset` and `train_ray_generator`; its `propagated` is set.
        num_steps: of the whole run.

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

    def resume(self, step: int, maps: SurfaceMaps) -> None:
        """Spread the labels over the surface of before, and take the fractions before this step as done."""
        self._steps = [at for at in self._steps if at >= step]
        self.spread(maps)

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
            None if nothing is to be completed or cleaned.
        """
        dataset = self._datamanager.train_dataset
        cameras = dataset.cameras
        sizes = [(int(h), int(w)) for h, w in zip(cameras.height.view(-1), cameras.width.view(-1), strict=True)]
        if maps is None:
            generator = self._datamanager.train_ray_generator
            maps = render_maps(self._model, generator, sizes, self._config.num_rays)
        spreading = self._config.spreading
        slopes = COLOR_SLOPE * spreading.colors, NORMAL_SLOPE * spreading.normals
        points = self._surface_points(maps, sizes[0])
        num_nodes = max(1, self._config.num_nodes // 4 ** len(self._steps))
        graph = build_surface_graph(points, num_nodes, *slopes)
        votes = self._votes(maps, graph)
        # Of fine voxels: coarse ones lie across the outlines of classes, where labels differ without being wrong.
        if self._labelled_share > _DENSE and noise_rate(votes) < self._config.clean_noise_rate:
            return None
        num_suitable = self._num_suitable(num_nodes, maps.depths.size, votes)
        if num_suitable < num_nodes:
            graph = build_surface_graph(points, num_suitable, *slopes)
            votes = self._votes(maps, graph)
        return PropagatedLabels(maps, graph, solve_posterior(graph, votes, spreading=spreading), self._to_unit)

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
                depths, _ = maps.at(pixels, colors)
                points = self._unit_points(pixels, depths)
                votes += count_votes(graph.nodes_of(points), labels, *votes.shape)
        self._labelled_share = num_labelled / int((cameras.height * cameras.width).sum())
        return votes

    def _to_unit(self, positions: Tensor) -> Tensor:
        with torch.no_grad():
            return self._model.field.unit_positions(positions.to(self._model.device)).cpu()

    def _unit_points(self, pixels: ndarray, depths: ndarray) -> ndarray:
        rays = self._datamanager.train_ray_generator(torch.from_numpy(pixels))
        distance = torch.from_numpy(depths)[:, None].to(rays.origins.device)
        return self._to_unit(rays.origins + rays.directions * distance).contiguous().numpy()

    def _surface_points(self, maps: SurfaceMaps, image_size: tuple[int, int]) -> SurfacePoints:
        rows, columns = (np.arange(0, length, maps.stride) for length in image_size)
        positions = []
        for frame, depth in enumerate(maps.depths):
            grid = np.stack(np.meshgrid([frame], rows, columns, indexing="ij"), axis=-1).reshape(-1, 3)
            positions.append(self._unit_points(grid, depth.reshape(-1)))
        return SurfacePoints(np.concatenate(positions), maps.colors.reshape(-1, 3), maps.normals.reshape(-1, 3))

    def _labelled_pixels(self) -> Iterator[tuple[ndarray, ndarray, ndarray]]:
        """For each training image: (frame, row, column), colours and classes of its labelled pixels."""
        dataset = self._datamanager.train_dataset
        for frame in range(len(dataset)):
            item = dataset[frame]
            labels = item[LABELS][..., 0].numpy()
            rows, columns = np.nonzero(labels >= 0)
            pixels = np.stack([np.full_like(rows, frame), rows, columns], axis=-1)
            yield pixels, item["image"][..., :3].numpy()[rows, columns], labels[rows, columns]
