"""Plots of a benchmark: mIoU over the sparsity of labels (Fig. 4 of Zhi et al., ICCV 2021) and of all modes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.labels.tables import mode_order, reference_of
from semantic_ns.benchmark.runner.modes import TWO_FRAMES, find_mode
from semantic_ns.benchmark.runner.results import Result, Spread, grouped, own_score, score
from semantic_ns.io.writing import replacing


def new_figure(width: float) -> tuple[Any, Any]:
    """A figure, 4 inches high, and its axes."""
    # No pyplot: it would choose a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def sparsity_points(results: Sequence[Result]) -> list[tuple[float, Spread]]:
    """Share of label images dropped, ascending, and `miou_present` on test poses, of the modes that drop some.

    Args:
        results: results of one scene and variant.
    """
    points = []
    for mode, same in grouped(results, lambda result: result.trial.mode).items():
        sparsity = find_mode(mode).sparsity
        frames = same[0].content.get("frames")  # not in results of before they were counted
        if mode == TWO_FRAMES and frames is not None:
            sparsity = 1 - frames["labelled"] / frames["training"]
        value = own_score(same)
        if sparsity is not None and value is not None:
            points.append((sparsity, value))
    return sorted(points, key=lambda point: point[0])


def plot_sparsity(by_scene: Mapping[str, Sequence[Result]], path: Path) -> bool:
    """Draw the curve of each scene; gives whether there was one (two points at least)."""
    curves = {name: sparsity_points(results) for name, results in by_scene.items()}
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return False
    figure, axes = new_figure(6.0)
    for name, points in curves.items():
        x = [100 * sparsity for sparsity, _ in points]
        values = [value for _, value in points]
        deviations = [value.deviation for value in values]
        axes.errorbar(x, [value.mean for value in values], deviations, marker="o", capsize=3, label=name)
    axes.set(xlabel="label images dropped, %", ylabel="miou_present, test poses")
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
    return True


def plot_modes(results: Sequence[Result], path: Path) -> bool:
    """Draw a bar for each mode of one scene and variant, with what the paper prints and the bar to reach."""
    by_mode = grouped((result for result in results if result.has_semantics), lambda result: result.trial.mode)
    modes = [mode for mode in sorted(by_mode, key=mode_order) if own_score(by_mode[mode]) is not None]
    if not modes:
        return False
    figure, axes = new_figure(2 + 0.6 * len(modes))
    places = list(range(len(modes)))
    values = [value for mode in modes if (value := own_score(by_mode[mode])) is not None]
    deviations = [value.deviation for value in values]
    axes.bar(places, [value.mean for value in values], yerr=deviations, capsize=3, color="lightblue", label="measured")
    for label, marker, heights in (
        ("paper, mIoU", "D", [None if (paper := reference_of(m).paper) is None else paper.miou for m in modes]),
        ("bar", "_", [reference_of(mode).bar for mode in modes]),
        ("input labels", "x", [_input_height(by_mode[mode]) for mode in modes]),
    ):
        found = [(place, height) for place, height in zip(places, heights, strict=True) if height is not None]
        if found:
            axes.scatter(*zip(*found, strict=True), marker=marker, s=60, label=label, zorder=3)
    axes.set_xticks(places, modes, rotation=60, ha="right")
    axes.set(ylabel="miou_present", ylim=(0, 1.05))
    figure.legend(loc="outside upper center", ncols=4)
    save_figure(figure, path)
    return True


def _input_height(results: Sequence[Result]) -> float | None:
    value = score(results, "input", "miou_present")
    # Labels that are few but right would all be drawn at 1.
    wrong = value is not None and find_mode(results[0].trial.mode).poses == "train"
    return value.mean if value is not None and wrong else None
