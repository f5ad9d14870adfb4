"""The options of splatfacto that act on CUDA alone, where Gaussians are added and removed."""

import dataclasses

from nerfstudio.models.splatfacto import SplatfactoModelConfig

from semantic_ns.errors import SceneError

_CUDA_OPTIONS = (
    "warmup_length", "refine_every", "resolution_schedule", "num_downscales", "cull_alpha_thresh", "cull_scale_thresh",
    "reset_alpha_every", "densify_grad_thresh", "use_absgrad", "densify_size_thresh", "n_split_samples",
    "cull_screen_size", "split_screen_size", "stop_screen_size_at", "random_init", "num_random", "random_scale",
    "ssim_lambda", "stop_split_at", "use_scale_regularization", "max_gauss_ratio", "output_depth_during_training",
    "rasterize_mode", "use_bilateral_grid",
)  # fmt: skip
"""Options of splatfacto that act on CUDA alone."""


def refuse_options_of_cuda(config: SplatfactoModelConfig) -> None:
    """Check that no option asks for what a CPU does not do.

    Raises:
        SceneError: one of them has another value than splatfacto gives it.
    """
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
