"""Near and far plane of a scene: several sources may state them, and the first one that does counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from semantic_ns.errors import SceneError

BY_OPTION = "given by option"
"""The source of planes that the person who trains has given."""
BY_DEFAULT = "the method's default"
"""The source of planes that nobody has given."""
_LEAST_OUTSIDE = 0.02
"""Share of the pixels with known depth from which on it is said that they lie outside."""
_PIXELS_AT_ONCE = 1 << 24
"""Of which marks are in memory together: a scene may have hundreds of millions."""


@dataclass(frozen=True)
class StatedBounds:
    """The planes that one source states.

    Attributes:
        source: the source, in words that follow "near plane at 0.1 scene units, ".
        near: distance of the near plane, None where the source does not state it.
        far: distance of the far plane, None where the source does not state it.
    """

    source: str
    near: float | None = None
    far: float | None = None


@dataclass(frozen=True)
class SceneBounds:
    """Where rays start and end.

    Attributes:
        near: distance of the near plane.
        far: distance of the far plane.
        near_source: the source that states the near plane.
        far_source: the source that states the far plane.
        unit: what distances are counted in, in words that follow a number.
    """

    near: float
    far: float
    near_source: str
    far_source: str
    unit: str = "scene units"

    def in_scene_units(self, metres_per_unit: float) -> "SceneBounds":
        """These planes, which are in metres, in scene units."""
        near, far = self.near / metres_per_unit, self.far / metres_per_unit
        return SceneBounds(near, far, self.near_source, self.far_source)

    def sentence(self, metres_per_unit: float | None) -> str:
        """Both planes, in metres also where a unit's length is known, and who states them, on one line."""
        planes = (self.near, self.far)
        metres = ["" if metres_per_unit is None else f" ({plane * metres_per_unit:.4g} m)" for plane in planes]
        near, far = (f"{plane:.4g} {self.unit}{told}" for plane, told in zip(planes, metres, strict=True))
        if self.near_source == self.far_source:
            return f"near plane at {near}, far plane at {far}, both {self.near_source}"
        return f"near plane at {near}, {self.near_source}; far plane at {far}, {self.far_source}"

    def doubt(self, box_diagonal: float) -> str | None:
        """One sentence if rays start so far from their cameras that they skip the whole scene, else nothing.

        Args:
            box_diagonal: length of the scene box's diagonal in scene units, the longest way through the scene.
        """
        if self.near <= box_diagonal:
            return None
        return (
            f"The near plane at {self.near:.4g} scene units ({self.near_source}) lies beyond the scene, whose box has "
            f"a diagonal of {box_diagonal:.4g}, so that nothing inside the box is trained; lower "
            "--pipeline.model.near-plane."
        )

    def doubt_of_depth(self, distances: Float[Tensor, "pixels"], metres_per_unit: float) -> str | None:
        """One sentence if much of what depth images show lies outside of the planes, else nothing.

        Args:
            distances: distances of pixels along their rays, 0 where unknown.
            metres_per_unit: metres per scene unit.
        """
        num_known = num_before = num_behind = 0
        for part in distances.split(_PIXELS_AT_ONCE):
            is_known = part > 0
            num_known += int(is_known.sum())
            num_before += int((is_known & (part <= self.near)).sum())
            num_behind += int((part >= self.far).sum())
        outside, remedies = [], []
        for count, name, plane, source, remedy in (
            (num_before, "before the near", self.near, self.near_source, "lower --pipeline.model.near-plane"),
            (num_behind, "behind the far", self.far, self.far_source, "raise --pipeline.model.far-plane"),
        ):
            if count > _LEAST_OUTSIDE * num_known:
                where = f"{name} plane at {plane:.4g} {self.unit} ({plane * metres_per_unit:.4g} m, {source})"
                outside.append(f"{count / num_known:.0%} lie {where}")
                remedies.append(remedy)
        if not outside:
            return None
        return (
            f"Of the pixels with known depth, {' and '.join(outside)}, where nothing is trained; "
            f"{' and '.join(remedies)}."
        )

    def doubt_of_cameras(self, extent: float) -> str | None:
        """One sentence if a plane that somebody stated does not fit the extent of the cameras, else nothing.

        It is for scenes without depth: cameras that look at something, or around in a room, have it before them at
        about the distance at which they stand from their middle.

        Args:
            extent: how far the cameras lie from their middle.
        """
        if extent <= 0:
            return None
        than = f"than the cameras lie from their middle ({extent:.4g})"
        if self.near > extent and self.near_source != BY_DEFAULT:
            return (
                f"The near plane at {self.near:.4g} {self.unit} ({self.near_source}) is farther away {than}, so that "
                "rays may skip most of the scene; lower --pipeline.model.near-plane if they do."
            )
        if self.far < extent:
            return (
                f"The far plane at {self.far:.4g} {self.unit} ({self.far_source}) is less far away {than}, so that "
                "rays may end before most of the scene; raise --pipeline.model.far-plane if they do."
            )
        return None


def resolve_bounds(sources: Sequence[StatedBounds], unit: str = "scene units") -> SceneBounds:
    """Choose each plane from the first source that states it.

    Args:
        sources: sources of bounds by descending precedence; at least one states each plane.
        unit: the unit in which all of them state distances, in words that follow a number.

    Raises:
        SceneError: unless 0 < near < far, both finite.
    """
    near, near_source = next((s.near, s.source) for s in sources if s.near is not None)
    far, far_source = next((s.far, s.source) for s in sources if s.far is not None)
    # NaN fails each of these comparisons.
    if not (0 < near < far and math.isfinite(far)):
        raise SceneError(
            f"Expected a near plane above 0 and before a finite far plane, found the near plane at {near:g} {unit} "
            f"({near_source}) and the far plane at {far:g} ({far_source}); change --pipeline.model.near-plane or "
            "--pipeline.model.far-plane."
        )
    return SceneBounds(near, far, near_source, far_source, unit)
