"""Pages of more scenes than one page holds: links, what is written again, and what is kept in memory."""

import gc
import os
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.scene_batch import index_page, page
from semantic_ns.scene_batch.index_page import PAGE, PAGES
from semantic_ns.scene_batch.page import write_pages
from semantic_ns.scene_batch.records import Record
from semantic_ns.scene_batch.summary import NUM_EXTREME, Summary
from semantic_ns.scene_batch.table import Row
from support.batch_steps import task

PER_PAGE = index_page.SCENES_PER_PAGE


def row(tmp_path: Path, number: int, score: float | None = None, reason: str = "") -> Row:
    one = task(tmp_path, f"room_{number}")
    scores = {} if score is None else {"miou_present": score}
    return Row(one, (Record("train", "failed" if reason else "done", 0, (3600.0,), 1.0, reason),), scores)


def rows_of(tmp_path: Path, count: int) -> list[Row]:
    return [row(tmp_path, number, number / count) for number in range(1, count + 1)]


def pages(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((tmp_path / PAGES).iterdir())}


def test_every_scene_is_on_one_page_and_every_link_leads_to_something(tmp_path: Path) -> None:
    count = 2 * PER_PAGE + 1
    write_pages(tmp_path, rows_of(tmp_path, count), "Scenes")
    found = pages(tmp_path)
    assert len(found) == 3
    shown = [name for text in found.values() for name in re.findall(rb"<td>(room_\d+)</td>", text)]
    assert shown == [f"room_{number}".encode() for number in range(1, count + 1)]
    for place in (tmp_path / PAGE, *(tmp_path / PAGES).iterdir()):
        links = re.findall(r'href="([^"]*)"', place.read_text())
        assert links
        for link in links:
            target, _, anchor = link.partition("#")
            text = (place.parent / target).read_text()
            assert not anchor or f'id="{anchor}"' in text


def test_the_scenes_of_one_page_are_below_the_numbers_and_need_no_folder(tmp_path: Path) -> None:
    write_pages(tmp_path, rows_of(tmp_path, PER_PAGE), "Scenes")
    text = (tmp_path / PAGE).read_text()
    assert text.count("<tr id=") == PER_PAGE
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(re.findall(r'id="([^"]*)"', text))
    assert not (tmp_path / PAGES).exists()


def test_a_page_is_written_again_only_where_a_scene_of_it_changed(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 3 * PER_PAGE)
    picture = rows[PER_PAGE].task.folder / "doctor.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    write_pages(tmp_path, rows, "Scenes")

    def rewritten() -> set[str]:
        for path in (tmp_path / PAGES).iterdir():
            os.utime(path, ns=(0, 0))
        write_pages(tmp_path, rows, "Scenes")
        return {path.name for path in (tmp_path / PAGES).iterdir() if path.stat().st_mtime_ns}

    assert rewritten() == set()
    rows[0] = row(tmp_path, 1, 0.25)
    assert rewritten() == {index_page.page_name(1)}
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture)
    assert rewritten() == {index_page.page_name(2)}
    rows.append(row(tmp_path, len(rows) + 1))  # the last page leads to the new one
    assert rewritten() == {index_page.page_name(3), index_page.page_name(4)}


def test_a_page_that_no_scene_is_on_any_more_is_removed(tmp_path: Path) -> None:
    write_pages(tmp_path, rows_of(tmp_path, 2 * PER_PAGE), "Scenes")
    (tmp_path / PAGES / "notes.html").touch()
    write_pages(tmp_path, rows_of(tmp_path, 1), "Scenes")
    assert set(pages(tmp_path)) == {"notes.html"}


