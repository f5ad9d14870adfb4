"""More Gaussians than fit into memory are one sentence, wherever they are needed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.errors import SceneError
from semantic_ns.labelling.head_worker import reply
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from support.registered import configured

FAR_TOO_MANY = 1 << 46
SENTENCE = "Expected enough memory for .*, found too little .*; give fewer or smaller images"


def too_many_of_torch(*_: Any, **__: Any) -> Any:
    return torch.empty(FAR_TOO_MANY)


def too_many_of_numpy(*_: Any, **__: Any) -> Any:
    return np.empty(FAR_TOO_MANY)


@pytest.fixture(scope="module")
def trainer(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer that has not begun."""
    config = configured(semantic_splatfacto, nerfstudio_scene, tmp_path_factory.mktemp("run"), 2)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def test_a_step_of_training_says_it(trainer: Any) -> None:
    model = trainer.pipeline.model
    trainer.train_iteration(0)
    given = model.features_dc.data
    try:
        model.features_dc.data = torch.zeros(1, 1).expand(FAR_TOO_MANY, 3)
        with pytest.raises(SceneError, match=SENTENCE):
            trainer.train_iteration(1)
    finally:
        model.features_dc.data = given


def test_a_checkpoint_of_too_many_says_it(trainer: Any) -> None:
    model = trainer.pipeline.model
    state = {f"_model.{name}": value for name, value in model.state_dict().items()}
    state["_model.gauss_params.means"] = torch.zeros(1, 1).expand(FAR_TOO_MANY, 3)
    with pytest.raises(SceneError, match=SENTENCE):
        trainer.pipeline.load_pipeline(state, 0)


def test_classes_and_images_say_it(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, camera = trainer.pipeline.model, trainer.pipeline.datamanager.train_dataset.cameras[0:1]
    monkeypatch.setattr(model, "class_probabilities", torch.zeros(1, 1).expand(model.num_points, FAR_TOO_MANY))
    with pytest.raises(SceneError, match=SENTENCE):
        model.get_outputs_for_camera(camera)
    monkeypatch.setattr(model, "update_classes", too_many_of_torch)
    with pytest.raises(SceneError, match=SENTENCE):
        trainer.pipeline.update_classes()


@pytest.mark.parametrize("allocate", [too_many_of_torch, too_many_of_numpy])
def test_a_training_to_begin_and_sns_to_splat_say_it(
    allocate: Callable[..., Any], nerfstudio_scene: Path, tmp_path: Path
) -> None:
    class Greedy(ToSplat):
        _check_options = allocate

    with pytest.raises(SceneError, match=SENTENCE):
        Greedy(tmp_path, tmp_path / "splat").main()
    config: Any = configured(semantic_splatfacto, nerfstudio_scene, tmp_path, 2).pipeline
    config.datamanager._target = allocate
    with pytest.raises(SceneError, match=SENTENCE):
        config.setup(device="cpu")


@pytest.mark.parametrize("what", ["begin", "train", "render", "save"])
@pytest.mark.parametrize("allocate", [too_many_of_torch, too_many_of_numpy])
def test_what_follows_a_session_says_it_and_what_to_do(allocate: Callable[..., Any], what: str) -> None:
    assert reply(allocate, {"do": what}) == {
        "error": "Expected memory for the field's classes, found too little; start with --field False."
    }
