"""How far a labelling session has come."""

from dataclasses import dataclass

from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.state import SessionState

_LABELLED = 0.5
"""Confidence from which on a voxel counts as labelled."""


@dataclass(frozen=True)
class Progress:
    """How far a session has come.

    Attributes:
        share_of_surface: Share of the voxels whose class is at least half sure.
        num_marks: Marks in force.
        num_actions: Actions in all, those taken back among them.
        minutes: Time of work: gaps of more than a minute between two actions do not count.
        num_frames_marked: Frames with a mark in force.
        expected_accuracy: Mean confidence over the voxels.
        num_voxels: Voxels of the surface that labels spread over now.
        fitted: What tells the marks that what looks alike is fitted to from others, see `SpreadLabels.fitted`.
    """

    share_of_surface: float
    num_marks: int
    num_actions: int
    minutes: float
    num_frames_marked: int
    expected_accuracy: float
    num_voxels: int
    fitted: str = ""

    @property
    def surface_key(self) -> str:
        """What changes where labels change although nobody acted: with another surface, and with what looks alike."""
        return f"{self.num_voxels}-{self.fitted}" if self.fitted else str(self.num_voxels)

    @classmethod
    def of(cls, state: SessionState, shown: SpreadLabels) -> "Progress":
        """That of a state and the classes of voxels that follow from it."""
        marks = state.painting.marks
        return cls(
            share_of_surface=float((shown.confidence >= _LABELLED).mean()),
            num_marks=len({mark.revision for mark in marks.values()}),
            num_actions=state.log.revision,
            minutes=state.log.active_seconds / 60,
            num_frames_marked=len({mark.frame for mark in marks.values()}),
            expected_accuracy=float(shown.confidence.mean()),
            num_voxels=len(shown.labels),
            fitted=shown.fitted,
        )
