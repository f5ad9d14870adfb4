"""Classes that start over while geometry and colours stay."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField


def class_modules(field: SemanticNerfField) -> Iterator[nn.Module]:
    """The modules that only classes are made of."""
    yield field.semantic_trunk if field.semantic_grid is None else field.semantic_grid
    yield field.semantic_head


def start_classes_over(field: SemanticNerfField, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Give everything that only classes are made of new random values, and its optimisers no memory of the old ones."""
    for module in (part for whole in class_modules(field) for part in whole.modules()):
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        elif isinstance(module, HashGrid):
            with torch.no_grad():
                module.hash_table.uniform_(-1, 1).mul_(module.hash_init_scale)
    for parameter in (parameter for whole in class_modules(field) for parameter in whole.parameters()):
        for optimizer in optimizers.values():
            optimizer.state.pop(parameter, None)
