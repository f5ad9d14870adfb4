"""What a training over many rooms decides before it begins: options of given weights, and numbers that cannot be."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.methods.gsnerf_small.model import GsnerfSmallModelConfig
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.viewseg_small.method import viewseg_small
from semantic_ns.methods.weights import Origin, label_space_of, options_of, read_weights, write_weights

CLASSES = Taxonomy((1, 4), ("wall", "chair"), ((1, 2, 3), (4, 5, 6)), (False, True), 0)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods have their names in nerfstudio, whatever the metadata of the installation says."""
    for name, method in (("gsnerf-small", gsnerf_small), ("viewseg-small", viewseg_small)):
        monkeypatch.setitem(all_methods, name, method.config)


def pipeline_of(method: Any = gsnerf_small, **model: Any) -> Any:
    pipeline = copy.deepcopy(method.config.pipeline)
    for name, value in model.items():
        setattr(pipeline.model, name, value)
    return pipeline


def weights_of(folder: Path, width: int = 192, normalizes: bool | None = None, **options: Any) -> Path:
    """A file of weights of gsnerf-small that was trained with some options other than the usual ones."""
    trained = GsnerfSmallModelConfig(encoder="lite0", **options)
    state = {"label_space": torch.tensor(list(CLASSES.to_json().encode()), dtype=torch.uint8)}
    write_weights(folder / "rooms.pt", Origin("gsnerf-small", options_of(trained), width, normalizes), state)
    return folder / "rooms.pt"


def test_options_of_weights_are_taken_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = weights_of(tmp_path, far_plane=6.0, depth_guided="nothing", num_source_views=5)
    pipeline = pipeline_of(encoder="lite0", weights=weights)
    pipeline.settle()
    assert (pipeline.model.far_plane, pipeline.model.depth_guided) == (6.0, "nothing")
    assert (pipeline.model.num_source_views, pipeline.datamanager.max_image_width) == (5, 192)
    assert Taxonomy.from_json(pipeline.datamanager.dataparser.label_space) == CLASSES
    said = capsys.readouterr().out
    for option in ("far-plane 6.0", "depth-guided nothing", "num-source-views 5"):
        assert f"--pipeline.model.{option}" in said
    pipeline.settle()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("option", "given", "trained"),
    [("far_plane", 20.0, 6.0), ("depth_guided", "nothing", "colors"), ("encoder", "unet", "lite0")],
)
def test_an_option_that_makes_another_network_of_given_weights_is_refused(
    option: str, given: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: True)
    weights = weights_of(tmp_path, **({} if option == "encoder" else {option: trained}))
    pipeline = pipeline_of(**{"encoder": "lite0", "weights": weights} | {option: given})
    with pytest.raises(SceneError, match=f"{option.replace('_', '-')} {trained}, with which .* found {given}; leave"):
        pipeline.settle()


def test_other_options_than_those_of_given_weights_stay_and_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = pipeline_of(encoder="lite0", weights=weights_of(tmp_path, num_source_views=5), num_source_views=2)
    pipeline.model.loss_weights.color = 0.5
    pipeline.datamanager.max_image_width = 100
    pipeline.settle()
    assert (pipeline.model.num_source_views, pipeline.model.loss_weights.color) == (2, 0.5)
    assert pipeline.datamanager.max_image_width == 100
    said = capsys.readouterr().out
    assert "--pipeline.model.num-source-views 2 (theirs: 5)" in said
    assert "--pipeline.model.loss-weights.color 0.5" in said
    assert "192 pixels wide" in said


def test_built_in_weights_fit_the_network_of_an_installation_without_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_imagenet_weights", lambda: False)
    model = GsnerfSmallModelConfig(weights=Path("rooms-small"))
    assert model.encoder == "unet"
    ManyScenesPipelineConfig(datamanager=ManyScenesDataManagerConfig(), model=model).settle()
    weights = read_weights(Path("rooms-small"))
    network = GsnerfSmallNetwork(label_space_of(weights).num_classes, Sizes(encoder=model.encoder))
    for name, value in network.state_dict().items():
        assert weights[f"network.{name}"].shape == value.shape


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("theirs", [True, False, None])
def test_a_run_remembers_scenes_scaled_by_their_cameras_of_its_own_and_of_the_weights_that_it_begins_with(
    own: bool, theirs: bool | None, tmp_path: Path
) -> None:
    fresh = pipeline_of()
    tuned = pipeline_of(encoder="lite0", weights=weights_of(tmp_path, normalizes=theirs))
    for pipeline in (fresh, tuned):
        pipeline.datamanager.dataparser.normalize_scale = own
        pipeline.settle()
    assert fresh.weights_normalize_scale is own
    assert tuned.weights_normalize_scale is (True if own else theirs)
    resumed = tuned.for_resume()
    resumed.settle()
    assert resumed.weights_normalize_scale is tuned.weights_normalize_scale


def test_a_default_of_given_weights_is_told_in_words(tmp_path: Path) -> None:
    pipeline = pipeline_of(encoder="lite0", weights=weights_of(tmp_path), far_plane=20.0)
    with pytest.raises(SceneError, match=r"Expected the default of --pipeline\.model\.far-plane, with .*, found 20\.0"):
        pipeline.settle()


def test_weights_of_another_method_are_named(tmp_path: Path) -> None:
    pipeline = pipeline_of(viewseg_small, encoder="lite0", weights=weights_of(tmp_path))
    with pytest.raises(SceneError, match="found those of gsnerf-small; start the training by ns-train gsnerf-small"):
        pipeline.settle()


@pytest.mark.parametrize(
    ("part", "name", "value", "sentence"),
    [
        ("datamanager", "train_sources", (0, 3), "train-sources, found 0 3"),
        ("datamanager", "train_sources", (4, 2), "train-sources, found 4 2"),
        ("datamanager", "targets_per_step", 0, "at least 1 for --pipeline.datamanager.targets-per-step, found 0"),
        ("model", "num_source_views", 0, "at least 1 for --pipeline.model.num-source-views, found 0"),
    ],
)
def test_numbers_of_frames_that_cannot_be_are_refused_before_anything_is_read(
    part: str, name: str, value: Any, sentence: str
) -> None:
    pipeline = pipeline_of()
    setattr(getattr(pipeline, part), name, value)
    with pytest.raises(SceneError, match=sentence):
        pipeline.settle()


def test_one_source_is_a_number_of_sources() -> None:
    pipeline = pipeline_of(num_source_views=1)
    pipeline.datamanager.train_sources, pipeline.datamanager.targets_per_step = (1, 1), 1
    pipeline.settle()
