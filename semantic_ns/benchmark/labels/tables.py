"""Tables in markdown, in the shape of those of the paper (Zhi et al., ICCV 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

from semantic_ns.benchmark.labels.published import CNN, NOTHING, REFERENCES, Figures, Reference
from semantic_ns.benchmark.runner.modes import CNN_PREFIX, MODES, TWO_FRAMES, find_mode
from semantic_ns.benchmark.runner.results import (
    BASELINES,
    ECE,
    INPUT,
    PREDICTIONS,
    SCORES,
    Result,
    Spread,
    grouped,
    own_score,
    score,
    spread,
)
from semantic_ns.io.text import markdown_table

_NAMES = {"test": "test poses", "train": "training poses"}
_HEADER = (
    "labels", "scored", *(f"`{name}`" for name in SCORES), "`miou_present`, other poses", "ECE", "paper: mIoU",
    "avg acc", "total acc", "bar", "training, s", "seeds",
)  # fmt: skip


@dataclass(frozen=True)
class TableShape:
    """One of the paper's tables: its title, its modes, and whether the labels that were given are scored in it."""

    title: str
    modes: tuple[str, ...]
    with_input: bool = True


def _starting_with(*starts: str) -> tuple[str, ...]:
    return tuple(name for name in MODES if name.startswith(starts))


SHAPES = (
    TableShape("Labels of few frames (Fig. 4)", ("all", *_starting_with("sparse-"), TWO_FRAMES), False),
    TableShape("Label propagation (Table 3)", ("click", "1%", "5%", "10%"), False),
    TableShape("Pixel-wise noise (Table 1)", _starting_with("pixel-noise-")),
    TableShape("Region-wise noise (Table 1)", _starting_with("region-")),
    TableShape("Super-resolution (Table 2)", _starting_with("super-")),
    TableShape("Labels of a 2D network (Table 4)", (CNN_PREFIX,)),
)


def reference_of(mode: str) -> Reference:
    """What a mode is compared with."""
    return CNN if mode.startswith(CNN_PREFIX) else REFERENCES.get(mode, NOTHING)


def mode_order(mode: str) -> int:
    """Place of a mode among all; those with names of their own come last."""
    return list(MODES).index(mode) if mode in MODES else len(MODES)


def paper_table(shape: TableShape, results: Sequence[Result]) -> str:
    """One table of one scene and variant; empty without a result for it.

    Args:
        shape: rows and columns of the table.
        results: results of one method, number of steps, scene and variant; seeds are averaged over.
    """
    rows = []
    by_mode = grouped(results, lambda result: result.trial.mode)
    for mode in sorted(by_mode, key=mode_order):
        if mode in shape.modes or (CNN_PREFIX in shape.modes and mode.startswith(CNN_PREFIX)):
            if shape.with_input:
                rows.append(_input_row(mode, by_mode[mode]))
            rows += _baseline_rows(mode, by_mode[mode])
            rows.append(_trained_row(mode, by_mode[mode]))
    return f"### {shape.title}\n\n{markdown_table(_HEADER, rows)}" if rows else ""


def _input_row(mode: str, results: Sequence[Result]) -> tuple[str, ...]:
    scores = (shown(score(results, INPUT, name)) for name in SCORES)
    return find_mode(mode).title, "input labels", *scores, "", "", *_figures(reference_of(mode).paper_input), "", "", ""


def _baseline_rows(mode: str, results: Sequence[Result]) -> list[tuple[str, ...]]:
    """What was there to train with, and what fusing it without a field gives, on the frames of the trained row."""
    rows = []
    for name in (PREDICTIONS, *BASELINES):
        if all(name in result.scores for result in results):
            what = "predictions, all pixels" if name == PREDICTIONS else f"fused: {name.replace('_', ' ')}"
            scores = (shown(score(results, name, key)) for key in SCORES)
            rows.append((find_mode(mode).title, what, *scores, "", shown(score(results, name, ECE)), *[""] * 6))
    return rows


