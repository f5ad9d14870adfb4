"""`sns-pairs`: targets with the frames from which they can be predicted, by overlap, translation and rotation."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

_WIDTH = 256
"""Wider images are made smaller, as methods for many rooms see them."""


@dataclass
class Pairs:
    """List frames that show enough of a target frame, and yet look at it from elsewhere, for all frames of scenes.

    The file names the rule, and for each scene its targets, each with its partners, the ones that overlap most first.
    Scenes need depth, by which the overlap is measured, and no labels.
    """

    data: Path
    """Folder whose sub-folders are scenes, the folder of one scene, or a text file with one path on each line."""
    output: Path
    """New JSON file."""
    min_overlap: float = 0.1
    """Least share of the target's pixels with known depth that lie in the image of the source."""
    min_translation: float = 0.5
    """Distance of the cameras in metres that has to be exceeded."""
    min_rotation: float = 30.0
    """Least angle between the cameras in degrees."""
    min_sources: int = 1
    """Targets with fewer partners are left out."""

    def main(self) -> None:
        """Read the scenes one after the other and write the pairs."""
        if self.output.exists():
            raise SceneError(f"Expected a new file, found that {self.output} exists; remove it or choose another one.")
        if self.min_sources < 1:
            raise SceneError(f"Expected --min-sources of at least 1, found {self.min_sources}; change it.")
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.dataparsers.many_scenes import ManyScenesDataParserConfig
        from semantic_ns.dataparsers.scene_folders import find_scenes
        from semantic_ns.datasets.semantic_dataset import SemanticDataset
        from semantic_ns.evaluation.worst_images import short_names
        from semantic_ns.io.writing import write_errors_as_scene_error, write_text
        from semantic_ns.many_scenes.scene_frames import frames_of
        from semantic_ns.many_scenes.view_pairs import PairRule, partners

        rule = PairRule(self.min_overlap, self.min_translation, self.min_rotation)
        scenes: dict[str, dict[str, list[str]]] = {}
        for scene in find_scenes(self.data):
            # Each scene by itself, for pairs need no common classes, nor any; depth says how long a unit is.
            parser = ManyScenesDataParserConfig(
                data=scene.path, split="all", normalize_scale=True, labels_optional=True
            ).setup()
            dataset = SemanticDataset(parser.get_dataparser_outputs("train"))
            names, views = short_names(dataset.image_filenames), frames_of(dataset, _WIDTH)
            if not views.has_depth:
                raise SceneError(
                    f"Expected depth in {scene.path}, by which the overlap of pairs is measured, found none; add depth "
                    "images."
                )
            found: dict[str, list[str]] = {}
            for name, shares in zip(names, partners(views, views.cameras, rule), strict=True):
                order = shares.argsort(descending=True, stable=True)[: int((shares > 0).sum())]
                if len(order) >= self.min_sources:
                    found[name] = [names[source] for source in order.tolist()]
            scenes[scene.name] = found
        num_targets = sum(len(found) for found in scenes.values())
        num_pairs = sum(len(sources) for found in scenes.values() for sources in found.values())
        if not num_targets:
            raise SceneError(
                f"Expected at least one target with {self.min_sources} partners in {self.data}, found none by the rule "
                f"({rule.sentence()}); lower --min-overlap, --min-translation or --min-rotation."
            )
        with write_errors_as_scene_error(self.output):
            write_text(self.output, json.dumps({"rule": rule.sentence(), "scenes": scenes}, indent=1) + "\n")
        Console(soft_wrap=True, highlight=False, markup=False).print(
            f"Wrote {self.output}: {num_pairs} pairs of {num_targets} targets in {len(scenes)} scenes; "
            f"{rule.sentence()}."
        )


def entrypoint() -> None:
    """Console script `sns-pairs`."""
    command = tyro.cli(Pairs, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
