"""The shapes in our signatures are checked while the tests run; if these pass for another reason, nothing is."""

import pytest
import torch
from jaxtyping import TypeCheckError

from semantic_ns.losses import semantic_cross_entropy


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
