"""Per-image numbers of an evaluation that several processes share, averaged as nerfstudio does."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from time import perf_counter
from typing import Any

import torch

from semantic_ns.interfaces import SemanticModelLike


def images_scored_by(model: SemanticModelLike, images: Iterable[tuple[Any, Any]]) -> list[dict[str, float]]:
    """Render and score images, one after the other; there may be none.

    Args:
        model: the model, in evaluation.
        images: (camera, batch) of each.

    Returns:
        Of each image the model's metrics, and as in nerfstudio's evaluation `num_rays_per_sec` and `fps`.
    """
    found = []
    for camera, batch in images:
        start = perf_counter()
        outputs = model.get_outputs_for_camera(camera=camera)
        metrics, _ = model.get_image_metrics_and_images(outputs, batch)
        seconds, num_rays = perf_counter() - start, int(camera.height * camera.width)
        found.append({**metrics, "num_rays_per_sec": num_rays / seconds, "fps": 1 / seconds})
    return found


def mean_of_images(parts: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """The mean over all images of each number.

    Args:
        parts: numbers of the images of each process, which took them in turn: sorted again as one process has them,
            whose means are then the same to the last bit.
    """
    images = [image for turn in zip_longest(*parts) for image in turn if image is not None]
    return {name: float(torch.mean(torch.tensor([image[name] for image in images]))) for name in (images or [{}])[0]}
