"""Classes that start over while geometry and colours stay."""

from collections.abc import Mapping

import torch

from semantic_ns.fields.semantic_head import SemanticHead


def reset_semantic_parameters(head: SemanticHead, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Give everything that only classes are made of new random values, and its optimisers no memory of the old ones."""
    head.reset_parameters()
    for parameter in head.parameters_of_classes():
        for optimizer in optimizers.values():
            optimizer.state.pop(parameter, None)
