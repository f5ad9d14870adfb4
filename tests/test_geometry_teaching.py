"""Complete labels also train the geometry, in the first part of a run alone."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.pipeline import SemanticPipeline


def passing(is_complete: bool, fraction: float, always: bool = False, moment: Any = None) -> list[bool]:
    """Whether the semantic loss reaches the geometry in each of 10 steps."""
    config = SimpleNamespace(geometry_fraction=fraction, pass_semantic_gradients=always)
    field = SimpleNamespace(pass_semantic_gradients=always)
    manager = SimpleNamespace(has_complete_labels=is_complete)
    pipeline = SimpleNamespace(model=SimpleNamespace(config=config, field=field), datamanager=manager, moment=moment)
    callbacks = SemanticPipeline._geometry_teaching(cast(Any, pipeline), 10)
    found = []
    for step in range(10):
        for callback in callbacks:
            callback.run_callback(step)
        found.append(field.pass_semantic_gradients)
    return found


@pytest.mark.parametrize("fraction", [0.0, 0.35, 1.0])
def test_complete_labels_do_so_up_to_a_fraction_of_the_run(fraction: float) -> None:
    assert passing(True, fraction) == [step < 10 * fraction for step in range(10)]


def test_other_labels_never_do() -> None:
    assert not any(passing(False, 0.35))


def test_labels_that_are_asked_for_never_do_however_many_a_resumed_run_finds() -> None:
    assert not any(passing(True, 0.35, moment=object()))


def test_where_the_loss_always_reaches_the_geometry_nothing_changes() -> None:
    assert all(passing(True, 0.35, always=True))
    assert all(passing(False, 0.35, always=True))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(SceneError, match="geometry-fraction, found"):
        passing(True, fraction)
