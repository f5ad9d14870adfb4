"""What nerfstudio's checkpoints leave out, for a resumed run to go the way that it would have gone without a break."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from semantic_ns.interfaces import CountsTurns
from semantic_ns.surface.maps import SurfaceMaps


class RunSnapshot(nn.Module):
    """Random states, the turns of the model's sampling, and the surface that labels spread over last.

    Args:
        model: The model that is trained, see its `sampling_turns`.

    Attributes:
        is_loaded: whether a checkpoint was loaded and `restore` was not called since.
        maps: the surface that labels spread over last; none before that.
    """

    def __init__(self, model: CountsTurns) -> None:
        super().__init__()
        # In a tuple, lest it become a part of this module.
        self._models = (model,)
        self.is_loaded = False
        self.maps: SurfaceMaps | None = None
        self._loaded: dict[str, Any] = {}

    def restore(self) -> None:
        """Take up the random states and turns of the checkpoint that was loaded."""
        self.is_loaded = False
        state, self._loaded = self._loaded, {}
        random.setstate((state["python"][0], tuple(state["python"][1]), state["python"][2]))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"].cpu())
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
        self._models[0].sampling_turns = state["turns"]

    def get_extra_state(self) -> dict[str, Any]:
        """All of it, for the checkpoint."""
        name, keys, *rest = np.random.get_state(legacy=True)
        maps = self.maps
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),  # pyright: ignore[reportAttributeAccessIssue]
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
            "turns": dict(self._models[0].sampling_turns),
            "maps": None
            if maps is None
            else (maps.stride, *(torch.from_numpy(x) for x in (maps.depths, maps.colors, maps.normals))),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keep what a checkpoint holds until `restore`: what comes between would draw random numbers, too."""
        self._loaded, self.is_loaded = state, True
        if state["maps"] is not None:
            stride, *maps = state["maps"]
            self.maps = SurfaceMaps(stride, *(values.cpu().numpy() for values in maps))
