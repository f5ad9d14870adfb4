"""Stage `picture`: semantic-nerf renders the same picture on the CPU and on the device from the same weights."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.arms import configured, of_method, scene_of, trainer_on
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.speed.turn import take_steps

TOLERANCES = {"mean_color_error": 1e-3, "wrong_color_share": 0.01, "other_label_share": 0.005, "mean_depth_error": 5e-3}
"""Colours in 0..1; a wrong colour is off by more than 2/255; depths, the expected ones, are relative."""


def measure(settings: Settings, rows: Rows) -> None:
    """Train for a while on the device, copy the weights, and compare a test image: sample by sample and fused."""
    steps = 3 if settings.tiny else 300
    config = configured(of_method("semantic-nerf", {"mixed_precision": False, "max_num_iterations": steps}), settings)
    with trainer_on(config, scene_of(settings), settings) as trainer:
        take_steps(trainer, range(steps))
        there = trainer.pipeline.model
        image = picture(there, camera_of(trainer))
        for name, fuse in (("sample by sample", False),) if settings.tiny else _WAYS:
            with rows.attempt(f"same picture on the CPU, {name}"):
                compare(f"same picture on the CPU, {name}", image, on_cpu(trainer, fuse), trainer, rows)


_WAYS = (("sample by sample", False), ("by the fused kernels", True))


def camera_of(trainer: Any) -> Any:
    """A test camera, on the CPU."""
    return trainer.pipeline.datamanager.eval_dataset.cameras[0:1]


def on_cpu(trainer: Any, fuse: bool) -> Any:
    """The model of a trainer with its weights, on the CPU."""
    there, dataset = trainer.pipeline.model, trainer.pipeline.datamanager.train_dataset
    config = trainer.config.pipeline.model
    config.fuse_on_cpu, config.hash_backend = fuse, "numba" if fuse else "torch"
    model = config.setup(
        scene_box=dataset.scene_box, num_train_data=len(dataset), metadata=dataset.metadata, device="cpu",
        grad_scaler=None,
    )  # fmt: skip
    model.load_state_dict({name: value.cpu() for name, value in there.state_dict().items()})
    # No part of the weights: how far the proposals are flattened after so many steps.
    model.proposal_sampler.set_anneal(there.proposal_sampler._anneal)
    return model


def picture(model: Any, camera: Any) -> dict[str, Tensor]:
    """What the model shows, on the CPU."""
    model.eval()
    with torch.no_grad(), model.raw_outputs():
        outputs = model.get_outputs_for_camera(camera.to(model.device))
    return {name: outputs[name].cpu() for name in ("rgb", "expected_depth", "semantics_labels", "accumulation")}


def compare(name: str, found: dict[str, Tensor], model: Any, trainer: Any, rows: Rows) -> None:
    """Add the row of one comparison."""
    expected = picture(model, camera_of(trainer))
    color = (found["rgb"] - expected["rgb"]).abs()
    # Not the median, which jumps to the next surface where half of the light is left between two.
    depth = (found["expected_depth"] - expected["expected_depth"]).abs() / expected["expected_depth"].clamp(min=1e-6)
    errors = {
        "mean_color_error": float(color.mean()),
        "wrong_color_share": float((color.amax(dim=-1) > 2 / 255).float().mean()),
        "other_label_share": float((found["semantics_labels"] != expected["semantics_labels"]).float().mean()),
        "mean_depth_error": float(depth.mean()),
    }
    passed = all(error <= TOLERANCES[kind] for kind, error in errors.items())
    rows.add(name, passed=passed, tolerances=TOLERANCES, pixels=expected["rgb"].shape[0] * expected["rgb"].shape[1],
             largest_color_error=float(color.max()), **errors)  # fmt: skip
