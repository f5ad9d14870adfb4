"""Tables and plot of a speed benchmark, from its JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.io.text import markdown_table

NOT_MEASURED = "not measured"
TABLES = Path("results", "speed_tables.md")
PLOT = Path("pictures", "speed_curve.png")
CURVE = "curve semantic-nerf"
THRESHOLD = 0.90
MIOU_BAR, PSNR_BAR = 0.94, 28.5


@dataclass(frozen=True)
class Goal:
    """A figure of the report with the values that it has to reach."""

    what: str
    place: tuple[str | int, ...]
    """Keys of the figure in the report; a summary stands for its median."""
    bar: float
    stretch: float | None
    at_least: bool
    unit: str = ""

    def met(self, value: float, bar: float) -> bool:
        """Whether the value is on the right side of a bar."""
        return value >= bar if self.at_least else value <= bar


def _ratio(name: str) -> tuple[str, ...]:
    return ("turns", "ratios", name)


def _final(score: str) -> tuple[str | int, ...]:
    return (CURVE, "points", -1, score)


GOALS = (
    Goal("training rays/s over nerfacto's defaults", _ratio("training: semantic-nerf / nerfacto"), 40, 60, True),
    Goal("over nerfacto, same sizes", _ratio("training: semantic-nerf / nerfacto-same-sizes"), 8, 12, True),
    Goal("training to `miou_present` .90", (CURVE, "seconds_to_miou_present", "0.90"), 60, 30, False, " s"),
    Goal("`miou_present` after the run", _final("miou_present"), MIOU_BAR, 0.96, True),
    Goal("PSNR after the run", _final("psnr"), PSNR_BAR, 30, True, " dB"),
    Goal("mean absolute planar depth error after the run", _final("depth_l1"), 0.15, 0.08, False, " m"),
    Goal("semantics on / off, training time", _ratio("training time: semantics on / off"), 1.10, 1.05, False),
    Goal("semantics on / off, rendering time", _ratio("rendering time: semantics on / off"), 1.15, 1.05, False),
    Goal("C = 101 / C = 13, training time", _ratio("training time: C = 101 / C = 13"), 1.05, None, False),
    Goal("one frame with all outputs, after the run", (CURVE, "rendering", "seconds_per_frame"), 1.0, 0.4, False, " s"),
    Goal("start of `ns-train` to the end of its first step, warm cache", ("startup",), 8, 5, False, " s"),
    Goal("peak memory of the run and its evaluation", (CURVE, "peak_gib"), 2.5, None, False, " GiB"),
    Goal(
        "CUDA: training rays/s with Triton",
        ("turns", "arms", "semantic-nerf-triton", "training_rays_per_second"),
        500_000,
        1_000_000,
        True,
    ),
    Goal("CUDA: Triton over tinycudann, encoding forward + backward", ("encoding",), 0.7, 1.0, True),
)


def at(report: Any, place: tuple[str | int, ...]) -> Any:
    """What lies at a place of the report; None if there is nothing."""
    for key in place:
        if not isinstance(report, Mapping | list) or (isinstance(report, Mapping) and key not in report):
            return None
        report = report[key]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return report


def number(value: float) -> str:
    """Three significant digits or all before the point, with thin groups: 0.0312, 41.5, 26 512."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:#.3g}".rstrip(".")


def spread(value: Any) -> str:
    """Median and range of a summary, or a plain number."""
    if value is None:
        return NOT_MEASURED
    if not isinstance(value, Mapping):
        return number(value)
    return f"{number(value['median'])} ({number(value['min'])} to {number(value['max'])})"


def limit(value: float) -> str:
    """A bar as it is written: 40, 0.08, 500 000."""
    return f"{value:g}" if value < 1000 else number(value)


def _value(found: Any) -> tuple[float, str]:
    """The figure that counts of a number, a summary or a time to a score, and how to show it."""
    if isinstance(found, Mapping) and "after" in found:
        when = found["seconds"]
        return when, f"{number(when)} (scored at {number(found['after'])} and {number(found['before'])})"
    return found["median"] if isinstance(found, Mapping) else found, spread(found)


