"""What scenes cost by arithmetic: hand-made numbers, what no machine can make faster, and the first bottleneck."""

import dataclasses
import math
from typing import Any

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.scene_batch.cost_page import as_bytes, as_count, as_time, cost_table, remarks
from semantic_ns.scene_batch.estimate import Capacities, Cluster, Planner, most_share
from semantic_ns.scene_batch.measured import Measured

MEASURED = Measured(
    num_scenes=20, num_ended=20, num_failed=1, step_seconds={"doctor": 10.0, "train": 80.0, "eval": 10.0},
    error_seconds=1.0, longest_seconds=120.0, peak_memory_gib=3.0, files=20.0, folders=5.0, bytes=10e6,
    checkpoint_bytes=8e6, checkpoint_seconds=20.0, input_bytes=1e6, description_bytes=100.0, page_bytes=1000.0,
)  # fmt: skip
CALM = Cluster(nodes=10, cores_per_node=16.0, memory_per_node_gib=64.0, cpus=2.0, losses_per_node_hour=0.0)
AMPLE = Capacities(tasks=1e9, files=1e9, bytes=1e15, reads=1e9)


def planner(cluster: Cluster = CALM, capacities: Capacities = AMPLE, **changes: Any) -> Planner:
    return Planner(dataclasses.replace(MEASURED, **changes), cluster, capacities)


def test_the_cost_of_a_thousand_scenes_is_that_by_hand() -> None:
    found = planner(dataclasses.replace(CALM, price_per_core_hour=0.5)).estimate(8000)
    # 80 places, of which each does 100 scenes of 100 s; then the longest one alone.
    assert found.wall_seconds == pytest.approx(100 * 100 + 120 * 79 / 80, rel=1e-4)
    assert found.core_hours == pytest.approx(8000 * 100 * 2 / 3600)
    assert found.machine_core_hours == pytest.approx(found.wall_seconds * 160 / 3600)
    assert found.price == found.machine_core_hours / 2
    assert (found.redone_core_hours, found.num_losses, found.num_given_up) == (0, 0, 0)
    assert (found.bytes, found.files, found.num_failed) == (8000 * 10e6, 8000 * 25, 400)
    assert found.num_records == 24_000
    assert found.limit == "the machines"


def test_the_look_for_changed_files_delays_the_first_scene_and_no_machine_helps() -> None:
    looking = planner(look_seconds=0.01)
    assert looking.estimate(8000).start_seconds == pytest.approx(80, rel=1e-4)
    assert looking.estimate(8000).wall_seconds == pytest.approx(planner().estimate(8000).wall_seconds + 80)
    (itself,) = (part for part in looking.parts() if part.name == "sns-batch itself")
    assert itself.per_scene == pytest.approx(0.01, rel=1e-4)


def test_the_notes_of_running_steps_are_files_that_are_made_and_not_left() -> None:
    # One at the start of each of three steps, and one every ten of 100 seconds.
    longer = {"doctor": 10.0, "train": 1080.0, "eval": 10.0}
    for found, notes in ((planner(), 3 + 10), (planner(step_seconds=longer), 3 + 110)):
        (part,) = (part for part in found.parts() if part.name == "small files")
        assert part.per_scene == pytest.approx(25 + notes)
        assert found.estimate(10).files == 250


def test_memory_limits_the_scenes_of_a_machine_as_cores_do() -> None:
    assert planner().machines.places == 8
    assert planner(peak_memory_gib=20.0).machines.places == 3
    for cluster, memory in ((CALM, 65.0), (dataclasses.replace(CALM, cpus=17.0), 1.0)):
        with pytest.raises(SceneError, match=r"GiB of a scene, found 16 cores and 64 GiB; raise --cores-per-node"):
            planner(cluster, peak_memory_gib=memory)


@pytest.mark.parametrize(
    ("name", "capacities"),
    [
        ("scheduler", {"tasks": 0.3}), ("small files", {"files": 9.0}), ("bytes of files", {"bytes": 4e6}),
        ("sns-batch itself", {"reads": 4.0}),
    ],
)  # fmt: skip
def test_a_part_that_all_share_is_named_and_more_machines_do_not_help(name: str, capacities: dict) -> None:
    able = dataclasses.replace(AMPLE, **capacities)
    first = planner(capacities=able).parts()[0]
    assert first.name == name
    assert first.load > first.capacity
    assert first.nodes < CALM.nodes
    assert name in remarks(planner(capacities=able), [])[0]
    slow, faster = (planner(dataclasses.replace(CALM, nodes=nodes), able).estimate(100_000) for nodes in (10, 1000))
    assert slow.limit == faster.limit == name
    assert faster.wall_seconds == pytest.approx(slow.wall_seconds, rel=0.3 if name == "sns-batch itself" else 1e-3)
    assert faster.wall_seconds > 100_000 * first.per_scene / first.capacity * 0.5


