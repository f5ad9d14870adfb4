"""Who a process is, and what it says for all."""

from typing import Any

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.processes import ALONE, Place, Processes, joined, present

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "host", "MASTER_PORT": "29500",
}  # fmt: skip


def test_torchrun_names_the_place_of_a_process_and_without_it_there_is_only_one() -> None:
    assert Place.of_environment(TORCHRUN) == Place(rank=3, world=4, local_rank=1, local_world=2)
    assert Place.of_environment({"LOCAL_RANK": "1", "MASTER_PORT": "1"}) == Place(rank=0, world=1)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"MASTER_ADDR": ""}, "found no MASTER_ADDR in it"),
        ({"LOCAL_RANK": None, "MASTER_PORT": None}, "found no LOCAL_RANK and no MASTER_PORT in it"),
        ({"RANK": None}, "found no RANK in it"),
        ({"WORLD_SIZE": "two"}, "found 3, 1, two, 2, 29500"),
        ({"RANK": "-1"}, "found -1, 1, 4, 2, 29500"),
        ({"RANK": "4"}, "found RANK 4 of WORLD_SIZE 4 and LOCAL_RANK 1"),
        ({"LOCAL_WORLD_SIZE": "5"}, "of LOCAL_WORLD_SIZE 5"),
    ],
)
def test_an_environment_that_is_not_torchruns_is_refused(changed: dict[str, Any], sentence: str) -> None:
    environment = {name: value for name, value in (TORCHRUN | changed).items() if value is not None}
    with pytest.raises(SceneError, match=sentence) as error:
        Place.of_environment(environment)
    assert "\n" not in str(error.value)


def test_one_process_joins_nobody_and_exchanges_nothing() -> None:
    with joined(Place(), "cpu", 1.0) as processes:
        assert processes is ALONE is present()
        assert processes.gather("mine") == ["mine"]
        assert processes.largest(-3) == -3


def test_several_processes_need_a_device_with_groups() -> None:
    with pytest.raises(SceneError, match=r"Expected cuda or cpu .* found mps"), joined(Place(0, 2, 0, 2), "mps", 1.0):
        pass
    assert present() is ALONE


class Played(Processes):
    """One of several processes, of which the others say what is given."""

    def __init__(self, rank: int, others: list[Any]) -> None:
        super().__init__(Place(rank, len(others) + 1))
        self._others = others

    def gather(self, value: Any) -> list[Any]:
        return [*self._others[: self.rank], value, *self._others[self.rank :]]


def speak(processes: Processes, sentence: str | None) -> None:
    with processes.speaking_as_one():
        if sentence is not None:
            raise SceneError(sentence)


def test_what_all_processes_say_is_said_once_by_the_first() -> None:
    with pytest.raises(SceneError, match=r"^No scene\.$"):
        speak(Played(0, ["No scene."]), "No scene.")
    with pytest.raises(SystemExit) as end:
        speak(Played(1, ["No scene."]), "No scene.")
    assert end.value.code == 1


def test_what_some_processes_say_is_said_with_their_numbers_and_ends_all_of_them() -> None:
    with pytest.raises(SceneError, match=r"^In process 1, 2 of 3: No scene\.$"):
        speak(Played(0, ["No scene.", "No scene."]), None)
    with pytest.raises(SceneError, match=r"^In process 0 of 2: No scene\. In process 1 of 2: No disk\.$"):
        speak(Played(0, ["No disk."]), "No scene.")
    with pytest.raises(SystemExit):
        speak(Played(2, [None, "No scene."]), None)


def test_where_nobody_says_anything_all_go_on() -> None:
    speak(Played(0, [None, None]), None)
    speak(Played(2, [None, None]), None)
    speak(ALONE, None)


def test_the_only_process_speaks_for_itself() -> None:
    with pytest.raises(SceneError, match=r"^No scene\.$"):
        speak(ALONE, "No scene.")


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), Played(1, [None]).speaking_as_one():
        raise ZeroDivisionError
