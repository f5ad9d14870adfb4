"""Text and JSON files of the user, read so that a mistake in them is told with its line; tables in markdown."""

import codecs
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError

MAX_TEXT_BYTES = 256 * 2**20
"""Size of the largest text file that is read, since parsed text takes many times the memory."""


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, with or without a byte order mark, or of one in UTF-16 with its mark.

    Raises:
        SceneError: if the file is missing, too large, cannot be read or is not UTF-8 (names the line).
    """
    content = _read_bytes(path)
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SceneError(
            f"Expected UTF-8 text in {path}, found a byte at line {line} that is not; save the file as UTF-8."
        ) from error


def read_text_of_any_encoding(path: Path) -> tuple[str, str | None]:
    """The content of a text file that a person wrote, whose encoding may be that of an older Windows.

    UTF-8 and UTF-16 with its mark are tried first, then UTF-16 without a mark, then Windows-1252. The last serves for
    names only: a wrong guess shows in their letters.

    Returns:
        The text, and a sentence that says the encoding where it was guessed.

    Raises:
        SceneError: as `read_text`, if the file is of none of these encodings.
    """
    refusal, text = None, ""
    try:
        text = read_text(path)
    except SceneError as error:
        refusal = error
    if refusal is None and "\0" not in text:
        return text, None
    content = _read_bytes(path)
    for name, encoding in (("UTF-16", _utf16_without_mark(content)), ("Windows-1252", "cp1252")):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            guess = content.decode(encoding)
            if all(sign.isprintable() or sign in "\t\r\n" for sign in guess):
                return guess, f"{path} is read as {name}, since it is not UTF-8"
    if refusal is not None:
        raise refusal
    return text, None


def _utf16_without_mark(content: bytes) -> str:
    """The byte order in which every second byte of mostly Latin text is zero; an unknown encoding where neither is."""
    orders = {"utf-16-le": content[1::2], "utf-16-be": content[::2]}
    return next((name for name, high in orders.items() if high and 2 * high.count(0) > len(high)), "none")


def _read_bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_TEXT_BYTES:
            raise SceneError(
                f"Expected at most {MAX_TEXT_BYTES >> 20} MiB of text at {path}, found {size >> 20} MiB; split the "
                "file."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SceneError(f"Expected a file at {path}, found none; check the path.") from error
    except OSError as error:
        raise SceneError(f"Expected a readable file at {path}, found '{error.strerror}'; check its rights.") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        SceneError: if the file cannot be read or is not JSON (names line and column).
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SceneError(
            f"Expected JSON in {path}, found a mistake at line {error.lineno}, column {error.colno} ({error.msg}); "
            "correct the file."
        ) from error
    except SceneError:
        raise
    except (RecursionError, ValueError) as error:
        # Python refuses to read a number of more than some thousand digits.
        found = "a number that is too long" if isinstance(error, ValueError) else "lists nested too deeply"
        raise SceneError(f"Expected JSON in {path}, found {found}; correct the file.") from error


def as_text(path: str | Path) -> str:
    """A path as text that can be written and printed: bytes that are no UTF-8 become escapes of their numbers."""
    return os.fspath(path).encode("utf8", "surrogateescape").decode("utf8", "backslashreplace")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown; each row has as many cells as the header."""
    return "\n".join(map(markdown_row, (header, ("---",) * len(header), *rows)))


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table in markdown."""
    return f"| {' | '.join(cells)} |"
