"""The trainings of a folder as one table, in markdown and as JSON, and what they said."""

from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.results import Result
from semantic_ns.benchmark.runner.trials import LOG, Trial, trial_folder
from semantic_ns.benchmark.scenes.plan import SceneTrial
from semantic_ns.benchmark.scenes.summary import Failed, read_scoreboard
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_text

TABLE, ROWS = "captures.md", "captures.json"
VEIL = "Warning: "
DEPTH = "depth: "
_HEADER = (
    "capture", "options", "seed", "`miou_present`", "PSNR, dB", "worst image", "depth L1, m", "relative",
    "veil warnings", "s",
)  # fmt: skip


def sentences(log: str) -> list[str]:
    """Lines of a training's log that warn, or that say what became of its depth images; each once, in their order."""
    lines = (line.strip() for line in log.splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith((VEIL, DEPTH))))


def rows_of(output: Path) -> list[dict[str, Any]]:
    """A row for each training that has ended, as JSON has it; scores of one that failed are absent.

    Raises:
        SceneError: if the folder holds none.
    """
    results, failed, *_ = read_scoreboard(output)
    rows = [_row_of(output, each) for each in (*results, *failed)]
    return sorted(rows, key=lambda row: (row["capture"], row["options"], row["seed"]))


def _row_of(output: Path, ended: Result | Failed) -> dict[str, Any]:
    trial = ended.trial
    log = _folder_of(output, trial) / LOG
    said = sentences(log.read_text("utf8", errors="replace")) if log.is_file() else []
    row: dict[str, Any] = {"capture": trial.scene.name, "options": " ".join(trial.options), "seed": trial.seed}
    row |= {"sentences": said, "veil_warnings": sum(line.startswith(VEIL) for line in said)}
    if isinstance(ended, Failed):
        return row | {"error": ended.error}
    scores, content = ended.scores[ended.content["poses"]], ended.content
    names = ("miou_present", "psnr", "depth_l1", "depth_rel", "num_images")
    row |= {name: scores.get(name) for name in names}
    row |= {name: content[name] for name in ("worst_image", "steps", "threads", "commit", "processor")}
    return row | {"seconds": content["training_seconds"]}


def _folder_of(output: Path, trial: Trial) -> Path:
    return trial_folder(output, SceneTrial(**vars(trial)))


def write_report(output: Path) -> Path:
    """Write the table and its JSON into the folder of the benchmark; returns the path of the former.

    Raises:
        SceneError: if no training has ended, or the folder cannot be written.
    """
    rows = rows_of(output)
    told = [f"- {_name_of(row)}: {sentence}" for row in rows for sentence in row["sentences"]]
    seen = [f"{row['steps']} steps, {row['threads']} thread, {row['processor']}, commit {row['commit'] or 'not known'}"
            for row in rows if "steps" in row]  # fmt: skip
    parts = [
        "# Captures",
        "Scores of held-out images. *relative*: mean of depth errors over true depth. *s*: seconds of training.",
        markdown_table(_HEADER, [_cells_of(row) for row in rows]),
        "\n".join(f"- {sentence}" for sentence in dict.fromkeys(seen)),
        "## What the trainings said",
        "\n".join(told) or "Nothing.",
    ]
    with write_errors_as_scene_error(output):
        write_json(output / ROWS, {"rows": rows})
        write_text(output / TABLE, "\n\n".join(part for part in parts if part) + "\n")
    return output / TABLE


def _name_of(row: dict[str, Any]) -> str:
    return " ".join(part for part in (row["capture"], row["options"], f"seed {row['seed']}") if part)


def _cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    head = (row["capture"], f"`{row['options']}`" if row["options"] else "", str(row["seed"]))
    if "error" in row:
        said = row["error"].strip().splitlines()[-1].replace("|", "\\|")
        return (*head, f"failed: {said}", *[""] * (len(_HEADER) - 4))
    worst = row["worst_image"]
    return (
        *head,
        _number(row["miou_present"], 3),
        _number(row["psnr"], 1),
        "-" if worst is None else f"{worst['psnr']:.1f} dB ({worst['image']})",
        _number(row["depth_l1"], 3),
        _number(row["depth_rel"], 3),
        str(row["veil_warnings"]),
        _number(row["seconds"], 0),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
