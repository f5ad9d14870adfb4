"""`sns-fuse-labels`: 2D predictions of all views, fused on the surfaces that the views share."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.runs import load_run

_SCORES = ("miou", "miou_present", "pixel_accuracy", "class_accuracy", "ece", "nll", "coverage")


@dataclass
class FuseLabels:
    """Fuse the predictions of a 2D network over the views of a scene and write the result as label images.

    Fusion needs depth, either from the scene's files or rendered by a training run on the scene.
    """

    data: Path
    """Folder of the scene."""
    labels: Path
    """Folder of predictions whose files are named like the frames' label or colour images: label images with the
    scene's ids (.png), or probabilities [H, W, C] in ascending order of ids (.npy, or .npz with 'probabilities' and
    'ids')."""
    output: Path
    """Output folder for fusion.json and a label image of each frame."""
    rule: Literal["bayes", "average"] = "bayes"
    """Fusion rule: the normalised product of the views' probabilities (bayes) or their mean (average)."""
    by_distance: bool = False
    """Let a view that is twice as far away count half as much; its pixels are coarser. By default all count alike."""
    confidence: float = 0.9
    """Probability of the predicted class where predictions are label images. The other classes share the rest."""
    depth: Literal["given", "rendered"] = "given"
    """Source of depth: the scene's files (given) or the run of --load-config (rendered)."""
    load_config: Path | None = None
    """The config.yml of a run on the scene, for --depth rendered or to read the scene as the run does (with its
    sequences, split, label space and classes)."""
    frames: Literal["all", "train", "test"] = "all"
    """Frames that are fused."""
    split: Literal["auto", "published", "interval", "fraction", "all"] | None = None
    """Split into training and test frames, as in ns-train; by default that of the run."""
    eval_interval: int | None = None
    """Number of frames per test frame (split interval); by default that of the run."""
    score: bool = False
    """Also score both the predictions and the fused labels against the scene's own labels."""

    def main(self) -> None:
        """Read, fuse, write, and tell the scores."""
        # Slow to import, and not needed to show the help.
        from semantic_ns.fusion.folder import Fusion
        from semantic_ns.fusion.predictions import find_predictions
        from semantic_ns.fusion.views import read_views

        config, read_depth = self._parser_and_depth()
        scene = read_views(config, self.frames)
        predictions = find_predictions(self.labels, scene, self.confidence)
        depth = "given" if self.depth == "given" else f"rendered by {self.load_config}"
        sources = {"data": str(self.data), "labels": str(self.labels), "depth": depth, "frames_of": self.frames}
        result = Fusion(predictions, self.rule, self.by_distance, read_depth, sources).run(self.output, self.score)
        console = Console(soft_wrap=True, highlight=False, markup=False)
        console.print(f"Wrote {len(scene.views)} label images to {self.output}")
        if self.score:
            console.print(_score_table(result["scores"]))
            for rule in ("split", "void_rule"):
                console.print(f"{rule}: {result[rule]}")

    def _parser_and_depth(self) -> tuple[Any, Any]:
        """The configuration of the scene's dataparser, and what gives the depth of a view."""
        from semantic_ns.dataparsers.auto import AutoDataParserConfig
        from semantic_ns.fusion.views import SceneView

        options: dict[str, Any] = {
            name: value for name in ("split", "eval_interval") if (value := getattr(self, name)) is not None
        }
        if self.depth == "rendered" and self.load_config is None:
            raise SceneError("Expected a run for --depth rendered, found none; name its config.yml with --load-config.")
        if self.load_config is None:
            return AutoDataParserConfig(data=self.data, **options), SceneView.given_depth
        if options:
            raise SceneError(
                "Expected either --load-config, whose run says how the frames are split, or --split and "
                "--eval-interval, found both; leave out one."
            )
        run = load_run(self.load_config, self.data)
        rendered = partial(SceneView.rendered_depth, model=run.model)
        return run.parser_config, rendered if self.depth == "rendered" else SceneView.given_depth


def _score_table(scores: dict[str, dict[str, float | None]]) -> Table:
    table = Table("score", *scores, box=None)
    for score in _SCORES:
        cells = [values[score] for values in scores.values()]
        table.add_row(score, *("-" if value is None else f"{value:.4f}" for value in cells))
    return table


def entrypoint() -> None:
    """Console script `sns-fuse-labels`."""
    command = tyro.cli(FuseLabels)
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
