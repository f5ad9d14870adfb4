"""Stage `run`: whole runs on the scenes, scored now and then outside of the clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.gpu.arms import configured, tiny_scene, trainer_on
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.speed.arms import registered
from benchmarks.speed.curve import _scores, scored_steps
from benchmarks.speed.statistics import seconds_to
from benchmarks.speed.turn import take_steps

THRESHOLDS = (0.90, 0.95)
_SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75)
"""Of a run, after which it is scored."""
_IMAGES = 5


@dataclass(frozen=True)
class Run:
    """A method and what is changed of its run."""

    name: str
    method: str = "semantic-nerf"
    steps: int = 0
    """0: the method's."""
    rays: int = 0
    mixed_precision: bool | None = None

    def config(self) -> Any:
        """The configuration, with labels that spread as in any run."""
        made = registered(self.method)
        made.max_num_iterations = self.steps or made.max_num_iterations
        if self.rays:
            made.pipeline.datamanager.train_num_rays_per_batch = self.rays
        if self.mixed_precision is not None:
            made.mixed_precision = self.mixed_precision
        return made


RUNS = (
    Run("default"),
    Run("16384 rays, 500 steps, float32", steps=500, rays=16_384, mixed_precision=False),
    Run("16384 rays, 1000 steps, float32", steps=1000, rays=16_384, mixed_precision=False),
    Run("8192 rays, 1000 steps, float32", steps=1000, rays=8192, mixed_precision=False),
    Run("float32", mixed_precision=False),
    Run("big, 2000 steps", method="semantic-nerf-big", steps=2000),
)


def measure(settings: Settings, rows: Rows) -> None:
    """All scenes with the default first, then the variants."""
    scenes = (tiny_scene(settings),) if settings.tiny else settings.scenes
    runs = (Run("default", steps=3),) if settings.tiny else RUNS
    for run in runs:
        for scene in scenes:
            with rows.attempt(f"{scene.name}, {run.name}"):
                one_run(run, scene, settings, rows)


def one_run(run: Run, scene: Path, settings: Settings, rows: Rows) -> None:
    """A row for each time it is scored, and one for the whole."""
    name, config = f"{scene.name}, {run.name}", configured(run.config, settings)
    begin = perf_counter()
    with trainer_on(config, scene, settings) as trainer:
        loading = perf_counter() - begin
        first = seconds = take_steps(trainer, range(1))
        done, points, least = 1, [], 0.0
        length = config.max_num_iterations
        for end in scored_steps([round(share * length) for share in _SHARES], length):
            seconds += take_steps(trainer, range(done, end))
            done = end
            is_last = done == length
            with worst_image(trainer.pipeline.model) as worst:
                points.append(
                    {"step": done, "seconds": seconds, **_scores(trainer, done, None if is_last else _IMAGES)}
                )
                least = worst()
            rows.add(f"point: {name}", **points[-1], worst_psnr=least)
        rows.add(
            name, scene=scene.name, steps=length, rays_per_step=trainer.pipeline.datamanager.get_train_rays_per_batch(),
            mixed_precision=trainer.mixed_precision, loading_seconds=loading, first_step_seconds=first,
            training_seconds=seconds, final=points[-1], worst_psnr=least,
            seconds_to_miou_present={str(t): seconds_to(points, "miou_present", t) for t in THRESHOLDS},
        )  # fmt: skip


@contextmanager
def worst_image(model: Any) -> Iterator[Callable[[], float]]:
    """Within it, the PSNR of every scored image is noted; gives the least of them."""
    noted: list[float] = []
    original = model.get_image_metrics_and_images

    def noting(*arguments: Any, **options: Any) -> Any:
        metrics, images = original(*arguments, **options)
        noted.append(float(metrics["psnr"]))
        return metrics, images

    model.get_image_metrics_and_images = noting
    try:
        yield lambda: min(noted)
    finally:
        del model.get_image_metrics_and_images
