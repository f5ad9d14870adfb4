"""Labels of images that a lens bends are fused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.cli.fuse_labels import FuseLabels
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.fusion.views import read_views
from support.bent_scene import BENT, write_bent_scene


@pytest.mark.parametrize("as_labels", [True, False])
def test_labels_of_bent_images_are_fused_as_pinholes_see_them_and_written_as_they_were_taken(
    as_labels: bool, tmp_path: Path
) -> None:
    """A single image is its own fusion, so that what comes out is what went in, but for what no pinhole sees."""
    folder = write_bent_scene(tmp_path / "scene", BENT)
    views = read_views(AutoDataParserConfig(data=folder, split="all"), "train").views
    table = views[0].dataset.taxonomy
    (tmp_path / "given").mkdir()
    ids = np.asarray(Image.open(folder / "semantics/0.png"))
    if as_labels:
        Image.fromarray(ids).save(tmp_path / "given/0.png")
    else:
        np.save(
            tmp_path / "given/0.npy",
            np.eye(table.num_classes, dtype=np.float32)[table.encode(ids.astype(np.int64), "given")],
        )
    FuseLabels(folder, tmp_path / "given", tmp_path / "fused", split="all").main()
    fused = np.asarray(Image.open(tmp_path / "fused/0.png"))
    is_seen = fused != table.void_source_id
    assert 0.7 < is_seen.mean() < 1
    assert (fused == ids)[is_seen].mean() > 0.97
