"""The benchmark of active learning: its trials, its rounds, its numbers and its report."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import _set_random_seed

from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.benchmark.active import run as active_run
from semantic_ns.benchmark.active.curves import area_under, cost_at, cost_ratio
from semantic_ns.benchmark.active.plan import ALL_LABELS, COLOR, VARIANTS, ActivePlan
from semantic_ns.benchmark.active.report import REPORT, curves_of, write_active_report
from semantic_ns.benchmark.active.run import run_active
from semantic_ns.benchmark.active.trial import main as run_trial
from semantic_ns.benchmark.runner import one_trial
from semantic_ns.benchmark.runner.backend import TrialEnd
from semantic_ns.benchmark.runner.results import read_results
from semantic_ns.benchmark.runner.trials import (
    BenchmarkScene,
    Trial,
    read_result,
    read_trial,
    trial_folder,
    write_done,
    write_failed,
    write_trial,
)
from semantic_ns.cli.benchmark import Report
from semantic_ns.errors import SceneError
from semantic_ns.fields.class_rays import ClassRays, collect_rays
from semantic_ns.fields.cpu.render import render_rays
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.active_runs import config_of, trainer_of
from support.fresh_process import last_line, run_warm
from support.registered import SMALL, configured

SHARES = (0.01, 0.1, 0.5)


def plan(scene: Path = Path("/data/room"), **changes: Any) -> ActivePlan:
    options: dict[str, Any] = {
        "scenes": (BenchmarkScene(scene, "room"),), "strategies": ("random", "geometry"), "units": ("region",),
        "seeds": (0,), "num_steps": 30, "budgets": SHARES,
    }  # fmt: skip
    return ActivePlan(**options | changes)


# Trials


def test_trials_are_strategies_units_seeds_and_scenes_above_one_colour_training_each() -> None:
    scenes = (BenchmarkScene(Path("/data/a"), "a"), BenchmarkScene(Path("/data/b"), "b"))
    made = plan(scenes=scenes, seeds=(0, 1), units=("region", "frame"))
    names = {"all-labels", "region-random", "region-geometry", "frame-random", "frame-geometry"}
    assert {trial.variant for trial in made.trials()} == names
    assert len({trial.key for trial in made.trials()}) == 5 * 2 * 2
    assert len({trial.key for trial in made.color_trials()}) == 2 * 2
    with pytest.raises(SceneError, match="no-such"):
        plan(strategies=("no-such",)).trials()
    with pytest.raises(SceneError, match="one seed"):
        plan(seeds=()).color_trials()


def test_variants_are_options_of_active_learning_that_leave_out_what_they_say() -> None:
    names = {field.name for field in fields(ActiveConfig)}
    for variant, words in VARIANTS.items():
        options = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
        assert options <= names
        assert variant.startswith(words[words.index("--strategy") + 1])
        for part in (word[2:] for word in words if word.startswith("--") and word != "--strategy"):
            assert part in variant or variant == "geometry-greedy-coverage-alone" or "creases" in part


def test_the_command_line_of_a_trial_sets_its_strategy_seed_and_budgets() -> None:
    """In a process of its own: the type checker of the tests refuses nerfstudio's own defaults."""
    code = (
        "import json\n"
        "from pathlib import Path\n"
        "from semantic_ns.benchmark.active.plan import ActivePlan\n"
        "from semantic_ns.benchmark.runner.trials import BenchmarkScene\n"
        "from semantic_ns.benchmark.runner.one_trial import training_config\n"
        "scene = BenchmarkScene(Path('/data/room'), 'room', ('semantic-data', '--split', 'all'))\n"
        "plan = ActivePlan((scene,), ('geometry-greedy-coverage-alone',), ('region',), (3,), 30, (0.25, 0.5), 0.1)\n"
        "from semantic_ns.benchmark.active.trial import arguments_of\n"
        "config = training_config(arguments_of(plan.trials()[1]))\n"
        "active = vars(config.pipeline.active) | {'device': config.machine.device_type}\n"
        "print(json.dumps(active, default=str))\n"
    )
    active = json.loads(last_line(code, run_warm))
    assert (active["strategy"], active["seed"], active["unit"]) == ("geometry", 3, "region")
    assert (active["budgets"], active["fractions"], active["error_rate"]) == ([0.25, 0.5], [0.0, 0.0], 0.1)
    assert active["greedy_coverage"]
    assert active["device"] == "cpu"
    assert not any(active[part] for part in ("use_entropy", "count_views", "damp_near_labels", "discard_unsure_depth"))


