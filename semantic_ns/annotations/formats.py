"""Finds out the format of annotations and reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from semantic_ns.annotations.archive import unpack
from semantic_ns.annotations.cityscapes import id_images, read_cityscapes, read_cityscapes_ids
from semantic_ns.annotations.class_lists import find_class_file, is_class_file, read_class_file
from semantic_ns.annotations.coco import read_coco
from semantic_ns.annotations.cvat import read_cvat
from semantic_ns.annotations.folder import JSON_LINES_SUFFIXES, files_in, tool_of_json
from semantic_ns.annotations.label_studio import read_label_studio
from semantic_ns.annotations.labelbox import read_labelbox
from semantic_ns.annotations.labelme import read_labelme
from semantic_ns.annotations.png import label_images, read_png
from semantic_ns.annotations.supervisely import META_FILE, read_supervisely
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.annotations.via import read_via
from semantic_ns.annotations.via_records import is_via_csv
from semantic_ns.annotations.voc import LABEL_MAP_FILE, find_label_map, read_voc
from semantic_ns.annotations.yolo import class_list, read_yolo
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

Format = Literal[
    "auto",
    "coco",
    "labelme",
    "voc",
    "png",
    "cvat",
    "label-studio",
    "labelbox",
    "via",
    "supervisely",
    "yolo",
    "cityscapes",
]
_OF_JSON = frozenset({"cityscapes", "coco", "labelme", "label-studio", "labelbox", "via", "supervisely"})
_JSON_SUFFIXES = (".json", *JSON_LINES_SUFFIXES)
_IMAGES = frozenset({".png", ".npy"})


@dataclass(frozen=True)
class AnnotationSource:
    """Annotations that were found, of which nothing is read yet but what tells their format.

    Attributes:
        labels: file or folder that the user named, or the folder of its content if it is an archive.
        jsons: its files of JSON by format.
        xmls: its files of XML.
        notes: what was decided so far.
        format: format that the user chose, or that the content tells; None where nothing tells it.
        holder: object that must live as long as the files are needed, such as the folder of an unpacked archive.
    """

    labels: Path
    jsons: Mapping[str | None, list[Path]]
    xmls: list[Path]
    notes: Notes = field(default_factory=Notes)
    format: str | None = None
    holder: Any = None

    @property
    def folder(self) -> Path:
        """The folder itself, or that of the file."""
        return self.labels if self.labels.is_dir() else self.labels.parent

    @property
    def all_jsons(self) -> list[Path]:
        """Its files of JSON, in order of their paths."""
        return sorted(path for paths in self.jsons.values() for path in paths)

    @property
    def needs_class_list(self) -> bool:
        """Whether pixels are ids of classes, which only a list apart from them can name."""
        return self.format == "png" or (self.format == "cityscapes" and "cityscapes" not in self.jsons)

    def read(self, table: ClassTable | None = None) -> Annotations:
        """Read the annotations.

        Args:
            table: the user's classes; None takes those of the annotations, or of the list beside label images.

        Raises:
            SceneError: if nothing tells the format, or the annotations or classes cannot be read or understood.
        """
        if self.format is None:
            raise self.refusal()
        annotations = _read(self, self.format, table)
        if annotations.table.encoding_note is not None:
            annotations.notes.say(annotations.table.encoding_note)
        return replace(annotations, folder=self.folder, holder=self.holder)

    def refusal(self) -> SceneError:
        """The error for annotations of an unknown format."""
        jsons = self.all_jsons
        return SceneError(
            f"Expected annotations of {', '.join(get_args(Format)[1:])} at {self.labels}, such as a JSON or XML file, "
            f"or a folder with {LABEL_MAP_FILE} or PNGs, found neither{f' in {jsons[0].name}' if jsons else ''}; check "
            "the path or name the format with --format."
        )


def find_annotations(labels: Path, file_format: Format = "auto", classes: Path | None = None) -> AnnotationSource:
    """Find annotations and their format, before anything is read.

    Args:
        labels: file of annotations, folder of such files, of masks or of label images, or zip file of such a folder.
        file_format: `auto` decides by the content, see `docs/data_formats.md`.
        classes: file of the user's classes, which is no annotation even if it lies among them.

    Raises:
        SceneError: if there is nothing, an archive cannot be unpacked, or there are annotations of several formats.
    """
    if not labels.exists():
        raise SceneError(f"Expected annotations at {labels}, found nothing; check the path.")
    if labels.is_file() and labels.suffix.lower() == ".zip":
        holder = unpack(labels)
        return replace(find_annotations(Path(holder.name), file_format, classes), holder=holder)
    source = _inspect(labels, classes)
    return replace(source, format=_guess(source) if file_format == "auto" else file_format)


def read_annotations(labels: Path, file_format: Format = "auto", classes: Path | None = None) -> Annotations:
    """Read annotations of any of the formats.

    Args:
        labels: see `find_annotations`.
        file_format: see `find_annotations`.
        classes: class table (`read_class_file`); needed for label images, unless their folder holds a list of classes
            such as `classes.txt`. Without it the other formats bring their own classes.

    Raises:
        SceneError: if the annotations or classes cannot be read or understood.
    """
    source = find_annotations(labels, file_format, classes)
    if source.format is None:
        raise source.refusal()
    return source.read(None if classes is None else read_class_file(classes))


def _inspect(labels: Path, classes: Path | None) -> AnnotationSource:
    if labels.is_file():
        jsons = [labels] if labels.suffix.lower() in _JSON_SUFFIXES else []
        xmls = [labels] if labels.suffix.lower() == ".xml" else []
    else:
        own = None if classes is None else classes.resolve()
        jsons = [path for path in files_in(labels, _JSON_SUFFIXES) if path.resolve() != own and not is_class_file(path)]
        xmls = files_in(labels, (".xml",))
    by_format: dict[str | None, list[Path]] = {}
    for path in jsons:
        by_format.setdefault(tool_of_json(path), []).append(path)
    for path in [labels] if labels.is_file() else files_in(labels, (".csv",)):
        if path.suffix.lower() == ".csv" and is_via_csv(path):
            by_format.setdefault("via", []).append(path)
    return AnnotationSource(labels, by_format, xmls)


def _guess(source: AnnotationSource) -> str | None:
    labels = source.labels
    found = sorted(name for name in source.jsons if name is not None)
    if len(found) > 1:
        examples = " and ".join(f"{name} ({source.jsons[name][0].name})" for name in found)
        raise SceneError(
            f"Expected annotations of one format in {labels}, found {examples}; choose one with --format, or name the "
            "file."
        )
    if labels.is_dir() and find_label_map(labels) is not None:
        return "voc"
    if found:
        return found[0]
    if source.xmls:
        return "cvat"
    if labels.suffix.lower() in {".yaml", ".yml"} or (labels.is_dir() and class_list(labels) is not None):
        return "yolo"
    if id_images(labels):
        return "cityscapes"
    is_png = labels.suffix.lower() in _IMAGES or (labels.is_dir() and label_images(labels))
    return "png" if is_png else None


def _read(source: AnnotationSource, chosen: str, table: ClassTable | None) -> Annotations:
    labels, notes = source.labels, source.notes
    if chosen == "cityscapes" and chosen not in source.jsons and (pngs := id_images(labels)):
        return read_cityscapes_ids(pngs, table or read_class_file(find_class_file(source.folder)), notes)
    if chosen in _OF_JSON:
        return _read_jsons(source, chosen, table)
    if chosen == "cvat":
        if not source.xmls:
            raise SceneError(f"Expected an XML file at or in {labels} for the format cvat, found none; check the path.")
        return read_cvat(source.xmls, table, notes)
    if chosen == "png":
        return read_png(labels, table or read_class_file(find_class_file(source.folder)), notes)
    if chosen == "yolo":
        is_list = labels.suffix.lower() in {".yaml", ".yml"}
        return read_yolo(source.folder, labels if is_list else class_list(source.folder), table, notes)
    if not labels.is_dir():
        raise SceneError(f"Expected a folder for the format {chosen}, found the file {labels}; name its folder.")
    return read_voc(labels, table, notes)


def _read_jsons(source: AnnotationSource, chosen: str, table: ClassTable | None) -> Annotations:
    paths = source.jsons.get(chosen, source.all_jsons)
    if not paths:
        raise SceneError(
            f"Expected a JSON file at or in {source.labels} for the format {chosen}, found none; check the path."
        )
    metas = [path for path in source.jsons.get(None, []) if path.name == META_FILE]
    num_others = len(source.all_jsons) - len(paths) - (len(metas) if chosen == "supervisely" else 0)
    source.notes.count(f"JSON files are not of the format {chosen} and were left out", num_others)
    if chosen == "coco":
        return read_coco(paths, source.folder, table, source.notes)
    if chosen == "labelbox":
        return read_labelbox(paths, source.folder, table, source.notes)
    if chosen == "supervisely":
        return read_supervisely(paths, metas[0] if metas else None, table, source.notes)
    read = {"labelme": read_labelme, "label-studio": read_label_studio, "via": read_via, "cityscapes": read_cityscapes}[
        chosen
    ]
    return read(paths, table, source.notes)
