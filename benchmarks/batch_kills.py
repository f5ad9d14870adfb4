"""Whether a batch of rooms that is killed again and again ends as one that was not disturbed.

`python -m benchmarks.batch_kills --rooms rendered/many --output FOLDER` trains and scores the first twelve rooms with
sns-batch, does it once more with `kill -9` at moments that a seed decides, and compares: what was trained before a kill
keeps its record, and both tables say the same. What follows -- goes to ns-train. `--tiny` takes two rooms of a few
pixels, which it draws.
"""

import argparse
import csv
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.many_machines import METHOD, SCORES, SMALL
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_text
from semantic_ns.scene_batch.plan import SCENES
from semantic_ns.scene_batch.records import Record, read_record
from semantic_ns.scene_batch.steps import Step, config_path, newest_step
from semantic_ns.scene_batch.table import CSV_FILE
from semantic_ns.synthetic_scene import write_nerfstudio_scene

PROGRAM = (sys.executable, "-m", "semantic_ns.cli.batch")
STEPS: tuple[Step, ...] = ("train", "eval")
RESULT_FILE = "kills.md"
_COMPARED = ("status", "reason", *SCORES, *STEPS)
_LOOK_S = 0.1


@dataclass(frozen=True)
class Moment:
    """When a batch is killed.

    Attributes:
        num_ended: After so many steps have ended, of all calls together.
        share: After this share of the mean time of a step more.
    """

    num_ended: int
    share: float


@dataclass
class Kill:
    """What was so when a batch was killed.

    Attributes:
        seconds: Seconds that the call had run.
        num_ended: Steps that had ended.
        running: What was being done.
        trained: The records of the trainings that had ended, by the names of their scenes.
        interrupted: The scenes of the trainings that had begun and not ended.
    """

    seconds: float
    num_ended: int
    running: str
    trained: Mapping[str, Record]
    interrupted: frozenset[str] = field(default_factory=frozenset)


def moments(seed: int, num_kills: int, num_steps: int) -> list[Moment]:
    """Different moments in which a batch of a number of steps is at work, in their order."""
    draw = Random(seed)
    return [Moment(number, draw.random()) for number in sorted(draw.sample(range(1, num_steps - 1), num_kills))]


