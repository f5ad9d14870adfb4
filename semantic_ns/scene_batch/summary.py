"""A batch in numbers: totals, how its scores are spread, why scenes fail, and which scenes are the worst and the best.

Rows are taken one after the other and not kept, so that a million of them need no more memory than a thousand.
"""

import heapq
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from semantic_ns.scene_batch.steps import Step
from semantic_ns.scene_batch.table import Row, Status

NUM_EXTREME = 10
"""Scenes that are named as the worst and as the best by a score."""
_MOST_REASONS = 10_000
"""Different reasons that are told apart; scenes that fail for others are counted together."""
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ScoreKind:
    """How a score is told.

    Attributes:
        title: Its name, with its unit.
        digits: Digits behind the point.
        edges: Ascending limits between which scenes are counted; the first and the last part are open.
        is_error: Whether a larger number is a worse one.
    """

    title: str
    digits: int
    edges: tuple[float, ...]
    is_error: bool = False

    def part_of(self, value: float) -> int:
        """The number of the part of the scale that a value lies in."""
        return min(max(bisect_right(self.edges, value) - 1, 0), len(self.edges) - 2)


KINDS: Mapping[str, ScoreKind] = {
    "miou_present": ScoreKind("mIoU", 3, tuple(number / 20 for number in range(21))),
    "psnr": ScoreKind("PSNR, dB", 2, tuple(float(number) for number in range(51))),
    "depth_l1": ScoreKind(
        "depth L1, m", 3, (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), is_error=True
    ),
}
"""Scores that are summed up, by their names in the records of `ns-eval`."""


class Place(NamedTuple):
    """A scene in the batch: its number from 1, its name, and the folder of its results."""

    number: int
    name: str
    folder: Path


class Extreme(NamedTuple):
    """A scene with its score."""

    value: float
    place: Place


@dataclass
class Spread:
    """How a score is spread over scenes.

    Attributes:
        kind: The score.
        count: Scenes that have it.
        parts: Scenes by the part of the scale, see `ScoreKind.part_of`.
    """

    kind: ScoreKind
    count: int = 0
    parts: Counter[int] = field(default_factory=Counter)
    _sum: float = 0.0
    _lowest: list[tuple[float, int, Place]] = field(default_factory=list)
    _highest: list[tuple[float, int, Place]] = field(default_factory=list)

    def add(self, value: float, place: Place) -> None:
        """Count a scene."""
        self.count += 1
        self._sum += value
        self.parts[self.kind.part_of(value)] += 1
        # Equal values are in the order of the scenes in both, so that the lowest and the highest have none in common.
        for heap, sign in ((self._lowest, -1), (self._highest, 1)):
            entry = (sign * value, sign * place.number, place)
            if len(heap) < NUM_EXTREME:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    @property
    def mean(self) -> float:
        """Mean over the scenes that have the score."""
        return self._sum / self.count

    @property
    def worst(self) -> list[Extreme]:
        """The worst scenes, the worst one first; no scene is among the best as well."""
        return self._extremes(self._highest if self.kind.is_error else self._lowest)

    @property
    def best(self) -> list[Extreme]:
        """The best scenes, the best one first."""
        return self._extremes(self._lowest if self.kind.is_error else self._highest)

    def _extremes(self, heap: list[tuple[float, int, Place]]) -> list[Extreme]:
        chosen = sorted(heap, reverse=True)[: self.count // 2]
        sign = 1 if heap is self._highest else -1
        return [Extreme(sign * value, place) for value, _, place in chosen]


@dataclass
class Failure:
    """Scenes that failed for one reason.

    Attributes:
        reason: The sentence of the first of them.
        count: Their number.
        examples: Some of them.
    """

    reason: str
    count: int = 0
    examples: list[Place] = field(default_factory=list)

    def add(self, place: Place) -> None:
        """Count a scene."""
        self.count += 1
        if len(self.examples) < _NUM_EXAMPLES:
            self.examples.append(place)


@dataclass
class Summary:
    """The numbers of a batch. Scenes that are no longer in its list have a place, and are counted nowhere else.

    Attributes:
        states: Scenes by their state.
        seconds: Seconds of all steps of all scenes.
        spreads: The scores that scenes have.
        unfinished: Steps that are not done for some scene.
        versions: Versions of this package that steps ran with, as far as they are known.
        num_changed: Scenes whose files are not those that they were trained on.
        num_unlisted: Scenes of earlier calls that are no longer in the list.
    """

    states: Counter[Status] = field(default_factory=Counter)
    seconds: float = 0.0
    spreads: dict[str, Spread] = field(default_factory=dict)
    unfinished: set[Step] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    num_changed: int = 0
    num_unlisted: int = 0
    _num_rows: int = 0
    _failures: dict[str, Failure] = field(default_factory=dict)
    _others: Failure = field(default_factory=lambda: Failure("other reasons"))

    def add(self, row: Row) -> Place:
        """Count a scene; returns its place."""
        place = Place(self._num_rows + 1, row.task.name, row.task.folder)
        self._num_rows += 1
        if not row.task.is_listed:
            self.num_unlisted += 1
            return place
        self.states[row.status] += 1
        self.seconds += row.seconds
        self.unfinished.update(record.step for record in row.records if record.state != "done")
        self.versions.update(row.versions)
        self.num_changed += bool(row.change)
        for name, kind in KINDS.items():
            value = row.scores.get(name)
            if value is not None and math.isfinite(value):
                self.spreads.setdefault(name, Spread(kind)).add(value, place)
        if row.status == "failed":
            self._failure_of(row).add(place)
        return place

    @property
    def num_scenes(self) -> int:
        """Scenes so far, without those that are no longer in the list."""
        return self.states.total()

    def remark(self) -> str:
        """What a person has to know of all scenes together, in sentences; empty where there is nothing."""
        said = []
        if len(self.versions) > 1:
            versions = f"{len(self.versions)} versions of the program ({', '.join(sorted(self.versions))})"
            said.append(
                f"The results are of {versions}, which may differ in their scores; results.csv names those of each "
                "scene."
            )
        if self.num_changed:
            have = "1 scene has" if self.num_changed == 1 else f"{self.num_changed:,} scenes have"
            said.append(f"{have} other files now than in training, as the rows say; their models are of the former.")
        if self.num_unlisted:
            are = (
                "1 scene of earlier calls is"
                if self.num_unlisted == 1
                else (f"{self.num_unlisted:,} scenes of earlier calls are")
            )
            said.append(f"{are} no longer in the list: results and logs are kept, and are in no total and no mean.")
        return " ".join(said)

    def failures(self) -> list[Failure]:
        """Why scenes failed, the most frequent reason first; reasons that differ in numbers and paths are one."""
        found = sorted(self._failures.values(), key=lambda failure: -failure.count)
        return [*found, self._others] if self._others.count else found

    def _failure_of(self, row: Row) -> Failure:
        reason = row.reason or "It failed and said nothing."
        key = _without_particulars(reason, row)
        if key not in self._failures and len(self._failures) >= _MOST_REASONS:
            return self._others
        return self._failures.setdefault(key, Failure(reason))


def _without_particulars(reason: str, row: Row) -> str:
    """A reason without what differs from scene to scene: paths, the name of the scene, and numbers."""
    for path in (row.task.folder, row.task.data):
        reason = reason.replace(str(path), "*")
    reason = re.sub(rf"(?<!\w){re.escape(row.task.name)}(?!\w)", "*", reason)
    return re.sub(r"\d[\d.,]*", "#", reason)
