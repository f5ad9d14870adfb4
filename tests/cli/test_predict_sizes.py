"""`sns-predict`: the size at which a network sees images, by its configuration, by --size and by --tile."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_ns.cli.predict import Predict
from support.new_rooms import write_room
from support.segmenters import ConvNet, write_onnx

NAMES = ["wall", "floor", "sofa"]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_room(tmp_path_factory.mktemp("room") / "scene", seed=0)


def network_of(folder: Path, configured: bool) -> Path:
    """A network in a folder, which may say that its images have 24 x 24 pixels."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder.mkdir()
    if configured:
        (folder / "preprocessor_config.json").write_text('{"size": {"height": 24, "width": 24}}')
    return write_onnx(ConvNet(len(NAMES)), folder / "n.onnx", names=json.dumps(NAMES))


def predicted(room: Path, network: Path, output_dir: Path, tile: int | None) -> tuple[np.ndarray, dict]:
    Predict(room, network, output_dir, classes_of="model", tile=tile, overlap=4).main()
    images = [np.asarray(Image.open(path)) for path in sorted(output_dir.glob("*.png"))]
    return np.stack(images), json.loads((output_dir / "predictions.json").read_text())


def test_tiles_are_pieces_of_the_image_at_its_own_size_whatever_the_network_is_configured_for(
    room: Path, tmp_path: Path
) -> None:
    networks = [network_of(tmp_path / name, configured) for name, configured in (("free", False), ("set", True))]
    plain, _ = predicted(room, networks[0], tmp_path / "plain", 16)
    tiled, record = predicted(room, networks[1], tmp_path / "tiled", 16)
    np.testing.assert_array_equal(tiled, plain)
    assert record["size"]["exact"] is None
    whole, record = predicted(room, networks[1], tmp_path / "whole", None)
    assert record["size"]["exact"] == [24, 24]
    assert (whole != plain).any()


@pytest.mark.parametrize(("size", "tile", "is_said"), [((), None, True), ((32,), None, False), ((), 48, False)])
def test_the_size_that_is_assumed_of_weights_of_torchvision_is_said_where_it_is_taken(
    size: tuple[int, ...],
    tile: int | None,
    is_said: bool,
    room: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from torchvision.models import get_model

    small = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=len(NAMES))
    path = tmp_path / "lraspp_mobilenet_v3_large.pth"
    torch.save(small.state_dict(), path)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    Predict(
        room, path, tmp_path / "out", tmp_path / "names.txt", classes_of="model", size=size, tile=tile, overlap=4
    ).main()
    assert ("shorter side is 520 pixels" in capsys.readouterr().out) == is_said