def command(scenes: Sequence[Path], output: Path, given: argparse.Namespace, program: Sequence[str]) -> list[str]:
    """A command line of sns-batch."""
    arguments = [
        "--max-num-iterations", str(given.steps), "--steps-per-save", str(max(1, given.steps // 3)),
        "--machine.device-type", "cpu", *(SMALL if given.tiny else ()), *given.arguments,
    ]  # fmt: skip
    more = ["--output-dir", str(output), "--method", METHOD, "--jobs", str(given.jobs), "--steps", *STEPS]
    return [*program, *map(str, scenes), *more, "--", *arguments]


def measure(scenes: Sequence[Path], given: argparse.Namespace, program: Sequence[str] = PROGRAM) -> tuple[str, bool]:
    """Run both batches; returns what was found as markdown, and whether all is as it has to be."""
    output: Path = given.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    names = [scene.name for scene in scenes]
    seconds = _run(command(scenes, output / "whole", given, program), output / "whole.txt")
    of_steps = [record.seconds for record in _records(output / "whole", names).values()]
    killed = command(scenes, output / "killed", given, program)
    kills = [
        _kill(killed, output, names, moment, sum(of_steps) / len(of_steps))
        for moment in moments(given.seed, given.kills, len(scenes) * len(STEPS))
    ]
    last_seconds = _run(killed, output / "killed.txt")
    ended = _records(output / "killed", names)
    again = trained_again(kills, {name: ended[name, "train"] for name in names})
    different = differences(output / "whole", output / "killed")
    starts = sum(ended[name, "train"].attempts for name in names)
    interrupted = sum(len(kill.interrupted) for kill in kills)
    rows = [
        (
            str(number),
            f"{kill.seconds:.0f} s",
            f"{kill.num_ended} of {len(ended)}",
            kill.running,
            str(len(kill.trained)),
        )
        for number, kill in enumerate(kills, 1)
    ]
    is_met = not again and not different and starts == len(names) + interrupted
    header = ("kill", "after the start of the call", "steps that had ended", "was at work on", "trained before")
    sentences = (
        f"Undisturbed {seconds:.0f} s, the last call after the kills {last_seconds:.0f} s.",
        f"Trained again although done: {', '.join(again) or 'none'}. Trainings were started {starts} times for "
        f"{len(names)} rooms and {interrupted} that a kill interrupted.",
        f"Rows that differ in {', '.join(_COMPARED)}: {', '.join(different) or 'none'} of {len(names)}.",
    )
    return "\n\n".join([markdown_table(header, rows), *sentences, "Met." if is_met else "Missed."]), is_met


def trained_again(kills: Sequence[Kill], ended: Mapping[str, Record]) -> list[str]:
    """The scenes that had been trained when a batch was killed, and have another record at the end."""
    return sorted({name for kill in kills for name, record in kill.trained.items() if ended[name] != record})


def differences(whole: Path, killed: Path) -> list[str]:
    """The scenes whose rows differ in their scores, to the last digit, or in what became of them."""
    tables = [_table(folder) for folder in (whole, killed)]
    return sorted(name for name in tables[0].keys() | tables[1].keys() if tables[0].get(name) != tables[1].get(name))


def _table(folder: Path) -> dict[str, list[str | None]]:
    with (folder / CSV_FILE).open(encoding="utf8") as file:
        return {row["scene"]: [row.get(name) for name in _COMPARED] for row in csv.DictReader(file)}


def _records(output: Path, names: Sequence[str]) -> dict[tuple[str, Step], Record]:
    return {(name, step): read_record(output / SCENES / name, step) for name in names for step in STEPS}


def _run(words: Sequence[str], log: Path) -> float:
    started = time.perf_counter()
    with log.open("ab") as file:
        subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=True)
    return time.perf_counter() - started


def _kill(words: Sequence[str], output: Path, names: Sequence[str], moment: Moment, step_seconds: float) -> Kill:
    """Start a batch and kill it at a moment.

    Raises:
        RuntimeError: It ended before.
    """
    folder, started = output / "killed", time.perf_counter()
    with (output / "killed.txt").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        while sum(record.state != "open" for record in _records(folder, names).values()) < moment.num_ended:
            _wait(process, _LOOK_S)
        _wait(process, moment.share * step_seconds)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    seconds, found = time.perf_counter() - started, _records(folder, names)
    begun = [each for each, record in found.items() if record.state == "open" and record.attempts]
    return Kill(
        seconds,
        sum(record.state != "open" for record in found.values()),
        ", ".join(_told(folder, *each) for each in begun) or "the start of the next step",
        {name: record for (name, step), record in found.items() if step == "train" and record.state == "done"},
        frozenset(name for name, step in begun if step == "train"),
    )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise RuntimeError("the batch ended before it could be killed: give more rooms or more steps")


def _told(folder: Path, name: str, step: Step) -> str:
    newest = newest_step(config_path(folder / SCENES / name, METHOD)) if step == "train" else None
    return f"{step} of {name}" + (f" (checkpoint of {newest} steps)" if newest else "")


def rooms_of(given: argparse.Namespace) -> list[Path]:
    """The rooms; two tiny ones are drawn where they are wanted.

    Raises:
        SystemExit: Some are missing.
    """
    if given.tiny:
        folders = [given.output.absolute() / f"rooms/room_{number}" for number in range(2)]
        for number, folder in enumerate(folders):
            if not (folder / "transforms.json").exists():
                write_nerfstudio_scene(folder, num_frames=8, width=24, height=18, seed=number)
        return folders
    if given.rooms is None:
        raise SystemExit("Expected a folder of rooms for --rooms, found none; give one, or --tiny.")
    folders = [given.rooms.absolute() / f"scene_{number:02}" for number in range(1, given.scenes + 1)]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        raise SystemExit(
            f"Expected the rooms {', '.join(missing)} in {given.rooms}, found none of these; check --rooms."
        )
    return folders


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of a command line.

    Raises:
        SystemExit: They cannot be used.
    """
    words, arguments = list(words), list[str]()
    if "--" in words:
        place = words.index("--")
        words, arguments = words[:place], words[place + 1 :]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="new folder for results")
    parser.add_argument("--rooms", type=Path, help="folder with scene_01, scene_02, ...")
    parser.add_argument("--scenes", type=int, default=12, help="number of rooms")
    parser.add_argument("--steps", type=int, default=30, help="steps of a training")
    parser.add_argument("--jobs", type=int, default=1, help="rooms at a time")
    parser.add_argument("--kills", type=int, default=2, help="how often the batch is killed")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments of the kills")
    parser.add_argument("--tiny", action="store_true", help="draw two tiny rooms, and train small networks")
    given = parser.parse_args(words)
    given.arguments = arguments
    num_steps = len(STEPS) * (2 if given.tiny else given.scenes)
    most = max(0, num_steps - 2)
    if not 1 <= given.kills <= most:
        parser.error(f"--kills of 1 to {most} expected, found {given.kills}")
    if (given.output / "killed").exists():
        parser.error(f"a new folder expected for --output, found a batch in {given.output}")
    return given


def main(words: Sequence[str] | None = None, program: Sequence[str] = PROGRAM) -> int:
    """Measure, print and write what was found; returns 0 where all is as it has to be."""
    given = parse(sys.argv[1:] if words is None else words)
    found, is_met = measure(rooms_of(given), given, program)
    write_text(given.output / RESULT_FILE, f"{found}\n")
    print(found)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
