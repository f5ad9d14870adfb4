"""Steps of a batch that train nothing: commands of milliseconds, and the tasks that they belong to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.steps import SCORES, Step
from support.job_programs import python


def task(
    tmp_path: Path, name: str = "room", steps: Sequence[Step] = ("doctor", "train", "eval"), **changes: Any
) -> SceneTask:
    folder = tmp_path / "out/scenes" / name
    folder.mkdir(parents=True, exist_ok=True)
    return SceneTask(
        **{"name": name, "data": tmp_path / name, "folder": folder, "steps": tuple(steps), "method": "m"} | changes
    )


def scoring(folder: Path, miou: float = 0.5) -> str:
    """The code of a step that leaves scores."""
    scores = json.dumps({"results": {"miou_present": miou, "psnr": 20.0, "depth_l1": 0.25, "fps": 3}})
    return f"open({str(folder / SCORES)!r}, 'w').write({scores!r})"


class FakeSteps:
    """Commands of the steps: each writes its name and its process into a journal, and then runs a code of its own."""

    def __init__(self, tmp_path: Path, codes: dict[tuple[str, Step], str] | None = None) -> None:
        self.journal = tmp_path / "journal.txt"
        self.codes = codes or {}

    def __call__(
        self, step: Step, data: Path, folder: Path, config: Path, method: str, arguments: Sequence[str]
    ) -> list[str]:
        usual = scoring(folder) if step == "eval" else ""
        line = f"{folder.name} {step}\n"
        return python(
            f"with open({str(self.journal)!r}, 'a') as file: file.write({line!r})\n"
            + self.codes.get((folder.name, step), usual)
        )

    def started(self) -> list[str]:
        """Scene and step of every command that was started, in their order."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []
