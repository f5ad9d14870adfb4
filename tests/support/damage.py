"""Random damage to files: JSON with strange values, text and bytes that are cut, repeated or replaced."""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEXTS = frozenset({".json", ".ndjson", ".xml", ".txt", ".csv", ".tsv", ".yaml", ".names", ".ply"})
_deep: Any = []
for _ in range(150):
    _deep = [_deep]
STRANGE: list[Any] = [
    *(None, True, -1, 0, 7, 1e308, math.nan, math.inf, 10**40, 2**31, 70000, 0.5, "", "12", "nan", "x" * 300),
    *("\ud800", "a\nb\0c", "../../out.png", "/etc/hostname", "\u202e", [], {}, [[]], [None], [[1, 2], [3]], _deep),
    *({"size": [1, 10**9], "counts": [10**9]}, {"size": [36, 48], "counts": "n" * 40}, [1e9] * 6, [[1e9, -1e9]] * 4),
]
STRANGE_TEXTS = [str(value) for value in STRANGE if isinstance(value, int | float | str) and value != "\ud800"]
STRANGE_TEXTS += ["9" * 6000, "1," * 400, "&x;", "\0", "[[" * 3000, "<a>" * 300, "*a", "0.1 " * 7]


def places_of(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of JSON and each of its keys."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield content, key
        yield from places_of(value)


def change_json(text: str, chance: random.Random) -> str:
    content = json.loads(text)
    for _ in range(chance.choice((1, 1, 2))):
        container, key = chance.choice(list(places_of(content)))
        if chance.random() < 0.2:
            del container[key]
        else:
            # A copy, since a second change could else put a list into itself.
            container[key] = json.loads(json.dumps(chance.choice(STRANGE)))
        if not list(places_of(content)):
            break
    return json.dumps(content)


def change_text(text: str, chance: random.Random) -> str:
    first, end = sorted(chance.sample(range(len(text) + 1), 2))
    change = chance.randrange(4)
    if change == 0:
        return text[:first]
    if change == 1:
        return text[:first] + text[end:]
    if change == 2:
        return text[:end] + text[first:]
    # A whole number or word is replaced.
    while first > 0 and text[first - 1] not in ' ",;:<>\n[':
        first -= 1
    end = first
    while end < len(text) and text[end] not in ' ",;:<>\n]':
        end += 1
    return text[:first] + chance.choice(STRANGE_TEXTS) + text[end:]


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    if chance.random() < 0.3:
        return bytes(changed[: chance.randrange(len(changed))])
    for _ in range(chance.choice((1, 3, 20))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def damage(folder: Path, chance: random.Random, share_of_texts: float = 0.0) -> Path:
    """Change one of the files of a folder, files of text more often than images; returns it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = [path for path in paths if path.suffix in TEXTS]
    path = chance.choice(texts if texts and chance.random() < share_of_texts else paths)
    is_text = path.suffix in TEXTS
    if not is_text:
        path.write_bytes(change_bytes(path.read_bytes(), chance))
    elif path.suffix == ".json" and chance.random() < 0.7:
        path.write_text(change_json(path.read_text("utf8"), chance), "utf8")
    elif chance.random() < 0.85:
        path.write_text(change_text(path.read_text("utf8"), chance), "utf8", errors="replace")
    else:
        path.write_bytes(change_bytes(path.read_bytes(), chance))
    return path