def test_at_the_number_of_machines_of_a_part_its_load_is_its_capacity() -> None:
    able = Capacities(tasks=50.0, files=300.0, bytes=1e8, reads=500.0)
    for part in planner(capacities=able).parts():
        if part.name != "object store":
            assert part.load / CALM.nodes * part.nodes == pytest.approx(part.capacity)


def test_what_a_scene_moves_counts_checkpoints_that_later_ones_replace() -> None:
    def moved(**changes: Any) -> dict[str, float]:
        cluster = dataclasses.replace(CALM, **changes)
        return {part.name: part.per_scene for part in planner(cluster).parts()}

    once, often = moved(), moved(checkpoint_seconds=20.0)
    # Ten megabytes are written, three steps read the scene, and eval the checkpoint.
    assert once["bytes of files"] == 10e6 + 3 * 1e6 + 8e6
    assert often["bytes of files"] - once["bytes of files"] == 3 * 8e6
    assert often["small files"] - once["small files"] == 3
    kept = planner(dataclasses.replace(CALM, checkpoint_seconds=20.0), num_checkpoints=4.0)
    assert {part.name: part.per_scene for part in kept.parts()} == once  # all are among the bytes that are left


def test_losses_add_work_and_checkpoints_take_most_of_it_away() -> None:
    lossy = dataclasses.replace(CALM, losses_per_node_hour=5.0)
    whole, pieces = (
        planner(lossy).estimate(8000),
        planner(dataclasses.replace(lossy, checkpoint_seconds=5.0)).estimate(8000),
    )
    assert whole.redone_core_hours > pieces.redone_core_hours > 0
    assert whole.num_losses == pytest.approx(whole.core_hours / 2 * 5)  # scenes hold two cores
    assert whole.wall_seconds > planner().estimate(8000).wall_seconds
    assert 0 < whole.num_given_up < 8000 * 1e-3


def test_the_object_store_holds_descriptions_of_those_that_wait_and_is_full_last() -> None:
    parts = planner(capacities=Capacities(190.0, 100.0, 1e8, 1000.0)).parts()
    assert parts[-1].name == "object store"
    assert parts[-1].load == 1000 * 100.0


def test_without_a_failure_among_few_scenes_many_may_fail() -> None:
    assert most_share(0, 3) == pytest.approx(0.5615, abs=1e-4)
    assert most_share(0, 1000) == pytest.approx(0.00383, abs=1e-5)
    assert most_share(3, 3) == pytest.approx(1.0)
    found = planner(num_ended=3, num_failed=0).estimate(1000)
    assert (found.num_failed, round(found.most_failed)) == (0, 561)


def test_a_person_is_told_of_sizes_that_nobody_tried() -> None:
    large = planner(dataclasses.replace(CALM, nodes=2000), page_bytes=100e3)
    found = large.estimate(1_000_001)
    said = " ".join(remarks(large, [large.estimate(1000), found]))
    assert "2,000 and 16,000" in said
    assert ("pages of pictures", "10,001, 93.1 GiB") in cost_table([found])[1]
    many = planner(num_ended=100)
    assert len(remarks(many, [many.estimate(1000)])) == 1
    assert "Only 19 of the measured scenes succeeded" in remarks(planner(), [])[1]


def test_numbers_are_told_with_three_digits_and_their_unit() -> None:
    assert [as_time(seconds) for seconds in (0.5, 119, 120, 7200, 864000)] == [
        "0.5 s",
        "119 s",
        "2 min",
        "2 h",
        "10 days",
    ]
    assert [as_bytes(count) for count in (3, 2048, 1.5 * 2**40)] == ["3 B", "2 KiB", "1.5 TiB"]
    assert [as_count(number) for number in (0, 0.01234, 99.96, 1234567.8, math.inf)] == [
        "0",
        "0.0123",
        "100",
        "1,234,568",
        "inf",
    ]
