"""A dataparser over many scenes, which reads all of them in one label space and shows one of them to nerfstudio."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from jaxtyping import Float64
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from torch import Tensor

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParser, AutoDataParserConfig
from semantic_ns.dataparsers.common_label_space import any_in_common, common_taxonomy, in_label_space, unknown_names
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.scene_folders import SceneFolder, find_scenes, pick_scenes
from semantic_ns.dataparsers.splits import SplitMethod
from semantic_ns.dataparsers.undistortion import without_distortion
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce, without_routine
from semantic_ns.labels.taxonomy import Taxonomy

_NUM_SHOWN = 8
_USUAL_DISTANCE_M = 0.3
_ROUNDING = 1e-6
"""Distance between cameras, as a share of their coordinates, that is no distance."""


@dataclass
class ManyScenesDataParserConfig(DataParserConfig):
    """Scenes of any layout that semantic-data reads, in one label space."""

    _target: type = field(default_factory=lambda: ManyScenesDataParser)
    data: Path = Path()
    """Folder whose sub-folders are scenes, the folder of one scene, or a text file with one path on each line."""
    held_out_scenes: tuple[str, ...] = ()
    """Names of scenes that are not trained on and are scored instead. Without them the test frames of the training
    scenes are scored; with them every frame of the other scenes trains."""
    view_scene: str | None = None
    """Name of the scene that the viewer and ns-render show; by default the first one that is scored."""
    split: SplitMethod = "auto"
    """Split of a scored scene into source frames and scored ones, as in semantic-data."""
    eval_interval: int = 8
    """Number of frames per scored frame (split interval)."""
    normalize_scale: bool = False
    """Accept scenes whose scale is not known in metres, and scale each so that the median distance between a camera
    and the nearest other position of one is 0.3 m."""
    metres_per_unit: float | None = None
    """Accept scenes whose scale is not known in metres, and take a unit of their camera positions for so many metres:
    1 where they are in metres, 0.01 where they are in centimetres. Scenes whose scale is known keep it."""
    label_space: tyro.conf.Suppress[str | None] = None
    """The label space of a model, as JSON: that of given weights, and in the config.yml of a run that of its training,
    whatever has become of the scenes since."""
    labels_optional: tyro.conf.Suppress[bool] = False
    """Accept scenes without labels and without a class table also where no label space is given."""


class ManyScenesDataParser(DataParser):
    """Reads scenes by their names; to nerfstudio it is the parser of the scene that is shown.

    Raises:
        SceneError: if there is no scene, if the scenes have no class in common with the label space, if a name is that
            of no scene (one scene whose label space is given may bear any name), if all scenes are held out, if the
            scale of a scene is not known, or if the options say two things of it.
    """

    config: ManyScenesDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    @cached_property
    def scenes(self) -> list[SceneFolder]:
        """All scenes, sorted by name."""
        return find_scenes(self.config.data)

    @cached_property
    def scored_scenes(self) -> list[SceneFolder]:
        """The scenes that are scored: those held out, or else all."""
        return self._held_out or self.scenes

    @cached_property
    def training_scenes(self) -> list[SceneFolder]:
        """The scenes that are trained on."""
        chosen = [scene for scene in self.scenes if scene not in self._held_out]
        if not chosen:
            raise SceneError(
                f"Expected a scene to train on in {self.config.data}, found only those of --held-out-scenes; leave one "
                "of them out."
            )
        return chosen

    @cached_property
    def _held_out(self) -> list[SceneFolder]:
        return self._named(self.config.held_out_scenes, "--held-out-scenes")

    @cached_property
    def shown_scene(self) -> SceneFolder:
        """The scene that nerfstudio sees."""
        name = self.config.view_scene
        named = [] if name is None else self._named((name,), "--view-scene")
        return (named or self.scored_scenes)[0]

    def _named(self, names: tuple[str, ...], option: str) -> list[SceneFolder]:
        """The scenes of the names in an option.

        A model that knows its classes may be given one scene alone, be it one of its folder or another one: `--data` of
        ns-render then says which, and the names are those of the scenes of its training.
        """
        if self.config.label_space is None or len(self.scenes) > 1:
            return pick_scenes(self.scenes, names, option)
        alone = self.scenes[0]
        if absent := [name for name in names if name != alone.name]:
            announce(
                "many scenes", f"{alone.name} is the only scene here, so that {option} {' '.join(absent)} is left out"
            )
        return [scene for scene in self.scenes if scene.name in names]

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The label space of all scenes: that of the model's weights, or the classes of the training scenes."""
        if self.config.label_space is not None:
            return Taxonomy.from_json(self.config.label_space)
        all_frames = self._scene_split_of_training
        outputs = [self._read(scene, "train", all_frames) for scene in self.training_scenes]
        numbered = [
            scene.path
            for scene, one in zip(self.training_scenes, outputs, strict=True)
            if keys.HAS_NUMBERED_CLASSES in one.metadata
        ]
        if numbered and len(outputs) > 1:
            raise SceneError(
                "Expected names of classes in every scene, by which classes of several scenes are joined, found ids "
                f"alone in {numbered[0]}; list its classes under semantic_classes of its transforms.json or in a file "
                "classes.txt."
            )
        of_scenes = [one.metadata[keys.TAXONOMY] for one in outputs]
        with_classes = {
            scene.name: one for scene, one in zip(self.training_scenes, of_scenes, strict=True) if one.num_classes
        }
        if len(with_classes) > 1 and not any_in_common(list(with_classes.values())):
            listed = "; ".join(f"{name} has {_listed(one.names)}" for name, one in list(with_classes.items())[:2])
            raise SceneError(
                f"Expected scenes in {self.config.data} of which two have a class in common by name, found none "
                f"({listed}); rename the classes of their tables."
            )
        if self.config.labels_optional and not with_classes:
            return of_scenes[0]  # no class at all
        taxonomy = common_taxonomy(of_scenes)
        announce("many scenes", f"{len(self.training_scenes)} to train on, {taxonomy.num_classes} classes by name")
        return taxonomy

    @property
    def _scene_split_of_training(self) -> SplitMethod:
        return "all" if self.config.held_out_scenes else self.config.split

    def training_outputs(self, scene: SceneFolder) -> DataparserOutputs:
        """The frames of a scene that train, in the label space of all scenes."""
        return self._in_label_space(scene, self._read(scene, "train", self._scene_split_of_training))

    def scored_outputs(self, scene: SceneFolder, split: str) -> DataparserOutputs:
        """The source frames (`train`) or the scored ones (`test`) of a scene, in the label space of all scenes."""
        outputs = self._in_label_space(scene, self._read(scene, split, self.config.split))
        if self.config.split != "all":
            return outputs
        rule = f"all (every frame is a source, and is scored from the others): {len(outputs.image_filenames)} images"
        return replace(outputs, metadata=outputs.metadata | {keys.SPLIT: rule})

    def _in_label_space(self, scene: SceneFolder, outputs: DataparserOutputs) -> DataparserOutputs:
        own: Taxonomy = outputs.metadata[keys.TAXONOMY]
        unknown = unknown_names(own, self.taxonomy)
        if own.num_classes and len(unknown) == own.num_classes:
            raise SceneError(
                f"Expected at least one class of {scene.path} in the label space of the model, found none of "
                f"{_listed(own.names)} among {_listed(self.taxonomy.names)}; rename the classes of the scene's table."
            )
        if unknown and scene.name not in self._told:
            self._told.add(scene.name)
            announce("many scenes", f"{scene.name}: the model does not know {_listed(unknown)}, which become void")
        return in_label_space(outputs, self.taxonomy)

    @cached_property
    def _told(self) -> set[str]:
        return set()

    @cached_property
    def _parsers(self) -> dict[tuple[Path, SplitMethod], AutoDataParser]:
        return {}

    def _parser_of(self, scene: SceneFolder, method: SplitMethod) -> AutoDataParser:
        """The parser of a scene, which reads the scene's files once for all its splits."""
        key = (scene.path, method)
        if key not in self._parsers:
            config = AutoDataParserConfig(
                data=scene.path,
                split=method,
                eval_interval=self.config.eval_interval,
                labels_optional=self.config.labels_optional or self.config.label_space is not None,
            )
            self._parsers[key] = cast(AutoDataParser, config.setup())
        return self._parsers[key]

    def classes_of(self, scene: SceneFolder) -> Taxonomy:
        """The classes of a scored scene itself, in its own label space."""
        return self._read(scene, "train", self.config.split).metadata[keys.TAXONOMY]

    def has_all_labels(self, scene: SceneFolder) -> bool:
        """Whether every frame of a scene has a label image."""
        outputs = self._read(scene, "train", "all")
        return all(path is not None for path in outputs.metadata[keys.LABEL_FILENAMES])

    @cached_property
    def _outputs(self) -> dict[tuple[Path, str, SplitMethod], DataparserOutputs]:
        return {}

    def _read(self, scene: SceneFolder, split: str, method: SplitMethod) -> DataparserOutputs:
        """A split of a scene in its own label space, which is made once: in a large scene that takes long."""
        key = (scene.path, split, method)
        if key not in self._outputs:
            self._outputs[key] = self._read_anew(scene, split, method)
        return self._outputs[key]

    def _read_anew(self, scene: SceneFolder, split: str, method: SplitMethod) -> DataparserOutputs:
        parser = self._parser_of(scene, method)
        # What is said of every frame of a scene is about its scores, and these are none.
        with without_routine() if method == "all" and self.config.split != "all" else nullcontext():
            outputs = without_distortion(parser.get_dataparser_outputs(split))
        if not _is_in_nerfstudios_format(parser):
            return outputs
        both = [outputs, parser.get_dataparser_outputs("test" if split == "train" else "train")]
        has_depth = any(keys.DEPTH_FILENAMES in part.metadata for part in both)
        if has_depth and not outputs.metadata.get(keys.HAS_UNKNOWN_SCALE, False):
            return outputs
        metres_per_unit = self._stated_scale(scene, both)
        stated: keys.Metadata = {keys.METRES_PER_UNIT: metres_per_unit}
        if keys.DEPTH_FILENAMES in outputs.metadata:  # in the unit of the poses
            metres = metres_per_unit / outputs.metadata[keys.METRES_PER_UNIT]
            stated[keys.DEPTH_METRES_PER_UNIT] = metres * outputs.metadata[keys.DEPTH_METRES_PER_UNIT]
        return replace(outputs, metadata=outputs.metadata | stated)

    def _stated_scale(self, scene: SceneFolder, parts: list[DataparserOutputs]) -> float:
        """Metres per scene unit where the scene does not say it, as an option does."""
        given = self.config.metres_per_unit
        if given is not None:
            if self.config.normalize_scale:
                raise SceneError(
                    f"Expected --metres-per-unit or --normalize-scale True, found both; leave one out, for "
                    f"{scene.path} has one scale."
                )
            if not 0 < given < math.inf:  # NaN fails this, too
                raise SceneError(
                    f"Expected a finite number above 0 for --metres-per-unit, found {given:g}; correct it."
                )
            return given / float(parts[0].dataparser_scale)
        if not self.config.normalize_scale:
            raise SceneError(
                f"Expected a scene whose scale is known in metres at {scene.path}, found neither depth in metres nor a "
                "format that has metres, which the model's planes are in; add --metres-per-unit 1 if its camera "
                "positions are in metres (0.01: centimetres), or --normalize-scale True to scale it by the distances "
                "between its cameras."
            )
        # Of all frames, whichever the split, so that sources and scored frames have one scale.
        positions = torch.cat([part.cameras.camera_to_worlds[:, :3, 3] for part in parts]).double()
        return _USUAL_DISTANCE_M / _usual_distance(positions, scene.path)

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        del kwargs
        return self.scored_outputs(self.shown_scene, split)


def _is_in_nerfstudios_format(parser: AutoDataParser) -> bool:
    """Whether a scene may lack metres and class names, which all other layouts have."""
    return isinstance(parser.choose()[0], NerfstudioSemanticDataParserConfig)


def _usual_distance(positions: Float64[Tensor, "cameras 3"], where: Path) -> float:
    """Median distance between a camera and the nearest other position of one, in the unit of the positions."""
    distances = (positions[:, None] - positions).norm(dim=-1)
    # Cameras of one place, such as the parts of a panorama, say nothing about the scale.
    distances[distances <= _ROUNDING * positions.abs().max().clamp(min=1.0)] = torch.inf
    nearest = distances.min(dim=1).values
    if not bool(nearest.isfinite().any()):
        raise SceneError(
            f"Expected cameras at different positions in {where} to find its scale by, found one position; give a "
            "scene with depth."
        )
    return float(nearest.median())


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NUM_SHOWN]) + (", ..." if len(names) > _NUM_SHOWN else "")