# Curves


@pytest.mark.parametrize(
    ("target", "cost"),
    [(0.2, 0.01), (0.4, 0.01), (0.5, 0.01 * 10**0.5), (0.6, 0.1), (0.75, 0.1 * 10**0.5), (0.95, None)],
)
def test_the_cost_of_a_score_is_linear_in_the_logarithm_of_the_cost(target: float, cost: float | None) -> None:
    assert cost_at([0.01, 0.1, 1.0], [0.4, 0.6, 0.9], target) == (None if cost is None else pytest.approx(cost))


def test_of_a_curve_that_falls_the_first_crossing_counts() -> None:
    assert cost_at([1.0, 2.0, 4.0, 8.0], [0.0, 0.8, 0.5, 1.0], 0.8) == pytest.approx(2)


def test_the_area_under_a_curve_is_its_mean_over_the_logarithm_of_the_cost() -> None:
    costs, scores = [0.01, 0.02, 0.3], [0.2, 0.5, 0.9]
    x = np.linspace(math.log(costs[0]), math.log(costs[-1]), 200_001)
    assert area_under(costs, scores) == pytest.approx(np.interp(x, np.log(costs), scores).mean(), abs=1e-5)
    assert area_under([0.3], [0.7]) == 0.7


def test_ratios_of_costs_are_geometric_means_with_an_interval() -> None:
    ratio = cost_ratio([(0.1, 0.2), (0.1, 0.8)])
    assert ratio is not None
    assert ratio.mean == pytest.approx(4)
    assert (ratio.low, ratio.high, ratio.count) == (pytest.approx(2), pytest.approx(8), 2)
    assert cost_ratio([]) is None
    many = [(0.1, 0.1 * factor) for factor in np.random.default_rng(0).lognormal(1.0, 0.5, 400)]
    wide = cost_ratio(many)
    assert wide is not None
    error = 1.96 * 0.5 / 400**0.5
    assert math.log(wide.low) == pytest.approx(math.log(wide.mean) - error, abs=0.02)
    assert math.log(wide.high) == pytest.approx(math.log(wide.mean) + error, abs=0.02)


# The report, from results that nothing was trained for


def outcome(trial: Trial) -> dict[str, Any]:
    if trial.variant == COLOR:
        return {"scores": {"test": {}, "train": {}}, "training_seconds": 1.0, "device": "cpu", "threads": 1}
    budgets, top = ((1.0,), 0.8) if trial.variant == ALL_LABELS else (SHARES, 0.5 if "random" in trial.variant else 0.7)
    rounds = [
        {
            "shares": dict.fromkeys(("pixels", "clicks", "frames"), share),
            "scores": dict.fromkeys(("miou_present", "miou", "class_accuracy", "pixel_accuracy"), top + 0.1 * number),
            "seconds": dict.fromkeys(("choosing", "spreading", "training", "scoring"), 2.0),
        }
        for number, share in enumerate(budgets)
    ]
    return {
        "rounds": rounds, "scores": {"test": rounds[-1]["scores"], "train": {}}, "training_seconds": 9.0,
        "split": "even", "void_rule": "void is not scored", "miou_rule": "pooled", "train_frames": 10,
        "scored_frames": 2, "round_steps": 5, "score_stride": 1, "device": "cpu", "threads": 1,
    }  # fmt: skip


class FakeBackend:
    """Ends each trial at once, or has those of one name fail."""

    failing = ""

    def __init__(self, jobs: int, arguments: Sequence[str]) -> None:
        self.arguments = arguments

    def run(self, folders: Sequence[Path]) -> Iterator[TrialEnd]:
        for folder in folders:
            trial = read_trial(folder)
            if trial.variant == self.failing:
                write_failed(folder, trial, "Traceback ...\nValueError: no luck")
            else:
                write_done(folder, trial, outcome(trial), trial.arguments())
            yield TrialEnd(folder)


@pytest.fixture
def fake_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_run, "ProcessBackend", FakeBackend)
    unasked = SimpleNamespace(strategy=None)
    config = SimpleNamespace(pipeline=SimpleNamespace(active=unasked))
    monkeypatch.setattr(active_run, "training_config", lambda arguments: config)


