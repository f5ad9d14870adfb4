"""The field of `viewseg` against loops over points and views, in both wirings, and its parameters by the paper."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semantic_ns.geometry.views import pixel_centres
from semantic_ns.methods.viewseg.compat import Compat
from semantic_ns.methods.viewseg.encoder import FEATURES, DeepLabEncoder
from semantic_ns.methods.viewseg.field import (
    NUM_FREQUENCIES,
    WIDTH,
    PointInputs,
    ViewsegField,
    position_code,
)
from semantic_ns.methods.viewseg.network import RenderOptions, ViewsegNetwork, points_in_views, read_maps
from support.fresh_process import ROOT
from support.ring_of_views import bilinear, cameras_before_a_wall, pixel_of

CLASSES = 37
SMALL_CLASSES = 3
BRANCH = 2 * 2 * (128 * 128 + 128)
COUNTS = {
    "lin_in": 66 * 128 + 128,
    "lin_z": 3 * (256 * 128 + 128),
    "blocks per view": 3 * 2 * (128 * 128 + 128),
    "branches": 2 * BRANCH,
    "colour and density": 128 * 4 + 4,
    "classes": 128 * CLASSES + CLASSES,
}
"""Parameters of both wirings: the released one has the blocks that it does not use."""


def begun(field: ViewsegField) -> ViewsegField:
    """A field whose residual blocks and biases do something, as after some training."""
    for parameter in field.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    return field


def field_of(is_released: bool, is_masked: bool = True, uses_directions: bool = True) -> ViewsegField:
    torch.manual_seed(0)
    return begun(ViewsegField(SMALL_CLASSES, uses_directions, is_released, is_masked))


def number_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("is_released", [False, True])
def test_the_field_has_the_published_number_of_parameters(is_released: bool) -> None:
    field = ViewsegField(CLASSES, is_released=is_released)
    found = (
        number_of(field.lin_in), number_of(field.lin_z), number_of(field.of_view),
        number_of(field.color_blocks) + number_of(field.class_blocks), number_of(field.color), number_of(field.classes),
    )  # fmt: skip
    assert found == tuple(COUNTS.values())
    assert number_of(field) == sum(COUNTS.values()) == 343_721


def test_weights_of_one_wiring_load_into_the_other() -> None:
    released, ours = field_of(True), field_of(False)
    assert ours.load_state_dict(released.state_dict()).missing_keys == []


def test_without_directions_the_code_has_three_numbers_less() -> None:
    assert number_of(ViewsegField(CLASSES)) - number_of(ViewsegField(CLASSES, uses_directions=False)) == 3 * WIDTH


def test_first_weights_are_he_normal_and_blocks_change_nothing_at_first() -> None:
    torch.manual_seed(0)
    field = ViewsegField(CLASSES)
    for layer in (field.lin_in, field.lin_z[1], field.color_blocks[0].fc0, field.classes):
        assert isinstance(layer, nn.Linear)
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / layer.in_features), rel=0.05)
        assert not bool(layer.bias.any())
    x = torch.randn(5, WIDTH)
    assert torch.equal(field.of_view[0](x), x)


def test_position_code_is_written_out() -> None:
    x = torch.tensor([[0.3, -1.2, 2.0]])
    by_hand = x[0].tolist()
    for function in (math.sin, math.cos):
        for octave in range(NUM_FREQUENCIES):
            by_hand += [function(2**octave * value) for value in x[0].tolist()]
    assert len(by_hand) == 63
    torch.testing.assert_close(position_code(x)[0], torch.tensor(by_hand), atol=2e-4, rtol=0)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach() @ x + layer.bias.detach()


def block(module: nn.Module, x: Tensor) -> Tensor:
    hidden = linear(module.fc0, x.clamp(min=0))  # pyright: ignore[reportArgumentType]
    return x + linear(module.fc1, hidden.clamp(min=0))  # pyright: ignore[reportArgumentType]


def slowly(field: ViewsegField, code: Tensor, z: Tensor, is_seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One point at a time: the columns of the table of the paper's supplement and of the released code."""
    outputs = []
    for point in range(code.shape[1]):
        views = []
        for view in range(code.shape[0]):
            x = linear(field.lin_in, code[view, point])
            for number in range(3):
                x = x + linear(field.lin_z[number], z[view, point])
                if not field.is_released:
                    x = block(field.of_view[number], x)
            views.append(x)
        seen = [x for x, sees in zip(views, is_seen[:, point].tolist(), strict=True) if sees]
        counted = seen if seen and field.is_masked else views
        x = torch.stack(counted).mean(dim=0)
        branches = []
        for blocks in (field.color_blocks, field.class_blocks):
            y = x
            for number in (1,) if field.is_released else (0, 1):
                y = block(blocks[number], y)
            branches.append(y.clamp(min=0))
        raw = linear(field.color, branches[0])
        outputs.append((raw[:3].sigmoid(), raw[3], linear(field.classes, branches[1])))
    rgb, density, logits = zip(*outputs, strict=True)
    return torch.stack(rgb), torch.stack(density), torch.stack(logits)


