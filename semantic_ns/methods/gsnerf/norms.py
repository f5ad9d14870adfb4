"""Batch norms in place of group norms, as the released code of GSNeRF has them."""

from torch import nn


def use_batch_norm(network: nn.Module) -> None:
    """Replace each group norm behind a convolution by a batch norm that takes its moments from the batch, always.

    Args:
        network: changed in place; its group norms stand behind a convolution in an `nn.Sequential`.
    """
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential):
            for place, (layer, norm) in enumerate(zip(list(block), list(block)[1:], strict=False), start=1):
                if isinstance(norm, nn.GroupNorm):
                    is_3d = isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
                    kind = nn.BatchNorm3d if is_3d else nn.BatchNorm2d
                    block[place] = kind(norm.num_channels, track_running_stats=False)
