"""Pictures of one evaluated image: truth beside what was rendered. Float RGB in [0, 1], shape [H, W, 3]."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.batch import PLANAR_DEPTH, RENDERED_LABELS
from semantic_ns.evaluation.captions import GridRow, captioned_grid, class_legend
from semantic_ns.labels.taxonomy import VOID, Taxonomy

WRONG_COLOR = (1.0, 0.0, 0.0)
LARGEST_DEPTH_ERROR_M = 1.0


@cache
def _ramp(name: str) -> Float[Tensor, "256 3"]:
    """The 256 colours of a matplotlib colour map."""
    # Slow to import, and only needed when pictures are made.
    from matplotlib import colormaps

    return torch.tensor(colormaps[name](np.arange(256))[:, :3], dtype=torch.float32)


def paint(
    values: Float[Tensor, "height width 1"], low: float, high: float, ramp: str = "turbo"
) -> Float[Tensor, "height width 3"]:
    """Colour a map of numbers; below `low` (or NaN) is the first colour of the ramp, above `high` the last."""
    scaled = ((values[..., 0].cpu() - low) / max(high - low, 1e-9)).nan_to_num(0.0).clamp(0, 1)
    return _ramp(ramp)[(scaled * 255).round().long()]


def mark_wrong(
    rgb: Float[Tensor, "height width 3"],
    labels: Int64[Tensor, "height width 1"],
    target: Int64[Tensor, "height width 1"],
) -> Float[Tensor, "height width 3"]:
    """Darkened grey picture with the wrongly labelled pixels in red; void is never wrong."""
    wrong = (labels != target) & (target != VOID)  # [H, W, 1]
    grey = rgb.mean(-1, keepdim=True).expand_as(rgb) * 0.6
    return torch.where(wrong, torch.tensor(WRONG_COLOR), grey)


def tile(
    rows: Sequence[Sequence[Float[Tensor, "height width 3"]]],
) -> Float[Tensor, "grid_height grid_width 3"]:
    """Lay pictures of one size out as a grid; short rows are filled with black."""
    num_columns = max(len(row) for row in rows)
    empty = torch.zeros_like(rows[0][0])
    filled = [torch.cat([*row, *[empty] * (num_columns - len(row))], dim=1) for row in rows]
    return torch.cat(filled, dim=0)


def _depth_row(
    rendered_m: Float[Tensor, "height width 1"], depth_m: Float[Tensor, "height width 1"] | None
) -> list[Float[Tensor, "height width 3"]]:
    """Depth: true, rendered (on the scale of the true one) and their difference; only rendered where none is known."""
    if depth_m is None or not bool((depth_m > 0).any()):
        return [paint(rendered_m, 0.0, float(rendered_m.max()))]
    high = float(depth_m.max())
    unknown = depth_m <= 0  # [H, W, 1]
    truth = paint(depth_m, 0.0, high).masked_fill(unknown, 0.0)
    error = paint((rendered_m - depth_m).abs(), 0.0, LARGEST_DEPTH_ERROR_M, "inferno").masked_fill(unknown, 0.0)
    return [truth, paint(rendered_m, 0.0, high), error]


def _titled_depth(depth_row: list[Float[Tensor, "height width 3"]]) -> GridRow:
    """The row of the depth; rendered depth stays in its column where no other is known."""
    if len(depth_row) == 1:
        return GridRow([None, *depth_row], "depth", ("", "rendered"))
    return GridRow(depth_row, "depth", ("true", "rendered", f"difference, 0 to {LARGEST_DEPTH_ERROR_M:g} m"))


def picture_grid(
    outputs: Mapping[str, Tensor],
    target_rgb: Float[Tensor, "height width 3"],
    target: Int64[Tensor, "height width 1"],
    depth_m: Float[Tensor, "height width 1"] | None,
    taxonomy: Taxonomy,
    metres_per_unit: float,
) -> dict[str, Float[Tensor, "_height _width 3"]]:
    """Pictures of one image for nerfstudio's `images_dict`, on the CPU.

    Args:
        outputs: Rendered `rgb`, `depth`, `semantics_labels`, `semantics_confidence`, `semantics_entropy` and, if
            rendered, `planar_depth`; each [H, W, c].
        target_rgb: True colours in [0, 1].
        target: True classes, -1 (void) where there is no label.
        depth_m: True planar depth in metres, 0 where unknown; or None.
        taxonomy: Names and colours of the classes.
        metres_per_unit: Metres per scene unit.

    Returns:
        `img` (true, rendered, difference), `semantics` (true, predicted, wrong pixels in red), `depth` (true, rendered,
        difference up to 1 m; only rendered where no depth is known), `confidence` and `entropy` (black to yellow:
        0 to 1), and `grid`: the first three above a row of confidence, entropy and predicted classes over colour, with
        titles and a legend of the classes that occur in it.
    """
    rendered = {name: output.float().cpu() for name, output in outputs.items()}
    target_rgb, target, labels = target_rgb.cpu(), target.cpu(), outputs[RENDERED_LABELS].cpu()
    rgb = rendered["rgb"].clamp(0, 1)
    truth, predicted = taxonomy.colorize(target[..., 0]), taxonomy.colorize(labels[..., 0])
    rendered_m = rendered.get(PLANAR_DEPTH, rendered["depth"]) * metres_per_unit
    color_row = [target_rgb, rgb, (rgb - target_rgb).abs()]
    label_row = [truth, predicted, mark_wrong(target_rgb, labels, target)]
    depth_row = _depth_row(rendered_m, None if depth_m is None else depth_m.cpu())
    confidence = paint(rendered["semantics_confidence"], 0.0, 1.0, "inferno")
    entropy = paint(rendered["semantics_entropy"], 0.0, 1.0, "inferno")
    return {
        "img": tile([color_row]),
        "semantics": tile([label_row]),
        "depth": tile([depth_row]),
        "confidence": confidence,
        "entropy": entropy,
        "grid": captioned_grid(
            [
                GridRow(color_row, "colour", ("true", "rendered", "difference")),
                GridRow(label_row, "classes", ("true", "predicted", "wrong in red")),
                _titled_depth(depth_row),
                GridRow(
                    [confidence, entropy, torch.lerp(rgb, predicted, 0.5)],
                    "certainty",
                    ("confidence, 0 to 1", "entropy, 0 to 1", "classes over colour"),
                ),
            ],
            class_legend(taxonomy, target, labels),
        ),
    }
