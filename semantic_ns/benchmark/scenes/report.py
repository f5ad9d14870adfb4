"""The scoreboard as tables in markdown and as JSON, and two of them beside each other."""

from collections.abc import Sequence
from pathlib import Path

from semantic_ns.benchmark.runner.code_versions import remarks_on_mixed_code
from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.benchmark.runner.reasons import reason_of
from semantic_ns.benchmark.runner.results import Result, grouped
from semantic_ns.benchmark.runner.trials import BASE_VARIANT, Trial
from semantic_ns.benchmark.scenes.summary import (
    Failed,
    Statistic,
    Summary,
    read_scoreboard,
    row_of,
    summaries,
    summary_of,
)
from semantic_ns.errors import SceneError
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_errors_as_scene_error, write_json, write_text

REPORT = "scenes.md"
SCORES = "scenes.json"
_INTRODUCTION = """# Scoreboard

Scores are those of images that were not trained on, unless the labels are noisy, which is scored on training poses.
{options} *worst*: of the seeds, and which seed it is. *spread*: best minus worst
seed. *between images*: standard deviation of the PSNR, mean over seeds. *worst image*: lowest PSNR of all images and
seeds. *s*: seconds of training, which include the compilation of kernels in the first training of a machine. *ms*:
milliseconds a step, median of a training."""
_DEFAULTS = "Every training has the defaults of its method."
_OTHER_OPTIONS = "Trainings have the defaults of their method, but for the options and the steps that are listed below."
_HEADER = (
    "scene", "labels", "seeds", "`miou_present`", "worst", "spread", "PSNR, dB", "between images", "worst image, dB",
    "depth L1, m", "worst", "spread", "s", "ms",
)  # fmt: skip
_TRIAL_HEADER = (
    "scene", "labels", "seed", "`miou_present`", "PSNR, dB", "worst image, dB", "depth L1, m", "s", "threads",
)  # fmt: skip
_COMPARED = ("scene", "labels", "seeds", "`miou_present`", "worst", "spread", "PSNR, dB", "worst image, dB",
             "depth L1, m", "worst depth", "ms a step")  # fmt: skip


def write_scoreboard(output: Path) -> Path:
    """Write `scenes.md` and `scenes.json` into the folder of a scoreboard; returns the path of the former.

    Raises:
        SceneError: if there is no result, results of one row differ in more than their seeds, or the folder cannot be
            written.
    """
    results, failed, unfinished, unreadable = read_scoreboard(output)
    rows = summaries(results, failed)
    trials = [each.trial for each in (*results, *failed)]
    are_defaults = not any(trial.options or trial.num_steps for trial in trials)
    introduction = _INTRODUCTION.format(options=_DEFAULTS if are_defaults else _OTHER_OPTIONS)
    tables = [
        markdown_table(_HEADER, [*map(_line, rows), *_all_scenes(rows)]),
        remarks_on_mixed_code(grouped(results, _row_title)),
        _circumstances(results, trials),
        "## Trainings",
        markdown_table(_TRIAL_HEADER, sorted([*map(_trial_line, results), *map(_failed_line, failed)])),
        _open_trials(unfinished),
        _unreadable_folders(unreadable),
    ]
    with write_errors_as_scene_error(output):
        write_json(output / SCORES, {"rows": [row.to_json() for row in rows]})
        write_text(output / REPORT, "\n\n".join(part for part in (introduction, *tables) if part) + "\n")
    return output / REPORT


