"""Networks in ONNX files, opened by ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.prediction.missing import missing_package


def open_onnx(path: Path, num_threads: int = 0) -> Any:
    """The session of a network.

    Args:
        path: The file.
        num_threads: Threads that one run may use; 0 for one for each core.

    Raises:
        SceneError: if ONNX Runtime is missing, or the file cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_package("onnxruntime", path) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the sentence below is enough
    options.intra_op_num_threads = num_threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        message = " ".join(str(error).split())[:200]
        raise SceneError(
            f"Expected an ONNX file that can be run at {path}, found one that cannot be loaded ({message}); export the "
            "network again, with all its weights."
        ) from error


def told_inputs(session: Any) -> str:
    """The inputs of a network with their types and shapes, for a sentence."""
    return ", ".join(f"{one.name} {one.type} {list(one.shape)}" for one in session.get_inputs())
