"""Versions that take turns are compared in the steps that no turn cuts."""

import argparse
from pathlib import Path

import pytest

from benchmarks.versions_in_turn import Arm, line_of, mean_after, uninterrupted


def test_steps_that_a_stop_interrupts_do_not_count() -> None:
    runs = [(10.0, 11.0), (20.0, 21.0)]
    steps = [(9.9, 10.1), (10.1, 10.4), (10.8, 20.1), (20.1, 20.5), (20.9, 21.2)]
    found = uninterrupted(steps, runs)
    assert [value is None for value in found] == [True, False, True, False, True]
    assert [value for value in found if value is not None] == pytest.approx([0.3, 0.4])


def test_a_row_has_the_median_of_each_part_and_the_ratio_of_means() -> None:
    seconds = [9.0, 9.0, 0.010, 0.012, 0.050, None, 0.020, 0.020]
    assert mean_after(seconds, 2) == pytest.approx(0.0224)
    assert line_of("now", seconds, 2, [5, 6, 8], 0.0112) == "| now | 12.00 | - | 20.00 | 22.40 | 2.000 |"


def test_an_arm_is_a_name_of_words_a_folder_and_options(tmp_path: Path) -> None:
    (tmp_path / "semantic_ns").mkdir()
    (tmp_path / "semantic_ns" / "__init__.py").touch()
    arm = Arm.parse(f"now without depth {tmp_path} --pipeline.model.depth-loss-weight 0")
    assert arm == Arm("now without depth", tmp_path.resolve(), ("--pipeline.model.depth-loss-weight", "0"))
    with pytest.raises(argparse.ArgumentTypeError, match="a folder with semantic_ns/ in it"):
        Arm.parse(f"now {tmp_path / 'missing'}")
