"""`sns-to-splat`: a trained run as Gaussians with classes."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError
from semantic_ns.runs import load_run

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.export.splat import SplatScores


@dataclass
class ToSplat:
    """Turn a trained run into Gaussians with classes, on the CPU, and write them for viewers of Gaussian splats.

    Gaussians begin at the surface that depth shows, are trained on the training images, and take their classes from
    the labels that the run was trained on, in closed form. They are written in metres, in the world of the scene's
    files: splat.ply in colour and splat_classes.ply in the colours of the classes, both with the id of the class of
    each Gaussian, and classes.json with the names of the ids.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The config.yml of the run, or its folder."""
    output_dir: Path
    """New folder of the files."""
    depth: Literal["auto", "scene", "rendered"] = "auto"
    """Where depth comes from: the depth images of the scene, or what the run renders. By default the scene's where it
    has depth images."""
    steps: int = 400
    """Number of training images that are rendered, one a step."""
    seed: int = 42
    """Draws the order of the training images."""

    def main(self) -> None:
        """Check, load the run, make the Gaussians, score them on the images that were not trained on, and write."""
        self._check_options()
        run = load_run(self.run / "config.yml" if self.run.is_dir() else self.run, option="RUN")
        from semantic_ns.export import splat as export

        console = Console(soft_wrap=True, highlight=False, markup=False)
        data, model = run.pipeline.datamanager, run.model
        start = time.perf_counter()
        depths = self._depths(model, data.train_dataset, console)
        views = export.views_of(data.train_dataset, depths)
        labels = [_tensor(data.training_labels[index]) for index in range(len(views))]
        config = export.FitConfig(steps=self.steps, seed=self.seed)
        made = export.make_splat(views, labels, model.taxonomy.num_classes, config)
        console.print(f"Made {len(made.gaussians)} Gaussians in {time.perf_counter() - start:.0f} s.")
        scored = data.eval_dataset
        of_scene = export.given_depths(scored)
        truth = [_tensor(scored.read_labels(index)) for index in range(len(scored))]
        metres = float(scored.metadata["metres_per_unit"])
        console.print(report(export.score_splat(made, export.views_of(scored, of_scene), truth, metres)))
        paths = export.write_splat_files(made, data.train_dataparser_outputs, model.taxonomy, self.output_dir)
        console.print("Wrote " + ", ".join(str(path) for path in paths))

    def _depths(self, model: Any, dataset: Any, console: Console) -> Any:
        from semantic_ns.export.splat import given_depths, rendered_depths

        given = None if self.depth == "rendered" else given_depths(dataset)
        if given is not None:
            console.print("Depth: the images of the scene.")
            return given
        if self.depth == "scene":
            raise SceneError("Expected depth images in the scene, found none; give --depth rendered.")
        console.print(f"Depth: {len(dataset)} training images, rendered by the run.")
        return rendered_depths(model, dataset)

    def _check_options(self) -> None:
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir")
        if self.steps < 0:
            raise SceneError(f"Expected --steps of at least 0, found {self.steps}; change it.")


def _tensor(labels: Any) -> Any:
    import torch

    return torch.from_numpy(labels.astype("int32"))


def report(scores: "SplatScores") -> str:
    """Scores in one sentence."""
    parts = [f"PSNR {scores.psnr:.2f} dB, worst image {scores.worst_psnr:.2f} dB"]
    if scores.depth_l1_m is not None:
        parts.append(f"mean depth error {scores.depth_l1_m:.3f} m")
    if scores.classes is not None:
        parts.append(f"miou_present {scores.classes.miou_present:.3f}, accuracy {scores.classes.pixel_accuracy:.3f}")
    return f"On {scores.num_images} images that were not trained on: {', '.join(parts)}."


def entrypoint() -> None:
    """Console script `sns-to-splat`."""
    command = tyro.cli(ToSplat, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