def goal_row(report: Mapping[str, Any], goal: Goal) -> tuple[str, ...]:
    """A goal, its limits, what was measured and the verdict."""
    sign = ">=" if goal.at_least else "<="
    bar = f"{sign} {limit(goal.bar)}{goal.unit}"
    stretch = "" if goal.stretch is None else f"{limit(goal.stretch)}{goal.unit}"
    found = at({**report, "turns": _all_turns(report)}, goal.place)
    if found is None:
        # A quality that a measured run has not reached is another thing than a run that was not made.
        reached = at(report, goal.place[:-1]) if goal.place[1:2] == ("seconds_to_miou_present",) else None
        return (goal.what, bar, stretch, *((NOT_MEASURED, "") if reached is None else ("not reached", "missed")))
    value, shown = _value(found)
    verdict = "met" if goal.met(value, goal.bar) else "missed"
    if goal.stretch is not None and goal.met(value, goal.stretch):
        verdict = "met, stretch too"
    return goal.what, bar, stretch, shown + goal.unit, verdict


def turns_of(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of the report that hold turns of arms."""
    return [part for name, part in report.items() if name == "turns" or name.startswith("turns ")]


def _all_turns(report: Mapping[str, Any]) -> dict[str, Any]:
    """Arms and ratios of all these parts; what several hold is that of the first."""
    parts = turns_of(report)[::-1]
    return {key: {name: x for part in parts for name, x in part.get(key, {}).items()} for key in ("arms", "ratios")}


def goals_table(report: Mapping[str, Any]) -> str:
    """All goals, and whether they are met."""
    return markdown_table(("what", "bar", "stretch", "measured", "verdict"), [goal_row(report, goal) for goal in GOALS])


def arms_table(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Speed and memory of each arm."""
    rows = []
    for name, arm in arms.items():
        if "not_measured" in arm:
            rows.append((name, f"{NOT_MEASURED}: {arm['not_measured']}", *("",) * 5))
            continue
        names = ("training_rays_per_second", "rendering_rays_per_second", "seconds_per_frame", "peak_gib")
        rows.append((name, *(spread(arm.get(key)) for key in names), _counts(arm["steps"]), _counts(arm["frames"])))
    header = ("arm", "training, rays/s", "rendering, rays/s", "one frame, s", "peak memory, GiB", "steps", "frames")
    return markdown_table(header, rows)


def _counts(counts: list[int]) -> str:
    return f"{counts[0]} + {counts[1]}"


def ratios_table(ratios: Mapping[str, Any]) -> str:
    """All ratios of arms, with each round's."""
    rows = [(name, spread(ratio), ", ".join(number(turn) for turn in ratio["turns"])) for name, ratio in ratios.items()]
    return markdown_table(("ratio", "median (range)", "rounds"), rows)


def curve_table(curve: Mapping[str, Any]) -> str:
    """Quality at the scored steps."""
    names = ("miou_present", "psnr", "depth_l1")
    rows = [
        (str(p["step"]), number(p["seconds"]), *(number(p[n]) if n in p else "" for n in names))
        for p in curve["points"]
    ]
    return markdown_table(("step", "training seconds", "`miou_present`", "PSNR, dB", "depth error, m"), rows)


def paired_table(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds of arms that took turns in one process, and over those of the first."""
    first = next(iter(arms))
    rows = [
        (
            name,
            number(arm["milliseconds_per_step"]),
            f"{arm['over_first']:.3f} ({' to '.join(f'{quartile:.3f}' for quartile in arm['quartiles'])})",
            f"{arm['of_sums']:.3f}",
        )
        for name, arm in arms.items()
    ]
    return markdown_table(("arm", "ms a step, median", f"turn by turn over {first} (quartiles)", "of sums"), rows)


def said(circumstances: Mapping[str, Any]) -> str:
    """Circumstances as a sentence."""
    hidden = ("uncommitted_changes", "commit", "time", "scene", "processor", "cores", "gpu")
    versions = ", ".join(f"{name} {value}" for name, value in circumstances.items() if name not in hidden and value)
    changed = " with uncommitted changes" if circumstances["uncommitted_changes"] else ""
    return (
        f"Scene {circumstances['scene']}; {circumstances['processor']}, {circumstances['cores']} cores, "
        f"GPU: {circumstances['gpu'] or 'none'}; {versions}; commit {str(circumstances['commit'])[:12]}{changed}; "
        f"{circumstances['time']}."
    )


def curves_of(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The curves in the report by method."""
    return {name.removeprefix("curve "): part for name, part in report.items() if name.startswith("curve ")}


def tables(report: Mapping[str, Any]) -> str:
    """The report as a page of markdown."""
    parts = [
        "# Speed: tables",
        "Written by `python -m benchmarks.speed --report`. Medians; in brackets the range over the rounds. "
        "A ratio is taken between turns of the same round.",
        "## Bars",
        goals_table(report),
    ]
    if CURVE in report:
        parts.append(f"The run is semantic-nerf, {_extent(report[CURVE])}.")
    for turns in turns_of(report):
        parts += ["## Arms", said(turns["circumstances"]) + f" Rounds: {turns['rounds']}.", arms_table(turns["arms"])]
        parts += ["Steps and frames: not counted + counted."]
        if turns["ratios"]:
            parts += ["### Ratios", ratios_table(turns["ratios"])]
    for name, paired in report.items():
        if name == "paired" or name.startswith("paired "):
            how = f" {paired['rounds']} turns of {paired['steps']} steps each, in one process."
            parts += ["## Arms in one process", said(paired["circumstances"]) + how, paired_table(paired["arms"])]
    if "startup" in report:
        start = report["startup"]
        parts += ["## Start", said(start["circumstances"]), f"Start to first step: {spread(start)} s."]
    for method, curve in curves_of(report).items():
        parts += [f"## Quality over training time: {method}", said(curve["circumstances"]), _run(curve)]
        parts += [curve_table(curve)]
    if curves_of(report):
        parts.append(f"![mIoU and PSNR over training seconds](../{PLOT.as_posix()})")
    return "\n\n".join(parts) + "\n"


def _extent(curve: Mapping[str, Any]) -> str:
    """How much of the default run, and of its scoring, a curve is: bars hold for the whole of both."""
    return (
        f"{curve['num_iterations']} steps (default {curve['default_iterations']}) on "
        f"{curve['circumstances']['scene']}, scored on {curve['points'][-1]['num_images']} of "
        f"{curve['num_test_images']} test images"
    )


def _run(curve: Mapping[str, Any]) -> str:
    reached = (
        f"{name}: {'not reached' if when is None else number(when['seconds']) + ' s'}"
        for name, when in curve["seconds_to_miou_present"].items()
    )
    return (
        f"{_extent(curve)}. {number(curve['training_seconds'])} s of training steps, of which "
        f"the first, which loads the kernels, took {number(curve['first_step_seconds'])} s; "
        f"{number(curve['seconds_before_first_step'])} s before the first and all scoring are not in it. "
        f"Seconds to `miou_present` {', '.join(reached)} "
        "(linear between scored steps)."
    )


def draw_curves(curves: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot mIoU and PSNR over training seconds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharex=True, layout="constrained")
    for panel, score, label, bar in zip(
        panels, ("miou_present", "psnr"), ("mIoU (present classes)", "PSNR (dB)"), (THRESHOLD, PSNR_BAR), strict=True
    ):
        for method, curve in curves.items():
            seconds = [point["seconds"] for point in curve["points"]]
            panel.plot(seconds, [point[score] for point in curve["points"]], marker="o", markersize=3, label=method)
        panel.axhline(bar, color="grey", linestyle="--", linewidth=1, label=f"bar {bar:g}")
        panel.set(xlabel="training time (s)", ylabel=label, xlim=(0, None))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def encoding_ratio(encodings: Mapping[str, Any]) -> float | None:
    """Speed of the Triton encoding over tiny-cuda-nn's in the result of `benchmarks.encoding`; None without one."""
    times = [at(encodings, ("milliseconds", name, "both", "median")) for name in ("tinycudann", "triton")]
    return None if None in times else times[0] / times[1]


def write_report(report: Mapping[str, Any], docs: Path) -> None:
    """Write the page, and the plot where a curve was measured."""
    page = docs / TABLES
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(tables(report), encoding="utf8")
    if curves := curves_of(report):
        draw_curves(curves, docs / PLOT)
    print(f"written: {page}" + (f" and {docs / PLOT}" if curves else ""))
