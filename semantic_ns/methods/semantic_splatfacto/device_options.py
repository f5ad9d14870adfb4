"""What one device does and the other does not: options, optimisers, and gsplat's kernels."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from subprocess import SubprocessError
from typing import Any

import torch
from nerfstudio.models.splatfacto import SplatfactoModelConfig
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.methods.semantic_splatfacto.optimizer import UNIT
from semantic_ns.splatting.fit_config import BLUR_RANGE, COMMON_BLUR, is_blur

_CUDA_OPTIONS = (
    "warmup_length", "refine_every", "resolution_schedule", "num_downscales", "cull_alpha_thresh", "cull_scale_thresh",
    "reset_alpha_every", "densify_grad_thresh", "use_absgrad", "densify_size_thresh", "n_split_samples",
    "cull_screen_size", "split_screen_size", "stop_screen_size_at", "random_init", "num_random", "random_scale",
    "ssim_lambda", "stop_split_at", "use_scale_regularization", "max_gauss_ratio", "output_depth_during_training",
    "use_bilateral_grid", "color_corrected_metrics",
)  # fmt: skip
"""Options of splatfacto that act on CUDA alone."""
_HIDE_CUDA = "put CUDA_VISIBLE_DEVICES= before the command"


def refuse_options_of_device(config: Any, is_on_cpu: bool) -> None:
    """Check that no option asks for what the device does not do.

    Args:
        config: the options, a `SemanticSplatfactoModelConfig`.
        is_on_cpu: whether the Gaussians train on a CPU.

    Raises:
        SceneError: an option of splatfacto has another value than splatfacto gives it, on a CPU, or Gaussians are split
            less than never; or they must not move, or are to be split, on CUDA.
    """
    if not is_on_cpu:
        if not config.train_gaussians:
            raise SceneError(
                "Expected a CPU for --pipeline.model.train-gaussians False, found CUDA, where splatfacto moves and "
                f"adds Gaussians; leave it out, or {_HIDE_CUDA}."
            )
        if config.num_splits is not None:
            raise SceneError(
                "Expected a CPU for --pipeline.model.num-splits, found CUDA, where splatfacto splits Gaussians in its "
                f"own way; leave it out, or {_HIDE_CUDA}."
            )
        if config.blur is not None:
            raise SceneError(
                "Expected a CPU for --pipeline.model.blur, found CUDA, where splatfacto lets gsplat add 0.3 pixels²; "
                f"leave it out, or {_HIDE_CUDA}."
            )
        return
    if config.blur is not None and not is_blur(config.blur):
        raise SceneError(
            "Expected {:g} to {:g} for --pipeline.model.blur, found {:g}; viewers of Gaussian splats add 0.3.".format(
                *BLUR_RANGE, config.blur
            )
        )
    if config.num_splits is not None and config.num_splits < 0:
        raise SceneError(
            f"Expected 0 or more for --pipeline.model.num-splits, found {config.num_splits}; give how often Gaussians "
            "are split."
        )
    defaults = {entry.name: entry.default for entry in dataclasses.fields(SplatfactoModelConfig)}
    changed = [name for name in _CUDA_OPTIONS if getattr(config, name) != defaults[name]]
    if config.camera_optimizer.mode != "off":
        changed.append("camera_optimizer.mode")
    if changed:
        name = changed[0].replace("_", "-")
        raise SceneError(
            f"Expected a CUDA device for --pipeline.model.{name}, found that the Gaussians train on a CPU, where it "
            "changes nothing; leave it out."
        )


def blur_to_go_on_with(kept: Tensor | None, wanted: float | None, is_on_cpu: bool) -> Tensor:
    """The blur of Gaussians of a checkpoint; what is not as it was asked for, or trained, is told.

    Args:
        kept: what the checkpoint has; None where it is from before blurs were kept.
        wanted: what the options ask for, if anything.
        is_on_cpu: whether the Gaussians are drawn on a CPU.
    """
    blur = COMMON_BLUR if kept is None else float(kept)
    if not is_on_cpu and blur != COMMON_BLUR:
        announce(
            "blur",
            f"the Gaussians were trained with {blur:g} pixels², gsplat adds {COMMON_BLUR:g}: they look too wide",
        )
        blur = COMMON_BLUR
    elif wanted is not None and wanted != blur:
        announce("blur", f"the Gaussians of the checkpoint keep the {blur:g} pixels² that they were trained with")
    return torch.tensor(blur, dtype=torch.float64)


def refuse_nothing_to_keep(config: Any) -> None:
    """Check that Gaussians that must not move are there.

    Raises:
        SceneError: there is no file of them.
    """
    if not config.train_gaussians and config.start_from is None:
        raise SceneError(
            "Expected --pipeline.model.start-from with --pipeline.model.train-gaussians False, found none; name a "
            "file of trained Gaussians, or leave the option out."
        )


def _kernels() -> object:
    from gsplat.cuda import _backend  # compiles them, which takes minutes at the first time

    return vars(_backend).get("_C")


def refuse_without_kernels(load: Callable[[], object] = _kernels) -> None:
    """Check that gsplat can render on CUDA.

    Args:
        load: gives its compiled kernels, or None.

    Raises:
        SceneError: its kernels are not there, and could not be compiled.
    """
    reason = "without a CUDA toolkit"
    try:
        if load() is not None:
            return
    # What torch raises of a compiler that is missing or fails, or of a device that it does not know.
    except (ImportError, OSError, RuntimeError, LookupError, SubprocessError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    raise SceneError(
        f"Expected gsplat's CUDA kernels, found none that are compiled ({reason}); install the CUDA toolkit of torch's "
        f"CUDA version with nvcc, by which gsplat compiles them at first use, or {_HIDE_CUDA}."
    )


def refuse_optimizers_of_another_device(
    optimizers: Mapping[str, Any], parameters: Collection[str], is_on_cpu: bool
) -> None:
    """Check that Gaussians train by the optimisers of their device, whose learning rates count in other units.

    Args:
        optimizers: the optimisers by name.
        parameters: names of those of the Gaussians.
        is_on_cpu: whether the Gaussians train on a CPU.

    Raises:
        SceneError: one of them is that of another device.
    """
    for name in parameters:
        if name in optimizers and any((UNIT in group) != is_on_cpu for group in optimizers[name].param_groups):
            here, there = ("a CPU", "CUDA") if is_on_cpu else ("CUDA", "a CPU")
            raise SceneError(
                f"Expected the optimisers of {here} for Gaussians that train on it, found that of {there} for {name}; "
                "the method chooses optimisers, steps and rates by whether the machine has CUDA, so "
                f"{_HIDE_CUDA} to train on a CPU."
            )
