"""Small segmentation networks with random weights, in memory and in files."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semantic_ns.prediction.preprocessing import Preprocessing
from semantic_ns.prediction.segmenter import Segmenter, run_module, softmax_of_logits


class ConvNet(nn.Module):
    """Two layers: each pixel sees its 8 neighbours."""

    def __init__(self, num_classes: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        return 4 * self.second(self.first(image).relu())

    def slowly(self, image: np.ndarray) -> np.ndarray:
        """Logits [rows, columns, classes] of a normalised image [rows, columns, 3], pixel by pixel."""
        first, second = (
            [value.detach().double().numpy() for value in layer.parameters()]  # weight, then bias
            for layer in (self.first, self.second)
        )
        rows, columns = image.shape[:2]
        around = np.zeros((rows + 2, columns + 2, 3))
        around[1:-1, 1:-1] = image
        logits = np.zeros((rows, columns, len(second[1])))
        for row in range(rows):
            for column in range(columns):
                window = around[row : row + 3, column : column + 3]
                features = [
                    max(0.0, (kernel.transpose(1, 2, 0) * window).sum() + b) for kernel, b in zip(*first, strict=True)
                ]
                logits[row, column] = 4 * (second[0][:, :, 0, 0] @ np.array(features) + second[1])
        return logits


class ModuleSegmenter(Segmenter):
    """A module that gives logits."""

    module: nn.Module

    def __init__(self, module: nn.Module, **fields: Any) -> None:
        defaults = {"path": Path("network.pth"), "classes": None, "num_classes": None, "preprocessing": Preprocessing()}
        super().__init__(**{**defaults, **fields})
        object.__setattr__(self, "module", module)

    def probabilities(self, pixels: Tensor) -> Tensor:
        logits: Any = run_module(self.module, pixels, self.path)
        return softmax_of_logits(logits, (pixels.shape[-2], pixels.shape[-1]), self.num_classes, self.path)


def write_onnx(module: nn.Module, path: Path, size: tuple[int, int] | None = None, **metadata: str) -> Path:
    """Export a network as torch does; without a size, height and width are free."""
    import onnx

    axes = {2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, 3, *(size or (8, 8))),),
            str(path),
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes=None if size else {"image": axes, "logits": axes},
        )
    if metadata:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(path))
    return path


def write_segformer(folder: Path, names: list[str], **options: Any) -> Path:
    """A tiny SegFormer of `transformers`, with random weights."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        num_attention_heads=[1, 1, 2, 2],
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder, **options)
    return folder
