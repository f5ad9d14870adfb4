"""The report of a benchmark of active learning: cost curves, areas under them, and costs at 95 % of all labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semantic_ns.benchmark.active.curves import area_under, cost_at, cost_ratio
from semantic_ns.benchmark.active.plan import ALL_LABELS, COLOR, PREFIX
from semantic_ns.benchmark.labels.plots import new_figure, save_figure
from semantic_ns.benchmark.labels.report import PICTURES, failure_parts
from semantic_ns.benchmark.labels.tables import shown
from semantic_ns.benchmark.runner.code_versions import remarks_on_mixed_code
from semantic_ns.benchmark.runner.results import Result, grouped, read_results, spread
from semantic_ns.errors import SceneError
from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_errors_as_scene_error, write_text

REPORT = "active.md"
SCORE = "miou_present"
ENOUGH = 0.95
"""Share of the score with all labels that a strategy is to reach."""
COMPARED = ("random", "coverage")
"""Strategies that the others' costs are compared with."""
CURRENCIES = ("pixels", "clicks", "frames")
_FEWEST_FOR_INTERVAL = 2
_INTRODUCTION = """# Labels asked for

The protocol is this project's own. Geometry and colours are trained once for each scene and seed, without labels. Then
each strategy has its rounds: it chooses from what the field shows, the scene's labels answer, labels spread over the
surface, the classes' own hash grid and head start over and train for a fixed number of steps, and the test images are
scored. Round 0 is the same for all strategies. Costs are shares of all pixels, clicks or frames of the training images,
void ones too. Each figure is the mean over seeds ± their sample standard deviation. *Cost at 95 %*: where the curve,
linear in the logarithm of the cost, first reaches 95 % of the score with all labels; -: it does not within its budgets.
*times*: the cost that another strategy needs for that over the strategy's own, geometric mean over scenes and seeds
with the 95 % interval of the bootstrap over these. The other one counts with its last budget where it does not reach
it, the strategy itself with the cost of all labels; where neither does, the pair is left out."""


@dataclass(frozen=True)
class Curve:
    """Rounds of one strategy on one scene with one seed.

    Attributes:
        scene, seed, unit, strategy: whose.
        costs: cumulative cost after each round, as shares of the pool, by currency.
        scores: scores after each round.
        bound: score with all labels of the same scene and seed; none: not there.
    """

    scene: str
    seed: int
    unit: str
    strategy: str
    costs: Mapping[str, Sequence[float]]
    scores: Sequence[float]
    bound: float | None

    def enough_at(self, currency: str) -> float | None:
        """Cost at 95 % of the score with all labels."""
        return None if self.bound is None else cost_at(self.costs[currency], self.scores, ENOUGH * self.bound)

    @property
    def main_currency(self) -> str:
        """What its budgets count."""
        return "frames" if self.unit == "frame" else "pixels"


def write_active_report(output: Path) -> Path:
    """Write `active.md` and its pictures into the folder of a benchmark; returns the path of the report.

    Raises:
        SceneError: if no strategy has come to its end, or the folder cannot be written.
    """
    results, failures = read_results(output)
    curves = curves_of(results)
    if not curves:
        raise SceneError(
            f"Expected a strategy that came to its end in {output}, found none; see result.json of its trials."
        )
    with write_errors_as_scene_error(output):
        rows = grouped(results, lambda r: f"{r.trial.scene.name}, {r.trial.variant}")
        parts = [_INTRODUCTION, _circumstances(results), remarks_on_mixed_code(rows)]
        for unit, same in _by(curves, "unit").items():
            parts += _unit_parts(unit, same, output)
        parts += [_bounds(results), *failure_parts(failures)]
        write_text(output / REPORT, "\n\n".join(part for part in parts if part) + "\n")
    return output / REPORT


def curves_of(results: Sequence[Result]) -> list[Curve]:
    """The curves of all strategies, each with its bound."""
    bounds = {
        (result.trial.scene.name, result.trial.seed): result.scores["test"][SCORE]
        for result in results
        if result.trial.variant == ALL_LABELS
    }
    found = []
    for result in results:
        trial = result.trial
        if trial.variant in (ALL_LABELS, COLOR):
            continue
        rounds = result.content["rounds"]
        unit, _, strategy = trial.variant.partition("-")
        costs = {name: [entry["shares"][name] for entry in rounds] for name in CURRENCIES}
        scores = [entry["scores"][SCORE] for entry in rounds]
        bound = bounds.get((trial.scene.name, trial.seed))
        found.append(Curve(trial.scene.name, trial.seed, unit, strategy, costs, scores, bound))
    return found


def _by(curves: Sequence[Curve], attribute: str) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(getattr(curve, attribute), []).append(curve)
    return found


def _unit_parts(unit: str, curves: Sequence[Curve], output: Path) -> list[str]:
    parts = [f"## Units: {unit}"]
    for scene, same in _by(curves, "scene").items():
        name = f"active_{unit}_{scene}.png"
        _plot(same, output / PICTURES / name)
        parts += [f"### {scene}", f"![{SCORE} over cost]({PICTURES}/{name})", _scores_table(same), _costs_table(same)]
    return [*parts, f"### Costs compared, units: {unit}", _ratio_table(curves)]


def _scores_table(curves: Sequence[Curve]) -> str:
    """Scores after each round, and the area under the curve."""
    shares = max((curve.costs[curve.main_currency] for curve in curves), key=len)
    header = ("strategy", *(f"{100 * share:.2g} %" for share in shares), "area", "seeds")
    rows = []
    for strategy, same in _by(curves, "strategy").items():
        rounds = [
            shown(spread(curve.scores[number] for curve in same if number < len(curve.scores)))
            for number in range(len(shares))
        ]
        area = spread(area_under(curve.costs[curve.main_currency], curve.scores) for curve in same)
        rows.append((strategy, *rounds, shown(area), str(len(same))))
    return markdown_table(header, rows)


