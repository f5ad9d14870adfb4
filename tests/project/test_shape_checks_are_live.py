"""The shapes in our signatures are checked while the tests run; if these pass for another reason, nothing is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ForwardRef, Literal, TypeVar

import pytest
import torch
from jaxtyping import Float32, TypeCheckError
from torch import Tensor

from semantic_ns.labels.class_table import voc_color
from semantic_ns.losses import semantic_cross_entropy
from support.lean_checks import may_hold_array

Rows = Float32[Tensor, "rows 3"]
Kind = TypeVar("Kind")


def test_a_right_shape_is_accepted() -> None:
    assert semantic_cross_entropy(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)).shape == ()


def test_a_missing_axis_raises() -> None:
    with pytest.raises(TypeCheckError):
        semantic_cross_entropy(torch.zeros(4), torch.zeros(4, dtype=torch.int64))


def test_axes_of_one_name_must_be_equal() -> None:
    with pytest.raises(TypeCheckError):
        semantic_cross_entropy(torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64))


def test_a_wrong_type_of_number_raises() -> None:
    with pytest.raises(TypeCheckError):
        semantic_cross_entropy(torch.zeros(4, 3), torch.zeros(4))


def test_a_wrong_type_raises_also_without_arrays() -> None:
    with pytest.raises(TypeCheckError):
        voc_color(1.0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "hint",
    [
        Rows, Rows | None, list[Rows], dict[str, tuple[Rows, ...]], Callable[[int, Rows], None], Callable[[int], Rows],
        Kind, "Rows", ForwardRef("Rows"), list["Rows"],
    ],
    ids=str,
)  # fmt: skip
def test_shapes_are_compared_wherever_there_may_be_an_array(hint: Any) -> None:
    assert may_hold_array(hint)


@pytest.mark.parametrize(
    "hint", [int, float | None, Tensor, dict[str, Path], Callable[..., int], Literal["rows"], Any], ids=str
)
def test_no_shapes_are_compared_where_there_is_none(hint: Any) -> None:
    assert not may_hold_array(hint)
