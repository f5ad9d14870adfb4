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


class EncoderNet(nn.Module):
    """An encoder whose embedding is the image that it gets; of one of raw colours, as it is."""

    def __init__(self, is_raw: bool = False) -> None:
        super().__init__()
        self.is_raw = is_raw

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(2, 0, 1)[None] / 255 if self.is_raw else 1.0 * image


class DecoderNet(nn.Module):
    """A decoder whose mask is what has the colour of a point inside, and not that of one outside.

    Args:
        num_masks: Masks; all but the last one are empty, and the last one has the best score.
    """

    def __init__(self, num_masks: int = 1) -> None:
        super().__init__()
        self.num_masks = num_masks

    def forward(self, embedding: Tensor, places: Tensor, labels: Tensor, *further: Tensor) -> tuple[Tensor, Tensor]:
        columns, rows = places[0].long().unbind(dim=1)
        at_points = embedding[0][:, rows, columns]
        near = 0.5 - (embedding[0][:, None] - at_points[:, :, None, None]).abs().sum(dim=0)
        kind = labels[0][:, None, None]
        nothing = torch.full_like(near, -1.0)
        inside, outside = (torch.where(kind == value, near, nothing).amax(dim=0) for value in (1.0, 0.0))
        mask = torch.minimum(inside, -outside) + sum(0 * one.sum() for one in further)
        empty = [torch.full_like(mask, -1.0)] * (self.num_masks - 1)
        return torch.stack([*empty, mask])[None], torch.arange(self.num_masks).float()[None]


def write_pair(
    folder: Path, side: int = 32, is_raw: bool = False, num_masks: int = 1, names: tuple[str, ...] | None = None
) -> Path:
    """An encoder and a decoder with the names of the usual exports, or others for the decoder's inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    image = torch.zeros(8, 8, 3) if is_raw else torch.zeros(1, 3, side, side)
    embedding = torch.zeros(1, 3, side, side)
    further = (torch.zeros(1, 1, 4, 4), torch.zeros(1), torch.zeros(2)) if not is_raw else ()
    given = (embedding, torch.zeros(1, 2, 2), torch.ones(1, 2), *further)
    usual = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
    names = names or usual[: len(given)]
    axes = {names[1]: {1: "points"}, names[2]: {1: "points"}}
    if is_raw:
        axes[names[0]] = {2: "rows", 3: "columns"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            EncoderNet(is_raw), (image,), str(folder / "small_encoder.onnx"), dynamo=False,
            input_names=["image"], output_names=["image_embeddings"],
            dynamic_axes={"image": {0: "rows", 1: "columns"}} if is_raw else None,
        )  # fmt: skip
        torch.onnx.export(
            DecoderNet(num_masks), given, str(folder / "small_decoder.onnx"), dynamo=False,
            input_names=list(names), output_names=["masks", "iou_predictions"], dynamic_axes=axes,
        )  # fmt: skip
    return folder
