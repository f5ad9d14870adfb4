"""What a run renders lies in the world of the scene's files, in their units, and nowhere where rays meet nothing."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from semantic_ns.batch import PLANAR_DEPTH, RENDERED_LABELS
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.scene_splits import Split
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.export.dataset_files import rendered_layers
from semantic_ns.export.surface_views import render_views
from support.hand_made_scene import HEIGHT, WIDTH, write_scene
from support.rooms import parser_of

DEPTH = 1.5


class FlatModel:
    """Shows a wall of class 0 at a depth in units of the scene's files, in front of all cameras; nothing on the left.

    Args:
        scale: Scene units in a unit of the files.
    """

    device = torch.device("cpu")
    gives_raw_outputs = True
    taxonomy: Any = None

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def raw_outputs(self) -> Any:
        return nullcontext()

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, torch.Tensor]:
        del camera
        accumulation = torch.ones(HEIGHT, WIDTH, 1)
        accumulation[:, : WIDTH // 2] = 0.1
        return {
            RENDERED_LABELS: torch.zeros(HEIGHT, WIDTH, 1, dtype=torch.long),
            "semantics_confidence": torch.ones(HEIGHT, WIDTH, 1),
            "accumulation": accumulation,
            PLANAR_DEPTH: torch.full((HEIGHT, WIDTH, 1), DEPTH * self._scale),
        }


@pytest.fixture(params=[1.0, 0.01], ids=["metres", "centimetres"])
def split(request: pytest.FixtureRequest, tmp_path: Path) -> Split:
    """Frames of a scene of unknown scale in a run over many scenes, for which its unit is stated."""
    parser = parser_of(write_scene(tmp_path / "scene"), metres_per_unit=request.param, split="all")
    outputs = parser.get_dataparser_outputs("train")
    assert outputs.metadata[keys.METRES_PER_UNIT] == pytest.approx(request.param / outputs.dataparser_scale)
    return Split(SemanticDataset(outputs), outputs)


def test_points_lie_at_their_depth_from_the_cameras_of_the_files_whatever_unit_is_stated(split: Split) -> None:
    views = render_views(FlatModel(split.outputs.dataparser_scale), split.dataset, split.outputs)
    for view in views:
        right = view.depth[:, WIDTH // 2 :]
        np.testing.assert_allclose(right, DEPTH, rtol=1e-5)
        assert np.linalg.norm(view.centre - [0.1, 0.2, 0.3]) == pytest.approx(2, rel=1e-4)


def test_what_the_run_renders_is_kept_beside_depth_images_that_leave_it_unknown(split: Split) -> None:
    given = [np.zeros((HEIGHT, WIDTH), np.float32)] * len(split.dataset)
    model = FlatModel(split.outputs.dataparser_scale)
    for view in render_views(model, split.dataset, split.outputs, given):
        assert not view.depth.any()
        np.testing.assert_allclose(view.completed().depth[:, WIDTH // 2 :], DEPTH, rtol=1e-5)


def test_depth_of_a_written_scene_is_in_the_unit_of_its_poses_and_unknown_where_rays_meet_nothing(split: Split) -> None:
    layers = rendered_layers(FlatModel(split.outputs.dataparser_scale), split, 0)
    assert layers.depth is not None
    assert layers.labels is not None
    np.testing.assert_allclose(layers.depth[:, WIDTH // 2 :], DEPTH, rtol=1e-5)
    assert (layers.depth[:, : WIDTH // 2] == 0).all()
    assert (layers.labels[:, : WIDTH // 2] == -1).all()
