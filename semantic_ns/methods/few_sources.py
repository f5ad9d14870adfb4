"""What is said where a scene has fewer source frames than are asked for."""

from collections.abc import Hashable

from semantic_ns.io.console import announce
from semantic_ns.many_scenes.samples import TargetSample


class FewSources:
    """Says once of each scene that its images, and once that targets of training, have fewer sources than asked for."""

    def __init__(self) -> None:
        self._told: set[Hashable] = set()

    def tell_of_image(self, scene: int | None, name: str, num_frames: int, count: int, wanted: int) -> None:
        """Compare the number of sources of an image with the one that it should have.

        Args:
            scene: number of the scene.
            name: its name.
            num_frames: number of its source frames.
            count: number of the image's sources.
            wanted: number that it should have.
        """
        if count < wanted and self._is_new(scene):
            announce(
                "sources",
                f"images of {name} are rendered from {_frames(count)}, not from {wanted} as "
                f"--pipeline.model.num-source-views says: it has {num_frames}, and none is a source of itself",
            )

    def tell_of_training(self, sample: TargetSample) -> None:
        """Compare the number of sources of a training step with the least one that it should have."""
        count = len(sample.sources.cameras)
        if count < sample.least_sources and self._is_new(TargetSample):
            announce(
                "sources",
                f"targets of training are rendered from {_frames(count)}, not from {sample.least_sources} or more "
                "(--pipeline.datamanager.train-sources): their scene has no more beside the target",
            )

    def _is_new(self, what: Hashable) -> bool:
        is_new = what not in self._told
        self._told.add(what)
        return is_new


def _frames(count: int) -> str:
    return "1 source frame" if count == 1 else f"{count} source frames"
