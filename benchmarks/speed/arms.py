"""The arms of the speed benchmark: what is timed, and for how long. Light to import; a turn builds its own arm."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

# Arms are timed far behind the warm-up of their proposal networks, when these are trained every few steps only. To
# train that long would take nerfacto hours, so the callbacks are told that it is over.
FIRST_STEP = 20_000


class NotMeasuredError(Exception):
    """An arm that cannot run here; the message says why."""


@dataclass(frozen=True)
class Arm:
    """What is timed in one turn."""

    config: Callable[[], Any]
    """Makes the `TrainerConfig`."""
    steps: tuple[int, int]
    """Training steps that are not counted, and those that are."""
    frames: tuple[int, int]
    """Whole test images rendered after them: not counted, counted; none where that takes too long."""
    first_step: int = FIRST_STEP
    """Number of the first step in the eyes of the callbacks."""
    needs_cuda: bool = False

    def scaled(self, scale: float) -> "Arm":
        """The same arm with fewer (or more) steps and frames, at least one counted where any is."""
        counts = {
            name: (round(scale * idle), max(min(1, counted), round(scale * counted)))
            for name, (idle, counted) in (("steps", self.steps), ("frames", self.frames))
        }
        return replace(self, **counts)


def without_spreading_or_depth(config: Any) -> Any:
    """The configuration as it trains once a run has found its labels to be many and clean, and leaves them alone.

    A field of the first steps would not find that: its surface is nonsense. No depth is read, as nerfacto reads none.
    """
    config.pipeline.propagation.enabled = False
    if hasattr(config.pipeline.model, "depth_loss_weight"):
        config.pipeline.model.depth_loss_weight = 0.0
    return config


def registered(method: str) -> Any:
    """A copy of the configuration of a method that nerfstudio knows.

    Raises:
        NotMeasuredError: it knows none of this name.
    """
    from nerfstudio.configs.method_configs import all_methods

    if method not in all_methods:
        raise NotMeasuredError(f"no method {method} is registered")
    return copy.deepcopy(all_methods[method])


def nerfacto() -> Any:
    """Nerfacto's defaults by torch; its data manager over images in memory reads our scene, without labels."""
    config = registered("nerfacto")
    config.pipeline.datamanager = _without_labels(config)
    config.pipeline.model.implementation = "torch"
    return config


def nerfacto_same_sizes() -> Any:
    """Nerfacto's model and data with every size, option, batch and optimiser of semantic-nerf."""
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    config = registered("semantic-nerf")
    config.pipeline = VanillaPipelineConfig(
        datamanager=_without_labels(config), model=NerfactoModelConfig(**_nerfacto_options(config))
    )
    return config


def per_sample_head() -> Any:
    """`nerfacto_same_sizes` with nerfstudio's semantic head, on our labels."""
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from benchmarks.speed.models import PerSampleHeadModelConfig

    config = registered("semantic-nerf")
    config.pipeline = VanillaPipelineConfig(
        datamanager=config.pipeline.datamanager, model=PerSampleHeadModelConfig(**_nerfacto_options(config))
    )
    return config


def _without_labels(config: Any) -> Any:
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig

    from semantic_ns.dataparsers.auto import AutoDataParserConfig

    rays = config.pipeline.datamanager.train_num_rays_per_batch
    return VanillaDataManagerConfig(train_num_rays_per_batch=rays, dataparser=AutoDataParserConfig())


def _nerfacto_options(config: Any) -> dict[str, Any]:
    """What semantic-nerf sets of nerfacto's options; the planes, which it takes from the scene, are nerfacto's."""
    from nerfstudio.models.nerfacto import NerfactoModelConfig

    names = {option.name for option in fields(NerfactoModelConfig)} - {"_target"}
    options = {name: getattr(config.pipeline.model, name) for name in names}
    return {name: value for name, value in options.items() if value is not None}


def _semantic_nerf(**options: Any) -> Callable[[], Any]:
    def config() -> Any:
        made = without_spreading_or_depth(registered("semantic-nerf"))
        for name, value in options.items():
            if not hasattr(made.pipeline.model, name):
                raise NotMeasuredError(f"semantic-nerf has no option {name}")
            setattr(made.pipeline.model, name, value)
        return made

    return config


def _with_classes(num_classes: int) -> Callable[[], Any]:
    """semantic-nerf on the same scene with another number of classes; labels are folded modulo it if it has more."""

    def config() -> Any:
        from benchmarks.speed.models import FoldedClassesDataParserConfig

        made = without_spreading_or_depth(registered("semantic-nerf"))
        made.pipeline.datamanager.dataparser = FoldedClassesDataParserConfig(num_classes=num_classes)
        return made

    return config


def _tiny_cuda_nn() -> Any:
    from importlib.util import find_spec

    if find_spec("tinycudann") is None:
        raise NotMeasuredError("tinycudann is not installed")
    return _semantic_nerf(implementation="tcnn")()


# nerfacto takes seconds for a step on a CPU, and minutes for a frame.
_SLOW: dict[str, Any] = {"steps": (2, 6), "frames": (0, 0)}
_MIDDLE: dict[str, Any] = {"steps": (5, 25), "frames": (1, 3)}
_QUICK: dict[str, Any] = {"steps": (60, 240), "frames": (1, 5)}

ARMS: dict[str, Arm] = {
    "nerfacto": Arm(nerfacto, **_SLOW),
    "nerfacto-same-sizes": Arm(nerfacto_same_sizes, **_MIDDLE),
    "per-sample-head": Arm(per_sample_head, **_MIDDLE),
    "semantic-nerf": Arm(_semantic_nerf(), **_QUICK),
    "semantic-nerf-spread": Arm(lambda: registered("semantic-nerf"), **_QUICK),
    "semantic-nerf-no-head": Arm(_semantic_nerf(use_semantics=False), **_QUICK),
    # While labels train the geometry, too.
    "semantic-nerf-start": Arm(_semantic_nerf(geometry_fraction=1.0), **_QUICK, first_step=0),
    "semantic-nerf-no-head-start": Arm(_semantic_nerf(use_semantics=False), **_QUICK, first_step=0),
    "semantic-nerf-C13": Arm(_with_classes(13), **_QUICK),
    "semantic-nerf-C40": Arm(_with_classes(40), **_QUICK),
    "semantic-nerf-C101": Arm(_with_classes(101), **_QUICK),
    # The grid has to learn where the scene is empty, and looks at all of its cells in the first 256 steps only.
    "semantic-ngp": Arm(
        lambda: without_spreading_or_depth(registered("semantic-ngp")), steps=(300, 240), frames=(1, 5), first_step=0
    ),
    "semantic-nerf-triton": Arm(_semantic_nerf(hash_backend="triton"), **_QUICK, needs_cuda=True),
    "semantic-nerf-torch": Arm(_semantic_nerf(hash_backend="torch"), **_QUICK, needs_cuda=True),
    "semantic-nerf-tcnn": Arm(_tiny_cuda_nn, **_QUICK, needs_cuda=True),
}
"""In the order in which a round measures them."""
