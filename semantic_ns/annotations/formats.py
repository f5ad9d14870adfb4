"""Finds out the format of annotations and reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from semantic_ns.annotations.coco import read_coco
from semantic_ns.annotations.labelme import read_labelme
from semantic_ns.annotations.pixel_values import png_files
from semantic_ns.annotations.png import read_png
from semantic_ns.annotations.types import Annotations, with_void_id
from semantic_ns.annotations.voc import LABEL_MAP_FILE, read_voc
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json, read_text
from semantic_ns.labels.class_table import ClassTable

Format = Literal["auto", "coco", "labelme", "voc", "png"]
CLASS_FILES = ("classes.csv", "classes.json", "classes.txt")
_LABELME_IGNORE = "__ignore__"


def read_annotations(labels: Path, file_format: Format = "auto", classes: Path | None = None) -> Annotations:
    """Read annotations of any of the formats.

    Args:
        labels: COCO or LabelMe file, or the folder of LabelMe files, masks or label images.
        file_format: `auto` decides by the content: a JSON object with `shapes` is LabelMe's, one with `annotations`
            COCO's; a folder with `labelmap.txt` is VOC's; a folder of PNGs alone holds label images.
        classes: class table (`read_class_file`); needed for label images, unless their folder holds a file
            `classes.csv`, `.json` or `.txt`. Without it the other formats bring their own classes.

    Raises:
        SceneError: if the annotations or classes cannot be read or understood.
    """
    if not labels.exists():
        raise SceneError(f"Expected annotations at {labels}, found nothing; check the path.")
    jsons = _json_files(labels, classes)
    chosen = _guess(labels, jsons) if file_format == "auto" else file_format
    table = None if classes is None else read_class_file(classes)
    if chosen == "png":
        return read_png(_folder(labels, chosen), table or _table_beside(labels))
    if chosen == "voc":
        return read_voc(_folder(labels, chosen), table)
    if not jsons:
        raise SceneError(f"Expected a JSON file at or in {labels} for the format {chosen}, found none; check the path.")
    if chosen == "labelme":
        return read_labelme(jsons, table)
    if len(jsons) > 1:
        raise SceneError(
            f"Expected one COCO file, found {len(jsons)} JSON files in {labels} (such as {jsons[0].name} and "
            f"{jsons[1].name}); name one of them."
        )
    return read_coco(jsons[0], table)


def read_class_file(path: Path) -> ClassTable:
    """A class table from CSV or JSON (`ClassTable.load`), or from text: one name per line with the ids 0, 1, 2, ...

    In text, empty lines and LabelMe's `__ignore__` are passed over.

    Raises:
        SceneError: if the file cannot be understood.
    """
    if path.suffix.lower() != ".txt":
        return with_void_id(ClassTable.load(path))
    lines = (line.strip() for line in read_text(path).splitlines())
    return with_void_id(
        ClassTable.from_list([line for line in lines if line not in ("", _LABELME_IGNORE)], None, str(path))
    )


def _json_files(labels: Path, classes: Path | None) -> list[Path]:
    if labels.is_file():
        return [labels] if labels.suffix.lower() == ".json" else []
    kept_out = {None if classes is None else classes.resolve(), *((labels / name).resolve() for name in CLASS_FILES)}
    return sorted(path for path in labels.rglob("*.json") if path.resolve() not in kept_out)


def _guess(labels: Path, jsons: list[Path]) -> Format:
    if labels.is_dir() and (labels / LABEL_MAP_FILE).is_file():
        return "voc"
    if jsons:
        content = read_json(jsons[0])
        keys = content.keys() if isinstance(content, Mapping) else ()
        if "shapes" in keys:
            return "labelme"
        if "annotations" in keys:
            return "coco"
    elif labels.is_dir() and png_files(labels):
        return "png"
    found = f"neither shapes nor annotations in {jsons[0]}" if jsons else "neither"
    raise SceneError(
        f"Expected a COCO or LabelMe file (JSON), a folder with {LABEL_MAP_FILE} or one with PNGs at {labels}, found "
        f"{found}; check the path or name the format with --format."
    )


def _folder(labels: Path, chosen: Format) -> Path:
    if not labels.is_dir():
        raise SceneError(f"Expected a folder for the format {chosen}, found the file {labels}; name its folder.")
    return labels


def _table_beside(folder: Path) -> ClassTable:
    found = [folder / name for name in CLASS_FILES if (folder / name).is_file()]
    if len(found) != 1:
        raise SceneError(
            f"Expected one class list for the label images in {folder}, found {len(found)} of "
            f"{', '.join(CLASS_FILES)}; give it with --classes FILE."
        )
    return read_class_file(found[0])
