"""`sns-to-splat`: a trained run as Gaussians with classes."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from semantic_ns.cli.main import run_command
from semantic_ns.dataparsers.metadata import ALPHA_COLOR, HAS_UNKNOWN_SCALE, METRES_PER_UNIT
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.runs import load_run
from semantic_ns.splatting.fit_config import BLUR_RANGE, COMMON_BLUR, FitConfig, is_blur
from semantic_ns.splatting.memory import memory_errors_as_scene_error

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.export.splat import SplatScores

_STEPS = 400
"""Whoever turns a run into Gaussians to look at it wants them soon."""


@dataclass
class ToSplat:
    """Turn a trained run into Gaussians with classes, on the CPU, and write them for viewers of Gaussian splats.

    Gaussians begin at the surface that depth shows, are trained on the training images, and take their classes from the
    labels that the run was trained on, in closed form. They are written in the world of the scene's files (of its
    COLMAP model, where transforms.json has an applied_transform), in metres where its scale is known: splat.ply in
    colour and splat_classes.ply in the colours of the classes, both with the id of the class of each Gaussian, and
    classes.json with the names of the ids. A run of semantic-splatfacto has Gaussians already: they are written without
    further training, and of their colours what depends on the direction is left out. The options --depth, --steps,
    --seed and --blur are for other runs.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The config.yml of the run, or its folder."""
    output_dir: Path
    """New folder of the files, outside the scene's folder."""
    depth: Literal["auto", "given", "rendered"] = "auto"
    """Where depth comes from: the depth images of the scene (given), or what the run renders. By default the scene's
    where training frames have depth images that agree with each other."""
    steps: int = _STEPS
    """Number of training images that are rendered, one a step. 1000, as semantic-splatfacto has, make Gaussians sharper
    and take 2.5 times as long."""
    seed: int = FitConfig.seed
    """Draws the order of the training images."""
    blur: float | None = None
    """Variance in pixels², 0.03 to 10, that images add to the Gaussians. By default 0.3, as most viewers add; 0.05 is
    sharper in the viewer of this package, and looks too wide in others."""

    @memory_errors_as_scene_error("the run and its Gaussians")
    def main(self) -> None:
        """Check, load the run, make the Gaussians, write them, and score them on the scored images.

        Raises:
            SceneError: the run, an option or a folder is of no use, or memory is too small.
        """
        self._check_options()
        run = load_run(self.run / "config.yml" if self.run.is_dir() else self.run, option="RUN")
        from semantic_ns.datasets.semantic_dataset import PinholeDataset
        from semantic_ns.export import splat as export
        from semantic_ns.export.labels import input_paths
        from semantic_ns.interfaces import can

        console = Console(soft_wrap=True, highlight=False, markup=False)
        data, model = run.pipeline.datamanager, run.model
        refuse_without_labels(data)
        train, scored = (PinholeDataset.of(dataset) for dataset in (data.train_dataset, data.eval_dataset))
        is_splat = can(model, "exports_gaussians")
        if is_splat:
            self._refuse_options_of_making()
        self._refuse_the_scene(input_paths(data))
        for dataset in (train, scored):
            export.pinhole_cameras(dataset)  # before anything slow
        made = self._own(model) if is_splat else self._made(model, data, train, console)
        paths = export.write_splat_files(made, data.train_dataparser_outputs, model.taxonomy, self.output_dir)
        console.print("Wrote " + ", ".join(str(path) for path in paths))
        truth = [_tensor(scored.read_labels(index)) for index in range(len(scored))]
        metres = float(scored.metadata[METRES_PER_UNIT])
        views, background = export.views_of(scored, export.given_depths(scored)), scored.metadata.get(ALPHA_COLOR)
        scores = export.score_splat(made, views, truth, metres, background)
        is_apart = not set(train.image_filenames) & set(scored.image_filenames)
        has_unknown_scale = bool(scored.metadata.get(HAS_UNKNOWN_SCALE, False))
        console.print(report(scores, is_apart, "units of the poses" if has_unknown_scale else "m"))

    def _own(self, model: Any) -> Any:
        """The Gaussians that the run has trained itself."""
        from semantic_ns.export.splat import Splat
        from semantic_ns.methods.semantic_splatfacto.rendering import gaussians_on_cpu

        if model.is_antialiased:
            announce(
                "splat",
                "the run draws its Gaussians antialiased, which files of Gaussians cannot say; viewers, and the scores "
                "below, show small ones as too opaque",
            )
        gaussians, colors = gaussians_on_cpu(model)
        if gaussians.blur != COMMON_BLUR:
            announce(
                "splat",
                f"the run adds {gaussians.blur:g} pixels² to its Gaussians, which the files say and this package "
                f"reads; most viewers add {COMMON_BLUR:g} and show them wider, for which train with "
                f"--pipeline.model.blur {COMMON_BLUR:g}",
            )
        return Splat(gaussians, colors, model.class_probabilities.cpu())

    def _made(self, model: Any, data: Any, train: Any, console: Console) -> Any:
        """Gaussians of what the run or the scene says about depth."""
        from semantic_ns.export import splat as export

        start = time.perf_counter()
        depths, is_rendered = self._depths(model, train, console)
        views = export.views_of(train, depths)
        labels = [_tensor(_as_read(data, train, index)) for index in range(len(views))]
        with Progress(TextColumn("Training Gaussians"), BarColumn(), MofNCompleteColumn(), console=console) as progress:
            task = progress.add_task("", total=self.steps)
            made = export.make_splat(
                views,
                labels,
                model.taxonomy.num_classes,
                FitConfig(steps=self.steps, seed=self.seed, holds_colors=not is_rendered),
                lambda _: progress.advance(task),
                export.MOST_OF_RENDERED_DEPTH if is_rendered else None,
                COMMON_BLUR if self.blur is None else self.blur,
            )
        console.print(f"Made {len(made.gaussians)} Gaussians in {time.perf_counter() - start:.0f} s.")
        return made

    def _depths(self, model: Any, dataset: Any, console: Console) -> tuple[Any, bool]:
        """Planar depth of the training images in scene units, and whether the run has rendered it."""
        from semantic_ns.datamanagers.trusted_depth import read_trusted_depth
        from semantic_ns.export.splat import rendered_depths

        trusted = None if self.depth == "rendered" else read_trusted_depth(dataset)
        if trusted is not None:
            images_m, reason = trusted
            num_known = sum(bool(image.any()) for image in images_m)
            console.print(
                f"Depth: the images of the scene, of {num_known} of {len(images_m)} training frames ({reason})."
            )
            return [_tensor(image / dataset.metadata[METRES_PER_UNIT], "float32") for image in images_m], False
        if self.depth == "given":
            raise SceneError(
                "Expected depth images in the scene that agree between views, found none; give --depth rendered, or "
                "ask sns-doctor what is wrong with them."
            )
        console.print(f"Depth: {len(dataset)} training images, rendered by the run.")
        return rendered_depths(model, dataset), True

    def _check_options(self) -> None:
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir")
        if self.steps < 0:
            raise SceneError(f"Expected --steps of at least 0, found {self.steps}; change it.")
        if self.blur is not None and not is_blur(self.blur):
            raise SceneError(
                "Expected {:g} to {:g} for --blur, found {:g}; most viewers add 0.3.".format(*BLUR_RANGE, self.blur)
            )

    def _refuse_options_of_making(self) -> None:
        """Check that no option asks how Gaussians are made that the run has already."""
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.default is not dataclasses.MISSING and value != entry.default:
                raise SceneError(
                    f"Expected no --{entry.name} with a run of semantic-splatfacto, whose own Gaussians are written, "
                    f"found {value}; leave it out."
                )

    def _refuse_the_scene(self, protected: Sequence[Path]) -> None:
        from semantic_ns.io.writing import refuse_inside, write_errors_as_scene_error

        refuse_inside(self.output_dir, protected, "--output-dir")
        with write_errors_as_scene_error(self.output_dir):
            self.output_dir.mkdir(parents=True, exist_ok=True)


