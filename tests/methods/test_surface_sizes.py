"""A surface of `sns-label` that another version of the package has begun."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from semantic_ns.errors import SceneError
from semantic_ns.methods.surface_run import surface_config, train


def test_a_surface_goes_on_with_the_sizes_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = surface_config(tmp_path / "scene", tmp_path / "run")
    begun.pipeline.model.log2_hashmap_size, begun.pipeline.model.max_res = 13, 700
    (tmp_path / "run" / "nerfstudio_models").mkdir(parents=True)
    (tmp_path / "run" / "config.yml").write_text(yaml.dump(begun), "utf8")
    torch.save({}, tmp_path / "run" / "nerfstudio_models" / "step-000000004.ckpt")
    trained: list[Any] = []
    monkeypatch.setattr("nerfstudio.scripts.train.main", trained.append)
    train(tmp_path / "scene", tmp_path / "run")
    model = trained[0].pipeline.model
    assert (model.log2_hashmap_size, model.max_res) == (13, 700)
    assert trained[0].load_dir == tmp_path / "run" / "nerfstudio_models"


@pytest.mark.parametrize("content", [b"a: [", b"a", b"!!python/object:gone.Config {}", b"\xff\xfe"])
def test_a_configuration_that_cannot_be_read_is_one_sentence_and_nothing_is_trained(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "nerfstudio_models").mkdir(parents=True)
    (tmp_path / "run" / "config.yml").write_bytes(content)
    torch.save({}, tmp_path / "run" / "nerfstudio_models" / "step-000000004.ckpt")
    monkeypatch.setattr("nerfstudio.scripts.train.main", lambda _: pytest.fail("trained"))
    with pytest.raises(SceneError, match=r"begun in .*config\.yml, found none that can be read"):
        train(tmp_path / "scene", tmp_path / "run")
