"""Scenes without label images, for methods that know the classes from elsewhere."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semantic_ns.dataparsers.frame_paths import LabelFinder, frame_files
from semantic_ns.dataparsers.nerfstudio_semantic import require_source
from semantic_ns.dataparsers.transforms_file import read_frames
from semantic_ns.labels.taxonomy import Taxonomy


def has_label_images(data: Path) -> bool:
    """Whether a scene in nerfstudio's format or a COLMAP model has a label image of some frame.

    Raises:
        SceneError: if there is no such scene, or its file cannot be understood.
    """
    source = require_source(data)
    entries = read_frames(source.read(), source.path, source.further_folders).entries
    num_of_stem = Counter(Path(entry["file_path"]).stem for entry in entries)
    finder = LabelFinder(source.folder, num_of_stem)
    return any(frame_files(entry, num_of_stem, source.folder, finder).label is not None for entry in entries)


@contextmanager
def class_table_of(taxonomy: Taxonomy) -> Iterator[Path]:
    """A file with the class table of a taxonomy, which is gone afterwards."""
    classes = [
        {"id": number, "name": name, "color": list(color), "is_thing": is_thing}
        for number, name, color, is_thing in zip(
            taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing, strict=True
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes.json"
        path.write_text(json.dumps({"classes": classes, "void_id": list(taxonomy.void_source_ids)}), "utf8")
        yield path
