"""Results of a run as one JSON file and as Markdown, made from the rows that its stages wrote."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.rows import Row, read_rows
from benchmarks.gpu.runner import Outcome
from benchmarks.gpu.stages import STAGES

RESULTS = "results.json"
_CIRCUMSTANCES = ("device", "torch", "cuda", "triton", "numpy", "numba", "python", "commit")


def write_results(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write `results.json`: how each stage ended, and all rows."""
    content = {
        "stages": [{"stage": o.stage, "seconds": o.seconds, "reason": o.reason, "rows": len(o.rows)} for o in outcomes],
        "rows": [row for outcome in outcomes for row in outcome.rows],
    }
    partial = folder / f"{RESULTS}.partial"
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")
    partial.replace(folder / RESULTS)


def load(folder: Path) -> tuple[list[dict[str, Any]], list[Row]]:
    """How the stages ended, and all rows, those of a run that was cut off included."""
    path = folder / RESULTS
    stages: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf8"))["stages"] if path.exists() else []
    told = {stage["stage"] for stage in stages}
    rows: list[Row] = []
    for stage in STAGES:
        found = read_rows(folder / f"{stage.name}.jsonl")
        if stage.name in told or found:
            rows += found
        if found and stage.name not in told:
            reason = "The run was cut off in this stage, or before it could be noted."
            stages.append({"stage": stage.name, "seconds": None, "reason": reason, "rows": len(found)})
    return stages, rows


def markdown(folder: Path) -> str:
    """All tables."""
    stages, rows = load(folder)
    parts = [_circumstances(rows), _stages(stages)]
    for title, wanted, columns in _TABLES:
        chosen = [row for row in rows if wanted(row)]
        if chosen:
            parts.append(
                f"### {title}\n\n" + _table([name for name, _ in columns], chosen, [get for _, get in columns])
            )
    parts.append(_profiles(rows))
    missing = [[row["stage"], row["name"], row["reason"]] for row in rows if "reason" in row]
    if missing:
        parts.append("### Not measured\n\n" + _lines(["stage", "what", "why"], missing))
    return "\n\n".join(part for part in parts if part)


def _circumstances(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing was measured."
    seen = {name: sorted({str(row.get(name)) for row in rows}) for name in _CIRCUMSTANCES}
    return "; ".join(f"{name} {', '.join(values)}" for name, values in seen.items()) + "."


def _stages(stages: Sequence[dict[str, Any]]) -> str:
    lines = [[s["stage"], _number(s["seconds"]), str(s["rows"]), s["reason"] or "ended well"] for s in stages]
    return "### Stages\n\n" + _lines(["stage", "seconds", "rows", "end"], lines) if lines else ""


def _profiles(rows: Sequence[Row]) -> str:
    parts = []
    for row in rows:
        if "top" in row:
            lines = [
                [f"`{kernel['kernel'][:90]}`", f"{kernel['share']:.1%}", _number(kernel["milliseconds_per_step"]),
                 _number(kernel["calls_per_step"])]
                for kernel in row["top"]
            ]  # fmt: skip
            said = (
                f"{_number(row['milliseconds_per_step'])} ms a step, in which the device is at work for "
                f"{_number(row['busy_milliseconds_per_step'])} ms; {row['launches_per_step']:.0f} launches."
            )
            table = _lines(["kernel", "share of busy time", "ms a step", "calls a step"], lines)
            parts.append(f"### {row['name']}\n\n{said}\n\n{table}")
    return "\n\n".join(parts)


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_number(entry)}" for key, entry in value.items())
    return str(value)


Get = Callable[[Row], Any]


def _of(*path: str) -> Get:
    def get(row: Row) -> Any:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    return get


def _table(titles: Sequence[str], rows: Sequence[Row], columns: Sequence[Get]) -> str:
    return _lines(titles, [[_number(get(row)) for get in columns] for row in rows])


def _lines(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    return "\n".join(
        [*head, *("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)]
    )


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row for name in names)


_TABLES: tuple[tuple[str, Callable[[Row], bool], tuple[tuple[str, Get], ...]], ...] = (
    ("Correctness of the kernels", _has("kernel", "error"), (
        ("what", _of("name")), ("relative error", _of("error")), ("tolerance", _of("tolerance")),
        ("within", _of("passed")),
    )),
    ("CPU and device", _has("mean_color_error"), (
        ("what", _of("name")), ("mean colour error", _of("mean_color_error")),
        ("pixels off by more than 2/255", _of("wrong_color_share")), ("other labels", _of("other_label_share")),
        ("mean relative depth error", _of("mean_depth_error")), ("within tolerance", _of("passed")),
    )),
    ("Tests marked cuda", _has("counts"), (
        ("what", _of("name")), ("counts", _of("counts")), ("passed", _of("passed")), ("failed", _of("failed")),
    )),
    ("Training", _has("rays_per_second"), (
        ("what", _of("name")), ("rays/s", _of("rays_per_second")), ("ms a step", _of("milliseconds_per_step")),
        ("rays a step", _of("rays_per_step")), ("peak GiB", _of("training_peak_gib")),
        ("hours of the published run", _of("hours_of_the_published_run")),
    )),
    ("Phases of a step, ms", lambda row: str(row["name"]).startswith("phases: ") and "milliseconds" in row, (
        ("what", _of("name")), ("parts", _of("milliseconds")),
    )),
    ("Frames of 640x480", _has("frames_per_second"), (
        ("what", _of("name")), ("frames/s", _of("frames_per_second")), ("peak GiB", _of("rendering_peak_gib")),
    )),
    ("Whole runs", _has("seconds_to_miou_present"), (
        ("run", _of("name")), ("s to .90", _of("seconds_to_miou_present", "0.9", "seconds")),
        ("s to .95", _of("seconds_to_miou_present", "0.95", "seconds")), ("training s", _of("training_seconds")),
        ("miou_present", _of("final", "miou_present")), ("PSNR", _of("final", "psnr")),
        ("worst image's", _of("worst_psnr")), ("depth L1, m", _of("final", "depth_l1")),
    )),
    ("Scores on the way", _has("scoring_seconds"), (
        ("run", _of("name")), ("step", _of("step")), ("training s", _of("seconds")),
        ("miou_present", _of("miou_present")), ("PSNR", _of("psnr")), ("images", _of("num_images")),
    )),
    ("Copies", _has("gigabytes_per_second"), (("what", _of("name")), ("GB/s", _of("gigabytes_per_second")))),
    ("Hash grids", _has("share_of_copy"), (
        ("what", _of("name")), ("ms", _of("milliseconds")), ("bytes asked for", _of("bytes_asked_for")),
        ("of the copy's speed", _of("share_of_copy")), ("at least", _of("share_of_copy_at_least")),
    )),
    ("Builds", _has("compile_seconds"), (("what", _of("name")), ("s", _of("compile_seconds")), ("jobs", _of("jobs")))),
)  # fmt: skip
