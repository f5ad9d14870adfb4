"""From the path of a network to the network, by what lies there."""

from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.prediction.segmenter import Segmenter

_TORCHVISION_SUFFIXES = (".pth", ".pt", ".safetensors")


def load_segmenter(path: Path, architecture: str | None = None, device: str = "cpu") -> Segmenter:
    """A network from a folder (transformers), an `.onnx` file or a file of weights (torchvision).

    Args:
        path: where it is.
        architecture: name of torchvision's network that weights belong to; for weights alone.
        device: where PyTorch runs it.

    Raises:
        SceneError: if there is none, or it cannot be used.
    """
    is_torchvision = path.is_file() and path.suffix.lower() in _TORCHVISION_SUFFIXES
    if architecture is not None and path.exists() and not is_torchvision:
        raise SceneError(
            f"Expected a file of torchvision's weights for --architecture, found {path}, which says itself what it is; "
            "leave --architecture out."
        )
    if path.is_dir():
        onnx = sorted(path.glob("*.onnx"))
        if len(onnx) == 1 and not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
            path = onnx[0]  # as exported beside its configuration
        else:
            from semantic_ns.prediction.transformers_model import load_transformers

            return load_transformers(path, device)
    if not path.is_file():
        raise SceneError(
            f"Expected a network at {path}, found nothing; nothing is downloaded here, so get it where there is a "
            "network, for example by `hf download NAME --local-dir FOLDER`, and name the folder by --model."
        )
    if path.suffix.lower() == ".onnx":
        from semantic_ns.prediction.onnx_model import load_onnx

        return load_onnx(path)
    if is_torchvision:
        from semantic_ns.prediction.torchvision_model import load_torchvision

        return load_torchvision(path, architecture, device)
    raise SceneError(
        f"Expected a network as a folder of transformers, an .onnx file, or weights of torchvision (.pth, .pt, "
        f".safetensors), found {path}; choose one of these."
    )
