"""What the benchmark of several processes compares."""

from pathlib import Path

import torch

from benchmarks.distributed import difference


def test_the_difference_of_two_checkpoints_is_the_largest_of_their_weights_and_of_nothing_else(tmp_path: Path) -> None:
    first = {
        "a": torch.tensor([1.0, -2.0]),
        "counts": torch.tensor([3]),
        "empty": torch.zeros(0),
        "_turns": {"step": 7},
    }
    second = first | {"a": torch.tensor([1.0, -2.5]), "counts": torch.tensor([3]), "_turns": {"step": 9}}
    for name, weights in (("first", first), ("second", second)):
        torch.save({"pipeline": weights}, tmp_path / name)
    assert difference(tmp_path / "first", tmp_path / "second") == 0.5
    assert difference(tmp_path / "first", tmp_path / "first") == 0.0
