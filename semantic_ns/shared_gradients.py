"""Gradients of a step whose samples several processes share."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semantic_ns.processes import Processes


def add_up_gradients(module: nn.Module, processes: Processes, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Give every process the sum of the gradients of all, and the mean of what batch norms have learnt of their inputs.

    Done once after the last backward pass of a step, and not by torch's DistributedDataParallel: which parameters a
    sample trains depends on what its scene has (depth, labels), so that two processes may train different ones in the
    same step. DistributedDataParallel then either waits for ever or has to search every graph for them, and it gives
    those that no sample trains a gradient of 0, with which Adam goes on moving them. Here they have none, as in one
    process that takes all samples one after the other: for two samples the sums are the same to the last bit.
    The price is that gradients do not travel while the backward pass still runs.

    Args:
        module: the model, the same in all processes.
        processes: the processes.
        loss: this process's share of the loss of the step, on the device of the model.

    Returns:
        The loss of the step: the sum over all processes.
    """
    if processes.world == 1:
        return loss
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    statistics = _running_statistics(module)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    is_trained = torch.tensor([p.grad is not None for p in trained], dtype=loss.dtype, device=loss.device)
    # In one piece: a message costs more than what is in it.
    parts = [*gradients, *statistics, is_trained, loss.detach()]
    flat = torch.cat([part.reshape(-1) for part in parts])
    processes.add_up(flat)
    sums = [
        part.view(like.shape) for part, like in zip(flat.split([part.numel() for part in parts]), parts, strict=True)
    ]
    for parameter, total, count in zip(trained, sums, sums[-2].tolist(), strict=False):
        parameter.grad = total if count > 0 else None
    for buffer, total in zip(statistics, sums[len(trained) :], strict=False):
        buffer.copy_(total / processes.world)
    return sums[-1]


def _running_statistics(module: nn.Module) -> list[Tensor]:
    """Means and variances that batch norms gather in training; frozen ones stay as they are."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]


def copy_weights_of_first(module: nn.Module, processes: Processes) -> None:
    """Give every process the parameters and buffers of the first one.

    The same seed does not do it alone: processors of two kinds may round the first weights differently.
    """
    if processes.world > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            processes.copy_of_first(tensor.data)
