"""Files of weights: what is written comes back, and what does not fit is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods import weights
from semantic_ns.methods.gsnerf_small.model import GsnerfSmallModelConfig
from semantic_ns.methods.weights import (
    Origin,
    built_in_limits,
    find_weights,
    label_space_of,
    load_weights,
    options_of,
    read_origin,
    read_weights,
    set_options,
    write_weights,
)

CLASSES = Taxonomy((1, 4), ("wall", "chair"), ((1, 2, 3), (4, 5, 6)), (False, True), 0)
ORIGIN = Origin("gsnerf-small", {"num_source_views": 4, "loss_weights": {"color": 2.5}}, 128)


def as_bytes(taxonomy: Taxonomy) -> Tensor:
    return torch.tensor(list(taxonomy.to_json().encode()), dtype=torch.uint8)


class Model(nn.Module):
    def __init__(self, width: int = 3, taxonomy: Taxonomy = CLASSES) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width)
        self.register_buffer("label_space", as_bytes(taxonomy))
        self.register_buffer("count", torch.tensor(70000))


def written(folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    write_weights(folder / "some.pt", ORIGIN, Model().state_dict() if state is None else state)
    return folder / "some.pt"


def test_weights_come_back_to_half_precision_and_whole_numbers_exactly(tmp_path: Path) -> None:
    state = Model().state_dict()
    back = read_weights(written(tmp_path, state))
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value.half().float() if value.is_floating_point() else value)
    assert label_space_of(back) == CLASSES
    assert read_origin(tmp_path / "some.pt") == ORIGIN


@pytest.mark.parametrize("normalizes", [True, False, None])
def test_weights_say_whether_their_training_scaled_scenes_by_their_cameras(
    normalizes: bool | None, tmp_path: Path
) -> None:
    origin = replace(ORIGIN, normalizes_scale=normalizes)
    write_weights(tmp_path / "some.pt", origin, Model().state_dict())
    assert read_origin(tmp_path / "some.pt") == origin


def test_a_file_of_former_versions_does_not_say_how_its_scenes_were_scaled(tmp_path: Path) -> None:
    content = torch.load(written(tmp_path), weights_only=True)
    del content["normalizes_scale"]
    torch.save(content, tmp_path / "former.pt")
    assert read_origin(tmp_path / "former.pt") == ORIGIN


def test_every_built_in_file_of_weights_has_its_limits_and_no_other_path_has(tmp_path: Path) -> None:
    for path in weights.BUILT_IN.glob("*.pt"):
        assert built_in_limits(Path(path.stem)) is not None
        assert built_in_limits(path) is None
    assert built_in_limits(tmp_path) is None


def test_a_file_holds_tensors_and_plain_values_alone_and_no_more_bytes_than_its_numbers_need(tmp_path: Path) -> None:
    whole = torch.rand(1000, 1000)
    path = written(tmp_path, {"label_space": as_bytes(CLASSES), "part": whole[:10]})
    assert path.stat().st_size < 2 * 10 * 1000 + 4000
    content = torch.load(path, weights_only=True)
    assert content["state"]["part"].dtype == torch.float16


def test_a_number_beyond_half_precision_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, {"label_space": as_bytes(CLASSES), "large": torch.tensor([1e6, 1.0])})
    assert read_weights(path)["large"].tolist() == [1e6, 1.0]


def test_weights_are_found_by_a_built_in_name_and_the_error_lists_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "BUILT_IN", tmp_path)
    written(tmp_path)
    assert find_weights(Path("some")) == tmp_path / "some.pt"
    with pytest.raises(SceneError, match=r"built-in ones \(some\) at nothing, found none"):
        find_weights(Path("nothing"))


def test_the_newest_checkpoint_of_a_run_is_found_by_folder_or_config(tmp_path: Path) -> None:
    (tmp_path / "nerfstudio_models").mkdir()
    for step in (9, 10):
        (tmp_path / f"nerfstudio_models/step-{step:09d}.ckpt").touch()
    (tmp_path / "config.yml").touch()
    for path in (tmp_path, tmp_path / "config.yml"):
        assert find_weights(path).name == "step-000000010.ckpt"


def test_a_checkpoint_without_its_run_does_not_say_what_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "models/step-000000001.ckpt"
    path.parent.mkdir()
    state = {f"_model.{name}": value for name, value in Model().state_dict().items()}
    others = {"_model.device_indicator_param": torch.zeros(0), "run_snapshot._extra_state": {"turns": {"a": 1}}}
    torch.save({"pipeline": state | others}, path)
    assert read_weights(path).keys() == Model().state_dict().keys()
    with pytest.raises(SceneError, match="give the whole folder of a run"):
        read_origin(path)


@pytest.mark.parametrize(
    "content", [{"format": weights.FORMAT}, {"pipeline": {"_model.field": torch.zeros(1)}}, [1.0], torch.zeros(2)]
)
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(SceneError, match="Expected the weights of a model that knows many scenes"):
        read_origin(tmp_path / "other.pt")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code of the file was run",))


def test_a_file_that_would_run_code_is_refused_and_so_is_half_a_file(tmp_path: Path) -> None:
    torch.save({"format": weights.FORMAT, "state": Harmful()}, tmp_path / "harmful.pt")
    half = written(tmp_path).read_bytes()
    (tmp_path / "half.pt").write_bytes(half[: len(half) // 2])
    for name in ("harmful.pt", "half.pt"):
        with pytest.raises(SceneError, match="found a file that cannot be read as such"):
            read_weights(tmp_path / name)


def test_loading_sets_every_parameter(tmp_path: Path) -> None:
    given, model = Model(), Model()
    load_weights(model, written(tmp_path, given.state_dict()))
    assert torch.equal(model.layer.weight, given.layer.weight.half().float())


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Model(width=4), r"same sizes in .*some.pt, found others \(layer.bias, layer.weight\)"),
        (Model(taxonomy=Taxonomy((1,), ("door",), ((1, 2, 3),), (False,), 0)), "a model that knows wall, chair in"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(tmp_path: Path, model: Model, sentence: str) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(SceneError, match=sentence):
        load_weights(model, written(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_options_of_a_model_go_over_to_another_configuration() -> None:
    trained, new = GsnerfSmallModelConfig(), GsnerfSmallModelConfig()
    trained.num_source_views, trained.near_plane, trained.source_selection = 5, 0.25, "nearest"
    trained.loss_weights.color = 7.0
    trained.weights, trained.use_source_labels = Path("elsewhere"), False
    options = options_of(trained)
    set_options(new, options)
    assert (new.num_source_views, new.near_plane, new.source_selection) == (5, 0.25, "nearest")
    assert new.loss_weights.color == 7.0
    assert (new.weights, new.use_source_labels) == (None, True)  # what the user of the weights decides
    with pytest.raises(SceneError, match="found 'no_option'"):
        set_options(new, {"no_option": 1})
