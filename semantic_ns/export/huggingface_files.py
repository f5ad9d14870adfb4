"""A scene as a folder for Hugging Face's `datasets`: images with a line of metadata for each, and a data card.

The layout is the one that its `imagefolder` builder reads without a script: a folder for each split with images and
`metadata.jsonl`, in which names that end in `file_name` are of images. Every line has the same entries, as the builder
asks for: where only some frames have labels, depth or a mask, the others have images that say as much, of void pixels
alone, of depth 0 (unknown) and of 255 (used).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.scene_splits import Split
from semantic_ns.errors import SceneError
from semantic_ns.export.dataset_files import DISTORTION, DatasetWriter, camera_entry, poses_of
from semantic_ns.io.image_names import names_of_images
from semantic_ns.io.writing import write_json, write_png, write_text
from semantic_ns.labels.label_files import class_table, label_image

SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}
"""The names of the splits of a scene, and those that the hub knows."""
METADATA_FILE = "metadata.jsonl"
CARD_FILE = "README.md"
UNKNOWN_LICENSE = "unknown"
_COLUMNS = {
    "file_path": "file_name",
    "semantics_path": "label_file_name",
    "depth_file_path": "depth_file_name",
    "mask_path": "mask_file_name",
}
_TASKS = {"semantics_path": "image-segmentation", "depth_file_path": "depth-estimation"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


@dataclass(frozen=True)
class Provenance:
    """What the card says of where a data set came from.

    Attributes:
        name: Name of the scene.
        is_rendered: Whether labels and depth are what a trained run renders, not the scene's own.
        license: Licence under which the images may be used, as the hub names it.
    """

    name: str
    is_rendered: bool
    license: str = UNKNOWN_LICENSE


def refuse_license(text: str) -> None:
    """Check the name of a licence.

    Raises:
        SceneError: if it is not one word, as the hub's names are.
    """
    if not text.isprintable() or len(text.split()) != 1:
        raise SceneError(
            f"Expected a licence as the Hugging Face hub names it, such as cc-by-4.0 or other, as --license, found "
            f"{text!r}; correct it."
        )


def checksum_of(folder: Path) -> str:
    """SHA-256 of the names and checksums of all files of a folder in their order, hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        own = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{own}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True, eq=False)
