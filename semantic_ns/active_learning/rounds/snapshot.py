"""What nerfstudio's checkpoints leave out, for a resumed run to choose what it would have chosen without the break."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from semantic_ns.propagation.targets import SurfaceMaps

_TURNS = ("_steps_since_update", "_step")
"""Attributes of nerfstudio's proposal sampler that say when the proposal network trains next."""


class RunMoment(nn.Module):
    """Random states, the turns of the proposal network, and the surface that labels spread over last.

    Args:
        model: whose proposal sampler counts turns, if it has one.

    Attributes:
        is_loaded: whether a checkpoint was loaded and `restore` was not called since.
        maps: the surface that labels spread over last; none before that.
    """

    def __init__(self, model: object) -> None:
        super().__init__()
        # In a tuple, lest it become a part of this module.
        self._samplers = (getattr(model, "proposal_sampler", None),)
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
        for name, value in state["turns"].items():
            setattr(self._samplers[0], name, value)

    def get_extra_state(self) -> dict[str, Any]:
        """All of it, for the checkpoint."""
        name, keys, *rest = np.random.get_state(legacy=True)
        maps = self.maps
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),  # pyright: ignore[reportAttributeAccessIssue]
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
            "turns": {name: getattr(self._samplers[0], name) for name in _TURNS if hasattr(self._samplers[0], name)},
            "maps": None
            if maps is None
            else (maps.stride, *(torch.from_numpy(x) for x in (maps.depths, maps.colours, maps.normals))),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keep what a checkpoint holds until `restore`: what comes between would draw random numbers, too."""
        self._loaded, self.is_loaded = state, True
        if state["maps"] is not None:
            stride, *maps = state["maps"]
            self.maps = SurfaceMaps(stride, *(values.cpu().numpy() for values in maps))
