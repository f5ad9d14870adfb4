"""Page and plot of `benchmarks.paper_network`, from the results of its trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.report import NOT_MEASURED, number, said
from benchmarks.speed.statistics import seconds_to
from semantic_ns.benchmark.runner.trials import TRIALS, read_result
from semantic_ns.io.text import markdown_table

FAST, PAPER = "semantic-nerf", "semantic-nerf-vanilla"
WHOLE_SCHEDULE = "whole-schedule"
PAGE = Path("results", "vanilla.md")
PLOT = Path("pictures", "vanilla_curve.png")
LABELS = {"click": "one click per class and frame", "all": "all labels"}
SHOWN = {"miou_present": "mIoU (present classes)", "psnr_pooled": "PSNR (dB)"}

INTRODUCTION = """`semantic-nerf-vanilla` is the network of Zhi et al. 2021 with its encoding, sampling, losses,
batches and schedule. Each network, coarse and fine, has 628 740 + 129 C parameters. Tests hold it against a twin that
is written out layer by layer, sample by sample and ray by ray, values and gradients, and it learns two small images to
the last pixel.

Differences, on purpose: without a label in a batch the cross-entropy is 0, not NaN; void is stated by the data set, not
guessed; seeds are fixed; depth for scoring is resized by nearest neighbours."""

Result = Mapping[str, Any]


def finished(output: Path) -> list[Result]:
    """The results of the trials that are done, by labels and method."""
    found = [read_result(folder) for folder in sorted((output / TRIALS).glob("*"))]
    done = [result for result in found if result is not None and result["state"] == "done"]
    return sorted(done, key=lambda result: (list(LABELS).index(result["cell"]["mode"]), result["cell"]["method"]))


def _budget(result: Result) -> str:
    return str(result["cell"]["variant"]).partition(",")[0]


def _title(result: Result) -> str:
    trial = result["cell"]
    return f"{trial['method']}, {LABELS[trial['mode']]}"


def _command(result: Result) -> str:
    """The training as a command, wherever the scene lay."""
    return str(result["command"]).replace(str(result["cell"]["scene"]["data"]), "SCENE")


def trials_table(results: Sequence[Result]) -> str:
    """What each trial trained, how fast, with how much memory, and how well it is at its end."""
    header = ("method, labels", "budget", "steps", "training seconds", "rays/s", "memory, GiB", "mIoU", "PSNR, dB")
    rows = []
    for result in results:
        last, memory = result["points"][-1], result.get("peak_gpu_gib", result["peak_gib_training"])
        measured = (result["training_seconds"], result["training_rays_per_second"], memory)
        quality = (f"{last['miou_present']:.3f}", f"{last['psnr_pooled']:.2f}")
        steps = f"{result['num_steps_taken']} of {result['cell']['num_steps']}"
        rows.append((_title(result), _budget(result), steps, *(number(value) for value in measured), *quality))
    if not any(_budget(result) == WHOLE_SCHEDULE for result in results):
        rows.append((f"{PAPER}, whole schedule on CUDA", WHOLE_SCHEDULE, NOT_MEASURED, *("",) * 5))
    return markdown_table(header, rows)


def overtaking_table(results: Sequence[Result]) -> str:
    """When the fast method had reached what the paper's network has at the end of its budget."""
    rows = []
    for paper in (result for result in results if result["cell"]["method"] == PAPER):
        for fast in (result for result in results if result["cell"]["method"] == FAST):
            if fast["cell"]["mode"] != paper["cell"]["mode"] or _budget(fast) != _budget(paper):
                continue
            for score, label in SHOWN.items():
                goal = paper["points"][-1][score]
                when = seconds_to(fast["points"], score, goal)
                needed = "not reached" if when is None else f"{number(when['seconds'])} s"
                spent = f"{number(paper['training_seconds'])} s"
                rows.append((LABELS[paper["cell"]["mode"]], label, number(goal), spent, needed))
    return markdown_table(("labels", "score", "paper's network", "after", f"{FAST} needs"), rows)


def points_table(result: Result) -> str:
    """Quality of a trial at its scored steps."""
    rows = [
        (str(p["step"]), number(p["seconds"]), f"{p['miou_present']:.3f}", f"{p['psnr_pooled']:.2f}")
        for p in result["points"]
    ]
    return markdown_table(("step", "training seconds", "mIoU", "PSNR, dB"), rows)


def page(results: Sequence[Result]) -> str:
    """The page in markdown."""
    first = results[0]
    scored = (
        f"Scored on {first['num_test_images']} test images, evenly spaced, every {first['stride']}th pixel of every "
        f"{first['stride']}th row: one confusion matrix and one mean squared error over all these pixels, void not "
        "scored, mIoU over classes with ground truth. Seconds are those of training steps, the first included; loading "
        "and scoring are not in them. One seed. Memory is the peak of the process while training (on CUDA that of the "
        "device)."
    )
    parts = [
        "# The paper's own network",
        INTRODUCTION,
        "Written by `python -m benchmarks.paper_network`, which goes on where it was stopped. The trainings:",
        "```\n" + "\n".join(sorted({_command(result) for result in results})) + "\n```",
        scored,
        *sorted({said(result["circumstances"]) + f" Threads: {result['threads']}." for result in results}),
        "## At the end of the budget",
        trials_table(results),
        f"## When {FAST} is as good as the paper's network at the end",
        overtaking_table(results),
        f"![mIoU and PSNR over training seconds](../{PLOT.as_posix()})",
    ]
    for result in results:
        parts += [f"## {_title(result)} ({_budget(result)})", points_table(result)]
    return "\n\n".join(parts) + "\n"


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot mIoU and PSNR over training seconds, all trials in one picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(SHOWN), figsize=(11, 4.5), sharex=True, layout="constrained")
    for panel, (score, label) in zip(panels, SHOWN.items(), strict=True):
        for result in results:
            seconds = [point["seconds"] for point in result["points"]]
            style = "-" if result["cell"]["method"] == FAST else "--"
            values = [point[score] for point in result["points"]]
            panel.plot(seconds, values, style, marker="o", markersize=3, label=f"{_title(result)} ({_budget(result)})")
        panel.set(xlabel="training time (s)", ylabel=label, xscale="log")
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize="small", loc="center right")  # between the curves of the two methods
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_report(output: Path, docs: Path) -> None:
    """Write page and plot from all trials that are done."""
    results = finished(output)
    if not results:
        raise SystemExit(f"no trial in {output} is done")
    (docs / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text(page(results), encoding="utf8")
    draw(results, docs / PLOT)
    print(f"written: {docs / PAGE} and {docs / PLOT}")
