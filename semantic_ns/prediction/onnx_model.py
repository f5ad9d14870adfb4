"""Segmentation networks in ONNX files, run by ONNX Runtime on the CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.prediction.class_names import ClassNames, names_in_metadata, names_of_mapping
from semantic_ns.prediction.model_folder import preprocessing_beside, read_config
from semantic_ns.prediction.onnx_session import open_onnx, told_inputs
from semantic_ns.prediction.segmenter import Segmenter, failed_network, softmax_of_logits

_INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_LOGITS_NAMES = ("logits", "out")


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxSegmenter(Segmenter):
    """A network in an ONNX file, see `Segmenter`.

    Attributes:
        session: the loaded network.
        input_name: name of its image.
        input_type: type of its image.
        output_name: name of its logits.
    """

    session: Any
    input_name: str
    input_type: torch.dtype
    output_name: str

    def probabilities(self, pixels: Float32[Tensor, "1 3 height width"]) -> Float32[Tensor, "classes height width"]:
        """The soft-max of the network's logits."""
        try:
            values = pixels.to(self.input_type).numpy()
            (logits,) = self.session.run([self.output_name], {self.input_name: values})
            found = torch.from_numpy(logits)
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise failed_network(self.path, pixels, error) from error
        height, width = pixels.shape[-2:]
        return softmax_of_logits(found, (height, width), self.num_classes, self.path)


def load_onnx(path: Path) -> OnnxSegmenter:
    """Load a network whose image is [1, 3, height, width] and whose output is logits of the same shape or smaller.

    Classes are those of the file's metadata, or of a `config.json` beside it; sizes and colours those of a
    `preprocessor_config.json` beside it.

    Raises:
        SceneError: if ONNX Runtime is missing, or the file is damaged or of another kind.
    """
    session = open_onnx(path, torch.get_num_threads())
    inputs = session.get_inputs()
    image = inputs[0]
    shape = list(image.shape)
    if len(inputs) != 1 or image.type not in _INPUT_TYPES or not _takes_an_image(shape):
        raise SceneError(
            f"Expected one input [1, 3, height, width] of floats in {path}, found {told_inputs(session)}; export the "
            "network so, with its normalisation left to --mean and --std."
        )
    output = next((one for name in _LOGITS_NAMES for one in session.get_outputs() if one.name == name), None)
    output = output or session.get_outputs()[0]
    height, width = shape[2:]
    num_classes = output.shape[1] if len(output.shape) == 4 and isinstance(output.shape[1], int) else None
    metadata = session.get_modelmeta().custom_metadata_map
    preprocessing, notes = preprocessing_beside(path.parent)
    return OnnxSegmenter(
        path=path,
        classes=names_in_metadata(metadata, str(path)) or _names_beside(path.parent),
        num_classes=num_classes,
        preprocessing=preprocessing,
        notes=notes,
        fixed_size=(height, width) if isinstance(height, int) and isinstance(width, int) else None,
        session=session,
        input_name=image.name,
        input_type=_INPUT_TYPES[image.type],
        output_name=output.name,
    )


def _takes_an_image(shape: list[Any]) -> bool:
    """Whether a shape, with names where any length will do, has room for one image of three channels."""
    if len(shape) != 4:
        return False
    return all(not isinstance(given, int) or given == wanted for given, wanted in zip(shape[:2], (1, 3), strict=True))


def _names_beside(folder: Path) -> ClassNames | None:
    config = folder / "config.json"
    if not config.is_file():
        return None
    names = read_config(config).get("id2label")
    return None if names is None else names_of_mapping(names, f"id2label of {config}")