@pytest.mark.usefixtures("fake_backend")
def test_the_report_has_curves_areas_costs_and_ratios(tmp_path: Path) -> None:
    made = plan(seeds=(0, 1))
    counts = run_active(made, tmp_path, 1, (5, 1), lambda _: None)
    assert counts == {"done": 8}
    text = write_active_report(tmp_path).read_text()
    curves = {(curve.strategy, curve.seed): curve for curve in curves_of(read_results(tmp_path)[0])}
    assert curves["geometry", 1].bound == pytest.approx(0.8)
    assert curves["geometry", 1].enough_at("pixels") == pytest.approx(0.01 * 10**0.6)
    assert curves["random", 0].enough_at("pixels") is None
    assert "| geometry | 0.700 ± 0.000 | 0.800 ± 0.000 | 0.900 ± 0.000 |" in text
    assert "| random | - | - | - |" in text
    # random does not arrive and counts with its last budget: 0.5 / 0.0398.
    assert "| geometry | 12.56 (2 pairs; other not reached in 2 of 2) | - |" in text
    assert "| random | - | - |" in text
    assert (tmp_path / "pictures/active_region_room.png").stat().st_size > 1000
    assert run_active(made, tmp_path, 1, (5, 1), lambda _: None) == {"done": 8}


@pytest.mark.usefixtures("fake_backend")
def test_a_crash_of_one_trial_is_recorded_and_the_others_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "failing", "region-random")
    assert run_active(plan(), tmp_path, 1, (5, 1), lambda _: None) == {"done": 3, "failed": 1}
    text = write_active_report(tmp_path).read_text()
    assert "ValueError: no luck" in text
    assert "| geometry |" in text
    monkeypatch.setattr(FakeBackend, "failing", "")
    assert run_active(plan(), tmp_path, 1, (5, 1), lambda _: None) == {"done": 4}


@pytest.mark.usefixtures("fake_backend")
def test_results_with_other_settings_are_not_mixed(tmp_path: Path) -> None:
    run_active(plan(), tmp_path, 1, (5, 1), lambda _: None)
    with pytest.raises(SceneError, match="another --output"):
        run_active(plan(), tmp_path, 1, (6, 1), lambda _: None)
    for changed in (plan(error_rate=0.1), plan(num_steps=40), plan(budgets=(0.01, 0.2))):
        with pytest.raises(SceneError, match="another --output"):
            run_active(changed, tmp_path, 1, (5, 1), lambda _: None)
    with pytest.raises(SceneError, match="above 0"):
        run_active(plan(), tmp_path, 1, (0, 1), lambda _: None)


def test_scenes_of_one_name_are_refused() -> None:
    scenes = (BenchmarkScene(Path("/a/room"), "room"), BenchmarkScene(Path("/b/room"), "room"))
    with pytest.raises(SceneError, match="name of its own"):
        plan(scenes=scenes).color_trials()


@pytest.mark.usefixtures("fake_backend")
def test_the_command_report_knows_results_of_active_learning(tmp_path: Path) -> None:
    run_active(plan(), tmp_path, 1, (5, 1), lambda _: None)
    (tmp_path / REPORT).unlink(missing_ok=True)
    Report((tmp_path,)).main()
    assert (tmp_path / REPORT).exists()


def test_a_folder_without_a_finished_strategy_has_no_report(tmp_path: Path) -> None:
    folder = trial_folder(tmp_path, plan().trials()[1])
    write_trial(folder, plan().trials()[1])
    write_failed(folder, plan().trials()[1], "no luck")
    with pytest.raises(SceneError, match="came to its end"):
        write_active_report(tmp_path)
    assert not (tmp_path / REPORT).exists()


# Rounds, for real on a tiny scene


