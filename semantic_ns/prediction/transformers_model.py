"""Segmentation networks in folders of Hugging Face `transformers`, from local files alone.

A semantic network gives logits of its classes. A universal one (MaskFormer, Mask2Former) gives masks `m_q` and classes
`c_q` of queries: the score of class `c` at a pixel is sum_q softmax(c_q)[c] sigmoid(m_q) (Cheng et al. 2021, equation
4), and scores are divided by their sum here.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from semantic_ns.errors import SceneError
from semantic_ns.prediction.class_names import names_of_mapping
from semantic_ns.prediction.missing import missing_package
from semantic_ns.prediction.model_folder import preprocessing_beside, read_config
from semantic_ns.prediction.segmenter import Segmenter, check_logits, resize_maps, run_module, softmax_of_logits

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_OLD_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_NEEDS_TEXT = frozenset({"oneformer", "clipseg"})


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformersSegmenter(Segmenter):
    """A semantic or universal segmentation network of `transformers`, see `Segmenter`."""

    module: nn.Module

    def probabilities(self, pixels: Float32[Tensor, "1 3 height width"]) -> Float32[Tensor, "classes height width"]:
        """The soft-max of logits, or the scores of queries divided by their sum."""
        output: Any = run_module(self.module, pixels, self.path)
        height, width = pixels.shape[-2:]
        size = (height, width)
        masks = getattr(output, "masks_queries_logits", None)
        if masks is None:
            return softmax_of_logits(output.logits, size, self.num_classes, self.path)
        classes = output.class_queries_logits
        if classes.shape[-1] - 1 != self.num_classes:
            raise SceneError(
                f"Expected queries of {self.num_classes} classes from {self.path}, found {classes.shape[-1] - 1}; "
                "correct id2label in its config.json."
            )
        check_logits(classes.mT[..., None].expand(-1, -1, -1, 2), (2, 2), None, self.path)
        return scores_of_queries(classes, check_logits(masks, size, None, self.path), size)


def scores_of_queries(
    classes: Float32[Tensor, "1 queries classes_and_none"],
    masks: Float32[Tensor, "1 queries rows columns"],
    size: tuple[int, int],
) -> Float32[Tensor, "classes height width"]:
    """The distribution over classes that logits of queries make at each pixel of an image of a size (height, width)."""
    shares = classes[0].detach().float().cpu().softmax(dim=-1)[:, :-1]
    scores = torch.einsum("qc,qhw->chw", shares, resize_maps(masks, size)[0].sigmoid())
    return scores / scores.sum(dim=0, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def load_transformers(folder: Path, device: str) -> TransformersSegmenter:
    """Load a network whose folder holds `config.json` and its weights.

    Code that comes with a network is not run. Weights are read as safetensors, or as a file of tensors alone.

    Raises:
        SceneError: if `transformers` is missing, or the folder is damaged, incomplete or holds another kind of network.
    """
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise SceneError(
            f"Expected config.json of a transformers network in {folder}, found none; pass the folder that holds it, "
            "or an .onnx or .pth file."
        )
    content = read_config(config_path)
    is_safe = any((folder / name).is_file() for name in _WEIGHTS)
    if not is_safe and not any((folder / name).is_file() for name in _OLD_WEIGHTS):
        raise SceneError(
            f"Expected the weights {_WEIGHTS[0]} in {folder}, found none; copy all files of the network there (git lfs "
            "leaves a note of some bytes where it was not installed)."
        )
    _work_offline()
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers", folder) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = _config(folder, content)
    module = _module(folder, config, is_safe).eval().to(device)
    preprocessing, notes = preprocessing_beside(folder)
    return TransformersSegmenter(
        path=folder,
        classes=names_of_mapping(dict(config.id2label), f"id2label of {config_path}"),
        num_classes=int(config.num_labels),
        preprocessing=preprocessing,
        notes=notes,
        module=module,
    )


def _work_offline() -> None:
    """Let the libraries of Hugging Face ask nothing of a network, whatever the environment says."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:  # it has read the environment already
        from huggingface_hub.utils._http import reset_sessions

        hub.HF_HUB_OFFLINE = True  # pyright: ignore[reportAttributeAccessIssue]
        reset_sessions()


def _config(folder: Path, content: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    kind = content.get("model_type")
    if kind in _NEEDS_TEXT:
        raise SceneError(
            f"Expected a network that takes images alone in {folder}, found one of {kind}, which also takes text; "
            "choose another, such as SegFormer or Mask2Former."
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a configuration can be wrong in any way
        raise SceneError(
            f"Expected a network that the installed transformers knows in {folder}, found one of the kind {kind!r} "
            f"that it does not load ({_in_short(error)}); code that comes with a network is not run, so choose another "
            "or a newer transformers."
        ) from error
    # The weights are in the folder; else some kinds ask a server for those of their backbone first.
    _take_no_pretrained_backbone(config)
    return config


def _take_no_pretrained_backbone(config: Any) -> None:
    """Clear the wish for a pretrained backbone in a configuration and in those inside it."""
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False
    for inner in vars(config).values():
        if hasattr(inner, "model_type") and hasattr(inner, "to_dict"):
            _take_no_pretrained_backbone(inner)


def _module(folder: Path, config: Any, is_safe: bool) -> nn.Module:
    from transformers import AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    for factory in (AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation):
        if type(config) in factory._model_mapping:
            break
    else:
        raise SceneError(
            f"Expected a semantic or universal segmentation network in {folder}, found one of the kind "
            f"{config.model_type!r}; choose a network for semantic segmentation."
        )
    options: dict[str, Any] = {"use_safetensors": is_safe, "local_files_only": True, "trust_remote_code": False}
    try:
        module, report = factory.from_pretrained(
            folder, config=config, weights_only=True, output_loading_info=True, **options
        )
    except Exception as error:  # whatever damaged weights or sizes lead to
        raise SceneError(
            f"Expected the weights of the network that config.json describes in {folder}, found others or damaged ones "
            f"({_in_short(error)}); copy all files of the network again."
        ) from error
    lacking = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if lacking:
        raise SceneError(
            f"Expected the weights of a trained segmentation network in {folder}, found that {len(lacking)} are not in "
            f"its files ({', '.join(lacking[:3])}); choose a network that was trained for segmentation."
        )
    return module


def _in_short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
