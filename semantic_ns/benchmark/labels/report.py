"""The report of a benchmark: tables and plots from the results that are there."""

import re
from collections.abc import Sequence
from pathlib import Path

from semantic_ns.benchmark.labels.plots import plot_modes, plot_sparsity
from semantic_ns.benchmark.labels.tables import SHAPES, ablation_table, paper_table, semantics_table
from semantic_ns.benchmark.runner.code_versions import remarks_on_mixed_code
from semantic_ns.benchmark.runner.reasons import reason_of
from semantic_ns.benchmark.runner.results import (
    TRAINS_WITH_DEPTH,
    Failure,
    Result,
    grouped,
    mean_over_scenes,
    read_results,
)
from semantic_ns.benchmark.runner.trials import BASE_VARIANT, refuse_mixed
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_errors_as_scene_error, write_text

REPORT = "report.md"
PICTURES = "pictures"
_INTRODUCTION = """# Few and noisy labels

Each figure is the mean over seeds ± their sample standard deviation. Scores are against clean labels. *paper*: Zhi et
al., ICCV 2021, means over Replica scenes of 180 training frames at 200 000 steps; which of the two mIoUs it prints is
not stated. *bar*: what `miou_present` has to reach on the rendered room."""


def write_report(output: Path) -> Path:
    """Write `report.md` and its pictures into the folder of a benchmark; returns the path of the report.

    Raises:
        SceneError: if there is no result, results differ in more than their seeds, or the folder cannot be written.
    """
    results, failures = read_results(output)
    refuse_mixed(result.trial for result in results)
    with write_errors_as_scene_error(output):
        parts = [_INTRODUCTION]
        for (method, steps), same in grouped(results, lambda r: (r.trial.method, r.trial.num_steps)).items():
            parts += [f"# {method}, {steps} steps", *_method_parts(same, output, f"{method}_{steps}")]
        parts += failure_parts(failures)
        write_text(output / REPORT, "\n\n".join(part for part in parts if part) + "\n")
    return output / REPORT


def base_variant(results: Sequence[Result]) -> str:
    """The variant whose tables are shown: `default`, or the first with classes, or the first."""
    names = list(grouped(sorted(results, key=lambda result: not result.has_semantics), lambda r: r.trial.variant))
    return BASE_VARIANT if BASE_VARIANT in names else names[0]


def _method_parts(results: Sequence[Result], output: Path, stem: str) -> list[str]:
    """What the report says about one method and number of steps."""
    base = base_variant(results)
    by_scene = grouped(results, lambda result: result.trial.scene.name)
    with_base = {name: _only(same, base) for name, same in by_scene.items()}
    rows = grouped(results, lambda r: f"{r.trial.scene.name}, {r.trial.mode}, {r.trial.variant}")
    parts = [_circumstances(results), remarks_on_mixed_code(rows)]
    name = f"sparsity_{_file_name(stem)}.png"
    if plot_sparsity(with_base, output / PICTURES / name):
        parts.append(f"![miou_present over sparsity]({PICTURES}/{name})")
    if len(by_scene) > 1:
        mean = f"mean of {len(by_scene)} scenes"
        by_scene[mean] = mean_over_scenes(results, mean)
    for scene, same in by_scene.items():
        parts += _scene_parts(scene, same, base, output, stem)
    return parts


def _scene_parts(scene: str, results: Sequence[Result], base: str, output: Path, stem: str) -> list[str]:
    if not results:
        return []
    shown = _only(results, base)
    name = f"modes_{_file_name(f'{stem}_{scene}')}.png"
    picture = plot_modes(shown, output / PICTURES / name)
    return [
        f"## {scene}",
        _scene_rules(results),
        *(paper_table(shape, shown) for shape in SHAPES),
        f"![miou_present of all modes]({PICTURES}/{name})" if picture else "",
        ablation_table(results),
        semantics_table(results, base),
    ]


def _only(results: Sequence[Result], variant: str) -> list[Result]:
    return [result for result in results if result.trial.variant == variant]


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def _circumstances(results: Sequence[Result]) -> str:
    """Variants, their options and their depth; versions, device and threads."""
    variants = grouped(results, lambda result: result.trial.variant)
    versions = sorted({", ".join(f"{k} {v}" for k, v in result.content["versions"].items()) for result in results})
    places = sorted({f"{r.content['device']}, {r.content['threads']} threads a training" for r in results})
    lines = [
        *(f"- variant `{name}`: {_variant(same)}" for name, same in variants.items()),
        *(f"- {version}" for version in versions),
        *(f"- {place}" for place in places),
        f"- mIoU: {results[0].content.get('miou_rule', 'not scored')}",
        f"- input labels: {results[0].content['input_rule']}",
    ]
    return "\n".join(lines)


def _variant(results: Sequence[Result]) -> str:
    """The options of a variant, and the scenes whose depth images trained it, which earlier results do not tell."""
    options = " ".join(results[0].trial.options) or "no options"
    scenes = sorted({result.trial.scene.name for result in results if result.content.get(TRAINS_WITH_DEPTH)})
    if not scenes:
        return options
    return f"{options}; trained with the depth images of {', '.join(scenes)}, while the paper's trainings had none"


def _scene_rules(results: Sequence[Result]) -> str:
    """How a scene was split and what became of void."""
    content = results[0].content
    frames = " and ".join(
        f"{results[0].scores[poses]['num_images']:g} {name} frames"
        for poses, name in (("train", "training"), ("test", "test"))
        if "num_images" in results[0].scores[poses]
    )
    said = [
        f"{frames} scored" if frames else "",
        *(str(content[name]) for name in ("split", "void_rule") if name in content),
    ]
    return ". ".join(text.strip().rstrip(".") for text in said if text) + "."


def failure_parts(failures: Sequence[Failure]) -> list[str]:
    """What the report says about trials that failed."""
    if not failures:
        return []
    rows = [(f"`{failure.key}`", reason_of(failure.error).replace("|", "\\|")) for failure in failures]
    return ["# Failed", markdown_table(("trial", "why"), rows)]