def _costs_table(curves: Sequence[Curve]) -> str:
    """Cost at 95 % in each currency, in per cent."""
    rows = []
    for strategy, same in _by(curves, "strategy").items():
        cells = []
        for currency in CURRENCIES:
            costs = [curve.enough_at(currency) for curve in same]
            value = spread(None if cost is None else 100 * cost for cost in costs)
            missing = sum(cost is None for cost in costs)
            cells.append(shown(value, 2) + (f" ({missing} not)" if missing and value is not None else ""))
        rows.append((strategy, *cells))
    return markdown_table(("cost at 95 %", *(f"{name}, %" for name in CURRENCIES)), rows)


def _ratio_table(curves: Sequence[Curve]) -> str:
    """Cost of `random` and `coverage` over that of each strategy."""
    by_strategy = {
        name: {(curve.scene, curve.seed): curve for curve in same} for name, same in _by(curves, "strategy").items()
    }
    rows = []
    for name, own in by_strategy.items():
        others = [by_strategy.get(other, {}) for other in COMPARED]
        rows.append((name, *(_ratio([(own[key], other[key]) for key in own if key in other]) for other in others)))
    return markdown_table(("strategy", *(f"{name}: times" for name in COMPARED)), rows)


def _ratio(pairs: Sequence[tuple[Curve, Curve]]) -> str:
    """How many times the cost of the first the second needs, with how often it or the first does not arrive."""
    costs = [[curve.enough_at(curve.main_currency) for curve in pair] for pair in pairs]
    counted = [
        (own or 1.0, reached or max(other.costs[other.main_currency]))
        for (own, reached), (_, other) in zip(costs, pairs, strict=True)
        if own is not None or reached is not None
    ]
    ratio = cost_ratio(counted)
    if ratio is None:
        return "-"
    # A bootstrap over one or two numbers is no interval.
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}; " if ratio.count > _FEWEST_FOR_INTERVAL else ""
    late = [sum(pair[place] is None for pair in costs) for place in (0, 1)]
    said = "".join(
        f"; {who} not reached in {count} of {len(pairs)}"
        for who, count in zip(("own", "other"), late, strict=True)
        if count
    )
    return f"{ratio.mean:.2f} ({interval}{ratio.count} pairs{said})"


def _plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw the mean of each strategy with a band of one deviation, and the score with all labels."""
    figure, axes = new_figure(8.0)
    for strategy, same in _by(curves, "strategy").items():
        count = min(len(curve.scores) for curve in same)
        values = [spread(curve.scores[number] for curve in same) for number in range(count)]
        costs = [spread(curve.costs[curve.main_currency][number] for curve in same) for number in range(count)]
        x = [100 * cost.mean for cost in costs if cost is not None]
        means, deviations = zip(*((value.mean, value.deviation) for value in values if value is not None), strict=True)
        (line,) = axes.plot(x, means, marker="o", markersize=3, label=strategy)
        bands = [[m + sign * d for m, d in zip(means, deviations, strict=True)] for sign in (-1, 1)]
        axes.fill_between(x, *bands, color=line.get_color(), alpha=0.15, linewidth=0)
    bound = spread({curve.seed: curve.bound for curve in curves}.values())
    if bound is not None:
        axes.axhline(bound.mean, color="black", linewidth=1, label="all labels")
        axes.axhline(ENOUGH * bound.mean, color="black", linewidth=1, linestyle=":", label="95 % of it")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel=f"{curves[0].main_currency} labelled, %", ylabel=f"{SCORE}, test poses")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    save_figure(figure, path)


def _bounds(results: Sequence[Result]) -> str:
    """Scores with all labels."""
    bounds = [result for result in results if result.trial.variant == ALL_LABELS]
    rows = [
        (
            scene,
            *(shown(spread(result.scores["test"][name] for result in same)) for name in (SCORE, "miou")),
            str(len(same)),
        )
        for scene, same in grouped(bounds, lambda result: result.trial.scene.name).items()
    ]
    return "## All labels\n\n" + markdown_table(("scene", f"`{SCORE}`", "`miou`", "seeds"), rows) if rows else ""


def _circumstances(results: Sequence[Result]) -> str:
    """Steps, frames, options, versions and seconds."""
    ended = [result for result in results if "rounds" in result.content]
    options = {result.trial.variant: " ".join(result.trial.options).replace(PREFIX, "") for result in ended}
    frames = {_frames(result) for result in ended}
    steps = {
        f"{result.trial.num_steps} steps for colours, {result.content['round_steps']} for classes" for result in ended
    }
    versions = {", ".join(f"{k} {v}" for k, v in result.content["versions"].items()) for result in results}
    places = {f"{result.content['device']}, {result.content['threads']} threads" for result in ended}
    seconds = [entry["seconds"] for result in ended for entry in result.content["rounds"]]
    means = {part: shown(spread(entry[part] for entry in seconds), 1) for part in seconds[0]}
    lines = [
        *sorted(frames), *sorted(steps), *sorted(places), *sorted(versions),
        f"mIoU: {ended[0].content['miou_rule']}",
        "seconds of a round: " + ", ".join(f"{part} {value}" for part, value in means.items()),
        *(f"`{name}`: {words}" for name, words in sorted(options.items())),
    ]  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _frames(result: Result) -> str:
    """How a scene was split."""
    content = result.content
    numbers = f"{content['train_frames']} training and {content['scored_frames']} scored frames"
    return f"{result.trial.scene.name}: {numbers}, {content['split']}; {content['void_rule']}"