@pytest.mark.parametrize("is_released", [False, True])
@pytest.mark.parametrize("is_masked", [False, True])
def test_the_field_is_a_loop_over_points_views_and_blocks(is_released: bool, is_masked: bool) -> None:
    field = field_of(is_released, is_masked)
    code, z = torch.randn(3, 4, 66), torch.randn(3, 4, FEATURES)
    is_seen = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1]]).bool()
    maps = z.permute(0, 2, 1)[..., None]  # each point is a pixel of its own
    with torch.no_grad():
        found = field(PointInputs(code, field.project(maps)[..., 0].mT, is_seen))
    rgb, density, logits = slowly(field, code, z, is_seen)
    torch.testing.assert_close(found.rgb, rgb, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.raw_density, density, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.logits, logits, atol=1e-3, rtol=1e-4)


def test_the_released_wiring_collapses_to_one_affine_map_of_the_means_before_its_last_blocks() -> None:
    field = field_of(True, is_masked=False).double()
    code, z = torch.randn(4, 7, 66).double(), torch.randn(4, 7, FEATURES).double()
    is_seen = torch.ones(4, 7, dtype=torch.bool)
    layers = [layer for layer in field.lin_z if isinstance(layer, nn.Linear)]
    a = field.lin_in.weight
    b = sum(layer.weight for layer in layers)
    c = field.lin_in.bias + sum(layer.bias for layer in layers)
    with torch.no_grad():
        fused = code.mean(dim=0) @ a.T + z.mean(dim=0) @ b.T + c  # pyright: ignore[reportAttributeAccessIssue]
        features = field.project(z.permute(0, 2, 1)[..., None])[..., 0].mT
        found = _input_of_branches(field, code, features, is_seen)
        torch.testing.assert_close(found, fused, atol=1e-12, rtol=1e-12)
        # The intended wiring is no such map: twice the difference to 0 is not the difference to twice.
        ours = field_of(False, is_masked=False).double()
        maps = ours.project(z.permute(0, 2, 1)[..., None])[..., 0].mT
        one, two, none = (_input_of_branches(ours, k * code, k * maps, is_seen) for k in (1, 2, 0))
    assert not torch.allclose(two - none, 2 * (one - none), atol=1e-3)


def _input_of_branches(field: ViewsegField, code: Tensor, features: Tensor, is_seen: Tensor) -> Tensor:
    """What the branches of a field get."""
    found: list[Tensor] = []
    hook = field.color_blocks[1 if field.is_released else 0].register_forward_pre_hook(
        lambda _, inputs: found.append(inputs[0])
    )
    field(PointInputs(code, features, is_seen))
    hook.remove()
    return found[0]


def test_projecting_the_map_once_is_projecting_every_sample_between_its_pixels() -> None:
    torch.manual_seed(0)
    for is_released in (False, True):
        field = field_of(is_released).double()
        maps, xy = torch.randn(2, FEATURES, 5, 6).double(), 1.4 * torch.rand(2, 9, 2).double() - 0.2
        with torch.no_grad():
            once = read_maps(field.project(maps), xy)
            sampled = read_maps(maps, xy)
            layers = [layer for layer in field.lin_z if isinstance(layer, nn.Linear)]
            each = [sampled @ layer.weight.T for layer in layers]
            expected = torch.stack(each).sum(dim=0) if is_released else torch.cat(each, dim=-1)
        torch.testing.assert_close(once, expected, atol=1e-12, rtol=1e-12)


