"""How much of each target of a scene its sources see, before anything is trained."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.source_selection import Selection, are_same_image, seen_probes, select_sources

_NUM_NAMED = 3
_MOST_TARGETS = 200


@dataclass(frozen=True)
class SourceRule:
    """How the sources of a target are chosen, see `select_sources`.

    Attributes:
        count: number of sources; fewer where the scene has no more.
        near: nearest depth in metres.
        far: farthest depth in metres.
        selection: rule of the choice.
    """

    count: int = 3
    near: float = 0.3
    far: float = 8.0
    selection: Selection = "coverage"

    def count_for(self, target: ViewCameras, sources: ViewCameras) -> int:
        """How many sources a target has: fewer where there are no more other cameras."""
        return min(self.count, int((~are_same_image(target, sources)).sum()))

    def choose(self, target: ViewCameras, sources: ViewCameras) -> Int64[Tensor, "chosen"]:
        """Numbers of the sources of a target, never the target itself; none where there is no other camera."""
        count = self.count_for(target, sources)
        return select_sources(target, sources, count, self.near, self.far, self.selection)

    def coverage(self, target: ViewCameras, sources: ViewCameras) -> float:
        """Share of the points on rays of a target, at three depths, that at least one of its sources sees."""
        chosen = self.choose(target, sources)
        if not len(chosen):
            return 0.0
        return float(seen_probes(target, sources[chosen], self.near, self.far).any(dim=0).double().mean())


@dataclass(frozen=True)
class SourceCoverage:
    """How much of each target its sources see.

    Attributes:
        rule: how they are chosen.
        names: names of the targets.
        shares: share of the points on the rays of each target that at least one of its sources sees.
        most: largest number of sources that a target has; None for that of the rule.
    """

    rule: SourceRule
    names: tuple[str, ...]
    shares: tuple[float, ...]
    most: int | None = None

    @classmethod
    def of(cls, targets: ViewCameras, sources: ViewCameras, names: Sequence[str], rule: SourceRule) -> "SourceCoverage":
        """That of all targets of a scene; of 200 evenly spread ones where there are more.

        Args:
            targets: cameras of the targets.
            sources: cameras of the frames that may be sources; targets may be among them.
            names: names of the targets.
            rule: how sources are chosen.
        """
        step = -(-len(targets) // _MOST_TARGETS)
        numbers = range(0, len(targets), step)
        shares = tuple(rule.coverage(targets[number : number + 1], sources) for number in numbers)
        most = max(rule.count_for(targets[number : number + 1], sources) for number in numbers)
        return cls(rule, tuple(names[number] for number in numbers), shares, most)

    @property
    def count(self) -> int:
        """Largest number of sources that a target has."""
        return self.rule.count if self.most is None else self.most

    @property
    def mean(self) -> float:
        """Mean over the targets."""
        return sum(self.shares) / len(self.shares)

    def worst(self) -> list[tuple[str, float]]:
        """Name and share of the three targets of which the least is seen, the worst one first."""
        return sorted(zip(self.names, self.shares, strict=True), key=lambda pair: pair[1])[:_NUM_NAMED]

    def unseen(self) -> tuple[str, ...]:
        """Names of the targets of which no source sees a point."""
        return tuple(name for name, share in zip(self.names, self.shares, strict=True) if share == 0)

    def to_json(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        by_frame = dict(zip(self.names, self.shares, strict=True))
        return {**asdict(self.rule), "count": self.count, "mean": self.mean, "by_frame": by_frame}

    def sentence(self) -> str:
        """All of it in one line."""
        worst = ", ".join(f"{name} {share:.0%}" for name, share in self.worst())
        found, see = ("1 source", "sees") if self.count == 1 else (f"{self.count} sources", "see")
        fewer = f", not {self.rule.count}: the scene has no more frames" if self.count < self.rule.count else ""
        return (
            f"{found} ({self.rule.selection}{fewer}) {see} {self.mean:.0%} of the rays of a frame at depths from "
            f"{self.rule.near:g} to {self.rule.far:g} m, over {len(self.names)} frames; least of {worst}"
        )