def _trained_row(mode: str, results: Sequence[Result]) -> tuple[str, ...]:
    found, reference = find_mode(mode), reference_of(mode)
    other = "train" if found.poses == "test" else "test"
    bar = "" if reference.bar is None else f">= {reference.bar:.3g}"
    if reference.bar_over_input is not None:
        bar = f">= input + {reference.bar_over_input:.3g}"
    seconds = spread(result.content["training_seconds"] for result in results)
    return (
        found.title,
        _NAMES[found.poses],
        *(shown(score(results, found.poses, name)) for name in SCORES),
        shown(score(results, other, "miou_present")),
        shown(score(results, found.poses, ECE)),
        *_figures(reference.paper),
        bar,
        shown(seconds, 0),
        str(len(results)),
    )


def _figures(figures: Figures | None) -> tuple[str, str, str]:
    if figures is None:
        return "", "", ""
    miou, class_accuracy, pixel_accuracy = (
        "" if value is None else f"{value:.3f}"
        for value in (figures.miou, figures.class_accuracy, figures.pixel_accuracy)
    )
    return miou, class_accuracy, pixel_accuracy


def shown(value: Spread | None, digits: int = 3) -> str:
    """A mean with its deviation, or a dash."""
    return "-" if value is None else value.text(digits)


def ablation_table(results: Sequence[Result]) -> str:
    """`miou_present` of variants (rows) in modes (columns), each on the poses that the mode is compared by.

    Args:
        results: results of one method, number of steps and scene. Empty text if only one variant has labels.
    """
    by_variant = grouped((result for result in results if result.has_semantics), lambda result: result.trial.variant)
    if len(by_variant) < 2:
        return ""
    modes = sorted({result.trial.mode for same in by_variant.values() for result in same}, key=mode_order)
    rows = []
    for variant, same in by_variant.items():
        by_mode = grouped(same, lambda result: result.trial.mode)
        rows.append((variant, *(shown(own_score(by_mode.get(mode, []))) for mode in modes)))
    return "### Variants, `miou_present`\n\n" + markdown_table(("variant", *(find_mode(m).title for m in modes)), rows)


def semantics_table(results: Sequence[Result], base: str) -> str:
    """PSNR (dB) and depth error (m) on test poses of the base variant in each mode, beside those without classes.

    A training without classes is compared with those of its mode, seed by seed; a mode that has none with the first one
    that has. Labels do count a little without classes: where they are few, some rays are drawn among them.

    Args:
        results: results of one method, number of steps and scene. Empty text if classes were trained in all.
        base: name of the variant with classes.
    """
    rows = []
    trained = grouped((result for result in results if result.trial.variant == base), lambda result: result.trial.mode)
    without = (result for result in results if not result.has_semantics)
    for variant, plain in grouped(without, lambda result: result.trial.variant).items():
        by_mode = grouped(plain, lambda result: result.trial.mode)
        for mode in sorted(trained, key=mode_order):
            other = mode if mode in by_mode else min(by_mode, key=mode_order)
            row = [variant, find_mode(mode).title, find_mode(other).title]
            pairs = _of_common_seeds(trained[mode], by_mode[other])
            for name, digits in (("psnr", 2), ("depth_l1", 3)):
                pair = score(pairs[0], "test", name), score(pairs[1], "test", name)
                row += [shown(value, digits) for value in pair]
                row.append("-" if None in pair else f"{pair[0].mean - pair[1].mean:+.{digits}f}")  # pyright: ignore[reportOptionalMemberAccess]
            rows.append(row)
    if not rows:
        return ""
    names = [f"{what} {how}" for what in ("PSNR, dB:", "depth L1, m:") for how in ("with", "without", "difference")]
    header = ("variant without", "labels with", "labels without", *names)
    return "### With and without classes\n\n" + markdown_table(header, rows)


def _of_common_seeds(first: Sequence[Result], second: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The results whose seeds both have; all of them if there is no such seed."""
    common = {result.trial.seed for result in first} & {result.trial.seed for result in second}
    if not common:
        return list(first), list(second)
    kept = [[result for result in results if result.trial.seed in common] for results in (first, second)]
    return kept[0], kept[1]
