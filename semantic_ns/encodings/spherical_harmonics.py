"""nerfstudio's spherical harmonics, by one CPU kernel instead of some sixty small operations."""

import torch
from jaxtyping import Float
from nerfstudio.field_components.encodings import SHEncoding
from torch import Tensor

_LEVELS = 4


class SphericalHarmonics(SHEncoding):
    """The torch implementation of nerfstudio's encoding; equal to it for any input, normalised or not."""

    def __init__(self) -> None:
        super().__init__(levels=_LEVELS)

    @torch.no_grad()
    def pytorch_fwd(self, in_tensor: Float[Tensor, "*bs input_dim"]) -> Float[Tensor, "*bs output_dim"]:
        """The 16 components of each vector, constants to autograd as in the parent."""
        if in_tensor.device.type != "cpu" or in_tensor.dtype != torch.float32:
            return super().pytorch_fwd(in_tensor)
        from semantic_ns.encodings import spherical_harmonics_numba

        components = torch.empty(*in_tensor.shape[:-1], _LEVELS**2)
        spherical_harmonics_numba.components(
            in_tensor.detach().reshape(-1, 3).contiguous().numpy(), components.view(-1, _LEVELS**2).numpy()
        )
        return components
