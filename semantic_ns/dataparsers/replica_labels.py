"""What the label images of a Replica scene mean: `info_semantic.json`, for class ids and for instance ids."""

from pathlib import Path

from semantic_ns.dataparsers.replica_layouts import ReplicaSequence
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap, void_id_of
from semantic_ns.labels.label_spaces import map_to_space

_INFO = "info_semantic.json"
_NUM_FOLDERS = 3


def label_map_of(sequence: ReplicaSequence, table: ClassTable, label_space: str) -> LabelMap | None:
    """From the ids in the images of a sequence to a label space, by way of the classes of `table`.

    Args:
        sequence: sequence with class ids or instance ids.
        table: the classes of the scene.
        label_space: label space, as in `label_spaces.map_to_space`.

    Raises:
        SceneError: if the space is not known, or instance ids have no `id_to_label`.
    """
    to_space = map_to_space(label_space, table)
    return instance_map(sequence.folder, table).then(to_space) if sequence.has_instance_ids else to_space


def scene_class_table(sequence_folder: Path, classes: Path | None) -> ClassTable:
    """The user's class table, else that of the scene's `info_semantic.json`, else Replica's.

    Raises:
        SceneError: if the file cannot be understood.
    """
    if classes is not None:
        return ClassTable.load(classes)
    path = info_path(sequence_folder)
    return ClassTable.load("replica") if path is None else ClassTable.from_replica_info(path)


def info_path(sequence_folder: Path) -> Path | None:
    """The `info_semantic.json` of a sequence, in or beside one of the folders that hold it; None if there is none."""
    folder = sequence_folder.resolve()
    for scene in (folder, *folder.parents)[:_NUM_FOLDERS]:
        places = (
            scene / _INFO,
            scene / "habitat" / _INFO,
            scene.parent / "semantic_info" / scene.name / _INFO,
            scene.parent / f"info_semantic_{scene.name}.json",
        )
        for path in places:
            if path.is_file():
                return path
    return None


def instance_map(sequence_folder: Path, table: ClassTable) -> LabelMap:
    """From instance ids to class ids by the list `id_to_label` of `info_semantic.json`; negative entries are void.

    Not by `objects`, which leaves instances out. Instances whose class is not in the table stay unknown to the map.

    Raises:
        SceneError: if there is no such file or list, or it names no class of the table.
    """
    path = info_path(sequence_folder)
    if path is None:
        raise SceneError(
            f"Expected {_INFO} beside {sequence_folder}, whose labels are instance ids, found none; add it, or add "
            "images of class ids."
        )
    content = read_json(path)
    classes = content.get("id_to_label") if isinstance(content, dict) else None
    if not isinstance(classes, list) or not all(type(number) is int for number in classes):
        raise SceneError(
            f"Expected a list id_to_label of class ids (one per instance) in {path}, found none; restore the file, or "
            "add images of class ids."
        )
    void = void_id_of(table)
    known = {entry.id for entry in table.entries} | table.void_ids
    ids = {
        instance: void if number < 0 else number
        for instance, number in enumerate(classes)
        if number < 0 or number in known
    }
    if not ids:
        raise SceneError(
            f"Expected classes of the table {table.name} in the list id_to_label of {path}, found none; correct the "
            "list or pass a table with its ids by --classes."
        )
    return LabelMap(f"instances to classes by id_to_label of {path} ({len(classes)} entries)", table, ids)