def compared(before: Path, after: Path) -> str:
    """Two scoreboards beside each other, in markdown, over the seeds that both have.

    Rows belong together by scene, method, labels and the name (`--label`) of the trainings. Where each scoreboard has
    one name alone, the two names may differ, and so may the numbers of steps.

    Raises:
        SceneError: if one has no result, or they have no row in common.
    """
    found = [grouped(read_scoreboard(folder).done, lambda result: row_of(result.trial)) for folder in (before, after)]
    for part, value in (("label", BASE_VARIANT), ("num_steps", 0)):
        values = [{getattr(row, part) for row in rows} for rows in found]
        if not values[0] & values[1] and all(len(each) == 1 for each in values):
            found = [{row._replace(**{part: value}): same for row, same in rows.items()} for rows in found]
    first, second = found
    lines = []
    for row in sorted(first.keys() & second.keys()):
        seeds = {r.trial.seed for r in first[row]} & {r.trial.seed for r in second[row]}
        pair = [summary_of(row, [r for r in rows[row] if r.trial.seed in seeds]) for rows in (first, second)]
        if seeds:
            lines.append(_compared_line(*pair))
    if not lines:
        raise SceneError(
            f"Expected scenes and seeds that are in both {before} and {after}, found none; train the same in both."
        )
    alone = [_only(before, first.keys() - second.keys()), _only(after, second.keys() - first.keys())]
    title = f"# {before} → {after}"
    return "\n\n".join(part for part in (title, markdown_table(_COMPARED, lines), *alone) if part)


def _line(row: Summary) -> tuple[str, ...]:
    return (
        _name_of(row),
        find_mode(row.row.mode).title,
        f"{len(row.seeds)}" + (f", {len(row.failed)} failed" if row.failed else ""),
        *_statistic(row.miou_present, 3),
        _number(None if row.psnr is None else row.psnr.mean, 2),
        _number(row.psnr_between_images, 2),
        _image(row),
        *_statistic(row.depth_l1, 3),
        _number(row.seconds, 0),
        _number(row.milliseconds_per_step, 1),
    )


def _name_of(row: Summary) -> str:
    steps = f"{row.row.num_steps} steps" if row.row.num_steps else ""
    extra = [
        part
        for part, usual in ((row.row.method, "semantic-nerf"), (row.row.label, BASE_VARIANT), (steps, ""))
        if part != usual
    ]
    return f"{row.row.scene} ({', '.join(extra)})" if extra else row.row.scene


def _all_scenes(rows: Sequence[Summary]) -> list[tuple[str, ...]]:
    """Means over the scenes of what is a mean, and the worst of what is a worst, for each kind of training."""
    lines = []
    for kind in sorted({row.row[1:] for row in rows if row.seeds}):
        same = [row for row in rows if row.row[1:] == kind and row.seeds]
        if len(same) > 1:
            lines.append(_line(_over_scenes(same)))
    return lines


def _over_scenes(rows: Sequence[Summary]) -> Summary:
    images = [
        row.worst_image | {"image": f"{row.row.scene} {row.worst_image['image']}"} for row in rows if row.worst_image
    ]
    return Summary(
        row=rows[0].row._replace(scene=f"**{len(rows)} scenes**"),
        seeds=tuple(sorted({seed for row in rows for seed in row.seeds})),
        failed=tuple(seed for row in rows for seed in row.failed),
        miou_present=_joined([row.miou_present for row in rows], lowest=True),
        psnr=_joined([row.psnr for row in rows], lowest=True),
        depth_l1=_joined([row.depth_l1 for row in rows], lowest=False),
        psnr_between_images=_mean([row.psnr_between_images for row in rows]),
        worst_image=min(images, key=lambda image: image["psnr"], default=None),
        seconds=_mean([row.seconds for row in rows]),
        milliseconds_per_step=_mean([row.milliseconds_per_step for row in rows]),
        steps=None,
        code=tuple(sorted({code for row in rows for code in row.code})),
    )


def _joined(values: Sequence[Statistic | None], lowest: bool) -> Statistic | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    worst = sorted(found, key=lambda value: value.worst)[0 if lowest else -1]
    mean = sum(value.mean for value in found) / len(found)
    return Statistic(mean, worst.worst, worst.worst_seed, max(value.spread for value in found))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _trial_line(result: Result) -> tuple[str, ...]:
    content = result.content
    own, worst = result.scores[content["poses"]], content["worst_image"]
    deviation = f" ± {own['psnr_std']:.1f}" if own.get("psnr_std") is not None else ""
    return (
        *_trial_name(result.trial),
        _number(own.get("miou_present"), 3),
        _number(own.get("psnr"), 2) + deviation,
        "-" if worst is None else f"{worst['psnr']:.1f} ({worst['image']})",
        _number(own.get("depth_l1"), 3),
        _number(content["training_seconds"], 0),
        str(content["threads"]),
    )


