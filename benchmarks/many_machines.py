"""What a batch of scenes costs, and what is left of it when it or a machine of its cluster is killed.

`python -m benchmarks.many_machines overhead|kills|nodes --output FOLDER` on small rooms that it draws; `nodes` needs
the extra `cluster`.
"""

import argparse
import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.io.text import markdown_table
from semantic_ns.scene_batch.plan import SCENES
from semantic_ns.scene_batch.records import read_record
from semantic_ns.scene_batch.steps import config_path, newest_step
from semantic_ns.scene_batch.table import CSV_FILE
from semantic_ns.synthetic_scene import write_nerfstudio_scene

SMALL = (
    "--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "8", "--pipeline.model.max-res", "64",
    "--pipeline.datamanager.train-num-rays-per-batch", "256", "--machine.device-type", "cpu",
)  # fmt: skip
"""Options of ns-train for a training of seconds."""
SCORES = ("miou_present", "miou", "psnr", "depth_l1")
METHOD = "semantic-nerf"
_LOOK_S = 0.2


def rooms(output: Path, count: int) -> list[Path]:
    """Small rooms, drawn where there are none."""
    folders = [output / f"rooms/room_{number}" for number in range(count)]
    for number, folder in enumerate(folders):
        if not (folder / "transforms.json").exists():
            write_nerfstudio_scene(folder, seed=number)
    return folders


def batch_command(
    scenes: list[Path], output: Path, steps: list[str], arguments: list[str], more: Sequence[str] = ()
) -> list[str]:
    """A command line of sns-batch."""
    command = [sys.executable, "-m", "semantic_ns.cli.batch", *map(str, scenes), "--output-dir", str(output)]
    return [*command, "--steps", *steps, *more, "--", *arguments]


def timed(command: list[str], log: Path) -> tuple[float, float]:
    """Seconds on the clock and of the processor that a command takes, with its children."""
    before, started = os.times(), time.perf_counter()
    with log.open("ab") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used


def measure_overhead(output: Path, count: int, arguments: list[str]) -> str:
    """Compare a batch of trainings with the same trainings by hand; returns a table."""
    scenes, log = rooms(output, count), output / "overhead.txt"
    plain = [sys.executable, "-m", "nerfstudio.scripts.train", METHOD, "--vis", "tensorboard"]
    by_hand = [
        timed([*plain, "--data", str(scene), "--output-dir", str(output / "plain"), *arguments], log)
        for scene in scenes
    ]
    whole = timed(batch_command(scenes, output / "overhead", ["train"], arguments), log)
    inside = sum(read_record(output / "overhead" / SCENES / scene.name, "train").seconds for scene in scenes)
    clock, used = (sum(each[place] for each in by_hand) for place in (0, 1))
    return markdown_table(
        ("what", "seconds a scene on the clock", "seconds a scene of the processor"),
        [
            ("ns-train by hand", f"{clock / count:.1f}", f"{used / count:.1f}"),
            ("sns-batch --steps train", f"{whole[0] / count:.1f}", f"{whole[1] / count:.1f}"),
            ("sns-batch over ns-train", f"{(whole[0] - clock) / count:.1f}", f"{(whole[1] - used) / count:.1f}"),
            ("sns-batch outside its ns-train processes", f"{(whole[0] - inside) / count:.1f}", "-"),
        ],
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Look again and again until something is so.

    Raises:
        RuntimeError: a process ended before.
    """
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError("the batch ended before it could be killed: give more steps")
        time.sleep(_LOOK_S)


def is_training(folder: Path) -> bool:
    """Whether the training of a scene has left its first checkpoint and not ended."""
    return newest_step(config_path(folder, METHOD)) is not None and read_record(folder, "train").state == "open"


def measure_kills(output: Path, count: int, arguments: list[str]) -> str:
    """Kill a batch twice, start it again, and compare it with one that was not disturbed; returns sentences."""
    scenes = rooms(output, count)
    commands = {
        name: batch_command(scenes, output / name, ["train", "eval"], arguments) for name in ("whole", "killed")
    }
    subprocess.run(commands["whole"], check=True)
    folders = [output / "killed" / SCENES / scene.name for scene in scenes]
    done: dict[Path, Any] = {}
    for number in (1, 2):
        process = subprocess.Popen(commands["killed"])
        wait_for(lambda place=folders[number]: is_training(place), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done |= {folder: record for folder in folders if (record := read_record(folder, "train")).state == "done"}
    subprocess.run(commands["killed"], check=True)
    kept = [read_record(folder, "train") == record for folder, record in done.items()]
    return (
        f"Killed twice; of {len(done)} scenes that were trained before, {sum(kept)} kept their record. Scores of "
        f"{same_scores(output / 'whole', output / 'killed')}."
    )


def same_scores(first: Path, second: Path) -> str:
    """How many scenes of two batches have the same scores to the last digit."""
    tables = []
    for folder in (first, second):
        with (folder / CSV_FILE).open(encoding="utf8") as file:
            tables.append(
                {row["scene"]: [row["status"], *(row[name] for name in SCORES)] for row in csv.DictReader(file)}
            )
    equal = sum(tables[0][name] == tables[1].get(name) for name in tables[0])
    return f"{equal} of {len(tables[0])} scenes are equal to the last digit ({first.name}, {second.name})"


def measure_lost_node(output: Path, count: int, arguments: list[str]) -> str:
    """Kill a machine of a cluster of three while it trains, add another one, and compare; returns sentences."""
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    scenes = rooms(output, count)
    if not (output / "whole" / CSV_FILE).exists():
        subprocess.run(batch_command(scenes, output / "whole", ["train", "eval"], arguments), check=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    more = ["--cluster", "ray", "--address", cluster.address]
    folders = [output / "lost" / SCENES / scene.name for scene in scenes]
    process = subprocess.Popen(batch_command(scenes, output / "lost", ["train", "eval"], arguments, more))
    try:
        wait_for(lambda: sum(map(is_training, folders)) == len(nodes), process)
        running = [folder.name for folder in folders if is_training(folder)]
        cluster.remove_node(nodes[1], allow_graceful=False)
        cluster.add_node(num_cpus=1)
        status = process.wait()
    finally:
        process.kill()
        cluster.shutdown()
    records = [read_record(folder, step) for folder, step in itertools.product(folders, ("train", "eval"))]
    return (
        f"One of three machines was killed while {', '.join(running)} were trained, and one was added. The batch ended "
        f"with status {status}; {sum(record.state == 'done' for record in records)} of {len(records)} steps are done. "
        f"Scores of {same_scores(output / 'whole', output / 'lost')}."
    )


def main() -> None:
    """Measure what the command line names, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("overhead", "kills", "nodes"))
    parser.add_argument("--output", type=Path, required=True, help="new folder for scenes and results")
    parser.add_argument("--scenes", type=int, default=3, help="number of rooms")
    parser.add_argument("--steps", type=int, default=100, help="steps of a training")
    given = parser.parse_args()
    measure = {"overhead": measure_overhead, "kills": measure_kills, "nodes": measure_lost_node}[given.what]
    arguments = ["--max-num-iterations", str(given.steps), "--steps-per-save", str(max(1, given.steps // 10)), *SMALL]
    print(measure(given.output.absolute(), given.scenes, arguments))


if __name__ == "__main__":
    main()
