"""The kernel's spherical harmonics are nerfstudio's, and an orthonormal basis."""

import math

import pytest
import torch
from nerfstudio.field_components.encodings import SHEncoding

from semantic_ns.encodings.spherical_harmonics import SphericalHarmonics


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (33, 3), (5, 7, 3)])
def test_components_equal_nerfstudios_for_vectors_of_any_length(shape: tuple[int, ...]) -> None:
    vectors = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))) * 2
    torch.testing.assert_close(SphericalHarmonics()(vectors), SHEncoding(levels=4)(vectors), rtol=1e-5, atol=1e-5)


def test_other_precisions_take_nerfstudios_path() -> None:
    vectors = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(SphericalHarmonics()(vectors), SHEncoding(levels=4)(vectors))


def test_strided_vectors_are_read_right() -> None:
    vectors = torch.randn(6, 5)[:, 1:4]
    torch.testing.assert_close(SphericalHarmonics()(vectors), SphericalHarmonics()(vectors.clone()))


def test_on_the_sphere_the_components_are_orthonormal() -> None:
    # A grid of equal areas: z and longitude in equal steps.
    z = (torch.arange(200) + 0.5) / 100 - 1
    longitude = (torch.arange(200) + 0.5) * (2 * math.pi / 200)
    radius = (1 - z**2).sqrt()[:, None]
    directions = torch.stack([radius * longitude.cos(), radius * longitude.sin(), z[:, None].expand(200, 200)], dim=-1)
    basis = SphericalHarmonics()(directions).view(-1, 16)
    torch.testing.assert_close(basis.T @ basis * (4 * math.pi / len(basis)), torch.eye(16), rtol=0, atol=2e-3)
