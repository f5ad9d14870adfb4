"""`sns-apply`: a trained model that knows many rooms, on a room that it has not seen."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.methods.applied_run import AppliedRun


@dataclass
class Apply:
    """Render a room with a model that was trained on other rooms, without training.

    The output folder is a run like those of ns-train: ns-viewer, ns-eval, ns-render, sns-export-labels and sns-suggest
    read it. It needs the folder of the room, and neither RUN nor the rooms on which that was trained.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Trained weights: the folder or config.yml of a run of a method that knows many rooms (such as gsnerf-small or
    viewseg-small), a file of sns-export-weights, or the name of weights that come with the package: rooms-small, which
    knows 31 classes and has seen rendered rooms alone, with surfaces up to 8 m away."""
    data: Path
    """Folder of the room, in any layout that semantic-data reads. It needs neither labels nor a class table; labels
    that some frames have are carried over to the others."""
    output_dir: Path
    """New folder of the run."""
    split: Literal["auto", "published", "interval", "fraction", "all"] | None = None
    """Split into source frames and scored ones, as in ns-train. By default every frame is a source, and is itself
    rendered from the others; a room in which every frame has labels is split as in ns-train (auto)."""
    eval_interval: int = 8
    """Number of frames per scored frame (split interval)."""
    normalize_scale: bool = False
    """Accept a room whose scale is not known in metres, and scale it so that the median distance between a camera and
    its nearest neighbour is 0.3 m."""
    metres_per_unit: float | None = None
    """Accept a room whose scale is not known in metres, and take a unit of its camera positions for so many metres: 1
    where they are in metres, 0.01 where they are in centimetres."""
    num_source_views: int | None = None
    """Number of source frames from which an image is rendered; by default that of the weights."""
    use_source_labels: bool = True
    """Carry over the labels of source frames. Scores without labels of the room need False."""

    def main(self) -> None:
        """Check, read the room, write the run and say what can be done with it."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        import semantic_ns.methods  # noqa: F401 - the fixes that nerfstudio needs
        from semantic_ns.methods.applied_run import RoomOptions, apply_weights

        options = RoomOptions(
            self.split,
            self.eval_interval,
            self.normalize_scale,
            self.num_source_views,
            self.use_source_labels,
            self.metres_per_unit,
        )
        applied = apply_weights(self.run, self.data, self.output_dir, options)
        console = Console(soft_wrap=True, highlight=False, markup=False)
        console.print(report(applied, self))
        console.print("\n".join(next_commands(applied, self)))

    def _check_options(self) -> None:
        from semantic_ns.io.writing import refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir")
        for name, value in (("--num-source-views", self.num_source_views), ("--eval-interval", self.eval_interval)):
            if value is not None and value < 1:
                raise SceneError(f"Expected {name} of at least 1, found {value}; change it.")


def report(applied: "AppliedRun", command: Apply) -> str:
    """What was done, in sentences."""
    from semantic_ns.methods.weights import built_in_limits  # slow to import

    sentences = [
        f"Applied {applied.method} with the weights {command.run} to {applied.scene}.",
        f"Sources: {applied.num_sources} frames, {_labels(applied, command)}; a frame is never a source of itself.",
        f"Split: {applied.split}.",
        f"Classes: the model knows {applied.num_known}.",
    ]
    if applied.shared or applied.unknown:
        sentences[-1] += f" Of those of the room it knows {_listed(applied.shared)}"
        sentences[-1] += f"; it does not know {_listed(applied.unknown)}, void here." if applied.unknown else "."
    sentences.append(f"Coverage: {applied.coverage.sentence()}.")
    if unseen := applied.coverage.unseen():
        sentences.append(
            f"No source sees anything of {_listed(unseen)}: what is rendered there is a guess; add frames that look "
            "the same way, or check the poses."
        )
    if (limits := built_in_limits(command.run)) is not None:
        sentences.append(f"Limits: the weights {command.run} {limits}.")
    if applied.levels_cameras:
        sentences.append(
            "Cameras: this model was trained with wrong cameras, and levels those of its sources by what their images "
            "show; where cameras are exact, one that was trained without is better."
        )
    if applied.weights_normalize_scale:
        sentences.append(
            "Scale: the weights were trained with --normalize-scale True, by which rooms of unknown scale get cameras "
            "that are 0.3 m apart; what they take for a metre need not be one."
        )
    kind = "a source, seen from the others" if applied.first.is_source else "scored, no source"
    carried = ", which are the carried labels where a source has some" if _carries_labels(applied, command) else ""
    sentences.append(
        f"First view of {applied.first.frame} ({kind}): colour, depth, classes{carried}: {applied.first_view}"
    )
    return "\n".join(sentences)


def _carries_labels(applied: "AppliedRun", command: Apply) -> bool:
    return applied.num_labelled > 0 and command.use_source_labels


def _labels(applied: "AppliedRun", command: Apply) -> str:
    """What becomes of the labels of the sources."""
    if applied.num_labelled == 0:
        return "none of them has labels"
    carried = (
        "are carried over to what they see"
        if command.use_source_labels
        else "are not carried over (--use-source-labels False)"
    )
    return f"{applied.num_labelled} of them with labels, which {carried}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "none"


def next_commands(applied: "AppliedRun", command: Apply) -> list[str]:
    """Commands that go on from here."""
    config, room, run = (shlex.quote(str(path)) for path in (applied.config, applied.scene, command.output_dir))
    train = f"ns-train {applied.method} --data {room} --pipeline.model.weights {run} --max-seconds 120"
    # The rate of a training from the start would forget the other rooms first.
    train += f" --optimizers.network.optimizer.lr {applied.learning_rate / 2:g}"
    train += "".join(f" --pipeline.{option} {value}" for option, value in _kept_options(applied, command))
    commands = [
        f"ns-viewer --load-config {config}",
        f"ns-eval --load-config {config} --output-path scores.json",
        f"ns-render dataset --load-config {config} --output-path renders --image-format png",
        f"sns-export-labels --load-config {config} --output-dir labels",
    ]
    if applied.num_labelled > 0:
        commands.append(f"sns-audit-labels --load-config {config} --output audit")
    if applied.num_labelled < applied.num_sources:  # there is something to label
        commands.append(f"sns-suggest --load-config {config} --budget 20 --output suggestions")
    return ["Next:", *(f"  {line}" for line in (*commands, train))]


def _kept_options(applied: "AppliedRun", command: Apply) -> list[tuple[str, str]]:
    """Options by which a training reads the room, and renders it, as the applied run does."""
    parser, found = "datamanager.dataparser", []
    if applied.split_method != "auto":
        found.append((f"{parser}.split", applied.split_method))
    if command.eval_interval != Apply.eval_interval:
        found.append((f"{parser}.eval-interval", str(command.eval_interval)))
    if command.normalize_scale:
        found.append((f"{parser}.normalize-scale", "True"))
    if command.metres_per_unit is not None:
        found.append((f"{parser}.metres-per-unit", f"{command.metres_per_unit:g}"))
    if command.num_source_views is not None:
        found.append(("model.num-source-views", str(command.num_source_views)))
    if not command.use_source_labels:
        found.append(("model.use-source-labels", "False"))
    return found


def entrypoint() -> None:
    """Console script `sns-apply`."""
    command = tyro.cli(Apply, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
