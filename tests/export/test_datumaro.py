"""`datumaro`, another reader and writer of data sets, sees the masks that are exported, and its files are read.

It needs NumPy 2 and nerfstudio NumPy 1, so that it has an environment of its own. Without one these tests are skipped:

    python3.11 -m venv FOLDER && FOLDER/bin/pip install datumaro
    SEMANTIC_NS_DATUMARO=FOLDER/bin/python scripts/test -k datumaro
"""

import json
import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.export.annotation_files import AnnotationFiles, AnnotationFormat
from semantic_ns.export.outlines import outlines_of
from semantic_ns.labels.taxonomy import Taxonomy
from support.ragged_labels import ragged_labels

PYTHON = os.environ.get("SEMANTIC_NS_DATUMARO", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="SEMANTIC_NS_DATUMARO does not name the Python of an environment with datumaro"
)
JOBS = Path(__file__).parent.parent / "support" / "datumaro_jobs.py"
NAMES = ("wall", "chair", "Tür links")
COLORS = ((200, 9, 9), (9, 200, 9), (9, 9, 200))
TAXONOMY = Taxonomy((1, 2, 3), NAMES, COLORS, (True,) * 3, 0)
LABELS = {f"photo_{i}": ragged_labels(i) for i in range(3)}

READS = {"coco": "coco", "coco-panoptic": "coco_panoptic", "cvat": "cvat", "voc": "voc_segmentation"}
"""Formats that are exported, and what datumaro calls those of them that it reads."""
WRITES = {
    "coco": ("coco", False),
    "coco polygons": ("coco", True),
    "coco panoptic": ("coco_panoptic", False),
    "cvat": ("cvat", False),
    "cvat polygons": ("cvat", True),
    "voc": ("voc_segmentation", False),
}
"""What datumaro writes, and whether as outlines."""


def outlines() -> dict[str, list[Any]]:
    """The outlines of each class of each image, as a list of numbers."""
    return {
        name: [
            [number, outline.ravel().tolist()]
            for number in np.unique(labels[labels >= 0]).tolist()
            for outline in outlines_of(labels == number)
        ]
        for name, labels in LABELS.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is exported here and read by datumaro, `read_*`, and what it writes, `write_*`, all in one process."""
    folder = tmp_path_factory.mktemp("datumaro")
    np.savez(folder / "labels.npz", **cast(dict[str, Any], LABELS))
    (folder / "names.json").write_text(json.dumps(NAMES), "utf8")
    (folder / "outlines.json").write_text(json.dumps(outlines()), "utf8")
    jobs = []
    for ours, theirs in READS.items():
        place = folder / f"read_{ours}"
        files = AnnotationFiles(place, cast(AnnotationFormat, ours), TAXONOMY)
        (place / "images").mkdir(parents=True)  # without the photos it does not read COCO
        for name, labels in LABELS.items():
            files.add(f"{name}.png", labels)
            Image.new("RGB", (labels.shape[1], labels.shape[0])).save(place / "images" / f"{name}.png")
        files.finish()
        paths = {"folder": place, "arrays": f"{place}.npz", "names": f"{place}.json"}
        jobs.append({"action": "read", "format": theirs, **paths})
    for name, (theirs, are_outlines) in WRITES.items():
        place = folder / f"write_{name.replace(' ', '_')}"
        paths = {"folder": place, "arrays": folder / "labels.npz", "names": folder / "names.json"}
        further = {"outlines": folder / "outlines.json"} if are_outlines else {}
        jobs.append({"action": "write", "format": theirs, **paths, **further})
    # The XML of LabelMe 3.0, which CVAT writes too, is not read here: datumaro makes COCO of it.
    source = folder / "labelme_3"
    paths = {"arrays": folder / "labels.npz", "names": folder / "names.json"}
    jobs.append({"action": "write", "format": "label_me", "folder": source, **paths})
    jobs.append({"action": "convert", "format": "label_me", "source": source, "folder": folder / "write_labelme_3"})
    (folder / "jobs.json").write_text(json.dumps(jobs, default=str), "utf8")
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([PYTHON, JOBS, folder / "jobs.json"], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("file_format", READS)
def test_datumaro_reads_the_exported_masks(folder: Path, file_format: str) -> None:
    names = json.loads((folder / f"read_{file_format}.json").read_text("utf8"))
    with np.load(folder / f"read_{file_format}.npz") as arrays:
        read = {PurePosixPath(name).stem: labels for name, labels in arrays.items()}
    assert read.keys() == LABELS.keys()
    for name, labels in LABELS.items():
        found = np.array([*names, "-"])[read[name]]
        np.testing.assert_array_equal(np.where(found == "background", "-", found), np.array([*NAMES, "-"])[labels])


@pytest.mark.parametrize("name", [*WRITES, "labelme 3"])
def test_what_datumaro_writes_is_read(folder: Path, name: str) -> None:
    annotations = read_annotations(folder / f"write_{name.replace(' ', '_')}")
    images = {PurePosixPath(image.name).stem: image for image in annotations.images}
    assert images.keys() == LABELS.keys()
    names = np.array([*annotations.taxonomy.names, "-", "-"])
    assert set(annotations.taxonomy.names) - {"background"} == set(NAMES)
    for stem, labels in LABELS.items():
        height, width = labels.shape
        found = names[images[stem].read((width, height))]
        np.testing.assert_array_equal(np.where(found == "background", "-", found), np.array([*NAMES, "-"])[labels])
