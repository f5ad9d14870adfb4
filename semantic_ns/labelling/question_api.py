"""What the addresses about the questions of a run answer; no sockets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from semantic_ns.errors import SceneError
from semantic_ns.labelling.answers import Answer, array_answer, json_answer
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body

if TYPE_CHECKING:
    from semantic_ns.labelling.questions import QuestionFolder

_MOST_UNITS = 200
"""Units of one question that are listed, those without an answer first."""
UNITS = re.compile(r"/api/question/(round-[0-9]+_frame-[0-9]+)/units")


class QuestionApi:
    """Answers requests about questions.

    Args:
        folder: The questions; None if there are none.
        session: The session.
    """

    def __init__(self, folder: "QuestionFolder | None", session: SessionLike) -> None:
        self._folder, self._session = folder, session

    @property
    def are_there(self) -> bool:
        """Whether a run asks."""
        return self._folder is not None

    def listed(self, _: Mapping[str, str]) -> Answer:
        """All questions with their units, and what does not fit or cannot be written, if anything."""
        questions = []
        for question in [] if self._folder is None else self._folder.questions():
            units = sorted(self._given.units(question), key=lambda unit: (unit.answer is not None, unit.number))
            questions.append(
                {
                    "name": question.name,
                    "run": self._given.run,
                    "frame": question.frame,
                    "is_of_frame": question.is_of_frame,
                    "num_units": len(units),
                    "num_answered": sum(unit.answer is not None for unit in units),
                    "units": [asdict(unit) for unit in units[:_MOST_UNITS]],
                }
            )
        problem = None if self._folder is None else self._folder.problem
        return json_answer({"revision": self._session.revision, "questions": questions, "problem": problem})

    def units(self, name: str) -> Answer:
        """The unit of each pixel of a question's frame."""
        return array_answer(self._given.find(name).numbers.astype(np.int32), self._session.revision)

    def answer(self, body: Body, client: str, sequence: int) -> None:
        """Answer a unit by a mark, or a whole frame by the labels that it shows; with `painted`, by what is painted."""
        painted_only = body.truth("painted")
        question = self._given.find(body.text("question"), body.optional_text("run"))
        if question.is_of_frame:
            self._given.confirm_frame(question, painted_only)
            return
        if painted_only:
            rest = self._given.rest(question, body.integer("unit"))
            if rest is not None:
                self._session.add_mark(rest, client, sequence)
            return
        class_id = body.optional_integer("class_id")
        self._session.add_mark(self._given.mark(question, body.integer("unit"), class_id), client, sequence)

    def update(self, frames: Sequence[int] | None) -> None:
        """Write the answers that follow from what is painted; a mark counts although that fails."""
        if self._folder is not None:
            self._folder.update(frames)

    @property
    def _given(self) -> "QuestionFolder":
        if self._folder is None:
            raise SceneError("Expected questions of a run, found none; start with --questions FOLDER.")
        return self._folder
