"""Too little memory is one sentence, and no other error becomes it."""

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.splatting.memory import memory_errors_as_scene_error

FAR_TOO_MANY = 1 << 55


def test_an_allocation_that_fails_is_one_sentence_whoever_makes_it() -> None:
    for allocate in (np.empty, torch.empty):
        with (
            pytest.raises(SceneError, match="Expected enough memory for the images, found too little"),
            memory_errors_as_scene_error("the images"),
        ):
            allocate(FAR_TOO_MANY)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors_as_scene_error("the images"):
        torch.zeros(2).reshape(3)
