"""Small files of annotation tools, as they write them: a chair of 16x24 pixels in an image of 48x36."""

import base64
import io
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 36
LEFT, TOP, RIGHT, BOTTOM = 6, 4, 30, 20
CORNERS = [[LEFT, TOP], [RIGHT, TOP], [RIGHT, BOTTOM], [LEFT, BOTTOM]]
IMAGE = "frame_00001.png"


def chair() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[TOP:BOTTOM, LEFT:RIGHT] = True
    return mask


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf8")
    return path


def cvat(shapes: str, image: str = IMAGE) -> str:
    labels = "<label><name>chair</name><color>#0a141e</color></label><label><name>lamp</name></label>"
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}'
        f'<image id="0" name="{image}" width="{WIDTH}" height="{HEIGHT}">{shapes}</image></annotations>'
    )


def cvat_points(points: Sequence[Sequence[float]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in points)


def cvat_polygon(z_order: int = 0, label: str = "chair") -> str:
    return (
        f'<polygon label="{label}" source="manual" occluded="0" points="{cvat_points(CORNERS)}" z_order="{z_order}">'
        "</polygon>"
    )


def cvat_mask() -> str:
    # One column more than the chair at the left, so that the code begins with a pixel outside in each row.
    width, height = RIGHT - LEFT, BOTTOM - TOP
    runs = ", ".join(f"1, {width}" for _ in range(height))
    return (
        f'<mask label="chair" rle="{runs}" left="{LEFT - 1}" top="{TOP}" width="{width + 1}" height="{height}" '
        'z_order="0"></mask>'
    )


def label_studio(*results: dict[str, Any], **task: Any) -> list[Any]:
    data = {"image": f"/data/upload/1/7f3c9a1b-{IMAGE}"}
    return [{"id": 7, "data": data, "annotations": [{"id": 1, "result": list(results)}], **task}]


def label_studio_polygon(label: str = "chair") -> dict[str, Any]:
    points = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in CORNERS]
    return label_studio_region("polygonlabels", points=points, closed=True, polygonlabels=[label])


def label_studio_region(kind: str, **value: Any) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {**size, "type": kind, "from_name": "label", "to_name": "image", "id": "x", "value": value}


def via(region: dict[str, Any]) -> dict[str, Any]:
    return {f"{IMAGE}1234": {"filename": IMAGE, "size": 1234, "regions": [region], "file_attributes": {}}}


def via_region(**outline: Any) -> dict[str, Any]:
    return {"shape_attributes": outline, "region_attributes": {"class": "chair"}}


def via_polygon() -> dict[str, Any]:
    xs, ys = np.transpose(CORNERS).tolist()
    return via_region(name="polygon", all_points_x=xs, all_points_y=ys)


def supervisely(*objects: dict[str, Any]) -> dict[str, Any]:
    size = {"width": WIDTH, "height": HEIGHT}
    return {"description": "", "tags": [], "size": size, "objects": list(objects)}


def supervisely_object(kind: str, points: Sequence[Sequence[float]], **entries: Any) -> dict[str, Any]:
    return {"classTitle": "chair", "geometryType": kind, "points": {"exterior": points, "interior": []}, **entries}


def supervisely_bitmap(mode: str) -> dict[str, Any]:
    part = Image.new(mode, (RIGHT - LEFT, BOTTOM - TOP), (255, 255, 255, 255) if mode == "RGBA" else 255)
    buffer = io.BytesIO()
    part.save(buffer, "PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"classTitle": "chair", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [LEFT, TOP]}}


def write_supervisely(folder: Path, *objects: dict[str, Any]) -> Path:
    classes = [{"title": "lamp", "shape": "any", "color": "#0000FF"}, {"title": "chair", "color": "#FF0000"}]
    write(folder / "meta.json", {"classes": classes, "tags": []})
    write(folder / "ds0" / "ann" / f"{IMAGE}.json", supervisely(*objects))
    return folder


def write_yolo(folder: Path, names: str = "names: [lamp, chair]\nnc: 2\n", file: str = "data.yaml") -> Path:
    values = " ".join(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in CORNERS)
    write(folder / file, names)
    write(folder / "train" / "labels" / "frame_00001.txt", f"1 {values}\n\n")
    return folder


def coco(segmentation: Any, **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": IMAGE, "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "chair", "supercategory": ""}, {"id": 2, "name": "lamp"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, "iscrowd": 0}],
        **changes,
    }


POLYGON = [float(value) for corner in CORNERS for value in corner]


def write_panoptic(folder: Path) -> Path:
    """The chair is segment 70000, the rest of the upper half segment 5, a lamp; below is no segment."""
    segments = np.zeros((HEIGHT, WIDTH), np.int64)
    segments[: HEIGHT // 2] = 5
    segments[chair()] = 70000
    channels = np.stack([segments >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
    (folder / "annotations" / "panoptic_default").mkdir(parents=True)
    Image.fromarray(channels).save(folder / "annotations" / "panoptic_default" / IMAGE)
    infos = [{"id": 70000, "category_id": 1}, {"id": 5, "category_id": 2}]
    content = coco(None, annotations=[{"image_id": 1, "file_name": IMAGE, "segments_info": infos}])
    write(folder / "annotations" / "panoptic_default.json", content)
    return folder


def labelme(*shapes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": IMAGE, "imageData": None, **size} | (
        changes
    )


def labelme_shape(points: Sequence[Sequence[float]], kind: str = "polygon", label: str = "chair") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}


def write_cityscapes(folder: Path) -> Path:
    """A floor with the chair before it, and what was deleted."""
    floor = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
    objects = [{"label": "floor", "polygon": floor}, {"label": "chair", "polygon": CORNERS}]
    objects.append({"label": "lamp", "polygon": floor, "deleted": 1})
    content = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}
    return write(folder / "gtFine" / "train" / "a" / f"{Path(IMAGE).stem}_gtFine_polygons.json", content)


def write_voc(folder: Path, label_map: str, colors: dict[str, tuple[int, int, int]]) -> Path:
    """Masks with the chair and the rest in the colours of `chair` and `rest`."""
    picture = np.where(chair()[..., None], colors["chair"], colors["rest"]).astype(np.uint8)
    (folder / "SegmentationClass").mkdir(parents=True)
    Image.fromarray(picture).save(folder / "SegmentationClass" / IMAGE)
    write(folder / "labelmap.txt", label_map)
    return folder


Make = Callable[[Path], Path]


def labelbox(*objects: dict[str, Any], **row: Any) -> str:
    """A line of an export: the objects of the latest of two labels of an image."""
    old = {"label_details": {"created_at": "2024-01-01T00:00:00.000+00:00"}, "annotations": {"objects": [{}]}}
    new = {"label_details": {"created_at": "2024-05-01T00:00:00.000+00:00"}, "annotations": {"objects": list(objects)}}
    content = {
        "data_row": {"id": "cl0", "external_id": IMAGE, "row_data": f"https://storage.labelbox.com/x/{IMAGE}?sig=1"},
        "media_attributes": {"height": HEIGHT, "width": WIDTH, "asset_type": "image"},
        "projects": {"cl1": {"name": "Rooms", "labels": [new, old]}},
        **row,
    }
    return json.dumps(content) + "\n"


def labelbox_object(name: str = "chair", **shape: Any) -> dict[str, Any]:
    return {"feature_id": "cl9", "name": name, "value": name, "classifications": [], **shape}


def labelbox_polygon(name: str = "chair") -> dict[str, Any]:
    return labelbox_object(name, annotation_kind="ImagePolygon", polygon=[{"x": x, "y": y} for x, y in CORNERS])
