"""Which answers to questions are those of a session, and what becomes of those of others beside them."""

from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.io.writing import write_errors_as_scene_error, write_json
from semantic_ns.labelling.question_files import Question


def changed_answers(
    found: dict[str, Any], painted: dict[str, Any], own: dict[str, list[Any]], taken: set[str]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The answers of a file after something was painted, and which of them are those of the session.

    Args:
        found: What the file holds, by number of unit.
        painted: What is painted now.
        own: What the session wrote before, and in place of what, if of anything: lists of one or two values.
        taken: Units that the run has taken, which stay as they are.
    """
    answers, kept = dict(found), dict(own)
    for number in sorted({*painted, *own} - taken):
        before = own.get(number)
        is_own = before is not None and number in found and _is_same(found[number], before[0])
        if number not in painted:
            if is_own and before is not None:
                del answers[number]
                answers |= {number: before[1]} if len(before) > 1 else {}
            kept.pop(number, None)
            continue
        answer = painted[number]
        if before is not None and _is_same(before[0], answer):
            answers.setdefault(number, answer)  # another one is of others, who came later
        elif is_own and before is not None:
            answers[number], kept[number] = answer, [answer, *before[1:]]
        elif number not in found or not _is_same(found[number], answer):
            answers[number], kept[number] = answer, [answer, *([found[number]] if number in found else [])]
    return answers, kept


def _is_same(first: object, second: object) -> bool:
    return type(first) is type(second) and first == second


class OwnAnswers:
    """Which answers a session gave, and what they replaced, in a file beside the journal.

    Args:
        path: The file; None for nowhere.

    Raises:
        SceneError: if it holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._own: dict[str, dict[str, list[Any]]] = {}
        if path is not None and path.exists():
            content = read_json(path)
            if not isinstance(content, dict) or not all(
                isinstance(units, dict) and all(isinstance(one, list) and len(one) in {1, 2} for one in units.values())
                for units in content.values()
            ):
                raise SceneError(
                    f"Expected the answers that the session gave in {path}, found something else; put a copy back, or "
                    "move the file away: answers given so far can then not be taken back."
                )
            self._own = content

    def of(self, question: Question) -> dict[str, list[Any]]:
        """By number of unit, the answer that the session gave and the one that it replaced, if it did."""
        return self._own.get(question.name, {})

    def keep(self, question: Question, own: dict[str, list[Any]]) -> None:
        """Take what the session gave, once it is on the disk."""
        changed = {**self._own, question.name: own}
        if self._path is not None:
            with write_errors_as_scene_error(self._path):
                write_json(self._path, changed)
        self._own = changed
