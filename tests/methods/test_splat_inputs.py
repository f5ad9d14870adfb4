"""What training of Gaussians reads and keeps: images as bytes, and sparse points only where it begins at them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.splatting.ply import write_splat
from support.registered import configured


def set_up(scene: Path, folder: Path, uses_depth: bool = True, **model: Any) -> Any:
    """The pipeline of a training that has not begun."""
    config: Any = configured(semantic_splatfacto, scene, folder, 2, **model)
    config.pipeline.datamanager.use_depth = uses_depth
    return config.pipeline.setup(device="cpu")


def test_images_are_kept_as_bytes_and_a_step_is_to_the_bit_that_of_their_floats(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    pipeline = set_up(nerfstudio_scene, tmp_path)
    data, model = pipeline.datamanager, pipeline.model
    assert {view.pixels.dtype for view in data.training_views.views} == {torch.uint8}
    camera, batch = data.next_train(0)
    image = torch.from_numpy(np.array(Image.open(data.train_dataset.image_filenames[batch["image_idx"]])))
    given = image.float() / 255
    assert torch.equal(batch["image"], given)
    results = []
    for view in (batch["view"], replace(data.training_views.views[batch["image_idx"]], pixels=given)):
        torch.manual_seed(0)  # of the background
        losses = model.get_loss_dict(model(camera), {**batch, "view": view})
        torch.stack(list(losses.values())).sum().backward()
        results.append([*losses.values(), *(p.grad for p in model.gauss_params.values() if p.grad is not None)])
        model.zero_grad(set_to_none=True)
    assert len(results[0]) > len(losses)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def scene_with_points(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    """A scene whose file names a PLY of sparse points, which is not there yet."""
    folder = copy_scene(nerfstudio_scene)
    content = json.loads((folder / "transforms.json").read_text("utf8"))
    (folder / "transforms.json").write_text(json.dumps(content | {"ply_file_path": "points.ply"}), "utf8")
    return folder


def test_sparse_points_are_read_only_where_gaussians_begin_at_them(scene_with_points: Path, tmp_path: Path) -> None:
    (scene_with_points / "points.ply").write_text("ply\nnothing", "utf8")
    model = set_up(scene_with_points, tmp_path).model
    assert model.num_points > 100
    (gaussians, colors), splat = model.gaussians_on_cpu(), tmp_path / "splat.ply"
    write_splat(splat, gaussians, colors, np.full(model.num_points, -1, np.int32))
    from_file = set_up(scene_with_points, tmp_path, start_from=splat, start_frame="scene").model
    assert from_file.num_points == model.num_points
    with pytest.raises(SceneError, match=r"Expected a PLY file of sparse points at .*points.ply"):
        set_up(scene_with_points, tmp_path, uses_depth=False)
    positions = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0), (1.0, 1.0, 1.0)]
    vertices = np.array(positions, [(name, "f4") for name in ("x", "y", "z")])
    plyfile.PlyData([plyfile.PlyElement.describe(vertices, "vertex")]).write(str(scene_with_points / "points.ply"))
    assert set_up(scene_with_points, tmp_path, uses_depth=False).model.num_points == len(positions)
