"""A small folder of annotations for each format, and what becomes of annotations that are read whole."""

import base64
import io
import shutil
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import support.tool_files as files
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.placement import draw_for_frame
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco, encode_label_studio
from support.tool_files import CORNERS, HEIGHT, IMAGE, POLYGON, WIDTH, write
from support.tool_samples import via_3_csv, via_csv, via_of_version_3


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def label_studio(folder: Path) -> Path:
    brush = files.label_studio_region(
        "brushlabels", format="rle", rle=encode_label_studio(files.chair()), brushlabels=["lamp"]
    )
    return write(folder / "a.json", files.label_studio(files.label_studio_polygon(), brush))


def coco(folder: Path) -> Path:
    content = files.coco([POLYGON])
    content["annotations"].append({**content["annotations"][0], "segmentation": encode_coco(files.chair())})
    return write(folder / "a.json", content)


def labelme(folder: Path) -> Path:
    mask = files.labelme_shape([[6, 4], [29, 19]], "mask", "lamp")
    mask["mask"] = base64.b64encode(png(np.full((16, 24), 255, np.uint8))).decode()
    circle = files.labelme_shape([[9, 9], [12, 9]], "circle")
    return write(folder / "a.json", files.labelme(files.labelme_shape(CORNERS), mask, circle))


def cvat_video(folder: Path) -> Path:
    box = '<box frame="{}" outside="0" keyframe="1" xtl="{}" ytl="0" xbr="40" ybr="36" rotation="3" z_order="0"/>'
    meta = "<meta><task><size>5</size><original_size><width>48</width><height>36</height></original_size></task></meta>"
    track = f'<track id="0" label="chair">{box.format(0, 2)}{box.format(3, 9)}</track>'
    return write(folder / "a.xml", f"<annotations>{meta}{track}</annotations>")


def voc(folder: Path) -> Path:
    label_map = "# label:color_rgb\nbackground:0,0,0::\nchair:9,9,99::\n"
    return files.write_voc(folder, label_map, {"chair": (9, 9, 99), "rest": (0, 0, 0)})


def label_images(folder: Path) -> Path:
    write(folder / "classes.txt", "wall\nchair\n")
    (folder / IMAGE).write_bytes(png(files.chair().astype(np.uint8)))
    return folder


def label_arrays(folder: Path) -> Path:
    write(folder / "classes.csv", "id,name\n0,wall\n1,chair\n")
    np.save(folder / "frame_00001.npy", files.chair().astype(np.int64))
    return folder


def packed(folder: Path) -> Path:
    """An archive of a file per image, as CVAT exports masks, in place of its content."""
    voc(folder / "content")
    path = shutil.make_archive(str(folder / "export"), "zip", folder / "content")
    shutil.rmtree(folder / "content")
    return Path(path)


SAMPLES: dict[str, files.Make] = {
    "coco": coco,
    "panoptic": files.write_panoptic,
    "labelme": labelme,
    "cityscapes": files.write_cityscapes,
    "cvat": lambda folder: write(folder / "a.xml", files.cvat(files.cvat_polygon() + files.cvat_mask())),
    "cvat video": cvat_video,
    "label studio": label_studio,
    "via": lambda folder: write(folder / "a.json", files.via(files.via_polygon())),
    "via 3": via_of_version_3(7, *(value for corner in CORNERS for value in corner)),
    "via csv": via_csv,
    "via 3 csv": via_3_csv,
    "labelbox": lambda folder: write(
        folder / "a.ndjson",
        files.labelbox(
            files.labelbox_polygon(),
            files.labelbox_object("lamp", bounding_box={"top": 1, "left": 2, "height": 3, "width": 4}),
        ),
    ),
    "supervisely": lambda folder: files.write_supervisely(
        folder, files.supervisely_object("polygon", CORNERS), files.supervisely_bitmap("RGBA")
    ),
    "yolo": files.write_yolo,
    "voc": voc,
    "png": label_images,
    "npy": label_arrays,
    "zip": packed,
}


def outcome(labels: Path, color: Path) -> str:
    """The sentence, or `right` if there are classes for every pixel; anything else fails.

    Args:
        labels: the annotations; a folder with one zip file in it stands for this file.
        color: colour image of 48x36 pixels, the frame that is annotated.
    """
    if labels.is_dir() and len(archives := list(labels.glob("*.zip"))) == 1:
        labels = archives[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            annotations = read_annotations(labels)
            for image in annotations.images[:10]:
                drawn = draw_for_frame(image, color, False, annotations.notes)
                assert drawn.shape == (HEIGHT, WIDTH)
                assert -2 <= drawn.min() <= drawn.max() < annotations.taxonomy.num_classes
            assert all("\n" not in line for line in annotations.notes.lines())
        except SceneError as error:
            message = str(error)
            assert message.startswith("Expected "), message
            assert "found" in message, message
            assert message.isprintable(), message
            assert len(message) < 10_000, message
            message.encode("utf8")
            return message
    return "right"
