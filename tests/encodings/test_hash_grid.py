"""The numba hash grid against nerfstudio's torch loop, its slow twin."""

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding
from nerfstudio.fields.density_fields import HashMLPDensityField

from semantic_ns.encodings.hash_grid import HashGrid, replace_hash_encodings
from semantic_ns.errors import SceneError
from support.reference import assert_same_with_any_number_of_threads


def grids(**changes: int) -> tuple[HashGrid, HashEncoding]:
    """The same grid in both back ends, with features of size 1."""
    torch.manual_seed(0)
    options = {"num_levels": 4, "min_res": 4, "max_res": 40, "log2_hashmap_size": 8, "features_per_level": 2} | changes
    slow = HashEncoding(implementation="torch", hash_init_scale=1.0, **options)  # pyright: ignore[reportArgumentType]
    return HashGrid.from_encoding(slow, "numba"), slow


def positions(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def assert_equal_values_and_gradients(fast: HashGrid, slow: HashEncoding, x: torch.Tensor) -> None:
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [fast(inputs[0]), slow(inputs[1])]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    cotangent = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(2))
    for output, point in zip(outputs, inputs, strict=True):
        point.grad = None
        fast.hash_table.grad = None
        output.backward(cotangent)
        point.table_gradient = fast.hash_table.grad  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(inputs[0].table_gradient, inputs[1].table_gradient, rtol=1e-4, atol=1e-4)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 31, 5001])
def test_values_and_gradients_equal_nerfstudios_for_any_number_of_points(count: int) -> None:
    assert_equal_values_and_gradients(*grids(), positions(count))


@pytest.mark.parametrize(
    "changes",
    [
        {"features_per_level": 1},
        {"features_per_level": 4},
        {"num_levels": 1, "max_res": 4},
        {"log2_hashmap_size": 4},
        {"max_res": 2048, "log2_hashmap_size": 16, "num_levels": 12},
    ],
)
def test_values_and_gradients_equal_nerfstudios_for_any_layout(changes: dict[str, int]) -> None:
    assert_equal_values_and_gradients(*grids(**changes), positions(57))


def test_points_on_the_border_are_encoded_as_nerfstudio_does() -> None:
    fast, slow = grids()
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    torch.testing.assert_close(fast(corners), slow(corners), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("features", [1, 2])
def test_position_gradients_agree_on_the_border_and_on_grid_lines(features: int) -> None:
    fast, slow = grids(features_per_level=features)
    x = torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [0.25, 0.3, 0.75], [0.0, 0.0, 0.0]])
    gradients = []
    for grid in (fast, slow):
        points = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(grid(points).square().sum(), points)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_a_gradient_that_is_not_a_number_reaches_the_table() -> None:
    fast, _ = grids()
    (gradient,) = torch.autograd.grad(fast(positions(3)), [fast.hash_table], torch.full((3, 8), torch.nan))
    assert gradient.isnan().any()


def test_an_empty_batch_gives_an_empty_encoding_and_a_zero_gradient() -> None:
    fast, _ = grids()
    encoded = fast(torch.zeros(0, 3))
    assert encoded.shape == (0, 8)
    encoded.sum().backward()
    assert fast.hash_table.grad is not None
    assert fast.hash_table.grad.abs().max() == 0


def test_non_contiguous_positions_and_gradients_are_read_right() -> None:
    fast, slow = grids()
    strided = positions(64)[::2].flip(-1)
    assert not strided[:, :2].is_contiguous()
    wide = torch.empty(32, 6)
    wide[:, ::2] = strided
    assert_equal_values_and_gradients(fast, slow, wide[:, ::2])
    torch.testing.assert_close(fast(strided.view(4, 8, 3)), slow(strided).view(4, 8, -1), rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_result() -> None:
    fast, _ = grids()
    x = positions(9000)

    def everything() -> list[torch.Tensor]:
        encoded = fast(x)
        return [encoded.detach(), *torch.autograd.grad(encoded.square().sum(), [fast.hash_table])]

    assert_same_with_any_number_of_threads(everything)


def test_swapping_the_back_end_keeps_the_checkpoint_and_the_result() -> None:
    torch.manual_seed(0)
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    options = {"num_levels": 3, "log2_hashmap_size": 8, "max_res": 32, "implementation": "torch"}
    field = HashMLPDensityField(box, **options)
    x = positions(20) - 0.5
    before, stored = field.density_fn(x), {k: v.clone() for k, v in field.state_dict().items()}
    replace_hash_encodings(field)
    assert isinstance(field.encoding, HashGrid)
    assert field.encoding is field.mlp_base[0]
    assert field.state_dict().keys() == stored.keys()
    torch.testing.assert_close(field.density_fn(x), before)
    other = HashMLPDensityField(box, **options)
    other.load_state_dict(stored)
    torch.testing.assert_close(other.density_fn(x), before)


def test_the_numba_back_end_refuses_tensors_of_another_device() -> None:
    fast, _ = grids()
    with pytest.raises(SceneError, match="CPU tensors, found one on meta"):
        fast(torch.zeros(3, 3, device="meta"))