def refuse_without_labels(datamanager: object) -> None:
    """Check that a run knows the labels of one scene.

    Raises:
        SceneError: if it is of a method for many rooms.
    """
    from semantic_ns.interfaces import can

    if not can(datamanager, "gives_training_labels"):
        raise SceneError(
            "Expected a run that was trained on one scene and its labels, found one of a method for many rooms "
            f"({type(datamanager).__name__}); train the scene with ns-train semantic-nerf."
        )


def _as_read(data: Any, train: Any, index: int) -> Any:
    """The labels that training sees of an image, as the camera without distortion has them."""
    labels = data.training_labels[index]
    return labels if train is data.train_dataset else train.undistorted(labels, index)


def _tensor(image: Any, number: str = "int32") -> Any:
    import torch

    return torch.from_numpy(image.astype(number))


def report(scores: "SplatScores", is_apart: bool, unit: str = "m") -> str:
    """Scores in one sentence; `is_apart` says that none of the scored images was trained on, `unit` that of depth."""
    parts = [f"PSNR {scores.psnr:.2f} dB, worst image {scores.worst_psnr:.2f} dB"]
    if scores.depth_l1_m is not None:
        parts.append(f"mean depth error {scores.depth_l1_m:.3f} {unit}")
    if scores.classes is not None:
        parts.append(f"miou_present {scores.classes.miou_present:.3f}, accuracy {scores.classes.pixel_accuracy:.3f}")
    which = "that were not trained on" if is_apart else "of which some were trained on"
    return f"On {scores.num_images} scored images {which}: {', '.join(parts)}."


def entrypoint() -> None:
    """Console script `sns-to-splat`."""
    command = tyro.cli(ToSplat, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
