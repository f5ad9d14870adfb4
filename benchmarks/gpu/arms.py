"""What is timed: configurations of the methods, on the device and in the sizes of the run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.settings import NotPossibleError, Settings
from benchmarks.speed.arms import (
    FIRST_STEP,
    NotMeasuredError,
    nerfacto,
    nerfacto_same_sizes,
    registered,
    without_spreading_or_depth,
)

_TINY_MODEL = {
    "log2_hashmap_size": 8, "num_levels": 3, "max_res": 32, "num_nerf_samples_per_ray": 4, "hidden_dim": 8,
    "hidden_dim_color": 8, "semantic_width": 8, "num_coarse_samples": 6, "num_importance_samples": 4,
    "grid_resolution": 8, "fuse_on_cpu": False,
}  # fmt: skip
_TINY_RAYS = 64


@dataclass(frozen=True)
class Arm:
    """One configuration."""

    config: Callable[[], Any]
    """Makes the `TrainerConfig`; may raise NotMeasuredError."""
    steps: tuple[int, int] = (40, 60)
    """Training steps that are not counted, and those of each turn."""
    frames: int = 3
    """Whole frames of 640x480 after them."""
    first_step: int = FIRST_STEP
    """Number of the first step in the eyes of the callbacks: past the warm-up of the proposal networks."""


def of_method(method: str, trainer: dict[str, Any] | None = None, rays: int = 0, **model: Any) -> Callable[[], Any]:
    """A registered method without the spreading of labels, with changes.

    Args:
        method: its name.
        trainer: options of the trainer.
        rays: of a batch; 0 as the method has it.
        model: options of the model.
    """

    def config() -> Any:
        made = without_spreading_or_depth(registered(method))
        for owner, options in ((made, trainer or {}), (made.pipeline.model, model)):
            for name, value in options.items():
                if not hasattr(owner, name):
                    raise NotMeasuredError(f"{method} has no option {name}")
                setattr(owner, name, value)
        if rays:
            made.pipeline.datamanager.train_num_rays_per_batch = rays
        return made

    return config


def _with_tiny_cuda_nn(config: Callable[[], Any]) -> Callable[[], Any]:
    def made() -> Any:
        if find_spec("tinycudann") is None:
            raise NotMeasuredError("tiny-cuda-nn is not installed")
        changed = config()
        changed.pipeline.model.implementation = "tcnn"
        return changed

    return made


_FLOAT32 = {"mixed_precision": False}
_MIXED = {"mixed_precision": True}
_SLOW = {"steps": (15, 20), "frames": 1}

SPEED_ARMS: dict[str, Arm] = {
    "nerfacto, torch": Arm(nerfacto, **_SLOW),
    "nerfacto of semantic-nerf's sizes, torch": Arm(nerfacto_same_sizes, **_SLOW),
    "semantic-nerf, mixed": Arm(of_method("semantic-nerf", _MIXED)),
    "semantic-nerf, float32": Arm(of_method("semantic-nerf", _FLOAT32)),
    "semantic-nerf without semantics, float32": Arm(of_method("semantic-nerf", _FLOAT32, use_semantics=False)),
    "semantic-nerf by the torch hash grid, float32": Arm(
        of_method("semantic-nerf", _FLOAT32, hash_backend="torch"), **_SLOW
    ),
    "semantic-nerf at its start, float32": Arm(
        of_method("semantic-nerf", _FLOAT32, geometry_fraction=1.0), first_step=0, frames=0
    ),
    "semantic-nerf, 8192 rays, mixed": Arm(of_method("semantic-nerf", _MIXED, 8192), frames=0),
    "semantic-nerf, 8192 rays, float32": Arm(of_method("semantic-nerf", _FLOAT32, 8192), frames=0),
    "semantic-nerf, 32768 rays, float32": Arm(of_method("semantic-nerf", _FLOAT32, 32768), frames=0),
    "semantic-nerf-big, mixed": Arm(of_method("semantic-nerf-big", _MIXED)),
    "semantic-nerf-big, float32": Arm(of_method("semantic-nerf-big", _FLOAT32)),
    "semantic-nerf-big without semantics, mixed": Arm(
        of_method("semantic-nerf-big", _MIXED, use_semantics=False), frames=0
    ),
    "nerfacto, tiny-cuda-nn": Arm(_with_tiny_cuda_nn(nerfacto), frames=1),
    "semantic-nerf, tiny-cuda-nn, mixed": Arm(_with_tiny_cuda_nn(of_method("semantic-nerf", _MIXED))),
}
"""In the order in which they are measured."""

NGP_ARM = Arm(of_method("semantic-ngp", _FLOAT32), steps=(300, 100), first_step=0)
"""The grid looks at all of its cells in the first 256 steps only."""


def configured(config: Callable[[], Any], settings: Settings) -> Any:
    """The configuration of an arm for this run.

    Raises:
        NotPossibleError: it cannot be measured here.
    """
    try:
        made = config()
    except NotMeasuredError as reason:
        raise NotPossibleError(f"Not measured: {reason}.") from reason
    if settings.tiny:
        _shrink(made)
    return made


def _shrink(config: Any) -> None:
    model = config.pipeline.model
    for name, value in _TINY_MODEL.items():
        if hasattr(model, name):
            setattr(model, name, value)
    if hasattr(model, "num_proposal_samples_per_ray"):
        model.num_proposal_samples_per_ray = (4,) * len(model.num_proposal_samples_per_ray)
        for network in model.proposal_net_args_list:
            network.update(log2_hashmap_size=6, num_levels=2, max_res=16)
    if getattr(model, "hash_backend", None) == "auto":
        model.hash_backend = "torch"
    config.pipeline.datamanager.train_num_rays_per_batch = _TINY_RAYS
    config.pipeline.datamanager.eval_num_rays_per_batch = _TINY_RAYS


@contextmanager
def trainer_on(config: Any, scene: Path, settings: Settings) -> Iterator[Any]:
    """A trainer on the device of the run; what nerfstudio prints goes to the log."""
    from benchmarks.speed.turn import trainer_of

    config.machine.seed = 42 + settings.seed
    with trainer_of(config, scene) as trainer:
        assert torch_device(trainer) == settings.device, "the trainer is on another device than was asked for"
        yield trainer


def torch_device(trainer: Any) -> str:
    """`cuda` or `cpu`."""
    return str(trainer.device).split(":", maxsplit=1)[0]


def scene_of(settings: Settings) -> Path:
    """What speed is measured on; a synthetic room where everything is tiny."""
    return tiny_scene(settings) if settings.tiny else settings.scene


def tiny_scene(settings: Settings) -> Path:
    """A room of 12 images of 48x36, written once for a run."""
    from semantic_ns.synthetic_scene import write_replica_scene

    folder = settings.output / "tiny_scene"
    return folder if folder.is_dir() else write_replica_scene(folder)