@pytest.fixture(scope="module")
def trained(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ActivePlan]:
    """A folder in which the trials of a plan are done."""
    output, made = tmp_path_factory.mktemp("benchmark"), plan(replica_scene)
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        for trial in (*made.color_trials(), *made.trials()):
            write_trial(trial_folder(output, trial), trial)
            run_trial(trial_folder(output, trial), 20, 1)
    return output, made


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Have the trials train a small model; the command line is not parsed (see above), its options are set."""

    def small(arguments: Sequence[str]) -> Any:
        options = {
            match[1]: match[2].split() for match in re.finditer(r"--(\S+)((?: (?!--)\S+)*)", " ".join(arguments))
        }
        scene, steps = Path(options.pop("data")[0]), int(options.pop("max-num-iterations")[0])
        config: Any = configured(semantic_nerf, scene, Path(), steps, **SMALL["semantic-nerf"])
        config.machine.seed = int(options.pop("machine.seed")[0])
        assert options.pop("machine.device-type") == ["cpu"]
        config.pipeline.datamanager.train_num_rays_per_batch = 256
        config.pipeline.propagation.num_nodes, config.pipeline.propagation.num_rays = 400, 4000
        active = config.pipeline.active = ActiveConfig(region_pixels=60)
        for name, words in options.items():
            if name == "pipeline.model.use-semantics":
                config.pipeline.model.use_semantics = words == ["True"]
                continue
            field = name.removeprefix("pipeline.active.").replace("-", "_")
            known = getattr(active, field)
            value: Any = (
                tuple(map(float, words))
                if isinstance(known, tuple)
                else words[0]
                if known is None
                else type(known)(words[0])
            )
            setattr(active, field, value)
        return config

    patch.setattr(one_trial, "training_config", small)


def results_of(trained: tuple[Path, ActivePlan]) -> dict[str, dict[str, Any]]:
    output, made = trained
    found = {}
    for trial in (*made.color_trials(), *made.trials()):
        content = read_result(trial_folder(output, trial))
        assert content is not None
        assert content["state"] == "done", content["error"]
        found[trial.variant] = content
    return found


def test_rounds_cost_their_budgets_and_start_from_the_same_units(trained: tuple[Path, ActivePlan]) -> None:
    results = results_of(trained)
    for name in ("region-random", "region-geometry"):
        shares = [entry["shares"]["pixels"] for entry in results[name]["rounds"]]
        assert all(0.5 * budget < share <= budget for budget, share in zip(SHARES[1:], shares[1:], strict=True))
        assert 0 <= results[name]["rounds"][-1]["scores"]["miou_present"] <= 1
    first = [results[name]["rounds"][0] for name in ("region-random", "region-geometry")]
    assert first[0]["scores"] == first[1]["scores"]
    assert first[0]["pixels"] == first[1]["pixels"]
    (bound,) = results[ALL_LABELS]["rounds"]
    assert bound["shares"]["pixels"] == 1
    assert write_active_report(trained[0]).is_file()


def test_the_same_trial_gives_the_same_scores(
    trained: tuple[Path, ActivePlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, made = trained
    trial = next(trial for trial in made.trials() if trial.variant == "region-geometry")
    before = results_of(trained)[trial.variant]["rounds"]
    make_small(monkeypatch)
    run_trial(trial_folder(output, trial), 20, 1)
    after = results_of(trained)[trial.variant]["rounds"]
    assert [entry["scores"] for entry in after] == [entry["scores"] for entry in before]
    assert [entry["pixels"] for entry in after] == [entry["pixels"] for entry in before]


def test_a_strategy_without_its_colour_training_says_so(tmp_path: Path, replica_scene: Path) -> None:
    trial = plan(replica_scene).trials()[0]
    write_trial(trial_folder(tmp_path, trial), trial)
    run_trial(trial_folder(tmp_path, trial), 20, 1)
    found = json.loads((trial_folder(tmp_path, trial) / "result.json").read_text())
    assert found["state"] == "failed"
    assert "colour training" in found["error"]


def test_kept_rays_render_the_classes_that_the_model_renders(replica_scene: Path, tmp_path: Path) -> None:
    _set_random_seed(0)
    with trainer_of(config_of(replica_scene, tmp_path, max_num_iterations=20)) as trainer:
        trainer.train()
        model, generator = trainer.pipeline.model.eval(), trainer.pipeline.datamanager.train_ray_generator
        draw = torch.Generator().manual_seed(0)
        pixels = torch.stack([torch.randint(n, (300,), generator=draw) for n in (10, 36, 48)], dim=-1)
        rays = collect_rays(model, generator, pixels)
        rays.save(tmp_path / "rays.npz")
        rays = ClassRays.load(tmp_path / "rays.npz")
        some = np.array([5, 2, 200, 2])
        with torch.no_grad():
            bundle = model.collider(generator(pixels))
            edges, _ = model.proposal_sampler.sample_edges(bundle, model.proposal_networks[0])
            _, logits, _ = render_rays(model.field, bundle, edges.distances)
        # Positions are kept with 16 bits and weights with 11.
        assert logits is not None
        torch.testing.assert_close(rays.logits(model.field.head, some), logits[some], rtol=0.01, atol=0.01)
        assert len(rays) == 300
        model.zero_grad(set_to_none=True)
        rays.logits(model.field.head, np.arange(300)).square().sum().backward()
        trained = {name for name, parameter in model.field.named_parameters() if parameter.grad is not None}
        assert trained == {name for name, _ in model.field.named_parameters() if "semantic" in name}
