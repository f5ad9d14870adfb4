"""A pool shows what the model renders, and only that."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.active_learning.acquisition import disagreement, margin
from semantic_ns.active_learning.pool.ensemble_head import NUM_MEMBERS, RayStatistic, with_ensemble_head
from semantic_ns.active_learning.pool.pool import Pool, render_pool
from semantic_ns.active_learning.pool.ray_statistics import describe_rays
from semantic_ns.errors import SceneError
from semantic_ns.rendering import normalised_entropy
from support.propagation_runs import CLICKS, pipeline_of
from support.selection_pools import pool_of


@pytest.fixture(scope="module")
def pipeline(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pipeline_of(replica_scene, tmp_path_factory.mktemp("pool"), CLICKS) as pipeline:
        yield pipeline


def pool_of_run(pipeline: Any, num_rays: int, *needs: RayStatistic) -> Pool:
    datamanager = pipeline.datamanager
    cameras = datamanager.train_dataset.cameras
    return render_pool(pipeline.model, datamanager.train_ray_generator, cameras, num_rays, needs)


@pytest.fixture(scope="module")
def pool(pipeline: Any) -> Pool:
    return pool_of_run(pipeline, 10 * 48 * 36 // 6, "features", "disagreement")


def test_every_third_pixel_of_every_frame_is_shown_where_a_sixth_is_more_than_enough(pool: Pool) -> None:
    assert pool.stride == 3
    assert len(pool.frames) == 10 * 16 * 12
    places = [(f, r, c) for f in range(10) for r in range(0, 36, 3) for c in range(0, 48, 3)]
    assert list(zip(pool.frames.tolist(), pool.rows.tolist(), pool.columns.tolist(), strict=True)) == places


def test_the_pool_shows_what_the_model_renders(pipeline: Any, pool: Pool) -> None:
    model, dataset = pipeline.model, pipeline.datamanager.train_dataset
    model.eval()
    with model.raw_outputs():
        outputs = model.get_outputs_for_camera(dataset.cameras[7:8])
    model.train()
    here = pool.frames == 7

    def rendered(name: str) -> np.ndarray:
        return outputs[name][::3, ::3].reshape(-1, outputs[name].shape[-1]).squeeze(-1).numpy()

    assert np.allclose(pool.entropy[here], rendered("semantics_entropy"), atol=1e-5)
    assert np.allclose(pool.confidence[here], rendered("semantics_confidence"), atol=1e-5)
    assert np.allclose(pool.accumulation[here], rendered("accumulation"), atol=1e-5)
    camera = pool.camera_positions_m[7]
    distance_m = rendered("depth") * model.metres_per_unit
    assert np.allclose(np.linalg.norm(pool.points_m[here] - camera, axis=1), distance_m, rtol=1e-4)
    along = (pool.points_m[here] - camera) @ pool.viewing_directions[7]
    assert np.allclose(along, rendered("planar_depth") * model.metres_per_unit, rtol=1e-4)
    assert np.allclose(np.linalg.norm(pool.normals, axis=1), 1, atol=1e-4)


def test_scores_follow_from_the_features_through_the_head(
    pipeline: Any, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.features is not None
    head = pipeline.model.field.semantic_head
    monkeypatch.setattr(head.bias, "data", torch.zeros_like(head.bias))  # it comes with the accumulation
    unbiased = pool_of_run(pipeline, 10 * 48 * 36 // 6, "features")
    assert unbiased.features is not None
    np.testing.assert_array_equal(unbiased.features, pool.features)
    logits = torch.from_numpy(pool.features.astype(np.float32)) @ head.weight.detach().T
    assert np.allclose(unbiased.margin, margin(logits), atol=1e-2)
    assert np.allclose(unbiased.entropy, normalised_entropy(logits)[:, 0], atol=1e-2)


def test_the_slow_path_renders_the_same(pipeline: Any, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.model.config, "fuse_on_cpu", False)
    monkeypatch.setattr(pipeline.model.config, "eval_num_rays_per_chunk", 100)
    slow = pool_of_run(pipeline, 10 * 48 * 36 // 6, "features", "disagreement")
    for name in ("entropy", "confidence", "margin", "accumulation", "features", "disagreement"):
        assert np.allclose(getattr(slow, name), getattr(pool, name), atol=2e-3), name
    for name in ("points_m", "spread_m"):
        assert np.allclose(getattr(slow, name), getattr(pool, name), rtol=0.02, atol=0.02), name


def test_rendering_leaves_the_model_in_training_and_knows_no_labels(pipeline: Any, pool: Pool) -> None:
    assert pipeline.model.training
    shown = SimpleNamespace(
        train_ray_generator=pipeline.datamanager.train_ray_generator,
        train_dataset=SimpleNamespace(cameras=pipeline.datamanager.train_dataset.cameras),
    )
    again = pool_of_run(SimpleNamespace(model=pipeline.model, datamanager=shown), 10 * 48 * 36 // 6)
    assert np.allclose(again.entropy, pool.entropy, atol=1e-5)  # a wider product rounds otherwise
    assert again.features is None
    assert again.disagreement is None


def test_members_are_the_head_on_some_of_its_features_and_the_head_comes_back(pipeline: Any) -> None:
    model = pipeline.model
    head, num_classes = model.field.semantic_head, model.taxonomy.num_classes
    pixels = torch.tensor([[0, 3, 4], [2, 20, 30], [9, 35, 47]])

    def logits_of(weight: torch.Tensor) -> torch.Tensor:
        changed = torch.nn.Linear(weight.shape[1], weight.shape[0])
        changed.weight.data, changed.bias.data = weight, head.bias.data
        model.field.semantic_head = changed
        return describe_rays(model, pipeline.datamanager.train_ray_generator(pixels)).logits

    model.eval()
    with with_ensemble_head(model.field, {"disagreement"}):
        wide = model.field.semantic_head.weight.view(1 + NUM_MEMBERS, num_classes, -1).clone()
        with pytest.raises(RuntimeError), with_ensemble_head(model.field, {"features"}):
            raise RuntimeError
    assert model.field.semantic_head is head
    seen = describe_rays(model, pipeline.datamanager.train_ray_generator(pixels), {"disagreement"})
    try:
        members = torch.stack([logits_of(weight) for weight in wide[1:]], dim=1)
    finally:
        model.field.semantic_head = head
        model.train()
    assert torch.equal(wide[0], head.weight)
    for member in wide[1:]:
        sees = ~torch.isclose(member, torch.zeros(())).all(dim=0)
        assert 0.4 < sees.float().mean() < 1
        torch.testing.assert_close(member[:, sees], head.weight[:, sees] / 0.75)
    assert len({tuple(member[0].tolist()) for member in wide[1:]}) == NUM_MEMBERS
    assert seen.disagreement is not None
    torch.testing.assert_close(seen.disagreement, disagreement(members), rtol=1e-3, atol=1e-5)


def test_depth_is_sure_where_rays_end_on_one_surface() -> None:
    def is_sure(*spread_m: float) -> list[bool]:
        pool = pool_of(np.zeros((1, 1, 5, 3)), spread_m=np.array(spread_m, np.float32))
        pool.accumulation[4] = 0.8
        return pool.has_sure_depth.tolist()

    assert is_sure(0.01, 0.02, 0.09, 0.11, 0.01) == [True, True, True, False, False]
    # The whole field is unsure: what is twice as unsure as the rest stands out.
    assert is_sure(0.3, 0.3, 0.59, 0.61, 0.3) == [True, True, True, False, False]


def test_a_point_that_is_none_is_not_sure() -> None:
    pool = pool_of(np.array([[[[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [0.0, np.inf, 0.0]]]]))
    assert pool.has_sure_depth.tolist() == [True, False, False]


def test_a_model_without_classes_is_refused(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.model.config, "use_semantics", False)
    with pytest.raises(SceneError, match="use-semantics False"):
        pool_of_run(pipeline, 100)
    assert pipeline.model.training


def test_a_model_of_another_method_is_refused(pipeline: Any) -> None:
    other = torch.nn.Linear(1, 1)
    with pytest.raises(SceneError, match="a run of semantic-nerf to choose labels for, found a Linear"):
        pool_of_run(SimpleNamespace(model=other, datamanager=pipeline.datamanager), 100)