class HuggingFaceWriter(DatasetWriter):
    """Writes frames as examples of splits, and a card.

    Attributes:
        provenance: What is said of the origin.
    """

    provenance: Provenance = field(kw_only=True)

    def write(self, splits: dict[str, Split], folder: Path) -> int:
        """Write a folder for each split, `classes.json` and `README.md` into a folder.

        A frame of several splits is written in the first alone, so that no example of a test was trained on.

        Args:
            splits: the splits by name, see `read_splits`.
            folder: an existing folder.

        Returns:
            The number of frames.

        Raises:
            SceneError: if a frame is damaged, or its camera has no model in nerfstudio's format.
        """
        first: dict[Path, tuple[str, int]] = {}
        for name, split in splits.items():
            for index, image in enumerate(split.dataset.image_filenames):
                first.setdefault(image, (name, index))
        names = dict(zip(first, names_of_images(list(first)), strict=True))
        poses = {name: poses_of(split) for name, split in splits.items()}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in splits}
        for image, (name, index) in self.track(list(first.items())):
            dataset, file_name = splits[name].dataset, f"{names[image]}.png"
            entry = self.write_frame(splits[name], index, file_name, folder / SPLIT_NAMES[name])
            camera = camera_entry(dataset.cameras[index])
            lens = {key: camera.pop(key, 0.0) for key in DISTORTION}
            pose = poses[name][index].tolist()
            rows[name].append({"name": names[image], **entry, **camera, **lens, "transform_matrix": pose})
        has = {path: any(path in row for listed in rows.values() for row in listed) for path in _COLUMNS}
        for name, listed in rows.items():
            if listed:
                self._finish_split(folder / SPLIT_NAMES[name], sorted(listed, key=lambda row: row["file_path"]), has)
        counts = {SPLIT_NAMES[name]: len(listed) for name, listed in rows.items() if listed}
        if has["semantics_path"]:
            write_json(folder / "classes.json", class_table(self.taxonomy))
        has_unknown_scale = bool(splits["train"].dataset.metadata.get(keys.HAS_UNKNOWN_SCALE, False))
        write_text(folder / CARD_FILE, self._card(counts, has, has_unknown_scale, checksum_of(folder)))
        return sum(counts.values())

    def _finish_split(self, folder: Path, rows: list[dict[str, Any]], has: dict[str, bool]) -> None:
        lines = []
        for row in rows:
            line = {"name": row["name"], **self._files(folder, row, has)}
            if has["semantics_path"]:
                line["has_label"] = "semantics_path" in row
            line |= {key: value for key, value in row.items() if key not in _COLUMNS}
            lines.append(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
        write_text(folder / METADATA_FILE, "".join(lines))

    def _files(self, folder: Path, row: dict[str, Any], has: dict[str, bool]) -> dict[str, str]:
        shape = row["h"], row["w"]
        nothing: dict[str, Callable[[], np.ndarray]] = {
            "semantics_path": lambda: label_image(np.full(shape, -1), self.taxonomy),
            "depth_file_path": lambda: np.zeros(shape, np.uint16),
            "mask_path": lambda: np.full(shape, 255, np.uint8),
        }
        found = {}
        for key, column in _COLUMNS.items():
            if has[key] and key not in row:
                row_folder = {"semantics_path": "semantics", "depth_file_path": "depth", "mask_path": "masks"}[key]
                path = f"{row_folder}/{Path(row['file_path']).name}"
                write_png(folder / path, nothing[key]())
                found[column] = path
            elif has[key]:
                found[column] = row[key]
        return found

    def _card(self, counts: dict[str, int], has: dict[str, bool], has_unknown_scale: bool, checksum: str) -> str:
        total = sum(counts.values())
        lines = ["---", f"license: {json.dumps(self.provenance.license)}"]
        lines += [f"pretty_name: {json.dumps(self.provenance.name, ensure_ascii=False)}"]
        tasks = [task for key, task in _TASKS.items() if has[key]] or ["image-to-3d"]
        lines += ["task_categories:", *(f"- {task}" for task in tasks)]
        lines += ["size_categories:", f"- {next((name for most, name in _SIZES if total < most), 'n>100K')}"]
        # load_dataset keeps what it read under the name of the folder and the content of this list: without the
        # checksum it would give the images of one folder for those of another of the same name.
        lines += ["configs:", "- config_name: default", f"  description: SHA-256 {checksum}", "  data_files:"]
        for name in counts:
            lines += [f"  - split: {name}", f"    path: {name}/**"]
        taxonomy = self.taxonomy
        if has["semantics_path"]:
            classes = zip(taxonomy.source_ids, taxonomy.names, strict=True)
            lines += ["class_names:"]
            lines += [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in classes]
        return "\n".join([*lines, "---", "", *self._text(counts, has, has_unknown_scale)]) + "\n"

    def _text(self, counts: dict[str, int], has: dict[str, bool], has_unknown_scale: bool) -> list[str]:
        unit, units = ("unit of the poses", "units of the poses, whose scale is unknown")
        if not has_unknown_scale:
            unit, units = "metre", "metres"
        listed = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        lines = [
            f"# {self.provenance.name}",
            "",
            f"Posed images of one scene: {listed}. No frame is in two splits.{self._origin(has)}",
            "",
            f"Licence: {self.provenance.license}.",
            "",
            "## Columns",
            "",
            "| column | content |",
            "|---|---|",
            "| `image` | colour image |",
        ]
        if has["semantics_path"]:
            voids = ", ".join(map(str, self.taxonomy.void_source_ids))
            lines += [
                f"| `label` | class id of each pixel, see the table below; void (not labelled) is {voids} |",
                "| `has_label` | false for a frame without labels, whose `label` is void everywhere |",
            ]
        if has["depth_file_path"]:
            lines += [
                f"| `depth` | planar depth (along the optical axis) in thousandths of a {unit}; 0 is unknown, as "
                "is all beyond 65.535 |"
            ]
        if has["mask_path"]:
            lines += ["| `mask` | 0 where a pixel is not to be used |"]
        lines += [
            "| `name` | name of the frame |",
            "| `transform_matrix` | camera to world, 4 x 4; x right, y up, the camera looks along -z (OpenGL) |",
            "| `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h` | focal lengths, principal point and size in pixels; the centre of "
            "the first pixel is (0.5, 0.5) |",
            "| `camera_model`, `k1` to `k4`, `p1`, `p2` | model and distortion of the lens, as in nerfstudio |",
            "",
            f"Positions are in {units}, in the world of the scene's files.",
        ]
        if has["semantics_path"]:
            rows = class_table(self.taxonomy)["classes"]
            lines += ["", "## Classes", "", "| id | name | colour | thing |", "|---|---|---|---|"]
            lines += [
                f"| {row['id']} | {row['name'].replace('|', chr(92) + '|')} | {tuple(row['color'])} | "
                f"{'yes' if row['is_thing'] else 'no'} |"
                for row in rows
            ]
        return lines

    def _origin(self, has: dict[str, bool]) -> str:
        words = {"semantics_path": "labels", "depth_file_path": "depth"}
        known = " and ".join(word for key, word in words.items() if has[key]).capitalize()
        if not known:
            return ""
        if self.provenance.is_rendered:
            return f" {known} were rendered at the poses of the images by a trained run: they are predictions."
        return f" {known} are those of the scene's files."