def _failed_line(failure: Failed) -> tuple[str, ...]:
    said = reason_of(failure.error).replace("|", "\\|")
    return (*_trial_name(failure.trial), f"failed: {said}", *[""] * 5)


def _row_title(result: Result) -> str:
    name, labels, _ = _trial_name(result.trial)
    return f"{name}, {labels}"


def _trial_name(trial: Trial) -> tuple[str, str, str]:
    return _name_of(summary_of(row_of(trial), [])), find_mode(trial.mode).title, str(trial.seed)


def _circumstances(results: Sequence[Result], trials: Sequence[Trial]) -> str:
    """Options of all trials, also of those that failed; splits, versions, commits and processors."""
    said = [
        *(f"options: `{' '.join(trial.options)}` ({trial.variant})" for trial in trials if trial.options),
        *(f"{r.trial.scene.name}: {r.content['split']}" for r in results if "split" in r.content),
        *_places(results),
        *(f"{r.content['steps']} steps, {r.content['device']}, {r.content['threads']} threads a training, "
          f"{r.content['processor']}" for r in results),
        *(f"commit {r.content['commit'] or 'not known'}" for r in results),
        *(", ".join(f"{name} {version}" for name, version in r.content["versions"].items()) for r in results),
    ]  # fmt: skip
    return "\n".join(f"- {sentence}" for sentence in dict.fromkeys(said))


def _places(results: Sequence[Result]) -> list[str]:
    """The folders of scenes that were in several places, where scenes that differ may have had one name."""
    folders: dict[str, set[str]] = {}
    for result in results:
        folders.setdefault(result.trial.scene.name, set()).add(str(result.trial.scene.data))
    return [f"{name} was in {' and in '.join(sorted(of))}" for name, of in folders.items() if len(of) > 1]


def _open_trials(trials: Sequence[Trial]) -> str:
    names = ", ".join(f"{trial.scene.name} {trial.mode} {trial.seed}" for trial in trials)
    return f"Not finished: {names}." if trials else ""


def _unreadable_folders(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"Not finished, since its files cannot be read; copy it again: {', '.join(f'`{name}`' for name in names)}."


def _compared_line(before: Summary, after: Summary) -> tuple[str, ...]:
    def of(name: str, part: str) -> list[float | None]:
        statistics = [getattr(summary, name) for summary in (before, after)]
        return [None if statistic is None else getattr(statistic, part) for statistic in statistics]

    images = [None if summary.worst_image is None else summary.worst_image["psnr"] for summary in (before, after)]
    return (
        _name_of(after),
        find_mode(after.row.mode).title,
        str(len(after.seeds)),
        *(_change(of("miou_present", part), 3) for part in ("mean", "worst", "spread")),
        _change(of("psnr", "mean"), 2),
        _change(images, 1),
        *(_change(of("depth_l1", part), 3) for part in ("mean", "worst")),
        _change([before.milliseconds_per_step, after.milliseconds_per_step], 1),
    )


def _change(pair: Sequence[float | None], digits: int) -> str:
    before, after = pair
    if before is None or after is None:
        return f"{_number(before, digits)} → {_number(after, digits)}"
    return f"{before:.{digits}f} → {after:.{digits}f} ({after - before:+.{digits}f})"


def _only(folder: Path, rows: set) -> str:
    return f"Only in {folder}: {', '.join(sorted(f'{row.scene} {row.mode}' for row in rows))}." if rows else ""


def _statistic(value: Statistic | None, digits: int) -> tuple[str, str, str]:
    if value is None:
        return "-", "-", "-"
    return f"{value.mean:.{digits}f}", f"{value.worst:.{digits}f} ({value.worst_seed})", f"{value.spread:.{digits}f}"


def _image(row: Summary) -> str:
    worst = row.worst_image
    return "-" if worst is None else f"{worst['psnr']:.1f} ({worst['image']}, {worst['seed']})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
