"""When a training run asks for labels, for how many, and of whom; light, for every command reads it."""

from dataclasses import dataclass, fields
from pathlib import Path

from semantic_ns.active_learning.config import Cost, SelectionConfig, Strategy
from semantic_ns.errors import SceneError


@dataclass
class ActiveConfig(SelectionConfig):
    """Options of active learning; without a strategy all labels are there from the start."""

    strategy: Strategy | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Acquisition strategy that selects the next labels; without one, active learning is off."""
    fractions: tuple[float, ...] = (0.0, 0.35, 0.5, 0.65, 0.8)
    """When each round begins, as fractions of training. A round waits for the answers to the previous one."""
    budgets: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04, 0.08)
    """Cumulative budget after each round, ascending, as shares of the cost of the whole pool."""
    cost: Cost = "pixels"
    """Unit in which budgets are counted."""
    oracle_folder: Path | None = None
    """Folder through which a person or program receives queries and returns labels. Without one, the scene's own labels
    answer at once."""
    error_rate: float = 0.0
    """Share of the units for which the simulated annotator answers with a random wrong class."""
    restart: bool = False
    """Reset the separate semantic hash grid and the semantic head after each round."""

    @property
    def selection(self) -> SelectionConfig:
        """What `select` is to know.

        Raises:
            SceneError: if there is no strategy.
        """
        if self.strategy is None:
            raise SceneError("Expected a strategy of active learning, found none; choose one, such as geometry.")
        return SelectionConfig(**{entry.name: getattr(self, entry.name) for entry in fields(SelectionConfig)})

    def steps(self, num_steps: int) -> list[int]:
        """The step from which on each round is due.

        Args:
            num_steps: number of steps of the whole run.

        Raises:
            SceneError: if rounds and budgets do not fit each other, or an option is out of its range.
        """
        options = "--pipeline.active."
        self.refuse_wrong_values()
        if len(self.fractions) != len(self.budgets) or not self.fractions:
            raise SceneError(
                f"Expected one budget for each round, found {len(self.fractions)} values of {options}fractions and "
                f"{len(self.budgets)} of {options}budgets; give as many of both."
            )
        for name, values in (("fractions", self.fractions), ("budgets", self.budgets)):
            if list(values) != sorted(values) or not all(0 <= value <= 1 for value in values):
                raise SceneError(
                    f"Expected ascending shares in 0..1 for {options}{name}, found {values}; correct them."
                )
        if not 0 <= self.error_rate <= 1:
            raise SceneError(f"Expected a share in 0..1 for {options}error-rate, found {self.error_rate}; correct it.")
        return [round(fraction * num_steps) for fraction in self.fractions]
