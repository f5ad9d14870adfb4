"""The main job on the bundled scene: train, score, render a video and pictures, export labels, and say where all is."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
SCENE = ROOT / "scripts" / "demo_scene"
CONSOLE = Console(soft_wrap=True)
SHOWN = ("psnr", "ssim", "lpips", "miou_present", "miou", "pixel_accuracy", "class_accuracy", "depth_l1")


def run(title: str, command: str, *options: str) -> float:
    """Run a command of the environment that runs this script; returns its seconds. Ends the demo if it fails."""
    CONSOLE.rule(f"[bold]{title}")
    CONSOLE.print("$", command, *options, markup=False, highlight=False)
    start = time.monotonic()
    # nerfstudio and its dependencies warn at every start about what they do with newer versions of torch.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    program = str(Path(sys.executable).parent / command)
    status = subprocess.run([program, *options], cwd=ROOT, env=environment, check=False).returncode
    if status != 0:
        CONSOLE.print(f"{command} ended with status {status}: the demo stops here.", style="bold red")
        sys.exit(status if status > 0 else 1)
    return time.monotonic() - start


def train(output: Path, method: str, steps: int | None) -> Path:
    """Train and return the run's config.yml."""
    options = [] if steps is None else ["--max-num-iterations", str(steps)]
    run(
        "Training", "ns-train", method, "--data", str(SCENE), "--output-dir", str(output), "--experiment-name", "demo",
        "--timestamp", "run", "--viewer.quit-on-train-completion", "True", *options,
    )  # fmt: skip
    return output / "demo" / method / "run" / "config.yml"


def render_video(load: tuple[str, ...], output: Path) -> float:
    """Render a path between the scored views to `semantics.mp4`, which has a legend; returns the seconds.

    The labels must have been exported: the classes are read from there.
    """
    start = time.monotonic()
    run(
        "Video", "ns-render", "interpolate", *load, "--pose-source", "eval", "--interpolation-steps", "2",
        "--output-format", "images", "--image-format", "png",
        "--rendered-output-names", "rgb", "semantics_colormap", "semantics_overlay",
        "--output-path", str(output / "frames"),
    )  # fmt: skip
    # Slow to import, and not needed for --help.
    from demo_video import write_video

    titles = ("colour", "classes", "classes over colour")
    write_video(output / "semantics.mp4", output / "frames", titles, output / "labels" / "classes.json", frame_rate=12)
    shutil.rmtree(output / "frames")
    return time.monotonic() - start


def show(output: Path, scores: dict, seconds: dict[str, float]) -> None:
    """Print the scores, the times and where things are."""
    table = Table(title=f"Bundled scene: {scores['split']}")
    table.add_column("score")
    table.add_column("value", justify="right")
    for name in SHOWN:
        if scores.get(name) is not None:
            table.add_row(name, f"{scores[name]:.3f}")
    for name, value in seconds.items():
        table.add_row(f"{name} (s)", f"{value:.0f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    table.add_row("peak memory (GiB)", f"{peak:.2f}")
    CONSOLE.print(table)
    for what, where in {
        "trained scene": "demo/*/run/config.yml",
        "scores": "scores.json",
        "picture grids": "pictures/*_grid_*.png",
        "video": "semantics.mp4",
        "dense labels": "labels/",
    }.items():
        CONSOLE.print(f"{what:>14}: {output / where}", highlight=False)
    CONSOLE.print("To look around in a browser: .venv/bin/ns-viewer --load-config <the trained scene's config.yml>")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=ROOT / "outputs" / "demo", help="where everything goes")
    parser.add_argument("--method", default="semantic-nerf", help="the method to train")
    parser.add_argument("--steps", type=int, help="training steps (default: the method's)")
    arguments = parser.parse_args()
    output, seconds = arguments.output_dir.resolve(), {}
    output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    config = train(output, arguments.method, arguments.steps)
    seconds["training, start-up included"] = time.monotonic() - start
    load = ("--load-config", str(config))
    pictures = ("--render-output-path", str(output / "pictures"))
    seconds["scoring"] = run("Scoring", "ns-eval", *load, "--output-path", str(output / "scores.json"), *pictures)
    shutil.rmtree(output / "labels", ignore_errors=True)  # of an earlier demo
    seconds["label export"] = run(
        "Labels", "sns-export-labels", *load, "--frames", "test", "--output-dir", str(output / "labels")
    )
    seconds["video"] = render_video(load, output)
    show(output, json.loads((output / "scores.json").read_text())["results"], seconds)


if __name__ == "__main__":
    main()