def test_rows_of_two_pages_at_most_are_kept_while_pages_are_written(tmp_path: Path) -> None:
    kept: list[weakref.ref[Row]] = []
    most = 0

    def rows() -> Iterator[Row]:
        nonlocal most
        for number in range(1, 5 * PER_PAGE):
            if number % PER_PAGE == 1:
                gc.collect()
                most = max(most, sum(each() is not None for each in kept))
            new = row(tmp_path, number, 0.5)
            kept.append(weakref.ref(new))
            yield new

    write_pages(tmp_path, rows(), "Scenes")
    assert most <= 2 * PER_PAGE


def test_the_worst_and_the_best_scenes_are_named_once_each_with_small_pictures(tmp_path: Path) -> None:
    count = PER_PAGE + 1
    rows = rows_of(tmp_path, count)
    Image.fromarray(np.zeros((30, 900, 3), np.uint8)).save(rows[0].task.folder / "doctor.png")
    widths: list[int] = []

    def draw(path: Path, width: int) -> str | None:
        widths.append(width)
        return page.as_data(path, width)

    summary = write_pages(tmp_path, rows, "Scenes", draw)
    spread = summary.spreads["miou_present"]
    assert [each.place.number for each in spread.worst] == list(range(1, NUM_EXTREME + 1))
    assert [each.place.number for each in spread.best] == list(range(count, count - NUM_EXTREME, -1))
    assert len(widths) == 2
    assert widths[0] > widths[1]
    assert (tmp_path / PAGE).read_text().count("<img") == 1


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 1), (20, 10), (50, 10)])
def test_no_scene_is_among_the_worst_and_the_best_even_where_all_are_equal(
    tmp_path: Path, count: int, expected: int
) -> None:
    summary = Summary()
    for number in range(count):
        summary.add(Row(task(tmp_path, f"room_{number}"), (Record("eval", "done"),), {"miou_present": 0.5}))
    spread = summary.spreads["miou_present"]
    worst, best = ({each.place.number for each in chosen} for chosen in (spread.worst, spread.best))
    assert len(worst) == len(best) == expected
    assert not worst & best


def test_a_larger_error_is_worse_and_every_value_is_in_a_part_of_the_scale(tmp_path: Path) -> None:
    summary = Summary()
    values = (1e-6, 0.001, 0.03, 0.05, 9.0, 1e6, float("nan"), float("inf"))
    for number, value in enumerate(values):
        summary.add(Row(task(tmp_path, f"room_{number}"), (Record("eval", "done"),), {"depth_l1": value}))
    spread = summary.spreads["depth_l1"]
    assert spread.count == sum(spread.parts.values()) == 6
    assert [each.value for each in spread.worst] == [1e6, 9.0, 0.05]
    assert [each.value for each in spread.best] == [1e-6, 0.001, 0.03]
    edges = spread.kind.edges
    assert sorted(edges[part] for part in spread.parts.elements()) == [0.001, 0.001, 0.02, 0.05, 5.0, 5.0]


def test_failures_that_differ_in_numbers_paths_and_names_alone_are_one_reason(tmp_path: Path) -> None:
    summary = Summary()
    summary.add(row(tmp_path, 1, 0.5))
    for number in range(2, 9):
        summary.add(row(tmp_path, number, reason=f"{tmp_path}/room_{number}/a.png has {number} channels."))
    summary.add(row(tmp_path, 9, reason="It was ended by signal 9 (SIGKILL)."))
    first, second = summary.failures()
    assert (first.count, first.reason) == (7, f"train: {tmp_path}/room_2/a.png has 2 channels.")
    assert [place.number for place in first.examples] == [2, 3, 4]
    assert (second.count, summary.states["failed"], summary.states["done"]) == (1, 8, 1)
    assert summary.seconds == 9 * 3600


def test_reasons_and_names_are_text_on_the_page(tmp_path: Path) -> None:
    one = Row(task(tmp_path, "<i>"), (Record("train", "failed", reason="<script>"),), {})
    write_pages(tmp_path, [one], "<title>")
    text = (tmp_path / PAGE).read_text()
    assert not re.search(r"<(i|script)>|<h1><title>", text)
    assert text.count("&lt;i&gt;") == 2
