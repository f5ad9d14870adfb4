"""Networks in files of ONNX, transformers and torchvision, and files that are none."""

import ast
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.prediction.models import load_segmenter
from semantic_ns.prediction.segmenter import resize_maps
from semantic_ns.prediction.transformers_model import _take_no_pretrained_backbone, scores_of_queries
from support.fresh_process import ROOT
from support.segmenters import ConvNet, write_onnx, write_segformer

NAMES = ["wall", "floor", "chair"]
OPTIONAL = ("onnxruntime", "transformers", "onnx", "safetensors")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`free.onnx`, `fixed.onnx`, the folder `segformer` and weights of torchvision's smallest network."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    from torchvision.models import get_model

    folder = tmp_path_factory.mktemp("networks")
    write_onnx(ConvNet(3), folder / "free.onnx", names=json.dumps(NAMES))
    write_onnx(ConvNet(3), folder / "fixed.onnx", (8, 12))
    write_segformer(folder / "segformer", NAMES)
    torch.manual_seed(0)
    small = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3)
    torch.save(small.state_dict(), folder / "lraspp_mobilenet_v3_large.pth")
    return folder


def pixels_of(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(1, 3, rows, columns, generator=torch.Generator().manual_seed(0))


def test_an_onnx_file_gives_what_the_network_gives_that_was_exported(networks: Path) -> None:
    segmenter = load_segmenter(networks / "free.onnx")
    assert segmenter.classes is not None
    assert list(segmenter.classes.names) == NAMES
    assert (segmenter.num_classes, segmenter.fixed_size) == (3, None)
    pixels = pixels_of(10, 7)
    with torch.no_grad():
        expected = ConvNet(3)(pixels)[0].softmax(dim=0)
    torch.testing.assert_close(segmenter.probabilities(pixels), expected)


def test_an_onnx_file_of_one_size_says_so(networks: Path) -> None:
    segmenter = load_segmenter(networks / "fixed.onnx")
    assert segmenter.fixed_size == (8, 12)
    assert segmenter.classes is None
    with pytest.raises(SceneError, match="to take an image"):
        segmenter.probabilities(pixels_of(9, 12))


def test_files_beside_an_onnx_file_say_its_classes_and_colours(networks: Path, tmp_path: Path) -> None:
    shutil.copy(networks / "fixed.onnx", tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b", "2": "c"}}))
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    segmenter = load_segmenter(tmp_path)
    assert segmenter.classes is not None
    assert segmenter.classes.names == ("a", "b", "c")
    assert segmenter.preprocessing.mean == (0.5, 0.5, 0.5)
    assert segmenter.notes == ()


def test_a_folder_of_transformers_gives_the_soft_max_of_the_resized_logits(networks: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    segmenter = load_segmenter(networks / "segformer")
    assert segmenter.classes is not None
    assert list(segmenter.classes.names) == NAMES
    pixels = pixels_of(40, 64)
    with torch.no_grad():
        logits = SegformerForSemanticSegmentation.from_pretrained(networks / "segformer")(pixels).logits
    assert logits.shape == (1, 3, 10, 16)
    expected = resize_maps(logits, (40, 64))[0].softmax(dim=0)
    torch.testing.assert_close(segmenter.probabilities(pixels), expected)


def test_weights_of_torchvision_give_what_its_network_gives(networks: Path) -> None:
    from torchvision.models import get_model

    path = networks / "lraspp_mobilenet_v3_large.pth"
    segmenter = load_segmenter(path)
    assert (segmenter.num_classes, segmenter.classes) == (3, None)
    twin = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3).eval()
    twin.load_state_dict(torch.load(path, weights_only=True))
    pixels = pixels_of(40, 64)
    with torch.no_grad():
        expected = twin(pixels)["out"][0].softmax(dim=0)
    torch.testing.assert_close(segmenter.probabilities(pixels), expected)


def test_no_network_is_asked_whatever_the_environment_says(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils._http import get_session, reset_sessions

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    reset_sessions()
    load_segmenter(networks / "segformer")
    with pytest.raises(OfflineModeIsEnabled):
        get_session().get("http://localhost:9")


def test_no_configuration_inside_another_asks_for_a_pretrained_backbone() -> None:
    transformers = pytest.importorskip("transformers")
    inner = transformers.TimmBackboneConfig("resnet18", use_pretrained_backbone=True)
    config = transformers.UperNetConfig(backbone_config=inner)
    config.use_pretrained_backbone = True
    _take_no_pretrained_backbone(config)
    assert not config.use_pretrained_backbone
    assert not config.backbone_config.use_pretrained_backbone


def test_queries_score_classes_by_the_sum_over_their_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    classes, masks = (torch.randn(1, 4, *shape, generator=generator) for shape in ((6,), (3, 5)))
    found = scores_of_queries(classes, masks, (3, 5))
    for row, column in np.ndindex(3, 5):
        scores = np.zeros(5)
        for query in range(4):
            weights = np.exp(classes[0, query].numpy())
            mask = 1 / (1 + np.exp(-float(masks[0, query, row, column])))
            scores += mask * weights[:5] / weights.sum()  # the last is that of no class
        np.testing.assert_allclose(found[:, row, column], scores / scores.sum(), rtol=1e-4)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SceneError) as raised:
        load_segmenter(path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class Stranger:
    """What a pickle may hold: reading it as such would make a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.proof), "w")


def test_no_pickle_of_a_stranger_is_executed(networks: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    weights = tmp_path / "fcn_resnet50.pth"
    torch.save({"classifier.4.weight": Stranger(proof)}, weights)
    assert "tensors alone" in refusal(weights)
    weights.write_bytes(pickle.dumps({"classifier.4.weight": Stranger(proof)}))
    assert "tensors alone" in refusal(weights)
    folder = Path(shutil.copytree(networks / "segformer", tmp_path / "old"))
    (folder / "model.safetensors").unlink()
    torch.save({"layer": Stranger(proof)}, folder / "pytorch_model.bin")
    assert "copy all files" in refusal(folder)
    assert not proof.exists()


def test_weights_that_are_tensors_alone_are_read_from_older_files(networks: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(networks / "segformer", tmp_path / "old"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    pixels = pixels_of(32, 32)
    expected = load_segmenter(networks / "segformer").probabilities(pixels)
    torch.testing.assert_close(load_segmenter(folder).probabilities(pixels), expected)


def test_what_is_no_network_is_one_sentence_that_says_how_to_get_one(networks: Path, tmp_path: Path) -> None:
    assert "hf download" in refusal(tmp_path / "nvidia/segformer-b0")
    assert "config.json" in refusal(tmp_path)
    assert "--architecture" in refusal(networks / "free.onnx", architecture="fcn_resnet50")
    text = tmp_path / "network.onnx"
    text.write_text("no network")
    assert "cannot be loaded" in refusal(text)
    assert "found" in refusal(Path(shutil.copy(text, tmp_path / "network.txt")))
    weights = Path(shutil.copy(networks / "lraspp_mobilenet_v3_large.pth", tmp_path / "mine.pth"))
    assert "fcn_resnet50" in refusal(weights)
    assert "choose another --architecture" in refusal(weights, architecture="deeplabv3_mobilenet_v3_large")
    assert "--architecture" in refusal(weights, architecture="unet")
    torch.save([1, 2], weights)
    assert "dictionary of tensors" in refusal(weights, architecture="fcn_resnet50")


def damaged(networks: Path, tmp_path: Path, name: str, change: Any) -> str:
    folder = Path(shutil.copytree(networks / "segformer", tmp_path / name))
    change(folder)
    return refusal(folder)


def edit_config(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def forget_the_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.startswith("decode_head")}
    save_file(kept, path, {"format": "pt"})


def test_a_damaged_or_other_folder_of_transformers_is_one_sentence(networks: Path, tmp_path: Path) -> None:
    path = tmp_path
    assert "git lfs" in damaged(networks, path, "a", lambda folder: (folder / "model.safetensors").unlink())
    assert "copy all" in damaged(networks, path, "b", lambda folder: (folder / "model.safetensors").write_text("text"))
    assert "trained for segmentation" in damaged(networks, path, "c", forget_the_head)
    assert "semantic segmentation" in damaged(networks, path, "d", edit_config(model_type="bert"))
    remote = edit_config(model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    assert "is not run" in damaged(networks, path, "e", remote)
    assert "also takes text" in damaged(networks, path, "f", edit_config(model_type="oneformer"))
    more = {str(number): f"class {number}" for number in range(5)}
    others = edit_config(id2label=more, label2id={name: int(number) for number, name in more.items()})
    assert "others or damaged" in damaged(networks, path, "g", others)
    assert "\n" not in damaged(networks, path, "h", lambda folder: (folder / "config.json").write_text("{"))


@pytest.mark.parametrize("package", ["onnxruntime", "transformers"])
def test_a_missing_package_is_one_sentence(package: str, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    path = networks / ("free.onnx" if package == "onnxruntime" else "segformer")
    assert "pip install 'semantic-ns[predict]'" in refusal(path)


def test_a_network_of_another_input_is_one_sentence(networks: Path, tmp_path: Path) -> None:
    class Grey(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean(dim=1)

    path = write_onnx(Grey(), tmp_path / "grey.onnx")
    segmenter = load_segmenter(path)
    with pytest.raises(SceneError, match="before any arg-max"):
        segmenter.probabilities(pixels_of(8, 8))


def imports_at_once(source: str) -> list[str]:
    """Packages that a module imports outside its functions."""
    found = []
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        for child in ast.iter_child_nodes(nodes.pop()):
            if isinstance(child, ast.Import):
                found += [alias.name.partition(".")[0] for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                found.append((child.module or "").partition(".")[0])
            elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                nodes.append(child)
    return found


def test_no_module_loads_the_packages_of_networks_before_a_network_is_asked_for() -> None:
    sources = [path.read_text(encoding="utf8") for path in (ROOT / "semantic_ns").rglob("*.py")]
    naming = [
        source for source in sources if any(f"import {name}" in source or f"from {name}" in source for name in OPTIONAL)
    ]
    assert len(naming) == 3
    assert not set(OPTIONAL) & {name for source in naming for name in imports_at_once(source)}
    assert imports_at_once("import onnx.helper\nif True:\n    from torch import nn") == ["onnx", "torch"]
