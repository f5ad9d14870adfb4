"""Pages of pictures: for each scene an image, its rendering and its classes, beside its scores.

`results.html` sums up the batch. Few scenes follow there, and the page needs no other file; more are on pages of
`SCENES_PER_PAGE` scenes in a folder beside it, to which it has links. A page is written again only where its scenes
changed.
"""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from html import escape
from itertools import islice
from pathlib import Path

from PIL import Image

from semantic_ns.io.writing import replacing, write_text
from semantic_ns.scene_batch import index_page
from semantic_ns.scene_batch.index_page import PAGE, PAGES, SCENES_PER_PAGE, STYLE, page_name
from semantic_ns.scene_batch.steps import DOCTOR_PICTURES, PICTURES
from semantic_ns.scene_batch.summary import Place, Summary
from semantic_ns.scene_batch.table import HEADER, Row, cells

_WIDTH_PX = 720
_SMALL_WIDTH_PX = 240
_IMAGES = "eval_img_*.png"
_LEGEND = "eval_legend.png"
_MARK_BYTES = 200
"""In so many bytes of a page is the line that says which content it was made from."""
Draw = Callable[[Path, int], str | None]
"""Gives a picture of a width in pixels at most as an address that holds it; None for a file that is no picture."""


def as_data(path: Path, width: int = _WIDTH_PX) -> str | None:
    """A picture as an address that holds it; None for a file that is none.

    Args:
        path: The picture.
        width: Its largest width, pixels.
    """
    with suppress(OSError, ValueError), Image.open(path) as image:
        small = image.convert("RGB")
        if small.width > width:
            small = small.resize((width, max(1, round(small.height * width / small.width))), Image.Resampling.BOX)
        content = io.BytesIO()
        # Classes are few and flat colours, which a palette keeps small and sharp.
        few = small.quantize(256) if small.getcolors(256) is not None else None
        if few is not None:
            few.save(content, format="PNG", optimize=True)
            return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
        small.save(content, format="JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    return None


def write_pages(output: Path, rows: Iterable[Row], title: str, draw: Draw = as_data) -> Summary:
    """Write `results.html`, and of many scenes the pages that it leads to; returns what it sums up.

    No more than the scenes of a page are kept in memory at a time.

    Args:
        output: Folder of the batch.
        rows: The scenes.
        title: Title of the pages.
        draw: Gives a picture as an address.
    """
    summary, starts, scenes = Summary(), list[Place](), ""
    chunks = _chunks(rows)
    chunk, following = next(chunks, []), next(chunks, None)
    is_paged = following is not None
    while chunk:
        numbered = [(summary.add(row), row) for row in chunk]
        starts.append(numbered[0][0])
        if is_paged:
            _write_page(output, len(starts), numbered, following is not None, title, draw)
        else:
            scenes = "".join(_table(numbered, draw))
        chunk, following = following, next(chunks, None)
    _remove_pages(output, len(starts) if is_paged else 0)
    picture = _first_picture(draw) if is_paged else None
    write_text(output / PAGE, index_page.content(summary, starts if is_paged else [], scenes, title, picture))
    return summary


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while chunk := list(islice(left, SCENES_PER_PAGE)):
        yield chunk


def _write_page(
    output: Path, number: int, rows: Sequence[tuple[Place, Row]], has_next: bool, title: str, draw: Draw
) -> None:
    """Write a page of scenes, unless the one that is there was made from the same content."""
    first, last = rows[0][0].number, rows[-1][0].number
    links = [(f"../{PAGE}", "all scenes"), *([(page_name(number - 1), "previous")] if number > 1 else [])]
    links += [(page_name(number + 1), "next")] if has_next else []
    line = " | ".join(f'<a href="{address}">{escape(text)}</a>' for address, text in links)
    heading = f"{title}: {first} to {last}"
    top = index_page.top(heading) + f"<p>{line}</p>\n"
    path = output / PAGES / page_name(number)
    mark = f"<!-- made from {_digest(top, rows)} -->"
    with suppress(OSError), path.open("rb") as file:
        if mark.encode() in file.read(_MARK_BYTES):
            return
    with replacing(path) as temporary, temporary.open("w", encoding="utf8") as file:
        file.write(f"<!DOCTYPE html>\n{mark}\n{top}")
        file.writelines(_table(rows, draw))
        file.write(f"<p>{line}</p>\n</body></html>\n")


def _digest(top: str, rows: Sequence[tuple[Place, Row]]) -> str:
    """A number of what a page is made from: its frame, what the tables say, and the sizes and times of pictures."""
    found = blake2b(repr((top, STYLE, index_page.ABOUT_PICTURES, HEADER)).encode(), digest_size=16)
    for place, row in rows:
        pictures = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in pictures_of(row.task.folder)]
        found.update(repr((place.number, row.status, cells(row), pictures)).encode("utf8", errors="replace"))
    return found.hexdigest()


def _remove_pages(output: Path, num_pages: int) -> None:
    """Remove pages of an earlier call beyond those that there are."""
    written = {page_name(number) for number in range(1, num_pages + 1)}
    for path in (output / PAGES).glob("page_*.html"):
        if path.name not in written:
            path.unlink()


def _table(rows: Sequence[tuple[Place, Row]], draw: Draw) -> Iterator[str]:
    header = "".join(f"<th>{escape(name)}</th>" for name in (*HEADER, "pictures"))
    yield f"<p>{index_page.ABOUT_PICTURES}</p>\n<table><tr>{header}</tr>\n"
    for place, row in rows:
        yield f"{_row(place, row, draw)}\n"
    yield "</table>\n"


def _row(place: Place, row: Row, draw: Draw) -> str:
    said = "".join(f"<td>{escape(cell)}</td>" for cell in cells(row))
    images = "".join(
        f'<img src="{source}" alt="{escape(f"{row.task.name}: {path.stem}", quote=True)}">'
        for path in pictures_of(row.task.folder)
        if (source := draw(path, _WIDTH_PX)) is not None
    )
    return f'<tr id="{index_page.anchor(place)}" class="{row.status}">{said}<td>{images or "-"}</td></tr>'


def _first_picture(draw: Draw) -> Callable[[Place], str | None]:
    def picture(place: Place) -> str | None:
        return next((draw(path, _SMALL_WIDTH_PX) for path in pictures_of(place.folder)), None)

    return picture


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
