"""A page of pictures in one file: for each scene an image, its rendering and its classes, beside its scores."""

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from PIL import Image

from semantic_ns.io.writing import write_text
from semantic_ns.scene_batch.steps import DOCTOR_PICTURES, PICTURES
from semantic_ns.scene_batch.table import HEADER, Row, cells

PAGE = "results.html"
_WIDTH_PX = 720
_IMAGES = "eval_img_*.png"
_LEGEND = "eval_legend.png"
_STYLE = (
    "body{font-family:sans-serif;margin:1.5em}table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.4em;text-align:left;vertical-align:top}"
    "img{display:block;max-width:100%;margin-bottom:.3em}.failed{background:#fdd}.open{background:#ffd}"
)


def write_page(output: Path, rows: Sequence[Row], title: str) -> Path:
    """Write `results.html`, which needs no other file; returns its path.

    Args:
        output: Folder of the batch.
        rows: The scenes.
        title: Title of the page.
    """
    header = "".join(f"<th>{escape(name)}</th>" for name in (*HEADER, "pictures"))
    body = "\n".join(_row(row) for row in rows)
    write_text(
        output / PAGE,
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        "<p>Pictures are of the middle one of the scored images. Colour: true, rendered, difference. Classes: true, "
        "predicted, wrong pixels in red. A scene that was not scored shows some frames with their labels.</p>\n"
        f"<table><tr>{header}</tr>\n{body}\n</table></body></html>\n",
    )
    return output / PAGE


def _row(row: Row) -> str:
    said = "".join(f"<td>{escape(cell)}</td>" for cell in cells(row))
    images = "".join(
        f'<img src="{source}" alt="{escape(f"{row.task.name}: {path.stem}", quote=True)}">'
        for path in pictures_of(row.task.folder)
        if (source := as_data(path)) is not None
    )
    return f'<tr class="{row.status}">{said}<td>{images or "-"}</td></tr>'


def pictures_of(folder: Path) -> list[Path]:
    """Pictures of a scene: colour, classes and their names of the middle scored image, or else what the doctor saw."""
    images = sorted((folder / PICTURES).glob(_IMAGES))
    if images:
        middle = images[len(images) // 2]
        names = (middle.name, middle.name.replace("_img_", "_semantics_"), _LEGEND)
        found = [middle.with_name(name) for name in names]
    else:
        found = [folder / DOCTOR_PICTURES]
    return [path for path in found if path.is_file()]


def as_data(path: Path) -> str | None:
    """A picture as an address that holds it, at most 720 pixels wide; None for a file that is none."""
    with suppress(OSError, ValueError), Image.open(path) as image:
        small = image.convert("RGB")
        if small.width > _WIDTH_PX:
            small = small.resize(
                (_WIDTH_PX, max(1, round(small.height * _WIDTH_PX / small.width))), Image.Resampling.BOX
            )
        content = io.BytesIO()
        # Classes are few and flat colours, which a palette keeps small and sharp.
        few = small.quantize(256) if small.getcolors(256) is not None else None
        if few is not None:
            few.save(content, format="PNG", optimize=True)
            return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
        small.save(content, format="JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    return None
