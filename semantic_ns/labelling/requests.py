"""Bodies of requests: JSON objects whose parts are checked one by one. No sockets."""

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from semantic_ns.labelling.access import shown

MAX_BODY_BYTES = 1_000_000
MAX_NAME_LENGTH = 100
"""Characters of the name of a class."""
_MAX_DEPTH = 8
_MAX_INTEGER = 2**53 - 1
"""Largest integer that JavaScript tells from its neighbours."""
_CLIENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class RequestError(Exception):
    """A request that is refused.

    Args:
        sentence: What was expected, what was found, and what to do.
        status: Status of the answer.
    """

    def __init__(self, sentence: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


class Body:
    """The JSON object that a request carries.

    Args:
        content: Its parts by their names, as `read` checked them.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    @classmethod
    def read(cls, text: bytes) -> "Body":
        """Parse a body.

        Raises:
            RequestError: it is no JSON object in UTF-8, is nested too deeply, holds a number that is not finite or an
                integer that JavaScript does not hold, or half of a surrogate pair.
        """
        try:
            content = json.loads(text.decode("utf8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):  # also of UTF-8, and of integers with thousands of digits
            raise RequestError("Expected a JSON object in UTF-8 with finite numbers, found something else.") from None
        if not isinstance(content, dict):
            raise RequestError(f"Expected a JSON object, found a {type(content).__name__}.")
        _refuse_strange_values(content)
        return cls(content)

    @property
    def client(self) -> str:
        """Name that a page gave itself."""
        return self._matching("client", _CLIENT, "1 to 64 letters, digits, - and _")

    @property
    def sequence(self) -> int:
        """Number of the action, different for each one of a client."""
        return self.integer("sequence")

    def integer(self, name: str) -> int:
        """A whole number of at least 0."""
        value = self._content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RequestError(f"Expected a whole number of at least 0 as '{name}', found {self._shown(name)}.")
        return value

    def optional_integer(self, name: str) -> int | None:
        """The same, or None where it is left out."""
        return None if self._content.get(name) is None else self.integer(name)

    def share(self, name: str) -> float:
        """A number from 0 to 1; 0 where it is left out."""
        value = self._content.get(name, 0.0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            raise RequestError(f"Expected a number from 0 to 1 as '{name}', found {self._shown(name)}.")
        return float(value)

    def number(self, name: str) -> float:
        """A number."""
        value = self._content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RequestError(f"Expected a number as '{name}', found {self._shown(name)}.")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """A list of so many numbers."""
        values = self._content.get(name)
        found = values if isinstance(values, list) else []
        if len(found) != count or any(isinstance(one, bool) or not isinstance(one, int | float) for one in found):
            raise RequestError(f"Expected a list of {count} numbers as '{name}', found {self._shown(name)}.")
        return [float(one) for one in found]

    def points(self, name: str, most: int) -> list[tuple[float, float, bool]]:
        """A list of at most so many points, each x, y and whether it is inside."""
        values = self._content.get(name)
        if not isinstance(values, list) or len(values) > most or not all(_is_point(one) for one in values):
            raise RequestError(
                f"Expected a list of at most {most} points (x, y, and true or false) as '{name}', found "
                f"{self._shown(name)}."
            )
        return [(float(x), float(y), is_inside) for x, y, is_inside in values]

    def truth(self, name: str) -> bool:
        """True or false; false where it is left out."""
        value = self._content.get(name, False)
        if not isinstance(value, bool):
            raise RequestError(f"Expected true or false as '{name}', found {self._shown(name)}.")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words."""
        value = self._content.get(name)
        if value not in choices:
            raise RequestError(f"Expected one of {', '.join(choices)} as '{name}', found {self._shown(name)}.")
        return value

    def optional_choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words; the first one where it is left out."""
        return choices[0] if self._content.get(name) is None else self.choice(name, choices)

    def text(self, name: str) -> str:
        """A text of 1 to 100 signs."""
        value = self._content.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_LENGTH:
            raise RequestError(
                f"Expected a text of 1 to {MAX_NAME_LENGTH} signs as '{name}', found {self._shown(name)}."
            )
        return value

    def optional_text(self, name: str) -> str | None:
        """The same, or None where it is left out."""
        return None if self._content.get(name) is None else self.text(name)

    def class_name(self, name: str) -> str:
        """A name for a class, without blanks around it: any printable signs."""
        value = self._content.get(name)
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not 1 <= len(text) <= MAX_NAME_LENGTH or not text.isprintable():
            raise RequestError(
                f"Expected a name of 1 to {MAX_NAME_LENGTH} printable signs as '{name}', found {self._shown(name)}."
            )
        return text

    def color(self, name: str) -> tuple[int, int, int] | None:
        """RGB in 0..255 of a colour like #ff8000; None where it is left out."""
        if self._content.get(name) is None:
            return None
        red, green, blue = bytes.fromhex(self._matching(name, _COLOR, "a colour like #ff8000")[1:])
        return red, green, blue

    def folder(self, name: str) -> str | None:
        """Name of a folder, without a path; None where it is left out."""
        if self._content.get(name) is None:
            return None
        return self._matching(name, _FOLDER, "a name of letters, digits, '.', '-' and '_' that begins with no sign")

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object inside this one."""
        value = self._content.get(name)
        if not isinstance(value, dict):
            raise RequestError(f"Expected a JSON object as '{name}', found {self._shown(name)}.")
        return value

    def part(self, name: str) -> "Body | None":
        """The same as a body of its own; None where it is left out."""
        return None if self._content.get(name) is None else Body(self.mapping(name))

    def _matching(self, name: str, pattern: "re.Pattern[str]", expected: str) -> str:
        value = self._content.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise RequestError(f"Expected {expected} as '{name}', found {self._shown(name)}.")
        return value

    def _shown(self, name: str) -> str:
        return shown(self._content[name]) if name in self._content else "none"


def _is_point(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], bool):
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e6 for one in value[:2])


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity, which are no JSON


def _refuse_strange_values(value: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise RequestError(f"Expected JSON of at most {_MAX_DEPTH} levels, found more.")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_strange_values(key, depth + 1)
            _refuse_strange_values(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _refuse_strange_values(inner, depth + 1)
    elif isinstance(value, str):
        if any("\ud800" <= sign <= "\udfff" for sign in value):
            raise RequestError("Expected text of whole characters, found half of a surrogate pair.")
    elif isinstance(value, float) and not math.isfinite(value):  # 1e400
        raise RequestError("Expected finite numbers, found one that is not.")
    elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise RequestError("Expected integers below 2^53, found a larger one.")
