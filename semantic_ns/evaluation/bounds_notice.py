"""What a training says of a near plane beyond, or a far plane short of, what the scene holds."""

from collections.abc import Callable
from typing import Any

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.interfaces import PipelineLike, can
from semantic_ns.io.console import announce
from semantic_ns.sampling.unseen_rays import camera_extent


def bounds_doubt(pipeline: PipelineLike) -> str | None:
    """One sentence if the planes of a model leave out some of the scene; nothing if they do not, or none is known to.

    Where training uses depth images, they say what lies outside; elsewhere the cameras say how large the scene is.

    Args:
        pipeline: pipeline of a training; its depth images are read if they have not been.
    """
    model, manager = pipeline.model, pipeline.datamanager
    # Other models have planes of their own, or have already said that all of the scene is left out.
    if not can(model, "renders_rays") or model.doubt_of_box() is not None:
        return None
    dataset = manager.train_dataset
    if can(manager, "trains_with_depth"):
        return model.bounds.doubt_of_depth(manager.training_depth.values, dataset.metadata[keys.METRES_PER_UNIT])
    return model.bounds.doubt_of_cameras(camera_extent(dataset.cameras.camera_to_worlds[:, :3, 3]))


def saying_doubt_once(pipeline: PipelineLike, trainer: Any) -> Callable[[int], None]:
    """What says the doubt before the first step of a run, or of what is left of it.

    Args:
        pipeline: pipeline of the training.
        trainer: its trainer; of several processes only the first one speaks.
    """
    is_open = trainer.local_rank == 0

    def say(step: int) -> None:
        nonlocal is_open
        del step
        if is_open and (doubt := bounds_doubt(pipeline)) is not None:
            announce("bounds", doubt)
        is_open = False

    return say
