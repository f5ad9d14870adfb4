"""When a run spreads its labels, and what its batches teach from then on."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float32
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from numpy import ndarray

from semantic_ns.batch import LABEL_WEIGHTS, SOFT_LABELS
from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.propagation.appearance import mean_features
from semantic_ns.propagation.class_shares import ClassShares, with_class_shares
from semantic_ns.propagation.config import PropagationConfig, SpreadingConfig
from semantic_ns.propagation.posterior import LabelPosterior, solve_posterior
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.propagation.surface_graph import EdgeWeights, SurfaceGraph, SurfacePoints, build_surface_graph
from semantic_ns.surface.maps import SurfaceMaps, maps_of_known_depth
from support.propagation_runs import CLICKS, pipeline_of

CONFIG = PropagationConfig(fractions=(0.5,), num_nodes=400, rays_per_node=0.1)


def stage_of(pipeline: Any, config: PropagationConfig = CONFIG) -> PropagationStage:
    return PropagationStage(config, pipeline.model, pipeline.datamanager, 10)


@pytest.mark.parametrize("method", [semantic_nerf, semantic_ngp], ids=["nerf", "ngp"])
def test_from_the_fraction_on_rays_without_a_label_are_taught_too(
    smaller_scene: Path, tmp_path: Path, method: Any
) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS, method) as pipeline:
        datamanager, stage = pipeline.datamanager, stage_of(pipeline)
        stage.before_step(4)
        assert SOFT_LABELS not in datamanager.next_train(4)[1]
        stage.before_step(5)
        _, batch = datamanager.next_train(5)
        taught, sums = batch[LABEL_WEIGHTS][:, 0] > 0, batch[SOFT_LABELS].sum(dim=-1)
        assert batch[SOFT_LABELS].shape == (512, pipeline.model.taxonomy.num_classes)
        assert torch.allclose(sums[taught], torch.ones(int(taught.sum())), atol=1e-4)
        assert int(taught.sum()) > 5 * int((batch["semantics"] >= 0).sum())
        assert pipeline.model.training
        loss = torch.stack(list(pipeline.get_train_loss_dict(5)[1].values())).sum()
        assert torch.isfinite(loss)
        loss.backward()


def test_every_fraction_comes_once_and_a_resumed_run_starts_with_the_last_one(
    smaller_scene: Path, tmp_path: Path
) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        stage = stage_of(pipeline, replace(CONFIG, fractions=(0.2, 0.4, 0.8)))
        found = []
        for step in (5, 6, 8, 9):
            stage.before_step(step)
            found.append(id(pipeline.datamanager.propagated))
        assert found[0] == found[1]
        assert found[1] != found[2]
        assert found[2] == found[3]


@pytest.mark.parametrize(("rate", "clean_below", "stand"), [(0.01, 0.03, True), (0.5, 0.03, False), (0.01, 0.0, False)])
def test_labels_that_are_many_and_clean_stand_as_they_are(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, clean_below: float, stand: bool
) -> None:
    # Without a trained field the surface is nonsense and nothing agrees: what the votes say is set by hand.
    monkeypatch.setattr("semantic_ns.propagation.stage.noise_rate", lambda votes: rate)
    with pipeline_of(smaller_scene, tmp_path, CorruptionConfig()) as pipeline:
        stage = stage_of(pipeline, replace(CONFIG, fractions=(0.2, 0.5), clean_noise_rate=clean_below))
        pipeline.datamanager.propagated = "of an earlier turn"
        stage.before_step(2)
        assert (pipeline.datamanager.propagated is None) == stand
        pipeline.datamanager.propagated = "kept"
        stage.before_step(5)
        assert (pipeline.datamanager.propagated == "kept") == stand  # the later turns are dropped with the first


def test_few_labels_spread_however_clean(smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semantic_ns.propagation.stage.noise_rate", lambda votes: 0.01)
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        found = stage_of(pipeline).propagate()
        assert found is not None
        assert found.sharpness == 3


def test_a_run_can_leave_labels_as_they_are(smaller_scene: Path, tmp_path: Path) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        stage = stage_of(pipeline, replace(CONFIG, enabled=False))
        stage.before_step(9)
        assert pipeline.datamanager.propagated is None


def test_each_turn_divides_the_surface_four_times_as_finely_as_the_one_before(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noted(points: SurfacePoints, num_nodes: int, edge_weights: EdgeWeights) -> SurfaceGraph:
        asked.append(num_nodes)
        return build_surface_graph(points, num_nodes, edge_weights)

    monkeypatch.setattr("semantic_ns.propagation.stage.build_surface_graph", noted)
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        stage = stage_of(pipeline, replace(CONFIG, fractions=(0.2, 0.4, 0.8)))
        for step in (2, 4, 8):
            stage.before_step(step)
    assert asked == [25, 100, 400]


@pytest.mark.parametrize(("rays_per_node", "nodes"), [(100.0, [400, 76]), (1000.0, [400, 7]), (1.0, [400])])
def test_voxels_are_no_more_than_the_rays_can_find_together(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rays_per_node: float, nodes: list[int]
) -> None:
    asked: list[tuple[int, int]] = []

    def noted(points: SurfacePoints, num_nodes: int, edge_weights: EdgeWeights) -> SurfaceGraph:
        asked.append((len(points.positions), num_nodes))
        return build_surface_graph(points, num_nodes, edge_weights)

    monkeypatch.setattr("semantic_ns.propagation.stage.build_surface_graph", noted)
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        stage_of(pipeline, replace(CONFIG, rays_per_node=rays_per_node)).before_step(5)
    assert asked == [(7680, count) for count in nodes]


def test_labels_of_all_pixels_are_known_to_be_clean_however_few_rays_there_are(
    smaller_scene: Path, tmp_path: Path
) -> None:
    with pipeline_of(smaller_scene, tmp_path, CorruptionConfig()) as pipeline:
        given = replace(PropagationConfig(), rays_per_node=1000.0, clean_noise_rate=0.2)
        assert stage_of(pipeline, given).propagate() is None


def test_noisy_labels_spread_over_fewer_voxels_than_clean_ones(smaller_scene: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, num_nodes=16_000, clean_noise_rate=0.0)
    nodes = []
    for noise in (0.0, 0.9):
        with pipeline_of(smaller_scene, tmp_path / str(noise), CorruptionConfig(pixel_noise=noise)) as pipeline:
            found = stage_of(pipeline, config).propagate()
            assert found is not None
            assert found.sharpness == 3
            assert len(found.posterior.probabilities) == found.graph.num_nodes
            nodes.append(found.graph.num_nodes)
    assert nodes[1] < 0.5 * nodes[0]


@pytest.mark.parametrize("rays", [0.0, -1.0, float("nan")])
def test_voxels_that_no_ray_finds_are_refused(smaller_scene: Path, tmp_path: Path, rays: float) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline, pytest.raises(SceneError, match="rays-per-node"):
        stage_of(pipeline, replace(CONFIG, rays_per_node=rays))


@pytest.mark.parametrize("part", ["colors", "normals", "clusters", "noise"])
def test_every_part_of_spreading_can_be_left_out(smaller_scene: Path, tmp_path: Path, part: str) -> None:
    corruption = CorruptionConfig(propagation=0.0, pixel_noise=0.3, seed=1)
    with pipeline_of(smaller_scene, tmp_path, corruption) as pipeline:
        without = replace(CONFIG, spreading=SpreadingConfig(**{part: False}))
        found = [stage_of(pipeline, config).propagate() for config in (CONFIG, without)]
        assert all(labels is not None for labels in found)
        spread, other = (labels.posterior.probabilities for labels in found if labels is not None)
        assert spread.shape == other.shape
        assert abs(spread - other).max() > 1e-3


def test_few_labels_are_helped_by_what_voxels_look_like_and_labels_of_all_pixels_are_not(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    priors: list[Any] = []

    def noted(*words: Any, prior: Any, **options: Any) -> LabelPosterior:
        priors.append(prior)
        return solve_posterior(*words, prior=prior, **options)

    corrected: list[Any] = []

    def correcting(posterior: LabelPosterior, shares: ClassShares | None) -> LabelPosterior:
        corrected.append(shares)
        return with_class_shares(posterior, shares)

    monkeypatch.setattr("semantic_ns.propagation.stage.solve_posterior", noted)
    monkeypatch.setattr("semantic_ns.propagation.stage.with_class_shares", correcting)
    dense = CorruptionConfig(pixel_noise=0.9)
    without = replace(CONFIG, spreading=SpreadingConfig(appearance=False))
    as_spread = replace(CONFIG, spreading=SpreadingConfig(shares=False))
    arms = (("a", CLICKS, CONFIG), ("b", dense, CONFIG), ("c", CLICKS, without), ("d", CLICKS, as_spread))
    for name, corruption, config in arms:
        with pipeline_of(smaller_scene, tmp_path / name, corruption) as pipeline:
            stage_of(pipeline, config).propagate()
    assert priors[0] is not None
    assert 0 < priors[0].sum(axis=1).mean() <= 1 + 1e-5
    assert priors[1:3] == [None, None]
    assert priors[3] is not None
    assert len(corrected) == 1
    assert corrected[0] is not None
    assert corrected[0].by_looks.sum() == pytest.approx(1, abs=1e-3)


def test_looks_are_read_at_the_pixels_whose_points_lie_in_the_voxel(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        dataset = pipeline.datamanager.train_dataset

        def noted(
            features_at: Any, images: Any, num_nodes: int
        ) -> tuple[Float32[ndarray, "nodes channels"], Bool[ndarray, "nodes"]]:
            pixels = list(images)
            assert len(pixels) == len(dataset)
            found = stage_points
            for frame, (image, xy, nodes) in enumerate(pixels):
                assert torch.equal(image, dataset[frame]["image"][..., :3])
                rows, columns = (xy[:, 1] - 0.5).long().numpy(), (xy[:, 0] - 0.5).long().numpy()
                where = np.stack([np.full_like(rows, frame), rows, columns], axis=-1)
                height, width = found.maps.depths.shape[1:]
                depths = found.maps.depths[frame, rows // found.maps.stride, columns // found.maps.stride]
                assert len(depths) == height * width
                points = found.points.in_unit_cube(where, depths)
                assert np.array_equal(nodes, found.graph.voxels.at(points))
            return mean_features(features_at, pixels, num_nodes)

        stage = stage_of(pipeline)
        stage_points = SimpleNamespace(maps=None, graph=None, points=stage._points)
        built = build_surface_graph

        def kept(points: SurfacePoints, num_nodes: int, edge_weights: EdgeWeights) -> SurfaceGraph:
            stage_points.graph = built(points, num_nodes, edge_weights)
            return stage_points.graph

        def kept_maps(*words: Any) -> SurfaceMaps:
            stage_points.maps = maps_of_known_depth(*words)
            return stage_points.maps

        monkeypatch.setattr("semantic_ns.propagation.stage.build_surface_graph", kept)
        monkeypatch.setattr("semantic_ns.propagation.stage.maps_of_known_depth", kept_maps)
        monkeypatch.setattr("semantic_ns.propagation.stage.mean_features", noted)
        assert stage.propagate() is not None


@pytest.mark.parametrize(("share", "expected"), [(0.4, "rendered"), (0.6, "known")])
def test_a_surface_has_the_colours_of_the_images_where_most_depth_is_known(
    smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, expected: str
) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        stage, dataset = stage_of(pipeline), pipeline.datamanager.train_dataset
        monkeypatch.setattr("semantic_ns.propagation.stage.share_of_known", lambda known, cameras: share)
        found = stage.propagate()
        assert found is not None
        images = np.stack([dataset[frame]["image"][..., :3].numpy() for frame in range(len(dataset))])
        # An untrained field does not show the colours of the images.
        assert np.array_equal(found.maps.colors, images) == (expected == "known")


def test_labels_spread_by_the_clock_where_time_ends_a_run_before_its_steps(smaller_scene: Path, tmp_path: Path) -> None:
    with pipeline_of(smaller_scene, tmp_path, CLICKS) as pipeline:
        pipeline.config.propagation = CONFIG
        config = SimpleNamespace(max_num_iterations=10, steps_per_eval_all_images=0)
        clock = SimpleNamespace(schedule_step=lambda step: 3 * step)
        trainer: Any = SimpleNamespace(config=config, clock=clock, local_rank=0, base_dir=tmp_path)
        callbacks = pipeline.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer))
        have_spread = []
        for step in (1, 2):
            for callback in callbacks:
                callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            have_spread.append(pipeline.datamanager.propagated is not None)
        assert have_spread == [False, True]