def test_maps_are_read_bilinearly_with_edges_at_the_edges_and_0_outside() -> None:
    torch.manual_seed(0)
    maps, xy = torch.rand(1, 2, 4, 6), torch.tensor([[[0.5, 0.5], [0.02, 0.97], [0.61, 0.33], [1.3, 0.5]]])
    found = read_maps(maps, xy)[0]
    for number, (x, y) in enumerate(xy[0].tolist()):
        torch.testing.assert_close(found[number].double(), bilinear(maps[0], 6 * x - 0.5, 4 * y - 0.5))
    aligned = read_maps(maps, xy, is_aligned=True)[0]
    for number, (x, y) in enumerate(xy[0].tolist()):
        torch.testing.assert_close(aligned[number].double(), bilinear(maps[0], 5 * x, 3 * y))


def test_points_are_seen_by_each_camera_as_one_by_one_and_not_from_behind() -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(3, turn=0.3)
    points = torch.tensor([[0.1, -0.2, 2.0], [0.6, 0.3, 1.0], [0.05, 0.02, -1.5], [3.0, 0.0, 1.0]])
    local, at = points_in_views(cameras, points)
    for view in range(3):
        for number, point in enumerate(points):
            column, row, z = pixel_of(cameras[view : view + 1], point, (1, 1))
            x, y = column + 0.5, row + 0.5
            torch.testing.assert_close(
                at.xy[view, number].double(), torch.tensor([x, y]).double(), atol=1e-4, rtol=1e-4
            )
            assert float(local[view, number, 2]) == pytest.approx(z, abs=1e-5)
            assert bool(at.is_seen[view, number]) == (z > 1e-3 and 0 <= x <= 1 and 0 <= y <= 1)
    # The mirror image of the point behind would be inside the images.
    assert bool(((at.xy[:, 2] >= 0) & (at.xy[:, 2] <= 1)).all())
    assert not bool(at.is_seen[:, 2].any())


def test_a_view_in_front_of_which_a_point_does_not_lie_has_no_part_in_it_unless_views_are_unmasked() -> None:
    torch.manual_seed(0)
    cameras = cameras_before_a_wall(2)
    behind = cameras.c2w.clone()
    behind[1, 2, 3] = 5.0  # a camera behind the points, which looks away from them
    cameras = type(cameras)(behind, cameras.intrinsics)
    for is_masked in (True, False):
        compat = Compat(unmasked_views=not is_masked)
        network = ViewsegNetwork(SMALL_CLASSES, RenderOptions(0.5, 3.0, 4, 4, compat=compat))
        begun(network.coarse)
        maps = torch.randn(2, FEATURES, 6, 8)
        other = maps.clone()
        other[1] += 1
        xy = pixel_centres(2, 3).reshape(-1, 2)
        with torch.no_grad():
            one, two = (network.render(network.sources(m, cameras), cameras[:1], xy)[0] for m in (maps, other))
        assert torch.equal(one.logits, two.logits) == is_masked


def test_the_encoder_has_the_published_layers() -> None:
    encoder = DeepLabEncoder()
    conv = [(2048, 256, 1), *[(2048, 256, 9)] * 3, (5 * 256, 256, 1)]
    aspp = sum(a * b * taps + 2 * b for a, b, taps in conv) + 2048 * 256 + 256
    assert number_of(encoder.aspp) == aspp
    assert number_of(encoder.fine) == 256 * 48 + 2 * 48
    assert number_of(encoder.fuse) == (304 + 256) * 256 * 9 + 4 * 256
    encoder.eval()
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 48, 64)).shape == (2, FEATURES, 12, 16)
        stages = encoder.trunk.layer3(torch.rand(1, 512, 6, 8))
        assert encoder.trunk.layer4(stages).shape[-2:] == stages.shape[-2:]
    blocks: Any = encoder.trunk.layer4
    layer4 = [block.conv2 for block in blocks]
    assert [layer.dilation[0] for layer in layer4] == [2, 4, 8]


def test_the_documentation_prints_the_counts_and_names_every_defect() -> None:
    page = (ROOT / "docs/viewseg_layers.md").read_text(encoding="utf8")
    encoder = DeepLabEncoder()
    counts = [*COUNTS.values(), sum(COUNTS.values())]
    counts += [number_of(part) for part in (encoder.trunk, encoder.aspp, encoder.fine, encoder.fuse, encoder)]
    counts.append(number_of(encoder) + 2 * sum(COUNTS.values()))
    assert [count for count in counts if f"{count:,}".replace(",", " ") not in page] == []
    assert [name for name in Compat.of(("all",)).names() if f"| `{name}` |" not in page] == []
