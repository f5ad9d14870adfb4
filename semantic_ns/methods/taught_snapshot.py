"""What a checkpoint leaves out of a run whose classes are held to those of the weights that it began with."""

from typing import Any

from semantic_ns.run_snapshot import RunSnapshot

_TEACHER = "teacher"


class TaughtRunSnapshot(RunSnapshot):
    """A `RunSnapshot` with the model's teacher, for the weights that a run began with may be gone.

    A model without a `teacher_state` has none.
    """

    def get_extra_state(self) -> dict[str, Any]:
        """All of it, for the checkpoint."""
        return super().get_extra_state() | {_TEACHER: getattr(self._models[0], "teacher_state", {})}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the teacher, if the checkpoint has one, and keep the rest until `restore`."""
        super().set_extra_state(state)
        if taught := state.get(_TEACHER):
            model: Any = self._models[0]
            model.teacher_state = taught
