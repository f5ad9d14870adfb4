"""What classes are made of, as data: nobody outside a field has to know how the field names its parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.fields.feature_grid import SemanticGrid


@dataclass(frozen=True, eq=False)
class SemanticHead:
    """The parts of a field that only classes are made of. It is a view: the modules stay the field's.

    Semantic features come from a grid of their own or from a trunk on the features that colour uses; logits are linear
    in the composited features.

    Attributes:
        grid: The classes' own hash grid with its layer, or None where they share features.
        trunk: The layers on shared features, or None where classes have a grid of their own.
        linear: The last layer, from semantic features to logits.
    """

    grid: SemanticGrid | None
    trunk: nn.Module | None
    linear: nn.Linear

    def parameters_of_classes(self) -> Iterator[Tensor]:
        """All parameters that only classes train, features first."""
        for module in self._wholes():
            yield from module.parameters()

    def parameters_by_group(self) -> dict[str, Sequence[Tensor]]:
        """The same by parameter group: tables of hash grids are ``grids``, weights and biases ``fields``."""
        parts = list(self._parts())
        tables = [part.hash_table for part in parts if isinstance(part, HashGrid)]
        others = [parameter for part in parts if isinstance(part, nn.Linear) for parameter in part.parameters()]
        return {"grids": tables, "fields": others}

    def reset_parameters(self) -> None:
        """Give all of these parameters new random values from torch's generator."""
        for part in self._parts():
            if isinstance(part, nn.Linear):
                part.reset_parameters()
            elif isinstance(part, HashGrid):
                with torch.no_grad():
                    part.hash_table.uniform_(-1, 1).mul_(part.hash_init_scale)

    def _wholes(self) -> Iterator[nn.Module]:
        yield from (module for module in (self.grid, self.trunk, self.linear) if module is not None)

    def _parts(self) -> Iterator[nn.Module]:
        for module in self._wholes():
            yield from module.modules()
