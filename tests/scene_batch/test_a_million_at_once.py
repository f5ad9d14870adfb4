"""What a batch does for each scene does not grow with the number of scenes."""

from collections import UserDict
from collections.abc import Iterator
from pathlib import Path

from semantic_ns.scene_batch import plan
from semantic_ns.scene_batch.run import is_time_due


def test_the_time_left_is_computed_after_each_of_few_steps_and_rarely_while_many_are_left() -> None:
    assert all(map(is_time_due, range(1000)))
    assert sum(map(is_time_due, range(100_000))) < 6000  # a thousand times the logarithm of a hundred, and one more


class Counted(UserDict[str, str]):
    """Scenes that count how often all of them are looked at."""

    num_looks = 0

    def __iter__(self) -> Iterator[str]:
        self.num_looks += 1
        return super().__iter__()


def test_new_scenes_are_named_without_a_look_at_all_known_ones_for_each() -> None:
    paths = [Path(f"/y/room_{number}") for number in range(20)]
    looks = []
    for some in (paths[:2], paths):
        known = Counted({f"room_{number}": f"/x/room_{number}" for number in range(3)})
        known.num_looks = 0
        assert len(plan.named(some, known)) == len(some)
        looks.append(known.num_looks)
    assert looks[0] == looks[1]
