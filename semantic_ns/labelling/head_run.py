"""Writes the classes that follow a session as a run of its own, with the geometry and colours of another run."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from semantic_ns.checkpoints import find_checkpoint
from semantic_ns.errors import SceneError
from semantic_ns.fields.semantic_head import SemanticHead
from semantic_ns.io.writing import making_folder, refuse_used_folder, write_text
from semantic_ns.labels.class_table import STUFF_NAMES, ClassEntry
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.run_paths import relocate
from semantic_ns.runs import Run

CONFIG = "config.yml"
_TRANSFORMS = "dataparser_transforms.json"
_OF_ACTIVE_LEARNING = ("revealed_labels.", "run_snapshot.", "datamanager.given.", "moment.")
_NEVER = -1e4
"""Bias of a class of the scene that the session has merged into another: it is never the most likely one."""


def read_config(load_config: Path) -> Any:
    """The configuration of a run, with paths as they are now; it names classes, so it has to be of a trusted person."""
    config = yaml.load(load_config.read_text("utf8"), Loader=yaml.Loader)
    relocate(config, load_config)
    return config


def taxonomy_of_session(scene: Taxonomy, classes: Sequence[ClassEntry], void_id: int) -> Taxonomy:
    """The classes of a session, and those of its scene that it does not have, without which no label image is read.

    Args:
        scene: The classes of the scene.
        classes: The classes of the session.
        void_id: The id of void in the session, which none of its classes has.
    """
    parts = scene.source_ids, scene.names, scene.colors, scene.is_thing
    by_id = {entry.id: entry for entry in (*(ClassEntry(*of_class) for of_class in zip(*parts, strict=True)), *classes)}
    entries = [by_id[number] for number in sorted(by_id)]
    return Taxonomy(
        tuple(entry.id for entry in entries),
        tuple(entry.name for entry in entries),
        tuple(entry.color for entry in entries),
        tuple(entry.is_thing for entry in entries),
        void_id,
        tuple(number for number in scene.void_source_ids if number not in {entry.id for entry in entries}),
    )


def linear_for(taxonomy: Taxonomy, head: nn.Linear, class_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weight and bias of the last layer for all classes of a run, of which the head has some.

    A class of the head that the run does not have, since the session has dropped it meanwhile, is left out.
    """
    weight = torch.zeros(taxonomy.num_classes, head.in_features)
    bias = torch.full((taxonomy.num_classes,), _NEVER)
    for place, number in enumerate(class_ids):
        if number in taxonomy.source_ids:
            known = taxonomy.source_ids.index(number)
            weight[known], bias[known] = head.weight[place].detach(), head.bias[place].detach()
    return weight, bias


def entries_of_session(
    scene: Taxonomy, classes: Sequence[tuple[int, str, Sequence[int], bool | None]]
) -> list[ClassEntry]:
    """The classes of a session, which says of some of them whether they are things; else the scene or the name does.

    Args:
        scene: The classes of the scene.
        classes: Id, name, colour and, where it is known, whether it is a thing, of each class.
    """
    things = dict(zip(scene.source_ids, scene.is_thing, strict=True))
    entries = []
    for number, name, (red, green, blue), thing in classes:
        guess = things.get(number, name.casefold() not in STUFF_NAMES)
        entries.append(ClassEntry(number, name, (red, green, blue), guess if thing is None else thing))
    return entries


def write_head_run(
    run: Run, folder: Path, head: SemanticHead, class_ids: Sequence[int], classes: Sequence[ClassEntry], void_id: int
) -> Path:
    """Write a run with another head, see `write_run`.

    Args:
        run: The run that geometry and colours are taken from.
        folder: A new folder.
        head: The head.
        class_ids: The ids of its classes.
        classes: The classes of the session.
        void_id: The id of void in the session.

    Raises:
        SceneError: if the head has no class, or `write_run` refuses.
    """
    if not class_ids:
        raise SceneError("Expected a head with a class to write it as a run, found none; mark something first.")

    def changes(taxonomy: Taxonomy) -> dict[str, Tensor]:
        weight, bias = linear_for(taxonomy, head.linear, class_ids)
        own = {f"_model.field.{name}": value for name, value in run.pipeline.model.field.state_dict().items()}
        grid = {name: value for name, value in own.items() if name.startswith("_model.field.semantic_grid.")}
        return grid | {"_model.field.semantic_head.weight": weight, "_model.field.semantic_head.bias": bias}

    return write_run(run, folder, changes, classes, void_id)


def write_run(
    run: Run,
    folder: Path,
    changes: Callable[[Taxonomy], Mapping[str, Tensor]],
    classes: Sequence[ClassEntry],
    void_id: int,
) -> Path:
    """Write a run with other classes, which `ns-viewer`, `ns-eval` and the commands of this package open.

    Args:
        run: The run that geometry and colours are taken from; nothing in its folder changes.
        folder: A new folder.
        changes: A function that gives, for the classes of the new run, what is different in its checkpoint.
        classes: The classes of the session.
        void_id: The id of void in the session.

    Returns:
        The new config.yml.

    Raises:
        SceneError: if the folder is used or cannot be written.
    """
    refuse_used_folder(folder, "folder")
    config, taxonomy = read_config(run.load_config), taxonomy_of_session(run.model.taxonomy, classes, void_id)
    source = find_checkpoint(run.load_config.parent / config.relative_model_dir)
    state = torch.load(source, map_location="cpu", weights_only=True)
    kept = {name: value for name, value in state["pipeline"].items() if not name.startswith(_OF_ACTIVE_LEARNING)}
    ids = {"_model.class_source_ids": torch.tensor(taxonomy.source_ids)}
    state["pipeline"] = {**kept, **changes(taxonomy), **ids}
    _describe(config, folder, taxonomy if taxonomy != run.model.taxonomy else None)
    with making_folder(folder) as new:
        models = new / config.relative_model_dir
        models.mkdir(parents=True)
        torch.save(state, models / source.name)
        write_text(new / CONFIG, yaml.dump(config))
        transforms = run.load_config.parent / _TRANSFORMS
        if transforms.is_file():
            shutil.copyfile(transforms, new / _TRANSFORMS)
    return folder / CONFIG


def _describe(config: Any, folder: Path, taxonomy: Taxonomy | None) -> None:
    """Make the configuration of a run that of one in another folder, with classes."""
    config.run_dir, config.timestamp = folder.absolute(), folder.name
    config.load_dir = config.load_step = config.load_checkpoint = None
    if hasattr(config.pipeline.model, "use_semantics"):
        config.pipeline.model.use_semantics = True
    config.pipeline.active = replace(config.pipeline.active, strategy=None)
    if taxonomy is not None:
        config.pipeline.datamanager.taxonomy = taxonomy.to_json()
