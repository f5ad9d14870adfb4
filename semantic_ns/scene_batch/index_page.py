"""The content of `results.html`: a batch in numbers, and the way to its scenes."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from semantic_ns.scene_batch.summary import Extreme, Failure, Place, Spread, Summary

PAGE = "results.html"
PAGES = "results_pages"
"""Folder of the pages of scenes."""
SCENES_PER_PAGE = 100
ABOUT_PICTURES = (
    "Pictures are of the middle one of the scored images. Colour: true, rendered, difference. Classes: true, "
    "predicted, wrong pixels in red. A scene that was not scored shows some frames with their labels."
)
STYLE = (
    "body{font-family:sans-serif;margin:1.5em}table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.4em;text-align:left;vertical-align:top;overflow-wrap:break-word}"
    "td:not(:last-child){max-width:32em}"
    "img{display:block;max-width:100%;margin-bottom:.3em}.failed{background:#fdd}.open{background:#ffd}.unlisted{color:#777}"
    ".parts td{border:0;padding:.1em .4em;white-space:nowrap}.parts .bar{background:#69c;height:1em}"
    ".parts td:last-child{width:24em}.side{display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start}"
    ".pages{columns:16em;list-style-position:inside;padding:0}:target{outline:3px solid #69c}"
)
MOST_REASONS = 20
"""Reasons of failures that are shown."""
_HOUR_S = 3600.0

Picture = Callable[[Place], str | None]
"""Gives a small picture of a scene as an address that holds it."""


def page_name(number: int) -> str:
    """The file name of a page of scenes; pages are numbered from 1."""
    return f"page_{number:06}.html"


def anchor(place: Place) -> str:
    """The name of the row of a scene in its page."""
    return f"scene-{place.number}"


def top(title: str) -> str:
    """The beginning of a page, after the line with its type."""
    return (
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n<style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>\n"
    )


def content(summary: Summary, starts: Sequence[Place], scenes: str, title: str, picture: Picture | None) -> str:
    """The page.

    Args:
        summary: The batch in numbers.
        starts: The first scene of each page of scenes; none where all are on this page.
        scenes: The scenes of this page, as HTML.
        title: Title of the page.
        picture: Gives a small picture of a scene for the lists of the worst and the best; None for none.
    """
    address = _Addresses(bool(starts))
    parts = [f"<!DOCTYPE html>\n{top(title)}", _totals(summary), *_failures(summary.failures(), address)]
    for spread in summary.spreads.values():
        parts += _spread(spread, address, picture)
    parts.append("<h2>Scenes</h2>\n")
    parts += [*_list_of_pages(starts)] if starts else [scenes]
    return "".join([*parts, "</body></html>\n"])


class _Addresses:
    """Where the rows of scenes are.

    Args:
        is_paged: Whether they are on pages of their own.
    """

    def __init__(self, is_paged: bool) -> None:
        self._is_paged = is_paged

    def link(self, place: Place) -> str:
        """A link with the name of a scene."""
        page = f"{PAGES}/{page_name((place.number - 1) // SCENES_PER_PAGE + 1)}" if self._is_paged else ""
        return f'<a href="{page}#{anchor(place)}">{escape(place.name)}</a>'


def _totals(summary: Summary) -> str:
    states = ", ".join(f"{count:,} {escape(state)}" for state, count in sorted(summary.states.items()))
    hours = f"{summary.seconds / _HOUR_S:,.1f} hours of steps"
    remark = f"<p>{escape(summary.remark())}</p>\n" if summary.remark() else ""
    return f"<p>{summary.num_scenes:,} scenes: {states or 'none'}; {hours}.</p>\n{remark}"


def _failures(failures: Sequence[Failure], address: _Addresses) -> Iterator[str]:
    if not failures:
        return
    yield (
        "<h2>Failures by reason</h2>\n<p>Reasons that differ in numbers and paths alone are one; the sentence is that "
        "of the first scene.</p>\n<table><tr><th>scenes</th><th>reason</th><th>such as</th></tr>\n"
    )
    for failure in failures[:MOST_REASONS]:
        examples = ", ".join(map(address.link, failure.examples))
        yield f"<tr><td>{failure.count:,}</td><td>{escape(failure.reason)}</td><td>{examples}</td></tr>\n"
    yield "</table>\n"
    if rest := failures[MOST_REASONS:]:
        count = sum(failure.count for failure in rest)
        yield f"<p>{count:,} more scenes failed for {len(rest):,} other reasons, see results.csv.</p>\n"


def _spread(spread: Spread, address: _Addresses, picture: Picture | None) -> Iterator[str]:
    kind = spread.kind
    yield f"<h2>{escape(kind.title)}</h2>\n<p>Mean {spread.mean:.{kind.digits}f} over {spread.count:,} scenes.</p>\n"
    yield '<div class="side"><table class="parts">\n'
    largest, last = max(spread.parts.values()), len(kind.edges) - 2
    for part in range(min(spread.parts), max(spread.parts) + 1):
        low, high = (f"{kind.edges[part + more]:g}" for more in (0, 1))
        name = f"below {high}" if part == 0 and kind.edges[0] else f"{low} to {high}"
        name = f"from {low}" if part == last else name
        width = 100 * spread.parts[part] / largest
        bar = f'<div class="bar" style="width:{width:.1f}%"></div>'
        yield f"<tr><td>{name}</td><td>{spread.parts[part]:,}</td><td>{bar}</td></tr>\n"
    yield "</table>\n"
    for title, chosen in (("worst", spread.worst), ("best", spread.best)):
        if chosen:
            yield f"<table><tr><th>{title}</th><th>{escape(kind.title)}</th></tr>\n"
            yield from (_extreme(each, kind.digits, address, picture) for each in chosen)
            yield "</table>\n"
    yield "</div>\n"


def _extreme(each: Extreme, digits: int, address: _Addresses, picture: Picture | None) -> str:
    source = None if picture is None else picture(each.place)
    image = "" if source is None else f'<img src="{source}" alt="">'
    return f"<tr><td>{address.link(each.place)}{image}</td><td>{each.value:.{digits}f}</td></tr>\n"


def _list_of_pages(starts: Sequence[Place]) -> Iterator[str]:
    yield f"<p>{len(starts):,} pages of {SCENES_PER_PAGE} scenes, each from the scene on that is named.</p>\n"
    yield '<ol class="pages">\n'
    for number, place in enumerate(starts, 1):
        yield f'<li><a href="{PAGES}/{page_name(number)}">{escape(place.name)}</a></li>\n'
    yield "</ol>\n"
