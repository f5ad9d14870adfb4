"""The depth images of training frames, as far as they can be trusted, and what is said of the others."""

import numpy as np

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_depth import DepthImages, judge_depth, read_training_depth
from semantic_ns.io.console import announce

_NUM_NAMED = 5
"""Frames that a message names."""


def read_trusted_depth(dataset: SemanticDataset) -> tuple[DepthImages, str] | None:
    """Planar depth of all images in metres, 0 where unknown, and why it is trusted; None where there is none.

    What cannot be read, and what the other frames contradict, is unknown, and the log says so.
    """
    images_m, refusal = read_training_depth(dataset)
    if refusal is not None:
        announce("depth", refusal)
    if not images_m:
        return None
    verdict = judge_depth(images_m, dataset.cameras, dataset.metadata[keys.METRES_PER_UNIT])
    for note in verdict.notes:
        announce("depth", note)
    if not verdict.is_usable:
        announce("depth", f"depth images are left out: {verdict.reason}; see sns-doctor")
        return None
    if verdict.wrong_frames:
        names = ", ".join(dataset.image_filenames[index].name for index in verdict.wrong_frames[:_NUM_NAMED])
        number = f"{len(verdict.wrong_frames)} of {len(images_m)}"
        announce("depth", f"the depth images of {number} frames are left out, which the others contradict: {names}")
    wrong = {*verdict.wrong_frames, *verdict.wrong_sizes}
    used = [np.zeros_like(x) if index in wrong else x for index, x in enumerate(images_m)]
    return used, verdict.reason
